//! What the error log says of an upstream's health: a line for each event, and counts where thousands come at once.
//!
//! It never decides anything, and knows of backends only their names and what happened to them.

use std::time::{Duration, Instant};

use evenkeel_core::Moment;
use evenkeel_core::health::{Event, Mode, Reason};
use log::Level;

use super::handle::SetChange;

/// Writes the lines of one upstream.
#[derive(Debug)]
pub(super) struct EventLog {
    upstream: Box<str>,
    /// Since when not only healthy backends are chosen from.
    abnormal_since: Option<Instant>,
    window: Option<Window>,
}

/// What an event's line needs to know besides the event.
pub(super) struct EventContext<'a> {
    /// The name of the backend that it is about.
    pub(super) backend: &'a str,
    /// Why its last probe failed.
    pub(super) probe: Option<String>,
    /// How many backends are healthy, and how many there are.
    pub(super) healthy: (usize, usize),
    pub(super) now: Moment,
}

/// A time in which so many lines were written.
#[derive(Debug)]
struct Window {
    until: Instant,
    lines: usize,
    /// How many events of each kind had no line.
    left_out: [u64; KINDS.len()],
}

/// How many events have a line of their own in a window.
const LINES: usize = 20;
const WINDOW: Duration = Duration::from_secs(10);
const KINDS: [&str; 6] =
    ["came up", "went down", "ejections", "returns", "disagreements", "changes of the set of backends"];

// === impl EventLog ===

impl EventLog {
    pub(super) fn new(upstream: &str) -> Self {
        Self { upstream: upstream.into(), abnormal_since: None, window: None }
    }

    /// Tells of an event, or counts it if there have been too many.
    pub(super) fn log_event(&mut self, event: &Event, context: &EventContext<'_>) {
        if let Event::ModeChanged { from, to } = event {
            return self.log_mode(*from, *to, context.healthy);
        }
        let kind = match event {
            Event::Up { .. } => 0,
            Event::Down { .. } => 1,
            Event::Ejected { .. } => 2,
            Event::Returned { .. } => 3,
            _ => 4,
        };
        if self.admits(kind) {
            let (level, text) = line(event, context);
            log::log!(level, "upstream {}: {text}", self.upstream);
        }
    }

    /// Logs that the set of backends was replaced, or counts it if there has been too much to log.
    pub(super) fn log_set(&mut self, change: &SetChange) {
        if self.admits(5) {
            let SetChange { added, removed, total, .. } = change;
            log::info!("upstream {}: {added} backends added, {removed} removed: {total} now", self.upstream);
            for reason in change.rejected.iter().take(LINES) {
                log::warn!("backend ignored: {reason}");
            }
        }
    }

    /// Logs a change at run time. It always has its line: someone made it.
    pub(super) fn log_change(&self, what: &str, by: &str, usable: usize) {
        log::info!(
            "upstream {}: {what}: changed by {by}, until the process ends or it is changed back",
            self.upstream
        );
        if usable == 0 {
            log::warn!("upstream {}: no backend can be picked now: rejecting requests", self.upstream);
        }
    }

    /// When there is something to log of what had no line.
    pub(super) fn due(&self) -> Option<Instant> {
        self.window.as_ref().map(|window| window.until)
    }

    /// Tells of what had no line, if its time has come.
    pub(super) fn flush(&mut self) {
        let Some(window) = self.window.take_if(|window| window.until <= Instant::now()) else { return };
        if let Some(counts) = counts(&window.left_out) {
            log::warn!("upstream {}: also in the last {} s: {counts}", self.upstream, WINDOW.as_secs());
        }
    }

    /// A change of mode always has its line: it is about the whole upstream.
    fn log_mode(&mut self, from: Mode, to: Mode, healthy: (usize, usize)) {
        let lasted = match to {
            Mode::Normal => self.abnormal_since.take().map(|since| since.elapsed()),
            _ => {
                self.abnormal_since.get_or_insert_with(Instant::now);
                None
            }
        };
        let (level, text) = mode_line(from, to, healthy, lasted.unwrap_or_default());
        log::log!(level, "upstream {}: {text}", self.upstream);
    }

