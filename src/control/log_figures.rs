//! The log API's figures: sums, histograms, rankings, and the values that filters can have.
//!
//! In: filters. Out: JSON in Bifrost's shapes: buckets of one length, empty ones included.
//! Never: reads rows where the counters know.

use crate::control::answer::{Refusal, json};
use crate::control::log_api::LogApi;
use crate::control::log_params::Params;
use crate::store::log_counters::DIMENSIONS;
use crate::store::log_filter::Filter;
use crate::store::log_stats::{self, Layout, Sums, Table};
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Map, Value, json as object};
use std::collections::BTreeSet;

/// Bars of one histogram.
const BUCKETS_MAX: i64 = 2000;
/// Values of a dimension that a histogram tells apart, and a list of filters shows.
const VALUES_MAX: usize = 1000;
const MICRO: i64 = 1_000_000;
const HOUR_S: i64 = 3600;
const DAY_US: i64 = 24 * HOUR_S * MICRO;

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn share(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Milliseconds of one request on average.
fn average_ms(total_us: i64, requests: i64) -> f64 {
    share(total_us, requests) / 1000.0
}

/// What a list is headed by.
pub fn summary(sums: &Sums) -> Value {
    let success = sums.requests - sums.errors - sums.cancelled;
    object!({
        "total_requests": sums.requests,
        "success_rate": share(success, sums.requests) * 100.0,
        "user_facing_success_rate": share(success, sums.requests - sums.cancelled) * 100.0,
        "error_requests": sums.errors,
        "cancelled_requests": sums.cancelled,
        "average_latency": average_ms(sums.total_us, sums.requests),
        "average_first_byte": average_ms(sums.first_byte_us, sums.requests),
        "average_own_latency": average_ms(sums.own_us, sums.requests),
        "prompt_tokens": sums.input_tokens + sums.cache_read_tokens + sums.cache_write_tokens,
        "completion_tokens": sums.output_tokens,
        "cached_read_tokens": sums.cache_read_tokens,
        "cached_write_tokens": sums.cache_write_tokens,
        "total_tokens": sums.total_tokens,
        "total_cost": sums.cost,
    })
}

/// `GET /api/logs/stats`.
pub async fn stats(
    State(api): State<LogApi>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let filter = api.params(query)?.filter;
    let sums = api.ask(move |session| log_stats::sums(session, &filter)).await?;
    Ok(json(&summary(&sums)))
}

/// What the bars of a histogram say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Requests,
    Tokens,
    Cost,
    Latency,
    Throughput,
}

impl What {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "requests" | "models" => Self::Requests,
            "tokens" => Self::Tokens,
            "cost" => Self::Cost,
            "latency" => Self::Latency,
            "throughput" => Self::Throughput,
            _ => return None,
        })
    }

    fn bar(self, sums: &Sums) -> Map<String, Value> {
        let value = match self {
            Self::Requests => object!({
                "count": sums.requests,
                "success": sums.requests - sums.errors - sums.cancelled,
                "error": sums.errors,
                "cancelled": sums.cancelled,
            }),
            Self::Tokens => object!({
                "prompt_tokens":
                    sums.input_tokens + sums.cache_read_tokens + sums.cache_write_tokens,
                "completion_tokens": sums.output_tokens,
                "total_tokens": sums.total_tokens,
                "cached_read_tokens": sums.cache_read_tokens,
            }),
            Self::Cost => object!({"total_cost": sums.cost}),
            Self::Latency => object!({
                "avg_latency": average_ms(sums.total_us, sums.requests),
                "avg_first_byte": average_ms(sums.first_byte_us, sums.requests),
                "avg_own_latency": average_ms(sums.own_us, sums.requests),
                "total_requests": sums.requests,
            }),
            Self::Throughput => object!({
                "output_tokens_per_second":
                    share(sums.output_tokens.saturating_mul(MICRO), sums.total_us),
                "total_requests": sums.requests,
            }),
        };
        match value {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }
}

