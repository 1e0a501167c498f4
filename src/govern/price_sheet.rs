//! Price tables as they are written: the shipped one, and data sheets in the format that LiteLLM
//! began and Bifrost uses (`pricing_url`, `pricing_patch`).
//!
//! In: JSON. Out: a [`Sheet`] for `Prices::with`, or a [`Price`] for an override. Prices of a data
//! sheet are dollars per token, those of the shipped table dollars per million. Never: fails for
//! fields it does not know; data sheets grow new ones every month.

use super::prices::{Price, Rate, Rates, Tier, TierPrice};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A table, read.
#[derive(Debug, Clone, Default)]
pub struct Sheet {
    /// Provider, model, price.
    pub models: Vec<(Box<str>, Box<str>, Arc<Price>)>,
    /// Providers that sell at the prices of others.
    pub same_as: Vec<(Box<str>, Vec<Box<str>>)>,
    /// Entries that had no price, or none that can be.
    pub skipped: usize,
}

/// Why a table could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BadSheet {
    #[error("not a price table: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("no model in it has a price")]
    Empty,
    #[error("`{0}` is no price")]
    NotAPrice(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about")]
    _about: String,
    same_as: BTreeMap<Box<str>, Vec<Box<str>>>,
    providers: Vec<FileProvider>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileProvider {
    provider: Box<str>,
    #[serde(rename = "page")]
    _page: String,
    #[serde(rename = "as_of")]
    _as_of: String,
    #[serde(rename = "note", default)]
    _note: Option<String>,
    models: Vec<FileModel>,
}

#[derive(Deserialize)]
struct FileModel {
    names: Vec<Box<str>>,
    #[serde(flatten)]
    rates: FileRates,
    #[serde(default)]
    above: BTreeMap<String, FileRates>,
    batch: Option<FileTier>,
    flex: Option<FileTier>,
    priority: Option<FileTier>,
    fast: Option<FileTier>,
    regional: Option<f64>,
    web_search: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FileTier {
    Factor(f64),
    Rates(FileRates),
}

/// Dollars per million tokens.
#[derive(Deserialize)]
struct FileRates {
    input: Option<f64>,
    output: Option<f64>,
    cache_read: Option<f64>,
    cache_write: Option<f64>,
    cache_write_1h: Option<f64>,
    input_audio: Option<f64>,
    output_audio: Option<f64>,
}

impl FileRates {
    fn rates(&self) -> Rates {
        // Dollars per million tokens are micro-dollars per token: a million pico-dollars.
        let rate = |dollars: Option<f64>| scaled(dollars?, 1e6);
        Rates {
            input: rate(self.input),
            output: rate(self.output),
            cache_read: rate(self.cache_read),
            cache_write: rate(self.cache_write),
            cache_write_1h: rate(self.cache_write_1h),
            input_audio: rate(self.input_audio),
            output_audio: rate(self.output_audio),
        }
    }
}

impl FileModel {
    fn price(&self) -> Price {
        let mut above: Vec<(u64, Rates)> = self
            .above
            .iter()
            .filter_map(|(tokens, rates)| Some((tokens.parse().ok()?, rates.rates())))
            .collect();
        above.sort_unstable_by_key(|(tokens, _)| *tokens);
        let tiers = [
            (Tier::Batch, &self.batch),
            (Tier::Flex, &self.flex),
            (Tier::Priority, &self.priority),
            (Tier::Fast, &self.fast),
        ];
        let tiers = tiers.into_iter().filter_map(|(tier, price)| {
            Some((
                tier,
                match price.as_ref()? {
                    FileTier::Factor(factor) => TierPrice::Factor(scaled(*factor, 1e3)?),
                    FileTier::Rates(rates) => TierPrice::Rates(rates.rates()),
                },
            ))
        });
        Price {
            base: self.rates.rates(),
            above,
            tiers: tiers.collect(),
            regional: self.regional.and_then(|factor| scaled(factor, 1e3)),
            per_search: self.web_search.and_then(|dollars| scaled(dollars, 1e9)),
            per_request: None,
        }
    }
}

impl Sheet {
    /// The table that is shipped with the project.
    pub fn shipped() -> Result<Self, BadSheet> {
        let file: File = serde_json::from_str(include_str!("prices.json"))?;
        let mut sheet = Self { same_as: file.same_as.into_iter().collect(), ..Self::default() };
        for provider in file.providers {
            for model in provider.models {
                let price = Arc::new(model.price());
                for name in model.names {
                    sheet.models.push((provider.provider.clone(), name, Arc::clone(&price)));
                }
            }
        }
        Ok(sheet)
    }

    /// A data sheet: an object of models, each with its fields and its `provider` or
    /// `litellm_provider`.
    pub fn parse(json: &[u8]) -> Result<Self, BadSheet> {
        let entries: Map<String, Value> = serde_json::from_slice(json)?;
        let mut sheet = Self::default();
        for (name, fields) in &entries {
            let named = fields.get("provider").or_else(|| fields.get("litellm_provider"));
            let price = fields.as_object().and_then(|fields| price_of(fields).ok());
            match (named.and_then(Value::as_str), price) {
                (Some(named), Some(price)) if price != Price::default() => {
                    let provider = provider_name(named);
                    let model = match name.split_once('/') {
                        Some((prefix, model)) if prefix == named || prefix == provider => model,
                        _ => name,
                    };
                    sheet.models.push((provider.into(), model.into(), Arc::new(price)));
                }
                _ => sheet.skipped += 1,
            }
        }
        if sheet.models.is_empty() { Err(BadSheet::Empty) } else { Ok(sheet) }
    }
}

/// An override's `pricing_patch`: fields of a data sheet, as JSON. Unknown fields are errors here:
/// a mistyped one would leave the list price in force.
pub fn parse_patch(json: &str) -> Result<Price, BadSheet> {
    let fields: Map<String, Value> = serde_json::from_str(json)?;
    let unknown = fields.keys().find(|name| field(name).is_none());
    match unknown {
        Some(name) => Err(BadSheet::NotAPrice(name.clone())),
        None => price_of(&fields),
    }
}

/// Names of providers as data sheets have them, in ours.
fn provider_name(named: &str) -> &str {
    match named {
        _ if named.starts_with("vertex_ai") => "vertex",
        _ if named.starts_with("bedrock") => "bedrock",
        _ if named.starts_with("azure") => "azure",
        _ if named.starts_with("cohere") => "cohere",
        "text-completion-openai" => "openai",
        "fireworks_ai" => "fireworks",
        _ => named,
    }
}

/// Which figure a field of a data sheet is.
enum Field {
    Token(fn(&mut Rates) -> &mut Option<Rate>, Variant),
    Search,
    Request,
}

#[derive(PartialEq)]
enum Variant {
    Base,
    Above(u64),
    Of(Tier),
}

fn field(name: &str) -> Option<Field> {
    match name {
        "search_context_cost_per_query" => return Some(Field::Search),
        "cost_per_request" | "input_cost_per_request" => return Some(Field::Request),
        _ => {}
    }
    // The hour of a cache write is spelled like a length of prompt.
    let (name, hour) = match name.split_once("_above_1hr") {
        Some((name, rest)) => (format!("{name}{rest}"), true),
        None => (name.to_owned(), false),
    };
    let (name, variant) = if let Some((name, tokens)) = name.split_once("_above_") {
        let thousands: u64 = tokens.strip_suffix("k_tokens")?.parse().ok()?;
        (name, Variant::Above(thousands.checked_mul(1_000)?))
    } else {
        let tiers = [
            ("_batches", Tier::Batch),
            ("_batch", Tier::Batch),
            ("_priority", Tier::Priority),
            ("_flex", Tier::Flex),
            ("_fast", Tier::Fast),
        ];
        let tier = tiers
            .into_iter()
            .find_map(|(suffix, tier)| Some((name.strip_suffix(suffix)?, Variant::Of(tier))));
        tier.unwrap_or((&*name, Variant::Base))
    };
    let figure: fn(&mut Rates) -> &mut Option<Rate> = match (name, hour) {
        ("input_cost_per_token", false) => |rates| &mut rates.input,
        ("output_cost_per_token", false) => |rates| &mut rates.output,
        ("cache_read_input_token_cost", false) => |rates| &mut rates.cache_read,
        ("cache_creation_input_token_cost", false) => |rates| &mut rates.cache_write,
        ("cache_creation_input_token_cost", true) => |rates| &mut rates.cache_write_1h,
        ("input_cost_per_audio_token", false) => |rates| &mut rates.input_audio,
        ("output_cost_per_audio_token", false) => |rates| &mut rates.output_audio,
        _ => return None,
    };
    Some(Field::Token(figure, variant))
}

fn price_of(fields: &Map<String, Value>) -> Result<Price, BadSheet> {
    let mut price = Price::default();
    for (name, value) in fields {
        let Some(field) = field(name) else { continue };
        if value.is_null() {
            continue;
        }
        let bad = || BadSheet::NotAPrice(name.clone());
        match field {
            Field::Search => price.per_search = Some(per_search(value).ok_or_else(bad)?),
            Field::Request => {
                let dollars = value.as_f64().and_then(|dollars| scaled(dollars, 1e9));
                price.per_request = Some(dollars.ok_or_else(bad)?);
            }
            Field::Token(figure, variant) => {
                let rate = value.as_f64().and_then(|dollars| scaled(dollars, 1e12));
                let rates = rates_of(&mut price, &variant);
                *figure(rates) = Some(rate.ok_or_else(bad)?);
            }
        }
    }
    price.above.sort_unstable_by_key(|(tokens, _)| *tokens);
    Ok(price)
}

fn rates_of<'p>(price: &'p mut Price, variant: &Variant) -> &'p mut Rates {
    match variant {
        Variant::Base => &mut price.base,
        Variant::Above(tokens) => {
            let at = price.above.iter().position(|(known, _)| known == tokens);
            let at = at.unwrap_or_else(|| {
                price.above.push((*tokens, Rates::default()));
                price.above.len() - 1
            });
            &mut price.above[at].1
        }
        Variant::Of(tier) => {
            let at = price.tiers.iter().position(|(known, _)| known == tier);
            let at = at.unwrap_or_else(|| {
                price.tiers.push((*tier, TierPrice::Rates(Rates::default())));
                price.tiers.len() - 1
            });
            match &mut price.tiers[at].1 {
                TierPrice::Rates(rates) => rates,
                TierPrice::Factor(_) => &mut price.base,
            }
        }
    }
}

