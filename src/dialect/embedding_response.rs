//! Answers to requests for embeddings, in each of their languages.
//!
//! In: an upstream's answer, or the hub's vectors. Out: the other one, with vectors as the client
//! wants them: numbers, or base64 of little-endian 32-bit floats. Never: changes the order.

use super::Idiom;
use crate::chat::{Embeddings, Vector};
use crate::wire::json_read::{field, fields, is_array, items, text, unsigned};
use crate::wire::json_write::{self, Array, Object};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;

/// Reads an upstream's answer, which is valid JSON; `None` if it holds no vectors.
pub fn decode(idiom: Idiom, body: &str) -> Option<Embeddings<'_>> {
    let found = match idiom {
        Idiom::OpenAi => {
            let mut data: Vec<(u64, Vector<'_>)> = Vec::new();
            for (at, item) in items(field(body, "data")?).enumerate() {
                let index = field(item, "index").and_then(unsigned).unwrap_or(at as u64);
                data.push((index, vector(field(item, "embedding")?)?));
            }
            data.sort_by_key(|(index, _)| *index);
            let tokens = ["prompt_tokens", "total_tokens"];
            let usage = field(body, "usage");
            Embeddings {
                vectors: data.into_iter().map(|(_, vector)| vector).collect(),
                input_tokens: tokens.iter().find_map(|name| unsigned(field(usage?, name)?)),
            }
        }
        Idiom::Gemini | Idiom::GeminiBatch => {
            let all = items(field(body, "embeddings")?);
            let vectors: Option<Vec<_>> = all.map(|item| vector(field(item, "values")?)).collect();
            let usage = field(body, "usageMetadata");
            let input_tokens = usage.and_then(|usage| unsigned(field(usage, "promptTokenCount")?));
            Embeddings { vectors: vectors?, input_tokens }
        }
        Idiom::Vertex => of_vertex(body)?,
        Idiom::Titan => {
            let typed = || field(field(body, "embeddingsByType")?, "float");
            Embeddings {
                vectors: vec![vector(field(body, "embedding").or_else(typed)?)?],
                input_tokens: field(body, "inputTextTokenCount").and_then(unsigned),
            }
        }
        Idiom::Cohere | Idiom::CohereInvoke => {
            let all = field(body, "embeddings")?;
            let lists = if is_array(all) { all } else { field(all, "float")? };
            let billed = || field(field(field(body, "meta")?, "billed_units")?, "input_tokens");
            Embeddings {
                vectors: items(lists).map(vector).collect::<Option<_>>()?,
                input_tokens: billed().and_then(unsigned),
            }
        }
    };
    (!found.vectors.is_empty()).then_some(found)
}

fn of_vertex(body: &str) -> Option<Embeddings<'_>> {
    let mut found = Embeddings::default();
    for prediction in items(field(body, "predictions")?) {
        let embedded = field(prediction, "embeddings")?;
        found.vectors.push(vector(field(embedded, "values")?)?);
        let count = || unsigned(field(field(embedded, "statistics")?, "token_count")?);
        if let Some(count) = count() {
            found.input_tokens = Some(found.input_tokens.unwrap_or(0).saturating_add(count));
        }
    }
    Some(found)
}

fn vector(raw: &str) -> Option<Vector<'_>> {
    if is_array(raw) { Some(Vector::Numbers(raw)) } else { text(raw).map(Vector::Base64) }
}

/// What the answer repeats of its request.
#[derive(Debug, Clone, Copy)]
pub struct Echo<'e> {
    pub model: &'e str,
    /// A fresh id.
    pub id: &'e str,
    pub base64: bool,
}

