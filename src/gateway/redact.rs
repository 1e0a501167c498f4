//! Upstream requests as they may be shown: without credentials, and without what only the operator
//! knows.
//!
//! In: a header, a request's target. Out: the same, or with `(redacted)` in the secret's place.
//! Never: shows a header of unknown meaning that the client did not send itself.

use crate::wire::http1;

/// Headers of upstream requests that are shown as they are, beside those that the client sent.
const SHOWN: [&str; 8] = [
    "accept",
    "anthropic-beta",
    "anthropic-version",
    "content-length",
    "content-type",
    "host",
    "user-agent",
    "x-amz-date",
];
/// Headers that hold credentials, whoever sent them.
const SECRET: [&str; 7] = [
    "api-key",
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-amz-security-token",
    "x-api-key",
    "x-goog-api-key",
];
const REDACTED: &str = "(redacted)";

/// A header's value, unless it is nobody else's business. `own`: the client sent it.
pub fn shown(name: &str, value: &str, own: impl FnOnce() -> bool) -> String {
    if !SECRET.contains(&name) && (SHOWN.contains(&name) || own()) {
        return value.to_owned();
    }
    if name == "authorization" {
        if let Some((scope, signed)) = signature(value) {
            return format!(
                "AWS4-HMAC-SHA256 Credential={REDACTED}/{scope}, SignedHeaders={signed}, \
                 Signature={REDACTED}"
            );
        }
        let scheme = value.split_once(' ').map(|(scheme, _)| format!("{scheme} "));
        return format!("{}{REDACTED}", scheme.unwrap_or_default());
    }
    REDACTED.to_owned()
}

/// Of an AWS signature: the scope, and which headers it covers.
fn signature(value: &str) -> Option<(&str, &str)> {
    let rest = value.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let part = |name: &str| {
        rest.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
    };
    Some((part("Credential")?.split_once('/')?.1, part("SignedHeaders")?))
}

/// A target whose query shows no key.
pub fn without_key(target: &str) -> String {
    let Ok(parts) = http1::path_and_query(target) else { return REDACTED.to_owned() };
    let Some(query) = parts.query else { return target.to_owned() };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name @ ("key" | "api_key" | "access_token"), _)) => format!("{name}={REDACTED}"),
        _ => pair.to_owned(),
    });
    let pairs: Vec<_> = pairs.collect();
    let path = target.split('?').next().unwrap_or_default();
    format!("{path}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::{shown, without_key};

    #[test]
    fn no_secret_is_shown() {
        let none = || false;
        assert_eq!(shown("authorization", "Bearer sk-1", none), "Bearer (redacted)");
        assert_eq!(shown("authorization", "sk-1", || true), "(redacted)");
        assert_eq!(shown("x-api-key", "sk-1", || true), "(redacted)");
        assert_eq!(shown("x-tenant", "t", none), "(redacted)", "set by the operator");
        assert_eq!(shown("x-tenant", "t", || true), "t", "sent by the client");
        assert_eq!(shown("anthropic-version", "2023-06-01", none), "2023-06-01");
        let signed = "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/bedrock/aws4_request, \
                      SignedHeaders=host;x-amz-date, Signature=ab12";
        assert_eq!(
            shown("authorization", signed, none),
            "AWS4-HMAC-SHA256 Credential=(redacted)/20260101/us-east-1/bedrock/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=(redacted)"
        );
    }

    #[test]
    fn a_key_in_the_query_is_not_shown() {
        assert_eq!(without_key("/v1/m:g?alt=sse&key=AIza"), "/v1/m:g?alt=sse&key=(redacted)");
        assert_eq!(without_key("/v1/m"), "/v1/m");
    }
}
