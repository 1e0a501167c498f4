//! The headers that a call needs beside its body: credential, version, beta flags.
//!
//! In: a provider, the key drawn for the call, its endpoint, and a token where one had to be
//! fetched. Out: names and values, one at a time. Never: fetches or signs anything; it says what
//! is left to do ([`Credited`]).

use crate::dialect::Dialect;
use crate::provider::header_filter::HeaderFilter;
use crate::provider::{Auth, Betas, Cloud, Endpoint, Envelope, Key, Provider};
use std::borrow::Cow;

/// How far the credential headers came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Credited {
    /// Nothing is missing.
    Complete,
    /// The request has to be signed (AWS Signature Version 4) with the key's AWS credentials.
    Sign,
    /// The provider wants a key or a token, and there is none.
    NeedsKey,
}

/// Says the credential headers of one call, all of them lower-case. `token` is an OAuth token for
/// the key, where the control thread fetched one; it is used in place of the key's value.
pub fn headers(
    provider: &Provider,
    key: Option<&Key>,
    endpoint: &Endpoint<'_>,
    token: Option<&str>,
    each: &mut dyn FnMut(&str, &str),
) -> Credited {
    let value = key.map(|key| key.value.expose()).filter(|value| !value.is_empty());
    let none = if provider.keyless { Credited::Complete } else { Credited::NeedsKey };
    match provider.row.auth {
        Auth::None => Credited::Complete,
        Auth::Bearer => value.map_or(none, |value| bearer(value, each)),
        Auth::Header(name) => value.map_or(none, |value| plain(name, value, each)),
        Auth::AwsSigV4 => value.map_or(Credited::Sign, |value| bearer(value, each)),
        Auth::GoogleToken => match (token, value) {
            (Some(token), _) => bearer(token, each),
            (None, Some(value)) => plain("x-goog-api-key", value, each),
            (None, None) => Credited::NeedsKey,
        },
        Auth::Azure => {
            let entra = key.is_some_and(|key| matches!(key.cloud, Cloud::Entra(_)));
            let claude = endpoint.dialect == Dialect::Anthropic;
            match (token, value) {
                (Some(token), _) => bearer(token, each),
                (None, Some(value)) if !entra => {
                    plain(if claude { "x-api-key" } else { "api-key" }, value, each)
                }
                _ => Credited::NeedsKey,
            }
        }
    }
}

fn bearer(value: &str, each: &mut dyn FnMut(&str, &str)) -> Credited {
    let mut line = String::with_capacity(7 + value.len());
    line.push_str("Bearer ");
    line.push_str(value);
    each("authorization", &line);
    Credited::Complete
}

fn plain(name: &str, value: &str, each: &mut dyn FnMut(&str, &str)) -> Credited {
    each(name, value);
    Credited::Complete
}

/// Says the headers that go out whatever the client sent: the configuration's `extra_headers`
/// but for `anthropic-beta` ([`beta`] merges that one), and the row's, which yield to a header of
/// the same name that the client sent and that is passed on (`sent` tells).
pub fn fixed(
    provider: &Provider,
    endpoint: &Endpoint<'_>,
    sent: impl Fn(&str) -> bool,
    each: &mut dyn FnMut(&str, &str),
) {
    let extra = &provider.network.extra_headers;
    for (name, value) in extra.iter().filter(|(name, _)| &**name != BETA) {
        each(name, value);
    }
    let messages = endpoint.dialect == Dialect::Anthropic && endpoint.envelope == Envelope::Plain;
    for &(name, value) in provider.row.headers {
        let fits = messages || !name.starts_with("anthropic-");
        let value = endpoint.anthropic_version.filter(|_| name == VERSION).unwrap_or(value);
        if fits && !sent(name) && !extra.iter().any(|(extra, _)| &**extra == name) {
            each(name, value);
        }
    }
}

/// Whether a header of the client, lower-case, is passed on to this provider. A header that the
/// configuration sets (`extra_headers`) is not: [`fixed`] sends that one.
pub fn forwards(provider: &Provider, filter: &HeaderFilter, name: &str) -> bool {
    let by_default = provider.row.forwards.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *pattern,
    });
    let set = provider.network.extra_headers.iter().any(|(extra, _)| &**extra == name);
    filter.passes(name, by_default) && (!set || name == BETA)
}

const BETA: &str = "anthropic-beta";
const VERSION: &str = "anthropic-version";

