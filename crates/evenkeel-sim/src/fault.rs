//! What can be wrong with a backend, and when.

use std::ops::Range;
use std::time::Duration;

/// Something wrong with a backend for a time, from `from` (inclusive) to `to` (exclusive) since the world began.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// Attempts are refused after 0.2 ms, and those under way when it begins break off.
    Down {
        /// When it begins.
        from: Duration,
        /// When it is over.
        to: Duration,
    },
    /// Requests that begin to be served in this time take longer. Several such faults multiply.
    Slow {
        /// When it begins.
        from: Duration,
        /// When it is over.
        to: Duration,
        /// How many times as long requests take; positive.
        factor: f64,
    },
    /// Some of the requests that start in this time fail, after 0.2 ms.
    Errors {
        /// When it begins.
        from: Duration,
        /// When it is over.
        to: Duration,
        /// How many of them, from 0 to 1.
        share: f64,
    },
}

// === impl Fault ===

impl Fault {
    /// From when to when.
    pub fn span(&self) -> Range<Duration> {
        match *self {
            Self::Down { from, to } | Self::Slow { from, to, .. } | Self::Errors { from, to, .. } => from..to,
        }
    }

    /// Whether it holds at this moment.
    pub(super) fn holds(&self, now: Duration) -> bool {
        self.span().contains(&now)
    }

    pub(super) fn begins_before(&self, end: Duration) -> bool {
        let Range { start, end: over } = self.span();
        start < over && start < end
    }
}
