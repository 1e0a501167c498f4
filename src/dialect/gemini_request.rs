//! Gemini requests.

use super::{Malformed, Manner};
use crate::chat::{Loss, Request};

pub(super) fn decode<'a>(_body: &'a str, _loss: &mut Loss) -> Result<Request<'a>, Malformed> {
    Err(Malformed::at("", "not written"))
}

pub(super) fn encode(
    _request: &Request<'_>,
    _manner: &Manner,
    _out: &mut Vec<u8>,
    _loss: &mut Loss,
) -> Result<(), Malformed> {
    Err(Malformed::at("", "not written"))
}
