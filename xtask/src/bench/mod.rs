//! Measures evenkeel beside bare Pingora, nginx and HAProxy: one machine, one run, interleaved rounds.
//!
//! The proxy under test has CPU 0 to itself; clients and backends share CPU 1. Only ratios within one run mean anything,
//! so every proxy is measured in every round, in a rotating order. All traffic stays on loopback.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::plan::Plan;
use self::proxy::Proxy;
use self::results::{Cell, Results};
use self::scenario::{Scenario, Setting};
use self::shipped::Shipped;
pub use self::shipped::dist;
use crate::failure::Failure;
use crate::process::{self, Running};
use crate::tools::Tools;
use crate::workspace::{Workspace, write};

pub mod bounds;
mod files;
mod load;
mod memory;
pub mod page;
pub mod plan;
mod proxy;
pub mod report;
pub mod results;
mod scenario;
mod shipped;

/// What every start of a proxy needs to know.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    tools: Tools<'a>,
    workspace: &'a Workspace,
    /// Where configurations and results go.
    folder: PathBuf,
    /// Where access logs go.
    logs: PathBuf,
    /// Where the programs are that were built here, but for evenkeel.
    binaries: PathBuf,
    evenkeel: Shipped,
    profile: &'static str,
    backends: [u16; 2],
}

/// A proxy that answers.
#[derive(Debug)]
struct Started {
    running: Running,
    port: u16,
    log: Option<Log>,
}

/// An access log, removed when this is dropped.
#[derive(Debug)]
struct Log(PathBuf);

/// The task, by its arguments.
pub fn task(arguments: &[String]) -> Result<(), Failure> {
    run(&Workspace::find()?, Plan::parse(arguments)?)
}

/// Runs the plan; writes the page if the run was whole.
fn run(workspace: &Workspace, mut plan: Plan) -> Result<(), Failure> {
    let bench = Bench::prepare(workspace, &mut plan)?;
    warn_if_busy();
    let backends = bench.start_backends()?;
    let mut results = Results::new(plan.proxies.clone(), plan.scenarios.clone());
    for round in 0..plan.rounds {
        println!("\nRound {} of {}", round + 1, plan.rounds);
        for proxy in plan.order(round).filter(|p| p.has_memory()) {
            results.memory(proxy, memory::of_idle_connections(&bench, proxy)?);
        }
        for setting in Setting::ALL {
            bench.round(&plan, round, setting, &mut results)?;
        }
    }
    drop(backends);
    publish(&bench, &plan, &results)
}

/// Other work on the same CPUs is noise in every figure.
pub fn warn_if_busy() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let running = load.split([' ', '/']).nth(3).and_then(|n| n.parse::<u32>().ok());
    // One of these is this program.
    if running.is_some_and(|n| n > 1) {
        println!("\nSomething else is running on this machine: do not publish what comes of this run.");
    }
}

fn publish(bench: &Bench<'_>, plan: &Plan, results: &Results) -> Result<(), Failure> {
    let machine = report::Machine::look(bench, &plan.proxies)?;
    let how = report::How {
        rounds: plan.rounds,
        cell: plan.cell,
        profile: bench.profile,
        guided: bench.evenkeel.guided,
    };
    let page = report::page(results, &machine, &how);
    println!("\n{}", report::tables(results));
    write(&bench.folder.join("results.json"), &results.json(&machine))?;
    write(&bench.folder.join("performance.md"), &page)?;
    let chart = report::chart(results)?;
    write(&bench.folder.join("performance.svg"), &chart)?;
    if plan.is_whole() {
        let docs = bench.workspace.root.join("docs");
        let old = std::fs::read_to_string(docs.join("performance.md")).unwrap_or_default();
        write(&docs.join("performance.md"), &page::keeping_tails(&page, &old))?;
        write(&docs.join("performance.svg"), &chart)?;
        println!("Wrote docs/performance.md and docs/performance.svg.");
    } else {
        println!("Not a whole run, so docs/ stays as it is; this one is in {}.", bench.folder.display());
    }
    Ok(())
}

// === impl Bench ===

