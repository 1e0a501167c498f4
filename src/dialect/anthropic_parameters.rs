//! The parameters of an Anthropic Messages request, written: tools, thinking, sampling, the rest.
//!
//! In: the hub's [`Request`] and the target's [`Manner`]. Out: members of the body. What this
//! model refuses (sampling beside thinking, a forced call beside thinking) is left out and
//! reported, since the vendor would answer 400. Never: writes a field that was not asked for,
//! `max_tokens` excepted, which the API demands.

use super::Manner;
use super::anthropic_request_out::write_cache;
use super::hosted_tools;
use super::model_family;
use crate::chat::{
    Dialect, Format, FunctionTool, Loss, Reason, Reasoning, Request, Tool, ToolChoice,
};
use crate::wire::json_read;
use crate::wire::json_write::Object;
use std::borrow::Cow;

/// The least thinking budget that the API accepts, in tokens.
const BUDGET_MIN: u64 = 1024;

/// The request and what it is sent to.
#[derive(Clone, Copy)]
pub(super) struct Target<'t, 'a> {
    pub(super) request: &'t Request<'a>,
    pub(super) manner: &'t Manner,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thinking {
    Unsaid,
    Disabled,
    Adaptive,
    Budget(u64),
}

impl Thinking {
    fn is_on(self) -> bool {
        matches!(self, Self::Adaptive | Self::Budget(_))
    }
}

