//! A fast upstream for load tests: both dialects, whole answers of 1 KiB or paced streams.
//!
//! The model's name is the order: `sse-200-5000` streams 200 text events, one each 5,000 µs;
//! anything else is answered at once with a whole body. The path decides the dialect. One epoll
//! loop per thread, every event one write. Usage: `upstream PORT [THREADS]`.

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const LISTENER: u64 = u64::MAX;
const BODY_BYTES: usize = 1024;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1).map_while(|word| word.parse::<u16>().ok());
    let port = arguments.next().unwrap_or(9100);
    let threads = arguments.next().unwrap_or(1);
    let rest: Vec<_> =
        (1..threads).map(|_| std::thread::spawn(move || Server::new(port)?.run())).collect();
    Server::new(port)?.run()?;
    for thread in rest {
        thread.join().map_err(|_| io::Error::other("a thread of the upstream panicked"))??;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Dialect {
    Anthropic,
    OpenAi,
}

/// What a request orders.
enum Order {
    Whole(Dialect),
    Stream { dialect: Dialect, events: u32, gap: Duration },
}

/// An answer under way.
struct Stream {
    dialect: Dialect,
    sent: u32,
    events: u32,
    gap: Duration,
    due: Instant,
}

struct Connection {
    socket: TcpStream,
    received: Vec<u8>,
    /// Not yet taken by the socket.
    unsent: Vec<u8>,
    stream: Option<Stream>,
}

struct Server {
    epoll: rustix::fd::OwnedFd,
    listener: TcpListener,
    connections: slab::Slab<Connection>,
    /// When each stream's next event leaves.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    whole: [Vec<u8>; 2],
}

impl Server {
    fn new(port: u16) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        socket.listen(4096)?;
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let whole = [Dialect::Anthropic, Dialect::OpenAi].map(whole);
        Ok(Self { epoll, listener, connections: slab::Slab::new(), due: BinaryHeap::new(), whole })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(512);
        loop {
            let timeout = self.due.peek().map(|Reverse((at, _))| {
                let left = at.saturating_duration_since(Instant::now());
                Timespec {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: i64::from(left.subsec_nanos()),
                }
            });
            epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref())?;
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    key => self.ready(usize::try_from(key).unwrap_or(usize::MAX)),
                }
            }
            self.send_due();
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((socket, _)) = self.listener.accept() {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let entry = self.connections.vacant_entry();
            let data = EventData::new_u64(entry.key() as u64);
            epoll::add(
                &self.epoll,
                &socket,
                data,
                EventFlags::IN | EventFlags::OUT | EventFlags::ET,
            )?;
            entry.insert(Connection {
                socket,
                received: Vec::with_capacity(4096),
                unsent: Vec::new(),
                stream: None,
            });
        }
        Ok(())
    }

    /// Reads what came, answers what is whole; drops the connection once the peer has left.
    fn ready(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let mut alive = connection.flush();
        alive &= connection.receive();
        while alive && connection.stream.is_none() {
            let Some(order) = connection.next_order() else { break };
            alive = match order {
                Order::Whole(dialect) => connection.send(&self.whole[dialect as usize]),
                Order::Stream { dialect, events, gap } => {
                    let due = Instant::now();
                    connection.stream = Some(Stream { dialect, sent: 0, events, gap, due });
                    self.due.push(Reverse((due, key)));
                    connection.send(STREAM_HEAD.as_bytes()) && connection.send(opening(dialect))
                }
            };
        }
        if !alive {
            self.connections.remove(key);
        }
    }

    /// Sends every event whose time has come, one write each.
    fn send_due(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((at, key))) = self.due.peek() {
            if at > now {
                break;
            }
            self.due.pop();
            let Some(connection) = self.connections.get_mut(key) else { continue };
            let Some(stream) = connection.stream.as_mut().filter(|stream| stream.due == at) else {
                continue;
            };
            let dialect = stream.dialect;
            if stream.sent == stream.events {
                connection.stream = None;
                connection.send(closing(dialect));
                // a request that came meanwhile
                self.ready(key);
                continue;
            }
            stream.sent += 1;
            // without a gap the streams still take turns
            stream.due = at + stream.gap.max(Duration::from_nanos(1));
            let event = text_event(dialect, stream.sent);
            self.due.push(Reverse((stream.due, key)));
            connection.send(&event);
        }
    }
}

