//! Turns, written as the items of an OpenAI Responses request.
//!
//! In: the instructions and turns of a [`Request`]. Out: messages, calls, results and reasoning
//! items, in the order of their parts. Reasoning goes only with a seal of Responses itself; other
//! reasoning is reported, since OpenAI takes none that it did not write. Never: reorders parts.
//! Page: <https://platform.openai.com/docs/api-reference/responses/create#responses-create-input>

use super::Manner;
use super::openai_responses_body::shortened;
use crate::chat::{
    Dialect, Loss, Media, Part, PartKind, Reason, Request, Role, Seal, Source, Turn,
};
use crate::wire::json_write::Array;
use std::borrow::Cow;

/// The text for `instructions`: a single system text. Several ones are written as a message.
pub(super) fn instructions<'r>(request: &'r Request<'_>, loss: &mut Loss) -> Option<&'r str> {
    match request.system.as_slice() {
        [Part { place, kind: PartKind::Text { text, .. }, cache, .. }] if !text.is_empty() => {
            if cache.is_some() {
                loss.push(place.key(cache_name(request.from)), Reason::Approximated);
            }
            Some(text)
        }
        _ => None,
    }
}

/// Writes the items of `input`.
pub(super) fn encode(request: &Request<'_>, manner: &Manner, out: &mut Array<'_>, loss: &mut Loss) {
    let mut writer = Writer { request, out, loss, calls: 0, unnamed: Vec::new() };
    let single = matches!(
        request.system.as_slice(),
        [Part { kind: PartKind::Text { text, .. }, .. }] if !text.is_empty()
    );
    if !single || manner.refuses.contains(&"instructions") {
        writer.message(manner.system_role, &request.system);
    }
    for turn in &request.turns {
        writer.turn(turn, manner);
    }
}

/// What the language of `from` calls a cache breakpoint.
pub(super) const fn cache_name(from: Dialect) -> &'static str {
    match from {
        Dialect::Bedrock => "cachePoint",
        Dialect::OpenAiResponses => "prompt_cache_breakpoint",
        Dialect::Anthropic | Dialect::OpenAiChat | Dialect::Gemini => "cache_control",
    }
}

struct Writer<'o, 'b, 'r, 'a> {
    request: &'r Request<'a>,
    out: &'r mut Array<'b>,
    loss: &'o mut Loss,
    /// How many calls came without an id.
    calls: usize,
    /// Names and given ids of the calls without an id that have no result yet.
    unnamed: Vec<(String, String)>,
}

impl Writer<'_, '_, '_, '_> {
    fn turn(&mut self, turn: &Turn<'_>, manner: &Manner) {
        if turn.name.is_some() {
            self.loss.push(turn.place.key("name"), Reason::Unsupported);
        }
        match turn.role {
            Role::System => self.message(manner.system_role, &turn.parts),
            Role::User => self.items(&turn.parts, "user"),
            Role::Assistant => self.items(&turn.parts, "assistant"),
        }
    }

