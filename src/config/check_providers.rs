//! The file's `providers`, checked: rows, addresses, proxies, limits.
//!
//! In: the section as written. Out: [`Providers`], or faults. Never: guesses at an address.

use crate::config::check::is_header_name;
use crate::config::fault::{Faults, Path};
use crate::config::file_providers::{
    CustomProvider, NetworkConfig, Provider as Section, ProxyConfig, ProxyKind, RequestType,
};
use crate::config::network::{self, Lookup};
use crate::config::shape::suggestion;
use crate::config::{EmptyLists, Providers};
use crate::dialect::Dialect;
use crate::provider::{
    Auth, Kind, Network, Operation, Provider, Proxy, Queue, Row, Secret, Transport, catalog,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Builds the providers of one file.
pub struct Providing<'c> {
    pub(super) empty_lists: EmptyLists,
    env: Lookup<'c>,
    pub(super) faults: &'c mut Faults,
    /// Names and ids of keys, and where they stood first: both are unique within the file.
    pub(super) key_names: HashMap<String, Path>,
    pub(super) key_ids: HashMap<String, Path>,
}

impl<'c> Providing<'c> {
    pub fn new(empty_lists: EmptyLists, env: Lookup<'c>, faults: &'c mut Faults) -> Self {
        let (key_names, key_ids) = (HashMap::new(), HashMap::new());
        Self { empty_lists, env, faults, key_names, key_ids }
    }

    /// Every provider of the section that can be told, and the mock.
    pub fn all(mut self, section: BTreeMap<String, Section>) -> Providers {
        let path = Path::root().key("providers");
        let found = section.into_iter().filter_map(|(name, section)| {
            self.provider(&name, section, &path.key(&name)).map(Arc::new)
        });
        let found = found.collect();
        Providers::new(found)
    }

    fn provider(&mut self, name: &str, section: Section, path: &Path) -> Option<Provider> {
        let row = self.row(name, section.custom_provider_config.as_ref(), path)?;
        let mut provider = Provider { name: name.into(), ..Provider::of(row) };
        self.address(&mut provider, &section.network_config, path);
        provider.network = self.network(&section.network_config, path);
        if let Some(custom) = &section.custom_provider_config {
            self.custom(&mut provider, custom, path);
        }
        if let Some(limits) = &section.concurrency_and_buffer_size {
            provider.queue =
                Some(Queue { concurrency: limits.concurrency, buffer: limits.buffer_size });
            if limits.buffer_size < limits.concurrency {
                let path = path.key("concurrency_and_buffer_size").key("buffer_size");
                self.faults.push(&path, "must be at least `concurrency`");
            }
        }
        for (at, key) in section.keys.into_iter().enumerate() {
            let path = path.key("keys").index(at);
            if let Some(key) = self.key(&provider, key, &path) {
                provider.keys.push(key);
            }
        }
        if provider.keys.is_empty() && !provider.keyless {
            self.faults.push(&path.key("keys"), "at least one key is needed");
        }
        let addressed = !provider.origin.host.is_empty()
            || (!provider.keys.is_empty() && provider.keys.iter().all(|key| key.origin.is_some()));
        let cloud = matches!(row.auth, Auth::Azure | Auth::AwsSigV4 | Auth::GoogleToken);
        if !addressed && !cloud {
            let path = path.key("network_config").key("base_url");
            self.faults.push(&path, "no address: set it here, or a URL on every key");
        }
        let proxy_path = path.key("proxy_config");
        provider.network.transport.proxy =
            section.proxy_config.and_then(|section| self.proxy(&section, &provider, &proxy_path));
        Some(provider)
    }

