//! What governance costs a request: 10,000 virtual keys and 1,000 rules, one attempt.
//!
//! `nice cargo bench --bench govern`. The bar: authorise and route below 3 µs at the median.
#![expect(clippy::panic, reason = "a world that cannot be built is not measured")]

use criterion::{Criterion, criterion_group, criterion_main};
use finops_gateway::govern::budgets::{BudgetPlan, NANO, Seed};
use finops_gateway::govern::ledger::Ledger;
use finops_gateway::govern::limits::Enforcement;
use finops_gateway::govern::plan::{LimitsPlan, ProviderConfigPlan, TeamPlan, VirtualKeyPlan};
use finops_gateway::govern::prices::{Prices, Query};
use finops_gateway::govern::rate_limits::{Rate, RateLimitPlan};
use finops_gateway::govern::virtual_keys::Digest;
use finops_gateway::govern::windows::Window;
use finops_gateway::govern::{
    Credential, Estimate, Gauge, Identity, Plan, Source, Spent, Tables, Target,
};
use finops_gateway::provider::{Key, Provider, catalog};
use finops_gateway::route::keys::choose;
use finops_gateway::route::rules::Scope;
use finops_gateway::route::{
    Caller, Catalogue, Fleet, Health, KeyAsk, Named, Offer, Question, Random, Routes, RulePlan,
    RuleTarget, Rules, Standing, plan,
};
use std::hint::black_box;
use std::sync::Arc;

const KEYS: usize = 10_000;
const RULES: usize = 1_000;
const NOW: i64 = 1_767_225_600_000;

fn window(span: &str, aligned: bool) -> Window {
    Window::new(span.parse().unwrap_or_else(|_| unreachable!()), aligned, 1)
}

fn limits(strict: bool) -> LimitsPlan {
    let enforcement = if strict { Enforcement::Strict } else { Enforcement::Soft };
    let budget = |id: &str, span, aligned| BudgetPlan {
        id: id.into(),
        max: 1_000_000 * NANO,
        window: window(span, aligned),
        enforcement,
        extra: None,
        seed: Seed::default(),
    };
    let rate = |span| Rate {
        max: u64::from(u32::MAX),
        window: window(span, false),
        enforcement,
        seed: Seed::default(),
    };
    LimitsPlan {
        budgets: vec![budget("day", "1d", false), budget("month", "1M", true)],
        rate_limits: vec![RateLimitPlan {
            id: "rl".into(),
            requests: Some(rate("1m")),
            tokens: Some(rate("1h")),
            concurrent: None,
        }],
    }
}

fn virtual_key(number: usize) -> VirtualKeyPlan {
    let config = |provider: &str, weight| ProviderConfigPlan {
        id: provider.into(),
        provider: provider.into(),
        weight: Some(weight),
        allowed_models: vec!["*".into()],
        blacklisted_models: Vec::new(),
        key_ids: vec!["*".into()],
        limits: LimitsPlan::default(),
    };
    VirtualKeyPlan {
        id: format!("vk-{number}").into(),
        name: format!("key {number}").into(),
        digest: Digest::of(&secret(number)),
        previous: None,
        active: true,
        expires_at: Some(i64::MAX),
        allow_all_providers: false,
        providers: vec![config("vertex", 0.8), config("bedrock", 0.2)],
        team: Some(format!("team-{}", number % 100).into()),
        customer: None,
        limits: limits(number.is_multiple_of(2)),
        disable_content_logging: None,
    }
}

fn secret(number: usize) -> String {
    format!("sk-bf-00000000-0000-4000-8000-{number:012}")
}

fn governance() -> Plan {
    let team = |number| TeamPlan {
        id: format!("team-{number}").into(),
        name: format!("team {number}").into(),
        customer: None,
        limits: limits(false),
    };
    Plan {
        enforce_auth: true,
        known_providers: vec!["vertex".into(), "bedrock".into()],
        virtual_keys: (0..KEYS).map(virtual_key).collect(),
        teams: (0..100).map(team).collect(),
        ..Plan::default()
    }
}

/// Half of them global, the others of keys and teams; most name a model, a few do not.
fn rules() -> Vec<RulePlan> {
    (0..RULES)
        .map(|number| RulePlan {
            id: number.to_string().into(),
            name: number.to_string().into(),
            scope: match number % 4 {
                0 => Scope::VirtualKey(format!("vk-{number}").into()),
                1 => Scope::Team(format!("team-{}", number % 100).into()),
                _ => Scope::Global,
            },
            priority: i64::try_from(number).unwrap_or(0),
            expression: if number % 500 == 2 {
                "headers[\"x-tenant\"] == \"nobody\"".into()
            } else {
                format!(
                    "model == \"alias-{number}\" && headers[\"user-agent\"].startsWith(\"claude\")"
                )
                .into()
            },
            targets: vec![RuleTarget {
                provider: Some("vertex".into()),
                model: Some("claude-sonnet-4-6".into()),
                key: None,
                weight: 1.0,
            }],
            ..RulePlan::default()
        })
        .collect()
}

struct Providers(Vec<Provider>);

impl Fleet for Providers {
    fn provider(&self, name: &str) -> Option<&Provider> {
        self.0.iter().find(|provider| *provider.name == *name)
    }
}

fn providers() -> Providers {
    let names = ["anthropic", "openai", "bedrock", "vertex"];
    let rows = names.iter().filter_map(|name| catalog::row(name));
    let keys = || (0..4).map(|number| Key::named(&format!("key-{number}"))).collect();
    Providers(rows.map(|row| Provider { keys: keys(), ..Provider::of(row) }).collect())
}

struct Used<'a>(&'a Tables, Identity<'a, 'a>);

