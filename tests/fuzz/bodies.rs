//! What must hold for any bytes from outside, one function per parser.
//!
//! In: bytes. Out: nothing, or a failed assertion. Used twice: by the fuzz targets here (nightly),
//! and by `tests/parsers.rs` with seeded random input (stable).

use std::ops::Range;

use finops_gateway::chat::{Dialect, Loss};
use finops_gateway::dialect::{self, Manner, Reply, Tap, Transcoder, foreign_reasoning};
use finops_gateway::wire::aws_event_stream;
use finops_gateway::wire::frames::{Frame, Frames, Framing};
use finops_gateway::wire::http1::{self, BodyKind, Chunked, Limits, Method};
use finops_gateway::wire::http2_meter::Meter;
use finops_gateway::wire::json_scan::{self, Fault, Lane, Span};
use finops_gateway::wire::json_splice::{self, Edit, Misfit};
use finops_gateway::wire::sse::{Malformed, Splitter};
use serde_json::Value;

/// serde_json refuses its 128th level.
const DEPTH_OF_SERDE: usize = 127;

/// A taken request head is whole, reads the same when it stands alone, is incomplete in every cut,
/// and holds nothing that could end a line.
pub fn http1_request(data: &[u8]) {
    let limits = Limits::default();
    let Ok(Some(head)) = http1::parse_request(data, &limits) else { return };
    let whole = &data[..head.len];
    assert!(whole.ends_with(b"\r\n\r\n") && whole.len() <= limits.head_bytes + 4);
    let again = http1::parse_request(whole, &limits);
    assert!(matches!(&again, Ok(Some(again)) if again.headers == head.headers));
    for cut in cuts(whole) {
        assert!(matches!(http1::parse_request(&whole[..cut], &limits), Ok(None)), "cut at {cut}");
    }
    for (name, value) in head.headers(data) {
        assert!(http1::is_token(name.as_bytes()) && http1::is_value(value));
        assert_eq!(value.trim_ascii(), value);
    }
    let count = |wanted: &str| {
        head.headers(data).filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).count()
    };
    let (lengths, codings) = (count("content-length"), count("transfer-encoding"));
    match head.body {
        BodyKind::None => assert!(lengths == 0 && codings == 0),
        BodyKind::Length(_) => assert!(lengths == 1 && codings == 0),
        BodyKind::Chunked => assert!(lengths == 0 && codings == 1 && head.http11),
        BodyKind::UntilClose => unreachable!("a request ends before its connection"),
    }
    assert!(count("host") == 1 || (!head.http11 && count("host") == 0));
    if head.method != Method::Other {
        let target = http1::path_and_query(head.target.str_of(data));
        assert!(target.is_ok_and(|target| target.path.starts_with('/') || target.path == "*"));
    }
}

/// Frames cost the same in whatever pieces they come.
pub fn http2_frames(data: &[u8]) {
    let judge = |step: usize| {
        let mut meter = Meter::new(0);
        let verdict = data.chunks(step).try_for_each(|piece| meter.receive(piece, 0));
        (verdict, verdict.is_ok().then(|| meter.awaits_head()))
    };
    let whole = judge(data.len().max(1));
    for step in [1, 2, 7, 9, 64] {
        assert_eq!(judge(step), whole, "in pieces of {step}");
    }
}

/// As for requests; and refusals are the upstream's fault.
pub fn http1_response(data: &[u8]) {
    let limits = Limits::default();
    for to_head_request in [false, true] {
        let head = match http1::parse_response(data, &limits, to_head_request) {
            Ok(Some(head)) => head,
            Ok(None) => continue,
            Err(refusal) => {
                assert!(refusal.status == 502 && refusal.close);
                continue;
            }
        };
        let whole = &data[..head.len];
        assert!(whole.ends_with(b"\r\n\r\n") && (100..1000).contains(&head.status));
        for cut in cuts(whole) {
            let outcome = http1::parse_response(&whole[..cut], &limits, to_head_request);
            assert!(matches!(outcome, Ok(None)), "cut at {cut}");
        }
        assert!(!to_head_request || head.body == BodyKind::None);
        assert!(head.body != BodyKind::UntilClose || !head.keep_alive);
    }
}

