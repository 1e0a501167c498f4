//! Same dialect on both sides: the upstream's bytes go to the client as they came.
//!
//! In: an answer with a good status. Out: its bytes, unchanged, whole or piece by piece; on the way a
//! [`Tap`] reads usage, model and stop reason from the same slices. Never: parses into a tree or writes
//! an event anew; lets a cut stream look like one that ended.

use std::borrow::Cow;

use super::account::Tally;
use super::exchange::{Answer, Halt};
use super::failure::Failure;
use super::outlet::{self, Outlet};
use super::{Core, Scene};
use crate::chat::{Dialect, ErrorKind, Event, Fault};
use crate::dialect::Reply;
use crate::dialect::Tap;
use crate::dialect::errors;
use crate::net::client_conn::ClientConn;
use crate::net::upstream::{HEADROOM, READ};
use crate::wire::frames::Frames;
use crate::wire::http1::BodyKind;
use crate::wire::sse::Splitter;

/// A whole answer is also kept for the tap, up to this size.
const TAP_MAX: usize = 1 << 20;
/// The begin of an event is kept back until the event is whole, up to this size.
const HELD_MAX: usize = READ / 2;
/// No event is larger.
pub const EVENT_MAX: usize = 32 << 20;

/// Passes a streamed answer on.
pub async fn stream(
    core: &Core,
    client: &mut ClientConn,
    scene: &Scene<'_>,
    mut answer: Answer,
    tally: &mut Tally,
) -> Result<(), Halt> {
    let head = scene.head_of(&answer, &tally.trail).with_chunks();
    let mut outlet = scene.outlet(head, true);
    let mut flow = Flow::new(scene.upstream);
    let broken = |what| Failure::broken(&scene.provider.name, what);
    answer.first().map_err(broken)?;
    let mut buf = std::mem::take(&mut answer.buf);
    // `buf[start..]` is not sent yet, `buf[fresh..]` not even tapped.
    let mut start = HEADROOM + answer.head.len;
    let mut fresh = start;
    loop {
        flow.tap(buf.get(fresh..).unwrap_or_default()).map_err(broken)?;
        tally.take_tap(&flow.tap, flow.events);
        if let (false, Some(fault)) = (outlet.committed(), flow.early_fault()) {
            return Err(Failure::early(fault).into());
        }
        let done = answer.done();
        let clean = done && flow.ended_well();
        if flow.events > 0 || clean {
            buf = release(client, &mut outlet, buf, start, clean).await?;
            start = HEADROOM;
        }
        if clean {
            answer.finish(core);
            return Ok(());
        }
        let cut = if done {
            Some(Cow::Borrowed("it ended its stream before the end"))
        } else {
            fresh = buf.len();
            if buf.capacity() - fresh < READ / 4 {
                buf.reserve_exact(READ);
            }
            let whole = flow.splitter.at_boundary() && fresh == start;
            let read = outlet.read(client, &mut answer, scene.provider, buf, whole);
            match read.await {
                Ok((result, read)) => {
                    buf = read;
                    result.err().map(Cow::Borrowed)
                }
                Err(Halt::Failed(failure)) if outlet.committed() => {
                    buf = Vec::new();
                    Some(failure.fault.message)
                }
                Err(halt) => return Err(halt),
            }
        };
        if let Some(what) = cut {
            if flow.ended_well() {
                return outlet.end(client, buf.get(start..).unwrap_or_default()).await;
            }
            if !outlet.committed() {
                return Err(Failure::broken(&scene.provider.name, &what).into());
            }
            return self::cut(client, &mut outlet, scene, tally, &what).await;
        }
    }
}

/// The state of a stream that passes.
struct Flow {
    splitter: Splitter,
    tap: Tap,
    events: u64,
    fault_first: bool,
}

impl Flow {
    fn new(dialect: Dialect) -> Self {
        Self {
            splitter: Splitter::new(EVENT_MAX),
            tap: Tap::new(dialect),
            events: 0,
            fault_first: false,
        }
    }

    fn tap(&mut self, payload: &[u8]) -> Result<(), &'static str> {
        let Self { splitter, tap, events, fault_first, .. } = self;
        splitter
            .feed(payload, &mut |frame| {
                tap.frame(frame);
                *fault_first |= *events == 0 && tap.fault().is_some();
                *events += 1;
            })
            .map_err(|_| "it sent a stream that is no event stream")
    }

    fn early_fault(&self) -> Option<Fault<'static>> {
        self.fault_first.then(|| self.tap.fault().cloned()).flatten()
    }

    fn ended_well(&self) -> bool {
        self.tap.saw_end() || self.tap.stop().is_some() || self.tap.fault().is_some()
    }
}

