//! Converse answers, read: the events of `ConverseStream` and whole messages.
//!
//! In: frames or a body of an upstream. Out: [`Event`]s. Usage comes last, after the stop reason;
//! a text block is not opened, its first delta opens it. Never: takes an answer that the model
//! garbled (`malformed_tool_use`) for a finished one. The padding `p` is passed over.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>

use super::bedrock_content::redacted;
use super::{bedrock_citations as citations, seal};
use crate::chat::{
    Block, Delta, Dialect, ErrorKind, Event, Fault, Raw, Sink, Stop, StopReason, Usage,
};
use crate::wire::frames::Frame;
use crate::wire::json_read;
use std::borrow::Cow;

pub(super) use super::bedrock_response_out::{Encoder, encode_message};

/// Reads the frames of `ConverseStream`.
#[derive(Debug, Default)]
pub struct Decoder {
    /// A stop reason that is a failure, held back until the usage has been said.
    failed: Option<String>,
}

impl Decoder {
    pub(super) fn frame(&mut self, frame: Frame<'_>, out: Sink<'_>) {
        let name = frame.name.unwrap_or_default();
        let known = matches!(
            name,
            "messageStart"
                | "contentBlockStart"
                | "contentBlockDelta"
                | "contentBlockStop"
                | "messageStop"
                | "metadata"
        );
        if known && !json_read::is_object(frame.data) {
            out(garbled("a frame of the upstream is no JSON object"));
            return;
        }
        let data = frame.data;
        let slot = || {
            let index = json_read::field(data, "contentBlockIndex").and_then(json_read::unsigned);
            index.and_then(|index| u32::try_from(index).ok()).unwrap_or(0)
        };
        match name {
            "messageStart" => out(start(Usage::default())),
            "contentBlockStart" => block_start(slot(), data, out),
            "contentBlockDelta" => {
                if let Some(delta) = json_read::field(data, "delta") {
                    block_delta(slot(), delta, out);
                }
            }
            "contentBlockStop" => out(Event::Close { slot: slot() }),
            "messageStop" => self.failed = stop(data, out),
            "metadata" => {
                out(Event::Usage(usage_of(data)));
                match self.failed.take() {
                    Some(reason) => out(failed(&reason)),
                    None => out(Event::End),
                }
            }
            _ => {}
        }
    }
}

/// Reads the body of `Converse`.
pub(super) fn decode_message(body: &str, out: Sink<'_>) {
    let message =
        json_read::field(body, "output").and_then(|output| json_read::field(output, "message"));
    if message.is_none() && json_read::field(body, "stopReason").is_none() {
        let text = json_read::text_field(body, "message")
            .or_else(|| json_read::text_field(body, "Message"))
            .unwrap_or(Cow::Borrowed("the upstream's answer is no Converse answer"));
        out(Event::Error(Fault { kind: ErrorKind::Api, message: text, code: None }));
        return;
    }
    // Said at once, so that the tokens of an answer that failed are counted, too.
    let usage = usage_of(body);
    out(start(usage.clone()));
    let content = message.and_then(|message| json_read::field(message, "content"));
    for (slot, block) in (0..).zip(json_read::items(content.unwrap_or_default())) {
        for (kind, raw) in json_read::fields(block).filter(|(_, raw)| !json_read::is_null(raw)) {
            whole_block(slot, &kind, raw, block, out);
        }
        out(Event::Close { slot });
    }
    let failure = stop(body, out);
    out(Event::Usage(usage));
    match failure {
        Some(reason) => out(failed(&reason)),
        None => out(Event::End),
    }
}

fn start(usage: Usage) -> Event<'static> {
    Event::Start { id: Cow::Borrowed(""), model: Cow::Borrowed(""), usage }
}

