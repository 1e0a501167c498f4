//! What would become of a request: `x-bf-dry-run: true`, and `finops-gateway explain`.
//!
//! In: a request whose targets are planned. Out: an [`Explanation`] as JSON: the rules that matched,
//! the caller and its limits with their standing, the targets in order with their keys, and each
//! one's upstream request with what it could not carry. Made by the very steps that serve a request,
//! which end here before anything is sent; what was reserved is given back. Never: sends anything,
//! charges anything, or shows a credential or a header that only the operator knows.

use super::attempts::{Journey, Keys, Tour, is_final};
use super::authority::{self, Direct};
use super::exchange::Halt;
use super::failure::Failure;
use super::outgoing::Course;
use super::redact::{shown, without_key};
use super::sending::{Heading, Packed};
use super::wallet;
use crate::chat::{Loss, Reason as Why};
use crate::govern::Reason;
use crate::govern::limits::{Enforcement, Limit, Metric};
use crate::govern::windows;
use crate::net::client_conn::{ClientConn, Incoming};
use crate::route::{Place, Rule, Sight, Via};
use serde::Serialize;
use serde_json::value::RawValue;

/// The whole explanation.
#[derive(Debug, Serialize)]
pub struct Explanation<'e> {
    request: Asked<'e>,
    virtual_key: Option<Caller<'e>>,
    /// The caller's own credential for the upstream: `key` or `oauth`.
    direct_key: Option<&'static str>,
    /// All that matched, in order; the last one decided.
    rules: Vec<Ruled<'e>>,
    /// To be tried in this order.
    targets: Vec<Stopover<'e>>,
    /// Where the request would go first, or why nowhere.
    verdict: String,
}

#[derive(Debug, Serialize)]
struct Asked<'e> {
    dialect: &'static str,
    request_type: &'static str,
    model: &'e str,
    stream: bool,
    /// Targets and keys are drawn by the session's name rather than by chance.
    session: bool,
}

#[derive(Debug, Serialize)]
struct Caller<'e> {
    id: &'e str,
    name: &'e str,
    team: Option<&'e str>,
    customer: Option<&'e str>,
}

#[derive(Debug, Serialize)]
struct Ruled<'e> {
    id: &'e str,
    name: &'e str,
    cel_expression: &'e str,
    priority: i64,
    chain_rule: bool,
}

/// One target.
#[derive(Debug, Serialize)]
struct Stopover<'e> {
    provider: &'e str,
    model: String,
    /// What chose it.
    via: &'static str,
    health: Option<State>,
    limits: Vec<Standing>,
    keys: Vec<Candidate<'e>>,
    max_retries: u32,
    /// Where the provider's calls are counted.
    queue: Option<Calls>,
    /// Why it would not be called.
    refused: Option<Refusal>,
    upstream: Option<Upstream>,
}

#[derive(Debug, Serialize)]
struct Candidate<'e> {
    id: &'e str,
    name: &'e str,
    weight: f64,
    /// `chosen`, `candidate`, `cooling down` or `barred`.
    state: &'static str,
    why: Option<String>,
    health: Option<State>,
}

/// What this worker has learnt of a place.
#[derive(Debug, Serialize)]
struct State {
    breaker: &'static str,
    failures_in_a_row: u32,
    open_for_ms: i64,
    error_share: f64,
    latency_ms: Option<f64>,
}

/// A provider's calls, over all cores.
#[derive(Debug, Serialize)]
struct Calls {
    in_flight: u32,
    waiting: u32,
    concurrency: u32,
    buffer_size: u32,
}

