//! One exchange with one upstream: connect, send, wait for the head, then read the body piece by piece.
//!
//! In: a [`Parcel`] and where it goes. Out: an [`Answer`] whose head is known. A pooled connection that
//! turns out to be closed before anything was received is replaced once, unseen by everybody else.
//! All waiting watches the client: when it goes, the exchange is dropped and with it the upstream call.
//! Never: reads ahead of its consumer: one buffer of [`READ`] bytes travels round.

use std::io;
use std::time::Duration;

use super::Core;
use super::failure::Failure;
use crate::net::client_conn::{ClientConn, Interrupt};
use crate::net::upstream::{HEADROOM, READ, UpstreamConn};
use crate::provider::{Origin, Provider};
use crate::wire::http1::{self, BodyKind, Chunked, Limits, ResponseHead};

/// Bodies up to this size are sent in one write with their head.
pub const ONE_WRITE: usize = 32 * 1024;

/// Why a request's path ended before its end.
#[derive(Debug)]
pub enum Halt {
    /// The client went away: nobody to answer.
    Gone,
    Failed(Box<Failure>),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

/// A request as it goes upstream.
#[derive(Debug)]
pub struct Parcel {
    /// Request line and headers, blank line included.
    pub head: Vec<u8>,
    /// The body stands in `buf[start..]`.
    pub buf: Vec<u8>,
    pub start: usize,
    /// The method is HEAD: the answer has no body.
    pub head_only: bool,
}

/// An upstream's answer, of which the head has been read.
#[derive(Debug)]
pub struct Answer {
    conn: UpstreamConn,
    pub head: ResponseHead,
    /// [`HEADROOM`] bytes of room, then the wire's bytes from the head's first on.
    pub buf: Vec<u8>,
    body: BodyReader,
}

/// Where the body ends, and how far it has been read.
#[derive(Debug)]
struct BodyReader {
    kind: BodyKind,
    left: u64,
    chunks: Chunked,
    done: bool,
    /// Bytes came behind the end: the connection is in an unknown state.
    surplus: bool,
}

/// Sends `parcel` and waits for the answer's head.
///
/// # Errors
/// [`Halt::Gone`], or a [`Failure`] that says whether another attempt makes sense.
pub async fn send(
    core: &Core,
    client: &mut ClientConn,
    provider: &Provider,
    origin: &Origin,
    parcel: &mut Parcel,
) -> Result<Answer, Halt> {
    let mut fresh = false;
    loop {
        let before = client.times.waited();
        let mut conn = connect(core, client, provider, origin, fresh).await?;
        client.times.note_connected(before);
        let reused = conn.reused;
        let sent = client
            .guard(provider.network.first_byte_timeout, write(&mut conn, parcel))
            .await
            .map_err(|interrupt| late(provider, interrupt, "it did not take the request"))?;
        // An upstream may answer and close before it has read everything: its answer counts.
        let answer = if sent.is_err() && reused {
            Err(Broken::Before)
        } else {
            let mut buf = core.buffers.take();
            buf.resize(HEADROOM, 0);
            read_head(client, provider, conn, buf, parcel.head_only).await?
        };
        match answer {
            Ok(answer) => {
                client.times.note_first_byte();
                return Ok(answer);
            }
            Err(Broken::Before) if reused => {
                core.counters.upstream_stale.add(1);
                fresh = true;
            }
            Err(broken) => return Err(broken.failure(provider).into()),
        }
    }
}

pub(super) async fn connect(
    core: &Core,
    client: &mut ClientConn,
    provider: &Provider,
    origin: &Origin,
    fresh: bool,
) -> Result<UpstreamConn, Halt> {
    let network = &provider.network;
    let connecting = core.pool.connect(origin, network, fresh);
    let conn = client
        .guard(network.connect_timeout, connecting)
        .await
        .map_err(|interrupt| match interrupt {
            Interrupt::Gone => Halt::Gone,
            Interrupt::Expired => {
                let seconds = network.connect_timeout.as_secs();
                let what = "no connection could be made";
                Failure::timed_out(&provider.name, what, seconds).into()
            }
        })?
        .map_err(|error| Failure::unreachable(&provider.name, &error))?;
    let counters = &core.counters;
    let count =
        if conn.reused { &counters.upstream_reused } else { &counters.upstream_connections };
    count.add(1);
    Ok(conn)
}

async fn write(conn: &mut UpstreamConn, parcel: &mut Parcel) -> io::Result<()> {
    let body = parcel.buf.get(parcel.start..).unwrap_or_default();
    let head_len = parcel.head.len();
    let one = body.len() <= ONE_WRITE;
    let mut head = std::mem::take(&mut parcel.head);
    if one {
        head.extend_from_slice(body);
    }
    let (result, mut head) = conn.write(head, 0).await;
    head.truncate(head_len);
    parcel.head = head;
    result?;
    if one {
        return Ok(());
    }
    let (result, buf) = conn.write(std::mem::take(&mut parcel.buf), parcel.start).await;
    parcel.buf = buf;
    result
}

/// How a connection failed while a head was expected.
pub(super) enum Broken {
    /// Nothing had been received.
    Before,
    Within(&'static str),
}

impl Broken {
    pub(super) fn failure(&self, provider: &Provider) -> Failure {
        let what = match self {
            Self::Before => "it closed the connection without an answer",
            Self::Within(what) => what,
        };
        Failure::broken(&provider.name, what)
    }
}

/// Reads up to the head's end; `buf` holds [`HEADROOM`] bytes of room and what was read before.
pub(super) async fn read_head(
    client: &mut ClientConn,
    provider: &Provider,
    mut conn: UpstreamConn,
    mut buf: Vec<u8>,
    head_only: bool,
) -> Result<Result<Answer, Broken>, Halt> {
    let limit = provider.network.first_byte_timeout;
    loop {
        loop {
            let wire = buf.get(HEADROOM..).unwrap_or_default();
            let head = match http1::parse_response(wire, &Limits::default(), head_only) {
                Ok(Some(head)) => head,
                Ok(None) => break,
                Err(refusal) => return Ok(Err(Broken::Within(refusal.reason))),
            };
            match head.status {
                101 => return Ok(Err(Broken::Within("it switched protocols unasked"))),
                100..=199 => drop(buf.drain(HEADROOM..HEADROOM + head.len)),
                _ => {
                    let body = BodyReader::new(&head);
                    return Ok(Ok(Answer { conn, head, buf, body }));
                }
            }
        }
        if buf.capacity() - buf.len() < READ / 4 {
            buf.reserve(READ);
        }
        let (result, read) = client
            .guard(limit, conn.read(buf))
            .await
            .map_err(|interrupt| late(provider, interrupt, "it sent no answer"))?;
        buf = read;
        let nothing = buf.len() == HEADROOM;
        match result {
            Ok(count) if count > 0 => {}
            _ if nothing => return Ok(Err(Broken::Before)),
            _ => return Ok(Err(Broken::Within("it broke off in the head of its answer"))),
        }
    }
}

pub(super) fn late(provider: &Provider, interrupt: Interrupt, what: &str) -> Halt {
    match interrupt {
        Interrupt::Gone => Halt::Gone,
        Interrupt::Expired => {
            let seconds = provider.network.first_byte_timeout.as_secs();
            Failure::timed_out(&provider.name, what, seconds).into()
        }
    }
}

impl BodyReader {
    fn new(head: &ResponseHead) -> Self {
        let (left, done) = match head.body {
            BodyKind::None => (0, true),
            BodyKind::Length(length) => (length, length == 0),
            BodyKind::Chunked | BodyKind::UntilClose => (0, false),
        };
        Self { kind: head.body, left, chunks: Chunked::default(), done, surplus: false }
    }

