//! A provider's places and its queue, and weights that follow health, against the real binary.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and waits with a blocking sleep"
)]

#[path = "support/governance.rs"]
#[expect(dead_code, reason = "the tests of governance use the rest of it")]
mod governance;
#[path = "support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other tests use the rest of it")]
mod support;

use governance::{CHAT, ask, config, request};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::gateway::Start;
use support::upstream::COMPLETION;
use support::{Gateway, Response, Upstream};

/// An upstream that takes its time, and the most calls that it ever had at once.
fn slow(span: Duration) -> (Upstream, Arc<AtomicUsize>) {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let upstream = Upstream::start(move |call| {
        if !call.path().starts_with("/spare") {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(span);
            now.fetch_sub(1, Ordering::SeqCst);
        }
        call.json(if call.path().contains("messages") {
            support::upstream::MESSAGE
        } else {
            COMPLETION
        });
        true
    });
    (upstream, seen)
}

fn queued(concurrency: u32, buffer: u32, drop: bool) -> Value {
    let mut config = config(&json!({"drop_excess_requests": drop}), &json!({}));
    config["providers"]["openai"]["concurrency_and_buffer_size"] =
        json!({"concurrency": concurrency, "buffer_size": buffer});
    config
}

fn start(upstream: &Upstream, config: &Value) -> Gateway {
    let arguments = ["--workers".to_owned(), "2".to_owned()].to_vec();
    Start { config: Some(config.to_string()), arguments, ..Start::at(upstream.at) }.run()
}

/// So many requests at once.
fn crowd(gateway: &Gateway, count: usize, body: &str) -> Vec<Response> {
    std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..count).map(|_| scope.spawn(|| gateway.ask(&request(CHAT, "", body)))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

#[test]
fn no_more_calls_than_allowed_are_in_flight_over_all_cores() {
    let (upstream, most) = slow(Duration::from_millis(40));
    let gateway = start(&upstream, &queued(3, 40, true));
    let answers = crowd(&gateway, 30, &ask("openai/gpt-x"));
    assert!(answers.iter().all(|answer| answer.status == 200), "those that wait get their turn");
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[test]
fn what_is_too_much_is_dropped_or_waits_as_the_operator_says() {
    let (upstream, most) = slow(Duration::from_millis(300));
    let gateway = start(&upstream, &queued(2, 2, true));
    let answers = crowd(&gateway, 8, &ask("openai/gpt-x"));
    let good = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((good, most.load(Ordering::SeqCst)), (4, 2), "two in flight, two that wait");
    let dropped = answers.iter().find(|answer| answer.status == 503).unwrap();
    assert_eq!(dropped.json()["error"]["code"], "request_dropped");
    assert_eq!(dropped.header("retry-after"), Some("1"));
    assert_eq!(dropped.header("x-should-retry"), None, "a retry may help");
    let patient = start(&upstream, &queued(2, 2, false));
    let answers = crowd(&patient, 8, &ask("openai/gpt-x"));
    assert!(answers.iter().all(|answer| answer.status == 200), "the others wait, too");
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[test]
fn who_is_dropped_goes_to_the_fallback() {
    let (upstream, _) = slow(Duration::from_millis(300));
    let gateway = start(&upstream, &queued(1, 1, true));
    let mut body: Value = serde_json::from_str(&ask("openai/gpt-x")).unwrap();
    body["fallbacks"] = json!(["spare/claude-b"]);
    let answers = crowd(&gateway, 6, &body.to_string());
    assert!(answers.iter().all(|answer| answer.status == 200));
    let spare = |answer: &&Response| answer.header("x-bifrost-provider") == Some("spare");
    assert_eq!(answers.iter().filter(spare).count(), 4);
    // Being full is no illness: the provider is called again at once.
    let next = gateway.ask(&request(CHAT, "", &body.to_string()));
    assert_eq!(next.header("x-bifrost-provider"), Some("openai"));
}

#[test]
fn who_leaves_makes_room_and_limits_reload() {
    let (upstream, most) = slow(Duration::from_millis(400));
    let gateway = start(&upstream, &queued(1, 1, true));
    let standing = || {
        let dry = request(CHAT, "x-bf-dry-run: true\r\n", &ask("openai/gpt-x"));
        gateway.ask(&dry).json()["targets"][0]["queue"].clone()
    };
    let until = |in_flight: u32, waiting: u32| {
        let end = Instant::now() + Duration::from_secs(5);
        while (&standing()["in_flight"], &standing()["waiting"])
            != (&json!(in_flight), &json!(waiting))
        {
            assert!(Instant::now() < end, "{}", standing());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let go = || {
        let mut client = gateway.connect();
        client.send(request(CHAT, "", &ask("openai/gpt-x")).as_bytes());
        client
    };
    let mut first = go();
    until(1, 0);
    let leaver = go();
    until(1, 1);
    leaver.hang_up();
    until(1, 0);
    let mut second = go();
    assert_eq!((first.response().status, second.response().status), (200, 200));
    until(0, 0);
    let text = queued(4, 4, true).to_string().replace("@UPSTREAM@", &upstream.at.to_string());
    std::fs::write(gateway.folder.join("config.json"), text).unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    while standing()["concurrency"] != 4 {
        assert!(Instant::now() < end, "not reloaded");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(crowd(&gateway, 8, &ask("openai/gpt-x")).iter().all(|answer| answer.status == 200));
    assert_eq!(most.load(Ordering::SeqCst), 4);
}

#[test]
fn weights_follow_latency_where_that_is_wanted() {
    let quick = |call: &mut support::upstream::Call| {
        if call.head.contains("Bearer sk-one") {
            std::thread::sleep(Duration::from_millis(30));
        }
        call.json(COMPLETION);
        true
    };
    let upstream = Upstream::start(quick);
    let mut adaptive = config(&json!({}), &json!({}));
    adaptive["load_balancer_config"] = json!({"enabled": true});
    let gateway = Start { config: Some(adaptive.to_string()), ..Start::at(upstream.at) }.run();
    let mut slow = 0;
    for _ in 0..100 {
        let answer = gateway.ask(&request(CHAT, "", &ask("openai/gpt-x")));
        let key = answer.header("x-bifrost-routing-info-key").unwrap();
        slow += u32::from(key == "sk-one");
    }
    assert!((1..=25).contains(&slow), "the slow key of two equal ones was taken {slow} times");
}
