//! Writes the `contents` and the `systemInstruction` of a Gemini request.
//!
//! In: the turns of a [`Request`]. Out: contents in the order that Gemini enforces: what a model
//! said in one content, then the responses to all of its calls in one content of their own, then
//! what else the user said. Never: leaves an empty content or part; never lets another vendor's
//! signature through.

use super::gemini_body::is_plain_object;
use super::gemini_model::Model;
use super::gemini_signature::SKIP;
use super::{Dialect, Malformed};
use crate::chat::{Loss, Media, Part, PartKind, Place, Reason, Request, Role, Source, Turn};
use crate::wire::json_write::Object;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// What was written.
pub(super) struct Written {
    /// Whether the leading instructions go into `systemInstruction`; otherwise they are the first
    /// content already, since a request of instructions alone has nothing else to answer to.
    pub(super) system_apart: bool,
}

/// Writes the array of contents.
pub(super) fn write(
    request: &Request<'_>,
    model: &Model,
    out: &mut Vec<u8>,
    loss: &mut Loss,
) -> Result<Written, Malformed> {
    out.push(b'[');
    let mut contents = Contents { request, model, out, loss, held: Vec::new() };
    for run in request.turns.chunk_by(|a, b| is_model(a) == is_model(b)) {
        if run.first().is_some_and(is_model) {
            contents.model_run(run);
        } else {
            contents.user_run(run);
        }
    }
    let mut system_apart = !request.system.is_empty();
    if contents.empty() {
        contents.content("user", |contents| contents.parts(&request.system));
        system_apart = false;
    }
    if contents.empty() {
        return Err(Malformed::at("contents", "no message is left to send"));
    }
    out.push(b']');
    Ok(Written { system_apart })
}

/// Writes the leading instructions as a content without role.
pub(super) fn system(request: &Request<'_>, out: &mut Vec<u8>, loss: &mut Loss) {
    let mut object = Object::begin(out);
    let mut parts = object.array("parts");
    for part in &request.system {
        cache_lost(part, request.from, loss);
        match &part.kind {
            PartKind::Text { text, .. } if text.is_empty() => {}
            PartKind::Text { text, .. } => {
                let mut object = parts.object();
                object.text("text", text);
                object.end();
            }
            _ => loss.push(part.place, Reason::Unsupported),
        }
    }
    parts.end();
    object.end();
}

/// How the client's language calls a cache breakpoint.
pub(super) const fn cache_key(from: Dialect) -> &'static str {
    match from {
        Dialect::Bedrock => "cachePoint",
        Dialect::Anthropic | Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Gemini => {
            "cache_control"
        }
    }
}

fn cache_lost(part: &Part<'_>, from: Dialect, loss: &mut Loss) {
    if part.cache.is_some() {
        loss.push(part.place.key(cache_key(from)), Reason::Unsupported);
    }
}

fn is_model(turn: &Turn<'_>) -> bool {
    turn.role == Role::Assistant
}

struct Contents<'c, 'r> {
    request: &'c Request<'r>,
    model: &'c Model,
    out: &'c mut Vec<u8>,
    loss: &'c mut Loss,
    /// Media of tool results, to be said after all responses (before Gemini 3).
    held: Vec<&'c Part<'r>>,
}

impl<'c, 'r> Contents<'c, 'r> {
    fn empty(&self) -> bool {
        self.out.ends_with(b"[")
    }

    fn comma(&mut self) {
        if !self.out.ends_with(b"[") {
            self.out.push(b',');
        }
    }

