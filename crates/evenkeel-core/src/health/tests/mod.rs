//! Each rule by itself, and random days of which nothing but the rules is known.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Description, Event, Health, OutlierOptions, Policy, Start, State, Thresholds, Traffic};
use crate::Moment;

mod choosing;
mod ejecting;
mod property;
mod replacing;
mod starting;

/// An upstream, its clock, and its backends' counters.
struct World {
    health: Health,
    now: Moment,
    traffic: Vec<Traffic>,
}

impl World {
    fn new(policy: Policy, backends: &[Description]) -> Self {
        let now = Moment::from_micros(7_000_000);
        let health = Health::new(policy, backends.iter().copied(), now);
        Self { health, now, traffic: vec![Traffic::default(); backends.len()] }
    }

    fn equal(policy: Policy, n: usize) -> Self {
        Self::new(policy, &vec![backend(1); n])
    }

    fn pass(&mut self, duration: Duration) -> &mut Self {
        self.now = self.now.after(duration);
        self
    }

    fn probe(&mut self, index: usize, results: &str) -> &mut Self {
        for result in results.chars() {
            self.health.probed(index, result == '+', self.now);
        }
        self
    }

    fn probe_down(&mut self, indices: &[usize]) {
        for &index in indices {
            self.probe(index, "-");
        }
    }

    /// Responses that are not recorded yet.
    fn answers(&mut self, index: usize, n: u32, latency: Duration) -> &mut Self {
        let traffic = &mut self.traffic[index];
        traffic.answers += u64::from(n);
        traffic.latency_sum += latency * n;
        traffic.failures_in_a_row = 0;
        self
    }

    /// Failures, not yet told of.
    fn fails(&mut self, index: usize, n: u32) -> &mut Self {
        self.traffic[index].failures += u64::from(n);
        self.traffic[index].failures_in_a_row += n;
        self
    }

    fn told(&mut self, index: usize) -> &mut Self {
        self.health.served(index, self.traffic[index], self.now);
        self
    }

    fn judge(&mut self) -> &mut Self {
        for index in 0..self.traffic.len() {
            self.told(index);
        }
        self.health.judge(self.now);
        self
    }

    fn members(&mut self) -> Vec<(usize, u32)> {
        self.health.choice(self.now).members
    }

    fn chosen(&mut self) -> Vec<usize> {
        self.members().into_iter().map(|(index, _)| index).collect()
    }

    fn state(&self, index: usize) -> State {
        self.health.state(index, self.now)
    }

    fn is_ejected(&self, index: usize) -> bool {
        matches!(self.state(index), State::Ejected { .. })
    }

    fn events(&mut self) -> Vec<Event> {
        self.health.drain_events()
    }
}

fn backend(weight: u32) -> Description {
    Description { weight, priority: 0, local: true }
}

fn thresholds(rise: u32, fall: u32, start: Start) -> Thresholds {
    Thresholds { rise: NonZeroU32::new(rise).unwrap(), fall: NonZeroU32::new(fall).unwrap(), start }
}

/// Probes of which each counts at once.
fn probed(start: Start) -> Policy {
    Policy { thresholds: Some(thresholds(1, 1, start)), ..Policy::default() }
}

fn judged() -> Policy {
    Policy { outliers: Some(OutlierOptions::default()), ..Policy::default() }
}

fn judged_by(change: impl FnOnce(&mut OutlierOptions)) -> Policy {
    let mut options = OutlierOptions::default();
    change(&mut options);
    Policy { outliers: Some(options), ..Policy::default() }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
