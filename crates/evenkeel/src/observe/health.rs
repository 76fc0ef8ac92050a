//! What is shown of backends' health.

use super::exposition::Exposition;

/// What is counted of an upstream as a whole.
#[derive(Clone, Debug)]
pub struct UpstreamHealth {
    /// How backends are chosen: one of [`UpstreamHealth::MODES`].
    pub mode: &'static str,
    /// How often that has changed.
    pub mode_changes: u64,
}

/// An upstream in a [`View`](super::View).
#[derive(Clone, Debug)]
pub struct UpstreamView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its health.
    pub health: UpstreamHealth,
    /// Requests that wait for a free backend.
    pub pending: usize,
}

/// What is counted of a backend's health.
#[derive(Clone, Debug, Default)]
pub struct HealthView {
    /// Whether it may be chosen.
    pub up: bool,
    /// Whether probes and traffic disagree about it.
    pub gray: bool,
    /// Probes that found it healthy.
    pub probes_passed: u64,
    /// Probes that did not.
    pub probes_failed: u64,
    /// Ejections, by [`HealthView::REASONS`].
    pub ejections: [u64; HealthView::REASONS.len()],
}

// === impl UpstreamHealth ===

impl UpstreamHealth {
    /// How backends may be chosen, as the label `mode` says it.
    pub const MODES: [&'static str; 4] = ["normal", "fail_open", "panic", "refuse"];
}

// === impl HealthView ===

impl HealthView {
    /// Why a backend may be ejected, as the label `reason` says it.
    pub const REASONS: [&'static str; 3] = ["consecutive_failures", "failure_rate", "latency"];

    /// Counts an ejection, by one of [`HealthView::REASONS`].
    pub fn ejected(&mut self, reason: &str) {
        let at = Self::REASONS.iter().position(|known| *known == reason);
        if let Some(count) = at.and_then(|at| self.ejections.get_mut(at)) {
            *count += 1;
        }
    }
}

/// The page on upstreams.
pub(super) fn upstreams(page: &mut Exposition, upstreams: &[UpstreamView<'_>]) {
    let name = "evenkeel_upstream_mode";
    page.family(name, "gauge", "Mode of an upstream: 1 for the current mode.");
    for upstream in upstreams {
        for mode in UpstreamHealth::MODES {
            let on = u8::from(upstream.health.mode == mode);
            page.sample(name, &[("upstream", upstream.name), ("mode", mode)], on);
        }
    }
    let name = "evenkeel_upstream_mode_changes_total";
    page.family(name, "counter", "Mode changes of an upstream.");
    for upstream in upstreams {
        page.sample(name, &[("upstream", upstream.name)], upstream.health.mode_changes);
    }
    let name = "evenkeel_upstream_pending";
    page.family(name, "gauge", "Requests that wait for a free backend.");
    for upstream in upstreams {
        page.sample(name, &[("upstream", upstream.name)], upstream.pending);
    }
}

/// The page on backends: the names of upstream and backend, and its health.
pub(super) fn backends<'a>(page: &mut Exposition, all: &[(&'a str, &'a str, &'a HealthView)]) {
    let labels = |upstream: &'a str, backend: &'a str| [("upstream", upstream), ("backend", backend)];
    page.family("evenkeel_backend_up", "gauge", "1 if the backend can receive requests.");
    for (upstream, backend, health) in all {
        page.sample("evenkeel_backend_up", &labels(upstream, backend), u8::from(health.up));
    }
    let name = "evenkeel_backend_gray";
    page.family(name, "gauge", "1 if probes and requests disagree about a backend.");
    for (upstream, backend, health) in all {
        page.sample(name, &labels(upstream, backend), u8::from(health.gray));
    }
    let name = "evenkeel_backend_probes_total";
    page.family(name, "counter", "Probes of a backend, by result.");
    for (upstream, backend, health) in all {
        let [upstream, backend] = labels(upstream, backend);
        page.sample(name, &[upstream, backend, ("result", "passed")], health.probes_passed);
        page.sample(name, &[upstream, backend, ("result", "failed")], health.probes_failed);
    }
    let name = "evenkeel_backend_ejections_total";
    page.family(name, "counter", "Ejections of a backend, by reason.");
    for (upstream, backend, health) in all {
        let [upstream, backend] = labels(upstream, backend);
        for (reason, count) in HealthView::REASONS.iter().zip(health.ejections) {
            page.sample(name, &[upstream, backend, ("reason", reason)], count);
        }
    }
}
