//! Writes Gemini `generateContent` requests, for the Gemini API and for Vertex.
//!
//! In: the hub's [`Request`]. Out: the body; model and verb stand in the path, which is not
//! written here. Never: sends what the model's generation refuses: that is left out and reported.
//! Schemas go as `parametersJsonSchema`, byte for byte. Source: ai.google.dev/api/generate-content.

use super::gemini_contents;
use super::gemini_model::{Level, Model, Thinking};
use super::gemini_schema;
use super::hosted_tools::CHAT_SEARCH;
use super::{Dialect, Malformed, Manner};
use crate::chat::{
    Format, FunctionTool, Loss, Place, Raw, Reason, Reasoning, Request, Tool, ToolChoice,
};
use crate::wire::json_read;
use crate::wire::json_write::{Array, Object};

/// The most stop sequences that a request may have.
const STOPS_MAX: usize = 5;

/// Writes the body. See [`super::encode_request`].
pub(super) fn encode(
    request: &Request<'_>,
    manner: &Manner,
    out: &mut Vec<u8>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    let model = Model::of(&request.model);
    let mut body = Body { request, manner, model, loss };
    let mut object = Object::begin(out);
    let contents = gemini_contents::write(request, &model, object.key("contents"), body.loss)?;
    if contents.system_apart {
        gemini_contents::system(request, object.key("systemInstruction"), body.loss);
    }
    body.tools(&mut object);
    body.generation_config(&mut object);
    body.rest(&mut object);
    object.end();
    Ok(())
}

struct Body<'b, 'r> {
    request: &'b Request<'r>,
    manner: &'b Manner,
    model: Model,
    loss: &'b mut Loss,
}

impl<'b, 'r> Body<'b, 'r> {
    /// Whether this provider takes the field; reports it under the client's name if not.
    fn takes(&mut self, field: &str, client: &str) -> bool {
        let takes = !self.manner.refuses.contains(&field);
        if !takes {
            self.loss.push(client, Reason::Unsupported);
        }
        takes
    }

    fn tools(&mut self, object: &mut Object<'_>) {
        let request = self.request;
        let functions: Vec<_> = request.tools.iter().filter_map(function_of).collect();
        let mut hosted = Vec::new();
        for tool in &request.tools {
            if let Tool::Hosted { place, kind, raw } = tool {
                hosted.extend(self.hosted(*place, kind, raw, !functions.is_empty()));
            }
        }
        if request.extra(Dialect::OpenAiChat, CHAT_SEARCH).is_some() {
            let place = Place::field(CHAT_SEARCH);
            hosted.extend(self.hosted(place, "web_search", "{}", !functions.is_empty()));
        }
        if functions.is_empty() && hosted.is_empty() {
            self.choice_without_functions();
            return;
        }
        let mut tools = object.array("tools");
        if !functions.is_empty() {
            let mut tool = tools.object();
            let mut declarations = tool.array("functionDeclarations");
            for function in &functions {
                self.function(function, &mut declarations);
            }
            declarations.end();
            tool.end();
        }
        for (kind, raw) in &hosted {
            let mut tool = tools.object();
            tool.raw(kind, raw);
            tool.end();
        }
        tools.end();
        if functions.is_empty() {
            self.choice_without_functions();
        } else {
            self.tool_config(object, !hosted.is_empty());
        }
    }

    fn function(&mut self, function: &FunctionTool<'_>, declarations: &mut Array<'_>) {
        let mut declaration = declarations.object();
        declaration.text("name", &function.name);
        if let Some(description) = &function.description {
            declaration.text("description", description);
        }
        if let Some(schema) = function.schema {
            let own = self.request.from == Dialect::Gemini && gemini_schema::is_gemini(schema);
            declaration.raw(if own { "parameters" } else { "parametersJsonSchema" }, schema);
        }
        declaration.end();
        if function.strict == Some(true) {
            self.loss.push(function.place.key("strict"), Reason::Unsupported);
        }
        if function.cache.is_some() {
            let key = gemini_contents::cache_key(self.request.from);
            self.loss.push(function.place.key(key), Reason::Unsupported);
        }
    }

