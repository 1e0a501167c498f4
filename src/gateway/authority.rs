//! Whose request it is, and what it may spend: governance on the path of a request.
//!
//! In: a request's headers and the snapshot's law. Out: a [`Pass`], which admits attempts and
//! settles them from what they came to; or the refusal, as the client's SDK understands it. A
//! snapshot without law gives a pass that costs nothing. Never: a lock, or a clock beside the one
//! reading at the request's start.

use super::Core;
use super::account::Tally;
use super::failure::{Failure, Retry, Whose};
use super::own::unix_seconds;
use crate::chat::{ErrorKind, Usage};
use crate::config::enact::unix_ms;
use crate::config::{AwsClient, Law, Snapshot};
use crate::govern::limits::Metric;
use crate::govern::prices::{Query, Quote, Tier};
use crate::govern::{
    Credential, Denied, Estimate, Grant, Identity, Reason, Source, Spent, Target, VirtualKey,
};
use crate::net::client_conn::Incoming;
use crate::provider::{Key, Provider, Secret, aws_sigv4, model_name};
use crate::wire::json_read;
use crate::wire::json_scan::{self, DEPTH_MAX};
use smallvec::SmallVec;

/// An answer whose request names no limit is reserved for as long as most models can answer.
const OUTPUT_MAX: u64 = 32_768;

/// The right to ask, and what has to be remembered to charge for it.
#[derive(Debug)]
pub struct Pass<'s> {
    pub law: Option<&'s Law>,
    pub key: Option<&'s VirtualKey>,
    /// The caller's own credential for the upstream.
    pub direct: Option<Direct>,
    /// Unix milliseconds at the request's start; 0 without law.
    pub now: i64,
    /// The worker's clock at that time.
    began: u64,
}

/// A credential of the client's that goes upstream in the place of a configured key.
#[derive(Debug, Clone)]
pub enum Direct {
    /// A provider's key.
    Key(Box<str>),
    /// Of a Claude subscription: always a bearer token, and for Anthropic alone.
    OAuth(Box<str>),
}

/// What one attempt is, for its price.
#[derive(Debug, Clone, Copy)]
pub struct Bill<'b> {
    pub provider: &'b Provider,
    pub key: Option<&'b Key>,
    /// As routing has it: before aliases. Empty where no model is asked.
    pub model: &'b str,
    pub request_type: &'b str,
}

/// Finds out whose request it is.
///
/// # Errors
/// A required header is missing, or the caller is not known or not allowed.
pub fn identify<'s>(
    core: &Core,
    snapshot: &'s Snapshot,
    incoming: &Incoming,
) -> Result<Pass<'s>, Failure> {
    let signed = signed_by(core, snapshot, incoming)?;
    let law = snapshot.law.as_ref();
    let mut pass = Pass { law, key: None, direct: None, now: 0, began: core.clock.coarse_ms() };
    let Some(law) = law else { return Ok(pass) };
    pass.now = unix_ms();
    let credentials = credentials(incoming, signed);
    let found = law
        .tables
        .identify(&credentials, &|name| incoming.header(name), pass.now)
        .map_err(|denied| refusal(&denied))?;
    pass.key = found.key;
    let by_header = found.source == Some(Source::VirtualKeyHeader);
    let bearer = credentials.iter().find(|one| one.source == Source::Bearer);
    pass.direct = match (bearer, found.direct) {
        (Some(one), _) if by_header && is_oauth(one.value) => Some(Direct::OAuth(one.value.into())),
        (_, Some(one)) if is_oauth(one.value) => Some(Direct::OAuth(one.value.into())),
        (_, direct) => direct.map(|one| Direct::Key(one.value.into())),
    };
    Ok(pass)
}

/// The client of AWS that signed a request, where the configuration knows its secret.
///
/// # Errors
/// 403 for a signature that does not hold.
fn signed_by<'s>(
    core: &Core,
    snapshot: &'s Snapshot,
    incoming: &Incoming,
) -> Result<Option<&'s AwsClient>, Failure> {
    let clients = &snapshot.client.aws_clients;
    if clients.is_empty() {
        return Ok(None);
    }
    let Some(presented) = incoming.header("authorization").and_then(aws_sigv4::parse) else {
        return Ok(None);
    };
    let known = |client: &&AwsClient| client.access_key_id.expose() == presented.access_key_id;
    let Some(client) = clients.iter().find(known) else { return Ok(None) };
    let headers = incoming.head.headers(&incoming.buf);
    let headers: Vec<_> = headers
        .filter_map(|(name, value)| Some((name, std::str::from_utf8(value).ok()?)))
        .collect();
    let call = aws_sigv4::Call {
        method: incoming.head.method.as_str(),
        target: incoming.head.target.str_of(&incoming.buf),
        headers: &headers,
        body: incoming.body(),
    };
    let keys = &mut core.signing_keys.borrow_mut();
    aws_sigv4::verify(&presented, call, &client.secret_access_key, unix_seconds(), keys)
        .map(|()| Some(client))
        .map_err(|refused| {
            let message = format!("{refused} (access key {})", presented.access_key_id);
            Failure::new(403, ErrorKind::Permission, Whose::Policy, message)
        })
}

