//! The facts of one request, as the log keeps them.
//!
//! In: what the path of a request knows, filled in as it becomes known. Out: one [`Record`], which
//! owns all that it says, so that it can leave its worker. Never: holds a credential; a body's
//! secrets are marked by [`Content::hide`] and cut out before anything is written.

use crate::chat::{Dialect, Usage};

/// Of a streamed answer, no more bytes than this are kept.
pub const RESPONSE_MAX: usize = 256 << 10;
/// Of a request's body, no more bytes than this are kept.
pub const REQUEST_MAX: usize = 4 << 20;

/// Something that has an id and a name; both are empty where there is no such thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    pub id: Box<str>,
    pub name: Box<str>,
}

impl Named {
    pub fn of(id: &str, name: &str) -> Self {
        Self { id: id.into(), name: name.into() }
    }
}

/// Why a request failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flaw {
    /// The vendor's or the policy's code, or the kind of the error.
    pub code: Box<str>,
    pub message: Box<str>,
}

/// Where the time of one request went, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Between two attempts, and in the gateway's own queues.
    pub queue: u64,
    /// Until there was a connection to the upstream, over all attempts.
    pub connect: u64,
    /// From the begin to the head of the answer that counted.
    pub first_byte: u64,
    pub total: u64,
    /// What is left of `total` without waiting for upstream and client.
    pub own: u64,
}

/// What was asked and answered, word for word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// The request's body is `request[begin..]`.
    pub request: Vec<u8>,
    pub begin: usize,
    /// A member's value within the body that must not be written.
    pub hide: Option<(usize, usize)>,
    /// The answer as it went to the client: head, body and framing.
    pub response: Vec<u8>,
    /// There was more of the answer.
    pub response_cut: bool,
}

impl Content {
    /// What it weighs in a queue.
    pub fn bytes(&self) -> usize {
        self.request.capacity() + self.response.capacity()
    }
}

/// One request.
#[derive(Debug, Clone, Default)]
pub struct Record {
    pub id: Box<str>,
    /// Unix microseconds.
    pub began: i64,
    pub method: &'static str,
    /// Without its query.
    pub path: Box<str>,
    /// As rules and prices name it: `chat_completion`, `responses`, …; empty where nothing was
    /// understood.
    pub operation: &'static str,
    pub client: Option<Dialect>,
    pub upstream: Option<Dialect>,
    /// As the client named it.
    pub asked: Box<str>,
    /// Who served it, or was tried last.
    pub provider: Box<str>,
    pub model: Box<str>,
    /// The model's name in the price table, where an alias says so.
    pub canonical: Box<str>,
    pub key: Named,
    pub virtual_key: Named,
    pub team: Named,
    pub customer: Named,
    pub rule: Named,
    /// As sent to the client; 0 when it went away before.
    pub status: u16,
    pub flaw: Option<Flaw>,
    pub stop: &'static str,
    pub stream: bool,
    pub usage: Usage,
    /// Nano-dollars; `None` where nobody has a price for it.
    pub cost: Option<u64>,
    /// Exchanges with upstreams beyond the first.
    pub retries: u32,
    /// 0 for the first target, then the fallbacks.
    pub fallback: u32,
    /// The attempts, as JSON.
    pub trail: Box<str>,
    pub timings: Timings,
    /// JSON paths of what could not be said upstream, with commas between.
    pub losses: Box<str>,
    pub session: Box<str>,
    pub parent: Box<str>,
    pub user_agent: Box<str>,
    /// Headers that the configuration wants logged, and `x-bf-dim-*`.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// Present where content may be logged.
    pub content: Option<Content>,
}

impl Record {
    /// `success`, `error` or `cancelled`.
    pub fn outcome(&self) -> &'static str {
        match self.status {
            0 => "cancelled",
            200..400 if self.flaw.is_none() => "success",
            _ => "error",
        }
    }

    /// What it weighs in a queue.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + 512 + self.content.as_ref().map_or(0, Content::bytes)
    }
}
