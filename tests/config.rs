//! `config.json` as an operator meets it: what is taken, and what each mistake is answered with.

use finops_gateway::chat::Dialect;
use finops_gateway::config::Snapshot;
use finops_gateway::config::check::{Outside, check, schema};
use finops_gateway::provider::endpoint::resolve;
use finops_gateway::provider::{Cloud, ModelList, Operation};
use serde_json::{Value, json};
use std::io;
use std::path::Path;

const EXAMPLE: &str = include_str!("config/bifrost-example.json");
/// The same, without what this version does not do.
const SUPPORTED: &str = include_str!("config/supported.json");

fn env(name: &str) -> Option<String> {
    let value = match name {
        "GCP_SA_JSON" => r#"{"type":"service_account"}"#,
        "UNSET" => return None,
        other => return Some(format!("value of {other}")),
    };
    Some(value.to_owned())
}

fn no_file(_: &Path) -> io::Result<String> {
    Err(io::Error::new(io::ErrorKind::NotFound, "no such file"))
}

fn read(text: &str) -> Result<Snapshot, String> {
    check(text, Outside { env: &env, read: &no_file }).map_err(|faults| faults.to_string())
}

/// Every fault of a file, each without its line and column.
fn faults(document: &Value) -> Vec<String> {
    let said = read(&document.to_string()).err().unwrap_or_default();
    let bare = |line: &str| match line.split_once(": ") {
        Some((place, rest)) if place.starts_with("line ") => rest.to_owned(),
        _ => line.to_owned(),
    };
    said.lines().map(bare).collect()
}

/// A file with one provider, whose sections are replaced by the given ones.
fn openai(changes: &Value) -> Value {
    let mut provider = json!({"keys": [{"name": "main", "value": "k", "weight": 1}]});
    for (name, value) in changes.as_object().into_iter().flatten() {
        provider[name] = value.clone();
    }
    json!({"providers": {"openai": provider}})
}

fn one(document: &Value, path: &str, message: &str) {
    assert_eq!(faults(document), [format!("{path}: {message}")]);
}

#[test]
fn the_whole_example_of_bifrost_is_read_and_what_is_not_there_is_refused_by_name() {
    let said = read(EXAMPLE).err().unwrap();
    let refused: Vec<_> = said
        .lines()
        .map(|line| {
            let (place, rest) = line.split_once(": ").unwrap();
            let (path, message) = rest.split_once(": ").unwrap();
            assert!(place.starts_with("line "), "{line}");
            assert!(message.contains("is not supported by this version"), "{line}");
            path
        })
        .collect();
    let expected = [
        "client.prometheus_labels",
        "client.async_job_result_ttl",
        "client.compat.should_drop_params",
        "governance.virtual_keys[0].mcp_configs",
        "logs_store.type",
        "vector_store",
        "mcp.client_configs",
        "plugins[0]",
        "plugins[1]",
        "webhooks[0]",
    ];
    assert_eq!(refused, expected);
}

#[test]
fn the_supported_part_of_the_example_makes_a_snapshot() {
    let snapshot = read(SUPPORTED).unwrap();
    let names: Vec<_> = snapshot.providers.iter().map(|provider| &*provider.name).collect();
    assert_eq!(names, ["bedrock", "local-vllm", "mock", "openai", "vertex"]);
    assert_eq!(snapshot.client.max_body_bytes, 64 << 20);
    assert!(snapshot.client.enforce_auth && snapshot.client.drop_excess_requests);
    assert!(snapshot.client.cors.allows_origin("https://finops.example.org"));
    assert!(!snapshot.client.cors.allows_origin("https://elsewhere.example.org"));
    let openai = snapshot.providers.get("openai").unwrap();
    assert_eq!(openai.keys[0].value.expose(), "value of OPENAI_KEY_A");
    assert_eq!(openai.network.first_byte_timeout.as_secs(), 120);
    assert_eq!(openai.queue.map(|queue| (queue.concurrency, queue.buffer)), Some((2000, 6000)));
    assert!(matches!(&openai.keys[1].models, ModelList::Only(models) if models.len() == 2));
    let bedrock = &snapshot.providers.get("bedrock").unwrap().keys[0];
    assert!(matches!(&bedrock.cloud, Cloud::Aws(aws) if aws.role_arn.is_some()));
    assert_eq!(snapshot.governance.virtual_keys[0].value.expose(), "value of VK_CLAUDE");
    assert_eq!(snapshot.pricing.url.as_deref(), Some("file:///etc/finops/pricing.json"));
    let noted = "`client.initial_pool_size` has no effect";
    assert!(snapshot.notes.iter().any(|note| note.starts_with(noted)), "{:?}", snapshot.notes);
}

