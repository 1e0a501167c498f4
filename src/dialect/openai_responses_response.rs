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
use super::seal;
use crate::chat::{Block, Delta, Dialect, Event, Folded, FoldedBlock, Raw, Seal, Stop, StopReason};
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
                // Another vendor's id keeps no promise here: nothing can be fetched by it.
                if id.starts_with("resp_") {
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
                self.open_reasoning(Some(packed(seal)), out);
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
                if let Item::Message(Message { part: Some(part), .. }) = &mut self.item
                    && items::is_annotation(raw)
                {
                    part.citations.push((*raw).to_owned());
                }
            }
            Delta::Thinking(text) => self.say_thinking(text, out),
            Delta::Arguments(text) => self.say_arguments(text, out),
            Delta::Seal(seal) => self.seal(seal, out),
        }
    }

    fn say_text(&mut self, text: &str, logprobs: Option<Raw<'_>>, out: Out<'_, '_>) {
        let Item::Message(message) = &mut self.item else { return };
        let Some(part) = &mut message.part else { return };
        part.text.push_str(text);
        if text.is_empty() && (part.refusal || logprobs.is_none()) {
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
        if text.is_empty() {
            return;
        }
        self.begin_summary(out);
        let index = self.response.next_index();
        let Item::Reasoning(item) = &mut self.item else { return };
        item.text.push_str(text);
        self.voice.say(out, "response.reasoning_summary_text.delta", |event| {
            event.text("item_id", &item.id).unsigned("output_index", index.into());
            event.unsigned("summary_index", 0).text("delta", text);
        });
    }

    fn begin_summary(&mut self, out: Out<'_, '_>) {
        let index = self.response.next_index();
        let Item::Reasoning(item) = &mut self.item else { return };
        if !std::mem::replace(&mut item.begun, true) {
            self.voice.say(out, "response.reasoning_summary_part.added", |event| {
                event.text("item_id", &item.id).unsigned("output_index", index.into());
                event.unsigned("summary_index", 0);
                summary_part("", event.object("part"));
            });
        }
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

    /// Reasoning that is sealed but not shown has an empty summary, which tells it from reasoning
    /// that nobody can read, with none at all. Calls and texts have no place for a seal: theirs
    /// follows as an item of its own.
    fn seal(&mut self, seal: &Seal<'_>, out: Out<'_, '_>) {
        self.begin_summary(out);
        match &mut self.item {
            Item::Reasoning(item) => item.seal = Some(packed(seal)),
            Item::Message(message) => message.seal = Some(seal::pack_attached(seal)),
            Item::Call(call) => call.seal = Some(seal::pack_attached(seal)),
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

/// The text of `encrypted_content`; a seal of Responses has its id in the item.
fn packed(seal: &Seal<'_>) -> String {
    if seal.dialect == Dialect::OpenAiResponses {
        return seal.data.to_string();
    }
    seal::pack(seal, Dialect::OpenAiResponses).into_owned()
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
            self.seal(seal, out);
        }
        self.close(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{ErrorKind, Fault, Sequencer, Usage};
    use crate::wire::frames::{Frame, Framing};
    use proptest::prelude::*;
    use serde_json::Value;

    fn reply() -> Reply {
        Reply { model: "m".into(), id: "1".into(), created: 7, ..Reply::default() }
    }

    fn encoded(events: &[Event<'_>]) -> String {
        let (mut encoder, mut out) = (Encoder::new(reply()), Frames::new(Framing::Sse));
        let mut sequencer = Sequencer::new(true);
        for event in events {
            sequencer.push(event.clone(), &mut |event| encoder.event(&event, &mut out));
        }
        sequencer.finish(&mut |event| encoder.event(&event, &mut out));
        String::from_utf8(out.bytes().to_vec()).unwrap()
    }

    /// Name and data of each event.
    fn events(stream: &str) -> Vec<(String, Value)> {
        stream
            .split_terminator("\n\n")
            .map(|frame| {
                let (name, data) = frame.split_once('\n').unwrap();
                let name = name.strip_prefix("event: ").unwrap().to_owned();
                (name, serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap())
            })
            .collect()
    }

    fn names(stream: &str) -> Vec<String> {
        events(stream).into_iter().map(|(name, _)| name).collect()
    }

    fn decoded(stream: &str) -> Folded {
        let (mut decoder, mut sequencer) = (Decoder::default(), Sequencer::new(true));
        let mut folded = Folded::default();
        for frame in stream.split_terminator("\n\n") {
            let data = frame.split_once('\n').unwrap().1.strip_prefix("data: ").unwrap();
            let frame = Frame { name: None, exception: false, data };
            decoder.frame(frame, &mut |event| {
                sequencer.push(event, &mut |event| folded.push(&event));
            });
        }
        sequencer.finish(&mut |event| folded.push(&event));
        folded
    }

    fn folded(events: &[Event<'_>]) -> Folded {
        let (mut sequencer, mut folded) = (Sequencer::new(true), Folded::default());
        for event in events {
            sequencer.push(event.clone(), &mut |event| folded.push(&event));
        }
        sequencer.finish(&mut |event| folded.push(&event));
        folded
    }

    /// A block in pieces, with the seal that it ends in.
    type Piece = (Block<'static>, Vec<String>, Option<Seal<'static>>);

    fn seal_strategy() -> impl Strategy<Value = Seal<'static>> {
        (".{1,12}", 0_usize..4).prop_map(|(data, which)| {
            let foreign =
                [Dialect::Anthropic, Dialect::OpenAiChat, Dialect::Bedrock, Dialect::Gemini];
            Seal { dialect: foreign[which], data: data.into(), id: None }
        })
    }

    fn piece() -> impl Strategy<Value = Piece> {
        let texts = || prop::collection::vec(".{0,9}", 0..4);
        let said = || prop::collection::vec(".{1,9}", 1..4);
        prop_oneof![
            said().prop_map(|texts| (Block::Text, texts, None)),
            said().prop_map(|texts| (Block::Refusal, texts, None)),
            (texts(), seal_strategy()).prop_map(|(texts, seal)| (
                Block::Thinking,
                texts,
                Some(seal)
            )),
            ".{1,9}".prop_map(|text| (Block::Thinking, vec![text], None)),
            seal_strategy().prop_map(|seal| (Block::Redacted(seal), Vec::new(), None)),
            ("[a-z]{1,9}", "[a-z]{1,9}", texts()).prop_map(|(id, name, texts)| {
                (Block::ToolUse { id: id.into(), name: name.into() }, texts, None)
            }),
        ]
    }

    fn said(pieces: &[Piece], reason: StopReason) -> Vec<Event<'static>> {
        let usage = Usage {
            input: Some(9),
            output: Some(5),
            reasoning: Some(2),
            cache_read: Some(3),
            cache_write: Some(1),
            service_tier: Some("default".into()),
            ..Usage::default()
        };
        let (id, model) = ("resp_x".into(), "gpt-5".into());
        let mut events = vec![Event::Start { id, model, usage: Usage::default() }];
        for (slot, (block, texts, seal)) in (0..).zip(pieces) {
            events.push(Event::Open { slot, block: block.clone() });
            for text in texts {
                let text = text.clone().into();
                let delta = match block {
                    Block::Text => Delta::Text(text),
                    Block::Thinking => Delta::Thinking(text),
                    Block::Refusal => Delta::Refusal(text),
                    _ => Delta::Arguments(text),
                };
                events.push(Event::Delta { slot, delta });
            }
            if let Some(seal) = seal {
                events.push(Event::Delta { slot, delta: Delta::Seal(seal.clone()) });
            }
            events.push(Event::Close { slot });
        }
        events.extend([Event::Usage(usage), Event::Stop(Stop::of(reason)), Event::End]);
        events
    }

    fn assert_same(left: &Folded, right: &Folded) {
        assert_eq!((&left.id, &left.model, &left.usage), (&right.id, &right.model, &right.usage));
        assert_eq!((&left.stop, &left.fault), (&right.stop, &right.fault));
        assert_eq!(left.blocks.len(), right.blocks.len(), "{left:?}\n{right:?}");
        for (left, right) in left.blocks.iter().zip(&right.blocks) {
            assert_eq!((&left.block, &left.seal), (&right.block, &right.seal));
            match left.block {
                Block::ToolUse { .. } => assert_eq!(left.arguments().trim(), right.text.trim()),
                _ => assert_eq!(left.text, right.text),
            }
            assert_eq!((&left.citations, &left.logprobs), (&right.citations, &right.logprobs));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(pieces in prop::collection::vec(piece(), 0..6), cut: bool) {
            let refused = pieces.iter().any(|(block, ..)| *block == Block::Refusal);
            let reason = match (cut, refused) {
                (true, _) => StopReason::MaxTokens,
                (false, true) => StopReason::Refusal,
                (false, false) => StopReason::EndTurn,
            };
            let events = said(&pieces, reason);
            let (stream, whole) = (encoded(&events), folded(&events));
            assert_same(&whole, &decoded(&stream));
            let mut object = Vec::new();
            encode_message(&whole, &reply(), &mut object);
            let object = String::from_utf8(object).unwrap();
            let mut read = Folded::default();
            let mut sequencer = Sequencer::new(true);
            decode_message(&object, &mut |event| {
                sequencer.push(event, &mut |event| read.push(&event));
            });
            assert_same(&whole, &read);
            // The stream ends in the very object of the plain answer.
            let last = stream.trim_end().rsplit("\n\n").next().unwrap();
            prop_assert!(last.contains(&object));
        }

        #[test]
        fn order_ids_and_indexes_are_the_vendors(pieces in prop::collection::vec(piece(), 0..6)) {
            let stream = encoded(&said(&pieces, StopReason::EndTurn));
            let (mut open, mut done) = (None, 0);
            let events = events(&stream);
            for (number, (name, data)) in events.iter().enumerate() {
                prop_assert_eq!(data["sequence_number"].as_u64(), Some(number as u64));
                prop_assert_eq!(data["type"].as_str(), Some(name.as_str()));
                match name.as_str() {
                    "response.created" => prop_assert_eq!(number, 0),
                    "response.in_progress" => prop_assert_eq!(number, 1),
                    "response.completed" => {
                        prop_assert_eq!(number + 1, events.len());
                        let output = data["response"]["output"].as_array().unwrap();
                        prop_assert_eq!(output.len() as u64, done);
                    }
                    "response.output_item.added" => {
                        prop_assert_eq!(data["output_index"].as_u64(), Some(done));
                        prop_assert!(open.is_none());
                        open = Some(data["item"]["id"].clone());
                    }
                    "response.output_item.done" => {
                        prop_assert_eq!(open.take(), Some(data["item"]["id"].clone()));
                        done += 1;
                    }
                    _ => {
                        prop_assert_eq!(data["output_index"].as_u64(), Some(done));
                        prop_assert_eq!(open.as_ref(), Some(&data["item_id"]));
                    }
                }
            }
        }

        #[test]
        fn nothing_that_comes_makes_the_decoder_panic(
            frames in prop::collection::vec(
                ("(response\\.(created|completed|output_item\\.(added|done)|output_text\\.(delta|done)\
                  |refusal\\.delta|content_part\\.done|function_call_arguments\\.(delta|done)\
                  |reasoning_summary_text\\.(delta|done)))|error|x",
                 "\\PC{0,30}", 0_u64..3), 0..12),
        ) {
            let (mut decoder, mut sequencer) = (Decoder::default(), Sequencer::new(true));
            for (kind, junk, index) in &frames {
                let junk = serde_json::to_string(junk).unwrap();
                let data = format!(
                    "{{\"type\":\"{kind}\",\"output_index\":{index},\"delta\":{junk},\"item\":{junk},\
                     \"text\":{junk},\"part\":{{\"type\":\"output_text\",\"text\":{junk}}},\
                     \"response\":{{\"output\":[{junk},{{\"type\":{junk}}}]}}}}"
                );
                for data in [data.as_str(), junk.as_str()] {
                    let frame = Frame { name: None, exception: false, data };
                    decoder.frame(frame, &mut |event| sequencer.push(event, &mut |_| {}));
                }
            }
            sequencer.finish(&mut |_| {});
        }
    }

    #[test]
    fn texts_are_parts_of_one_message_and_said_in_the_vendors_order() {
        let pieces = [(Block::Text, vec!["Hel".into(), "lo".into()], None)];
        let stream = encoded(&said(&pieces, StopReason::EndTurn));
        assert_eq!(
            names(&stream),
            [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.completed",
            ]
        );
        let (_, last) = events(&stream).pop().unwrap();
        assert_eq!(last["response"]["output"][0]["content"][0]["text"], "Hello");
        assert_eq!(last["response"]["output"][0]["id"], "msg_x_0");
        assert_eq!(last["response"]["usage"]["input_tokens"], 13);
        assert_eq!(last["response"]["usage"]["input_tokens_details"]["cached_tokens"], 3);
    }

    #[test]
    fn an_answer_cut_short_is_incomplete_down_to_its_last_item() {
        let pieces = [
            (Block::Thinking, vec!["hm".into()], None),
            (Block::Text, vec!["Once upon".into()], None),
        ];
        let stream = encoded(&said(&pieces, StopReason::MaxTokens));
        let (name, last) = events(&stream).pop().unwrap();
        assert_eq!(name, "response.incomplete");
        assert_eq!(last["response"]["status"], "incomplete");
        assert_eq!(last["response"]["incomplete_details"]["reason"], "max_output_tokens");
        assert_eq!(last["response"]["output"][1]["status"], "incomplete");
    }

    #[test]
    fn a_failure_before_anything_still_begins_with_created() {
        let fault = Fault { kind: ErrorKind::Overloaded, message: "too many".into(), code: None };
        let stream = encoded(&[Event::Error(fault)]);
        assert_eq!(names(&stream), ["response.created", "response.in_progress", "response.failed"]);
        let (_, last) = events(&stream).pop().unwrap();
        assert_eq!(last["response"]["error"]["code"], "server_is_overloaded");
        assert_eq!(last["response"]["error"]["message"], "too many");
        assert_eq!(decoded(&stream).fault.unwrap().kind, ErrorKind::Overloaded);
    }

    #[test]
    fn what_was_said_before_a_failure_is_in_its_output() {
        let mut events_in = said(&[(Block::Text, vec!["half".into()], None)], StopReason::EndTurn);
        events_in.truncate(3);
        let stream = encoded(&events_in);
        let (name, last) = events(&stream).pop().unwrap();
        assert_eq!(name, "response.failed");
        assert_eq!(last["response"]["output"][0]["content"][0]["text"], "half");
        assert_eq!(last["response"]["output"][0]["status"], "incomplete");
    }

    #[test]
    fn the_seal_of_a_call_follows_it_as_an_item() {
        let seal = Seal { dialect: Dialect::Gemini, data: "sig".into(), id: None };
        let call = Block::ToolUse { id: "c".into(), name: "f".into() };
        let stream = encoded(&said(&[(call, vec!["{}".into()], Some(seal))], StopReason::ToolUse));
        let (_, last) = events(&stream).pop().unwrap();
        assert_eq!(last["response"]["output"][0]["type"], "function_call");
        assert_eq!(last["response"]["output"][1]["encrypted_content"], "fga1:gemini:0:sig");
    }

    #[test]
    fn citations_of_every_vendor_become_annotations() {
        let cited = |raw: &'static str| {
            let mut events_in =
                said(&[(Block::Text, vec!["abc".into()], None)], StopReason::EndTurn);
            events_in.insert(3, Event::Delta { slot: 0, delta: Delta::Citation(raw) });
            let (_, last) = events(&encoded(&events_in)).pop().unwrap();
            last["response"]["output"][0]["content"][0]["annotations"][0].clone()
        };
        let url = serde_json::json!({"type":"url_citation","start_index":0,"end_index":3,
            "title":"T","url":"https://a"});
        assert_eq!(
            cited(r#"{"type":"web_search_result_location","url":"https://a","title":"T"}"#),
            url
        );
        assert_eq!(
            cited(
                r#"{"type":"url_citation","url_citation":{"start_index":0,"end_index":3,
                    "title":"T","url":"https://a"}}"#
            ),
            url
        );
        let page = cited(r#"{"type":"char_location","document_index":2,"document_title":"D"}"#);
        assert_eq!(page, Value::Null);
    }
}