fn garbled(message: &'static str) -> Event<'static> {
    Event::Error(Fault { kind: ErrorKind::Api, message: Cow::Borrowed(message), code: None })
}

fn failed(reason: &str) -> Event<'_> {
    let message = Cow::Owned(format!("the model stopped with {reason}"));
    Event::Error(Fault { kind: ErrorKind::Api, message, code: Some(Cow::Borrowed(reason)) })
}

fn block_start(slot: u32, data: &str, out: Sink<'_>) {
    let call = json_read::field(data, "start").and_then(|start| json_read::field(start, "toolUse"));
    if let Some(call) = call {
        let text = |name| json_read::text_field(call, name).unwrap_or_default();
        let block = Block::ToolUse { id: text("toolUseId"), name: text("name") };
        out(Event::Open { slot, block });
    }
}

fn block_delta(slot: u32, raw: Raw<'_>, out: Sink<'_>) {
    for (kind, raw) in json_read::fields(raw) {
        match kind.as_ref() {
            "text" => say_text(slot, raw, Delta::Text, out),
            "toolUse" => {
                if let Some(raw) = json_read::field(raw, "input") {
                    say_text(slot, raw, Delta::Arguments, out);
                }
            }
            "reasoningContent" => reasoning(slot, raw, out),
            "citation" => citation(slot, raw, out),
            _ => {}
        }
    }
}

