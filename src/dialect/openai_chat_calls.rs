//! The tool calls of one OpenAI Chat answer, told apart.
//!
//! In: the pieces of calls as the upstream sends them: with or without index, id, name, in one
//! piece or many. Out: for each piece, the call that it belongs to. Some followers number every
//! call 0, some give no number: a new id is a new call. A call is opened when its name is known.
//! Never: joins two calls, or repeats a name.

use crate::chat::{Block, Event, Raw, Sink};
use crate::wire::json_read;
use std::borrow::Cow;

/// One piece of a call.
#[derive(Debug, Default)]
pub(super) struct Call<'a> {
    index: Option<u64>,
    id: Cow<'a, str>,
    name: Cow<'a, str>,
    pub(super) arguments: Cow<'a, str>,
}

impl<'a> Call<'a> {
    pub(super) fn read(raw: Raw<'a>) -> Self {
        let mut call = Self::default();
        for (name, value) in json_read::fields(raw) {
            match name.as_ref() {
                "index" => call.index = json_read::unsigned(value),
                "id" => call.id = json_read::text(value).unwrap_or_default(),
                "function" => call.function(value),
                // A custom tool, whose input is free text.
                "custom" => {
                    call.name = json_read::text_field(value, "name").unwrap_or_default();
                    call.arguments = json_read::text_field(value, "input").unwrap_or_default();
                }
                _ => {}
            }
        }
        call
    }

    /// A piece of `function_call`, the API's first form: one call at most, without an id.
    pub(super) fn read_legacy(raw: Raw<'a>) -> Self {
        let mut call = Self { index: Some(0), ..Self::default() };
        call.function(raw);
        call
    }

    fn function(&mut self, raw: Raw<'a>) {
        for (name, value) in json_read::fields(raw) {
            match name.as_ref() {
                "name" => self.name = json_read::text(value).unwrap_or_default(),
                "arguments" if json_read::is_object(value) => {
                    self.arguments = Cow::Borrowed(value);
                }
                "arguments" => self.arguments = json_read::text(value).unwrap_or_default(),
                _ => {}
            }
        }
    }
}

/// A call as far as it is known.
#[derive(Debug)]
pub(super) struct Held {
    index: Option<u64>,
    id: String,
    name: String,
    /// Arguments that came before the name.
    pub(super) arguments: String,
    /// Its block, once it is opened.
    pub(super) slot: Option<u32>,
    number: usize,
}

impl Held {
    /// Opens the call's block. A call without an id gets one of the answer's id and its number.
    pub(super) fn open(&mut self, slot: u32, answer: &str, out: Sink<'_>) {
        self.slot = Some(slot);
        if self.id.is_empty() && !answer.is_empty() {
            let answer = answer.strip_prefix("chatcmpl-").unwrap_or(answer);
            self.id = format!("call_{answer}_{}", self.number);
        }
        let (id, name) = (Cow::Borrowed(self.id.as_str()), Cow::Borrowed(self.name.as_str()));
        out(Event::Open { slot, block: Block::ToolUse { id, name } });
    }
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    held: Vec<Held>,
}

impl Calls {
    /// Takes a piece; gives its call if that is open or can be opened now.
    pub(super) fn push(&mut self, call: &Call<'_>) -> Option<&mut Held> {
        let at = self.place_of(call).unwrap_or_else(|| {
            self.held.push(Held {
                index: call.index,
                id: call.id.to_string(),
                name: String::new(),
                arguments: String::new(),
                slot: None,
                number: self.held.len(),
            });
            self.held.len() - 1
        });
        let held = self.held.get_mut(at)?;
        if held.slot.is_some() {
            return Some(held);
        }
        if held.id.is_empty() {
            held.id = call.id.to_string();
        }
        if held.name.is_empty() {
            held.name = call.name.to_string();
        }
        if held.name.is_empty() {
            held.arguments.push_str(&call.arguments);
            return None;
        }
        Some(held)
    }

    /// Whether the piece begins a call of its own.
    pub(super) fn is_new(&self, call: &Call<'_>) -> bool {
        self.place_of(call).is_none()
    }

    fn place_of(&self, call: &Call<'_>) -> Option<usize> {
        let same = |held: &Held| match call.index {
            Some(index) => held.index == Some(index),
            None => call.id.is_empty() || held.id == *call.id,
        };
        let at = self.held.iter().rposition(same)?;
        let held = self.held.get(at)?;
        let other_id = !call.id.is_empty() && !held.id.is_empty() && held.id != *call.id;
        // Without number and id, a name begins a call of its own.
        let fresh = call.index.is_none() && call.id.is_empty() && !call.name.is_empty();
        (!other_id && !fresh).then_some(at)
    }

    pub(super) fn slot_of(&self, id: &str) -> Option<u32> {
        self.held.iter().rfind(|held| held.id == id).and_then(|held| held.slot)
    }

    /// The calls that are not open yet.
    pub(super) fn unnamed(&mut self) -> impl Iterator<Item = &mut Held> {
        self.held.iter_mut().filter(|held| held.slot.is_none())
    }
}