/// A prefix of a beta flag, and whether Azure, Vertex and Bedrock take it. Anthropic takes all.
type BetaRow = (&'static str, [bool; 3]);

const BETAS: &[BetaRow] = &[
    ("computer-use-", [true, true, true]),
    ("structured-outputs-", [true, false, true]),
    ("advanced-tool-use-", [true, false, false]),
    ("tool-search-tool-", [true, true, true]),
    ("tool-examples-", [false, false, true]),
    ("mcp-client-", [true, false, false]),
    ("prompt-caching-scope-", [true, false, false]),
    ("compact-", [true, true, true]),
    ("context-management-", [true, true, true]),
    ("files-api-", [true, false, false]),
    ("interleaved-thinking-", [true, true, true]),
    ("skills-", [true, false, false]),
    ("context-1m-", [true, true, true]),
    ("fast-mode-", [false, false, false]),
    ("redact-thinking-", [true, false, false]),
    ("task-budgets-", [true, false, false]),
    ("server-side-fallback-", [false, false, false]),
    ("cache-diagnosis-", [false, false, false]),
];

fn takes(provider: &Provider, flag: &str) -> bool {
    let overrides = &provider.network.beta_overrides;
    let longest = overrides
        .iter()
        .filter(|(prefix, _)| flag.starts_with(&**prefix))
        .max_by_key(|(prefix, _)| prefix.len());
    if let Some((_, allowed)) = longest {
        return *allowed;
    }
    let known = BETAS.iter().find(|(prefix, _)| flag.starts_with(prefix));
    let taken = |column: fn(&[bool; 3]) -> bool| known.is_some_and(|(_, taken)| column(taken));
    match provider.row.betas {
        Betas::All => true,
        Betas::Azure => taken(|[azure, _, _]| *azure),
        Betas::Vertex => taken(|[_, vertex, _]| *vertex),
        Betas::Bedrock => taken(|[_, _, bedrock]| *bedrock),
    }
}

fn flags(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|flag| !flag.is_empty())
}

/// The flags of an `anthropic-beta` header that this provider takes; empty when it takes none.
/// Borrowed, byte for byte, when all are taken.
pub fn filter_beta<'v>(provider: &Provider, value: &'v str) -> Cow<'v, str> {
    if flags(value).all(|flag| takes(provider, flag)) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(joined(flags(value).filter(|flag| takes(provider, flag))))
}

/// The `anthropic-beta` header of a call: the configuration's flags and the client's, each once,
/// those that the provider takes. None when nothing is left.
pub fn beta<'v>(provider: &'v Provider, client: Option<&'v str>) -> Option<Cow<'v, str>> {
    let mut extra = provider.network.extra_headers.iter();
    let extra = extra.find(|(name, _)| &**name == BETA).map(|(_, value)| &**value);
    let merged = match (extra, client) {
        (None, None) => return None,
        (Some(value), None) | (None, Some(value)) => filter_beta(provider, value),
        (Some(configured), Some(client)) => {
            let more = flags(client).filter(|flag| !flags(configured).any(|own| own == *flag));
            let all = flags(configured).chain(more).filter(|flag| takes(provider, flag));
            Cow::Owned(joined(all))
        }
    };
    (!merged.is_empty()).then_some(merged)
}

