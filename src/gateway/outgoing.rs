//! The request as it goes upstream: head and body.
//!
//! In: the client's request, the provider, key and endpoint that were chosen. Out: a [`Parcel`].
//! Same dialect on both sides: the client's body, of which only what has to differ is spliced.
//! Otherwise the body is read into the hub and written anew, and what could not be said is listed.
//! Never: sends a credential of the client, or a header that the rules keep back.

use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;

use smallvec::SmallVec;

use super::Core;
use super::authority::Direct;
use super::envelope::{self, Texts};
use super::exchange::Parcel;
use super::failure::{Failure, Whose};
use super::ingress::Spans;
use super::signing;
use super::voice::malformed;
use crate::chat::{ErrorKind, Loss, Request};
use crate::dialect;
use crate::dialect::foreign_reasoning;
use crate::net::client_conn::Incoming;
use crate::provider::aws_sigv4::Credential;
use crate::provider::credentials::{self, Credited};
use crate::provider::header_filter::HeaderFilter;
use crate::provider::login::{Lease, Leased};
use crate::provider::{Cloud, Endpoint, Envelope, Key, Operation, Origin, Provider, Secret};
use crate::wire::http1::{self, BodyKind, Method};
use crate::wire::json_read;
use crate::wire::json_scan;
use crate::wire::json_splice::{self, Edit};

/// Named to upstreams where the client's own name is not passed on.
const USER_AGENT: &str = concat!("finops-gateway/", env!("CARGO_PKG_VERSION"));

/// A target of a request, resolved.
#[derive(Debug)]
pub struct Course<'p> {
    pub provider: &'p Provider,
    pub key: Option<&'p Key>,
    /// The client's own credential, in the place of the key's.
    pub direct: Option<&'p Direct>,
    /// What was fetched for the key.
    pub lease: Option<Rc<Lease>>,
    /// A limit has to know the usage.
    pub metered: bool,
    pub endpoint: Endpoint<'p>,
    pub operation: Operation,
    /// The model in the provider's own terms.
    pub model: &'p str,
    /// In one-to-one correspondence with the client's query; empty across dialects.
    pub query: &'p str,
    /// The connection goes through a proxy that wants the whole address.
    pub absolute: bool,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// The `anthropic-beta` flags that the provider takes, joined by commas: [`betas`].
    pub betas: String,
}

/// The client's body for an upstream of the same dialect; with other `stream_options`, where these
/// are given, and without the reasoning that the upstream would refuse; that is listed.
///
/// # Errors
/// 400 when the body is none that can be spliced, or when `strict` and something was lost.
pub fn identity_body(
    course: &Course<'_>,
    spans: &Spans,
    stream_options: Option<&[u8]>,
    body: &[u8],
    (loss, strict): (&mut Loss, bool),
) -> Result<Option<Vec<u8>>, Failure> {
    let mut edits: Vec<Edit<'_>> = Vec::new();
    // A key that a client put into its body by mistake must not travel (clients.md §0.2).
    edits.extend(spans.headers.or(spans.provider).map(|value| Edit::Remove { value }));
    edits.extend(stream_options.map(|with| match spans.stream_options {
        Some(value) => Edit::Replace { value, with },
        None => Edit::Insert { name: "stream_options", value: with },
    }));
    edits.extend(foreign_reasoning::cuts(course.endpoint.dialect, body, course.model, loss));
    refuse_loss(course, loss, strict)?;
    let texts = Texts::of(course);
    edits.extend(envelope::edits(course, spans, &texts, body));
    if edits.is_empty() {
        return Ok(None);
    }
    let mut body = body.to_vec();
    json_splice::apply(&mut body, &edits).map_err(|misfit| Failure::invalid(misfit.to_string()))?;
    Ok(Some(body))
}

/// The client's form, whole or not, with the model as the upstream knows it.
pub fn form_body(course: &Course<'_>, model: &Range<usize>, body: &[u8]) -> Option<Vec<u8>> {
    let named = course.model.as_bytes();
    let (before, after) = (body.get(..model.start)?, body.get(model.end..)?);
    (body.get(model.clone())? != named).then(|| [before, named, after].concat())
}

