//! stub
use super::Dialect;
use crate::chat::{Fault, Stop, Usage};
use crate::wire::frames::Frame;
/// Stub.
#[derive(Debug, Default)]
pub struct Tap {
    u: Usage,
    end: bool,
}
impl Tap {
    pub fn new(_: Dialect) -> Self {
        Self::default()
    }
    pub fn frame(&mut self, f: Frame<'_>) {
        if f.data == "[DONE]" || f.data.contains("message_stop") {
            self.end = true
        }
    }
    pub fn message(&mut self, _: &str) {}
    pub fn usage(&self) -> &Usage {
        &self.u
    }
    pub fn stop(&self) -> Option<&Stop<'static>> {
        None
    }
    pub fn fault(&self) -> Option<&Fault<'static>> {
        None
    }
    pub fn saw_end(&self) -> bool {
        self.end
    }
}
