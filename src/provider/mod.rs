//! Where a dialect is spoken: address, credential, envelope and quirks, as data.
//!
//! In: a catalogue [`Row`] and what the configuration says of a provider. Out: for one operation
//! and model, the [`Endpoint`] to call, and the credential headers to send. Never: opens a
//! connection, reads a file or an environment variable, or fetches a token (the control thread
//! does; a token arrives here as a value).

pub mod aws_sigv4;
pub mod catalog;
mod catalog_also;
pub mod credentials;
pub mod endpoint;
pub mod entra_token;
pub mod google_credential;
pub mod google_token;
pub mod header_filter;
pub mod login;
mod manners;
pub mod model_name;
pub mod oauth;
mod operation;

pub use operation::Operation;

use crate::dialect::{Dialect, Idiom, Manner};
use crate::provider::login::Login;
use crate::provider::model_name::Family;
use crate::wire::frames::Framing;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// A kind of call, as the configuration of a provider of one's own tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub operation: Operation,
    /// None where the provider has one language for the operation.
    pub dialect: Option<Dialect>,
    pub stream: bool,
}

impl Kind {
    pub fn is(self, operation: Operation, dialect: Dialect, stream: bool) -> bool {
        self.operation == operation
            && self.stream == stream
            && self.dialect.is_none_or(|only| only == dialect)
    }
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

/// Which models a way of speaking is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Models {
    All,
    Only(Family),
    Except(&'static [Family]),
}

/// Which `anthropic-beta` flags a provider takes; see [`credentials::filter_beta`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Betas {
    /// Every flag, known here or not.
    All,
    Azure,
    Vertex,
    Bedrock,
}

/// One way in which a provider can be spoken to.
#[derive(Debug, Clone, Copy)]
pub struct Spoken {
    pub operation: Operation,
    pub dialect: Dialect,
    /// The models that this way is for.
    pub models: Models,
    /// Path below the base path, with query. `{model}` stands for the percent-encoded model;
    /// `{project}`, `{region}` and `{api_version}` for what the alias or the key says of them.
    pub path: &'static str,
    /// The path for a streamed answer, where it differs.
    pub stream_path: Option<&'static str>,
    pub framing: Framing,
    pub envelope: Envelope,
    /// The language of embeddings; none elsewhere.
    pub idiom: Option<Idiom>,
}

/// What is done to a dialect's body on the way to this provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// `model` in the body, as the dialect has it.
    Plain,
    /// Claude on Bedrock Invoke or Vertex: `anthropic_version` and the beta flags in the body.
    Claude {
        version: &'static str,
        /// Else it stands only in the path.
        keeps_model: bool,
        keeps_stream: bool,
    },
    /// Cohere's rerank on Bedrock Invoke: no `model`, `api_version` added.
    CohereInvoke,
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
    /// The operations beside a chat, in the same way.
    pub also: &'static [Spoken],
    pub manner: fn() -> Manner,
    /// The environment variable with a key, for a start without any file.
    pub env: Option<&'static str>,
    /// Needs no key (Ollama, the mock).
    pub keyless: bool,
    /// Static headers that every call needs (`anthropic-version`).
    pub headers: &'static [(&'static str, &'static str)],
    /// Vendor headers of the client that are passed on: exact names, or prefixes ending in `*`.
    pub forwards: &'static [&'static str],
    pub betas: Betas,
    /// Answered by the gateway itself: there is nothing to connect to.
    pub in_process: bool,
}

/// A server to connect to. Equal origins with equal [`Transport`]s share connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    pub tls: bool,
    pub host: Box<str>,
    pub port: u16,
}

/// How many calls a provider may have at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queue {
    /// In flight, over all cores.
    pub concurrency: u32,
    /// Waiting, over all cores.
    pub buffer: u32,
}

/// A configured provider, checked and ready for the hot path.
#[derive(Debug)]
pub struct Provider {
    pub name: Box<str>,
    pub row: &'static Row,
    pub keys: Vec<Key>,
    pub keyless: bool,
    /// The host is empty where only the keys know it (Azure, Bedrock, Vertex) and for the mock.
    pub origin: Origin,
    /// Put before every path; without a trailing slash, empty as a rule.
    pub base_path: Box<str>,
    pub network: Network,
    /// `custom_provider_config.request_path_overrides`.
    pub path_overrides: Vec<(Kind, Box<str>)>,
    /// `custom_provider_config.allowed_requests`; `None` allows all.
    pub allowed: Option<Vec<Kind>>,
    /// `concurrency_and_buffer_size`; calls are not counted without it.
    pub queue: Option<Queue>,
}

