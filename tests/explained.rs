//! What a caller can learn of a request's path: who served it, after which attempts.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and waits with a blocking sleep"
)]

#[path = "support/governance.rs"]
#[expect(dead_code, reason = "the tests of governance use the rest of it")]
mod governance;
#[path = "support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other tests use the rest of it")]
mod support;

use governance::{CHAT, MESSAGES, ask, config, oops, request, scripted, start};
use serde_json::{Value, json};

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
