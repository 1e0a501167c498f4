//! Where a request goes: its targets in order, out of the snapshot's rules and catalogue.
//!
//! In: what a request asks for, and whose it is. Out: [`Stop`]s, each at a configured provider, and
//! free of the request's bytes, so that these can be sent while the stops live. Without rules and
//! law nothing is copied or looked up but the model's provider. Never: checks what a caller may do.

use super::Visit;
use super::attempts::Errand;
use super::authority::{Pass, refusal};
use super::failure::Failure;
use crate::govern::virtual_keys::Group;
use crate::govern::{Denied, Gauge, Identity, Tables, VirtualKey};
use crate::net::client_conn::Incoming;
use crate::provider::{Operation, Provider, model_name};
use crate::route::facts::NoLimits;
use crate::route::{
    self, Caller, FallbackRef, Fields, KeyPin, Named, Offer, PinRef, Plan, Question, Random, Rule,
    Standing, Via,
};
use crate::wire::http1;
use smallvec::SmallVec;
use std::borrow::Cow;

/// A place to try.
#[derive(Debug)]
pub struct Stop<'r> {
    pub provider: &'r Provider,
    /// As the provider's keys know it, or an alias of theirs.
    pub model: Cow<'r, str>,
    pub pin: Option<KeyPin>,
    /// What chose it.
    pub via: Via,
    /// Whether the caller's own credential may go there: the caller asked for the place itself.
    pub own_choice: bool,
}

/// The places to try, in order.
pub type Stops<'r> = SmallVec<[Stop<'r>; 2]>;

/// Where a request goes, and which rules sent it there.
#[derive(Debug)]
pub struct Itinerary<'r> {
    /// Never empty.
    pub stops: Stops<'r>,
    /// All that matched, in order; the last one decided.
    pub rules: SmallVec<[&'r Rule; 2]>,
}

/// Decides where a request goes; never nowhere.
///
/// # Errors
/// 400 for a provider that is not configured, or the limits that left none.
pub fn plan<'r>(
    visit: &Visit<'r>,
    pass: &Pass<'r>,
    incoming: &Incoming,
    errand: &Errand<'r>,
    random: Random,
) -> Result<Itinerary<'r>, Failure> {
    if let Some(owner) = errand.owner {
        return owned(visit, incoming, errand, owner);
    }
    let fallbacks = fallbacks(visit, errand)?;
    let offers = offers(visit, pass, errand);
    let headers = Headers(incoming);
    let rules = !visit.snapshot.routes.rules.is_empty();
    let params = Params(if rules { pairs(errand.query) } else { Vec::new() });
    let gauges = pass.law.map(|law| Gauges {
        tables: &law.tables,
        identity: pass.identity(),
        now: pass.now,
    });
    let standing: &dyn Standing = match &gauges {
        Some(gauges) => gauges,
        None => &NoLimits,
    };
    let question = Question {
        model: &errand.ask.model,
        native: visit.mount.provider,
        request_type: errand.request_type,
        headers: &headers,
        params: &params,
        caller: caller(pass.key),
        standing,
        complexity_tier: None,
        offers: match &offers {
            Offers::Open => None,
            Offers::Listed(offers) => Some(offers),
            Offers::Spent(_) => Some(&[]),
        },
        fallbacks: &fallbacks,
        pin: pin(incoming),
        session: errand.session,
        single: errand.operation == Operation::CountTokens,
        random,
    };
    let health = visit.core.health.borrow();
    let now = visit.core.coarse_now();
    let (routes, providers) = (&visit.snapshot.routes, &visit.snapshot.providers);
    let plan = route::plan(routes, providers, &question, &health, now);
    let stops = stops(visit, errand, &plan, &offers)?;
    Ok(Itinerary { stops, rules: plan.chain })
}

/// The one place that keeps what is asked about; no rule can make it another one.
fn owned<'r>(
    visit: &Visit<'r>,
    incoming: &Incoming,
    errand: &Errand<'r>,
    owner: &str,
) -> Result<Itinerary<'r>, Failure> {
    let providers = &visit.snapshot.providers;
    let provider = providers.get(owner).ok_or_else(|| visit.not_configured(owner))?;
    let pin = pin(incoming).map(owned_pin);
    let model = Cow::Borrowed(errand.ask.model.as_str());
    let stop = Stop { provider, model, pin, via: Via::Native, own_choice: true };
    Ok(Itinerary { stops: SmallVec::from_iter([stop]), rules: SmallVec::new() })
}

fn owned_pin(pin: PinRef<'_>) -> KeyPin {
    match pin {
        PinRef::Id(id) => KeyPin::Id(id.into()),
        PinRef::Name(name) => KeyPin::Name(name.into()),
    }
}

