//! Every endpoint beside a chat, over raw sockets, against scripted upstreams.
//!
//! `json`: calls about a model, whose body is JSON. `embeddings`: across vendors. `forms`: multipart
//! bodies. `kept`: what providers keep: responses, files, batches. `large`: uploads and downloads of
//! any size. `raw`: paths of the providers' own.
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

mod embeddings;
mod forms;
mod json;
mod kept;
mod large;
mod raw;

use support::gateway::Start;
use support::{Gateway, Upstream};

/// A gateway with a provider of each kind, all of them at one upstream.
fn start(upstream: &Upstream, top: &str) -> Gateway {
    let key = |name: &str, more: &str| {
        format!(
            r#""keys":[{{"name":"k-{name}","value":"sk-{name}","models":["*"],"weight":1{more}}}]"#
        )
    };
    let at = r#""network_config":{"base_url":"http://@UPSTREAM@"}"#;
    let plain = |name: &str| format!(r#""{name}":{{{},{at}}}"#, key(name, ""));
    let azure =
        r#","azure_key_config":{"endpoint":"http://@UPSTREAM@/az","api_version":"2024-10-21"}"#;
    let bedrock = r#","bedrock_key_config":{"region":"us-east-1"}"#;
    let providers = [
        plain("openai"),
        plain("anthropic"),
        plain("gemini"),
        plain("cohere"),
        plain("mistral"),
        format!(r#""azure":{{{}}}"#, key("azure", azure)),
        format!(r#""bedrock":{{{},{at}}}"#, key("bedrock", bedrock)),
    ];
    let config = format!(r#"{{"version":2,"providers":{{{}}}{top}}}"#, providers.join(","));
    let config = Some(config);
    Start { config, upstream: Some(upstream.at.to_string()), ..Start::default() }.run()
}
