//! Governance and routing against the real binary: keys, limits, rules, retries, fallbacks.
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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use support::Upstream;
use support::gateway::Start;
use support::upstream::{Call, MESSAGE, delta};

#[test]
fn callers_have_to_show_a_key_that_is_good() {
    let upstream = Upstream::plain();
    let governance = json!({"virtual_keys": [
        key("good", &json!({})),
        key("off", &json!({"is_active": false})),
        key("old", &json!({"expires_at": "2020-01-01T00:00:00Z"})),
        key("plain", &json!({"value": "my-own-text"})),
        key("narrow", &json!({"provider_configs": [
            {"provider": "anthropic", "allowed_models": ["claude-a"], "key_ids": ["*"]}]})),
    ]});
    let gateway =
        start(&upstream, &config(&json!({"enforce_auth_on_inference": true}), &governance));
    let body = ask("claude-a");
    let none = gateway.ask(&request(MESSAGES, "", &body));
    assert_eq!((none.status, none.header("x-should-retry")), (401, Some("false")));
    assert!(none.message().starts_with("virtual_key_required"), "{}", none.message());
    assert_eq!(none.json()["error"]["type"], "authentication_error");
    for (sent, status) in [
        ("sk-bf-good", 200),
        ("my-own-text", 200),
        ("sk-bf-nobody", 403),
        ("sk-bf-off", 403),
        ("sk-bf-old", 403),
        ("a-direct-key", 401),
    ] {
        let response = with_key(&gateway, MESSAGES, sent, &body);
        assert_eq!(response.status, status, "{sent}: {}", response.text());
    }
    for header in ["x-bf-vk", "x-api-key", "api-key", "x-goog-api-key"] {
        let shown = format!("{header}: sk-bf-good\r\n");
        assert_eq!(gateway.ask(&request(MESSAGES, &shown, &body)).status, 200, "{header}");
    }
    let signed = "authorization: AWS4-HMAC-SHA256 Credential=sk-bf-good/20260101/us-east-1/bedrock/\
                  aws4_request, SignedHeaders=host, Signature=00\r\n";
    assert_eq!(gateway.ask(&request(MESSAGES, signed, &body)).status, 200);
    let blocked = with_key(&gateway, MESSAGES, "sk-bf-narrow", &ask("claude-b"));
    assert_eq!(blocked.status, 403);
    assert!(blocked.message().starts_with("model_blocked"), "{}", blocked.message());
    let blocked = with_key(&gateway, CHAT, "sk-bf-narrow", &ask("openai/gpt-4o"));
    assert!(blocked.message().starts_with("provider_blocked"), "{}", blocked.message());
    assert_eq!(with_key(&gateway, MESSAGES, "sk-bf-narrow", &body).status, 200);
    while let Ok((head, _)) = upstream.seen.try_recv() {
        assert!(!head.contains("sk-bf-") && !head.contains("my-own-text"), "{head}");
        assert!(head.contains("x-api-key: sk-ant\r\n"), "{head}");
    }
}

#[test]
fn a_request_limit_says_when_to_come_back() {
    let upstream = Upstream::plain();
    let governance = json!({
        "rate_limits": [{"id": "r", "request_max_limit": 2, "request_reset_duration": "30s"}],
        "virtual_keys": [key("dev", &json!({"rate_limit_id": "r"}))],
    });
    let gateway = start(&upstream, &config(&json!({}), &governance));
    let go = || with_key(&gateway, MESSAGES, "sk-bf-dev", &ask("claude-a"));
    assert_eq!((go().status, go().status), (200, 200));
    let refused = go();
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    assert!(refused.message().contains("virtual key `dev`"), "{}", refused.message());
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&after), "{after}");
    assert_eq!(refused.header("x-should-retry"), None, "30 s can be waited for");
    // Without the key nothing is limited, since none is required.
    assert_eq!(gateway.ask(&request(MESSAGES, "", &ask("claude-a"))).status, 200);
}

