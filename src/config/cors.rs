//! Which browsers' pages may call: `client.allowed_origins` and `client.allowed_headers`.
//!
//! In: the `Origin` and the requested headers of a preflight. Out: whether they are allowed.
//! Never: has to do with what is passed on upstream (that is the header filter's).

/// The two lists, compiled.
#[derive(Debug, Clone)]
pub struct Cors {
    origins: Vec<Box<str>>,
    headers: Vec<Box<str>>,
    any_header: bool,
}

/// What the browser builds of the SDKs send; always allowed.
const SDK_HEADERS: &[&str] = &[
    "accept",
    "authorization",
    "content-type",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "x-request-id",
    "x-requested-with",
];
const SDK_PREFIXES: &[&str] = &["anthropic-", "openai-", "x-stainless-", "x-goog-", "x-bf-"];

impl Cors {
    /// An origin may hold `*` for any run of characters. A header is a name, or `*`.
    pub fn new<'t>(
        origins: impl IntoIterator<Item = &'t str>,
        headers: impl IntoIterator<Item = &'t str>,
    ) -> Self {
        let lower = |text: &str| -> Box<str> { text.trim().to_ascii_lowercase().into() };
        let headers: Vec<_> = headers.into_iter().map(lower).collect();
        Self {
            origins: origins.into_iter().map(lower).collect(),
            any_header: headers.iter().any(|header| &**header == "*"),
            headers,
        }
    }

    /// Pages of this machine (`localhost`, `127.0.0.1`, `[::1]`, any port) are always allowed.
    pub fn allows_origin(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        is_local(&origin) || self.origins.iter().any(|pattern| matches(pattern, &origin))
    }

    /// As [`Cors::allows_origin`], but `*` alone names nobody: for what only its owner may see.
    pub fn names_origin(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        let mut named = self.origins.iter().filter(|pattern| &***pattern != "*");
        is_local(&origin) || named.any(|pattern| matches(pattern, &origin))
    }

    /// Whether a page may send this header, whatever its case.
    pub fn allows_header(&self, name: &str) -> bool {
        let name = name.trim().to_ascii_lowercase();
        self.any_header
            || SDK_HEADERS.contains(&&*name)
            || SDK_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || self.headers.iter().any(|header| **header == *name)
    }
}

fn is_local(origin: &str) -> bool {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let Some(rest) = rest else { return false };
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|host| {
        rest.strip_prefix(host).is_some_and(|port| {
            let digits = port.strip_prefix(':').unwrap_or("");
            port.is_empty() || (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        })
    })
}

/// Whether `text` is the pattern, each `*` of which stands for any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::Cors;

    #[test]
    fn this_machine_is_always_allowed_and_its_lookalikes_are_not() {
        let cors = Cors::new([], []);
        for origin in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:8080"] {
            assert!(cors.allows_origin(origin), "{origin}");
        }
        for origin in ["http://localhost.evil.example", "http://localhost:80.evil", "null"] {
            assert!(!cors.allows_origin(origin), "{origin}");
        }
    }

    #[test]
    fn origins_are_patterns() {
        let cors = Cors::new(["https://*.example.org", "https://one.example"], []);
        assert!(cors.allows_origin("https://a.b.example.org"));
        assert!(cors.allows_origin("https://ONE.example"));
        assert!(!cors.allows_origin("https://example.org"));
        assert!(!cors.allows_origin("https://a.example.org.evil"));
        assert!(!cors.allows_origin("http://one.example"));
        assert!(Cors::new(["*"], []).allows_origin("https://anything"));
    }

    #[test]
    fn what_the_sdks_send_needs_no_list() {
        let cors = Cors::new([], ["X-Tenant"]);
        for name in ["Content-Type", "anthropic-version", "x-stainless-os", "x-bf-vk", "x-tenant"] {
            assert!(cors.allows_header(name), "{name}");
        }
        assert!(!cors.allows_header("x-other"));
        assert!(Cors::new([], ["*"]).allows_header("x-other"));
    }
}
