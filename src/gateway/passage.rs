//! Calls whose answers pass as they are: what is asked, of whom, and for which model.
//!
//! In: a call beside chats. Out: its [`Ask`], and the provider that keeps what it is about. A call
//! about a model goes where the model's name, the rules and the catalogue say; a call about a thing
//! that a provider keeps (a file, a batch, a stored response) goes to that provider: the one that
//! `x-model-provider` names as a header, or `provider` in the query, else the mount's own.
//! Never: reads more of a body than that.

use super::Visit;
use super::failure::Failure;
use super::ingress::{self, Ask, Call};
use crate::net::client_conn::Incoming;
use crate::provider::Operation;
use crate::wire::http1;
use crate::wire::json_read;
use crate::wire::json_scan::{self, DEPTH_MAX};
use std::borrow::Cow;

/// What a call beside chats asks for.
///
/// # Errors
/// 400 for a body that is not what the path takes.
pub fn ask(incoming: &Incoming, call: &Call, query: &str) -> Result<Ask, Failure> {
    if call.operation.is_owned() {
        let stream = parameter(query, "stream").is_some_and(|value| value == "true");
        let mut ask = Ask { id: call.item.clone(), stream, ..Ask::default() };
        if call.operation == Operation::BatchCreate {
            let found = json_scan::scan(incoming.body(), DEPTH_MAX, &["provider"]);
            [ask.spans.provider] = found.unwrap_or_default();
        }
        return Ok(ask);
    }
    let mut ask = ingress::ask(incoming, call)?;
    if call.operation == Operation::Speech {
        let format = json_scan::scan(incoming.body(), DEPTH_MAX, &["stream_format"]);
        ask.stream = matches!(format, Ok([Some(span)]) if span.of(incoming.body()) == b"\"sse\"");
    }
    Ok(ask)
}

/// Who keeps what a call is about; the body of a batch may say so, too.
pub fn owner(visit: &Visit<'_>, incoming: &Incoming, ask: &Ask, query: &str) -> String {
    let header = incoming.header("x-model-provider").map(str::trim).map(Cow::Borrowed);
    let in_body = || {
        let raw = ask.spans.provider?.of(incoming.body());
        std::str::from_utf8(raw).ok().and_then(json_read::text)
    };
    let named = header
        .or_else(|| parameter(query, "provider"))
        .or_else(|| parameter(query, "x-model-provider"))
        .or_else(in_body);
    named.filter(|name| !name.is_empty()).map_or(visit.mount.provider.to_owned(), Cow::into_owned)
}

/// A parameter of the query, decoded.
fn parameter<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(known, _)| *known == name).map(|(_, value)| value).next()?;
    http1::percent_decode(value).ok()
}
