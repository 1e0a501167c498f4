//! OpenAI Responses requests, written: the parameters of a body for an upstream.
//!
//! In: a [`Request`] read from another language. Out: the JSON body of `POST /v1/responses`. It is
//! stateless: `store` is false, since clients of the other languages send the whole conversation
//! each time, and the sealed reasoning is asked for (`include`), so that they can send that back
//! too; only a Chat client's own `store` is passed on. Never: sends a parameter that is known to be
//! refused by the model (see `model_family`); it is reported instead.
//! Page: <https://platform.openai.com/docs/api-reference/responses/create>

use super::anthropic_parameters::effort_of;
use super::hosted_tools;
use super::openai_responses_turns as turns;
use super::{Malformed, Manner, model_family};
use crate::chat::{
    Dialect, Format, FunctionTool, Loss, Reason, Reasoning, Request, Role, Tool, ToolChoice,
};
use crate::wire::json_write::Object;
use std::borrow::Cow;

/// The least `max_output_tokens` that OpenAI takes.
const MIN_OUTPUT_TOKENS: u64 = 16;
/// The longest `user`, `prompt_cache_key` and call id that OpenAI takes, in bytes.
pub(super) const MAX_ID: usize = 64;

/// Writes the body for an upstream that speaks Responses.
///
/// # Errors
/// When there is nothing to answer (no item is left).
pub(super) fn encode(
    request: &Request<'_>,
    manner: &Manner,
    out: &mut Vec<u8>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    let mut body = Body { object: Object::begin(out), request, manner, loss };
    if !request.model.is_empty() {
        body.object.text("model", &request.model);
    }
    if request.stream {
        body.object.boolean("stream", true);
    }
    body.input()?;
    body.tools();
    body.sampling();
    body.reasoning();
    body.text_options();
    body.labels();
    body.state();
    body.report();
    body.object.end();
    Ok(())
}

struct Body<'o, 'r, 'a> {
    object: Object<'o>,
    request: &'r Request<'a>,
    manner: &'r Manner,
    loss: &'r mut Loss,
}

