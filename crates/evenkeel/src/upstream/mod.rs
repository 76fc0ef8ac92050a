//! An upstream alive: its backends, choosing among them, gates, attempts, hedges, leases, failures.
//!
//! This room never knows HTTP or which transport carries a request: what fails goes out as a value, never as a status.

mod affinity;
mod attempts;
mod choosing;
mod clock;
mod complaints;
mod copy;
mod endpoint;
mod explain;
mod failure;
mod gate;
mod hedge;
mod members;

use std::fmt::Debug;
use std::sync::Arc;

use arc_swap::ArcSwap;
use evenkeel_config::{Pool, Retry, Timeouts};
use evenkeel_core::backend::{Lease, Outcome};

pub use affinity::{Affinity, cookie_value, hash, hash_of_client};
pub use attempts::Attempt;
pub(crate) use attempts::{At, Attempts, Choice, Plan};
pub use clock::moment_of;
pub use complaints::{Alarms, Complaints};
pub use copy::RequestCopy;
pub use endpoint::{Endpoint, EndpointTls};
pub(crate) use explain::Explained;
pub use explain::{WouldChoose, would_choose};
pub(crate) use failure::is_failure;
pub use failure::{Break, ConnectError, Failure, TlsError};
pub use gate::Gate;
pub use hedge::Hedging;
pub use members::{Members, Roster};

/// A running upstream.
#[derive(Debug)]
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// What the configuration calls the algorithm.
    pub algorithm: &'static str,
    /// The backends that may be chosen now, and what chooses; swapped whole.
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
    /// Who wants to know of failures.
    pub alarms: Alarms,
    /// Whether every backend speaks plain HTTP, so that the lean lane can carry its requests.
    pub plain: bool,
    /// Every configured backend, including those of weight zero.
    pub all: Roster,
}

/// Who wants to know at once that a backend fails.
#[derive(Debug)]
pub struct Alarm {
    /// From how many failures in a row on.
    pub failures: u32,
    /// The receiver; must not block.
    pub bell: Arc<dyn Bell>,
}

/// What an [`Alarm`] rings.
pub trait Bell: Debug + Send + Sync {
    /// A backend has failed too often in a row.
    fn ring(&self);
}

// === impl Upstream ===

impl Upstream {
    /// Requests that came to a backend of this upstream so far: its attempts, without those that repeated another.
    pub fn requests(&self) -> u64 {
        self.all.requests_of_removed + self.all.iter().map(|endpoint| endpoint.requests()).sum::<u64>()
    }

    /// A lease of a backend, if that has room.
    pub(crate) fn lease(&self, endpoint: &Endpoint) -> Option<Lease> {
        let backend = endpoint.backend.clone();
        match self.gate.limits.max_connections {
            Some(most) => Lease::within(backend, most.get()),
            None => Some(Lease::new(backend)),
        }
    }

    /// Gives a lease back, and tells those who wait for it, and those who watch for failures.
    pub(crate) fn release(&self, endpoint: &Endpoint, lease: Lease, outcome: Outcome) {
        lease.end(outcome);
        self.gate.left();
        if outcome == Outcome::Failed
            && let Some(alarm) = &self.alarms.alarm
            && endpoint.backend.counters().failures_in_a_row() >= alarm.failures
        {
            alarm.bell.ring();
        }
    }
}
