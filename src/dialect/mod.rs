//! The languages of the wire: each reads and writes requests, answers and errors.
//!
//! In: a body or a frame of one language. Out: the hub's [`Request`] or [`Event`]s, and the other
//! way round. This file holds the only matches over [`Dialect`]. Never: touches a socket, a clock
//! or a credential; never fails silently: what cannot be said is pushed to the [`Loss`].
//!
//! Laws, tested over `tests/wire/`: same dialect on both sides never comes here (identity is bytes);
//! `decode(encode(x)) == x` per dialect; a streamed answer folds to the whole one.

use crate::chat::{Event, Folded, Loss, Request, Sink};
use crate::wire::frames::{Frame, Frames, Framing};
use crate::wire::json_read;

mod anthropic_parameters;
mod anthropic_request;
mod anthropic_request_out;
mod anthropic_response;
mod anthropic_response_out;
mod bedrock_citations;
mod bedrock_content;
mod bedrock_exceptions;
mod bedrock_family;
pub mod bedrock_invoke;
mod bedrock_media;
mod bedrock_parameters;
mod bedrock_prompt;
mod bedrock_reasoning;
mod bedrock_request;
mod bedrock_request_out;
mod bedrock_response;
mod bedrock_response_out;
mod citations;
mod counts;
pub mod embedding_request;
pub mod embedding_response;
pub mod errors;
mod expect;
pub mod foreign_reasoning;
mod gemini_answer;
mod gemini_body;
mod gemini_contents;
mod gemini_grounding;
mod gemini_logprobs;
mod gemini_model;
mod gemini_request;
mod gemini_response;
mod gemini_schema;
mod gemini_signature;
mod gemini_turns;
mod hosted_tools;
mod model_family;
mod openai_chat_calls;
mod openai_chat_message;
mod openai_chat_parameters;
mod openai_chat_request;
mod openai_chat_request_out;
mod openai_chat_response;
mod openai_chat_response_out;
mod openai_chat_usage;
mod openai_chat_whole;
mod openai_responses_body;
mod openai_responses_decoder;
mod openai_responses_event;
mod openai_responses_input;
mod openai_responses_items;
mod openai_responses_object;
mod openai_responses_request;
mod openai_responses_response;
mod openai_responses_tracked;
mod openai_responses_turns;
mod reasoning_details;
mod seal;
mod tap;
mod tokens;
mod transcoder;

pub use crate::chat::Dialect;
pub use counts::counts_of;
pub use tap::Tap;
pub use tokens::estimate_tokens;
pub use transcoder::{Transcoder, fold_message};

/// The languages of embeddings: fewer things to say than a chat, and more ways to say them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idiom {
    /// OpenAI `/embeddings`.
    OpenAi,
    /// Gemini `embedContent`: one content.
    Gemini,
    /// Gemini `batchEmbedContents`.
    GeminiBatch,
    /// Vertex `:predict`; spoken to upstreams only.
    Vertex,
    /// Amazon Titan by Bedrock's invoke: one text.
    Titan,
    /// Cohere `/v2/embed`.
    Cohere,
    /// Cohere by Bedrock's invoke.
    CohereInvoke,
}

/// What a client's body or an upstream's frame did wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Malformed {
    /// JSON path of the offending value.
    pub path: String,
    pub message: String,
}

impl Malformed {
    pub fn at(path: impl std::fmt::Display, message: impl Into<String>) -> Self {
        Self { path: path.to_string(), message: message.into() }
    }
}

/// Whether Converse may be told Claude's beta flags for a model: a name may hide whose it is.
pub fn bedrock_takes_betas(model: &str) -> bool {
    bedrock_family::Family::of(model).is_claude()
}

/// What the target of a request is like, as far as its body depends on it.
#[derive(Debug, Clone)]
pub struct Manner {
    /// OpenAI Chat: the name of the token limit, `max_completion_tokens` or `max_tokens`.
    pub max_tokens_field: &'static str,
    /// OpenAI Chat: how mid-conversation instructions and system prompts are called.
    pub system_role: &'static str,
    /// Anthropic: the limit sent when the client names none.
    pub default_max_tokens: u64,
    /// OpenAI Chat: the member of an assistant message in which this provider takes its earlier
    /// reasoning back (`reasoning_content`, `reasoning`); without one it is left out, reported.
    pub reasoning_field: Option<&'static str>,
    /// OpenAI Chat: whether an answer can be held to a JSON Schema; otherwise any JSON is asked for.
    pub json_schema: bool,
    /// Top-level fields, in the target's language (and `messages[].name` for the one below), that this provider refuses: left out, reported.
    pub refuses: &'static [&'static str],
}

