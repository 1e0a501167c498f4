//! Writes Gemini answers, streamed and whole.
//!
//! In: the events of the sequencer, or a folded message. Out: `GenerateContentResponse`s, one for
//! each delta, as `data:` frames without a closing marker. Calls are written whole, as Gemini's
//! own are, so their arguments are held until they are complete. Never: writes arguments that are
//! no object; such a call ends the answer as Gemini does, with `MALFORMED_FUNCTION_CALL`.

use super::Reply;
use super::gemini_logprobs;
use super::gemini_signature;
use crate::chat::{Block, Delta, ErrorKind, Event, Fault, Folded, Seal, Stop, StopReason, Usage};
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
                    self.parts(out, |parts| one_line(parts.item(), raw));
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
                let mut metadata = Metadata::default();
                metadata.push(raw);
                if !metadata.is_empty() {
                    self.chunk(out, None, |candidate| metadata.write(candidate));
                }
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
        response(&self.reply, usage, out.begin(None), write);
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
        let mut metadata = Metadata::default();
        message.blocks.iter().flat_map(|block| &block.citations).for_each(|raw| {
            metadata.push(raw);
        });
        metadata.write(candidate);
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
                    one_line(parts.item(), &block.raw);
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
    one_line(call.key("args"), if arguments.is_empty() { "{}" } else { arguments });
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

/// Raw JSON on one line: a line break, which can only be white space, would end an SSE field.
fn one_line(out: &mut Vec<u8>, raw: &str) {
    out.extend(raw.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')));
}

/// Citations, as a candidate tells them.
#[derive(Default)]
struct Metadata<'a> {
    grounding: Option<&'a str>,
    /// `CitationMetadata`'s list, raw.
    sources: Vec<&'a str>,
    /// Citations in the form of another vendor, of which address and title are kept.
    foreign: Vec<&'a str>,
}

impl<'a> Metadata<'a> {
    fn push(&mut self, raw: &'a str) {
        if let Some(grounding) = json_read::field(raw, "groundingMetadata") {
            self.grounding = Some(grounding);
        } else if let Some(citations) = json_read::field(raw, "citationMetadata") {
            let lists = json_read::fields(citations);
            self.sources.extend(lists.flat_map(|(_, list)| json_read::items(list)));
        } else if address(raw).is_some() {
            self.foreign.push(raw);
        }
    }

    fn is_empty(&self) -> bool {
        self.grounding.is_none() && self.sources.is_empty() && self.foreign.is_empty()
    }

    fn write(&self, candidate: &mut Object<'_>) {
        if !self.sources.is_empty() || !self.foreign.is_empty() {
            let mut metadata = candidate.object("citationMetadata");
            let mut sources = metadata.array("citationSources");
            self.sources.iter().for_each(|raw| one_line(sources.item(), raw));
            self.foreign.iter().for_each(|raw| foreign_source(raw, &mut sources));
            sources.end();
            metadata.end();
        }
        if let Some(grounding) = self.grounding {
            one_line(candidate.key("groundingMetadata"), grounding);
        }
    }
}

/// The members of a citation that names an address: Anthropic's has them at its top, OpenAI's
/// inside `url_citation`.
fn address(raw: &str) -> Option<&str> {
    let inner = json_read::field(raw, "url_citation").unwrap_or(raw);
    json_read::field(inner, "url").map(|_| inner)
}

fn foreign_source(raw: &str, sources: &mut Array<'_>) {
    let Some(inner) = address(raw) else { return };
    let mut source = sources.object();
    for (name, value) in json_read::fields(inner) {
        match &*name {
            "url" => source.raw("uri", value),
            "title" if json_read::is_string(value) => source.raw("title", value),
            "start_index" => source.raw("startIndex", value),
            "end_index" => source.raw("endIndex", value),
            _ => &mut source,
        };
    }
    source.end();
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

/// HTTP status and canonical status of a kind of error.
pub(super) const fn status_of(kind: ErrorKind) -> (u16, &'static str) {
    match kind {
        ErrorKind::InvalidRequest => (400, "INVALID_ARGUMENT"),
        ErrorKind::Authentication => (401, "UNAUTHENTICATED"),
        ErrorKind::Billing => (402, "RESOURCE_EXHAUSTED"),
        ErrorKind::Permission => (403, "PERMISSION_DENIED"),
        ErrorKind::NotFound => (404, "NOT_FOUND"),
        ErrorKind::TooLarge => (413, "INVALID_ARGUMENT"),
        ErrorKind::RateLimit => (429, "RESOURCE_EXHAUSTED"),
        ErrorKind::Api => (500, "INTERNAL"),
        ErrorKind::NotSupported => (501, "UNIMPLEMENTED"),
        ErrorKind::Network => (502, "UNAVAILABLE"),
        ErrorKind::Overloaded => (503, "UNAVAILABLE"),
        ErrorKind::Timeout => (504, "DEADLINE_EXCEEDED"),
    }
}

fn write_error(fault: &Fault<'_>, out: &mut Vec<u8>) {
    let (code, status) = status_of(fault.kind);
    let mut object = Object::begin(out);
    let mut error = object.object("error");
    error.unsigned("code", u64::from(code)).text("message", &fault.message).text("status", status);
    error.end();
    object.end();
}
