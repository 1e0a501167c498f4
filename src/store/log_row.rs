//! A request as a row: from the record that its worker made, to what the log's readers get.
//!
//! In: a [`Record`]. Out: the values of [`COLUMNS`], and the bodies as text; from a row again, its
//! JSON. Never: writes what the record says to hide; knows a socket.

use super::log_schema::COLUMNS;
use super::sql::{Row, Value};
use crate::observe::Record;
use crate::observe::record::{Content, REQUEST_MAX};
use crate::wire::http1::{self, BodyKind, Chunked, Limits};
use serde_json::{Map, json};

/// `seq` is the time times this, plus a number.
pub const PER_MICROSECOND: i64 = 256;
/// As much of a body says whether it is text.
const SAMPLE: usize = 4096;
const NANO: f64 = 1e-9;

/// What is written of one request.
#[derive(Debug)]
pub struct Written {
    pub row: Row,
    /// Request, whether it was cut, answer, whether it was cut.
    pub bodies: Option<(String, bool, String, bool)>,
}

/// Takes a record apart; `cost` in nano-dollars, where there is a price.
pub fn of(record: Record, cost: Option<u64>) -> Written {
    let row = row(&record, cost);
    let bodies = record.content.map(|mut content| {
        let whole = content.request.len() < content.begin.saturating_add(REQUEST_MAX);
        let request = request(&mut content);
        let (response, cut) = response(&mut content);
        (request, !whole, response, cut)
    });
    Written { row, bodies }
}

fn row(record: &Record, cost: Option<u64>) -> Row {
    let text = |text: &str| Value::Text(printable(text).into());
    let count = Value::count;
    let tokens = |of: Option<u64>| Value::count(of.unwrap_or(0));
    let usage = &record.usage;
    let flaw = record.flaw.clone().unwrap_or_default();
    let dialect = |of: Option<crate::chat::Dialect>| text(of.map_or("", |of| of.name()));
    let model = if record.model.is_empty() { &record.asked } else { &record.model };
    let status = match record.status {
        0 => 499,
        status => i64::from(status),
    };
    #[expect(clippy::cast_precision_loss, reason = "dollars, for people")]
    let dollars = cost.unwrap_or(0) as f64 * NANO;
    vec![
        Value::Int(record.began.saturating_mul(PER_MICROSECOND)),
        text(&record.id),
        Value::Int(record.began),
        count(record.timings.total),
        count(usage.total()),
        Value::Real(dollars),
        Value::Int(i64::from(cost.is_some())),
        text(record.outcome()),
        Value::Int(status),
        Value::Int(i64::from(record.stream)),
        text(record.operation),
        text(&record.provider),
        text(model),
        text(&record.asked),
        text(&record.canonical),
        text(&record.key.id),
        text(&record.key.name),
        text(&record.virtual_key.id),
        text(&record.virtual_key.name),
        text(&record.team.id),
        text(&record.team.name),
        text(&record.customer.id),
        text(&record.customer.name),
        text(&record.rule.id),
        text(&record.rule.name),
        text(record.stop),
        text(&flaw.code),
        text(&flaw.message),
        count(record.retries.into()),
        count(record.fallback.into()),
        tokens(usage.input),
        tokens(usage.output),
        tokens(usage.reasoning),
        tokens(usage.cache_read),
        tokens(usage.cache_write),
        tokens(usage.cache_write_1h),
        tokens(usage.input_audio),
        tokens(usage.output_audio),
        tokens(usage.web_searches),
        text(usage.service_tier.as_deref().unwrap_or("")),
        count(record.timings.queue),
        count(record.timings.connect),
        count(record.timings.first_byte),
        count(record.timings.own),
        dialect(record.client),
        dialect(record.upstream),
        text(record.method),
        text(&record.path),
        text(&record.session),
        text(&record.parent),
        text(&record.user_agent),
        text(app(&record.user_agent)),
        text(&record.losses),
        text(&metadata(record)),
        text(&record.trail),
    ]
}

/// The product that a client names itself.
fn app(user_agent: &str) -> &str {
    let name = user_agent.split(['/', ' ', '(']).next().unwrap_or_default();
    name.get(..64).unwrap_or(name)
}

fn metadata(record: &Record) -> String {
    if record.headers.is_empty() {
        return String::new();
    }
    let pairs = record.headers.iter();
    let object: Map<_, _> =
        pairs.map(|(name, value)| (name.to_string(), json!(&**value))).collect();
    serde_json::Value::Object(object).to_string()
}

