//! Frames that only make work: each flood ends with GOAWAY, and costs the gateway nothing.

use crate::raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, PING, PREFACE,
    PRIORITY, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, frame, request,
};
use crate::support::gateway::Start;
use crate::support::{Gateway, Upstream};
use crate::{ASK_STREAM, CHAT};
use std::time::{Duration, Instant};

/// Sends `frames` until the gateway has enough; how many were sent before it did.
fn flood(
    gateway: &Gateway,
    what: &str,
    begin: &[u8],
    mut frames: impl FnMut(u32) -> Vec<u8>,
) -> u32 {
    let mut raw = Raw::open(gateway.port);
    raw.send(begin);
    let reader = raw.0.try_clone().unwrap();
    let goaway = std::thread::spawn(move || {
        let mut raw = Raw(reader);
        raw.find(GOAWAY).map(|frame| frame.code())
    });
    let begun = Instant::now();
    let mut sent = 0;
    while raw.send(&frames(sent)) && !goaway.is_finished() {
        sent += 1;
        if sent % 500 == 0 {
            // the reader's turn
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: {sent} and no end");
    }
    let code = goaway.join().unwrap();
    assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{what}, after {sent}");
    sent
}

#[test]
fn every_flood_ends_the_connection() {
    let upstream = Upstream::start(|call| {
        call.start_stream();
        let _ = call.wait_closed(Duration::from_mins(1));
        false
    });
    let gateway = Start::at(upstream.at).run();
    let get = request("GET", "/health", &[]);
    let post = frame(HEADERS, END_HEADERS, 1, &request("POST", CHAT, &[]));
    let open = frame(HEADERS, END_STREAM, 1, &get);
    let before = gateway.rss();
    let same = |bytes: Vec<u8>| move |_: u32| bytes.clone();
    flood(&gateway, "pings", b"", same(frame(PING, 0, 0, &[0; 8])));
    flood(&gateway, "answers to no ping", b"", same(frame(PING, 1, 0, &[0; 8])));
    flood(&gateway, "settings", b"", same(frame(SETTINGS, 0, 0, b"")));
    flood(&gateway, "priorities", b"", same(frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])));
    flood(&gateway, "unknown frames", b"", same(frame(0x55, 0, 0, b"x")));
    flood(&gateway, "empty data", &post, same(frame(DATA, 0, 1, b"")));
    flood(&gateway, "empty continuations", &open, same(frame(CONTINUATION, 0, 1, b"")));
    flood(&gateway, "window updates", &post, same(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])));
    let malformed = request("GET", "/health", &[("connection", "close")]);
    flood(&gateway, "malformed requests", b"", |nth| {
        frame(HEADERS, END_STREAM | END_HEADERS, 2 * nth + 1, &malformed)
    });
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < 16 << 20, "the floods took {grown} bytes");
    assert_eq!(gateway.ask("GET /health HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
}

/// The client's first words may already be more than it may say.
#[test]
fn a_flood_in_one_breath_with_the_preface_is_answered() {
    let gateway = Start::default().run();
    for _ in 0..5 {
        let mut raw = Raw::connect(gateway.port);
        let mut breath = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
        let open = frame(HEADERS, END_STREAM, 1, &request("GET", "/health", &[]));
        breath.extend_from_slice(&open);
        breath.extend(std::iter::repeat_n(frame(CONTINUATION, 0, 1, b""), 1000).flatten());
        raw.send(&breath);
        let begun = Instant::now();
        assert_eq!(raw.find(GOAWAY).map(|frame| frame.code()), Some(ENHANCE_YOUR_CALM));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}

/// CVE-2023-44487: each request is cancelled as soon as it is sent, so that none ever counts.
#[test]
fn rapid_reset_ends_the_connection_and_its_upstream_calls() {
    let upstream = Upstream::start(|call| {
        call.start_stream();
        let _ = call.wait_closed(Duration::from_mins(1));
        false
    });
    let gateway = Start::at(upstream.at).run();
    let head = request("POST", CHAT, &[]);
    // what the start itself opens, is open by now
    assert_eq!(gateway.ask("GET /health HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    std::thread::sleep(Duration::from_millis(300));
    let before = gateway.open_files();
    let sent = flood(&gateway, "rapid reset", b"", |nth| {
        let stream = 2 * nth + 1;
        [
            frame(HEADERS, END_HEADERS, stream, &head),
            frame(DATA, END_STREAM, stream, ASK_STREAM.as_bytes()),
            frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat()
    });
    assert!(upstream.seen.try_iter().count() <= 300, "{sent} resets reached the upstream");
    let until = Instant::now() + Duration::from_secs(5);
    while gateway.open_files() > before {
        let left = gateway.open_files();
        assert!(Instant::now() < until, "{before} open files became {left}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn too_many_streams_are_refused_one_by_one() {
    let upstream = Upstream::start(|call| {
        let _ = call.wait_closed(Duration::from_mins(1));
        false
    });
    let gateway = Start::at(upstream.at).run();
    let mut raw = Raw::open(gateway.port);
    let head = request("POST", CHAT, &[]);
    // a client that has not acknowledged the settings may not know the limit; this one has
    raw.find(SETTINGS).unwrap();
    raw.send(&frame(SETTINGS, 1, 0, b""));
    for nth in 0..101 {
        raw.send(&frame(HEADERS, END_HEADERS, 2 * nth + 1, &head));
    }
    let refused = raw.find(RST_STREAM).unwrap();
    assert_eq!((refused.stream, refused.code()), (201, 7), "REFUSED_STREAM for the last one");
}

/// A client that asks for its answer byte by byte gets it, but cannot go on doing so for free.
#[test]
fn an_ordinary_amount_of_acknowledging_is_no_flood() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    let mut raw = Raw::open(gateway.port);
    for _ in 0..20 {
        for _ in 0..10 {
            raw.send(&frame(PING, 0, 0, &[0; 8]));
            raw.send(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
            assert_eq!(raw.find(PING).map(|frame| frame.flags), Some(1));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &request("GET", "/health", &[])));
    assert!(raw.find(HEADERS).is_some());
}
