//! The messages of an OpenAI Chat request, read.
//!
//! In: the `messages` array. Out: leading instructions, and turns with their parts in the order
//! in which the model said them: reasoning, text, refusal, calls. Messages of role `tool` become
//! tool results in one user turn. Never: drops a member without naming it.

use super::Malformed;
use super::expect::{list, object, present, text};
use super::reasoning_details::{self, Detail};
use crate::chat::{
    CacheHint, Loss, Media, Part, PartKind, Place, Raw, Reason, Request, Role, Seal, Source, Turn,
};
use crate::wire::json_read;
use std::borrow::Cow;

/// Reads all messages into `request`.
pub(super) fn decode_all<'a>(
    request: &mut Request<'a>,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    let mut legacy = LegacyCalls::default();
    for (at, item) in list("messages", raw)?.enumerate() {
        let place = Place::item("messages", at);
        let message = Message::read(place, item, loss)?;
        match message.role.as_ref() {
            "system" | "developer" => {
                let (place, name) = (message.place, message.name.clone());
                let parts = message.content(loss)?;
                if request.turns.is_empty() && name.is_none() {
                    request.system.extend(parts);
                } else {
                    request.turns.push(Turn { place, role: Role::System, name, parts });
                }
            }
            "user" => {
                let (place, name) = (message.place, message.name.clone());
                let parts = message.content(loss)?;
                request.turns.push(Turn { place, role: Role::User, name, parts });
            }
            "assistant" => request.turns.push(message.assistant(&mut legacy, loss)?),
            "tool" | "function" => {
                let joins = request.turns.last().is_some_and(is_results);
                let part = message.tool_result(&legacy, loss)?;
                match request.turns.last_mut().filter(|_| joins) {
                    Some(turn) => turn.parts.push(part),
                    None => request.turns.push(Turn {
                        place,
                        role: Role::User,
                        name: None,
                        parts: vec![part],
                    }),
                }
            }
            _ => return Err(Malformed::at(place.key("role"), "is not known")),
        }
    }
    Ok(())
}

fn is_results(turn: &Turn<'_>) -> bool {
    turn.role == Role::User
        && turn.parts.first().is_some_and(|part| matches!(part.kind, PartKind::ToolResult { .. }))
}

/// Calls of the API's first form, which have a name but no id: they get one by their place.
#[derive(Default)]
struct LegacyCalls<'a> {
    calls: Vec<(Cow<'a, str>, String)>,
}

impl LegacyCalls<'_> {
    fn id_of(&self, name: &str) -> Option<&str> {
        let call = self.calls.iter().rev().find(|(called, _)| called == name);
        call.map(|(_, id)| id.as_str())
    }
}

/// One message, its members apart.
struct Message<'a> {
    place: Place,
    role: Cow<'a, str>,
    content: Raw<'a>,
    name: Option<Cow<'a, str>>,
    tool_call_id: Option<Cow<'a, str>>,
    refusal: Option<Cow<'a, str>>,
    tool_calls: Raw<'a>,
    function_call: Option<Raw<'a>>,
    thought: Option<Cow<'a, str>>,
    details: Raw<'a>,
    cache: Option<CacheHint<'a>>,
}

