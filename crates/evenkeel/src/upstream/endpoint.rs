//! How to reach one backend, and what it counts.

use std::sync::Arc;

use evenkeel_core::backend::Backend;

use super::failure_log::FailureLog;
use crate::dial::Dialer;
use crate::observe::BackendMetrics;

/// How to reach one backend, and what it counts.
#[derive(Debug)]
pub struct Endpoint {
    /// The backend.
    pub backend: Arc<Backend>,
    /// How to connect to it.
    pub dialer: Dialer,
    /// TLS, if it is spoken.
    pub tls: Option<EndpointTls>,
    /// Tells apart the connections of endpoints that share an address but not their settings.
    pub group: u64,
    /// The weight it was given; zero is out.
    pub weight: u32,
    /// What a sticky cookie calls it, if there is one.
    pub cookie: Option<Box<str>>,
    /// What it counts.
    pub metrics: Arc<BackendMetrics>,
    /// Its failures that have a line in the error log.
    pub failures: FailureLog,
}

/// How TLS is spoken to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointTls {
    /// The name that the certificate must carry.
    pub server_name: String,
    /// The certificates of the authorities to trust instead of the system's: DER, and known to parse.
    pub ca: Option<Arc<[Vec<u8>]>>,
    /// Whether the certificate is looked at.
    pub verify: bool,
}

// === impl Endpoint ===

impl Endpoint {
    /// Requests that came to it so far: its attempts, without those that repeated another.
    pub fn requests(&self) -> u64 {
        self.backend.counters().attempts().saturating_sub(self.metrics.repeated())
    }
}
