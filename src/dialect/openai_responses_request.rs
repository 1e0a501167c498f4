//! OpenAI Responses requests, read: the parameters of a client's body.
//!
//! In: the JSON body of `POST /v1/responses`. Out: a [`Request`]; its items are read by
//! `openai_responses_input`, and requests are written by `openai_responses_body`. State that only
//! the provider holds (`previous_response_id`, `conversation`, `prompt`, background runs) cannot be
//! said in another language and is refused. What asks for nothing more than what is done anyway
//! (`store: false`, `truncation: "disabled"`, `include: ["reasoning.encrypted_content"]`) is taken
//! as fulfilled. Never: drops a field in silence.
//! Page: <https://platform.openai.com/docs/api-reference/responses/create>

use super::openai_responses_input as input;
use super::{Malformed, expect};
use crate::chat::{
    Dialect, Extra, FieldNames, Format, FunctionTool, Loss, Place, Raw, Reason, Reasoning, Request,
    Tool, ToolChoice,
};
use crate::wire::json_read;
use std::borrow::Cow;
use std::fmt::Display;

pub(super) use super::openai_responses_body::encode;

/// How Responses calls the hub's fields.
pub(super) const NAMES: FieldNames = FieldNames {
    system: "instructions",
    tools: "tools",
    tool_choice: "tool_choice",
    parallel_tool_calls: "parallel_tool_calls",
    max_tokens: "max_output_tokens",
    temperature: "temperature",
    top_p: "top_p",
    top_k: "top_k",
    seed: "seed",
    frequency_penalty: "frequency_penalty",
    presence_penalty: "presence_penalty",
    n: "n",
    logprobs: "include",
    top_logprobs: "top_logprobs",
    stop: "stop",
    reasoning: "reasoning",
    reasoning_effort: "reasoning.effort",
    reasoning_budget: "reasoning.max_tokens",
    reasoning_summary: "reasoning.summary",
    format: "text.format",
    user: "user",
    metadata: "metadata",
    service_tier: "service_tier",
    prompt_cache_key: "prompt_cache_key",
    verbosity: "text.verbosity",
};

/// The same where the end user is named by `safety_identifier`.
static SAFETY_NAMES: FieldNames = FieldNames { user: "safety_identifier", ..NAMES };

/// Reads a client's body.
///
/// # Errors
/// A value of the wrong kind, or one that refers to state that only the provider holds.
pub(super) fn decode<'a>(body: &'a str, loss: &mut Loss) -> Result<Request<'a>, Malformed> {
    if !json_read::is_object(body) {
        return Err(Malformed::at("", "the body must be a JSON object"));
    }
    let mut request = Request::new(Dialect::OpenAiResponses, &NAMES);
    let (mut items, mut instructions, mut safety_identifier) = (None, None, None);
    for (name, raw) in json_read::fields(body) {
        if json_read::is_null(raw) {
            continue;
        }
        match name.as_ref() {
            "input" => items = Some(raw),
            "instructions" => instructions = Some(raw),
            "safety_identifier" => safety_identifier = Some(raw),
            "tools" => tools(raw, &mut request, loss)?,
            "tool_choice" => request.tool_choice = tool_choice(raw, loss)?,
            "reasoning" => request.reasoning = reasoning(raw, loss)?,
            "text" => text_options(raw, &mut request, loss)?,
            "include" => include(raw, &mut request, loss),
            "stream_options" => stream_options(raw, loss),
            "previous_response_id" | "conversation" | "prompt" | "background" => {
                kept_by_provider(&name, raw)?;
            }
            other => {
                if !sampling(other, raw, &mut request)? && !label(other, raw, &mut request)? {
                    extra(name, raw, &mut request);
                }
            }
        }
    }
    user(safety_identifier, &mut request)?;
    if let Some(raw) = instructions {
        input::decode_instructions(raw, &mut request, loss)?;
    }
    let items = items.ok_or_else(|| Malformed::at("input", "is required"))?;
    input::decode(items, &mut request, loss)?;
    Ok(request)
}