/// Start, end and length of a bar, in microseconds.
fn frame(params: &mut Params) -> Result<(i64, i64, i64), Refusal> {
    let filter = &mut params.filter;
    let end = filter.end.unwrap_or_else(|| Timestamp::now().as_microsecond());
    let start = filter.start.unwrap_or_else(|| end.saturating_sub(DAY_US));
    if start >= end {
        return Err(Refusal::invalid("start_time: must be before end_time"));
    }
    (filter.start, filter.end) = (Some(start), Some(end));
    let seconds = params.bucket_seconds.unwrap_or_else(|| bucket_seconds((end - start) / MICRO));
    let step = seconds.saturating_mul(MICRO);
    if (end - start) / step > BUCKETS_MAX {
        return Err(Refusal::invalid(format!(
            "bucket_seconds: more than {BUCKETS_MAX} bars; take longer ones"
        )));
    }
    Ok((start.div_euclid(step) * step, end, step))
}

/// The length of a bar that suits a histogram over so many seconds.
fn bucket_seconds(span: i64) -> i64 {
    let lengths = [(3_600, 60), (21_600, 300), (259_200, HOUR_S), (2_678_400, 6 * HOUR_S)];
    let found = lengths.iter().find(|(up_to, _)| span <= *up_to);
    found.map_or(24 * HOUR_S, |(_, seconds)| *seconds)
}

fn time(us: i64) -> String {
    Timestamp::from_microsecond(us).unwrap_or_default().to_string()
}

/// `GET /api/logs/histogram`.
pub async fn requests(state: State<LogApi>, query: RawQuery) -> Result<Response, Refusal> {
    draw(state.0, query.0, What::Requests, None).await
}

/// `GET /api/logs/histogram/{what}`.
pub async fn histogram(
    state: State<LogApi>,
    Path(what): Path<String>,
    query: RawQuery,
) -> Result<Response, Refusal> {
    let by = matches!(what.as_str(), "models" | "cost").then(|| "model".to_owned());
    draw(state.0, query.0, of(&what)?, by).await
}

/// `GET /api/logs/histogram/{what}/by-provider` and `…/by-dimension?dimension=`.
pub async fn histogram_by(
    state: State<LogApi>,
    Path((what, by)): Path<(String, String)>,
    query: RawQuery,
) -> Result<Response, Refusal> {
    let by = match by.as_str() {
        "by-provider" => "provider".to_owned(),
        "by-dimension" => String::new(),
        _ => return Err(Refusal::not_found("there are by-provider and by-dimension")),
    };
    draw(state.0, query.0, of(&what)?, Some(by)).await
}

fn of(what: &str) -> Result<What, Refusal> {
    What::of(what)
        .ok_or_else(|| Refusal::not_found("there are tokens, cost, models, latency and throughput"))
}

/// The dimension that is asked for by name.
fn dimension(params: &Params) -> Result<&'static str, Refusal> {
    let name = params.dimension.as_deref().unwrap_or_default();
    let name = name.strip_suffix("_id").unwrap_or(name);
    Filter::dimension(name).map(|dimension| dimension.name).ok_or_else(|| {
        let names: Vec<_> = DIMENSIONS.iter().map(|dimension| dimension.name).collect();
        Refusal::invalid(format!("dimension: expected one of {}", names.join(", ")))
    })
}

async fn draw(
    api: LogApi,
    query: Option<String>,
    what: What,
    by: Option<String>,
) -> Result<Response, Refusal> {
    let mut params = api.params(query)?;
    let (first, end, step) = frame(&mut params)?;
    let by = match by {
        Some(name) if name.is_empty() => Some(dimension(&params)?.to_owned()),
        by => by,
    };
    let (filter, dimension) = (params.filter, by.clone().unwrap_or_default());
    let (all, parts, latencies) = api
        .ask(move |session| {
            let all = log_stats::table(session, &filter, Layout { step, by: "" })?;
            let layout = Layout { step, by: &dimension };
            let parts = match layout.by {
                "" => Table::new(),
                _ => log_stats::table(session, &filter, layout)?,
            };
            let latencies = match what {
                What::Latency => log_stats::latencies(session, &filter, step)?,
                _ => std::collections::BTreeMap::new(),
            };
            Ok((all, parts, latencies))
        })
        .await?;
    let values: BTreeSet<_> = parts.keys().map(|(_, value)| value.clone()).collect();
    let values: Vec<_> = values.into_iter().take(VALUES_MAX).collect();
    let member = match by.as_deref() {
        Some("provider") => "by_provider",
        Some("model") => "by_model",
        _ => "by_dimension",
    };
    let mut buckets = Vec::new();
    let mut at = first;
    while at < end {
        let mut bar = what.bar(all.get(&(at, "".into())).unwrap_or(&Sums::default()));
        bar.insert("timestamp".to_owned(), time(at).into());
        if by.is_some() {
            let parts = values.iter().filter_map(|value| {
                let sums = parts.get(&(at, value.clone()))?;
                Some((value.to_string(), Value::Object(what.bar(sums))))
            });
            bar.insert(member.to_owned(), Value::Object(parts.collect()));
        }
        if let Some(found) = latencies.get(&at) {
            for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)] {
                let ms = log_stats::quantile(found, share) / 1000.0;
                bar.insert(format!("{name}_latency"), ms.into());
            }
        }
        buckets.push(Value::Object(bar));
        at += step;
    }
    let mut answer = object!({"buckets": buckets, "bucket_size_seconds": step / MICRO});
    if let (Some(answer), Some(by)) = (answer.as_object_mut(), &by) {
        let name = match by.as_str() {
            "provider" => "providers",
            "model" => "models",
            _ => "dimension_values",
        };
        answer.insert(name.to_owned(), values.iter().map(ToString::to_string).collect());
    }
    Ok(json(&answer))
}

