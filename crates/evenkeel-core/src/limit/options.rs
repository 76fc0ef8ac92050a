//! What a user may say about limits: parameters, with their defaults.

use std::time::Duration;

/// How many attempts beyond the first an upstream may get, over all its requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudgetOptions {
    /// Retries for each request, as a fraction. Default 0.2.
    pub ratio: f64,
    /// Retries per second that are always allowed. Default 10.
    pub min_per_second: u32,
}

/// When an upstream takes no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CircuitBreakerOptions {
    /// Most requests in flight to the upstream. Default none.
    pub max_in_flight: Option<u32>,
    /// Most retries under way. Default none.
    pub max_retries: Option<u32>,
}

/// Requests that wait for a free backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueOptions {
    /// How many may wait. Default 1024.
    pub max_pending: usize,
    /// For how long. Default 1 s.
    pub timeout: Duration,
}

// === impl RetryBudgetOptions ===

impl Default for RetryBudgetOptions {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 10 }
    }
}

// === impl QueueOptions ===

impl Default for QueueOptions {
    fn default() -> Self {
        Self { max_pending: 1024, timeout: Duration::from_secs(1) }
    }
}
