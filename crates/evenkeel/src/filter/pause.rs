//! How often a line is logged at most.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use evenkeel_core::Moment;

/// Lets a line through at most every ten seconds.
#[derive(Debug, Default)]
pub(super) struct LogPause(AtomicU64);

const PAUSE: Duration = Duration::from_secs(10);

// === impl LogPause ===

impl LogPause {
    /// Whether a line may be logged now.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        let last = self.0.load(Relaxed);
        let is_over = last == 0 || now.since(Moment::from_micros(last)) >= PAUSE;
        is_over && self.0.compare_exchange(last, now.as_micros().max(1), Relaxed, Relaxed).is_ok()
    }
}
