//! The parsers that every byte runs through, beside what they stand in for.
//!
//! `cargo bench --bench wire`; bodies in `benches/data` have the shape of Claude Code's requests
//! (the 50 KiB one was recorded and its prose masked; the 200 KiB one is the same conversation,
//! seventy turns of reading a source file later).

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use finops_gateway::wire::http1::{self, Chunked, Limits};
use finops_gateway::wire::json_scan::{self, DEPTH_MAX, Lane};
use finops_gateway::wire::json_splice;
use finops_gateway::wire::sse::Splitter;

const BODIES: [(&str, &str); 2] = [
    ("50k", include_str!("data/claude_code_50k.json")),
    ("200k", include_str!("data/claude_code_200k.json")),
];

const EVENTS: [(&str, &str, &str); 2] = [
    (
        "anthropic",
        "content_block_delta",
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello there, this is"}}"#,
    ),
    (
        "openai",
        "",
        r#"{"id":"chatcmpl-AbCdEf0123456789AbCdEf01","object":"chat.completion.chunk","created":1763600000,"model":"gpt-5.2","service_tier":"default","system_fingerprint":"fp_0123456789","choices":[{"index":0,"delta":{"content":" hello"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"abcdEFGH12"}"#,
    ),
];

/// Model and stream flag out of a request body: the peek that routes it.
fn peek(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peek");
    let mut tree = sonic_rs::PointerTree::new();
    tree.add_path(["model"]);
    tree.add_path(["stream"]);
    for (size, body) in BODIES {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new("scan", size), |bencher| {
            bencher.iter(|| {
                json_scan::scan(black_box(body.as_bytes()), DEPTH_MAX, &["model", "stream"])
            });
        });
        for lane in Lane::all() {
            group.bench_function(
                BenchmarkId::new(format!("validate {}", lane.name()), size),
                |bencher| {
                    bencher.iter(|| {
                        json_scan::validate_with(lane, black_box(body.as_bytes()), DEPTH_MAX)
                    });
                },
            );
        }
        group.bench_function(BenchmarkId::new("sonic-rs get_many", size), |bencher| {
            bencher.iter(|| sonic_rs::get_many(black_box(body.as_bytes()), &tree).is_ok());
        });
        group.bench_function(BenchmarkId::new("serde_json typed", size), |bencher| {
            #[derive(serde::Deserialize)]
            struct Peeked<'b> {
                model: &'b str,
                stream: bool,
            }
            bencher.iter(|| {
                let peeked: Result<Peeked<'_>, _> =
                    serde_json::from_slice(black_box(body.as_bytes()));
                peeked.map(|peeked| (peeked.model.len(), peeked.stream)).ok()
            });
        });
    }
    group.finish();
}

/// Another model name in place of the client's.
fn splice(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("splice");
    for (size, body) in BODIES {
        let Ok([Some(model)]) = json_scan::scan(body.as_bytes(), DEPTH_MAX, &["model"]) else {
            return;
        };
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new("copy and replace model", size), |bencher| {
            let mut bytes = Vec::with_capacity(body.len() + 64);
            bencher.iter(|| {
                bytes.clear();
                bytes.extend_from_slice(body.as_bytes());
                json_splice::replace(&mut bytes, model, b"\"us.anthropic.claude-sonnet-4-5\"")
                    .is_ok()
            });
        });
    }
    group.finish();
}

/// One stream event: its framing, and the check of its data.
fn event(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event");
    for (dialect, name, data) in EVENTS {
        let head = if name.is_empty() { String::new() } else { format!("event: {name}\n") };
        let one = format!("{head}data: {data}\n\n");
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("sse, one a read", dialect), |bencher| {
            let mut splitter = Splitter::new(1 << 20);
            let mut seen = 0;
            bencher.iter(|| {
                splitter.feed(black_box(one.as_bytes()), &mut |frame| seen += frame.data.len())
            });
            assert!(seen > 0);
        });
        let (first, second) = one.as_bytes().split_at(one.len() / 2);
        group.bench_function(BenchmarkId::new("sse, cut in two reads", dialect), |bencher| {
            let mut splitter = Splitter::new(1 << 20);
            let mut seen = 0;
            bencher.iter(|| {
                let head = splitter.feed(black_box(first), &mut |frame| seen += frame.data.len());
                let tail = splitter.feed(black_box(second), &mut |frame| seen += frame.data.len());
                head.is_ok() && tail.is_ok()
            });
            assert!(seen > 0);
        });
        group.bench_function(BenchmarkId::new("validate", dialect), |bencher| {
            bencher.iter(|| json_scan::validate(black_box(data.as_bytes()), DEPTH_MAX));
        });
        group.throughput(Throughput::Elements(64));
        let many = one.repeat(64);
        group.bench_function(BenchmarkId::new("sse, 64 a read", dialect), |bencher| {
            let mut splitter = Splitter::new(1 << 20);
            let mut seen = 0;
            bencher.iter(|| {
                splitter.feed(black_box(many.as_bytes()), &mut |frame| seen += frame.data.len())
            });
            assert!(seen > 0);
        });
    }
    group.finish();
}

/// Heads and chunks.
fn http(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http1");
    let request = b"POST /anthropic/v1/messages?beta=true HTTP/1.1\r\nAccept: application/json\r\n\
        Authorization: Bearer sk-0123456789012345678901234567890123456789\r\n\
        Content-Type: application/json\r\nUser-Agent: claude-cli/2.1.328 (external, sdk-cli)\r\n\
        X-Claude-Code-Session-Id: 37aee682-2b86-4dd8-844c-d6adae1f4df1\r\nX-Stainless-Arch: x64\r\n\
        X-Stainless-Lang: js\r\nX-Stainless-OS: Linux\r\nX-Stainless-Package-Version: 0.128.0\r\n\
        X-Stainless-Retry-Count: 0\r\nX-Stainless-Runtime: node\r\n\
        X-Stainless-Runtime-Version: v26.12.1\r\nX-Stainless-Timeout: 600\r\n\
        anthropic-beta: claude-code-20250219,interleaved-thinking-2025-05-14,effort-2025-11-24\r\n\
        anthropic-dangerous-direct-browser-access: true\r\nanthropic-version: 2023-06-01\r\n\
        x-app: cli\r\nConnection: keep-alive\r\nHost: 127.0.0.1:8080\r\n\
        Accept-Encoding: gzip, deflate, br, zstd\r\nContent-Length: 49236\r\n\r\n";
    let response = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
        transfer-encoding: chunked\r\nrequest-id: req_0123456789\r\ncache-control: no-cache\r\n\r\n";
    let limits = Limits::default();
    group.throughput(Throughput::Bytes(request.len() as u64));
    group.bench_function("request head of Claude Code", |bencher| {
        bencher.iter(|| http1::parse_request(black_box(request), &limits).is_ok());
    });
    group.throughput(Throughput::Bytes(response.len() as u64));
    group.bench_function("response head", |bencher| {
        bencher.iter(|| http1::parse_response(black_box(response), &limits, false).is_ok());
    });
    for size in [120, 16_000] {
        let (line, used) = http1::chunk_prefix(size);
        let chunk = [&line[..used], &vec![b'x'; size], http1::CHUNK_END].concat();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("chunk of", size), |bencher| {
            let mut chunked = Chunked::default();
            let mut buf = chunk.clone();
            bencher.iter(|| {
                // the payload was moved to the front
                buf.copy_from_slice(&chunk);
                chunked.decode(black_box(&mut buf)).is_ok_and(|progress| progress.produced == size)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, peek, splice, event, http);
criterion_main!(benches);
