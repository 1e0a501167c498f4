//! Token counts as OpenAI Chat and its followers tell them.
//!
//! In: a raw `usage` object. Out: the hub's counts. Never: counts a token twice: prompt tokens
//! here include the cache, and with some followers reasoning stands beside the answer.

use crate::chat::{Raw, Usage};
use crate::wire::json_read;

/// The counts of a `usage` object, whose prompt tokens include the cache.
pub(super) fn usage_of(raw: Raw<'_>) -> Usage {
    let (mut usage, mut prompt, mut total) = (Usage::default(), None, None);
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "prompt_tokens" => prompt = json_read::unsigned(value),
            "total_tokens" => total = json_read::unsigned(value),
            "completion_tokens" => usage.output = json_read::unsigned(value),
            "prompt_tokens_details" => {
                for (name, value) in json_read::fields(value) {
                    match name.as_ref() {
                        "cached_tokens" => usage.cache_read = json_read::unsigned(value),
                        "cache_write_tokens" | "cache_creation_tokens" => {
                            usage.cache_write = json_read::unsigned(value);
                        }
                        "audio_tokens" => usage.input_audio = json_read::unsigned(value),
                        _ => {}
                    }
                }
            }
            "completion_tokens_details" => {
                for (name, value) in json_read::fields(value) {
                    match name.as_ref() {
                        "reasoning_tokens" => usage.reasoning = json_read::unsigned(value),
                        "audio_tokens" => usage.output_audio = json_read::unsigned(value),
                        _ => {}
                    }
                }
            }
            // DeepSeek
            "prompt_cache_hit_tokens" => {
                usage.cache_read = usage.cache_read.or(json_read::unsigned(value));
            }
            // Gateways in front of Claude
            "cache_creation_input_tokens" => {
                usage.cache_write = usage.cache_write.or(json_read::unsigned(value));
            }
            _ => {}
        }
    }
    // xAI counts reasoning beside the answer's tokens; only the total tells.
    let (output, reasoning) = (usage.output.unwrap_or(0), usage.reasoning.unwrap_or(0));
    if reasoning > 0 && total == Some(prompt.unwrap_or(0) + output + reasoning) {
        usage.output = Some(output + reasoning);
    }
    let cached = usage.cache_read.unwrap_or(0) + usage.cache_write.unwrap_or(0);
    usage.input = prompt.map(|prompt| prompt.saturating_sub(cached));
    usage
}
