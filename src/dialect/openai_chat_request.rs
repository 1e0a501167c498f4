//! OpenAI Chat Completions requests, read.
//!
//! In: a body of `POST /v1/chat/completions`. Out: the hub's [`Request`], borrowing from the body;
//! what it cannot hold is in the [`Loss`]. Besides OpenAI's own fields it reads those in wide use
//! among its followers (`top_k`, `reasoning`, `reasoning_content`, `cache_control` on parts).
//! Never: refuses a field that it does not know. Source:
//! <https://platform.openai.com/docs/api-reference/chat/create>.

use super::Malformed;
use super::expect::{boolean, count, list, object, present, text};
use super::openai_chat_message;
use crate::chat::{
    Dialect, Extra, FieldNames, Format, FunctionTool, Loss, Place, Raw, Reason, Reasoning, Request,
    Tool, ToolChoice,
};
use crate::wire::json_read;
use std::borrow::Cow;

pub(super) use super::openai_chat_request_out::encode;

static NAMES: FieldNames = FieldNames {
    system: "messages",
    tools: "tools",
    tool_choice: "tool_choice",
    parallel_tool_calls: "parallel_tool_calls",
    max_tokens: "max_completion_tokens",
    temperature: "temperature",
    top_p: "top_p",
    top_k: "top_k",
    seed: "seed",
    frequency_penalty: "frequency_penalty",
    presence_penalty: "presence_penalty",
    n: "n",
    logprobs: "logprobs",
    top_logprobs: "top_logprobs",
    stop: "stop",
    reasoning: "reasoning_effort",
    reasoning_effort: "reasoning_effort",
    reasoning_budget: "reasoning.max_tokens",
    reasoning_summary: "reasoning.exclude",
    format: "response_format",
    user: "user",
    metadata: "metadata",
    service_tier: "service_tier",
    prompt_cache_key: "prompt_cache_key",
    verbosity: "verbosity",
};

pub(super) fn decode<'a>(body: &'a str, loss: &mut Loss) -> Result<Request<'a>, Malformed> {
    if !json_read::is_object(body) {
        return Err(Malformed::at("", "the body must be a JSON object"));
    }
    let mut request = Request::new(Dialect::OpenAiChat, &NAMES);
    let mut own = Own::default();
    for (name, raw) in json_read::fields(body) {
        if !json_read::is_null(raw) && !parameter(&mut request, &name, raw, loss)? {
            own.field(&mut request, name, raw, loss)?;
        }
    }
    own.finish(&mut request, loss)?;
    Ok(request)
}

