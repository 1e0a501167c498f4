//! What the gateway has to know of an answer that passes by unchanged.
//!
//! In: the frames of a stream, or a whole body, in the upstream's language. Out: usage, stop
//! reason, model, id, fault. Only the few frames that can hold these are read, found by their
//! name or by a search for a few bytes. Never: copies or allocates for a frame of text, or
//! touches the bytes.

use super::{Decoder, Dialect, anthropic_response, openai_chat_usage};
use crate::chat::{Event, Fault, Stop, StopReason, Usage};
use crate::wire::frames::Frame;
use crate::wire::json_read;
use crate::wire::json_scan::{self, DEPTH_MAX, Span};
use base64::Engine;
use memchr::memmem;
use std::borrow::Cow;
use std::sync::LazyLock;

/// The base64 characters at the start of a Bedrock chunk that tell its event's type.
const PEEKED: usize = 64;

/// Listens to one answer. One per answer.
#[derive(Debug)]
pub struct Tap {
    dialect: Dialect,
    decoder: Decoder,
    seen: Seen,
    /// Whether a frame was read, whatever it held.
    begun: bool,
    /// The last frame of a Gemini stream that held counts, for a stream that is cut.
    held: String,
    /// The bytes of one Bedrock chunk.
    chunk: Vec<u8>,
    invoked: bool,
}

#[derive(Debug, Default)]
struct Seen {
    usage: Usage,
    stop: Option<Stop<'static>>,
    id: String,
    model: String,
    fault: Option<Fault<'static>>,
    ended: bool,
}

impl Seen {
    fn note(&mut self, event: Event<'_>) {
        match event {
            Event::Start { id, model, usage } => {
                self.id = id.into_owned();
                self.model = model.into_owned();
                self.usage.merge(&usage);
            }
            Event::Usage(usage) => self.usage.merge(&usage),
            Event::Stop(stop) => {
                let sequence = stop.sequence.map(|text| Cow::Owned(text.into_owned()));
                self.stop = Some(Stop { reason: stop.reason, sequence });
            }
            Event::End => self.ended = true,
            Event::Error(fault) => {
                self.fault.get_or_insert(Fault {
                    kind: fault.kind,
                    message: Cow::Owned(fault.message.into_owned()),
                    code: fault.code.map(|code| Cow::Owned(code.into_owned())),
                });
            }
            Event::Open { .. } | Event::Delta { .. } | Event::Close { .. } => {}
        }
    }
}

