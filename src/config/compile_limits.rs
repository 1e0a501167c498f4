//! The budgets and rate limits of an owner, gathered from the three places where a file may have
//! them: at the owner, by id from the owner, and in the lists with the owner's id.
//!
//! In: the records. Out: the limits of one owner as `govern` takes them. Never: leaves one out: a
//! record that cannot be is a fault.

use crate::config::fault::{Faults, Path};
use crate::config::file_governance::{
    Budget, Enforcement, Governance, Metric, OneId, OverrideMode, RateLimit,
};
use crate::govern::budgets::{BudgetPlan, Override, Seed, from_dollars};
use crate::govern::limits;
use crate::govern::plan::LimitsPlan;
use crate::govern::rate_limits::{Rate, RateLimitPlan};
use crate::govern::windows::Window;
use std::borrow::Cow;
use std::collections::HashMap;

/// Where an owner has its limits.
pub(super) struct Owner<'r> {
    pub path: Path,
    /// `calendar_aligned`.
    pub aligned: bool,
    pub inline: &'r [Budget],
    pub budget_ids: Vec<&'r String>,
    pub rate_limit_ids: Vec<&'r String>,
    pub inline_rates: Option<&'r RateLimit>,
    /// As budgets of the list may name it.
    pub whose: Option<(Whose, &'r str)>,
}

/// All of them, found by their ids and by whose they say they are.
pub(super) struct LimitRecords<'r> {
    governance: &'r Governance,
    /// Places in the list of budgets, in its order.
    budgets: HashMap<&'r str, Vec<usize>>,
    owned: HashMap<(Whose, Cow<'r, str>), Vec<usize>>,
    rate_limits: HashMap<&'r str, Vec<usize>>,
}

/// The kinds of owner that a budget of the list can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    VirtualKey,
    ProviderConfig,
    ModelConfig,
    Customer,
    Team,
}

/// One counter's part of a rate limit.
struct Part<'r> {
    field: &'static str,
    max: Option<u64>,
    duration: Option<&'r String>,
    used: u64,
    last_reset: Option<&'r String>,
}

impl<'r> LimitRecords<'r> {
    /// Looks through the lists once: there may be tens of thousands of each.
    pub(super) fn new(governance: &'r Governance) -> Self {
        let mut records = Self {
            governance,
            budgets: HashMap::new(),
            owned: HashMap::new(),
            rate_limits: HashMap::new(),
        };
        for (at, budget) in governance.budgets.iter().enumerate() {
            records.budgets.entry(&budget.id).or_default().push(at);
            let config = budget.provider_config_id.as_ref().map(|id| match id {
                OneId::Text(text) => Cow::Borrowed(text.as_str()),
                OneId::Number(number) => Cow::Owned(number.to_string()),
            });
            let named = |id: &'r Option<String>| id.as_deref().map(Cow::Borrowed);
            let owners = [
                (Whose::VirtualKey, named(&budget.virtual_key_id)),
                (Whose::ProviderConfig, config),
                (Whose::ModelConfig, named(&budget.model_config_id)),
                (Whose::Customer, named(&budget.customer_id)),
                (Whose::Team, named(&budget.team_id)),
            ];
            for (whose, id) in owners {
                if let Some(id) = id {
                    records.owned.entry((whose, id)).or_default().push(at);
                }
            }
        }
        for (at, rates) in governance.rate_limits.iter().enumerate() {
            records.rate_limits.entry(&rates.id).or_default().push(at);
        }
        records
    }

    pub(super) fn of(&self, owner: &Owner<'_>, faults: &mut Faults) -> LimitsPlan {
        let root = Path::root().key("governance");
        let mut limits = LimitsPlan::default();
        let own = owner.whose.and_then(|(whose, id)| self.owned.get(&(whose, Cow::Borrowed(id))));
        let by_id = owner.budget_ids.iter().filter_map(|id| self.budgets.get(id.as_str()));
        let list = &self.governance.budgets;
        let mine = in_order(own.into_iter().chain(by_id)).into_iter();
        let mine = mine.filter_map(|at| Some((root.key("budgets").index(at), list.get(at)?)));
        let inline = owner.inline.iter().enumerate();
        let inline = inline.map(|(at, budget)| (owner.path.key("budgets").index(at), budget));
        for (path, budget) in mine.chain(inline) {
            limits.budgets.extend(budget_plan(budget, owner.aligned, &path, faults));
        }
        let by_id = owner.rate_limit_ids.iter().filter_map(|id| self.rate_limits.get(id.as_str()));
        let list = &self.governance.rate_limits;
        let mine = in_order(by_id).into_iter();
        let mine = mine.filter_map(|at| Some((root.key("rate_limits").index(at), list.get(at)?)));
        let inline = owner.inline_rates.map(|rates| (owner.path.key("rate_limit"), rates));
        for (path, rates) in mine.chain(inline) {
            limits.rate_limits.extend(rate_plan(rates, owner.aligned, &path, faults));
        }
        limits
    }
}

/// Each place once.
fn in_order<'p>(places: impl Iterator<Item = &'p Vec<usize>>) -> Vec<usize> {
    let mut places: Vec<usize> = places.flatten().copied().collect();
    places.sort_unstable();
    places.dedup();
    places
}

