//! From the file's `governance` to what `govern` builds its tables from.
//!
//! In: the section, checked for its references, and now. Out: a [`Plan`], or faults with their JSON
//! paths. A limit goes to its owner, whichever of the two names the other. Never: keeps the text of
//! a virtual key: from here on there are digests.

use crate::config::fault::{Faults, Path};
use crate::config::file_governance as file;
use crate::config::{EmptyLists, Snapshot};
use crate::govern::budgets::{BudgetPlan, Override, Seed, from_dollars};
use crate::govern::limits::Enforcement;
use crate::govern::plan::{
    CustomerPlan, LimitsPlan, ModelPlan, ModelScope, Plan, ProviderConfigPlan, TeamPlan,
    VirtualKeyPlan,
};
use crate::govern::rate_limits::{Rate, RateLimitPlan};
use crate::govern::virtual_keys::Digest;
use crate::govern::windows::{Span, Window};

/// Plans everything that governs requests; `now` in Unix milliseconds.
pub fn plan(snapshot: &Snapshot, now: i64, faults: &mut Faults) -> Plan {
    let governance = &snapshot.governance;
    let root = Path::root().key("governance");
    let mut planner = Planner { governance, lists: snapshot.empty_lists, now, faults };
    let client = &snapshot.client;
    let mut plan = Plan {
        enforce_auth: client.enforce_auth,
        allow_direct_keys: client.allow_direct_keys,
        // `gateway::authority` holds requests against `client.required_headers` itself.
        required_headers: Vec::new(),
        known_providers: snapshot.providers.iter().map(|one| one.name.clone()).collect(),
        ..Plan::default()
    };
    for (at, of) in governance.providers.iter().enumerate() {
        let path = root.key("providers").index(at);
        let owner = Owner::of(of.budget_id.as_deref(), of.rate_limit_id.as_deref(), false);
        plan.providers.push((of.name.as_str().into(), planner.limits(&owner, &path)));
    }
    for (at, of) in governance.model_configs.iter().enumerate() {
        let model = planner.model(of, &root.key("model_configs").index(at));
        plan.models.push(model);
    }
    for (at, of) in governance.customers.iter().enumerate() {
        let path = root.key("customers").index(at);
        let owner = Owner {
            own: &of.budgets,
            names_it: &|budget| budget.customer_id.as_deref() == Some(&of.id),
            ..Owner::of(of.budget_id.as_deref(), of.rate_limit_id.as_deref(), of.calendar_aligned)
        };
        let limits = planner.limits(&owner, &path);
        let (id, name) = (of.id.as_str().into(), of.name.as_str().into());
        plan.customers.push(CustomerPlan { id, name, limits });
    }
    for (at, of) in governance.teams.iter().enumerate() {
        let path = root.key("teams").index(at);
        let owner = Owner {
            own: &of.budgets,
            names_it: &|budget| budget.team_id.as_deref() == Some(&of.id),
            ..Owner::of(of.budget_id.as_deref(), of.rate_limit_id.as_deref(), of.calendar_aligned)
        };
        let limits = planner.limits(&owner, &path);
        let (id, name) = (of.id.as_str().into(), of.name.as_str().into());
        let customer = boxed(of.customer_id.as_deref());
        plan.teams.push(TeamPlan { id, name, customer, limits });
    }
    for (at, of) in governance.virtual_keys.iter().enumerate() {
        let key = planner.virtual_key(of, &root.key("virtual_keys").index(at));
        plan.virtual_keys.push(key);
    }
    plan
}

/// Where an owner's limits are found.
struct Owner<'f> {
    budget_ids: Vec<&'f str>,
    own: &'f [file::Budget],
    names_it: &'f dyn Fn(&file::Budget) -> bool,
    rate_ids: Vec<&'f str>,
    own_rate: Option<&'f file::RateLimit>,
    aligned: bool,
}

impl<'f> Owner<'f> {
    fn of(budget: Option<&'f str>, rate: Option<&'f str>, aligned: bool) -> Self {
        Self {
            budget_ids: budget.into_iter().collect(),
            own: &[],
            names_it: &|_| false,
            rate_ids: rate.into_iter().collect(),
            own_rate: None,
            aligned,
        }
    }
}

struct Planner<'s, 'f> {
    governance: &'s file::Governance,
    lists: EmptyLists,
    now: i64,
    faults: &'f mut Faults,
}

