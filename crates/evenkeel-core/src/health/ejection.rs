//! For how long a backend is ejected: longer each time in a row, and forgotten little by little.

use std::time::Duration;

use super::OutlierOptions;
use crate::Moment;

/// One backend's ejections.
#[derive(Debug)]
pub(super) struct Ejection {
    until: Option<Moment>,
    /// How many there were in a row.
    in_a_row: u32,
    /// From when on its behaviour counts as good, as long as it is not ejected.
    good_since: Moment,
}

// === impl Ejection ===

impl Ejection {
    pub(super) fn new(now: Moment) -> Self {
        Self { until: None, in_a_row: 0, good_since: now }
    }

    /// Begins one, after [`Self::forget`], and says when it ends.
    pub(super) fn begin(&mut self, options: &OutlierOptions, now: Moment) -> Moment {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let time = options.ejection_time.saturating_mul(self.in_a_row).min(options.max_ejection_time);
        let until = now.after(time);
        self.until = Some(until);
        until
    }

    /// When the one that was begun ends, even if that is past.
    pub(super) fn until(&self) -> Option<Moment> {
        self.until
    }

    /// Whether it is ejected at this moment.
    pub(super) fn runs(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// How many there were in a row, this one included.
    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// Ends it. From `now` on behaviour counts as good.
    pub(super) fn end(&mut self, now: Moment) {
        (self.until, self.good_since) = (None, now);
    }

    /// Forgets one for each `ejection_time` of good behaviour. How many in a row are left.
    pub(super) fn forget(&mut self, ejection_time: Duration, now: Moment) -> u32 {
        let time = ejection_time.as_micros().max(1);
        if self.until.is_none() && self.in_a_row > 0 {
            let forgotten = now.since(self.good_since).as_micros() / time;
            let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX).min(self.in_a_row);
            self.in_a_row -= forgotten;
            self.good_since = self.good_since.after(ejection_time.saturating_mul(forgotten));
        }
        self.in_a_row
    }
}
