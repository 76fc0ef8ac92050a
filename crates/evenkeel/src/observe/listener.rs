//! What is counted of a listener: connections, and handshakes of TLS.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::exposition::Exposition;
use super::instruments::{Counter, Sharded};
use super::tcp::{self, TcpMetrics};

/// What a listener counts, for each worker.
#[derive(Debug)]
pub struct ListenerMetrics {
    shards: Sharded<ListenerShard>,
    /// How often changed certificates were taken into use, and how often they could not be.
    certificates_applied: AtomicU64,
    certificates_rejected: AtomicU64,
    /// What it counts of connections that are carried as they are; nothing if it never had `protocol: tcp`.
    tcp: OnceLock<TcpMetrics>,
}

#[derive(Debug, Default)]
struct ListenerShard {
    accepted: Counter,
    closed: Counter,
    /// By [`ConnectionLimit`].
    over: [Counter; ConnectionLimit::ALL.len()],
    /// By whether an earlier session was resumed.
    full: Counter,
    resumed: Counter,
    failed: [Counter; FAILURES.len()],
    header_failures: [Counter; HEADER_FAILURES.len()],
}

/// Why a connection is closed on arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// The listener has too many.
    Listener,
    /// The client has too many.
    Client,
    /// The client opens connections too often.
    ClientRate,
    /// The process is short of memory or descriptors.
    Overload,
}

/// Why handshakes fail, as in the label `cause`.
pub const FAILURES: [&str; 10] = [
    "timeout",
    "client_left",
    "not_tls",
    "version",
    "cipher",
    "protocol",
    "server_name",
    "certificate_rejected",
    "client_certificate",
    "other",
];

/// Why connections are closed because of their PROXY header, as in the label `cause`.
const HEADER_FAILURES: [&str; 6] =
    ["timeout", "client_left", "missing", "malformed", "too_large", "untrusted"];

// === impl ConnectionLimit ===

impl ConnectionLimit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Listener, Self::Client, Self::ClientRate, Self::Overload];

    /// The name in the label `limit`: the key of the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listener => "max_connections",
            Self::Client => "max_connections_per_client",
            Self::ClientRate => "max_connection_rate_per_client",
            Self::Overload => "overload_protection",
        }
    }
}

// === impl ListenerMetrics ===

impl ListenerMetrics {
    /// Counters for this many workers.
    pub fn new(workers: usize) -> Self {
        let shards = Sharded::new(workers);
        let (certificates_applied, certificates_rejected) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { shards, certificates_applied, certificates_rejected, tcp: OnceLock::new() }
    }

    /// Counts a connection that was taken.
    pub fn accepted(&self, worker: usize) {
        self.shards.of(worker).accepted.increment();
    }

    /// Counts the end of a connection that was taken.
    pub fn closed(&self, worker: usize) {
        self.shards.of(worker).closed.increment();
    }

    /// Counts a connection that was closed on arrival because of a limit.
    pub fn over(&self, worker: usize, limit: ConnectionLimit) {
        if let Some(counter) = self.shards.of(worker).over.get(limit as usize) {
            counter.increment();
        }
    }

    /// Counts a handshake of TLS that ended: whether it resumed an earlier session, or which of [`FAILURES`] it failed of.
    pub fn handshaken(&self, worker: usize, result: Result<bool, &str>) {
        let shard = self.shards.of(worker);
        match result {
            Ok(false) => shard.full.increment(),
            Ok(true) => shard.resumed.increment(),
            Err(cause) => count(&FAILURES, &shard.failed, cause),
        }
    }

    /// Counts a connection that was closed because of its PROXY header, for one of the causes of the label `cause`.
    pub fn header_failed(&self, worker: usize, cause: &str) {
        count(&HEADER_FAILURES, &self.shards.of(worker).header_failures, cause);
    }

    /// Counts that changed certificates were taken into use, or that they could not be.
    pub fn certificates_read(&self, applied: bool) {
        let counter = if applied { &self.certificates_applied } else { &self.certificates_rejected };
        counter.fetch_add(1, Relaxed);
    }

    /// What it counts of connections that are carried as they are. From the first call on, the page of metrics shows it.
    pub fn tcp(&self) -> &TcpMetrics {
        self.tcp.get_or_init(|| TcpMetrics::new(self.shards.iter().count()))
    }

    /// Connections taken.
    pub fn accepted_total(&self) -> u64 {
        self.shards.sum(|shard| &shard.accepted)
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.accepted_total().saturating_sub(self.shards.sum(|shard| &shard.closed))
    }

