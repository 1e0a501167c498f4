//! Converse answers, read: the events of `ConverseStream` and whole messages.
//!
//! In: frames or a body of an upstream. Out: [`Event`]s. Usage comes last, after the stop reason;
//! a text block is not opened, its first delta opens it. Never: takes an answer that the model
//! garbled (`malformed_tool_use`) for a finished one. The padding `p` is passed over.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>

use super::bedrock_content::redacted;
use super::{bedrock_citations as citations, bedrock_exceptions as exceptions, seal};
use crate::chat::{
    Block, Delta, Dialect, ErrorKind, Event, Fault, Raw, Sink, Stop, StopReason, Usage,
};
use crate::wire::frames::Frame;
use crate::wire::json_read;
use std::borrow::Cow;

pub(super) use super::bedrock_response_out::{Encoder, encode_message};

/// Reads the frames of `ConverseStream`.
#[derive(Debug, Default)]
pub struct Decoder {
    /// A stop reason that is a failure, held back until the usage has been said.
    failed: Option<String>,
}

impl Decoder {
    pub(super) fn frame(&mut self, frame: Frame<'_>, out: Sink<'_>) {
        let name = frame.name.unwrap_or_default();
        if frame.exception {
            out(Event::Error(exceptions::read(name, frame.data)));
            return;
        }
        let known = matches!(
            name,
            "messageStart"
                | "contentBlockStart"
                | "contentBlockDelta"
                | "contentBlockStop"
                | "messageStop"
                | "metadata"
        );
        if known && !json_read::is_object(frame.data) {
            out(garbled("a frame of the upstream is no JSON object"));
            return;
        }
        let data = frame.data;
        let slot = || {
            let index = json_read::field(data, "contentBlockIndex").and_then(json_read::unsigned);
            index.and_then(|index| u32::try_from(index).ok()).unwrap_or(0)
        };
        match name {
            "messageStart" => out(start()),
            "contentBlockStart" => block_start(slot(), data, out),
            "contentBlockDelta" => {
                if let Some(delta) = json_read::field(data, "delta") {
                    block_delta(slot(), delta, out);
                }
            }
            "contentBlockStop" => out(Event::Close { slot: slot() }),
            "messageStop" => self.failed = stop(data, out),
            "metadata" => {
                said_usage(data, out);
                match self.failed.take() {
                    Some(reason) => out(failed(&reason)),
                    None => out(Event::End),
                }
            }
            _ => {}
        }
    }
}

/// Reads the body of `Converse`.
pub(super) fn decode_message(body: &str, out: Sink<'_>) {
    let message =
        json_read::field(body, "output").and_then(|output| json_read::field(output, "message"));
    if message.is_none() && json_read::field(body, "stopReason").is_none() {
        let text = json_read::text_field(body, "message")
            .or_else(|| json_read::text_field(body, "Message"))
            .unwrap_or(Cow::Borrowed("the upstream's answer is no Converse answer"));
        out(Event::Error(Fault { kind: ErrorKind::Api, message: text, code: None }));
        return;
    }
    out(start());
    let content = message.and_then(|message| json_read::field(message, "content"));
    for (slot, block) in (0..).zip(json_read::items(content.unwrap_or_default())) {
        for (kind, raw) in json_read::fields(block).filter(|(_, raw)| !json_read::is_null(raw)) {
            whole_block(slot, &kind, raw, block, out);
        }
        out(Event::Close { slot });
    }
    let failure = stop(body, out);
    said_usage(body, out);
    match failure {
        Some(reason) => out(failed(&reason)),
        None => out(Event::End),
    }
}

fn start() -> Event<'static> {
    Event::Start { id: Cow::Borrowed(""), model: Cow::Borrowed(""), usage: Usage::default() }
}

fn garbled(message: &'static str) -> Event<'static> {
    Event::Error(Fault { kind: ErrorKind::Api, message: Cow::Borrowed(message), code: None })
}

fn failed(reason: &str) -> Event<'_> {
    let message = Cow::Owned(format!("the model stopped with {reason}"));
    Event::Error(Fault { kind: ErrorKind::Api, message, code: Some(Cow::Borrowed(reason)) })
}

fn block_start(slot: u32, data: &str, out: Sink<'_>) {
    let call = json_read::field(data, "start").and_then(|start| json_read::field(start, "toolUse"));
    if let Some(call) = call {
        let text = |name| json_read::text_field(call, name).unwrap_or_default();
        let block = Block::ToolUse { id: text("toolUseId"), name: text("name") };
        out(Event::Open { slot, block });
    }
}

fn block_delta(slot: u32, raw: Raw<'_>, out: Sink<'_>) {
    for (kind, raw) in json_read::fields(raw) {
        match kind.as_ref() {
            "text" => say_text(slot, raw, Delta::Text, out),
            "toolUse" => {
                if let Some(raw) = json_read::field(raw, "input") {
                    say_text(slot, raw, Delta::Arguments, out);
                }
            }
            "reasoningContent" => reasoning(slot, raw, out),
            "citation" => citation(slot, raw, out),
            _ => {}
        }
    }
}

