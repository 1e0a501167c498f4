//! One client's HTTP/1.1 connection: requests in, answers out, and whether the client is still there.
//!
//! In: an accepted socket. Out: whole requests ([`Incoming`]); answers are written by the caller
//! through [`Http1Conn::write`]. While a request is served one read stays in flight, so that a
//! client that goes away is noticed at once, at no extra cost: it is the read of the next request.
//!
//! ```text
//! Waiting --first byte--> Head --blank line--> Body --last byte--> served, then Waiting again
//! any state --refusal, time-out, hang-up--> closed (after a refusal: lingering, so that it is read)
//! ```
//! Never: reads more than a bounded amount ahead; never answers a request twice.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use super::client_body::{Body, BodyFault};
use super::client_conn::{Incoming, Interrupt, NoRequest, Protocol, Rules, TOO_LARGE, refusal};
use super::socket::{Reader, Writer};
use crate::wire::http1::{self, BodyKind, Chunked, Refusal, RequestHead};
use crate::worker::clock::Alarm;

/// First read of a request; grows to the body's size once that is known.
const BUFFER: usize = 4096;
/// How much of a pipelined next request is taken in while one is served.
const AHEAD_MAX: usize = 64 * 1024;
/// Larger buffers are given back to the allocator after their request.
const KEEP_MAX: usize = 64 * 1024;

/// Of a body that is handed on as it comes, so much is read at once.
const PIECE: usize = 64 * 1024;

/// How long, and for how many bytes, a refused client is listened to.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 4 << 20;

/// As much of a target as decides in which dialect a refusal is said.
const TARGET_MAX: usize = 512;

/// How a client begins that speaks HTTP/2 without asking.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Where the bytes of a read go while it is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind those received before, which are out of sight until the read has ended.
    Behind,
    /// Into a buffer of their own.
    Apart,
}

type Reading = Pin<Box<dyn Future<Output = (Reader, io::Result<usize>, Vec<u8>)>>>;

/// The state of one connection.
pub struct Http1Conn {
    /// Bytes that were received and not taken; inside `reading` while a body's read is in flight.
    buf: Vec<u8>,
    /// Target of the request whose body is being received, for its refusal.
    target: Vec<u8>,
    reader: Option<Reader>,
    reading: Option<Reading>,
    closed: bool,
    spare: Vec<u8>,
    answered: bool,
    /// What comes of a body that is handed on as it comes.
    body: Body,
    /// Nothing has been received whole yet: the client may still speak HTTP/2.
    fresh: bool,
    writer: Writer,
    pub alarm: Alarm,
}

