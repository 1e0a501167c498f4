//! What is used survives: across an orderly restart, and across `kill -9` in the middle of things.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and waits with a blocking sleep"
)]

#[path = "support/governance.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod governance;
#[path = "support/life.rs"]
mod life;
#[path = "support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other tests use the rest of it")]
mod support;

use governance::{MESSAGES, ask, config, key, start, with_key};
use life::{kill, restart, stop};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::gateway::Start;
use support::upstream::MESSAGE;
use support::{Gateway, Response, Upstream};

fn go(gateway: &Gateway, key: &str) -> Response {
    with_key(gateway, MESSAGES, key, &ask("claude-sonnet-4-5"))
}

/// An answer that used 100,000 tokens of input: 30 cents of Claude Sonnet 4.5.
fn dear() -> Upstream {
    Upstream::start(|call| {
        call.json(&MESSAGE.replace(
            "\"input_tokens\":3,\"output_tokens\":1",
            "\"input_tokens\":100000,\"output_tokens\":0",
        ));
        true
    })
}

fn governed(more: &Value) -> Value {
    let mut governance = json!({
        "budgets": [
            {"id": "month", "max_limit": 0.5, "reset_duration": "1M", "virtual_key_id": "month"},
            {"id": "paid", "max_limit": 0.5, "virtual_key_id": "paid"},
            {"id": "more", "max_limit": 0.25, "reset_duration": "1d", "virtual_key_id": "more",
             "override": {"amount": 0.25, "mode": "forever"}},
        ],
        "rate_limits": [
            {"id": "r", "request_max_limit": 2, "request_reset_duration": "1h"},
            {"id": "t", "token_max_limit": 150_000, "token_reset_duration": "1w"},
        ],
        "virtual_keys": [key("month", &json!({})), key("paid", &json!({})),
            key("more", &json!({})), key("rate", &json!({"rate_limit_id": "r"})),
            key("tokens", &json!({"rate_limit_id": "t"}))],
    });
    for (name, value) in more.as_object().unwrap() {
        governance[name] = value.clone();
    }
    config(&json!({}), &governance)
}

#[test]
fn every_kind_of_limit_goes_on_after_a_restart() {
    let upstream = dear();
    let mut gateway = start(&upstream, &governed(&json!({})));
    let kinds = ["month", "paid", "more", "rate", "tokens"];
    let mut before = Vec::new();
    for kind in kinds {
        let key = format!("sk-bf-{kind}");
        assert_eq!(go(&gateway, &key).status, 200, "{kind}");
        assert_eq!(go(&gateway, &key).status, 200, "{kind}: crossing calls complete");
        let refused = go(&gateway, &key);
        assert!(matches!(refused.status, 402 | 429), "{kind}: {}", refused.text());
        before.push(refused.message());
    }
    for orderly in [true, false] {
        let arguments = if orderly { stop(&mut gateway) } else { kill(&mut gateway) };
        restart(&mut gateway, arguments);
        for (kind, before) in kinds.iter().zip(&before) {
            let refused = go(&gateway, &format!("sk-bf-{kind}"));
            assert_eq!(&refused.message(), before, "usage, limit and the time of the reset");
        }
    }
}

#[test]
fn a_killed_gateway_forgets_at_most_a_second_of_soft_usage() {
    let upstream = dear();
    let mut gateway = start(&upstream, &governed(&json!({})));
    assert_eq!(go(&gateway, "sk-bf-month").status, 200);
    assert_eq!(go(&gateway, "sk-bf-month").status, 200);
    std::thread::sleep(Duration::from_millis(1_500));
    let arguments = kill(&mut gateway);
    restart(&mut gateway, arguments);
    let refused = go(&gateway, "sk-bf-month");
    assert!(refused.message().contains("0.6000 >= 0.5000 dollars"), "{}", refused.text());
}

#[test]
fn what_a_strict_budget_reserved_is_not_forgotten_at_all() {
    let upstream = Upstream::start(|call| {
        // Nothing is answered before the end.
        std::thread::sleep(Duration::from_secs(30));
        call.json(MESSAGE);
        true
    });
    let strict = json!({"budgets": [{"id": "b", "max_limit": 0.01, "enforcement": "strict",
        "virtual_key_id": "month"}]});
    let mut gateway = start(&upstream, &governed(&strict));
    // It may come to more than half of the budget: each byte may be a token, written to the cache.
    let large = |bytes: usize| {
        ask("claude-sonnet-4-5").replace("\"hi\"", &format!("\"{}\"", "x".repeat(bytes)))
    };
    let mut client = gateway.connect();
    let body = large(1_200);
    client.send(
        governance::request(MESSAGES, "authorization: Bearer sk-bf-month\r\n", &body).as_bytes(),
    );
    upstream.next();
    let arguments = kill(&mut gateway);
    restart(&mut gateway, arguments);
    let refused = with_key(&gateway, MESSAGES, "sk-bf-month", &body);
    assert_eq!(refused.status, 402, "killed while it was under way: {}", refused.text());
    assert!(upstream.has_none());
}

