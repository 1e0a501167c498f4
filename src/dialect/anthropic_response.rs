//! Anthropic Messages answers, read.
//!
//! In: the events of a stream, or a whole message. Out: the hub's events. Pings, unknown events
//! and unknown deltas say nothing; blocks without a hub name are passed on whole.
//! Never: trusts the stream to be complete; the sequencer mends what is missing. Source:
//! <https://platform.claude.com/docs/en/build-with-claude/streaming>.

use super::errors;
use super::expect::is_json;
use super::seal;
use crate::chat::{
    Block, Delta, Dialect, ErrorKind, Event, Fault, Raw, Seal, Sink, Stop, StopReason, Usage,
};
use crate::wire::frames::Frame;
use crate::wire::json_read;
use crate::wire::json_write::Object;
use std::borrow::Cow;

pub(super) use super::anthropic_response_out::{Encoder, encode_message};

/// Reads one stream.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The index of the block opened last, for events that name none.
    last: u32,
    /// A block that is passed on whole, while its input still comes in pieces.
    whole: Option<Whole>,
    /// A call whose arguments stood in its first event; said if no delta brings them.
    early: Option<Early>,
}

#[derive(Debug)]
struct Whole {
    index: u32,
    kind: String,
    raw: String,
    input: String,
}

#[derive(Debug)]
struct Early {
    index: u32,
    input: String,
}

impl Decoder {
    pub(super) fn frame(&mut self, frame: Frame<'_>, out: Sink<'_>) {
        let data = frame.data.trim_ascii();
        if data.is_empty() || data == "[DONE]" || frame.name == Some("ping") {
            return;
        }
        if !is_json(data) {
            out(Event::Error(unis_json()));
            return;
        }
        let mut event = Fields::default();
        for (name, value) in json_read::fields(data) {
            match name.as_ref() {
                "type" => event.kind = json_read::text(value).unwrap_or_default(),
                "index" => event.index = json_read::unsigned(value),
                "delta" => event.delta = Some(value),
                "content_block" => event.block = Some(value),
                "message" => event.message = Some(value),
                "usage" => event.usage = Some(value),
                "error" if !json_read::is_null(value) => event.error = true,
                _ => {}
            }
        }
        if event.kind.is_empty() {
            event.kind = Cow::Borrowed(frame.name.unwrap_or_default());
        }
        self.event(&event, data, out);
    }

    fn event(&mut self, event: &Fields<'_>, data: &str, out: Sink<'_>) {
        let index = event.index.and_then(|index| u32::try_from(index).ok()).unwrap_or(self.last);
        match event.kind.as_ref() {
            "content_block_delta" => self.delta(index, event.delta.unwrap_or("{}"), out),
            "message_start" => start(event.message.unwrap_or("{}"), out),
            "content_block_start" => {
                self.last = index;
                self.open(index, event.block.unwrap_or("{}"), out);
            }
            "content_block_stop" => self.close(index, out),
            "message_delta" => {
                if let Some(raw) = event.usage {
                    out(Event::Usage(usage_of(raw)));
                }
                if let Some(stop) = event.delta.and_then(stop_of) {
                    out(Event::Stop(stop));
                }
            }
            "message_stop" => out(Event::End),
            _ if event.error || event.kind == "error" => {
                let fault = errors::of_json(0, data);
                out(Event::Error(
                    fault.unwrap_or_else(|| errors::read(Dialect::Anthropic, 0, data.as_bytes())),
                ));
            }
            _ => {}
        }
    }

    fn open(&mut self, index: u32, raw: Raw<'_>, out: Sink<'_>) {
        let kind = json_read::text_field(raw, "type").unwrap_or_default();
        self.early = None;
        match kind.as_ref() {
            "tool_use" => {
                let input = json_read::field(raw, "input").unwrap_or("");
                if json_read::fields(input).next().is_some() {
                    self.early = Some(Early { index, input: input.to_owned() });
                }
                out(Event::Open { slot: index, block: tool_use(raw) });
            }
            "text" | "thinking" | "redacted_thinking" => content(index, &kind, raw, false, out),
            _ => {
                let (kind, raw, input) = (kind.into_owned(), raw.to_owned(), String::new());
                self.whole = Some(Whole { index, kind, raw, input });
            }
        }
    }