/// One limit of the caller's, its group's, or of the target.
#[derive(Debug, Serialize)]
struct Standing {
    owner: String,
    id: String,
    metric: &'static str,
    unit: &'static str,
    /// In dollars for cost.
    used: f64,
    max: f64,
    strict: bool,
    resets_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct Refusal {
    status: u16,
    message: String,
}

/// The request as it would go out.
#[derive(Debug, Serialize)]
struct Upstream {
    /// `upstream`, or who answers in its place: `mock`, `estimate`.
    by: &'static str,
    dialect: Option<&'static str>,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<Box<RawValue>>,
    /// The client's body as it is, but for spliced values.
    same_dialect: bool,
    lost: Vec<Lost>,
}

#[derive(Debug, Serialize)]
struct Lost {
    path: String,
    why: &'static str,
}

/// Whether the client wants an explanation rather than an answer.
pub fn wanted(incoming: &Incoming) -> bool {
    incoming.header("x-bf-dry-run") == Some("true")
}

/// Answers with the explanation.
///
/// # Errors
/// The client went away.
pub(super) async fn say(
    tour: &Tour<'_, '_>,
    client: &mut ClientConn,
    incoming: &mut Incoming,
) -> Result<(), Halt> {
    let json = serde_json::to_vec(&explain(tour, incoming))
        .map_err(|error| Failure::invalid(format!("this can't be explained: {error}")))?;
    super::say(tour.visit, client, "application/json", &json).await
}

fn explain<'e>(tour: &Tour<'e, '_>, incoming: &mut Incoming) -> Explanation<'e> {
    let (ask, pass) = (tour.errand.ask, tour.pass);
    let (mut targets, mut verdict) = (Vec::new(), None);
    for at in 0..tour.itinerary.stops.len() {
        let Some(journey) = tour.journey(at) else { break };
        let (stopover, failure) = stopover(&journey, incoming);
        let place = format!("{}/{}", stopover.provider, stopover.model);
        match failure {
            None => verdict = verdict.or(Some(format!("goes to {place}"))),
            Some(failure) if is_final(&failure, at) => {
                verdict =
                    Some(format!("refused with {}: {}", failure.status, failure.fault.message));
            }
            Some(_) => {}
        }
        targets.push(stopover);
    }
    let first = targets.first().and_then(|target| target.refused.as_ref());
    let failed = first.map(|why| format!("fails with {}: {}", why.status, why.message));
    Explanation {
        request: Asked {
            dialect: tour.visit.voice.dialect.name(),
            request_type: tour.errand.request_type,
            model: &ask.model,
            stream: ask.stream,
            session: tour.errand.session.is_some(),
        },
        virtual_key: pass.key.map(|key| Caller {
            id: &key.id,
            name: &key.name,
            team: key.team.as_ref().map(|team| &*team.name),
            customer: key.customer.as_ref().map(|customer| &*customer.name),
        }),
        direct_key: pass.direct.as_ref().map(|direct| match direct {
            Direct::Key(_) => "key",
            Direct::OAuth(_) => "oauth",
        }),
        rules: tour.itinerary.rules.iter().map(|rule| Ruled::of(rule)).collect(),
        targets,
        verdict: verdict.or(failed).unwrap_or_default(),
    }
}

impl<'e> Ruled<'e> {
    fn of(rule: &'e Rule) -> Self {
        Self {
            id: &rule.id,
            name: &rule.name,
            cel_expression: &rule.expression,
            priority: rule.priority,
            chain_rule: rule.chain,
        }
    }
}

/// Everything about one target, and why it would not be called.
fn stopover<'e>(
    journey: &Journey<'e, '_>,
    incoming: &mut Incoming,
) -> (Stopover<'e>, Option<Failure>) {
    let stop = journey.stop;
    let chosen = journey.choose(&Keys::default(), 0);
    let at = chosen.as_ref().ok().copied().flatten();
    let sent = chosen.and_then(|at| {
        let metered = match journey.pass.admit(&journey.bill(at), incoming.body()) {
            Ok(grant) => authority::is_metered(grant.as_ref()),
            // A real request would wait for the journal.
            Err(denied) if denied.reason == Reason::LedgerBehind => true,
            Err(denied) => return Err(authority::refusal(&denied)),
        };
        upstream(journey, at, metered, incoming)
    });
    let (upstream, failure) = match sent {
        Ok(upstream) => (Some(upstream), None),
        Err(failure) => (None, Some(failure)),
    };
    let refused = failure.as_ref().map(|failure| Refusal {
        status: failure.status,
        message: failure.fault.message.to_string(),
    });
    let core = journey.visit.core;
    let place = Place::provider(&stop.provider.name);
    let stopover = Stopover {
        provider: &stop.provider.name,
        model: stop.model.to_string(),
        via: via(stop.via),
        health: core.health.borrow().look(place, core.coarse_now()).map(State::of),
        limits: limits(journey),
        keys: keys(journey, at),
        max_retries: stop.provider.network.max_retries,
        queue: calls(journey),
        refused,
        upstream,
    };
    (stopover, failure)
}

fn calls(journey: &Journey<'_, '_>) -> Option<Calls> {
    let provider = journey.stop.provider;
    let queue = provider.queue?;
    let turnstile = journey.visit.snapshot.turnstiles.get(&provider.name)?;
    Some(Calls {
        in_flight: turnstile.in_flight(),
        waiting: turnstile.waiting(),
        concurrency: queue.concurrency,
        buffer_size: queue.buffer,
    })
}

const fn via(via: Via) -> &'static str {
    match via {
        Via::Rule => "routing rule",
        Via::Prefix => "provider/ in the model's name",
        Via::Weights => "weights of the virtual key",
        Via::Catalogue => "catalogue of models",
        Via::Native => "the route's own provider",
        Via::Fallback => "fallback",
    }
}

impl State {
    fn of(sight: Sight) -> Self {
        Self {
            breaker: sight.breaker,
            failures_in_a_row: sight.failures,
            open_for_ms: sight.open_for_ms,
            error_share: sight.errors,
            latency_ms: sight.latency_ms,
        }
    }
}

