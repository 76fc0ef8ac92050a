//! How to reach one backend, and what it counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use evenkeel_config::Http2;
use evenkeel_core::backend::{Backend, BackendId};

use super::failure_log::FailureLog;
use crate::dial::Dialer;
use crate::observe::BackendMetrics;

/// How to reach one backend, and what it counts.
#[derive(Debug)]
pub struct Endpoint {
    /// What identifies it within its upstream, for as long as it belongs to it.
    pub id: BackendId,
    /// What the configuration, or the set that replaced it, says of it.
    pub spec: evenkeel_config::Backend,
    /// The backend.
    pub backend: Arc<Backend>,
    /// How to connect to it.
    pub dialer: Dialer,
    /// TLS, if it is spoken.
    pub tls: Option<EndpointTls>,
    /// Whether it is spoken to in HTTP/2.
    pub http2: Http2,
    /// Its idle connections.
    pub connections: Arc<ConnectionGroup>,
    /// What a sticky cookie calls it, if there is one.
    pub cookie: Option<Arc<str>>,
    /// What it counts.
    pub metrics: Arc<BackendMetrics>,
    /// Its failures that have a line in the error log.
    pub failures: FailureLog,
}

/// Idle connections that can be used for each other: to one backend of one upstream, with the same TLS. Each worker has its own.
#[derive(Debug)]
pub struct ConnectionGroup {
    id: u64,
    closed: AtomicBool,
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
    /// The same backend with another weight, priority or zone.
    #[must_use]
    pub fn with_spec(&self, spec: evenkeel_config::Backend) -> Self {
        Self {
            id: self.id,
            spec,
            backend: self.backend.clone(),
            dialer: self.dialer.clone(),
            tls: self.tls.clone(),
            http2: self.http2,
            connections: self.connections.clone(),
            cookie: self.cookie.clone(),
            metrics: self.metrics.clone(),
            failures: FailureLog::default(),
        }
    }
}

// === impl ConnectionGroup ===

impl ConnectionGroup {
    /// A group without connections.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { id: NEXT.fetch_add(1, Relaxed), closed: AtomicBool::new(false) }
    }

    /// What tells it apart from every other group of this process; never `u64::MAX`.
    #[inline]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The backend was removed: its idle connections are closed within a second or two, and none becomes idle any more.
    pub fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// Whether the backend was removed.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }
}
