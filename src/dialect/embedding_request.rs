//! Requests for embeddings, in each of their languages.
//!
//! In: a client's body, or the hub's request. Out: the other one; several bodies where an upstream
//! takes fewer texts at once than the client gave. Never: drops an input, or embeds half of one.

use super::expect::{boolean, count, list, object, present, text};
use super::{Idiom, Malformed};
use crate::chat::{EmbeddingInput, EmbeddingRequest, Loss, Purpose, Reason};
use crate::wire::json_read;
use crate::wire::json_write::{Array, Object};
use std::borrow::Cow;
use std::fmt::Display;

/// Cohere's limit of texts in one call.
const COHERE_TEXTS_MAX: usize = 96;
/// As many texts as any vendor takes.
const INPUTS_MAX: usize = 2048;

/// Reads a client's request. `body` is valid JSON.
///
/// # Errors
/// The JSON path of what is wrong.
pub fn decode<'a>(
    idiom: Idiom,
    body: &'a str,
    loss: &mut Loss,
) -> Result<EmbeddingRequest<'a>, Malformed> {
    let mut request = EmbeddingRequest::default();
    match idiom {
        Idiom::OpenAi => read_openai(body, &mut request, loss)?,
        Idiom::Gemini => read_gemini("", body, &mut request, loss)?,
        Idiom::GeminiBatch => {
            let requests = present("requests", json_read::field(body, "requests"))?;
            for (at, one) in list("requests", requests)?.enumerate() {
                read_gemini(&format!("requests[{at}]."), one, &mut request, loss)?;
            }
        }
        Idiom::Titan => read_titan(body, &mut request, loss)?,
        Idiom::Cohere | Idiom::CohereInvoke => read_cohere(body, &mut request, loss)?,
        Idiom::Vertex => return Err(Malformed::at("", "predictions are no client's language")),
    }
    match request.inputs.len() {
        0 => Err(Malformed::at(place(idiom), "there is nothing to embed")),
        1..=INPUTS_MAX => Ok(request),
        _ => Err(Malformed::at(place(idiom), format!("more than {INPUTS_MAX} inputs"))),
    }
}

/// The language of a body that asks Bedrock's invoke for embeddings; `None` if it asks for none.
pub fn of_invoke(model: &str, body: &str) -> Option<Idiom> {
    let has = |name: &str| json_read::field(body, name).is_some_and(|v| !json_read::is_null(v));
    if has("texts") {
        Some(Idiom::CohereInvoke)
    } else {
        (has("inputText") && model.contains("embed")).then_some(Idiom::Titan)
    }
}

/// Where the inputs stand.
fn place(idiom: Idiom) -> &'static str {
    match idiom {
        Idiom::OpenAi => "input",
        Idiom::Gemini => "content",
        Idiom::GeminiBatch => "requests",
        Idiom::Titan => "inputText",
        Idiom::Cohere | Idiom::CohereInvoke => "texts",
        Idiom::Vertex => "instances",
    }
}

fn read_openai<'a>(
    body: &'a str,
    request: &mut EmbeddingRequest<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    for (name, value) in object("", body)? {
        if json_read::is_null(value) {
            continue;
        }
        match &*name {
            "input" => read_inputs(value, request)?,
            "dimensions" => request.dimensions = Some(count("dimensions", value)?),
            "encoding_format" => match &*text("encoding_format", value)? {
                "base64" => request.base64 = true,
                "float" => {}
                _ => return Err(Malformed::at("encoding_format", "must be float or base64")),
            },
            "user" => request.user = Some(text("user", value)?),
            "model" | "headers" => {}
            _ => loss.push(&name, Reason::Unsupported),
        }
    }
    Ok(())
}

/// A text, several texts, token numbers, or several lists of these.
fn read_inputs<'a>(raw: &'a str, request: &mut EmbeddingRequest<'a>) -> Result<(), Malformed> {
    if json_read::is_string(raw) {
        request.inputs.push(EmbeddingInput::Text(text("input", raw)?));
        return Ok(());
    }
    let first = list("input", raw)?.next().unwrap_or_default();
    if json_read::unsigned(first).is_some() {
        request.inputs.push(EmbeddingInput::Tokens(raw));
        return Ok(());
    }
    for (at, item) in list("input", raw)?.enumerate() {
        request.inputs.push(if json_read::is_array(item) {
            EmbeddingInput::Tokens(item)
        } else {
            EmbeddingInput::Text(text(format_args!("input[{at}]"), item)?)
        });
    }
    Ok(())
}

