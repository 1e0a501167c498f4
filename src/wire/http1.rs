//! HTTP/1.1 heads: requests from hostile networks, responses from upstreams.
//!
//! In: the bytes received so far. Out: a head whose names and values are offsets into those bytes,
//! so that the buffer may move into I/O operations, and how the body is framed. Never: guesses.
//! Whatever two servers could read differently (lengths said twice, a length beside chunking, bare
//! LF, folded lines, blanks before a colon) is refused, and the connection with it. httparse splits
//! the lines; this layer decides what they may say. RFC 9112.

use std::mem::MaybeUninit;

use smallvec::SmallVec;

pub use crate::wire::http1_chunked::{Chunked, Progress};
pub use crate::wire::http1_target::{Target, path_and_query, percent_decode, segments};
pub use crate::wire::http1_write::{
    CHUNK_END, LAST_CHUNK, chunk_prefix, content_length, end_head, header, is_token, is_value,
    reason_phrase, request_line, status_line,
};

/// The most headers that any configuration can allow: they are split on the stack.
pub const HEADERS_MAX: usize = 256;
/// Empty lines that may stand before a request (RFC 9112 §2.2 asks for one at least).
const EMPTY_LINES: usize = 2;

/// What a head may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Request line, headers and blank line.
    pub head_bytes: usize,
    /// Header lines; above [`HEADERS_MAX`] it counts as that.
    pub headers: usize,
    /// The request target.
    pub target_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes: 65_536, headers: 128, target_bytes: 16_384 }
    }
}

/// The methods that any endpoint has; the caller answers 501 to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    Other,
}

impl Method {
    pub fn of(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }

    /// As it stands in a request line; empty for the others.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Other => "",
        }
    }
}

/// Where a message's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    None,
    Length(u64),
    Chunked,
    /// With the connection; responses only.
    UntilClose,
}

/// A range of the buffer that was parsed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// The bytes of the span; empty if `buf` is not the buffer that was parsed.
    pub fn of<'b>(&self, buf: &'b [u8]) -> &'b [u8] {
        buf.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// The text of the span; empty if it is not UTF-8 (targets and names always are).
    pub fn str_of<'b>(&self, buf: &'b [u8]) -> &'b str {
        std::str::from_utf8(self.of(buf)).unwrap_or_default()
    }

    /// Where `part`, a slice of `buf`, stands in it.
    fn within(buf: &[u8], part: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(buf.as_ptr() as usize);
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: offset(start), end: offset(start.wrapping_add(part.len())) }
    }
}

/// Names and values of all headers, in order; values without the blanks around them.
pub type Headers = SmallVec<[(Span, Span); 32]>;

/// Why a message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status to answer with (towards the client: 502 if a response was refused).
    pub status: u16,
    /// The rule that was broken.
    pub reason: &'static str,
    /// The connection can't be used any more: where the next message starts is not known.
    pub close: bool,
}

impl Refusal {
    pub(super) fn bad(reason: &'static str) -> Self {
        Self::with(400, reason)
    }

    fn with(status: u16, reason: &'static str) -> Self {
        Self { status, reason, close: true }
    }

    fn of_upstream(self) -> Self {
        Self { status: 502, ..self }
    }
}

/// A request's head.
#[derive(Debug, Clone)]
pub struct RequestHead {
    pub method: Method,
    /// As sent; checked by [`path_and_query`] unless the method is [`Method::Other`].
    pub target: Span,
    /// HTTP/1.1, else 1.0.
    pub http11: bool,
    pub headers: Headers,
    pub body: BodyKind,
    /// The client allows another request on this connection.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// POST, PUT or PATCH that says no length (a 1.0 body would end nowhere): answer 411.
    pub length_required: bool,
    /// Bytes of the head, blank line and empty lines before it included: the body starts here.
    pub len: usize,
}

/// A response's head.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    pub status: u16,
    pub http11: bool,
    pub headers: Headers,
    pub body: BodyKind,
    /// The upstream allows another request on this connection.
    pub keep_alive: bool,
    /// Bytes of the head: the body starts here.
    pub len: usize,
}

