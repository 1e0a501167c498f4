//! Where one call goes: server, path and language.
//!
//! In: a provider, the key drawn for the call, what is asked for, the client's language and the
//! model. Out: an [`Endpoint`]. Never: allocates more than the path (and the server's name, where
//! a Bedrock model brings its own region); never looks a name up.

use crate::dialect::{Dialect, Idiom};
use crate::provider::catalog::AZURE_API_VERSION;
use crate::provider::model_name::{Family, alias_of, arn_region, aws_region, family};
use crate::provider::{
    Alias, Auth, Endpoint, Envelope, Key, Kind, Models, Operation, Origin, Provider, Spoken,
};
use crate::wire::frames::Framing;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::borrow::Cow;

/// Why a provider cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoEndpoint {
    #[error("{0:?} is not offered by this provider for this model")]
    NotSpoken(Operation),
    #[error("{0:?} is not among the provider's allowed_requests")]
    NotAllowed(Operation),
    /// `project`, `region` or `base_url`.
    #[error("the key names no {0}")]
    Missing(&'static str),
}

/// Kept in a path segment; `:` is not, since Gemini puts a verb behind it.
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@');

/// Resolves a call. The client's own language is preferred where the provider speaks it for this
/// model (then nothing has to be translated); else the first one of its row.
///
/// # Errors
/// When the provider does not offer the operation, is not allowed to, or lacks an address.
pub fn resolve<'p>(
    provider: &'p Provider,
    key: Option<&'p Key>,
    operation: Operation,
    client: Dialect,
    model: &'p str,
    stream: bool,
) -> Result<Endpoint<'p>, NoEndpoint> {
    let alias = key.and_then(|key| alias_of(key, model));
    let named = alias.map_or(model, |alias| &*alias.model_id);
    let (own_region, model) = match provider.row.auth {
        Auth::AwsSigV4 => match aws_region(named) {
            Some((region, rest)) => (Some(region), rest),
            None => (arn_region(named), named),
        },
        _ => (None, named),
    };
    let spoken = spoken(provider, operation, client, family(model, alias), stream)?;
    let (mut origin, base_path) = server(provider, key, alias, own_region)?;
    if operation == Operation::ListModels
        && let Some(rest) = origin.host.strip_prefix("bedrock-runtime.")
    {
        // What there is to call is listed by another server than is called.
        origin = Cow::Owned(https(format!("bedrock.{rest}")));
    }
    let overridden = provider
        .path_overrides
        .iter()
        .find(|(kind, _)| kind.is(operation, spoken.dialect, stream))
        .map(|(_, path)| &**path);
    let own = if stream { spoken.stream_path.unwrap_or(spoken.path) } else { spoken.path };
    let place = Place { key, alias, own_region, model };
    let mut target = String::with_capacity(base_path.len() + own.len() + model.len() + 32);
    target.push_str(base_path);
    place.fill(overridden.unwrap_or(own), &mut target)?;
    let Spoken { dialect, framing, envelope, idiom, .. } = *spoken;
    let anthropic_version = alias.and_then(|alias| alias.anthropic_version.as_deref());
    let region = place.region().ok();
    Ok(Endpoint {
        origin,
        target,
        model,
        anthropic_version,
        region,
        dialect,
        framing,
        envelope,
        idiom,
    })
}

/// Resolves a call to a path of the provider's own, which goes there as it is.
///
/// # Errors
/// When the provider may not be asked so, or has no address.
pub fn raw<'p>(
    provider: &'p Provider,
    key: Option<&'p Key>,
    dialect: Dialect,
    (path, query): (&str, &str),
) -> Result<Endpoint<'p>, NoEndpoint> {
    let operation = Operation::Passthrough;
    let allowed = |kinds: &Vec<Kind>| kinds.iter().any(|kind| kind.is(operation, dialect, false));
    if !provider.allowed.as_ref().is_none_or(allowed) {
        return Err(NoEndpoint::NotAllowed(operation));
    }
    let (origin, base_path) = server(provider, key, None, None)?;
    let place = Place { key, alias: None, own_region: None, model: "" };
    let mut target = format!("{base_path}{path}");
    // Azure's older paths want a version, which a client of another vendor does not know.
    let dated = path.starts_with("/openai/") && !path.starts_with("/openai/v1/");
    if provider.row.auth == Auth::Azure && dated && !query.contains("api-version=") {
        target.push_str("?api-version=");
        target.extend(encoded(place.api_version()));
    }
    Ok(Endpoint {
        origin,
        target,
        model: "",
        anthropic_version: None,
        region: place.region().ok(),
        dialect,
        framing: Framing::Sse,
        envelope: Envelope::Plain,
        idiom: None,
    })
}

