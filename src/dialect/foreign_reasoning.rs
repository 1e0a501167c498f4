//! Another vendor's reasoning in a body that goes on by its bytes.
//!
//! In: a client's body, for an upstream of the client's own language. Out: the [`Edit`]s that take
//! out what the upstream would answer with an error: reasoning under a seal that another vendor
//! made (it bears the mark of [`seal`]), and, for Claude, thinking without a signature. Each cut is
//! reported. Never: touches what the upstream's own vendor sealed; reads a body that holds none of
//! it beyond a search for a few bytes.
//! Claude Code replays thinking that came without a signature: an upstream that did not think in
//! Claude's way had said it before.

use super::bedrock_content::redacted;
use super::gemini_signature;
use super::seal;
use crate::chat::{Dialect, Loss, Place, Reason};
use crate::wire::json_read;
use crate::wire::json_scan::Span;
use crate::wire::json_splice::Edit;
use memchr::memmem;
use std::borrow::Cow;
use std::sync::LazyLock;

/// What stands for an answer of a Converse body of which nothing is left: roles have to alternate.
const BEDROCK_SILENCE: &[u8] = br#"[{"text":"(no answer)"}]"#;
const SKIPPED: &[u8] = b"\"skip_thought_signature_validator\"";
/// The length of the ids that the gateway itself gives.
const OWN_ID: usize = 24;

/// The begin of a mark, of one in base64, and what else may need a closer look. Searching for a word
/// has to be prepared; once is enough.
static SOUGHT: LazyLock<[memmem::Finder<'static>; 4]> =
    LazyLock::new(|| ["\"fg", "\"Zmd", "\"reasoningText\"", "\"rs_"].map(memmem::Finder::new));
static THINKING: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new("\"thinking\""));

/// Finds what must not go to the `model` of an upstream that speaks `dialect`.
pub fn cuts(dialect: Dialect, body: &[u8], model: &str, loss: &mut Loss) -> Vec<Edit<'static>> {
    // Others than Claude speak its language, too, and do not sign.
    let claude = model.contains("claude") || model.contains("anthropic.");
    if !may_hold(dialect, body, claude) {
        return Vec::new();
    }
    let Ok(text) = simdutf8::basic::from_utf8(body) else { return Vec::new() };
    let mut finder = Finder { dialect, body: text, claude, cuts: Vec::new(), loss };
    match dialect {
        Dialect::Anthropic | Dialect::Bedrock => {
            if finder.messages("messages", "content") && claude {
                finder.unthought_call();
            }
        }
        Dialect::Gemini => {
            finder.messages("contents", "parts");
        }
        Dialect::OpenAiChat => finder.details(),
        Dialect::OpenAiResponses => finder.items(),
    }
    finder.cuts
}

/// Whether a closer look is needed: a search for the begin of a mark, and for thinking that is
/// not plainly signed.
fn may_hold(dialect: Dialect, body: &[u8], claude: bool) -> bool {
    let [mark, wrapped, reasoning, item] = &*SOUGHT;
    let has = |word: &memmem::Finder<'_>| word.find(body).is_some();
    match dialect {
        Dialect::Anthropic => has(mark) || (claude && unsigned_thinking(body)),
        Dialect::Bedrock => has(mark) || has(wrapped) || (claude && has(reasoning)),
        Dialect::Gemini => has(wrapped),
        Dialect::OpenAiChat => has(mark),
        Dialect::OpenAiResponses => has(mark) || has(item),
    }
}

/// Whether there is a thinking block whose signature is not found at once.
fn unsigned_thinking(body: &[u8]) -> bool {
    THINKING.find_iter(body).any(|at| {
        let behind = body.get(at + THINKING.needle().len()..).unwrap_or_default();
        let is_key = behind.trim_ascii_start().starts_with(b":");
        !is_key && !plainly_signed(body, at)
    })
}

