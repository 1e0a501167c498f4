//! ALPN: who asks for HTTP/2 gets it, and nobody else does.

use crate::raw::{END_HEADERS, END_STREAM, HEADERS, PREFACE, Raw, SETTINGS, frame, request};
use crate::support::Gateway;
use crate::support::gateway::Start;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

fn start() -> (Gateway, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let start = Start {
        top: r#""server":{"tls":{"cert_file":"@FOLDER@/cert.pem","key_file":"@FOLDER@/key.pem"}}"#
            .into(),
        files: vec![("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())],
        ..Start::default()
    };
    (start.run(), made.cert.der().clone())
}

fn connect(
    gateway: &Gateway,
    trusted: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut socket).unwrap();
    }
    StreamOwned::new(session, socket)
}

#[test]
fn http2_is_chosen_where_it_is_offered() {
    let (gateway, trusted) = start();
    for protocols in [&[b"h2".as_slice(), b"http/1.1"][..], &[b"h2"]] {
        let tls = connect(&gateway, &trusted, protocols);
        assert_eq!(tls.conn.alpn_protocol(), Some(&b"h2"[..]));
        let mut raw = Raw(tls);
        raw.send(PREFACE);
        raw.send(&frame(SETTINGS, 0, 0, b""));
        for stream in [1, 3] {
            let head = request("GET", "/health", &[]);
            raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &head));
            assert_eq!(raw.find(HEADERS).map(|frame| frame.stream), Some(stream));
        }
    }
}

#[test]
fn http1_is_spoken_where_http2_is_not_offered() {
    let (gateway, trusted) = start();
    for protocols in [&[b"http/1.1".as_slice()][..], &[]] {
        let mut tls = connect(&gateway, &trusted, protocols);
        assert_ne!(tls.conn.alpn_protocol(), Some(&b"h2"[..]));
        tls.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        tls.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
}
