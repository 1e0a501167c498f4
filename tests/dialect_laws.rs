//! Laws that hold for any input: what a language writes it reads back, and nothing from outside
//! makes a reader panic.
//!
//! `PROPTEST_CASES` sets how many inputs are tried.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::format_push_string, reason = "short texts, for a failure to show")]

use finops_gateway::chat::{
    Block, Delta, Dialect, Event, Folded, Loss, Request, Seal, Sequencer, Stop, StopReason, Tool,
    Usage,
};
use finops_gateway::dialect::{self, Decoder, Encoder, Manner, Reply, Tap, Transcoder, errors};
use finops_gateway::wire::frames::{Frame, Frames, Framing};
use finops_gateway::wire::{aws_event_stream, json_scan, sse};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn framing(dialect: Dialect) -> Framing {
    if dialect == Dialect::Bedrock { Framing::AwsEventStream } else { Framing::Sse }
}

fn reply() -> Reply {
    Reply {
        model: "model-1".to_owned(),
        id: "0a1b2c3d".to_owned(),
        created: 1_700_000_000,
        include_usage: true,
        ..Reply::default()
    }
}

// Answers

fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{1,12}", "\\PC{1,6}", Just("\u{1}\"\\\n\r\t\u{2028}😀".to_owned())]
}

/// One block with its deltas. Calls have an object as arguments.
fn block() -> impl Strategy<Value = (Block<'static>, Vec<Delta<'static>>)> {
    let texts = || prop::collection::vec(words(), 1..4);
    prop_oneof![
        texts().prop_map(|pieces| {
            let deltas = pieces.into_iter().map(|piece| Delta::Text(piece.into()));
            (Block::Text, deltas.collect())
        }),
        (texts(), prop::option::of("[A-Za-z0-9+/=]{4,20}")).prop_map(|(pieces, signature)| {
            let mut deltas: Vec<_> =
                pieces.into_iter().map(|piece| Delta::Thinking(piece.into())).collect();
            deltas.extend(signature.map(|data| Delta::Seal(seal(data))));
            (Block::Thinking, deltas)
        }),
        "[A-Za-z0-9+/=]{4,20}".prop_map(|data| (Block::Redacted(seal(data)), Vec::new())),
        (any::<u32>(), "[a-z_]{1,12}", arguments()).prop_map(|(id, name, arguments)| {
            let id = format!("toolu_{id:08x}").into();
            let deltas = arguments.into_iter().map(|piece| Delta::Arguments(piece.into()));
            (Block::ToolUse { id, name: name.into() }, deltas.collect())
        }),
    ]
}

fn seal(data: String) -> Seal<'static> {
    Seal { dialect: Dialect::Anthropic, data: data.into(), id: None }
}

/// The pieces of an object, cut anywhere between two characters.
fn arguments() -> impl Strategy<Value = Vec<String>> {
    (prop::collection::btree_map("[a-z]{1,5}", words(), 1..4), 1..7_usize).prop_map(
        |(members, size)| {
            let text: Vec<char> = json!(members).to_string().chars().collect();
            text.chunks(size).map(|piece| piece.iter().collect()).collect()
        },
    )
}

fn reason() -> impl Strategy<Value = StopReason> {
    select(vec![StopReason::EndTurn, StopReason::MaxTokens, StopReason::ToolUse])
}

fn usage() -> impl Strategy<Value = Usage> {
    (0..10_000_u64, 0..10_000_u64, 0..500_u64, 0..500_u64).prop_map(
        |(input, output, cache_read, cache_write)| Usage {
            input: Some(input),
            output: Some(output),
            cache_read: Some(cache_read),
            cache_write: Some(cache_write),
            ..Usage::default()
        },
    )
}

