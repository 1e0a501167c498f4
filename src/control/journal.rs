//! The journal of usage: `config.db`.
//!
//! In: rows of the ledger, and the digests of virtual keys. Out: what the process before has left
//! ([`Kept`]). Each [`Journal::write`] is one transaction. With a strict limit's row in it, it is
//! synced to the disk before it is answered, since what such a limit may spend next is promised by
//! it; without one it is not, so that no slow disk makes soft usage older than it has to be: it
//! outlives the process at once, and a power cut after a checkpoint. Never: holds the text of a key.

use crate::config::enact::{KeyNews, KeyValue};
use crate::govern::ledger::{CounterId, Ending, Row, Saved};
use crate::govern::limits::{Metric, OwnerKind};
use crate::govern::virtual_keys::Digest;
use crate::store::{self, Answer, Durability, Keeper, Layout, Store};
use rusqlite::types::Type;
use rusqlite::{Connection, Transaction, params};
use std::path::Path;
use std::str::FromStr;

/// The file's name where none is given.
pub const FILE: &str = "config.db";

/// Rows that nothing asks for are forgotten after a year and a month: the longest usual window,
/// and time to notice.
const FORGET_MS: i64 = 400 * 86_400_000;

const LAYOUT: Layout = Layout {
    name: "config-store",
    migrations: &["
        CREATE TABLE process (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            running INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE usage_counters (
            owner_kind TEXT NOT NULL,
            owner TEXT NOT NULL,
            limit_id TEXT NOT NULL,
            metric TEXT NOT NULL,
            reset TEXT NOT NULL,
            anchor INTEGER NOT NULL,
            start INTEGER NOT NULL,
            used INTEGER NOT NULL,
            mark INTEGER NOT NULL,
            headroom INTEGER NOT NULL,
            written_at INTEGER NOT NULL,
            PRIMARY KEY (owner_kind, owner, limit_id, metric)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE key_digests (
            virtual_key TEXT PRIMARY KEY,
            digest BLOB NOT NULL,
            previous BLOB,
            previous_until INTEGER
        ) STRICT, WITHOUT ROWID;
    "],
    durability: Durability::Process,
    // Two processes would write over one another's usage.
    sole: true,
};

/// What the process before has left.
#[derive(Debug)]
pub struct Kept {
    pub rows: Vec<Saved>,
    pub keys: Vec<(Box<str>, KeyValue)>,
    pub ending: Ending,
}

/// An open journal. Dropped, it writes what it was given before, and closes.
#[derive(Debug)]
pub struct Journal {
    store: Store,
    _keeper: Keeper,
}

/// What is written at once. Comes back with the answer.
#[derive(Debug, Default)]
pub struct Entry {
    pub rows: Vec<Row>,
    pub keys: Vec<KeyNews>,
    /// Nothing comes after this.
    pub last: bool,
}

impl Journal {
    /// Opens it, and notes that a process runs. Blocks.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(path: &Path) -> Result<(Self, Kept), store::Error> {
        let (store, keeper) = store::open(path, LAYOUT)?;
        let kept = store.run(|db| {
            let all = db.transaction()?;
            let kept = Kept { rows: rows(&all)?, keys: keys(&all)?, ending: ending(&all)? };
            run(&all, true)?;
            all.commit()?;
            Ok(kept)
        });
        Ok((Self { store, _keeper: keeper }, kept.wait()?))
    }

    /// `now` in Unix milliseconds.
    pub fn write(&self, entry: Entry, now: i64) -> Answer<Entry> {
        self.store.run(move |db| {
            let promised = entry.last || entry.rows.iter().any(Row::is_strict);
            let durability = if promised { Durability::Machine } else { Durability::Process };
            store::set_durability(db, durability)?;
            let all = db.transaction()?;
            for row in &entry.rows {
                write_row(&all, &row.saved, now)?;
            }
            for (id, news) in &entry.keys {
                write_key(&all, id, news.as_ref())?;
            }
            if entry.last {
                run(&all, false)?;
            }
            all.commit()?;
            Ok(entry)
        })
    }

    /// Forgets those of these rows that are older than any window. `now` in Unix milliseconds.
    pub fn forget(&self, ids: Vec<CounterId>, now: i64) -> Answer<()> {
        self.store.run(move |db| {
            let all = db.transaction()?;
            for id in &ids {
                let sql = "DELETE FROM usage_counters WHERE owner_kind = ?1 AND owner = ?2 \
                           AND limit_id = ?3 AND metric = ?4 AND written_at < ?5";
                all.prepare_cached(sql)?.execute(params![
                    id.owner_kind.as_str(),
                    id.owner,
                    id.limit,
                    id.metric.as_str(),
                    now - FORGET_MS,
                ])?;
            }
            all.commit()
        })
    }
}

fn rows(db: &Connection) -> rusqlite::Result<Vec<Saved>> {
    let sql = "SELECT owner_kind, owner, limit_id, metric, reset, anchor, start, used, mark, \
               headroom FROM usage_counters";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        Ok(Saved {
            id: CounterId {
                owner_kind: named(row, 0, OwnerKind::parse)?,
                owner: row.get(1)?,
                limit: row.get(2)?,
                metric: named(row, 3, Metric::parse)?,
            },
            window: named(row, 4, |text| FromStr::from_str(text).ok())?,
            anchor: row.get(5)?,
            start: row.get(6)?,
            used: amount(row, 7)?,
            mark: amount(row, 8)?,
            headroom: amount(row, 9)?,
        })
    })?;
    rows.collect()
}

