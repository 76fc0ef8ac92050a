//! Measures what users feel while a backend is slow, and how soon a change of one shows: evenkeel's algorithms beside those
//! of nginx, HAProxy and Envoy, in one run.
//!
//! The proxy under test has CPU 0 to itself, and no other runs; the load and the backends share CPU 1. All traffic stays on
//! loopback. Both are this program again, as hidden tasks, since each needs a process that can be pinned.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use self::contestant::Contestant;
use self::load::{Change, Load};
use self::plan::{Part, Plan};
use self::results::{Course, Figures, Results};
use self::sample::Samples;
use super::page;
use crate::failure::Failure;
use crate::process::{self, Running};
use crate::shell::Shell;
use crate::tools::Tools;
use crate::workspace::Workspace;

mod backend;
mod chart;
mod clock;
mod contestant;
mod files;
mod load;
mod plan;
mod report;
mod results;
mod sample;
mod simulated;
mod stall;

/// What every point needs to know.
#[derive(Debug)]
pub(crate) struct Tail<'a> {
    tools: Tools<'a>,
    workspace: &'a Workspace,
    /// Where configurations and results go.
    folder: PathBuf,
    evenkeel: PathBuf,
    backends: [u16; FAST + 1],
    /// Whether all that is measured goes before all else on its CPU.
    real_time: bool,
}

/// How many backends are fast; one is slow.
const FAST: usize = 9;
const FAST_DELAY: Duration = Duration::from_millis(10);
const SLOW_DELAY: Duration = Duration::from_millis(100);

/// Which backend is slow at first, and one that is fast then. Neither is where an algorithm might begin or end.
const SLOW: usize = 4;
const ALONE: usize = 7;

/// Load before what counts.
const WARM_UP: Duration = Duration::from_secs(3);

/// How often a point is measured at most.
const TRIES: u32 = 3;

/// Runs what follows at the lowest of the priorities that go before all usual ones.
const REAL_TIME: [&str; 2] = ["--rr", "1"];

/// What the tasks are called that this starts as processes.
const BACKENDS: &str = "tail-backends";
const LOAD: &str = "tail-load";

/// The task, or one of those hidden ones, by its arguments. `None`: it is none of these.
pub(crate) fn task(arguments: &[String]) -> Option<Result<(), Failure>> {
    let (task, rest) = arguments.split_first()?;
    match task.as_str() {
        "tail" => Some(Plan::parse(rest).and_then(|plan| run(&Workspace::find()?, plan))),
        BACKENDS => Some(backend::serve(rest)),
        LOAD => Some(load::run(rest)),
        _ => None,
    }
}

/// Runs the plan; writes the section if the run was whole.
fn run(workspace: &Workspace, mut plan: Plan) -> Result<(), Failure> {
    let tail = Tail::prepare(workspace, &mut plan)?;
    super::warn_if_busy();
    let backends = tail.start_backends()?;
    let setting = report::Setting::look(&tail, &plan.contestants)?;
    let mut results = Results::new(plan.contestants.clone(), plan.rates.clone());
    for round in 0..plan.rounds {
        println!("\nRound {} of {}", round + 1, plan.rounds);
        tail.round(&plan, round, &mut results)?;
        // What is measured so far is kept, whatever comes.
        tail.write_json(&plan, &results.json(&setting.facts()))?;
    }
    drop(backends);
    if plan.parts.contains(&Part::Steady) {
        results.simulated = plan.rates.iter().map(|rate| tail.simulate(&plan, *rate)).collect();
    }
    tail.publish(&plan, &results, &setting)
}

// === impl Tail ===

