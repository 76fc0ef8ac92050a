//! Another configuration is put in force while requests run: what changes, what stays, and what is rejected.

#![cfg(test)]

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::program::Program;
use crate::support::{
    Backend, Balancer, Client, Lane, PATIENCE, Reply, Seen, eventually, get, in_time, lane,
};

/// An upstream with these backends, and whatever else is to be said.
fn web(backends: &[&Backend], more: &str) -> String {
    let urls: Vec<String> = backends.iter().map(|backend| format!("\"{}\"", backend.url())).collect();
    format!("upstreams: {{ web: {{ backends: [{}], {more} }} }}", urls.join(", "))
}

/// The backends of the first upstream in `/status`, by name.
async fn shown(balancer: &Balancer, backend: &Backend) -> Value {
    let status = balancer.status().await;
    let backends = status["upstreams"][0]["backends"].as_array().expect("backends").clone();
    let found = backends.into_iter().find(|one| one["name"] == backend.url());
    found.unwrap_or(Value::Null)
}

#[tokio::test]
async fn routes_change_and_a_kept_connection_stays() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let upstreams = format!(
        "upstreams: {{ a: {{ backends: [\"{}\"] }}, b: {{ backends: [\"{}\"] }} }}\n",
        old.url(),
        new.url()
    );
    let routes = |to: &str| format!("{upstreams}routes: [{{ name: all, upstream: {to} }}]");
    let balancer = Balancer::start(&routes("a")).await;
    let mut client = balancer.client().await;
    assert_eq!(client.get("/").await.text(), "old");
    assert_eq!(balancer.reload(&routes("b")).await.unwrap(), ["route all changed: target"]);
    assert_eq!(client.get("/").await.text(), "new");
    assert_eq!(balancer.reload(&routes("b")).await.unwrap(), [""; 0]);
    let metrics = balancer.metrics().await;
    assert!(metrics.contains("evenkeel_requests_total{route=\"all\",code=\"2xx\"} 2"), "{metrics}");
}

#[tokio::test]
async fn a_request_under_way_to_a_removed_backend_ends_whole_and_its_idle_connections_close() {
    let slow = |seen: &Seen| match seen.message.target() {
        "/slow" => Reply::new()
            .read_body()
            .wait(Duration::from_millis(500))
            .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow"),
        _ => Reply::ok("quick"),
    };
    let (gone, stays) = (Backend::start(slow).await, Backend::saying("stays").await);
    let balancer = Balancer::start(&web(&[&gone], "")).await;
    assert_eq!(balancer.get("/").await.text(), "quick");
    let (mut client, mut other) = (balancer.client().await, balancer.client().await);
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n").await;
    gone.until_requests(2).await;
    balancer.reload(&web(&[&stays], "")).await.unwrap();
    assert_eq!(other.get("/").await.text(), "stays");
    assert_eq!(client.response().await.text(), "slow");
    // Pingora keeps its idle connections until `pool.idle_timeout`.
    if lane() == Lane::Lean {
        gone.until_all_closed().await;
    }
    assert_eq!(client.get("/").await.text(), "stays");
}

#[tokio::test]
async fn backends_that_stay_keep_counters_connections_and_ejections() {
    let (good, bad) = (Backend::saying("good").await, Backend::start(|_| Reply::status(503, "bad")).await);
    let more = "outlier_detection: { consecutive_failures: 3, ejection_time: 60s, max_ejected: 50% }";
    let balancer = Balancer::start(&web(&[&good, &bad], more)).await;
    let mut client = balancer.client().await;
    for _ in 0..10 {
        client.get("/").await;
    }
    eventually(PATIENCE, || bad.count() >= 3).await;
    let third = Backend::saying("third").await;
    let ejected = in_time("ejected", async {
        while shown(&balancer, &bad).await["state"] != "ejected" {
            client.get("/").await;
        }
    });
    ejected.await;
    let (before, connections) = (shown(&balancer, &good).await, good.connections());
    let seen_by_bad = bad.count();
    balancer.reload(&web(&[&third, &good, &bad], &format!("{more}, slow_start: 1s"))).await.unwrap();
    let after = shown(&balancer, &good).await;
    assert_eq!(after["attempts"], before["attempts"]);
    assert_eq!(shown(&balancer, &bad).await["state"], "ejected");
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    assert_eq!(bad.count(), seen_by_bad, "an ejected backend got requests after the reload");
    assert!(third.count() > 0 && good.count() > before["attempts"].as_u64().unwrap() as usize);
    assert_eq!(good.connections(), connections, "its idle connection was not used again");
}

