//! OpenAI Responses requests, read: the parameters of a client's body.
//!
//! In: the JSON body of `POST /v1/responses`. Out: a [`Request`]; its items are read by
//! `openai_responses_input`, and requests are written by `openai_responses_body`. State that only
//! the provider holds (`previous_response_id`, `conversation`, `prompt`, background runs) cannot be
//! said in another language and is refused. What asks for nothing more than what is done anyway
//! (`store: false`, `truncation: "disabled"`, `include: ["reasoning.encrypted_content"]`) is taken
//! as fulfilled. Never: drops a field in silence.
//! Page: <https://platform.openai.com/docs/api-reference/responses/create>

use super::Malformed;
use super::openai_responses_input as input;
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
            let tokens = json_read::unsigned(raw);
            request.max_tokens =
                Some(tokens.ok_or_else(|| Malformed::at(name, "must be a whole number"))?);
        }
        "parallel_tool_calls" => request.parallel_tool_calls = Some(boolean(raw, name)?),
        "stream" => request.stream = boolean(raw, name)?,
        "stop" => {
            if json_read::is_array(raw) {
                for (at, item) in json_read::items(raw).enumerate() {
                    request.stop.push(text(item, format_args!("stop[{at}]"))?);
                }
            } else {
                request.stop.push(text(raw, name)?);
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The texts that pass through; false if `name` is none of them.
fn label<'a>(name: &str, raw: &'a str, request: &mut Request<'a>) -> Result<bool, Malformed> {
    match name {
        "model" => request.model = text(raw, name)?,
        "user" => request.user = Some(text(raw, name)?),
        "service_tier" => request.service_tier = Some(text(raw, name)?),
        "prompt_cache_key" => request.prompt_cache_key = Some(text(raw, name)?),
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
    let identifier = text(raw, "safety_identifier")?;
    match &request.user {
        None => request.user = Some(identifier),
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
            // The seals of whatever upstream are always sent, see `openai_responses_seal`.
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
            "name" => tool.name = text(raw, place.key(&name))?,
            "description" => tool.description = Some(text(raw, place.key(&name))?),
            "parameters" => tool.schema = Some(object(raw, place.key(&name))?),
            "strict" => tool.strict = Some(boolean(raw, place.key(&name))?),
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
                let effort = text(raw, path)?;
                if effort == "none" {
                    reasoning.enabled = Some(false);
                }
                reasoning.effort = Some(effort);
            }
            "summary" => reasoning.summary = Some(text(raw, path)?),
            // Its name before `summary`.
            "generate_summary" => {
                let summary = text(raw, path)?;
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
            "verbosity" => request.verbosity = Some(text(raw, "text.verbosity")?),
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
            "name" => title = Some(text(raw, path)?),
            "description" => description = Some(text(raw, path)?),
            "schema" => schema = Some(object(raw, path)?),
            "strict" => strict = Some(boolean(raw, path)?),
            _ => loss.push(path, Reason::Unsupported),
        }
    }
    let schema = schema.ok_or_else(|| Malformed::at("text.format.schema", "is required"))?;
    Ok(Format::JsonSchema { name: title, description, schema, strict })
}

pub(super) fn text(raw: &str, path: impl Display) -> Result<Cow<'_, str>, Malformed> {
    json_read::text(raw).ok_or_else(|| Malformed::at(path, "must be a string"))
}

fn boolean(raw: &str, path: impl Display) -> Result<bool, Malformed> {
    json_read::boolean(raw).ok_or_else(|| Malformed::at(path, "must be true or false"))
}

fn number(raw: &str, path: impl Display) -> Result<Raw<'_>, Malformed> {
    let number = raw.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if number { Ok(raw) } else { Err(Malformed::at(path, "must be a number")) }
}

fn object(raw: &str, path: impl Display) -> Result<Raw<'_>, Malformed> {
    if json_read::is_object(raw) { Ok(raw) } else { Err(Malformed::at(path, "must be an object")) }
}
