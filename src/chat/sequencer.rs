//! Any order of events -> the strict grammar.
//!
//! In: events as a decoder saw them: blocks never opened or closed, several open at once, usage in
//! pieces, nothing said at the end. Out: `Start (Open Delta* Close)* (Stop Usage End | Error)`,
//! with slots dense from 0, one block open at a time, and exactly one ending.
//! Never: loses a delta. What cannot be put in order ends the stream with an [`Event::Error`].
//!
//! ```text
//! Fresh   --Start (implied by anything else)--> Running
//! Running --End, or end of input after a Stop--> Ended
//! Running --Error, or end of input without a Stop--> Ended
//! ```

use super::{Block, Delta, ErrorKind, Event, Fault, Stop, StopReason, Usage};
use std::borrow::Cow;

/// Where a decoder's events go.
pub type Sink<'s> = &'s mut dyn FnMut(Event<'_>);

/// Held text of blocks that wait for the open one to close, in bytes.
const WAITING_MAX: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Fresh,
    Running,
    Ended,
}

#[derive(Debug)]
struct Open {
    slot: u32,
    dense: u32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Refusal,
    Tool,
    Whole,
}

/// A block that was opened while another one was.
#[derive(Debug)]
struct Waiting {
    slot: u32,
    block: Block<'static>,
    raw: String,
    deltas: Vec<Delta<'static>>,
    raws: Vec<(RawKind, String)>,
    closed: bool,
}

#[derive(Debug, Clone, Copy)]
enum RawKind {
    Citation,
    Logprobs,
}

/// Brings one answer's events into the grammar. One per answer.
#[derive(Debug)]
pub struct Sequencer {
    phase: Phase,
    /// Whether the upstream's language closes its blocks itself (Anthropic, Bedrock, Responses).
    explicit: bool,
    next: u32,
    open: Option<Open>,
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
    usage: Usage,
    stop: Option<Stop<'static>>,
    called: bool,
}

impl Sequencer {
    /// `explicit`: the upstream's language says when a block is closed, so a block opened
    /// meanwhile has to wait; otherwise opening one closes the one before.
    pub fn new(explicit: bool) -> Self {
        Self {
            phase: Phase::Fresh,
            explicit,
            next: 0,
            open: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
            usage: Usage::default(),
            stop: None,
            called: false,
        }
    }

