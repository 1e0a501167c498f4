//! The log as a whole: its database, its thread, and the way to both.
//!
//! In: the configuration at the start. Out: what workers and the management API need of it. A store
//! that the configuration names must be there; the usual one may be missing, which is said. Never:
//! ends before everything is written.

use crate::config::{Database, Snapshot};
use crate::control::log_keeper::{FEED, LogKeeper};
use crate::control::log_prices::LogPrices;
use crate::observe::outbox::{self, Bounds};
use crate::observe::{Post, log};
use crate::store::log_db::{self, LogDb};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{broadcast, watch};

/// The log of this process.
#[derive(Debug)]
pub struct Logs {
    /// For workers; absent where nothing is logged.
    pub post: Option<Post>,
    /// Absent where nothing is stored.
    pub database: Option<LogDb>,
    pub prices: LogPrices,
    /// Each request as it is stored.
    pub feed: broadcast::Sender<Arc<str>>,
    thread: Option<JoinHandle<()>>,
}

/// Opens the log.
///
/// # Errors
/// Why the store that the configuration names cannot be used.
pub fn open(
    dir: &Path,
    in_force: &watch::Receiver<Arc<Snapshot>>,
    pretty: bool,
) -> Result<Logs, String> {
    let logging = in_force.borrow().logging.clone();
    let file = match &logging.database {
        Database::Off => None,
        Database::Usual | Database::Sqlite(None) => Some(dir.join(log_db::FILE)),
        Database::Sqlite(Some(file)) => Some(dir.join(file)),
    };
    let database = file.map(|file| log_db::sqlite(&file)).transpose();
    let database = database.map_err(|error| format!("logs_store: {error}"))?;
    let (feed, _) = broadcast::channel(FEED);
    let prices = LogPrices::new(in_force.clone());
    let mut logs = Logs { post: None, database, prices, feed, thread: None };
    if logs.database.is_none() && !logging.access {
        return Ok(logs);
    }
    let (post, inbox) =
        outbox::mailbox(Bounds { records: logging.queue, bytes: logging.queue_bytes });
    let keeper = LogKeeper {
        inbox,
        writer: logs.database.as_ref().map(|database| database.writer.clone()),
        prices: logs.prices.clone(),
        in_force: in_force.clone(),
        feed: logs.feed.clone(),
        pretty,
    };
    logs.thread = Some(keeper.start().map_err(|error| format!("no thread for the log: {error}"))?);
    logs.post = Some(post);
    Ok(logs)
}

impl Logs {
    /// Waits until everything that the workers gave is written; they must have ended.
    pub fn close(mut self) {
        self.post = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error("the log's thread panicked", &[]);
        }
    }
}