#[test]
fn a_configured_provider_can_be_called() {
    let snapshot = read(SUPPORTED).unwrap();
    let target = |provider: &str, client, model| {
        let provider = snapshot.providers.get(provider).unwrap();
        let key = provider.keys.first();
        let found = resolve(provider, key, Operation::Chat, client, model, true).unwrap();
        format!("{}{}", found.origin.host, found.target)
    };
    assert_eq!(
        target("vertex", Dialect::Anthropic, "claude-sonnet-4-6"),
        "europe-west1-aiplatform.googleapis.com/v1/projects/value%20of%20GCP_PROJECT/locations/\
         europe-west1/publishers/anthropic/models/claude-sonnet-4-6@default:streamRawPredict"
    );
    assert_eq!(target("local-vllm", Dialect::OpenAiChat, "m"), "10.2.0.9/v1/chat/completions");
    assert_eq!(
        target("bedrock", Dialect::Anthropic, "eu.anthropic.claude-sonnet-4-6"),
        "bedrock-runtime.eu-central-1.amazonaws.com\
         /model/eu.anthropic.claude-sonnet-4-6/invoke-with-response-stream"
    );
}

#[test]
fn a_misspelt_field_is_named_with_its_place_and_what_was_meant() {
    let text = "{\n  \"providers\": {\n    \"openai\": {\n      \"keys\": [\n        \
                {\"name\": \"a\", \"value\": \"k\", \"weigth\": 1}\n      ]\n    }\n  }\n}";
    let said = read(text).err().unwrap();
    assert_eq!(
        said,
        "line 5, column 9: providers.openai.keys[0]: the field `weight` is missing\n\
         line 5, column 47: providers.openai.keys[0].weigth: unknown field; did you mean `weight`?"
    );
}

#[test]
fn all_faults_of_shape_are_told_at_once() {
    let document = json!({
        "verison": 2,
        "client": {"max_request_body_size_mb": "64", "alowed_origins": [], "log_retention_days": 5_000_000_000_u64},
        "server": {"read_buffer_size": 12, "max_headers": 2.5},
        "providers": {"openai": {"keys": [{"name": 7, "weight": -1}]}},
        "governance": {"routing_rules": [{"id": "r", "name": "r", "scope": "teams"}]},
        "plugins": {},
    });
    let mut found = faults(&document);
    found.sort();
    assert_eq!(
        found,
        [
            "client.alowed_origins: unknown field; did you mean `allowed_origins`?",
            "client.log_retention_days: must be at most 4294967295",
            "client.max_request_body_size_mb: expected a whole number, found a text",
            "governance.routing_rules[0].scope: \
             expected one of `global`, `customer`, `team`, `virtual_key`; did you mean `team`?",
            "plugins: expected a list, found an object",
            "providers.openai.keys[0].name: expected a text, found a number",
            "providers.openai.keys[0].weight: must be at least 0",
            "server.max_headers: expected a whole number, found a number",
            "server.read_buffer_size: must be at least 1024",
            "verison: unknown field; did you mean `version`?",
        ]
    );
}

#[test]
fn a_file_that_is_no_object_or_no_json_is_refused() {
    assert_eq!(faults(&json!([])), ["expected an object, found a list"]);
    let said = read("{\"version\": 2,, }").err().unwrap();
    assert_eq!(said, "line 1, column 15: key must be a string");
    let said = read("{\"version\": 2, \"version\": 1}").err().unwrap();
    assert_eq!(said, "line 1, column 24: the field `version` stands here twice");
}

