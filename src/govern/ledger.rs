//! Where counters outlive the tables that use them: across reloads, and across restarts.
//!
//! In: what a journal kept ([`Saved`]), and the identities that new tables ask for. Out: the
//! counter of each identity, the same one for every snapshot, and for the journal the rows that
//! changed since it was last written. Belongs to the control thread alone; workers only ever see
//! the counters. Never: reads or writes the journal itself.
//!
//! The order that keeps a promise through `kill -9`: build the tables, [`Ledger::export`], write
//! the rows, [`Ledger::committed`], only then publish the snapshot; and the last three again every
//! second. Soft usage of the last second may be lost. A strict limit cannot be passed: its
//! reservations stay below a mark that the journal already counts as used, and after a crash it is
//! the mark that counts.

use super::budgets::Seed;
use super::counter::{Counter, Standing};
use super::limits::{Metric, OwnerKind};
use super::windows::Window;
use hashbrown::HashMap;
use std::sync::Arc;

/// The identity of a counter: whose limit, which limit, of what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CounterId {
    pub owner_kind: OwnerKind,
    pub owner: Box<str>,
    pub limit: Box<str>,
    pub metric: Metric,
}

/// A row of the journal, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    pub id: CounterId,
    /// Start of the window, Unix milliseconds.
    pub start: i64,
    pub used: u64,
    /// What may have been used at most, should the process have been killed.
    pub mark: u64,
    pub anchor: i64,
}

/// A row for the journal: replaces the one of the same id.
#[derive(Debug, Clone)]
pub struct Row {
    pub saved: Saved,
    /// How much `used` grew since the last row of this window (of a new window, all of it).
    pub delta: i64,
    counter: Arc<Counter>,
    standing: Standing,
    headroom: Option<u64>,
}

/// How the process ended that wrote the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// After a last row for every counter.
    Clean,
    /// Somewhere.
    Crash,
}

/// What tables ask a counter for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub window: Window,
    pub seed: Seed,
    /// Of a strict limit: its maximum. A hundredth of it, or the largest estimate that was ever
    /// asked for, is the headroom: what may be spent before the journal is written again, and what
    /// a crash may leave unspent.
    pub strict_max: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    counter: Arc<Counter>,
    window: Window,
    anchor: i64,
    headroom: Option<u64>,
    exported: Option<Standing>,
}

/// The counters of this process.
#[derive(Debug)]
pub struct Ledger {
    entries: HashMap<CounterId, Entry>,
    saved: HashMap<CounterId, Saved>,
    ending: Ending,
    /// Whether rows are written at all: without a journal strict limits need no mark.
    journaled: bool,
}

impl Ledger {
    /// For a process that keeps no journal: usage lives as long as it does.
    pub fn in_memory() -> Self {
        Self {
            entries: HashMap::new(),
            saved: HashMap::new(),
            ending: Ending::Clean,
            journaled: false,
        }
    }

    /// With what the journal kept.
    pub fn restored(rows: impl IntoIterator<Item = Saved>, ending: Ending) -> Self {
        Self {
            entries: HashMap::new(),
            saved: rows.into_iter().map(|row| (row.id.clone(), row)).collect(),
            ending,
            journaled: true,
        }
    }

    pub fn is_journaled(&self) -> bool {
        self.journaled
    }

    /// The counter of this identity, and the anchor of its windows. A changed window keeps the
    /// usage and only moves its start forward.
    pub fn counter(&mut self, id: &CounterId, wanted: &Wanted, now: i64) -> (Arc<Counter>, i64) {
        let headroom =
            wanted.strict_max.filter(|_| self.journaled).map(|max| max.div_ceil(100).max(1));
        if !self.entries.contains_key(id) {
            let entry = self.open(id, wanted, headroom, now);
            self.entries.insert(id.clone(), entry);
        }
        let Some(entry) = self.entries.get_mut(id) else {
            return (Arc::new(Counter::default()), now);
        };
        if entry.window != wanted.window {
            entry.anchor = entry.counter.standing().start;
            entry.window = wanted.window;
            entry.counter.move_forward(wanted.window.start(entry.anchor, now));
        }
        if entry.headroom.is_none() != headroom.is_none() {
            entry.exported = None;
        }
        // It never shrinks: what the journal holds is at least as much as the counter may spend.
        entry.headroom = headroom.map(|headroom| headroom.max(entry.headroom.unwrap_or(0)));
        (Arc::clone(&entry.counter), entry.anchor)
    }

