//! What the operator decided: `config.json`, read strictly, checked whole, and then immutable.
//!
//! In: the text of the file, the environment, the command line. Out: a [`Snapshot`], shared by all
//! workers, or every [`fault::Fault`] found, each with its JSON path. The only reader of files and
//! of the environment beside the stores. Never: changes a snapshot; a reload builds a new one.

use crate::govern::turnstile::Turnstile;
use crate::provider::header_filter::HeaderFilter;
use crate::provider::{Provider, Secret, catalog};
use crate::route::Routes;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub mod check;
mod check_governance;
mod check_keys;
mod check_logging;
mod check_providers;
mod check_stores;
pub mod cli;
pub mod compile;
mod compile_limits;
pub mod cors;
pub mod enact;
pub mod fault;
pub mod file;
pub mod file_client;
pub mod file_governance;
pub mod file_providers;
pub mod file_secret;
pub mod file_stores;
pub mod from_env;
pub mod load;
pub mod network;
pub mod reload;
pub mod shape;
pub mod supported;
pub mod text;

pub use cors::Cors;
pub use enact::{Clerk, Law};
pub use file_governance::Governance;

/// Everything configured, checked. Built once per reload and shared by reference count; requests
/// in flight keep the one that they began with.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The built-in `mock` is always there.
    pub providers: Providers,
    pub client: Client,
    pub server: Server,
    /// As written, with references to the environment resolved; [`Clerk::enact`] builds `law` and
    /// `routes` from it, and empties it.
    pub governance: Governance,
    /// Absent where nobody's requests are governed.
    pub law: Option<Law>,
    /// Rules, and which provider serves a model that names none.
    pub routes: Routes,
    /// Calls in flight of the providers that count them, by name; over reloads.
    pub turnstiles: HashMap<Box<str>, Arc<Turnstile>>,
    /// Weights follow latency and errors.
    pub adaptive: bool,
    pub pricing: Pricing,
    pub config_store: Database,
    pub logging: Logging,
    /// Absent where the management API asks nobody who he is.
    pub admin: Option<Admin>,
    pub empty_lists: EmptyLists,
    /// A badge of at most ten characters (`env_label`).
    pub env_label: Option<Box<str>>,
    /// What is accepted, but has no effect here, one sentence each; to be logged at the start.
    pub notes: Vec<String>,
}

/// What an empty allow-list means: `version` of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmptyLists {
    /// Version 1.
    AllowAll,
    /// Version 2.
    #[default]
    DenyAll,
}

/// The configured providers by name.
#[derive(Debug)]
pub struct Providers {
    /// Sorted by name.
    sorted: Vec<Arc<Provider>>,
}

