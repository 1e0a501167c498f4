//! Reads Gemini answers, streamed and whole.
//!
//! In: the `data:` frames of `streamGenerateContent?alt=sse`, or one `GenerateContentResponse`, or
//! an array of them (the stream without `alt=sse`). Out: events. The stream has no end marker: a
//! finish reason and the end of the bytes are the end. Never: takes a failed generation for a
//! finished one. Source: ai.google.dev/api/generate-content#FinishReason.

use super::Dialect;
use super::errors;
use super::gemini_grounding::Pages;
use super::gemini_logprobs;
use super::gemini_request::{camel, members, whole};
use crate::chat::{
    Block, Delta, ErrorKind, Event, Fault, Raw, Seal, Sink, Stop, StopReason, Usage,
};
use crate::wire::frames::Frame;
use crate::wire::{json_read, json_scan};
use std::borrow::Cow;

pub use super::gemini_answer::Encoder;
pub(super) use super::gemini_answer::encode_message;

/// The most of a response's id that goes into the ids of its calls.
const ID_MAX: usize = 24;

/// Reads one answer. One per answer.
#[derive(Debug, Default)]
pub struct Decoder {
    started: bool,
    /// Whether it was said how the answer ends.
    stopped: bool,
    next: u32,
    open: Option<(u32, Kind)>,
    calls: u32,
    /// `call_<response id>`, from which calls without an id get one.
    call_prefix: String,
    pages: Pages,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
}

/// Reads a whole answer.
pub(super) fn decode_message(body: &str, out: Sink<'_>) {
    let mut failed = false;
    let mut decoder = Decoder::default();
    decoder.body(body, &mut |event| {
        failed |= matches!(event, Event::Error(_));
        out(event);
    });
    match (failed, decoder.started) {
        (true, _) => {}
        (false, true) => {
            if !decoder.stopped {
                out(Event::Stop(Stop::of(StopReason::EndTurn)));
            }
            out(Event::End);
        }
        (false, false) => out(unreadable()),
    }
}

impl Decoder {
    pub(super) fn frame(&mut self, frame: Frame<'_>, out: Sink<'_>) {
        self.body(frame.data, out);
    }

    fn body(&mut self, data: &str, out: Sink<'_>) {
        if json_scan::validate(data.as_bytes(), json_scan::DEPTH_MAX).is_err() {
            out(unreadable());
        } else if json_read::is_array(data) {
            json_read::items(data).for_each(|chunk| self.chunk(chunk, out));
        } else {
            self.chunk(data, out);
        }
    }

    fn chunk(&mut self, raw: &str, out: Sink<'_>) {
        let Some(chunk) = Chunk::of(raw) else {
            out(unreadable());
            return;
        };
        if let Some(error) = chunk.error {
            let code =
                members(error).find(|(name, _)| name == "code").and_then(|(_, raw)| whole(raw));
            let status = code.and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
            out(errors::of_json(status, raw).map_or_else(unreadable, Event::Error));
            return;
        }
        let mut usage = chunk.usage.map(usage_of).unwrap_or_default();
        let candidate = chunk.candidate.map(Candidate::of).unwrap_or_default();
        usage.web_searches = candidate.grounding.and_then(|raw| searches(raw, &chunk.model));
        if std::mem::replace(&mut self.started, true) {
            if usage != Usage::default() {
                out(Event::Usage(usage));
            }
        } else {
            self.call_prefix = call_prefix(&chunk.id);
            out(Event::Start { id: chunk.id, model: chunk.model, usage });
        }
        self.candidate(&candidate, out);
        if let Some(feedback) = chunk.feedback {
            self.blocked(feedback, out);
        }
    }

    fn candidate(&mut self, candidate: &Candidate<'_>, out: Sink<'_>) {
        for part in json_read::items(candidate.parts) {
            self.part(part, out);
        }
        if let Some(result) = candidate.logprobs {
            let mut logprobs = Vec::new();
            gemini_logprobs::to_openai(result, &mut logprobs);
            if let (Some((slot, Kind::Text)), Ok(raw)) = (self.open, std::str::from_utf8(&logprobs))
                && !raw.is_empty()
            {
                out(Event::Delta { slot, delta: Delta::Logprobs(raw) });
            }
        }
        for metadata in [candidate.grounding, candidate.citations].into_iter().flatten() {
            self.cited(metadata, out);
        }
        if let Some(reason) = &candidate.finish {
            self.finish(reason, candidate.message.as_deref(), out);
        }
    }

