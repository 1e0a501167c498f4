//! The bodies of `InvokeModel`: each family of models has its own.
//!
//! In: a client's body and the model it names. Out: the family, the [`Request`], and the answer in
//! the family's own shape, whole or in chunks. Bodies of Claude are Anthropic Messages and those of
//! OpenAI's, Mistral's and others' chat models are Chat Completions: their dialects do the work.
//! Never: sends a client another family's answer, whatever upstream gave it.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html>

use super::bedrock_family::Family;
use super::bedrock_response_out as converse;
use super::{
    Dialect, Malformed, Reply, bedrock_exceptions as exceptions, bedrock_prompt, bedrock_request,
    errors,
};
use crate::chat::{
    Block, Delta, Event, Extra, FieldNames, Folded, Loss, Part, PartKind, Reason, Request,
    StopReason, Turn, Usage,
};
use crate::wire::frames::{Frame, Frames, Framing};
use crate::wire::json_read;
use crate::wire::json_write::Object;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// Whose body it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Claude: Anthropic Messages without `model` and `stream`.
    Anthropic,
    /// Chat Completions.
    OpenAiChat,
    /// Messages in Converse's form.
    Nova,
    /// `prompt`, `max_tokens`.
    Mistral,
    /// `prompt`, `max_gen_len`.
    Llama,
    /// `inputText`, `textGenerationConfig`.
    Titan,
}

const MISTRAL: FieldNames = FieldNames {
    max_tokens: "max_tokens",
    temperature: "temperature",
    top_p: "top_p",
    top_k: "top_k",
    stop: "stop",
    ..bedrock_request::CONVERSE
};
static MISTRAL_NAMES: FieldNames = MISTRAL;
static LLAMA_NAMES: FieldNames = FieldNames { max_tokens: "max_gen_len", ..MISTRAL };
static TITAN_NAMES: FieldNames = FieldNames {
    max_tokens: "textGenerationConfig.maxTokenCount",
    temperature: "textGenerationConfig.temperature",
    top_p: "textGenerationConfig.topP",
    stop: "textGenerationConfig.stopSequences",
    ..MISTRAL
};

impl Shape {
    /// Tells the shape of a body by its fields, and by the model where they leave a choice.
    /// `None` for what is no text generation (embeddings, images) or not known.
    pub fn of(model: &str, body: &str) -> Option<Self> {
        let has = |name: &str| json_read::field(body, name).is_some_and(|v| !json_read::is_null(v));
        let family = Family::of(model);
        if has("messages") {
            return Some(if has("anthropic_version") {
                Self::Anthropic
            } else if has("schemaVersion") || has("inferenceConfig") {
                Self::Nova
            } else {
                match family {
                    Family::Claude => Self::Anthropic,
                    Family::Nova => Self::Nova,
                    Family::OpenAi | Family::Other | Family::Unknown => Self::OpenAiChat,
                }
            });
        }
        if has("inputText") && !model.contains("embed") {
            return Some(Self::Titan);
        }
        if !has("prompt") {
            return None;
        }
        let llama = has("max_gen_len") || model.contains("llama") || model.contains("meta.");
        Some(if llama { Self::Llama } else { Self::Mistral })
    }

    /// The dialect that its body is in, for those that are one of the gateway's: the gateway then
    /// passes it on by bytes, or transcodes it, like any other client's.
    pub const fn dialect(self) -> Option<Dialect> {
        match self {
            Self::Anthropic => Some(Dialect::Anthropic),
            Self::OpenAiChat => Some(Dialect::OpenAiChat),
            Self::Nova | Self::Mistral | Self::Llama | Self::Titan => None,
        }
    }
}

