//! Measures evenkeel beside bare Pingora, nginx and HAProxy: one machine, one run, interleaved rounds.
//!
//! The proxy under test has CPU 0 to itself; clients and backends share CPU 1. Only ratios within one run mean anything,
//! so every proxy is measured in every round, in an order that rotates. All traffic stays on loopback.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use self::load::Scenario;
use self::process::Running;
use self::proxy::Proxy;
use self::results::{Cell, Memory, Results};
use crate::failure::Failure;
use crate::tools::Tools;
use crate::workspace::Workspace;

mod chart;
mod load;
mod process;
mod proxy;
mod report;
mod results;

/// What a run measures.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    rounds: usize,
    cell: Duration,
    proxies: Vec<Proxy>,
    scenarios: Vec<Scenario>,
    quick: bool,
}

/// What every start of a proxy needs to know.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    tools: Tools<'a>,
    workspace: &'a Workspace,
    /// Where configurations and results go.
    folder: PathBuf,
    profile: &'static str,
    backends: [u16; 2],
}

/// How many idle connections tell what one costs.
const IDLE_CONNECTIONS: u32 = 2_000;

/// Fewer rounds than this have no median worth publishing.
const PUBLISHED_ROUNDS: usize = 3;

/// Runs the plan; writes the page if the run was whole.
pub(crate) fn run(workspace: &Workspace, plan: &Plan) -> Result<(), Failure> {
    let bench = Bench::prepare(workspace, plan)?;
    warn_if_busy();
    let backends = bench.start_backends()?;
    let mut results = Results::new(plan.proxies.clone(), plan.scenarios.clone());
    for round in 0..plan.rounds {
        println!("\nRound {} of {}", round + 1, plan.rounds);
        for proxy in plan.order(round) {
            results.memory(proxy, bench.idle_cost(proxy)?);
        }
        let running =
            plan.order(round).map(|p| Ok((p, bench.start(p)?))).collect::<Result<Vec<_>, Failure>>()?;
        for scenario in &plan.scenarios {
            for (proxy, running) in &running {
                let cell = bench.measure(*scenario, running, plan.cell)?;
                println!("  {:<8} {:<13} {cell}", scenario.name(), proxy.title());
                results.cell(*proxy, *scenario, cell);
            }
        }
    }
    drop(backends);
    publish(&bench, plan, &results)
}

/// Somebody else's work on the same CPUs makes noise of every figure.
fn warn_if_busy() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let running = load.split([' ', '/']).nth(3).and_then(|n| n.parse::<u32>().ok());
    // One of these is this program.
    if running.is_some_and(|n| n > 1) {
        println!("\nSomething else is running on this machine: do not publish what comes of this run.");
    }
}

fn publish(bench: &Bench<'_>, plan: &Plan, results: &Results) -> Result<(), Failure> {
    let write = |path: PathBuf, text: String| {
        std::fs::write(&path, text).map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))
    };
    let machine = report::Machine::look(bench, &plan.proxies)?;
    let how = report::How { rounds: plan.rounds, cell: plan.cell, profile: bench.profile };
    let page = report::page(results, &machine, &how);
    println!("\n{}", report::tables(results));
    write(bench.folder.join("results.json"), results.json(&machine))?;
    write(bench.folder.join("performance.md"), page.clone())?;
    write(bench.folder.join("performance.svg"), chart::draw(results))?;
    if plan.is_whole() {
        let docs = bench.workspace.root.join("docs");
        write(docs.join("performance.md"), page)?;
        write(docs.join("performance.svg"), chart::draw(results))?;
        println!("Wrote docs/performance.md and docs/performance.svg.");
    } else {
        println!("Not a whole run, so docs/ stays as it is; this one is in {}.", bench.folder.display());
    }
    Ok(())
}

// === impl Plan ===

impl Plan {
    /// From the arguments of `cargo xtask bench`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut plan = Self {
            rounds: 5,
            cell: Duration::from_secs(5),
            proxies: Proxy::ALL.to_vec(),
            scenarios: Scenario::ALL.to_vec(),
            quick: false,
        };
        let mut arguments = arguments.iter();
        while let Some(option) = arguments.next() {
            if option == "--quick" {
                (plan.rounds, plan.cell, plan.quick) = (2, Duration::from_secs(2), true);
                continue;
            }
            let value =
                arguments.next().ok_or_else(|| Failure::usage(format!("{option:?} wants a value")))?;
            match option.as_str() {
                "--rounds" => plan.rounds = number(option, value)?,
                "--seconds" => plan.cell = Duration::from_secs(number(option, value)? as u64),
                "--only" => plan.proxies = list(option, value, &Proxy::ALL, Proxy::name)?,
                "--scenario" => plan.scenarios = list(option, value, &Scenario::ALL, Scenario::name)?,
                _ => {
                    return Err(Failure::usage(format!(
                        "there is no option {option:?}; see `cargo xtask help`"
                    )));
                }
            }
        }
        Ok(plan)
    }

    /// The proxies of a round: each is first in its turn, so none is always measured on the warmer machine.
    fn order(&self, round: usize) -> impl Iterator<Item = Proxy> {
        let first = round % self.proxies.len().max(1);
        let (later, earlier) = self.proxies.split_at(first.min(self.proxies.len()));
        earlier.iter().chain(later).copied()
    }

    fn is_whole(&self) -> bool {
        let whole = self.proxies.len() == Proxy::ALL.len() && self.scenarios.len() == Scenario::ALL.len();
        whole && !self.quick && self.rounds >= PUBLISHED_ROUNDS
    }
}

fn number(option: &str, value: &str) -> Result<usize, Failure> {
    match value.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Failure::usage(format!("{option} wants a number above 0, but got {value:?}"))),
    }
}

