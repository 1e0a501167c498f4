//! OpenAI Chat Completions answers, read.
//!
//! In: the chunks of a stream, or a whole completion, of OpenAI or one of its many followers.
//! Out: the hub's events. Calls are told apart by index and id, reasoning is read under each of
//! its names, usage wherever it stands. Never: trusts that a follower sends every member.
//! Source: <https://platform.openai.com/docs/api-reference/chat-streaming>.

use super::errors;
use super::expect::is_json;
use super::openai_chat_calls::{Call, Calls};
use super::openai_chat_usage::usage_of;
use super::reasoning_details::{self, Detail};
use crate::chat::{
    Block, Delta, ErrorKind, Event, Fault, Raw, Seal, Sink, Stop, StopReason, Usage,
};
use crate::wire::frames::Frame;
use crate::wire::json_read;
use std::borrow::Cow;

pub(super) use super::openai_chat_response_out::Encoder;
pub(super) use super::openai_chat_whole::encode_message;

/// The most text that waits for an open call to be complete, in bytes.
const LATE_MAX: usize = 16 << 10;

/// Reads one stream.
#[derive(Debug, Default)]
pub struct Decoder {
    started: bool,
    answer: Answer,
}

/// The answer so far: which block is open, and which calls there are.
#[derive(Debug, Default)]
struct Answer {
    id: String,
    /// The slot that the next block gets.
    next: u32,
    open: Option<(Kind, u32)>,
    calls: Calls,
    /// Index of the thought being told, where the upstream numbers them.
    thought: Option<u64>,
    /// Text that came while a call was open. Some followers put text between the pieces of a call,
    /// which must not cut it in two.
    late: String,
    refused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Refusal,
    Call,
}

impl Decoder {
    pub(super) fn frame(&mut self, frame: Frame<'_>, out: Sink<'_>) {
        let data = frame.data.trim_ascii();
        if data.is_empty() {
            return;
        }
        if data == "[DONE]" {
            self.answer.flush(out);
            out(Event::End);
            return;
        }
        if !is_json(data) {
            out(Event::Error(fault("the upstream sent a chunk that is not JSON")));
            return;
        }
        let chunk = Chunk::read(data);
        if chunk.failed || frame.name == Some("error") {
            out(Event::Error(errors::of_json(0, data).unwrap_or_else(|| fault("an error"))));
            return;
        }
        if !std::mem::replace(&mut self.started, true) {
            self.answer.id = chunk.id().into_owned();
            let (id, model) = (Cow::Borrowed(self.answer.id.as_str()), chunk.model());
            out(Event::Start { id, model, usage: chunk.usage() });
        }
        for choice in json_read::items(chunk.choices) {
            self.answer.choice(choice, "delta", out);
        }
        // The tier stands in every chunk; it is enough to say it with the first and the counts.
        if json_read::is_object(chunk.usage) {
            out(Event::Usage(chunk.usage()));
        }
    }
}

pub(super) fn decode_message(body: &str, out: Sink<'_>) {
    let body = body.trim_ascii();
    if !is_json(body) {
        out(Event::Error(fault("the upstream's answer is not JSON")));
        return;
    }
    let chunk = Chunk::read(body);
    if chunk.failed || json_read::items(chunk.choices).next().is_none() {
        let told = errors::of_json(0, body).filter(|_| chunk.failed || chunk.choices.is_empty());
        out(Event::Error(told.unwrap_or_else(|| fault("the upstream's answer has no choice"))));
        return;
    }
    let id = chunk.id();
    let mut answer = Answer { id: id.clone().into_owned(), ..Answer::default() };
    out(Event::Start { id, model: chunk.model(), usage: chunk.usage() });
    for choice in json_read::items(chunk.choices) {
        answer.choice(choice, "message", out);
    }
    answer.flush(out);
    out(Event::End);
}

/// The members of a chunk or a completion that matter.
#[derive(Default)]
struct Chunk<'a> {
    id: Raw<'a>,
    model: Raw<'a>,
    choices: Raw<'a>,
    usage: Raw<'a>,
    service_tier: Raw<'a>,
    failed: bool,
}

