//! What is known about an upstream's backends, for display: the keeper writes, the admin address reads.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use evenkeel_core::backend::{BackendId, BackendMap};
use evenkeel_core::health::{Description, Event, Mode, Reason, State};
use parking_lot::Mutex;

use super::overrides::Override;
use crate::observe::{HealthView, UpstreamHealth};
use crate::probe;
use crate::upstream::Roster;

/// What is known of an upstream's backends.
#[derive(Debug)]
pub struct StatusBoard(Mutex<Content>);

#[derive(Debug)]
pub(super) struct Content {
    pub(super) mode: Mode,
    mode_changes: u64,
    backends: BackendMap<BackendStatus>,
    /// What was changed at run time.
    pub(super) overrides: Arc<[Override]>,
    /// Which state of the set this is.
    pub(super) revision: u64,
}

/// What is known of one backend.
#[derive(Debug)]
pub(super) struct BackendStatus {
    pub(super) state: State,
    /// As configured.
    pub(super) description: Description,
    pub(super) gray: bool,
    pub(super) probe: Option<LastProbe>,
    counts: HealthView,
}

/// The last probe of a backend.
#[derive(Clone, Debug)]
pub(super) struct LastProbe {
    /// By the wall clock.
    pub(super) at: SystemTime,
    pub(super) took: Duration,
    /// Why the backend is unhealthy; `None` if it is healthy.
    pub(super) failed: Option<String>,
}

// === impl StatusBoard ===

impl StatusBoard {
    /// Without backends.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Content {
            mode: Mode::Normal,
            mode_changes: 0,
            backends: BackendMap::new(),
            overrides: Arc::default(),
            revision: 0,
        }))
    }

    /// Takes over how the set differs from what it was given as.
    pub(super) fn differ(&self, overrides: Arc<[Override]>, revision: u64) {
        let mut content = self.0.lock();
        (content.overrides, content.revision) = (overrides, revision);
    }

    /// Takes over which backends there are. What is known of those that stay is kept.
    pub(super) fn replace(
        &self,
        backends: impl Iterator<Item = (BackendId, Description)>,
        left: &[BackendId],
    ) {
        let mut content = self.0.lock();
        for id in left {
            content.backends.remove(*id);
        }
        for (id, description) in backends {
            match content.backends.get_mut(id) {
                Some(status) => status.description = description,
                None => drop(content.backends.insert(id, BackendStatus::new(description))),
            }
        }
    }

    /// Shows what is known to `look`.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Content) -> T) -> T {
        look(&self.0.lock())
    }

    /// What is counted of the upstream, and of each of these backends.
    pub(super) fn counts(&self, roster: &Roster) -> (UpstreamHealth, Vec<HealthView>) {
        let content = self.0.lock();
        let upstream = UpstreamHealth { mode: mode_name(content.mode), mode_changes: content.mode_changes };
        let view = |status: &BackendStatus| HealthView {
            up: matches!(status.state, State::Up | State::Starting { .. }),
            gray: status.gray,
            ..status.counts.clone()
        };
        let views = roster.iter().map(|endpoint| content.status(endpoint.id).map(view).unwrap_or_default());
        (upstream, views.collect())
    }

    pub(super) fn probed(&self, id: BackendId, outcome: &probe::Outcome) {
        let mut content = self.0.lock();
        let Some(status) = content.backends.get_mut(id) else { return };
        let failed = outcome.result.as_ref().err().map(ToString::to_string);
        match failed {
            None => status.counts.probes_passed += 1,
            Some(_) => status.counts.probes_failed += 1,
        }
        let at = SystemTime::now() - Instant::now().saturating_duration_since(outcome.at);
        status.probe = Some(LastProbe { at, took: outcome.took, failed });
    }

    pub(super) fn happened(&self, event: &Event) {
        let mut content = self.0.lock();
        match event {
            Event::Ejected { backend, reason, .. } => {
                if let Some(status) = content.backends.get_mut(*backend) {
                    status.counts.ejected(reason_name(reason));
                }
            }
            Event::ModeChanged { .. } => content.mode_changes += 1,
            _ => {}
        }
    }

    pub(super) fn stands(&self, mode: Mode, states: impl Iterator<Item = (BackendId, State, bool)>) {
        let mut content = self.0.lock();
        content.mode = mode;
        for (id, state, gray) in states {
            if let Some(status) = content.backends.get_mut(id) {
                (status.state, status.gray) = (state, gray);
            }
        }
    }
}

// === impl Content ===

impl Content {
    /// What is known of a backend; nothing if it has just left.
    pub(super) fn status(&self, id: BackendId) -> Option<&BackendStatus> {
        self.backends.get(id)
    }
}

// === impl BackendStatus ===

impl BackendStatus {
    fn new(description: Description) -> Self {
        Self { state: State::Down, description, gray: false, probe: None, counts: HealthView::default() }
    }
}

/// What a mode is called in `/status` and metrics.
pub(super) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Normal => "normal",
        Mode::FailOpen => "fail_open",
        Mode::Panic => "panic",
        Mode::Refuse => "refuse",
    }
}

/// What a state is called in `/status`.
pub(super) fn state_name(state: State) -> &'static str {
    match state {
        State::Up => "up",
        State::Starting { .. } => "starting",
        State::Down => "down",
        State::Ejected { .. } => "ejected",
        State::Out => "out",
    }
}

/// What a reason is called in metrics.
pub(super) fn reason_name(reason: &Reason) -> &'static str {
    match reason {
        Reason::ConsecutiveFailures(_) => "consecutive_failures",
        Reason::FailureRate(_) => "failure_rate",
        Reason::Latency(_) => "latency",
    }
}
