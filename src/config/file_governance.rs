//! The file's `governance`: who may spend what, and where requests go.
//!
//! In: the section as written, references to the environment resolved. Out: plain records, which
//! `govern` and `route` compile into their tables. Never: knows what a limit means.

use crate::config::file::AuthConfig;
use crate::provider::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// Virtual keys, their owners and limits, routing rules and price overrides.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Governance {
    pub budgets: Vec<Budget>,
    pub rate_limits: Vec<RateLimit>,
    pub customers: Vec<Customer>,
    pub teams: Vec<Team>,
    pub virtual_keys: Vec<VirtualKey>,
    pub routing_rules: Vec<RoutingRule>,
    pub pricing_overrides: Vec<PricingOverride>,
    pub model_configs: Vec<ModelConfig>,
    /// Limits of whole providers.
    pub providers: Vec<ProviderLimits>,
    pub auth_config: Option<AuthConfig>,
    /// Settings of the `complexity_tier` of routing rules.
    pub complexity_analyzer_config: Option<serde_json::Value>,
    /// Enterprise section.
    pub business_units: Vec<serde_json::Value>,
    /// Enterprise section.
    pub roles: Vec<serde_json::Value>,
}

/// A sum that one owner may spend in a window.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub id: String,
    /// US dollars, above zero.
    pub max_limit: f64,
    /// A whole number and a unit: `s`, `m`, `h`, `d`, `w`, `M`, `Q` or `Y`. Absent for a prepaid
    /// budget, which never resets.
    #[serde(default)]
    pub reset_duration: Option<String>,
    /// US dollars already spent when the file was written.
    #[serde(default)]
    pub current_usage: f64,
    /// RFC 3339; when the current window began.
    #[serde(default)]
    pub last_reset: Option<String>,
    /// Exactly one owner: here, or by reference from the owner.
    #[serde(default)]
    pub virtual_key_id: Option<String>,
    #[serde(default)]
    pub provider_config_id: Option<OneId>,
    #[serde(default)]
    pub model_config_id: Option<String>,
    #[serde(default)]
    pub customer_id: Option<String>,
    #[serde(default)]
    pub team_id: Option<String>,
    #[serde(default)]
    pub reset_config: Option<ResetConfig>,
    /// Windows start at calendar boundaries (UTC). Deprecated here: an owner says it for all its
    /// limits.
    #[serde(default)]
    pub calendar_aligned: Option<bool>,
    /// `soft` blocks once the limit is spent; `strict` reserves ahead, and is never overspent.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// More for a while.
    #[serde(default, rename = "override")]
    pub override_: Option<BudgetOverride>,
}

/// Bifrost writes the id of a provider config as a number or as text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneId {
    Text(String),
    Number(u64),
}