impl Manner {
    pub const fn standard() -> Self {
        Self {
            max_tokens_field: "max_completion_tokens",
            system_role: "system",
            default_max_tokens: 4096,
            reasoning_field: None,
            json_schema: true,
            refuses: &[],
        }
    }
}

/// What an answer repeats of its request, and what the gateway adds where the upstream is silent.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The model as the client named it; used when the upstream names none.
    pub model: String,
    /// A fresh id without vendor prefix, used when the upstream gives none.
    pub id: String,
    /// Seconds since 1970-01-01.
    pub created: u64,
    /// OpenAI Chat `stream_options.include_usage`.
    pub include_usage: bool,
    /// Bedrock `metrics.latencyMs`.
    pub latency_ms: u64,
    /// OpenAI Responses echo the request's parameters: its raw body, empty elsewhere.
    pub request_body: String,
}

/// Reads a client's request. `body` is valid JSON of bounded depth (`wire::json_scan`).
pub fn decode_request<'a>(
    dialect: Dialect,
    body: &'a str,
    loss: &mut Loss,
) -> Result<Request<'a>, Malformed> {
    match dialect {
        Dialect::Anthropic => anthropic_request::decode(body, loss),
        Dialect::OpenAiChat => openai_chat_request::decode(body, loss),
        Dialect::OpenAiResponses => openai_responses_request::decode(body, loss),
        Dialect::Bedrock => bedrock_request::decode(body, loss),
        Dialect::Gemini => gemini_request::decode(body, loss),
    }
}

/// Writes a request body for an upstream that speaks `dialect`.
///
/// # Errors
/// When the request cannot be said at all: no message is left, a required value is missing, more than
/// one answer is asked for.
pub fn encode_request(
    dialect: Dialect,
    request: &Request<'_>,
    manner: &Manner,
    out: &mut Vec<u8>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    if let Some(n) = request.n.filter(|n| json_read::unsigned(n) != Some(1)) {
        // The hub knows one answer only; whoever asked for several would miss the others.
        let message = format!("{n} answers cannot be asked of this model, only one");
        return Err(Malformed::at(request.names.n, message));
    }
    let lowered = gemini_schema::Lowered::of(request, dialect);
    let plain = lowered.as_ref().map(|lowered| lowered.applied(request));
    let request = plain.as_ref().unwrap_or(request);
    match dialect {
        Dialect::Anthropic => anthropic_request::encode(request, manner, out, loss),
        Dialect::OpenAiChat => openai_chat_request::encode(request, manner, out, loss),
        Dialect::OpenAiResponses => openai_responses_request::encode(request, manner, out, loss),
        Dialect::Bedrock => bedrock_request::encode(request, manner, out, loss),
        Dialect::Gemini => gemini_request::encode(request, manner, out, loss),
    }
}

/// Whether the language closes its blocks itself; see [`crate::chat::Sequencer::new`].
pub const fn closes_blocks(dialect: Dialect) -> bool {
    match dialect {
        Dialect::Anthropic | Dialect::OpenAiResponses | Dialect::Bedrock => true,
        Dialect::OpenAiChat | Dialect::Gemini => false,
    }
}

/// Reads a whole, successful answer of an upstream as events; what is no answer becomes an error.
pub fn decode_message(dialect: Dialect, body: &str, out: Sink<'_>) {
    match dialect {
        Dialect::Anthropic => anthropic_response::decode_message(body, out),
        Dialect::OpenAiChat => openai_chat_response::decode_message(body, out),
        Dialect::OpenAiResponses => openai_responses_response::decode_message(body, out),
        Dialect::Bedrock => bedrock_response::decode_message(body, out),
        Dialect::Gemini => gemini_response::decode_message(body, out),
    }
}

/// Writes a whole answer for the client.
pub fn encode_message(dialect: Dialect, message: &Folded, reply: &Reply, out: &mut Vec<u8>) {
    match dialect {
        Dialect::Anthropic => anthropic_response::encode_message(message, reply, out),
        Dialect::OpenAiChat => openai_chat_response::encode_message(message, reply, out),
        Dialect::OpenAiResponses => openai_responses_response::encode_message(message, reply, out),
        Dialect::Bedrock => bedrock_response::encode_message(message, reply, out),
        Dialect::Gemini => gemini_response::encode_message(message, reply, out),
    }
}

