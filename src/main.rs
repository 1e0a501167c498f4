//! The process: arguments, start, signals, end.
//!
//! Start: read the configuration, find the ring's flags, start one worker per core, wait until all
//! listen. Then this thread is the control thread. End: at SIGTERM or SIGINT the workers drain.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;

use finops_gateway::config::Snapshot;
use finops_gateway::config::cli::{
    self, Arguments, Command, Driver, Explain, LogLevel, LogStyle, Stop,
};
use finops_gateway::config::load::{load, process_env};
use finops_gateway::config::reload;
use finops_gateway::control::governor::Governor;
use finops_gateway::control::http_client::HttpClient;
use finops_gateway::control::leases::{self, Ask};
use finops_gateway::control::logs::{self, Logs};
use finops_gateway::control::management::{self, CALLS_MAX, Call};
use finops_gateway::control::{api, demo, explain, pricing, resolver};
use finops_gateway::gateway::Ways;
use finops_gateway::gateway::station::{self, Mail, Outfit};
use finops_gateway::host::{self, Machine};
use finops_gateway::net::place::{self, Place};
use finops_gateway::net::tls;
use finops_gateway::net::upstream::Lookup;
use finops_gateway::observe::{Post, Registry, log};
use finops_gateway::provider::login::{Lease, LoginId};
use finops_gateway::worker::{self, Seat, ring};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Look-ups that may wait for an answer.
const LOOKUPS_MAX: usize = 1024;
/// Requests that may wait for a credential to be fetched.
const LOGINS_MAX: usize = 4096;
/// Mail that a worker may leave unread.
const MAIL_MAX: usize = 256;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(message) => {
            log::error(&message, &[]);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let flags = match Arguments::parse_from(std::env::args_os()) {
        Ok(flags) => flags,
        Err(Stop { text, code: 0 }) => {
            print!("{text}");
            return Ok(ExitCode::SUCCESS);
        }
        Err(Stop { text, code }) => {
            eprint!("{text}");
            return Ok(ExitCode::from(code));
        }
    };
    let level = match flags.log_level {
        LogLevel::Debug => log::Level::Debug,
        LogLevel::Info => log::Level::Info,
        LogLevel::Warn => log::Level::Warn,
        LogLevel::Error => log::Level::Error,
    };
    log::configure(level, flags.log_style == LogStyle::Pretty);
    let mut out = std::io::stdout();
    let printed = |error: std::io::Error| error.to_string();
    match &flags.command {
        Some(Command::Check { file }) => {
            let code = cli::run_check(&flags, file.as_deref(), &process_env, &mut out);
            return Ok(ExitCode::from(code.map_err(printed)?));
        }
        Some(Command::Schema) => {
            cli::run_schema(&mut out).map_err(printed)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Command::Explain(what)) => return explain(&flags, what),
        Some(Command::Doctor) => {
            let code = host::report(&machine(&flags)?.examine(), &mut out);
            return Ok(ExitCode::from(code.map_err(printed)?));
        }
        Some(Command::Demo) | None => {}
    }
    let dir = flags.app_dir(&process_env);
    let loaded = load(&dir, &process_env).map_err(|unusable| unusable.to_string())?;
    let mut snapshot = loaded.snapshot;
    let mut governor = match flags.command {
        Some(_) => Governor::in_memory(),
        None => Governor::open(&snapshot.config_store, &dir)?,
    };
    // Before anything listens: whoever can reach the gateway can also end it in an orderly way.
    let (runtime, stop) = runtime().map_err(|error| format!("no control runtime: {error}"))?;
    governor.price(pricing::kept(&dir, &snapshot.pricing));
    runtime.block_on(async {
        governor.enact(&mut snapshot).await.map_err(|faults| faults.to_string())?;
        governor.forget().await;
        Ok::<_, String>(())
    })?;
    let snapshot = Arc::new(snapshot);
    for note in &snapshot.notes {
        log::warn(note, &[]);
    }
    let (current, in_force) = watch::channel(Arc::clone(&snapshot));
    let pretty = flags.log_style == LogStyle::Pretty;
    let logs = logs::open(&flags.app_dir(&process_env), &in_force, pretty)?;
    let running = start(&flags, (&flags.host, flags.port.get()), &snapshot, logs.post.clone())?;
    control(&flags, (runtime, stop), running, (current, governor, logs), loaded.digest)?;
    Ok(ExitCode::SUCCESS)
}

