//! Reads Gemini `generateContent` requests.
//!
//! In: the body that a google-genai client sends; model and streaming stand in its path and are
//! set by the gateway. Out: the hub's [`Request`]. Keys are taken in camelCase and in snake_case,
//! as protobuf's JSON does. Never: changes a schema or an argument; a field without a hub name is
//! kept as an extra under its full path (`generationConfig.speechConfig`), so that it is said again
//! to Gemini and reported by every other language.
//! Source: ai.google.dev/api/generate-content.

use super::gemini_turns;
use super::{Dialect, Malformed};
use crate::chat::{
    Extra, FieldNames, Format, FunctionTool, Loss, Place, Raw, Reason, Reasoning, Request, Tool,
    ToolChoice,
};
use crate::wire::json_read;
use std::borrow::Cow;

pub(super) use super::gemini_body::encode;

static NAMES: FieldNames = FieldNames {
    system: "systemInstruction",
    tools: "tools",
    tool_choice: "toolConfig.functionCallingConfig",
    parallel_tool_calls: "toolConfig",
    max_tokens: "generationConfig.maxOutputTokens",
    temperature: "generationConfig.temperature",
    top_p: "generationConfig.topP",
    top_k: "generationConfig.topK",
    seed: "generationConfig.seed",
    frequency_penalty: "generationConfig.frequencyPenalty",
    presence_penalty: "generationConfig.presencePenalty",
    n: "generationConfig.candidateCount",
    logprobs: "generationConfig.responseLogprobs",
    top_logprobs: "generationConfig.logprobs",
    stop: "generationConfig.stopSequences",
    reasoning: "generationConfig.thinkingConfig",
    reasoning_effort: "generationConfig.thinkingConfig.thinkingLevel",
    reasoning_budget: "generationConfig.thinkingConfig.thinkingBudget",
    reasoning_summary: "generationConfig.thinkingConfig.includeThoughts",
    format: "generationConfig.responseMimeType",
    user: "user",
    metadata: "labels",
    service_tier: "serviceTier",
    prompt_cache_key: "cachedContent",
    verbosity: "generationConfig",
};

/// The camelCase form of a key, which may be written in snake_case.
pub(super) fn camel(name: &str) -> Cow<'_, str> {
    if !name.contains('_') {
        return Cow::Borrowed(name);
    }
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = !camel.is_empty();
        } else if std::mem::take(&mut upper) {
            camel.push(c.to_ascii_uppercase());
        } else {
            camel.push(c);
        }
    }
    Cow::Owned(camel)
}

/// The members of an object that are not null.
pub(super) fn members(raw: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    json_read::fields(raw).filter(|(_, value)| !json_read::is_null(value))
}

/// The elements of an array, or the value itself: protobuf's clients may leave the brackets out.
pub(super) fn list(raw: &str) -> impl Iterator<Item = &str> {
    let single = (!json_read::is_array(raw)).then_some(raw);
    json_read::items(raw).chain(single)
}

/// A whole number, written as such or, as protobuf does with 64 bits, as a string.
pub(super) fn whole(raw: &str) -> Option<u64> {
    json_read::unsigned(number(raw)?)
}

/// A number's digits, written as such or as a string.
fn number(raw: &str) -> Option<Raw<'_>> {
    let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).unwrap_or(raw);
    let numeric = inner.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    (numeric && inner.parse::<f64>().is_ok()).then_some(inner)
}

/// Reads a request. `model` and `stream` are left to the gateway, unless the body names a model.
pub(super) fn decode<'a>(body: &'a str, loss: &mut Loss) -> Result<Request<'a>, Malformed> {
    if !json_read::is_object(body) {
        return Err(Malformed::at("", "the request must be a JSON object"));
    }
    let mut request = Request::new(Dialect::Gemini, &NAMES);
    request.include_usage = true;
    for (name, raw) in members(body) {
        match &*camel(&name) {
            "contents" => request.turns = gemini_turns::contents(raw, loss)?,
            "systemInstruction" => request.system = gemini_turns::system(raw, loss)?,
            "model" => request.model = model(raw),
            "tools" => tools(raw, &mut request, loss)?,
            "toolConfig" => tool_config(raw, &mut request),
            "generationConfig" => generation_config(raw, &mut request, loss)?,
            "labels" if json_read::is_object(raw) => request.metadata = Some(raw),
            "serviceTier" => {
                request.service_tier = json_read::text(raw).and_then(|name| tier(&name));
            }
            _ => request.extras.push(Extra { name, raw }),
        }
    }
    if request.turns.is_empty() {
        return Err(Malformed::at("contents", "at least one content is required"));
    }
    Ok(request)
}

