//! Every metric that the balancer has, in one place: name, type, help and labels.
//!
//! Labels come from the configuration alone, so nothing that a client sends can add a series.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::discovery::{self, DiscoveryView};
use super::exposition::Exposition;
use super::health::{self, HealthView, UpstreamView};
use super::instruments::{Counter, Histogram, Sharded};
use super::limits::{self, LimitsView};
use super::listener::{self, ListenerMetrics};

/// The first digit of a status: what `code` labels say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class(usize);

/// What a route counts, for each worker.
#[derive(Debug)]
pub struct RouteMetrics {
    shards: Sharded<RouteShard>,
}

/// What a backend counts, for each worker.
#[derive(Debug)]
pub struct BackendMetrics {
    shards: Sharded<BackendShard>,
}

/// What is counted for the process as a whole.
#[derive(Debug)]
pub struct Metrics {
    workers: usize,
    refusals: Sharded<RefusalShard>,
    lanes: Sharded<LaneShard>,
    /// Requests that no route took: malformed ones, and those that matched none.
    pub unrouted: Arc<RouteMetrics>,
    /// Records that access logs dropped because their reader was too slow.
    pub log_dropped: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct RouteShard {
    requests: [Counter; Class::NAMES.len()],
    duration: Histogram,
    received: Counter,
    sent: Counter,
}

#[derive(Debug, Default)]
struct BackendShard {
    answers: [Counter; Class::NAMES.len()],
    connect_failures: Counter,
    broken: Counter,
    timeouts: Counter,
    retries: Counter,
    hedges: Counter,
    copies: Counter,
    first_byte: Histogram,
    /// Of the responses: those which mean that the backend cannot serve requests, and the sum of their response times.
    failed_answers: Counter,
    failed_micros: Counter,
}

/// One counter for each reason of [`Metrics::REFUSALS`].
#[derive(Debug, Default)]
struct RefusalShard([Counter; Metrics::REFUSALS.len()]);

/// One counter for each of [`Metrics::LANES`].
#[derive(Debug, Default)]
struct LaneShard([Counter; Metrics::LANES.len()]);

/// What a page of metrics is made of, besides the process's own.
#[derive(Debug)]
pub struct View<'a> {
    /// Routes by name.
    pub routes: Vec<(&'a str, &'a RouteMetrics)>,
    /// Backends.
    pub backends: Vec<BackendView<'a>>,
    /// Upstreams.
    pub upstreams: Vec<UpstreamView<'a>>,
    /// Sources of backends.
    pub sources: Vec<DiscoveryView<'a>>,
    /// Listeners by address.
    pub listeners: Vec<(&'a str, &'a ListenerMetrics)>,
    /// Limits of clients.
    pub limits: LimitsView<'a>,
    /// Certificates: the listener, the file, and when it expires, in seconds since 1970.
    pub certificates: Vec<(&'a str, &'a str, i64)>,
    /// Reloads that were applied, and that were rejected.
    pub reloads: (u64, u64),
    /// Whether the last reload was applied; yes if there was none.
    pub last_reload_applied: bool,
    /// What is done about a shortage of memory or descriptors: 0 to 2.
    pub overload_level: u8,
    /// Whether the balancer is ready for traffic.
    pub ready: bool,
}

/// A backend in a [`View`].
#[derive(Debug)]
pub struct BackendView<'a> {
    /// The name of its upstream.
    pub upstream: &'a str,
    /// Its own name.
    pub name: &'a str,
    /// Its attempts in flight.
    pub in_flight: u32,
    /// Its counters.
    pub metrics: &'a BackendMetrics,
    /// Its health.
    pub health: HealthView,
}

// === impl Class ===

impl Class {
    const NAMES: [&'static str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

    /// The class of a status; anything odd is a server error.
    pub fn of(status: u16) -> Self {
        match status / 100 {
            class @ 1..=5 => Self(usize::from(class) - 1),
            _ => Self(4),
        }
    }
}

// === impl RouteMetrics ===

impl RouteMetrics {
    /// Counters for this many workers.
    pub fn new(workers: usize) -> Self {
        Self { shards: Sharded::new(workers) }
    }

