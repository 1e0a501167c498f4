//! A client as the gateway sees it: one request after the other, whichever HTTP it speaks.
//!
//! In: a connection of HTTP/1, or one stream of HTTP/2, which is a connection with a single request.
//! Out: whole requests ([`Incoming`]); answers are written by the caller through
//! [`ClientConn::write`], as the bytes of HTTP/1 without chunks: a stream takes their head apart.
//! Never: answers a request twice; waits longer than the client stays.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

pub use super::client_body::BodyFault;
use super::client_http1::Http1Conn;
use super::client_http2::Http2Stream;
use super::copy::Copy;
use super::times::Times;
use crate::wire::http1::{BodyKind, Limits, Refusal, RequestHead};
use crate::worker::clock::Alarm;

pub(super) const TOO_LARGE: &str = "the request body is larger than max_request_body_size_mb";

/// Why waiting ended before what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// The client closed or reset its connection or stream.
    Gone,
    /// The time is over.
    Expired,
}

/// The waiting times and sizes of a listener.
#[derive(Debug, Clone)]
pub struct Rules {
    pub limits: Limits,
    pub body_max: usize,
    /// For a whole head, from its first byte; also between two reads of a body.
    pub header_timeout: Duration,
    /// Between requests.
    pub idle_timeout: Duration,
    /// Whether the body behind a head, which stands at the buffer's begin, is handed on as it
    /// comes. Asked only where the body is not small.
    pub streams: fn(&RequestHead, &[u8]) -> bool,
}

/// What a request came in, and its answer goes out in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// No chunks; a body of unknown length ends with the connection.
    Http10,
    Http11,
    /// One stream of a connection: the library frames the body.
    Http2,
}

/// One request: whole, or with the begin of a body of which more comes. Offsets of `head` and
/// `body` point into `buf`.
#[derive(Debug)]
pub struct Incoming {
    pub head: RequestHead,
    pub protocol: Protocol,
    pub buf: Vec<u8>,
    pub body_start: usize,
    /// What of the body comes behind that in `buf`; [`BodyKind::None`] for a whole one.
    pub rest: BodyKind,
    /// The rest is on its way to an upstream, and can't be sent to another one.
    pub spent: bool,
}

impl Incoming {
    pub fn body(&self) -> &[u8] {
        self.buf.get(self.body_start..).unwrap_or_default()
    }
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(&self.buf, name)
    }
}

/// Why there is no next request.
#[derive(Debug)]
pub enum NoRequest {
    /// The connection is over; nothing has to be said.
    Closed,
    /// The request is refused; the target as far as it was read, for the error's dialect.
    Refused { refusal: Refusal, target: String },
    /// The client began to speak HTTP/2 by itself: [`Http1Conn::into_parts`].
    Http2,
}

/// Whoever is being answered.
pub struct ClientConn {
    pub way: Way,
    /// Where the time of the request under way went.
    pub times: Rc<Times>,
    copy: Option<Copy>,
}

/// How it is spoken to.
pub enum Way {
    Http1(Http1Conn),
    Http2(Http2Stream),
}

impl ClientConn {
    pub fn new(way: Way) -> Self {
        Self { way, times: Rc::default(), copy: None }
    }

    /// Receives the next request: whole, but for a body that is handed on as it comes.
    pub async fn next(&mut self, rules: &Rules) -> Result<Incoming, NoRequest> {
        let incoming = match &mut self.way {
            Way::Http1(conn) => conn.next(rules).await,
            Way::Http2(stream) => stream.receive(rules).await,
        };
        self.times.begin();
        incoming
    }

