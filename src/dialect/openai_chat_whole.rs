//! OpenAI Chat Completions answers, written whole.
//!
//! In: a folded message. Out: one completion that equals what a stream of it adds up to.
//! Never: an array as `content`, which the SDKs do not read in an answer.

use super::Reply;
use super::citations;
use super::openai_chat_response_out::{Text, call_id, finish_reason, write_head, write_usage};
use super::reasoning_details;
use crate::chat::{Block, Folded, FoldedBlock, StopReason};
use crate::wire::json_read;
use crate::wire::json_write::Object;
use std::borrow::Cow;

pub(super) fn encode_message(message: &Folded, reply: &Reply, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    write_head(&mut object, "chat.completion", &message.id, &message.model, reply);
    let mut choices = object.array("choices");
    let mut choice = choices.object();
    let whole = Whole::gather(&message.blocks, reply);
    choice.unsigned("index", 0);
    whole.write(choice.object("message"));
    write_logprobs(&mut choice, &message.blocks);
    let stop = message.stop.as_ref();
    let reason = stop.map_or(StopReason::EndTurn, |stop| stop.reason);
    choice.text("finish_reason", finish_reason(reason, !whole.refusal.is_empty()));
    if let Some(sequence) = stop.and_then(|stop| stop.sequence.as_deref()) {
        choice.text("stop_reason", sequence);
    }
    choice.end();
    choices.end();
    write_usage(out, &message.usage);
    out.push(b'}');
}

/// A whole answer in this language's terms.
#[derive(Default)]
struct Whole<'m> {
    content: String,
    text: Text,
    thought: String,
    details: Vec<u8>,
    entries: u64,
    refusal: String,
    calls: Vec<(Cow<'m, str>, &'m str, &'m str)>,
    annotations: Vec<u8>,
}

impl<'m> Whole<'m> {
    fn gather(blocks: &'m [FoldedBlock], reply: &Reply) -> Self {
        let mut whole = Self::default();
        for block in blocks {
            whole.push(block, reply);
            whole.text.parted |= block.block != Block::Text;
        }
        whole
    }

    fn push(&mut self, block: &'m FoldedBlock, reply: &Reply) {
        match &block.block {
            Block::Text => {
                if !block.text.is_empty() {
                    self.content.push_str(self.text.joint());
                }
                let start = self.text.length;
                self.content.push_str(&block.text);
                self.text.say(&block.text);
                for page in block.citations.iter().filter_map(|raw| citations::page_of(raw)) {
                    let range = (start, self.text.length);
                    comma(&mut self.annotations);
                    citations::to_openai_chat(&page, range, None, &mut self.annotations);
                }
            }
            Block::Thinking => {
                self.thought.push_str(&block.text);
                if !block.text.is_empty() || block.seal.is_some() {
                    let text = Some(block.text.as_str()).filter(|text| !text.is_empty());
                    let (seal, index) = (block.seal.as_ref(), self.entry());
                    reasoning_details::write_text(text, seal, index, &mut self.details);
                }
            }
            Block::Redacted(seal) => {
                let index = self.entry();
                reasoning_details::write_encrypted(seal, None, index, &mut self.details);
            }
            Block::Refusal => self.refusal.push_str(&block.text),
            Block::ToolUse { id, name } => {
                let number = u64::try_from(self.calls.len()).unwrap_or(0);
                let id = call_id(id, reply, number);
                if let Some(seal) = &block.seal {
                    let index = self.entry();
                    reasoning_details::write_encrypted(seal, Some(&id), index, &mut self.details);
                }
                self.calls.push((id, name.as_ref(), block.arguments()));
            }
            Block::Opaque { .. } => {}
        }
    }

    /// Begins an entry of the details; gives its index.
    fn entry(&mut self) -> u64 {
        comma(&mut self.details);
        self.entries += 1;
        self.entries - 1
    }

    fn write(&self, mut message: Object<'_>) {
        message.text("role", "assistant");
        let silent = !self.calls.is_empty() || !self.refusal.is_empty();
        if self.content.is_empty() && silent {
            message.null("content");
        } else {
            message.text("content", &self.content);
        }
        if self.refusal.is_empty() {
            message.null("refusal");
        } else {
            message.text("refusal", &self.refusal);
        }
        if !self.thought.is_empty() {
            message.text("reasoning_content", &self.thought);
        }
        write_list(&mut message, "reasoning_details", &self.details);
        write_list(&mut message, "annotations", &self.annotations);
        if !self.calls.is_empty() {
            let mut calls = message.array("tool_calls");
            for (id, name, arguments) in &self.calls {
                let mut call = calls.object();
                call.text("id", id).text("type", "function");
                let mut function = call.object("function");
                function.text("name", name).text("arguments", arguments);
                function.end();
                call.end();
            }
            calls.end();
        }
        message.end();
    }
}

fn comma(list: &mut Vec<u8>) {
    if !list.is_empty() {
        list.push(b',');
    }
}

fn write_list(object: &mut Object<'_>, name: &str, elements: &[u8]) {
    if !elements.is_empty() {
        let out = object.key(name);
        out.push(b'[');
        out.extend_from_slice(elements);
        out.push(b']');
    }
}

/// Writes the log-probabilities of all blocks, which are raw arrays, joined.
fn write_logprobs(choice: &mut Object<'_>, blocks: &[FoldedBlock]) {
    if blocks.iter().all(|block| block.logprobs.is_empty()) {
        choice.null("logprobs");
        return;
    }
    let mut object = choice.object("logprobs");
    for (name, refusal) in [("content", false), ("refusal", true)] {
        let of_kind = |block: &&FoldedBlock| (block.block == Block::Refusal) == refusal;
        let mut arrays = blocks.iter().filter(of_kind).flat_map(|block| &block.logprobs).peekable();
        if arrays.peek().is_none() {
            object.null(name);
            continue;
        }
        let mut list = object.array(name);
        for item in arrays.flat_map(|raw| json_read::items(raw)) {
            list.raw(item);
        }
        list.end();
    }
    object.end();
}
