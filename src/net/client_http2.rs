//! One client's HTTP/2 connection: streams in, each of which is a client of its own.
//!
//! In: a socket on which the client speaks HTTP/2. Out: [`Http2Stream`]s, each with one request.
//! Frames, HPACK and flow control are the work of the crate `h2`; this layer holds the limits that it
//! has no knob for: time, floods ([`Meter`](crate::wire::http2_meter::Meter)), heads, drain.
//!
//! `monoio-http`, a port of `h2` to monoio, was probed first: it notices no flood at all (rapid reset,
//! pings, settings, empty data, empty CONTINUATION frames ran on without end), keeps 100 MB for one
//! connection of malformed requests, and brings a second TLS library. `h2` itself asks for
//! `AsyncRead` and `AsyncWrite` only, which [`Io`] gives it; its lock is never contended here.
//!
//! ```text
//! opening --preface, settings--> serving --drain, idle--> GOAWAY, last answers --> closed
//! serving --flood, half a head for too long--> GOAWAY ENHANCE_YOUR_CALM, lingering --> closed
//! ```
//! Never: more than [`STREAMS_MAX`] requests at once; more than [`QUEUED_MAX`] bytes of an answer
//! that the client does not take: its upstream is not read meanwhile.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};

use super::client_conn::{Incoming, Interrupt, NoRequest, Protocol, Rules, TOO_LARGE, refusal};
use super::http2_request::shape;
use super::http2_wire::{Io, Wire};
use super::socket::{Reader, Writer};
use crate::wire::http1::{self, BodyKind, HEADERS_MAX, Limits, Refusal};
use crate::worker::clock::{Alarm, Clock};

/// Requests of one connection at the same time; the client is told.
pub const STREAMS_MAX: u32 = 100;
/// Bytes of one answer that wait for the client or the socket.
pub const QUEUED_MAX: usize = 32 * 1024;
/// Bytes of one request's body that the client may send ahead, and of all of them.
const WINDOW: u32 = 1 << 20;
const WINDOW_ALL: u32 = 4 << 20;
/// Bytes of all requests' bodies of one connection that are held at once, where four of the largest
/// are not more.
const BODIES_MAX: usize = 256 << 20;
/// Streams that the client broke the rules on, before its connection ends.
const BROKEN_MAX: usize = 128;
/// How long the client may take to understand that the connection ends.
const PARTING: Duration = Duration::from_secs(2);
/// How long one write to the socket may take.
const WRITE_TIMEOUT: Duration = Duration::from_mins(2);

/// The streams of one connection that are being served.
#[derive(Default)]
struct Live {
    count: Cell<usize>,
    /// Bytes of their requests' bodies.
    bodies: Cell<usize>,
    /// When the last one ended.
    since: Cell<u64>,
    waker: Cell<Option<Waker>>,
}

/// One stream among the living.
struct Ticket {
    live: Rc<Live>,
    clock: Rc<Clock>,
    /// Bytes of its request's body.
    body: usize,
}

impl Ticket {
    fn new(live: &Rc<Live>, clock: &Rc<Clock>) -> Self {
        live.count.set(live.count.get() + 1);
        Self { live: Rc::clone(live), clock: Rc::clone(clock), body: 0 }
    }

    /// Takes note of more of the request's body; `false` if that is more than the connection may hold.
    fn hold(&mut self, more: usize, body_max: usize) -> bool {
        self.body += more;
        self.live.bodies.set(self.live.bodies.get() + more);
        self.live.bodies.get() <= BODIES_MAX.max(body_max.saturating_mul(4))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.live.count.set(self.live.count.get().saturating_sub(1));
        self.live.bodies.set(self.live.bodies.get().saturating_sub(self.body));
        self.live.since.set(self.clock.coarse_ms());
        if let Some(waker) = self.live.waker.take() {
            waker.wake();
        }
    }
}