/// Sends what is whole of `buf[start..]`, in place. The begin of an event stays until the rest comes,
/// so that a cut can be told from an end: at `HEADROOM` of the buffer that is given back.
async fn release(
    client: &mut ClientConn,
    outlet: &mut Outlet,
    mut buf: Vec<u8>,
    start: usize,
    last: bool,
) -> Result<Vec<u8>, Halt> {
    let payload = buf.get(start..).unwrap_or_default();
    let whole = if last { payload.len() } else { last_boundary(payload) };
    let kept = payload.len() - whole <= HELD_MAX;
    let whole = if kept { whole } else { payload.len() };
    let rest = payload.get(whole..).unwrap_or_default().to_vec();
    if whole > 0 || last {
        buf.truncate(start + whole);
        buf = outlet.send_in_place(client, buf, start, last).await?;
    }
    buf.clear();
    buf.resize(HEADROOM, 0);
    buf.extend_from_slice(&rest);
    Ok(buf)
}

/// Where the last whole event ends; 0 if none does.
fn last_boundary(payload: &[u8]) -> usize {
    if payload.ends_with(b"\n\n") || payload.ends_with(b"\n\r\n") {
        return payload.len();
    }
    let plain = memchr::memmem::rfind(payload, b"\n\n").map_or(0, |at| at + 2);
    let crlf = memchr::memmem::rfind(payload, b"\n\r\n").map_or(0, |at| at + 3);
    plain.max(crlf)
}

/// Ends a stream that its upstream did not end: with an error in the client's dialect.
pub async fn cut(
    client: &mut ClientConn,
    outlet: &mut Outlet,
    scene: &Scene<'_>,
    tally: &mut Tally,
    what: &str,
) -> Result<(), Halt> {
    let message = format!("{}: {what}", scene.provider.name);
    let fault = Fault { kind: ErrorKind::Network, message: message.into(), code: None };
    tally.fault(&fault);
    let mut frames = Frames::new(scene.voice.framing);
    match scene.voice.dialect {
        // Whose `response.failed` would have to repeat an answer that went by unread.
        Dialect::OpenAiResponses => errors::write_event(&fault, tally.events, &mut frames),
        _ => scene.voice.encoder(Reply::default()).event(&Event::Error(fault), &mut frames),
    }
    outlet.end(client, frames.bytes()).await
}

/// Passes a whole answer on.
pub async fn whole(
    core: &Core,
    client: &mut ClientConn,
    scene: &Scene<'_>,
    mut answer: Answer,
    tally: &mut Tally,
) -> Result<(), Halt> {
    let broken = |what| Halt::from(Failure::broken(&scene.provider.name, what));
    let length = match answer.head.body {
        BodyKind::Length(length) => usize::try_from(length).ok(),
        BodyKind::None => Some(0),
        BodyKind::Chunked | BodyKind::UntilClose => None,
    };
    answer.first().map_err(broken)?;
    if scene.client == Dialect::Bedrock && length.is_some_and(|length| length <= TAP_MAX) {
        // boto3 takes a body that is shorter than its length for an answer without fields.
        answer.read_rest(client, scene.provider, TAP_MAX).await?;
    }
    let mut head = scene.head_of(&answer, &tally.trail);
    let mut start = HEADROOM + answer.head.len;
    if matches!(answer.head.status, 204 | 205 | 304) {
        outlet::write(client, head.without_body(), 0).await?;
        answer.finish(core);
        return Ok(());
    }
    if answer.done() {
        let body = answer.buf.get(start..).unwrap_or_default();
        tally.take_whole(scene.operation, scene.upstream, body);
        let out = head.whole(body);
        outlet::write(client, out, 0).await?;
        answer.finish(core);
        return Ok(());
    }
    let mut outlet = match length {
        Some(length) => {
            let head = head.with_length(length);
            Outlet::new(head, false, Vec::new(), scene.heartbeat, scene.counters)
        }
        None => scene.outlet(head.with_chunks(), false),
    };
    // What the tap reads at the end; given up where the body turns out too large for it.
    let mut kept = (length.unwrap_or(0) <= TAP_MAX).then(Vec::new);
    let mut buf = std::mem::take(&mut answer.buf);
    loop {
        let payload = buf.get(start..).unwrap_or_default();
        kept = kept.filter(|kept| kept.len() + payload.len() <= TAP_MAX);
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(payload);
        }
        let done = answer.done();
        buf = outlet.send_in_place(client, buf, start, done).await?;
        if done {
            tally.take_whole(scene.operation, scene.upstream, kept.as_deref().unwrap_or_default());
            answer.finish(core);
            return Ok(());
        }
        buf.clear();
        buf.resize(HEADROOM, 0);
        start = HEADROOM;
        let reading = outlet.read(client, &mut answer, scene.provider, buf, false);
        // The head has been sent: all that is left to say is a cut connection.
        let (result, read) = reading.await.map_err(|halt| tally.end_of_whole(halt))?;
        result.map_err(|what| tally.end_of_whole(broken(what)))?;
        buf = read;
    }
}
