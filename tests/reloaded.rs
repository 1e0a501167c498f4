//! What changes while the gateway runs: prices, header filters, CORS, limits; against the real
//! binary. And that no credential of a client's ever reaches an upstream.
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
use std::time::{Duration, Instant};
use support::gateway::Start;
use support::upstream::{COMPLETION, MESSAGE};
use support::{Gateway, Upstream};

/// Waits until something holds.
fn until(what: &str, gateway: &Gateway, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "{what}:\n{}", gateway.log());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn rewrite(gateway: &Gateway, upstream: &Upstream, config: &Value) {
    let text = config.to_string().replace("@UPSTREAM@", &upstream.at.to_string());
    std::fs::write(gateway.folder.join("config.json"), text).unwrap();
}

/// An upstream that has a price sheet, and one that is none.
fn shop() -> Upstream {
    Upstream::start(|call| {
        match call.path() {
            "/sheet.json" => call.json(&sheet(0.5)),
            "/bad.json" => call.json("<html>sorry</html>"),
            path if path.contains("messages") => call.json(MESSAGE),
            _ => call.json(COMPLETION),
        }
        true
    })
}

/// Claude's input at so many dollars a token, and output at twice as much.
fn sheet(dollars: f64) -> String {
    let entry = |provider: &str| {
        json!({"litellm_provider": provider, "mode": "chat", "input_cost_per_token": dollars,
            "output_cost_per_token": 2.0 * dollars})
    };
    json!({"claude-x": entry("anthropic"), "gpt-x": entry("openai"), "sample_spec": {}}).to_string()
}

fn priced(url: &str, overrides: &Value) -> Value {
    let governance = json!({
        "budgets": [{"id": "b", "max_limit": 1000.0, "reset_duration": "1M",
            "virtual_key_id": "dev"}],
        "virtual_keys": [key("dev", &json!({}))], "pricing_overrides": overrides,
    });
    let mut config = config(&json!({}), &governance);
    config["framework"] = json!({"pricing": {"pricing_url": url}});
    config
}

/// What a request to this model adds to the budget, in dollars: three tokens in, one out.
fn cost(gateway: &Gateway, path: &str, model: &str) -> f64 {
    let spent = || {
        let dry = "x-bf-dry-run: true\r\nx-bf-vk: sk-bf-dev\r\n";
        let said = gateway.ask(&request(path, dry, &ask(model))).json();
        let limits = said["targets"][0]["limits"].as_array().unwrap().clone();
        limits.iter().find(|limit| limit["metric"] == "cost").unwrap()["used"].as_f64().unwrap()
    };
    let before = spent();
    assert_eq!(with_key(gateway, path, "sk-bf-dev", &ask(model)).status, 200);
    until("the request is charged", gateway, || spent() > before);
    spent() - before
}

#[test]
fn prices_are_fetched_and_a_bad_sheet_changes_nothing() {
    let upstream = shop();
    let url = |path: &str| format!("http://@UPSTREAM@/{path}.json");
    let gateway = start(&upstream, &priced(&url("sheet"), &json!([])));
    let said = |words: &str| gateway.log().contains(words);
    until("fetched", &gateway, || said("prices fetched") && said("configuration reloaded"));
    assert!((cost(&gateway, MESSAGES, "claude-x") - 2.5).abs() < 1e-9, "3 * 0.5 + 1 * 1.0");
    assert!((cost(&gateway, CHAT, "openai/gpt-x") - 2.5).abs() < 1e-9);
    rewrite(&gateway, &upstream, &priced(&url("bad"), &json!([])));
    until("refused", &gateway, || said("no new prices: those before stay in force"));
    assert!(said("not a price table"), "{}", gateway.log());
    assert!((cost(&gateway, MESSAGES, "claude-x") - 2.5).abs() < 1e-9, "the last good sheet");
    let overrides = json!([{"id": "o", "scope_kind": "provider", "provider_id": "anthropic",
        "match_type": "exact", "pattern": "claude-x",
        "pricing_patch": "{\"input_cost_per_token\": 0.1, \"output_cost_per_token\": 0.2}"}]);
    rewrite(&gateway, &upstream, &priced(&url("bad"), &overrides));
    until("overridden", &gateway, || (cost(&gateway, MESSAGES, "claude-x") - 0.5).abs() < 1e-9);
    assert!((cost(&gateway, CHAT, "openai/gpt-x") - 2.5).abs() < 1e-9, "others keep the sheet's");
}