    /// Writes one content, or nothing when `parts` writes none.
    fn content(&mut self, role: &str, parts: impl FnOnce(&mut Self)) {
        let before = self.out.len();
        self.comma();
        self.out.extend_from_slice(br#"{"role":""#);
        self.out.extend_from_slice(role.as_bytes());
        self.out.extend_from_slice(br#"","parts":["#);
        let inside = self.out.len();
        parts(self);
        if self.out.len() == inside {
            self.out.truncate(before);
        } else {
            self.out.extend_from_slice(b"]}");
        }
    }

    fn model_run(&mut self, run: &'c [Turn<'r>]) {
        self.names_lost(run);
        // Gemini 3 looks for a signature on the first call of a step
        let mut signed = !self.model.signs_calls;
        self.content("model", |contents| {
            for part in run.iter().flat_map(|turn| &turn.parts) {
                contents.model_part(part, &mut signed);
            }
        });
    }

    fn names_lost(&mut self, run: &[Turn<'_>]) {
        for turn in run.iter().filter(|turn| turn.name.is_some()) {
            self.loss.push(turn.place.key("name"), Reason::Unsupported);
        }
    }

    fn model_part(&mut self, part: &'c Part<'r>, signed: &mut bool) {
        let own = part.seal.as_ref().filter(|seal| seal.dialect == Dialect::Gemini);
        let foreign = part.seal.is_some() && own.is_none();
        let signature = own.map(|seal| seal.data.as_ref());
        match &part.kind {
            PartKind::ToolUse { id, name, arguments } => {
                cache_lost(part, self.request.from, self.loss);
                let skip = (!std::mem::replace(signed, true)).then_some(SKIP);
                self.call(part.place, id, name, arguments, signature.or(skip));
            }
            PartKind::Thinking { .. } | PartKind::Redacted if foreign => {
                self.loss.push(part.place, Reason::Foreign);
            }
            PartKind::Thinking { text } => {
                if !text.is_empty() || signature.is_some() {
                    self.text(text, true, signature);
                }
            }
            PartKind::Redacted => match signature {
                Some(_) => self.text("", false, signature),
                None => self.loss.push(part.place, Reason::Foreign),
            },
            PartKind::Text { text, citations } => {
                cache_lost(part, self.request.from, self.loss);
                if citations.is_some() {
                    let key = self.citations_key();
                    self.loss.push(part.place.key(key), Reason::Unsupported);
                }
                if foreign {
                    self.loss.push(part.place.key("signature"), Reason::Foreign);
                }
                if !text.is_empty() || signature.is_some() {
                    self.text(text, false, signature);
                }
            }
            _ => self.part(part),
        }
    }

    fn citations_key(&self) -> &'static str {
        match self.request.from {
            Dialect::OpenAiChat | Dialect::OpenAiResponses => "annotations",
            Dialect::Anthropic | Dialect::Bedrock | Dialect::Gemini => "citations",
        }
    }

    fn call(
        &mut self,
        place: Place,
        id: &str,
        name: &str,
        arguments: &str,
        signature: Option<&str>,
    ) {
        self.comma();
        let mut part = Object::begin(self.out);
        let mut call = part.object("functionCall");
        if !id.is_empty() {
            call.text("id", id);
        }
        call.text("name", name);
        let plain = is_object(arguments);
        call.raw("args", if plain { arguments.trim() } else { "{}" });
        call.end();
        if let Some(signature) = signature {
            part.text("thoughtSignature", signature);
        }
        part.end();
        if !plain && !arguments.trim().is_empty() {
            self.loss.push(place.key("arguments"), Reason::Value);
        }
    }

    fn text(&mut self, text: &str, thought: bool, signature: Option<&str>) {
        self.comma();
        let mut part = Object::begin(self.out);
        part.text("text", text);
        if thought {
            part.boolean("thought", true);
        }
        if let Some(signature) = signature {
            part.text("thoughtSignature", signature);
        }
        part.end();
    }

    /// Everything between two answers of the model: first the responses to its calls.
    fn user_run(&mut self, run: &'c [Turn<'r>]) {
        self.names_lost(run);
        let is_result = |part: &&Part<'_>| matches!(part.kind, PartKind::ToolResult { .. });
        self.content("user", |contents| {
            for part in run.iter().flat_map(|turn| &turn.parts).filter(is_result) {
                contents.result(part);
            }
        });
        let held = std::mem::take(&mut self.held);
        self.content("user", |contents| held.iter().for_each(|part| contents.part(part)));
        for turn in run {
            if turn.role == Role::System {
                self.reminder(turn);
                continue;
            }
            self.content("user", |contents| {
                for part in turn.parts.iter().filter(|part| !is_result(part)) {
                    contents.part(part);
                }
            });
        }
    }

