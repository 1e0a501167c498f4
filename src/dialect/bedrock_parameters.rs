//! Converse requests, written: tools, limits, and what each family of models takes beside them.
//!
//! In: a [`Request`] and its model's family. Out: the members of the body after the messages.
//! Never: leaves out silently: what the family is known to refuse is reported.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-call.html>

use super::Manner;
use super::bedrock_family::Family;
use super::bedrock_reasoning;
use super::bedrock_request::ADDITIONAL;
use super::bedrock_request_out::cache_point;
use super::model_family;
use crate::chat::{
    Dialect, Format, FunctionTool, Loss, PartKind, Raw, Reason, Request, Tool, ToolChoice,
};
use crate::wire::json_read;
use crate::wire::json_write::{Array, Object};
use std::borrow::Cow;

/// Fields of Converse's own that a client of any language may add to its body.
const OWN: [&str; 4] = [
    "guardrailConfig",
    "performanceConfig",
    "promptVariables",
    "additionalModelResponseFieldPaths",
];
/// Claude's, which an Anthropic client may add and Converse passes on to the model.
const CLAUDES: [&str; 2] = ["anthropic_beta", "context_management"];

const EMPTY_SCHEMA: &str = r#"{"type":"object","properties":{}}"#;

pub(super) fn encode(
    request: &Request<'_>,
    family: Family,
    manner: &Manner,
    object: &mut Object<'_>,
    loss: &mut Loss,
) {
    let mut fields = Additional::new(request, loss);
    let least = bedrock_reasoning::encode(request, family, manner, &mut fields, loss);
    let mut writer = Writer { request, family, manner, fields: &mut fields, loss };
    writer.inference(object, least);
    writer.tools(object);
    writer.format(object);
    writer.metadata(object);
    writer.service_tier(object);
    writer.unsupported();
    writer.extras(object);
    fields.write(object);
}

/// The members of `additionalModelRequestFields`; what the client wrote there comes first and wins.
pub(super) struct Additional<'a> {
    members: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Additional<'a> {
    fn new(request: &Request<'a>, loss: &mut Loss) -> Self {
        let mut members = Vec::new();
        for extra in &request.extras {
            let own = extra.name.strip_prefix(ADDITIONAL).and_then(|rest| rest.strip_prefix('.'));
            if let Some(name) = own.filter(|_| request.from == Dialect::Bedrock) {
                members.push((Cow::Owned(name.to_owned()), Cow::Borrowed(extra.raw)));
            } else if extra.name == ADDITIONAL {
                if !json_read::is_object(extra.raw) {
                    loss.push(ADDITIONAL, Reason::Value);
                }
                members.extend(
                    json_read::fields(extra.raw).map(|(name, raw)| (name, Cow::Borrowed(raw))),
                );
            }
        }
        Self { members }
    }

    /// Adds a member, unless the client wrote one of that name.
    pub(super) fn add(&mut self, name: &'static str, raw: impl Into<Cow<'a, str>>) -> bool {
        let free = self.members.iter().all(|(other, _)| other != name);
        if free {
            self.members.push((Cow::Borrowed(name), raw.into()));
        }
        free
    }

    /// Whether Claude is told to think.
    fn thinks(&self) -> bool {
        let asked = self.members.iter().find(|(name, _)| name == "thinking");
        asked.is_some_and(|(_, raw)| {
            json_read::text_field(raw, "type").as_deref() != Some("disabled")
        })
    }

    fn write(&self, object: &mut Object<'_>) {
        if self.members.is_empty() {
            return;
        }
        let mut fields = object.object(ADDITIONAL);
        for (name, raw) in &self.members {
            fields.raw(name, raw);
        }
        fields.end();
    }
}

struct Writer<'w, 'r, 'a> {
    request: &'r Request<'a>,
    family: Family,
    manner: &'r Manner,
    fields: &'w mut Additional<'a>,
    loss: &'w mut Loss,
}

impl<'r> Writer<'_, 'r, '_> {
    fn refused(&mut self, field: &str, path: &str) -> bool {
        let refused = self.manner.refuses.contains(&field);
        if refused {
            self.loss.push(path, Reason::Unsupported);
        }
        refused
    }