impl Tap {
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            decoder: Decoder::new(dialect),
            seen: Seen::default(),
            begun: false,
            held: String::new(),
            chunk: Vec::new(),
            invoked: false,
        }
    }

    /// Takes one frame of the upstream's stream.
    pub fn frame(&mut self, frame: Frame<'_>) {
        let first = !std::mem::replace(&mut self.begun, true);
        let tells = match self.dialect {
            Dialect::Anthropic => tells_anthropic(&frame),
            Dialect::OpenAiChat => first || tells_chat(frame.data),
            Dialect::OpenAiResponses => tells_responses(&frame),
            Dialect::Bedrock if frame.name == Some("chunk") && !frame.exception => {
                self.invoke_chunk(frame.data);
                false
            }
            Dialect::Bedrock => {
                frame.exception
                    || matches!(frame.name, Some("messageStart" | "messageStop" | "metadata"))
            }
            Dialect::Gemini => {
                let tells = first || tells_gemini(frame.data);
                if !tells && has(frame.data, b"\"usageMetadata\"") {
                    self.held.clear();
                    self.held.push_str(frame.data);
                }
                tells
            }
        };
        if tells {
            self.held.clear();
            self.decode(frame);
        }
    }

    fn decode(&mut self, frame: Frame<'_>) {
        let Self { decoder, seen, .. } = self;
        decoder.frame(frame, &mut |event| seen.note(event));
    }

    /// Takes a whole answer.
    pub fn message(&mut self, body: &str) {
        if let Some(seen) = facts(self.dialect, body) {
            self.seen = seen;
            return;
        }
        let Self { dialect, seen, .. } = self;
        super::decode_message(*dialect, body, &mut |event| seen.note(event));
    }

    /// The upstream's bytes are over: counts what a cut stream said last.
    pub fn finish(&mut self) {
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            self.decode(Frame { name: None, exception: false, data: &held });
        }
    }

    /// A frame of Bedrock's invoke: an event of the model's own language in base64. Claude's are
    /// Anthropic's; other families count in the metrics of their last chunk.
    fn invoke_chunk(&mut self, data: &str) {
        if !std::mem::replace(&mut self.invoked, true) {
            self.decoder = Decoder::new(Dialect::Anthropic);
        }
        let Some(encoded) = json_read::field(data, "bytes").and_then(json_read::text) else {
            return;
        };
        let engine = base64::engine::general_purpose::STANDARD;
        let mut start = [0; PEEKED];
        let peeked = encoded.as_bytes().get(..PEEKED).unwrap_or(encoded.as_bytes());
        let length = engine.decode_slice(peeked, &mut start).unwrap_or(0);
        let start = start.get(..length).unwrap_or_default();
        let typed = start.starts_with(b"{\"type\"");
        let tells = [b"message_".as_slice(), b"error"].iter().any(|word| find(start, word));
        if typed && !tells {
            return;
        }
        self.chunk.clear();
        if engine.decode_vec(encoded.as_bytes(), &mut self.chunk).is_err() {
            return;
        }
        let bytes = std::mem::take(&mut self.chunk);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            if typed {
                self.decode(Frame { name: None, exception: false, data: text });
            } else if let Some(metrics) = json_read::field(text, "amazon-bedrock-invocationMetrics")
            {
                self.seen.usage.merge(&invocation_usage(metrics));
                self.seen.ended = true;
            }
        }
        self.chunk = bytes;
    }

    pub fn usage(&self) -> &Usage {
        &self.seen.usage
    }
    pub fn stop(&self) -> Option<&Stop<'static>> {
        self.seen.stop.as_ref()
    }
    /// The model as the upstream names it; empty while unknown.
    pub fn model(&self) -> &str {
        &self.seen.model
    }
    /// The upstream's id of the answer; empty while unknown.
    pub fn id(&self) -> &str {
        &self.seen.id
    }
    /// The failure that the upstream told of.
    pub fn fault(&self) -> Option<&Fault<'static>> {
        self.seen.fault.as_ref()
    }
    /// Whether the answer is complete: its end came, or what stands for it in its language.
    pub fn saw_end(&self) -> bool {
        self.seen.ended || self.seen.stop.is_some()
    }
}

fn invocation_usage(metrics: &str) -> Usage {
    let count = |name| json_read::field(metrics, name).and_then(json_read::unsigned);
    Usage {
        input: count("inputTokenCount"),
        output: count("outputTokenCount"),
        cache_read: count("cacheReadInputTokenCount"),
        cache_write: count("cacheWriteInputTokenCount"),
        ..Usage::default()
    }
}

fn tells_anthropic(frame: &Frame<'_>) -> bool {
    let tells =
        |kind: &str| matches!(kind, "message_start" | "message_delta" | "message_stop" | "error");
    match frame.name {
        Some(name) => tells(name),
        None => {
            has(frame.data, b"\"error\"")
                || json_read::text_field(frame.data, "type").is_some_and(|kind| tells(&kind))
        }
    }
}

fn tells_responses(frame: &Frame<'_>) -> bool {
    let tells = |kind: &str| {
        matches!(
            kind,
            "response.created"
                | "response.completed"
                | "response.incomplete"
                | "response.failed"
                | "error"
        )
    };
    match frame.name {
        Some(name) => tells(name),
        None => json_read::text_field(frame.data, "type").is_none_or(|kind| tells(&kind)),
    }
}

/// The keys of a chunk that tell something. Searching for a word has to be prepared; once is enough.
static TELLING: LazyLock<[memmem::Finder<'static>; 3]> =
    LazyLock::new(|| ["\"finish_reason\":", "\"usage\":", "\"error\":"].map(memmem::Finder::new));

static STOP_REASON: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new("\"stop_reason\":"));

