//! How much memory idle connections cost a proxy, and how much of it is freed. Knows nothing of the proxies.

use std::time::{Duration, Instant};

use super::proxy::Proxy;
use super::results::Memory;
use super::scenario::Setting;
use super::{Bench, Started};
use crate::failure::Failure;
use crate::process::{self, Running};

/// How many idle connections tell what one costs.
pub(crate) const IDLE_CONNECTIONS: u32 = 10_000;

/// As many come and go before the first measurement: what a proxy allocates once and keeps is not the cost of later
/// connections.
pub(crate) const EARLIER_CONNECTIONS: u32 = 1_000;

/// So many more descriptors than before are its connections to backends.
const TO_BACKENDS: usize = 64;

/// How long a proxy may take to notice that its clients have left.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it then has to free memory, twice: a request comes between, since some proxies free it only while they work.
const SETTLING: Duration = Duration::from_secs(1);

/// Starts a proxy afresh and looks at its memory before, with, and after the connections.
pub(crate) fn of_idle_connections(bench: &Bench<'_>, proxy: Proxy) -> Result<Memory, Failure> {
    let started = bench.start(proxy, Setting::Plain)?;
    let open = started.running.descriptors()?;
    let few = come_and_go(bench, &started, EARLIER_CONNECTIONS, open)?;
    let many = come_and_go(bench, &started, IDLE_CONNECTIONS, open)?;
    let more = f64::from(IDLE_CONNECTIONS - EARLIER_CONNECTIONS);
    let memory = Memory {
        before_kib: few.left_kib,
        idle_kib: (many.with_kib - few.with_kib) / more,
        left_kib: many.left_kib,
    };
    println!("  {:<8} {:<23} {memory}", "memory", proxy.title());
    Ok(memory)
}

/// What a proxy takes with so many idle connections, and after they have left.
struct Crowd {
    with_kib: f64,
    left_kib: f64,
}

/// Lets connections come, and go; `open` is how many descriptors the proxy had without any.
fn come_and_go(bench: &Bench<'_>, started: &Started, count: u32, open: usize) -> Result<Crowd, Failure> {
    let held = hold(bench, started, count)?;
    let with_kib = started.running.memory()? as f64;
    drop(held);
    await_descriptors(&started.running, open)?;
    std::thread::sleep(SETTLING);
    process::await_ok(started.port, "/small", &started.running)?;
    std::thread::sleep(SETTLING);
    Ok(Crowd { with_kib, left_kib: started.running.memory()? as f64 })
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
    while running.descriptors()? > before + TO_BACKENDS {
        if start.elapsed() > PATIENCE {
            return Err(Failure::new("the clients have left, and the proxy keeps their connections"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