    fn cited(&mut self, metadata: &str, out: Sink<'_>) {
        let mut pages = std::mem::take(&mut self.pages);
        pages.read(metadata, &mut |citation| {
            let slot = self.block(Kind::Text, out);
            out(Event::Delta { slot, delta: Delta::Citation(citation) });
        });
        self.pages = pages;
    }

    fn part(&mut self, raw: &str, out: Sink<'_>) {
        let part = Part::of(raw);
        let seal = part.signature.map(|data| Seal { dialect: Dialect::Gemini, data, id: None });
        match (part.data, part.text) {
            (Some(("functionCall", call)), _) => self.call(call, seal, out),
            (Some((kind, _)), _) => {
                self.whole(Block::Opaque { kind: Cow::Borrowed(kind), raw }, out);
            }
            (None, Some(text)) => self.text(text, part.thought, seal, out),
            (None, None) => {
                if let Some(seal) = seal {
                    self.text(Cow::Borrowed(""), part.thought, Some(seal), out);
                }
            }
        }
    }

    fn text(&mut self, text: Cow<'_, str>, thought: bool, seal: Option<Seal<'_>>, out: Sink<'_>) {
        let kind = if thought { Kind::Thinking } else { Kind::Text };
        let apart = self.open.is_none_or(|(_, open)| open != kind);
        match seal {
            None if text.is_empty() => return,
            Some(seal) if text.is_empty() && apart && !thought => {
                // a signature that stands alone: of reasoning that is not shown
                self.whole(Block::Redacted(seal), out);
                return;
            }
            _ => {}
        }
        let slot = self.block(kind, out);
        if !text.is_empty() {
            let delta = if thought { Delta::Thinking(text) } else { Delta::Text(text) };
            out(Event::Delta { slot, delta });
        }
        if let Some(seal) = seal {
            out(Event::Delta { slot, delta: Delta::Seal(seal) });
        }
    }

    /// The slot of the open block of this kind; opens one if another or none is open.
    fn block(&mut self, kind: Kind, out: Sink<'_>) -> u32 {
        match self.open {
            Some((slot, open)) if open == kind => slot,
            _ => {
                let slot = self.slot();
                self.open = Some((slot, kind));
                let block = match kind {
                    Kind::Text => Block::Text,
                    Kind::Thinking => Block::Thinking,
                };
                out(Event::Open { slot, block });
                slot
            }
        }
    }

    fn slot(&mut self) -> u32 {
        let slot = self.next;
        self.next = self.next.saturating_add(1);
        slot
    }

    fn whole(&mut self, block: Block<'_>, out: Sink<'_>) {
        let slot = self.slot();
        self.open = None;
        out(Event::Open { slot, block });
        out(Event::Close { slot });
    }

    /// A call comes whole.
    fn call(&mut self, raw: &str, seal: Option<Seal<'_>>, out: Sink<'_>) {
        let (mut id, mut name) = (Cow::Borrowed(""), Cow::Borrowed(""));
        let mut arguments = "{}";
        for (key, value) in members(raw) {
            match &*key {
                "id" => id = json_read::text(value).unwrap_or_default(),
                "name" => name = json_read::text(value).unwrap_or_default(),
                "args" => arguments = value,
                _ => {}
            }
        }
        if id.is_empty() {
            id = Cow::Owned(format!("{}_{}", self.call_prefix, self.calls));
        }
        self.calls += 1;
        let slot = self.slot();
        self.open = None;
        out(Event::Open { slot, block: Block::ToolUse { id, name } });
        out(Event::Delta { slot, delta: Delta::Arguments(minified(arguments)) });
        if let Some(seal) = seal {
            out(Event::Delta { slot, delta: Delta::Seal(seal) });
        }
        out(Event::Close { slot });
    }

