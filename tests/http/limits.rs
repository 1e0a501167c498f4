//! Every limit of design.md §7 that faces the network, at its edge and beyond it.

use crate::support::client::post;
use crate::support::gateway::Start;
use crate::support::{Client, Upstream};
use crate::{ASK, CHAT, MESSAGES, assert_error_of};
use std::time::{Duration, Instant};

const PATHS: [&str; 2] = [MESSAGES, CHAT];

fn with_header(path: &str, header: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\n{header}Content-Length: {}\r\n\r\n{ASK}", ASK.len())
}

#[test]
fn header_block_over_64_kib_is_431() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    for path in PATHS {
        let fits = with_header(path, &format!("X-Long: {}\r\n", "a".repeat(60_000)));
        assert_eq!(gateway.ask(&fits).status, 200);
        let mut client = gateway.connect();
        let over = with_header(path, &format!("X-Long: {}\r\n", "a".repeat(70_000)));
        client.send_until_refused(over.as_bytes());
        let response = client.response();
        assert_eq!(response.status, 431);
        assert_error_of(path, &response);
    }
}

#[test]
fn too_many_headers_are_431() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    let headers = |count: usize| "X-Another: v\r\n".repeat(count);
    for path in PATHS {
        // with Host and Content-Length
        assert_eq!(gateway.ask(&with_header(path, &headers(126))).status, 200);
        let response = gateway.ask(&with_header(path, &headers(127)));
        assert_eq!(response.status, 431);
        assert_error_of(path, &response);
    }
}

#[test]
fn an_endless_header_block_is_cut_off() {
    let gateway = Start::default().run();
    let mut client = gateway.connect();
    client.send(format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\n").as_bytes());
    let line = format!("X-A: {}\r\n", "a".repeat(8000));
    assert_eq!(gateway.ask("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    let before = gateway.rss();
    let refused = (0..2000).any(|_| client.send_until_refused(line.as_bytes()));
    let grown = gateway.rss().saturating_sub(before);
    assert!(refused || client.response().status == 431);
    assert!(grown < 4 << 20, "an endless head cost {grown} bytes");
}

#[test]
fn a_long_target_is_414() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    let target = |length: usize| format!("{CHAT}?x={}", "a".repeat(length));
    assert_eq!(gateway.ask(&post(&target(4000), ASK)).status, 200);
    let response = gateway.ask(&post(&target(40_000), ASK));
    assert_eq!(response.status, 414);
    assert_error_of(CHAT, &response);
}

#[test]
fn a_body_over_the_limit_is_413_before_it_is_sent() {
    let upstream = Upstream::plain();
    let limits =
        Start { client: r#""max_request_body_size_mb":1"#.into(), ..Start::at(upstream.at) };
    let gateway = limits.run();
    for path in PATHS {
        let mut client = gateway.connect();
        // only the head: the length alone decides
        client.send(
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n")
                .as_bytes(),
        );
        let response = client.response();
        assert_eq!(response.status, 413);
        assert_error_of(path, &response);
        assert!(response.message().contains("max_request_body_size_mb"), "{}", response.message());
    }
    let filler = "a".repeat((1 << 20) - ASK.len());
    let fits = ASK.replace("hi", &format!("hi{filler}"));
    assert_eq!(fits.len(), 1 << 20);
    assert_eq!(gateway.ask(&post(CHAT, &fits)).status, 200);
    assert!(upstream.next().1 == fits.as_bytes());
}

#[test]
fn a_chunked_body_over_the_limit_is_413() {
    let limits = Start { client: r#""max_request_body_size_mb":1"#.into(), ..Start::default() };
    let gateway = limits.run();
    let mut client = gateway.connect();
    client.send(
        format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes(),
    );
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    for _ in 0..40 {
        if client.send_until_refused(chunk.as_bytes()) {
            break;
        }
    }
    let response = client.response();
    assert_eq!(response.status, 413);
    assert_error_of(CHAT, &response);
}

#[test]
fn a_body_without_length_is_411() {
    let gateway = Start::default().run();
    for path in PATHS {
        let response = gateway.ask(&format!("POST {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(response.status, 411);
        assert_error_of(path, &response);
    }
}

#[test]
fn a_known_path_with_a_wrong_method_is_405() {
    let gateway = Start::default().run();
    for path in PATHS {
        let response = gateway.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(response.status, 405);
        assert_error_of(path, &response);
        assert!(response.header("allow").unwrap_or_default().contains("POST"));
    }
}

#[test]
fn an_unknown_method_or_coding_is_501() {
    let gateway = Start::default().run();
    for path in PATHS {
        for request in [
            format!("BREW {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n"),
        ] {
            let response = gateway.ask(&request);
            assert_eq!(response.status, 501, "{request:?}");
            assert_error_of(path, &response);
        }
    }
}

/// Sends the starts of requests, then a byte now and then; each must be told 408 after 10 s.
fn assert_timed_out(starts: &[String], trickle: &[u8]) {
    let gateway = Start::default().run();
    let mut slow: Vec<(Client, &str)> = Vec::new();
    for start in starts {
        let mut client = gateway.connect();
        client.send(start.as_bytes());
        slow.push((client, start.split(' ').nth(1).unwrap()));
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) && !trickle.is_empty() {
        std::thread::sleep(Duration::from_millis(500));
        for (client, _) in &mut slow {
            assert!(!client.send_until_refused(trickle), "closed too early");
        }
    }
    for (client, path) in &mut slow {
        client.socket.set_read_timeout(Some(Duration::from_secs(14))).unwrap();
        let response = client.response();
        assert_eq!(response.status, 408);
        assert_error_of(path, &response);
    }
    let waited = begun.elapsed().as_secs_f32();
    assert!((9.0..13.0).contains(&waited), "after {waited} s");
}

#[test]
fn an_unfinished_head_is_408_after_10_s() {
    let starts = PATHS.map(|path| format!("POST {path} HTTP/1.1\r\nHost:"));
    assert_timed_out(&starts, b"x");
}

#[test]
fn a_body_that_stops_is_408_after_10_s() {
    let starts = PATHS.map(|path| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{{\"model\"")
    });
    assert_timed_out(&starts, b"");
}

#[test]
fn nesting_is_limited_before_it_is_parsed() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    let deep = |levels: usize| {
        format!(r#"{{"model":"m","messages":{}{}}}"#, "[".repeat(levels), "]".repeat(levels))
    };
    assert_eq!(gateway.ask(&post(CHAT, &deep(100))).status, 200);
    for levels in [129, 5_000, 1_000_000] {
        for path in PATHS {
            let response = gateway.ask(&post(path, &deep(levels)));
            assert_eq!(response.status, 400, "{levels} levels");
            assert_error_of(path, &response);
        }
    }
    assert_eq!(gateway.ask(&post(CHAT, ASK)).status, 200);
}
