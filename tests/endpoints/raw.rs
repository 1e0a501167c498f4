//! Paths of the providers' own: any method, any path, with the provider's credentials, governed.

use crate::start;
use crate::support::Upstream;

fn answering() -> Upstream {
    Upstream::start(|call| {
        let answer = "HTTP/1.1 202 Accepted\r\ncontent-type: text/x-own\r\nx-own: 1\r\ncontent-length: 3\r\n\r\nabc";
        call.send(answer)
    })
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: gw\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

#[test]
fn any_path_and_method_reach_their_provider_with_its_key() {
    let upstream = answering();
    let gateway = start(&upstream, "");
    let cases = [
        (
            "PATCH",
            "/openai_passthrough/v1/x/y%20z?a=1&a=2",
            "/v1/x/y%20z?a=1&a=2",
            "authorization: Bearer sk-openai",
        ),
        (
            "GET",
            "/anthropic_passthrough/v1/skills?beta=true",
            "/v1/skills?beta=true",
            "x-api-key: sk-anthropic",
        ),
        ("PUT", "/azure_passthrough/openai/v1/thing", "/az/openai/v1/thing", "api-key: sk-azure"),
        (
            "POST",
            "/azure_passthrough/openai/deployments/d/x",
            "/az/openai/deployments/d/x?api-version=2024-10-21",
            "api-key: sk-azure",
        ),
        (
            "POST",
            "/azure_passthrough/openai/deployments/d/x?api-version=2025-01-01",
            "/az/openai/deployments/d/x?api-version=2025-01-01",
            "api-key: sk-azure",
        ),
        (
            "DELETE",
            "/genai_passthrough/v1beta/cachedContents/c?key=mine&x=1",
            "/v1beta/cachedContents/c?x=1",
            "x-goog-api-key: sk-gemini",
        ),
    ];
    for (method, path, wanted, credential) in cases {
        let own =
            "Authorization: Bearer mine\r\nX-Own: 7\r\nx-bf-vk: no\r\nContent-Type: text/odd\r\n";
        let answer = gateway.ask(&request(method, path, own, "{body"));
        assert_eq!((answer.status, &*answer.text()), (202, "abc"), "{path}");
        assert_eq!(answer.header("content-type"), Some("text/x-own"));
        assert_eq!(answer.header("x-own"), Some("1"));
        let (head, sent) = upstream.next();
        assert_eq!(head.lines().next().unwrap(), format!("{method} {wanted} HTTP/1.1"));
        assert_eq!(sent, b"{body", "{path}");
        assert!(head.contains(&format!("\r\n{credential}")), "{path}: {head}");
        assert!(head.contains("\r\nx-own: 7") && head.contains("content-type: text/odd"), "{head}");
        assert!(!head.contains("mine") && !head.contains("x-bf-"), "{path}: {head}");
    }
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let upstream = answering();
    let gateway = start(&upstream, "");
    for path in ["/a/../b", "/a/%2e%2e/b", "//evil/x", "/a%5Cb", "/a//b"] {
        let answer = gateway.ask(&request("GET", &format!("/openai_passthrough{path}"), "", ""));
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
    }
    assert!(upstream.has_none());
}

#[test]
fn a_restricted_key_reaches_only_what_names_its_models() {
    let upstream = answering();
    let law = r#","governance":{"virtual_keys":[{"id":"v","name":"v","value":"sk-bf-v","is_active":true,
        "provider_configs":[{"provider":"openai","allowed_models":["small"],"weight":1,"key_ids":["*"]}]}]},
        "client":{"enforce_auth_on_inference":true}"#;
    let gateway = start(&upstream, law);
    let ask = |path: &str, body: &str| {
        let headers = "x-bf-vk: sk-bf-v\r\nContent-Type: application/json\r\n";
        gateway.ask(&request("POST", path, headers, body)).status
    };
    assert_eq!(ask("/openai_passthrough/v1/chat/completions", r#"{"model":"small"}"#), 202);
    assert_eq!(ask("/openai_passthrough/v1/chat/completions", r#"{"model":"large"}"#), 403);
    assert_eq!(ask("/openai_passthrough/v1/anything", "{}"), 403);
    assert_eq!(ask("/openai/v1/batches", "{}"), 403);
    let unknown = gateway.ask(&request("GET", "/openai_passthrough/v1/x", "", ""));
    assert_eq!(unknown.status, 401);
}

#[test]
fn what_is_no_json_passes_as_it_comes() {
    let upstream = answering();
    let gateway = start(&upstream, "");
    let body = "z".repeat(300_000);
    let headers = "Content-Type: application/octet-stream\r\nContent-Encoding: gzip\r\n";
    let answer = gateway.ask(&request("PUT", "/openai_passthrough/v1/blob", headers, &body));
    assert_eq!(answer.status, 202);
    let (head, sent) = upstream.next();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(sent == body.as_bytes());
}
