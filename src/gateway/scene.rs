//! One attempt as those see it who pass its answer on.
//!
//! In: who asks, and who answers. Out: the head of the answer, and the client's end of it.
//! Never: reads an answer.

use std::sync::Arc;
use std::time::Duration;

use super::exchange::Answer;
use super::outlet::Outlet;
use super::reply::{Head, Terms};
use super::trail::Trail;
use super::voice::Voice;
use crate::chat::{Dialect, Loss};
use crate::observe::Counters;
use crate::provider::{Operation, Provider};
use crate::wire::frames::{Frames, Framing};

/// One attempt to have a request answered by one provider.
#[derive(Debug)]
pub struct Scene<'a> {
    pub terms: &'a Terms,
    pub provider: &'a Provider,
    pub voice: Voice,
    pub operation: Operation,
    /// The language of errors: AWS's own for Bedrock's invoke, whatever its bodies are in.
    pub client: Dialect,
    pub upstream: Dialect,
    pub stream: bool,
    pub heartbeat: Duration,
    pub counters: &'a Arc<Counters>,
    pub loss: &'a Loss,
    /// The upstream was asked for usage that the client did not ask for.
    pub usage_hidden: bool,
}

impl<'a> Scene<'a> {
    /// The upstream's head as the client gets it, for the same dialect on both sides.
    pub fn head_of(&self, answer: &Answer, trail: &Trail) -> Head<'a> {
        let mut head = Head::new(self.terms, answer.head.status);
        for (name, value) in answer.head.headers(answer.wire()) {
            head.pass(name, value);
        }
        self.add_headers(&mut head, trail);
        head
    }

    /// Whether the stream's bytes can go to the client as they come.
    pub fn passes_bytes(&self, framing: Framing) -> bool {
        framing == self.voice.framing && framing == Framing::Sse && !self.usage_hidden
    }

    /// Who answered, and what could not be carried.
    pub fn add_headers(&self, head: &mut Head<'_>, trail: &Trail) {
        trail.answered(head);
        if !self.loss.is_empty() {
            head.header("x-bf-dropped", self.loss.header_value().as_bytes());
        }
    }

    /// The client's end of the answer; `events`: its stream may be kept alive between two events.
    pub fn outlet(&self, head: Vec<u8>, events: bool) -> Outlet {
        let mut beat = Frames::new(self.voice.framing);
        let beat = match self.voice.dialect {
            _ if !(self.stream && events) => Vec::new(),
            // google-genai for Python takes a comment for the begin of an error.
            Dialect::Gemini => b"\n\n".to_vec(),
            _ => {
                beat.heartbeat();
                beat.take(Vec::new())
            }
        };
        Outlet::new(head, self.terms.chunked(), beat, self.heartbeat, self.counters)
    }
}