/// The targets as places that exist.
fn stops<'r>(
    visit: &Visit<'r>,
    errand: &Errand<'r>,
    plan: &Plan<'_, '_>,
    offers: &Offers<'_>,
) -> Result<Stops<'r>, Failure> {
    let providers = &visit.snapshot.providers;
    let ruled = plan.targets.iter().any(|target| target.via == Via::Rule);
    let (prefix, bare) = model_name::split(&errand.ask.model, |name| providers.is_known(name));
    match prefix {
        // A name of the catalogue that nobody configured is a mistake, and no model's name.
        Some(prefix) if !ruled && providers.get(prefix).is_none() => {
            return Err(visit.not_configured(prefix));
        }
        None if !ruled => {
            if let Offers::Spent(denied) = offers {
                return Err(refusal(denied));
            }
        }
        _ => {}
    }
    let mut stops = Stops::new();
    for target in &plan.targets {
        let Some(provider) = providers.get(target.provider) else {
            if stops.is_empty() && plan.targets.len() == 1 {
                return Err(visit.not_configured(target.provider));
            }
            continue;
        };
        let model = if target.model == bare {
            Cow::Borrowed(bare)
        } else {
            Cow::Owned(target.model.to_owned())
        };
        stops.push(Stop {
            provider,
            model,
            pin: target.pin.map(owned_pin),
            via: target.via,
            own_choice: matches!(target.via, Via::Prefix | Via::Native | Via::Catalogue),
        });
    }
    if stops.is_empty() { Err(visit.not_configured(visit.mount.provider)) } else { Ok(stops) }
}

/// The body's `fallbacks`.
fn fallbacks<'r>(
    visit: &Visit<'r>,
    errand: &Errand<'r>,
) -> Result<SmallVec<[FallbackRef<'r>; 2]>, Failure> {
    let all = errand.ask.fallbacks.iter().enumerate();
    all.map(|(at, text)| {
        FallbackRef::parse(text, &visit.snapshot.providers).ok_or_else(|| {
            let message = format!(
                "fallbacks[{at}]: expected `provider/model`, with a provider that is configured"
            );
            Failure::invalid(message)
        })
    })
    .collect()
}

/// What a virtual key leaves to choose from, for a model that names no provider.
enum Offers<'t> {
    /// Everything.
    Open,
    Listed(SmallVec<[Offer<'t>; 4]>),
    /// Its limits left nothing.
    Spent(Box<Denied>),
}

fn offers<'r>(visit: &Visit<'r>, pass: &Pass<'r>, errand: &Errand<'r>) -> Offers<'r> {
    let (Some(law), Some(key)) = (pass.law, pass.key) else { return Offers::Open };
    let providers = &visit.snapshot.providers;
    let (prefix, model) = model_name::split(&errand.ask.model, |name| providers.is_known(name));
    if prefix.is_some() {
        return Offers::Open;
    }
    match law.tables.offers(key, Some(model), pass.now) {
        Err(denied) => Offers::Spent(denied),
        Ok(offers) if offers.is_empty() && key.allow_all_providers => Offers::Open,
        Ok(offers) => {
            let offer = |of: &crate::govern::Offer<'r>| Offer {
                provider: of.provider,
                weight: of.weight,
                any_model: of.any_model,
            };
            Offers::Listed(offers.iter().map(offer).collect())
        }
    }
}

fn caller(key: Option<&VirtualKey>) -> Caller<'_> {
    let Some(key) = key else { return Caller::default() };
    Caller {
        virtual_key: Named { id: &key.id, name: &key.name },
        team: key.team.as_deref().map(named).unwrap_or_default(),
        customer: key.customer.as_deref().map(named).unwrap_or_default(),
    }
}

fn named(group: &Group) -> Named<'_> {
    Named { id: &group.id, name: &group.name }
}

/// A key of the provider that the caller names.
fn pin(incoming: &Incoming) -> Option<PinRef<'_>> {
    let id = incoming.header("x-bf-api-key-id").map(PinRef::Id);
    id.or_else(|| incoming.header("x-bf-api-key").map(PinRef::Name))
}

/// How much of its limits the caller has used, for rules that ask.
struct Gauges<'s> {
    tables: &'s Tables,
    identity: Identity<'s, 'static>,
    now: i64,
}

impl Standing for Gauges<'_> {
    fn budget_used(&self, provider: &str, model: &str) -> f64 {
        self.tables.gauge(&self.identity, Gauge::Budget, (provider, model), self.now)
    }

    fn tokens_used(&self, provider: &str, model: &str) -> f64 {
        self.tables.gauge(&self.identity, Gauge::Tokens, (provider, model), self.now)
    }

    fn requests_used(&self, provider: &str, model: &str) -> f64 {
        self.tables.gauge(&self.identity, Gauge::Requests, (provider, model), self.now)
    }

    fn budget_used_in(&self, provider: &str, model: &str) -> Vec<(String, f64)> {
        self.tables.gauge_by_span(&self.identity, (provider, model), self.now)
    }
}

/// The request's headers as rules see them.
struct Headers<'i>(&'i Incoming);

impl Fields for Headers<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.header(name)
    }

    fn each(&self, see: &mut dyn FnMut(&str, &str)) {
        for (name, value) in self.0.head.headers(&self.0.buf) {
            if let Ok(value) = std::str::from_utf8(value) {
                see(&name.to_ascii_lowercase(), value);
            }
        }
    }
}

/// The parameters of the query, as rules see them.
struct Params(Vec<(String, String)>);

fn pairs(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| http1::percent_decode(text).map(Cow::into_owned).ok();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        })
        .collect()
}

impl Fields for Params {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn each(&self, see: &mut dyn FnMut(&str, &str)) {
        for (name, value) in &self.0 {
            see(name, value);
        }
    }
}
