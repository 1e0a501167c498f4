//! Errors in each language: read from an upstream, written for a client.
//!
//! In: an upstream's error status and body, or a [`Fault`] of the gateway. Out: the fault, or the
//! body that the client's SDK understands. Never: changes an upstream's message.

use super::Dialect;
use crate::chat::Fault;

/// Reads an upstream's error body; what has no known shape is its own message.
pub fn read(_dialect: Dialect, _status: u16, _body: &[u8]) -> Fault<'static> {
    Fault { kind: crate::chat::ErrorKind::Api, message: "".into(), code: None }
}

/// Writes the error body for a client. `request_id` goes where the language has a place for it.
pub fn write(
    _dialect: Dialect,
    _status: u16,
    _fault: &Fault<'_>,
    _request_id: &str,
    _out: &mut Vec<u8>,
) {
}
