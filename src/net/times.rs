//! Where the time of one request goes, measured where it waits.
//!
//! In: every wait of a [`ClientConn`](super::client_conn::ClientConn), for the upstream or for the
//! client itself. Out: how long it all took, and what of it was nobody's but the gateway's own.
//! Never: counts a request's time twice; a wait includes what other requests of the same core did
//! meanwhile.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The times of the request under way.
#[derive(Debug)]
pub struct Times {
    began: Cell<Instant>,
    waited: Cell<Duration>,
    connected: Cell<Duration>,
    paused: Cell<Duration>,
    first_byte: Cell<Option<Duration>>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            began: Cell::new(Instant::now()),
            waited: Cell::default(),
            connected: Cell::default(),
            paused: Cell::default(),
            first_byte: Cell::default(),
        }
    }
}

impl Times {
    /// A request is here as a whole.
    pub fn begin(&self) {
        self.began.set(Instant::now());
        self.waited.set(Duration::ZERO);
        self.connected.set(Duration::ZERO);
        self.paused.set(Duration::ZERO);
        self.first_byte.set(None);
    }

    /// A wait that began then is over.
    pub(super) fn note_wait(&self, since: Instant) {
        self.waited.set(self.waited.get() + since.elapsed());
    }

    /// All that was waited since `before` of [`Times::waited`] was for a connection.
    pub fn note_connected(&self, before: Duration) {
        self.connected.set(self.connected.get() + self.waited.get().saturating_sub(before));
    }

    /// All that was waited since `before` was a pause between two attempts.
    pub fn note_pause(&self, before: Duration) {
        self.paused.set(self.paused.get() + self.waited.get().saturating_sub(before));
    }

    /// The head of an answer is here; a later attempt's takes the place of an earlier one's.
    pub fn note_first_byte(&self) {
        self.first_byte.set(Some(self.total()));
    }

    pub fn total(&self) -> Duration {
        self.began.get().elapsed()
    }

    /// Spent on upstreams, on pauses, and on the client taking its answer.
    pub fn waited(&self) -> Duration {
        self.waited.get()
    }

    pub fn connected(&self) -> Duration {
        self.connected.get()
    }

    pub fn paused(&self) -> Duration {
        self.paused.get()
    }

    /// From the begin to the upstream's first byte; `None` where no upstream was asked.
    pub fn first_byte(&self) -> Option<Duration> {
        self.first_byte.get()
    }
}
