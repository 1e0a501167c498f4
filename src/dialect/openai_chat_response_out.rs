//! OpenAI Chat Completions answers, written as a stream.
//!
//! In: the sequencer's events. Out: chunks and `[DONE]`.
//! The role is said once; a call's id, type and name once; its arguments are never empty; calls
//! are numbered from 0: what the SDKs' accumulators enforce. Reasoning goes out as
//! `reasoning_content`, and with its seals as `reasoning_details`. Never: a chunk without
//! `choices`, or `[DONE]` after an error.

use super::Reply;
use super::citations;
use super::errors;
use super::reasoning_details;
use crate::chat::{Block, Delta, Dialect, Event, Seal, Stop, StopReason, Usage};
use crate::wire::frames::Frames;
use crate::wire::json_write::{Object, escaped, string, unsigned};
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
pub(super) struct Text {
    /// Characters said.
    pub(super) length: u64,
    /// Whether something else came since the last text.
    pub(super) parted: bool,
}

impl Text {
    /// What to write in front of the next piece of text.
    pub(super) fn joint(&mut self) -> &'static str {
        let parted = std::mem::take(&mut self.parted);
        if parted && self.length > 0 {
            self.length += 2;
            "\n\n"
        } else {
            ""
        }
    }

    pub(super) fn say(&mut self, text: &str) {
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

pub(super) fn write_head(
    object: &mut Object<'_>,
    kind: &str,
    id: &str,
    model: &str,
    reply: &Reply,
) {
    if id.starts_with("chatcmpl") {
        object.text("id", id);
    } else {
        object.text("id", &format!("chatcmpl-{}", reply.id));
    }
    let model = if model.is_empty() { &reply.model } else { model };
    object.text("object", kind).unsigned("created", reply.created).text("model", model);
}

pub(super) fn call_id<'i>(id: &'i str, reply: &Reply, number: u64) -> Cow<'i, str> {
    if id.is_empty() {
        Cow::Owned(format!("call_{}_{number}", reply.id))
    } else {
        Cow::Borrowed(id)
    }
}

/// `refused`: the refusal was said in words, in its own member.
pub(super) fn finish_reason(reason: StopReason, refused: bool) -> &'static str {
    match reason {
        StopReason::EndTurn | StopReason::StopSequence | StopReason::PauseTurn => "stop",
        StopReason::MaxTokens | StopReason::ContextWindow => "length",
        StopReason::ToolUse => "tool_calls",
        StopReason::Refusal if refused => "stop",
        StopReason::Refusal | StopReason::ContentFilter => "content_filter",
    }
}

/// Writes the tier and the counts as further members of an object that is still open.
pub(super) fn write_usage(out: &mut Vec<u8>, usage: &Usage) {
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
