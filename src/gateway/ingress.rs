//! From a request's target and first fields to what is asked for.
//!
//! In: method and target, then the body. Out: a [`Route`] (which mount, which operation) and an
//! [`Ask`] (which model, streamed or not), found by one scan that also validates the body.
//! Never: builds a tree; answers by itself.

use std::borrow::Cow;
use std::ops::Range;

use super::failure::{Failure, Whose};
use crate::chat::{Dialect, ErrorKind};
use crate::net::client_conn::Incoming;
use crate::provider::Operation;
use crate::wire::http1::{self, Method};
use crate::wire::json_scan;

/// A prefix under which one vendor's paths are served.
#[derive(Debug)]
pub struct Mount {
    pub prefix: &'static str,
    pub dialect: Dialect,
    /// The provider meant by a model without prefix.
    pub provider: &'static str,
}

/// The longest matching prefix counts; the last row matches everything.
static MOUNTS: [Mount; 3] = [
    Mount { prefix: "/anthropic", dialect: Dialect::Anthropic, provider: "anthropic" },
    Mount { prefix: "/openai", dialect: Dialect::OpenAiChat, provider: "openai" },
    Mount { prefix: "", dialect: Dialect::OpenAiChat, provider: "openai" },
];

/// What the gateway itself is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// Whether the process lives.
    Live,
    /// Whether it can serve.
    Ready,
    Metrics,
    /// A mount's root: the connectivity probe of clients.
    Root,
}

/// Where a request goes inside the gateway.
#[derive(Debug)]
pub enum Target {
    Own(Own),
    Api { operation: Operation, item: Option<String> },
}

/// A request line, understood.
#[derive(Debug)]
pub struct Route {
    pub mount: &'static Mount,
    pub target: Target,
    /// The query without its question mark, as the client wrote it.
    pub query: String,
}

/// The fields of a body that decide where it goes.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    pub model: String,
    /// Where the model's value stands in the body, quotes included.
    pub model_span: Range<usize>,
    pub stream: bool,
}

