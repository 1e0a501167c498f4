//! The request log against the real binary: what a row says, who may read it, what a crash costs.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and waits with a blocking sleep"
)]

#[path = "support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other tests use the rest of it")]
mod support;

#[path = "support/governance.rs"]
mod governance;

use governance::{CHAT, MESSAGES, ask, key, oops, request, scripted, start, with_key};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::gateway::Start;
use support::upstream::delta;
use support::{Gateway, Response, Upstream};

fn get(gateway: &Gateway, target: &str) -> Response {
    get_as(gateway, target, "")
}

fn get_as(gateway: &Gateway, target: &str, headers: &str) -> Response {
    gateway.ask(&format!("GET {target} HTTP/1.1\r\nhost: g\r\nconnection: close\r\n{headers}\r\n"))
}

fn delete(gateway: &Gateway, target: &str, body: &str) -> Response {
    gateway.ask(&format!(
        "DELETE {target} HTTP/1.1\r\nhost: g\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// The usual file, with a log.
fn config(client: &Value, governance: &Value) -> Value {
    let mut config = governance::config(client, governance);
    config["logs_store"] = json!({"enabled": true});
    config
}

/// The list that a query gives, once it has just so many rows; newest first.
fn rows(gateway: &Gateway, query: &str, count: usize) -> Vec<Value> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let response = get(gateway, &format!("/api/logs?{query}"));
        let answer = response.json();
        let logs = answer["logs"].as_array().unwrap_or_else(|| panic!("{answer}"));
        if logs.len() == count {
            return logs.clone();
        }
        assert!(Instant::now() < until, "{} rows: {}\n{answer}", logs.len(), gateway.log());
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn one(gateway: &Gateway, row: &Value) -> Value {
    get(gateway, &format!("/api/logs/{}", row["id"].as_str().unwrap())).json()
}

/// A gateway with a team, a key, a rule and a header to log, and one request that has met them all.
fn one_of_each() -> Gateway {
    let upstream = Upstream::plain();
    let governance = json!({
        "teams": [{"id": "t", "name": "Team"}],
        "virtual_keys": [key("dev", &json!({"team_id": "t"}))],
        "routing_rules": [{"id": "r", "name": "to spare", "enabled": true, "scope": "global",
            "cel_expression": "model == \"fast\"",
            "targets": [{"provider": "spare", "model": "claude-3-5-haiku-20241022", "weight": 1}]}],
    });
    let client = json!({"logging_headers": ["X-Ticket"]});
    let gateway = start(&upstream, &config(&client, &governance));
    let headers = "authorization: Bearer sk-bf-dev\r\nx-ticket: 77\r\nx-bf-dim-env: prod\r\n\
                   x-bf-session-id: s1\r\nuser-agent: claude-cli/2.1\r\n";
    let body = json!({"model": "fast", "max_tokens": 9, "headers": {"x-bf-vk": "sk-bf-hidden"},
        "messages": [{"role": "user", "content": "a needle"}]});
    let response = gateway.ask(&request(MESSAGES, headers, &body.to_string()));
    assert_eq!(response.status, 200, "{}", response.text());
    gateway
}

#[test]
fn a_row_says_who_asked_what_and_what_it_came_to() {
    let gateway = one_of_each();
    let row = &rows(&gateway, "", 1)[0];
    for (pointer, wanted) in [
        ("/object", json!("chat_completion")),
        ("/provider", json!("spare")),
        ("/model", json!("claude-3-5-haiku-20241022")),
        ("/alias", json!("fast")),
        ("/status", json!("success")),
        ("/status_code", json!(200)),
        ("/stream", json!(false)),
        ("/stop_reason", json!("end_turn")),
        ("/virtual_key_id", json!("dev")),
        ("/team_name", json!("Team")),
        ("/routing_rule_name", json!("to spare")),
        ("/selected_key_name", json!("sk-spare")),
        ("/session_id", json!("s1")),
        ("/app", json!("claude-cli")),
        ("/metadata", json!({"x-ticket": "77", "env": "prod"})),
        ("/token_usage/prompt_tokens", json!(3)),
        ("/token_usage/completion_tokens", json!(1)),
        ("/client_dialect", json!("anthropic")),
        ("/upstream_dialect", json!("anthropic")),
        ("/number_of_retries", json!(0)),
    ] {
        assert_eq!(row.pointer(pointer), Some(&wanted), "{pointer} of {row:#}");
    }
    assert!(row["cost"].as_f64().unwrap() > 0.0, "{row:#}");
    let timings = |name: &str| row["timings"][name].as_u64().unwrap();
    assert!(timings("own_us") > 0 && timings("own_us") < timings("total_us"), "{row:#}");
    assert!(timings("first_byte_us") <= timings("total_us"), "{row:#}");
    let log = one(&gateway, row);
    assert_eq!(log["request_body"]["messages"][0]["content"], "a needle");
    assert_eq!(log["request_body"]["headers"], "[hidden]", "a key in a body is not logged");
    assert_eq!(log["response_body"]["content"][0]["text"], "hello");
    for (query, count) in [
        ("content_search=a%20needle", 1),
        ("content_search=%25", 0),
        ("metadata_env=prod", 1),
        ("metadata_env=test", 0),
        ("virtual_key_ids=dev,other&status=success", 1),
        ("virtual_key_ids=other", 0),
        ("routing_rule_ids=r&apps=claude-cli&team_ids=t", 1),
        ("session_id=s1&min_tokens=4&max_tokens=4", 1),
        ("min_tokens=5", 0),
        ("start_time=2100-01-01T00:00:00Z", 0),
        ("end_time=2100-01-01T00:00:00Z&period=1h", 1),
    ] {
        rows(&gateway, query, count);
    }
    let facets = get(&gateway, "/api/logs/filterdata").json();
    assert_eq!(facets["virtual_keys"], json!([{"id": "dev", "name": "dev"}]));
    assert_eq!(facets["teams"], json!([{"id": "t", "name": "Team"}]));
    assert_eq!(facets["counts"]["apps"], json!({"claude-cli": 1}));
    let summary = get(&gateway, "/api/logs/sessions/s1/summary").json();
    assert_eq!((&summary["total_requests"], &summary["total_tokens"]), (&json!(1), &json!(4)));
    assert_eq!(get(&gateway, "/api/logs/sessions/none/summary").status, 404);
}

#[test]
fn streams_errors_fallbacks_cuts_and_leavers_each_say_what_they_were() {
    let upstream = scripted(|call| {
        let body = String::from_utf8_lossy(&call.body);
        body.contains("broken").then(oops)
    });
    let gateway = start(&upstream, &config(&json!({}), &json!({})));
    let body = json!({"model": "openai/broken", "fallbacks": ["anthropic/claude-a"],
        "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(gateway.ask(&request(CHAT, "", &body.to_string())).status, 200);
    let row = &rows(&gateway, "", 1)[0];
    assert_eq!((&row["provider"], &row["fallback_index"]), (&json!("anthropic"), &json!(1)));
    assert_eq!(row["status"], "success");
    let trail = row["attempt_trail"].as_array().unwrap();
    assert_eq!(trail[0]["status_code"], 500);
    assert_eq!(trail.last().unwrap()["provider"], "anthropic");
    assert_eq!(row["number_of_retries"], trail.len() - 2);
    assert_eq!(gateway.ask(&request(CHAT, "", &ask("openai/broken"))).status, 500);
    let row = &rows(&gateway, "status=error", 1)[0];
    assert_eq!(
        (&row["status_code"], &row["error_details"]["message"]),
        (&json!(500), &json!("oops"))
    );
    assert_eq!(gateway.ask(&request(CHAT, "", "{")).status, 400);
    rows(&gateway, "status=error", 2);

    let upstream = Upstream::start(|call| {
        call.start_stream();
        call.chunk(&delta("one"));
        let body = String::from_utf8_lossy(&call.body).into_owned();
        if body.contains("leave") {
            call.wait_closed(Duration::from_secs(5));
        } else if !body.contains("cut") {
            call.chunk(
                "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\
                \"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n",
            );
            call.chunk("data: [DONE]\n\n");
            call.end_stream();
        }
        false
    });
    let gateway = start(&upstream, &config(&json!({}), &json!({})));
    let stream = |model: &str| json!({"model": model, "stream": true, "messages": []}).to_string();
    let whole = gateway.ask(&request(CHAT, "", &stream("whole"))).text();
    gateway.ask(&request(CHAT, "", &stream("cut")));
    let mut client = gateway.connect();
    client.send(request(CHAT, "", &stream("leave")).as_bytes());
    client.head();
    client.chunk();
    client.hang_up();
    rows(&gateway, "", 3);
    let of = |model: &str| one(&gateway, &rows(&gateway, &format!("aliases={model}"), 1)[0]);
    let row = of("whole");
    assert_eq!(
        (&row["status"], &row["stream"], &row["stop_reason"]),
        (&json!("success"), &json!(true), &json!("end_turn"))
    );
    assert_eq!(row["token_usage"]["completion_tokens"], 2);
    assert_eq!(row["response_body"], Value::String(whole));
    let row = of("cut");
    assert_eq!((&row["status"], &row["status_code"]), (&json!("error"), &json!(200)));
    assert_eq!(row["error_details"]["code"], "network");
    let row = of("leave");
    assert_eq!((&row["status"], &row["status_code"]), (&json!("cancelled"), &json!(499)));
    assert!(row["response_body"].as_str().unwrap().contains("one"));
    assert_eq!(row["response_body_truncated"], true);
    let stats = get(&gateway, "/api/logs/stats").json();
    assert_eq!(
        (&stats["total_requests"], &stats["error_requests"], &stats["cancelled_requests"]),
        (&json!(3), &json!(1), &json!(1))
    );
}

#[test]
fn content_is_logged_where_the_key_the_request_and_the_file_allow_it() {
    let upstream = Upstream::plain();
    let governance = json!({"virtual_keys": [
        key("quiet", &json!({"disable_content_logging": true})),
        key("loud", &json!({"disable_content_logging": false})),
        key("plain", &json!({})),
    ]});
    let has = |gateway: &Gateway, key: &str| {
        let row = &rows(gateway, &format!("virtual_key_ids={key}"), 1)[0];
        let log = one(gateway, row);
        assert_eq!(log["request_body"].is_null(), log["response_body"].is_null());
        !log["request_body"].is_null()
    };
    for (client, wanted) in [
        (json!({}), [false, true, true]),
        (json!({"disable_content_logging": true}), [false, true, false]),
    ] {
        let gateway = start(&upstream, &config(&client, &governance));
        for key in ["quiet", "loud", "plain"] {
            with_key(&gateway, MESSAGES, &format!("sk-bf-{key}"), &ask("claude-a"));
        }
        assert_eq!(["quiet", "loud", "plain"].map(|key| has(&gateway, key)), wanted, "{client}");
    }
    let client = json!({"allow_per_request_content_storage_override": true});
    let gateway = start(&upstream, &config(&client, &governance));
    let headers = "authorization: Bearer sk-bf-plain\r\nx-bf-disable-content-logging: true\r\n";
    gateway.ask(&request(MESSAGES, headers, &ask("claude-a")));
    assert!(!has(&gateway, "plain"));
}

#[test]
fn lists_are_read_page_by_page_in_any_order() {
    let upstream = Upstream::plain();
    let gateway = start(&upstream, &config(&json!({}), &json!({})));
    for at in 0..7 {
        gateway.ask(&request(CHAT, "", &ask(&format!("m{at}"))));
    }
    rows(&gateway, "", 7);
    let names = |answer: &Value| -> Vec<String> {
        let logs = answer["logs"].as_array().unwrap();
        logs.iter().map(|log| log["alias"].as_str().unwrap().to_owned()).collect()
    };
    for sort in ["timestamp", "latency", "tokens", "cost"] {
        for order in ["asc", "desc"] {
            let query = format!("/api/logs?sort_by={sort}&order={order}");
            let all = names(&get(&gateway, &query).json());
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = get(&gateway, &format!("{query}&limit=3{cursor}")).json();
                assert_eq!(page["pagination"]["total_count"], 7);
                seen.extend(names(&page));
                let Some(next) = page["pagination"]["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            assert_eq!((seen.len(), &seen), (7, &all), "{sort} {order}");
            let pages = (0..8).step_by(3).map(|at| format!("{query}&limit=3&offset={at}"));
            let by_offset: Vec<_> =
                pages.flat_map(|page| names(&get(&gateway, &page).json())).collect();
            assert_eq!(by_offset, all, "{sort} {order} by offset");
        }
    }
    assert_eq!(names(&get(&gateway, "/api/logs?order=asc&limit=1").json()), ["m0"]);
    let bad = get(&gateway, "/api/logs?colour=red");
    assert_eq!((bad.status, bad.message().as_str()), (400, "colour: unknown parameter"));
    assert_eq!(get(&gateway, "/api/logs/none").status, 404);
    assert_eq!(get(&gateway, "/api/nothing").status, 404);

    let id = get(&gateway, "/api/logs?aliases=m3").json()["logs"][0]["id"].clone();
    let gone = delete(&gateway, "/api/logs", &json!({"ids": [id]}).to_string());
    assert_eq!((gone.status, &gone.json()["deleted"]), (200, &json!(1)));
    assert_eq!(get(&gateway, "/api/logs/stats").json()["total_requests"], 6);
    assert_eq!(rows(&gateway, "", 6).len(), 6);
    let bars = get(&gateway, "/api/logs/histogram/tokens?bucket_seconds=3600&period=2h").json();
    let sum: u64 = bars["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bar| bar["total_tokens"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, 24);
    let bars = get(&gateway, "/api/logs/histogram/models?period=10m").json();
    assert_eq!(bars["models"].as_array().unwrap().len(), 6);
    let bars = get(&gateway, "/api/logs/histogram/latency/by-provider?period=1d").json();
    let bar = bars["buckets"].as_array().unwrap().iter().find(|bar| bar["total_requests"] == 6);
    assert!(bar.unwrap()["by_provider"]["openai"]["avg_latency"].as_f64().unwrap() > 0.0);
    assert!(bar.unwrap()["p99_latency"].as_f64().unwrap() > 0.0);
}

#[test]
fn only_the_administrator_reads_the_log_where_there_is_one() {
    let upstream = Upstream::plain();
    let governance = json!({"auth_config": {"is_enabled": true, "admin_username": "root",
        "admin_password": "correct horse"}});
    let gateway = start(&upstream, &config(&json!({}), &governance));
    assert_eq!(gateway.ask(&request(CHAT, "", &ask("m"))).status, 200, "inference is not asked");
    let status = |headers: &str| get_as(&gateway, "/api/logs", headers).status;
    let denied = get(&gateway, "/api/logs");
    assert_eq!((denied.status, denied.json()["is_bifrost_error"].clone()), (401, json!(true)));
    assert_eq!(status("authorization: Basic cm9vdDpjb3JyZWN0IGhvcnNl\r\n"), 200);
    assert_eq!(status("authorization: Basic cm9vdDp3cm9uZw==\r\n"), 401);
    let login = |password: &str| {
        let body = json!({"username": "root", "password": password}).to_string();
        gateway.ask(&request("/api/session/login", "connection: close\r\n", &body))
    };
    assert_eq!(login("wrong").status, 401);
    let session = login("correct horse");
    let token = session.json()["token"].as_str().unwrap().to_owned();
    assert!(session.header("set-cookie").unwrap().contains("HttpOnly"));
    let bearer = format!("authorization: Bearer {token}\r\n");
    assert_eq!(status(&bearer), 200);
    assert_eq!(status(&format!("cookie: a=b; token={token}\r\n")), 200);
    let enabled = get_as(&gateway, "/api/session/is-auth-enabled", &bearer).json();
    assert_eq!(enabled, json!({"is_auth_enabled": true, "has_valid_token": true}));
    gateway.ask(&request("/api/session/logout", &format!("{bearer}connection: close\r\n"), ""));
    assert_eq!(status(&bearer), 401);
    let foreign = format!("{bearer}origin: https://evil.example\r\n");
    assert_eq!(status(&foreign), 403);
}

#[test]
fn a_kill_costs_no_more_than_the_last_second() {
    let upstream = Upstream::plain();
    let folder = std::env::temp_dir().join(format!("finops-logged-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut config = config(&json!({}), &json!({}));
    let path = folder.join("kept.db");
    config["logs_store"] = json!({"enabled": true, "type": "sqlite", "config": {"path": path}});
    let first = start(&upstream, &config);
    for _ in 0..20 {
        assert_eq!(first.ask(&request(CHAT, "", &ask("before"))).status, 200);
    }
    std::thread::sleep(Duration::from_secs(1));
    first.ask(&request(CHAT, "", &ask("last")));
    // The support kills without a warning.
    drop(first);
    let second = start(&upstream, &config);
    rows(&second, "aliases=before", 20);
    let stats = get(&second, "/api/logs/stats").json();
    assert!(stats["total_requests"].as_u64().unwrap() >= 20);
    drop(second);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_orderly_end_costs_nothing() {
    let upstream = Upstream::plain();
    let mut gateway = start(&upstream, &config(&json!({}), &json!({})));
    for _ in 0..20 {
        assert_eq!(gateway.ask(&request(CHAT, "", &ask("m"))).status, 200);
    }
    let told = std::process::Command::new("kill").arg(gateway.process.id().to_string()).status();
    assert!(told.unwrap().success());
    let until = Instant::now() + Duration::from_secs(10);
    let status = loop {
        if let Some(status) = gateway.process.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < until, "it does not end: {}", gateway.log());
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "{status}: {}", gateway.log());
    let db = rusqlite::Connection::open(gateway.folder.join("logs.db")).unwrap();
    let count: i64 = db.query_row("SELECT COUNT(*) FROM requests", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 20, "{}", gateway.log());
    std::fs::remove_dir_all(&gateway.folder).unwrap();
    // It has ended as it should, which its support takes for a fault.
    std::mem::forget(gateway);
}

#[test]
fn a_store_that_refuses_rows_costs_rows_and_nothing_else() {
    let upstream = Upstream::plain();
    let mut config = config(&json!({}), &json!({}));
    config["logs_store"] = json!({"enabled": true, "type": "sqlite",
        "writer": {"write_queue_capacity": 100, "max_batch_size": 10}});
    let gateway = start(&upstream, &config);
    gateway.ask(&request(CHAT, "", &ask("first")));
    rows(&gateway, "", 1);
    // Somebody else holds the database, for longer than it is waited for.
    let db = rusqlite::Connection::open(gateway.folder.join("logs.db")).unwrap();
    db.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut client = gateway.connect();
    for _ in 0..1500 {
        client.send(request(CHAT, "", &ask("more")).as_bytes());
        assert_eq!(client.response().status, 200);
    }
    let dropped = || get(&gateway, "/api/logs/dropped").json()["dropped"].as_u64().unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while dropped() == 0 {
        assert!(Instant::now() < until, "nothing was dropped");
        std::thread::sleep(Duration::from_millis(50));
    }
    let metrics = get(&gateway, "/metrics").text();
    assert!(!metrics.contains("finops_log_dropped_total 0\n"), "{metrics}");
    db.execute_batch("ROLLBACK").unwrap();
    drop(db);
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let total = get(&gateway, "/api/logs/stats").json()["total_requests"].as_u64().unwrap();
        if total + dropped() == 1501 {
            break;
        }
        assert!(Instant::now() < until, "{total} rows and {} dropped of 1501", dropped());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_is_too_old_is_forgotten() {
    let upstream = Upstream::plain();
    let folder = std::env::temp_dir().join(format!("finops-retention-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut config = config(&json!({"log_retention_days": 2}), &json!({}));
    let path = folder.join("kept.db");
    config["logs_store"] = json!({"enabled": true, "type": "sqlite", "config": {"path": path}});
    let first = start(&upstream, &config);
    for _ in 0..3 {
        first.ask(&request(CHAT, "", &ask("m")));
    }
    let three = rows(&first, "", 3);
    drop(first);
    let db = rusqlite::Connection::open(&path).unwrap();
    let back = 3 * 86_400 * 1_000_000_i64;
    for table in ["requests", "bodies"] {
        let sql = format!(
            "UPDATE {table} SET seq = seq - {back} * 256 \
            WHERE seq IN (SELECT seq FROM requests ORDER BY seq DESC LIMIT 2)"
        );
        if table == "requests" {
            let sql = sql.replace("SET ", &format!("SET time = time - {back}, "));
            db.execute(&sql, []).unwrap();
        } else {
            db.execute(&sql, []).unwrap();
        }
    }
    drop(db);
    let second = start(&upstream, &config);
    let left = rows(&second, "", 1);
    assert_eq!(left[0]["id"], three[2]["id"]);
    drop(second);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn without_a_store_the_log_says_what_to_configure() {
    let upstream = Upstream::plain();
    let gateway =
        Start { client: "\"enable_logging\": false".to_owned(), ..Start::at(upstream.at) }.run();
    let refused = get(&gateway, "/api/logs");
    assert_eq!(refused.status, 400);
    assert!(refused.message().contains("logs_store"), "{}", refused.message());
    assert!(!gateway.folder.join("logs.db").exists());
}

#[test]
fn the_live_feed_tells_of_each_request_as_it_is_logged() {
    let upstream = Upstream::plain();
    let governance = json!({"auth_config": {"is_enabled": true, "admin_username": "root",
        "admin_password": "correct horse"}});
    let gateway = start(&upstream, &config(&json!({}), &governance));
    let basic = "authorization: Basic cm9vdDpjb3JyZWN0IGhvcnNl\r\n";
    let ticket =
        gateway.ask(&request("/api/session/ws-ticket", basic, "")).json()["ticket"].clone();
    let ticket = ticket.as_str().unwrap();
    let open = |query: &str| {
        let mut client = gateway.connect();
        client.send(
            format!(
                "GET /ws{query} HTTP/1.1\r\nhost: g\r\nupgrade: websocket\r\n\
                 connection: Upgrade\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            .as_bytes(),
        );
        let head = client.head();
        (client, head)
    };
    assert_eq!(open("").1.status, 401);
    let (mut client, head) = open(&format!("?ticket={ticket}"));
    assert_eq!(head.status, 101);
    // The example of RFC 6455.
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(open(&format!("?ticket={ticket}")).1.status, 401, "a ticket is good once");
    gateway.ask(&request(CHAT, "", &ask("seen")));
    let told = loop {
        let [first, second] = client.exactly(2)[..] else { panic!("no frame") };
        let length = match second & 127 {
            126 => {
                let length = client.exactly(2);
                usize::from(u16::from_be_bytes([length[0], length[1]]))
            }
            length => usize::from(length),
        };
        let payload = client.exactly(length);
        match first & 15 {
            1 => break serde_json::from_slice::<Value>(&payload).unwrap(),
            9 => {}
            other => panic!("opcode {other}"),
        }
    };
    assert_eq!((&told["type"], &told["operation"]), (&json!("log"), &json!("create")));
    assert_eq!(told["payload"]["alias"], "seen");
    // A masked close frame of status 1000 is answered, and the connection ends.
    client.send(&[0x88, 0x82, 0, 0, 0, 0, 3, 232]);
    assert_eq!(client.exactly(4)[0], 0x88);
    assert!(client.closes_within(Duration::from_secs(2)));
}

#[test]
fn requests_are_priced_again_when_prices_have_changed() {
    let upstream = Upstream::plain();
    let mut config = config(&json!({}), &json!({}));
    let gateway = start(&upstream, &config);
    gateway.ask(&request(CHAT, "", &ask("openai/own-model")));
    let row = &rows(&gateway, "", 1)[0];
    assert!(row["cost"].is_null(), "nobody has a price for it: {row:#}");
    rows(&gateway, "missing_cost_only=true", 1);
    config["governance"] = json!({"virtual_keys": [key("dev", &json!({}))], "pricing_overrides": [{"id": "p", "name": "own",
        "scope_kind": "global", "match_type": "exact", "pattern": "own-model",
        "request_types": ["chat_completion"],
        "pricing_patch": "{\"input_cost_per_token\": 0.5, \"output_cost_per_token\": 0.25}"}]});
    let text = config.to_string().replace("@UPSTREAM@", &upstream.at.to_string());
    std::fs::write(gateway.folder.join("config.json"), text).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while !gateway.log().contains("configuration reloaded") {
        assert!(Instant::now() < until, "no reload: {}", gateway.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let body = r#"{"filters": {"missing_cost_only": true}}"#;
    let begun = gateway.ask(&request("/api/logs/recalculate-cost", "", body));
    assert_eq!(begun.status, 200, "{}", begun.text());
    let until = Instant::now() + Duration::from_secs(5);
    while get(&gateway, "/api/logs/recalculate-cost/status").json()["running"] == true {
        assert!(Instant::now() < until, "it never ends");
        std::thread::sleep(Duration::from_millis(20));
    }
    let row = &rows(&gateway, "", 1)[0];
    assert_eq!(row["cost"], json!(1.75), "three tokens in, one out");
    assert_eq!(get(&gateway, "/api/logs/stats").json()["total_cost"], json!(1.75));
}

#[test]
fn each_request_is_a_line_without_secrets_where_that_is_wanted() {
    let upstream = scripted(|_| None);
    let governance = json!({"virtual_keys": [key("dev", &json!({}))]});
    let gateway = start(&upstream, &config(&json!({"access_log": true}), &governance));
    let target = format!("{MESSAGES}?key=sk-in-the-query");
    with_key(&gateway, &target, "sk-bf-dev", &ask("claude-a"));
    gateway.ask(&request("/nowhere", "", "{}"));
    get(&gateway, "/health");
    let lines = || -> Vec<Value> {
        let log = gateway.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.filter(|line: &Value| line["message"] == "request").collect()
    };
    let until = Instant::now() + Duration::from_secs(5);
    while lines().len() < 2 {
        assert!(Instant::now() < until, "{}", gateway.log());
        std::thread::sleep(Duration::from_millis(30));
    }
    let lines = lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (name, wanted) in [
        ("http.target", json!(MESSAGES)),
        ("http.status_code", json!(200)),
        ("virtual_key_id", json!("dev")),
        ("provider", json!("anthropic")),
        ("input_tokens", json!(3)),
        ("output_tokens", json!(1)),
    ] {
        assert_eq!(lines[0][name], wanted, "{name}");
    }
    for timing in ["queue_us", "upstream_connect_us", "first_byte_us", "own_us"] {
        assert!(lines[0][timing].is_u64(), "{timing}");
    }
    assert_eq!(
        (&lines[1]["http.status_code"], &lines[1]["error_code"]),
        (&json!(404), &json!("not_found"))
    );
    let log = gateway.log();
    assert!(!log.contains("sk-"), "{log}");
}

#[test]
fn an_answer_says_where_the_time_went_if_it_is_asked() {
    let upstream = Upstream::start(|call| {
        std::thread::sleep(Duration::from_millis(80));
        call.json(support::upstream::COMPLETION);
        true
    });
    let gateway = start(&upstream, &config(&json!({}), &json!({})));
    let plain = gateway.ask(&request(CHAT, "", &ask("m")));
    assert_eq!(plain.header("server-timing"), None);
    let asked = gateway.ask(&request(CHAT, "x-bf-server-timing: true\r\n", &ask("m")));
    let said = asked.header("server-timing").unwrap();
    let part = |name: &str| -> f64 {
        let part = said.split(", ").find_map(|part| part.strip_prefix(&format!("{name};dur=")));
        part.unwrap_or_else(|| panic!("{said}")).parse().unwrap()
    };
    assert!(part("upstream") >= 79.0, "{said}");
    assert!(part("gateway") > 0.0 && part("gateway") < 60.0, "{said}");
    assert!(part("total") >= part("upstream"), "{said}");
}
