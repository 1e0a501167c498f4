//! From the workers to the log's thread: records in batches, through one bounded mailbox.
//!
//! In: a [`Record`] per request, put into its worker's own [`Outbox`]. Out: batches for whoever
//! holds the [`Inbox`]. A worker touches what others write only once per batch. When the log is
//! behind, bodies are left out first, then whole records; both are counted. Never: waits.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::metrics::Counters;
use super::record::Record;

/// A batch is sent when it has as many records, or when the worker's clock says so.
const BATCH: usize = 64;
/// Batches that may lie in the mailbox.
const BATCHES: usize = 4096;

/// How much may be on its way.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub records: usize,
    pub bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { records: 10_000, bytes: 64 << 20 }
    }
}

#[derive(Debug)]
struct Load {
    records: AtomicUsize,
    bytes: AtomicUsize,
    bounds: Bounds,
}

/// Of one worker, oldest first.
pub type Records = Vec<Box<Record>>;

#[derive(Debug)]
struct Batch {
    records: Records,
    bytes: usize,
}

/// What workers send to; each makes an [`Outbox`] of it.
#[derive(Debug, Clone)]
pub struct Post {
    batches: flume::Sender<Batch>,
    load: Arc<Load>,
}

/// The other end.
#[derive(Debug)]
pub struct Inbox {
    batches: flume::Receiver<Batch>,
    load: Arc<Load>,
}

/// One worker's records that are not sent yet.
#[derive(Debug)]
pub struct Outbox {
    /// Absent once it is closed.
    post: RefCell<Option<Post>>,
    waiting: RefCell<Records>,
}

/// The mailbox, with both its ends.
pub fn mailbox(bounds: Bounds) -> (Post, Inbox) {
    let (send, receive) = flume::bounded(BATCHES);
    let load = Load { records: AtomicUsize::new(0), bytes: AtomicUsize::new(0), bounds };
    let load = Arc::new(load);
    (Post { batches: send, load: Arc::clone(&load) }, Inbox { batches: receive, load })
}

impl Outbox {
    pub fn new(post: Post) -> Self {
        Self { post: RefCell::new(Some(post)), waiting: RefCell::new(Vec::with_capacity(BATCH)) }
    }

    /// Takes a record; it leaves with its batch.
    pub fn put(&self, record: Box<Record>, counters: &Counters) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.push(record);
        if waiting.len() >= BATCH {
            let records = std::mem::replace(&mut *waiting, Vec::with_capacity(BATCH));
            drop(waiting);
            self.send(records, counters);
        }
    }

    /// Sends what is there.
    pub fn flush(&self, counters: &Counters) {
        let records = std::mem::take(&mut *self.waiting.borrow_mut());
        if !records.is_empty() {
            self.send(records, counters);
        }
    }

    /// Sends what is there, and ends: what comes later is dropped. The log waits for this of every
    /// worker, since nobody promises that a runtime frees the tasks that it leaves behind.
    pub fn close(&self, counters: &Counters) {
        self.flush(counters);
        *self.post.borrow_mut() = None;
    }

    fn send(&self, mut records: Records, counters: &Counters) {
        let count = records.len();
        let post = self.post.borrow();
        let Some(post) = &*post else {
            counters.log_dropped.add(count as u64);
            return;
        };
        let load = &post.load;
        if load.records.load(Ordering::Relaxed) + count > load.bounds.records {
            counters.log_dropped.add(count as u64);
            return;
        }
        let mut bytes: usize = records.iter().map(|record| record.bytes()).sum();
        if load.bytes.load(Ordering::Relaxed) + bytes > load.bounds.bytes {
            for record in &mut records {
                counters.log_bodies_dropped.add(u64::from(record.content.take().is_some()));
            }
            bytes = records.iter().map(|record| record.bytes()).sum();
        }
        load.records.fetch_add(count, Ordering::Relaxed);
        load.bytes.fetch_add(bytes, Ordering::Relaxed);
        if post.batches.try_send(Batch { records, bytes }).is_err() {
            load.records.fetch_sub(count, Ordering::Relaxed);
            load.bytes.fetch_sub(bytes, Ordering::Relaxed);
            counters.log_dropped.add(count as u64);
        }
    }
}

/// What waiting for records came to.
#[derive(Debug)]
pub enum Arrived {
    Records(Records),
    /// None in that time.
    Nothing,
    /// No worker is left.
    End,
}

impl Inbox {
    /// Whether no worker is left.
    pub fn ended(&self) -> bool {
        self.batches.is_disconnected()
    }

    /// Waits for the next batch. What it weighed is free from now on for others.
    pub fn wait(&self, limit: Duration) -> Arrived {
        match self.batches.recv_timeout(limit) {
            Ok(batch) => {
                self.load.records.fetch_sub(batch.records.len(), Ordering::Relaxed);
                self.load.bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
                Arrived::Records(batch.records)
            }
            Err(flume::RecvTimeoutError::Timeout) => Arrived::Nothing,
            Err(flume::RecvTimeoutError::Disconnected) => Arrived::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::super::record::Content;
    use super::*;

    fn record(body: usize) -> Box<Record> {
        let content = (body > 0).then(|| Content { request: vec![0; body], ..Content::default() });
        Box::new(Record { content, ..Record::default() })
    }

    fn arrived(inbox: &Inbox) -> Records {
        match inbox.wait(Duration::ZERO) {
            Arrived::Records(records) => records,
            Arrived::Nothing | Arrived::End => Vec::new(),
        }
    }

    #[test]
    fn a_full_mailbox_drops_and_counts() {
        let registry = Registry::new(1);
        let counters = registry.of(0);
        let (post, inbox) = mailbox(Bounds { records: 2 * BATCH, bytes: 1 << 30 });
        let outbox = Outbox::new(post);
        for _ in 0..3 * BATCH + 5 {
            outbox.put(record(0), &counters);
        }
        outbox.flush(&counters);
        let kept = arrived(&inbox).len() + arrived(&inbox).len() + arrived(&inbox).len();
        assert_eq!(kept, 2 * BATCH);
        let text = registry.render();
        assert!(text.contains(&format!("finops_log_dropped_total {}\n", BATCH + 5)), "{text}");
        outbox.put(record(0), &counters);
        outbox.flush(&counters);
        assert_eq!(arrived(&inbox).len(), 1, "room again");
    }

    #[test]
    fn bodies_go_before_records_do() {
        let registry = Registry::new(1);
        let counters = registry.of(0);
        let (post, inbox) = mailbox(Bounds { records: 1000, bytes: 10_000 });
        let outbox = Outbox::new(post);
        for _ in 0..2 {
            outbox.put(record(6000), &counters);
            outbox.flush(&counters);
        }
        assert!(arrived(&inbox).iter().all(|record| record.content.is_some()));
        assert!(arrived(&inbox).iter().all(|record| record.content.is_none()));
        assert!(registry.render().contains("finops_log_bodies_dropped_total 1\n"));
    }
}
