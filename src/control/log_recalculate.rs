//! New prices for requests that are in the log already.
//!
//! In: which requests. Out: their costs by the prices of today, some rows at a time, so that nobody
//! else waits; how far it has come. Never: two at once.

use crate::control::answer::{Refusal, json};
use crate::control::log_api::LogApi;
use crate::control::log_params::Params;
use crate::store::log_filter::Filter;
use crate::store::log_write;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::RwLock;

/// For some rows.
const STEP_MAX: Duration = Duration::from_mins(1);

/// How far it has come.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Progress {
    running: bool,
    cancelled: bool,
    processed: u64,
    updated: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The one that is under way, or was last.
pub type Recalculation = Arc<RwLock<Progress>>;

/// `POST /api/logs/recalculate-cost`: filters in the query or in the body's `filters`.
pub async fn start(
    State(api): State<LogApi>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Response, Refusal> {
    let mut filter = api.params(query)?.filter;
    if !body.is_empty() {
        filter = of_body(&body)?;
    }
    {
        let mut progress = api.recalculation.write().await;
        if progress.running {
            return Err(Refusal::new(StatusCode::CONFLICT, "a recalculation is under way"));
        }
        *progress = Progress { running: true, ..Progress::default() };
    }
    tokio::spawn(run(api.clone(), filter));
    Ok(json(&*api.recalculation.read().await))
}

/// `{"filters": {"providers": ["openai"], …}}`.
fn of_body(body: &[u8]) -> Result<Filter, Refusal> {
    let bad = |error: serde_json::Error| Refusal::invalid(format!("bad body: {error}"));
    let mut body: Map<String, Value> = serde_json::from_slice(body).map_err(bad)?;
    let filters = match body.remove("filters") {
        Some(Value::Object(filters)) => filters,
        None => Map::new(),
        Some(_) => return Err(Refusal::invalid("filters: expected an object")),
    };
    if let Some(name) = body.keys().next() {
        return Err(Refusal::invalid(format!("{name}: unknown field")));
    }
    let text = |value: Value| match value {
        Value::String(text) => text,
        Value::Array(items) => {
            let items = items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
            items.collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    };
    let pairs = filters.into_iter().map(|(name, value)| (name, text(value)));
    Ok(Params::of(pairs, Timestamp::now())?.filter)
}

async fn run(api: LogApi, filter: Filter) {
    let mut after = 0;
    let error = loop {
        let (prices, filter) = (api.prices.clone(), filter.clone());
        let step = api.writer.run(STEP_MAX, move |session| {
            log_write::reprice(session, &filter, after, &|row| prices.of_row(row))
        });
        let done = match step.await {
            Ok(Ok(done)) => done,
            Ok(Err(fault)) => break Some(fault.to_string()),
            Err(error) => break Some(error.to_string()),
        };
        let mut progress = api.recalculation.write().await;
        progress.processed += done.seen;
        progress.updated += done.changed;
        match done.after {
            Some(next) if !progress.cancelled => after = next,
            _ => break None,
        }
    };
    let mut progress = api.recalculation.write().await;
    progress.running = false;
    progress.error = error;
}

/// `GET /api/logs/recalculate-cost/status`.
pub async fn status(State(api): State<LogApi>) -> Response {
    json(&*api.recalculation.read().await)
}

/// `POST /api/logs/recalculate-cost/cancel`.
pub async fn cancel(State(api): State<LogApi>) -> Response {
    let mut progress = api.recalculation.write().await;
    progress.cancelled = progress.running;
    json(&*progress)
}
