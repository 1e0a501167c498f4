//! A client of many streams at once: counts their events and records when each came.
//!
//! Usage: `streams PORT PATH BODY STREAMS ROUNDS STAGGER_US HOLD_S`. Opens STREAMS connections and
//! sends BODY on each, ROUNDS times, the streams of a round begun STAGGER_US apart. An event is an
//! occurrence of `tok0`, as `upstream.rs` writes them. With HOLD_S > 0 it waits for the first event
//! of every stream, says `held N`, and keeps them open that long. Prints one JSON object.

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

/// After this long without any byte a round has failed.
const PATIENCE: Duration = Duration::from_secs(15);

struct Options {
    port: u16,
    request: Vec<u8>,
    streams: usize,
    rounds: usize,
    stagger: Duration,
    hold: Duration,
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [port, path, body, streams, rounds, stagger_us, hold_s] = words.as_slice() else {
        return Err(io::Error::other("PORT PATH BODY STREAMS ROUNDS STAGGER_US HOLD_S"));
    };
    let number = |word: &String| word.parse::<u64>().map_err(io::Error::other);
    let size = |word: &String| word.parse::<usize>().map_err(io::Error::other);
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         authorization: Bearer sk-bf-load\r\nanthropic-version: 2023-06-01\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let options = Options {
        port: port.parse().map_err(io::Error::other)?,
        request: request.into_bytes(),
        streams: size(streams)?,
        rounds: size(rounds)?,
        stagger: Duration::from_micros(number(stagger_us)?),
        hold: Duration::from_secs(number(hold_s)?),
    };
    let mut client = Client::connect(options)?;
    let begun = Instant::now();
    for _ in 0..client.options.rounds {
        client.round()?;
    }
    client.report(begun.elapsed());
    Ok(())
}

#[derive(Default)]
struct Stream {
    begun: Option<Instant>,
    last: Option<Instant>,
    events: u64,
    done: bool,
    failed: bool,
    /// The last bytes of the read before, in which an event or the end may have begun.
    tail: Vec<u8>,
    socket: Option<TcpStream>,
}

struct Client {
    options: Options,
    epoll: rustix::fd::OwnedFd,
    streams: Vec<Stream>,
    first_us: Vec<u64>,
    gaps_us: Vec<u64>,
    events: u64,
    failures: u64,
}

impl Client {
    fn connect(options: Options) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut streams = Vec::new();
        for key in 0..options.streams {
            let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, options.port))?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            epoll::add(&epoll, &socket, EventData::new_u64(key as u64), EventFlags::IN)?;
            streams.push(Stream { socket: Some(socket), ..Stream::default() });
        }
        Ok(Self {
            options,
            epoll,
            streams,
            first_us: Vec::new(),
            gaps_us: Vec::new(),
            events: 0,
            failures: 0,
        })
    }

    /// Sends the request on every connection and reads all answers to their end.
    fn round(&mut self) -> io::Result<()> {
        let mut begun = 0;
        let start = Instant::now();
        let mut heard = start;
        let mut ready = Vec::with_capacity(256);
        let stagger = self.options.stagger;
        loop {
            while begun < self.streams.len()
                && start.elapsed() >= stagger * u32::try_from(begun).unwrap_or(u32::MAX)
            {
                self.begin(begun);
                begun += 1;
            }
            if begun == self.streams.len() && self.is_over() {
                return Ok(());
            }
            let wait =
                if begun < self.streams.len() { stagger } else { Duration::from_millis(200) };
            let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
            epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&wait))?;
            let now = Instant::now();
            for event in ready.drain(..) {
                heard = now;
                self.read(usize::try_from(event.data.u64()).unwrap_or(usize::MAX), now);
            }
            if now.saturating_duration_since(heard) > PATIENCE {
                self.failures += self.streams.iter().filter(|stream| !stream.done).count() as u64;
                return Ok(());
            }
        }
    }

    fn begin(&mut self, key: usize) {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| !stream.failed) else {
            return;
        };
        let socket = stream.socket.take();
        *stream = Stream { begun: Some(Instant::now()), socket, ..Stream::default() };
        let sent = stream.socket.as_mut().map(|socket| socket.write(&self.options.request));
        if !matches!(sent, Some(Ok(count)) if count == self.options.request.len()) {
            self.fail(key);
        }
    }

    fn fail(&mut self, key: usize) {
        self.failures += 1;
        if let Some(stream) = self.streams.get_mut(key) {
            stream.done = true;
            stream.failed = true;
            stream.socket = None;
        }
    }

    /// Whether this round is over; holds the streams open first, where that is asked.
    fn is_over(&self) -> bool {
        if self.options.hold.is_zero() {
            return self.streams.iter().all(|stream| stream.done);
        }
        let held = self.streams.iter().filter(|stream| stream.events > 0).count();
        if held + usize::try_from(self.failures).unwrap_or(usize::MAX) < self.streams.len() {
            return false;
        }
        println!("held {held}");
        std::thread::park_timeout(self.options.hold);
        true
    }

    fn read(&mut self, key: usize, now: Instant) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(socket) = stream.socket.as_mut() else { return };
        let mut chunk = [0; 16 * 1024];
        let count = match socket.read(&mut chunk) {
            Ok(0) => return self.fail(key),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => return self.fail(key),
        };
        if stream.events == 0 && stream.tail.is_empty() && !chunk.starts_with(b"HTTP/1.1 200") {
            return self.fail(key);
        }
        let before = stream.tail.len();
        stream.tail.extend_from_slice(chunk.get(..count).unwrap_or_default());
        // an event counts where it ends: those that end in the tail were counted before
        let found = memchr::memmem::find_iter(&stream.tail, b"tok0").filter(|at| at + 4 > before);
        let found = found.count() as u64;
        stream.done = stream.tail.ends_with(b"0\r\n\r\n");
        let keep = stream.tail.len().saturating_sub(4);
        stream.tail.drain(..keep);
        if found == 0 {
            return;
        }
        let since = |then: Option<Instant>| {
            let passed = now.saturating_duration_since(then.unwrap_or(now));
            u64::try_from(passed.as_micros()).unwrap_or(u64::MAX)
        };
        if stream.events == 0 {
            self.first_us.push(since(stream.begun));
        } else {
            self.gaps_us.push(since(stream.last));
        }
        stream.last = Some(now);
        stream.events += found;
        self.events += found;
    }

    fn report(&mut self, wall: Duration) {
        self.first_us.sort_unstable();
        self.gaps_us.sort_unstable();
        println!(
            "{{\"events\":{},\"failures\":{},\"wall_us\":{},\"first_p50_us\":{},\"first_p99_us\":{},\
             \"gap_p50_us\":{},\"gap_p99_us\":{}}}",
            self.events,
            self.failures,
            wall.as_micros(),
            percentile(&self.first_us, 50),
            percentile(&self.first_us, 99),
            percentile(&self.gaps_us, 50),
            percentile(&self.gaps_us, 99),
        );
    }
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or(0)
}
