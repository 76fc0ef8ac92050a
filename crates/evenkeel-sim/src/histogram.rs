//! Quantiles of many times in bounded memory.
//!
//! Buckets are 1/256 of a power of two wide, so a quantile is at most 0.4 % too high and never too low; 114 KiB, O(1)
//! to record. The idea is that of G. Tene's HdrHistogram.

/// The buckets of each power of two, as a power of two.
const PRECISION: u32 = 8;
const BUCKETS: usize = (65 - PRECISION as usize) << PRECISION;

/// Counts of times in nanoseconds.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    sum: u128,
    max: u64,
}

// === impl Histogram ===

impl Histogram {
    pub(super) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS].into(), count: 0, sum: 0, max: 0 }
    }

    pub(super) fn record(&mut self, nanos: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(nanos)) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum += u128::from(nanos);
        self.max = self.max.max(nanos);
    }

    /// Exact.
    pub(super) fn max(&self) -> u64 {
        self.max
    }

    /// Exact to a nanosecond; zero when nothing was recorded.
    pub(super) fn mean(&self) -> u64 {
        self.sum.checked_div(u128::from(self.count)).map_or(0, |mean| mean as u64)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Takes in all that another has.
    pub(super) fn add(&mut self, other: &Self) {
        for (bucket, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += count;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// The time that so many of a thousand are not above; zero when nothing was recorded.
    pub(super) fn per_mille(&self, rank: u64) -> u64 {
        self.per_mille_with(rank, 0)
    }

    /// The same where `endless` more have been recorded that were longer than any time.
    pub(super) fn per_mille_with(&self, rank: u64, endless: u64) -> u64 {
        let rank = (u128::from(self.count + endless) * u128::from(rank)).div_ceil(1_000) as u64;
        if rank > self.count {
            return u64::MAX;
        }
        let mut below = 0;
        let reaches = |&(_, count): &(usize, &u64)| {
            below += count;
            below >= rank
        };
        self.buckets.iter().enumerate().find(reaches).map_or(0, |(bucket, _)| last_of(bucket).min(self.max))
    }
}

/// Small times have a bucket each; of larger ones the leading bits count.
fn bucket_of(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(PRECISION + 1);
    ((shift as usize) << PRECISION) + (nanos >> shift) as usize
}

/// The longest time in a bucket.
fn last_of(bucket: usize) -> u64 {
    let shift = (bucket >> PRECISION).saturating_sub(1);
    let leading = (bucket - (shift << PRECISION)) as u64;
    (leading << shift) + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_where_the_next_one_begins() {
        for bucket in 0..BUCKETS {
            let last = last_of(bucket);
            assert_eq!(bucket_of(last), bucket);
            match last.checked_add(1) {
                Some(next) => assert_eq!(bucket_of(next), bucket + 1),
                None => assert_eq!(bucket, BUCKETS - 1),
            }
        }
    }

    #[test]
    fn quantiles_are_right_to_half_a_percent() {
        let mut histogram = Histogram::new();
        (1..=100_000).for_each(|n| histogram.record(n * 1_000));
        assert_eq!(histogram.mean(), 50_000_500);
        for (rank, exact) in [(500, 50_000_000), (990, 99_000_000), (999, 99_900_000), (1_000, 100_000_000)] {
            let measured = histogram.per_mille(rank);
            assert!((exact..=exact + exact / 256).contains(&measured), "{rank}: {measured}");
        }
        assert_eq!(histogram.per_mille(1_000), histogram.max());
    }

    #[test]
    fn two_histograms_are_one() {
        let (mut both, mut odd, mut even) = (Histogram::new(), Histogram::new(), Histogram::new());
        for n in 1..=1_000 {
            both.record(n);
            if n % 2 == 0 { &mut even } else { &mut odd }.record(n);
        }
        odd.add(&even);
        assert_eq!(odd.count(), 1_000);
        for rank in [1, 500, 990, 1_000] {
            assert_eq!(odd.per_mille(rank), both.per_mille(rank));
        }
        assert_eq!((odd.mean(), odd.max()), (both.mean(), both.max()));
    }

    #[test]
    fn what_never_ends_is_above_all() {
        let mut histogram = Histogram::new();
        (0..99).for_each(|_| histogram.record(7));
        assert_eq!((histogram.per_mille_with(990, 1), histogram.per_mille_with(990, 2)), (7, u64::MAX));
    }

    #[test]
    fn an_empty_histogram_says_zero() {
        let histogram = Histogram::new();
        assert_eq!((histogram.mean(), histogram.per_mille(999), histogram.max()), (0, 0, 0));
    }
}
