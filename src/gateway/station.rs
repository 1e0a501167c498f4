//! The life of one worker: accept, serve, take mail, drain.
//!
//! In: what [`Outfit`] brings from the start. Out: nothing; the worker ends when it has drained.
//! Mail from the control thread is taken between requests; what is in flight keeps what it began with.
//! Never: blocks, or waits for the control thread.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::{Either, select};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;

use super::wallet::Wallet;
use super::{Core, Ways, connection};
use crate::config::Snapshot;
use crate::control::leases::Ask;
use crate::net::listener;
use crate::net::upstream::{Lookup, Pool};
use crate::provider::login::{Lease, LoginId};
use crate::worker::Seat;
use crate::worker::clock::{Clock, TICK};

/// What the control thread tells a worker.
#[derive(Debug, Clone)]
pub enum Mail {
    /// From now on this configuration is in force.
    Snapshot(Arc<Snapshot>),
    /// A name was looked up again.
    Addresses { host: Box<str>, addresses: Arc<[IpAddr]> },
    /// A credential was fetched, for the first time or anew.
    Lease { id: LoginId, lease: Arc<Lease> },
    /// Accept nothing more, and end once nothing is in flight.
    Drain,
}

/// What a worker starts with.
#[derive(Debug)]
pub struct Outfit {
    pub seat: Seat,
    pub workers: usize,
    pub address: SocketAddr,
    /// Handed over by the service manager, in the place of one of its own.
    pub socket: Option<std::net::TcpListener>,
    pub snapshot: Arc<Snapshot>,
    pub ways: Ways,
    pub lookups: flume::Sender<Lookup>,
    pub logins: flume::Sender<Ask>,
    pub roots: Arc<[CertificateDer<'static>]>,
    pub tls: Option<Arc<ServerConfig>>,
    pub mail: flume::Receiver<Mail>,
    /// Told once: the worker listens, or why it can't.
    pub ready: flume::Sender<std::io::Result<()>>,
}

/// Runs one worker to its end.
pub async fn run(outfit: Outfit, clock: Rc<Clock>) {
    let Outfit { seat, workers, address, ways, mail, ready, .. } = outfit;
    let pool = Pool::new(Rc::clone(&clock), outfit.lookups, outfit.roots, workers);
    let wallet = Wallet::new(outfit.logins);
    let core = Core::new(seat, clock, (pool, wallet), ways, outfit.snapshot);
    let listening = match outfit.socket {
        Some(socket) => listener::adopt(socket, seat.driver),
        None => listener::bind(address),
    };
    let listener = match listening {
        Ok(listener) => listener,
        Err(error) => {
            let _main_is_gone = ready.send(Err(error));
            return;
        }
    };
    let _main_is_gone = ready.send(Ok(()));
    let sweeping = Rc::clone(&core);
    monoio::spawn(async move {
        loop {
            monoio::time::sleep(SWEEP).await;
            sweeping.pool.sweep(POOL_IDLE_MAX);
        }
    });
    if core.outbox.is_some() {
        monoio::spawn(post(Rc::clone(&core)));
    }
    let mut accepting = Box::pin(listener::accept(&listener));
    loop {
        match select(accepting.as_mut(), mail.recv_async()).await {
            Either::Left(((stream, _peer), _)) => {
                accepting = Box::pin(listener::accept(&listener));
                monoio::spawn(connection::run(Rc::clone(&core), stream, outfit.tls.clone()));
            }
            Either::Right((Ok(Mail::Snapshot(snapshot)), _)) => core.adopt(snapshot),
            Either::Right((Ok(Mail::Addresses { host, addresses }), _)) => {
                core.pool.learn(&host, addresses);
            }
            Either::Right((Ok(Mail::Lease { id, lease }), _)) => {
                core.wallet.learn(id, &lease);
            }
            // The control thread has ended: so has the process's reason to live.
            Either::Right((Ok(Mail::Drain) | Err(_), _)) => break,
        }
    }
    drop(accepting);
    drop(listener);
    drain(&core).await;
    if let Some(outbox) = &core.outbox {
        outbox.close(&core.counters);
    }
}

/// Sends off what the log has not been given yet, again and again.
async fn post(core: Rc<Core>) {
    loop {
        monoio::time::sleep(POST).await;
        if let Some(outbox) = &core.outbox {
            outbox.flush(&core.counters);
        }
    }
}

/// Waits for what is in flight; idle connections are closed at once.
async fn drain(core: &Core) {
    core.draining.set(true);
    core.clock.ring_idle();
    let mut left = core.snapshot().client.drain;
    while core.open.get() > 0 && !left.is_zero() {
        monoio::time::sleep(TICK).await;
        core.clock.ring_idle();
        left = left.saturating_sub(TICK);
    }
}

/// A record waits no longer in its worker.
const POST: std::time::Duration = std::time::Duration::from_millis(100);
const SWEEP: std::time::Duration = std::time::Duration::from_secs(5);
/// Pooled connections idle for longer are closed; most servers close theirs sooner.
const POOL_IDLE_MAX: std::time::Duration = std::time::Duration::from_secs(90);
