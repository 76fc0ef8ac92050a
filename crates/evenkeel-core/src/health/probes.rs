//! Rise and fall: how many results of probes in a row change what a backend counts as.
//!
//! One result may be chance, so a change of state takes several results in a row against it, and one result for it
//! restarts the count. So a dead backend is marked as down after `fall` intervals, or earlier if its requests fail.

use super::{Start, Thresholds};

/// What probes say about one backend.
#[derive(Debug)]
pub(super) struct Probes {
    up: bool,
    /// Results in a row against `up`.
    against: u32,
    last: Option<bool>,
    /// Whether it waits for its first success, as [`Start::Down`] demands.
    waits: bool,
    failed: bool,
}

// === impl Probes ===

impl Probes {
    /// Before the first probe. Without `thresholds` there are none, and the backend is up.
    pub(super) fn new(thresholds: Option<Thresholds>) -> Self {
        let waits = thresholds.is_some_and(|t| t.start == Start::Down);
        Self { up: !waits, against: 0, last: None, waits, failed: false }
    }

    /// A probe ended. Whether that changed the state.
    pub(super) fn ended(&mut self, success: bool, thresholds: &Thresholds) -> bool {
        self.last = Some(success);
        self.failed |= !success;
        if success == self.up {
            self.against = 0;
            return false;
        }
        self.against = self.against.saturating_add(1);
        let needed = match success {
            true if self.waits => 1,
            true => thresholds.rise.get(),
            false => thresholds.fall.get(),
        };
        if self.against < needed {
            return false;
        }
        (self.up, self.against, self.waits) = (success, 0, false);
        true
    }

    /// Whether the backend counts as up.
    pub(super) fn up(&self) -> bool {
        self.up
    }

    /// Whether it is up and the last probe says so, too.
    pub(super) fn agree_on_up(&self) -> bool {
        self.up && self.last == Some(true)
    }

    /// Whether it still waits for its first success.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Whether a probe has ever failed.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }
}