impl<'t> Target<'t, '_> {
    /// `unthought_call`: the answer that is to be continued called tools without thinking first,
    /// which the API forbids where thinking has a budget.
    pub(super) fn write(self, body: &mut Object<'_>, unthought_call: bool, loss: &mut Loss) {
        self.write_tools(body, loss);
        let (thinking, effort) = self.reasoning(unthought_call, loss);
        let default = self.manner.default_max_tokens;
        let (thinking, max_tokens) = match (thinking, self.request.max_tokens) {
            (Thinking::Budget(budget), None) => (thinking, default + budget),
            (Thinking::Budget(budget), Some(max)) => (self.fitted(budget, max, loss), max),
            (_, max) => (thinking, max.unwrap_or(default)),
        };
        body.unsigned("max_tokens", max_tokens);
        self.write_thinking(body, thinking, loss);
        self.write_output_config(body, effort, loss);
        self.write_sampling(body, thinking, loss);
        self.write_rest(body, loss);
        self.report(loss);
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
        self.request.from == Dialect::Anthropic
    }

    fn write_tools(self, body: &mut Object<'_>, loss: &mut Loss) {
        let request = self.request;
        let own = self.is_own();
        let any_said = request.tools.iter().any(|tool| own || matches!(tool, Tool::Function(_)));
        let search = if own { None } else { hosted_tools::web_search(request, loss) };
        let some = any_said || search.is_some();
        if some && self.takes("tools", request.names.tools, loss) {
            let mut list = body.array("tools");
            if search.is_some() {
                list.raw(r#"{"type":"web_search_20250305","name":"web_search"}"#);
            }
            for tool in &request.tools {
                match tool {
                    Tool::Function(tool) => write_tool(list.object(), tool),
                    Tool::Hosted { raw, .. } if own => {
                        list.raw(raw);
                    }
                    Tool::Hosted { place, .. } => loss.push(*place, Reason::Unsupported),
                }
            }
            list.end();
        }
        for tool in request.tools.iter().filter(|_| !some) {
            if let Tool::Hosted { place, .. } = tool {
                loss.push(*place, Reason::Unsupported);
            }
        }
        self.write_tool_choice(body, some, loss);
    }

    fn write_tool_choice(self, body: &mut Object<'_>, any_tool: bool, loss: &mut Loss) {
        let request = self.request;
        let path = request.names.tool_choice;
        let one_call = request.parallel_tool_calls == Some(false);
        let choice = match &request.tool_choice {
            Some(choice) => choice,
            None if one_call && any_tool => &ToolChoice::Auto,
            None => return,
        };
        if !any_tool {
            // The API refuses a choice without tools; `auto` and `none` mean nothing then.
            if matches!(choice, ToolChoice::Required | ToolChoice::Named(_)) {
                loss.push(path, Reason::Value);
            }
            return;
        }
        if !self.takes("tool_choice", path, loss) {
            return;
        }
        let mut object = body.object("tool_choice");
        match choice {
            ToolChoice::Auto => object.text("type", "auto"),
            ToolChoice::None => object.text("type", "none"),
            ToolChoice::Required => object.text("type", "any"),
            ToolChoice::Named(name) => object.text("type", "tool").text("name", name),
        };
        if one_call && *choice != ToolChoice::None {
            object.boolean("disable_parallel_tool_use", true);
        }
        object.end();
    }

    /// Whether and how this model is to think, and the effort to name.
    fn reasoning(self, unthought_call: bool, loss: &mut Loss) -> (Thinking, Option<&'t str>) {
        let Some(asked) = &self.request.reasoning else { return (Thinking::Unsaid, None) };
        if self.is_own() {
            return (own_thinking(asked), asked.effort.as_deref());
        }
        let names = self.request.names;
        let path =
            if asked.effort.is_some() { names.reasoning_effort } else { names.reasoning_budget };
        if asked.enabled == Some(false) || asked.effort.as_deref() == Some("none") {
            return (Thinking::Disabled, None);
        }
        let adaptive = model_family::claude_thinks_adaptively(&self.request.model);
        let forced =
            matches!(self.request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)))
                && !self.request.tools.is_empty();
        if forced || (unthought_call && !adaptive) {
            loss.push(path, Reason::Value);
            return (Thinking::Unsaid, None);
        }
        if adaptive {
            return (Thinking::Adaptive, self.effort(asked, loss));
        }
        let budget = asked.budget_tokens.unwrap_or_else(|| {
            loss.push(path, Reason::Approximated);
            budget_of(asked.effort.as_deref())
        });
        if budget < BUDGET_MIN {
            loss.push(path, Reason::Value);
        }
        (Thinking::Budget(budget.max(BUDGET_MIN)), None)
    }

    fn effort(self, asked: &'t Reasoning<'_>, loss: &mut Loss) -> Option<&'t str> {
        let names = self.request.names;
        match (asked.effort.as_deref(), asked.budget_tokens) {
            (Some("minimal"), _) => {
                loss.push(names.reasoning_effort, Reason::Approximated);
                Some("low")
            }
            (Some(effort), _) => Some(effort),
            (None, Some(budget)) => {
                loss.push(names.reasoning_budget, Reason::Approximated);
                Some(effort_of(budget))
            }
            (None, None) => None,
        }
    }

    /// The budget brought below the limit on the whole answer, with room to answer.
    fn fitted(self, budget: u64, max: u64, loss: &mut Loss) -> Thinking {
        let asked = self.request.reasoning.as_ref();
        let named = asked.is_some_and(|asked| asked.budget_tokens.is_some());
        if self.is_own() {
            return Thinking::Budget(budget);
        }
        let room = if named { max.saturating_sub(1) } else { max / 2 };
        let budget = budget.min(room.max(BUDGET_MIN));
        if budget < max {
            return Thinking::Budget(budget);
        }
        let names = self.request.names;
        let path = if named { names.reasoning_budget } else { names.reasoning_effort };
        loss.push(path, Reason::Value);
        Thinking::Unsaid
    }

    fn write_thinking(self, body: &mut Object<'_>, thinking: Thinking, loss: &mut Loss) {
        let names = self.request.names;
        let summary = self.request.reasoning.as_ref().and_then(|asked| asked.summary.as_deref());
        if thinking == Thinking::Unsaid || !self.takes("thinking", names.reasoning, loss) {
            if summary.is_some() && !self.is_own() {
                loss.push(names.reasoning_summary, Reason::Unsupported);
            }
            return;
        }
        let mut object = body.object("thinking");
        match thinking {
            Thinking::Adaptive => object.text("type", "adaptive"),
            Thinking::Budget(budget) => {
                object.text("type", "enabled").unsigned("budget_tokens", budget)
            }
            Thinking::Disabled | Thinking::Unsaid => object.text("type", "disabled"),
        };
        match summary {
            Some(display) if self.is_own() => {
                object.text("display", display);
            }
            Some("none" | "false") if thinking.is_on() => {
                object.text("display", "omitted");
            }
            Some(_) if thinking.is_on() => {
                object.text("display", "summarized");
            }
            Some(_) | None => {}
        }
        object.end();
    }

    fn write_output_config(self, body: &mut Object<'_>, effort: Option<&str>, loss: &mut Loss) {
        let request = self.request;
        let schema = match &request.format {
            Some(Format::JsonSchema { description, schema, .. }) => {
                if description.is_some() {
                    let path = format!("{}.description", request.names.format);
                    loss.push(path, Reason::Unsupported);
                }
                Some(schema.as_ref())
            }
            Some(Format::JsonObject) => {
                loss.push(request.names.format, Reason::Unsupported);
                None
            }
            Some(Format::Text) | None => None,
        };
        if effort.is_none() && schema.is_none() {
            return;
        }
        let path =
            if schema.is_some() { request.names.format } else { request.names.reasoning_effort };
        if !self.takes("output_config", path, loss) {
            return;
        }
        let mut config = body.object("output_config");
        if let Some(effort) = effort {
            config.text("effort", effort);
        }
        if let Some(schema) = schema {
            let mut format = config.object("format");
            format.text("type", "json_schema").raw("schema", schema);
            format.end();
        }
        config.end();
    }

    fn write_sampling(self, body: &mut Object<'_>, thinking: Thinking, loss: &mut Loss) {
        let request = self.request;
        let names = request.names;
        let own = self.is_own();
        let barred = !own && model_family::claude_refuses_sampling(&request.model);
        let on = thinking.is_on() && !own;
        if let Some(raw) = request.temperature {
            let value = number(raw);
            if (barred || on) && value != Some(1.0) {
                loss.push(names.temperature, Reason::Value);
            } else if value.is_some_and(|value| value > 1.0) {
                loss.push(names.temperature, Reason::Value);
                body.raw("temperature", "1");
            } else if !barred && self.takes("temperature", names.temperature, loss) {
                body.raw("temperature", raw);
            }
        }
        if let Some(raw) = request.top_p {
            let value = number(raw);
            let second = request.temperature.is_some()
                && model_family::claude_refuses_both_samplings(&request.model);
            let barred = barred || (second && !own);
            let narrow = on && value.is_some_and(|value| value < 0.95);
            if (barred || narrow) && value != Some(1.0) {
                loss.push(names.top_p, Reason::Value);
            } else if !barred && self.takes("top_p", names.top_p, loss) {
                body.raw("top_p", raw);
            }
        }
        if let Some(raw) = request.top_k {
            if barred || on {
                loss.push(names.top_k, Reason::Value);
            } else if self.takes("top_k", names.top_k, loss) {
                body.raw("top_k", raw);
            }
        }
    }

    fn write_rest(self, body: &mut Object<'_>, loss: &mut Loss) {
        let request = self.request;
        let names = request.names;
        let stop: Vec<&str> =
            request.stop.iter().map(AsRef::as_ref).filter(|stop| !stop.trim().is_empty()).collect();
        if stop.len() < request.stop.len() {
            loss.push(names.stop, Reason::Value);
        }
        if !stop.is_empty() && self.takes("stop_sequences", names.stop, loss) {
            let mut list = body.array("stop_sequences");
            for stop in stop {
                list.text(stop);
            }
            list.end();
        }
        if let Some(user) = &request.user
            && self.takes("metadata", names.user, loss)
        {
            let mut metadata = body.object("metadata");
            metadata.text("user_id", user);
            metadata.end();
        }
        if let Some(tier) = self.service_tier(loss)
            && self.takes("service_tier", names.service_tier, loss)
        {
            body.text("service_tier", &tier);
        }
        for extra in request.extras.iter().filter(|_| self.is_own()) {
            body.raw(&extra.name, extra.raw);
        }
        if request.stream {
            body.boolean("stream", true);
        }
    }

    fn service_tier(self, loss: &mut Loss) -> Option<Cow<'static, str>> {
        let tier = self.request.service_tier.as_deref()?;
        if self.is_own() {
            return Some(Cow::Owned(tier.to_owned()));
        }
        let (said, reason) = match tier {
            "auto" => (Some("auto"), None),
            "default" | "standard" | "standard_only" => (Some("standard_only"), None),
            // Priority is a commitment of the account: `auto` uses it where there is one.
            "priority" => (Some("auto"), Some(Reason::Approximated)),
            _ => (None, Some(Reason::Value)),
        };
        if let Some(reason) = reason {
            loss.push(self.request.names.service_tier, reason);
        }
        said.map(Cow::Borrowed)
    }

    /// What the API has no word for.
    fn report(self, loss: &mut Loss) {
        let request = self.request;
        let names = request.names;
        let nonzero = |raw: Option<&str>| raw.and_then(number).is_some_and(|value| value != 0.0);
        let unsaid = [
            (request.seed.is_some(), names.seed),
            (nonzero(request.frequency_penalty), names.frequency_penalty),
            (nonzero(request.presence_penalty), names.presence_penalty),
            (request.logprobs == Some(true), names.logprobs),
            (request.top_logprobs.and_then(number).is_some_and(|n| n > 0.0), names.top_logprobs),
            (request.metadata.is_some(), names.metadata),
            (request.prompt_cache_key.is_some(), names.prompt_cache_key),
            (request.verbosity.is_some(), names.verbosity),
        ];
        for (_, path) in unsaid.into_iter().filter(|(lost, _)| *lost) {
            loss.push(path, Reason::Unsupported);
        }
        request.report_extras(loss, |_| self.is_own());
    }
}

