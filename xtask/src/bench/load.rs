//! Runs `wrk` as a scenario needs it, and reads its results. Knows nothing of the proxies.

use std::path::Path;
use std::time::Duration;

use super::scenario::{CONNECTIONS, POSTED, Scenario};
use crate::failure::Failure;
use crate::tools::Tools;
use crate::workspace;

/// The results of a run.
#[derive(Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    pub(crate) requests_a_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Writes what `wrk` needs beside its arguments: it sends bodies only by script.
pub(crate) fn write_script(folder: &Path) -> Result<(), Failure> {
    let script = format!("wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", {POSTED})\n");
    workspace::write(&folder.join(SCRIPT), &script)
}

/// Loads a proxy from CPU 1. A response that is not a success, and a broken connection, fail the run.
pub(crate) fn run(
    tools: &Tools<'_>,
    folder: &Path,
    scenario: Scenario,
    port: u16,
    time: Duration,
) -> Result<Load, Failure> {
    let wrk = tools.command("taskset").args(["--cpu-list", "1", "wrk", "--latency", "--threads", "1"]);
    let wrk = wrk.arg("--connections").arg(CONNECTIONS.to_string());
    let wrk = wrk.arg("--duration").arg(format!("{}s", time.as_secs()));
    let wrk = match scenario {
        Scenario::Churn => wrk.args(["--header", "Connection: close"]),
        Scenario::Post => wrk.arg("--script").arg(folder.join(SCRIPT)),
        _ => wrk,
    };
    let printed = wrk.arg(format!("http://127.0.0.1:{port}{}", scenario.path())).output()?;
    parse(&printed)
        .map_err(|why| Failure::new(format!("{} on port {port}: {why}:\n{printed}", scenario.name())))
}

const SCRIPT: &str = "post.lua";

fn parse(printed: &str) -> Result<Load, String> {
    if let Some(errors) = printed.lines().find(|l| l.contains("Socket errors") || l.contains("Non-2xx")) {
        return Err(format!("not every request succeeded ({})", errors.trim()));
    }
    let missing = |what: &str| format!("wrk did not say {what}");
    let after = |label: &str| {
        let line = printed.lines().find_map(|l| l.trim().strip_prefix(label));
        line.and_then(|l| l.split_whitespace().next()).ok_or_else(|| missing(label))
    };
    let total =
        printed.lines().find(|l| l.contains(" requests in ")).ok_or_else(|| missing("requests in"))?;
    let mut words = total.split_whitespace();
    let requests: f64 =
        words.next().and_then(|w| w.parse().ok()).ok_or_else(|| missing("how many requests"))?;
    let time = words.nth(2).map(|w| w.trim_end_matches(',')).ok_or_else(|| missing("how long"))?;
    if requests < 1.0 {
        return Err("no request was answered".into());
    }
    Ok(Load {
        requests,
        seconds: microseconds(time)? / 1e6,
        requests_a_second: after("Requests/sec:")?.parse().map_err(|_| missing("Requests/sec"))?,
        p50_us: microseconds(after("50%")?)?,
        p99_us: microseconds(after("99%")?)?,
    })
}

/// A time as `wrk` writes it: `12.34us`, `1.20ms`, `2.00s`, `1.50m`.
fn microseconds(text: &str) -> Result<f64, String> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 60e6)];
    let found = units.iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * factor)
    });
    found.ok_or_else(|| format!("{text:?} is not a time of wrk's"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
Running 5s test @ http://127.0.0.1:8080/small
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.20ms  310.00us   9.00ms   90.00%
    Req/Sec    50.00k     1.00k   52.00k    60.00%
  Latency Distribution
     50%    1.15ms
     75%    1.30ms
     90%    1.50ms
     99%  990.00us
  250000 requests in 5.10s, 35.00MB read
Requests/sec:  49019.61
Transfer/sec:      6.86MB
";

    #[test]
    fn what_wrk_prints_is_understood() {
        let load = parse(PRINTED).unwrap();
        assert_eq!(
            load,
            Load {
                requests: 250_000.0,
                seconds: 5.1,
                requests_a_second: 49019.61,
                p50_us: 1150.0,
                p99_us: 990.0
            }
        );
    }

    #[test]
    fn a_run_with_errors_fails() {
        for error in
            ["  Socket errors: connect 0, read 3, write 0, timeout 0", "  Non-2xx or 3xx responses: 7"]
        {
            let why = parse(&format!("{PRINTED}{error}\n")).unwrap_err();
            assert!(why.contains(error.trim()), "{why}");
        }
        assert!(parse("").is_err());
        assert!(parse(&PRINTED.replace("250000 requests", "0 requests")).is_err());
    }
}
