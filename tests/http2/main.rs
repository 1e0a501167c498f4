//! HTTP/2 against the real binary: ordinary clients by the crate `h2`, hostile ones by raw frames.
//!
//! `exchange`: requests, streams, who leaves and who waits. `shapes`: what may be a request.
//! `floods`: frames that only make work. `time`: half heads, idleness, drain. `tls`: ALPN.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and waits with a blocking sleep"
)]

#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other tests use the rest of it")]
mod support;

mod exchange;
mod floods;
mod peer;
mod raw;
mod shapes;
mod time;
mod tls;

const MESSAGES: &str = "/anthropic/v1/messages";
const CHAT: &str = "/openai/v1/chat/completions";

const ASK: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
const ASK_STREAM: &str =
    r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"stream":true}"#;
