//! `bandwidth_limit`, over real sockets: both directions, by client and by route, in every lane and over HTTP/2.

#![cfg(test)]

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::rate_limit::yaml;
use crate::support::http2::Http2;
use crate::support::{Backend, Balancer, PATIENCE, Reply, get, send};

/// `/N` responds with N bytes.
async fn limited(params: &str) -> (Backend, Balancer) {
    let backend = Backend::start(|seen| {
        let size: u64 = seen.target().trim_start_matches('/').parse().unwrap_or_default();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        Reply::new().read_body().send(head).fill(size)
    })
    .await;
    let text = yaml(&backend, &format!("{{ bandwidth_limit: {{ {params} }} }}"));
    let balancer = Balancer::start(&text).await;
    (backend, balancer)
}

/// Fails unless that many bytes took as long as they do at this rate, within a twentieth and what a loaded machine is late.
fn assert_rate(what: &str, bytes: u64, rate: u64, elapsed: Duration) {
    let exact = Duration::from_secs_f64(bytes as f64 / rate as f64);
    // A burst of 50 ms, and a piece of as much, can come early.
    let least = exact.mul_f64(0.95).saturating_sub(Duration::from_millis(100));
    assert!(elapsed >= least, "{what}: {bytes} bytes in {elapsed:?}, expected {exact:?}");
    assert!(elapsed <= exact.mul_f64(1.2) + Duration::from_secs(3), "{what}: {bytes} bytes in {elapsed:?}");
}

#[tokio::test]
async fn a_download_is_as_fast_as_the_limit() {
    let (_backend, balancer) = limited("download: 2MB/s").await;
    let start = Instant::now();
    let response = balancer.get("/2000000").await;
    assert_eq!((response.status(), response.body_length), (200, 2_000_000));
    assert_rate("a download", 2_000_000, 2_000_000, start.elapsed());
    let line = "evenkeel_bandwidth_limit_bytes_total{route=\"all\",limit=\"client_ip\",direction=\"download\"} 2000000\n";
    // The client can have the last bytes before they are counted.
    let counted = async {
        while !balancer.metrics().await.contains(line) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.expect("all bytes are counted");
}

#[tokio::test]
async fn an_upload_is_as_fast_as_the_limit_whatever_its_framing() {
    let (_backend, balancer) = limited("upload: 2MB/s, download: 1GB/s").await;
    let body = "x".repeat(1_000_000);
    let whole = format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let chunked = format!(
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    for request in [whole, chunked] {
        let start = Instant::now();
        assert_eq!(send(balancer.address(), request).await.status(), 200);
        assert_rate("an upload", 1_000_000, 2_000_000, start.elapsed());
    }
}

#[tokio::test]
async fn clients_share_what_the_key_says() {
    // Four downloads of one client, of 500 KB each.
    for (params, shared) in [
        ("key: client_ip, download: 2MB/s", true),
        ("key: all, download: 2MB/s", true),
        ("key: request, download: 500KB/s", false),
    ] {
        let (_backend, balancer) = limited(params).await;
        let start = Instant::now();
        let mut clients = JoinSet::new();
        for _ in 0..4 {
            let address = balancer.address();
            clients.spawn(async move { get(address, "/500000").await.body_length });
        }
        assert_eq!(clients.join_all().await, [500_000; 4], "{params}");
        let (bytes, rate) = if shared { (2_000_000, 2_000_000) } else { (500_000, 500_000) };
        assert_rate(params, bytes, rate, start.elapsed());
    }
}

#[tokio::test]
async fn a_slow_limit_is_no_slow_backend_and_no_slow_client() {
    let (backend, balancer) = limited("download: 100KB/s, upload: 100KB/s").await;
    let text = yaml(&backend, "{ bandwidth_limit: { download: 64KB/s, upload: 64KB/s } }")
        .replace("{ web: { ", "{ web: { timeouts: { idle: 300ms, first_byte: 300ms }, ");
    balancer.reload(&text).await.expect("it is valid");
    let body = "x".repeat(100_000);
    let request = format!("POST /100000 HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n{body}");
    let response = send(balancer.address(), request).await;
    assert_eq!((response.status(), response.body_length, response.complete), (200, 100_000, true));
}

#[tokio::test]
async fn streams_of_http2_share_a_limit() {
    let (backend, balancer) = limited("download: 1MB/s").await;
    let text = yaml(&backend, "{ bandwidth_limit: { download: 2MB/s, upload: 1MB/s } }")
        + "\nlisteners: [{ address: \"127.0.0.1:0\", http: { h2c: true } }]";
    balancer.reload(&text).await.expect("it is valid");
    let mut client = Http2::connect(balancer.address()).await;
    let start = Instant::now();
    let whole = client.get("/2000000").await;
    assert_eq!(whole.body.len(), 2_000_000);
    assert_rate("a download", 2_000_000, 2_000_000, start.elapsed());
    let start = Instant::now();
    assert_eq!(client.post("/1", vec![b'x'; 500_000]).await.head.status(), 200);
    assert_rate("an upload", 500_000, 1_000_000, start.elapsed());
}