    /// Connections open now, by the worker that serves them.
    pub fn open_by_worker(&self) -> impl Iterator<Item = u64> {
        self.shards.iter().map(|shard| shard.accepted.get().saturating_sub(shard.closed.get()))
    }
}

fn count(causes: &[&str], counters: &[Counter], cause: &str) {
    let at = causes.iter().position(|known| *known == cause);
    if let Some(counter) = at.and_then(|at| counters.get(at)) {
        counter.increment();
    }
}

// === pages ===

/// The part of a page that is about listeners, by their names.
pub(super) fn page(page: &mut Exposition, all: &[(&str, &ListenerMetrics)], expiries: &[(&str, &str, i64)]) {
    page.family("evenkeel_connections_accepted_total", "counter", "Accepted connections, by listener.");
    for (address, listener) in all {
        let labels = [("listener", *address)];
        page.sample("evenkeel_connections_accepted_total", &labels, listener.accepted_total());
    }
    page.family("evenkeel_connections_open", "gauge", "Open connections, by listener.");
    for (address, listener) in all {
        page.sample("evenkeel_connections_open", &[("listener", *address)], listener.open());
    }
    let name = "evenkeel_connections_rejected_total";
    page.family(name, "counter", "Connections closed on arrival, by listener and limit.");
    for (address, listener) in all {
        for limit in ConnectionLimit::ALL {
            let counters = listener.shards.iter().filter_map(|shard| shard.over.get(limit as usize));
            let count: u64 = counters.map(Counter::get).sum();
            page.sample(name, &[("listener", *address), ("limit", limit.name())], count);
        }
    }
    let name = "evenkeel_proxy_protocol_failures_total";
    page.family(name, "counter", "Connections closed because of their PROXY header, by listener and cause.");
    by_cause(page, name, all, &HEADER_FAILURES, |shard| &shard.header_failures);
    let tcp = all.iter().filter_map(|(address, listener)| Some((*address, listener.tcp.get()?)));
    tcp::page(page, &tcp.collect::<Vec<_>>());
    handshakes(page, all);
    certificates(page, all, expiries);
}

fn handshakes(page: &mut Exposition, all: &[(&str, &ListenerMetrics)]) {
    let name = "evenkeel_tls_handshakes_total";
    page.family(
        name,
        "counter",
        "Complete TLS handshakes with clients, by listener and whether an earlier session was resumed.",
    );
    for (address, listener) in all {
        let counts = [
            ("no", listener.shards.sum(|shard| &shard.full)),
            ("yes", listener.shards.sum(|shard| &shard.resumed)),
        ];
        for (resumed, count) in counts {
            page.sample(name, &[("listener", *address), ("resumed", resumed)], count);
        }
    }
    let name = "evenkeel_tls_handshake_failures_total";
    page.family(name, "counter", "Failed TLS handshakes with clients, by listener and cause.");
    by_cause(page, name, all, &FAILURES, |shard| &shard.failed);
}

fn by_cause(
    page: &mut Exposition,
    name: &str,
    all: &[(&str, &ListenerMetrics)],
    causes: &[&str],
    of: impl Fn(&ListenerShard) -> &[Counter],
) {
    for (address, listener) in all {
        for (at, cause) in causes.iter().enumerate() {
            let count: u64 = listener.shards.iter().filter_map(|s| of(s).get(at)).map(Counter::get).sum();
            page.sample(name, &[("listener", *address), ("cause", *cause)], count);
        }
    }
}

fn certificates(page: &mut Exposition, all: &[(&str, &ListenerMetrics)], expiries: &[(&str, &str, i64)]) {
    let name = "evenkeel_tls_certificate_expiry_timestamp_seconds";
    page.family(
        name,
        "gauge",
        "When a certificate of a listener expires, in seconds since 1970, by its file.",
    );
    for (address, file, expiry) in expiries {
        page.sample(name, &[("listener", *address), ("cert", *file)], *expiry);
    }
    let name = "evenkeel_tls_certificate_reloads_total";
    let help = "Changes of certificate files, by listener and whether the new ones are in use.";
    page.family(name, "counter", help);
    for (address, listener) in all {
        let counts =
            [("applied", &listener.certificates_applied), ("rejected", &listener.certificates_rejected)];
        for (result, count) in counts {
            page.sample(name, &[("listener", *address), ("result", result)], count.load(Relaxed));
        }
    }
}
