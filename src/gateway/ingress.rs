//! From a request's target and first fields to what is asked for.
//!
//! In: method and target, then the body. Out: a [`Route`] (which mount, which operation) and an
//! [`Ask`] (which model, streamed or not), found by one scan that also validates the body.
//! Never: builds a tree; answers by itself.

use std::borrow::Cow;
use std::ops::Range;

use super::bedrock_paths;
use super::endpoints;
use super::failure::{Failure, Whose};
pub use super::mounts::{Mount, Paths, mount_of};
use crate::chat::{Dialect, ErrorKind};
use crate::dialect::Idiom;
use crate::dialect::embedding_request::of_invoke;
use crate::net::client_conn::Incoming;
use crate::provider::Operation;
use crate::wire::frames::Framing;
use crate::wire::http1::{self, Method};
use crate::wire::json_read;
use crate::wire::json_scan::{self, Span};
use crate::wire::json_splice;

/// What the gateway itself is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// Whether the process lives.
    Live,
    /// Whether it can serve.
    Ready,
    Metrics,
    /// What a virtual key has left.
    Quota,
    /// What the control thread answers.
    Management,
    /// A mount's root: the connectivity probe of clients.
    Root,
}

/// A call of a vendor's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub operation: Operation,
    /// The language of body and answer. Bedrock's invoke takes that of the model's family.
    pub dialect: Dialect,
    /// Bedrock's invoke: the body's language is known once the body is.
    pub invoke: bool,
    /// How a streamed answer is framed.
    pub framing: Framing,
    /// The language of embeddings, where these are asked for.
    pub idiom: Option<Idiom>,
    /// The model, or what is asked about, where it stands in the path.
    pub item: Option<String>,
    /// Whether the answer is streamed, where the path says.
    pub stream: Option<bool>,
    /// Bedrock's inference profiles are listed, instead of its models.
    pub profiles: bool,
}

impl Call {
    pub fn new(operation: Operation, dialect: Dialect) -> Self {
        Self {
            operation,
            dialect,
            invoke: false,
            framing: Framing::Sse,
            idiom: None,
            item: None,
            stream: None,
            profiles: false,
        }
    }
}

impl Call {
    /// The call once its body is known: Bedrock's invoke is also how embeddings are asked for.
    pub fn refined(&self, ask: &Ask, body: &[u8]) -> Cow<'_, Self> {
        let text = || std::str::from_utf8(body).ok();
        let wanted = self.invoke && !ask.stream;
        match wanted.then(text).flatten().and_then(|body| of_invoke(&ask.model, body)) {
            Some(idiom) => Cow::Owned(Self {
                operation: Operation::Embedding,
                idiom: Some(idiom),
                ..self.clone()
            }),
            None => Cow::Borrowed(self),
        }
    }
}

/// Where a request goes inside the gateway.
#[derive(Debug)]
pub enum Target {
    Own(Own),
    Api(Call),
}

/// A request line, understood.
#[derive(Debug)]
pub struct Route {
    pub mount: &'static Mount,
    pub target: Target,
    /// The query without its question mark, as the client wrote it.
    pub query: String,
}

impl Route {
    /// Whether the gateway itself is asked, and no vendor's API.
    pub fn is_own(&self) -> bool {
        matches!(self.target, Target::Own(_))
    }
}

/// The fields of a body that decide where it goes.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// As the client named it; empty where no model is asked.
    pub model: String,
    /// What is asked about, where that is no model.
    pub id: Option<String>,
    pub stream: bool,
    /// Other places to try, as `provider/model`; the gateway's own field, which stays here. Empty
    /// for Anthropic's field of that name, which holds objects or a string and travels on.
    pub fallbacks: Vec<String>,
    /// Where members stand that may have to be spliced; the body is not scanned again for them.
    pub spans: Spans,
    /// Where a form's model stands in the body.
    pub form_model: Option<Range<usize>>,
}

