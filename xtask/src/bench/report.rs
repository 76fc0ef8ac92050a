//! The page about performance: tables, how they came about, on what.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::load::Scenario;
use super::proxy::Proxy;
use super::results::{Cell, Results, Spread};
use super::{Bench, IDLE_CONNECTIONS};
use crate::failure::Failure;

/// What was measured on, and what.
#[derive(Debug)]
pub(crate) struct Machine {
    /// For the raw results.
    pub(crate) facts: Value,
    cores: String,
    kernel: String,
    versions: Vec<(Proxy, String)>,
    others: String,
}

/// How the run was made.
#[derive(Debug)]
pub(crate) struct How {
    pub(crate) rounds: usize,
    pub(crate) cell: Duration,
    pub(crate) profile: &'static str,
}

/// The whole page.
pub(crate) fn page(results: &Results, machine: &Machine, how: &How) -> String {
    let mut page = String::from(
        "# Performance\n\n\
         <!-- Written by `cargo xtask bench`; edits are lost at its next run. -->\n\n\
         ![CPU time a request](performance.svg)\n\n\
         Every proxy is measured in the same run, and only ratios within one run mean anything: on another machine, or on\n\
         another day, all absolute numbers move together. What counts most is CPU time a request, since it does not depend\n\
         on how fast the clients are.\n\n",
    );
    page += &tables(results);
    page += &method(machine, how);
    page
}

/// The tables alone.
pub(crate) fn tables(results: &Results) -> String {
    let mut text = String::new();
    for scenario in &results.scenarios {
        text += &table(results, *scenario);
    }
    text += &memory(results);
    text
}

fn table(results: &Results, scenario: Scenario) -> String {
    let mut text = format!("## {}\n\n", scenario.title());
    text += "| proxy | CPU µs/request | to bare Pingora | to HAProxy | requests/s | to bare Pingora | to HAProxy \
             | p50 µs | p99 µs | CPU busy |\n";
    text += "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n";
    for proxy in results.proxies.iter().copied() {
        let of = |measure: fn(&Cell) -> f64| results.of(proxy, scenario, measure);
        let to = |base, measure: fn(&Cell) -> f64| {
            if base == proxy { "1".to_owned() } else { ratio(results.ratio(proxy, base, scenario, measure)) }
        };
        row(
            &mut text,
            &[
                name(proxy),
                number(of(|c| c.cpu_us), 1),
                to(Proxy::Bare, |c| c.cpu_us),
                to(Proxy::Haproxy, |c| c.cpu_us),
                number(of(|c| c.requests_a_second), 0),
                to(Proxy::Bare, |c| c.requests_a_second),
                to(Proxy::Haproxy, |c| c.requests_a_second),
                number(of(|c| c.p50_us), 0),
                number(of(|c| c.p99_us), 0),
                number(of(|c| c.busy * 100.0), 0) + " %",
            ],
        );
    }
    text.push('\n');
    text
}

fn memory(results: &Results) -> String {
    let mut text = String::from(
        "## Memory\n\n| proxy | at start, MiB | after all load, MiB | an idle kept connection, KiB |\n",
    );
    text += "| --- | --: | --: | --: |\n";
    for proxy in results.proxies.iter().copied() {
        // Memory only grows from scenario to scenario, so the last one's is the most.
        let after = results.scenarios.last().and_then(|s| results.of(proxy, *s, |c| c.memory_kib / 1024.0));
        row(
            &mut text,
            &[
                name(proxy),
                number(results.memory_of(proxy, |m| m.start_kib / 1024.0), 1),
                number(after, 1),
                number(results.memory_of(proxy, |m| m.idle_kib), 1),
            ],
        );
    }
    text.push('\n');
    text
}

fn method(machine: &Machine, how: &How) -> String {
    let (rounds, seconds, profile) = (how.rounds, how.cell.as_secs(), how.profile);
    let mut text = format!(
        "\
## How this was measured

* `cargo xtask bench --rounds {rounds} --seconds {seconds}`: {rounds} rounds; in each, every proxy is started afresh, and every
  scenario is run against every proxy for {seconds} s after 1 s of warming up, in an order that rotates. The tables hold
  medians over the rounds. A ratio is the median of the rounds' ratios, with the lowest and the highest in brackets.
* The proxy has CPU 0 and one worker; clients (`wrk`, one thread) and two backends share CPU 1; all on loopback. Where
  \"CPU busy\" is well below 100 %, the load was the limit, and requests/s say less than CPU time.
* All proxies do the same: round robin over two backends with kept connections, `X-Forwarded-For` added, no access log.
  evenkeel has its admin address and metrics on; its limits and timeouts are at their defaults, but for the connections
  that one client may have, since all come from one address. Bare Pingora is `bench/src/bin/bare-pingora.rs`: no metrics,
  no limits, no timeouts, no retries. Both use mimalloc, profile `{profile}`.
* CPU time is user plus system time of the proxy and its children, as `/proc` has it, over the run, divided by the
  requests. Memory is resident memory (nginx: master plus worker), at start after one request. The cost of an idle
  connection is the growth over {IDLE_CONNECTIONS} connections with one request each.
* One answer that is not a success, or one broken connection, fails the whole run.

"
    );
    let _ = writeln!(text, "| what | which |\n| --- | --- |");
    row(&mut text, &["cores".into(), machine.cores.clone()]);
    row(&mut text, &["kernel".into(), machine.kernel.clone()]);
    for (proxy, version) in &machine.versions {
        row(&mut text, &[proxy.title().into(), version.clone()]);
    }
    row(&mut text, &["built and loaded with".into(), machine.others.clone()]);
    text
}

fn row(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn name(proxy: Proxy) -> String {
    if proxy == Proxy::Evenkeel { format!("**{}**", proxy.title()) } else { proxy.title().to_owned() }
}

fn number(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "–".into(), |s| format!("{:.digits$}", s.median))
}

fn ratio(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".into(), |s| format!("{:.2} ({:.2}–{:.2})", s.median, s.low, s.high))
}

// === impl Machine ===

impl Machine {
    /// Looks around.
    pub(crate) fn look(bench: &Bench<'_>, proxies: &[Proxy]) -> Result<Self, Failure> {
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split_once(": "));
        let model = model.map_or("of unknown make", |(_, model)| model.trim());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = format!("{cores} × {model}");
        let first = |told: String| told.lines().next().unwrap_or_default().trim().to_owned();
        let kernel = first(bench.tools.command("uname").args(["-s", "-r", "-m"]).output()?);
        let versions =
            proxies.iter().map(|p| Ok((*p, p.version(bench)?))).collect::<Result<Vec<_>, Failure>>()?;
        let rustc = first(bench.tools.command("rustc").arg("--version").output()?);
        // wrk prints its version together with its usage, and fails.
        let wrk = first(bench.tools.command("sh").args(["-c", "wrk -v || true"]).output()?);
        let wrk = wrk.split(" [").next().unwrap_or("wrk").to_owned();
        let listed: Vec<String> = versions.iter().map(|(p, v)| format!("{}: {v}", p.title())).collect();
        let facts =
            json!({ "cores": cores, "kernel": kernel, "versions": listed, "rustc": rustc, "wrk": wrk });
        Ok(Self { facts, cores, kernel, versions, others: format!("{rustc}; {wrk}") })
    }
}
