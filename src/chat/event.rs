//! A response as events, borrowed from the frame they came in.
//!
//! In: said by a dialect's response decoder. Out: matched, without `_`, by another dialect's
//! encoder. Between them the [`Sequencer`](super::Sequencer) guarantees the grammar
//! `Start (Open Delta* Close)* (Stop Usage End | Error)`, with dense slots from 0.
//! Never: owns a copy of text it only passes on.

use super::{Raw, Seal, Usage};
use std::borrow::Cow;

#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// The answer begins. Empty strings where the upstream did not say; `usage` as far as known.
    Start {
        id: Cow<'a, str>,
        model: Cow<'a, str>,
        usage: Usage,
    },
    /// A block begins at `slot` (the decoder's numbering; dense after the sequencer).
    Open {
        slot: u32,
        block: Block<'a>,
    },
    Delta {
        slot: u32,
        delta: Delta<'a>,
    },
    Close {
        slot: u32,
    },
    /// Counts known so far; may come several times before the sequencer, once after it.
    Usage(Usage),
    Stop(Stop<'a>),
    /// The upstream said that all has been said.
    End,
    /// The stream is over, and not well.
    Error(Fault<'a>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block<'a> {
    Text,
    Thinking,
    /// Reasoning that only its vendor can read, complete at once.
    Redacted(Seal<'a>),
    Refusal,
    ToolUse {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
    },
    /// A block without a hub name, complete at once, as its vendor wrote it.
    Opaque {
        kind: Cow<'a, str>,
        raw: Raw<'a>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta<'a> {
    Text(Cow<'a, str>),
    Thinking(Cow<'a, str>),
    Refusal(Cow<'a, str>),
    /// A piece of the call's arguments as JSON text.
    Arguments(Cow<'a, str>),
    /// Signature of the open block; replaces an earlier one.
    Seal(Seal<'a>),
    /// One citation or annotation, raw, in its vendor's form.
    Citation(Raw<'a>),
    /// Log-probabilities of the tokens just said, raw OpenAI form (an array).
    Logprobs(Raw<'a>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop<'a> {
    pub reason: StopReason,
    /// The stop sequence that matched, where the vendor says.
    pub sequence: Option<Cow<'a, str>>,
}

impl Stop<'_> {
    pub const fn of(reason: StopReason) -> Self {
        Self { reason, sequence: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    EndTurn,
    MaxTokens,
    StopSequence,
    ToolUse,
    /// The model declined.
    Refusal,
    /// The vendor's filter or a guardrail cut in.
    ContentFilter,
    /// A long-running turn was paused and may be continued.
    PauseTurn,
    /// The context window is full.
    ContextWindow,
}

/// What went wrong, in terms that every language has a word for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault<'a> {
    pub kind: ErrorKind,
    pub message: Cow<'a, str>,
    /// The vendor's own code, where it gave one.
    pub code: Option<Cow<'a, str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    InvalidRequest,
    Authentication,
    /// Budget spent, quota exhausted, payment required.
    Billing,
    Permission,
    NotFound,
    TooLarge,
    RateLimit,
    /// The vendor failed.
    Api,
    /// Nobody answered in time.
    Timeout,
    Overloaded,
    /// The gateway could not reach the upstream, or the upstream cut the answer.
    Network,
    NotSupported,
}

impl ErrorKind {
    /// As records and metrics name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Authentication => "authentication",
            Self::Billing => "billing",
            Self::Permission => "permission",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::RateLimit => "rate_limit",
            Self::Api => "api",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::Network => "network",
            Self::NotSupported => "not_supported",
        }
    }

    /// The kind that an HTTP status stands for.
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            402 => Self::Billing,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            413 => Self::TooLarge,
            429 => Self::RateLimit,
            501 => Self::NotSupported,
            502 => Self::Network,
            503 | 529 => Self::Overloaded,
            400..=499 => Self::InvalidRequest,
            _ => Self::Api,
        }
    }
}
