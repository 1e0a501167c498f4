//! Every parser of outside bytes against seeded random input: good texts, and good texts mutated.
//!
//! The laws stand in `tests/fuzz/bodies.rs`, where libFuzzer uses them, too. The seed is fixed, so
//! that a run can be repeated; `PROPTEST_RNG_SEED=n` tries another, `PROPTEST_CASES=n` more.

#[path = "fuzz/bodies.rs"]
mod bodies;

use finops_gateway::wire::frames::{Frames, Framing};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::Union;
use proptest::test_runner::{RngSeed, TestRunner};

/// Runs one body with `cases` inputs.
fn check(cases: u32, inputs: impl Strategy<Value = Vec<u8>>, body: fn(&[u8])) {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(2026);
    }
    let outcome = TestRunner::new(config).run(&inputs, |input| {
        body(&input);
        Ok(())
    });
    assert!(outcome.is_ok(), "{outcome:?}");
}

/// One of the texts, with a few bytes changed, added, taken or doubled.
fn mutated(
    texts: impl Strategy<Value = Vec<u8>> + 'static,
    tokens: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        select(tokens).prop_map(|token| token.as_bytes().to_vec()),
        any::<u8>().prop_map(|byte| vec![byte]),
    ];
    let edit = (0..5_u8, any::<Index>(), any::<Index>(), token);
    (texts, proptest::collection::vec(edit, 0..4)).prop_map(|(mut text, edits)| {
        for (kind, from, to, token) in edits {
            let (a, b) = (from.index(text.len() + 1), to.index(text.len() + 1));
            let (from, to) = (a.min(b), a.max(b));
            match kind {
                0 => drop(text.splice(from..from, token)),
                1 => drop(text.splice(from..to.min(from + token.len()), token)),
                2 => drop(text.drain(from..to.min(from + 3))),
                3 => text.truncate(to),
                _ => {
                    let part = text[from..to.min(from + 64)].to_vec();
                    text.splice(from..from, part);
                }
            }
        }
        text
    })
}

fn lines(tokens: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(select(tokens), 0..most).prop_map(|parts| parts.concat().into_bytes())
}

const REQUEST: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /v1/messages?beta=true HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "POST http://h/p HTTP/1.0\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 404\r\n",
    "HTTP/1.1 100 C\r\n\r\n",
    "Host: a\r\n",
    "host:b:80\r\n",
    "Content-Length: 5\r\n",
    "content-length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding: gzip\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, te\r\n",
    "Expect: 100-continue\r\n",
    "X: \u{e9}\t y \r\n",
    "X-Empty:\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ",",
    "chunked",
    "5",
    "+",
    "\0",
];

fn head(first: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    (select(first), lines(&REQUEST[7..18], 6), any::<bool>()).prop_map(|(first, lines, host)| {
        let host = if host { "Host: gateway\r\n" } else { "" };
        [first.as_bytes(), host.as_bytes(), &lines, b"\r\n{}"].concat()
    })
}

#[test]
fn http1_requests() {
    check(6000, mutated(head(&REQUEST[..4]), REQUEST), bodies::http1_request);
    check(2000, lines(REQUEST, 12), bodies::http1_request);
}

#[test]
fn http2_frames() {
    let frame = (0..6000_u16, 0..11_u8, any::<u8>(), 1..400_usize).prop_map(
        |(length, kind, flags, times)| {
            let [high, low] = length.to_be_bytes();
            let mut frame = vec![0, high, low, kind, flags, 0, 0, 0, 1];
            frame.resize(9 + usize::from(length), b'x');
            frame.repeat(times / (1 + usize::from(length)) + 1)
        },
    );
    let frames = proptest::collection::vec(frame, 0..12).prop_map(|frames| {
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frames.concat()].concat()
    });
    check(500, frames, bodies::http2_frames);
}

#[test]
fn http1_responses() {
    check(6000, mutated(head(&REQUEST[4..7]), REQUEST), bodies::http1_response);
    check(2000, lines(REQUEST, 12), bodies::http1_response);
}