fn model(raw: &str) -> Cow<'_, str> {
    match json_read::text(raw) {
        Some(Cow::Borrowed(name)) => Cow::Borrowed(name.strip_prefix("models/").unwrap_or(name)),
        Some(Cow::Owned(name)) => Cow::Owned(name.replacen("models/", "", 1)),
        None => Cow::Borrowed(""),
    }
}

/// The tiers in the words of the other vendors, where these differ.
fn tier(name: &str) -> Option<Cow<'static, str>> {
    match name.to_ascii_lowercase().as_str() {
        "unspecified" | "" => None,
        "standard" => Some(Cow::Borrowed("default")),
        lower => Some(Cow::Owned(lower.to_owned())),
    }
}

fn tools<'a>(raw: &'a str, request: &mut Request<'a>, loss: &mut Loss) -> Result<(), Malformed> {
    for (at, tool) in list(raw).enumerate() {
        let place = Place::item("tools", at);
        for (name, raw) in members(tool) {
            let kind = camel(&name);
            if kind == "functionDeclarations" {
                for (inner, raw) in list(raw).enumerate() {
                    let place = place.inner("functionDeclarations", inner);
                    request.tools.push(Tool::Function(function(place, raw, loss)?));
                }
            } else {
                let kind = Cow::Owned(kind.into_owned());
                request.tools.push(Tool::Hosted { place, kind, raw });
            }
        }
    }
    Ok(())
}

fn function<'a>(
    place: Place,
    raw: &'a str,
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
    for (name, raw) in members(raw) {
        match &*camel(&name) {
            "name" => tool.name = json_read::text(raw).unwrap_or_default(),
            "description" => tool.description = json_read::text(raw),
            "parameters" | "parametersJsonSchema" if json_read::is_object(raw) => {
                tool.schema = Some(raw);
            }
            _ => loss.push(place.key(&name), Reason::Unsupported),
        }
    }
    if tool.name.is_empty() {
        return Err(Malformed::at(place.key("name"), "a function needs a name"));
    }
    Ok(tool)
}

fn tool_config<'a>(raw: &'a str, request: &mut Request<'a>) {
    for (name, raw) in members(raw) {
        if camel(&name) == "functionCallingConfig" {
            calling_config(&name, raw, request);
        } else {
            keep(request, &["toolConfig", &name], raw);
        }
    }
}

fn calling_config<'a>(parent: &str, raw: &'a str, request: &mut Request<'a>) {
    let mut allowed = None;
    for (name, raw) in members(raw) {
        let mode = (camel(&name) == "mode").then(|| json_read::text(raw)).flatten();
        match mode.map(|mode| mode.to_ascii_uppercase()).as_deref() {
            Some("AUTO") => request.tool_choice = Some(ToolChoice::Auto),
            Some("NONE") => request.tool_choice = Some(ToolChoice::None),
            Some("ANY") => request.tool_choice = Some(ToolChoice::Required),
            Some("MODE_UNSPECIFIED") => {}
            Some("VALIDATED") => {
                request.tool_choice = Some(ToolChoice::Auto);
                keep(request, &["toolConfig", parent, &name], raw);
            }
            _ if camel(&name) == "allowedFunctionNames" => allowed = Some((name, raw)),
            _ => keep(request, &["toolConfig", parent, &name], raw),
        }
    }
    let Some((name, raw)) = allowed else { return };
    let mut names = json_read::items(raw).filter_map(json_read::text);
    match (names.next(), names.next(), &request.tool_choice) {
        (None, ..) => {}
        (Some(only), None, Some(ToolChoice::Required)) => {
            request.tool_choice = Some(ToolChoice::Named(only));
        }
        _ => keep(request, &["toolConfig", parent, &name], raw),
    }
}

fn keep<'a>(request: &mut Request<'a>, path: &[&str], raw: &'a str) {
    request.extras.push(Extra { name: Cow::Owned(path.join(".")), raw });
}

/// How the answer's form is spread over three fields.
#[derive(Default)]
struct Form<'a> {
    mime: Option<(Cow<'a, str>, Raw<'a>)>,
    schema: Option<(Cow<'a, str>, Raw<'a>)>,
}

