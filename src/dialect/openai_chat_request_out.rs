//! OpenAI Chat Completions requests, written.
//!
//! In: the hub's [`Request`]. Out: a body that OpenAI and its followers accept: instructions as
//! one text, tool results as messages of their own, what these cannot hold (images) in a user
//! message after them. What it cannot say goes to the [`Loss`]. Never: writes a member that
//! OpenAI refuses, or `null` where a follower might choke on it.

use super::openai_chat_parameters::Target;
use super::{Malformed, Manner};
use crate::chat::{
    Dialect, Loss, Media, Part, PartKind, Place, Reason, Request, Role, Source, Turn,
};
use crate::wire::json_write::{Array, Object};
use std::borrow::Cow;

/// In `Manner::refuses`: the names of speakers.
const NAME: &str = "messages[].name";

/// The longest id of a tool call that OpenAI accepts, in bytes.
const CALL_ID_MAX: usize = 40;

/// What stands in a tool result for an image, which only the message after it can hold.
const MOVED: &str = "[see the attachment in the next message]";

pub(super) fn encode(
    request: &Request<'_>,
    manner: &Manner,
    out: &mut Vec<u8>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    let target = Target { request, manner };
    let mut body = Object::begin(out);
    body.text("model", &request.model);
    let mut list = body.array("messages");
    Messages { request, manner }.write(&mut list, loss);
    let none = list.is_empty();
    list.end();
    if none {
        return Err(Malformed::at("messages", "holds nothing that can be said to this model"));
    }
    target.write(&mut body, loss);
    body.end();
    Ok(())
}

struct Messages<'r, 'a> {
    request: &'r Request<'a>,
    manner: &'r Manner,
}