#[test]
fn references_to_the_environment_stand_for_any_text() {
    let found = read(
        &json!({
            "env_label": "prod",
            "providers": {"openai": {
                "keys": [
                    {"name": "a", "value": "env.KEY", "weight": 1},
                    {"name": "b", "value": {"value": "", "env_var": "KEY", "from_env": true}, "weight": 1},
                    {"name": "c", "value": {"ref": "env.KEY", "type": "env"}, "weight": 1},
                    {"name": "d", "value": {"value": "plain", "type": "plain_text"}, "weight": 1},
                ],
                "network_config": {"extra_headers": {"X-Team": "env.TEAM"}},
            }},
        })
        .to_string(),
    )
    .unwrap();
    let openai = found.providers.get("openai").unwrap();
    let values: Vec<_> = openai.keys.iter().map(|key| key.value.expose()).collect();
    assert_eq!(values, ["value of KEY", "value of KEY", "value of KEY", "plain"]);
    assert_eq!(openai.network.extra_headers, [("x-team".into(), "value of TEAM".into())]);
    assert!(!format!("{found:?}").contains("value of KEY"), "secrets are not printed");
}

#[test]
fn a_variable_that_is_not_set_stops_the_start_unless_its_section_is_off() {
    let key = |enabled| {
        json!([
            {"name": "on", "value": "k", "weight": 1},
            {"name": "a", "value": "env.UNSET", "weight": 1, "enabled": enabled},
        ])
    };
    one(
        &openai(&json!({"keys": key(true)})),
        "providers.openai.keys[1].value",
        "the environment variable UNSET is not set",
    );
    assert!(read(&openai(&json!({"keys": key(false)})).to_string()).is_ok());
    one(
        &openai(&json!({"keys": [{"name": "a", "value": "vault.openai#key", "weight": 1}]})),
        "providers.openai.keys[0].value",
        "references to a vault are not supported by this version",
    );
}

#[test]
fn providers_that_cannot_be_are_refused() {
    let unknown = json!({"providers": {"antropic": {"keys": []}}});
    one(
        &unknown,
        "providers.antropic",
        "unknown provider; did you mean `anthropic`? (one of your own needs \
         `custom_provider_config`)",
    );
    let later = json!({"providers": {"elevenlabs": {}}});
    let message = "this provider is not supported by this version; remove the section";
    one(&later, "providers.elevenlabs", message);
    one(&json!({"providers": {"mock": {}}}), "providers.mock", "built in; remove the section");
    let keyless = json!({"providers": {"openai": {}}});
    one(&keyless, "providers.openai.keys", "at least one key is needed");
    let empty = openai(&json!({"keys": [{"name": "a", "weight": 1}]}));
    one(&empty, "providers.openai.keys[0].value", "the key has no value");
}

#[test]
fn addresses_are_checked() {
    let url = |url: &str| openai(&json!({"network_config": {"base_url": url}}));
    let path = "providers.openai.network_config.base_url";
    let private =
        "a private address; set `network_config.allow_private_network` to true to call it";
    one(&url("http://192.168.1.2:8000"), path, private);
    let metadata = "link-local addresses (cloud metadata) are never called";
    one(&url("http://169.254.169.254/"), path, metadata);
    one(
        &url("openai.example.org"),
        path,
        "this is not a URL; expected `https://host[:port][/path]`",
    );
    one(&url("https://h/?a=b"), path, "the URL holds a query or a fragment");
    let snapshot = read(&url("http://127.0.0.1:8000/llm/v1").to_string()).unwrap();
    let openai = snapshot.providers.get("openai").unwrap();
    assert_eq!((&*openai.base_path, openai.origin.port), ("/llm", 8000), "the rows bring the /v1");
}

#[test]
fn a_provider_of_ones_own_needs_an_address_and_a_known_language() {
    let own = |custom: Value, base: Option<&str>| {
        json!({"providers": {"mine": {
            "network_config": {"base_url": base},
            "custom_provider_config": custom,
        }}})
    };
    let keyless = json!({"base_provider_type": "openai", "is_key_less": true});
    let snapshot = read(&own(keyless.clone(), Some("https://llm.example")).to_string()).unwrap();
    assert!(snapshot.providers.get("mine").unwrap().keyless);
    let path = "providers.mine.network_config.base_url";
    one(&own(keyless, None), path, "no address: set it here, or a URL on every key");
    one(
        &own(json!({"base_provider_type": "opneai"}), Some("https://llm.example")),
        "providers.mine.custom_provider_config.base_provider_type",
        "expected a built-in provider, as `openai`, `anthropic`, `bedrock`, `cohere`, `gemini`; \
         did you mean `openai`?",
    );
    let built_in = openai(&json!({"custom_provider_config": {"base_provider_type": "openai"}}));
    one(
        &built_in,
        "providers.openai.custom_provider_config",
        "not for a built-in provider; choose a name of your own",
    );
}

