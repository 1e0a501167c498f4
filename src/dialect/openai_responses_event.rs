//! The pieces of OpenAI Responses answers, read: one event's members, seals, token counts.
//!
//! In: the JSON of an event or a usage object, the text of a seal. Out: borrowed members, a
//! [`Seal`], a [`Usage`]. Never: remembers anything; that is the decoder's.

use super::openai_responses_tracked::List;
use super::seal;
use crate::chat::{Dialect, Seal, Usage};
use crate::wire::frames::Frame;
use crate::wire::json_read;
use std::borrow::Cow;

/// The members of an event that the decoder looks at.
#[derive(Default)]
pub(super) struct Said<'a> {
    pub(super) kind: Cow<'a, str>,
    pub(super) output_index: Option<u64>,
    pub(super) item_id: Cow<'a, str>,
    pub(super) content_index: Option<u64>,
    pub(super) summary_index: Option<u64>,
    pub(super) delta: Option<&'a str>,
    pub(super) whole: Option<&'a str>,
    pub(super) item: Option<&'a str>,
    pub(super) part: Option<&'a str>,
    pub(super) response: Option<&'a str>,
    pub(super) annotation: Option<&'a str>,
    pub(super) logprobs: Option<&'a str>,
    pub(super) error: bool,
}

impl<'a> Said<'a> {
    pub(super) fn read(frame: Frame<'a>) -> Self {
        let mut said = Self::default();
        for (name, raw) in json_read::fields(frame.data) {
            match name.as_ref() {
                "type" => said.kind = json_read::text(raw).unwrap_or_default(),
                "output_index" => said.output_index = json_read::unsigned(raw),
                "item_id" => said.item_id = json_read::text(raw).unwrap_or_default(),
                "content_index" => said.content_index = json_read::unsigned(raw),
                "summary_index" => said.summary_index = json_read::unsigned(raw),
                "delta" => said.delta = Some(raw),
                "text" | "refusal" | "arguments" => said.whole = Some(raw),
                "item" => said.item = Some(raw),
                "part" => said.part = Some(raw),
                "response" => said.response = Some(raw),
                "annotation" => said.annotation = Some(raw),
                "logprobs" => said.logprobs = Some(raw),
                "error" => said.error = !json_read::is_null(raw),
                _ => {}
            }
        }
        if said.kind.is_empty() {
            said.kind = Cow::Borrowed(frame.name.unwrap_or_default());
        }
        said
    }

    pub(super) fn delta(&self) -> Cow<'a, str> {
        self.delta.and_then(json_read::text).unwrap_or_default()
    }

    pub(super) fn whole(&self) -> Cow<'a, str> {
        self.whole.and_then(json_read::text).unwrap_or_default()
    }
}

/// Which list and index an event's name and members speak of.
pub(super) fn place_of(kind: &str, said: &Said<'_>) -> Option<(List, u64)> {
    let name = kind.strip_prefix("response.")?;
    let name = name.strip_suffix(".delta").or_else(|| name.strip_suffix(".done"))?;
    let content = said.content_index.unwrap_or(0);
    match name {
        "output_text" => Some((List::Text, content)),
        "refusal" => Some((List::Refusal, content)),
        "reasoning_summary_text" => Some((List::Summary, said.summary_index.unwrap_or(0))),
        "reasoning_text" => Some((List::Reasoning, content)),
        "function_call_arguments" => Some((List::Call, 0)),
        _ => None,
    }
}

/// What `encrypted_content` of the reasoning item `id` holds, and whether it belongs to the item
/// before: the seal of a call or a text, which have no place for it.
pub(super) fn sealed<'a>(content: Cow<'a, str>, id: Option<Cow<'a, str>>) -> (Seal<'a>, bool) {
    let (mut seal, attached) = seal::unpack(content, Dialect::OpenAiResponses);
    if seal.dialect == Dialect::OpenAiResponses && seal.id.is_none() {
        seal.id = id;
    }
    (seal, attached)
}

/// Token counts: input contains what was read from the cache or written to it.
pub(super) fn usage(raw: &str) -> Usage {
    let count = |raw: &str, name: &str| json_read::field(raw, name).and_then(json_read::unsigned);
    let either = |one: &str, other: &str| count(raw, one).or_else(|| count(raw, other));
    let details = |one: &str, other: &str| {
        json_read::field(raw, one).or_else(|| json_read::field(raw, other)).unwrap_or_default()
    };
    let of_input = details("input_tokens_details", "prompt_tokens_details");
    let of_output = details("output_tokens_details", "completion_tokens_details");
    let cache_read = count(of_input, "cached_tokens");
    let cache_write = count(of_input, "cache_write_tokens");
    let cached = cache_read.unwrap_or(0).saturating_add(cache_write.unwrap_or(0));
    // A server whose input does not contain them is told by counts that do not fit.
    let input = either("input_tokens", "prompt_tokens")
        .map(|input| input.checked_sub(cached).unwrap_or(input));
    Usage {
        input,
        output: either("output_tokens", "completion_tokens"),
        reasoning: count(of_output, "reasoning_tokens"),
        cache_read,
        cache_write,
        input_audio: count(of_input, "audio_tokens"),
        output_audio: count(of_output, "audio_tokens"),
        ..Usage::default()
    }
}
