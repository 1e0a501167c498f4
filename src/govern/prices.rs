//! What an answer costs: usage times the price of the model that gave it.
//!
//! In: a price table (the one shipped with the project, a data sheet, overrides), who asked for
//! what, and the usage. Out: nano-dollars, or `None` for a model without a price, which the log
//! must show rather than call free. Rates are integers, in pico-dollars (1e-12 $) per token, and
//! rounding happens once, at the sum. Never: fetches a table; `control` does.
//!
//! Cached tokens have rates of their own and are never counted in the full price as well: usage
//! keeps them apart from `input` (see `chat::usage`). Where a provider publishes no rate for them,
//! they cost what input costs.

use super::price_sheet::Sheet;
use crate::chat::Usage;
use hashbrown::HashMap;
use std::sync::Arc;

/// Pico-dollars per token.
pub type Rate = u64;

/// Rates of one model, tier and length of prompt. `None`: nothing published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    pub input: Option<Rate>,
    pub output: Option<Rate>,
    pub cache_read: Option<Rate>,
    /// Kept for five minutes.
    pub cache_write: Option<Rate>,
    /// Kept for an hour.
    pub cache_write_1h: Option<Rate>,
    pub input_audio: Option<Rate>,
    pub output_audio: Option<Rate>,
}

/// How fast, and how dear, a request was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    Standard,
    Batch,
    Flex,
    Priority,
    /// Anthropic's fast mode.
    Fast,
}

impl Tier {
    /// As vendors name it in a usage; what is unknown is standard.
    pub fn of(service_tier: Option<&str>) -> Self {
        match service_tier {
            Some("batch") => Self::Batch,
            Some("flex") => Self::Flex,
            Some("priority") => Self::Priority,
            Some("fast") => Self::Fast,
            _ => Self::Standard,
        }
    }
}

/// What a tier does to the rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierPrice {
    /// In thousandths.
    Factor(u64),
    /// Those that are given replace the standard ones.
    Rates(Rates),
}

/// The price of one model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Price {
    pub base: Rates,
    /// By length of the prompt, ascending: for prompts of more tokens than this.
    pub above: Vec<(u64, Rates)>,
    pub tiers: Vec<(Tier, TierPrice)>,
    /// On regional endpoints, in thousandths of the global ones.
    pub regional: Option<u64>,
    /// Nano-dollars for a web search.
    pub per_search: Option<u64>,
    /// Nano-dollars for a request.
    pub per_request: Option<u64>,
}

impl Rates {
    /// These, and where they are silent, `under`.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        Self {
            input: self.input.or(under.input),
            output: self.output.or(under.output),
            cache_read: self.cache_read.or(under.cache_read),
            cache_write: self.cache_write.or(under.cache_write),
            cache_write_1h: self.cache_write_1h.or(under.cache_write_1h),
            input_audio: self.input_audio.or(under.input_audio),
            output_audio: self.output_audio.or(under.output_audio),
        }
    }

    fn scaled(self, thousandths: u64) -> Self {
        let scale = |rate: Option<Rate>| rate.map(|rate| rate.saturating_mul(thousandths) / 1_000);
        Self {
            input: scale(self.input),
            output: scale(self.output),
            cache_read: scale(self.cache_read),
            cache_write: scale(self.cache_write),
            cache_write_1h: scale(self.cache_write_1h),
            input_audio: scale(self.input_audio),
            output_audio: scale(self.output_audio),
        }
    }
}

impl Price {
    /// This price, and where it is silent, `under`.
    #[must_use]
    pub fn over(&self, under: &Self) -> Self {
        let mut tiers = self.tiers.clone();
        tiers.extend(
            under.tiers.iter().filter(|(tier, _)| !self.tiers.iter().any(|t| t.0 == *tier)),
        );
        let above = if self.above.is_empty() { &under.above } else { &self.above };
        Self {
            base: self.base.over(under.base),
            above: above.clone(),
            tiers,
            regional: self.regional.or(under.regional),
            per_search: self.per_search.or(under.per_search),
            per_request: self.per_request.or(under.per_request),
        }
    }