    fn finish(&mut self, reason: &str, message: Option<&str>, out: Sink<'_>) {
        let reason = match reason {
            "FINISH_REASON_UNSPECIFIED" | "" => return,
            "STOP" => StopReason::EndTurn,
            "MAX_TOKENS" => StopReason::MaxTokens,
            "SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "MODEL_ARMOR"
            | "ESCALATION"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION" => StopReason::ContentFilter,
            "CONTINUATION" => StopReason::PauseTurn,
            failed => {
                let message = message.unwrap_or("the model did not finish its answer");
                let message = Cow::Owned(format!("{message} ({failed})"));
                let code = Some(Cow::Borrowed(failed));
                out(Event::Error(Fault { kind: ErrorKind::Api, message, code }));
                return;
            }
        };
        self.stopped = true;
        out(Event::Stop(Stop::of(reason)));
    }

    /// The prompt was refused: there is no candidate.
    fn blocked(&mut self, feedback: &str, out: Sink<'_>) {
        let (mut reason, mut message) = (None, None);
        for (name, raw) in members(feedback) {
            match &*camel(&name) {
                "blockReason" => reason = json_read::text(raw),
                "blockReasonMessage" => message = json_read::text(raw),
                _ => {}
            }
        }
        if reason.is_none_or(|reason| reason == "BLOCKED_REASON_UNSPECIFIED") {
            return;
        }
        if let Some(message) = message {
            let slot = self.slot();
            self.open = None;
            out(Event::Open { slot, block: Block::Refusal });
            out(Event::Delta { slot, delta: Delta::Refusal(message) });
            out(Event::Close { slot });
        }
        self.stopped = true;
        out(Event::Stop(Stop::of(StopReason::ContentFilter)));
    }
}

/// The members of one `GenerateContentResponse`.
#[derive(Default)]
struct Chunk<'a> {
    id: Cow<'a, str>,
    model: Cow<'a, str>,
    candidate: Option<Raw<'a>>,
    usage: Option<Raw<'a>>,
    feedback: Option<Raw<'a>>,
    error: Option<Raw<'a>>,
}

impl<'a> Chunk<'a> {
    /// `None` for what is no answer.
    fn of(raw: &'a str) -> Option<Self> {
        let mut chunk = Self::default();
        for (name, raw) in members(raw) {
            match &*camel(&name) {
                "responseId" => chunk.id = json_read::text(raw)?,
                "modelVersion" => chunk.model = json_read::text(raw)?,
                "candidates" => chunk.candidate = json_read::items(raw).find(|raw| is_first(raw)),
                "usageMetadata" => chunk.usage = Some(raw),
                "promptFeedback" => chunk.feedback = Some(raw),
                "error" => chunk.error = Some(raw),
                _ => {}
            }
        }
        let says = chunk.candidate.is_some()
            || chunk.usage.is_some()
            || chunk.feedback.is_some()
            || chunk.error.is_some();
        (says || !chunk.id.is_empty() || !chunk.model.is_empty()).then_some(chunk)
    }
}

fn is_first(candidate: &str) -> bool {
    json_read::field(candidate, "index").and_then(whole).unwrap_or(0) == 0
}

/// The members of one candidate.
struct Candidate<'a> {
    parts: Raw<'a>,
    finish: Option<Cow<'a, str>>,
    message: Option<Cow<'a, str>>,
    grounding: Option<Raw<'a>>,
    citations: Option<Raw<'a>>,
    logprobs: Option<Raw<'a>>,
}

impl Default for Candidate<'_> {
    fn default() -> Self {
        Self {
            parts: "[]",
            finish: None,
            message: None,
            grounding: None,
            citations: None,
            logprobs: None,
        }
    }
}

impl<'a> Candidate<'a> {
    fn of(raw: &'a str) -> Self {
        let mut candidate = Self::default();
        for (name, raw) in members(raw) {
            match &*camel(&name) {
                "content" => candidate.parts = json_read::field(raw, "parts").unwrap_or("[]"),
                "finishReason" => candidate.finish = json_read::text(raw),
                "finishMessage" => candidate.message = json_read::text(raw),
                "groundingMetadata" => candidate.grounding = Some(raw),
                "citationMetadata" => candidate.citations = Some(raw),
                "logprobsResult" => candidate.logprobs = Some(raw),
                _ => {}
            }
        }
        candidate
    }
}

/// The members of one part.
#[derive(Default)]
struct Part<'a> {
    text: Option<Cow<'a, str>>,
    thought: bool,
    signature: Option<Cow<'a, str>>,
    /// The member that says what the part is, beside text.
    data: Option<(&'static str, Raw<'a>)>,
}

const DATA: [&str; 7] = [
    "functionCall",
    "inlineData",
    "fileData",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
];

