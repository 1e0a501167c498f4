//! What went wrong on the path of a request, and the answer that the client gets for it.
//!
//! In: a broken rule, the network's error, an upstream's refusal. Out: one [`Failure`], which knows
//! whose fault it is and whether a retry can help; and its bytes in the client's language.
//! Never: rewrites an upstream's message; hides a status that SDKs decide by.

use std::borrow::Cow;

use super::Scene;
use super::exchange::Answer;
use super::reply::{Head, kept_back};
use crate::chat::{Dialect, ErrorKind, Fault};
use crate::dialect::errors;
use crate::net::upstream::{ConnectError, HEADROOM};
use crate::provider::Auth;
use crate::wire::json_read;
use crate::wire::json_scan::{self, DEPTH_MAX};

/// Who has to change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Client,
    Upstream,
    Gateway,
    Policy,
}

/// What a retry could do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    Never,
    /// Another key or target may succeed.
    Next,
    /// The same target may succeed a little later.
    Same,
}

/// One failed request, or one failed attempt of it.
#[derive(Debug, Clone)]
pub struct Failure {
    pub status: u16,
    pub fault: Fault<'static>,
    pub whose: Whose,
    pub retry: Retry,
    /// Further response headers: the upstream's (`retry-after`, request ids) or the policy's.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// An upstream's error body in this dialect, passed on unchanged to clients of the same.
    pub verbatim: Option<(Dialect, Vec<u8>)>,
    /// The connection to the client is in no state to be used again.
    pub close: bool,
}

impl Failure {
    pub fn new(
        status: u16,
        kind: ErrorKind,
        whose: Whose,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            fault: Fault { kind, message: message.into(), code: None },
            whose,
            retry: Retry::Never,
            headers: Vec::new(),
            verbatim: None,
            close: false,
        }
    }

    /// The client's request breaks a rule: 400.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, ErrorKind::InvalidRequest, Whose::Client, message)
    }

    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(404, ErrorKind::NotFound, Whose::Client, message)
    }

    /// No connection to the upstream: 502, or 503 when all of its connections are in use.
    pub fn unreachable(provider: &str, error: &ConnectError) -> Self {
        let message = format!("{provider}: {error}");
        let mut failure = match error {
            ConnectError::Full(_) => Self::new(503, ErrorKind::Overloaded, Whose::Gateway, message),
            _ => Self::new(502, ErrorKind::Network, Whose::Upstream, message),
        };
        failure.retry = Retry::Next;
        failure
    }

    /// The upstream broke off before its answer was whole: 502.
    pub fn broken(provider: &str, what: &str) -> Self {
        let message = format!("{provider}: {what}");
        let mut failure = Self::new(502, ErrorKind::Network, Whose::Upstream, message);
        failure.retry = Retry::Same;
        failure
    }

    /// The upstream took too long: 504.
    pub fn timed_out(provider: &str, what: &str, seconds: u64) -> Self {
        let message = format!("{provider}: {what} within {seconds} s");
        let mut failure = Self::new(504, ErrorKind::Timeout, Whose::Upstream, message);
        failure.retry = Retry::Next;
        failure
    }

    /// The first thing that a stream said was an error: it gets the status that it stands for.
    pub fn early(fault: Fault<'static>) -> Self {
        let mut failure = Self::new(errors::status_of(fault.kind), fault.kind, Whose::Upstream, "");
        failure.fault = fault;
        failure.retry = Retry::Same;
        failure
    }

    /// An upstream's refusal: status and message as they are, with its request id and retry advice.
    pub fn of_upstream(scene: &Scene<'_>, answer: &Answer) -> Self {
        let status = answer.head.status;
        let body = answer.buf.get(HEADROOM + answer.head.len..).unwrap_or_default();
        let fault = errors::read(scene.upstream, status, body);
        let mut failure = Self::new(status, fault.kind, Whose::Upstream, "");
        failure.retry = match status {
            401..=403 | 429 | 529 => Retry::Next,
            408 | 500.. => Retry::Same,
            _ => Retry::Never,
        };
        failure.fault = fault;
        // AWS speaks of failures in its own words, whatever the model's language is.
        let spoken = match scene.provider.row.auth {
            Auth::AwsSigV4 => Dialect::Bedrock,
            _ if scene.upstream == Dialect::OpenAiResponses => Dialect::OpenAiChat,
            _ => scene.upstream,
        };
        let same = scene.client == spoken && errors::is_in(spoken, body);
        for (name, value) in answer.head.headers(answer.wire()) {
            let lower = name.to_ascii_lowercase();
            let value = String::from_utf8_lossy(value);
            let name = match lower.as_str() {
                "request-id" | "x-request-id" | "x-amzn-requestid" if !same => {
                    request_id_header(scene.client)
                }
                "retry-after" | "retry-after-ms" | "x-should-retry" => &lower,
                name if name.contains("ratelimit") => &lower,
                _ if same && !kept_back(&lower) => &lower,
                _ => continue,
            };
            failure.headers.push((name.into(), value.into()));
        }
        if same && (scene.operation.relays_errors() || says_error(body)) {
            failure.verbatim = Some((spoken, body.to_vec()));
        }
        failure
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<Box<str>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The whole answer, head and body, in the client's language.
    pub fn render(&self, client: Dialect, head: &mut Head<'_>, request_id: &str) -> Vec<u8> {
        let mut body = Vec::with_capacity(256);
        match &self.verbatim {
            Some((dialect, bytes)) if *dialect == client => body.extend_from_slice(bytes),
            _ => errors::write(client, self.status, &self.fault, request_id, &mut body),
        }
        for (name, value) in &self.headers {
            head.header(name, value.as_bytes());
        }
        let named = |wanted: &str| self.headers.iter().any(|(name, _)| &**name == wanted);
        if !named("content-type") {
            head.header("content-type", b"application/json");
        }
        if client == Dialect::Bedrock && !named("x-amzn-errortype") {
            head.header("x-amzn-errortype", errors::bedrock_exception(self.fault.kind).as_bytes());
        }
        if self.close {
            head.closing();
        }
        if self.whose != Whose::Upstream && self.retry == Retry::Never && self.status >= 400 {
            head.header("x-should-retry", b"false");
        }
        head.whole(&body)
    }
}

/// Whether a body has the member by which clients know an error.
fn says_error(body: &[u8]) -> bool {
    json_scan::validate(body, DEPTH_MAX).is_ok()
        && std::str::from_utf8(body).is_ok_and(|text| json_read::field(text, "error").is_some())
}

/// Under which name a dialect's clients look for the id of a request.
pub fn request_id_header(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Anthropic => "request-id",
        Dialect::Bedrock => "x-amzn-requestid",
        Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Gemini => "x-request-id",
    }
}
