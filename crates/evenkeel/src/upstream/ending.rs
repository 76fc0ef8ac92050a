//! How attempts end: what is recorded of the backend, and the lease that it gets back.
//!
//! It never knows whether another attempt follows.

use std::sync::Arc;

use evenkeel_core::backend::Outcome;
use evenkeel_core::balance::Sample;

use super::Endpoint;
use super::attempts::{ActiveAttempt, At, Attempts};
use super::failure::Failure;

impl Attempts {
    /// The current attempt was given up because its backend was too slow.
    pub fn too_slow(&mut self, at: At) {
        match &self.current {
            Some(current) if !current.responded => self.note_failure(Failure::Slow, at),
            Some(current) => {
                current.endpoint.metrics.timed_out(at.worker);
                self.upstream.attempt_failed(&current.endpoint, Failure::Idle.text());
                self.end(Outcome::Failed);
            }
            None => {}
        }
    }

    /// The response of the current attempt broke off, for this cause.
    pub fn cut(&self, failure: Failure) {
        if let Some(current) = &self.current {
            self.upstream.attempt_failed(&current.endpoint, failure.text());
        }
    }

    /// Ends the current attempt, if there is one, for good.
    pub fn end(&mut self, outcome: Outcome) {
        if let Some(current) = self.current.take() {
            let outcome =
                if current.failed && outcome == Outcome::Answered { Outcome::Failed } else { outcome };
            self.history.last = Some(self.release(current, outcome));
        }
    }

    /// The client has disconnected. If it has waited for long, the backend was slow.
    pub fn client_left(&mut self, at: At) {
        match self.current.take() {
            Some(current) if !current.responded && at.is_sent() => {
                self.history.last = Some(self.give_up(current, at));
            }
            current => self.current = current,
        }
        self.end(Outcome::Abandoned);
    }

    /// Ends an attempt without a response: it took longer than this, and the full time stays unknown.
    pub(super) fn give_up(&self, current: ActiveAttempt, at: At) -> Arc<Endpoint> {
        if let Some(members) = &self.members {
            let sample = Sample::unfinished(at.waited(current.started), at.moment);
            members.balancer.observe(&current.endpoint.backend, sample);
        }
        self.release(current, Outcome::Abandoned)
    }

    pub(super) fn note_failure(&mut self, failure: Failure, at: At) {
        self.history.note(failure);
        if let Some(current) = self.current.take() {
            self.history.last = Some(self.charge(current, failure, at));
        }
    }

    /// Ends an attempt that failed, and holds it against its backend unless the backend has no part in it.
    pub(super) fn charge(&mut self, current: ActiveAttempt, failure: Failure, at: At) -> Arc<Endpoint> {
        let metrics = &current.endpoint.metrics;
        match failure {
            Failure::Connect(_) | Failure::Tls(_) | Failure::Unsent => metrics.connect_failed(at.worker),
            Failure::ConnectTimeout | Failure::TlsTimeout => {
                metrics.connect_failed(at.worker);
                metrics.timed_out(at.worker);
            }
            Failure::Slow => metrics.timed_out(at.worker),
            Failure::Closed(_) | Failure::Broken(_) | Failure::Malformed(_) => metrics.broke(at.worker),
            Failure::Stale | Failure::Shortage | Failure::Response(_) | Failure::Cut(_) | Failure::Idle => {}
        }
        match failure {
            // A connection that the backend closed while it was idle says nothing against the backend.
            Failure::Stale => {
                self.history.stale = true;
                return self.release(current, Outcome::Abandoned);
            }
            Failure::Shortage => return self.release(current, Outcome::Abandoned),
            // The caller, who knows what the response said, counts it.
            Failure::Response(_) => {}
            _ => self.upstream.attempt_failed(&current.endpoint, failure.text()),
        }
        self.tried.insert(current.index);
        let waited = at.waited(current.started);
        if let Some(members) = &self.members {
            members.balancer.observe(&current.endpoint.backend, Sample::new(waited, false, at.moment));
        }
        let counters = current.endpoint.backend.counters();
        if failure.puts_in_doubt(counters.failures_in_a_row()) {
            counters.reach().failed(at.moment, waited);
        }
        self.release(current, Outcome::Failed)
    }

    /// Gives a lease back. Returns the backend.
    pub(super) fn release(&self, current: ActiveAttempt, outcome: Outcome) -> Arc<Endpoint> {
        let ActiveAttempt { endpoint, lease, .. } = current;
        self.upstream.release(&endpoint, lease, outcome);
        endpoint
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        for current in [self.current.take(), self.parallel.second.take()].into_iter().flatten() {
            self.release(current, Outcome::Abandoned);
        }
    }
}
