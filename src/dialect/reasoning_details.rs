//! `reasoning_details`: how OpenAI Chat carries signed and encrypted reasoning.
//!
//! In and out: one entry of the list that OpenRouter introduced and other gateways speak:
//! `reasoning.text` with its signature, `reasoning.encrypted` with its data. `format` says whose
//! seal it is. An encrypted entry whose id is that of a tool call belongs to that call.
//! Never: shows a seal of one vendor as another's.

use crate::chat::{Dialect, Seal};
use crate::wire::json_read;
use crate::wire::json_write::Object;
use std::borrow::Cow;

#[derive(Debug)]
pub(super) enum Detail<'a> {
    /// Entries of one index are pieces of one thought.
    Text {
        text: Cow<'a, str>,
        seal: Option<Seal<'a>>,
        index: Option<u64>,
    },
    Encrypted(Seal<'a>),
}

/// Reads one entry; `None` if it holds neither text nor a seal.
pub(super) fn read(raw: &str) -> Option<Detail<'_>> {
    let (mut kind, mut text, mut format) = (Cow::Borrowed(""), None, None);
    let (mut signature, mut data, mut id, mut index) = (None, None, None, None);
    for (name, value) in json_read::fields(raw) {
        match name.as_ref() {
            "type" => kind = json_read::text(value).unwrap_or_default(),
            "text" | "summary" => text = json_read::text(value),
            "signature" => signature = json_read::text(value),
            "data" => data = json_read::text(value),
            "id" => id = json_read::text(value),
            "index" => index = json_read::unsigned(value),
            "format" => format = json_read::text(value),
            _ => {}
        }
    }
    let dialect = dialect_of(format.as_deref().unwrap_or(""));
    let sealed = |data| Seal { dialect, data, id: None };
    if kind == "reasoning.encrypted" {
        let mut seal = sealed(data.filter(|data| !data.is_empty())?);
        seal.id = id;
        return Some(Detail::Encrypted(seal));
    }
    let seal = signature.filter(|data| !data.is_empty()).map(sealed);
    let text = text.unwrap_or_default();
    (seal.is_some() || !text.is_empty()).then_some(Detail::Text { text, seal, index })
}

/// Writes an entry of reasoning in plain text; in a stream its pieces share one index.
pub(super) fn write_text(
    text: Option<&str>,
    seal: Option<&Seal<'_>>,
    index: u64,
    out: &mut Vec<u8>,
) {
    let mut object = Object::begin(out);
    object.unsigned("index", index).text("type", "reasoning.text");
    if let Some(text) = text {
        object.text("text", text);
    }
    if let Some(seal) = seal {
        object.text("signature", &seal.data).text("format", format_of(seal.dialect));
    }
    object.end();
}

/// Writes an encrypted entry. `call`: the tool call that it belongs to.
pub(super) fn write_encrypted(seal: &Seal<'_>, call: Option<&str>, index: u64, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    object.unsigned("index", index).text("type", "reasoning.encrypted");
    if let Some(id) = call.or(seal.id.as_deref()) {
        object.text("id", id);
    }
    object.text("data", &seal.data).text("format", format_of(seal.dialect));
    object.end();
}

const FORMATS: [(Dialect, &str); 5] = [
    (Dialect::Anthropic, "anthropic-claude-v1"),
    (Dialect::OpenAiResponses, "openai-responses-v1"),
    (Dialect::Gemini, "google-gemini-v1"),
    (Dialect::Bedrock, "bedrock-converse-v1"),
    (Dialect::OpenAiChat, "unknown"),
];

fn format_of(dialect: Dialect) -> &'static str {
    let found = FORMATS.iter().find(|(known, _)| *known == dialect);
    found.map_or("unknown", |(_, format)| format)
}

fn dialect_of(format: &str) -> Dialect {
    let found = FORMATS.iter().find(|(_, known)| *known == format);
    found.map_or(Dialect::OpenAiChat, |(dialect, _)| *dialect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_written() {
        for dialect in Dialect::ALL {
            let seal = Seal { dialect, data: "EqQB\"".into(), id: None };
            let mut out = Vec::new();
            write_text(Some("hm"), Some(&seal), 0, &mut out);
            let Some(Detail::Text { text, seal: read_seal, .. }) =
                read(std::str::from_utf8(&out).unwrap())
            else {
                panic!("no text")
            };
            assert_eq!((text.as_ref(), read_seal.unwrap()), ("hm", seal.clone()));
            let mut out = Vec::new();
            write_encrypted(&seal, Some("call_1"), 1, &mut out);
            let Some(Detail::Encrypted(again)) = read(std::str::from_utf8(&out).unwrap()) else {
                panic!("no seal")
            };
            assert_eq!((again.data, again.id.as_deref()), (seal.data, Some("call_1")));
        }
        assert!(read(r#"{"type":"reasoning.text","text":""}"#).is_none());
    }
}
