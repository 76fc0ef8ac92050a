//! Filters of listeners, filters that routes and listeners share, and what a route says instead of its listener and upstream.

#![cfg(test)]

use std::time::{Duration, Instant};

use crate::support::{Backend, Balancer, Reply, assert_lasted, get, send};

/// Two routes, `/a` and `/b`, with these filters and other keys, after these top-level keys.
fn yaml(backend: &Backend, top: &str, a: &str, b: &str) -> String {
    format!(
        "{top}\n\
         routes:\n  \
           - {{ name: a, match: {{ path_prefix: /a }}, upstream: web, {a} }}\n  \
           - {{ name: b, match: {{ path_prefix: /b }}, upstream: web, {b} }}\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    )
}

async fn statuses(balancer: &Balancer, paths: &[&str]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for path in paths {
        statuses.push(balancer.get(path).await.status());
    }
    statuses
}

#[tokio::test]
async fn a_limit_of_a_listener_counts_all_its_routes_and_no_other_listener() {
    let backend = Backend::saying("hello").await;
    let listeners = |limit: &str| {
        format!(
            "listeners:\n  \
               - {{ address: \"127.0.0.1:0\", filters: [{{ rate_limit: {{ name: all, {limit} }} }}] }}\n  \
               - {{ address: \"127.0.0.1:0\" }}"
        )
    };
    let own = "filters: [{ rate_limit: { name: own, rate: 1/h } }]";
    let balancer = Balancer::start(&yaml(&backend, &listeners("rate: 3/h"), "", own)).await;
    let first = balancer.get("/a").await;
    assert_eq!(first.header("ratelimit"), Some("\"all\";r=2;t=1200"));
    // The route's own limit comes after the listener's.
    assert_eq!(statuses(&balancer, &["/b", "/b", "/a", "/a"]).await, [200, 429, 429, 429]);
    assert_eq!(balancer.get("/none").await.status(), 404);
    let other = balancer.nth_address(1);
    assert_eq!((get(other, "/a").await.status(), get(other, "/b").await.status()), (200, 429));

    let metrics = balancer.metrics().await;
    let listener = format!("listener=\"{}\",limit=\"all\"", balancer.address());
    for (labels, result, count) in [
        (listener.as_str(), "allowed", 3),
        (listener.as_str(), "rejected", 2),
        ("route=\"b\",limit=\"own\"", "allowed", 1),
        ("route=\"b\",limit=\"own\"", "rejected", 2),
    ] {
        let line = format!("evenkeel_rate_limit_requests_total{{{labels},result=\"{result}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }

    balancer.reload(&yaml(&backend, &listeners("rate: 5/h"), "", own)).await.expect("it is valid");
    assert_eq!(statuses(&balancer, &["/a", "/a", "/a"]).await, [200, 200, 429], "what was used stays used");
}

#[tokio::test]
async fn a_filter_with_a_name_is_one_filter_wherever_it_is_used() {
    let backend = Backend::saying("hello").await;
    let shared = |params: &str| format!("filters: {{ api: {{ rate_limit: {{ {params} }} }} }}");
    let used = "filters: [{ use: api }]";
    let balancer = Balancer::start(&yaml(&backend, &shared("rate: 3/h"), used, used)).await;
    assert_eq!(statuses(&balancer, &["/a", "/b", "/a", "/b"]).await, [200, 200, 200, 429]);
    let metrics = balancer.metrics().await;
    let allowed = "evenkeel_rate_limit_requests_total{limit=\"api\",result=\"allowed\"} 3\n";
    assert!(metrics.contains(allowed) && !metrics.contains("route=\"a\",limit"), "{metrics}");
    let status = balancer.status().await;
    assert_eq!(status["rate_limits"].as_array().map(Vec::len), Some(1));
    assert_eq!(status["rate_limits"][0]["rejected"], 1);

    let page = get(balancer.admin(), "/explain?url=http://test/b").await.text();
    assert!(page.contains("limit api: 3/h"), "{page}");

    let changed = yaml(&backend, &shared("rate: 5/h"), used, used);
    assert_eq!(balancer.reload(&changed).await.expect("it is valid").len(), 3);
    assert_eq!(statuses(&balancer, &["/b", "/a", "/b"]).await, [200, 200, 429]);
    // A route that no longer uses it is not limited; what was counted stays.
    let apart = yaml(&backend, &shared("rate: 5/h"), used, "");
    balancer.reload(&apart).await.expect("it is valid");
    assert_eq!(statuses(&balancer, &["/b", "/a"]).await, [200, 429]);
}

#[tokio::test]
async fn a_shared_limit_counts_by_route_or_all_together() {
    for (key, expected) in [("route", [200, 200, 429]), ("all", [200, 429, 429])] {
        let backend = Backend::saying("hello").await;
        let top = format!("filters: {{ one: {{ rate_limit: {{ key: {key}, rate: 1/h }} }} }}");
        let used = "filters: [{ use: one }]";
        let balancer = Balancer::start(&yaml(&backend, &top, used, used)).await;
        assert_eq!(statuses(&balancer, &["/a", "/b", "/a"]).await, expected, "{key}");
    }
}

#[tokio::test]
async fn requests_over_a_limit_wait_for_their_turn() {
    let backend = Backend::saying("hello").await;
    let limit = "filters: [{ rate_limit: { rate: 10/s, burst: 1, on_exceed: delay, max_delay: 300ms } }]";
    let balancer = Balancer::start(&yaml(&backend, "", limit, "")).await;
    let start = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let address = balancer.address();
        clients.spawn(async move { (get(address, "/a").await.status(), start.elapsed()) });
    }
    let mut sent = clients.join_all().await;
    sent.sort_unstable();
    let passed: Vec<_> = sent.iter().filter(|(status, _)| *status == 200).map(|(_, at)| *at).collect();
    assert_eq!((passed.len(), sent.len()), (4, 6), "one at once, three that wait: {sent:?}");
    for (turn, at) in passed.iter().enumerate() {
        assert_lasted("a turn", *at, Duration::from_millis(100) * u32::try_from(turn).expect("few"));
    }
    let metrics = balancer.metrics().await;
    for (result, count) in [("allowed", 1), ("delayed", 3), ("rejected", 2)] {
        let line = format!(
            "evenkeel_rate_limit_requests_total{{route=\"a\",limit=\"client_ip\",result=\"{result}\"}} {count}\n"
        );
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn a_client_that_disconnects_while_it_waits_is_recorded_once() {
    let backend = Backend::saying("hello").await;
    let limit = "filters: [{ rate_limit: { rate: 1/m, burst: 1, on_exceed: delay, max_delay: 1m } }]";
    let balancer = Balancer::start(&yaml(&backend, "", limit, "")).await;
    assert_eq!(balancer.get("/a").await.status(), 200);
    let mut client = balancer.client().await;
    client.send("GET /a/gone HTTP/1.1\r\nHost: test\r\n\r\n").await;
    drop(client);
    let record = balancer.log_line_of("/a/gone").await;
    assert_eq!((&record["status"], &record["end"]), (&499.into(), &"client_left".into()));
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn a_route_has_its_own_limit_of_a_body() {
    let backend = Backend::start(|_| Reply::new().read_body().send("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let top = "listeners: [{ address: \"127.0.0.1:0\", http: { max_body_size: 1KiB } }]";
    let balancer = Balancer::start(&yaml(&backend, top, "max_body_size: 4KiB", "max_body_size: 10")).await;
    let whole = |path: &str, size: usize| {
        format!("POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {size}\r\n\r\n{}", "x".repeat(size))
    };
    let chunked = |path: &str, size: usize| {
        let body = "x".repeat(size);
        format!(
            "POST {path} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n"
        )
    };
    for (path, size, status) in
        [("/a", 4096, 204), ("/a", 4097, 413), ("/b", 10, 204), ("/b", 11, 413), ("/b", 1024, 413)]
    {
        for request in [whole(path, size), chunked(path, size)] {
            let response = send(balancer.address(), request).await;
            assert_eq!(response.status(), status, "{size} bytes to {path}");
        }
    }
    let off = yaml(&backend, top, "max_body_size: off", "");
    balancer.reload(&off).await.expect("it is valid");
    assert_eq!(send(balancer.address(), whole("/a", 100_000)).await.status(), 204);
    assert_eq!(send(balancer.address(), whole("/b", 1025)).await.status(), 413, "the listener's limit");
}

#[tokio::test]
async fn a_route_has_its_own_timeouts() {
    let backend =
        Backend::start(|_| Reply::new().wait(Duration::from_millis(400)).send("HTTP/1.1 204 No\r\n\r\n"))
            .await;
    let short = "timeouts: { first_byte: 50ms }";
    let text = yaml(&backend, "", "timeouts: { first_byte: 30s }", "")
        .replace("{ web: { ", "{ web: { timeouts: { first_byte: 100ms }, ");
    let balancer = Balancer::start(&text).await;
    assert_eq!(statuses(&balancer, &["/a", "/b"]).await, [204, 504]);
    balancer.reload(&yaml(&backend, "", short, "")).await.expect("it is valid");
    assert_eq!(statuses(&balancer, &["/a", "/b"]).await, [504, 204]);
    assert_eq!(balancer.log_lines(4).await[2]["end"], "timeout=first_byte");
}