fn keys(db: &Connection) -> rusqlite::Result<Vec<(Box<str>, KeyValue)>> {
    let sql = "SELECT virtual_key, digest, previous, previous_until FROM key_digests";
    let mut statement = db.prepare(sql)?;
    let keys = statement.query_map([], |row| {
        let previous: Option<[u8; 32]> = row.get(2)?;
        let until: Option<i64> = row.get(3)?;
        let before = previous.map(Digest::from_bytes).zip(until);
        Ok((row.get(0)?, KeyValue { now: Digest::from_bytes(row.get(1)?), before }))
    })?;
    keys.collect()
}

/// A row that is still marked as running was written by a process that did not end by itself.
fn ending(db: &Connection) -> rusqlite::Result<Ending> {
    let mut statement = db.prepare("SELECT running FROM process")?;
    let mut running = statement.query_map([], |row| row.get::<_, bool>(0))?;
    let crashed = running.next().transpose()?.unwrap_or(false);
    Ok(if crashed { Ending::Crash } else { Ending::Clean })
}

fn run(db: &Transaction<'_>, running: bool) -> rusqlite::Result<()> {
    let sql = "INSERT INTO process (id, running) VALUES (1, ?1) \
               ON CONFLICT (id) DO UPDATE SET running = ?1";
    db.execute(sql, [running]).map(drop)
}

fn write_row(db: &Transaction<'_>, row: &Saved, now: i64) -> rusqlite::Result<()> {
    let sql = "REPLACE INTO usage_counters (owner_kind, owner, limit_id, metric, reset, anchor, \
               start, used, mark, headroom, written_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let id = &row.id;
    db.prepare_cached(sql)?
        .execute(params![
            id.owner_kind.as_str(),
            id.owner,
            id.limit,
            id.metric.as_str(),
            row.window.to_string(),
            row.anchor,
            row.start,
            whole(row.used),
            whole(row.mark),
            whole(row.headroom),
            now,
        ])
        .map(drop)
}

fn write_key(db: &Transaction<'_>, id: &str, value: Option<&KeyValue>) -> rusqlite::Result<()> {
    let Some(value) = value else {
        let sql = "DELETE FROM key_digests WHERE virtual_key = ?1";
        return db.prepare_cached(sql)?.execute([id]).map(drop);
    };
    let sql = "REPLACE INTO key_digests (virtual_key, digest, previous, previous_until) \
               VALUES (?1, ?2, ?3, ?4)";
    let (previous, until) = value.before.unzip();
    let previous = previous.map(|digest| *digest.as_bytes());
    db.prepare_cached(sql)?.execute(params![id, value.now.as_bytes(), previous, until]).map(drop)
}