impl<'a> Part<'a> {
    fn of(raw: &'a str) -> Self {
        let mut part = Self::default();
        for (name, raw) in members(raw) {
            let key = camel(&name);
            match &*key {
                "text" => part.text = json_read::text(raw),
                "thought" => part.thought = json_read::boolean(raw) == Some(true),
                "thoughtSignature" => part.signature = json_read::text(raw),
                _ => {
                    if let Some(data) = DATA.into_iter().find(|data| *data == key) {
                        part.data = Some((data, raw));
                    }
                }
            }
        }
        part
    }
}

/// JSON without the white space between its tokens: a whole answer comes indented.
pub(super) fn minified(raw: &str) -> Cow<'_, str> {
    if !raw.contains([' ', '\n', '\r', '\t']) {
        return Cow::Borrowed(raw);
    }
    let (mut quoted, mut escaped) = (false, false);
    let kept = |c: &char| {
        if escaped {
            escaped = false;
        } else if *c == '"' {
            quoted = !quoted;
        } else {
            escaped = quoted && *c == '\\';
        }
        quoted || !c.is_ascii_whitespace()
    };
    Cow::Owned(raw.chars().filter(kept).collect())
}

fn call_prefix(response_id: &str) -> String {
    let id = response_id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let id: String = id.take(ID_MAX).collect();
    if id.is_empty() { "call".to_owned() } else { format!("call_{id}") }
}

/// Brings the counts into the hub's convention: Gemini's prompt contains what was cached, its
/// candidates do not contain the thoughts.
fn usage_of(raw: &str) -> Usage {
    let mut usage = Usage::default();
    let (mut prompt, mut tools, mut answer) = (None, None, None);
    for (name, raw) in members(raw) {
        match &*camel(&name) {
            "promptTokenCount" => prompt = whole(raw),
            "toolUsePromptTokenCount" => tools = whole(raw),
            "cachedContentTokenCount" => usage.cache_read = whole(raw),
            "candidatesTokenCount" => answer = whole(raw),
            "thoughtsTokenCount" => usage.reasoning = whole(raw),
            "promptTokensDetails" => usage.input_audio = audio(raw),
            "candidatesTokensDetails" => usage.output_audio = audio(raw),
            "trafficType" => usage.service_tier = traffic(raw),
            _ => {}
        }
    }
    let cached = usage.cache_read.unwrap_or(0);
    usage.input =
        prompt.map(|prompt| prompt.saturating_sub(cached).saturating_add(tools.unwrap_or(0)));
    usage.output = match (answer, usage.reasoning) {
        (None, None) => None,
        (answer, thoughts) => Some(answer.unwrap_or(0).saturating_add(thoughts.unwrap_or(0))),
    };
    usage
}

fn audio(details: &str) -> Option<u64> {
    let is_audio = |raw: &&str| {
        json_read::text_field(raw, "modality").is_some_and(|modality| modality == "AUDIO")
    };
    let detail = json_read::items(details).find(is_audio)?;
    let count = |(name, raw): (Cow<'_, str>, &str)| {
        (camel(&name) == "tokenCount").then(|| whole(raw)).flatten()
    };
    json_read::fields(detail).find_map(count)
}

fn traffic(raw: &str) -> Option<String> {
    Some(match json_read::text(raw).as_deref()? {
        "ON_DEMAND" => "default".to_owned(),
        "ON_DEMAND_PRIORITY" => "priority".to_owned(),
        "ON_DEMAND_FLEX" => "flex".to_owned(),
        "TRAFFIC_TYPE_UNSPECIFIED" => return None,
        other => other.to_ascii_lowercase(),
    })
}

/// Searches as they are billed: each query since Gemini 3, each grounded answer before.
fn searches(grounding: &str, model: &str) -> Option<u64> {
    let queries = json_read::field(grounding, "webSearchQueries")?;
    let count = json_read::items(queries).count();
    let by_query = super::gemini_model::Model::of(model).nests_media;
    let count = if by_query { count } else { count.min(1) };
    u64::try_from(count).ok().filter(|count| *count > 0)
}

fn unreadable() -> Event<'static> {
    let message = Cow::Borrowed("the upstream's answer is no Gemini response");
    Event::Error(Fault { kind: ErrorKind::Api, message, code: None })
}
