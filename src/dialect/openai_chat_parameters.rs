//! The parameters of an OpenAI Chat request, written: tools, sampling, reasoning, the rest.
//!
//! In: the hub's [`Request`] and the target's [`Manner`]. Out: members of the body. What this
//! model refuses is left out and reported. A streamed answer is always asked for its usage.
//! Never: writes a field that was not asked for, `stream_options` excepted.

use super::Manner;
use super::anthropic_parameters::effort_of;
use super::model_family;
use crate::chat::{Dialect, Format, FunctionTool, Loss, Reason, Request, Tool, ToolChoice};
use crate::wire::json_read;
use crate::wire::json_write::Object;
use std::borrow::Cow;

/// The most stop sequences that the API takes.
const STOP_MAX: usize = 4;

/// The longest `user` that the API takes, in bytes.
const USER_MAX: usize = 64;

/// Extras of OpenAI Responses that Chat has under the same name and meaning.
const SHARED: &[&str] = &["store", "prompt_cache_retention"];

/// The request and what it is sent to.
#[derive(Clone, Copy)]
pub(super) struct Target<'t, 'a> {
    pub(super) request: &'t Request<'a>,
    pub(super) manner: &'t Manner,
}

impl<'t> Target<'t, '_> {
    pub(super) fn write(self, body: &mut Object<'_>, loss: &mut Loss) {
        let request = self.request;
        let names = request.names;
        self.write_tools(body, loss);
        let field = self.manner.max_tokens_field;
        if let Some(max) = request.max_tokens
            && self.takes(field, names.max_tokens, loss)
        {
            body.unsigned(field, max);
        }
        let effort = self.effort(loss);
        if let Some(effort) = effort
            && self.takes("reasoning_effort", names.reasoning_effort, loss)
        {
            body.text("reasoning_effort", effort);
        }
        let reasons = model_family::openai_reasons(&request.model) && effort != Some("none");
        self.write_sampling(body, reasons, loss);
        self.write_stop(body, reasons, loss);
        self.write_format(body, loss);
        self.write_texts(body, loss);
        let shared = |name: &str| match request.from {
            Dialect::OpenAiChat => true,
            Dialect::OpenAiResponses => SHARED.contains(&name),
            Dialect::Anthropic | Dialect::Bedrock | Dialect::Gemini => false,
        };
        for extra in request.extras.iter().filter(|extra| shared(&extra.name)) {
            if self.takes(&extra.name, &extra.name, loss) {
                body.raw(&extra.name, extra.raw);
            }
        }
        request.report_extras(loss, |extra| shared(&extra.name));
        if request.stream {
            body.boolean("stream", true);
            if !self.manner.refuses.contains(&"stream_options") {
                body.raw("stream_options", r#"{"include_usage":true}"#);
            }
        }
    }

    /// Whether the provider takes the field; if not, the client hears of it.
    fn takes(self, field: &str, path: &str, loss: &mut Loss) -> bool {
        let refused = self.manner.refuses.contains(&field);
        if refused {
            loss.push(path, Reason::Unsupported);
        }
        !refused
    }

    fn is_own(self) -> bool {
        self.request.from == Dialect::OpenAiChat
    }

    fn write_tools(self, body: &mut Object<'_>, loss: &mut Loss) {
        let request = self.request;
        let own = self.is_own();
        let mut said = Vec::new();
        for tool in &request.tools {
            match tool {
                Tool::Hosted { place, .. } if !own => loss.push(*place, Reason::Unsupported),
                Tool::Hosted { .. } | Tool::Function(_) => said.push(tool),
            }
        }
        if said.is_empty() {
            if matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_))) {
                loss.push(request.names.tool_choice, Reason::Value);
            }
            return;
        }
        if !self.takes("tools", request.names.tools, loss) {
            return;
        }
        let mut list = body.array("tools");
        for tool in said {
            match tool {
                Tool::Function(tool) => write_tool(list.object(), tool, request.from, loss),
                Tool::Hosted { raw, .. } => {
                    list.raw(raw);
                }
            }
        }
        list.end();
        self.write_tool_choice(body, loss);
    }

    fn write_tool_choice(self, body: &mut Object<'_>, loss: &mut Loss) {
        let request = self.request;
        let names = request.names;
        if let Some(choice) = &request.tool_choice
            && self.takes("tool_choice", names.tool_choice, loss)
        {
            match choice {
                ToolChoice::Auto => {
                    body.text("tool_choice", "auto");
                }
                ToolChoice::None => {
                    body.text("tool_choice", "none");
                }
                ToolChoice::Required => {
                    body.text("tool_choice", "required");
                }
                ToolChoice::Named(name) => {
                    let mut object = body.object("tool_choice");
                    let mut function = object.text("type", "function").object("function");
                    function.text("name", name);
                    function.end();
                    object.end();
                }
            }
        }
        if let Some(parallel) = request.parallel_tool_calls
            && self.takes("parallel_tool_calls", names.parallel_tool_calls, loss)
        {
            body.boolean("parallel_tool_calls", parallel);
        }
    }

    /// The `reasoning_effort` to name, if any.
    fn effort(self, loss: &mut Loss) -> Option<&'t str> {
        let request = self.request;
        let names = request.names;
        let asked = request.reasoning.as_ref()?;
        let model = &request.model;
        if self.is_own() {
            return asked.effort.as_deref();
        }
        if asked.summary.is_some() {
            loss.push(names.reasoning_summary, Reason::Unsupported);
        }
        let off = asked.enabled == Some(false) || asked.effort.as_deref() == Some("none");
        if model_family::never_reasons(model) {
            let wanted = asked.enabled == Some(true)
                || asked.effort.is_some()
                || asked.budget_tokens.is_some();
            if wanted && !off {
                let path =
                    if asked.effort.is_some() { names.reasoning_effort } else { names.reasoning };
                loss.push(path, Reason::Unsupported);
            }
            return None;
        }
        if off {
            let least = model_family::openai_least_effort(model);
            if least.is_some_and(|least| least != "none") {
                loss.push(names.reasoning, Reason::Approximated);
            }
            return least;
        }
        match (asked.effort.as_deref(), asked.budget_tokens) {
            (Some("max"), _) => {
                loss.push(names.reasoning_effort, Reason::Approximated);
                Some("xhigh")
            }
            (Some(effort), _) => Some(effort),
            (None, Some(budget)) => {
                loss.push(names.reasoning_budget, Reason::Approximated);
                Some(effort_of(budget))
            }
            (None, None) => None,
        }
    }

    fn write_sampling(self, body: &mut Object<'_>, reasons: bool, loss: &mut Loss) {
        let request = self.request;
        let names = request.names;
        let one = |raw: &str| raw.trim().parse() == Ok(1.0_f64);
        let sampled = [
            ("temperature", request.temperature, names.temperature),
            ("top_p", request.top_p, names.top_p),
        ];
        for (field, raw, path) in sampled {
            let Some(raw) = raw else { continue };
            if reasons && !one(raw) && !self.is_own() {
                loss.push(path, Reason::Value);
            } else if (!reasons || self.is_own()) && self.takes(field, path, loss) {
                body.raw(field, raw);
            }
        }
        if let Some(raw) = request.top_k {
            // No field of OpenAI's, but one of most of its followers; theirs says so.
            if self.is_own() {
                body.raw("top_k", raw);
            } else {
                loss.push(names.top_k, Reason::Unsupported);
            }
        }
        let plain = [
            ("seed", request.seed, names.seed),
            ("frequency_penalty", request.frequency_penalty, names.frequency_penalty),
            ("presence_penalty", request.presence_penalty, names.presence_penalty),
            ("n", request.n, names.n),
            ("top_logprobs", request.top_logprobs, names.top_logprobs),
        ];
        if let Some(wanted) = request.logprobs
            && self.takes("logprobs", names.logprobs, loss)
        {
            body.boolean("logprobs", wanted);
        }
        for (field, raw, path) in plain {
            if let Some(raw) = raw
                && self.takes(field, path, loss)
            {
                body.raw(field, raw);
            }
        }
    }

    fn write_stop(self, body: &mut Object<'_>, reasons: bool, loss: &mut Loss) {
        let request = self.request;
        let path = request.names.stop;
        if request.stop.is_empty() || !self.takes("stop", path, loss) {
            return;
        }
        if reasons && !self.is_own() {
            loss.push(path, Reason::Unsupported);
            return;
        }
        if request.stop.len() > STOP_MAX {
            loss.push(path, Reason::Value);
        }
        let mut list = body.array("stop");
        for stop in request.stop.iter().take(STOP_MAX) {
            list.text(stop);
        }
        list.end();
    }

    /// The end user's id, as short as the API wants it: still opaque, still the same every time.
    fn user_id<'u>(self, user: &'u str, loss: &mut Loss) -> Cow<'u, str> {
        if user.len() <= USER_MAX || self.is_own() {
            return Cow::Borrowed(user);
        }
        loss.push(self.request.names.user, Reason::Approximated);
        Cow::Owned(blake3::hash(user.as_bytes()).to_hex().to_string())
    }

    fn write_format(self, body: &mut Object<'_>, loss: &mut Loss) {
        let request = self.request;
        let Some(format) = &request.format else { return };
        if !self.takes("response_format", request.names.format, loss) {
            return;
        }
        let mut object = body.object("response_format");
        match format {
            Format::JsonSchema { .. } if !self.manner.json_schema => {
                loss.push(request.names.format, Reason::Approximated);
                object.text("type", "json_object");
            }
            Format::Text => {
                object.text("type", "text");
            }
            Format::JsonObject => {
                object.text("type", "json_object");
            }
            Format::JsonSchema { name, description, schema, strict } => {
                let mut inner = object.text("type", "json_schema").object("json_schema");
                inner.text("name", name.as_deref().unwrap_or("answer"));
                if let Some(description) = description {
                    inner.text("description", description);
                }
                // Anthropic keeps to every schema; here it has to be asked for, and can be only
                // for schemas of a certain form.
                let always = request.from == Dialect::Anthropic;
                let can = always && strict.is_none() && fits_strict(schema);
                if let Some(strict) = strict.or(can.then_some(true)) {
                    inner.boolean("strict", strict);
                } else if always {
                    loss.push(request.names.format, Reason::Approximated);
                }
                inner.raw("schema", schema);
                inner.end();
            }
        }
        object.end();
    }

    fn write_texts(self, body: &mut Object<'_>, loss: &mut Loss) {
        let request = self.request;
        let names = request.names;
        let tier = match (request.from, request.service_tier.as_deref()) {
            (Dialect::Anthropic, Some("standard_only")) => Some("default"),
            (_, tier) => tier,
        };
        let user = request.user.as_deref().map(|user| self.user_id(user, loss));
        let texts = [
            ("user", user.as_deref(), names.user),
            ("service_tier", tier, names.service_tier),
            ("prompt_cache_key", request.prompt_cache_key.as_deref(), names.prompt_cache_key),
            ("verbosity", request.verbosity.as_deref(), names.verbosity),
        ];
        for (field, text, path) in texts {
            if let Some(text) = text
                && self.takes(field, path, loss)
            {
                body.text(field, text);
            }
        }
        if let Some(metadata) = request.metadata
            && self.takes("metadata", names.metadata, loss)
        {
            body.raw("metadata", metadata);
        }
    }
}