impl RequestHead {
    /// The value of the first header `name`; `None` if it is absent or not UTF-8.
    pub fn header<'b>(&self, buf: &'b [u8], name: &str) -> Option<&'b str> {
        find(&self.headers, buf, name)
    }

    /// All headers in order.
    pub fn headers<'b>(&'b self, buf: &'b [u8]) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        pairs(&self.headers, buf)
    }
}

impl ResponseHead {
    /// The value of the first header `name`; `None` if it is absent or not UTF-8.
    pub fn header<'b>(&self, buf: &'b [u8], name: &str) -> Option<&'b str> {
        find(&self.headers, buf, name)
    }

    /// All headers in order.
    pub fn headers<'b>(&'b self, buf: &'b [u8]) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        pairs(&self.headers, buf)
    }
}

fn find<'b>(headers: &Headers, buf: &'b [u8], name: &str) -> Option<&'b str> {
    headers
        .iter()
        .find(|(key, _)| key.of(buf).eq_ignore_ascii_case(name.as_bytes()))
        .and_then(|(_, value)| std::str::from_utf8(value.of(buf)).ok())
}

fn pairs<'b>(headers: &'b Headers, buf: &'b [u8]) -> impl Iterator<Item = (&'b str, &'b [u8])> {
    headers.iter().map(|(name, value)| (name.str_of(buf), value.of(buf)))
}

/// Parses the head at the front of `buf`; `None` until its blank line has come.
///
/// # Errors
/// 400, 414, 417, 431, 501 (transfer codings) or 505, as soon as the bytes at hand show it.
pub fn parse_request(buf: &[u8], limits: &Limits) -> Result<Option<RequestHead>, Refusal> {
    let mut skipped = 0;
    while skipped < EMPTY_LINES * 2 && buf.get(skipped..).is_some_and(|at| at.starts_with(b"\r\n"))
    {
        skipped += 2;
    }
    let lines = buf.get(skipped..).unwrap_or_default();
    if lines.first().is_some_and(|&byte| !byte.is_ascii_alphabetic() && byte != b'\r') {
        return Err(Refusal::bad("the bytes are no HTTP request"));
    }
    let Some(len) = head_len(lines, limits, request_line_ends_well)? else {
        return Ok(None);
    };
    let bytes = lines.get(..len).unwrap_or_default();
    let mut slots = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; HEADERS_MAX];
    let slots = slots.get_mut(..limits.headers.min(HEADERS_MAX)).unwrap_or_default();
    let mut request = httparse::Request::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_request_with_uninit_headers(&mut request, bytes, slots)
        .map_err(broken_rule)?;
    let (httparse::Status::Complete(_), Some(method), Some(target), Some(minor)) =
        (parsed, request.method, request.path, request.version)
    else {
        return Err(Refusal::bad("the request line is incomplete"));
    };
    if target.len() > limits.target_bytes {
        return Err(Refusal::with(414, "the target is too long"));
    }
    let method = Method::of(method);
    if method != Method::Other && path_and_query(target)?.path == "*" && method != Method::Options {
        return Err(Refusal::bad("only OPTIONS may ask about *"));
    }
    let (headers, said) = Said::read(buf, request.headers)?;
    let http11 = minor == 1;
    if said.hosts > 1 || (http11 && said.hosts == 0) {
        return Err(Refusal::bad("there must be exactly one Host"));
    }
    let body = said.framing(http11)?.unwrap_or(BodyKind::None);
    let carries = matches!(method, Method::Post | Method::Put | Method::Patch);
    Ok(Some(RequestHead {
        method,
        target: Span::within(buf, target.as_bytes()),
        http11,
        headers,
        body,
        keep_alive: said.keep_alive(http11),
        expect_continue: said.expects_continue()?
            && http11
            && !matches!(body, BodyKind::None | BodyKind::Length(0)),
        length_required: carries && body == BodyKind::None,
        len: skipped + len,
    }))
}

/// Parses the response head at the front of `buf`; `None` until its blank line has come. Interim
/// responses (status 100 to 199) are given, too: callers drop [`ResponseHead::len`] bytes and go on.
///
/// # Errors
/// 502: the same rules as for requests, and 101, which the gateway never asks for.
pub fn parse_response(
    buf: &[u8],
    limits: &Limits,
    to_head_request: bool,
) -> Result<Option<ResponseHead>, Refusal> {
    response(buf, limits, to_head_request).map_err(Refusal::of_upstream)
}

