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
    let method = known(method);
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

fn known(method: &str) -> Method {
    match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        _ => Method::Other,
    }
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