/// A whole answer as its folded message, said in the grammar.
fn say(
    blocks: &[(Block<'static>, Vec<Delta<'static>>)],
    usage: &Usage,
    reason: StopReason,
    out: &mut dyn FnMut(Event<'_>),
) {
    let mut sequencer = Sequencer::new(true);
    let mut push = |event: Event<'_>| sequencer.push(event, out);
    push(Event::Start { id: "".into(), model: "".into(), usage: Usage::default() });
    for (slot, (block, deltas)) in (0..).zip(blocks) {
        push(Event::Open { slot, block: block.clone() });
        for delta in deltas {
            push(Event::Delta { slot, delta: delta.clone() });
        }
        push(Event::Close { slot });
    }
    push(Event::Usage(usage.clone()));
    push(Event::Stop(Stop::of(reason)));
    push(Event::End);
}

/// The frames of a stream of `dialect`.
fn split(dialect: Dialect, bytes: &[u8], each: &mut dyn FnMut(Frame<'_>)) {
    if dialect == Dialect::Bedrock {
        aws_event_stream::Splitter::new(1 << 20).feed(bytes, each).unwrap();
    } else {
        sse::Splitter::new(1 << 20).feed(bytes, each).unwrap();
    }
}

fn read_back(dialect: Dialect, bytes: &[u8]) -> Folded {
    let mut folded = Folded::default();
    let mut decoder = Decoder::new(dialect);
    let mut sequencer = Sequencer::new(dialect::closes_blocks(dialect));
    split(dialect, bytes, &mut |frame| {
        decoder.frame(frame, &mut |event| {
            sequencer.push(event, &mut |event| folded.push(&event));
        });
    });
    sequencer.finish(&mut |event| folded.push(&event));
    folded
}

/// What of an answer a language can say, as text. Only Anthropic and Bedrock keep the order of all
/// blocks; Chat has one string for all texts, Gemini none for a foreign seal, and neither of them
/// counts what was written to the cache.
fn meaning(dialect: Dialect, folded: &Folded) -> String {
    let is_call = |block: &&_| {
        matches!(block, finops_gateway::chat::FoldedBlock { block: Block::ToolUse { .. }, .. })
    };
    let all = |wanted: &Block<'_>| {
        let blocks = folded.blocks.iter().filter(|block| block.block == *wanted);
        blocks.map(|block| block.text.replace("\n\n", "")).collect::<String>()
    };
    let mut said = String::new();
    let ordered = matches!(dialect, Dialect::Anthropic | Dialect::Bedrock);
    for block in folded.blocks.iter().filter(|block| ordered || is_call(block)) {
        // An escape more or less is no other call.
        let arguments: Option<Value> =
            serde_json::from_str(&block.text).ok().filter(|_| is_call(&block));
        let text = arguments.map_or_else(|| block.text.clone(), |value| value.to_string());
        said += &format!("{:?} {text:?} {:?}\n", block.block, block.seal);
    }
    if !ordered {
        said += &format!("text {:?} thought {:?}\n", all(&Block::Text), all(&Block::Thinking));
    }
    if matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses) {
        let sealed = folded.blocks.iter().filter_map(|block| match &block.block {
            Block::Redacted(seal) => Some(seal),
            _ => block.seal.as_ref(),
        });
        said += &format!("{:?}\n", sealed.collect::<Vec<_>>());
    }
    let Usage { output, cache_read, cache_write, .. } = folded.usage;
    let some = |count: Option<u64>| count.filter(|count| *count > 0);
    let cache_write = some(cache_write).filter(|_| dialect != Dialect::Gemini);
    let cache_read = some(cache_read);
    let reason = folded.stop.as_ref().map(|stop| stop.reason).filter(|reason| {
        // Without a call, the end of a turn.
        let called = folded.blocks.iter().any(|block| is_call(&block));
        called || !matches!(reason, StopReason::ToolUse | StopReason::EndTurn)
    });
    said + &format!(
        "{reason:?} {} {output:?} {cache_read:?} {cache_write:?}",
        folded.usage.prompt()
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_is_read_as_it_was_written(
        blocks in prop::collection::vec(block(), 0..6),
        usage in usage(),
        reason in reason(),
    ) {
        let mut original = Folded::default();
        say(&blocks, &usage, reason, &mut |event| original.push(&event));
        for dialect in Dialect::ALL {
            let mut encoder = Encoder::new(dialect, reply());
            let mut out = Frames::new(framing(dialect));
            say(&blocks, &usage, reason, &mut |event| encoder.event(&event, &mut out));
            let streamed = read_back(dialect, out.bytes());
            prop_assert_eq!(&streamed.fault, &None);
            prop_assert_eq!(meaning(dialect, &streamed), meaning(dialect, &original));

            let mut body = Vec::new();
            dialect::encode_message(dialect, &original, &reply(), &mut body);
            let whole = dialect::fold_message(dialect, std::str::from_utf8(&body).unwrap());
            prop_assert_eq!(meaning(dialect, &whole), meaning(dialect, &streamed));
        }
    }

    #[test]
    fn a_tap_counts_what_a_transcoder_counts(
        blocks in prop::collection::vec(block(), 0..4),
        usage in usage(),
        reason in reason(),
    ) {
        for dialect in Dialect::ALL {
            let mut encoder = Encoder::new(dialect, reply());
            let mut out = Frames::new(framing(dialect));
            say(&blocks, &usage, reason, &mut |event| encoder.event(&event, &mut out));
            let mut tap = Tap::new(dialect);
            let mut transcoder = Transcoder::new(dialect, Dialect::Anthropic, reply());
            let mut sink = Frames::new(Framing::Sse);
            split(dialect, out.bytes(), &mut |frame| {
                tap.frame(frame);
                transcoder.feed(frame, &mut sink);
            });
            transcoder.finish(&mut sink);
            prop_assert!(tap.saw_end());
            prop_assert_eq!(tap.usage(), transcoder.usage());
            prop_assert_eq!((tap.id(), tap.model()), (transcoder.id(), transcoder.model()));
        }
    }
}

// Requests

fn text_block() -> impl Strategy<Value = Value> {
    (words(), any::<bool>()).prop_map(|(text, cached)| {
        let text = format!("x{text}");
        if cached {
            json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}})
        } else {
            json!({"type": "text", "text": text})
        }
    })
}

