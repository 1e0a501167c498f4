//! What one worker has to itself.
//!
//! In: what the worker was started with, later a new configuration. Out: everything that a request
//! shares with the others of its worker. Never: seen by another worker.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::queue::Lines;
use super::wallet::Wallet;
use crate::config::Snapshot;
use crate::control::management::Call;
use crate::net::copy::Allowance;
use crate::net::upstream::{HEADROOM, Pool, READ};
use crate::observe::{Counters, Outbox, Post, Registry};
use crate::provider::aws_sigv4::SigningKeys;
use crate::route::{Health, Place};
use crate::worker::Seat;
use crate::worker::buffers::Buffers;
use crate::worker::clock::Clock;

/// What copies of open streams may take in one worker.
const COPIES_MAX: usize = 32 << 20;

/// Everything one worker has to itself.
#[derive(Debug)]
pub struct Core {
    pub seat: Seat,
    pub clock: Rc<Clock>,
    pub pool: Pool,
    pub counters: Arc<Counters>,
    /// For upstreams' answers: [`HEADROOM`] and [`READ`] bytes.
    pub buffers: Buffers,
    /// For the answer to `/metrics` only.
    pub registry: Registry,
    snapshot: RefCell<Rc<InForce>>,
    /// Tells the control thread that a strict limit waits for the journal.
    pub hurry: flume::Sender<()>,
    /// No new requests; connections end after the answer under way.
    pub draining: Cell<bool>,
    pub open: Cell<usize>,
    /// What this worker has learnt of providers and keys.
    pub health: RefCell<Health>,
    /// Whether there is anything in it.
    pub ailing: Cell<bool>,
    /// Credentials that were fetched for this worker.
    pub wallet: Wallet,
    /// Derived from the secrets of AWS.
    pub signing_keys: RefCell<SigningKeys>,
    /// To the log; absent where nothing is logged.
    pub outbox: Option<Outbox>,
    /// For copies of answers on their way to clients.
    pub copies: Allowance,
    /// To the control thread's management API.
    pub management: Option<flume::Sender<Call>>,
    /// Of the whole process.
    pub workers: u32,
    /// Calls that wait for a place at their provider.
    pub lines: Lines,
}

/// Where a worker's words go.
#[derive(Debug, Clone)]
pub struct Ways {
    pub registry: Registry,
    pub post: Option<Post>,
    pub management: Option<flume::Sender<Call>>,
    /// See [`Core::hurry`].
    pub hurry: flume::Sender<()>,
}

impl Core {
    pub fn new(
        seat: Seat,
        clock: Rc<Clock>,
        (pool, wallet): (Pool, Wallet),
        ways: Ways,
        snapshot: Arc<Snapshot>,
    ) -> Rc<Self> {
        let Ways { registry, post, management, hurry } = ways;
        let mut health = Health::default();
        health.adapt(snapshot.adaptive);
        Rc::new(Self {
            workers: u32::try_from(registry.workers()).unwrap_or(u32::MAX),
            counters: registry.of(seat.index),
            buffers: Buffers::new(HEADROOM + READ),
            seat,
            clock,
            pool,
            registry,
            snapshot: RefCell::new(Rc::new(InForce(snapshot))),
            hurry,
            draining: Cell::new(false),
            open: Cell::new(0),
            health: RefCell::new(health),
            ailing: Cell::new(false),
            wallet,
            signing_keys: RefCell::default(),
            outbox: post.map(Outbox::new),
            copies: Rc::new(Cell::new(COPIES_MAX)),
            management,
            lines: Lines::default(),
        })
    }

    /// For [`Health`]: milliseconds since the worker's start.
    pub fn coarse_now(&self) -> i64 {
        i64::try_from(self.clock.coarse_ms()).unwrap_or(i64::MAX)
    }

    /// The configuration in force; a request keeps the one that it began with.
    pub fn snapshot(&self) -> Rc<InForce> {
        Rc::clone(&self.snapshot.borrow())
    }

    /// From now on this configuration is in force.
    pub fn adopt(&self, snapshot: Arc<Snapshot>) {
        self.health.borrow_mut().adapt(snapshot.adaptive);
        *self.snapshot.borrow_mut() = Rc::new(InForce(snapshot));
    }

    /// A call goes there: the one that has to show, after a breaker's pause, that the place is well.
    pub fn probe(&self, provider: &str, key: Option<&str>) {
        if self.ailing.get() {
            let (now, mut health) = (self.coarse_now(), self.health.borrow_mut());
            health.begin(Place::provider(provider), now);
            if let Some(key) = key {
                health.begin(Place::key(provider, key), now);
            }
        }
    }
}

/// The configuration as one worker holds it: counted by this worker alone, so that no request
/// touches a counter that another core writes.
#[derive(Debug)]
pub struct InForce(Arc<Snapshot>);

impl std::ops::Deref for InForce {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}
