//! Bedrock Converse requests, read: the fields of the body.
//!
//! In: the body of `Converse` or `ConverseStream`; the model and whether to stream stand in the
//! path, so the gateway sets both. Out: a [`Request`]. The blocks of messages are read in
//! `bedrock_content`; requests are written in `bedrock_request_out`.
//! Never: drops a key; members of `additionalModelRequestFields` that the hub has no name for
//! become extras called `additionalModelRequestFields.<name>`.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>

use super::Malformed;
use super::bedrock_content;
use crate::chat::{
    CacheHint, Dialect, Extra, FieldNames, Format, FunctionTool, Loss, Place, Raw, Reason,
    Reasoning, Request, Tool, ToolChoice,
};
use crate::wire::json_read;
use std::borrow::Cow;

pub(super) use super::bedrock_request_out::encode;

/// Where models find the parameters that Converse has no name for.
pub(super) const ADDITIONAL: &str = "additionalModelRequestFields";

pub(super) static NAMES: FieldNames = CONVERSE;
pub(super) const CONVERSE: FieldNames = FieldNames {
    system: "system",
    tools: "toolConfig.tools",
    tool_choice: "toolConfig.toolChoice",
    parallel_tool_calls: "additionalModelRequestFields.tool_choice.disable_parallel_tool_use",
    max_tokens: "inferenceConfig.maxTokens",
    temperature: "inferenceConfig.temperature",
    top_p: "inferenceConfig.topP",
    top_k: "additionalModelRequestFields.top_k",
    seed: "additionalModelRequestFields.seed",
    frequency_penalty: "additionalModelRequestFields.frequency_penalty",
    presence_penalty: "additionalModelRequestFields.presence_penalty",
    n: "additionalModelRequestFields.n",
    logprobs: "additionalModelRequestFields.logprobs",
    top_logprobs: "additionalModelRequestFields.top_logprobs",
    stop: "inferenceConfig.stopSequences",
    reasoning: "additionalModelRequestFields.thinking",
    reasoning_effort: "outputConfig.effort",
    reasoning_budget: "additionalModelRequestFields.thinking.budget_tokens",
    reasoning_summary: "additionalModelRequestFields.thinking.display",
    format: "outputConfig.textFormat",
    user: "additionalModelRequestFields.metadata.user_id",
    metadata: "requestMetadata",
    service_tier: "serviceTier",
    prompt_cache_key: "additionalModelRequestFields.prompt_cache_key",
    verbosity: "additionalModelRequestFields.verbosity",
};

pub(super) fn decode<'a>(body: &'a str, loss: &mut Loss) -> Result<Request<'a>, Malformed> {
    if !json_read::is_object(body) {
        return Err(Malformed::at("", "the body must be a JSON object"));
    }
    let mut request = Request::new(Dialect::Bedrock, &NAMES);
    request.include_usage = true;
    for (name, raw) in json_read::fields(body) {
        if !json_read::is_null(raw) {
            top_level(&mut request, name, raw, loss)?;
        }
    }
    if request.turns.is_empty() && request.system.is_empty() {
        return Err(Malformed::at("messages", "is required"));
    }
    Ok(request)
}

fn top_level<'a>(
    request: &mut Request<'a>,
    name: Cow<'a, str>,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    match name.as_ref() {
        "messages" => request.turns = bedrock_content::turns(raw, loss)?,
        "system" => request.system = bedrock_content::system(raw, loss)?,
        "inferenceConfig" => inference(request, object("inferenceConfig", raw)?, loss)?,
        "toolConfig" => tool_config(request, object("toolConfig", raw)?, loss)?,
        "outputConfig" => output_config(request, object("outputConfig", raw)?, loss)?,
        ADDITIONAL => {
            for (name, raw) in json_read::fields(object(ADDITIONAL, raw)?) {
                additional(request, &name, raw, loss)?;
            }
        }
        "requestMetadata" => request.metadata = Some(object("requestMetadata", raw)?),
        "serviceTier" => {
            for (name, value) in json_read::fields(object("serviceTier", raw)?) {
                match name.as_ref() {
                    "type" => request.service_tier = Some(text("serviceTier.type", value)?),
                    _ => loss.push(format_args!("serviceTier.{name}"), Reason::Unsupported),
                }
            }
        }
        _ => request.extras.push(Extra { name, raw }),
    }
    Ok(())
}

