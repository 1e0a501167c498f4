//! OpenAI Responses answers, read: streamed and whole.
//!
//! In: the events of a stream, or a response object. Out: hub events. Servers that imitate the API
//! leave out half of its events, so nothing is needed but a text delta or the final object: blocks
//! are opened by their first text (so empty ones never are), a `.done` event says what its deltas did not, and what
//! the final object holds beyond the stream is said at the end. Only lengths are kept, no text.
//! Never: says a call before its name is known, or anything twice.
//! Page: <https://platform.openai.com/docs/api-reference/responses-streaming>

use super::errors;
use super::expect::is_json;
use super::openai_responses_event::{Said, place_of, sealed, usage};
use super::openai_responses_tracked::{List, Tracked, kind_of};
use crate::chat::{Block, Delta, Dialect, ErrorKind, Event, Fault, Sink, Stop, StopReason, Usage};
use crate::wire::frames::Frame;
use crate::wire::json_read;
use std::borrow::Cow;

/// Reads one answer's events. One per answer.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The items seen, in order of appearance.
    items: Vec<Tracked>,
    next_slot: u32,
    refused: bool,
    ended: bool,
}

impl Decoder {
    pub(super) fn frame(&mut self, frame: Frame<'_>, out: Sink<'_>) {
        let data = frame.data.trim_ascii();
        if self.ended || data.is_empty() || data == "[DONE]" {
            return;
        }
        if !json_read::is_object(data) || !is_json(data) {
            self.ended = true;
            return out(Event::Error(unreadable()));
        }
        let said = Said::read(Frame { data, ..frame });
        match said.kind.as_ref() {
            "response.created" | "response.in_progress" | "response.queued" => {
                start(said.response.unwrap_or_default(), out);
            }
            "response.output_item.added" => self.added(&said, out),
            "response.output_item.done" => {
                if let Some(item) = said.item {
                    let at = self.track(&said, kind_of(item));
                    self.item_done(at, item, out);
                }
            }
            "response.content_part.done" => {
                if let Some(part) = said.part
                    && let Some(at) = self.known(&said)
                {
                    self.part_done(at, said.content_index.unwrap_or(0), part, out);
                }
            }
            "response.output_text.annotation.added" => self.annotation(&said, out),
            "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled" => {
                self.response(said.response.unwrap_or_default(), &said.kind, out);
            }
            "error" => self.fail(data, out),
            kind if said.kind.ends_with(".delta") => self.delta(kind, &said, out),
            kind if said.kind.ends_with(".done") => self.done(kind, &said, out),
            // An error without the type that it should have, as other servers say it.
            kind if said.error && !kind.starts_with("response.") => self.fail(data, out),
            // Progress of hosted tools, keep-alives, and what is newer than this.
            _ => {}
        }
    }

    /// The item that an event is about, seen for the first time if need be.
    fn track(&mut self, said: &Said<'_>, kind: &str) -> usize {
        if let Some(at) = self.known(said) {
            return at;
        }
        let after = self.items.iter().map(|item| item.index + 1).max().unwrap_or(0);
        let index = said.output_index.unwrap_or(after);
        self.items.push(Tracked::new(index, &said.item_id, kind));
        self.items.len() - 1
    }

    /// By `output_index`, which is the same in all events; without it by id, or the last one.
    fn known(&self, said: &Said<'_>) -> Option<usize> {
        match said.output_index {
            Some(index) => self.items.iter().position(|item| item.index == index),
            None if said.item_id.is_empty() => self.items.len().checked_sub(1),
            None => self.items.iter().position(|item| item.id == said.item_id),
        }
    }

    fn added(&mut self, said: &Said<'_>, out: Sink<'_>) {
        let item = said.item.unwrap_or_default();
        let kind = kind_of(item);
        if kind.is_empty() {
            return;
        }
        // Servers that never say that an item is done say at least that its text is.
        for earlier in &mut self.items {
            earlier.close_finished(out);
        }
        let at = self.track(said, kind);
        let Some(tracked) = self.items.get_mut(at) else { return };
        if let Some(id) = json_read::text_field(item, "id") {
            tracked.id = id.into_owned();
        }
        if kind == "function_call" {
            self.open_call(at, item, out);
        }
    }