impl<'a> Chunk<'a> {
    fn read(data: &'a str) -> Self {
        let mut chunk = Self::default();
        for (name, value) in json_read::fields(data) {
            match name.as_ref() {
                "choices" => chunk.choices = value,
                "id" => chunk.id = value,
                "model" => chunk.model = value,
                "usage" => chunk.usage = value,
                "service_tier" => chunk.service_tier = value,
                "error" => chunk.failed = !json_read::is_null(value),
                _ => {}
            }
        }
        chunk
    }

    fn id(&self) -> Cow<'a, str> {
        json_read::text(self.id).unwrap_or_default()
    }

    fn model(&self) -> Cow<'a, str> {
        json_read::text(self.model).unwrap_or_default()
    }

    fn usage(&self) -> Usage {
        let told = json_read::is_object(self.usage);
        let usage = if told { usage_of(self.usage) } else { Usage::default() };
        Usage { service_tier: json_read::text(self.service_tier).map(Cow::into_owned), ..usage }
    }
}

impl Answer {
    /// Reads one choice; `said` is the member that holds what was said, `delta` or `message`.
    fn choice(&mut self, raw: Raw<'_>, said: &str, out: Sink<'_>) {
        let (mut delta, mut logprobs, mut finish, mut matched) = ("", "", "", "");
        for (name, value) in json_read::fields(raw) {
            match name.as_ref() {
                name if name == said => delta = value,
                "index" if json_read::unsigned(value).is_some_and(|index| index != 0) => return,
                "finish_reason" => finish = value,
                "logprobs" => logprobs = value,
                "stop_reason" => matched = value,
                "error" if json_read::is_object(value) => {
                    let told = errors::of_json(0, value);
                    out(Event::Error(told.unwrap_or_else(|| fault("an error"))));
                    return;
                }
                _ => {}
            }
        }
        self.delta(delta, out);
        if !logprobs.is_empty() {
            self.logprobs(logprobs, out);
        }
        if let Some(finish) = json_read::text(finish) {
            self.flush(out);
            self.finish(&finish, json_read::text(matched), out);
        }
    }

    fn delta(&mut self, raw: Raw<'_>, out: Sink<'_>) {
        let mut said = Said::default();
        for (name, value) in json_read::fields(raw) {
            match name.as_ref() {
                _ if value == "null" => {}
                "content" => said.content = value,
                "reasoning_content" | "reasoning" => said.thought = value,
                "reasoning_details" => said.details = value,
                "refusal" => said.refusal = value,
                "tool_calls" => said.calls = value,
                "function_call" => said.function = value,
                "annotations" => said.annotations = value,
                "audio" => said.audio = value,
                _ => {}
            }
        }
        self.think(&said, out);
        self.content(said.content, out);
        if let Some(text) = json_read::text_field(said.audio, "transcript") {
            self.say(Kind::Text, text, out);
        }
        for annotation in json_read::items(said.annotations) {
            let slot = self.slot(Kind::Text, out);
            out(Event::Delta { slot, delta: Delta::Citation(annotation) });
        }
        if let Some(text) = json_read::text(said.refusal) {
            self.refused |= !text.is_empty();
            self.say(Kind::Refusal, text, out);
        }
        for call in json_read::items(said.calls) {
            self.call(&Call::read(call), out);
            self.seal_call(said.details, out);
        }
        if !said.function.is_empty() {
            self.call(&Call::read_legacy(said.function), out);
        }
        if said.calls.is_empty() {
            self.seal_call(said.details, out);
        }
    }

