//! Converse answers, written: the events of `ConverseStream` and whole messages.
//!
//! In: events in the sequencer's grammar, or the folded message. Out: frames in the order that AWS
//! keeps (`messageStart`, blocks, `messageStop`, `metadata`), or the body. Never: opens a text block
//! (AWS does not), writes a block that says nothing, or ends a failed stream like a finished one.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>

use super::bedrock_request::is_json_object;
use super::{Reply, bedrock_citations as citations, bedrock_exceptions as exceptions, seal};
use crate::chat::{
    Block, Delta, Dialect, Event, Folded, FoldedBlock, Seal, Stop, StopReason, Usage,
};
use crate::wire::frames::Frames;
use crate::wire::json_write::{Array, Object};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// Writes the frames of `ConverseStream`.
#[derive(Debug)]
pub struct Encoder {
    latency_ms: u64,
    /// Nova's own form, for `InvokeModelWithResponseStream`: the event's name is a key.
    named_inside: bool,
    usage: Usage,
    /// Of the block being written; blocks that say nothing are not counted.
    index: u64,
    open: Open,
    /// A seal that the open block has no place for.
    attached: Option<Seal<'static>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// No block, or one that has said nothing yet.
    Silent,
    /// Reasoning that has said nothing yet, and so has a place for a seal.
    SilentThinking,
    Thinking,
    /// A call without arguments so far.
    Call,
    Said,
}

impl Encoder {
    pub(super) fn new(reply: &Reply) -> Self {
        Self {
            latency_ms: reply.latency_ms,
            named_inside: false,
            usage: Usage::default(),
            index: 0,
            open: Open::Silent,
            attached: None,
        }
    }

    pub(super) fn nova(reply: &Reply) -> Self {
        Self { named_inside: true, ..Self::new(reply) }
    }

    pub(super) fn event(&mut self, event: &Event<'_>, out: &mut Frames) {
        match event {
            Event::Start { usage, .. } => {
                self.usage.merge(usage);
                self.frame("messageStart", out, |object| {
                    object.text("role", "assistant");
                });
            }
            Event::Open { block, .. } => self.open(block, out),
            Event::Delta { delta, .. } => self.delta(delta, out),
            Event::Close { .. } => self.close(out),
            Event::Usage(usage) => self.usage.merge(usage),
            Event::Stop(stop) => {
                self.frame("messageStop", out, |object| write_stop(object, Some(stop)));
            }
            Event::End => {
                self.frame("metadata", out, |object| {
                    write_usage(object, &self.usage, self.latency_ms);
                });
            }
            Event::Error(fault) => exceptions::write(fault, out),
        }
    }

