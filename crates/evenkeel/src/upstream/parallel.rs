//! What runs in parallel with an attempt: a second one if the first is slow, and copies that test a backend.

use std::time::Duration;

use super::attempts::{At, Attempt, Attempts};
use super::copy::RequestCopy;
use super::failure::Failure;
use super::pick::Picked;

impl Attempts {
    /// When a second attempt can start in parallel with the first: for a request without a body that is safe to repeat.
    pub fn hedge_delay(&self) -> Option<Duration> {
        let hedging = self.upstream.hedging.as_ref()?;
        if self.options.idempotent && self.options.bodiless { hedging.delay() } else { None }
    }

    /// Starts a second attempt on another backend, in parallel with the current one, if one more is allowed.
    pub fn hedge(&mut self, at: At) -> Option<Attempt> {
        let hedging = self.upstream.hedging.as_ref()?;
        if self.parallel.second.is_some() || !hedging.budget.take(at.moment, self.upstream.requests()) {
            return None;
        }
        let first = self.current.as_ref()?.index;
        self.tried.insert(first);
        let Picked::One(hedge) = self.pick(at, false) else { return None };
        hedge.endpoint.metrics.hedged(at.worker);
        let endpoint = hedge.endpoint.clone();
        self.parallel.second = Some(hedge);
        Some(Attempt { endpoint, reuse: true })
    }

    /// Whether the algorithm wants to test a backend that it has not picked.
    pub fn wants_copy(&self) -> bool {
        self.parallel.copy_to.is_some()
    }

    /// A copy of the request for the backend that the algorithm wants to test, if one is allowed.
    pub fn copy(&mut self, at: At) -> Option<RequestCopy> {
        let index = self.parallel.copy_to.take()?;
        let hedging = self.upstream.hedging.as_ref()?;
        if !hedging.budget.take(at.moment, self.upstream.requests()) {
            return None;
        }
        let members = self.members.as_ref()?;
        let endpoint = members.endpoints.get(index)?.clone();
        let lease = self.upstream.lease(&endpoint)?;
        endpoint.metrics.copied(at.worker);
        Some(RequestCopy::new(self.upstream.clone(), members.clone(), endpoint, lease))
    }

    /// One of two attempts goes on, the second if `second`; the other one is given up.
    pub fn settle_hedge(&mut self, second: bool, at: At) {
        let Some(hedge) = self.parallel.second.take() else { return };
        if !second {
            self.give_up(hedge, at);
        } else if let Some(first) = self.current.replace(hedge) {
            self.give_up(first, at);
        }
    }

    /// One of two attempts failed, the second if `second`; the other one goes on.
    pub fn hedge_failed(&mut self, second: bool, failure: Failure, at: At) {
        let failed = if second { self.parallel.second.take() } else { self.current.take() };
        if let Some(failed) = failed {
            let failure = failure.after(Duration::from_micros(at.now.saturating_sub(failed.started)));
            self.charge(failed, failure, at);
        }
    }
}
