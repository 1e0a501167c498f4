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

pub(super) static NAMES: FieldNames = FieldNames {
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
            "maxTokens" => {
                let count = json_read::unsigned(value);
                let wrong = || Malformed::at(NAMES.max_tokens, "must be a whole number");
                request.max_tokens = Some(count.ok_or_else(wrong)?);
            }
            "temperature" => request.temperature = Some(value),
            "topP" => request.top_p = Some(value),
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
