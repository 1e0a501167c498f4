//! Reads JSON by borrowed slices, one level at a time.
//!
//! In: text that `json_scan` has validated once (syntax and depth). Out: raw slices of its
//! members, and scalars. Never: builds a tree, recurses, or allocates (but for a text or key with
//! escapes). On text that is not JSON the iterators end early and the scalars are `None`.

use std::borrow::Cow;

/// Strings up to this length are searched byte by byte, longer ones by the register.
const SHORT: usize = 24;

/// The members of an object, in order; nothing if `raw` is no object.
pub fn fields(raw: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    let mut cursor = Cursor::inside(raw, b'{');
    std::iter::from_fn(move || {
        let key = cursor.string(b'}')?;
        cursor.take(b':')?;
        let value = cursor.value()?;
        Some((unescaped(key), value))
    })
}

/// The elements of an array, in order; nothing if `raw` is no array.
pub fn items(raw: &str) -> impl Iterator<Item = &str> {
    let mut cursor = Cursor::inside(raw, b'[');
    std::iter::from_fn(move || {
        cursor.next_element(b']')?;
        cursor.value()
    })
}

/// A place in a text, inside an object or array.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
    first: bool,
}

impl<'a> Cursor<'a> {
    /// At the start of the container that `text` is; at the end of the text if it is none.
    fn inside(text: &'a str, opening: u8) -> Self {
        let mut cursor = Self { text, at: 0, first: true };
        if cursor.take(opening).is_none() {
            cursor.at = text.len();
        }
        cursor
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is not white space.
    fn solid(&mut self) -> Option<u8> {
        loop {
            match self.peek()? {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.solid()? == wanted).then(|| self.at += 1)
    }

    /// Moves to the next member or element, behind its comma; `None` at the closing bracket.
    fn next_element(&mut self, closing: u8) -> Option<()> {
        if !std::mem::take(&mut self.first) {
            return self.take(b',');
        }
        (self.solid()? != closing).then_some(())
    }

    /// The key of the next member, without quotes.
    fn string(&mut self, closing: u8) -> Option<&'a str> {
        self.next_element(closing)?;
        self.take(b'"')?;
        let start = self.at;
        self.skip_string()?;
        self.text.get(start..self.at - 1)
    }

    /// The raw value that comes next.
    fn value(&mut self) -> Option<&'a str> {
        let byte = self.solid()?;
        let start = self.at;
        match byte {
            b'"' => {
                self.at += 1;
                self.skip_string()?;
            }
            b'{' | b'[' => self.skip_container()?,
            _ => self.skip_scalar(),
        }
        (self.at > start).then(|| self.text.get(start..self.at)).flatten()
    }

    fn skip_scalar(&mut self) {
        while let Some(byte) = self.peek() {
            if matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\t' | b'\r') {
                return;
            }
            self.at += 1;
        }
    }

    /// From behind the opening quote to behind the closing one.
    fn skip_string(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        let near = self.at + SHORT;
        while self.at < near {
            match *bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        loop {
            let rest = bytes.get(self.at..)?;
            let found = memchr::memchr2(b'"', b'\\', rest)?;
            self.at += found + 1;
            if bytes.get(self.at - 1) == Some(&b'"') {
                return Some(());
            }
            self.at += 1;
        }
    }

    /// From the opening bracket to behind the closing one.
    fn skip_container(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => self.skip_string()?,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(());
                    }
                }
                _ => {}
            }
        }
    }
}

/// The text of a string without its quotes, borrowed unless it holds escapes. Half of a surrogate
/// pair, which no text can hold, becomes U+FFFD.
fn unescaped(inner: &str) -> Cow<'_, str> {
    let Some(mut at) = next_escape(inner, 0) else { return Cow::Borrowed(inner) };
    let mut out = String::with_capacity(inner.len());
    let mut rest = 0;
    loop {
        out.push_str(inner.get(rest..at).unwrap_or_default());
        let escape = inner.as_bytes().get(at + 1).copied().unwrap_or(b'\\');
        rest = at + 2;
        match escape {
            b'n' => out.push('\n'),
            b't' => out.push('\t'),
            b'r' => out.push('\r'),
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'u' => {
                let (character, end) = unicode(inner, at);
                out.push(character);
                rest = end;
            }
            other => out.push(char::from(other)),
        }
        match next_escape(inner, rest) {
            Some(next) => at = next,
            None => break,
        }
    }
    out.push_str(inner.get(rest..).unwrap_or_default());
    Cow::Owned(out)
}

fn next_escape(inner: &str, from: usize) -> Option<usize> {
    let rest = inner.as_bytes().get(from..)?;
    memchr::memchr(b'\\', rest).map(|found| from + found)
}