fn spoken(
    provider: &Provider,
    operation: Operation,
    client: Dialect,
    family: Family,
    stream: bool,
) -> Result<&'static Spoken, NoEndpoint> {
    let mut first = None;
    let mut refused = false;
    for way in provider.row.speaks.iter().chain(provider.row.also) {
        let fits = match way.models {
            Models::All => true,
            Models::Only(only) => only == family,
            Models::Except(others) => !others.contains(&family),
        };
        if way.operation != operation || !fits {
            continue;
        }
        if let Some(allowed) = &provider.allowed
            && !allowed.iter().any(|kind| kind.is(operation, way.dialect, stream))
        {
            refused = true;
            continue;
        }
        if way.dialect == client {
            return Ok(way);
        }
        first = first.or(Some(way));
    }
    let none = if refused { NoEndpoint::NotAllowed } else { NoEndpoint::NotSpoken };
    first.ok_or(none(operation))
}

/// The alias's server, else the key's, else the provider's; but a region in the model's name or
/// ARN names Bedrock's server there, unless the configuration names a server of its own.
fn server<'p>(
    provider: &'p Provider,
    key: Option<&'p Key>,
    alias: Option<&'p Alias>,
    own_region: Option<&str>,
) -> Result<(Cow<'p, Origin>, &'p str), NoEndpoint> {
    let configured = !provider.origin.host.is_empty();
    if let (Some(region), false) = (own_region, configured) {
        return Ok((Cow::Owned(bedrock_origin(region)), ""));
    }
    let own = alias.and_then(|alias| alias.origin.as_ref());
    match own.or_else(|| key.and_then(|key| key.origin.as_ref())) {
        Some((origin, base)) => Ok((Cow::Borrowed(origin), base)),
        None if configured || provider.row.in_process => {
            Ok((Cow::Borrowed(&provider.origin), &provider.base_path))
        }
        None => Err(NoEndpoint::Missing("base_url")),
    }
}

impl Endpoint<'_> {
    /// The same for a single content, where the vendor has a call of its own for it (Gemini).
    #[must_use]
    pub fn for_one(mut self) -> Self {
        if let Some(stem) = self.target.strip_suffix(":batchEmbedContents") {
            self.target = format!("{stem}:embedContent");
            self.idiom = Some(Idiom::Gemini);
        }
        self
    }
}

/// What the placeholders of a path stand for.
struct Place<'p> {
    key: Option<&'p Key>,
    alias: Option<&'p Alias>,
    own_region: Option<&'p str>,
    model: &'p str,
}

impl<'p> Place<'p> {
    fn fill(&self, path: &str, target: &mut String) -> Result<(), NoEndpoint> {
        let mut rest = path;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { break };
            target.push_str(before);
            match name {
                "model" => self.push_model(target),
                "id" => target.extend(encoded(self.model)),
                "project" => target.extend(encoded(self.project()?)),
                "region" => target.extend(encoded(self.region()?)),
                _ => target.extend(encoded(self.api_version())),
            }
            rest = after;
        }
        target.push_str(rest);
        Ok(())
    }

    fn push_model(&self, target: &mut String) {
        let of_alias = self.alias.and_then(|alias| alias.arn.as_deref());
        let arn = of_alias.or_else(|| self.key.and_then(|key| key.arn.as_deref()));
        if let Some(arn) = arn
            && !self.model.starts_with("arn:")
        {
            target.extend(encoded(arn));
            target.push_str("%2F");
        }
        target.extend(encoded(self.model));
    }

    fn project(&self) -> Result<&str, NoEndpoint> {
        let own = self.alias.and_then(|alias| alias.project.as_deref());
        own.or_else(|| self.key.and_then(|key| key.project.as_deref()))
            .ok_or(NoEndpoint::Missing("project"))
    }

    fn region(&self) -> Result<&'p str, NoEndpoint> {
        let own = self.own_region.or_else(|| self.alias.and_then(|alias| alias.region.as_deref()));
        own.or_else(|| self.key.and_then(|key| key.region.as_deref()))
            .ok_or(NoEndpoint::Missing("region"))
    }

    fn api_version(&self) -> &str {
        let own = self.alias.and_then(|alias| alias.api_version.as_deref());
        own.or_else(|| self.key.and_then(|key| key.api_version.as_deref()))
            .unwrap_or(AZURE_API_VERSION)
    }
}

