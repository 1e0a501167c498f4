//! Members of a client's body that must be of a certain kind.
//!
//! In: a raw value and its JSON path. Out: the value, or what it must be. Never: guesses.

use super::Malformed;
use crate::wire::json_read;
use crate::wire::json_scan;
use std::borrow::Cow;
use std::fmt::Display;

pub(super) fn object(
    path: impl Display,
    raw: &str,
) -> Result<impl Iterator<Item = (Cow<'_, str>, &str)>, Malformed> {
    if json_read::is_object(raw) {
        Ok(json_read::fields(raw))
    } else {
        Err(Malformed::at(path, "must be an object"))
    }
}

pub(super) fn list(path: impl Display, raw: &str) -> Result<impl Iterator<Item = &str>, Malformed> {
    if json_read::is_array(raw) {
        Ok(json_read::items(raw))
    } else {
        Err(Malformed::at(path, "must be an array"))
    }
}

pub(super) fn text(path: impl Display, raw: &str) -> Result<Cow<'_, str>, Malformed> {
    json_read::text(raw).ok_or_else(|| Malformed::at(path, "must be a string"))
}

pub(super) fn boolean(path: impl Display, raw: &str) -> Result<bool, Malformed> {
    json_read::boolean(raw).ok_or_else(|| Malformed::at(path, "must be true or false"))
}

pub(super) fn count(path: impl Display, raw: &str) -> Result<u64, Malformed> {
    json_read::unsigned(raw).ok_or_else(|| Malformed::at(path, "must be a whole number"))
}

pub(super) fn present<T>(path: impl Display, value: Option<T>) -> Result<T, Malformed> {
    value.ok_or_else(|| Malformed::at(path, "is required"))
}

/// Whether a text is one JSON value of bounded depth.
pub(super) fn is_json(text: &str) -> bool {
    json_scan::validate(text.as_bytes(), json_scan::DEPTH_MAX).is_ok()
}
