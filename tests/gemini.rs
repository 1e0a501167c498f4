//! Laws and rules of the Gemini dialect that no single golden case shows.

#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

use finops_gateway::chat::{
    Block, Delta, Dialect, ErrorKind, Event, Folded, Loss, Part, PartKind, Place, Reasoning,
    Request, Role, Seal, Sequencer, StopReason, Turn, Usage,
};
use finops_gateway::dialect::{self, Decoder, Encoder, Manner, Reply};
use finops_gateway::wire::frames::{Frame, Frames, Framing};
use finops_gateway::wire::json_scan;
use proptest::prelude::*;
use serde_json::{Value, json};

fn lost(loss: &Loss) -> Vec<String> {
    loss.entries().iter().map(|lost| format!("{}: {:?}", lost.path, lost.reason)).collect()
}

/// Through the hub and back into the same language.
fn again(body: &str, model: &str) -> (Value, Vec<String>) {
    let mut loss = Loss::default();
    let mut request = dialect::decode_request(Dialect::Gemini, body, &mut loss).unwrap();
    request.model = model.into();
    let (out, more) = encoded(&request);
    let mut all = lost(&loss);
    all.extend(more);
    (out, all)
}

fn encoded(request: &Request<'_>) -> (Value, Vec<String>) {
    let (mut out, mut loss) = (Vec::new(), Loss::default());
    let manner = Manner::standard();
    dialect::encode_request(Dialect::Gemini, request, &manner, &mut out, &mut loss).unwrap();
    (serde_json::from_slice(&out).unwrap(), lost(&loss))
}

fn decoded(body: &Value, model: &'static str) -> Request<'static> {
    let body = body.to_string().leak();
    let mut loss = Loss::default();
    let mut request = dialect::decode_request(Dialect::Gemini, body, &mut loss).unwrap();
    request.model = model.into();
    request
}

#[test]
fn a_full_request_comes_through_unchanged() {
    let body = json!({
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Grüße"}]},
        "contents": [
            {"role": "user", "parts": [
                {"text": "Look"},
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
                {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.example/a.pdf"}},
                {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"},
                    "videoMetadata": {"fps": 2}},
                {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/o.png"}}
            ]},
            {"role": "model", "parts": [
                {"text": "Let me see", "thought": true},
                {"functionCall": {"id": "a", "name": "f", "args": {"z": 1, "a": [1.50]}},
                    "thoughtSignature": "c2ln"},
                {"functionCall": {"id": "b", "name": "g", "args": {}}},
                {"executableCode": {"language": "PYTHON", "code": "1+1"}}
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "a", "name": "f", "response": {"temp": 20}}},
                {"functionResponse": {"id": "b", "name": "g", "response": {"error": "no"}}}
            ]},
            {"role": "user", "parts": [{"text": "And?"}]},
            {"role": "model", "parts": [{"text": "Fine.", "thoughtSignature": "dGV4dA=="}]},
            {"role": "user", "parts": [{"text": "Thanks"}]}
        ],
        "tools": [
            {"functionDeclarations": [
                {"name": "f", "description": "F", "parametersJsonSchema": {"type": "object",
                    "properties": {"z": {"type": "string"}, "a": {"type": "integer"}}}},
                {"name": "g", "parameters": {"type": "OBJECT", "properties":
                    {"q": {"type": "STRING", "nullable": true}}}},
                {"name": "h"}
            ]},
            {"googleSearch": {}}
        ],
        "toolConfig": {
            "functionCallingConfig": {"mode": "VALIDATED", "allowedFunctionNames": ["f", "g"]},
            "includeServerSideToolInvocations": true,
            "retrievalConfig": {"languageCode": "de"}
        },
        "generationConfig": {
            "maxOutputTokens": 100, "temperature": 0.30, "topP": 1.0, "topK": 40, "seed": 7,
            "presencePenalty": 0.5, "frequencyPenalty": -0.5, "logprobs": 3,
            "responseLogprobs": true, "candidateCount": 1, "stopSequences": ["END", "\n\n"],
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object", "properties": {"b": {}, "a": {}}},
            "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": true},
            "speechConfig": {"languageCode": "de-DE"}, "mediaResolution": "MEDIA_RESOLUTION_LOW"
        },
        "labels": {"team": "a"},
        "serviceTier": "flex",
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "cachedContent": "cachedContents/1"
    });
    let (out, lost) = again(&body.to_string(), "gemini-3-flash-preview");
    assert_eq!(out, body);
    assert_eq!(lost, Vec::<String>::new());
}