fn inference<'a>(
    request: &mut Request<'a>,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            _ if json_read::is_null(value) => {}
            // The second names are those of Nova's own form, for `InvokeModel`.
            "maxTokens" | "max_new_tokens" => {
                let count = json_read::unsigned(value);
                let wrong = || Malformed::at(NAMES.max_tokens, "must be a whole number");
                request.max_tokens = Some(count.ok_or_else(wrong)?);
            }
            "temperature" => request.temperature = Some(value),
            "topP" | "top_p" => request.top_p = Some(value),
            "topK" | "top_k" => request.top_k = Some(value),
            "stopSequences" => {
                for item in list(NAMES.stop, value)? {
                    request.stop.push(text(NAMES.stop, item)?);
                }
            }
            _ => loss.push(format_args!("inferenceConfig.{name}"), Reason::Unsupported),
        }
    }
    Ok(())
}

fn tool_config<'a>(
    request: &mut Request<'a>,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            _ if json_read::is_null(value) => {}
            "tools" => {
                for (index, raw) in list(NAMES.tools, value)?.enumerate() {
                    let place = Place::item("toolConfig.tools", index);
                    tool(&mut request.tools, place, raw, loss)?;
                }
            }
            "toolChoice" => request.tool_choice = tool_choice(value, loss)?,
            _ => loss.push(format_args!("toolConfig.{name}"), Reason::Unsupported),
        }
    }
    Ok(())
}

fn tool<'a>(
    tools: &mut Vec<Tool<'a>>,
    place: Place,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    let Some((kind, inner)) = json_read::fields(raw).find(|(_, value)| !json_read::is_null(value))
    else {
        return Err(Malformed::at(place, "must be an object with one member"));
    };
    match kind.as_ref() {
        "toolSpec" => tools.push(Tool::Function(function(place, inner, loss)?)),
        "cachePoint" => match tools.last_mut() {
            Some(Tool::Function(before)) if before.cache.is_none() => {
                before.cache = Some(cache_point(place, inner, loss));
            }
            _ => loss.push(place, Reason::Unsupported),
        },
        _ => tools.push(Tool::Hosted { place, kind, raw }),
    }
    Ok(())
}

fn function<'a>(
    place: Place,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<FunctionTool<'a>, Malformed> {
    let name = json_read::text_field(raw, "name")
        .ok_or_else(|| Malformed::at(place.key("toolSpec.name"), "is required"))?;
    let mut tool =
        FunctionTool { place, name, description: None, schema: None, strict: None, cache: None };
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "name" => {}
            _ if json_read::is_null(value) => {}
            "description" => tool.description = Some(text(place.key("description"), value)?),
            "strict" => tool.strict = json_read::boolean(value),
            "inputSchema" => {
                for (name, value) in json_read::fields(value) {
                    match name.as_ref() {
                        "json" => tool.schema = Some(value),
                        _ => loss.push(
                            place.key(&format!("toolSpec.inputSchema.{name}")),
                            Reason::Unsupported,
                        ),
                    }
                }
            }
            _ => loss.push(place.key(&format!("toolSpec.{name}")), Reason::Unsupported),
        }
    }
    Ok(tool)
}

fn tool_choice<'a>(raw: Raw<'a>, loss: &mut Loss) -> Result<Option<ToolChoice<'a>>, Malformed> {
    for (name, value) in json_read::fields(raw) {
        return Ok(Some(match name.as_ref() {
            _ if json_read::is_null(value) => continue,
            "auto" => ToolChoice::Auto,
            "any" => ToolChoice::Required,
            "tool" => ToolChoice::Named(json_read::text_field(value, "name").ok_or_else(|| {
                Malformed::at(format_args!("{}.tool.name", NAMES.tool_choice), "is required")
            })?),
            _ => {
                loss.push(format_args!("{}.{name}", NAMES.tool_choice), Reason::Unsupported);
                continue;
            }
        }));
    }
    Ok(None)
}

fn output_config<'a>(
    request: &mut Request<'a>,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            _ if json_read::is_null(value) => {}
            "effort" => {
                let effort = text(NAMES.reasoning_effort, value)?;
                request.reasoning.get_or_insert_default().effort = Some(effort);
            }
            "textFormat" => request.format = text_format(value, loss)?,
            _ => loss.push(format_args!("outputConfig.{name}"), Reason::Unsupported),
        }
    }
    Ok(())
}