    /// Reasoning under each of its names; where it is told twice, the plain text counts.
    fn think(&mut self, said: &Said<'_>, out: Sink<'_>) {
        let thought = json_read::text(said.thought).filter(|text| !text.is_empty());
        let told = thought.is_some();
        if said.details.is_empty() {
            self.say(Kind::Thinking, thought.unwrap_or_default(), out);
            return;
        }
        let mut whole = thought;
        for item in json_read::items(said.details) {
            match reasoning_details::read(item) {
                Some(Detail::Text { text, seal, index }) => {
                    self.turn_to(index);
                    let text = if text.is_empty() { whole.take() } else { Some(text) };
                    whole = None;
                    self.say(Kind::Thinking, text.unwrap_or_default(), out);
                    if let Some(seal) = seal {
                        let slot = self.slot(Kind::Thinking, out);
                        out(Event::Delta { slot, delta: Delta::Seal(seal) });
                        // Text after its seal is another thought.
                        self.open = self.open.filter(|(kind, _)| *kind != Kind::Thinking);
                    }
                }
                Some(Detail::Encrypted(seal)) if !self.is_of_call(&seal, said) => {
                    let slot = self.begin(None);
                    out(Event::Open { slot, block: Block::Redacted(seal) });
                    out(Event::Close { slot });
                }
                Some(Detail::Encrypted(_)) | None => {}
            }
        }
        if let Some(text) = whole.filter(|_| told) {
            self.say(Kind::Thinking, text, out);
        }
    }

    /// Closes the open thought if the entry belongs to another one.
    fn turn_to(&mut self, index: Option<u64>) {
        if index.is_some() && self.thought != index {
            self.thought = index;
            self.open = self.open.filter(|(kind, _)| *kind != Kind::Thinking);
        }
    }

    /// A string, or with some followers an array of typed pieces.
    fn content(&mut self, raw: Raw<'_>, out: Sink<'_>) {
        if let Some(text) = json_read::text(raw) {
            self.say(Kind::Text, text, out);
            return;
        }
        for piece in json_read::items(raw) {
            let kind = json_read::text_field(piece, "type").unwrap_or_default();
            if kind == "thinking" {
                let inner = json_read::field(piece, "thinking").unwrap_or("");
                if let Some(text) = json_read::text(inner) {
                    self.say(Kind::Thinking, text, out);
                }
                for item in json_read::items(inner) {
                    let text = json_read::text_field(item, "text").unwrap_or_default();
                    self.say(Kind::Thinking, text, out);
                }
            } else if let Some(text) = json_read::text_field(piece, "text") {
                self.say(Kind::Text, text, out);
            }
        }
    }

    fn say(&mut self, kind: Kind, text: Cow<'_, str>, out: Sink<'_>) {
        if text.is_empty() {
            return;
        }
        let calling = self.open.is_some_and(|(open, _)| open == Kind::Call);
        if calling && kind == Kind::Text && self.late.len() + text.len() <= LATE_MAX {
            self.late.push_str(&text);
            return;
        }
        self.say_late(out);
        let slot = self.slot(kind, out);
        let delta = match kind {
            Kind::Text => Delta::Text(text),
            Kind::Thinking => Delta::Thinking(text),
            Kind::Refusal => Delta::Refusal(text),
            Kind::Call => Delta::Arguments(text),
        };
        out(Event::Delta { slot, delta });
    }

    /// Says the text that came while a call was open; white space alone says nothing there.
    fn say_late(&mut self, out: Sink<'_>) {
        let late = std::mem::take(&mut self.late);
        if !late.trim().is_empty() {
            let slot = self.slot(Kind::Text, out);
            out(Event::Delta { slot, delta: Delta::Text(Cow::Owned(late)) });
        }
    }

    /// The slot of the open block of this kind; opens one if there is none.
    fn slot(&mut self, kind: Kind, out: Sink<'_>) -> u32 {
        if let Some((_, slot)) = self.open.filter(|(open, _)| *open == kind) {
            return slot;
        }
        let block = match kind {
            Kind::Text | Kind::Call => Block::Text,
            Kind::Thinking => Block::Thinking,
            Kind::Refusal => Block::Refusal,
        };
        let slot = self.begin(Some(kind));
        out(Event::Open { slot, block });
        slot
    }

    fn begin(&mut self, kind: Option<Kind>) -> u32 {
        let slot = self.next;
        self.next += 1;
        self.open = kind.map(|kind| (kind, slot));
        slot
    }

