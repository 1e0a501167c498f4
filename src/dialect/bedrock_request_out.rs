//! Converse requests, written: system prompt and messages.
//!
//! In: a [`Request`]. Out: the body of `Converse` or `ConverseStream`; the model goes into the
//! path. Parameters and tools are written in `bedrock_parameters`.
//! Never: sends what Converse is known to refuse: blank text, a document without text beside it,
//! two document names alike, two messages of one role in a row, unsigned reasoning.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>

use super::bedrock_family::Family;
use super::bedrock_media as media;
use super::bedrock_media::Titles;
use super::bedrock_parameters as parameters;
use super::bedrock_request::is_json_object;
use super::{Malformed, Manner};
use crate::chat::{CacheHint, Dialect, Loss, Part, PartKind, Place, Reason, Request, Role, Seal};
use crate::wire::json_write::{Array, Object};
use std::borrow::Cow;

pub(super) fn encode(
    request: &Request<'_>,
    manner: &Manner,
    out: &mut Vec<u8>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    let family = Family::of(&request.model);
    let mut object = Object::begin(out);
    let mut writer = Writer { request, family, loss, titles: Titles::default() };
    let messages = writer.messages();
    let only_system = messages.is_empty();
    if only_system {
        writer.only_system(object.array("messages"))?;
    } else {
        let mut list = object.array("messages");
        for message in &messages {
            writer.message(message, &mut list)?;
        }
        list.end();
        writer.system(&mut object);
    }
    parameters::encode(request, family, manner, &mut object, loss);
    object.end();
    Ok(())
}

/// Turns of one role in a row, which Converse wants as one message.
struct Message<'r, 'a> {
    role: Role,
    parts: Vec<Said<'r, 'a>>,
}

/// A part, and whether it is an instruction in the middle of the conversation.
#[derive(Clone, Copy)]
struct Said<'r, 'a> {
    part: &'r Part<'a>,
    reminder: bool,
}

struct Writer<'w, 'r, 'a> {
    request: &'r Request<'a>,
    family: Family,
    loss: &'w mut Loss,
    /// Names given to documents, which have to differ.
    titles: Titles,
}