impl<'a> Bench<'a> {
    /// Installs, builds, makes room. Takes out of the plan what this machine cannot have.
    fn prepare(workspace: &'a Workspace, plan: &mut Plan) -> Result<Self, Failure> {
        if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
            return Err(Failure::new("the benchmark needs two CPUs: one for the proxy and one for the load"));
        }
        let profile = if plan.quick { "release" } else { "dist" };
        let memory = Path::new("/dev/shm");
        let folder = workspace.target.join("bench");
        let binaries = plan.binaries.clone().unwrap_or_else(|| workspace.target.join(profile));
        let mut bench = Self {
            tools: Tools::new(workspace),
            workspace,
            // A log in memory measures the proxy, not the disk.
            logs: if memory.is_dir() { memory.into() } else { folder.clone() },
            folder,
            evenkeel: Shipped { program: binaries.join("evenkeel"), guided: false },
            binaries,
            profile,
            backends: process::free_ports()?,
        };
        std::fs::create_dir_all(&bench.folder)
            .map_err(|e| Failure::new(format!("cannot make {}: {e}", bench.folder.display())))?;
        load::write_script(&bench.folder)?;
        bench.install(plan)?;
        if plan.binaries.is_none() {
            bench.build(plan)?;
        }
        Ok(bench)
    }

    fn install(&self, plan: &mut Plan) -> Result<(), Failure> {
        self.tools.packaged("wrk", "wrk")?;
        self.tools.packaged("taskset", "util-linux")?;
        for proxy in plan.proxies.clone() {
            match proxy.install(self) {
                Err(failure) if proxy == Proxy::Haproxy28 => {
                    println!("{} is left out: {failure}", proxy.title());
                    plan.proxies.retain(|p| *p != proxy);
                }
                installed => installed?,
            }
        }
        Ok(())
    }

    fn build(&mut self, plan: &Plan) -> Result<(), Failure> {
        self.tools.cmake()?;
        println!("Building with profile {} …", self.profile);
        let build = || self.tools.cargo().args(["build", "--profile", self.profile, "--package"]);
        build().arg("bench").run()?;
        match plan.proxies.iter().any(|p| p.is_evenkeel()) {
            true if plan.quick => build().arg("evenkeel-cli").run(),
            true => self.build_shipped(),
            false => Ok(()),
        }
    }

    fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// The file that a proxy's access log goes to.
    fn log(&self, proxy: Proxy) -> PathBuf {
        self.logs.join(format!("evenkeel-bench-{}.log", proxy.name()))
    }

    fn start_backends(&self) -> Result<Running, Failure> {
        let ports = self.backends.map(|p| p.to_string());
        let serve = self.tools.command(self.binary("bench-backend")).arg("serve").args(ports);
        let backends = Running::start("backends", &serve, Some(1))?;
        for port in self.backends {
            process::await_ok(port, "/small", &backends)?;
        }
        Ok(backends)
    }

    /// Every scenario of a setting on every proxy, all of them freshly started.
    fn round(
        &self,
        plan: &Plan,
        round: usize,
        setting: Setting,
        results: &mut Results,
    ) -> Result<(), Failure> {
        let scenarios = plan.scenarios(setting);
        let takes_any = |proxy: &Proxy| scenarios.iter().any(|s| proxy.takes(*s));
        let running = plan.order(round).filter(takes_any);
        let running =
            running.map(|p| Ok((p, self.start(p, setting)?))).collect::<Result<Vec<_>, Failure>>()?;
        for scenario in &scenarios {
            for (proxy, running) in running.iter().filter(|(p, _)| p.takes(*scenario)) {
                let cell = self.measure(*scenario, running, plan.cell)?;
                println!("  {:<8} {:<23} {cell}", scenario.name(), proxy.title());
                results.cell(*proxy, *scenario, cell);
            }
        }
        Ok(())
    }

    fn start(&self, proxy: Proxy, setting: Setting) -> Result<Started, Failure> {
        let [port, admin] = process::free_ports()?;
        let log = (setting == Setting::Logged).then(|| Log(self.log(proxy)));
        if let Some(log) = &log {
            log.empty()?;
        }
        let shell = proxy.shell(self, setting, [port, admin])?;
        let running = Running::start(proxy.title(), &shell, Some(0))?;
        if proxy.is_evenkeel() {
            process::await_ok(admin, "/readyz", &running)?;
        }
        process::await_ok(port, "/small", &running)?;
        Ok(Started { running, port, log })
    }

    fn measure(&self, scenario: Scenario, proxy: &Started, time: Duration) -> Result<Cell, Failure> {
        let load = |time| load::run(&self.tools, &self.folder, scenario, proxy.port, time);
        // Fills pools and caches; what it measures is thrown away.
        load(Duration::from_secs(1))?;
        if let Some(log) = &proxy.log {
            log.empty()?;
        }
        let before = proxy.running.cpu()?;
        let load = load(time)?;
        if let Some(log) = &proxy.log {
            log.await_records(load.requests)?;
        }
        let cpu = proxy.running.cpu()?.saturating_sub(before);
        Ok(Cell {
            requests_a_second: load.requests_a_second,
            p50_us: load.p50_us,
            p99_us: load.p99_us,
            cpu_us: cpu.as_secs_f64() * 1e6 / load.requests,
            busy: cpu.as_secs_f64() / load.seconds,
            memory_kib: proxy.running.memory()? as f64,
        })
    }
}

// === impl Log ===

impl Log {
    /// How long records may be on their way to the file.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// All proxies append, so a file that was cut goes on from its start.
    fn empty(&self) -> Result<(), Failure> {
        std::fs::File::create(&self.0).map(drop).map_err(|e| self.failure(&e))
    }

    /// Waits until as many records are there as requests were answered. A log that loses some is not the same work; what
    /// writing the last ones costs belongs to it.
    fn await_records(&self, wanted: f64) -> Result<(), Failure> {
        let start = Instant::now();
        loop {
            let records = self.records()?;
            if records as f64 >= wanted {
                return Ok(());
            }
            if start.elapsed() > Self::PATIENCE {
                return Err(Failure::new(format!(
                    "{} has {records} records for {wanted} requests",
                    self.0.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn records(&self) -> Result<usize, Failure> {
        let mut file = std::fs::File::open(&self.0).map_err(|e| self.failure(&e))?;
        let (mut chunk, mut records) = (vec![0; 1 << 20], 0);
        loop {
            let read = std::io::Read::read(&mut file, &mut chunk).map_err(|e| self.failure(&e))?;
            if read == 0 {
                return Ok(records);
            }
            records += chunk.iter().take(read).filter(|byte| **byte == b'\n').count();
        }
    }

    fn failure(&self, error: &std::io::Error) -> Failure {
        Failure::new(format!("cannot use {}: {error}", self.0.display()))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // It may never have come to be.
        let _ = std::fs::remove_file(&self.0);
    }
}
