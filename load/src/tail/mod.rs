//! Measures what clients see while a backend is slow, and how soon a change of one shows: evenkeel's algorithms beside those of
//! nginx, HAProxy and Envoy, in one run.
//!
//! The proxy under test has CPU 0 to itself, and only one runs at a time. The load and the backends are two threads of this
//! process, and share CPU 1. All traffic stays on loopback.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use xtask::bench::{page, warn_if_busy};
use xtask::failure::Failure;
use xtask::shell::Shell;
use xtask::tools::Tools;
use xtask::workspace::{Workspace, write};

use self::backend::Backends;
use self::contestant::Contestant;
use self::load::{Change, Load};
use self::plan::Part;
pub(crate) use self::plan::Plan;
use self::results::{Course, Figures, Results};
use self::sample::Samples;

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
mod thread;

/// What every point needs to know.
#[derive(Debug)]
pub(crate) struct Tail<'a> {
    tools: Tools<'a>,
    workspace: &'a Workspace,
    /// Where configurations and results go.
    folder: PathBuf,
    evenkeel: PathBuf,
    backends: Backends,
    /// The ports of the backends.
    ports: Vec<u16>,
    /// Whether all that is measured runs at real-time priority.
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

/// The CPU of the load and the backends.
const LOAD_CPU: usize = 1;

/// Runs the plan; writes the section if the run was whole.
pub(crate) fn run(workspace: &Workspace, plan: Plan) -> Result<(), Failure> {
    let mut plan = plan.checked()?;
    let tail = Tail::prepare(workspace, &mut plan)?;
    warn_if_busy();
    let setting = report::Setting::look(&tail, &plan.contestants)?;
    let mut results = Results::new(plan.contestants.clone(), plan.rates.clone());
    for round in 0..plan.rounds {
        println!("\nRound {} of {}", round + 1, plan.rounds);
        tail.round(&plan, round, &mut results)?;
        // A later round may fail: what was measured so far is kept.
        tail.write_json(&plan, &results.json(&setting.facts()))?;
    }
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
            return Err(Failure::new("the benchmark needs two CPUs: one for the proxy and one for the load"));
        }
        let evenkeel = plan.evenkeel.clone().map(std::path::absolute).transpose();
        let evenkeel = evenkeel.map_err(|e| Failure::new(format!("--evenkeel: {e}")))?;
        let tools = Tools::new(workspace);
        clock::sharpen();
        let real_time = tools.command("chrt").args(thread::REAL_TIME).arg("true").output().is_ok();
        let backends = Backends::start(FAST + 1, LOAD_CPU, real_time)?;
        let tail = Self {
            ports: backends.ports(),
            backends,
            tools,
            real_time,
            workspace,
            folder: workspace.target.join("bench/tail"),
            evenkeel: evenkeel.unwrap_or_else(|| workspace.binary("dist", "evenkeel")),
        };
        std::fs::create_dir_all(&tail.folder)
            .map_err(|e| Failure::new(format!("cannot make {}: {e}", tail.folder.display())))?;
        for program in ["taskset", "chrt"] {
            tail.tools.packaged(program, "util-linux")?;
        }
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

    /// A command at real-time priority, where the machine allows it.
    fn urgent(&self, command: Shell) -> Shell {
        if self.real_time { command.through("chrt", thread::REAL_TIME.map(OsString::from)) } else { command }
    }

    /// Every point of every contestant, one after the other.
    fn round(&self, plan: &Plan, round: usize, results: &mut Results) -> Result<(), Failure> {
        for rate in plan.rates.iter().filter(|_| plan.parts.contains(&Part::Steady)) {
            for contestant in plan.order(round) {
                results.point(contestant, *rate, self.point(contestant, *rate, plan.time())?);
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
        Ok(Course { samples, moments, changing, fair: 1.0 / self.ports.len() as f64 })
    }

    /// Starts a contestant, loads it, ends it. Returns the samples that count, and the ports of the backends that changed.
    fn measure(
        &self,
        contestant: Contestant,
        rate: u32,
        time: Duration,
        changes: Vec<Change>,
    ) -> Result<(Samples, Vec<u16>), Failure> {
        for (index, port) in self.ports.iter().enumerate() {
            self.backends.set_delay(*port, if index == SLOW { SLOW_DELAY } else { FAST_DELAY });
        }
        let started = contestant.start(self)?;
        let load = Load { port: started.port, rate, warm_up: WARM_UP, time, changes };
        let done = load.run(&self.backends, self.real_time)?;
        for (why, count) in &done.failures {
            println!("           {count} requests failed: {why}");
        }
        Ok((done.samples.counted(), done.changed))
    }

    fn port(&self, index: usize) -> Result<u16, Failure> {
        self.ports.get(index).copied().ok_or_else(|| Failure::new(format!("there is no backend {index}")))
    }

    fn simulate(&self, plan: &Plan, rate: u32) -> simulated::Simulated {
        let timeout = self.tools.command("timeout");
        simulated::ask(timeout, &self.evenkeel, rate, plan.time(), &plan.contestants)
    }

    fn publish(&self, plan: &Plan, results: &Results, setting: &report::Setting) -> Result<(), Failure> {
        let section = report::section(results, setting, plan);
        let charts = [(chart::STEADY, chart::steady(results)?), (chart::CHANGES, chart::changes(results)?)];
        println!("\n{}", report::tables(results));
        self.write_json(plan, &results.json(&setting.facts()))?;
        write(&self.folder.join("tails.md"), &section)?;
        charts.iter().try_for_each(|(name, svg)| write(&self.folder.join(name), svg))?;
        if !plan.is_whole() {
            println!("Not a whole run, so docs/ stays as it is; this one is in {}.", self.folder.display());
            return Ok(());
        }
        let docs = self.workspace.root.join("docs");
        let file = docs.join("performance.md");
        let old = std::fs::read_to_string(&file).unwrap_or_default();
        write(&file, &page::with_tails(&old, &section))?;
        charts.iter().try_for_each(|(name, svg)| write(&docs.join(name), svg))?;
        println!("Wrote the section about tails of docs/performance.md, and its charts.");
        Ok(())
    }

    fn write_json(&self, plan: &Plan, json: &str) -> Result<(), Failure> {
        write(&self.folder.join("results.json"), json)?;
        plan.json.as_ref().map_or(Ok(()), |file| write(file, json))
    }
}
