//! What a caller can learn of a request's path: who served it, after which attempts, and what would
//! become of it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and waits with a blocking sleep"
)]

#[path = "support/governance.rs"]
mod governance;
#[path = "support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other tests use the rest of it")]
mod support;

use governance::{CHAT, MESSAGES, ask, config, key, oops, request, scripted, start, with_key};
use serde_json::{Value, json};
use std::process::Command;
use support::Upstream;

#[test]
fn an_answer_says_who_gave_it_and_the_trail_is_shown_on_request() {
    let upstream = scripted(|call| (call.path() == "/v1/messages").then(oops));
    let gateway = start(&upstream, &config(&json!({}), &json!({})));
    let mut body: Value = serde_json::from_str(&ask("claude-a")).unwrap();
    body["fallbacks"] = json!(["openai/gpt-x"]);
    for stream in [false, true] {
        body["stream"] = json!(stream);
        let response = gateway.ask(&request(MESSAGES, "x-bf-trace: true\r\n", &body.to_string()));
        assert_eq!(response.status, 200, "{}", response.text());
        for (name, value) in [
            ("x-bifrost-provider", "openai"),
            ("x-bifrost-original-model", "claude-a"),
            ("x-bifrost-resolved-model", "gpt-x"),
            ("x-bifrost-fallback-index", "1"),
            ("x-bifrost-request-type", "chat_completion"),
            ("x-bifrost-routing-info-primary-provider", "anthropic"),
        ] {
            assert_eq!(response.header(name), Some(value), "{name}");
        }
        let trail = response.header("x-bf-attempts").unwrap();
        let steps: Vec<_> = trail.split(", ").collect();
        assert_eq!(steps.len(), 3, "one, its retry, the fallback: {trail}");
        for step in &steps[..2] {
            let begin = "\"anthropic/claude-a\";key=\"sk-ant\";status=500;failure=api;ms=";
            assert!(step.starts_with(begin), "{trail}");
        }
        assert!(steps[0].contains(";wait="), "the pause before the retry: {trail}");
        assert!(steps[2].starts_with("\"openai/gpt-x\";key=\"sk-"), "{trail}");
        assert!(steps[2].contains(";status=200;ms="), "{trail}");
    }
}

#[test]
fn an_error_says_whose_it_is() {
    let upstream = scripted(|_| Some(oops()));
    let gateway = start(&upstream, &config(&json!({}), &json!({})));
    let response = gateway.ask(&request(CHAT, "", &ask("openai/gpt-x")));
    assert_eq!(response.status, 500);
    assert_eq!(response.header("x-bifrost-provider"), Some("openai"));
    assert!(response.header("x-bifrost-routing-info-key").unwrap().starts_with("sk-"));
    assert_eq!(response.header("x-bf-attempts"), None, "not asked for");
    let refused = gateway.ask(&request(CHAT, "x-bf-trace: true\r\n", &ask("bedrock/m")));
    assert_eq!((refused.status, refused.header("x-bifrost-provider")), (400, None));
}

/// A virtual key with a limit of one request, rules that chain, and AWS beside the usual places.
fn ruled() -> Value {
    let rule = |id: &str, expression: &str, target: Value, chain: bool| {
        json!({"id": id, "name": id, "cel_expression": expression, "chain_rule": chain,
            "targets": [target], "fallbacks": ["bedrock/anthropic.claude-3-haiku-20240307-v1:0"]})
    };
    let governance = json!({
        "rate_limits": [{"id": "r", "request_max_limit": 1, "request_reset_duration": "1h"}],
        "budgets": [{"id": "b", "max_limit": 5.0, "reset_duration": "1M",
            "virtual_key_id": "dev"}],
        "virtual_keys": [key("dev", &json!({"rate_limit_id": "r", "allow_all_providers": true}))],
        "routing_rules": [
            rule("first", "model == 'sonnet'", json!({"model": "sonnet-2", "weight": 1}), true),
            rule("last", "model == 'sonnet-2'",
                json!({"provider": "openai", "model": "gpt-x", "weight": 1}), false),
        ],
    });
    let mut config = config(&json!({}), &governance);
    config["providers"]["openai"]["network_config"]["extra_headers"] =
        json!({"x-tenant-secret": "only-the-operator-knows"});
    config["providers"]["bedrock"] = json!({"keys": [{"name": "aws", "models": ["*"], "weight": 1,
        "bedrock_key_config": {"access_key": "AKIAEXAMPLE", "secret_key": "aws-secret",
            "region": "eu-west-1"}}]});
    config
}