/// One part of a user message, in this language's terms.
enum Content<'p> {
    Text(Cow<'p, str>),
    Image { url: Cow<'p, str>, detail: Option<&'p str> },
    File { name: Option<&'p str>, data: Option<String>, id: Option<&'p str> },
    Audio { data: &'p str, format: &'p str },
    Raw(&'p str),
}

impl<'r, 'a> Messages<'r, 'a> {
    fn write(&self, list: &mut Array<'_>, loss: &mut Loss) {
        let instructions = self.instructions(&self.request.system, loss);
        if !instructions.is_empty() {
            let mut message = list.object();
            message.text("role", self.manner.system_role).text("content", &instructions);
            message.end();
        }
        for turn in &self.request.turns {
            match turn.role {
                Role::System => self.system(list, turn, loss),
                Role::User => self.user(list, turn, loss),
                Role::Assistant => self.assistant(list, turn, loss),
            }
        }
    }

    fn system(&self, list: &mut Array<'_>, turn: &Turn<'_>, loss: &mut Loss) {
        let text = self.instructions(&turn.parts, loss);
        if text.is_empty() {
            return;
        }
        let mut message = list.object();
        message.text("role", self.manner.system_role).text("content", &text);
        self.name(&mut message, turn, loss);
        message.end();
    }

    fn name(&self, message: &mut Object<'_>, turn: &Turn<'_>, loss: &mut Loss) {
        let Some(name) = &turn.name else { return };
        if self.manner.refuses.contains(&NAME) {
            loss.push(turn.place.key("name"), Reason::Unsupported);
        } else {
            message.text("name", name);
        }
    }

    fn instructions(&self, parts: &[Part<'_>], loss: &mut Loss) -> String {
        let mut joined = String::new();
        for part in parts {
            match &part.kind {
                PartKind::Text { text, .. } => {
                    if !joined.is_empty() && !text.is_empty() {
                        joined.push_str("\n\n");
                    }
                    joined.push_str(text);
                }
                _ => loss.push(part.place, Reason::Unsupported),
            }
            self.report_marks(part, loss);
        }
        joined
    }

    /// Reports what stands on a part beside its kind.
    fn report_marks(&self, part: &Part<'_>, loss: &mut Loss) {
        if part.cache.is_some() {
            let key =
                if self.request.from == Dialect::Bedrock { "cachePoint" } else { "cache_control" };
            loss.push(part.place.key(key), Reason::Unsupported);
        }
        let thought = matches!(part.kind, PartKind::Thinking { .. } | PartKind::Redacted);
        if part.seal.is_some() && !thought {
            let gemini = self.request.from == Dialect::Gemini;
            let key = if gemini { "thoughtSignature" } else { "signature" };
            loss.push(part.place.key(key), Reason::Foreign);
        }
    }

    fn user(&self, list: &mut Array<'_>, turn: &'r Turn<'a>, loss: &mut Loss) {
        let (mut moved, mut said) = (Vec::new(), Vec::new());
        for part in &turn.parts {
            self.report_marks(part, loss);
            if let PartKind::ToolResult { id, is_error, content, .. } = &part.kind {
                let text = self.result(part.place, *is_error, content, &mut moved, loss);
                let mut message = list.object();
                message.text("role", "tool").text("tool_call_id", &call_id(id));
                message.text("content", &text);
                message.end();
            } else {
                self.content(part, &mut said, loss);
            }
        }
        moved.append(&mut said);
        if moved.is_empty() {
            return;
        }
        let mut message = list.object();
        message.text("role", "user");
        self.name(&mut message, turn, loss);
        if let [Content::Text(text)] = moved.as_slice() {
            message.text("content", text);
        } else {
            let mut parts = message.array("content");
            for content in &moved {
                content.write(&mut parts);
            }
            parts.end();
        }
        message.end();
    }

    /// The text of a tool result; its media are moved to the user message that follows.
    fn result(
        &self,
        place: Place,
        is_error: bool,
        parts: &'r [Part<'a>],
        moved: &mut Vec<Content<'r>>,
        loss: &mut Loss,
    ) -> String {
        let mut said = Vec::new();
        for part in parts {
            self.report_marks(part, loss);
            self.content(part, &mut said, loss);
        }
        let mut text = String::new();
        for content in said {
            let piece = if let Content::Text(piece) = &content { piece } else { MOVED };
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(piece);
            if !matches!(content, Content::Text(_)) {
                loss.push(place.key("content"), Reason::Approximated);
                moved.push(content);
            }
        }
        if is_error {
            loss.push(place.key("is_error"), Reason::Approximated);
            let told = text.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("error:"));
            if !told && !text.starts_with("<tool_use_error>") {
                text.insert_str(0, "Error: ");
            }
        }
        text
    }

    /// Appends what the part is in this language, or reports that it is nothing.
    fn content(&self, part: &'r Part<'a>, said: &mut Vec<Content<'r>>, loss: &mut Loss) {
        match &part.kind {
            PartKind::Text { text, .. } if text.is_empty() => {}
            PartKind::Text { text, .. } | PartKind::Refusal { text } => {
                said.push(Content::Text(Cow::Borrowed(text)));
            }
            PartKind::Image(media) => self.image(part.place, media, said, loss),
            PartKind::Document(media) => self.document(part.place, media, said, loss),
            PartKind::Audio(media) => match audio(media) {
                Ok(content) => said.push(content),
                Err(reason) => loss.push(part.place, reason),
            },
            PartKind::Opaque { raw, .. } if self.is_own() => said.push(Content::Raw(raw)),
            PartKind::ToolUse { .. }
            | PartKind::ToolResult { .. }
            | PartKind::Thinking { .. }
            | PartKind::Redacted
            | PartKind::Opaque { .. } => loss.push(part.place, Reason::Unsupported),
        }
    }

    fn is_own(&self) -> bool {
        self.request.from == Dialect::OpenAiChat
    }

    /// Whether a file id of the client's is known to the vendor of this language.
    fn knows_files(&self) -> bool {
        matches!(self.request.from, Dialect::OpenAiChat | Dialect::OpenAiResponses)
    }

    fn image(
        &self,
        place: Place,
        media: &'r Media<'a>,
        said: &mut Vec<Content<'r>>,
        loss: &mut Loss,
    ) {
        let url = match &media.source {
            Source::Base64 { media_type, data } => {
                Cow::Owned(format!("data:{media_type};base64,{data}"))
            }
            Source::Url { url, .. } => Cow::Borrowed(url.as_ref()),
            Source::File { .. } if self.knows_files() => {
                loss.push(place, Reason::Unsupported);
                return;
            }
            Source::File { .. } => {
                loss.push(place, Reason::Foreign);
                return;
            }
            Source::Text { .. } | Source::Parts(_) => {
                loss.push(place, Reason::Unsupported);
                return;
            }
        };
        said.push(Content::Image { url, detail: media.detail.as_deref() });
    }

    fn document(
        &self,
        place: Place,
        media: &'r Media<'a>,
        said: &mut Vec<Content<'r>>,
        loss: &mut Loss,
    ) {
        if media.context.is_some() {
            loss.push(place.key("context"), Reason::Unsupported);
        }
        if media.citations {
            loss.push(place.key("citations"), Reason::Unsupported);
        }
        let name = media.name.as_deref();
        match &media.source {
            Source::Base64 { media_type, data } => {
                let data = Some(format!("data:{media_type};base64,{data}"));
                let name =
                    name.or(Some("document.pdf").filter(|_| media_type == "application/pdf"));
                said.push(Content::File { name: name.or(Some("document")), data, id: None });
            }
            Source::File { id } if self.knows_files() => {
                said.push(Content::File { name, data: None, id: Some(id) });
            }
            Source::File { .. } => loss.push(place, Reason::Foreign),
            Source::Url { .. } => loss.push(place, Reason::Unsupported),
            Source::Text { text } => {
                loss.push(place, Reason::Approximated);
                said.push(Content::Text(match name {
                    Some(name) => Cow::Owned(format!("{name}\n\n{text}")),
                    None => Cow::Borrowed(text),
                }));
            }
            Source::Parts(parts) => {
                loss.push(place, Reason::Approximated);
                if let Some(name) = name {
                    said.push(Content::Text(Cow::Borrowed(name)));
                }
                for part in parts {
                    self.content(part, said, loss);
                }
            }
        }
    }

    fn assistant(&self, list: &mut Array<'_>, turn: &Turn<'_>, loss: &mut Loss) {
        let mut answer = Answer::default();
        for part in &turn.parts {
            self.report_marks(part, loss);
            self.answer_part(&mut answer, part, loss);
        }
        if answer.is_empty() {
            return;
        }
        let mut message = list.object();
        message.text("role", "assistant");
        self.name(&mut message, turn, loss);
        if answer.text.is_empty() {
            message.null("content");
        } else {
            message.text("content", &answer.text);
        }
        if !answer.refusal.is_empty() {
            message.text("refusal", &answer.refusal);
        }
        if let Some(field) = self.manner.reasoning_field {
            // DeepSeek refuses a call without the thought before it; an empty one will do.
            let wanted = field == "reasoning_content" && !answer.calls.is_empty();
            if wanted || !answer.thought.is_empty() {
                message.text(field, &answer.thought);
            }
        }
        if !answer.calls.is_empty() {
            let mut calls = message.array("tool_calls");
            for call in &answer.calls {
                call.write(&mut calls);
            }
            calls.end();
        }
        message.end();
    }

    fn answer_part<'t>(&self, answer: &mut Answer<'t>, part: &'t Part<'_>, loss: &mut Loss) {
        match &part.kind {
            PartKind::Text { text, citations } => {
                if citations.is_some() && !self.is_own() {
                    loss.push(part.place.key("citations"), Reason::Unsupported);
                }
                answer.say(text);
                return;
            }
            PartKind::Refusal { text } => answer.refusal.push_str(text),
            PartKind::Thinking { text } if self.manner.reasoning_field.is_some() => {
                if !answer.thought.is_empty() {
                    answer.thought.push_str("\n\n");
                }
                answer.thought.push_str(text);
                if part.seal.is_some() {
                    loss.push(part.place.key("signature"), Reason::Foreign);
                }
            }
            PartKind::Redacted => loss.push(part.place, Reason::Foreign),
            PartKind::ToolUse { id, name, arguments } => {
                answer.calls.push(Call::Function { id, name, arguments });
            }
            PartKind::Opaque { raw, .. } if self.is_own() => answer.calls.push(Call::Raw(raw)),
            PartKind::Thinking { .. }
            | PartKind::Image(_)
            | PartKind::Document(_)
            | PartKind::Audio(_)
            | PartKind::ToolResult { .. }
            | PartKind::Opaque { .. } => loss.push(part.place, Reason::Unsupported),
        }
        answer.parted = true;
    }
}