fn read_gemini<'a>(
    path: &str,
    body: &'a str,
    request: &mut EmbeddingRequest<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    for (name, value) in object(path, body)? {
        let at = format_args!("{path}{name}");
        match &*name {
            "content" => {
                let words = gemini_text(at, value)?;
                request.inputs.push(EmbeddingInput::Text(words));
            }
            "taskType" | "task_type" => {
                let named = text(at, value)?;
                let purpose = gemini_purpose(&named);
                if purpose.is_none() && named != "TASK_TYPE_UNSPECIFIED" {
                    loss.push(at, Reason::Value);
                }
                request.purpose = purpose.or(request.purpose);
            }
            "title" => request.title = Some(text(at, value)?),
            "outputDimensionality" | "output_dimensionality" => {
                request.dimensions = Some(count(at, value)?);
            }
            "model" => {}
            _ => loss.push(at, Reason::Unsupported),
        }
    }
    Ok(())
}

/// The text of a content, whose parts are one text.
fn gemini_text<'a>(path: impl Display, content: &'a str) -> Result<Cow<'a, str>, Malformed> {
    let parts = present(format_args!("{path}.parts"), json_read::field(content, "parts"))?;
    // One part is often said without its list.
    let parts: Vec<&str> =
        if json_read::is_array(parts) { json_read::items(parts).collect() } else { vec![parts] };
    let mut whole: Option<Cow<'a, str>> = None;
    for (at, part) in parts.into_iter().enumerate() {
        let said = json_read::text_field(part, "text").ok_or_else(|| {
            Malformed::at(format_args!("{path}.parts[{at}]"), "only texts can be embedded here")
        })?;
        whole = Some(match whole {
            None => said,
            Some(before) => Cow::Owned(format!("{before}{said}")),
        });
    }
    present(format_args!("{path}.parts"), whole)
}

fn read_titan<'a>(
    body: &'a str,
    request: &mut EmbeddingRequest<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    for (name, value) in object("", body)? {
        match &*name {
            "inputText" => request.inputs.push(EmbeddingInput::Text(text("inputText", value)?)),
            "dimensions" => request.dimensions = Some(count("dimensions", value)?),
            // Vendors' vectors are of length one as a rule.
            "normalize" if boolean("normalize", value)? => {}
            "embeddingTypes" if only_floats(value) => {}
            _ => loss.push(&name, Reason::Unsupported),
        }
    }
    Ok(())
}

fn only_floats(types: &str) -> bool {
    json_read::items(types).all(|kind| kind == "\"float\"")
}

fn read_cohere<'a>(
    body: &'a str,
    request: &mut EmbeddingRequest<'a>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    for (name, value) in object("", body)? {
        match &*name {
            "texts" => {
                for (at, item) in list("texts", value)?.enumerate() {
                    let words = text(format_args!("texts[{at}]"), item)?;
                    request.inputs.push(EmbeddingInput::Text(words));
                }
            }
            "input_type" => {
                let named = text("input_type", value)?;
                request.purpose = cohere_purpose(&named);
                if request.purpose.is_none() {
                    loss.push("input_type", Reason::Value);
                }
            }
            "truncate" => request.truncate = Some(text("truncate", value)?),
            "output_dimension" => request.dimensions = Some(count("output_dimension", value)?),
            "embedding_types" if only_floats(value) => {}
            "model" => {}
            _ => loss.push(&name, Reason::Unsupported),
        }
    }
    Ok(())
}

/// Writes the bodies for an upstream, in the order of their inputs. `model` is the upstream's name
/// of it.
///
/// # Errors
/// When an input can't be said.
pub fn encode(
    idiom: Idiom,
    request: &EmbeddingRequest<'_>,
    model: &str,
    loss: &mut Loss,
) -> Result<Vec<Vec<u8>>, Malformed> {
    note_losses(idiom, request, loss);
    let at_once = match idiom {
        Idiom::Titan => 1,
        Idiom::Cohere | Idiom::CohereInvoke => COHERE_TEXTS_MAX,
        _ => INPUTS_MAX,
    };
    request.inputs.chunks(at_once).map(|inputs| body(idiom, request, inputs, model)).collect()
}

fn note_losses(idiom: Idiom, request: &EmbeddingRequest<'_>, loss: &mut Loss) {
    let google = matches!(idiom, Idiom::Gemini | Idiom::GeminiBatch | Idiom::Vertex);
    let cohere = matches!(idiom, Idiom::Cohere | Idiom::CohereInvoke);
    let gone = [
        ("title", request.title.is_some() && !google),
        ("user", request.user.is_some() && idiom != Idiom::OpenAi),
        ("truncate", request.truncate.is_some() && !cohere),
        ("taskType", request.purpose.is_some() && !google && !cohere),
    ];
    for (name, _) in gone.iter().filter(|(_, gone)| *gone) {
        loss.push(name, Reason::Unsupported);
    }
}

