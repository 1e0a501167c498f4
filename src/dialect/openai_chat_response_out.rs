//! OpenAI Chat Completions answers, written.
//!
//! In: the sequencer's events, or a whole message. Out: chunks and `[DONE]`, or the completion.
//! The role is said once; a call's id, type and name once; its arguments are never empty; calls
//! are numbered from 0: what the SDKs' accumulators enforce. Reasoning goes out as
//! `reasoning_content`, and with its seals as `reasoning_details`. Never: a chunk without
//! `choices`, or `[DONE]` after an error.

use super::Reply;
use super::citations;
use super::errors;
use super::reasoning_details;
use crate::chat::{
    Block, Delta, Dialect, Event, Folded, FoldedBlock, Seal, Stop, StopReason, Usage,
};
use crate::wire::frames::Frames;
use crate::wire::json_write::{Array, Object, escaped, string, unsigned};
use std::borrow::Cow;

/// Writes one stream.
#[derive(Debug)]
pub struct Encoder {
    reply: Reply,
    /// Every chunk up to the value of `delta`.
    prefix: Vec<u8>,
    text: Text,
    open: Open,
    calls: u64,
    /// Index of the entry of `reasoning_details` being said.
    details: u64,
    annotations: u64,
    refused: bool,
}

#[derive(Debug, Default)]
struct Open {
    kind: Kind,
    /// Of an open call.
    id: String,
    /// Whether a delta was said.
    said: bool,
    /// Raw citations, which need the range of the whole block.
    citations: Vec<String>,
    start: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Nothing,
    Text,
    Thinking,
    Refusal,
    Call,
}

/// What one string has to keep of several text blocks: blocks side by side are joined as they
/// are, blocks with something between them by an empty line.
#[derive(Debug, Default)]
struct Text {
    /// Characters said.
    length: u64,
    parted: bool,
}

impl Text {
    /// What to write in front of the next piece of text.
    fn joint(&mut self) -> &'static str {
        let parted = std::mem::take(&mut self.parted);
        if parted && self.length > 0 {
            self.length += 2;
            "\n\n"
        } else {
            ""
        }
    }

    fn say(&mut self, text: &str) {
        self.length += u64::try_from(text.chars().count()).unwrap_or(0);
    }
}

impl Encoder {
    pub(super) fn new(reply: Reply) -> Self {
        Self {
            reply,
            prefix: Vec::new(),
            text: Text::default(),
            open: Open::default(),
            calls: 0,
            details: 0,
            annotations: 0,
            refused: false,
        }
    }