fn joined<'f>(flags: impl Iterator<Item = &'f str>) -> String {
    let mut out = String::new();
    for flag in flags {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(flag);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Credited, beta, filter_beta, fixed, forwards, headers};
    use crate::dialect::Dialect;
    use crate::provider::catalog::row;
    use crate::provider::endpoint::{resolve, split_url};
    use crate::provider::header_filter::HeaderFilter;
    use crate::provider::{Cloud, Endpoint, EntraKey, Key, Operation, Provider, Secret};
    use std::borrow::Cow;

    fn provider(name: &str) -> Provider {
        let mut provider = Provider::of(row(name).unwrap());
        if provider.origin.host.is_empty() {
            provider.origin = split_url("https://upstream.example").unwrap().0;
        }
        provider
    }

    fn key(value: &str) -> Key {
        let (region, project) = (Some("eu".into()), Some("p".into()));
        Key { value: Secret::new(value), region, project, ..Key::named("k") }
    }

    fn credited(name: &str, key: &Key, model: &str, token: Option<&str>) -> (Credited, String) {
        let provider = provider(name);
        let (chat, client) = (Operation::Chat, Dialect::Anthropic);
        let endpoint = resolve(&provider, Some(key), chat, client, model, false).unwrap();
        let mut said = String::new();
        let state = headers(&provider, Some(key), &endpoint, token, &mut |name, value| {
            said = format!("{said}{name}: {value};");
        });
        (state, said)
    }

    #[test]
    fn each_provider_gets_its_credential_where_it_looks_for_it() {
        let done = |said: &str| (Credited::Complete, said.to_owned());
        let key = key("k1");
        assert_eq!(credited("openai", &key, "m", None), done("authorization: Bearer k1;"));
        assert_eq!(credited("anthropic", &key, "m", None), done("x-api-key: k1;"));
        assert_eq!(credited("gemini", &key, "m", None), done("x-goog-api-key: k1;"));
        assert_eq!(credited("azure", &key, "gpt", None), done("api-key: k1;"));
        assert_eq!(credited("azure", &key, "claude", None), done("x-api-key: k1;"));
        let bearer = done("authorization: Bearer t;");
        assert_eq!(credited("azure", &key, "gpt", Some("t")), bearer);
        assert_eq!(credited("vertex", &key, "gemini", Some("t")), bearer);
        assert_eq!(credited("bedrock", &key, "m", None), done("authorization: Bearer k1;"));
    }

    #[test]
    fn what_is_still_missing_is_said() {
        let nothing = |state: Credited| (state, String::new());
        assert_eq!(credited("openai", &key(""), "m", None), nothing(Credited::NeedsKey));
        assert_eq!(credited("bedrock", &key(""), "m", None), nothing(Credited::Sign));
        assert_eq!(credited("vertex", &key(""), "gemini", None), nothing(Credited::NeedsKey));
        let entra = Key { cloud: Cloud::Entra(EntraKey::default()), ..key("k1") };
        assert_eq!(credited("azure", &entra, "gpt", None), nothing(Credited::NeedsKey));
        assert_eq!(credited("ollama", &key(""), "m", None), nothing(Credited::Complete));
    }

    #[test]
    fn vendor_headers_pass_to_their_vendor_only() {
        let filter = HeaderFilter::default();
        assert!(forwards(&provider("anthropic"), &filter, "anthropic-version"));
        assert!(!forwards(&provider("openai"), &filter, "anthropic-version"));
        assert!(forwards(&provider("openai"), &filter, "openai-organization"));
        assert!(!forwards(&provider("anthropic"), &filter, "x-tenant"));
        let filter = HeaderFilter::new(["x-tenant"], []);
        assert!(forwards(&provider("openai"), &filter, "x-tenant"));
        assert!(!forwards(&provider("openai"), &filter, "openai-organization"));
    }

    #[test]
    fn the_version_is_added_where_the_client_sent_none() {
        let mut provider = provider("anthropic");
        provider.network.extra_headers = vec![("x-team".into(), "a".into())];
        let chat = Operation::Chat;
        let endpoint = resolve(&provider, None, chat, Dialect::Anthropic, "m", false).unwrap();
        let said = |sent: &str| {
            let mut said = Vec::new();
            fixed(&provider, &endpoint, |name| name == sent, &mut |name, value| {
                said.push(format!("{name}: {value}"));
            });
            said.join(";")
        };
        assert_eq!(said(""), "x-team: a;anthropic-version: 2023-06-01");
        assert_eq!(said("anthropic-version"), "x-team: a");
        let filter = HeaderFilter::new(["*"], []);
        assert!(!forwards(&provider, &filter, "x-team"), "the configuration's value stands");
        let endpoint = Endpoint { anthropic_version: Some("2024-01-01"), ..endpoint };
        let mut said = String::new();
        fixed(&provider, &endpoint, |_| false, &mut |_, value| said = value.to_owned());
        assert_eq!(said, "2024-01-01", "the alias's own");
    }

    #[test]
    fn beta_flags_follow_the_providers_table() {
        let sent = "interleaved-thinking-2025-05-14,fast-mode-2026-02-01, brand-new-2027-01-01";
        let kept = |name: &str| filter_beta(&provider(name), sent).into_owned();
        assert!(
            matches!(filter_beta(&provider("anthropic"), sent), Cow::Borrowed(same) if same == sent)
        );
        assert_eq!(kept("azure"), "interleaved-thinking-2025-05-14");
        assert_eq!(kept("bedrock"), "interleaved-thinking-2025-05-14");
        assert_eq!(filter_beta(&provider("vertex"), "skills-2025-10-02"), "");
    }

    #[test]
    fn the_configuration_overrides_the_table_by_the_longest_prefix() {
        let mut vertex = provider("vertex");
        vertex.network.beta_overrides =
            vec![("skills-".into(), true), ("skills-2026".into(), false)];
        let kept = filter_beta(&vertex, "skills-2025-10-02,skills-2026-01-01");
        assert_eq!(kept, "skills-2025-10-02");
    }

    #[test]
    fn configured_and_sent_flags_are_merged_once_each() {
        let mut anthropic = provider("anthropic");
        anthropic.network.extra_headers = vec![("anthropic-beta".into(), "a-1,b-1".into())];
        assert_eq!(beta(&anthropic, Some("b-1, c-1")).as_deref(), Some("a-1,b-1,c-1"));
        assert_eq!(beta(&anthropic, None).as_deref(), Some("a-1,b-1"));
        assert_eq!(beta(&provider("anthropic"), None), None);
        assert_eq!(beta(&provider("vertex"), Some("skills-2025-10-02")), None);
    }
}
