//! The file's `client`: how the gateway meets its clients.
//!
//! In: the section as written. Out: plain records. Never: decides anything.

use crate::config::file_secret::Verbatim;
use crate::provider::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How the gateway meets its clients.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    /// A full provider queue fails a request at once (503), rather than let it wait.
    pub drop_excess_requests: bool,
    /// Without effect: nothing is pooled ahead here.
    pub initial_pool_size: u32,
    /// Further labels of metrics; values from `x-bf-dim-<label>`.
    pub prometheus_labels: Vec<String>,
    /// Origins of browsers' pages that may call; `*` stands for any run of characters. Pages of
    /// this machine always may.
    pub allowed_origins: Vec<String>,
    /// Further headers that such pages may send.
    pub allowed_headers: Vec<String>,
    #[schemars(range(min = 1, max = 4096))]
    pub max_request_body_size_mb: u32,
    pub enable_logging: bool,
    pub disable_content_logging: bool,
    pub retain_content_in_object_storage: bool,
    pub allow_per_request_content_storage_override: bool,
    pub allow_per_request_raw_override: bool,
    #[schemars(range(min = 1))]
    pub log_retention_days: u32,
    pub logging_headers: Vec<String>,
    pub hidden_request_types: Vec<String>,
    pub dump_errors_in_console_logs: bool,
    pub disable_db_pings_in_health: bool,
    /// No inference without a virtual key.
    pub enforce_auth_on_inference: bool,
    /// Older name of `enforce_auth_on_inference`.
    pub enforce_governance_header: Option<bool>,
    /// Older name of `enforce_auth_on_inference`.
    pub enforce_scim_auth: Option<bool>,
    pub dual_credential_conflict_behavior: DualCredential,
    /// A caller's own provider key is used, where it sends one.
    pub allow_direct_keys: bool,
    /// Headers without which no request is served: names, or names with patterns.
    pub required_headers: RequiredHeaders,
    /// Which headers of a client go upstream.
    pub header_filter_config: HeaderFilterConfig,
    /// Routes without the dashboard's login.
    pub whitelisted_routes: Vec<String>,
    /// For how long a rotated virtual key's old value is taken, at most 30 days.
    pub vk_rotation_cooldown: Option<Span>,
    pub delete_expired_virtual_keys: bool,
    pub hide_deleted_virtual_keys_in_filters: bool,
    /// Seconds.
    #[schemars(range(min = 1))]
    pub async_job_result_ttl: u64,
    #[schemars(range(min = 1, max = 100))]
    pub routing_chain_max_depth: u32,
    pub compat: Compat,
    pub webhook_config: WebhookConfig,
    pub mcp_server_auth_mode: McpAuthMode,
    pub oauth2_server_config: Option<OAuth2Server>,
    pub mcp_external_client_url: Option<Secret>,
    pub mcp_enable_temp_token_auth: bool,
    pub mcp_max_instructions_per_client: u32,
    pub mcp_max_instructions_total: u32,
    /// Older place of `mcp.tool_manager_config.max_agent_depth`.
    pub mcp_agent_depth: Option<u32>,
    /// Older place of `mcp.tool_manager_config.tool_execution_timeout`, seconds.
    pub mcp_tool_execution_timeout: Option<u64>,
    /// Older place of `mcp.tool_manager_config.code_mode_binding_level`.
    pub mcp_code_mode_binding_level: Option<String>,
    /// Older place of `mcp.tool_sync_interval`, minutes.
    pub mcp_tool_sync_interval: Option<u64>,
    /// Older place of `mcp.tool_manager_config.disable_auto_tool_inject`.
    pub mcp_disable_auto_tool_inject: Option<bool>,
    /// Ours: clients of AWS whose signatures are verified. A request with an access-key id that is
    /// not named here is not held to its signature.
    pub aws_clients: Vec<AwsClient>,
    /// Ours: the time between two signs of life on a quiet stream.
    #[schemars(range(min = 1, max = 3600))]
    pub heartbeat_interval_in_seconds: u64,
    /// Ours: for how long requests in flight are waited for at shutdown.
    #[schemars(range(min = 0, max = 86_400))]
    pub drain_timeout_in_seconds: u64,
    /// Ours: a line for each request on standard output.
    pub access_log: bool,
}