#[test]
fn a_start_without_network_uses_the_copy_and_files_are_sheets_too() {
    let upstream = shop();
    let url = "http://127.0.0.1:1/sheet.json?key=secret";
    let digest = blake3::hash(url.as_bytes()).to_hex();
    let name = format!("prices-{}.json", digest.get(..16).unwrap());
    let name: &'static str = Box::leak(name.into_boxed_str());
    let config = Some(priced(url, &json!([])).to_string());
    let files = vec![(name, sheet(0.25)), ("own.json", sheet(0.125))];
    let gateway = Start { config, files, ..Start::at(upstream.at) }.run();
    assert!((cost(&gateway, MESSAGES, "claude-x") - 1.25).abs() < 1e-9);
    until("said", &gateway, || gateway.log().contains("no new prices"));
    assert!(!gateway.log().contains("secret"), "{}", gateway.log());
    let file = format!("file://{}/own.json", gateway.folder.display());
    rewrite(&gateway, &upstream, &priced(&file, &json!([])));
    until("from the file", &gateway, || gateway.log().contains("prices fetched"));
    until("in force", &gateway, || (cost(&gateway, MESSAGES, "claude-x") - 0.625).abs() < 1e-9);
}

/// Every way in which a client could show who it is; each value has `LEAK` in it.
const SHOWN: [&str; 13] = [
    "x-bf-vk: sk-bf-LEAK",
    "authorization: Bearer sk-bf-LEAK",
    "authorization: AWS4-HMAC-SHA256 Credential=sk-bf-LEAK/20260101/us-east-1/bedrock/aws4_request, \
     SignedHeaders=host, Signature=LEAK",
    "x-api-key: sk-bf-LEAK",
    "api-key: sk-bf-LEAK",
    "x-goog-api-key: sk-bf-LEAK",
    "cookie: session=LEAK",
    "proxy-authorization: Basic LEAK",
    "x-amz-security-token: LEAK",
    "x-bf-eh-authorization: Bearer LEAK",
    "x-bf-eh-x-api-key: LEAK",
    "x-bf-eh-cookie: LEAK",
    "x-bf-api-key: LEAK",
];

#[test]
fn no_credential_of_a_client_reaches_an_upstream() {
    let upstream = scripted(|call| (!call.path().starts_with("/spare")).then(oops));
    let mut value = key("LEAK", &json!({"allow_all_providers": true}));
    value["value"] = json!("sk-bf-LEAK");
    let filters = [json!({}), json!({"header_filter_config": {"allowlist": ["*"]}})];
    for client in filters {
        let governance = json!({"virtual_keys": [value]});
        let mut config = config(&client, &governance);
        for name in ["bedrock", "gemini"] {
            config["providers"][name] = json!({"keys": [{"name": name, "value": "sk-own",
                "models": ["*"], "weight": 1}],
                "network_config": {"base_url": "http://@UPSTREAM@"}});
        }
        config["providers"]["bedrock"]["keys"][0]["bedrock_key_config"] =
            json!({"region": "us-east-1"});
        let gateway = start(&upstream, &config);
        let chat = ask("m");
        let converse = json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]});
        let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
        let responses = json!({"model": "m", "input": "hi"});
        for (path, body) in [
            (MESSAGES, &chat),
            (CHAT, &chat),
            ("/openai/v1/responses", &responses.to_string()),
            ("/bedrock/model/m/converse", &converse.to_string()),
            ("/genai/v1beta/models/m:generateContent?key=sk-bf-LEAK", &gemini.to_string()),
            ("/anthropic/v1/messages/count_tokens", &chat),
        ] {
            let mut body: Value = serde_json::from_str(body).unwrap();
            if !path.contains("converse") && !path.contains("genai") {
                body["fallbacks"] = json!(["spare/claude-b"]);
            }
            for shown in SHOWN {
                gateway.ask(&request(path, &format!("{shown}\r\n"), &body.to_string()));
            }
        }
        let mut seen = 0;
        for (head, body) in upstream.seen.try_iter() {
            seen += 1;
            let body = String::from_utf8_lossy(&body).into_owned();
            assert!(!head.contains("LEAK") && !body.contains("LEAK"), "{head}{body}");
        }
        assert!(seen > 60, "only {seen} calls came upstream");
    }
}

