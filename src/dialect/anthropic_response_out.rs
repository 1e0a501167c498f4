//! Anthropic Messages answers, written.
//!
//! In: the sequencer's events, or a whole message. Out: the stream's events with their `event:`
//! lines, or the message. Indexes are dense, every block is closed, arguments travel as deltas,
//! `usage` is always there: what the SDKs and Claude Code enforce. Never: an event type of our own.

use super::Reply;
use super::citations;
use super::errors;
use super::seal;
use crate::chat::{
    Block, Delta, Dialect, Event, Fault, Folded, FoldedBlock, Seal, Stop, StopReason, Usage,
};
use crate::wire::frames::Frames;
use crate::wire::json_read;
use crate::wire::json_write::{Array, Object, string, unsigned};
use std::borrow::Cow;

/// Writes one stream.
#[derive(Debug)]
pub struct Encoder {
    reply: Reply,
    /// How many blocks were said; the open one is the last of them.
    said: u32,
    open: Open,
    /// A seal on a block that has no field for it; becomes a block of its own after it.
    attached: Option<Seal<'static>>,
    stop: Option<Stop<'static>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// None, or one that this language cannot say.
    Nothing,
    Thinking,
    Other,
}

impl Encoder {
    pub(super) fn new(reply: Reply) -> Self {
        Self { reply, said: 0, open: Open::Nothing, attached: None, stop: None }
    }