/// Whether the block of which the value at `at` is the type, and the first member, is signed.
fn plainly_signed(body: &[u8], at: usize) -> bool {
    let block = || {
        let before = body.get(..at)?.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
        let before = before.strip_suffix(b"\"type\"")?.trim_ascii_end();
        let start = before.strip_suffix(b"{")?.len();
        std::str::from_utf8(body.get(start..)?).ok()
    };
    let signature = block().and_then(|block| json_read::field(block, "signature"));
    signature.is_some_and(|raw| raw.len() > 2 && json_read::is_string(raw))
}

struct Finder<'f> {
    dialect: Dialect,
    body: &'f str,
    claude: bool,
    cuts: Vec<Edit<'static>>,
    loss: &'f mut Loss,
}

/// What becomes of one block.
enum Verdict {
    Keep,
    Drop,
    /// Only its seal has to go: the member's key and value.
    Unseal {
        key: &'static str,
        with: Option<&'static [u8]>,
    },
}

impl Finder<'_> {
    fn span(&self, raw: &str) -> Span {
        let start = (raw.as_ptr() as usize).wrapping_sub(self.body.as_ptr() as usize);
        Span { start, end: start + raw.len() }
    }

    fn cut(&mut self, value: Span, with: &'static [u8]) {
        self.cuts.push(Edit::Replace { value, with });
    }

    /// Looks through the blocks of all messages; whether something was taken out of the last
    /// answer.
    fn messages(&mut self, list: &'static str, inner: &'static str) -> bool {
        let body = self.body;
        let Some(list_raw) = json_read::field(body, list) else { return false };
        let mut emptied = Vec::new();
        let all: Vec<&str> = json_read::items(list_raw).collect();
        let mut last_answer = false;
        for (at, message) in all.iter().enumerate() {
            let Some(blocks_raw) = json_read::field(message, inner) else { continue };
            let place = Place::item(list, at);
            let blocks: Vec<&str> = json_read::items(blocks_raw).collect();
            let mut dropped = vec![false; blocks.len()];
            for (block_at, block) in blocks.iter().enumerate() {
                let place = place.inner(inner, block_at);
                if let Some(dropped) = dropped.get_mut(block_at) {
                    *dropped = self.block(block, place);
                }
            }
            let answers = json_read::text_field(message, "role").as_deref() == Some("assistant");
            last_answer = (last_answer && !answers) || (answers && dropped.contains(&true));
            if !dropped.contains(&true) {
                continue;
            }
            match (dropped.contains(&false), self.dialect) {
                (true, _) => self.without(&blocks, &dropped),
                (false, Dialect::Bedrock) => self.cut(self.span(blocks_raw), BEDROCK_SILENCE),
                (false, _) => emptied.push(at),
            }
        }
        let dropped: Vec<bool> = (0..all.len()).map(|at| emptied.contains(&at)).collect();
        self.without(&all, &dropped);
        last_answer
    }

    /// Looks at one block, and takes out a seal of which the rest can stay; whether the block has
    /// to go.
    fn block(&mut self, block: &str, place: Place) -> bool {
        match self.verdict(block) {
            Verdict::Keep => return false,
            Verdict::Drop => self.loss.push(place, Reason::Foreign),
            Verdict::Unseal { key, with } => {
                self.loss.push(place.key(key), Reason::Foreign);
                let member = json_read::fields(block).find(|(name, _)| name == key);
                match (member, with) {
                    (Some((_, value)), Some(with)) => self.cut(self.span(value), with),
                    (Some(_), None) => self.member(block, key),
                    (None, _) => {}
                }
                return false;
            }
        }
        true
    }

    fn anthropic(&self, block: &str) -> Verdict {
        let sealed = match self.kind_of(block).as_ref() {
            "thinking" => json_read::text_field(block, "signature"),
            "redacted_thinking" => json_read::text_field(block, "data"),
            _ => return Verdict::Keep,
        };
        verdict_of(sealed, self.claude)
    }

    fn bedrock(&self, block: &str) -> Verdict {
        let Some(reasoning) = json_read::field(block, "reasoningContent") else {
            return Verdict::Keep;
        };
        if let Some(text) = json_read::field(reasoning, "reasoningText") {
            return verdict_of(json_read::text_field(text, "signature"), self.claude);
        }
        let sealed = json_read::text_field(reasoning, "redactedContent");
        // Bedrock's own seals are those of Claude.
        let foreign = sealed.is_some_and(|data| redacted(data).0.dialect != Dialect::Anthropic);
        if foreign { Verdict::Drop } else { Verdict::Keep }
    }

    /// Takes the elements that are `dropped` out of their array, each with a comma.
    fn without(&mut self, elements: &[&str], dropped: &[bool]) {
        let spans: Vec<Span> = elements.iter().map(|raw| self.span(raw)).collect();
        self.without_spans(&spans, dropped);
    }

    fn without_spans(&mut self, spans: &[Span], dropped: &[bool]) {
        let mut kept = None;
        let mut run: Option<Span> = None;
        for (span, dropped) in spans.iter().zip(dropped) {
            if *dropped {
                run = Some(Span { start: run.map_or(span.start, |run| run.start), end: span.end });
                continue;
            }
            if let Some(run) = run.take() {
                self.cut(Span { start: run.start, end: span.start }, b"");
            }
            kept = Some(span.end);
        }
        if let Some(run) = run {
            self.cut(Span { start: kept.unwrap_or(run.start), end: run.end }, b"");
        }
    }

    /// Takes the member `key` out of an object.
    fn member(&mut self, object: &str, key: &str) {
        let mut dropped = Vec::new();
        let mut spans = Vec::new();
        for (name, value) in json_read::fields(object) {
            // A key with escapes is none that is looked for.
            let Cow::Borrowed(name) = name else { return };
            dropped.push(name == key);
            spans.push(Span { start: self.span(name).start - 1, end: self.span(value).end });
        }
        self.without_spans(&spans, &dropped);
    }

    /// Claude wants a thought before a call that is to be continued, if it thinks by a budget: where
    /// none is left, it must not think.
    fn unthought_call(&mut self) {
        let body = self.body;
        let converse = json_read::field(body, "additionalModelRequestFields");
        let own = if self.dialect == Dialect::Bedrock { converse } else { Some(body) };
        let thinking = own.and_then(|own| json_read::field(own, "thinking")).unwrap_or_default();
        let budgeted = json_read::text_field(thinking, "type").as_deref() == Some("enabled");
        if !budgeted || !self.continues_unthought_call() {
            return;
        }
        if self.dialect == Dialect::Bedrock {
            self.loss.push("additionalModelRequestFields.thinking", Reason::Value);
            self.cut(self.span(thinking), br#"{"type":"disabled"}"#);
            return;
        }
        self.loss.push("thinking", Reason::Value);
        let edits = json_read::field(body, "context_management").unwrap_or_default();
        self.cuts.push(Edit::Remove { value: self.span(thinking) });
        if edits.contains("clear_thinking") {
            self.loss.push("context_management", Reason::Value);
            self.cuts.push(Edit::Remove { value: self.span(edits) });
        }
    }

    fn continues_unthought_call(&self) -> bool {
        let messages = json_read::field(self.body, "messages").unwrap_or_default();
        let (mut calls, mut thought, mut continued) = (false, false, false);
        for message in json_read::items(messages) {
            let content = json_read::field(message, "content").unwrap_or_default();
            let kept = |block: &&str| matches!(self.verdict(block), Verdict::Keep);
            let kinds = json_read::items(content).filter(kept).map(|block| self.kind_of(block));
            if json_read::text_field(message, "role").as_deref() == Some("assistant") {
                let kinds: Vec<_> = kinds.collect();
                thought = kinds.first().is_some_and(|first| {
                    matches!(first.as_ref(), "thinking" | "redacted_thinking" | "reasoningContent")
                });
                calls = kinds.iter().any(|kind| matches!(kind.as_ref(), "tool_use" | "toolUse"));
                continued = false;
            } else {
                continued |= kinds
                    .into_iter()
                    .any(|kind| matches!(kind.as_ref(), "tool_result" | "toolResult"));
            }
        }
        calls && continued && !thought
    }

    /// The type of a block, in Converse the name of its only member.
    fn kind_of<'b>(&self, block: &'b str) -> Cow<'b, str> {
        if self.dialect == Dialect::Bedrock {
            return json_read::fields(block).next().map(|(name, _)| name).unwrap_or_default();
        }
        json_read::text_field(block, "type").unwrap_or_default()
    }

    fn verdict(&self, block: &str) -> Verdict {
        match self.dialect {
            Dialect::Anthropic => self.anthropic(block),
            Dialect::Bedrock => self.bedrock(block),
            Dialect::Gemini => gemini(block),
            Dialect::OpenAiChat | Dialect::OpenAiResponses => Verdict::Keep,
        }
    }

    /// Chat Completions: sealed elements of `reasoning_details`.
    fn details(&mut self) {
        let Some(messages) = json_read::field(self.body, "messages") else { return };
        for (at, message) in json_read::items(messages).enumerate() {
            let Some(details) = json_read::field(message, "reasoning_details") else { continue };
            let place = Place::item("messages", at);
            let all: Vec<&str> = json_read::items(details).collect();
            let mut dropped = Vec::with_capacity(all.len());
            for (at, detail) in all.iter().enumerate() {
                let marked = ["signature", "data"].iter().any(|key| {
                    json_read::text_field(detail, key).is_some_and(|text| seal::is_marked(&text))
                });
                if marked {
                    self.loss.push(place.inner("reasoning_details", at), Reason::Foreign);
                }
                dropped.push(marked);
            }
            if !dropped.contains(&true) {
                continue;
            }
            if dropped.contains(&false) {
                self.without(&all, &dropped);
            } else {
                self.member(message, "reasoning_details");
            }
        }
    }

    /// Responses: reasoning items that OpenAI did not write.
    fn items(&mut self) {
        let Some(input) = json_read::field(self.body, "input") else { return };
        let all: Vec<&str> = json_read::items(input).collect();
        let mut dropped = Vec::with_capacity(all.len());
        for (at, item) in all.iter().enumerate() {
            let foreign = is_foreign_item(item);
            if foreign {
                self.loss.push(Place::item("input", at), Reason::Foreign);
            }
            dropped.push(foreign);
        }
        self.without(&all, &dropped);
    }
}

