//! How long, and how slowly, a client may take or give bytes while it is waited for.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::clock::micros;

/// The bounds of one direction, and how the client does by them. Without a rate, only silence is bounded, and nothing is
/// counted.
///
/// The rate is an average over as much waiting as the longest silence may last. Only the time counts in which the client is
/// waited for: where the backend is slow, the client does not need to be fast.
#[derive(Debug)]
pub(super) struct Pace {
    /// The longest silence, in microseconds.
    silence: u64,
    /// How many bytes at least must move in that time of waiting; zero for no rate.
    required: u64,
    /// For how long the client was waited for since the average began, in microseconds.
    waited: AtomicU64,
    /// How many bytes moved meanwhile.
    bytes: AtomicU64,
}

// === impl Pace ===

impl Pace {
    pub(super) fn new(silence: Duration, rate: Option<u64>) -> Self {
        let silence = micros(silence);
        let required = u128::from(rate.unwrap_or_default()) * u128::from(silence) / 1_000_000;
        Self {
            silence,
            required: u64::try_from(required).unwrap_or(u64::MAX),
            waited: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// The longest silence, in microseconds.
    pub(super) fn silence(&self) -> u64 {
        self.silence
    }

    /// These bytes moved after the client was waited for so long.
    pub(super) fn moved(&self, bytes: u64, waited: u64) {
        if self.required == 0 {
            return;
        }
        let (bytes, waited) = (self.bytes.load(Relaxed) + bytes, self.waited.load(Relaxed) + waited);
        // Fast enough, and long enough to say so: the next average begins.
        let passed = waited >= self.silence && bytes >= self.required;
        self.bytes.store(if passed { 0 } else { bytes }, Relaxed);
        self.waited.store(if passed { 0 } else { waited }, Relaxed);
    }

    /// When a wait that began then has lasted too long.
    pub(super) fn due(&self, since: u64) -> u64 {
        let waited = if self.bytes.load(Relaxed) < self.required { self.waited.load(Relaxed) } else { 0 };
        since.saturating_add(self.silence.saturating_sub(waited))
    }

    /// Forgets how the client did: the next request begins.
    pub(super) fn reset(&self) {
        if self.required > 0 {
            self.bytes.store(0, Relaxed);
            self.waited.store(0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Pace};

    const SECOND: u64 = 1_000_000;

    #[test]
    fn without_a_rate_any_byte_will_do() {
        let pace = Pace::new(Duration::from_secs(60), None);
        for second in 1..1000 {
            pace.moved(1, 59 * SECOND);
            assert_eq!(pace.due(second * SECOND), (second + 60) * SECOND);
        }
    }

    #[test]
    fn a_client_below_the_rate_is_late_once_it_was_waited_for_long_enough() {
        let pace = Pace::new(Duration::from_secs(60), Some(10));
        // 9 bytes a second.
        for second in 1..=50 {
            pace.moved(9, SECOND);
            assert_eq!(pace.due(second * SECOND), 60 * SECOND);
        }
        // Waiting for others is not the client's.
        assert_eq!(pace.due(1000 * SECOND), 1010 * SECOND);
        pace.moved(9, 11 * SECOND);
        assert_eq!(pace.due(2000 * SECOND), 2000 * SECOND);
        pace.reset();
        assert_eq!(pace.due(3000 * SECOND), 3060 * SECOND);
    }

    #[test]
    fn a_client_above_the_rate_is_never_late_and_cannot_save_up() {
        let pace = Pace::new(Duration::from_secs(60), Some(10));
        for second in 1..=1000 {
            pace.moved(11, SECOND);
            assert!(pace.due(second * SECOND) > second * SECOND);
        }
        pace.reset();
        pace.moved(1_000_000, 60 * SECOND);
        for _ in 0..60 {
            pace.moved(1, SECOND);
        }
        assert_eq!(pace.due(0), 0, "what was fast before does not count");
    }
}
