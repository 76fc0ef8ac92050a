//! What a backend's traffic looked like in an interval, from counters that only ever grow.

use std::time::Duration;

/// A backend's counters: totals since it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Attempts with a response.
    pub answers: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// The sum of all response times.
    pub latency_sum: Duration,
    /// Failures since the last response.
    pub failures_in_a_row: u32,
}

/// One backend's traffic, as last told, and from where it is judged.
#[derive(Debug, Default)]
pub(super) struct Record {
    last: Traffic,
    /// At the beginning of the interval.
    begin: Traffic,
    /// What was there when the backend returned. Its failures in a row keep their value until the next response, and
    /// would eject it again at once.
    forgiven: Option<Traffic>,
    /// Whether the next record is where judging starts.
    afresh: bool,
}

// === impl Record ===

impl Record {
    /// What the counters are now.
    pub(super) fn told(&mut self, traffic: Traffic) {
        self.last = traffic;
        if self.afresh {
            (self.begin, self.forgiven, self.afresh) = (traffic, Some(traffic), false);
        } else if self.forgiven.is_some_and(|old| has_answered(&old, &traffic)) {
            self.forgiven = None;
        }
    }

    /// Ignores everything up to the next record.
    pub(super) fn forgive(&mut self) {
        self.afresh = true;
    }

    /// Failures in a row that count.
    pub(super) fn failures_in_a_row(&self) -> u32 {
        let forgiven = self.forgiven.map_or(0, |old| old.failures_in_a_row);
        self.last.failures_in_a_row.saturating_sub(forgiven)
    }

    /// What came in this interval; nothing if nothing was told since the backend returned.
    pub(super) fn interval(&self) -> Traffic {
        if self.afresh {
            return Traffic::default();
        }
        Traffic {
            answers: self.last.answers.saturating_sub(self.begin.answers),
            failures: self.last.failures.saturating_sub(self.begin.failures),
            latency_sum: self.last.latency_sum.saturating_sub(self.begin.latency_sum),
            failures_in_a_row: self.failures_in_a_row(),
        }
    }

    /// Begins another interval.
    pub(super) fn next_interval(&mut self) {
        self.begin = self.last;
    }
}

// === impl Traffic ===

impl Traffic {
    pub(super) fn attempts(&self) -> u64 {
        self.answers.saturating_add(self.failures)
    }

    /// The share of failures; 0 without attempts.
    pub(super) fn failure_rate(&self) -> f64 {
        self.failures as f64 / self.attempts().max(1) as f64
    }

    /// The mean response time, in seconds; 0 without responses.
    pub(super) fn mean_latency(&self) -> f64 {
        self.latency_sum.as_secs_f64() / self.answers.max(1) as f64
    }
}

/// Whether failures in a row were counted again since `old`. The counters are read one after the other, so a response
/// may be visible before the count that it reset: then the count has its old value, and is not used yet.
fn has_answered(old: &Traffic, now: &Traffic) -> bool {
    let rows = (old.failures_in_a_row, now.failures_in_a_row);
    rows.1 < rows.0 || (now.answers > old.answers && rows.1 != rows.0)
}
