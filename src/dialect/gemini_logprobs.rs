//! Log-probabilities: Gemini's `logprobsResult` and OpenAI's `content` array, each from the other.
//!
//! In: raw JSON of the one. Out: raw JSON of the other, appended. Never: invents a token; Gemini's
//! `tokenId` has no place in the other form.

use super::gemini_request::camel;
use crate::wire::json_read;
use crate::wire::json_write::{Array, Object};
use std::borrow::Cow;

/// Writes OpenAI's array from a `logprobsResult`; nothing when it names no chosen token.
pub(super) fn to_openai(result: &str, out: &mut Vec<u8>) {
    let (mut chosen, mut top) = ("[]", "[]");
    for (name, raw) in json_read::fields(result) {
        match &*camel(&name) {
            "chosenCandidates" => chosen = raw,
            "topCandidates" => top = raw,
            _ => {}
        }
    }
    let mut tops = json_read::items(top);
    let mut chosen = json_read::items(chosen).peekable();
    if chosen.peek().is_none() {
        return;
    }
    let mut array = Array::begin(out);
    for candidate in chosen {
        let mut token = array.object();
        openai_token(candidate, &mut token);
        let mut alternatives = token.array("top_logprobs");
        let listed = tops.next().and_then(|top| json_read::field(top, "candidates"));
        for candidate in json_read::items(listed.unwrap_or("[]")) {
            let mut token = alternatives.object();
            openai_token(candidate, &mut token);
            token.end();
        }
        alternatives.end();
        token.end();
    }
    array.end();
}

fn openai_token(candidate: &str, token: &mut Object<'_>) {
    let (text, logprob) = (text_of(candidate), number(candidate, "logProbability"));
    token.text("token", &text).raw("logprob", logprob);
    let mut bytes = token.array("bytes");
    for byte in text.bytes() {
        bytes.raw(itoa::Buffer::new().format(byte));
    }
    bytes.end();
}

/// Writes a `logprobsResult` from OpenAI's arrays, in order.
pub(super) fn to_gemini<'a>(arrays: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    let tokens: Vec<_> = arrays.flat_map(json_read::items).collect();
    let mut result = Object::begin(out);
    let mut chosen = result.array("chosenCandidates");
    for token in &tokens {
        gemini_token(token, &mut chosen);
    }
    chosen.end();
    let mut top = result.array("topCandidates");
    for token in &tokens {
        let mut step = top.object();
        let mut candidates = step.array("candidates");
        let listed = json_read::field(token, "top_logprobs").unwrap_or("[]");
        json_read::items(listed).for_each(|token| gemini_token(token, &mut candidates));
        candidates.end();
        step.end();
    }
    top.end();
    result.end();
}

fn gemini_token(token: &str, candidates: &mut Array<'_>) {
    let mut candidate = candidates.object();
    candidate.text("token", &text_of(token)).raw("logProbability", number(token, "logprob"));
    candidate.end();
}

fn text_of(token: &str) -> Cow<'_, str> {
    json_read::text_field(token, "token").unwrap_or_default()
}

fn number<'a>(token: &'a str, name: &str) -> &'a str {
    json_read::field(token, name).filter(|raw| raw.parse::<f64>().is_ok()).unwrap_or("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let gemini = r#"{"chosenCandidates":[{"token":"Hé","logProbability":-0.25}],"topCandidates":[{"candidates":[{"token":"Hé","logProbability":-0.25},{"token":"x","logProbability":-2}]}]}"#;
        let mut openai = Vec::new();
        to_openai(gemini, &mut openai);
        let openai = String::from_utf8(openai).unwrap();
        assert_eq!(
            openai,
            r#"[{"token":"Hé","logprob":-0.25,"bytes":[72,195,169],"top_logprobs":[{"token":"Hé","logprob":-0.25,"bytes":[72,195,169]},{"token":"x","logprob":-2,"bytes":[120]}]}]"#
        );
        let mut back = Vec::new();
        to_gemini([openai.as_str()].into_iter(), &mut back);
        assert_eq!(String::from_utf8(back).unwrap(), gemini);
    }
}
