//! What may and what must not be a request: RFC 9113 §8.

use crate::raw::{
    DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PREFACE, PROTOCOL_ERROR, RST_STREAM,
    Raw, SETTINGS, fields, frame, request,
};
use crate::support::gateway::Start;
use crate::support::{Gateway, Upstream};
use crate::{ASK, CHAT};
use std::net::TcpStream;
use std::time::Duration;

const WHOLE: u8 = END_HEADERS | END_STREAM;

/// What becomes of a request that is `block`.
fn verdict(gateway: &Gateway, block: &[u8]) -> Frame {
    let mut raw = Raw::open(gateway.port);
    raw.send(&frame(HEADERS, WHOLE, 1, block));
    raw.verdict().expect("no answer at all")
}

/// The status of an answer whose head the gateway indexed or wrote as a literal.
fn status(frame: &Frame) -> u16 {
    assert_eq!(frame.kind, HEADERS, "{frame:?}");
    match frame.payload[0] {
        0x88 => 200,
        0x89 => 204,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        // :status by its index, with a value of three digits
        _ => {
            let value = &frame.payload[2..];
            let text = if frame.payload[1] & 0x80 == 0 { digits(value) } else { huffman(value) };
            text.parse().unwrap_or_else(|_| panic!("{:?}", frame.payload))
        }
    }
}

fn digits(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..3]).into_owned()
}

/// Three digits in HPACK's Huffman code: 0, 1 and 2 have 5 bits, the others 6 (RFC 7541, B).
fn huffman(value: &[u8]) -> String {
    let bits: Vec<u8> =
        value.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0_u8, |sum, bit| sum << 1 | bit);
    let (mut text, mut at) = (String::new(), 0);
    while text.len() < 3 {
        let short = number(&bits[at..at + 5]);
        if short < 3 {
            text.push(char::from(b'0' + short));
            at += 5;
        } else {
            let long = number(&bits[at..at + 6]);
            text.push(char::from(b'3' + long - 0x19));
            at += 6;
        }
    }
    text
}

#[test]
fn malformed_requests_are_reset() {
    let gateway = Start::default().run();
    let get = |more: &[(&str, &str)]| request("GET", "/health", more);
    let pseudo = |pairs: &[(&str, &str)]| fields(pairs);
    assert_eq!(status(&verdict(&gateway, &get(&[]))), 200);
    assert_eq!(status(&verdict(&gateway, &get(&[("te", "trailers")]))), 200);
    let cases = [
        ("connection", get(&[("connection", "close")])),
        ("transfer-encoding", get(&[("transfer-encoding", "chunked")])),
        ("keep-alive", get(&[("keep-alive", "timeout=5")])),
        ("upgrade", get(&[("upgrade", "h2c")])),
        ("te", get(&[("te", "gzip")])),
        ("upper case", get(&[("X-Upper", "1")])),
        ("a length of nothing", get(&[("content-length", "5")])),
        ("a length that is no number", get(&[("content-length", "five")])),
        ("a host that is not the authority", get(&[("host", "b")])),
        ("two hosts", get(&[("host", "a"), ("host", "a")])),
        ("no path", pseudo(&[(":method", "GET"), (":scheme", "http"), (":authority", "a")])),
        ("an empty path", request("GET", "", &[])),
        ("no method", pseudo(&[(":path", "/"), (":scheme", "http"), (":authority", "a")])),
        ("an unknown pseudo header", get(&[(":odd", "1")])),
        ("a pseudo header of answers", get(&[(":status", "200")])),
        ("a late pseudo header", get(&[("x", "1"), (":method", "GET")])),
        ("a user in the authority", {
            pseudo(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "u@a"),
            ])
        }),
    ];
    for (what, block) in cases {
        let verdict = verdict(&gateway, &block);
        let kind = verdict.kind;
        assert!(kind == RST_STREAM || kind == GOAWAY, "{what}: {verdict:?}");
        assert_eq!(verdict.code(), PROTOCOL_ERROR, "{what}");
    }
}

#[test]
fn refusals_have_the_status_of_http1() {
    let gateway = Start::default().run();
    let long = format!("/{}", "x".repeat(100));
    let get = |path: &str, more: &[(&str, &str)]| request("GET", path, more);
    let host = fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/health")]);
    let many: Vec<_> = (0..128).map(|_| ("x-many", "1")).collect();
    let cases = [
        (404, get(&long, &[])),
        (501, request("BREW", "/health", &[])),
        (405, request("DELETE", "/health", &[])),
        (431, get("/health", &many)),
        (400, host),
    ];
    for (expected, block) in cases {
        assert_eq!(status(&verdict(&gateway, &block)), expected);
    }
    let mut raw = Raw::open(gateway.port);
    raw.send(&frame(HEADERS, END_HEADERS, 1, &request("POST", CHAT, &[("expect", "tea")])));
    assert_eq!(status(&raw.verdict().unwrap()), 417);
}

#[test]
fn heads_have_a_size() {
    let gateway = Start::default().run();
    let value = "v".repeat(120);
    let some: Vec<_> = (0..100).map(|_| ("x-large", value.as_str())).collect();
    let block = request("GET", "/health", &some);
    let (first, rest) = block.split_at(10_000);
    // 100 fields of 159 bytes, as they count: 16 kB
    let mut raw = Raw::open(gateway.port);
    raw.send(&frame(HEADERS, END_STREAM, 1, first));
    raw.send(&frame(9, END_HEADERS, 1, rest));
    assert_eq!(status(&raw.verdict().unwrap()), 200);
    // 600 of them: 95 kB
    let many: Vec<_> = (0..600).map(|_| ("x-large", value.as_str())).collect();
    let block = request("GET", "/health", &many);
    let mut raw = Raw::open(gateway.port);
    let mut pieces = block.chunks(16_000).peekable();
    raw.send(&frame(HEADERS, END_STREAM, 1, pieces.next().unwrap()));
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        raw.send(&frame(9, flags, 1, piece));
    }
    let verdict = raw.verdict().unwrap();
    assert!(verdict.kind != HEADERS || status(&verdict) == 431, "{verdict:?}");
}

#[test]
fn a_body_has_the_length_that_was_said() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    for said in [ASK.len() + 1, ASK.len() - 1] {
        let said = said.to_string();
        let mut raw = Raw::open(gateway.port);
        let head = request("POST", CHAT, &[("content-length", &said)]);
        raw.send(&frame(HEADERS, END_HEADERS, 1, &head));
        raw.send(&frame(DATA, END_STREAM, 1, ASK.as_bytes()));
        let verdict = raw.verdict().unwrap();
        assert_eq!((verdict.kind, verdict.code()), (RST_STREAM, PROTOCOL_ERROR), "{said}");
    }
    assert!(upstream.has_none(), "a body of another length went upstream");
}

#[test]
fn the_preface_may_come_byte_by_byte() {
    let gateway = Start::default().run();
    let mut raw = Raw::connect(gateway.port);
    let bytes = [PREFACE, &frame(SETTINGS, 0, 0, b""), &get()].concat();
    for byte in bytes {
        raw.send(&[byte]);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(status(&raw.verdict().unwrap()), 200);
}

#[test]
fn a_broken_preface_ends_the_connection() {
    let gateway = Start::default().run();
    let mut raw: Raw<TcpStream> = Raw::connect(gateway.port);
    raw.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    while let Some(frame) = raw.next() {
        assert!(frame.kind == SETTINGS || frame.kind == GOAWAY, "{frame:?}");
    }
}

fn get() -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &request("GET", "/health", &[]))
}