fn verdict_of(seal: Option<Cow<'_, str>>, claude: bool) -> Verdict {
    match seal.filter(|seal| !seal.is_empty()) {
        Some(seal) if seal::is_marked(&seal) => Verdict::Drop,
        None if claude => Verdict::Drop,
        Some(_) | None => Verdict::Keep,
    }
}

/// A thought, or an empty part that holds nothing but its seal, goes; a call needs some signature.
fn gemini(part: &str) -> Verdict {
    let named = |wanted: &'static str, other: &'static str| {
        [wanted, other].into_iter().find(|key| json_read::field(part, key).is_some())
    };
    let Some(key) = named("thoughtSignature", "thought_signature") else { return Verdict::Keep };
    let wrapped = json_read::text_field(part, key)
        .is_some_and(|signature| gemini_signature::is_wrapped(&signature));
    if !wrapped {
        return Verdict::Keep;
    }
    if named("functionCall", "function_call").is_some() {
        return Verdict::Unseal { key, with: Some(SKIPPED) };
    }
    let thought = json_read::field(part, "thought").and_then(json_read::boolean) == Some(true);
    let said = json_read::text_field(part, "text").is_some_and(|text| !text.is_empty());
    let other = json_read::fields(part)
        .any(|(name, _)| !matches!(name.as_ref(), "text" | "thought") && name != key);
    if thought || !(said || other) { Verdict::Drop } else { Verdict::Unseal { key, with: None } }
}