    fn open(&mut self, id: &CounterId, wanted: &Wanted, headroom: Option<u64>, now: i64) -> Entry {
        let window = wanted.window;
        let (anchor, start, used) = if let Some(saved) = self.saved.remove(id) {
            let start = window.start(saved.anchor, now);
            let (start, used) = match (headroom, self.ending) {
                (Some(headroom), Ending::Crash) if start > saved.start => {
                    (start, headroom.max(saved.mark.saturating_sub(saved.used)))
                }
                (Some(_), Ending::Crash) => (saved.start, saved.mark.max(saved.used)),
                _ => (saved.start, saved.used),
            };
            (saved.anchor, start, used)
        } else {
            let anchor = wanted.seed.last_reset.unwrap_or(now);
            // Usage that was stated belongs to the window of its last reset.
            (anchor, window.start(anchor, anchor), wanted.seed.used)
        };
        let counter = Arc::new(Counter::starting(start, used));
        if headroom.is_some() {
            // Until the first row is written nothing may be reserved.
            counter.journaled(Standing::default(), 0, 0);
        }
        Entry { counter, window, anchor, headroom, exported: None }
    }

    /// What the journal does not know yet.
    pub fn export(&self) -> Vec<Row> {
        let changed = self.entries.iter().filter(|(id, _)| id.metric != Metric::Concurrent);
        changed
            .filter_map(|(id, entry)| {
                let standing = entry.counter.standing();
                let wanted = entry.counter.wanted();
                let headroom = entry.headroom.map(|headroom| headroom.max(wanted));
                if entry.exported == Some(standing) && entry.headroom == headroom {
                    return None;
                }
                let before = entry.exported.filter(|old| {
                    (old.start, old.generation) == (standing.start, standing.generation)
                });
                let delta =
                    i128::from(standing.used) - before.map_or(0, |old| i128::from(old.used));
                let saved = Saved {
                    id: id.clone(),
                    start: standing.start,
                    used: standing.used,
                    mark: standing.used.saturating_add(headroom.unwrap_or(0)),
                    anchor: entry.anchor,
                };
                Some(Row {
                    saved,
                    delta: i64::try_from(delta).unwrap_or(i64::MAX),
                    counter: Arc::clone(&entry.counter),
                    standing,
                    headroom,
                })
            })
            .collect()
    }

    /// The rows are durable: strict limits may spend up to their marks, and the rows are not
    /// exported again.
    pub fn committed(&mut self, rows: &[Row]) {
        for row in rows {
            if let Some(headroom) = row.headroom {
                row.counter.journaled(row.standing, row.saved.mark, headroom);
            }
            if let Some(entry) = self.entries.get_mut(&row.saved.id) {
                entry.exported = Some(row.standing);
                entry.headroom = entry.headroom.max(row.headroom);
            }
        }
    }

    /// Forgets the counters that no table uses any more, and names them.
    pub fn sweep(&mut self) -> Vec<CounterId> {
        let gone = self.entries.extract_if(|_, entry| Arc::strong_count(&entry.counter) == 1);
        gone.map(|(id, _)| id).collect()
    }

