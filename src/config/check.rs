//! From a file's text to a [`Snapshot`]: parsed, held against the schema, then checked whole.
//!
//! In: text, and what lies outside of it ([`Outside`]). Out: a snapshot, or every fault that can
//! be told at once. Never: repairs a value, or leaves one out.

use crate::config::check_logging;
use crate::config::check_providers::Providing;
use crate::config::check_stores;
use crate::config::fault::{Faults, Path};
use crate::config::file::{self, File};
use crate::config::file_client::{self, RequiredHeaders, Span};
use crate::config::network::Lookup;
use crate::config::shape::variable;
use crate::config::{
    AwsClient, Client, Cors, EmptyLists, HeaderRule, Pricing, RequiredHeader, Server, Snapshot,
    Tls, shape, supported, text,
};
use crate::provider::Secret;
use crate::provider::header_filter::HeaderFilter;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What a configuration refers to.
#[derive(Clone, Copy)]
pub struct Outside<'o> {
    pub env: Lookup<'o>,
    /// Reads a file that the configuration names; relative paths are the reader's to resolve.
    pub read: &'o dyn Fn(&std::path::Path) -> io::Result<String>,
}

/// Reads a whole `config.json`.
///
/// # Errors
/// All faults of its shape; if there are none, all faults of its meaning. What this version does
/// not support is among both.
pub fn check(text: &str, outside: Outside<'_>) -> Result<Snapshot, Faults> {
    let (mut faults, mut notes) = (Faults::default(), Vec::new());
    let found = document(text, outside, &mut faults, &mut notes)
        .map(|file| snapshot(file, notes, outside, &mut faults));
    faults.locate(text);
    match found {
        Some(snapshot) if faults.is_empty() => Ok(snapshot),
        _ => Err(faults),
    }
}

/// The file's records; none when its shape is wrong.
fn document(
    text: &str,
    outside: Outside<'_>,
    faults: &mut Faults,
    notes: &mut Vec<String>,
) -> Option<File> {
    let mut tree = match text::parse(text) {
        Ok(tree) => tree,
        Err(fault) => {
            *faults = fault;
            return None;
        }
    };
    let mut shape_faults = Faults::default();
    shape::hold(&mut tree, &schema(), outside.env, &mut shape_faults);
    supported::hold(&tree, faults, notes);
    if !shape_faults.is_empty() {
        faults.extend(shape_faults);
        return None;
    }
    match serde_path_to_error::deserialize(tree) {
        Ok(file) => Some(file),
        Err(error) => {
            faults.push_at(error.to_string(), 0, 0);
            None
        }
    }
}

/// The JSON Schema of `config.json`, generated from the types that it is read into.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(File).to_value()
}

fn snapshot(file: File, notes: Vec<String>, outside: Outside<'_>, faults: &mut Faults) -> Snapshot {
    let empty_lists =
        if file.version == Some(1) { EmptyLists::AllowAll } else { EmptyLists::DenyAll };
    let root = Path::root();
    let providers = Providing::new(empty_lists, outside.env, faults).all(file.providers);
    let logging = check_logging::logging(&file.client, file.logs_store.as_ref(), &root, faults);
    let (auth, old) = (&file.governance.auth_config, &file.auth_config);
    let admin = match auth {
        Some(auth) => check_logging::admin(Some(auth), &root.key("governance"), faults),
        None => check_logging::admin(old.as_ref(), &root, faults),
    };
    let snapshot = Snapshot {
        client: client(file.client, outside, &root.key("client"), faults),
        server: server(file.server, outside, &root.key("server"), faults),
        pricing: pricing(file.framework, faults),
        config_store: check_stores::store(
            file.config_store.as_ref(),
            &root.key("config_store"),
            faults,
        ),
        logging,
        admin,
        governance: file.governance,
        law: None,
        routes: crate::route::Routes::default(),
        turnstiles: HashMap::new(),
        adaptive: file.load_balancer_config.is_some_and(|section| section.enabled),
        empty_lists,
        env_label: file.env_label.filter(|label| !label.is_empty()).map(Into::into),
        providers,
        notes,
    };
    super::check_governance::check(&snapshot, faults);
    if faults.is_empty() {
        super::enact::check(&snapshot, faults);
    }
    snapshot
}