    /// Counts one finished request.
    pub fn record(&self, worker: usize, status: u16, duration: std::time::Duration, bytes: (u64, u64)) {
        let shard = self.shards.of(worker);
        if let Some(counter) = shard.requests.get(Class::of(status).0) {
            counter.increment();
        }
        shard.duration.record(duration);
        shard.received.add(bytes.0);
        shard.sent.add(bytes.1);
    }

    /// Finished requests.
    pub fn requests(&self) -> u64 {
        self.shards.iter().flat_map(|shard| &shard.requests).map(Counter::get).sum()
    }
}

// === impl BackendMetrics ===

impl BackendMetrics {
    /// Counters for this many workers.
    pub fn new(workers: usize) -> Self {
        Self { shards: Sharded::new(workers) }
    }

    /// Counts a response head; `failed` if it means that the backend cannot serve requests.
    pub fn answered(&self, worker: usize, status: u16, waited: std::time::Duration, failed: bool) {
        let shard = self.shards.of(worker);
        if failed {
            shard.failed_answers.increment();
            shard.failed_micros.add(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
        }
        if let Some(counter) = shard.answers.get(Class::of(status).0) {
            counter.increment();
        }
        shard.first_byte.record(waited);
    }

    /// Counts an attempt that never got a connection.
    pub fn connect_failed(&self, worker: usize) {
        self.shards.of(worker).connect_failures.increment();
    }

    /// Counts an attempt whose connection broke, or whose response was malformed.
    pub fn broke(&self, worker: usize) {
        self.shards.of(worker).broken.increment();
    }

    /// Counts an attempt that was too slow.
    pub fn timed_out(&self, worker: usize) {
        self.shards.of(worker).timeouts.increment();
    }

    /// Counts an attempt that was made because an earlier one had failed.
    pub fn retried(&self, worker: usize) {
        self.shards.of(worker).retries.increment();
    }

    /// Counts a second attempt made because the first was slow.
    pub fn hedged(&self, worker: usize) {
        self.shards.of(worker).hedges.increment();
    }

    /// Counts a copy of a request, sent to hear from a backend that looks slow.
    pub fn copied(&self, worker: usize) {
        self.shards.of(worker).copies.increment();
    }

    /// Responses so far, without those which mean that the backend cannot serve requests, and the sum of their response
    /// times.
    pub fn answers(&self) -> (u64, std::time::Duration) {
        let all: u64 = self.shards.iter().flat_map(|shard| &shard.answers).map(Counter::get).sum();
        let micros: u64 = self.shards.iter().map(|shard| shard.first_byte.read().1).sum();
        // Other cores count on while this adds up.
        let answers = all.saturating_sub(self.shards.sum(|shard| &shard.failed_answers));
        let micros = micros.saturating_sub(self.shards.sum(|shard| &shard.failed_micros));
        (answers, std::time::Duration::from_micros(micros))
    }

    /// Attempts that never got a connection.
    pub fn connect_failures(&self) -> u64 {
        self.shards.sum(|shard| &shard.connect_failures)
    }
}

// === impl Metrics ===

impl Metrics {
    /// Why the balancer responds itself, as in the label `reason`.
    pub const REFUSALS: [&'static str; 23] = [
        "bad_request",
        "header_timeout",
        "body_timeout",
        "header_too_large",
        "body_too_large",
        "method_not_allowed",
        "not_implemented",
        "version_not_supported",
        "misdirected",
        "no_route",
        "no_backend",
        "overloaded",
        "out_of_resources",
        "unreachable",
        "bad_answer",
        "backend_timeout",
        "timeout",
        "shutting_down",
        "unauthorized",
        "forbidden",
        "rate_limited",
        "filter",
        "internal",
    ];