/// `finops-gateway explain`: asks a gateway that runs, or one that is started for this alone.
fn explain(flags: &Arguments, what: &Explain) -> Result<ExitCode, String> {
    let unread = |error: std::io::Error| format!("the request's body can't be read: {error}");
    let body = match &what.body {
        Some(file) if file != Path::new("-") => std::fs::read(file).map_err(unread)?,
        _ => {
            let mut body = Vec::new();
            std::io::stdin().read_to_end(&mut body).map_err(unread)?;
            body
        }
    };
    let request = explain::Request {
        method: what.method.clone(),
        path: what.path.clone(),
        headers: what.headers.clone(),
        body,
    };
    let (runtime, _stop) = runtime().map_err(|error| format!("no control runtime: {error}"))?;
    let (status, answer) = if let Some(at) = &what.at {
        runtime.block_on(explain::ask(at, &request))?
    } else {
        let loaded = load(&flags.app_dir(&process_env), &process_env)
            .map_err(|unusable| unusable.to_string())?;
        let mut snapshot = loaded.snapshot;
        // It is asked over the loopback alone.
        snapshot.server.tls = None;
        let mut governor = Governor::in_memory();
        runtime.block_on(governor.enact(&mut snapshot)).map_err(|faults| faults.to_string())?;
        log::configure(log::Level::Error, flags.log_style == LogStyle::Pretty);
        let alone = Arguments { workers: NonZero::new(1), ..flags.clone() };
        let running = start(&alone, ("127.0.0.1", 0), &Arc::new(snapshot), None)?;
        let answer = runtime.block_on(explain::ask(running.address, &request));
        for worker in &running.mail {
            // A worker that has ended has nothing to drain.
            let _ended = worker.send(Mail::Drain);
        }
        join(running.threads)?;
        answer?
    };
    let readable = if what.json { None } else { explain::readable(&answer) };
    println!("{}", readable.as_deref().unwrap_or(&answer));
    Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The control thread's runtime, and the signals that end the process.
fn runtime() -> std::io::Result<(Runtime, Stopping)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let stop = Stopping {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    drop(entered);
    Ok((runtime, stop))
}

/// SIGTERM and SIGINT, noted from the moment this exists.
struct Stopping {
    terminate: Signal,
    interrupt: Signal,
}

impl Stopping {
    async fn asked(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The workers, and the way to them.
struct Running {
    address: SocketAddr,
    mail: Vec<flume::Sender<Mail>>,
    lookups: flume::Receiver<Lookup>,
    hurried: flume::Receiver<()>,
    logins: flume::Receiver<Ask>,
    http: HttpClient,
    calls: flume::Receiver<Call>,
    registry: Registry,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
}

fn start(
    flags: &Arguments,
    place: (&str, u16),
    snapshot: &Arc<Snapshot>,
    post: Option<Post>,
) -> Result<Running, String> {
    if let Err(error) = host::raise_open_files() {
        log::warn("the limit of open files stays", &[("reason", &error.to_string())]);
    }
    let roots = std::thread::spawn(system_roots);
    let (driver, refused) =
        ring::probe(wanted(flags)).map_err(|error| format!("io_uring is refused: {error}"))?;
    match refused {
        Some(error) => log::warn(
            "io_uring is refused here: serving with epoll",
            &[("reason", &error.to_string())],
        ),
        None => log::info("event loop", &[("driver", driver.name())]),
    }
    let place = Place::take(place.0, place.1)?;
    let address = place.address;
    let cpus = worker::cpus();
    let workers = flags.workers.map_or(cpus.len(), NonZero::get);
    let registry = Registry::new(workers);
    let (ask, lookups) = flume::bounded(LOOKUPS_MAX);
    let (hurry, hurried) = flume::bounded(1);
    let (log_in, logins) = flume::bounded(LOGINS_MAX);
    let (ready, listening) = flume::bounded(workers);
    let (call, calls) = flume::bounded(CALLS_MAX);
    let ways = Ways { registry: registry.clone(), post, management: Some(call), hurry };
    let tls = match &snapshot.server.tls {
        Some(tls) => {
            let key = tls.key_pem.expose().as_bytes();
            Some(Arc::new(tls::server_config(tls.cert_pem.as_bytes(), key)?))
        }
        None => None,
    };
    let roots: Arc<[_]> = roots.join().map_err(|_| "reading the system's roots failed")?.into();
    let (mut threads, mut mail) = (Vec::new(), Vec::new());
    for index in 0..workers {
        let (send, receive) = flume::bounded(MAIL_MAX);
        mail.push(send);
        let seat = Seat { index, cpu: cpus[index % cpus.len()], driver };
        let outfit = Outfit {
            seat,
            workers,
            address,
            socket: place.socket_of(index).map_err(|error| error.to_string())?,
            snapshot: Arc::clone(snapshot),
            ways: ways.clone(),
            lookups: ask.clone(),
            logins: log_in.clone(),
            roots: Arc::clone(&roots),
            tls: tls.clone(),
            mail: receive,
            ready: ready.clone(),
        };
        let thread = worker::start(seat, move |clock| station::run(outfit, clock));
        threads.push(thread.map_err(|error| format!("no thread for a worker: {error}"))?);
    }
    let http = HttpClient::new(&roots)?;
    drop((ready, ask, ways, log_in));
    for _ in 0..workers {
        match listening.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(format!("cannot listen on {address}: {error}")),
            Err(_) => return Err(worker_failure(threads)),
        }
    }
    drop(place);
    let (at, count) = (address.to_string(), workers.to_string());
    log::info("listening", &[("address", &at), ("workers", &count)]);
    place::tell_ready();
    Ok(Running { address, mail, lookups, hurried, logins, http, calls, registry, threads })
}

fn wanted(flags: &Arguments) -> ring::Wanted {
    match flags.driver {
        Driver::Auto => ring::Wanted::Auto,
        Driver::IoUring => ring::Wanted::IoUring,
        Driver::Epoll => ring::Wanted::Epoll,
    }
}

fn worker_failure(threads: Vec<JoinHandle<std::io::Result<()>>>) -> String {
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return format!("a worker could not start: {error}"),
            Err(_) => return "a worker panicked at its start".to_owned(),
        }
    }
    "a worker ended at its start".to_owned()
}

