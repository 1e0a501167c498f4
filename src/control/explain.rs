//! `finops-gateway explain`: asks a gateway what it would do with a request, and shows the answer.
//!
//! In: a request from the command line, and where a gateway listens. Out: what
//! `gateway::explain` answers to `x-bf-dry-run: true`, as JSON or for readers. Never: decides
//! anything itself; the answer is the gateway's.

use serde_json::Value;
use std::fmt::Write as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};

use crate::wire::http1::{self, Limits};

/// A request to be explained.
#[derive(Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Each `name: value`.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

/// Asks the gateway at `address`; gives the answer's status and body.
///
/// # Errors
/// The request can't be written, or nobody answered.
pub async fn ask(address: impl ToSocketAddrs, request: &Request) -> Result<(u16, String), String> {
    let said = |error: std::io::Error| format!("the gateway does not answer: {error}");
    let mut stream = TcpStream::connect(address).await.map_err(said)?;
    stream.write_all(&written(request)?).await.map_err(said)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(said)?;
    let head = http1::parse_response(&answer, &Limits::default(), false)
        .map_err(|refusal| refusal.reason.to_owned())?
        .ok_or("the gateway closed the connection")?;
    let body = answer.get(head.len..).unwrap_or_default();
    Ok((head.status, String::from_utf8_lossy(body).into_owned()))
}

fn written(request: &Request) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(request.body.len() + 512);
    if !http1::request_line(&mut out, &request.method, &request.path) {
        return Err(format!("`{} {}` is no request line", request.method, request.path));
    }
    let mut named = |name: &str, value: &str| {
        let sound = http1::header(&mut out, name, value.as_bytes());
        sound.then_some(()).ok_or_else(|| format!("`{name}: {value}` is no header"))
    };
    named("host", "explain")?;
    named("connection", "close")?;
    named("x-bf-dry-run", "true")?;
    let own = |name: &str| {
        ["host", "connection", "content-length", "transfer-encoding", "x-bf-dry-run"]
            .iter()
            .any(|own| own.eq_ignore_ascii_case(name))
    };
    let mut kind = false;
    for header in &request.headers {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| format!("`{header}` is no header: a colon is missing"))?;
        kind |= name.eq_ignore_ascii_case("content-type");
        if !own(name) {
            named(name.trim(), value.trim())?;
        }
    }
    if !kind {
        named("content-type", "application/json")?;
    }
    http1::content_length(&mut out, request.body.len() as u64);
    http1::end_head(&mut out);
    out.extend_from_slice(&request.body);
    Ok(out)
}

/// An explanation for readers; `None` for JSON that is none.
pub fn readable(json: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(json).ok()?;
    let mut out = String::new();
    let request = answer.get("request")?;
    line(&mut out, 0, "request", &[request.get("request_type")?, request.get("model")?]);
    match answer.get("virtual_key")? {
        Value::Null => line(&mut out, 0, "virtual key", &[&Value::from("none")]),
        key => line(&mut out, 0, "virtual key", &[key.get("name")?, key.get("team")?]),
    }
    for rule in list(&answer, "rules") {
        line(&mut out, 0, "rule", &[rule.get("name")?, rule.get("cel_expression")?]);
    }
    for (at, target) in list(&answer, "targets").iter().enumerate() {
        let place = format!("{}/{}", text(target.get("provider")?), text(target.get("model")?));
        let _never = write!(out, "\n{}. ", at + 1);
        line(&mut out, 0, &place, &[target.get("via")?]);
        stopover(&mut out, target)?;
    }
    let _never = write!(out, "\n{}\n", text(answer.get("verdict")?));
    Some(out)
}

fn stopover(out: &mut String, target: &Value) -> Option<()> {
    if let Some(breaker) = target.get("health").and_then(|health| health.get("breaker")) {
        line(out, 3, "breaker", &[breaker]);
    }
    for limit in list(target, "limits") {
        let figures = format!(
            "{} of {} {}",
            text(limit.get("used")?),
            text(limit.get("max")?),
            text(limit.get("unit")?)
        );
        let until = limit.get("resets_at").filter(|at| !at.is_null());
        let until = until.map(|at| format!("until {}", text(at))).unwrap_or_default();
        line(out, 3, "limit", &[limit.get("owner")?, &figures.into(), &until.into()]);
    }
    for key in list(target, "keys") {
        line(out, 3, "key", &[key.get("name")?, key.get("state")?, key.get("why")?]);
    }
    if let Some(refused) = target.get("refused").filter(|refused| !refused.is_null()) {
        line(out, 3, "refused", &[refused.get("status")?, refused.get("message")?]);
    }
    let upstream = target.get("upstream").filter(|upstream| !upstream.is_null());
    let Some(upstream) = upstream else { return Some(()) };
    if upstream.get("by")? != "upstream" {
        line(out, 3, "answered here", &[upstream.get("by")?]);
        return Some(());
    }
    let _never =
        writeln!(out, "   {} {}", text(upstream.get("method")?), text(upstream.get("url")?));
    for header in list(upstream, "headers") {
        let _never = writeln!(out, "     {}: {}", text(header.get(0)?), text(header.get(1)?));
    }
    let body = serde_json::to_string_pretty(upstream.get("body")?).ok()?;
    for each in body.lines() {
        let _never = writeln!(out, "     {each}");
    }
    for lost in list(upstream, "lost") {
        line(out, 3, "lost", &[lost.get("path")?, lost.get("why")?]);
    }
    Some(())
}

/// One line: a word, and what there is to say.
fn line(out: &mut String, indent: usize, word: &str, parts: &[&Value]) {
    let said: Vec<_> =
        parts.iter().map(|part| text(part)).filter(|part| !part.is_empty()).collect();
    let _never = writeln!(out, "{:indent$}{word}: {}", "", said.join(", "));
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Request, readable, written};

    #[test]
    fn a_request_is_written_as_a_dry_run_whatever_its_headers_say() {
        let request = Request {
            method: "POST".to_owned(),
            path: "/v1/messages?beta=true".to_owned(),
            headers: vec!["X-BF-Dry-Run: false".to_owned(), "x-bf-vk: sk-bf-1".to_owned()],
            body: b"{}".to_vec(),
        };
        let text = String::from_utf8(written(&request).unwrap()).unwrap();
        assert!(text.starts_with("POST /v1/messages?beta=true HTTP/1.1\r\n"), "{text}");
        assert_eq!(text.matches("ry-").count(), 1, "{text}");
        assert!(text.contains("x-bf-vk: sk-bf-1\r\n"), "{text}");
        assert!(text.ends_with("content-length: 2\r\n\r\n{}"), "{text}");
        let bad = Request { headers: vec!["no colon".to_owned()], ..request };
        assert!(written(&bad).is_err());
    }

    #[test]
    fn an_error_is_no_explanation() {
        assert_eq!(readable(r#"{"error":{"message":"no"}}"#), None);
    }
}
