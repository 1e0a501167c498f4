//! Limits under load: 256 connections over several workers, to the exact figure; and what a
//! `kill -9` in the middle of it leaves.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and waits with a blocking sleep"
)]

#[path = "support/governance.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod governance;
#[path = "support/life.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod life;
#[path = "support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other tests use the rest of it")]
mod support;

use finops_gateway::govern::budgets::{from_dollars, to_dollars};
use governance::{MESSAGES, config, key, request};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};
use support::client::{Client, read};
use support::gateway::Start;
use support::upstream::MESSAGE;
use support::{Gateway, Upstream};

const CONNECTIONS: usize = 256;
/// Calls that the budget has room for when the gateway is killed before it is spent.
const BUDGET: u64 = 100_000;

/// Nano-dollars: a byte may be a token of input at one micro-dollar, and each of the 50 tokens of
/// output costs ten.
fn most(body: &str) -> u64 {
    body.len() as u64 * 1_000 + 50 * 10_000
}

fn body() -> String {
    json!({"model": "priced", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]})
        .to_string()
}

/// An upstream whose answers use as much as they may: one token to a byte, and all of the output.
/// It counts its answers itself, and tells when it gave each.
fn upstream(answered: &Arc<AtomicU64>, times: Sender<Instant>) -> Upstream {
    let answered = Arc::clone(answered);
    Upstream::start(move |call| {
        std::thread::sleep(Duration::from_millis(2));
        let usage = format!("\"input_tokens\":{},\"output_tokens\":50", call.body.len());
        let answer = MESSAGE.replace("\"input_tokens\":3,\"output_tokens\":1", &usage);
        answered.fetch_add(1, Ordering::SeqCst);
        let _unheard = times.send(Instant::now());
        call.json(&answer);
        true
    })
}

