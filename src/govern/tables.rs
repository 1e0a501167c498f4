//! The tables of governance: immutable, shared by all workers, built anew for each configuration.
//!
//! In: a [`Plan`], and the [`Ledger`] whose counters go on from the tables before. Out: [`Tables`],
//! or every fault of the plan with its path. Never: touched by a request other than to read.

use super::budgets::{BudgetPlan, Seed};
use super::counter::Counter;
use super::ledger::{CounterId, Ledger, Wanted};
use super::limits::{Enforcement, Limit, LimitName, Metric, Owner, OwnerKind};
use super::model_list::{ModelList, Patterns};
use super::plan::{
    Fault, HeaderRule, LimitsPlan, ModelScope, Plan, ProviderConfigPlan, VirtualKeyPlan,
};
use super::rate_limits::{Rate, RateLimitPlan};
use super::virtual_keys::{
    Digest, Group, KeyIndex, KeyList, Limits, ModelLimits, ProviderGrant, VirtualKey,
};
use super::windows::Window;
use hashbrown::{HashMap, HashSet};
use regex::Regex;
use std::ops::Range;
use std::sync::Arc;

/// Everything that `decide` looks at.
#[derive(Debug, Default)]
pub struct Tables {
    pub(super) enforce_auth: bool,
    pub(super) allow_direct_keys: bool,
    pub(super) required: Box<[(Box<str>, Required)]>,
    pub(super) index: KeyIndex,
    pub(super) keys: Box<[VirtualKey]>,
    pub(super) providers: HashMap<Box<str>, Limits>,
    /// Global limits of a model, by its name.
    pub(super) models: HashMap<Box<str>, Box<[ModelLimits]>>,
    /// Those of every model.
    pub(super) any_model: Box<[ModelLimits]>,
    /// All limits, those of one owner side by side.
    pub(super) limits: Box<[Limit]>,
}

#[derive(Debug)]
pub(super) enum Required {
    Present,
    /// Compared in constant time: it may be a secret.
    Equals(Option<Digest>),
    Matches(Arc<Regex>),
}

impl Tables {
    /// `now` in Unix milliseconds: where new counters begin.
    pub fn build(plan: &Plan, ledger: &mut Ledger, now: i64) -> Result<Self, Vec<Fault>> {
        let mut build = Build {
            known: plan.known_providers.iter().map(|name| &**name).collect(),
            patterns: Patterns::default(),
            lists: HashMap::new(),
            providers: HashMap::new(),
            limits: Vec::new(),
            wanted: Vec::new(),
            unset: Arc::default(),
            faults: Vec::new(),
        };
        let mut tables = build.tables(plan);
        if !build.faults.is_empty() {
            return Err(build.faults);
        }
        // Only now: a plan that is refused must leave the counters as they are.
        let (mut limits, wanted) = (build.limits, build.wanted);
        for (limit, (id, wanted)) in limits.iter_mut().zip(wanted) {
            (limit.counter, limit.anchor) = ledger.counter(&id, &wanted, now);
            limit.durable &= ledger.is_journaled();
        }
        tables.limits = limits.into();
        Ok(tables)
    }

    pub fn virtual_keys(&self) -> &[VirtualKey] {
        &self.keys
    }

    /// The limits of one owner: rate limits, then budgets.
    pub fn limits_of(&self, limits: Limits) -> &[Limit] {
        self.limits_in(limits.all())
    }

    pub(super) fn limit(&self, at: u32) -> Option<&Limit> {
        self.limits.get(usize::try_from(at).ok()?)
    }

    pub(super) fn limits_in(&self, range: Range<u32>) -> &[Limit] {
        let place = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        self.limits.get(place(range.start)..place(range.end)).unwrap_or_default()
    }
}

struct Build<'p> {
    known: HashSet<&'p str>,
    patterns: Patterns,
    lists: HashMap<&'p [Box<str>], Arc<ModelList>>,
    providers: HashMap<&'p str, Arc<str>>,
    limits: Vec<Limit>,
    /// The counters of `limits`, in their order.
    wanted: Vec<(CounterId, Wanted)>,
    unset: Arc<Counter>,
    faults: Vec<Fault>,
}

type Groups<'p> = HashMap<&'p str, Arc<Group>>;

