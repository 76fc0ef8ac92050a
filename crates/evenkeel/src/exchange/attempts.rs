//! The attempts of one request: which backend next, and whether there is a next.

use std::sync::Arc;

use evenkeel_core::backend::{Lease, Outcome};
use evenkeel_core::balance::{Pick, Tried};

use super::table::{Endpoint, Members, Upstream};
use crate::filter::{Refusal, Waited};

/// A backend to try.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Where to connect.
    pub endpoint: Arc<Endpoint>,
    /// Whether a kept connection may be used; not after one of them turned out to be dead.
    pub reuse: bool,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No connection: refused, unreachable, reset.
    Connect,
    /// No connection in time.
    ConnectTimeout,
    /// No TLS session in time.
    TlsTimeout,
    /// A kept connection was dead, and the request may be sent again.
    Stale,
    /// The connection broke before the head of an answer, and the request may have had its effect.
    Broken,
    /// The answer's head made no sense.
    Malformed,
}

/// The attempts of one request.
#[derive(Debug)]
pub(super) struct Attempts {
    pub(super) upstream: Arc<Upstream>,
    members: Arc<Members>,
    tried: Tried,
    pub(super) count: usize,
    pub(super) current: Option<Current>,
    /// The backend that was tried last, also after its attempt has ended.
    pub(super) last: Option<Arc<Endpoint>>,
    last_failure: Option<Failure>,
    rng: fastrand::Rng,
}

/// The attempt that is on.
#[derive(Debug)]
pub(super) struct Current {
    index: usize,
    pub(super) endpoint: Arc<Endpoint>,
    /// By the connection's clock.
    pub(super) started: u64,
    lease: Lease,
}

// === impl Failure ===

impl Failure {
    fn refusal(self) -> Refusal {
        match self {
            Self::Connect => Refusal::Unreachable,
            Self::ConnectTimeout => Refusal::BackendTimeout(Waited::Connect),
            Self::TlsTimeout => Refusal::BackendTimeout(Waited::Tls),
            Self::Stale | Self::Broken | Self::Malformed => Refusal::BadAnswer,
        }
    }

    /// Whether the request may go to a backend again: it never reached one, or repeating it does no harm.
    fn is_repeatable(self) -> bool {
        matches!(self, Self::Connect | Self::ConnectTimeout | Self::TlsTimeout | Self::Stale)
    }
}

// === impl Attempts ===

impl Attempts {
    pub(super) fn new(upstream: Arc<Upstream>, rng: fastrand::Rng) -> Self {
        // One set for all attempts, so that the indices in `tried` keep their meaning.
        let members = upstream.members.load_full();
        let tried = Tried::default();
        Self { upstream, members, tried, count: 0, current: None, last: None, last_failure: None, rng }
    }

    /// Chooses a backend that was not tried yet.
    pub(super) fn next(&mut self, worker: usize, now: u64) -> Result<Attempt, Refusal> {
        self.current = None;
        let stale = self.last_failure == Some(Failure::Stale);
        let mut pick = Pick::new(0, &self.tried, &mut self.rng);
        let chosen = self.members.balancer.pick(&self.members.snapshot, &mut pick);
        let endpoint = chosen.and_then(|index| Some((index, self.members.endpoints.get(index)?)));
        let Some((index, endpoint)) = endpoint else {
            return Err(self.last_failure.map_or(Refusal::NoBackend, Failure::refusal));
        };
        if self.count > 0 {
            endpoint.metrics.retried(worker);
        }
        self.count += 1;
        let endpoint = endpoint.clone();
        self.last = Some(endpoint.clone());
        let lease = Lease::new(endpoint.backend.clone());
        self.current = Some(Current { index, endpoint: endpoint.clone(), started: now, lease });
        Ok(Attempt { endpoint, reuse: !stale })
    }

    /// Ends the attempt that is on. `Ok` when another one may follow.
    pub(super) fn failed(&mut self, failure: Failure, worker: usize) -> Result<(), Refusal> {
        if let Some(current) = self.current.take() {
            match failure {
                Failure::Connect => current.endpoint.metrics.connect_failed(worker),
                Failure::ConnectTimeout | Failure::TlsTimeout => {
                    current.endpoint.metrics.connect_failed(worker);
                    current.endpoint.metrics.timed_out(worker);
                }
                Failure::Stale => {}
                Failure::Broken | Failure::Malformed => current.endpoint.metrics.broke(worker),
            }
            if failure == Failure::Stale {
                // A connection that the backend closed while it was idle says nothing against the backend.
                current.lease.end(Outcome::Abandoned);
            } else {
                self.tried.insert(current.index);
                current.lease.end(Outcome::Failed);
            }
        }
        self.last_failure = Some(failure);
        if failure.is_repeatable() && self.count < self.upstream.max_attempts.get() {
            Ok(())
        } else {
            Err(failure.refusal())
        }
    }

    /// Ends the attempt that is on, if there is one, for good.
    pub(super) fn end(&mut self, outcome: Outcome) {
        if let Some(current) = self.current.take() {
            current.lease.end(outcome);
        }
    }
}
