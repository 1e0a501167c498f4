//! Reads the `contents` and the `systemInstruction` of a Gemini request.
//!
//! In: raw contents. Out: turns and parts. Calls without an id get one (`call_<n>`, counted over
//! the request), and a response without one gets that of the first open call of its name, since
//! the other languages pair by id. Never: drops a part or a key without a word.

use super::Malformed;
use super::gemini_request::{camel, list, members};
use super::gemini_response::minified;
use super::gemini_signature;
use crate::chat::{Loss, Media, Part, PartKind, Place, Reason, Role, Seal, Source, Turn};
use crate::wire::json_read;
use std::borrow::Cow;

/// Reads `contents`: an array as a rule, one content where a client left the brackets out.
pub(super) fn contents<'a>(raw: &'a str, loss: &mut Loss) -> Result<Vec<Turn<'a>>, Malformed> {
    let mut reader = Reader { loss, calls: Vec::new() };
    let mut turns: Vec<Turn<'a>> = Vec::new();
    for (at, raw) in list(raw).enumerate() {
        let turn = reader.turn(Place::item("contents", at), raw)?;
        match turns.last_mut() {
            Some(last) if last.role == Role::Assistant && turn.role == Role::Assistant => {
                turn.parts.into_iter().for_each(|part| append(&mut last.parts, part));
            }
            _ if turn.role == Role::Assistant => {
                let mut parts = Vec::with_capacity(turn.parts.len());
                turn.parts.into_iter().for_each(|part| append(&mut parts, part));
                turns.push(Turn { parts, ..turn });
            }
            _ => turns.push(turn),
        }
    }
    Ok(turns)
}

/// Appends what a model said. SDKs keep a streamed answer as it came, piece by piece, and replay
/// it so; the pieces of one text are joined, since a signature is for the whole of it.
fn append<'a>(parts: &mut Vec<Part<'a>>, mut part: Part<'a>) {
    let Some(last) = parts.last_mut().filter(|last| last.seal.is_none()) else {
        parts.push(part);
        return;
    };
    match (&mut last.kind, &mut part.kind) {
        (PartKind::Text { text, .. }, PartKind::Text { text: more, .. })
        | (PartKind::Thinking { text }, PartKind::Thinking { text: more }) => {
            text.to_mut().push_str(more);
            last.seal = part.seal;
        }
        _ => parts.push(part),
    }
}

/// Reads `systemInstruction`: a content, or whatever a lenient client makes of one.
pub(super) fn system<'a>(raw: &'a str, loss: &mut Loss) -> Result<Vec<Part<'a>>, Malformed> {
    let place = Place::field("systemInstruction");
    let mut reader = Reader { loss, calls: Vec::new() };
    let content = json_read::is_object(raw) && json_read::field(raw, "text").is_none();
    let parts = if content {
        let known = |name: &str| matches!(name, "parts" | "role");
        for (name, _) in members(raw).filter(|(name, _)| !known(name)) {
            reader.loss.push(place.key(&name), Reason::Unsupported);
        }
        json_read::field(raw, "parts").unwrap_or("[]")
    } else {
        raw
    };
    let mut system = Vec::new();
    for (at, raw) in list(parts).enumerate() {
        let place = place.inner("parts", at);
        let part = match json_read::text(raw) {
            Some(text) => Some(Part::new(place, PartKind::Text { text, citations: None })),
            None => reader.part(place, raw)?,
        };
        match part {
            Some(part) if matches!(part.kind, PartKind::Text { .. }) => system.push(part),
            Some(_) => reader.loss.push(place, Reason::Unsupported),
            None => {}
        }
    }
    Ok(system)
}

/// One call seen, to pair its response with.
struct Call<'a> {
    id: Cow<'a, str>,
    name: Cow<'a, str>,
    answered: bool,
}

struct Reader<'l, 'a> {
    loss: &'l mut Loss,
    calls: Vec<Call<'a>>,
}

/// The keys of one part.
#[derive(Default)]
struct Keys<'a> {
    text: Option<Cow<'a, str>>,
    thought: bool,
    seal: Option<Seal<'a>>,
    /// The one key that says what the part is, beside text.
    data: Option<(&'static str, &'a str)>,
    others: Vec<Cow<'a, str>>,
}

const DATA: [&str; 8] = [
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
];

