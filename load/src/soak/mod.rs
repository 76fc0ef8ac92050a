//! Runs evenkeel among bad clients and failing backends for a while, and checks that nothing of it is left behind.
//!
//! Everything at once: kept connections, connection churn, slow readers of large responses, clients that break off anywhere,
//! backends that reject connections, reset them and hang. All on loopback, at bounded rates, and for a bounded time. It asks the
//! program only what any operator can: its metrics, its status, and `/proc`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use xtask::failure::Failure;
use xtask::process::{self, Running};
use xtask::tools::Tools;
use xtask::workspace::Workspace;

use self::backends::Backends;
use self::clients::Clients;
use self::ledger::Ledger;
pub(crate) use self::plan::Plan;
use self::verdict::{Memory, Requests, Seen};
use self::watch::{Sight, Watch};

mod backends;
mod clients;
mod ledger;
mod plan;
mod verdict;
mod watch;

/// A program under load.
struct Soak<'a> {
    watch: Watch<'a>,
    backends: &'a Backends,
    ledger: &'a Ledger,
    start: Instant,
}

/// How often progress is printed.
const REPORT: Duration = Duration::from_secs(10);

/// How long all backends are healthy before memory is measured: longer than a request to a hanging one takes.
const CALM: Duration = Duration::from_secs(4);

/// How long the program may take to close and free everything: longer than all its timeouts together.
const SETTLING: Duration = Duration::from_secs(30);

/// How long the idle program is watched.
const IDLE: Duration = Duration::from_secs(10);

/// Runs the plan. Fails when a check does.
pub(crate) fn run(workspace: &Workspace, plan: &Plan) -> Result<(), Failure> {
    let program = program(workspace, plan)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(format!("cannot start tokio: {e}")))?;
    runtime.block_on(soak(workspace, plan, program))
}

async fn soak(workspace: &Workspace, plan: &Plan, program: PathBuf) -> Result<(), Failure> {
    let [port, admin] = process::free_ports()?;
    let backends = Backends::start()?;
    let file = write_file(workspace, plan, [port, admin], backends.ports())?;
    let tools = Tools::new(workspace);
    let running = Running::start("evenkeel", &tools.command(program).args(["run", "-c"]).arg(file), None)?;
    process::await_ok(admin, "/readyz", &running)?;

    let ledger = Arc::new(Ledger::default());
    let watch = Watch { running: &running, admin };
    // Before the first request, and after the connection of `/readyz` has closed: what the program itself needs.
    sleep(Duration::from_secs(1)).await;
    let descriptors = running.descriptors()?;
    let soak = Soak { watch, backends: &backends, ledger: &ledger, start: Instant::now() };
    let clients = Clients::start(port, &ledger);
    let [warm, loaded] = soak.load(plan).await?;
    println!("\nThe load ends.");
    clients.stop().await;
    backends.calm(true);

    let mut seen = soak.settle(descriptors).await?;
    seen.memory = Memory { warm, loaded, idle: soak.watch.memory().await? };
    seen.idle_cpu = soak.idle_cpu().await?;
    judge(&seen, &ledger, &backends)
}

fn program(workspace: &Workspace, plan: &Plan) -> Result<PathBuf, Failure> {
    if let Some(folder) = &plan.binaries {
        return Ok(folder.join("evenkeel"));
    }
    let tools = Tools::new(workspace);
    tools.cmake()?;
    println!("Building with profile {} …", plan.profile);
    tools.cargo().args(["build", "--profile", &plan.profile, "--package", "evenkeel-cli"]).run()?;
    Ok(workspace.binary(&plan.profile, "evenkeel"))
}

/// All timeouts are short: what they end must end within the soak.
fn write_file(
    workspace: &Workspace,
    plan: &Plan,
    [port, admin]: [u16; 2],
    backends: [u16; 3],
) -> Result<PathBuf, Failure> {
    let backends = backends.map(|port| format!("\"http://127.0.0.1:{port}\"")).join(", ");
    let lanes = plan.lanes.as_ref().map_or_else(String::new, |lanes| format!("lanes: {lanes}\n"));
    let text = format!(
        "\
workers: 2
listeners:
  - address: \"127.0.0.1:{port}\"
    http: {{ header_timeout: 3s, idle_timeout: 5s, body_timeout: 3s, send_timeout: 3s }}
upstreams:
  web:
    algorithm: least_connections
    backends: [{backends}]
    timeouts: {{ connect: 1s, first_byte: 2s, idle: 2s }}
    pool: {{ idle_timeout: 3s }}
admin: {{ address: \"127.0.0.1:{admin}\" }}
{lanes}"
    );
    let folder = workspace.target.join("soak");
    let file = folder.join("evenkeel.yaml");
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, text));
    written.map_err(|e| Failure::new(format!("cannot write {}: {e}", file.display())))?;
    Ok(file)
}

