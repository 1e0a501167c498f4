//! A configuration without any file: providers from the environment's usual variables.
//!
//! In: the environment. Out: a [`Snapshot`] with the providers that have a key there, and the
//! mock. Never: reads `ANTHROPIC_BASE_URL` or `OPENAI_BASE_URL`: these point clients at the
//! gateway, and a gateway that obeyed them would call itself.

use crate::config::fault::{Faults, Path};
use crate::config::network::{Lookup, proxy_of_environment};
use crate::config::{Providers, Snapshot};
use crate::provider::endpoint::{bedrock_origin, split_url};
use crate::provider::login::Login;
use crate::provider::{AwsKey, Cloud, Key, Provider, Secret, catalog};
use std::sync::Arc;

/// Variables that lead AWS's own chain to credentials.
const AWS_ELSEWHERE: &[&str] = &[
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];
/// Variables beside the rows' own that hold the same key.
const OTHER_NAMES: &[(&str, &str)] = &[("gemini", "GOOGLE_API_KEY")];

impl Snapshot {
    /// Providers as the environment names them, everything else by default.
    ///
    /// # Errors
    /// When a variable holds what cannot be used (`OLLAMA_HOST`, `AZURE_OPENAI_ENDPOINT`, a proxy).
    pub fn from_env(env: Lookup<'_>) -> Result<Self, Faults> {
        let set = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let mut faults = Faults::default();
        let mut found = Vec::new();
        for row in catalog::ROWS {
            let other = OTHER_NAMES.iter().find(|(name, _)| *name == row.name);
            let value = row.env.and_then(set).or_else(|| other.and_then(|(_, name)| set(name)));
            if let Some(value) = value {
                let mut provider = Provider::of(row);
                provider.keys.push(Key { value: Secret::new(value), ..Key::named("environment") });
                found.push(provider);
            }
        }
        found.extend(bedrock(&set));
        found.extend(azure(&set, &mut faults));
        found.extend(ollama(&set, &mut faults));
        for provider in &mut found {
            let path = Path::root().key("environment");
            provider.network.transport.proxy =
                proxy_of_environment(provider, env, None, &path, &mut faults);
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let providers = Providers::new(found.into_iter().map(Arc::new).collect());
        Ok(Self { providers, ..Self::default() })
    }
}

fn bedrock(set: &dyn Fn(&str) -> Option<String>) -> Option<Provider> {
    let bearer = set("AWS_BEARER_TOKEN_BEDROCK");
    let pair = set("AWS_ACCESS_KEY_ID").zip(set("AWS_SECRET_ACCESS_KEY"));
    let elsewhere = AWS_ELSEWHERE.iter().any(|name| set(name).is_some());
    if bearer.is_none() && pair.is_none() && !elsewhere {
        return None;
    }
    let region = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION"))?;
    let aws = pair.map_or_else(AwsKey::default, |(access_key, secret_key)| AwsKey {
        access_key: Secret::new(access_key),
        secret_key: Secret::new(secret_key),
        session_token: set("AWS_SESSION_TOKEN").map(Secret::new),
        ..AwsKey::default()
    });
    let mut provider = Provider::of(&catalog::BEDROCK);
    let mut key = Key {
        value: Secret::new(bearer.unwrap_or_default()),
        origin: Some((bedrock_origin(&region), "".into())),
        region: Some(region.into()),
        cloud: Cloud::Aws(aws),
        ..Key::named("environment")
    };
    key.login = Login::of(&key).map(Arc::new);
    provider.keys.push(key);
    Some(provider)
}

fn azure(set: &dyn Fn(&str) -> Option<String>, faults: &mut Faults) -> Option<Provider> {
    let (endpoint, value) = set("AZURE_OPENAI_ENDPOINT").zip(set("AZURE_OPENAI_API_KEY"))?;
    let version = set("AZURE_OPENAI_API_VERSION").or_else(|| set("OPENAI_API_VERSION"));
    let origin = match split_url(&endpoint) {
        Ok(origin) => origin,
        Err(bad) => {
            faults.push(&Path::root().key("AZURE_OPENAI_ENDPOINT"), bad.to_string());
            return None;
        }
    };
    let mut provider = Provider::of(&catalog::AZURE);
    provider.keys.push(Key {
        value: Secret::new(value),
        origin: Some(origin),
        api_version: version.map(Into::into),
        ..Key::named("environment")
    });
    Some(provider)
}

/// `OLLAMA_HOST` as Ollama itself reads it: a URL, or a host with or without a port. Whoever
/// names a private address here means it.
fn ollama(set: &dyn Fn(&str) -> Option<String>, faults: &mut Faults) -> Option<Provider> {
    let host = set("OLLAMA_HOST")?;
    let url = if host.contains("://") { host.clone() } else { format!("http://{}", host.trim()) };
    let (mut origin, base_path) = match split_url(&url) {
        Ok(parts) => parts,
        Err(bad) => {
            faults.push(&Path::root().key("OLLAMA_HOST"), bad.to_string());
            return None;
        }
    };
    if !host.contains("://") && origin.port == 80 && !host.trim().ends_with(":80") {
        origin.port = 11434;
    }
    if matches!(&*origin.host, "0.0.0.0" | "::") {
        origin.host = "127.0.0.1".into();
    }
    let mut provider = Provider { origin, base_path, ..Provider::of(&catalog::OLLAMA) };
    provider.network.allow_private = true;
    Some(provider)
}

#[cfg(test)]
mod tests {
    use crate::config::Snapshot;
    use crate::provider::Cloud;

