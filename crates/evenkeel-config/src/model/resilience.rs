//! What keeps an upstream healthy: checks, retries, limits, sessions.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use evenkeel_core::health::{OutlierOptions, Thresholds, WhenAllDown};
use evenkeel_core::limit::{CircuitBreakerOptions, QueueOptions, RetryBudgetOptions};

use crate::CustomExtension;

/// Which backends may be chosen.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Health {
    /// How backends are probed, if they are. Default not.
    pub check: Option<HealthCheck>,
    /// How they are judged by their traffic; `None` does not judge. Default as [`OutlierOptions`] has it.
    pub outliers: Option<OutlierOptions>,
    /// For how long the weight of a backend that came back grows. Default not at all.
    pub slow_start: Option<Duration>,
    /// What to do if no backend is usable. Default: send requests to all.
    pub when_all_down: WhenAllDown,
    /// The share of usable backends below which requests go to all backends. Default 0, never.
    pub panic_threshold: f64,
}

/// How backends are probed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HealthCheck {
    /// The kind of probe.
    pub kind: HealthCheckKind,
    /// From one probe to the next. Each backend's are independent, and jittered by a tenth. Default 5 s.
    pub interval: Duration,
    /// How long to wait for the result of a probe; not longer than the interval. Default 2 s.
    pub timeout: Duration,
    /// How many results in a row count.
    pub thresholds: Thresholds,
    /// The port to probe instead of the backend's. Default the backend's.
    pub port: Option<u16>,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum HealthCheckKind {
    /// Whether TCP connects.
    Tcp,
    /// Whether TCP connects, and the backend says what is expected.
    TcpExchange(TcpCheck),
    /// Whether a TLS handshake succeeds, with the upstream's authorities and names.
    Tls,
    /// Whether HTTP/1.1 returns the expected response; over TLS if the backend's URL is `https`.
    Http(HttpCheck),
    /// Whether the gRPC health protocol says `SERVING` (grpc.health.v1); over TLS if the backend's URL is `https`.
    Grpc {
        /// The service to check; empty for the server as a whole. Default empty.
        service: String,
    },
    /// A check of the program's own.
    Custom(CustomExtension),
}

/// What is sent over TCP, and the expected response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpCheck {
    /// What is sent after connecting. Default nothing.
    pub send: Vec<u8>,
    /// What the backend is expected to say. `None`: anything, or nothing. Default `None`.
    pub expect: Option<TcpExpect>,
    /// What is sent before the connection is closed. Default nothing.
    pub bye: Vec<u8>,
}

/// What a backend is expected to say over TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TcpExpect {
    /// This, somewhere in its first 64 KiB.
    Contains(Vec<u8>),
    /// One of these, first of all.
    StartsWith(Vec<Vec<u8>>),
    /// The greeting of a MySQL server.
    MySqlGreeting,
}

/// An HTTP request, and the expected response.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HttpCheck {
    /// The path, with a query if there is one. Default `/`.
    pub path: String,
    /// The method. Default GET.
    pub method: String,
    /// The `Host` of the request. Default: the host of the URL.
    pub host: Option<String>,
    /// More header fields: (lower-case name, value).
    pub headers: Vec<(String, String)>,
    /// The statuses that are healthy, as ranges, both ends inclusive. Default 200 to 299.
    pub expect_status: Vec<(u16, u16)>,
    /// A text that the response body must contain in its first 64 KiB. Default any body.
    pub expect_body: Option<String>,
}

/// When a request is tried again.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Retry {
    /// How many times a request is sent in all, 1 to 16. Default 3. A backend that could not be reached does not count.
    pub attempts: NonZeroUsize,
    /// What is tried again. Default connect failures and resets.
    pub on: RetryOn,
    /// How long one attempt can take until its response head. Default: only the upstream's timeouts apply.
    pub per_try_timeout: Option<Duration>,
    /// The pause before the first retry; each further one twice as long, and each drawn between its half and its whole.
    /// Default none: another backend is another backend.
    pub backoff: Option<Duration>,
    /// How long a request that every backend has failed waits for one to recover. Default: it fails at once.
    pub wait_for_backend: Option<Duration>,
    /// How many retries there may be over all requests of the upstream.
    pub budget: RetryBudgetOptions,
    /// Largest body, in bytes, that is kept to be sent again. Default 64 KiB.
    pub max_body: usize,
}