#[test]
fn snake_case_is_the_same_request() {
    let camel = json!({
        "systemInstruction": {"parts": [{"text": "s"}]},
        "contents": [{"role": "user", "parts": [
            {"inlineData": {"mimeType": "image/png", "data": "ab+/"}}]}],
        "tools": [{"functionDeclarations": [
            {"name": "f", "parametersJsonSchema": {"type": "object"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {"maxOutputTokens": 9, "stopSequences": ["x"],
            "thinkingConfig": {"thinkingBudget": 2000, "includeThoughts": true}}
    });
    let snake = json!({
        "system_instruction": "s",
        "contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": "ab-_"}}]}],
        "tools": [{"function_declarations": [
            {"name": "f", "parameters_json_schema": {"type": "object"}}]}],
        "tool_config": {"function_calling_config":
            {"mode": "any", "allowed_function_names": ["f"]}},
        "generation_config": {"max_output_tokens": "9", "stop_sequences": ["x"],
            "thinking_config": {"thinking_budget": 2000, "include_thoughts": true}}
    });
    let (camel_out, _) = again(&camel.to_string(), "gemini-2.5-flash");
    let (snake_out, lost) = again(&snake.to_string(), "gemini-2.5-flash");
    assert_eq!(snake_out, camel_out);
    assert_eq!(camel_out, camel);
    assert_eq!(lost, Vec::<String>::new());
}

#[test]
fn calls_and_responses_without_ids_are_paired_by_name_and_order() {
    let body = json!({"contents": [
        {"role": "user", "parts": [{"text": "q"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"n": 1}}},
            {"functionCall": {"name": "g"}}, {"functionCall": {"name": "f", "args": {"n": 2}}}]},
        {"role": "function", "parts": [
            {"functionResponse": {"name": "f", "response": {"result": "one"}}},
            {"functionResponse": {"name": "f", "response": {"result": "two"}}},
            {"functionResponse": {"name": "g", "response": {"output": "gee"}}}]}
    ]});
    let request = decoded(&body, "gemini-2.5-flash");
    let ids = |turn: &Turn<'_>| -> Vec<String> {
        turn.parts
            .iter()
            .map(|part| match &part.kind {
                PartKind::ToolUse { id, .. } | PartKind::ToolResult { id, .. } => id.to_string(),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    assert_eq!(ids(&request.turns[1]), ["call_0", "call_1", "call_2"]);
    assert_eq!(ids(&request.turns[2]), ["call_0", "call_2", "call_1"]);
}

#[test]
fn a_streamed_history_is_joined_again() {
    let body = json!({"contents": [
        {"role": "user", "parts": [{"text": "q"}]},
        {"role": "model", "parts": [{"text": "Hm", "thought": true}]},
        {"role": "model", "parts": [{"text": "m.", "thought": true}]},
        {"role": "model", "parts": [{"text": "", "thought": true, "thoughtSignature": "c2ln"}]},
        {"role": "model", "parts": [{"text": "He"}]},
        {"role": "model", "parts": [{"text": "llo"}]},
        {"role": "user", "parts": [{"text": "?"}]}
    ]});
    let (out, _) = encoded(&decoded(&body, "gemini-3-pro-preview"));
    assert_eq!(
        out["contents"][1],
        json!({"role": "model", "parts": [
            {"text": "Hmm.", "thought": true, "thoughtSignature": "c2ln"}, {"text": "Hello"}]})
    );
}

fn turn(item: usize, role: Role, kinds: Vec<PartKind<'static>>) -> Turn<'static> {
    let place = Place::item("messages", item);
    let parts = kinds
        .into_iter()
        .enumerate()
        .map(|(at, kind)| Part::new(place.inner("content", at), kind))
        .collect();
    Turn { place, role, name: None, parts }
}

fn text(text: &'static str) -> PartKind<'static> {
    PartKind::Text { text: text.into(), citations: None }
}

fn call(id: &'static str, name: &'static str) -> PartKind<'static> {
    PartKind::ToolUse { id: id.into(), name: name.into(), arguments: "".into() }
}

fn result(id: &'static str, answer: &'static str) -> PartKind<'static> {
    let content = vec![Part::new(Place::field("x"), text(answer))];
    PartKind::ToolResult { id: id.into(), name: None, is_error: false, content }
}

/// A request of another language, whose names do not matter here.
fn foreign(model: &'static str, turns: Vec<Turn<'static>>) -> Request<'static> {
    let names = decoded(&json!({"contents": "x"}), "m").names;
    Request { model: model.into(), turns, ..Request::new(Dialect::Anthropic, names) }
}

