//! A backend's live counters, shared by every core that sends to it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// What a backend is doing now and has done so far. All reads and writes are relaxed: each number is right, and two
/// numbers read together may be a moment apart.
///
/// On cache lines of their own (128 bytes, as processors fetch them in pairs): every core writes them, and must not
/// slow down those who only read the backend's name and address beside them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    in_flight: AtomicU32,
    attempts: AtomicU64,
    failures: AtomicU64,
}

impl Counters {
    /// Attempts that hold a [`Lease`](super::Lease) now.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Attempts begun since this backend is known.
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Relaxed)
    }

    /// Attempts that ended in [`Outcome::Failed`](super::Outcome::Failed).
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    #[inline]
    pub(super) fn begin(&self) {
        self.attempts.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
    }

    #[inline]
    pub(super) fn end(&self, failed: bool) {
        self.in_flight.fetch_sub(1, Relaxed);
        if failed {
            self.failures.fetch_add(1, Relaxed);
        }
    }
}
