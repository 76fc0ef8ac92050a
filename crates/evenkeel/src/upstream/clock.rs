//! The process's clock, by which moments of several connections, probes and upstreams can be compared.

use std::sync::LazyLock;
use std::time::Instant;

use evenkeel_core::Moment;

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What this moment is called where moments of several connections, or of none, are compared.
pub fn moment_of(instant: Instant) -> Moment {
    // One microsecond later than it was, so that zero is before everything.
    Moment::from_micros(1).after(instant.saturating_duration_since(*BEGINNING))
}
