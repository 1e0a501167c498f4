//! Requests and answers: whole, streamed, many at once, cancelled, cut, not read.

use crate::peer::{ask, connect, connect_with, piece, read_to, request, rest, run, send};
use crate::support::gateway::Start;
use crate::support::upstream::{COMPLETION, MESSAGE, delta};
use crate::support::{Gateway, Upstream};
use crate::{ASK, ASK_STREAM, CHAT, MESSAGES};
use bytes::Bytes;
use h2::Reason;
use h2::client::{Builder, SendRequest};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

#[test]
fn requests_are_answered_by_prior_knowledge() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    run(async {
        let client = connect(gateway.port).await;
        for (path, body) in [(CHAT, COMPLETION), (MESSAGES, MESSAGE)] {
            let answer = ask(&client, request(path), ASK).await.unwrap();
            assert_eq!((answer.status, &*answer.body), (200, body), "{path}");
            assert_eq!(answer.headers["content-type"], "application/json");
            for absent in ["connection", "transfer-encoding", "keep-alive"] {
                assert!(!answer.headers.contains_key(absent), "{path}: {absent}");
            }
        }
        let health = ask(&client, request("/health"), "").await.unwrap();
        assert_eq!((health.status, &*health.body), (200, r#"{"status":"ok"}"#));
        let unknown = ask(&client, request("/anthropic/nothing"), "").await.unwrap();
        assert_eq!(unknown.status, 404);
        assert!(unknown.body.starts_with(r#"{"type":"error""#), "{}", unknown.body);
    });
    let (head, body) = upstream.next();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    assert_eq!(body, ASK.as_bytes());
}

#[test]
fn http1_is_still_spoken_on_the_same_port() {
    let gateway = Start::default().run();
    assert_eq!(gateway.ask("GET /health HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    // in the middle of HTTP/1 nobody changes their mind
    let mut client = gateway.connect();
    client.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.response().status, 505);
}

#[test]
fn a_head_request_gets_no_body() {
    let gateway = Start::default().run();
    run(async {
        let client = connect(gateway.port).await;
        let mut head = request("/health");
        *head.method_mut() = http::Method::HEAD;
        let answer = ask(&client, head, "").await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, ""));
        assert_eq!(answer.headers["content-length"], "15");
    });
}

#[test]
fn each_event_leaves_when_it_comes() {
    let (go, wait) = flume::bounded::<()>(2);
    let upstream = Upstream::start(move |call| {
        call.start_stream();
        for word in ["one", "two"] {
            call.chunk(&delta(word));
            wait.recv().unwrap();
        }
        call.chunk("data: [DONE]\n\n");
        call.end_stream();
        true
    });
    let gateway = Start::at(upstream.at).run();
    run(async {
        let client = connect(gateway.port).await;
        let answer = send(&client, request(CHAT), ASK_STREAM).await.await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut body = answer.into_body();
        // the second event is not even written upstream before the first is read here
        assert_eq!(read_to(&mut body, "one").await, delta("one"));
        go.send(()).unwrap();
        assert_eq!(read_to(&mut body, "two").await, delta("two"));
        go.send(()).unwrap();
        assert_eq!(rest(&mut body).await.unwrap(), "data: [DONE]\n\n");
    });
}

#[test]
fn a_hundred_streams_flow_on_one_connection() {
    let (arrive, arrived) = channel();
    let upstream = Upstream::start(move |call| {
        call.start_stream();
        call.chunk(&delta("begin"));
        let _ = arrive.send(());
        std::thread::sleep(Duration::from_millis(500));
        call.chunk(&delta("over"));
        call.chunk("data: [DONE]\n\n");
        call.end_stream();
        true
    });
    let gateway = Start::at(upstream.at).run();
    run(async {
        let client = connect(gateway.port).await;
        assert_eq!(ask(&client, request("/health"), "").await.unwrap().status, 200);
        assert_eq!(client.current_max_send_streams(), 100, "the client is told the limit");
        let mut bodies = Vec::new();
        for _ in 0..100 {
            bodies.push(send(&client, request(CHAT), ASK_STREAM).await);
        }
        for answer in bodies {
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), 200);
            let text = rest(&mut answer.into_body()).await.unwrap();
            assert_eq!(text, format!("{}{}data: [DONE]\n\n", delta("begin"), delta("over")));
        }
    });
    assert_eq!(arrived.try_iter().count(), 100);
}

/// An upstream that begins to stream and says when it was left.
fn left() -> (Upstream, Receiver<Option<Instant>>) {
    let (tell, closed) = channel();
    let upstream = Upstream::start(move |call| {
        if !call.body.windows(4).any(|window| window == b"true") {
            let _ = tell.send(call.wait_closed(Duration::from_secs(5)));
            return false;
        }
        call.start_stream();
        call.chunk(&delta("first"));
        let _ = tell.send(call.wait_closed(Duration::from_secs(5)));
        false
    });
    (upstream, closed)
}

/// The best of three, for other tests run beside.
fn soon(what: &str, mut leave: impl FnMut() -> Duration) {
    let best = (0..3).map(|_| leave()).min().unwrap();
    assert!(best < Duration::from_millis(100), "{what}: closed after {best:?}");
}

