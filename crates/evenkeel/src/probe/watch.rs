//! The schedule of one backend's probes.
//!
//! # The problem
//! Probes that all start with the process, and then all come back after the same interval, hit every backend at the same
//! moment. Adding a random amount to each pause spreads them, but then their number drifts from what was configured; and a
//! loop over all backends lets a dead one hold up the others.
//!
//! # The idea
//! Time is cut into slots of one interval from the start, and each slot has one probe, at a random moment within its first
//! tenth. So two probes are an interval apart, give or take a tenth; the first comes as soon as it may; and after n
//! intervals there were n probes, however long it runs. A probe that outlasts its slot delays the next of this backend,
//! never one of another: each backend has a schedule of its own.
//!
//! # Cost
//! One timer a backend.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::connect::FAR;
use super::{Probe, ProbeFailure};

/// What one probe found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// When it began.
    pub at: std::time::Instant,
    /// How long it took.
    pub took: Duration,
    /// Healthy, or why not.
    pub result: Result<(), ProbeFailure>,
    /// Whether it made a request where the backend takes requests: success then shows that requests reach it.
    pub requested: bool,
}

/// The share of an interval within which its probe begins.
const JITTER: f64 = 0.1;
/// Shortest interval: a slot must be longer than a tick of the runtime's timer.
const SHORTEST: Duration = Duration::from_millis(1);

/// Runs a probe in every interval forever, and reports each result. Ends when it is dropped.
///
/// `tell` is called on the task that runs this, and holds up this backend's next probe as long as it takes.
pub async fn watch(probe: Probe, interval: Duration, mut tell: impl FnMut(Outcome)) {
    let mut slots = Slots::new(Instant::now(), interval);
    loop {
        sleep_until(slots.next(Instant::now())).await;
        let at = Instant::now();
        let result = probe.run().await;
        if matches!(result, Err(ProbeFailure::Shortage(_))) {
            continue;
        }
        tell(Outcome { at: at.into_std(), took: at.elapsed(), result, requested: probe.makes_a_request() });
    }
}

/// The moments of probes.
#[derive(Debug)]
struct Slots {
    interval: Duration,
    /// Where the next slot begins.
    begin: Instant,
}

// === impl Slots ===

impl Slots {
    fn new(start: Instant, interval: Duration) -> Self {
        Self { interval: interval.clamp(SHORTEST, FAR), begin: start }
    }

    /// When the next probe is due; those of slots that are wholly over are left out.
    fn next(&mut self, now: Instant) -> Instant {
        let late = now.saturating_duration_since(self.begin);
        if late >= self.interval {
            let into = late.as_nanos() % self.interval.as_nanos();
            self.begin = now - Duration::from_nanos(u64::try_from(into).unwrap_or(0));
        }
        let due = self.begin + self.interval.mul_f64(JITTER * fastrand::f64());
        self.begin += self.interval;
        due
    }
}