/// `GET /api/logs/rankings` (models), `…/by-dimension?dimension=`.
pub async fn rankings(
    State(api): State<LogApi>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let params = api.params(query)?;
    let by = if params.dimension.is_some() { dimension(&params)? } else { "model" };
    let filter = params.filter;
    let table =
        api.ask(move |session| log_stats::table(session, &filter, Layout { step: 0, by })).await?;
    let mut ranked: Vec<_> = table.into_iter().collect();
    ranked.sort_by(|(_, a), (_, b)| {
        b.cost.total_cmp(&a.cost).then_with(|| b.requests.cmp(&a.requests))
    });
    let rankings = ranked.iter().take(VALUES_MAX).map(|((_, value), sums)| {
        let mut line = summary(sums);
        if let Some(line) = line.as_object_mut() {
            line.insert(by.to_owned(), value.to_string().into());
        }
        line
    });
    Ok(json(&object!({"dimension": by, "rankings": rankings.collect::<Vec<_>>()})))
}

/// The name of a dimension's values in an answer, and the dimension.
const FACETS: [(&str, &str); 12] = [
    ("providers", "provider"),
    ("models", "model"),
    ("aliases", "alias"),
    ("status", "status"),
    ("objects", "object"),
    ("stop_reasons", "stop_reason"),
    ("apps", "app"),
    ("selected_keys", "selected_key"),
    ("virtual_keys", "virtual_key"),
    ("teams", "team"),
    ("customers", "customer"),
    ("routing_rules", "routing_rule"),
];

/// `GET /api/logs/filterdata?dimensions=`.
pub async fn facets(
    State(api): State<LogApi>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let params = api.params(query)?;
    let wanted: Vec<_> = FACETS
        .iter()
        .filter(|(name, dimension)| {
            let is = |wanted: &String| wanted == name || wanted == dimension;
            params.dimensions.is_empty() || params.dimensions.iter().any(is)
        })
        .copied()
        .collect();
    if wanted.is_empty() {
        let names: Vec<_> = FACETS.iter().map(|(name, _)| *name).collect();
        return Err(Refusal::invalid(format!("dimensions: expected of {}", names.join(", "))));
    }
    let filter = Filter { start: params.filter.start, end: params.filter.end, ..Filter::default() };
    let found = api
        .ask(move |session| {
            let each = wanted.into_iter();
            each.map(|(name, by)| Ok((name, log_stats::facets(session, by, &filter)?)))
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let mut answer = Map::new();
    for (name, facets) in found {
        let named =
            name.ends_with("keys") || matches!(name, "teams" | "customers" | "routing_rules");
        let facets = facets.iter().take(VALUES_MAX);
        let values: Vec<Value> = facets
            .clone()
            .map(|facet| {
                let (value, name) = (&*facet.value, &*facet.name);
                if named { object!({"id": value, "name": name}) } else { value.into() }
            })
            .collect();
        let counts: Map<_, _> =
            facets.map(|facet| (facet.value.to_string(), facet.requests.into())).collect();
        answer.insert(name.to_owned(), values.into());
        let all = answer.entry("counts").or_insert_with(|| object!({}));
        if let Some(all) = all.as_object_mut() {
            all.insert(name.to_owned(), Value::Object(counts));
        }
    }
    Ok(json(&Value::Object(answer)))
}