#[test]
fn responses_follow_their_calls_in_one_content() {
    let request = foreign(
        "gemini-3-pro-preview",
        vec![
            turn(0, Role::User, vec![text("q")]),
            turn(1, Role::Assistant, vec![text("a")]),
            turn(2, Role::Assistant, vec![call("1", "f"), call("2", "g")]),
            turn(3, Role::User, vec![text("before"), result("1", r##"{"x": {"$ref": "#"}}"##)]),
            turn(4, Role::System, vec![text("mind")]),
            turn(5, Role::User, vec![result("2", r#"{"ok": true}"#), text("")]),
            // the same id once more, for another function
            turn(6, Role::Assistant, vec![call("1", "h")]),
            turn(7, Role::User, vec![result("1", "plain")]),
        ],
    );
    let (out, lost) = encoded(&request);
    assert_eq!(
        out["contents"],
        json!([
            {"role": "user", "parts": [{"text": "q"}]},
            {"role": "model", "parts": [{"text": "a"},
                {"functionCall": {"id": "1", "name": "f", "args": {}},
                    "thoughtSignature": "skip_thought_signature_validator"},
                {"functionCall": {"id": "2", "name": "g", "args": {}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "1", "name": "f",
                    "response": {"result": "{\"x\": {\"$ref\": \"#\"}}"}}},
                {"functionResponse": {"id": "2", "name": "g", "response": {"ok": true}}}]},
            {"role": "user", "parts": [{"text": "before"}]},
            {"role": "user", "parts": [
                {"text": "<system-reminder>\nmind\n</system-reminder>\n"}]},
            {"role": "model", "parts": [
                {"functionCall": {"id": "1", "name": "h", "args": {}},
                    "thoughtSignature": "skip_thought_signature_validator"}]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "1", "name": "h", "response": {"result": "plain"}}}]}
        ])
    );
    // A system turn in mid-conversation can only be said as a user's.
    assert_eq!(lost, ["messages[4].role: Approximated"]);
    let older = encoded(&Request { model: "gemini-2.5-pro".into(), ..request }).0;
    assert!(!older.to_string().contains("thoughtSignature"), "{older}");
}

#[test]
fn instructions_alone_become_a_user_turn() {
    let mut request = foreign("gemini-2.5-flash", Vec::new());
    request.system = vec![Part::new(Place::field("system"), text("do it"))];
    let (out, _) = encoded(&request);
    assert_eq!(out, json!({"contents": [{"role": "user", "parts": [{"text": "do it"}]}]}));
}

#[test]
fn other_vendors_signatures_do_not_pass() {
    let seal = |dialect| Some(Seal { dialect, data: "x".into(), id: None });
    let mut spoken = turn(1, Role::Assistant, vec![PartKind::Thinking { text: "a".into() }]);
    spoken.parts[0].seal = seal(Dialect::Anthropic);
    let thought = Part::new(
        Place::item("messages", 1).inner("content", 1),
        PartKind::Thinking { text: "b".into() },
    );
    spoken.parts.push(Part { seal: seal(Dialect::Gemini), ..thought });
    let turns = vec![turn(0, Role::User, vec![text("q")]), spoken];
    let (out, lost) = encoded(&foreign("gemini-3-pro-preview", turns));
    let thought = json!([{"text": "b", "thought": true, "thoughtSignature": "x"}]);
    assert_eq!(out["contents"][1]["parts"], thought);
    assert_eq!(lost, ["messages[1].content[0]: Foreign"]);
}

#[test]
fn reasoning_is_said_as_the_model_understands_it() {
    let asked = |model, reasoning: Reasoning<'static>| {
        let turns = vec![turn(0, Role::User, vec![text("q")])];
        let (out, lost) = encoded(&Request { reasoning: Some(reasoning), ..foreign(model, turns) });
        (out["generationConfig"]["thinkingConfig"].clone(), lost.len())
    };
    let effort =
        |name: &'static str| Reasoning { effort: Some(name.into()), ..Reasoning::default() };
    let budget = |tokens| Reasoning {
        enabled: Some(true),
        budget_tokens: Some(tokens),
        ..Reasoning::default()
    };
    let off = || Reasoning { enabled: Some(false), ..Reasoning::default() };
    let adaptive = || Reasoning { enabled: Some(true), adaptive: true, ..Reasoning::default() };
    let shown = |mut config: Value| {
        config["includeThoughts"] = json!(true);
        config
    };
    let level = |name: &str| json!({"thinkingLevel": name});
    let tokens = |count: i64| json!({"thinkingBudget": count});
    let cases = [
        ("gemini-3-pro-preview", effort("low"), shown(level("LOW")), 0),
        ("gemini-3-pro-preview", effort("medium"), shown(level("HIGH")), 1),
        ("gemini-3.1-pro-preview", effort("medium"), shown(level("MEDIUM")), 0),
        ("gemini-3-flash-preview", effort("minimal"), shown(level("MINIMAL")), 0),
        ("gemini-3-flash-preview", effort("none"), level("MINIMAL"), 1),
        ("gemini-3-flash-preview", effort("max"), shown(level("HIGH")), 1),
        ("gemini-3-flash-preview", budget(31_999), shown(level("HIGH")), 1),
        ("gemini-3-flash-preview", adaptive(), shown(json!({})), 0),
        ("gemini-2.5-flash", effort("medium"), shown(tokens(8192)), 0),
        ("gemini-2.5-flash", budget(31_999), shown(tokens(24_576)), 1),
        ("gemini-2.5-flash", off(), tokens(0), 0),
        ("gemini-2.5-flash", adaptive(), shown(tokens(-1)), 0),
        ("gemini-2.5-flash-lite", budget(100), shown(tokens(512)), 1),
        ("gemini-2.5-pro", off(), Value::Null, 1),
        ("gemini-2.5-pro", effort("xhigh"), shown(tokens(32_768)), 0),
        ("gemini-2.0-flash", effort("low"), Value::Null, 1),
        ("gemini-2.0-flash", off(), Value::Null, 0),
    ];
    for (model, reasoning, expected, losses) in cases {
        let what = format!("{model} {reasoning:?}");
        assert_eq!(asked(model, reasoning), (expected, losses), "{what}");
    }
}

#[test]
fn older_models_get_no_json_form_beside_functions() {
    let body = json!({"contents": "q", "tools": [{"functionDeclarations": [{"name": "f"}]},
        {"googleSearch": {}}], "generationConfig": {"responseMimeType": "application/json"}});
    let (out, lost) = again(&body.to_string(), "gemini-2.5-flash");
    assert_eq!(out.get("generationConfig"), None);
    assert_eq!(lost, ["tools[1]: Unsupported", "generationConfig.responseMimeType: Unsupported"]);
    let (out, lost) = again(&body.to_string(), "gemini-3-flash-preview");
    assert_eq!(
        out["toolConfig"],
        json!({"functionCallingConfig": {"mode": "VALIDATED"},
        "includeServerSideToolInvocations": true})
    );
    assert_eq!(lost, Vec::<String>::new());
}

#[test]
fn what_is_no_request_is_said_so() {
    for body in ["[]", "{}", r#"{"contents":[]}"#, r#"{"contents":[{"role":"bot","parts":[]}]}"#] {
        let mut loss = Loss::default();
        assert!(dialect::decode_request(Dialect::Gemini, body, &mut loss).is_err(), "{body}");
    }
}

fn events(dialect: Dialect, frames: &[&str]) -> Vec<String> {
    let mut said = Vec::new();
    let mut decoder = Decoder::new(dialect);
    for data in frames {
        let frame = Frame { name: None, exception: false, data };
        decoder.frame(frame, &mut |event| said.push(format!("{event:?}")));
    }
    said
}

#[test]
fn failed_generations_are_errors() {
    for reason in ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER", "SOMETHING_NEW"] {
        let body = json!({"candidates": [{"finishReason": reason, "finishMessage": "no"}]});
        let folded = dialect::fold_message(Dialect::Gemini, &body.to_string());
        let fault = folded.fault.unwrap();
        assert_eq!(fault.code.as_deref(), Some(reason));
        assert_eq!(fault.kind, ErrorKind::Api);
    }
    for body in ["", "{}", "[]", "null", "{\"candidates\":[{", "<html>", r#"{"x":1}"#] {
        let folded = dialect::fold_message(Dialect::Gemini, body);
        assert!(folded.fault.is_some(), "{body}");
    }
}

#[test]
fn the_stream_may_be_one_array() {
    let chunk = |text: &str| json!({"candidates": [{"content": {"parts": [{"text": text}]}}]});
    let last = json!({"candidates": [{"finishReason": "STOP"}], "responseId": "r"});
    let body = json!([chunk("a"), chunk("b"), last]).to_string();
    let folded = dialect::fold_message(Dialect::Gemini, &body);
    assert_eq!(folded.blocks.len(), 1);
    assert_eq!(folded.blocks[0].text, "ab");
    assert_eq!(folded.stop.unwrap().reason, StopReason::EndTurn);
    let error =
        json!([{"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}]);
    let fault = dialect::fold_message(Dialect::Gemini, &error.to_string()).fault.unwrap();
    assert_eq!((fault.kind, fault.message.as_ref()), (ErrorKind::RateLimit, "slow"));
}

#[test]
fn a_signature_alone_is_kept_apart() {
    let said = events(
        Dialect::Gemini,
        &[
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]}}],"responseId":"ab/c="}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"","thoughtSignature":"c2ln"}]},"finishReason":"STOP"}]}"#,
        ],
    );
    let joined = said.join("\n");
    assert!(joined.contains(r#"ToolUse { id: "call_abc_0", name: "f" }"#), "{joined}");
    assert!(joined.contains(r#"Redacted(Seal { dialect: Gemini, data: "c2ln""#), "{joined}");
}

#[test]
fn usage_is_counted_once() {
    let body = json!({"candidates": [{"finishReason": "STOP"}], "usageMetadata": {
        "promptTokenCount": 100, "cachedContentTokenCount": 60, "toolUsePromptTokenCount": 5,
        "candidatesTokenCount": 20, "thoughtsTokenCount": 30, "totalTokenCount": 155,
        "trafficType": "ON_DEMAND"}});
    let usage = dialect::fold_message(Dialect::Gemini, &body.to_string()).usage;
    let expected = Usage {
        input: Some(45),
        output: Some(50),
        reasoning: Some(30),
        cache_read: Some(60),
        service_tier: Some("default".to_owned()),
        ..Usage::default()
    };
    assert_eq!(usage, expected);
    assert_eq!(usage.total(), 155);
}

#[test]
fn broken_arguments_end_the_answer_as_gemini_does() {
    let mut encoder = Encoder::new(Dialect::Gemini, Reply::default());
    let mut out = Frames::new(Framing::Sse);
    let tool = Block::ToolUse { id: "1".into(), name: "f".into() };
    for event in [
        Event::Open { slot: 0, block: tool },
        Event::Delta { slot: 0, delta: Delta::Arguments("{\"a\":".into()) },
        Event::Close { slot: 0 },
        Event::End,
    ] {
        encoder.event(&event, &mut out);
    }
    let text = std::str::from_utf8(out.bytes()).unwrap();
    assert!(text.contains("MALFORMED_FUNCTION_CALL") && !text.contains("functionCall\""), "{text}");
}

#[derive(Debug, Clone)]
enum Said {
    Text(String),
    Thinking(String, Option<String>),
    Redacted(String),
    Call(String, String, Option<String>),
}

fn said() -> impl Strategy<Value = Said> {
    let seal = || proptest::option::of("[a-zA-Z0-9+/]{4,12}");
    prop_oneof![
        "\\PC{1,20}".prop_map(Said::Text),
        ("\\PC{1,20}", seal()).prop_map(|(text, seal)| Said::Thinking(text, seal)),
        "[a-zA-Z0-9]{4,12}".prop_map(Said::Redacted),
        ("[a-z_]{1,8}", "\\PC{0,9}", seal()).prop_map(|(name, value, seal)| {
            Said::Call(name, json!({"z": value, "a": {}}).to_string(), seal)
        }),
    ]
}

/// The events of an answer, as the sequencer would say them.
fn answer(blocks: &[Said], from: Dialect) -> Vec<Event<'static>> {
    let seal = |data: &str| Seal { dialect: from, data: data.to_owned().into(), id: None };
    let usage = Usage { input: Some(3), output: Some(4), ..Usage::default() };
    let mut events =
        vec![Event::Start { id: "r1".into(), model: "m1".into(), usage: Usage::default() }];
    for (slot, said) in (0_u32..).zip(blocks) {
        let (block, deltas) = match said.clone() {
            Said::Text(text) => (Block::Text, vec![Delta::Text(text.into())]),
            Said::Thinking(text, sealed) => {
                let mut deltas = vec![Delta::Thinking(text.into())];
                deltas.extend(sealed.map(|data| Delta::Seal(seal(&data))));
                (Block::Thinking, deltas)
            }
            Said::Redacted(data) => (Block::Redacted(seal(&data)), Vec::new()),
            Said::Call(name, arguments, sealed) => {
                let (head, tail) = arguments.split_at(1);
                let mut deltas = vec![
                    Delta::Arguments(head.to_owned().into()),
                    Delta::Arguments(tail.to_owned().into()),
                ];
                deltas.extend(sealed.map(|data| Delta::Seal(seal(&data))));
                (Block::ToolUse { id: format!("id_{slot}").into(), name: name.into() }, deltas)
            }
        };
        events.push(Event::Open { slot, block });
        events.extend(deltas.into_iter().map(|delta| Event::Delta { slot, delta }));
        events.push(Event::Close { slot });
    }
    let stop = finops_gateway::chat::Stop::of(StopReason::MaxTokens);
    events.extend([Event::Stop(stop), Event::Usage(usage), Event::End]);
    events
}

fn folded(events: &[Event<'_>]) -> Folded {
    let mut folded = Folded::default();
    for event in events {
        folded.push(event);
    }
    folded
}

/// Two texts in a row are one in Gemini's language; then the blocks are joined on both sides.
fn distinct(blocks: &[Said]) -> bool {
    let plain = |said: &Said| matches!(said, Said::Text(_));
    let thought = |said: &Said| matches!(said, Said::Thinking(..));
    blocks.windows(2).all(|pair| {
        // a redacted block after a text is a signature of that text
        let signed = plain(&pair[0]) && matches!(pair[1], Said::Redacted(_));
        !(pair.iter().all(plain) || pair.iter().all(thought) || signed)
    })
}

proptest! {
    #[test]
    fn an_answer_reads_back_equal(
        blocks in proptest::collection::vec(said(), 0..6),
        from in prop_oneof![Just(Dialect::Gemini), Just(Dialect::Anthropic)],
    ) {
        prop_assume!(distinct(&blocks));
        let events = answer(&blocks, from);
        let given = folded(&events);
        let mut whole = Vec::new();
        dialect::encode_message(Dialect::Gemini, &given, &Reply::default(), &mut whole);
        let whole = String::from_utf8(whole).unwrap();
        let read = dialect::fold_message(Dialect::Gemini, &whole);

        let mut encoder = Encoder::new(Dialect::Gemini, Reply::default());
        let mut out = Frames::new(Framing::Sse);
        for event in &events {
            encoder.event(event, &mut out);
        }
        let text = std::str::from_utf8(out.bytes()).unwrap();
        let mut decoder = Decoder::new(Dialect::Gemini);
        let mut sequencer = Sequencer::new(dialect::closes_blocks(Dialect::Gemini));
        let mut streamed = Folded::default();
        for data in text.split_terminator("\n\n").map(|frame| frame.strip_prefix("data: ").unwrap()) {
            prop_assert!(!data.contains('\n'));
            let frame = Frame { name: None, exception: false, data };
            decoder.frame(frame, &mut |event| {
                sequencer.push(event, &mut |event| streamed.push(&event));
            });
        }
        sequencer.finish(&mut |event| streamed.push(&event));
        prop_assert_eq!(format!("{:?}", read.blocks), format!("{:?}", streamed.blocks));
        prop_assert_eq!(format!("{:?}", read.stop), format!("{:?}", given.stop));
        prop_assert_eq!(&read.usage, &given.usage);
        prop_assert_eq!(&streamed.usage, &given.usage);
        if from == Dialect::Gemini {
            prop_assert_eq!(format!("{:?}", read.blocks), format!("{:?}", given.blocks));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(text in "\\PC{0,80}", cut in 0_usize..600) {
        let whole = r#"{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":1}}},{"text":"x","thought":true,"thoughtSignature":"Zmd"}]},{"parts":[{"functionResponse":{"name":"f","response":{"result":[1]},"parts":[{"inlineData":{"mimeType":"image/png","data":"A"}}]}}]}],"generationConfig":{"thinkingConfig":{"thinkingBudget":-1}},"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"logprobsResult":{"chosenCandidates":[{"token":"a"}]},"groundingMetadata":{"webSearchQueries":["q"]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":"12"}}"#;
        let mut at = cut.min(whole.len());
        while !whole.is_char_boundary(at) { at -= 1; }
        let (head, tail) = whole.split_at(at);
        for body in [text.clone(), head.to_owned(), format!("{head}{text}"), format!("{text}{tail}"), format!("{head}{text}{tail}")] {
            let mut said = 0;
            dialect::decode_message(Dialect::Gemini, &body, &mut |_| said += 1);
            prop_assert!(said > 0);
            let frame = Frame { name: None, exception: false, data: &body };
            Decoder::new(Dialect::Gemini).frame(frame, &mut |_| {});
            if json_scan::validate(body.as_bytes(), json_scan::DEPTH_MAX).is_err() { continue; }
            let mut loss = Loss::default();
            let Ok(request) = dialect::decode_request(Dialect::Gemini, &body, &mut loss) else { continue };
            let mut out = Vec::new();
            let manner = Manner::standard();
            if dialect::encode_request(Dialect::Gemini, &request, &manner, &mut out, &mut loss).is_ok() {
                prop_assert!(json_scan::validate(&out, json_scan::DEPTH_MAX + 4).is_ok());
            }
        }
    }
}