fn client(
    section: file_client::Client,
    outside: Outside<'_>,
    path: &Path,
    faults: &mut Faults,
) -> Client {
    let filter = &section.header_filter_config;
    let filter_path = path.key("header_filter_config");
    header_patterns(&filter.allowlist, &filter_path.key("allowlist"), faults);
    header_patterns(&filter.denylist, &filter_path.key("denylist"), faults);
    header_patterns(&section.allowed_headers, &path.key("allowed_headers"), faults);
    let enforce_auth = section.enforce_auth_on_inference
        || section.enforce_governance_header == Some(true)
        || section.enforce_scim_auth == Some(true);
    Client {
        max_body_bytes: (section.max_request_body_size_mb as usize).saturating_mul(1 << 20),
        cors: Cors::new(
            section.allowed_origins.iter().map(String::as_str),
            section.allowed_headers.iter().map(String::as_str),
        ),
        header_filter: HeaderFilter::new(
            filter.allowlist.iter().map(String::as_str),
            filter.denylist.iter().map(String::as_str),
        ),
        allow_direct_keys: section.allow_direct_keys,
        enforce_auth,
        required_headers: required_headers(section.required_headers, outside.env, path, faults),
        whitelisted_routes: section.whitelisted_routes.into_iter().map(Into::into).collect(),
        drop_excess_requests: section.drop_excess_requests,
        routing_chain_max_depth: section.routing_chain_max_depth,
        vk_rotation_cooldown: cooldown(section.vk_rotation_cooldown.as_ref(), path, faults),
        aws_clients: aws_clients(section.aws_clients, path, faults),
        heartbeat: Duration::from_secs(section.heartbeat_interval_in_seconds),
        drain: Duration::from_secs(section.drain_timeout_in_seconds),
    }
}

fn aws_clients(
    section: Vec<file_client::AwsClient>,
    path: &Path,
    faults: &mut Faults,
) -> Vec<AwsClient> {
    let path = path.key("aws_clients");
    let mut clients: Vec<AwsClient> = Vec::with_capacity(section.len());
    for (at, client) in section.into_iter().enumerate() {
        let path = path.index(at);
        let file_client::AwsClient { access_key_id, secret_access_key, virtual_key } = client;
        if access_key_id.is_empty() || access_key_id.expose().contains(['/', ' ', ',']) {
            faults.push(&path.key("access_key_id"), "an access-key id is text without `/`");
        }
        if secret_access_key.is_empty() {
            faults.push(&path.key("secret_access_key"), "the secret is empty");
        }
        if clients.iter().any(|other| other.access_key_id == access_key_id) {
            faults.push(&path.key("access_key_id"), "stands here twice");
        }
        let virtual_key = virtual_key.filter(|key| !key.is_empty());
        clients.push(AwsClient { access_key_id, secret_access_key, virtual_key });
    }
    clients
}

/// Names of headers, of which the last character may be a `*`.
fn header_patterns(patterns: &[String], path: &Path, faults: &mut Faults) {
    for (at, pattern) in patterns.iter().enumerate() {
        let pattern = pattern.trim();
        let name = pattern.strip_suffix('*').unwrap_or(pattern);
        if pattern != "*" && !is_header_name(name) {
            faults
                .push(&path.index(at), "expected a header's name, a prefix ending in `*`, or `*`");
        }
    }
}

/// A token of RFC 9110.
pub(super) fn is_header_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && !name.contains('*') && name.bytes().all(token)
}

fn required_headers(
    section: RequiredHeaders,
    env: Lookup<'_>,
    path: &Path,
    faults: &mut Faults,
) -> Vec<RequiredHeader> {
    let path = path.key("required_headers");
    let mut required = Vec::new();
    match section {
        RequiredHeaders::Names(names) => {
            for (at, name) in names.into_iter().enumerate() {
                if !is_header_name(&name) {
                    faults.push(&path.index(at), "this is no header's name");
                }
                let name = name.to_ascii_lowercase().into();
                required.push(RequiredHeader { name, rule: HeaderRule::Present });
            }
        }
        RequiredHeaders::Patterns(patterns) => {
            for (name, pattern) in patterns {
                if !is_header_name(&name) {
                    faults.push(&path.key(&name), "this is no header's name");
                }
                let Some(rule) = header_rule(&pattern.0, env) else {
                    faults.push(&path.key(&name), "this is no regular expression");
                    continue;
                };
                required.push(RequiredHeader { name: name.to_ascii_lowercase().into(), rule });
            }
        }
    }
    required
}