    pub(super) fn event(&mut self, event: &Event<'_>, out: &mut Frames) {
        match event {
            Event::Start { id, model, .. } => {
                self.start(id, model);
                self.chunk(out, |json| {
                    json.extend_from_slice(br#"{"role":"assistant","content":""}"#);
                });
            }
            Event::Open { block, .. } => self.opened(block, out),
            Event::Delta { delta, .. } => self.delta(delta, out),
            Event::Close { .. } => self.close(out),
            Event::Stop(stop) => self.stop(stop, out),
            Event::Usage(usage) if self.reply.include_usage => self.usage(usage, out),
            Event::Usage(_) => {}
            Event::End => {
                out.begin(None).extend_from_slice(b"[DONE]");
                out.end();
            }
            Event::Error(fault) => {
                errors::write(Dialect::OpenAiChat, 0, fault, "", out.begin(None));
                out.end();
            }
        }
    }

    fn start(&mut self, id: &str, model: &str) {
        let mut head = Object::begin(&mut self.prefix);
        write_head(&mut head, "chat.completion.chunk", id, model, &self.reply);
        self.prefix.extend_from_slice(br#","choices":[{"index":0,"delta":"#);
    }

    /// Writes a chunk whose delta `write` writes.
    fn chunk(&self, out: &mut Frames, write: impl FnOnce(&mut Vec<u8>)) {
        let json = out.begin(None);
        json.extend_from_slice(&self.prefix);
        write(json);
        json.extend_from_slice(br#","logprobs":null,"finish_reason":null}]}"#);
        out.end();
    }

    fn opened(&mut self, block: &Block<'_>, out: &mut Frames) {
        let mut open = Open { start: self.text.length, ..Open::default() };
        match block {
            Block::Text => open.kind = Kind::Text,
            Block::Thinking => open.kind = Kind::Thinking,
            Block::Refusal => {
                open.kind = Kind::Refusal;
                self.refused = true;
            }
            Block::Redacted(seal) => {
                let index = self.details;
                self.chunk(out, |json| {
                    json.extend_from_slice(br#"{"reasoning_details":["#);
                    reasoning_details::write_encrypted(seal, None, index, json);
                    json.extend_from_slice(b"]}");
                });
                self.details += 1;
            }
            Block::ToolUse { id, name } => {
                open.kind = Kind::Call;
                open.id = call_id(id, &self.reply, self.calls).into_owned();
                let index = self.calls;
                self.chunk(out, |json| {
                    json.extend_from_slice(br#"{"tool_calls":[{"index":"#);
                    unsigned(json, index);
                    json.extend_from_slice(br#","id":"#);
                    string(json, &open.id);
                    json.extend_from_slice(br#","type":"function","function":{"name":"#);
                    string(json, name);
                    json.extend_from_slice(br#","arguments":""}}]}"#);
                });
                self.calls += 1;
            }
            Block::Opaque { .. } => {}
        }
        self.open = open;
        if self.open.kind != Kind::Text {
            self.text.parted = true;
        }
    }

    fn delta(&mut self, delta: &Delta<'_>, out: &mut Frames) {
        match delta {
            Delta::Text(text) if !text.is_empty() => self.say_text(text, out),
            Delta::Thinking(text) if !text.is_empty() => {
                let index = self.details;
                self.chunk(out, |json| {
                    json.extend_from_slice(br#"{"reasoning_content":"#);
                    string(json, text);
                    json.extend_from_slice(br#","reasoning_details":["#);
                    reasoning_details::write_text(Some(text), None, index, json);
                    json.extend_from_slice(b"]}");
                });
                self.open.said = true;
            }
            Delta::Refusal(text) if !text.is_empty() => {
                self.chunk(out, |json| {
                    json.extend_from_slice(br#"{"refusal":"#);
                    string(json, text);
                    json.push(b'}');
                });
            }
            Delta::Arguments(text) if !text.is_empty() => {
                self.arguments(text, out);
                self.open.said = true;
            }
            Delta::Seal(seal) => self.seal(seal, out),
            Delta::Citation(raw) => self.open.citations.push((*raw).to_owned()),
            Delta::Logprobs(raw) => self.logprobs(raw, out),
            Delta::Text(_) | Delta::Thinking(_) | Delta::Refusal(_) | Delta::Arguments(_) => {}
        }
    }

    fn say_text(&mut self, text: &str, out: &mut Frames) {
        let joint = self.text.joint();
        if !self.open.said {
            self.open.start = self.text.length;
            self.open.said = true;
        }
        self.text.say(text);
        self.chunk(out, |json| {
            json.extend_from_slice(br#"{"content":""#);
            escaped(json, joint);
            escaped(json, text);
            json.extend_from_slice(b"\"}");
        });
    }

    fn arguments(&self, text: &str, out: &mut Frames) {
        self.chunk(out, |json| {
            json.extend_from_slice(br#"{"tool_calls":[{"index":"#);
            unsigned(json, self.calls.saturating_sub(1));
            json.extend_from_slice(br#","function":{"arguments":"#);
            string(json, text);
            json.extend_from_slice(b"}}]}");
        });
    }

    fn seal(&mut self, seal: &Seal<'_>, out: &mut Frames) {
        let index = self.details;
        match self.open.kind {
            Kind::Thinking => self.chunk(out, |json| {
                json.extend_from_slice(br#"{"reasoning_details":["#);
                reasoning_details::write_text(None, Some(seal), index, json);
                json.extend_from_slice(b"]}");
            }),
            Kind::Call => {
                self.chunk(out, |json| {
                    json.extend_from_slice(br#"{"reasoning_details":["#);
                    reasoning_details::write_encrypted(seal, Some(&self.open.id), index, json);
                    json.extend_from_slice(b"]}");
                });
                self.details += 1;
            }
            // A seal on plain text has no place here.
            Kind::Text | Kind::Refusal | Kind::Nothing => return,
        }
        self.open.said |= self.open.kind == Kind::Thinking;
    }

    fn logprobs(&self, raw: &str, out: &mut Frames) {
        let json = out.begin(None);
        json.extend_from_slice(&self.prefix);
        let (content, refusal) =
            if self.open.kind == Kind::Refusal { ("null", raw) } else { (raw, "null") };
        json.extend_from_slice(br#"{},"logprobs":{"content":"#);
        json.extend_from_slice(content.as_bytes());
        json.extend_from_slice(br#","refusal":"#);
        json.extend_from_slice(refusal.as_bytes());
        json.extend_from_slice(br#"},"finish_reason":null}]}"#);
        out.end();
    }

    fn close(&mut self, out: &mut Frames) {
        let open = std::mem::take(&mut self.open);
        match open.kind {
            Kind::Call if !open.said => self.arguments("{}", out),
            Kind::Thinking if open.said => self.details += 1,
            Kind::Text => {
                for raw in &open.citations {
                    self.annotation(raw, open.start, out);
                }
            }
            Kind::Call | Kind::Thinking | Kind::Refusal | Kind::Nothing => {}
        }
    }

    fn annotation(&mut self, raw: &str, start: u64, out: &mut Frames) {
        let Some(page) = citations::page_of(raw) else { return };
        let (range, index) = ((start, self.text.length), self.annotations);
        self.annotations += 1;
        self.chunk(out, |json| {
            json.extend_from_slice(br#"{"annotations":["#);
            citations::to_openai_chat(&page, range, Some(index), json);
            json.extend_from_slice(b"]}");
        });
    }

    fn stop(&self, stop: &Stop<'_>, out: &mut Frames) {
        let json = out.begin(None);
        json.extend_from_slice(&self.prefix);
        json.extend_from_slice(br#"{},"logprobs":null,"finish_reason":""#);
        json.extend_from_slice(finish_reason(stop.reason, self.refused).as_bytes());
        json.push(b'"');
        if let Some(sequence) = &stop.sequence {
            json.extend_from_slice(br#","stop_reason":"#);
            string(json, sequence);
        }
        json.extend_from_slice(b"}]}");
        out.end();
    }

    /// The last chunk: no choice, all counts.
    fn usage(&self, usage: &Usage, out: &mut Frames) {
        let json = out.begin(None);
        let head = self.prefix.len().saturating_sub(br#"{"index":0,"delta":"#.len());
        json.extend_from_slice(self.prefix.get(..head).unwrap_or_default());
        json.extend_from_slice(b"]");
        write_usage(json, usage);
        json.push(b'}');
        out.end();
    }
}

fn write_head(object: &mut Object<'_>, kind: &str, id: &str, model: &str, reply: &Reply) {
    if id.starts_with("chatcmpl") {
        object.text("id", id);
    } else {
        object.text("id", &format!("chatcmpl-{}", reply.id));
    }
    let model = if model.is_empty() { &reply.model } else { model };
    object.text("object", kind).unsigned("created", reply.created).text("model", model);
}

fn call_id<'i>(id: &'i str, reply: &Reply, number: u64) -> Cow<'i, str> {
    if id.is_empty() {
        Cow::Owned(format!("call_{}_{number}", reply.id))
    } else {
        Cow::Borrowed(id)
    }
}

/// `refused`: the refusal was said in words, in its own member.
fn finish_reason(reason: StopReason, refused: bool) -> &'static str {
    match reason {
        StopReason::EndTurn | StopReason::StopSequence | StopReason::PauseTurn => "stop",
        StopReason::MaxTokens | StopReason::ContextWindow => "length",
        StopReason::ToolUse => "tool_calls",
        StopReason::Refusal if refused => "stop",
        StopReason::Refusal | StopReason::ContentFilter => "content_filter",
    }
}

/// Writes the tier and the counts as further members of an object that is still open.
fn write_usage(out: &mut Vec<u8>, usage: &Usage) {
    if let Some(tier) = &usage.service_tier {
        out.extend_from_slice(br#","service_tier":"#);
        string(out, if tier == "standard" { "default" } else { tier });
    }
    out.extend_from_slice(br#","usage":"#);
    let mut object = Object::begin(out);
    object.unsigned("prompt_tokens", usage.prompt());
    object.unsigned("completion_tokens", usage.output.unwrap_or(0));
    object.unsigned("total_tokens", usage.total());
    let mut details = object.object("prompt_tokens_details");
    details.unsigned("cached_tokens", usage.cache_read.unwrap_or(0));
    if let Some(written) = usage.cache_write {
        details.unsigned("cache_write_tokens", written);
    }
    details.unsigned("audio_tokens", usage.input_audio.unwrap_or(0));
    details.end();
    let mut details = object.object("completion_tokens_details");
    details.unsigned("reasoning_tokens", usage.reasoning.unwrap_or(0));
    details.unsigned("audio_tokens", usage.output_audio.unwrap_or(0));
    details.end();
    object.end();
}

pub(super) fn encode_message(message: &Folded, reply: &Reply, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    write_head(&mut object, "chat.completion", &message.id, &message.model, reply);
    let mut choices = object.array("choices");
    let mut choice = choices.object();
    let whole = Whole::gather(&message.blocks, reply);
    choice.unsigned("index", 0);
    whole.write(choice.object("message"));
    write_logprobs(&mut choice, &message.blocks);
    let stop = message.stop.as_ref();
    let reason = stop.map_or(StopReason::EndTurn, |stop| stop.reason);
    choice.text("finish_reason", finish_reason(reason, !whole.refusal.is_empty()));
    if let Some(sequence) = stop.and_then(|stop| stop.sequence.as_deref()) {
        choice.text("stop_reason", sequence);
    }
    choice.end();
    choices.end();
    write_usage(out, &message.usage);
    out.push(b'}');
}

/// A whole answer in this language's terms.
#[derive(Default)]
struct Whole<'m> {
    content: String,
    text: Text,
    thought: String,
    details: Vec<u8>,
    entries: u64,
    refusal: String,
    calls: Vec<(Cow<'m, str>, &'m str, &'m str)>,
    annotations: Vec<u8>,
}

impl<'m> Whole<'m> {
    fn gather(blocks: &'m [FoldedBlock], reply: &Reply) -> Self {
        let mut whole = Self::default();
        for block in blocks {
            whole.push(block, reply);
            whole.text.parted |= block.block != Block::Text;
        }
        whole
    }

    fn push(&mut self, block: &'m FoldedBlock, reply: &Reply) {
        match &block.block {
            Block::Text => {
                if !block.text.is_empty() {
                    self.content.push_str(self.text.joint());
                }
                let start = self.text.length;
                self.content.push_str(&block.text);
                self.text.say(&block.text);
                for page in block.citations.iter().filter_map(|raw| citations::page_of(raw)) {
                    let range = (start, self.text.length);
                    comma(&mut self.annotations);
                    citations::to_openai_chat(&page, range, None, &mut self.annotations);
                }
            }
            Block::Thinking => {
                self.thought.push_str(&block.text);
                if !block.text.is_empty() || block.seal.is_some() {
                    let text = Some(block.text.as_str()).filter(|text| !text.is_empty());
                    let (seal, index) = (block.seal.as_ref(), self.entry());
                    reasoning_details::write_text(text, seal, index, &mut self.details);
                }
            }
            Block::Redacted(seal) => {
                let index = self.entry();
                reasoning_details::write_encrypted(seal, None, index, &mut self.details);
            }
            Block::Refusal => self.refusal.push_str(&block.text),
            Block::ToolUse { id, name } => {
                let number = u64::try_from(self.calls.len()).unwrap_or(0);
                let id = call_id(id, reply, number);
                if let Some(seal) = &block.seal {
                    let index = self.entry();
                    reasoning_details::write_encrypted(seal, Some(&id), index, &mut self.details);
                }
                self.calls.push((id, name.as_ref(), block.arguments()));
            }
            Block::Opaque { .. } => {}
        }
    }

    /// Begins an entry of the details; gives its index.
    fn entry(&mut self) -> u64 {
        comma(&mut self.details);
        self.entries += 1;
        self.entries - 1
    }

    fn write(&self, mut message: Object<'_>) {
        message.text("role", "assistant");
        let silent = !self.calls.is_empty() || !self.refusal.is_empty();
        if self.content.is_empty() && silent {
            message.null("content");
        } else {
            message.text("content", &self.content);
        }
        if self.refusal.is_empty() {
            message.null("refusal");
        } else {
            message.text("refusal", &self.refusal);
        }
        if !self.thought.is_empty() {
            message.text("reasoning_content", &self.thought);
        }
        write_list(&mut message, "reasoning_details", &self.details);
        write_list(&mut message, "annotations", &self.annotations);
        if !self.calls.is_empty() {
            let mut calls = message.array("tool_calls");
            for (id, name, arguments) in &self.calls {
                let mut call = calls.object();
                call.text("id", id).text("type", "function");
                let mut function = call.object("function");
                function.text("name", name).text("arguments", arguments);
                function.end();
                call.end();
            }
            calls.end();
        }
        message.end();
    }
}

fn comma(list: &mut Vec<u8>) {
    if !list.is_empty() {
        list.push(b',');
    }
}

fn write_list(object: &mut Object<'_>, name: &str, elements: &[u8]) {
    if !elements.is_empty() {
        let out = object.key(name);
        out.push(b'[');
        out.extend_from_slice(elements);
        out.push(b']');
    }
}

/// Writes the log-probabilities of all blocks, which are raw arrays, joined.
fn write_logprobs(choice: &mut Object<'_>, blocks: &[FoldedBlock]) {
    if blocks.iter().all(|block| block.logprobs.is_empty()) {
        choice.null("logprobs");
        return;
    }
    let mut object = choice.object("logprobs");
    for (name, refusal) in [("content", false), ("refusal", true)] {
        let of_kind = |block: &&FoldedBlock| (block.block == Block::Refusal) == refusal;
        let mut arrays = blocks.iter().filter(of_kind).flat_map(|block| &block.logprobs).peekable();
        if arrays.peek().is_none() {
            object.null(name);
            continue;
        }
        let mut list: Array<'_> = object.array(name);
        for item in arrays.flat_map(|raw| crate::wire::json_read::items(raw)) {
            list.raw(item);
        }
        list.end();
    }
    object.end();
}