fn response(
    buf: &[u8],
    limits: &Limits,
    to_head_request: bool,
) -> Result<Option<ResponseHead>, Refusal> {
    const START: &[u8] = b"HTTP/1.";
    if buf.iter().zip(START).any(|(byte, expected)| byte != expected) {
        return Err(Refusal::bad("the bytes are no HTTP/1 response"));
    }
    let Some(len) = head_len(buf, limits, |_| Ok(()))? else {
        return Ok(None);
    };
    let bytes = buf.get(..len).unwrap_or_default();
    let mut slots = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; HEADERS_MAX];
    let slots = slots.get_mut(..limits.headers.min(HEADERS_MAX)).unwrap_or_default();
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, bytes, slots)
        .map_err(broken_rule)?;
    let (httparse::Status::Complete(_), Some(status), Some(minor)) =
        (parsed, response.code, response.version)
    else {
        return Err(Refusal::bad("the status line is incomplete"));
    };
    if status < 100 || status == 101 {
        return Err(Refusal::bad("the status was not asked for"));
    }
    let (headers, said) = Said::read(buf, response.headers)?;
    let http11 = minor == 1;
    let framing = said.framing(http11)?;
    let bodiless = to_head_request || status < 200 || status == 204 || status == 304;
    let body = if bodiless { BodyKind::None } else { framing.unwrap_or(BodyKind::UntilClose) };
    let keep_alive = said.keep_alive(http11) && body != BodyKind::UntilClose;
    Ok(Some(ResponseHead { status, http11, headers, body, keep_alive, len }))
}

/// Finds the blank line, and refuses what can be refused before it came: a line that ends in a bare
/// LF, a first line that `first_line` doesn't like, or more than the limits allow. Each call walks
/// the lines anew; there are at most [`HEADERS_MAX`] of them.
fn head_len(
    buf: &[u8],
    limits: &Limits,
    first_line: fn(&[u8]) -> Result<(), Refusal>,
) -> Result<Option<usize>, Refusal> {
    /// Method, blanks, version and line end beside the target.
    const AROUND_TARGET: usize = 64;
    let head = buf.get(..limits.head_bytes).unwrap_or(buf);
    let most = limits.headers.min(HEADERS_MAX);
    let mut start = 0;
    let mut lines = 0;
    for lf in memchr::memchr_iter(b'\n', head) {
        let line = head.get(start..lf).and_then(|line| line.strip_suffix(b"\r"));
        let line = line.ok_or(Refusal::bad("a line of the head ends in a bare LF"))?;
        if lines == 0 {
            first_line(line)?;
        } else if line.is_empty() {
            return Ok(Some(lf + 1));
        } else if lines > most {
            return Err(Refusal::with(431, "there are too many headers"));
        }
        lines += 1;
        start = lf + 1;
    }
    if lines == 0 && head.len() > limits.target_bytes.saturating_add(AROUND_TARGET) {
        return Err(Refusal::with(414, "the target is too long"));
    }
    if head.len() >= limits.head_bytes {
        return Err(Refusal::with(431, "the head is too long"));
    }
    Ok(None)
}

fn request_line_ends_well(line: &[u8]) -> Result<(), Refusal> {
    let version = memchr::memrchr(b' ', line).and_then(|at| line.get(at + 1..)).unwrap_or_default();
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Refusal::with(505, "only HTTP/1.0 and HTTP/1.1 are spoken here"))
        }
        _ => Err(Refusal::bad("the request line does not end in an HTTP version")),
    }
}

fn broken_rule(error: httparse::Error) -> Refusal {
    Refusal::bad(match error {
        httparse::Error::TooManyHeaders => {
            return Refusal::with(431, "there are too many headers");
        }
        httparse::Error::HeaderName => {
            "a header name holds a byte that no name may hold, or the line is folded"
        }
        httparse::Error::HeaderValue => "a header value holds a control byte",
        httparse::Error::NewLine => "a CR stands without its LF",
        httparse::Error::Status => "the status is not three digits",
        httparse::Error::Token => "the first line holds a byte that it may not hold",
        httparse::Error::Version => "the version is not HTTP/1.0 or HTTP/1.1",
    })
}

