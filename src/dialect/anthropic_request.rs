//! Anthropic Messages requests, read.
//!
//! In: a body of `POST /v1/messages` (or of Bedrock Invoke for Claude, which has no `model`).
//! Out: the hub's [`Request`], borrowing from the body; what it cannot hold is in the [`Loss`].
//! Never: refuses a field that it does not know. Source:
//! <https://platform.claude.com/docs/en/api/messages>.

use super::Malformed;
use super::expect::{boolean, count, list, object, present, text};
use super::seal;
use crate::chat::{
    CacheHint, Dialect, Extra, FieldNames, Format, FunctionTool, Loss, Media, Part, PartKind,
    Place, Raw, Reason, Reasoning, Request, Role, Seal, Source, Tool, ToolChoice, Turn,
};
use crate::wire::json_read;
use std::borrow::Cow;

pub(super) use super::anthropic_request_out::encode;

static NAMES: FieldNames = FieldNames {
    system: "system",
    tools: "tools",
    tool_choice: "tool_choice",
    parallel_tool_calls: "tool_choice.disable_parallel_tool_use",
    max_tokens: "max_tokens",
    temperature: "temperature",
    top_p: "top_p",
    top_k: "top_k",
    seed: "seed",
    frequency_penalty: "frequency_penalty",
    presence_penalty: "presence_penalty",
    n: "n",
    logprobs: "logprobs",
    top_logprobs: "top_logprobs",
    stop: "stop_sequences",
    reasoning: "thinking",
    reasoning_effort: "output_config.effort",
    reasoning_budget: "thinking.budget_tokens",
    reasoning_summary: "thinking.display",
    format: "output_config.format",
    user: "metadata.user_id",
    metadata: "metadata",
    service_tier: "service_tier",
    prompt_cache_key: "prompt_cache_key",
    verbosity: "verbosity",
};

pub(super) fn decode<'a>(body: &'a str, loss: &mut Loss) -> Result<Request<'a>, Malformed> {
    if !json_read::is_object(body) {
        return Err(Malformed::at("", "the body must be a JSON object"));
    }
    let mut request = Request::new(Dialect::Anthropic, &NAMES);
    request.include_usage = true;
    let mut has_messages = false;
    for (name, raw) in json_read::fields(body) {
        if json_read::is_null(raw) {
            continue;
        }
        has_messages |= name == "messages";
        top_level(&mut request, name, raw, loss)?;
    }
    if has_messages { Ok(request) } else { Err(Malformed::at("messages", "is required")) }
}

fn top_level<'a>(
    request: &mut Request<'a>,
    name: Cow<'a, str>,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    match name.as_ref() {
        "model" => request.model = text("model", raw)?,
        "stream" => request.stream = boolean("stream", raw)?,
        "max_tokens" => request.max_tokens = Some(count("max_tokens", raw)?),
        "temperature" => request.temperature = Some(raw),
        "top_p" => request.top_p = Some(raw),
        "top_k" => request.top_k = Some(raw),
        "service_tier" => request.service_tier = Some(text("service_tier", raw)?),
        "stop_sequences" => {
            for item in json_read::items(raw) {
                request.stop.push(text("stop_sequences", item)?);
            }
        }
        "system" => request.system = system(raw, loss)?,
        "messages" => messages(request, raw, loss)?,
        "tools" => {
            for (at, item) in list("tools", raw)?.enumerate() {
                request.tools.push(tool(Place::item("tools", at), item, loss)?);
            }
        }
        "tool_choice" => tool_choice(request, raw, loss)?,
        "thinking" => thinking(request.reasoning.get_or_insert_default(), raw, loss),
        "output_config" => output_config(request, raw, loss),
        "output_format" => request.format = format("output_format", raw, loss),
        "metadata" => {
            for (name, raw) in json_read::fields(raw) {
                match name.as_ref() {
                    "user_id" => request.user = json_read::text(raw),
                    _ => loss.push(format_args!("metadata.{name}"), Reason::Unsupported),
                }
            }
        }
        // An SDK snippet in wide use puts request headers, keys among them, into the body.
        "headers" => loss.push("headers", Reason::Unsupported),
        _ => request.extras.push(Extra { name, raw }),
    }
    Ok(())
}