/// The schema is a string that holds JSON.
fn text_format<'a>(raw: Raw<'a>, loss: &mut Loss) -> Result<Option<Format<'a>>, Malformed> {
    let path = "outputConfig.textFormat.structure.jsonSchema";
    let definition = json_read::field(raw, "structure")
        .and_then(|structure| json_read::field(structure, "jsonSchema"));
    let Some(definition) = definition else {
        loss.push(NAMES.format, Reason::Value);
        return Ok(None);
    };
    let (mut schema, mut title, mut description) = (None, None, None);
    for (name, value) in json_read::fields(definition) {
        match name.as_ref() {
            "schema" => schema = Some(text(format_args!("{path}.schema"), value)?),
            "name" => title = json_read::text(value),
            "description" => description = json_read::text(value),
            _ => loss.push(format_args!("{path}.{name}"), Reason::Unsupported),
        }
    }
    let wrong = || Malformed::at(format_args!("{path}.schema"), "must be a JSON Schema as text");
    let schema = schema.filter(|schema| is_json_object(schema)).ok_or_else(wrong)?;
    Ok(Some(Format::JsonSchema { name: title, description, schema, strict: None }))
}

/// Whether a text from inside the body, which nobody has checked yet, is one JSON object.
pub(super) fn is_json_object(text: &str) -> bool {
    json_read::is_object(text) && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
}

/// Parameters of the models themselves, in the names of the families that have them.
fn additional<'a>(
    request: &mut Request<'a>,
    name: &str,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    let reasoning = &mut request.reasoning;
    match name {
        _ if json_read::is_null(raw) => {}
        "thinking" | "reasoning_config" | "reasoningConfig" => {
            thinking(name, reasoning.get_or_insert_default(), object(NAMES.reasoning, raw)?, loss);
        }
        "reasoning_effort" => reasoning.get_or_insert_default().effort = json_read::text(raw),
        "top_k" => request.top_k = Some(raw),
        "output_config" => {
            for (name, value) in json_read::fields(raw) {
                match name.as_ref() {
                    "effort" => {
                        request.reasoning.get_or_insert_default().effort = json_read::text(value);
                    }
                    "format" if json_read::field(value, "schema").is_some() => {
                        request.format =
                            json_read::field(value, "schema").map(|schema| Format::JsonSchema {
                                name: json_read::text_field(value, "name"),
                                description: None,
                                schema: Cow::Borrowed(schema),
                                strict: None,
                            });
                    }
                    _ => loss.push(
                        format_args!("{ADDITIONAL}.output_config.{name}"),
                        Reason::Unsupported,
                    ),
                }
            }
        }
        "metadata" if only(raw, "user_id") => request.user = json_read::text_field(raw, "user_id"),
        "tool_choice" if json_read::field(raw, "disable_parallel_tool_use").is_some() => {
            let disabled = json_read::field(raw, "disable_parallel_tool_use");
            request.parallel_tool_calls = disabled.and_then(json_read::boolean).map(|no| !no);
        }
        _ => request.extras.push(Extra { name: Cow::Owned(format!("{ADDITIONAL}.{name}")), raw }),
    }
    Ok(())
}

fn only(raw: &str, name: &str) -> bool {
    json_read::fields(raw).all(|(key, value)| key == name && json_read::is_string(value))
}

fn thinking<'a>(field: &str, reasoning: &mut Reasoning<'a>, raw: Raw<'a>, loss: &mut Loss) {
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            _ if json_read::is_null(value) => {}
            "type" => {
                let kind = json_read::text(value).unwrap_or_default();
                reasoning.enabled = Some(kind != "disabled");
                reasoning.adaptive = kind == "adaptive";
                if !matches!(kind.as_ref(), "enabled" | "disabled" | "adaptive") {
                    loss.push(format_args!("{ADDITIONAL}.{field}.type"), Reason::Value);
                }
            }
            "budget_tokens" => reasoning.budget_tokens = json_read::unsigned(value),
            "maxReasoningEffort" => reasoning.effort = json_read::text(value),
            "display" => reasoning.summary = json_read::text(value),
            _ => loss.push(format_args!("{ADDITIONAL}.{field}.{name}"), Reason::Unsupported),
        }
    }
}

pub(super) fn cache_point<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> CacheHint<'a> {
    let mut hint = CacheHint { ttl: None };
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "type" => {}
            "ttl" => hint.ttl = json_read::text(value),
            _ => loss.push(place.key(&format!("cachePoint.{name}")), Reason::Unsupported),
        }
    }
    hint
}