    fn snapshot(variables: &[(&str, &str)]) -> Result<Snapshot, String> {
        let env = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Snapshot::from_env(&env).map_err(|faults| faults.to_string())
    }

    #[test]
    fn nothing_set_leaves_the_mock() {
        let snapshot = snapshot(&[("OPENAI_API_KEY", "")]).unwrap();
        let names: Vec<_> = snapshot.providers.iter().map(|p| &*p.name).collect();
        assert_eq!(names, ["mock"]);
        assert!(snapshot.providers.is_known("openai"), "though it has no key");
        assert!(!snapshot.providers.is_known("meta-llama"));
    }

    #[test]
    fn the_usual_variables_bring_providers_up() {
        let snapshot = snapshot(&[
            ("ANTHROPIC_API_KEY", "a"),
            ("ANTHROPIC_BASE_URL", "http://localhost:8080/anthropic"),
            ("GOOGLE_API_KEY", "g"),
            ("HF_TOKEN", "h"),
        ])
        .unwrap();
        let provider = |name: &str| snapshot.providers.get(name).unwrap();
        assert_eq!(provider("anthropic").keys[0].value.expose(), "a");
        assert_eq!(&*provider("anthropic").origin.host, "api.anthropic.com");
        assert_eq!(provider("gemini").keys[0].value.expose(), "g");
        assert_eq!(provider("huggingface").keys[0].value.expose(), "h");
        assert!(snapshot.providers.get("openai").is_none());
    }

    #[test]
    fn bedrock_comes_up_by_token_or_key_pair_where_a_region_is_set() {
        let pair = [("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", "SK")];
        assert!(snapshot(&pair).unwrap().providers.get("bedrock").is_none(), "no region");
        let all = [pair[0], pair[1], ("AWS_DEFAULT_REGION", "eu-central-1")];
        let found = snapshot(&all).unwrap();
        let key = &found.providers.get("bedrock").unwrap().keys[0];
        assert!(matches!(&key.cloud, Cloud::Aws(aws) if aws.access_key.expose() == "AK"));
        let (origin, _) = key.origin.as_ref().unwrap();
        assert_eq!(&*origin.host, "bedrock-runtime.eu-central-1.amazonaws.com");
        let bearer = [("AWS_BEARER_TOKEN_BEDROCK", "t"), ("AWS_REGION", "us-east-1")];
        let found = snapshot(&bearer).unwrap();
        let key = &found.providers.get("bedrock").unwrap().keys[0];
        assert_eq!((key.value.expose(), key.login.is_some()), ("t", false));
        let profile = [("AWS_PROFILE", "team"), ("AWS_REGION", "us-east-1")];
        let found = snapshot(&profile).unwrap();
        let key = &found.providers.get("bedrock").unwrap().keys[0];
        assert!(key.login.is_some(), "AWS's chain knows the rest");
    }

    #[test]
    fn ollamas_host_is_read_as_ollama_reads_it() {
        for (set, host, port) in [
            ("10.0.0.7", "10.0.0.7", 11434),
            ("0.0.0.0:9999", "127.0.0.1", 9999),
            ("http://box:80", "box", 80),
            ("https://ollama.example", "ollama.example", 443),
        ] {
            let snapshot = snapshot(&[("OLLAMA_HOST", set)]).unwrap();
            let ollama = snapshot.providers.get("ollama").unwrap();
            assert_eq!((&*ollama.origin.host, ollama.origin.port), (host, port), "{set}");
            assert!(ollama.network.allow_private);
        }
        let refused = snapshot(&[("OLLAMA_HOST", "http://u:p@h")]).unwrap_err();
        assert!(refused.starts_with("OLLAMA_HOST: the URL holds a user name"), "{refused}");
    }

    #[test]
    fn the_environments_proxy_is_used_but_not_for_this_machine() {
        let variables = [
            ("OPENAI_API_KEY", "o"),
            ("OLLAMA_HOST", "127.0.0.1"),
            ("HTTPS_PROXY", "http://u:p%40@proxy.example:3128"),
            ("http_proxy", "http://proxy.example:3128"),
            ("NO_PROXY", "localhost,127.0.0.0/8"),
        ];
        let snapshot = snapshot(&variables).unwrap();
        let proxy =
            |name: &str| snapshot.providers.get(name).unwrap().network.transport.proxy.clone();
        let openai = proxy("openai").unwrap();
        assert_eq!((&*openai.origin.host, openai.origin.port), ("proxy.example", 3128));
        assert_eq!(openai.authorization.as_deref(), Some("Basic dTpwQA=="));
        assert_eq!(proxy("ollama"), None);
    }
}
