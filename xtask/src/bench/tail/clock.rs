//! Waiting for a moment, exactly: what is measured here is a millisecond, so a timer may not add a tenth of one.

use std::time::Instant;

/// Asks the kernel for exact timers, for this thread and those that it starts. By default it lets each be 50 µs late.
pub(crate) fn sharpen() {
    // Where this cannot be had, the figures of the harness itself show it.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
}

/// Sleeps until then; not at all if that is past.
pub(crate) fn sleep_until(then: Instant) {
    let left = then.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}
