//! Writes the head of an answer to a client.
//!
//! In: a status, headers, how the body is framed. Out: bytes, ready for the socket. Hop-by-hop
//! headers are the writer's own affair; values that could split a head are left out.
//! Never: forwards `set-cookie` or a header that would speak for this server.

use crate::net::client_conn::Protocol;
use crate::net::times::Times;
use crate::wire::http1;
use std::rc::Rc;
use std::time::Duration;

/// Headers of an upstream's answer that never reach the client: hop-by-hop ones, and those by which
/// the upstream's server speaks of itself.
const KEPT_BACK: [&str; 15] = [
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "te",
    "trailer",
    "upgrade",
    "proxy-authenticate",
    "proxy-connection",
    "set-cookie",
    "alt-svc",
    "strict-transport-security",
    "www-authenticate",
    "access-control-allow-origin",
    "access-control-expose-headers",
];

/// Whether a header of an upstream stays between it and the gateway.
pub fn kept_back(name: &str) -> bool {
    KEPT_BACK.iter().any(|kept| kept.eq_ignore_ascii_case(name))
}

/// What the client's request said about its answer.
#[derive(Debug, Clone)]
pub struct Terms {
    pub protocol: Protocol,
    pub keep_alive: bool,
    /// HEAD: the head of the answer, but not its body.
    pub head_only: bool,
    /// OPTIONS: its status, and the request headers that a browser's page may send.
    pub preflight: Option<(u16, String)>,
    /// Lines that every answer to this client carries (CORS), each with its line end.
    pub always: Vec<u8>,
    /// The client wants to know where the time went (`x-bf-server-timing: true`).
    pub timing: Option<Rc<Times>>,
}

impl Terms {
    /// Whether a body of unknown length goes in chunks.
    pub fn chunked(&self) -> bool {
        self.protocol == Protocol::Http11
    }
}

/// A head being written.
#[derive(Debug)]
pub struct Head<'t> {
    terms: &'t Terms,
    out: Vec<u8>,
    keep_alive: bool,
}

impl<'t> Head<'t> {
    pub fn new(terms: &'t Terms, status: u16) -> Self {
        let mut out = Vec::with_capacity(1024);
        http1::status_line(&mut out, status);
        Self { terms, out, keep_alive: terms.keep_alive }
    }

    /// Adds a header, unless its value could break out of its line.
    pub fn header(&mut self, name: &str, value: &[u8]) -> &mut Self {
        http1::header(&mut self.out, name, value);
        self
    }

    /// Adds a header of the upstream's answer, if it is one for the client.
    pub fn pass(&mut self, name: &str, value: &[u8]) -> &mut Self {
        if !kept_back(name) {
            http1::header(&mut self.out, name, value);
        }
        self
    }

    /// The connection ends with this answer.
    pub fn closing(&mut self) -> &mut Self {
        self.keep_alive = false;
        self
    }

    /// Ends the head for a body of `length` bytes; the body is not part of it.
    pub fn with_length(&mut self, length: usize) -> Vec<u8> {
        let mut text = itoa::Buffer::new();
        http1::header(&mut self.out, "content-length", text.format(length).as_bytes());
        self.finish()
    }

    /// Ends the head for a body of unknown length: chunked, or up to the end of the connection
    /// (1.0) or stream (2).
    pub fn with_chunks(&mut self) -> Vec<u8> {
        match self.terms.protocol {
            Protocol::Http10 => self.keep_alive = false,
            Protocol::Http11 => {
                http1::header(&mut self.out, "transfer-encoding", b"chunked");
            }
            Protocol::Http2 => {}
        }
        self.finish()
    }

    /// Ends the head of an answer that can't have a body (204).
    pub fn without_body(&mut self) -> Vec<u8> {
        self.finish()
    }

    /// The whole answer with its body.
    pub fn whole(&mut self, body: &[u8]) -> Vec<u8> {
        self.out.reserve(128 + self.terms.always.len() + body.len());
        let mut out = self.with_length(body.len());
        if !self.terms.head_only {
            out.extend_from_slice(body);
        }
        out
    }

    /// Ends the head; the timing comes last, so that it misses nothing.
    fn finish(&mut self) -> Vec<u8> {
        self.out.extend_from_slice(&self.terms.always);
        let connection: Option<&[u8]> = match (self.terms.protocol, self.keep_alive) {
            (Protocol::Http11, false) => Some(b"close"),
            (Protocol::Http10, true) => Some(b"keep-alive"),
            _ => None,
        };
        if let Some(value) = connection {
            http1::header(&mut self.out, "connection", value);
        }
        if let Some(times) = &self.terms.timing {
            http1::header(&mut self.out, "server-timing", timing(times).as_bytes());
        }
        self.out.extend_from_slice(b"\r\n");
        std::mem::take(&mut self.out)
    }
}

/// Up to this head: what the gateway took for itself, and what it waited for the upstream.
fn timing(times: &Times) -> String {
    let ms = |span: Duration| span.as_secs_f64() * 1000.0;
    let (total, waited) = (times.total(), times.waited());
    format!(
        "gateway;dur={:.3}, upstream;dur={:.3}, total;dur={:.3}",
        ms(total.saturating_sub(waited)),
        ms(waited),
        ms(total)
    )
}
