//! What is counted of connections that are carried as they are.

use super::exposition::Exposition;
use super::instruments::{Counter, Sharded};

/// What a listener with `protocol: tcp` counts, for each worker.
#[derive(Debug)]
pub struct TcpMetrics {
    shards: Sharded<TcpShard>,
}

#[derive(Debug, Default)]
struct TcpShard {
    ends: [Counter; TCP_ENDS.len()],
    received: Counter,
    sent: Counter,
}

/// How connections end, as in the label `end` and in the access log.
const TCP_ENDS: [&str; 14] = [
    "ok",
    "client_left",
    "backend_left",
    "timeout=idle",
    "timeout=client_hello",
    "timeout=connect",
    "timeout=tls",
    "refused=no_route",
    "refused=no_backend",
    "refused=overloaded",
    "refused=out_of_resources",
    "refused=unreachable",
    "refused=shutting_down",
    "panic",
];

// === impl TcpMetrics ===

impl TcpMetrics {
    /// Counters for this many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self { shards: Sharded::new(workers) }
    }

    /// Counts a connection that has ended in one of [`TCP_ENDS`].
    pub fn ended(&self, worker: usize, end: &str) {
        let at = TCP_ENDS.iter().position(|known| *known == end);
        if let Some(counter) = at.and_then(|at| self.shards.of(worker).ends.get(at)) {
            counter.increment();
        }
    }

    /// Counts bytes that came from clients and went to backends, and bytes that came from backends and went to clients.
    #[inline]
    pub fn carried(&self, worker: usize, received: u64, sent: u64) {
        let shard = self.shards.of(worker);
        shard.received.add(received);
        shard.sent.add(sent);
    }
}

// === pages ===

/// The part of a page that is about these connections, by the name of their listener.
pub(super) fn page(page: &mut Exposition, all: &[(&str, &TcpMetrics)]) {
    let name = "evenkeel_tcp_connections_total";
    page.family(name, "counter", "Connections of TCP listeners that have ended, by listener and end.");
    for (address, tcp) in all {
        for (at, end) in TCP_ENDS.iter().enumerate() {
            let count: u64 = tcp.shards.iter().filter_map(|shard| shard.ends.get(at)).map(Counter::get).sum();
            page.sample(name, &[("listener", *address), ("end", end)], count);
        }
    }
    let name = "evenkeel_tcp_received_bytes_total";
    page.family(name, "counter", "Bytes from clients to TCP backends, by listener.");
    for (address, tcp) in all {
        page.sample(name, &[("listener", *address)], tcp.shards.sum(|shard| &shard.received));
    }
    let name = "evenkeel_tcp_sent_bytes_total";
    page.family(name, "counter", "Bytes from TCP backends to clients, by listener.");
    for (address, tcp) in all {
        page.sample(name, &[("listener", *address)], tcp.shards.sum(|shard| &shard.sent));
    }
}
