//! Prompts of text-completion models, read as the conversation that they are.
//!
//! In: a prompt as users of Bedrock write it: plain, or with the turn marks of Llama or Mistral.
//! Out: its turns. Never: drops text: a prompt whose marks do not add up is one user turn, whole.

use crate::chat::{Part, PartKind, Place, Role, Turn};

const HEADER: &str = "<|start_header_id|>";
const HEADER_END: &str = "<|end_header_id|>";
const ENDS: [&str; 3] = ["<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"];

/// The system text, if there is one, and the turns.
pub(super) struct Conversation<'p> {
    pub(super) system: Option<&'p str>,
    pub(super) turns: Vec<(Role, &'p str)>,
}

pub(super) fn read(prompt: &str) -> Conversation<'_> {
    let marked = if prompt.contains(HEADER) {
        llama(prompt)
    } else if prompt.contains("[INST]") {
        mistral(prompt)
    } else {
        None
    };
    let usable = |found: &Conversation<'_>| found.turns.iter().any(|(role, _)| *role == Role::User);
    marked
        .filter(usable)
        .unwrap_or_else(|| Conversation { system: None, turns: vec![(Role::User, prompt)] })
}

/// `<|start_header_id|>user<|end_header_id|>\n\ntext<|eot_id|>`, the last one left open.
fn llama(prompt: &str) -> Option<Conversation<'_>> {
    let mut found = Conversation { system: None, turns: Vec::new() };
    let mut pieces = prompt.split(HEADER);
    let before = pieces.next().unwrap_or_default().trim();
    if !matches!(before, "" | "<|begin_of_text|>") {
        return None;
    }
    for piece in pieces {
        let (role, text) = piece.split_once(HEADER_END)?;
        let mut text = text.trim();
        while let Some(shorter) = ENDS.iter().find_map(|end| text.strip_suffix(end)) {
            text = shorter.trim();
        }
        match role.trim() {
            "system" if found.system.is_none() && found.turns.is_empty() => {
                found.system = Some(text);
            }
            "system" => found.turns.push((Role::System, text)),
            "user" => found.turns.push((Role::User, text)),
            "assistant" => found.turns.push((Role::Assistant, text)),
            _ => return None,
        }
    }
    Some(found)
}

/// `<s>[INST] <<SYS>>system<</SYS>> text [/INST] answer</s>[INST] … [/INST]`.
fn mistral(prompt: &str) -> Option<Conversation<'_>> {
    let mut found = Conversation { system: None, turns: Vec::new() };
    let mut pieces = prompt.split("[INST]");
    if !matches!(pieces.next().unwrap_or_default().trim(), "" | "<s>") {
        return None;
    }
    for piece in pieces {
        let (asked, answered) = piece.split_once("[/INST]")?;
        let mut asked = asked.trim();
        if let Some((system, rest)) =
            asked.strip_prefix("<<SYS>>").and_then(|inner| inner.split_once("<</SYS>>"))
            && found.system.is_none()
            && found.turns.is_empty()
        {
            found.system = Some(system.trim());
            asked = rest.trim();
        }
        found.turns.push((Role::User, asked));
        let answered = answered.trim();
        let answered = answered.strip_suffix("<s>").unwrap_or(answered).trim_end();
        found.turns.push((Role::Assistant, answered.strip_suffix("</s>").unwrap_or(answered)));
    }
    Some(found)
}

impl<'p> Conversation<'p> {
    /// As parts and turns of a request whose body has the prompt in the field `list`.
    pub(super) fn into_turns(self, list: &'static str) -> (Vec<Part<'p>>, Vec<Turn<'p>>) {
        let place = Place::field(list);
        let part =
            |text: &'p str| Part::new(place, PartKind::Text { text: text.into(), citations: None });
        let system = self.system.filter(|text| !text.is_empty()).map(part).into_iter().collect();
        let turns = self.turns.into_iter().filter(|(_, text)| !text.is_empty());
        let turns = turns
            .map(|(role, text)| Turn { place, role, name: None, parts: vec![part(text)] })
            .collect();
        (system, turns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(prompt: &str) -> (Option<&str>, Vec<(Role, &str)>) {
        let found = read(prompt);
        (found.system, found.turns.into_iter().filter(|(_, text)| !text.is_empty()).collect())
    }

    #[test]
    fn turn_marks_are_understood() {
        use Role::{Assistant, User};
        assert_eq!(told("Say hello."), (None, vec![(User, "Say hello.")]));
        assert_eq!(told("<s>[INST] Hi [/INST]"), (None, vec![(User, "Hi")]));
        assert_eq!(
            told(
                "<s>[INST] <<SYS>>\nbe brief\n<</SYS>>\n\nHi [/INST] Hello</s><s>[INST] And? [/INST]"
            ),
            (Some("be brief"), vec![(User, "Hi"), (Assistant, "Hello"), (User, "And?")])
        );
        assert_eq!(
            told(
                "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nbe brief<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
            ),
            (Some("be brief"), vec![(User, "Hi")])
        );
    }

    #[test]
    fn marks_that_do_not_add_up_are_text() {
        for prompt in [
            "what does [INST] mean?",
            "[INST] open",
            "x <|start_header_id|>user<|end_header_id|>",
            "<|start_header_id|>robot<|end_header_id|>x",
            "<|start_header_id|>assistant<|end_header_id|>x",
            "",
        ] {
            let found = read(prompt);
            assert_eq!(found.turns, [(Role::User, prompt)], "{prompt}");
        }
    }
}
