//! Changes members of a raw JSON object and leaves every other byte as it was.
//!
//! In: a body that `json_scan` has checked, and the value spans that it found. Out: the same body
//! with values replaced, members removed and members added at the end. Never: re-encodes, reorders
//! or checks JSON; a body that was good JSON stays so if the values given are.

use crate::wire::json_scan::{DEPTH_MAX, Fault, Span, scan};
use crate::wire::json_write;

/// Why a body was left unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// A span does not stand in this body, or is no member's value.
    #[error("the span is no member of this body")]
    NoSuchMember,
    /// Two edits touch the same bytes.
    #[error("two edits overlap")]
    Overlap,
    /// The body is no JSON object.
    #[error("the body is no JSON object")]
    NotAnObject,
    /// The body is no JSON.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// One change of a top-level object. Spans are those of the body before any change.
#[derive(Debug, Clone, Copy)]
pub enum Edit<'a> {
    /// Puts `with` where `value` stands (any value, nested ones too).
    Replace { value: Span, with: &'a [u8] },
    /// Removes the top-level member whose value stands at `value`, with its key and comma.
    Remove { value: Span },
    /// Adds a member behind the last one. The caller knows that there is none of that name.
    Insert { name: &'a str, value: &'a [u8] },
}

/// Replaces the bytes of `span` by `with`, in place, moving only what stands behind.
///
/// # Errors
/// [`Misfit::NoSuchMember`] if the span reaches out of the body.
pub fn replace(body: &mut Vec<u8>, span: Span, with: &[u8]) -> Result<(), Misfit> {
    apply(body, &[Edit::Replace { value: span, with }])
}

/// Removes the top-level member `name`; `false` if there is none.
///
/// # Errors
/// [`Misfit::Fault`] if the body is no JSON object.
pub fn remove_member(body: &mut Vec<u8>, name: &str) -> Result<bool, Misfit> {
    match scan(body, DEPTH_MAX, &[name])? {
        [Some(value)] => apply(body, &[Edit::Remove { value }]).map(|()| true),
        [None] => Ok(false),
    }
}

/// Adds a member at the end, where only the closing brace has to move. The caller knows that there
/// is none of that name.
///
/// # Errors
/// [`Misfit::NotAnObject`] if the body does not look like an object.
pub fn insert_member(body: &mut Vec<u8>, name: &str, raw_value: &[u8]) -> Result<(), Misfit> {
    apply(body, &[Edit::Insert { name, value: raw_value }])
}

/// Makes all changes in one pass: each byte of the body is moved at most once.
///
/// # Errors
/// See [`Misfit`]; the body is unchanged then.
pub fn apply(body: &mut Vec<u8>, edits: &[Edit<'_>]) -> Result<(), Misfit> {
    let (inserted, patches) = plan(body, edits)?;
    let mut grown = body.len();
    for patch in &patches {
        grown = grown + patch.with(&inserted).len() - (patch.span.end - patch.span.start);
    }
    let old_len = body.len();
    body.resize(old_len.max(grown), 0);
    shift_kept(body, old_len, &patches, &inserted);
    let mut behind = Moved::default();
    for patch in &patches {
        let with = patch.with(&inserted);
        let start = behind.of(patch.span.start);
        if let Some(room) = body.get_mut(start..start + with.len()) {
            room.copy_from_slice(with);
        }
        behind.pass(patch.span, with.len());
    }
    body.truncate(grown);
    Ok(())
}

/// A range of the old body, and what takes its place.
#[derive(Debug, Clone, Copy)]
struct Patch<'a> {
    span: Span,
    /// `None` for the members that are added: their text is written once for all.
    with: Option<&'a [u8]>,
}

impl<'a> Patch<'a> {
    fn with<'b>(&self, inserted: &'b [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        self.with.unwrap_or(inserted)
    }
}

