//! `queue`, `circuit_breaker` and `sticky`: how much an upstream takes, and who stays where.

use evenkeel_core::limit::{CircuitBreakerOptions, QueueOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{Duration, Secret};

/// Requests that wait until a backend has room.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "queue")]
pub(crate) struct Queue {
    /// How many may wait, up to 1,000,000; more are answered with 503 at once. 0 lets nobody wait. Who waits costs the
    /// memory of a connection and a request's head.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(crate) max_pending: usize,
    /// For how long one may wait; then the answer is 503. Longer than clients wait is of no use to anybody.
    pub(crate) timeout: Duration,
}

/// When an upstream takes no more: requests beyond these are answered with 503, or not tried again, at once. At least one is
/// given.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "circuit_breaker")]
pub(crate) struct CircuitBreaker {
    /// The most requests in flight to all of the upstream's backends. No limit unless given.
    #[schemars(range(min = 1))]
    pub(crate) max_in_flight: Option<u32>,
    /// The most retries under way at a time, beside the budget of `retry`. No limit unless given.
    #[schemars(range(min = 1))]
    pub(crate) max_retries: Option<u32>,
}

/// Requests of one client stay with one backend, by a cookie that the balancer sets. The cookie never names an address. When
/// its backend is gone or out, another is chosen and the cookie set anew.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "sticky")]
pub(crate) struct Sticky {
    /// The cookie's name.
    pub(crate) cookie: String,
    /// For how long the client keeps the cookie, 1 s at least; for its session unless given.
    pub(crate) ttl: Option<Duration>,
    /// What keys the cookie's value, at least 16 characters, so that nobody can find the backend from it or make one for
    /// it. Give the same to all balancers of an upstream, best as `${NAME}`.
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
