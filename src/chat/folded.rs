//! Events added up to one whole message.
//!
//! In: the events of a [`Sequencer`](super::Sequencer), in its grammar. Out: an owned message that
//! each dialect writes as its non-streamed answer. Since the streamed answer is made of the same
//! events, both are equal by construction.
//! Never: reorders or drops a block.

use super::{Block, Delta, Event, Fault, Raw, Seal, Stop, Usage};
use std::borrow::Cow;

/// One whole answer.
#[derive(Debug, Clone, Default)]
pub struct Folded {
    pub id: String,
    pub model: String,
    pub blocks: Vec<FoldedBlock>,
    pub usage: Usage,
    pub stop: Option<Stop<'static>>,
    /// Set when the answer ended in an error instead of a stop.
    pub fault: Option<Fault<'static>>,
}

/// One block with all its deltas joined.
#[derive(Debug, Clone)]
pub struct FoldedBlock {
    pub block: Block<'static>,
    /// Text, thinking, refusal or arguments, whichever the block is made of.
    pub text: String,
    pub seal: Option<Seal<'static>>,
    /// Raw JSON values, in their vendor's form.
    pub citations: Vec<String>,
    /// Raw JSON arrays of OpenAI log-probabilities, in order.
    pub logprobs: Vec<String>,
    /// The raw JSON of an opaque block.
    pub raw: String,
}

impl Folded {
    pub fn push(&mut self, event: &Event<'_>) {
        match event {
            Event::Start { id, model, usage } => {
                self.id = id.to_string();
                self.model = model.to_string();
                self.usage.merge(usage);
            }
            Event::Open { block, .. } => self.blocks.push(FoldedBlock::open(block)),
            Event::Delta { delta, .. } => {
                if let Some(block) = self.blocks.last_mut() {
                    block.push(delta);
                }
            }
            Event::Close { .. } | Event::End => {}
            Event::Usage(usage) => self.usage.merge(usage),
            Event::Stop(stop) => {
                self.stop = Some(Stop {
                    reason: stop.reason,
                    sequence: stop.sequence.as_ref().map(|s| Cow::Owned(s.to_string())),
                });
            }
            Event::Error(fault) => {
                self.fault = Some(Fault {
                    kind: fault.kind,
                    message: Cow::Owned(fault.message.to_string()),
                    code: fault.code.as_ref().map(|c| Cow::Owned(c.to_string())),
                });
            }
        }
    }
}

impl FoldedBlock {
    fn open(block: &Block<'_>) -> Self {
        let (block, raw) = own(block);
        Self {
            block,
            text: String::new(),
            seal: None,
            citations: Vec::new(),
            logprobs: Vec::new(),
            raw: raw.map_or_else(String::new, ToOwned::to_owned),
        }
    }

    fn push(&mut self, delta: &Delta<'_>) {
        match delta {
            Delta::Text(text)
            | Delta::Thinking(text)
            | Delta::Refusal(text)
            | Delta::Arguments(text) => self.text.push_str(text),
            Delta::Seal(seal) => self.seal = Some(seal.to_static()),
            Delta::Citation(raw) => self.citations.push((*raw).to_owned()),
            Delta::Logprobs(raw) => self.logprobs.push((*raw).to_owned()),
        }
    }

    /// The tool call's arguments; an empty text means `{}`.
    pub fn arguments(&self) -> &str {
        if self.text.trim().is_empty() { "{}" } else { &self.text }
    }
}

impl Seal<'_> {
    pub fn to_static(&self) -> Seal<'static> {
        Seal {
            dialect: self.dialect,
            data: Cow::Owned(self.data.to_string()),
            id: self.id.as_ref().map(|id| Cow::Owned(id.to_string())),
        }
    }
}

fn own<'a>(block: &Block<'a>) -> (Block<'static>, Option<Raw<'a>>) {
    match block {
        Block::Text => (Block::Text, None),
        Block::Thinking => (Block::Thinking, None),
        Block::Refusal => (Block::Refusal, None),
        Block::Redacted(seal) => (Block::Redacted(seal.to_static()), None),
        Block::ToolUse { id, name } => {
            let (id, name) = (id.to_string(), name.to_string());
            (Block::ToolUse { id: Cow::Owned(id), name: Cow::Owned(name) }, None)
        }
        Block::Opaque { kind, raw } => {
            (Block::Opaque { kind: Cow::Owned(kind.to_string()), raw: "" }, Some(raw))
        }
    }
}