/// How far the bytes behind the patches seen so far move.
#[derive(Debug, Default, Clone, Copy)]
struct Moved {
    added: usize,
    removed: usize,
}

impl Moved {
    fn of(self, at: usize) -> usize {
        at + self.added - self.removed
    }

    fn pass(&mut self, span: Span, with: usize) {
        self.added += with;
        self.removed += span.end - span.start;
    }
}

/// Turns edits into patches in the order of the body; the text of all added members beside.
fn plan<'a>(body: &[u8], edits: &[Edit<'a>]) -> Result<(Vec<u8>, Vec<Patch<'a>>), Misfit> {
    let mut patches: Vec<Patch<'a>> = Vec::with_capacity(edits.len() + 1);
    let mut removed: Vec<Span> = Vec::new();
    let mut inserts = edits.iter().filter_map(|edit| match edit {
        Edit::Insert { name, value } => Some((*name, *value)),
        Edit::Replace { .. } | Edit::Remove { .. } => None,
    });
    for edit in edits {
        match *edit {
            Edit::Replace { value, with } => patches.push(Patch { span: value, with: Some(with) }),
            Edit::Remove { value } => removed.push(value),
            Edit::Insert { .. } => {}
        }
    }
    removed.sort_unstable_by_key(|span| span.start);
    // where the members would begin if those removed so far had never been there
    let mut first = None;
    for value in removed {
        let span = with_key_and_comma(body, value, first)?;
        if Some(span.start) == first || first.is_none() && opens(body, span.start) {
            first = Some(span.end);
        }
        patches.push(Patch { span, with: Some(b"") });
    }
    let mut inserted = Vec::new();
    if let Some(insert) = inserts.next() {
        let end = members_end(body)?;
        let mut empty = opens(body, end) || first.is_some_and(|first| closes(body, first));
        for (name, value) in std::iter::once(insert).chain(inserts) {
            if !std::mem::take(&mut empty) {
                inserted.push(b',');
            }
            json_write::string(&mut inserted, name);
            inserted.push(b':');
            inserted.extend_from_slice(value);
        }
        patches.push(Patch { span: Span { start: end, end }, with: None });
    }
    patches.sort_by_key(|patch| (patch.span.start, patch.span.end));
    let mut last = 0;
    for Patch { span, .. } in &patches {
        if span.start > span.end || span.end > body.len() {
            return Err(Misfit::NoSuchMember);
        }
        if span.start < last {
            return Err(Misfit::Overlap);
        }
        last = span.end;
    }
    Ok((inserted, patches))
}