    /// Opens a call once its name is known; its arguments may follow.
    fn open_call(&mut self, at: usize, item: &str, out: Sink<'_>) -> bool {
        let Some(tracked) = self.items.get_mut(at) else { return false };
        if !tracked.parts.is_empty() {
            return true;
        }
        let name = json_read::text_field(item, "name").unwrap_or_default();
        if name.is_empty() {
            return false;
        }
        let id = json_read::text_field(item, "call_id")
            .filter(|id| !id.is_empty())
            .or_else(|| json_read::text_field(item, "id"))
            .unwrap_or_default();
        let slot = tracked.open(List::Call, 0, &mut self.next_slot);
        out(Event::Open { slot, block: Block::ToolUse { id, name } });
        true
    }

    /// The slot of a part, opened if it is not.
    fn slot(&mut self, at: usize, list: List, index: u64, out: Sink<'_>) -> Option<u32> {
        let tracked = self.items.get_mut(at)?;
        if let Some(part) = tracked.part(list, index) {
            return (!part.closed).then_some(part.slot);
        }
        self.refused |= list == List::Refusal;
        if list.is_reasoning()
            && let Some(open) = tracked.parts.iter().find(|part| !part.closed).map(|part| part.slot)
        {
            // A further part of the same reasoning: one block, parts apart by an empty line.
            tracked.join(list, index, open);
            out(Event::Delta { slot: open, delta: Delta::Thinking(Cow::Borrowed("\n\n")) });
            return Some(open);
        }
        let slot = tracked.open(list, index, &mut self.next_slot);
        out(Event::Open { slot, block: list.block()? });
        Some(slot)
    }

    fn delta(&mut self, kind: &str, said: &Said<'_>, out: Sink<'_>) {
        let Some((list, index)) = place_of(kind, said) else { return };
        if list == List::Call {
            // Until its name is known, the pieces are left to the complete item.
            if let Some(at) = self.known(said)
                && let Some(part) =
                    self.items.get_mut(at).and_then(|item| item.part_mut(List::Call, 0))
            {
                let text = said.delta();
                part.said += text.len();
                if !text.is_empty() && !part.closed {
                    out(Event::Delta { slot: part.slot, delta: Delta::Arguments(text) });
                }
            }
            return;
        }
        let at = self.track(said, list.item());
        let text = said.delta();
        self.say(at, (list, index), text, out);
        if let Some(raw) = said.logprobs {
            self.logprobs(at, (list, index), raw, out);
        }
    }

    fn say(&mut self, at: usize, place: (List, u64), text: Cow<'_, str>, out: Sink<'_>) {
        if text.is_empty() {
            return;
        }
        let (list, index) = place;
        let Some(slot) = self.slot(at, list, index, out) else { return };
        if let Some(part) = self.items.get_mut(at).and_then(|item| item.part_mut(list, index)) {
            part.said += text.len();
        }
        out(Event::Delta { slot, delta: list.delta(text) });
    }

    fn logprobs(&mut self, at: usize, (list, index): (List, u64), raw: &str, out: Sink<'_>) {
        if list != List::Text || json_read::items(raw).next().is_none() {
            return;
        }
        let Some(slot) = self.slot(at, list, index, out) else { return };
        if let Some(part) = self.items.get_mut(at).and_then(|item| item.part_mut(list, index)) {
            part.logprobs = true;
        }
        out(Event::Delta { slot, delta: Delta::Logprobs(raw) });
    }

    fn annotation(&mut self, said: &Said<'_>, out: Sink<'_>) {
        let Some(raw) = said.annotation.filter(|raw| json_read::is_object(raw)) else { return };
        let (at, index) = (self.track(said, "message"), said.content_index.unwrap_or(0));
        let Some(slot) = self.slot(at, List::Text, index, out) else { return };
        if let Some(part) = self.items.get_mut(at).and_then(|item| item.part_mut(List::Text, index))
        {
            part.citations += 1;
        }
        out(Event::Delta { slot, delta: Delta::Citation(raw) });
    }

    /// A `.done` event of a text: says what its deltas did not.
    fn done(&mut self, kind: &str, said: &Said<'_>, out: Sink<'_>) {
        let Some((list, index)) = place_of(kind, said) else { return };
        let whole = said.whole();
        let at = if list == List::Call {
            match self.known(said) {
                Some(at) if self.items.get(at).is_some_and(|item| !item.parts.is_empty()) => at,
                _ => return,
            }
        } else {
            self.track(said, list.item())
        };
        self.rest(at, (list, index), &whole, out);
        if let Some(part) = self.items.get_mut(at).and_then(|item| item.part_mut(list, index)) {
            part.finished = true;
        }
    }

