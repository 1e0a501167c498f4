//! The items of an OpenAI Responses answer while they are written.
//!
//! In: the pieces of a block. Out: the JSON of the items and of their parts, at any moment of
//! their life. Never: decides which event is said; that is the encoder's.
//! Page: <https://platform.openai.com/docs/api-reference/responses/object#responses-object-output>

use super::citations;
use crate::chat::Raw;
use crate::wire::json_read;
use crate::wire::json_write::Object;

/// The item that is open. What closed stays here until it is known how: the last item of an answer
/// that was cut short is `incomplete`.
#[derive(Debug)]
pub(super) enum Item {
    None,
    Message(Message),
    Reasoning(Reasoning),
    Call(FunctionCall),
}

/// A message: one part per text or refusal.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: String,
    /// The finished parts, separated by commas.
    pub(super) parts: Vec<u8>,
    pub(super) count: u32,
    pub(super) part: Option<Content>,
    /// The seal of the last text, which becomes an item of its own.
    pub(super) seal: Option<String>,
}

/// A part of a message.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) refusal: bool,
    pub(super) text: String,
    /// Raw citations in their vendor's form.
    pub(super) citations: Vec<String>,
    /// Elements of OpenAI log-probabilities, separated by commas.
    pub(super) logprobs: String,
}

#[derive(Debug)]
pub(super) struct Reasoning {
    pub(super) id: String,
    pub(super) text: String,
    /// Whether the summary part was begun.
    pub(super) begun: bool,
    /// `encrypted_content`.
    pub(super) seal: Option<String>,
}

#[derive(Debug)]
pub(super) struct FunctionCall {
    pub(super) id: String,
    pub(super) call_id: String,
    pub(super) name: String,
    pub(super) arguments: String,
    /// The call's seal, which becomes an item of its own.
    pub(super) seal: Option<String>,
}

impl Message {
    pub(super) fn write(&self, status: &str, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.text("id", &self.id).text("type", "message").text("status", status);
        object.text("role", "assistant");
        let content = object.key("content");
        content.push(b'[');
        content.extend_from_slice(&self.parts);
        content.push(b']');
        object.end();
    }

    /// Moves the open part to the finished ones.
    pub(super) fn close_part(&mut self) {
        if let Some(part) = self.part.take() {
            if self.count > 0 {
                self.parts.push(b',');
            }
            self.count += 1;
            part.write(&mut self.parts);
        }
    }
}

impl Content {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        if self.refusal {
            object.text("type", "refusal").text("refusal", &self.text);
        } else {
            object.text("type", "output_text").text("text", &self.text);
            let mut annotations = object.array("annotations");
            for citation in &self.citations {
                self.annotation(citation, annotations.item());
            }
            annotations.end();
            let logprobs = object.key("logprobs");
            logprobs.push(b'[');
            logprobs.extend_from_slice(self.logprobs.as_bytes());
            logprobs.push(b']');
        }
        object.end();
    }

    /// Writes a citation as an annotation of this text, unless it is one: then as it is.
    pub(super) fn annotation(&self, raw: Raw<'_>, out: &mut Vec<u8>) {
        if is_own_annotation(raw) {
            out.extend_from_slice(raw.as_bytes());
            return;
        }
        let inner = json_read::field(raw, "url_citation").unwrap_or(raw);
        let number = |name| json_read::field(inner, name).and_then(json_read::unsigned);
        let length = u64::try_from(self.text.chars().count()).unwrap_or(u64::MAX);
        let page = citations::page_of(raw).unwrap_or_default();
        let mut object = Object::begin(out);
        object.text("type", "url_citation");
        object.unsigned("start_index", number("start_index").unwrap_or(0));
        object.unsigned("end_index", number("end_index").unwrap_or(length));
        object.text("title", &page.title).text("url", &page.url);
        object.end();
    }
}

/// Whether a citation of whatever vendor can be said: if it names a page, or is OpenAI's own.
pub(super) fn is_annotation(raw: Raw<'_>) -> bool {
    is_own_annotation(raw) || citations::page_of(raw).is_some()
}

/// Chat Completions puts the members below the type's name; so that is none.
fn is_own_annotation(raw: Raw<'_>) -> bool {
    let kind = json_read::text_field(raw, "type").unwrap_or_default();
    let own = ["url_citation", "file_citation", "container_file_citation", "file_path"];
    own.contains(&kind.as_ref()) && json_read::field(raw, &kind).is_none()
}

impl Reasoning {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.text("id", &self.id).text("type", "reasoning");
        let mut summary = object.array("summary");
        if self.begun {
            summary_part(&self.text, summary.object());
        }
        summary.end();
        if let Some(seal) = &self.seal {
            object.text("encrypted_content", seal);
        }
        object.end();
    }
}

impl FunctionCall {
    pub(super) fn write(&self, status: &str, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.text("id", &self.id).text("type", "function_call").text("status", status);
        object.text("arguments", &self.arguments).text("call_id", &self.call_id);
        object.text("name", &self.name);
        object.end();
    }
}

/// A part of a reasoning summary.
pub(super) fn summary_part(text: &str, mut object: Object<'_>) {
    object.text("type", "summary_text").text("text", text);
    object.end();
}

/// Whether `kind` is a type of item that Responses clients know, other than those written here.
pub(super) fn is_known(kind: &str) -> bool {
    matches!(
        kind,
        "web_search_call"
            | "file_search_call"
            | "computer_call"
            | "computer_call_output"
            | "code_interpreter_call"
            | "image_generation_call"
            | "local_shell_call"
            | "local_shell_call_output"
            | "shell_call"
            | "shell_call_output"
            | "apply_patch_call"
            | "apply_patch_call_output"
            | "mcp_call"
            | "mcp_list_tools"
            | "mcp_approval_request"
            | "mcp_approval_response"
            | "custom_tool_call"
            | "custom_tool_call_output"
            | "tool_search_call"
            | "tool_search_output"
            | "program"
            | "program_output"
            | "additional_tools"
            | "compaction"
    )
}

/// The elements of a raw array, appended to others.
pub(super) fn append_elements(list: &mut String, array: Raw<'_>) {
    for element in json_read::items(array) {
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(element);
    }
}
