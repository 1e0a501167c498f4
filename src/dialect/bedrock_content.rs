//! The content blocks of Converse requests, read.
//!
//! In: the raw `messages` and `system` of a body. Out: turns of parts. A block is an object with
//! one member, which names its kind. Never: drops a key or a block: what the hub has no name for
//! is an opaque part, and a key beside the known ones is reported.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html>

use super::Malformed;
use super::bedrock_request::{cache_point, list, object, text};
use super::seal;
use crate::chat::{
    Dialect, Loss, Media, Part, PartKind, Place, Raw, Reason, Role, Seal, Source, Turn,
};
use crate::wire::json_read;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// Document formats of Converse and their media types.
pub(super) const DOCUMENTS: [(&str, &str); 9] = [
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("html", "text/html"),
    ("csv", "text/csv"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
];

pub(super) fn turns<'a>(raw: Raw<'a>, loss: &mut Loss) -> Result<Vec<Turn<'a>>, Malformed> {
    let mut turns = Vec::new();
    for (index, raw) in list("messages", raw)?.enumerate() {
        let place = Place::item("messages", index);
        let role = match json_read::text_field(object(place, raw)?, "role").as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            _ => {
                let message = "must be \"user\", \"assistant\" or \"system\"";
                return Err(Malformed::at(place.key("role"), message));
            }
        };
        let mut parts = Vec::new();
        for (name, value) in json_read::fields(raw) {
            match name.as_ref() {
                "role" => {}
                "content" => {
                    for (inner, raw) in list(place.key("content"), value)?.enumerate() {
                        block(&mut parts, place.inner("content", inner), raw, loss)?;
                    }
                }
                _ => unknown(place, &name, value, loss),
            }
        }
        turns.push(Turn { place, role, name: None, parts });
    }
    Ok(turns)
}

pub(super) fn system<'a>(raw: Raw<'a>, loss: &mut Loss) -> Result<Vec<Part<'a>>, Malformed> {
    let mut parts = Vec::new();
    for (index, raw) in list("system", raw)?.enumerate() {
        block(&mut parts, Place::item("system", index), raw, loss)?;
    }
    Ok(parts)
}

/// Adds the part that a block is, or what it says of the part before.
fn block<'a>(
    parts: &mut Vec<Part<'a>>,
    place: Place,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    let mut members =
        json_read::fields(object(place, raw)?).filter(|(_, value)| !json_read::is_null(value));
    let Some((kind, inner)) = members.next() else {
        return Err(Malformed::at(place, "must be an object with one member"));
    };
    for (name, value) in members {
        unknown(place, &name, value, loss);
    }
    match kind.as_ref() {
        "cachePoint" => {
            let hint = cache_point(place, inner, loss);
            match parts.last_mut() {
                Some(before) if before.cache.is_none() => before.cache = Some(hint),
                _ => loss.push(place, Reason::Value),
            }
        }
        "reasoningContent" => reasoning(parts, place, inner, loss),
        _ => {
            let kind = part(place, &kind, inner, loss)?.unwrap_or(PartKind::Opaque { kind, raw });
            parts.push(Part::new(place, kind));
        }
    }
    Ok(())
}

/// `None` for a block that the hub has no name for.
fn part<'a>(
    place: Place,
    kind: &str,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<Option<PartKind<'a>>, Malformed> {
    Ok(match kind {
        "text" => Some(PartKind::Text { text: text(place.key("text"), raw)?, citations: None }),
        "image" | "audio" => media(place, kind, raw, loss),
        "document" => document(place, raw, loss),
        "toolUse" => tool_use(place, raw, loss)?,
        "toolResult" => tool_result(place, raw, loss)?,
        "guardContent" => guarded(place, raw, loss),
        "citationsContent" => {
            for (name, value) in json_read::fields(raw) {
                if !matches!(name.as_ref(), "content" | "citations") {
                    unknown(place, &format!("citationsContent.{name}"), value, loss);
                }
            }
            let pieces = json_read::field(raw, "content").unwrap_or_default();
            let text =
                json_read::items(pieces).filter_map(|item| json_read::text_field(item, "text"));
            let citations = json_read::field(raw, "citations");
            Some(PartKind::Text { text: joined(text), citations })
        }
        _ => None,
    })
}

fn joined<'a>(mut pieces: impl Iterator<Item = Cow<'a, str>>) -> Cow<'a, str> {
    let mut text = pieces.next().unwrap_or_default();
    for piece in pieces {
        text.to_mut().push_str(&piece);
    }
    text
}

/// An image or a sound with its bytes; one in S3, or in error, stays as it is.
fn media<'a>(place: Place, kind: &str, raw: Raw<'a>, loss: &mut Loss) -> Option<PartKind<'a>> {
    let format = json_read::text_field(raw, "format")?;
    let data = json_read::text_field(json_read::field(raw, "source")?, "bytes")?;
    for (name, value) in json_read::fields(raw) {
        if !matches!(name.as_ref(), "format" | "source") {
            unknown(place, &format!("{kind}.{name}"), value, loss);
        }
    }
    let media_type = Cow::Owned(format!("{kind}/{format}"));
    let media = Media::new(Source::Base64 { media_type, data });
    Some(if kind == "image" { PartKind::Image(media) } else { PartKind::Audio(media) })
}