fn write_tool(mut object: Object<'_>, tool: &FunctionTool<'_>) {
    object.text("name", &tool.name);
    if let Some(description) = &tool.description {
        object.text("description", description);
    }
    // The API demands a type in the schema; a schema without one describes the arguments object.
    match tool.schema {
        Some(schema) if json_read::field(schema, "type").is_some() => {
            object.raw("input_schema", schema);
        }
        Some(schema) => {
            let mut typed = object.object("input_schema");
            typed.text("type", "object");
            for (name, raw) in json_read::fields(schema) {
                typed.raw(&name, raw);
            }
            typed.end();
        }
        None => {
            object.raw("input_schema", r#"{"type":"object","properties":{}}"#);
        }
    }
    if tool.strict == Some(true) {
        object.boolean("strict", true);
    }
    write_cache(&mut object, tool.cache.as_ref());
    object.end();
}

fn own_thinking(asked: &Reasoning<'_>) -> Thinking {
    match (asked.enabled, asked.adaptive, asked.budget_tokens) {
        (Some(false), ..) => Thinking::Disabled,
        (Some(true), true, _) => Thinking::Adaptive,
        (Some(true), false, Some(budget)) => Thinking::Budget(budget),
        (Some(true), false, None) => Thinking::Budget(BUDGET_MIN),
        (None, ..) => Thinking::Unsaid,
    }
}

/// A thinking budget that stands for an effort, in tokens.
fn budget_of(effort: Option<&str>) -> u64 {
    match effort {
        Some("minimal") => BUDGET_MIN,
        Some("low") => 2048,
        Some("high") => 24_576,
        Some("xhigh" | "max") => 32_000,
        Some(_) | None => 8192,
    }
}

/// The effort that a thinking budget stands for; the reverse of [`budget_of`], in ranges.
pub(super) fn effort_of(budget: u64) -> &'static str {
    match budget {
        0..4096 => "low",
        4096..16_384 => "medium",
        _ => "high",
    }
}

fn number(raw: &str) -> Option<f64> {
    raw.trim().parse().ok()
}
