//! An upstream from code.

use std::time::Duration;

use evenkeel_core::balance::LoadBalancingAlgorithm;
use evenkeel_core::health::{OutlierOptions, WhenAllDown};
use evenkeel_core::limit::{CircuitBreakerOptions, QueueOptions};

use super::{BackendBuilder, DiscoveryBuilder, HealthCheckBuilder, RetryBuilder};
use crate::values::{self, Percent, Secret};
use crate::wire::{self, OrText, OutlierDetection};
use crate::{HedgeAfter, Http2, ProxyVersion};

/// Builds an upstream.
#[derive(Clone, Debug)]
#[must_use]
pub struct UpstreamBuilder {
    pub(super) name: String,
    pub(super) wire: wire::Upstream,
}

// === impl UpstreamBuilder ===

impl UpstreamBuilder {
    /// An upstream of this name, without backends yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), wire: wire::Upstream::default() }
    }

    /// How a backend is chosen. Default round robin.
    pub fn algorithm(mut self, algorithm: LoadBalancingAlgorithm) -> Self {
        self.wire.algorithm = OrText(wire::Algorithm::whole(algorithm));
        self
    }

    /// Adds a backend: its URL (`http://host:port`, `https://host:port` or `http+unix:/path`), or a [`BackendBuilder`] to say
    /// more.
    pub fn backend(mut self, backend: impl Into<BackendBuilder>) -> Self {
        self.wire.backends.push(OrText(backend.into().wire));
        self
    }

    /// Adds a backend with a weight, 0 to 65,535; 0 takes it out.
    pub fn weighted_backend(self, url: impl Into<String>, weight: u32) -> Self {
        self.backend(BackendBuilder::new(url).weight(weight))
    }

    /// Adds a backend that gets requests only while all others are out.
    pub fn backup_backend(self, url: impl Into<String>) -> Self {
        self.backend(BackendBuilder::new(url).backup(true))
    }

    /// Adds backends.
    pub fn backends(self, backends: impl IntoIterator<Item = impl Into<BackendBuilder>>) -> Self {
        backends.into_iter().fold(self, Self::backend)
    }

    /// Where more backends come from while the balancer runs. Default nowhere.
    pub fn discovery(mut self, discovery: DiscoveryBuilder) -> Self {
        self.wire.discovery = Some(discovery.wire);
        self
    }

    /// When a request is tried again; a route may say otherwise. Default three attempts in all, and only after connect
    /// failures, which is safe for every method.
    pub fn retry(mut self, retry: RetryBuilder) -> Self {
        self.wire.retry = retry.wire;
        self
    }

    /// A second attempt if the first is slow, for idempotent requests without a body; `budget` is the most second
    /// attempts for each request, as a fraction: 0.05. Default none.
    pub fn hedge(mut self, after: HedgeAfter, budget: f64) -> Self {
        self.wire.hedge = Some(wire::Hedge { after: wire::After(after), budget: Percent(budget) });
        self
    }

    /// How backends are probed. Default not.
    pub fn health_check(mut self, check: HealthCheckBuilder) -> Self {
        self.wire.health_check = Some(OrText(check.wire));
        self
    }

    /// How backends are judged by the traffic that they serve; `None` does not judge them. Default as
    /// [`OutlierOptions::default`].
    pub fn outlier_detection(mut self, options: impl Into<Option<OutlierOptions>>) -> Self {
        self.wire.outlier_detection =
            OrText(options.into().map_or_else(OutlierDetection::off, OutlierDetection::from));
        self
    }

    /// For how long the share of a backend that came back grows to its weight. Default not at all.
    pub fn slow_start(mut self, time: Duration) -> Self {
        self.wire.slow_start = Some(values::Duration(time));
        self
    }

    /// What is done when no backend may be chosen. Default [`WhenAllDown::FailOpen`].
    pub fn when_all_down(mut self, choice: WhenAllDown) -> Self {
        self.wire.when_all_down = choice.into();
        self
    }

    /// The share of usable backends, as a fraction, below which requests go to all backends. Default 0, never.
    pub fn panic_threshold(mut self, share: f64) -> Self {
        self.wire.panic_threshold = Percent(share);
        self
    }

    /// The PROXY header with which each connection to a backend begins. Default none. Connections are then not reused.
    pub fn proxy_protocol(mut self, version: impl Into<Option<ProxyVersion>>) -> Self {
        let version: Option<ProxyVersion> = version.into();
        self.wire.proxy_protocol = version.into();
        self
    }

    /// Whether backends are spoken to in HTTP/2. Default [`Http2::Never`].
    pub fn http2(mut self, http2: Http2) -> Self {
        self.wire.http2 = http2.into();
        self
    }

    /// Keeps requests of one client with one backend, by a cookie of this name. Default not.
    pub fn sticky(mut self, cookie: impl Into<String>) -> Self {
        self.wire.sticky.get_or_insert_default().cookie = cookie.into();
        self
    }

    /// Sticky sessions whose cookie the client keeps for this time. Default for the client's session.
    pub fn sticky_ttl(mut self, ttl: Duration) -> Self {
        self.wire.sticky.get_or_insert_default().ttl = Some(values::Duration(ttl));
        self
    }

    /// Sticky sessions whose cookie's value is keyed by this secret, at least 16 characters. Default none.
    pub fn sticky_secret(mut self, secret: impl Into<String>) -> Self {
        self.wire.sticky.get_or_insert_default().secret = Some(Secret(secret.into()));
        self
    }

    /// The most requests in flight to one backend; more go to others, and wait once all are full. Default no limit.
    pub fn max_connections(mut self, count: u32) -> Self {
        self.wire.max_connections = Some(count);
        self
    }

    /// Those who wait; only with [`max_connections`](UpstreamBuilder::max_connections).
    pub fn queue(mut self, options: QueueOptions) -> Self {
        self.wire.queue = Some(options.into());
        self
    }

    /// When the upstream as a whole takes no more. Default never.
    pub fn circuit_breaker(mut self, options: CircuitBreakerOptions) -> Self {
        self.wire.circuit_breaker = Some(options.into());
        self
    }

    /// The header field that tells a backend how many milliseconds are left of the route's timeout. Default none.
    pub fn deadline_header(mut self, name: impl Into<String>) -> Self {
        self.wire.deadline_header = Some(name.into());
        self
    }

    /// To connect, TLS included. Default 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.wire.timeouts.connect = values::Duration(timeout);
        self
    }

    /// From the end of the request to the response head. Default 30 s.
    pub fn first_byte_timeout(mut self, timeout: Duration) -> Self {
        self.wire.timeouts.first_byte = values::Duration(timeout);
        self
    }

    /// The longest pause within a response. Default 60 s.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.wire.timeouts.idle = values::Duration(timeout);
        self
    }

    /// The longest silence, both ways, on an upgraded connection. Default 1 h.
    pub fn upgraded_idle_timeout(mut self, timeout: Duration) -> Self {
        self.wire.timeouts.upgraded_idle = values::Duration(timeout);
        self
    }

    /// How long an idle connection to a backend is kept. Default 30 s.
    pub fn pool_idle_timeout(mut self, timeout: Duration) -> Self {
        self.wire.pool.idle_timeout = values::Duration(timeout);
        self
    }

    /// The most idle connections that each worker keeps for each backend; 0 keeps none. Default 128.
    pub fn pool_max_idle(mut self, connections: usize) -> Self {
        self.wire.pool.max_idle = connections;
        self
    }

    /// A PEM file of authorities to trust instead of the system's.
    pub fn tls_ca(mut self, path: impl Into<String>) -> Self {
        self.wire.tls.get_or_insert_default().ca = Some(path.into());
        self
    }

    /// The name that the certificates of backends must contain. Default: the host of the URL.
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.wire.tls.get_or_insert_default().server_name = Some(name.into());
        self
    }

    /// Whether to accept whatever certificate is shown: anyone on the path can then read and change the traffic. Default
    /// no.
    pub fn danger_accept_invalid_certificates(mut self, accept: bool) -> Self {
        self.wire.tls.get_or_insert_default().danger_accept_invalid_certificates = accept;
        self
    }
}