impl<'p> Build<'p> {
    fn tables(&mut self, plan: &'p Plan) -> Tables {
        let mut customers = Groups::new();
        for (at, customer) in plan.customers.iter().enumerate() {
            let path = format!("customers[{at}]");
            let owner = owner(OwnerKind::Customer, &customer.id, &customer.name);
            let group = self.group(owner, &customer.limits, &path);
            self.once(customers.insert(&customer.id, group).is_none(), &path, &customer.id);
        }
        let (mut teams, mut customer_of) = (Groups::new(), HashMap::new());
        for (at, team) in plan.teams.iter().enumerate() {
            let path = format!("teams[{at}]");
            let owner = owner(OwnerKind::Team, &team.id, &team.name);
            let group = self.group(owner, &team.limits, &path);
            self.once(teams.insert(&team.id, group).is_none(), &path, &team.id);
            if let Some(customer) = self.refer(team.customer.as_deref(), &customers, || {
                (format!("{path}.customer_id"), "customer")
            }) {
                customer_of.insert(&*team.id, customer);
            }
        }
        let mut tables = Tables {
            enforce_auth: plan.enforce_auth,
            allow_direct_keys: plan.allow_direct_keys,
            required: self.required(&plan.required_headers),
            ..Tables::default()
        };
        for (at, (name, limits)) in plan.providers.iter().enumerate() {
            let path = format!("providers[{at}]");
            let limits = self.limits(&owner(OwnerKind::Provider, name, name), limits, &path);
            self.once(tables.providers.insert(name.clone(), limits).is_none(), &path, name);
        }
        let mut scoped = self.models(plan, &mut tables);
        let (mut keys, mut ids) = (Vec::with_capacity(plan.virtual_keys.len()), HashSet::new());
        for (at, key) in plan.virtual_keys.iter().enumerate() {
            let path = format!("virtual_keys[{at}]");
            self.once(ids.insert(&*key.id), &path, &key.id);
            self.digests(key, at, &path, &mut tables.index);
            let team =
                self.refer(key.team.as_deref(), &teams, || (format!("{path}.team_id"), "team"));
            let mut customer = self.refer(key.customer.as_deref(), &customers, || {
                (format!("{path}.customer_id"), "customer")
            });
            if key.team.is_some() && key.customer.is_some() {
                self.fault(&path, "has a team_id and a customer_id; one of them at most");
            }
            if let Some(team) = &team {
                customer = customer_of.get(&*team.id).cloned();
            }
            let models = scoped.remove(&*key.id).unwrap_or_default().into();
            keys.push(self.virtual_key(key, &path, (team, customer), models));
        }
        for id in scoped.keys() {
            self.fault("model_configs", &format!("scope_id `{id}` is no virtual key"));
        }
        tables.keys = keys.into();
        tables
    }

    fn digests(&mut self, key: &VirtualKeyPlan, at: usize, path: &str, index: &mut KeyIndex) {
        let Ok(at) = u32::try_from(at) else {
            return self.fault(path, "too many virtual keys");
        };
        if !index.insert(key.digest, at, None) {
            self.fault(&format!("{path}.value"), "is the value of another virtual key, too");
        }
        let previous = key.previous.filter(|(digest, _)| *digest != key.digest);
        if let Some((digest, until)) = previous
            && !index.insert(digest, at, Some(until))
        {
            self.fault(&format!("{path}.value"), "its previous value is another key's, too");
        }
    }

    fn virtual_key(
        &mut self,
        key: &'p VirtualKeyPlan,
        path: &str,
        (team, customer): (Option<Arc<Group>>, Option<Arc<Group>>),
        models: Box<[ModelLimits]>,
    ) -> VirtualKey {
        let owner = owner(OwnerKind::VirtualKey, &key.id, &key.name);
        let limits = self.limits(&owner, &key.limits, path);
        let configs = key.providers.iter().enumerate();
        let providers: Box<[ProviderGrant]> = configs
            .map(|(at, config)| {
                self.provider_grant(key, config, &format!("{path}.provider_configs[{at}]"))
            })
            .collect();
        for (at, grant) in providers.iter().enumerate() {
            if providers.iter().take(at).any(|before| before.provider == grant.provider) {
                let path = format!("{path}.provider_configs[{at}].provider");
                self.fault(&path, &format!("`{}` stands there twice", grant.provider));
            }
        }
        VirtualKey {
            id: owner.id,
            name: owner.name,
            active: key.active,
            expires_at: key.expires_at,
            allow_all_providers: key.allow_all_providers,
            providers,
            team,
            customer,
            limits,
            models,
            disable_content_logging: key.disable_content_logging,
        }
    }

