//! Requests at a steady rate, each of which must succeed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::Client;

/// Requests at a steady rate, over a few connections.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    clients: JoinSet<Vec<String>>,
    begun: Instant,
}

const CLIENTS: u32 = 8;

// === impl Load ===

impl Load {
    /// Begins to send so many requests a second.
    pub(super) fn start(address: SocketAddr, rate: u32) -> Self {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(send(address, CLIENTS * Duration::from_secs(1) / rate, stop.clone(), sent.clone()));
        }
        Self { stop, sent, clients, begun: Instant::now() }
    }

    /// Ends it. Fails if a request did.
    pub(super) async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            failures.extend(client.expect("a client"));
        }
        let sent = self.sent.load(Ordering::Relaxed);
        println!("{sent} requests in {:?}, {} failures", self.begun.elapsed(), failures.len());
        assert!(failures.is_empty(), "{} of {sent} requests failed: {:?}", failures.len(), failures.first());
        assert!(sent > 0);
    }
}

/// Sends requests over one connection, each at its time; late ones follow at once.
async fn send(
    address: SocketAddr,
    every: Duration,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut client = Client::connect(address).await;
    let mut ticks = tokio::time::interval(every);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let response = client.get("/").await;
        sent.fetch_add(1, Ordering::Relaxed);
        if response.status() != 200 {
            failures.push(format!("{} {}", response.status(), response.text()));
        }
    }
    failures
}
