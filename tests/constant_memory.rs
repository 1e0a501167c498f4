//! No direction keeps what passes: a long answer goes through every transcoder in constant memory.
//!
//! A client of the Responses API is the one exception, by the vendor's own rules: the last event
//! repeats the whole answer, so that much of it is kept, once.

use std::fs;

use finops_gateway::chat::Dialect;
use finops_gateway::dialect::{Reply, Transcoder};
use finops_gateway::wire::frames::{Frame, Frames, Framing};

const TOTAL: usize = 16 << 20;
const PIECE: usize = 16 << 10;
const GROWTH_MAX: usize = 2 << 20;

/// A delta of much text as each vendor sends it: name and data.
fn delta(upstream: Dialect, text: &str) -> (Option<&'static str>, String) {
    match upstream {
        Dialect::Anthropic => (
            Some("content_block_delta"),
            format!(
                r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#
            ),
        ),
        Dialect::OpenAiChat => (
            None,
            format!(
                r#"{{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#
            ),
        ),
        Dialect::OpenAiResponses => (
            Some("response.output_text.delta"),
            format!(
                r#"{{"type":"response.output_text.delta","item_id":"i","output_index":0,"content_index":0,"delta":"{text}"}}"#
            ),
        ),
        Dialect::Bedrock => (
            Some("contentBlockDelta"),
            format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{text}"}}}}"#),
        ),
        Dialect::Gemini => (
            None,
            format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}],"role":"model"}},"index":0}}],"modelVersion":"m"}}"#
            ),
        ),
    }
}

/// What of this process stands in memory, in bytes.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

#[test]
fn a_long_answer_passes_in_constant_memory_in_every_direction() {
    let text = "words and ".repeat(PIECE / 10);
    for upstream in Dialect::ALL {
        let (name, data) = delta(upstream, &text);
        let frame = Frame { name, exception: false, data: &data };
        for client in Dialect::ALL {
            let framing =
                if client == Dialect::Bedrock { Framing::AwsEventStream } else { Framing::Sse };
            let mut transcoder = Transcoder::new(upstream, client, Reply::default());
            let mut out = Frames::new(framing);
            let mut spare = Vec::new();
            let mut passed = 0;
            let before = resident();
            for _ in 0..TOTAL / PIECE {
                transcoder.feed(frame, &mut out);
                spare = out.take(spare);
                passed += spare.len();
                spare.clear();
            }
            let grown = resident().saturating_sub(before);
            let (to, from) = (client.name(), upstream.name());
            assert!(passed >= TOTAL / PIECE * text.len(), "{to} from {from}: {passed} bytes");
            let kept = if client == Dialect::OpenAiResponses { 2 * TOTAL } else { 0 };
            assert!(grown < GROWTH_MAX + kept, "{to} from {from} grew by {grown} bytes");
        }
    }
}
