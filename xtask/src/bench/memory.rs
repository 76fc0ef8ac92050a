//! What idle connections cost a proxy in memory, and how much of it comes back. Knows nothing of which proxy.

use std::time::{Duration, Instant};

use super::proxy::Proxy;
use super::results::Memory;
use super::scenario::Setting;
use super::{Bench, Started};
use crate::failure::Failure;
use crate::process::{self, Running};

/// How many idle connections tell what one costs.
pub(crate) const IDLE_CONNECTIONS: u32 = 10_000;

/// As many as come and go before the first look: what a proxy takes for its first requests is not theirs.
const EARLIER_CONNECTIONS: u32 = 64;

/// How long a proxy may take to notice that its clients have left.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it then has to give memory back, twice: a request comes between, since some do it only as they work.
const SETTLING: Duration = Duration::from_secs(1);

/// Starts a proxy afresh and looks at its memory before, with, and after the connections.
pub(crate) fn of_idle_connections(bench: &Bench<'_>, proxy: Proxy) -> Result<Memory, Failure> {
    let started = bench.start(proxy, Setting::Plain)?;
    drop(hold(bench, &started, EARLIER_CONNECTIONS)?);
    std::thread::sleep(SETTLING);
    let (before, open) = (started.running.memory()?, started.running.descriptors()?);
    let held = hold(bench, &started, IDLE_CONNECTIONS)?;
    let with = started.running.memory()?;
    drop(held);
    await_descriptors(&started.running, open)?;
    std::thread::sleep(SETTLING);
    process::await_ok(started.port, "/small", &started.running)?;
    std::thread::sleep(SETTLING);
    let memory = Memory {
        start_kib: before as f64,
        idle_kib: (with as f64 - before as f64) / f64::from(IDLE_CONNECTIONS),
        left_kib: started.running.memory()? as f64,
    };
    println!("  {:<8} {:<23} {memory}", "memory", proxy.title());
    Ok(memory)
}

fn hold(bench: &Bench<'_>, proxy: &Started, count: u32) -> Result<Running, Failure> {
    let address = format!("127.0.0.1:{}", proxy.port);
    let hold =
        bench.tools.command(bench.binary("bench-backend")).arg("hold").arg(count.to_string()).arg(address);
    let held = Running::start("idle clients", &hold, Some(1))?;
    held.await_line("ready")?;
    Ok(held)
}

/// Waits until a proxy has closed all but what it had. A few more to its backends may have come.
fn await_descriptors(running: &Running, before: usize) -> Result<(), Failure> {
    let start = Instant::now();
    while running.descriptors()? > before + EARLIER_CONNECTIONS as usize {
        if start.elapsed() > PATIENCE {
            return Err(Failure::new("the clients have left, and the proxy keeps their connections"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