/// SQLite's numbers are signed; nine billion dollars are enough.
fn whole(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn amount(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(at)?).unwrap_or(0))
}

/// A column whose text must be one of a kind's names.
fn named<T>(
    row: &rusqlite::Row<'_>,
    at: usize,
    read: impl Fn(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let text: Box<str> = row.get(at)?;
    read(&text).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(at, Type::Text, format!("`{text}`").into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::govern::Ledger;
    use crate::govern::budgets::Seed;
    use crate::govern::ledger::Wanted;
    use crate::govern::windows::Window;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder of its own for each test, gone afterwards.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("finops-journal-{}-{next}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn open(&self) -> (Journal, Kept) {
            Journal::open(&self.0.join(FILE)).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _absent = std::fs::remove_dir_all(&self.0);
        }
    }

    fn id(metric: Metric) -> CounterId {
        let owner_kind = OwnerKind::VirtualKeyProvider;
        CounterId { owner_kind, owner: "vk/openai".into(), limit: "b".into(), metric }
    }

    fn strict(window: Window) -> Wanted {
        Wanted { window, seed: Seed::default(), strict_max: Some(5_000) }
    }

    #[test]
    fn rows_and_keys_come_back_as_they_were_and_say_how_the_process_ended() {
        let folder = Folder::new();
        let (journal, kept) = folder.open();
        assert_eq!((kept.rows.len(), kept.keys.len(), kept.ending), (0, 0, Ending::Clean));
        let mut ledger = Ledger::restored(kept.rows, kept.ending);
        let quarter = Window::new("1Q".parse().unwrap(), true, 4);
        for (metric, window) in [(Metric::Cost, quarter), (Metric::Tokens, Window::Never)] {
            ledger.counter(&id(metric), &strict(window), 1_700_000_000_000).0.charge(0, 77);
        }
        let rows = ledger.export();
        let saved: Vec<_> = rows.iter().map(|row| row.saved.clone()).collect();
        let value = |text, before: Option<&str>| KeyValue {
            now: Digest::of(text),
            before: before.map(|text| (Digest::of(text), 99)),
        };
        let keys = vec![
            ("a".into(), Some(value("new", Some("old")))),
            ("b".into(), Some(value("one", None))),
            ("c".into(), Some(value("two", None))),
        ];
        let entry = journal.write(Entry { rows, keys, last: false }, 5).wait().unwrap();
        ledger.committed(&entry.rows);
        let gone = vec![("c".into(), None)];
        journal.write(Entry { keys: gone, ..Entry::default() }, 6).wait().unwrap();
        drop(journal);
        let (journal, mut kept) = folder.open();
        assert_eq!(kept.ending, Ending::Crash, "no last entry");
        kept.rows.sort_by(|a, b| a.id.cmp(&b.id));
        let mut saved = saved;
        saved.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(kept.rows, saved);
        let a = ("a".into(), value("new", Some("old")));
        assert_eq!(kept.keys, [a, ("b".into(), value("one", None))]);
        journal.write(Entry { last: true, ..Entry::default() }, 7).wait().unwrap();
        drop(journal);
        assert_eq!(folder.open().1.ending, Ending::Clean);
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten_after_more_than_a_year() {
        let folder = Folder::new();
        let (journal, _) = folder.open();
        let mut ledger = Ledger::restored([], Ending::Clean);
        ledger.counter(&id(Metric::Cost), &strict(Window::Never), 0);
        let rows = ledger.export();
        journal.write(Entry { rows, ..Entry::default() }, 1_000).wait().unwrap();
        for (now, left) in [(1_000 + FORGET_MS, 1), (1_001 + FORGET_MS, 0)] {
            journal.forget(vec![id(Metric::Cost)], now).wait().unwrap();
            let count = journal.store.run(|db| rows_of(db)).wait().unwrap();
            assert_eq!(count, left);
        }
    }

    fn rows_of(db: &Connection) -> rusqlite::Result<usize> {
        rows(db).map(|rows| rows.len())
    }
}
