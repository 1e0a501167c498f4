//! The file's stores, tools, plugins and webhooks.
//!
//! In: the sections as written. Out: plain records. Never: decides anything.

use crate::provider::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Seconds, or text as in `30s`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Interval {
    Number(f64),
    Text(String),
}

/// Where configuration or logs are kept.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    pub enabled: bool,
    #[serde(rename = "type")]
    pub kind: Option<StoreKind>,
    pub config: StoreConfig,
    pub vault_store: Option<VaultStore>,
    pub retention_days: Option<u32>,
    pub writer: Option<LogWriter>,
    pub object_storage: Option<ObjectStorage>,
    pub object_storage_exclude_fields: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    Sqlite,
    Postgres,
    Clickhouse,
}

/// SQLite: `path`. Postgres and ClickHouse: the rest.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    pub path: Option<Secret>,
    pub host: Option<Secret>,
    pub port: Option<Port>,
    pub user: Option<Secret>,
    pub username: Option<Secret>,
    pub password: Option<Secret>,
    pub password_command: Option<PasswordCommand>,
    pub db_name: Option<Secret>,
    pub database: Option<Secret>,
    pub ssl_mode: Option<Secret>,
    pub max_idle_conns: Option<u32>,
    pub max_open_conns: Option<u32>,
    pub conn_max_lifetime: Option<Interval>,
    pub matview_refresh_interval: Option<Interval>,
    pub protocol: Option<String>,
    pub secure: Option<bool>,
    pub dial_timeout: Option<Interval>,
    pub cluster: Option<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Port {
    Number(u16),
    Text(String),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordCommand {
    pub command: String,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub timeout: Option<Interval>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VaultStore {
    pub enabled: bool,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub prefix: Option<String>,
    pub access_mode: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogWriter {
    pub max_batch_size: Option<u32>,
    pub batch_interval: Option<Interval>,
    pub max_batch_bytes: Option<u64>,
    pub write_queue_capacity: Option<u32>,
    pub deferred_usage_concurrency: Option<u32>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectStorage {
    /// `s3` or `gcs`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub bucket: Option<Secret>,
    pub prefix: Option<String>,
    pub compress: bool,
    pub region: Option<Secret>,
    pub endpoint: Option<Secret>,
    pub access_key_id: Option<Secret>,
    pub secret_access_key: Option<Secret>,
    pub session_token: Option<Secret>,
    pub role_arn: Option<Secret>,
    pub project_id: Option<Secret>,
    pub credentials_json: Option<Secret>,
    pub force_path_style: bool,
}

/// Where vectors are kept.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VectorStore {
    pub enabled: bool,
    #[serde(rename = "type")]
    pub kind: Option<VectorStoreKind>,
    pub config: VectorStoreConfig,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VectorStoreKind {
    Weaviate,
    Redis,
    Qdrant,
    Pinecone,
}

/// Of Redis, Weaviate, Qdrant and Pinecone, in this order.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VectorStoreConfig {
    pub addr: Option<Secret>,
    pub username: Option<Secret>,
    pub password: Option<Secret>,
    pub db: Option<u32>,
    pub use_tls: Option<bool>,
    pub insecure_skip_verify: Option<bool>,
    pub ca_cert_pem: Option<Secret>,
    pub cluster_mode: Option<bool>,
    pub pool_size: Option<u32>,
    pub max_active_conns: Option<u32>,
    pub min_idle_conns: Option<u32>,
    pub max_idle_conns: Option<u32>,
    pub conn_max_lifetime: Option<Interval>,
    pub conn_max_idle_time: Option<Interval>,
    pub dial_timeout: Option<Interval>,
    pub read_timeout: Option<Interval>,
    pub write_timeout: Option<Interval>,
    pub context_timeout: Option<Interval>,
    pub scheme: Option<String>,
    pub host: Option<Secret>,
    pub api_key: Option<Secret>,
    pub grpc_config: Option<GrpcConfig>,
    pub headers: BTreeMap<String, Secret>,
    pub timeout: Option<Interval>,
    pub port: Option<Port>,
    pub max_recv_msg_size_mb: Option<u32>,
    pub index_host: Option<Secret>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    pub host: Option<Secret>,
    pub secured: bool,
}

/// Servers of tools, and how their tools are offered.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Mcp {
    pub client_configs: Vec<McpClient>,
    pub tool_manager_config: Option<ToolManager>,
    pub tool_sync_interval: Option<Interval>,
    pub health_monitor_config: Option<HealthMonitor>,
    pub tool_groups: Vec<ToolGroup>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct McpClient {
    #[serde(default)]
    pub client_id: Option<String>,
    pub name: String,
    /// `stdio`, `http`, `sse` or `inprocess`.
    pub connection_type: String,
    #[serde(default)]
    pub connection_string: Option<Secret>,
    #[serde(default)]
    pub stdio_config: Option<Stdio>,
    #[serde(default)]
    pub auth_type: Option<String>,
    #[serde(default)]
    pub oauth_config_id: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    #[serde(default)]
    pub per_user_header_keys: Vec<String>,
    #[serde(default)]
    pub allowed_extra_headers: Vec<String>,
    #[serde(default)]
    pub tools_to_execute: Vec<String>,
    #[serde(default)]
    pub tools_to_auto_execute: Vec<String>,
    #[serde(default)]
    pub is_code_mode_client: bool,
    #[serde(default)]
    pub is_ping_available: Option<bool>,
    #[serde(default)]
    pub tool_sync_interval: Option<Interval>,
    #[serde(default)]
    pub tool_execution_timeout: Option<Interval>,
    #[serde(default)]
    pub tool_pricing: BTreeMap<String, f64>,
    #[serde(default)]
    pub allow_on_all_virtual_keys: bool,
    #[serde(default)]
    pub disabled: bool,
    #[serde(default)]
    pub endpoint_slug: Option<String>,
    #[serde(default)]
    pub tls_config: Option<McpTls>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stdio {
    pub command: String,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub envs: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct McpTls {
    pub insecure_skip_verify: bool,
    pub ca_cert_pem: Option<Secret>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ToolManager {
    pub tool_execution_timeout: Option<Interval>,
    pub max_agent_depth: Option<u32>,
    /// `server` or `tool`.
    pub code_mode_binding_level: Option<String>,
    pub disable_auto_tool_inject: bool,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthMonitor {
    pub check_interval: Option<Interval>,
    pub check_timeout: Option<Interval>,
    pub max_consecutive_failures: Option<u32>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolGroup {
    #[serde(default)]
    pub id: Option<String>,
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub enabled: Option<bool>,
    #[serde(default)]
    pub tools: Vec<GroupTools>,
    #[serde(default)]
    pub virtual_key_ids: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroupTools {
    pub mcp_client_id: Option<String>,
    pub mcp_client_name: Option<String>,
    pub tool_names: Vec<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    pub enabled: bool,
    pub name: String,
    /// Each plugin has its own.
    #[serde(default)]
    pub config: Option<serde_json::Value>,
    #[serde(default)]
    pub path: Option<String>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 32_767))]
    pub version: Option<u16>,
    #[serde(default)]
    pub placement: Option<Placement>,
    #[serde(default)]
    pub order: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    PreBuiltin,
    PostBuiltin,
    Builtin,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Websocket {
    pub max_connections_per_user: Option<u32>,
    pub transcript_buffer_size: Option<u32>,
    pub pool: Option<WebsocketPool>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebsocketPool {
    pub max_idle_per_key: Option<u32>,
    pub max_total_connections: Option<u32>,
    pub idle_timeout_seconds: Option<u64>,
    pub max_connection_lifetime_seconds: Option<u64>,
}

/// Who is told of finished jobs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub name: Option<String>,
    pub url: Secret,
    #[serde(default)]
    pub secret: Option<Secret>,
    #[serde(default)]
    pub events: Vec<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    #[serde(default)]
    pub include_response: bool,
    #[serde(default)]
    pub disabled: bool,
    #[serde(default)]
    pub max_retries: Option<u32>,
    #[serde(default)]
    pub retry_backoff_initial_seconds: Option<u64>,
    #[serde(default)]
    pub retry_backoff_max_seconds: Option<u64>,
    #[serde(default)]
    pub attempt_timeout_seconds: Option<u64>,
    #[serde(default)]
    pub max_response_payload_kbs: Option<u64>,
    #[serde(default)]
    pub max_concurrent_deliveries: Option<u32>,
    #[serde(default)]
    pub allow_private_network: Option<bool>,
}