    fn delta(&mut self, index: u32, raw: Raw<'_>, out: Sink<'_>) {
        let (mut kind, mut value) = (Cow::Borrowed(""), "");
        for (name, raw) in json_read::fields(raw) {
            match name.as_ref() {
                "type" => kind = json_read::text(raw).unwrap_or_default(),
                "text" | "partial_json" | "thinking" | "signature" | "citation" => value = raw,
                _ => {}
            }
        }
        let text = || json_read::text(value).filter(|text| !text.is_empty());
        let delta = match kind.as_ref() {
            "text_delta" => text().map(Delta::Text),
            "thinking_delta" => text().map(Delta::Thinking),
            "signature_delta" => {
                text().map(|text| Delta::Seal(seal::unpack(text, Dialect::Anthropic).0))
            }
            "citations_delta" => json_read::is_object(value).then_some(Delta::Citation(value)),
            "input_json_delta" => {
                if let Some(whole) = self.whole.as_mut().filter(|whole| whole.index == index) {
                    whole.input.push_str(&text().unwrap_or_default());
                    return;
                }
                self.early = self.early.take().filter(|early| early.index != index);
                text().map(Delta::Arguments)
            }
            _ => None,
        };
        if let Some(delta) = delta {
            out(Event::Delta { slot: index, delta });
        }
    }

    fn close(&mut self, index: u32, out: Sink<'_>) {
        if let Some(whole) = self.whole.take_if(|whole| whole.index == index) {
            let raw = whole.finished();
            let kind = Cow::Borrowed(whole.kind.as_str());
            out(Event::Open { slot: index, block: Block::Opaque { kind, raw: &raw } });
        }
        if let Some(early) = self.early.take_if(|early| early.index == index) {
            let delta = Delta::Arguments(Cow::Owned(early.input));
            out(Event::Delta { slot: index, delta });
        }
        out(Event::Close { slot: index });
    }
}

impl Whole {
    /// The block with the input that came in pieces.
    fn finished(&self) -> String {
        if self.input.is_empty() || !is_json(&self.input) {
            return self.raw.clone();
        }
        let mut out = Vec::with_capacity(self.raw.len() + self.input.len());
        let mut object = Object::begin(&mut out);
        for (name, raw) in json_read::fields(&self.raw) {
            object.raw(&name, if name == "input" { &self.input } else { raw });
        }
        object.end();
        String::from_utf8(out).unwrap_or_else(|_| self.raw.clone())
    }
}

/// The members of an event that matter.
#[derive(Default)]
struct Fields<'a> {
    kind: Cow<'a, str>,
    index: Option<u64>,
    delta: Option<Raw<'a>>,
    block: Option<Raw<'a>>,
    message: Option<Raw<'a>>,
    usage: Option<Raw<'a>>,
    error: bool,
}

fn unis_json() -> Fault<'static> {
    let message = Cow::Borrowed("the upstream sent an event that is not JSON");
    Fault { kind: ErrorKind::Api, message, code: None }
}

fn start(message: Raw<'_>, out: Sink<'_>) {
    let (mut id, mut model) = (Cow::Borrowed(""), Cow::Borrowed(""));
    let mut usage = Usage::default();
    for (name, value) in json_read::fields(message) {
        match name.as_ref() {
            "id" => id = json_read::text(value).unwrap_or_default(),
            "model" => model = json_read::text(value).unwrap_or_default(),
            "usage" => usage = usage_of(value),
            _ => {}
        }
    }
    out(Event::Start { id, model, usage });
}

