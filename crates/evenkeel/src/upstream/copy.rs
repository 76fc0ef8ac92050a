//! A copy of a request for a backend that looks slow: tests whether it is still slow, without a client that waits for
//! the response.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_core::backend::{Lease, Outcome};
use evenkeel_core::balance::Sample;

use super::clock::moment_of;
use super::failure::is_failure;
use super::{Endpoint, Members, Upstream};

/// A copy of a request, on its way to a backend that the algorithm wants to hear from.
#[derive(Debug)]
pub struct RequestCopy {
    /// Where to connect.
    pub endpoint: Arc<Endpoint>,
    upstream: Arc<Upstream>,
    members: Arc<Members>,
    lease: Lease,
}

// === impl RequestCopy ===

impl RequestCopy {
    pub(crate) fn new(
        upstream: Arc<Upstream>,
        members: Arc<Members>,
        endpoint: Arc<Endpoint>,
        lease: Lease,
    ) -> Self {
        Self { endpoint, upstream, members, lease }
    }

    /// The time limits for the connect and then for the response head.
    pub fn patience(&self) -> (Duration, Duration) {
        (self.upstream.timeouts.connect, self.upstream.timeouts.first_byte)
    }

    /// It was not sent, for a reason that says nothing about the backend.
    pub fn not_sent(self) {
        self.upstream.release(&self.endpoint, self.lease, Outcome::Abandoned);
    }

    /// The response arrived with this status, or there was none, this long after the backend was connected.
    pub fn ended(self, status: Option<u16>, waited: Duration) {
        let success = status.is_some_and(|status| !is_failure(status));
        if status.is_some() {
            self.endpoint.backend.counters().reach().succeeded();
        }
        let sample = Sample::new(waited, success, moment_of(Instant::now()));
        self.members.balancer.observe(&self.endpoint.backend, sample);
        let outcome = if success { Outcome::Answered } else { Outcome::Failed };
        self.upstream.release(&self.endpoint, self.lease, outcome);
    }
}