    /// Turns the wire's bytes `buf[from..]` into payload, in place; gives the payload's end.
    fn accept(&mut self, buf: &mut Vec<u8>, from: usize) -> Result<(), &'static str> {
        let fresh = buf.len().saturating_sub(from);
        match self.kind {
            BodyKind::UntilClose => {}
            BodyKind::None => self.surplus |= fresh > 0,
            BodyKind::Length(_) => {
                let take = usize::try_from(self.left).map_or(fresh, |left| left.min(fresh));
                self.left -= take as u64;
                self.done = self.left == 0;
                self.surplus |= take < fresh;
                buf.truncate(from + take);
            }
            BodyKind::Chunked => {
                let raw = buf.get_mut(from..).unwrap_or_default();
                let progress = self.chunks.decode(raw).map_err(|refusal| refusal.reason)?;
                self.done = progress.done;
                self.surplus |= progress.consumed < fresh;
                buf.truncate(from + progress.produced);
            }
        }
        Ok(())
    }
}

impl Answer {
    /// The bytes that `head`'s offsets point into.
    pub fn wire(&self) -> &[u8] {
        self.buf.get(HEADROOM..).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(self.wire(), name)
    }

    /// The connection can't be used again, whatever the answer says.
    pub fn spoil(&mut self) {
        self.body.surplus = true;
    }