#[test]
fn headers_origins_and_limits_reload_with_requests_in_flight_untouched() {
    let upstream = Upstream::start(|call| {
        if call.head.contains("x-slow") {
            std::thread::sleep(Duration::from_millis(600));
        }
        call.json(MESSAGE);
        true
    });
    let with = |client: &Value, max: u32| {
        config(
            client,
            &json!({
                "rate_limits": [{"id": "r", "request_max_limit": max, "request_reset_duration": "1h"}],
                "virtual_keys": [key("dev", &json!({"rate_limit_id": "r"}))],
            }),
        )
    };
    let before = json!({"allowed_origins": ["https://one.example"]});
    let gateway = start(&upstream, &with(&before, 1));
    let origin = |name: &str| {
        let preflight = format!("OPTIONS {CHAT} HTTP/1.1\r\nHost: g\r\nOrigin: {name}\r\n\r\n");
        gateway.ask(&preflight).status
    };
    assert_eq!((origin("https://one.example"), origin("https://two.example")), (204, 403));
    let go = || with_key(&gateway, MESSAGES, "sk-bf-dev", &ask("claude-a")).status;
    assert_eq!((go(), go()), (200, 429));
    let sent = |head: &str| {
        upstream.seen.try_iter().for_each(drop);
        gateway.ask(&request(MESSAGES, head, &ask("claude-a")));
        upstream.next().0
    };
    assert!(!sent("x-mine: 1\r\n").contains("x-mine"));
    assert!(sent("x-bf-eh-mine: 1\r\n").contains("\r\nmine: 1\r\n"));
    // A request that began before the reload ends as it began.
    let mut slow = gateway.connect();
    slow.send(request(MESSAGES, "x-bf-eh-x-slow: 1\r\n", &ask("claude-a")).as_bytes());
    upstream.next();
    let after = json!({"allowed_origins": ["https://two.example"],
        "header_filter_config": {"allowlist": ["x-mine"], "denylist": ["x-other"]}});
    rewrite(&gateway, &upstream, &with(&after, 3));
    until("origins", &gateway, || origin("https://two.example") == 204);
    assert_eq!(origin("https://one.example"), 403);
    assert_eq!((go(), go(), go()), (200, 200, 429), "one was used before");
    assert!(sent("x-mine: 1\r\n").contains("\r\nx-mine: 1\r\n"));
    assert!(!sent("x-bf-eh-mine: 1\r\n").contains("mine: 1"), "the list is exact");
    assert_eq!(slow.response().status, 200);
    // A bad file changes nothing and says why.
    std::fs::write(gateway.folder.join("config.json"), "{\"client\": {\"alowed\": 1}}").unwrap();
    until("refused", &gateway, || gateway.log().contains("client.alowed: unknown field"));
    assert_eq!((origin("https://two.example"), go()), (204, 429));
}

#[test]
fn ten_thousand_keys_reload_at_once() {
    let upstream = Upstream::plain();
    let many = |label: &str| {
        let keys: Vec<Value> = (0..10_000)
            .map(|at| key(&format!("k{at}"), &json!({"value": format!("sk-bf-{label}-{at}")})))
            .collect();
        config(&json!({}), &json!({"virtual_keys": keys}))
    };
    let gateway = start(&upstream, &many("a"));
    let good = |label: &str| {
        let value = format!("sk-bf-{label}-9999");
        with_key(&gateway, MESSAGES, &value, &ask("claude-a")).status == 200
    };
    assert!(good("a") && !good("b"));
    let text = many("b").to_string().replace("@UPSTREAM@", &upstream.at.to_string());
    std::fs::write(gateway.folder.join("config.json"), text).unwrap();
    let begun = Instant::now();
    until("the new keys", &gateway, || good("b"));
    println!("live after {} ms", begun.elapsed().as_millis());
    assert!(!good("a"));
}
