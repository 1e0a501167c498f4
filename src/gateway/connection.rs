//! A client's connection from accept to close: TLS, then one request after the other.
//!
//! In: an accepted socket. Out: answers. Never: outlives the drain; leaves a refusal unsaid.

use std::rc::Rc;
use std::sync::Arc;

use monoio::net::TcpStream;
use rustls::ServerConfig;

use super::failure::{Failure, Whose, request_id_header};
use super::reply::{Head, Terms};
use super::{Core, ingress, request_id, serve};
use crate::chat::ErrorKind;
use crate::config::Snapshot;
use crate::net::client_conn::{ClientConn, Interrupt, NoRequest, Rules};
use crate::net::socket;
use crate::net::tls::Session;
use crate::wire::http1::{Limits, Refusal};

/// Serves one connection to its end.
pub async fn run(core: Rc<Core>, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
    core.open.set(core.open.get() + 1);
    core.counters.connections.add(1);
    core.counters.connections_open.add(1);
    if let Some(mut client) = accept(&core, stream, tls).await
        && converse(&core, &mut client).await
    {
        client.linger().await;
    }
    core.counters.connections_open.sub(1);
    core.open.set(core.open.get() - 1);
}

async fn accept(
    core: &Core,
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
) -> Option<ClientConn> {
    let (reader, writer) = socket::split(stream);
    let alarm = core.clock.alarm();
    let Some(config) = tls else { return Some(ClientConn::new(reader, writer, alarm)) };
    let session = Session::server(config).ok()?;
    let limit = core.snapshot().server.header_timeout;
    alarm.set(limit);
    let securing = socket::secure(reader, writer, session);
    let (reader, writer) = alarm.within(securing).await?.ok()?;
    Some(ClientConn::new(reader, writer, alarm))
}

/// Serves requests until the connection has to end; whether the client has to be given the time to
/// read the last answer.
async fn converse(core: &Core, client: &mut ClientConn) -> bool {
    loop {
        let snapshot = core.snapshot();
        match client.next(&rules(&snapshot)).await {
            Ok(incoming) => {
                if !serve(core, client, incoming).await {
                    return true;
                }
                if core.draining.get() && !client.has_input() {
                    return false;
                }
            }
            Err(NoRequest::Closed) => return false,
            Err(NoRequest::Refused { refusal, target }) => {
                return refuse(client, refusal, &target).await.is_ok();
            }
        }
    }
}

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
    }
}

/// Says why a request was not even understood, in the dialect of the path it came on.
async fn refuse(client: &mut ClientConn, refusal: Refusal, target: &str) -> Result<(), Interrupt> {
    let dialect = ingress::mount_of(target).dialect();
    let kind = ErrorKind::of_status(refusal.status);
    let mut failure = Failure::new(refusal.status, kind, Whose::Client, refusal.reason);
    failure.close = true;
    let terms = Terms {
        http11: true,
        keep_alive: false,
        head_only: false,
        preflight: None,
        always: Vec::new(),
    };
    let id = request_id();
    let mut head = Head::new(&terms, refusal.status);
    head.header(request_id_header(dialect), id.as_bytes());
    let out = failure.render(dialect, &mut head, &id);
    client.write(out, 0, super::exchange::CLIENT_WRITE).await.map(drop)
}
