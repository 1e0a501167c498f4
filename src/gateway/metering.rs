//! Usage that a limit has to know and the client did not ask for: OpenAI Chat streams tell it only
//! on request.
//!
//! In: the body of a streamed request; later its frames. Out: the `stream_options` to send in the
//! place of the client's, and whether a frame is the one that was added by that. Never: shows the
//! client a frame that it did not ask for.

use super::ingress::Ask;
use crate::wire::json_read;
use crate::wire::json_write::Object;

/// The `stream_options` that ask for usage; `None` where the client's own do.
pub fn stream_options(ask: &Ask, body: &[u8]) -> Option<Vec<u8>> {
    let own = ask.spans.stream_options.and_then(|span| std::str::from_utf8(span.of(body)).ok());
    let own = own.unwrap_or_default();
    if json_read::field(own, "include_usage").and_then(json_read::boolean) == Some(true) {
        return None;
    }
    let mut out = Vec::with_capacity(24 + own.len());
    let mut object = Object::begin(&mut out);
    for (name, value) in json_read::fields(own).filter(|(name, _)| name != "include_usage") {
        object.raw(&name, value);
    }
    object.boolean("include_usage", true);
    object.end();
    Some(out)
}

/// The chunk that holds usage and nothing else.
pub fn is_usage_alone(data: &str) -> bool {
    let empty = |raw: &str| json_read::is_array(raw) && json_read::items(raw).next().is_none();
    memchr::memmem::find(data.as_bytes(), b"\"usage\"").is_some()
        && json_read::field(data, "choices").is_some_and(empty)
        && json_read::field(data, "usage").is_some_and(json_read::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_added_chunk_is_kept_back() {
        assert!(is_usage_alone(r#"{"id":"c","choices":[ ],"usage":{"prompt_tokens":3}}"#));
        assert!(!is_usage_alone(r#"{"choices":[{"index":0}],"usage":{"prompt_tokens":3}}"#));
        assert!(!is_usage_alone(r#"{"choices":[],"usage":null,"prompt_filter_results":[]}"#));
        assert!(!is_usage_alone("[DONE]"));
    }
}