    /// Whether the ending has been said.
    pub fn ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    pub fn stop(&self) -> Option<&Stop<'static>> {
        self.stop.as_ref()
    }

    /// Takes one event of the decoder; says what follows from it.
    pub fn push(&mut self, event: Event<'_>, out: Sink<'_>) {
        match self.phase {
            Phase::Ended => return,
            Phase::Fresh if !matches!(event, Event::Start { .. } | Event::Error(_)) => {
                self.start(Cow::Borrowed(""), Cow::Borrowed(""), out);
            }
            Phase::Fresh | Phase::Running => {}
        }
        match event {
            Event::Start { id, model, usage } => {
                self.usage.merge(&usage);
                if self.phase == Phase::Fresh {
                    self.start(id, model, out);
                }
            }
            Event::Open { slot, block } => self.opened(slot, block, out),
            Event::Delta { slot, delta } => self.delta(slot, delta, out),
            Event::Close { slot } => self.closed(slot, out),
            Event::Usage(usage) => self.usage.merge(&usage),
            Event::Stop(stop) => {
                self.stop = Some(Stop {
                    reason: stop.reason,
                    sequence: stop.sequence.map(|s| Cow::Owned(s.into_owned())),
                });
            }
            Event::End => self.end(out),
            Event::Error(fault) => self.fail(fault, out),
        }
    }

    /// The upstream's bytes are over. Without a stop before, that is a cut: an error.
    pub fn finish(&mut self, out: Sink<'_>) {
        if self.phase == Phase::Ended {
            return;
        }
        if self.stop.is_some() {
            self.end(out);
        } else {
            let message = Cow::Borrowed("the upstream closed the stream before its end");
            self.fail(Fault { kind: ErrorKind::Network, message, code: None }, out);
        }
    }

    fn start(&mut self, id: Cow<'_, str>, model: Cow<'_, str>, out: Sink<'_>) {
        self.phase = Phase::Running;
        out(Event::Start { id, model, usage: self.usage.clone() });
    }

    fn opened(&mut self, slot: u32, block: Block<'_>, out: Sink<'_>) {
        if self.open.as_ref().is_some_and(|open| open.slot == slot) {
            self.close_open(out);
        }
        if self.open.is_some() {
            if self.explicit {
                self.wait(slot, &block, out);
                return;
            }
            self.close_open(out);
        }
        self.say_open(slot, block, out);
    }

    fn say_open(&mut self, slot: u32, block: Block<'_>, out: Sink<'_>) {
        let kind = kind_of(&block);
        self.called |= kind == Kind::Tool;
        let dense = self.next;
        self.next += 1;
        self.open = Some(Open { slot, dense, kind });
        out(Event::Open { slot: dense, block });
    }

    fn delta(&mut self, slot: u32, delta: Delta<'_>, out: Sink<'_>) {
        if let Some(waiting) = self.waiting.iter_mut().find(|w| w.slot == slot && !w.closed) {
            self.waiting_bytes += waiting.push(&delta);
            if self.waiting_bytes > WAITING_MAX {
                self.fail(disorder("too much was interleaved"), out);
            }
            return;
        }
        if self.open.as_ref().is_some_and(|open| open.slot == slot && fits(open.kind, &delta)) {
            if let Some(open) = &self.open {
                out(Event::Delta { slot: open.dense, delta });
            }
            return;
        }
        // The block was never opened, or another one came between: only plain text can begin anew.
        let block = match &delta {
            Delta::Text(_) | Delta::Citation(_) | Delta::Logprobs(_) => Block::Text,
            Delta::Thinking(_) | Delta::Seal(_) => Block::Thinking,
            Delta::Refusal(_) => Block::Refusal,
            Delta::Arguments(_) => {
                self.fail(disorder("tool arguments came outside their call"), out);
                return;
            }
        };
        self.close_open(out);
        if self.phase == Phase::Ended {
            return;
        }
        self.say_open(slot, block, out);
        if let Some(open) = &self.open {
            out(Event::Delta { slot: open.dense, delta });
        }
    }

    fn closed(&mut self, slot: u32, out: Sink<'_>) {
        if self.open.as_ref().is_some_and(|open| open.slot == slot) {
            self.close_open(out);
            self.say_waiting(out);
        } else if let Some(waiting) = self.waiting.iter_mut().find(|w| w.slot == slot) {
            waiting.closed = true;
        }
    }

    fn close_open(&mut self, out: Sink<'_>) {
        if let Some(open) = self.open.take() {
            out(Event::Close { slot: open.dense });
        }
    }

    fn wait(&mut self, slot: u32, block: &Block<'_>, out: Sink<'_>) {
        let waiting = Waiting::new(slot, block);
        self.waiting_bytes += waiting.raw.len();
        self.waiting.push(waiting);
        if self.waiting_bytes > WAITING_MAX {
            self.fail(disorder("too much was interleaved"), out);
        }
    }

    /// Says the blocks that waited, up to one that is still open.
    fn say_waiting(&mut self, out: Sink<'_>) {
        while self.open.is_none() && !self.waiting.is_empty() {
            let waiting = self.waiting.remove(0);
            self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.bytes());
            let block = match waiting.block {
                Block::Opaque { kind, .. } => Block::Opaque { kind, raw: &waiting.raw },
                other => other,
            };
            self.say_open(waiting.slot, block, out);
            let Some(dense) = self.open.as_ref().map(|open| open.dense) else { return };
            for delta in waiting.deltas {
                out(Event::Delta { slot: dense, delta });
            }
            for (kind, raw) in &waiting.raws {
                let delta = match kind {
                    RawKind::Citation => Delta::Citation(raw),
                    RawKind::Logprobs => Delta::Logprobs(raw),
                };
                out(Event::Delta { slot: dense, delta });
            }
            if waiting.closed {
                self.close_open(out);
            }
        }
    }

    fn end(&mut self, out: Sink<'_>) {
        while self.open.is_some() || !self.waiting.is_empty() {
            self.close_open(out);
            self.say_waiting(out);
        }
        let mut stop = self.stop.clone().unwrap_or(Stop::of(StopReason::EndTurn));
        if self.called && stop.reason == StopReason::EndTurn {
            stop.reason = StopReason::ToolUse;
        }
        self.stop = Some(stop.clone());
        self.phase = Phase::Ended;
        out(Event::Stop(stop));
        out(Event::Usage(self.usage.clone()));
        out(Event::End);
    }

    fn fail(&mut self, fault: Fault<'_>, out: Sink<'_>) {
        self.phase = Phase::Ended;
        out(Event::Error(fault));
    }
}

