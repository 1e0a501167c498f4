//! OpenAI Responses answers, written: streamed and whole.
//!
//! In: the events of a [`crate::chat::Sequencer`], or a [`Folded`] message. Out: the vendor's
//! events in its order, with stable ids, dense indexes and a running `sequence_number`, or the
//! response object; both come from the same state, so the object that ends a stream is the one that
//! a plain answer would have been. An item is said to be done when the next one begins or the
//! answer stops, since only then it is known whether it is complete. Answers are read by
//! `openai_responses_decoder`. Never: says an event type that the vendor does not have.
//!
//! The last event holds the whole answer; so an answer is kept in memory, as each SDK does.
//! Page: <https://platform.openai.com/docs/api-reference/responses-streaming>

use super::Reply;
use super::openai_responses_items::{
    self as items, Content, FunctionCall, Item, Message, Reasoning, append_elements, summary_part,
};
use super::openai_responses_object::{Response, State};
use super::openai_responses_seal::{self as seal, Sealed};
use crate::chat::{Block, Delta, Event, Folded, FoldedBlock, Raw, Seal, Stop, StopReason};
use crate::wire::frames::Frames;
use crate::wire::json_write::Object;

pub use super::openai_responses_decoder::Decoder;
pub(super) use super::openai_responses_decoder::decode_message;

/// Writes one answer's events. One per answer.
#[derive(Debug)]
pub struct Encoder {
    response: Box<Response>,
    item: Item,
    voice: Voice,
    refused: bool,
    stop: Option<StopReason>,
}

/// Says events, numbered from 0; without frames they are only counted.
#[derive(Debug, Default)]
struct Voice {
    sequence: u64,
}

type Out<'f, 'b> = &'f mut Option<&'b mut Frames>;

impl Voice {
    fn say(&mut self, out: Out<'_, '_>, kind: &str, members: impl FnOnce(&mut Object<'_>)) {
        let number = self.sequence;
        self.sequence += 1;
        let Some(frames) = out else { return };
        let mut object = Object::begin(frames.begin(Some(kind)));
        object.text("type", kind).unsigned("sequence_number", number);
        members(&mut object);
        object.end();
        frames.end();
    }

    fn state(&mut self, out: Out<'_, '_>, response: &Response, kind: &str, state: &State) {
        self.say(out, kind, |event| response.write(state, event.key("response")));
    }
}

impl Encoder {
    pub(super) fn new(reply: Reply) -> Self {
        Self {
            response: Box::new(Response::new(reply)),
            item: Item::None,
            voice: Voice::default(),
            refused: false,
            stop: None,
        }
    }

    pub(super) fn event(&mut self, event: &Event<'_>, out: &mut Frames) {
        self.take(event, &mut Some(out));
    }

    fn take(&mut self, event: &Event<'_>, out: Out<'_, '_>) {
        match event {
            Event::Start { id, model, usage } => {
                if !id.is_empty() {
                    self.response.id = id.to_string();
                }
                if !model.is_empty() {
                    self.response.model = model.to_string();
                }
                self.response.usage.merge(usage);
                self.begin(out);
            }
            Event::Open { block, .. } => self.open(block, out),
            Event::Delta { delta, .. } => self.delta(delta, out),
            Event::Close { .. } => self.close(out),
            Event::Usage(usage) => self.response.usage.merge(usage),
            Event::Stop(stop) => self.stopped(stop, out),
            Event::End => {
                let state = self.ending();
                self.voice.state(out, &self.response, state.event(), &state);
            }
            Event::Error(fault) => {
                if self.voice.sequence == 0 {
                    self.begin(out);
                }
                self.close(out);
                self.finish("incomplete", out);
                let state = State::failed(fault);
                self.voice.state(out, &self.response, state.event(), &state);
            }
        }
    }

    fn begin(&mut self, out: Out<'_, '_>) {
        let state = State::InProgress;
        self.voice.state(out, &self.response, "response.created", &state);
        self.voice.state(out, &self.response, state.event(), &state);
    }