/// Reads a field with a plain hub name; false if `name` is none.
fn parameter<'a>(
    request: &mut Request<'a>,
    name: &str,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<bool, Malformed> {
    match name {
        "model" => request.model = text(name, raw)?,
        "stream" => request.stream = boolean(name, raw)?,
        "parallel_tool_calls" => request.parallel_tool_calls = Some(boolean(name, raw)?),
        "temperature" => request.temperature = Some(raw),
        "top_p" => request.top_p = Some(raw),
        "top_k" => request.top_k = Some(raw),
        "seed" => request.seed = Some(raw),
        "frequency_penalty" => request.frequency_penalty = Some(raw),
        "presence_penalty" => request.presence_penalty = Some(raw),
        "n" => request.n = Some(raw),
        "logprobs" => request.logprobs = Some(boolean(name, raw)?),
        "top_logprobs" => request.top_logprobs = Some(raw),
        "metadata" => request.metadata = Some(raw),
        "service_tier" => request.service_tier = Some(text(name, raw)?),
        "prompt_cache_key" => request.prompt_cache_key = Some(text(name, raw)?),
        "verbosity" => request.verbosity = Some(text(name, raw)?),
        "response_format" => request.format = format(raw, loss),
        "reasoning_effort" => {
            let effort = text(name, raw)?;
            request.reasoning.get_or_insert_default().effort = Some(effort);
        }
        "reasoning" => reasoning(request.reasoning.get_or_insert_default(), raw, loss),
        "stop" if json_read::is_string(raw) => request.stop.push(text(name, raw)?),
        "stop" => {
            for item in list(name, raw)? {
                request.stop.push(text(name, item)?);
            }
        }
        "stream_options" => {
            for (name, raw) in json_read::fields(raw) {
                match name.as_ref() {
                    "include_usage" => {
                        request.include_usage = json_read::boolean(raw) == Some(true);
                    }
                    // Padding against traffic analysis: off is what every upstream does.
                    "include_obfuscation" if json_read::boolean(raw) != Some(true) => {}
                    _ => loss.push(format_args!("stream_options.{name}"), Reason::Unsupported),
                }
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Fields of which several say the same thing, held until all are known.
#[derive(Default)]
struct Own<'a> {
    max_tokens: Option<u64>,
    user: Option<Cow<'a, str>>,
    safety_identifier: Option<Cow<'a, str>>,
    function_call: Option<Raw<'a>>,
    tool_choice: Option<Raw<'a>>,
    has_messages: bool,
}

impl<'a> Own<'a> {
    fn field(
        &mut self,
        request: &mut Request<'a>,
        name: Cow<'a, str>,
        raw: Raw<'a>,
        loss: &mut Loss,
    ) -> Result<(), Malformed> {
        match name.as_ref() {
            "messages" => {
                self.has_messages = true;
                openai_chat_message::decode_all(request, raw, loss)?;
            }
            "tools" => {
                for (at, item) in list("tools", raw)?.enumerate() {
                    request.tools.push(tool(Place::item("tools", at), item, loss)?);
                }
            }
            "functions" => {
                for (at, item) in list("functions", raw)?.enumerate() {
                    let place = Place::item("functions", at);
                    request.tools.push(Tool::Function(function(place, item, loss)?));
                }
            }
            "max_tokens" => self.max_tokens = Some(count("max_tokens", raw)?),
            "max_completion_tokens" => request.max_tokens = Some(count(name, raw)?),
            "user" => self.user = Some(text("user", raw)?),
            "safety_identifier" => self.safety_identifier = Some(text(name, raw)?),
            "function_call" => self.function_call = Some(raw),
            "tool_choice" => self.tool_choice = Some(raw),
            // An SDK snippet in wide use puts request headers, keys among them, into the body.
            "headers" => loss.push("headers", Reason::Unsupported),
            _ => request.extras.push(Extra { name, raw }),
        }
        Ok(())
    }

    fn finish(self, request: &mut Request<'a>, loss: &mut Loss) -> Result<(), Malformed> {
        if !self.has_messages {
            return Err(Malformed::at("messages", "is required"));
        }
        request.max_tokens = request.max_tokens.or(self.max_tokens);
        if let (Some(user), Some(identifier)) = (&self.user, &self.safety_identifier)
            && user != identifier
        {
            loss.push("safety_identifier", Reason::Unsupported);
        }
        request.user = self.user.or(self.safety_identifier);
        if let Some(raw) = self.tool_choice.or(self.function_call) {
            tool_choice(request, raw, loss)?;
        }
        Ok(())
    }
}

fn tool<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Result<Tool<'a>, Malformed> {
    let (mut kind, mut inner, mut cache) = (None, None, None);
    for (name, value) in object(place, raw)? {
        match name.as_ref() {
            "type" => kind = json_read::text(value),
            "function" => inner = Some(value),
            "cache_control" => cache = openai_chat_message::cache_hint(value),
            _ => {}
        }
    }
    if let Some(kind) = kind.filter(|kind| kind != "function") {
        return Ok(Tool::Hosted { place, kind, raw });
    }
    for (name, value) in json_read::fields(raw) {
        let known = matches!(name.as_ref(), "type" | "function" | "cache_control");
        if !known && !json_read::is_null(value) {
            loss.push(place.key(&name), Reason::Unsupported);
        }
    }
    let inner = present(place.key("function"), inner)?;
    Ok(Tool::Function(FunctionTool { cache, ..function(place, inner, loss)? }))
}

fn function<'a>(
    place: Place,
    raw: Raw<'a>,
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
    for (name, value) in object(place, raw)? {
        match name.as_ref() {
            _ if json_read::is_null(value) => {}
            "name" => tool.name = text(place.key("function.name"), value)?,
            "description" => tool.description = json_read::text(value),
            "parameters" => tool.schema = json_read::is_object(value).then_some(value),
            "strict" => tool.strict = json_read::boolean(value),
            _ => loss.push(place.key(&format!("function.{name}")), Reason::Unsupported),
        }
    }
    if tool.name.is_empty() {
        return Err(Malformed::at(place.key("function.name"), "is required"));
    }
    Ok(tool)
}

/// `tool_choice`, or its forerunner `function_call`.
fn tool_choice<'a>(
    request: &mut Request<'a>,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    let unknown = || Malformed::at("tool_choice", "is not known");
    if let Some(word) = json_read::text(raw) {
        request.tool_choice = Some(choice_word(&word).ok_or_else(unknown)?);
        return Ok(());
    }
    let name = json_read::field(raw, "function")
        .and_then(|function| json_read::text_field(function, "name"))
        .or_else(|| json_read::text_field(raw, "name"));
    if let Some(name) = name {
        request.tool_choice = Some(ToolChoice::Named(name));
        return Ok(());
    }
    let allowed = json_read::field(raw, "allowed_tools").ok_or_else(unknown)?;
    let mode = json_read::text_field(allowed, "mode").unwrap_or(Cow::Borrowed("auto"));
    request.tool_choice = Some(choice_word(&mode).ok_or_else(unknown)?);
    // The tools that may not be called are not sent: the same for the model, though not for a
    // prompt cache.
    let names: Vec<_> = json_read::items(json_read::field(allowed, "tools").unwrap_or("[]"))
        .filter_map(|tool| json_read::text_field(json_read::field(tool, "function")?, "name"))
        .collect();
    request.tools.retain(|tool| match tool {
        Tool::Function(tool) => names.contains(&tool.name),
        Tool::Hosted { .. } => true,
    });
    loss.push("tool_choice.allowed_tools", Reason::Approximated);
    Ok(())
}

