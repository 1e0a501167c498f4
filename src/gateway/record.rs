//! The log's record of one request: begun with it, filled in on the way, sent off at its end.
//!
//! In: what each step knows. Out: one [`Record`] in the worker's outbox. Where nothing is logged no
//! record is begun, and nothing costs anything. Never: copies a request's body (it moves into the
//! record), or takes in a header that carries a credential.

use super::account::Tally;
use super::attempts::{Errand, Site};
use super::authority::Pass;
use super::failure::Failure;
use super::ingress::{Ask, Call};
use super::trail::Trail;
use super::{Core, Visit};
use crate::chat::{Loss, StopReason};
use crate::net::client_conn::{ClientConn, Incoming};
use crate::net::copy::Copy;
use crate::observe::Record;
use crate::observe::record::{Content, Flaw, Named, REQUEST_MAX, RESPONSE_MAX, Timings};
use crate::provider::model_name;
use crate::wire::http1;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Headers whose value is also a label of the request.
const DIMENSIONS: [&str; 2] = ["x-bf-dim-", "x-bf-prom-"];
/// More of a header's value is not kept.
const VALUE_MAX: usize = 1024;

/// Begins the record of a request; `understood`: its path is one of a vendor's API.
pub fn begin(
    core: &Core,
    client: &mut ClientConn,
    incoming: &Incoming,
    (id, understood): (&str, bool),
) -> Option<Box<Record>> {
    core.outbox.as_ref()?;
    let snapshot = core.snapshot();
    let logging = &snapshot.logging;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let target = incoming.head.target.str_of(&incoming.buf);
    let path = http1::path_and_query(target).map_or("", |parts| parts.path);
    let mut record = Record {
        id: id.into(),
        began: i64::try_from(now.as_micros()).unwrap_or(i64::MAX),
        method: incoming.head.method.as_str(),
        path: path.into(),
        ..Record::default()
    };
    for (name, value) in incoming.head.headers(&incoming.buf) {
        note_header(&mut record, &logging.headers, name, value);
    }
    let own = incoming.header("x-bf-disable-content-logging");
    let off = own.filter(|_| logging.content_by_request).map(|off| off.trim() == "true");
    let content = understood && logging.store && off.map_or(logging.content, |off| !off);
    client.keep_copy(content.then(|| Copy::new(RESPONSE_MAX, &core.copies)));
    record.content = content.then(Content::default);
    Some(Box::new(record))
}

fn note_header(record: &mut Record, wanted: &[Box<str>], name: &str, value: &[u8]) {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    let text = || -> Box<str> {
        let kept = value.get(..VALUE_MAX).unwrap_or(value);
        String::from_utf8_lossy(kept).into()
    };
    if is("user-agent") {
        record.user_agent = text();
    } else if is("x-bf-session-id") || (is("x-claude-code-session-id") && record.session.is_empty())
    {
        record.session = text();
    } else if is("x-bf-parent-request-id") {
        record.parent = text();
    }
    let dimension = DIMENSIONS.iter().find_map(|prefix| {
        let (begin, rest) = name.split_at_checked(prefix.len())?;
        begin.eq_ignore_ascii_case(prefix).then_some(rest)
    });
    if let Some(label) = dimension {
        record.headers.push((label.to_ascii_lowercase().into(), text()));
    } else if wanted.iter().any(|wanted| is(wanted)) {
        record.headers.push((name.to_ascii_lowercase().into(), text()));
    }
}

impl Tally {
    /// What a call of a vendor's API is.
    pub fn note_call(&mut self, call: &Call) {
        let Some(record) = &mut self.record else { return };
        record.operation = call.operation.request_type();
    }

    /// What is asked for, and by whom.
    pub fn note_caller(
        &mut self,
        visit: &Visit<'_>,
        client: &mut ClientConn,
        pass: &Pass<'_>,
        errand: &Errand<'_>,
    ) {
        let Some(record) = &mut self.record else { return };
        let Ask { model, stream, spans, .. } = errand.ask;
        record.operation = errand.request_type;
        record.asked = model.as_str().into();
        record.stream = *stream;
        if let Some(key) = pass.key {
            let group = |of: &Option<std::sync::Arc<crate::govern::virtual_keys::Group>>| {
                of.as_ref().map_or_else(Named::default, |of| Named::of(&of.id, &of.name))
            };
            record.virtual_key = Named::of(&key.id, &key.name);
            record.team = group(&key.team);
            record.customer = group(&key.customer);
            if let Some(off) = key.disable_content_logging {
                let content = !off && visit.snapshot.logging.store;
                let copies = &visit.core.copies;
                client.keep_copy(content.then(|| Copy::new(RESPONSE_MAX, copies)));
                record.content = content.then(Content::default);
            }
        }
        if let (Some(content), Some(span)) = (&mut record.content, spans.headers) {
            content.hide = Some((span.start, span.end));
        }
    }