fn anthropic_user() -> impl Strategy<Value = Value> {
    let media = prop_oneof![
        Just(json!({"type": "image", "source": {"type": "url", "url": "https://e.com/a.png"}})),
        Just(
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}})
        ),
        Just(
            json!({"type": "document", "title": "t", "context": "c", "citations": {"enabled": true},
            "source": {"type": "text", "media_type": "text/plain", "data": "words"}})
        ),
        Just(json!({"type": "document", "source": {"type": "file", "file_id": "file_1"}})),
        Just(
            json!({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}})
        ),
        Just(json!({"type": "search_result", "source": "s", "title": "t", "content": []})),
    ];
    prop::collection::vec(prop_oneof![text_block(), media], 1..4)
        .prop_map(|content| json!({"role": "user", "content": content}))
}

fn anthropic_assistant() -> impl Strategy<Value = Value> {
    let call = ("toolu_[a-z0-9]{4}", arguments()).prop_map(|(id, pieces)| {
        let input: Value = serde_json::from_str(&pieces.concat()).unwrap();
        json!({"type": "tool_use", "id": id, "name": "f", "input": input})
    });
    let thought = Just(json!({"type": "thinking", "thinking": "hm", "signature": "EqQB"}));
    let redacted = Just(json!({"type": "redacted_thinking", "data": "Emw"}));
    prop::collection::vec(prop_oneof![text_block(), call, thought, redacted], 1..4).prop_map(
        |mut content| {
            content.push(json!({"type": "text", "text": "end"}));
            json!({"role": "assistant", "content": content})
        },
    )
}

