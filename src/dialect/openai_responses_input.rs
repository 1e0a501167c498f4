//! The items of an OpenAI Responses request, read as turns.
//!
//! In: the `input` of a client's body, a text or an array of items. Out: the leading instructions
//! and the turns. Items that the model wrote (messages, calls, reasoning) and that follow each
//! other are one assistant turn; results of calls that follow each other are one user turn.
//! Never: follows a reference to an item that only the provider holds; it is refused.
//! Page: <https://platform.openai.com/docs/api-reference/responses/create#responses-create-input>

use super::openai_responses_event::sealed;
use super::{Malformed, expect};
use crate::chat::{
    CacheHint, Loss, Media, Part, PartKind, Place, Raw, Reason, Request, Role, Source, Turn,
};
use crate::wire::json_read;
use std::borrow::Cow;

/// Reads `instructions`, which come before all items.
pub(super) fn decode_instructions<'a>(
    raw: &'a str,
    request: &mut Request<'a>,
    _loss: &mut Loss,
) -> Result<(), Malformed> {
    let text = expect::text("instructions", raw)?;
    if !text.is_empty() {
        let kind = PartKind::Text { text, citations: None };
        request.system.push(Part::new(Place::field("instructions"), kind));
    }
    Ok(())
}

/// Reads `input` into the request's instructions and turns.
pub(super) fn decode<'a>(
    raw: &'a str,
    request: &mut Request<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    if json_read::is_string(raw) {
        let place = Place::field("input");
        let kind = PartKind::Text { text: expect::text("input", raw)?, citations: None };
        let parts = vec![Part::new(place, kind)];
        request.turns.push(Turn { place, role: Role::User, name: None, parts });
        return Ok(());
    }
    if !json_read::is_array(raw) {
        return Err(Malformed::at("input", "must be a string or an array of items"));
    }
    let mut reader = Reader { request, loss };
    for (at, raw) in json_read::items(raw).enumerate() {
        reader.item(raw, Place::item("input", at))?;
    }
    Ok(())
}

/// The members of an item that any of its known types has.
#[derive(Default)]
struct Item<'a> {
    kind: Cow<'a, str>,
    role: Option<Cow<'a, str>>,
    id: Option<Raw<'a>>,
    status: Option<Raw<'a>>,
    content: Option<Raw<'a>>,
    call_id: Option<Raw<'a>>,
    name: Option<Raw<'a>>,
    arguments: Option<Raw<'a>>,
    output: Option<Raw<'a>>,
    summary: Option<Raw<'a>>,
    encrypted: Option<Raw<'a>>,
    unknown: Vec<Cow<'a, str>>,
}

impl<'a> Item<'a> {
    fn read(raw: &'a str) -> Self {
        let mut item = Self::default();
        for (name, raw) in json_read::fields(raw) {
            if json_read::is_null(raw) {
                continue;
            }
            match name.as_ref() {
                "type" => item.kind = json_read::text(raw).unwrap_or_default(),
                "role" => item.role = json_read::text(raw),
                "id" => item.id = Some(raw),
                "status" => item.status = Some(raw),
                "content" => item.content = Some(raw),
                "call_id" => item.call_id = Some(raw),
                "name" => item.name = Some(raw),
                "arguments" => item.arguments = Some(raw),
                "output" => item.output = Some(raw),
                "summary" => item.summary = Some(raw),
                "encrypted_content" => item.encrypted = Some(raw),
                _ => item.unknown.push(name),
            }
        }
        if item.kind.is_empty() && item.role.is_some() {
            item.kind = Cow::Borrowed("message");
        }
        item
    }

    fn report_unknown(&self, place: Place, loss: &mut Loss) {
        for name in &self.unknown {
            loss.push(place.key(name), Reason::Unsupported);
        }
    }
}

struct Reader<'a, 'r> {
    request: &'r mut Request<'a>,
    loss: &'r mut Loss,
}