    /// The data paths that may carry a request, as the label `lane` says it.
    pub const LANES: [&'static str; 2] = ["lean", "pingora"];

    /// Counters for this many workers.
    pub fn new(workers: usize) -> Self {
        let unrouted = Arc::new(RouteMetrics::new(workers));
        let (refusals, lanes) = (Sharded::new(workers), Sharded::new(workers));
        Self { workers, refusals, lanes, unrouted, log_dropped: Arc::default() }
    }

    /// How many workers write these counters.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Counts a response of the balancer itself, by one of [`Metrics::REFUSALS`].
    pub fn refused(&self, worker: usize, reason: &str) {
        let at = Self::REFUSALS.iter().position(|known| *known == reason);
        if let Some(counter) = at.and_then(|at| self.refusals.of(worker).0.get(at)) {
            counter.increment();
        }
    }

    /// Counts a finished request by the one of [`Metrics::LANES`] that carried it, if one did.
    pub fn carried(&self, worker: usize, lane: Option<&str>) {
        let at = Self::LANES.iter().position(|known| Some(*known) == lane);
        if let Some(counter) = at.and_then(|at| self.lanes.of(worker).0.get(at)) {
            counter.increment();
        }
    }

    /// The page that Prometheus reads.
    pub fn page(&self, view: &View<'_>) -> String {
        let mut page = Exposition::default();
        self.process(&mut page, view);
        routes(&mut page, view, &self.unrouted);
        backend_answers(&mut page, view);
        backend_failures(&mut page, view);
        let backends = view.backends.iter().map(|backend| (backend.upstream, backend.name, &backend.health));
        health::backends(&mut page, &backends.collect::<Vec<_>>());
        health::upstreams(&mut page, &view.upstreams);
        discovery::sources(&mut page, &view.sources);
        listener::page(&mut page, &view.listeners, &view.certificates);
        limits::limits(&mut page, &view.limits);
        page.finish()
    }

    fn process(&self, page: &mut Exposition, view: &View<'_>) {
        page.family("evenkeel_build_info", "gauge", "The running version; always 1.");
        page.sample("evenkeel_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        page.family("evenkeel_ready", "gauge", "1 if /readyz reports ready.");
        page.sample("evenkeel_ready", &[], u8::from(view.ready));
        let help = "What overload_protection does: 0 nothing, 1 closes idle connections, 2 rejects new connections as well.";
        page.family("evenkeel_overload_level", "gauge", help);
        page.sample("evenkeel_overload_level", &[], view.overload_level);
        page.family("evenkeel_workers", "gauge", "Threads that serve connections.");
        page.sample("evenkeel_workers", &[], self.workers);
        page.family(
            "evenkeel_access_log_dropped_total",
            "counter",
            "Access-log records lost to a slow reader or a failed write.",
        );
        page.sample("evenkeel_access_log_dropped_total", &[], self.log_dropped.load(Relaxed));
        reloads(page, view);
        page.family(
            "evenkeel_refusals_total",
            "counter",
            "Responses that the balancer generated itself, by reason.",
        );
        for (at, reason) in Self::REFUSALS.iter().enumerate() {
            let count: u64 = self.refusals.iter().filter_map(|shard| shard.0.get(at)).map(Counter::get).sum();
            page.sample("evenkeel_refusals_total", &[("reason", reason)], count);
        }
        page.family("evenkeel_lane_requests_total", "counter", "Finished requests, by lane.");
        for (at, lane) in Self::LANES.iter().enumerate() {
            let count: u64 = self.lanes.iter().filter_map(|shard| shard.0.get(at)).map(Counter::get).sum();
            page.sample("evenkeel_lane_requests_total", &[("lane", lane)], count);
        }
    }
}

// === pages ===

fn reloads(page: &mut Exposition, view: &View<'_>) {
    let (total, last) = ("evenkeel_config_reloads_total", "evenkeel_config_last_reload_successful");
    page.family(total, "counter", "Reloads of the configuration, by result.");
    page.sample(total, &[("result", "applied")], view.reloads.0);
    page.sample(total, &[("result", "rejected")], view.reloads.1);
    page.family(last, "gauge", "Whether the last reload was applied. 1 before the first reload.");
    page.sample(last, &[], u8::from(view.last_reload_applied));
}

fn routes(page: &mut Exposition, view: &View<'_>, unrouted: &RouteMetrics) {
    let all = || view.routes.iter().copied().chain([("", unrouted)]);
    page.family(
        "evenkeel_requests_total",
        "counter",
        "Finished requests, by route and status class; the route is empty if none matched.",
    );
    for (name, route) in all() {
        for (at, class) in Class::NAMES.iter().enumerate() {
            let count: u64 = route.shards.iter().filter_map(|s| s.requests.get(at)).map(Counter::get).sum();
            page.sample("evenkeel_requests_total", &[("route", name), ("code", class)], count);
        }
    }
    let help = "Time from a request's first byte to the end of its response.";
    page.family("evenkeel_request_duration_seconds", "histogram", help);
    for (name, route) in all() {
        let shards = route.shards.iter().map(|shard| &shard.duration);
        page.histogram("evenkeel_request_duration_seconds", &[("route", name)], shards);
    }
    page.family("evenkeel_received_bytes_total", "counter", "Bytes of request bodies, by route.");
    for (name, route) in all() {
        page.sample("evenkeel_received_bytes_total", &[("route", name)], route.shards.sum(|s| &s.received));
    }
    page.family("evenkeel_sent_bytes_total", "counter", "Bytes of response bodies, by route.");
    for (name, route) in all() {
        page.sample("evenkeel_sent_bytes_total", &[("route", name)], route.shards.sum(|s| &s.sent));
    }
}

fn backend_answers(page: &mut Exposition, view: &View<'_>) {
    page.family("evenkeel_backend_answers_total", "counter", "Responses of a backend, by status class.");
    for backend in &view.backends {
        for (at, class) in Class::NAMES.iter().enumerate() {
            let shards = backend.metrics.shards.iter();
            let count: u64 = shards.filter_map(|shard| shard.answers.get(at)).map(Counter::get).sum();
            let labels = [("upstream", backend.upstream), ("backend", backend.name), ("code", class)];
            page.sample("evenkeel_backend_answers_total", &labels, count);
        }
    }
    let name = "evenkeel_backend_first_byte_seconds";
    let help = "Time from the pick of a backend to its response head, without the time to send the request.";
    page.family(name, "histogram", help);
    for backend in &view.backends {
        let labels = [("upstream", backend.upstream), ("backend", backend.name)];
        page.histogram(name, &labels, backend.metrics.shards.iter().map(|shard| &shard.first_byte));
    }
    page.family("evenkeel_backend_in_flight", "gauge", "Attempts in flight to a backend.");
    for backend in &view.backends {
        let labels = [("upstream", backend.upstream), ("backend", backend.name)];
        page.sample("evenkeel_backend_in_flight", &labels, backend.in_flight);
    }
}

fn backend_failures(page: &mut Exposition, view: &View<'_>) {
    type Pick = fn(&BackendShard) -> &Counter;
    let families: [(&str, &str, Pick); 6] = [
        (
            "evenkeel_backend_connect_failures_total",
            "Attempts that could not connect to the backend.",
            |shard| &shard.connect_failures,
        ),
        (
            "evenkeel_backend_broken_total",
            "Attempts whose connection broke, or whose response was malformed.",
            |shard| &shard.broken,
        ),
        ("evenkeel_backend_timeouts_total", "Attempts that were too slow.", |shard| &shard.timeouts),
        (
            "evenkeel_backend_retries_total",
            "Attempts made on the backend because an earlier one had failed.",
            |shard| &shard.retries,
        ),
        (
            "evenkeel_backend_hedges_total",
            "Second attempts on the backend, made because the first was slow.",
            |shard| &shard.hedges,
        ),
        (
            "evenkeel_backend_copies_total",
            "Copies of requests sent to the backend to test whether it is still slow.",
            |shard| &shard.copies,
        ),
    ];
    for (name, help, counter) in families {
        page.family(name, "counter", help);
        for backend in &view.backends {
            let labels = [("upstream", backend.upstream), ("backend", backend.name)];
            page.sample(name, &labels, backend.metrics.shards.sum(counter));
        }
    }
}