fn document<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Option<PartKind<'a>> {
    let source = json_read::field(raw, "source")?;
    let format = json_read::text_field(raw, "format");
    let media_type = format.as_deref().map_or("text/plain", |format| {
        DOCUMENTS.iter().find(|(name, _)| *name == format).map_or(format, |(_, media)| *media)
    });
    let source = if let Some(data) = json_read::text_field(source, "bytes") {
        Source::Base64 { media_type: Cow::Owned(media_type.to_owned()), data }
    } else if let Some(text) = json_read::text_field(source, "text") {
        Source::Text { text }
    } else {
        let mut parts = Vec::new();
        for item in json_read::items(json_read::field(source, "content")?) {
            let text = json_read::text_field(item, "text")?;
            parts.push(Part::new(place, PartKind::Text { text, citations: None }));
        }
        Source::Parts(parts)
    };
    let mut media = Media::new(source);
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "format" | "source" => {}
            _ if json_read::is_null(value) => {}
            "name" => media.name = json_read::text(value),
            "context" => media.context = json_read::text(value),
            "citations" => {
                let enabled = json_read::field(value, "enabled").and_then(json_read::boolean);
                media.citations = enabled.unwrap_or(false);
            }
            _ => unknown(place, &format!("document.{name}"), value, loss),
        }
    }
    Some(PartKind::Document(media))
}

fn tool_use<'a>(
    place: Place,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<Option<PartKind<'a>>, Malformed> {
    if json_read::text_field(raw, "type").is_some() {
        return Ok(None);
    }
    let required = |name: &str| {
        json_read::text_field(raw, name)
            .ok_or_else(|| Malformed::at(place.key(&format!("toolUse.{name}")), "is required"))
    };
    for (name, value) in json_read::fields(raw) {
        if !matches!(name.as_ref(), "toolUseId" | "name" | "input") {
            unknown(place, &format!("toolUse.{name}"), value, loss);
        }
    }
    let arguments = Cow::Borrowed(json_read::field(raw, "input").unwrap_or("{}"));
    Ok(Some(PartKind::ToolUse { id: required("toolUseId")?, name: required("name")?, arguments }))
}

fn tool_result<'a>(
    place: Place,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<Option<PartKind<'a>>, Malformed> {
    if json_read::text_field(raw, "type").is_some() {
        return Ok(None);
    }
    let id = json_read::text_field(raw, "toolUseId")
        .ok_or_else(|| Malformed::at(place.key("toolResult.toolUseId"), "is required"))?;
    let (mut is_error, mut content) = (false, Vec::new());
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "toolUseId" => {}
            "status" => is_error = json_read::text(value).as_deref() == Some("error"),
            "content" => {
                for item in list(place.key("toolResult.content"), value)? {
                    let json = json_read::field(item, "json");
                    let Some(json) = json.filter(|json| !json_read::is_null(json)) else {
                        block(&mut content, place, item, loss)?;
                        continue;
                    };
                    let kind = PartKind::Text { text: Cow::Borrowed(json), citations: None };
                    content.push(Part::new(place, kind));
                }
            }
            _ => unknown(place, &format!("toolResult.{name}"), value, loss),
        }
    }
    Ok(Some(PartKind::ToolResult { id, name: None, is_error, content }))
}

/// What a guardrail is to look at is said like any other content; that it should, is lost.
fn guarded<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Option<PartKind<'a>> {
    let kind = match json_read::field(raw, "text") {
        Some(guarded) => {
            PartKind::Text { text: json_read::text_field(guarded, "text")?, citations: None }
        }
        None => media(place, "image", json_read::field(raw, "image")?, loss)?,
    };
    loss.push(place.key("guardContent"), Reason::Approximated);
    Some(kind)
}

/// Claude's signatures are the same on Bedrock and on Anthropic's own API, so they are sealed as
/// Anthropic's. `redactedContent` is base64: what the gateway put there of other vendors is
/// recognised by its mark; the rest is Claude's, and stays as it is.
fn reasoning<'a>(parts: &mut Vec<Part<'a>>, place: Place, raw: Raw<'a>, loss: &mut Loss) {
    if let Some(data) = json_read::text_field(raw, "redactedContent") {
        let (seal, attached) = redacted(data);
        match parts.last_mut() {
            Some(before) if attached => before.seal = Some(seal),
            _ => parts.push(Part { seal: Some(seal), ..Part::new(place, PartKind::Redacted) }),
        }
        return;
    }
    let Some(inner) = json_read::field(raw, "reasoningText") else {
        let kind = PartKind::Opaque { kind: Cow::Borrowed("reasoningContent"), raw };
        parts.push(Part::new(place, kind));
        return;
    };
    let mut part = Part::new(place, PartKind::Thinking { text: Cow::Borrowed("") });
    for (name, value) in json_read::fields(inner) {
        match name.as_ref() {
            "text" => {
                part.kind = PartKind::Thinking { text: json_read::text(value).unwrap_or_default() }
            }
            "signature" => {
                let signature = json_read::text(value).filter(|signature| !signature.is_empty());
                part.seal = signature.map(|text| seal::unpack(text, Dialect::Anthropic).0);
            }
            _ => unknown(place, &format!("reasoningContent.reasoningText.{name}"), value, loss),
        }
    }
    parts.push(part);
}

/// What a `redactedContent` holds, and whether it belongs to the block before.
pub(super) fn redacted(data: Cow<'_, str>) -> (Seal<'_>, bool) {
    let bytes = STANDARD.decode(data.as_bytes()).ok();
    if let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
        // Everything the gateway puts here bears a mark, so `Gemini` never says it is unmarked.
        let (seal, attached) = seal::unpack(Cow::Owned(text.clone()), Dialect::Gemini);
        if seal.data != text {
            return (Seal { data: Cow::Owned(seal.data.into_owned()), ..seal }, attached);
        }
    }
    (Seal { dialect: Dialect::Anthropic, data, id: None }, false)
}

fn unknown(place: Place, name: &str, value: &str, loss: &mut Loss) {
    if !json_read::is_null(value) {
        loss.push(place.key(name), Reason::Unsupported);
    }
}