impl<'a> Message<'a> {
    fn read(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Result<Self, Malformed> {
        let mut message = Self {
            place,
            role: Cow::Borrowed(""),
            content: "null",
            name: None,
            tool_call_id: None,
            refusal: None,
            tool_calls: "[]",
            function_call: None,
            thought: None,
            details: "[]",
            cache: None,
        };
        for (name, value) in object(place, raw)? {
            match name.as_ref() {
                "role" => message.role = text(place.key("role"), value)?,
                _ if json_read::is_null(value) => {}
                "content" => message.content = value,
                "name" => message.name = json_read::text(value),
                "tool_call_id" => message.tool_call_id = json_read::text(value),
                "refusal" => message.refusal = json_read::text(value),
                "tool_calls" => message.tool_calls = value,
                "function_call" => message.function_call = Some(value),
                "reasoning_content" | "reasoning" => message.thought = json_read::text(value),
                "reasoning_details" => message.details = value,
                "cache_control" => message.cache = cache_hint(value),
                _ if is_empty_list(value) => {}
                _ => loss.push(place.key(&name), Reason::Unsupported),
            }
        }
        if message.role.is_empty() {
            return Err(Malformed::at(place.key("role"), "is required"));
        }
        Ok(message)
    }

    fn content(&self, loss: &mut Loss) -> Result<Vec<Part<'a>>, Malformed> {
        let place = self.place;
        let mut parts = Vec::new();
        if let Some(text) = json_read::text(self.content) {
            parts.push(Part::new(place, PartKind::Text { text, citations: None }));
        } else if json_read::is_array(self.content) {
            for (at, item) in json_read::items(self.content).enumerate() {
                parts.push(part(place.inner("content", at), item, loss)?);
            }
        } else if !json_read::is_null(self.content) {
            let message = "must be a string or an array of parts";
            return Err(Malformed::at(place.key("content"), message));
        }
        if let (Some(last), Some(cache)) = (parts.last_mut(), &self.cache) {
            last.cache.get_or_insert_with(|| cache.clone());
        }
        Ok(parts)
    }

    fn assistant(
        self,
        legacy: &mut LegacyCalls<'a>,
        loss: &mut Loss,
    ) -> Result<Turn<'a>, Malformed> {
        let place = self.place;
        let (mut parts, attached) = self.thinking();
        parts.append(&mut self.content(loss)?);
        parts.retain(|part| !matches!(&part.kind, PartKind::Text { text, .. } if text.is_empty()));
        if let Some(text) = self.refusal.filter(|text| !text.is_empty()) {
            parts.push(Part::new(place, PartKind::Refusal { text }));
        }
        for (at, item) in json_read::items(self.tool_calls).enumerate() {
            let mut call = tool_call(place.inner("tool_calls", at), item, loss)?;
            if let PartKind::ToolUse { id, .. } = &call.kind {
                let seal = attached.iter().find(|seal| seal.id.as_deref() == Some(id.as_ref()));
                call.seal = seal.map(|seal| Seal { id: None, ..seal.clone() });
            }
            parts.push(call);
        }
        if let Some(raw) = self.function_call {
            let (name, arguments) = called(&place.key("function_call"), raw, loss)?;
            let id = format!("call_{}", place.item.unwrap_or(0));
            legacy.calls.push((name.clone(), id.clone()));
            let kind = PartKind::ToolUse { id: Cow::Owned(id), name, arguments };
            parts.push(Part::new(place, kind));
        }
        Ok(Turn { place, role: Role::Assistant, name: self.name, parts })
    }

    /// Earlier reasoning, and the seals that belong to calls.
    fn thinking(&self) -> (Vec<Part<'a>>, Vec<Seal<'a>>) {
        let place = self.place;
        let (mut parts, mut attached): (Vec<Part<'a>>, Vec<Seal<'a>>) = (Vec::new(), Vec::new());
        for item in json_read::items(self.details) {
            match reasoning_details::read(item) {
                Some(Detail::Text { text, seal, .. }) => {
                    parts.push(Part { seal, ..Part::new(place, PartKind::Thinking { text }) });
                }
                Some(Detail::Encrypted(seal)) if self.calls(seal.id.as_deref()) => {
                    attached.push(seal);
                }
                Some(Detail::Encrypted(seal)) => {
                    let part = Part::new(place, PartKind::Redacted);
                    parts.push(Part { seal: Some(seal), ..part });
                }
                None => {}
            }
        }
        let told = parts
            .iter()
            .any(|part| matches!(&part.kind, PartKind::Thinking { text } if !text.is_empty()));
        if let Some(text) = self.thought.clone().filter(|text| !text.is_empty() && !told) {
            // Details without text seal the text that stands beside them.
            let sealed =
                parts.iter_mut().find(|part| matches!(part.kind, PartKind::Thinking { .. }));
            match sealed {
                Some(part) => part.kind = PartKind::Thinking { text },
                None => parts.insert(0, Part::new(place, PartKind::Thinking { text })),
            }
        }
        (parts, attached)
    }

    /// Whether the message has a call of this id.
    fn calls(&self, id: Option<&str>) -> bool {
        id.is_some_and(|id| {
            json_read::items(self.tool_calls)
                .any(|call| json_read::text_field(call, "id").as_deref() == Some(id))
        })
    }

    fn tool_result(self, legacy: &LegacyCalls<'a>, loss: &mut Loss) -> Result<Part<'a>, Malformed> {
        let place = self.place;
        let mut content = self.content(loss)?;
        content
            .retain(|part| !matches!(&part.kind, PartKind::Text { text, .. } if text.is_empty()));
        for part in &mut content {
            part.place = place;
        }
        let id = match self.tool_call_id {
            Some(id) => id,
            None if self.role == "function" => {
                let name = present(place.key("name"), self.name.as_deref())?;
                Cow::Owned(legacy.id_of(name).unwrap_or(name).to_owned())
            }
            None => return Err(Malformed::at(place.key("tool_call_id"), "is required")),
        };
        let cache = content.last_mut().and_then(|part| part.cache.take());
        let kind = PartKind::ToolResult { id, name: self.name, is_error: false, content };
        Ok(Part { cache, ..Part::new(place, kind) })
    }
}

