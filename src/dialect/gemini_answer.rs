//! Writes Gemini answers, streamed and whole.
//!
//! In: the events of the sequencer, or a folded message. Out: `GenerateContentResponse`s, one for
//! each delta, as `data:` frames without a closing marker. Calls are written whole, as Gemini's
//! own are, so their arguments are held until they are complete. Never: writes arguments that are
//! no object; such a call ends the answer as Gemini does, with `MALFORMED_FUNCTION_CALL`.

use super::errors;
use super::gemini_grounding::Pages;
use super::gemini_logprobs;
use super::gemini_signature;
use super::{Dialect, Reply};
use crate::chat::{Block, Delta, Event, Fault, Folded, Seal, Stop, StopReason, Usage};
use crate::wire::frames::Frames;
use crate::wire::json_read;
use crate::wire::json_write::{Array, Object};

/// Writes one streamed answer. One per answer.
#[derive(Debug)]
pub struct Encoder {
    reply: Reply,
    block: Open,
    usage: Usage,
    stop: Stop<'static>,
    malformed: bool,
    /// The pages cited, told at the end.
    pages: Pages,
}

/// The block being said.
#[derive(Debug)]
enum Open {
    None,
    Text,
    Thinking,
    Call(Call),
}

#[derive(Debug, Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
    seal: Option<Seal<'static>>,
}

impl Encoder {
    pub(super) fn new(reply: Reply) -> Self {
        Self {
            reply,
            block: Open::None,
            usage: Usage::default(),
            stop: Stop::of(StopReason::EndTurn),
            malformed: false,
            pages: Pages::default(),
        }
    }

    pub(super) fn event(&mut self, event: &Event<'_>, out: &mut Frames) {
        match event {
            Event::Start { id, model, usage } => {
                name(&mut self.reply, id, model);
                self.usage.merge(usage);
            }
            Event::Open { block, .. } => self.opened(block, out),
            Event::Delta { delta, .. } => self.delta(delta, out),
            Event::Close { .. } => self.closed(out),
            Event::Usage(usage) => self.usage.merge(usage),
            Event::Stop(stop) => self.stop.reason = stop.reason,
            Event::End => {
                let reason = finish_reason(self.stop.reason, self.malformed);
                self.chunk(out, Some(&self.usage), |candidate| {
                    content(candidate, |parts| text_part(parts, "", false, None));
                    candidate.text("finishReason", reason);
                    self.pages.write(candidate);
                });
            }
            Event::Error(fault) => {
                write_error(fault, out.begin(None));
                out.end();
            }
        }
    }

    fn opened(&mut self, block: &Block<'_>, out: &mut Frames) {
        self.block = match block {
            Block::Text | Block::Refusal => Open::Text,
            Block::Thinking => Open::Thinking,
            Block::ToolUse { id, name } => {
                let (id, name) = (id.to_string(), name.to_string());
                Open::Call(Call { id, name, ..Call::default() })
            }
            Block::Redacted(seal) => {
                self.parts(out, |parts| text_part(parts, "", false, Some(seal)));
                Open::None
            }
            Block::Opaque { kind, raw } => {
                if is_own_part(kind, raw) {
                    self.parts(out, |parts| {
                        parts.raw(raw);
                    });
                }
                Open::None
            }
        };
    }

    fn delta(&mut self, delta: &Delta<'_>, out: &mut Frames) {
        let thought = matches!(self.block, Open::Thinking);
        match delta {
            Delta::Text(text) | Delta::Refusal(text) => {
                self.parts(out, |parts| text_part(parts, text, false, None));
            }
            Delta::Thinking(text) => self.parts(out, |parts| text_part(parts, text, true, None)),
            Delta::Arguments(text) => {
                if let Open::Call(call) = &mut self.block {
                    call.arguments.push_str(text);
                }
            }
            Delta::Seal(seal) => match &mut self.block {
                Open::Call(call) => call.seal = Some(seal.to_static()),
                Open::None | Open::Text | Open::Thinking => {
                    self.parts(out, |parts| text_part(parts, "", thought, Some(seal)));
                }
            },
            Delta::Citation(raw) => {
                self.pages.cite(raw);
            }
            Delta::Logprobs(raw) => self.chunk(out, None, |candidate| {
                let arrays = std::iter::once(*raw);
                gemini_logprobs::to_gemini(arrays, candidate.key("logprobsResult"));
            }),
        }
    }

