//! A request's body that is handed on as it comes: how much of it is still to come.
//!
//! In: the bytes of a connection behind a request's head. Out: payload, and nothing of the next
//! request. Never: holds more than it was given; takes more than the limit.

use super::client_conn::TOO_LARGE;
use crate::wire::http1::{BodyKind, Chunked, Refusal, RequestHead};

/// Bodies up to this size are always received as a whole.
const STREAM_MIN: u64 = 64 * 1024;

/// Why the rest of a body does not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyFault {
    /// The client closed or reset its connection.
    Gone,
    /// Nothing came for too long.
    Late,
    /// It is too large, or its framing is broken.
    Refused(Refusal),
}

/// What of a body is still to come.
#[derive(Debug, Default)]
pub(super) enum Body {
    #[default]
    Over,
    /// So many bytes.
    Length(usize),
    /// Chunks, of which so many bytes of payload are allowed.
    Chunks(Chunked, usize),
}

impl Body {
    /// Whether a body is large enough to be handed on as it comes, with `here` bytes of it received.
    pub(super) fn is_large(head: &RequestHead, here: usize) -> bool {
        match head.body {
            BodyKind::Length(length) => length > STREAM_MIN && length > here as u64,
            BodyKind::Chunked => true,
            BodyKind::None | BodyKind::UntilClose => false,
        }
    }

    /// The body behind a head, none of it taken.
    ///
    /// # Errors
    /// 413 for one that says it is larger than `max`.
    pub(super) fn of(head: &RequestHead, max: usize) -> Result<Self, Refusal> {
        match head.body {
            BodyKind::Length(length) => match usize::try_from(length) {
                Ok(length) if length <= max => Ok(Self::Length(length)),
                _ => Err(too_large()),
            },
            BodyKind::Chunked => Ok(Self::Chunks(Chunked::default(), max)),
            BodyKind::None | BodyKind::UntilClose => Ok(Self::Over),
        }
    }

    /// How the rest would be framed as a body of its own.
    pub(super) fn kind(&self) -> BodyKind {
        match self {
            Self::Over => BodyKind::None,
            Self::Length(left) => BodyKind::Length(*left as u64),
            Self::Chunks(..) => BodyKind::Chunked,
        }
    }

    /// Moves the payload that stands in `buf` behind `piece`; what is left in `buf` is the next
    /// request's.
    ///
    /// # Errors
    /// 400 for broken chunks, 413 for too many.
    pub(super) fn take(&mut self, buf: &mut Vec<u8>, piece: &mut Vec<u8>) -> Result<(), Refusal> {
        let (payload, used) = match self {
            Self::Over => return Ok(()),
            Self::Length(left) => {
                let take = buf.len().min(*left);
                *left -= take;
                if *left == 0 {
                    *self = Self::Over;
                }
                (take, take)
            }
            Self::Chunks(chunks, room) => {
                let progress = chunks.decode(buf)?;
                *room = room.checked_sub(progress.produced).ok_or_else(too_large)?;
                if progress.done {
                    *self = Self::Over;
                }
                (progress.produced, progress.consumed)
            }
        };
        piece.extend_from_slice(buf.get(..payload).unwrap_or_default());
        buf.drain(..used.min(buf.len()));
        Ok(())
    }
}

fn too_large() -> Refusal {
    Refusal { status: 413, reason: TOO_LARGE, close: true }
}