fn after(closed: &Receiver<Option<Instant>>, left: Instant) -> Duration {
    let seen = closed.recv_timeout(Duration::from_secs(10)).unwrap();
    seen.expect("the upstream's connection stayed open").saturating_duration_since(left)
}

#[test]
fn a_reset_stream_cancels_its_upstream_and_no_other() {
    let (upstream, closed) = left();
    let gateway = Start::at(upstream.at).run();
    run(async {
        let client = connect(gateway.port).await;
        let stays = send(&client, request(CHAT), ASK_STREAM).await.await.unwrap();
        for path in [CHAT, MESSAGES] {
            let mut times = Vec::new();
            for _ in 0..3 {
                let body = ASK_STREAM;
                let answer = send(&client, request(path), body).await.await;
                let Ok(answer) = answer else { panic!("{path}: {answer:?}") };
                let mut body = answer.into_body();
                if path == CHAT {
                    read_to(&mut body, "first").await;
                }
                let left = Instant::now();
                drop(body);
                tokio::task::yield_now().await;
                let closed = &closed;
                times.push(wait(closed, left).await);
            }
            let best = times.iter().min().unwrap();
            assert!(*best < Duration::from_millis(100), "{path}: {times:?}");
        }
        let mut body = stays.into_body();
        read_to(&mut body, "first").await;
        assert!(closed.try_recv().is_err(), "the other stream was cancelled, too");
    });
}