    fn open(&mut self, block: &Block<'_>, out: Out<'_, '_>) {
        match block {
            Block::Text => self.open_content(false, out),
            Block::Refusal => self.open_content(true, out),
            Block::Thinking => self.open_reasoning(None, out),
            Block::Redacted(seal) => {
                self.open_reasoning(Some(seal::write(seal, Sealed::Redacted)), out);
            }
            Block::ToolUse { id, name } => self.open_call(id, name, out),
            Block::Opaque { kind, raw } => self.whole(kind, raw, out),
        }
    }

    /// Texts and refusals that follow each other are parts of one message.
    fn open_content(&mut self, refusal: bool, out: Out<'_, '_>) {
        self.refused |= refusal;
        if !matches!(&self.item, Item::Message(message) if message.seal.is_none()) {
            self.finish("completed", out);
            let message = Message {
                id: self.response.item_id("msg"),
                parts: Vec::new(),
                count: 0,
                part: None,
                seal: None,
            };
            let index = self.response.next_index();
            self.voice.say(out, "response.output_item.added", |event| {
                event.unsigned("output_index", index.into());
                message.write("in_progress", event.key("item"));
            });
            self.item = Item::Message(message);
        }
        let index = self.response.next_index();
        if let Item::Message(message) = &mut self.item {
            let part = message.part.insert(Content { refusal, ..Content::default() });
            self.voice.say(out, "response.content_part.added", |event| {
                event.text("item_id", &message.id).unsigned("output_index", index.into());
                event.unsigned("content_index", message.count.into());
                part.write(event.key("part"));
            });
        }
    }

    fn open_reasoning(&mut self, seal: Option<String>, out: Out<'_, '_>) {
        self.finish("completed", out);
        let id = self.response.item_id("rs");
        let mut item = Reasoning { id, text: String::new(), begun: false, seal: None };
        let index = self.response.next_index();
        self.voice.say(out, "response.output_item.added", |event| {
            event.unsigned("output_index", index.into());
            item.write(event.key("item"));
        });
        item.seal = seal;
        self.item = Item::Reasoning(item);
    }

    fn open_call(&mut self, call_id: &str, name: &str, out: Out<'_, '_>) {
        self.finish("completed", out);
        let id = self.response.item_id("fc");
        let call_id =
            if call_id.is_empty() { id.replacen("fc", "call", 1) } else { call_id.into() };
        let call = FunctionCall {
            id,
            call_id,
            name: name.to_owned(),
            arguments: String::new(),
            seal: None,
        };
        let index = self.response.next_index();
        self.voice.say(out, "response.output_item.added", |event| {
            event.unsigned("output_index", index.into());
            call.write("in_progress", event.key("item"));
        });
        self.item = Item::Call(call);
    }

    /// A whole item as its vendor wrote it; of another vendor's language there is no form for it.
    fn whole(&mut self, kind: &str, raw: Raw<'_>, out: Out<'_, '_>) {
        if !items::is_known(kind) {
            return;
        }
        self.finish("completed", out);
        let index = self.response.next_index();
        for name in ["response.output_item.added", "response.output_item.done"] {
            self.voice.say(out, name, |event| {
                event.unsigned("output_index", index.into()).raw("item", raw);
            });
        }
        self.response.push(|out| out.extend_from_slice(raw.as_bytes()));
    }

    fn delta(&mut self, delta: &Delta<'_>, out: Out<'_, '_>) {
        match delta {
            Delta::Text(text) | Delta::Refusal(text) => self.say_text(text, None, out),
            Delta::Logprobs(raw) => self.say_text("", Some(raw), out),
            Delta::Citation(raw) => {
                if let Item::Message(Message { part: Some(part), .. }) = &mut self.item {
                    part.citations.push((*raw).to_owned());
                }
            }
            Delta::Thinking(text) => self.say_thinking(text, out),
            Delta::Arguments(text) => self.say_arguments(text, out),
            Delta::Seal(seal) => self.seal(seal),
        }
    }

    fn say_text(&mut self, text: &str, logprobs: Option<Raw<'_>>, out: Out<'_, '_>) {
        let Item::Message(message) = &mut self.item else { return };
        let Some(part) = &mut message.part else { return };
        part.text.push_str(text);
        if part.refusal && logprobs.is_some() {
            return;
        }
        if let Some(raw) = logprobs {
            append_elements(&mut part.logprobs, raw);
        }
        let (index, refusal) = (self.response.next_index(), part.refusal);
        let (id, content_index) = (&message.id, message.count);
        let kind = if refusal { "response.refusal.delta" } else { "response.output_text.delta" };
        self.voice.say(out, kind, |event| {
            event.text("item_id", id).unsigned("output_index", index.into());
            event.unsigned("content_index", content_index.into()).text("delta", text);
            if !refusal {
                event.raw("logprobs", logprobs.unwrap_or("[]"));
            }
        });
    }

