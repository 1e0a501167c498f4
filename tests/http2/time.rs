//! Half heads, idle connections, and the drain.

use crate::peer::{ask, connect, read_to, request as get, rest, run, send};
use crate::raw::{
    CONTINUATION, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, PING, Raw, frame,
    request,
};
use crate::support::Upstream;
use crate::support::gateway::Start;
use crate::support::upstream::delta;
use crate::{ASK_STREAM, CHAT};
use std::time::{Duration, Instant};

fn impatient() -> Start {
    let top = r#""server":{"header_timeout_in_seconds":1,"idle_timeout_in_seconds":2}"#;
    Start { top: top.into(), ..Start::default() }
}

#[test]
fn half_a_head_is_waited_for_so_long() {
    let gateway = impatient().run();
    let block = request("GET", "/health", &[]);
    let whole = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block);
    let open = frame(HEADERS, END_STREAM, 1, &block[..9]);
    for (what, begin) in [("half a frame", &whole[..20]), ("no continuation", &open[..])] {
        let mut raw = Raw::open(gateway.port);
        raw.send(begin);
        let begun = Instant::now();
        let goaway = raw.find(GOAWAY).unwrap_or_else(|| panic!("{what}: no word"));
        assert_eq!(goaway.code(), ENHANCE_YOUR_CALM, "{what}");
        let passed = begun.elapsed();
        assert!(
            (Duration::from_millis(900)..Duration::from_secs(3)).contains(&passed),
            "{what}: {passed:?}"
        );
    }
    // in time it is a request
    let mut raw = Raw::open(gateway.port);
    raw.send(&open);
    std::thread::sleep(Duration::from_millis(500));
    raw.send(&frame(CONTINUATION, END_HEADERS, 1, &block[9..]));
    assert!(raw.find(HEADERS).is_some());
}

#[test]
fn a_body_that_stops_is_refused() {
    let gateway = impatient().run();
    let mut raw = Raw::open(gateway.port);
    raw.send(&frame(HEADERS, END_HEADERS, 1, &request("POST", CHAT, &[])));
    let begun = Instant::now();
    assert!(raw.find(HEADERS).is_some(), "408");
    assert!(begun.elapsed() > Duration::from_millis(900));
}

#[test]
fn an_idle_connection_ends_in_order() {
    let gateway = impatient().run();
    let mut raw = Raw::open(gateway.port);
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &request("GET", "/health", &[])));
    raw.find(HEADERS).unwrap();
    let begun = Instant::now();
    let goaway = raw.find(GOAWAY).unwrap();
    assert_eq!(goaway.code(), 0);
    assert!(begun.elapsed() > Duration::from_millis(1800), "{:?}", begun.elapsed());
    // this client answers no ping: it is not waited for
    while raw.next().is_some() {}
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn a_connection_with_a_stream_is_not_idle() {
    let upstream = Upstream::start(|call| {
        call.start_stream();
        call.chunk(&delta("begin"));
        std::thread::sleep(Duration::from_secs(4));
        call.chunk(&delta("over"));
        call.chunk("data: [DONE]\n\n");
        call.end_stream();
        true
    });
    let top = impatient().top;
    let gateway = Start { top, ..Start::at(upstream.at) }.run();
    run(async {
        let client = connect(gateway.port).await;
        let answer = send(&client, get(CHAT), ASK_STREAM).await.await.unwrap();
        let text = rest(&mut answer.into_body()).await.unwrap();
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    });
}

#[test]
fn a_preface_that_stops_is_closed() {
    let gateway = impatient().run();
    let mut raw = Raw::connect(gateway.port);
    raw.send(b"PRI * HTTP/2.0\r\n\r\nSM");
    let begun = Instant::now();
    while raw.next().is_some() {}
    let passed = begun.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&passed), "{passed:?}");
}

#[test]
fn a_drain_says_so_and_lets_streams_end() {
    let (go, wait) = flume::bounded::<()>(2);
    let upstream = Upstream::start(move |call| {
        call.start_stream();
        call.chunk(&delta("begin"));
        wait.recv().unwrap();
        call.chunk(&delta("over"));
        call.chunk("data: [DONE]\n\n");
        call.end_stream();
        true
    });
    let mut gateway = Start::at(upstream.at).run();
    let mut idle = Raw::open(gateway.port);
    idle.send(&frame(PING, 0, 0, &[0; 8]));
    idle.find(PING).unwrap();
    run(async {
        let client = connect(gateway.port).await;
        let answer = send(&client, get(CHAT), ASK_STREAM).await.await.unwrap();
        let mut body = answer.into_body();
        read_to(&mut body, "begin").await;
        let process = rustix::process::Pid::from_child(&gateway.process);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let refused = match client.clone().ready().await {
            Ok(_) => ask(&client, get("/health"), "").await.is_err(),
            Err(_) => true,
        };
        assert!(refused, "a new request was taken during the drain");
        go.send(()).unwrap();
        let text = rest(&mut body).await.unwrap();
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    });
    assert_eq!(idle.find(GOAWAY).map(|frame| frame.code()), Some(0));
    let until = Instant::now() + Duration::from_secs(8);
    let status = loop {
        if let Some(status) = gateway.process.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < until, "the gateway has not ended");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "{status}");
    std::fs::remove_dir_all(&gateway.folder).unwrap();
    // its own end would find fault with a process that has ended
    std::mem::forget(gateway);
}
