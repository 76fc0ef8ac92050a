//! Watches whether the machine stands still: a thread that goes before all else on a CPU, and is late all the same, was not let run
//! by whoever runs the machine. Knows nothing of what is measured meanwhile.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::clock;

/// A time in which a CPU perhaps did not run what it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stall {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

/// How often a look is taken.
const PERIOD: Duration = Duration::from_micros(200);

/// To wake up takes less than this; what is later was held up.
const LATE: Duration = Duration::from_micros(200);

/// Above all that is measured.
const PRIORITY: &str = "2";

/// The stalls of a CPU until then. None where this thread cannot be put before all others: then it would see those as well.
pub(crate) fn watch(cpu: usize, until: Instant) -> Vec<Stall> {
    let mut stalls = Vec::new();
    if !goes_first_on(cpu) {
        return stalls;
    }
    let mut next = Instant::now();
    while next < until {
        next += PERIOD;
        clock::sleep_until(next);
        let now = Instant::now();
        let late = now.saturating_duration_since(next);
        if late > LATE {
            // It began at some moment since the last look; and what it held up has to be made up for.
            stalls.push(Stall { from: next.checked_sub(PERIOD).unwrap_or(next), to: now + late });
            next = now;
        }
    }
    stalls
}

/// Puts this thread on a CPU and before all that is measured there; whether that could be done.
fn goes_first_on(cpu: usize) -> bool {
    let thread = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    let Some(id) = thread.file_name().and_then(|id| id.to_str()) else { return false };
    let done = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let command = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    done("taskset", &["--cpu-list", "--pid", &cpu.to_string(), id])
        && done("chrt", &["--rr", "--pid", PRIORITY, id])
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
        for stall in watch(0, until) {
            assert!(stall.from < stall.to);
        }
        assert!(Instant::now() >= until || !goes_first_on(0));
    }
}
