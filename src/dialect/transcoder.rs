//! Decoder -> sequencer -> encoder: one streamed answer on its way from an upstream to a client.
//!
//! In: the upstream's frames, and the end of its bytes. Out: the client's frames, and what the
//! gateway accounts for: usage, stop reason, model, fault. The gateway and the golden tests use
//! this same composition. Never: holds an answer back; what a frame means is written at once.

use super::{Decoder, Dialect, Encoder, Reply};
use crate::chat::{Event, Fault, Folded, Sequencer, Stop, Usage};
use crate::wire::frames::{Frame, Frames};
use std::borrow::Cow;

/// One streamed answer in passing. One per answer.
#[derive(Debug)]
pub struct Transcoder {
    decoder: Decoder,
    sequencer: Sequencer,
    encoder: Encoder,
    seen: Seen,
}

/// What passed by, for the account.
#[derive(Debug, Default)]
struct Seen {
    id: String,
    model: String,
    fault: Option<Fault<'static>>,
}

impl Seen {
    fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Start { id, model, .. } => {
                id.as_ref().clone_into(&mut self.id);
                model.as_ref().clone_into(&mut self.model);
            }
            Event::Error(fault) => self.fault = Some(owned(fault)),
            Event::Open { .. }
            | Event::Delta { .. }
            | Event::Close { .. }
            | Event::Usage(_)
            | Event::Stop(_)
            | Event::End => {}
        }
    }
}

impl Transcoder {
    pub fn new(upstream: Dialect, client: Dialect, reply: Reply) -> Self {
        Self::writing(upstream, Encoder::new(client, reply))
    }

    /// As [`Transcoder::new`], for a client whose language is more than a dialect
    /// ([`Encoder::invoke`]).
    pub fn writing(upstream: Dialect, encoder: Encoder) -> Self {
        Self {
            decoder: Decoder::new(upstream),
            sequencer: Sequencer::new(super::closes_blocks(upstream)),
            encoder,
            seen: Seen::default(),
        }
    }

    /// Takes one frame of the upstream; writes what follows from it for the client.
    pub fn feed(&mut self, frame: Frame<'_>, out: &mut Frames) {
        let Self { decoder, sequencer, encoder, seen } = self;
        decoder.frame(frame, &mut |event| {
            sequencer.push(event, &mut |event| {
                seen.note(&event);
                encoder.event(&event, out);
            });
        });
    }

    /// The upstream's bytes are over; without its stop before, that is an error for the client.
    pub fn finish(&mut self, out: &mut Frames) {
        let Self { sequencer, encoder, seen, .. } = self;
        sequencer.finish(&mut |event| {
            seen.note(&event);
            encoder.event(&event, out);
        });
    }

    /// Ends the answer with a fault of the gateway's own (a time-out, a broken connection).
    /// Nothing happens if the ending has been said.
    pub fn fail(&mut self, fault: Fault<'_>, out: &mut Frames) {
        let Self { sequencer, encoder, seen, .. } = self;
        sequencer.push(Event::Error(fault), &mut |event| {
            seen.note(&event);
            encoder.event(&event, out);
        });
    }

    /// Whether the ending has been written.
    pub fn ended(&self) -> bool {
        self.sequencer.ended()
    }
    pub fn usage(&self) -> &Usage {
        self.sequencer.usage()
    }
    pub fn stop(&self) -> Option<&Stop<'static>> {
        self.sequencer.stop()
    }
    pub fn fault(&self) -> Option<&Fault<'static>> {
        self.seen.fault.as_ref()
    }
    /// The upstream's id of the answer; empty while unknown.
    pub fn id(&self) -> &str {
        &self.seen.id
    }
    /// The model as the upstream names it; empty while unknown.
    pub fn model(&self) -> &str {
        &self.seen.model
    }
}

/// Reads a whole answer of an upstream through the same sequencer as a streamed one.
/// When its `fault` is set, it is no answer, and the client is to get an error.
pub fn fold_message(upstream: Dialect, body: &str) -> Folded {
    let mut folded = Folded::default();
    let mut sequencer = Sequencer::new(super::closes_blocks(upstream));
    super::decode_message(upstream, body, &mut |event| {
        sequencer.push(event, &mut |event| folded.push(&event));
    });
    sequencer.finish(&mut |event| folded.push(&event));
    folded
}

fn owned(fault: &Fault<'_>) -> Fault<'static> {
    Fault {
        kind: fault.kind,
        message: Cow::Owned(fault.message.to_string()),
        code: fault.code.as_ref().map(|code| Cow::Owned(code.to_string())),
    }
}