    /// Runs of content become messages; everything else is an item of its own.
    fn items(&mut self, parts: &[Part<'_>], role: &'static str) {
        let mut rest = parts;
        while let Some((first, after)) = rest.split_first() {
            let run = rest.iter().take_while(|part| is_content(&part.kind)).count();
            if run > 0 {
                let (content, after) = rest.split_at(run);
                self.message(role, content);
                rest = after;
            } else {
                self.item(first, role);
                rest = after;
            }
        }
    }

    fn message(&mut self, role: &str, parts: &[Part<'_>]) {
        let mut content = Vec::new();
        let mut array = Array::begin(&mut content);
        for part in parts {
            self.hints(part);
            if role == "assistant" {
                answered(part, self.request.from, &mut array, self.loss);
            } else {
                asked(part, self.request.from, &mut array, self.loss);
            }
        }
        if array.is_empty() {
            return;
        }
        array.end();
        let mut item = self.out.object();
        item.text("type", "message").text("role", role);
        item.key("content").extend_from_slice(&content);
        item.end();
    }

    /// Cache breakpoints and seals have no place on content.
    fn hints(&mut self, part: &Part<'_>) {
        if part.cache.is_some() {
            // OpenAI caches prefixes without being asked.
            let path = part.place.key(cache_name(self.request.from));
            self.loss.push(path, Reason::Approximated);
        }
        let own = matches!(part.kind, PartKind::Thinking { .. } | PartKind::Redacted);
        if part.seal.is_some() && !own {
            let google = part.seal.as_ref().is_some_and(|seal| seal.dialect == Dialect::Gemini);
            let key = if google { "thoughtSignature" } else { "reasoning_details" };
            self.loss.push(part.place.key(key), Reason::Foreign);
        }
    }

    fn item(&mut self, part: &Part<'_>, role: &'static str) {
        self.hints(part);
        match &part.kind {
            PartKind::ToolUse { id, name, arguments } => {
                let id = self.call_id(id, name);
                let mut item = self.out.object();
                item.text("type", "function_call").text("call_id", &id).text("name", name);
                let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
                item.text("arguments", arguments);
                item.end();
            }
            PartKind::ToolResult { id, name, is_error, content } => {
                let Some(id) = self.result_id(id, name.as_deref()) else {
                    self.loss.push(part.place, Reason::Value);
                    return;
                };
                self.result(part, &id, *is_error, content);
            }
            PartKind::Thinking { text } => self.reasoning(part, text),
            PartKind::Redacted => self.reasoning(part, ""),
            PartKind::Opaque { raw, .. } if self.request.from == Dialect::OpenAiResponses => {
                self.out.raw(raw);
            }
            PartKind::Opaque { .. } => self.loss.push(part.place, Reason::Unsupported),
            PartKind::Text { .. }
            | PartKind::Refusal { .. }
            | PartKind::Image(_)
            | PartKind::Document(_)
            | PartKind::Audio(_) => self.message(role, std::slice::from_ref(part)),
        }
    }

    fn reasoning(&mut self, part: &Part<'_>, text: &str) {
        let Some(seal @ Seal { dialect: Dialect::OpenAiResponses, .. }) = &part.seal else {
            self.loss.push(part.place, Reason::Foreign);
            return;
        };
        let mut item = self.out.object();
        item.text("type", "reasoning");
        if let Some(id) = &seal.id {
            item.text("id", id);
        }
        let mut summary = item.array("summary");
        if !text.is_empty() {
            let mut object = summary.object();
            object.text("type", "summary_text").text("text", text);
            object.end();
        }
        summary.end();
        item.text("encrypted_content", &seal.data);
        item.end();
    }

    fn result(&mut self, part: &Part<'_>, id: &str, is_error: bool, content: &[Part<'_>]) {
        for part in content {
            self.hints(part);
        }
        let from = self.request.from;
        let mut item = self.out.object();
        item.text("type", "function_call_output").text("call_id", id);
        match content {
            [] => {
                item.text("output", "");
            }
            [Part { kind: PartKind::Text { text, .. }, .. }] => {
                item.text("output", text);
            }
            parts => {
                let mut array = item.array("output");
                for part in parts {
                    asked(part, from, &mut array, self.loss);
                }
                array.end();
            }
        }
        if is_error {
            // The nearest that there is: the model is told by the text, the item says `incomplete`.
            item.text("status", "incomplete");
            self.loss.push(part.place.key("is_error"), Reason::Approximated);
        }
        item.end();
    }

    /// The id of a call: at most 64 bytes, and never empty.
    fn call_id<'i>(&mut self, id: &'i str, name: &str) -> Cow<'i, str> {
        if !id.is_empty() {
            return shortened(id, "call_");
        }
        let given = format!("call_{}", self.calls);
        self.calls += 1;
        self.unnamed.push((name.to_owned(), given.clone()));
        Cow::Owned(given)
    }

    /// The id of the call that a result answers; by name where it has none.
    fn result_id<'i>(&mut self, id: &'i str, name: Option<&str>) -> Option<Cow<'i, str>> {
        if !id.is_empty() {
            return Some(shortened(id, "call_"));
        }
        let named = |(called, _): &(String, String)| name.is_none_or(|name| name == called);
        let at = self.unnamed.iter().position(named)?;
        Some(Cow::Owned(self.unnamed.remove(at).1))
    }
}

fn is_content(kind: &PartKind<'_>) -> bool {
    match kind {
        PartKind::Text { .. }
        | PartKind::Refusal { .. }
        | PartKind::Image(_)
        | PartKind::Document(_)
        | PartKind::Audio(_) => true,
        PartKind::ToolUse { .. }
        | PartKind::ToolResult { .. }
        | PartKind::Thinking { .. }
        | PartKind::Redacted
        | PartKind::Opaque { .. } => false,
    }
}

/// A part of a message that the model wrote.
fn answered(part: &Part<'_>, from: Dialect, out: &mut Array<'_>, loss: &mut Loss) {
    match &part.kind {
        PartKind::Text { text, .. } if text.is_empty() => {}
        PartKind::Text { text, citations } => {
            let mut object = out.object();
            object.text("type", "output_text").text("text", text);
            match citations {
                Some(raw) if from == Dialect::OpenAiResponses => object.raw("annotations", raw),
                Some(_) => {
                    let name =
                        if from == Dialect::OpenAiChat { "annotations" } else { "citations" };
                    loss.push(part.place.key(name), Reason::Unsupported);
                    object.raw("annotations", "[]")
                }
                None => object.raw("annotations", "[]"),
            };
            object.end();
        }
        PartKind::Refusal { text } => {
            let mut object = out.object();
            object.text("type", "refusal").text("refusal", text);
            object.end();
        }
        _ => loss.push(part.place, Reason::Unsupported),
    }
}