    /// Which rule decided where it goes.
    pub fn note_rule(&mut self, rule: Option<&crate::route::Rule>) {
        if let (Some(record), Some(rule)) = (&mut self.record, rule) {
            record.rule = Named::of(&rule.id, &rule.name);
        }
    }

    /// Where an attempt goes.
    pub fn begin_attempt(&mut self, site: &Site<'_>, (target, retry): (usize, u32), now: Duration) {
        self.trail.begin((target, &site.provider.name, site.model), site.key, now);
        let Some(record) = &mut self.record else { return };
        record.provider = (*site.provider.name).into();
        record.model = (*site.model).into();
        record.key = site.key.map_or_else(Named::default, |key| Named::of(&key.id, &key.name));
        let alias = site.key.and_then(|key| model_name::alias_of(key, site.model));
        record.canonical = alias.map_or_else(Box::default, |alias| {
            alias.model_name.as_ref().unwrap_or(&alias.model_id).to_string().into()
        });
        record.retries += retry.min(1);
        record.fallback = u32::try_from(target).unwrap_or(u32::MAX);
    }

    pub fn note_losses(&mut self, loss: &Loss) {
        self.losses = loss.entries().len() as u64;
        if let (Some(record), false) = (&mut self.record, loss.is_empty()) {
            record.losses = loss.header_value().into();
        }
    }

    /// The whole request failed.
    pub fn note_failure(&mut self, failure: &Failure) {
        self.status = failure.status;
        let Some(record) = &mut self.record else { return };
        let fault = &failure.fault;
        let code = fault.code.as_deref().unwrap_or(fault.kind.name());
        record.flaw = Some(Flaw { code: code.into(), message: (*fault.message).into() });
    }

    /// Sends the record off with all that the end of a request knows.
    pub fn send_record(&mut self, core: &Core, client: &mut ClientConn, incoming: &mut Incoming) {
        let (Some(mut record), Some(outbox)) = (self.record.take(), &core.outbox) else { return };
        record.client = self.client;
        record.upstream = self.upstream;
        record.status = self.status;
        record.stop = self.stop.map_or("", stop);
        record.cost = self.cost;
        record.trail = trail(&self.trail);
        record.usage = std::mem::take(&mut self.usage);
        if let (None, Some(fault)) = (&record.flaw, &self.fault) {
            let code = fault.code.as_deref().unwrap_or(fault.kind.name());
            record.flaw = Some(Flaw { code: code.into(), message: (*fault.message).into() });
        }
        let times = &client.times;
        let total = times.total();
        let first = times.first_byte().unwrap_or(total);
        record.timings = Timings {
            queue: micros(times.paused()),
            connect: micros(times.connected()),
            first_byte: micros(first),
            total: micros(total),
            own: micros(total.saturating_sub(times.waited())),
        };
        if let Some(content) = &mut record.content {
            content.begin = incoming.body_start;
            content.request = std::mem::take(&mut incoming.buf);
            content.request.truncate(content.begin.saturating_add(REQUEST_MAX));
            if let Some(copy) = client.take_copy() {
                (content.response, content.response_cut) = copy.into_bytes();
            }
        }
        outbox.put(record, &core.counters);
    }
}

/// The attempts as JSON, where there is more to say than the row does.
fn trail(trail: &Trail) -> Box<str> {
    let plain = trail.attempts().len() <= 1 && trail.attempts().all(|one| one.failure.is_none());
    if plain {
        return Box::default();
    }
    let list = trail.attempts().map(|one| {
        serde_json::json!({
            "provider": one.provider,
            "model": one.model,
            "key_id": one.key_id,
            "key_name": one.key_name,
            "fallback_index": one.target,
            "status_code": one.status,
            "fail_reason": one.failure,
            "message": Some(one.reason).filter(|reason| !reason.is_empty()),
            "latency_us": one.latency.map(micros),
            "duration_us": micros(one.duration),
            "wait_us": micros(one.wait),
        })
    });
    serde_json::Value::Array(list.collect()).to_string().into()
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

const fn stop(reason: StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn => "end_turn",
        StopReason::MaxTokens => "max_tokens",
        StopReason::StopSequence => "stop_sequence",
        StopReason::ToolUse => "tool_use",
        StopReason::Refusal => "refusal",
        StopReason::ContentFilter => "content_filter",
        StopReason::PauseTurn => "pause_turn",
        StopReason::ContextWindow => "context_window",
    }
}
