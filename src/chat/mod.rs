//! The hub vocabulary: what a conversation is, whatever language it is said in.
//!
//! In and out: plain values. Request decoders build a [`Request`]; response decoders say
//! [`Event`]s, a [`Sequencer`] brings them into one strict order, and a [`Folded`] message is the
//! same events added up, so that a streamed answer and a whole one are equal by construction.
//!
//! It never knows JSON, a socket or a provider: opaque JSON travels as raw text ([`Raw`]).

mod embedding;
mod event;
mod folded;
mod loss;
mod request;
mod sequencer;
mod usage;

pub use embedding::{EmbeddingInput, EmbeddingRequest, Embeddings, Purpose, Vector};
pub use event::{Block, Delta, ErrorKind, Event, Fault, Stop, StopReason};
pub use folded::{Folded, FoldedBlock};
pub use loss::{Loss, Lost, Reason};
pub use request::{
    CacheHint, Extra, FieldNames, Format, FunctionTool, Media, Part, PartKind, Place, Raw,
    Reasoning, Request, Role, Seal, Source, Tool, ToolChoice, Turn,
};
pub use sequencer::{Sequencer, Sink};
pub use usage::Usage;

/// The languages of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Chat Completions.
    OpenAiChat,
    /// OpenAI Responses.
    OpenAiResponses,
    /// AWS Bedrock Converse.
    Bedrock,
    /// Google Gemini `generateContent`.
    Gemini,
}

impl Dialect {
    pub const ALL: [Self; 5] =
        [Self::Anthropic, Self::OpenAiChat, Self::OpenAiResponses, Self::Bedrock, Self::Gemini];

    /// The name used in test directories, metrics and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAiChat => "openai-chat",
            Self::OpenAiResponses => "openai-responses",
            Self::Bedrock => "bedrock",
            Self::Gemini => "gemini",
        }
    }
}
