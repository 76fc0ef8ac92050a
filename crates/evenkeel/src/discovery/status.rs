//! What is known of a source, for display: its subscription writes, anyone reads.

use parking_lot::Mutex;
use tokio::time::Instant;

use super::DiscoveryError;

/// What is known of a source.
#[derive(Debug)]
pub struct Status {
    source: String,
    state: Mutex<Snapshot>,
}

/// What is known of a source at one moment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// How many backends the set in use has; `None` while there is no set yet.
    pub backends: Option<usize>,
    /// When the source confirmed that set last: its age.
    pub confirmed: Option<Instant>,
    /// When the set in use was published.
    pub published: Option<Instant>,
    /// Why the source returned no set the last time; `None` if it did.
    pub error: Option<DiscoveryError>,
    /// Since when it returns none.
    pub failing_since: Option<Instant>,
    /// What happened so far.
    pub counts: Counts,
}

/// What happened to a source so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Sets that were published because they differed from the one before.
    pub updates: u64,
    /// Reads that failed because the source cannot be reached or read.
    pub unreachable: u64,
    /// Reads that returned something that is not a set of backends.
    pub invalid: u64,
    /// Sets without backends that were rejected.
    pub empty: u64,
}

// === impl Status ===

impl Status {
    pub(super) fn new(source: String) -> Self {
        Self { source, state: Mutex::default() }
    }

    /// What logs and `/status` call the source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What is known now.
    pub fn read(&self) -> Snapshot {
        self.state.lock().clone()
    }

    /// The source returned a set. Gives since when it had returned none, if it had.
    pub(super) fn confirmed(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        state.confirmed = Some(now);
        state.error = None;
        state.failing_since.take()
    }

    /// A set came into use.
    pub(super) fn published(&self, backends: usize, now: Instant) {
        let mut state = self.state.lock();
        state.backends = Some(backends);
        state.published = Some(now);
        state.counts.updates += 1;
    }

    /// The source returned no set. Gives whether it did the time before.
    pub(super) fn failed(&self, error: &DiscoveryError, now: Instant) -> bool {
        let mut state = self.state.lock();
        match error {
            DiscoveryError::Invalid(_) => state.counts.invalid += 1,
            DiscoveryError::Empty(_) => state.counts.empty += 1,
            DiscoveryError::Unreachable(_) | DiscoveryError::Panicked => state.counts.unreachable += 1,
        }
        state.error = Some(error.clone());
        let first = state.failing_since.is_none();
        state.failing_since.get_or_insert(now);
        first
    }
}