/// What is tried again; only where it is safe: the request never reached a backend, or its method is idempotent (RFC 9110,
/// 9.2.2) and its body is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryOn {
    /// No connection. Default yes.
    pub connect_failure: bool,
    /// The connection broke before the response head. Default yes.
    pub reset: bool,
    /// No response head within `per_try_timeout` or `first_byte`. Default no.
    pub timeout: bool,
    /// A response with one of these statuses. Default none.
    pub statuses: Vec<u16>,
}

/// A second attempt if the first is slow, for idempotent requests without a body; and copies of safe requests to
/// backends that an algorithm wants to test.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hedge {
    /// When the second attempt begins.
    pub after: HedgeAfter,
    /// Second attempts and copies for each request, as a fraction. Default 0.05.
    pub budget: f64,
}

/// When a second attempt begins.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum HedgeAfter {
    /// Later than this share, from 0 to 1, of the upstream's recent responses began. Default 0.95.
    Quantile(f64),
    /// After this time.
    Time(Duration),
}

/// Requests of one client stay with one backend, by a cookie. `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sticky {
    /// The cookie's name. Default `evenkeel`.
    pub cookie: String,
    /// How long the client keeps it. Default: for its session.
    pub ttl: Option<Duration>,
    /// The key of the cookie's value, which hides the backend. Default none.
    pub secret: Option<String>,
}

/// How much an upstream takes.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct UpstreamLimits {
    /// Most requests in flight to one backend; more wait. Default no limit.
    pub max_connections: Option<NonZeroU32>,
    /// Those who wait.
    pub queue: QueueOptions,
    /// When the upstream as a whole takes no more. Default always.
    pub circuit_breaker: CircuitBreakerOptions,
    /// The header field, in lower case, that tells a backend how many milliseconds are left of the route's `timeout`. Default
    /// none.
    pub deadline_header: Option<String>,
}

// === impl Health ===

impl Default for Health {
    fn default() -> Self {
        Self {
            check: None,
            outliers: Some(OutlierOptions::default()),
            slow_start: None,
            when_all_down: WhenAllDown::default(),
            panic_threshold: 0.0,
        }
    }
}

// === impl HealthCheck ===

impl HealthCheck {
    /// A check of this kind, with every default.
    pub fn new(kind: HealthCheckKind) -> Self {
        Self {
            kind,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            thresholds: Thresholds::default(),
            port: None,
        }
    }
}

// === impl HttpCheck ===

impl Default for HttpCheck {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            method: "GET".to_owned(),
            host: None,
            headers: Vec::new(),
            expect_status: vec![(200, 299)],
            expect_body: None,
        }
    }
}

// === impl Retry ===

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: NonZeroUsize::MIN.saturating_add(2),
            on: RetryOn::default(),
            per_try_timeout: None,
            backoff: None,
            wait_for_backend: None,
            budget: RetryBudgetOptions::default(),
            max_body: 64 << 10,
        }
    }
}

// === impl RetryOn ===

impl Default for RetryOn {
    fn default() -> Self {
        Self { connect_failure: true, reset: true, timeout: false, statuses: Vec::new() }
    }
}

// === impl Hedge ===

impl Default for Hedge {
    fn default() -> Self {
        Self { after: HedgeAfter::Quantile(0.95), budget: 0.05 }
    }
}

// === impl Sticky ===

impl Sticky {
    /// The default of [`Sticky::cookie`].
    pub const COOKIE: &str = "evenkeel";
}

impl fmt::Debug for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.secret.as_ref().map(|_| format_args!("(secret)"));
        f.debug_struct("Sticky")
            .field("cookie", &self.cookie)
            .field("ttl", &self.ttl)
            .field("secret", &secret)
            .finish()
    }
}