    fn call(&mut self, call: &Call<'_>, out: Sink<'_>) {
        if self.calls.is_new(call) {
            self.say_late(out);
        }
        let Some(held) = self.calls.push(call) else { return };
        let slot = if let Some(slot) = held.slot {
            slot
        } else {
            let slot = self.next;
            self.next += 1;
            self.open = Some((Kind::Call, slot));
            held.open(slot, &self.id, out);
            slot
        };
        let arguments = std::mem::take(&mut held.arguments);
        if !arguments.is_empty() {
            out(Event::Delta { slot, delta: Delta::Arguments(Cow::Owned(arguments)) });
        }
        if !call.arguments.is_empty() {
            let delta = Delta::Arguments(Cow::Borrowed(&call.arguments));
            out(Event::Delta { slot, delta });
        }
    }

    /// Whether a seal belongs to a call that was made, or is made in this delta.
    fn is_of_call(&self, seal: &Seal<'_>, said: &Said<'_>) -> bool {
        seal.id.as_deref().is_some_and(|id| {
            let has_id = |call| json_read::text_field(call, "id").as_deref() == Some(id);
            self.calls.slot_of(id).is_some() || json_read::items(said.calls).any(has_id)
        })
    }

    /// Puts the seals among the details that name the open call on it.
    fn seal_call(&self, details: Raw<'_>, out: Sink<'_>) {
        let Some((Kind::Call, slot)) = self.open else { return };
        for item in json_read::items(details) {
            if let Some(Detail::Encrypted(seal)) = reasoning_details::read(item)
                && seal.id.as_deref().and_then(|id| self.calls.slot_of(id)) == Some(slot)
            {
                let seal = Seal { id: None, ..seal };
                out(Event::Delta { slot, delta: Delta::Seal(seal) });
            }
        }
    }

    fn logprobs(&mut self, raw: Raw<'_>, out: Sink<'_>) {
        for (name, value) in json_read::fields(raw) {
            if json_read::items(value).next().is_none() {
                continue;
            }
            let kind = if name == "refusal" { Kind::Refusal } else { Kind::Text };
            let slot = match self.open {
                Some((Kind::Call, slot)) => slot,
                _ => self.slot(kind, out),
            };
            out(Event::Delta { slot, delta: Delta::Logprobs(value) });
        }
    }

    /// Says what waited: late text, and calls that never got a name.
    fn flush(&mut self, out: Sink<'_>) {
        self.say_late(out);
        for held in self.calls.unnamed() {
            let slot = self.next;
            self.next += 1;
            self.open = Some((Kind::Call, slot));
            held.open(slot, &self.id, out);
            let arguments = std::mem::take(&mut held.arguments);
            if !arguments.is_empty() {
                out(Event::Delta { slot, delta: Delta::Arguments(Cow::Owned(arguments)) });
            }
        }
    }

    fn finish(&self, finish: &str, matched: Option<Cow<'_, str>>, out: Sink<'_>) {
        let reason = match finish {
            "length" | "max_tokens" | "MAX_TOKENS" => StopReason::MaxTokens,
            "tool_calls" | "function_call" | "tool_use" => StopReason::ToolUse,
            "content_filter" | "SAFETY" => StopReason::ContentFilter,
            "error" => {
                out(Event::Error(fault("the upstream ended its answer with an error")));
                return;
            }
            _ if self.refused => StopReason::Refusal,
            "stop_sequence" => StopReason::StopSequence,
            _ if matched.is_some() => StopReason::StopSequence,
            _ => StopReason::EndTurn,
        };
        let sequence = matched.filter(|_| reason == StopReason::StopSequence);
        out(Event::Stop(Stop { reason, sequence }));
    }
}

/// The members of a delta or a message.
#[derive(Default)]
struct Said<'a> {
    content: Raw<'a>,
    thought: Raw<'a>,
    details: Raw<'a>,
    refusal: Raw<'a>,
    calls: Raw<'a>,
    function: Raw<'a>,
    annotations: Raw<'a>,
    audio: Raw<'a>,
}

fn fault(message: &'static str) -> Fault<'static> {
    Fault { kind: ErrorKind::Api, message: Cow::Borrowed(message), code: None }
}