fn choice_word(word: &str) -> Option<ToolChoice<'static>> {
    match word {
        "auto" => Some(ToolChoice::Auto),
        "none" => Some(ToolChoice::None),
        "required" | "any" => Some(ToolChoice::Required),
        _ => None,
    }
}

/// OpenRouter's `reasoning` object.
fn reasoning<'a>(reasoning: &mut Reasoning<'a>, raw: Raw<'a>, loss: &mut Loss) {
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            _ if json_read::is_null(value) => {}
            "effort" => reasoning.effort = json_read::text(value),
            "max_tokens" => reasoning.budget_tokens = json_read::unsigned(value),
            "enabled" => reasoning.enabled = json_read::boolean(value),
            "exclude" => {
                let hidden = json_read::boolean(value) == Some(true);
                reasoning.summary = hidden.then_some(Cow::Borrowed("none"));
            }
            "summary" => reasoning.summary = json_read::text(value),
            _ => loss.push(format_args!("reasoning.{name}"), Reason::Unsupported),
        }
    }
}

fn format<'a>(raw: Raw<'a>, loss: &mut Loss) -> Option<Format<'a>> {
    let kind = json_read::text_field(raw, "type").unwrap_or_default();
    match kind.as_ref() {
        "text" => Some(Format::Text),
        "json_object" => Some(Format::JsonObject),
        "json_schema" => {
            let inner = json_read::field(raw, "json_schema").unwrap_or("{}");
            let (mut name, mut description, mut strict, mut schema) = (None, None, None, "{}");
            for (key, value) in json_read::fields(inner) {
                match key.as_ref() {
                    _ if json_read::is_null(value) => {}
                    "name" => name = json_read::text(value),
                    "description" => description = json_read::text(value),
                    "strict" => strict = json_read::boolean(value),
                    "schema" => schema = value,
                    _ => {
                        let path = format_args!("response_format.json_schema.{key}");
                        loss.push(path, Reason::Unsupported);
                    }
                }
            }
            let schema = Cow::Borrowed(schema);
            Some(Format::JsonSchema { name, description, schema, strict })
        }
        _ => {
            loss.push("response_format", Reason::Value);
            None
        }
    }
}
