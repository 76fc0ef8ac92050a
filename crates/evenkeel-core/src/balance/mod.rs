//! Given a snapshot, a hash key and a random source, which backend? One trait, one file per algorithm.
//!
//! This room never knows of health (a backend that may not be chosen is not in the snapshot) or of configuration.

use std::fmt::Debug;
use std::sync::Arc;

use crate::backend::Snapshot;

mod algorithm;
mod cursor;
mod least_connections;
mod load;
mod power_of_two_choices;
mod random;
mod round_robin;
mod schedule;
mod weighted;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use algorithm::{LoadBalancingAlgorithm, UnknownAlgorithm};
pub use least_connections::LeastConnections;
pub use power_of_two_choices::PowerOfTwoChoices;
pub use random::Random;
pub use round_robin::RoundRobin;

/// Chooses a backend for each request.
///
/// # Contract
/// [`pick`](Balancer::pick) runs for every attempt on every core: it must not allocate, lock, block, or look at a
/// clock. What it needs to prepare (schedules, tables, rings) belongs into [`rebuild`](Balancer::rebuild), which runs
/// off the request path each time the set or its weights change.
pub trait Balancer: Debug + Send + Sync + 'static {
    /// The index in `candidates` of the backend to use, or `None` when none is left that was not tried.
    ///
    /// An index in [`Pick::tried`] must not be returned. `candidates` is the set last given to
    /// [`rebuild`](Balancer::rebuild), if that returned a balancer: whoever publishes a set publishes what `rebuild`
    /// made of it together with it, the first set included.
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize>;

    /// The balancer to use with a new set, carrying over whatever state should survive; `None` (the default) when this
    /// one serves every set.
    fn rebuild(&self, candidates: &Snapshot) -> Option<Arc<dyn Balancer>> {
        let _ = candidates;
        None
    }
}

/// What a choice may depend on besides the set itself.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pick<'a> {
    /// The hash of whatever makes requests belong together (client address, a header…). Zero when nothing does.
    pub key: u64,
    /// Backends that this request has tried already.
    pub tried: &'a Tried,
    /// Where randomness comes from: seeded in simulations.
    pub rng: &'a mut fastrand::Rng,
}

/// The indices that a request has tried, in a snapshot. Holds the first few without allocating, which is all that a
/// bounded number of attempts needs; more are forgotten, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    indices: [u32; Self::CAPACITY],
    count: usize,
}

// === impl Pick ===

impl<'a> Pick<'a> {
    /// A choice for a request with this hash key.
    pub fn new(key: u64, tried: &'a Tried, rng: &'a mut fastrand::Rng) -> Self {
        Self { key, tried, rng }
    }
}

// === impl Tried ===

impl Tried {
    const CAPACITY: usize = 8;

    /// Remembers that `index` was tried.
    pub fn insert(&mut self, index: usize) {
        if self.contains(index) {
            return;
        }
        let at = self.count % Self::CAPACITY;
        if let Some(slot) = self.indices.get_mut(at) {
            *slot = u32::try_from(index).unwrap_or(u32::MAX);
        }
        self.count += 1;
    }

    /// Whether `index` was tried.
    #[inline]
    pub fn contains(&self, index: usize) -> bool {
        self.indices.iter().take(self.count).any(|&tried| tried as usize == index)
    }

    /// Whether nothing was tried yet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
