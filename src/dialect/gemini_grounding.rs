//! The web pages that an answer rests on: Gemini's `groundingMetadata` and `citationMetadata`.
//!
//! In: a candidate's metadata, or citations of any vendor. Out: one citation for each page in the
//! form that [`citations`] reads, or `groundingMetadata`. Never: invents a page; what Gemini says
//! beyond pages (the search widget, confidence) has no form elsewhere.

use super::citations::{self, Page};
use super::gemini_request::{camel, members};
use crate::wire::json_read;
use crate::wire::json_write::Object;
use std::borrow::Cow;

/// The pages named so far; each is named once.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pages: Vec<(String, String)>,
}

impl Pages {
    /// Takes a citation of any vendor; `false` for no page, or one that is known already.
    pub(super) fn cite(&mut self, raw: &str) -> bool {
        citations::page_of(raw).is_some_and(|page| self.add(page))
    }

    fn add(&mut self, page: Page<'_>) -> bool {
        let new = !self.pages.iter().any(|(url, _)| *url == page.url);
        if new {
            self.pages.push((page.url.into_owned(), page.title.into_owned()));
        }
        new
    }

    /// Writes `groundingMetadata`, if there is a page.
    pub(super) fn write(&self, candidate: &mut Object<'_>) {
        if self.pages.is_empty() {
            return;
        }
        let mut metadata = candidate.object("groundingMetadata");
        let mut chunks = metadata.array("groundingChunks");
        for (url, title) in &self.pages {
            let mut chunk = chunks.object();
            let mut web = chunk.object("web");
            web.text("uri", url);
            if !title.is_empty() {
                web.text("title", title);
            }
            web.end();
            chunk.end();
        }
        chunks.end();
        metadata.end();
    }

    /// Reads a candidate's metadata; says a citation for each page that is new.
    pub(super) fn read(&mut self, metadata: &str, said: &mut dyn FnMut(&str)) {
        for (name, list) in members(metadata) {
            if !matches!(&*camel(&name), "groundingChunks" | "citationSources" | "citations") {
                continue;
            }
            for raw in json_read::items(list) {
                let Some(page) = page(raw) else { continue };
                let mut citation = Vec::new();
                let mut object = Object::begin(&mut citation);
                object.text("url", &page.url).text("title", &page.title);
                object.end();
                if let (true, Ok(citation)) = (self.add(page), std::str::from_utf8(&citation)) {
                    said(citation);
                }
            }
        }
    }
}

/// The page of a grounding chunk (`web`, `retrievedContext`, `maps`) or of a citation source.
fn page(raw: &str) -> Option<Page<'_>> {
    let inner = members(raw).find(|(_, value)| json_read::is_object(value));
    let mut page = Page::default();
    for (name, value) in members(inner.map_or(raw, |(_, inner)| inner)) {
        match &*name {
            "uri" => page.url = json_read::text(value).unwrap_or_default(),
            "title" => page.title = json_read::text(value).unwrap_or(Cow::Borrowed("")),
            _ => {}
        }
    }
    (!page.url.is_empty()).then_some(page)
}