fn tool_use(raw: Raw<'_>) -> Block<'_> {
    let (mut id, mut name) = (Cow::Borrowed(""), Cow::Borrowed(""));
    for (key, value) in json_read::fields(raw) {
        match key.as_ref() {
            "id" => id = json_read::text(value).unwrap_or_default(),
            "name" => name = json_read::text(value).unwrap_or_default(),
            _ => {}
        }
    }
    Block::ToolUse { id, name }
}

/// Says a block of a known kind: its opening, and what its object already holds.
fn content(slot: u32, kind: &str, raw: Raw<'_>, complete: bool, out: Sink<'_>) {
    let text = |name: &str| json_read::text_field(raw, name).filter(|text| !text.is_empty());
    match kind {
        "text" => {
            out(Event::Open { slot, block: Block::Text });
            if let Some(text) = text("text") {
                out(Event::Delta { slot, delta: Delta::Text(text) });
            }
            for citation in json_read::items(json_read::field(raw, "citations").unwrap_or("")) {
                out(Event::Delta { slot, delta: Delta::Citation(citation) });
            }
        }
        "thinking" => {
            out(Event::Open { slot, block: Block::Thinking });
            if let Some(text) = text("thinking") {
                out(Event::Delta { slot, delta: Delta::Thinking(text) });
            }
            if let Some(signature) = text("signature") {
                let seal = seal::unpack(signature, Dialect::Anthropic).0;
                out(Event::Delta { slot, delta: Delta::Seal(seal) });
            }
        }
        "redacted_thinking" => {
            let seal: Seal<'_> =
                seal::unpack(text("data").unwrap_or_default(), Dialect::Anthropic).0;
            out(Event::Open { slot, block: Block::Redacted(seal) });
        }
        "tool_use" => {
            out(Event::Open { slot, block: tool_use(raw) });
            let input = json_read::field(raw, "input").unwrap_or("{}");
            if json_read::fields(input).next().is_some() {
                out(Event::Delta { slot, delta: Delta::Arguments(Cow::Borrowed(input)) });
            }
        }
        _ => {
            let kind = Cow::Borrowed(kind);
            out(Event::Open { slot, block: Block::Opaque { kind, raw } });
        }
    }
    if complete {
        out(Event::Close { slot });
    }
}

pub(super) fn decode_message(body: &str, out: Sink<'_>) {
    let body = body.trim_ascii();
    if !is_json(body) {
        out(Event::Error(unis_json()));
        return;
    }
    let is_message = json_read::field(body, "content").is_some_and(json_read::is_array);
    if !is_message {
        let fault = errors::of_json(0, body).unwrap_or_else(|| {
            let message = Cow::Borrowed("the upstream's answer is no message");
            Fault { kind: ErrorKind::Api, message, code: None }
        });
        out(Event::Error(fault));
        return;
    }
    start(body, out);
    for (name, value) in json_read::fields(body) {
        if name == "content" {
            for (slot, block) in (0..).zip(json_read::items(value)) {
                let kind = json_read::text_field(block, "type").unwrap_or_default();
                content(slot, &kind, block, true, out);
            }
        }
    }
    if let Some(stop) = stop_of(body) {
        out(Event::Stop(stop));
    }
    out(Event::End);
}

/// The stop of a message, or of a `message_delta`'s delta.
fn stop_of(raw: Raw<'_>) -> Option<Stop<'_>> {
    let (mut reason, mut sequence) = (None, None);
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "stop_reason" => reason = json_read::text(value),
            "stop_sequence" => sequence = json_read::text(value),
            _ => {}
        }
    }
    let reason = match reason?.as_ref() {
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "tool_use" => StopReason::ToolUse,
        "refusal" => StopReason::Refusal,
        "pause_turn" => StopReason::PauseTurn,
        "model_context_window_exceeded" => StopReason::ContextWindow,
        _ => StopReason::EndTurn,
    };
    Some(Stop { reason, sequence })
}

/// The counts of a `usage` object; `input_tokens` is without the cache already.
pub(super) fn usage_of(raw: Raw<'_>) -> Usage {
    let mut usage = Usage::default();
    for (name, value) in json_read::fields(raw) {
        let count = || json_read::unsigned(value);
        match name.as_ref() {
            "input_tokens" => usage.input = count(),
            "output_tokens" => usage.output = count(),
            "cache_read_input_tokens" => usage.cache_read = count(),
            "cache_creation_input_tokens" => usage.cache_write = count(),
            "cache_creation" => {
                let long = json_read::field(value, "ephemeral_1h_input_tokens");
                usage.cache_write_1h = long.and_then(json_read::unsigned);
            }
            "server_tool_use" => {
                let searches = json_read::field(value, "web_search_requests");
                usage.web_searches = searches.and_then(json_read::unsigned);
            }
            "output_tokens_details" => {
                let thinking = json_read::field(value, "thinking_tokens")
                    .or_else(|| json_read::field(value, "reasoning_tokens"));
                usage.reasoning = thinking.and_then(json_read::unsigned);
            }
            "service_tier" => {
                usage.service_tier = json_read::text(value).map(Cow::into_owned);
            }
            _ => {}
        }
    }
    usage
}