fn sonnet() -> Value {
    json!({"model": "sonnet", "max_tokens": 9, "top_k": 5,
        "messages": [{"role": "user", "content": "hi"}]})
}

const DRY: &str = "x-bf-dry-run: true\r\nauthorization: Bearer sk-bf-dev\r\nx-own: mine\r\n";

#[test]
fn a_dry_run_shows_everything_and_sends_and_charges_nothing() {
    let upstream = Upstream::plain();
    let gateway = start(&upstream, &ruled());
    let go = || gateway.ask(&request(MESSAGES, DRY, &sonnet().to_string()));
    for _ in 0..3 {
        let response = go();
        assert_eq!(response.status, 200, "{}", response.text());
        let said = response.json();
        assert_eq!(said["virtual_key"]["name"], "dev");
        let rules: Vec<_> = said["rules"].as_array().unwrap().iter().map(|r| &r["id"]).collect();
        assert_eq!(rules, ["first", "last"]);
        assert_eq!(said["verdict"], "goes to openai/gpt-x");
        let target = &said["targets"][0];
        assert_eq!((&target["provider"], &target["model"]), (&json!("openai"), &json!("gpt-x")));
        assert_eq!(target["refused"], Value::Null);
        let limit = |metric: &str| {
            let limits = target["limits"].as_array().unwrap();
            limits.iter().find(|limit| limit["metric"] == metric).unwrap().clone()
        };
        assert_eq!(limit("requests")["used"], 0.0, "nothing is charged");
        assert_eq!(limit("requests")["owner"], "virtual key `dev`");
        assert_eq!(
            (&limit("cost")["max"], &limit("cost")["unit"]),
            (&json!(5.0), &json!("dollars"))
        );
        let states: Vec<_> =
            target["keys"].as_array().unwrap().iter().map(|key| key["state"].as_str()).collect();
        assert!(states.contains(&Some("chosen")) && states.contains(&Some("candidate")));
        let sent = &target["upstream"];
        assert_eq!(sent["url"], format!("http://{}/v1/chat/completions", upstream.at));
        assert_eq!(
            (&sent["body"]["model"], &sent["same_dialect"]),
            (&json!("gpt-x"), &json!(false))
        );
        assert_eq!(sent["lost"][0]["path"], "top_k");
        let headers = sent["headers"].as_array().unwrap();
        assert!(headers.contains(&json!(["authorization", "Bearer (redacted)"])), "{headers:?}");
        assert!(headers.contains(&json!(["x-tenant-secret", "(redacted)"])), "{headers:?}");
        let fallback = &said["targets"][1];
        assert_eq!(
            (&fallback["provider"], &fallback["via"]),
            (&json!("bedrock"), &json!("fallback"))
        );
        let signed = fallback["upstream"]["headers"].as_array().unwrap();
        let signed = signed.iter().find(|header| header[0] == "authorization").unwrap();
        let signed = signed[1].as_str().unwrap();
        assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=(redacted)/"), "{signed}");
        assert!(signed.ends_with("Signature=(redacted)"), "{signed}");
        for secret in ["sk-one", "sk-two", "sk-bf-dev", "AKIAEXAMPLE", "aws-secret", "only-the"] {
            let text = response.text().replace("\"name\":\"sk-", "");
            let text = text.replace("\"id\":\"sk-", "");
            assert!(!text.contains(secret), "{secret} is shown: {text}");
        }
    }
    assert!(upstream.seen.try_recv().is_err(), "nothing is sent");
    let real = with_key(&gateway, MESSAGES, "sk-bf-dev", &sonnet().to_string());
    assert_eq!(real.status, 200, "{}", real.text());
    let (head, body) = upstream.next();
    assert!(head.starts_with("POST /v1/chat/completions "), "{head}");
    let said = go().json();
    assert_eq!(said["targets"][0]["refused"]["status"], 429);
    assert!(said["verdict"].as_str().unwrap().starts_with("refused with 429: request_limited"));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["model"], "gpt-x");
}

