//! One counter that every core spends from, exact without a lock.
//!
//! Window and value stand in one 128-bit word, so that a reset and a spend that race are ordered by
//! the hardware: a compare-and-swap that saw the old window fails. The upper half is the tag of the
//! window (its start in milliseconds, shifted by 8, and a generation that a manual reset raises);
//! the lower half is what was used in it, reservations included. Whoever comes first in a new
//! window resets; the tag only ever grows.
//!
//! In: the start of the window that now lies in, an amount, a limit. Out: a [`Held`] to settle
//! with, or the usage that stood in the way. Never: reads a clock, waits, or knows what it counts.

use portable_atomic::AtomicU128;
use std::sync::atomic::{AtomicU64, Ordering};

/// Unit: whatever the limit counts (nano-dollars, tokens, requests).
#[derive(Debug)]
#[repr(align(64))] // a line of its own: cores that spend from neighbours must not slow one another
pub struct Counter {
    word: AtomicU128,
    /// Tag and value up to which the journal already counts this counter as used.
    journaled: AtomicU128,
    /// What may be used in a window that the journal has not seen yet.
    headroom: AtomicU64,
    /// The largest amount that did not fit below the journal's bound, since it was last asked for.
    wanted: AtomicU64,
}

/// A reservation: the window it was made in, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    tag: u64,
    pub amount: u64,
}

impl Held {
    /// Start of the window that it was reserved in.
    pub fn start(self) -> i64 {
        standing_of(self.tag, 0).start
    }
}

/// Why an amount was not reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Short {
    /// It does not fit below the limit beside what is used.
    Full { used: u64 },
    /// It fits, but the journal must first be told, or a crash would forget it.
    Unjournaled,
}

/// What stands in the counter: the journal's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// When the window began, in Unix milliseconds.
    pub start: i64,
    /// Of the window; raised by a manual reset.
    pub generation: u8,
    pub used: u64,
}

impl Default for Counter {
    fn default() -> Self {
        Self {
            word: AtomicU128::new(0),
            journaled: AtomicU128::new(0),
            headroom: AtomicU64::new(u64::MAX),
            wanted: AtomicU64::new(0),
        }
    }
}

fn tag_of(start: i64) -> u64 {
    u64::try_from(start).unwrap_or(0) << 8
}

fn pack(tag: u64, used: u64) -> u128 {
    u128::from(tag) << 64 | u128::from(used)
}

fn unpack(word: u128) -> (u64, u64) {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the word")]
    let halves = ((word >> 64) as u64, word as u64);
    halves
}

/// The word as it counts in the window that begins at `tag`: emptied if it is of an older one.
fn current(word: u128, tag: u64) -> (u64, u64) {
    let (stored, used) = unpack(word);
    if stored >> 8 < tag >> 8 { (tag, 0) } else { (stored, used) }
}

impl Counter {
    /// With the usage that a journal kept, in the window that begins at `start`.
    pub fn starting(start: i64, used: u64) -> Self {
        Self { word: AtomicU128::new(pack(tag_of(start), used)), ..Self::default() }
    }

    /// What is used, reservations included, in the window that begins at `start`.
    pub fn used(&self, start: i64) -> u64 {
        current(self.word.load(Ordering::Acquire), tag_of(start)).1
    }

    pub fn standing(&self) -> Standing {
        let (tag, used) = unpack(self.word.load(Ordering::Acquire));
        standing_of(tag, used)
    }