/// Whether an item is reasoning that came from elsewhere: by its seal's mark, or, without a seal, by
/// an id that the gateway gave.
fn is_foreign_item(item: &str) -> bool {
    if json_read::text_field(item, "type").as_deref() != Some("reasoning") {
        return false;
    }
    match json_read::text_field(item, "encrypted_content") {
        Some(sealed) => seal::is_marked(&sealed),
        None => json_read::text_field(item, "id").is_some_and(|id| is_own_id(&id)),
    }
}

/// `rs_`, the gateway's id of the answer, `_`, a number.
fn is_own_id(id: &str) -> bool {
    let Some((own, number)) = id.strip_prefix("rs_").and_then(|id| id.rsplit_once('_')) else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    own.len() == OWN_ID && own.bytes().all(plain) && digits(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json_splice;

    /// The body without its cuts, and the paths of what is reported.
    fn cut(dialect: Dialect, body: &str, claude: bool) -> (String, Vec<String>) {
        let mut loss = Loss::default();
        let model = if claude { "claude-opus-4-7" } else { "deepseek-chat" };
        let edits = cuts(dialect, body.as_bytes(), model, &mut loss);
        let mut bytes = body.as_bytes().to_vec();
        json_splice::apply(&mut bytes, &edits).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        (text, loss.entries().iter().map(|lost| lost.path.clone()).collect())
    }

    fn untouched(dialect: Dialect, body: &str, claude: bool) {
        assert_eq!(cut(dialect, body, claude), (body.to_owned(), Vec::new()));
    }

    #[test]
    fn signed_thinking_and_the_words_of_others_stay() {
        let signed = r#"{"thinking":{"type":"adaptive"},"messages":[{"role":"assistant","content":[ {"type":"thinking","thinking":"\"thinking\"","signature":"EqQB"} , {"signature":"EqQB","thinking":"","type":"thinking"},{"type":"text","text":"\"fgs1: thinking"}]}]}"#;
        untouched(Dialect::Anthropic, signed, true);
        let unsigned = r#"{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"a"},{"type":"text","text":"b"}]}]}"#;
        untouched(Dialect::Anthropic, unsigned, false);
        let converse = r#"{"messages":[{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"a"}}}]}]}"#;
        untouched(Dialect::Bedrock, converse, false);
        let stored = r#"{"input":[{"type":"reasoning","id":"rs_67ccd2bf17f0819081ff3bb2","summary":[]},{"type":"reasoning","id":"rs_1","encrypted_content":"gAAA","summary":[]}]}"#;
        untouched(Dialect::OpenAiResponses, stored, false);
    }

    #[test]
    fn thinking_that_claude_did_not_sign_is_taken_out() {
        let body = r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":""}, {"type":"text","text":"b"}]},{"role":"assistant","content":[ {"thinking":"a","type":"thinking"} ]},{"role":"assistant","content":[{"type":"text","text":"c"},{"type":"thinking","thinking":"","signature":"fgs1:gemini:0:x"},{"type":"redacted_thinking","data":"fga1:gemini:0:x"}]},{"role":"user","content":"q"}]}"#;
        let (text, lost) = cut(Dialect::Anthropic, body, true);
        let expected = r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"text","text":"b"}]},{"role":"assistant","content":[{"type":"text","text":"c"}]},{"role":"user","content":"q"}]}"#;
        assert_eq!(text, expected);
        assert_eq!(
            lost.join(" "),
            "messages[1].content[0] messages[2].content[0] messages[3].content[1] messages[3].content[2]"
        );
    }

    #[test]
    fn a_call_left_without_its_thought_is_continued_without_thinking() {
        let body = |thinking: &str| {
            format!(
                r#"{{"context_management":{{"edits":[{{"type":"clear_thinking_20251015","keep":"all"}}]}},"thinking":{thinking},"messages":[{{"role":"assistant","content":[{{"type":"thinking","thinking":"a","signature":""}},{{"type":"tool_use","id":"t","name":"f","input":{{}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"t"}}]}},{{"role":"system","content":[]}}]}}"#
            )
        };
        let enabled = body(r#"{"type":"enabled","budget_tokens":2000}"#);
        let (text, lost) = cut(Dialect::Anthropic, &enabled, true);
        assert!(
            text.starts_with(r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use""#)
        );
        assert_eq!(lost.join(" "), "messages[0].content[0] thinking context_management");
        let (text, lost) = cut(Dialect::Anthropic, &body(r#"{"type":"adaptive"}"#), true);
        assert!(text.contains("adaptive") && text.contains("clear_thinking"));
        assert_eq!(lost.join(" "), "messages[0].content[0]");
    }

    #[test]
    fn converse_turns_keep_alternating() {
        let body = r#"{"messages":[{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"a"}}}]},{"role":"assistant","content":[{"text":"b"},{"reasoningContent":{"redactedContent":"ZmdhMTpnZW1pbmk6MDpFbzhDQ293Q0FkSHRpbTk="}},{"reasoningContent":{"redactedContent":"Zm9v"}}]}]}"#;
        let (text, lost) = cut(Dialect::Bedrock, body, true);
        let expected = r#"{"messages":[{"role":"assistant","content":[{"text":"(no answer)"}]},{"role":"assistant","content":[{"text":"b"},{"reasoningContent":{"redactedContent":"Zm9v"}}]}]}"#;
        assert_eq!((text.as_str(), lost.len()), (expected, 2));
        let body = r#"{"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":2000}},"messages":[{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"a"}}},{"toolUse":{"toolUseId":"t"}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"t"}}]}]}"#;
        let (text, lost) = cut(Dialect::Bedrock, body, true);
        assert!(text.starts_with(
            r#"{"additionalModelRequestFields":{"thinking":{"type":"disabled"}},"messages":[{"role":"assistant","content":[{"toolUse""#
        ));
        assert_eq!(lost.len(), 2);
    }

    #[test]
    fn gemini_gets_no_signature_of_others() {
        let seal = "ZmdzMTphbnRocm9waWM6MDpFcVFCQ2dJWUFoSU0=";
        let body = format!(
            r#"{{"contents":[{{"role":"model","parts":[{{"text":"hm","thought":true,"thoughtSignature":"{seal}"}},{{"text":"a","thoughtSignature":"{seal}"}},{{"functionCall":{{"name":"f"}},"thought_signature":"{seal}"}},{{"text":"","thoughtSignature":"{seal}"}},{{"text":"b","thoughtSignature":"Eo8C"}}]}}]}}"#
        );
        let (text, lost) = cut(Dialect::Gemini, &body, false);
        let expected = r#"{"contents":[{"role":"model","parts":[{"text":"a"},{"functionCall":{"name":"f"},"thought_signature":"skip_thought_signature_validator"},{"text":"b","thoughtSignature":"Eo8C"}]}]}"#;
        assert_eq!((text.as_str(), lost.len()), (expected, 4));
    }

    #[test]
    fn openai_gets_no_reasoning_that_it_did_not_write() {
        let body = r#"{"input":[{"role":"user","content":"q"},{"type":"reasoning","id":"rs_0123456789abcdefghjkmnpq_0","summary":[]},{"type":"reasoning","id":"rs_1","encrypted_content":"fgs1:anthropic:0:E","summary":[]},{"type":"reasoning","id":"rs_2","encrypted_content":"gAAA","summary":[]}]}"#;
        let (text, lost) = cut(Dialect::OpenAiResponses, body, false);
        let expected = r#"{"input":[{"role":"user","content":"q"},{"type":"reasoning","id":"rs_2","encrypted_content":"gAAA","summary":[]}]}"#;
        assert_eq!((text.as_str(), lost.join(" ").as_str()), (expected, "input[1] input[2]"));
        let body = r#"{"messages":[{"role":"assistant","reasoning_details":[{"type":"reasoning.text","text":"a","signature":"fgs1:anthropic:0:E"}],"content":"b"},{"role":"assistant","content":"b","reasoning_details":[{"data":"own"},{"data":"fgs1:gemini:0:E"}]}]}"#;
        let (text, lost) = cut(Dialect::OpenAiChat, body, false);
        let expected = r#"{"messages":[{"role":"assistant","content":"b"},{"role":"assistant","content":"b","reasoning_details":[{"data":"own"}]}]}"#;
        assert_eq!((text.as_str(), lost.len()), (expected, 2));
    }
}
