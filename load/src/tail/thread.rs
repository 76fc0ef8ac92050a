//! Threads with a CPU and a priority of their own. Knows nothing of what they do.

use std::io;
use std::process::{Command, Stdio};

use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::runtime::{Builder, Runtime};

/// Runs what follows at the lowest of the priorities that go before all usual ones.
pub(crate) const REAL_TIME: [&str; 2] = ["--rr", "1"];

/// Above all that is measured.
pub(crate) const ABOVE: [&str; 2] = ["--rr", "2"];

/// Pins the calling thread to a CPU.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    Ok(sched_setaffinity(None, &cpus)?)
}

/// Gives the calling thread a priority of `chrt`'s. Returns whether the machine allows that.
pub(crate) fn prioritise([policy, priority]: [&str; 2]) -> bool {
    let thread = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    let Some(id) = thread.file_name() else { return false };
    let mut chrt = Command::new("chrt");
    let chrt = chrt.args([policy, "--pid", priority]).arg(id).stdout(Stdio::null()).stderr(Stdio::null());
    chrt.status().is_ok_and(|status| status.success())
}

/// A runtime for the calling thread, which gets a CPU and, if `real_time` says so, goes before all else there.
pub(crate) fn runtime(cpu: usize, real_time: bool) -> io::Result<Runtime> {
    pin(cpu)?;
    if real_time && !prioritise(REAL_TIME) {
        return Err(io::Error::other("chrt gives this thread no real-time priority"));
    }
    Builder::new_current_thread().enable_all().build()
}