/// Tokens of Claude Pro and Max begin so.
fn is_oauth(value: &str) -> bool {
    value.starts_with("sk-ant-oat")
}

/// Every place where a caller may show a key, in the order of the contract.
fn credentials<'c>(
    incoming: &'c Incoming,
    signed_by: Option<&'c AwsClient>,
) -> SmallVec<[Credential<'c>; 4]> {
    let authorization = incoming.header("authorization");
    let bearer = authorization.and_then(|value| {
        let (scheme, token) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    });
    // SDKs with a key of their own put it before the one that was configured: the last one counts.
    let last = incoming
        .head
        .headers(&incoming.buf)
        .filter(|(name, _)| name.eq_ignore_ascii_case("x-api-key"))
        .last()
        .and_then(|(_, value)| std::str::from_utf8(value).ok());
    let signed = authorization.and_then(aws_sigv4::parse);
    let meant = signed_by.and_then(|client| client.virtual_key.as_ref()).map(Secret::expose);
    let shown = [
        (Source::VirtualKeyHeader, incoming.header("x-bf-vk")),
        (Source::Bearer, bearer),
        (Source::XApiKey, last),
        (Source::ApiKey, incoming.header("api-key")),
        (Source::XGoogApiKey, incoming.header("x-goog-api-key")),
        (Source::AccessKeyId, meant.or_else(|| signed.map(|signed| signed.access_key_id))),
    ];
    let shown = shown.into_iter().filter_map(|(source, value)| Some((source, value?.trim())));
    let shown = shown.filter(|(_, value)| !value.is_empty());
    shown.map(|(source, value)| Credential { source, value }).collect()
}

/// The refusal as an answer.
pub fn refusal(denied: &Denied) -> Failure {
    let kind = match denied.reason {
        Reason::VirtualKeyRequired => ErrorKind::Authentication,
        Reason::AccessBlocked | Reason::ProviderBlocked | Reason::ModelBlocked => {
            ErrorKind::Permission
        }
        Reason::BudgetExceeded => ErrorKind::Billing,
        Reason::TokenLimited | Reason::RequestLimited | Reason::RateLimited => ErrorKind::RateLimit,
        Reason::MissingRequiredHeaders => ErrorKind::InvalidRequest,
        Reason::LedgerBehind => ErrorKind::Overloaded,
    };
    let status = denied.reason.status();
    let mut failure = Failure::new(status, kind, Whose::Policy, denied.message.clone());
    failure.fault.code = Some(denied.reason.as_str().into());
    failure.retry = if denied.should_retry { Retry::Same } else { Retry::Never };
    match denied.retry_after_s {
        Some(seconds) => failure.with_header("retry-after", seconds.to_string()),
        None => failure,
    }
}

impl<'s> Pass<'s> {
    /// The caller, for figures of its limits.
    pub fn identity(&self) -> Identity<'s, 'static> {
        Identity { key: self.key, source: None, direct: None }
    }

    /// Whether the caller may use anything of a provider.
    pub fn may_ask(&self, provider: &Provider) -> bool {
        self.key.is_none_or(|key| key.allow_all_providers || key.provider(&provider.name).is_some())
    }

    /// Whether the caller may use a model of a provider.
    pub fn may_use(&self, provider: &Provider, model: &str) -> bool {
        self.key.is_none_or(|key| match key.provider(&provider.name) {
            Some(grant) => grant.allows(Some(model)),
            None => key.allow_all_providers,
        })
    }

    /// Lets one attempt in, and reserves what it may spend.
    ///
    /// # Errors
    /// The refusal.
    pub fn admit(&self, bill: &Bill<'_>, body: &[u8]) -> Result<Option<Grant>, Box<Denied>> {
        let Some(law) = self.law else { return Ok(None) };
        let estimate =
            if law.strict { self.estimate(law, bill, body) } else { Estimate::default() };
        let model = Some(bill.model).filter(|model| !model.is_empty());
        let target = Target { provider: &bill.provider.name, model, estimate };
        law.tables.admit(&self.identity(), &target, self.now).map(Some)
    }

    /// The most that a request can come to: no token is shorter than a byte.
    fn estimate(&self, law: &Law, bill: &Bill<'_>, body: &[u8]) -> Estimate {
        let (input, output) = (body.len() as u64, output_max(body));
        let quote = self.quote(law, bill);
        let cost = quote.map_or(0, |quote| {
            let tiers = [Tier::Standard, tier_asked(body)];
            let most = tiers.map(|tier| quote.at_most(input, output, tier));
            most.into_iter().max().unwrap_or(0)
        });
        Estimate { cost, tokens: input.saturating_add(output) }
    }

