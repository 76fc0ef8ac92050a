//! The page about performance: tables, how they came about, on what.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::memory::{EARLIER_CONNECTIONS, IDLE_CONNECTIONS};
use super::proxy::Proxy;
use super::results::{Cell, Results, Spread};
use super::scenario::Scenario;
use super::{Bench, bounds};
use crate::chart::{self, Bar, Group};
use crate::failure::Failure;
use crate::tools::Tools;

/// What was measured on, and what.
#[derive(Debug)]
pub(crate) struct Machine {
    /// For the raw results.
    pub(crate) facts: Value,
    host: Host,
    versions: Vec<(Proxy, String)>,
    others: String,
}

/// The machine, whatever runs on it.
#[derive(Debug)]
pub struct Host {
    /// How many, of which make.
    pub cores: String,
    /// Its name and version.
    pub kernel: String,
    /// The compiler's version.
    pub rustc: String,
}

/// How the run was made.
#[derive(Debug)]
pub(crate) struct How {
    pub(crate) rounds: usize,
    pub(crate) cell: Duration,
    pub(crate) profile: &'static str,
    /// Whether the build of evenkeel was guided by counts of such traffic.
    pub(crate) guided: bool,
}

/// The whole page.
pub(crate) fn page(results: &Results, machine: &Machine, how: &How) -> String {
    let mut page = String::from(
        "# Performance\n\n\
         <!-- Written by `cargo xtask bench`; edits are lost at its next run. -->\n\n\
         ![CPU time a request](performance.svg)\n\n\
         Every proxy is measured in the same run. Compare only ratios within one run: on another machine, or on another day,\n\
         all absolute numbers change together. CPU time per request matters most, because it does not depend on how fast the\n\
         clients are.\n\n",
    );
    page += &tables(results);
    page += &method(machine, how);
    page
}

/// The chart of CPU time a request: each scenario on a scale of its own, since their requests are not alike.
pub(crate) fn chart(results: &Results) -> Result<String, Failure> {
    let group = |scenario: &Scenario| {
        let bar = |proxy: &Proxy| {
            let value = results.of(*proxy, *scenario, |c| c.cpu_us)?.median;
            let (label, text, is_ours) =
                (proxy.title().into(), format!("{value:.1} µs"), *proxy == Proxy::Evenkeel);
            Some(Bar { label, value, behind: 0.0, text, is_ours })
        };
        Group { title: scenario.title(), bars: results.proxies.iter().filter_map(bar).collect() }
    };
    let groups: Vec<Group> = results.scenarios.iter().map(group).collect();
    chart::bars("CPU time a request, one core: shorter is better", &groups)
}

/// The tables alone.
pub(crate) fn tables(results: &Results) -> String {
    let mut text = String::new();
    for scenario in &results.scenarios {
        text += &table(results, *scenario);
    }
    text += &memory(results);
    if results.proxies.contains(&Proxy::Evenkeel) {
        text += "## Bounds\n\n";
        text += &bounds::table(&bounds::all(results));
    }
    text
}

fn table(results: &Results, scenario: Scenario) -> String {
    let base = results.base(scenario);
    let mut text = format!("## {}\n\n", scenario.title());
    let to = base.map_or_else(|| "to HAProxy".to_owned(), |base| format!("to {}", base.title()));
    let _ = writeln!(
        text,
        "| proxy | CPU µs/request | {to} | requests/s | {to} | p50 µs | {to} | p99 µs | {to} | CPU busy |\n\
         | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
    );
    for proxy in results.proxies.iter().copied().filter(|p| p.takes(scenario)) {
        let of = |measure: fn(&Cell) -> f64| results.of(proxy, scenario, measure);
        let to = |measure: fn(&Cell) -> f64| match base {
            Some(base) if base == proxy => "1".to_owned(),
            Some(base) => spread(results.ratio(proxy, base, scenario, measure), 2),
            None => "–".to_owned(),
        };
        row(
            &mut text,
            &[
                name(proxy),
                spread(of(|c| c.cpu_us), 1),
                to(|c| c.cpu_us),
                number(of(|c| c.requests_a_second), 0),
                to(|c| c.requests_a_second),
                number(of(|c| c.p50_us), 0),
                to(|c| c.p50_us),
                number(of(|c| c.p99_us), 0),
                to(|c| c.p99_us),
                number(of(|c| c.busy * 100.0), 0) + " %",
            ],
        );
    }
    text.push('\n');
    text
}

fn memory(results: &Results) -> String {
    let mut text = format!(
        "## Memory\n\n\
         | proxy | before, MiB | an idle kept connection, KiB | after {IDLE_CONNECTIONS} of them have left, % of before \
         | after all load, MiB |\n"
    );
    text += "| --- | --: | --: | --: | --: |\n";
    for proxy in results.proxies.iter().copied().filter(|p| p.has_memory()) {
        let after = results.most_memory(proxy);
        row(
            &mut text,
            &[
                name(proxy),
                number(results.memory_of(proxy, |m| m.before_kib / 1024.0), 1),
                spread(results.memory_of(proxy, |m| m.idle_kib), 2),
                number(results.memory_of(proxy, |m| m.left_kib / m.before_kib * 100.0), 0),
                after.map_or_else(|| "–".into(), |kib| format!("{:.1}", kib / 1024.0)),
            ],
        );
    }
    text.push('\n');
    text
}

