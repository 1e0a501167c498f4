//! Calls about a model, whose body is JSON: the path, the model without its prefix, the key, and
//! the answer's bytes.

use crate::start;
use crate::support::Upstream;
use crate::support::client::post;

const ANSWER: &str = r#"{"id":"x","results":[ 1 ],"usage":{"prompt_tokens":7,"total_tokens":7}}"#;

fn answering() -> Upstream {
    Upstream::start(|call| {
        call.json(ANSWER);
        true
    })
}

#[test]
fn each_endpoint_reaches_its_provider_as_it_was_asked() {
    let upstream = answering();
    let gateway = start(&upstream, "");
    let cases = [
        ("/openai/v1/embeddings", "m", "/v1/embeddings", "m"),
        ("/openai/embeddings", "openai/m", "/v1/embeddings", "m"),
        ("/v1/embeddings", "mistral/m", "/v1/embeddings", "m"),
        ("/openai/v1/completions", "openai/m", "/v1/completions", "m"),
        ("/openai/v1/moderations", "m", "/v1/moderations", "m"),
        ("/v1/rerank", "cohere/rerank-v3.5", "/v2/rerank", "rerank-v3.5"),
        (
            "/openai/images/generations",
            "openai/gpt-image-1",
            "/v1/images/generations",
            "gpt-image-1",
        ),
        ("/openai/v1/responses/compact", "openai/m", "/v1/responses/compact", "m"),
        ("/litellm/v1/embeddings", "m", "/v1/embeddings", "m"),
        ("/anthropic/v1/complete", "claude-2", "/v1/complete", "claude-2"),
    ];
    for (path, model, wanted, upstream_model) in cases {
        let body = format!(r#"{{"input":"a\u0041", "model":"{model}","x":[1.0 ]}}"#);
        let answer = gateway.ask(&post(path, &body));
        assert_eq!((answer.status, &*answer.text()), (200, ANSWER), "{path}");
        let (head, sent) = upstream.next();
        assert!(head.starts_with(&format!("POST {wanted} HTTP/1.1\r\n")), "{path}: {head}");
        let sent = String::from_utf8(sent).unwrap();
        assert_eq!(sent, body.replace(model, upstream_model), "{path}: other bytes were touched");
    }
}

#[test]
fn azures_paths_name_the_deployment_and_the_version_once() {
    let upstream = answering();
    let gateway = start(&upstream, "");
    let path = "/openai/openai/deployments/emb/embeddings?api-version=2099-01-01&x=1";
    assert_eq!(gateway.ask(&post(path, r#"{"input":"a"}"#)).status, 200);
    let (head, _) = upstream.next();
    let wanted = "POST /az/openai/deployments/emb/embeddings?api-version=2024-10-21&x=1 HTTP/1.1";
    assert_eq!(head.lines().next().unwrap(), wanted);
    assert!(head.contains("api-key: sk-azure"), "{head}");
}

#[test]
fn a_model_that_the_vendor_takes_by_default_may_be_left_out() {
    let upstream = answering();
    let gateway = start(&upstream, "");
    let body = r#"{"input":"is this bad?"}"#;
    assert_eq!(gateway.ask(&post("/openai/v1/moderations", body)).status, 200);
    assert_eq!(upstream.next().1, body.as_bytes());
    let refused = gateway.ask(&post("/openai/v1/embeddings", body));
    assert_eq!((refused.status, &*refused.message()), (400, "model: field required"));
}

#[test]
fn streamed_completions_pass_event_by_event() {
    const EVENTS: &str = "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":null}]}\n\n\
        data: {\"choices\":[{\"text\":\"b\",\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let upstream = Upstream::start(|call| {
        call.start_stream();
        call.chunk(EVENTS);
        call.end_stream();
        true
    });
    let gateway = start(&upstream, "");
    let body = r#"{"model":"m","prompt":"x","stream":true}"#;
    let answer = gateway.ask(&post("/openai/v1/completions", body));
    assert_eq!(answer.text(), EVENTS);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
}

#[test]
fn speech_is_bytes() {
    let upstream = Upstream::start(|call| {
        call.send(
            "HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n",
        );
        for _ in 0..3 {
            call.chunk("\u{1}\u{0}mp3");
        }
        call.end_stream();
        true
    });
    let gateway = start(&upstream, "");
    let body = r#"{"model":"openai/tts-1","input":"hi","voice":"alloy"}"#;
    let answer = gateway.ask(&post("/openai/v1/audio/speech", body));
    assert_eq!(answer.header("content-type"), Some("audio/mpeg"));
    assert_eq!(answer.body, b"\x01\x00mp3\x01\x00mp3\x01\x00mp3");
}

#[test]
fn an_operation_that_a_provider_lacks_is_refused_by_name() {
    let upstream = answering();
    let gateway = start(&upstream, "");
    let answer = gateway.ask(&post("/v1/audio/speech", r#"{"model":"anthropic/x","input":"a"}"#));
    assert_eq!(answer.status, 400);
    assert!(answer.message().contains("anthropic"), "{}", answer.message());
    assert!(upstream.has_none());
}

#[test]
fn what_is_beside_chats_is_governed_like_a_chat() {
    let upstream = answering();
    let law = r#","governance":{"virtual_keys":[{"id":"v","name":"v","value":"sk-bf-v","is_active":true,
        "provider_configs":[{"provider":"openai","allowed_models":["small"],"weight":1,
            "key_ids":["*"]}],"rate_limit_id":"r"}],
            "rate_limits":[{"id":"r","request_max_limit":2,"request_reset_duration":"1h"}]},
        "client":{"enforce_auth_on_inference":true}"#;
    let gateway = start(&upstream, law);
    let ask = |model: &str, key: &str| {
        let body = format!(r#"{{"model":"{model}","input":"a"}}"#);
        let request = post("/openai/v1/embeddings", &body);
        gateway.ask(&request.replacen("\r\n", &format!("\r\nAuthorization: Bearer {key}\r\n"), 1))
    };
    assert_eq!(ask("small", "nobody").status, 401);
    assert_eq!(ask("large", "sk-bf-v").status, 403);
    assert_eq!(ask("small", "sk-bf-v").status, 200);
    assert_eq!(ask("small", "sk-bf-v").status, 200);
    assert_eq!(ask("small", "sk-bf-v").status, 429);
}

#[test]
fn allowed_requests_name_every_operation() {
    let upstream = answering();
    let own = format!(
        r#"{{"version":2,"providers":{{"own":{{"network_config":{{"base_url":"http://{}"}},
        "custom_provider_config":{{"base_provider_type":"openai","is_key_less":true,
        "allowed_requests":{{"embedding":true,"moderation":false}},
        "request_path_overrides":{{"embedding":"/e/{{model}}"}}}}}}}}}}"#,
        upstream.at
    );
    let start = crate::support::gateway::Start { config: Some(own), ..Default::default() };
    let gateway = start.run();
    let body = r#"{"model":"own/m","input":"a"}"#;
    assert_eq!(gateway.ask(&post("/v1/embeddings", body)).status, 200);
    assert!(upstream.next().0.starts_with("POST /e/m HTTP/1.1"));
    for path in ["/v1/moderations", "/v1/rerank", "/v1/completions"] {
        let refused = gateway.ask(&post(path, body));
        assert_eq!(refused.status, 400, "{path}");
        assert!(refused.message().contains("allowed_requests"), "{}", refused.message());
    }
}