impl Connection {
    /// False once the peer has closed.
    fn receive(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(0) => return false,
                Ok(count) => {
                    self.received.extend_from_slice(chunk.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> bool {
        self.unsent.extend_from_slice(bytes);
        self.flush()
    }

    fn flush(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Takes the next whole request out of what was received.
    fn next_order(&mut self) -> Option<Order> {
        let end = memchr::memmem::find(&self.received, b"\r\n\r\n")? + 4;
        let (head, rest) = self.received.split_at_checked(end)?;
        let body_length = content_length(head);
        let body = rest.get(..body_length)?;
        let line_end = memchr::memchr(b'\r', head)?;
        let is_messages = memchr::memmem::find(head.get(..line_end)?, b"/messages").is_some();
        let dialect = if is_messages { Dialect::Anthropic } else { Dialect::OpenAi };
        let order = match stream_order(body) {
            Some((events, gap)) => Order::Stream { dialect, events, gap },
            None => Order::Whole(dialect),
        };
        self.received.drain(..end + body_length);
        Some(order)
    }
}

fn content_length(head: &[u8]) -> usize {
    let lower = head.to_ascii_lowercase();
    let Some(at) = memchr::memmem::find(&lower, b"content-length:") else { return 0 };
    let digits = lower.iter().skip(at + 15).skip_while(|byte| **byte == b' ');
    digits
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
}

/// `sse-EVENTS-GAP_US` of the model's name.
fn stream_order(body: &[u8]) -> Option<(u32, Duration)> {
    let at = memchr::memmem::find(body, b"sse-")?;
    let text = std::str::from_utf8(body.get(at + 4..)?).ok()?;
    let (events, rest) = text.split_once('-')?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let gap = rest.get(..end)?.parse().ok()?;
    Some((events.parse().ok()?, Duration::from_micros(gap)))
}

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";

/// A whole answer, its body padded to [`BODY_BYTES`].
fn whole(dialect: Dialect) -> Vec<u8> {
    let (before, after) = match dialect {
        Dialect::Anthropic => (
            r#"{"id":"msg_01","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":""#,
            r#""}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":210,"output_tokens":170}}"#,
        ),
        Dialect::OpenAi => (
            r#"{"id":"chatcmpl-01","object":"chat.completion","created":1790000000,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":""#,
            r#""},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":210,"completion_tokens":170,"total_tokens":380}}"#,
        ),
    };
    let filler: String = "words of an answer "
        .chars()
        .cycle()
        .take(BODY_BYTES - before.len() - after.len())
        .collect();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {BODY_BYTES}\r\n\r\n\
         {before}{filler}{after}"
    )
    .into_bytes()
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// What stands before the first text.
fn opening(dialect: Dialect) -> &'static [u8] {
    static FRAMES: std::sync::LazyLock<[Vec<u8>; 2]> = std::sync::LazyLock::new(|| {
        [
            chunk(concat!(
                "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01\",",
                "\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,",
                "\"stop_sequence\":null,\"usage\":{\"input_tokens\":210,\"output_tokens\":1}}}\n\n",
                "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,",
                "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
            )),
            chunk(concat!(
                "data: {\"id\":\"chatcmpl-01\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,",
                "\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},",
                "\"finish_reason\":null}]}\n\n"
            )),
        ]
    });
    FRAMES.get(dialect as usize).map_or(&[], Vec::as_slice)
}

fn text_event(dialect: Dialect, number: u32) -> Vec<u8> {
    let text = format!("tok{number:05} of a text");
    chunk(&match dialect {
        Dialect::Anthropic => format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
             \"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
        ),
        Dialect::OpenAi => format!(
            "data: {{\"id\":\"chatcmpl-01\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\
             \"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\
             \"finish_reason\":null}}]}}\n\n"
        ),
    })
}

/// What stands behind the last text, and the end of the body.
fn closing(dialect: Dialect) -> &'static [u8] {
    static FRAMES: std::sync::LazyLock<[Vec<u8>; 2]> = std::sync::LazyLock::new(|| {
        let ended = |text| [chunk(text), b"0\r\n\r\n".to_vec()].concat();
        [
            ended(concat!(
                "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
                "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",",
                "\"stop_sequence\":null},\"usage\":{\"output_tokens\":170}}\n\n",
                "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
            )),
            ended(concat!(
                "data: {\"id\":\"chatcmpl-01\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,",
                "\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
                "data: [DONE]\n\n"
            )),
        ]
    });
    FRAMES.get(dialect as usize).map_or(&[], Vec::as_slice)
}
