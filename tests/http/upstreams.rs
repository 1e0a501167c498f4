//! What providers and networks do wrong, and what the client is told of it.

use crate::support::Upstream;
use crate::support::client::post;
use crate::support::gateway::{Start, free_port};
use crate::support::upstream::{COMPLETION, delta};
use crate::{ASK, ASK_STREAM, CHAT, MESSAGES, assert_error_of};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

const PATHS: [&str; 2] = [MESSAGES, CHAT];

#[test]
fn a_refused_connection_is_502_at_once() {
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let gateway = Start::at(nobody).run();
    for path in PATHS {
        for body in [ASK, ASK_STREAM] {
            let begun = Instant::now();
            let response = gateway.ask(&post(path, body));
            assert_eq!(response.status, 502);
            assert_error_of(path, &response);
            assert!(begun.elapsed() < Duration::from_secs(1));
        }
    }
}

#[test]
fn a_name_that_does_not_resolve_is_502() {
    let start = Start { upstream: Some("no-such-host.invalid:80".into()), ..Start::default() };
    let gateway = start.run();
    for path in PATHS {
        let response = gateway.ask(&post(path, ASK));
        assert_eq!(response.status, 502);
        assert_error_of(path, &response);
        assert!(response.message().contains("no-such-host.invalid"), "{}", response.message());
    }
}

#[test]
fn a_silent_upstream_is_504() {
    let upstream = Upstream::start(|call| {
        call.wait_closed(Duration::from_secs(20));
        false
    });
    let start = Start {
        network: r#""default_request_timeout_in_seconds":1"#.into(),
        ..Start::at(upstream.at)
    };
    let gateway = start.run();
    for path in PATHS {
        for body in [ASK, ASK_STREAM] {
            let begun = Instant::now();
            let response = gateway.ask(&post(path, body));
            assert_eq!(response.status, 504);
            assert_error_of(path, &response);
            let waited = begun.elapsed().as_secs_f32();
            assert!((0.9..2.5).contains(&waited), "after {waited} s");
        }
    }
}

#[test]
fn an_upstream_that_falls_silent_ends_the_stream_as_an_error() {
    let upstream = Upstream::start(|call| {
        call.start_stream();
        call.chunk(&delta("first"));
        call.wait_closed(Duration::from_secs(20));
        false
    });
    let start =
        Start { network: r#""stream_idle_timeout_in_seconds":5"#.into(), ..Start::at(upstream.at) };
    let gateway = start.run();
    let begun = Instant::now();
    let mut client = gateway.connect();
    client.send(post(CHAT, ASK_STREAM).as_bytes());
    let head = client.head();
    assert_eq!(head.status, 200);
    let mut text = String::new();
    while let Some(chunk) = client.chunk() {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    let waited = begun.elapsed().as_secs_f32();
    assert!((4.5..8.0).contains(&waited), "after {waited} s");
    assert!(text.contains("first"));
    assert!(text.contains(r#""error":{"#), "no error in {text}");
    assert!(!text.contains("[DONE]"), "a clean end in {text}");
}

#[test]
fn a_stale_pooled_connection_is_tried_anew_unseen() {
    // every connection serves two requests, then is closed without an answer to the third
    let upstream = Upstream::start(|call| {
        if call.turn == 2 {
            return false;
        }
        call.json(COMPLETION);
        true
    });
    let gateway = Start::at(upstream.at).run();
    let mut client = gateway.connect();
    for turn in 0..12 {
        client.send(post(CHAT, ASK).as_bytes());
        let response = client.response();
        assert_eq!(response.status, 200, "request {turn}: {}", response.text());
    }
}

#[test]
fn a_fresh_connection_that_dies_is_502_and_tried_once() {
    let upstream = Upstream::start(|_| false);
    let gateway = Start::at(upstream.at).run();
    let response = gateway.ask(&post(CHAT, ASK));
    assert_eq!(response.status, 502);
    assert_error_of(CHAT, &response);
    upstream.next();
    assert!(upstream.has_none(), "a request that may have been served was sent again");
}

#[test]
fn an_upstream_that_speaks_no_http_is_502() {
    for nonsense in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello",
        "HTTP/1.1 banana\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    ] {
        let upstream = Upstream::start(move |call| {
            call.send(nonsense);
            false
        });
        let gateway = Start::at(upstream.at).run();
        let response = gateway.ask(&post(CHAT, ASK));
        assert_eq!(response.status, 502, "{nonsense:?}: {}", response.text());
        assert_error_of(CHAT, &response);
    }
}

#[test]
fn an_endless_response_head_is_502() {
    let upstream = Upstream::start(|call| {
        call.send("HTTP/1.1 200 OK\r\n");
        let line = format!("x-endless: {}\r\n", "a".repeat(4000));
        while call.send(&line) {}
        false
    });
    let gateway = Start::at(upstream.at).run();
    let before = gateway.rss();
    assert_eq!(gateway.ask(&post(CHAT, ASK)).status, 502);
    assert!(gateway.rss().saturating_sub(before) < 8 << 20);
}

#[test]
fn interim_responses_of_the_upstream_are_skipped() {
    let upstream = Upstream::start(|call| {
        call.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
        call.json(COMPLETION);
        true
    });
    let gateway = Start::at(upstream.at).run();
    let response = gateway.ask(&post(CHAT, ASK));
    assert_eq!(response.status, 200);
    assert_eq!(response.text(), COMPLETION);
}

#[test]
fn every_framing_of_a_body_is_passed_on() {
    let framings: [(&str, String); 4] = [
        ("length", format!("content-length: {}\r\n\r\n{COMPLETION}", COMPLETION.len())),
        ("close", format!("connection: close\r\n\r\n{COMPLETION}")),
        (
            "chunks",
            format!(
                "transfer-encoding: chunked\r\n\r\n1\r\n{{\r\n{:x};e=1\r\n{}\r\n0\r\ntrailer: x\r\n\r\n",
                COMPLETION.len() - 1,
                COMPLETION.strip_prefix('{').unwrap()
            ),
        ),
        ("HTTP/1.0", format!("\r\n{COMPLETION}")),
    ];
    for (what, rest) in framings {
        let version = if what == "HTTP/1.0" { "1.0" } else { "1.1" };
        let answer = format!("HTTP/{version} 200 OK\r\ncontent-type: application/json\r\n{rest}");
        let keep = matches!(what, "length" | "chunks");
        let upstream = Upstream::start(move |call| {
            call.send(&answer);
            keep
        });
        let gateway = Start::at(upstream.at).run();
        for _ in 0..2 {
            let response = gateway.ask(&post(CHAT, ASK));
            assert_eq!((response.status, response.text().as_str()), (200, COMPLETION), "{what}");
        }
    }
}

#[test]
fn a_body_cut_short_never_looks_whole() {
    let upstream = Upstream::start(|call| {
        call.send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{\"id\":");
        false
    });
    let gateway = Start::at(upstream.at).run();
    let mut client = gateway.connect();
    client.send(post(CHAT, ASK).as_bytes());
    let head = client.head();
    if head.status == 502 {
        return;
    }
    // passed on as it came: then fewer bytes than promised, and a closed connection
    assert_eq!(head.header("content-length"), Some("5000"));
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut client.socket, &mut rest);
    assert!(rest.len() < 5000);
}
