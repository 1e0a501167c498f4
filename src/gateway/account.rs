//! What became of a request: noted on the way, counted once at its end.
//!
//! In: what the tap, the transcoder or the mock saw. Out: the worker's counters. Never: counts a
//! request twice, or not at all: `serve` calls [`settle`] at its one end, whatever happened.

use super::Core;
use super::exchange::Halt;
use super::trail::Trail;
use crate::chat::{Dialect, Fault, Folded, StopReason, Usage};
use crate::dialect::Tap;
use crate::dialect::Transcoder;
use crate::dialect::counts_of;
use crate::net::client_conn::{ClientConn, Incoming};
use crate::observe::Record;
use crate::provider::Operation;
use crate::wire::json_scan::{self, DEPTH_MAX};

/// The facts of one request.
#[derive(Debug, Default)]
pub struct Tally {
    pub client: Option<Dialect>,
    pub upstream: Option<Dialect>,
    /// As sent to the client; 0 when it went away before.
    pub status: u16,
    pub usage: Usage,
    pub stop: Option<StopReason>,
    pub fault: Option<Fault<'static>>,
    pub events: u64,
    pub losses: u64,
    pub trail: Trail,
    /// Nano-dollars, where there is a price.
    pub cost: Option<u64>,
    /// Present where requests are logged.
    pub record: Option<Box<Record>>,
}

impl Tally {
    pub fn take_tap(&mut self, tap: &Tap, events: u64) {
        self.events = events;
        self.stop = tap.stop().map(|stop| stop.reason);
        // Also of a stream that is not over: its client may leave, and what it used is charged.
        if *tap.usage() != self.usage {
            self.usage.merge(tap.usage());
        }
        if self.stop.is_some() || tap.saw_end() || tap.fault().is_some() {
            self.fault = tap.fault().cloned();
        }
    }

    /// What a whole answer tells of itself.
    pub fn take_whole(&mut self, operation: Operation, upstream: Dialect, body: &[u8]) {
        if operation != Operation::Chat {
            self.take_counts(body);
        } else if let Ok(text) = std::str::from_utf8(body) {
            let mut tap = Tap::new(upstream);
            tap.message(text);
            self.take_tap(&tap, 0);
            self.usage.merge(tap.usage());
        }
    }

    /// The counts of what is no conversation: JSON as a rule, but not always.
    pub fn take_counts(&mut self, body: &[u8]) {
        if body.first() == Some(&b'{')
            && json_scan::validate(body, DEPTH_MAX).is_ok()
            && let Ok(text) = std::str::from_utf8(body)
        {
            self.usage.merge(&counts_of(text));
        }
    }

    pub fn take_stream(&mut self, transcoder: &Transcoder, events: u64) {
        self.events = events;
        if *transcoder.usage() != self.usage {
            self.usage.merge(transcoder.usage());
        }
        if transcoder.ended() {
            self.stop = transcoder.stop().map(|stop| stop.reason);
            self.fault = transcoder.fault().cloned();
        }
    }

    pub fn take_folded(&mut self, folded: &Folded) {
        self.usage.merge(&folded.usage);
        self.stop = folded.stop.as_ref().map(|stop| stop.reason);
        self.fault.clone_from(&folded.fault);
    }

    /// A whole answer that broke off: all that can be done is to end the connection.
    pub fn end_of_whole(&mut self, halt: Halt) -> Halt {
        if let Halt::Failed(failure) = halt {
            self.fault(&failure.fault);
        }
        Halt::Gone
    }

    pub fn fault(&mut self, fault: &Fault<'static>) {
        self.fault = Some(fault.clone());
    }
}

/// Counts a finished request, and has it logged.
pub fn settle(core: &Core, client: &mut ClientConn, incoming: &mut Incoming, tally: &mut Tally) {
    count(core, tally);
    tally.send_record(core, client, incoming);
}

fn count(core: &Core, tally: &Tally) {
    let counters = &core.counters;
    let index = |dialect: Dialect| Dialect::ALL.iter().position(|&each| each == dialect);
    let class = usize::from(tally.status / 100).min(5);
    let client = tally.client.and_then(index).unwrap_or_default();
    if let Some(count) = counters.requests.get(client).and_then(|classes| classes.get(class)) {
        count.add(1);
    }
    if let Some(upstream) = tally.upstream.and_then(index) {
        let cell = |of: &'_ [[_; Dialect::ALL.len()]; Dialect::ALL.len()], amount| {
            if let Some(count) = of.get(client).and_then(|row| row.get(upstream)) {
                crate::observe::Count::add(count, amount);
            }
        };
        cell(&counters.cells, 1);
        cell(&counters.losses, tally.losses);
    }
    if tally.status == 0 {
        counters.client_gone.add(1);
    }
    counters.stream_events.add(tally.events);
    counters.input_tokens.add(tally.usage.input.unwrap_or(0));
    counters.output_tokens.add(tally.usage.output.unwrap_or(0));
    counters.cache_read_tokens.add(tally.usage.cache_read.unwrap_or(0));
}