/// Writes the hub's request for the upstream.
///
/// # Errors
/// 400 when it can't be said at all, or when `strict` and something was lost.
pub fn encode(
    course: &Course<'_>,
    request: &Request<'_>,
    loss: &mut Loss,
    strict: bool,
) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::with_capacity(1024);
    let manner = (course.provider.row.manner)();
    dialect::encode_request(course.endpoint.dialect, request, &manner, &mut body, loss)
        .map_err(malformed)?;
    refuse_loss(course, loss, strict)?;
    if matches!(course.endpoint.envelope, Envelope::Claude { .. }) {
        let names = ["model", "stream", "anthropic_version", "anthropic_beta"];
        let found = json_scan::scan(&body, json_scan::DEPTH_MAX, &names).unwrap_or_default();
        let [model, stream, anthropic_version, anthropic_beta] = found;
        let spans = Spans { model, stream, anthropic_version, anthropic_beta, ..Spans::default() };
        let texts = Texts::of(course);
        let edits = envelope::edits(course, &spans, &texts, &body);
        json_splice::apply(&mut body, &edits)
            .map_err(|misfit| Failure::invalid(misfit.to_string()))?;
    }
    Ok(body)
}

pub fn refuse_loss(course: &Course<'_>, loss: &Loss, strict: bool) -> Result<(), Failure> {
    if !strict || loss.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} cannot carry: {} (x-bf-strict)",
        course.provider.name,
        loss.header_value().replace(',', ", ")
    );
    Err(Failure::invalid(message))
}

/// Writes the signed head for `body`, or, where that is `None`, for the client's own, which moves into the
/// parcel: `buf[start..]`.
///
/// # Errors
/// When the provider has no usable credential.
pub fn parcel(
    core: &Core,
    course: &Course<'_>,
    incoming: &mut Incoming,
    filter: &HeaderFilter,
    body: Option<Vec<u8>>,
) -> Result<Parcel, Failure> {
    let origin = course.endpoint.origin.as_ref();
    let method = method_of(course.operation, incoming.head.method);
    // Small bodies are written behind their head.
    let length = body.as_ref().map_or(incoming.body().len(), Vec::len);
    let mut head = Vec::with_capacity(1024 + length.min(super::exchange::ONE_WRITE));
    let target = target(course);
    let whole = if course.absolute {
        Cow::Owned(format!("http://{}{target}", host(origin)))
    } else {
        Cow::Borrowed(&*target)
    };
    if !http1::request_line(&mut head, method.as_str(), &whole) {
        return Err(Failure::invalid("the model's name can't stand in a request line"));
    }
    http1::header(&mut head, "host", host(origin).as_bytes());
    let credential = match credit(course, &mut head) {
        Credited::Complete => None,
        Credited::Sign => Some(aws(course).ok_or_else(|| no_credential(course.provider))?),
        Credited::NeedsKey => return Err(no_credential(course.provider)),
    };
    pass_headers(course, incoming, filter, &mut head);
    frame(course, incoming, length, &mut head);
    if let Some(credential) = credential {
        if incoming.rest != BodyKind::None {
            let message = "a body of this size can't be signed as it comes; send it as JSON";
            return Err(Failure::invalid(message));
        }
        let body = body.as_deref().unwrap_or_else(|| incoming.body());
        let region = course.endpoint.region;
        signing::sign(core, &mut head, (&target, body), credential, region);
    }
    http1::end_head(&mut head);
    let (buf, start) = match body {
        Some(body) => (body, 0),
        None => (std::mem::take(&mut incoming.buf), incoming.body_start),
    };
    Ok(Parcel { head, buf, start, head_only: method == Method::Head })
}