    fn rates(&self, tier: Tier, prompt: u64, regional: bool) -> Rates {
        let longer = self.above.iter().rev().find(|(tokens, _)| prompt > *tokens);
        let mut rates = longer.map_or(self.base, |(_, rates)| rates.over(self.base));
        match self.tiers.iter().find(|(known, _)| *known == tier) {
            Some((_, TierPrice::Factor(factor))) => rates = rates.scaled(*factor),
            Some((_, TierPrice::Rates(own))) => rates = own.over(rates),
            None => {}
        }
        match self.regional {
            Some(factor) if regional => rates.scaled(factor),
            _ => rates,
        }
    }

    /// Nano-dollars for this usage.
    pub fn cost(&self, usage: &Usage, tier: Tier, regional: bool) -> u64 {
        let rates = self.rates(tier, usage.prompt(), regional);
        let input = rates.input.unwrap_or(0);
        let output = rates.output.unwrap_or(0);
        let write = rates.cache_write.unwrap_or(input);
        let (all_in, all_out) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
        // Audio is contained in input and output; without a rate of its own it is text.
        let audio_in = usage.input_audio.unwrap_or(0).min(all_in);
        let audio_out = usage.output_audio.unwrap_or(0).min(all_out);
        let hour = usage.cache_write_1h.unwrap_or(0);
        let short = usage.cache_write.unwrap_or(0).saturating_sub(hour);
        let parts = [
            (all_in - audio_in, input),
            (audio_in, rates.input_audio.unwrap_or(input)),
            (usage.cache_read.unwrap_or(0), rates.cache_read.unwrap_or(input)),
            (short, write),
            (hour, rates.cache_write_1h.unwrap_or(write)),
            (all_out - audio_out, output),
            (audio_out, rates.output_audio.unwrap_or(output)),
        ];
        let pico: u128 =
            parts.iter().map(|(tokens, rate)| u128::from(*tokens) * u128::from(*rate)).sum();
        let searches =
            u128::from(usage.web_searches.unwrap_or(0)) * u128::from(self.per_search.unwrap_or(0));
        let nano = (pico + 500) / 1_000 + searches + u128::from(self.per_request.unwrap_or(0));
        u64::try_from(nano).unwrap_or(u64::MAX)
    }

    /// The most that a request can cost, in nano-dollars: a prompt of at most `input` tokens, all
    /// of it billed at its dearest, and at most `output` tokens of answer.
    pub fn at_most(&self, input: u64, output: u64, tier: Tier, regional: bool) -> u64 {
        let dearest = |usage: Usage| self.cost(&usage, tier, regional);
        let answer = Some(output);
        [
            Usage { input: Some(input), output: answer, ..Usage::default() },
            Usage { cache_write: Some(input), output: answer, ..Usage::default() },
            Usage {
                cache_write: Some(input),
                cache_write_1h: Some(input),
                output: answer,
                ..Usage::default()
            },
            Usage {
                input: Some(input),
                input_audio: Some(input),
                output: answer,
                output_audio: answer,
                ..Usage::default()
            },
        ]
        .into_iter()
        .map(dearest)
        .max()
        .unwrap_or(u64::MAX)
    }
}

/// Who an override holds for; more of it set is more precise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    pub virtual_key: Option<Box<str>>,
    pub provider: Option<Box<str>>,
    /// Id of a provider's key.
    pub key: Option<Box<str>>,
}

/// A price of one's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceOverride {
    pub scope: Scope,
    pub models: Pattern,
    /// Kinds of request it holds for; empty is all. Streamed ones count as their kind.
    pub request_types: Vec<Box<str>>,
    /// Its fields replace those of the table.
    pub price: Price,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    Exact(Box<str>),
    /// `gpt-4*`, without the star.
    Prefix(Box<str>),
}

/// Whose price is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<'a> {
    pub provider: &'a str,
    /// Names to try, in order: the alias's canonical name, its model id, what was asked for.
    pub models: &'a [&'a str],
    /// Id of the provider's key that was used.
    pub key: Option<&'a str>,
    /// Id of the virtual key.
    pub virtual_key: Option<&'a str>,
    /// `chat_completion`, `responses`, …
    pub request_type: &'a str,
    /// Of the endpoint; `None` and `global` are global ones.
    pub region: Option<&'a str>,
}