impl<'a> Reader<'a, '_> {
    fn item(&mut self, raw: &'a str, place: Place) -> Result<(), Malformed> {
        let item = Item::read(raw);
        match item.kind.as_ref() {
            "message" => self.message(&item, place),
            "function_call" => self.call(&item, place),
            "function_call_output" => self.result(&item, place),
            "reasoning" => self.reasoning(&item, place),
            "item_reference" => Err(Malformed::at(
                place,
                "an item_reference names an item that only the provider it was stored at knows, \
                 and this model is routed to one that does not speak the Responses API; send the \
                 item itself",
            )),
            "" => Err(Malformed::at(place, "an item needs a type or a role")),
            kind => {
                let theirs = kind.ends_with("_output") || kind.ends_with("_response");
                let part = Part::new(place, PartKind::Opaque { kind: item.kind.clone(), raw });
                if theirs {
                    self.push_result(part);
                } else {
                    self.push_assistant(part);
                }
                Ok(())
            }
        }
    }

    fn message(&mut self, item: &Item<'a>, place: Place) -> Result<(), Malformed> {
        item.report_unknown(place, self.loss);
        let raw = item.content.ok_or_else(|| Malformed::at(place.key("content"), "is required"))?;
        let parts = self.content(raw, place, "content")?;
        match item.role.as_deref() {
            Some("user") => self.push_turn(place, Role::User, parts),
            Some("system" | "developer") if self.request.turns.is_empty() => {
                self.request.system.extend(parts);
            }
            Some("system" | "developer") => self.push_turn(place, Role::System, parts),
            Some("assistant") => {
                for part in parts {
                    self.push_assistant(part);
                }
            }
            _ => {
                let message = "must be \"user\", \"assistant\", \"system\" or \"developer\"";
                return Err(Malformed::at(place.key("role"), message));
            }
        }
        Ok(())
    }

    /// A text, or an array of content parts.
    fn content(
        &mut self,
        raw: &'a str,
        place: Place,
        list: &'static str,
    ) -> Result<Vec<Part<'a>>, Malformed> {
        if json_read::is_string(raw) {
            let kind =
                PartKind::Text { text: expect::text(place.key(list), raw)?, citations: None };
            return Ok(vec![Part::new(place, kind)]);
        }
        if !json_read::is_array(raw) {
            return Err(Malformed::at(place.key(list), "must be a string or an array of parts"));
        }
        let mut parts = Vec::new();
        for (at, raw) in json_read::items(raw).enumerate() {
            parts.push(self.part(raw, place.inner(list, at))?);
        }
        Ok(parts)
    }

    fn part(&mut self, raw: &'a str, place: Place) -> Result<Part<'a>, Malformed> {
        let content = Content::read(raw, place, self.loss);
        let required = |value: Option<Raw<'a>>, name: &str| match value {
            Some(raw) => expect::text(place.key(name), raw),
            None => Err(Malformed::at(place.key(name), "is required")),
        };
        let kind = match content.kind.as_ref() {
            "input_text" | "output_text" | "text" => PartKind::Text {
                text: required(content.text, "text")?,
                citations: content.annotations.filter(|raw| json_read::items(raw).count() > 0),
            },
            "refusal" => PartKind::Refusal { text: required(content.refusal, "refusal")? },
            "input_image" => PartKind::Image(content.image(place)?),
            "input_file" => PartKind::Document(content.file(place)?),
            "input_audio" => PartKind::Audio(content.audio(place, self.loss)?),
            "" => return Err(Malformed::at(place.key("type"), "is required")),
            _ => return Ok(Part::new(place, PartKind::Opaque { kind: content.kind, raw })),
        };
        content.report_unknown(place, self.loss);
        let mut part = Part::new(place, kind);
        part.cache = content.cache;
        Ok(part)
    }

    fn call(&mut self, item: &Item<'a>, place: Place) -> Result<(), Malformed> {
        item.report_unknown(place, self.loss);
        let required = |value: Option<Raw<'a>>, name: &str| match value {
            Some(raw) => expect::text(place.key(name), raw),
            None => Err(Malformed::at(place.key(name), "is required")),
        };
        let arguments = match item.arguments {
            Some(raw) => json_read::text(raw).unwrap_or(Cow::Borrowed(raw)),
            None => Cow::Borrowed(""),
        };
        let kind = PartKind::ToolUse {
            id: required(item.call_id, "call_id")?,
            name: required(item.name, "name")?,
            arguments,
        };
        self.push_assistant(Part::new(place, kind));
        Ok(())
    }

    fn result(&mut self, item: &Item<'a>, place: Place) -> Result<(), Malformed> {
        item.report_unknown(place, self.loss);
        let id = match item.call_id {
            Some(raw) => expect::text(place.key("call_id"), raw)?,
            None => return Err(Malformed::at(place.key("call_id"), "is required")),
        };
        let content = match item.output {
            Some(raw) => self.content(raw, place, "output")?,
            None => return Err(Malformed::at(place.key("output"), "is required")),
        };
        let incomplete =
            item.status.and_then(json_read::text).is_some_and(|status| status == "incomplete");
        let name = item.name.and_then(json_read::text);
        let kind = PartKind::ToolResult { id, name, is_error: incomplete, content };
        self.push_result(Part::new(place, kind));
        Ok(())
    }

    fn reasoning(&mut self, item: &Item<'a>, place: Place) -> Result<(), Malformed> {
        item.report_unknown(place, self.loss);
        let mut said = Vec::new();
        for (list, raw) in [("summary", item.summary), ("content", item.content)] {
            for (at, raw) in json_read::items(raw.unwrap_or_default()).enumerate() {
                let place = place.inner(list, at);
                match json_read::field(raw, "text") {
                    Some(raw) => said.push(expect::text(place.key("text"), raw)?),
                    None => self.loss.push(place, Reason::Unsupported),
                }
            }
        }
        let readable = !said.is_empty();
        let said = if said.len() > 1 {
            Cow::Owned(said.join("\n\n"))
        } else {
            said.pop().unwrap_or_default()
        };
        let Some(raw) = item.encrypted else {
            if said.is_empty() {
                // Only the provider that holds the item under this id knows what it says.
                self.loss.push(place, Reason::Foreign);
            } else {
                self.push_assistant(Part::new(place, PartKind::Thinking { text: said }));
            }
            return Ok(());
        };
        let content = expect::text(place.key("encrypted_content"), raw)?;
        let (seal, attached) = sealed(content, item.id.and_then(json_read::text));
        if attached {
            match self.sealable() {
                Some(part) => part.seal = Some(seal),
                None => self.loss.push(place, Reason::Foreign),
            }
            return Ok(());
        }
        // Without any part, not even an empty one, there never was a text to read.
        let kind = if readable { PartKind::Thinking { text: said } } else { PartKind::Redacted };
        let mut part = Part::new(place, kind);
        part.seal = Some(seal);
        self.push_assistant(part);
        Ok(())
    }

    /// The call or text that a seal on "the item before" belongs to.
    fn sealable(&mut self) -> Option<&mut Part<'a>> {
        let turn = self.request.turns.last_mut().filter(|turn| turn.role == Role::Assistant)?;
        let part = turn.parts.last_mut().filter(|part| part.seal.is_none())?;
        matches!(part.kind, PartKind::ToolUse { .. } | PartKind::Text { .. }).then_some(part)
    }

    fn push_turn(&mut self, place: Place, role: Role, parts: Vec<Part<'a>>) {
        self.request.turns.push(Turn { place, role, name: None, parts });
    }

    fn push_assistant(&mut self, part: Part<'a>) {
        match self.request.turns.last_mut() {
            Some(turn) if turn.role == Role::Assistant => turn.parts.push(part),
            _ => self.push_turn(part.place, Role::Assistant, vec![part]),
        }
    }

    /// Results that follow each other are one turn.
    fn push_result(&mut self, part: Part<'a>) {
        let last = self.request.turns.last_mut().filter(|turn| {
            turn.role == Role::User && turn.parts.last().is_some_and(|part| {
                matches!(part.kind, PartKind::ToolResult { .. })
                    || matches!(&part.kind, PartKind::Opaque { .. } if part.place.inner.is_none())
            })
        });
        match last {
            Some(turn) => turn.parts.push(part),
            None => self.push_turn(part.place, Role::User, vec![part]),
        }
    }
}