/// The headers of the body's form and length; `length` is what is here of it.
fn frame(course: &Course<'_>, incoming: &Incoming, length: usize, head: &mut Vec<u8>) {
    let whole = incoming.rest == BodyKind::None;
    if whole && length == 0 && method_of(course.operation, incoming.head.method) != Method::Post {
        return;
    }
    http1::header(head, "content-type", content_type(course, incoming).as_bytes());
    let packed = incoming.header("content-encoding");
    if let Some(packed) = packed.filter(|_| course.operation == Operation::Passthrough) {
        http1::header(head, "content-encoding", packed.as_bytes());
    }
    match incoming.rest {
        BodyKind::Length(left) => http1::content_length(head, (length as u64).saturating_add(left)),
        BodyKind::Chunked => drop(http1::header(head, "transfer-encoding", b"chunked")),
        BodyKind::None | BodyKind::UntilClose => http1::content_length(head, length as u64),
    }
}

/// What is asked upstream: the client's own method, where the gateway only passes its call on.
fn method_of(operation: Operation, client: Method) -> Method {
    match operation {
        Operation::ListModels | Operation::RetrieveModel => Method::Get,
        Operation::Chat | Operation::CountTokens => Method::Post,
        _ => client,
    }
}

/// JSON, unless the client's own body passes (a form, a file).
fn content_type<'i>(course: &Course<'_>, incoming: &'i Incoming) -> &'i str {
    let own = match course.operation {
        Operation::Chat | Operation::CountTokens | Operation::Embedding => None,
        _ => incoming.header("content-type"),
    };
    own.unwrap_or("application/json")
}

/// Writes the credential: the configured key's, or the client's own where it may bring one.
fn credit(course: &Course<'_>, head: &mut Vec<u8>) -> Credited {
    let mut say = |name: &str, value: &str| {
        http1::header(head, name, value.as_bytes());
    };
    let own = match course.direct {
        Some(Direct::OAuth(token)) => {
            say("authorization", &format!("Bearer {token}"));
            return Credited::Complete;
        }
        Some(Direct::Key(value)) => {
            Some(Key { value: Secret::new(value.clone()), ..Key::named("direct") })
        }
        None => None,
    };
    let key = own.as_ref().or(course.key);
    let token = match course.lease.as_deref().map(|lease| &lease.credential) {
        Some(Leased::Token(token)) => Some(token.expose()),
        Some(Leased::Aws { .. }) | None => None,
    };
    credentials::headers(course.provider, key, &course.endpoint, token, &mut say)
}

/// What the key's calls of AWS are signed with.
fn aws<'c>(course: &'c Course<'_>) -> Option<Credential<'c>> {
    if let Some(Leased::Aws { access_key_id, secret, session_token }) =
        course.lease.as_deref().map(|lease| &lease.credential)
    {
        let session_token = session_token.as_ref().map(Secret::expose);
        return Some(Credential { access_key_id, secret, session_token });
    }
    let Cloud::Aws(key) = &course.key?.cloud else { return None };
    let session_token = key.session_token.as_ref().map(Secret::expose);
    let access_key_id = key.access_key.expose();
    let credential = Credential { access_key_id, secret: &key.secret_key, session_token };
    (!access_key_id.is_empty()).then_some(credential)
}

fn no_credential(provider: &Provider) -> Failure {
    let message = format!("no key is configured for the provider {}", provider.name);
    Failure::new(401, ErrorKind::Authentication, Whose::Gateway, message)
}

fn target<'c>(course: &'c Course<'_>) -> Cow<'c, str> {
    let path = course.endpoint.target.as_str();
    if course.query.is_empty() {
        return Cow::Borrowed(path);
    }
    let (_, fixed) = path.split_once('?').unwrap_or_default();
    let mut target = path.to_owned();
    for pair in course.query.split('&').filter(|pair| !pair.is_empty()) {
        let name = name_of(pair);
        let said = fixed.split('&').any(|fixed| name_of(fixed) == name);
        if said || OWN_PARAMETERS.contains(&name) || is_credential(name) {
            continue;
        }
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(pair);
    }
    Cow::Owned(target)
}

fn name_of(pair: &str) -> &str {
    pair.split('=').next().unwrap_or_default()
}

