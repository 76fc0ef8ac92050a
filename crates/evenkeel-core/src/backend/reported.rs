//! What a backend last said of itself, when it was asked.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Moment;

/// A backend's own account of its load.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Reported {
    /// Its requests in flight, from all senders.
    pub in_flight: u32,
    /// What a request takes there now; `None` if it does not say.
    pub latency: Option<Duration>,
    /// When the account came.
    pub at: Moment,
}

/// The last account, and how many attempts had begun by then. Each number is right, and two read together may be of two
/// accounts.
#[derive(Debug, Default)]
pub(super) struct LastReport {
    /// One more than it was, so that zero says that there is none.
    in_flight: AtomicU32,
    /// Microseconds as a float; zero when it did not say.
    latency: AtomicU32,
    at: AtomicU64,
    attempts: AtomicU64,
}

// === impl Reported ===

impl Reported {
    /// So many requests in flight, and what one takes, as told at this moment.
    pub fn new(in_flight: u32, latency: Option<Duration>, at: Moment) -> Self {
        Self { in_flight, latency, at }
    }
}

// === impl LastReport ===

impl LastReport {
    pub(super) fn store(&self, report: Reported, attempts: u64) {
        let micros = report.latency.map_or(0.0, |latency| (latency.as_secs_f32() * 1e6).max(1.0));
        self.latency.store(micros.to_bits(), Relaxed);
        self.at.store(report.at.as_micros(), Relaxed);
        self.attempts.store(attempts, Relaxed);
        self.in_flight.store(report.in_flight.saturating_add(1), Relaxed);
    }

    /// The last account, and how many attempts began since.
    #[inline]
    pub(super) fn load(&self, attempts: u64) -> Option<(Reported, u64)> {
        let in_flight = self.in_flight.load(Relaxed).checked_sub(1)?;
        let micros = f32::from_bits(self.latency.load(Relaxed));
        let latency = (micros > 0.0).then(|| Duration::from_micros(micros as u64));
        let at = Moment::from_micros(self.at.load(Relaxed));
        let since = attempts.saturating_sub(self.attempts.load(Relaxed));
        Some((Reported { in_flight, latency, at }, since))
    }
}
