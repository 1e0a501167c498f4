//! Governance from the outside: who is let in, what is refused and how, that no interleaving passes
//! a limit, and what answers cost.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

use finops_gateway::chat::Usage;
use finops_gateway::govern::budgets::{BudgetPlan, NANO, Override, Seed};
use finops_gateway::govern::counter::{Counter, Held};
use finops_gateway::govern::ledger::{Ending, Ledger};
use finops_gateway::govern::limits::Enforcement;
use finops_gateway::govern::plan::{
    CustomerPlan, HeaderRule, LimitsPlan, ModelPlan, ModelScope, ProviderConfigPlan, TeamPlan,
    VirtualKeyPlan,
};
use finops_gateway::govern::prices::{Prices, Query, Tier};
use finops_gateway::govern::rate_limits::{Rate, RateLimitPlan};
use finops_gateway::govern::virtual_keys::Digest;
use finops_gateway::govern::windows::Window;
use finops_gateway::govern::{
    Ask, Credential, Denied, Estimate, Gauge, Grant, Plan, Reason, Source, Spent, Tables, Target,
    decide,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

fn rolling(span: &str) -> Window {
    Window::Rolling(span.parse().unwrap())
}

fn budget(id: &str, dollars: u64, span: &str, enforcement: Enforcement) -> BudgetPlan {
    BudgetPlan {
        id: id.into(),
        max: dollars * NANO,
        window: rolling(span),
        enforcement,
        extra: None,
        seed: Seed { used: 0, last_reset: Some(0) },
    }
}

fn budgets(budgets: Vec<BudgetPlan>) -> LimitsPlan {
    LimitsPlan { budgets, rate_limits: Vec::new() }
}

fn rates(requests: Option<u64>, tokens: Option<u64>, concurrent: Option<u64>) -> LimitsPlan {
    let rate = |max, enforcement| Rate {
        max,
        window: rolling("1m"),
        enforcement,
        seed: Seed { used: 0, last_reset: Some(0) },
    };
    let plan = RateLimitPlan {
        id: "rl".into(),
        requests: requests.map(|max| rate(max, Enforcement::Strict)),
        tokens: tokens.map(|max| rate(max, Enforcement::Soft)),
        concurrent,
    };
    LimitsPlan { budgets: Vec::new(), rate_limits: vec![plan] }
}

fn config(provider: &str, allowed: &[&str]) -> ProviderConfigPlan {
    ProviderConfigPlan {
        id: provider.into(),
        provider: provider.into(),
        weight: Some(1.0),
        allowed_models: allowed.iter().map(|model| (*model).into()).collect(),
        blacklisted_models: Vec::new(),
        key_ids: vec!["*".into()],
        limits: LimitsPlan::default(),
    }
}

fn key(id: &str) -> VirtualKeyPlan {
    VirtualKeyPlan {
        id: id.into(),
        name: id.into(),
        digest: Digest::of(&format!("sk-bf-{id}")),
        previous: None,
        active: true,
        expires_at: None,
        allow_all_providers: false,
        providers: vec![config("openai", &["*"])],
        team: None,
        customer: None,
        limits: LimitsPlan::default(),
        disable_content_logging: None,
    }
}

fn plan(virtual_keys: Vec<VirtualKeyPlan>) -> Plan {
    Plan {
        known_providers: vec!["openai".into(), "anthropic".into()],
        virtual_keys,
        ..Plan::default()
    }
}

fn tables(plan: &Plan) -> Arc<Tables> {
    Arc::new(Tables::build(plan, &mut Ledger::in_memory(), 0).unwrap())
}

fn ask_as(
    tables: &Arc<Tables>,
    secret: &str,
    (provider, model): (&str, Option<&str>),
    estimate: Estimate,
    now: i64,
) -> Result<Grant, Box<Denied>> {
    let credentials = [Credential { source: Source::Bearer, value: secret }];
    let credentials = if secret.is_empty() { &[][..] } else { &credentials[..] };
    let ask = Ask { credentials, header: &|_| None, target: Target { provider, model, estimate } };
    decide(tables, &ask, now).map(|(_, grant)| grant)
}

fn ask(tables: &Arc<Tables>, id: &str, now: i64) -> Result<Grant, Box<Denied>> {
    let secret = format!("sk-bf-{id}");
    ask_as(tables, &secret, ("openai", Some("gpt-4o")), Estimate::default(), now)
}

fn spent(dollars: u64, tokens: u64) -> Spent {
    Spent { cost: dollars * NANO, tokens, answered: true }
}

#[test]
fn who_is_let_in() {
    let mut virtual_keys = vec![
        key("ok"),
        VirtualKeyPlan { active: false, ..key("off") },
        VirtualKeyPlan { expires_at: Some(1_000), ..key("old") },
        VirtualKeyPlan { providers: Vec::new(), ..key("nothing") },
        VirtualKeyPlan { providers: Vec::new(), allow_all_providers: true, ..key("all") },
    ];
    let mut listed = config("openai", &["gpt-4o", "regex:o[134].*", "openai/gpt-5"]);
    listed.blacklisted_models = vec!["o1-pro".into()];
    virtual_keys.push(VirtualKeyPlan { providers: vec![listed], ..key("some") });
    let open = tables(&plan(virtual_keys));
    let gpt = ("openai", Some("gpt-4o"));
    for (secret, target, now, refused) in [
        ("sk-bf-ok", gpt, 0, None),
        ("sk-bf-ok", ("openai", None), 0, None),
        ("sk-bf-ok", ("anthropic", Some("m")), 0, Some((Reason::ProviderBlocked, 403))),
        ("sk-bf-off", gpt, 0, Some((Reason::AccessBlocked, 403))),
        ("sk-bf-old", gpt, 999, None),
        ("sk-bf-old", gpt, 1_000, Some((Reason::AccessBlocked, 403))),
        ("sk-bf-none", gpt, 0, Some((Reason::AccessBlocked, 403))),
        ("sk-bf-nothing", gpt, 0, Some((Reason::ProviderBlocked, 403))),
        ("sk-bf-all", ("anthropic", Some("m")), 0, None),
        ("sk-bf-some", gpt, 0, None),
        ("sk-bf-some", ("openai", Some("gpt-5")), 0, None),
        ("sk-bf-some", ("openai", Some("O3-mini")), 0, None),
        ("sk-bf-some", ("openai", Some("o1-pro")), 0, Some((Reason::ModelBlocked, 403))),
        ("sk-bf-some", ("openai", Some("gpt-4o-mini")), 0, Some((Reason::ModelBlocked, 403))),
        ("sk-bf-some", ("openai", None), 0, Some((Reason::ModelBlocked, 403))),
        ("", gpt, 0, None),
        ("sk-ant-direct", gpt, 0, None),
    ] {
        let outcome = ask_as(&open, secret, target, Estimate::default(), now);
        let reason = outcome.as_ref().err().map(|denied| (denied.reason, denied.reason.status()));
        assert_eq!(reason, refused, "{secret} {target:?} {now}");
        if let Err(denied) = outcome {
            assert!(!denied.should_retry && denied.retry_after_s.is_none());
        }
    }
    let closed = Plan { enforce_auth: true, ..plan(vec![key("ok")]) };
    let denied = ask_as(&tables(&closed), "", gpt, Estimate::default(), 0).unwrap_err();
    assert_eq!((denied.reason.as_str(), denied.reason.status()), ("virtual_key_required", 401));
    assert!(denied.message.contains("x-bf-vk"));
}

#[test]
fn required_headers_come_before_everything() {
    let rule = |name: &str, rule| (name.into(), rule);
    let required = Plan {
        enforce_auth: true,
        required_headers: vec![
            rule("X-Tenant", HeaderRule::Present),
            rule("x-env", HeaderRule::Equals(Some("prod".into()))),
            rule("x-team", HeaderRule::Matches("[a-z]+".into())),
        ],
        ..plan(vec![])
    };
    let required = tables(&required);
    let outcome = |sent: &[(&str, &'static str)]| {
        let sent = sent.to_vec();
        let header = move |name: &str| {
            sent.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
        };
        let denied = required.identify(&[], &header, 0).unwrap_err();
        (denied.reason.status(), denied.message.clone())
    };
    let whole = [("x-tenant", "a"), ("x-env", "prod"), ("x-team", "ml")];
    assert_eq!(outcome(&whole).0, 401, "then the missing key is noticed");
    assert!(outcome(&whole[1..]).1.contains("`x-tenant` is missing"));
    let wrong = [("x-tenant", "a"), ("x-env", "dev"), ("x-team", "ml")];
    assert!(outcome(&wrong).1.contains("`x-env` has not the required value"));
    let partly = [("x-tenant", "a"), ("x-env", "prod"), ("x-team", "ml1")];
    assert_eq!(outcome(&partly).0, 400);
}

#[test]
fn a_soft_budget_blocks_once_it_is_spent() {
    let soft = budgets(vec![budget("b", 25, "1d", Enforcement::Soft)]);
    let soft = tables(&plan(vec![VirtualKeyPlan { limits: soft, ..key("vk") }]));
    ask(&soft, "vk", 0).unwrap().settle(&spent(24, 0), 0);
    ask(&soft, "vk", 1).unwrap().settle(&spent(3, 0), 1);
    let denied = ask(&soft, "vk", 2_000).unwrap_err();
    assert_eq!((denied.reason.as_str(), denied.reason.status()), ("budget_exceeded", 402));
    assert_eq!(
        denied.message,
        "budget_exceeded: budget of virtual key `vk`: 27.0000 >= 25.0000 dollars per 1d; \
         resets at 1970-01-02T00:00:00Z"
    );
    assert_eq!((denied.retry_after_s, denied.should_retry), (Some(86_398), false));
    assert!(ask(&soft, "vk", 86_400_000).is_ok(), "a new window");
}

#[test]
fn a_strict_budget_is_never_overspent() {
    let strict = budgets(vec![budget("b", 10, "1d", Enforcement::Strict)]);
    let strict = tables(&plan(vec![VirtualKeyPlan { limits: strict, ..key("vk") }]));
    let reserve = |dollars: u64| {
        let estimate = Estimate { cost: dollars * NANO, tokens: 0 };
        ask_as(&strict, "sk-bf-vk", ("openai", Some("m")), estimate, 0)
    };
    let first = reserve(6).unwrap();
    let denied = reserve(5).unwrap_err();
    assert!(denied.message.contains("6.0000 of 10.0000 dollars per 1d used or reserved"));
    assert!(denied.message.contains("may take 5.0000"), "{}", denied.message);
    first.settle(&spent(1, 0), 0);
    drop(reserve(9).unwrap());
    let again = reserve(9).expect("dropping gave it back");
    assert!(reserve(1).is_err());
    again.settle(&spent(9, 0), 0);
    assert!(reserve(0).is_ok());
    let never = reserve(11).unwrap_err();
    assert_eq!(never.retry_after_s, None, "it will not fit tomorrow, either");
}

#[test]
fn prepaid_budgets_and_overrides() {
    let prepaid = BudgetPlan { window: Window::Never, ..budget("b", 5, "1d", Enforcement::Soft) };
    let extra = Some(Override { amount: 3 * NANO, until: Some(1_000) });
    let more = BudgetPlan { extra, ..prepaid.clone() };
    let both = tables(&plan(vec![
        VirtualKeyPlan { limits: budgets(vec![prepaid]), ..key("plain") },
        VirtualKeyPlan { limits: budgets(vec![more]), ..key("more") },
    ]));
    for id in ["plain", "more"] {
        ask(&both, id, 0).unwrap().settle(&spent(6, 0), 0);
    }
    let denied = ask(&both, "plain", i64::from(u32::MAX)).unwrap_err();
    assert_eq!(denied.retry_after_s, None);
    assert!(denied.message.contains("does not reset"), "{}", denied.message);
    assert!(ask(&both, "more", 999).is_ok());
    assert!(ask(&both, "more", 1_000).is_err(), "the override is over");
}

#[test]
fn requests_tokens_and_concurrency() {
    let limited = |limits| tables(&plan(vec![VirtualKeyPlan { limits, ..key("vk") }]));
    let requests = limited(rates(Some(2), None, None));
    drop(ask(&requests, "vk", 0).unwrap());
    let failed = Spent { answered: false, ..Spent::default() };
    ask(&requests, "vk", 0).unwrap().settle(&failed, 0);
    ask(&requests, "vk", 0).unwrap().settle(&spent(0, 0), 0);
    let running = ask(&requests, "vk", 0).unwrap();
    let denied = ask(&requests, "vk", 30_000).unwrap_err();
    assert_eq!((denied.reason.as_str(), denied.reason.status()), ("request_limited", 429));
    assert_eq!((denied.retry_after_s, denied.should_retry), (Some(30), true));
    assert!(denied.message.contains("2 >= 2 requests per 1m"), "{}", denied.message);
    drop(running);
    assert!(ask(&requests, "vk", 0).is_ok(), "what failed does not count");

    let tokens = limited(rates(None, Some(100), None));
    ask(&tokens, "vk", 0).unwrap().settle(&spent(0, 150), 0);
    let denied = ask(&tokens, "vk", 0).unwrap_err();
    assert_eq!((denied.reason.as_str(), denied.reason.status()), ("token_limited", 429));
    assert!(ask(&tokens, "vk", 60_000).is_ok());
    let cancelled = Spent { cost: 0, tokens: 100, answered: false };
    ask(&tokens, "vk", 60_000).unwrap().settle(&cancelled, 60_000);
    assert!(ask(&tokens, "vk", 60_000).is_err(), "tokens of a cancelled call are charged");

    let at_once = limited(rates(None, None, Some(1)));
    let one = ask(&at_once, "vk", 0).unwrap();
    let denied = ask(&at_once, "vk", 0).unwrap_err();
    assert_eq!((denied.reason.status(), denied.retry_after_s), (429, Some(1)));
    one.settle(&spent(0, 0), 0);
    assert!(ask(&at_once, "vk", 0).is_ok());
}

#[test]
fn limits_are_asked_in_order_and_nothing_stays_reserved() {
    let one = || rates(Some(1), None, None);
    let broke = || budgets(vec![BudgetPlan { max: 0, ..budget("b", 1, "1d", Enforcement::Soft) }]);
    let owners = |plan: &Plan| {
        let tables = tables(plan);
        let mut owners = Vec::new();
        let _ = tables.identify(&[], &|_| None, 0);
        let secret = [Credential { source: Source::Bearer, value: "sk-bf-vk" }];
        let identity = tables.identify(&secret, &|_| None, 0).unwrap();
        tables.each_limit(&identity, ("openai", "gpt-4o"), &mut |limit| {
            owners.push((limit.name.owner.kind.as_str(), limit.metric.as_str()));
        });
        owners
    };
    let provider = ProviderConfigPlan { limits: one(), ..config("openai", &["*"]) };
    let full = Plan {
        providers: vec![("openai".into(), one())],
        models: vec![
            ModelPlan {
                id: "g".into(),
                model: Some("gpt-4o".into()),
                provider: None,
                scope: ModelScope::Global,
                limits: one(),
            },
            ModelPlan {
                id: "k".into(),
                model: None,
                provider: Some("openai".into()),
                scope: ModelScope::VirtualKey("vk".into()),
                limits: broke(),
            },
        ],
        customers: vec![CustomerPlan { id: "c".into(), name: "Acme".into(), limits: one() }],
        teams: vec![TeamPlan {
            id: "t".into(),
            name: "ML".into(),
            customer: Some("c".into()),
            limits: one(),
        }],
        ..plan(vec![VirtualKeyPlan {
            team: Some("t".into()),
            limits: one(),
            providers: vec![provider],
            ..key("vk")
        }])
    };
    let kinds: Vec<_> = owners(&full).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(
        kinds,
        ["provider", "model", "virtual_key_provider", "virtual_key", "team", "customer", "model"]
    );
    let tables = tables(&full);
    for _ in 0..3 {
        let denied = ask(&tables, "vk", 0).unwrap_err();
        assert_eq!(denied.reason, Reason::BudgetExceeded, "the last limit refuses, every time");
        assert!(denied.message.contains("model `openai/*`"), "{}", denied.message);
    }
}

#[test]
fn rate_limits_refuse_before_budgets() {
    let mut limits = rates(Some(0), None, None);
    limits.budgets = vec![BudgetPlan { max: 0, ..budget("b", 1, "1d", Enforcement::Soft) }];
    let tables = tables(&plan(vec![VirtualKeyPlan { limits, ..key("vk") }]));
    assert_eq!(ask(&tables, "vk", 0).unwrap_err().reason, Reason::RequestLimited);
}

#[test]
fn offers_leave_out_what_is_full() {
    let mut full = config("openai", &["*"]);
    full.limits = rates(Some(1), None, None);
    let providers = vec![full, config("anthropic", &["claude-x"])];
    let tables = tables(&plan(vec![VirtualKeyPlan { providers, ..key("vk") }]));
    let secret = [Credential { source: Source::Bearer, value: "sk-bf-vk" }];
    let identity = tables.identify(&secret, &|_| None, 0).unwrap();
    let offers = |model| {
        let offers = tables.offers(identity.key.unwrap(), Some(model), 0)?;
        Ok::<_, Box<Denied>>(offers.iter().map(|offer| offer.provider).collect::<Vec<_>>())
    };
    assert_eq!(offers("claude-x").unwrap(), ["openai", "anthropic"]);
    let _held = ask(&tables, "vk", 0).unwrap();
    assert_eq!(offers("claude-x").unwrap(), ["anthropic"], "fail-over by itself");
    assert_eq!(offers("gpt-4o").unwrap_err().reason, Reason::RequestLimited);
    let percent = tables.gauge(&identity, Gauge::Requests, ("openai", "gpt-4o"), 0);
    assert!((percent - 100.0).abs() < 1e-9);
}

#[test]
fn usage_survives_a_new_snapshot() {
    let mut ledger = Ledger::in_memory();
    let with = |dollars| {
        let limits = budgets(vec![budget("b", dollars, "1d", Enforcement::Soft)]);
        plan(vec![VirtualKeyPlan { limits, ..key("vk") }])
    };
    let old = Arc::new(Tables::build(&with(10), &mut ledger, 0).unwrap());
    let in_flight = ask(&old, "vk", 0).unwrap();
    ask(&old, "vk", 0).unwrap().settle(&spent(8, 0), 0);
    let new = Arc::new(Tables::build(&with(9), &mut ledger, 5_000).unwrap());
    drop(old);
    assert!(ask(&new, "vk", 5_000).is_ok());
    in_flight.settle(&spent(2, 0), 6_000);
    let denied = ask(&new, "vk", 6_000).unwrap_err();
    assert!(denied.message.contains("10.0000 >= 9.0000"), "{}", denied.message);
}

#[test]
fn faults_are_all_told_with_their_places() {
    let mut bad = config("openai", &["ok", "regex:("]);
    bad.weight = Some(-1.0);
    let broken = plan(vec![
        VirtualKeyPlan { team: Some("gone".into()), providers: vec![bad], ..key("a") },
        VirtualKeyPlan { digest: Digest::of("sk-bf-a"), ..key("b") },
        key("b"),
    ]);
    let faults = Tables::build(&broken, &mut Ledger::in_memory(), 0).unwrap_err();
    let paths: Vec<_> = faults.iter().map(|fault| &*fault.path).collect();
    assert_eq!(
        paths,
        [
            "virtual_keys[0].team_id",
            "virtual_keys[0].provider_configs[0].weight",
            "virtual_keys[0].provider_configs[0].allowed_models[1]",
            "virtual_keys[1].value",
            "virtual_keys[2]",
        ]
    );
}

/// One core's part: reserves, settles and releases at random, and core 0 turns the clock on.
fn hammer(thread: u64, counter: &Counter, kept: &[AtomicU64], clock: &AtomicI64) {
    let mut seed = thread.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for step in 0..40_000_u64 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let window = clock.load(Ordering::SeqCst);
        if thread == 0 && step % 600 == 0 {
            clock.store((window + 1).min(63), Ordering::SeqCst);
        }
        let estimate = 1 + seed % 40;
        let Ok(held) = counter.reserve(window, estimate, HAMMERED, false) else { continue };
        if seed.is_multiple_of(3) {
            // It may have gone into a newer window than this thread knew of.
            let actual = seed % (estimate + 1);
            let place = usize::try_from(held.start()).unwrap();
            kept[place].fetch_add(actual, Ordering::SeqCst);
            counter.settle(held, actual);
        } else {
            counter.release(held);
        }
    }
}

/// The limit that all cores are driven at.
const HAMMERED: u64 = 1_000;

/// All cores at one strict budget, a request limit and a window that rolls on under them.
#[test]
fn hammered_from_all_sides_no_limit_is_passed() {
    let counter = Arc::new(Counter::default());
    // What was spent in each window, by the threads' own count.
    let kept: Arc<[AtomicU64]> = (0..64).map(|_| AtomicU64::new(0)).collect();
    let clock = Arc::new(AtomicI64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (counter, kept, clock) = (&counter, &kept, &clock);
            scope.spawn(move || hammer(thread, counter, kept, clock));
        }
    });
    let last = clock.load(Ordering::SeqCst);
    assert!(last > 0, "the clock moved");
    let last = usize::try_from(last).unwrap();
    for (window, kept) in kept.iter().enumerate() {
        assert!(kept.load(Ordering::SeqCst) <= HAMMERED, "window {window} was overspent");
    }
    let start = i64::try_from(last).unwrap();
    assert_eq!(counter.used(start), kept[last].load(Ordering::SeqCst), "to the last unit");
}

