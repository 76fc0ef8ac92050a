//! Retries from code.

use std::time::Duration;

use evenkeel_core::limit::RetryBudgetOptions;

use crate::values::{self, Size};
use crate::wire::{self, Condition, OrText};

/// Builds when a request is tried again, for an upstream or for a route.
///
/// ```
/// use evenkeel_config::{RetryBuilder, UpstreamBuilder};
///
/// let retry = RetryBuilder::new().attempts(2).on(["connect_failure", "reset", "503"]);
/// let upstream = UpstreamBuilder::new("api").backends(["http://10.0.0.1:80", "http://10.0.0.2:80"]).retry(retry);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RetryBuilder {
    pub(super) wire: wire::Retry,
}

// === impl RetryBuilder ===

impl RetryBuilder {
    /// Retries as they are unless said otherwise.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many attempts one request may take in all, 1 to 16; 1 never tries again. Default 3.
    pub fn attempts(mut self, attempts: usize) -> Self {
        self.wire.attempts = attempts;
        self
    }

    /// What is tried again, instead of the default: `connect_failure`, `reset`, `timeout`, and statuses from 400 to 599.
    /// Default `["connect_failure", "reset"]`.
    pub fn on(mut self, conditions: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.wire.on = conditions.into_iter().map(|text| Condition(text.into())).collect();
        self
    }

    /// How long one attempt can take until its response head. Default: only the upstream's timeouts apply.
    pub fn per_try_timeout(mut self, timeout: Duration) -> Self {
        self.wire.per_try_timeout = Some(values::Duration(timeout));
        self
    }

    /// The pause before the first retry; each further one is twice as long, and each is drawn between its half and its whole.
    /// Default none.
    pub fn backoff(mut self, pause: Duration) -> Self {
        self.wire.backoff = Some(values::Duration(pause));
        self
    }

    /// How long a request that every backend has failed waits for one to recover. Default: it fails at once.
    pub fn wait_for_backend(mut self, time: Duration) -> Self {
        self.wire.wait_for_backend = Some(values::Duration(time));
        self
    }

    /// How many retries there may be over all requests. Default a fifth of the requests, and 10 in a second in any case.
    pub fn budget(mut self, budget: RetryBudgetOptions) -> Self {
        self.wire.budget = OrText(budget.into());
        self
    }

    /// The largest body, in bytes, that is kept to be sent again, up to 16 MiB. Default 64 KiB.
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.wire.max_body = Size(bytes);
        self
    }
}
