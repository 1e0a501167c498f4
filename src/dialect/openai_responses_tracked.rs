//! What the Responses decoder remembers of each item: ids, lengths and slots, but no text.
//!
//! In: what the decoder saw of an item. Out: which slot a part has, and how much of it was said.
//! Never: grows with the length of an answer's texts.

use crate::chat::{Block, Delta, Event, Sink};
use crate::wire::json_read;
use std::borrow::Cow;

/// The lists of parts that an item can have; a call's arguments are a list of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Text,
    Refusal,
    Summary,
    Reasoning,
    Call,
}

impl List {
    /// The type of the items that have this list.
    pub(super) const fn item(self) -> &'static str {
        match self {
            Self::Text | Self::Refusal => "message",
            Self::Summary | Self::Reasoning => "reasoning",
            Self::Call => "function_call",
        }
    }

    pub(super) const fn is_reasoning(self) -> bool {
        matches!(self, Self::Summary | Self::Reasoning)
    }

    /// The block that a part opens; none for a call, whose block has a name.
    pub(super) const fn block(self) -> Option<Block<'static>> {
        match self {
            Self::Text => Some(Block::Text),
            Self::Refusal => Some(Block::Refusal),
            Self::Summary | Self::Reasoning => Some(Block::Thinking),
            Self::Call => None,
        }
    }

    pub(super) const fn delta(self, text: Cow<'_, str>) -> Delta<'_> {
        match self {
            Self::Text => Delta::Text(text),
            Self::Refusal => Delta::Refusal(text),
            Self::Summary | Self::Reasoning => Delta::Thinking(text),
            Self::Call => Delta::Arguments(text),
        }
    }
}

#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) index: u64,
    pub(super) id: String,
    pub(super) kind: String,
    /// Whether the whole item was seen.
    pub(super) done: bool,
    pub(super) parts: Vec<Part>,
}

#[derive(Debug)]
pub(super) struct Part {
    list: List,
    index: u64,
    pub(super) slot: u32,
    /// Bytes said so far.
    pub(super) said: usize,
    pub(super) citations: usize,
    pub(super) logprobs: bool,
    /// The text is complete, as far as the server says.
    pub(super) finished: bool,
    pub(super) closed: bool,
}

impl Tracked {
    pub(super) fn new(index: u64, id: &str, kind: &str) -> Self {
        let (id, kind) = (id.to_owned(), kind.to_owned());
        Self { index, id, kind, done: false, parts: Vec::new() }
    }

    pub(super) fn part(&self, list: List, index: u64) -> Option<&Part> {
        self.parts.iter().find(|part| part.list == list && part.index == index)
    }

    pub(super) fn part_mut(&mut self, list: List, index: u64) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.list == list && part.index == index)
    }

    /// A new part with a slot of its own.
    pub(super) fn open(&mut self, list: List, index: u64, next: &mut u32) -> u32 {
        let slot = *next;
        *next += 1;
        self.join(list, index, slot);
        slot
    }

    /// A new part in the slot of another.
    pub(super) fn join(&mut self, list: List, index: u64, slot: u32) {
        self.parts.push(Part {
            list,
            index,
            slot,
            said: 0,
            citations: 0,
            logprobs: false,
            finished: false,
            closed: false,
        });
    }

    /// Closes every part.
    pub(super) fn close(&mut self, out: Sink<'_>) {
        for at in 0..self.parts.len() {
            self.close_slot_of(at, out);
        }
    }

    /// Closes the parts whose text is complete.
    pub(super) fn close_finished(&mut self, out: Sink<'_>) {
        for at in 0..self.parts.len() {
            if self.parts.get(at).is_some_and(|part| part.finished) {
                self.close_slot_of(at, out);
            }
        }
    }

    /// Parts may share a slot; it is closed once.
    fn close_slot_of(&mut self, at: usize, out: Sink<'_>) {
        let Some(slot) = self.parts.get(at).filter(|part| !part.closed).map(|part| part.slot)
        else {
            return;
        };
        for part in self.parts.iter_mut().filter(|part| part.slot == slot) {
            part.closed = true;
        }
        out(Event::Close { slot });
    }
}

impl Part {
    pub(super) fn close(&mut self, out: Sink<'_>) {
        if !std::mem::replace(&mut self.closed, true) {
            out(Event::Close { slot: self.slot });
        }
    }
}

/// The type of an item. Known ones are told apart here, so that no copy is needed.
pub(super) fn kind_of(item: &str) -> &str {
    let raw = json_read::field(item, "type").unwrap_or_default();
    raw.trim_matches('"')
}
