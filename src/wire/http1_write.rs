//! Writes HTTP/1.1 heads and chunk framing into a buffer.
//!
//! In: names and values from configuration, clients and upstreams. Out: head bytes appended to a
//! `Vec`. Never: writes a name that is no token or a value with CR, LF, NUL or another control
//! byte, so nobody can slip a header or a second message into what the gateway sends.
//! RFC 9112 §3, §4, §7.1.

/// What ends the payload of each chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// The chunk that ends a body, with no trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends `METHOD target HTTP/1.1`; writes nothing and gives `false` unless the method is a token
/// and the target printable ASCII without spaces.
#[must_use = "false means that nothing was written"]
pub fn request_line(out: &mut Vec<u8>, method: &str, target: &str) -> bool {
    let sound = is_token(method.as_bytes())
        && !target.is_empty()
        && target.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if sound {
        out.reserve(method.len() + target.len() + 12);
        out.extend_from_slice(method.as_bytes());
        out.push(b' ');
        out.extend_from_slice(target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
    }
    sound
}

/// Appends `HTTP/1.1 <status> <reason>`; a status outside 100..=999 is written as 500.
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    let status = if (100..=999).contains(&status) { status } else { 500 };
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends one header line; writes nothing and gives `false` if the name is no token or the value
/// holds a control byte other than a tab.
#[must_use = "false means that nothing was written"]
pub fn header(out: &mut Vec<u8>, name: &str, value: &[u8]) -> bool {
    let sound = is_token(name.as_bytes()) && is_value(value);
    if sound {
        out.reserve(name.len() + value.len() + 4);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    sound
}

/// Appends `content-length`.
pub fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Ends the head.
pub fn end_head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// The line before a chunk of `len` payload bytes: the buffer, and how much of it is used. The
/// payload and [`CHUNK_END`] follow it. A length of 0 would end the body; callers skip it.
pub fn chunk_prefix(len: usize) -> ([u8; 18], usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut line = [0; 18];
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1) as usize;
    for (at, byte) in line.iter_mut().take(digits).enumerate() {
        *byte = HEX[len >> (4 * (digits - 1 - at)) & 15];
    }
    for (byte, end) in line.iter_mut().skip(digits).zip(b"\r\n") {
        *byte = *end;
    }
    (line, digits + 2)
}

/// The usual reason phrase; empty for codes without one.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        529 => "Overloaded",
        _ => "",
    }
}

/// Whether `name` is a header name or a method (RFC 9110 §5.6.2).
pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| is_token_byte(byte))
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether `value` may stand in a header: no control bytes but the tab.
pub fn is_value(value: &[u8]) -> bool {
    value.iter().all(|&byte| (byte >= 0x20 && byte != 0x7f) || byte == b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_as_written() {
        let mut out = Vec::new();
        assert!(request_line(&mut out, "POST", "/v1/messages?beta=true"));
        assert!(header(&mut out, "Host", b"api.example"));
        content_length(&mut out, 12);
        end_head(&mut out);
        assert_eq!(
            out,
            b"POST /v1/messages?beta=true HTTP/1.1\r\nHost: api.example\r\ncontent-length: 12\r\n\r\n"
        );
        out.clear();
        status_line(&mut out, 429);
        status_line(&mut out, 299);
        status_line(&mut out, 7);
        assert_eq!(
            out,
            b"HTTP/1.1 429 Too Many Requests\r\nHTTP/1.1 299 \r\nHTTP/1.1 500 Internal Server Error\r\n"
        );
    }

    #[test]
    fn nothing_can_be_injected() {
        let mut out = Vec::new();
        for value in [&b"a\r\nx: y"[..], b"a\nb", b"a\rb", b"a\0b", b"\x7f", b"\x1b[0m"] {
            assert!(!header(&mut out, "x-name", value), "{value:?}");
        }
        for name in ["", "a b", "a:", "a\r\nb", "caf\u{e9}", "a\0"] {
            assert!(!header(&mut out, name, b"v"), "{name:?}");
        }
        for (method, target) in
            [("GET", "/a b"), ("GET", "/\r\n"), ("G T", "/"), ("", "/"), ("GET", "")]
        {
            assert!(!request_line(&mut out, method, target), "{method:?} {target:?}");
        }
        assert!(out.is_empty());
        assert!(header(&mut out, "x", b"tab\tand \xe9"));
    }

    #[test]
    fn chunk_prefixes_are_hex() {
        for len in [0, 1, 9, 15, 16, 255, 256, 65_535, 0x0123_4567, usize::MAX] {
            let (line, used) = chunk_prefix(len);
            assert_eq!(&line[..used], format!("{len:x}\r\n").as_bytes());
        }
    }
}
