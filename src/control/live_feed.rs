//! The live feed: requests as they are logged, over a WebSocket at `/ws`.
//!
//! In: a connection that wants to be upgraded. Out: a message for each request, a ping now and then.
//! Who falls behind misses some, and is told how many. Never: takes anything in but control frames.

use crate::control::answer::Refusal;
use crate::control::management::{Piece, Upgraded};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use ring::digest;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

const PING: Duration = Duration::from_secs(30);
const WRITE_MAX: Duration = Duration::from_secs(10);
/// What a listener may send; it has nothing to say.
const MESSAGE_MAX: usize = 64 << 10;
const BUFFER: usize = 64 << 10;
/// RFC 6455 §1.3.
const ACCEPT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the feed listens to.
#[derive(Debug, Clone)]
pub struct LiveFeed {
    pub rows: broadcast::Sender<Arc<str>>,
    /// True once the process is about to end.
    pub closing: watch::Receiver<bool>,
}

/// `GET /ws`.
///
/// # Errors
/// 426 where no upgrade is asked for.
pub async fn open(State(feed): State<LiveFeed>, request: Request) -> Result<Response, Refusal> {
    let headers = request.headers();
    let key = headers.get("sec-websocket-key").and_then(|key| key.to_str().ok());
    let version = headers.get("sec-websocket-version").is_some_and(|version| version == "13");
    let upgraded = request.extensions().get::<Arc<Upgraded>>().cloned();
    let (Some(key), true, true, Some(upgraded)) = (key, version, asks(headers), upgraded) else {
        let message = "this is a WebSocket (version 13): ask for an upgrade";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, message));
    };
    let seal = digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{}{ACCEPT}", key.trim()).as_bytes(),
    );
    let accept = STANDARD.encode(seal);
    // Before the answer, so that nothing that happens after it is missed.
    let rows = feed.rows.subscribe();
    tokio::spawn(serve(feed.closing, rows, Arc::unwrap_or_clone(upgraded)));
    let headers = [
        (header::UPGRADE, "websocket"),
        (header::CONNECTION, "Upgrade"),
        (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

fn asks(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

async fn serve(
    mut closing: watch::Receiver<bool>,
    mut rows: broadcast::Receiver<Arc<str>>,
    upgraded: Upgraded,
) {
    let (near, far) = tokio::io::duplex(BUFFER);
    let carrying = tokio::spawn(carry(far, upgraded));
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX));
    let mut socket = WebSocketStream::from_raw_socket(near, Role::Server, Some(config)).await;
    let mut ping = tokio::time::interval(PING);
    loop {
        let message = tokio::select! {
            row = rows.recv() => match row {
                Ok(row) => Message::text(&*row),
                Err(RecvError::Lagged(missed)) => {
                    let message = serde_json::json!({"type": "missed", "count": missed});
                    Message::text(message.to_string())
                }
                Err(RecvError::Closed) => break,
            },
            _ = ping.tick() => Message::Ping(bytes::Bytes::new()),
            heard = socket.next() => match heard {
                // A close is answered while the next message is waited for, which never comes.
                Some(Ok(_)) => continue,
                _ => break,
            },
            _ = closing.wait_for(|closing| *closing) => break,
        };
        let sent = tokio::time::timeout(WRITE_MAX, socket.send(message)).await;
        if !matches!(sent, Ok(Ok(()))) {
            break;
        }
    }
    // Said or not: it is over.
    let _unheard = tokio::time::timeout(WRITE_MAX, socket.close(None)).await;
    drop(socket);
    let _ended = tokio::time::timeout(WRITE_MAX, carrying).await;
}

/// Bytes both ways between the WebSocket and the client's worker.
async fn carry(far: DuplexStream, upgraded: Upgraded) {
    let (mut read, mut write) = tokio::io::split(far);
    let Upgraded { from, to } = upgraded;
    let down = async move {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            let bytes = bytes::Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
            if to.send_async(Piece::Bytes(bytes)).await.is_err() {
                break;
            }
        }
    };
    let up = async move {
        while let Ok(bytes) = from.recv_async().await {
            if write.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = down => {}
        () = up => {}
    }
}
