//! One pinned thread with one ring: how workers are started, and what each keeps for itself.
//!
//! In: a driver, the cores of the affinity mask, a body to run. Out: running threads. Never: shares
//! anything between workers; what they need of each other goes through mailboxes.
//!
//! Life of a worker: pinned -> ring built on its own thread (the ring has a single issuer) -> body
//! runs, with a ticking task beside it -> the body returns once it has drained -> thread ends.

pub mod buffers;
pub mod clock;
pub mod ring;
pub mod write_end;

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::thread::JoinHandle;

use clock::Clock;
use ring::Driver;

/// What one worker is.
#[derive(Debug, Clone, Copy)]
pub struct Seat {
    /// 0-based; also its counters' index.
    pub index: usize,
    /// The CPU that it is pinned to.
    pub cpu: usize,
    pub driver: Driver,
}

/// The CPUs that this process may run on, in order.
pub fn cpus() -> Vec<usize> {
    let Ok(mask) = rustix::thread::sched_getaffinity(None) else { return vec![0] };
    let all: Vec<_> =
        (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| mask.is_set(cpu)).collect();
    if all.is_empty() { vec![0] } else { all }
}

/// Starts one worker thread and runs `body` on it.
///
/// # Errors
/// When the thread cannot be started. A ring that cannot be built ends the thread with that error.
pub fn start<B, F>(seat: Seat, body: B) -> io::Result<JoinHandle<io::Result<()>>>
where
    B: FnOnce(Rc<Clock>) -> F + Send + 'static,
    F: Future<Output = ()>,
{
    std::thread::Builder::new().name(format!("worker-{}", seat.index)).spawn(move || {
        let mut set = rustix::thread::CpuSet::new();
        set.set(seat.cpu);
        // A mask that changed meanwhile is no reason not to serve.
        let _unpinned = rustix::thread::sched_setaffinity(None, &set);
        ring::run(seat.driver, async move {
            let clock = Clock::new();
            let ticking = Rc::clone(&clock);
            monoio::spawn(async move {
                loop {
                    monoio::time::sleep(clock::TICK).await;
                    ticking.tick();
                }
            });
            body(clock).await;
        })
    })
}
