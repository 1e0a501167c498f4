//! What a virtual key has left: `GET /api/governance/virtual-keys/quota`, asked with the key itself.
//!
//! In: a request that shows a virtual key. Out: the standing of its budgets and rate limits in the
//! shape of Bifrost's answer (reference §2.9), amounts in dollars. Never: shows another key's
//! limits, or which keys of providers it may use.

use serde_json::{Map, Value, json};

use super::authority::{self, Pass};
use super::exchange::Halt;
use super::failure::{Failure, Whose};
use super::{Visit, say};
use crate::chat::ErrorKind;
use crate::govern::budgets::to_dollars;
use crate::govern::limits::{Limit, Metric};
use crate::govern::virtual_keys::{Limits, ProviderGrant};
use crate::govern::windows::rfc3339;
use crate::govern::{Tables, VirtualKey};
use crate::net::client_conn::{ClientConn, Incoming};

pub async fn answer(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    incoming: &Incoming,
) -> Result<(), Halt> {
    let pass = authority::identify(visit.core, visit.snapshot, incoming)?;
    let Pass { law: Some(law), key: Some(key), now, .. } = pass else {
        let message = "virtual_key_required: a quota belongs to a virtual key; send it as x-bf-vk";
        return Err(Failure::new(401, ErrorKind::Authentication, Whose::Policy, message).into());
    };
    let body = standing(&law.tables, key, now).to_string();
    say(visit, client, "application/json", body.as_bytes()).await
}

/// `now` in Unix milliseconds.
fn standing(tables: &Tables, key: &VirtualKey, now: i64) -> Value {
    let grant = |grant: &ProviderGrant| {
        json!({
            "id": grant.id,
            "provider": grant.provider,
            "weight": grant.weight,
            "budgets": budgets(tables, grant.limits, now),
            "rate_limit": rate_limit(tables, grant.limits, now),
            "keys": null,
        })
    };
    json!({
        "virtual_key_name": key.name,
        "is_active": key.active,
        "budgets": budgets(tables, key.limits, now),
        "rate_limit": rate_limit(tables, key.limits, now),
        "provider_configs": key.providers.iter().map(grant).collect::<Vec<_>>(),
    })
}

fn budgets(tables: &Tables, limits: Limits, now: i64) -> Vec<Value> {
    let budgets = tables.limits_of(limits).iter().filter(|limit| limit.metric == Metric::Cost);
    let standing = budgets.map(|limit| {
        json!({
            "id": limit.name.id,
            "max_limit": to_dollars(limit.max_at(now)),
            "reset_duration": limit.window.span().map(|span| span.to_string()),
            "last_reset": last_reset(limit, now),
            "current_usage": to_dollars(limit.used(now)),
        })
    });
    standing.collect()
}

/// `null` where requests and tokens are not limited.
fn rate_limit(tables: &Tables, limits: Limits, now: i64) -> Value {
    let mut standing = Map::new();
    for limit in tables.limits_of(limits) {
        let metric = match limit.metric {
            Metric::Cost => continue,
            Metric::Tokens => "token",
            Metric::Requests => "request",
            Metric::Concurrent => "concurrent_request",
        };
        standing.insert("id".to_owned(), json!(limit.name.id));
        let mut set = |name: &str, value: Value| {
            standing.insert(format!("{metric}_{name}"), value);
        };
        set("max_limit", json!(limit.max_at(now)));
        set("current_usage", json!(limit.used(now)));
        if let Some(span) = limit.window.span() {
            set("reset_duration", json!(span.to_string()));
            set("last_reset", json!(last_reset(limit, now)));
        }
    }
    if standing.is_empty() { Value::Null } else { Value::Object(standing) }
}

fn last_reset(limit: &Limit, now: i64) -> String {
    rfc3339(limit.window.start(limit.anchor, now))
}