fn is_empty_list(raw: &str) -> bool {
    json_read::is_array(raw) && json_read::items(raw).next().is_none()
}

fn tool_call<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Result<Part<'a>, Malformed> {
    let (mut id, mut function, mut kind) = (None, None, Cow::Borrowed("function"));
    for (name, value) in object(place, raw)? {
        match name.as_ref() {
            "id" => id = json_read::text(value),
            "type" => kind = json_read::text(value).unwrap_or(kind),
            "function" => function = Some(value),
            // Streamed deltas carry it, and some clients keep it.
            "index" => {}
            _ if kind != "function" || json_read::is_null(value) => {}
            _ => loss.push(place.key(&name), Reason::Unsupported),
        }
    }
    if kind != "function" {
        return Ok(Part::new(place, PartKind::Opaque { kind, raw }));
    }
    let id = present(place.key("id"), id)?;
    let (name, arguments) =
        called(&place.key("function"), present(place.key("function"), function)?, loss)?;
    Ok(Part::new(place, PartKind::ToolUse { id, name, arguments }))
}

/// The name and the arguments of a call.
fn called<'a>(
    path: &str,
    raw: Raw<'a>,
    loss: &mut Loss,
) -> Result<(Cow<'a, str>, Cow<'a, str>), Malformed> {
    let (mut called, mut arguments) = (None, Cow::Borrowed(""));
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "name" => called = json_read::text(value),
            "arguments" if json_read::is_object(value) => arguments = Cow::Borrowed(value),
            "arguments" => arguments = json_read::text(value).unwrap_or_default(),
            _ if json_read::is_null(value) => {}
            _ => loss.push(format_args!("{path}.{name}"), Reason::Unsupported),
        }
    }
    Ok((present(format_args!("{path}.name"), called)?, arguments))
}

/// One part of a content array.
fn part<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Result<Part<'a>, Malformed> {
    let kind = present(place.key("type"), json_read::text_field(raw, "type"))?;
    let payload = match kind.as_ref() {
        "text" | "refusal" | "image_url" | "input_audio" | "file" => kind.as_ref(),
        _ => return Ok(Part::new(place, PartKind::Opaque { kind, raw })),
    };
    let (mut value, mut cache) = (None, None);
    for (name, raw) in json_read::fields(raw) {
        match name.as_ref() {
            "type" => {}
            name if name == payload => value = Some(raw),
            "cache_control" => cache = cache_hint(raw),
            _ if json_read::is_null(raw) => {}
            _ => loss.push(place.key(&name), Reason::Unsupported),
        }
    }
    let value = present(place.key(payload), value)?;
    let kind = match payload {
        "text" => PartKind::Text { text: text(place.key("text"), value)?, citations: None },
        "refusal" => PartKind::Refusal { text: text(place.key("refusal"), value)? },
        "image_url" => image(place, value, loss)?,
        "input_audio" => audio(place, value, loss)?,
        _ => file(place, value, loss)?,
    };
    Ok(Part { cache, ..Part::new(place, kind) })
}

