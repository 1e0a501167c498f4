//! SQLite on a thread of its own: what must outlive the process.
//!
//! In: where a database lies and how its tables came to be ([`Layout`]), then jobs: closures that
//! get the connection. Out: what each job gave, through an [`Answer`] that can be awaited or waited
//! for. Jobs run one after the other, in the order in which they came; the mailbox has a limit.
//! [`Keeper`] ends the thread after the jobs that were given before, and leaves one flushed file.
//! Never: used by a worker; runs a job twice; opens a database that a newer version wrote.

pub mod log_counters;
pub mod log_db;
pub mod log_filter;
pub mod log_page;
pub mod log_row;
pub mod log_schema;
pub mod log_stats;
pub mod log_write;
mod open;
pub mod sql;

pub use open::set_durability;

use rusqlite::Connection;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Jobs that may wait for the thread.
const JOBS_MAX: usize = 1024;

/// How a database is to be opened.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Of the thread: at most 15 characters.
    pub name: &'static str,
    /// SQL that leads from each version of the tables to the next, the first from an empty
    /// database. Only ever appended to: `PRAGMA user_version` counts how many have run.
    pub migrations: &'static [&'static str],
    pub durability: Durability,
    /// Whether a second process at the same file would do harm. It is then refused.
    pub sole: bool,
}

/// What a commit has survived once it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, and of the machine: the write-ahead log is synced at each commit
    /// (`synchronous=FULL`). For what is promised, and committed rarely.
    Machine,
    /// The end of the process, however sudden; a power cut may take the last commits, and nothing
    /// older (`synchronous=NORMAL`). For what is much and can be missed.
    Process,
}

/// Why a store does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("{}: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("{}: is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("{}: was written by a newer version (its tables are of version {found}, \
             this one knows {known})", path.display())]
    Newer { path: PathBuf, found: usize, known: usize },
    #[error("no thread for the store: {0}")]
    Thread(std::io::Error),
    #[error("{0}")]
    Job(#[from] rusqlite::Error),
    /// As many jobs wait as may.
    #[error("the store is too far behind")]
    Behind,
    /// The thread has ended.
    #[error("the store is closed")]
    Closed,
}

enum Mail {
    Job(Box<dyn FnOnce(&mut Connection) + Send>),
    Close,
}

/// The way to a database; clones lead to the same thread.
#[derive(Debug, Clone)]
pub struct Store {
    mail: flume::Sender<Mail>,
}

/// Owns the thread: dropped, it lets the jobs before finish, flushes and closes.
#[derive(Debug)]
pub struct Keeper {
    mail: flume::Sender<Mail>,
    thread: Option<JoinHandle<()>>,
}

/// Opens the database, creating it with its folder where there is none, and brings its tables up to
/// date. Blocks meanwhile.
///
/// # Errors
/// When it cannot be used; nothing is changed then.
pub fn open(path: &Path, layout: Layout) -> Result<(Store, Keeper), Error> {
    let opened = open::open(path, layout)?;
    let (mail, jobs) = flume::bounded(JOBS_MAX);
    let run = move || {
        let open::Opened { mut connection, lock } = opened;
        while let Ok(Mail::Job(job)) = jobs.recv() {
            job(&mut connection);
        }
        drop(jobs);
        // Best effort: the write-ahead log is read at the next start, if it stays.
        let _unoptimized = connection.execute_batch("PRAGMA optimize");
        drop((connection, lock));
    };
    let thread = std::thread::Builder::new().name(layout.name.to_owned());
    let thread = Some(thread.spawn(run).map_err(Error::Thread)?);
    Ok((Store { mail: mail.clone() }, Keeper { mail, thread }))
}