fn encoded(text: &str) -> impl Iterator<Item = &str> {
    utf8_percent_encode(text, SEGMENT)
}

/// Bedrock's runtime in a region.
pub fn bedrock_origin(region: &str) -> Origin {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    https(format!("bedrock-runtime.{region}.{suffix}"))
}

/// Vertex in a region, in one of the multi-regions `us` and `eu`, or everywhere (`global`).
pub fn vertex_origin(region: &str) -> Origin {
    https(match region {
        "global" => "aiplatform.googleapis.com".to_owned(),
        "us" | "eu" => format!("aiplatform.{region}.rep.googleapis.com"),
        region => format!("{region}-aiplatform.googleapis.com"),
    })
}

fn https(host: String) -> Origin {
    Origin { tls: true, host: host.into(), port: 443 }
}

/// What is wrong with a base URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("this is not a URL; expected `https://host[:port][/path]`")]
    Shape,
    #[error("only http and https can be called")]
    Scheme,
    #[error("the URL has no host")]
    Host,
    #[error("the URL holds a user name or a password; credentials belong into `keys`")]
    Credentials,
    #[error("the URL holds a query or a fragment")]
    Query,
}

/// A base URL as server and base path (no trailing slash; empty for the root).
///
/// # Errors
/// For anything but a plain http or https URL without credentials, query and fragment.
pub fn split_url(text: &str) -> Result<(Origin, Box<str>), BadUrl> {
    let url = url::Url::parse(text.trim()).map_err(|_| BadUrl::Shape)?;
    let tls = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return Err(BadUrl::Scheme),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadUrl::Credentials);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(BadUrl::Query);
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(BadUrl::Host)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or(if tls { 443 } else { 80 });
    Ok((Origin { tls, host: host.into(), port }, url.path().trim_end_matches('/').into()))
}

#[cfg(test)]
mod tests {
    use super::{BadUrl, NoEndpoint, bedrock_origin, resolve, split_url, vertex_origin};
    use crate::dialect::Dialect;
    use crate::provider::catalog::row;
    use crate::provider::{Alias, Envelope, Key, Kind, Operation, Provider};
    use crate::wire::frames::Framing;
    use Dialect::{Anthropic, Bedrock, Gemini, OpenAiChat, OpenAiResponses};

    fn provider(name: &str) -> Provider {
        Provider::of(row(name).unwrap())
    }

    /// The server, the path and the language of a call that is to work.
    fn call(
        name: &str,
        key: &Key,
        client: Dialect,
        model: &str,
        stream: bool,
    ) -> (String, String, Dialect) {
        let provider = provider(name);
        let found = resolve(&provider, Some(key), Operation::Chat, client, model, stream).unwrap();
        (found.origin.host.to_string(), found.target, found.dialect)
    }

    fn is(host: &str, target: &str, dialect: Dialect) -> (String, String, Dialect) {
        (host.to_owned(), target.to_owned(), dialect)
    }

    #[test]
    fn the_clients_own_language_is_preferred() {
        let key = Key::named("k");
        let openai = "api.openai.com";
        let chat = is(openai, "/v1/chat/completions", OpenAiChat);
        assert_eq!(call("openai", &key, OpenAiChat, "gpt-4o", false), chat);
        assert_eq!(call("openai", &key, Anthropic, "gpt-4o", true), chat);
        let responses = is(openai, "/v1/responses", OpenAiResponses);
        assert_eq!(call("openai", &key, OpenAiResponses, "gpt-4o", true), responses);
        let messages = is("api.anthropic.com", "/v1/messages", Anthropic);
        assert_eq!(call("anthropic", &key, OpenAiChat, "claude-x", false), messages);
        let groq = is("api.groq.com", "/openai/v1/chat/completions", OpenAiChat);
        assert_eq!(call("groq", &key, Anthropic, "llama", false), groq);
    }