impl Default for Providers {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Providers {
    /// Adds the mock. Of two providers with one name, the first one stays.
    pub fn new(mut providers: Vec<Arc<Provider>>) -> Self {
        providers.push(Arc::new(Provider::of(&catalog::MOCK)));
        providers.sort_by(|a, b| a.name.cmp(&b.name));
        providers.dedup_by(|a, b| a.name == b.name);
        Self { sorted: providers }
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Provider>> {
        let found = self.sorted.binary_search_by(|provider| (*provider.name).cmp(name));
        found.ok().and_then(|at| self.sorted.get(at))
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Provider>> {
        self.sorted.iter()
    }

    /// Whether `name/model` names a provider: a configured or a built-in one.
    pub fn is_known(&self, name: &str) -> bool {
        self.get(name).is_some() || catalog::row(name).is_some()
    }

    /// Configured providers, then the built-in ones that are not: for messages.
    pub fn known_names(&self) -> impl Iterator<Item = &str> {
        let configured = self.sorted.iter().map(|provider| &*provider.name);
        let others = catalog::ROWS.iter().map(|row| row.name);
        configured.chain(others.filter(|name| self.get(name).is_none()))
    }
}

impl<'p> IntoIterator for &'p Providers {
    type Item = &'p Arc<Provider>;
    type IntoIter = std::slice::Iter<'p, Arc<Provider>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// How clients are met: the file's `client`.
#[derive(Debug)]
pub struct Client {
    pub max_body_bytes: usize,
    pub cors: Cors,
    /// Which client headers go upstream; see [`crate::provider::credentials::forwards`].
    pub header_filter: HeaderFilter,
    pub allow_direct_keys: bool,
    /// A virtual key is mandatory (`enforce_auth_on_inference`).
    pub enforce_auth: bool,
    pub required_headers: Vec<RequiredHeader>,
    /// Paths of the management API without login; a last `*` stands for any rest.
    pub whitelisted_routes: Vec<Box<str>>,
    /// A full provider queue fails a request at once, rather than let it wait.
    pub drop_excess_requests: bool,
    pub routing_chain_max_depth: u32,
    /// For how long a rotated virtual key's old value is still taken.
    pub vk_rotation_cooldown: Duration,
    /// Whose signatures are verified.
    pub aws_clients: Vec<AwsClient>,
    /// Between two signs of life on a quiet stream.
    pub heartbeat: Duration,
    /// For how long requests in flight are waited for at shutdown.
    pub drain: Duration,
}

impl Default for Client {
    /// The limits of design.md §7; every origin, as in Bifrost.
    fn default() -> Self {
        Self {
            max_body_bytes: 100 << 20,
            cors: Cors::new(["*"], []),
            header_filter: HeaderFilter::default(),
            allow_direct_keys: false,
            enforce_auth: false,
            required_headers: Vec::new(),
            whitelisted_routes: Vec::new(),
            drop_excess_requests: false,
            routing_chain_max_depth: 10,
            vk_rotation_cooldown: Duration::ZERO,
            aws_clients: Vec::new(),
            heartbeat: Duration::from_secs(15),
            drain: Duration::from_secs(30),
        }
    }
}

/// A client of AWS: what it signs with, and which virtual key that means.
#[derive(Debug)]
pub struct AwsClient {
    pub access_key_id: Secret,
    pub secret_access_key: Secret,
    pub virtual_key: Option<Secret>,
}

/// A header without which no request is served.
#[derive(Debug)]
pub struct RequiredHeader {
    /// Lower-case.
    pub name: Box<str>,
    pub rule: HeaderRule,
}

#[derive(Debug)]
pub enum HeaderRule {
    Present,
    /// Compared in constant time by [`HeaderRule::holds`]: the value may be a shared secret.
    Equals(Secret),
    /// Anchored at both ends.
    Matches(regex::Regex),
    /// The pattern refers to an environment variable that is not set.
    Never,
}

impl HeaderRule {
    pub fn holds(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Self::Never, _) | (_, None) => false,
            (Self::Present, Some(_)) => true,
            (Self::Matches(pattern), Some(value)) => pattern.is_match(value),
            // equal digests, and digests leak nothing by the time their comparison takes
            (Self::Equals(secret), Some(value)) => {
                blake3::hash(secret.expose().as_bytes()) == blake3::hash(value.as_bytes())
            }
        }
    }
}

/// How the listener behaves: the file's `server`.
#[derive(Debug)]
pub struct Server {
    /// Of a request's head.
    pub max_header_bytes: usize,
    pub max_headers: usize,
    /// From the first byte of a head, or from accept, to the head's end.
    pub header_timeout: Duration,
    /// Of a kept-alive connection without a request.
    pub idle_timeout: Duration,
    pub tls: Option<Tls>,
}

impl Default for Server {
    /// The limits of design.md §7.
    fn default() -> Self {
        Self {
            max_header_bytes: 64 << 10,
            max_headers: 128,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            tls: None,
        }
    }
}

/// Certificate and key of the listener, read and known to be PEM.
#[derive(Debug)]
pub struct Tls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub cert_pem: Box<str>,
    pub key_pem: Secret,
}

/// What is written down of requests.
#[derive(Debug, Clone)]
pub struct Logging {
    pub database: Database,
    /// There is a log store (`client.enable_logging` and `logs_store`).
    pub store: bool,
    /// Bodies too, unless a virtual key says otherwise.
    pub content: bool,
    /// `x-bf-disable-content-logging` may say otherwise, too.
    pub content_by_request: bool,
    /// Names of request headers to log, lower-case.
    pub headers: Vec<Box<str>>,
    /// Kinds of requests that lists leave out.
    pub hidden: Vec<Box<str>>,
    /// Ours: a line for each request on standard output.
    pub access: bool,
    pub retention_days: u32,
    /// Between two commits.
    pub interval: Duration,
    /// Records in one commit.
    pub batch: usize,
    /// Records that may wait to be written, and what these may weigh.
    pub queue: usize,
    pub queue_bytes: usize,
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            database: Database::Off,
            store: false,
            content: true,
            content_by_request: false,
            headers: Vec::new(),
            hidden: Vec::new(),
            access: false,
            retention_days: 365,
            interval: Duration::from_millis(250),
            batch: 1000,
            queue: 10_000,
            queue_bytes: 64 << 20,
        }
    }
}

/// Who may use the management API.
#[derive(Debug, Clone)]
pub struct Admin {
    pub username: Secret,
    pub password: Secret,
}

/// Where prices come from: `framework.pricing`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pricing {
    /// `https`, `http` or `file`; none means the shipped table alone.
    pub url: Option<Box<str>>,
    pub sync_interval: Duration,
}

impl Default for Pricing {
    fn default() -> Self {
        Self { url: None, sync_interval: Duration::from_hours(24) }
    }
}

/// Where something is kept: the file's `config_store` or `logs_store`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Database {
    /// Not said: a file of the usual name in the application's directory, where one can be made.
    #[default]
    Usual,
    /// SQLite at this path; a relative one lies in the application's directory. `None`: the usual
    /// name. Without it there is no start.
    Sqlite(Option<PathBuf>),
    /// Nowhere: what is known lives as long as the process.
    Off,
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Snapshot>();
};
