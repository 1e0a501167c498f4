//! Request targets: which path and query a request line names.
//!
//! In: the target's text as `http1::parse_request` found it. Out: the raw path and query, and
//! percent-decoded segments. Never: resolves `.` and `..`, lowers case, or decodes before the
//! path was split (an encoded slash belongs to its segment: Bedrock model ARNs have them).
//! RFC 9112 §3.2, RFC 3986 §2.1.

use std::borrow::Cow;

use crate::wire::http1::Refusal;

/// The parts of a request target, still percent-encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// Starts with `/`, or is `*` (OPTIONS about the server itself).
    pub path: &'a str,
    /// What follows the first `?`, without it.
    pub query: Option<&'a str>,
}

/// Splits a target of origin form (`/path?query`), absolute form (`http://host/path`) or `*`.
///
/// # Errors
/// 400 on an empty target, a fragment, a control byte, a space, a byte above ASCII, or any other
/// form (the authority form belongs to CONNECT, which is not served).
pub fn path_and_query(target: &str) -> Result<Target<'_>, Refusal> {
    if target.bytes().any(|byte| !(0x21..=0x7e).contains(&byte) || byte == b'#') {
        return Err(Refusal::bad("the target holds a byte that must be percent-encoded"));
    }
    if target == "*" {
        return Ok(Target { path: target, query: None });
    }
    let origin = match absolute(target) {
        Some(after_scheme) => match after_scheme.find(['/', '?']) {
            Some(0) => return Err(Refusal::bad("the target names no host")),
            Some(at) => after_scheme.get(at..).unwrap_or_default(),
            None if after_scheme.is_empty() => {
                return Err(Refusal::bad("the target names no host"));
            }
            None => "/",
        },
        None => target,
    };
    let (path, query) = match origin.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin, None),
    };
    match (path, absolute(target)) {
        ("", Some(_)) => Ok(Target { path: "/", query }),
        (path, _) if path.starts_with('/') => Ok(Target { path, query }),
        _ => Err(Refusal::bad("the target is neither a path nor an absolute address")),
    }
}

fn absolute(target: &str) -> Option<&str> {
    ["http://", "https://"].into_iter().find_map(|scheme| {
        let (head, rest) = target.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// Decodes the `%XX` of one path segment, or of one query name or value (`+` stays a plus).
///
/// # Errors
/// 400 if a `%` lacks its two hex digits, or the outcome holds a control byte or is not UTF-8.
pub fn percent_decode(encoded: &str) -> Result<Cow<'_, str>, Refusal> {
    let Some(first) = memchr::memchr(b'%', encoded.as_bytes()) else {
        return Ok(Cow::Borrowed(encoded));
    };
    let (plain, mut rest) = encoded.as_bytes().split_at(first);
    let mut decoded = Vec::with_capacity(encoded.len());
    decoded.extend_from_slice(plain);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let Some((&[high, low], after)) = rest.split_first_chunk::<2>() else {
            return Err(Refusal::bad("a percent sign without two hex digits"));
        };
        let (Some(high), Some(low)) = (hex(high), hex(low)) else {
            return Err(Refusal::bad("a percent sign without two hex digits"));
        };
        let byte = high << 4 | low;
        if byte < 0x20 || byte == 0x7f {
            return Err(Refusal::bad("a percent-encoded control byte"));
        }
        decoded.push(byte);
        rest = after;
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| Refusal::bad("percent-encoded bytes that are not UTF-8"))
}

/// The segments of a raw path, split first and decoded then.
pub fn segments(path: &str) -> impl Iterator<Item = Result<Cow<'_, str>, Refusal>> {
    path.strip_prefix('/').unwrap_or(path).split('/').map(percent_decode)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(target: &str) -> Option<(&str, Option<&str>)> {
        path_and_query(target).ok().map(|target| (target.path, target.query))
    }

    #[test]
    fn every_form_gives_its_path() {
        assert_eq!(
            split("/v1/messages?beta=true&x=?"),
            Some(("/v1/messages", Some("beta=true&x=?")))
        );
        assert_eq!(split("/"), Some(("/", None)));
        assert_eq!(split("*"), Some(("*", None)));
        assert_eq!(split("http://gateway:8080/a/b?c"), Some(("/a/b", Some("c"))));
        assert_eq!(split("HTTPS://gateway"), Some(("/", None)));
        assert_eq!(split("http://gateway?q=1"), Some(("/", Some("q=1"))));
        assert_eq!(split("/http://inner/"), Some(("/http://inner/", None)));
    }

    #[test]
    fn other_targets_are_refused() {
        for target in [
            "",
            "v1/messages",
            "?a",
            "host:443",
            "http://",
            "http:///x",
            "ftp://h/x",
            "/a b",
            "/a#b",
            "/a\tb",
            "/a\u{7f}",
            "/caf\u{e9}",
            "/a\0",
            "*x",
            "http:/x",
        ] {
            assert_eq!(
                path_and_query(target).map_err(|refusal| refusal.status),
                Err(400),
                "{target:?}"
            );
        }
    }

    #[test]
    fn segments_are_split_before_they_are_decoded() {
        let path = "/model/arn%3Aaws%3Aprofile%2Fx/invoke%20";
        let decoded: Vec<_> = segments(path).map(|segment| segment.unwrap().into_owned()).collect();
        assert_eq!(decoded, ["model", "arn:aws:profile/x", "invoke "]);
        assert!(matches!(percent_decode("plain+"), Ok(Cow::Borrowed("plain+"))));
        assert_eq!(percent_decode("%e2%82%ac").unwrap(), "\u{20ac}");
    }

    #[test]
    fn broken_percent_sequences_are_refused() {
        for segment in ["%", "%4", "%zz", "a%0", "%00", "%0d%0a", "%7F", "%ff", "%c3"] {
            assert!(percent_decode(segment).is_err(), "{segment}");
        }
    }
}
