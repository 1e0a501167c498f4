//! Citations of web pages, between the forms of the vendors.
//!
//! In: one raw citation or annotation. Out: the same page in another form. A citation of a place
//! in a document has no form elsewhere and is left out; the text it belongs to stays.
//! Never: invents a page.

use crate::wire::json_read;
use crate::wire::json_write::Object;
use std::borrow::Cow;

/// A cited page.
#[derive(Debug, Default)]
pub(super) struct Page<'a> {
    pub(super) url: Cow<'a, str>,
    pub(super) title: Cow<'a, str>,
    pub(super) cited: Option<Cow<'a, str>>,
}

/// The page that a citation of Anthropic's or an annotation of OpenAI's (Chat and Responses) names.
pub(super) fn page_of(raw: &str) -> Option<Page<'_>> {
    let inner = json_read::field(raw, "url_citation").unwrap_or(raw);
    let mut page = Page::default();
    for (name, value) in json_read::fields(inner) {
        match name.as_ref() {
            "url" => page.url = json_read::text(value).unwrap_or_default(),
            "title" => page.title = json_read::text(value).unwrap_or_default(),
            "cited_text" | "content" => page.cited = json_read::text(value),
            _ => {}
        }
    }
    (!page.url.is_empty()).then_some(page)
}

/// As Anthropic's citation; one that is in this form already stays as it is.
pub(super) fn to_anthropic(raw: &str) -> Option<Cow<'_, str>> {
    let kind = json_read::text_field(raw, "type").unwrap_or_default();
    if kind.ends_with("_location") {
        return Some(Cow::Borrowed(raw));
    }
    let page = page_of(raw)?;
    let mut out = Vec::new();
    let mut object = Object::begin(&mut out);
    object.text("type", "web_search_result_location");
    object.text("cited_text", page.cited.as_deref().unwrap_or(""));
    object.text("url", &page.url).text("title", &page.title).text("encrypted_index", "");
    object.end();
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// As an annotation of OpenAI Chat on the characters `from..to` of the answer. `index` is its
/// place in the list, which the SDKs' accumulators want in a stream.
pub(super) fn to_openai_chat(
    page: &Page<'_>,
    range: (u64, u64),
    index: Option<u64>,
    out: &mut Vec<u8>,
) {
    let mut object = Object::begin(out);
    if let Some(index) = index {
        object.unsigned("index", index);
    }
    object.text("type", "url_citation");
    let mut inner = object.object("url_citation");
    inner.unsigned("start_index", range.0).unsigned("end_index", range.1);
    inner.text("url", &page.url).text("title", &page.title);
    if let Some(cited) = page.cited.as_deref().filter(|cited| !cited.is_empty()) {
        inner.text("content", cited);
    }
    inner.end();
    object.end();
}
