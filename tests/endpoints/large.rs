//! Uploads and downloads of any size: passed on as they come, in constant memory.

use crate::start;
use crate::support::client::Client;
use crate::support::{Gateway, Upstream};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

const SIZE: usize = 200 << 20;
const PIECE: usize = 1 << 20;
/// What the process may grow by, whatever passes through it.
const GROWTH_MAX: u64 = 8 << 20;

/// An upstream that counts what it gets up to `size` bytes, says how many, then answers.
fn counting() -> (std::net::SocketAddr, Receiver<(String, usize)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let told = count(&mut socket);
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{\"id\":\"f\"}";
            let _ = socket.write_all(answer.as_bytes());
            if tell.send(told).is_err() {
                break;
            }
        }
    });
    (at, told)
}

/// The head, and how many bytes came behind it: up to the length that it says, or the last chunk.
fn count(socket: &mut TcpStream) -> (String, usize) {
    let (mut buffer, mut chunk) = (Vec::new(), vec![0; 256 * 1024]);
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let count = socket.read(&mut chunk).unwrap();
        buffer.extend_from_slice(&chunk[..count]);
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: Option<usize> = length.map(|length| length.parse().unwrap());
    let mut tail = buffer[end..].to_vec();
    let mut have = tail.len();
    while length.map_or(!tail.ends_with(b"0\r\n\r\n"), |length| have < length) {
        let count = socket.read(&mut chunk).unwrap_or(0);
        if count == 0 {
            break;
        }
        have += count;
        tail.extend_from_slice(&chunk[..count]);
        tail.drain(..tail.len().saturating_sub(16));
    }
    (head, have)
}

fn gateway(at: std::net::SocketAddr, megabytes: usize) -> Gateway {
    crate::support::gateway::Start {
        client: format!(r#""max_request_body_size_mb": {megabytes}"#),
        ..crate::support::gateway::Start::at(at)
    }
    .run()
}

/// Sends a body of `size` bytes piece by piece; the most that the process held meanwhile.
fn upload(gateway: &Gateway, client: &mut Client, size: usize, chunked: bool) -> u64 {
    let piece = vec![b'x'; PIECE];
    let mut most = 0;
    for _ in 0..size / PIECE {
        if chunked {
            client.send(format!("{PIECE:x}\r\n").as_bytes());
        }
        client.send(&piece);
        if chunked {
            client.send(b"\r\n");
        }
        most = most.max(gateway.rss());
    }
    if chunked {
        client.send(b"0\r\n\r\n");
    }
    most
}

#[test]
fn a_large_upload_passes_in_constant_memory() {
    let (at, told) = counting();
    let gateway = gateway(at, 300);
    for chunked in [false, true] {
        let mut client = gateway.connect();
        let framing = if chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {SIZE}")
        };
        client.send(
            format!(
                "POST /openai/v1/files HTTP/1.1\r\nHost: gw\r\n\
                 Content-Type: multipart/form-data; boundary=b\r\n{framing}\r\n\r\n"
            )
            .as_bytes(),
        );
        let before = gateway.rss();
        let most = upload(&gateway, &mut client, SIZE, chunked);
        let answer = client.response();
        assert_eq!((answer.status, &*answer.text()), (200, r#"{"id":"f"}"#));
        let (head, have) = told.recv().unwrap();
        assert!(have >= SIZE, "{have} of {SIZE} bytes arrived");
        assert!(head.contains("content-type: multipart/form-data; boundary=b\r\n"), "{head}");
        assert!(head.contains("authorization: Bearer sk-openai\r\n"), "{head}");
        let growth = most.saturating_sub(before);
        assert!(growth < GROWTH_MAX, "the process grew by {growth} bytes");
        // The connection lives on.
        client.send(b"GET /health HTTP/1.1\r\nHost: gw\r\n\r\n");
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn a_large_download_passes_in_constant_memory() {
    let upstream = Upstream::start(|call| {
        let piece = vec![b'y'; PIECE];
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {SIZE}\r\n\r\n"
        );
        call.send(&head);
        (0..SIZE / PIECE).all(|_| call.socket.write_all(&piece).is_ok())
    });
    let gateway = start(&upstream, "");
    let mut client = gateway.connect();
    client.send(b"GET /openai/v1/files/f/content HTTP/1.1\r\nHost: gw\r\n\r\n");
    let head = client.head();
    assert_eq!(head.header("content-length"), Some(SIZE.to_string().as_str()));
    let before = gateway.rss();
    let (mut have, mut most, mut chunk) = (0, 0, vec![0; PIECE]);
    // What came with the head was read with it.
    while have < SIZE - 16 * 1024 {
        let count = client.socket.read(&mut chunk).unwrap();
        if count == 0 {
            break;
        }
        have += count;
        most = most.max(gateway.rss());
    }
    assert!(have > SIZE - 64 * 1024, "{have} of {SIZE} bytes arrived");
    let growth = most.saturating_sub(before);
    assert!(growth < GROWTH_MAX, "the process grew by {growth} bytes");
}

#[test]
fn a_body_over_the_limit_is_refused_before_or_while_it_comes() {
    let (at, _told) = counting();
    let gateway = gateway(at, 1);
    let head = |framing: &str| {
        format!(
            "POST /openai/v1/files HTTP/1.1\r\nHost: gw\r\nContent-Type: multipart/form-data; boundary=b\r\n{framing}\r\n\r\n"
        )
    };
    let mut client = gateway.connect();
    client.send(head("Content-Length: 2000000").as_bytes());
    let refused = client.response();
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert!(refused.message().contains("max_request_body_size_mb"));
    let mut client = gateway.connect();
    client.send(head("Transfer-Encoding: chunked").as_bytes());
    for _ in 0..2 {
        client.send(format!("{PIECE:x}\r\n{}\r\n", "x".repeat(PIECE)).as_bytes());
    }
    assert_eq!(client.response().status, 413);
}

#[test]
fn an_upstream_that_answers_early_is_heard_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let _ = socket.read(&mut head);
            let answer = "HTTP/1.1 401 No\r\ncontent-type: application/json\r\ncontent-length: 31\r\n\r\n{\"error\":{\"message\":\"bad key\"}}";
            let _ = socket.write_all(answer.as_bytes());
            held.push(socket);
        }
    });
    let gateway = gateway(at, 300);
    let mut client = gateway.connect();
    client.send(b"POST /openai/v1/files HTTP/1.1\r\nHost: gw\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n\r\n");
    client.send(&vec![b'x'; 100_000]);
    let answer = client.response();
    assert_eq!((answer.status, &*answer.message()), (401, "bad key"));
}

#[test]
fn a_client_that_leaves_ends_its_upload() {
    let (at, told) = counting();
    let gateway = gateway(at, 300);
    let mut client = gateway.connect();
    client.send(b"POST /openai/v1/files HTTP/1.1\r\nHost: gw\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n\r\n");
    client.send(&vec![b'x'; 300_000]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    client.hang_up();
    let (_, have) = told.recv_timeout(std::time::Duration::from_secs(5)).unwrap();
    assert!(have < 9_000_000, "{have}");
}
