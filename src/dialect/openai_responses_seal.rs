//! Sealed reasoning inside `encrypted_content` of OpenAI Responses.
//!
//! In: a [`Seal`] of any language and the block that it sealed. Out: the text that a Responses
//! client keeps and sends back, and from that text the same seal again. A seal of Responses itself
//! is written as it is; one of another language as `fg1.<dialect>.<data>`, where `<dialect>` may be
//! followed by `/redacted` (there is no readable text at all) or `/previous` (the seal belongs to
//! the item before, a call or a message, whose own form has no place for it).
//! Never: reads or checks the sealed data.

use crate::chat::{Dialect, Seal};
use std::borrow::Cow;

/// What a seal was on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sealed {
    /// Reasoning with a text, which may be empty.
    Thinking,
    /// Reasoning without any readable text.
    Redacted,
    /// The item before: a tool call or a message.
    Previous,
}

impl Sealed {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Thinking => "",
            Self::Redacted => "/redacted",
            Self::Previous => "/previous",
        }
    }
}

const PREFIX: &str = "fg1.";

/// The value of `encrypted_content`.
pub(super) fn write(seal: &Seal<'_>, sealed: Sealed) -> String {
    if seal.dialect == Dialect::OpenAiResponses && sealed != Sealed::Previous {
        return seal.data.to_string();
    }
    format!("{PREFIX}{}{}.{}", seal.dialect.name(), sealed.suffix(), seal.data)
}

/// Reads `encrypted_content` of the item `id`, which has readable text or not.
pub(super) fn read<'a>(
    content: Cow<'a, str>,
    id: Option<Cow<'a, str>>,
    readable: bool,
) -> (Seal<'a>, Sealed) {
    if let Some((dialect, sealed, at)) = foreign(&content) {
        let data = match content {
            Cow::Borrowed(text) => Cow::Borrowed(text.get(at..).unwrap_or_default()),
            Cow::Owned(text) => Cow::Owned(text.get(at..).unwrap_or_default().to_owned()),
        };
        return (Seal { dialect, data, id: None }, sealed);
    }
    let sealed = if readable { Sealed::Thinking } else { Sealed::Redacted };
    (Seal { dialect: Dialect::OpenAiResponses, data: content, id }, sealed)
}

/// Language, place and where the data begins, if `content` was written for a foreign seal.
fn foreign(content: &str) -> Option<(Dialect, Sealed, usize)> {
    let (head, data) = content.strip_prefix(PREFIX)?.split_once('.')?;
    let (name, sealed) = match head.split_once('/') {
        None => (head, Sealed::Thinking),
        Some((name, "redacted")) => (name, Sealed::Redacted),
        Some((name, "previous")) => (name, Sealed::Previous),
        Some(_) => return None,
    };
    let dialect = Dialect::ALL.into_iter().find(|dialect| dialect.name() == name)?;
    Some((dialect, sealed, content.len() - data.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn every_foreign_seal_comes_back(data: String, which in 0_usize..5, on in 0_usize..3) {
            let dialect = Dialect::ALL[which];
            let sealed = [Sealed::Thinking, Sealed::Redacted, Sealed::Previous][on];
            proptest::prop_assume!(dialect != Dialect::OpenAiResponses);
            let seal = Seal { dialect, data: data.into(), id: None };
            let written = write(&seal, sealed);
            proptest::prop_assert_eq!(read(Cow::Borrowed(&written), None, true), (seal, sealed));
        }
    }

    #[test]
    fn own_seals_are_raw_and_keep_their_item_id() {
        let seal = Seal {
            dialect: Dialect::OpenAiResponses,
            data: "gAAAA.x=".into(),
            id: Some("rs_1".into()),
        };
        assert_eq!(write(&seal, Sealed::Thinking), "gAAAA.x=");
        let (read, sealed) = read("gAAAA.x=".into(), Some("rs_1".into()), false);
        assert_eq!((read, sealed), (seal, Sealed::Redacted));
    }

    #[test]
    fn an_unknown_language_is_no_foreign_seal() {
        let (seal, _) = read("fg1.klingon.x".into(), None, true);
        assert_eq!((seal.dialect, seal.data.as_ref()), (Dialect::OpenAiResponses, "fg1.klingon.x"));
    }
}