    #[test]
    fn gemini_has_the_model_and_the_verb_in_its_path() {
        let key = Key::named("k");
        let host = "generativelanguage.googleapis.com";
        let whole = is(host, "/v1beta/models/gemini-2.5-pro:generateContent", Gemini);
        assert_eq!(call("gemini", &key, OpenAiChat, "gemini-2.5-pro", false), whole);
        let streamed = "/v1beta/models/a%3Ab%2Fc:streamGenerateContent?alt=sse";
        assert_eq!(call("gemini", &key, Gemini, "a:b/c", true), is(host, streamed, Gemini));
    }

    #[test]
    fn bedrock_takes_claude_by_invoke_from_messages_clients_only() {
        let (origin, base) = (bedrock_origin("eu-central-1"), "".into());
        let key = Key { origin: Some((origin, base)), ..Key::named("k") };
        let host = "bedrock-runtime.eu-central-1.amazonaws.com";
        let claude = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";
        let path = "/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0";
        let invoke = is(host, &format!("{path}/invoke-with-response-stream"), Anthropic);
        assert_eq!(call("bedrock", &key, Anthropic, claude, true), invoke);
        let converse = is(host, &format!("{path}/converse"), Bedrock);
        assert_eq!(call("bedrock", &key, OpenAiChat, claude, false), converse);
        let nova = is(host, "/model/amazon.nova-pro-v1%3A0/converse-stream", Bedrock);
        assert_eq!(call("bedrock", &key, Anthropic, "amazon.nova-pro-v1:0", true), nova);
        let bedrock = provider("bedrock");
        let chat = Operation::Chat;
        let found = resolve(&bedrock, Some(&key), chat, Anthropic, claude, true).unwrap();
        let wanted =
            matches!(found.envelope, Envelope::Claude { version: "bedrock-2023-05-31", .. });
        assert!(wanted);
        assert_eq!(found.framing, Framing::AwsInvokeChunks);
    }

    #[test]
    fn a_bedrock_model_may_bring_its_region_and_a_key_its_profile() {
        let bedrock = provider("bedrock");
        let arn = "arn:aws:bedrock:eu-west-1:1:inference-profile";
        let own = (bedrock_origin("eu-west-1"), "".into());
        let key = Key { origin: Some(own), arn: Some(arn.into()), ..Key::named("k") };
        let model = "us-gov-west-1/amazon.nova";
        let chat = Operation::Chat;
        let found = resolve(&bedrock, Some(&key), chat, Bedrock, model, false).unwrap();
        assert_eq!(&*found.origin.host, "bedrock-runtime.us-gov-west-1.amazonaws.com");
        assert_eq!(found.model, "amazon.nova");
        let segment = "arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Famazon.nova";
        assert_eq!(found.target, format!("/model/{segment}/converse"));
        let whole = "arn:aws:bedrock:eu-west-1:1:application-inference-profile/x";
        let found = resolve(&bedrock, Some(&key), chat, Bedrock, whole, false).unwrap();
        let segment = "arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Aapplication-inference-profile%2Fx";
        assert_eq!(found.target, format!("/model/{segment}/converse"));
    }

    #[test]
    fn vertex_paths_follow_the_models_family_and_its_alias() {
        let alias = Alias {
            alias: "sonnet".into(),
            model_id: "claude-sonnet-4-6@default".into(),
            origin: Some((vertex_origin("global"), "".into())),
            region: Some("global".into()),
            ..Alias::default()
        };
        let key = Key {
            origin: Some((vertex_origin("europe-west1"), "".into())),
            region: Some("europe-west1".into()),
            project: Some("acme".into()),
            aliases: vec![alias],
            ..Key::named("k")
        };
        let path =
            |location: &str, rest: &str| format!("/v1/projects/acme/locations/{location}/{rest}");
        let gemini =
            path("europe-west1", "publishers/google/models/gemini-2.5-pro:generateContent");
        let host = "europe-west1-aiplatform.googleapis.com";
        let expected = is(host, &gemini, Gemini);
        assert_eq!(call("vertex", &key, Anthropic, "gemini-2.5-pro", false), expected);
        let model = "claude-sonnet-4-6@default";
        let claude =
            path("global", &format!("publishers/anthropic/models/{model}:streamRawPredict"));
        let expected = is("aiplatform.googleapis.com", &claude, Anthropic);
        assert_eq!(call("vertex", &key, OpenAiChat, "SONNET", true), expected);
        let open = path("europe-west1", "endpoints/openapi/chat/completions");
        let expected = is(host, &open, OpenAiChat);
        assert_eq!(call("vertex", &key, Anthropic, "meta/llama-4-maas", false), expected);
        let tuned = "/v1beta1/projects/acme/locations/europe-west1/endpoints/123:generateContent";
        assert_eq!(call("vertex", &key, Gemini, "123", false), is(host, tuned, Gemini));
    }