impl Body<'_, '_, '_> {
    /// Whether the provider takes `field`; if not, what the client calls `theirs` is reported.
    fn takes(&mut self, field: &str, theirs: &str) -> bool {
        let refused = self.manner.refuses.contains(&field);
        if refused {
            self.loss.push(theirs, Reason::Unsupported);
        }
        !refused
    }

    fn input(&mut self) -> Result<(), Malformed> {
        let request = self.request;
        // A provider that refuses `instructions` gets them as a message.
        if !self.manner.refuses.contains(&"instructions")
            && let Some(text) = turns::instructions(request, self.loss)
        {
            self.object.text("instructions", text);
        }
        let mut array = self.object.array("input");
        turns::encode(request, self.manner, &mut array, self.loss);
        if array.is_empty() {
            let list = request.turns.first().map_or(request.names.system, |turn| turn.place.list);
            return Err(Malformed::at(list, "there is nothing to answer"));
        }
        array.end();
        if let Some(turn) = request.turns.last().filter(|turn| turn.role == Role::Assistant) {
            // The begin of an answer is read here as a whole one, and not continued.
            self.loss.push(turn.place, Reason::Approximated);
        }
        Ok(())
    }

    fn tools(&mut self) {
        let request = self.request;
        let own = request.from == Dialect::OpenAiResponses;
        let any = request.tools.iter().any(|tool| own || matches!(tool, Tool::Function(_)));
        let search = if own { None } else { hosted_tools::web_search(request, self.loss) };
        if !any && search.is_none() {
            // A choice without tools is refused; `auto` and `none` mean nothing then.
            for tool in &request.tools {
                if let Tool::Hosted { place, .. } = tool {
                    self.loss.push(place, Reason::Unsupported);
                }
            }
            if matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_))) {
                self.loss.push(request.names.tool_choice, Reason::Value);
            }
            return;
        }
        if !self.takes("tools", request.names.tools) {
            return;
        }
        self.tool_list(search.is_some());
        if let Some(choice) = &request.tool_choice
            && self.takes("tool_choice", request.names.tool_choice)
        {
            match choice {
                ToolChoice::Auto => self.object.text("tool_choice", "auto"),
                ToolChoice::None => self.object.text("tool_choice", "none"),
                ToolChoice::Required => self.object.text("tool_choice", "required"),
                ToolChoice::Named(name) => {
                    let mut named = self.object.object("tool_choice");
                    named.text("type", "function").text("name", name);
                    named.end();
                    &mut self.object
                }
            };
        }
        if let Some(parallel) = request.parallel_tool_calls
            && self.takes("parallel_tool_calls", request.names.parallel_tool_calls)
        {
            self.object.boolean("parallel_tool_calls", parallel);
        }
    }

    fn tool_list(&mut self, search: bool) {
        let mut list = self.object.array("tools");
        if search {
            list.raw(r#"{"type":"web_search"}"#);
        }
        for tool in &self.request.tools {
            match tool {
                Tool::Function(tool) => {
                    if tool.cache.is_some() {
                        let path = tool.place.key(turns::cache_name(self.request.from));
                        self.loss.push(path, Reason::Approximated);
                    }
                    function(tool, list.object());
                }
                Tool::Hosted { raw, .. } if self.request.from == Dialect::OpenAiResponses => {
                    list.raw(raw);
                }
                // A search that was said has been reported before; each place is, once.
                Tool::Hosted { place, .. } => self.loss.push(place, Reason::Unsupported),
            }
        }
        list.end();
    }

    fn sampling(&mut self) {
        let (request, names) = (self.request, self.request.names);
        if let Some(tokens) = request.max_tokens
            && self.takes("max_output_tokens", names.max_tokens)
        {
            if tokens < MIN_OUTPUT_TOKENS {
                self.loss.push(names.max_tokens, Reason::Value);
            }
            self.object.unsigned("max_output_tokens", tokens.max(MIN_OUTPUT_TOKENS));
        }
        let samples = self.samples();
        let numbers = [
            ("temperature", request.temperature, names.temperature),
            ("top_p", request.top_p, names.top_p),
            ("top_logprobs", request.top_logprobs, names.top_logprobs),
        ];
        for (name, value, theirs) in numbers {
            let Some(value) = value else { continue };
            if !samples {
                self.loss.push(theirs, Reason::Unsupported);
            } else if self.takes(name, theirs) {
                self.object.raw(name, value);
            }
        }
    }

    /// Whether sampling parameters may be sent: not to a model that reasons.
    fn samples(&self) -> bool {
        let model = &self.request.model;
        let asked = self.request.reasoning.as_ref();
        let reasons = asked.is_some_and(|asked| asked.enabled != Some(false));
        !model_family::openai_reasons(model)
            || (model_family::openai_may_not_reason(model) && !reasons)
    }

    fn reasoning(&mut self) {
        let (request, names) = (self.request, self.request.names);
        let Some(reasoning) = &request.reasoning else { return };
        let refused = reasoning.enabled == Some(false);
        if model_family::never_reasons(&request.model) {
            if !refused {
                let effort_alone = reasoning.enabled.is_none() && reasoning.effort.is_some();
                let path = if effort_alone { names.reasoning_effort } else { names.reasoning };
                self.loss.push(path, Reason::Unsupported);
            }
            return;
        }
        let effort = self.effort(reasoning);
        let summary = if refused { None } else { summary(request.from, reasoning) };
        if effort.is_none() && summary.is_none() {
            return;
        }
        if !self.takes("reasoning", names.reasoning) {
            return;
        }
        let mut object = self.object.object("reasoning");
        if let Some(effort) = effort {
            object.text("effort", &effort);
        }
        if let Some(summary) = summary {
            object.text("summary", summary);
        }
        object.end();
    }

    /// The effort as it was named, or what comes nearest to a budget or a refusal.
    fn effort<'r>(&mut self, reasoning: &'r Reasoning<'_>) -> Option<Cow<'r, str>> {
        let names = self.request.names;
        if let Some(effort) = &reasoning.effort {
            if reasoning.budget_tokens.is_some() {
                self.loss.push(names.reasoning_budget, Reason::Unsupported);
            }
            if effort != "none" {
                return Some(Cow::Borrowed(effort));
            }
        }
        if reasoning.enabled == Some(false) || reasoning.effort.is_some() {
            let least = model_family::openai_least_effort(&self.request.model);
            if least != Some("none") {
                self.loss.push(names.reasoning, Reason::Approximated);
            }
            return least.map(Cow::Borrowed);
        }
        let budget = reasoning.budget_tokens?;
        self.loss.push(names.reasoning_budget, Reason::Approximated);
        Some(Cow::Borrowed(effort_of(budget)))
    }

    fn text_options(&mut self) {
        let (request, names) = (self.request, self.request.names);
        let format = request.format.as_ref().filter(|format| **format != Format::Text);
        if format.is_none() && request.verbosity.is_none() {
            return;
        }
        let theirs = if format.is_some() { names.format } else { names.verbosity };
        if !self.takes("text", theirs) {
            return;
        }
        let mut text = self.object.object("text");
        match format {
            Some(Format::JsonObject) => {
                let mut object = text.object("format");
                object.text("type", "json_object");
                object.end();
            }
            Some(Format::JsonSchema { name, description, schema, strict }) => {
                let mut object = text.object("format");
                object.text("type", "json_schema");
                object.text("name", name.as_deref().unwrap_or("answer"));
                if let Some(description) = description {
                    object.text("description", description);
                }
                object.raw("schema", schema);
                if let Some(strict) = strict {
                    object.boolean("strict", *strict);
                }
                object.end();
            }
            Some(Format::Text) | None => {}
        }
        if let Some(verbosity) = &request.verbosity {
            text.text("verbosity", verbosity);
        }
        text.end();
    }

    fn labels(&mut self) {
        let (request, names) = (self.request, self.request.names);
        let ids = [
            ("user", &request.user, names.user),
            ("prompt_cache_key", &request.prompt_cache_key, names.prompt_cache_key),
        ];
        for (name, value, theirs) in ids {
            let Some(value) = value else { continue };
            if self.takes(name, theirs) {
                if value.len() > MAX_ID {
                    self.loss.push(theirs, Reason::Approximated);
                }
                self.object.text(name, &shortened(value, ""));
            }
        }
        if let Some(tier) = &request.service_tier {
            let known = match tier.as_ref() {
                "standard_only" | "standard" => Some("default"),
                tier @ ("auto" | "default" | "flex" | "scale" | "priority") => Some(tier),
                _ => None,
            };
            match known {
                Some(known) if self.takes("service_tier", names.service_tier) => {
                    self.object.text("service_tier", known);
                }
                Some(_) => {}
                None => self.loss.push(names.service_tier, Reason::Value),
            }
        }
        if let Some(metadata) = request.metadata
            && self.takes("metadata", names.metadata)
        {
            self.object.raw("metadata", metadata);
        }
    }

    /// What is kept and what is sent beside the answer.
    fn state(&mut self) {
        let request = self.request;
        if !self.manner.refuses.contains(&"store") {
            self.object
                .raw("store", request.extra(Dialect::OpenAiChat, "store").unwrap_or("false"));
        }
        let sealed = !model_family::never_reasons(&request.model);
        let logprobs = request.logprobs == Some(true);
        if (sealed || logprobs) && !self.manner.refuses.contains(&"include") {
            let mut include = self.object.array("include");
            if sealed {
                include.text("reasoning.encrypted_content");
            }
            if logprobs {
                include.text("message.output_text.logprobs");
            }
            include.end();
        } else if logprobs {
            self.loss.push(request.names.logprobs, Reason::Unsupported);
        }
    }

    /// The extras that have the same name and meaning here are said, all others reported.
    fn report(&mut self) {
        let (request, names) = (self.request, self.request.names);
        let same: &[&str] = match request.from {
            Dialect::OpenAiChat => &["safety_identifier", "prompt_cache_retention", "moderation"],
            Dialect::OpenAiResponses => &[
                "safety_identifier",
                "prompt_cache_retention",
                "prompt_cache_options",
                "moderation",
                "truncation",
                "max_tool_calls",
                "context_management",
            ],
            Dialect::Anthropic | Dialect::Bedrock | Dialect::Gemini => &[],
        };
        for extra in request.extras.iter().filter(|extra| same.contains(&extra.name.as_ref())) {
            if self.takes(&extra.name, &extra.name) {
                self.object.raw(&extra.name, extra.raw);
            }
        }
        let stored = request.from == Dialect::OpenAiChat;
        // A search that was said has been reported before; each path is, once.
        request.report_extras(self.loss, |extra| {
            same.contains(&extra.name.as_ref()) || (stored && extra.name == "store")
        });
        let unsaid = [
            (request.top_k.is_some(), names.top_k),
            (request.seed.is_some(), names.seed),
            (request.frequency_penalty.is_some(), names.frequency_penalty),
            (request.presence_penalty.is_some(), names.presence_penalty),
            (!request.stop.is_empty(), names.stop),
        ];
        for (_, name) in unsaid.iter().filter(|(given, _)| *given) {
            self.loss.push(name, Reason::Unsupported);
        }
    }
}

