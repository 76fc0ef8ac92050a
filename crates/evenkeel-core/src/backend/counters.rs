//! A backend's live counters, shared by every core that sends to it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::reported::LastReport;
use super::{Latency, Outcome, Reach, Reported, Total};

/// What a backend is doing now and has done so far. All reads and writes are relaxed: each number is right, and two
/// numbers read together may be a moment apart.
///
/// On their own cache lines (128 bytes, because processors fetch lines in pairs): every core writes them. They must not
/// slow down readers of the backend's name and address next to them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    in_flight: AtomicU32,
    attempts: AtomicU64,
    failures: AtomicU64,
    failures_in_a_row: AtomicU32,
    reach: Reach,
    latency: Latency,
    total: OnceLock<Arc<Total>>,
    report: LastReport,
}

impl Counters {
    /// Attempts that hold a [`Lease`](super::Lease) now.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Attempts begun since this backend is known.
    #[inline]
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Relaxed)
    }

    /// Attempts that ended in [`Outcome::Failed`](super::Outcome::Failed).
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Attempts that ended in [`Outcome::Failed`](super::Outcome::Failed) since the last one with a response.
    #[inline]
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row.load(Relaxed)
    }

    /// Whether it can be reached.
    #[inline]
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// The response times, if the algorithm in use records them.
    #[inline]
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Keeps what the backend said of itself.
    pub fn report(&self, report: Reported) {
        self.report.store(report, self.attempts());
    }

    /// What the backend last said of itself, and how many attempts began since; `None` if it never did.
    #[inline]
    pub fn reported(&self) -> Option<(Reported, u64)> {
        self.report.load(self.attempts())
    }

    /// Counts attempts that begin from now on in `total` as well, once and for all: a backend that is counted in one
    /// stays there. Returns the one that it is counted in.
    pub fn count_in<'a>(&'a self, total: &Arc<Total>) -> &'a Arc<Total> {
        self.total.get_or_init(|| Arc::clone(total))
    }

    /// The total that this backend is counted in, if it is.
    #[inline]
    pub fn total(&self) -> Option<&Arc<Total>> {
        self.total.get()
    }

    /// A backend that was down is up again: its failures in a row, and doubts about reaching it, are over.
    pub fn recovered(&self) {
        self.failures_in_a_row.store(0, Relaxed);
        self.reach.succeeded();
    }

    /// Whether the attempt was counted in the total, to be told to [`Counters::end`].
    #[inline]
    pub(super) fn begin(&self) -> bool {
        self.in_flight.fetch_add(1, Relaxed);
        self.begun()
    }

    /// As [`begin`](Counters::begin), unless so many are in flight.
    pub(super) fn begin_within(&self, most: u32) -> Option<bool> {
        let more = |now: u32| (now < most).then(|| now + 1);
        self.in_flight.fetch_update(Relaxed, Relaxed, more).ok().map(|_| self.begun())
    }

    /// Counts an attempt; whether it is in the total as well.
    #[inline]
    fn begun(&self) -> bool {
        self.attempts.fetch_add(1, Relaxed);
        let total = self.total();
        total.inspect(|total| total.begin()).is_some()
    }

    #[inline]
    pub(super) fn end(&self, outcome: Outcome, in_total: bool) {
        self.in_flight.fetch_sub(1, Relaxed);
        if in_total && let Some(total) = self.total() {
            total.end();
        }
        match outcome {
            Outcome::Answered if self.failures_in_a_row() > 0 => self.failures_in_a_row.store(0, Relaxed),
            Outcome::Failed => {
                self.failures.fetch_add(1, Relaxed);
                self.failures_in_a_row.fetch_add(1, Relaxed);
            }
            Outcome::Answered | Outcome::Abandoned => {}
        }
    }
}
