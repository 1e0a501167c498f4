//! Embeddings from one vendor's language into another's, with vectors in the form that was asked.

use crate::start;
use crate::support::Upstream;
use crate::support::client::post;
use crate::support::upstream::Call;
use serde_json::{Value, json};

/// 1.0 and -2.5 as little-endian 32-bit floats.
const PACKED: &str = "AACAPwAAIMA=";

/// Every vendor's answer for what it was asked, with the vector [1, -2.5] for each text.
fn vendors(call: &mut Call) -> bool {
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    let vector = json!([1.0, -2.5]);
    let count = |list: &Value| list.as_array().map_or(1, Vec::len);
    let path = call.path().to_owned();
    let answer = if path.ends_with("/embeddings") {
        let item = |at| json!({"object":"embedding","index":at,"embedding":vector});
        let data: Vec<_> = (0..count(&body["input"])).map(item).collect();
        json!({"object":"list","data":data,"model":"m","usage":{"prompt_tokens":4,"total_tokens":4}})
    } else if path.ends_with(":batchEmbedContents") {
        json!({"embeddings": vec![json!({"values": vector}); count(&body["requests"])]})
    } else if path.ends_with(":embedContent") {
        json!({"embedding": {"values": vector}})
    } else if path.ends_with("/v2/embed") {
        let vectors = vec![vector; count(&body["texts"])];
        json!({"embeddings":{"float":vectors},"meta":{"billed_units":{"input_tokens":4}}})
    } else {
        json!({"embedding": vector, "inputTextTokenCount": 2})
    };
    call.json(&answer.to_string());
    true
}

#[test]
fn base64_is_honoured_whatever_the_upstream() {
    let upstream = Upstream::start(vendors);
    let gateway = start(&upstream, "");
    for model in [
        "text-embedding-3-small",
        "mistral/e",
        "gemini/e",
        "cohere/e",
        "bedrock/amazon.titan-embed-text-v2:0",
    ] {
        for (format, wanted) in [("base64", json!(PACKED)), ("float", json!([1.0, -2.5]))] {
            let body = format!(
                r#"{{"model":"{model}","input":["a","b"],"encoding_format":"{format}","dimensions":2}}"#
            );
            let answer = gateway.ask(&post("/openai/v1/embeddings", &body));
            assert_eq!(answer.status, 200, "{model}: {}", answer.text());
            let answer = answer.json();
            assert_eq!(answer["object"], "list", "{model}");
            for at in 0..2 {
                assert_eq!(answer["data"][at]["embedding"], wanted, "{model} {format}");
                assert_eq!(answer["data"][at]["index"], at, "{model} {format}");
            }
            let tokens = if model.starts_with("gemini") { 0 } else { 4 };
            assert_eq!(answer["usage"]["prompt_tokens"], tokens, "{model}");
        }
    }
}

#[test]
fn titan_is_asked_once_for_each_text() {
    let upstream = Upstream::start(vendors);
    let gateway = start(&upstream, "");
    let body = r#"{"model":"bedrock/amazon.titan-embed-text-v2:0","input":["a","b"]}"#;
    gateway.ask(&post("/v1/embeddings", body));
    for text in ["a", "b"] {
        let (head, sent) = upstream.next();
        let path = "POST /model/amazon.titan-embed-text-v2%3A0/invoke HTTP/1.1";
        assert_eq!(head.lines().next().unwrap(), path);
        assert_eq!(String::from_utf8(sent).unwrap(), format!(r#"{{"inputText":"{text}"}}"#));
    }
}

#[test]
fn geminis_clients_reach_gemini_by_bytes_and_others_by_words() {
    let upstream = Upstream::start(vendors);
    let gateway = start(&upstream, "");
    let body = r#"{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"AA=="}}]}}"#;
    let answer = gateway.ask(&post("/genai/v1beta/models/e:embedContent", body));
    assert_eq!(answer.json(), json!({"embedding":{"values":[1.0,-2.5]}}));
    let (head, sent) = upstream.next();
    assert!(head.starts_with("POST /v1beta/models/e:embedContent HTTP/1.1"), "{head}");
    assert_eq!(sent, body.as_bytes());

    let body = r#"{"requests":[{"model":"models/e","content":{"parts":[{"text":"a"}]},"taskType":"CLUSTERING"}]}"#;
    let answer = gateway.ask(&post("/genai/v1beta/models/openai%2Fe:batchEmbedContents", body));
    assert_eq!(answer.json(), json!({"embeddings":[{"values":[1.0,-2.5]}]}));
    assert_eq!(answer.header("x-bf-dropped"), Some("taskType"));
    let sent: Value = serde_json::from_slice(&upstream.next().1).unwrap();
    assert_eq!(sent, json!({"model":"e","input":["a"],"encoding_format":"float"}));
}

#[test]
fn bedrocks_clients_ask_any_vendor_for_embeddings() {
    let upstream = Upstream::start(vendors);
    let gateway = start(&upstream, "");
    let path = "/bedrock/model/openai%2Ftext-embedding-3-small/invoke";
    let answer = gateway.ask(&post(path, r#"{"inputText":"a"}"#));
    assert_eq!(answer.json()["embedding"], json!([1.0, -2.5]), "{}", answer.text());
    assert_eq!(answer.json()["inputTextTokenCount"], 4);
}

#[test]
fn an_answer_that_holds_no_vectors_is_an_error() {
    let upstream = Upstream::start(|call| {
        call.json(r#"{"ok":true}"#);
        true
    });
    let gateway = start(&upstream, "");
    let answer = gateway.ask(&post("/v1/embeddings", r#"{"model":"gemini/e","input":"a"}"#));
    assert_eq!(answer.status, 502, "{}", answer.text());
    let refused = gateway.ask(&post("/v1/embeddings", r#"{"model":"gemini/e","input":[[1,2]]}"#));
    assert_eq!(refused.status, 400);
    assert!(refused.message().contains("input"), "{}", refused.message());
}