/// The values of the top-level members that a splice may touch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spans {
    pub model: Option<Span>,
    pub stream: Option<Span>,
    pub headers: Option<Span>,
    pub anthropic_version: Option<Span>,
    /// The list of flags that Bedrock's invoke has in the place of a header.
    pub anthropic_beta: Option<Span>,
    pub stream_options: Option<Span>,
    /// Who shall keep a batch: the gateway's own field, which stays here.
    pub provider: Option<Span>,
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
    if mount.raw {
        let claude = rest.starts_with("/anthropic/");
        let dialect = if claude { Dialect::Anthropic } else { mount.dialect() };
        let call = Call::new(Operation::Passthrough, dialect);
        return Ok(Target::Api(Call { item: Some(rest.to_owned()), ..call }));
    }
    let (allowed, target) = match rest.trim_end_matches('/') {
        "" | "/api/hello" => ("GET, HEAD", Target::Own(Own::Root)),
        "/health" | "/readyz" if mount.prefix.is_empty() => ("GET, HEAD", Target::Own(Own::Ready)),
        "/livez" if mount.prefix.is_empty() => ("GET, HEAD", Target::Own(Own::Live)),
        "/metrics" if mount.prefix.is_empty() => ("GET, HEAD", Target::Own(Own::Metrics)),
        "/api/governance/virtual-keys/quota" if mount.prefix.is_empty() => {
            ("GET, HEAD", Target::Own(Own::Quota))
        }
        rest if mount.prefix.is_empty() && is_management(rest) => {
            return Ok(Target::Own(Own::Management));
        }
        rest => api(method, mount, rest)?,
    };
    if allowed.split(", ").any(|name| name == method.as_str()) {
        return Ok(target);
    }
    let message = format!("this path takes {allowed} only");
    let mut failure = Failure::invalid(message).with_header("allow", allowed);
    failure.status = 405;
    Err(failure)
}

/// Paths of the management API, which knows its methods itself.
fn is_management(path: &str) -> bool {
    path == "/ws" || path.starts_with("/api/")
}

pub(super) const GET: &str = "GET, HEAD";
pub(super) const POST: &str = "POST";

fn api(method: Method, mount: &Mount, rest: &str) -> Result<(&'static str, Target), Failure> {
    let found = match mount.paths {
        Paths::Anthropic => anthropic_call(method, rest)?,
        Paths::OpenAi => openai_call(method, mount, rest)?,
        Paths::Bedrock => bedrock_paths::call(rest)?,
        Paths::Gemini => gemini_call(rest)?,
    };
    let Some((allowed, call)) = found else { return Err(unknown(rest)) };
    Ok((allowed, Target::Api(call)))
}

/// A call, and the methods that its path takes.
pub(super) type Found = Option<(&'static str, Call)>;

fn beside_chat(paths: Paths, method: Method, path: &str) -> Result<Found, Failure> {
    let found = endpoints::find(paths, method, path)?;
    Ok(found.map(|found| (found.allowed, found.call)))
}

/// `{base}/v1/…`: the Anthropic SDKs append the version themselves.
fn anthropic_call(method: Method, rest: &str) -> Result<Found, Failure> {
    let dialect = Dialect::Anthropic;
    let path = rest.strip_prefix("/v1").unwrap_or_default();
    Ok(match path {
        "/messages" => Some((POST, Call::new(Operation::Chat, dialect))),
        "/messages/count_tokens" => Some((POST, Call::new(Operation::CountTokens, dialect))),
        path => match beside_chat(Paths::Anthropic, method, path)? {
            None => models_call(path, dialect)?,
            found => found,
        },
    })
}

/// With and without `/v1`: the OpenAI SDKs expect it in the base URL. The Azure SDK appends
/// `/openai/…` to its endpoint, with a deployment in the path.
fn openai_call(method: Method, mount: &Mount, rest: &str) -> Result<Found, Failure> {
    let azure = rest.strip_prefix("/openai").filter(|rest| rest.starts_with('/'));
    let path = azure.filter(|_| !mount.prefix.is_empty()).unwrap_or(rest);
    let path = match path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')) {
        Some(path) => path,
        None if mount.prefix.is_empty() => return Ok(None),
        None => path,
    };
    let (deployment, path) = match path.strip_prefix("/deployments/") {
        Some(path) => {
            let Some((deployment, path)) = deployment_of(path) else { return Ok(None) };
            (Some(decoded(deployment)?), path)
        }
        None => (None, path),
    };
    let mut found = match path {
        "/chat/completions" => Some((POST, Call::new(Operation::Chat, Dialect::OpenAiChat))),
        "/responses" => Some((POST, Call::new(Operation::Chat, Dialect::OpenAiResponses))),
        "/responses/input_tokens" => {
            Some((POST, Call::new(Operation::CountTokens, Dialect::OpenAiResponses)))
        }
        path => match beside_chat(Paths::OpenAi, method, path)? {
            None => models_call(path, Dialect::OpenAiChat)?,
            found => found,
        },
    };
    let azure =
        deployment.map(|name| if name.contains('/') { name } else { format!("azure/{name}") });
    if let (Some((_, call)), Some(model)) = (&mut found, azure) {
        call.item.get_or_insert(model);
    }
    Ok(found)
}