/// A part that the model is to read.
fn asked(part: &Part<'_>, from: Dialect, out: &mut Array<'_>, loss: &mut Loss) {
    match &part.kind {
        PartKind::Text { text, .. } if text.is_empty() => {}
        PartKind::Text { text, .. } => input_text(text, out),
        PartKind::Image(media) => image(part, media, from, out, loss),
        PartKind::Document(media) => document(part, media, from, out, loss),
        PartKind::Audio(media) => audio(part, media, out, loss),
        PartKind::Opaque { raw, .. } if from == Dialect::OpenAiResponses => {
            out.raw(raw);
        }
        PartKind::Refusal { .. }
        | PartKind::ToolUse { .. }
        | PartKind::ToolResult { .. }
        | PartKind::Thinking { .. }
        | PartKind::Redacted
        | PartKind::Opaque { .. } => loss.push(part.place, Reason::Unsupported),
    }
}

fn input_text(text: &str, out: &mut Array<'_>) {
    let mut object = out.object();
    object.text("type", "input_text").text("text", text);
    object.end();
}

fn image(part: &Part<'_>, media: &Media<'_>, from: Dialect, out: &mut Array<'_>, loss: &mut Loss) {
    let (name, value) = match &media.source {
        Source::Base64 { media_type, data } => ("image_url", data_url(media_type, data)),
        Source::Url { url, .. } => ("image_url", url.to_string()),
        Source::File { id } if is_openai(from) => ("file_id", id.to_string()),
        Source::File { .. } => return loss.push(part.place, Reason::Foreign),
        Source::Text { .. } | Source::Parts(_) => return loss.push(part.place, Reason::Value),
    };
    let mut object = out.object();
    object.text("type", "input_image").text(name, &value);
    object.text("detail", media.detail.as_deref().unwrap_or("auto"));
    object.end();
}

fn document(
    part: &Part<'_>,
    media: &Media<'_>,
    from: Dialect,
    out: &mut Array<'_>,
    loss: &mut Loss,
) {
    if media.context.is_some() {
        loss.push(part.place.key("context"), Reason::Unsupported);
    }
    if media.citations {
        loss.push(part.place.key("citations"), Reason::Unsupported);
    }
    let mut object = match &media.source {
        Source::Base64 { media_type, data } => {
            let mut object = out.object();
            object.text("type", "input_file");
            object.text("filename", media.name.as_deref().unwrap_or_else(|| file_name(media_type)));
            object.text("file_data", &data_url(media_type, data));
            object
        }
        Source::Url { url, .. } => {
            if media.name.is_some() {
                loss.push(part.place.key("title"), Reason::Unsupported);
            }
            let mut object = out.object();
            object.text("type", "input_file").text("file_url", url);
            object
        }
        Source::File { id } if is_openai(from) => {
            let mut object = out.object();
            object.text("type", "input_file").text("file_id", id);
            object
        }
        Source::File { .. } => return loss.push(part.place, Reason::Foreign),
        Source::Text { text } => {
            loss.push(part.place.key("source"), Reason::Approximated);
            return input_text(&titled(media, text), out);
        }
        Source::Parts(parts) => {
            loss.push(part.place.key("source"), Reason::Approximated);
            if media.name.is_some() {
                loss.push(part.place.key("title"), Reason::Unsupported);
            }
            for part in parts {
                asked(part, from, out, loss);
            }
            return;
        }
    };
    if let Some(detail) = &media.detail {
        object.text("detail", detail);
    }
    object.end();
}

fn audio(part: &Part<'_>, media: &Media<'_>, out: &mut Array<'_>, loss: &mut Loss) {
    let Source::Base64 { media_type, data } = &media.source else {
        return loss.push(part.place, Reason::Unsupported);
    };
    let format = match media_type.as_ref() {
        "audio/mpeg" | "audio/mp3" => "mp3",
        "audio/wav" | "audio/x-wav" | "audio/wave" => "wav",
        other => other.strip_prefix("audio/").unwrap_or(other),
    };
    let mut object = out.object();
    object.text("type", "input_audio");
    let mut inner = object.object("input_audio");
    inner.text("data", data).text("format", format);
    inner.end();
    object.end();
}

/// File ids of one OpenAI API are known to the other.
fn is_openai(from: Dialect) -> bool {
    matches!(from, Dialect::OpenAiChat | Dialect::OpenAiResponses)
}

fn data_url(media_type: &str, data: &str) -> String {
    format!("data:{media_type};base64,{data}")
}

/// A document's text below its title, as a model reads it best.
fn titled<'r>(media: &'r Media<'_>, text: &'r str) -> Cow<'r, str> {
    match &media.name {
        Some(name) => Cow::Owned(format!("{name}\n\n{text}")),
        None => Cow::Borrowed(text),
    }
}

/// OpenAI wants a name for each file; its ending tells the kind.
fn file_name(media_type: &str) -> &'static str {
    match media_type {
        "text/plain" => "document.txt",
        "text/markdown" => "document.md",
        "text/csv" => "document.csv",
        "text/html" => "document.html",
        "application/json" => "document.json",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => {
            "document.docx"
        }
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "document.xlsx",
        _ => "document.pdf",
    }
}
