//! Counters and histograms that a core writes without touching another core's memory.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows. Written by one worker, read by any thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// How often values fell into each of [`Histogram::BOUNDS`], and their sum.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; Histogram::BOUNDS.len() + 1],
    sum_micros: Counter,
}

/// One `T` for each worker, far enough apart that two workers never share a cache line.
#[derive(Debug)]
pub struct Sharded<T> {
    shards: Box<[Padded<T>]>,
}

/// 128 bytes: adjacent-line prefetch makes pairs of 64-byte lines travel together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

// === impl Counter ===

impl Counter {
    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    ///
    /// A load and a store instead of one locked instruction: each counter has a single writer, its worker.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

// === impl Histogram ===

impl Histogram {
    /// Upper bounds of the buckets, in microseconds: half a millisecond to a minute.
    pub const BOUNDS: [u64; 16] = [
        500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
        5_000_000, 10_000_000, 30_000_000, 60_000_000,
    ];

    /// Counts one value.
    #[inline]
    pub fn record(&self, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        let bucket = Self::BOUNDS.iter().position(|&bound| micros <= bound).unwrap_or(Self::BOUNDS.len());
        if let Some(counter) = self.buckets.get(bucket) {
            counter.increment();
        }
        self.sum_micros.add(micros);
    }

    /// How many values fell into each bucket (the last one has no bound), and their sum in microseconds.
    pub fn read(&self) -> ([u64; Self::BOUNDS.len() + 1], u64) {
        (self.buckets.each_ref().map(Counter::get), self.sum_micros.get())
    }
}

// === impl Sharded ===

impl<T: Default> Sharded<T> {
    /// One `T` for each of `workers`.
    pub fn new(workers: usize) -> Self {
        Self { shards: (0..workers.max(1)).map(|_| Padded(T::default())).collect() }
    }
}

impl<T> Sharded<T> {
    /// The shard of `worker`. There is always one: a number out of range gets the first.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "there is at least one shard: see `new`")]
    pub fn of(&self, worker: usize) -> &T {
        match self.shards.get(worker) {
            Some(shard) => &shard.0,
            None => &self.shards[0].0,
        }
    }

    /// All shards.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().map(|shard| &shard.0)
    }

    /// The sum of one counter over all shards.
    pub fn sum(&self, counter: impl Fn(&T) -> &Counter) -> u64 {
        self.iter().map(|shard| counter(shard).get()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{Histogram, Sharded};
    use std::time::Duration;

    #[test]
    fn a_value_on_a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(500));
        histogram.record(Duration::from_micros(501));
        histogram.record(Duration::from_secs(3600));
        let (buckets, sum) = histogram.read();
        assert_eq!((buckets[0], buckets[1], buckets[Histogram::BOUNDS.len()]), (1, 1, 1));
        assert_eq!(sum, 500 + 501 + 3_600_000_000);
    }

    #[test]
    fn shards_add_up() {
        let sharded: Sharded<super::Counter> = Sharded::new(3);
        for worker in 0..3 {
            sharded.of(worker).add(worker as u64 + 1);
        }
        sharded.of(99).add(10);
        assert_eq!(sharded.sum(|counter| counter), 16);
        assert_eq!(sharded.of(0).get(), 11);
    }
}