/// The state of one connection.
pub struct Http2Conn {
    inner: Connection<Io, Bytes>,
    wire: Rc<RefCell<Wire>>,
    live: Rc<Live>,
    clock: Rc<Clock>,
    alarm: Alarm,
    rules: Rules,
    /// Since when the client has been told to go.
    parting: Option<u64>,
    /// It was told why.
    refused: bool,
}

impl Http2Conn {
    /// Receives the preface, part of which may be in `received`.
    pub async fn open(
        halves: (Reader, Writer),
        received: Vec<u8>,
        rules: Rules,
        clock: Rc<Clock>,
    ) -> Option<Self> {
        let alarm = clock.alarm();
        alarm.set(rules.header_timeout);
        let wire = Wire::new(halves, received, Rc::clone(&clock));
        let wire = Rc::new(RefCell::new(wire));
        let header_bytes = u32::try_from(rules.limits.head_bytes).unwrap_or(u32::MAX);
        let opening = Builder::new()
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(header_bytes)
            .max_send_buffer_size(QUEUED_MAX)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW_ALL)
            .max_local_error_reset_streams(Some(BROKEN_MAX))
            .handshake(Io(Rc::clone(&wire)));
        let inner = alarm.within(opening).await?.ok()?;
        let live = Rc::new(Live::default());
        live.since.set(clock.coarse_ms());
        Some(Self { inner, wire, live, clock, alarm, rules, parting: None, refused: false })
    }

    /// The next request's stream; `None` once the connection is over. `draining`: no new ones.
    pub async fn next(&mut self, draining: &Cell<bool>) -> Option<Http2Stream> {
        let (request, respond) = poll_fn(|cx| self.poll_next(cx, draining.get())).await?;
        Some(Http2Stream {
            head_only: request.method() == http::Method::HEAD,
            request: Some(request),
            respond,
            sending: None,
            left: None,
            ended: false,
            is_cut: false,
            wire: Rc::clone(&self.wire),
            alarm: self.clock.alarm(),
            ticket: Ticket::new(&self.live, &self.clock),
        })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, draining: bool) -> Poll<Option<Accepted>> {
        loop {
            match self.inner.poll_accept(cx) {
                Poll::Ready(Some(Ok(accepted))) => return Poll::Ready(Some(accepted)),
                Poll::Ready(Some(Err(error))) => {
                    // The library has said why, unless the socket broke.
                    self.refused |= error.is_library();
                    return Poll::Ready(None);
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {}
            }
            match self.judge(draining) {
                Verdict::Stay { until_ms } => {
                    let now = self.clock.coarse_ms();
                    self.alarm.set_idle(Duration::from_millis(until_ms.saturating_sub(now)));
                    // Only wakes: the next turn looks at the time itself.
                    let _later = self.alarm.poll(cx);
                    return Poll::Pending;
                }
                Verdict::Part => {
                    self.parting = Some(self.clock.coarse_ms());
                    self.inner.graceful_shutdown();
                }
                Verdict::Refuse => {
                    self.parting = Some(self.clock.coarse_ms());
                    self.refused = true;
                    self.inner.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
                Verdict::Over => return Poll::Ready(None),
            }
        }
    }

    /// Whether the connection may go on, and until when that holds if nothing happens.
    fn judge(&self, draining: bool) -> Verdict {
        let now = self.clock.coarse_ms();
        let wire = self.wire.borrow();
        let due = |since: Option<u64>, limit| since.map_or(u64::MAX, |at| at + millis(limit));
        let idle = self.live.count.get() == 0;
        let stuck = due(wire.writing_since, WRITE_TIMEOUT);
        let half = due(wire.head_since, self.rules.header_timeout);
        let asleep = due(idle.then(|| self.live.since.get()), self.rules.idle_timeout);
        let gone = due(self.parting.filter(|_| idle || self.refused), PARTING);
        if now >= stuck || now >= gone {
            return Verdict::Over;
        }
        if !self.refused && (wire.flooded || now >= half) {
            return Verdict::Refuse;
        }
        if self.parting.is_none() && (draining || now >= asleep) {
            return Verdict::Part;
        }
        let asleep = if self.parting.is_some() { gone } else { asleep };
        let half = if self.refused { u64::MAX } else { half };
        Verdict::Stay { until_ms: stuck.min(half).min(asleep).min(now + 60_000) }
    }

    /// Whether it ends for what the client did.
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// Ends the connection, once the last of its streams has noticed.
    pub async fn close(self) {
        let Self { inner, wire, live, alarm, refused, .. } = self;
        drop(inner);
        poll_fn(|cx| {
            if live.count.get() == 0 {
                return Poll::Ready(());
            }
            live.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        if let (true, Some(wire)) = (refused, Rc::into_inner(wire)) {
            wire.into_inner().linger(&alarm).await;
        }
    }
}

type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

enum Verdict {
    Stay {
        until_ms: u64,
    },
    /// No new streams.
    Part,
    /// Not a frame more.
    Refuse,
    Over,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

/// One request and its answer.
pub struct Http2Stream {
    /// Until it is received.
    request: Option<Request<RecvStream>>,
    respond: SendResponse<Bytes>,
    /// Once the answer's head is sent.
    sending: Option<SendStream<Bytes>>,
    /// Bytes that the answer's head has promised and that are not sent.
    left: Option<u64>,
    head_only: bool,
    ended: bool,
    is_cut: bool,
    wire: Rc<RefCell<Wire>>,
    pub(super) alarm: Alarm,
    ticket: Ticket,
}

impl Http2Stream {
    /// Receives the stream's only request as a whole.
    pub(super) async fn receive(&mut self, rules: &Rules) -> Result<Incoming, NoRequest> {
        let Some(request) = self.request.take() else { return Err(NoRequest::Closed) };
        let (parts, mut body) = request.into_parts();
        let target = || parts.uri.path().chars().take(512).collect::<String>();
        let refused = |refusal| Err(NoRequest::Refused { refusal, target: target() });
        let shaped = match shape(&parts, body.is_end_stream(), &rules.limits) {
            Ok(Some(shaped)) => shaped,
            Ok(None) => {
                self.respond.send_reset(Reason::PROTOCOL_ERROR);
                self.wire.borrow_mut().meter.broken();
                self.ended = true;
                return Err(NoRequest::Closed);
            }
            Err(refusal) => return refused(refusal),
        };
        let (head, mut buf) = shaped;
        if let BodyKind::Length(length) = head.body {
            let Some(length) = usize::try_from(length).ok().filter(|&size| size <= rules.body_max)
            else {
                return refused(refusal(413, TOO_LARGE));
            };
            buf.reserve(length.min(1 << 20));
        }
        if head.expect_continue {
            let mut go_on = Response::new(());
            *go_on.status_mut() = StatusCode::CONTINUE;
            if self.respond.send_informational(go_on).is_err() {
                return Err(NoRequest::Closed);
            }
        }
        match self.receive_body(&mut body, &mut buf, head.len, rules).await {
            Ok(()) => {}
            Err(Some(refusal)) => return refused(refusal),
            Err(None) => return Err(NoRequest::Closed),
        }
        let protocol = Protocol::Http2;
        let rest = BodyKind::None;
        Ok(Incoming { body_start: head.len, protocol, head, buf, rest, spent: false })
    }

    async fn receive_body(
        &mut self,
        body: &mut RecvStream,
        buf: &mut Vec<u8>,
        start: usize,
        rules: &Rules,
    ) -> Result<(), Option<Refusal>> {
        loop {
            self.alarm.set(rules.header_timeout);
            let data = self.alarm.within(poll_fn(|cx| body.poll_data(cx))).await;
            match data {
                Some(Some(Ok(data))) => {
                    if buf.len() - start + data.len() > rules.body_max {
                        return Err(Some(refusal(413, TOO_LARGE)));
                    }
                    if !self.ticket.hold(data.len(), rules.body_max) {
                        return Err(Some(refusal(
                            503,
                            "the bodies on this connection are too many",
                        )));
                    }
                    buf.extend_from_slice(&data);
                    body.flow_control().release_capacity(data.len()).map_err(|_| None)?;
                }
                // Trailers say nothing that the gateway knows.
                Some(None) => return Ok(()),
                Some(Some(Err(_))) => return Err(None),
                None => return Err(Some(refusal(408, "the request body took too long"))),
            }
        }
    }

    pub(super) fn has_answered(&self) -> bool {
        self.sending.is_some()
    }

    /// Ready once the client has reset the stream or left.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sending {
            _ if self.ended => Poll::Pending,
            None => self.respond.poll_reset(cx).map(drop),
            Some(sending) => sending.poll_reset(cx).map(drop),
        }
    }

    /// Sends `buf` from `start` on as the client's window allows; gives the buffer back. The first
    /// bytes are the answer's head.
    pub(super) async fn write(
        &mut self,
        buf: Vec<u8>,
        start: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, Interrupt> {
        self.alarm.set(limit);
        let mut at = start;
        if self.sending.is_none() {
            at += self.send_head(buf.get(start..).unwrap_or_default())?;
        }
        while let (false, Some(rest)) = (self.ended, buf.get(at..).filter(|rest| !rest.is_empty()))
        {
            let room = self.room(rest.len()).await?;
            let piece = rest.get(..room).unwrap_or(rest);
            self.send(piece)?;
            at += piece.len();
        }
        Ok(buf)
    }

    /// Sends the head at the front of `out`; gives its length.
    fn send_head(&mut self, out: &[u8]) -> Result<usize, Interrupt> {
        let limits = Limits { head_bytes: 1 << 20, headers: HEADERS_MAX, ..Limits::default() };
        let Ok(Some(head)) = http1::parse_response(out, &limits, self.head_only) else {
            self.cut();
            return Err(Interrupt::Gone);
        };
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or_default();
        for (name, value) in head.headers(out) {
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
                response.headers_mut().append(name, value);
            }
        }
        if let BodyKind::Length(length) = head.body {
            self.left = Some(length);
        }
        self.ended = matches!(head.body, BodyKind::None | BodyKind::Length(0));
        let sending = self.respond.send_response(response, self.ended);
        self.sending = Some(sending.map_err(|_| Interrupt::Gone)?);
        Ok(head.len)
    }

    /// How many of `wanted` bytes may be sent now: 1 at least.
    async fn room(&mut self, wanted: usize) -> Result<usize, Interrupt> {
        let Self { sending, alarm, .. } = self;
        let sending = sending.as_mut().ok_or(Interrupt::Gone)?;
        sending.reserve_capacity(wanted);
        poll_fn(|cx| {
            loop {
                let room = sending.capacity().min(wanted);
                if room > 0 {
                    return Poll::Ready(Ok(room));
                }
                match sending.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(_) => return Poll::Ready(Err(Interrupt::Gone)),
                    Poll::Pending => return alarm.poll(cx).map(|()| Err(Interrupt::Expired)),
                }
            }
        })
        .await
    }

    fn send(&mut self, piece: &[u8]) -> Result<(), Interrupt> {
        let sending = self.sending.as_mut().ok_or(Interrupt::Gone)?;
        self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
        self.ended = self.left == Some(0);
        let sent = sending.send_data(Bytes::copy_from_slice(piece), self.ended);
        self.wire.borrow_mut().meter.answered(piece.len());
        sent.map_err(|_| Interrupt::Gone)
    }

    pub(super) fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Ends the stream: in order if its answer was sent whole.
    pub fn finish(mut self) {
        if self.ended {
            return;
        }
        let whole = !self.is_cut && self.left.is_none();
        match &mut self.sending {
            Some(sending) if whole => {
                // A client that has gone does not need an end.
                let _gone = sending.send_data(Bytes::new(), true);
            }
            Some(sending) => sending.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}