/// All prices.
#[derive(Debug, Clone, Default)]
pub struct Prices {
    models: HashMap<Box<str>, HashMap<Box<str>, Arc<Price>>>,
    /// Whose table is looked into next.
    same_as: HashMap<Box<str>, Vec<Box<str>>>,
    overrides: Vec<PriceOverride>,
}

/// A price, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    pub price: Arc<Price>,
    pub regional: bool,
}

impl Quote {
    /// Nano-dollars; the tier is the one that the vendor says it served.
    pub fn cost(&self, usage: &Usage) -> u64 {
        self.price.cost(usage, Tier::of(usage.service_tier.as_deref()), self.regional)
    }

    /// See [`Price::at_most`].
    pub fn at_most(&self, input: u64, output: u64, tier: Tier) -> u64 {
        self.price.at_most(input, output, tier, self.regional)
    }
}

impl Prices {
    /// The shipped table (`prices.json`).
    pub fn shipped() -> Self {
        Sheet::shipped().map_or_else(|_| Self::default(), |sheet| Self::default().with(sheet))
    }

    /// With the models of a sheet in the place of those of the same name.
    #[must_use]
    pub fn with(mut self, sheet: Sheet) -> Self {
        for (provider, model, price) in sheet.models {
            self.models.entry(provider).or_default().insert(model, price);
        }
        self.same_as.extend(sheet.same_as);
        self
    }

    /// With overrides, replacing all there were.
    #[must_use]
    pub fn overridden(mut self, mut overrides: Vec<PriceOverride>) -> Self {
        // Precise scopes first, then exact names, then longer prefixes: the first that fits holds.
        overrides.sort_by_key(|each| std::cmp::Reverse(each.precision()));
        self.overrides = overrides;
        self
    }

    pub fn len(&self) -> usize {
        self.models.values().map(HashMap::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    /// Every `(provider, model)` with a price; also what a catalogue may be built from.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.models
            .iter()
            .flat_map(|(provider, models)| models.keys().map(move |model| (&**provider, &**model)))
    }

    /// The price that holds, or `None` where nobody knows one.
    pub fn quote(&self, query: &Query<'_>) -> Option<Quote> {
        let listed = query.models.iter().find_map(|model| self.listed(query.provider, model));
        let own = query
            .models
            .iter()
            .find_map(|model| self.overrides.iter().find(|each| each.fits(query, model)));
        let price = match (listed, own) {
            (Some(listed), None) => listed,
            (None, Some(own)) => Arc::new(own.price.clone()),
            (Some(listed), Some(own)) => Arc::new(own.price.over(&listed)),
            (None, None) => return None,
        };
        let regional = if query.provider == "bedrock" {
            !query.models.iter().any(|model| bedrock_name(model).starts_with("global."))
        } else {
            query.region.is_some_and(|region| region != "global")
        };
        Some(Quote { price, regional })
    }

    fn listed(&self, provider: &str, model: &str) -> Option<Arc<Price>> {
        let same = self.same_as.get(provider).into_iter().flatten().map(|name| &**name);
        let tables = std::iter::once(provider).chain(same);
        let mut tables = tables.filter_map(|name| self.models.get(name));
        tables.find_map(|table| {
            let plain = plain(provider, model);
            let vendor = plain.strip_prefix("anthropic.");
            let names =
                [Some(model), Some(plain), Some(undated(plain)), vendor, vendor.map(undated)];
            names.into_iter().flatten().find_map(|name| table.get(name).cloned())
        })
    }
}

impl PriceOverride {
    fn precision(&self) -> (u8, bool, usize) {
        let Scope { virtual_key, provider, key } = &self.scope;
        let scope = match (virtual_key.is_some(), key.is_some(), provider.is_some()) {
            (true, true, _) => 5,
            (true, false, true) => 4,
            (true, false, false) => 3,
            (false, true, _) => 2,
            (false, false, true) => 1,
            (false, false, false) => 0,
        };
        match &self.models {
            Pattern::Exact(name) => (scope, true, name.len()),
            Pattern::Prefix(prefix) => (scope, false, prefix.len()),
        }
    }

