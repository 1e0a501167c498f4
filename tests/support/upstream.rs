//! A scripted upstream: each connection is given to the test's own function, in a thread.

use super::client::read;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// One request that arrived, with the connection to answer it on.
pub struct Call {
    /// Number of the request on its connection, from 0.
    pub turn: usize,
    pub head: String,
    pub body: Vec<u8>,
    pub socket: TcpStream,
}

impl Call {
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub fn send(&mut self, text: &str) -> bool {
        self.socket.write_all(text.as_bytes()).is_ok()
    }

    /// A whole JSON answer on a connection that stays open.
    pub fn json(&mut self, body: &str) {
        self.whole(200, body);
    }

    pub fn whole(&mut self, status: u16, body: &str) {
        self.send(&format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    pub fn start_stream(&mut self) {
        self.send(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        );
    }

    /// One piece of a chunked body; false when the gateway has left.
    pub fn chunk(&mut self, text: &str) -> bool {
        self.send(&format!("{:x}\r\n{text}\r\n", text.len()))
    }

    pub fn end_stream(&mut self) {
        self.send("0\r\n\r\n");
    }

    /// Waits for the gateway to close this connection; says when it did.
    pub fn wait_closed(&mut self, patience: Duration) -> Option<Instant> {
        self.socket.set_read_timeout(Some(patience)).ok()?;
        let mut byte = [0];
        match read(&mut self.socket, &mut byte) {
            Ok(0) => Some(Instant::now()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                Some(Instant::now())
            }
            _ => None,
        }
    }
}

/// A listening upstream. `answer` is called for every request; false closes the connection.
pub struct Upstream {
    pub at: SocketAddr,
    /// Heads and bodies in order of arrival.
    pub seen: Receiver<(String, Vec<u8>)>,
}

impl Upstream {
    pub fn start<F>(answer: F) -> Self
    where
        F: Fn(&mut Call) -> bool + Clone + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (tell, seen) = channel();
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (answer, tell) = (answer.clone(), tell.clone());
                std::thread::spawn(move || serve(&socket, &tell, &answer));
            }
        });
        Self { at, seen }
    }

    /// Answers every request with a small chat completion or message, by its path.
    pub fn plain() -> Self {
        Self::start(|call| {
            call.json(if call.path().ends_with("/messages") { MESSAGE } else { COMPLETION });
            true
        })
    }

    /// The next request that arrived.
    pub fn next(&self) -> (String, Vec<u8>) {
        self.seen.recv_timeout(Duration::from_secs(5)).expect("no request came upstream")
    }

    pub fn has_none(&self) -> bool {
        self.seen.recv_timeout(Duration::from_millis(50)).is_err()
    }
}

fn serve<F>(socket: &TcpStream, tell: &Sender<(String, Vec<u8>)>, answer: &F) -> Option<()>
where
    F: Fn(&mut Call) -> bool,
{
    socket.set_nodelay(true).ok()?;
    let mut reader = socket.try_clone().ok()?;
    let mut buffer = Vec::new();
    for turn in 0.. {
        let (head, body) = request(&mut reader, &mut buffer)?;
        let _ = tell.send((head.clone(), body.clone()));
        let mut call = Call { turn, head, body, socket: socket.try_clone().ok()? };
        if !answer(&mut call) {
            break;
        }
    }
    // the other clones of this socket are gone here, so the connection really closes
    let _ = socket.shutdown(std::net::Shutdown::Both);
    Some(())
}

/// One request with a `content-length` body, the only kind that the gateway sends.
fn request(reader: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let mut chunk = [0; 16 * 1024];
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        let count = read(reader, &mut chunk).ok().filter(|count| *count > 0)?;
        buffer.extend_from_slice(&chunk[..count]);
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .unwrap_or(0);
    while buffer.len() < end + 4 + length {
        let count = read(reader, &mut chunk).ok().filter(|count| *count > 0)?;
        buffer.extend_from_slice(&chunk[..count]);
    }
    let body = buffer[end + 4..end + 4 + length].to_vec();
    buffer.drain(..end + 4 + length);
    Some((head, body))
}

pub const COMPLETION: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;

pub const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":1}}"#;

/// One chunk of a chat stream, as an event.
pub fn delta(text: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
         \"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\
         \"finish_reason\":null}}]}}\n\n"
    )
}
