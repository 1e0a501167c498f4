//! The file's `providers`: whom the gateway calls, with which keys.
//!
//! In: the section as written. Out: plain records. Never: decides anything.

use crate::provider::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Provider {
    /// At least one, unless the provider needs none.
    pub keys: Vec<Key>,
    pub network_config: NetworkConfig,
    pub concurrency_and_buffer_size: Option<ConcurrencyAndBuffer>,
    pub proxy_config: Option<ProxyConfig>,
    pub send_back_raw_request: bool,
    pub send_back_raw_response: bool,
    pub store_raw_request_response: bool,
    /// Copies a header of the upstream's answer into the log.
    pub provider_request_id: Option<ProviderRequestId>,
    pub openai_config: Option<OpenAiConfig>,
    /// Inserts cache marks into requests.
    pub prompt_cache: Option<serde_json::Value>,
    /// Makes this a provider of your own.
    pub custom_provider_config: Option<CustomProvider>,
}

/// How the provider is reached, and for how long it is waited for.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// `https://host[:port][/path]`.
    pub base_url: Option<Secret>,
    pub extra_headers: BTreeMap<String, Secret>,
    /// From the end of the request to the first byte of the answer. Bifrost's default of 30 s cuts
    /// long calls; ours is 300.
    #[schemars(range(min = 1, max = 86_400))]
    pub default_request_timeout_in_seconds: u64,
    /// Ours.
    #[schemars(range(min = 1, max = 3600))]
    pub connect_timeout_in_seconds: u64,
    #[schemars(range(max = 100))]
    pub max_retries: u32,
    /// Milliseconds.
    #[schemars(range(min = 100))]
    pub retry_backoff_initial: u64,
    /// Milliseconds.
    #[schemars(range(min = 100))]
    pub retry_backoff_max: u64,
    pub enforce_http2: bool,
    pub insecure_skip_verify: bool,
    /// Further roots to trust, PEM.
    pub ca_cert_pem: Option<Secret>,
    /// The longest silence within an answer.
    #[schemars(range(min = 5, max = 3600))]
    pub stream_idle_timeout_in_seconds: u64,
    #[schemars(range(min = 1, max = 86_400))]
    pub keep_alive_timeout_in_seconds: u64,
    #[schemars(range(min = 1, max = 10_000))]
    pub max_conns_per_host: usize,
    /// Prefixes of `anthropic-beta` flags, allowed or not.
    pub beta_header_overrides: BTreeMap<String, bool>,
    /// Private addresses may be called. Loopback always may, link-local never.
    pub allow_private_network: bool,
    pub stream_throughput_guard: Option<ThroughputGuard>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            base_url: None,
            extra_headers: BTreeMap::new(),
            default_request_timeout_in_seconds: 300,
            connect_timeout_in_seconds: 10,
            max_retries: 0,
            retry_backoff_initial: 500,
            retry_backoff_max: 5000,
            enforce_http2: false,
            insecure_skip_verify: false,
            ca_cert_pem: None,
            stream_idle_timeout_in_seconds: 120,
            keep_alive_timeout_in_seconds: 30,
            max_conns_per_host: 5000,
            beta_header_overrides: BTreeMap::new(),
            allow_private_network: false,
            stream_throughput_guard: None,
        }
    }
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThroughputGuard {
    #[schemars(range(min = 1, max = 100_000))]
    pub minimum_output_characters_per_second: u32,
    #[serde(default)]
    #[schemars(range(min = 1, max = 60))]
    pub probe_window_in_seconds: Option<u32>,
}