    fn fits(&self, query: &Query<'_>, model: &str) -> bool {
        let is = |wanted: &Option<Box<str>>, given: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == given)
        };
        let kind = query.request_type.strip_suffix("_stream").unwrap_or(query.request_type);
        is(&self.scope.virtual_key, query.virtual_key)
            && is(&self.scope.provider, Some(query.provider))
            && is(&self.scope.key, query.key)
            && (self.request_types.is_empty()
                || self.request_types.iter().any(|wanted| **wanted == *kind))
            && match &self.models {
                Pattern::Exact(name) => **name == *model,
                Pattern::Prefix(prefix) => model.starts_with(&**prefix),
            }
    }
}

/// The last part of an ARN or path.
fn bedrock_name(model: &str) -> &str {
    model.rsplit_once('/').map_or(model, |(_, name)| name)
}

/// Without what a platform puts around a model's name: regions of inference profiles, versions.
fn plain<'m>(provider: &str, model: &'m str) -> &'m str {
    match provider {
        "bedrock" => {
            let name = bedrock_name(model);
            let regions = ["global.", "us.", "eu.", "apac.", "jp.", "au.", "ca.", "us-gov."];
            let name = regions.iter().find_map(|r| name.strip_prefix(r)).unwrap_or(name);
            let name = name.split_once(':').map_or(name, |(name, _)| name);
            match name.rsplit_once("-v") {
                Some((plain, version)) if is_number(version) => plain,
                _ => name,
            }
        }
        "gemini" | "vertex" => {
            let name = model.rsplit_once('/').map_or(model, |(_, name)| name);
            name.strip_suffix("-001").unwrap_or(name)
        }
        _ => model,
    }
}

/// Without its date or `latest`: `-20250929`, `@20250929`, `-2025-04-14`, `-latest`, `@default`.
fn undated(model: &str) -> &str {
    if let Some(plain) = model.strip_suffix("-latest").or_else(|| model.strip_suffix("@default")) {
        return plain;
    }
    let cut = |length: usize| model.split_at_checked(model.len().checked_sub(length)?);
    match (cut(9), cut(11)) {
        (Some((plain, date)), _) if date.starts_with(['-', '@']) && is_date(date, 8) => plain,
        (_, Some((plain, date))) if date.starts_with('-') && is_date(date, 8) => plain,
        _ => model,
    }
}

