//! The checks at the end of a soak. Knows nothing of how the figures were measured.

use std::fmt;

/// All that the checks look at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) memory: Memory,
    /// Clients' connections still open, in the metrics and in `/status`.
    pub(crate) open: [u64; 2],
    /// Attempts still in flight, in the metrics and in `/status`.
    pub(crate) in_flight: [u64; 2],
    /// Open descriptors at the start and at the end.
    pub(crate) descriptors: [usize; 2],
    /// Requests that the clients began, that crossed the close of their connection, and that the program counted.
    pub(crate) requests: Requests,
    /// Responses that nothing explains.
    pub(crate) wrong: u64,
    /// Complete responses that were successes: without any, nothing was tested.
    pub(crate) successes: u64,
    /// The share of one CPU that the idle program took.
    pub(crate) idle_cpu: f64,
}

/// Resident memory, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Under load, after the time for warming up.
    pub(crate) warm: u64,
    /// Under load, at its end.
    pub(crate) loaded: u64,
    /// After it.
    pub(crate) idle: u64,
}

/// The requests that each side counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Requests {
    pub(crate) begun: u64,
    pub(crate) crossed: u64,
    pub(crate) counted: u64,
}

/// A check.
#[derive(Debug)]
pub(crate) struct Check {
    what: &'static str,
    told: String,
    pub(crate) holds: bool,
}

/// What memory may grow by beside a tenth, in KiB.
const SLACK: u64 = 2 * 1024;

/// One request in so many may cross the close of its connection: the proxy closes a kept connection only where a backend
/// broke, and then says so.
const CROSSED: u64 = 10_000;

/// All checks.
pub(crate) fn checks(seen: &Seen) -> Vec<Check> {
    let Memory { warm, loaded, idle } = seen.memory;
    let Requests { begun, crossed, counted } = seen.requests;
    let ([before, after], most) = (seen.descriptors, warm + warm / 10 + SLACK);
    let mib = |kib: u64| kib as f64 / 1024.0;
    let grown = |now| format!("{:.1} MiB, warm {:.1}, at most {:.1}", mib(now), mib(warm), mib(most));
    let check = |what, told, holds| Check { what, told, holds };
    vec![
        check("some requests succeeded", format!("{} successes", seen.successes), seen.successes > 0),
        check("no wrong response", format!("{} wrong", seen.wrong), seen.wrong == 0),
        check(
            "every request counted once",
            format!("{begun} begun, {crossed} of them crossed a close, {counted} counted"),
            counted <= begun && counted >= begun - crossed.min(begun),
        ),
        check("few crossed a close", format!("{crossed} of {begun}"), crossed <= begun / CROSSED),
        check("no connection open", format!("{:?}", seen.open), seen.open == [0, 0]),
        check("no attempt in flight", format!("{:?}", seen.in_flight), seen.in_flight == [0, 0]),
        check("descriptors are back", format!("{before} at the start, {after} now"), after <= before),
        check("memory under load", grown(loaded), loaded <= most),
        check("memory after the load", grown(idle), idle <= most),
        check("idle when idle", format!("{:.2} % of a CPU", seen.idle_cpu * 100.0), seen.idle_cpu < 0.01),
    ]
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.holds { "ok    " } else { "FAILED" };
        write!(f, "{verdict}  {:<27} {}", self.what, self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Seen = Seen {
        memory: Memory { warm: 20_000, loaded: 24_048, idle: 18_000 },
        open: [0, 0],
        in_flight: [0, 0],
        descriptors: [20, 20],
        requests: Requests { begun: 100_000, crossed: 2, counted: 99_998 },
        wrong: 0,
        successes: 1,
        idle_cpu: 0.009,
    };

    fn failed(seen: &Seen) -> Vec<&'static str> {
        checks(seen).iter().filter(|check| !check.holds).map(|check| check.what).collect()
    }

    #[test]
    fn each_check_can_fail_and_fails_alone() {
        assert_eq!(failed(&GOOD), [""; 0]);
        let requests = |counted| Requests { counted, ..GOOD.requests };
        let memory = |loaded, idle| Memory { loaded, idle, ..GOOD.memory };
        for (seen, what) in [
            (Seen { successes: 0, ..GOOD }, "some requests succeeded"),
            (Seen { wrong: 1, ..GOOD }, "no wrong response"),
            (Seen { requests: requests(99_997), ..GOOD }, "every request counted once"),
            (Seen { requests: requests(100_001), ..GOOD }, "every request counted once"),
            (Seen { requests: Requests { crossed: 11, ..GOOD.requests }, ..GOOD }, "few crossed a close"),
            (Seen { open: [0, 1], ..GOOD }, "no connection open"),
            (Seen { in_flight: [1, 0], ..GOOD }, "no attempt in flight"),
            (Seen { descriptors: [20, 21], ..GOOD }, "descriptors are back"),
            (Seen { memory: memory(24_049, 18_000), ..GOOD }, "memory under load"),
            (Seen { memory: memory(20_000, 24_049), ..GOOD }, "memory after the load"),
            (Seen { idle_cpu: 0.01, ..GOOD }, "idle when idle"),
        ] {
            assert_eq!(failed(&seen), [what], "{seen:?}");
        }
    }
}
