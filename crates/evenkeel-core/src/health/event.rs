//! What happened to the backends of an upstream, for logs and metrics.

use super::Mode;
use crate::Moment;
use crate::backend::BackendId;

/// Something that happened, reported once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// Probes say that the backend is up; before, they said that it is down, or it waited for its first success.
    Up {
        /// Which backend.
        backend: BackendId,
    },
    /// Probes say that the backend is down. If it was ejected, it is so no longer: probes decide when it returns.
    Down {
        /// Which backend.
        backend: BackendId,
    },
    /// The backend gets no requests for a while because of how it served.
    Ejected {
        /// Which backend.
        backend: BackendId,
        /// What it did.
        reason: Reason,
        /// When it returns.
        until: Moment,
    },
    /// The backend's ejection is over.
    Returned {
        /// Which backend.
        backend: BackendId,
    },
    /// Probes and traffic disagree about the backend.
    Gray {
        /// Which backend.
        backend: BackendId,
        /// Whether it is probes that say it is up, and traffic that it is not; otherwise the other way round.
        probes_up: bool,
    },
    /// Probes and traffic no longer disagree.
    GrayOver {
        /// Which backend.
        backend: BackendId,
    },
    /// How the upstream chooses has changed. What it begins with is not told.
    ModeChanged {
        /// How it chose before.
        from: Mode,
        /// How it chooses now.
        to: Mode,
    },
}

/// Why a backend is ejected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// So many failures in a row.
    ConsecutiveFailures(u32),
    /// This share of failures, from 0 to 1, in an interval.
    FailureRate(f64),
    /// So many times the median of its peers' mean latencies, in an interval.
    Latency(f64),
}

// === impl Event ===

impl Event {
    /// The backend that it is about; `None` if it is about the whole upstream.
    pub fn backend(&self) -> Option<BackendId> {
        match *self {
            Self::Up { backend }
            | Self::Down { backend }
            | Self::Ejected { backend, .. }
            | Self::Returned { backend }
            | Self::Gray { backend, .. }
            | Self::GrayOver { backend } => Some(backend),
            Self::ModeChanged { .. } => None,
        }
    }
}