fn is_date(text: &str, digits: usize) -> bool {
    text.bytes().filter(u8::is_ascii_digit).count() == digits
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'@'))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input_rate(provider: &str, model: &str) -> Option<Rate> {
        let query = Query { provider, models: &[model], ..Query::default() };
        Prices::shipped().quote(&query)?.price.base.input
    }

    #[test]
    fn names_of_platforms_lead_to_the_model() {
        let three = Some(3_000_000);
        for (provider, model) in [
            ("anthropic", "claude-sonnet-4-5"),
            ("anthropic", "claude-sonnet-4-5-20250929"),
            ("anthropic", "claude-3-5-sonnet-latest"),
            ("vertex", "claude-sonnet-4-5@20250929"),
            ("vertex", "claude-sonnet-4-6@default"),
            ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
            ("bedrock", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"),
            ("bedrock", "eu.anthropic.claude-sonnet-4-6"),
            (
                "bedrock",
                "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-sonnet-4-6",
            ),
        ] {
            assert_eq!(input_rate(provider, model), three, "{provider} {model}");
        }
        assert_eq!(input_rate("bedrock", "us.amazon.nova-pro-v1:0"), Some(800_000));
        assert_eq!(input_rate("bedrock", "mistral.mistral-large-2402-v1:0"), Some(4_000_000));
        assert_eq!(input_rate("gemini", "models/gemini-2.0-flash-001"), Some(100_000));
        assert_eq!(input_rate("azure", "gpt-4.1-2025-04-14"), Some(2_000_000));
        assert_eq!(input_rate("openai", "gpt-4o-2024-05-13"), Some(5_000_000), "exact first");
        assert_eq!(input_rate("openai", "gpt-4o-2024-08-06"), Some(2_500_000));
        assert_eq!(input_rate("openai", "gpt-99"), None, "unknown is not free");
        assert_eq!(input_rate("ollama", "gpt-4o"), None);
    }

    fn own(scope: Scope, models: Pattern, input: Rate) -> PriceOverride {
        let base = Rates { input: Some(input), ..Rates::default() };
        let price = Price { base, ..Price::default() };
        PriceOverride { scope, models, request_types: Vec::new(), price }
    }

    #[test]
    fn the_most_precise_override_holds() {
        let scope = |virtual_key: Option<&str>, provider: Option<&str>, key: Option<&str>| Scope {
            virtual_key: virtual_key.map(Into::into),
            provider: provider.map(Into::into),
            key: key.map(Into::into),
        };
        let prefix = |text: &str| Pattern::Prefix(text.into());
        let prices = Prices::shipped().overridden(vec![
            own(scope(None, None, None), prefix("gpt-"), 1),
            own(scope(None, None, None), prefix("gpt-4"), 2),
            own(scope(None, None, None), Pattern::Exact("gpt-4o".into()), 3),
            own(scope(None, Some("openai"), None), prefix(""), 4),
            own(scope(None, None, Some("k")), prefix(""), 5),
            own(scope(Some("v"), None, None), prefix(""), 6),
            own(scope(Some("v"), Some("openai"), None), prefix(""), 7),
            own(scope(Some("v"), Some("openai"), Some("k")), prefix(""), 8),
        ]);
        let rate = |provider, model, key, virtual_key| {
            let models = &[model];
            let query = Query { provider, models, key, virtual_key, ..Query::default() };
            prices.quote(&query).and_then(|quote| quote.price.base.input)
        };
        assert_eq!(rate("x", "gpt-5", None, None), Some(1));
        assert_eq!(rate("x", "gpt-4", None, None), Some(2), "the longer prefix");
        assert_eq!(rate("x", "gpt-4o", None, None), Some(3), "exact beats prefix");
        assert_eq!(rate("openai", "gpt-4o", None, None), Some(4), "scope beats pattern");
        assert_eq!(rate("openai", "gpt-4o", Some("k"), None), Some(5));
        assert_eq!(rate("openai", "gpt-4o", Some("k2"), Some("v")), Some(7));
        assert_eq!(rate("x", "gpt-4o", None, Some("v")), Some(6));
        assert_eq!(rate("openai", "gpt-4o", Some("k"), Some("v")), Some(8));
        let query = Query { provider: "x", models: &["gpt-4o"], ..Query::default() };
        let usage = Usage { output: Some(1_000_000), ..Usage::default() };
        assert_eq!(prices.quote(&query).map(|quote| quote.cost(&usage)), Some(0));
        let query = Query { provider: "openai", ..query };
        let output = prices.quote(&query).map(|quote| quote.cost(&usage));
        assert_eq!(output, Some(10_000_000_000), "the list's output price stays in force");
    }

    #[test]
    fn an_override_can_hold_for_some_kinds_of_request() {
        let mut only = own(Scope::default(), Pattern::Prefix("".into()), 9);
        only.request_types = vec!["chat_completion".into()];
        let prices = Prices::default().overridden(vec![only]);
        let query = |request_type| Query { models: &["m"], request_type, ..Query::default() };
        assert!(prices.quote(&query("chat_completion_stream")).is_some());
        assert!(prices.quote(&query("embedding")).is_none());
    }

    proptest::proptest! {
        #[test]
        fn nothing_costs_more_than_its_estimate(
            read in 0_u64..200_000, write in 0_u64..200_000, hour in 0_u64..200_000,
            input in 0_u64..400_000, output in 0_u64..100_000, which: proptest::sample::Index,
            regional: bool, tier in 0_usize..5,
        ) {
            let prices = Prices::shipped();
            let mut names: Vec<_> = prices.iter().collect();
            names.sort_unstable();
            let (provider, model) = names[which.index(names.len())];
            let models = [model];
            let region = regional.then_some("eu-west-1");
            let query = Query { provider, models: &models, region, ..Query::default() };
            let quote = prices.quote(&query).unwrap();
            let tiers = [Tier::Standard, Tier::Batch, Tier::Flex, Tier::Priority, Tier::Fast];
            let usage = Usage {
                input: Some(input), output: Some(output), cache_read: Some(read),
                cache_write: Some(write + hour), cache_write_1h: Some(hour), ..Usage::default()
            };
            let cost = quote.price.cost(&usage, tiers[tier], quote.regional);
            let most = quote.at_most(usage.prompt(), output, tiers[tier]);
            proptest::prop_assert!(cost <= most, "{provider}/{model}: {cost} > {most}");
        }
    }
}