fn method(machine: &Machine, how: &How) -> String {
    let (rounds, seconds, profile) = (how.rounds, how.cell.as_secs(), how.profile);
    let guided = if how.guided {
        " evenkeel is built as\n  released (`cargo xtask dist`), with profile-guided optimization from the traffic of these scenarios."
    } else {
        ""
    };
    let mut text = format!(
        "\
## How this was measured

* `cargo xtask bench --rounds {rounds} --seconds {seconds}`: {rounds} rounds. Each round starts every proxy again, and runs every
  scenario against every proxy for {seconds} s after 1 s of warming up, in an order that rotates. The tables contain medians
  over the rounds. For CPU time and idle memory, the lowest and the highest value are in brackets. A ratio is the median of
  the ratios of the rounds, in the same way. Ratios are to the packaged HAProxy or to HAProxy 2.8: the one that takes less
  CPU time in that scenario.
* The proxy has CPU 0 and one worker; clients (`wrk`, one thread) and two backends share CPU 1; all on loopback. Where
  \"CPU busy\" is well below 100 %, `wrk` was the limit: compare CPU time, not requests/s.
* All proxies do the same: they pick the one of two backends with fewer connections, keep connections to them, add
  `X-Forwarded-For`, have timeouts, and write no access log except where the title says so. evenkeel has its admin address
  and metrics on. Its limits and timeouts have their defaults, except for the connections per client, because all
  connections come from one address.
  Bare Pingora is `bench/src/bin/bare-pingora.rs`: round robin, no metrics, no limits, no timeouts, no retries, no log.
  Both use mimalloc, profile `{profile}`.{guided}
  nginx has buffers that hold the bodies, and HAProxy has `http-reuse always`: both take less CPU time this way.
  HAProxy, splicing, also has `option splice-response`, which is off by default. The configuration of each proxy is in
  `target/bench/` after a run.
* Access logs go to a file in memory: evenkeel's as JSON, nginx's as `combined` with a buffer, HAProxy's as `httplog`, from its
  standard output, which costs it less than syslog. A log that lacks a record fails the run.
* CPU time is user plus system time of the proxy and its children from `/proc`, over the run, divided by the number of
  requests. Memory is resident memory (nginx: master plus worker). First {EARLIER_CONNECTIONS} idle connections open, send one request
  each and close; then {IDLE_CONNECTIONS} do the same. \"Before\" is measured in between. The cost of an idle connection is the memory that
  the second group uses more than the first, divided by the connections that it has more.
* One response that is not a success, or one broken connection, fails the whole run.

"
    );
    let _ = writeln!(text, "| what | which |\n| --- | --- |");
    row(&mut text, &["cores".into(), machine.host.cores.clone()]);
    row(&mut text, &["kernel".into(), machine.host.kernel.clone()]);
    for (proxy, version) in &machine.versions {
        row(&mut text, &[proxy.title().into(), version.clone()]);
    }
    row(&mut text, &["built and loaded with".into(), machine.others.clone()]);
    text
}

/// Adds a row to a table.
pub fn row(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn name(proxy: Proxy) -> String {
    if proxy == Proxy::Evenkeel { format!("**{}**", proxy.title()) } else { proxy.title().to_owned() }
}

/// A median alone.
pub fn number(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "–".into(), |s| format!("{:.digits$}", s.median))
}

/// A median, with the lowest and the highest in brackets.
pub fn spread(spread: Option<Spread>, digits: usize) -> String {
    let text = |s: Spread| format!("{:.digits$} ({:.digits$}–{:.digits$})", s.median, s.low, s.high);
    spread.map_or_else(|| "–".into(), text)
}

// === impl Machine ===

impl Machine {
    /// Looks around.
    pub(crate) fn look(bench: &Bench<'_>, proxies: &[Proxy]) -> Result<Self, Failure> {
        let host = Host::look(&bench.tools)?;
        let versions =
            proxies.iter().map(|p| Ok((*p, p.version(bench)?))).collect::<Result<Vec<_>, Failure>>()?;
        let Host { cores, kernel, rustc } = &host;
        // wrk prints its version together with its usage, and fails.
        let wrk = first_line(bench.tools.command("sh").args(["-c", "wrk -v || true"]).output()?);
        let wrk = wrk.split(" [").next().unwrap_or("wrk").to_owned();
        let listed: Vec<String> = versions.iter().map(|(p, v)| format!("{}: {v}", p.title())).collect();
        let facts =
            json!({ "cores": cores, "kernel": kernel, "versions": listed, "rustc": rustc, "wrk": wrk });
        let others = format!("{rustc}; {wrk}");
        Ok(Self { facts, host, versions, others })
    }
}

// === impl Host ===

impl Host {
    /// Looks around.
    pub fn look(tools: &Tools<'_>) -> Result<Self, Failure> {
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split_once(": "));
        let model = model.map_or("of unknown make", |(_, model)| model.trim());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = format!("{cores} × {model}");
        let kernel = first_line(tools.command("uname").args(["-s", "-r", "-m"]).output()?);
        let rustc = first_line(tools.command("rustc").arg("--version").output()?);
        Ok(Self { cores, kernel, rustc })
    }
}

fn first_line(told: String) -> String {
    told.lines().next().unwrap_or_default().trim().to_owned()
}