/// The numbers and switches; false if `name` is none of them.
fn sampling<'a>(name: &str, raw: &'a str, request: &mut Request<'a>) -> Result<bool, Malformed> {
    match name {
        "temperature" => request.temperature = Some(number(raw, name)?),
        "top_p" => request.top_p = Some(number(raw, name)?),
        "top_k" => request.top_k = Some(number(raw, name)?),
        "seed" => request.seed = Some(number(raw, name)?),
        "n" => request.n = Some(number(raw, name)?),
        "frequency_penalty" => request.frequency_penalty = Some(number(raw, name)?),
        "presence_penalty" => request.presence_penalty = Some(number(raw, name)?),
        "top_logprobs" => {
            let wanted = number(raw, name)?;
            if json_read::unsigned(wanted) != Some(0) {
                request.top_logprobs = Some(wanted);
                request.logprobs = Some(true);
            }
        }
        "max_output_tokens" => {
            request.max_tokens = Some(expect::count(name, raw)?);
        }
        "parallel_tool_calls" => request.parallel_tool_calls = Some(expect::boolean(name, raw)?),
        "stream" => request.stream = expect::boolean(name, raw)?,
        "stop" => {
            if json_read::is_array(raw) {
                for (at, item) in json_read::items(raw).enumerate() {
                    request.stop.push(expect::text(format_args!("stop[{at}]"), item)?);
                }
            } else {
                request.stop.push(expect::text(name, raw)?);
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The texts that pass through; false if `name` is none of them.
fn label<'a>(name: &str, raw: &'a str, request: &mut Request<'a>) -> Result<bool, Malformed> {
    match name {
        "model" => request.model = expect::text(name, raw)?,
        "user" => request.user = Some(expect::text(name, raw)?),
        "service_tier" => request.service_tier = Some(expect::text(name, raw)?),
        "prompt_cache_key" => request.prompt_cache_key = Some(expect::text(name, raw)?),
        "metadata" => request.metadata = Some(object(raw, name)?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Keeps what has no hub name, unless it asks for what is done anyway.
fn extra<'a>(name: Cow<'a, str>, raw: Raw<'a>, request: &mut Request<'a>) {
    let fulfilled = match name.as_ref() {
        // Nothing of a transcoded answer is stored.
        "store" => json_read::boolean(raw) == Some(false),
        "truncation" => json_read::text(raw).is_some_and(|value| value == "disabled"),
        _ => false,
    };
    if !fulfilled {
        request.extras.push(Extra { name, raw });
    }
}

/// `safety_identifier` names the end user as `user` did before it.
fn user<'a>(safety: Option<Raw<'a>>, request: &mut Request<'a>) -> Result<(), Malformed> {
    let Some(raw) = safety else { return Ok(()) };
    let identifier = expect::text("safety_identifier", raw)?;
    match &request.user {
        None => {
            request.user = Some(identifier);
            request.names = &SAFETY_NAMES;
        }
        Some(user) if *user == identifier => {}
        Some(_) => {
            let name = Cow::Borrowed("safety_identifier");
            request.extras.push(Extra { name, raw });
        }
    }
    Ok(())
}

fn kept_by_provider(name: &str, raw: &str) -> Result<(), Malformed> {
    let why = match name {
        "background" if json_read::boolean(raw) == Some(true) => {
            "a run in the background is kept by a provider that speaks the Responses API; the one \
             that this model is routed to does not (the gateway's own `x-bf-async` header does \
             the same for every provider)"
        }
        "background" => return Ok(()),
        "prompt" => {
            "a stored prompt is known only to the provider that stores it, and this model is \
             routed to one that does not speak the Responses API; send its text as `instructions`"
        }
        _ => {
            "earlier turns are known only to the provider that stored them, and this model is \
             routed to one that does not speak the Responses API; send them as items of `input`"
        }
    };
    Err(Malformed::at(name, why))
}

fn include<'a>(raw: &'a str, request: &mut Request<'a>, loss: &mut Loss) {
    for (at, item) in json_read::items(raw).enumerate() {
        match json_read::text(item).as_deref() {
            // The seals of whatever upstream are always sent, see `openai_responses_response`.
            Some("reasoning.encrypted_content") => {}
            Some("message.output_text.logprobs") => request.logprobs = Some(true),
            _ => loss.push(format_args!("include[{at}]"), Reason::Unsupported),
        }
    }
}

fn stream_options(raw: &str, loss: &mut Loss) {
    for (name, value) in json_read::fields(raw) {
        let fulfilled = name == "include_obfuscation" && json_read::boolean(value) != Some(true);
        if !fulfilled && !json_read::is_null(value) {
            loss.push(format_args!("stream_options.{name}"), Reason::Unsupported);
        }
    }
}

fn tools<'a>(raw: &'a str, request: &mut Request<'a>, loss: &mut Loss) -> Result<(), Malformed> {
    if !json_read::is_array(raw) {
        return Err(Malformed::at("tools", "must be an array"));
    }
    for (at, raw) in json_read::items(raw).enumerate() {
        let place = Place::item("tools", at);
        let kind = json_read::text_field(raw, "type")
            .ok_or_else(|| Malformed::at(place.key("type"), "is required"))?;
        request.tools.push(if kind == "function" {
            Tool::Function(function(raw, place, loss)?)
        } else {
            Tool::Hosted { place, kind, raw }
        });
    }
    Ok(())
}

fn function<'a>(
    raw: &'a str,
    place: Place,
    loss: &mut Loss,
) -> Result<FunctionTool<'a>, Malformed> {
    let mut tool = FunctionTool {
        place,
        name: Cow::Borrowed(""),
        description: None,
        schema: None,
        strict: None,
        cache: None,
    };
    for (name, raw) in json_read::fields(raw) {
        if json_read::is_null(raw) {
            continue;
        }
        match name.as_ref() {
            "type" => {}
            "name" => tool.name = expect::text(place.key(&name), raw)?,
            "description" => tool.description = Some(expect::text(place.key(&name), raw)?),
            "parameters" => tool.schema = Some(object(raw, place.key(&name))?),
            "strict" => tool.strict = Some(expect::boolean(place.key(&name), raw)?),
            _ => loss.push(place.key(&name), Reason::Unsupported),
        }
    }
    if tool.name.is_empty() {
        return Err(Malformed::at(place.key("name"), "is required"));
    }
    Ok(tool)
}

