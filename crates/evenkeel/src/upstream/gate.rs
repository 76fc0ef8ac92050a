//! How much an upstream takes: its circuit breaker, its retry budget, and those who wait for a backend that has room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use evenkeel_config::UpstreamLimits;
use evenkeel_core::limit::{CircuitBreaker, CircuitBreakerOptions, RetryBudget, RetryBudgetOptions};
use tokio::sync::Notify;

use super::error::UpstreamError;

/// How much an upstream takes.
#[derive(Debug)]
pub struct Gate {
    /// The limits as configured.
    pub limits: UpstreamLimits,
    /// When it takes no more at all, if that is ever so.
    pub breaker: Option<Arc<CircuitBreaker>>,
    /// How many retries it takes.
    pub budget: RetryBudget,
    queue: Arc<Queue>,
}

/// The requests that wait for a backend that has room.
#[derive(Debug, Default)]
struct Queue {
    waiting: AtomicUsize,
    room: Notify,
}

/// One request that waits, counted until it is dropped.
struct Waiting<'a>(&'a Queue);

// === impl Gate ===

impl Gate {
    /// With no requests in it yet.
    pub fn new(limits: UpstreamLimits, budget: RetryBudgetOptions) -> Self {
        Self::of(limits, budget, Arc::default())
    }

    /// With other limits. Requests that wait go on waiting.
    #[must_use]
    pub fn with(&self, limits: UpstreamLimits, budget: RetryBudgetOptions) -> Self {
        Self::of(limits, budget, self.queue.clone())
    }

    fn of(limits: UpstreamLimits, budget: RetryBudgetOptions, queue: Arc<Queue>) -> Self {
        let breaks = limits.circuit_breaker != CircuitBreakerOptions::default();
        Self {
            breaker: breaks.then(|| Arc::new(CircuitBreaker::new(limits.circuit_breaker))),
            limits,
            budget: RetryBudget::new(budget),
            queue,
        }
    }

    /// How many wait for a backend that has room.
    pub fn pending(&self) -> usize {
        self.queue.waiting.load(Relaxed)
    }

    /// A request has left a backend.
    pub(super) fn left(&self) {
        if self.limits.max_connections.is_some() {
            self.queue.room.notify_one();
        }
    }

    /// Other backends can be picked than before.
    pub(super) fn changed(&self) {
        if self.limits.max_connections.is_some() {
            self.queue.room.notify_waiters();
        }
    }

    /// Waits until `choose` finds something, trying again each time a request leaves; first come, first served.
    ///
    /// # Errors
    /// When too many wait already, or when it has waited for too long.
    pub async fn wait_for<T>(&self, mut choose: impl FnMut() -> Option<T>) -> Result<T, UpstreamError> {
        let _waiting = self.enter().ok_or(UpstreamError::QueueFull)?;
        let chosen = async {
            loop {
                let room = self.queue.room.notified();
                tokio::pin!(room);
                // In the queue before looking, so that no request that leaves in between is missed.
                room.as_mut().enable();
                if let Some(chosen) = choose() {
                    return chosen;
                }
                room.await;
            }
        };
        let chosen = tokio::time::timeout(self.limits.queue.timeout, chosen).await;
        chosen.map_err(|_| UpstreamError::QueueTimeout)
    }

    fn enter(&self) -> Option<Waiting<'_>> {
        let most = self.limits.queue.max_pending;
        let more = |now: usize| (now < most).then(|| now + 1);
        self.queue.waiting.fetch_update(Relaxed, Relaxed, more).ok().map(|_| Waiting(&self.queue))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}