/// `{deployment}/chat/completions` in its two parts. A deployment may be `provider/model`, which
/// not every SDK encodes.
fn deployment_of(path: &str) -> Option<(&str, &str)> {
    let (front, _) = path.rsplit_once('/')?;
    let name = ["/chat", "/audio", "/images"].iter().find_map(|group| front.strip_suffix(group));
    let name = name.unwrap_or(front);
    Some((name, path.get(name.len()..)?)).filter(|(name, _)| !name.is_empty())
}

/// `/v1beta/models/{model}:{verb}`.
fn gemini_call(rest: &str) -> Result<Found, Failure> {
    let path = ["/v1beta", "/v1"].iter().find_map(|version| rest.strip_prefix(version));
    let Some(path) = path else { return Ok(None) };
    let named = path.strip_prefix("/models/").and_then(|path| path.rsplit_once(':'));
    let Some((model, verb)) = named else { return models_call(path, Dialect::Gemini) };
    let (operation, idiom) = match verb {
        "generateContent" | "streamGenerateContent" => (Operation::Chat, None),
        "countTokens" => (Operation::CountTokens, None),
        "embedContent" => (Operation::Embedding, Some(Idiom::Gemini)),
        "batchEmbedContents" => (Operation::Embedding, Some(Idiom::GeminiBatch)),
        _ => return Ok(None),
    };
    let mut call = Call::new(operation, Dialect::Gemini);
    call.idiom = idiom;
    call.item = Some(decoded(model)?);
    call.stream = Some(verb == "streamGenerateContent");
    Ok(Some((POST, call)))
}

/// `/models` and `/models/{id}`; ids with a slash come encoded or not.
fn models_call(path: &str, dialect: Dialect) -> Result<Found, Failure> {
    if path == "/models" {
        return Ok(Some((GET, Call::new(Operation::ListModels, dialect))));
    }
    let Some(id) = path.strip_prefix("/models/") else { return Ok(None) };
    let item = Some(decoded(id)?);
    Ok(Some((GET, Call { item, ..Call::new(Operation::RetrieveModel, dialect) })))
}

pub(super) fn decoded(segment: &str) -> Result<String, Failure> {
    let text = http1::percent_decode(segment);
    text.map(Cow::into_owned).map_err(|refusal| Failure::invalid(refusal.reason))
}

fn unknown(rest: &str) -> Failure {
    Failure::not_found(format!("there is no {rest} here"))
}

/// Reads the fields that decide, and validates the body on the way.
///
/// # Errors
/// 400 with the byte offset for a body that is not JSON, too deeply nested or without a model.
pub fn ask(incoming: &Incoming, call: &Call) -> Result<Ask, Failure> {
    if incoming.head.length_required {
        let message = "a request body needs content-length or transfer-encoding: chunked";
        return Err(Failure::new(411, ErrorKind::InvalidRequest, Whose::Client, message));
    }
    let mut ask = ask_of(incoming.body(), Wanted::of(call))?;
    if let Some(model) = &call.item {
        ask.model.clone_from(model);
    }
    ask.stream = call.stream.unwrap_or(ask.stream);
    Ok(ask)
}

/// Where the model comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// It stands in the path.
    No,
    /// The body names it.
    Yes,
    /// The body may name it; else it is this one.
    Or(&'static str),
}

impl Wanted {
    fn of(call: &Call) -> Self {
        match endpoints::default_model(call.operation) {
            _ if call.item.is_some() => Self::No,
            Some(model) => Self::Or(model),
            None => Self::Yes,
        }
    }
}

