//! Given a snapshot, a hash key and a random source, which backend? One trait, one file per algorithm.
//!
//! This room never knows of health (a backend that may not be chosen is not in the snapshot) or of configuration.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::Moment;
use crate::backend::{Backend, Latency, Smoothing, Snapshot};

mod algorithm;
mod consistent_hash;
mod cursor;
mod hash;
mod hash_key;
mod least_connections;
mod load;
mod maglev;
mod options;
mod peak_ewma;
mod power_of_two_choices;
mod prequal;
mod probe_pool;
mod quantile;
mod random;
mod rendezvous;
mod ring;
mod round_robin;
mod schedule;
mod weighted;

#[cfg(test)]
mod cost;
#[cfg(test)]
mod moved;
#[cfg(test)]
mod tail;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use algorithm::{LoadBalancingAlgorithm, UnknownAlgorithm};
pub use consistent_hash::ConsistentHash;
pub use hash_key::HashKey;
pub use least_connections::LeastConnections;
pub use maglev::Maglev;
pub use options::{ConsistentHashOptions, HashOptions, PeakEwmaOptions, PrequalOptions};
pub use peak_ewma::PeakEwma;
pub use power_of_two_choices::PowerOfTwoChoices;
pub use prequal::Prequal;
pub use random::Random;
pub use rendezvous::Rendezvous;
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
    /// [`rebuild`](Balancer::rebuild), if that returned a balancer: a set is always published together with the result
    /// of `rebuild`, including the first set.
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize>;

    /// The balancer to use with a new set, carrying over whatever state should survive; `None` (the default) when this
    /// one serves every set.
    fn rebuild(&self, candidates: &Snapshot) -> Option<Arc<dyn Balancer>> {
        let _ = candidates;
        None
    }

    /// What a choice goes by, for this backend; lower is better. `None` (the default) where there is no such number. For
    /// those who want to understand a choice, not for choosing: it may cost more than a choice does.
    fn score(&self, candidates: &Snapshot, index: usize, request: &Pick<'_>) -> Option<f64> {
        let _ = (candidates, index, request);
        None
    }

    /// Learns the result of an attempt: once for each attempt, when its response head has arrived, or when it has
    /// failed or was given up. The default learns nothing.
    ///
    /// The contract of [`pick`](Balancer::pick) holds here as well. What is learned of a backend belongs into the backend's
    /// own [`Counters`](crate::backend::Counters), so that it outlives this balancer.
    fn observe(&self, backend: &Backend, sample: Sample) {
        let _ = (backend, sample);
    }

    /// The algorithm, if it needs probes: with each request, the backends that [`Prequal::to_probe`] returns are probed
    /// without delaying the request, and their load is passed to [`Prequal::report`]. The default needs none.
    fn probing(&self) -> Option<&Prequal> {
        None
    }
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// From the start of the attempt to its response head, or to its end without one.
    pub latency: Duration,
    /// Whether the backend did not fail.
    pub success: bool,
    /// Whether the attempt was given up while the backend could still have responded, because the client disconnected
    /// or another attempt was faster: it would have taken longer than this.
    pub unfinished: bool,
    /// When this is.
    pub now: Moment,
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
    /// When this is; the beginning of time unless said otherwise by [`Pick::at`].
    pub now: Moment,
    /// Whether a copy of the request may be sent to another backend than the choice; see [`Pick::copied()`].
    pub copied: bool,
    /// Set by the algorithm: the backend that it wants to hear from, which is where that copy goes. `None` until then.
    pub hear: Option<usize>,
}

/// The indices that a request has tried, in a snapshot. The first few are held without allocating.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    indices: [u32; Self::CAPACITY],
    count: usize,
    /// A bit for each of those beyond the first few.
    more: Vec<u64>,
}

// === impl Pick ===

impl<'a> Pick<'a> {
    /// A choice for a request with this hash key.
    pub fn new(key: u64, tried: &'a Tried, rng: &'a mut fastrand::Rng) -> Self {
        Self { key, tried, rng, now: Moment::default(), copied: false, hear: None }
    }

    /// The same choice at this moment.
    #[must_use]
    pub fn at(self, now: Moment) -> Self {
        Self { now, ..self }
    }

    /// The same choice for a request of which a copy may be sent to another backend: to the one in [`Pick::hear`], which an
    /// algorithm then names instead of choosing it.
    #[must_use]
    pub fn copied(self, copied: bool) -> Self {
        Self { copied, ..self }
    }

    /// Asks to hear from a backend that would not be chosen. Whether the request itself must go there, as no copy of it may.
    fn must_hear(&mut self, index: usize) -> bool {
        if self.copied {
            self.hear = Some(index);
        }
        !self.copied
    }
}

// === impl Sample ===

impl Sample {
    /// An attempt that took this long until now: to a response that does not count as a failure, or to its failure.
    pub fn new(latency: Duration, success: bool, now: Moment) -> Self {
        Self { latency, success, unfinished: false, now }
    }

    /// An attempt that was given up after so long, now.
    pub fn unfinished(latency: Duration, now: Moment) -> Self {
        Self { latency, success: true, unfinished: true, now }
    }

    /// Adds it to what is known of a backend.
    fn teach(self, known: &Latency, smoothing: Smoothing) {
        if self.unfinished {
            known.record_unfinished(self.latency, self.now, smoothing);
        } else {
            known.record(self.latency, self.success, self.now, smoothing);
        }
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
        match self.indices.get_mut(self.count) {
            Some(slot) => *slot = u32::try_from(index).unwrap_or(u32::MAX),
            None => self.insert_beyond(index),
        }
        self.count += 1;
    }

    /// Whether `index` was tried.
    #[inline]
    pub fn contains(&self, index: usize) -> bool {
        let first = self.indices.iter().take(self.count);
        first.into_iter().any(|&tried| tried as usize == index)
            || !self.more.is_empty()
                && self.more.get(index / 64).is_some_and(|bits| bits >> (index % 64) & 1 == 1)
    }

    #[cold]
    fn insert_beyond(&mut self, index: usize) {
        if self.more.len() <= index / 64 {
            self.more.resize(index / 64 + 1, 0);
        }
        if let Some(bits) = self.more.get_mut(index / 64) {
            *bits |= 1 << (index % 64);
        }
    }

    /// How many were tried.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether remembering one more allocates.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.count >= Self::CAPACITY
    }

    /// Whether nothing was tried yet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