fn disorder(message: &'static str) -> Fault<'static> {
    let message = Cow::Owned(format!("the upstream's stream is out of order: {message}"));
    Fault { kind: ErrorKind::Api, message, code: None }
}

fn kind_of(block: &Block<'_>) -> Kind {
    match block {
        Block::Text => Kind::Text,
        Block::Thinking => Kind::Thinking,
        Block::Refusal => Kind::Refusal,
        Block::ToolUse { .. } => Kind::Tool,
        Block::Redacted(_) | Block::Opaque { .. } => Kind::Whole,
    }
}

fn fits(kind: Kind, delta: &Delta<'_>) -> bool {
    match delta {
        Delta::Text(_) | Delta::Citation(_) => kind == Kind::Text,
        Delta::Thinking(_) => kind == Kind::Thinking,
        Delta::Refusal(_) => kind == Kind::Refusal,
        Delta::Arguments(_) => kind == Kind::Tool,
        Delta::Seal(_) => kind != Kind::Whole,
        Delta::Logprobs(_) => matches!(kind, Kind::Text | Kind::Refusal | Kind::Tool),
    }
}

impl Waiting {
    fn new(slot: u32, block: &Block<'_>) -> Self {
        let mut raw = String::new();
        let block = match block {
            Block::Text => Block::Text,
            Block::Thinking => Block::Thinking,
            Block::Refusal => Block::Refusal,
            Block::Redacted(seal) => Block::Redacted(seal.to_static()),
            Block::ToolUse { id, name } => Block::ToolUse {
                id: Cow::Owned(id.to_string()),
                name: Cow::Owned(name.to_string()),
            },
            Block::Opaque { kind, raw: text } => {
                raw.push_str(text);
                Block::Opaque { kind: Cow::Owned(kind.to_string()), raw: "" }
            }
        };
        Self { slot, block, raw, deltas: Vec::new(), raws: Vec::new(), closed: false }
    }

    /// Keeps an owned copy; returns how many bytes that took.
    fn push(&mut self, delta: &Delta<'_>) -> usize {
        let owned = |text: &Cow<'_, str>| Cow::Owned(text.to_string());
        let (delta, size) = match delta {
            Delta::Text(text) => (Delta::Text(owned(text)), text.len()),
            Delta::Thinking(text) => (Delta::Thinking(owned(text)), text.len()),
            Delta::Refusal(text) => (Delta::Refusal(owned(text)), text.len()),
            Delta::Arguments(text) => (Delta::Arguments(owned(text)), text.len()),
            Delta::Seal(seal) => (Delta::Seal(seal.to_static()), seal.data.len()),
            Delta::Citation(raw) => {
                self.raws.push((RawKind::Citation, (*raw).to_owned()));
                return raw.len();
            }
            Delta::Logprobs(raw) => {
                self.raws.push((RawKind::Logprobs, (*raw).to_owned()));
                return raw.len();
            }
        };
        self.deltas.push(delta);
        size
    }

    fn bytes(&self) -> usize {
        let texts = self.deltas.iter().map(|delta| match delta {
            Delta::Text(text)
            | Delta::Thinking(text)
            | Delta::Refusal(text)
            | Delta::Arguments(text) => text.len(),
            Delta::Seal(seal) => seal.data.len(),
            Delta::Citation(raw) | Delta::Logprobs(raw) => raw.len(),
        });
        texts.sum::<usize>()
            + self.raw.len()
            + self.raws.iter().map(|(_, r)| r.len()).sum::<usize>()
    }
}