#[tokio::test]
async fn listeners_open_close_and_change_in_place() {
    let backend = Backend::saying("hello").await;
    let with = |listeners: &str| format!("listeners: [{listeners}]\n{}", web(&[&backend], ""));
    let balancer = Balancer::start(&with("{ address: 127.0.0.1:0 }")).await;
    let first = balancer.address();
    let mut kept = balancer.client().await;
    assert_eq!(kept.get("/").await.text(), "hello");

    let socket = balancer.path("second.sock");
    let second = format!("{{ address: 'unix:{}' }}", socket.display());
    let changes = balancer.reload(&with(&format!("{{ address: 127.0.0.1:0 }}, {second}"))).await.unwrap();
    assert_eq!(changes, [format!("listener unix:{} added", socket.display())]);
    assert_eq!(Client::unix(&socket).await.get("/").await.text(), "hello");
    assert_eq!(balancer.address(), first, "port 0 stays the port that it got");
    assert_eq!(kept.get("/").await.text(), "hello");

    let tight = format!("{{ address: 127.0.0.1:0, http: {{ max_header_size: 1KiB }} }}, {second}");
    balancer.reload(&with(&tight)).await.unwrap();
    let long = format!("GET / HTTP/1.1\r\nHost: test\r\nx: {}\r\n\r\n", "x".repeat(2000));
    assert_eq!(crate::support::send(first, &long).await.status(), 431);

    balancer.reload(&with(&second)).await.unwrap();
    assert_eq!(kept.get("/").await.header("connection"), Some("close"), "it drains");
    kept.closed().await;
    eventually(PATIENCE, || std::net::TcpStream::connect(first).is_err()).await;
    assert_eq!(Client::unix(&socket).await.get("/").await.text(), "hello");
    balancer.reload(&with("{ address: 127.0.0.1:0 }")).await.unwrap();
    assert!(!socket.exists(), "the socket's file is left behind");
}

#[tokio::test]
async fn a_removed_listener_cuts_what_outlasts_the_drain() {
    let backend = Backend::start(|_| Reply::silence()).await;
    let with = |listeners: &str| {
        format!("listeners: [{listeners}]\nshutdown: {{ drain_timeout: 300ms }}\n{}", web(&[&backend], ""))
    };
    let balancer = Balancer::start(&with("{ address: 127.0.0.1:0 }")).await;
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    backend.until_requests(1).await;
    let socket = balancer.path("other.sock");
    balancer.reload(&with(&format!("{{ address: 'unix:{}' }}", socket.display()))).await.unwrap();
    let response = client.response().await;
    assert_eq!(response.status(), 503);
    client.closed().await;
}

#[tokio::test]
async fn the_access_log_moves_and_loses_no_record() {
    let slow = |seen: &Seen| match seen.message.target() {
        "/slow" => Reply::new()
            .read_body()
            .wait(Duration::from_millis(400))
            .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        _ => Reply::ok(""),
    };
    let backend = Backend::start(slow).await;
    let balancer = Balancer::start(&web(&[&backend], "")).await;
    balancer.get("/first").await;
    let mut client = balancer.client().await;
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n").await;
    backend.until_requests(2).await;
    let other = balancer.path("other.log");
    let moved = format!("access_log: {{ to: {}, format: json }}\n{}", other.display(), web(&[&backend], ""));
    assert_eq!(balancer.reload(&moved).await.unwrap(), ["access_log changed"]);
    balancer.get("/second").await;
    client.response().await;
    // The request that began before is recorded where it began.
    let targets = |text: String| -> Vec<String> {
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        records.map(|record| record["target"].as_str().expect("a target").to_owned()).collect()
    };
    balancer.log_lines(2).await;
    eventually(PATIENCE, || targets(std::fs::read_to_string(&other).unwrap_or_default()) == ["/second"])
        .await;
    assert_eq!(targets(std::fs::read_to_string(balancer.path("access.log")).unwrap()), ["/first", "/slow"]);
}