#[test]
fn http1_targets() {
    const PARTS: &[&str] = &[
        "/",
        "*",
        "http://",
        "HTTPS://",
        "host:80",
        "?",
        "a=b&c",
        "%2F",
        "%",
        "%e2%82%ac",
        "%00",
        "%zz",
        "\u{20ac}",
        " ",
        "#",
        "..",
        "+",
        "model",
        "%41",
        "%ff",
    ];
    check(4000, lines(PARTS, 8), bodies::http1_target);
}

#[test]
fn http1_chunked_bodies() {
    const PARTS: &[&str] = &[
        "5\r\nhello\r\n",
        "a;x=y\r\n0123456789\r\n",
        "1\r\n\n\r\n",
        "0\r\n\r\n",
        "0\r\nT: v\r\n\r\n",
        "0\r\n",
        "\r\n",
        "\r",
        "\n",
        ";",
        "ffffffffffffffff\r\n",
        "10000000000000000\r\n",
        "3\r\nab",
        " ",
        "x:y\r\n",
    ];
    check(6000, mutated(lines(PARTS, 8), PARTS), bodies::http1_chunked);
}

const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u",
    "\\ud83e",
    "\\udd16",
    "\\n",
    "\\\"",
    "null",
    "true",
    "false",
    "0",
    "-",
    "1.5",
    "e",
    "E+",
    "01",
    ".",
    "+1",
    "NaN",
    "1e999",
    "\n",
    "\t",
    " ",
    "\u{1}",
    "\u{e9}",
    "\u{feff}",
    "\"model\"",
    "\"stream\":",
    "\"mod\\u0065l\":",
    "{}",
    "[]",
    "\"a\":1,",
];

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => select(&["a", "model", "text text", "\u{e9}", "\u{1f916}", "/", "{\\\"x\\\":1}"][..])
            .prop_map(str::to_owned),
        2 => select(&["\\n", "\\\"", "\\\\", "\\u00e9", "\\ud83e\\udd16", "\\/", "\\u0000"][..])
            .prop_map(str::to_owned),
        1 => (0_usize..150).prop_map(|len| "x".repeat(len)),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn blank() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => select(&[" ", "\n  ", "\t", "\r\n", "          "][..])]
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        2 => string(),
        1 => select(&["null", "true", "false", "0", "-0", "12", "-1.5e-7", "1E+2", "0.0", "1e400"][..])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        let item =
            (blank(), inner.clone(), blank()).prop_map(|(a, item, b)| format!("{a}{item}{b}"));
        prop_oneof![
            (blank(), proptest::collection::vec(item, 0..6))
                .prop_map(|(a, items)| format!("[{a}{}]", items.join(","))),
            object(inner),
        ]
    })
}

/// An object, often with the members that are looked for.
fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    const WANTED: &[&str] =
        &["\"model\"", "\"stream\"", "\"a\"", "\"mod\\u0065l\"", "\"st\\u0072eam\"", "\"\\\\\""];
    let key = prop_oneof![select(WANTED).prop_map(str::to_owned), string()];
    let member = (blank(), key, blank(), blank(), value, blank())
        .prop_map(|(a, key, b, c, value, d)| format!("{a}{key}{b}:{c}{value}{d}"));
    (blank(), proptest::collection::vec(member, 0..6))
        .prop_map(|(a, members)| format!("{{{a}{}}}", members.join(",")))
}

fn bodies_of_json() -> impl Strategy<Value = Vec<u8>> {
    (blank(), object(json()), blank()).prop_map(|(a, body, b)| format!("{a}{body}{b}").into_bytes())
}

fn nested() -> impl Strategy<Value = Vec<u8>> {
    (120_usize..135, 120_usize..135, select(&[("[", "]"), ("{\"a\":", "}")][..])).prop_map(
        |(opened, closed, (open, close))| {
            (open.repeat(opened) + "1" + &close.repeat(closed)).into_bytes()
        },
    )
}

#[test]
fn json_scan() {
    let text = prop_oneof![json().prop_map(String::into_bytes), bodies_of_json()];
    check(8000, mutated(text, JSON), bodies::json_scan);
    check(2000, prop_oneof![lines(JSON, 12), nested()], bodies::json_scan);
}

#[test]
fn json_splice() {
    check(6000, bodies_of_json(), bodies::json_splice);
    let anywhere = (any::<[u8; 4]>(), mutated(bodies_of_json(), JSON));
    let anywhere =
        anywhere.prop_map(|(spans, body)| [&spans.map(|at| at % 64)[..], &body].concat());
    check(4000, anywhere, bodies::json_splice_anywhere);
}

