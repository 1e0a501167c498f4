//! Where a request goes: an ordered list of targets, and a key at each.
//!
//! In: the model and what else a request says of its destination ([`Question`]), the snapshot's
//! rules and catalogue, the worker's health, and a random number. Out: a [`Plan`]: targets to try
//! in order, and what chose them. Which key a target uses is chosen when it is tried ([`keys`]),
//! what follows a failure by [`retry`].
//!
//! The order of deciding: a rule; a `provider/` prefix; the virtual key's weights; the catalogue;
//! the integration's own provider. Fallbacks come from the rule, else from the request, else from
//! the virtual key's or the catalogue's other candidates. Never: checks what a virtual key may do;
//! `govern` does, for each target when it is tried.

pub mod catalogue;
pub mod facts;
pub mod health;
pub mod keys;
mod quick;
pub mod random;
pub mod retry;
pub mod rule_text;
pub mod rules;

pub use catalogue::Catalogue;
pub use facts::{Caller, Facts, Fields, Named, Standing};
pub use health::{Health, Place, Sight};
pub use keys::{Bar, KeyAsk, NoKey};
pub use random::{Random, Session};
pub use rules::{Fallback, Rule, RulePlan, RuleTarget, Rules};

use crate::provider::Provider;
use crate::provider::model_name::split;
use smallvec::SmallVec;

/// A key of a provider, named by the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPin {
    Id(Box<str>),
    Name(Box<str>),
}

/// A key of a provider, named by the operator or by `x-bf-api-key-id` or `x-bf-api-key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinRef<'a> {
    Id(&'a str),
    Name(&'a str),
}

/// Something in a plan that cannot be, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Below `governance`: `routing_rules[3].cel_expression`.
    pub path: String,
    pub message: String,
}

/// The configured providers.
pub trait Fleet {
    fn provider(&self, name: &str) -> Option<&Provider>;
}

/// What routing needs of a snapshot.
#[derive(Debug, Default)]
pub struct Routes {
    pub rules: Rules,
    pub catalogue: Catalogue,
}

/// A provider that the virtual key allows for this model, with room in its own limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offer<'a> {
    pub provider: &'a str,
    /// `None`: never drawn.
    pub weight: Option<f64>,
    /// Its list of models says `*`: the catalogue knows whether the provider serves the model.
    pub any_model: bool,
}

/// What a request says of where it wants to go.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// As the client wrote it, `provider/` included.
    pub model: &'a str,
    /// The provider that the integration speaks for; `openai` on the unified routes.
    pub native: &'a str,
    /// `chat_completion`, `responses`, …; without `_stream`.
    pub request_type: &'a str,
    pub headers: &'a dyn Fields,
    pub params: &'a dyn Fields,
    pub caller: Caller<'a>,
    pub standing: &'a dyn Standing,
    pub complexity_tier: Option<&'a str>,
    /// Of the virtual key; `None` without one, or where it allows every provider and lists none.
    pub offers: Option<&'a [Offer<'a>]>,
    /// `fallbacks` of the body.
    pub fallbacks: &'a [FallbackRef<'a>],
    /// Of the request's headers; for the first target alone.
    pub pin: Option<PinRef<'a>>,
    pub session: Option<Session>,
    /// Only one target (`count_tokens`): no fallbacks.
    pub single: bool,
    pub random: Random,
}

/// A fallback as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FallbackRef<'a> {
    pub provider: &'a str,
    /// `None`: the model of the first target.
    pub model: Option<&'a str>,
    pub key: Option<PinRef<'a>>,
}

/// What chose a target; `routing_engines_used` of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    Rule,
    Prefix,
    /// Weights of the virtual key.
    Weights,
    Catalogue,
    /// The integration's own provider.
    Native,
    Fallback,
}

/// A place to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    pub provider: &'a str,
    /// Without prefix; aliases are the keys' business.
    pub model: &'a str,
    pub pin: Option<PinRef<'a>>,
    pub via: Via,
}

