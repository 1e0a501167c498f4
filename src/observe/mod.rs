//! What operators see: counters of every worker, added up when they are asked for.
//!
//! In: facts of one request, counted by the worker that served it, in memory of its own. Out: the
//! Prometheus text format. Never: a lock, a shared cache line, or an allocation while counting.

pub mod access_log;
pub mod log;
mod metrics;
pub mod outbox;
pub mod record;

pub use metrics::{Count, Counters, Registry};
pub use outbox::{Inbox, Outbox, Post};
pub use record::Record;
