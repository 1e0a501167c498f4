//! Which headers of a client may reach an upstream: `client.header_filter_config`.
//!
//! In: the name of a header, lower-case. Out: whether it is passed on. Never: lets a credential,
//! a hop-by-hop header or one of the gateway's own through, whatever the lists say.

/// The two lists of the configuration, compiled.
#[derive(Debug, Clone, Default)]
pub struct HeaderFilter {
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Any,
    Exact(Box<str>),
    Prefix(Box<str>),
}

impl Pattern {
    fn new(text: &str) -> Self {
        let text = text.trim().to_ascii_lowercase();
        match text.strip_suffix('*') {
            Some("") => Self::Any,
            Some(prefix) => Self::Prefix(prefix.into()),
            None => Self::Exact(text.into()),
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => name == &**exact,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }
}

impl HeaderFilter {
    /// Each entry is a name, a prefix ending in `*`, or `*`; case does not matter.
    pub fn new<'t>(
        allow: impl IntoIterator<Item = &'t str>,
        deny: impl IntoIterator<Item = &'t str>,
    ) -> Self {
        Self {
            allow: allow.into_iter().map(Pattern::new).collect(),
            deny: deny.into_iter().map(Pattern::new).collect(),
        }
    }

    /// A header as the client sent it. An allow-list is exact: with one, nothing else passes, not
    /// even what the vendor would take (`by_default`).
    pub fn passes(&self, name: &str, by_default: bool) -> bool {
        let allowed = if self.allow.is_empty() { by_default } else { matched(&self.allow, name) };
        allowed && !is_guarded(name) && !matched(&self.deny, name)
    }

    /// A header that the client asks to have passed on, by sending `x-bf-eh-<name>`; the name to
    /// send it under. Without an allow-list every unguarded name is taken.
    pub fn extra<'h>(&self, name: &'h str) -> Option<&'h str> {
        let name = name.strip_prefix("x-bf-eh-")?;
        let passes = !name.is_empty() && self.passes(name, true);
        passes.then_some(name)
    }
}

fn matched(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

/// Headers that stay between the client and the gateway: credentials, the connection's own, what
/// describes the client's body rather than the upstream's, and the gateway's own.
pub fn is_guarded(name: &str) -> bool {
    matches!(
        name,
        "authorization"
            | "cookie"
            | "set-cookie"
            | "x-api-key"
            | "api-key"
            | "x-goog-api-key"
            | "x-amz-security-token"
            | "x-amz-date"
            | "x-amz-content-sha256"
            | "host"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "expect"
            | "accept-encoding"
            | "forwarded"
    ) || ["x-bf-", "proxy-", ":"].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::{HeaderFilter, is_guarded};

    #[test]
    fn without_lists_the_vendors_headers_pass_and_others_do_not() {
        let filter = HeaderFilter::default();
        assert!(filter.passes("anthropic-beta", true));
        assert!(!filter.passes("x-tenant", false));
    }

    #[test]
    fn an_allow_list_is_exact_and_the_deny_list_wins() {
        let filter = HeaderFilter::new(["Anthropic-Beta", "x-trace-*"], ["x-trace-internal*"]);
        assert!(filter.passes("anthropic-beta", true));
        assert!(filter.passes("x-trace-id", false));
        assert!(!filter.passes("anthropic-version", true), "not listed");
        assert!(!filter.passes("x-trace-internal-id", false), "denied");
    }

    #[test]
    fn credentials_never_pass_even_under_a_star() {
        let filter = HeaderFilter::new(["*"], []);
        for name in ["authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key", "host"] {
            assert!(!filter.passes(name, true), "{name}");
            assert_eq!(filter.extra(&format!("x-bf-eh-{name}")), None, "{name}");
        }
        assert!(is_guarded("x-bf-vk") && is_guarded("proxy-authorization"));
        assert!(filter.passes("x-anything", false));
    }

    #[test]
    fn extra_headers_need_no_list_but_obey_one() {
        assert_eq!(HeaderFilter::default().extra("x-bf-eh-x-tenant"), Some("x-tenant"));
        assert_eq!(HeaderFilter::default().extra("x-bf-eh-x-bf-vk"), None);
        assert_eq!(HeaderFilter::default().extra("x-tenant"), None);
        let filter = HeaderFilter::new(["x-other"], []);
        assert_eq!(filter.extra("x-bf-eh-x-tenant"), None);
        assert_eq!(filter.extra("x-bf-eh-x-other"), Some("x-other"));
    }
}