    /// `least`: the token limit that a thinking budget needs when the client named none.
    fn inference(&mut self, object: &mut Object<'_>, least: Option<u64>) {
        let request = self.request;
        let model = request.model.as_ref();
        let claude = self.family == Family::Claude;
        let (mut temperature, mut top_p) = (request.temperature, request.top_p);
        if claude && model_family::claude_refuses_sampling(model) {
            self.left_out(&mut temperature, request.names.temperature);
            self.left_out(&mut top_p, request.names.top_p);
        }
        let claude_client = matches!(request.from, Dialect::Anthropic | Dialect::Bedrock);
        let mut top_k = request.top_k;
        if self.fields.thinks() && !claude_client {
            // Claude refuses them beside thinking.
            for (raw, path) in [
                (&mut temperature, request.names.temperature),
                (&mut top_p, request.names.top_p),
                (&mut top_k, request.names.top_k),
            ] {
                if raw.take().is_some() {
                    self.loss.push(path, Reason::Value);
                }
            }
        }
        let both = temperature.is_some() && top_p.is_some();
        if both && claude && model_family::claude_refuses_both_samplings(model) {
            self.left_out(&mut top_p, request.names.top_p);
        }
        if temperature.and_then(|raw| raw.parse::<f64>().ok()).is_some_and(|value| value > 1.0) {
            temperature = Some("1");
            self.loss.push(request.names.temperature, Reason::Approximated);
        }
        let max_tokens = request.max_tokens.or(least);
        let stop: Vec<_> = request.stop.iter().filter(|text| !text.is_empty()).collect();
        if stop.len() < request.stop.len() {
            self.loss.push(request.names.stop, Reason::Value);
        }
        if max_tokens.is_some() || temperature.is_some() || top_p.is_some() || !stop.is_empty() {
            let mut config = object.object("inferenceConfig");
            if let Some(count) = max_tokens {
                config.unsigned("maxTokens", count);
            }
            for (name, raw) in [("temperature", temperature), ("topP", top_p)] {
                if let Some(raw) = raw {
                    config.raw(name, raw);
                }
            }
            if !stop.is_empty() {
                let mut list = config.array("stopSequences");
                for text in stop {
                    list.text(text);
                }
                list.end();
            }
            config.end();
        }
        if let Some(top_k) = top_k {
            if claude && model_family::claude_refuses_sampling(model) {
                self.loss.push(request.names.top_k, Reason::Unsupported);
            } else if self.family == Family::Nova {
                self.fields.add("inferenceConfig", format!(r#"{{"topK":{top_k}}}"#));
            } else {
                self.fields.add("top_k", top_k);
            }
        }
    }

    fn left_out(&mut self, raw: &mut Option<Raw<'_>>, path: &str) {
        if raw.take().is_some() {
            self.loss.push(path, Reason::Unsupported);
        }
    }

    fn tools(&mut self, object: &mut Object<'_>) {
        let request = self.request;
        let used = self.tools_of_history();
        let own = request.from == Dialect::Bedrock;
        let any = request.tools.iter().any(|tool| own || matches!(tool, Tool::Function(_)));
        if !any && used.is_empty() {
            for tool in &request.tools {
                if let Tool::Hosted { place, .. } = tool {
                    self.loss.push(place, Reason::Unsupported);
                }
            }
            if request.tool_choice.as_ref().is_some_and(demands_a_call) {
                self.loss.push(request.names.tool_choice, Reason::Value);
            }
            return;
        }
        if matches!(request.tool_choice, Some(ToolChoice::None)) && !self.has_calls() {
            // There is no word for it, but what is not declared is not called.
            self.loss.push(request.names.tool_choice, Reason::Approximated);
            return;
        }
        let mut config = object.object("toolConfig");
        let mut list = config.array("tools");
        for tool in &request.tools {
            match tool {
                Tool::Function(tool) => self.function(tool, &mut list),
                Tool::Hosted { raw, .. } if own => {
                    list.raw(raw);
                }
                Tool::Hosted { place, .. } => self.loss.push(place, Reason::Unsupported),
            }
        }
        for name in &used {
            let mut tool = list.object();
            let mut spec = tool.object("toolSpec");
            spec.text("name", name)
                .raw("inputSchema", r#"{"json":{"type":"object","properties":{}}}"#);
            spec.end();
            tool.end();
        }
        list.end();
        match &request.tool_choice {
            // Without the tools their calls in the conversation would be refused.
            Some(ToolChoice::None) => {
                self.loss.push(request.names.tool_choice, Reason::Unsupported);
            }
            Some(ToolChoice::Auto) => {
                config.raw("toolChoice", r#"{"auto":{}}"#);
            }
            Some(ToolChoice::Required) => {
                config.raw("toolChoice", r#"{"any":{}}"#);
            }
            Some(ToolChoice::Named(name)) => {
                let mut choice = config.object("toolChoice");
                let mut tool = choice.object("tool");
                tool.text("name", name);
                tool.end();
                choice.end();
            }
            None => {}
        }
        config.end();
        self.parallel_tool_calls();
    }

    fn has_calls(&self) -> bool {
        let parts = self.request.turns.iter().flat_map(|turn| &turn.parts);
        parts
            .into_iter()
            .any(|part| matches!(part.kind, PartKind::ToolUse { .. } | PartKind::ToolResult { .. }))
    }

    /// Converse refuses a conversation with calls in it if no tools are declared: the names of
    /// those called, in order, when the client declares none.
    fn tools_of_history(&self) -> Vec<&'r str> {
        let request = self.request;
        let mut names: Vec<&str> = Vec::new();
        let own = request.from == Dialect::Bedrock;
        if request.tools.iter().any(|tool| own || matches!(tool, Tool::Function(_))) {
            return names;
        }
        for part in request.turns.iter().flat_map(|turn| &turn.parts) {
            match &part.kind {
                PartKind::ToolUse { name, .. } if !names.contains(&name.as_ref()) => {
                    names.push(name.as_ref());
                }
                _ => {}
            }
        }
        names
    }

    fn function(&mut self, tool: &FunctionTool<'_>, list: &mut Array<'_>) {
        let mut object = list.object();
        let mut spec = object.object("toolSpec");
        spec.text("name", &tool.name);
        if let Some(description) = tool.description.as_deref().filter(|text| !text.is_empty()) {
            spec.text("description", description);
        }
        let mut schema = spec.object("inputSchema");
        let raw = tool.schema.filter(|raw| json_read::is_object(raw)).unwrap_or(EMPTY_SCHEMA);
        if json_read::field(raw, "type").is_some() {
            schema.raw("json", raw);
        } else {
            let mut whole = schema.object("json");
            whole.text("type", "object");
            for (name, value) in json_read::fields(raw) {
                whole.raw(&name, value);
            }
            whole.end();
        }
        schema.end();
        if tool.strict == Some(true) {
            spec.boolean("strict", true);
        }
        spec.end();
        object.end();
        match &tool.cache {
            Some(hint) if self.family.is_claude() => cache_point(list, hint),
            Some(_) => self.loss.push(tool.place.key("cache_control"), Reason::Unsupported),
            None => {}
        }
    }

    /// Converse has no word for it, but Claude's own field is passed on.
    fn parallel_tool_calls(&mut self) {
        let request = self.request;
        if request.parallel_tool_calls != Some(false) {
            return;
        }
        let choice = match &request.tool_choice {
            None | Some(ToolChoice::Auto) => Some("auto"),
            Some(ToolChoice::Required) => Some("any"),
            Some(ToolChoice::Named(_)) => return, // one call at most, by what it means
            Some(ToolChoice::None) => None,
        };
        match choice.filter(|_| self.family.is_claude()) {
            Some(kind) => {
                let raw = format!(r#"{{"type":"{kind}","disable_parallel_tool_use":true}}"#);
                self.fields.add("tool_choice", raw);
            }
            None => self.loss.push(request.names.parallel_tool_calls, Reason::Unsupported),
        }
    }

    fn format(&mut self, object: &mut Object<'_>) {
        let path = self.request.names.format;
        match &self.request.format {
            None | Some(Format::Text) => {}
            Some(_) if self.refused("outputConfig", path) => {}
            Some(Format::JsonObject) => self.loss.push(path, Reason::Unsupported),
            Some(Format::JsonSchema { name, description, schema, .. }) => {
                let mut config = object.object("outputConfig");
                let mut format = config.object("textFormat");
                format.text("type", "json_schema");
                let mut structure = format.object("structure");
                let mut definition = structure.object("jsonSchema");
                definition.text("schema", schema);
                for (key, value) in [("name", name), ("description", description)] {
                    if let Some(value) = value {
                        definition.text(key, value);
                    }
                }
                definition.end();
                structure.end();
                format.end();
                config.end();
            }
        }
    }

    /// Converse takes up to 16 short texts of a small alphabet.
    fn metadata(&mut self, object: &mut Object<'_>) {
        let request = self.request;
        if let Some(user) = &request.user {
            if self.family == Family::Claude {
                let mut raw = Vec::new();
                let mut metadata = Object::begin(&mut raw);
                metadata.text("user_id", user);
                metadata.end();
                self.fields.add("metadata", String::from_utf8(raw).unwrap_or_default());
            } else {
                self.loss.push(request.names.user, Reason::Unsupported);
            }
        }
        let Some(raw) = request.metadata else { return };
        if self.refused("requestMetadata", request.names.metadata) {
            return;
        }
        let allowed = |c: char| {
            c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c)
        };
        let mut said: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        for (name, value) in json_read::fields(raw) {
            let text = json_read::text(value);
            let fits = |text: &str| text.len() <= 256 && text.chars().all(allowed);
            match text.filter(|text| fits(&name) && fits(text) && said.len() < 16) {
                Some(text) => said.push((name, text)),
                None => {
                    self.loss
                        .push(format_args!("{}.{name}", request.names.metadata), Reason::Value);
                }
            }
        }
        if !said.is_empty() {
            let mut metadata = object.object("requestMetadata");
            for (name, text) in &said {
                metadata.text(name, text);
            }
            metadata.end();
        }
    }

    fn service_tier(&mut self, object: &mut Object<'_>) {
        let path = self.request.names.service_tier;
        let tier = match self.request.service_tier.as_deref() {
            // `auto` leaves the choice to the vendor, and so does saying nothing.
            None | Some("auto") => return,
            Some("standard_only" | "standard") => "default",
            Some(tier @ ("priority" | "default" | "flex" | "reserved")) => tier,
            Some(_) => return self.loss.push(path, Reason::Value),
        };
        if !self.refused("serviceTier", path) {
            let mut object = object.object("serviceTier");
            object.text("type", tier);
            object.end();
        }
    }

    fn unsupported(&mut self) {
        let (request, names) = (self.request, self.request.names);
        let told = [
            (request.seed.is_some(), names.seed),
            (request.frequency_penalty.is_some(), names.frequency_penalty),
            (request.presence_penalty.is_some(), names.presence_penalty),
            (request.logprobs == Some(true), names.logprobs),
            (request.top_logprobs.is_some(), names.top_logprobs),
            (request.prompt_cache_key.is_some(), names.prompt_cache_key),
            (request.verbosity.is_some(), names.verbosity),
        ];
        for (_, path) in told.iter().filter(|(told, _)| *told) {
            self.loss.push(path, Reason::Unsupported);
        }
    }

    fn extras(&mut self, object: &mut Object<'_>) {
        let request = self.request;
        let mut said: Vec<&str> = vec![ADDITIONAL];
        for extra in &request.extras {
            let name = extra.name.as_ref();
            if OWN.contains(&name) && !self.manner.refuses.contains(&name) {
                object.raw(name, extra.raw);
                said.push(name);
            } else if let Some(name) = CLAUDES.iter().find(|known| **known == name)
                && (request.from == Dialect::Anthropic || *name == "anthropic_beta")
                && self.family.is_claude()
            {
                self.fields.add(name, extra.raw);
                said.push(name);
            }
        }
        // Otherwise nobody learns which of them matched.
        let paths = "additionalModelResponseFieldPaths";
        if self.family == Family::Claude && !request.stop.is_empty() && !said.contains(&paths) {
            object.raw(paths, r#"["/stop_sequence"]"#);
        }
        let prefix = |name: &str| request.from == Dialect::Bedrock && name.starts_with(ADDITIONAL);
        request.report_extras(self.loss, |extra| {
            prefix(&extra.name) || said.contains(&extra.name.as_ref())
        });
    }
}

fn demands_a_call(choice: &ToolChoice<'_>) -> bool {
    matches!(choice, ToolChoice::Required | ToolChoice::Named(_))
}
