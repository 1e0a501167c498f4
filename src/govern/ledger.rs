//! Where counters outlive the tables that use them: across reloads, and across restarts.
//!
//! In: what a journal kept ([`Saved`]), and the identities that new tables ask for. Out: the
//! counter of each identity, the same one for every snapshot, and for the journal the rows that
//! changed since it was last written. Belongs to the control thread alone; workers only ever see
//! the counters. Never: reads or writes the journal itself.
//!
//! The order that keeps a promise through `kill -9`: build the tables, [`Ledger::export`], write
//! the rows, [`Ledger::committed`], only then publish the snapshot; and the last three again every
//! second, and whenever a reservation did not fit. Soft usage of the last second may be lost. A
//! strict limit cannot be passed: its reservations stay below a mark that the journal already
//! counts as used, and after a crash it is the mark that counts.
//!
//! What a crash may leave unspent of a strict limit, for its window: its lease, which is a
//! hundredth of the limit, and half as much again; of calls dearer than that, [`BURST`] times the
//! dearest that had to wait for the journal within the last second.

use super::budgets::Seed;
use super::counter::{Counter, Standing};
use super::limits::{Metric, OwnerKind};
use super::windows::Window;
use hashbrown::HashMap;
use std::sync::Arc;

/// So many calls of the dearest kind that had to wait fit below the next mark.
const BURST: u64 = 16;

/// The identity of a counter: whose limit, which limit, of what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CounterId {
    pub owner_kind: OwnerKind,
    pub owner: Box<str>,
    pub limit: Box<str>,
    pub metric: Metric,
}

/// A row of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    pub id: CounterId,
    /// The window's definition, and where it is counted from.
    pub window: Window,
    pub anchor: i64,
    /// Start of the window, Unix milliseconds.
    pub start: i64,
    pub used: u64,
    /// What may have been used at most, should the process have been killed.
    pub mark: u64,
    /// The same for a window that began after the row was written.
    pub headroom: u64,
}

/// A row for the journal: replaces the one of the same id.
#[derive(Debug, Clone)]
pub struct Row {
    pub saved: Saved,
    counter: Arc<Counter>,
    standing: Standing,
    strict: bool,
}

impl Row {
    /// Whether more may be spent once it is written: a promise that has to outlive the machine.
    pub fn is_strict(&self) -> bool {
        self.strict
    }
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
    /// Of a strict limit: its maximum.
    pub strict_max: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    counter: Arc<Counter>,
    window: Window,
    anchor: i64,
    /// Of a strict limit: what may be spent in a window that the journal knows nothing of.
    headroom: Option<u64>,
    /// What the journal holds.
    written: Option<Written>,
}

#[derive(Debug, Clone, Copy)]
struct Written {
    standing: Standing,
    mark: u64,
    headroom: u64,
}