    pub(super) fn event(&mut self, event: &Event<'_>, out: &mut Frames) {
        match event {
            Event::Start { id, model, usage } => self.start(id, model, usage, out),
            Event::Open { block, .. } => self.opened(block, out),
            Event::Delta { delta, .. } => self.delta(delta, out),
            Event::Close { .. } => self.close(out),
            Event::Stop(stop) => {
                let sequence = stop.sequence.as_ref().map(|s| Cow::Owned(s.to_string()));
                self.stop = Some(Stop { reason: stop.reason, sequence });
            }
            Event::Usage(usage) => self.message_delta(usage, out),
            Event::End => {
                out.begin(Some("message_stop")).extend_from_slice(br#"{"type":"message_stop"}"#);
                out.end();
            }
            Event::Error(fault) => error(fault, out),
        }
    }

    fn start(&self, id: &str, model: &str, usage: &Usage, out: &mut Frames) {
        let mut event = Object::begin(out.begin(Some("message_start")));
        event.text("type", "message_start");
        let mut message = event.object("message");
        head(&mut message, id, model, &self.reply);
        message.raw("content", "[]").null("stop_reason").null("stop_sequence");
        write_usage(message.object("usage"), usage);
        message.end();
        event.end();
        out.end();
    }

    fn opened(&mut self, block: &Block<'_>, out: &mut Frames) {
        self.open = match block {
            Block::Thinking => Open::Thinking,
            Block::Opaque { raw, .. } if !is_ours(raw) => Open::Nothing,
            Block::Text
            | Block::Redacted(_)
            | Block::Refusal
            | Block::ToolUse { .. }
            | Block::Opaque { .. } => Open::Other,
        };
        if self.open == Open::Nothing {
            return;
        }
        let mut event = Object::begin(out.begin(Some("content_block_start")));
        event.text("type", "content_block_start").unsigned("index", u64::from(self.said));
        if let Block::Opaque { raw, .. } = block {
            event.raw("content_block", raw);
        } else {
            let mut object = event.object("content_block");
            match block {
                Block::Text | Block::Refusal | Block::Opaque { .. } => {
                    object.text("type", "text").text("text", "");
                }
                Block::Thinking => {
                    object.text("type", "thinking").text("thinking", "").text("signature", "");
                }
                Block::Redacted(seal) => {
                    let data = seal::pack(seal, Dialect::Anthropic);
                    object.text("type", "redacted_thinking").text("data", &data);
                }
                Block::ToolUse { id, name } => {
                    let id = tool_id(id, &self.reply, self.said);
                    object.text("type", "tool_use").text("id", &id).text("name", name);
                    object.raw("input", "{}");
                }
            }
            object.end();
        }
        event.end();
        out.end();
        self.said += 1;
    }

    fn delta(&mut self, delta: &Delta<'_>, out: &mut Frames) {
        if self.open == Open::Nothing {
            return;
        }
        let citation;
        let (kind, key, text): (&str, &str, &str) = match delta {
            Delta::Text(text) | Delta::Refusal(text) => ("text_delta", "text", text),
            Delta::Thinking(text) => ("thinking_delta", "thinking", text),
            Delta::Arguments(text) => ("input_json_delta", "partial_json", text),
            Delta::Seal(seal) if self.open == Open::Thinking => {
                citation = seal::pack(seal, Dialect::Anthropic);
                ("signature_delta", "signature", &citation)
            }
            Delta::Seal(seal) => {
                self.attached = Some(seal.to_static());
                return;
            }
            Delta::Citation(raw) => {
                if let Some(raw) = citations::to_anthropic(raw) {
                    self.citation(&raw, out);
                }
                return;
            }
            Delta::Logprobs(_) => return,
        };
        if text.is_empty() {
            return;
        }
        let json = self.begin_delta(kind, out);
        json.push(b'"');
        json.extend_from_slice(key.as_bytes());
        json.extend_from_slice(b"\":");
        string(json, text);
        json.extend_from_slice(b"}}");
        out.end();
    }

    /// Writes an event up to the comma after the delta's type.
    fn begin_delta<'o>(&self, kind: &str, out: &'o mut Frames) -> &'o mut Vec<u8> {
        let json = out.begin(Some("content_block_delta"));
        json.extend_from_slice(br#"{"type":"content_block_delta","index":"#);
        unsigned(json, u64::from(self.said.saturating_sub(1)));
        json.extend_from_slice(br#","delta":{"type":""#);
        json.extend_from_slice(kind.as_bytes());
        json.extend_from_slice(b"\",");
        json
    }

    fn citation(&self, raw: &str, out: &mut Frames) {
        let json = self.begin_delta("citations_delta", out);
        json.extend_from_slice(br#""citation":"#);
        json.extend_from_slice(raw.as_bytes());
        json.extend_from_slice(b"}}");
        out.end();
    }

    fn close(&mut self, out: &mut Frames) {
        if self.open == Open::Nothing {
            return;
        }
        self.open = Open::Nothing;
        let json = out.begin(Some("content_block_stop"));
        json.extend_from_slice(br#"{"type":"content_block_stop","index":"#);
        unsigned(json, u64::from(self.said.saturating_sub(1)));
        json.push(b'}');
        out.end();
        if let Some(seal) = self.attached.take() {
            let packed = attached(&seal);
            self.opened(&Block::Redacted(packed), out);
            self.close(out);
        }
    }

    fn message_delta(&self, usage: &Usage, out: &mut Frames) {
        let mut event = Object::begin(out.begin(Some("message_delta")));
        event.text("type", "message_delta");
        let mut delta = event.object("delta");
        write_stop(&mut delta, self.stop.as_ref());
        delta.end();
        write_usage(event.object("usage"), usage);
        event.end();
        out.end();
    }
}

fn error(fault: &Fault<'_>, out: &mut Frames) {
    let json = out.begin(Some("error"));
    errors::write(Dialect::Anthropic, 0, fault, "", json);
    out.end();
}

/// A seal that belongs to the block before, as data of this language.
fn attached(seal: &Seal<'_>) -> Seal<'static> {
    let data = Cow::Owned(seal::pack_attached(seal));
    Seal { dialect: Dialect::Anthropic, data, id: None }
}

/// Whether a raw block is one of this language's own server blocks.
fn is_ours(raw: &str) -> bool {
    let kind = json_read::text_field(raw, "type").unwrap_or_default();
    matches!(kind.as_ref(), "server_tool_use" | "container_upload" | "mcp_tool_use" | "compaction")
        || (kind.ends_with("_tool_result") && json_read::field(raw, "tool_use_id").is_some())
}

fn tool_id<'i>(id: &'i str, reply: &Reply, block: u32) -> Cow<'i, str> {
    if id.is_empty() {
        Cow::Owned(format!("toolu_{}_{block}", reply.id))
    } else {
        Cow::Borrowed(id)
    }
}

fn head(message: &mut Object<'_>, id: &str, model: &str, reply: &Reply) {
    if id.starts_with("msg_") {
        message.text("id", id);
    } else {
        message.text("id", &format!("msg_{}", reply.id));
    }
    let model = if model.is_empty() { &reply.model } else { model };
    message.text("type", "message").text("role", "assistant").text("model", model);
}

fn write_stop(object: &mut Object<'_>, stop: Option<&Stop<'_>>) {
    let reason = stop.map_or(StopReason::EndTurn, |stop| stop.reason);
    object.text(
        "stop_reason",
        match reason {
            StopReason::EndTurn => "end_turn",
            StopReason::MaxTokens => "max_tokens",
            StopReason::StopSequence => "stop_sequence",
            StopReason::ToolUse => "tool_use",
            StopReason::Refusal | StopReason::ContentFilter => "refusal",
            StopReason::PauseTurn => "pause_turn",
            StopReason::ContextWindow => "model_context_window_exceeded",
        },
    );
    match stop.and_then(|stop| stop.sequence.as_deref()) {
        Some(sequence) => object.text("stop_sequence", sequence),
        None => object.null("stop_sequence"),
    };
}

fn write_usage(mut object: Object<'_>, usage: &Usage) {
    object.unsigned("input_tokens", usage.input.unwrap_or(0));
    object.unsigned("cache_creation_input_tokens", usage.cache_write.unwrap_or(0));
    object.unsigned("cache_read_input_tokens", usage.cache_read.unwrap_or(0));
    if let Some(long) = usage.cache_write_1h {
        let mut split = object.object("cache_creation");
        let short = usage.cache_write.unwrap_or(0).saturating_sub(long);
        split.unsigned("ephemeral_5m_input_tokens", short);
        split.unsigned("ephemeral_1h_input_tokens", long);
        split.end();
    }
    object.unsigned("output_tokens", usage.output.unwrap_or(0));
    if let Some(reasoning) = usage.reasoning {
        let mut details = object.object("output_tokens_details");
        details.unsigned("thinking_tokens", reasoning);
        details.end();
    }
    if let Some(searches) = usage.web_searches {
        let mut tools = object.object("server_tool_use");
        tools.unsigned("web_search_requests", searches);
        tools.end();
    }
    if let Some(tier) = &usage.service_tier {
        object.text("service_tier", if tier == "default" { "standard" } else { tier });
    }
    object.end();
}

pub(super) fn encode_message(message: &Folded, reply: &Reply, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    head(&mut object, &message.id, &message.model, reply);
    let mut content = object.array("content");
    let mut said = 0;
    for block in &message.blocks {
        if let Block::Opaque { .. } = block.block {
            if is_ours(&block.raw) {
                content.raw(&block.raw);
                said += 1;
            }
            continue;
        }
        write_block(&mut content, block, reply, said);
        said += 1;
        let seal = block.seal.as_ref().filter(|_| block.block != Block::Thinking);
        if let Some(seal) = seal {
            let mut object = content.object();
            object.text("type", "redacted_thinking").text("data", &attached(seal).data);
            object.end();
            said += 1;
        }
    }
    content.end();
    write_stop(&mut object, message.stop.as_ref());
    write_usage(object.object("usage"), &message.usage);
    object.end();
}

fn write_block(content: &mut Array<'_>, block: &FoldedBlock, reply: &Reply, said: u32) {
    let mut object = content.object();
    match &block.block {
        Block::Text | Block::Refusal | Block::Opaque { .. } => {
            object.text("type", "text").text("text", &block.text);
            let cited: Vec<_> =
                block.citations.iter().filter_map(|raw| citations::to_anthropic(raw)).collect();
            if !cited.is_empty() {
                let mut list = object.array("citations");
                for raw in cited {
                    list.raw(&raw);
                }
                list.end();
            }
        }
        Block::Thinking => {
            let data = block.seal.as_ref().map(|seal| seal::pack(seal, Dialect::Anthropic));
            object.text("type", "thinking").text("thinking", &block.text);
            object.text("signature", data.as_deref().unwrap_or(""));
        }
        Block::Redacted(seal) => {
            let data = seal::pack(seal, Dialect::Anthropic);
            object.text("type", "redacted_thinking").text("data", &data);
        }
        Block::ToolUse { id, name } => {
            let id = tool_id(id, reply, said);
            object.text("type", "tool_use").text("id", &id).text("name", name);
            let arguments = block.arguments();
            if json_read::is_object(arguments) && super::expect::is_json(arguments) {
                object.raw("input", arguments);
            } else {
                let mut input = object.object("input");
                input.text("arguments", arguments);
                input.end();
            }
        }
    }
    object.end();
}
