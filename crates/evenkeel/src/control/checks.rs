//! The probes of one upstream's backends: one task for each, started and stopped as backends join and leave.

use std::time::{Duration, Instant};

use evenkeel_config::HealthCheck;
use evenkeel_core::Moment;
use evenkeel_core::backend::{BackendId, BackendMap};
use evenkeel_core::health::ProbeTimes;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::set::BackendSet;
use crate::probe::{self, Outcome, Probe};
use crate::upstream::Endpoint;

/// The probes of one upstream. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Checks {
    interval: Duration,
    /// How long after a probe's end the next one must have ended.
    patience: Duration,
    /// What is not started yet.
    waiting: Vec<(BackendId, Probe)>,
    running: BackendMap<Running>,
    tasks: JoinSet<()>,
    tell: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
    times: ProbeTimes,
    /// When to look for probes that do not happen.
    next_look: Instant,
}

/// A probe's end.
pub(super) type Report = (BackendId, Outcome);

#[derive(Debug)]
struct Running {
    task: AbortHandle,
    /// When its last probe has ended.
    heard: Instant,
    /// Whether the log has a line that there is none.
    reported: bool,
}

/// Results that wait for the keeper. One that finds no room is lost, and the next one counts.
const ROOM: usize = 1024;

// === impl Checks ===

impl Checks {
    pub(super) fn new(check: &HealthCheck) -> Self {
        let (tell, reports) = mpsc::channel(ROOM);
        Self {
            interval: check.interval,
            patience: check.interval * 2 + check.timeout,
            waiting: Vec::new(),
            running: BackendMap::new(),
            tasks: JoinSet::new(),
            tell,
            reports,
            times: ProbeTimes::default(),
            next_look: Instant::now(),
        }
    }

    /// A backend has joined. Its probe begins with [`start`](Self::start).
    pub(super) fn add(&mut self, id: BackendId, probe: Probe) {
        self.times.add(id);
        self.waiting.push((id, probe));
    }

    /// A backend has left.
    pub(super) fn remove(&mut self, id: BackendId) {
        self.times.remove(id);
        if let Some(running) = self.running.remove(id) {
            running.task.abort();
        } else {
            self.waiting.retain(|(waiting, _)| *waiting != id);
        }
    }

    /// Starts the probes of backends that have joined.
    pub(super) fn start(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        let heard = Instant::now();
        for (id, probe) in std::mem::take(&mut self.waiting) {
            let tell = self.tell.clone();
            // Each on its own: one that hangs holds up no other.
            let task = self.tasks.spawn(probe::watch(probe, self.interval, move |outcome| {
                let _ = tell.try_send((id, outcome));
            }));
            self.running.insert(id, Running { task, heard, reported: false });
        }
    }

    /// The next result.
    pub(super) async fn next(&mut self) -> Report {
        match self.reports.recv().await {
            Some(report) => report,
            // It cannot be: there is a sender.
            None => std::future::pending().await,
        }
    }

    /// Another result that is there already.
    pub(super) fn try_next(&mut self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Takes note of a result. Requests are spared the test of a backend that its probes show to be slow still.
    pub(super) fn heard(&mut self, id: BackendId, outcome: &Outcome, endpoint: &Endpoint, now: Moment) {
        if let Some(running) = self.running.get_mut(id) {
            (running.heard, running.reported) = (Instant::now(), false);
        }
        // A failure says nothing of what requests would take.
        if outcome.result.is_ok() {
            let slow = self.times.took(id, outcome.took);
            let until = if slow { now.after(self.patience) } else { Moment::default() };
            endpoint.backend.counters().latency().spare_tests(until);
        }
    }

    /// When to look for probes that do not happen: a check that never runs is a fault, and must not go unnoticed.
    pub(super) fn due(&self) -> Instant {
        self.next_look
    }

    /// Looks for probes that do not happen, and logs them.
    pub(super) fn look(&mut self, upstream: &str, set: &BackendSet) {
        let (now, patience) = (Instant::now(), self.patience + Duration::from_secs(1));
        let mut next = now + patience;
        for (id, running) in &mut self.running {
            if running.reported {
                continue;
            }
            if now.saturating_duration_since(running.heard) < patience {
                next = next.min(running.heard + patience);
                continue;
            }
            running.reported = true;
            let name = set.get(id).map(|endpoint| endpoint.backend.name()).unwrap_or_default();
            log::error!("upstream {upstream}: {name} was not probed for {patience:?}");
        }
        self.next_look = next;
    }
}