/// Whether a chunk holds more than text: a finish reason, counts, an error, the end. In a text
/// these words have their quotes escaped, so it cannot hold them.
fn tells_chat(data: &str) -> bool {
    if data.trim_ascii() == "[DONE]" {
        return true;
    }
    TELLING.iter().any(|key| said(data, key))
}

fn tells_gemini(data: &str) -> bool {
    [b"\"finishReason\"".as_slice(), b"\"error\"", b"\"promptFeedback\""]
        .iter()
        .any(|word| has(data, word))
}

/// Whether the key is there with another value than `null`.
fn said(data: &str, key: &memmem::Finder<'_>) -> bool {
    key.find_iter(data.as_bytes()).any(|at| {
        let value = data.as_bytes().get(at + key.needle().len()..).unwrap_or_default();
        !value.trim_ascii_start().starts_with(b"null")
    })
}

fn has(data: &str, word: &[u8]) -> bool {
    find(data.as_bytes(), word)
}

fn find(bytes: &[u8], word: &[u8]) -> bool {
    memmem::find(bytes, word).is_some()
}

/// What the tap wants of a whole answer, found by one scan and without reading what was said. `None`
/// where the answer is of an unusual shape, and has to be read in full.
fn facts(dialect: Dialect, body: &str) -> Option<Seen> {
    let bytes = body.as_bytes();
    let value = |span: Option<Span>| span.and_then(|span| body.get(span.start..span.end));
    let text = |span: Option<Span>| value(span).and_then(json_read::text).map(Cow::into_owned);
    let (id, model, usage, reason) = match dialect {
        Dialect::Anthropic => {
            let wanted = ["error", "id", "model", "stop_reason", "stop_sequence", "usage"];
            let [error, id, model, reason, sequence, usage] =
                json_scan::scan(bytes, DEPTH_MAX, &wanted).ok()?;
            let reason = match value(reason)? {
                "\"end_turn\"" => StopReason::EndTurn,
                "\"tool_use\"" => StopReason::ToolUse,
                "\"max_tokens\"" => StopReason::MaxTokens,
                _ => return None,
            };
            if error.is_some() || value(sequence).is_some_and(|sequence| sequence != "null") {
                return None;
            }
            (id, model, anthropic_response::usage_of(value(usage)?), reason)
        }
        Dialect::OpenAiChat => {
            let wanted = ["error", "id", "model", "choices", "usage", "service_tier"];
            let [error, id, model, choices, usage, tier] =
                json_scan::scan(bytes, DEPTH_MAX, &wanted).ok()?;
            let usage = value(usage).filter(|_| error.is_none())?;
            let reason = finish_reason(value(choices)?)?;
            let mut usage = openai_chat_usage::usage_of(usage);
            usage.service_tier = text(tier).or(usage.service_tier);
            (id, model, usage, reason)
        }
        Dialect::OpenAiResponses | Dialect::Bedrock | Dialect::Gemini => return None,
    };
    Some(Seen {
        usage,
        stop: Some(Stop::of(reason)),
        id: text(id).unwrap_or_default(),
        model: text(model).unwrap_or_default(),
        fault: None,
        ended: true,
    })
}

/// The plain ways in which the last of the choices may have ended. The key can't stand inside a
/// string, where its quotes would be escaped.
fn finish_reason(choices: &str) -> Option<StopReason> {
    let at = memmem::rfind(choices.as_bytes(), FINISH.as_bytes())? + FINISH.len();
    let value = choices.get(at..)?.trim_start().strip_prefix(':')?.trim_start();
    // Some servers name the stop sequence that matched.
    let plain = !find(choices.as_bytes(), b"\"tool_calls\"") && !said(choices, &STOP_REASON);
    if value.starts_with("\"stop\"") && plain {
        Some(StopReason::EndTurn)
    } else if value.starts_with("\"length\"") {
        Some(StopReason::MaxTokens)
    } else if value.starts_with("\"tool_calls\"") {
        Some(StopReason::ToolUse)
    } else {
        None
    }
}

