//! What could not be said in the other language, and why: lossless or loud.
//!
//! In: a JSON path in the client's own terms and a reason, from decoders and encoders of requests.
//! Out: the value of `x-bf-dropped`, the names of a strict refusal, the counters.
//! Never: swallows an entry; the same path is listed once.

use std::fmt::Display;

/// Why a field was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The upstream's language has no word for it.
    Unsupported,
    /// It has one, but this value cannot be said (a range, an enum member).
    Value,
    /// Sealed data of another vendor.
    Foreign,
    /// It was said in another, weaker form.
    Approximated,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// JSON path in the client's body: `messages[3].content[1].cache_control`.
    pub path: String,
    pub reason: Reason,
}

/// The list of all that was lost on the way of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    entries: Vec<Lost>,
}

impl Loss {
    pub fn push(&mut self, path: impl Display, reason: Reason) {
        let path = path.to_string();
        if !self.entries.iter().any(|lost| lost.path == path) {
            self.entries.push(Lost { path, reason });
        }
    }
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    pub fn entries(&self) -> &[Lost] {
        &self.entries
    }
    /// The paths separated by commas; bytes that a header value cannot hold become `?`.
    pub fn header_value(&self) -> String {
        let mut value = String::new();
        for lost in &self.entries {
            if !value.is_empty() {
                value.push(',');
            }
            value.extend(
                lost.path.chars().map(|c| if c.is_ascii_graphic() && c != ',' { c } else { '?' }),
            );
        }
        value
    }
}