/// The counters of this process.
#[derive(Debug)]
pub struct Ledger {
    entries: HashMap<CounterId, Entry>,
    /// Rows that no table has asked for.
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
        let mut entry = match self.entries.remove(id) {
            Some(entry) => entry,
            None => self.open(id, wanted, headroom.is_some(), now),
        };
        if entry.window != wanted.window {
            // What a window used that is over by now is not brought along.
            entry.counter.charge(entry.window.start(entry.anchor, now), 0);
            entry.anchor = entry.counter.standing().start;
            entry.window = wanted.window;
            entry.counter.move_forward(wanted.window.start(entry.anchor, now));
            entry.written = None;
        }
        if entry.headroom.is_none() != headroom.is_none() {
            entry.written = None;
        }
        // It never shrinks: what the journal holds is at least as much as the counter may spend.
        entry.headroom = headroom.map(|headroom| headroom.max(entry.headroom.unwrap_or(0)));
        let found = (Arc::clone(&entry.counter), entry.anchor);
        self.entries.insert(id.clone(), entry);
        found
    }

    fn open(&mut self, id: &CounterId, wanted: &Wanted, strict: bool, now: i64) -> Entry {
        let (window, anchor, start, used) = if let Some(saved) = self.saved.remove(id) {
            let start = saved.window.start(saved.anchor, now);
            let (start, used) = match self.ending {
                Ending::Crash if strict && start > saved.start => (start, saved.headroom),
                Ending::Crash if strict => (saved.start, saved.mark.max(saved.used)),
                Ending::Crash | Ending::Clean => (saved.start, saved.used),
            };
            (saved.window, saved.anchor, start, used)
        } else {
            let anchor = wanted.seed.last_reset.unwrap_or(now);
            // Usage that was stated belongs to the window of its last reset.
            (wanted.window, anchor, wanted.window.start(anchor, anchor), wanted.seed.used)
        };
        let counter = Arc::new(Counter::starting(start, used));
        if strict {
            // Until the first row is written nothing may be reserved.
            counter.journaled(Standing::default(), 0, 0);
        }
        Entry { counter, window, anchor, headroom: None, written: None }
    }

    /// What the journal does not know yet. No strict limit can be spent beyond what its row says
    /// until [`Ledger::committed`] has been told of another.
    pub fn export(&mut self) -> Vec<Row> {
        let entries = self.entries.iter_mut();
        let kept = entries.filter(|(id, _)| id.metric != Metric::Concurrent);
        kept.filter_map(|(id, entry)| entry.row(id, false)).collect()
    }

    /// The last rows of a process that ends well: nothing is left that could be spent unseen.
    pub fn close(&mut self) -> Vec<Row> {
        let entries = self.entries.iter_mut();
        let kept = entries.filter(|(id, _)| id.metric != Metric::Concurrent);
        kept.filter_map(|(id, entry)| entry.row(id, true)).collect()
    }

    /// The rows are durable: strict limits may spend up to their marks, and the rows are not
    /// exported again.
    pub fn committed(&mut self, rows: &[Row]) {
        for row in rows {
            let Saved { mark, headroom, .. } = row.saved;
            if row.strict {
                row.counter.journaled(row.standing, mark, headroom);
            }
            if let Some(entry) = self.entries.get_mut(&row.saved.id) {
                entry.written = Some(Written { standing: row.standing, mark, headroom });
            }
        }
    }

    /// Takes the counters out of use that no table has any more. Should one ask for them again,
    /// they go on from where they were.
    pub fn sweep(&mut self) {
        let journaled = self.journaled;
        let gone = self.entries.extract_if(|_, entry| {
            let written = entry.written.map(|written| written.standing);
            // Of a strict limit the row says as much as was used, or more.
            let covered = entry.headroom.is_some() && written.is_some();
            let known = !journaled || covered || written == Some(entry.counter.standing());
            known && Arc::strong_count(&entry.counter) == 1
        });
        for (id, entry) in gone {
            let Standing { start, used, .. } = entry.counter.standing();
            let Entry { window, anchor, .. } = entry;
            let headroom = 0;
            let saved = Saved { id: id.clone(), window, anchor, start, used, mark: used, headroom };
            self.saved.insert(id, saved);
        }
    }

    /// The rows that no table has asked for.
    pub fn unclaimed(&self) -> impl Iterator<Item = &CounterId> {
        self.saved.keys()
    }

    /// For a manual reset of usage; false where there is no such counter.
    pub fn clear(&self, id: &CounterId) -> bool {
        self.entries.get(id).map(|entry| entry.counter.clear()).is_some()
    }
}

impl Entry {
    /// What the journal has to be told of it, if anything. `last`: nothing more will be spent.
    fn row(&mut self, id: &CounterId, last: bool) -> Option<Row> {
        let wanted = self.counter.take_wanted();
        let headroom = self.headroom.map(|headroom| headroom.max(wanted));
        self.headroom = headroom;
        let headroom = headroom.unwrap_or(0);
        let lease = if last { 0 } else { headroom.max(wanted.saturating_mul(BURST)) };
        let standing = self.counter.standing();
        let is_known = |known: Written| {
            let Written { standing: at, mark, headroom: fresh } = known;
            if self.headroom.is_none() || last {
                return at == standing && (mark, fresh) == (standing.used, 0);
            }
            // A lease is renewed when half of it is spent, and made smaller when it is more than
            // it has to be: not for each call, since every renewal is synced to the disk.
            let spare = mark.saturating_sub(standing.used);
            let enough = (lease.div_ceil(2)..=lease.saturating_add(lease / 2)).contains(&spare);
            let same = (at.start, at.generation) == (standing.start, standing.generation);
            same && fresh == headroom && enough
        };
        if wanted == 0 && self.written.is_some_and(is_known) {
            return None;
        }
        let (standing, mark) = match self.headroom {
            Some(_) => self.counter.propose(lease),
            None => (standing, standing.used),
        };
        let saved = Saved {
            id: id.clone(),
            window: self.window,
            anchor: self.anchor,
            start: standing.start,
            used: standing.used,
            mark,
            headroom,
        };
        let strict = self.headroom.is_some();
        Some(Row { saved, counter: Arc::clone(&self.counter), standing, strict })
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
    }

