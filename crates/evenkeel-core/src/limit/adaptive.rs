//! How many requests can be in progress so that none waits long: found from latency, with the least important rejected first.
//!
//! # The problem
//! The right limit of requests in progress is what the backends can do times how long a request takes, and both change. Too
//! high, and requests wait until their clients have given up; too low, and backends are idle.
//!
//! # The idea
//! The latency without a queue is measured now and then, by halving the limit for a moment. After each window of responses the
//! limit is multiplied by how that latency, and a quarter more, compares with the median of the window, and its square root
//! is added as room for bursts. So it grows while responses are as fast as without a queue, and settles where the
//! median is about one and two thirds of that. It does not grow while it is not used.
//!
//! Each priority has a share of the limit: high all of it. When a request of a higher priority was rejected in a window, the
//! shares of the lower ones shrink; else they grow slowly. So the lowest are rejected first, and the highest only
//! where they alone are too many.
//!
//! Sources: Envoy's gradient controller (envoyproxy.io, "adaptive concurrency"); Netflix, "Performance Under Load", 2018.
//! What differs, and why, is in decision 35.
//!
//! # Cost
//! Two additions for each request. A response whose sample finds no one else at it is kept; 512 of them are 2 KiB.
//!
//! # When not to use it
//! For requests whose latency depends more on what they ask for than on load: then the median says little.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::Moment;

/// Limits requests in progress by what their latency says.
#[derive(Debug)]
pub struct AdaptiveLimiter {
    options: AdaptiveOptions,
    in_progress: AtomicU32,
    /// The limit of each priority.
    limits: [AtomicU32; Priority::ALL.len()],
    /// Requests of each priority that were rejected since the last window ended.
    rejected: [AtomicU32; Priority::ALL.len()],
    /// The most that were in progress since then.
    peak: AtomicU32,
    window: Mutex<Window>,
}

/// Within which bounds the limit is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveOptions {
    /// The lowest limit. Default 4.
    pub min: u32,
    /// The highest limit. Default 1000.
    pub max: u32,
}

/// How important a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Rejected last.
    High,
    /// As most requests.
    #[default]
    Normal,
    /// Rejected first.
    Low,
}

/// What is known of latency.
#[derive(Debug)]
struct Window {
    limit: f64,
    /// The shares of priorities below the highest.
    shares: [f64; Priority::ALL.len() - 1],
    began: Moment,
    samples: Vec<u32>,
    /// The median without a queue, in microseconds.
    unloaded: Option<f64>,
    probe: Probe,
}

/// Measuring the latency without a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// The next one begins then.
    At(Moment),
    /// The limit is low, and what was in progress before ends.
    Draining,
    /// What ends now began under the low limit.
    Measuring,
}

/// How long a window is at least, in time and in responses.
const WINDOW: Duration = Duration::from_millis(100);
const ENOUGH: usize = 200;
/// How many samples are kept.
const MOST: usize = 512;
/// How often the latency without a queue is measured.
const PROBE_INTERVAL: u64 = 30_000_000;
/// How much slower than without a queue is as good.
const TOLERANCE: f64 = 1.25;
/// The limit before anything is known.
const FIRST: f64 = 20.0;

// === impl AdaptiveLimiter ===

impl AdaptiveLimiter {
    /// Begins with a limit of 20.
    pub fn new(options: AdaptiveOptions, now: Moment) -> Self {
        let limiter = Self {
            options: AdaptiveOptions { min: options.min.max(1), max: options.max.max(options.min.max(1)) },
            in_progress: AtomicU32::new(0),
            limits: Default::default(),
            rejected: Default::default(),
            peak: AtomicU32::new(0),
            window: Mutex::new(Window::new(now)),
        };
        if let Ok(window) = limiter.window.lock() {
            limiter.publish(&window);
        }
        limiter
    }

    /// Whether a request can begin. If so, [`leave`](Self::leave) must follow.
    pub fn enter(&self, priority: Priority) -> bool {
        let before = self.in_progress.fetch_add(1, Relaxed);
        if before < self.limit(priority) {
            self.peak.fetch_max(before + 1, Relaxed);
            return true;
        }
        self.in_progress.fetch_sub(1, Relaxed);
        if let Some(rejected) = self.rejected.get(priority as usize) {
            rejected.fetch_add(1, Relaxed);
        }
        false
    }

    /// A request has ended.
    pub fn leave(&self) {
        self.in_progress.fetch_sub(1, Relaxed);
    }