/// Writes the answer for a client.
pub fn encode(idiom: Idiom, found: &Embeddings<'_>, echo: Echo<'_>, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    let tokens = found.input_tokens.unwrap_or(0);
    match idiom {
        Idiom::OpenAi => {
            object.text("object", "list");
            let mut data = object.array("data");
            for (at, vector) in found.vectors.iter().enumerate() {
                let mut item = data.object();
                item.text("object", "embedding").unsigned("index", at as u64);
                write(vector, echo.base64, item.key("embedding"));
                item.end();
            }
            data.end();
            object.text("model", echo.model);
            let mut usage = object.object("usage");
            usage.unsigned("prompt_tokens", tokens).unsigned("total_tokens", tokens);
            usage.end();
        }
        Idiom::Gemini => {
            let mut embedding = object.object("embedding");
            if let Some(vector) = found.vectors.first() {
                write(vector, false, embedding.key("values"));
            }
            embedding.end();
        }
        Idiom::GeminiBatch => {
            let mut list = object.array("embeddings");
            for vector in &found.vectors {
                let mut embedding = list.object();
                write(vector, false, embedding.key("values"));
                embedding.end();
            }
            list.end();
        }
        Idiom::Titan => {
            if let Some(vector) = found.vectors.first() {
                write(vector, false, object.key("embedding"));
                let mut typed = object.object("embeddingsByType");
                write(vector, false, typed.key("float"));
                typed.end();
            }
            object.unsigned("inputTextTokenCount", tokens);
        }
        Idiom::Cohere | Idiom::CohereInvoke => {
            object.text("id", echo.id).text("response_type", "embeddings_by_type");
            let mut typed = object.object("embeddings");
            write_all(typed.array("float"), &found.vectors);
            typed.end();
            let mut meta = object.object("meta");
            let mut billed = meta.object("billed_units");
            billed.unsigned("input_tokens", tokens);
            billed.end();
            meta.end();
        }
        // No client speaks it.
        Idiom::Vertex => write_all(object.array("predictions"), &found.vectors),
    }
    object.end();
}

fn write_all(mut list: Array<'_>, vectors: &[Vector<'_>]) {
    for vector in vectors {
        write(vector, false, list.item());
    }
    list.end();
}

/// Writes a vector as the client wants it.
fn write(vector: &Vector<'_>, base64: bool, out: &mut Vec<u8>) {
    match (vector, base64) {
        (Vector::Numbers(raw), false) => out.extend_from_slice(raw.as_bytes()),
        (Vector::Base64(text), true) => json_write::string(out, text),
        (Vector::Numbers(raw), true) => {
            let bytes: Vec<u8> = items(raw)
                .flat_map(|number| number.parse::<f32>().unwrap_or(0.0).to_le_bytes())
                .collect();
            out.push(b'"');
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.push(b'"');
        }
        (Vector::Base64(text), false) => {
            let bytes = STANDARD.decode(text.as_bytes()).unwrap_or_default();
            let mut list = Array::begin(out);
            let mut digits = String::new();
            for chunk in bytes.chunks_exact(4) {
                let number = <[u8; 4]>::try_from(chunk).map_or(0.0, f32::from_le_bytes);
                digits.clear();
                // The shortest digits that give the same float back; no float is NaN or infinite.
                let number = if number.is_finite() { number } else { 0.0 };
                let _infallible = write!(digits, "{number}");
                list.raw(&digits);
            }
            list.end();
        }
    }
}

/// Rewrites an OpenAI answer whose vectors are numbers, for a client that wants base64: only the
/// vectors change. `None` where they are base64 already, or there are none.
pub fn in_base64(body: &str) -> Option<Vec<u8>> {
    let data = field(body, "data")?;
    let numbers = |item: &str| field(item, "embedding").is_some_and(is_array);
    if !items(data).any(numbers) {
        return None;
    }
    let mut out = Vec::with_capacity(body.len() / 2);
    let mut object = Object::begin(&mut out);
    for (name, value) in fields(body) {
        if name != "data" {
            object.raw(&name, value);
            continue;
        }
        let mut list = object.array("data");
        for item in items(data) {
            let mut each = list.object();
            for (name, value) in fields(item) {
                match vector(value) {
                    Some(vector) if name == "embedding" => {
                        write(&vector, true, each.key(&name));
                    }
                    _ => drop(each.raw(&name, value)),
                }
            }
            each.end();
        }
        list.end();
    }
    object.end();
    Some(out)
}