fn system<'a>(raw: Raw<'a>, loss: &mut Loss) -> Result<Vec<Part<'a>>, Malformed> {
    if let Some(text) = json_read::text(raw) {
        let kind = PartKind::Text { text, citations: None };
        return Ok(vec![Part::new(Place::field("system"), kind)]);
    }
    let mut parts = Vec::new();
    for (at, item) in list("system", raw)?.enumerate() {
        block(&mut parts, Place::item("system", at), item, loss)?;
    }
    Ok(parts)
}

fn messages<'a>(request: &mut Request<'a>, raw: Raw<'a>, loss: &mut Loss) -> Result<(), Malformed> {
    for (at, item) in list("messages", raw)?.enumerate() {
        request.turns.push(turn(Place::item("messages", at), item, loss)?);
    }
    Ok(())
}

fn turn<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Result<Turn<'a>, Malformed> {
    let (mut role, mut parts) = (None, Vec::new());
    for (name, value) in object(place, raw)? {
        match name.as_ref() {
            "role" => {
                role = Some(match json_read::text(value).as_deref() {
                    Some("user") => Role::User,
                    Some("assistant") => Role::Assistant,
                    Some("system") => Role::System,
                    _ => {
                        let message = "must be \"user\", \"assistant\" or \"system\"";
                        return Err(Malformed::at(place.key("role"), message));
                    }
                });
            }
            "content" => parts = content(place, value, loss)?,
            _ => unknown(place, &name, value, loss),
        }
    }
    let role = present(place.key("role"), role)?;
    Ok(Turn { place, role, name: None, parts })
}

fn content<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Result<Vec<Part<'a>>, Malformed> {
    let mut parts = Vec::new();
    if let Some(text) = json_read::text(raw) {
        parts.push(Part::new(place, PartKind::Text { text, citations: None }));
    } else if json_read::is_array(raw) {
        for (at, item) in json_read::items(raw).enumerate() {
            block(&mut parts, place.inner("content", at), item, loss)?;
        }
    } else if !json_read::is_null(raw) {
        return Err(Malformed::at(place.key("content"), "must be a string or an array of blocks"));
    }
    Ok(parts)
}

/// Reads one content block and appends it.
fn block<'a>(
    parts: &mut Vec<Part<'a>>,
    place: Place,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    let kind = present(place.key("type"), json_read::text_field(raw, "type"))?;
    let part = match kind.as_ref() {
        "text" => text_block(place, raw, loss)?,
        "image" | "document" => media_block(place, &kind, raw, loss)?,
        "tool_use" => tool_use(place, raw, loss)?,
        "tool_result" => tool_result(place, raw, loss)?,
        "thinking" => thinking_block(place, raw, loss),
        "redacted_thinking" => {
            let data = said_alone(place, raw, "data", loss);
            let (seal, attached) = seal::unpack(data, Dialect::Anthropic);
            if let Some(before) = parts.last_mut().filter(|_| attached) {
                before.seal = Some(seal);
                return Ok(());
            }
            Part { seal: Some(seal), ..Part::new(place, PartKind::Redacted) }
        }
        "tool_reference" => {
            let name = said_alone(place, raw, "tool_name", loss);
            loss.push(place, Reason::Approximated);
            let text = Cow::Owned(format!("Tool available: {name}"));
            Part::new(place, PartKind::Text { text, citations: None })
        }
        _ => Part::new(place, PartKind::Opaque { kind, raw }),
    };
    parts.push(part);
    Ok(())
}

/// The text of the only member that a block of this kind has beside its type.
fn said_alone<'a>(place: Place, raw: Raw<'a>, wanted: &str, loss: &mut Loss) -> Cow<'a, str> {
    let mut said = Cow::Borrowed("");
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "type" => {}
            name if name == wanted => said = json_read::text(value).unwrap_or_default(),
            _ => unknown(place, &name, value, loss),
        }
    }
    said
}

fn text_block<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Result<Part<'a>, Malformed> {
    let (mut said, mut citations, mut cache) = (Cow::Borrowed(""), None, None);
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "type" => {}
            "text" => said = text(place.key("text"), value)?,
            "citations" => {
                citations = json_read::items(value).next().is_some().then_some(value);
            }
            "cache_control" => cache = cache_hint(place, value, loss),
            _ => unknown(place, &name, value, loss),
        }
    }
    Ok(Part { cache, ..Part::new(place, PartKind::Text { text: said, citations }) })
}