fn anthropic_body() -> impl Strategy<Value = Value> {
    let turns = prop::collection::vec((anthropic_user(), anthropic_assistant()), 1..4);
    let optional = (
        prop::option::of(prop::collection::vec(text_block(), 1..3)),
        prop::option::of(select(vec![
            json!({"type": "auto"}),
            json!({"type": "any", "disable_parallel_tool_use": true}),
            json!({"type": "tool", "name": "f"}),
            json!({"type": "none"}),
        ])),
        prop::option::of(select(vec![
            json!({"type": "enabled", "budget_tokens": 2000}),
            json!({"type": "adaptive", "display": "updates"}),
            json!({"type": "disabled"}),
        ])),
        prop::option::of(select(vec![
            json!({"effort": "high"}),
            json!({"format": {"type": "json_schema", "schema": {"type": "object"}}}),
        ])),
        any::<bool>(),
    );
    (turns, optional).prop_map(|(turns, (system, choice, thinking, config, rest))| {
        let messages: Vec<Value> = turns.into_iter().flat_map(|(u, a)| [u, a]).collect();
        let mut body = json!({
            "model": "claude-opus-4-7", "messages": messages, "max_tokens": 4000, "tools": [
                {"name": "f", "description": "d", "strict": true,
                    "input_schema": {"zeta": 1, "type": "object", "alpha": 1.5}},
                {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
            ],
        });
        let members = [
            ("system", system.map(Value::from)),
            ("tool_choice", choice),
            ("thinking", thinking),
            ("output_config", config),
            ("temperature", rest.then(|| json!(0.5))),
            ("top_k", rest.then(|| json!(7))),
            ("stop_sequences", rest.then(|| json!(["END"]))),
            ("metadata", rest.then(|| json!({"user_id": "u"}))),
            ("service_tier", rest.then(|| json!("auto"))),
            ("container", rest.then(|| json!({"id": [1, 2]}))),
            ("stream", rest.then(|| json!(true))),
        ];
        for (name, value) in members {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        body
    })
}

fn chat_body() -> impl Strategy<Value = Value> {
    let text = || words().prop_map(|text| format!("x{text}"));
    let user = prop_oneof![
        text().prop_map(|text| json!({"role": "user", "content": text, "name": "bob"})),
        text().prop_map(|text| {
            json!({"role": "user", "content": [
                {"type": "text", "text": text},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://e.com/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "video_url", "video_url": {"url": "https://e.com/a.mp4"}},
            ]})
        }),
    ];
    let turn =
        (user, text(), arguments(), any::<bool>()).prop_map(|(user, text, pieces, calls)| {
            if calls {
                let call = json!({"id": "call_1", "type": "function",
                "function": {"name": "f", "arguments": pieces.concat()}});
                let answer = json!({"role": "assistant", "content": text, "tool_calls": [call]});
                let result = json!({"role": "tool", "tool_call_id": "call_1", "content": "r"});
                vec![user, answer, result]
            } else {
                vec![user, json!({"role": "assistant", "content": text, "refusal": "no"})]
            }
        });
    let parameters = select(vec![
        json!({"tool_choice": "auto", "parallel_tool_calls": false, "temperature": 1.25}),
        json!({"tool_choice": {"type": "function", "function": {"name": "f"}}, "top_p": 0.5}),
        json!({"n": 1, "logprobs": true, "top_logprobs": 3, "seed": 7, "stop": ["a", "b"]}),
        json!({"reasoning_effort": "low", "verbosity": "low", "metadata": {"a": "b"}}),
        json!({"response_format": {"type": "json_object"}, "user": "u", "service_tier": "flex"}),
        json!({"response_format": {"type": "json_schema", "json_schema": {
            "name": "n", "description": "d", "strict": true, "schema": {"type": "object"}}}}),
        json!({"frequency_penalty": 0.5, "presence_penalty": -0.5, "logit_bias": {"1": 2}}),
        json!({"prompt_cache_key": "k", "max_completion_tokens": 5, "store": true}),
    ]);
    let turns = prop::collection::vec(turn, 1..4);
    (turns, parameters, text()).prop_map(|(turns, parameters, system)| {
        let mut messages = vec![json!({"role": "system", "content": system})];
        messages.extend(turns.into_iter().flatten());
        let mut body = json!({"model": "gpt-4o", "messages": messages, "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "strict": false,
                "parameters": {"zeta": 1, "type": "object", "alpha": 1.5}}},
            {"type": "custom", "custom": {"name": "c"}},
        ]});
        for (name, value) in parameters.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    })
}

/// A request without the places where its parts stood.
fn told(request: &Request<'_>) -> String {
    let place =
        r#"place: Place \{ list: "\w+", item: \w+(\(\d+\))?, inner: \w+(\(\("\w+", \d+\)\))? \}"#;
    let told =
        regex::Regex::new(place).unwrap().replace_all(&format!("{request:?}"), "").into_owned();
    // Responses have to be told what is the rule elsewhere.
    let told = told.replace("strict: Some(false)", "strict: None");
    if request.tools.iter().any(|tool| matches!(tool, Tool::Function(_))) {
        return told;
    }
    // Where there is no function, these two say nothing.
    let told = told.replace("tool_choice: Some(Auto)", "tool_choice: None");
    told.replace("tool_choice: Some(None)", "tool_choice: None")
}

/// How much of a body its own language's encoder reports to be lost.
fn lost(dialect: Dialect, body: &Value) -> usize {
    let body = body.to_string();
    let mut loss = Loss::default();
    let request = dialect::decode_request(dialect, &body, &mut loss).unwrap();
    let manner = Manner::standard();
    dialect::encode_request(dialect, &request, &manner, &mut Vec::new(), &mut loss).unwrap();
    loss.entries().len()
}