    fn admits(&mut self, kind: usize) -> bool {
        self.flush();
        let fresh = || Window { until: Instant::now() + WINDOW, lines: 0, left_out: [0; KINDS.len()] };
        let window = self.window.get_or_insert_with(fresh);
        if window.lines < LINES {
            window.lines += 1;
            return true;
        }
        if let Some(count) = window.left_out.get_mut(kind) {
            *count += 1;
        }
        false
    }
}

fn counts(left_out: &[u64; KINDS.len()]) -> Option<String> {
    let parts = left_out.iter().zip(KINDS).filter(|(count, _)| **count > 0);
    let parts: Vec<String> = parts.map(|(count, kind)| format!("{count} {kind}")).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn line(event: &Event, context: &EventContext<'_>) -> (Level, String) {
    let name = context.backend;
    match event {
        Event::Up { .. } => (Level::Info, format!("{name} is up")),
        Event::Down { .. } => {
            (Level::Warn, format!("{name} is down: {}", context.probe.as_deref().unwrap_or_default()))
        }
        Event::Ejected { reason, until, .. } => {
            let time = until.since(context.now);
            (Level::Warn, format!("{name} is ejected for {time:.1?}: {}", reason_text(reason)))
        }
        Event::Returned { .. } => (Level::Info, format!("{name} is no longer ejected")),
        Event::Gray { probes_up: true, .. } => {
            (Level::Warn, format!("{name}: probes pass, but requests fail"))
        }
        Event::Gray { probes_up: false, .. } => {
            (Level::Warn, format!("{name}: requests succeed, but probes fail"))
        }
        Event::GrayOver { .. } => (Level::Info, format!("{name}: probes and requests agree again")),
        Event::ModeChanged { .. } => (Level::Info, String::new()),
    }
}

fn mode_line(from: Mode, to: Mode, (healthy, all): (usize, usize), lasted: Duration) -> (Level, String) {
    match (from, to) {
        (_, Mode::FailOpen) => {
            (Level::Error, format!("no healthy backend: sending to all {all} (when_all_down: fail_open)"))
        }
        (_, Mode::Panic) => {
            let text = format!("only {healthy} of {all} backends healthy: sending to all (panic_threshold)");
            (Level::Error, text)
        }
        (_, Mode::Refuse) => {
            (Level::Error, "no healthy backend: rejecting requests (when_all_down: refuse)".to_owned())
        }
        (_, Mode::Normal) => {
            let seconds = lasted.as_secs_f64().round();
            (Level::Info, format!("{healthy} of {all} backends healthy again after {seconds} s"))
        }
    }
}

fn reason_text(reason: &Reason) -> String {
    match reason {
        Reason::ConsecutiveFailures(failures) => format!("{failures} failures in a row"),
        Reason::FailureRate(rate) => format!("{:.1} % of its requests failed", rate * 100.0),
        Reason::Latency(factor) => format!("{factor:.1} times as slow as the other backends"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, EventLog, LINES, Mode, counts, mode_line};

    #[test]
    fn ten_thousand_ejections_are_not_ten_thousand_lines() {
        let mut event_log = EventLog::new("web");
        let lines = (0..10_000).filter(|_| event_log.admits(2)).count();
        assert_eq!(lines, LINES);
        let left_out = &event_log.window.as_ref().unwrap().left_out;
        assert_eq!(counts(left_out).unwrap(), "9980 ejections");
    }

    #[test]
    fn an_outage_is_obvious_as_it_begins_and_as_it_ends() {
        let lasted = Duration::from_millis(12_400);
        let (level, text) = mode_line(Mode::Normal, Mode::FailOpen, (0, 4), Duration::ZERO);
        assert_eq!(level, log::Level::Error);
        assert_eq!(text, "no healthy backend: sending to all 4 (when_all_down: fail_open)");
        let (_, text) = mode_line(Mode::FailOpen, Mode::Normal, (3, 4), lasted);
        assert_eq!(text, "3 of 4 backends healthy again after 12 s");
    }
}
