//! May this request do this, and what does it hold while it does: virtual keys, budgets, rate
//! limits, prices.
//!
//! In: the [`Tables`] of the snapshot, what a request shows of itself ([`Ask`]), and now. Out: a
//! [`Grant`] that holds what the request may spend until it is settled or dropped, or [`Denied`].
//!
//! The order: required headers; the virtual key (known, active, not expired); limits of the
//! provider, then of the model, for all callers; the key's providers and models; rate limits of
//! the key's provider, the key, its team, its customer; their budgets in the same order; the key's
//! own limits per model. Bifrost looks at the provider's limits first; here nobody learns of them
//! without a key. The first that fails answers, and all that was reserved before is given back.
//!
//! `decide` runs once per attempt: a fallback goes to another provider, with other limits. Never:
//! reads a clock, takes a lock, waits.

pub mod budgets;
pub mod counter;
pub mod denied;
pub mod ledger;
pub mod limits;
pub mod model_list;
pub mod plan;
pub mod price_sheet;
pub mod prices;
pub mod rate_limits;
pub mod tables;
pub mod turnstile;
pub mod virtual_keys;
pub mod windows;

pub use denied::{Denied, Reason};
pub use ledger::Ledger;
pub use limits::{Estimate, Spent};
pub use plan::Plan;
pub use tables::Tables;
pub use virtual_keys::{Credential, Source, VirtualKey};

use limits::{Hold, Limit, Metric};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;
use tables::Required;
use virtual_keys::{Digest, Limits, ModelLimits, ProviderGrant};

/// Reads a request header by its lower-case name.
pub type Header<'a> = &'a dyn Fn(&str) -> Option<&'a str>;

/// What a request shows of itself.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// In the order of [`Source`].
    pub credentials: &'a [Credential<'a>],
    pub header: Header<'a>,
    /// Where this attempt goes.
    pub target: Target<'a>,
}

/// One attempt.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub provider: &'a str,
    /// Without its `provider/`; `None` for calls that name none (files, passthrough).
    pub model: Option<&'a str>,
    pub estimate: Estimate,
}

/// Whose request it is.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'t, 'c> {
    pub key: Option<&'t VirtualKey>,
    /// Where the virtual key stood: that header must not go upstream.
    pub source: Option<Source>,
    /// The caller's own provider key, where those are allowed.
    pub direct: Option<Credential<'c>>,
}

/// A provider that a virtual key may use for a model.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'t> {
    pub provider: &'t str,
    /// `None`: only where it is asked for.
    pub weight: Option<f64>,
    /// Whether the key's list says `*`, so that the catalogue decides what the provider serves.
    pub any_model: bool,
}

/// A figure of a rule's: how much of its limits a request has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gauge {
    Budget,
    Tokens,
    Requests,
}

/// Identity, limits and reservations, all at once: for routes without a plan of targets.
pub fn decide<'t, 'a>(
    tables: &'t Arc<Tables>,
    ask: &Ask<'a>,
    now: i64,
) -> Result<(Identity<'t, 'a>, Grant), Box<Denied>> {
    let identity = tables.identify(ask.credentials, ask.header, now)?;
    let grant = tables.admit(&identity, &ask.target, now)?;
    Ok((identity, grant))
}

