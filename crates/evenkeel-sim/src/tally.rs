//! What is counted while the world happens: over the whole of it, and window by window.

use std::time::Duration;

use super::events::Time;
use super::histogram::Histogram;
use super::nanos;
use super::report::{LatencySummary, Window};
use super::world::World;

/// All that is counted.
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) rejected: u64,
    pub(super) important: (u64, u64),
    latency: Histogram,
    waits: u64,
    waited: u128,
    pub(super) windows: Windows,
}

/// The world's duration in equal parts; the last may be cut short.
pub(super) struct Windows {
    width: Time,
    parts: Vec<Part>,
}

/// What happened in one window.
pub(super) struct Part {
    /// How the requests went that came in it.
    pub(super) latency: Histogram,
    pub(super) errors: u64,
    /// The attempts that were sent in it, to each backend.
    pub(super) attempts: Box<[u32]>,
}

/// The number of windows by default.
const WINDOWS: u64 = 60;

/// There are no more, so that a mistake costs no more memory than this.
const MOST_WINDOWS: u64 = 1_000;

// === impl Tally ===

impl Tally {
    pub(super) fn new(world: &World) -> Self {
        let windows = Windows::new(world);
        let (latency, important) = (Histogram::new(), (0, 0));
        Self { requests: 0, errors: 0, rejected: 0, important, latency, waits: 0, waited: 0, windows }
    }

    /// Counts whether the limit in front of the backends admitted a request.
    pub(super) fn admit(&mut self, important: bool, admitted: bool) {
        self.rejected += u64::from(!admitted);
        self.important.0 += u64::from(important);
        self.important.1 += u64::from(important && !admitted);
    }

    /// Counts an attempt that is sent to this backend.
    pub(super) fn send(&mut self, backend: usize, now: Time) {
        let attempts = self.windows.at(now).and_then(|part| part.attempts.get_mut(backend));
        if let Some(attempts) = attempts {
            *attempts += 1;
        }
    }

    /// Counts an attempt's wait for a slot.
    pub(super) fn wait(&mut self, waited: Time) {
        self.waits += 1;
        self.waited += u128::from(waited);
    }

    /// Counts a request that has come to its end.
    pub(super) fn finish(&mut self, arrived: Time, now: Time, answered: bool) {
        if answered {
            self.latency.record(now - arrived);
        } else {
            self.errors += 1;
        }
        match self.windows.at(arrived) {
            Some(part) if answered => part.latency.record(now - arrived),
            Some(part) => part.errors += 1,
            None => {}
        }
    }

    pub(super) fn latency(&self) -> LatencySummary {
        LatencySummary::of(&self.latency)
    }

    pub(super) fn mean_wait(&self) -> Duration {
        Duration::from_nanos(self.waited.checked_div(u128::from(self.waits)).unwrap_or_default() as u64)
    }
}

// === impl Windows ===

impl Windows {
    fn new(world: &World) -> Self {
        let until = nanos(world.duration);
        let width = world.window.map_or(until.div_ceil(WINDOWS), nanos);
        let width = width.max(until.div_ceil(MOST_WINDOWS)).max(1);
        let part =
            || Part { latency: Histogram::new(), errors: 0, attempts: vec![0; world.backends.len()].into() };
        Self { width, parts: (0..until.div_ceil(width)).map(|_| part()).collect() }
    }

    fn at(&mut self, time: Time) -> Option<&mut Part> {
        self.parts.get_mut(usize::try_from(time / self.width).ok()?)
    }

    pub(super) fn width(&self) -> Time {
        self.width
    }

    /// Each with when it begins.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Time, &Part)> {
        (0..).map(|index: u64| index * self.width).zip(&self.parts)
    }

    pub(super) fn report(&self) -> Vec<Window> {
        let window = |(from, part): (Time, &Part)| Window {
            from: Duration::from_nanos(from),
            requests: part.requests(),
            errors: part.errors,
            p99: (part.latency.count() > 0).then(|| Duration::from_nanos(part.latency.per_mille(990))),
            attempts: part.attempts.clone(),
        };
        self.iter().map(window).collect()
    }
}

// === impl Part ===

impl Part {
    pub(super) fn requests(&self) -> u64 {
        self.latency.count() + self.errors
    }

    /// The backend's part of the attempts; `None` when there were none.
    pub(super) fn share(&self, backend: usize) -> Option<f64> {
        let all: u64 = self.attempts.iter().copied().map(u64::from).sum();
        let own = self.attempts.get(backend).copied().unwrap_or_default();
        (all > 0).then(|| f64::from(own) / all as f64)
    }
}
