//! Converse requests, written: how much a model should reason, in the words of its family.
//!
//! In: the hub's [`Reasoning`]. Out: members of `additionalModelRequestFields`, and the token limit
//! that they need. Never: switches on what the client did not ask for.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html>

use super::Manner;
use super::bedrock_family::Family;
use super::bedrock_parameters::Additional;
use super::model_family;
use crate::chat::{Dialect, Loss, PartKind, Reason, Reasoning, Request, Role, ToolChoice};

/// The least that Claude may be told to think.
const LEAST_BUDGET: u64 = 1024;

/// Returns the token limit that the thinking needs, for the case that the client named none.
pub(super) fn encode(
    request: &Request<'_>,
    family: Family,
    manner: &Manner,
    fields: &mut Additional<'_>,
    loss: &mut Loss,
) -> Option<u64> {
    Writer { request, family, manner, fields, loss }.reasoning()
}

struct Writer<'w, 'r, 'a> {
    request: &'r Request<'r>,
    family: Family,
    manner: &'r Manner,
    fields: &'w mut Additional<'a>,
    loss: &'w mut Loss,
}

impl Writer<'_, '_, '_> {
    fn reasoning(&mut self) -> Option<u64> {
        let reasoning = self.request.reasoning.as_ref()?;
        match self.family {
            Family::Claude | Family::Unknown => return self.claude_thinking(reasoning),
            Family::Nova => self.nova_reasoning(reasoning),
            Family::OpenAi => match reasoning.effort.as_deref() {
                Some(effort @ ("low" | "medium" | "high")) => {
                    self.fields.add("reasoning_effort", format!("\"{effort}\""));
                }
                Some("minimal" | "none") => self.effort_as("reasoning_effort", "low"),
                Some(_) => self.effort_as("reasoning_effort", "high"),
                None => self.loss.push(self.request.names.reasoning, Reason::Unsupported),
            },
            Family::Other if is_off(reasoning) => self.effort_without_thought(reasoning),
            Family::Other => self.loss.push(self.request.names.reasoning, Reason::Unsupported),
        }
        None
    }

    fn effort_as(&mut self, field: &'static str, effort: &str) {
        self.fields.add(field, format!("\"{effort}\""));
        self.loss.push(self.request.names.reasoning_effort, Reason::Approximated);
    }

    /// An effort that stands beside thinking switched off has nothing to say here.
    fn effort_without_thought(&mut self, reasoning: &Reasoning<'_>) {
        if reasoning.effort.as_deref().is_some_and(|effort| effort != "none") {
            self.loss.push(self.request.names.reasoning_effort, Reason::Unsupported);
        }
    }

    fn nova_reasoning(&mut self, reasoning: &Reasoning<'_>) {
        if is_off(reasoning) {
            self.fields.add("reasoningConfig", r#"{"type":"disabled"}"#);
            self.effort_without_thought(reasoning);
            return;
        }
        let names = self.request.names;
        let effort = match (reasoning.effort.as_deref(), reasoning.budget_tokens) {
            (Some(effort @ ("low" | "medium" | "high")), _) => effort,
            (Some("minimal"), _) | (None, Some(0..=2048)) => "low",
            (None, None | Some(..=8192)) => "medium",
            _ => "high",
        };
        if reasoning.effort.as_deref().is_some_and(|named| named != effort) {
            self.loss.push(names.reasoning_effort, Reason::Approximated);
        }
        if reasoning.budget_tokens.is_some() {
            self.loss.push(names.reasoning_budget, Reason::Approximated);
        }
        let raw = format!(r#"{{"type":"enabled","maxReasoningEffort":"{effort}"}}"#);
        self.fields.add("reasoningConfig", raw);
    }

    fn claude_thinking(&mut self, reasoning: &Reasoning<'_>) -> Option<u64> {
        let request = self.request;
        let version = model_family::claude_version(&request.model);
        if version.is_some_and(|version| version < (3, 7)) {
            if !is_off(reasoning) {
                self.loss.push(request.names.reasoning, Reason::Unsupported);
            }
            return None;
        }
        if is_off(reasoning) {
            self.fields.add("thinking", r#"{"type":"disabled"}"#);
            // Claude's effort is one of the answer, too: its own clients name it without thinking.
            if !self.claude_client() {
                self.effort_without_thought(reasoning);
            } else if let Some(effort) = self.claude_effort(reasoning) {
                self.fields.add("output_config", format!(r#"{{"effort":"{effort}"}}"#));
            }
            return None;
        }
        let adaptive = version.is_none_or(|version| version >= (4, 6));
        // A Claude client knows whether its model takes an effort.
        let by_effort = adaptive || self.claude_client();
        if !self.claude_client() && (self.forced() || (!adaptive && self.called_unthought())) {
            // Claude refuses to think here; the call matters more.
            self.loss.push(request.names.reasoning, Reason::Value);
            return None;
        }
        let budget_refused = version.is_some_and(|version| version >= (4, 7));
        let budget = reasoning.budget_tokens.filter(|_| !budget_refused);
        if reasoning.budget_tokens.is_some() && budget.is_none() {
            self.loss.push(request.names.reasoning_budget, Reason::Approximated);
        }
        if by_effort && let Some(effort) = self.claude_effort(reasoning) {
            self.fields.add("output_config", format!(r#"{{"effort":"{effort}"}}"#));
        }
        // A Claude client that names an effort alone does not ask for thinking.
        let effort_alone = reasoning.enabled.is_none() && budget.is_none();
        if effort_alone && by_effort && self.claude_client() {
            return None;
        }
        let display = self.display(reasoning);
        if budget.is_none() && adaptive {
            self.fields.add("thinking", format!(r#"{{"type":"adaptive"{display}}}"#));
            return None;
        }
        if reasoning.adaptive {
            self.loss.push(request.names.reasoning, Reason::Approximated);
        }
        if reasoning.effort.is_some() && !by_effort {
            self.loss.push(request.names.reasoning_effort, Reason::Approximated);
        }
        self.budget(budget, reasoning, &display)
    }

    fn claude_client(&self) -> bool {
        matches!(self.request.from, Dialect::Anthropic | Dialect::Bedrock)
    }

    fn forced(&self) -> bool {
        let choice = self.request.tool_choice.as_ref();
        matches!(choice, Some(ToolChoice::Required | ToolChoice::Named(_)))
            && !self.request.tools.is_empty()
    }

    /// Whether the answer to be continued called tools without signed thinking before.
    fn called_unthought(&self) -> bool {
        let last = self.request.turns.iter().rfind(|turn| turn.role == Role::Assistant);
        let has = |is: fn(&PartKind<'_>) -> bool| {
            last.is_some_and(|turn| turn.parts.iter().any(|part| is(&part.kind)))
        };
        has(|kind| matches!(kind, PartKind::ToolUse { .. }))
            && !has(|kind| matches!(kind, PartKind::Thinking { .. } | PartKind::Redacted))
    }

    fn budget(
        &mut self,
        budget: Option<u64>,
        reasoning: &Reasoning<'_>,
        display: &str,
    ) -> Option<u64> {
        let request = self.request;
        let names = request.names;
        let mut tokens = budget.unwrap_or_else(|| budget_of(reasoning.effort.as_deref()));
        if let Some(max) = request.max_tokens
            && !self.claude_client()
        {
            // The budget is a part of the limit, and there must be room to answer.
            let room = if budget.is_some() { max.saturating_sub(1) } else { max / 2 };
            tokens = tokens.min(room.max(LEAST_BUDGET));
            if tokens >= max {
                self.loss.push(names.reasoning, Reason::Value);
                return None;
            }
        }
        if tokens < LEAST_BUDGET {
            tokens = LEAST_BUDGET;
            self.loss.push(names.reasoning_budget, Reason::Approximated);
        }
        let raw = format!(r#"{{"type":"enabled","budget_tokens":{tokens}{display}}}"#);
        self.fields.add("thinking", raw);
        Some(tokens + self.manner.default_max_tokens)
    }

    fn claude_effort<'e>(&mut self, reasoning: &'e Reasoning<'_>) -> Option<&'e str> {
        let effort = reasoning.effort.as_deref()?;
        let names = self.request.names;
        match effort {
            "low" | "medium" | "high" | "xhigh" | "max" => Some(effort),
            "minimal" => {
                self.loss.push(names.reasoning_effort, Reason::Approximated);
                Some("low")
            }
            _ => {
                self.loss.push(names.reasoning_effort, Reason::Value);
                None
            }
        }
    }

    /// `,"display":…` or nothing: Claude shows a summary as a rule, however it is called.
    fn display(&mut self, reasoning: &Reasoning<'_>) -> String {
        let claude_client = self.claude_client();
        match reasoning.summary.as_deref() {
            Some(display) if claude_client && display.bytes().all(|b| b.is_ascii_lowercase()) => {
                format!(r#","display":"{display}""#)
            }
            Some("none" | "omitted" | "false") => r#","display":"omitted""#.to_owned(),
            None | Some("auto" | "concise" | "detailed" | "true") => String::new(),
            Some(_) => {
                self.loss.push(self.request.names.reasoning_summary, Reason::Value);
                String::new()
            }
        }
    }
}

fn is_off(reasoning: &Reasoning<'_>) -> bool {
    reasoning.enabled == Some(false) || reasoning.effort.as_deref() == Some("none")
}

/// What an effort is worth in tokens to a model that only knows budgets.
fn budget_of(effort: Option<&str>) -> u64 {
    match effort {
        Some("minimal" | "low") => LEAST_BUDGET,
        Some("high") => 8192,
        Some("xhigh" | "max") => 16384,
        _ => 4096,
    }
}