#[test]
fn what_cannot_be_explained_is_refused_and_not_sent() {
    let upstream = Upstream::plain();
    let gateway = start(&upstream, &ruled());
    let nobody = "x-bf-dry-run: true\r\nauthorization: Bearer sk-bf-nobody\r\n";
    assert_eq!(gateway.ask(&request(MESSAGES, nobody, &sonnet().to_string())).status, 403);
    let list = "GET /openai/v1/models HTTP/1.1\r\nHost: g\r\nx-bf-dry-run: true\r\n\r\n";
    assert_eq!(gateway.ask(list).status, 400);
    assert!(upstream.seen.try_recv().is_err(), "nothing is sent");
}

#[test]
fn a_breaker_shows_in_a_dry_run() {
    let upstream = scripted(|_| Some(oops()));
    let gateway = start(&upstream, &config(&json!({}), &json!({})));
    let body = ask("openai/gpt-x");
    for _ in 0..3 {
        assert_eq!(gateway.ask(&request(CHAT, "", &body)).status, 500);
    }
    let said = gateway.ask(&request(CHAT, "x-bf-dry-run: true\r\n", &body)).json();
    let health = &said["targets"][0]["health"];
    assert_eq!(health["breaker"], "open", "{said}");
    assert!(health["open_for_ms"].as_i64().unwrap() > 1_000, "{said}");
}

/// Runs `finops-gateway explain` with a body; gives its exit code and output.
fn explain(folder: &std::path::Path, arguments: &[&str], body: &str) -> (Option<i32>, String) {
    let file = folder.join("request.json");
    std::fs::write(&file, body).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_finops-gateway"))
        .args(["explain", "--app-dir"])
        .arg(folder)
        .args(["--path", MESSAGES, "-H", "x-bf-vk: sk-bf-dev"])
        .args(arguments)
        .arg(&file)
        .env_clear()
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), text + &String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_command_says_the_same_as_the_header() {
    let upstream = Upstream::plain();
    let gateway = start(&upstream, &ruled());
    let body = sonnet().to_string();
    let (code, text) = explain(&gateway.folder, &["--json"], &body);
    assert_eq!(code, Some(0), "{text}");
    let said: Value = serde_json::from_str(&text).unwrap();
    let header = gateway.ask(&request(MESSAGES, DRY, &body)).json();
    for member in ["request", "virtual_key", "rules", "verdict"] {
        assert_eq!(said[member], header[member], "{member}");
    }
    let sent = |said: &Value| said["targets"][0]["upstream"]["body"].clone();
    assert_eq!(sent(&said), sent(&header));
    let (code, text) = explain(&gateway.folder, &[], &body);
    assert_eq!(code, Some(0), "{text}");
    for part in [
        "rule: first, model == 'sonnet'",
        "1. openai/gpt-x: routing rule",
        "limit: virtual key `dev`, 0.0 of 1.0 requests, until ",
        "lost: top_k, ",
        "goes to openai/gpt-x",
    ] {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
    // The gateway that runs knows what has been used.
    assert_eq!(with_key(&gateway, MESSAGES, "sk-bf-dev", &body).status, 200);
    let at = format!("127.0.0.1:{}", gateway.port);
    let (code, text) = explain(&gateway.folder, &["--at", &at], &body);
    assert!(code == Some(0) && text.contains("refused with 429"), "{text}");
    let (code, text) = explain(&gateway.folder, &[], "{\"model\":");
    assert_eq!(code, Some(1), "{text}");
}