/// Targets that are taken split into what they were, and decode to clean text or not at all.
pub fn http1_target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(target) = http1::path_and_query(text) {
        assert!(target.path == "*" || target.path.starts_with('/'));
        let query = target.query.map(|query| format!("?{query}")).unwrap_or_default();
        assert!(text.ends_with(&format!("{}{query}", target.path)) || target.path == "/");
        assert!(http1::segments(target.path).count() >= 1);
    }
    if let Ok(decoded) = http1::percent_decode(text) {
        assert!(decoded.len() <= text.len());
        assert!(text.contains('%') || decoded == text);
    }
}

/// A chunked body decodes alike however it is cut, and leaves what follows it alone.
pub fn http1_chunked(data: &[u8]) {
    let decode = |step: usize| {
        let mut chunked = Chunked::default();
        let (mut payload, mut consumed) = (Vec::new(), 0);
        for read in data.chunks(step.max(1)) {
            let mut buf = read.to_vec();
            let Ok(progress) = chunked.decode(&mut buf) else { return (payload, None) };
            assert!(progress.produced <= progress.consumed && progress.consumed <= buf.len());
            assert_eq!(buf[progress.consumed..], read[progress.consumed..]);
            assert_eq!(progress.done, chunked.is_done());
            consumed += progress.consumed;
            payload.extend_from_slice(&buf[..progress.produced]);
            if progress.done {
                return (payload, Some((consumed, true)));
            }
            assert_eq!(progress.consumed, buf.len());
        }
        (payload, Some((consumed, false)))
    };
    let (payload, end) = decode(data.len());
    for step in [1, 2, 3, 7, 64] {
        let (in_steps, end_in_steps) = decode(step);
        assert_eq!(end, end_in_steps);
        // a refusal comes with the read that it is in: the steps before it have given theirs
        assert!(end.is_none() || in_steps == payload);
    }
}

/// The scan takes what serde_json takes, in every lane, and names the first byte that was wrong.
pub fn json_scan(data: &[u8]) {
    let outcome = json_scan::validate(data, DEPTH_OF_SERDE);
    for lane in Lane::all() {
        assert_eq!(json_scan::validate_with(lane, data, DEPTH_OF_SERDE), outcome, "{lane:?}");
    }
    match (&outcome, serde_json::from_slice::<Value>(data)) {
        (Ok(()), Ok(_)) | (Err(_), Err(_)) => {}
        // RFC 8259 knows no range of numbers
        (Ok(()), Err(error)) if error.to_string().contains("number out of range") => {}
        (ours, theirs) => unreachable!("{ours:?}, but serde_json says {theirs:?}"),
    }
    if let Err(fault) = outcome {
        the_first_bad_byte(data, fault);
    }
    if let Ok(found) = json_scan::scan(data, DEPTH_OF_SERDE, &["model", "stream"]) {
        let tree: Option<Value> = serde_json::from_slice(data).ok();
        for (name, span) in ["model", "stream"].iter().zip(found) {
            let value = span.and_then(|span| serde_json::from_slice::<Value>(span.of(data)).ok());
            assert!(
                tree.is_none() || value.as_ref() == tree.as_ref().and_then(|tree| tree.get(name))
            );
        }
    }
}

/// What stands before the fault could still have become JSON.
fn the_first_bad_byte(data: &[u8], fault: Fault) {
    assert!(fault.at <= data.len());
    if fault.what == "a byte is not UTF-8" || fault.what == "half a surrogate pair" {
        return;
    }
    if let Err(before) = json_scan::validate(&data[..fault.at], DEPTH_OF_SERDE) {
        assert_eq!((before.at, before.what), (fault.at, "the text ends too early"));
    }
}

/// Edits of a good body give a good body, and touch nothing but what they name.
pub fn json_splice(data: &[u8]) {
    let found = json_scan::scan(data, DEPTH_OF_SERDE, &["model", "stream", "a"]);
    let (Ok([model, stream, other]), Ok(mut expected)) = (found, read(data)) else { return };
    let mut edits = vec![Edit::Insert { name: "added\"", value: b"[\"x\"]" }];
    edits
        .extend(model.map(|value| Edit::Replace { value, with: b"\"a longer name than before\"" }));
    expected.iter_mut().filter(|(name, _)| name == "model").for_each(|(_, value)| {
        *value = "a longer name than before".into();
    });
    for (name, span) in [("stream", stream), ("a", other)] {
        edits.extend(span.map(|value| Edit::Remove { value }));
        expected.retain(|(key, _)| key != name);
    }
    expected.push(("added\"".to_owned(), serde_json::json!(["x"])));
    let mut body = data.to_vec();
    assert_eq!(json_splice::apply(&mut body, &edits), Ok(()));
    assert_eq!(read(&body).ok(), Some(expected), "{:?}", String::from_utf8_lossy(&body));
    if let Some(span) = model {
        let mut body = data.to_vec();
        assert_eq!(json_splice::replace(&mut body, span, b"0"), Ok(()));
        assert_eq!(body, [&data[..span.start], b"0", &data[span.end..]].concat());
    }
}

