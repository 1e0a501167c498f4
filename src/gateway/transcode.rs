//! Another dialect upstream: its answer is read as events and written in the client's language.
//!
//! In: an answer with a good status, streamed or whole. Out: the client's stream, each event as it
//! comes, or one whole message made of the same events. Never: buffers a stream; invents an end.

use super::account::Tally;
use super::exchange::{Answer, Halt};
use super::failure::Failure;
use super::outlet;
use super::reframe::Splitter;
use super::reply::Head;
use super::trail::Trail;
use super::{Core, Scene};
use crate::chat::{ErrorKind, Event, Fault, Folded, Sequencer};
use crate::dialect::{self, Decoder, Reply, Transcoder};
use crate::net::client_conn::ClientConn;
use crate::net::upstream::{HEADROOM, READ};
use crate::wire::frames::{Frame, Frames, Framing};

/// The largest whole answer that is taken in to be said in another language.
const WHOLE_MAX: usize = 64 << 20;

/// Headers of an upstream's answer that mean something in every dialect.
const PASSED: [&str; 4] = ["retry-after", "retry-after-ms", "x-should-retry", "date"];

/// An answer's head in the client's dialect: request ids under the client's name, rate limits as
/// they are.
pub fn head<'t>(scene: &Scene<'t>, answer: &Answer, content_type: &str, trail: &Trail) -> Head<'t> {
    let mut head = Head::new(scene.terms, answer.head.status);
    head.header("content-type", content_type.as_bytes());
    for (name, value) in answer.head.headers(answer.wire()) {
        let lower = name.to_ascii_lowercase();
        let limits = lower.contains("ratelimit");
        if limits || PASSED.contains(&lower.as_str()) {
            head.pass(&lower, value);
        } else if matches!(lower.as_str(), "request-id" | "x-request-id" | "x-amzn-requestid") {
            head.header(super::failure::request_id_header(scene.voice.dialect), value);
        }
    }
    scene.add_headers(&mut head, trail);
    head
}

/// Passes a streamed answer on, event by event.
pub async fn stream(
    core: &Core,
    client: &mut ClientConn,
    scene: &Scene<'_>,
    mut answer: Answer,
    (framing, reply): (Framing, Reply),
    tally: &mut Tally,
) -> Result<(), Halt> {
    let head = head(scene, &answer, scene.voice.stream_type(), &tally.trail).with_chunks();
    let mut outlet = scene.outlet(head, true);
    let mut frames = Frames::new(scene.voice.framing);
    let mut splitter = Splitter::new(framing);
    let mut transcoder = Transcoder::writing(scene.upstream, scene.voice.encoder(reply));
    let mut events = 0;
    let broken = |what: &str| Halt::from(Failure::broken(&scene.provider.name, what));
    answer.first().map_err(broken)?;
    let mut buf = std::mem::take(&mut answer.buf);
    let mut fresh = HEADROOM + answer.head.len;
    let mut cut = None;
    loop {
        let fed = splitter.feed(buf.get(fresh..).unwrap_or_default(), &mut |frame| {
            events += 1;
            transcoder.feed(frame, &mut frames);
        });
        if let Err(what) = fed {
            cut = Some(what);
        }
        let over = cut.is_some() || answer.done();
        if over {
            finish(&mut splitter, &mut transcoder, &mut frames, cut.take(), scene);
        }
        tally.take_stream(&transcoder, events);
        if let (false, Some(fault)) = (outlet.committed(), transcoder.fault()) {
            return Err(Failure::early(fault.clone()).into());
        }
        let ended = transcoder.ended();
        if ended {
            outlet.end(client, frames.bytes()).await?;
            if answer.done() {
                answer.finish(core);
            }
            return Ok(());
        }
        // read and written: a slow client keeps neither buffer
        core.buffers.give(std::mem::take(&mut buf));
        if !frames.is_empty() {
            let out = outlet.framed(frames.bytes());
            frames.clear();
            outlet::write(client, out, 0).await?;
        }
        buf = core.buffers.take();
        buf.clear();
        buf.resize(HEADROOM, 0);
        fresh = HEADROOM;
        buf.reserve(READ);
        let read = outlet.read(client, &mut answer, scene.provider, buf, true);
        match read.await {
            Ok((result, read)) => {
                buf = read;
                cut = result.err().map(str::to_owned);
            }
            Err(Halt::Failed(failure)) if outlet.committed() => {
                buf = Vec::new();
                fresh = 0;
                cut = Some(failure.fault.message.into_owned());
            }
            Err(halt) => return Err(halt),
        }
    }
}