/// The mount of a path; for errors, too, since every error speaks its dialect.
pub fn mount_of(path: &str) -> &'static Mount {
    let under = |mount: &&Mount| {
        path.strip_prefix(mount.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    MOUNTS.iter().find(under).unwrap_or(&MOUNTS[MOUNTS.len() - 1])
}

/// Understands a request line.
///
/// # Errors
/// 400 for a target that is none, 404 for an unknown path, 405 for the wrong method.
pub fn route(method: Method, target: &str) -> Result<Route, (&'static Mount, Box<Failure>)> {
    let parts = http1::path_and_query(target)
        .map_err(|refusal| (mount_of(""), Box::new(Failure::invalid(refusal.reason))))?;
    let (path, query) = (parts.path, parts.query);
    let mount = mount_of(path);
    let rest = path.get(mount.prefix.len()..).unwrap_or_default();
    let target = find(method, mount, rest).map_err(|failure| (mount, Box::new(failure)))?;
    Ok(Route { mount, target, query: query.unwrap_or_default().to_owned() })
}

fn find(method: Method, mount: &Mount, rest: &str) -> Result<Target, Failure> {
    if method == Method::Other {
        return Err(Failure::new(501, ErrorKind::NotSupported, Whose::Client, "unknown method"));
    }
    let (allowed, target) = match rest.trim_end_matches('/') {
        "" | "/api/hello" => ("GET, HEAD", Target::Own(Own::Root)),
        "/health" | "/readyz" if mount.prefix.is_empty() => ("GET, HEAD", Target::Own(Own::Ready)),
        "/livez" if mount.prefix.is_empty() => ("GET, HEAD", Target::Own(Own::Live)),
        "/metrics" if mount.prefix.is_empty() => ("GET, HEAD", Target::Own(Own::Metrics)),
        rest => api(mount, rest)?,
    };
    let fits = match method {
        Method::Get | Method::Head => allowed.starts_with("GET"),
        Method::Post => allowed == "POST",
        _ => false,
    };
    if fits {
        return Ok(target);
    }
    let message = format!("this path takes {allowed} only");
    let mut failure = Failure::invalid(message).with_header("allow", allowed);
    failure.status = 405;
    Err(failure)
}

fn api(mount: &Mount, rest: &str) -> Result<(&'static str, Target), Failure> {
    let operation = |operation| Target::Api { operation, item: None };
    // The Anthropic SDKs append `/v1` themselves; the OpenAI SDKs expect it in the base URL.
    let versioned = rest.strip_prefix("/v1").filter(|rest| rest.starts_with('/'));
    let open_ai = mount.dialect == Dialect::OpenAiChat;
    let name = match versioned {
        Some(name) => name,
        None if open_ai && !mount.prefix.is_empty() => rest,
        None => return Err(unknown(rest)),
    };
    Ok(match name {
        "/messages" if !open_ai => ("POST", operation(Operation::Chat)),
        "/messages/count_tokens" if !open_ai => ("POST", operation(Operation::CountTokens)),
        "/chat/completions" if open_ai => ("POST", operation(Operation::Chat)),
        "/models" => ("GET, HEAD", operation(Operation::ListModels)),
        name => match name.strip_prefix("/models/") {
            Some(id) => {
                let id = http1::percent_decode(id)
                    .map_err(|refusal| Failure::invalid(refusal.reason))?;
                let item = Some(id.into_owned());
                ("GET, HEAD", Target::Api { operation: Operation::RetrieveModel, item })
            }
            None => return Err(unknown(rest)),
        },
    })
}

fn unknown(rest: &str) -> Failure {
    Failure::not_found(format!("there is no {rest} here"))
}

/// Reads the fields that decide, and validates the body on the way.
///
/// # Errors
/// 400 with the byte offset for a body that is not JSON, too deeply nested or without a model.
pub fn ask(incoming: &Incoming) -> Result<Ask, Failure> {
    if incoming.head.length_required {
        let message = "a request body needs content-length or transfer-encoding: chunked";
        return Err(Failure::new(411, ErrorKind::InvalidRequest, Whose::Client, message));
    }
    ask_of(incoming.body())
}

fn ask_of(body: &[u8]) -> Result<Ask, Failure> {
    let found = json_scan::scan(body, json_scan::DEPTH_MAX, &["model", "stream"]);
    let [model, stream] = found.map_err(|fault| {
        let what = if body.is_empty() { "the body is empty" } else { fault.what };
        Failure::invalid(format!("the request body is not valid JSON: {what} at byte {}", fault.at))
    })?;
    let Some(span) = model else {
        return Err(Failure::invalid("model: field required"));
    };
    let raw = body.get(span.start..span.end).unwrap_or_default();
    let text = std::str::from_utf8(raw).ok().and_then(crate::wire::json_read::text);
    let Some(model) = text.filter(|model| !model.trim().is_empty()).map(Cow::into_owned) else {
        return Err(Failure::invalid("model: must be a string that is not empty"));
    };
    let stream = match stream.and_then(|span| body.get(span.start..span.end)) {
        None | Some(b"false" | b"null") => false,
        Some(b"true") => true,
        Some(_) => return Err(Failure::invalid("stream: must be a boolean")),
    };
    Ok(Ask { model, model_span: span.start..span.end, stream })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api_of(method: Method, target: &str) -> Option<(Dialect, Operation, Option<String>)> {
        match route(method, target) {
            Ok(Route { mount, target: Target::Api { operation, item }, .. }) => {
                Some((mount.dialect, operation, item))
            }
            _ => None,
        }
    }

    #[test]
    fn each_vendors_paths_lead_to_its_operation() {
        let chat = |dialect| Some((dialect, Operation::Chat, None));
        assert_eq!(
            api_of(Method::Post, "/anthropic/v1/messages?beta=true"),
            chat(Dialect::Anthropic)
        );
        for target in [
            "/openai/chat/completions",
            "/openai/v1/chat/completions",
            "/v1/chat/completions",
            "http://gateway:8080/openai/v1/chat/completions",
        ] {
            assert_eq!(api_of(Method::Post, target), chat(Dialect::OpenAiChat), "{target}");
        }
        let model =
            |id: &str| Some((Dialect::OpenAiChat, Operation::RetrieveModel, Some(id.to_owned())));
        assert_eq!(api_of(Method::Get, "/openai/models/openai%2Fgpt-4o"), model("openai/gpt-4o"));
        assert_eq!(api_of(Method::Get, "/openai/models/openai/gpt-4o"), model("openai/gpt-4o"));
        assert_eq!(api_of(Method::Post, "/chat/completions"), None);
        assert_eq!(api_of(Method::Post, "/anthropicx/v1/messages"), None);
    }

    #[test]
    fn refusals_have_their_status() {
        let status = |method, target: &str| route(method, target).unwrap_err().1.status;
        assert_eq!(status(Method::Get, "/anthropic/v1/messages"), 405);
        assert_eq!(status(Method::Post, "/anthropic/v1/nothing"), 404);
        assert_eq!(status(Method::Delete, "/v1/models"), 405);
    }

    #[test]
    fn the_deciding_fields_are_found_wherever_they_stand() {
        let body = br#"{"messages":[{"model":"no"}],"stream":true,"model":"openai/gpt-4o"}"#;
        let ask = ask_of(body).unwrap();
        assert_eq!((ask.model.as_str(), ask.stream), ("openai/gpt-4o", true));
        assert_eq!(&body[ask.model_span], br#""openai/gpt-4o""#);
    }

    #[test]
    fn bad_bodies_are_refused_with_the_place() {
        let message = |body: &[u8]| ask_of(body).unwrap_err().fault.message.into_owned();
        assert!(message(br#"{"model":"x",}"#).contains("at byte 13"));
        assert!(message(b"{}").contains("model"));
        assert!(message(br#"{"model":3}"#).contains("string"));
        assert!(message(br#"{"model":"m","stream":"yes"}"#).contains("boolean"));
        assert!(message(b"").contains("empty"));
    }
}
