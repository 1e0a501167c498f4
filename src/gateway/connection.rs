//! A client's connection from accept to close: TLS, which HTTP, then one request after the other.
//!
//! In: an accepted socket. Out: answers. Never: outlives the drain; leaves a refusal unsaid.

use std::rc::Rc;
use std::sync::Arc;

use monoio::net::TcpStream;
use rustls::ServerConfig;

use super::failure::{Failure, Whose, request_id_header};
use super::reply::{Head, Terms};
use super::{Core, ingress, passage, request_id, serve};
use crate::chat::ErrorKind;
use crate::config::Snapshot;
use crate::net::client_conn::{ClientConn, Interrupt, NoRequest, Rules, Way};
use crate::net::client_http1::Http1Conn;
use crate::net::client_http2::Http2Conn;
use crate::net::socket::{self, Reader, Writer};
use crate::net::tls::Session;
use crate::wire::http1::{Limits, Refusal};

/// Serves one connection to its end.
pub async fn run(core: Rc<Core>, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
    core.open.set(core.open.get() + 1);
    core.counters.connections.add(1);
    core.counters.connections_open.add(1);
    if let Some((halves, multiplexed)) = accept(&core, stream, tls).await {
        if multiplexed {
            Box::pin(multiplex(&core, halves, Vec::new())).await;
        } else {
            serve_http1(&core, halves).await;
        }
    }
    core.counters.connections_open.sub(1);
    core.open.set(core.open.get() - 1);
}

/// Both halves of a connection, and whether the client has chosen HTTP/2.
async fn accept(
    core: &Core,
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
) -> Option<((Reader, Writer), bool)> {
    let (reader, writer) = socket::split(stream);
    let Some(config) = tls else { return Some(((reader, writer), false)) };
    let session = Session::server(config).ok()?;
    let limit = core.snapshot().server.header_timeout;
    let alarm = core.clock.alarm();
    alarm.set(limit);
    let securing = socket::secure(reader, writer, session);
    let halves = alarm.within(securing).await?.ok()?;
    let multiplexed = halves.0.chose_http2();
    Some((halves, multiplexed))
}

async fn serve_http1(core: &Rc<Core>, (reader, writer): (Reader, Writer)) {
    let conn = Http1Conn::new(reader, writer, core.clock.alarm());
    let mut client = ClientConn::new(Way::Http1(conn));
    let ending = converse(core, &mut client).await;
    let Way::Http1(client) = client.way else { return };
    match ending {
        Ending::Silent => {}
        Ending::Spoken => client.linger().await,
        Ending::Http2 => {
            if let Some((reader, writer, received)) = client.into_parts() {
                Box::pin(multiplex(core, (reader, writer), received)).await;
            }
        }
    }
}

/// Serves a client of HTTP/2: each stream as a client of its own, by the same path as any request.
/// `received` are bytes that were read already.
async fn multiplex(core: &Rc<Core>, halves: (Reader, Writer), received: Vec<u8>) {
    let rules = rules(&core.snapshot());
    let opening = Http2Conn::open(halves, received, rules, Rc::clone(&core.clock));
    let Some(mut connection) = opening.await else { return };
    core.counters.http2_connections.add(1);
    while let Some(stream) = connection.next(&core.draining).await {
        let core = Rc::clone(core);
        monoio::spawn(async move {
            let mut client = ClientConn::new(Way::Http2(stream));
            converse(&core, &mut client).await;
            if let Way::Http2(stream) = client.way {
                stream.finish();
            }
        });
    }
    core.counters.http2_refused.add(u64::from(connection.is_refused()));
    connection.close().await;
}

/// How a connection, or a stream of one, ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Silent,
    /// The client has to be given the time to read the last answer.
    Spoken,
    /// It goes on in HTTP/2.
    Http2,
}

/// Serves requests until the connection has to end.
async fn converse(core: &Core, client: &mut ClientConn) -> Ending {
    loop {
        let snapshot = core.snapshot();
        match client.next(&rules(&snapshot)).await {
            Ok(incoming) => {
                if !serve(core, client, incoming).await {
                    return Ending::Spoken;
                }
                if core.draining.get() && !client.has_input() {
                    return Ending::Silent;
                }
            }
            Err(NoRequest::Closed) => return Ending::Silent,
            Err(NoRequest::Http2) => return Ending::Http2,
            Err(NoRequest::Refused { refusal, target }) => {
                let said = refuse(client, refusal, &target).await;
                return if said.is_ok() { Ending::Spoken } else { Ending::Silent };
            }
        }
    }
}

/// What a connection may cost, by the configuration in force.
fn rules(snapshot: &Snapshot) -> Rules {
    let server = &snapshot.server;
    let limits = Limits {
        head_bytes: server.max_header_bytes,
        headers: server.max_headers,
        ..Limits::default()
    };
    Rules {
        limits,
        body_max: snapshot.client.max_body_bytes,
        header_timeout: server.header_timeout,
        idle_timeout: server.idle_timeout,
        streams: passage::streams,
    }
}

/// Says why a request was not even understood, in the dialect of the path it came on.
async fn refuse(client: &mut ClientConn, refusal: Refusal, target: &str) -> Result<(), Interrupt> {
    let dialect = ingress::mount_of(target).dialect();
    let kind = ErrorKind::of_status(refusal.status);
    let mut failure = Failure::new(refusal.status, kind, Whose::Client, refusal.reason);
    failure.close = true;
    let terms = Terms {
        protocol: client.protocol(),
        keep_alive: false,
        head_only: false,
        preflight: None,
        always: Vec::new(),
        timing: None,
    };
    let id = request_id();
    let mut head = Head::new(&terms, refusal.status);
    head.header(request_id_header(dialect), id.as_bytes());
    let out = failure.render(dialect, &mut head, &id);
    client.write(out, 0, super::exchange::CLIENT_WRITE).await.map(drop)
}