#[test]
fn allowed_requests_and_paths_of_ones_own_are_kept_to() {
    let document = json!({"providers": {"mine": {
        "network_config": {"base_url": "https://llm.example"},
        "custom_provider_config": {
            "base_provider_type": "openai", "is_key_less": true,
            "allowed_requests": {"responses_stream": true, "chat_completion": true, "embedding": true},
            "request_path_overrides": {"chat_completion": "/ask/{model}"},
        },
    }}});
    let snapshot = read(&document.to_string()).unwrap();
    let mine = snapshot.providers.get("mine").unwrap();
    let target = |client, stream| {
        resolve(mine, None, Operation::Chat, client, "m", stream).map(|found| found.target)
    };
    assert_eq!(target(Dialect::OpenAiChat, false).unwrap(), "/ask/m");
    assert_eq!(target(Dialect::OpenAiResponses, true).unwrap(), "/v1/responses");
    let streamed = target(Dialect::OpenAiChat, true).unwrap();
    assert_eq!(streamed, "/v1/responses", "the only way that may be streamed");
    let listed = resolve(mine, None, Operation::ListModels, Dialect::OpenAiChat, "", false);
    assert!(listed.is_err());
}

#[test]
fn keys_are_told_apart_and_belong_to_their_provider() {
    let key = |name: &str| json!({"name": name, "value": "k", "weight": 1});
    one(
        &openai(&json!({"keys": [key("a"), key("a")]})),
        "providers.openai.keys[1].name",
        "the same name as providers.openai.keys[0]; keys are told apart by it",
    );
    let mut foreign = key("a");
    foreign["azure_key_config"] = json!({"endpoint": "https://a.openai.azure.com"});
    let path = "providers.openai.keys[0].azure_key_config";
    one(&openai(&json!({"keys": [foreign]})), path, "only for keys of `azure`");
    let mut aliased = key("a");
    aliased["aliases"] = json!({"Fast": "gpt-4o-mini", "fast": {"model_id": "x", "region": "eu"}});
    let found = faults(&openai(&json!({"keys": [aliased]})));
    let path = "providers.openai.keys[0].aliases.fast";
    assert_eq!(
        found,
        [
            format!("{path}: stands here twice; the case of letters does not count"),
            format!("{path}.region: only for keys of `bedrock` and `vertex`"),
        ]
    );
    let id = |text: &str| {
        let snapshot = read(text).unwrap();
        snapshot.providers.get("openai").unwrap().keys[0].id.to_string()
    };
    let document = openai(&json!({})).to_string();
    assert_eq!(id(&document), id(&document), "stable from start to start");
    assert_eq!(id(&document).len(), 36);
}

#[test]
fn clouds_say_what_a_key_lacks() {
    let azure = json!({"providers": {"azure": {"keys": [{"name": "z", "weight": 1,
        "azure_key_config": {"endpoint": "https://a.example", "client_id": "i"}}]}}});
    one(
        &azure,
        "providers.azure.keys[0].azure_key_config",
        "`client_id`, `client_secret` and `tenant_id` go together",
    );
    let bedrock = json!({"providers": {"bedrock": {"keys": [
        {"name": "b", "weight": 1, "bedrock_key_config": {"region": "EU/1", "access_key": "a"}}]}}});
    assert_eq!(
        faults(&bedrock),
        [
            "providers.bedrock.keys[0].bedrock_key_config: \
             `access_key` and `secret_key` go together",
            "providers.bedrock.keys[0].bedrock_key_config.region: \
             this is no region, as `eu-central-1`",
        ]
    );
    let vertex = json!({"providers": {"vertex": {"keys": [{"name": "v", "weight": 1,
        "vertex_key_config": {"region": "eu", "auth_credentials": "/etc/key.json"}}]}}});
    assert_eq!(
        faults(&vertex),
        [
            "providers.vertex.keys[0].vertex_key_config.project_id: a key of Vertex needs a project",
            "providers.vertex.keys[0].vertex_key_config.auth_credentials: \
             expected the JSON text of a credential file",
        ]
    );
}

