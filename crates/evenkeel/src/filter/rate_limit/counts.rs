//! What a limit counts, for each worker apart.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a limit counts.
#[derive(Debug)]
pub(super) struct Counts(Box<[Shard]>);

/// On cache lines of its own: 128 bytes, as processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard([AtomicU64; RateLimitResult::ALL.len()]);

/// What became of a request at a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitResult {
    /// It was within the limit.
    Allowed,
    /// It waited until the rate allowed it.
    Delayed,
    /// It was rejected.
    Rejected,
    /// It was over the limit and passed, because the limit only logs.
    Logged,
    /// Its client is exempt.
    Exempt,
    /// It passed because there was no room for its key: see `max_keys`.
    NoRoom,
}

// === impl Counts ===

impl Counts {
    pub(super) fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Shard::default()).collect())
    }

    /// Counts one. A load and a store instead of one locked instruction: only this worker writes its counters.
    #[inline]
    pub(super) fn count(&self, worker: usize, result: RateLimitResult) {
        if let Some(counter) = self.0.get(worker).and_then(|shard| shard.0.get(result as usize)) {
            counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    pub(super) fn get(&self, result: RateLimitResult) -> u64 {
        self.0.iter().filter_map(|shard| shard.0.get(result as usize)).map(|count| count.load(Relaxed)).sum()
    }
}

// === impl RateLimitResult ===

impl RateLimitResult {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Allowed, Self::Delayed, Self::Rejected, Self::Logged, Self::Exempt, Self::NoRoom];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Delayed => "delayed",
            Self::Rejected => "rejected",
            Self::Logged => "logged",
            Self::Exempt => "exempt",
            Self::NoRoom => "no_room",
        }
    }
}
