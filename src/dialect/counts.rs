//! Token counts of answers that are no conversation: embeddings, images, transcriptions, reranks.
//!
//! In: a whole answer, or one event of a stream, as JSON of any vendor. Out: the hub's counts.
//! Never: reads further than the counts.

use crate::chat::Usage;
use crate::wire::json_read::{field, is_object, unsigned};

/// The counts that an answer tells; empty where it tells none.
pub fn counts_of(body: &str) -> Usage {
    let usage = ["usage", "usageMetadata", "meta"];
    let nested = || field(field(body, "response")?, "usage");
    let told = usage.iter().find_map(|name| field(body, name)).or_else(nested);
    let Some(told) = told.filter(|told| is_object(told)) else {
        let input = field(body, "inputTextTokenCount").and_then(unsigned);
        return Usage { input, ..Usage::default() };
    };
    let told = ["billed_units", "tokens"].iter().find_map(|name| field(told, name)).unwrap_or(told);
    let count = |names: &[&str]| names.iter().find_map(|name| unsigned(field(told, name)?));
    let input = count(&["prompt_tokens", "input_tokens", "promptTokenCount"]);
    let details = ["prompt_tokens_details", "input_tokens_details", "input_token_details"];
    let detail = |name: &str| {
        let of = |details: &&str| unsigned(field(field(told, details)?, name)?);
        details.iter().find_map(of)
    };
    let cached = detail("cached_tokens");
    Usage {
        input: input.map(|input| input.saturating_sub(cached.unwrap_or(0))),
        cache_read: cached,
        input_audio: detail("audio_tokens"),
        output: count(&["completion_tokens", "output_tokens", "candidatesTokenCount"]),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::counts_of;

    #[test]
    fn every_vendors_counts_are_found() {
        let counts = |body: &str| {
            let usage = counts_of(body);
            (usage.input, usage.output)
        };
        assert_eq!(counts(r#"{"usage":{"prompt_tokens":5,"total_tokens":5}}"#), (Some(5), None));
        let image = r#"{"created":1,"usage":{"input_tokens":9,"output_tokens":400}}"#;
        assert_eq!(counts(image), (Some(9), Some(400)));
        let rerank = r#"{"results":[],"meta":{"billed_units":{"search_units":1}}}"#;
        assert_eq!(counts(rerank), (None, None));
        let cohere = r#"{"meta":{"billed_units":{"input_tokens":3}}}"#;
        assert_eq!(counts(cohere), (Some(3), None));
        assert_eq!(counts(r#"{"embedding":[],"inputTextTokenCount":7}"#), (Some(7), None));
        assert_eq!(
            counts(r#"{"text":"hi","usage":{"type":"duration","seconds":3}}"#),
            (None, None)
        );
        assert_eq!(counts("{}"), (None, None));
    }
}
