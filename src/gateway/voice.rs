//! How one client speaks: the language of its body, and how its streams are framed.
//!
//! In: a call and its body. Out: the request as the hub sees it, and answers in the client's own form,
//! the text prompts of Bedrock's model families included. Never: knows who answers.

use super::failure::Failure;
use super::ingress::Call;
use crate::chat::{Dialect, Folded, Loss, Request};
use crate::dialect::bedrock_invoke::{self, Counted, Shape};
use crate::dialect::{self, Encoder, Idiom, Malformed, Reply};
use crate::wire::frames::Framing;
use crate::wire::json_write::Object;

const UNKNOWN_BODY: &str = "the body is no text generation of a known model family: it has neither \
                            messages nor prompt nor inputText";

/// One client's way of speaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voice {
    pub dialect: Dialect,
    pub framing: Framing,
    /// A body of Bedrock's invoke that is no dialect of its own.
    shape: Option<Shape>,
    /// The language of embeddings, where these are asked for.
    pub idiom: Option<Idiom>,
}

impl Voice {
    /// The voice of a call, for which only Bedrock's invoke needs the body.
    ///
    /// # Errors
    /// 400 for an invoke body of no known family.
    pub fn of(call: &Call, model: &str, body: &[u8]) -> Result<Self, Failure> {
        let (dialect, framing) = (call.dialect, call.framing);
        let plain = Self { dialect, framing, shape: None, idiom: call.idiom };
        if !call.invoke || call.idiom.is_some() {
            return Ok(plain);
        }
        let text = std::str::from_utf8(body).unwrap_or_default();
        let Some(shape) = Shape::of(model, text) else {
            return Err(Failure::invalid(UNKNOWN_BODY));
        };
        Ok(match shape.dialect() {
            Some(dialect) => Self { dialect, ..plain },
            None => Self { shape: Some(shape), ..plain },
        })
    }

    /// For answers that no body has been read for.
    pub fn of_errors(dialect: Dialect) -> Self {
        Self { dialect, framing: Framing::Sse, shape: None, idiom: None }
    }

    /// Whether an upstream of `dialect` can be given the client's bytes.
    pub fn is(&self, dialect: Dialect) -> bool {
        self.shape.is_none() && self.dialect == dialect
    }

    /// Reads the client's body into the hub.
    ///
    /// # Errors
    /// 400 with the path of what is wrong.
    pub fn decode<'a>(&self, body: &'a [u8], loss: &mut Loss) -> Result<Request<'a>, Failure> {
        let text = std::str::from_utf8(body).map_err(|error| {
            Failure::invalid(format!("the body is no UTF-8 at byte {}", error.valid_up_to()))
        })?;
        match self.shape {
            Some(shape) => bedrock_invoke::decode(shape, text, loss),
            None if self.framing == Framing::AwsInvokeChunks
                && self.dialect == Dialect::Anthropic =>
            {
                bedrock_invoke::decode(Shape::Anthropic, text, loss)
            }
            None => dialect::decode_request(self.dialect, text, loss),
        }
        .map_err(malformed)
    }

    /// Reads the body of a count of tokens. Bedrock's holds one of two other bodies.
    ///
    /// # Errors
    /// 400 with the path of what is wrong.
    pub fn estimate(&self, model: &str, body: &[u8]) -> Result<u64, Failure> {
        let mut loss = Loss::default();
        if self.dialect != Dialect::Bedrock {
            return Ok(dialect::estimate_tokens(&self.decode(body, &mut loss)?));
        }
        let text = std::str::from_utf8(body).unwrap_or_default();
        let counted = bedrock_invoke::count_tokens_input(text).map_err(malformed)?;
        let request = match &counted {
            Counted::Converse(inner) => dialect::decode_request(self.dialect, inner, &mut loss),
            Counted::Invoke(inner) => {
                let Some(shape) = Shape::of(model, inner) else {
                    return Err(Failure::invalid(UNKNOWN_BODY));
                };
                bedrock_invoke::decode(shape, inner, &mut loss)
            }
        };
        Ok(dialect::estimate_tokens(&request.map_err(malformed)?))
    }

    pub fn encoder(&self, reply: Reply) -> Encoder {
        match self.shape {
            Some(shape) => Encoder::invoke(shape, reply),
            None => Encoder::new(self.dialect, reply),
        }
    }

    /// A whole answer.
    pub fn message(&self, folded: &Folded, reply: &Reply) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        match self.shape {
            Some(shape) => bedrock_invoke::encode_message(shape, folded, reply, &mut out),
            None => dialect::encode_message(self.dialect, folded, reply, &mut out),
        }
        out
    }

    /// The answer to a count of tokens.
    pub fn count(&self, tokens: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let mut object = Object::begin(&mut out);
        match self.dialect {
            Dialect::Bedrock => object.unsigned("inputTokens", tokens),
            Dialect::Gemini => object.unsigned("totalTokens", tokens),
            Dialect::OpenAiResponses => {
                object.text("object", "response.input_tokens").unsigned("input_tokens", tokens)
            }
            Dialect::Anthropic | Dialect::OpenAiChat => object.unsigned("input_tokens", tokens),
        };
        object.end();
        out
    }

    pub fn stream_type(&self) -> &'static str {
        match self.framing {
            Framing::Sse => "text/event-stream; charset=utf-8",
            Framing::AwsEventStream | Framing::AwsInvokeChunks => {
                "application/vnd.amazon.eventstream"
            }
        }
    }
}

pub fn malformed(error: Malformed) -> Failure {
    let message = if error.path.is_empty() { error.message } else { error.to_string() };
    Failure::invalid(message)
}