    /// Says what of the whole text was not said yet.
    fn rest(&mut self, at: usize, (list, index): (List, u64), whole: &str, out: Sink<'_>) {
        let said =
            self.items.get(at).and_then(|item| item.part(list, index)).map_or(0, |part| part.said);
        if let Some(rest) = whole.get(said..) {
            self.say(at, (list, index), Cow::Borrowed(rest), out);
        }
    }

    fn part_done(&mut self, at: usize, index: u64, raw: &str, out: Sink<'_>) {
        let (list, name) = match json_read::text_field(raw, "type").as_deref() {
            Some("output_text") => (List::Text, "text"),
            Some("refusal") => (List::Refusal, "refusal"),
            _ => return,
        };
        let whole = json_read::text_field(raw, name).unwrap_or_default();
        self.rest(at, (list, index), &whole, out);
        if list == List::Text {
            self.notes(at, index, raw, out);
        }
        if let Some(part) = self.items.get_mut(at).and_then(|item| item.part_mut(list, index)) {
            part.close(out);
        }
    }

    /// Annotations and log-probabilities that were not streamed.
    fn notes(&mut self, at: usize, index: u64, raw: &str, out: Sink<'_>) {
        let part = self.items.get(at).and_then(|item| item.part(List::Text, index));
        let (cited, scored) = part.map_or((0, false), |part| (part.citations, part.logprobs));
        if part.is_some_and(|part| part.closed) {
            return;
        }
        let annotations = json_read::field(raw, "annotations").unwrap_or_default();
        for annotation in json_read::items(annotations).skip(cited) {
            if let Some(slot) = self.slot(at, List::Text, index, out) {
                out(Event::Delta { slot, delta: Delta::Citation(annotation) });
            }
        }
        if !scored && let Some(raw) = json_read::field(raw, "logprobs") {
            self.logprobs(at, (List::Text, index), raw, out);
        }
    }

    /// Says what is left of a complete item, and closes it.
    fn item_done(&mut self, at: usize, raw: &str, out: Sink<'_>) {
        let Some(tracked) = self.items.get_mut(at) else { return };
        if std::mem::replace(&mut tracked.done, true) {
            return;
        }
        if let Some(id) = json_read::text_field(raw, "id") {
            tracked.id = id.into_owned();
        }
        match kind_of(raw) {
            "message" => {
                let content = json_read::field(raw, "content").unwrap_or_default();
                for (index, part) in (0..).zip(json_read::items(content)) {
                    self.part_done(at, index, part, out);
                }
            }
            "function_call" => {
                if self.open_call(at, raw, out) {
                    let whole = json_read::field(raw, "arguments").unwrap_or_default();
                    let whole = json_read::text(whole).unwrap_or(Cow::Borrowed(whole));
                    self.rest(at, (List::Call, 0), &whole, out);
                }
            }
            "reasoning" => self.reasoning_done(at, raw, out),
            kind => {
                let slot = self.next_slot;
                self.next_slot += 1;
                out(Event::Open { slot, block: Block::Opaque { kind: kind.into(), raw } });
                out(Event::Close { slot });
            }
        }
        if let Some(tracked) = self.items.get_mut(at) {
            tracked.close(out);
        }
    }

    fn reasoning_done(&mut self, at: usize, raw: &str, out: Sink<'_>) {
        for (name, list) in [("summary", List::Summary), ("content", List::Reasoning)] {
            let parts = json_read::field(raw, name).unwrap_or_default();
            for (index, part) in (0..).zip(json_read::items(parts)) {
                let whole = json_read::text_field(part, "text").unwrap_or_default();
                self.rest(at, (list, index), &whole, out);
            }
        }
        let Some(content) = json_read::text_field(raw, "encrypted_content") else { return };
        let (seal, _) = sealed(content, json_read::text_field(raw, "id"));
        let parts = self.items.get(at).map(|item| item.parts.as_slice()).unwrap_or_default();
        if let Some(part) = parts.iter().find(|part| !part.closed) {
            return out(Event::Delta { slot: part.slot, delta: Delta::Seal(seal) });
        }
        // A summary of empty parts is reasoning that is not shown; without one it is unreadable.
        let summary = json_read::field(raw, "summary").unwrap_or_default();
        let thinking = parts.is_empty() && json_read::items(summary).next().is_some();
        let slot = self.next_slot;
        self.next_slot += 1;
        let block = if thinking { Block::Thinking } else { Block::Redacted(seal.clone()) };
        out(Event::Open { slot, block });
        if thinking {
            out(Event::Delta { slot, delta: Delta::Seal(seal) });
        }
        out(Event::Close { slot });
    }

