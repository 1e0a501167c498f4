//! Tools that the vendor itself runs, where another vendor has one that does the same.
//!
//! In: a hosted tool in the words of one language. Out: what it is. Only the search of the web is
//! the same enough everywhere; its options are the vendor's own and are left out, reported.
//! Never: takes a function of the client's for one.

use crate::chat::{Dialect, Loss, Place, Reason, Request, Tool};

/// Chat Completions ask for the search by a member of the body, not by a tool.
pub(super) const CHAT_SEARCH: &str = "web_search_options";

/// Where another vendor's web search was asked for; it is reported to be said in other words.
/// `None` if none was, or if a function of the client's has its name.
pub(super) fn web_search(request: &Request<'_>, loss: &mut Loss) -> Option<Place> {
    let named = |tool: &Tool<'_>| matches!(tool, Tool::Function(f) if f.name == "web_search");
    if request.tools.iter().any(named) {
        return None;
    }
    let hosted = request.tools.iter().find_map(|tool| match tool {
        Tool::Hosted { place, kind, .. } if is_web_search(kind) => Some(*place),
        Tool::Hosted { .. } | Tool::Function(_) => None,
    });
    let asked = request.extra(Dialect::OpenAiChat, CHAT_SEARCH);
    let place = hosted.or_else(|| asked.map(|_| Place::field(CHAT_SEARCH)))?;
    loss.push(place, Reason::Approximated);
    Some(place)
}

fn is_web_search(kind: &str) -> bool {
    kind.starts_with("web_search") || matches!(kind, "googleSearch" | "google_search")
}
