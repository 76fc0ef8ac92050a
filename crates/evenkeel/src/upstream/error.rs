//! Why a request gets no attempt, or no further one: what a lane or the exchange turns into a response.

use super::failure::Failure;
use super::retry::NoRetry;

/// Why an upstream does not serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// No backend can be picked.
    #[error("no healthy backend")]
    NoBackend,
    /// The circuit breaker is open: too many requests are in flight.
    #[error("circuit breaker is open")]
    CircuitOpen,
    /// Too many requests wait for a backend already.
    #[error("queue is full: queue.max_pending reached")]
    QueueFull,
    /// The request has waited for a backend for too long.
    #[error("no backend had room within queue.timeout")]
    QueueTimeout,
    /// An attempt failed, and no other one follows.
    #[error("{failure} ({stopped})")]
    Failed {
        /// How the last attempt failed.
        failure: Failure,
        /// Why it was the last one.
        stopped: NoRetry,
    },
}