/// Where a request goes.
#[derive(Debug, Clone)]
pub struct Plan<'r, 'a> {
    /// To be tried in this order; never empty.
    pub targets: SmallVec<[Target<'a>; 4]>,
    /// The rule that decided, and all that matched on the way to it.
    pub rule: Option<&'r Rule>,
    pub chain: SmallVec<[&'r Rule; 2]>,
}

impl<'a> FallbackRef<'a> {
    /// `provider/model`, or `provider/` for the same model; `None` where the provider is unknown.
    pub fn parse(text: &'a str, fleet: &dyn Fleet) -> Option<Self> {
        let (provider, model) = text.split_once('/')?;
        fleet.provider(provider)?;
        let model = (!model.is_empty()).then_some(model);
        Some(Self { provider, model, key: None })
    }
}

/// Decides where a request goes.
pub fn plan<'r: 'a, 'a>(
    routes: &'r Routes,
    fleet: &dyn Fleet,
    question: &Question<'a>,
    health: &Health,
    now: i64,
) -> Plan<'r, 'a> {
    let (prefix, model) = split(question.model, |name| fleet.provider(name).is_some());
    let facts = Facts {
        model,
        provider: prefix.unwrap_or(question.native),
        request_type: question.request_type,
        headers: question.headers,
        params: question.params,
        caller: question.caller,
        standing: question.standing,
        complexity_tier: question.complexity_tier,
    };
    let mut targets = Targets { fleet, plan: SmallVec::new() };
    let ruling = routes.rules.apply(&facts, question.random.nth(1));
    let pin = question.pin;
    let mut fallbacks = question.fallbacks;
    if let Some(ruling) = &ruling {
        let provider = ruling.provider.unwrap_or(facts.provider);
        let model = ruling.model.unwrap_or(model);
        let pin = ruling.key.map(KeyPin::as_ref).or(pin);
        targets.plan.push(Target { provider, model, pin, via: Via::Rule });
        if !ruling.rule.fallbacks.is_empty() {
            targets.add(ruling.rule.fallbacks.iter().map(Fallback::as_ref), model);
            fallbacks = &[];
        }
    } else if let Some(provider) = prefix {
        targets.plan.push(Target { provider, model, pin, via: Via::Prefix });
    } else {
        let via = candidates((routes, health), fleet, question, model, &mut targets);
        if !fallbacks.is_empty() {
            targets.plan.truncate(1);
        }
        if let Some(first) = targets.plan.first_mut() {
            (first.pin, first.via) = (pin, via);
        }
    }
    let model = targets.plan.first().map_or(model, |first| first.model);
    targets.add(fallbacks.iter().copied(), model);
    let mut targets = targets.plan;
    if question.single {
        targets.truncate(1);
    }
    // What cools down is tried last, in the same order.
    let down = |target: &Target<'_>| !health.usable(Place::provider(target.provider), now);
    targets.sort_by_key(down);
    Plan {
        targets,
        rule: ruling.as_ref().map(|ruling| ruling.rule),
        chain: ruling.map(|ruling| ruling.chain).unwrap_or_default(),
    }
}

/// The providers for a model that names none: the first is drawn, the others follow.
fn candidates<'a>(
    (routes, health): (&'a Routes, &Health),
    fleet: &dyn Fleet,
    question: &Question<'a>,
    model: &'a str,
    targets: &mut Targets<'a, '_>,
) -> Via {
    let serves = |name: &str| {
        routes.catalogue.serves(name, model)
            || fleet.provider(name).is_some_and(|provider| catalogue::listed(provider, model))
    };
    let mut push = |provider: &'a str| {
        targets.plan.push(Target { provider, model, pin: None, via: Via::Fallback });
    };
    let offers = question.offers.unwrap_or_default();
    let mut weighted: SmallVec<[Offer<'a>; 4]> =
        offers.iter().filter(|offer| offer.weight.is_some()).copied().collect();
    // Where the catalogue knows the model, `*` means the providers that serve it.
    if weighted.iter().any(|offer| offer.any_model && serves(offer.provider)) {
        weighted.retain(|offer| !offer.any_model || serves(offer.provider));
    }
    let place = |offer: &Offer<'_>| Place::provider(offer.provider);
    let best = health.fastest(weighted.iter().map(place));
    let weight =
        |offer: &Offer<'_>| offer.weight.unwrap_or(0.0) * health.factor(place(offer), best);
    let drawn = match question.session {
        Some(session) => session.choose(&weighted, |offer| offer.provider, weight),
        None => question.random.nth(0).draw(&weighted, weight),
    };
    if let Some(drawn) = drawn.copied() {
        push(drawn.provider);
        weighted.retain(|offer| offer.provider != drawn.provider);
        weighted.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
        weighted.iter().for_each(|offer| push(offer.provider));
        return Via::Weights;
    }
    let open = |name: &str| {
        question.offers.is_none_or(|offers| offers.iter().any(|offer| offer.provider == name))
    };
    let native = question.native;
    let listed = routes.catalogue.providers(model);
    let others = listed.iter().map(|name| &**name);
    let others =
        others.filter(|name| *name != native && fleet.provider(name).is_some() && open(name));
    let native_is_there = fleet.provider(native).is_some() && open(native);
    if native_is_there && serves(native) {
        push(native);
        others.for_each(push);
        return Via::Catalogue;
    }
    let before = targets.plan.len();
    for name in others {
        targets.plan.push(Target { provider: name, model, pin: None, via: Via::Fallback });
    }
    if targets.plan.len() > before {
        return Via::Catalogue;
    }
    targets.plan.push(Target { provider: native, model, pin: None, via: Via::Fallback });
    Via::Native
}

struct Targets<'a, 'f> {
    fleet: &'f dyn Fleet,
    plan: SmallVec<[Target<'a>; 4]>,
}

impl<'a> Targets<'a, '_> {
    /// Those that exist and are not there yet; a fallback whose pinned key is missing is left out.
    fn add(&mut self, fallbacks: impl Iterator<Item = FallbackRef<'a>>, model: &'a str) {
        for fallback in fallbacks {
            let Some(provider) = self.fleet.provider(fallback.provider) else { continue };
            let missing =
                fallback.key.is_some_and(|pin| !provider.keys.iter().any(|key| pin.names(key)));
            let target = Target {
                provider: fallback.provider,
                model: fallback.model.unwrap_or(model),
                pin: fallback.key,
                via: Via::Fallback,
            };
            let known = self.plan.iter().any(|other| {
                (other.provider, other.model, other.pin)
                    == (target.provider, target.model, target.pin)
            });
            if !missing && !known {
                self.plan.push(target);
            }
        }
    }
}

impl Fallback {
    fn as_ref(&self) -> FallbackRef<'_> {
        FallbackRef {
            provider: &self.provider,
            model: self.model.as_deref(),
            key: self.key.as_ref().map(KeyPin::as_ref),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::facts::NoLimits;
    use super::health::{Trouble, Tuning};
    use super::*;
    use crate::provider::{Key, catalog};

    struct TestFleet(Vec<Provider>);

    impl Fleet for TestFleet {
        fn provider(&self, name: &str) -> Option<&Provider> {
            self.0.iter().find(|provider| *provider.name == *name)
        }
    }

    fn fleet() -> TestFleet {
        let names = ["anthropic", "openai", "bedrock", "vertex"];
        let provider = |name: &&str| Provider {
            keys: vec![Key::named("main")],
            ..Provider::of(catalog::row(name).unwrap())
        };
        TestFleet(names.iter().map(provider).collect())
    }

    fn routes(rules: Vec<RulePlan>) -> Routes {
        let known = [
            ("anthropic", "claude-sonnet-4-6"),
            ("bedrock", "claude-sonnet-4-6"),
            ("azure", "gpt-4o"),
            ("openai", "gpt-4o"),
        ];
        let fleet = fleet();
        Routes {
            rules: Rules::build(rules, 10).unwrap(),
            catalogue: Catalogue::build(&fleet.0, known),
        }
    }

    fn question(model: &str) -> Question<'_> {
        Question {
            model,
            native: "anthropic",
            request_type: "chat_completion",
            headers: &[] as &[(&str, &str); 0],
            params: &[] as &[(&str, &str); 0],
            caller: Caller::default(),
            standing: &NoLimits,
            complexity_tier: None,
            offers: None,
            fallbacks: &[],
            pin: None,
            session: None,
            single: false,
            random: Random::new(5),
        }
    }