impl Planner<'_, '_> {
    fn limits(&mut self, owner: &Owner<'_>, path: &Path) -> LimitsPlan {
        let governance = self.governance;
        let mut plan = LimitsPlan::default();
        let root = Path::root().key("governance");
        for (at, budget) in governance.budgets.iter().enumerate() {
            if owner.budget_ids.contains(&budget.id.as_str()) || (owner.names_it)(budget) {
                let path = root.key("budgets").index(at);
                plan.budgets.extend(self.budget(budget, owner.aligned, &path));
            }
        }
        for (at, budget) in owner.own.iter().enumerate() {
            let path = path.key("budgets").index(at);
            plan.budgets.extend(self.budget(budget, owner.aligned, &path));
        }
        for (at, limit) in governance.rate_limits.iter().enumerate() {
            if owner.rate_ids.contains(&limit.id.as_str()) {
                let path = root.key("rate_limits").index(at);
                plan.rate_limits.push(self.rate_limit(limit, owner.aligned, &path));
            }
        }
        if let Some(limit) = owner.own_rate {
            plan.rate_limits.push(self.rate_limit(limit, owner.aligned, &path.key("rate_limit")));
        }
        plan
    }

    fn budget(&mut self, of: &file::Budget, aligned: bool, path: &Path) -> Option<BudgetPlan> {
        let aligned = aligned || of.calendar_aligned == Some(true);
        let month = of.reset_config.as_ref().and_then(|reset| reset.quarter_start_month);
        let window = match &of.reset_duration {
            None => Window::Never,
            Some(text) => {
                let span = self.span(text, &path.key("reset_duration"))?;
                Window::new(span, aligned, month.unwrap_or(1))
            }
        };
        let max = self.dollars(of.max_limit, &path.key("max_limit"))?;
        let last_reset = self.time(of.last_reset.as_deref(), &path.key("last_reset"));
        let used = self.dollars(of.current_usage, &path.key("current_usage"))?;
        let extra = match &of.override_ {
            None => None,
            Some(extra) => {
                let path = path.key("override");
                let amount = self.dollars(extra.amount, &path.key("amount"))?;
                let anchor = last_reset.unwrap_or(self.now);
                let until = match extra.mode {
                    file::OverrideMode::Forever => None,
                    file::OverrideMode::Cycles => {
                        let cycles = extra.cycles.unwrap_or(1).min(10_000);
                        window.end_of_cycle(anchor, self.now, cycles)
                    }
                };
                Some(Override { amount, until })
            }
        };
        let enforcement = match of.enforcement {
            file::Enforcement::Soft => Enforcement::Soft,
            file::Enforcement::Strict => Enforcement::Strict,
        };
        let seed = Seed { used, last_reset };
        Some(BudgetPlan { id: of.id.as_str().into(), max, window, enforcement, extra, seed })
    }

    fn rate_limit(&mut self, of: &file::RateLimit, aligned: bool, path: &Path) -> RateLimitPlan {
        let aligned = aligned || of.calendar_aligned == Some(true);
        let single = |metric| (of.metric == Some(metric)).then_some(of);
        let requests = [
            Some((of.request_max_limit, &of.request_reset_duration, "request_")),
            single(file::Metric::Requests).map(|of| (of.max_limit, &of.reset_duration, "")),
        ];
        let tokens = [
            Some((of.token_max_limit, &of.token_reset_duration, "token_")),
            single(file::Metric::Tokens).map(|of| (of.max_limit, &of.reset_duration, "")),
        ];
        let mut rate = |forms: [Option<(Option<u64>, &Option<String>, &str)>; 2], strict| {
            let (max, duration, prefix) =
                forms.into_iter().flatten().find(|(max, ..)| max.is_some())?;
            let name = |field: &str| path.key(&format!("{prefix}{field}"));
            let window = match duration {
                None => Window::Never,
                Some(text) => Window::new(self.span(text, &name("reset_duration"))?, aligned, 1),
            };
            let (used, last_reset) = match prefix {
                "request_" => (of.request_current_usage, &of.request_last_reset),
                "token_" => (of.token_current_usage, &of.token_last_reset),
                _ => (of.current_usage, &of.last_reset),
            };
            let last_reset = self.time(last_reset.as_deref(), &name("last_reset"));
            let enforcement = if strict { Enforcement::Strict } else { Enforcement::Soft };
            Some(Rate { max: max?, window, enforcement, seed: Seed { used, last_reset } })
        };
        let (requests, tokens) = (rate(requests, true), rate(tokens, false));
        let concurrent = of.concurrent_request_max_limit;
        RateLimitPlan { id: of.id.as_str().into(), requests, tokens, concurrent }
    }

