//! Anthropic Messages requests, written.
//!
//! In: the hub's [`Request`]. Out: a body that the Messages API accepts: system hoisted, turns
//! alternating, tool results first, no empty block, no foreign thinking. What it cannot say goes
//! to the [`Loss`]. Never: invents a field that the client did not ask for.

use super::anthropic_parameters;
use super::expect::is_json;
use super::seal;
use super::{Malformed, Manner};
use crate::chat::{
    CacheHint, Dialect, Loss, Media, Part, PartKind, Reason, Request, Role, Source, Turn,
};
use crate::wire::json_read;
use crate::wire::json_write::{Array, Object};
use base64::Engine;
use std::borrow::Cow;

pub(super) fn encode(
    request: &Request<'_>,
    manner: &Manner,
    out: &mut Vec<u8>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    let mut messages = messages(request, loss);
    let only_system = messages.is_empty();
    if only_system {
        messages = system_as_message(request, loss)?;
    }
    let mut body = Object::begin(out);
    body.text("model", &request.model);
    write_messages(&mut body, request, &messages, loss);
    if !only_system {
        write_system(&mut body, request, loss);
    }
    let bare_call = messages.iter().rfind(|message| message.assistant).is_some_and(calls_unthought);
    let in_tool_loop = messages.last().is_some_and(|last| !last.results.is_empty());
    let parameters = anthropic_parameters::Target { request, manner };
    parameters.write(&mut body, bare_call && in_tool_loop, loss);
    body.end();
    Ok(())
}

/// A conversation of instructions alone: the API wants a message, so they become one.
fn system_as_message<'r, 'a>(
    request: &'r Request<'a>,
    loss: &mut Loss,
) -> Result<Vec<Message<'r, 'a>>, Malformed> {
    let parts = request.system.iter().filter(|part| can_say(request, part, loss));
    let rest: Vec<_> = parts.map(Piece::Part).collect();
    if rest.is_empty() {
        return Err(Malformed::at("messages", "holds nothing that can be said to this model"));
    }
    loss.push(request.names.system, Reason::Approximated);
    Ok(vec![Message { assistant: false, results: Vec::new(), rest }])
}

/// Whether an answer calls tools without having thought first.
fn calls_unthought(message: &Message<'_, '_>) -> bool {
    let is_thought = |piece: &Piece<'_, '_>| {
        let Piece::Part(part) = piece else { return false };
        matches!(part.kind, PartKind::Thinking { .. } | PartKind::Redacted)
    };
    let is_call = |piece: &Piece<'_, '_>| {
        matches!(piece, Piece::Part(Part { kind: PartKind::ToolUse { .. }, .. }))
    };
    !message.rest.first().is_some_and(is_thought) && message.rest.iter().any(is_call)
}

fn write_system(body: &mut Object<'_>, request: &Request<'_>, loss: &mut Loss) {
    let mut said = Vec::new();
    for part in &request.system {
        match part.kind {
            PartKind::Text { .. } | PartKind::Opaque { .. } if can_say(request, part, loss) => {
                said.push(part);
            }
            PartKind::Text { .. } | PartKind::Opaque { .. } => {}
            _ => loss.push(part.place, Reason::Unsupported),
        }
    }
    match said.as_slice() {
        [] => {}
        [Part { kind: PartKind::Text { text, citations: None }, cache: None, .. }] => {
            body.text("system", text);
        }
        many => {
            let mut list = body.array("system");
            for part in many {
                write_part(&mut list, request, part, false, loss);
            }
            list.end();
        }
    }
}

/// One message of the body to be: turns of one side merged, tool results in front.
struct Message<'r, 'a> {
    assistant: bool,
    results: Vec<&'r Part<'a>>,
    rest: Vec<Piece<'r, 'a>>,
}