/// Certificates that this host trusts; where it has none, the bundled ones are taken later.
fn system_roots() -> Vec<rustls::pki_types::CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// This machine, for `doctor`.
fn machine(flags: &Arguments) -> Result<Machine, String> {
    let (driver, refused) = ring::probe(wanted(flags)).map_err(|error| error.to_string())?;
    let why = refused.map(|error| format!("; io_uring: {error}")).unwrap_or_default();
    // As the gateway would do at its start.
    let _as_it_was = host::raise_open_files();
    Ok(Machine::this(format!("{}{why}", driver.name()), driver == ring::Driver::UringDefer))
}

/// This thread's work until the process ends.
fn control(
    flags: &Arguments,
    (runtime, mut stop): (Runtime, Stopping),
    running: Running,
    (current, mut governor, logs): (watch::Sender<Arc<Snapshot>>, Governor, Logs),
    digest: Option<blake3::Hash>,
) -> Result<(), String> {
    let Running { address, mail, lookups, hurried, logins, http, calls, registry, threads } =
        running;
    let (changed, reloads) = flume::bounded(4);
    let dir = flags.app_dir(&process_env);
    let priced = changed.clone();
    let watching = reload::watch(&dir, digest, changed);
    let (_watch, unwatched) = watching.map_err(|error| format!("no reload: {error}"))?;
    if let Some(error) = unwatched {
        let reason = error.to_string();
        log::warn("config.json is not watched; SIGHUP reloads it", &[("reason", &reason)]);
    }
    let mail: Arc<[_]> = mail.into();
    let ended = runtime.block_on(async {
        let in_force = current.subscribe();
        let (end, closing) = watch::channel(false);
        let router = api::router(&logs, registry, in_force.clone(), closing);
        tokio::spawn(management::run(calls, router));
        let allowed =
            move |host: &str, address: IpAddr| may_mean(&in_force.borrow(), host, address);
        let workers = Arc::clone(&mail);
        let tell = move |host: &str, addresses: Arc<[IpAddr]>| {
            for worker in workers.iter() {
                let news = Mail::Addresses { host: host.into(), addresses: Arc::clone(&addresses) };
                // A worker that is that far behind asks again.
                let _behind = worker.try_send(news);
            }
        };
        tokio::spawn(resolver::run(lookups, allowed, tell));
        let prices = pricing::follow(http.clone(), dir.clone(), current.subscribe(), priced);
        tokio::spawn(prices);
        tokio::spawn(lease(logins, http, current.subscribe(), Arc::clone(&mail)));
        let publish = async |snapshot: Arc<Snapshot>| {
            current.send_replace(Arc::clone(&snapshot));
            for worker in mail.iter() {
                // The worker has ended: the process is about to.
                let _ended = worker.send_async(Mail::Snapshot(Arc::clone(&snapshot))).await;
            }
        };
        let serving = async {
            if flags.command == Some(Command::Demo) {
                demo::run(address).await?;
            }
            let name = stop.asked().await;
            log::info("draining", &[("signal", name)]);
            end.send_replace(true);
            for worker in mail.iter() {
                // A worker that has ended has nothing to drain.
                let _ended = worker.send_async(Mail::Drain).await;
            }
            let joined = tokio::task::spawn_blocking(move || join(threads)).await;
            joined.unwrap_or_else(|error| Err(error.to_string()))
        };
        // What requests come to is written down until the last of them has ended.
        let ended = tokio::select! {
            ended = serving => ended,
            never = governor.run(&reloads, &hurried, publish) => match never {},
        };
        governor.close().await;
        // After a failure a worker may still be writing.
        if ended.is_ok() {
            logs.close();
        }
        ended
    });
    // A name that is still being looked up for nobody must not keep the process.
    runtime.shutdown_background();
    ended
}