const FINISH: &str = "\"finish_reason\"";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::ErrorKind;

    fn event(data: &str) -> Frame<'_> {
        Frame { name: None, exception: false, data }
    }

    fn named<'a>(name: &'a str, data: &'a str) -> Frame<'a> {
        Frame { name: Some(name), exception: false, data }
    }

    #[test]
    fn a_whole_answer_tells_the_same_by_a_scan_as_when_read_in_full() {
        let bodies = [
            (
                Dialect::Anthropic,
                r#"{"id":"m","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"\"usage\""}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"cache_read_input_tokens":2,"output_tokens":5}}"#,
            ),
            (
                Dialect::OpenAiChat,
                r#"{"id":"c","object":"chat.completion","created":1,"model":"g","choices":[{"index":0,"message":{"role":"assistant","content":"\"finish_reason\":\"length\""},"finish_reason" : "stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":2}}}"#,
            ),
            (
                Dialect::OpenAiChat,
                r#"{"id":"c","model":"g","choices":[{"finish_reason":"tool_calls","index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}]}}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}"#,
            ),
        ];
        for (dialect, body) in bodies {
            let quick = facts(dialect, body).unwrap();
            let mut full = Seen::default();
            super::super::decode_message(dialect, body, &mut |event| full.note(event));
            assert_eq!(
                (&quick.usage, &quick.stop, &quick.id, &quick.model),
                (&full.usage, &full.stop, &full.id, &full.model),
            );
        }
    }

    #[test]
    fn an_anthropic_stream_is_counted() {
        let frames = [
            named(
                "message_start",
                r#"{"type":"message_start","message":{"id":"msg_1","model":"claude-x","usage":{"input_tokens":7,"cache_read_input_tokens":3,"output_tokens":1}}}"#,
            ),
            named("content_block_delta", "not even JSON"),
            named(
                "message_delta",
                r#"{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"X"},"usage":{"output_tokens":9}}"#,
            ),
        ];
        for strip in [false, true] {
            let mut tap = Tap::new(Dialect::Anthropic);
            for frame in frames {
                tap.frame(Frame { name: frame.name.filter(|_| !strip), ..frame });
            }
            assert_eq!((tap.id(), tap.model()), ("msg_1", "claude-x"));
            assert_eq!(tap.usage().prompt(), 10);
            assert_eq!(tap.usage().output, Some(9));
            let stop = tap.stop().unwrap();
            assert_eq!(
                (stop.reason, stop.sequence.as_deref()),
                (StopReason::StopSequence, Some("X"))
            );
            assert!(tap.saw_end() && tap.fault().is_none());
        }
    }

    #[test]
    fn a_chat_stream_is_counted() {
        let mut tap = Tap::new(Dialect::OpenAiChat);
        tap.frame(event(
            r#"{"id":"c1","model":"gpt-x","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}"#,
        ));
        let quoting = r#"{"id":"c1","choices":[{"index":0,"delta":{"content":"\"error\":{\"usage\":{"},"finish_reason":null}],"usage":null}"#;
        assert!(!tells_chat(quoting));
        tap.frame(event(quoting));
        assert!(!tap.saw_end());
        tap.frame(event(
            r#"{"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#,
        ));
        tap.frame(event(
            r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}"#,
        ));
        tap.frame(event("[DONE]"));
        assert_eq!((tap.id(), tap.model()), ("c1", "gpt-x"));
        assert_eq!(tap.stop().unwrap().reason, StopReason::MaxTokens);
        let usage = tap.usage();
        assert_eq!((usage.input, usage.cache_read, usage.output), (Some(1), Some(4), Some(2)));
    }

    #[test]
    fn a_chunk_of_bedrocks_invoke_is_opened() {
        let engine = base64::engine::general_purpose::STANDARD;
        let mut tap = Tap::new(Dialect::Bedrock);
        for inner in [
            r#"{"type":"message_start","message":{"id":"msg_1","model":"claude-x","usage":{"input_tokens":7,"output_tokens":1}}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a long enough text about a message_delta"}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#,
        ] {
            let data = format!(r#"{{"bytes":"{}","p":"abc"}}"#, engine.encode(inner));
            tap.frame(named("chunk", &data));
        }
        assert_eq!((tap.usage().input, tap.usage().output), (Some(7), Some(9)));
        assert_eq!(tap.stop().unwrap().reason, StopReason::EndTurn);

        let mut tap = Tap::new(Dialect::Bedrock);
        let last = r#"{"outputs":[{"text":"x","stop_reason":"stop"}],"amazon-bedrock-invocationMetrics":{"inputTokenCount":4,"outputTokenCount":2}}"#;
        tap.frame(named("chunk", &format!(r#"{{"bytes":"{}"}}"#, engine.encode(last))));
        assert_eq!((tap.usage().input, tap.usage().output), (Some(4), Some(2)));
        assert!(tap.saw_end());
    }

    #[test]
    fn a_responses_stream_is_counted() {
        let mut tap = Tap::new(Dialect::OpenAiResponses);
        for (name, data) in [
            (
                "response.created",
                r#"{"type":"response.created","response":{"id":"resp_1","model":"gpt-x","status":"in_progress","output":[]}}"#,
            ),
            ("response.output_text.delta", "not even JSON"),
            (
                "response.incomplete",
                r#"{"type":"response.incomplete","response":{"id":"resp_1","model":"gpt-x","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[],"usage":{"input_tokens":5,"input_tokens_details":{"cached_tokens":4},"output_tokens":2,"total_tokens":7}}}"#,
            ),
        ] {
            assert!(!tap.saw_end());
            tap.frame(named(name, data));
        }
        assert_eq!((tap.id(), tap.model()), ("resp_1", "gpt-x"));
        assert_eq!(tap.stop().unwrap().reason, StopReason::MaxTokens);
        let usage = tap.usage();
        assert_eq!((usage.input, usage.cache_read, usage.output), (Some(1), Some(4), Some(2)));
    }

    #[test]
    fn a_gemini_stream_is_counted_even_if_it_is_cut() {
        let mut tap = Tap::new(Dialect::Gemini);
        tap.frame(event(
            r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":1},"modelVersion":"gemini-x","responseId":"r1"}"#,
        ));
        tap.frame(event(
            r#"{"candidates":[{"content":{"parts":[{"text":"b"}]}}],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":2}}"#,
        ));
        assert!(!tap.saw_end());
        tap.finish();
        assert_eq!((tap.usage().input, tap.usage().output), (Some(4), Some(2)));
        assert!(!tap.saw_end());
        tap.frame(event(
            r#"{"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"MAX_TOKENS"}],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":3}}"#,
        ));
        assert_eq!((tap.id(), tap.model()), ("r1", "gemini-x"));
        assert_eq!(tap.usage().output, Some(3));
        assert_eq!(tap.stop().unwrap().reason, StopReason::MaxTokens);
        assert!(tap.saw_end());
    }

    #[test]
    fn a_fault_is_told() {
        for (dialect, frame) in [
            (
                Dialect::Anthropic,
                named(
                    "error",
                    r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#,
                ),
            ),
            (
                Dialect::OpenAiChat,
                event(r#"{"error":{"message":"busy","type":"service_unavailable"}}"#),
            ),
            (
                Dialect::Bedrock,
                Frame {
                    name: Some("serviceUnavailableException"),
                    exception: true,
                    data: r#"{"message":"busy"}"#,
                },
            ),
        ] {
            let mut tap = Tap::new(dialect);
            tap.frame(frame);
            let fault = tap.fault().unwrap();
            assert_eq!((fault.kind, fault.message.as_ref()), (ErrorKind::Overloaded, "busy"));
            assert!(!tap.saw_end());
        }
    }

    #[test]
    fn a_whole_answer_is_counted() {
        let mut tap = Tap::new(Dialect::Anthropic);
        tap.message(
            r#"{"id":"msg_1","model":"m","content":[{"type":"text","text":"x"}],"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":2}}"#,
        );
        assert_eq!(tap.usage().total(), 3);
        assert_eq!(tap.stop().unwrap().reason, StopReason::ToolUse);
    }
}