    fn say_thinking(&mut self, text: &str, out: Out<'_, '_>) {
        let index = self.response.next_index();
        let Item::Reasoning(item) = &mut self.item else { return };
        if !item.begun {
            item.begun = true;
            self.voice.say(out, "response.reasoning_summary_part.added", |event| {
                event.text("item_id", &item.id).unsigned("output_index", index.into());
                event.unsigned("summary_index", 0);
                summary_part("", event.object("part"));
            });
        }
        item.text.push_str(text);
        self.voice.say(out, "response.reasoning_summary_text.delta", |event| {
            event.text("item_id", &item.id).unsigned("output_index", index.into());
            event.unsigned("summary_index", 0).text("delta", text);
        });
    }

    fn say_arguments(&mut self, text: &str, out: Out<'_, '_>) {
        let index = self.response.next_index();
        let Item::Call(call) = &mut self.item else { return };
        if text.is_empty() {
            return;
        }
        call.arguments.push_str(text);
        self.voice.say(out, "response.function_call_arguments.delta", |event| {
            event.text("item_id", &call.id).unsigned("output_index", index.into());
            event.text("delta", text);
        });
    }

    fn seal(&mut self, seal: &Seal<'_>) {
        let previous = || Some(seal::write(seal, Sealed::Previous));
        match &mut self.item {
            Item::Reasoning(item) => item.seal = Some(seal::write(seal, Sealed::Thinking)),
            Item::Message(message) => message.seal = previous(),
            Item::Call(call) => call.seal = previous(),
            Item::None => {}
        }
    }

    fn close(&mut self, out: Out<'_, '_>) {
        let index = self.response.next_index();
        match &mut self.item {
            Item::None => {}
            Item::Message(message) => {
                if let Some(part) = &message.part {
                    part_done(&mut self.voice, part, (&message.id, index, message.count), out);
                }
                message.close_part();
            }
            Item::Reasoning(item) => {
                if item.begun {
                    self.voice.say(out, "response.reasoning_summary_text.done", |event| {
                        event.text("item_id", &item.id).unsigned("output_index", index.into());
                        event.unsigned("summary_index", 0).text("text", &item.text);
                    });
                    self.voice.say(out, "response.reasoning_summary_part.done", |event| {
                        event.text("item_id", &item.id).unsigned("output_index", index.into());
                        event.unsigned("summary_index", 0);
                        summary_part(&item.text, event.object("part"));
                    });
                }
            }
            Item::Call(call) => {
                if call.arguments.trim().is_empty() {
                    call.arguments.push_str("{}");
                    self.voice.say(out, "response.function_call_arguments.delta", |event| {
                        event.text("item_id", &call.id).unsigned("output_index", index.into());
                        event.text("delta", "{}");
                    });
                }
                self.voice.say(out, "response.function_call_arguments.done", |event| {
                    event.text("item_id", &call.id).unsigned("output_index", index.into());
                    event.text("name", &call.name).text("arguments", &call.arguments);
                });
            }
        }
    }

    /// Says that the item is done, and whatever seal it leaves behind.
    fn finish(&mut self, status: &str, out: Out<'_, '_>) {
        let left = match std::mem::replace(&mut self.item, Item::None) {
            Item::None => return,
            Item::Message(mut message) => {
                message.close_part();
                self.done(|out| message.write(status, out), out);
                message.seal
            }
            Item::Reasoning(item) => {
                self.done(|out| item.write(out), out);
                None
            }
            Item::Call(call) => {
                self.done(|out| call.write(status, out), out);
                call.seal
            }
        };
        if let Some(seal) = left {
            self.open_reasoning(Some(seal), out);
            self.finish(status, out);
        }
    }

    fn done(&mut self, write: impl Fn(&mut Vec<u8>), out: Out<'_, '_>) {
        let index = self.response.next_index();
        self.voice.say(out, "response.output_item.done", |event| {
            event.unsigned("output_index", index.into());
            write(event.key("item"));
        });
        self.response.push(write);
    }