    #[test]
    fn what_no_table_uses_goes_on_where_it_was_once_it_is_asked_for_again() {
        for mut ledger in [Ledger::in_memory(), Ledger::restored([], Ending::Crash)] {
            let (counter, _) = ledger.counter(&id(), &wanted("1h", Some(1_000)), 1_000);
            write(&mut ledger);
            counter.charge(1_000, 7);
            ledger.sweep();
            assert_eq!(ledger.unclaimed().count(), 0, "still in use");
            drop(counter);
            write(&mut ledger);
            ledger.sweep();
            assert_eq!(ledger.unclaimed().collect::<Vec<_>>(), [&id()]);
            let (counter, anchor) = ledger.counter(&id(), &wanted("1h", Some(1_000)), 2_000);
            assert_eq!((counter.used(1_000), anchor), (7, 1_000));
        }
    }

    #[test]
    fn a_window_that_changed_while_nobody_looked_keeps_its_usage_too() {
        let day = 86_400_000;
        let monthly =
            Wanted { window: Window::new("1M".parse().unwrap(), true, 1), ..wanted("1d", None) };
        for (later, used) in [(3_600_000, 7), (day + 1, 0)] {
            let mut ledger = Ledger::restored([], Ending::Clean);
            let (counter, _) = ledger.counter(&id(), &wanted("1d", None), 5);
            counter.charge(5, 7);
            let saved = write(&mut ledger);
            let mut next = Ledger::restored(saved, Ending::Crash);
            let (counter, _) = next.counter(&id(), &monthly, 5 + later);
            assert_eq!(counter.used(0), used, "a day that is over is not brought along");
        }
    }

    #[test]
    fn a_clean_end_leaves_nothing_unspent() {
        let strict = wanted("1h", Some(10_000));
        let mut ledger = Ledger::restored([], Ending::Clean);
        let (counter, _) = ledger.counter(&id(), &strict, 0);
        write(&mut ledger);
        let held = counter.reserve(0, 90, 10_000, true).unwrap();
        counter.settle(held, 40);
        let last: Vec<_> = ledger.close().into_iter().map(|row| row.saved).collect();
        assert_eq!((last[0].used, last[0].mark), (40, 40));
        assert!(counter.reserve(0, 1, 10_000, true).is_err(), "after its last row");
        let mut next = Ledger::restored(last, Ending::Clean);
        assert_eq!(next.counter(&id(), &strict, 0).0.used(0), 40);
    }

    #[test]
    fn a_changed_window_keeps_the_usage() {
        let mut ledger = Ledger::in_memory();
        let midnight = 86_400_000;
        let (counter, _) = ledger.counter(&id(), &wanted("1m", None), midnight - 1_000);
        counter.charge(midnight - 1_000, 7);
        let aligned =
            Wanted { window: Window::new("1d".parse().unwrap(), true, 1), ..wanted("1d", None) };
        let (counter, _) = ledger.counter(&id(), &aligned, midnight + 5_000);
        assert_eq!(counter.used(midnight), 7);
        assert_eq!(counter.standing().start, midnight, "only the start moved");
    }

    #[test]
    fn rows_are_written_once_and_read_back() {
        let mut ledger = Ledger::restored([], Ending::Clean);
        let (counter, _) = ledger.counter(&id(), &wanted("1h", None), 1_000);
        counter.charge(1_000, 40);
        let rows = ledger.export();
        assert_eq!(rows.iter().map(|row| row.saved.used).collect::<Vec<_>>(), [40]);
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
        for (restart, used) in [(2_000, 100 + 61), (hour + 2_000, 100)] {
            let strict = wanted("1h", Some(10_000));
            let mut ledger = Ledger::restored([], Ending::Clean);
            let (counter, _) = ledger.counter(&id(), &strict, 0);
            assert!(counter.reserve(0, 1, 10_000, true).is_err(), "before the first row");
            write(&mut ledger);
            assert!(counter.reserve(0, 41, 10_000, true).is_ok());
            assert!(ledger.export().is_empty(), "not half of the lease");
            assert!(counter.reserve(0, 20, 10_000, true).is_ok());
            let saved = write(&mut ledger);
            // From here on the journal knows nothing more.
            while counter.reserve(0, 1, 10_000, true).is_ok() {}
            let spent = counter.used(0);
            assert!(spent > 61);
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
        assert_eq!(saved.iter().map(|row| row.mark).collect::<Vec<_>>(), [3_000 * BURST]);
        assert_eq!(write(&mut ledger)[0].mark, 3_000, "once things are quiet");
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
