//! Requests that the control thread answers: the management API and its live feed.
//!
//! In: a whole request under `/api`, or one that upgrades its connection. Out: the answer, piece by
//! piece as it comes. A client that leaves cancels the call. Never: waits for a mailbox that is full.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::Visit;
use super::exchange::Halt;
use super::failure::{Failure, Whose};
use super::outlet::{self, Outlet};
use super::reply::Head;
use crate::chat::ErrorKind;
pub use crate::control::management::Call;
use crate::control::management::{self, Piece, Waiting};
use crate::net::client_conn::{ClientConn, Incoming, Interrupt, Protocol};

/// For the first piece of an answer, and between two of them.
const ANSWER_MAX: Duration = Duration::from_mins(10);
/// What a client sends on an upgraded connection and nobody has taken yet.
const UPLOADS_MAX: usize = 16;

/// Has the control thread answer.
pub async fn pass(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    incoming: &Incoming,
) -> Result<(), Halt> {
    let Some(calls) = &visit.core.management else {
        return Err(Failure::not_found("there is no management API here").into());
    };
    let upgrades = incoming.protocol == Protocol::Http11 && incoming.header("upgrade").is_some();
    let (upload, uploaded) = flume::bounded(UPLOADS_MAX);
    let (pieces, here, waiting) = management::answer();
    let headers = incoming.head.headers(&incoming.buf);
    let call = Call {
        method: incoming.head.method.as_str(),
        target: incoming.head.target.str_of(&incoming.buf).into(),
        headers: headers.map(|(name, value)| (name.into(), value.into())).collect(),
        body: incoming.body().to_vec(),
        upstream: upgrades.then_some(uploaded),
        pieces,
        here,
    };
    if calls.try_send(call).is_err() {
        let message = "the management API is busy; try again";
        let failure = Failure::new(503, ErrorKind::Overloaded, Whose::Gateway, message);
        return Err(failure.with_header("retry-after", "1").into());
    }
    let head = next(client, &waiting).await?;
    let Some(Piece::Head { status, headers, length }) = head else {
        let message = "the management API gave no answer";
        return Err(Failure::new(500, ErrorKind::Api, Whose::Gateway, message).into());
    };
    let mut head = Head::new(visit.terms, status);
    for (name, value) in &headers {
        if &**name != "content-length" {
            head.header(name, value);
        }
    }
    if status == 101 {
        outlet::write(client, head.without_body(), 0).await?;
        tunnel(client, &waiting, &upload).await;
        return Err(Halt::Gone);
    }
    let counters = &visit.core.counters;
    let outlet = |head: Vec<u8>, chunked| {
        Outlet::new(head, chunked, Vec::new(), Duration::from_mins(1), counters)
    };
    let outlet = match length {
        _ if status == 204 || status == 304 => outlet(head.without_body(), false),
        Some(length) => {
            outlet(head.with_length(usize::try_from(length).unwrap_or(usize::MAX)), false)
        }
        None => outlet(head.with_chunks(), visit.terms.chunked()),
    };
    body(visit, client, &waiting, outlet).await
}

async fn body(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    waiting: &Waiting,
    mut outlet: Outlet,
) -> Result<(), Halt> {
    while let Some(piece) = next(client, waiting).await? {
        match piece {
            Piece::Bytes(bytes) if visit.terms.head_only || bytes.is_empty() => {}
            Piece::Bytes(bytes) => outlet.send(client, &bytes).await?,
            Piece::Cut | Piece::Head { .. } => return Err(Halt::Gone),
        }
    }
    if visit.terms.head_only && !outlet.committed() {
        let head = outlet.framed(b"");
        return outlet::write(client, head, 0).await.map(drop);
    }
    outlet.end(client, b"").await
}

/// The next piece; `None` at the answer's end.
async fn next(client: &mut ClientConn, waiting: &Waiting) -> Result<Option<Piece>, Halt> {
    match client.guard(ANSWER_MAX, waiting.pieces.recv_async()).await {
        Ok(piece) => Ok(piece.ok()),
        Err(Interrupt::Gone) => Err(Halt::Gone),
        Err(Interrupt::Expired) if client.has_answered() => Err(Halt::Gone),
        Err(Interrupt::Expired) => {
            let message = "the management API took too long";
            Err(Failure::new(504, ErrorKind::Timeout, Whose::Gateway, message).into())
        }
    }
}

/// Bytes both ways, until either side ends.
async fn tunnel(client: &mut ClientConn, waiting: &Waiting, upload: &flume::Sender<Vec<u8>>) {
    loop {
        let received = match select(pin!(client.receive()), pin!(waiting.pieces.recv_async())).await
        {
            Either::Left((received, _)) => Either::Left(received),
            Either::Right((piece, _)) => Either::Right(piece),
        };
        match received {
            Either::Left(Some(bytes)) => {
                if upload.send_async(bytes).await.is_err() {
                    return;
                }
            }
            Either::Right(Ok(Piece::Bytes(bytes))) => {
                if outlet::write(client, bytes.into(), 0).await.is_err() {
                    return;
                }
            }
            Either::Left(None) | Either::Right(_) => return,
        }
    }
}