/// Reads a body. The gateway sets the model and whether to stream: both stand in the path.
pub fn decode<'a>(shape: Shape, body: &'a str, loss: &mut Loss) -> Result<Request<'a>, Malformed> {
    match shape {
        Shape::Anthropic => {
            let mut request = super::decode_request(Dialect::Anthropic, body, loss)?;
            // Belongs to the envelope, and says nothing to another upstream.
            request.extras.retain(|extra| extra.name != "anthropic_version");
            Ok(request)
        }
        Shape::OpenAiChat => super::decode_request(Dialect::OpenAiChat, body, loss),
        Shape::Nova => {
            let mut request = bedrock_request::decode(body, loss)?;
            request.extras.retain(|extra| extra.name != "schemaVersion");
            Ok(request)
        }
        Shape::Mistral => text_body(body, "prompt", &MISTRAL_NAMES, loss),
        Shape::Llama => text_body(body, "prompt", &LLAMA_NAMES, loss),
        Shape::Titan => text_body(body, "inputText", &TITAN_NAMES, loss),
    }
}

fn text_body<'a>(
    body: &'a str,
    prompt_field: &'static str,
    names: &'static FieldNames,
    loss: &mut Loss,
) -> Result<Request<'a>, Malformed> {
    let mut request = Request::new(Dialect::Bedrock, names);
    request.include_usage = true;
    for (name, raw) in json_read::fields(body) {
        if json_read::is_null(raw) {
            continue;
        }
        if name == prompt_field {
            let text = bedrock_request::text(prompt_field, raw)?;
            let conversation = bedrock_prompt::read(&text);
            (request.system, request.turns) = owned(conversation.into_turns(prompt_field));
        } else if name == "textGenerationConfig" {
            for (name, raw) in json_read::fields(raw) {
                if !parameter(&mut request, &name, raw)? {
                    loss.push(format_args!("textGenerationConfig.{name}"), Reason::Unsupported);
                }
            }
        } else if !parameter(&mut request, &name, raw)? {
            request.extras.push(Extra { name, raw });
        }
    }
    if request.turns.is_empty() {
        return Err(Malformed::at(prompt_field, "is required"));
    }
    Ok(request)
}

type Said<'a> = (Vec<Part<'a>>, Vec<Turn<'a>>);

/// The text of a prompt may have been unescaped, so it cannot be borrowed from the body.
fn owned((system, turns): Said<'_>) -> Said<'static> {
    let part = |part: Part<'_>| {
        let text = match part.kind {
            PartKind::Text { text, .. } => text.into_owned(),
            _ => String::new(),
        };
        Part::new(part.place, PartKind::Text { text: Cow::Owned(text), citations: None })
    };
    let turn = |turn: Turn<'_>| Turn {
        place: turn.place,
        role: turn.role,
        name: None,
        parts: turn.parts.into_iter().map(part).collect(),
    };
    (system.into_iter().map(part).collect(), turns.into_iter().map(turn).collect())
}

