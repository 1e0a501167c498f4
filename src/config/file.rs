//! `config.json` as it is written: the whole of Bifrost's schema, and our own additions.
//!
//! In: JSON that [`super::shape`] has held against the schema generated from these types. Out:
//! plain records. Never: decides anything; [`super::check`] does, and [`super::supported`] knows
//! which sections this version has no use for.

use crate::config::file_client::Client;
use crate::config::file_governance::Governance;
use crate::config::file_providers::Provider;
use crate::config::file_stores::{Mcp, Plugin, Store, VectorStore, Webhook, Websocket};
use crate::provider::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Configuration of the gateway: `config.json` in the application's directory.
///
/// Wherever a text stands, `env.NAME` stands for the variable NAME of the environment.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "FinOps Gateway: config.json")]
pub struct File {
    /// For editors; not read.
    #[serde(rename = "$schema")]
    pub schema: Option<String>,
    /// What an empty allow-list means: 1 allows all, 2 (the default) denies all.
    #[schemars(range(min = 1, max = 2))]
    pub version: Option<u8>,
    /// Which of file and store wins. Without a store, the file does.
    pub source_of_truth: Option<SourceOfTruth>,
    /// Encrypts what is stored.
    pub encryption_key: Option<Secret>,
    /// A badge of at most ten characters.
    #[schemars(length(max = 10))]
    pub env_label: Option<String>,
    /// Must accompany the creation of the first administrator.
    pub setup_token: Option<Secret>,
    pub server: Server,
    pub client: Client,
    pub framework: Framework,
    /// By name. A name that is not built in needs a `custom_provider_config`.
    pub providers: BTreeMap<String, Provider>,
    pub governance: Governance,
    /// Deprecated place of `governance.auth_config`.
    pub auth_config: Option<AuthConfig>,
    pub mcp: Option<Mcp>,
    pub vector_store: Option<VectorStore>,
    pub config_store: Option<Store>,
    pub logs_store: Option<Store>,
    pub plugins: Vec<Plugin>,
    pub websocket: Option<Websocket>,
    pub webhooks: Vec<Webhook>,
    /// Skills that are served to clients.
    pub skills_registry: Option<serde_json::Value>,
    /// Enterprise section.
    pub alerting: Option<serde_json::Value>,
    /// Enterprise section.
    pub guardrails_config: Option<serde_json::Value>,
    /// Enterprise section.
    pub audit_logs: Option<serde_json::Value>,
    /// Enterprise section.
    pub cluster_config: Option<serde_json::Value>,
    /// Weights that follow how well providers and keys answer.
    pub load_balancer_config: Option<LoadBalancer>,
    /// Enterprise section.
    pub large_payload_optimization: Option<serde_json::Value>,
    /// Enterprise section.
    pub scim_config: Option<serde_json::Value>,
    /// Enterprise section.
    pub access_profiles: Option<serde_json::Value>,
    /// Enterprise section.
    pub circuit_breaker_config: Option<serde_json::Value>,
    /// Enterprise section.
    pub feature_flags: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum SourceOfTruth {
    #[serde(rename = "split")]
    Split,
    #[serde(rename = "config.json")]
    ConfigJson,
}

/// How the listener behaves.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The most bytes that a request's head may have.
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub read_buffer_size: usize,
    /// Ours: the most headers that a request may have.
    #[schemars(range(min = 8, max = 4096))]
    pub max_headers: usize,
    /// Ours: within this time a request's head has to be there.
    #[schemars(range(min = 1, max = 3600))]
    pub header_timeout_in_seconds: u64,
    /// Ours: for how long a connection without a request is kept.
    #[schemars(range(min = 1, max = 86_400))]
    pub idle_timeout_in_seconds: u64,
    /// Ours: TLS on the listener.
    pub tls: Option<Tls>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            read_buffer_size: 65_536,
            max_headers: 128,
            header_timeout_in_seconds: 10,
            idle_timeout_in_seconds: 75,
            tls: None,
        }
    }
}

/// Certificate and key of the listener, PEM, as paths relative to the application's directory.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The server's certificate first, then those that it is signed with.
    pub cert_file: String,
    pub key_file: String,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Framework {
    pub pricing: Pricing,
}

/// Weights of providers and keys are multiplied by their share of good answers, and by how their
/// latency compares with the fastest of them. Each worker learns for itself.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoadBalancer {
    pub enabled: bool,
    pub direction_selection_enabled: Option<bool>,
    pub route_selection_enabled: Option<bool>,
    pub reroute_failed_directions: Option<bool>,
    pub prune_failed_fallbacks: Option<bool>,
    pub tracker_config: Option<serde_json::Value>,
    pub bootstrap: Option<serde_json::Value>,
}

/// Where prices come from.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pricing {
    /// `https://`, `http://` or `file://`. Absent: the table that comes with this version.
    pub pricing_url: Option<String>,
    #[schemars(range(min = 3600))]
    pub pricing_sync_interval: u64,
    pub model_parameters_url: Option<String>,
    pub mcp_library_url: Option<String>,
    #[schemars(range(min = 3600))]
    pub mcp_library_sync_interval: u64,
}

impl Default for Pricing {
    fn default() -> Self {
        Self {
            pricing_url: None,
            pricing_sync_interval: 86_400,
            model_parameters_url: None,
            mcp_library_url: None,
            mcp_library_sync_interval: 86_400,
        }
    }
}

/// Who may administer.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    pub admin_username: Option<Secret>,
    pub admin_password: Option<Secret>,
    pub is_enabled: bool,
    /// Without effect in Bifrost, and here.
    pub disable_auth_on_inference: Option<bool>,
}
