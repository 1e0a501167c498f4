//! From the file's rules and price overrides to what `route` and `govern` are built from.
//!
//! In: the section, checked for its references. Out: [`RulePlan`]s of the enabled rules with their
//! places in the file, and [`PriceOverride`]s, or faults with their JSON paths. Never: compiles one.

use crate::config::fault::{Faults, Path};
use crate::config::file_governance as file;
use crate::govern::price_sheet;
use crate::govern::prices::{Pattern, PriceOverride, Scope as PriceScope};
use crate::route::rules::Scope;
use crate::route::{Fallback, KeyPin, RulePlan, RuleTarget};

/// The enabled rules, each with its place in `routing_rules`.
pub fn rules(governance: &file::Governance, faults: &mut Faults) -> Vec<(usize, RulePlan)> {
    let root = Path::root().key("governance").key("routing_rules");
    let enabled = governance.routing_rules.iter().enumerate().filter(|(_, rule)| rule.enabled);
    enabled
        .filter_map(|(at, rule)| {
            let scope = scope(rule, &root.index(at).key("scope_id"), faults)?;
            let plan = RulePlan {
                id: rule.id.as_str().into(),
                name: rule.name.as_str().into(),
                scope,
                priority: rule.priority,
                expression: rule.cel_expression.as_str().into(),
                chain: rule.chain_rule,
                targets: rule.targets.iter().map(target).collect(),
                fallbacks: rule.fallbacks.iter().filter_map(fallback).collect(),
            };
            Some((at, plan))
        })
        .collect()
}

fn scope(rule: &file::RoutingRule, path: &Path, faults: &mut Faults) -> Option<Scope> {
    let id = rule.scope_id.as_deref().filter(|id| !id.is_empty());
    let Some(id) = id else {
        if rule.scope == file::RuleScope::Global {
            return Some(Scope::Global);
        }
        faults.push(path, "is required with this `scope`");
        return None;
    };
    Some(match rule.scope {
        file::RuleScope::Global => Scope::Global,
        file::RuleScope::Customer => Scope::Customer(id.into()),
        file::RuleScope::Team => Scope::Team(id.into()),
        file::RuleScope::VirtualKey => Scope::VirtualKey(id.into()),
    })
}

fn target(of: &file::RuleTarget) -> RuleTarget {
    let id = boxed(of.key_id.as_deref()).map(KeyPin::Id);
    RuleTarget {
        provider: boxed(of.provider.as_deref()),
        model: boxed(of.model.as_deref()),
        key: id.or_else(|| boxed(of.provider_key_name.as_deref()).map(KeyPin::Name)),
        weight: of.weight,
    }
}

fn fallback(of: &file::Fallback) -> Option<Fallback> {
    Some(match of {
        file::Fallback::Name(name) => {
            let (provider, model) = name.split_once('/')?;
            Fallback { provider: provider.into(), model: boxed(Some(model)), key: None }
        }
        file::Fallback::Target(to) => Fallback {
            provider: to.provider.as_str().into(),
            model: boxed(to.model.as_deref()),
            key: boxed(to.key_id.as_deref()).map(KeyPin::Id),
        },
    })
}

/// The prices of one's own.
pub fn overrides(governance: &file::Governance, faults: &mut Faults) -> Vec<PriceOverride> {
    let root = Path::root().key("governance").key("pricing_overrides");
    let all = governance.pricing_overrides.iter().enumerate();
    all.filter_map(|(at, of)| {
        let path = root.index(at);
        let price = price_sheet::parse_patch(&of.pricing_patch)
            .map_err(|bad| faults.push(&path.key("pricing_patch"), bad.to_string()))
            .ok()?;
        let models = match of.match_type {
            file::MatchType::Exact => Pattern::Exact(of.pattern.as_str().into()),
            file::MatchType::Wildcard => match of.pattern.strip_suffix('*') {
                Some(prefix) => Pattern::Prefix(prefix.into()),
                None => {
                    faults.push(&path.key("pattern"), "a wildcard is a prefix ending in `*`");
                    return None;
                }
            },
        };
        use file::PricingScope as Kind;
        let kind = of.scope_kind;
        let key = matches!(kind, Kind::ProviderKey | Kind::VirtualKeyProviderKey);
        let virtual_key = matches!(
            kind,
            Kind::VirtualKey | Kind::VirtualKeyProvider | Kind::VirtualKeyProviderKey
        );
        let provider = key || matches!(kind, Kind::Provider | Kind::VirtualKeyProvider);
        let part = |wanted: bool, id: &Option<String>| boxed(id.as_deref().filter(|_| wanted));
        let scope = PriceScope {
            virtual_key: part(virtual_key, &of.virtual_key_id),
            provider: part(provider, &of.provider_id),
            key: part(key, &of.provider_key_id),
        };
        let request_types = of.request_types.iter().map(|kind| kind.as_str().into()).collect();
        Some(PriceOverride { scope, models, request_types, price })
    })
    .collect()
}

fn boxed(text: Option<&str>) -> Option<Box<str>> {
    text.filter(|text| !text.is_empty()).map(Into::into)
}
