//! Spares requests the tests of backends that probes show to be slow still.

use std::time::Duration;

use evenkeel_core::Moment;
use evenkeel_core::health::ProbeTimes;

use super::keeper::Watch;
use crate::probe::Outcome;
use crate::upstream::Endpoint;

/// What the probes of one upstream take.
#[derive(Debug)]
pub(super) struct Pace {
    times: ProbeTimes,
    /// How long a probe's word holds.
    holds: Duration,
}

// === impl Pace ===

impl Pace {
    pub(super) fn new(watch: &Watch) -> Self {
        Self { times: ProbeTimes::new(watch.probes.len()), holds: watch.patience() }
    }

    /// A probe of this backend has ended. A failure says nothing of what requests would take.
    pub(super) fn probed(&mut self, index: usize, outcome: &Outcome, endpoint: &Endpoint, now: Moment) {
        if outcome.result.is_err() {
            return;
        }
        let slow = self.times.took(index, outcome.took);
        let until = if slow { now.after(self.holds) } else { Moment::default() };
        endpoint.backend.counters().latency().spare_tests(until);
    }
}
