//! Calls whose answers pass as they are: what is asked, of whom, and for which model.
//!
//! In: a call beside chats. Out: its [`Ask`], and the provider that keeps what it is about. A call
//! about a model goes where the model's name, the rules and the catalogue say; a call about a thing
//! that a provider keeps (a file, a batch, a stored response) goes to that provider: the one that
//! `x-model-provider` names as a header, or `provider` in the query, else the mount's own.
//! Never: reads more of a body than that.

use super::exchange::Halt;
use super::failure::Failure;
use super::ingress::{self, Ask, Call, Route, Target};
use super::{Visit, endpoints, upload};
use crate::chat::Dialect;
use crate::net::client_conn::{ClientConn, Incoming};
use crate::provider::Operation;
use crate::wire::http1::{self, RequestHead};
use crate::wire::json_read;
use crate::wire::json_scan::{self, DEPTH_MAX};
use crate::wire::multipart::{Form, Step};
use std::borrow::Cow;

/// Whether a request's body is handed on as it comes: forms and files, and whatever is no JSON on
/// the way to a path of the provider's own.
pub fn streams(head: &RequestHead, buf: &[u8]) -> bool {
    let target = head.target.str_of(buf);
    let Ok(Route { target: Target::Api(call), .. }) = ingress::route(head.method, target) else {
        return false;
    };
    match call.operation {
        Operation::FileUpload => true,
        // OpenAI's names a file; Anthropic's holds all of its requests.
        Operation::BatchCreate => call.dialect == Dialect::Anthropic,
        Operation::Passthrough => !is_json(head, buf),
        operation => takes_form(operation) && Form::of(content_type(head, buf)).is_some(),
    }
}

fn content_type<'b>(head: &RequestHead, buf: &'b [u8]) -> &'b str {
    head.header(buf, "content-type").unwrap_or_default()
}

fn is_json(head: &RequestHead, buf: &[u8]) -> bool {
    content_type(head, buf).to_ascii_lowercase().contains("json")
}

fn takes_form(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Transcription
            | Operation::Translation
            | Operation::ImageEdit
            | Operation::ImageVariation
    )
}

/// What a call beside chats asks for.
///
/// # Errors
/// 400 for a body that is not what the path takes; what happened to a form on its way.
pub async fn ask(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    incoming: &mut Incoming,
    (call, query): (&Call, &str),
) -> Result<Ask, Halt> {
    if call.operation == Operation::Passthrough {
        return raw(incoming, call).map_err(Halt::from);
    }
    if call.operation.is_owned() {
        let stream = parameter(query, "stream").is_some_and(|value| value == "true");
        let mut ask = Ask { id: call.item.clone(), stream, ..Ask::default() };
        if call.operation == Operation::BatchCreate && call.dialect == Dialect::OpenAiChat {
            let found = json_scan::scan(incoming.body(), DEPTH_MAX, &["provider"]);
            [ask.spans.provider] = found.unwrap_or_default();
        }
        return Ok(ask);
    }
    let form = Form::of(content_type(&incoming.head, &incoming.buf));
    if let Some(form) = form.filter(|_| takes_form(call.operation)) {
        return in_form(visit, client, incoming, call, form).await;
    }
    let mut ask = ingress::ask(incoming, call)?;
    if call.operation == Operation::Speech {
        let format = json_scan::scan(incoming.body(), DEPTH_MAX, &["stream_format"]);
        ask.stream = matches!(format, Ok([Some(span)]) if span.of(incoming.body()) == b"\"sse\"");
    }
    Ok(ask)
}