    /// For a manual reset of usage; false where there is no such counter.
    pub fn clear(&self, id: &CounterId) -> bool {
        self.entries.get(id).map(|entry| entry.counter.clear()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> CounterId {
        CounterId {
            owner_kind: OwnerKind::Team,
            owner: "ml".into(),
            limit: "b1".into(),
            metric: Metric::Cost,
        }
    }

    fn wanted(span: &str, strict_max: Option<u64>) -> Wanted {
        Wanted { window: Window::Rolling(span.parse().unwrap()), seed: Seed::default(), strict_max }
    }

    fn write(ledger: &mut Ledger) -> Vec<Saved> {
        let rows = ledger.export();
        ledger.committed(&rows);
        rows.into_iter().map(|row| row.saved).collect()
    }

    #[test]
    fn the_same_identity_is_the_same_counter() {
        let mut ledger = Ledger::in_memory();
        let (first, anchor) = ledger.counter(&id(), &wanted("1h", None), 1_000);
        first.charge(1_000, 7);
        let (second, again) = ledger.counter(&id(), &wanted("1h", None), 99_000);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!((anchor, again), (1_000, 1_000));
        drop((first, second));
        assert_eq!(ledger.sweep(), [id()]);
    }

    #[test]
    fn a_changed_window_keeps_the_usage() {
        let mut ledger = Ledger::in_memory();
        let (counter, _) = ledger.counter(&id(), &wanted("1m", None), 1_000);
        counter.charge(1_000, 7);
        let aligned =
            Wanted { window: Window::new("1d".parse().unwrap(), true, 1), ..wanted("1d", None) };
        let now = 86_400_000 + 5_000;
        let (counter, _) = ledger.counter(&id(), &aligned, now);
        assert_eq!(counter.used(86_400_000), 7);
        assert_eq!(counter.standing().start, 86_400_000, "only the start moved");
    }

    #[test]
    fn rows_are_written_once_and_read_back() {
        let mut ledger = Ledger::restored([], Ending::Clean);
        let (counter, _) = ledger.counter(&id(), &wanted("1h", None), 1_000);
        counter.charge(1_000, 40);
        let rows = ledger.export();
        assert_eq!(rows.iter().map(|row| row.delta).collect::<Vec<_>>(), [40]);
        assert_eq!(ledger.export().len(), 1, "not written yet, so still due");
        ledger.committed(&rows);
        assert!(ledger.export().is_empty());
        counter.charge(1_000, 2);
        let saved = write(&mut ledger);
        let mut next = Ledger::restored(saved, Ending::Crash);
        let (counter, anchor) = next.counter(&id(), &wanted("1h", None), 500_000);
        assert_eq!((counter.used(1_000), anchor), (42, 1_000));
    }

    #[test]
    fn a_crash_never_forgets_a_strict_reservation() {
        let hour = 3_600_000;
        for (restart, used) in [(2_000, 100 + 41), (hour + 2_000, 100)] {
            let strict = wanted("1h", Some(10_000));
            let mut ledger = Ledger::restored([], Ending::Clean);
            let (counter, _) = ledger.counter(&id(), &strict, 0);
            assert!(counter.reserve(0, 1, 10_000, true).is_err(), "before the first row");
            write(&mut ledger);
            assert!(counter.reserve(0, 41, 10_000, true).is_ok());
            let saved = write(&mut ledger);
            // From here on the journal knows nothing more.
            while counter.reserve(0, 1, 10_000, true).is_ok() {}
            let spent = counter.used(0);
            assert!(spent > 41);
            let mut next = Ledger::restored(saved, Ending::Crash);
            let (counter, _) = next.counter(&id(), &strict, restart);
            assert_eq!(counter.used(restart / hour * hour), used);
            assert!(restart >= hour || counter.used(0) >= spent);
        }
    }

    #[test]
    fn an_estimate_above_the_headroom_is_let_in_after_the_next_row() {
        let strict = wanted("1h", Some(10_000));
        let mut ledger = Ledger::restored([], Ending::Clean);
        let (counter, _) = ledger.counter(&id(), &strict, 0);
        write(&mut ledger);
        assert!(counter.reserve(0, 3_000, 10_000, true).is_err());
        let saved = write(&mut ledger);
        assert_eq!(saved.iter().map(|row| row.mark).collect::<Vec<_>>(), [3_000]);
        assert!(counter.reserve(0, 3_000, 10_000, true).is_ok());
        let hour = 3_600_000;
        assert!(counter.reserve(hour, 3_000, 10_000, true).is_ok(), "and in a fresh window");
        // Killed before the fresh window was written.
        let mut next = Ledger::restored(saved, Ending::Crash);
        let (counter, _) = next.counter(&id(), &strict, hour);
        assert!(counter.used(hour) >= 3_000);
    }

    #[test]
    fn stated_usage_counts_until_its_window_ends() {
        let mut ledger = Ledger::in_memory();
        let seed = Seed { used: 9, last_reset: Some(1_000) };
        let (counter, anchor) =
            ledger.counter(&id(), &Wanted { seed, ..wanted("1m", None) }, 30_000);
        assert_eq!((anchor, counter.used(1_000), counter.used(61_000)), (1_000, 9, 0));
    }
}
