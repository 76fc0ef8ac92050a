//! How many bytes can be moved in a time: how long a sender has to pause after it has moved some.
//!
//! # The idea
//! One number: the time at which the bytes so far would have been moved at exactly the rate. Bytes that move put it further
//! ahead, and the sender pauses for as long as it is ahead of the clock by more than a short burst. So what moves too early is
//! made up for, and over any longer time the rate is exact to the burst and one piece, however many share the bucket: those who
//! share it take turns, in the order in which they moved bytes.
//!
//! # Cost
//! One compare-and-swap for each piece that is moved. Pieces are made small enough for pauses to be short, see [`piece`].
//!
//! # When not to use it
//! It slows transfers down. To reject what is too much, count requests.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Moment;

/// The bytes that share a rate.
#[derive(Debug, Default)]
pub struct ByteBucket {
    /// When the bytes so far would have been moved at the rate, in nanoseconds.
    until: AtomicU64,
}

/// How far ahead of the rate a sender can be, in nanoseconds.
const BURST: u64 = 50_000_000;
const SECOND: u64 = 1_000_000_000;

// === impl ByteBucket ===

impl ByteBucket {
    /// Counts bytes that are moved now, at a rate of bytes in a second. Gives how long their sender has to pause.
    pub fn take(&self, bytes: u64, rate: u64, now: Moment) -> Duration {
        let cost = u128::from(bytes) * u128::from(SECOND) / u128::from(rate.max(1));
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let now = nanos(now);
        let after = |until: u64| until.max(now).saturating_add(cost);
        let until = after(self.until.update(Relaxed, Relaxed, after));
        Duration::from_nanos(until.saturating_sub(now + BURST))
    }

    /// Whether nothing is left to make up for.
    pub fn is_whole(&self, now: Moment) -> bool {
        self.until.load(Relaxed) <= nanos(now)
    }
}

/// How many bytes are moved at once at this rate: a twentieth of a second's, within bounds.
pub fn piece(rate: u64) -> usize {
    usize::try_from(rate / 20).unwrap_or(usize::MAX).clamp(1 << 10, 64 << 10)
}

fn nanos(moment: Moment) -> u64 {
    moment.as_micros().saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes so many senders move in ten seconds, each as fast as it may.
    fn moved(senders: usize, rate: u64) -> u64 {
        let bucket = ByteBucket::default();
        let (mut next, mut total) = (vec![Moment::from_micros(1_000_000); senders], 0);
        let end = Moment::from_micros(11_000_000);
        while let Some(at) = next.iter().copied().min().filter(|at| *at < end) {
            let sender = next.iter_mut().min().unwrap();
            let bytes = piece(rate) as u64;
            total += bytes;
            let pause = bucket.take(bytes, rate, at).as_micros() as u64;
            *sender = Moment::from_micros(at.as_micros() + pause.max(1));
        }
        total
    }

    #[test]
    fn the_rate_holds_within_5_percent_over_10_seconds() {
        for rate in [20_000, 100_000, 1_000_000, 10_000_000, 1_000_000_000] {
            for senders in [1, 2, 10] {
                let (total, exact) = (moved(senders, rate) as f64, rate as f64 * 10.0);
                let off = total / exact - 1.0;
                // Each sender can be one piece ahead.
                let most = if senders == 1 { 0.05 } else { 0.05 + senders as f64 * 0.005 };
                assert!((-0.01..most).contains(&off), "{senders} at {rate}/s: off by {off}");
            }
        }
    }

    #[test]
    fn what_was_moved_too_early_is_made_up_for() {
        let bucket = ByteBucket::default();
        let at = |millis: u64| Moment::from_micros(millis * 1_000);
        assert_eq!(bucket.take(1_000, 10_000, at(1_000)), Duration::from_millis(50));
        assert_eq!(bucket.take(1_000, 10_000, at(1_050)), Duration::from_millis(100));
        assert!(!bucket.is_whole(at(1_199)) && bucket.is_whole(at(1_200)));
        assert_eq!(bucket.take(100, 10_000, at(5_000)), Duration::ZERO, "no more than a burst is saved up");
    }
}
