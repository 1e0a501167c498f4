//! The head of an HTTP/2 request in the shape that the gateway reads: the one of HTTP/1.
//!
//! In: pseudo headers and fields, decoded and checked by the library (names in lower case, nothing
//! that speaks of a connection). Out: a [`RequestHead`] and the bytes that it points into.
//! Never: keeps what two servers could read differently. RFC 9113 §8.

use http::HeaderValue;
use http::request::Parts;

use super::client_conn::refusal;
use crate::wire::http1::{BodyKind, Headers, Limits, Method, Refusal, RequestHead, Span};

/// Writes the head of a request; `None` if it is malformed, so that its stream is reset.
///
/// # Errors
/// 400, 414, 417 or 431, as for HTTP/1.
pub(super) fn shape(
    parts: &Parts,
    no_body: bool,
    limits: &Limits,
) -> Result<Option<(RequestHead, Vec<u8>)>, Refusal> {
    let target = parts.uri.path_and_query().map_or("*", |target| target.as_str());
    if target.len() > limits.target_bytes {
        return Err(refusal(414, "the target is too long"));
    }
    if parts.headers.len() >= limits.headers {
        return Err(refusal(431, "there are too many headers"));
    }
    let mut shaping = Shaping::default();
    let target = shaping.line(target.as_bytes());
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut hosts = parts.headers.get_all("host").iter();
    let host = match (authority, hosts.next().map(HeaderValue::as_bytes), hosts.next()) {
        (Some(authority), None, _) => {
            shaping.field(b"host", authority);
            authority
        }
        (None, Some(host), None) => host,
        (Some(authority), Some(host), None) if authority.eq_ignore_ascii_case(host) => host,
        (None, None, _) => return Err(refusal(400, "there must be exactly one Host")),
        _ => return Ok(None),
    };
    if host.is_empty() || host.contains(&b'@') {
        return Ok(None);
    }
    let mut expects = false;
    let mut length = None;
    for (name, value) in &parts.headers {
        match name.as_str() {
            "expect" if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => expects = true,
            "expect" => return Err(refusal(417, "nothing but 100-continue can be expected")),
            "content-length" => {
                let number = value.to_str().ok().filter(|text| digits(text));
                match number.and_then(|text| text.parse::<u64>().ok()) {
                    Some(number) if length.replace(number).is_none() => {}
                    _ => return Ok(None),
                }
            }
            _ => {}
        }
        shaping.field(name.as_str().as_bytes(), value.as_bytes());
    }
    let body = match length {
        _ if no_body => BodyKind::None,
        Some(length) => BodyKind::Length(length),
        // The body ends where its stream does.
        None => BodyKind::Chunked,
    };
    let Shaping { buf, headers } = shaping;
    let head = RequestHead {
        method: Method::of(parts.method.as_str()),
        target,
        http11: true,
        headers,
        body,
        keep_alive: true,
        expect_continue: expects && !no_body,
        length_required: false,
        len: buf.len(),
    };
    Ok(Some((head, buf)))
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Bytes of a head, and where its fields stand in them.
#[derive(Default)]
struct Shaping {
    buf: Vec<u8>,
    headers: Headers,
}

impl Shaping {
    fn part(&mut self, bytes: &[u8]) -> Span {
        let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        let start = at(self.buf.len());
        self.buf.extend_from_slice(bytes);
        Span { start, end: at(self.buf.len()) }
    }

    fn line(&mut self, bytes: &[u8]) -> Span {
        let span = self.part(bytes);
        self.buf.extend_from_slice(b"\r\n");
        span
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        let name = self.part(name);
        self.buf.extend_from_slice(b": ");
        let value = self.line(value);
        self.headers.push((name, value));
    }
}
