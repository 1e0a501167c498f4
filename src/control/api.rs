//! The management API as a whole: whose router answers which path, behind one door.
//!
//! In: the parts that are there. Out: a router for [`super::management::run`]. Never: a path without
//! the door in front of it.

use crate::config::Snapshot;
use crate::control::admin::{self, Door};
use crate::control::answer::Refusal;
use crate::control::live_feed::{self, LiveFeed};
use crate::control::log_api::{self, LogApi};
use crate::control::log_recalculate::Recalculation;
use crate::control::logs::Logs;
use crate::observe::Registry;
use axum::http::{Method, StatusCode};
use axum::routing::{any, get, post};
use axum::{Router, middleware};
use std::sync::Arc;
use tokio::sync::watch;

/// All routes. `closing` becomes true when the process is about to end.
pub fn router(
    logs: &Logs,
    registry: Registry,
    in_force: watch::Receiver<Arc<Snapshot>>,
    closing: watch::Receiver<bool>,
) -> Router {
    let door = Door::new(in_force.clone());
    let sessions = Router::new()
        .route("/api/session/login", post(admin::login))
        .route("/api/session/logout", post(admin::logout))
        .route("/api/session/is-auth-enabled", get(admin::is_auth_enabled))
        .route("/api/session/ws-ticket", post(admin::ws_ticket))
        .with_state(door.clone());
    let logging = match &logs.database {
        Some(database) => log_api::router(LogApi {
            writer: database.writer.clone(),
            reader: database.reader.clone(),
            registry,
            prices: logs.prices.clone(),
            in_force,
            recalculation: Recalculation::default(),
        }),
        None => Router::new()
            .route("/api/logs", any(no_store))
            .route("/api/logs/{*rest}", any(no_store)),
    };
    let feed = LiveFeed { rows: logs.feed.clone(), closing };
    Router::new()
        .merge(sessions)
        .merge(logging)
        .route("/ws", get(live_feed::open).with_state(feed))
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::from_fn_with_state(door, admin::guard))
}

async fn no_store() -> Refusal {
    let message = "requests are not logged: configure logs_store, and set client.enable_logging";
    Refusal::invalid(message)
}

async fn unknown() -> Refusal {
    Refusal::not_found("the management API has no such path")
}

async fn not_allowed(method: Method) -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("this path does not take {method}"))
}
