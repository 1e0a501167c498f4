//! A checked configuration becomes law: tables of governance, rules, catalogue and prices.
//!
//! In: a [`Snapshot`], what the process remembers of the ones before ([`Clerk`]), and now. Out: the
//! same snapshot with all that a request looks at. Usage goes on, a changed virtual key's old value
//! stays good for its grace period, and the texts of virtual keys are forgotten. Belongs to the
//! control thread. Never: called on the path of a request.

use crate::config::fault::{Faults, Path};
use crate::config::file_governance::Enforcement;
use crate::config::{Governance, Snapshot, plan_governance, plan_routes};
use crate::govern::prices::Prices;
use crate::govern::virtual_keys::Digest;
use crate::govern::{Ledger, Plan, Tables};
use crate::provider::Provider;
use crate::route::{self, Catalogue, Fleet, Routes, Rules};
use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What governs requests: the tables, and the prices that budgets are charged by.
#[derive(Debug, Default)]
pub struct Law {
    pub tables: Tables,
    pub prices: Prices,
    /// A budget is enforced strictly: what a request may come to has to be estimated.
    pub strict: bool,
}

/// What outlives a snapshot: the counters, and the values that virtual keys had.
#[derive(Debug)]
pub struct Clerk {
    ledger: Ledger,
    keys: HashMap<Box<str>, Value>,
}

/// The digest of a virtual key, and the one before with the time until which it is good.
#[derive(Debug, Clone, Copy)]
struct Value {
    now: Digest,
    before: Option<(Digest, i64)>,
}

impl Default for Clerk {
    fn default() -> Self {
        Self { ledger: Ledger::in_memory(), keys: HashMap::new() }
    }
}

impl Clerk {
    /// Puts the configuration in force: builds what requests look at.
    ///
    /// # Errors
    /// What [`check`] has found before.
    pub fn enact(&mut self, snapshot: &mut Snapshot, now: i64) -> Result<(), Faults> {
        let mut faults = Faults::default();
        let prices = Prices::shipped();
        let rules = rules(snapshot, &mut faults);
        let known = prices.iter();
        let providers = snapshot.providers.iter().map(|provider| &**provider);
        let catalogue = Catalogue::build(providers, known);
        let mut plan = plan_governance::plan(snapshot, now, &mut faults);
        let before = self.keys.clone();
        self.rotate(&mut plan, snapshot.client.vk_rotation_cooldown, now);
        let law = if governs(&plan) {
            tables(&plan, &mut self.ledger, now, &mut faults).map(|tables| {
                let overrides = plan_routes::overrides(&snapshot.governance, &mut faults);
                let strict = is_strict(snapshot);
                Law { tables, prices: prices.overridden(overrides), strict }
            })
        } else {
            None
        };
        if !faults.is_empty() {
            self.keys = before;
            return Err(faults);
        }
        snapshot.routes = Routes { rules, catalogue };
        snapshot.law = law;
        // Nothing reads it any more, and it holds the texts of virtual keys.
        snapshot.governance = Governance::default();
        Ok(())
    }

    /// A value that changed since the last configuration stays good for the grace period.
    fn rotate(&mut self, plan: &mut Plan, grace: Duration, now: i64) {
        let grace = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let mut keys = HashMap::with_capacity(plan.virtual_keys.len());
        for key in &mut plan.virtual_keys {
            let before = match self.keys.get(&key.id) {
                Some(known) if known.now != key.digest && grace > 0 => {
                    Some((known.now, now.saturating_add(grace)))
                }
                Some(known) => known.before.filter(|(_, until)| *until > now),
                None => None,
            };
            key.previous = before;
            keys.insert(key.id.clone(), Value { now: key.digest, before });
        }
        self.keys = keys;
    }
}

/// Checks what [`Clerk::enact`] is going to build, and throws it away.
pub fn check(snapshot: &Snapshot, faults: &mut Faults) {
    let now = unix_ms();
    rules(snapshot, faults);
    plan_routes::overrides(&snapshot.governance, faults);
    let plan = plan_governance::plan(snapshot, now, faults);
    if faults.is_empty() {
        tables(&plan, &mut Ledger::in_memory(), now, faults);
    }
}

/// Now, as governance counts time.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Whether there is anything to hold a request against.
fn governs(plan: &Plan) -> bool {
    plan.enforce_auth
        || plan.allow_direct_keys
        || !plan.virtual_keys.is_empty()
        || !plan.providers.is_empty()
        || !plan.models.is_empty()
}

fn is_strict(snapshot: &Snapshot) -> bool {
    let governance = &snapshot.governance;
    let configs = governance.virtual_keys.iter().flat_map(|key| &key.provider_configs);
    let own = governance.virtual_keys.iter().map(|key| &key.budgets);
    let own = own.chain(configs.map(|config| &config.budgets));
    let own = own.chain(governance.teams.iter().map(|team| &team.budgets));
    let own = own.chain(governance.customers.iter().map(|customer| &customer.budgets));
    let mut all = own.flatten().chain(&governance.budgets);
    all.any(|budget| budget.enforcement == Enforcement::Strict)
}

fn tables(plan: &Plan, ledger: &mut Ledger, now: i64, faults: &mut Faults) -> Option<Tables> {
    Tables::build(plan, ledger, now)
        .map_err(|found| {
            for fault in found {
                faults.push(&path_of(&fault.path), fault.message);
            }
        })
        .ok()
}

fn rules(snapshot: &Snapshot, faults: &mut Faults) -> Rules {
    let planned = plan_routes::rules(&snapshot.governance, faults);
    let (places, plans): (Vec<usize>, Vec<_>) = planned.into_iter().unzip();
    Rules::build(plans, snapshot.client.routing_chain_max_depth).unwrap_or_else(|found| {
        for fault in found {
            faults.push(&rule_path(&fault, &places), fault.message);
        }
        Rules::default()
    })
}

/// `routing_rules[i]` counts the enabled rules only; the file counts all.
fn rule_path(fault: &route::Fault, places: &[usize]) -> Path {
    let root = Path::root().key("governance").key("routing_rules");
    let inner = fault.path.strip_prefix("routing_rules[").and_then(|rest| rest.split_once(']'));
    let Some((at, field)) = inner else { return root };
    let place = at.parse::<usize>().ok().and_then(|at| places.get(at));
    let path = place.map_or_else(|| root.clone(), |place| root.index(*place));
    match field.trim_start_matches('.') {
        "" => path,
        field => path.key(field),
    }
}

/// `virtual_keys[3].team_id`, below `governance`.
fn path_of(text: &str) -> Path {
    let mut path = Path::root().key("governance");
    for step in text.split('.') {
        let (name, indices) = step.split_once('[').unwrap_or((step, ""));
        path = path.key(name);
        for index in indices.split(['[', ']']).filter_map(|index| index.parse().ok()) {
            path = path.index(index);
        }
    }
    path
}

impl Fleet for super::Providers {
    fn provider(&self, name: &str) -> Option<&Provider> {
        self.get(name).map(|provider| &**provider)
    }
}