/// Moves the bytes between the patches to where they belong. What moves right is moved last part
/// first, what moves left first part first: so no part is overwritten before it was moved.
fn shift_kept(body: &mut [u8], old_len: usize, patches: &[Patch<'_>], inserted: &[u8]) {
    let mut parts = Vec::with_capacity(patches.len());
    let mut moved = Moved::default();
    for (nth, patch) in patches.iter().enumerate() {
        moved.pass(patch.span, patch.with(inserted).len());
        let end = patches.get(nth + 1).map_or(old_len, |next| next.span.start);
        parts.push((patch.span.end..end, moved.of(patch.span.end)));
    }
    for (part, to) in parts.iter().rev().filter(|(part, to)| *to > part.start) {
        body.copy_within(part.clone(), *to);
    }
    for (part, to) in parts.iter().filter(|(part, to)| *to < part.start) {
        body.copy_within(part.clone(), *to);
    }
}

/// The range to remove so that the member with `value` is gone and the commas are right. `first`
/// is where the first member that is kept so far would begin, if members were removed before it.
fn with_key_and_comma(body: &[u8], value: Span, first: Option<usize>) -> Result<Span, Misfit> {
    let key = key_start(body, value).ok_or(Misfit::NoSuchMember)?;
    if opens(body, key) || first == Some(key) {
        let after = skip_blanks(body, value.end);
        let end = match body.get(after) {
            Some(b',') => skip_blanks(body, after + 1),
            _ => value.end,
        };
        return Ok(Span { start: key, end });
    }
    match body.get(..key).and_then(|before| Some(before.trim_ascii_end().strip_suffix(b",")?.len()))
    {
        Some(comma) if value.end <= body.len() => Ok(Span { start: comma, end: value.end }),
        _ => Err(Misfit::NoSuchMember),
    }
}

/// Where the key of the member with `value` begins: from the colon backward to the quote that no
/// backslash precedes (what precedes an opening quote is a blank, a comma or a brace).
fn key_start(body: &[u8], value: Span) -> Option<usize> {
    let mut before = body.get(..value.start)?.trim_ascii_end().strip_suffix(b":")?;
    before = before.trim_ascii_end().strip_suffix(b"\"")?;
    loop {
        let quote = memchr::memrchr(b'"', before)?;
        before = before.get(..quote)?;
        if before.last() != Some(&b'\\') {
            return Some(quote);
        }
    }
}

/// Whether the members begin at `at`.
fn opens(body: &[u8], at: usize) -> bool {
    body.get(..at).is_some_and(|before| before.trim_ascii() == b"{")
}

/// Whether only the closing brace follows `at`.
fn closes(body: &[u8], at: usize) -> bool {
    body.get(at..).is_some_and(|after| after.trim_ascii() == b"}")
}

/// The end of the last member, or behind the opening brace.
fn members_end(body: &[u8]) -> Result<usize, Misfit> {
    let inner = body.trim_ascii_end().strip_suffix(b"}").ok_or(Misfit::NotAnObject)?;
    if !inner.trim_ascii_start().starts_with(b"{") {
        return Err(Misfit::NotAnObject);
    }
    Ok(inner.trim_ascii_end().len())
}

fn skip_blanks(body: &[u8], at: usize) -> usize {
    let rest = body.get(at..).unwrap_or_default();
    at + rest.len() - rest.trim_ascii_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(body: &str, name: &str) -> Span {
        let [span] = scan(body.as_bytes(), DEPTH_MAX, &[name]).unwrap();
        span.unwrap()
    }

    fn edited(body: &str, edits: &[Edit<'_>]) -> String {
        let mut bytes = body.as_bytes().to_vec();
        apply(&mut bytes, edits).unwrap();
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn removed(body: &str, names: &[&str]) -> String {
        let edits: Vec<_> =
            names.iter().map(|name| Edit::Remove { value: value(body, name) }).collect();
        edited(body, &edits)
    }

    #[test]
    fn a_value_of_any_length_takes_the_place() {
        let body = r#"{"model" : "claude", "stream":true}"#;
        for with in ["\"\"", "\"sonnet\"", "\"claude\"", "\"us.anthropic.claude-sonnet-4-5\""] {
            let mut bytes = body.as_bytes().to_vec();
            replace(&mut bytes, value(body, "model"), with.as_bytes()).unwrap();
            assert_eq!(bytes, body.replace("\"claude\"", with).into_bytes());
        }
    }

    #[test]
    fn a_removed_member_takes_one_comma_along() {
        let body = r#"{ "a" : 1 , "b\"," :[2, 3],"c":{"a":4} }"#;
        assert_eq!(removed(body, &["a"]), r#"{ "b\"," :[2, 3],"c":{"a":4} }"#);
        assert_eq!(removed(body, &["b\","]), r#"{ "a" : 1 ,"c":{"a":4} }"#);
        assert_eq!(removed(body, &["c"]), r#"{ "a" : 1 , "b\"," :[2, 3] }"#);
        assert_eq!(removed(body, &["a", "b\","]), r#"{ "c":{"a":4} }"#);
        assert_eq!(removed(body, &["c", "a"]), r#"{ "b\"," :[2, 3] }"#);
        assert_eq!(removed(body, &["c", "b\","]), r#"{ "a" : 1  }"#);
        assert_eq!(removed(body, &["c", "b\",", "a"]), "{  }");
        assert_eq!(removed(r#"{"only":1}"#, &["only"]), "{}");
    }

    #[test]
    fn members_are_added_behind_the_last() {
        let insert = |name, value: &'static str| Edit::Insert { name, value: value.as_bytes() };
        assert_eq!(edited("{}", &[insert("a", "1")]), r#"{"a":1}"#);
        assert_eq!(
            edited(" { } ", &[insert("a\"", "[]"), insert("b", "2")]),
            " {\"a\\\"\":[],\"b\":2 } "
        );
        assert_eq!(edited("{\"x\":0\n}\n", &[insert("a", "1")]), "{\"x\":0,\"a\":1\n}\n");
        let body = r#"{"x":0, "y":1}"#;
        let all = [
            insert("a", "1"),
            Edit::Remove { value: value(body, "y") },
            Edit::Remove { value: value(body, "x") },
        ];
        assert_eq!(edited(body, &all), r#"{"a":1}"#);
        assert_eq!(edited(body, &all[..2]), r#"{"x":0,"a":1}"#);
    }

    #[test]
    fn edits_of_all_kinds_go_together_in_any_order() {
        let body = r#"{"model":"m","max_tokens":5,"stream":true,"messages":["keep me"],"top_k":3}"#;
        let mut edits = vec![
            Edit::Insert { name: "anthropic_version", value: b"\"bedrock-2023-05-31\"" },
            Edit::Remove { value: value(body, "stream") },
            Edit::Replace { value: value(body, "model"), with: b"\"a much longer model name\"" },
            Edit::Replace { value: value(body, "top_k"), with: b"40" },
            Edit::Remove { value: value(body, "max_tokens") },
        ];
        for _ in 0..edits.len() {
            edits.rotate_left(1);
            assert_eq!(
                edited(body, &edits),
                r#"{"model":"a much longer model name","messages":["keep me"],"top_k":40,"anthropic_version":"bedrock-2023-05-31"}"#
            );
        }
    }

    #[test]
    fn named_members_come_and_go() {
        let mut body = br#"{"stream":true,"x":1}"#.to_vec();
        assert_eq!(remove_member(&mut body, "stream"), Ok(true));
        assert_eq!(remove_member(&mut body, "stream"), Ok(false));
        insert_member(&mut body, "y", b"null").unwrap();
        assert_eq!(body, br#"{"x":1,"y":null}"#);
    }

    #[test]
    fn what_does_not_fit_leaves_the_body_alone() {
        let body = br#"{"a":[1,2],"b":3}"#;
        let span = |start, end| Span { start, end };
        let replace = |start, end| Edit::Replace { value: span(start, end), with: b"0" };
        let cases: [(&[Edit<'_>], Misfit); 7] = [
            (&[replace(5, 99)], Misfit::NoSuchMember),
            (&[replace(7, 6)], Misfit::NoSuchMember),
            (&[replace(5, 10), replace(6, 7)], Misfit::Overlap),
            (&[Edit::Remove { value: span(5, 10) }, replace(6, 7)], Misfit::Overlap),
            (&[Edit::Remove { value: span(15, 16) }, replace(15, 16)], Misfit::Overlap),
            (&[Edit::Remove { value: span(8, 9) }], Misfit::NoSuchMember),
            (&[Edit::Remove { value: span(90, 99) }], Misfit::NoSuchMember),
        ];
        for (edits, misfit) in cases {
            let mut bytes = body.to_vec();
            assert_eq!(apply(&mut bytes, edits), Err(misfit), "{edits:?}");
            assert_eq!(bytes, body);
        }
        for text in ["[1]", "", "{", "}", "1}"] {
            let mut bytes = text.as_bytes().to_vec();
            assert_eq!(insert_member(&mut bytes, "a", b"1"), Err(Misfit::NotAnObject), "{text}");
        }
    }
}