/// Reads a form up to its model; what was read of it stays in `incoming`.
async fn in_form(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    incoming: &mut Incoming,
    call: &Call,
    mut form: Form,
) -> Result<Ask, Halt> {
    let mut ask = Ask::default();
    if let Some(model) = &call.item {
        ask.model.clone_from(model);
        return Ok(ask);
    }
    let limit = visit.snapshot.server.header_timeout;
    loop {
        let body = incoming.body();
        let bad = |error: crate::wire::multipart::Malformed| Failure::invalid(error.to_string());
        match form.next(body).map_err(bad)? {
            Step::Part(part) => {
                let value = body.get(part.value.clone()).unwrap_or_default();
                let value = std::str::from_utf8(value).unwrap_or_default();
                match part.name {
                    "model" if value.trim().is_empty() => {
                        let message = "model: must be a string that is not empty";
                        return Err(Failure::invalid(message).into());
                    }
                    "model" => {
                        value.clone_into(&mut ask.model);
                        ask.form_model = Some(part.value);
                        return Ok(ask);
                    }
                    "stream" => ask.stream = value == "true",
                    _ => {}
                }
            }
            Step::More => {
                let more = client.read_body(&mut incoming.buf, limit).await;
                incoming.rest = client.body_left();
                if !more.map_err(|why| upload::fault(&why))? {
                    return Err(Failure::invalid("the form breaks off before its end").into());
                }
            }
            Step::End => {
                let model = endpoints::default_model(call.operation);
                let model = model.ok_or_else(|| Failure::invalid("model: field required"))?;
                model.clone_into(&mut ask.model);
                return Ok(ask);
            }
        }
    }
}

/// A path of the provider's own, and the model that the call is about, as far as it says.
fn raw(incoming: &Incoming, call: &Call) -> Result<Ask, Failure> {
    let path = call.item.as_deref().unwrap_or_default();
    let plain = http1::percent_decode(path)
        .map_err(|refusal| Failure::invalid(refusal.reason))
        .map(Cow::into_owned)?;
    for text in [path, &plain] {
        let hidden = text.split('/').any(|segment| matches!(segment, "." | ".."));
        if hidden || text.contains("//") || text.contains('\\') || !text.starts_with('/') {
            return Err(Failure::invalid("this path can't be passed on as it is"));
        }
    }
    let mut ask = Ask { id: Some(path.to_owned()), ..Ask::default() };
    let body = incoming.body();
    let in_body = if is_json(&incoming.head, &incoming.buf) && !body.is_empty() {
        let [model] = json_scan::scan(body, DEPTH_MAX, &["model"]).map_err(|fault| {
            Failure::invalid(format!("the request body is not valid JSON: {}", fault.what))
        })?;
        model.and_then(|span| std::str::from_utf8(span.of(body)).ok()).and_then(json_read::text)
    } else {
        None
    };
    let after = |word: &str| {
        let (_, rest) = plain.split_once(word)?;
        rest.split(['/', ':']).next().filter(|name| !name.is_empty())
    };
    let in_path = || ["/models/", "/deployments/", "/model/"].iter().find_map(|word| after(word));
    ask.model = match in_body {
        Some(model) => model.into_owned(),
        None => in_path().unwrap_or_default().to_owned(),
    };
    Ok(ask)
}

/// Who keeps what a call is about; the body of OpenAI's batches may say so, too.
pub fn owner(
    visit: &Visit<'_>,
    incoming: &Incoming,
    ask: &Ask,
    (call, query): (&Call, &str),
) -> String {
    let native = visit.mount.provider;
    if call.operation == Operation::Passthrough {
        let path = call.item.as_deref().unwrap_or_default();
        let vertex = path.contains("/projects/") || path.contains("/publishers/");
        return if vertex && native == "gemini" { "vertex" } else { native }.to_owned();
    }
    let header = incoming.header("x-model-provider").map(str::trim).map(Cow::Borrowed);
    let in_body = || {
        let raw = ask.spans.provider?.of(incoming.body());
        std::str::from_utf8(raw).ok().and_then(json_read::text)
    };
    let named = header
        .or_else(|| parameter(query, "provider"))
        .or_else(|| parameter(query, "x-model-provider"))
        .or_else(in_body);
    named.filter(|name| !name.is_empty()).map_or(native.to_owned(), Cow::into_owned)
}

/// A parameter of the query, decoded.
fn parameter<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(known, _)| *known == name).map(|(_, value)| value).next()?;
    http1::percent_decode(value).ok()
}