/// What the headers say about the message's framing and the connection.
#[derive(Debug, Default)]
struct Said<'b> {
    length: Option<u64>,
    coding: Option<&'b [u8]>,
    hosts: usize,
    expect: Option<&'b [u8]>,
    close: bool,
    stay: bool,
}

impl<'b> Said<'b> {
    fn read(buf: &'b [u8], lines: &[httparse::Header<'b>]) -> Result<(Headers, Self), Refusal> {
        let mut headers = Headers::with_capacity(lines.len());
        let mut said = Self::default();
        for line in lines {
            said.note(line.name, line.value)?;
            headers.push((Span::within(buf, line.name.as_bytes()), Span::within(buf, line.value)));
        }
        Ok((headers, said))
    }

    fn note(&mut self, name: &str, value: &'b [u8]) -> Result<(), Refusal> {
        // the length tells most headers apart without a look at their bytes
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                self.hosts += 1;
                if !value.iter().all(|&byte| is_host_byte(byte)) {
                    return Err(Refusal::bad("the Host is not a host"));
                }
            }
            6 if name.eq_ignore_ascii_case("expect") && self.expect.replace(value).is_some() => {
                return Err(Refusal::with(417, "Expect is given twice"));
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                for option in value.split(|&byte| byte == b',') {
                    let option = option.trim_ascii();
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.stay |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                let length = decimal(value).ok_or(Refusal::bad("Content-Length is no number"))?;
                if self.length.replace(length).is_some() {
                    return Err(Refusal::bad("Content-Length is given twice"));
                }
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding")
                && self.coding.replace(value).is_some() =>
            {
                return Err(Refusal::bad("Transfer-Encoding is given twice"));
            }
            _ => {}
        }
        Ok(())
    }

    /// How the body is framed; `None` if nothing is said about it.
    fn framing(&self, http11: bool) -> Result<Option<BodyKind>, Refusal> {
        let Some(coding) = self.coding else {
            return Ok(self.length.map(BodyKind::Length));
        };
        if self.length.is_some() {
            return Err(Refusal::bad("both Content-Length and Transfer-Encoding are given"));
        }
        if !http11 {
            return Err(Refusal::bad("HTTP/1.0 has no Transfer-Encoding"));
        }
        if coding.eq_ignore_ascii_case(b"chunked") {
            return Ok(Some(BodyKind::Chunked));
        }
        // a coding that looks like chunking is somebody's smuggling, not an unknown coding
        let chunky = coding.to_ascii_lowercase().windows(7).any(|part| part == b"chunked");
        if chunky || !coding.split(|&byte| byte == b',').all(|name| is_token(name.trim_ascii())) {
            return Err(Refusal::bad("Transfer-Encoding must be exactly chunked"));
        }
        Err(Refusal::with(501, "the transfer coding is not known"))
    }

    fn keep_alive(&self, http11: bool) -> bool {
        !self.close && (http11 || self.stay)
    }

    fn expects_continue(&self) -> Result<bool, Refusal> {
        match self.expect {
            None => Ok(false),
            Some(value) if value.eq_ignore_ascii_case(b"100-continue") => Ok(true),
            Some(_) => Err(Refusal::with(417, "nothing but 100-continue can be expected")),
        }
    }
}