/// Any edits of any bytes are made or refused; a refusal changes nothing.
pub fn json_splice_anywhere(data: &[u8]) {
    let Some((&[a, b, c, d], body)) = data.split_first_chunk::<4>() else { return };
    let span = |a: u8, b: u8| Span { start: a.into(), end: b.into() };
    let edits = [
        Edit::Remove { value: span(a, b) },
        Edit::Replace { value: span(c, d), with: b"12345" },
        Edit::Insert { name: "n", value: b"1" },
        Edit::Replace { value: span(a, a), with: b"" },
    ];
    for edits in [&edits[..], &edits[1..], &edits[..1], &edits[1..2], &edits[2..]] {
        let mut edited = body.to_vec();
        if let Err(misfit) = json_splice::apply(&mut edited, edits) {
            assert!(!matches!(misfit, Misfit::Fault(_)) && edited == body);
        }
    }
}

/// The members of an object, all of them, in order.
fn read(text: &[u8]) -> Result<Vec<(String, Value)>, serde_json::Error> {
    struct Members;
    impl<'de> serde::de::Visitor<'de> for Members {
        type Value = Vec<(String, Value)>;
        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }
    let mut text = serde_json::Deserializer::from_slice(text);
    let members = serde::Deserializer::deserialize_map(&mut text, Members)?;
    text.end().map(|()| members)
}

/// Name and data of each event, and whether the stream could be read to its end.
type Events = (Vec<(Option<String>, String)>, bool);

/// A stream splits alike however it is cut, and as the specification's own words read.
pub fn sse(data: &[u8]) {
    let expected = by_the_book(data);
    for step in [data.len(), 1, 2, 3, 7, 64] {
        let mut splitter = Splitter::new(1 << 20);
        let mut events = Vec::new();
        let mut each = |frame: Frame<'_>| {
            events.push((frame.name.map(str::to_owned), frame.data.to_owned()));
        };
        let outcome = data
            .chunks(step.max(1))
            .try_for_each(|read| splitter.feed(read, &mut each))
            .and_then(|()| splitter.finish(&mut each));
        assert!(matches!(outcome, Ok(()) | Err(Malformed::NotUtf8)));
        assert_eq!((events, outcome.is_ok()), expected, "in reads of {step}");
    }
    let mut small = Splitter::new(16);
    let mut largest = 0;
    for read in data.chunks(5) {
        let _ = small.feed(read, &mut |frame| largest = largest.max(frame.data.len()));
    }
    assert!(largest <= 16);
}

fn by_the_book(stream: &[u8]) -> Events {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let (mut events, mut name, mut data) = (Vec::new(), Vec::new(), None::<Vec<u8>>);
    for line in lines(stream).into_iter().map(|line| &stream[line]).chain([&b""[..]]) {
        if line.is_empty() {
            let (name, data) = (std::mem::take(&mut name), data.take());
            let Some(data) = data else { continue };
            match (String::from_utf8(name), String::from_utf8(data)) {
                (Ok(name), Ok(data)) => events.push(((!name.is_empty()).then_some(name), data)),
                _ => return (events, false),
            }
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let (field, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => name = value.to_vec(),
            b"data" => {
                data = Some(match data {
                    Some(before) => [&before[..], b"\n", value].concat(),
                    None => value.to_vec(),
                });
            }
            _ => {}
        }
    }
    (events, true)
}

/// The lines of a stream, whichever way each ends.
fn lines(stream: &[u8]) -> Vec<Range<usize>> {
    let (mut lines, mut start) = (Vec::new(), 0);
    for (at, &byte) in stream.iter().enumerate() {
        let second_half = byte == b'\n' && at > 0 && stream[at - 1] == b'\r';
        if second_half {
            start = at + 1;
        } else if byte == b'\n' || byte == b'\r' {
            lines.push(start..at);
            start = at + 1;
        }
    }
    lines.push(start..stream.len());
    lines
}

/// A few places to cut at: all of them for short bytes.
fn cuts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    (0..bytes.len()).step_by(1 + bytes.len() / 256)
}

