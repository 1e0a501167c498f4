//! The log API: lists, single requests, figures, deletion, new prices (§6.3 of the reference).
//!
//! In: requests under `/api/logs`. Out: JSON. Questions run on a thread of their own, for a limited
//! time. Never: blocks the control thread.

use crate::config::Snapshot;
use crate::control::answer::{Refusal, json};
use crate::control::log_figures;
use crate::control::log_params::Params;
use crate::control::log_prices::LogPrices;
use crate::control::log_recalculate::{self, Recalculation};
use crate::observe::Registry;
use crate::store::log_db::Connection;
use crate::store::log_filter::Filter;
use crate::store::log_page::{self, Place};
use crate::store::log_row::Columns;
use crate::store::sql::{Fault, Session};
use crate::store::{Error, log_stats, log_write};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get, post};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json as object};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A question may take as long.
const QUESTION_MAX: Duration = Duration::from_secs(20);
/// Requests of one session that are shown.
const SESSION_MAX: u32 = 500;
/// Requests that one call deletes.
const DELETED_MAX: usize = 1000;

/// What the log API needs.
#[derive(Debug, Clone)]
pub struct LogApi {
    pub writer: Connection,
    pub reader: Connection,
    pub registry: Registry,
    pub prices: LogPrices,
    pub in_force: watch::Receiver<Arc<Snapshot>>,
    pub recalculation: Recalculation,
}

impl LogApi {
    /// Asks the database.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut dyn Session) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Refusal> {
        answered(self.reader.run(QUESTION_MAX, job).await)
    }

    pub(super) fn params(&self, query: Option<String>) -> Result<Params, Refusal> {
        let mut params = Params::read(&query.unwrap_or_default(), Timestamp::now())?;
        let hidden = &self.in_force.borrow().logging.hidden;
        if params.filter.request.is_none() {
            params.filter.hidden = hidden.iter().map(ToString::to_string).collect();
        }
        Ok(params)
    }
}

fn answered<T>(answer: Result<Result<T, Fault>, Error>) -> Result<T, Refusal> {
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(fault @ Fault::TooLong)) => {
            Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, fault.to_string()))
        }
        Ok(Err(fault)) => {
            Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("log store: {fault}")))
        }
        Err(error) => {
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, format!("log store: {error}")))
        }
    }
}

/// All routes.
pub fn router(api: LogApi) -> Router {
    Router::new()
        .route("/api/logs", get(list).delete(delete_some))
        .route("/api/logs/{id}", get(one).delete(delete_one))
        .route("/api/logs/dropped", get(dropped))
        .route("/api/logs/sessions/{id}", get(session))
        .route("/api/logs/sessions/{id}/summary", get(session_summary))
        .route("/api/logs/stats", get(log_figures::stats))
        .route("/api/logs/filterdata", get(log_figures::facets))
        .route("/api/logs/rankings", get(log_figures::rankings))
        .route("/api/logs/rankings/by-dimension", get(log_figures::rankings))
        .route("/api/logs/histogram", get(log_figures::requests))
        .route("/api/logs/histogram/{what}", get(log_figures::histogram))
        .route("/api/logs/histogram/{what}/{by}", get(log_figures::histogram_by))
        .route("/api/logs/recalculate-cost", post(log_recalculate::start))
        .route("/api/logs/recalculate-cost/status", get(log_recalculate::status))
        .route(
            "/api/logs/recalculate-cost/cancel",
            delete(log_recalculate::cancel).post(log_recalculate::cancel),
        )
        .with_state(api)
}

/// `GET /api/logs`.
async fn list(State(api): State<LogApi>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let params = api.params(query)?;
    let (filter, place) = (params.filter, params.place);
    let shown = place.clone();
    let (page, sums, any) = api
        .ask(move |session| {
            let page = log_page::page(session, &filter, &place)?;
            // Figures of all that is meant, where no row has to be read for them.
            let counted = filter.counted().is_some();
            let sums = if counted { Some(log_stats::sums(session, &filter)?) } else { None };
            let any = !page.rows.is_empty() || log_stats::has_rows(session)?;
            Ok((page, sums, any))
        })
        .await?;
    let logs: Vec<_> = page.rows.iter().map(|row| Columns(row).json()).collect();
    Ok(json(&object!({
        "logs": logs,
        "pagination": {
            "limit": shown.limit,
            "offset": shown.offset,
            "sort_by": match shown.sort {
                log_page::Sort::Time => "timestamp",
                log_page::Sort::Latency => "latency",
                log_page::Sort::Tokens => "tokens",
                log_page::Sort::Cost => "cost",
            },
            "order": if shown.ascending { "asc" } else { "desc" },
            "total_count": page.total,
            "total_is_exact": page.exact,
            "next_cursor": page.next.map(|cursor| cursor.text()),
        },
        "stats": sums.map(|sums| log_figures::summary(&sums)),
        "has_logs": any,
    })))
}

