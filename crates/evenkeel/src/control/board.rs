//! What is known about an upstream's backends, for display: the keeper writes, the admin address reads.

use std::time::{Duration, Instant, SystemTime};

use evenkeel_core::health::{Description, Event, Mode, Reason, State};
use parking_lot::Mutex;

use crate::observe::{HealthView, UpstreamHealth};
use crate::probe;

/// What is known of an upstream's backends.
#[derive(Debug)]
pub struct Board(Mutex<Content>);

#[derive(Debug)]
pub(super) struct Content {
    pub(super) mode: Mode,
    mode_changes: u64,
    pub(super) backends: Vec<BackendStatus>,
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

// === impl Board ===

impl Board {
    /// With nothing known yet of so many backends.
    pub(super) fn new(backends: impl Iterator<Item = (State, Description)>, mode: Mode) -> Self {
        let status = |(state, description)| BackendStatus {
            state,
            description,
            gray: false,
            probe: None,
            counts: HealthView::default(),
        };
        let backends = backends.map(status);
        Self(Mutex::new(Content { mode, mode_changes: 0, backends: backends.collect() }))
    }

    /// For other backends, of which some were here before: what is known of those stays.
    pub(super) fn replaced(
        &self,
        backends: impl Iterator<Item = (State, Description, Option<usize>)>,
        mode: Mode,
    ) -> Self {
        let content = self.0.lock();
        let status = |(state, description, before): (State, Description, Option<usize>)| {
            let known = before.and_then(|index| content.backends.get(index));
            BackendStatus {
                state,
                description,
                gray: known.is_some_and(|status| status.gray),
                probe: known.and_then(|status| status.probe.clone()),
                counts: known.map(|status| status.counts.clone()).unwrap_or_default(),
            }
        };
        let backends = backends.map(status).collect();
        Self(Mutex::new(Content { mode, mode_changes: content.mode_changes, backends }))
    }

    /// Shows what is known to `look`.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Content) -> T) -> T {
        look(&self.0.lock())
    }

    /// What is counted of the upstream, and of each backend.
    pub(super) fn counts(&self) -> (UpstreamHealth, Vec<HealthView>) {
        let content = self.0.lock();
        let upstream = UpstreamHealth { mode: mode_name(content.mode), mode_changes: content.mode_changes };
        let status = |status: &BackendStatus| HealthView {
            up: matches!(status.state, State::Up | State::Starting { .. }),
            gray: status.gray,
            ..status.counts.clone()
        };
        (upstream, content.backends.iter().map(status).collect())
    }

    pub(super) fn probed(&self, index: usize, outcome: &probe::Outcome) {
        let mut content = self.0.lock();
        let Some(status) = content.backends.get_mut(index) else { return };
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
            Event::Ejected { index, reason, .. } => {
                if let Some(status) = content.backends.get_mut(*index) {
                    status.counts.ejected(reason_name(reason));
                }
            }
            Event::ModeChanged { .. } => content.mode_changes += 1,
            _ => {}
        }
    }

    pub(super) fn stands(&self, mode: Mode, states: impl Iterator<Item = (State, bool)>) {
        let mut content = self.0.lock();
        content.mode = mode;
        for (status, (state, gray)) in content.backends.iter_mut().zip(states) {
            (status.state, status.gray) = (state, gray);
        }
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
