//! Watches whether a CPU stands still: a thread at the highest priority that is late all the same was held up by the machine
//! itself, not by a process on it. Knows nothing of what is measured meanwhile.

use std::time::{Duration, Instant};

use super::{clock, thread};

/// A time in which a CPU perhaps did not run what it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stall {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

/// How often the watch looks at the clock.
const PERIOD: Duration = Duration::from_micros(200);

/// To wake up takes less than this; what is later was held up.
const LATE: Duration = Duration::from_micros(200);

/// The stalls of a CPU until then. None where this thread cannot have the highest priority: it would take other processes for
/// stalls.
pub(crate) fn watch(cpu: usize, until: Instant) -> Vec<Stall> {
    let mut stalls = Vec::new();
    if thread::pin(cpu).is_err() || !thread::prioritise(thread::ABOVE) {
        return stalls;
    }
    let mut next = Instant::now();
    while next < until {
        next += PERIOD;
        clock::block_until(next);
        let now = Instant::now();
        let late = now.saturating_duration_since(next);
        if late > LATE {
            // It began at some moment since the last look, and what it held up takes as long again to catch up.
            stalls.push(Stall { from: next.checked_sub(PERIOD).unwrap_or(next), to: now + late });
            next = now;
        }
    }
    stalls
}

// === impl Stall ===

impl Stall {
    /// Whether any of it was between these two.
    pub(crate) fn touches(&self, from: Instant, to: Instant) -> bool {
        self.from <= to && from <= self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_touches_what_it_overlaps() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let stall = Stall { from: at(10), to: at(12) };
        for (from, to, touches) in
            [(0, 9, false), (0, 10, true), (11, 11, true), (12, 20, true), (13, 20, false), (0, 99, true)]
        {
            assert_eq!(stall.touches(at(from), at(to)), touches, "{from} to {to}");
        }
    }

    #[test]
    fn a_watch_ends() {
        let until = Instant::now() + Duration::from_millis(20);
        let stalls = watch(0, until);
        assert!(stalls.iter().all(|stall| stall.from < stall.to), "{stalls:?}");
    }
}