/// The provider's keys, and which of them are candidates.
fn keys<'e>(journey: &Journey<'e, '_>, chosen: Option<usize>) -> Vec<Candidate<'e>> {
    let (core, provider) = (journey.visit.core, journey.stop.provider);
    let (health, now) = (core.health.borrow(), core.coarse_now());
    let named = provider.keys.iter().enumerate();
    named
        .map(|(at, key)| {
            let place = Place::key(&provider.name, &key.id);
            let bar = journey.key_ask(&[], 0, |ask| ask.bar(at, key));
            let state = match bar {
                _ if chosen == Some(at) => "chosen",
                Some(_) => "barred",
                None if health.usable(place, now) => "candidate",
                None => "cooling down",
            };
            Candidate {
                id: &key.id,
                name: &key.name,
                weight: key.weight,
                state,
                why: bar.map(|bar| bar.to_string()),
                health: health.look(place, now).map(State::of),
            }
        })
        .collect()
}

/// The limits that an attempt at this target counts against.
fn limits(journey: &Journey<'_, '_>) -> Vec<Standing> {
    let Some(law) = journey.pass.law else { return Vec::new() };
    let (now, mut all) = (journey.pass.now, Vec::new());
    let place = (&*journey.stop.provider.name, &*journey.stop.model);
    law.tables.each_limit(&journey.pass.identity(), place, &mut |limit| {
        all.push(Standing::of(limit, now));
    });
    all
}

impl Standing {
    fn of(limit: &Limit, now: i64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "shown, not reckoned with")]
        let figure = |count: u64| match limit.metric {
            Metric::Cost => count as f64 / 1e9,
            Metric::Tokens | Metric::Requests | Metric::Concurrent => count as f64,
        };
        let end = limit.window.end(limit.anchor, now);
        Self {
            owner: format!("{} `{}`", limit.name.owner.kind, limit.name.owner.name),
            id: limit.name.id.to_string(),
            metric: limit.metric.as_str(),
            unit: if limit.metric == Metric::Cost { "dollars" } else { limit.metric.as_str() },
            used: figure(limit.used(now)),
            max: figure(limit.max_at(now)),
            strict: limit.enforcement == Enforcement::Strict,
            resets_at: end.filter(|_| limit.metric != Metric::Concurrent).map(windows::rfc3339),
        }
    }
}

/// The request as it would go to this target.
fn upstream(
    journey: &Journey<'_, '_>,
    at: Option<usize>,
    metered: bool,
    incoming: &mut Incoming,
) -> Result<Upstream, Failure> {
    let (visit, errand) = (journey.visit, journey.errand);
    let own = |by| Upstream {
        by,
        dialect: None,
        method: String::new(),
        url: String::new(),
        headers: Vec::new(),
        body: None,
        same_dialect: false,
        lost: Vec::new(),
    };
    let site = journey.site(at, metered);
    let mut course = match visit.heading(errand, &site)? {
        Heading::Mock => return Ok(own("mock")),
        Heading::Estimate => return Ok(own("estimate")),
        Heading::Upstream(course) => course,
    };
    course.lease = wallet::stand_in(course.key.filter(|_| course.direct.is_none()));
    course.betas = visit.betas(incoming, &course, errand.ask);
    let mut packed = visit.pack(incoming, &course, errand.ask)?;
    let body = packed.parcel.buf.get(packed.parcel.start..).unwrap_or_default();
    let body = std::str::from_utf8(body).ok().and_then(|body| {
        // Whatever it is, it is shown.
        serde_json::from_str(body).or_else(|_| serde_json::value::to_raw_value(body)).ok()
    });
    packed.give_back(incoming);
    let (method, url, headers) = head(&course, &packed, incoming);
    Ok(Upstream {
        by: "upstream",
        dialect: Some(course.endpoint.dialect.name()),
        method,
        url,
        headers,
        body,
        same_dialect: visit.voice.is(course.endpoint.dialect),
        lost: lost(&packed.loss),
    })
}

fn lost(loss: &Loss) -> Vec<Lost> {
    let why = |reason| match reason {
        Why::Unsupported => "the upstream's language has no word for it",
        Why::Value => "this value cannot be said in it",
        Why::Foreign => "sealed data of another vendor",
        Why::Approximated => "said in a weaker form",
    };
    let entries = loss.entries().iter();
    entries.map(|lost| Lost { path: lost.path.clone(), why: why(lost.reason) }).collect()
}

/// Method, address and headers, without secrets.
fn head(
    course: &Course<'_>,
    packed: &Packed,
    incoming: &Incoming,
) -> (String, String, Vec<(String, String)>) {
    let text = String::from_utf8_lossy(&packed.parcel.head);
    let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
    let mut request = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (request.next().unwrap_or_default(), request.next().unwrap_or_default());
    let origin = &course.endpoint.origin;
    let place = if target.starts_with("http") {
        String::new()
    } else {
        let scheme = if origin.tls { "https" } else { "http" };
        format!("{scheme}://{}:{}", origin.host, origin.port)
    };
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| {
        let own = || {
            let plain = name.strip_prefix("x-bf-eh-").unwrap_or(name);
            let extra = format!("x-bf-eh-{plain}");
            incoming.header(name) == Some(value) || incoming.header(&extra) == Some(value)
        };
        (name.to_owned(), shown(name, value, own))
    });
    (method.to_owned(), format!("{place}{}", without_key(target)), headers.collect())
}
