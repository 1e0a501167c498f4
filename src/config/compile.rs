//! From the records of a snapshot to the tables that requests are decided by.
//!
//! In: a checked [`Snapshot`], the ledger whose counters go on, the price table so far, and now.
//! Out: [`Compiled`] tables of `govern` and `route`, or what of the records they refuse, with its
//! JSON path. Never: decides anything about a request.

use crate::config::compile_limits::{LimitRecords, Owner, Whose};
use crate::config::fault::{Faults, Path};
use crate::config::file_governance::{
    self as file, MatchType, ModelScope, PricingScope, RuleScope, VirtualKey,
};
use crate::config::{EmptyLists, HeaderRule, Providers, Snapshot};
use crate::govern::ledger::Ledger;
use crate::govern::plan::{
    CustomerPlan, HeaderRule as HeaderPlan, ModelPlan, ModelScope as Scoped, Plan,
    ProviderConfigPlan, TeamPlan, VirtualKeyPlan,
};
use crate::govern::price_sheet::parse_patch;
use crate::govern::prices::{Pattern, PriceOverride, Prices, Scope as PriceScope};
use crate::govern::tables::Tables;
use crate::govern::virtual_keys::Digest;
use crate::provider::Provider;
use crate::provider::model_name::split;
use crate::route::rules::{Fallback, RulePlan, RuleTarget, Rules, Scope};
use crate::route::{Catalogue, Fleet, KeyPin, Routes};
use std::sync::Arc;

/// What a request is decided by, beside the snapshot itself.
#[derive(Debug)]
pub struct Compiled {
    pub tables: Arc<Tables>,
    pub routes: Routes,
    pub prices: Prices,
}

impl Fleet for Providers {
    fn provider(&self, name: &str) -> Option<&Provider> {
        self.get(name).map(|provider| &**provider)
    }
}

/// Builds all tables. `prices` is the shipped table with whatever was fetched since; `now` is in
/// Unix milliseconds.
///
/// # Errors
/// Every record that cannot be, with its path in `config.json`.
pub fn compile(
    snapshot: &Snapshot,
    ledger: &mut Ledger,
    prices: Prices,
    now: i64,
) -> Result<Compiled, Faults> {
    compile_amended(snapshot, ledger, prices, now, &mut |_| {})
}

/// The same; `amend` may add to the plan what no file says, before the tables are built of it.
///
/// # Errors
/// See [`compile`].
pub fn compile_amended(
    snapshot: &Snapshot,
    ledger: &mut Ledger,
    prices: Prices,
    now: i64,
    amend: &mut dyn FnMut(&mut Plan),
) -> Result<Compiled, Faults> {
    let mut compile = Compile { snapshot, faults: Faults::default() };
    let mut plan = compile.plan();
    amend(&mut plan);
    let rules = compile.rules();
    let overrides = compile.overrides();
    let mut faults = compile.faults;
    let root = Path::root();
    let depth = snapshot.client.routing_chain_max_depth;
    let rules = Rules::build(rules, depth).map_err(|refused| {
        for fault in refused {
            faults.push(&below(&root.key("governance"), &fault.path), fault.message);
        }
    });
    if !faults.is_empty() {
        return Err(faults);
    }
    let tables = Tables::build(&plan, ledger, now).map_err(|refused| {
        for fault in refused {
            let section = if fault.path.starts_with("required_headers") {
                root.key("client")
            } else {
                root.key("governance")
            };
            faults.push(&below(&section, &fault.path), fault.message);
        }
    });
    let (Ok(rules), Ok(tables)) = (rules, tables) else { return Err(faults) };
    let prices = prices.overridden(overrides);
    let providers = snapshot.providers.iter().map(|provider| &**provider);
    let catalogue = Catalogue::build(providers, prices.iter());
    Ok(Compiled { tables: Arc::new(tables), routes: Routes { rules, catalogue }, prices })
}

/// A path as `govern` and `route` write it, below a section: `virtual_keys[3].team_id`.
fn below(section: &Path, text: &str) -> Path {
    let mut path = section.clone();
    for step in text.split('.') {
        let (key, indexes) = step.split_once('[').unwrap_or((step, ""));
        path = path.key(key);
        for index in indexes.split('[').filter_map(|index| index.trim_end_matches(']').parse().ok())
        {
            path = path.index(index);
        }
    }
    path
}