fn tool_choice<'a>(raw: &'a str, loss: &mut Loss) -> Result<Option<ToolChoice<'a>>, Malformed> {
    let mode = |mode: &str, path: &str| match mode {
        "none" => Ok(ToolChoice::None),
        "auto" => Ok(ToolChoice::Auto),
        "required" => Ok(ToolChoice::Required),
        _ => Err(Malformed::at(path, "must be \"none\", \"auto\" or \"required\"")),
    };
    if let Some(word) = json_read::text(raw) {
        return mode(&word, "tool_choice").map(Some);
    }
    match json_read::text_field(raw, "type").as_deref() {
        Some("function") => {
            let name = json_read::text_field(raw, "name")
                .ok_or_else(|| Malformed::at("tool_choice.name", "is required"))?;
            Ok(Some(ToolChoice::Named(name)))
        }
        Some("allowed_tools") => {
            loss.push("tool_choice.tools", Reason::Approximated);
            let word = json_read::text_field(raw, "mode").unwrap_or(Cow::Borrowed("auto"));
            mode(&word, "tool_choice.mode").map(Some)
        }
        Some(_) => {
            loss.push("tool_choice", Reason::Unsupported);
            Ok(None)
        }
        None => Err(Malformed::at("tool_choice", "must be a string or an object with a type")),
    }
}

fn reasoning<'a>(raw: &'a str, loss: &mut Loss) -> Result<Option<Reasoning<'a>>, Malformed> {
    object(raw, "reasoning")?;
    let mut reasoning = Reasoning::default();
    for (name, raw) in json_read::fields(raw) {
        if json_read::is_null(raw) {
            continue;
        }
        let path = format!("reasoning.{name}");
        match name.as_ref() {
            "effort" => {
                let effort = expect::text(path, raw)?;
                if effort == "none" {
                    reasoning.enabled = Some(false);
                }
                reasoning.effort = Some(effort);
            }
            "summary" => reasoning.summary = Some(expect::text(path, raw)?),
            // Its name before `summary`.
            "generate_summary" => {
                let summary = expect::text(path, raw)?;
                reasoning.summary.get_or_insert(summary);
            }
            // Gateways that speak for Anthropic and Gemini take a budget here.
            "max_tokens" => reasoning.budget_tokens = json_read::unsigned(raw),
            _ => loss.push(path, Reason::Unsupported),
        }
    }
    Ok((reasoning != Reasoning::default()).then_some(reasoning))
}

