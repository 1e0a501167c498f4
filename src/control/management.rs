//! The way from a worker to the management API, and back: one port for everything.
//!
//! In: whole requests, parsed by their worker ([`Call`]), through one bounded mailbox. Out: the
//! answer's head and body in [`Piece`]s, at the pace at which the worker takes them. A client that
//! leaves drops its end, and the call is cancelled. A connection that was upgraded goes on as bytes
//! both ways. Never: on the path of an inference; knows what it carries.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request};
use futures_util::StreamExt;
use std::sync::Arc;
use tokio::sync::oneshot;
use tower::ServiceExt;

/// Calls that may wait for the control thread.
pub const CALLS_MAX: usize = 256;
/// Pieces that may wait for their worker.
const PIECES_MAX: usize = 16;

/// A request to the management API.
#[derive(Debug)]
pub struct Call {
    pub method: &'static str,
    /// Path and query.
    pub target: Box<str>,
    pub headers: Vec<(Box<str>, Box<[u8]>)>,
    pub body: Vec<u8>,
    /// What the client sends after an upgrade.
    pub upstream: Option<flume::Receiver<Vec<u8>>>,
    pub pieces: flume::Sender<Piece>,
    /// Ends when the worker has let go of its other half.
    pub here: oneshot::Receiver<()>,
}

/// A worker's end of a [`Call`]. Dropped, it cancels the call.
#[derive(Debug)]
pub struct Waiting {
    pub pieces: flume::Receiver<Piece>,
    _here: oneshot::Sender<()>,
}

/// A part of an answer. When no more come, it is over.
#[derive(Debug)]
pub enum Piece {
    Head {
        status: u16,
        headers: Vec<(Box<str>, Box<[u8]>)>,
        length: Option<u64>,
    },
    Bytes(bytes::Bytes),
    /// It broke off: the connection must not look as if it had ended well.
    Cut,
}

/// Both ends of a call's answer.
pub fn answer() -> (flume::Sender<Piece>, oneshot::Receiver<()>, Waiting) {
    let (send, pieces) = flume::bounded(PIECES_MAX);
    let (here, gone) = oneshot::channel();
    (send, gone, Waiting { pieces, _here: here })
}

/// The bytes of an upgraded connection, for whoever answers with 101.
#[derive(Debug, Clone)]
pub struct Upgraded {
    /// From the client; ends with the connection.
    pub from: flume::Receiver<Vec<u8>>,
    /// To the client.
    pub to: flume::Sender<Piece>,
}

/// Answers calls until no worker is left.
pub async fn run(calls: flume::Receiver<Call>, router: Router) {
    while let Ok(call) = calls.recv_async().await {
        let router = router.clone();
        tokio::spawn(async move {
            let Call { method, target, headers, body, upstream, pieces, here } = call;
            let Some(request) = request(method, &target, &headers, body) else {
                refuse(&pieces).await;
                return;
            };
            let mut request = request;
            if let Some(from) = upstream {
                let upgraded = Upgraded { from, to: pieces.clone() };
                request.extensions_mut().insert(Arc::new(upgraded));
            }
            tokio::select! {
                () = serve(router, request, &pieces) => {}
                _ = here => {}
            }
        });
    }
}

fn request(
    method: &str,
    target: &str,
    headers: &[(Box<str>, Box<[u8]>)],
    body: Vec<u8>,
) -> Option<Request<Body>> {
    let mut request = Request::builder().method(method).uri(target).body(Body::from(body)).ok()?;
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(request)
}

async fn serve(router: Router, request: Request<Body>, pieces: &flume::Sender<Piece>) {
    let Ok(response) = router.oneshot(request).await;
    let upgraded = response.status() == 101;
    let (parts, body) = response.into_parts();
    let length = axum::body::HttpBody::size_hint(&body).exact().filter(|_| !upgraded);
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str().into(), value.as_bytes().into()));
    let head = Piece::Head { status: parts.status.as_u16(), headers: headers.collect(), length };
    if pieces.send_async(head).await.is_err() || upgraded {
        return;
    }
    let mut body = body.into_data_stream();
    while let Some(data) = body.next().await {
        let piece = data.map_or(Piece::Cut, Piece::Bytes);
        let cut = matches!(piece, Piece::Cut);
        if pieces.send_async(piece).await.is_err() || cut {
            return;
        }
    }
}

async fn refuse(pieces: &flume::Sender<Piece>) {
    let body = br#"{"is_bifrost_error":true,"status_code":400,"error":{"type":"invalid_request_error","message":"the request line or a header cannot be used"}}"#;
    let json: Box<[u8]> = b"application/json".as_slice().into();
    let headers = vec![("content-type".into(), json)];
    let head = Piece::Head { status: 400, headers, length: Some(body.len() as u64) };
    // The client may have gone.
    let _gone = pieces.send_async(head).await;
    let _gone = pieces.send_async(Piece::Bytes(bytes::Bytes::from_static(body))).await;
}
