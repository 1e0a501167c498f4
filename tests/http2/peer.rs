//! An ordinary client of HTTP/2, by the crate `h2`.

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use std::future::Future;
use std::time::Duration;
use tokio::net::TcpStream;

/// Runs a client on this thread.
pub fn run<F: Future>(work: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_mins(1), work).await.expect("the test took too long")
    })
}

/// A connection that is driven in the background.
pub async fn connect(port: u16) -> SendRequest<Bytes> {
    connect_with(port, &Builder::new()).await
}

pub async fn connect_with(port: u16, builder: &Builder) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (client, connection) = builder.handshake(socket).await.unwrap();
    tokio::spawn(async move {
        // its end shows in the streams
        let _ = connection.await;
    });
    client
}

pub fn request(path: &str) -> Request<()> {
    let method = if path.contains("/v1/") { "POST" } else { "GET" };
    let uri = format!("http://gateway.test{path}");
    Request::builder()
        .method(method)
        .uri(uri)
        .header("content-type", "application/json")
        .body(())
        .unwrap()
}

/// Sends a request whole.
pub async fn send(
    client: &SendRequest<Bytes>,
    request: Request<()>,
    body: &'static str,
) -> ResponseFuture {
    let mut client = client.clone().ready().await.unwrap();
    let (answer, mut sending) = client.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        sending.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
    }
    answer
}

/// The next piece of an answer; `None` at its end.
pub async fn piece(body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let piece = body.data().await?;
    if let Ok(piece) = &piece {
        let _ = body.flow_control().release_capacity(piece.len());
    }
    Some(piece)
}

/// The rest of an answer.
pub async fn rest(body: &mut RecvStream) -> Result<String, h2::Error> {
    let mut whole = Vec::new();
    while let Some(piece) = piece(body).await {
        whole.extend_from_slice(&piece?);
    }
    Ok(String::from_utf8(whole).unwrap())
}

/// Reads until `text` has come.
pub async fn read_to(body: &mut RecvStream, text: &str) -> String {
    let mut whole = String::new();
    while !whole.contains(text) {
        let piece = piece(body).await.expect("the stream ended").expect("the stream broke");
        whole.push_str(&String::from_utf8_lossy(&piece));
    }
    whole
}

pub struct Whole {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

pub async fn ask(
    client: &SendRequest<Bytes>,
    request: Request<()>,
    body: &'static str,
) -> Result<Whole, h2::Error> {
    let (parts, mut body) = send(client, request, body).await.await?.into_parts();
    let body = rest(&mut body).await?;
    Ok(Whole { status: parts.status.as_u16(), headers: parts.headers, body })
}