fn text_options<'a>(
    raw: &'a str,
    request: &mut Request<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    object(raw, "text")?;
    for (name, raw) in json_read::fields(raw) {
        if json_read::is_null(raw) {
            continue;
        }
        match name.as_ref() {
            "format" => request.format = Some(format(raw, loss)?),
            "verbosity" => request.verbosity = Some(expect::text("text.verbosity", raw)?),
            _ => loss.push(format_args!("text.{name}"), Reason::Unsupported),
        }
    }
    Ok(())
}

fn format<'a>(raw: &'a str, loss: &mut Loss) -> Result<Format<'a>, Malformed> {
    let kind = json_read::text_field(raw, "type")
        .ok_or_else(|| Malformed::at("text.format.type", "is required"))?;
    match kind.as_ref() {
        "text" => return Ok(Format::Text),
        "json_object" => return Ok(Format::JsonObject),
        "json_schema" => {}
        _ => return Err(Malformed::at("text.format.type", "is not known")),
    }
    let (mut title, mut description, mut schema, mut strict) = (None, None, None, None);
    for (name, raw) in json_read::fields(raw) {
        if json_read::is_null(raw) {
            continue;
        }
        let path = format!("text.format.{name}");
        match name.as_ref() {
            "type" => {}
            "name" => title = Some(expect::text(path, raw)?),
            "description" => description = Some(expect::text(path, raw)?),
            "schema" => schema = Some(object(raw, path)?),
            "strict" => strict = Some(expect::boolean(path, raw)?),
            _ => loss.push(path, Reason::Unsupported),
        }
    }
    let schema = schema.ok_or_else(|| Malformed::at("text.format.schema", "is required"))?;
    Ok(Format::JsonSchema { name: title, description, schema: Cow::Borrowed(schema), strict })
}

fn number(raw: &str, path: impl Display) -> Result<Raw<'_>, Malformed> {
    let number = raw.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if number { Ok(raw) } else { Err(Malformed::at(path, "must be a number")) }
}