    fn provider_grant(
        &mut self,
        key: &VirtualKeyPlan,
        config: &'p ProviderConfigPlan,
        path: &str,
    ) -> ProviderGrant {
        if config.weight.is_some_and(|weight| !weight.is_finite() || weight < 0.0) {
            self.fault(&format!("{path}.weight"), "must be null, 0 or above");
        }
        let id = format!("{}/{}", key.id, config.provider);
        let name = format!("{}/{}", key.name, config.provider);
        let owner = owner(OwnerKind::VirtualKeyProvider, &id, &name);
        let all = config.key_ids.iter().any(|id| **id == *"*");
        let keys = if all { KeyList::All } else { KeyList::Only(config.key_ids.clone().into()) };
        ProviderGrant {
            id: config.id.clone(),
            provider: Arc::clone(
                self.providers
                    .entry(&config.provider)
                    .or_insert_with(|| Arc::from(&*config.provider)),
            ),
            weight: config.weight,
            allowed: self.list(&config.allowed_models, path, "allowed_models"),
            blocked: self.list(&config.blacklisted_models, path, "blacklisted_models"),
            keys,
            limits: self.limits(&owner, &config.limits, path),
        }
    }

    fn list(&mut self, entries: &'p [Box<str>], path: &str, field: &str) -> Arc<ModelList> {
        if let Some(list) = self.lists.get(entries) {
            return Arc::clone(list);
        }
        let known = &self.known;
        let names = entries.iter().map(|entry| &**entry);
        match ModelList::compile(names, &|name| known.contains(name), &mut self.patterns) {
            Ok(list) => {
                let list = Arc::new(list);
                self.lists.insert(entries, Arc::clone(&list));
                list
            }
            Err((at, error)) => {
                self.fault(&format!("{path}.{field}[{at}]"), &error.to_string());
                Arc::default()
            }
        }
    }

