//! What holds for a request: what its route says, else what its upstream says. It never knows what has happened to it.

use std::time::Duration;

use evenkeel_config::{Retry, Timeouts};

use super::attempts::Attempts;

impl Attempts {
    /// When the request is tried again.
    pub fn retry(&self) -> &Retry {
        self.options.retry.as_ref().unwrap_or(&self.upstream.retry)
    }

    /// How long backends may take.
    pub fn timeouts(&self) -> &Timeouts {
        self.options.timeouts.as_deref().unwrap_or(&self.upstream.timeouts)
    }

    /// How long one attempt can take until its response head, if another attempt should follow.
    pub fn time_for_one(&self) -> Option<Duration> {
        let retry = self.retry();
        let first_byte = retry.on.timeout.then_some(self.timeouts().first_byte);
        retry.per_try_timeout.or(first_byte)
    }
}