#[tokio::test]
async fn the_admin_address_moves_and_its_token_changes() {
    let backend = Backend::saying("").await;
    let with = |admin: &str| format!("admin: {admin}\n{}", web(&[&backend], ""));
    let balancer = Balancer::start(&with("{ address: 127.0.0.1:0, hosts: [test] }")).await;
    let first = balancer.admin();
    assert_eq!(get(first, "/status").await.status(), 200);
    balancer
        .reload(&with("{ address: 127.0.0.1:0, token: a-secret-of-16-and-more, hosts: [test] }"))
        .await
        .unwrap();
    assert_eq!(balancer.admin(), first);
    assert_eq!(get(first, "/status").await.status(), 401);
    balancer.reload(&with("{ address: 127.0.0.1:0 }")).await.unwrap();
    assert_eq!(get(first, "/status").await.status(), 421);
    balancer.reload(&with("{ address: '[::1]:0', hosts: [test] }")).await.unwrap();
    let second = balancer.admin();
    assert_ne!(second, first);
    assert_eq!(get(second, "/status").await.status(), 200);
    eventually(PATIENCE, || std::net::TcpStream::connect(first).is_err()).await;
}

#[tokio::test]
async fn what_is_wrong_or_needs_a_restart_changes_nothing() {
    let (backend, taken) = (Backend::saying("still here").await, Backend::saying("").await);
    let base = web(&[&backend], "");
    let balancer = Balancer::start(&base).await;
    let with_ca = base.replace("http:", "https:").replace("],", "], tls: { ca: /no/such/ca.pem },");
    for (text, expected) in [
        (format!("{base}\nworkers: 7"), "workers changed: this needs a restart"),
        (format!("{base}\nworkres: 7"), "workres"),
        (format!("listeners: [{{ address: \"{}\" }}]\n{base}", taken.address()), "in use"),
        (format!("access_log: {{ to: /no/such/folder/log }}\n{base}"), "/no/such/folder/log"),
        (with_ca, "/no/such/ca.pem"),
        (format!("admin: {{ address: \"{}\" }}\n{base}", taken.address()), "in use"),
        (
            format!("{base}\nroutes: [{{ name: all, filters: [{{ nonsense: 1 }}], upstream: web }}]"),
            "nonsense",
        ),
    ] {
        let error = balancer.reload(&text).await.unwrap_err();
        assert!(error.contains(expected), "{error}\n{text}");
        assert_eq!(balancer.get("/").await.text(), "still here");
    }
    let metrics = balancer.metrics().await;
    assert!(metrics.contains("evenkeel_config_last_reload_successful 0"), "{metrics}");
    assert!(metrics.contains("evenkeel_config_reloads_total{result=\"applied\"} 0"), "{metrics}");
    let status = balancer.status().await;
    assert_eq!(status["reloads"]["last"]["result"], "rejected");
    assert!(status["reloads"]["last"]["error"].as_str().unwrap().contains("nonsense"), "{status}");
    balancer.reload(&base).await.unwrap();
    assert!(balancer.metrics().await.contains("evenkeel_config_last_reload_successful 1"));
}

#[tokio::test]
async fn a_dry_run_tells_what_would_change_and_changes_nothing() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let balancer = Balancer::start(&web(&[&old], "")).await;
    let planned = balancer.plan(&web(&[&new], "algorithm: random")).await.unwrap();
    assert_eq!(
        planned,
        [
            "upstream web changed: algorithm".to_owned(),
            format!("upstream web: backend {} added", new.url()),
            format!("upstream web: backend {} removed", old.url()),
        ]
    );
    assert_eq!(balancer.get("/").await.text(), "old");
    assert!(
        balancer.plan(&format!("{}\nworkers: 9", web(&[&new], ""))).await.unwrap_err().contains("restart")
    );
}