    fn row(
        &mut self,
        name: &str,
        custom: Option<&CustomProvider>,
        path: &Path,
    ) -> Option<&'static Row> {
        let built_in = catalog::row(name);
        let message = match (built_in, custom) {
            (Some(row), _) if row.in_process => "built in; remove the section".to_owned(),
            (Some(row), None) => return Some(row),
            (Some(_), Some(_)) => {
                let path = path.key("custom_provider_config");
                self.faults.push(&path, "not for a built-in provider; choose a name of your own");
                return built_in;
            }
            (None, Some(custom)) => return self.custom_row(custom, path),
            (None, None) if catalog::NOT_YET.contains(&name) => {
                "this provider is not supported by this version; remove the section".to_owned()
            }
            (None, None) => {
                let names = catalog::ROWS.iter().map(|row| row.name);
                let meant = suggestion(name, names)
                    .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
                format!("unknown provider{meant} (one of your own needs `custom_provider_config`)")
            }
        };
        self.faults.push(path, message);
        None
    }

    fn custom_row(&mut self, custom: &CustomProvider, path: &Path) -> Option<&'static Row> {
        let asked =
            |kind| custom.allowed_requests.as_ref().is_some_and(|of| of.get(&kind) == Some(&true));
        let responses = [RequestType::Responses, RequestType::ResponsesStream]
            .into_iter()
            .any(|kind| asked(kind) || custom.request_path_overrides.contains_key(&kind));
        let base = custom.base_provider_type.as_str();
        let found = catalog::custom(base, responses);
        if found.is_none() {
            let names = catalog::ROWS.iter().map(|row| row.name).filter(|name| *name != "mock");
            let meant = suggestion(base, names)
                .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
            let path = path.key("custom_provider_config").key("base_provider_type");
            let examples = "`openai`, `anthropic`, `bedrock`, `cohere`, `gemini`";
            self.faults.push(&path, format!("expected a built-in provider, as {examples}{meant}"));
        }
        found
    }

    fn address(&mut self, provider: &mut Provider, section: &NetworkConfig, path: &Path) {
        let path = path.key("network_config").key("base_url");
        let url = section.base_url.as_ref().map(Secret::expose).filter(|url| !url.is_empty());
        let Some(url) = url else { return };
        let found = network::server(url, section.allow_private_network, &path, self.faults);
        if let Some((origin, base_path)) = found {
            provider.origin = origin;
            provider.base_path = without_version(provider.row, &base_path).into();
        }
    }

    fn network(&mut self, section: &NetworkConfig, path: &Path) -> Network {
        let path = path.key("network_config");
        if section.retry_backoff_max < section.retry_backoff_initial {
            let path = path.key("retry_backoff_max");
            self.faults.push(&path, "must be at least `retry_backoff_initial`");
        }
        let ca_cert_pem = self.pem(section.ca_cert_pem.as_ref(), &path.key("ca_cert_pem"));
        let transport = Transport {
            insecure_skip_verify: section.insecure_skip_verify,
            ca_cert_pem,
            proxy: None,
        };
        let betas = section.beta_header_overrides.iter();
        Network {
            transport,
            connect_timeout: Duration::from_secs(section.connect_timeout_in_seconds),
            first_byte_timeout: Duration::from_secs(section.default_request_timeout_in_seconds),
            idle_timeout: Duration::from_secs(section.stream_idle_timeout_in_seconds),
            keep_alive: Duration::from_secs(section.keep_alive_timeout_in_seconds),
            max_conns_per_host: section.max_conns_per_host,
            max_retries: section.max_retries,
            retry_backoff_initial: Duration::from_millis(section.retry_backoff_initial),
            retry_backoff_max: Duration::from_millis(section.retry_backoff_max),
            extra_headers: self.extra_headers(section, &path.key("extra_headers")),
            beta_overrides: betas.map(|(prefix, on)| (prefix.as_str().into(), *on)).collect(),
            allow_private: section.allow_private_network,
        }
    }

    fn extra_headers(&mut self, section: &NetworkConfig, path: &Path) -> Vec<(Box<str>, Box<str>)> {
        let mut headers: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (name, value) in &section.extra_headers {
            let (path, value) = (path.key(name), value.expose());
            let name = name.to_ascii_lowercase();
            if !is_header_name(&name) {
                self.faults.push(&path, "this is no header's name");
            } else if is_framing(&name) {
                self.faults.push(&path, "this header is the gateway's own to set");
            } else if headers.iter().any(|(before, _)| **before == *name) {
                self.faults.push(&path, "this header stands here twice");
            } else if value.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f) {
                self.faults.push(&path, "a header's value has no control characters");
            } else {
                headers.push((name.into(), value.trim().into()));
            }
        }
        headers
    }

    fn pem(&mut self, text: Option<&Secret>, path: &Path) -> Option<Box<str>> {
        let text = text.map(Secret::expose).filter(|text| !text.is_empty())?;
        network::certificates(text, path, self.faults)
    }

    fn proxy(&mut self, section: &ProxyConfig, provider: &Provider, path: &Path) -> Option<Proxy> {
        let ca_cert_pem = self.pem(section.ca_cert_pem.as_ref(), &path.key("ca_cert_pem"));
        let text = |field: &Option<Secret>| {
            field.as_ref().map(|text| text.expose().to_owned()).filter(|text| !text.is_empty())
        };
        match section.kind {
            ProxyKind::None => None,
            ProxyKind::Socks5 => {
                let message = "SOCKS proxies are not supported by this version; use an HTTP proxy";
                self.faults.push(&path.key("type"), message);
                None
            }
            ProxyKind::Environment => {
                let (env, faults) = (self.env, &mut *self.faults);
                network::proxy_of_environment(provider, env, ca_cert_pem, path, faults)
            }
            ProxyKind::Http => {
                let Some(url) = text(&section.url) else {
                    self.faults.push(path, "the field `url` is missing");
                    return None;
                };
                let user = text(&section.username);
                let password = text(&section.password).unwrap_or_default();
                let login = user.as_deref().map(|user| (user, password.as_str()));
                network::proxy(&url, login, ca_cert_pem, &path.key("url"), self.faults)
            }
        }
    }

    fn custom(&mut self, provider: &mut Provider, section: &CustomProvider, path: &Path) {
        provider.keyless |= section.is_key_less;
        let row = provider.row;
        provider.allowed = section.allowed_requests.as_ref().map(|allowed| {
            let allowed = allowed.iter().filter(|(_, on)| **on);
            allowed.flat_map(|(request, _)| kinds(row, *request)).collect()
        });
        let path = path.key("custom_provider_config").key("request_path_overrides");
        for (request, target) in &section.request_path_overrides {
            let path = path.key(&request_name(*request));
            let kinds = kinds(row, *request);
            if kinds.is_empty() {
                self.faults.push(&path, "this kind of request is not supported by this version");
            }
            if let Some(wrong) = wrong_path(target) {
                self.faults.push(&path, wrong);
            }
            // Translations are named with transcriptions, but have a path of their own.
            let kinds = kinds.into_iter().filter(|kind| kind.operation != Operation::Translation);
            provider.path_overrides.extend(kinds.map(|kind| (kind, target.as_str().into())));
        }
    }
}

