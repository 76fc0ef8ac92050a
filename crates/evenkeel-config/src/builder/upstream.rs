//! An upstream from code.

use std::time::Duration;

use evenkeel_core::balance::LoadBalancingAlgorithm;

use crate::values::{self, Weight};
use crate::wire::{self, OrText};

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
        self.wire.algorithm = wire::Algorithm(algorithm);
        self
    }

    /// Adds a backend: `http://host:port`, `https://host:port` or `http+unix:/path`.
    pub fn backend(mut self, url: impl Into<String>) -> Self {
        self.wire.backends.push(OrText(wire::Backend::new(url.into())));
        self
    }

    /// Adds a backend with a weight, 0 to 65,535; 0 takes it out.
    pub fn weighted_backend(mut self, url: impl Into<String>, weight: u32) -> Self {
        self.wire.backends.push(OrText(wire::Backend { url: url.into(), weight: Weight(weight) }));
        self
    }

    /// Adds backends.
    pub fn backends(self, urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        urls.into_iter().fold(self, Self::backend)
    }

    /// How many attempts one request may take in all, 1 to 16. Default 3.
    pub fn max_attempts(mut self, attempts: usize) -> Self {
        self.wire.max_attempts = wire::MaxAttempts(attempts);
        self
    }

    /// To connect, TLS included. Default 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.wire.timeouts.connect = values::Duration(timeout);
        self
    }

    /// From the end of the request to the head of the answer. Default 30 s.
    pub fn first_byte_timeout(mut self, timeout: Duration) -> Self {
        self.wire.timeouts.first_byte = values::Duration(timeout);
        self
    }

    /// The longest silence within an answer. Default 60 s.
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

    /// The name that the certificates of backends must carry; the URL's host unless given.
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