#[tokio::test]
async fn requests_go_on_through_many_reloads() {
    let backends = [Backend::saying("x").await, Backend::saying("x").await, Backend::saying("x").await];
    let all: Vec<&Backend> = backends.iter().collect();
    let balancer = Balancer::start(&web(&all, "")).await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let clients = (0..8).map(|_| {
        let (address, stop) = (balancer.address(), stop.clone());
        tokio::spawn(async move {
            let (mut client, mut count) = (Client::connect(address).await, 0);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let response = client.get("/").await;
                assert_eq!((response.status(), response.text().as_str()), (200, "x"));
                assert_ne!(response.header("connection"), Some("close"), "a reload closes no connection");
                count += 1;
            }
            count
        })
    });
    let clients: Vec<_> = clients.collect();
    let algorithms = ["round_robin", "least_connections", "peak_ewma", "maglev", "prequal"];
    for turn in 0..40 {
        let some: Vec<&Backend> =
            all.iter().copied().skip(turn % 3).chain(all.first().copied()).take(2).collect();
        let some = if std::ptr::eq(some[0], some[some.len() - 1]) { vec![all[0]] } else { some };
        let more =
            format!("algorithm: {}, health_check: {{ tcp: {{}}, interval: 1s }}", algorithms[turn % 5]);
        balancer.reload(&web(&some, &more)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut total = 0;
    for client in clients {
        total += client.await.expect("no request failed");
    }
    assert!(total > 100, "{total} requests");
}

/// Sends a POST without a body to the admin address.
async fn post(program: &Program, path: &str) -> crate::support::Message {
    let request = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    crate::support::send(program.admin(), request).await
}

#[tokio::test]
async fn a_hangup_signal_and_the_admin_address_reload_the_file() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let program = Program::run(&web(&[&old], "")).await;
    assert_eq!(get(program.address(), "/").await.text(), "old");
    let file = program.file("evenkeel.yaml");
    let before = std::fs::read_to_string(&file).expect("the configuration");
    let after = before.replace(&old.url(), &new.url());

    std::fs::write(&file, &after).expect("it can be written");
    let planned = post(&program, "/reload?dry_run=true").await;
    let changes =
        format!("upstream web: backend {} added\nupstream web: backend {} removed\n", new.url(), old.url());
    assert_eq!((planned.status(), planned.text()), (200, changes.clone()));
    assert_eq!(get(program.address(), "/").await.text(), "old", "a dry run changes nothing");
    program.signal(Signal::HUP);
    in_time("the reload", async { while get(program.address(), "/").await.text() != "new" {} }).await;

    std::fs::write(&file, format!("{after}\nlistners: []\n")).expect("it can be written");
    let rejected = post(&program, "/reload").await;
    assert_eq!(rejected.status(), 422);
    assert!(
        rejected.text().contains("listners") && rejected.text().contains("did you mean"),
        "{}",
        rejected.text()
    );
    program.signal(Signal::HUP);
    let told = |text: &str| program.said().iter().filter(|line| line.contains(text)).count();
    eventually(PATIENCE, || told("configuration rejected, the old one stays in force") == 2).await;
    assert_eq!(get(program.address(), "/").await.text(), "new");

    std::fs::write(&file, &before).expect("it can be written");
    let page = "POST /reload HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(crate::support::send(program.admin(), page).await.status(), 403, "a web page reloads nothing");
    let applied = post(&program, "/reload").await;
    assert_eq!(applied.status(), 200);
    assert_eq!(get(program.address(), "/").await.text(), "old");
    eventually(PATIENCE, || told("configuration reloaded: 2 changes") == 2).await;
    assert_eq!(get(program.admin(), "/reload").await.status(), 405);
}

#[tokio::test]
async fn a_reload_without_a_file_to_read_is_rejected_and_counted() {
    let backend = Backend::saying("here").await;
    let balancer = Balancer::start(&web(&[&backend], "")).await;
    assert!(balancer.handle().reload_again(true).await.is_err());
    assert_eq!(balancer.status().await["reloads"]["rejected"], 0, "a dry run is not counted");
    let error = balancer.handle().reload_again(false).await.unwrap_err().to_string();
    assert!(error.contains("nothing to reload"), "{error}");
    let reloads = balancer.status().await["reloads"].clone();
    assert_eq!((&reloads["rejected"], &reloads["last"]["error"]), (&1.into(), &error.into()));
    assert_eq!(balancer.get("/").await.text(), "here");
}