/// Puts the answers of several calls together, in their order.
pub fn joined<'a>(parts: impl Iterator<Item = Embeddings<'a>>) -> Embeddings<'a> {
    let mut all = Embeddings::default();
    for part in parts {
        all.vectors.extend(part.vectors);
        all.input_tokens = match (all.input_tokens, part.input_tokens) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
        };
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{Echo, decode, encode, in_base64};
    use crate::dialect::Idiom;
    use serde_json::{Value, json};

    fn across(from: Idiom, to: Idiom, base64: bool, body: &Value) -> Value {
        let text = body.to_string();
        let found = decode(from, &text).unwrap();
        let mut out = Vec::new();
        encode(to, &found, Echo { model: "m", id: "i", base64 }, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    /// 1.0, -2.5 and 0.1 as little-endian 32-bit floats.
    const PACKED: &str = "AACAPwAAIMDNzMw9";

    #[test]
    fn vectors_of_every_vendor_become_openais_in_both_forms() {
        let numbers = json!([1.0, -2.5, 0.1]);
        let answers = [
            (
                Idiom::OpenAi,
                json!({"data":[{"index":0,"embedding":numbers}],"usage":{"prompt_tokens":5}}),
            ),
            (
                Idiom::GeminiBatch,
                json!({"embeddings":[{"values":numbers}],"usageMetadata":{"promptTokenCount":5}}),
            ),
            (
                Idiom::Vertex,
                json!({"predictions":[{"embeddings":{"values":numbers,"statistics":{"token_count":5}}}]}),
            ),
            (Idiom::Titan, json!({"embedding":numbers,"inputTextTokenCount":5})),
            (
                Idiom::Cohere,
                json!({"embeddings":{"float":[numbers]},"meta":{"billed_units":{"input_tokens":5}}}),
            ),
        ];
        for (idiom, answer) in answers {
            let floats = across(idiom, Idiom::OpenAi, false, &answer);
            assert_eq!(floats["data"][0]["embedding"], numbers, "{idiom:?}");
            assert_eq!(floats["usage"]["prompt_tokens"], 5, "{idiom:?}");
            let packed = across(idiom, Idiom::OpenAi, true, &answer);
            assert_eq!(packed["data"][0]["embedding"], PACKED, "{idiom:?}");
        }
    }

    #[test]
    fn base64_becomes_the_same_floats() {
        let answer = json!({"data":[{"index":0,"embedding":PACKED}]});
        let gemini = across(Idiom::OpenAi, Idiom::Gemini, false, &answer);
        let values: Vec<f32> =
            serde_json::from_value(gemini["embedding"]["values"].clone()).unwrap();
        assert_eq!(values, [1.0, -2.5, 0.1]);
    }

    #[test]
    fn vectors_stand_in_the_order_of_their_inputs() {
        let answer = json!({"data":[{"index":1,"embedding":[2]},{"index":0,"embedding":[1]}]});
        let ordered = across(Idiom::OpenAi, Idiom::GeminiBatch, false, &answer);
        assert_eq!(ordered["embeddings"], json!([{"values":[1]},{"values":[2]}]));
    }

    #[test]
    fn only_the_vectors_of_an_openai_answer_are_rewritten() {
        let answer = json!({"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0]}],
            "model":"x","usage":{"prompt_tokens":1},"extra":{"a":1}});
        let text = answer.to_string();
        let mut wanted = answer;
        wanted["data"][0]["embedding"] = json!("AACAPw==");
        let out: Value = serde_json::from_slice(&in_base64(&text).unwrap()).unwrap();
        assert_eq!(out, wanted);
        assert_eq!(in_base64(&wanted.to_string()), None);
    }

    #[test]
    fn an_answer_without_vectors_is_none() {
        assert_eq!(decode(Idiom::OpenAi, r#"{"data":[]}"#), None);
        assert_eq!(decode(Idiom::OpenAi, r#"{"error":{}}"#), None);
        assert_eq!(decode(Idiom::Titan, "{}"), None);
    }
}
