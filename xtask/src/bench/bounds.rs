//! The bounds that evenkeel must keep, and whether a run keeps them. Knows nothing of how anything is measured.

use std::fmt::Write;

use super::proxy::Proxy;
use super::results::{Cell, Results};
use super::scenario::Scenario;

/// A bound, and what was measured of it.
#[derive(Debug)]
pub struct Bound {
    /// What is measured, in words.
    pub what: String,
    /// What it may be at most, or must be at least.
    pub limit: f64,
    /// Whether the limit is the least and not the most.
    pub at_least: bool,
    /// What stands behind the numbers.
    pub unit: &'static str,
    /// The result, unless the run left out something that it needs.
    pub measured: Option<f64>,
}

/// CPU time to the faster HAProxy's, by scenario.
const CPU: [(Scenario, f64); 6] = [
    (Scenario::Small, 0.80),
    (Scenario::Logged, 0.90),
    (Scenario::Post, 0.90),
    (Scenario::Medium, 0.95),
    (Scenario::Large, 0.65),
    (Scenario::Churn, 1.00),
];

/// All bounds, of the scenarios that were run.
pub(crate) fn all(results: &Results) -> Vec<Bound> {
    let mut bounds = Vec::new();
    let run = |scenario: &Scenario| results.scenarios.contains(scenario);
    let to_base = |scenario, measure: fn(&Cell) -> f64| {
        let base = results.base(scenario)?;
        Some(results.ratio(Proxy::Evenkeel, base, scenario, measure)?.median)
    };
    let mut add = |what: String, limit, at_least, unit, measured| {
        bounds.push(Bound { what, limit, at_least, unit, measured });
    };
    for (scenario, limit) in CPU.into_iter().filter(|(s, _)| run(s)) {
        let what = format!("{}: CPU time to HAProxy", scenario.title());
        add(what, limit, false, "×", to_base(scenario, |c| c.cpu_us));
    }
    if run(&Scenario::Small) {
        let small = Scenario::Small.title();
        let requests = to_base(Scenario::Small, |c| c.requests_a_second);
        add(format!("{small}: requests/s to HAProxy"), 1.20, true, "×", requests);
        let p99 = to_base(Scenario::Small, |c| c.p99_us);
        add(format!("{small}: p99 to HAProxy"), 1.00, false, "×", p99);
        let own = results.ratio(Proxy::Evenkeel, Proxy::EvenkeelPingora, Scenario::Small, |c| c.cpu_us);
        let what = format!("{small}: CPU time to evenkeel's Pingora lane");
        add(what, 0.60, false, "×", own.map(|spread| spread.median));
    }
    let memory = |measure| results.memory_of(Proxy::Evenkeel, measure).map(|spread| spread.median);
    add("Memory of an idle kept connection".into(), 2.0, false, " KiB", memory(|m| m.idle_kib));
    let left = memory(|m| m.left_kib / m.before_kib * 100.0);
    add("Memory after they have left, of that before".into(), 110.0, false, " %", left);
    bounds
}

/// As a table.
pub fn table(bounds: &[Bound]) -> String {
    let mut text = String::from("The bounds that evenkeel must keep, and the results of this run:\n\n");
    text += "| what | bound | measured | |\n| --- | --: | --: | --- |\n";
    for bound in bounds {
        let sign = if bound.at_least { '≥' } else { '≤' };
        let measured = match bound.measured {
            Some(value) if value.is_finite() => format!("{value:.2}{}", bound.unit),
            Some(_) => "never".to_owned(),
            None => "–".to_owned(),
        };
        let verdict = match bound.holds() {
            Some(true) => "held",
            Some(false) => "**missed**",
            None => "not measured",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {sign} {:.2}{} | {measured} | {verdict} |",
            bound.what, bound.limit, bound.unit
        );
    }
    text.push('\n');
    text
}

// === impl Bound ===

impl Bound {
    /// Whether it holds, as far as it was measured.
    pub fn holds(&self) -> Option<bool> {
        self.measured.map(|value| if self.at_least { value >= self.limit } else { value <= self.limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::Memory;

    fn cell(cpu_us: f64, requests_a_second: f64) -> Cell {
        Cell { requests_a_second, p50_us: 1.0, p99_us: 1.0, cpu_us, busy: 1.0, memory_kib: 1.0 }
    }

    #[test]
    fn bounds_are_held_against_the_faster_haproxy() {
        let mut results = Results::new(Proxy::ALL.to_vec(), vec![Scenario::Small]);
        results.cell(Proxy::Haproxy, Scenario::Small, cell(20.0, 100.0));
        results.cell(Proxy::Haproxy28, Scenario::Small, cell(10.0, 200.0));
        results.cell(Proxy::Evenkeel, Scenario::Small, cell(9.0, 240.0));
        results.memory(Proxy::Evenkeel, Memory { before_kib: 100.0, idle_kib: 1.5, left_kib: 111.0 });
        let verdicts: Vec<(Option<bool>, f64)> =
            all(&results).iter().map(|b| (b.holds(), b.measured.unwrap_or(-1.0))).collect();
        // CPU, requests, p99, CPU to the own lane (not measured), an idle connection, after they have left.
        let expected = [Some(false), Some(true), Some(true), None, Some(true), Some(false)];
        assert_eq!(verdicts.iter().map(|(holds, _)| *holds).collect::<Vec<_>>(), expected);
        assert!((verdicts[0].1 - 0.9).abs() < 1e-9 && (verdicts[1].1 - 1.2).abs() < 1e-9, "{verdicts:?}");
        let table = table(&all(&results));
        assert_eq!(table.matches("**missed**").count(), 2, "{table}");
        assert!(table.contains("| ≤ 110.00 % | 111.00 % | **missed** |"), "{table}");
    }
}
