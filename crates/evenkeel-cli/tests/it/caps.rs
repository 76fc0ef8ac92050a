//! How many connections there may be, how many of one client, and how they spread over the workers.

#![cfg(test)]

use std::time::{Duration, Instant};

use super::support::samples::Samples;
use super::support::{Balancer, Client, PATIENCE};

/// Responds to everything itself: only connections matter here.
const FIXED: &str = "routes: [{ name: all, respond: { body: fine } }]";

/// A connection from this address, of which loopback has many.
async fn connect(balancer: &Balancer, from: &str) -> Client {
    Client::connect_from(from.parse().expect("an address"), balancer.address()).await
}

/// An accepted connection: a request on it gets a response.
async fn admitted(balancer: &Balancer, from: &str) -> Client {
    let mut client = connect(balancer, from).await;
    assert_eq!(client.get("/").await.status(), 200, "a connection from {from}");
    client
}

/// Whether a connection is closed as it arrives, without a word.
async fn is_turned_away(balancer: &Balancer, from: &str) -> bool {
    let mut client = connect(balancer, from).await;
    // The close may come first; then this fails.
    let _ = client.try_send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await;
    client.closed().await.is_empty()
}

async fn samples(balancer: &Balancer) -> Samples {
    Samples::parse(&balancer.metrics().await)
}

async fn until_open(balancer: &Balancer, count: f64) {
    let start = Instant::now();
    while samples(balancer).await.sum("evenkeel_connections_open", &[]) != count {
        assert!(start.elapsed() < PATIENCE, "{count} connections open: did not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn rejected(balancer: &Balancer, limit: &str) -> f64 {
    samples(balancer).await.sum("evenkeel_connections_rejected_total", &[("limit", limit)])
}

#[tokio::test]
async fn a_listener_takes_so_many_connections_and_no_more() {
    let yaml = format!("listeners: [{{ address: 127.0.0.1:0, max_connections: 5 }}]\nworkers: 2\n{FIXED}");
    let balancer = Balancer::start(&yaml).await;
    for round in 1..=3 {
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(admitted(&balancer, "127.0.0.1").await);
        }
        // From whatever address.
        assert!(is_turned_away(&balancer, "127.0.0.1").await);
        assert!(is_turned_away(&balancer, "127.0.0.2").await);
        assert_eq!(rejected(&balancer, "max_connections").await, f64::from(2 * round));
        // Those who are in stay in.
        for client in &mut clients {
            assert_eq!(client.get("/").await.status(), 200);
        }
        clients.pop();
        until_open(&balancer, 4.0).await;
        clients.push(admitted(&balancer, "127.0.0.1").await);
        drop(clients);
        until_open(&balancer, 0.0).await;
    }
    assert_eq!(rejected(&balancer, "max_connections_per_client").await, 0.0);
    assert_eq!(samples(&balancer).await.sum("evenkeel_connections_accepted_total", &[]), 18.0);
}

#[tokio::test]
async fn a_client_takes_so_many_connections_and_no_more() {
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0, max_connections_per_client: 2 }}]\nworkers: 2\n\
         trusted_proxies: [127.0.0.9]\n{FIXED}"
    );
    let balancer = Balancer::start(&yaml).await;
    let mut clients = Vec::new();
    for from in ["127.0.0.2", "127.0.0.3"] {
        for _ in 0..2 {
            clients.push(admitted(&balancer, from).await);
        }
        assert!(is_turned_away(&balancer, from).await, "{from}");
    }
    assert_eq!(rejected(&balancer, "max_connections_per_client").await, 2.0);
    for _ in 0..6 {
        clients.push(admitted(&balancer, "127.0.0.9").await);
    }
    // A place comes back to the client that had it, and to no other.
    drop(clients.remove(0));
    until_open(&balancer, 9.0).await;
    assert!(is_turned_away(&balancer, "127.0.0.3").await);
    clients.push(admitted(&balancer, "127.0.0.2").await);
    assert!(is_turned_away(&balancer, "127.0.0.2").await);
    assert_eq!(rejected(&balancer, "max_connections_per_client").await, 4.0);
    assert_eq!(rejected(&balancer, "max_connections").await, 0.0);
    drop(clients);
    until_open(&balancer, 0.0).await;
}

#[tokio::test]
async fn a_client_that_knocks_often_gets_all_its_places_back() {
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0, max_connections_per_client: 3 }}]\nworkers: 2\n{FIXED}"
    );
    let balancer = Balancer::start(&yaml).await;
    for _ in 0..100 {
        // Some are admitted and some are not, as it happens.
        let (_, _, _, _) = tokio::join!(
            is_turned_away(&balancer, "127.0.0.2"),
            is_turned_away(&balancer, "127.0.0.2"),
            is_turned_away(&balancer, "127.0.0.2"),
            is_turned_away(&balancer, "127.0.0.2"),
        );
    }
    until_open(&balancer, 0.0).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(admitted(&balancer, "127.0.0.2").await);
    }
    assert!(is_turned_away(&balancer, "127.0.0.2").await);
}

#[tokio::test]
async fn few_long_connections_spread_evenly_over_the_workers() {
    for workers in [2, 3] {
        let balancer = Balancer::start(&format!("workers: {workers}\n{FIXED}")).await;
        let mut clients = Vec::new();
        for _ in 0..10 * workers {
            clients.push(admitted(&balancer, "127.0.0.1").await);
        }
        let status = balancer.status().await;
        let open = status["listeners"][0]["connections_open_by_worker"].as_array().expect("numbers").clone();
        assert_eq!(open.len(), workers, "{status:#}");
        for count in open.iter().map(|count| count.as_u64().expect("a number")) {
            assert!((8..=12).contains(&count), "{workers} workers: {open:?}");
        }
    }
}