/// What a client of AWS signs its requests with; the gateway's own, no credential of AWS.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsClient {
    pub access_key_id: Secret,
    pub secret_access_key: Secret,
    /// The virtual key that such requests come with; absent: the access-key id may be one.
    #[serde(default)]
    pub virtual_key: Option<Secret>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            drop_excess_requests: false,
            initial_pool_size: 300,
            prometheus_labels: Vec::new(),
            allowed_origins: vec!["*".to_owned()],
            allowed_headers: Vec::new(),
            max_request_body_size_mb: 100,
            enable_logging: true,
            disable_content_logging: false,
            retain_content_in_object_storage: false,
            allow_per_request_content_storage_override: false,
            allow_per_request_raw_override: false,
            log_retention_days: 365,
            logging_headers: Vec::new(),
            hidden_request_types: Vec::new(),
            dump_errors_in_console_logs: false,
            disable_db_pings_in_health: false,
            enforce_auth_on_inference: false,
            enforce_governance_header: None,
            enforce_scim_auth: None,
            dual_credential_conflict_behavior: DualCredential::PreferIdp,
            allow_direct_keys: false,
            required_headers: RequiredHeaders::default(),
            header_filter_config: HeaderFilterConfig::default(),
            whitelisted_routes: Vec::new(),
            vk_rotation_cooldown: None,
            delete_expired_virtual_keys: false,
            hide_deleted_virtual_keys_in_filters: false,
            async_job_result_ttl: 3600,
            routing_chain_max_depth: 10,
            compat: Compat::default(),
            webhook_config: WebhookConfig::default(),
            mcp_server_auth_mode: McpAuthMode::Headers,
            oauth2_server_config: None,
            mcp_external_client_url: None,
            mcp_enable_temp_token_auth: false,
            mcp_max_instructions_per_client: 0,
            mcp_max_instructions_total: 0,
            mcp_agent_depth: None,
            mcp_tool_execution_timeout: None,
            mcp_code_mode_binding_level: None,
            mcp_tool_sync_interval: None,
            mcp_disable_auto_tool_inject: None,
            aws_clients: Vec::new(),
            heartbeat_interval_in_seconds: 15,
            drain_timeout_in_seconds: 30,
            access_log: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DualCredential {
    Error,
    PreferVk,
    PreferIdp,
}

/// Names, or names with a pattern each: `*` or nothing for presence, `env.NAME` for equality with
/// a variable of the environment, anything else a regular expression for the whole value.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RequiredHeaders {
    Names(Vec<String>),
    Patterns(BTreeMap<String, Verbatim>),
}

impl Default for RequiredHeaders {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

/// Names, prefixes ending in `*`, or `*`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderFilterConfig {
    /// With entries: exactly these go upstream. Empty: what the vendor takes.
    pub allowlist: Vec<String>,
    /// Wins.
    pub denylist: Vec<String>,
}

/// `1h30m`, `90s`, `250ms`, or nanoseconds.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Span {
    Text(String),
    Nanoseconds(u64),
}

/// Changes that Bifrost makes to requests by itself.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compat {
    pub convert_text_to_chat: bool,
    pub convert_chat_to_responses: bool,
    pub should_drop_params: bool,
    pub should_convert_params: bool,
    pub azure_deepseek: bool,
    pub force_reasoning_only_models_to_responses: Option<bool>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    pub delivery_history_retention_days: u32,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self { delivery_history_retention_days: 30 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum McpAuthMode {
    Headers,
    Both,
    Oauth,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth2Server {
    pub issuer_url: Option<Secret>,
    /// Seconds.
    #[schemars(range(max = 900))]
    pub auth_code_ttl: Option<u64>,
    /// Seconds.
    pub access_token_ttl: Option<u64>,
    pub disable_vk_identity: bool,
}