    /// The final object: what of it was not streamed, and how it ended.
    fn response(&mut self, raw: &str, event: &str, out: Sink<'_>) {
        self.ended = true;
        start(raw, out);
        let status = json_read::text_field(raw, "status");
        let status =
            status.as_deref().or_else(|| event.strip_prefix("response.")).unwrap_or_default();
        let output: Vec<&str> =
            json_read::items(json_read::field(raw, "output").unwrap_or_default()).collect();
        let claims = claims(&self.items, &output);
        for (item, claim) in output.iter().zip(claims) {
            let at = claim.unwrap_or_else(|| {
                self.items.push(Tracked::new(u64::MAX, "", kind_of(item)));
                self.items.len() - 1
            });
            self.item_done(at, item, out);
        }
        let mut usage = usage(json_read::field(raw, "usage").unwrap_or_default());
        usage.service_tier = json_read::text_field(raw, "service_tier").map(Cow::into_owned);
        let searches = output.iter().filter(|item| kind_of(item) == "web_search_call").count();
        usage.web_searches = u64::try_from(searches).ok().filter(|searches| *searches > 0);
        out(Event::Usage(usage));
        let error = json_read::field(raw, "error").filter(|error| !json_read::is_null(error));
        match status {
            _ if error.is_some() => out(Event::Error(fault(raw))),
            "failed" | "cancelled" | "queued" | "in_progress" => {
                let message = Cow::Owned(format!("the upstream's answer is {status}"));
                out(Event::Error(Fault { kind: ErrorKind::Api, message, code: None }));
            }
            _ => {
                let reason = self.stop_reason(raw, status);
                out(Event::Stop(Stop::of(reason)));
                out(Event::End);
            }
        }
    }

    fn stop_reason(&self, raw: &str, status: &str) -> StopReason {
        if status == "incomplete" {
            let details = json_read::field(raw, "incomplete_details").unwrap_or_default();
            return match json_read::text_field(details, "reason").as_deref() {
                Some("content_filter") => StopReason::ContentFilter,
                _ => StopReason::MaxTokens,
            };
        }
        if self.refused { StopReason::Refusal } else { StopReason::EndTurn }
    }

    fn fail(&mut self, data: &str, out: Sink<'_>) {
        self.ended = true;
        out(Event::Error(fault(data)));
    }
}

/// The fault that an object tells of, by a member `error` or by its own members.
fn fault(object: &str) -> Fault<'static> {
    errors::of_json(0, object)
        .unwrap_or_else(|| errors::read(Dialect::OpenAiResponses, 0, object.as_bytes()))
}

/// For each item of the final output, the streamed item that it is: by id, or, since some servers
/// change ids on the way, the first of its kind whose id the output does not name.
fn claims(items: &[Tracked], output: &[&str]) -> Vec<Option<usize>> {
    let ids: Vec<Cow<'_, str>> =
        output.iter().map(|raw| json_read::text_field(raw, "id").unwrap_or_default()).collect();
    let named = |item: &Tracked| !item.id.is_empty() && ids.iter().any(|id| *id == item.id);
    let mut taken = vec![false; items.len()];
    let mut claims = Vec::with_capacity(output.len());
    for (raw, id) in output.iter().zip(&ids) {
        let first = |wanted: &dyn Fn(&Tracked) -> bool| {
            items.iter().zip(&taken).position(|(item, taken)| !taken && wanted(item))
        };
        let kind = kind_of(raw);
        let claim = first(&|item| !id.is_empty() && item.id == *id)
            .or_else(|| first(&|item| item.kind == kind && !named(item)));
        if let Some(taken) = claim.and_then(|at| taken.get_mut(at)) {
            *taken = true;
        }
        claims.push(claim);
    }
    claims
}