    fn frame(&self, name: &str, out: &mut Frames, write: impl FnOnce(&mut Object<'_>)) {
        if self.named_inside {
            let mut outer = Object::begin(out.begin(None));
            let mut object = outer.object(name);
            write(&mut object);
            object.end();
            outer.end();
        } else {
            let mut object = Object::begin(out.begin(Some(name)));
            write(&mut object);
            object.end();
        }
        out.end();
    }

    fn open(&mut self, block: &Block<'_>, out: &mut Frames) {
        match block {
            // Blocks of another vendor's own kind have no place here.
            Block::Text | Block::Refusal | Block::Opaque { .. } => self.open = Open::Silent,
            Block::Thinking => self.open = Open::SilentThinking,
            Block::ToolUse { id, name } => {
                self.open = Open::Call;
                self.frame("contentBlockStart", out, |object| {
                    let mut start = object.object("start");
                    let mut call = start.object("toolUse");
                    call.text("toolUseId", id).text("name", name);
                    call.end();
                    start.end();
                    object.unsigned("contentBlockIndex", self.index);
                });
            }
            Block::Redacted(seal) => self.redacted(&redacted(seal), out),
        }
    }

    fn delta(&mut self, delta: &Delta<'_>, out: &mut Frames) {
        match delta {
            Delta::Text(text) | Delta::Refusal(text) => {
                self.piece(out, |delta| {
                    delta.text("text", text);
                });
            }
            Delta::Thinking(text) => {
                self.piece(out, |delta| write_inner(delta, "reasoningContent", "text", text));
                self.open = Open::Thinking;
            }
            Delta::Arguments(text) if text.is_empty() => {}
            Delta::Arguments(text) => {
                self.piece(out, |delta| write_inner(delta, "toolUse", "input", text));
            }
            Delta::Seal(seal) if matches!(self.open, Open::Thinking | Open::SilentThinking) => {
                let signature = seal::pack(seal, Dialect::Anthropic);
                self.piece(out, |delta| {
                    write_inner(delta, "reasoningContent", "signature", &signature);
                });
                self.open = Open::Thinking;
            }
            Delta::Seal(seal) => self.attached = Some(seal.to_static()),
            Delta::Citation(raw) => {
                self.piece(out, |delta| citations::encode(raw, delta.key("citation")));
            }
            // Converse has no word for them.
            Delta::Logprobs(_) => {}
        }
    }

    fn close(&mut self, out: &mut Frames) {
        if self.open == Open::Call {
            // Clients parse what was said, and nothing is no JSON.
            self.piece(out, |delta| write_inner(delta, "toolUse", "input", "{}"));
        }
        if matches!(self.open, Open::Said | Open::Thinking) {
            self.stop_block(out);
        }
        if let Some(seal) = self.attached.take() {
            self.redacted(&STANDARD.encode(seal::pack_attached(&seal)), out);
            self.stop_block(out);
        }
        self.open = Open::Silent;
    }

    fn stop_block(&mut self, out: &mut Frames) {
        self.frame("contentBlockStop", out, |object| {
            object.unsigned("contentBlockIndex", self.index);
        });
        self.index += 1;
    }

    fn redacted(&mut self, data: &str, out: &mut Frames) {
        self.piece(out, |delta| write_inner(delta, "reasoningContent", "redactedContent", data));
    }

    fn piece(&mut self, out: &mut Frames, write: impl FnOnce(&mut Object<'_>)) {
        self.frame("contentBlockDelta", out, |object| {
            let mut delta = object.object("delta");
            write(&mut delta);
            delta.end();
            object.unsigned("contentBlockIndex", self.index);
        });
        self.open = Open::Said;
    }
}

fn write_inner(delta: &mut Object<'_>, kind: &str, name: &str, text: &str) {
    let mut inner = delta.object(kind);
    inner.text(name, text);
    inner.end();
}

/// Writes the body of `Converse`.
pub(super) fn encode_message(message: &Folded, reply: &Reply, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    let mut output = object.object("output");
    let mut inner = output.object("message");
    inner.text("role", "assistant");
    let mut content = inner.array("content");
    for block in &message.blocks {
        whole_block(block, &mut content);
    }
    content.end();
    inner.end();
    output.end();
    write_stop(&mut object, message.stop.as_ref());
    write_usage(&mut object, &message.usage, reply.latency_ms);
    object.end();
}

fn whole_block(folded: &FoldedBlock, content: &mut Array<'_>) {
    let mut attached = folded.seal.as_ref();
    match &folded.block {
        Block::Text | Block::Refusal => {
            if !folded.text.is_empty() || !folded.citations.is_empty() {
                whole_text(folded, content);
            }
        }
        Block::Thinking => {
            attached = None;
            if !folded.text.is_empty() || folded.seal.is_some() {
                let mut block = content.object();
                let mut reasoning = block.object("reasoningContent");
                let mut inner = reasoning.object("reasoningText");
                inner.text("text", &folded.text);
                if let Some(seal) = &folded.seal {
                    inner.text("signature", &seal::pack(seal, Dialect::Anthropic));
                }
                inner.end();
                reasoning.end();
                block.end();
            }
        }
        Block::Redacted(seal) => whole_redacted(&redacted(seal), content),
        Block::ToolUse { id, name } => {
            let mut block = content.object();
            let mut call = block.object("toolUse");
            call.text("toolUseId", id).text("name", name);
            let arguments = folded.arguments();
            if is_json_object(arguments) {
                call.raw("input", arguments.trim());
            } else {
                // What the model wrote is no object; a string keeps the body readable.
                call.text("input", arguments);
            }
            call.end();
            block.end();
        }
        Block::Opaque { .. } => {}
    }
    if let Some(seal) = attached {
        whole_redacted(&STANDARD.encode(seal::pack_attached(seal)), content);
    }
}

fn whole_text(folded: &FoldedBlock, content: &mut Array<'_>) {
    let mut block = content.object();
    if folded.citations.is_empty() {
        block.text("text", &folded.text);
    } else {
        let mut cited = block.object("citationsContent");
        let mut pieces = cited.array("content");
        let mut piece = pieces.object();
        piece.text("text", &folded.text);
        piece.end();
        pieces.end();
        let mut list = cited.array("citations");
        for raw in &folded.citations {
            citations::encode(raw, list.item());
        }
        list.end();
        cited.end();
    }
    block.end();
}

fn whole_redacted(data: &str, content: &mut Array<'_>) {
    let mut block = content.object();
    let mut reasoning = block.object("reasoningContent");
    reasoning.text("redactedContent", data);
    reasoning.end();
    block.end();
}

/// The field is base64, which the SDKs decode and encode again: Claude's own data is that already,
/// anything else is marked and encoded.
fn redacted<'s>(seal: &'s Seal<'_>) -> Cow<'s, str> {
    let own = matches!(seal.dialect, Dialect::Anthropic) && seal.id.is_none();
    let stable =
        |data: &str| STANDARD.decode(data).is_ok_and(|bytes| STANDARD.encode(bytes) == data);
    if own && stable(&seal.data) {
        Cow::Borrowed(&seal.data)
    } else {
        Cow::Owned(STANDARD.encode(seal::pack(seal, Dialect::Bedrock).as_bytes()))
    }
}

fn write_stop(object: &mut Object<'_>, stop: Option<&Stop<'_>>) {
    object.text(
        "stopReason",
        match stop.map_or(StopReason::EndTurn, |stop| stop.reason) {
            StopReason::EndTurn | StopReason::PauseTurn => "end_turn",
            StopReason::MaxTokens => "max_tokens",
            StopReason::StopSequence => "stop_sequence",
            StopReason::ToolUse => "tool_use",
            StopReason::Refusal | StopReason::ContentFilter => "content_filtered",
            StopReason::ContextWindow => "model_context_window_exceeded",
        },
    );
    if let Some(sequence) = stop.and_then(|stop| stop.sequence.as_deref()) {
        let mut fields = object.object("additionalModelResponseFields");
        fields.text("stop_sequence", sequence);
        fields.end();
    }
}

fn write_usage(object: &mut Object<'_>, usage: &Usage, latency_ms: u64) {
    let mut counts = object.object("usage");
    counts.unsigned("inputTokens", usage.input.unwrap_or(0));
    counts.unsigned("outputTokens", usage.output.unwrap_or(0));
    counts.unsigned("totalTokens", usage.total());
    for (name, count) in
        [("cacheReadInputTokens", usage.cache_read), ("cacheWriteInputTokens", usage.cache_write)]
    {
        if let Some(count) = count {
            counts.unsigned(name, count);
        }
    }
    if let Some(hour) = usage.cache_write_1h.filter(|count| *count > 0) {
        let rest = usage.cache_write.unwrap_or(hour).saturating_sub(hour);
        let mut details = counts.array("cacheDetails");
        for (ttl, count) in [("1h", hour), ("5m", rest)] {
            let mut detail = details.object();
            detail.text("ttl", ttl).unsigned("inputTokens", count);
            detail.end();
        }
        details.end();
    }
    counts.end();
    let mut metrics = object.object("metrics");
    metrics.unsigned("latencyMs", latency_ms);
    metrics.end();
    if let Some(tier @ ("priority" | "default" | "flex" | "reserved")) =
        usage.service_tier.as_deref()
    {
        let mut object = object.object("serviceTier");
        object.text("type", tier);
        object.end();
    }
}