impl Provider {
    /// A provider at its row's own address, with every default and without a key.
    pub fn of(row: &'static Row) -> Self {
        let nowhere = || (Origin { tls: false, host: "".into(), port: 0 }, "".into());
        let (origin, base_path) = endpoint::split_url(row.base_url).unwrap_or_else(|_| nowhere());
        Self {
            name: row.name.into(),
            row,
            keys: Vec::new(),
            keyless: row.keyless,
            origin,
            base_path,
            network: Network::default(),
            path_overrides: Vec::new(),
            allowed: None,
            queue: None,
        }
    }
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
    /// Whether a name may resolve to RFC 1918 or unique-local addresses. Loopback always may,
    /// link-local (cloud metadata) never.
    pub allow_private: bool,
}

impl Default for Network {
    /// The limits of design.md §7.
    fn default() -> Self {
        Self {
            transport: Transport::default(),
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_mins(5),
            idle_timeout: Duration::from_mins(2),
            keep_alive: Duration::from_secs(30),
            max_conns_per_host: 5000,
            max_retries: 0,
            retry_backoff_initial: Duration::from_millis(500),
            retry_backoff_max: Duration::from_secs(5),
            extra_headers: Vec::new(),
            beta_overrides: Vec::new(),
            allow_private: false,
        }
    }
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
    /// Where the key names its own server (Azure endpoint, Ollama and vLLM URLs), or its region
    /// does (Bedrock, Vertex): with the base path.
    pub origin: Option<(Origin, Box<str>)>,
    pub region: Option<Box<str>>,
    pub project: Option<Box<str>>,
    pub api_version: Option<Box<str>>,
    /// Bedrock: put before the model, with a slash.
    pub arn: Option<Box<str>>,
    /// What the vendor's cloud wants beside, or in place of, `value`.
    pub cloud: Cloud,
    /// What has to be fetched before the key can be used: [`login::Login::of`] this key.
    pub login: Option<Arc<Login>>,
    pub use_for_batch_api: bool,
}

impl Key {
    /// An enabled key of weight one for all models, with nothing in it.
    pub fn named(name: &str) -> Self {
        Self {
            id: name.into(),
            name: name.into(),
            value: Secret::default(),
            enabled: true,
            models: ModelList::All,
            blacklisted: Vec::new(),
            weight: 1.0,
            aliases: Vec::new(),
            origin: None,
            region: None,
            project: None,
            api_version: None,
            arn: None,
            cloud: Cloud::None,
            login: None,
            use_for_batch_api: false,
        }
    }
}

/// Credentials of the clouds. Signing and token fetching happen elsewhere; these are their inputs.
#[derive(Debug, Clone, Default)]
pub enum Cloud {
    /// `value` is all there is.
    #[default]
    None,
    Aws(AwsKey),
    Google(GoogleKey),
    Entra(EntraKey),
}

/// All empty means AWS's default chain (environment, shared files, web identity, metadata).
#[derive(Debug, Clone, Default)]
pub struct AwsKey {
    pub access_key: Secret,
    pub secret_key: Secret,
    pub session_token: Option<Secret>,
    pub role_arn: Option<Box<str>>,
    pub external_id: Option<Box<str>>,
    pub session_name: Option<Box<str>>,
}

#[derive(Debug, Clone, Default)]
pub struct GoogleKey {
    /// JSON of a service account or another credential file; empty means the default chain.
    pub credentials: Secret,
    pub project_number: Option<Box<str>>,
}

/// Without client id, secret and tenant the default chain is meant, where `value` is empty too.
#[derive(Debug, Clone, Default)]
pub struct EntraKey {
    pub client_id: Box<str>,
    pub client_secret: Secret,
    pub tenant_id: Box<str>,
    pub scopes: Vec<Box<str>>,
}

#[derive(Debug, Clone)]
pub enum ModelList {
    All,
    Only(Vec<Box<str>>),
}

#[derive(Debug, Clone, Default)]
pub struct Alias {
    /// What the client says; compared without regard to case.
    pub alias: Box<str>,
    pub model_id: Box<str>,
    /// The canonical name, for prices and logs.
    pub model_name: Option<Box<str>>,
    pub model_family: Option<Box<str>>,
    /// Where the alias names another region or endpoint than its key, with the base path.
    pub origin: Option<(Origin, Box<str>)>,
    pub region: Option<Box<str>>,
    pub project: Option<Box<str>>,
    pub api_version: Option<Box<str>>,
    /// `anthropic-version` for Claude on Azure.
    pub anthropic_version: Option<Box<str>>,
    /// Bedrock: put before the model, with a slash.
    pub arn: Option<Box<str>>,
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
    /// Borrowed, but for a Bedrock model that brings its own region.
    pub origin: Cow<'p, Origin>,
    /// Path and query.
    pub target: String,
    /// The model as the upstream knows it: what goes into the body, where it goes there.
    pub model: &'p str,
    /// `anthropic-version`, where the alias names one.
    pub anthropic_version: Option<&'p str>,
    /// Bedrock: whose signatures the server takes.
    pub region: Option<&'p str>,
    pub dialect: Dialect,
    pub framing: Framing,
    pub envelope: Envelope,
    /// The language of embeddings; none elsewhere.
    pub idiom: Option<Idiom>,
}