pub(super) fn object(path: impl std::fmt::Display, raw: Raw<'_>) -> Result<Raw<'_>, Malformed> {
    let wrong = || Malformed::at(path, "must be an object");
    json_read::is_object(raw).then_some(raw).ok_or_else(wrong)
}

pub(super) fn list(
    path: impl std::fmt::Display,
    raw: Raw<'_>,
) -> Result<impl Iterator<Item = Raw<'_>>, Malformed> {
    let wrong = || Malformed::at(path, "must be an array");
    json_read::is_array(raw).then(|| json_read::items(raw)).ok_or_else(wrong)
}

pub(super) fn text(path: impl std::fmt::Display, raw: Raw<'_>) -> Result<Cow<'_, str>, Malformed> {
    json_read::text(raw).ok_or_else(|| Malformed::at(path, "must be a string"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Manner;

    const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

    fn read(body: &str) -> (Request<'_>, Loss) {
        let mut loss = Loss::default();
        (decode(body, &mut loss).unwrap(), loss)
    }

    fn written(request: &Request<'_>) -> (Result<String, Malformed>, Vec<String>) {
        let (mut out, mut loss) = (Vec::new(), Loss::default());
        let result = encode(request, &Manner::standard(), &mut out, &mut loss);
        let paths = loss.entries().iter().map(|lost| format!("{} {:?}", lost.path, lost.reason));
        (result.map(|()| String::from_utf8(out).unwrap()), paths.collect())
    }

    /// Reads a body and writes it again, for a Claude model.
    fn again(body: &str) -> (String, Vec<String>) {
        let (mut request, loss) = read(body);
        assert!(loss.is_empty(), "{loss:?}");
        request.model = Cow::Borrowed(CLAUDE);
        let (out, paths) = written(&request);
        (out.unwrap(), paths)
    }

    fn user(content: &str) -> String {
        format!(r#"{{"messages":[{{"role":"user","content":[{content}]}}]}}"#)
    }

    #[test]
    fn what_is_read_is_written_again() {
        for body in [
            user(r#"{"text":"Grüße \"x\"\n"}"#),
            user(r#"{"image":{"format":"png","source":{"bytes":"iVBORw=="}}},{"text":"x"}"#),
            user(r#"{"audio":{"format":"mp3","source":{"bytes":"AAAA"}}},{"text":"x"}"#),
            user(r#"{"image":{"format":"png","source":{"s3Location":{"uri":"s3://bucket/a.png","bucketOwner":"123456789012"}}}}"#),
            user(r#"{"document":{"format":"pdf","name":"d","source":{"bytes":"JVBERg=="},"context":"c","citations":{"enabled":true}}},{"text":"x"}"#),
            user(r#"{"document":{"format":"txt","name":"d","source":{"content":[{"text":"a"},{"text":"b"}]}}},{"text":"x"}"#),
            user(r#"{"video":{"format":"mp4","source":{"bytes":"AAAA"}}},{"text":"x"}"#),
            user(r#"{"text":"a"},{"cachePoint":{"type":"default","ttl":"1h"}},{"text":"b"}"#),
            user(r#"{"searchResult":{"source":"s","title":"t","content":[{"text":"x"}]}},{"text":"x"}"#),
            r#"{"messages":[{"role":"user","content":[{"text":"q"}]},{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"","signature":"EqQB"}}},{"reasoningContent":{"redactedContent":"Zm9v"}},{"text":"a"},{"citationsContent":{"content":[{"text":"c"}],"citations":[{"title":"T"}]}},{"toolUse":{"toolUseId":"t.1","name":"f","input":{"z":1,"a":[ 2 ]}}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"t.1","content":[{"text":"{\"k\":1}"},{"image":{"format":"gif","source":{"bytes":"R0lG"}}}],"status":"error"}},{"text":"go on"}]}],"system":[{"text":"s"},{"cachePoint":{"type":"default"}}],"inferenceConfig":{"maxTokens":5,"temperature":0.50},"toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"d","inputSchema":{"json":{"type":"object","$defs":{}, "b":1}},"strict":true}},{"cachePoint":{"type":"default"}},{"systemTool":{"name":"nova_grounding"}}],"toolChoice":{"tool":{"name":"f"}}},"requestMetadata":{"team":"a b"},"serviceTier":{"type":"flex"},"guardrailConfig":{"guardrailIdentifier":"g"},"performanceConfig":{"latency":"optimized"},"promptVariables":{"x":{"text":"y"}},"additionalModelRequestFields":{"other":{"deep":[1]},"top_k":5}}"#.to_owned(),
            r#"{"messages":[{"role":"user","content":[{"text":"q"}]}],"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":"{\"type\":\"object\"}","name":"n","description":"d"}}}},"additionalModelRequestFields":{"output_config":{"effort":"low"},"thinking":{"type":"enabled","budget_tokens":2048}}}"#.to_owned().replace(r#","additionalModelRequestFields""#, r#","inferenceConfig":{"maxTokens":4096},"additionalModelRequestFields""#),
        ] {
            let (out, lost) = again(&body);
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(value(&out), value(&body), "{out}");
            assert!(lost.is_empty(), "{lost:?}");
        }
    }

    #[test]
    fn raw_parts_keep_their_digits_and_key_order() {
        let body = r#"{"messages":[{"role":"user","content":[{"text":"q"}]}],"inferenceConfig":{"temperature":0.50},"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","z":1.0, "a":2}}}}]}}"#;
        assert_eq!(again(body).0, body);
    }

    #[test]
    fn nothing_is_dropped_in_silence() {
        let body = r#"{"messages":[{"role":"user","name":"n","content":[{"text":"q","x":1},{"guardContent":{"text":{"text":"g"}}},{"toolResult":{"toolUseId":"t","content":[{"json":{"a": 1}}],"y":1}}]}],"inferenceConfig":{"topQ":1},"toolConfig":{"z":1,"tools":[{"toolSpec":{"name":"f","w":1}}]},"outputConfig":{"v":1},"serviceTier":{"type":"flex","u":1},"new":1,"additionalModelRequestFields":{"thinking":{"type":"enabled","t":1},"s":1},"gone":null}"#;
        let (request, loss) = read(body);
        let paths: Vec<_> = loss.entries().iter().map(|lost| lost.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "messages[0].name",
                "messages[0].content[0].x",
                "messages[0].content[1].guardContent",
                "messages[0].content[2].toolResult.y",
                "inferenceConfig.topQ",
                "toolConfig.z",
                "toolConfig.tools[0].toolSpec.w",
                "outputConfig.v",
                "serviceTier.u",
                "additionalModelRequestFields.thinking.t",
            ]
        );
        let extras: Vec<_> = request.extras.iter().map(|extra| extra.name.as_ref()).collect();
        assert_eq!(extras, ["new", "additionalModelRequestFields.s"]);
        assert_eq!(written(&request).1, ["new Unsupported"]);
    }

    #[test]
    fn a_json_result_is_its_text() {
        let body = user(r#"{"toolResult":{"toolUseId":"t","content":[{"json":{"a": 1}}]}}"#);
        let (out, lost) = again(&body);
        assert!(out.contains(r#""content":[{"text":"{\"a\": 1}"}]"#), "{out}");
        assert!(lost.is_empty());
    }

    #[test]
    fn wrong_kinds_are_refused_by_path() {
        for (body, path) in [
            ("[]", ""),
            ("{}", "messages"),
            (r#"{"messages":{}}"#, "messages"),
            (r#"{"messages":[{"role":"tool","content":[]}]}"#, "messages[0].role"),
            (r#"{"messages":[{"role":"user","content":"x"}]}"#, "messages[0].content"),
            (r#"{"messages":[{"role":"user","content":[{}]}]}"#, "messages[0].content[0]"),
            (
                r#"{"messages":[{"role":"user","content":[{"text":1}]}]}"#,
                "messages[0].content[0].text",
            ),
            (r#"{"messages":[],"inferenceConfig":{"maxTokens":"x"}}"#, "inferenceConfig.maxTokens"),
        ] {
            assert_eq!(decode(body, &mut Loss::default()).unwrap_err().path, path, "{body}");
        }
    }

    fn openai() -> Request<'static> {
        let mut request = Request::new(Dialect::OpenAiChat, &NAMES);
        request.model = Cow::Borrowed(CLAUDE);
        request
    }

    fn say(request: &mut Request<'static>, role: Role, kinds: Vec<PartKind<'static>>) {
        let place = Place::item("messages", request.turns.len());
        let parts = kinds.into_iter().map(|kind| Part::new(place, kind)).collect();
        request.turns.push(Turn { place, role, name: None, parts });
    }

    use crate::chat::{Media, Part, PartKind, Role, Source, Turn};

    fn text(text: &'static str) -> PartKind<'static> {
        PartKind::Text { text: Cow::Borrowed(text), citations: None }
    }

    fn result(id: &'static str) -> PartKind<'static> {
        let content = vec![Part::new(Place::field("x"), text("r"))];
        PartKind::ToolResult { id: Cow::Borrowed(id), name: None, is_error: false, content }
    }

    fn call(id: &'static str, arguments: &'static str) -> PartKind<'static> {
        let (id, arguments) = (Cow::Borrowed(id), Cow::Borrowed(arguments));
        PartKind::ToolUse { id, name: Cow::Borrowed("f"), arguments }
    }

    #[test]
    fn results_of_one_turn_stand_first_in_one_message() {
        let mut request = openai();
        say(&mut request, Role::User, vec![text("q"), text(" \n")]);
        say(&mut request, Role::Assistant, vec![call("a", ""), call("b", "[1")]);
        say(&mut request, Role::User, vec![result("a")]);
        say(&mut request, Role::System, vec![text("be brief")]);
        say(&mut request, Role::User, vec![result("b")]);
        say(&mut request, Role::Assistant, vec![text("")]);
        say(&mut request, Role::User, vec![text("next")]);
        let (out, lost) = written(&request);
        assert_eq!(
            out.unwrap(),
            r#"{"messages":[{"role":"user","content":[{"text":"q"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"a","name":"f","input":{}}},{"toolUse":{"toolUseId":"b","name":"f","input":{"arguments":"[1"}}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"a","content":[{"text":"r"}]}},{"toolResult":{"toolUseId":"b","content":[{"text":"r"}]}},{"text":"<system-reminder>\nbe brief\n</system-reminder>"},{"text":"next"}]}],"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{}}}}}]}}"#
        );
        assert_eq!(lost, ["messages[3] Approximated", "messages[1] Approximated"]);
    }

    #[test]
    fn documents_have_names_of_their_own_and_text_beside_them() {
        let mut request = openai();
        let document = |name: Option<&'static str>| {
            let source =
                Source::Base64 { media_type: "application/pdf".into(), data: "JVBERg==".into() };
            PartKind::Document(Media { name: name.map(Cow::Borrowed), ..Media::new(source) })
        };
        let names = [Some("report.pdf"), Some("report.PDF"), None, None, Some("a_b  c.v2")];
        say(&mut request, Role::User, names.into_iter().map(document).collect());
        let (out, lost) = written(&request);
        let out: serde_json::Value = serde_json::from_str(&out.unwrap()).unwrap();
        let content = out["messages"][0]["content"].as_array().unwrap();
        let names: Vec<_> = content.iter().filter_map(|b| b["document"]["name"].as_str()).collect();
        assert_eq!(names, ["report", "report-2", "document", "document-2", "a_b c_v2"]);
        assert_eq!(content.last().unwrap(), &serde_json::json!({"text": "."}));
        assert_eq!(lost, ["messages[0] Approximated"]);
    }

    #[test]
    fn what_bedrock_would_have_to_fetch_is_refused() {
        for url in ["https://example.com/a.png", "gs://b/a.png"] {
            let mut request = openai();
            let source = Source::Url { url: Cow::Borrowed(url), media_type: None };
            say(&mut request, Role::User, vec![PartKind::Image(Media::new(source))]);
            let refused = written(&request).0.unwrap_err();
            assert_eq!(refused.path, "messages[0]");
            assert!(refused.message.contains("base64"), "{refused}");
        }
        let mut request = openai();
        let source = Source::Url { url: Cow::Borrowed("s3://b/a.jpg"), media_type: None };
        say(&mut request, Role::User, vec![PartKind::Image(Media::new(source))]);
        let out = written(&request).0.unwrap();
        assert!(
            out.contains(r#"{"format":"jpeg","source":{"s3Location":{"uri":"s3://b/a.jpg"}}}"#)
        );
    }

    #[test]
    fn ids_that_converse_refuses_are_renamed_alike() {
        let long = "call_".to_owned() + &"x".repeat(90);
        let leaked: &'static str = long.leak();
        let mut request = openai();
        say(&mut request, Role::User, vec![text("q")]);
        say(&mut request, Role::Assistant, vec![call(leaked, "{}"), call("a|b", "{}")]);
        say(&mut request, Role::User, vec![result(leaked), result("a|b")]);
        let out: serde_json::Value = serde_json::from_str(&written(&request).0.unwrap()).unwrap();
        for index in 0..2 {
            let call =
                out["messages"][1]["content"][index]["toolUse"]["toolUseId"].as_str().unwrap();
            let result = &out["messages"][2]["content"][index]["toolResult"]["toolUseId"];
            assert_eq!(result, call);
            assert!(
                call.len() <= 64
                    && call.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
            );
        }
    }

    #[test]
    fn foreign_and_unsigned_reasoning_is_left_out() {
        let mut request = openai();
        say(&mut request, Role::User, vec![text("q")]);
        say(
            &mut request,
            Role::Assistant,
            vec![PartKind::Thinking { text: "t".into() }, text("a")],
        );
        say(&mut request, Role::User, vec![text("n")]);
        let (out, lost) = written(&request);
        assert!(!out.unwrap().contains("reasoning"));
        assert_eq!(lost, ["messages[1] Foreign"]);
    }

    /// The extra fields that `request` gets on `model`, and what is lost.
    fn fields(request: &mut Request<'static>, model: &'static str) -> (String, Vec<String>) {
        request.model = Cow::Borrowed(model);
        if request.turns.is_empty() {
            say(request, Role::User, vec![text("q")]);
        }
        let (out, lost) = written(request);
        let out = out.unwrap();
        (out.split_once(r#""q"}]}]"#).unwrap().1.trim_start_matches(',').to_owned(), lost)
    }

    #[test]
    fn an_effort_is_said_in_the_words_of_the_family() {
        for (model, effort, expected, lost) in [
            (
                "anthropic.claude-opus-4-7",
                "high",
                r#""additionalModelRequestFields":{"output_config":{"effort":"high"},"thinking":{"type":"adaptive"}}}"#,
                vec![],
            ),
            (
                "anthropic.claude-3-7-sonnet-20250219-v1:0",
                "low",
                r#""inferenceConfig":{"maxTokens":5120},"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":1024}}}"#,
                vec!["outputConfig.effort Approximated"],
            ),
            (
                "anthropic.claude-3-5-sonnet-20240620-v1:0",
                "low",
                "}",
                vec!["additionalModelRequestFields.thinking Unsupported"],
            ),
            (
                "amazon.nova-2-lite-v1:0",
                "minimal",
                r#""additionalModelRequestFields":{"reasoningConfig":{"type":"enabled","maxReasoningEffort":"low"}}}"#,
                vec!["outputConfig.effort Approximated"],
            ),
            (
                "openai.gpt-oss-120b-1:0",
                "high",
                r#""additionalModelRequestFields":{"reasoning_effort":"high"}}"#,
                vec![],
            ),
            (
                "meta.llama3-3-70b-instruct-v1:0",
                "high",
                "}",
                vec!["additionalModelRequestFields.thinking Unsupported"],
            ),
            ("meta.llama3-3-70b-instruct-v1:0", "none", "}", vec![]),
        ] {
            let mut request = openai();
            request.reasoning =
                Some(Reasoning { effort: Some(effort.into()), ..Reasoning::default() });
            let (said, dropped) = fields(&mut request, model);
            assert_eq!(
                (said.as_str(), dropped),
                (expected, lost.into_iter().map(str::to_owned).collect()),
                "{model}"
            );
        }
    }

    #[test]
    fn choices_and_calls_in_parallel() {
        let tool = || {
            Tool::Function(FunctionTool {
                place: Place::item("tools", 0),
                name: "f".into(),
                description: Some("".into()),
                schema: Some(r#"{"properties":{}}"#),
                strict: None,
                cache: Some(CacheHint { ttl: None }),
            })
        };
        let mut request = openai();
        request.tools = vec![tool()];
        request.tool_choice = Some(ToolChoice::Required);
        request.parallel_tool_calls = Some(false);
        let (said, lost) = fields(&mut request, CLAUDE);
        assert_eq!(
            said,
            r#""toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{}}}}},{"cachePoint":{"type":"default"}}],"toolChoice":{"any":{}}},"additionalModelRequestFields":{"tool_choice":{"type":"any","disable_parallel_tool_use":true}}}"#
        );
        assert!(lost.is_empty());
        request.tool_choice = Some(ToolChoice::None);
        let (said, lost) = fields(&mut request, CLAUDE);
        assert_eq!(
            (said.as_str(), lost.join(" ").as_str()),
            ("}", "toolConfig.toolChoice Approximated")
        );
        let called = PartKind::ToolUse { id: "a".into(), name: "f".into(), arguments: "{}".into() };
        request.turns.clear();
        say(&mut request, Role::User, vec![text("x")]);
        say(&mut request, Role::Assistant, vec![called]);
        say(&mut request, Role::User, vec![text("q")]);
        let (said, lost) = fields(&mut request, "mistral.mistral-large-2407-v1:0");
        assert!(said.contains("toolSpec") && !said.contains("toolChoice"), "{said}");
        assert_eq!(
            lost,
            [
                "tools[0].cache_control Unsupported",
                "toolConfig.toolChoice Unsupported",
                "additionalModelRequestFields.tool_choice.disable_parallel_tool_use Unsupported"
            ]
        );
    }

    #[test]
    fn cache_points_stay_where_the_family_is_unknown() {
        for (model, kept) in [
            ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/x1y2", true),
            (CLAUDE, true),
            ("us.meta.llama3-3-70b-instruct-v1:0", false),
        ] {
            let mut request = openai();
            say(&mut request, Role::User, vec![text("q")]);
            request.turns[0].parts[0].cache = Some(CacheHint { ttl: Some("1h".into()) });
            request.model = Cow::Borrowed(model);
            let (out, lost) = written(&request);
            assert_eq!(
                out.unwrap().contains(r#"{"cachePoint":{"type":"default","ttl":"1h"}}"#),
                kept,
                "{model}"
            );
            assert_eq!(lost.is_empty(), kept);
        }
    }

    #[test]
    fn limits_of_converse_are_told() {
        let mut request = openai();
        request.temperature = Some("1.5");
        request.top_p = Some("0.9");
        request.top_k = Some("5");
        request.seed = Some("1");
        request.n = Some("1");
        request.stop = vec!["END".into(), "".into()];
        request.metadata = Some(r#"{"ok":"a","bad":"ü","num":1}"#);
        request.service_tier = Some("scale".into());
        let (said, lost) = fields(&mut request, "anthropic.claude-3-5-sonnet-20240620-v1:0");
        assert_eq!(
            said,
            r#""inferenceConfig":{"maxTokens"#.split_once("maxTokens").unwrap().0.to_owned()
                + r#"temperature":1,"topP":0.9,"stopSequences":["END"]},"requestMetadata":{"ok":"a"},"additionalModelResponseFieldPaths":["/stop_sequence"],"additionalModelRequestFields":{"top_k":5}}"#
        );
        assert_eq!(
            lost,
            [
                "inferenceConfig.temperature Approximated",
                "inferenceConfig.stopSequences Value",
                "requestMetadata.bad Value",
                "requestMetadata.num Value",
                "serviceTier Value",
                "additionalModelRequestFields.seed Unsupported"
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn any_json_is_survived(value in json()) {
            let body = value.to_string();
            let mut loss = Loss::default();
            if let Ok(request) = decode(&body, &mut loss) {
                let (out, _) = written(&request);
                if let Ok(out) = out {
                    serde_json::from_str::<serde_json::Value>(&out).unwrap();
                }
            }
        }
    }

    /// Objects made of the names that the decoder knows, with values of any kind.
    fn json() -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i32>().prop_map(Into::into),
            "[a-z{}\":]{0,6}".prop_map(Into::into),
        ];
        let key = prop::sample::select(vec![
            "messages",
            "system",
            "content",
            "text",
            "image",
            "document",
            "source",
            "bytes",
            "format",
            "name",
            "toolUse",
            "toolUseId",
            "input",
            "toolResult",
            "json",
            "reasoningContent",
            "reasoningText",
            "redactedContent",
            "cachePoint",
            "toolConfig",
            "tools",
            "toolSpec",
            "toolChoice",
            "tool",
            "inferenceConfig",
            "maxTokens",
            "stopSequences",
            "thinking",
            "additionalModelRequestFields",
            "outputConfig",
            "textFormat",
            "requestMetadata",
            "x",
        ]);
        leaf.prop_recursive(6, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::vec((key.clone(), inner), 0..5).prop_map(|members| {
                    let mut object: serde_json::Map<String, serde_json::Value> =
                        members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
                    object.entry("role").or_insert_with(|| "user".into());
                    object.into()
                }),
            ]
        })
    }
}