fn media_block<'a>(
    place: Place,
    kind: &str,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<Part<'a>, Malformed> {
    let mut media = Media::new(Source::Text { text: Cow::Borrowed("") });
    let (mut source, mut cache) = (None, None);
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "type" => {}
            "source" => source = Some(source_of(place, value, loss)?),
            "title" => media.name = json_read::text(value),
            "context" => media.context = json_read::text(value),
            "citations" => {
                let enabled = json_read::field(value, "enabled").and_then(json_read::boolean);
                media.citations = enabled == Some(true);
            }
            "cache_control" => cache = cache_hint(place, value, loss),
            _ => unknown(place, &name, value, loss),
        }
    }
    media.source = present(place.key("source"), source)?;
    let kind = if kind == "image" { PartKind::Image(media) } else { PartKind::Document(media) };
    Ok(Part { cache, ..Part::new(place, kind) })
}

fn source_of<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Result<Source<'a>, Malformed> {
    let (mut media_type, mut data, mut url, mut id, mut inner) = (None, None, None, None, None);
    let mut kind = Cow::Borrowed("");
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "type" => kind = text(place.key("source.type"), value)?,
            "media_type" => media_type = json_read::text(value),
            "data" => data = json_read::text(value),
            "url" => url = json_read::text(value),
            "file_id" => id = json_read::text(value),
            "content" => inner = Some(value),
            _ => unknown(place, &format!("source.{name}"), value, loss),
        }
    }
    let at = |key: &str| place.key(key);
    match kind.as_ref() {
        "base64" => Ok(Source::Base64 {
            media_type: present(at("source.media_type"), media_type)?,
            data: present(at("source.data"), data)?,
        }),
        "url" => Ok(Source::Url { url: present(at("source.url"), url)?, media_type: None }),
        "file" => Ok(Source::File { id: present(at("source.file_id"), id)? }),
        "text" => Ok(Source::Text { text: present(at("source.data"), data)? }),
        "content" => {
            let inner = present(at("source.content"), inner)?;
            Ok(Source::Parts(nested(place, inner, loss)?))
        }
        _ => Err(Malformed::at(place.key("source.type"), "is not known")),
    }
}

/// Blocks inside a block: their loss paths are those of the block around them.
fn nested<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Result<Vec<Part<'a>>, Malformed> {
    let mut parts = Vec::new();
    if let Some(text) = json_read::text(raw) {
        parts.push(Part::new(place, PartKind::Text { text, citations: None }));
    }
    for item in json_read::items(raw) {
        block(&mut parts, place, item, loss)?;
    }
    Ok(parts)
}

fn tool_use<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Result<Part<'a>, Malformed> {
    let (mut id, mut called, mut input, mut cache) = (None, None, "{}", None);
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "type" => {}
            "id" => id = json_read::text(value),
            "name" => called = json_read::text(value),
            "input" => input = value,
            "cache_control" => cache = cache_hint(place, value, loss),
            // Says that the model itself called it, which is what every other language means.
            "caller" if json_read::text_field(value, "type").as_deref() == Some("direct") => {}
            _ => unknown(place, &name, value, loss),
        }
    }
    let kind = PartKind::ToolUse {
        id: present(place.key("id"), id)?,
        name: present(place.key("name"), called)?,
        arguments: Cow::Borrowed(input),
    };
    Ok(Part { cache, ..Part::new(place, kind) })
}

fn tool_result<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Result<Part<'a>, Malformed> {
    let (mut id, mut is_error, mut content, mut cache) = (None, false, Vec::new(), None);
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "type" => {}
            "tool_use_id" => id = json_read::text(value),
            "is_error" => is_error = json_read::boolean(value) == Some(true),
            "content" => content = nested(place, value, loss)?,
            "cache_control" => cache = cache_hint(place, value, loss),
            _ => unknown(place, &name, value, loss),
        }
    }
    let id = present(place.key("tool_use_id"), id)?;
    let kind = PartKind::ToolResult { id, name: None, is_error, content };
    Ok(Part { cache, ..Part::new(place, kind) })
}

fn thinking_block<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Part<'a> {
    let (mut said, mut signature) = (Cow::Borrowed(""), None);
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "type" => {}
            "thinking" => said = json_read::text(value).unwrap_or_default(),
            "signature" => signature = json_read::text(value).filter(|text| !text.is_empty()),
            _ => unknown(place, &name, value, loss),
        }
    }
    let seal: Option<Seal<'a>> = signature.map(|text| seal::unpack(text, Dialect::Anthropic).0);
    Part { seal, ..Part::new(place, PartKind::Thinking { text: said }) }
}