/// One figure, or one for each size of the search context, of which the middle one is meant.
fn per_search(value: &Value) -> Option<u64> {
    let sized = || value.get("search_context_size_medium").and_then(Value::as_f64);
    scaled(value.as_f64().or_else(sized)?, 1e9)
}

/// `dollars` times `unit`, rounded; `None` for what cannot be a price.
fn scaled(dollars: f64, unit: f64) -> Option<u64> {
    let scaled = (dollars * unit).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked against the range just before"
    )]
    let whole = (0.0..1e18).contains(&scaled).then_some(scaled as u64);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_is_whole() {
        let sheet = Sheet::shipped().unwrap();
        for (provider, model, price) in &sheet.models {
            assert!(price.base.input.is_some(), "{provider}/{model} has no input price");
            assert!(!price.above.iter().any(|(_, rates)| rates.input < price.base.input));
        }
        let mut names: Vec<_> = sheet.models.iter().map(|(p, m, _)| (p, m)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), sheet.models.len(), "a model is priced twice");
    }

    #[test]
    fn data_sheets_are_read() {
        let sheet = Sheet::parse(
            br#"{
            "sample_spec": {"litellm_provider": "one of ..."},
            "xai/grok-4": {"litellm_provider": "xai", "mode": "chat", "max_tokens": 256000,
                "input_cost_per_token": 3e-06, "input_cost_per_token_above_128k_tokens": 6e-06,
                "output_cost_per_token": 1.5e-05, "cache_read_input_token_cost": 7.5e-07},
            "claude-x": {"provider": "vertex_ai-anthropic_models", "input_cost_per_token": 1e-06,
                "cache_creation_input_token_cost": 1.25e-06,
                "cache_creation_input_token_cost_above_1hr": 2e-06,
                "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 4e-06,
                "output_cost_per_token_batches": 2.5e-06,
                "search_context_cost_per_query": {"search_context_size_medium": 0.01}}}"#,
        )
        .unwrap();
        assert_eq!(sheet.skipped, 1);
        let (provider, model, price) = &sheet.models[0];
        assert_eq!((&**provider, &**model), ("xai", "grok-4"));
        assert_eq!(price.base.input, Some(3_000_000));
        assert_eq!(price.above, [(128_000, Rates { input: Some(6_000_000), ..Rates::default() })]);
        let (provider, _, price) = &sheet.models[1];
        assert_eq!(&**provider, "vertex");
        assert_eq!(price.base.cache_write_1h, Some(2_000_000));
        assert_eq!(price.above[0].1.cache_write_1h, Some(4_000_000));
        let batch = Rates { output: Some(2_500_000), ..Rates::default() };
        assert_eq!(price.tiers, [(Tier::Batch, TierPrice::Rates(batch))]);
        assert_eq!(price.per_search, Some(10_000_000));
    }

    #[test]
    fn what_is_no_sheet_is_refused() {
        assert!(matches!(Sheet::parse(b"[]"), Err(BadSheet::Malformed(_))));
        assert!(matches!(Sheet::parse(b"{\"m\":{\"mode\":\"chat\"}}"), Err(BadSheet::Empty)));
        assert!(parse_patch(r#"{"input_cost_per_token":0}"#).is_ok());
        for bad in [
            r#"{"input_cost_per_tokn":0}"#,
            r#"{"input_cost_per_token":-1}"#,
            r#"{"input_cost_per_token":"free"}"#,
            r#"{"output_cost_per_token_above_x_tokens":1}"#,
        ] {
            assert!(matches!(parse_patch(bad), Err(BadSheet::NotAPrice(_))), "{bad}");
        }
    }
}
