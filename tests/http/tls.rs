//! The encrypted listener, by a client that trusts only the certificate of the test.

use crate::streams::best_of_three;
use crate::support::client::post;
use crate::support::gateway::Start;
use crate::support::upstream::delta;
use crate::support::{Gateway, Upstream};
use crate::{ASK, ASK_STREAM, CHAT};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn start(upstream: &Upstream) -> (Gateway, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let start = Start {
        top: r#""server":{"tls":{"cert_file":"@FOLDER@/cert.pem","key_file":"@FOLDER@/key.pem"}}"#
            .into(),
        files: vec![("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())],
        ..Start::at(upstream.at)
    };
    (start.run(), made.cert.der().clone())
}

fn connect(gateway: &Gateway, trusted: &CertificateDer<'static>) -> Tls {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    StreamOwned::new(session, socket)
}

/// Reads until `end` has come.
fn read_to(tls: &mut Tls, end: &str) -> String {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    while !String::from_utf8_lossy(&text).contains(end) {
        let count = tls.read(&mut chunk).unwrap();
        assert!(count > 0, "closed before {end:?}: {:?}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn requests_are_served_over_tls() {
    let upstream = Upstream::plain();
    let (gateway, trusted) = start(&upstream);
    let mut tls = connect(&gateway, &trusted);
    for _ in 0..3 {
        tls.write_all(post(CHAT, ASK).as_bytes()).unwrap();
        assert!(read_to(&mut tls, "total_tokens\":4}}").starts_with("HTTP/1.1 200"));
    }
    assert_eq!(tls.conn.alpn_protocol(), Some(b"http/1.1".as_slice()));
}

#[test]
fn big_bodies_pass_both_ways() {
    let upstream = Upstream::start(|call| {
        let echoed = String::from_utf8_lossy(&call.body).into_owned();
        call.json(&echoed);
        true
    });
    let (gateway, trusted) = start(&upstream);
    let mut tls = connect(&gateway, &trusted);
    let body = ASK.replace("hi", &"long ".repeat(200_000)).replace("}]}", "}],\"end\":\"here\"}");
    tls.write_all(post(CHAT, &body).as_bytes()).unwrap();
    let answer = read_to(&mut tls, "\"end\":\"here\"}");
    assert!(answer.ends_with(&body), "the echo is not what was sent");
}

#[test]
fn a_stream_flows_event_by_event() {
    let upstream = Upstream::start(|call| {
        call.start_stream();
        for word in ["one", "two", "three"] {
            call.chunk(&delta(word));
            std::thread::sleep(Duration::from_millis(200));
        }
        call.end_stream();
        true
    });
    let (gateway, trusted) = start(&upstream);
    let mut tls = connect(&gateway, &trusted);
    tls.write_all(post(CHAT, ASK_STREAM).as_bytes()).unwrap();
    let first = read_to(&mut tls, "one");
    assert!(!first.contains("three"), "the events were held back");
    read_to(&mut tls, "three");
}

#[test]
fn a_client_that_leaves_cancels_the_upstream() {
    let (tell, closed) = std::sync::mpsc::channel();
    let upstream = Upstream::start(move |call| {
        call.start_stream();
        call.chunk(&delta("first"));
        let _ = tell.send(call.wait_closed(Duration::from_secs(5)));
        false
    });
    let (gateway, trusted) = start(&upstream);
    best_of_three("TLS", || {
        let mut tls = connect(&gateway, &trusted);
        tls.write_all(post(CHAT, ASK_STREAM).as_bytes()).unwrap();
        read_to(&mut tls, "first");
        let left = std::time::Instant::now();
        drop(tls);
        let seen = closed.recv().unwrap().expect("the upstream's connection stayed open");
        seen.saturating_duration_since(left)
    });
}

#[test]
fn plain_http_on_the_tls_port_is_closed() {
    let upstream = Upstream::plain();
    let (gateway, _) = start(&upstream);
    let mut socket = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.write_all(post(CHAT, ASK).as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert!(upstream.has_none());
}
