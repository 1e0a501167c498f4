//! Hostile and ordinary HTTP against the real binary, over raw sockets.
//!
//! `shapes`: what may and what must not be a request. `limits`: how much of it. `protocol`: the
//! connection's own rules. `upstreams`: what providers do wrong. `streams`: time and memory while
//! an answer flows. `tls`: the encrypted listener. `service`: under systemd, on a host with limits.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and waits with a blocking sleep"
)]

#[path = "../support/mod.rs"]
mod support;

mod limits;
mod protocol;
mod service;
mod shapes;
mod streams;
mod tls;
mod upstreams;

/// The paths of the two dialects, for tests that hold on both.
const MESSAGES: &str = "/anthropic/v1/messages";
const CHAT: &str = "/openai/v1/chat/completions";

const ASK: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
const ASK_STREAM: &str =
    r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"stream":true}"#;

/// Checks that a body is an error in the language of the path it was asked on.
fn assert_error_of(path: &str, response: &support::Response) {
    let body = response.json();
    let message = body["error"]["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "{}: no message in {body}", response.status);
    assert!(body["error"]["type"].is_string(), "{}: no type in {body}", response.status);
    assert_eq!(
        body["type"].as_str(),
        path.starts_with("/anthropic").then_some("error"),
        "{path}: not in its dialect: {body}"
    );
    assert_eq!(response.header("content-type"), Some("application/json"));
}
