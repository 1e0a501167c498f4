//! Requests that two servers could read differently are refused, and nothing behind them served.

use crate::support::gateway::Start;
use crate::support::{Gateway, Upstream};
use crate::{ASK, CHAT, MESSAGES, assert_error_of};
use std::time::Duration;

/// Sends `head` with a smuggled request behind it; one 400 and a closed connection must follow.
fn assert_refused(gateway: &Gateway, upstream: &Upstream, what: &str, request: &str) {
    let mut client = gateway.connect();
    client.send_until_refused(request.as_bytes());
    let response = client.response();
    assert_eq!(response.status, 400, "{what}: {}", response.text());
    assert_error_of(CHAT, &response);
    assert_eq!(response.header("connection"), Some("close"), "{what}");
    assert!(client.closes_within(Duration::from_secs(4)), "{what}: more was answered");
    assert!(upstream.has_none(), "{what}: a request went through");
}

#[test]
fn smuggling_shapes_get_400_and_a_closed_connection() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    let length = ASK.len();
    let hidden =
        format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{ASK}");
    let cases: &[(&str, String)] = &[
        (
            "length and chunks",
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        ),
        (
            "chunks and length",
            format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        ),
        ("two lengths", format!("Content-Length: {length}\r\nContent-Length: 5\r\n")),
        ("a list of two lengths", format!("Content-Length: {length}, 5\r\n")),
        ("negative length", "Content-Length: -1\r\n".into()),
        ("signed length", format!("Content-Length: +{length}\r\n")),
        ("hexadecimal length", "Content-Length: 0x10\r\n".into()),
        ("length beyond u64", "Content-Length: 99999999999999999999999\r\n".into()),
        ("empty length", "Content-Length:\r\n".into()),
        ("blank before the colon", format!("Content-Length : {length}\r\n")),
        ("folded header", format!("X-A: b\r\n c\r\nContent-Length: {length}\r\n")),
        ("folded framing", "Transfer-Encoding:\r\n chunked\r\n".into()),
        ("chunked twice", "Transfer-Encoding: chunked, chunked\r\n".into()),
        ("chunked not last", "Transfer-Encoding: chunked, identity\r\n".into()),
        ("vertical tab in the coding", "Transfer-Encoding: \x0bchunked\r\n".into()),
        ("no colon", format!("Content-Length {length}\r\n")),
        ("NUL in a value", format!("X-A: a\0b\r\nContent-Length: {length}\r\n")),
        ("bare LF", format!("X-A: b\nContent-Length: {length}\r\n")),
        ("bare CR", format!("X-A: b\rX-B: c\r\nContent-Length: {length}\r\n")),
        ("empty name", format!(": b\r\nContent-Length: {length}\r\n")),
        ("two hosts", format!("Host: other\r\nContent-Length: {length}\r\n")),
    ];
    for (what, headers) in cases {
        let request = format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\n{headers}\r\n{ASK}{hidden}");
        assert_refused(&gateway, &upstream, what, &request);
    }
}

#[test]
fn malformed_request_lines_are_refused() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    let lines = [
        "POST /openai/v1/chat/completions\r\n",
        "POST  /openai/v1/chat/completions HTTP/1.1\r\n",
        "POST /openai/v1/chat/completions HTTP/1.1 x\r\n",
        "POST /openai/v1/chat completions HTTP/1.1\r\n",
        "POST /openai/v1/chat/\x01completions HTTP/1.1\r\n",
        "POST openai/v1/chat/completions HTTP/1.1\r\n",
        "P@ST /openai/v1/chat/completions HTTP/1.1\r\n",
        "POST /openai/v1/chat/completions HTTP/7\r\n",
    ];
    for line in lines {
        let mut client = gateway.connect();
        client.send(format!("{line}Host: x\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes());
        let response = client.response();
        assert!(matches!(response.status, 400 | 505), "{line:?}: {}", response.status);
        assert!(client.closes_within(Duration::from_secs(4)), "{line:?} left the connection open");
    }
    assert!(upstream.has_none());
}

#[test]
fn chunked_bodies_are_read_whole() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    for path in [MESSAGES, CHAT] {
        let mut client = gateway.connect();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(head.as_bytes());
        for part in ASK.as_bytes().chunks(7) {
            client.send(format!("{:X};ext=\"v\"\r\n", part.len()).as_bytes());
            client.send(part);
            client.send(b"\r\n");
        }
        client.send(b"0\r\nX-Trailer: ignored\r\n\r\n");
        assert_eq!(client.response().status, 200);
        let (head, body) = upstream.next();
        assert_eq!(body, ASK.as_bytes());
        assert!(!head.to_ascii_lowercase().contains("x-trailer"));
        // the connection goes on behind the trailers
        client.send(crate::support::client::post(path, ASK).as_bytes());
        assert_eq!(client.response().status, 200);
        upstream.next();
    }
}

#[test]
fn malformed_chunks_are_refused() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    let bodies = [
        "g\r\n{}\r\n0\r\n\r\n",
        "-1\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "2\r\n{}x\r\n0\r\n\r\n",
        "2 \r\n{}\r\n0\r\n\r\nx",
        "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "\r\n{}\r\n0\r\n\r\n",
    ];
    for body in bodies {
        let mut client = gateway.connect();
        let head = format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send_until_refused(format!("{head}{body}").as_bytes());
        let response = client.response();
        assert!(matches!(response.status, 400 | 413), "{body:?}: {}", response.status);
        assert!(client.closes_within(Duration::from_secs(4)), "{body:?} left the connection open");
    }
    assert!(upstream.has_none());
}

#[test]
fn endless_chunk_extensions_are_refused() {
    let gateway = Start::default().run();
    let mut client = gateway.connect();
    let head = format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;");
    client.send(head.as_bytes());
    let endless = vec![b'a'; 64 * 1024];
    let refused = (0..64).any(|_| client.send_until_refused(&endless));
    if !refused {
        assert!(matches!(client.response().status, 400 | 413 | 431));
    }
}