fn request_name(request: RequestType) -> String {
    let words = format!("{request:?}");
    let mut name = String::new();
    for letter in words.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

fn wrong_path(target: &str) -> Option<&'static str> {
    let known = ["{model}", "{id}", "{project}", "{region}", "{api_version}"];
    let bare = known.iter().fold(target.to_owned(), |text, name| text.replace(name, ""));
    let printable = |byte: u8| (b'!'..=b'~').contains(&byte) && byte != b'#';
    if !target.starts_with('/') {
        Some("a path begins with `/`")
    } else if bare.contains(['{', '}']) {
        Some("only {model}, {id}, {project}, {region} and {api_version} are filled in")
    } else if !target.bytes().all(printable) {
        Some("a path has no spaces, no fragment and no other than ASCII characters")
    } else {
        None
    }
}

/// What a kind of request is here. Where a provider has one language for a chat, chat completions
/// and responses are both said in it.
fn kinds(row: &Row, request: RequestType) -> Vec<Kind> {
    let both = [Dialect::OpenAiChat, Dialect::OpenAiResponses].into_iter().all(|dialect| {
        row.speaks.iter().any(|way| way.operation == Operation::Chat && way.dialect == dialect)
    });
    let only = |dialect| both.then_some(dialect);
    let one = |operation, dialect, stream| vec![Kind { operation, dialect, stream }];
    match request {
        RequestType::ChatCompletion => one(Operation::Chat, only(Dialect::OpenAiChat), false),
        RequestType::ChatCompletionStream => one(Operation::Chat, only(Dialect::OpenAiChat), true),
        RequestType::Responses => one(Operation::Chat, only(Dialect::OpenAiResponses), false),
        RequestType::ResponsesStream => one(Operation::Chat, only(Dialect::OpenAiResponses), true),
        other => {
            let name = request_name(other);
            let base = name.strip_suffix("_stream");
            let stream = base.is_some();
            let base = base.unwrap_or(&name);
            let named = Operation::ALL.iter().filter(|operation| operation.request_type() == base);
            named.map(|&operation| Kind { operation, dialect: None, stream }).collect()
        }
    }
}

/// Users write `https://host/v1` as often as `https://host`; the rows' paths have the `/v1`.
pub(super) fn without_version<'b>(row: &Row, base: &'b str) -> &'b str {
    let versioned = row.speaks.iter().all(|way| way.path.starts_with("/v1/"));
    let bare = base.strip_suffix("/v1").filter(|_| versioned);
    bare.unwrap_or(base)
}

/// Headers that follow from the body and the connection.
fn is_framing(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "transfer-encoding"
            | "connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "upgrade"
            | "expect"
            | "accept-encoding"
    )
}