/// Digits only: `u64::from_str` would take a sign, too.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(raw: impl AsRef<[u8]>) -> Result<Option<RequestHead>, Refusal> {
        parse_request(raw.as_ref(), &Limits::default())
    }

    fn head(raw: &str) -> RequestHead {
        request(raw).unwrap().expect("a whole head")
    }

    /// The status that a request gets, 0 if it is taken, 1 if it is incomplete.
    fn status(raw: impl AsRef<[u8]>) -> u16 {
        match request(raw) {
            Ok(Some(_)) => 0,
            Ok(None) => 1,
            Err(refusal) => {
                assert!(refusal.close, "a refused head leaves no way to find the next one");
                refusal.status
            }
        }
    }

    /// A POST with these header lines besides Host.
    fn post(lines: &str) -> String {
        format!("POST /v1/messages HTTP/1.1\r\nHost: gw\r\n{lines}\r\n")
    }

    fn response(raw: impl AsRef<[u8]>) -> Result<Option<ResponseHead>, Refusal> {
        parse_response(raw.as_ref(), &Limits::default(), false)
    }

    #[test]
    fn a_head_is_given_as_offsets() {
        let raw = "\r\nPOST /v1/messages?beta=true HTTP/1.1\r\nhost: gw:8080\r\nX-Api-Key:  k \r\n\
                   x-api-key: second\r\nContent-Length: 5\r\nX-Empty:\r\n\r\nhelloGET /";
        let head = head(raw);
        let buf = raw.as_bytes();
        assert_eq!(head.method, Method::Post);
        assert_eq!(head.target.str_of(buf), "/v1/messages?beta=true");
        assert_eq!(head.header(buf, "X-API-KEY"), Some("k"));
        assert_eq!(head.header(buf, "x-empty"), Some(""));
        assert_eq!(head.header(buf, "x-absent"), None);
        assert_eq!(head.headers(buf).nth(2), Some(("x-api-key", &b"second"[..])));
        assert_eq!(head.body, BodyKind::Length(5));
        assert!(head.http11 && head.keep_alive && !head.expect_continue && !head.length_required);
        assert_eq!(&buf[head.len..head.len + 5], b"hello");
    }

    #[test]
    fn every_cut_of_a_head_is_incomplete() {
        let raw = post("transfer-encoding: Chunked\r\nexpect: 100-Continue\r\n");
        for len in 0..raw.len() {
            assert_eq!(status(&raw.as_bytes()[..len]), 1, "{len}");
        }
        let head = head(&raw);
        assert_eq!((head.body, head.expect_continue), (BodyKind::Chunked, true));
    }

    #[test]
    fn methods_are_told_apart_by_case() {
        for (name, method) in [
            ("GET", Method::Get),
            ("HEAD", Method::Head),
            ("PUT", Method::Put),
            ("PATCH", Method::Patch),
            ("DELETE", Method::Delete),
            ("OPTIONS", Method::Options),
            ("get", Method::Other),
            ("TRACE", Method::Other),
        ] {
            assert_eq!(head(&format!("{name} / HTTP/1.1\r\nHost: a\r\n\r\n")).method, method);
        }
        assert_eq!(head("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n").method, Method::Other);
    }

    #[test]
    fn smuggling_shapes_are_refused() {
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5,5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: -5\r\n",
            "Content-Length: 5 x\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length: 5.0\r\n",
            "Content-Length: \"5\"\r\n",
            "Content-Length:\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Content-Length : 5\r\n",
            "Content-Length\t: 5\r\n",
            "Transfer-Encoding: identity, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked;q=1\r\n",
            "Transfer-Encoding: \"chunked\"\r\n",
            "Transfer-Encoding: chunked,\r\n",
            "Transfer-Encoding:\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding:\x0bchunked\r\n",
            "Transfer-Encoding: chunked\x0b\r\n",
            "Transfer-Encoding\0: chunked\r\n",
            "\x20Transfer-Encoding: chunked\r\n",
            "X: a\r\n Transfer-Encoding: chunked\r\n",
            "X: a\r\n\tfolded\r\n",
        ] {
            assert_eq!(status(post(lines)), 400, "{lines:?}");
        }
        assert_eq!(status("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
        assert_eq!(status(post("Content-Length: 18446744073709551615\r\n")), 0);
        assert_eq!(status(post("Content-Length: 005\r\n")), 0);
    }

    #[test]
    fn unknown_codings_and_expectations_are_refused_as_such() {
        assert_eq!(status(post("Transfer-Encoding: gzip\r\n")), 501);
        assert_eq!(status(post("Transfer-Encoding: identity\r\n")), 501);
        assert_eq!(status(post("Expect: 200-ok\r\nContent-Length: 1\r\n")), 417);
        assert_eq!(status(post("Expect: 100-continue\r\nExpect: 100-continue\r\n")), 417);
    }

    #[test]
    fn line_ends_are_cr_lf() {
        for raw in [
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\rX: b\r\n\r\n",
            "GET / HTTP/1.1\rHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX\r: b\r\n\r\n",
        ] {
            assert_eq!(status(raw), 400, "{raw:?}");
        }
        // a client that only ever sends LF must not wait for an answer until it times out
        assert_eq!(status("GET / HTTP/1.1\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\n"), 400);
    }

    #[test]
    fn names_and_values_hold_no_odd_bytes() {
        for line in [
            "a b: c",
            "a(b): c",
            "n\u{e9}: c",
            ": c",
            "nocolon",
            "a\0b: c",
            "a\x7fb: c",
            "a: \0",
            "a: b\x01c",
            "a: \x7f",
            "a: b\x08",
            "a: \x1b[0m",
        ] {
            assert_eq!(status(post(&format!("{line}\r\n"))), 400, "{line:?}");
        }
        let raw =
            [post("").as_bytes().strip_suffix(b"\r\n").unwrap(), b"x: \xe9\ta\r\n\r\n"].concat();
        let head = request(&raw).unwrap().unwrap();
        assert_eq!(head.headers(&raw).last(), Some(("x", &b"\xe9\ta"[..])));
        assert_eq!(head.header(&raw, "x"), None, "not UTF-8");
    }

    #[test]
    fn there_is_exactly_one_host() {
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"), 400);
        for host in ["a b", "a,b", "a/b", "user@a", "a\"", "a?b", "caf\u{e9}"] {
            assert_eq!(status(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), 400, "{host}");
        }
        for host in ["a", "a.b-c_d:80", "[::1]:8080", "127.0.0.1", ""] {
            assert_eq!(status(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), 0, "{host}");
        }
        assert_eq!(status("GET / HTTP/1.0\r\n\r\n"), 0);
    }

    #[test]
    fn bad_first_lines_are_refused_before_the_head_is_whole() {
        for line in [
            "GET /",
            "GET",
            "GET / ",
            "GET  / HTTP/1.1 ",
            "GET / http/1.1",
            "GET / HTTP/1.1 ",
            "GET / HTTP/11",
            "GET / HTTP/1.10",
            "GET / HTTPS/1.1",
            "GET / HTTP/1,1",
            "/ GET",
        ] {
            assert_eq!(status(format!("{line}\r\n")), 400, "{line:?}");
        }
        for version in ["0.9", "1.2", "2.0", "3.0", "9.9"] {
            assert_eq!(status(format!("GET / HTTP/{version}\r\n")), 505, "{version}");
        }
        assert_eq!(status("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
        assert_eq!(status(b"\x16\x03\x01\x02\x00\x01"), 400, "TLS on the plain port");
        assert_eq!(status("\r\n\r\n\r\n"), 400);
        assert_eq!(status(" GET / HTTP/1.1\r\n"), 400);
    }

    #[test]
    fn bad_targets_are_refused() {
        for line in [
            "GET  / HTTP/1.1",
            "GET / / HTTP/1.1",
            "GET a HTTP/1.1",
            "GET * HTTP/1.1",
            "POST * HTTP/1.1",
            "GET /a#b HTTP/1.1",
            "GET /\x01 HTTP/1.1",
            "GET /\x7f HTTP/1.1",
            "GET /\u{e9} HTTP/1.1",
            "GET /\t HTTP/1.1",
            "GET a:443 HTTP/1.1",
            "GET http:// HTTP/1.1",
            "G@T / HTTP/1.1",
        ] {
            assert_eq!(status(format!("{line}\r\nHost: a\r\n\r\n")), 400, "{line:?}");
        }
        for line in ["OPTIONS *", "GET http://a/b?c", "GET /a%20b?c=d|e", "GET //a"] {
            assert_eq!(status(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")), 0, "{line:?}");
        }
    }

    #[test]
    fn heads_have_limits() {
        let target =
            |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "t".repeat(len - 1));
        assert_eq!(status(target(16_384)), 0);
        assert_eq!(status(target(16_385)), 414);
        assert_eq!(
            status(format!("GET /{}", "t".repeat(17_000))),
            414,
            "no need to wait for its end"
        );
        let lines = |count: usize| post(&"x: y\r\n".repeat(count - 1));
        assert_eq!(status(lines(128)), 0);
        assert_eq!(status(lines(129)), 431);
        assert_eq!(status(lines(129).trim_end()), 1);
        assert_eq!(status(lines(140).trim_end()), 431, "no need to wait for the blank line");
        let around = post("x: \r\n").len();
        let sized = |len: usize| post(&format!("x: {}\r\n", "v".repeat(len - around)));
        assert_eq!(status(sized(65_536)), 0);
        assert_eq!(status(sized(65_537)), 431);
        assert_eq!(status(&sized(70_000).as_bytes()[..65_535]), 1);
        assert_eq!(status(&sized(70_000).as_bytes()[..65_536]), 431);
        let small = Limits { head_bytes: 1 << 20, headers: 100_000, target_bytes: 10 };
        let many = lines(HEADERS_MAX + 1);
        assert_eq!(parse_request(lines(HEADERS_MAX).as_bytes(), &small).unwrap_err().status, 414);
        assert_eq!(parse_request(many.as_bytes(), &small).unwrap_err().status, 431);
    }

    #[test]
    fn connections_stay_or_close_as_asked() {
        let stays = |version: &str, lines: &str| {
            head(&format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n")).keep_alive
        };
        assert!(stays("1.1", ""));
        assert!(stays("1.1", "Connection: TE, x\r\n"));
        assert!(!stays("1.1", "Connection: Close\r\n"));
        assert!(!stays("1.1", "Connection: TE , close\r\n"));
        assert!(!stays("1.1", "Connection: keep-alive\r\nConnection: close\r\n"));
        assert!(!stays("1.0", ""));
        assert!(stays("1.0", "Connection: Keep-Alive\r\n"));
        assert!(!stays("1.0", "Connection: keep-alive, close\r\n"));
    }

    #[test]
    fn a_body_must_be_announced() {
        for method in ["POST", "PUT", "PATCH"] {
            let head =
                head(&format!("{method} / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"));
            assert!(head.length_required && head.body == BodyKind::None && !head.expect_continue);
        }
        assert!(!head("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n").length_required);
        let empty = head(&post("Content-Length: 0\r\nExpect: 100-continue\r\n"));
        assert!(!empty.length_required && !empty.expect_continue);
        let old = "POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n";
        assert!(!head(old).expect_continue, "HTTP/1.0 has no interim responses");
        assert_eq!(
            head("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").body,
            BodyKind::Length(3)
        );
    }

    #[test]
    fn responses_say_where_they_end() {
        let read = |raw: &str| {
            let head = response(raw).unwrap().unwrap();
            (head.status, head.body, head.keep_alive)
        };
        assert_eq!(
            read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"),
            (200, BodyKind::Length(3), true)
        );
        assert_eq!(
            read("HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n"),
            (200, BodyKind::Chunked, true)
        );
        assert_eq!(read("HTTP/1.1 200 \r\n\r\n"), (200, BodyKind::UntilClose, false));
        assert_eq!(
            read("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"),
            (200, BodyKind::UntilClose, false)
        );
        assert_eq!(
            read("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n"),
            (200, BodyKind::Length(3), false)
        );
        assert_eq!(
            read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"),
            (200, BodyKind::Length(3), false)
        );
        for status in [100, 103, 204, 304] {
            let raw = format!("HTTP/1.1 {status} X\r\nContent-Length: 3\r\n\r\nHTTP/1.1 200");
            assert_eq!(read(&raw), (status, BodyKind::None, true));
        }
        let raw = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nRequest-Id: r1\r\n\r\n";
        let head = parse_response(raw.as_bytes(), &Limits::default(), true).unwrap().unwrap();
        assert_eq!((head.body, head.len), (BodyKind::None, raw.len()));
        assert_eq!(head.header(raw.as_bytes(), "request-id"), Some("r1"));
        assert_eq!(head.headers(raw.as_bytes()).count(), 2);
        for len in 0..raw.len() {
            assert!(response(&raw.as_bytes()[..len]).unwrap().is_none(), "{len}");
        }
    }

    #[test]
    fn responses_that_can_be_read_two_ways_are_refused() {
        for raw in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 304 X\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 3\n\n",
            "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
            "HTTP/1.1 099 X\r\n\r\n",
            "HTTP/1.1 20 X\r\n\r\n",
            "HTTP/1.1 abc X\r\n\r\n",
            "HTTP/1.2 200 OK\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "SSH-2.0-OpenSSH",
            "\x15\x03\x03",
        ] {
            let refusal = response(raw).expect_err(raw);
            assert!(refusal.status == 502 && refusal.close, "{raw:?}");
        }
    }
}
