//! One limit of one owner, and what a call holds of it.
//!
//! In: the estimate of a call, and now. Out: a [`Hold`] that is settled from the usage or released,
//! or the refusal with owner, usage, limit and the time of the reset. Never: waits, or blocks
//! another core: the counters are atomics, see [`Counter`].

use super::budgets;
use super::budgets::Override;
use super::counter::{Counter, Held, Short};
use super::denied::{Denied, Excess, Reason};
use super::windows::Window;
use std::fmt;
use std::sync::Arc;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// In nano-dollars.
    Cost,
    Requests,
    Tokens,
    /// Requests in flight; never reset, never journaled.
    Concurrent,
}

impl Metric {
    /// As the journal writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Concurrent => "concurrent",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Cost, Self::Requests, Self::Tokens, Self::Concurrent]
            .into_iter()
            .find(|metric| metric.as_str() == text)
    }
}

/// When a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Enforcement {
    /// Once the limit is spent: the call that crosses it completes, and so do those beside it.
    #[default]
    Soft,
    /// Unless its estimate fits beside everything that is spent and reserved.
    Strict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OwnerKind {
    Provider,
    Model,
    VirtualKeyProvider,
    VirtualKey,
    Team,
    Customer,
}

impl OwnerKind {
    /// As the journal writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Model => "model",
            Self::VirtualKeyProvider => "virtual_key_provider",
            Self::VirtualKey => "virtual_key",
            Self::Team => "team",
            Self::Customer => "customer",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        use OwnerKind::{Customer, Model, Provider, Team, VirtualKey, VirtualKeyProvider};
        [Provider, Model, VirtualKeyProvider, VirtualKey, Team, Customer]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for OwnerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provider => "provider",
            Self::Model => "model",
            Self::VirtualKeyProvider => "provider of the virtual key",
            Self::VirtualKey => "virtual key",
            Self::Team => "team",
            Self::Customer => "customer",
        })
    }
}

/// Who a limit belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    pub kind: OwnerKind,
    pub id: Arc<str>,
    /// For messages.
    pub name: Arc<str>,
}

/// What a call may come to, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Nano-dollars.
    pub cost: u64,
    pub tokens: u64,
}

/// A limit, ready for the path of a request.
#[derive(Debug)]
pub struct Limit {
    pub counter: Arc<Counter>,
    /// Nano-dollars, tokens or requests.
    pub max: u64,
    /// Where rolling windows are counted from, Unix milliseconds.
    pub anchor: i64,
    pub extra: Option<Override>,
    pub window: Window,
    pub metric: Metric,
    pub enforcement: Enforcement,
    /// Whether what is reserved must not outrun the journal.
    pub durable: bool,
    /// Looked at by refusals and logs only.
    pub name: Box<LimitName>,
}

/// Which limit, and whose.
#[derive(Debug)]
pub struct LimitName {
    pub id: Box<str>,
    pub owner: Owner,
}

/// What a call holds of a limit: nothing of a soft one, which is charged afterwards.
pub type Hold = Option<Held>;

impl Limit {
    /// The limit with its override.
    pub fn max_at(&self, now: i64) -> u64 {
        self.max.saturating_add(self.extra.map_or(0, |extra| extra.at(now)))
    }

    /// Used in the window of now, reservations included.
    pub fn used(&self, now: i64) -> u64 {
        self.counter.used(self.window.start(self.anchor, now))
    }

    pub fn has_room(&self, now: i64) -> bool {
        self.used(now) < self.max_at(now)
    }

    /// Of the limit, 0 to 100 and above.
    pub fn percent(&self, now: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        let percent = match (self.used(now) as f64, self.max_at(now) as f64) {
            (used, max) if max > 0.0 => used * 100.0 / max,
            _ => 100.0,
        };
        percent
    }

    /// Lets a call in that may come to `estimate`, or says why not.
    pub fn admit(&self, estimate: &Estimate, now: i64) -> Result<Hold, Box<Denied>> {
        let amount = match (self.metric, self.enforcement) {
            (Metric::Requests | Metric::Concurrent, _) => 1,
            (Metric::Cost, Enforcement::Strict) => estimate.cost,
            (Metric::Tokens, Enforcement::Strict) => estimate.tokens,
            (Metric::Cost | Metric::Tokens, Enforcement::Soft) => {
                return if self.has_room(now) { Ok(None) } else { Err(self.exhausted(now).into()) };
            }
        };
        let start = self.window.start(self.anchor, now);
        match self.counter.reserve(start, amount, self.max_at(now), self.durable) {
            Ok(held) => Ok(Some(held)),
            Err(Short::Full { used }) => Err(self.refuse(amount, used, now).into()),
            Err(Short::Unjournaled) => Err(Denied::unjournaled(&self.name.owner).into()),
        }
    }

    /// The refusal of a limit that has no room at all.
    pub(super) fn exhausted(&self, now: i64) -> Denied {
        self.refuse(0, self.used(now), now)
    }

    fn refuse(&self, asked: u64, used: u64, now: i64) -> Denied {
        let reason = match self.metric {
            Metric::Cost => Reason::BudgetExceeded,
            Metric::Tokens => Reason::TokenLimited,
            Metric::Requests => Reason::RequestLimited,
            Metric::Concurrent => Reason::RateLimited,
        };
        let max = self.max_at(now);
        // A call too large for the whole window will not fit into the next one either.
        let resets_at = (asked <= max).then(|| self.window.end(self.anchor, now)).flatten();
        Denied::excess(reason, self, Excess { used, asked, max, resets_at }, now)
    }

    /// An amount in this limit's unit, for messages.
    pub(super) fn amount(&self, amount: u64) -> String {
        match self.metric {
            Metric::Cost => budgets::text(amount),
            Metric::Tokens | Metric::Requests | Metric::Concurrent => amount.to_string(),
        }
    }
}

/// What a call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Nano-dollars.
    pub cost: u64,
    pub tokens: u64,
    /// Whether it counts as a request: answered, not failed.
    pub answered: bool,
}

impl Limit {
    /// Charges what was spent, and gives the rest of what was held back.
    pub(super) fn settle(&self, hold: Hold, spent: &Spent, now: i64) {
        let actual = match self.metric {
            Metric::Cost => spent.cost,
            Metric::Tokens => spent.tokens,
            Metric::Requests => u64::from(spent.answered),
            Metric::Concurrent => 0,
        };
        match hold {
            Some(held) => self.counter.settle(held, actual),
            None => self.counter.charge(self.window.start(self.anchor, now), actual),
        }
    }

    pub(super) fn release(&self, hold: Hold) {
        if let Some(held) = hold {
            self.counter.release(held);
        }
    }
}