    fn places(rules: Vec<RulePlan>, question: &Question<'_>) -> Vec<(String, Via)> {
        let (routes, fleet) = (routes(rules), fleet());
        let plan = plan(&routes, &fleet, question, &Health::default(), 0);
        let place = |target: &Target<'_>| format!("{}/{}", target.provider, target.model);
        plan.targets.iter().map(|target| (place(target), target.via)).collect()
    }

    fn rule(to: RuleTarget, fallbacks: &[&str]) -> RulePlan {
        let fallback = |text: &&str| {
            let (provider, model) = text.split_once('/').unwrap();
            let model = (!model.is_empty()).then(|| model.into());
            Fallback { provider: provider.into(), model, key: None }
        };
        RulePlan {
            targets: vec![RuleTarget { weight: 1.0, ..to }],
            fallbacks: fallbacks.iter().map(fallback).collect(),
            expression: "model == 'sonnet-model'".into(),
            ..RulePlan::default()
        }
    }

    fn text(place: &str, via: Via) -> (String, Via) {
        (place.to_owned(), via)
    }

    #[test]
    fn a_prefix_decides_and_only_of_a_known_provider() {
        assert_eq!(
            places(vec![], &question("openai/gpt-4o")),
            [text("openai/gpt-4o", Via::Prefix)]
        );
        let unknown = places(vec![], &question("acme/m"));
        assert_eq!(unknown, [text("anthropic/acme/m", Via::Native)]);
    }