/// The members of a content part that any of its known types has.
#[derive(Default)]
struct Content<'a> {
    kind: Cow<'a, str>,
    text: Option<Raw<'a>>,
    refusal: Option<Raw<'a>>,
    annotations: Option<Raw<'a>>,
    image_url: Option<Raw<'a>>,
    file_id: Option<Raw<'a>>,
    file_url: Option<Raw<'a>>,
    file_data: Option<Raw<'a>>,
    filename: Option<Raw<'a>>,
    detail: Option<Raw<'a>>,
    input_audio: Option<Raw<'a>>,
    cache: Option<CacheHint<'a>>,
    unknown: Vec<Cow<'a, str>>,
}

impl<'a> Content<'a> {
    fn read(raw: &'a str, place: Place, loss: &mut Loss) -> Self {
        let mut content = Self::default();
        for (name, raw) in json_read::fields(raw) {
            if json_read::is_null(raw) {
                continue;
            }
            match name.as_ref() {
                "type" => content.kind = json_read::text(raw).unwrap_or_default(),
                "text" => content.text = Some(raw),
                "refusal" => content.refusal = Some(raw),
                "annotations" => content.annotations = Some(raw),
                "image_url" => content.image_url = Some(raw),
                "file_id" => content.file_id = Some(raw),
                "file_url" => content.file_url = Some(raw),
                "file_data" => content.file_data = Some(raw),
                "filename" => content.filename = Some(raw),
                "detail" => content.detail = Some(raw),
                "input_audio" => content.input_audio = Some(raw),
                "prompt_cache_breakpoint" => content.cache = Some(cache_hint(raw, place, loss)),
                // Of an answer that is sent back; they mean nothing to a model.
                "logprobs" => {}
                _ => content.unknown.push(name),
            }
        }
        content
    }

