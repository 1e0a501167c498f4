//! References of the file's `governance` into the rest of the file.
//!
//! In: a snapshot. Out: faults for providers, keys, budgets and limits that are named and are not
//! there. Never: knows what a limit means: `govern` and `route` check the rest when they build
//! their tables.

use crate::config::Snapshot;
use crate::config::fault::{Faults, Path};
use crate::config::file_governance::{
    Budget, Fallback, Governance, ModelScope, RoutingRule, VirtualKey,
};
use crate::config::shape::suggestion;
use std::collections::HashSet;

pub fn check(snapshot: &Snapshot, faults: &mut Faults) {
    let governance = &snapshot.governance;
    let ids = |all: &[Budget]| all.iter().map(|budget| budget.id.clone()).collect::<Vec<_>>();
    let mut check = Check {
        snapshot,
        budgets: ids(&governance.budgets).into_iter().collect(),
        rate_limits: governance.rate_limits.iter().map(|limit| limit.id.clone()).collect(),
        faults,
    };
    check.unique(governance);
    check.owners(governance);
    check.limits(governance);
    let path = Path::root().key("governance");
    for (at, key) in governance.virtual_keys.iter().enumerate() {
        check.virtual_key(key, &path.key("virtual_keys").index(at));
    }
    for (at, rule) in governance.routing_rules.iter().enumerate() {
        check.rule(rule, &path.key("routing_rules").index(at));
    }
}

/// A field that names an owner, what it says, and whether there is one with that id.
type Owner<'o> = (&'static str, Option<&'o str>, &'o dyn Fn(&str) -> bool);

struct Check<'s, 'f> {
    snapshot: &'s Snapshot,
    budgets: HashSet<String>,
    rate_limits: HashSet<String>,
    faults: &'f mut Faults,
}

impl Check<'_, '_> {
    fn unique(&mut self, governance: &Governance) {
        let lists: [(&str, Vec<&str>); 5] = [
            ("budgets", governance.budgets.iter().map(|of| of.id.as_str()).collect()),
            ("rate_limits", governance.rate_limits.iter().map(|of| of.id.as_str()).collect()),
            ("routing_rules", governance.routing_rules.iter().map(|of| of.id.as_str()).collect()),
            ("model_configs", governance.model_configs.iter().map(|of| of.id.as_str()).collect()),
            (
                "pricing_overrides",
                governance.pricing_overrides.iter().map(|of| of.id.as_str()).collect(),
            ),
        ];
        for (list, ids) in lists {
            let mut seen = HashSet::new();
            let path = Path::root().key("governance").key(list);
            for (at, id) in ids.into_iter().enumerate().filter(|(_, id)| !seen.insert(*id)) {
                let message = format!("the id `{id}` is given twice");
                self.faults.push(&path.index(at).key("id"), message);
            }
        }
    }

    /// A budget belongs to at most one owner that it names itself, and the owner is there.
    fn owners(&mut self, governance: &Governance) {
        let path = Path::root().key("governance").key("budgets");
        let keys = &governance.virtual_keys;
        let configs = keys.iter().flat_map(|key| &key.provider_configs);
        let configs: HashSet<String> =
            configs.filter_map(|config| config.id.as_ref().map(ToString::to_string)).collect();
        let keys: HashSet<&str> = keys.iter().map(|key| &*key.id).collect();
        let models: HashSet<&str> = governance.model_configs.iter().map(|of| &*of.id).collect();
        let customers: HashSet<&str> = governance.customers.iter().map(|of| &*of.id).collect();
        let teams: HashSet<&str> = governance.teams.iter().map(|of| &*of.id).collect();
        for (at, budget) in governance.budgets.iter().enumerate() {
            let path = path.index(at);
            let config = budget.provider_config_id.as_ref().map(ToString::to_string);
            let named: [Owner<'_>; 5] = [
                ("virtual_key_id", budget.virtual_key_id.as_deref(), &|id| keys.contains(id)),
                ("provider_config_id", config.as_deref(), &|id| configs.contains(id)),
                ("model_config_id", budget.model_config_id.as_deref(), &|id| models.contains(id)),
                ("customer_id", budget.customer_id.as_deref(), &|id| customers.contains(id)),
                ("team_id", budget.team_id.as_deref(), &|id| teams.contains(id)),
            ];
            let owners = named.iter().filter(|(_, id, _)| id.is_some()).count();
            if owners > 1 {
                self.faults.push(&path, "a budget has one owner; this one names several");
            }
            for (field, id, exists) in named {
                if let Some(id) = id.filter(|id| !exists(id)) {
                    self.faults.push(&path.key(field), format!("there is none with the id `{id}`"));
                }
            }
            if !budget.max_limit.is_finite() || budget.max_limit <= 0.0 {
                self.faults.push(&path.key("max_limit"), "must be above 0");
            }
        }
    }