impl Http1Conn {
    pub fn new(reader: Reader, writer: Writer, alarm: Alarm) -> Self {
        let (buf, spare, target) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            buf,
            target,
            reader: Some(reader),
            reading: None,
            closed: false,
            spare,
            answered: false,
            body: Body::Over,
            fresh: true,
            writer,
            alarm,
        }
    }

    /// Puts a read in flight, unless one is or the client has closed. A body is read in place;
    /// all else into a buffer of its own, so that what is already here stays in sight.
    fn begin_read(&mut self, place: Place) {
        if self.reading.is_some() || self.closed {
            return;
        }
        let Some(mut reader) = self.reader.take() else { return };
        let in_place = place == Place::Behind || self.buf.is_empty();
        let mut buf = if in_place { std::mem::take(&mut self.buf) } else { Vec::new() };
        if buf.capacity() - buf.len() < BUFFER / 4 {
            buf.reserve(BUFFER);
        }
        self.reading = Some(Box::pin(async move {
            let (result, buf) = reader.read(buf).await;
            (reader, result, buf)
        }));
    }

    /// Drives the read in flight; 0 once the client has closed.
    fn poll_read(&mut self, cx: &mut Context<'_>, place: Place) -> Poll<io::Result<usize>> {
        self.begin_read(place);
        let Some(reading) = self.reading.as_mut() else { return Poll::Ready(Ok(0)) };
        let (reader, result, buf) = std::task::ready!(reading.as_mut().poll(cx));
        self.reading = None;
        self.reader = Some(reader);
        if self.buf.is_empty() {
            self.buf = buf;
        } else {
            self.buf.extend_from_slice(&buf);
        }
        if !matches!(result, Ok(count) if count > 0) {
            self.closed = true;
        }
        Poll::Ready(result)
    }

    /// Ready once the client has gone.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.reading.is_some() || (!self.closed && self.buf.len() < AHEAD_MAX) {
            if std::task::ready!(self.poll_read(cx, Place::Apart)).is_err() || self.closed {
                return Poll::Ready(());
            }
        }
        if self.closed { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Receives more bytes before the alarm goes off.
    async fn fill(&mut self, place: Place) -> Result<io::Result<usize>, Interrupt> {
        poll_fn(|cx| {
            if let Poll::Ready(result) = self.poll_read(cx, place) {
                return Poll::Ready(Ok(result));
            }
            self.alarm.poll(cx).map(|()| Err(Interrupt::Expired))
        })
        .await
    }

    /// Whether anything of an answer to the request under way has been sent.
    pub fn has_answered(&self) -> bool {
        self.answered
    }

    /// Whether bytes of a next request are already here.
    pub fn has_input(&self) -> bool {
        !self.buf.is_empty()
    }

    /// Receives the next request as a whole.
    pub async fn next(&mut self, rules: &Rules) -> Result<Incoming, NoRequest> {
        if self.reading.is_some() || self.buf.is_empty() {
            self.alarm.set_idle(rules.idle_timeout);
        } else {
            self.alarm.set(rules.header_timeout);
        }
        let head = loop {
            // Empty lines before a request line are tolerated (RFC 9112 §2.2).
            let blank = self.buf.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.buf.drain(..blank.min(4));
            match http1::parse_request(&self.buf, &rules.limits) {
                Ok(Some(head)) => break head,
                Ok(None) => {}
                Err(_) if self.fresh && self.buf.starts_with(HTTP2) => {
                    return Err(NoRequest::Http2);
                }
                Err(refusal) => return Err(self.refused(refusal)),
            }
            let waiting = self.buf.is_empty();
            match self.fill(Place::Apart).await {
                Ok(Ok(count)) if count > 0 => {}
                Err(_) if !waiting => {
                    return Err(self.refused(refusal(408, "the request head took too long")));
                }
                _ => return Err(NoRequest::Closed),
            }
            if waiting {
                self.alarm.set(rules.header_timeout);
            }
        };
        let end = match self.begin_body(&head, rules).await {
            Ok(end) => end,
            Err(Some(refusal)) => return Err(self.refused(refusal)),
            Err(None) => return Err(NoRequest::Closed),
        };
        self.answered = false;
        self.fresh = false;
        let mut buf = std::mem::take(&mut self.buf);
        self.buf = std::mem::take(&mut self.spare);
        self.buf.clear();
        self.buf.extend_from_slice(buf.get(end..).unwrap_or_default());
        buf.truncate(end);
        let protocol = if head.http11 { Protocol::Http11 } else { Protocol::Http10 };
        let rest = self.body.kind();
        Ok(Incoming { protocol, body_start: head.len, head, buf, rest, spent: false })
    }

    /// What of the body of the request under way has not been received.
    pub fn body_left(&self) -> BodyKind {
        self.body.kind()
    }

    /// Receives the body, or of one that is handed on as it comes the begin; gives the end of what
    /// stands in the buffer.
    async fn begin_body(
        &mut self,
        head: &RequestHead,
        rules: &Rules,
    ) -> Result<usize, Option<Refusal>> {
        self.body = Body::Over;
        let here = self.buf.len() - head.len;
        if !Body::is_large(head, here) || !(rules.streams)(head, &self.buf) {
            return self.receive_body(head, rules).await;
        }
        self.note_target(head);
        self.body = Body::of(head, rules.body_max).map_err(Some)?;
        let mut front = std::mem::take(&mut self.buf);
        let mut rest = front.split_off(head.len);
        let taken = self.body.take(&mut rest, &mut front);
        let end = front.len();
        front.append(&mut rest);
        self.buf = front;
        taken.map_err(Some)?;
        self.grant_body(head).await?;
        Ok(end)
    }

    /// Appends the next piece of the body under way to `piece`; `false` if there is none.
    ///
    /// # Errors
    /// [`BodyFault`]; no more of the body can be read then.
    pub async fn read_body(
        &mut self,
        piece: &mut Vec<u8>,
        limit: Duration,
    ) -> Result<bool, BodyFault> {
        let before = piece.len();
        loop {
            self.body.take(&mut self.buf, piece).map_err(BodyFault::Refused)?;
            if piece.len() > before {
                return Ok(true);
            }
            if matches!(self.body, Body::Over) {
                return Ok(false);
            }
            self.alarm.set(limit);
            if self.reading.is_none() {
                self.buf.reserve(PIECE);
            }
            match self.fill(Place::Behind).await {
                Ok(Ok(count)) if count > 0 => {}
                Err(_) => return Err(BodyFault::Late),
                Ok(_) => return Err(BodyFault::Gone),
            }
        }
    }

    /// A refusal, with the target of whatever request line was received.
    fn refused(&self, refusal: Refusal) -> NoRequest {
        let line = self.buf.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let target = line.split(|&byte| byte == b' ').nth(1).unwrap_or(&self.target);
        let target = target.get(..target.len().min(TARGET_MAX)).unwrap_or_default();
        NoRequest::Refused { refusal, target: String::from_utf8_lossy(target).into_owned() }
    }

    /// Receives the body behind `head`, which stays at the front of the buffer; gives its end.
    async fn receive_body(
        &mut self,
        head: &RequestHead,
        rules: &Rules,
    ) -> Result<usize, Option<Refusal>> {
        let length = match head.body {
            BodyKind::Length(length) => {
                usize::try_from(length).ok().filter(|&length| length <= rules.body_max)
            }
            BodyKind::None | BodyKind::UntilClose => return Ok(head.len),
            BodyKind::Chunked => return self.receive_chunks(head, rules).await,
        };
        let Some(length) = length else {
            return Err(Some(refusal(413, TOO_LARGE)));
        };
        let whole = head.len + length;
        if self.buf.len() >= whole {
            return Ok(whole);
        }
        self.note_target(head);
        self.grant_body(head).await?;
        self.alarm.set(rules.header_timeout);
        while self.buf.len() < whole {
            // Room for what is missing, but not more than has a chance to come soon.
            let missing = whole - self.buf.len();
            self.buf.reserve(missing.min(1 << 20));
            self.receive_some(rules).await?;
        }
        Ok(whole)
    }

    async fn receive_chunks(
        &mut self,
        head: &RequestHead,
        rules: &Rules,
    ) -> Result<usize, Option<Refusal>> {
        let mut chunks = Chunked::default();
        // The body stands in `buf[head.len..decoded]`; behind it, what is not decoded yet.
        let mut decoded = head.len;
        self.note_target(head);
        self.grant_body(head).await?;
        loop {
            let raw = self.buf.get_mut(decoded..).unwrap_or_default();
            let progress = chunks.decode(raw).map_err(Some)?;
            self.buf.drain(decoded + progress.produced..decoded + progress.consumed);
            decoded += progress.produced;
            if decoded - head.len > rules.body_max {
                return Err(Some(refusal(413, TOO_LARGE)));
            }
            if progress.done {
                return Ok(decoded);
            }
            self.alarm.set(rules.header_timeout);
            self.receive_some(rules).await?;
        }
    }

    /// Keeps the target in sight while the buffer is inside a read.
    fn note_target(&mut self, head: &RequestHead) {
        let target = head.target.of(&self.buf);
        self.target.clear();
        self.target.extend_from_slice(target.get(..TARGET_MAX).unwrap_or(target));
    }

    /// Tells a client that asked first (`Expect: 100-continue`) to send its body.
    async fn grant_body(&mut self, head: &RequestHead) -> Result<(), Option<Refusal>> {
        if head.expect_continue {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
            self.writer.write(go_on, 0).await.0.map_err(|_| None)?;
        }
        Ok(())
    }

    async fn receive_some(&mut self, rules: &Rules) -> Result<(), Option<Refusal>> {
        match self.fill(Place::Behind).await {
            Ok(Ok(count)) if count > 0 => {
                self.alarm.set(rules.header_timeout);
                Ok(())
            }
            Err(_) => Err(Some(refusal(408, "the request body took too long"))),
            Ok(_) => Err(None),
        }
    }

    /// Writes `buf` from `start` on, while watching the client; gives the buffer back.
    ///
    /// # Errors
    /// [`Interrupt::Gone`] also when the socket refuses the bytes.
    pub async fn write(
        &mut self,
        buf: Vec<u8>,
        start: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, Interrupt> {
        self.alarm.set(limit);
        self.answered = true;
        let Self { writer, .. } = self;
        let mut writing = pin!(writer.write(buf, start));
        let alarm = &self.alarm;
        poll_fn(|cx| {
            if let Poll::Ready((result, buf)) = writing.as_mut().poll(cx) {
                return Poll::Ready(result.map(|()| buf).map_err(|_| Interrupt::Gone));
            }
            alarm.poll(cx).map(|()| Err(Interrupt::Expired))
        })
        .await
    }

    /// The next bytes of a connection that speaks HTTP no longer; `None` once the client has gone.
    pub(super) async fn receive(&mut self) -> Option<Vec<u8>> {
        let received = poll_fn(|cx| {
            if !self.buf.is_empty() && self.reading.is_none() {
                return Poll::Ready(Ok(1));
            }
            self.poll_read(cx, Place::Apart)
        });
        match received.await {
            Ok(count) if count > 0 => Some(std::mem::take(&mut self.buf)),
            _ => None,
        }
    }

    /// As [`Http1Conn::write`], for a piece of a stream: what the socket takes is sent at once.
    ///
    /// # Errors
    /// As [`Http1Conn::write`].
    pub async fn write_now(
        &mut self,
        buf: Vec<u8>,
        start: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, Interrupt> {
        self.answered = true;
        let bytes = buf.get(start..).unwrap_or_default();
        let sent = self.writer.send_now(bytes).map_err(|_| Interrupt::Gone)?;
        if sent == bytes.len() {
            return Ok(buf);
        }
        self.write(buf, start + sent, limit).await
    }

    /// Both halves, and what was received and not taken; `None` while a read is in flight.
    pub fn into_parts(self) -> Option<(Reader, Writer, Vec<u8>)> {
        Some((self.reader?, self.writer, self.buf))
    }

    /// Takes a request's buffer back for the next one.
    pub fn recycle(&mut self, buf: Vec<u8>) {
        if buf.capacity() <= KEEP_MAX && buf.capacity() > self.spare.capacity() {
            self.spare = buf;
        }
    }

    /// Ends the connection after an answer that the client may not have expected: says that nothing
    /// more comes, and takes in for a moment what is still being sent, so that a reset does not
    /// overtake the answer.
    pub async fn linger(mut self) {
        self.writer.close().await;
        self.alarm.set(LINGER);
        let mut left = LINGER_BYTES_MAX;
        while let Ok(Ok(count)) = self.fill(Place::Behind).await {
            left = left.saturating_sub(count);
            if count == 0 || left == 0 {
                break;
            }
            self.buf.clear();
        }
    }
}