fn enforcement(stated: Enforcement) -> limits::Enforcement {
    match stated {
        Enforcement::Soft => limits::Enforcement::Soft,
        Enforcement::Strict => limits::Enforcement::Strict,
    }
}

fn budget_plan(
    budget: &Budget,
    aligned: bool,
    path: &Path,
    faults: &mut Faults,
) -> Option<BudgetPlan> {
    let aligned = budget.calendar_aligned.unwrap_or(aligned);
    let quarter = budget.reset_config.as_ref().and_then(|config| config.quarter_start_month);
    let window = match &budget.reset_duration {
        Some(text) => window(text, aligned, quarter, &path.key("reset_duration"), faults)?,
        None => Window::Never,
    };
    let last_reset = time(budget.last_reset.as_ref(), &path.key("last_reset"), faults)?;
    let max = dollars(budget.max_limit, &path.key("max_limit"), faults)?;
    let used = dollars(budget.current_usage, &path.key("current_usage"), faults)?;
    let extra = match &budget.override_ {
        None => None,
        Some(more) => {
            let amount = dollars(more.amount, &path.key("override").key("amount"), faults)?;
            let until = match (more.mode, more.cycles, last_reset) {
                (OverrideMode::Forever, _, _) => None,
                (OverrideMode::Cycles, Some(cycles), Some(from)) => {
                    window.end_of_cycle(from, from, cycles)
                }
                (OverrideMode::Cycles, _, _) => {
                    let message = "cycles are counted from `last_reset`: both must be given";
                    faults.push(&path.key("override"), message);
                    return None;
                }
            };
            Some(Override { amount, until })
        }
    };
    let enforcement = enforcement(budget.enforcement);
    let seed = Seed { used, last_reset };
    Some(BudgetPlan { id: budget.id.as_str().into(), max, window, enforcement, extra, seed })
}

fn rate_plan(
    limit: &RateLimit,
    aligned: bool,
    path: &Path,
    faults: &mut Faults,
) -> Option<RateLimitPlan> {
    let aligned = limit.calendar_aligned.unwrap_or(aligned);
    let tokens = Part {
        field: "token_reset_duration",
        max: limit.token_max_limit,
        duration: limit.token_reset_duration.as_ref(),
        used: limit.token_current_usage,
        last_reset: limit.token_last_reset.as_ref(),
    };
    let requests = Part {
        field: "request_reset_duration",
        max: limit.request_max_limit,
        duration: limit.request_reset_duration.as_ref(),
        used: limit.request_current_usage,
        last_reset: limit.request_last_reset.as_ref(),
    };
    let single = Part {
        field: "reset_duration",
        max: limit.max_limit,
        duration: limit.reset_duration.as_ref(),
        used: limit.current_usage,
        last_reset: limit.last_reset.as_ref(),
    };
    let (tokens, requests) = match limit.metric {
        None => (tokens, requests),
        Some(Metric::Tokens) => (single, requests),
        Some(Metric::Requests) => (tokens, single),
    };
    // Requests are counted one by one as they come: there is nothing to estimate.
    let tokens = rate(&tokens, enforcement(limit.enforcement), aligned, path, faults)?;
    let requests = rate(&requests, limits::Enforcement::Strict, aligned, path, faults)?;
    Some(RateLimitPlan {
        id: limit.id.as_str().into(),
        requests,
        tokens,
        concurrent: limit.concurrent_request_max_limit,
    })
}

/// `None` where it is faulty; `Some(None)` where it does not limit.
#[expect(clippy::option_option, reason = "a fault and an absence are different things")]
fn rate(
    part: &Part<'_>,
    enforcement: limits::Enforcement,
    aligned: bool,
    path: &Path,
    faults: &mut Faults,
) -> Option<Option<Rate>> {
    let Some(max) = part.max else { return Some(None) };
    let field = path.key(part.field);
    let Some(duration) = part.duration else {
        faults.push(&field, "is missing: in which time?");
        return None;
    };
    let window = window(duration, aligned, None, &field, faults)?;
    let last_reset = time(part.last_reset, &field, faults)?;
    let seed = Seed { used: part.used, last_reset };
    Some(Some(Rate { max, window, enforcement, seed }))
}

fn window(
    text: &str,
    aligned: bool,
    quarter: Option<u8>,
    path: &Path,
    faults: &mut Faults,
) -> Option<Window> {
    let span = text.parse().map_err(|bad| faults.push(path, format!("{bad}, not `{text}`")));
    span.ok().map(|span| Window::new(span, aligned, quarter.unwrap_or(1)))
}

#[expect(clippy::option_option, reason = "a fault and an absence are different things")]
fn time(text: Option<&String>, path: &Path, faults: &mut Faults) -> Option<Option<i64>> {
    let Some(text) = text else { return Some(None) };
    let Ok(at) = text.parse::<jiff::Timestamp>() else {
        faults.push(path, "is no RFC 3339 time");
        return None;
    };
    Some(Some(at.as_millisecond()))
}

fn dollars(dollars: f64, path: &Path, faults: &mut Faults) -> Option<u64> {
    let amount = from_dollars(dollars);
    if amount.is_none() {
        faults.push(path, "is no amount of dollars");
    }
    amount
}
