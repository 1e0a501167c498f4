//! Who may use the management API: the administrator of `auth_config`, by password or by session.
//!
//! In: a request's head. Out: whether it passes; tokens for sessions and for the live feed. A token
//! is signed with the password: it needs no store, and a new password ends every session. Where no
//! administrator is configured everybody passes, except pages of foreign sites. Never: says
//! whether name or password was wrong, or compares them in a time that tells.

use crate::config::{Admin, Snapshot};
use crate::control::answer::{Refusal, json};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{RwLock, watch};

const SESSION: Duration = Duration::from_hours(30 * 24);
const TICKET: Duration = Duration::from_mins(1);
/// After a wrong password: guessing takes time.
const PAUSE: Duration = Duration::from_millis(300);
/// Tokens that logged out before their time.
const REVOKED_MAX: usize = 10_000;

/// Paths that need no login: they are how one logs in.
const OPEN: [&str; 3] =
    ["/api/session/login", "/api/session/logout", "/api/session/is-auth-enabled"];

/// The door of the management API.
#[derive(Debug, Clone)]
pub struct Door {
    in_force: watch::Receiver<Arc<Snapshot>>,
    revoked: Arc<RwLock<BTreeMap<[u8; 32], u64>>>,
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Session,
    /// The live feed, once.
    Ticket,
}

