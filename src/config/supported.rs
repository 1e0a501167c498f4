//! What of the schema this version does not do, in one table.
//!
//! In: the tree of a file. Out: a fault for each section that asks for something which is not
//! there yet, a note for each that has no effect here. Never: lets one pass in silence. When a
//! feature lands, its row goes.

use crate::config::fault::{Faults, Path};
use serde_json::Value;

/// What happens to a section that asks for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The start is refused.
    Refused,
    /// Taken, and said to have no effect, because.
    Moot(&'static str),
}

/// A section. `*` stands for any name, `[]` for every entry of a list.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub path: &'static str,
    pub standing: Standing,
    /// JSON of the value that asks for nothing, beside null, false, and what is empty.
    pub default: &'static str,
}

const fn refused(path: &'static str) -> Row {
    Row { path, standing: Standing::Refused, default: "null" }
}

const fn refused_unless(path: &'static str, default: &'static str) -> Row {
    Row { path, standing: Standing::Refused, default }
}

const fn moot(path: &'static str, why: &'static str) -> Row {
    Row { path, standing: Standing::Moot(why), default: "null" }
}

const NO_STORE: &str = "nothing is stored by this version";
const NO_DASHBOARD: &str = "there is no dashboard in this version";

/// Everything that is not there, in the order of the file.
pub const TABLE: &[Row] = &[
    moot("encryption_key", NO_STORE),
    moot("setup_token", NO_DASHBOARD),
    refused("mcp.client_configs"),
    refused("mcp.tool_groups"),
    refused("vector_store"),
    refused("config_store.vault_store"),
    refused("config_store.retention_days"),
    refused("config_store.writer"),
    refused("config_store.object_storage"),
    refused("config_store.object_storage_exclude_fields"),
    refused("logs_store.vault_store"),
    moot("logs_store.writer.deferred_usage_concurrency", "usage is never deferred here"),
    refused("logs_store.object_storage"),
    refused("logs_store.object_storage_exclude_fields"),
    refused("plugins[]"),
    refused("websocket"),
    refused("webhooks[]"),
    refused("skills_registry"),
    refused("alerting"),
    refused("guardrails_config"),
    refused("audit_logs"),
    refused("cluster_config"),
    refused_unless("load_balancer_config.direction_selection_enabled", "true"),
    refused_unless("load_balancer_config.route_selection_enabled", "true"),
    refused("load_balancer_config.reroute_failed_directions"),
    refused("load_balancer_config.prune_failed_fallbacks"),
    refused("load_balancer_config.tracker_config"),
    refused("load_balancer_config.bootstrap"),
    refused("large_payload_optimization"),
    refused("scim_config"),
    refused("access_profiles"),
    refused("circuit_breaker_config"),
    refused("feature_flags"),
    // client
    moot("client.initial_pool_size", "nothing has to be pooled ahead here"),
    refused("client.prometheus_labels"),
    refused("client.retain_content_in_object_storage"),
    refused("client.allow_per_request_raw_override"),
    refused("client.dump_errors_in_console_logs"),
    moot("client.disable_db_pings_in_health", NO_STORE),
    moot("client.dual_credential_conflict_behavior", "no identity provider is asked"),
    moot(
        "client.delete_expired_virtual_keys",
        "the file is not rewritten; expired keys are refused",
    ),
    moot("client.hide_deleted_virtual_keys_in_filters", NO_DASHBOARD),
    refused_unless("client.async_job_result_ttl", "3600"),
    refused("client.compat.convert_text_to_chat"),
    refused("client.compat.convert_chat_to_responses"),
    refused("client.compat.should_drop_params"),
    refused("client.compat.should_convert_params"),
    refused("client.compat.azure_deepseek"),
    refused_unless("client.compat.force_reasoning_only_models_to_responses", "true"),
    refused_unless("client.webhook_config.delivery_history_retention_days", "30"),
    refused_unless("client.mcp_server_auth_mode", "\"headers\""),
    refused("client.oauth2_server_config"),
    refused("client.mcp_external_client_url"),
    refused("client.mcp_enable_temp_token_auth"),
    refused_unless("client.mcp_max_instructions_per_client", "0"),
    refused_unless("client.mcp_max_instructions_total", "0"),
    refused_unless("client.mcp_agent_depth", "10"),
    refused_unless("client.mcp_tool_execution_timeout", "30"),
    refused_unless("client.mcp_code_mode_binding_level", "\"server\""),
    refused_unless("client.mcp_tool_sync_interval", "10"),
    refused("client.mcp_disable_auto_tool_inject"),
    // framework
    refused("framework.pricing.model_parameters_url"),
    refused("framework.pricing.mcp_library_url"),
    refused_unless("framework.pricing.mcp_library_sync_interval", "86400"),
    // providers
    refused("providers.*.send_back_raw_request"),
    refused("providers.*.send_back_raw_response"),
    refused("providers.*.store_raw_request_response"),
    refused("providers.*.provider_request_id"),
    refused("providers.*.openai_config.disable_store"),
    refused("providers.*.prompt_cache"),
    refused("providers.*.network_config.enforce_http2"),
    refused("providers.*.network_config.stream_throughput_guard"),
    refused("providers.*.custom_provider_config.does_not_send_done_marker"),
    refused("providers.*.keys[].bedrock_mantle_key_config"),
    refused("providers.*.keys[].replicate_key_config"),
    refused("providers.*.keys[].bedrock_key_config.batch_s3_config"),
    refused("providers.*.keys[].bedrock_key_config.project_id"),
    refused("providers.*.keys[].aliases.*.use_deployments_endpoint"),
    refused("providers.*.keys[].aliases.*.use_anthropic_endpoints"),
    moot("providers.*.keys[].aliases.*.force_single_region", "regions are never changed here"),
    moot(
        "providers.*.keys[].vertex_key_config.force_single_region",
        "regions are never changed here",
    ),
    // governance: usage is kept in memory, over reloads, until the process ends
    refused("governance.complexity_analyzer_config"),
    refused("governance.business_units"),
    refused("governance.roles"),
    refused("governance.teams[].business_unit_id"),
    refused("governance.virtual_keys[].mcp_configs"),
    refused("governance.virtual_keys[].access_profile_id"),
    moot(
        "governance.virtual_keys[].delete_after_expire",
        "the file is not rewritten; expired keys are refused",
    ),
];