fn ask_of(body: &[u8], wanted_model: Wanted) -> Result<Ask, Failure> {
    let wanted = [
        "model",
        "stream",
        "headers",
        "anthropic_version",
        "anthropic_beta",
        "stream_options",
        "fallbacks",
    ];
    let found = json_scan::scan(body, json_scan::DEPTH_MAX, &wanted);
    let [model, stream, headers, anthropic_version, anthropic_beta, stream_options, fallbacks] =
        found.map_err(|fault| {
            let what = if body.is_empty() { "the body is empty" } else { fault.what };
            Failure::invalid(format!(
                "the request body is not valid JSON: {what} at byte {}",
                fault.at
            ))
        })?;
    let spans = Spans {
        model,
        stream,
        headers,
        anthropic_version,
        anthropic_beta,
        stream_options,
        provider: None,
    };
    let value = |span: Span| body.get(span.start..span.end);
    let stream = match stream.and_then(value) {
        None | Some(b"false" | b"null") => false,
        Some(b"true") => true,
        Some(_) => return Err(Failure::invalid("stream: must be a boolean")),
    };
    let fallbacks = fallbacks.and_then(value).map_or_else(Vec::new, own_fallbacks);
    let ask = |model: String| Ok(Ask { model, stream, fallbacks, spans, ..Ask::default() });
    let raw = match (wanted_model, model.and_then(value)) {
        (Wanted::No, _) => return ask(String::new()),
        (Wanted::Or(model), None | Some(b"null")) => return ask(model.to_owned()),
        (Wanted::Yes, None) => return Err(Failure::invalid("model: field required")),
        (_, Some(raw)) => raw,
    };
    let text = std::str::from_utf8(raw).ok().and_then(json_read::text);
    match text.filter(|model| !model.trim().is_empty()) {
        Some(model) => ask(model.into_owned()),
        None => Err(Failure::invalid("model: must be a string that is not empty")),
    }
}

/// Takes the gateway's own `fallbacks` out of the body, so that no upstream sees them.
///
/// # Errors
/// 400 when the body is none that can be spliced.
pub fn take_fallbacks(incoming: &mut Incoming, call: &Call, ask: &mut Ask) -> Result<(), Failure> {
    if ask.fallbacks.is_empty() {
        return Ok(());
    }
    let mut body = incoming.body().to_vec();
    json_splice::remove_member(&mut body, "fallbacks")
        .map_err(|misfit| Failure::invalid(misfit.to_string()))?;
    incoming.buf.truncate(incoming.body_start);
    incoming.buf.extend_from_slice(&body);
    // The other members stand elsewhere now.
    ask.spans = self::ask(incoming, call)?.spans;
    Ok(())
}

/// A list of nothing but strings is the gateway's own.
fn own_fallbacks(raw: &[u8]) -> Vec<String> {
    let items = std::str::from_utf8(raw).map(json_read::items).into_iter().flatten();
    let texts: Option<Vec<_>> =
        items.map(|raw| json_read::text(raw).map(Cow::into_owned)).collect();
    texts.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api_of(method: Method, target: &str) -> Option<(Dialect, Operation, Option<String>)> {
        match route(method, target) {
            Ok(Route { target: Target::Api(call), .. }) => {
                Some((call.dialect, call.operation, call.item))
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
    fn models_stand_in_the_paths_of_bedrock_azure_and_gemini() {
        let item = |target: &str| match route(Method::Post, target) {
            Ok(Route { target: Target::Api(call), .. }) => {
                (call.dialect, call.item.unwrap(), call.stream)
            }
            other => panic!("{target}: {other:?}"),
        };
        let arn = "arn:aws:bedrock:us-east-1:1:inference-profile/us.x-v1:0";
        let encoded = "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x-v1%3A0";
        let (bedrock, azure) = (Dialect::Bedrock, Dialect::OpenAiChat);
        assert_eq!(
            item(&format!("/bedrock/model/{encoded}/converse-stream")),
            (bedrock, arn.to_owned(), Some(true))
        );
        assert_eq!(
            item("/bedrock/model/us.anthropic.claude-v1:0/invoke"),
            (bedrock, "us.anthropic.claude-v1:0".to_owned(), Some(false))
        );
        assert_eq!(
            item("/openai/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"),
            (azure, "azure/my-gpt".to_owned(), None)
        );
        assert_eq!(
            item("/genai/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
            (Dialect::Gemini, "gemini-2.5-pro".to_owned(), Some(true))
        );
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
        let ask = ask_of(body, Wanted::Yes).unwrap();
        assert_eq!((ask.model.as_str(), ask.stream), ("openai/gpt-4o", true));
    }

    #[test]
    fn bad_bodies_are_refused_with_the_place() {
        let message =
            |body: &[u8]| ask_of(body, Wanted::Yes).unwrap_err().fault.message.into_owned();
        assert!(message(br#"{"model":"x",}"#).contains("at byte 13"));
        assert!(message(b"{}").contains("model"));
        assert!(message(br#"{"model":3}"#).contains("string"));
        assert!(message(br#"{"model":"m","stream":"yes"}"#).contains("boolean"));
        assert!(message(b"").contains("empty"));
    }
}