enum Piece<'r, 'a> {
    Part(&'r Part<'a>),
    /// Instructions in mid-conversation, or the only ones of a conversation without a turn.
    Instruction(Cow<'r, str>, Option<&'r CacheHint<'a>>),
}

fn messages<'r, 'a>(request: &'r Request<'a>, loss: &mut Loss) -> Vec<Message<'r, 'a>> {
    let mut all: Vec<Message<'r, 'a>> = Vec::new();
    for turn in &request.turns {
        if turn.name.is_some() {
            loss.push(turn.place.key("name"), Reason::Unsupported);
        }
        let assistant = turn.role == Role::Assistant;
        let mut message = Message { assistant, results: Vec::new(), rest: Vec::new() };
        if turn.role == Role::System {
            instruction(turn, &mut message, loss);
        } else {
            for part in turn.parts.iter().filter(|part| can_say(request, part, loss)) {
                match part.kind {
                    PartKind::ToolResult { .. } => message.results.push(part),
                    _ => message.rest.push(Piece::Part(part)),
                }
            }
        }
        if message.results.is_empty() && message.rest.is_empty() {
            continue;
        }
        match all.last_mut().filter(|last| last.assistant == assistant) {
            Some(last) => {
                last.results.append(&mut message.results);
                last.rest.append(&mut message.rest);
            }
            None => all.push(message),
        }
    }
    all
}

fn instruction<'r, 'a>(turn: &'r Turn<'a>, message: &mut Message<'r, 'a>, loss: &mut Loss) {
    for part in &turn.parts {
        match &part.kind {
            PartKind::Text { text, .. } if !text.trim().is_empty() => {
                loss.push(turn.place.key("role"), Reason::Approximated);
                let said = format!("<system-reminder>\n{text}\n</system-reminder>");
                message.rest.push(Piece::Instruction(Cow::Owned(said), part.cache.as_ref()));
            }
            PartKind::Text { .. } => {}
            _ => loss.push(part.place, Reason::Unsupported),
        }
    }
}

/// Whether the part can be written; reports it, or what of it is left out, if not.
fn can_say(request: &Request<'_>, part: &Part<'_>, loss: &mut Loss) -> bool {
    let own = request.from == Dialect::Anthropic;
    let verdict = match &part.kind {
        PartKind::Text { text, citations } => {
            if citations.is_some() && !own {
                loss.push(part.place.key("annotations"), Reason::Unsupported);
            }
            return !text.trim().is_empty();
        }
        PartKind::Image(media) => image_verdict(media, own, part, loss),
        PartKind::Document(media) => document_verdict(media, own),
        PartKind::ToolUse { .. } | PartKind::ToolResult { .. } => Ok(()),
        PartKind::Thinking { .. } | PartKind::Redacted => {
            let ours = part.seal.as_ref().is_some_and(|seal| seal.dialect == Dialect::Anthropic);
            if ours { Ok(()) } else { Err(Reason::Foreign) }
        }
        PartKind::Refusal { text } => {
            loss.push(part.place, Reason::Approximated);
            return !text.trim().is_empty();
        }
        PartKind::Opaque { .. } if own => Ok(()),
        PartKind::Opaque { .. } | PartKind::Audio(_) => Err(Reason::Unsupported),
    };
    if let Err(reason) = verdict {
        loss.push(part.place, reason);
        return false;
    }
    if let Some(seal) = &part.seal
        && !matches!(part.kind, PartKind::Thinking { .. } | PartKind::Redacted)
    {
        let key =
            if seal.dialect == Dialect::Gemini { "thoughtSignature" } else { "reasoning_details" };
        loss.push(part.place.key(key), Reason::Foreign);
    }
    true
}

fn image_verdict(
    media: &Media<'_>,
    own: bool,
    part: &Part<'_>,
    loss: &mut Loss,
) -> Result<(), Reason> {
    match &media.source {
        Source::Base64 { .. } | Source::Url { .. } => {}
        Source::File { .. } if own => {}
        Source::File { .. } => return Err(Reason::Foreign),
        Source::Text { .. } | Source::Parts(_) => return Err(Reason::Unsupported),
    }
    if media.detail.as_ref().is_some_and(|detail| detail != "auto") {
        loss.push(part.place.key("image_url.detail"), Reason::Unsupported);
    }
    Ok(())
}

fn document_verdict(media: &Media<'_>, own: bool) -> Result<(), Reason> {
    match &media.source {
        Source::Base64 { media_type, data } => {
            let readable =
                media_type == "application/pdf" || plain_text(media_type, data).is_some();
            if readable { Ok(()) } else { Err(Reason::Value) }
        }
        Source::File { .. } if !own => Err(Reason::Foreign),
        Source::File { .. } | Source::Url { .. } | Source::Text { .. } | Source::Parts(_) => Ok(()),
    }
}

/// The text of a base64 document that is plain text.
fn plain_text(media_type: &str, data: &str) -> Option<String> {
    let textual = media_type.starts_with("text/") || media_type == "application/json";
    if !textual {
        return None;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(data.as_bytes()).ok()?;
    String::from_utf8(bytes).ok()
}

fn write_messages(
    body: &mut Object<'_>,
    request: &Request<'_>,
    messages: &[Message<'_, '_>],
    loss: &mut Loss,
) {
    let mut list = body.array("messages");
    for (at, message) in messages.iter().enumerate() {
        let prefill = message.assistant && at + 1 == messages.len();
        let mut object = list.object();
        object.text("role", if message.assistant { "assistant" } else { "user" });
        if let (true, [Piece::Part(part)]) = (message.results.is_empty(), message.rest.as_slice())
            && let PartKind::Text { text, citations: None } = &part.kind
            && part.cache.is_none()
        {
            object.text("content", if prefill { text.trim_end() } else { text });
        } else {
            let mut blocks = object.array("content");
            for part in &message.results {
                write_part(&mut blocks, request, part, false, loss);
            }
            for (at, piece) in message.rest.iter().enumerate() {
                let last = prefill && at + 1 == message.rest.len();
                match piece {
                    Piece::Part(part) => write_part(&mut blocks, request, part, last, loss),
                    Piece::Instruction(text, cache) => {
                        let mut block = blocks.object();
                        block.text("type", "text").text("text", text);
                        write_cache(&mut block, *cache);
                        block.end();
                    }
                }
            }
            blocks.end();
        }
        object.end();
    }
    list.end();
}

/// Writes a part that [`can_say`] let pass. `last`: it ends a prefilled answer.
fn write_part(
    list: &mut Array<'_>,
    request: &Request<'_>,
    part: &Part<'_>,
    last: bool,
    loss: &mut Loss,
) {
    if let PartKind::Opaque { raw, .. } = &part.kind {
        list.raw(raw);
        return;
    }
    let mut block = list.object();
    match &part.kind {
        PartKind::Text { text, citations } => {
            block.text("type", "text").text("text", if last { text.trim_end() } else { text });
            if let Some(raw) = citations.filter(|_| request.from == Dialect::Anthropic) {
                block.raw("citations", raw);
            }
        }
        PartKind::Refusal { text } => {
            block.text("type", "text").text("text", if last { text.trim_end() } else { text });
        }
        PartKind::Image(media) => {
            block.text("type", "image");
            write_source(&mut block, request, media, loss);
        }
        PartKind::Document(media) => {
            block.text("type", "document");
            write_source(&mut block, request, media, loss);
            if let Some(title) = &media.name {
                block.text("title", title);
            }
            if let Some(context) = &media.context {
                block.text("context", context);
            }
            if media.citations {
                block.raw("citations", r#"{"enabled":true}"#);
            }
        }
        PartKind::ToolUse { id, name, arguments } => {
            block.text("type", "tool_use").text("id", &tool_id(id)).text("name", name);
            write_input(&mut block, arguments, part, loss);
        }
        PartKind::ToolResult { id, is_error, content, .. } => {
            block.text("type", "tool_result").text("tool_use_id", &tool_id(id));
            write_result(&mut block, request, content, loss);
            if *is_error {
                block.boolean("is_error", true);
            }
        }
        PartKind::Thinking { text } => {
            block.text("type", "thinking").text("thinking", text);
            let data = part.seal.as_ref().map(|seal| seal::pack(seal, Dialect::Anthropic));
            block.text("signature", data.as_deref().unwrap_or(""));
        }
        PartKind::Redacted => {
            let data = part.seal.as_ref().map(|seal| seal::pack(seal, Dialect::Anthropic));
            block.text("type", "redacted_thinking").text("data", data.as_deref().unwrap_or(""));
        }
        PartKind::Audio(_) | PartKind::Opaque { .. } => {}
    }
    match part.kind {
        PartKind::Thinking { .. } | PartKind::Redacted if part.cache.is_some() => {
            loss.push(part.place.key("cache_control"), Reason::Unsupported);
        }
        _ => write_cache(&mut block, part.cache.as_ref()),
    }
    block.end();
}

/// The arguments as the object that they must be; what is no object is wrapped, and reported.
fn write_input(block: &mut Object<'_>, arguments: &str, part: &Part<'_>, loss: &mut Loss) {
    let arguments = arguments.trim();
    if arguments.is_empty() {
        block.raw("input", "{}");
    } else if json_read::is_object(arguments) && is_json(arguments) {
        block.raw("input", arguments);
    } else {
        loss.push(part.place, Reason::Approximated);
        let mut input = block.object("input");
        input.text("arguments", arguments);
        input.end();
    }
}

fn write_result(
    block: &mut Object<'_>,
    request: &Request<'_>,
    content: &[Part<'_>],
    loss: &mut Loss,
) {
    let said: Vec<&Part<'_>> = content.iter().filter(|part| can_say(request, part, loss)).collect();
    match said.as_slice() {
        [] => {}
        [Part { kind: PartKind::Text { text, citations: None }, cache: None, .. }] => {
            block.text("content", text);
        }
        many => {
            let mut list = block.array("content");
            for part in many {
                write_part(&mut list, request, part, false, loss);
            }
            list.end();
        }
    }
}

fn write_source(block: &mut Object<'_>, request: &Request<'_>, media: &Media<'_>, loss: &mut Loss) {
    let mut source = block.object("source");
    match &media.source {
        Source::Base64 { media_type, data } => match plain_text(media_type, data) {
            Some(text) => {
                source.text("type", "text").text("media_type", "text/plain").text("data", &text);
            }
            None => {
                source.text("type", "base64").text("media_type", media_type).text("data", data);
            }
        },
        Source::Url { url, .. } => {
            source.text("type", "url").text("url", url);
        }
        Source::File { id } => {
            source.text("type", "file").text("file_id", id);
        }
        Source::Text { text } => {
            source.text("type", "text").text("media_type", "text/plain").text("data", text);
        }
        Source::Parts(parts) => {
            source.text("type", "content");
            let said: Vec<_> = parts.iter().filter(|part| can_say(request, part, loss)).collect();
            let mut list = source.array("content");
            for part in said {
                write_part(&mut list, request, part, false, loss);
            }
            list.end();
        }
    }
    source.end();
}

pub(super) fn write_cache(object: &mut Object<'_>, cache: Option<&CacheHint<'_>>) {
    if let Some(hint) = cache {
        let mut control = object.object("cache_control");
        control.text("type", "ephemeral");
        if let Some(ttl) = &hint.ttl {
            control.text("ttl", ttl);
        }
        control.end();
    }
}

/// The id as the API takes it. Another vendor's id with other characters is spelled anew, always
/// in the same way, so that call and result still meet.
fn tool_id(id: &str) -> Cow<'_, str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !id.is_empty() && id.chars().all(allowed) {
        return Cow::Borrowed(id);
    }
    let kept: String = id.chars().map(|c| if allowed(c) { c } else { '_' }).take(48).collect();
    let digest = blake3::hash(id.as_bytes()).to_hex();
    Cow::Owned(format!("{kept}_{}", digest.as_str().get(..8).unwrap_or("")))
}
