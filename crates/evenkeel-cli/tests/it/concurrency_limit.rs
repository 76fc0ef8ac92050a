//! `concurrency_limit`, over real sockets: how many are in progress, who waits and in which order, and that no place is lost.

#![cfg(test)]

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rate_limit::yaml;
use crate::support::{Backend, Balancer, Client, Reply, assert_lasted, get, in_time};

/// A backend whose `/hold` is silent, and the balancer in front of it.
async fn limited(params: &str) -> (Backend, Balancer) {
    let backend = Backend::start(|seen| match seen.target() {
        "/hold" => Reply::silence(),
        "/upgrade" => Reply::new()
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            .echo(),
        _ => Reply::ok("hello"),
    })
    .await;
    let text = yaml(&backend, &format!("{{ concurrency_limit: {{ {params} }} }}"));
    let balancer = Balancer::start(&text).await;
    (backend, balancer)
}

/// A request that is in progress until the client is dropped.
async fn hold(balancer: &Balancer, backend: &Backend, client: &str) -> Client {
    let before = backend.count();
    let mut one = balancer.client().await;
    one.send(format!("GET /hold HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: {client}\r\n\r\n")).await;
    backend.until_requests(before + 1).await;
    one
}

async fn status_from(balancer: &Balancer, client: &str) -> u16 {
    let request = format!("GET / HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: {client}\r\n\r\n");
    balancer.client().await.ask(&request).await.status()
}

async fn shown(balancer: &Balancer) -> Value {
    balancer.status().await["concurrency_limits"][0].clone()
}

/// Waits until so many requests wait.
async fn until_waiting(balancer: &Balancer, count: u64) {
    in_time("requests that wait", async {
        while shown(balancer).await["waiting"] != count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Waits until so many requests are in progress.
async fn until_in_progress(balancer: &Balancer, count: u64) {
    in_time("requests in progress", async {
        while shown(balancer).await["in_progress"] != count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn each_client_has_its_places_and_gets_them_back() {
    let (backend, balancer) = limited("max_requests: 2").await;
    let one = hold(&balancer, &backend, "203.0.113.7").await;
    let two = hold(&balancer, &backend, "203.0.113.7").await;
    assert_eq!(status_from(&balancer, "203.0.113.7").await, 429);
    assert_eq!(status_from(&balancer, "203.0.113.8").await, 200, "another client");
    let rejected = balancer.log_lines(2).await.into_iter().find(|line| line["status"] == 429);
    assert_eq!(rejected.expect("a record")["end"], "refused=rate_limited");
    drop(one);
    until_in_progress(&balancer, 1).await;
    for _ in 0..10 {
        assert_eq!(status_from(&balancer, "203.0.113.7").await, 200);
    }
    drop(two);
    until_in_progress(&balancer, 0).await;
    let limit = shown(&balancer).await;
    assert_eq!((&limit["keys"], &limit["rejected"], &limit["allowed"]), (&0.into(), &1.into(), &13.into()));
    assert_eq!(limit["top"][0]["key"], "203.0.113.7");
    let metrics = balancer.metrics().await;
    let line = "evenkeel_concurrency_limit_requests_total{route=\"all\",limit=\"client_ip\",result=\"rejected\"} 1\n";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_full_route_is_overloaded_and_says_when_to_retry() {
    let (backend, balancer) = limited("key: route, max_requests: 1").await;
    let _held = hold(&balancer, &backend, "203.0.113.7").await;
    let request = "GET / HTTP/1.1\r\nHost: t\r\nAccept: application/json\r\n\r\n";
    let response = balancer.client().await.ask(request).await;
    assert_eq!((response.status(), response.header("retry-after")), (503, Some("1")));
    assert!(response.text().contains("overloaded"), "{}", response.text());
    let page = get(balancer.admin(), "/explain?url=http://test/").await.text();
    assert!(page.contains("key all: 1 of 1 requests in progress"), "{page}");
}

#[tokio::test]
async fn requests_wait_in_order_and_only_so_many_and_so_long() {
    let (backend, balancer) = limited("key: all, max_requests: 1, queue: { size: 2, timeout: 300ms }").await;
    let held = hold(&balancer, &backend, "203.0.113.7").await;
    let start = Instant::now();
    let mut waiting = Vec::new();
    for place in 1..=2 {
        let mut client = balancer.client().await;
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
        waiting.push(client);
        until_waiting(&balancer, place).await;
    }
    assert_eq!(status_from(&balancer, "203.0.113.9").await, 503, "the queue is full");
    for client in &mut waiting {
        assert_eq!(client.response().await.status(), 503);
    }
    assert_lasted("a wait", start.elapsed(), Duration::from_millis(300));
    let limit = shown(&balancer).await;
    assert_eq!(
        (&limit["timed_out"], &limit["rejected"], &limit["waiting"]),
        (&2.into(), &1.into(), &0.into())
    );
    drop(held);
    until_in_progress(&balancer, 0).await;
}

#[tokio::test]
async fn the_first_that_waits_is_the_next() {
    let (backend, balancer) = limited("key: all, max_requests: 1, queue: { size: 10, timeout: 1m }").await;
    let held = hold(&balancer, &backend, "203.0.113.7").await;
    let mut waiting = Vec::new();
    for place in 1..=4 {
        let mut client = balancer.client().await;
        client.send(format!("GET /{place} HTTP/1.1\r\nHost: t\r\n\r\n")).await;
        waiting.push(client);
        until_waiting(&balancer, place).await;
    }
    // One that disconnects loses no place.
    drop(waiting.remove(1));
    until_waiting(&balancer, 3).await;
    drop(held);
    for client in &mut waiting {
        assert_eq!(client.response().await.status(), 200);
    }
    let targets: Vec<_> = backend.requests().iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!(targets, ["/hold", "/1", "/3", "/4"]);
    until_in_progress(&balancer, 0).await;
    assert_eq!(shown(&balancer).await["queued"], 3);
}

#[tokio::test]
async fn an_upgraded_connection_holds_its_place_and_a_reload_keeps_it() {
    let (backend, balancer) = limited("max_requests: 1").await;
    let mut upgraded = balancer.client().await;
    let request = "GET /upgrade HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    assert_eq!(upgraded.ask(request).await.status(), 101);
    assert_eq!(balancer.get("/").await.status(), 429);
    balancer
        .reload(&yaml(&backend, "{ concurrency_limit: { max_requests: 2 } }"))
        .await
        .expect("it is valid");
    assert_eq!(shown(&balancer).await["in_progress"], 1);
    assert_eq!(balancer.get("/").await.status(), 200);
    drop(upgraded);
    until_in_progress(&balancer, 0).await;
}