/// The object itself, raw.
fn object(raw: &str, path: impl Display) -> Result<Raw<'_>, Malformed> {
    if json_read::is_object(raw) { Ok(raw) } else { Err(Malformed::at(path, "must be an object")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Part, PartKind, Role, Seal, Source};
    use crate::dialect::Manner;

    fn read(body: &str) -> (Request<'_>, Vec<String>) {
        let mut loss = Loss::default();
        let request = decode(body, &mut loss).unwrap();
        (request, loss.entries().iter().map(|lost| lost.path.clone()).collect())
    }

    fn refused(body: &str) -> Malformed {
        decode(body, &mut Loss::default()).unwrap_err()
    }

    const RICH: &str = r#"{"model":"gpt-x","stream":true,"instructions":"Be brief.","input":[
        {"role":"developer","content":"Use tools."},
        {"role":"user","content":[{"type":"input_text","text":"What is it?"},
            {"type":"input_image","image_url":"data:image/png;base64,iVBO","detail":"low"},
            {"type":"input_image","image_url":"https://a/b.png"},
            {"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,JVBE"},
            {"type":"input_file","file_url":"https://a/b.pdf"},
            {"type":"input_audio","input_audio":{"data":"UklG","format":"wav"}}]},
        {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"Hm."}],
            "encrypted_content":"gAAA"},
        {"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[
            {"type":"output_text","text":"Let me see.","annotations":[],"logprobs":[]}]},
        {"type":"function_call","id":"fc_1","call_id":"call_1","name":"look","status":"completed",
            "arguments":"{\"b\":1,\"a\":2}"},
        {"type":"function_call","call_id":"call_2","name":"look","arguments":"{}"},
        {"type":"function_call_output","call_id":"call_1","output":"a cat"},
        {"type":"function_call_output","call_id":"call_2","status":"incomplete","output":[
            {"type":"input_text","text":"failed"},{"type":"input_image","file_id":"file_1"}]},
        {"role":"system","content":"Now in German."},
        {"role":"user","content":"And?"}],
        "tools":[{"type":"function","name":"look","description":"Looks.","strict":true,
            "parameters":{"type":"object","properties":{"b":{},"a":{}}}},
            {"type":"web_search","search_context_size":"low"}],
        "tool_choice":{"type":"function","name":"look"},"parallel_tool_calls":false,
        "reasoning":{"effort":"low","summary":"detailed"},"max_output_tokens":500,
        "text":{"format":{"type":"json_schema","name":"n","strict":true,"schema":{"z":1,"a":2}},
            "verbosity":"low"},
        "temperature":0.50,"top_p":0.9,"top_logprobs":2,"include":["reasoning.encrypted_content",
            "message.output_text.logprobs"],"metadata":{"k":"v"},"user":"u1","store":false,
        "truncation":"disabled","prompt_cache_key":"pk","service_tier":"flex"}"#;

    /// Everything but the places, which name the client's own body.
    fn shape(request: &Request<'_>) -> String {
        let text = format!("{request:?}");
        let mut shape = String::new();
        for (number, piece) in text.split("place: Place {").enumerate() {
            let rest = if number == 0 { piece } else { piece.split_once("},").unwrap().1 };
            shape.push_str(rest);
        }
        shape
    }

    #[test]
    fn a_rich_request_loses_nothing_and_reads_the_same_when_written_again() {
        let (request, lost) = read(RICH);
        assert_eq!(lost, Vec::<String>::new());
        let (mut out, mut loss) = (Vec::new(), Loss::default());
        encode(&request, &Manner::standard(), &mut out, &mut loss).unwrap();
        let again = String::from_utf8(out).unwrap();
        serde_json::from_str::<serde_json::Value>(&again).unwrap();
        let lost: Vec<_> = loss.entries().iter().map(|lost| lost.path.as_str()).collect();
        assert_eq!(lost, ["input[7].is_error"]);
        assert_eq!(shape(&read(&again).0), shape(&request));
    }

    #[test]
    fn items_of_the_model_are_one_turn_and_results_are_one_turn() {
        let (request, _) = read(RICH);
        let turns: Vec<_> =
            request.turns.iter().map(|turn| (turn.role, turn.parts.len())).collect();
        assert_eq!(
            turns,
            [
                (Role::User, 6),
                (Role::Assistant, 4),
                (Role::User, 2),
                (Role::System, 1),
                (Role::User, 1)
            ]
        );
        assert_eq!(request.system.len(), 2);
        assert_eq!(request.turns[1].parts[2].place.to_string(), "input[4]");
        assert_eq!(request.turns[0].parts[1].place.to_string(), "input[1].content[1]");
    }

    #[test]
    fn foreign_seals_are_given_back_to_their_language() {
        let (request, lost) = read(
            r#"{"input":[{"role":"user","content":"x"},
            {"type":"reasoning","id":"rs","summary":[{"type":"summary_text","text":"t"}],
                "encrypted_content":"fgs1:anthropic:0:SIG.x"},
            {"type":"reasoning","id":"rs","summary":[],"encrypted_content":"fgs1:anthropic:0:R"},
            {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
            {"type":"reasoning","id":"rs","summary":[],"encrypted_content":"fga1:gemini:0:G"}]}"#,
        );
        assert!(lost.is_empty());
        let parts = &request.turns[1].parts;
        let sealed = |part: &Part<'_>, dialect, data: &str| {
            part.seal == Some(Seal { dialect, data: data.to_owned().into(), id: None })
        };
        assert!(matches!(&parts[0].kind, PartKind::Thinking { text } if text == "t"));
        assert!(sealed(&parts[0], Dialect::Anthropic, "SIG.x"));
        assert!(matches!(parts[1].kind, PartKind::Redacted));
        assert!(sealed(&parts[1], Dialect::Anthropic, "R"));
        assert!(matches!(parts[2].kind, PartKind::ToolUse { .. }));
        assert!(sealed(&parts[2], Dialect::Gemini, "G"));
        assert_eq!(parts.len(), 3);
    }

    #[test]
    fn what_only_the_provider_knows_is_refused() {
        let body = |extra: &str| format!(r#"{{"input":"x",{extra}}}"#);
        for (extra, path) in [
            (r#""previous_response_id":"resp_1""#, "previous_response_id"),
            (r#""conversation":{"id":"conv_1"}"#, "conversation"),
            (r#""prompt":{"id":"pmpt_1"}"#, "prompt"),
            (r#""background":true"#, "background"),
        ] {
            assert_eq!(refused(&body(extra)).path, path);
        }
        let reference = r#"{"input":[{"type":"item_reference","id":"msg_1"}]}"#;
        assert_eq!(refused(reference).path, "input[0]");
        let (_, lost) = read(r#"{"input":"x","previous_response_id":null,"background":false}"#);
        assert!(lost.is_empty());
    }

    #[test]
    fn what_has_no_name_is_reported_with_its_path() {
        let (request, lost) = read(
            r#"{"input":[{"role":"user","phase":"x","content":[
                {"type":"input_text","text":"hi","colour":1}]}],
            "tools":[{"type":"function","name":"f","defer_loading":true}],
            "tool_choice":{"type":"allowed_tools","mode":"required","tools":[]},
            "reasoning":{"context":"auto"},"text":{"x":1},
            "include":["file_search_call.results"],"stream_options":{"y":1},
            "store":true,"truncation":"auto","max_tool_calls":3}"#,
        );
        assert_eq!(
            lost,
            [
                "tools[0].defer_loading",
                "tool_choice.tools",
                "reasoning.context",
                "text.x",
                "include[0]",
                "stream_options.y",
                "input[0].phase",
                "input[0].content[0].colour",
            ]
        );
        assert_eq!(request.tool_choice, Some(ToolChoice::Required));
        let extras: Vec<_> = request.extras.iter().map(|extra| extra.name.as_ref()).collect();
        assert_eq!(extras, ["store", "truncation", "max_tool_calls"]);
    }

    #[test]
    fn hosted_and_custom_calls_stay_as_they_were_written() {
        let (request, _) = read(
            r#"{"input":[{"role":"user","content":"x"},
            {"type":"custom_tool_call","call_id":"c","name":"sql","input":"select 1"},
            {"type":"custom_tool_call_output","call_id":"c","output":"1"},
            {"type":"web_search_call","id":"ws"}]}"#,
        );
        let roles: Vec<_> = request.turns.iter().map(|turn| turn.role).collect();
        assert_eq!(roles, [Role::User, Role::Assistant, Role::User, Role::Assistant]);
        let kind = &request.turns[1].parts[0].kind;
        assert!(matches!(kind, PartKind::Opaque { kind, .. } if kind == "custom_tool_call"));
    }

    #[test]
    fn bare_base64_files_have_the_type_of_their_name() {
        let (request, _) = read(
            r#"{"input":[{"role":"user","content":[
                {"type":"input_file","filename":"N.TXT","file_data":"aGk="}]}]}"#,
        );
        let PartKind::Document(media) = &request.turns[0].parts[0].kind else { panic!() };
        assert!(matches!(&media.source, Source::Base64 { media_type, data }
                if media_type == "text/plain" && data == "aGk="));
    }

    #[test]
    fn the_wrong_kind_of_value_is_named() {
        for (body, path) in [
            ("[]", ""),
            ("{}", "input"),
            (r#"{"input":7}"#, "input"),
            (r#"{"input":[{"role":"tool","content":"x"}]}"#, "input[0].role"),
            (r#"{"input":[{"role":"user"}]}"#, "input[0].content"),
            (
                r#"{"input":[{"role":"user","content":[{"type":"input_text"}]}]}"#,
                "input[0].content[0].text",
            ),
            (r#"{"input":[{"type":"function_call","name":"f"}]}"#, "input[0].call_id"),
            (r#"{"input":"x","temperature":"hot"}"#, "temperature"),
            (r#"{"input":"x","tools":[{"type":"function"}]}"#, "tools[0].name"),
            (r#"{"input":"x","tool_choice":"sometimes"}"#, "tool_choice"),
            (r#"{"input":"x","text":{"format":{"type":"xml"}}}"#, "text.format.type"),
        ] {
            assert_eq!(refused(body).path, path, "{body}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_it_panic(junk in "\\PC{0,40}", kind in "[a-z_]{0,22}") {
            let text = serde_json::to_string(&junk).unwrap();
            decode(&junk, &mut Loss::default()).ok();
            for body in [
                format!(r#"{{"input":[{{"type":"{kind}","role":{text},"content":[{text}]}}]}}"#),
                format!(r#"{{"input":{text},"{kind}":{text},"text":{{"format":{text}}}}}"#),
                format!(r#"{{"input":[{{"type":"reasoning","encrypted_content":{text}}}]}}"#),
            ] {
                decode(&body, &mut Loss::default()).ok();
            }
        }
    }
}
