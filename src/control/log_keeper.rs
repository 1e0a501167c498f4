//! The log's own thread: from the workers' records to rows, lines and the live feed.
//!
//! In: batches of records. Out: rows, committed at least once a second; a line each on standard
//! output where that is wanted; the rows again for whoever listens. What is older than it may be
//! is forgotten. A database that refuses rows is tried again, while the mailbox fills and counts
//! what it drops. Never: loses a record that was taken without saying so.

use crate::config::Snapshot;
use crate::control::log_prices::LogPrices;
use crate::observe::outbox::{Arrived, Records};
use crate::observe::{Inbox, access_log, log};
use crate::store::log_db::Connection;
use crate::store::log_row::{self, Columns, Written};
use crate::store::log_write::{self, Writer};
use crate::store::sql::Row;
use std::io::Write;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, watch};

/// A write may take as long before it is given up.
const WRITE_MAX: Duration = Duration::from_mins(1);
/// Between two looks at what is too old.
const FORGET: Duration = Duration::from_hours(1);
/// After a failed write.
const AGAIN: Duration = Duration::from_secs(1);
/// Records beyond a batch that may wait for a database that refuses them.
const FULL: usize = 1000;
/// Who listens and falls behind by more misses some.
pub const FEED: usize = 1024;

/// What the log's thread works with.
#[derive(Debug)]
pub struct LogKeeper {
    pub inbox: Inbox,
    /// Absent where only lines are written.
    pub writer: Option<Connection>,
    pub prices: LogPrices,
    pub in_force: watch::Receiver<Arc<Snapshot>>,
    pub feed: broadcast::Sender<Arc<str>>,
    /// Lines for people.
    pub pretty: bool,
}

impl LogKeeper {
    /// Starts the thread. It ends after the last worker, with everything written.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start(self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("log".to_owned()).spawn(move || self.run())
    }

    fn run(self) {
        let mut desk = Desk { writer: Writer::default(), waiting: Vec::new(), keeper: self };
        let mut forgot: Option<Instant> = None;
        let mut since = Instant::now();
        loop {
            let (interval, batch) = {
                let snapshot = desk.keeper.in_force.borrow();
                (snapshot.logging.interval, snapshot.logging.batch)
            };
            if desk.waiting.len() > batch + FULL {
                if desk.keeper.inbox.ended() {
                    desk.give_up();
                    return;
                }
                if !desk.write() {
                    std::thread::park_timeout(AGAIN);
                }
                continue;
            }
            match desk.keeper.inbox.wait(interval.saturating_sub(since.elapsed())) {
                Arrived::Records(records) => {
                    if desk.waiting.is_empty() {
                        since = Instant::now();
                    }
                    desk.take(records);
                    if desk.waiting.len() < batch && since.elapsed() < interval {
                        continue;
                    }
                }
                Arrived::Nothing => {}
                Arrived::End => {
                    if !desk.write() {
                        desk.give_up();
                    }
                    return;
                }
            }
            since = Instant::now();
            if !desk.write() {
                std::thread::park_timeout(AGAIN);
            } else if forgot.is_none_or(|at| at.elapsed() > FORGET) && !desk.forget() {
                forgot = Some(Instant::now());
            }
        }
    }
}

struct Desk {
    keeper: LogKeeper,
    writer: Writer,
    waiting: Vec<Written>,
}

impl Desk {
    fn take(&mut self, records: Records) {
        let access = self.keeper.in_force.borrow().logging.access;
        let mut lines = String::new();
        for record in records {
            let cost = self.keeper.prices.of_record(&record);
            if access {
                let line = if self.keeper.pretty { access_log::pretty } else { access_log::json };
                lines.push_str(&line(&record, cost));
                lines.push('\n');
            }
            // What was no call of an API is a line, but no row.
            if self.keeper.writer.is_some() && !record.operation.is_empty() {
                self.waiting.push(log_row::of(*record, cost));
            }
        }
        if !lines.is_empty() {
            // Nobody reads them: nothing to be done.
            let _closed = std::io::stdout().lock().write_all(lines.as_bytes());
        }
    }

    /// Writes what waits; `false` when it is still waiting.
    fn write(&mut self) -> bool {
        let Some(database) = &self.keeper.writer else { return true };
        if self.waiting.is_empty() {
            return true;
        }
        let (mut writer, mut waiting) =
            (std::mem::take(&mut self.writer), std::mem::take(&mut self.waiting));
        let done = database.run(WRITE_MAX, move |session| {
            let written = writer.insert(session, &mut waiting);
            Ok((writer, waiting, written))
        });
        let failure = match done.wait() {
            Ok(Ok((writer, waiting, written))) => {
                (self.writer, self.waiting) = (writer, waiting);
                match written {
                    Ok(rows) => {
                        self.tell(&rows);
                        return true;
                    }
                    Err(fault) => fault.to_string(),
                }
            }
            Ok(Err(fault)) => fault.to_string(),
            Err(error) => error.to_string(),
        };
        log::error("the log cannot be written", &[("reason", &failure)]);
        false
    }

    fn give_up(&self) {
        let count = self.waiting.len().to_string();
        log::error("requests are not in the log", &[("count", &count)]);
    }

    fn tell(&self, rows: &[Row]) {
        if self.keeper.feed.receiver_count() == 0 {
            return;
        }
        for row in rows {
            let payload = Columns(row).json();
            let message =
                serde_json::json!({"type": "log", "operation": "create", "payload": payload});
            // The last listener has just left.
            let _gone = self.keeper.feed.send(message.to_string().into());
        }
    }

    /// Forgets some of what is too old; `true` when there is more.
    fn forget(&self) -> bool {
        let Some(database) = &self.keeper.writer else { return false };
        let days = self.keeper.in_force.borrow().logging.retention_days;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let age = Duration::from_hours(24).saturating_mul(days);
        let before = i64::try_from(now.saturating_sub(age).as_micros()).unwrap_or(0);
        let done = database.run(WRITE_MAX, move |session| log_write::forget(session, before));
        match done.wait() {
            Ok(Ok(more)) => more,
            Ok(Err(fault)) => {
                log::error("old requests are not forgotten", &[("reason", &fault.to_string())]);
                false
            }
            Err(_) => false,
        }
    }
}
