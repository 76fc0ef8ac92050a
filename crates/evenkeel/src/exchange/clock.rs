//! A connection's own clock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use evenkeel_core::Moment;

use crate::upstream::moment_of;

/// The time of what never happens, or has no limit; in microseconds.
pub(super) const NEVER: u64 = u64::MAX;
/// A month, in microseconds: as good as never, and surely within the clock.
const FURTHEST: u64 = 30 * 24 * 3600 * 1_000_000;

/// Microseconds in this time.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(NEVER)
}

/// A clock that shows what time it was when it was last looked at, in microseconds since it was started, and never zero.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    /// The same by the process's clock.
    beginning: Moment,
    now: AtomicU64,
}

// === impl Clock ===

impl Clock {
    pub(super) fn start() -> Self {
        let start = Instant::now();
        Self { start, beginning: moment_of(start), now: AtomicU64::new(1) }
    }

    /// Looks what time it is.
    pub(super) fn tick(&self) {
        self.now.store(micros(self.start.elapsed()).max(1), Relaxed);
    }

    pub(super) fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }

    /// The same moment by the process's clock.
    pub(super) fn moment(&self) -> Moment {
        Moment::from_micros(self.beginning.as_micros() + self.now())
    }

    /// The moment that this clock calls `at`; see [`Connection::instant`](super::Connection::instant).
    pub(super) fn instant(&self, at: u64) -> Instant {
        let now = self.now();
        self.start + Duration::from_micros(now + at.saturating_sub(now).min(FURTHEST))
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Duration, NEVER, Relaxed};

    #[test]
    fn however_old_a_clock_is_what_lies_ahead_lies_ahead() {
        let clock = Clock::start();
        let hour = Duration::from_secs(3600);
        for age in [Duration::ZERO, hour, 24 * hour, 400 * 24 * hour] {
            let now = age.as_micros() as u64 + 1;
            clock.now.store(now, Relaxed);
            let present = clock.start + Duration::from_micros(now);
            let ahead = clock.instant(now + hour.as_micros() as u64).saturating_duration_since(present);
            assert_eq!(ahead, hour, "at the age of {age:?}");
            let never = clock.instant(NEVER).saturating_duration_since(present);
            assert!(never >= 24 * hour, "at the age of {age:?}");
        }
    }
}
