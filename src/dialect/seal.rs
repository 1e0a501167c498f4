//! Sealed data of one vendor, carried through a client that speaks another language.
//!
//! In: a [`Seal`] and the language it is to be written in. Out: the text for that language's own
//! opaque field (a thinking signature, encrypted content). A seal of the same language is written
//! as it is; a foreign one gets a short mark in front that names its language, so that it comes
//! back to its vendor, and to no other, when the client replays it.
//! Never: looks into the data, or puts it where a language has no opaque field.

use crate::chat::{Dialect, Seal};
use std::borrow::Cow;

/// A foreign seal that stands for itself.
const MARK: &str = "fgs1:";
/// A foreign seal that belongs to the block before it.
const MARK_ATTACHED: &str = "fga1:";

/// The text that stands for `seal` in an opaque field of the language `own`.
pub(super) fn pack<'s>(seal: &'s Seal<'_>, own: Dialect) -> Cow<'s, str> {
    if seal.dialect == own && seal.id.is_none() {
        return Cow::Borrowed(seal.data.as_ref());
    }
    Cow::Owned(marked(MARK, seal))
}

/// As [`pack`], for a seal that belongs to the block before.
pub(super) fn pack_attached(seal: &Seal<'_>) -> String {
    marked(MARK_ATTACHED, seal)
}

fn marked(mark: &str, seal: &Seal<'_>) -> String {
    let id = seal.id.as_deref().unwrap_or("");
    format!("{mark}{}:{}:{id}{}", seal.dialect.name(), id.len(), seal.data)
}

/// What an opaque field of the language `own` holds, and whether it belongs to the block before.
pub(super) fn unpack(text: Cow<'_, str>, own: Dialect) -> (Seal<'_>, bool) {
    for (mark, attached) in [(MARK, false), (MARK_ATTACHED, true)] {
        if let Some(seal) = text.strip_prefix(mark).and_then(read_marked) {
            return (seal, attached);
        }
    }
    (Seal { dialect: own, data: text, id: None }, false)
}

/// Whether a text begins with a mark: it was sealed by another vendor than it is sent to.
pub(super) fn is_marked(text: &str) -> bool {
    [MARK, MARK_ATTACHED].iter().any(|mark| text.starts_with(mark))
}

fn read_marked(rest: &str) -> Option<Seal<'static>> {
    let (name, rest) = rest.split_once(':')?;
    let dialect = Dialect::ALL.into_iter().find(|dialect| dialect.name() == name)?;
    let (length, rest) = rest.split_once(':')?;
    let (id, data) = rest.split_at_checked(length.parse().ok()?)?;
    Some(Seal {
        dialect,
        data: Cow::Owned(data.to_owned()),
        id: (!id.is_empty()).then(|| Cow::Owned(id.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_seal_comes_back_whole() {
        let seal = Seal {
            dialect: Dialect::OpenAiResponses,
            data: "gAAA:x".into(),
            id: Some("rs_1".into()),
        };
        let packed = pack(&seal, Dialect::Anthropic);
        assert_eq!(unpack(packed, Dialect::Anthropic), (seal.clone(), false));
        let attached = pack_attached(&seal);
        assert_eq!(unpack(attached.into(), Dialect::Anthropic), (seal, true));
    }

    #[test]
    fn an_own_seal_is_written_as_it_is() {
        let seal = Seal { dialect: Dialect::Anthropic, data: "EqQB".into(), id: None };
        assert_eq!(pack(&seal, Dialect::Anthropic), "EqQB");
        assert_eq!(unpack("EqQB".into(), Dialect::Anthropic), (seal, false));
        let odd = unpack("fgs1:nobody:0:x".into(), Dialect::Gemini).0;
        assert_eq!((odd.dialect, odd.data.as_ref()), (Dialect::Gemini, "fgs1:nobody:0:x"));
    }
}
