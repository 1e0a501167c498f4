//! `thoughtSignature`: the vendor's own seals, and other vendors' seals for Gemini clients.
//!
//! In: seals for a client, signatures from a client. Out: the one from the other. Never: changes
//! a native signature. The field is of type bytes, so the official SDKs decode it as base64 and
//! send it back in either alphabet: a foreign seal is therefore base64 of its wrapped form.

use super::Dialect;
use super::seal;
use crate::chat::Seal;
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use std::borrow::Cow;

/// Stands for a signature that is not at hand: switches the check of Gemini 3 off for a call.
pub(super) const SKIP: &str = "skip_thought_signature_validator";

/// How every wrapped foreign seal begins: the mark of [`seal`] in base64, as far as it is certain.
const WRAPPED: &str = "Zmd";

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What a Gemini client gets as `thoughtSignature`.
pub(super) fn write<'s>(seal: &'s Seal<'_>) -> Cow<'s, str> {
    if seal.dialect == Dialect::Gemini {
        return Cow::Borrowed(&seal.data);
    }
    Cow::Owned(STANDARD.encode(seal::pack(seal, Dialect::Gemini).as_bytes()))
}

/// The seal that a Gemini client's `thoughtSignature` stands for.
pub(super) fn read(text: Cow<'_, str>) -> Seal<'_> {
    match wrapped(&text) {
        Some(seal) => seal,
        None => Seal { dialect: Dialect::Gemini, data: text, id: None },
    }
}

/// Whether a field of type bytes holds another vendor's seal.
pub(super) fn is_wrapped(text: &str) -> bool {
    wrapped(text).is_some()
}

fn wrapped(text: &str) -> Option<Seal<'static>> {
    if !text.starts_with(WRAPPED) {
        return None;
    }
    let decoded = LENIENT.decode(url_safe(text).as_bytes()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (seal, _) = seal::unpack(Cow::Owned(text), Dialect::Gemini);
    (seal.dialect != Dialect::Gemini).then_some(seal)
}

fn url_safe(text: &str) -> Cow<'_, str> {
    if text.contains(['+', '/']) {
        Cow::Owned(text.replace('+', "-").replace('/', "_"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Base64 in the alphabet that the other languages demand; Google's SDKs send the URL-safe one.
pub(super) fn standard_base64(data: Cow<'_, str>) -> Cow<'_, str> {
    if data.contains(['-', '_']) {
        Cow::Owned(data.replace('-', "+").replace('_', "/"))
    } else {
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_foreign_seal_survives_both_alphabets(data in "\\PC{0,40}") {
            let seal = Seal { dialect: Dialect::Anthropic, data: data.into(), id: None };
            let text = write(&seal).into_owned();
            proptest::prop_assert_eq!(&read(Cow::Borrowed(&text)), &seal);
            let url = text.replace('+', "-").replace('/', "_");
            proptest::prop_assert_eq!(&read(Cow::Borrowed(url.trim_end_matches('='))), &seal);
        }

        #[test]
        fn any_text_is_some_seal(text: String) {
            let read = read(Cow::Borrowed(&text));
            proptest::prop_assert!(read.dialect != Dialect::Gemini || read.data == text);
        }
    }
}