/// The upstream's bytes are over: a last event without its blank line, then the ending.
fn finish(
    splitter: &mut Splitter,
    transcoder: &mut Transcoder,
    frames: &mut Frames,
    cut: Option<String>,
    scene: &Scene<'_>,
) {
    match cut {
        None => {
            splitter.finish(&mut |frame| transcoder.feed(frame, frames));
        }
        Some(what) if transcoder.stop().is_none() => {
            let message = format!("{}: {what}", scene.provider.name).into();
            let fault = Fault { kind: ErrorKind::Network, message, code: None };
            transcoder.fail(fault, frames);
        }
        Some(_) => {}
    }
    transcoder.finish(frames);
}

/// Passes a whole answer on.
pub async fn whole(
    core: &Core,
    client: &mut ClientConn,
    scene: &Scene<'_>,
    mut answer: Answer,
    reply: Reply,
    tally: &mut Tally,
) -> Result<(), Halt> {
    answer.read_whole(client, scene.provider, WHOLE_MAX).await?;
    let body = answer.buf.get(HEADROOM + answer.head.len..).unwrap_or_default();
    let broken = |what: &str| Halt::from(Failure::broken(&scene.provider.name, what));
    let text = std::str::from_utf8(body).map_err(|_| broken("its answer is not text"))?;
    let streamed = answer.header("content-type").is_some_and(|kind| kind.contains("event-stream"));
    let folded = if streamed {
        fold_stream(scene, text)
    } else {
        dialect::fold_message(scene.upstream, text)
    };
    tally.take_folded(&folded);
    if let Some(fault) = folded.fault {
        return Err(Failure::early(fault).into());
    }
    if scene.stream {
        let frames = frames_of(scene, text, reply);
        let head = head(scene, &answer, scene.voice.stream_type(), &tally.trail).with_chunks();
        scene.outlet(head, true).end(client, frames.bytes()).await?;
        answer.finish(core);
        return Ok(());
    }
    let out = scene.voice.message(&folded, &reply);
    let out = head(scene, &answer, "application/json", &tally.trail).whole(&out);
    outlet::write(client, out, 0).await?;
    answer.finish(core);
    Ok(())
}

/// An upstream that streams although a whole answer was asked for.
fn fold_stream(scene: &Scene<'_>, text: &str) -> Folded {
    let mut folded = Folded::default();
    let mut decoder = Decoder::new(scene.upstream);
    let mut sequencer = Sequencer::new(dialect::closes_blocks(scene.upstream));
    let mut splitter = Splitter::new(Framing::Sse);
    let mut each = |frame: Frame<'_>| {
        decoder.frame(frame, &mut |event| {
            sequencer.push(event, &mut |event| folded.push(&event));
        });
    };
    let _broken = splitter.feed(text.as_bytes(), &mut each);
    splitter.finish(&mut each);
    sequencer.finish(&mut |event| folded.push(&event));
    folded
}

/// The client's stream, of an upstream that answered as a whole although a stream was asked for.
fn frames_of(scene: &Scene<'_>, text: &str, reply: Reply) -> Frames {
    let mut frames = Frames::new(scene.voice.framing);
    let mut encoder = scene.voice.encoder(reply);
    let mut sequencer = Sequencer::new(dialect::closes_blocks(scene.upstream));
    let mut say = |event: Event<'_>| encoder.event(&event, &mut frames);
    dialect::decode_message(scene.upstream, text, &mut |event| sequencer.push(event, &mut say));
    sequencer.finish(&mut say);
    frames
}
