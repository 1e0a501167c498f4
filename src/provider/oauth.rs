//! What the token endpoints of the clouds have in common (RFC 6749).
//!
//! In: form fields, answers. Out: a [`Call`] to make, the [`Token`] that came of it, or why there is
//! none. Never: opens a connection, reads a clock, or prints a secret.

use super::Secret;
use serde::Deserialize;
use url::form_urlencoded;

/// How long a token holds whose answer does not say, in seconds.
const LIFETIME_DEFAULT_S: u64 = 300;

/// Why no token was to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// `permanent`: asking again with the same credential cannot help.
    #[error("the token endpoint answered {status}: {reason}")]
    Refused { status: u16, reason: String, permanent: bool },
    #[error("the answer of the token endpoint cannot be read: {0}")]
    Unreadable(&'static str),
    #[error("the assertion could not be signed")]
    Signing,
    #[error("this answer was not asked for")]
    OutOfTurn,
}

/// A request to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub method: &'static str,
    pub url: Box<str>,
    pub headers: Vec<(Box<str>, Secret)>,
    pub body: Secret,
}

/// A token that is accepted as `authorization: Bearer` until `expires_at`, in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub value: Secret,
    pub expires_at: u64,
}

/// A POST of form fields.
pub fn form(url: &str, fields: &[(&str, &str)]) -> Call {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let kind = Secret::new("application/x-www-form-urlencoded");
    Call {
        method: "POST",
        url: url.into(),
        headers: vec![("content-type".into(), kind)],
        body: Secret::new(body),
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: Box<str>,
    /// Seconds; Azure's managed identities say them as text.
    expires_in: Option<Lifetime>,
}

/// The token of a good answer to a call made at `now_s`.
pub fn token(body: &[u8], now_s: u64) -> Result<Token, Failure> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|_| Failure::Unreadable("it holds no access token"))?;
    let lifetime = match answer.expires_in {
        Some(Lifetime::Number(seconds)) => seconds,
        Some(Lifetime::Text(seconds)) => seconds
            .parse()
            .map_err(|_| Failure::Unreadable("`expires_in` is no number of seconds"))?,
        None => LIFETIME_DEFAULT_S,
    };
    Ok(Token {
        value: Secret::new(answer.access_token),
        expires_at: now_s.saturating_add(lifetime),
    })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Lifetime {
    Number(u64),
    Text(Box<str>),
}

/// Reads the errors of OAuth (`error`, `error_description`) and of Google's APIs (`error.message`).
pub fn refused(status: u16, body: &[u8]) -> Failure {
    let document: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let error = document.get("error");
    let text = |value: Option<&serde_json::Value>| {
        value.and_then(serde_json::Value::as_str).map(str::to_owned)
    };
    let code = text(error);
    let words = text(document.get("error_description"))
        .or_else(|| text(error.and_then(|error| error.get("message"))));
    let reason = match (&code, words) {
        (Some(code), Some(words)) => format!("{code}: {words}"),
        (Some(code), None) => code.clone(),
        (None, Some(words)) => words,
        (None, None) => "no reason given".to_owned(),
    };
    let permanent = matches!(status, 400 | 401 | 403 | 404);
    Failure::Refused { status, reason, permanent }
}