/// Whether the field is a parameter of any of these families.
fn parameter<'a>(request: &mut Request<'a>, name: &str, raw: &'a str) -> Result<bool, Malformed> {
    match name {
        "max_tokens" | "max_gen_len" | "maxTokenCount" => {
            let wrong = || Malformed::at(request.names.max_tokens, "must be a whole number");
            request.max_tokens = Some(json_read::unsigned(raw).ok_or_else(wrong)?);
        }
        "temperature" => request.temperature = Some(raw),
        "top_p" | "topP" => request.top_p = Some(raw),
        "top_k" | "topK" => request.top_k = Some(raw),
        "stop" | "stopSequences" => {
            for item in bedrock_request::list(request.names.stop, raw)? {
                let text = bedrock_request::text(request.names.stop, item)?;
                request.stop.push(text);
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Writes a whole answer in the family's shape.
pub fn encode_message(shape: Shape, message: &Folded, reply: &Reply, out: &mut Vec<u8>) {
    let reason = message.stop.as_ref().map_or(StopReason::EndTurn, |stop| stop.reason);
    match shape {
        Shape::Anthropic => super::encode_message(Dialect::Anthropic, message, reply, out),
        Shape::OpenAiChat => super::encode_message(Dialect::OpenAiChat, message, reply, out),
        Shape::Nova => converse::encode_message(message, reply, out),
        Shape::Mistral => {
            let mut object = Object::begin(out);
            mistral_output(&mut object, &text_of(message), Some(reason));
            object.end();
        }
        Shape::Llama => {
            let mut object = Object::begin(out);
            object.text("generation", &text_of(message));
            llama_counts(&mut object, &message.usage, Some(reason));
            object.end();
        }
        Shape::Titan => {
            let mut object = Object::begin(out);
            object.unsigned("inputTextTokenCount", message.usage.prompt());
            let mut results = object.array("results");
            let mut result = results.object();
            result.unsigned("tokenCount", message.usage.output.unwrap_or(0));
            result.text("outputText", &text_of(message));
            result.text("completionReason", titan_reason(reason));
            result.end();
            results.end();
            object.end();
        }
    }
}

/// All that was said to the user; these families know neither calls nor reasoning.
fn text_of(message: &Folded) -> String {
    let said = message.blocks.iter().filter(|b| matches!(b.block, Block::Text | Block::Refusal));
    said.map(|block| block.text.as_str()).collect()
}

fn mistral_output(object: &mut Object<'_>, text: &str, reason: Option<StopReason>) {
    let mut outputs = object.array("outputs");
    let mut output = outputs.object();
    output.text("text", text);
    match reason {
        Some(reason) => output.text("stop_reason", plain_reason(reason)),
        None => output.null("stop_reason"),
    };
    output.end();
    outputs.end();
}

fn llama_counts(object: &mut Object<'_>, usage: &Usage, reason: Option<StopReason>) {
    object.unsigned("prompt_token_count", usage.prompt());
    object.unsigned("generation_token_count", usage.output.unwrap_or(0));
    match reason {
        Some(reason) => object.text("stop_reason", plain_reason(reason)),
        None => object.null("stop_reason"),
    };
}

const fn plain_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::MaxTokens | StopReason::ContextWindow => "length",
        StopReason::EndTurn
        | StopReason::StopSequence
        | StopReason::ToolUse
        | StopReason::Refusal
        | StopReason::ContentFilter
        | StopReason::PauseTurn => "stop",
    }
}

const fn titan_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::MaxTokens | StopReason::ContextWindow => "LENGTH",
        StopReason::StopSequence => "STOP_CRITERIA_MET",
        StopReason::Refusal | StopReason::ContentFilter => "CONTENT_FILTERED",
        StopReason::EndTurn | StopReason::ToolUse | StopReason::PauseTurn => "FINISH",
    }
}

/// Writes the chunks of one streamed answer in the family's shape, for [`Framing::AwsInvokeChunks`].
#[derive(Debug)]
pub struct Encoder(Box<Inner>);

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "boxed as a whole, once per answer")]
enum Inner {
    Dialect(super::Encoder),
    Nova(converse::Encoder),
    Text(TextEncoder),
}

#[derive(Debug)]
struct TextEncoder {
    shape: Shape,
    latency_ms: u64,
    usage: Usage,
    reason: StopReason,
}

impl Encoder {
    pub fn new(shape: Shape, reply: Reply) -> Self {
        Self(Box::new(match shape {
            Shape::Anthropic => Inner::Dialect(super::Encoder::new(Dialect::Anthropic, reply)),
            Shape::OpenAiChat => Inner::Dialect(super::Encoder::new(Dialect::OpenAiChat, reply)),
            Shape::Nova => Inner::Nova(converse::Encoder::nova(&reply)),
            Shape::Mistral | Shape::Llama | Shape::Titan => Inner::Text(TextEncoder {
                shape,
                latency_ms: reply.latency_ms,
                usage: Usage::default(),
                reason: StopReason::EndTurn,
            }),
        }))
    }

    /// Writes what one event of the [`crate::chat::Sequencer`] means in this shape.
    pub fn event(&mut self, event: &Event<'_>, out: &mut Frames) {
        match self.0.as_mut() {
            Inner::Dialect(encoder) => encoder.event(event, out),
            Inner::Nova(encoder) => encoder.event(event, out),
            Inner::Text(encoder) => encoder.event(event, out),
        }
    }
}