    #[test]
    fn the_catalogue_prefers_the_native_provider() {
        let both = places(vec![], &question("claude-sonnet-4-6"));
        assert_eq!(both[0], text("anthropic/claude-sonnet-4-6", Via::Catalogue));
        assert_eq!(both[1], text("bedrock/claude-sonnet-4-6", Via::Fallback));
        let other = places(vec![], &question("gpt-4o"));
        assert_eq!(other, [text("openai/gpt-4o", Via::Catalogue)], "azure is not configured");
        assert_eq!(places(vec![], &question("new")), [text("anthropic/new", Via::Native)]);
    }

    #[test]
    fn a_rule_comes_first_and_keeps_what_it_does_not_say() {
        let to = RuleTarget {
            provider: Some("vertex".into()),
            model: Some("claude-sonnet-4-6".into()),
            ..RuleTarget::default()
        };
        let rules =
            vec![rule(to, &["bedrock/eu.anthropic.claude-sonnet-4-6", "openai/", "acme/x"])];
        let body = [FallbackRef { provider: "anthropic", model: None, key: None }];
        let asked = Question { fallbacks: &body, ..question("openai/sonnet-model") };
        assert_eq!(
            places(rules, &asked),
            [
                text("vertex/claude-sonnet-4-6", Via::Rule),
                text("bedrock/eu.anthropic.claude-sonnet-4-6", Via::Fallback),
                text("openai/claude-sonnet-4-6", Via::Fallback),
            ],
            "the rule's fallbacks replace the request's, unknown providers are left out"
        );
        let only_model = RuleTarget { model: Some("x".into()), ..RuleTarget::default() };
        let kept = places(vec![rule(only_model, &[])], &asked);
        assert_eq!(kept[0], text("openai/x", Via::Rule));
        assert_eq!(kept[1], text("anthropic/x", Via::Fallback), "the request's stay otherwise");
    }

