//! What evenkeel's simulator says of the same backends and the same load, and whether the run shows the same order. Knows
//! nothing of how the run was made.

use std::time::Duration;

use serde_json::{Value, json};

use super::contestant::{Contestant, Extra};
use super::{FAST, SLOW_DELAY};
use xtask::failure::Failure;
use xtask::shell::Shell;

/// What the simulator said for a rate.
#[derive(Debug)]
pub(crate) struct Simulated {
    pub(crate) rate: u32,
    /// Each algorithm's p99, in milliseconds; or why there is none.
    pub(crate) p99_ms: Result<Vec<(Contestant, f64)>, String>,
}

/// Two values that differ by less than this are equal: which of two equals comes first is chance.
const EQUAL: f64 = 0.1;

/// Asks the simulator, which has a minute.
pub(crate) fn ask(
    timeout: Shell,
    program: &std::path::Path,
    rate: u32,
    time: Duration,
    contestants: &[Contestant],
) -> Simulated {
    let fast = format!("constant({}ms)x{FAST}", super::FAST_DELAY.as_millis());
    let slow = format!("constant({}ms)", SLOW_DELAY.as_millis());
    let ours: Vec<Contestant> = contestants
        .iter()
        .copied()
        .filter(|c| c.algorithm().is_some() && c.extra() == Extra::Nothing)
        .collect();
    let algorithms = ours.iter().filter_map(|c| c.algorithm()).flat_map(|name| ["--algorithm", name]);
    let told = timeout
        .arg("60")
        .arg(program)
        .args(["simulate", "--backend", &fast, "--backend", &slow, "--json", "--arrivals", "constant"])
        .args(["--rate", &format!("{rate}/s"), "--duration", &format!("{}s", time.as_secs())])
        .args(algorithms)
        .output();
    let p99_ms = told.and_then(|told| parse(&told, &ours));
    let first_line = |f: Failure| {
        let told = f.to_string();
        told.lines().find(|line| line.starts_with("error")).unwrap_or("it failed").to_owned()
    };
    Simulated { rate, p99_ms: p99_ms.map_err(first_line) }
}

fn parse(told: &str, ours: &[Contestant]) -> Result<Vec<(Contestant, f64)>, Failure> {
    let wrong = |what: String| Failure::new(format!("error: the simulator's answer {what}"));
    let answer: Value = serde_json::from_str(told).map_err(|e| wrong(format!("is no JSON: {e}")))?;
    let runs = answer.get("algorithms").and_then(Value::as_array);
    let runs = runs.ok_or_else(|| wrong("has no algorithms".into()))?;
    let p99 = |contestant: &Contestant| {
        let name = contestant.algorithm().unwrap_or_default();
        let run = runs.iter().find(|run| run.get("name").and_then(Value::as_str) == Some(name));
        let p99 = run.and_then(|run| run.pointer("/latency_ms/p99")).and_then(Value::as_f64);
        p99.map(|p99| (*contestant, p99)).ok_or_else(|| wrong(format!("has no p99 of {name}")))
    };
    ours.iter().map(p99).collect()
}

/// The best first.
pub(crate) fn sorted(p99_ms: &[(Contestant, f64)]) -> Vec<(Contestant, f64)> {
    let mut sorted = p99_ms.to_vec();
    sorted.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    sorted
}

/// The pairs that the simulator has the other way round than the run, the simulator's better one first.
pub(crate) fn disagreements(
    simulated: &[(Contestant, f64)],
    measured: &[(Contestant, f64)],
) -> Vec<(Contestant, Contestant)> {
    let is_better = |of: &[(Contestant, f64)], one: Contestant, other: Contestant| {
        let p99 = |contestant| of.iter().find(|(c, _)| *c == contestant).map(|(_, p99)| *p99);
        p99(one).zip(p99(other)).is_some_and(|(one, other)| one * (1.0 + EQUAL) < other)
    };
    let pairs = simulated.iter().flat_map(|(a, _)| simulated.iter().map(|(b, _)| (*a, *b)));
    pairs.filter(|(a, b)| is_better(simulated, *a, *b) && is_better(measured, *b, *a)).collect()
}

// === impl Simulated ===

impl Simulated {
    /// For machines.
    pub(crate) fn json(&self) -> Value {
        let p99 = self.p99_ms.as_ref().map(|all| {
            let pair = |(c, p99): &(Contestant, f64)| (c.to_string(), json!(p99));
            Value::Object(all.iter().map(pair).collect())
        });
        json!({ "rate": self.rate, "p99_ms": p99.as_ref().ok(), "missing": p99.as_ref().err() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: [Contestant; 2] = [Contestant::RoundRobin, Contestant::PeakEwma];

    #[test]
    fn the_simulators_answer_is_understood() {
        let told = r#"{"seed": 1, "algorithms": [
            {"name": "peak_ewma", "latency_ms": {"p50": 10.0, "p99": 12.5}},
            {"name": "round_robin", "latency_ms": {"p50": 10.0, "p99": 100.0}}]}"#;
        let p99 = parse(told, &PAIR).unwrap();
        assert_eq!(p99, [(Contestant::RoundRobin, 100.0), (Contestant::PeakEwma, 12.5)]);
        assert_eq!(sorted(&p99)[0].0, Contestant::PeakEwma);
        assert!(parse(told, &[Contestant::Prequal]).is_err());
        assert!(parse("error", &PAIR).is_err());
    }

    #[test]
    fn only_a_clear_difference_is_a_disagreement() {
        let p99 = |a, b| [(Contestant::RoundRobin, a), (Contestant::PeakEwma, b)];
        assert_eq!(disagreements(&p99(100.0, 12.0), &p99(101.0, 13.0)), []);
        assert_eq!(disagreements(&p99(10.5, 10.0), &p99(10.0, 100.0)), [], "equal in the simulator");
        assert_eq!(disagreements(&p99(100.0, 12.0), &p99(10.0, 10.5)), [], "equal in the run");
        let wrong = disagreements(&p99(100.0, 12.0), &p99(10.0, 12.0));
        assert_eq!(wrong, [(Contestant::PeakEwma, Contestant::RoundRobin)]);
    }

    #[test]
    fn a_program_without_a_simulator_says_so() {
        let timeout = Shell::new("timeout", std::path::Path::new("/"));
        let asked = ask(timeout, "false".as_ref(), 400, Duration::from_secs(1), &PAIR);
        assert_eq!(asked.p99_ms.unwrap_err(), "it failed");
    }
}