    /// Waits for `work`, but neither longer than `limit` nor longer than the client stays.
    ///
    /// # Errors
    /// The [`Interrupt`]; `work` has then been dropped, and what it had in flight is cancelled.
    pub async fn guard<F: Future>(
        &mut self,
        limit: Duration,
        work: F,
    ) -> Result<F::Output, Interrupt> {
        self.alarm().set(limit);
        let since = Instant::now();
        let mut work = pin!(work);
        let result = poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if self.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Interrupt::Gone));
            }
            self.alarm().poll(cx).map(|()| Err(Interrupt::Expired))
        })
        .await;
        self.times.note_wait(since);
        result
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
        self.note(buf.get(start..).unwrap_or_default());
        let since = Instant::now();
        let written = match &mut self.way {
            Way::Http1(conn) => conn.write(buf, start, limit).await,
            Way::Http2(stream) => stream.write(buf, start, limit).await,
        };
        self.times.note_wait(since);
        written
    }

    /// What a refusal goes out in, where no request says it.
    pub fn protocol(&self) -> Protocol {
        match &self.way {
            Way::Http1(_) => Protocol::Http11,
            Way::Http2(_) => Protocol::Http2,
        }
    }

    /// The answer under way stays without its end, and the client has to notice.
    pub fn cut(&mut self) {
        match &mut self.way {
            // The connection is closed, without a last chunk.
            Way::Http1(_) => {}
            Way::Http2(stream) => stream.cut(),
        }
    }

    /// Whether anything of an answer to the request under way has been sent.
    pub fn has_answered(&self) -> bool {
        match &self.way {
            Way::Http1(conn) => conn.has_answered(),
            Way::Http2(stream) => stream.has_answered(),
        }
    }

    /// Whether bytes of a next request are already here.
    pub fn has_input(&self) -> bool {
        match &self.way {
            Way::Http1(conn) => conn.has_input(),
            Way::Http2(_) => false,
        }
    }

    /// As [`ClientConn::write`], for a piece of a stream: what the socket takes is sent at once.
    ///
    /// # Errors
    /// As [`ClientConn::write`].
    pub async fn write_now(
        &mut self,
        buf: Vec<u8>,
        start: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, Interrupt> {
        self.note(buf.get(start..).unwrap_or_default());
        let since = Instant::now();
        let written = match &mut self.way {
            Way::Http1(conn) => conn.write_now(buf, start, limit).await,
            Way::Http2(stream) => stream.write(buf, start, limit).await,
        };
        self.times.note_wait(since);
        written
    }

    /// What of the body of the request under way has not been received.
    pub fn body_left(&self) -> BodyKind {
        match &self.way {
            Way::Http1(conn) => conn.body_left(),
            Way::Http2(_) => BodyKind::None,
        }
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
        match &mut self.way {
            Way::Http1(conn) => conn.read_body(piece, limit).await,
            Way::Http2(_) => Ok(false),
        }
    }

    /// Takes a request's buffer back for the next one.
    pub fn recycle(&mut self, buf: Vec<u8>) {
        if let Way::Http1(conn) = &mut self.way {
            conn.recycle(buf);
        }
    }

    /// From now on, what is written is also kept, as far as the copy takes it.
    pub fn keep_copy(&mut self, copy: Option<Copy>) {
        self.copy = copy;
    }

    /// What was kept.
    pub fn take_copy(&mut self) -> Option<Copy> {
        self.copy.take()
    }

    fn note(&mut self, bytes: &[u8]) {
        if let Some(copy) = &mut self.copy {
            copy.take(bytes);
        }
    }

    /// The next bytes of a connection that speaks HTTP no longer; `None` once the client has gone.
    pub async fn receive(&mut self) -> Option<Vec<u8>> {
        match &mut self.way {
            Way::Http1(conn) => conn.receive().await,
            Way::Http2(_) => None,
        }
    }

    fn alarm(&self) -> &Alarm {
        match &self.way {
            Way::Http1(conn) => &conn.alarm,
            Way::Http2(stream) => &stream.alarm,
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.way {
            Way::Http1(conn) => conn.poll_gone(cx),
            Way::Http2(stream) => stream.poll_gone(cx),
        }
    }
}

pub(super) fn refusal(status: u16, reason: &'static str) -> Refusal {
    Refusal { status, reason, close: true }
}