#[test]
fn server_sent_events() {
    const PARTS: &[&str] = &[
        "data: {\"type\":\"ping\"}",
        "data:",
        "data: ",
        "data",
        "event: message_start",
        "event:",
        "event",
        ": ka",
        "id: 7",
        "retry",
        "dat",
        "\n",
        "\n",
        "\n\n",
        "\r",
        "\r\n",
        "\r\n\r\n",
        "\u{feff}",
        "x",
        ":",
        "[DONE]",
        "\u{1f916}",
    ];
    let streams = Union::new([lines(PARTS, 12).boxed(), mutated(lines(PARTS, 20), PARTS).boxed()]);
    check(8000, streams, bodies::sse);
}

/// The contents of the golden cases' files of a name, of the pairs that end, or begin, so.
fn golden(pairs: impl Fn(&str) -> bool, file: &str) -> Vec<Vec<u8>> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut texts = Vec::new();
    for pair in std::fs::read_dir(root).into_iter().flatten().flatten() {
        if !pairs(&pair.file_name().to_string_lossy()) {
            continue;
        }
        for case in std::fs::read_dir(pair.path()).into_iter().flatten().flatten() {
            texts.extend(std::fs::read(case.path().join(file)).ok());
        }
    }
    texts.sort();
    texts.dedup();
    assert!(!texts.is_empty());
    texts
}

/// A stream of events as lines of name, tab and data.
fn as_lines(stream: &[u8]) -> Vec<u8> {
    let mut lines = String::new();
    for line in String::from_utf8_lossy(stream).lines() {
        if let Some(name) = line.strip_prefix("event: ") {
            lines.push_str(name);
            lines.push('\t');
        } else if let Some(data) = line.strip_prefix("data: ") {
            lines.push_str(data);
            lines.push('\n');
        } else if let Some(line) = line.strip_prefix("{\"event\":\"") {
            let line = line.strip_suffix('}').unwrap_or(line);
            lines.push_str(&line.replacen("\",\"data\":", "\t", 1));
            lines.push('\n');
        }
    }
    lines.into_bytes()
}

type Body = fn(&[u8]);

#[test]
fn answers_of_every_language() {
    let bodies: [(&str, &str, Body); 5] = [
        ("anthropic", "upstream.sse", bodies::answer_anthropic),
        ("openai-chat", "upstream.sse", bodies::answer_openai_chat),
        ("openai-responses", "upstream.sse", bodies::answer_openai_responses),
        ("bedrock", "upstream.frames.jsonl", bodies::answer_bedrock),
        ("gemini", "upstream.sse", bodies::answer_gemini),
    ];
    for (name, file, body) in bodies {
        let streams = golden(|pair| pair.ends_with(&format!("-to-{name}")), file);
        let streams: Vec<_> = streams.iter().map(|stream| as_lines(stream)).collect();
        for stream in &streams {
            body(stream);
        }
        check(60, mutated(select(streams), JSON), body);
    }
}

#[test]
fn requests_of_every_language() {
    let bodies: [(&str, Body); 5] = [
        ("anthropic", bodies::request_anthropic),
        ("openai-chat", bodies::request_openai_chat),
        ("openai-responses", bodies::request_openai_responses),
        ("bedrock", bodies::request_bedrock),
        ("gemini", bodies::request_gemini),
    ];
    for (name, body) in bodies {
        let texts = golden(|pair| pair.starts_with(&format!("{name}-to-")), "client_request.json");
        for text in &texts {
            body(text);
        }
        check(80, mutated(select(texts), JSON), body);
    }
}

#[test]
fn aws_event_streams() {
    let mut frames = Frames::new(Framing::AwsEventStream);
    for data in [r#"{"role":"assistant"}"#, "{}", r#"{"message":"x"}"#] {
        frames.begin(Some("messageStart")).extend_from_slice(data.as_bytes());
        frames.end();
    }
    let stream = frames.take(Vec::new());
    bodies::aws_event_stream(&stream);
    check(500, mutated(Just(stream), JSON), bodies::aws_event_stream);
}