fn assert_kept(dialect: Dialect, body: &Value) {
    let body = body.to_string();
    let mut loss = Loss::default();
    let request = dialect::decode_request(dialect, &body, &mut loss).unwrap();
    let mut out = Vec::new();
    let manner = Manner::standard();
    dialect::encode_request(dialect, &request, &manner, &mut out, &mut loss).unwrap();
    assert!(loss.is_empty(), "{loss:?}");
    let again = String::from_utf8(out).unwrap();
    let read = dialect::decode_request(dialect, &again, &mut loss).unwrap();
    let (left, right) = (told(&read), told(&request));
    let at = left.bytes().zip(right.bytes()).position(|(a, b)| a != b).unwrap_or(0);
    let tail = |text: &str| text.chars().skip(at.saturating_sub(40)).take(160).collect::<String>();
    assert!(left == right, "…{}\n…{}\n{body}\n{again}", tail(&left), tail(&right));
}

/// Kinds that are said in another, equal form even at home, or need more than one answer or a
/// state that the provider keeps.
const OTHER_FORM: [(Option<Dialect>, &str); 6] = [
    (None, "several answers"),
    (None, "storing"),
    (Some(Dialect::OpenAiChat), "system prompts"),
    (Some(Dialect::OpenAiChat), "thinking, by a budget"),
    (Some(Dialect::Bedrock), "document, plain text"),
    (Some(Dialect::Gemini), "thinking, by an effort"),
];

/// The kinds of content of the fidelity table, as members of a body of `dialect`, above its base.
fn kinds(dialect: Dialect) -> (Value, Vec<(String, Value)>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/fidelity.json");
    let all: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let name = dialect.name();
    let kinds = all["kinds"].as_array().unwrap().iter().filter(|kind| !kind[name].is_null());
    let kinds = kinds.map(|kind| (kind["kind"].as_str().unwrap().to_owned(), kind[name].clone()));
    let kinds = kinds.filter(|(kind, _)| {
        !OTHER_FORM
            .iter()
            .any(|(only, start)| only.is_none_or(|only| only == dialect) && kind.starts_with(start))
    });
    (all["base"][name].clone(), kinds.collect())
}