/// Postgres takes no NUL in a text.
fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

fn request(content: &mut Content) -> String {
    let begin = content.begin;
    if let Some((from, to)) = content.hide
        && content.request.get(begin + from..begin + to).is_some()
    {
        content.request.splice(begin + from..begin + to, *b"\"[hidden]\"");
    }
    let body = content.request.get(begin..).unwrap_or_default();
    let body = body.get(..REQUEST_MAX).unwrap_or(body);
    readable(body)
}

/// A body as text. Events framed by AWS are mostly that; sound and pictures are not.
fn readable(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let strange = |c: &char| *c == '\u{fffd}' || (c.is_control() && !c.is_whitespace());
    if text.chars().take(SAMPLE).filter(strange).count() > body.len().min(SAMPLE) / 5 {
        return format!("[{} bytes that are no text]", body.len());
    }
    printable(&text).into_owned()
}

/// The body of the answer, without its head and framing.
fn response(content: &mut Content) -> (String, bool) {
    let Ok(Some(head)) = http1::parse_response(&content.response, &Limits::default(), false) else {
        return (String::new(), content.response_cut || !content.response.is_empty());
    };
    let body = content.response.get_mut(head.len..).unwrap_or_default();
    let (length, whole) = match head.body {
        BodyKind::None => (0, true),
        BodyKind::Length(length) => (body.len(), body.len() as u64 >= length),
        BodyKind::UntilClose => (body.len(), true),
        BodyKind::Chunked => {
            let decoded = Chunked::default().decode(body);
            decoded.map_or((0, false), |progress| (progress.produced, progress.done))
        }
    };
    let text = readable(body.get(..length).unwrap_or_default());
    (text, content.response_cut || !whole)
}

/// A row by its columns' names.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'r>(pub &'r [Value]);