/// Holds the document against the table.
pub fn hold(document: &Value, faults: &mut Faults, notes: &mut Vec<String>) {
    for row in TABLE {
        let default = serde_json::from_str(row.default).unwrap_or(Value::Null);
        visit(document, row.path, &Path::root(), &mut |path, value| {
            if !asks(value) || *value == default {
                return;
            }
            match row.standing {
                Standing::Refused => faults.push(path, refusal(value)),
                Standing::Moot(why) => notes.push(format!("`{path}` has no effect: {why}")),
            }
        });
    }
}

fn refusal(value: &Value) -> String {
    let named = value.get("name").and_then(Value::as_str);
    let what = named.map(|name| format!("(`{name}`) ")).unwrap_or_default();
    let removal = if value.is_object() || value.is_array() { "section" } else { "field" };
    format!("{what}is not supported by this version; remove the {removal}")
}

/// Calls `each` with every value that a path of the table stands for.
fn visit(value: &Value, rest: &str, at: &Path, each: &mut dyn FnMut(&Path, &Value)) {
    if rest.is_empty() {
        return each(at, value);
    }
    let (step, rest) = rest.split_once('.').unwrap_or((rest, ""));
    let (name, listed) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
    let members = value.as_object().into_iter().flatten();
    for (key, member) in members.filter(|(key, _)| name == "*" || key.as_str() == name) {
        let at = at.key(key);
        if !listed {
            visit(member, rest, &at, each);
            continue;
        }
        for (index, item) in member.as_array().into_iter().flatten().enumerate() {
            visit(item, rest, &at.index(index), each);
        }
    }
}