    /// Takes `amount` if it fits below `limit`, at once and for all cores. The journal's bound is
    /// kept only where `durable`.
    pub fn reserve(
        &self,
        start: i64,
        amount: u64,
        limit: u64,
        durable: bool,
    ) -> Result<Held, Short> {
        let tag = tag_of(start);
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let (tag, used) = current(seen, tag);
            let next = match used.checked_add(amount) {
                Some(next) if next <= limit => next,
                _ => return Err(Short::Full { used }),
            };
            if durable && next > self.durable_bound(tag) {
                self.wanted.fetch_max(amount, Ordering::Relaxed);
                return Err(Short::Unjournaled);
            }
            match self.swap(seen, pack(tag, next)) {
                // Looked at twice: `propose` may have lowered the bound in between.
                Ok(()) if durable && next > self.durable_bound(tag) => {
                    self.release(Held { tag, amount });
                    self.wanted.fetch_max(amount, Ordering::Relaxed);
                    return Err(Short::Unjournaled);
                }
                Ok(()) => return Ok(Held { tag, amount }),
                Err(now) => seen = now,
            }
        }
    }

    /// Adds what was spent, whatever the limit.
    pub fn charge(&self, start: i64, amount: u64) {
        let tag = tag_of(start);
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let (tag, used) = current(seen, tag);
            match self.swap(seen, pack(tag, used.saturating_add(amount))) {
                Ok(()) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Puts `actual` in the place of what was held. A window that has ended meanwhile took the
    /// reservation with it: the new one owes nothing for it.
    pub fn settle(&self, held: Held, actual: u64) {
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let (tag, used) = unpack(seen);
            if tag != held.tag || held.amount == actual {
                return;
            }
            let next = used.saturating_sub(held.amount).saturating_add(actual);
            match self.swap(seen, pack(tag, next)) {
                Ok(()) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Gives back what was held.
    pub fn release(&self, held: Held) {
        self.settle(held, 0);
    }

    /// Sets usage to nothing and leaves the window as it is. Reservations made before are
    /// forgotten with it.
    pub fn clear(&self) {
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let (tag, _) = unpack(seen);
            // After 255 resets in one window the start moves on by a millisecond.
            match self.swap(seen, pack(tag + 1, 0)) {
                Ok(()) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Lets the same usage count in the window that begins at `start`, if that is later.
    pub fn move_forward(&self, start: i64) {
        let tag = tag_of(start);
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let (stored, used) = unpack(seen);
            if stored >> 8 >= tag >> 8 {
                return;
            }
            match self.swap(seen, pack(tag, used)) {
                Ok(()) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// What the journal is going to be told: how the counter stands, and up to where it may be
    /// spent then, which is `lease` above. Where that is less than before, it is in force at once:
    /// nobody may pass a mark that is being written. For the control thread alone.
    pub fn propose(&self, lease: u64) -> (Standing, u64) {
        loop {
            let (tag, used) = unpack(self.word.load(Ordering::SeqCst));
            let mark = used.saturating_add(lease);
            let (known, before) = unpack(self.journaled.load(Ordering::SeqCst));
            if known != tag || before <= mark {
                return (standing_of(tag, used), mark);
            }
            self.journaled.store(pack(tag, mark), Ordering::SeqCst);
            // Whoever reserved beside this has seen the new bound, or is seen here.
            let (still, used) = unpack(self.word.load(Ordering::SeqCst));
            if still == tag {
                return (standing_of(tag, used), mark.max(used));
            }
        }
    }

    /// The journal now counts `mark` as used in the window of `at`: so much may be reserved; and
    /// `headroom` in a window that it knows nothing of. Only the control thread calls it, after
    /// both were made durable.
    pub fn journaled(&self, at: Standing, mark: u64, headroom: u64) {
        let tag = tag_of(at.start) | u64::from(at.generation);
        self.journaled.store(pack(tag, mark), Ordering::SeqCst);
        self.headroom.store(headroom, Ordering::SeqCst);
    }

    /// The largest amount since the last call that the journal's bound kept out; 0 for none.
    pub fn take_wanted(&self) -> u64 {
        self.wanted.swap(0, Ordering::Relaxed)
    }

    fn durable_bound(&self, tag: u64) -> u64 {
        let (known, mark) = unpack(self.journaled.load(Ordering::SeqCst));
        let headroom = self.headroom.load(Ordering::SeqCst);
        if known == tag { mark } else { headroom }
    }

    fn swap(&self, seen: u128, next: u128) -> Result<(), u128> {
        // In one order with the bound of the journal: see `propose`.
        self.word.compare_exchange_weak(seen, next, Ordering::SeqCst, Ordering::Acquire).map(|_| ())
    }
}

fn standing_of(tag: u64, used: u64) -> Standing {
    let [.., generation] = tag.to_be_bytes();
    Standing { start: i64::try_from(tag >> 8).unwrap_or(i64::MAX), generation, used }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_fits_or_leaves_no_trace() {
        let counter = Counter::default();
        let held = counter.reserve(10, 60, 100, false).unwrap();
        assert_eq!(counter.reserve(10, 41, 100, false), Err(Short::Full { used: 60 }));
        assert_eq!(counter.used(10), 60);
        counter.settle(held, 25);
        assert_eq!(counter.used(10), 25);
        assert!(counter.reserve(10, 75, 100, false).is_ok());
        assert_eq!(counter.reserve(10, u64::MAX, 100, false), Err(Short::Full { used: 100 }));
    }

    #[test]
    fn a_new_window_owes_nothing_for_the_old() {
        let counter = Counter::default();
        let old = counter.reserve(10, 100, 100, false).unwrap();
        let new = counter.reserve(20, 90, 100, false).unwrap();
        counter.settle(old, 70);
        counter.release(old);
        assert_eq!(counter.used(20), 90);
        counter.release(new);
        assert_eq!(counter.used(20), 0);
    }

    #[test]
    fn a_core_whose_clock_lags_counts_in_the_newer_window() {
        let counter = Counter::default();
        counter.charge(20, 5);
        counter.charge(10, 5);
        assert_eq!(counter.used(20), 10);
        assert_eq!(counter.standing().start, 20);
    }

    #[test]
    fn clearing_forgets_reservations_made_before() {
        let counter = Counter::default();
        let before = counter.reserve(10, 50, 100, false).unwrap();
        counter.clear();
        let after = counter.reserve(10, 80, 100, false).unwrap();
        counter.release(before);
        assert_eq!(counter.used(10), 80, "the old reservation must not be paid back");
        counter.settle(after, 30);
        assert_eq!(counter.standing(), Standing { start: 10, generation: 1, used: 30 });
    }

    #[test]
    fn a_durable_reservation_stays_below_the_journal() {
        let counter = Counter::default();
        counter.journaled(Standing::default(), 0, 30);
        assert!(counter.reserve(10, 30, 1000, true).is_ok(), "a fresh window has its headroom");
        assert_eq!(counter.reserve(10, 1, 1000, true), Err(Short::Unjournaled));
        counter.journaled(counter.standing(), 80, 30);
        assert!(counter.reserve(10, 50, 1000, true).is_ok());
        assert_eq!(counter.reserve(10, 1, 1000, true), Err(Short::Unjournaled));
        assert!(counter.reserve(20, 30, 1000, true).is_ok());
        assert_eq!(counter.reserve(20, 1, 1000, true), Err(Short::Unjournaled));
    }
}
