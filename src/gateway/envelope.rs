//! What a body holds beside its language: the model, whether to stream, and Claude's version and
//! beta flags, each where the provider looks for it.
//!
//! In: a call's course, a body in the upstream's language, where its members stand. Out: the edits
//! that make it one for this provider. Never: touches anything else of it.

use smallvec::SmallVec;

use super::ingress::Spans;
use super::outgoing::Course;
use crate::chat::{Dialect, Extra, Request};
use crate::dialect;
use crate::provider::{Envelope, Operation};
use crate::wire::json_scan::Span;
use crate::wire::json_splice::Edit;
use crate::wire::json_write;

/// What the edits put into a body, as JSON.
#[derive(Debug)]
pub struct Texts {
    model: Vec<u8>,
    version: String,
    /// A list of the flags; empty where they are no matter of the body.
    betas: String,
}

impl Texts {
    pub fn of(course: &Course<'_>) -> Self {
        let mut model = Vec::with_capacity(course.model.len() + 2);
        json_write::string(&mut model, course.model);
        let (mut version, mut betas) = (String::new(), String::new());
        if let Envelope::Claude { version: wanted, .. } = course.endpoint.envelope {
            version = format!("\"{wanted}\"");
            betas = list(&course.betas);
        }
        Self { model, version, betas }
    }
}

/// Flags that are joined by commas, as a JSON list; empty for none.
pub fn list(flags: &str) -> String {
    let mut out = Vec::new();
    for flag in flags.split(',').map(str::trim).filter(|flag| !flag.is_empty()) {
        out.push(if out.is_empty() { b'[' } else { b',' });
        json_write::string(&mut out, flag);
    }
    if !out.is_empty() {
        out.push(b']');
    }
    String::from_utf8(out).unwrap_or_default()
}

/// Has Converse told the beta flags, which it passes on to Claude; elsewhere they are no matter of
/// the hub's. `betas`: [`list`].
pub fn tell<'a>(course: &Course<'_>, request: &mut Request<'a>, betas: &'a str) {
    let upstream = course.endpoint.dialect;
    if matches!(upstream, Dialect::Anthropic | Dialect::Bedrock) {
        request.extras.retain(|extra| extra.name != "anthropic_beta");
    }
    let takes = upstream == Dialect::Bedrock && dialect::bedrock_takes_betas(course.model);
    if takes && !betas.is_empty() {
        request.extras.push(Extra { name: "anthropic_beta".into(), raw: betas });
    }
}

/// The edits.
pub fn edits<'t>(
    course: &Course<'_>,
    spans: &Spans,
    texts: &'t Texts,
    body: &[u8],
) -> SmallVec<[Edit<'t>; 6]> {
    let mut edits = SmallVec::new();
    edits.extend(model(course, spans.model, &texts.model, body));
    edits.extend(streaming(course, spans.stream, body));
    if course.endpoint.envelope == Envelope::CohereInvoke {
        edits.push(Edit::Insert { name: "api_version", value: b"2" });
    }
    if course.endpoint.dialect != Dialect::Anthropic {
        return edits;
    }
    let is = |span: Span, text: &[u8]| span.of(body) == text;
    let version = texts.version.as_bytes();
    edits.extend(match spans.anthropic_version {
        None if version.is_empty() => None,
        None => Some(Edit::Insert { name: "anthropic_version", value: version }),
        // What another cloud's client says of its own envelope.
        Some(value) if version.is_empty() => {
            is_clouds(value.of(body)).then_some(Edit::Remove { value })
        }
        Some(value) if is(value, version) => None,
        Some(value) => Some(Edit::Replace { value, with: version }),
    });
    let betas = texts.betas.as_bytes();
    edits.extend(match spans.anthropic_beta {
        None if betas.is_empty() => None,
        None => Some(Edit::Insert { name: "anthropic_beta", value: betas }),
        Some(value) if betas.is_empty() => Some(Edit::Remove { value }),
        Some(value) if is(value, betas) => None,
        Some(value) => Some(Edit::Replace { value, with: betas }),
    });
    edits
}

fn is_clouds(version: &[u8]) -> bool {
    version.starts_with(b"\"bedrock-") || version.starts_with(b"\"vertex-")
}

fn model<'t>(
    course: &Course<'_>,
    span: Option<Span>,
    quoted: &'t [u8],
    body: &[u8],
) -> Option<Edit<'t>> {
    let wanted = match course.endpoint.envelope {
        Envelope::Plain if says(course) => true,
        Envelope::Plain | Envelope::ModelInPath => span.is_some(),
        Envelope::Claude { keeps_model, .. } => keeps_model,
        Envelope::CohereInvoke => false,
    };
    match span {
        Some(value) if !wanted => Some(Edit::Remove { value }),
        Some(value) if value.of(body) != quoted => Some(Edit::Replace { value, with: quoted }),
        None if wanted => Some(Edit::Insert { name: "model", value: quoted }),
        _ => None,
    }
}

/// `stream` where the body has to say it, and nowhere else.
fn streaming(course: &Course<'_>, span: Option<Span>, body: &[u8]) -> Option<Edit<'static>> {
    let stream = course.stream;
    if let (Envelope::Claude { keeps_stream: false, .. }, Some(value)) =
        (course.endpoint.envelope, span)
    {
        return Some(Edit::Remove { value });
    }
    let said = span.is_some_and(|value| value.of(body) == b"true");
    let silent = matches!(course.endpoint.envelope, Envelope::Claude { keeps_stream: false, .. });
    if silent || said == stream || !says(course) || course.operation != Operation::Chat {
        return None;
    }
    Some(match span {
        Some(value) => {
            Edit::Replace { value, with: if stream { b"true".as_slice() } else { b"false" } }
        }
        None => Edit::Insert { name: "stream", value: b"true" },
    })
}

/// Whether such bodies name their model and say whether to stream.
fn says(course: &Course<'_>) -> bool {
    matches!(course.operation, Operation::Chat | Operation::CountTokens)
        && !matches!(course.endpoint.dialect, Dialect::Bedrock | Dialect::Gemini)
}

/// Whether the beta flags travel in the body.
pub fn holds_betas(course: &Course<'_>) -> bool {
    match course.endpoint.dialect {
        Dialect::Bedrock => true,
        Dialect::Anthropic => matches!(course.endpoint.envelope, Envelope::Claude { .. }),
        _ => false,
    }
}
