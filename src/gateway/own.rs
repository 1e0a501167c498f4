//! What the gateway answers by itself: health, metrics, browsers' preflights, token estimates.
//!
//! In: a request that needs no upstream. Out: its answer. Never: touches an upstream.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::exchange::Halt;
use super::ingress::Own;
use super::management;
use super::outlet;
use super::quota;
use super::reply::{Head, Terms};
use super::trail::Trail;
use super::{Core, Visit, say};
use crate::config::Snapshot;
use crate::net::client_conn::{ClientConn, Incoming};
use crate::net::times::Times;
use crate::wire::http1::{self, Method};

/// What a client's request says about the answer to it.
pub fn terms(core: &Core, snapshot: &Snapshot, times: &Rc<Times>, incoming: &Incoming) -> Terms {
    let asked = incoming.header("x-bf-server-timing") == Some("true");
    let mut always = Vec::new();
    let origin = incoming.header("origin");
    if let Some(origin) = origin.filter(|origin| snapshot.client.cors.allows_origin(origin)) {
        http1::header(&mut always, "access-control-allow-origin", origin.as_bytes());
        http1::header(&mut always, "access-control-allow-credentials", b"true");
        http1::header(&mut always, "access-control-expose-headers", b"*");
        http1::header(&mut always, "vary", b"origin");
    }
    Terms {
        protocol: incoming.protocol,
        keep_alive: incoming.head.keep_alive && !core.draining.get(),
        head_only: incoming.head.method == Method::Head,
        preflight: preflight(snapshot, incoming),
        always,
        timing: asked.then(|| Rc::clone(times)),
    }
}

/// The answer to a browser's preflight: 204 with what is allowed, 403 for a foreign origin.
fn preflight(snapshot: &Snapshot, incoming: &Incoming) -> Option<(u16, String)> {
    if incoming.head.method != Method::Options {
        return None;
    }
    let cors = &snapshot.client.cors;
    if incoming.header("origin").is_some_and(|origin| !cors.allows_origin(origin)) {
        return Some((403, String::new()));
    }
    let asked = incoming.header("access-control-request-headers").unwrap_or_default();
    let allowed: Vec<_> = asked
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty() && cors.allows_header(name))
        .collect();
    Some((204, allowed.join(", ")))
}

/// Writes the answer to OPTIONS.
pub fn options(terms: &Terms) -> Option<Vec<u8>> {
    let (status, headers) = terms.preflight.as_ref()?;
    let mut head = Head::new(terms, *status);
    let methods = b"GET, POST, PUT, DELETE, PATCH, OPTIONS, HEAD";
    head.header("allow", methods);
    if *status == 204 {
        head.header("access-control-allow-methods", methods);
        if !headers.is_empty() {
            head.header("access-control-allow-headers", headers.as_bytes());
        }
        head.header("access-control-max-age", b"86400");
        return Some(head.without_body());
    }
    Some(head.whole(b""))
}

pub async fn answer(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    incoming: &Incoming,
    own: Own,
) -> Result<(), Halt> {
    match own {
        Own::Quota => quota::answer(visit, client, incoming).await,
        Own::Management => management::pass(visit, client, incoming).await,
        Own::Live | Own::Root => {
            say(visit, client, "application/json", br#"{"status":"ok"}"#).await
        }
        Own::Ready if visit.core.draining.get() => {
            let mut head = Head::new(visit.terms, 503);
            head.header("content-type", b"application/json");
            let out = head.whole(br#"{"status":"draining"}"#);
            outlet::write(client, out, 0).await.map(drop)
        }
        Own::Ready => say(visit, client, "application/json", br#"{"status":"ok"}"#).await,
        Own::Metrics => {
            let text = visit.core.registry.render();
            say(visit, client, "text/plain; version=0.0.4; charset=utf-8", text.as_bytes()).await
        }
    }
}

/// The answer to `count_tokens` where the upstream can't count: an estimate, which says so.
pub async fn estimate(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    incoming: &Incoming,
    trail: &mut Trail,
) -> Result<(), Halt> {
    let tokens = visit.voice.estimate(trail.asked(), incoming.body())?;
    let body = visit.voice.count(tokens);
    trail.head(200, visit.core.clock.since_start());
    let mut head = Head::new(visit.terms, 200);
    head.header("content-type", b"application/json").header("x-bf-estimated", b"true");
    trail.answered(&mut head);
    let out = head.whole(&body);
    outlet::write(client, out, 0).await.map(drop)
}

pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