    /// A request had its response after so long. Failures are no samples: they may be fast because nothing was done.
    pub fn observe(&self, latency: Duration, now: Moment) {
        // Where another core is at it, one sample less does not matter.
        let Ok(mut window) = self.window.try_lock() else { return };
        if window.samples.len() < MOST {
            window.samples.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        }
        let long = window
            .unloaded
            .map_or(WINDOW, |unloaded| WINDOW.max(Duration::from_micros((2.0 * unloaded) as u64)));
        if window.samples.len() >= ENOUGH && now.since(window.began) >= long {
            let peak = self.peak.swap(self.in_progress.load(Relaxed), Relaxed);
            let rejected =
                [0, 1, 2].map(|at| self.rejected.get(at).map_or(0, |rejected| rejected.swap(0, Relaxed)));
            window.end(peak, rejected, now, self.options);
            self.publish(&window);
        }
    }

    /// The limit of a priority now.
    pub fn limit(&self, priority: Priority) -> u32 {
        self.limits.get(priority as usize).map_or(0, |limit| limit.load(Relaxed))
    }

    /// How many requests are in progress.
    pub fn in_progress(&self) -> u32 {
        self.in_progress.load(Relaxed)
    }

    fn publish(&self, window: &Window) {
        let low = matches!(window.probe, Probe::Draining | Probe::Measuring);
        let whole = if low { window.limit / 2.0 } else { window.limit };
        let whole = whole.clamp(f64::from(self.options.min), f64::from(self.options.max));
        let shares = [1.0].into_iter().chain(window.shares);
        for (limit, share) in self.limits.iter().zip(shares) {
            limit.store((whole * share).max(1.0) as u32, Relaxed);
        }
    }
}

// === impl AdaptiveOptions ===

impl Default for AdaptiveOptions {
    fn default() -> Self {
        Self { min: 4, max: 1000 }
    }
}

// === impl Priority ===

impl Priority {
    /// All of them, the highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The name in the configuration and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

// === impl Window ===

impl Window {
    fn new(now: Moment) -> Self {
        // What is in progress at the start has no limit to blame; the first window is only waited for.
        let probe = Probe::Draining;
        Self { limit: FIRST * 2.0, shares: [1.0; 2], began: now, samples: Vec::new(), unloaded: None, probe }
    }

    fn end(&mut self, peak: u32, rejected: [u32; 3], now: Moment, options: AdaptiveOptions) {
        let median = self.median();
        self.samples.clear();
        self.began = now;
        self.share(rejected);
        match self.probe {
            Probe::Draining => self.probe = Probe::Measuring,
            Probe::Measuring => {
                self.unloaded = Some(median);
                self.probe = Probe::At(Moment::from_micros(now.as_micros() + PROBE_INTERVAL));
            }
            Probe::At(at) if now >= at => self.probe = Probe::Draining,
            Probe::At(_) => self.adapt(median, peak, options),
        }
    }

    fn adapt(&mut self, median: f64, peak: u32, options: AdaptiveOptions) {
        let unloaded = self.unloaded.get_or_insert(median);
        // A probe can be unlucky, and backends can become faster. A little less is only chance.
        if median < *unloaded * 0.8 {
            *unloaded += (median - *unloaded) / 10.0;
        }
        let gradient = (*unloaded * TOLERANCE / median.max(1.0)).clamp(0.5, 2.0);
        let next = gradient * self.limit + self.limit.sqrt();
        let is_used = f64::from(peak) >= 0.8 * self.limit;
        // A limit that is not reached has nothing to do with the latency.
        if is_used {
            self.limit = next.clamp(f64::from(options.min), f64::from(options.max));
        }
    }

    /// Shifts what lower priorities have, by what was rejected of higher ones.
    fn share(&mut self, rejected: [u32; 3]) {
        let mut higher = 0;
        let mut most = 1.0_f64;
        for (share, above) in self.shares.iter_mut().zip(rejected) {
            higher += above;
            let next = if higher > 0 { *share * 0.85 } else { *share + 0.01 };
            *share = next.clamp(0.05, most);
            most = *share;
        }
    }

    fn median(&mut self) -> f64 {
        let middle = self.samples.len() / 2;
        if middle >= self.samples.len() {
            return 0.0;
        }
        let (_, median, _) = self.samples.select_nth_unstable(middle);
        f64::from(*median)
    }
}
