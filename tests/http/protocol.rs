//! The rules of a connection: keep-alive, pipelining, Expect, HEAD, OPTIONS, forms of the target.

use crate::support::client::post;
use crate::support::gateway::Start;
use crate::support::{Response, Upstream};
use crate::{ASK, ASK_STREAM, CHAT, MESSAGES, assert_error_of};
use std::time::Duration;

#[test]
fn a_connection_serves_many_requests() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    let mut client = gateway.connect();
    for turn in 0..50 {
        client.send(post(if turn % 2 == 0 { MESSAGES } else { CHAT }, ASK).as_bytes());
        assert_eq!(client.response().status, 200);
    }
    // an error of the gateway's own does not end a connection whose framing is sound
    client.send(post(CHAT, "{nonsense").as_bytes());
    assert_eq!(client.response().status, 400);
    client.send(post(CHAT, ASK).as_bytes());
    assert_eq!(client.response().status, 200);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start(|call| {
        // the earlier the request, the longer its answer takes
        let number = call.body.iter().find_map(|byte| (*byte as char).to_digit(10)).unwrap_or(0);
        std::thread::sleep(Duration::from_millis(u64::from(9 - number) * 20));
        call.json(&format!(r#"{{"number":{number}}}"#));
        true
    });
    let gateway = Start::at(upstream.at).run();
    let mut client = gateway.connect();
    let requests = (0..5).map(|n| post(CHAT, &format!(r#"{{"model":"m","n":{n}}}"#)));
    client.send(requests.collect::<String>().as_bytes());
    for number in 0..5 {
        assert_eq!(client.response().json()["number"], number);
    }
}

#[test]
fn requests_may_arrive_byte_by_byte() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    let mut client = gateway.connect();
    for byte in post(CHAT, ASK).bytes() {
        client.send(&[byte]);
    }
    assert_eq!(client.response().status, 200);
    assert_eq!(upstream.next().1, ASK.as_bytes());
}

#[test]
fn connection_close_and_http_1_0_end_the_connection() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    let length = ASK.len();
    let cases = [
        format!(
            "POST {CHAT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{ASK}"
        ),
        format!("POST {CHAT} HTTP/1.0\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{ASK}"),
    ];
    for request in cases {
        let mut client = gateway.connect();
        client.send(request.as_bytes());
        let response = client.response();
        assert_eq!(response.status, 200);
        assert_eq!(response.header("transfer-encoding"), None, "HTTP/1.0 knows no chunks");
        assert!(client.closes_within(Duration::from_secs(4)));
    }
}

#[test]
fn a_stream_to_http_1_0_is_ended_by_closing() {
    let upstream = Upstream::start(|call| {
        call.start_stream();
        call.chunk("data: {\"a\":1}\n\n");
        call.chunk("data: [DONE]\n\n");
        call.end_stream();
        true
    });
    let gateway = Start::at(upstream.at).run();
    let length = ASK_STREAM.len();
    let response = gateway.ask(&format!(
        "POST {CHAT} HTTP/1.0\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{ASK_STREAM}"
    ));
    assert_eq!(response.header("transfer-encoding"), None);
    assert_eq!(response.text(), "data: {\"a\":1}\n\ndata: [DONE]\n\n");
}

#[test]
fn expect_100_continue_is_answered() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    let mut client = gateway.connect();
    client.send(
        format!(
            "POST {CHAT} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            ASK.len()
        )
        .as_bytes(),
    );
    assert_eq!(client.head().status, 100);
    client.send(ASK.as_bytes());
    assert_eq!(client.response().status, 200);
}

#[test]
fn expect_is_not_honoured_for_a_body_that_is_too_large() {
    let limits = Start { client: r#""max_request_body_size_mb":1"#.into(), ..Start::default() };
    let gateway = limits.run();
    let response = gateway.ask(&format!(
        "POST {CHAT} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n"
    ));
    assert_eq!(response.status, 413);
}

#[test]
fn head_has_no_body() {
    let gateway = Start::default().run();
    let mut client = gateway.connect();
    for path in ["/anthropic", "/health", "/livez"] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert_eq!(client.head().status, 200, "HEAD {path}");
    }
    client.send(b"HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.head().status, 404);
    // no byte of a body came between
    client.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

fn preflight(gateway: &crate::support::Gateway, origin: &str) -> Response {
    gateway.ask(&format!(
        "OPTIONS {CHAT} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n\
         Access-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: authorization,content-type,x-api-key\r\n\r\n"
    ))
}

#[test]
fn browsers_of_allowed_origins_may_call() {
    let upstream = Upstream::plain();
    let start = Start {
        client: r#""allowed_origins":["https://app.example.org"]"#.into(),
        ..Start::at(upstream.at)
    };
    let gateway = start.run();
    for origin in ["https://app.example.org", "http://localhost:3000"] {
        let response = preflight(&gateway, origin);
        assert!(matches!(response.status, 200 | 204), "{}", response.status);
        assert_eq!(response.header("access-control-allow-origin"), Some(origin));
        let methods = response.header("access-control-allow-methods").unwrap_or_default();
        assert!(methods.contains("POST"), "{methods}");
        let headers = response.header("access-control-allow-headers").unwrap_or_default();
        for header in ["authorization", "content-type", "x-api-key"] {
            assert!(headers.to_ascii_lowercase().contains(header), "{header} not in {headers}");
        }
    }
    let refused = preflight(&gateway, "https://evil.example.org");
    assert_eq!(refused.header("access-control-allow-origin"), None);
    let mut client = gateway.connect();
    let length = ASK.len();
    client.send(
        format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example.org\r\nContent-Length: {length}\r\n\r\n{ASK}")
            .as_bytes(),
    );
    let response = client.response();
    assert_eq!(response.header("access-control-allow-origin"), Some("https://app.example.org"));
}

#[test]
fn percent_encoded_and_absolute_targets_reach_the_same_route() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    let targets = [
        "/openai/v1/chat/completions",
        "/openai/chat/completions",
        "/v1/chat/completions",
        "/openai/v1/chat%2Dcompletions/../chat/completions",
        "http://gateway.example/openai/v1/chat/completions",
        "http://gateway.example:8080/openai/v1/chat/completions?x=1",
    ];
    let body = ASK.replace(r#""m""#, r#""openai/m""#);
    for target in targets {
        let response = gateway.ask(&post(target, &body));
        if target.contains("..") {
            assert!(matches!(response.status, 400 | 404), "{target}: {}", response.status);
            continue;
        }
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        assert!(upstream.next().0.starts_with("POST /v1/chat/completions"), "{target}");
    }
}

#[test]
fn an_encoded_slash_is_part_of_a_name() {
    let upstream = Upstream::start(|call| {
        call.json(r#"{"object":"list","data":[{"id":"a/b","object":"model","created":1}]}"#);
        true
    });
    let gateway = Start::at(upstream.at).run();
    let ask = |name: &str| {
        gateway.ask(&format!("GET /openai/v1/models/{name} HTTP/1.1\r\nHost: x\r\n\r\n"))
    };
    for name in ["openai%2Fa%2Fb", "openai/a/b", "a%2Fb"] {
        let found = ask(name);
        assert_eq!((found.status, found.json()["object"].as_str()), (200, Some("model")), "{name}");
    }
    assert_eq!(ask("openai%2Fa%2Fc").status, 404);
}

#[test]
fn unknown_paths_are_404_in_the_dialect_of_their_prefix() {
    let gateway = Start::default().run();
    for path in ["/anthropic/v1/nothing", "/openai/v1/nothing", "/v2"] {
        let response = gateway.ask(&post(path, ASK));
        assert_eq!(response.status, 404, "{path}");
        assert_error_of(path, &response);
    }
}

#[test]
fn the_driver_can_be_chosen() {
    for driver in ["epoll", "io_uring", "auto"] {
        let upstream = Upstream::plain();
        let start =
            Start { arguments: vec!["--driver".into(), driver.into()], ..Start::at(upstream.at) };
        let gateway = start.run();
        for _ in 0..3 {
            assert_eq!(gateway.ask(&post(CHAT, ASK)).status, 200, "{driver}");
        }
        let named = if driver == "auto" { "" } else { driver };
        assert!(gateway.log().contains(named), "the log does not say {driver}:\n{}", gateway.log());
    }
}

#[test]
fn reasoning_of_another_vendor_is_taken_out_of_the_bytes_and_told() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    let body = r#"{"model":"claude-sonnet-4-5","messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":""}, {"type":"text","text":"a"}]}],"max_tokens":5}"#;
    let response = gateway.ask(&post(MESSAGES, body));
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("x-bf-dropped"), Some("messages[0].content[0]"));
    let (_, sent) = upstream.next();
    let expected = r#"{"model":"claude-sonnet-4-5","messages":[{"role":"assistant","content":[{"type":"text","text":"a"}]}],"max_tokens":5}"#;
    assert_eq!(String::from_utf8(sent).unwrap(), expected);

    let strict = post(MESSAGES, body).replacen("\r\n", "\r\nx-bf-strict: true\r\n", 1);
    let response = gateway.ask(&strict);
    assert_eq!(response.status, 400);
    assert!(response.message().contains("messages[0].content[0]"), "{}", response.message());
    assert!(upstream.has_none());
}
