//! Same dialect on both sides, but another framing on one of them: Claude on Bedrock's invoke for a
//! client of Messages, or the other way round.
//!
//! In: an answer with a good status. Out: the same JSON, event by event, in the client's frames.
//! Never: decodes an event beyond what the tap needs.

use super::account::Tally;
use super::exchange::{Answer, Halt};
use super::failure::Failure;
use super::identity::{EVENT_MAX, cut};
use super::transcode::head;
use super::{Core, Scene, metering};
use crate::dialect::{Tap, bedrock_invoke};
use crate::net::client_conn::ClientConn;
use crate::net::upstream::{HEADROOM, READ};
use crate::wire::aws_event_stream::{self, Payload};
use crate::wire::frames::{Frame, Frames, Framing};
use crate::wire::sse;

/// Finds the frames of whichever framing an upstream uses.
#[derive(Debug)]
pub enum Splitter {
    Sse(sse::Splitter),
    Aws(aws_event_stream::Splitter),
}

impl Splitter {
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Sse => Self::Sse(sse::Splitter::new(EVENT_MAX)),
            Framing::AwsEventStream => {
                Self::Aws(aws_event_stream::Splitter::of(Payload::Json, EVENT_MAX))
            }
            Framing::AwsInvokeChunks => {
                Self::Aws(aws_event_stream::Splitter::of(Payload::Chunks, EVENT_MAX))
            }
        }
    }

    /// Says the frames that are whole with `bytes`.
    ///
    /// # Errors
    /// Which rule of the framing was broken; the stream is then over.
    pub fn feed(&mut self, bytes: &[u8], each: &mut dyn FnMut(Frame<'_>)) -> Result<(), String> {
        match self {
            Self::Sse(splitter) => splitter.feed(bytes, each).map_err(|error| error.to_string()),
            Self::Aws(splitter) => splitter.feed(bytes, each).map_err(|error| error.to_string()),
        }
    }

    /// The bytes are over: a last event that lacks its blank line.
    pub fn finish(&mut self, each: &mut dyn FnMut(Frame<'_>)) {
        if let Self::Sse(splitter) = self {
            // What is no text is no event.
            let _binary = splitter.finish(each);
        }
    }
}

/// Passes a streamed answer on, frame by frame.
pub async fn stream(
    core: &Core,
    client: &mut ClientConn,
    scene: &Scene<'_>,
    mut answer: Answer,
    framing: Framing,
    tally: &mut Tally,
) -> Result<(), Halt> {
    let head = head(scene, &answer, scene.voice.stream_type(), &tally.trail).with_chunks();
    let mut outlet = scene.outlet(head, true);
    let (mut splitter, mut tap) = (Splitter::new(framing), Tap::new(scene.upstream));
    let mut frames = Frames::new(scene.voice.framing);
    let mut events = 0;
    let broken = |what: &str| Halt::from(Failure::broken(&scene.provider.name, what));
    answer.first().map_err(broken)?;
    let mut buf = std::mem::take(&mut answer.buf);
    let mut fresh = HEADROOM + answer.head.len;
    loop {
        let fed = splitter.feed(buf.get(fresh..).unwrap_or_default(), &mut |frame| {
            events += 1;
            tap.frame(frame);
            if !(scene.usage_hidden && metering::is_usage_alone(frame.data)) {
                bedrock_invoke::reframe(scene.upstream, frame, &mut frames);
            }
        });
        tally.take_tap(&tap, events);
        if let (false, Some(fault)) = (outlet.committed(), tap.fault()) {
            return Err(Failure::early(fault.clone()).into());
        }
        let well = tap.saw_end() || tap.stop().is_some() || tap.fault().is_some();
        if answer.done() && well {
            outlet.end(client, frames.bytes()).await?;
            answer.finish(core);
            return Ok(());
        }
        if !frames.is_empty() {
            outlet.send(client, frames.bytes()).await?;
            frames.clear();
        }
        let mut what = fed.err();
        if what.is_none() && answer.done() {
            what = Some("it ended its stream before the end".to_owned());
        }
        if what.is_none() {
            buf.clear();
            buf.resize(HEADROOM, 0);
            buf.reserve(READ);
            fresh = HEADROOM;
            match outlet.read(client, &mut answer, scene.provider, buf, true).await {
                Ok((result, read)) => {
                    buf = read;
                    what = result.err().map(str::to_owned);
                }
                Err(Halt::Failed(failure)) if outlet.committed() => {
                    buf = Vec::new();
                    what = Some(failure.fault.message.into_owned());
                }
                Err(halt) => return Err(halt),
            }
        }
        match what {
            None => {}
            Some(_) if well => return outlet.end(client, b"").await,
            Some(what) if outlet.committed() => {
                return cut(client, &mut outlet, scene, tally, &what).await;
            }
            Some(what) => return Err(broken(&what)),
        }
    }
}