fn start(response: &str, out: Sink<'_>) {
    let text = |name| json_read::text_field(response, name).unwrap_or_default();
    out(Event::Start { id: text("id"), model: text("model"), usage: Usage::default() });
}

/// Reads a whole answer.
pub(super) fn decode_message(body: &str, out: Sink<'_>) {
    let is_answer = json_read::is_object(body)
        && (json_read::field(body, "output").is_some()
            || json_read::field(body, "error").is_some_and(|error| !json_read::is_null(error)));
    if is_answer {
        Decoder::default().response(body, "", out);
    } else {
        out(Event::Error(unreadable()));
    }
}

fn unreadable() -> Fault<'static> {
    let message = Cow::Borrowed("the upstream's answer is not one of the Responses API");
    Fault { kind: ErrorKind::Api, message, code: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Folded, Sequencer};

    fn read(frames: &[&str]) -> Folded {
        let (mut decoder, mut sequencer) = (Decoder::default(), Sequencer::new(true));
        let mut folded = Folded::default();
        for data in frames {
            let frame = Frame { name: None, exception: false, data };
            decoder.frame(frame, &mut |event| {
                sequencer.push(event, &mut |event| folded.push(&event));
            });
        }
        sequencer.finish(&mut |event| folded.push(&event));
        folded
    }

    const TEXT: &str = r#"{"id":"r","model":"m","status":"completed","output":[{"type":"message",
        "id":"msg_1","content":[{"type":"output_text","text":"Hello.","annotations":[]}]}]}"#;

    fn completed(response: &str) -> String {
        format!(r#"{{"type":"response.completed","response":{response}}}"#)
    }

    #[test]
    fn a_delta_and_the_end_are_enough() {
        let end = completed(TEXT);
        let whole = read(&[
            r#"{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"Hel"}"#,
            r#"{"type":"response.output_text.delta","delta":"lo"}"#,
            &end,
        ]);
        assert_eq!(whole.blocks.len(), 1);
        assert_eq!(whole.blocks[0].text, "Hello.");
        assert_eq!((whole.id.as_str(), whole.model.as_str()), ("", ""));
        assert_eq!(whole.stop, Some(Stop::of(StopReason::EndTurn)));
    }

    #[test]
    fn what_was_never_streamed_is_taken_from_the_end() {
        let whole = read(&[&completed(TEXT)]);
        assert_eq!((whole.id.as_str(), whole.blocks[0].text.as_str()), ("r", "Hello."));
    }

    #[test]
    fn ids_that_change_do_not_say_a_text_twice() {
        let end = completed(TEXT);
        let whole = read(&[
            r#"{"type":"response.output_item.added","output_index":4,"item":{"type":"message","id":"other","content":[]}}"#,
            r#"{"type":"response.output_text.delta","item_id":"third","output_index":4,"content_index":0,"delta":"Hello."}"#,
            &end,
        ]);
        assert_eq!(whole.blocks.len(), 1);
        assert_eq!(whole.blocks[0].text, "Hello.");
    }

    #[test]
    fn a_done_text_completes_its_deltas() {
        let whole = read(&[
            r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"Zür"}"#,
            r#"{"type":"response.output_text.done","output_index":0,"content_index":0,"text":"Zürich"}"#,
            r#"{"type":"response.completed","response":{"status":"completed","output":[]}}"#,
        ]);
        assert_eq!(whole.blocks[0].text, "Zürich");
    }

    #[test]
    fn a_call_without_its_begin_is_said_when_it_is_whole() {
        let whole = read(&[
            r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":"{\"a\""}"#,
            r#"{"type":"response.function_call_arguments.done","output_index":0,"arguments":"{\"a\":1}"}"#,
            r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","id":"fc_1","call_id":"call_1","name":"f","arguments":"{\"a\":1}"}}"#,
            r#"{"type":"response.completed","response":{"status":"completed","output":[{"type":"function_call","id":"fc_9","call_id":"call_1","name":"f","arguments":"{\"a\":1}"}]}}"#,
        ]);
        assert_eq!(whole.blocks.len(), 1);
        assert_eq!(whole.blocks[0].text, r#"{"a":1}"#);
        assert_eq!(whole.stop, Some(Stop::of(StopReason::ToolUse)));
    }

    #[test]
    fn reasoning_parts_are_one_block_with_its_seal() {
        let whole = read(&[
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"early"}}"#,
            r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":0,"delta":"One"}"#,
            r#"{"type":"response.reasoning_summary_text.done","output_index":0,"summary_index":0,"text":"One"}"#,
            r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":1,"delta":"Two"}"#,
            r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","id":"rs_1","summary":[{"text":"One"},{"text":"Two!"}],"encrypted_content":"gAAA"}}"#,
            r#"{"type":"response.completed","response":{"status":"completed","output":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"}]}}"#,
        ]);
        assert_eq!(whole.blocks.len(), 1);
        assert_eq!(whole.blocks[0].text, "One\n\nTwo!");
        let seal = whole.blocks[0].seal.as_ref().unwrap();
        assert_eq!((seal.data.as_ref(), seal.id.as_deref()), ("gAAA", Some("rs_1")));
    }

    #[test]
    fn reasoning_without_a_summary_is_only_its_seal() {
        let whole = read(&[
            r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"}}"#,
            &completed(TEXT),
        ]);
        assert!(matches!(&whole.blocks[0].block, Block::Redacted(seal) if seal.data == "gAAA"));
        assert_eq!(whole.blocks[1].text, "Hello.");
    }

    #[test]
    fn hosted_tools_come_whole_and_once() {
        let call = r#"{"type":"web_search_call","id":"ws_1","status":"completed"}"#;
        let done =
            format!(r#"{{"type":"response.output_item.done","output_index":0,"item":{call}}}"#);
        let end = format!(
            r#"{{"type":"response.completed","response":{{"status":"completed","output":[{call}]}}}}"#
        );
        let whole = read(&[
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"web_search_call","id":"ws_1","status":"in_progress"}}"#,
            r#"{"type":"response.web_search_call.searching","output_index":0,"item_id":"ws_1"}"#,
            &done,
            &end,
        ]);
        assert_eq!(whole.blocks.len(), 1);
        assert_eq!(whole.blocks[0].raw, call);
        assert_eq!(whole.usage.web_searches, Some(1));
    }

    #[test]
    fn endings_are_told_apart() {
        let stop = |response: &str| read(&[&completed(response)]).stop.map(|stop| stop.reason);
        let cut = |why| {
            let details = format!(r#"{{"reason":"{why}"}}"#);
            stop(&format!(
                r#"{{"status":"incomplete","incomplete_details":{details},"output":[]}}"#
            ))
        };
        assert_eq!(cut("max_output_tokens"), Some(StopReason::MaxTokens));
        assert_eq!(cut("content_filter"), Some(StopReason::ContentFilter));
        let refusal = r#"{"status":"completed","output":[{"type":"message","content":[{"type":"refusal","refusal":"No."}]}]}"#;
        assert_eq!(stop(refusal), Some(StopReason::Refusal));
        let failed = r#"{"status":"failed","output":[],"error":{"code":"rate_limit_exceeded","message":"slow"}}"#;
        assert_eq!(read(&[&completed(failed)]).fault.unwrap().kind, ErrorKind::RateLimit);
    }

    #[test]
    fn errors_come_flat_nested_or_as_text() {
        for data in [
            r#"{"type":"error","code":"insufficient_quota","message":"empty","param":null}"#,
            r#"{"type":"error","error":{"type":"insufficient_quota","message":"empty"}}"#,
            r#"{"error":{"code":"insufficient_quota","message":"empty"}}"#,
        ] {
            let fault = read(&[data]).fault.unwrap();
            assert_eq!((fault.kind, fault.message.as_ref()), (ErrorKind::Billing, "empty"));
        }
        assert_eq!(read(&["<html>"]).fault.unwrap().kind, ErrorKind::Api);
    }

    #[test]
    fn cached_tokens_are_part_of_the_input() {
        let read = usage(
            r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":60,"cache_write_tokens":10},
               "output_tokens":7,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":107}"#,
        );
        assert_eq!((read.input, read.cache_read, read.cache_write), (Some(30), Some(60), Some(10)));
        assert_eq!((read.output, read.reasoning, read.total()), (Some(7), Some(3), 107));
        let apart = usage(r#"{"input_tokens":5,"input_tokens_details":{"cached_tokens":60}}"#);
        assert_eq!((apart.input, apart.cache_read), (Some(5), Some(60)));
    }
}