#[test]
fn what_an_empty_list_means_follows_the_version() {
    let key = json!([{"name": "a", "value": "k", "weight": 1, "models": []}]);
    let models = |version: u8| {
        let mut document = openai(&json!({"keys": key}));
        document["version"] = json!(version);
        let snapshot = read(&document.to_string()).unwrap();
        snapshot.providers.get("openai").unwrap().keys[0].models.clone()
    };
    assert!(matches!(models(1), ModelList::All));
    assert!(matches!(models(2), ModelList::Only(none) if none.is_empty()));
}

#[test]
fn proxies_and_limits_are_checked() {
    let proxy = |proxy: Value| openai(&json!({"proxy_config": proxy}));
    one(
        &proxy(json!({"type": "socks5", "url": "socks5://h:1080"})),
        "providers.openai.proxy_config.type",
        "SOCKS proxies are not supported by this version; use an HTTP proxy",
    );
    let missing = "the field `url` is missing";
    one(&proxy(json!({"type": "http"})), "providers.openai.proxy_config", missing);
    let with_proxy = proxy(json!({"type": "http", "url": "https://p.example", "username": "u"}));
    let snapshot = read(&with_proxy.to_string()).unwrap();
    let found = snapshot.providers.get("openai").unwrap().network.transport.proxy.clone().unwrap();
    assert!(found.origin.tls && found.authorization.as_deref() == Some("Basic dTo="));
    let limits = json!({"concurrency_and_buffer_size": {"concurrency": 10, "buffer_size": 5}});
    let path = "providers.openai.concurrency_and_buffer_size.buffer_size";
    one(&openai(&limits), path, "must be at least `concurrency`");
    let headers = json!({"network_config": {"extra_headers": {"Host": "x", "a b": "y"}}});
    let found = faults(&openai(&headers));
    let path = "providers.openai.network_config.extra_headers";
    assert_eq!(found[0], format!("{path}.Host: this header is the gateway's own to set"));
    assert_eq!(found[1], format!("{path}[\"a b\"]: this is no header's name"));
    let roots = json!({"network_config": {"ca_cert_pem": "/etc/ca.pem"}});
    let path = "providers.openai.network_config.ca_cert_pem";
    let message = "no certificate in PEM form here (`-----BEGIN CERTIFICATE-----`)";
    one(&openai(&roots), path, message);
}

#[test]
fn the_clients_section_is_checked() {
    let client = |section: Value| json!({"client": section});
    one(
        &client(json!({"header_filter_config": {"allowlist": ["x-*-y"]}})),
        "client.header_filter_config.allowlist[0]",
        "expected a header's name, a prefix ending in `*`, or `*`",
    );
    one(
        &client(json!({"vk_rotation_cooldown": "31d"})),
        "client.vk_rotation_cooldown",
        "expected a duration, as in `1h30m`",
    );
    let long = client(json!({"vk_rotation_cooldown": "721h"}));
    one(&long, "client.vk_rotation_cooldown", "at most 30 days (`720h`)");
    one(
        &client(json!({"required_headers": {"x-team": "("}})),
        "client.required_headers.x-team",
        "this is no regular expression",
    );
    let tls = json!({"server": {"tls": {"cert_file": "c.pem", "key_file": "k.pem"}}});
    let message = "the file cannot be read: no such file";
    assert_eq!(
        faults(&tls),
        [format!("server.tls.cert_file: {message}"), format!("server.tls.key_file: {message}")]
    );
}