    /// The tool of Google's that does what another vendor's tool does.
    fn hosted(
        &mut self,
        place: Place,
        kind: &'b str,
        raw: Raw<'r>,
        beside_functions: bool,
    ) -> Option<(&'b str, Raw<'r>)> {
        if beside_functions && self.model.separates_tools {
            self.loss.push(place, Reason::Unsupported);
            return None;
        }
        if self.request.from == Dialect::Gemini {
            return Some((kind, raw));
        }
        let own = if kind.starts_with("web_search") {
            "googleSearch"
        } else if kind.starts_with("code_execution") || kind == "code_interpreter" {
            "codeExecution"
        } else if kind.starts_with("web_fetch") {
            "urlContext"
        } else {
            self.loss.push(place, Reason::Unsupported);
            return None;
        };
        self.loss.push(place, Reason::Approximated);
        Some((own, "{}"))
    }

    fn choice_without_functions(&mut self) {
        if let Some(ToolChoice::Required | ToolChoice::Named(_)) = self.request.tool_choice {
            self.loss.push(self.request.names.tool_choice, Reason::Unsupported);
        }
    }

    fn tool_config(&mut self, object: &mut Object<'_>, mixed: bool) {
        if self.request.parallel_tool_calls == Some(false) {
            self.loss.push(self.request.names.parallel_tool_calls, Reason::Unsupported);
        }
        // functions and the vendor's own tools together: Gemini 3 wants to be told, and then knows
        // no AUTO
        let mixed = mixed && self.model.signs_calls;
        let free = if mixed { "VALIDATED" } else { "AUTO" };
        let (mode, name) = match &self.request.tool_choice {
            None if !mixed => (None, None),
            None | Some(ToolChoice::Auto) => (Some(free), None),
            Some(ToolChoice::None) => (Some("NONE"), None),
            Some(ToolChoice::Required) => (Some("ANY"), None),
            Some(ToolChoice::Named(name)) => (Some("ANY"), Some(name)),
        };
        let (own, calling) = self.own_tool_config();
        if mode.is_none() && own.is_empty() && calling.is_empty() {
            return;
        }
        let mut config = object.object("toolConfig");
        let written = |name: &str| calling.iter().any(|(key, _)| *key == name);
        let mut function_calling = config.object("functionCallingConfig");
        if let Some(mode) = mode.filter(|_| !written("mode")) {
            function_calling.text("mode", mode);
        }
        if let Some(name) = name {
            let mut names = function_calling.array("allowedFunctionNames");
            names.text(name);
            names.end();
        }
        for (key, raw) in &calling {
            function_calling.raw(key, raw);
        }
        function_calling.end();
        if mixed && !own.iter().any(|(key, _)| key.starts_with("include")) {
            config.boolean("includeServerSideToolInvocations", true);
        }
        for (key, raw) in &own {
            config.raw(key, raw);
        }
        config.end();
    }

    /// What a Gemini client wrote into `toolConfig`, and into the calling config inside it.
    fn own_tool_config(&self) -> (Vec<OwnField<'b>>, Vec<OwnField<'b>>) {
        let own = self.below("toolConfig.");
        own.into_iter().fold((Vec::new(), Vec::new()), |(mut flat, mut deep), (key, raw)| {
            match key.split_once('.') {
                Some((_, key)) => deep.push((key, raw)),
                None => flat.push((key, raw)),
            }
            (flat, deep)
        })
    }

