//! Reads JSON by borrowed slices, one level at a time, with sonic-rs underneath.
//!
//! In: text that `json_scan` has validated once (syntax and depth). Out: raw slices of its
//! members, and scalars. Never: builds a tree, or recurses deeper than the caller does. On text
//! that is not JSON the iterators end early and the scalars are `None`.

use std::borrow::Cow;

/// The members of an object, in order; nothing if `raw` is no object.
pub fn fields(raw: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    let raw = raw.trim_ascii();
    let object = raw.starts_with('{').then(|| sonic_rs::to_object_iter(raw));
    object.into_iter().flatten().map_while(|member| {
        let (name, value) = member.ok()?;
        Some((name, borrowed(value.as_raw_cow())?))
    })
}

/// The elements of an array, in order; nothing if `raw` is no array.
pub fn items(raw: &str) -> impl Iterator<Item = &str> {
    let raw = raw.trim_ascii();
    let array = raw.starts_with('[').then(|| sonic_rs::to_array_iter(raw));
    array.into_iter().flatten().map_while(|value| borrowed(value.ok()?.as_raw_cow()))
}

/// The member `name` of the object `raw`; the first one, if there are several.
pub fn field<'a>(raw: &'a str, name: &str) -> Option<&'a str> {
    fields(raw).find(|(key, _)| key == name).map(|(_, value)| value)
}

/// A string's text, borrowed unless it holds escapes.
pub fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.trim_ascii().strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    sonic_rs::from_str::<String>(raw).ok().map(Cow::Owned)
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

fn borrowed<'a>(raw: Cow<'a, str>) -> Option<&'a str> {
    match raw {
        Cow::Borrowed(raw) => Some(raw.trim_ascii()),
        Cow::Owned(_) => None,
    }
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
}
