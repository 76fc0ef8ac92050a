//! A running upstream: its backends, how one is picked, attempts, second attempts, leases, queue, failures.
//!
//! This room never knows HTTP or which transport carries a request: what fails goes out as a value, never as a status.

mod affinity;
mod attempts;
mod clock;
mod copy;
mod ending;
mod endpoint;
mod error;
mod explain;
mod failure;
mod failure_log;
mod gate;
mod hedge;
mod members;
mod parallel;
mod pick;
mod recovery;
mod retry;
mod settings;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use evenkeel_config::{Pool, Retry, Timeouts};
use evenkeel_core::backend::{Lease, Outcome};
use tokio::sync::Notify;

use crate::observe::{Counter, Sharded};

pub use affinity::{Affinity, cookie_value, hash, hash_of_client};
pub use attempts::{At, Attempt, AttemptOptions, Attempts, NextAttempt};
pub use clock::moment_of;
pub use copy::RequestCopy;
pub use endpoint::{ConnectionGroup, Endpoint, EndpointTls};
pub use error::UpstreamError;
pub use explain::{WouldChoose, would_choose};
pub use failure::{Break, BrokenConnection, ConnectError, Failure, TlsError};
pub use failure_log::{FailureLog, FailureReports, RequestFailure};
pub use gate::Gate;
pub use hedge::Hedging;
pub use members::{Members, Roster};
#[cfg(test)]
pub use retry::NoRetry;

/// A running upstream.
#[derive(Debug)]
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// What the configuration calls the algorithm.
    pub algorithm: &'static str,
    /// Its backends: one pointer, replaced as a whole, at any time.
    pub members: ArcSwap<Members>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Idle connections kept open to backends.
    pub pool: Pool,
    /// When a request is tried again, unless its route says otherwise.
    pub retry: Arc<Retry>,
    /// Second attempts if the first is slow, if configured.
    pub hedging: Option<Arc<Hedging>>,
    /// What makes requests belong together.
    pub affinity: Affinity,
    /// How much it takes.
    pub gate: Arc<Gate>,
    /// Where failures are reported.
    pub reports: FailureReports,
    /// Requests that a backend was picked for, without those that repeated another. They outlive backends and settings.
    pub requests: Arc<Sharded<Counter>>,
}

/// Notifies the keeper of an upstream at once when a backend fails too often in a row.
#[derive(Debug)]
pub struct FailureAlert {
    /// From how many failures in a row on.
    pub threshold: u32,
    /// Whom to notify.
    pub notify: Arc<Notify>,
}

// === impl Upstream ===

impl Upstream {
    /// Requests that a backend was picked for so far, without those that repeated another.
    pub fn requests(&self) -> u64 {
        self.requests.sum(|counter| counter)
    }

    /// Publishes another state of its backends. Requests that wait for a backend look at it at once. Returns the state before.
    pub fn publish(&self, members: Members) -> Arc<Members> {
        let before = self.members.swap(Arc::new(members));
        self.gate.changed();
        before
    }

    /// Closes the idle connections to its backends: it is no longer configured.
    pub fn close_connections(&self) {
        self.members.load().roster.iter().for_each(|endpoint| endpoint.connections.close());
    }

    /// A lease of a backend, if that has room.
    pub(super) fn lease(&self, endpoint: &Endpoint) -> Option<Lease> {
        let backend = endpoint.backend.clone();
        match self.gate.limits.max_connections {
            Some(most) => Lease::within(backend, most.get()),
            None => Some(Lease::new(backend)),
        }
    }

    /// Gives a lease back, and tells those who wait for it, and those who watch for failures.
    pub(super) fn release(&self, endpoint: &Endpoint, lease: Lease, outcome: Outcome) {
        lease.end(outcome);
        self.gate.left();
        if outcome == Outcome::Failed
            && let Some(alert) = &self.reports.alert
            && endpoint.backend.counters().failures_in_a_row() >= alert.threshold
        {
            alert.notify.notify_one();
        }
    }
}