    fn limits(&mut self, governance: &Governance) {
        let root = Path::root().key("governance");
        for (at, customer) in governance.customers.iter().enumerate() {
            let path = root.key("customers").index(at);
            self.budget(customer.budget_id.as_deref(), &path.key("budget_id"));
            self.rate_limit(customer.rate_limit_id.as_deref(), &path.key("rate_limit_id"));
        }
        for (at, team) in governance.teams.iter().enumerate() {
            let path = root.key("teams").index(at);
            self.budget(team.budget_id.as_deref(), &path.key("budget_id"));
            self.rate_limit(team.rate_limit_id.as_deref(), &path.key("rate_limit_id"));
        }
        for (at, model) in governance.model_configs.iter().enumerate() {
            let path = root.key("model_configs").index(at);
            self.budget(model.budget_id.as_deref(), &path.key("budget_id"));
            self.rate_limit(model.rate_limit_id.as_deref(), &path.key("rate_limit_id"));
            for (at, id) in model.budget_ids.iter().enumerate() {
                self.budget(Some(id), &path.key("budget_ids").index(at));
            }
            for (at, id) in model.rate_limit_ids.iter().enumerate() {
                self.rate_limit(Some(id), &path.key("rate_limit_ids").index(at));
            }
            if let Some(provider) = &model.provider {
                self.provider(provider, &path.key("provider"));
            }
            if model.scope == ModelScope::User {
                let message = "`user` is not supported by this version";
                self.faults.push(&path.key("scope"), message);
            }
        }
        for (at, provider) in governance.providers.iter().enumerate() {
            let path = root.key("providers").index(at);
            self.provider(&provider.name, &path.key("name"));
            self.budget(provider.budget_id.as_deref(), &path.key("budget_id"));
            self.rate_limit(provider.rate_limit_id.as_deref(), &path.key("rate_limit_id"));
        }
    }

    fn virtual_key(&mut self, key: &VirtualKey, path: &Path) {
        if key.value.is_empty() {
            let message = "a virtual key needs a value: nothing is stored that could keep one";
            self.faults.push(&path.key("value"), message);
        }
        self.budget(key.budget_id.as_deref(), &path.key("budget_id"));
        self.rate_limit(key.rate_limit_id.as_deref(), &path.key("rate_limit_id"));
        for (at, config) in key.provider_configs.iter().enumerate() {
            let path = path.key("provider_configs").index(at);
            self.provider(&config.provider, &path.key("provider"));
            self.budget(config.budget_id.as_deref(), &path.key("budget_id"));
            self.rate_limit(config.rate_limit_id.as_deref(), &path.key("rate_limit_id"));
            for (at, id) in config.key_ids.iter().enumerate() {
                self.provider_key(&config.provider, id, &path.key("key_ids").index(at));
            }
        }
    }

    fn rule(&mut self, rule: &RoutingRule, path: &Path) {
        if reads(&rule.cel_expression, "complexity_tier") {
            let message = "`complexity_tier` is not supported by this version: nothing classifies \
                           requests, so that the rule could never match";
            self.faults.push(&path.key("cel_expression"), message);
        }
        for (at, target) in rule.targets.iter().enumerate() {
            let path = path.key("targets").index(at);
            if let Some(provider) = &target.provider {
                self.provider(provider, &path.key("provider"));
            }
            let keys =
                [("key_id", &target.key_id), ("provider_key_name", &target.provider_key_name)];
            for (field, key) in keys {
                match (key, &target.provider) {
                    (Some(key), Some(provider)) => {
                        self.provider_key(provider, key, &path.key(field));
                    }
                    (Some(_), None) => {
                        self.faults.push(&path.key(field), "needs a `provider` beside it");
                    }
                    (None, _) => {}
                }
            }
        }
        for (at, fallback) in rule.fallbacks.iter().enumerate() {
            let path = path.key("fallbacks").index(at);
            match fallback {
                Fallback::Target(target) => self.provider(&target.provider, &path.key("provider")),
                Fallback::Name(name) => match name.split_once('/') {
                    Some((provider, _)) => self.provider(provider, &path),
                    None => self.faults.push(&path, "expected `provider/model` or `provider/`"),
                },
            }
        }
    }

    fn provider(&mut self, name: &str, path: &Path) {
        let providers = &self.snapshot.providers;
        if providers.get(name).is_some() {
            return;
        }
        let names = providers.iter().map(|provider| &*provider.name);
        let meant = suggestion(name, names)
            .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
        self.faults.push(path, format!("`{name}` is not among `providers`{meant}"));
    }

    fn provider_key(&mut self, provider: &str, id: &str, path: &Path) {
        let Some(provider) = self.snapshot.providers.get(provider) else { return };
        let known = provider.keys.iter().any(|key| &*key.id == id || &*key.name == id);
        if id != "*" && !known {
            let message = format!("`{}` has no key with the id or name `{id}`", provider.name);
            self.faults.push(path, message);
        }
    }

    fn budget(&mut self, id: Option<&str>, path: &Path) {
        if let Some(id) = id.filter(|id| !self.budgets.contains(*id)) {
            self.faults.push(path, format!("there is no budget with the id `{id}`"));
        }
    }

    fn rate_limit(&mut self, id: Option<&str>, path: &Path) {
        if let Some(id) = id.filter(|id| !self.rate_limits.contains(*id)) {
            self.faults.push(path, format!("there is no rate limit with the id `{id}`"));
        }
    }
}

/// Whether a rule reads a variable: its name stands there, outside of texts.
fn reads(expression: &str, variable: &str) -> bool {
    let mut quote = None;
    let bare: String = expression
        .chars()
        .map(|c| match quote {
            Some(open) => {
                quote = (c != open).then_some(open);
                ' '
            }
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                ' '
            }
            None => c,
        })
        .collect();
    bare.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == variable)
}

#[cfg(test)]
mod tests {
    use super::reads;

    #[test]
    fn a_variable_is_told_from_a_text() {
        let tier = "complexity_tier";
        assert!(reads("complexity_tier == 'SIMPLE'", tier));
        assert!(reads("model == \"it's\" && !(complexity_tier != \"x\")", tier));
        assert!(!reads("headers[\"complexity_tier\"] == 'complexity_tier'", tier));
        assert!(!reads("my_complexity_tier == 'a'", tier));
    }
}
