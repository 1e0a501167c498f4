//! What providers keep: stored responses, files, batches. Each call goes to whom it belongs.

use crate::start;
use crate::support::Upstream;
use crate::support::client::post;
use serde_json::json;

const ANSWER: &str = r#"{"id":"x","object":"thing"}"#;

fn answering() -> Upstream {
    Upstream::start(|call| {
        call.json(ANSWER);
        true
    })
}

fn request(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: gw\r\n{headers}Content-Length: 0\r\n\r\n")
}

#[test]
fn each_call_goes_to_the_provider_that_keeps_the_thing() {
    let upstream = answering();
    let gateway = start(&upstream, "");
    let azure = "x-model-provider: azure\r\n";
    let cases = [
        ("GET", "/openai/v1/responses/resp_1?include=a", "", "/v1/responses/resp_1?include=a"),
        ("DELETE", "/openai/responses/resp_1", "", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel", "", "/v1/responses/resp_1/cancel"),
        (
            "GET",
            "/openai/v1/responses/resp_1/input_items?limit=2&after=m",
            "",
            "/v1/responses/resp_1/input_items?limit=2&after=m",
        ),
        ("GET", "/openai/v1/responses/r", azure, "/az/openai/v1/responses/r"),
        ("GET", "/openai/v1/files?purpose=batch&provider=mistral", "", "/v1/files?purpose=batch"),
        (
            "GET",
            "/openai/v1/files/f/content",
            azure,
            "/az/openai/files/f/content?api-version=2024-10-21",
        ),
        ("DELETE", "/openai/files/file-1", "", "/v1/files/file-1"),
        ("POST", "/openai/v1/batches/b/cancel", "", "/v1/batches/b/cancel"),
        ("GET", "/openai/v1/batches?limit=1", "", "/v1/batches?limit=1"),
        ("GET", "/anthropic/v1/messages/batches?limit=1", "", "/v1/messages/batches?limit=1"),
        ("DELETE", "/anthropic/v1/messages/batches/b", "", "/v1/messages/batches/b"),
        ("GET", "/anthropic/v1/files/f/content", "", "/v1/files/f/content"),
    ];
    for (method, path, headers, wanted) in cases {
        let answer = gateway.ask(&request(method, path, headers));
        assert_eq!((answer.status, &*answer.text()), (200, ANSWER), "{method} {path}");
        let line = format!("{method} {wanted} HTTP/1.1");
        assert_eq!(upstream.next().0.lines().next().unwrap(), line, "{method} {path}");
    }
}

#[test]
fn a_batch_may_name_its_keeper_in_its_body() {
    let upstream = answering();
    let gateway = start(&upstream, "");
    let body = r#"{"input_file_id":"f","provider":"azure","endpoint":"/v1/x"}"#;
    assert_eq!(gateway.ask(&post("/openai/v1/batches", body)).status, 200);
    let (head, sent) = upstream.next();
    assert!(head.starts_with("POST /az/openai/batches?api-version="), "{head}");
    assert_eq!(sent, br#"{"input_file_id":"f","endpoint":"/v1/x"}"#);
}

#[test]
fn a_stored_response_is_streamed_again() {
    const EVENTS: &str = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n\
        event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":[]}}\n\n";
    let upstream = Upstream::start(|call| {
        call.start_stream();
        call.chunk(EVENTS);
        call.end_stream();
        true
    });
    let gateway = start(&upstream, "");
    let path = "/openai/v1/responses/r?stream=true&starting_after=4";
    let answer = gateway.ask(&request("GET", path, ""));
    assert_eq!(answer.text(), EVENTS);
    let wanted = "GET /v1/responses/r?stream=true&starting_after=4 HTTP/1.1";
    assert_eq!(upstream.next().0.lines().next().unwrap(), wanted);
}

#[test]
fn results_are_fetched_through_the_gateway() {
    let upstream = Upstream::start(|call| {
        let url = "https://api.anthropic.com/v1/messages/batches/b/results";
        call.json(&json!({"id":"b","results_url":url,"type":"message_batch"}).to_string());
        true
    });
    let gateway = start(&upstream, "");
    let answer = gateway.ask(&request("GET", "/anthropic/v1/messages/batches/b", ""));
    let wanted = json!({"id":"b","results_url":"http://gw/anthropic/v1/messages/batches/b/results",
        "type":"message_batch"});
    assert_eq!(answer.json(), wanted);
}

#[test]
fn errors_speak_the_mounts_dialect() {
    let upstream = Upstream::start(|call| {
        call.whole(404, r#"{"message":"no such file"}"#);
        true
    });
    let gateway = start(&upstream, "");
    let openai = gateway.ask(&request("GET", "/openai/v1/files/f", ""));
    assert_eq!(openai.status, 404);
    assert_eq!(openai.json()["error"]["message"], "no such file");
    let anthropic = gateway.ask(&request("GET", "/anthropic/v1/files/f", ""));
    assert_eq!(anthropic.json()["type"], "error");
    assert_eq!(anthropic.json()["error"]["message"], "no such file");
    let unknown = gateway.ask(&request("GET", "/openai/v1/files/f?provider=nobody", ""));
    assert_eq!(unknown.status, 400);
    assert!(unknown.message().contains("nobody"));
    let lacking = gateway.ask(&request("GET", "/openai/v1/files/f?provider=anthropic", ""));
    assert_eq!(lacking.status, 400, "{}", lacking.text());
    let wrong = gateway.ask(&request("PUT", "/openai/v1/files/f", ""));
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET, DELETE")));
}

#[test]
fn keys_set_apart_for_batches_are_used_for_them() {
    let upstream = answering();
    let config = format!(
        r#"{{"version":2,"providers":{{"openai":{{"keys":[
        {{"name":"a","value":"sk-a","models":["gpt-4o"],"weight":1}},
        {{"name":"b","value":"sk-b","models":["*"],"weight":0.01,"use_for_batch_api":true}}],
        "network_config":{{"base_url":"http://{}"}}}}}}}}"#,
        upstream.at
    );
    let start = crate::support::gateway::Start { config: Some(config), ..Default::default() };
    let gateway = start.run();
    for _ in 0..10 {
        gateway.ask(&request("GET", "/openai/v1/batches", ""));
        assert!(upstream.next().0.contains("Bearer sk-b"));
    }
    let mut used = std::collections::BTreeSet::new();
    for _ in 0..10 {
        gateway.ask(&request("GET", "/openai/v1/files", ""));
        let head = upstream.next().0;
        used.insert(head.lines().find(|line| line.contains("Bearer")).unwrap().to_owned());
    }
    assert_eq!(used.len(), 1, "files of one key can't be seen by another: {used:?}");
}
