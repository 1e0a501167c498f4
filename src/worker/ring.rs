//! Builds the event loop of one thread: an io_uring with the flags that pay, or epoll.
//!
//! In: which driver is wanted. Out: the future's result, after it ran to its end on this thread.
//! Never: falls back in silence; [`probe`] says which driver will run and why.
//!
//! Flags, as measured in `src/ARCHITECTURE.md`: `SINGLE_ISSUER` with `DEFER_TASKRUN` needs the fewest
//! ring enters; kernels before 6.1 refuse it, so `COOP_TASKRUN` (5.19) and a plain ring follow.

use std::future::Future;
use std::io;

use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

/// Submission queue entries; completions have twice as many.
const ENTRIES: u32 = 4096;

/// What was asked for on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    #[default]
    Auto,
    IoUring,
    Epoll,
}

/// The event loop that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring with `SINGLE_ISSUER | DEFER_TASKRUN`.
    UringDefer,
    /// io_uring with `COOP_TASKRUN`.
    UringCoop,
    /// io_uring without flags.
    UringPlain,
    Epoll,
}

impl Driver {
    pub fn name(self) -> &'static str {
        match self {
            Self::UringDefer => "io_uring (single issuer, deferred task run)",
            Self::UringCoop => "io_uring (cooperative task run)",
            Self::UringPlain => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Finds the best driver that this host grants, by trying.
///
/// # Errors
/// When io_uring was demanded and is refused; the reason is the kernel's.
pub fn probe(wanted: Wanted) -> io::Result<(Driver, Option<io::Error>)> {
    if wanted == Wanted::Epoll {
        return Ok((Driver::Epoll, None));
    }
    let mut refused = None;
    for driver in [Driver::UringDefer, Driver::UringCoop, Driver::UringPlain] {
        match builder(driver).build(8) {
            Ok(_) => return Ok((driver, None)),
            Err(error) => refused = Some(error),
        }
    }
    match (wanted, refused) {
        (Wanted::IoUring, Some(error)) => Err(error),
        (_, refused) => Ok((Driver::Epoll, refused)),
    }
}

fn builder(driver: Driver) -> io_uring::Builder {
    let mut builder = io_uring::IoUring::builder();
    match driver {
        Driver::UringDefer => {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        Driver::UringCoop => {
            builder.setup_coop_taskrun();
        }
        Driver::UringPlain | Driver::Epoll => {}
    }
    builder
}

/// Runs `future` to its end on this thread.
pub fn run<F: Future>(driver: Driver, future: F) -> io::Result<F::Output> {
    if driver == Driver::Epoll {
        let mut runtime =
            RuntimeBuilder::<TimeDriver<LegacyDriver>>::new().with_entries(ENTRIES).build()?;
        return Ok(runtime.block_on(future));
    }
    let mut runtime = RuntimeBuilder::<TimeDriver<IoUringDriver>>::new()
        .with_entries(ENTRIES)
        .uring_builder(builder(driver))
        .build()?;
    Ok(runtime.block_on(future))
}
