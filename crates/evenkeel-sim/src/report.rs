//! The result.

use std::time::Duration;

use super::fault::Fault;
use super::histogram::Histogram;

/// What one algorithm made of one world.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Requests that came.
    pub requests: u64,
    /// Requests without a response, after all attempts.
    pub errors: u64,
    /// Those of the errors that the limit in front of the backends rejected.
    pub rejected: u64,
    /// Of the requests with a high priority: how many came, and how many of them were rejected.
    pub important: (u64, u64),
    /// The durations of the requests with a response.
    pub latency: LatencySummary,
    /// How long an attempt waited on average until its backend had a free slot.
    pub mean_wait: Duration,
    /// How uneven it got: the most attempts in flight that any backend had at any time, over what a backend had on
    /// average over all backends and the whole duration, both per weight. One is perfectly even and steady; zero when
    /// nothing was in flight.
    pub imbalance: f64,
    /// Each backend's part, in the order of the world.
    pub backends: Vec<BackendReport>,
    /// What happened when: the duration in equal windows, of which the last may be cut short.
    pub windows: Vec<Window>,
    /// How the faults were overcome that began within the duration, in the order of the backends.
    pub faults: Vec<FaultReport>,
}

/// Times from a request's arrival to its response, over all attempts. All zero if there was no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LatencySummary {
    /// The arithmetic mean.
    pub mean: Duration,
    /// Half of the requests took no longer. Like all quantiles at most 0.4 % too high, never too low.
    pub p50: Duration,
    /// 99 % took no longer.
    pub p99: Duration,
    /// 99.9 % took no longer.
    pub p999: Duration,
    /// None took longer.
    pub max: Duration,
}

/// What one backend had of it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BackendReport {
    /// Attempts that were sent to it.
    pub attempts: u64,
    /// Attempts that it refused or broke off.
    pub failures: u64,
    /// Its part of all attempts, from 0 to 1.
    pub share: f64,
    /// The most attempts that it had in flight at any time, waiting ones included.
    pub peak_in_flight: u32,
    /// The attempts that it had in flight on average over the world's duration, waiting ones included.
    pub mean_in_flight: f64,
}

/// What happened in a part of the world's duration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Window {
    /// When it begins.
    pub from: Duration,
    /// Requests that came in it.
    pub requests: u64,
    /// How many of them had no response.
    pub errors: u64,
    /// 99 % of the requests with a response took no longer; `None` if there were none.
    pub p99: Option<Duration>,
    /// Attempts that were sent in it to each backend, in the order of the world.
    pub attempts: Box<[u32]>,
}

/// How a fault was overcome.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct FaultReport {
    /// The backend's index.
    pub backend: usize,
    /// What was wrong with it.
    pub fault: Fault,
    /// After it started: until 99 % of the requests had a response within 1.25 times (or a millisecond more than) the
    /// p99 of the undisturbed windows before it. `None` if there were none to compare with.
    pub recovered: Option<Recovery>,
    /// After it ended: until its backend had at least 80 % of the share that it had in the undisturbed windows before (by
    /// weight when there were none). `None` when it did not end within the duration.
    pub returned: Option<Recovery>,
}

/// How long something took to be as before. The longer, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recovery {
    /// So long: up to the first of two windows in a row in which it was, so up to a window's width too long.
    After(Duration),
    /// Longer than there was time.
    Never,
}

// === impl LatencySummary ===

impl LatencySummary {
    pub(super) fn of(times: &Histogram) -> Self {
        let rank = |per_mille| Duration::from_nanos(times.per_mille(per_mille));
        Self {
            mean: Duration::from_nanos(times.mean()),
            p50: rank(500),
            p99: rank(990),
            p999: rank(999),
            max: Duration::from_nanos(times.max()),
        }
    }
}