    /// Instructions in mid-conversation stay where they are, so that the cached prefix stays, too.
    fn reminder(&mut self, turn: &'c Turn<'r>) {
        let text = self.joined(&turn.parts);
        if text.is_empty() {
            return;
        }
        self.loss.push(turn.place.key("role"), Reason::Approximated);
        let text = format!("<system-reminder>\n{text}\n</system-reminder>\n");
        self.content("user", |contents| contents.text(&text, false, None));
    }

    /// The texts of `parts`, one below the other; what is no text is lost.
    fn joined(&mut self, parts: &'c [Part<'r>]) -> Cow<'c, str> {
        let mut joined = Cow::Borrowed("");
        for part in parts {
            cache_lost(part, self.request.from, self.loss);
            match &part.kind {
                PartKind::Text { text, .. } if joined.is_empty() => joined = Cow::Borrowed(text),
                PartKind::Text { text, .. } => {
                    joined.to_mut().push('\n');
                    joined.to_mut().push_str(text);
                }
                _ => self.loss.push(part.place, Reason::Unsupported),
            }
        }
        joined
    }

    fn parts(&mut self, parts: &'c [Part<'r>]) {
        for part in parts {
            self.part(part);
        }
    }

    fn part(&mut self, part: &'c Part<'r>) {
        cache_lost(part, self.request.from, self.loss);
        match &part.kind {
            PartKind::Text { text, .. } => {
                if !text.is_empty() {
                    self.text(text, false, None);
                }
            }
            PartKind::Image(media) => self.media(part.place, media, "image/jpeg"),
            PartKind::Document(media) => self.media(part.place, media, "application/pdf"),
            PartKind::Audio(media) => self.media(part.place, media, "audio/wav"),
            PartKind::Refusal { text } => {
                self.loss.push(part.place, Reason::Approximated);
                self.text(text, false, None);
            }
            PartKind::Opaque { raw, .. } if self.request.from == Dialect::Gemini => {
                self.comma();
                self.out.extend_from_slice(raw.as_bytes());
            }
            PartKind::Opaque { .. }
            | PartKind::ToolUse { .. }
            | PartKind::ToolResult { .. }
            | PartKind::Thinking { .. }
            | PartKind::Redacted => self.loss.push(part.place, Reason::Unsupported),
        }
    }

    fn result(&mut self, part: &'c Part<'r>) {
        let PartKind::ToolResult { id, name, is_error, content } = &part.kind else { return };
        cache_lost(part, self.request.from, self.loss);
        let (texts, media): (Vec<_>, Vec<_>) =
            content.iter().partition(|part| !is_media(&part.kind));
        let text = self.result_text(&texts);
        let name = name.as_deref().or_else(|| self.called(part, id)).unwrap_or(id);
        self.comma();
        let mut object = Object::begin(self.out);
        let mut response = object.object("functionResponse");
        if !id.is_empty() {
            response.text("id", id);
        }
        response.text("name", name);
        if *is_error {
            let mut error = response.object("response");
            error.text("error", &text);
            error.end();
        } else if texts.is_empty() {
            response.raw("response", "{}");
        } else if is_plain_object(&text) {
            response.raw("response", text.trim());
        } else {
            let mut result = response.object("response");
            result.text("result", &text);
            result.end();
        }
        let nested = self.model.nests_media && !media.is_empty();
        if nested {
            response.key("parts").push(b'[');
            for part in media {
                self.part(part);
            }
            self.out.extend_from_slice(b"]}}");
            return;
        }
        response.end();
        object.end();
        for part in media {
            self.loss.push(part.place, Reason::Approximated);
            self.held.push(part);
        }
    }

    fn result_text(&mut self, parts: &[&'c Part<'r>]) -> Cow<'c, str> {
        let mut joined = Cow::Borrowed("");
        for part in parts {
            let text = self.joined(std::slice::from_ref(*part));
            if joined.is_empty() {
                joined = text;
            } else if !text.is_empty() {
                joined.to_mut().push('\n');
                joined.to_mut().push_str(&text);
            }
        }
        joined
    }

    /// The name of the call that a result answers: the nearest one before it, since ids may come
    /// again in a long conversation.
    fn called(&self, result: &Part<'_>, id: &str) -> Option<&'c str> {
        let before = self.request.turns.iter().rev();
        let before = before.skip_while(|turn| turn.place.item > result.place.item);
        let mut parts = before.flat_map(|turn| turn.parts.iter().rev());
        parts.find_map(|part| match &part.kind {
            PartKind::ToolUse { id: used, name, .. } if used == id => Some(name.as_ref()),
            _ => None,
        })
    }

    fn media(&mut self, place: Place, media: &'c Media<'r>, default_type: &str) {
        self.media_lost(place, media);
        let own_title = media.name.as_deref().filter(|_| self.request.from == Dialect::Gemini);
        let (media_type, data) = match &media.source {
            Source::Base64 { media_type, data } => (media_type.as_ref(), Cow::Borrowed(&**data)),
            Source::Text { text } => ("text/plain", Cow::Owned(STANDARD.encode(text.as_bytes()))),
            Source::Url { url, media_type } => {
                let Some((media_type, data)) = data_url(url) else {
                    let guessed = media_type.as_deref().or_else(|| type_of(url));
                    let media_type = guessed.unwrap_or(default_type);
                    self.pointed("fileData", media_type, ("fileUri", url), own_title);
                    return;
                };
                (media_type, Cow::Borrowed(data))
            }
            Source::Parts(parts) => {
                self.loss.push(place, Reason::Approximated);
                self.parts(parts);
                return;
            }
            Source::File { .. } => {
                self.loss.push(place, Reason::Foreign);
                return;
            }
        };
        self.pointed("inlineData", media_type, ("data", &data), own_title);
    }

    fn pointed(
        &mut self,
        kind: &str,
        media_type: &str,
        (key, value): (&str, &str),
        title: Option<&str>,
    ) {
        self.comma();
        let mut part = Object::begin(self.out);
        let mut data = part.object(kind);
        data.text("mimeType", media_type).text(key, value);
        if let Some(title) = title {
            data.text("displayName", title);
        }
        data.end();
        part.end();
    }

    fn media_lost(&mut self, place: Place, media: &Media<'_>) {
        let (name, detail) = match self.request.from {
            Dialect::Anthropic => ("title", "detail"),
            Dialect::OpenAiChat => ("file.filename", "image_url.detail"),
            Dialect::OpenAiResponses => ("filename", "detail"),
            Dialect::Bedrock => ("document.name", "detail"),
            Dialect::Gemini => return,
        };
        let detailed = media.detail.as_deref().is_some_and(|detail| detail != "auto");
        let lost = [
            (media.name.is_some(), name),
            (detailed, detail),
            (media.context.is_some(), "context"),
            (media.citations, "citations"),
        ];
        for (present, key) in lost {
            if present {
                self.loss.push(place.key(key), Reason::Unsupported);
            }
        }
    }
}

fn is_media(kind: &PartKind<'_>) -> bool {
    matches!(kind, PartKind::Image(_) | PartKind::Document(_) | PartKind::Audio(_))
}

fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Media type and base64 data of a `data:` URL.
fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let head = head.strip_suffix(";base64")?;
    Some((head.split(';').next().filter(|kind| !kind.is_empty()).unwrap_or("text/plain"), data))
}

/// The media type that a URL's ending tells.
fn type_of(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let ending = path.rsplit('/').next()?.rsplit_once('.')?.1;
    Some(match ending.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "html" | "htm" => "text/html",
        "csv" => "text/csv",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        _ => return None,
    })
}