/// A body of `dialect` with several kinds of content.
fn mixed(dialect: Dialect) -> impl Strategy<Value = Value> {
    let (base, kinds) = kinds(dialect);
    prop::collection::vec(select(kinds), 1..6).prop_map(move |chosen| {
        let mut body = base.clone();
        for (name, value) in chosen.iter().flat_map(|(_, patch)| patch.as_object().unwrap()) {
            body[name] = value.clone();
        }
        body
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_of_any_language_is_read_as_it_was_written_or_its_loss_told(
        bodies in Dialect::ALL.map(mixed),
    ) {
        for (dialect, body) in Dialect::ALL.into_iter().zip(&bodies) {
            if lost(dialect, body) == 0 {
                assert_kept(dialect, body);
            }
        }
    }

    #[test]
    fn an_anthropic_request_is_read_as_it_was_written(body in anthropic_body()) {
        assert_kept(Dialect::Anthropic, &body);
    }

    #[test]
    fn a_chat_request_is_read_as_it_was_written(body in chat_body()) {
        assert_kept(Dialect::OpenAiChat, &body);
    }

    #[test]
    fn any_request_is_said_in_every_language_or_refused(
        anthropic in anthropic_body(),
        chat in chat_body(),
    ) {
        for (from, body) in [(Dialect::Anthropic, anthropic), (Dialect::OpenAiChat, chat)] {
            let body = body.to_string();
            for to in Dialect::ALL.into_iter().filter(|to| *to != from) {
                let mut loss = Loss::default();
                let request = dialect::decode_request(from, &body, &mut loss).unwrap();
                let mut out = Vec::new();
                let manner = Manner::standard();
                let said = dialect::encode_request(to, &request, &manner, &mut out, &mut loss);
                if let Err(refused) = &said {
                    // Bedrock refuses images by URL, aloud, where others would fetch them.
                    prop_assert!(to == Dialect::Bedrock, "{refused}");
                    continue;
                }
                json_scan::validate(&out, json_scan::DEPTH_MAX).unwrap();
                let text = std::str::from_utf8(&out).unwrap();
                dialect::decode_request(to, text, &mut loss).unwrap();
            }
        }
    }
}

// Whatever comes from outside

/// Every JSON text of the golden cases whose file name ends so, one per frame.
fn golden(ending: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    for pair in fs::read_dir(root).unwrap() {
        // Beside the pairs stand the harness's own files.
        let Ok(cases) = fs::read_dir(pair.unwrap().path()) else { continue };
        for case in cases {
            for file in fs::read_dir(case.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                if path.to_string_lossy().ends_with(ending) {
                    let text = fs::read_to_string(path).unwrap();
                    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
                    texts.extend(data.map(str::to_owned));
                    if ending == "jsonl" {
                        texts.extend(text.lines().map(str::to_owned));
                    }
                    if ending.ends_with("json") {
                        texts.push(text);
                    }
                }
            }
        }
    }
    texts.retain(|text| text.len() < 8_000);
    texts
}

/// The text with one of its values replaced by another.
fn disturbed(text: &str, at: usize, by: &Value) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    let mut left = at;
    disturb(&mut value, &mut left, by);
    value.to_string()
}

fn disturb(value: &mut Value, left: &mut usize, by: &Value) {
    if *left == 0 {
        *value = by.clone();
    }
    *left = left.wrapping_sub(1);
    match value {
        Value::Object(members) => members.values_mut().for_each(|value| disturb(value, left, by)),
        Value::Array(elements) => elements.iter_mut().for_each(|value| disturb(value, left, by)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn odd() -> impl Strategy<Value = Value> {
    select(vec![
        Value::Null,
        json!(""),
        json!("x\u{0}\"y"),
        json!(-1),
        json!(1e300),
        json!(true),
        json!([]),
        json!({}),
        json!([[{}], null, 3]),
        json!({"type": "text"}),
        json!({"type": 7, "content": [null]}),
    ])
}

fn read_as_everything(data: &str) {
    for upstream in Dialect::ALL {
        for name in [None, Some("message_start"), Some("metadata"), Some("chunk")] {
            let frame = Frame { name, exception: false, data };
            let mut tap = Tap::new(upstream);
            tap.frame(frame);
            tap.finish();
            for client in Dialect::ALL {
                let mut transcoder = Transcoder::new(upstream, client, reply());
                let mut out = Frames::new(framing(client));
                transcoder.feed(frame, &mut out);
                transcoder.feed(frame, &mut out);
                transcoder.finish(&mut out);
                assert!(transcoder.ended());
            }
            errors::of_frame(upstream, &frame);
        }
        let folded = dialect::fold_message(upstream, data);
        for client in Dialect::ALL {
            let mut out = Vec::new();
            dialect::encode_message(client, &folded, &reply(), &mut out);
            json_scan::validate(&out, json_scan::DEPTH_MAX).unwrap();
        }
        let fault = errors::read(upstream, 500, data.as_bytes());
        let mut out = Vec::new();
        errors::write(upstream, 500, &fault, "r", &mut out);
        json_scan::validate(&out, json_scan::DEPTH_MAX).unwrap();
    }
}

fn read_as_request(from: Dialect, body: &str) {
    if json_scan::validate(body.as_bytes(), json_scan::DEPTH_MAX).is_err() {
        return;
    }
    let mut loss = Loss::default();
    let Ok(request) = dialect::decode_request(from, body, &mut loss) else { return };
    let estimate = dialect::estimate_tokens(&request);
    assert!(estimate <= 1_000_000);
    for to in Dialect::ALL {
        let mut out = Vec::new();
        let manner = Manner::standard();
        if dialect::encode_request(to, &request, &manner, &mut out, &mut loss).is_ok() {
            json_scan::validate(&out, json_scan::DEPTH_MAX).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_a_reader_panic(data in "\\PC{0,40}") {
        read_as_everything(&data);
        for from in Dialect::ALL {
            read_as_request(from, &data);
        }
    }

    #[test]
    fn no_odd_answer_makes_a_reader_panic(
        data in prop_oneof![select(golden("sse")), select(golden("jsonl"))],
        at in 0..60_usize,
        by in odd(),
    ) {
        read_as_everything(&disturbed(&data, at, &by));
    }

    #[test]
    fn no_odd_message_makes_a_reader_panic(
        data in select(golden("upstream.json")),
        at in 0..80_usize,
        by in odd(),
    ) {
        read_as_everything(&disturbed(&data, at, &by));
    }

    #[test]
    fn no_odd_request_makes_a_reader_panic(
        data in select(golden("request.json")),
        at in 0..120_usize,
        by in odd(),
    ) {
        let body = disturbed(&data, at, &by);
        for from in Dialect::ALL {
            read_as_request(from, &body);
        }
    }
}