/// How many calls at once, and how many may wait.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConcurrencyAndBuffer {
    #[schemars(range(min = 1))]
    pub concurrency: u32,
    /// At least `concurrency`.
    #[schemars(range(min = 1))]
    pub buffer_size: u32,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    #[serde(rename = "type")]
    pub kind: ProxyKind,
    #[serde(default)]
    pub url: Option<Secret>,
    #[serde(default)]
    pub username: Option<Secret>,
    #[serde(default)]
    pub password: Option<Secret>,
    /// The root of an HTTPS proxy, PEM.
    #[serde(default)]
    pub ca_cert_pem: Option<Secret>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyKind {
    None,
    Http,
    Socks5,
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    Environment,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderRequestId {
    pub enabled: bool,
    pub header_name: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OpenAiConfig {
    pub disable_store: bool,
}

/// A provider of your own, that speaks the language of a built-in one.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomProvider {
    /// `openai`, `anthropic`, `bedrock`, `gemini`, `cohere` or another built-in name.
    pub base_provider_type: String,
    #[serde(default)]
    pub is_key_less: bool,
    /// Paths by kind of request.
    #[serde(default)]
    pub request_path_overrides: BTreeMap<RequestType, String>,
    /// Absent: all kinds. Present: only the true ones.
    #[serde(default)]
    pub allowed_requests: Option<BTreeMap<RequestType, bool>>,
    /// The server ends its streams without `[DONE]`.
    #[serde(default)]
    pub does_not_send_done_marker: bool,
}

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestType {
    ListModels,
    TextCompletion,
    TextCompletionStream,
    ChatCompletion,
    ChatCompletionStream,
    Responses,
    ResponsesStream,
    ResponsesRetrieve,
    ResponsesDelete,
    ResponsesCancel,
    ResponsesInputItems,
    CountTokens,
    Compaction,
    Embedding,
    Rerank,
    Moderation,
    Ocr,
    Speech,
    SpeechStream,
    Transcription,
    TranscriptionStream,
    ImageGeneration,
    ImageGenerationStream,
    ImageEdit,
    ImageEditStream,
    ImageVariation,
    VideoGeneration,
    VideoRetrieve,
    VideoDownload,
    VideoDelete,
    VideoList,
    VideoRemix,
    BatchCreate,
    BatchList,
    BatchRetrieve,
    BatchCancel,
    BatchDelete,
    BatchResults,
    FileUpload,
    FileList,
    FileRetrieve,
    FileDelete,
    FileContent,
    ContainerCreate,
    ContainerList,
    ContainerRetrieve,
    ContainerDelete,
    ContainerFileCreate,
    ContainerFileList,
    ContainerFileRetrieve,
    ContainerFileContent,
    ContainerFileDelete,
    CachedContentCreate,
    CachedContentList,
    CachedContentRetrieve,
    CachedContentUpdate,
    CachedContentDelete,
    Passthrough,
    PassthroughStream,
    WebsocketResponses,
    Realtime,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// A UUID. Absent: made of the provider's and the key's name.
    #[serde(default)]
    pub id: Option<String>,
    /// Unique within the file.
    pub name: String,
    #[serde(default)]
    pub value: Secret,
    #[serde(default)]
    pub enabled: Option<bool>,
    /// `*` for all; empty for none (`version` 2) or all (1); absent for all.
    #[serde(default)]
    pub models: Option<Vec<String>>,
    /// Wins over `models`.
    #[serde(default)]
    pub blacklisted_models: Vec<String>,
    /// Share of the requests, at least zero.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    #[serde(default)]
    pub use_for_batch_api: bool,
    /// Other names for models.
    #[serde(default)]
    pub aliases: BTreeMap<String, Alias>,
    #[serde(default)]
    pub azure_key_config: Option<AzureKey>,
    #[serde(default)]
    pub vertex_key_config: Option<VertexKey>,
    #[serde(default)]
    pub bedrock_key_config: Option<BedrockKey>,
    #[serde(default)]
    pub bedrock_mantle_key_config: Option<BedrockMantleKey>,
    #[serde(default)]
    pub vllm_key_config: Option<ServerKey>,
    #[serde(default)]
    pub ollama_key_config: Option<ServerKey>,
    #[serde(default)]
    pub sgl_key_config: Option<ServerKey>,
    #[serde(default)]
    pub replicate_key_config: Option<ReplicateKey>,
}

/// The model that the upstream knows, or all about it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Alias {
    Model(String),
    Detailed(Box<AliasDetails>),
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AliasDetails {
    pub model_id: String,
    /// The canonical name, for prices.
    #[serde(default)]
    pub model_name: Option<String>,
    /// Whose model it is, where its id does not show it.
    #[serde(default)]
    pub model_family: Option<ModelFamily>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub region: Option<String>,
    #[serde(default)]
    pub api_version: Option<String>,
    #[serde(default)]
    pub anthropic_version: Option<String>,
    #[serde(default)]
    pub endpoint: Option<Secret>,
    #[serde(default)]
    pub project_id: Option<Secret>,
    #[serde(default)]
    pub project_number: Option<Secret>,
    #[serde(default)]
    pub force_single_region: Option<bool>,
    #[serde(default)]
    pub inference_profile_arn: Option<Secret>,
    #[serde(default)]
    pub use_deployments_endpoint: Option<bool>,
    #[serde(default)]
    pub use_anthropic_endpoints: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelFamily {
    Anthropic,
    Openai,
    Mistral,
    Cohere,
    Gemini,
    Gemma,
    Llama,
    Imagen,
    Veo,
    Nova,
    Titan,
}

impl ModelFamily {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Openai => "openai",
            Self::Mistral => "mistral",
            Self::Cohere => "cohere",
            Self::Gemini => "gemini",
            Self::Gemma => "gemma",
            Self::Llama => "llama",
            Self::Imagen => "imagen",
            Self::Veo => "veo",
            Self::Nova => "nova",
            Self::Titan => "titan",
        }
    }
}

