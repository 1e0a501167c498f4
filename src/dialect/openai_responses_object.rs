//! The response object of OpenAI Responses, written.
//!
//! In: what the answer is called, its finished items, its usage and how it ended, and the client's
//! own body. Out: the whole object, as it stands in a plain answer and in the events that begin and
//! end a stream; parameters are repeated from the request, absent ones as the vendor's defaults.
//! `store` is always false: nothing of a transcoded answer can be retrieved later.
//! Never: leaves out a field that the specification requires, null or not.
//! Page: <https://platform.openai.com/docs/api-reference/responses/object>

use super::{Reply, errors};
use crate::chat::{ErrorKind, Fault, Usage};
use crate::wire::json_read;
use crate::wire::json_write::{self, Object};

/// How far the answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    InProgress,
    Completed,
    /// With the reason: `max_output_tokens` or `content_filter`.
    Incomplete(&'static str),
    Failed {
        code: String,
        message: String,
    },
}

impl State {
    pub(super) fn failed(fault: &Fault<'_>) -> Self {
        let code = match &fault.code {
            Some(code) => code.to_string(),
            None => code_of(fault.kind).to_owned(),
        };
        Self::Failed { code, message: fault.message.to_string() }
    }

    const fn status(&self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
            Self::Failed { .. } => "failed",
        }
    }

    /// The event that says that the answer is over, or that it goes on.
    pub(super) const fn event(&self) -> &'static str {
        match self {
            Self::InProgress => "response.in_progress",
            Self::Completed => "response.completed",
            Self::Incomplete(_) => "response.incomplete",
            Self::Failed { .. } => "response.failed",
        }
    }
}

/// The code that OpenAI's own clients act on.
const fn code_of(kind: ErrorKind) -> &'static str {
    match (kind, errors::openai_type(kind)) {
        (ErrorKind::Overloaded, _) => "server_is_overloaded",
        (ErrorKind::InvalidRequest, _) => "invalid_prompt",
        (_, (_, Some(code))) => code,
        (_, (name, None)) => name,
    }
}

/// One response object, growing item by item.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) usage: Usage,
    created: u64,
    /// The finished items of `output`, separated by commas.
    items: Vec<u8>,
    count: u32,
    /// The members that repeat the request, each preceded by a comma.
    echo: Vec<u8>,
}

impl Response {
    pub(super) fn new(reply: Reply) -> Self {
        Self {
            id: format!("resp_{}", reply.id),
            model: reply.model,
            usage: Usage::default(),
            created: reply.created,
            items: Vec::new(),
            count: 0,
            echo: echo(&reply.request_body),
        }
    }

    /// The index that the next item has.
    pub(super) fn next_index(&self) -> u32 {
        self.count
    }

    /// The id of the next item, of the kind that `prefix` stands for.
    pub(super) fn item_id(&self, prefix: &str) -> String {
        let base = self.id.strip_prefix("resp_").unwrap_or(&self.id);
        let base: String = base.chars().filter(char::is_ascii_alphanumeric).take(48).collect();
        format!("{prefix}_{base}_{}", self.count)
    }

    /// Appends a finished item, whose JSON `write` appends to the buffer that it is given.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.count > 0 {
            self.items.push(b',');
        }
        self.count += 1;
        write(&mut self.items);
    }

    /// Writes the object as it stands.
    pub(super) fn write(&self, state: &State, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.text("id", &self.id).text("object", "response");
        object.unsigned("created_at", self.created).text("status", state.status());
        object.boolean("background", false);
        match state {
            State::Failed { code, message } => {
                let mut error = object.object("error");
                error.text("code", code).text("message", message);
                error.end();
            }
            _ => {
                object.null("error");
            }
        }
        match state {
            State::Incomplete(reason) => {
                let mut details = object.object("incomplete_details");
                details.text("reason", reason);
                details.end();
            }
            _ => {
                object.null("incomplete_details");
            }
        }
        object.text("model", &self.model);
        let output = object.key("output");
        output.push(b'[');
        if *state != State::InProgress {
            output.extend_from_slice(&self.items);
        }
        output.push(b']');
        let tier = match self.usage.service_tier.as_deref() {
            None | Some("standard") => "default",
            Some(tier) => tier,
        };
        object.text("service_tier", tier);
        if *state == State::InProgress {
            object.null("usage");
        } else {
            usage(&self.usage, object.object("usage"));
        }
        let out = object.key("store");
        out.extend_from_slice(b"false");
        out.extend_from_slice(&self.echo);
        object.end();
    }
}

