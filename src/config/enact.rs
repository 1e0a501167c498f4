//! A checked configuration becomes law: tables of governance, rules, catalogue and prices.
//!
//! In: a [`Snapshot`], what the process remembers of the ones before ([`Clerk`]), and now. Out: the
//! same snapshot with all that a request looks at. Usage goes on, a changed virtual key's old value
//! stays good for its grace period, and the texts of virtual keys are forgotten. Belongs to the
//! control thread. Never: called on the path of a request.

use crate::config::compile::{Compiled, compile_amended};
use crate::config::fault::Faults;
use crate::config::file_governance::Enforcement;
use crate::config::{Governance, Snapshot};
use crate::govern::price_sheet::Sheet;
use crate::govern::prices::Prices;
use crate::govern::turnstile::Turnstile;
use crate::govern::virtual_keys::Digest;
use crate::govern::{Ledger, Plan, Tables};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What governs requests: the tables, and the prices that budgets are charged by.
#[derive(Debug)]
pub struct Law {
    pub tables: Arc<Tables>,
    pub prices: Prices,
    /// A limit is enforced strictly: what a request may come to has to be estimated.
    pub strict: bool,
}

/// What outlives a snapshot: the counters, and the values that virtual keys had.
#[derive(Debug)]
pub struct Clerk {
    pub ledger: Ledger,
    /// The prices that were fetched last, for configurations that want any.
    pub sheet: Option<Sheet>,
    keys: HashMap<Box<str>, KeyValue>,
    turnstiles: HashMap<Box<str>, Arc<Turnstile>>,
}

/// The digest of a virtual key, and the one before with the time until which it is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyValue {
    pub now: Digest,
    /// Unix milliseconds.
    pub before: Option<(Digest, i64)>,
}

/// What became of a virtual key, by its id; `None`: it is gone.
pub type KeyNews = (Box<str>, Option<KeyValue>);

impl Default for Clerk {
    fn default() -> Self {
        Self::new(Ledger::in_memory(), [])
    }
}

impl Clerk {
    /// With what was known before.
    pub fn new(ledger: Ledger, keys: impl IntoIterator<Item = (Box<str>, KeyValue)>) -> Self {
        Self { ledger, keys: keys.into_iter().collect(), turnstiles: HashMap::new(), sheet: None }
    }

    /// Builds what requests look at. Nothing may be asked for by it before the journal, where there
    /// is one, has been told of the ledger and of the keys that are given back.
    ///
    /// # Errors
    /// What [`check`] has found before.
    pub fn enact(&mut self, snapshot: &mut Snapshot, now: i64) -> Result<Vec<KeyNews>, Faults> {
        let Self { ledger, keys, turnstiles, sheet } = self;
        let mut values = HashMap::new();
        let grace = snapshot.client.vk_rotation_cooldown;
        let shipped = Prices::shipped();
        let prices = match sheet.as_ref().filter(|_| snapshot.pricing.url.is_some()) {
            Some(sheet) => shipped.with(sheet.clone()),
            None => shipped,
        };
        let mut rotated = |plan: &mut Plan| values = rotate(keys, plan, grace, now);
        let compiled = compile_amended(snapshot, ledger, prices, now, &mut rotated)?;
        let Compiled { tables, routes, prices } = compiled;
        let known = std::mem::replace(keys, values);
        let gone = known.keys().filter(|id| !keys.contains_key(*id));
        let changed = keys.iter().filter(|(id, value)| known.get(*id) != Some(value));
        let news = changed.map(|(id, value)| (id.clone(), Some(*value)));
        let news = news.chain(gone.map(|id| (id.clone(), None))).collect();
        let strict = is_strict(&snapshot.governance);
        snapshot.law = governs(snapshot).then_some(Law { tables, prices, strict });
        snapshot.routes = routes;
        let counted = snapshot.providers.iter().filter(|provider| provider.queue.is_some());
        snapshot.turnstiles = counted
            .map(|provider| {
                let turnstile = turnstiles.entry(provider.name.clone()).or_default();
                (provider.name.clone(), Arc::clone(turnstile))
            })
            .collect();
        // Nothing reads it any more, and it holds the texts of virtual keys.
        snapshot.governance = Governance::default();
        Ok(news)
    }
}

/// A value that changed since the last configuration stays good for the grace period.
fn rotate(
    known: &HashMap<Box<str>, KeyValue>,
    plan: &mut Plan,
    grace: Duration,
    now: i64,
) -> HashMap<Box<str>, KeyValue> {
    let grace = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    let keys = plan.virtual_keys.iter_mut();
    keys.map(|key| {
        let before = match known.get(&key.id) {
            Some(known) if known.now != key.digest && grace > 0 => {
                Some((known.now, now.saturating_add(grace)))
            }
            Some(known) => known.before.filter(|(_, until)| *until > now),
            None => None,
        };
        key.previous = before;
        (key.id.clone(), KeyValue { now: key.digest, before })
    })
    .collect()
}

/// Checks what [`Clerk::enact`] is going to build, and throws it away.
pub fn check(snapshot: &Snapshot, faults: &mut Faults) {
    let mut ledger = Ledger::in_memory();
    let built = compile_amended(snapshot, &mut ledger, Prices::default(), unix_ms(), &mut |_| {});
    if let Err(found) = built {
        faults.extend(found);
    }
}

/// Now, as governance counts time.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Whether there is anything to hold a request against.
fn governs(snapshot: &Snapshot) -> bool {
    let Snapshot { client, governance, .. } = snapshot;
    client.enforce_auth
        || client.allow_direct_keys
        || !client.required_headers.is_empty()
        || !governance.virtual_keys.is_empty()
        || !governance.providers.is_empty()
        || !governance.model_configs.is_empty()
}

fn is_strict(governance: &Governance) -> bool {
    let configs = governance.virtual_keys.iter().flat_map(|key| &key.provider_configs);
    let own = governance.virtual_keys.iter().map(|key| &key.budgets);
    let own = own.chain(configs.map(|config| &config.budgets));
    let own = own.chain(governance.teams.iter().map(|team| &team.budgets));
    let own = own.chain(governance.customers.iter().map(|customer| &customer.budgets));
    let mut budgets = own.flatten().chain(&governance.budgets);
    let configs = governance.virtual_keys.iter().flat_map(|key| &key.provider_configs);
    let own = configs.filter_map(|config| config.rate_limit.as_ref());
    let mut rates = own.chain(&governance.rate_limits);
    budgets.any(|budget| budget.enforcement == Enforcement::Strict)
        || rates.any(|rates| rates.enforcement == Enforcement::Strict)
}