/// The character of the escape `\uXXXX` at `at`, and where it ends; a pair is one character.
fn unicode(inner: &str, at: usize) -> (char, usize) {
    let unit = |at: usize| {
        let digits = inner.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let Some(high) = unit(at) else { return (char::REPLACEMENT_CHARACTER, at + 2) };
    let units = [high, unit(at + 6).unwrap_or(0)];
    match char::decode_utf16(units).next() {
        Some(Ok(character)) => (character, at + 6 * character.len_utf16()),
        _ => (char::REPLACEMENT_CHARACTER, at + 6),
    }
}

/// The member `name` of the object `raw`; the first one, if there are several.
pub fn field<'a>(raw: &'a str, name: &str) -> Option<&'a str> {
    fields(raw).find(|(key, _)| key == name).map(|(_, value)| value)
}

/// A string's text, borrowed unless it holds escapes.
pub fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.trim_ascii().strip_prefix('"')?.strip_suffix('"')?;
    Some(unescaped(inner))
}

/// The text of the member `name`.
pub fn text_field<'a>(raw: &'a str, name: &str) -> Option<Cow<'a, str>> {
    field(raw, name).and_then(text)
}

pub fn boolean(raw: &str) -> Option<bool> {
    match raw.trim_ascii() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A whole number that is not negative; `12.0` and `1e3` count as whole.
pub fn unsigned(raw: &str) -> Option<u64> {
    let raw = raw.trim_ascii();
    raw.parse().ok().or_else(|| {
        let value: f64 = raw.parse().ok()?;
        let whole = value.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&value);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be whole and in range"
        )]
        whole.then_some(value as u64)
    })
}

pub fn is_null(raw: &str) -> bool {
    raw.trim_ascii() == "null"
}

pub fn is_object(raw: &str) -> bool {
    raw.trim_ascii_start().starts_with('{')
}

pub fn is_array(raw: &str) -> bool {
    raw.trim_ascii_start().starts_with('[')
}

pub fn is_string(raw: &str) -> bool {
    raw.trim_ascii_start().starts_with('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_text() {
        let raw = r#" {"b" : {"x":[1, 2]} ,"a":"q\u0041\n","c":1.50} "#;
        let all: Vec<_> = fields(raw).map(|(k, v)| (k.into_owned(), v)).collect();
        assert_eq!(all[0], ("b".to_owned(), r#"{"x":[1, 2]}"#));
        assert_eq!(text(all[1].1).unwrap(), "qA\n");
        assert_eq!(all[2].1, "1.50");
        assert_eq!(items("[1, \"a]\" ,{}]").collect::<Vec<_>>(), ["1", "\"a]\"", "{}"]);
        assert_eq!(field(raw, "c"), Some("1.50"));
    }

    #[test]
    fn other_kinds_are_nothing() {
        assert_eq!(fields("[1]").count(), 0);
        assert_eq!(items("{}").count(), 0);
        assert_eq!(text("12"), None);
        assert_eq!(unsigned("-1"), None);
        assert_eq!(unsigned("64.0"), Some(64));
        assert_eq!(unsigned("64.5"), None);
    }

    #[test]
    fn escapes_are_read_as_serde_reads_them() {
        for raw in [
            r#""a\"b\\c\/d\b\f\n\r\t""#,
            r#""\u0041\u00e9\u20AC\ud834\udd1e!""#,
            r#""\\""#,
            r#""""#,
        ] {
            assert_eq!(text(raw).unwrap(), serde_json::from_str::<String>(raw).unwrap());
        }
        // Half a pair, as a provider sends it that cuts its chunks by UTF-16 units.
        assert_eq!(text(r#""a\ud83d""#).unwrap(), "a\u{fffd}");
        assert_eq!(text(r#""\ud83dx\u0041""#).unwrap(), "\u{fffd}xA");
    }

    fn value() -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
            "[a-z\\\\\"{}\\[\\],:]{0,60}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::vec((any::<String>(), inner), 0..6).prop_map(|members| {
                    serde_json::Value::Object(members.into_iter().collect())
                }),
            ]
        })
    }

    fn check(raw: &str, value: &serde_json::Value) {
        match value {
            serde_json::Value::Object(members) => {
                assert_eq!(fields(raw).count(), members.len());
                for ((name, raw), (key, value)) in fields(raw).zip(members) {
                    assert_eq!(name, *key);
                    check(raw, value);
                }
            }
            serde_json::Value::Array(elements) => {
                assert_eq!(items(raw).count(), elements.len());
                items(raw).zip(elements).for_each(|(raw, value)| check(raw, value));
            }
            serde_json::Value::String(said) => assert_eq!(text(raw).unwrap(), *said),
            other => assert_eq!(raw, other.to_string()),
        }
    }

    proptest::proptest! {
        #[test]
        fn what_serde_writes_is_read(value in value()) {
            check(&value.to_string(), &value);
            check(&serde_json::to_string_pretty(&value).unwrap(), &value);
        }

        #[test]
        fn text_that_is_no_json_ends_early(raw in "[\\[{]?[a\"\\\\:,{}\\[\\] é1]{0,30}") {
            proptest::prop_assert!(fields(&raw).count() <= raw.len());
            proptest::prop_assert!(items(&raw).count() <= raw.len());
            let _ = text(&raw);
        }
    }
}