#[test]
fn required_headers_are_names_or_patterns() {
    let document = json!({"client": {"required_headers": {
        "X-Any": "*", "X-Secret": "env.TOKEN", "X-Never": "env.UNSET", "X-Form": "[a-z]+",
    }}});
    let snapshot = read(&document.to_string()).unwrap();
    let holds = |name: &str, value: Option<&str>| {
        let mut rules = snapshot.client.required_headers.iter();
        rules.find(|header| &*header.name == name).unwrap().rule.holds(value)
    };
    assert!(holds("x-any", Some("")) && !holds("x-any", None));
    assert!(holds("x-secret", Some("value of TOKEN")) && !holds("x-secret", Some("env.TOKEN")));
    assert!(!holds("x-never", Some("env.UNSET")));
    assert!(holds("x-form", Some("abc")) && !holds("x-form", Some("abc1")));
    let names = read(r#"{"client": {"required_headers": ["X-Team"]}}"#).unwrap();
    assert!(names.client.required_headers[0].rule.holds(Some("any")));
}

#[test]
fn references_within_governance_have_to_lead_somewhere() {
    let mut document = openai(&json!({}));
    document["governance"] = json!({
        "budgets": [
            {"id": "b", "max_limit": 0, "reset_duration": "1M", "team_id": "t", "customer_id": "c"},
            {"id": "b", "max_limit": 1, "reset_duration": "1d"},
        ],
        "virtual_keys": [{"id": "v", "name": "v", "value": "", "rate_limit_id": "r",
            "provider_configs": [{"provider": "openia"}, {"provider": "openai", "key_ids": ["main", "x"]}]}],
        "routing_rules": [{"id": "r", "name": "r", "targets": [{"key_id": "x"}], "fallbacks": ["gpt"]}],
        "model_configs": [{"id": "m", "model_name": "*", "scope": "user", "budget_ids": ["b", "z"]}],
    });
    let mut found = faults(&document);
    found.sort();
    let governance = |faults: &[&str]| -> Vec<String> {
        faults.iter().map(|fault| format!("governance.{fault}")).collect()
    };
    assert_eq!(
        found,
        governance(&[
            "budgets[0].customer_id: there is none with the id `c`",
            "budgets[0].max_limit: must be above 0",
            "budgets[0].team_id: there is none with the id `t`",
            "budgets[0]: a budget has one owner; this one names several",
            "budgets[1].id: the id `b` is given twice",
            "model_configs[0].budget_ids[1]: there is no budget with the id `z`",
            "model_configs[0].scope: `user` is not supported by this version",
            "routing_rules[0].fallbacks[0]: expected `provider/model` or `provider/`",
            "routing_rules[0].targets[0].key_id: needs a `provider` beside it",
            "virtual_keys[0].provider_configs[0].provider: \
             `openia` is not among `providers`; did you mean `openai`?",
            "virtual_keys[0].provider_configs[1].key_ids[1]: \
             `openai` has no key with the id or name `x`",
            "virtual_keys[0].rate_limit_id: there is no rate limit with the id `r`",
            "virtual_keys[0].value: a virtual key needs a value: \
             nothing is stored that could keep one",
        ])
    );
}

#[test]
fn an_empty_file_is_the_defaults() {
    let snapshot = read("{}").unwrap();
    let defaults = Snapshot::default();
    assert_eq!(snapshot.client.max_body_bytes, defaults.client.max_body_bytes);
    assert_eq!(snapshot.client.heartbeat, defaults.client.heartbeat);
    assert_eq!(snapshot.client.drain, defaults.client.drain);
    assert_eq!(snapshot.server.max_header_bytes, defaults.server.max_header_bytes);
    assert_eq!(snapshot.server.header_timeout, defaults.server.header_timeout);
    assert_eq!(snapshot.pricing.sync_interval, defaults.pricing.sync_interval);
    assert!(snapshot.client.cors.allows_origin("https://anywhere.example"));
    assert_eq!(snapshot.providers.iter().count(), 1, "the mock");
    assert_eq!(snapshot.notes, Vec::<String>::new());
}

#[test]
fn the_schema_describes_every_section_and_refuses_others() {
    let schema = schema();
    let sections = schema["properties"].as_object().unwrap();
    for name in ["providers", "governance", "mcp", "vector_store", "webhooks", "$schema"] {
        assert!(sections.contains_key(name), "{name}");
    }
    let definitions = schema["$defs"].as_object().unwrap();
    for (name, definition) in definitions.iter().filter(|(_, of)| of["type"] == "object") {
        assert_eq!(definition["additionalProperties"], json!(false), "{name}");
    }
}

#[test]
fn a_mangled_file_is_refused_and_brings_nothing_down() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut refused = 0;
    for _ in 0..300 {
        let mut bytes = SUPPORTED.as_bytes().to_vec();
        let from = random.usize(..bytes.len());
        let to = (from + random.usize(1..12)).min(bytes.len());
        let filling: &[u8] =
            random.choice([&b""[..], b"{", b"\"", b"null", b"-1e9", b"[]"]).unwrap();
        bytes.splice(from..to, filling.iter().copied());
        if let Err(said) = read(&String::from_utf8_lossy(&bytes)) {
            assert!(!said.is_empty());
            refused += 1;
        }
    }
    assert!(refused > 200, "{refused} of 300");
}