impl Tables {
    /// Whose request it is; once per request, before its targets are planned.
    pub fn identify<'t, 'a>(
        &'t self,
        credentials: &[Credential<'a>],
        header: Header<'_>,
        now: i64,
    ) -> Result<Identity<'t, 'a>, Box<Denied>> {
        for (name, required) in &self.required {
            let value = header(name);
            let met = match required {
                Required::Present => value.is_some(),
                Required::Equals(expected) => expected
                    .zip(value)
                    .is_some_and(|(expected, value)| expected.same(&Digest::of(value))),
                Required::Matches(pattern) => value.is_some_and(|value| pattern.is_match(value)),
            };
            if !met {
                let state =
                    if value.is_some() { "has not the required value" } else { "is missing" };
                let message = format!("missing_required_headers: header `{name}` {state}");
                return Err(Denied::because(Reason::MissingRequiredHeaders, message).into());
            }
        }
        let found = self.index.find(credentials.iter().copied(), self.allow_direct_keys, now)?;
        let key = found
            .key
            .and_then(|(at, source)| Some((self.keys.get(usize::try_from(at).ok()?)?, source)));
        match key {
            Some((key, _)) => key.in_force(now)?,
            None if self.enforce_auth => {
                let message = "virtual_key_required: send a virtual key, as header x-bf-vk or in \
                               the place of the API key";
                return Err(Denied::because(Reason::VirtualKeyRequired, message).into());
            }
            None => {}
        }
        Ok(Identity {
            key: key.map(|(key, _)| key),
            source: key.map(|(_, source)| source),
            direct: found.direct,
        })
    }

    /// Checks one attempt and reserves what it may spend.
    pub fn admit(
        self: &Arc<Self>,
        identity: &Identity<'_, '_>,
        target: &Target<'_>,
        now: i64,
    ) -> Result<Grant, Box<Denied>> {
        let mut grant = Grant { tables: Arc::clone(self), holds: SmallVec::new() };
        let mut take = |range: Range<u32>| -> Result<(), Box<Denied>> {
            for (limit, at) in self.limits_in(range.clone()).iter().zip(range) {
                grant.holds.push((at, limit.admit(&target.estimate, now)?));
            }
            Ok(())
        };
        let (provider, model) = (target.provider, target.model);
        if let Some(limits) = self.providers.get(provider) {
            take(limits.all())?;
        }
        for each in self.model_limits(provider, model) {
            take(each.limits.rates())?;
        }
        for each in self.model_limits(provider, model) {
            take(each.limits.budgets())?;
        }
        let Some(key) = identity.key else { return Ok(grant) };
        let config = allowed(key, provider, model)?;
        let chain = chain(key, config);
        for limits in chain.into_iter().flatten() {
            take(limits.rates())?;
        }
        for limits in chain.into_iter().flatten() {
            take(limits.budgets())?;
        }
        let own = || key.models.iter().filter(|each| each.applies(provider, model));
        for each in own() {
            take(each.limits.rates())?;
        }
        for each in own() {
            take(each.limits.budgets())?;
        }
        Ok(grant)
    }

    /// The providers to choose from for a model that names none: those of the key that allow it
    /// and whose own limits have room. An error only where limits alone left nothing; an empty
    /// list where the key allows no provider by itself (then the caller's default is checked).
    pub fn offers<'t>(
        &self,
        key: &'t VirtualKey,
        model: Option<&str>,
        now: i64,
    ) -> Result<SmallVec<[Offer<'t>; 4]>, Box<Denied>> {
        let mut offers = SmallVec::new();
        let mut full = None;
        let allowing = key.providers.iter().filter(|config| config.allows(model));
        for config in allowing {
            match self.limits_in(config.limits.all()).iter().find(|limit| !limit.has_room(now)) {
                Some(limit) => full = full.or(Some(limit)),
                None => offers.push(Offer {
                    provider: &config.provider,
                    weight: config.weight,
                    any_model: config.allowed.is_all(),
                }),
            }
        }
        match full {
            Some(limit) if offers.is_empty() && !key.allow_all_providers => {
                Err(limit.exhausted(now).into())
            }
            _ => Ok(offers),
        }
    }

    /// Percent used of the fullest limit that this request would count against; 0 without any.
    pub fn gauge(
        &self,
        identity: &Identity<'_, '_>,
        gauge: Gauge,
        (provider, model): (&str, &str),
        now: i64,
    ) -> f64 {
        let mut most = 0.0_f64;
        self.each_limit(identity, (provider, model), &mut |limit| {
            if gauge.counts(limit) {
                most = most.max(limit.percent(now));
            }
        });
        most
    }

    /// Percent used of the fullest budget of each reset duration, for `budget_used_in["1d"]`.
    pub fn gauge_by_span(
        &self,
        identity: &Identity<'_, '_>,
        (provider, model): (&str, &str),
        now: i64,
    ) -> Vec<(String, f64)> {
        let mut spans: Vec<(String, f64)> = Vec::new();
        self.each_limit(identity, (provider, model), &mut |limit| {
            let Some(span) = limit.window.span().filter(|_| Gauge::Budget.counts(limit)) else {
                return;
            };
            let (span, percent) = (span.to_string(), limit.percent(now));
            match spans.iter_mut().find(|(known, _)| *known == span) {
                Some((_, most)) => *most = most.max(percent),
                None => spans.push((span, percent)),
            }
        });
        spans
    }

