//! Second attempts if the first is slow: what counts as slow, and how many there can be.
//!
//! Source: J. Dean, L. A. Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use evenkeel_config::{Hedge, HedgeAfter};
use evenkeel_core::limit::RetryBudget;
use parking_lot::Mutex;

/// Buckets for each doubling: a quantile is right to 9 %.
const STEPS: u32 = 8;
/// From a microsecond to more than an hour.
const BUCKETS: usize = 32 * STEPS as usize;
/// How much of the past counts: with each look, what was counted before counts this much less.
const FADING: f64 = 0.9;
/// Fewest responses for a quantile.
const ENOUGH: f64 = 20.0;

/// What an upstream knows about second attempts. Only made if they are configured.
#[derive(Debug)]
pub struct Hedging {
    after: HedgeAfter,
    /// How many there may be.
    pub budget: RetryBudget,
    /// When a first attempt is slow, in microseconds; `u64::MAX` while this is unknown.
    delay: AtomicU64,
    answers: Box<[AtomicU32]>,
    past: Mutex<Vec<f64>>,
}

// === impl Hedging ===

impl Hedging {
    /// With no responses yet.
    pub fn new(hedge: &Hedge) -> Self {
        let delay = match hedge.after {
            HedgeAfter::Time(time) => u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
            _ => u64::MAX,
        };
        Self {
            after: hedge.after,
            budget: RetryBudget::for_hedges(hedge.budget),
            delay: AtomicU64::new(delay),
            answers: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            past: Mutex::new(vec![0.0; BUCKETS]),
        }
    }

    /// When a first attempt is slow.
    pub fn delay(&self) -> Option<Duration> {
        let delay = self.delay.load(Relaxed);
        (delay != u64::MAX).then(|| Duration::from_micros(delay))
    }

    /// A response began after this time.
    pub(super) fn responded(&self, latency: Duration) {
        if matches!(self.after, HedgeAfter::Quantile(_))
            && let Some(bucket) = self.answers.get(bucket_of(latency))
        {
            bucket.fetch_add(1, Relaxed);
        }
    }

    /// Measures again what counts as slow. Call it about once a second.
    pub fn measure(&self) {
        let HedgeAfter::Quantile(quantile) = self.after else { return };
        let mut past = self.past.lock();
        for (faded, bucket) in past.iter_mut().zip(&self.answers) {
            *faded = *faded * FADING + f64::from(bucket.swap(0, Relaxed));
        }
        let total: f64 = past.iter().sum();
        if total < ENOUGH {
            return;
        }
        let mut below = 0.0;
        let reached = past.iter().position(|count| {
            below += count;
            below >= total * quantile
        });
        if let Some(bucket) = reached {
            self.delay.store(end_of(bucket), Relaxed);
        }
    }
}

fn bucket_of(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
    ((micros as f64).log2() * f64::from(STEPS)) as usize
}

/// The longest latency of a bucket, in microseconds.
fn end_of(bucket: usize) -> u64 {
    ((bucket + 1) as f64 / f64::from(STEPS)).exp2() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_is_the_quantile_of_what_came_lately() {
        let hedging = Hedging::new(&Hedge::default());
        assert_eq!(hedging.delay(), None);
        let answers = |slow: u64| {
            for at in 0..100 {
                hedging.responded(Duration::from_millis(if at < 97 { 10 } else { slow }));
            }
            hedging.measure();
        };
        answers(500);
        let delay = hedging.delay().unwrap();
        assert!((10_000..=11_000).contains(&delay.as_micros()), "{delay:?}");
        for _ in 0..60 {
            for _ in 0..100 {
                hedging.responded(Duration::from_millis(40));
            }
            hedging.measure();
        }
        let delay = hedging.delay().unwrap();
        assert!((40_000..=44_000).contains(&delay.as_micros()), "{delay:?}");
    }

    #[test]
    fn a_given_time_needs_no_measuring() {
        let mut hedge = Hedge::default();
        hedge.after = HedgeAfter::Time(Duration::from_millis(5));
        let hedging = Hedging::new(&hedge);
        hedging.measure();
        assert_eq!(hedging.delay(), Some(Duration::from_millis(5)));
    }
}