/// A budget of so many calls, and a request limit; prices without caches.
fn governed(upstream: &Upstream, (calls, strict): (u64, bool), requests: u64) -> String {
    let dollars = to_dollars(calls * most(&body()));
    let enforcement = if strict { "strict" } else { "soft" };
    let patch = json!({"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-5}).to_string();
    let governance = json!({
        "budgets": [{"id": "b", "max_limit": dollars, "reset_duration": "1M",
            "enforcement": enforcement, "virtual_key_id": "dev"}],
        "rate_limits": [{"id": "r", "request_max_limit": requests, "request_reset_duration": "1M"}],
        "virtual_keys": [key("dev", &json!({"rate_limit_id": "r"}))],
        "pricing_overrides": [{"id": "p", "name": "p", "scope_kind": "global",
            "match_type": "exact", "pattern": "priced", "pricing_patch": patch}],
    });
    config(&json!({}), &governance).to_string().replace("@UPSTREAM@", &upstream.at.to_string())
}

fn run(upstream: &Upstream, config: String) -> Gateway {
    let arguments = vec!["--workers".to_owned(), "4".to_owned()];
    Start { arguments, config: Some(config), ..Start::at(upstream.at) }.run()
}

fn call(body: &str) -> String {
    request(MESSAGES, "authorization: Bearer sk-bf-dev\r\n", body)
}

/// The key's own view: nano-dollars spent, and requests.
fn standing(gateway: &Gateway) -> (u64, u64) {
    let ask = "GET /api/governance/virtual-keys/quota HTTP/1.1\r\nHost: g\r\n\
               x-bf-vk: sk-bf-dev\r\n\r\n";
    let quota: Value = gateway.ask(ask).json();
    let spent = from_dollars(quota["budgets"][0]["current_usage"].as_f64().unwrap());
    (spent.unwrap(), quota["rate_limit"]["request_current_usage"].as_u64().unwrap())
}

/// Has every connection ask until it is refused; gives the statuses of the refusals.
fn until_refused(gateway: &Gateway) -> Vec<u16> {
    let call = Arc::new(call(&body()));
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (mut client, call) = (gateway.connect(), Arc::clone(&call));
            std::thread::spawn(move || {
                loop {
                    client.send(call.as_bytes());
                    let status = client.response().status;
                    if status != 200 {
                        return status;
                    }
                }
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn spent_and_admitted_to_the_exact_figure() {
    const REQUESTS: u64 = 1_500;
    const CALLS: u64 = 2_000;
    let (answered, (times, _)) = (Arc::<AtomicU64>::default(), channel());
    let upstream = upstream(&answered, times);
    let gateway = run(&upstream, governed(&upstream, (CALLS, true), REQUESTS));
    let refusals = until_refused(&gateway);
    assert!(refusals.iter().all(|status| *status == 429), "{refusals:?}");
    assert_eq!(answered.load(Ordering::SeqCst), REQUESTS);
    assert_eq!(standing(&gateway), (REQUESTS * most(&body()), REQUESTS));
    // More requests: now it is the budget that ends it.
    let more = governed(&upstream, (CALLS, true), 1_000_000);
    std::fs::write(gateway.folder.join("config.json"), more).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while !gateway.log().contains("configuration reloaded") {
        assert!(Instant::now() < until, "{}", gateway.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let refusals = until_refused(&gateway);
    assert!(refusals.iter().all(|status| *status == 402), "{refusals:?}");
    assert_eq!(answered.load(Ordering::SeqCst), CALLS, "each reserved all that it used");
    assert_eq!(standing(&gateway), (CALLS * most(&body()), CALLS));
}

/// Keeps all connections busy, kills the gateway after a while, and starts it again; gives it, what
/// was answered, and what of it was answered two seconds before the end.
fn killed_under_load(strict: bool) -> (Gateway, u64, u64) {
    let (answered, (tell, times)) = (Arc::<AtomicU64>::default(), channel());
    let upstream = upstream(&answered, tell);
    let mut gateway = run(&upstream, governed(&upstream, (BUDGET, strict), 1_000_000));
    let over = Arc::new(AtomicBool::new(false));
    let call = Arc::new(call(&body()));
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (client, call, over) = (gateway.connect(), Arc::clone(&call), Arc::clone(&over));
            std::thread::spawn(move || ask_on(client, &call, &over))
        })
        .collect();
    std::thread::sleep(Duration::from_secs(4));
    let killed = Instant::now();
    let arguments = life::kill(&mut gateway);
    over.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().unwrap();
    }
    let answered = answered.load(Ordering::SeqCst);
    let settled =
        times.try_iter().filter(|time| killed.duration_since(*time).as_secs() >= 2).count();
    assert!(settled > 500, "a load worth the name: {settled} of {answered}");
    life::restart(&mut gateway, arguments);
    (gateway, answered, settled as u64)
}

/// Asks until the connection is cut.
fn ask_on(mut client: Client, call: &str, over: &AtomicBool) {
    let mut chunk = [0; 4096];
    while !over.load(Ordering::SeqCst) {
        let socket: &mut TcpStream = &mut client.socket;
        if std::io::Write::write_all(socket, call.as_bytes()).is_err() {
            return;
        }
        // An answer is one small message.
        match read(socket, &mut chunk) {
            Ok(count) if count > 0 => assert!(
                chunk.starts_with(b"HTTP/1.1 200"),
                "{:?}",
                String::from_utf8_lossy(&chunk[..count])
            ),
            _ => return,
        }
    }
}

#[test]
fn a_kill_under_load_forgets_nothing_of_a_strict_budget() {
    let (gateway, answered, _) = killed_under_load(true);
    let (spent, _) = standing(&gateway);
    let each = most(&body());
    assert!(spent >= answered * each, "{spent}: the upstream has answered {answered} calls");
    // A hundredth of the limit was leased, and each connection may have had a call under way.
    let bound = (answered + CONNECTIONS as u64 + BUDGET / 100) * each;
    assert!(spent <= bound, "{spent} > {bound}");
}

#[test]
fn a_kill_under_load_forgets_at_most_the_last_second_of_a_soft_budget() {
    let (gateway, answered, settled) = killed_under_load(false);
    let (spent, requests) = standing(&gateway);
    let each = most(&body());
    // A second between two rows, and time to write them on a machine that is busy.
    assert!(spent >= settled * each, "{spent}: {settled} calls were over two seconds before");
    assert!(spent <= answered * each, "{spent}: no more than {answered} were answered");
    assert!((settled..=answered + CONNECTIONS as u64).contains(&requests), "{requests}");
}
