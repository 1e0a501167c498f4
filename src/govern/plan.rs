//! What governance is built from: plain values, as `config::check` reads them from a file or store.
//!
//! In: nothing of its own. Out: a [`Plan`] for `Tables::build`. Never: a default that the
//! configuration's `version` decides: empty allow-lists mean nothing is allowed, `*` is all.

use super::budgets::BudgetPlan;
use super::rate_limits::RateLimitPlan;
use super::virtual_keys::Digest;
use std::fmt;

/// Everything that governs requests.
#[derive(Debug, Default)]
pub struct Plan {
    /// `client.enforce_auth_on_inference`.
    pub enforce_auth: bool,
    /// `client.allow_direct_keys`.
    pub allow_direct_keys: bool,
    /// `client.required_headers`: lower-case names.
    pub required_headers: Vec<(Box<str>, HeaderRule)>,
    /// Names of all configured providers, so that `provider/model` entries are understood.
    pub known_providers: Vec<Box<str>>,
    /// `governance.providers`: limits of a provider, whoever calls.
    pub providers: Vec<(Box<str>, LimitsPlan)>,
    /// `governance.model_configs`.
    pub models: Vec<ModelPlan>,
    pub customers: Vec<CustomerPlan>,
    pub teams: Vec<TeamPlan>,
    pub virtual_keys: Vec<VirtualKeyPlan>,
}

/// What a required header must be.
#[derive(Debug, Clone)]
pub enum HeaderRule {
    Present,
    /// Exactly this (`env.X`); `None` (the variable is not set) is never met.
    Equals(Option<Box<str>>),
    /// The whole value matches this regular expression.
    Matches(Box<str>),
}

/// The limits of one owner.
#[derive(Debug, Default)]
pub struct LimitsPlan {
    pub budgets: Vec<BudgetPlan>,
    pub rate_limits: Vec<RateLimitPlan>,
}

#[derive(Debug)]
pub struct ModelPlan {
    pub id: Box<str>,
    /// `None`: every model (`*`).
    pub model: Option<Box<str>>,
    pub provider: Option<Box<str>>,
    pub scope: ModelScope,
    pub limits: LimitsPlan,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelScope {
    Global,
    /// By id.
    VirtualKey(Box<str>),
}

#[derive(Debug)]
pub struct CustomerPlan {
    pub id: Box<str>,
    pub name: Box<str>,
    pub limits: LimitsPlan,
}

#[derive(Debug)]
pub struct TeamPlan {
    pub id: Box<str>,
    pub name: Box<str>,
    /// By id.
    pub customer: Option<Box<str>>,
    pub limits: LimitsPlan,
}

#[derive(Debug)]
pub struct VirtualKeyPlan {
    pub id: Box<str>,
    pub name: Box<str>,
    pub digest: Digest,
    /// The value before the last rotation, and until when it is good (Unix milliseconds).
    pub previous: Option<(Digest, i64)>,
    pub active: bool,
    /// Unix milliseconds.
    pub expires_at: Option<i64>,
    pub allow_all_providers: bool,
    pub providers: Vec<ProviderConfigPlan>,
    /// Team or customer by id, not both.
    pub team: Option<Box<str>>,
    pub customer: Option<Box<str>>,
    pub limits: LimitsPlan,
    pub disable_content_logging: Option<bool>,
}

#[derive(Debug)]
pub struct ProviderConfigPlan {
    pub id: Box<str>,
    pub provider: Box<str>,
    /// `None`: allowed, never drawn.
    pub weight: Option<f64>,
    /// Exact names, `*`, `regex:…`; empty is none.
    pub allowed_models: Vec<Box<str>>,
    pub blacklisted_models: Vec<Box<str>>,
    /// Ids, `*`; empty is none.
    pub key_ids: Vec<Box<str>>,
    pub limits: LimitsPlan,
}

/// Something in a plan that cannot be, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Below `governance`: `virtual_keys[3].team_id`.
    pub path: String,
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl Fault {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}