    fn report_unknown(&self, place: Place, loss: &mut Loss) {
        for name in &self.unknown {
            loss.push(place.key(name), Reason::Unsupported);
        }
    }

    fn image(&self, place: Place) -> Result<Media<'a>, Malformed> {
        let source = match (self.image_url, self.file_id) {
            (Some(raw), _) => address(expect::text(place.key("image_url"), raw)?),
            (None, Some(raw)) => Source::File { id: expect::text(place.key("file_id"), raw)? },
            (None, None) => {
                return Err(Malformed::at(place.key("image_url"), "is required"));
            }
        };
        let mut media = Media::new(source);
        media.detail = self.detail();
        Ok(media)
    }

    /// `auto` is what every language does unasked.
    fn detail(&self) -> Option<Cow<'a, str>> {
        self.detail.and_then(json_read::text).filter(|detail| detail != "auto")
    }

    fn file(&self, place: Place) -> Result<Media<'a>, Malformed> {
        let name = self.filename.and_then(json_read::text);
        let source = if let Some(raw) = self.file_data {
            match address(expect::text(place.key("file_data"), raw)?) {
                // Not a data URL: the bare base64 that some clients send.
                Source::Url { url, .. } => Source::Base64 {
                    media_type: Cow::Borrowed(type_of(name.as_deref().unwrap_or_default())),
                    data: url,
                },
                source => source,
            }
        } else if let Some(raw) = self.file_url {
            address(expect::text(place.key("file_url"), raw)?)
        } else if let Some(raw) = self.file_id {
            Source::File { id: expect::text(place.key("file_id"), raw)? }
        } else {
            return Err(Malformed::at(place, "needs file_data, file_url or file_id"));
        };
        let mut media = Media::new(source);
        media.name = name;
        media.detail = self.detail();
        Ok(media)
    }

    fn audio(&self, place: Place, loss: &mut Loss) -> Result<Media<'a>, Malformed> {
        let place = place.key("input_audio");
        let raw = self.input_audio.ok_or_else(|| Malformed::at(&place, "is required"))?;
        let (mut data, mut media_type) = (None, Cow::Borrowed("audio/wav"));
        for (name, raw) in json_read::fields(raw) {
            match name.as_ref() {
                "data" => data = Some(expect::text(format_args!("{place}.data"), raw)?),
                "format" => {
                    media_type = match expect::text(format_args!("{place}.format"), raw)?.as_ref() {
                        "mp3" => Cow::Borrowed("audio/mpeg"),
                        other => Cow::Owned(format!("audio/{other}")),
                    };
                }
                _ => loss.push(format_args!("{place}.{name}"), Reason::Unsupported),
            }
        }
        let data =
            data.ok_or_else(|| Malformed::at(format_args!("{place}.data"), "is required"))?;
        Ok(Media::new(Source::Base64 { media_type, data }))
    }
}

/// A data URL, or the address of something to fetch.
fn address(url: Cow<'_, str>) -> Source<'_> {
    match url {
        Cow::Borrowed(url) => match data_url(url) {
            Some((media_type, data)) => {
                Source::Base64 { media_type: Cow::Borrowed(media_type), data: Cow::Borrowed(data) }
            }
            None => Source::Url { url: Cow::Borrowed(url), media_type: None },
        },
        Cow::Owned(url) => match data_url(&url) {
            Some((media_type, data)) => Source::Base64 {
                media_type: Cow::Owned(media_type.to_owned()),
                data: Cow::Owned(data.to_owned()),
            },
            None => Source::Url { url: Cow::Owned(url), media_type: None },
        },
    }
}

fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?;
    Some((media_type.split(';').next().unwrap_or(media_type), data))
}

/// The media type that a file's name stands for.
fn type_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).as_deref() {
        Some("txt" | "text" | "log") => "text/plain",
        Some("md" | "markdown") => "text/markdown",
        Some("csv") => "text/csv",
        Some("html" | "htm") => "text/html",
        Some("json") => "application/json",
        Some("docx") => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        Some("xlsx") => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        _ => "application/pdf",
    }
}

/// Lifetimes are 30 minutes or 12 hours here; the next one that the hub has is an hour.
fn cache_hint<'a>(raw: &str, place: Place, loss: &mut Loss) -> CacheHint<'a> {
    let ttl = json_read::text_field(raw, "ttl").map(|_| {
        loss.push(place.key("prompt_cache_breakpoint.ttl"), Reason::Approximated);
        Cow::Borrowed("1h")
    });
    CacheHint { ttl }
}