impl<'r, 'a> Writer<'_, 'r, 'a> {
    fn messages(&mut self) -> Vec<Message<'r, 'a>> {
        let mut messages: Vec<Message<'r, 'a>> = Vec::new();
        for turn in &self.request.turns {
            let reminder = turn.role == Role::System;
            let role = if reminder { Role::User } else { turn.role };
            if turn.name.is_some() {
                self.loss.push(turn.place.key("name"), Reason::Unsupported);
            }
            for part in &turn.parts {
                if !self.can_say(part) {
                    continue;
                }
                if reminder {
                    self.loss.push(part.place, Reason::Approximated);
                }
                let said = Said { part, reminder };
                match messages.last_mut() {
                    Some(last) if last.role == role => last.parts.push(said),
                    _ => messages.push(Message { role, parts: vec![said] }),
                }
            }
        }
        for message in &mut messages {
            // Claude wants the results of its calls before anything else is said.
            let result =
                |said: &Said<'_, '_>| matches!(said.part.kind, PartKind::ToolResult { .. });
            message.parts.sort_by_key(|said| !result(said));
        }
        messages
    }

    /// Whether anything of the part goes upstream; if not, says so.
    fn can_say(&mut self, part: &Part<'_>) -> bool {
        let reasoning = matches!(part.kind, PartKind::Thinking { .. } | PartKind::Redacted);
        if reasoning {
            let own = part.seal.as_ref().is_some_and(|seal| self.is_own(seal));
            if !own {
                self.loss.push(part.place, Reason::Foreign);
            }
            return own;
        }
        if part.seal.is_some() {
            self.loss.push(part.place, Reason::Foreign);
        }
        match &part.kind {
            PartKind::Text { text, .. } | PartKind::Refusal { text } => !text.trim().is_empty(),
            PartKind::Opaque { .. } if self.request.from != Dialect::Bedrock => {
                self.loss.push(part.place, Reason::Unsupported);
                false
            }
            _ => true,
        }
    }

    /// Claude's signatures are the same on Bedrock and on Anthropic's own API.
    fn is_own(&self, seal: &Seal<'_>) -> bool {
        matches!(seal.dialect, Dialect::Anthropic | Dialect::Bedrock) && self.family.is_claude()
    }

    fn system(&mut self, object: &mut Object<'_>) {
        let parts: Vec<_> = self.request.system.iter().filter(|part| self.can_say(part)).collect();
        if parts.is_empty() {
            return;
        }
        let mut list = object.array("system");
        for part in parts {
            if let PartKind::Text { text, .. } | PartKind::Refusal { text } = &part.kind {
                let mut block = list.object();
                block.text("text", text);
                block.end();
                self.cache_point(&mut list, part.place, part.cache.as_ref());
            } else {
                self.loss.push(part.place, Reason::Unsupported);
            }
        }
        list.end();
    }

    /// A conversation of nothing but instructions: they are what the user says.
    fn only_system(&mut self, mut list: Array<'_>) -> Result<(), Malformed> {
        let parts: Vec<_> = self.request.system.iter().filter(|part| self.can_say(part)).collect();
        if parts.is_empty() {
            return Err(Malformed::at("messages", "nothing is left to say to the model"));
        }
        self.loss.push(self.request.names.system, Reason::Approximated);
        let parts = parts.into_iter().map(|part| Said { part, reminder: false }).collect();
        self.message(&Message { role: Role::User, parts }, &mut list)?;
        list.end();
        Ok(())
    }

    fn message(
        &mut self,
        message: &Message<'_, '_>,
        list: &mut Array<'_>,
    ) -> Result<(), Malformed> {
        let mut object = list.object();
        object.text("role", if message.role == Role::Assistant { "assistant" } else { "user" });
        let mut blocks = object.array("content");
        for said in &message.parts {
            if said.reminder {
                self.reminder(said.part, &mut blocks)?;
            } else {
                self.block(said.part, &mut blocks)?;
            }
            self.cache_point(&mut blocks, said.part.place, said.part.cache.as_ref());
        }
        let any = |is: fn(&PartKind<'_>) -> bool| message.parts.iter().any(|s| is(&s.part.kind));
        if any(|kind| matches!(kind, PartKind::Document(_)))
            && !any(|kind| matches!(kind, PartKind::Text { .. }))
        {
            text_block(&mut blocks, ".");
        }
        blocks.end();
        object.end();
        Ok(())
    }

    /// Only the newest models take a message of the system's; every model understands this.
    fn reminder(&mut self, part: &Part<'_>, blocks: &mut Array<'_>) -> Result<(), Malformed> {
        let PartKind::Text { text, .. } = &part.kind else {
            return self.block(part, blocks);
        };
        text_block(blocks, &format!("<system-reminder>\n{text}\n</system-reminder>"));
        Ok(())
    }

    fn block(&mut self, part: &Part<'_>, blocks: &mut Array<'_>) -> Result<(), Malformed> {
        let place = part.place;
        match &part.kind {
            PartKind::Text { text, citations: Some(raw) }
                if self.request.from == Dialect::Bedrock =>
            {
                let mut block = blocks.object();
                let mut content = block.object("citationsContent");
                let mut pieces = content.array("content");
                text_block(&mut pieces, text);
                pieces.end();
                content.raw("citations", raw);
                content.end();
                block.end();
            }
            PartKind::Text { text, citations } => {
                if citations.is_some() {
                    self.loss.push(place.key("citations"), Reason::Unsupported);
                }
                text_block(blocks, text);
            }
            PartKind::Refusal { text } => {
                self.loss.push(place, Reason::Approximated);
                text_block(blocks, text);
            }
            PartKind::Image(media) => media::image(place, media, blocks, self.loss)?,
            PartKind::Audio(media) => media::audio(place, media, blocks)?,
            PartKind::Document(media) => {
                media::document(place, media, &mut self.titles, blocks, self.loss)?;
            }
            PartKind::ToolUse { id, name, arguments } => {
                let mut block = blocks.object();
                let mut call = block.object("toolUse");
                call.text("toolUseId", &tool_id(id)).text("name", name);
                self.arguments(place, arguments, call.key("input"));
                call.end();
                block.end();
            }
            PartKind::ToolResult { id, is_error, content, .. } => {
                self.tool_result(id, *is_error, content, blocks)?;
            }
            PartKind::Thinking { text } => {
                let mut block = blocks.object();
                let mut reasoning = block.object("reasoningContent");
                let mut inner = reasoning.object("reasoningText");
                inner.text("text", text);
                if let Some(seal) = &part.seal {
                    inner.text("signature", &seal.data);
                }
                inner.end();
                reasoning.end();
                block.end();
            }
            PartKind::Redacted => {
                let mut block = blocks.object();
                let mut reasoning = block.object("reasoningContent");
                if let Some(seal) = &part.seal {
                    reasoning.text("redactedContent", &seal.data);
                }
                reasoning.end();
                block.end();
            }
            PartKind::Opaque { raw, .. } => {
                blocks.raw(raw);
            }
        }
        Ok(())
    }

    /// Converse takes nothing but an object here.
    fn arguments(&mut self, place: Place, arguments: &str, out: &mut Vec<u8>) {
        if is_json_object(arguments) {
            out.extend_from_slice(arguments.trim().as_bytes());
        } else if matches!(arguments.trim(), "" | "null") {
            out.extend_from_slice(b"{}");
        } else {
            self.loss.push(place, Reason::Approximated);
            let mut object = Object::begin(out);
            object.text("arguments", arguments);
            object.end();
        }
    }

    fn tool_result(
        &mut self,
        id: &str,
        is_error: bool,
        content: &[Part<'_>],
        blocks: &mut Array<'_>,
    ) -> Result<(), Malformed> {
        let mut block = blocks.object();
        let mut result = block.object("toolResult");
        result.text("toolUseId", &tool_id(id));
        let mut pieces = result.array("content");
        let mut cache = None;
        for part in content {
            if !self.can_say(part) {
                continue;
            }
            cache = cache.or(part.cache.as_ref().map(|hint| (part.place, hint)));
            match &part.kind {
                PartKind::ToolUse { .. }
                | PartKind::ToolResult { .. }
                | PartKind::Thinking { .. }
                | PartKind::Redacted
                | PartKind::Audio(_) => self.loss.push(part.place, Reason::Unsupported),
                _ => self.block(part, &mut pieces)?,
            }
        }
        pieces.end();
        if is_error {
            result.text("status", "error");
        }
        result.end();
        block.end();
        // A cache point cannot stand inside a result; behind it, it covers the same prefix.
        if let Some((place, hint)) = cache {
            self.cache_point(blocks, place, Some(hint));
        }
        Ok(())
    }

    fn cache_point(&mut self, list: &mut Array<'_>, place: Place, hint: Option<&CacheHint<'_>>) {
        let Some(hint) = hint else { return };
        if self.family.caches() {
            cache_point(list, hint);
        } else {
            self.loss.push(place.key("cache_control"), Reason::Unsupported);
        }
    }
}

pub(super) fn text_block(list: &mut Array<'_>, text: &str) {
    let mut block = list.object();
    block.text("text", text);
    block.end();
}

pub(super) fn cache_point(list: &mut Array<'_>, hint: &CacheHint<'_>) {
    let mut block = list.object();
    let mut point = block.object("cachePoint");
    point.text("type", "default");
    if let Some(ttl) = &hint.ttl {
        point.text("ttl", ttl);
    }
    point.end();
    block.end();
}

/// A call's id in the characters and the length that Converse allows, the same for equal ids.
pub(super) fn tool_id(id: &str) -> Cow<'_, str> {
    const MAX: usize = 64;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    if (1..=MAX).contains(&id.len()) && id.bytes().all(allowed) {
        return Cow::Borrowed(id);
    }
    let kept =
        id.bytes().take(MAX - 17).map(|byte| if allowed(byte) { char::from(byte) } else { '_' });
    let mut safe: String = kept.collect();
    safe.push('-');
    safe.extend(blake3::hash(id.as_bytes()).to_hex().chars().take(16));
    Cow::Owned(safe)
}