/// Whether a value asks for anything at all.
fn asks(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => items.iter().any(asks),
        Value::Object(members) => {
            let is = |name: &str, state: bool| members.get(name) == Some(&Value::Bool(state));
            !is("enabled", false) && !is("disabled", true) && members.values().any(asks)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TABLE, hold, visit};
    use crate::config::fault::{Faults, Path};
    use serde_json::{Value, json};

    fn held(document: &Value) -> (String, Vec<String>) {
        let (mut faults, mut notes) = (Faults::default(), Vec::new());
        hold(document, &mut faults, &mut notes);
        (faults.to_string(), notes)
    }

    #[test]
    fn what_asks_for_something_is_refused_by_name() {
        let (faults, _) = held(&json!({
            "vector_store": {"enabled": true, "type": "redis"},
            "plugins": [{"enabled": false, "name": "maxim"}, {"enabled": true, "name": "otel"}],
            "client": {"prometheus_labels": ["tenant"]},
            "providers": {"openai": {"network_config": {"enforce_http2": true}}},
        }));
        let lines: Vec<_> = faults.lines().collect();
        assert_eq!(lines[0], "vector_store: is not supported by this version; remove the section");
        assert!(lines[1].starts_with("plugins[1]: (`otel`) is not supported"), "{}", lines[1]);
        assert!(lines[2].starts_with("client.prometheus_labels: is not"), "{}", lines[2]);
        assert!(lines[3].starts_with("providers.openai.network_config.enforce_http2: "));
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn what_is_switched_off_empty_or_as_by_default_passes() {
        let (faults, notes) = held(&json!({
            "vector_store": {"enabled": false, "type": "redis"},
            "config_store": {"enabled": false},
            "webhooks": [{"url": "https://h", "disabled": true}],
            "plugins": [], "feature_flags": {"flags": {}},
            "client": {"compat": {"should_drop_params": false}, "async_job_result_ttl": 3600},
            "mcp": {"tool_manager_config": {"max_agent_depth": 10}},
        }));
        assert_eq!((faults.as_str(), notes.len()), ("", 0));
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let (faults, notes) = held(&json!({"client": {"initial_pool_size": 2000}}));
        let note = "`client.initial_pool_size` has no effect: nothing has to be pooled ahead here";
        assert_eq!((faults.as_str(), notes), ("", vec![note.to_owned()]));
    }

    /// A schema in which every path of the table exists.
    #[test]
    fn every_row_names_a_field_of_the_schema() {
        let schema = schemars::schema_for!(crate::config::file::File).to_value();
        for row in TABLE {
            let steps = row.path.split('.');
            let mut at = vec![&schema];
            for step in steps {
                let (name, listed) = step.strip_suffix("[]").map_or((step, false), |n| (n, true));
                at = at.iter().flat_map(|at| below(&schema, at, name, listed)).collect();
            }
            assert!(!at.is_empty(), "{} is no field", row.path);
        }
        let mut seen = 0;
        visit(&json!({"a": {"x": [1], "y": [2]}}), "a.*[]", &Path::root(), &mut |_, _| seen += 1);
        assert_eq!(seen, 2);
    }

    fn below<'s>(root: &'s Value, at: &'s Value, name: &str, listed: bool) -> Vec<&'s Value> {
        let mut found = Vec::new();
        for form in forms(root, at) {
            let properties = form.get("properties").and_then(|all| all.get(name));
            let member = if name == "*" { form.get("additionalProperties") } else { properties };
            for member in member.into_iter().flat_map(|member| forms(root, member)) {
                found.extend(if listed { member.get("items") } else { Some(member) });
            }
        }
        found
    }

    fn forms<'s>(root: &'s Value, schema: &'s Value) -> Vec<&'s Value> {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            return forms(root, root.pointer(name.trim_start_matches('#')).unwrap());
        }
        match schema.get("anyOf").and_then(Value::as_array) {
            Some(all) => all.iter().flat_map(|form| forms(root, form)).collect(),
            None => vec![schema],
        }
    }
}
