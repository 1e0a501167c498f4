//! Puts configurations in force, and keeps the journal of what is used under them.
//!
//! In: checked snapshots; a word from a worker that a strict limit waits for the journal. Out:
//! snapshots that workers may use, each published only once the journal knows of its counters. The
//! journal is written every second, and at once when asked for. Belongs to the control thread.
//! Never: on the path of a request: one that waits for the journal waits on its worker.

use super::journal::{Entry, FILE, Journal};
use crate::config::enact::{KeyNews, unix_ms};
use crate::config::fault::Faults;
use crate::config::reload::Reload;
use crate::config::{Clerk, Database, Snapshot};
use crate::govern::Ledger;
use crate::govern::price_sheet::Sheet;
use crate::observe::log;
use crate::store;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// What a crash may lose of soft usage.
const PERIOD: Duration = Duration::from_secs(1);

/// The clerk, and the journal where there is one.
#[derive(Debug)]
pub struct Governor {
    clerk: Clerk,
    journal: Option<Journal>,
    /// Not written yet.
    keys: Vec<KeyNews>,
    /// The journal could not be written, and that was said.
    failing: bool,
    kept_in: Database,
}

impl Governor {
    /// For a process that remembers nothing of the one before, and leaves nothing.
    pub fn in_memory() -> Self {
        Self {
            clerk: Clerk::default(),
            journal: None,
            keys: Vec::new(),
            failing: false,
            kept_in: Database::Off,
        }
    }

    /// Opens the journal: `config_store` says where, `dir` is the application's directory. Blocks.
    ///
    /// # Errors
    /// When it was asked for and cannot be used, or another process uses it. Where none was asked
    /// for and none can be made, usage lives in memory, and the log says so.
    pub fn open(database: &Database, dir: &Path) -> Result<Self, String> {
        let path = match database {
            Database::Off => return Ok(Self::in_memory()),
            Database::Usual | Database::Sqlite(None) => dir.join(FILE),
            Database::Sqlite(Some(path)) => dir.join(path),
        };
        let (journal, kept) = match Journal::open(&path) {
            Ok(opened) => opened,
            Err(error) if may_do_without(database, &path) => {
                let reason = error.to_string();
                log::warn(
                    "usage is kept in memory alone: a restart forgets it",
                    &[("reason", &*reason)],
                );
                return Ok(Self { kept_in: database.clone(), ..Self::in_memory() });
            }
            Err(error @ store::Error::InUse { .. }) => {
                return Err(format!("{error}; two gateways cannot share one `config_store`"));
            }
            Err(error) => return Err(format!("config_store: {error}")),
        };
        let ledger = Ledger::restored(kept.rows, kept.ending);
        Ok(Self {
            clerk: Clerk::new(ledger, kept.keys),
            journal: Some(journal),
            keys: Vec::new(),
            failing: false,
            kept_in: database.clone(),
        })
    }

    /// From the next snapshot on, with the prices of this sheet, where there is one.
    pub fn price(&mut self, sheet: Option<Sheet>) {
        self.clerk.sheet = sheet.or(self.clerk.sheet.take());
    }

    /// Makes a checked snapshot ready for requests.
    ///
    /// # Errors
    /// What the check has found before.
    pub async fn enact(&mut self, snapshot: &mut Snapshot) -> Result<(), Faults> {
        let now = unix_ms();
        let news = self.clerk.enact(snapshot, now)?;
        self.keys.extend(news);
        if snapshot.config_store != self.kept_in {
            snapshot.notes.push("a changed `config_store` takes effect at the next start".into());
        }
        self.record().await;
        self.clerk.ledger.sweep();
        Ok(())
    }

    /// Forgets what nobody has asked for in more than a year. Once, after the first
    /// [`Governor::enact`].
    pub async fn forget(&self) {
        let Some(journal) = &self.journal else { return };
        let ids: Vec<_> = self.clerk.ledger.unclaimed().cloned().collect();
        if let Err(error) = journal.forget(ids, unix_ms()).await {
            log::warn("old usage was not forgotten", &[("reason", &error.to_string())]);
        }
    }

    /// Follows changed configurations and keeps the journal, until it is dropped. `hurried`: a
    /// strict limit waits. `publish` gives a snapshot to all workers.
    pub async fn run(
        &mut self,
        reloads: &flume::Receiver<Reload>,
        hurried: &flume::Receiver<()>,
        mut publish: impl AsyncFnMut(Arc<Snapshot>),
    ) -> Infallible {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Ok(reload) = reloads.recv_async() => {
                    if let Some(snapshot) = self.adopt(reload).await {
                        publish(snapshot).await;
                        log::info("configuration reloaded", &[]);
                    }
                }
                Ok(()) = hurried.recv_async() => self.record().await,
                _ = ticks.tick() => self.record().await,
            }
        }
    }

    /// The snapshot of a changed configuration; a bad one changes nothing.
    async fn adopt(&mut self, reload: Reload) -> Option<Arc<Snapshot>> {
        let refused = match reload {
            Reload::Fresh(mut snapshot) => match self.enact(&mut snapshot).await {
                Ok(()) => {
                    snapshot.notes.iter().for_each(|note| log::warn(note, &[]));
                    return Some(snapshot.into());
                }
                Err(faults) => faults.to_string(),
            },
            Reload::Priced { sheet, snapshot } => {
                self.price(Some(sheet));
                let mut snapshot = snapshot?;
                match self.enact(&mut snapshot).await {
                    Ok(()) => return Some(snapshot.into()),
                    Err(faults) => faults.to_string(),
                }
            }
            Reload::Refused(unusable) => unusable.to_string(),
        };
        log::error("configuration refused, nothing is changed", &[("faults", &refused)]);
        None
    }

    /// Writes what the journal does not know yet.
    async fn record(&mut self) {
        let rows = self.clerk.ledger.export();
        if !rows.is_empty() || !self.keys.is_empty() {
            let keys = std::mem::take(&mut self.keys);
            self.write(Entry { rows, keys, last: false }).await;
        }
    }

    /// Writes the last rows: nothing is spent any more.
    pub async fn close(mut self) {
        let rows = self.clerk.ledger.close();
        let keys = std::mem::take(&mut self.keys);
        self.write(Entry { rows, keys, last: true }).await;
    }

    async fn write(&mut self, entry: Entry) {
        let Some(journal) = &self.journal else { return };
        let keys = entry.keys.clone();
        match journal.write(entry, unix_ms()).await {
            Ok(entry) => {
                self.clerk.ledger.committed(&entry.rows);
                if std::mem::take(&mut self.failing) {
                    log::info("usage is written again", &[]);
                }
            }
            Err(error) => {
                self.keys.extend(keys);
                if !std::mem::replace(&mut self.failing, true) {
                    let reason = error.to_string();
                    let message = "usage cannot be written: a crash would forget it, and strict \
                                   limits let nobody in that they have no lease for";
                    log::error(message, &[("reason", &reason)]);
                }
            }
        }
    }
}

/// Whether nobody has asked for a journal: none is configured, and there is none.
fn may_do_without(database: &Database, path: &Path) -> bool {
    let absent = std::fs::metadata(path).map_or(true, |file| file.len() == 0);
    *database == Database::Usual && absent
}