/// An AWS event stream splits alike however it is cut.
pub fn aws_event_stream(data: &[u8]) {
    let split = |step: usize| {
        let mut splitter = aws_event_stream::Splitter::new(1 << 16);
        let mut frames = Vec::new();
        let mut each = |frame: Frame<'_>| {
            frames.push((frame.name.map(str::to_owned), frame.exception, frame.data.to_owned()));
        };
        let good = data.chunks(step.max(1)).all(|read| splitter.feed(read, &mut each).is_ok());
        (frames, good)
    };
    let whole = split(data.len());
    for step in [1, 3, 64] {
        assert_eq!(split(step), whole, "in reads of {step}");
    }
}

/// A stream of any frames ends once in every client's language, and is counted alike by a tap. A
/// line is a frame, its name before the first tab.
fn answer(upstream: Dialect, data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let frames = text.lines().map(|line| match line.split_once('\t') {
        Some((name, data)) => Frame { name: Some(name), exception: false, data },
        None => Frame { name: None, exception: false, data: line },
    });
    let frames: Vec<Frame<'_>> = frames
        .filter(|frame| json_scan::validate(frame.data.as_bytes(), DEPTH_OF_SERDE).is_ok())
        .collect();
    let mut tap = Tap::new(upstream);
    for frame in &frames {
        tap.frame(*frame);
    }
    tap.finish();
    for client in Dialect::ALL {
        let framing =
            if client == Dialect::Bedrock { Framing::AwsEventStream } else { Framing::Sse };
        let mut transcoder = Transcoder::new(upstream, client, Reply::default());
        let mut out = Frames::new(framing);
        for frame in &frames {
            transcoder.feed(*frame, &mut out);
        }
        transcoder.finish(&mut out);
        assert!(transcoder.ended());
        let length = out.bytes().len();
        transcoder.finish(&mut out);
        assert_eq!(out.bytes().len(), length, "something was said after the end");
    }
    for frame in &frames {
        let folded = dialect::fold_message(upstream, frame.data);
        for client in Dialect::ALL {
            let mut whole = Vec::new();
            dialect::encode_message(client, &folded, &Reply::default(), &mut whole);
            assert_eq!(json_scan::validate(&whole, json_scan::DEPTH_MAX), Ok(()));
        }
    }
}

/// A request is refused, or said in every language as good JSON; and what is cut out of one that
/// goes on by its bytes leaves good JSON.
fn request(client: Dialect, data: &[u8]) {
    // Its levels go into those of another body.
    if json_scan::validate(data, DEPTH_OF_SERDE / 2).is_err() {
        return;
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut loss = Loss::default();
    let edits = foreign_reasoning::cuts(client, data, "claude-opus-4-7", &mut loss);
    let mut cut = data.to_vec();
    if json_splice::apply(&mut cut, &edits).is_ok() {
        assert_eq!(json_scan::validate(&cut, DEPTH_OF_SERDE), Ok(()));
    }
    let Ok(request) = dialect::decode_request(client, text, &mut loss) else { return };
    for upstream in Dialect::ALL {
        let mut out = Vec::new();
        let manner = Manner::standard();
        if dialect::encode_request(upstream, &request, &manner, &mut out, &mut loss).is_ok() {
            assert_eq!(json_scan::validate(&out, json_scan::DEPTH_MAX), Ok(()));
        }
    }
}

pub fn answer_anthropic(data: &[u8]) {
    answer(Dialect::Anthropic, data);
}

pub fn answer_openai_chat(data: &[u8]) {
    answer(Dialect::OpenAiChat, data);
}

pub fn answer_openai_responses(data: &[u8]) {
    answer(Dialect::OpenAiResponses, data);
}

pub fn answer_bedrock(data: &[u8]) {
    answer(Dialect::Bedrock, data);
}

pub fn answer_gemini(data: &[u8]) {
    answer(Dialect::Gemini, data);
}

pub fn request_anthropic(data: &[u8]) {
    request(Dialect::Anthropic, data);
}

pub fn request_openai_chat(data: &[u8]) {
    request(Dialect::OpenAiChat, data);
}

pub fn request_openai_responses(data: &[u8]) {
    request(Dialect::OpenAiResponses, data);
}

pub fn request_bedrock(data: &[u8]) {
    request(Dialect::Bedrock, data);
}

pub fn request_gemini(data: &[u8]) {
    request(Dialect::Gemini, data);
}