/// Azure: the resource, and Entra credentials in place of an API key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AzureKey {
    /// `https://<resource>.openai.azure.com`.
    pub endpoint: Secret,
    #[serde(default)]
    pub client_id: Option<Secret>,
    #[serde(default)]
    pub client_secret: Option<Secret>,
    #[serde(default)]
    pub tenant_id: Option<Secret>,
    #[serde(default)]
    pub scopes: Vec<String>,
    #[serde(default)]
    pub api_version: Option<Secret>,
    /// Older form of `aliases`.
    #[serde(default)]
    pub deployments: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VertexKey {
    #[serde(default)]
    pub project_id: Option<Secret>,
    pub region: Secret,
    #[serde(default)]
    pub project_number: Option<Secret>,
    /// JSON of a service account. Empty: the default credentials of the machine.
    #[serde(default)]
    pub auth_credentials: Option<Secret>,
    #[serde(default)]
    pub force_single_region: Option<bool>,
    /// Older form of `aliases`.
    #[serde(default)]
    pub deployments: BTreeMap<String, String>,
}

/// AWS. Without access key: the default credentials of the machine; or `value` is a Bedrock API
/// key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BedrockKey {
    #[serde(default)]
    pub access_key: Option<Secret>,
    #[serde(default)]
    pub secret_key: Option<Secret>,
    #[serde(default)]
    pub session_token: Option<Secret>,
    pub region: Secret,
    /// Put before every model.
    #[serde(default)]
    pub arn: Option<Secret>,
    #[serde(default)]
    pub role_arn: Option<Secret>,
    #[serde(default)]
    pub external_id: Option<Secret>,
    #[serde(default)]
    pub session_name: Option<Secret>,
    #[serde(default)]
    pub project_id: Option<Secret>,
    /// Older form of `aliases`.
    #[serde(default)]
    pub deployments: BTreeMap<String, String>,
    #[serde(default)]
    pub batch_s3_config: Option<BatchS3>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchS3 {
    pub buckets: Vec<Bucket>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    pub bucket_name: String,
    #[serde(default)]
    pub prefix: Option<String>,
    #[serde(default)]
    pub is_default: bool,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BedrockMantleKey {
    #[serde(default)]
    pub access_key: Option<Secret>,
    #[serde(default)]
    pub secret_key: Option<Secret>,
    #[serde(default)]
    pub session_token: Option<Secret>,
    pub region: Secret,
    #[serde(default)]
    pub project_id: Option<Secret>,
}

/// A server of the key's own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerKey {
    pub url: Secret,
    /// vLLM: the one model that the server has.
    #[serde(default)]
    pub model_name: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicateKey {
    pub use_deployments_endpoint: bool,
}
