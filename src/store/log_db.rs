//! The way to the log's database, whichever it is.
//!
//! In: jobs, closures that get a [`Session`]. Out: what each gave. The writer and the readers have
//! a connection each, so that nobody waits for a long question but who asks the next. Never: lets
//! a question run longer than its limit.

use super::log_schema::MIGRATIONS;
use super::sql::{Fault, Session};
use super::{Answer, Durability, Error, Keeper, Layout, Store, open};
use std::path::Path;
use std::time::{Duration, Instant};

/// The file's name in the application's directory.
pub const FILE: &str = "logs.db";

/// SQLite looks at its watch after so many steps.
const STEPS: i32 = 20_000;

/// Both connections, and what ends them.
#[derive(Debug)]
pub struct LogDb {
    pub writer: Connection,
    pub reader: Connection,
    // The reader's first: what it had open, the writer's last flush takes in.
    _keepers: [Keeper; 2],
}

/// One connection; clones lead to the same one.
#[derive(Debug, Clone)]
pub struct Connection {
    store: Store,
}

/// Opens the log's database, and makes it where there is none.
///
/// # Errors
/// When it cannot be used.
pub fn sqlite(path: &Path) -> Result<LogDb, Error> {
    let layout = Layout {
        name: "log-writer",
        migrations: MIGRATIONS,
        durability: Durability::Machine,
        sole: true,
    };
    let (writer, writing) = open(path, layout)?;
    let (reader, reading) = open(path, Layout { name: "log-reader", sole: false, ..layout })?;
    let (writer, reader) = (Connection { store: writer }, Connection { store: reader });
    Ok(LogDb { writer, reader, _keepers: [reading, writing] })
}

impl Connection {
    /// Runs a job, for no longer than `limit`.
    pub fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        job: impl FnOnce(&mut dyn Session) -> Result<T, Fault> + Send + 'static,
    ) -> Answer<Result<T, Fault>> {
        self.store.run(move |db| {
            let until = Instant::now() + limit;
            db.progress_handler(STEPS, Some(move || Instant::now() > until))?;
            let done = job(db);
            db.progress_handler(STEPS, None::<fn() -> bool>)?;
            Ok(done)
        })
    }
}
