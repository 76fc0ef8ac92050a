//! What a user may say about health: parameters, with their defaults.

use std::num::NonZeroU32;
use std::time::Duration;

/// What a backend counts as before its first probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// As up: it gets requests at once. The default.
    #[default]
    Up,
    /// As down: it gets nothing before its first success.
    Down,
}

/// How many results in a row change a backend's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes in a row that bring a backend up. Default 2; the first success after `start: down` is enough.
    pub rise: NonZeroU32,
    /// Failures in a row that take it down. Default 3.
    pub fall: NonZeroU32,
    /// What it counts as before the first probe. Default up.
    pub start: Start,
}

/// Judging backends by the traffic that they serve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierOptions {
    /// Failures in a row that eject a backend. Default 5; `None` does not look at it.
    pub consecutive_failures: Option<NonZeroU32>,
    /// The share of failures in an interval, from 0 to 1, above which a backend is ejected. Default `None`.
    pub failure_rate: Option<f64>,
    /// How many times the median of its peers' mean latency a backend's may be in an interval. Default `None`.
    pub latency_factor: Option<f64>,
    /// Fewest responses in an interval for judging a rate or a latency. Default 50.
    pub min_requests: u32,
    /// How often rate and latency are looked at. Default 5 s.
    pub interval: Duration,
    /// For how long a backend is ejected the first time; the n-th time in a row n times as long. Default 30 s.
    pub ejection_time: Duration,
    /// The longest ejection. Default 300 s.
    pub max_ejection_time: Duration,
    /// The share of backends that may be ejected at a time, from 0 to 1, rounded down: of three backends a half is one. The
    /// last one that can be chosen never is, whatever the share. Default 0.5.
    pub max_ejected: f64,
}

/// What is done when no backend may be chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenAllDown {
    /// Send requests to all, as if all were up: a probe may be wrong. The default.
    #[default]
    FailOpen,
    /// Requests are refused.
    Refuse,
}

/// What decides which backends of an upstream may be chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// How probes count; `None` when there are none.
    pub thresholds: Option<Thresholds>,
    /// How traffic counts; `None` when it does not.
    pub outliers: Option<OutlierOptions>,
    /// For how long the weight of a backend that came back grows, linearly. Default not at all.
    pub slow_start: Option<Duration>,
    /// What is done when none may be chosen.
    pub when_all_down: WhenAllDown,
    /// If the share of usable backends is below this, from 0 to 1, requests go to all backends: the few usable ones
    /// would be overloaded. Default 0, never.
    pub panic_threshold: f64,
}

// === impl Thresholds ===

impl Default for Thresholds {
    fn default() -> Self {
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self { rise: number(2), fall: number(3), start: Start::Up }
    }
}

// === impl OutlierOptions ===

impl Default for OutlierOptions {
    fn default() -> Self {
        Self {
            consecutive_failures: NonZeroU32::new(5),
            failure_rate: None,
            latency_factor: None,
            min_requests: 50,
            interval: Duration::from_secs(5),
            ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejected: 0.5,
        }
    }
}
