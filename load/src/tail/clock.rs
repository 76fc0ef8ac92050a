//! Exact waiting: what is measured here is a millisecond, which is also how exact tokio's timers are.

use std::io;
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Asks the kernel for exact timers, for this thread and those that it starts. By default each may be 50 µs late.
pub(crate) fn sharpen() {
    // Where this is not allowed, the figures of the load itself show it.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
}

/// Waits until then. If that is past, other tasks get a turn first.
#[expect(
    deprecated,
    reason = "`AsyncFd::with_interest` is unsound for some types only: an `OwnedFd` keeps its descriptor"
)]
pub(crate) async fn sleep_until(then: Instant) -> io::Result<()> {
    let left = then.saturating_duration_since(Instant::now());
    if left.is_zero() {
        tokio::task::yield_now().await;
        return Ok(());
    }
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(left) };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once)?;
    AsyncFd::with_interest(timer, Interest::READABLE)?.readable().await.map(drop)
}

/// The same for a thread without a runtime.
pub(crate) fn block_until(then: Instant) {
    let left = then.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: time.subsec_nanos().into() }
}