fn say_text<'a>(
    slot: u32,
    raw: Raw<'a>,
    delta: fn(Cow<'a, str>) -> Delta<'a>,
    out: &mut dyn FnMut(Event<'_>),
) {
    if let Some(text) = json_read::text(raw).filter(|text| !text.is_empty()) {
        out(Event::Delta { slot, delta: delta(text) });
    }
}

/// The members of a piece of reasoning; those of a whole block have the same names.
fn reasoning(slot: u32, raw: Raw<'_>, out: Sink<'_>) {
    for (kind, raw) in json_read::fields(raw) {
        match kind.as_ref() {
            "text" => say_text(slot, raw, Delta::Thinking, out),
            "signature" => {
                if let Some(text) = json_read::text(raw).filter(|text| !text.is_empty()) {
                    let seal = seal::unpack(text, Dialect::Anthropic).0;
                    out(Event::Delta { slot, delta: Delta::Seal(seal) });
                }
            }
            "redactedContent" => {
                if let Some(data) = json_read::text(raw) {
                    out(Event::Open { slot, block: Block::Redacted(redacted(data).0) });
                }
            }
            "reasoningText" => reasoning(slot, raw, out),
            _ => {}
        }
    }
}

fn citation(slot: u32, raw: Raw<'_>, out: Sink<'_>) {
    let mut text = Vec::new();
    citations::decode(raw, &mut text);
    if let Ok(text) = std::str::from_utf8(&text) {
        out(Event::Delta { slot, delta: Delta::Citation(text) });
    }
}

fn whole_block(slot: u32, kind: &str, raw: Raw<'_>, block: Raw<'_>, out: Sink<'_>) {
    match kind {
        "text" => say_text(slot, raw, Delta::Text, out),
        "toolUse" => {
            let text = |name| json_read::text_field(raw, name).unwrap_or_default();
            let block = Block::ToolUse { id: text("toolUseId"), name: text("name") };
            out(Event::Open { slot, block });
            let arguments = json_read::field(raw, "input").unwrap_or("{}");
            out(Event::Delta { slot, delta: Delta::Arguments(Cow::Borrowed(arguments)) });
        }
        "reasoningContent" => reasoning(slot, raw, out),
        "citationsContent" => {
            let pieces = json_read::field(raw, "content").unwrap_or_default();
            for piece in json_read::items(pieces) {
                if let Some(raw) = json_read::field(piece, "text") {
                    say_text(slot, raw, Delta::Text, out);
                }
            }
            let list = json_read::field(raw, "citations").unwrap_or_default();
            for raw in json_read::items(list) {
                citation(slot, raw, out);
            }
        }
        _ => {
            let block = Block::Opaque { kind: Cow::Borrowed(kind), raw: block };
            out(Event::Open { slot, block });
        }
    }
}

/// Says the stop, or returns the reason if it is a failure.
fn stop(raw: Raw<'_>, out: Sink<'_>) -> Option<String> {
    let reason = json_read::text_field(raw, "stopReason").unwrap_or_default();
    let reason = match reason.as_ref() {
        "tool_use" => StopReason::ToolUse,
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "guardrail_intervened" | "content_filtered" => StopReason::ContentFilter,
        "refusal" => StopReason::Refusal,
        "pause_turn" => StopReason::PauseTurn,
        "model_context_window_exceeded" => StopReason::ContextWindow,
        "malformed_model_output" | "malformed_tool_use" => return Some(reason.into_owned()),
        _ => StopReason::EndTurn,
    };
    // Claude says which one matched, if it was asked for (`bedrock_parameters` does).
    let sequence = json_read::field(raw, "additionalModelResponseFields")
        .and_then(|fields| json_read::text_field(fields, "stop_sequence"));
    out(Event::Stop(Stop { reason, sequence }));
    None
}

fn said_usage(raw: Raw<'_>, out: Sink<'_>) {
    let mut usage = Usage::default();
    let counts = json_read::field(raw, "usage").unwrap_or_default();
    for (name, value) in json_read::fields(counts) {
        let count = json_read::unsigned(value);
        match name.as_ref() {
            "inputTokens" => usage.input = count,
            "outputTokens" => usage.output = count,
            "cacheReadInputTokens" => usage.cache_read = count,
            "cacheWriteInputTokens" => usage.cache_write = count,
            "cacheDetails" => {
                let hour = json_read::items(value)
                    .filter(|item| json_read::text_field(item, "ttl").as_deref() == Some("1h"))
                    .filter_map(|item| json_read::field(item, "inputTokens"))
                    .filter_map(json_read::unsigned);
                usage.cache_write_1h = hour.reduce(u64::saturating_add);
            }
            _ => {}
        }
    }
    usage.service_tier = json_read::field(raw, "serviceTier")
        .and_then(|tier| json_read::text_field(tier, "type"))
        .map(Cow::into_owned);
    out(Event::Usage(usage));
}