/// `GET /api/logs/{id}`.
async fn one(State(api): State<LogApi>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let wanted = id.clone();
    let found = api.ask(move |session| log_page::one(session, &wanted)).await?;
    let Some((row, bodies)) = found else {
        return Err(Refusal::not_found(format!("there is no request {id} in the log")));
    };
    let mut log = Columns(&row).json();
    if let (Some(log), Some(bodies)) = (log.as_object_mut(), bodies) {
        log.insert("request_body".to_owned(), body(bodies.request));
        log.insert("request_body_truncated".to_owned(), bodies.request_cut.into());
        log.insert("response_body".to_owned(), body(bodies.response));
        log.insert("response_body_truncated".to_owned(), bodies.response_cut.into());
    }
    Ok(json(&log))
}

/// JSON as JSON, a stream as text.
fn body(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// `GET /api/logs/dropped`.
async fn dropped(State(api): State<LogApi>) -> Response {
    let (records, bodies) = api.registry.log_dropped();
    json(&object!({"dropped": records, "dropped_bodies": bodies}))
}

fn of_session(id: String) -> Filter {
    Filter { session: Some(id), ..Filter::default() }
}

/// `GET /api/logs/sessions/{id}`: its requests, oldest first.
async fn session(State(api): State<LogApi>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let place = Place { ascending: true, limit: SESSION_MAX, ..Place::default() };
    let filter = of_session(id.clone());
    let page = api.ask(move |session| log_page::page(session, &filter, &place)).await?;
    let logs: Vec<_> = page.rows.iter().map(|row| Columns(row).json()).collect();
    Ok(json(&object!({"session_id": id, "logs": logs, "total_count": page.total})))
}

/// `GET /api/logs/sessions/{id}/summary`.
async fn session_summary(
    State(api): State<LogApi>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let filter = of_session(id.clone());
    let (sums, ends) = api
        .ask(move |session| {
            let sums = log_stats::sums(session, &filter)?;
            let mut ends = Vec::new();
            for ascending in [true, false] {
                let place = Place { ascending, limit: 1, ..Place::default() };
                let page = log_page::page(session, &filter, &place)?;
                ends.extend(page.rows.first().map(|row| Columns(row).int("time")));
            }
            Ok((sums, ends))
        })
        .await?;
    let [first, last] = ends[..] else {
        return Err(Refusal::not_found(format!("there is no session {id} in the log")));
    };
    let time = |us: i64| Timestamp::from_microsecond(us).unwrap_or_default().to_string();
    let mut summary = log_figures::summary(&sums);
    if let Some(summary) = summary.as_object_mut() {
        summary.insert("session_id".to_owned(), id.into());
        summary.insert("first_timestamp".to_owned(), time(first).into());
        summary.insert("last_timestamp".to_owned(), time(last).into());
    }
    Ok(json(&summary))
}

/// The body of `DELETE /api/logs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deletion {
    ids: Vec<String>,
}

/// `DELETE /api/logs`.
async fn delete_some(State(api): State<LogApi>, body: Bytes) -> Result<Response, Refusal> {
    let Deletion { ids } = serde_json::from_slice(&body)
        .map_err(|error| Refusal::invalid(format!("expected {{\"ids\": [...]}}: {error}")))?;
    if ids.is_empty() || ids.len() > DELETED_MAX {
        return Err(Refusal::invalid(format!("ids: expected 1 to {DELETED_MAX} of them")));
    }
    remove(&api, ids).await
}

/// `DELETE /api/logs/{id}`.
async fn delete_one(
    State(api): State<LogApi>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    remove(&api, vec![id]).await
}

async fn remove(api: &LogApi, ids: Vec<String>) -> Result<Response, Refusal> {
    let done = api.writer.run(QUESTION_MAX, move |session| log_write::delete(session, &ids));
    let deleted = answered(done.await)?;
    if deleted == 0 {
        return Err(Refusal::not_found("none of these requests is in the log"));
    }
    Ok(json(&object!({"message": "deleted", "deleted": deleted})))
}