fn body(
    idiom: Idiom,
    request: &EmbeddingRequest<'_>,
    inputs: &[EmbeddingInput<'_>],
    model: &str,
) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(256);
    let mut object = Object::begin(&mut out);
    match idiom {
        Idiom::OpenAi => write_openai(&mut object, request, inputs, model),
        Idiom::Gemini | Idiom::GeminiBatch => {
            let mut requests = object.array("requests");
            for words in texts(inputs)? {
                write_gemini(requests.object(), request, words, model);
            }
            requests.end();
        }
        Idiom::Vertex => write_vertex(&mut object, request, texts(inputs)?),
        Idiom::Titan => {
            object.text("inputText", texts(inputs)?.first().copied().unwrap_or_default());
            if let Some(dimensions) = request.dimensions {
                object.unsigned("dimensions", dimensions);
            }
        }
        Idiom::Cohere | Idiom::CohereInvoke => {
            if idiom == Idiom::Cohere {
                object.text("model", model);
            }
            write_cohere(&mut object, request, &texts(inputs)?);
        }
    }
    object.end();
    Ok(out)
}

/// The inputs as texts.
fn texts<'i>(inputs: &'i [EmbeddingInput<'_>]) -> Result<Vec<&'i str>, Malformed> {
    let text = |input: &'i EmbeddingInput<'_>| match input {
        EmbeddingInput::Text(text) => Ok(&**text),
        EmbeddingInput::Tokens(_) => {
            let message = "token numbers mean nothing to this provider's models; send the text";
            Err(Malformed::at("input", message))
        }
    };
    inputs.iter().map(text).collect()
}

fn write_openai(
    object: &mut Object<'_>,
    request: &EmbeddingRequest<'_>,
    inputs: &[EmbeddingInput<'_>],
    model: &str,
) {
    object.text("model", model);
    let mut list = object.array("input");
    for input in inputs {
        match input {
            EmbeddingInput::Text(text) => list.text(text),
            EmbeddingInput::Tokens(raw) => list.raw(raw),
        };
    }
    list.end();
    if let Some(dimensions) = request.dimensions {
        object.unsigned("dimensions", dimensions);
    }
    object.text("encoding_format", if request.base64 { "base64" } else { "float" });
    if let Some(user) = &request.user {
        object.text("user", user);
    }
}

fn write_gemini(mut object: Object<'_>, request: &EmbeddingRequest<'_>, words: &str, model: &str) {
    object.text("model", &format!("models/{model}"));
    let mut content = object.object("content");
    let mut parts = content.array("parts");
    let mut part = parts.object();
    part.text("text", words);
    part.end();
    parts.end();
    content.end();
    if let Some(purpose) = request.purpose {
        object.text("taskType", google_name(purpose));
    }
    if let Some(title) = &request.title {
        object.text("title", title);
    }
    if let Some(dimensions) = request.dimensions {
        object.unsigned("outputDimensionality", dimensions);
    }
    object.end();
}

fn write_vertex(object: &mut Object<'_>, request: &EmbeddingRequest<'_>, words: Vec<&str>) {
    let mut instances: Array<'_> = object.array("instances");
    for words in words {
        let mut instance = instances.object();
        instance.text("content", words);
        if let Some(purpose) = request.purpose {
            instance.text("task_type", google_name(purpose));
        }
        if let Some(title) = &request.title {
            instance.text("title", title);
        }
        instance.end();
    }
    instances.end();
    if let Some(dimensions) = request.dimensions {
        let mut parameters = object.object("parameters");
        parameters.unsigned("outputDimensionality", dimensions);
        parameters.end();
    }
}

fn write_cohere(object: &mut Object<'_>, request: &EmbeddingRequest<'_>, words: &[&str]) {
    let mut texts = object.array("texts");
    for words in words {
        texts.text(words);
    }
    texts.end();
    object.text("input_type", cohere_name(request.purpose.unwrap_or(Purpose::Document)));
    let mut types = object.array("embedding_types");
    types.text("float");
    types.end();
    if let Some(dimensions) = request.dimensions {
        object.unsigned("output_dimension", dimensions);
    }
    if let Some(truncate) = &request.truncate {
        object.text("truncate", truncate);
    }
}

fn gemini_purpose(name: &str) -> Option<Purpose> {
    Some(match name {
        "RETRIEVAL_QUERY" | "QUESTION_ANSWERING" | "CODE_RETRIEVAL_QUERY" | "FACT_VERIFICATION" => {
            Purpose::Query
        }
        "RETRIEVAL_DOCUMENT" => Purpose::Document,
        "CLASSIFICATION" => Purpose::Classification,
        "CLUSTERING" => Purpose::Clustering,
        "SEMANTIC_SIMILARITY" => Purpose::Similarity,
        _ => return None,
    })
}

fn google_name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Query => "RETRIEVAL_QUERY",
        Purpose::Document => "RETRIEVAL_DOCUMENT",
        Purpose::Classification => "CLASSIFICATION",
        Purpose::Clustering => "CLUSTERING",
        Purpose::Similarity => "SEMANTIC_SIMILARITY",
    }
}