/// An assistant message being gathered.
#[derive(Default)]
struct Answer<'p> {
    text: String,
    /// Whether something else came since the last text.
    parted: bool,
    refusal: String,
    thought: String,
    calls: Vec<Call<'p>>,
}

enum Call<'p> {
    Function { id: &'p str, name: &'p str, arguments: &'p str },
    Raw(&'p str),
}

impl Answer<'_> {
    fn say(&mut self, text: &str) {
        if self.parted && !self.text.is_empty() && !text.is_empty() {
            self.text.push_str("\n\n");
        }
        self.text.push_str(text);
        self.parted = false;
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.refusal.is_empty() && self.calls.is_empty()
    }
}

impl Call<'_> {
    fn write(&self, list: &mut Array<'_>) {
        match self {
            Self::Function { id, name, arguments } => {
                let mut object = list.object();
                object.text("id", &call_id(id)).text("type", "function");
                let mut function = object.object("function");
                let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
                function.text("name", name).text("arguments", arguments);
                function.end();
                object.end();
            }
            Self::Raw(raw) => {
                list.raw(raw);
            }
        }
    }
}

impl Content<'_> {
    fn write(&self, list: &mut Array<'_>) {
        if let Self::Raw(raw) = self {
            list.raw(raw);
            return;
        }
        let mut part = list.object();
        match self {
            Self::Text(text) => {
                part.text("type", "text").text("text", text);
            }
            Self::Image { url, detail } => {
                let mut image = part.text("type", "image_url").object("image_url");
                image.text("url", url);
                if let Some(detail) = detail {
                    image.text("detail", detail);
                }
                image.end();
            }
            Self::File { name, data, id } => {
                let mut file = part.text("type", "file").object("file");
                if let Some(name) = name {
                    file.text("filename", name);
                }
                if let Some(data) = data {
                    file.text("file_data", data);
                }
                if let Some(id) = id {
                    file.text("file_id", id);
                }
                file.end();
            }
            Self::Audio { data, format } => {
                let mut audio = part.text("type", "input_audio").object("input_audio");
                audio.text("data", data).text("format", format);
                audio.end();
            }
            Self::Raw(_) => {}
        }
        part.end();
    }
}

fn audio<'p>(media: &'p Media<'_>) -> Result<Content<'p>, Reason> {
    let Source::Base64 { media_type, data } = &media.source else {
        return Err(Reason::Unsupported);
    };
    let format = match media_type.strip_prefix("audio/") {
        Some("wav" | "x-wav" | "wave") => "wav",
        Some("mp3" | "mpeg") => "mp3",
        Some("flac") => "flac",
        Some("ogg" | "opus") => "opus",
        _ => return Err(Reason::Value),
    };
    Ok(Content::Audio { data, format })
}

/// The id as OpenAI takes it: a longer one is spelled anew, always in the same way, so that call
/// and result still meet.
fn call_id(id: &str) -> Cow<'_, str> {
    if id.len() <= CALL_ID_MAX {
        return Cow::Borrowed(id);
    }
    let digest = blake3::hash(id.as_bytes()).to_hex();
    Cow::Owned(format!("call_{}", digest.as_str().get(..32).unwrap_or("")))
}
