//! `queue`, `circuit_breaker` and `sticky`: how many requests an upstream accepts, and which client stays on which
//! backend.

use evenkeel_core::limit::{CircuitBreakerOptions, QueueOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{Duration, Secret};

/// Requests that wait for a free backend.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "queue")]
pub(crate) struct Queue {
    /// How many requests can wait, up to 1,000,000. Further requests receive 503 at once. 0 turns the queue off. A
    /// waiting request costs the memory of a connection and of a request head.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(crate) max_pending: usize,
    /// How long a request waits; then it receives 503. A time longer than clients wait is useless.
    pub(crate) timeout: Duration,
}

/// Limits for the whole upstream. Above them, requests receive 503 at once, or are not retried. Set at least one limit.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "circuit_breaker")]
pub(crate) struct CircuitBreaker {
    /// The most requests in flight to all backends of the upstream. Default: no limit.
    #[schemars(range(min = 1))]
    pub(crate) max_in_flight: Option<u32>,
    /// The most retries in progress at the same time, in addition to the budget of `retry`. Default: no limit.
    #[schemars(range(min = 1))]
    pub(crate) max_retries: Option<u32>,
}

/// Requests of one client stay on one backend, by a cookie that the balancer sets. The cookie never contains an
/// address. If the backend is removed or unusable, another backend is picked and the cookie is set again.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "sticky")]
pub(crate) struct Sticky {
    /// The cookie's name.
    pub(crate) cookie: String,
    /// How long the client keeps the cookie, at least 1 s. Default: until the end of its session.
    pub(crate) ttl: Option<Duration>,
    /// The key for the cookie's value, at least 16 characters. It prevents clients from learning the backend from the
    /// cookie or making a cookie for a backend. Use the same secret on all balancers of an upstream, preferably as
    /// `${NAME}`.
    #[schemars(with = "Option<String>")]
    pub(crate) secret: Option<Secret>,
}

// === impl Queue ===

impl From<QueueOptions> for Queue {
    fn from(QueueOptions { max_pending, timeout }: QueueOptions) -> Self {
        Self { max_pending, timeout: Duration(timeout) }
    }
}

impl Default for Queue {
    fn default() -> Self {
        QueueOptions::default().into()
    }
}

// === impl CircuitBreaker ===

impl From<CircuitBreakerOptions> for CircuitBreaker {
    fn from(CircuitBreakerOptions { max_in_flight, max_retries }: CircuitBreakerOptions) -> Self {
        Self { max_in_flight, max_retries }
    }
}

// === impl Sticky ===

impl Default for Sticky {
    fn default() -> Self {
        Self { cookie: crate::Sticky::COOKIE.to_owned(), ttl: None, secret: None }
    }
}