#[test]
fn a_value_that_changed_while_the_gateway_was_down_has_its_grace_period_too() {
    let upstream = Upstream::plain();
    let client = json!({"enforce_auth_on_inference": true, "vk_rotation_cooldown": "1h"});
    let with = |value: &str| {
        let governance = json!({"virtual_keys": [key("dev", &json!({"value": value}))]});
        config(&client, &governance).to_string().replace("@UPSTREAM@", &upstream.at.to_string())
    };
    let mut gateway = Start { config: Some(with("sk-bf-old")), ..Start::at(upstream.at) }.run();
    let mut arguments = stop(&mut gateway);
    std::fs::write(gateway.folder.join("config.json"), with("sk-bf-new")).unwrap();
    for _ in 0..2 {
        restart(&mut gateway, arguments);
        assert_eq!(go(&gateway, "sk-bf-new").status, 200);
        assert_eq!(go(&gateway, "sk-bf-old").status, 200, "for an hour");
        assert_eq!(go(&gateway, "sk-bf-other").status, 403);
        arguments = kill(&mut gateway);
    }
    restart(&mut gateway, arguments);
    let database = std::fs::read(gateway.folder.join("config.db")).unwrap();
    assert!(!database.windows(6).any(|bytes| bytes == b"sk-bf-"), "digests alone are kept");
}

#[test]
fn without_a_store_a_restart_forgets() {
    let upstream = dear();
    let mut off = governed(&json!({}));
    off["config_store"] = json!({"enabled": false});
    let mut gateway = start(&upstream, &off);
    while go(&gateway, "sk-bf-month").status == 200 {}
    let arguments = stop(&mut gateway);
    assert!(!gateway.folder.join("config.db").exists());
    restart(&mut gateway, arguments);
    assert_eq!(go(&gateway, "sk-bf-month").status, 200);
}

#[test]
fn two_gateways_do_not_write_over_one_another() {
    let upstream = Upstream::plain();
    let gateway = start(&upstream, &governed(&json!({})));
    let begun = Instant::now();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_finops-gateway"))
        .arg("--app-dir")
        .arg(&gateway.folder)
        .args(["--port", &support::gateway::free_port().to_string()])
        .env_clear()
        .output()
        .unwrap();
    assert!(!second.status.success() && begun.elapsed() < Duration::from_secs(30));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("config.db: is in use by another process"), "{said}");
}

#[test]
fn a_strict_token_limit_is_reserved_ahead() {
    let upstream = Upstream::plain();
    let strict = json!({"rate_limits": [
        {"id": "r", "request_max_limit": 9, "request_reset_duration": "1h"},
        {"id": "t", "token_max_limit": 400, "token_reset_duration": "1w", "enforcement": "strict"}]});
    let gateway = start(&upstream, &governed(&strict));
    let asking = |tokens: &str| ask("claude-sonnet-4-5").replace("\"max_tokens\":9", tokens);
    let go = |body: &str| with_key(&gateway, MESSAGES, "sk-bf-tokens", body);
    assert_eq!(go(&asking("\"max_tokens\":100")).status, 200);
    let refused = go(&asking("\"max_tokens\":399"));
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.message().contains("this request may take"), "{}", refused.message());
    assert!(upstream.next().1.len() < 300 && upstream.has_none());
}

#[test]
fn a_rule_that_could_never_match_is_refused() {
    let rules = json!({"routing_rules": [{"id": "r", "name": "r", "targets": [{"weight": 1.0}],
        "cel_expression": "complexity_tier == 'SIMPLE'"}]});
    let folder = std::env::temp_dir().join(format!("finops-tier-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("config.json");
    let text = governed(&rules).to_string().replace("@UPSTREAM@", "127.0.0.1:1");
    std::fs::write(&file, text).unwrap();
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_finops-gateway"))
        .arg("check")
        .arg(&file)
        .output()
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert!(!checked.status.success());
    assert!(said.contains("routing_rules[0].cel_expression: `complexity_tier` is not"), "{said}");
}