fn list<T: Copy>(
    option: &str,
    value: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<Vec<T>, Failure> {
    let names = || all.iter().map(|t| name(*t)).collect::<Vec<_>>().join(", ");
    let one = |wanted: &str| {
        let found = all.iter().copied().find(|t| name(*t) == wanted);
        found.ok_or_else(|| Failure::usage(format!("{option} knows {}, but not {wanted:?}", names())))
    };
    value.split(',').map(one).collect()
}

// === impl Bench ===

impl<'a> Bench<'a> {
    /// Installs, builds, makes room.
    fn prepare(workspace: &'a Workspace, plan: &Plan) -> Result<Self, Failure> {
        let tools = Tools::new(workspace);
        if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
            return Err(Failure::new(
                "the benchmark pins the proxy and the load to a CPU each, and here is only one",
            ));
        }
        tools.cmake()?;
        tools.packaged("wrk", "wrk")?;
        tools.packaged("taskset", "util-linux")?;
        for proxy in &plan.proxies {
            if let Some((program, package)) = proxy.package() {
                tools.packaged(program, package)?;
            }
        }
        let profile = if plan.quick { "release" } else { "dist" };
        println!("Building with profile {profile} …");
        let mut build = tools.cargo().args(["build", "--profile", profile, "--package", "bench"]);
        if plan.proxies.contains(&Proxy::Evenkeel) {
            build = build.args(["--package", "evenkeel-cli"]);
        }
        build.run()?;
        let folder = workspace.target.join("bench");
        std::fs::create_dir_all(&folder)
            .map_err(|e| Failure::new(format!("cannot make {}: {e}", folder.display())))?;
        let [one, two] = free_ports()?;
        Ok(Self { tools, workspace, folder, profile, backends: [one, two] })
    }

    fn start_backends(&self) -> Result<Running, Failure> {
        let ports = self.backends.map(|p| p.to_string());
        let program = self.workspace.binary(self.profile, "bench-backend");
        let backends = Running::start("backends", &self.tools.command(program).arg("serve").args(ports), 1)?;
        for port in self.backends {
            process::await_ok(port, "/small", &backends)?;
        }
        Ok(backends)
    }

    fn start(&self, proxy: Proxy) -> Result<Started, Failure> {
        let [port, admin] = free_ports()?;
        let shell = proxy.shell(self, port, admin)?;
        let running = Running::start(proxy.title(), &shell, 0)?;
        if proxy == Proxy::Evenkeel {
            process::await_ok(admin, "/readyz", &running)?;
        }
        process::await_ok(port, "/small", &running)?;
        Ok(Started { running, port })
    }

    /// What a fresh proxy takes, and what each idle connection adds.
    fn idle_cost(&self, proxy: Proxy) -> Result<Memory, Failure> {
        let started = self.start(proxy)?;
        let before = started.running.memory()?;
        let program = self.workspace.binary(self.profile, "bench-backend");
        let address = format!("127.0.0.1:{}", started.port);
        let hold = self.tools.command(program).arg("hold").arg(IDLE_CONNECTIONS.to_string()).arg(address);
        let held = Running::start("idle clients", &hold, 1)?;
        held.await_line("ready")?;
        let after = started.running.memory()?;
        drop(held);
        let idle = after.saturating_sub(before) as f64 / f64::from(IDLE_CONNECTIONS);
        println!(
            "  {:<8} {:<13} {:.1} MiB at start, {idle:.1} KiB an idle connection",
            "memory",
            proxy.title(),
            before as f64 / 1024.0
        );
        Ok(Memory { start_kib: before as f64, idle_kib: idle })
    }

    fn measure(&self, scenario: Scenario, proxy: &Started, time: Duration) -> Result<Cell, Failure> {
        // Fills pools and caches; what it measures is thrown away.
        load::run(&self.tools, scenario, proxy.port, Duration::from_secs(1))?;
        let before = proxy.running.cpu()?;
        let load = load::run(&self.tools, scenario, proxy.port, time)?;
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

/// A proxy that answers.
#[derive(Debug)]
struct Started {
    running: Running,
    port: u16,
}

/// Ports that nobody listens on. Held together until all are known, so they differ.
fn free_ports<const N: usize>() -> Result<[u16; N], Failure> {
    let failure = |e: std::io::Error| Failure::new(format!("no free port on 127.0.0.1: {e}"));
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failure)?;
        *port = listener.local_addr().map_err(failure)?.port();
        held.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Plan, Failure> {
        let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        Plan::parse(&arguments)
    }

    #[test]
    fn a_plan_is_whole_unless_something_is_left_out() {
        assert!(parse("").unwrap().is_whole());
        assert!(parse("--rounds 3").unwrap().is_whole());
        for partial in ["--quick", "--rounds 2", "--only evenkeel,bare", "--scenario small"] {
            assert!(!parse(partial).unwrap().is_whole(), "{partial}");
        }
    }

    #[test]
    fn what_a_plan_does_not_know_is_refused() {
        for (wrong, told) in [
            ("--only envoy", "--only knows bare, nginx, haproxy, evenkeel, but not \"envoy\""),
            ("--rounds 0", "--rounds wants a number above 0, but got \"0\""),
            ("--rounds", "\"--rounds\" wants a value"),
            ("--fast 1", "there is no option \"--fast\"; see `cargo xtask help`"),
        ] {
            assert_eq!(parse(wrong).unwrap_err().to_string(), told);
        }
    }

    #[test]
    fn every_proxy_is_first_in_its_turn() {
        let plan = parse("").unwrap();
        let firsts: Vec<Proxy> = (0..4).filter_map(|round| plan.order(round).next()).collect();
        assert_eq!(firsts, Proxy::ALL);
        assert_eq!(plan.order(3).count(), 4);
    }
}