fn header_rule(pattern: &str, env: Lookup<'_>) -> Option<HeaderRule> {
    if pattern.is_empty() || pattern == "*" {
        return Some(HeaderRule::Present);
    }
    if let Some(name) = variable(pattern) {
        let value = env(name).filter(|value| !value.is_empty());
        return Some(
            value.map_or(HeaderRule::Never, |value| HeaderRule::Equals(Secret::new(value))),
        );
    }
    regex::Regex::new(&format!("^(?:{pattern})$")).ok().map(HeaderRule::Matches)
}

fn cooldown(span: Option<&Span>, path: &Path, faults: &mut Faults) -> Duration {
    let found = match span {
        None => Some(Duration::ZERO),
        Some(Span::Nanoseconds(nanoseconds)) => Some(Duration::from_nanos(*nanoseconds)),
        Some(Span::Text(text)) => duration(text),
    };
    let path = path.key("vk_rotation_cooldown");
    match found {
        None => faults.push(&path, "expected a duration, as in `1h30m`"),
        Some(span) if span > Duration::from_hours(30 * 24) => {
            faults.push(&path, "at most 30 days (`720h`)");
        }
        Some(span) => return span,
    }
    Duration::ZERO
}

/// A duration as Go writes it: numbers, each with one of `ns us µs ms s m h`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut sum = 0.0_f64;
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(end)?;
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit)?;
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * seconds;
        rest = after;
    }
    Duration::try_from_secs_f64(sum).ok()
}

fn server(section: file::Server, outside: Outside<'_>, path: &Path, faults: &mut Faults) -> Server {
    let path = path.key("tls");
    Server {
        max_header_bytes: section.read_buffer_size,
        max_headers: section.max_headers,
        header_timeout: Duration::from_secs(section.header_timeout_in_seconds),
        idle_timeout: Duration::from_secs(section.idle_timeout_in_seconds),
        tls: section.tls.and_then(|tls| listener_tls(&tls, outside, &path, faults)),
    }
}

fn listener_tls(
    section: &file::Tls,
    outside: Outside<'_>,
    path: &Path,
    faults: &mut Faults,
) -> Option<Tls> {
    let mut read = |name: &str, path: &Path| {
        let found = (outside.read)(std::path::Path::new(name));
        found.map_err(|error| faults.push(path, format!("the file cannot be read: {error}"))).ok()
    };
    let (cert_path, key_path) = (path.key("cert_file"), path.key("key_file"));
    let cert = read(&section.cert_file, &cert_path);
    let key = read(&section.key_file, &key_path);
    let cert_pem = super::network::certificates(&cert?, &cert_path, faults)?;
    let key = key?;
    if PrivateKeyDer::from_pem_slice(key.as_bytes()).is_err() {
        faults.push(&key_path, "the file holds no private key in PEM form");
        return None;
    }
    Some(Tls {
        cert_file: PathBuf::from(&section.cert_file),
        key_file: PathBuf::from(&section.key_file),
        cert_pem,
        key_pem: Secret::new(key),
    })
}

fn pricing(section: file::Framework, faults: &mut Faults) -> Pricing {
    let section = section.pricing;
    let url = section.pricing_url.filter(|url| !url.is_empty());
    let schemes = ["https://", "http://", "file://"];
    if let Some(url) = &url
        && !schemes.iter().any(|scheme| url.starts_with(scheme))
    {
        let path = Path::root().key("framework").key("pricing").key("pricing_url");
        faults.push(&path, "expected a URL with https, http or file");
    }
    Pricing {
        url: url.map(Into::into),
        sync_interval: Duration::from_secs(section.pricing_sync_interval),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;
    use std::time::Duration;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(duration("1h30m"), Some(Duration::from_mins(90)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        for bad in ["", "5", "s", "1d", "-1s", "1h-2m", "..s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