fn judge(seen: &Seen, ledger: &Ledger, backends: &Backends) -> Result<(), Failure> {
    println!("\n{ledger}; {} attempts reached a backend", backends.served());
    for example in ledger.examples() {
        println!("  wrong: {example}");
    }
    println!();
    let checks = verdict::checks(seen);
    for check in &checks {
        println!("{check}");
    }
    match checks.iter().filter(|check| !check.holds).count() {
        0 => Ok(()),
        failed => Err(Failure::new(format!("{failed} of {} checks failed", checks.len()))),
    }
}

// === impl Soak ===

impl Soak<'_> {
    /// Waits for the end of the load, and prints its progress. Returns the memory after the warm-up and at the end, in KiB.
    async fn load(&self, plan: &Plan) -> Result<[u64; 2], Failure> {
        println!("Warming up for {:?} of {:?} of load …", plan.warm_up(), plan.load());
        self.watch_until(plan.warm_up()).await?;
        let warm = self.calm_memory().await?;
        println!("Warm.");
        self.watch_until(plan.load()).await?;
        Ok([warm, self.calm_memory().await?])
    }

    async fn watch_until(&self, end: Duration) -> Result<(), Failure> {
        self.backends.calm(false);
        let mut next = self.start.elapsed() + REPORT;
        while self.start.elapsed() < end {
            sleep(Duration::from_millis(100)).await;
            if self.start.elapsed() > next {
                next += REPORT;
                self.report().await?;
            }
        }
        Ok(())
    }

    async fn report(&self) -> Result<(), Failure> {
        let sight = self.watch.sight().await?;
        println!(
            "{:>5.0} s: {:.1} MiB, {} descriptors, {} connections, {} in flight; {}",
            self.start.elapsed().as_secs_f64(),
            self.watch.running.memory()? as f64 / 1024.0,
            self.watch.running.descriptors()?,
            sight.open,
            sight.in_flight,
            self.ledger
        );
        Ok(())
    }

    /// Memory under load, while no backend fails.
    async fn calm_memory(&self) -> Result<u64, Failure> {
        self.backends.calm(true);
        sleep(CALM).await;
        self.watch.memory().await
    }

    /// Waits until everything is closed and freed, or the time for that is over. Returns what was seen then.
    async fn settle(&self, before: usize) -> Result<Seen, Failure> {
        let start = Instant::now();
        loop {
            let sight = self.watch.sight().await?;
            let Sight { requests, open, in_flight, status_in_flight, status_open } = sight;
            let begun = self.ledger.begun.load(Relaxed);
            let seen = Seen {
                open: [open, status_open],
                in_flight: [in_flight, status_in_flight],
                // The scrape had a connection, which may not be closed yet.
                descriptors: [before, self.watch.running.descriptors()?],
                requests: Requests { begun, crossed: self.ledger.crossed.load(Relaxed), counted: requests },
                wrong: self.ledger.wrongs(),
                successes: self.ledger.successes.load(Relaxed),
                ..Seen::default()
            };
            let [_, after] = seen.descriptors;
            let settled = sight == Sight { requests, ..Sight::default() } && after <= before;
            if settled || start.elapsed() > SETTLING {
                println!("Settled after {:.1} s.", start.elapsed().as_secs_f64());
                return Ok(seen);
            }
            sleep(Duration::from_millis(250)).await;
        }
    }

    /// The share of one CPU that the program takes without any traffic.
    async fn idle_cpu(&self) -> Result<f64, Failure> {
        let before = self.watch.running.cpu()?;
        sleep(IDLE).await;
        Ok(self.watch.running.cpu()?.saturating_sub(before).as_secs_f64() / IDLE.as_secs_f64())
    }
}
