//! What is written to a client, kept for the log: up to a size, and within its worker's allowance.
//!
//! In: bytes on their way to a client. Out: the same bytes, or as many as there was room for. Never:
//! lets the copies of all open streams together grow beyond what their worker has for them.

use std::cell::Cell;
use std::rc::Rc;

/// What the copies of one worker may still take, in bytes.
pub type Allowance = Rc<Cell<usize>>;

/// One answer's copy. What it took of the allowance it gives back when it ends.
#[derive(Debug)]
pub struct Copy {
    bytes: Vec<u8>,
    cut: bool,
    max: usize,
    taken: usize,
    allowance: Allowance,
}

impl Copy {
    /// Of at most `max` bytes.
    pub fn new(max: usize, allowance: &Allowance) -> Self {
        Self { bytes: Vec::new(), cut: false, max, taken: 0, allowance: Rc::clone(allowance) }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        let room = if self.cut { 0 } else { self.max - self.bytes.len() };
        let kept = bytes.get(..room).unwrap_or(bytes);
        let missing = (self.bytes.len() + kept.len()).saturating_sub(self.bytes.capacity());
        if missing > self.allowance.get() {
            self.cut = true;
            return;
        }
        self.bytes.extend_from_slice(kept);
        self.cut |= kept.len() < bytes.len();
        let grown = self.bytes.capacity() - self.taken;
        self.allowance.set(self.allowance.get().saturating_sub(grown));
        self.taken += grown;
    }

    /// The bytes, and whether there were more.
    pub fn into_bytes(mut self) -> (Vec<u8>, bool) {
        (std::mem::take(&mut self.bytes), self.cut)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.allowance.set(self.allowance.get().saturating_add(self.taken));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stay_within_their_size_and_their_workers_allowance() {
        let allowance = Rc::new(Cell::new(100));
        let mut one = Copy::new(60, &allowance);
        one.take(&[1; 40]);
        one.take(&[2; 40]);
        let mut two = Copy::new(60, &allowance);
        two.take(&[3; 60]);
        assert!(allowance.get() < 60);
        let (bytes, cut) = one.into_bytes();
        assert_eq!((bytes.len(), cut), (60, true));
        assert_eq!(two.into_bytes(), (Vec::new(), true), "no room left");
        assert_eq!(allowance.get(), 100, "all of it is back");
    }
}