impl TextEncoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Frames) {
        match event {
            Event::Start { usage, .. } | Event::Usage(usage) => self.usage.merge(usage),
            Event::Delta { delta: Delta::Text(text) | Delta::Refusal(text), .. } => {
                self.chunk(text, false, out);
            }
            Event::Stop(stop) => self.reason = stop.reason,
            Event::End => self.chunk("", true, out),
            Event::Error(fault) => exceptions::write(fault, out),
            // These families know neither calls nor reasoning.
            Event::Open { .. } | Event::Delta { .. } | Event::Close { .. } => {}
        }
    }

    /// The last chunk says why it is the last, and the counts, which are complete only then.
    fn chunk(&self, text: &str, last: bool, out: &mut Frames) {
        let reason = last.then_some(self.reason);
        let mut object = Object::begin(out.begin(None));
        match self.shape {
            Shape::Llama => {
                object.text("generation", text);
                llama_counts(&mut object, &self.usage, reason);
            }
            Shape::Titan => {
                object.text("outputText", text).unsigned("index", 0);
                match reason {
                    Some(reason) => {
                        let count = self.usage.output.unwrap_or(0);
                        object.unsigned("totalOutputTextTokenCount", count);
                        object.text("completionReason", titan_reason(reason));
                        object.unsigned("inputTextTokenCount", self.usage.prompt());
                    }
                    None => {
                        object.null("totalOutputTextTokenCount").null("completionReason");
                    }
                }
            }
            Shape::Mistral | Shape::Anthropic | Shape::OpenAiChat | Shape::Nova => {
                mistral_output(&mut object, text, reason);
            }
        }
        if last {
            let mut metrics = object.object("amazon-bedrock-invocationMetrics");
            metrics.unsigned("inputTokenCount", self.usage.prompt());
            metrics.unsigned("outputTokenCount", self.usage.output.unwrap_or(0));
            metrics.unsigned("invocationLatency", self.latency_ms);
            metrics.unsigned("firstByteLatency", self.latency_ms);
            metrics.end();
        }
        object.end();
        out.end();
    }
}

/// Writes one frame of an upstream as it came, in the client's framing: both speak `dialect`, but
/// only one of them on Bedrock. A failure is an exception there, and an event elsewhere.
pub fn reframe(dialect: Dialect, frame: Frame<'_>, out: &mut Frames) {
    let chunks = out.framing() == Framing::AwsInvokeChunks;
    let failed = (chunks || frame.exception).then(|| errors::of_frame(dialect, &frame)).flatten();
    if let Some(fault) = failed {
        super::Encoder::new(dialect, Reply::default()).event(&Event::Error(fault), out);
        return;
    }
    out.begin(frame.name).extend_from_slice(frame.data.as_bytes());
    out.end();
}

/// What tokens are to be counted of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted<'a> {
    /// A Converse body, in part.
    Converse(&'a str),
    /// A body of `InvokeModel`, as JSON text.
    Invoke(String),
}

/// Reads a `CountTokens` body.
pub fn count_tokens_input(body: &str) -> Result<Counted<'_>, Malformed> {
    let input =
        json_read::field(body, "input").ok_or_else(|| Malformed::at("input", "is required"))?;
    if let Some(converse) = json_read::field(input, "converse") {
        return Ok(Counted::Converse(converse));
    }
    let path = "input.invokeModel.body";
    let encoded = json_read::field(input, "invokeModel")
        .and_then(|invoke| json_read::text_field(invoke, "body"))
        .ok_or_else(|| Malformed::at("input", "must have `converse` or `invokeModel.body`"))?;
    let bytes = STANDARD.decode(encoded.as_bytes());
    let bytes = bytes.map_err(|_| Malformed::at(path, "must be base64"))?;
    let text = String::from_utf8(bytes).map_err(|_| Malformed::at(path, "must be JSON text"))?;
    if bedrock_request::is_json_object(&text) {
        Ok(Counted::Invoke(text))
    } else {
        Err(Malformed::at(path, "must be a JSON object"))
    }
}