impl Standing for Used<'_> {
    fn budget_used(&self, provider: &str, model: &str) -> f64 {
        self.0.gauge(&self.1, Gauge::Budget, (provider, model), NOW)
    }
    fn tokens_used(&self, provider: &str, model: &str) -> f64 {
        self.0.gauge(&self.1, Gauge::Tokens, (provider, model), NOW)
    }
    fn requests_used(&self, provider: &str, model: &str) -> f64 {
        self.0.gauge(&self.1, Gauge::Requests, (provider, model), NOW)
    }
    fn budget_used_in(&self, provider: &str, model: &str) -> Vec<(String, f64)> {
        self.0.gauge_by_span(&self.1, (provider, model), NOW)
    }
}

struct World {
    tables: Arc<Tables>,
    routes: Routes,
    fleet: Providers,
    health: Health,
}

const HEADERS: [(&str, &str); 6] = [
    ("host", "localhost"),
    ("accept", "application/json"),
    ("anthropic-version", "2023-06-01"),
    ("x-app", "cli"),
    ("user-agent", "claude-cli/2.1.143 (external, cli)"),
    ("content-type", "application/json"),
];

impl World {
    fn build() -> Self {
        let tables = Tables::build(&governance(), &mut Ledger::in_memory(), NOW);
        let fleet = providers();
        let prices = Prices::shipped();
        Self {
            tables: Arc::new(tables.unwrap_or_else(|faults| panic!("{faults:?}"))),
            routes: Routes {
                rules: Rules::build(rules(), 10).unwrap_or_else(|faults| panic!("{faults:?}")),
                catalogue: Catalogue::build(&fleet.0, prices.iter()),
            },
            fleet,
            health: Health::default(),
        }
    }

    /// From the credential to the settled grant of the first target.
    fn request(&self, secret: &str, model: &str, seed: u64) -> Option<usize> {
        let credentials = [Credential { source: Source::Bearer, value: secret }];
        let identity = self.tables.identify(&credentials, &|_| None, NOW).ok()?;
        let key = identity.key?;
        let offers = self.tables.offers(key, Some(model), NOW).ok()?;
        let offers: smallvec::SmallVec<[Offer<'_>; 4]> = offers
            .iter()
            .map(|offer| Offer {
                provider: offer.provider,
                weight: offer.weight,
                any_model: offer.any_model,
            })
            .collect();
        let team = key.team.as_ref()?;
        let used = Used(&self.tables, identity);
        let question = Question {
            model,
            native: "anthropic",
            request_type: "chat_completion",
            headers: &HEADERS,
            params: &[] as &[(&str, &str); 0],
            caller: Caller {
                virtual_key: Named { id: &key.id, name: &key.name },
                team: Named { id: &team.id, name: &team.name },
                customer: Named::default(),
            },
            standing: &used,
            complexity_tier: None,
            offers: Some(&offers),
            fallbacks: &[],
            pin: None,
            session: None,
            single: false,
            random: Random::new(seed),
        };
        let plan = plan(&self.routes, &self.fleet, &question, &self.health, NOW);
        let target = plan.targets.first()?;
        let attempt = Target {
            provider: target.provider,
            model: Some(target.model),
            estimate: Estimate { cost: 1_000_000, tokens: 1_000 },
        };
        let grant = self.tables.admit(&identity, &attempt, NOW).ok()?;
        let ask = KeyAsk {
            model: target.model,
            allowed: &|_| true,
            pin: target.pin,
            session: None,
            batch: false,
            spent: &[],
            random: Random::new(seed),
        };
        let provider = self.fleet.provider(target.provider)?;
        let chosen = choose(provider, &ask, &self.health, NOW).ok()?;
        grant.settle(&Spent { cost: 900_000, tokens: 900, answered: true }, NOW);
        chosen
    }
}

fn requests(c: &mut Criterion) {
    let world = World::build();
    let secrets: Vec<String> = (0..KEYS).map(secret).collect();
    let mut group = c.benchmark_group("authorise+route+settle");
    for (name, model) in [
        ("no rule matches", "claude-sonnet-4-6"),
        ("a global rule matches", "alias-994"),
        ("a prefix", "vertex/claude-sonnet-4-6"),
    ] {
        let mut at = 0_usize;
        group.bench_function(name, |b| {
            b.iter(|| {
                at = (at + 7_919) % KEYS;
                let chosen = world.request(&secrets[at], black_box(model), at as u64);
                assert!(chosen.is_some());
            });
        });
    }
    group.finish();
    c.bench_function("identify", |b| {
        let credentials = [Credential { source: Source::Bearer, value: &secrets[77] }];
        b.iter(|| world.tables.identify(black_box(&credentials), &|_| None, NOW).is_ok());
    });
    c.bench_function("price an answer", |b| {
        let prices = Prices::shipped();
        let usage = finops_gateway::chat::Usage {
            input: Some(1_000),
            output: Some(500),
            cache_read: Some(20_000),
            ..Default::default()
        };
        let models = ["eu.anthropic.claude-sonnet-4-5-20250929-v1:0"];
        let query = Query { provider: "bedrock", models: &models, ..Query::default() };
        b.iter(|| prices.quote(black_box(&query)).map(|quote| quote.cost(&usage)));
    });
}

fn build(c: &mut Criterion) {
    let mut group = c.benchmark_group("build");
    group.sample_size(10);
    let plan = governance();
    group.bench_function("tables of 10,000 keys, counters kept", |b| {
        let mut ledger = Ledger::in_memory();
        b.iter(|| Tables::build(&plan, &mut ledger, NOW).is_ok());
    });
    group.bench_function("1,000 rules", |b| {
        b.iter(|| Rules::build(rules(), 10).is_ok());
    });
    group.finish();
}

criterion_group!(benches, requests, build);
criterion_main!(benches);