fn join(threads: Vec<JoinHandle<std::io::Result<()>>>) -> Result<(), String> {
    for thread in threads {
        match thread.join() {
            Ok(result) => result.map_err(|error| format!("a worker failed: {error}"))?,
            Err(_) => return Err("a worker panicked".to_owned()),
        }
    }
    Ok(())
}

/// Fetches credentials for the workers, and tells all of them.
async fn lease(
    logins: flume::Receiver<Ask>,
    http: HttpClient,
    in_force: watch::Receiver<Arc<Snapshot>>,
    workers: Arc<[flume::Sender<Mail>]>,
) {
    let named = move |id: &LoginId| {
        let snapshot = in_force.borrow();
        let mut keys = snapshot.providers.iter().flat_map(|provider| &provider.keys);
        keys.any(|key| key.login.as_ref().is_some_and(|login| login.id == *id))
    };
    let tell = move |id: &LoginId, lease: &Arc<Lease>| {
        for worker in workers.iter() {
            // A worker that is that far behind asks again.
            let _behind = worker.try_send(Mail::Lease { id: *id, lease: Arc::clone(lease) });
        }
    };
    leases::run(logins, http, named, tell).await;
}

/// Whether any provider at `host` may be reached at `address`.
fn may_mean(snapshot: &Snapshot, host: &str, address: IpAddr) -> bool {
    let private = snapshot.providers.iter().any(|provider| {
        let own = provider.keys.iter().filter_map(|key| key.origin.as_ref()).map(|(at, _)| at);
        let mut at = std::iter::once(&provider.origin).chain(own);
        provider.network.allow_private && at.any(|origin| &*origin.host == host)
    });
    // A proxy is the operator's own choice, wherever it stands.
    let proxy = snapshot.providers.iter().any(|provider| {
        let proxy = provider.network.transport.proxy.as_ref();
        proxy.is_some_and(|proxy| &*proxy.origin.host == host)
    });
    resolver::may_mean(address, private || proxy)
}