    /// Every limit that a request to this provider and model counts against, in order; for
    /// `explain` and quota pages.
    pub fn each_limit(
        &self,
        identity: &Identity<'_, '_>,
        (provider, model): (&str, &str),
        see: &mut dyn FnMut(&Limit),
    ) {
        let mut all = |limits: &Limits| self.limits_in(limits.all()).iter().for_each(&mut *see);
        if let Some(limits) = self.providers.get(provider) {
            all(limits);
        }
        self.model_limits(provider, Some(model)).for_each(|each| all(&each.limits));
        if let Some(key) = identity.key {
            chain(key, key.provider(provider)).into_iter().flatten().for_each(&mut all);
            let own = key.models.iter().filter(|each| each.applies(provider, Some(model)));
            own.for_each(|each| all(&each.limits));
        }
    }

    fn model_limits<'s>(
        &'s self,
        provider: &'s str,
        model: Option<&'s str>,
    ) -> impl Iterator<Item = &'s ModelLimits> {
        let named = model.and_then(|model| self.models.get(model)).into_iter().flatten();
        named.chain(&self.any_model).filter(move |each| each.applies(provider, model))
    }
}

impl Gauge {
    fn counts(self, limit: &Limit) -> bool {
        matches!(
            (self, limit.metric),
            (Self::Budget, Metric::Cost)
                | (Self::Tokens, Metric::Tokens)
                | (Self::Requests, Metric::Requests)
        )
    }
}

/// Whose limits a key's request counts against, the nearest first.
fn chain<'t>(key: &'t VirtualKey, config: Option<&'t ProviderGrant>) -> [Option<&'t Limits>; 4] {
    [
        config.map(|config| &config.limits),
        Some(&key.limits),
        key.team.as_ref().map(|team| &team.limits),
        key.customer.as_ref().map(|customer| &customer.limits),
    ]
}

/// Whether the key may use this model of this provider, and under which of its entries.
fn allowed<'t>(
    key: &'t VirtualKey,
    provider: &str,
    model: Option<&str>,
) -> Result<Option<&'t ProviderGrant>, Box<Denied>> {
    match key.provider(provider) {
        Some(config) if config.allows(model) => Ok(Some(config)),
        Some(_) => {
            let model = model.map_or_else(
                || "calls that name no model are".to_owned(),
                |model| format!("model `{model}` is"),
            );
            let message = format!(
                "model_blocked: {model} not allowed to virtual key `{}` at `{provider}`",
                key.name
            );
            Err(Denied::because(Reason::ModelBlocked, message).into())
        }
        None if key.allow_all_providers => Ok(None),
        None => {
            let message = format!(
                "provider_blocked: provider `{provider}` is not allowed to virtual key `{}`",
                key.name
            );
            Err(Denied::because(Reason::ProviderBlocked, message).into())
        }
    }
}

/// What a request holds of its limits. Dropped, it gives everything back.
#[derive(Debug)]
#[must_use = "dropping a grant gives back what it reserved"]
pub struct Grant {
    tables: Arc<Tables>,
    /// By place of the limit in the tables.
    holds: SmallVec<[(u32, Hold); 8]>,
}

impl Grant {
    /// Charges what was spent and gives the rest back: strict limits where they were reserved, the
    /// others in the window of `now`.
    pub fn settle(mut self, spent: &Spent, now: i64) {
        for (at, hold) in std::mem::take(&mut self.holds) {
            if let Some(limit) = self.tables.limit(at) {
                limit.settle(hold, spent, now);
            }
        }
    }

    /// The limits that it counts against, for the log.
    pub fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.holds.iter().filter_map(|(at, _)| self.tables.limit(*at))
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        for (at, hold) in self.holds.drain(..) {
            if let Some(limit) = self.tables.limit(at) {
                limit.release(hold);
            }
        }
    }
}