/// Reads the frames of one streamed answer.
#[derive(Debug)]
pub enum Decoder {
    Anthropic(anthropic_response::Decoder),
    OpenAiChat(openai_chat_response::Decoder),
    OpenAiResponses(openai_responses_response::Decoder),
    Bedrock(bedrock_response::Decoder),
    Gemini(gemini_response::Decoder),
}

impl Decoder {
    pub fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Anthropic => Self::Anthropic(anthropic_response::Decoder::default()),
            Dialect::OpenAiChat => Self::OpenAiChat(openai_chat_response::Decoder::default()),
            Dialect::OpenAiResponses => {
                Self::OpenAiResponses(openai_responses_response::Decoder::default())
            }
            Dialect::Bedrock => Self::Bedrock(bedrock_response::Decoder::default()),
            Dialect::Gemini => Self::Gemini(gemini_response::Decoder::default()),
        }
    }

    /// Says the events of one frame. A frame that cannot be read becomes [`Event::Error`].
    pub fn frame(&mut self, frame: Frame<'_>, out: Sink<'_>) {
        if frame.exception
            && let Some(fault) = errors::of_frame(Dialect::Bedrock, &frame)
        {
            // Bedrock's, whatever language the model's chunks are in.
            out(Event::Error(fault));
            return;
        }
        match self {
            Self::Anthropic(decoder) => decoder.frame(frame, out),
            Self::OpenAiChat(decoder) => decoder.frame(frame, out),
            Self::OpenAiResponses(decoder) => decoder.frame(frame, out),
            Self::Bedrock(decoder) => decoder.frame(frame, out),
            Self::Gemini(decoder) => decoder.frame(frame, out),
        }
    }
}

/// Writes the frames of one streamed answer.
#[expect(clippy::large_enum_variant, reason = "one per answer, which stays where it is")]
#[derive(Debug)]
pub enum Encoder {
    Anthropic(anthropic_response::Encoder),
    OpenAiChat(openai_chat_response::Encoder),
    OpenAiResponses(openai_responses_response::Encoder),
    Bedrock(bedrock_response::Encoder),
    Gemini(gemini_response::Encoder),
    /// The body of a family of models, for a client of Bedrock's `InvokeModel`.
    Invoke(bedrock_invoke::Encoder),
}

impl Encoder {
    /// For a client of `InvokeModelWithResponseStream` whose body is of `shape`.
    pub fn invoke(shape: bedrock_invoke::Shape, reply: Reply) -> Self {
        Self::Invoke(bedrock_invoke::Encoder::new(shape, reply))
    }

    pub fn new(dialect: Dialect, reply: Reply) -> Self {
        match dialect {
            Dialect::Anthropic => Self::Anthropic(anthropic_response::Encoder::new(reply)),
            Dialect::OpenAiChat => Self::OpenAiChat(openai_chat_response::Encoder::new(reply)),
            Dialect::OpenAiResponses => {
                Self::OpenAiResponses(openai_responses_response::Encoder::new(reply))
            }
            Dialect::Bedrock => Self::Bedrock(bedrock_response::Encoder::new(&reply)),
            Dialect::Gemini => Self::Gemini(gemini_response::Encoder::new(reply)),
        }
    }

    /// Writes what one event of the [`crate::chat::Sequencer`] means in this language.
    pub fn event(&mut self, event: &Event<'_>, out: &mut Frames) {
        // A chunk is the model's, whatever its language; a failure is always Bedrock's to say.
        if let (Event::Error(fault), Framing::AwsInvokeChunks) = (event, out.framing()) {
            bedrock_exceptions::write(fault, out);
            return;
        }
        match self {
            Self::Anthropic(encoder) => encoder.event(event, out),
            Self::OpenAiChat(encoder) => encoder.event(event, out),
            Self::OpenAiResponses(encoder) => encoder.event(event, out),
            Self::Bedrock(encoder) => encoder.event(event, out),
            Self::Gemini(encoder) => encoder.event(event, out),
            Self::Invoke(encoder) => encoder.event(event, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_answers_are_asked_of_nobody_who_would_give_one() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"q"}],"n":2}"#;
        for upstream in Dialect::ALL {
            let mut loss = Loss::default();
            let request = decode_request(Dialect::OpenAiChat, body, &mut loss).unwrap();
            let manner = Manner::standard();
            let said = encode_request(upstream, &request, &manner, &mut Vec::new(), &mut loss);
            assert_eq!(said.unwrap_err().path, "n", "{}", upstream.name());
        }
    }
}
