//! Requests as they once came.

use std::sync::Arc;
use std::time::Duration;

use super::events::Time;
use super::nanos;

/// When requests came, and from whom. Cloning shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace(Arc<[Call]>);

/// One request of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) time: Time,
    /// Whatever tells its client from others.
    pub(super) client: u64,
}

// === impl Trace ===

impl Trace {
    /// Requests, each by its time since the world began and a number that tells its client from others; in any order.
    /// Those of one client have one hash key.
    pub fn new(requests: impl IntoIterator<Item = (Duration, u64)>) -> Self {
        let call = |(time, client)| Call { time: nanos(time), client };
        let mut calls: Vec<Call> = requests.into_iter().map(call).collect();
        // Stable, so that what came at one time keeps its order.
        calls.sort_by_key(|call| call.time);
        Self(calls.into())
    }

    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the last request comes; zero when there is none.
    pub fn end(&self) -> Duration {
        self.0.last().map_or(Duration::ZERO, |call| Duration::from_nanos(call.time))
    }

    pub(super) fn call(&self, index: u64) -> Option<Call> {
        self.0.get(usize::try_from(index).ok()?).copied()
    }
}
