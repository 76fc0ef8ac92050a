//! A copy of a request for a backend that looks slow: tests whether it is still slow, without a client that waits for
//! the response.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_core::backend::{Lease, Outcome};
use evenkeel_core::balance::Sample;

use super::clock::moment_of;
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
    pub(super) fn new(
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

    /// The response began this long after the backend was connected; `success` unless it means that the backend cannot serve
    /// requests.
    pub fn responded(self, success: bool, waited: Duration) {
        self.endpoint.backend.counters().reach().succeeded();
        self.ended(success, waited);
    }

    /// There was no response, this long after the backend was connected.
    pub fn failed(self, waited: Duration) {
        self.ended(false, waited);
    }

    fn ended(self, success: bool, waited: Duration) {
        let sample = Sample::new(waited, success, moment_of(Instant::now()));
        self.members.balancer.observe(&self.endpoint.backend, sample);
        let outcome = if success { Outcome::Answered } else { Outcome::Failed };
        self.upstream.release(&self.endpoint, self.lease, outcome);
    }
}