fn image<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Result<PartKind<'a>, Malformed> {
    let (mut url, mut detail) = (json_read::text(raw), None);
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "url" => url = json_read::text(value),
            "detail" => detail = json_read::text(value),
            _ => loss.push(place.key(&format!("image_url.{name}")), Reason::Unsupported),
        }
    }
    let url = present(place.key("image_url.url"), url)?;
    Ok(PartKind::Image(Media { detail, ..Media::new(source_of(url)) }))
}

fn audio<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Result<PartKind<'a>, Malformed> {
    let (mut data, mut format) = (None, Cow::Borrowed("wav"));
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "data" => data = json_read::text(value),
            "format" => format = json_read::text(value).unwrap_or(format),
            _ => loss.push(place.key(&format!("input_audio.{name}")), Reason::Unsupported),
        }
    }
    let data = present(place.key("input_audio.data"), data)?;
    let media_type = Cow::Owned(format!("audio/{format}"));
    Ok(PartKind::Audio(Media::new(Source::Base64 { media_type, data })))
}

fn file<'a>(place: Place, raw: Raw<'a>, loss: &mut Loss) -> Result<PartKind<'a>, Malformed> {
    let (mut data, mut id, mut file_name) = (None, None, None);
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "file_data" => data = json_read::text(value),
            "file_id" => id = json_read::text(value),
            "filename" => file_name = json_read::text(value),
            _ if json_read::is_null(value) => {}
            _ => loss.push(place.key(&format!("file.{name}")), Reason::Unsupported),
        }
    }
    let source = match (data, id) {
        (Some(data), _) => match source_of(data) {
            // Bare base64, without the `data:` scheme: the file's name tells what it is.
            Source::Url { url, .. } if !url.contains("://") => {
                let media_type = Cow::Borrowed(media_type_of(file_name.as_deref().unwrap_or("")));
                Source::Base64 { media_type, data: url }
            }
            other => other,
        },
        (None, Some(id)) => Source::File { id },
        (None, None) => return Err(Malformed::at(place.key("file.file_data"), "is required")),
    };
    Ok(PartKind::Document(Media { name: file_name, ..Media::new(source) }))
}

fn media_type_of(file_name: &str) -> &'static str {
    match file_name.rsplit('.').next() {
        Some("txt" | "md" | "csv" | "log") => "text/plain",
        Some("json") => "application/json",
        _ => "application/pdf",
    }
}

/// A `data:` URL apart, or the URL as it is.
fn source_of(url: Cow<'_, str>) -> Source<'_> {
    let apart = match &url {
        Cow::Borrowed(url) => {
            data_url(url).map(|(kind, data)| (Cow::Borrowed(kind), Cow::Borrowed(data)))
        }
        Cow::Owned(url) => data_url(url)
            .map(|(kind, data)| (Cow::Owned(kind.to_owned()), Cow::Owned(data.to_owned()))),
    };
    match apart {
        Some((media_type, data)) => Source::Base64 { media_type, data },
        None => Source::Url { url, media_type: None },
    }
}

/// Media type and base64 of a `data:` URL.
fn data_url(url: &str) -> Option<(&str, &str)> {
    let (kind, data) = url.strip_prefix("data:")?.split_once(',')?;
    let kind = kind.strip_suffix(";base64")?;
    Some((kind.split(';').next().unwrap_or(kind), data))
}

/// `cache_control` as Anthropic has it, which gateways accept on the parts of this language too.
pub(super) fn cache_hint(raw: &str) -> Option<CacheHint<'_>> {
    json_read::is_object(raw).then(|| CacheHint { ttl: json_read::text_field(raw, "ttl") })
}