    #[test]
    fn azure_tells_claude_from_the_deployments() {
        let origin = split_url("https://acme.openai.azure.com/").unwrap();
        let alias = Alias {
            alias: "prod".into(),
            model_id: "prod-llm".into(),
            model_family: Some("anthropic".into()),
            ..Alias::default()
        };
        let version = Some("2025-01-01-preview".into());
        let key = Key {
            origin: Some(origin),
            aliases: vec![alias],
            api_version: version,
            ..Key::named("k")
        };
        let host = "acme.openai.azure.com";
        let chat = "/openai/deployments/my%20gpt/chat/completions?api-version=2025-01-01-preview";
        assert_eq!(call("azure", &key, Anthropic, "my gpt", false), is(host, chat, OpenAiChat));
        let claude = is(host, "/anthropic/v1/messages", Anthropic);
        assert_eq!(call("azure", &key, OpenAiChat, "prod", false), claude);
    }

    #[test]
    fn what_cannot_be_asked_says_why() {
        let (chat, count) = (Operation::Chat, Operation::CountTokens);
        let groq = provider("groq");
        let refused = |provider: &Provider, operation, model| {
            resolve(provider, None, operation, Anthropic, model, false).unwrap_err()
        };
        assert_eq!(refused(&groq, count, "m"), NoEndpoint::NotSpoken(count));
        assert_eq!(refused(&provider("azure"), chat, "m"), NoEndpoint::Missing("base_url"));
        let origin = split_url("https://v.example").unwrap().0;
        let vertex = Provider { origin, ..provider("vertex") };
        assert_eq!(refused(&vertex, chat, "gemini-x"), NoEndpoint::Missing("project"));
        let streamed = Kind { operation: chat, dialect: None, stream: true };
        let narrow = Provider { allowed: Some(vec![streamed]), ..provider("groq") };
        assert_eq!(refused(&narrow, chat, "m"), NoEndpoint::NotAllowed(chat));
    }

    #[test]
    fn an_overridden_path_stands_below_the_base_path() {
        let (origin, base_path) = split_url("http://10.0.0.1:8000/llm/").unwrap();
        let streamed = Kind { operation: Operation::Chat, dialect: None, stream: true };
        let path_overrides = vec![(streamed, "/stream/{model}".into())];
        let own = Provider { origin, base_path, path_overrides, ..provider("vllm") };
        let target = |stream| {
            let chat = Operation::Chat;
            resolve(&own, None, chat, OpenAiChat, "a/b", stream).unwrap().target
        };
        assert_eq!(target(true), "/llm/stream/a%2Fb");
        assert_eq!(target(false), "/llm/v1/chat/completions");
    }

    #[test]
    fn the_mock_needs_no_address() {
        let mock = provider("mock");
        let found = resolve(&mock, None, Operation::Chat, Bedrock, "echo", true).unwrap();
        assert_eq!((found.dialect, found.model), (Bedrock, "echo"));
    }

    #[test]
    fn base_urls_are_taken_apart_or_refused() {
        let (origin, base) = split_url("https://[::1]:8443/a/b/").unwrap();
        assert_eq!((&*origin.host, origin.port, origin.tls, &*base), ("::1", 8443, true, "/a/b"));
        assert_eq!(split_url("localhost:8000"), Err(BadUrl::Scheme));
        assert_eq!(split_url("10.0.0.1:8000"), Err(BadUrl::Shape));
        assert_eq!(split_url("ftp://h"), Err(BadUrl::Scheme));
        assert_eq!(split_url("https://u:p@h"), Err(BadUrl::Credentials));
        assert_eq!(split_url("https://h?x=1"), Err(BadUrl::Query));
    }
}