impl<'r> Columns<'r> {
    pub fn get(self, name: &str) -> &'r Value {
        let at = COLUMNS.iter().position(|column| *column == name);
        at.and_then(|at| self.0.get(at)).unwrap_or(&Value::Null)
    }

    pub fn text(self, name: &str) -> &'r str {
        self.get(name).text()
    }

    pub fn int(self, name: &str) -> i64 {
        self.get(name).int()
    }

    pub fn real(self, name: &str) -> f64 {
        self.get(name).real()
    }

    /// The row as Bifrost's log API shows it, and what we know beside.
    pub fn json(self) -> serde_json::Value {
        let some = |name: &str| Some(self.text(name)).filter(|text| !text.is_empty());
        let micros = |name: &str| self.int(name);
        let time = jiff::Timestamp::from_microsecond(self.int("time")).unwrap_or_default();
        let error = some("error_code").map(|code| {
            json!({"code": code, "message": self.text("error"),
                "status_code": self.int("status_code")})
        });
        let parsed = |name: &str| some(name).and_then(|text| serde_json::from_str(text).ok());
        let metadata: Option<serde_json::Value> = parsed("metadata");
        let trail: Option<serde_json::Value> = parsed("trail");
        let losses = some("losses").map(|paths| paths.split(',').collect::<Vec<_>>());
        json!({
            "id": self.text("id"),
            "parent_request_id": some("parent_id"),
            "session_id": some("session_id"),
            "timestamp": format!("{time:.6}"),
            "object": self.text("object"),
            "stream": self.int("stream") != 0,
            "provider": self.text("provider"),
            "model": self.text("model"),
            "alias": some("alias"),
            "canonical_model_name": some("canonical_model"),
            "status": self.text("status"),
            "status_code": self.int("status_code"),
            "error_details": error,
            "stop_reason": some("stop_reason"),
            "number_of_retries": self.int("retries"),
            "fallback_index": self.int("fallback"),
            "attempt_trail": trail,
            "selected_key_id": some("selected_key_id"),
            "selected_key_name": some("selected_key_name"),
            "virtual_key_id": some("virtual_key_id"),
            "virtual_key_name": some("virtual_key_name"),
            "team_id": some("team_id"),
            "team_name": some("team_name"),
            "customer_id": some("customer_id"),
            "customer_name": some("customer_name"),
            "routing_rule_id": some("routing_rule_id"),
            "routing_rule_name": some("routing_rule_name"),
            "latency": self.real("total_us") / 1000.0,
            "timings": {
                "queue_us": micros("queue_us"),
                "upstream_connect_us": micros("connect_us"),
                "first_byte_us": micros("first_byte_us"),
                "total_us": micros("total_us"),
                "own_us": micros("own_us"),
            },
            "token_usage": self.usage(),
            "cost": (self.int("priced") != 0).then(|| self.real("cost")),
            "client_dialect": some("client_dialect"),
            "upstream_dialect": some("upstream_dialect"),
            "method": self.text("method"),
            "path": self.text("path"),
            "user_agent": some("user_agent"),
            "app": some("app"),
            "dropped": losses,
            "metadata": metadata,
        })
    }

    fn usage(self) -> serde_json::Value {
        let [input, read, write, output] =
            ["input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens"]
                .map(|name| self.int(name));
        json!({
            "prompt_tokens": input + read + write,
            "completion_tokens": output,
            "total_tokens": self.int("total_tokens"),
            "input_tokens": input,
            "cached_read_tokens": read,
            "cached_write_tokens": write,
            "cached_write_1h_tokens": self.int("cache_write_1h_tokens"),
            "reasoning_tokens": self.int("reasoning_tokens"),
            "input_audio_tokens": self.int("input_audio_tokens"),
            "output_audio_tokens": self.int("output_audio_tokens"),
            "web_searches": self.int("web_searches"),
            "service_tier": Some(self.text("service_tier")).filter(|tier| !tier.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Usage;
    use crate::observe::record::{Flaw, Named, Timings};

    #[test]
    fn a_row_says_what_the_record_said() {
        let usage =
            Usage { input: Some(10), output: Some(5), cache_read: Some(90), ..Usage::default() };
        let record = Record {
            id: "abc".into(),
            began: 1_700_000_000_000_001,
            asked: "fast".into(),
            provider: "openai".into(),
            model: "gpt".into(),
            virtual_key: Named::of("vk", "Team key"),
            status: 200,
            flaw: Some(Flaw { code: "network".into(), message: "cut\0off".into() }),
            usage,
            timings: Timings { total: 1500, own: 40, ..Timings::default() },
            losses: "tools[0],top_k".into(),
            user_agent: "claude-cli/2.1 (x)".into(),
            headers: vec![("x-team".into(), "a \"b\"".into())],
            ..Record::default()
        };
        let Written { row, bodies } = of(record, Some(2_500_000_000));
        assert_eq!((row.len(), bodies), (COLUMNS.len(), None));
        let json = Columns(&row).json();
        for (pointer, wanted) in [
            ("/id", json!("abc")),
            ("/timestamp", json!("2023-11-14T22:13:20.000001Z")),
            ("/status", json!("error")),
            ("/error_details/message", json!("cut\u{fffd}off")),
            ("/model", json!("gpt")),
            ("/alias", json!("fast")),
            ("/virtual_key_name", json!("Team key")),
            ("/latency", json!(1.5)),
            ("/timings/own_us", json!(40)),
            ("/token_usage/prompt_tokens", json!(100)),
            ("/token_usage/total_tokens", json!(105)),
            ("/cost", json!(2.5)),
            ("/app", json!("claude-cli")),
            ("/dropped/1", json!("top_k")),
            ("/metadata/x-team", json!("a \"b\"")),
            ("/team_id", json!(null)),
        ] {
            assert_eq!(json.pointer(pointer), Some(&wanted), "{pointer}");
        }
    }

    #[test]
    fn bodies_lose_their_framing_and_what_must_be_hidden() {
        let body = br#"{"headers":{"x-bf-vk":"sk-bf-secret"},"model":"m"}"#;
        let mut request = b"POST / HTTP/1.1\r\n\r\n".to_vec();
        let begin = request.len();
        request.extend_from_slice(body);
        let chunked =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n";
        let content = |response: &str, cut| Content {
            request: request.clone(),
            begin,
            hide: Some((11, 37)),
            response: response.as_bytes().to_vec(),
            response_cut: cut,
        };
        let bodies = |response: &str, cut| {
            let content = Some(content(response, cut));
            of(Record { content, ..Record::default() }, None).bodies.unwrap()
        };
        let (request, cut, response, response_cut) = bodies(&format!("{chunked}0\r\n\r\n"), false);
        assert_eq!(request, r#"{"headers":"[hidden]","model":"m"}"#);
        assert_eq!((cut, response.as_str(), response_cut), (false, "abcde", false));
        let (_, _, response, cut) = bodies(chunked, false);
        assert_eq!((response.as_str(), cut), ("abcde", true), "the client left");
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(bodies(whole, false).2, "{}");
        assert!(bodies(whole, true).3);
    }
}