impl Purpose {
    const fn context(self) -> &'static str {
        match self {
            Self::Session => "finops-gateway 2026 management session token",
            Self::Ticket => "finops-gateway 2026 live feed ticket",
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A token: the second in which it ends, a number of chance, and a keyed digest of both.
fn token(admin: &Admin, purpose: Purpose, life: Duration) -> String {
    let mut bytes = [0; 48];
    let (head, tail) = bytes.split_at_mut(16);
    let (until, chance) = head.split_at_mut(8);
    until.copy_from_slice(&(now() + life.as_secs()).to_be_bytes());
    chance.copy_from_slice(&uuid::Uuid::new_v4().as_bytes()[..8]);
    let seal = seal(admin, purpose, head);
    tail.copy_from_slice(seal.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn seal(admin: &Admin, purpose: Purpose, head: &[u8]) -> blake3::Hash {
    let mut material = admin.username.expose().as_bytes().to_vec();
    material.push(0);
    material.extend_from_slice(admin.password.expose().as_bytes());
    let key = blake3::derive_key(purpose.context(), &material);
    blake3::keyed_hash(&key, head)
}

/// The digest of a token that is good, and the second in which it ends.
fn open(admin: &Admin, purpose: Purpose, token: &str) -> Option<([u8; 32], u64)> {
    let bytes = URL_SAFE_NO_PAD.decode(token.trim()).ok()?;
    let (head, tail) = bytes.split_at_checked(16)?;
    let given = blake3::Hash::from_slice(tail).ok()?;
    let until = u64::from_be_bytes(head.get(..8)?.try_into().ok()?);
    // Digests are compared in constant time.
    (seal(admin, purpose, head) == given && until > now()).then(|| (*given.as_bytes(), until))
}

fn is_admin(admin: &Admin, username: &str, password: &str) -> bool {
    let same = |a: &str, b: &str| blake3::hash(a.as_bytes()) == blake3::hash(b.as_bytes());
    same(admin.username.expose(), username) & same(admin.password.expose(), password)
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = authorization(headers, "basic")?;
    let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    text.split_once(':').map(|(name, password)| (name.to_owned(), password.to_owned()))
}

fn authorization<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, value) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then_some(value.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix("token="))
}

impl Door {
    pub fn new(in_force: watch::Receiver<Arc<Snapshot>>) -> Self {
        Self { in_force, revoked: Arc::default() }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.in_force.borrow())
    }

    async fn is_good(&self, admin: &Admin, purpose: Purpose, token: &str) -> bool {
        let Some((digest, until)) = open(admin, purpose, token) else { return false };
        if self.revoked.read().await.contains_key(&digest) {
            return false;
        }
        if purpose == Purpose::Ticket {
            self.revoke(digest, until).await;
        }
        true
    }

    async fn revoke(&self, digest: [u8; 32], until: u64) {
        let mut revoked = self.revoked.write().await;
        let now = now();
        revoked.retain(|_, until| *until > now);
        if revoked.len() < REVOKED_MAX {
            revoked.insert(digest, until);
        }
    }

    async fn has_session(&self, admin: &Admin, headers: &HeaderMap) -> bool {
        let shown = authorization(headers, "bearer").or_else(|| cookie(headers));
        match shown {
            Some(token) => self.is_good(admin, Purpose::Session, token).await,
            None => false,
        }
    }

    async fn admits(&self, head: &Parts) -> Result<(), Refusal> {
        let (headers, snapshot) = (&head.headers, self.snapshot());
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(origin) = text(header::ORIGIN) {
            let own = origin.split_once("://").map(|(_, host)| host) == text(header::HOST);
            if !own && !snapshot.client.cors.names_origin(origin) {
                let message = "pages of other sites may not use the management API; name them \
                               in client.allowed_origins";
                return Err(Refusal::new(StatusCode::FORBIDDEN, message));
            }
        }
        let Some(admin) = &snapshot.admin else { return Ok(()) };
        let path = head.uri.path();
        let open = snapshot.client.whitelisted_routes.iter().any(|route| {
            route.strip_suffix('*').map_or(**route == *path, |begin| path.starts_with(begin))
        });
        if open || OPEN.contains(&path) || self.has_session(admin, headers).await {
            return Ok(());
        }
        if path == "/ws" {
            let query = head.uri.query().unwrap_or_default();
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            let ticket = pairs.find(|(name, _)| name == "ticket" || name == "token");
            if let Some((_, ticket)) = ticket
                && (self.is_good(admin, Purpose::Ticket, &ticket).await
                    || self.is_good(admin, Purpose::Session, &ticket).await)
            {
                return Ok(());
            }
        }
        if let Some((username, password)) = basic(headers) {
            if is_admin(admin, &username, &password) {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        let message = "log in as the administrator: Basic, or a session of /api/session/login";
        Err(Refusal::new(StatusCode::UNAUTHORIZED, message))
    }
}

/// Lets a request through, or answers it.
pub async fn guard(State(door): State<Door>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    match door.admits(&head).await {
        Ok(()) => next.run(Request::from_parts(head, body)).await,
        Err(refusal) => {
            let unauthorized = refusal.status == StatusCode::UNAUTHORIZED;
            let mut response = refusal.into_response();
            if unauthorized {
                let ask = header::HeaderValue::from_static("Basic realm=\"management\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
            }
            response
        }
    }
}

/// What logging in takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    username: String,
    password: String,
}

/// `POST /api/session/login`.
///
/// # Errors
/// 401 for a wrong name or password, 400 where nobody has to log in.
pub async fn login(
    State(door): State<Door>,
    login: Result<Json<Login>, axum::extract::rejection::JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(login) = login.map_err(|error| Refusal::invalid(error.body_text()))?;
    let snapshot = door.snapshot();
    let Some(admin) = &snapshot.admin else {
        return Err(Refusal::invalid("nobody has to log in: auth_config is not enabled"));
    };
    if !is_admin(admin, &login.username, &login.password) {
        tokio::time::sleep(PAUSE).await;
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "wrong name or password"));
    }
    let token = token(admin, Purpose::Session, SESSION);
    let secure = if snapshot.server.tls.is_some() { "; Secure" } else { "" };
    let cookie = format!(
        "token={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}{secure}",
        SESSION.as_secs()
    );
    let body = json(&serde_json::json!({"message": "logged in", "token": token}));
    Ok(([(header::SET_COOKIE, cookie)], body).into_response())
}

/// `POST /api/session/logout`.
pub async fn logout(State(door): State<Door>, headers: HeaderMap) -> Response {
    let shown = authorization(&headers, "bearer").or_else(|| cookie(&headers));
    let snapshot = door.snapshot();
    if let (Some(admin), Some(token)) = (&snapshot.admin, shown)
        && let Some((digest, until)) = open(admin, Purpose::Session, token)
    {
        door.revoke(digest, until).await;
    }
    let gone = "token=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0";
    let body = json(&serde_json::json!({"message": "logged out"}));
    ([(header::SET_COOKIE, gone)], body).into_response()
}

/// `GET /api/session/is-auth-enabled`.
pub async fn is_auth_enabled(State(door): State<Door>, headers: HeaderMap) -> Response {
    let snapshot = door.snapshot();
    let valid = match &snapshot.admin {
        Some(admin) => door.has_session(admin, &headers).await,
        None => false,
    };
    json(&serde_json::json!({
        "is_auth_enabled": snapshot.admin.is_some(),
        "has_valid_token": valid,
    }))
}

/// `POST /api/session/ws-ticket`: good for one connection to `/ws` within a minute.
pub async fn ws_ticket(State(door): State<Door>) -> Response {
    let snapshot = door.snapshot();
    let ticket = snapshot.admin.as_ref().map(|admin| token(admin, Purpose::Ticket, TICKET));
    json(&serde_json::json!({"ticket": ticket, "expires_in": TICKET.as_secs()}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Secret;

    #[test]
    fn a_token_is_good_for_its_purpose_its_time_and_its_password() {
        let admin = |password: &str| Admin {
            username: Secret::new("admin".to_owned()),
            password: Secret::new(password.to_owned()),
        };
        let (one, other) = (admin("one"), admin("other"));
        let session = token(&one, Purpose::Session, SESSION);
        assert!(open(&one, Purpose::Session, &session).is_some());
        assert!(open(&one, Purpose::Ticket, &session).is_none());
        assert!(open(&other, Purpose::Session, &session).is_none());
        assert!(
            open(&one, Purpose::Session, &token(&one, Purpose::Session, Duration::ZERO)).is_none()
        );
        let mut forged = session.into_bytes();
        forged[2] ^= 1;
        assert!(open(&one, Purpose::Session, &String::from_utf8_lossy(&forged)).is_none());
        assert!(open(&one, Purpose::Session, "").is_none());
    }
}
