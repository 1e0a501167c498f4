//! Citations, between Converse's form and Anthropic's.
//!
//! In: one raw citation. Out: the same in the other form. The hub passes on what Claude cites in
//! Anthropic's form, of which Converse's is a translation. Never: drops one whose location it does
//! not know: title and quoted text are said.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Citation.html>

use crate::chat::Raw;
use crate::wire::json_read;
use crate::wire::json_write::Object;

/// Anthropic's type, Converse's name, and the keys of index, start and end in both.
struct Location {
    anthropic: &'static str,
    bedrock: &'static str,
    keys: [(&'static str, &'static str); 3],
}

const LOCATIONS: [Location; 4] = [
    Location {
        anthropic: "char_location",
        bedrock: "documentChar",
        keys: [
            ("document_index", "documentIndex"),
            ("start_char_index", "start"),
            ("end_char_index", "end"),
        ],
    },
    Location {
        anthropic: "page_location",
        bedrock: "documentPage",
        keys: [
            ("document_index", "documentIndex"),
            ("start_page_number", "start"),
            ("end_page_number", "end"),
        ],
    },
    Location {
        anthropic: "content_block_location",
        bedrock: "documentChunk",
        keys: [
            ("document_index", "documentIndex"),
            ("start_block_index", "start"),
            ("end_block_index", "end"),
        ],
    },
    Location {
        anthropic: "search_result_location",
        bedrock: "searchResultLocation",
        keys: [
            ("search_result_index", "searchResultIndex"),
            ("start_block_index", "start"),
            ("end_block_index", "end"),
        ],
    },
];

/// Converse's citation in Anthropic's form.
pub(super) fn decode(raw: Raw<'_>, out: &mut Vec<u8>) {
    let mut quoted = String::new();
    for piece in json_read::items(json_read::field(raw, "sourceContent").unwrap_or_default()) {
        quoted.push_str(&json_read::text_field(piece, "text").unwrap_or_default());
    }
    let title = json_read::text_field(raw, "title");
    let place = json_read::field(raw, "location").unwrap_or_default();
    let mut object = Object::begin(out);
    if let Some(web) = json_read::field(place, "web") {
        object.text("type", "web_search_result_location").text("cited_text", &quoted);
        object.text("url", &json_read::text_field(web, "url").unwrap_or_default());
        object.text("title", title.as_deref().unwrap_or_default()).text("encrypted_index", "");
        object.end();
        return;
    }
    let found =
        LOCATIONS.iter().find_map(|known| Some((known, json_read::field(place, known.bedrock)?)));
    let Some((known, place)) = found else {
        object.text("type", "char_location").text("cited_text", &quoted);
        object.unsigned("document_index", 0);
        match title {
            Some(title) => object.text("document_title", &title),
            None => object.null("document_title"),
        };
        object.unsigned("start_char_index", 0).unsigned("end_char_index", 0);
        object.end();
        return;
    };
    object.text("type", known.anthropic).text("cited_text", &quoted);
    let search = known.bedrock == "searchResultLocation";
    if search {
        object.text("source", &json_read::text_field(raw, "source").unwrap_or_default());
    }
    match title {
        Some(title) => object.text(if search { "title" } else { "document_title" }, &title),
        None => object.null(if search { "title" } else { "document_title" }),
    };
    for (ours, theirs) in known.keys {
        let count = json_read::field(place, theirs).and_then(json_read::unsigned).unwrap_or(0);
        object.unsigned(ours, count);
    }
    object.end();
}

/// A citation of Anthropic's or a web annotation of OpenAI's in Converse's form; one that is
/// already in it is passed on.
pub(super) fn encode(raw: Raw<'_>, out: &mut Vec<u8>) {
    let kind = json_read::text_field(raw, "type");
    let Some(kind) = kind else {
        out.extend_from_slice(raw.as_bytes());
        return;
    };
    // OpenAI Chat nests the annotation, Responses do not.
    let inner = json_read::field(raw, &kind).unwrap_or(raw);
    let text = |name| json_read::text_field(inner, name);
    let mut object = Object::begin(out);
    if let Some(title) = text("document_title").or_else(|| text("title")) {
        object.text("title", &title);
    }
    if let Some(source) = text("source") {
        object.text("source", &source);
    }
    if let Some(quoted) = text("cited_text") {
        let mut content = object.array("sourceContent");
        let mut piece = content.object();
        piece.text("text", &quoted);
        piece.end();
        content.end();
    }
    if let Some(known) = LOCATIONS.iter().find(|known| known.anthropic == kind) {
        let mut location = object.object("location");
        let mut place = location.object(known.bedrock);
        for (ours, theirs) in known.keys {
            if let Some(count) = json_read::field(inner, ours).and_then(json_read::unsigned) {
                place.unsigned(theirs, count);
            }
        }
        place.end();
        location.end();
    } else if let Some(url) = text("url") {
        let mut location = object.object("location");
        let mut web = location.object("web");
        web.text("url", &url);
        web.end();
        location.end();
    }
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_survive_both_ways() {
        for bedrock in [
            r#"{"title":"A \"b\"","sourceContent":[{"text":"q"}],"location":{"documentChar":{"documentIndex":1,"start":2,"end":3}}}"#,
            r#"{"title":"A","sourceContent":[{"text":"q"}],"location":{"documentPage":{"documentIndex":1,"start":2,"end":3}}}"#,
            r#"{"title":"A","source":"s","sourceContent":[{"text":"q"}],"location":{"searchResultLocation":{"searchResultIndex":1,"start":2,"end":3}}}"#,
            r#"{"title":"A","sourceContent":[{"text":"q"}],"location":{"web":{"url":"https://x.y"}}}"#,
        ] {
            let (mut anthropic, mut back) = (Vec::new(), Vec::new());
            decode(bedrock, &mut anthropic);
            encode(std::str::from_utf8(&anthropic).unwrap(), &mut back);
            assert_eq!(std::str::from_utf8(&back).unwrap(), bedrock);
        }
    }

    #[test]
    fn annotations_become_web_citations() {
        let mut out = Vec::new();
        let raw = r#"{"type":"url_citation","url_citation":{"url":"https://x.y","title":"T"}}"#;
        encode(raw, &mut out);
        assert_eq!(out, br#"{"title":"T","location":{"web":{"url":"https://x.y"}}}"#);
    }
}