    /// Puts the global ones into the tables and gives back those of virtual keys.
    fn models(
        &mut self,
        plan: &'p Plan,
        tables: &mut Tables,
    ) -> HashMap<&'p str, Vec<ModelLimits>> {
        let mut scoped: HashMap<&str, Vec<ModelLimits>> = HashMap::new();
        let (mut named, mut any): (HashMap<Box<str>, Vec<_>>, Vec<_>) = Default::default();
        for (at, model) in plan.models.iter().enumerate() {
            let name = match (&model.provider, &model.model) {
                (Some(provider), model) => {
                    format!("{provider}/{}", model.as_deref().unwrap_or("*"))
                }
                (None, model) => model.as_deref().unwrap_or("*").to_owned(),
            };
            let owner = owner(OwnerKind::Model, &model.id, &name);
            let limits = ModelLimits {
                model: model.model.clone(),
                provider: model.provider.clone(),
                limits: self.limits(&owner, &model.limits, &format!("model_configs[{at}]")),
            };
            match (&model.scope, &model.model) {
                (ModelScope::VirtualKey(id), _) => scoped.entry(id).or_default().push(limits),
                (ModelScope::Global, Some(name)) => {
                    named.entry(name.clone()).or_default().push(limits);
                }
                (ModelScope::Global, None) => any.push(limits),
            }
        }
        tables.models = named.into_iter().map(|(name, limits)| (name, limits.into())).collect();
        tables.any_model = any.into();
        scoped
    }

    fn group(&mut self, owner: Owner, limits: &LimitsPlan, path: &str) -> Arc<Group> {
        let limits = self.limits(&owner, limits, path);
        Arc::new(Group { id: owner.id, name: owner.name, limits })
    }

    fn limits(&mut self, owner: &Owner, plan: &LimitsPlan, path: &str) -> Limits {
        let mut windows = HashSet::new();
        for budget in &plan.budgets {
            if !windows.insert(budget.window.span()) {
                let message =
                    format!("budget `{}`: another has the same reset_duration", budget.id);
                self.fault(path, &message);
            }
        }
        let from = self.place(path);
        for rate_limit in &plan.rate_limits {
            self.rate_limits(owner, rate_limit);
        }
        let budgets = self.place(path);
        for budget in &plan.budgets {
            self.budget(owner, budget);
        }
        Limits { from, budgets, to: self.place(path) }
    }

    /// Where the next limit will stand.
    fn place(&mut self, path: &str) -> u32 {
        u32::try_from(self.limits.len()).unwrap_or_else(|_| {
            self.fault(path, "too many limits");
            0
        })
    }

    fn budget(&mut self, owner: &Owner, plan: &BudgetPlan) {
        let limit = Measure {
            id: &plan.id,
            metric: Metric::Cost,
            max: plan.max,
            window: plan.window,
            enforcement: plan.enforcement,
            seed: plan.seed,
        };
        let limit = self.limit(owner, &limit);
        self.limits.push(Limit { extra: plan.extra, ..limit });
    }

    fn rate_limits(&mut self, owner: &Owner, plan: &RateLimitPlan) {
        let at_once = plan.concurrent.map(|max| Rate {
            max,
            window: Window::Never,
            enforcement: Enforcement::Strict,
            seed: Seed::default(),
        });
        let parts = [
            (Metric::Concurrent, &at_once),
            (Metric::Tokens, &plan.tokens),
            (Metric::Requests, &plan.requests),
        ];
        let present = parts.into_iter().filter_map(|(metric, rate)| Some((metric, rate.as_ref()?)));
        for (metric, rate) in present {
            let measure = Measure {
                id: &plan.id,
                metric,
                max: rate.max,
                window: rate.window,
                enforcement: rate.enforcement,
                seed: rate.seed,
            };
            let limit = self.limit(owner, &measure);
            self.limits.push(limit);
        }
    }

    fn limit(&mut self, owner: &Owner, measure: &Measure<'_>) -> Limit {
        let id = CounterId {
            owner_kind: owner.kind,
            owner: (*owner.id).into(),
            limit: measure.id.into(),
            metric: measure.metric,
        };
        // Requests are exact among the living; only money and strict tokens outlive a crash.
        let strict = measure.enforcement == Enforcement::Strict
            && matches!(measure.metric, Metric::Cost | Metric::Tokens);
        let wanted = Wanted {
            window: measure.window,
            seed: measure.seed,
            strict_max: strict.then_some(measure.max),
        };
        self.wanted.push((id, wanted));
        Limit {
            counter: Arc::clone(&self.unset),
            max: measure.max,
            anchor: 0,
            extra: None,
            window: measure.window,
            metric: measure.metric,
            enforcement: measure.enforcement,
            durable: strict,
            name: Box::new(LimitName { id: measure.id.into(), owner: owner.clone() }),
        }
    }

    fn required(&mut self, plan: &[(Box<str>, HeaderRule)]) -> Box<[(Box<str>, Required)]> {
        let mut required = Vec::with_capacity(plan.len());
        for (name, rule) in plan {
            let rule = match rule {
                HeaderRule::Present => Required::Present,
                HeaderRule::Equals(value) => Required::Equals(value.as_deref().map(Digest::of)),
                HeaderRule::Matches(pattern) => match Regex::new(&format!("^(?:{pattern})$")) {
                    Ok(pattern) => Required::Matches(Arc::new(pattern)),
                    Err(error) => {
                        self.fault(&format!("required_headers.{name}"), &error.to_string());
                        continue;
                    }
                },
            };
            required.push((name.to_ascii_lowercase().into(), rule));
        }
        required.into()
    }

    fn refer(
        &mut self,
        id: Option<&str>,
        groups: &Groups<'_>,
        place: impl Fn() -> (String, &'static str),
    ) -> Option<Arc<Group>> {
        let id = id?;
        let found = groups.get(id).cloned();
        if found.is_none() {
            let (path, kind) = place();
            self.fault(&path, &format!("there is no {kind} with the id `{id}`"));
        }
        found
    }

    fn once(&mut self, first: bool, path: &str, id: &str) {
        if !first {
            self.fault(path, &format!("the id `{id}` is given twice"));
        }
    }

    fn fault(&mut self, path: &str, message: &str) {
        self.faults.push(Fault::new(path, message));
    }
}

struct Measure<'p> {
    id: &'p str,
    metric: Metric,
    max: u64,
    window: Window,
    enforcement: Enforcement,
    seed: Seed,
}

fn owner(kind: OwnerKind, id: &str, name: &str) -> Owner {
    Owner { kind, id: id.into(), name: name.into() }
}
