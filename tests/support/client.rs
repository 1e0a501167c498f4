//! A raw HTTP/1.1 client: sends exactly the bytes it is given, reads one response at a time.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
pub struct Client {
    pub socket: TcpStream,
    buffer: Vec<u8>,
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, which must be JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error} in the body of {}: {}", self.status, self.text())
        })
    }

    /// The message of an error body, in either language.
    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Client {
    pub fn new(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { socket, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Sends what the server may refuse to take: a broken pipe is no failure here.
    pub fn send_until_refused(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_err()
    }

    /// Reads some bytes into the buffer; 0 at the end of the connection.
    fn fill(&mut self) -> usize {
        let mut chunk = [0; 16 * 1024];
        let count = match read(&mut self.socket, &mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => {
                panic!("{error}, with {:?} unread", String::from_utf8_lossy(&self.buffer))
            }
        };
        self.buffer.extend_from_slice(&chunk[..count]);
        count
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
                self.buffer.drain(..end + 2);
                return line;
            }
            assert!(
                self.fill() > 0,
                "closed in a line: {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        }
    }

    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            let left = count - self.buffer.len();
            assert!(self.fill() > 0, "closed with {left} bytes still promised");
        }
        self.buffer.drain(..count).collect()
    }

    /// Status and headers of the next response; its body stays unread.
    pub fn head(&mut self) -> Response {
        let first = self.line();
        let status = first.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {first:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                return Response { status, headers, body: Vec::new() };
            }
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// The next response with its body, by whatever framing it has.
    pub fn response(&mut self) -> Response {
        let head = self.head();
        self.rest_of(head)
    }

    /// The next response to a HEAD: it has no body, whatever its headers say.
    pub fn rest_of(&mut self, mut response: Response) -> Response {
        if response.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                response.body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().unwrap();
            response.body = self.exactly(length);
        } else if response.status >= 200 && response.status != 204 && response.status != 304 {
            while self.fill() > 0 {}
            response.body = std::mem::take(&mut self.buffer);
        }
        response
    }

    /// One chunk of a chunked body; `None` at its end.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.line();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let data = self.exactly(size);
        assert_eq!(self.line(), "", "a chunk ends with CRLF");
        (size > 0).then_some(data)
    }

    /// Whether the server closes this connection within `patience`, having sent nothing more.
    pub fn closes_within(&mut self, patience: Duration) -> bool {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut byte = [0];
        let closed = match read(&mut self.socket, &mut byte) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        closed && self.buffer.is_empty()
    }

    /// Leaves, at once; says when.
    pub fn hang_up(self) -> Instant {
        let _ = self.socket.shutdown(Shutdown::Both);
        drop(self.socket);
        Instant::now()
    }
}

/// One read, begun again where a signal interrupts it.
pub fn read(socket: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match socket.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A POST with a JSON body and its length.
pub fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
