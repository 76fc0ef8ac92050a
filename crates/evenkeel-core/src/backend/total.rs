//! How many attempts several backends have in flight together, known without asking each.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Attempts in flight on all backends that [count in it](super::Counters::count_in), on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Total(AtomicU32);

// === impl Total ===

impl Total {
    /// Attempts that hold a [`Lease`](super::Lease) now, of those that began after their backend was counted in.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.0.load(Relaxed)
    }

    #[inline]
    pub(super) fn begin(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    #[inline]
    pub(super) fn end(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