    #[test]
    fn weights_draw_and_the_rest_follow_by_weight() {
        let offer = |provider, weight| Offer { provider, weight, any_model: true };
        let offers = [
            offer("vertex", Some(0.1)),
            offer("bedrock", Some(0.2)),
            offer("openai", None),
            offer("anthropic", Some(0.7)),
        ];
        let ask = |seed| Question {
            offers: Some(&offers),
            random: Random::new(seed),
            ..question("unlisted-model")
        };
        let mut firsts = hashbrown::HashMap::new();
        for seed in 0..2_000 {
            let places = places_of(&ask(seed));
            *firsts.entry(places[0].clone()).or_insert(0) += 1;
            assert_eq!(places.len(), 3, "null weight is never drawn");
            if places[0] == "vertex" {
                assert_eq!(places, ["vertex", "anthropic", "bedrock"]);
            }
        }
        assert!((1_300..1_500).contains(&firsts["anthropic"]), "{firsts:?}");
        let listed = Question { offers: Some(&offers), ..question("claude-sonnet-4-6") };
        assert!(!places_of(&listed).contains(&"vertex".to_owned()), "it does not serve the model");
        let body = [FallbackRef { provider: "openai", model: Some("gpt-4o"), key: None }];
        let own = Question { fallbacks: &body, ..ask(1) };
        assert_eq!(places_of(&own).len(), 2, "the request's own fallbacks suffice");
    }

    fn places_of(question: &Question<'_>) -> Vec<String> {
        let (routes, fleet) = (routes(vec![]), fleet());
        let plan = plan(&routes, &fleet, question, &Health::default(), 0);
        plan.targets.iter().map(|target| target.provider.to_owned()).collect()
    }

    #[test]
    fn a_session_stays_with_its_provider() {
        let offer = |provider| Offer { provider, weight: Some(0.5), any_model: false };
        let offers = [offer("vertex"), offer("bedrock")];
        for number in 0..20_u8 {
            let session = Some(Session::of(&["vk", &number.to_string()]));
            let first = |seed| {
                let asked = Question {
                    offers: Some(&offers),
                    session,
                    random: Random::new(seed),
                    ..question("m")
                };
                places_of(&asked)
            };
            assert!((1..20).all(|seed| first(seed) == first(0)));
        }
    }

    #[test]
    fn pins_hold_for_the_first_target_and_missing_ones_skip_a_fallback() {
        let (routes, fleet) = (routes(vec![]), fleet());
        let pinned = |key| FallbackRef { provider: "openai", model: None, key: Some(key) };
        let body = [pinned(PinRef::Name("gone")), pinned(PinRef::Name("main"))];
        let asked =
            Question { pin: Some(PinRef::Name("mine")), fallbacks: &body, ..question("bedrock/m") };
        let plan = plan(&routes, &fleet, &asked, &Health::default(), 0);
        let pins: Vec<_> = plan.targets.iter().map(|target| target.pin).collect();
        assert_eq!(pins, [Some(PinRef::Name("mine")), Some(PinRef::Name("main"))]);
    }

    #[test]
    fn what_cools_down_is_tried_last() {
        let mut health = Health::new(Tuning::default());
        health.failed(Place::provider("openai"), Trouble::Refused, 0);
        let (routes, fleet) = (routes(vec![]), fleet());
        let body = [FallbackRef { provider: "vertex", model: None, key: None }];
        let asked = Question { fallbacks: &body, ..question("openai/m") };
        let providers = |now| -> Vec<_> {
            let plan = plan(&routes, &fleet, &asked, &health, now);
            plan.targets.iter().map(|target| target.provider.to_owned()).collect()
        };
        assert_eq!(providers(0), ["vertex", "openai"]);
        assert_eq!(providers(120_000), ["openai", "vertex"]);
        let single = Question { single: true, ..asked };
        let plan = plan(&routes, &fleet, &single, &health, 0);
        assert_eq!(plan.targets.len(), 1, "counting tokens walks no fallbacks");
        assert_eq!(plan.targets[0].provider, "openai");
    }
}