impl<'a> Tail<'a> {
    /// Installs, builds, makes room. Takes out of the plan what a program that was given cannot do.
    fn prepare(workspace: &'a Workspace, plan: &mut Plan) -> Result<Self, Failure> {
        if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
            return Err(Failure::new(
                "the benchmark pins the proxy and the load to a CPU each, and here is only one",
            ));
        }
        let evenkeel = plan.evenkeel.clone().map(std::path::absolute).transpose();
        let evenkeel = evenkeel.map_err(|e| Failure::new(format!("--evenkeel: {e}")))?;
        let tools = Tools::new(workspace);
        let real_time = tools.command("chrt").args(REAL_TIME).arg("true").output().is_ok();
        let tail = Self {
            tools,
            real_time,
            workspace,
            folder: workspace.target.join("bench/tail"),
            evenkeel: evenkeel.unwrap_or_else(|| workspace.binary("dist", "evenkeel")),
            backends: process::free_ports()?,
        };
        std::fs::create_dir_all(&tail.folder)
            .map_err(|e| Failure::new(format!("cannot make {}: {e}", tail.folder.display())))?;
        tail.tools.packaged("taskset", "util-linux")?;
        plan.contestants.iter().try_for_each(|contestant| contestant.install(&tail.tools))?;
        match &plan.evenkeel {
            None if plan.contestants.iter().any(|c| c.algorithm().is_some()) => tail.build()?,
            None => {}
            Some(_) => plan.contestants.retain(|contestant| match contestant.check(&tail) {
                Ok(()) => true,
                Err(failure) => {
                    println!("{} is left out: {failure}", contestant.title());
                    false
                }
            }),
        }
        Ok(tail)
    }

    fn build(&self) -> Result<(), Failure> {
        self.tools.cmake()?;
        println!("Building with profile dist …");
        self.tools.cargo().args(["build", "--profile", "dist", "--package", "evenkeel-cli"]).run()
    }

    /// A hidden task of this program: what disturbs the load or the backends would look like the proxy's doing.
    fn exactly(&self, task: &str) -> Result<Shell, Failure> {
        let this = std::env::current_exe();
        let this = this.map_err(|e| Failure::new(format!("this program does not know where it is: {e}")))?;
        Ok(self.urgent(self.tools.command(this).args(["bench", task])))
    }

    /// A command that goes before all else on its CPU, where the machine allows it.
    fn urgent(&self, command: Shell) -> Shell {
        if self.real_time { command.through("chrt", REAL_TIME.map(OsString::from)) } else { command }
    }

    fn start_backends(&self) -> Result<Running, Failure> {
        let ports = self.backends.map(|port| port.to_string());
        let backends = Running::start("backends", &self.exactly(BACKENDS)?.args(ports), Some(1))?;
        self.backends.iter().try_for_each(|port| process::await_ok(*port, "/", &backends))?;
        Ok(backends)
    }

    /// Every point of every contestant, one after the other.
    fn round(&self, plan: &Plan, round: usize, results: &mut Results) -> Result<(), Failure> {
        for rate in plan.rates.iter().filter(|_| plan.parts.contains(&Part::Steady)) {
            for contestant in plan.order(round) {
                results.point(contestant, *rate, self.point(contestant, *rate, plan.time)?);
            }
        }
        let proxies = plan.order(round).filter(|c| c.is_changed());
        for contestant in proxies.filter(|_| plan.parts.contains(&Part::Change)) {
            let course = self.course(contestant, plan)?;
            println!("  change   {:<29} {course}", contestant.title());
            results.course(contestant, course);
        }
        Ok(())
    }

    /// A point; once more, and again, if the load could not keep up: that says more about the machine than about the proxy.
    fn point(&self, contestant: Contestant, rate: u32, time: Duration) -> Result<Figures, Failure> {
        let mut tries = TRIES;
        loop {
            let (samples, _) = self.measure(contestant, rate, time, Vec::new())?;
            let figures = Figures::of(&samples, self.port(SLOW)?);
            let figures = figures.ok_or_else(|| Failure::new("the load has sent nothing"))?;
            println!("  {rate:>5}/s  {:<29} {figures}", contestant.title());
            tries -= 1;
            if tries == 0 || !figures.is_behind() {
                return Ok(figures);
            }
        }
    }

    fn course(&self, contestant: Contestant, plan: &Plan) -> Result<Course, Failure> {
        let moments = plan.moments();
        let [faster, slower, end] = moments;
        let changes = vec![
            Change { at: faster, port: Some(self.port(SLOW)?), delay: FAST_DELAY },
            Change { at: slower, port: None, delay: SLOW_DELAY },
        ];
        let (samples, changed) = self.measure(contestant, plan.change_rate(), end, changes)?;
        let changing = changed.try_into().map_err(|_| Failure::new("the load did not make both changes"))?;
        Ok(Course { samples, moments, changing, fair: 1.0 / self.backends.len() as f64 })
    }

    /// Starts a contestant, loads it, ends it. The samples that count, and the ports that changed.
    fn measure(
        &self,
        contestant: Contestant,
        rate: u32,
        time: Duration,
        changes: Vec<Change>,
    ) -> Result<(Samples, Vec<u16>), Failure> {
        for (index, port) in self.backends.iter().enumerate() {
            backend::set_delay(*port, if index == SLOW { SLOW_DELAY } else { FAST_DELAY })?;
        }
        let started = contestant.start(self)?;
        let file = self.folder.join("samples");
        let load = Load { port: started.port, rate, warm_up: WARM_UP, time, file, changes };
        // It ends by itself, and with this process.
        let pinned = ["--pdeathsig", "KILL", "taskset", "--cpu-list", "1"].map(OsString::from);
        let told = self.exactly(LOAD)?.args(load.arguments()).through("setpriv", pinned).output()?;
        let (ports, complaints): (Vec<_>, Vec<_>) =
            told.lines().map(|l| l.parse().map_err(|_| l)).partition(Result::is_ok);
        complaints.iter().filter_map(|line| line.err()).for_each(|line| println!("           {line}"));
        let changed = ports.into_iter().filter_map(Result::ok).collect();
        let text = std::fs::read_to_string(&load.file)
            .map_err(|e| Failure::new(format!("cannot read {}: {e}", load.file.display())))?;
        Ok((Samples::from_text(&text)?.counted(), changed))
    }

    fn port(&self, index: usize) -> Result<u16, Failure> {
        self.backends.get(index).copied().ok_or_else(|| Failure::new(format!("there is no backend {index}")))
    }

    fn simulate(&self, plan: &Plan, rate: u32) -> simulated::Simulated {
        let timeout = self.tools.command("timeout");
        simulated::ask(timeout, &self.evenkeel, rate, plan.time, &plan.contestants)
    }

    fn publish(&self, plan: &Plan, results: &Results, setting: &report::Setting) -> Result<(), Failure> {
        let section = report::section(results, setting, plan);
        let charts = [(chart::STEADY, chart::steady(results)), (chart::CHANGES, chart::changes(results))];
        println!("\n{}", report::tables(results));
        self.write_json(plan, &results.json(&setting.facts()))?;
        write(self.folder.join("tails.md"), &section)?;
        charts.iter().try_for_each(|(name, svg)| write(self.folder.join(name), svg))?;
        if !plan.is_whole() {
            println!("Not a whole run, so docs/ stays as it is; this one is in {}.", self.folder.display());
            return Ok(());
        }
        let docs = self.workspace.root.join("docs");
        let file = docs.join("performance.md");
        let old = std::fs::read_to_string(&file).unwrap_or_default();
        write(file, &page::with_tails(&old, &section))?;
        charts.iter().try_for_each(|(name, svg)| write(docs.join(name), svg))?;
        println!("Wrote the section about tails of docs/performance.md, and its charts.");
        Ok(())
    }

    fn write_json(&self, plan: &Plan, json: &str) -> Result<(), Failure> {
        write(self.folder.join("results.json"), json)?;
        plan.json.as_ref().map_or(Ok(()), |file| write(file.clone(), json))
    }
}

fn write(file: PathBuf, text: &str) -> Result<(), Failure> {
    std::fs::write(&file, text).map_err(|e| Failure::new(format!("cannot write {}: {e}", file.display())))
}
