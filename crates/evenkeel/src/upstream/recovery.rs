//! What follows once every backend has failed a request: an attempt at one that has recovered meanwhile, or a wait for one to
//! recover.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::balance::Tried;

use super::Endpoint;
use super::attempts::{ActiveAttempt, At, Attempts};
use super::failure::Failure;
use super::pick::{Picked, Proof};

/// What became of earlier attempts.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The backend of the last attempt that has ended.
    pub(super) last: Option<Arc<Endpoint>>,
    pub(super) failure: Option<Failure>,
    /// How many attempts count as one of `retry.attempts`.
    pub(super) used: usize,
    /// Whether an idle connection turned out to be dead.
    pub(super) stale: bool,
    /// How long to wait before the next attempt.
    pub(super) pause: Option<Duration>,
    /// Whether there was no attempt yet, and it waits for a backend.
    pub(super) waits: bool,
    /// Whether a backend may have read the request.
    read: bool,
    /// Whether every backend was tried, and some are tried again.
    pub(super) again: bool,
    /// Until when the request waits for a backend to recover, by the connection's clock; since it first ran out of them.
    waits_until: Option<u64>,
}

/// How often a request that waits looks for a backend that has recovered.
const LOOK: Duration = Duration::from_millis(50);

// === impl Attempts ===

impl Attempts {
    /// A backend that this request has tried, and that has shown since that it serves others. Such an attempt is bounded even if
    /// it reaches no backend: it counts as one of `attempts`, and takes from the budget.
    #[cold]
    pub(super) fn pick_recovered(&mut self, at: At) -> Picked<ActiveAttempt> {
        let Some(failure) = self.history.failure else { return Picked::Nothing };
        // A later set than before: backends may have been added.
        let members = self.upstream.members.load_full();
        let was_plain = self.members.as_ref().is_none_or(|before| before.roster.is_plain());
        // The lane was picked by what the backends speak.
        if was_plain && !members.roster.is_plain() {
            return Picked::Nothing;
        }
        let proof = self.history.proof();
        if !members.all().any(|endpoint| proof.is_given_by(endpoint, at.moment)) {
            return Picked::Nothing;
        }
        // After a failure that counts, this attempt is paid for already.
        let paid = failure.uses_an_attempt() || self.history.again || self.history.is_test(failure);
        if !paid && !self.has_one_more(at) {
            return Picked::Nothing;
        }
        self.history.pause = None;
        self.history.again = true;
        (self.members, self.tried, self.sticky) = (Some(members), Tried::default(), None);
        self.pick(at, true)
    }

    /// How long to wait before the next look for a backend that has recovered. `None` if the request does not wait, or no longer.
    pub(super) fn wait(&mut self, at: At) -> Option<Duration> {
        let failure = self.history.failure?;
        let whole = self.retry().wait_for_backend?;
        if !failure.is_of_reach() && self.history.used >= self.retry().attempts.get() {
            return None;
        }
        let whole = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
        let until = *self.history.waits_until.get_or_insert(at.now.saturating_add(whole));
        let left = Duration::from_micros(until.saturating_sub(at.now));
        (!left.is_zero()).then(|| left.min(LOOK))
    }

    fn has_one_more(&mut self, at: At) -> bool {
        self.history.used < self.retry().attempts.get() && self.permit(at.moment).is_ok()
    }
}

// === impl History ===

impl History {
    pub(super) fn note(&mut self, failure: Failure) {
        self.failure = Some(failure);
        self.read |= !failure.never_reached();
        self.used += usize::from(failure.uses_an_attempt() || failure.is_of_reach() && self.counts(failure));
    }

    /// Whether an attempt that failed so is limited by `attempts` and the budget although no backend has worked on the request: in
    /// a later round, unless it was no more than the test of a backend in doubt.
    pub(super) fn counts(&self, failure: Failure) -> bool {
        self.again && !self.is_test(failure)
    }

    /// Whether the request has waited for a backend to recover.
    pub(super) fn has_waited(&self) -> bool {
        self.waits_until.is_some()
    }

    /// What a backend must have shown before it is tried again.
    pub(super) fn proof(&self) -> Proof {
        match self.has_waited() {
            true => Proof::Due,
            false if self.read => Proof::Served,
            false => Proof::Reached,
        }
    }

    /// Whether an attempt that failed so was no more than the test of a backend in doubt: there is one in each window, for all
    /// requests together, so it needs no other bound.
    fn is_test(&self, failure: Failure) -> bool {
        self.has_waited() && failure.never_reached()
    }
}