/// Google's clients may show their key in the query, and percent-encode any letter of its name.
fn is_credential(name: &str) -> bool {
    let name = http1::percent_decode(name).unwrap_or(Cow::Borrowed(name));
    ["key", "api_key", "apikey", "access_token"]
        .iter()
        .any(|credential| credential.eq_ignore_ascii_case(&name))
}

/// Parameters of a query that are the gateway's own: whom to ask.
const OWN_PARAMETERS: [&str; 2] = ["provider", "x-model-provider"];

fn host(origin: &Origin) -> String {
    match (origin.tls, origin.port) {
        (true, 443) | (false, 80) => origin.host.to_string(),
        (_, port) => format!("{}:{port}", origin.host),
    }
}

/// On the way to a path of the provider's own, all headers pass that are not guarded or set here.
fn passes_raw(course: &Course<'_>, filter: &HeaderFilter, name: &str) -> bool {
    let mut set = course.provider.network.extra_headers.iter();
    course.operation == Operation::Passthrough
        && filter.passes(name, true)
        && (name == "anthropic-beta" || !set.any(|(extra, _)| &**extra == name))
}

/// The `anthropic-beta` flags of a call that the provider takes: the configuration's, the client's
/// header's, and those of its body, where Bedrock's clients say them (`in_body`, a JSON list).
pub fn betas(
    course: &Course<'_>,
    incoming: &Incoming,
    filter: &HeaderFilter,
    in_body: Option<&str>,
) -> String {
    let provider = course.provider;
    let passes = credentials::forwards(provider, filter, BETA);
    let mut said = String::new();
    let mut say = |flags: &str| {
        for flag in flags.split(',').map(str::trim).filter(|flag| !flag.is_empty()) {
            if !said.split(',').any(|other| other == flag) {
                said.push_str(if said.is_empty() { "" } else { "," });
                said.push_str(flag);
            }
        }
    };
    for (name, value) in incoming.head.headers(&incoming.buf) {
        let plain = name.eq_ignore_ascii_case(BETA) && (passes || passes_raw(course, filter, BETA));
        let extra = || filter.extra(&name.to_ascii_lowercase()) == Some(BETA);
        if plain || (name.len() == BETA.len() + "x-bf-eh-".len() && extra()) {
            say(&String::from_utf8_lossy(value));
        }
    }
    for flag in in_body.into_iter().flat_map(json_read::items).filter_map(json_read::text) {
        say(&flag);
    }
    let said = (!said.is_empty()).then_some(said.as_str());
    credentials::beta(provider, said).map_or_else(String::new, Cow::into_owned)
}

const BETA: &str = "anthropic-beta";

/// The client's headers that the rules let through, and the provider's own.
fn pass_headers(
    course: &Course<'_>,
    incoming: &Incoming,
    filter: &HeaderFilter,
    head: &mut Vec<u8>,
) {
    let mut sent: SmallVec<[SmallVec<[u8; 32]>; 4]> = SmallVec::new();
    for (name, value) in incoming.head.headers(&incoming.buf) {
        let mut lower: SmallVec<[u8; 64]> = SmallVec::from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        let name = std::str::from_utf8(&lower).unwrap_or_default();
        let name = match filter.extra(name) {
            Some(extra) => extra,
            None if passes_raw(course, filter, name) => name,
            None if credentials::forwards(course.provider, filter, name) => name,
            None => continue,
        };
        if name == BETA {
            continue;
        }
        if http1::header(head, name, value) {
            sent.push(SmallVec::from_slice(name.as_bytes()));
        }
    }
    if !course.betas.is_empty() && !envelope::holds_betas(course) {
        http1::header(head, "anthropic-beta", course.betas.as_bytes());
    }
    let was_sent = |name: &str| sent.iter().any(|sent| sent.as_slice() == name.as_bytes());
    let mut agent = was_sent("user-agent");
    credentials::fixed(course.provider, &course.endpoint, was_sent, &mut |name, value| {
        agent |= name == "user-agent";
        http1::header(head, name, value.as_bytes());
    });
    if !agent {
        http1::header(head, "user-agent", USER_AGENT.as_bytes());
    }
}
