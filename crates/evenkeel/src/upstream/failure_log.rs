//! Lines of the error log about failures: the first of each cause at once, then at most one in ten seconds, with a count.
//!
//! Only failures come here: a request that succeeds touches none of this, and takes no lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Endpoint, FailureAlert, Upstream};

/// The failures of one subject, by their causes.
#[derive(Debug, Default)]
pub struct FailureLog(Mutex<Vec<OpenCause>>);

/// Who wants to know of an upstream's failures.
#[derive(Debug, Default)]
pub struct FailureReports {
    /// Who wants to know at once that a backend fails, if anyone does.
    pub(super) alert: Option<FailureAlert>,
    /// Requests that failed.
    requests: FailureLog,
    /// How many causes of backends have a line now.
    open: AtomicUsize,
}

/// A cause that has had its line, and is counted until the next one.
#[derive(Debug)]
struct OpenCause {
    cause: &'static str,
    since: Instant,
    /// How often since the last line.
    more: u64,
    /// Whether it has had more than one line.
    lasts: bool,
}

/// How a request failed, for the error log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestFailure {
    /// The upstream takes no more requests now.
    Overloaded,
    /// No backend can be picked.
    NoBackend,
    /// Every attempt failed.
    AllAttempts,
}

/// What a window came to.
enum WindowEnd {
    /// It goes on: so many since the last line.
    Again(u64),
    /// Nothing more has happened. After more than one line, it says how long it lasted.
    Over(Option<Duration>),
}

/// How long a cause is counted before it has another line.
const WINDOW: Duration = Duration::from_secs(10);
/// How many causes of an upstream's backends have lines at a time: of thousands of backends that fail, no more is read.
const MOST: usize = 32;
const TOO_MANY: &str = "too many backends fail to list all of them";

// === impl FailureLog ===

impl FailureLog {
    /// Counts a failure. Whether it is the first of its cause, which has its line at once.
    fn note(&self, cause: &'static str) -> bool {
        let mut all = self.0.lock();
        if let Some(open) = all.iter_mut().find(|open| open.cause == cause) {
            open.more += 1;
            return false;
        }
        all.push(OpenCause { cause, since: Instant::now(), more: 0, lasts: false });
        true
    }

    fn is_open(&self, cause: &str) -> bool {
        self.0.lock().iter().any(|open| open.cause == cause)
    }

    /// The window of a cause has ended: the next one begins, or none.
    fn turn(&self, cause: &str) -> WindowEnd {
        let mut all = self.0.lock();
        let Some(at) = all.iter().position(|open| open.cause == cause) else { return WindowEnd::Over(None) };
        match all.get_mut(at) {
            Some(open) if open.more > 0 => {
                open.lasts = true;
                WindowEnd::Again(std::mem::take(&mut open.more))
            }
            _ => {
                let open = all.swap_remove(at);
                WindowEnd::Over(open.lasts.then(|| open.since.elapsed()))
            }
        }
    }
}

// === impl FailureReports ===

impl FailureReports {
    /// With nothing to report yet.
    pub fn new(alert: Option<FailureAlert>) -> Self {
        Self { alert, ..Self::default() }
    }
}

// === impl Upstream ===

impl Upstream {
    /// An attempt at a backend failed for this cause.
    pub(super) fn attempt_failed(self: &Arc<Self>, endpoint: &Arc<Endpoint>, cause: &'static str) {
        let open = &self.reports.open;
        if open.load(Relaxed) >= MOST && !endpoint.failures.is_open(cause) {
            return self.tell("", TOO_MANY, log::Level::Warn);
        }
        if !endpoint.failures.note(cause) {
            return;
        }
        open.fetch_add(1, Relaxed);
        log::warn!("upstream {}: {}: {cause}", self.name, endpoint.backend.name());
        let (upstream, endpoint) = (self.clone(), endpoint.clone());
        each_window(move || {
            let name = endpoint.backend.name();
            let goes_on = match endpoint.failures.turn(cause) {
                WindowEnd::Again(count) => {
                    log::warn!("upstream {}: {name}: {cause}{}", upstream.name, and_more(count));
                    true
                }
                WindowEnd::Over(_) => false,
            };
            if !goes_on {
                upstream.reports.open.fetch_sub(1, Relaxed);
            }
            goes_on
        });
    }

    /// A request failed: a line of the error log, with this cause.
    pub fn request_failed(self: &Arc<Self>, failed: RequestFailure, cause: &'static str) {
        match failed {
            RequestFailure::Overloaded => self.tell("request rejected: ", cause, log::Level::Warn),
            RequestFailure::NoBackend => self.tell("request rejected: ", cause, log::Level::Error),
            RequestFailure::AllAttempts => {
                self.tell("request failed on all attempts: ", cause, log::Level::Error);
            }
        }
    }

    fn tell(self: &Arc<Self>, what: &'static str, cause: &'static str, level: log::Level) {
        if !self.reports.requests.note(cause) {
            return;
        }
        log::log!(level, "upstream {}: {what}{cause}", self.name);
        let upstream = self.clone();
        let requests_before = upstream.requests();
        each_window(move || match upstream.reports.requests.turn(cause) {
            WindowEnd::Again(count) => {
                log::log!(level, "upstream {}: {what}{cause}{}", upstream.name, and_more(count));
                true
            }
            WindowEnd::Over(lasted) => {
                if let Some(lasted) = lasted
                    && upstream.requests() > requests_before
                {
                    let seconds = lasted.saturating_sub(WINDOW).as_secs();
                    let name = &upstream.name;
                    log::info!("upstream {name}: ended after {seconds} s: {what}{cause}");
                }
                false
            }
        });
    }
}

/// Of so many that happened since the last line, the line stands for one.
fn and_more(count: u64) -> String {
    match count {
        0 | 1 => String::new(),
        _ => format!(" (and {} more in the last {} s)", count - 1, WINDOW.as_secs()),
    }
}

/// Calls `turn` after each window, for as long as it returns true. The worker's end ends it.
fn each_window(mut turn: impl FnMut() -> bool + Send + 'static) {
    // Where there is no runtime there are no windows: tests of decisions alone.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(WINDOW).await;
            if !turn() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::{FailureLog, WindowEnd, and_more};

    #[test]
    fn the_first_of_each_cause_is_told_and_the_others_are_counted() {
        let failures = FailureLog::default();
        assert!(failures.note("refused") && failures.note("reset"));
        for _ in 0..412 {
            assert!(!failures.note("refused"));
        }
        assert!(matches!(failures.turn("refused"), WindowEnd::Again(412)));
        assert!(matches!(failures.turn("reset"), WindowEnd::Over(None)));
        assert!(matches!(failures.turn("refused"), WindowEnd::Over(Some(_))));
        assert!(failures.note("refused"), "a new outage has a line of its own");
    }

    #[test]
    fn a_line_stands_for_one() {
        assert_eq!([0, 1, 413].map(and_more), ["", "", " (and 412 more in the last 10 s)"]);
    }
}