struct Compile<'s> {
    snapshot: &'s Snapshot,
    faults: Faults,
}

impl Compile<'_> {
    fn plan(&mut self) -> Plan {
        let snapshot = self.snapshot;
        let (governance, client) = (&snapshot.governance, &snapshot.client);
        let path = Path::root().key("governance");
        let records = LimitRecords::new(governance);
        let faults = &mut self.faults;
        let customers = governance.customers.iter().enumerate().map(|(at, customer)| {
            let owner = Owner {
                path: path.key("customers").index(at),
                aligned: customer.calendar_aligned,
                inline: &customer.budgets,
                budget_ids: customer.budget_id.iter().collect(),
                rate_limit_ids: customer.rate_limit_id.iter().collect(),
                inline_rates: None,
                whose: Some((Whose::Customer, &customer.id)),
            };
            CustomerPlan {
                id: customer.id.as_str().into(),
                name: customer.name.as_str().into(),
                limits: records.of(&owner, faults),
            }
        });
        let customers = customers.collect();
        let teams = governance.teams.iter().enumerate().map(|(at, team)| {
            let owner = Owner {
                path: path.key("teams").index(at),
                aligned: team.calendar_aligned,
                inline: &team.budgets,
                budget_ids: team.budget_id.iter().collect(),
                rate_limit_ids: team.rate_limit_id.iter().collect(),
                inline_rates: None,
                whose: Some((Whose::Team, &team.id)),
            };
            TeamPlan {
                id: team.id.as_str().into(),
                name: team.name.as_str().into(),
                customer: team.customer_id.as_deref().map(Into::into),
                limits: records.of(&owner, faults),
            }
        });
        let teams = teams.collect();
        let providers = governance.providers.iter().enumerate().map(|(at, provider)| {
            let owner = Owner {
                path: path.key("providers").index(at),
                aligned: false,
                inline: &[],
                budget_ids: provider.budget_id.iter().collect(),
                rate_limit_ids: provider.rate_limit_id.iter().collect(),
                inline_rates: None,
                whose: None,
            };
            (provider.name.as_str().into(), records.of(&owner, faults))
        });
        let providers = providers.collect();
        Plan {
            enforce_auth: client.enforce_auth,
            allow_direct_keys: client.allow_direct_keys,
            required_headers: required_headers(snapshot),
            known_providers: snapshot.providers.known_names().map(Into::into).collect(),
            providers,
            customers,
            teams,
            models: self.models(&records),
            virtual_keys: self.virtual_keys(&records),
        }
    }

    fn models(&mut self, records: &LimitRecords<'_>) -> Vec<ModelPlan> {
        let path = Path::root().key("governance").key("model_configs");
        let mut models = Vec::new();
        for (at, model) in self.snapshot.governance.model_configs.iter().enumerate() {
            let path = path.index(at);
            let scope = match (model.scope, &model.scope_id) {
                (ModelScope::Global, _) => Scoped::Global,
                (ModelScope::VirtualKey, Some(id)) => Scoped::VirtualKey(id.as_str().into()),
                (ModelScope::VirtualKey, None) => {
                    self.faults.push(&path.key("scope_id"), "is missing: whose limits are they?");
                    Scoped::Global
                }
                (ModelScope::User, _) => {
                    self.faults.push(&path.key("scope"), "`user` is not supported");
                    Scoped::Global
                }
            };
            let known = |name: &str| self.snapshot.providers.is_known(name);
            let (prefix, name) = split(&model.model_name, known);
            let owner = Owner {
                path,
                aligned: model.calendar_aligned,
                inline: &[],
                budget_ids: model.budget_id.iter().chain(&model.budget_ids).collect(),
                rate_limit_ids: model.rate_limit_id.iter().chain(&model.rate_limit_ids).collect(),
                inline_rates: None,
                whose: Some((Whose::ModelConfig, &model.id)),
            };
            models.push(ModelPlan {
                id: model.id.as_str().into(),
                model: (name != "*").then(|| name.into()),
                provider: model.provider.as_deref().or(prefix).map(Into::into),
                scope,
                limits: records.of(&owner, &mut self.faults),
            });
        }
        models
    }

    fn virtual_keys(&mut self, records: &LimitRecords<'_>) -> Vec<VirtualKeyPlan> {
        let path = Path::root().key("governance").key("virtual_keys");
        let keys = self.snapshot.governance.virtual_keys.iter().enumerate();
        keys.map(|(at, key)| self.virtual_key(key, path.index(at), records)).collect()
    }

    fn virtual_key(
        &mut self,
        key: &VirtualKey,
        path: Path,
        records: &LimitRecords<'_>,
    ) -> VirtualKeyPlan {
        let expires_at = key.expires_at.as_deref().and_then(|text| {
            let at = text.parse::<jiff::Timestamp>();
            at.map(jiff::Timestamp::as_millisecond)
                .map_err(|_| self.faults.push(&path.key("expires_at"), "is no RFC 3339 time"))
                .ok()
        });
        let configs = key.provider_configs.iter().enumerate();
        let providers = configs
            .map(|(at, config)| {
                let id = config.id.as_ref().map(ToString::to_string);
                let owner = Owner {
                    path: path.key("provider_configs").index(at),
                    aligned: key.calendar_aligned,
                    inline: &config.budgets,
                    budget_ids: config.budget_id.iter().collect(),
                    rate_limit_ids: config.rate_limit_id.iter().collect(),
                    inline_rates: config.rate_limit.as_ref(),
                    whose: id.as_deref().map(|id| (Whose::ProviderConfig, id)),
                };
                ProviderConfigPlan {
                    id: id.clone().unwrap_or_else(|| config.provider.clone()).into(),
                    provider: config.provider.as_str().into(),
                    weight: config.weight,
                    allowed_models: self.allow_list(&config.allowed_models),
                    blacklisted_models: boxed(&config.blacklisted_models),
                    key_ids: self
                        .allow_list(&config.key_ids)
                        .into_iter()
                        .map(|id| self.key_id(&config.provider, &id))
                        .collect(),
                    limits: records.of(&owner, &mut self.faults),
                }
            })
            .collect();
        let owner = Owner {
            path,
            aligned: key.calendar_aligned,
            inline: &key.budgets,
            budget_ids: key.budget_id.iter().collect(),
            rate_limit_ids: key.rate_limit_id.iter().collect(),
            inline_rates: None,
            whose: Some((Whose::VirtualKey, &key.id)),
        };
        VirtualKeyPlan {
            id: key.id.as_str().into(),
            name: key.name.as_str().into(),
            digest: Digest::of(key.value.expose()),
            previous: None,
            active: key.is_active,
            expires_at,
            allow_all_providers: key.allow_all_providers,
            providers,
            team: key.team_id.as_deref().map(Into::into),
            customer: key.customer_id.as_deref().map(Into::into),
            limits: records.of(&owner, &mut self.faults),
            disable_content_logging: key.disable_content_logging,
        }
    }

    fn allow_list(&self, list: &[String]) -> Vec<Box<str>> {
        if list.is_empty() && self.snapshot.empty_lists == EmptyLists::AllowAll {
            return vec!["*".into()];
        }
        boxed(list)
    }

    /// Keys may be named; the tables know their ids.
    fn key_id(&self, provider: &str, named: &str) -> Box<str> {
        let provider = self.snapshot.providers.get(provider);
        let keys = provider.map(|provider| provider.keys.as_slice()).unwrap_or_default();
        let by_id = keys.iter().find(|key| *key.id == *named);
        let found = by_id.or_else(|| keys.iter().find(|key| *key.name == *named));
        found.map_or_else(|| named.into(), |key| key.id.clone())
    }

    fn rules(&mut self) -> Vec<RulePlan> {
        let path = Path::root().key("governance").key("routing_rules");
        let mut plans = Vec::new();
        for (at, rule) in self.snapshot.governance.routing_rules.iter().enumerate() {
            let scope = match (rule.scope, rule.scope_id.as_deref()) {
                (RuleScope::Global, _) => Scope::Global,
                (RuleScope::Customer, Some(id)) => Scope::Customer(id.into()),
                (RuleScope::Team, Some(id)) => Scope::Team(id.into()),
                (RuleScope::VirtualKey, Some(id)) => Scope::VirtualKey(id.into()),
                (_, None) => {
                    let path = path.index(at).key("scope_id");
                    self.faults.push(&path, "is missing: whose rule is it?");
                    Scope::Global
                }
            };
            let target = |target: &file::RuleTarget| RuleTarget {
                provider: target.provider.as_deref().map(Into::into),
                model: target.model.as_deref().map(Into::into),
                key: match (&target.key_id, &target.provider_key_name) {
                    (Some(id), _) => Some(KeyPin::Id(id.as_str().into())),
                    (None, Some(name)) => Some(KeyPin::Name(name.as_str().into())),
                    (None, None) => None,
                },
                weight: target.weight,
            };
            plans.push(RulePlan {
                id: rule.id.as_str().into(),
                name: rule.name.as_str().into(),
                disabled: !rule.enabled,
                scope,
                priority: rule.priority,
                expression: rule.cel_expression.as_str().into(),
                chain: rule.chain_rule,
                targets: rule.targets.iter().map(target).collect(),
                fallbacks: rule.fallbacks.iter().filter_map(fallback).collect(),
            });
        }
        plans
    }

    fn overrides(&mut self) -> Vec<PriceOverride> {
        let path = Path::root().key("governance").key("pricing_overrides");
        let mut overrides = Vec::new();
        for (at, own) in self.snapshot.governance.pricing_overrides.iter().enumerate() {
            let path = path.index(at);
            let models = match own.match_type {
                MatchType::Exact => Pattern::Exact(own.pattern.as_str().into()),
                MatchType::Wildcard => Pattern::Prefix(own.pattern.trim_end_matches('*').into()),
            };
            let price = parse_patch(&own.pricing_patch)
                .map_err(|bad| self.faults.push(&path.key("pricing_patch"), bad.to_string()));
            if let (Some(scope), Ok(price)) = (self.price_scope(own, &path), price) {
                let request_types = boxed(&own.request_types);
                overrides.push(PriceOverride { scope, models, request_types, price });
            }
        }
        overrides
    }

    fn price_scope(&mut self, own: &file::PricingOverride, path: &Path) -> Option<PriceScope> {
        use PricingScope::{Global, Provider, ProviderKey, VirtualKey};
        use PricingScope::{VirtualKeyProvider, VirtualKeyProviderKey};
        let kind = own.scope_kind;
        let by_virtual_key =
            matches!(kind, VirtualKey | VirtualKeyProvider | VirtualKeyProviderKey);
        let by_provider = matches!(kind, Provider | VirtualKeyProvider);
        let by_key = matches!(kind, ProviderKey | VirtualKeyProviderKey);
        debug_assert!(kind == Global || by_virtual_key || by_provider || by_key);
        let wanted = [
            ("virtual_key_id", by_virtual_key, &own.virtual_key_id),
            ("provider_id", by_provider, &own.provider_id),
            ("provider_key_id", by_key, &own.provider_key_id),
        ];
        let mut whole = true;
        let [virtual_key, provider, key] = wanted.map(|(field, needed, value)| {
            if needed && value.is_none() {
                self.faults.push(&path.key(field), "is missing: the scope is told by it");
                whole = false;
            }
            value.as_deref().filter(|_| needed).map(Box::from)
        });
        whole.then_some(PriceScope { virtual_key, provider, key })
    }
}