    /// Whether the body has been read to its end.
    pub fn done(&self) -> bool {
        self.body.done
    }

    /// Decodes what came with the head; afterwards the payload is `buf[HEADROOM + head.len..]`.
    pub fn first(&mut self) -> Result<(), &'static str> {
        self.body.accept(&mut self.buf, HEADROOM + self.head.len)
    }

    /// Appends the next piece of payload to `buf` (within its capacity), which it gives back.
    ///
    /// # Errors
    /// The answer was cut: by the network, by its framing, or at the connection's end.
    pub async fn read(&mut self, buf: Vec<u8>) -> (Result<(), &'static str>, Vec<u8>) {
        let from = buf.len();
        let (result, mut buf) = self.conn.read(buf).await;
        let result = match result {
            Ok(0) if self.body.kind == BodyKind::UntilClose => {
                self.body.done = true;
                Ok(())
            }
            Ok(0) => Err("the upstream closed the connection before the end of its answer"),
            Ok(_) => self.body.accept(&mut buf, from),
            Err(_) => Err("the connection to the upstream broke before the end of its answer"),
        };
        (result, buf)
    }

    /// Reads the rest into one buffer of at most `max` bytes; afterwards the payload is
    /// `buf[HEADROOM + head.len..]`.
    pub async fn read_whole(
        &mut self,
        client: &mut ClientConn,
        provider: &Provider,
        max: usize,
    ) -> Result<(), Halt> {
        self.first().map_err(|what| Failure::broken(&provider.name, what))?;
        self.read_rest(client, provider, max).await
    }

    /// As [`Answer::read_whole`], where [`Answer::first`] was called already.
    pub async fn read_rest(
        &mut self,
        client: &mut ClientConn,
        provider: &Provider,
        max: usize,
    ) -> Result<(), Halt> {
        let broken = |what| Halt::from(Failure::broken(&provider.name, what));
        while !self.done() {
            if self.buf.len() > max {
                return Err(broken("its answer is larger than this gateway takes in as a whole"));
            }
            let mut buf = std::mem::take(&mut self.buf);
            let expected = usize::try_from(self.body.left).unwrap_or(READ).clamp(READ, 1 << 20);
            if buf.capacity() - buf.len() < READ / 2 {
                buf.reserve(expected);
            }
            let limit = provider.network.idle_timeout;
            let read = client.guard(limit, self.read(buf)).await;
            let (result, buf) = read.map_err(|interrupt| stalled(provider, interrupt))?;
            self.buf = buf;
            result.map_err(broken)?;
        }
        Ok(())
    }

    /// Gives the connection back to the pool, if its state allows.
    pub fn finish(self, core: &Core) {
        core.buffers.give(self.buf);
        if self.body.done && !self.body.surplus && self.head.keep_alive {
            core.pool.give_back(self.conn);
        }
    }
}

/// Nothing came for too long in the middle of an answer.
pub fn stalled(provider: &Provider, interrupt: Interrupt) -> Halt {
    match interrupt {
        Interrupt::Gone => Halt::Gone,
        Interrupt::Expired => {
            let seconds = provider.network.idle_timeout.as_secs();
            Failure::timed_out(&provider.name, "it sent nothing more", seconds).into()
        }
    }
}

/// The longest that a client may take to receive what is written to it.
pub const CLIENT_WRITE: Duration = Duration::from_mins(2);
