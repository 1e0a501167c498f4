//! How many calls of one provider are in flight over all cores, and how many wait.
//!
//! In: a worker that wants a place, or gives one back. Out: whether there is one. Two counters that
//! all cores share; each call costs one addition when it begins and one when it ends. A place is
//! only ever taken while the count before was below the limit, so the limit is never passed; two
//! that want the last place at once may both be told to wait, and try again. Never: waits, or wakes
//! anybody: each worker looks after its own.

use std::sync::atomic::{AtomicU32, Ordering};

/// Places at one provider.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Turnstile {
    in_flight: AtomicU32,
    waiting: AtomicU32,
}

impl Turnstile {
    /// Takes a place of `max`, if one is free.
    pub fn enter(&self, max: u32) -> bool {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) < max {
            return true;
        }
        self.leave();
        false
    }

    /// Gives a place back.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Joins those that wait, if fewer than `max` do.
    pub fn wait(&self, max: u32) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < max {
            return true;
        }
        self.stop_waiting();
        false
    }

    pub fn stop_waiting(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::Turnstile;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn places_are_counted_both_ways() {
        let turnstile = Turnstile::default();
        assert!(turnstile.enter(2) && turnstile.enter(2) && !turnstile.enter(2));
        assert_eq!(turnstile.in_flight(), 2, "who was refused holds nothing");
        turnstile.leave();
        assert!(turnstile.enter(2));
        assert!(turnstile.wait(1) && !turnstile.wait(1));
        assert_eq!(turnstile.waiting(), 1);
        assert!(!turnstile.enter(0), "a limit that was lowered");
    }

    #[test]
    fn many_threads_never_pass_the_limit_together() {
        let (turnstile, inside, most) =
            (Turnstile::default(), AtomicU32::new(0), AtomicU32::new(0));
        let pass = || {
            for _ in (0..50_000).filter(|_| turnstile.enter(2)) {
                let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                inside.fetch_sub(1, Ordering::SeqCst);
                turnstile.leave();
            }
        };
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(pass)));
        });
        assert!(most.load(Ordering::SeqCst) <= 2);
        assert_eq!(turnstile.in_flight(), 0);
    }
}
