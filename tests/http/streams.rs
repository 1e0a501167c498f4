//! Time and memory while an answer flows: who leaves, who reads slowly, who says nothing.

use crate::support::client::post;
use crate::support::gateway::Start;
use crate::support::upstream::delta;
use crate::support::{Client, Upstream};
use crate::{ASK, ASK_STREAM, CHAT, MESSAGES};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const LEFT_WITHIN: Duration = Duration::from_millis(100);

/// How soon the upstream saw that a client had left: the best of three, for other tests run beside.
pub fn best_of_three(what: &str, mut leave: impl FnMut() -> Duration) {
    let best = (0..3).map(|_| leave()).min().unwrap();
    assert!(best < LEFT_WITHIN, "{what}: closed after {best:?}");
}

#[test]
fn a_client_that_leaves_a_stream_cancels_the_upstream() {
    for driver in ["io_uring", "epoll"] {
        let (tell, closed) = channel();
        let upstream = Upstream::start(move |call| {
            call.start_stream();
            call.chunk(&delta("first"));
            let _ = tell.send(call.wait_closed(Duration::from_secs(5)));
            false
        });
        let start =
            Start { arguments: vec!["--driver".into(), driver.into()], ..Start::at(upstream.at) };
        let gateway = start.run();
        for path in [CHAT, MESSAGES] {
            best_of_three(&format!("{driver}, {path}"), || {
                let mut client = gateway.connect();
                let body = ASK_STREAM.replace(r#""m""#, r#""openai/m""#);
                client.send(post(path, &body).as_bytes());
                assert_eq!(client.head().status, 200);
                client.chunk().unwrap();
                let left = client.hang_up();
                let seen = closed.recv().unwrap().expect("the upstream's connection stayed open");
                seen.saturating_duration_since(left)
            });
        }
    }
}

#[test]
fn a_client_that_leaves_before_the_answer_cancels_the_upstream() {
    let (tell, closed) = channel();
    let (arrive, arrived) = channel();
    let upstream = Upstream::start(move |call| {
        let _ = arrive.send(());
        let _ = tell.send(call.wait_closed(Duration::from_secs(5)));
        false
    });
    let gateway = Start::at(upstream.at).run();
    for body in [ASK, ASK_STREAM] {
        best_of_three(body, || {
            let mut client = gateway.connect();
            client.send(post(CHAT, body).as_bytes());
            arrived.recv().unwrap();
            let left = client.hang_up();
            let seen = closed.recv().unwrap().expect("the upstream's connection stayed open");
            seen.saturating_duration_since(left)
        });
    }
}

#[test]
fn nothing_is_left_open_after_many_leavers() {
    let upstream = Upstream::start(|call| {
        call.start_stream();
        while call.chunk(&delta("tick")) {
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    });
    let gateway = Start::at(upstream.at).run();
    let leave = |count: usize| {
        let clients: Vec<Client> = (0..count)
            .map(|_| {
                let mut client = gateway.connect();
                client.send(post(CHAT, ASK_STREAM).as_bytes());
                assert_eq!(client.head().status, 200);
                client
            })
            .collect();
        drop(clients);
        std::thread::sleep(Duration::from_millis(300));
    };
    leave(5);
    let before = gateway.open_files();
    leave(100);
    let after = gateway.open_files();
    assert!(after <= before + 2, "{before} open files became {after}");
}

/// Streams `total` bytes to a client that reads nothing; how far did the gateway's memory grow?
fn growth_with_a_reader_that_waits(path: &str, streamed: bool, clients: usize) -> u64 {
    const TOTAL: usize = 16 << 20;
    let (tell, sent) = channel();
    let upstream = Upstream::start(move |call| {
        let streamed = call.body.windows(4).any(|window| window == b"true");
        let piece = if streamed {
            call.start_stream();
            delta(&"x".repeat(500))
        } else {
            call.send(&format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {TOTAL}\r\n\r\n"
            ));
            "y".repeat(8192)
        };
        call.socket.set_write_timeout(Some(Duration::from_millis(1500))).unwrap();
        socket2::SockRef::from(&call.socket).set_send_buffer_size(64 * 1024).unwrap();
        let mut count = 0;
        while count < TOTAL && if streamed { call.chunk(&piece) } else { call.send(&piece) } {
            count += piece.len();
        }
        let _ = tell.send(count);
        false
    });
    // what the log keeps of an answer has a limit of its own, for all streams of a worker
    let client = "\"disable_content_logging\": true".to_owned();
    let gateway = Start { client, ..Start::at(upstream.at) }.run();
    let name = if path == MESSAGES { "\"openai/m\"" } else { "\"m\"" };
    let body = &(if streamed { ASK_STREAM } else { ASK }).replace("\"m\"", name);
    // a first one brings the process to its working size
    let connect = || {
        let client = gateway.connect();
        // what the kernel holds is not what is measured
        socket2::SockRef::from(&client.socket).set_recv_buffer_size(64 * 1024).unwrap();
        client
    };
    let mut first = connect();
    first.send(post(path, body).as_bytes());
    sent.recv_timeout(Duration::from_secs(30)).unwrap();
    let before = gateway.rss();
    let waiting: Vec<Client> = (0..clients)
        .map(|_| {
            let mut client = connect();
            client.send(post(path, body).as_bytes());
            client
        })
        .collect();
    for _ in 0..clients {
        let count = sent.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(count < TOTAL, "{path}: the upstream was read to its end while no client read");
    }
    let after = gateway.rss();
    drop(waiting);
    after.saturating_sub(before)
}

/// design.md §7: memory per open stream, beside the kernel's.
fn assert_waits_cheaply(path: &str, streamed: bool) {
    const CLIENTS: usize = 100;
    let each = growth_with_a_reader_that_waits(path, streamed, CLIENTS) / CLIENTS as u64;
    assert!(each < 64 * 1024, "{each} bytes for each answer that waits for its reader");
}

#[test]
fn a_client_that_does_not_read_stops_the_stream_of_its_upstream() {
    assert_waits_cheaply(CHAT, true);
}

#[test]
fn a_client_that_does_not_read_stops_the_body_of_its_upstream() {
    assert_waits_cheaply(CHAT, false);
}

#[test]
fn a_client_that_does_not_read_stops_an_upstream_of_another_dialect() {
    assert_waits_cheaply(MESSAGES, true);
}

#[test]
fn a_slow_reader_gets_everything() {
    const PIECES: usize = 400;
    let upstream = Upstream::start(|call| {
        call.start_stream();
        for number in 0..PIECES {
            call.chunk(&delta(&format!("{number}-{}", "x".repeat(8000))));
        }
        call.chunk("data: [DONE]\n\n");
        call.end_stream();
        true
    });
    let gateway = Start::at(upstream.at).run();
    let mut client = gateway.connect();
    client.send(post(CHAT, ASK_STREAM).as_bytes());
    assert_eq!(client.head().status, 200);
    std::thread::sleep(Duration::from_millis(500));
    let mut text = String::new();
    while let Some(chunk) = client.chunk() {
        text.push_str(&String::from_utf8_lossy(&chunk));
        if text.len() < 1 << 20 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    for number in [0, 1, PIECES / 2, PIECES - 1] {
        assert!(text.contains(&format!("\"{number}-x")), "piece {number} is missing");
    }
    assert!(text.ends_with("data: [DONE]\n\n"));
}

#[test]
fn heartbeats_fill_a_quiet_stream() {
    let upstream = Upstream::start(|call| {
        call.start_stream();
        call.chunk(&delta("before"));
        std::thread::sleep(Duration::from_millis(2500));
        call.chunk(&delta("after"));
        call.chunk("data: [DONE]\n\n");
        call.end_stream();
        true
    });
    let start =
        Start { client: r#""heartbeat_interval_in_seconds":1"#.into(), ..Start::at(upstream.at) };
    let gateway = start.run();
    let mut client = gateway.connect();
    client.send(post(CHAT, ASK_STREAM).as_bytes());
    assert_eq!(client.head().status, 200);
    let begun = Instant::now();
    let mut beats = Vec::new();
    let mut text = String::new();
    while let Some(chunk) = client.chunk() {
        if chunk.starts_with(b":") {
            assert!(chunk.ends_with(b"\n\n"), "a heartbeat is a whole comment");
            beats.push(begun.elapsed().as_secs_f32());
        } else {
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    }
    assert_eq!(beats.len(), 2, "{beats:?}");
    assert!((0.8..1.3).contains(&beats[0]), "{beats:?}");
    assert_eq!(text, format!("{}{}data: [DONE]\n\n", delta("before"), delta("after")));
}

#[test]
fn no_heartbeat_breaks_into_an_unfinished_event() {
    let upstream = Upstream::start(|call| {
        call.start_stream();
        call.chunk("data: {\"a\":");
        std::thread::sleep(Duration::from_millis(1600));
        call.chunk("1}\n\ndata: [DONE]\n\n");
        call.end_stream();
        true
    });
    let start =
        Start { client: r#""heartbeat_interval_in_seconds":1"#.into(), ..Start::at(upstream.at) };
    let gateway = start.run();
    let text = gateway.ask(&post(CHAT, ASK_STREAM)).text();
    assert!(text.contains("data: {\"a\":1}\n\n"), "{text:?}");
}

#[test]
fn the_head_waits_for_the_first_event() {
    let upstream = Upstream::start(|call| {
        call.start_stream();
        std::thread::sleep(Duration::from_millis(300));
        call.chunk("data: {\"error\":{\"message\":\"too many\",\"type\":\"rate_limit_error\",\"code\":429}}\n\n");
        call.end_stream();
        true
    });
    let gateway = Start::at(upstream.at).run();
    let body = ASK_STREAM.replace(r#""m""#, r#""openai/m""#);
    let response = gateway.ask(&post(MESSAGES, &body));
    assert_eq!(response.status, 429, "{}", response.text());
    assert_eq!(response.message(), "too many");
}

#[test]
fn open_streams_cost_less_than_64_kib_each() {
    const STREAMS: usize = 300;
    let upstream = Upstream::start(|call| {
        call.start_stream();
        call.chunk(&delta("first"));
        call.wait_closed(Duration::from_secs(30));
        false
    });
    let gateway = Start::at(upstream.at).run();
    gateway.connect().send(post(CHAT, ASK_STREAM).as_bytes());
    let before = gateway.rss();
    let open: Vec<Client> = (0..STREAMS)
        .map(|_| {
            let mut client = gateway.connect();
            client.send(post(CHAT, ASK_STREAM).as_bytes());
            assert_eq!(client.head().status, 200);
            client.chunk().unwrap();
            client
        })
        .collect();
    let each = gateway.rss().saturating_sub(before) / STREAMS as u64;
    drop(open);
    assert!(each < 64 * 1024, "{each} bytes for each open stream");
}

#[test]
fn a_long_stream_passes_in_constant_memory() {
    const PIECE: usize = 8 << 10;
    const PIECES: usize = (64 << 20) / PIECE;
    let upstream = Upstream::start(|call| {
        let piece = delta(&"words and ".repeat(PIECE / 10));
        call.start_stream();
        let whole = (0..PIECES).all(|_| call.chunk(&piece));
        call.chunk(
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        );
        call.chunk("data: [DONE]\n\n");
        call.end_stream();
        whole
    });
    let gateway = Start::at(upstream.at).run();
    for path in [CHAT, MESSAGES] {
        let mut client = gateway.connect();
        let body = ASK_STREAM.replace(r#""m""#, r#""openai/m""#);
        client.send(post(path, &body).as_bytes());
        assert_eq!(client.head().status, 200);
        let before = gateway.rss();
        let (mut passed, mut most, mut chunks) = (0, 0, 0_u32);
        while let Some(chunk) = client.chunk() {
            passed += chunk.len();
            chunks += 1;
            if chunks % 500 == 0 {
                most = most.max(gateway.rss().saturating_sub(before));
            }
        }
        assert!(passed > 64 << 20, "{path}: {passed} bytes came");
        assert!(most < 16 << 20, "{path}: {most} bytes more in memory");
    }
}