    /// The price of what is asked for: under the provider's own name, else as its kind sells it.
    fn quote(&self, law: &Law, bill: &Bill<'_>) -> Option<Quote> {
        let alias = bill.key.and_then(|key| model_name::alias_of(key, bill.model));
        let mut models: SmallVec<[&str; 3]> = SmallVec::new();
        if let Some(alias) = alias {
            models.extend(alias.model_name.as_deref());
            models.push(&alias.model_id);
        }
        models.push(bill.model);
        let query = Query {
            provider: &bill.provider.name,
            models: &models,
            key: bill.key.map(|key| &*key.id),
            virtual_key: self.key.map(|key| &*key.id),
            request_type: bill.request_type,
            region: bill.key.and_then(|key| key.region.as_deref()),
        };
        let kind = Query { provider: bill.provider.row.name, ..query };
        law.prices.quote(&query).or_else(|| law.prices.quote(&kind))
    }

    /// Charges an attempt for what it came to. `body`: the length of what was asked, for an answer
    /// that broke off before it said what it used. Gives the cost in nano-dollars, where the model
    /// has a price.
    pub fn settle(
        &self,
        core: &Core,
        grant: Option<Grant>,
        bill: &Bill<'_>,
        (tally, answered, body): (&Tally, bool, usize),
    ) -> Option<u64> {
        let (law, grant) = (self.law?, grant?);
        let mut usage = tally.usage.clone();
        if answered && usage == Usage::default() && tally.events > 0 {
            // Four bytes to a token, and a token to an event, are the usual figures.
            usage.input = Some(body as u64 / 4);
        }
        if answered && tally.stop.is_none() && tally.events > usage.output.unwrap_or(0) {
            usage.output = Some(tally.events);
        }
        let quote = self.quote(law, bill);
        let priced = quote.map(|quote| quote.cost(&usage));
        let cost = priced.unwrap_or(0);
        let passed = core.clock.coarse_ms().saturating_sub(self.began);
        let now = self.now.saturating_add(i64::try_from(passed).unwrap_or(0));
        grant.settle(&Spent { cost, tokens: usage.total(), answered }, now);
        priced
    }
}

/// Whether a limit of this grant's needs to know the usage.
pub fn is_metered(grant: Option<&Grant>) -> bool {
    grant.is_some_and(|grant| {
        grant.limits().any(|limit| matches!(limit.metric, Metric::Cost | Metric::Tokens))
    })
}

/// The dearer way of being served that a request asks for: `service_tier`, or Anthropic's `speed`.
fn tier_asked(body: &[u8]) -> Tier {
    let found = json_scan::scan(body, DEPTH_MAX, &["service_tier", "speed"]).unwrap_or_default();
    let mut asked = found.into_iter().flatten().filter_map(|span| {
        let raw = std::str::from_utf8(span.of(body)).ok()?;
        Some(Tier::of(json_read::text(raw).as_deref()))
    });
    asked.rfind(|tier| matches!(tier, Tier::Priority | Tier::Fast)).unwrap_or(Tier::Standard)
}

/// How long an answer the request allows, in any dialect's field.
fn output_max(body: &[u8]) -> u64 {
    let plain = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
    let nested = [("inferenceConfig", "maxTokens"), ("generationConfig", "maxOutputTokens")];
    let [one, two, three] = json_scan::scan(body, DEPTH_MAX, &plain).unwrap_or_default();
    let [converse, gemini] =
        json_scan::scan(body, DEPTH_MAX, &nested.map(|(outer, _)| outer)).unwrap_or_default();
    let text = |span: json_scan::Span| std::str::from_utf8(span.of(body)).ok();
    let flat = [one, two, three].into_iter().flatten().filter_map(text);
    let inner = [converse, gemini]
        .into_iter()
        .zip(nested)
        .filter_map(|(span, (_, name))| json_read::field(span.and_then(text)?, name));
    flat.chain(inner).filter_map(json_read::unsigned).max().unwrap_or(OUTPUT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dearer_tier_is_estimated_as_such() {
        assert_eq!(tier_asked(br#"{"service_tier":"priority","model":"m"}"#), Tier::Priority);
        assert_eq!(tier_asked(br#"{"model":"m","speed":"fast"}"#), Tier::Fast);
        for cheap in ["{}", r#"{"service_tier":"flex"}"#, r#"{"service_tier":7}"#, "{"] {
            assert_eq!(tier_asked(cheap.as_bytes()), Tier::Standard, "{cheap}");
        }
    }
}