/// Schemas are not enforced unless asked for: other languages do not, and here it is the default.
fn function(tool: &FunctionTool<'_>, mut object: Object<'_>) {
    object.text("type", "function").text("name", &tool.name);
    if let Some(description) = &tool.description {
        object.text("description", description);
    }
    object.raw("parameters", tool.schema.unwrap_or(r#"{"type":"object","properties":{}}"#));
    object.boolean("strict", tool.strict.unwrap_or(false));
    object.end();
}

/// How reasoning is to be shown. Where another language shows it without being asked, `auto` is.
fn summary<'r>(from: Dialect, reasoning: &'r Reasoning<'_>) -> Option<&'r str> {
    match reasoning.summary.as_deref() {
        Some(word @ ("auto" | "concise" | "detailed")) => Some(word),
        Some("omitted" | "none" | "false") => None,
        Some(_) => Some("auto"),
        None => {
            let shown = matches!(from, Dialect::Anthropic | Dialect::Bedrock)
                && (reasoning.enabled == Some(true) || reasoning.adaptive);
            shown.then_some("auto")
        }
    }
}

/// `id` if OpenAI takes it, else a digest of it; equal ids stay equal.
pub(super) fn shortened<'r>(id: &'r str, prefix: &str) -> Cow<'r, str> {
    if id.len() <= MAX_ID {
        return Cow::Borrowed(id);
    }
    let digest = blake3::hash(id.as_bytes()).to_hex();
    let mut short = String::with_capacity(MAX_ID);
    short.push_str(prefix);
    short.extend(digest.chars().take(MAX_ID.saturating_sub(prefix.len())));
    Cow::Owned(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_are_shortened_and_stay_apart() {
        let (long, other) = ("x".repeat(65), "y".repeat(65));
        assert_eq!(shortened("toolu_01", "call_"), "toolu_01");
        let short = shortened(&long, "call_");
        assert_eq!(short.len(), MAX_ID);
        assert!(short.starts_with("call_"));
        assert_eq!(short, shortened(&long, "call_"));
        assert_ne!(short, shortened(&other, "call_"));
    }

    use crate::chat::{FieldNames, Part, PartKind, Place, Seal, Turn};

    const NAMES: FieldNames = FieldNames {
        max_tokens: "max_tokens",
        reasoning: "thinking",
        reasoning_budget: "thinking.budget_tokens",
        stop: "stop_sequences",
        ..super::super::openai_responses_request::NAMES
    };

    fn ask(model: &'static str) -> Request<'static> {
        let mut request = Request::new(Dialect::Anthropic, &NAMES);
        request.model = model.into();
        turn(&mut request, Role::User, vec![PartKind::Text { text: "Hi".into(), citations: None }]);
        request
    }

    fn turn(request: &mut Request<'static>, role: Role, kinds: Vec<PartKind<'static>>) {
        let place = Place::item("messages", request.turns.len());
        let parts = kinds
            .into_iter()
            .enumerate()
            .map(|(at, kind)| Part::new(place.inner("content", at), kind))
            .collect();
        request.turns.push(Turn { place, role, name: None, parts });
    }

    fn written(request: &Request<'_>, manner: &Manner) -> (serde_json::Value, Vec<String>) {
        let (mut out, mut loss) = (Vec::new(), Loss::default());
        encode(request, manner, &mut out, &mut loss).unwrap();
        let lost = loss.entries().iter().map(|lost| lost.path.clone()).collect();
        (serde_json::from_slice(&out).unwrap(), lost)
    }

    #[test]
    fn nothing_is_stored_and_sealed_reasoning_is_asked_for() {
        let (body, lost) = written(&ask("gpt-5"), &Manner::standard());
        assert_eq!(body["store"], false);
        assert_eq!(body["include"][0], "reasoning.encrypted_content");
        assert!(lost.is_empty());
        let (body, _) = written(&ask("gpt-4o"), &Manner::standard());
        assert_eq!(body.get("include"), None);
    }

    #[test]
    fn what_has_no_word_here_is_reported() {
        let mut request = ask("gpt-4o");
        request.max_tokens = Some(5);
        request.top_k = Some("40");
        request.stop = vec!["END".into()];
        request.user = Some("u".repeat(70).into());
        let (body, lost) = written(&request, &Manner::standard());
        assert_eq!(body["max_output_tokens"], 16);
        assert_eq!(body["user"].as_str().unwrap().len(), 64);
        assert_eq!(lost, ["max_tokens", "user", "top_k", "stop_sequences"]);
    }

    #[test]
    fn reasoning_is_said_in_the_words_of_the_model() {
        let mut request = ask("gpt-5");
        request.temperature = Some("1");
        let budget =
            Reasoning { enabled: Some(true), budget_tokens: Some(31_999), ..Reasoning::default() };
        request.reasoning = Some(budget.clone());
        let (body, lost) = written(&request, &Manner::standard());
        assert_eq!(body["reasoning"], serde_json::json!({"effort":"high","summary":"auto"}));
        assert_eq!(lost, ["temperature", "thinking.budget_tokens"]);
        request.reasoning = Some(Reasoning { enabled: Some(false), ..Reasoning::default() });
        for (model, effort) in [("gpt-5", Some("minimal")), ("gpt-5.2", Some("none")), ("x", None)]
        {
            request.model = model.into();
            let (body, _) = written(&request, &Manner::standard());
            assert_eq!(body["reasoning"]["effort"].as_str(), effort, "{model}");
        }
        request.model = "gpt-4o".into();
        request.reasoning = Some(budget);
        let (body, lost) = written(&request, &Manner::standard());
        assert_eq!((body.get("reasoning"), lost), (None, vec!["thinking".to_owned()]));
    }

    #[test]
    fn only_own_reasoning_goes_back() {
        let mut request = ask("gpt-5");
        let thinking = || PartKind::Thinking { text: "hm".into() };
        turn(&mut request, Role::Assistant, vec![thinking(), thinking(), PartKind::Redacted]);
        let parts = &mut request.turns[1].parts;
        let seal = |dialect| Seal { dialect, data: "D".into(), id: Some("rs_1".into()) };
        parts[0].seal = Some(seal(Dialect::OpenAiResponses));
        parts[1].seal = Some(seal(Dialect::Anthropic));
        let (body, lost) = written(&request, &Manner::standard());
        assert_eq!(
            body["input"][1],
            serde_json::json!({"type":"reasoning","id":"rs_1","encrypted_content":"D",
                "summary":[{"type":"summary_text","text":"hm"}]})
        );
        assert_eq!(body["input"].as_array().unwrap().len(), 2);
        assert_eq!(lost, ["messages[1].content[1]", "messages[1].content[2]", "messages[1]"]);
    }

    #[test]
    fn calls_without_ids_are_paired_by_name() {
        let mut request = ask("gpt-5");
        let call = |name: &'static str| PartKind::ToolUse {
            id: "".into(),
            name: name.into(),
            arguments: "".into(),
        };
        let result = |name: &'static str| PartKind::ToolResult {
            id: "".into(),
            name: Some(name.into()),
            is_error: false,
            content: Vec::new(),
        };
        turn(&mut request, Role::Assistant, vec![call("a"), call("b")]);
        turn(&mut request, Role::User, vec![result("b"), result("a"), result("c")]);
        let (body, lost) = written(&request, &Manner::standard());
        let ids: Vec<_> = body["input"].as_array().unwrap()[1..]
            .iter()
            .map(|item| item["call_id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, ["call_0", "call_1", "call_1", "call_0"]);
        assert_eq!(body["input"][1]["arguments"], "{}");
        assert_eq!(lost, ["messages[2].content[2]"]);
    }

    #[test]
    fn what_the_provider_refuses_is_left_out_and_reported() {
        let mut request = ask("llama");
        request.system = vec![Part::new(
            Place::field("system"),
            PartKind::Text { text: "S".into(), citations: None },
        )];
        request.metadata = Some("{}");
        let refuses: &[&str] = &["instructions", "store", "include", "metadata"];
        let manner = Manner { refuses, ..Manner::standard() };
        let (body, lost) = written(&request, &manner);
        assert_eq!(body["input"][0]["role"], "system");
        for name in refuses {
            assert_eq!(body.get(name), None, "{name}");
        }
        assert_eq!(lost, ["metadata"]);
    }

    #[test]
    fn a_choice_is_not_sent_without_the_tools_to_choose_from() {
        let mut request = ask("gpt-5");
        let place = Place::item("tools", 0);
        request.tools = vec![Tool::Hosted { place, kind: "bash".into(), raw: "{}" }];
        request.tool_choice = Some(ToolChoice::Required);
        request.parallel_tool_calls = Some(false);
        let (body, lost) = written(&request, &Manner::standard());
        for name in ["tools", "tool_choice", "parallel_tool_calls"] {
            assert_eq!(body.get(name), None, "{name}");
        }
        assert_eq!(lost, ["tools[0]", "tool_choice"]);
    }

    #[test]
    fn a_request_without_a_turn_cannot_be_said() {
        let request = Request::new(Dialect::Anthropic, &NAMES);
        let said = encode(&request, &Manner::standard(), &mut Vec::new(), &mut Loss::default());
        assert!(said.is_err());
    }
}
