//! How many tokens a prompt has, estimated where the upstream cannot count.
//!
//! In: the hub's [`Request`]. Out: one number, of the order of what a vendor would count. The
//! estimate: a token per four bytes of text, schema or arguments (three for text that is mostly
//! not ASCII), a fixed overhead per message and tool, a fixed cost per image, and a token per 750
//! bytes of PDF. Never: claims to be exact; it is for clients that plan their context.

use crate::chat::{Media, Part, PartKind, Request, Source, Tool};

/// Tokens around every message: role and separators.
const PER_TURN: u64 = 4;
/// Tokens around every tool definition, beside its own text.
const PER_TOOL: u64 = 12;
/// Tokens of the prompt that introduces tools at all.
const ANY_TOOL: u64 = 300;
/// An image of usual size (about 1,000 x 1,000 pixels).
const PER_IMAGE: u64 = 1_400;
/// A document or a sound that is only referred to, so that its size is not known.
const PER_REFERENCE: u64 = 2_000;

/// The estimated input tokens of `request`.
pub fn estimate_tokens(request: &Request<'_>) -> u64 {
    let system: u64 = request.system.iter().map(part).sum();
    let turns: u64 =
        request.turns.iter().map(|turn| PER_TURN + turn.parts.iter().map(part).sum::<u64>()).sum();
    let tools: u64 = request.tools.iter().map(tool).sum();
    let any_tool = if request.tools.is_empty() { 0 } else { ANY_TOOL };
    system + turns + tools + any_tool
}

fn tool(tool: &Tool<'_>) -> u64 {
    match tool {
        Tool::Function(tool) => {
            let description = tool.description.as_deref().unwrap_or("");
            PER_TOOL + text(&tool.name) + text(description) + text(tool.schema.unwrap_or(""))
        }
        Tool::Hosted { raw, .. } => PER_TOOL + text(raw),
    }
}

fn part(part: &Part<'_>) -> u64 {
    match &part.kind {
        PartKind::Text { text: said, .. }
        | PartKind::Thinking { text: said }
        | PartKind::Refusal { text: said } => text(said),
        PartKind::Image(_) => PER_IMAGE,
        PartKind::Document(media) | PartKind::Audio(media) => document(media),
        PartKind::ToolUse { name, arguments, .. } => PER_TOOL + text(name) + text(arguments),
        PartKind::ToolResult { content, .. } => {
            PER_TOOL + content.iter().map(self::part).sum::<u64>()
        }
        PartKind::Redacted => part.seal.as_ref().map_or(0, |seal| text(&seal.data)),
        PartKind::Opaque { raw, .. } => text(raw),
    }
}

fn document(media: &Media<'_>) -> u64 {
    match &media.source {
        Source::Base64 { data, .. } => length(data) / 1000,
        Source::Text { text: said } => text(said),
        Source::Parts(parts) => parts.iter().map(part).sum(),
        Source::Url { .. } | Source::File { .. } => PER_REFERENCE,
    }
}

fn text(text: &str) -> u64 {
    let bytes = length(text);
    let ascii = text.bytes().filter(u8::is_ascii).count();
    let mostly_ascii = ascii * 2 >= text.len();
    bytes.div_ceil(if mostly_ascii { 4 } else { 3 })
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}
