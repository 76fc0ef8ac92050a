//! Each rule by itself, and random days of which nothing but the rules is known.

use std::num::NonZeroU32;
use std::time::Duration;

use slotmap::{Key, KeyData};

use super::{Description, Event, Health, OutlierOptions, Policy, Start, State, Thresholds, Traffic};
use crate::Moment;
use crate::backend::BackendId;

mod choosing;
mod ejecting;
mod property;
mod replacing;
mod starting;

/// An upstream, its clock, and its backends' counters.
struct World {
    health: Health,
    policy: Policy,
    descriptions: Vec<Description>,
    now: Moment,
    traffic: Vec<Traffic>,
}

impl World {
    fn new(policy: Policy, backends: &[Description]) -> Self {
        let now = Moment::from_micros(7_000_000);
        let health = Health::new(policy.clone(), (0..).map(id).zip(backends.iter().copied()), now);
        let descriptions = backends.to_vec();
        Self { health, policy, descriptions, now, traffic: vec![Traffic::default(); backends.len()] }
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
            self.health.probed(id(index), result == '+', self.now);
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
        self.health.served(id(index), self.traffic[index], self.now);
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
        by_index(&self.health.choice(self.now).members)
    }

    fn chosen(&mut self) -> Vec<usize> {
        self.members().into_iter().map(|(index, _)| index).collect()
    }

    /// Another backend joins those that there are. Its index.
    fn join(&mut self, description: Description) -> usize {
        let joining = self.descriptions.len();
        self.descriptions.push(description);
        self.traffic.push(Traffic::default());
        let all = (0..).map(id).zip(self.descriptions.iter().copied());
        self.health.replace(self.policy.clone(), all, self.now);
        joining
    }

    fn state(&self, index: usize) -> State {
        self.health.state(id(index), self.now)
    }

    fn is_ejected(&self, index: usize) -> bool {
        matches!(self.state(index), State::Ejected { .. })
    }

    fn events(&mut self) -> Vec<Event> {
        self.health.drain_events()
    }
}

/// The ids that a fresh map of backends gives: 0, 1, 2, …
fn id(index: usize) -> BackendId {
    KeyData::from_ffi(1 << 32 | (index as u64 + 1)).into()
}

fn by_index(members: &[(BackendId, u32)]) -> Vec<(usize, u32)> {
    members.iter().map(|&(id, weight)| (index(id), weight)).collect()
}

fn index(id: BackendId) -> usize {
    (id.data().as_ffi() & 0xffff_ffff) as usize - 1
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