impl std::fmt::Display for OneId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    #[default]
    Soft,
    Strict,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetConfig {
    /// The month in which the first quarter begins.
    #[serde(default)]
    #[schemars(range(min = 1, max = 12))]
    pub quarter_start_month: Option<u8>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetOverride {
    /// US dollars on top of `max_limit`.
    pub amount: f64,
    pub mode: OverrideMode,
    /// For how many windows, with mode `cycles`.
    #[serde(default)]
    pub cycles: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverrideMode {
    Cycles,
    Forever,
}

/// Tokens and requests that an owner may use in a window, and at the same time.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    pub id: String,
    #[serde(default)]
    pub token_max_limit: Option<u64>,
    #[serde(default)]
    pub token_reset_duration: Option<String>,
    #[serde(default)]
    pub token_current_usage: u64,
    /// RFC 3339.
    #[serde(default)]
    pub token_last_reset: Option<String>,
    #[serde(default)]
    pub request_max_limit: Option<u64>,
    #[serde(default)]
    pub request_reset_duration: Option<String>,
    #[serde(default)]
    pub request_current_usage: u64,
    /// RFC 3339.
    #[serde(default)]
    pub request_last_reset: Option<String>,
    /// The form with one metric: with `max_limit` and `reset_duration`.
    #[serde(default)]
    pub metric: Option<Metric>,
    #[serde(default)]
    pub max_limit: Option<u64>,
    #[serde(default)]
    pub reset_duration: Option<String>,
    #[serde(default)]
    pub current_usage: u64,
    /// RFC 3339.
    #[serde(default)]
    pub last_reset: Option<String>,
    /// Requests in flight at the same time.
    #[serde(default)]
    pub concurrent_request_max_limit: Option<u64>,
    /// Of the token limit: `soft` refuses once it is used up; `strict` reserves ahead.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// Windows start at calendar boundaries (UTC).
    #[serde(default)]
    pub calendar_aligned: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    Requests,
    Tokens,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Customer {
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub budget_id: Option<String>,
    #[serde(default)]
    pub budgets: Vec<Budget>,
    #[serde(default)]
    pub rate_limit_id: Option<String>,
    #[serde(default)]
    pub calendar_aligned: bool,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Team {
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub customer_id: Option<String>,
    #[serde(default)]
    pub budget_id: Option<String>,
    #[serde(default)]
    pub budgets: Vec<Budget>,
    #[serde(default)]
    pub rate_limit_id: Option<String>,
    /// Kept for those who read it; no meaning here.
    #[serde(default)]
    pub profile: Option<serde_json::Value>,
    /// Kept for those who read it; no meaning here.
    #[serde(default)]
    pub config: Option<serde_json::Value>,
    /// Kept for those who read it; no meaning here.
    #[serde(default)]
    pub claims: Option<serde_json::Value>,
    #[serde(default)]
    pub source_id: Option<String>,
    /// Enterprise field.
    #[serde(default)]
    pub business_unit_id: Option<String>,
    #[serde(default)]
    pub calendar_aligned: bool,
}

/// A key that the gateway hands out in place of the providers' own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VirtualKey {
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    /// What clients send. Kept as a digest only.
    pub value: Secret,
    #[serde(default = "yes")]
    pub is_active: bool,
    /// RFC 3339.
    #[serde(default)]
    pub expires_at: Option<String>,
    #[serde(default)]
    pub delete_after_expire: bool,
    /// A team or a customer, not both.
    #[serde(default)]
    pub team_id: Option<String>,
    #[serde(default)]
    pub customer_id: Option<String>,
    /// Enterprise field.
    #[serde(default)]
    pub access_profile_id: Option<String>,
    #[serde(default)]
    pub budget_id: Option<String>,
    #[serde(default)]
    pub budgets: Vec<Budget>,
    #[serde(default)]
    pub rate_limit_id: Option<String>,
    #[serde(default)]
    pub calendar_aligned: bool,
    #[serde(default)]
    pub disable_content_logging: Option<bool>,
    /// Providers that are not listed are open too, with all models and keys and no limits.
    #[serde(default)]
    pub allow_all_providers: bool,
    /// Empty: nothing is allowed.
    #[serde(default)]
    pub provider_configs: Vec<ProviderConfig>,
    /// Empty: no tools.
    #[serde(default)]
    pub mcp_configs: Vec<McpConfig>,
}

/// What a virtual key may do at one provider.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    #[serde(default)]
    pub id: Option<OneId>,
    pub provider: String,
    /// Share of the requests that name no provider; null is allowed, but never drawn.
    #[serde(default)]
    pub weight: Option<f64>,
    /// `*`, names, or `regex:…` for whole names without regard to case.
    #[serde(default)]
    pub allowed_models: Vec<String>,
    /// The same grammar; wins.
    #[serde(default)]
    pub blacklisted_models: Vec<String>,
    /// `*` for all keys, or ids or names; empty for none.
    #[serde(default)]
    pub key_ids: Vec<String>,
    #[serde(default)]
    pub budget_id: Option<String>,
    #[serde(default)]
    pub budgets: Vec<Budget>,
    #[serde(default)]
    pub rate_limit_id: Option<String>,
    #[serde(default)]
    pub rate_limit: Option<RateLimit>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct McpConfig {
    #[serde(default)]
    pub mcp_client_name: Option<String>,
    #[serde(default)]
    pub mcp_client_id: Option<OneId>,
    #[serde(default)]
    pub tools_to_execute: Vec<String>,
}

/// Where requests go that a CEL expression describes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoutingRule {
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default = "yes")]
    pub enabled: bool,
    /// After this rule, the rules are gone through once more with the new provider and model.
    #[serde(default)]
    pub chain_rule: bool,
    /// Empty: always.
    #[serde(default)]
    pub cel_expression: String,
    #[serde(default)]
    pub targets: Vec<RuleTarget>,
    #[serde(default)]
    pub fallbacks: Vec<Fallback>,
    #[serde(default)]
    pub scope: RuleScope,
    #[serde(default)]
    pub scope_id: Option<String>,
    /// Lower comes first.
    #[serde(default)]
    pub priority: i64,
    /// The editor's tree of the expression; not read.
    #[serde(default)]
    pub query: Option<serde_json::Value>,
    #[serde(default)]
    pub created_at: Option<String>,
    #[serde(default)]
    pub updated_at: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleScope {
    #[default]
    Global,
    Customer,
    Team,
    VirtualKey,
}