    fn stopped(&mut self, stop: &Stop<'_>, out: Out<'_, '_>) {
        self.stop = Some(stop.reason);
        let status = match self.ending() {
            State::Incomplete(_) => "incomplete",
            State::InProgress | State::Completed | State::Failed { .. } => "completed",
        };
        self.finish(status, out);
    }

    fn ending(&self) -> State {
        match self.stop {
            Some(StopReason::MaxTokens | StopReason::ContextWindow) => {
                State::Incomplete("max_output_tokens")
            }
            Some(StopReason::ContentFilter) => State::Incomplete("content_filter"),
            // With the refusal's own words the answer is whole.
            Some(StopReason::Refusal) if !self.refused => State::Incomplete("content_filter"),
            Some(
                StopReason::Refusal
                | StopReason::EndTurn
                | StopReason::StopSequence
                | StopReason::ToolUse
                | StopReason::PauseTurn,
            )
            | None => State::Completed,
        }
    }
}

/// Says that a part of a message is complete: its annotations, its text, itself.
fn part_done(
    voice: &mut Voice,
    part: &Content,
    (id, index, content_index): (&str, u32, u32),
    out: Out<'_, '_>,
) {
    let place = |event: &mut Object<'_>| {
        event.text("item_id", id).unsigned("output_index", index.into());
        event.unsigned("content_index", content_index.into());
    };
    for (number, citation) in part.citations.iter().enumerate() {
        voice.say(out, "response.output_text.annotation.added", |event| {
            place(event);
            event.unsigned("annotation_index", u64::try_from(number).unwrap_or(u64::MAX));
            part.annotation(citation, event.key("annotation"));
        });
    }
    if part.refusal {
        voice.say(out, "response.refusal.done", |event| {
            place(event);
            event.text("refusal", &part.text);
        });
    } else {
        voice.say(out, "response.output_text.done", |event| {
            place(event);
            event.text("text", &part.text);
            let logprobs = event.key("logprobs");
            logprobs.push(b'[');
            logprobs.extend_from_slice(part.logprobs.as_bytes());
            logprobs.push(b']');
        });
    }
    voice.say(out, "response.content_part.done", |event| {
        place(event);
        part.write(event.key("part"));
    });
}

/// Writes a whole answer: the object that would have ended its stream.
pub(super) fn encode_message(message: &Folded, reply: &Reply, out: &mut Vec<u8>) {
    let mut encoder = Encoder::new(reply.clone());
    let quiet = &mut None;
    let start = Event::Start {
        id: message.id.as_str().into(),
        model: message.model.as_str().into(),
        usage: message.usage.clone(),
    };
    encoder.take(&start, quiet);
    for block in &message.blocks {
        encoder.folded(block, quiet);
    }
    let state = if let Some(fault) = &message.fault {
        encoder.finish("incomplete", quiet);
        State::failed(fault)
    } else {
        let stop = message.stop.clone().unwrap_or(Stop::of(StopReason::EndTurn));
        encoder.stopped(&stop, quiet);
        encoder.ending()
    };
    encoder.response.write(&state, out);
}

impl Encoder {
    /// Takes the events that `block` was folded from.
    fn folded(&mut self, block: &FoldedBlock, out: Out<'_, '_>) {
        let opened = match &block.block {
            Block::Opaque { kind, .. } => Block::Opaque { kind: kind.clone(), raw: &block.raw },
            other => other.clone(),
        };
        self.open(&opened, out);
        let text = block.text.as_str();
        if !text.is_empty() {
            match &block.block {
                Block::Text | Block::Refusal => self.say_text(text, None, out),
                Block::Thinking => self.say_thinking(text, out),
                Block::ToolUse { .. } => self.say_arguments(text, out),
                Block::Redacted(_) | Block::Opaque { .. } => {}
            }
        }
        for raw in &block.citations {
            self.delta(&Delta::Citation(raw), out);
        }
        for raw in &block.logprobs {
            self.delta(&Delta::Logprobs(raw), out);
        }
        if let Some(seal) = &block.seal {
            self.seal(seal);
        }
        self.close(out);
    }
}