/// The same through the front door: figures admitted are exact, on every core at once.
#[test]
fn the_admitted_figure_is_exact() {
    let mut limits = rates(Some(5_000), None, Some(6));
    limits.budgets = vec![budget("b", 100, "1Y", Enforcement::Strict)];
    let tables = tables(&plan(vec![VirtualKeyPlan { limits, ..key("vk") }]));
    let (answered, cost, running, most) =
        (AtomicU64::new(0), AtomicU64::new(0), AtomicI64::new(0), AtomicI64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (tables, answered, cost) = (&tables, &answered, &cost);
            let (running, most) = (&running, &most);
            scope.spawn(move || {
                for step in 0..2_000_u64 {
                    let estimate = Estimate { cost: 40_000_000, tokens: 0 };
                    let target = ("openai", Some("m"));
                    let Ok(grant) = ask_as(tables, "sk-bf-vk", target, estimate, 1) else {
                        continue;
                    };
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let actual = (thread * 2_000 + step) % 40_000_001;
                    running.fetch_sub(1, Ordering::SeqCst);
                    if step % 5 == 0 {
                        drop(grant);
                        continue;
                    }
                    answered.fetch_add(1, Ordering::SeqCst);
                    cost.fetch_add(actual, Ordering::SeqCst);
                    grant.settle(&Spent { cost: actual, tokens: 1, answered: true }, 1);
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 6);
    let (mut requests, mut dollars, mut in_flight) = (0, 0, 1);
    let secret = [Credential { source: Source::Bearer, value: "sk-bf-vk" }];
    let identity = tables.identify(&secret, &|_| None, 1).unwrap();
    tables.each_limit(&identity, ("openai", "m"), &mut |limit| match limit.metric.as_str() {
        "requests" => requests = limit.used(1),
        "cost" => dollars = limit.used(1),
        "concurrent" => in_flight = limit.used(1),
        other => panic!("{other}"),
    });
    assert_eq!(requests, answered.load(Ordering::SeqCst));
    assert_eq!(dollars, cost.load(Ordering::SeqCst));
    assert!(requests <= 5_000 && dollars <= 100 * NANO);
    assert_eq!(in_flight, 0);
}

mod model {
    //! Every interleaving of a few calls, step by step, against a plain account of them.

    use super::{Counter, Held};
    use proptest::prelude::*;

    const MAX: u64 = 100;

    #[derive(Debug, Clone)]
    enum Step {
        Reserve { lag: u8, amount: u64 },
        Settle { which: usize, part: u8 },
        Release { which: usize },
        Charge { lag: u8, amount: u64 },
        Clear,
        Tick,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0_u8..3, 0_u64..60).prop_map(|(lag, amount)| Step::Reserve { lag, amount }),
            3 => (0_usize..8, 0_u8..=100).prop_map(|(which, part)| Step::Settle { which, part }),
            2 => (0_usize..8).prop_map(|which| Step::Release { which }),
            1 => (0_u8..3, 0_u64..30).prop_map(|(lag, amount)| Step::Charge { lag, amount }),
            1 => Just(Step::Clear),
            2 => Just(Step::Tick),
        ];
        proptest::collection::vec(step, 1..80)
    }

    /// What the account says: reservations of this epoch, and what is spent for good.
    #[derive(Default)]
    struct Account {
        window: i64,
        /// Windows and manual resets.
        epoch: u32,
        spent: u64,
        open: Vec<(Held, u32)>,
    }

    impl Account {
        fn at(&mut self, window: i64) {
            if window > self.window {
                (self.window, self.spent, self.epoch) = (window, 0, self.epoch + 1);
            }
        }

        fn reserved(&self) -> u64 {
            let current = self.open.iter().filter(|(_, epoch)| *epoch == self.epoch);
            current.map(|(held, _)| held.amount).sum()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn the_counter_keeps_the_books(steps in steps()) {
            let counter = Counter::default();
            let mut account = Account::default();
            let mut now = 0_i64;
            for step in steps {
                match step {
                    Step::Tick => now += 1,
                    Step::Reserve { lag, amount } => {
                        let window = (now - i64::from(lag)).max(0);
                        account.at(window);
                        let fits = account.spent + account.reserved() + amount <= MAX;
                        let outcome = counter.reserve(window, amount, MAX, false);
                        prop_assert_eq!(outcome.is_ok(), fits);
                        account.open.extend(outcome.ok().map(|held| (held, account.epoch)));
                    }
                    Step::Settle { which, part } if which < account.open.len() => {
                        let (held, epoch) = account.open.swap_remove(which);
                        let actual = held.amount * u64::from(part) / 100;
                        counter.settle(held, actual);
                        if epoch == account.epoch {
                            account.spent += actual;
                        }
                    }
                    Step::Release { which } if which < account.open.len() => {
                        counter.release(account.open.swap_remove(which).0);
                    }
                    Step::Settle { .. } | Step::Release { .. } => {}
                    Step::Charge { lag, amount } => {
                        let window = (now - i64::from(lag)).max(0);
                        account.at(window);
                        account.spent += amount;
                        counter.charge(window, amount);
                    }
                    Step::Clear => {
                        counter.clear();
                        (account.spent, account.epoch) = (0, account.epoch + 1);
                    }
                }
                let expected = account.spent + account.reserved();
                prop_assert_eq!(counter.used(account.window), expected);
                prop_assert_eq!(counter.used(account.window + 1), 0);
            }
        }
    }
}

#[test]
fn a_killed_process_never_overspends_a_strict_budget() {
    let strict = || {
        let limits = budgets(vec![budget("b", 100, "1Y", Enforcement::Strict)]);
        plan(vec![VirtualKeyPlan { limits, ..key("vk") }])
    };
    let (mut total, mut rows) = (0, Vec::new());
    for life in 0..400 {
        let mut ledger = Ledger::restored(std::mem::take(&mut rows), Ending::Crash);
        let tables = Arc::new(Tables::build(&strict(), &mut ledger, 0).unwrap());
        let mut journal: Vec<_> = Vec::new();
        // So many rows are written before the next kill, so many calls run in between.
        for turn in 0..=life % 4 {
            let changed = ledger.export();
            ledger.committed(&changed);
            journal.extend(changed.into_iter().map(|row| row.saved));
            for _ in 0..turn * 3 + 2 {
                let estimate = Estimate { cost: NANO / 2, tokens: 0 };
                let target = ("openai", Some("m"));
                if let Ok(grant) = ask_as(&tables, "sk-bf-vk", target, estimate, 1) {
                    grant.settle(&Spent { cost: NANO / 2, tokens: 0, answered: true }, 1);
                    total += NANO / 2;
                }
            }
        }
        rows.extend(journal.pop());
    }
    assert!(total <= 100 * NANO, "{total}");
    assert!(total >= 20 * NANO, "and yet most of it can be spent: {total}");
}

/// Golden costs: usage of one answer, and what the provider's page makes of it in nano-dollars.
#[test]
#[expect(clippy::too_many_lines, reason = "a table, one line a case")]
fn what_answers_cost() {
    let prices = Prices::shipped();
    let million = 1_000_000;
    let base = Usage { input: Some(1_000), output: Some(500), ..Usage::default() };
    let cached = |read, write, hour| Usage {
        cache_read: Some(read),
        cache_write: Some(write + hour),
        cache_write_1h: Some(hour),
        ..base.clone()
    };
    let tier = |name: &str| Usage { service_tier: Some(name.to_owned()), ..base.clone() };
    let long = Usage { input: Some(250_000), output: Some(1_000), ..Usage::default() };
    let longer = Usage { input: Some(300_000), ..long.clone() };
    let read_only = Usage { input: Some(1_000), ..Usage::default() };
    let audio = Usage { input_audio: Some(400), ..base.clone() };
    let searched = Usage { web_searches: Some(3), ..base.clone() };
    let sonnet45 = "claude-sonnet-4-5-20250929";
    for (provider, model, usage, nano) in [
        // 1000 x 3 + 500 x 15 dollars per million = 0.0105
        ("anthropic", "claude-sonnet-4-6", base.clone(), 10_500_000),
        // + 20000 reads x 0.30, + 2000 writes x 3.75, + 1000 hour writes x 6
        ("anthropic", "claude-sonnet-4-6", cached(20_000, 2_000, 1_000), 30_000_000),
        ("anthropic", "claude-sonnet-4-6", tier("batch"), 5_250_000),
        ("anthropic", "claude-sonnet-4-6", searched, 40_500_000),
        // above 200000: 250000 x 6 + 1000 x 22.5
        ("anthropic", sonnet45, long.clone(), 1_522_500_000),
        ("anthropic", "claude-sonnet-4-6", long.clone(), 765_000_000),
        // reads count for the length of the prompt: 1000 x 6 + 199500 x 0.6 + 500 x 22.5
        ("anthropic", sonnet45, cached(199_500, 0, 0), 136_950_000),
        ("anthropic", "claude-opus-4-6", tier("fast"), 105_000_000),
        ("anthropic", "claude-haiku-4-5", base.clone(), 3_500_000),
        // 1000 x 2 + 500 x 10 + 20000 reads x 0.1 + 2000 writes x 2.5 + 1000 hour writes x 4
        ("anthropic", "claude-sonnet-5-5", cached(20_000, 2_000, 1_000), 18_000_000),
        // 1000 x 0.1 + 500 x 0.5; above 100000: 250000 x 0.5 + 1000 x 2.5
        ("anthropic", "claude-haiku-5-5", base.clone(), 350_000),
        ("anthropic", "claude-haiku-5-5", long.clone(), 127_500_000),
        // 1000 x 8 + 500 x 40
        ("anthropic", "claude-opus-5-5", tier("fast"), 28_000_000),
        ("openai", "gpt-5.2", base.clone(), 8_750_000),
        ("openai", "gpt-5.2", cached(10_000, 0, 0), 10_500_000),
        ("openai", "gpt-5.2", tier("flex"), 4_375_000),
        ("openai", "gpt-5.2", tier("priority"), 17_500_000),
        // 1000 x 12.5 + 500 x 75
        ("openai", "gpt-5.5", tier("priority"), 50_000_000),
        // up to 272000 tokens: 250000 x 5 + 1000 x 30; above: 300000 x 10 + 1000 x 45
        ("openai", "gpt-5.5", long.clone(), 1_280_000_000),
        ("openai", "gpt-5.5", longer.clone(), 3_045_000_000),
        ("openai", "gpt-5.4-pro", longer, 18_270_000_000),
        // 1000 x 2 + 500 x 10 + 10000 reads x 0.1
        ("openai", "gpt-6.1-sol", cached(10_000, 0, 0), 8_000_000),
        ("openai", "gpt-6.1-sol", tier("flex"), 3_500_000),
        ("openai", "gpt-6.1-sol", tier("priority"), 14_000_000),
        // 1000 tokens x 0.02, nothing answered
        ("openai", "text-embedding-3-small", read_only.clone(), 20_000),
        ("openai", "gpt-4o-mini-2024-07-18", base.clone(), 450_000),
        ("openai", "gpt-4.1", tier("batch"), 3_000_000),
        ("azure", "gpt-4o", base.clone(), 7_500_000),
        ("gemini", "gemini-2.5-flash", base.clone(), 1_550_000),
        // 600 x 0.30 + 400 x 1.00 + 500 x 2.50
        ("gemini", "gemini-2.5-flash", audio, 1_830_000),
        // 1000 x 0.75 + 500 x 3.75
        ("gemini", "gemini-3.8-flash", base.clone(), 2_625_000),
        ("gemini", "gemini-3.8-flash", tier("batch"), 1_312_500),
        ("gemini", "gemini-2.5-pro", long.clone(), 640_000_000),
        ("vertex", "gemini-2.5-pro", base.clone(), 6_250_000),
        ("bedrock", "global.anthropic.claude-sonnet-4-6", base.clone(), 10_500_000),
        // regional endpoints: a tenth more
        ("bedrock", "eu.anthropic.claude-sonnet-4-6", base.clone(), 11_550_000),
        ("bedrock", "anthropic.claude-3-5-haiku-20241022-v1:0", base.clone(), 2_800_000),
        ("bedrock", "us.amazon.nova-micro-v1:0", base.clone(), 105_000),
        ("bedrock", "us.amazon.nova-micro-v1:0", cached(3, 0, 0), 105_026),
        ("bedrock", "meta.llama3-3-70b-instruct-v1:0", base.clone(), 1_080_000),
        // 1000 x 2 + 500 x 8
        ("bedrock", "ai21.jamba-1-5-large-v1:0", base.clone(), 6_000_000),
        // 1000 x 2.1875 + 500 x 17.5
        ("bedrock", "amazon.nova-2-pro-preview-20251202-v1:0", base.clone(), 10_937_500),
        ("bedrock", "cohere.embed-english-v3", read_only, 100_000),
        ("mistral", "mistral-large-latest", base.clone(), 1_250_000),
        ("groq", "llama-3.3-70b-versatile", base.clone(), 985_000),
        // 1000 x 0.30 + 500 x 1.20 + 10000 reads x 0.006, at peak hours
        ("deepseek", "deepseek-flash", cached(10_000, 0, 0), 960_000),
        ("deepseek", "deepseek-chat", cached(million, 0, 0), 28_490_000),
        ("xai", "grok-4", Usage { input: Some(130_000), ..Usage::default() }, 780_000_000),
        // above 200000: 250000 x 4 + 1000 x 12
        ("xai", "grok-4.5", long, 1_012_000_000),
        ("cohere", "command-r7b-12-2024", base.clone(), 112_500),
        ("cerebras", "gpt-oss-120b", base.clone(), 725_000),
        ("perplexity", "sonar", base, 1_500_000),
    ] {
        let query = Query { provider, models: &[model], ..Query::default() };
        let cost = prices.quote(&query).map(|quote| quote.cost(&usage));
        assert_eq!(cost, Some(nano), "{provider}/{model} {usage:?}");
    }
}

#[test]
fn vertex_regions_cost_more_and_estimates_bound_the_cost() {
    let prices = Prices::shipped();
    let usage = Usage { input: Some(1_000), output: Some(500), ..Usage::default() };
    let cost = |region| {
        let models = &["claude-sonnet-4-5@20250929"];
        let query = Query { provider: "vertex", models, region, ..Query::default() };
        let quote = prices.quote(&query).unwrap();
        (quote.cost(&usage), quote.at_most(1_000, 500, Tier::Standard))
    };
    // at most: 1000 hour writes x 6 + 500 x 15 dollars per million
    assert_eq!(cost(None), (10_500_000, 13_500_000));
    assert_eq!(cost(Some("global")), cost(None));
    assert_eq!(cost(Some("europe-west1")), (11_550_000, 14_850_000));
}
