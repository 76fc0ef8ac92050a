//! How the weight of a backend that came back grows.
//!
//! # The problem
//! A backend that comes back has cold caches, no connections, and the least load of all, so that it is sent the most.
//!
//! # The idea
//! Its weight grows linearly from nearly 0 to its full value. It grows in steps, because each step publishes another
//! set of backends. The weight of a step is the share at its middle.
//!
//! # Cost
//! At most 50 sets, and never more than ten a second, for as long as any backend starts slowly. Weights are small numbers,
//! so while one grows all are scaled by a thousand: algorithms whose tables grow with weights see larger ones.
//!
//! # When not to use it
//! With backends that are as fast cold as warm it only keeps capacity away.

use std::time::Duration;

use crate::Moment;

/// Steps in all of a slow start.
const STEPS: u32 = 50;

/// The shortest step.
const SHORTEST_STEP: Duration = Duration::from_millis(100);

/// For how long a weight stands before it grows on.
pub(super) fn step(slow_start: Duration) -> Duration {
    (slow_start / STEPS).max(SHORTEST_STEP)
}

/// The share of its weight, from 0 to 1, that a backend has which came back at `since`.
pub(super) fn share(since: Moment, slow_start: Duration, now: Moment) -> f64 {
    if slow_start.is_zero() {
        return 1.0;
    }
    (now.since(since).as_secs_f64() / slow_start.as_secs_f64()).min(1.0)
}

/// The share that stands from `now` to the end of the step.
pub(super) fn share_of_step(since: Moment, slow_start: Duration, now: Moment) -> f64 {
    share(since, slow_start, now.after(step(slow_start) / 2))
}