fn generation_config<'a>(
    raw: &'a str,
    request: &mut Request<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    let mut form = Form::default();
    for (name, raw) in members(raw) {
        let wrong = || Malformed::at(format!("generationConfig.{name}"), "must be a number");
        let numeric = || number(raw).map(Some).ok_or_else(wrong);
        // the SDKs write `40.0`, which other vendors refuse for a count
        let counted = || Ok(numeric()?.map(|raw| raw.strip_suffix(".0").unwrap_or(raw)));
        match &*camel(&name) {
            "maxOutputTokens" => request.max_tokens = Some(whole(raw).ok_or_else(wrong)?),
            "temperature" => request.temperature = numeric()?,
            "topP" => request.top_p = numeric()?,
            "topK" => request.top_k = counted()?,
            "seed" => request.seed = counted()?,
            "presencePenalty" => request.presence_penalty = numeric()?,
            "frequencyPenalty" => request.frequency_penalty = numeric()?,
            "candidateCount" => request.n = counted()?,
            "logprobs" => request.top_logprobs = counted()?,
            "responseLogprobs" => request.logprobs = json_read::boolean(raw),
            "stopSequences" => {
                request.stop = list(raw).filter_map(json_read::text).collect();
            }
            "responseMimeType" => form.mime = json_read::text(raw).map(|mime| (mime, raw)),
            "responseSchema" | "responseJsonSchema" => form.schema = Some((name, raw)),
            "responseModalities" if only_text(raw) => {}
            "thinkingConfig" => request.reasoning = thinking(&name, raw, loss),
            _ => keep(request, &["generationConfig", &name], raw),
        }
    }
    format(form, request);
    Ok(())
}

fn only_text(raw: &str) -> bool {
    let mut modalities = json_read::items(raw).filter_map(json_read::text);
    modalities.all(|modality| modality.eq_ignore_ascii_case("text"))
}

fn format<'a>(form: Form<'a>, request: &mut Request<'a>) {
    let Form { mime, schema } = form;
    match (mime, schema) {
        (None, None) => {}
        (Some((mime, _)), None) if mime == "text/plain" => request.format = Some(Format::Text),
        (Some((mime, _)), None) if mime == "application/json" => {
            request.format = Some(Format::JsonObject);
        }
        (Some((mime, _)), Some((_, schema)))
            if mime == "application/json" && json_read::is_object(schema) =>
        {
            let (name, description, schema) = (None, None, Cow::Borrowed(schema));
            request.format = Some(Format::JsonSchema { name, description, schema, strict: None });
        }
        (mime, schema) => {
            if let Some((_, raw)) = mime {
                keep(request, &["generationConfig", "responseMimeType"], raw);
            }
            if let Some((name, raw)) = schema {
                keep(request, &["generationConfig", &name], raw);
            }
        }
    }
}

fn thinking<'a>(parent: &str, raw: &'a str, loss: &mut Loss) -> Option<Reasoning<'a>> {
    let mut reasoning = Reasoning::default();
    let mut lost =
        |name: &str| loss.push(format!("generationConfig.{parent}.{name}"), Reason::Value);
    for (name, raw) in members(raw) {
        match &*camel(&name) {
            "includeThoughts" => match json_read::boolean(raw) {
                Some(true) => reasoning.summary = Some(Cow::Borrowed("auto")),
                Some(false) => reasoning.summary = Some(Cow::Borrowed("omitted")),
                None => lost(&name),
            },
            "thinkingBudget" => match (number(raw), whole(raw)) {
                (_, Some(0)) => reasoning.enabled = Some(false),
                (_, Some(budget)) => {
                    reasoning.enabled = Some(true);
                    reasoning.budget_tokens = Some(budget);
                }
                (Some("-1"), None) => {
                    reasoning.enabled = Some(true);
                    reasoning.adaptive = true;
                }
                _ => lost(&name),
            },
            "thinkingLevel" => match json_read::text(raw) {
                Some(level) if level == "THINKING_LEVEL_UNSPECIFIED" => {}
                Some(level) => reasoning.effort = Some(Cow::Owned(level.to_ascii_lowercase())),
                None => lost(&name),
            },
            _ => lost(&name),
        }
    }
    let silent = reasoning.enabled.is_none() && reasoning.effort.is_none();
    if silent && reasoning.summary.as_deref() == Some("auto") {
        // thoughts are wanted, how much is left to the model
        reasoning.enabled = Some(true);
        reasoning.adaptive = true;
    }
    (reasoning != Reasoning::default()).then_some(reasoning)
}