    /// The extras of a Gemini client whose names begin with `prefix`, without it.
    fn below(&self, prefix: &str) -> Vec<OwnField<'b>> {
        if self.request.from != Dialect::Gemini {
            return Vec::new();
        }
        let extras = self.request.extras.iter();
        extras.filter_map(|extra| Some((extra.name.strip_prefix(prefix)?, extra.raw))).collect()
    }

    fn generation_config(&mut self, object: &mut Object<'_>) {
        let (request, names) = (self.request, self.request.names);
        let mut scratch = Vec::new();
        let mut config = Object::begin(&mut scratch);
        let numbers = [
            ("temperature", names.temperature, request.temperature),
            ("topP", names.top_p, request.top_p),
            ("topK", names.top_k, request.top_k),
            ("seed", names.seed, request.seed),
            ("presencePenalty", names.presence_penalty, request.presence_penalty),
            ("frequencyPenalty", names.frequency_penalty, request.frequency_penalty),
            ("logprobs", names.top_logprobs, request.top_logprobs),
        ];
        if let Some(max) = request.max_tokens
            && self.takes("maxOutputTokens", names.max_tokens)
        {
            config.unsigned("maxOutputTokens", max);
        }
        for (field, client, raw) in numbers {
            if let Some(raw) = raw
                && self.takes(field, client)
            {
                config.raw(field, raw);
            }
        }
        if let Some(logprobs) = request.logprobs
            && self.takes("responseLogprobs", names.logprobs)
        {
            config.boolean("responseLogprobs", logprobs);
        }
        if request.n.is_some() {
            config.unsigned("candidateCount", 1);
        }
        self.stops(&mut config);
        self.format(&mut config);
        if let Some(reasoning) = &request.reasoning {
            self.thinking(reasoning, &mut config);
        }
        for (key, raw) in self.below("generationConfig.") {
            config.raw(key, raw);
        }
        config.end();
        if scratch.len() > 2 {
            object.key("generationConfig").append(&mut scratch);
        }
    }

    fn stops(&mut self, config: &mut Object<'_>) {
        let stop = &self.request.stop;
        if stop.is_empty() {
            return;
        }
        let mut sequences = config.array("stopSequences");
        for sequence in stop.iter().take(STOPS_MAX) {
            sequences.text(sequence);
        }
        sequences.end();
        if stop.len() > STOPS_MAX {
            self.loss.push(self.request.names.stop, Reason::Value);
        }
    }

    fn format(&mut self, config: &mut Object<'_>) {
        let name = self.request.names.format;
        let functions = self.request.tools.iter().any(|tool| function_of(tool).is_some());
        let Some(format) = &self.request.format else { return };
        if *format == Format::Text {
            return;
        }
        if functions && self.model.separates_tools {
            self.loss.push(name, Reason::Unsupported);
            return;
        }
        config.text("responseMimeType", "application/json");
        if let Format::JsonSchema { description, schema, .. } = format {
            let own = self.request.from == Dialect::Gemini && gemini_schema::is_gemini(schema);
            config.raw(if own { "responseSchema" } else { "responseJsonSchema" }, schema);
            if description.is_some() {
                self.loss.push(format!("{name}.description"), Reason::Unsupported);
            }
        }
    }

    fn thinking(&mut self, reasoning: &Reasoning<'_>, config: &mut Object<'_>) {
        let off = reasoning.enabled == Some(false) || reasoning.effort.as_deref() == Some("none");
        let shown =
            !off && !matches!(reasoning.summary.as_deref(), Some("omitted" | "none" | "false"));
        let mut thinking = Vec::new();
        let mut object = Object::begin(&mut thinking);
        match self.model.thinking {
            Thinking::None => {
                if !off {
                    self.loss.push(self.request.names.reasoning, Reason::Unsupported);
                }
                return;
            }
            Thinking::Level(rungs) => {
                if let Some(level) = self.level(reasoning, off, rungs) {
                    object.text("thinkingLevel", level.name());
                }
            }
            Thinking::Budget { min, max, off: can_be_off } => {
                match self.budget(reasoning, off, (min, max)) {
                    Some(Budget::Tokens(0)) if !can_be_off => {
                        self.loss.push(self.request.names.reasoning, Reason::Value);
                        return;
                    }
                    Some(Budget::Tokens(tokens)) => {
                        object.unsigned("thinkingBudget", tokens);
                    }
                    Some(Budget::Dynamic) => {
                        object.raw("thinkingBudget", "-1");
                    }
                    None => {}
                }
            }
        }
        if shown {
            object.boolean("includeThoughts", true);
        }
        object.end();
        if thinking.len() > 2 {
            config.key("thinkingConfig").append(&mut thinking);
        }
    }

    fn level(&mut self, reasoning: &Reasoning<'_>, off: bool, rungs: &[Level]) -> Option<Level> {
        let names = self.request.names;
        if off {
            self.loss.push(names.reasoning, Reason::Approximated);
            return rungs.first().copied();
        }
        let (wanted, exact, name) = match (reasoning.effort.as_deref(), reasoning.budget_tokens) {
            (Some("minimal"), _) => (Level::Minimal, true, names.reasoning_effort),
            (Some("low"), _) => (Level::Low, true, names.reasoning_effort),
            (Some("medium"), _) => (Level::Medium, true, names.reasoning_effort),
            (Some("high"), _) => (Level::High, true, names.reasoning_effort),
            (Some(_), _) => (Level::High, false, names.reasoning_effort),
            (None, Some(..=1024)) => (Level::Low, false, names.reasoning_budget),
            (None, Some(1025..=8192)) => (Level::Medium, false, names.reasoning_budget),
            (None, Some(_)) => (Level::High, false, names.reasoning_budget),
            (None, None) => return None,
        };
        let level = wanted.nearest(rungs);
        if !exact || level != wanted {
            self.loss.push(name, Reason::Approximated);
        }
        Some(level)
    }

    fn budget(
        &mut self,
        reasoning: &Reasoning<'_>,
        off: bool,
        (min, max): (u64, u64),
    ) -> Option<Budget> {
        if off {
            return Some(Budget::Tokens(0));
        }
        if let Some(budget) = reasoning.budget_tokens {
            let within = budget.clamp(min, max);
            if within != budget {
                self.loss.push(self.request.names.reasoning_budget, Reason::Approximated);
            }
            return Some(Budget::Tokens(within));
        }
        // the vendor's own equivalents: ai.google.dev/gemini-api/docs/openai
        let tokens = match reasoning.effort.as_deref() {
            Some("minimal" | "low") => 1024,
            Some("medium") => 8192,
            Some("high") => 24_576,
            Some(_) => max,
            None if reasoning.adaptive || reasoning.enabled == Some(true) => {
                return Some(Budget::Dynamic);
            }
            None => return None,
        };
        Some(Budget::Tokens(tokens.clamp(min, max)))
    }

    /// What stands at the top level, beside contents, tools and the generation's parameters.
    fn rest(&mut self, object: &mut Object<'_>) {
        let (request, names) = (self.request, self.request.names);
        let own = request.from == Dialect::Gemini;
        if let Some(labels) = request.metadata {
            if !own {
                self.loss.push(names.metadata, Reason::Unsupported);
            } else if self.takes("labels", names.metadata) {
                object.raw("labels", labels);
            }
        }
        self.service_tier(object);
        let foreign = [
            (request.user.is_some(), names.user),
            (request.prompt_cache_key.is_some(), names.prompt_cache_key),
            (request.verbosity.is_some(), names.verbosity),
        ];
        for (present, name) in foreign {
            if present {
                self.loss.push(name, Reason::Unsupported);
            }
        }
        if own {
            for extra in request.extras.iter().filter(|extra| !extra.name.contains('.')) {
                if self.takes(&extra.name, &extra.name) {
                    object.raw(&extra.name, extra.raw);
                }
            }
            self.report_tool_config();
        } else {
            request.report_extras(self.loss, |extra| {
                request.from == Dialect::OpenAiChat && extra.name == CHAT_SEARCH
            });
        }
    }

    /// A calling config can only be said beside functions.
    fn report_tool_config(&mut self) {
        if !self.request.tools.iter().any(|tool| function_of(tool).is_some()) {
            self.request.report_extras(self.loss, |extra| !extra.name.starts_with("toolConfig."));
        }
    }

    fn service_tier(&mut self, object: &mut Object<'_>) {
        let name = self.request.names.service_tier;
        let tier = match self.request.service_tier.as_deref() {
            None | Some("auto") => return,
            Some("default" | "standard" | "standard_only") => "standard",
            Some("flex") => "flex",
            Some("priority") => "priority",
            Some(_) => {
                self.loss.push(name, Reason::Value);
                return;
            }
        };
        if self.takes("serviceTier", name) {
            object.text("serviceTier", tier);
        }
    }
}

/// Name and value of a field that only Gemini knows.
type OwnField<'b> = (&'b str, Raw<'b>);

enum Budget {
    /// The model decides.
    Dynamic,
    Tokens(u64),
}

fn function_of<'t, 'r>(tool: &'t Tool<'r>) -> Option<&'t FunctionTool<'r>> {
    match tool {
        Tool::Function(function) => Some(function),
        Tool::Hosted { .. } => None,
    }
}

/// Whether a tool's text can stand as the object that a `functionResponse` must be.
pub(super) fn is_plain_object(text: &str) -> bool {
    json_read::is_object(text)
        && !text.contains("\"$ref\"")
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}