fn tool<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Result<Tool<'a>, Malformed> {
    let kind = json_read::text_field(raw, "type");
    if let Some(kind) = kind.filter(|kind| kind != "custom") {
        return Ok(Tool::Hosted { place, kind, raw });
    }
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
            "type" => {}
            "name" => tool.name = text(place.key("name"), value)?,
            "description" => tool.description = json_read::text(value),
            "input_schema" => tool.schema = json_read::is_object(value).then_some(value),
            "strict" => tool.strict = json_read::boolean(value),
            "cache_control" => tool.cache = cache_hint(place, value, loss),
            _ => unknown(place, &name, value, loss),
        }
    }
    if tool.name.is_empty() {
        return Err(Malformed::at(place.key("name"), "is required"));
    }
    Ok(Tool::Function(tool))
}

fn tool_choice<'a>(
    request: &mut Request<'a>,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    let (mut kind, mut named) = (Cow::Borrowed(""), None);
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "type" => kind = text("tool_choice.type", value)?,
            "name" => named = json_read::text(value),
            "disable_parallel_tool_use" => {
                request.parallel_tool_calls = json_read::boolean(value).map(|disabled| !disabled);
            }
            _ => loss.push(format_args!("tool_choice.{name}"), Reason::Unsupported),
        }
    }
    request.tool_choice = Some(match kind.as_ref() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(present("tool_choice.name", named)?),
        _ => return Err(Malformed::at("tool_choice.type", "is not known")),
    });
    Ok(())
}

fn thinking<'a>(reasoning: &mut Reasoning<'a>, raw: Raw<'a>, loss: &mut Loss) {
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "type" => match json_read::text(value).as_deref() {
                Some("disabled") => reasoning.enabled = Some(false),
                Some("enabled") => reasoning.enabled = Some(true),
                Some("adaptive") => {
                    reasoning.enabled = Some(true);
                    reasoning.adaptive = true;
                }
                _ => {
                    reasoning.enabled = Some(true);
                    loss.push("thinking.type", Reason::Value);
                }
            },
            "budget_tokens" => reasoning.budget_tokens = json_read::unsigned(value),
            "display" => reasoning.summary = json_read::text(value),
            _ => loss.push(format_args!("thinking.{name}"), Reason::Unsupported),
        }
    }
}

fn output_config<'a>(request: &mut Request<'a>, raw: Raw<'a>, loss: &mut Loss) {
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            _ if json_read::is_null(value) => {}
            "effort" => {
                request.reasoning.get_or_insert_default().effort = json_read::text(value);
            }
            "format" => request.format = format("output_config.format", value, loss),
            _ => loss.push(format_args!("output_config.{name}"), Reason::Unsupported),
        }
    }
}

fn format<'a>(path: &str, raw: Raw<'a>, loss: &mut Loss) -> Option<Format<'a>> {
    let (mut kind, mut schema, mut title) = (Cow::Borrowed(""), None, None);
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "type" => kind = json_read::text(value).unwrap_or_default(),
            "schema" => schema = Some(value),
            "name" => title = json_read::text(value),
            _ => loss.push(format_args!("{path}.{name}"), Reason::Unsupported),
        }
    }
    match (kind.as_ref(), schema) {
        ("json_schema", Some(schema)) => {
            let schema = Cow::Borrowed(schema);
            Some(Format::JsonSchema { name: title, description: None, schema, strict: None })
        }
        ("text", None) => Some(Format::Text),
        _ => {
            loss.push(path, Reason::Value);
            None
        }
    }
}

fn cache_hint<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Option<CacheHint<'a>> {
    if json_read::is_null(raw) {
        return None;
    }
    let mut hint = CacheHint { ttl: None };
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "type" => {}
            "ttl" => hint.ttl = json_read::text(value),
            _ => unknown(place, &format!("cache_control.{name}"), value, loss),
        }
    }
    Some(hint)
}

/// Reports a key that the hub does not know; `null` says nothing, so nothing is lost.
fn unknown(place: Place, name: &str, value: &str, loss: &mut Loss) {
    if !json_read::is_null(value) {
        loss.push(place.key(name), Reason::Unsupported);
    }
}
