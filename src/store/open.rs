//! How a database is opened: its file, its lock, its pragmas, its tables.
//!
//! In: the path, the layout. Out: a connection, ready to be used. Never: changes a file that it
//! does not open.

use super::{Durability, Error, Layout};
use rusqlite::{Connection, TransactionBehavior};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a lock of SQLite's that another connection holds is waited for.
const BUSY: Duration = Duration::from_secs(5);
/// How long the end of a process is waited for that still holds the file.
const HANDOVER: Duration = Duration::from_secs(2);
const STATEMENTS_MAX: usize = 64;
/// The write-ahead log is emptied into the file once it has so many pages (of 4 KiB).
const LOG_PAGES: u32 = 1_000;

pub(super) struct Opened {
    pub connection: Connection,
    /// Held as long as the connection; the kernel lets it go with the process.
    pub lock: Option<File>,
}

pub(super) fn open(path: &Path, layout: Layout) -> Result<Opened, Error> {
    create(path).map_err(|source| Error::Folder { path: path.to_owned(), source })?;
    let lock = if layout.sole { Some(lock(path)?) } else { None };
    let connection = connect(path, layout)?;
    Ok(Opened { connection, lock })
}

/// Makes the folder, and an empty file that only this user may read.
fn create(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}

/// Beside the file rather than on it: SQLite has locks of its own there.
#[expect(clippy::disallowed_methods, reason = "before any worker starts, on the opener's thread")]
fn lock(path: &Path) -> Result<File, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = |source| Error::Folder { path: PathBuf::from(&name), source };
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).open(&name).map_err(failed)?;
    let until = Instant::now() + HANDOVER;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}

fn connect(path: &Path, layout: Layout) -> Result<Connection, Error> {
    let failed = |source| Error::Open { path: path.to_owned(), source };
    let mut db = Connection::open(path).map_err(failed)?;
    prepare(&db, layout.durability).map_err(failed)?;
    let (found, known) = (version(&db).map_err(failed)?, layout.migrations.len());
    if found > known {
        return Err(Error::Newer { path: path.to_owned(), found, known });
    }
    migrate(&mut db, layout.migrations).map_err(failed)?;
    Ok(db)
}

fn prepare(db: &Connection, durability: Durability) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    db.pragma_update(None, "journal_mode", "WAL")?;
    set_durability(db, durability)?;
    db.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    db.pragma_update(None, "foreign_keys", true)
}

/// What the commits from now on survive; not within a transaction.
pub fn set_durability(db: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let level = match durability {
        Durability::Machine => "FULL",
        Durability::Process => "NORMAL",
    };
    db.pragma_update(None, "synchronous", level)
}

fn version(db: &Connection) -> rusqlite::Result<usize> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

/// All steps that are missing, or none: a second opener waits and then finds them done.
fn migrate(db: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    let all = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in migrations.iter().skip(version(&all)?) {
        all.execute_batch(step)?;
    }
    let version = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    all.pragma_update(None, "user_version", version)?;
    all.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_as_durable_as_asked_for() {
        for (durability, synchronous) in [(Durability::Machine, 2), (Durability::Process, 1)] {
            let db = Connection::open_in_memory().unwrap();
            prepare(&db, durability).unwrap();
            let found: i64 = db.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
            assert_eq!(found, synchronous);
        }
    }
}