/// An answer that used 100,000 tokens of input: 30 cents of Claude Sonnet 4.5.
fn dear(call: &mut Call) -> bool {
    let body = MESSAGE.replace("\"input_tokens\":3", "\"input_tokens\":100000");
    call.json(&body);
    true
}

#[test]
fn a_budget_is_charged_from_the_usage_and_survives_a_reload() {
    let upstream = Upstream::start(dear);
    let budget = |max: f64| {
        json!({"budgets": [{"id": "b", "max_limit": max, "reset_duration": "1M",
            "virtual_key_id": "dev"}], "virtual_keys": [key("dev", &json!({}))]})
    };
    let gateway = start(&upstream, &config(&json!({}), &budget(0.5)));
    let go = || with_key(&gateway, MESSAGES, "sk-bf-dev", &ask("claude-sonnet-4-5"));
    assert_eq!((go().status, go().status), (200, 200), "soft: the crossing call completes");
    let refused = go();
    assert_eq!((refused.status, refused.header("x-should-retry")), (402, Some("false")));
    assert_eq!(refused.json()["error"]["type"], "billing_error");
    assert!(refused.message().contains("0.6000 >= 0.5000 dollars"), "{}", refused.message());
    assert!(refused.header("retry-after").is_some());
    // More budget, the same usage: 60 of 70 cents are spent.
    let text = config(&json!({}), &budget(0.7)).to_string();
    let text = text.replace("@UPSTREAM@", &upstream.at.to_string());
    std::fs::write(gateway.folder.join("config.json"), text).unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while go().status != 200 {
        assert!(Instant::now() < until, "not reloaded: {}", gateway.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let refused = go();
    assert!(refused.message().contains("0.9000 >= 0.7000 dollars"), "{}", refused.message());
}

/// A stream of OpenAI's that tells usage where it is asked for.
fn chat_stream(call: &mut Call) -> bool {
    let asked = String::from_utf8_lossy(&call.body).contains("\"include_usage\":true");
    call.start_stream();
    call.chunk(&delta("hello"));
    call.chunk(
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    );
    if asked {
        let usage = "{\"prompt_tokens\":50,\"completion_tokens\":10,\"total_tokens\":60}";
        call.chunk(&format!("data: {{\"id\":\"c\",\"choices\":[],\"usage\":{usage}}}\n\n"));
    }
    call.chunk("data: [DONE]\n\n");
    call.end_stream();
    true
}

#[test]
fn streams_of_limited_callers_are_counted_without_their_noticing() {
    let upstream = Upstream::start(chat_stream);
    let governance = json!({
        "rate_limits": [{"id": "t", "token_max_limit": 100, "token_reset_duration": "1h"}],
        "virtual_keys": [key("dev", &json!({"rate_limit_id": "t"})), key("free", &json!({}))],
    });
    let gateway = start(&upstream, &config(&json!({}), &governance));
    let mut body: Value = serde_json::from_str(&ask("openai/gpt-4o")).unwrap();
    body["stream"] = json!(true);
    let sent = || String::from_utf8(upstream.next().1).unwrap();
    let free = with_key(&gateway, CHAT, "sk-bf-free", &body.to_string());
    assert!(free.text().ends_with("data: [DONE]\n\n"));
    assert!(!sent().contains("stream_options"), "nobody has to know");
    let hidden = with_key(&gateway, CHAT, "sk-bf-dev", &body.to_string());
    assert_eq!(hidden.text(), free.text(), "60 tokens");
    assert!(sent().contains("\"stream_options\":{\"include_usage\":true}"));
    body["stream_options"] = json!({"include_usage": true});
    let shown = with_key(&gateway, CHAT, "sk-bf-dev", &body.to_string());
    assert!(shown.text().contains("\"total_tokens\":60"), "{}", shown.text());
    let refused = with_key(&gateway, CHAT, "sk-bf-dev", &body.to_string());
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.message().contains("120 >= 100 tokens"), "{}", refused.message());
}

#[test]
fn failures_lead_to_the_fallback_and_to_the_first_error() {
    let upstream = scripted(|call| match call.path() {
        "/v1/messages" if call.head.contains("x-cut") => Some((0, String::new())),
        "/v1/messages" => Some(oops()),
        _ => None,
    });
    let gateway = start(&upstream, &config(&json!({}), &json!({})));
    let mut body: Value = serde_json::from_str(&ask("claude-a")).unwrap();
    body["fallbacks"] = json!(["spare/claude-b"]);
    for head in ["", "anthropic-beta: x-cut\r\n"] {
        let response = gateway.ask(&request(MESSAGES, head, &body.to_string()));
        assert_eq!(response.status, 200, "{}", response.text());
        let seen: Vec<_> = upstream.seen.try_iter().collect();
        // A pooled connection that is found closed is replaced beside.
        assert!((3..=4).contains(&seen.len()), "one, its retry, and the fallback: {seen:?}");
        let (head, sent) = seen.last().unwrap();
        assert!(head.starts_with("POST /spare/v1/messages "), "{head}");
        let sent: Value = serde_json::from_slice(sent).unwrap();
        assert_eq!((&sent["model"], sent.get("fallbacks")), (&json!("claude-b"), None));
        assert_eq!(sent["messages"], body["messages"]);
    }
    body["fallbacks"] = json!(["openai/gpt-x"]);
    let response = gateway.ask(&request(MESSAGES, "", &body.to_string()));
    assert_eq!(response.status, 200, "a fallback in another language: {}", response.text());
    body["fallbacks"] = json!(["anthropic/claude-c"]);
    let response = gateway.ask(&request(MESSAGES, "", &body.to_string()));
    assert_eq!((response.status, response.message().as_str()), (500, "oops"));
    // Anthropic's own field of that name is no business of ours.
    upstream.seen.try_iter().for_each(drop);
    body["model"] = json!("spare/claude-a");
    body["fallbacks"] = json!([{"model": "claude-b"}]);
    gateway.ask(&request(MESSAGES, "", &body.to_string()));
    let (_, sent) = upstream.next();
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    assert_eq!(sent["fallbacks"], body["fallbacks"]);
}

#[test]
fn a_key_that_is_limited_or_dead_makes_room_for_the_other() {
    for status in [429, 401, 403] {
        let upstream = scripted(move |call| {
            let limited = call.head.contains("Bearer sk-one");
            limited.then(|| (status, r#"{"error":{"message":"no","type":"x"}}"#.to_owned()))
        });
        let gateway = start(&upstream, &config(&json!({}), &json!({})));
        for _ in 0..8 {
            let response = gateway.ask(&request(CHAT, "", &ask("gpt-4o")));
            assert_eq!(response.status, 200, "{status}: {}", response.text());
        }
        let seen: Vec<_> = upstream.seen.try_iter().collect();
        let bad = seen.iter().filter(|(head, _)| head.contains("Bearer sk-one")).count();
        assert!(bad <= 1, "{status}: the key is left alone after its failure, not {bad} times");
    }
    let dead = scripted(|_| Some((401, r#"{"error":{"message":"no","type":"x"}}"#.to_owned())));
    let gateway = start(&dead, &config(&json!({}), &json!({})));
    let response = gateway.ask(&request(CHAT, "", &ask("gpt-4o")));
    assert_eq!(response.status, 502, "{}", response.text());
    assert_eq!(response.json()["error"]["code"], "upstream_credentials_exhausted");
}

#[test]
fn rules_send_claude_code_elsewhere_and_count_tokens_with_it() {
    let upstream = scripted(|call| {
        call.path().ends_with("count_tokens").then(|| (200, r#"{"input_tokens":77}"#.to_owned()))
    });
    let rule = json!({"routing_rules": [{
        "id": "rr", "name": "sonnet",
        "cel_expression":
            "model == \"sonnet-model\" && headers[\"user-agent\"].startsWith(\"claude-cli\")",
        "targets": [{"provider": "spare", "model": "claude-sonnet-4-6", "weight": 1.0}]}]});
    let gateway = start(&upstream, &config(&json!({}), &rule));
    let agent = "User-Agent: claude-cli/2.1 (external, cli)\r\n";
    let response = gateway.ask(&request(MESSAGES, agent, &ask("sonnet-model")));
    assert_eq!(response.status, 200, "{}", response.text());
    let (head, body) = upstream.next();
    assert!(head.starts_with("POST /spare/v1/messages "), "{head}");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["model"], "claude-sonnet-4-6");
    let count = format!("{MESSAGES}/count_tokens");
    let response = gateway.ask(&request(&count, agent, &ask("sonnet-model")));
    assert_eq!(response.json()["input_tokens"], 77);
    let (head, _) = upstream.next();
    assert!(head.starts_with("POST /spare/v1/messages/count_tokens "), "{head}");
    gateway.ask(&request(MESSAGES, "User-Agent: curl\r\n", &ask("sonnet-model")));
    let (head, _) = upstream.next();
    assert!(head.starts_with("POST /v1/messages "), "not Claude Code: {head}");
}

#[test]
fn targets_are_drawn_by_weight() {
    let upstream = Upstream::plain();
    let rule = json!({"routing_rules": [{"id": "r", "name": "split", "targets": [
        {"provider": "spare", "weight": 0.75}, {"provider": "anthropic", "weight": 0.25}]}]});
    let gateway = start(&upstream, &config(&json!({}), &rule));
    let mut client = gateway.connect();
    for _ in 0..200 {
        client.send(request(MESSAGES, "", &ask("claude-a")).as_bytes());
        assert_eq!(client.response().status, 200);
    }
    let spare = upstream.seen.try_iter().filter(|(head, _)| head.contains(" /spare/")).count();
    assert!((120..180).contains(&spare), "{spare} of 200 where 150 are expected");
}

#[test]
fn the_callers_own_credential_goes_up_only_where_it_may() {
    let upstream = Upstream::plain();
    let governance = json!({"virtual_keys": [key("max", &json!({}))]});
    let gateway = start(&upstream, &config(&json!({}), &governance));
    let oauth = "x-bf-vk: sk-bf-max\r\nauthorization: Bearer sk-ant-oat01-x\r\n";
    gateway.ask(&request(MESSAGES, oauth, &ask("claude-a")));
    let (head, _) = upstream.next();
    assert!(head.contains("authorization: Bearer sk-ant-oat01-x\r\n"), "{head}");
    assert!(!head.contains("sk-bf-max") && !head.contains("x-api-key"), "{head}");
    gateway.ask(&request(CHAT, oauth, &ask("openai/gpt-4o")));
    assert!(!upstream.next().0.contains("oat01"), "a subscription is nothing to another vendor");
    let direct = "x-api-key: sk-ant-mine\r\n";
    gateway.ask(&request(MESSAGES, direct, &ask("claude-a")));
    assert!(upstream.next().0.contains("x-api-key: sk-ant\r\n"), "not allowed here");
    let open = start(&upstream, &config(&json!({"allow_direct_keys": true}), &json!({})));
    open.ask(&request(MESSAGES, direct, &ask("claude-a")));
    assert!(upstream.next().0.contains("x-api-key: sk-ant-mine\r\n"));
}

#[test]
fn a_caller_sees_the_models_that_it_may_use() {
    let upstream = scripted(|call| {
        let list = r#"{"data":[{"id":"claude-a"},{"id":"claude-b"}],"has_more":false}"#;
        call.path().ends_with("/models").then(|| (200, list.to_owned()))
    });
    let governance = json!({"virtual_keys": [key("narrow", &json!({"provider_configs": [
        {"provider": "anthropic", "allowed_models": ["claude-a"], "key_ids": ["*"]}]}))]});
    let client = json!({"enforce_auth_on_inference": true});
    let gateway = start(&upstream, &config(&client, &governance));
    let get = |path: &str, key: &str| {
        gateway.ask(&format!("GET /anthropic/v1/models{path} HTTP/1.1\r\nHost: g\r\n{key}\r\n"))
    };
    assert_eq!(get("", "").status, 401);
    let key = "x-api-key: sk-bf-narrow\r\n";
    let list = get("", key).json();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["anthropic/claude-a"]);
    assert_eq!(get("/anthropic%2Fclaude-a", key).status, 200);
    assert_eq!(get("/anthropic%2Fclaude-b", key).status, 403);
}

#[test]
fn a_client_that_leaves_pays_for_what_it_used() {
    let upstream = Upstream::start(|call| {
        call.start_stream();
        call.chunk(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\
             \"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\
             \"usage\":{\"input_tokens\":500,\"output_tokens\":1}}}\n\n",
        );
        call.wait_closed(Duration::from_secs(5));
        false
    });
    let governance = json!({
        "rate_limits": [{"id": "t", "token_max_limit": 400, "token_reset_duration": "1h"}],
        "virtual_keys": [key("dev", &json!({"rate_limit_id": "t"}))],
    });
    let gateway = start(&upstream, &config(&json!({}), &governance));
    let body = ask("claude-a").replace("{\"model\"", "{\"stream\":true,\"model\"");
    let mut client = gateway.connect();
    let key = "authorization: Bearer sk-bf-dev\r\n";
    client.send(request(MESSAGES, key, &body).as_bytes());
    assert_eq!(client.head().status, 200);
    assert!(client.chunk().is_some());
    client.hang_up();
    std::thread::sleep(Duration::from_millis(200));
    let refused = with_key(&gateway, MESSAGES, "sk-bf-dev", &ask("claude-a"));
    assert_eq!(refused.status, 429);
    assert!(refused.message().contains("501 >= 400 tokens"), "{}", refused.message());
}

#[test]
fn a_strict_budget_is_never_overspent() {
    // Each answer costs 9 output tokens of Claude Sonnet 4.5 at 15 dollars a million, and 3 of
    // input at 3 dollars: 144 micro-dollars.
    let upstream = scripted(|_| {
        std::thread::sleep(Duration::from_millis(2));
        Some((200, MESSAGE.replace("\"output_tokens\":1", "\"output_tokens\":9")))
    });
    let governance = json!({
        "budgets": [{"id": "b", "max_limit": 0.01, "enforcement": "strict",
            "virtual_key_id": "dev"}],
        "virtual_keys": [key("dev", &json!({}))],
    });
    let config = Some(config(&json!({}), &governance).to_string());
    let arguments = vec!["--workers".to_owned(), "2".to_owned()];
    let gateway = Arc::new(Start { arguments, config, ..Start::at(upstream.at) }.run());
    let admitted = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let (gateway, admitted) = (Arc::clone(&gateway), Arc::clone(&admitted));
            std::thread::spawn(move || {
                for _ in 0..12 {
                    let body = ask("claude-sonnet-4-5");
                    let response = with_key(&gateway, MESSAGES, "sk-bf-dev", &body);
                    admitted.fetch_add(usize::from(response.status == 200), Ordering::Relaxed);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    // One after the other nothing is reserved beside: only a rest smaller than an estimate is refused.
    while with_key(&gateway, MESSAGES, "sk-bf-dev", &ask("claude-sonnet-4-5")).status == 200 {
        admitted.fetch_add(1, Ordering::Relaxed);
    }
    let spent = admitted.load(Ordering::Relaxed) * 144;
    assert!(spent <= 10_000, "{spent} of 10,000 micro-dollars");
    assert!(spent > 9_000, "{spent}: what was reserved and not used is given back");
}

#[test]
fn a_session_stays_with_its_key() {
    let upstream = Upstream::plain();
    let gateway = start(&upstream, &config(&json!({}), &json!({})));
    let keys = |header: &str| {
        for _ in 0..12 {
            gateway.ask(&request(CHAT, header, &ask("gpt-4o")));
        }
        let heads = upstream.seen.try_iter().map(|(head, _)| head.contains("Bearer sk-one"));
        heads.collect::<std::collections::HashSet<bool>>().len()
    };
    for id in 0..4 {
        assert_eq!(keys(&format!("X-Claude-Code-Session-Id: {id}\r\n")), 1);
    }
    assert_eq!(keys("x-bf-session-id: 1\r\nx-bf-session-affinity: off\r\n"), 2);
}

#[test]
fn a_rotated_key_is_good_for_its_grace_period() {
    let upstream = Upstream::plain();
    let client = json!({"enforce_auth_on_inference": true, "vk_rotation_cooldown": "1h"});
    let with = |value: &str| {
        let governance = json!({"virtual_keys": [key("dev", &json!({"value": value}))]});
        config(&client, &governance).to_string().replace("@UPSTREAM@", &upstream.at.to_string())
    };
    let gateway = Start { config: Some(with("sk-bf-old")), ..Start::at(upstream.at) }.run();
    let status = |value| with_key(&gateway, MESSAGES, value, &ask("claude-a")).status;
    assert_eq!((status("sk-bf-old"), status("sk-bf-new")), (200, 403));
    std::fs::write(gateway.folder.join("config.json"), with("sk-bf-new")).unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while status("sk-bf-new") != 200 {
        assert!(Instant::now() < until, "not reloaded: {}", gateway.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(status("sk-bf-old"), 200, "for an hour");
}

#[test]
fn required_headers_are_required() {
    let upstream = Upstream::plain();
    let gateway = start(&upstream, &config(&json!({"required_headers": ["x-team"]}), &json!({})));
    let missing = gateway.ask(&request(MESSAGES, "", &ask("claude-a")));
    assert_eq!(missing.status, 400);
    assert!(missing.message().contains("`x-team` is missing"), "{}", missing.message());
    assert_eq!(gateway.ask(&request(MESSAGES, "x-team: a\r\n", &ask("claude-a"))).status, 200);
}

#[test]
fn exactly_as_many_are_admitted_as_allowed_over_all_cores() {
    const ALLOWED: usize = 300;
    let upstream = Upstream::plain();
    let governance = json!({
        "rate_limits": [{"id": "r", "request_max_limit": ALLOWED, "request_reset_duration": "1h"}],
        "virtual_keys": [key("dev", &json!({"rate_limit_id": "r"}))],
    });
    let config = Some(config(&json!({}), &governance).to_string());
    let arguments = vec!["--workers".to_owned(), "2".to_owned()];
    let gateway = Arc::new(Start { arguments, config, ..Start::at(upstream.at) }.run());
    let (admitted, barrier) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(64)));
    let threads: Vec<_> = (0..64)
        .map(|_| {
            let (gateway, admitted, barrier) =
                (Arc::clone(&gateway), Arc::clone(&admitted), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let mut client = gateway.connect();
                barrier.wait();
                for _ in 0..10 {
                    let key = "authorization: Bearer sk-bf-dev\r\n";
                    client.send(request(MESSAGES, key, &ask("claude-a")).as_bytes());
                    match client.response().status {
                        200 => admitted.fetch_add(1, Ordering::Relaxed),
                        status => {
                            assert_eq!(status, 429);
                            0
                        }
                    };
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(admitted.load(Ordering::Relaxed), ALLOWED);
    assert_eq!(upstream.seen.try_iter().count(), ALLOWED);
}
