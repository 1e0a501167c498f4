//! Multipart bodies: the model is found wherever it stands, and only it is touched.

use crate::start;
use crate::support::Upstream;

const TYPE: &str = "multipart/form-data; boundary=XyZ";

fn part(head: &str, value: &str) -> String {
    format!("--XyZ\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
}

fn file(size: usize) -> String {
    part(
        "name=\"file\"; filename=\"a b.mp3\"\r\nContent-Type: audio/mpeg",
        &"\u{1}é-".repeat(size / 4),
    )
}

fn form(parts: &[String]) -> String {
    format!("{}--XyZ--\r\n", parts.concat())
}

fn request(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: gw\r\nContent-Type: {TYPE}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn listening() -> Upstream {
    Upstream::start(|call| {
        call.json(r#"{"text":"hi","usage":{"type":"tokens","input_tokens":3,"output_tokens":1}}"#);
        true
    })
}

#[test]
fn a_forms_model_is_found_wherever_it_stands() {
    let upstream = listening();
    let gateway = start(&upstream, "");
    for size in [100, 300_000] {
        let (file, model) = (file(size), part("name=\"model\"", "openai/whisper-1"));
        for parts in [[file.clone(), model.clone()], [model.clone(), file.clone()]] {
            let body = form(&parts);
            let answer = gateway.ask(&request("/openai/v1/audio/transcriptions", &body));
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.json()["text"], "hi");
            let (head, sent) = upstream.next();
            assert!(head.starts_with("POST /v1/audio/transcriptions HTTP/1.1"), "{head}");
            assert!(head.contains(&format!("content-type: {TYPE}\r\n")), "{head}");
            let wanted = body.replace("openai/whisper-1", "whisper-1");
            assert!(sent == wanted.as_bytes(), "other bytes were touched");
        }
    }
}

#[test]
fn deployments_need_no_look_into_the_form() {
    let upstream = listening();
    let gateway = start(&upstream, "");
    let body = form(&[file(400_000)]);
    let path = "/openai/openai/deployments/whisper/audio/transcriptions?api-version=2024-10-21";
    assert_eq!(gateway.ask(&request(path, &body)).status, 200);
    let (head, sent) = upstream.next();
    assert!(
        head.starts_with("POST /az/openai/deployments/whisper/audio/transcriptions?"),
        "{head}"
    );
    assert!(sent == body.as_bytes());
}

#[test]
fn forms_that_cannot_be_read_are_refused_in_words() {
    let upstream = listening();
    let gateway = start(&upstream, "");
    let refused = |path: &str, body: &str| {
        let answer = gateway.ask(&request(path, body));
        assert_eq!(answer.status, 400, "{}", answer.text());
        answer.message()
    };
    let path = "/openai/v1/audio/transcriptions";
    assert_eq!(refused(path, &form(&[file(100)])), "model: field required");
    assert!(refused(path, "--XyZ\r\nx: y").contains("breaks off"));
    assert!(refused(path, "no form at all").contains("boundary"));
    assert!(upstream.has_none());
    let images = form(&[part("name=\"prompt\"", "a cat")]);
    assert_eq!(gateway.ask(&request("/openai/v1/images/edits", &images)).status, 200);
}