    fn model(&mut self, of: &file::ModelConfig, path: &Path) -> ModelPlan {
        let mut owner = Owner {
            names_it: &|budget| budget.model_config_id.as_deref() == Some(&of.id),
            ..Owner::of(of.budget_id.as_deref(), of.rate_limit_id.as_deref(), of.calendar_aligned)
        };
        owner.budget_ids.extend(of.budget_ids.iter().map(String::as_str));
        owner.rate_ids.extend(of.rate_limit_ids.iter().map(String::as_str));
        let limits = self.limits(&owner, path);
        let scope = match (of.scope, of.scope_id.as_deref()) {
            (file::ModelScope::VirtualKey, Some(id)) => ModelScope::VirtualKey(id.into()),
            (file::ModelScope::VirtualKey, None) => {
                self.faults.push(&path.key("scope_id"), "is required with this `scope`");
                ModelScope::Global
            }
            (file::ModelScope::Global | file::ModelScope::User, _) => ModelScope::Global,
        };
        let model = Some(of.model_name.as_str()).filter(|name| *name != "*");
        let provider = boxed(of.provider.as_deref());
        ModelPlan { id: of.id.as_str().into(), model: boxed(model), provider, scope, limits }
    }

    fn virtual_key(&mut self, of: &file::VirtualKey, path: &Path) -> VirtualKeyPlan {
        let owner = Owner {
            own: &of.budgets,
            names_it: &|budget| budget.virtual_key_id.as_deref() == Some(&of.id),
            ..Owner::of(of.budget_id.as_deref(), of.rate_limit_id.as_deref(), of.calendar_aligned)
        };
        let limits = self.limits(&owner, path);
        let configs = of.provider_configs.iter().enumerate();
        let providers = configs
            .map(|(at, config)| {
                let path = path.key("provider_configs").index(at);
                self.provider_config(config, of.calendar_aligned, &path)
            })
            .collect();
        let nothing_listed = of.provider_configs.is_empty() && self.lists == EmptyLists::AllowAll;
        VirtualKeyPlan {
            id: of.id.as_str().into(),
            name: of.name.as_str().into(),
            digest: Digest::of(of.value.expose()),
            previous: None,
            active: of.is_active,
            expires_at: self.time(of.expires_at.as_deref(), &path.key("expires_at")),
            allow_all_providers: of.allow_all_providers || nothing_listed,
            providers,
            team: boxed(of.team_id.as_deref()),
            customer: boxed(of.customer_id.as_deref()),
            limits,
            disable_content_logging: of.disable_content_logging,
        }
    }

    fn provider_config(
        &mut self,
        of: &file::ProviderConfig,
        aligned: bool,
        path: &Path,
    ) -> ProviderConfigPlan {
        let id = of.id.as_ref().map(ToString::to_string);
        let owner = Owner {
            own: &of.budgets,
            names_it: &|budget| {
                let named = budget.provider_config_id.as_ref().map(ToString::to_string);
                named.is_some() && named == id
            },
            own_rate: of.rate_limit.as_ref(),
            ..Owner::of(of.budget_id.as_deref(), of.rate_limit_id.as_deref(), aligned)
        };
        ProviderConfigPlan {
            id: id.as_deref().unwrap_or(&of.provider).into(),
            provider: of.provider.as_str().into(),
            weight: of.weight,
            allowed_models: self.allow_list(&of.allowed_models),
            blacklisted_models: of
                .blacklisted_models
                .iter()
                .map(|one| one.as_str().into())
                .collect(),
            key_ids: self.allow_list(&of.key_ids),
            limits: self.limits(&owner, path),
        }
    }

    fn allow_list(&self, list: &[String]) -> Vec<Box<str>> {
        if list.is_empty() && self.lists == EmptyLists::AllowAll {
            return vec!["*".into()];
        }
        list.iter().map(|one| one.as_str().into()).collect()
    }

    fn span(&mut self, text: &str, path: &Path) -> Option<Span> {
        text.parse()
            .map_err(|bad: crate::govern::windows::BadSpan| {
                self.faults.push(path, bad.to_string());
            })
            .ok()
    }

    fn dollars(&mut self, amount: f64, path: &Path) -> Option<u64> {
        let nano = from_dollars(amount);
        if nano.is_none() {
            self.faults.push(path, "expected an amount in dollars, 0 or above");
        }
        nano
    }

    fn time(&mut self, text: Option<&str>, path: &Path) -> Option<i64> {
        let text = text.filter(|text| !text.is_empty())?;
        let time: Result<jiff::Timestamp, _> = text.parse();
        if time.is_err() {
            self.faults.push(path, "expected a time, as in `2026-01-31T00:00:00Z`");
        }
        time.ok().map(jiff::Timestamp::as_millisecond)
    }
}

fn boxed(text: Option<&str>) -> Option<Box<str>> {
    text.filter(|text| !text.is_empty()).map(Into::into)
}
