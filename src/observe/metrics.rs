//! Counters per worker.
//!
//! In: increments by their own worker (plain stores in effect: each has one writer). Out: sums over
//! all workers as Prometheus text. Never: unbounded labels.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::chat::Dialect;

/// A count with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, amount: u64) {
        // One writer: a load and a store are exact, and cheaper than a locked addition.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }
    pub fn sub(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(amount), Ordering::Relaxed);
    }
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

const DIALECTS: usize = Dialect::ALL.len();

/// Everything one worker counts. Aligned, so that no two workers share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    pub connections: Count,
    pub connections_open: Count,
    /// Those on which HTTP/2 is spoken.
    pub http2_connections: Count,
    /// Those of HTTP/2 that were ended for what the client did.
    pub http2_refused: Count,
    /// By client dialect and class of status (1xx … 5xx, 0: the client went away).
    pub requests: [[Count; 6]; DIALECTS],
    /// By client and upstream dialect.
    pub cells: [[Count; DIALECTS]; DIALECTS],
    /// Fields that could not be carried over, by cell.
    pub losses: [[Count; DIALECTS]; DIALECTS],
    pub input_tokens: Count,
    pub output_tokens: Count,
    pub cache_read_tokens: Count,
    pub upstream_connections: Count,
    pub upstream_reused: Count,
    pub upstream_stale: Count,
    pub upstream_failures: Count,
    pub streams_open: Count,
    pub stream_events: Count,
    pub heartbeats: Count,
    pub client_gone: Count,
    pub retries: Count,
    /// Records that the log had no room for.
    pub log_dropped: Count,
    /// Records that it took without their bodies.
    pub log_bodies_dropped: Count,
}

/// The counters of all workers.
#[derive(Debug, Clone)]
pub struct Registry {
    workers: Arc<[Arc<Counters>]>,
}

impl Registry {
    pub fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| Arc::default()).collect() }
    }

    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    pub fn of(&self, worker: usize) -> Arc<Counters> {
        self.workers.get(worker).map_or_else(Arc::default, Arc::clone)
    }

    /// Records that the log had no room for, and those that it took without their bodies.
    pub fn log_dropped(&self) -> (u64, u64) {
        (self.sum(|c| &c.log_dropped), self.sum(|c| &c.log_bodies_dropped))
    }

    fn sum(&self, of: impl Fn(&Counters) -> &Count) -> u64 {
        self.workers.iter().map(|counters| of(counters).get()).sum()
    }

    /// The Prometheus text format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(4096);
        self.render_plain(&mut out);
        family(&mut out, "bifrost_http_requests_total", "counter", "Requests by client dialect.");
        for (client, dialect) in Dialect::ALL.iter().enumerate() {
            for class in 0..6 {
                let count = self.sum(|c| &c.requests[client][class]);
                if count > 0 {
                    let labels = format!("dialect=\"{}\",status=\"{class}xx\"", dialect.name());
                    sample(&mut out, "bifrost_http_requests_total", &labels, count);
                }
            }
        }
        self.render_cells(&mut out, "finops_exchanges_total", "Answered by an upstream.", |c| {
            &c.cells
        });
        self.render_cells(&mut out, "finops_losses_total", "Fields not carried over.", |c| {
            &c.losses
        });
        out
    }

    fn render_plain(&self, out: &mut String) {
        type Of = fn(&Counters) -> &Count;
        let plain: [(&str, &str, &str, Of); 19] = [
            ("finops_connections_total", "counter", "Accepted.", |c| &c.connections),
            ("finops_connections_open", "gauge", "Open now.", |c| &c.connections_open),
            ("finops_http2_connections_total", "counter", "Accepted, of HTTP/2.", |c| {
                &c.http2_connections
            }),
            ("finops_http2_refused_total", "counter", "Ended for a client's misconduct.", |c| {
                &c.http2_refused
            }),
            ("finops_input_tokens_total", "counter", "Without cache.", |c| &c.input_tokens),
            ("finops_output_tokens_total", "counter", "Answered.", |c| &c.output_tokens),
            ("finops_cache_read_tokens_total", "counter", "From prompt caches.", |c| {
                &c.cache_read_tokens
            }),
            ("finops_upstream_connections_total", "counter", "Dialled.", |c| {
                &c.upstream_connections
            }),
            ("finops_upstream_reused_total", "counter", "Taken from a pool.", |c| {
                &c.upstream_reused
            }),
            ("finops_upstream_stale_total", "counter", "Pooled, but closed.", |c| {
                &c.upstream_stale
            }),
            ("finops_upstream_failures_total", "counter", "Failed attempts.", |c| {
                &c.upstream_failures
            }),
            ("finops_streams_open", "gauge", "Streams open now.", |c| &c.streams_open),
            ("finops_stream_events_total", "counter", "Events passed on.", |c| &c.stream_events),
            ("finops_heartbeats_total", "counter", "Sent on quiet streams.", |c| &c.heartbeats),
            ("finops_client_gone_total", "counter", "Left before the end.", |c| &c.client_gone),
            ("finops_retries_total", "counter", "Further attempts.", |c| &c.retries),
            ("finops_log_dropped_total", "counter", "Log records without room.", |c| {
                &c.log_dropped
            }),
            ("finops_log_bodies_dropped_total", "counter", "Logged without bodies.", |c| {
                &c.log_bodies_dropped
            }),
            ("finops_workers", "gauge", "Event loops.", |c| &c.connections),
        ];
        for (name, kind, help, of) in plain {
            family(out, name, kind, help);
            let value = match name {
                "finops_workers" => self.workers.len() as u64,
                _ => self.sum(of),
            };
            sample(out, name, "", value);
        }
    }

    fn render_cells(
        &self,
        out: &mut String,
        name: &str,
        help: &str,
        of: impl Fn(&Counters) -> &[[Count; DIALECTS]; DIALECTS],
    ) {
        family(out, name, "counter", help);
        for (client, from) in Dialect::ALL.iter().enumerate() {
            for (upstream, to) in Dialect::ALL.iter().enumerate() {
                let count = self.sum(|c| &of(c)[client][upstream]);
                if count > 0 {
                    let labels = format!("client=\"{}\",upstream=\"{}\"", from.name(), to.name());
                    sample(out, name, &labels, count);
                }
            }
        }
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _infallible = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn sample(out: &mut String, name: &str, labels: &str, value: u64) {
    let _infallible = match labels {
        "" => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}