impl<'a> Keys<'a> {
    fn of(place: &Place, raw: &'a str) -> Result<Self, Malformed> {
        let mut keys = Self::default();
        for (name, value) in members(raw) {
            let key = camel(&name);
            if let Some(data) = DATA.into_iter().find(|data| *data == key) {
                keys.data = Some((data, value));
                continue;
            }
            match &*key {
                "text" => {
                    let wrong = || Malformed::at(place.key(&name), "must be a string");
                    keys.text = Some(json_read::text(value).ok_or_else(wrong)?);
                }
                "thought" => keys.thought = json_read::boolean(value) == Some(true),
                "thoughtSignature" => {
                    keys.seal = json_read::text(value).map(gemini_signature::read);
                }
                _ => keys.others.push(name),
            }
        }
        Ok(keys)
    }
}

impl<'a> Reader<'_, 'a> {
    fn turn(&mut self, place: Place, raw: &'a str) -> Result<Turn<'a>, Malformed> {
        let mut turn = Turn { place, role: Role::User, name: None, parts: Vec::new() };
        if let Some(text) = json_read::text(raw) {
            turn.parts.push(Part::new(place, PartKind::Text { text, citations: None }));
            return Ok(turn);
        }
        for (name, value) in members(raw) {
            match &*name {
                "role" => turn.role = role(&place, value)?,
                "parts" => {
                    for (at, raw) in list(value).enumerate() {
                        turn.parts.extend(self.part(place.inner("parts", at), raw)?);
                    }
                }
                _ => self.loss.push(place.key(&name), Reason::Unsupported),
            }
        }
        Ok(turn)
    }

    /// `None` for a part that says nothing.
    fn part(&mut self, place: Place, raw: &'a str) -> Result<Option<Part<'a>>, Malformed> {
        let keys = Keys::of(&place, raw)?;
        let opaque = |kind| Some(PartKind::Opaque { kind: Cow::Borrowed(kind), raw });
        let kind = match keys.data {
            Some(("functionCall", data)) => Some(self.call(&place, data)),
            Some(("functionResponse", data)) => Some(self.response(&place, data)),
            Some(("inlineData", data)) => self.inline(&place, data).or(opaque("inlineData")),
            Some(("fileData", data)) => self.file(&place, data).or(opaque("fileData")),
            Some((kind, _)) => opaque(kind),
            None => text_kind(&keys),
        };
        let whole = matches!(kind, Some(PartKind::Opaque { .. }));
        if !whole {
            for name in &keys.others {
                self.loss.push(place.key(name), Reason::Unsupported);
            }
        }
        // an opaque part keeps its signature in itself
        let seal = keys.seal.filter(|_| !whole);
        Ok(kind.map(|kind| Part { seal, ..Part::new(place, kind) }))
    }

    fn call(&mut self, place: &Place, raw: &'a str) -> PartKind<'a> {
        let (mut id, mut called) = (Cow::Borrowed(""), Cow::Borrowed(""));
        let mut arguments = Cow::Borrowed("{}");
        for (name, value) in members(raw) {
            match &*name {
                "id" => id = json_read::text(value).unwrap_or_default(),
                "name" => called = json_read::text(value).unwrap_or_default(),
                "args" => arguments = minified(value),
                _ => self.loss.push(format!("{place}.functionCall.{name}"), Reason::Unsupported),
            }
        }
        if id.is_empty() {
            id = Cow::Owned(format!("call_{}", self.calls.len()));
        }
        self.calls.push(Call { id: id.clone(), name: called.clone(), answered: false });
        PartKind::ToolUse { id, name: called, arguments }
    }

    fn response(&mut self, place: &Place, raw: &'a str) -> PartKind<'a> {
        let (mut id, mut called) = (Cow::Borrowed(""), Cow::Borrowed(""));
        let (mut is_error, mut content) = (false, Vec::new());
        let mut media = Vec::new();
        for (name, value) in members(raw) {
            match &*name {
                "id" => id = json_read::text(value).unwrap_or_default(),
                "name" => called = json_read::text(value).unwrap_or_default(),
                "response" => {
                    let (error, text) = result_text(value);
                    is_error = error;
                    let kind = text.map(|text| PartKind::Text { text, citations: None });
                    content.extend(kind.map(|kind| Part::new(*place, kind)));
                }
                "parts" => media.extend(json_read::items(value).map(|raw| self.media(place, raw))),
                _ => {
                    let path = format!("{place}.functionResponse.{name}");
                    self.loss.push(path, Reason::Unsupported);
                }
            }
        }
        content.extend(media.into_iter().flatten());
        let id = self.answered(id, &called);
        let name = (!called.is_empty()).then_some(called);
        PartKind::ToolResult { id, name, is_error, content }
    }

    /// The id of the call that a response answers.
    fn answered(&mut self, id: Cow<'a, str>, name: &str) -> Cow<'a, str> {
        let mut open = self.calls.iter_mut().filter(|call| !call.answered);
        let call = if id.is_empty() {
            open.find(|call| call.name == name)
        } else {
            open.find(|call| call.id == id)
        };
        match call {
            Some(call) => {
                call.answered = true;
                call.id.clone()
            }
            None => id,
        }
    }

    /// One part inside a `functionResponse`: media only.
    fn media(&mut self, place: &Place, raw: &'a str) -> Option<Part<'a>> {
        let mut kind = None;
        for (name, value) in members(raw) {
            match &*camel(&name) {
                "inlineData" => kind = self.inline(place, value),
                "fileData" => kind = self.file(place, value),
                _ => {}
            }
        }
        if kind.is_none() {
            self.loss.push(format!("{place}.functionResponse.parts"), Reason::Unsupported);
        }
        kind.map(|kind| Part::new(*place, kind))
    }

    /// `None` for what the hub has no name for (video), to be kept whole.
    fn inline(&mut self, place: &Place, raw: &'a str) -> Option<PartKind<'a>> {
        let (mut media_type, mut data, mut title) = (None, None, None);
        for (name, value) in members(raw) {
            match &*camel(&name) {
                "mimeType" => media_type = json_read::text(value),
                "data" => data = json_read::text(value).map(gemini_signature::standard_base64),
                "displayName" => title = json_read::text(value),
                _ => self.loss.push(format!("{place}.inlineData.{name}"), Reason::Unsupported),
            }
        }
        let (media_type, data) = (media_type?, data?);
        let wrap = medium(&media_type)?;
        let media = Media::new(Source::Base64 { media_type, data });
        Some(wrap(Media { name: title, ..media }))
    }

    /// `None` also for a file that only Google's servers can fetch.
    fn file(&mut self, place: &Place, raw: &'a str) -> Option<PartKind<'a>> {
        let (mut media_type, mut url, mut title) = (None, None, None);
        for (name, value) in members(raw) {
            match &*camel(&name) {
                "mimeType" => media_type = json_read::text(value),
                "fileUri" => url = json_read::text(value),
                "displayName" => title = json_read::text(value),
                _ => self.loss.push(format!("{place}.fileData.{name}"), Reason::Unsupported),
            }
        }
        let url = url?;
        if !url.starts_with("http") || url.contains("//generativelanguage.googleapis.com/") {
            return None;
        }
        let wrap = medium(media_type.as_deref()?)?;
        Some(wrap(Media { name: title, ..Media::new(Source::Url { url, media_type }) }))
    }
}

fn text_kind<'a>(keys: &Keys<'a>) -> Option<PartKind<'a>> {
    let text = keys.text.clone().unwrap_or_default();
    match (keys.thought, text.is_empty(), &keys.seal) {
        (_, true, None) => None,
        (true, ..) => Some(PartKind::Thinking { text }),
        // a signature that stands alone
        (false, true, Some(_)) => Some(PartKind::Redacted),
        (false, false, _) => Some(PartKind::Text { text, citations: None }),
    }
}

fn role(place: &Place, raw: &str) -> Result<Role, Malformed> {
    match json_read::text(raw).as_deref() {
        Some("user" | "function" | "tool" | "") => Ok(Role::User),
        Some("model") => Ok(Role::Assistant),
        Some("system") => Ok(Role::System),
        _ => Err(Malformed::at(place.key("role"), "must be \"user\" or \"model\"")),
    }
}

/// Whether it is an error, and the text that a tool gave: `{"result": "text"}` is the text itself.
fn result_text(raw: &str) -> (bool, Option<Cow<'_, str>>) {
    let mut fields = json_read::fields(raw);
    let Some((name, value)) = fields.next() else { return (false, None) };
    let wrapped = fields.next().is_none() && matches!(&*name, "result" | "output" | "error");
    if !wrapped {
        return (false, Some(Cow::Borrowed(raw)));
    }
    (name == "error", Some(json_read::text(value).unwrap_or(Cow::Borrowed(value))))
}

type Wrap<'a> = fn(Media<'a>) -> PartKind<'a>;

fn medium<'a>(media_type: &str) -> Option<Wrap<'a>> {
    match media_type.split('/').next() {
        Some("image") => Some(PartKind::Image),
        Some("audio") => Some(PartKind::Audio),
        Some("application" | "text") => Some(PartKind::Document),
        _ => None,
    }
}