/// Writes a `CountTokens` answer.
pub fn encode_count(tokens: u64, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    object.unsigned("inputTokens", tokens);
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Role;
    use crate::dialect::{Transcoder, fold_message};
    use crate::wire::aws_event_stream::{Payload, Splitter};

    const MISTRAL: &str = "mistral.mistral-large-2407";

    #[test]
    fn shapes_are_told_by_their_fields() {
        for (model, body, shape) in [
            (
                "x",
                r#"{"anthropic_version":"bedrock-2023-05-31","messages":[]}"#,
                Some(Shape::Anthropic),
            ),
            ("us.anthropic.claude-opus-5-5", r#"{"messages":[]}"#, Some(Shape::Anthropic)),
            ("amazon.nova-lite-v1:0", r#"{"messages":[]}"#, Some(Shape::Nova)),
            ("x", r#"{"messages":[],"inferenceConfig":{}}"#, Some(Shape::Nova)),
            ("openai.gpt-oss-20b-1:0", r#"{"messages":[]}"#, Some(Shape::OpenAiChat)),
            (MISTRAL, r#"{"prompt":"x","max_tokens":5}"#, Some(Shape::Mistral)),
            ("x", r#"{"prompt":"x","max_gen_len":5}"#, Some(Shape::Llama)),
            ("meta.llama3-8b-instruct-v1:0", r#"{"prompt":"x"}"#, Some(Shape::Llama)),
            ("amazon.titan-text-express-v1", r#"{"inputText":"x"}"#, Some(Shape::Titan)),
            ("amazon.titan-embed-text-v2:0", r#"{"inputText":"x"}"#, None),
            ("stability.sd3", r#"{"text_prompts":[]}"#, None),
        ] {
            assert_eq!(Shape::of(model, body), shape, "{model} {body}");
        }
    }

    fn read(shape: Shape, body: &str) -> (Request<'_>, Vec<String>) {
        let mut loss = Loss::default();
        let request = decode(shape, body, &mut loss).unwrap();
        (request, loss.entries().iter().map(|lost| lost.path.clone()).collect())
    }

    #[test]
    fn the_seed_of_mistral_users_is_read() {
        let body = r#"{"prompt":"Say \"hello\"","max_tokens":50,"temperature":0.70,"top_k":3,"stop":["X"],"new":1}"#;
        let (request, lost) = read(Shape::Mistral, body);
        assert!(lost.is_empty());
        assert_eq!((request.max_tokens, request.temperature), (Some(50), Some("0.70")));
        assert_eq!((request.top_k, request.stop.as_slice()), (Some("3"), ["X".into()].as_slice()));
        assert_eq!(request.extras[0].name, "new");
        let [turn] = request.turns.as_slice() else { panic!("{:?}", request.turns) };
        let PartKind::Text { text, .. } = &turn.parts[0].kind else { panic!("{turn:?}") };
        assert_eq!((turn.role, text.as_ref()), (Role::User, "Say \"hello\""));
    }

    #[test]
    fn llama_and_titan_have_their_own_names() {
        let (request, _) = read(Shape::Llama, r#"{"prompt":"x","max_gen_len":9,"top_p":0.5}"#);
        assert_eq!((request.max_tokens, request.names.max_tokens), (Some(9), "max_gen_len"));
        let body = r#"{"inputText":"x","textGenerationConfig":{"maxTokenCount":9,"topP":0.5,"stopSequences":["a"],"new":1}}"#;
        let (request, lost) = read(Shape::Titan, body);
        assert_eq!(
            (request.max_tokens, request.top_p, request.stop.len()),
            (Some(9), Some("0.5"), 1)
        );
        assert_eq!(lost, ["textGenerationConfig.new"]);
        for (shape, body) in [(Shape::Titan, "{}"), (Shape::Mistral, r#"{"prompt":1}"#)] {
            assert!(decode(shape, body, &mut Loss::default()).is_err());
        }
    }

    #[test]
    fn nova_is_converse_with_its_own_limits() {
        let body = r#"{"schemaVersion":"messages-v1","messages":[{"role":"user","content":[{"text":"x"}]}],"inferenceConfig":{"max_new_tokens":9,"topK":2}}"#;
        let (request, lost) = read(Shape::Nova, body);
        assert_eq!((request.max_tokens, request.top_k), (Some(9), Some("2")));
        assert!(lost.is_empty() && request.extras.is_empty());
    }

    const ANSWER: &str = r#"{"output":{"message":{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"hm"}}},{"text":"Grüße"}]}},"stopReason":"max_tokens","usage":{"inputTokens":4,"outputTokens":3,"totalTokens":9,"cacheReadInputTokens":2}}"#;

    #[test]
    fn whole_answers_are_in_the_shape_of_the_request() {
        let folded = fold_message(Dialect::Bedrock, ANSWER);
        for (shape, expected) in [
            (Shape::Mistral, r#"{"outputs":[{"text":"Grüße","stop_reason":"length"}]}"#),
            (
                Shape::Llama,
                r#"{"generation":"Grüße","prompt_token_count":6,"generation_token_count":3,"stop_reason":"length"}"#,
            ),
            (
                Shape::Titan,
                r#"{"inputTextTokenCount":6,"results":[{"tokenCount":3,"outputText":"Grüße","completionReason":"LENGTH"}]}"#,
            ),
        ] {
            let mut out = Vec::new();
            encode_message(shape, &folded, &Reply::default(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    fn chunks(bytes: &[u8]) -> Vec<(Option<String>, String)> {
        let mut seen = Vec::new();
        let mut each = |frame: Frame<'_>| {
            let name = frame.exception.then(|| frame.name.unwrap_or_default().to_owned());
            seen.push((name, frame.data.to_owned()));
        };
        Splitter::of(Payload::Chunks, 1 << 20).feed(bytes, &mut each).unwrap();
        seen
    }

    fn stream(shape: Shape, lines: &[(&str, &str)]) -> Vec<(Option<String>, String)> {
        let reply = Reply { latency_ms: 7, ..Reply::default() };
        let mut transcoder =
            Transcoder::writing(Dialect::Bedrock, crate::dialect::Encoder::invoke(shape, reply));
        let mut out = Frames::new(Framing::AwsInvokeChunks);
        for (name, data) in lines {
            transcoder.feed(
                Frame { name: Some(name), exception: name.ends_with("Exception"), data },
                &mut out,
            );
        }
        transcoder.finish(&mut out);
        chunks(out.bytes())
    }

    const STREAM: [(&str, &str); 5] = [
        ("messageStart", r#"{"role":"assistant"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Hi"}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        ("messageStop", r#"{"stopReason":"end_turn"}"#),
        ("metadata", r#"{"usage":{"inputTokens":4,"outputTokens":3,"totalTokens":7}}"#),
    ];
    const METRICS: &str = r#""amazon-bedrock-invocationMetrics":{"inputTokenCount":4,"outputTokenCount":3,"invocationLatency":7,"firstByteLatency":7}}"#;

    #[test]
    fn streams_are_chunks_of_the_family() {
        for (shape, first, last) in [
            (
                Shape::Mistral,
                r#"{"outputs":[{"text":"Hi","stop_reason":null}]}"#,
                r#"{"outputs":[{"text":"","stop_reason":"stop"}],"#,
            ),
            (
                Shape::Llama,
                r#"{"generation":"Hi","prompt_token_count":0,"generation_token_count":0,"stop_reason":null}"#,
                r#"{"generation":"","prompt_token_count":4,"generation_token_count":3,"stop_reason":"stop","#,
            ),
            (
                Shape::Titan,
                r#"{"outputText":"Hi","index":0,"totalOutputTextTokenCount":null,"completionReason":null}"#,
                r#"{"outputText":"","index":0,"totalOutputTextTokenCount":3,"completionReason":"FINISH","inputTextTokenCount":4,"#,
            ),
        ] {
            let seen = stream(shape, &STREAM);
            assert_eq!(seen, [(None, first.to_owned()), (None, format!("{last}{METRICS}"))]);
        }
        let nova = stream(Shape::Nova, &STREAM);
        assert_eq!(
            nova[1].1,
            r#"{"contentBlockDelta":{"delta":{"text":"Hi"},"contentBlockIndex":0}}"#
        );
        assert_eq!(nova.len(), 5);
    }

    #[test]
    fn a_failed_stream_ends_in_an_exception() {
        for shape in [Shape::Anthropic, Shape::OpenAiChat, Shape::Nova, Shape::Mistral] {
            let slow = ("throttlingException", r#"{"message":"slow"}"#);
            let seen = stream(shape, &[STREAM[0], slow]);
            let last = (Some("throttlingException".to_owned()), r#"{"message":"slow"}"#.to_owned());
            assert_eq!(seen.last(), Some(&last));
            let cut = stream(shape, &STREAM[..2]);
            assert_eq!(cut.last().unwrap().0.as_deref(), Some("internalServerException"));
        }
    }

    #[test]
    fn frames_of_one_language_are_only_framed_anew() {
        let mut out = Frames::new(Framing::AwsInvokeChunks);
        let data = r#"{"type":"ping", "x":1.0}"#;
        reframe(Dialect::Anthropic, Frame { name: Some("ping"), exception: false, data }, &mut out);
        assert_eq!(chunks(out.bytes()), [(None, data.to_owned())]);
        let mut out = Frames::new(Framing::Sse);
        reframe(Dialect::Anthropic, Frame { name: Some("ping"), exception: false, data }, &mut out);
        assert_eq!(out.bytes(), format!("event: ping\ndata: {data}\n\n").as_bytes());
        let failure = Frame {
            name: Some("throttlingException"),
            exception: true,
            data: r#"{"message":"slow"}"#,
        };
        let mut out = Frames::new(Framing::Sse);
        reframe(Dialect::Anthropic, failure, &mut out);
        let event = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}"#;
        let said = String::from_utf8(out.bytes().to_vec()).unwrap();
        assert_eq!(
            said,
            format!(
                "event: error
data: {event}

"
            )
        );
        let mut out = Frames::new(Framing::AwsInvokeChunks);
        let frame = Frame { name: Some("error"), exception: false, data: event };
        reframe(Dialect::Anthropic, frame, &mut out);
        let expected = (Some("throttlingException".to_owned()), r#"{"message":"slow"}"#.to_owned());
        assert_eq!(chunks(out.bytes()), [expected]);
        let mut out = Frames::new(Framing::AwsInvokeChunks);
        out.begin(None).extend_from_slice(b"[DONE]");
        out.end();
        assert!(out.is_empty());
    }

    #[test]
    fn tokens_are_counted_of_both_forms() {
        assert_eq!(
            count_tokens_input(r#"{"input":{"converse":{"messages":[]}}}"#),
            Ok(Counted::Converse(r#"{"messages":[]}"#))
        );
        let body = STANDARD.encode(r#"{"messages":[]}"#);
        let body = format!(r#"{{"input":{{"invokeModel":{{"body":"{body}"}}}}}}"#);
        assert_eq!(count_tokens_input(&body), Ok(Counted::Invoke(r#"{"messages":[]}"#.to_owned())));
        for (body, path) in [
            ("{}", "input"),
            (r#"{"input":{}}"#, "input"),
            (r#"{"input":{"invokeModel":{"body":"%"}}}"#, "input.invokeModel.body"),
            (r#"{"input":{"invokeModel":{"body":"AAAA"}}}"#, "input.invokeModel.body"),
        ] {
            assert_eq!(count_tokens_input(body).unwrap_err().path, path);
        }
        let mut out = Vec::new();
        encode_count(7, &mut out);
        assert_eq!(out, br#"{"inputTokens":7}"#);
    }
}