impl Store {
    /// Runs a job on the thread. What it gives is ignored where the answer is dropped; the job runs
    /// nevertheless. Use `prepare_cached`: each statement is then prepared once.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<T> {
        let (answer, answered) = oneshot::channel();
        let failed = |error| {
            let (answer, answered) = oneshot::channel();
            // The receiver is right here.
            let _heard = answer.send(Err(error));
            Answer(answered)
        };
        let job = Box::new(move |connection: &mut Connection| {
            // Nobody has to wait for it.
            let _unheard = answer.send(job(connection).map_err(Error::Job));
        });
        match self.mail.try_send(Mail::Job(job)) {
            Ok(()) => Answer(answered),
            Err(flume::TrySendError::Full(_)) => failed(Error::Behind),
            Err(flume::TrySendError::Disconnected(_)) => failed(Error::Closed),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // It has ended already if it does not take the mail.
        let _ended = self.mail.send(Mail::Close);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// What a job gives, once it has run.
#[derive(Debug)]
pub struct Answer<T>(oneshot::Receiver<Result<T, Error>>);

impl<T> Answer<T> {
    /// Blocks until the job has run: for the start of the process and its end.
    ///
    /// # Errors
    /// The job's own, or why it did not run.
    pub fn wait(self) -> Result<T, Error> {
        self.0.blocking_recv().unwrap_or(Err(Error::Closed))
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(Error::Closed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    const FIRST: &str = "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;";
    const SECOND: &str = "ALTER TABLE notes ADD COLUMN at INTEGER NOT NULL DEFAULT 7;";

    fn layout(migrations: &'static [&'static str]) -> Layout {
        Layout { name: "store-test", migrations, durability: Durability::Machine, sole: true }
    }

    /// A folder of its own for each test, gone afterwards.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("finops-store-{}-{next}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn file(&self) -> PathBuf {
            self.0.join("below").join("notes.db")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _absent = std::fs::remove_dir_all(&self.0);
        }
    }

    fn write(store: &Store, text: &'static str) -> Answer<usize> {
        store.run(move |db| {
            db.prepare_cached("INSERT INTO notes (text) VALUES (?1)")?.execute([text])
        })
    }

    fn read(store: &Store, column: &'static str) -> Vec<String> {
        let sql = format!("SELECT CAST({column} AS TEXT) FROM notes ORDER BY id");
        let rows = store
            .run(move |db| db.prepare_cached(&sql)?.query_map([], |row| row.get(0))?.collect());
        rows.wait().unwrap()
    }

    #[test]
    fn what_was_given_before_the_end_is_there_afterwards() {
        let folder = Folder::new();
        let (store, keeper) = open(&folder.file(), layout(&[FIRST])).unwrap();
        let answers: Vec<_> = (0..500).map(|_| write(&store, "a")).collect();
        drop(keeper);
        assert!(answers.into_iter().all(|answer| matches!(answer.wait(), Ok(1))));
        assert!(matches!(write(&store, "b").wait(), Err(Error::Closed)));
        let (store, keeper) = open(&folder.file(), layout(&[FIRST])).unwrap();
        assert_eq!(read(&store, "text").len(), 500);
        drop(keeper);
        let left: Vec<_> = std::fs::read_dir(folder.file().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(!left.iter().any(|name| name.contains("wal")), "flushed, no log: {left:?}");
    }

    #[test]
    fn tables_of_an_older_version_are_brought_up_to_date_and_newer_ones_refused() {
        let folder = Folder::new();
        let (store, keeper) = open(&folder.file(), layout(&[FIRST])).unwrap();
        write(&store, "old").wait().unwrap();
        drop(keeper);
        let (store, keeper) = open(&folder.file(), layout(&[FIRST, SECOND])).unwrap();
        assert_eq!(
            (read(&store, "text"), read(&store, "at")),
            (vec!["old".into()], vec!["7".into()])
        );
        drop(keeper);
        let newer = open(&folder.file(), layout(&[FIRST])).unwrap_err();
        assert!(newer.to_string().contains("newer version"), "{newer}");
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let folder = Folder::new();
        drop(open(&folder.file(), layout(&[FIRST])).unwrap());
        let half = "ALTER TABLE notes ADD COLUMN half INTEGER; ALTER TABLE nowhere ADD COLUMN a;";
        let migrations: &'static [&'static str] = Box::leak(Box::new([FIRST, half]));
        open(&folder.file(), layout(migrations)).unwrap_err();
        let (store, _keeper) = open(&folder.file(), layout(&[FIRST, SECOND])).unwrap();
        let count: Answer<u32> = store.run(|db| {
            db.query_row("SELECT count(*) FROM pragma_table_info('notes')", [], |row| row.get(0))
        });
        assert_eq!(count.wait().unwrap(), 3, "id, text, at");
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let folder = Folder::new();
        let (_store, keeper) = open(&folder.file(), layout(&[FIRST])).unwrap();
        let second = open(&folder.file(), layout(&[FIRST])).unwrap_err();
        assert!(matches!(second, Error::InUse { .. }), "{second}");
        // One that only reads along is none.
        let beside = Layout { sole: false, ..layout(&[FIRST]) };
        open(&folder.file(), beside).unwrap();
        drop(keeper);
        open(&folder.file(), layout(&[FIRST])).unwrap();
    }

    #[test]
    fn a_file_that_is_no_database_stays_as_it_is() {
        let folder = Folder::new();
        std::fs::create_dir_all(folder.file().parent().unwrap()).unwrap();
        let text =
            "not a database, but long enough to be looked at as one by its reader".repeat(20);
        std::fs::write(folder.file(), &text).unwrap();
        let error = open(&folder.file(), layout(&[FIRST])).unwrap_err();
        assert!(error.to_string().contains("notes.db: "), "{error}");
        assert_eq!(std::fs::read_to_string(folder.file()).unwrap(), text);
    }

    #[test]
    fn a_job_that_fails_is_answered_and_the_next_one_runs() {
        let folder = Folder::new();
        let (store, _keeper) = open(&folder.file(), layout(&[FIRST])).unwrap();
        let failed = store.run(|db| db.execute("INSERT INTO nowhere VALUES (1)", []));
        assert!(matches!(failed.wait(), Err(Error::Job(_))));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(write(&store, "next")).unwrap(), 1);
    }

    #[test]
    fn nobody_else_may_read_the_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new();
        drop(open(&folder.file(), layout(&[FIRST])).unwrap());
        let mode = std::fs::metadata(folder.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