fn cohere_purpose(name: &str) -> Option<Purpose> {
    Some(match name {
        "search_query" => Purpose::Query,
        "search_document" => Purpose::Document,
        "classification" => Purpose::Classification,
        "clustering" => Purpose::Clustering,
        _ => return None,
    })
}

fn cohere_name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Query => "search_query",
        Purpose::Document | Purpose::Similarity => "search_document",
        Purpose::Classification => "classification",
        Purpose::Clustering => "clustering",
    }
}

#[cfg(test)]
mod tests {
    use super::{Idiom, decode, encode};
    use crate::chat::Loss;

    fn across(from: Idiom, to: Idiom, body: &str) -> (Vec<serde_json::Value>, String) {
        let mut loss = Loss::default();
        let request = decode(from, body, &mut loss).unwrap();
        let bodies = encode(to, &request, "m", &mut loss).unwrap();
        let bodies = bodies.iter().map(|body| serde_json::from_slice(body).unwrap()).collect();
        (bodies, loss.header_value())
    }

    #[test]
    fn every_text_of_a_request_goes_out_in_its_order() {
        let body =
            r#"{"model":"x/m","input":["a","b\n"],"dimensions":8,"encoding_format":"base64"}"#;
        let (bodies, lost) = across(Idiom::OpenAi, Idiom::GeminiBatch, body);
        assert_eq!(
            bodies[0]["requests"][1],
            serde_json::json!({
                "model": "models/m",
                "content": {"parts": [{"text": "b\n"}]},
                "outputDimensionality": 8
            })
        );
        assert_eq!(lost, "");
        let (bodies, _) = across(Idiom::OpenAi, Idiom::Titan, body);
        let texts: Vec<_> = bodies.iter().map(|body| body["inputText"].clone()).collect();
        assert_eq!(texts, ["a", "b\n"]);
        let (bodies, _) = across(Idiom::OpenAi, Idiom::Vertex, body);
        assert_eq!(bodies[0]["instances"][1]["content"], "b\n");
        assert_eq!(bodies[0]["parameters"]["outputDimensionality"], 8);
    }

    #[test]
    fn more_texts_than_cohere_takes_at_once_are_several_calls() {
        let texts: Vec<_> = (0..100).map(|at| at.to_string()).collect();
        let body = serde_json::json!({"model": "m", "input": texts}).to_string();
        let (bodies, _) = across(Idiom::OpenAi, Idiom::CohereInvoke, &body);
        assert_eq!(bodies.len(), 2);
        assert_eq!(bodies[1]["texts"], serde_json::json!(["96", "97", "98", "99"]));
        assert_eq!(bodies[0]["input_type"], "search_document");
        assert!(bodies[0].get("model").is_none());
    }

    #[test]
    fn a_purpose_is_said_in_the_other_vendors_words_or_reported() {
        let body = r#"{"content":{"parts":[{"text":"q"}]},"taskType":"RETRIEVAL_QUERY"}"#;
        let (bodies, lost) = across(Idiom::Gemini, Idiom::Cohere, body);
        assert_eq!((&bodies[0]["input_type"], &*lost), (&"search_query".into(), ""));
        let (bodies, lost) = across(Idiom::Gemini, Idiom::OpenAi, body);
        assert_eq!(bodies[0]["input"], serde_json::json!(["q"]));
        assert_eq!(lost, "taskType");
    }

    #[test]
    fn token_numbers_go_where_they_mean_something() {
        let body = r#"{"model":"m","input":[[1,2],[3]]}"#;
        let (bodies, _) = across(Idiom::OpenAi, Idiom::OpenAi, body);
        assert_eq!(bodies[0]["input"], serde_json::json!([[1, 2], [3]]));
        let mut loss = Loss::default();
        let request = decode(Idiom::OpenAi, body, &mut loss).unwrap();
        assert_eq!(encode(Idiom::Titan, &request, "m", &mut loss).unwrap_err().path, "input");
    }

    #[test]
    fn nothing_to_embed_is_said_where_it_should_stand() {
        let path = |idiom, body| decode(idiom, body, &mut Loss::default()).unwrap_err().path;
        assert_eq!(path(Idiom::OpenAi, r#"{"input":[]}"#), "input");
        assert_eq!(path(Idiom::OpenAi, r#"{"input":["a",{}]}"#), "input[1]");
        assert_eq!(path(Idiom::GeminiBatch, "{}"), "requests");
        assert_eq!(
            path(Idiom::GeminiBatch, r#"{"requests":[{"content":{"parts":[{"inlineData":{}}]}}]}"#),
            "requests[0].content.parts[0]"
        );
    }
}