/// One of the places that a rule may draw. What it leaves out stays as the request has it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleTarget {
    #[serde(default)]
    pub provider: Option<String>,
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    pub key_id: Option<String>,
    #[serde(default)]
    pub provider_key_name: Option<String>,
    /// Above zero, at most one; those of a rule add up to one.
    #[serde(default = "one")]
    pub weight: f64,
}

/// `"provider/model"`, `"provider/"`, or an object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Fallback {
    Name(String),
    Target(FallbackTarget),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FallbackTarget {
    pub provider: String,
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    pub key_id: Option<String>,
}

/// Prices that replace the table's, for some models in some scope. US dollars per single token.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PricingOverride {
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub scope_kind: PricingScope,
    #[serde(default)]
    pub virtual_key_id: Option<String>,
    #[serde(default)]
    pub provider_id: Option<String>,
    #[serde(default)]
    pub provider_key_id: Option<String>,
    pub match_type: MatchType,
    /// A model's name, or a prefix ending in `*`.
    pub pattern: String,
    /// Empty: all.
    #[serde(default)]
    pub request_types: Vec<String>,
    /// A JSON object in a string: `{"input_cost_per_token": 0.000001}`.
    pub pricing_patch: String,
    #[serde(default)]
    pub created_at: Option<String>,
    #[serde(default)]
    pub updated_at: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PricingScope {
    #[default]
    Global,
    Provider,
    ProviderKey,
    VirtualKey,
    VirtualKeyProvider,
    VirtualKeyProviderKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MatchType {
    Exact,
    Wildcard,
}

/// Limits of a model.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    pub id: String,
    /// `*` for any.
    pub model_name: String,
    #[serde(default)]
    pub provider: Option<String>,
    #[serde(default)]
    pub scope: ModelScope,
    #[serde(default)]
    pub scope_id: Option<String>,
    #[serde(default)]
    pub calendar_aligned: bool,
    #[serde(default)]
    pub budget_id: Option<String>,
    #[serde(default)]
    pub budget_ids: Vec<String>,
    #[serde(default)]
    pub rate_limit_id: Option<String>,
    #[serde(default)]
    pub rate_limit_ids: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelScope {
    #[default]
    Global,
    VirtualKey,
    /// Enterprise.
    User,
}

/// Limits of a whole provider.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderLimits {
    pub name: String,
    #[serde(default)]
    pub budget_id: Option<String>,
    #[serde(default)]
    pub rate_limit_id: Option<String>,
}

const fn yes() -> bool {
    true
}

const fn one() -> f64 {
    1.0
}
