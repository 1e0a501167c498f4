//! Requests and tokens per window, and requests at once.
//!
//! In: rate limits as the configuration states them. Out: [`RateLimitPlan`]s for `Tables::build`.
//! Requests are taken when a call is admitted and given back if it fails, so the figure admitted is
//! exact; tokens are charged from the answer (soft) or reserved from the estimate (strict).

use super::budgets::Seed;
use super::limits::Enforcement;
use super::windows::Window;

/// The rate limits of one owner under one id. Absent parts do not limit.
#[derive(Debug, Clone, Default)]
pub struct RateLimitPlan {
    pub id: Box<str>,
    pub requests: Option<Rate>,
    pub tokens: Option<Rate>,
    /// Most requests in flight at a time.
    pub concurrent: Option<u64>,
}

/// So many per window.
#[derive(Debug, Clone)]
pub struct Rate {
    pub max: u64,
    pub window: Window,
    /// Only tokens can be soft.
    pub enforcement: Enforcement,
    pub seed: Seed,
}
