//! One line for each request, as JSON or as plain text.
//!
//! In: its [`Record`]. Out: the line, without its end. Names are those of Bifrost's access log where
//! it has one. Never: a header's value, a query or a body: nothing that could hold a secret.

use super::record::Record;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The line as JSON.
pub fn json(record: &Record, cost: Option<u64>) -> String {
    let mut line = Map::new();
    let mut say = |name: &str, value: Value| {
        if !matches!(&value, Value::Null) && value != "" {
            line.insert(name.to_owned(), value);
        }
    };
    say("time", time(record).into());
    say("message", "request".into());
    say("request_id", (*record.id).into());
    say("http.method", record.method.into());
    say("http.target", (*record.path).into());
    say("http.status_code", record.status.into());
    say("http.request_duration_ms", json!(ms(record.timings.total)));
    say("http.user_agent", (*record.user_agent).into());
    say("status", record.outcome().into());
    say("operation", record.operation.into());
    say("stream", record.stream.then_some(true).into());
    say("model", (*record.asked).into());
    say("provider", (*record.provider).into());
    say("served_model", (*record.model).into());
    say("selected_key_id", (*record.key.id).into());
    say("virtual_key_id", (*record.virtual_key.id).into());
    say("routing_rule_id", (*record.rule.id).into());
    say("retries", (record.retries > 0).then_some(record.retries).into());
    say("fallback_index", (record.fallback > 0).then_some(record.fallback).into());
    if !record.provider.is_empty() {
        say("queue_us", record.timings.queue.into());
        say("upstream_connect_us", record.timings.connect.into());
        say("first_byte_us", record.timings.first_byte.into());
    }
    say("own_us", record.timings.own.into());
    say("input_tokens", record.usage.input.into());
    say("output_tokens", record.usage.output.into());
    say("cache_read_tokens", record.usage.cache_read.into());
    say("cache_write_tokens", record.usage.cache_write.into());
    say("cost", cost.map(dollars).into());
    if let Some(flaw) = &record.flaw {
        say("error_code", (*flaw.code).into());
        say("error", (*flaw.message).into());
    }
    Value::Object(line).to_string()
}

/// The line for people.
pub fn pretty(record: &Record, cost: Option<u64>) -> String {
    let status = match record.status {
        0 => "gone".to_owned(),
        status => status.to_string(),
    };
    let mut line = format!(
        "{} {} {} {status} {:.1} ms, own {} µs",
        time(record),
        record.method,
        record.path,
        ms(record.timings.total),
        record.timings.own
    );
    if !record.provider.is_empty() {
        let _infallible = write!(line, " -> {}/{}", record.provider, record.model);
    }
    let usage = &record.usage;
    if usage.total() > 0 {
        let _infallible = write!(line, " {}+{} tokens", usage.prompt(), usage.output.unwrap_or(0));
    }
    if let Some(cost) = cost {
        let _infallible = write!(line, " ${:.6}", dollars(cost));
    }
    if !record.virtual_key.name.is_empty() {
        let _infallible = write!(line, " key {}", record.virtual_key.name);
    }
    if let Some(flaw) = &record.flaw {
        let _infallible = write!(line, " {}: {}", flaw.code, flaw.message.replace('\n', " "));
    }
    let _infallible = write!(line, " id {}", record.id);
    line
}

fn time(record: &Record) -> String {
    let time = jiff::Timestamp::from_microsecond(record.began).unwrap_or_default();
    format!("{time:.3}")
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds, for people")]
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "dollars, for people")]
fn dollars(nano: u64) -> f64 {
    nano as f64 * 1e-9
}
