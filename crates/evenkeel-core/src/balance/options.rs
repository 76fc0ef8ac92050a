//! What can be said of an algorithm besides its name.

use std::time::Duration;

use super::HashKey;

/// Parameters of [`PeakEwma`](super::LoadBalancingAlgorithm::PeakEwma).
#[derive(Clone, Debug, PartialEq)]
pub struct PeakEwmaOptions {
    /// How fast an estimate forgets: a measurement of this age counts one third. Default 1 s. Shorter follows faster,
    /// and gives a single response more weight.
    pub decay: Duration,
    /// How long a backend that looks slow may go without a request before it is given one, to see whether it still is.
    /// Default 4 s; up to eight times sooner as long as it has not been found slow several times in a row, and eight times
    /// later while it is [known otherwise](crate::backend::Latency::spare_tests) to be slow.
    pub retest: Duration,
}

/// Parameters of [`ConsistentHash`](super::LoadBalancingAlgorithm::ConsistentHash).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConsistentHashOptions {
    /// What makes requests belong together.
    pub key: HashKey,
    /// How many times the mean of attempts in flight a backend may have before its keys go on to the next, more than 1.
    /// Default no bound.
    pub bounded_load: Option<f64>,
}

/// Parameters of [`Maglev`](super::LoadBalancingAlgorithm::Maglev) and
/// [`Rendezvous`](super::LoadBalancingAlgorithm::Rendezvous).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HashOptions {
    /// What makes requests belong together.
    pub key: HashKey,
}

/// Parameters of [`Prequal`](super::LoadBalancingAlgorithm::Prequal).
#[derive(Clone, Debug, PartialEq)]
pub struct PrequalOptions {
    /// The path that returns a backend's load; `None` uses the balancer's own measurements.
    pub probe_path: Option<Box<str>>,
    /// Probes for each request, on average, eight at most. Default 3.
    pub probes_per_request: f64,
    /// Probes that are remembered, by each upstream, 32 at most. Default 16.
    pub pool_size: usize,
    /// For how long a probe is believed. Default 1 s.
    pub max_age: Duration,
    /// The quantile of requests in flight, from 0 to 1, above which a backend is hot, if it has more than four as well.
    /// Default 0.84.
    pub hot_quantile: f64,
}

// === impl PeakEwmaOptions ===

impl Default for PeakEwmaOptions {
    fn default() -> Self {
        Self { decay: Duration::from_secs(1), retest: Duration::from_secs(4) }
    }
}

// === impl PrequalOptions ===

impl Default for PrequalOptions {
    fn default() -> Self {
        Self {
            probe_path: None,
            probes_per_request: 3.0,
            pool_size: 16,
            max_age: Duration::from_secs(1),
            hot_quantile: 0.84,
        }
    }
}
