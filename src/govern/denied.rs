//! Why a call was refused, in the words and figures that its sender needs.
//!
//! In: the rule that was broken. Out: HTTP status, error type (those of Bifrost's, reference
//! §2.6), a message that names owner, limit, usage and reset, and whether and when a retry can
//! help. Never: renders a body; `dialect::errors` does, in the client's language.

use super::limits::{Limit, Metric, Owner};
use super::windows;

/// A retry that would have to wait longer than SDKs do is no help.
const PATIENCE_S: u64 = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    VirtualKeyRequired,
    /// Unknown, inactive or expired.
    AccessBlocked,
    ProviderBlocked,
    ModelBlocked,
    BudgetExceeded,
    TokenLimited,
    RequestLimited,
    /// Too many at once.
    RateLimited,
    MissingRequiredHeaders,
    /// A strict budget spends faster than the journal is written.
    LedgerBehind,
}

impl Reason {
    /// The error's `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VirtualKeyRequired => "virtual_key_required",
            Self::AccessBlocked => "access_blocked",
            Self::ProviderBlocked => "provider_blocked",
            Self::ModelBlocked => "model_blocked",
            Self::BudgetExceeded => "budget_exceeded",
            Self::TokenLimited => "token_limited",
            Self::RequestLimited => "request_limited",
            Self::RateLimited => "rate_limited",
            Self::MissingRequiredHeaders => "missing_required_headers",
            Self::LedgerBehind => "ledger_behind",
        }
    }

    /// HTTP.
    pub fn status(self) -> u16 {
        match self {
            Self::MissingRequiredHeaders => 400,
            Self::VirtualKeyRequired => 401,
            Self::BudgetExceeded => 402,
            Self::AccessBlocked | Self::ProviderBlocked | Self::ModelBlocked => 403,
            Self::TokenLimited | Self::RequestLimited | Self::RateLimited => 429,
            Self::LedgerBehind => 503,
        }
    }
}

/// A limit in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    pub used: u64,
    /// What did not fit beside it; 0 where the limit was reached already.
    pub asked: u64,
    pub max: u64,
    /// Unix milliseconds; `None` where waiting does not help.
    pub resets_at: Option<i64>,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    pub reason: Reason,
    pub message: String,
    /// For `retry-after`: whole seconds, rounded up.
    pub retry_after_s: Option<u64>,
    /// For `x-should-retry`.
    pub should_retry: bool,
    /// The limit that was reached, with its id.
    pub limit: Option<(Box<str>, Excess)>,
}

impl Denied {
    pub(super) fn because(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            retry_after_s: None,
            should_retry: false,
            limit: None,
        }
    }

    pub(super) fn unjournaled(owner: &Owner) -> Self {
        let message = format!(
            "the strict limit of {} `{}` is spent faster than it can be recorded; retry at once",
            owner.kind, owner.name
        );
        Self {
            reason: Reason::LedgerBehind,
            message,
            retry_after_s: Some(1),
            should_retry: true,
            limit: None,
        }
    }

    pub(super) fn excess(reason: Reason, limit: &Limit, excess: Excess, now: i64) -> Self {
        let retry_after_s = if limit.metric == Metric::Concurrent {
            Some(1)
        } else {
            excess.resets_at.map(|at| u64::try_from(at - now).unwrap_or(0).div_ceil(1_000))
        };
        let patient = retry_after_s.is_some_and(|s| s <= PATIENCE_S);
        Self {
            reason,
            message: message(reason, limit, excess),
            retry_after_s,
            should_retry: patient && reason != Reason::BudgetExceeded,
            limit: Some((limit.name.id.clone(), excess)),
        }
    }
}

fn message(reason: Reason, limit: &Limit, excess: Excess) -> String {
    let (kind, name) = (limit.name.owner.kind, &limit.name.owner.name);
    let (used, max) = (limit.amount(excess.used), limit.amount(excess.max));
    let (what, unit) = match limit.metric {
        Metric::Cost => ("budget", "dollars"),
        Metric::Tokens => ("token limit", "tokens"),
        Metric::Requests => ("request limit", "requests"),
        Metric::Concurrent => {
            return format!(
                "{}: {kind} `{name}` has {used} of {max} requests in flight",
                reason.as_str()
            );
        }
    };
    let per = limit.window.span().map_or_else(String::new, |span| format!(" per {span}"));
    let standing = if excess.used >= excess.max {
        format!("{used} >= {max} {unit}{per}")
    } else {
        let asked = limit.amount(excess.asked);
        format!("{used} of {max} {unit}{per} used or reserved, this request may take {asked}")
    };
    let reset = match excess.resets_at {
        Some(at) => format!("resets at {}", windows::rfc3339(at)),
        None if excess.asked > excess.max => "more than the whole limit".to_owned(),
        None => "does not reset".to_owned(),
    };
    format!("{}: {what} of {kind} `{name}`: {standing}; {reset}", reason.as_str())
}
