//! Read buffers of one worker, used again while they are still warm in its cache.
//!
//! In: buffers that have served. Out: empty ones of the same size. Never: keeps more than
//! [`SPARE_MAX`], or one that has grown.

use std::cell::RefCell;

/// Buffers kept; a burst beyond that goes back to the allocator.
const SPARE_MAX: usize = 128;

/// Spare buffers, the one used last on top.
#[derive(Debug)]
pub struct Buffers {
    size: usize,
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// For buffers of at least `size` bytes.
    pub fn new(size: usize) -> Self {
        Self { size, spare: RefCell::default() }
    }

    /// An empty buffer.
    pub fn take(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(self.size))
    }

    /// Takes a buffer back.
    pub fn give(&self, mut buf: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX && (self.size..=self.size * 2).contains(&buf.capacity()) {
            buf.clear();
            spare.push(buf);
        }
    }
}