/// Whether OpenAI takes the schema as a strict one: each object closed, each property required.
fn fits_strict(schema: &str) -> bool {
    let mut closed = true;
    let mut required = "[]";
    let mut properties = "{}";
    for (name, value) in json_read::fields(schema) {
        match name.as_ref() {
            "properties" => {
                properties = value;
                closed &= json_read::field(schema, "additionalProperties") == Some("false");
                closed &= json_read::fields(value).all(|(_, inner)| fits_strict(inner));
            }
            "required" => required = value,
            "items" | "not" => closed &= fits_strict(value),
            "anyOf" => closed &= json_read::items(value).all(fits_strict),
            "$defs" | "definitions" => {
                closed &= json_read::fields(value).all(|(_, inner)| fits_strict(inner));
            }
            "allOf" | "oneOf" | "patternProperties" => closed = false,
            _ => {}
        }
    }
    let named = |name: &str| {
        json_read::items(required).any(|item| json_read::text(item).as_deref() == Some(name))
    };
    closed && json_read::fields(properties).all(|(name, _)| named(&name))
}

fn write_tool(mut object: Object<'_>, tool: &FunctionTool<'_>, from: Dialect, loss: &mut Loss) {
    if tool.cache.is_some() {
        let key = if from == Dialect::Bedrock { "cachePoint" } else { "cache_control" };
        loss.push(tool.place.key(key), Reason::Unsupported);
    }
    let mut function = object.text("type", "function").object("function");
    function.text("name", &tool.name);
    if let Some(description) = &tool.description {
        function.text("description", description);
    }
    if let Some(schema) = tool.schema.filter(|schema| json_read::is_object(schema)) {
        function.raw("parameters", schema);
    }
    if let Some(strict) = tool.strict {
        function.boolean("strict", strict);
    }
    function.end();
    object.end();
}
