//! What a user may say about limits: parameters, with their defaults.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// So many of something in a period: `100/s`, `5000/h`. At most a million in a second, at least one in a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    period: Duration,
}

/// How often each key may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitOptions {
    /// How often, over a long time.
    pub rate: Rate,
    /// How many at once. Default: the count of the rate, so that `100/s` allows any 100 in a second.
    pub burst: u32,
    /// How many more can come at once, to wait until the rate allows them. Default 0.
    pub delayed: u32,
    /// For how many keys there is room. Default 100,000.
    pub max_keys: u32,
}

/// How many attempts beyond the first an upstream may get, over all its requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudgetOptions {
    /// Retries for each request, as a fraction. Default 0.2.
    pub ratio: f64,
    /// Retries per second that are always allowed. Default 10.
    pub min_per_second: u32,
}

/// When an upstream takes no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CircuitBreakerOptions {
    /// Most requests in flight to the upstream. Default none.
    pub max_in_flight: Option<u32>,
    /// Most retries under way. Default none.
    pub max_retries: Option<u32>,
}

/// Requests that wait for a free backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueOptions {
    /// How many may wait. Default 1024.
    pub max_pending: usize,
    /// For how long. Default 1 s.
    pub timeout: Duration,
}

// === impl Rate ===

impl Rate {
    /// The highest rate, for each second.
    pub const MAX_PER_SECOND: u32 = 1_000_000;
    /// The longest period.
    pub const MAX_PERIOD: Duration = Duration::from_secs(24 * 3600);

    /// So many in each period, which counts in whole microseconds. `None` if that is more than
    /// [`MAX_PER_SECOND`](Self::MAX_PER_SECOND), or the period is longer than [`MAX_PERIOD`](Self::MAX_PERIOD).
    pub fn new(count: NonZeroU32, period: Duration) -> Option<Self> {
        let micros = period.as_micros();
        let fits = u128::from(count.get()) * 1_000_000 <= micros * u128::from(Self::MAX_PER_SECOND);
        let period = Duration::from_micros(u64::try_from(micros).ok()?);
        (fits && period <= Self::MAX_PERIOD).then_some(Self { count, period })
    }

    /// How many in each period.
    pub fn count(self) -> NonZeroU32 {
        self.count
    }

    /// The period.
    pub fn period(self) -> Duration {
        self.period
    }
}

/// As people write it: `100/s`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u128); 6] = [
            ("d", 86_400_000_000),
            ("h", 3_600_000_000),
            ("m", 60_000_000),
            ("s", 1_000_000),
            ("ms", 1_000),
            ("us", 1),
        ];
        let (count, micros) = (self.count, self.period.as_micros());
        let unit = UNITS.iter().find(|(_, unit)| micros.is_multiple_of(*unit));
        let (unit, length) = unit.copied().unwrap_or(("us", 1));
        match micros / length {
            1 => write!(f, "{count}/{unit}"),
            units => write!(f, "{count}/{units}{unit}"),
        }
    }
}

// === impl RateLimitOptions ===

impl RateLimitOptions {
    /// This rate, with the default burst and room for the default number of keys.
    pub fn new(rate: Rate) -> Self {
        Self { rate, burst: rate.count().get(), delayed: 0, max_keys: 100_000 }
    }
}

// === impl RetryBudgetOptions ===

impl Default for RetryBudgetOptions {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 10 }
    }
}

// === impl QueueOptions ===

impl Default for QueueOptions {
    fn default() -> Self {
        Self { max_pending: 1024, timeout: Duration::from_secs(1) }
    }
}