fn say_text<'a>(
    slot: u32,
    raw: Raw<'a>,
    delta: fn(Cow<'a, str>) -> Delta<'a>,
    out: &mut dyn FnMut(Event<'_>),
) {
    if let Some(text) = json_read::text(raw).filter(|text| !text.is_empty()) {
        out(Event::Delta { slot, delta: delta(text) });
    }
}

/// The members of a piece of reasoning; those of a whole block have the same names.
fn reasoning(slot: u32, raw: Raw<'_>, out: Sink<'_>) {
    for (kind, raw) in json_read::fields(raw) {
        match kind.as_ref() {
            "text" => say_text(slot, raw, Delta::Thinking, out),
            "signature" => {
                if let Some(text) = json_read::text(raw).filter(|text| !text.is_empty()) {
                    let seal = seal::unpack(text, Dialect::Anthropic).0;
                    out(Event::Delta { slot, delta: Delta::Seal(seal) });
                }
            }
            "redactedContent" => {
                if let Some(data) = json_read::text(raw) {
                    out(Event::Open { slot, block: Block::Redacted(redacted(data).0) });
                }
            }
            "reasoningText" => reasoning(slot, raw, out),
            _ => {}
        }
    }
}

fn citation(slot: u32, raw: Raw<'_>, out: Sink<'_>) {
    let mut text = Vec::new();
    citations::decode(raw, &mut text);
    if let Ok(text) = std::str::from_utf8(&text) {
        out(Event::Delta { slot, delta: Delta::Citation(text) });
    }
}

fn whole_block(slot: u32, kind: &str, raw: Raw<'_>, block: Raw<'_>, out: Sink<'_>) {
    match kind {
        "text" => say_text(slot, raw, Delta::Text, out),
        "toolUse" => {
            let text = |name| json_read::text_field(raw, name).unwrap_or_default();
            let block = Block::ToolUse { id: text("toolUseId"), name: text("name") };
            out(Event::Open { slot, block });
            let arguments = json_read::field(raw, "input").unwrap_or("{}");
            out(Event::Delta { slot, delta: Delta::Arguments(Cow::Borrowed(arguments)) });
        }
        "reasoningContent" => reasoning(slot, raw, out),
        "citationsContent" => {
            let pieces = json_read::field(raw, "content").unwrap_or_default();
            for piece in json_read::items(pieces) {
                if let Some(raw) = json_read::field(piece, "text") {
                    say_text(slot, raw, Delta::Text, out);
                }
            }
            let list = json_read::field(raw, "citations").unwrap_or_default();
            for raw in json_read::items(list) {
                citation(slot, raw, out);
            }
        }
        _ => {
            let block = Block::Opaque { kind: Cow::Borrowed(kind), raw: block };
            out(Event::Open { slot, block });
        }
    }
}

/// Says the stop, or returns the reason if it is a failure.
fn stop(raw: Raw<'_>, out: Sink<'_>) -> Option<String> {
    let reason = json_read::text_field(raw, "stopReason").unwrap_or_default();
    let reason = match reason.as_ref() {
        "tool_use" => StopReason::ToolUse,
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "guardrail_intervened" | "content_filtered" => StopReason::ContentFilter,
        "refusal" => StopReason::Refusal,
        "pause_turn" => StopReason::PauseTurn,
        "model_context_window_exceeded" => StopReason::ContextWindow,
        "malformed_model_output" | "malformed_tool_use" => return Some(reason.into_owned()),
        _ => StopReason::EndTurn,
    };
    // Claude says which one matched, if it was asked for (`bedrock_parameters` does).
    let sequence = json_read::field(raw, "additionalModelResponseFields")
        .and_then(|fields| json_read::text_field(fields, "stop_sequence"));
    out(Event::Stop(Stop { reason, sequence }));
    None
}

fn usage_of(raw: Raw<'_>) -> Usage {
    let mut usage = Usage::default();
    let counts = json_read::field(raw, "usage").unwrap_or_default();
    for (name, value) in json_read::fields(counts) {
        let count = json_read::unsigned(value);
        match name.as_ref() {
            "inputTokens" => usage.input = count,
            "outputTokens" => usage.output = count,
            "cacheReadInputTokens" => usage.cache_read = count,
            "cacheWriteInputTokens" => usage.cache_write = count,
            "cacheDetails" => {
                let hour = json_read::items(value)
                    .filter(|item| json_read::text_field(item, "ttl").as_deref() == Some("1h"))
                    .filter_map(|item| json_read::field(item, "inputTokens"))
                    .filter_map(json_read::unsigned);
                usage.cache_write_1h = hour.reduce(u64::saturating_add);
            }
            _ => {}
        }
    }
    usage.service_tier = json_read::field(raw, "serviceTier")
        .and_then(|tier| json_read::text_field(tier, "type"))
        .map(Cow::into_owned);
    usage
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Folded;
    use crate::dialect::{Reply, Transcoder, fold_message};
    use crate::wire::aws_event_stream::Splitter;
    use crate::wire::frames::{Frames, Framing};

    type Lines<'l> = &'l [(&'l str, &'l str)];

    fn reply() -> Reply {
        Reply { latency_ms: 120, ..Reply::default() }
    }

    /// Frames through decoder, sequencer and encoder.
    fn transcode(lines: Lines<'_>) -> (Vec<(String, String)>, Transcoder) {
        let mut transcoder = Transcoder::new(Dialect::Bedrock, Dialect::Bedrock, reply());
        let mut frames = Frames::new(Framing::AwsEventStream);
        for (name, data) in lines {
            let exception = name.ends_with("Exception");
            transcoder.feed(Frame { name: Some(name), exception, data }, &mut frames);
        }
        transcoder.finish(&mut frames);
        let mut seen = Vec::new();
        let mut each = |frame: Frame<'_>| {
            let name = frame.name.unwrap_or_default();
            assert_eq!(frame.exception, name.ends_with("Exception"));
            seen.push((name.to_owned(), frame.data.to_owned()));
        };
        Splitter::new(1 << 20).feed(frames.bytes(), &mut each).unwrap();
        (seen, transcoder)
    }

    const STREAM: Lines<'static> = &[
        ("messageStart", r#"{"role":"assistant"}"#),
        (
            "contentBlockDelta",
            r#"{"delta":{"reasoningContent":{"text":"hm"}},"contentBlockIndex":0}"#,
        ),
        (
            "contentBlockDelta",
            r#"{"delta":{"reasoningContent":{"signature":"EqQB"}},"contentBlockIndex":0}"#,
        ),
        ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        (
            "contentBlockDelta",
            r#"{"delta":{"reasoningContent":{"redactedContent":"Zm9v"}},"contentBlockIndex":1}"#,
        ),
        ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
        ("contentBlockDelta", r#"{"delta":{"text":"Zürich \"x\""},"contentBlockIndex":2}"#),
        (
            "contentBlockDelta",
            r#"{"delta":{"citation":{"title":"T","sourceContent":[{"text":"q"}],"location":{"documentChar":{"documentIndex":0,"start":1,"end":2}}}},"contentBlockIndex":2}"#,
        ),
        ("contentBlockStop", r#"{"contentBlockIndex":2}"#),
        (
            "contentBlockStart",
            r#"{"start":{"toolUse":{"toolUseId":"t1","name":"f"}},"contentBlockIndex":3}"#,
        ),
        ("contentBlockDelta", r#"{"delta":{"toolUse":{"input":"{\"a\":"}},"contentBlockIndex":3}"#),
        ("contentBlockDelta", r#"{"delta":{"toolUse":{"input":" 1}"}},"contentBlockIndex":3}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":3}"#),
        (
            "contentBlockStart",
            r#"{"start":{"toolUse":{"toolUseId":"t2","name":"g"}},"contentBlockIndex":4}"#,
        ),
        ("contentBlockDelta", r#"{"delta":{"toolUse":{"input":"{}"}},"contentBlockIndex":4}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":4}"#),
        ("messageStop", r#"{"stopReason":"tool_use"}"#),
        (
            "metadata",
            r#"{"usage":{"inputTokens":4,"outputTokens":3,"totalTokens":18,"cacheReadInputTokens":5,"cacheWriteInputTokens":6,"cacheDetails":[{"ttl":"1h","inputTokens":2},{"ttl":"5m","inputTokens":4}]},"metrics":{"latencyMs":120}}"#,
        ),
    ];

    #[test]
    fn a_stream_is_written_as_it_was_read() {
        let (seen, transcoder) = transcode(STREAM);
        let seen: Vec<_> = seen.iter().map(|(n, d)| (n.as_str(), d.as_str())).collect();
        assert_eq!(seen, STREAM);
        assert_eq!(transcoder.usage().prompt(), 15);
        assert_eq!(transcoder.usage().cache_write_1h, Some(2));
    }

    #[test]
    fn a_call_without_arguments_says_an_empty_object() {
        let (seen, _) = transcode(&[
            (
                "contentBlockStart",
                r#"{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"t","name":"f"}}}"#,
            ),
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":""}}}"#),
            ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        ]);
        assert_eq!(seen[2].1, r#"{"delta":{"toolUse":{"input":"{}"}},"contentBlockIndex":0}"#);
        assert_eq!(seen[3].0, "contentBlockStop");
    }

    #[test]
    fn padding_unknown_events_and_unknown_members_are_passed_over() {
        let (seen, _) = transcode(&[
            ("messageStart", r#"{"p":"abc","role":"assistant"}"#),
            ("gatewayNote", "7"),
            (
                "contentBlockDelta",
                r#"{"p":"ab","contentBlockIndex":0,"delta":{"text":"a","new":1}}"#,
            ),
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":""}}"#),
            ("contentBlockStop", r#"{"contentBlockIndex":0,"p":"a"}"#),
            ("messageStop", r#"{"stopReason":"something_new"}"#),
            ("metadata", "{}"),
        ]);
        let names: Vec<_> = seen.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["messageStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"]
        );
        assert_eq!(seen[3].1, r#"{"stopReason":"end_turn"}"#);
        assert!(seen[4].1.contains(r#""inputTokens":0,"outputTokens":0,"totalTokens":0"#));
    }

    #[test]
    fn every_cut_is_an_exception_and_no_end() {
        for cut in 0..STREAM.len() {
            let (seen, transcoder) = transcode(&STREAM[..cut]);
            let (name, data) = seen.last().unwrap();
            if cut == STREAM.len() - 1 {
                assert_eq!((name.as_str(), transcoder.fault()), ("metadata", None));
            } else {
                assert_eq!(name, "internalServerException", "cut at {cut}");
                assert!(data.contains("closed the stream"), "{data}");
                assert!(seen.iter().all(|(name, _)| name != "messageStop"));
            }
        }
    }

    #[test]
    fn exceptions_keep_their_name_and_message() {
        for (name, kind) in [
            ("throttlingException", ErrorKind::RateLimit),
            ("serviceUnavailableException", ErrorKind::Overloaded),
            ("modelStreamErrorException", ErrorKind::Api),
            ("validationException", ErrorKind::InvalidRequest),
            ("internalServerException", ErrorKind::Api),
        ] {
            let (seen, transcoder) =
                transcode(&[STREAM[0], (name, r#"{"message":"slow \"down\""}"#)]);
            assert_eq!(seen[1], (name.to_owned(), r#"{"message":"slow \"down\""}"#.to_owned()));
            assert_eq!(transcoder.fault().map(|fault| fault.kind), Some(kind));
        }
    }

    #[test]
    fn a_garbled_answer_is_a_fault_but_its_tokens_count() {
        let (seen, transcoder) = transcode(&[
            STREAM[0],
            ("messageStop", r#"{"stopReason":"malformed_tool_use"}"#),
            ("metadata", r#"{"usage":{"inputTokens":4,"outputTokens":3,"totalTokens":7}}"#),
        ]);
        assert_eq!(seen[1].0, "internalServerException");
        assert!(seen[1].1.contains("malformed_tool_use"));
        assert_eq!(transcoder.usage().total(), 7);
    }

    fn whole(body: &str) -> (Folded, String) {
        let folded = fold_message(Dialect::Bedrock, body);
        let mut out = Vec::new();
        encode_message(&folded, &reply(), &mut out);
        (folded, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_whole_answer_is_written_as_it_was_read() {
        let body = r#"{"output":{"message":{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"EqQB"}}},{"reasoningContent":{"redactedContent":"Zm9v"}},{"text":"a"},{"citationsContent":{"content":[{"text":"b"}],"citations":[{"title":"T","sourceContent":[{"text":"q"}],"location":{"documentPage":{"documentIndex":0,"start":1,"end":2}}}]}},{"toolUse":{"toolUseId":"t","name":"f","input":{"z":1.0, "a":2}}}]}},"stopReason":"stop_sequence","additionalModelResponseFields":{"stop_sequence":"END"},"usage":{"inputTokens":4,"outputTokens":3,"totalTokens":7},"metrics":{"latencyMs":120},"serviceTier":{"type":"flex"}}"#;
        assert_eq!(whole(body).1, body);
    }

    #[test]
    fn stream_and_whole_answer_fold_alike() {
        let body = r#"{"output":{"message":{"role":"assistant","content":[{"text":"a"},{"toolUse":{"toolUseId":"t","name":"f","input":{}}}]}},"stopReason":"end_turn","usage":{"inputTokens":4,"outputTokens":3,"totalTokens":7},"metrics":{"latencyMs":120}}"#;
        let (folded, _) = whole(body);
        // A call makes the stop reason, whatever the upstream says.
        assert_eq!(folded.stop.unwrap().reason, StopReason::ToolUse);
        let (_, transcoder) = transcode(&[
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#),
            ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
            (
                "contentBlockStart",
                r#"{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"t","name":"f"}}}"#,
            ),
            ("messageStop", r#"{"stopReason":"end_turn"}"#),
        ]);
        assert_eq!(transcoder.stop().map(|stop| stop.reason), Some(StopReason::ToolUse));
        assert!(transcoder.ended() && transcoder.fault().is_none());
    }

    #[test]
    fn bodies_that_are_no_answer_are_faults() {
        for (body, message) in [
            (r#"{"message":"bad key"}"#, "bad key"),
            ("{}", "the upstream's answer is no Converse answer"),
            ("<html>", "the upstream's answer is no Converse answer"),
        ] {
            assert_eq!(whole(body).0.fault.unwrap().message, message);
        }
        let (folded, out) = whole(r#"{"stopReason":"guardrail_intervened"}"#);
        assert!(folded.fault.is_none());
        assert!(out.starts_with(r#"{"output":{"message":{"role":"assistant","content":[]}},"stopReason":"content_filtered""#));
    }

    #[test]
    fn foreign_seals_come_back_through_a_client() {
        use crate::chat::{Loss, PartKind};
        let foreign = Seal {
            dialect: Dialect::OpenAiResponses,
            data: "gAA:=A".into(),
            id: Some("rs_1".into()),
        };
        let events = [
            Event::Open { slot: 0, block: Block::Thinking },
            Event::Delta { slot: 0, delta: Delta::Seal(foreign.clone()) },
            Event::Close { slot: 0 },
            Event::Open { slot: 1, block: Block::Redacted(foreign.clone()) },
            Event::Close { slot: 1 },
            Event::Open { slot: 2, block: Block::ToolUse { id: "t".into(), name: "f".into() } },
            Event::Delta { slot: 2, delta: Delta::Seal(foreign.clone()) },
            Event::Close { slot: 2 },
            Event::Open { slot: 3, block: Block::Text },
            Event::Close { slot: 3 },
        ];
        let mut encoder = Encoder::new(&reply());
        let mut frames = Frames::new(Framing::AwsEventStream);
        let mut folded = Folded::default();
        for event in &events {
            encoder.event(event, &mut frames);
            folded.push(event);
        }
        let mut indexes = Vec::new();
        let mut each = |frame: Frame<'_>| {
            if frame.name == Some("contentBlockStop") {
                indexes.push(frame.data.to_owned());
            }
        };
        Splitter::new(1 << 20).feed(frames.bytes(), &mut each).unwrap();
        let expected: Vec<_> = (0..4).map(|i| format!("{{\"contentBlockIndex\":{i}}}")).collect();
        assert_eq!(indexes, expected);

        let mut out = Vec::new();
        encode_message(&folded, &reply(), &mut out);
        let answer: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let body = serde_json::json!({ "messages": [answer["output"]["message"]] }).to_string();
        let mut loss = Loss::default();
        let request = super::super::bedrock_request::decode(&body, &mut loss).unwrap();
        let parts = &request.turns[0].parts;
        assert_eq!(parts.len(), 3);
        assert!(parts.iter().all(|part| part.seal.as_ref() == Some(&foreign)), "{parts:?}");
        assert!(matches!(parts[2].kind, PartKind::ToolUse { .. }));
    }

    use crate::chat::Seal;

    proptest::proptest! {
        #[test]
        fn any_frame_is_survived(
            frames in proptest::collection::vec(
                (proptest::sample::select(vec![
                    "messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop",
                    "messageStop", "metadata", "xException", "x",
                ]), "[\\[\\]{}:,\"a-z0-9]{0,40}|\\{\"contentBlockIndex\":[0-3],\"(delta|start)\":\\{\"(text|toolUse|reasoningContent)\":(\"x\"|\\{\"(text|input|signature|redactedContent|toolUseId)\":\"x\"\\})\\}\\}"),
                0..12,
            ),
        ) {
            let lines: Vec<_> = frames.iter().map(|(name, data)| (*name, data.as_str())).collect();
            let (seen, transcoder) = transcode(&lines);
            proptest::prop_assert!(transcoder.ended());
            let endings = seen.iter().filter(|(n, _)| n == "metadata" || n.ends_with("Exception"));
            proptest::prop_assert_eq!(endings.count(), 1);
        }
    }
}
