//! Whether another attempt follows a failed one, and why not: a decision without side effects.

use std::fmt;

use evenkeel_config::Retry;

use super::failure::Failure;

/// What a retry depends on besides the failure and the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryFacts {
    /// Whether to send the request twice does no more than to send it once.
    pub(super) idempotent: bool,
    /// Whether the whole request can be sent again.
    pub(super) replayable: bool,
    /// How many attempts count as one of `retry.attempts`, this one included.
    pub(super) used: usize,
    /// Whether the failed attempt counts even if no backend has worked on the request: every backend was tried before.
    pub(super) counted: bool,
}

/// Whether another attempt follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryDecision {
    /// At once: no backend has worked on the request, so that another attempt adds no load.
    Free,
    /// The same after the configured pause: the backend was reached.
    FreeAfterPause,
    /// If the retry budget and the circuit breaker allow it, after the configured pause.
    WithinBudget,
    /// No.
    No(NoRetry),
}

/// Why no other attempt follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoRetry {
    /// `retry.on` does not name this failure.
    NotConfigured,
    /// A backend may have worked on the request, and to send it twice is not safe.
    NotIdempotent,
    /// The body is no longer there in full.
    NotReplayable,
    /// It was sent `retry.attempts` times.
    AttemptsUsed,
    /// The retry budget is exhausted.
    BudgetExhausted,
    /// The circuit breaker allows no more retries now.
    TooManyRetries,
    /// Every backend was tried.
    NoBackendLeft,
}

/// Whether another attempt follows this failure. What no backend has worked on adds no load to any: it goes on for as long as
/// there is a backend that was not tried. Everything else is bounded by attempts and by the budget.
pub(super) fn decide(failure: Failure, retry: &Retry, facts: RetryFacts) -> RetryDecision {
    use RetryDecision::{Free, FreeAfterPause, No, WithinBudget};
    if !failure.is_retried(&retry.on) {
        return No(NoRetry::NotConfigured);
    }
    let bounded = if facts.used >= retry.attempts.get() { No(NoRetry::AttemptsUsed) } else { WithinBudget };
    match failure {
        Failure::Stale => Free,
        _ if failure.never_reached() => {
            if facts.counted {
                bounded
            } else {
                Free
            }
        }
        _ if !facts.idempotent => No(NoRetry::NotIdempotent),
        _ if !facts.replayable => No(NoRetry::NotReplayable),
        Failure::Closed(_) if !facts.counted => FreeAfterPause,
        _ => bounded,
    }
}

// === impl NoRetry ===

impl fmt::Display for NoRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConfigured => "not retried: retry.on does not contain this failure",
            Self::NotIdempotent => "not retried: the method is not idempotent",
            Self::NotReplayable => "not retried: the body cannot be sent again",
            Self::AttemptsUsed => "retry.attempts reached",
            Self::BudgetExhausted => "retry budget exhausted",
            Self::TooManyRetries => "circuit_breaker.max_retries reached",
            Self::NoBackendLeft => "no other backend is left",
        })
    }
}