    fn closed(&mut self, out: &mut Frames) {
        let Open::Call(call) = std::mem::replace(&mut self.block, Open::None) else { return };
        if is_arguments(&call.arguments) {
            self.parts(out, |parts| {
                call_part(parts, (&call.id, &call.name), &call.arguments, call.seal.as_ref());
            });
        } else {
            self.malformed = true;
        }
    }

    fn parts(&self, out: &mut Frames, write: impl FnOnce(&mut Array<'_>)) {
        self.chunk(out, None, |candidate| content(candidate, write));
    }

    fn chunk(&self, out: &mut Frames, usage: Option<&Usage>, write: impl FnOnce(&mut Object<'_>)) {
        let begun = out.bytes().len();
        response(&self.reply, usage, out.begin(None), write);
        break_no_lines(out.json(), begun);
        out.end();
    }
}

/// Writes a whole answer.
pub(super) fn encode_message(message: &Folded, reply: &Reply, out: &mut Vec<u8>) {
    if let Some(fault) = &message.fault {
        write_error(fault, out);
        return;
    }
    let mut reply = reply.clone();
    name(&mut reply, &message.id, &message.model);
    response(&reply, Some(&message.usage), out, |candidate| {
        let mut malformed = false;
        content(candidate, |parts| malformed = whole_parts(message, parts));
        let reason = message.stop.as_ref().map_or(StopReason::EndTurn, |stop| stop.reason);
        candidate.text("finishReason", finish_reason(reason, malformed));
        let mut pages = Pages::default();
        for raw in message.blocks.iter().flat_map(|block| &block.citations) {
            pages.cite(raw);
        }
        pages.write(candidate);
        let logprobs = message.blocks.iter().flat_map(|block| &block.logprobs);
        if logprobs.clone().next().is_some() {
            let arrays = logprobs.map(String::as_str);
            gemini_logprobs::to_gemini(arrays, candidate.key("logprobsResult"));
        }
    });
}

/// Writes the parts of all blocks; returns whether one was a call with broken arguments.
fn whole_parts(message: &Folded, parts: &mut Array<'_>) -> bool {
    let mut malformed = false;
    for block in &message.blocks {
        let seal = block.seal.as_ref();
        match &block.block {
            Block::Text | Block::Refusal => text_part(parts, &block.text, false, seal),
            Block::Thinking => text_part(parts, &block.text, true, seal),
            Block::Redacted(seal) => text_part(parts, "", false, Some(seal)),
            Block::ToolUse { id, name } if is_arguments(&block.text) => {
                call_part(parts, (id, name), &block.text, seal);
            }
            Block::ToolUse { .. } => malformed = true,
            Block::Opaque { kind, .. } => {
                if is_own_part(kind, &block.raw) {
                    parts.raw(&block.raw);
                }
            }
        }
    }
    malformed
}

/// What the answer is called: as the upstream said, else as the gateway would.
fn name(reply: &mut Reply, id: &str, model: &str) {
    if !id.is_empty() {
        id.clone_into(&mut reply.id);
    }
    if !model.is_empty() {
        model.clone_into(&mut reply.model);
    }
}

/// One `GenerateContentResponse` with one candidate.
fn response(
    reply: &Reply,
    usage: Option<&Usage>,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Object<'_>),
) {
    let mut object = Object::begin(out);
    let mut candidates = object.array("candidates");
    let mut candidate = candidates.object();
    write(&mut candidate);
    candidate.unsigned("index", 0);
    candidate.end();
    candidates.end();
    if let Some(usage) = usage.filter(|usage| **usage != Usage::default()) {
        write_usage(usage, object.object("usageMetadata"));
    }
    object.text("modelVersion", &reply.model).text("responseId", &reply.id);
    object.end();
}

fn content(candidate: &mut Object<'_>, write: impl FnOnce(&mut Array<'_>)) {
    let mut content = candidate.object("content");
    let mut parts = content.array("parts");
    write(&mut parts);
    parts.end();
    content.text("role", "model");
    content.end();
}

fn text_part(parts: &mut Array<'_>, text: &str, thought: bool, seal: Option<&Seal<'_>>) {
    let mut part = parts.object();
    part.text("text", text);
    if thought {
        part.boolean("thought", true);
    }
    signature(&mut part, seal);
    part.end();
}

fn call_part(
    parts: &mut Array<'_>,
    (id, name): (&str, &str),
    arguments: &str,
    seal: Option<&Seal<'_>>,
) {
    let mut part = parts.object();
    let mut call = part.object("functionCall");
    if !id.is_empty() {
        call.text("id", id);
    }
    call.text("name", name);
    let arguments = arguments.trim();
    call.raw("args", if arguments.is_empty() { "{}" } else { arguments });
    call.end();
    signature(&mut part, seal);
    part.end();
}

fn signature(part: &mut Object<'_>, seal: Option<&Seal<'_>>) {
    if let Some(seal) = seal {
        part.text("thoughtSignature", &gemini_signature::write(seal));
    }
}

/// Whether a call's arguments are an object; none at all are the empty one.
fn is_arguments(text: &str) -> bool {
    let text = text.trim();
    text.is_empty()
        || text.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Whether an opaque block is a part of Gemini's own.
fn is_own_part(kind: &str, raw: &str) -> bool {
    let own = matches!(
        kind,
        "inlineData"
            | "fileData"
            | "executableCode"
            | "codeExecutionResult"
            | "toolCall"
            | "toolResponse"
    );
    own && json_read::is_object(raw)
}

/// Escapes the characters that Unicode breaks lines at, as Google's own servers do: a client that
/// reads the stream by lines of text (`iter_lines` of httpx) would split a frame there.
fn break_no_lines(out: &mut Vec<u8>, from: usize) {
    const BREAKS: [(&str, &[u8]); 3] =
        [("\u{2028}", b"\\u2028"), ("\u{2029}", b"\\u2029"), ("\u{85}", b"\\u0085")];
    for (character, escape) in BREAKS {
        let mut from = from;
        while let Some(found) =
            out.get(from..).and_then(|rest| memchr::memmem::find(rest, character.as_bytes()))
        {
            let at = from + found;
            out.splice(at..at + character.len(), escape.iter().copied());
            from = at + escape.len();
        }
    }
}

fn finish_reason(reason: StopReason, malformed: bool) -> &'static str {
    match reason {
        StopReason::MaxTokens | StopReason::ContextWindow => "MAX_TOKENS",
        StopReason::Refusal | StopReason::ContentFilter => "SAFETY",
        _ if malformed => "MALFORMED_FUNCTION_CALL",
        StopReason::EndTurn
        | StopReason::StopSequence
        | StopReason::ToolUse
        | StopReason::PauseTurn => "STOP",
    }
}

fn write_usage(usage: &Usage, mut object: Object<'_>) {
    let thoughts = usage.reasoning.unwrap_or(0);
    object.unsigned("promptTokenCount", usage.prompt());
    if let Some(output) = usage.output {
        object.unsigned("candidatesTokenCount", output.saturating_sub(thoughts));
    }
    object.unsigned("totalTokenCount", usage.total());
    if let Some(cached) = usage.cache_read.filter(|cached| *cached > 0) {
        object.unsigned("cachedContentTokenCount", cached);
    }
    if thoughts > 0 {
        object.unsigned("thoughtsTokenCount", thoughts);
    }
    let audio = [
        ("promptTokensDetails", usage.input_audio),
        ("candidatesTokensDetails", usage.output_audio),
    ];
    for (name, count) in audio {
        if let Some(count) = count.filter(|count| *count > 0) {
            let mut details = object.array(name);
            let mut detail = details.object();
            detail.text("modality", "AUDIO").unsigned("tokenCount", count);
            detail.end();
            details.end();
        }
    }
    object.end();
}

fn write_error(fault: &Fault<'_>, out: &mut Vec<u8>) {
    errors::write(Dialect::Gemini, 0, fault, "", out);
}
