//! Embeddings whose upstream speaks another language than the client, or packs its vectors
//! otherwise: read as a whole, written anew.
//!
//! In: a client's request and where it goes. Out: its vectors, in its own language. One request is
//! several calls where the upstream takes fewer texts at once. Never: answers before every vector
//! is there.

use super::Visit;
use super::account::Tally;
use super::exchange::Halt;
use super::failure::{Failure, Whose};
use super::ingress::Ask;
use super::outgoing::{self, Course};
use super::outlet;
use super::reply::Head;
use super::voice::malformed;
use crate::chat::{ErrorKind, Loss};
use crate::dialect::embedding_request::{decode, encode};
use crate::dialect::embedding_response::{self, Echo};
use crate::dialect::{Idiom, counts_of};
use crate::net::client_conn::{ClientConn, Incoming};
use crate::net::upstream::HEADROOM;
use crate::wire::json_scan::{self, DEPTH_MAX};

/// Two thousand vectors of three thousand numbers each are no more.
const ANSWER_MAX: usize = 160 << 20;

/// Whether a request's answer has to be read, and can't pass as bytes.
pub fn has_to_read(from: Idiom, to: Idiom, body: &[u8]) -> bool {
    let base64 = || {
        let wanted = json_scan::scan(body, DEPTH_MAX, &["encoding_format"]);
        matches!(wanted, Ok([Some(span)]) if span.of(body) == b"\"base64\"")
    };
    to != from || (from == Idiom::OpenAi && base64())
}

/// Has the texts embedded.
///
/// # Errors
/// What the upstream or the network did, or the client's body cannot say.
pub async fn answer(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    incoming: &mut Incoming,
    course: &Course<'_>,
    (ask, from, to): (&Ask, Idiom, Idiom),
    tally: &mut Tally,
) -> Result<(), Halt> {
    let mut loss = Loss::default();
    let same = from == to;
    let bodies = bodies(visit, incoming, course, (ask, from, to), &mut loss)?;
    tally.losses = loss.entries().len() as u64;
    let mut answers = Vec::with_capacity(bodies.len());
    let mut first = None;
    for body in bodies {
        let head = fetch(visit, client, incoming, course, (body, &mut answers), tally).await?;
        first.get_or_insert(head);
    }
    let none = || Failure::broken(&course.provider.name, "it sent no embeddings");
    let texts: Option<Vec<&str>> = answers.iter().map(|body| valid(body)).collect();
    let texts = texts.ok_or_else(none)?;
    let body = if same {
        let text = texts.first().copied().unwrap_or_default();
        tally.usage = counts_of(text);
        embedding_response::in_base64(text).unwrap_or_else(|| text.as_bytes().to_vec())
    } else {
        let parts: Option<Vec<_>> =
            texts.iter().map(|text| embedding_response::decode(to, text)).collect();
        let parts = parts.ok_or_else(none)?;
        let found = embedding_response::joined(parts.into_iter());
        tally.usage.input = found.input_tokens;
        let base64 = has_to_read(from, from, incoming.body());
        let mut out = Vec::with_capacity(texts.iter().map(|text| text.len()).sum());
        let echo = Echo { model: &ask.model, id: visit.request_id, base64 };
        embedding_response::encode(from, &found, echo, &mut out);
        out
    };
    let mut head = Head::new(visit.terms, 200);
    for (name, value) in first.into_iter().flatten() {
        head.pass(&name, &value);
    }
    head.header("content-type", b"application/json");
    tally.trail.answered(&mut head);
    if !loss.is_empty() {
        head.header("x-bf-dropped", loss.header_value().as_bytes());
    }
    let out = head.whole(&body);
    outlet::write(client, out, 0).await.map(drop)
}

type Headers = Vec<(String, Vec<u8>)>;

/// The bodies that go upstream; `None`: the client's own.
///
/// # Errors
/// What the client's body cannot say.
pub fn bodies(
    visit: &Visit<'_>,
    incoming: &Incoming,
    course: &Course<'_>,
    (ask, from, to): (&Ask, Idiom, Idiom),
    loss: &mut Loss,
) -> Result<Vec<Option<Vec<u8>>>, Failure> {
    let bodies = if from == to {
        let losing = (&mut *loss, visit.strict);
        vec![outgoing::identity_body(course, &ask.spans, None, incoming.body(), losing)?]
    } else {
        let text = std::str::from_utf8(incoming.body())
            .map_err(|_| Failure::invalid("the request body is no UTF-8"))?;
        let request = decode(from, text, loss).map_err(malformed)?;
        let bodies = encode(to, &request, course.model, loss).map_err(malformed)?;
        bodies.into_iter().map(Some).collect()
    };
    outgoing::refuse_loss(course, loss, visit.strict)?;
    Ok(bodies)
}

/// One call; its answer's body is put behind the others, its headers are given.
async fn fetch(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    incoming: &mut Incoming,
    course: &Course<'_>,
    (body, answers): (Option<Vec<u8>>, &mut Vec<Vec<u8>>),
    tally: &mut Tally,
) -> Result<Headers, Halt> {
    let (mut answer, loss) = (visit.send(client, incoming, course, body).await?, Loss::default());
    tally.status = answer.head.status;
    tally.trail.head(answer.head.status, visit.core.clock.since_start());
    let scene = visit.scene(course, (false, false), &loss);
    if !(200..300).contains(&answer.head.status) {
        return Err(visit.refused(client, &scene, answer).await);
    }
    answer.read_whole(client, course.provider, ANSWER_MAX).await?;
    let passes = |name: &str| !name.eq_ignore_ascii_case("content-type");
    let headers = answer.head.headers(answer.wire()).filter(|(name, _)| passes(name));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    answers.push(answer.buf.get(HEADROOM + answer.head.len..).unwrap_or_default().to_vec());
    answer.finish(visit.core);
    Ok(headers)
}

fn valid(body: &[u8]) -> Option<&str> {
    json_scan::validate(body, DEPTH_MAX).ok()?;
    std::str::from_utf8(body).ok()
}

/// What the gateway's own provider says to a call that it does not play.
pub fn not_played(name: &str) -> Failure {
    let message = format!("{name} answers chats only");
    Failure::new(400, ErrorKind::NotSupported, Whose::Client, message)
}