fn usage(usage: &Usage, mut object: Object<'_>) {
    object.unsigned("input_tokens", usage.prompt());
    let mut details = object.object("input_tokens_details");
    details.unsigned("cached_tokens", usage.cache_read.unwrap_or(0));
    details.unsigned("cache_write_tokens", usage.cache_write.unwrap_or(0));
    details.end();
    object.unsigned("output_tokens", usage.output.unwrap_or(0));
    let mut details = object.object("output_tokens_details");
    details.unsigned("reasoning_tokens", usage.reasoning.unwrap_or(0));
    details.end();
    object.unsigned("total_tokens", usage.total());
    object.end();
}

/// The members that repeat the request, each preceded by a comma.
fn echo(body: &str) -> Vec<u8> {
    let defaults = [
        ("instructions", "null"),
        ("max_output_tokens", "null"),
        ("max_tool_calls", "null"),
        ("parallel_tool_calls", "true"),
        ("previous_response_id", "null"),
        ("prompt_cache_key", "null"),
        ("reasoning", r#"{"effort":null,"summary":null}"#),
        ("safety_identifier", "null"),
        ("temperature", "1.0"),
        ("text", r#"{"format":{"type":"text"}}"#),
        ("tool_choice", r#""auto""#),
        ("tools", "[]"),
        ("top_logprobs", "0"),
        ("top_p", "1.0"),
        ("truncation", r#""disabled""#),
        ("user", "null"),
        ("metadata", "{}"),
    ];
    let mut values = defaults.map(|(_, default)| default);
    for (name, raw) in json_read::fields(body) {
        if json_read::is_null(raw) {
            continue;
        }
        if let Some(at) = defaults.iter().position(|(known, _)| *known == name)
            && let Some(value) = values.get_mut(at)
        {
            *value = raw;
        }
    }
    let mut out = Vec::new();
    for ((name, default), value) in defaults.iter().zip(values) {
        out.push(b',');
        json_write::string(&mut out, name);
        out.push(b':');
        if json_read::is_object(value) && json_read::is_object(default) {
            merged(&mut out, value, default);
        } else {
            out.extend_from_slice(value.as_bytes());
        }
    }
    out
}

/// The members of `value`, and those of `default` that it lacks.
fn merged(out: &mut Vec<u8>, value: &str, default: &str) {
    let mut object = Object::begin(out);
    for (name, raw) in json_read::fields(value) {
        object.raw(&name, raw);
    }
    for (name, raw) in json_read::fields(default) {
        if json_read::field(value, &name).is_none() {
            object.raw(&name, raw);
        }
    }
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(body: &str, state: &State) -> serde_json::Value {
        let reply = Reply {
            model: "m".into(),
            id: "1".into(),
            created: 7,
            request_body: body.into(),
            ..Reply::default()
        };
        let mut out = Vec::new();
        Response::new(reply).write(state, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn the_request_is_repeated_and_defaults_fill_the_rest() {
        let object = written(
            r#"{"model":"x","instructions":"be brief","tools":[{"type":"function","name":"f"}],
                "text":{"verbosity":"low"},"temperature":0.20,"user":null,"store":true}"#,
            &State::Completed,
        );
        assert_eq!(object["instructions"], "be brief");
        assert_eq!(object["tools"][0]["name"], "f");
        assert_eq!(object["text"]["verbosity"], "low");
        assert_eq!(object["text"]["format"]["type"], "text");
        assert_eq!(object["temperature"], 0.2);
        assert_eq!(object["top_p"], 1.0);
        assert_eq!(object["user"], serde_json::Value::Null);
        assert_eq!(object["store"], false);
        assert_eq!(object["usage"]["output_tokens_details"]["reasoning_tokens"], 0);
        assert_eq!(object["usage"]["input_tokens_details"]["cached_tokens"], 0);
    }

    #[test]
    fn each_state_has_its_fields() {
        let failed = State::Failed { code: "server_error".into(), message: "m".into() };
        assert_eq!(written("", &failed)["error"]["code"], "server_error");
        let cut = written("", &State::Incomplete("max_output_tokens"));
        assert_eq!(cut["incomplete_details"]["reason"], "max_output_tokens");
        assert_eq!(cut["error"], serde_json::Value::Null);
        assert_eq!(written("", &State::InProgress)["usage"], serde_json::Value::Null);
    }
}
