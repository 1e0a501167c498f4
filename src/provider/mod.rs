//! Where a dialect is spoken: address, credential, envelope and quirks, as data.
//!
//! In: a catalogue [`Row`] and what the configuration says of a provider. Out: for one operation
//! and model, the [`Endpoint`] to call, and the credential headers to send. Never: opens a
//! connection, reads a file or an environment variable, or fetches a token (the control thread
//! does; a token arrives here as a value).

pub mod aws_sigv4;
pub mod catalog;
pub mod credentials;
pub mod endpoint;
pub mod google_credential;
pub mod google_token;
pub mod model_name;

use crate::chat::Dialect;
use crate::dialect::Manner;
use crate::wire::frames::Framing;
use std::time::Duration;

/// What a client asks for, whatever its language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// One answer of a model (Messages, Chat Completions, Responses, Converse, generateContent).
    Chat,
    CountTokens,
    ListModels,
    RetrieveModel,
}

/// How a provider wants its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// `authorization: Bearer <key>`.
    Bearer,
    /// The key as the value of this header (`x-api-key`, `api-key`, `x-goog-api-key`).
    Header(&'static str),
    /// AWS Signature Version 4, or a Bedrock API key as bearer.
    AwsSigV4,
    /// An OAuth token of Google's, fetched by the control thread.
    GoogleToken,
    /// An OAuth token of Entra's, or `api-key`.
    Azure,
    None,
}

/// One way in which a provider can be spoken to.
#[derive(Debug, Clone, Copy)]
pub struct Spoken {
    pub operation: Operation,
    pub dialect: Dialect,
    /// Path below the base path; `{model}` stands for the percent-encoded model.
    pub path: &'static str,
    /// The path for a streamed answer, where it differs.
    pub stream_path: Option<&'static str>,
    pub framing: Framing,
    pub envelope: Envelope,
}

/// What is done to a dialect's body on the way to this provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// `model` in the body, as the dialect has it.
    Plain,
    /// Claude on Bedrock Invoke or Vertex: no `model` and no `stream`, `anthropic_version` added.
    AnthropicVersion(&'static str),
    /// `model` only in the path (Bedrock Converse, Gemini, Azure deployments).
    ModelInPath,
}

/// A row of the catalogue: everything about a provider that is not configuration.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    /// `https://api.anthropic.com`; empty where only a key or the configuration knows it.
    pub base_url: &'static str,
    pub auth: Auth,
    /// In order of preference, after the client's own dialect.
    pub speaks: &'static [Spoken],
    pub manner: fn() -> Manner,
    /// The environment variable with a key, for a start without any file.
    pub env: Option<&'static str>,
    /// Needs no key (Ollama, the mock).
    pub keyless: bool,
    /// Static headers that every call needs (`anthropic-version`).
    pub headers: &'static [(&'static str, &'static str)],
    /// Vendor headers of the client that are passed on: exact names, or prefixes ending in `*`.
    pub forwards: &'static [&'static str],
}

/// A server to connect to. Equal origins with equal [`Transport`]s share connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    pub tls: bool,
    pub host: Box<str>,
    pub port: u16,
}

/// A configured provider, checked and ready for the hot path.
#[derive(Debug)]
pub struct Provider {
    pub name: Box<str>,
    pub row: &'static Row,
    pub keys: Vec<Key>,
    pub keyless: bool,
    pub origin: Origin,
    /// Put before every path; without a trailing slash, empty as a rule.
    pub base_path: Box<str>,
    pub network: Network,
    /// `custom_provider_config.request_path_overrides`, by operation and streaming.
    pub path_overrides: Vec<(Operation, bool, Box<str>)>,
    /// `custom_provider_config.allowed_requests`; `None` allows all.
    pub allowed: Option<Vec<(Operation, bool)>>,
}

/// How a provider is reached, and for how long it may be waited for.
#[derive(Debug, Clone)]
pub struct Network {
    pub transport: Transport,
    pub connect_timeout: Duration,
    /// From the request's last byte to the answer's first.
    pub first_byte_timeout: Duration,
    /// Between two reads of an answer.
    pub idle_timeout: Duration,
    pub keep_alive: Duration,
    pub max_conns_per_host: usize,
    pub max_retries: u32,
    pub retry_backoff_initial: Duration,
    pub retry_backoff_max: Duration,
    /// Lower-case names.
    pub extra_headers: Vec<(Box<str>, Box<str>)>,
    /// Prefixes of `anthropic-beta` tokens, allowed or not on this provider.
    pub beta_overrides: Vec<(Box<str>, bool)>,
}

/// What decides whether two calls may share a connection, beside the origin. Compared by value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Transport {
    pub insecure_skip_verify: bool,
    /// Further roots, PEM.
    pub ca_cert_pem: Option<Box<str>>,
    pub proxy: Option<Proxy>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    pub origin: Origin,
    /// Value of `proxy-authorization`.
    pub authorization: Option<Box<str>>,
    /// Root of an HTTPS proxy, PEM.
    pub ca_cert_pem: Option<Box<str>>,
}

/// A credential of a provider.
#[derive(Debug)]
pub struct Key {
    pub id: Box<str>,
    pub name: Box<str>,
    pub value: Secret,
    pub enabled: bool,
    pub models: ModelList,
    pub blacklisted: Vec<Box<str>>,
    pub weight: f64,
    pub aliases: Vec<Alias>,
    /// Where the key names its own server (Azure endpoint, Ollama and vLLM URLs).
    pub origin: Option<(Origin, Box<str>)>,
    pub region: Option<Box<str>>,
    pub project: Option<Box<str>>,
}

#[derive(Debug, Clone)]
pub enum ModelList {
    All,
    Only(Vec<Box<str>>),
}

#[derive(Debug, Clone)]
pub struct Alias {
    /// What the client says; compared without regard to case.
    pub alias: Box<str>,
    pub model_id: Box<str>,
    pub model_family: Option<Box<str>>,
    pub region: Option<Box<str>>,
    pub api_version: Option<Box<str>>,
}

/// A text that must never be printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Box<str>);

impl Secret {
    pub fn new(value: impl Into<Box<str>>) -> Self {
        Self(value.into())
    }
    pub fn expose(&self) -> &str {
        &self.0
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// One call, resolved: where to, and in which language.
#[derive(Debug)]
pub struct Endpoint<'p> {
    pub origin: &'p Origin,
    /// Path and query.
    pub target: String,
    pub dialect: Dialect,
    pub framing: Framing,
    pub envelope: Envelope,
}
