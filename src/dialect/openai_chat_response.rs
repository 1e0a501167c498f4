//! OpenAI Chat answers.

use super::Reply;
use crate::chat::{Event, Folded, Sink};
use crate::wire::frames::{Frame, Frames};

#[derive(Debug, Default)]
pub struct Decoder {}

impl Decoder {
    pub(super) fn frame(&mut self, _frame: Frame<'_>, _out: Sink<'_>) {}
}

pub(super) fn decode_message(_body: &str, _out: Sink<'_>) {}

#[derive(Debug)]
pub struct Encoder {}

impl Encoder {
    pub(super) fn new(_reply: Reply) -> Self {
        Self {}
    }
    pub(super) fn event(&mut self, _event: &Event<'_>, _out: &mut Frames) {}
}

pub(super) fn encode_message(_message: &Folded, _reply: &Reply, _out: &mut Vec<u8>) {}
