//! One socket as the HTTP/2 library wants it: readiness to read and write, over owned buffers.
//!
//! In: both halves of a connection, and what was already received. Out: `AsyncRead` and `AsyncWrite`
//! by [`Io`], which the library owns; [`Wire`], which is looked at from outside and outlives it.
//! Every received byte goes past the [`Meter`]; after a flood nothing more is received.
//! Never: holds more than [`WRITE_MAX`] bytes that are not on their way.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::{Reader, Writer};
use crate::wire::http2_meter::Meter;
use crate::worker::clock::{Alarm, Clock};

/// Bytes that are read at once.
const READ: usize = 16 * 1024;
/// Bytes that are gathered before they have to be written.
const WRITE_MAX: usize = 32 * 1024;

/// How long, and for how many bytes, a client is listened to after the last word to it.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 4 << 20;

type Reading = Pin<Box<dyn Future<Output = (Reader, io::Result<usize>, Vec<u8>)>>>;
type Writing = Pin<Box<dyn Future<Output = (Writer, io::Result<()>, Vec<u8>)>>>;

/// The socket, its buffers, and what is known of the client's conduct.
pub(super) struct Wire {
    reader: Option<Reader>,
    reading: Option<Reading>,
    /// `input[taken..]` was received and not given to the library.
    input: Vec<u8>,
    taken: usize,
    /// The client has closed.
    ended: bool,
    writer: Option<Writer>,
    writing: Option<Writing>,
    closing: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// To be written next.
    output: Vec<u8>,
    spare: Vec<u8>,
    clock: Rc<Clock>,
    pub(super) meter: Meter,
    /// The client sent more empty work than it may.
    pub(super) flooded: bool,
    /// Since when a request's head is incomplete.
    pub(super) head_since: Option<u64>,
    /// Since when a write has been in flight.
    pub(super) writing_since: Option<u64>,
}

impl Wire {
    pub(super) fn new(
        (reader, writer): (Reader, Writer),
        received: Vec<u8>,
        clock: Rc<Clock>,
    ) -> Self {
        let meter = Meter::new(clock.coarse_ms());
        let mut wire = Self {
            reader: Some(reader),
            reading: None,
            input: received,
            taken: 0,
            ended: false,
            writer: Some(writer),
            writing: None,
            closing: None,
            output: Vec::new(),
            spare: Vec::new(),
            clock,
            meter,
            flooded: false,
            head_since: None,
            writing_since: None,
        };
        wire.note(0);
        wire
    }

    /// Shows the meter what was received at `input[from..]`.
    fn note(&mut self, from: usize) {
        let now = self.clock.coarse_ms();
        let fresh = self.input.get(from..).unwrap_or_default();
        self.flooded |= self.meter.receive(fresh, now).is_err();
        let waits = self.meter.awaits_head();
        self.head_since = waits.then(|| self.head_since.unwrap_or(now));
    }

    /// Receives more into `input`, which has been taken; not at all after the end.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reading.is_none() {
            let Some(mut reader) = self.reader.take() else { return Poll::Ready(Ok(())) };
            let mut buf = std::mem::take(&mut self.input);
            buf.clear();
            buf.reserve(READ);
            self.reading = Some(Box::pin(async move {
                let (result, buf) = reader.read(buf).await;
                (reader, result, buf)
            }));
        }
        let Some(reading) = self.reading.as_mut() else { return Poll::Pending };
        let (reader, result, buf) = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        self.reader = Some(reader);
        self.input = buf;
        self.taken = 0;
        self.note(0);
        self.ended = !matches!(result, Ok(count) if count > 0);
        Poll::Ready(result.map(drop))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let rest = self.input.get(self.taken..).unwrap_or_default();
            if !rest.is_empty() {
                let count = rest.len().min(out.remaining());
                out.put_slice(rest.get(..count).unwrap_or_default());
                self.taken += count;
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.flooded {
                // Whoever polls the connection looks at this, and says why it ends.
                return Poll::Pending;
            }
            ready!(self.poll_input(cx))?;
        }
    }

    /// Ready once no write is in flight.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(writing) = self.writing.as_mut() else { return Poll::Ready(Ok(())) };
        let (writer, result, mut buf) = ready!(writing.as_mut().poll(cx));
        self.writing = None;
        self.writing_since = None;
        self.writer = Some(writer);
        if buf.capacity() <= 2 * WRITE_MAX {
            buf.clear();
            self.spare = buf;
        }
        Poll::Ready(result)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_written(cx))?;
            if self.output.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let Some(mut writer) = self.writer.take() else {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            };
            // A lone event needs no completion to wake for.
            let sent = writer.send_now(&self.output);
            if matches!(sent, Ok(count) if count == self.output.len()) {
                self.writer = Some(writer);
                self.output.clear();
                return Poll::Ready(Ok(()));
            }
            let start = sent?;
            let buf = std::mem::replace(&mut self.output, std::mem::take(&mut self.spare));
            self.writing_since = Some(self.clock.coarse_ms());
            self.writing = Some(Box::pin(async move {
                let (result, buf) = writer.write(buf, start).await;
                (writer, result, buf)
            }));
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.output.len() >= WRITE_MAX {
            ready!(self.poll_flush(cx))?;
        }
        self.output.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        if let Some(mut writer) = self.writer.take() {
            self.closing = Some(Box::pin(async move { writer.close().await }));
        }
        let Some(closing) = self.closing.as_mut() else { return Poll::Ready(Ok(())) };
        closing.as_mut().poll(cx).map(Ok)
    }

    /// Takes in for a moment what the client still sends, so that a reset does not overtake what
    /// was said to it last.
    pub(super) async fn linger(&mut self, alarm: &Alarm) {
        alarm.set(LINGER);
        let mut left = LINGER_BYTES_MAX;
        while left > 0 && !self.ended {
            let heard = poll_fn(|cx| match self.poll_input(cx) {
                Poll::Ready(result) => Poll::Ready(result.is_ok()),
                Poll::Pending => alarm.poll(cx).map(|()| false),
            });
            if !heard.await {
                break;
            }
            left = left.saturating_sub(self.input.len());
        }
    }
}

/// The library's end of a [`Wire`].
pub(super) struct Io(pub(super) Rc<RefCell<Wire>>);

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_read(cx, out)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_close(cx)
    }
}