fn boxed(texts: &[String]) -> Vec<Box<str>> {
    texts.iter().map(|text| text.as_str().into()).collect()
}

fn fallback(fallback: &file::Fallback) -> Option<Fallback> {
    match fallback {
        file::Fallback::Name(name) => {
            let (provider, model) = name.split_once('/')?;
            let model = (!model.is_empty()).then(|| model.into());
            Some(Fallback { provider: provider.into(), model, key: None })
        }
        file::Fallback::Target(target) => Some(Fallback {
            provider: target.provider.as_str().into(),
            model: target.model.as_deref().map(Into::into),
            key: target.key_id.as_deref().map(|id| KeyPin::Id(id.into())),
        }),
    }
}

fn required_headers(snapshot: &Snapshot) -> Vec<(Box<str>, HeaderPlan)> {
    let required = snapshot.client.required_headers.iter().map(|header| {
        let rule = match &header.rule {
            HeaderRule::Present => HeaderPlan::Present,
            HeaderRule::Equals(secret) => HeaderPlan::Equals(Some(secret.expose().into())),
            HeaderRule::Matches(pattern) => HeaderPlan::Matches(pattern.as_str().into()),
            HeaderRule::Never => HeaderPlan::Equals(None),
        };
        (header.name.clone(), rule)
    });
    required.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check::{Outside, check};
    use crate::govern::{Credential, Source};

    fn snapshot(governance: &str) -> Snapshot {
        let text = format!(
            r#"{{"providers": {{
                "openai": {{"keys": [{{"name": "main", "value": "k", "models": ["*"], "weight": 1}}]}},
                "vertex": {{"keys": [{{"name": "g", "value": "", "models": ["*"], "weight": 1,
                    "vertex_key_config": {{"project_id": "p", "region": "europe-west1"}}}}]}}}},
               "governance": {governance}}}"#
        );
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        check(&text, Outside { env: &|_| None, read: &read }).unwrap_or_else(|faults| {
            panic!("{:?}", faults.as_slice().iter().map(ToString::to_string).collect::<Vec<_>>())
        })
    }

    fn compiled(governance: &str) -> Result<Compiled, Vec<String>> {
        let mut ledger = Ledger::in_memory();
        let faults = |faults: Faults| faults.as_slice().iter().map(ToString::to_string).collect();
        let at = "2026-03-15T12:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
        // `check` would refuse what the tables refuse.
        let mut snapshot = snapshot("{}");
        snapshot.governance = serde_json::from_str(governance).unwrap();
        compile(&snapshot, &mut ledger, Prices::shipped(), at).map_err(faults)
    }

    #[test]
    fn limits_are_found_wherever_they_are_written() {
        let compiled = compiled(
            r#"{"budgets": [
                  {"id": "b-team", "max_limit": 10, "reset_duration": "1M"},
                  {"id": "b-day", "virtual_key_id": "vk", "max_limit": 2, "reset_duration": "1d"},
                  {"id": "b-model", "model_config_id": "mc", "max_limit": 3}],
                "rate_limits": [{"id": "rl", "request_max_limit": 5, "request_reset_duration": "1m",
                  "token_max_limit": 100, "token_reset_duration": "1h",
                  "concurrent_request_max_limit": 2}],
                "customers": [{"id": "c", "name": "Acme", "calendar_aligned": true,
                  "budgets": [{"id": "b-c", "max_limit": 100, "reset_duration": "1Q"}]}],
                "teams": [{"id": "t", "name": "ML", "customer_id": "c", "budget_id": "b-team"}],
                "virtual_keys": [{"id": "vk", "name": "key", "value": "sk-bf-x", "team_id": "t",
                  "rate_limit_id": "rl", "provider_configs": [{"provider": "openai",
                    "allowed_models": ["*"], "key_ids": ["main"], "weight": 1}]}],
                "model_configs": [{"id": "mc", "model_name": "openai/gpt-4o"}]}"#,
        )
        .unwrap();
        let tables = &compiled.tables;
        let sent = [Credential { source: Source::VirtualKeyHeader, value: "sk-bf-x" }];
        let identity = tables.identify(&sent, &|_| None, 0).unwrap();
        let mut seen = Vec::new();
        tables.each_limit(&identity, ("openai", "gpt-4o"), &mut |limit| {
            let window = limit.window.span().map_or("never".to_owned(), |span| span.to_string());
            seen.push(format!(
                "{} {} {} {window}",
                limit.name.id,
                limit.metric.as_str(),
                limit.max
            ));
        });
        assert_eq!(
            seen,
            [
                "b-model cost 3000000000 never",
                "rl concurrent 2 never",
                "rl tokens 100 1h",
                "rl requests 5 1m",
                "b-day cost 2000000000 1d",
                "b-team cost 10000000000 1M",
                "b-c cost 100000000000 1Q",
            ]
        );
        let key = identity.key.unwrap();
        let main = &snapshot("{}").providers.get("openai").unwrap().keys[0].id.clone();
        assert!(key.provider("openai").unwrap().keys.holds(main), "names became ids");
    }

    #[test]
    fn rules_and_prices_arrive() {
        let compiled = compiled(
            r#"{"routing_rules": [
                  {"id": "1", "name": "on", "cel_expression": "model == 'a'",
                   "targets": [{"provider": "vertex", "model": "m", "weight": 1}],
                   "fallbacks": ["openai/", {"provider": "openai", "model": "x"}]},
                  {"id": "2", "name": "off", "enabled": false, "cel_expression": "true",
                   "targets": [{"provider": "vertex", "weight": 1}]}],
                "pricing_overrides": [{"id": "p", "scope_kind": "provider", "provider_id": "openai",
                   "match_type": "wildcard", "pattern": "gpt-*",
                   "pricing_patch": "{\"input_cost_per_token\": 0}"}]}"#,
        )
        .unwrap();
        assert!(!compiled.routes.rules.is_empty());
        assert!(compiled.routes.catalogue.serves("openai", "gpt-4o"));
        let query = crate::govern::prices::Query {
            provider: "openai",
            models: &["gpt-4o"],
            ..Default::default()
        };
        assert_eq!(compiled.prices.quote(&query).unwrap().price.base.input, Some(0));
    }

    #[test]
    fn what_the_tables_refuse_is_told_with_its_path() {
        let faults = compiled(
            r#"{"budgets": [
                  {"id": "a", "virtual_key_id": "vk", "max_limit": 1, "reset_duration": "1x"},
                  {"id": "b", "virtual_key_id": "vk", "max_limit": 1, "reset_duration": "1d",
                   "last_reset": "yesterday"},
                  {"id": "c", "virtual_key_id": "vk", "max_limit": 1, "reset_duration": "1w",
                   "override": {"amount": 1, "mode": "cycles", "cycles": 2}}],
                "virtual_keys": [{"id": "vk", "name": "key", "value": "x", "expires_at": "soon"}],
                "routing_rules": [
                  {"id": "1", "name": "ok", "targets": [{"provider": "openai", "weight": 1}]},
                  {"id": "2", "name": "bad", "cel_expression": "modle == 'a'", "scope": "team",
                   "targets": [{"provider": "openai", "weight": 1}]}],
                "pricing_overrides": [{"id": "p", "scope_kind": "virtual_key", "match_type": "exact",
                   "pattern": "m", "pricing_patch": "{\"input_cost\": 0}"}]}"#,
        )
        .unwrap_err();
        let starts = [
            "governance.virtual_keys[0].expires_at: ",
            "governance.budgets[0].reset_duration: a duration is",
            "governance.budgets[1].last_reset: ",
            "governance.budgets[2].override: ",
            "governance.routing_rules[1].scope_id: ",
            "governance.pricing_overrides[0].pricing_patch: `input_cost`",
            "governance.pricing_overrides[0].virtual_key_id: ",
            "governance.routing_rules[1].cel_expression: rule `bad`: `modle` is no variable",
        ];
        assert_eq!(faults.len(), starts.len(), "{faults:#?}");
        for (fault, start) in faults.iter().zip(starts) {
            assert!(fault.starts_with(start), "{fault}");
        }
    }

    #[test]
    fn tables_name_the_place_of_a_fault() {
        let faults = compiled(
            r#"{"virtual_keys": [{"id": "a", "name": "a", "value": "same"},
                 {"id": "b", "name": "b", "value": "same", "team_id": "gone",
                  "provider_configs": [{"provider": "openai", "allowed_models": ["*", "regex:("]}]}]}"#,
        )
        .unwrap_err();
        let places: Vec<_> = faults.iter().filter_map(|fault| fault.split(": ").next()).collect();
        assert_eq!(
            places,
            [
                "governance.virtual_keys[1].value",
                "governance.virtual_keys[1].team_id",
                "governance.virtual_keys[1].provider_configs[0].allowed_models[1]",
            ]
        );
    }
}
