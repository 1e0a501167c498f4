//! What transcoding costs: per event of each direction, and for a whole Claude Code body.
//!
//! `text_delta` and `tap` count a thousand text deltas a round: the microseconds shown are
//! nanoseconds per event. Run with `cargo bench --bench dialect`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use finops_gateway::chat::{Dialect, Loss};
use finops_gateway::dialect::{self, Manner, Reply, Tap, Transcoder};
use finops_gateway::wire::frames::{Frame, Frames, Framing};
use std::hint::black_box;

const CLAUDE_CODE: &str = include_str!("data/claude_code.json");
const DELTAS: usize = 1_000;

/// A text delta as each vendor sends it: name and data.
fn delta_of(upstream: Dialect) -> (Option<&'static str>, &'static str) {
    match upstream {
        Dialect::Anthropic => (
            Some("content_block_delta"),
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" weather"}}"#,
        ),
        Dialect::OpenAiChat => (
            None,
            r#"{"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1741570283,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_fc9f1d7035","choices":[{"index":0,"delta":{"content":" weather"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"a1b2c3d4"}"#,
        ),
        Dialect::OpenAiResponses => (
            Some("response.output_text.delta"),
            r#"{"type":"response.output_text.delta","sequence_number":7,"item_id":"msg_67ccd2bf17f0819081ff3bb2cf6508e6","output_index":0,"content_index":0,"delta":" weather","logprobs":[],"obfuscation":"a1b2c3d4"}"#,
        ),
        Dialect::Bedrock => (
            Some("contentBlockDelta"),
            r#"{"contentBlockIndex":0,"delta":{"text":" weather"},"p":"abcdefghijklmnopqrstuv"}"#,
        ),
        Dialect::Gemini => (
            None,
            r#"{"candidates":[{"content":{"parts":[{"text":" weather"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":3,"totalTokenCount":12},"modelVersion":"gemini-2.5-flash","responseId":"abcDEF123"}"#,
        ),
    }
}

fn framing(dialect: Dialect) -> Framing {
    if dialect == Dialect::Bedrock { Framing::AwsEventStream } else { Framing::Sse }
}

fn reply() -> Reply {
    Reply { model: "m".into(), id: "0a1b2c3d".into(), ..Reply::default() }
}

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("text_delta");
    group.throughput(Throughput::Elements(DELTAS as u64));
    for upstream in Dialect::ALL {
        let (name, data) = delta_of(upstream);
        let frame = Frame { name, exception: false, data };
        for client in Dialect::ALL.into_iter().filter(|client| *client != upstream) {
            group.bench_function(
                format!("{}-from-{}", client.name(), upstream.name()),
                |bencher| {
                    bencher.iter(|| {
                        let mut transcoder = Transcoder::new(upstream, client, reply());
                        let mut out = Frames::new(framing(client));
                        let mut spare = Vec::new();
                        for _ in 0..DELTAS {
                            transcoder.feed(black_box(frame), &mut out);
                            spare = out.take(spare);
                            spare.clear();
                        }
                    });
                },
            );
        }
    }
    group.finish();

    let mut group = criterion.benchmark_group("tap");
    group.throughput(Throughput::Elements(DELTAS as u64));
    for upstream in Dialect::ALL {
        let (name, data) = delta_of(upstream);
        let frame = Frame { name, exception: false, data };
        group.bench_function(upstream.name(), |bencher| {
            bencher.iter(|| {
                let mut tap = Tap::new(upstream);
                for _ in 0..DELTAS {
                    tap.frame(black_box(frame));
                }
            });
        });
    }
    group.finish();
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("claude_code_request");
    group.throughput(Throughput::Bytes(CLAUDE_CODE.len() as u64));
    for upstream in Dialect::ALL {
        group.bench_function(format!("to-{}", upstream.name()), |bencher| {
            let mut out = Vec::new();
            bencher.iter(|| {
                out.clear();
                let mut loss = Loss::default();
                let body = black_box(CLAUDE_CODE);
                if let Ok(request) = dialect::decode_request(Dialect::Anthropic, body, &mut loss) {
                    let manner = Manner::standard();
                    let sent =
                        dialect::encode_request(upstream, &request, &manner, &mut out, &mut loss);
                    let _ = black_box(sent);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, events, requests);
criterion_main!(benches);
