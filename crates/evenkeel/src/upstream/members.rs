//! The backends of an upstream: those that may be chosen now, and all of them.

use std::ops::Deref;
use std::sync::Arc;

use evenkeel_core::backend::Snapshot;
use evenkeel_core::balance::Balancer;

use super::endpoint::Endpoint;

/// The backends of an upstream that may be chosen now, and what chooses among them.
#[derive(Debug)]
pub struct Members {
    /// What the algorithm sees.
    pub snapshot: Snapshot,
    /// What is connected to: same order, same length.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// What is tried once none of these could be reached, in this order.
    pub others: Vec<Arc<Endpoint>>,
    /// What chooses.
    pub balancer: Arc<dyn Balancer>,
}

/// Every backend that an upstream has, in the configured order.
#[derive(Debug, Default)]
pub struct Roster {
    /// The backends.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Requests that came to backends which it no longer has: what counts requests must not see fewer than before.
    pub requests_of_removed: u64,
}

// === impl Members ===

impl Members {
    /// The backend at this place: the others come after those that may be chosen.
    #[inline]
    pub fn endpoint(&self, place: usize) -> Option<&Arc<Endpoint>> {
        let chosen = self.endpoints.len();
        self.endpoints.get(place).or_else(|| self.others.get(place.checked_sub(chosen)?))
    }
}

// === impl Roster ===

impl Deref for Roster {
    type Target = [Arc<Endpoint>];

    fn deref(&self) -> &Self::Target {
        &self.endpoints
    }
}