/// As [`after`], while the client's connection goes on.
async fn wait(closed: &Receiver<Option<Instant>>, left: Instant) -> Duration {
    loop {
        match closed.try_recv() {
            Ok(seen) => {
                let seen = seen.expect("the upstream's connection stayed open");
                return seen.saturating_duration_since(left);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

#[test]
fn a_reset_before_the_answer_cancels_the_upstream() {
    let (upstream, closed) = left();
    let gateway = Start::at(upstream.at).run();
    run(async {
        let client = connect(gateway.port).await;
        let mut times = Vec::new();
        for _ in 0..3 {
            let answer = send(&client, request(CHAT), ASK).await;
            while upstream.has_none() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let left = Instant::now();
            drop(answer);
            times.push(wait(&closed, left).await);
        }
        assert!(*times.iter().min().unwrap() < Duration::from_millis(100), "{times:?}");
    });
}

#[test]
fn a_connection_that_breaks_cancels_all_its_upstreams() {
    let (upstream, closed) = left();
    let gateway = Start::at(upstream.at).run();
    soon("connection", || {
        let left = run(async {
            let client = connect(gateway.port).await;
            let mut bodies = Vec::new();
            for _ in 0..5 {
                let answer = send(&client, request(CHAT), ASK_STREAM).await.await.unwrap();
                let mut body = answer.into_body();
                read_to(&mut body, "first").await;
                bodies.push(body);
            }
            std::mem::forget(bodies);
            Instant::now()
        });
        (0..5).map(|_| after(&closed, left)).max().unwrap()
    });
}

#[test]
fn a_cut_answer_never_looks_whole() {
    let upstream = Upstream::start(|call| {
        call.send(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900000\r\n\r\n",
        );
        call.send(&"y".repeat(300_000));
        std::thread::sleep(Duration::from_millis(100));
        false
    });
    let gateway = Start::at(upstream.at).run();
    run(async {
        let client = connect(gateway.port).await;
        let answer = send(&client, request(CHAT), ASK).await.await.unwrap();
        assert_eq!(answer.status(), 200);
        let error = rest(&mut answer.into_body()).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        // one stream's end is not the connection's
        assert_eq!(ask(&client, request("/health"), "").await.unwrap().status, 200);
    });
}

#[test]
fn a_large_answer_comes_whole() {
    let words: Vec<_> = (0..300_000).map(|number| format!("{number:07}")).collect();
    let body = words.join(" ");
    let sent = format!("{{\"id\":\"x\",\"object\":\"chat.completion\",\"model\":\"{body}\"}}");
    let expected = sent.clone();
    let upstream = Upstream::start(move |call| {
        call.json(&sent);
        true
    });
    let gateway = Start::at(upstream.at).run();
    run(async {
        let client = connect(gateway.port).await;
        let answer = ask(&client, request(CHAT), ASK).await.unwrap();
        assert!(answer.body == expected, "{} bytes of {}", answer.body.len(), expected.len());
    });
}

/// An upstream that would send 16 MB, and how much of it was taken.
fn torrent() -> (Upstream, Receiver<usize>) {
    const TOTAL: usize = 16 << 20;
    let (tell, sent) = channel();
    let upstream = Upstream::start(move |call| {
        call.start_stream();
        call.socket.set_write_timeout(Some(Duration::from_millis(1500))).unwrap();
        socket2::SockRef::from(&call.socket).set_send_buffer_size(64 * 1024).unwrap();
        let piece = delta(&"x".repeat(500));
        let mut count = 0;
        while count < TOTAL && call.chunk(&piece) {
            count += piece.len();
        }
        let _ = tell.send(count);
        false
    });
    (upstream, sent)
}

/// Opens `streams` streams that nobody reads, and says how far the gateway's memory grew.
async fn growth(
    gateway: &Gateway,
    sent: &Receiver<usize>,
    client: &SendRequest<Bytes>,
    streams: usize,
) -> (u64, usize) {
    let mut answers = vec![send(client, request(CHAT), ASK_STREAM).await];
    let mut taken = vec![reported(sent).await];
    let before = gateway.rss();
    for _ in 0..streams {
        answers.push(send(client, request(CHAT), ASK_STREAM).await);
    }
    for _ in 0..streams {
        taken.push(reported(sent).await);
    }
    let grown = gateway.rss().saturating_sub(before);
    drop(answers);
    (grown, taken.into_iter().max().unwrap())
}

async fn reported(sent: &Receiver<usize>) -> usize {
    loop {
        match sent.try_recv() {
            Ok(count) => return count,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[test]
fn a_stream_that_is_not_read_stops_its_upstream() {
    let (upstream, sent) = torrent();
    let gateway = Start::at(upstream.at).run();
    run(async {
        let client = connect(gateway.port).await;
        let (grown, taken) = growth(&gateway, &sent, &client, 40).await;
        assert!(taken < 8 << 20, "{taken} bytes were taken of one upstream");
        assert!(grown < 40 * (256 << 10), "40 streams nobody reads took {grown} bytes");
        assert_eq!(ask(&client, request("/health"), "").await.unwrap().status, 200);
    });
}

#[test]
fn a_client_that_opens_every_window_and_reads_nothing_stops_its_upstreams() {
    let (upstream, sent) = torrent();
    let gateway = Start::at(upstream.at).run();
    run(async {
        let mut builder = Builder::new();
        builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
        let socket = tokio::net::TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(64 * 1024).unwrap();
        let (client, mut connection) = builder.handshake::<_, Bytes>(socket).await.unwrap();
        let mut answers = Vec::new();
        let mut client = client;
        for _ in 0..30 {
            let (answer, mut body) = client.send_request(request(CHAT), false).unwrap();
            body.send_data(Bytes::from_static(ASK_STREAM.as_bytes()), true).unwrap();
            answers.push(answer);
        }
        // writes what is queued, and reads a little at most
        for _ in 0..50 {
            let _ = tokio::time::timeout(Duration::from_micros(1), &mut connection).await;
        }
        let mut taken = 0;
        for _ in 0..30 {
            taken = taken.max(reported(&sent).await);
        }
        assert!(taken < 8 << 20, "{taken} bytes were taken of one upstream");
        let grown = gateway.rss();
        assert!(grown < 80 << 20, "{grown} bytes are held");
    });
}

#[test]
fn a_body_may_wait_for_the_go_ahead() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    run(async {
        let client = connect(gateway.port).await;
        let mut asking = request(CHAT);
        asking.headers_mut().insert("expect", "100-continue".parse().unwrap());
        let mut client = client.ready().await.unwrap();
        let (mut answer, mut body) = client.send_request(asking, false).unwrap();
        let interim = std::future::poll_fn(|cx| answer.poll_informational(cx)).await;
        assert_eq!(interim.unwrap().unwrap().status(), 100);
        body.send_data(Bytes::from_static(ASK.as_bytes()), true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(rest(&mut answer.into_body()).await.unwrap(), COMPLETION);
    });
}

#[test]
fn trailers_of_a_request_change_nothing() {
    let upstream = Upstream::plain();
    let gateway = Start::at(upstream.at).run();
    run(async {
        let client = connect(gateway.port).await;
        let mut client = client.ready().await.unwrap();
        let (answer, mut body) = client.send_request(request(CHAT), false).unwrap();
        body.send_data(Bytes::from_static(ASK.as_bytes()), false).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-checksum", "1".parse().unwrap());
        body.send_trailers(trailers).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
    });
    let (head, body) = upstream.next();
    assert_eq!(body, ASK.as_bytes());
    assert!(!head.contains("x-checksum"), "{head}");
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let upstream = Upstream::plain();
    let client = r#""max_request_body_size_mb":1"#.into();
    let gateway = Start { client, ..Start::at(upstream.at) }.run();
    run(async {
        let client = connect_with(gateway.port, &Builder::new()).await;
        let mut said = request(MESSAGES);
        said.headers_mut().insert("content-length", "2000000".parse().unwrap());
        for asking in [said, request(MESSAGES)] {
            let mut client = client.clone().ready().await.unwrap();
            let (answer, mut body) = client.send_request(asking, false).unwrap();
            body.send_data(Bytes::from(vec![b' '; 2_000_000]), true).unwrap();
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), 413);
            let mut body = answer.into_body();
            let mut text = String::new();
            while let Some(Ok(piece)) = piece(&mut body).await {
                text.push_str(&String::from_utf8_lossy(&piece));
            }
            assert!(text.contains("max_request_body_size_mb"), "{text}");
        }
        assert_eq!(ask(&client, request("/health"), "").await.unwrap().status, 200);
    });
    assert!(upstream.has_none());
}
