//! A gateway with virtual keys, two keys of OpenAI and two places of Anthropic, and what is asked
//! of it.

use crate::support::gateway::Start;
use crate::support::upstream::{COMPLETION, Call, MESSAGE};
use crate::support::{Gateway, Response, Upstream};
use serde_json::{Value, json};

pub const MESSAGES: &str = "/anthropic/v1/messages";
pub const CHAT: &str = "/openai/v1/chat/completions";

/// A file with two keys of OpenAI, one of Anthropic and a second Anthropic called `spare`.
pub fn config(client: &Value, governance: &Value) -> Value {
    let network = json!({"base_url": "http://@UPSTREAM@", "max_retries": 1,
        "retry_backoff_initial": 100, "retry_backoff_max": 200});
    let key = |name: &str| json!({"name": name, "value": name, "models": ["*"], "weight": 1});
    json!({
        "version": 2, "client": client, "governance": governance,
        "providers": {
            "openai": {"keys": [key("sk-one"), key("sk-two")], "network_config": network},
            "anthropic": {"keys": [key("sk-ant")], "network_config": network},
            "spare": {"keys": [key("sk-spare")],
                "network_config": {"base_url": "http://@UPSTREAM@/spare"},
                "custom_provider_config": {"base_provider_type": "anthropic"}},
        }
    })
}

/// A virtual key for all of Anthropic and OpenAI, with more members.
pub fn key(name: &str, more: &Value) -> Value {
    let open = |provider: &str| {
        let weight = (provider == "anthropic").then_some(1.0);
        json!({"provider": provider, "weight": weight, "allowed_models": ["*"], "key_ids": ["*"]})
    };
    let mut key = json!({"id": name, "name": name, "value": format!("sk-bf-{name}"),
        "provider_configs": [open("anthropic"), open("openai"), open("spare")]});
    for (name, value) in more.as_object().unwrap() {
        key[name] = value.clone();
    }
    key
}

pub fn start(upstream: &Upstream, config: &Value) -> Gateway {
    let config = Some(config.to_string());
    Start { config, ..Start::at(upstream.at) }.run()
}

pub fn ask(model: &str) -> String {
    json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
        .to_string()
}

pub fn request(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: g\r\n{headers}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub fn with_key(gateway: &Gateway, path: &str, key: &str, body: &str) -> Response {
    gateway.ask(&request(path, &format!("authorization: Bearer {key}\r\n"), body))
}

/// Answers each call by what `decide` says: `None` for a plain answer.
pub fn scripted(
    decide: impl Fn(&Call) -> Option<(u16, String)> + Clone + Send + 'static,
) -> Upstream {
    Upstream::start(move |call| {
        let messages = call.path().contains("/messages");
        match decide(call) {
            Some((0, _)) => return false,
            Some((status, body)) => call.whole(status, &body),
            None => call.json(if messages { MESSAGE } else { COMPLETION }),
        }
        true
    })
}

pub fn oops() -> (u16, String) {
    (500, r#"{"error":{"message":"oops","type":"api_error"}}"#.to_owned())
}
