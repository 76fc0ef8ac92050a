//! A backend at work: who is being served, who waits, how many there were.

use std::collections::VecDeque;
use std::time::Duration;

use super::events::Time;
use super::nanos;
use super::world::BackendModel;

/// How long it takes to be refused by a backend that is down, or to be failed at once: about a round trip.
pub(super) const REFUSAL: Time = 200_000;

/// A backend at work; `R` waits for a slot.
pub(super) struct SimulatedBackend<'a, R> {
    pub(super) model: &'a BackendModel,
    rng: fastrand::Rng,
    pub(super) in_service: u32,
    pub(super) waiting: VecDeque<R>,
    pub(super) in_flight: Gauge,
}

/// A number over time.
#[derive(Default)]
pub(super) struct Gauge {
    pub(super) now: u32,
    pub(super) peak: u32,
    /// The sum of the number times how long it stood, in nanoseconds, up to the end of the world's duration.
    pub(super) area: u128,
    since: Time,
}

// === impl SimulatedBackend ===

impl<'a, R> SimulatedBackend<'a, R> {
    pub(super) fn new(model: &'a BackendModel, rng: fastrand::Rng) -> Self {
        Self { model, rng, in_service: 0, waiting: VecDeque::new(), in_flight: Gauge::default() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.model.capacity.is_some_and(|slots| self.in_service >= slots.get())
    }

    /// When service that starts `now` ends, and whether with a failure. A request that gets a slot of a backend that is
    /// down was waiting when it went down, and breaks off at once.
    pub(super) fn serve_from(&mut self, now: Time) -> (Time, bool) {
        let moment = Duration::from_nanos(now);
        if self.model.is_down(moment) {
            return (now, true);
        }
        let failing = self.model.failing(moment);
        let fails = failing > 0.0 && self.rng.f64() < failing;
        let service =
            if fails { REFUSAL } else { self.model.law.sample(self.model.slowness(moment), &mut self.rng) };
        let done = now.saturating_add(service);
        match self.model.next_down(moment).map(nanos) {
            Some(down) if down <= done => (down, true),
            _ => (done, fails),
        }
    }
}

// === impl Gauge ===

impl Gauge {
    pub(super) fn set(&mut self, value: u32, time: Time) {
        self.area += u128::from(self.now) * u128::from(time - self.since);
        self.since = time;
        self.now = value;
        self.peak = self.peak.max(value);
    }
}
