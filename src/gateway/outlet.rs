//! The streamed answer to one client: head held back until there is something to say, then chunks.
//!
//! In: payload, or a piece of it inside a read buffer. Out: bytes on the client's connection, each piece
//! in one write. Heartbeats go out while an upstream is quiet, and only between whole events.
//! Never: holds a finished event back; starts an answer that could still become an error status.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::exchange::{Answer, CLIENT_WRITE, Halt, stalled};
use crate::net::client_conn::{ClientConn, Interrupt};
use crate::observe::Counters;
use crate::provider::Provider;
use crate::wire::http1;

/// A streamed answer.
#[derive(Debug)]
pub struct Outlet {
    /// The answer's head, until it is sent.
    head: Option<Vec<u8>>,
    /// HTTP/1.1: chunked; else the end of the connection or stream ends the answer.
    chunked: bool,
    /// What keeps the stream alive, unframed; empty where the framing has no such thing.
    beat: Vec<u8>,
    every: Duration,
    counters: Arc<Counters>,
}

impl Outlet {
    pub fn new(
        head: Vec<u8>,
        chunked: bool,
        beat: Vec<u8>,
        every: Duration,
        counters: &Arc<Counters>,
    ) -> Self {
        let every = every.max(Duration::from_millis(100));
        Self { head: Some(head), chunked, beat, every, counters: Arc::clone(counters) }
    }

    /// Whether the head is on its way, so that the status can't change any more.
    pub fn committed(&self) -> bool {
        self.head.is_none()
    }

    /// Sends `payload`, with the head if that is still held back.
    pub async fn send(&mut self, client: &mut ClientConn, payload: &[u8]) -> Result<(), Halt> {
        let out = self.framed(payload);
        write_now(client, out, 0).await.map(drop)
    }

    /// What [`Outlet::send`] writes, for a caller that frees the payload before it waits. The head
    /// counts as sent.
    pub fn framed(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = self.head.take().unwrap_or_default();
        self.frame(payload, &mut out);
        out
    }

    /// Sends the payload `buf[start..]` in place: the chunk's size goes into the room before it.
    /// Gives the buffer back.
    pub async fn send_in_place(
        &mut self,
        client: &mut ClientConn,
        mut buf: Vec<u8>,
        start: usize,
        last: bool,
    ) -> Result<Vec<u8>, Halt> {
        let length = buf.len().saturating_sub(start);
        if self.head.is_none() && !self.chunked && length > 0 {
            return write_now(client, buf, start).await;
        }
        if self.head.is_some() || length == 0 {
            let mut out = self.head.take().unwrap_or_default();
            self.frame(buf.get(start..).unwrap_or_default(), &mut out);
            if last && self.chunked {
                out.extend_from_slice(http1::LAST_CHUNK);
            }
            if !out.is_empty() {
                write_now(client, out, 0).await?;
            }
            return Ok(buf);
        }
        let (prefix, used) = http1::chunk_prefix(length);
        let begin = start.saturating_sub(used);
        if let (Some(room), Some(prefix)) = (buf.get_mut(begin..start), prefix.get(..used)) {
            room.copy_from_slice(prefix);
        }
        buf.extend_from_slice(http1::CHUNK_END);
        if last {
            buf.extend_from_slice(http1::LAST_CHUNK);
        }
        write_now(client, buf, begin).await
    }

    /// Ends the answer.
    pub async fn end(&mut self, client: &mut ClientConn, payload: &[u8]) -> Result<(), Halt> {
        let mut out = self.head.take().unwrap_or_default();
        self.frame(payload, &mut out);
        if self.chunked {
            out.extend_from_slice(http1::LAST_CHUNK);
        }
        if out.is_empty() {
            return Ok(());
        }
        write_now(client, out, 0).await.map(drop)
    }

    /// The next piece of the upstream's payload, appended to `buf`; heartbeats while it is quiet,
    /// if `between_events`.
    pub async fn read(
        &mut self,
        client: &mut ClientConn,
        answer: &mut Answer,
        provider: &Provider,
        buf: Vec<u8>,
        between_events: bool,
    ) -> Result<(Result<(), &'static str>, Vec<u8>), Halt> {
        let idle = provider.network.idle_timeout;
        let mut quiet = Duration::ZERO;
        let mut reading = pin!(answer.read(buf));
        loop {
            let wait = self.every.min(idle.saturating_sub(quiet));
            match client.guard(wait, reading.as_mut()).await {
                Ok(read) => return Ok(read),
                Err(Interrupt::Gone) => return Err(Halt::Gone),
                Err(Interrupt::Expired) => quiet += wait,
            }
            if quiet >= idle {
                return Err(stalled(provider, Interrupt::Expired));
            }
            if between_events {
                self.heartbeat(client).await?;
            }
        }
    }

    /// Waits for `pause`, with heartbeats if that is long.
    pub async fn pause(&mut self, client: &mut ClientConn, pause: Duration) -> Result<(), Halt> {
        let mut sleeping = pin!(monoio::time::sleep(pause));
        loop {
            match client.guard(self.every, sleeping.as_mut()).await {
                Ok(()) => return Ok(()),
                Err(Interrupt::Gone) => return Err(Halt::Gone),
                Err(Interrupt::Expired) => self.heartbeat(client).await?,
            }
        }
    }

    async fn heartbeat(&mut self, client: &mut ClientConn) -> Result<(), Halt> {
        if self.beat.is_empty() {
            return Ok(());
        }
        self.counters.heartbeats.add(1);
        let beat = std::mem::take(&mut self.beat);
        let sent = self.send(client, &beat).await;
        self.beat = beat;
        sent
    }

    fn frame(&self, payload: &[u8], out: &mut Vec<u8>) {
        if payload.is_empty() {
            return;
        }
        if self.chunked {
            let (prefix, used) = http1::chunk_prefix(payload.len());
            out.extend_from_slice(prefix.get(..used).unwrap_or_default());
            out.extend_from_slice(payload);
            out.extend_from_slice(http1::CHUNK_END);
        } else {
            out.extend_from_slice(payload);
        }
    }
}

/// Writes bytes to the client.
pub async fn write(client: &mut ClientConn, buf: Vec<u8>, start: usize) -> Result<Vec<u8>, Halt> {
    client.write(buf, start, CLIENT_WRITE).await.map_err(|_| Halt::Gone)
}

/// Writes a piece of a stream to the client, without waiting for others to be written with it.
async fn write_now(client: &mut ClientConn, buf: Vec<u8>, start: usize) -> Result<Vec<u8>, Halt> {
    client.write_now(buf, start, CLIENT_WRITE).await.map_err(|_| Halt::Gone)
}
