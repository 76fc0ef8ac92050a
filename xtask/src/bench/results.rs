//! What was measured: every cell of every round, their medians, and the ratios between proxies of the same round.

use std::fmt;

use serde_json::{Value, json};

use super::bounds;
use super::proxy::Proxy;
use super::report::Machine;
use super::scenario::Scenario;

/// Everything measured in a run.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) scenarios: Vec<Scenario>,
    cells: Vec<(Proxy, Scenario, Cell)>,
    memory: Vec<(Proxy, Memory)>,
}

/// One proxy, one scenario, one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) requests_a_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU time a request, in microseconds: user and system.
    pub(crate) cpu_us: f64,
    /// The share of its CPU that the proxy used. Below 1, the load was the limit, not the proxy.
    pub(crate) busy: f64,
    pub(crate) memory_kib: f64,
}

/// What a proxy takes that was started afresh.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident, after the first connections have come and gone.
    pub(crate) before_kib: f64,
    /// What one idle kept connection adds.
    pub(crate) idle_kib: f64,
    /// Resident, after all idle connections have gone.
    pub(crate) left_kib: f64,
}

/// The middle of several values, and how far apart they were.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

// === impl Results ===

impl Results {
    /// Of a run over these.
    pub(crate) fn new(proxies: Vec<Proxy>, scenarios: Vec<Scenario>) -> Self {
        Self { proxies, scenarios, cells: Vec::new(), memory: Vec::new() }
    }

    /// Adds a cell of the current round.
    pub(crate) fn cell(&mut self, proxy: Proxy, scenario: Scenario, cell: Cell) {
        self.cells.push((proxy, scenario, cell));
    }

    /// Adds a proxy's memory in the current round.
    pub(crate) fn memory(&mut self, proxy: Proxy, memory: Memory) {
        self.memory.push((proxy, memory));
    }

    /// One measure of a proxy in a scenario, over the rounds.
    pub(crate) fn of(&self, proxy: Proxy, scenario: Scenario, measure: fn(&Cell) -> f64) -> Option<Spread> {
        Spread::over(self.rounds(proxy, scenario, measure))
    }

    /// One measure of a proxy's memory, over the rounds.
    pub(crate) fn memory_of(&self, proxy: Proxy, measure: fn(&Memory) -> f64) -> Option<Spread> {
        Spread::over(self.memory.iter().filter(|(p, _)| *p == proxy).map(|(_, m)| measure(m)).collect())
    }

    /// What everything is compared to in a scenario: the one of the HAProxys that takes less CPU time a request.
    pub(crate) fn base(&self, scenario: Scenario) -> Option<Proxy> {
        let measured =
            Proxy::BASES.into_iter().filter_map(|p| Some((p, self.of(p, scenario, |c| c.cpu_us)?)));
        measured.min_by(|(_, a), (_, b)| a.median.total_cmp(&b.median)).map(|(proxy, _)| proxy)
    }

    /// The most memory that a proxy had after a scenario, in KiB, over the rounds.
    pub(crate) fn most_memory(&self, proxy: Proxy) -> Option<f64> {
        let after = self.scenarios.iter().filter_map(|s| self.of(proxy, *s, |c| c.memory_kib));
        after.map(|spread| spread.median).max_by(f64::total_cmp)
    }

    /// One measure of a proxy as a ratio to another's. Taken round by round, so what slows a whole round cancels out.
    pub(crate) fn ratio(
        &self,
        proxy: Proxy,
        base: Proxy,
        scenario: Scenario,
        measure: fn(&Cell) -> f64,
    ) -> Option<Spread> {
        let (ours, theirs) = (self.rounds(proxy, scenario, measure), self.rounds(base, scenario, measure));
        Spread::over(ours.iter().zip(&theirs).map(|(a, b)| a / b).collect())
    }

    /// Every value measured, for machines.
    pub(crate) fn json(&self, machine: &Machine) -> String {
        let cell = |(proxy, scenario, c): &(Proxy, Scenario, Cell)| -> Value {
            json!({
                "proxy": proxy.name(), "scenario": scenario.name(), "requests_a_second": c.requests_a_second,
                "p50_us": c.p50_us, "p99_us": c.p99_us, "cpu_us_a_request": c.cpu_us, "busy": c.busy,
                "memory_kib": c.memory_kib,
            })
        };
        let memory = |(proxy, m): &(Proxy, Memory)| -> Value {
            json!({
                "proxy": proxy.name(), "before_kib": m.before_kib, "idle_connection_kib": m.idle_kib,
                "left_kib": m.left_kib,
            })
        };
        let base = |scenario: &Scenario| -> Value {
            json!({ "scenario": scenario.name(), "haproxy": self.base(*scenario).map(Proxy::name) })
        };
        let bound = |bound: &bounds::Bound| -> Value {
            json!({ "what": bound.what, "limit": bound.limit, "measured": bound.measured, "holds": bound.holds() })
        };
        let all = json!({
            "machine": machine.facts,
            "cells": self.cells.iter().map(cell).collect::<Vec<_>>(),
            "memory": self.memory.iter().map(memory).collect::<Vec<_>>(),
            "compared_to": self.scenarios.iter().map(base).collect::<Vec<_>>(),
            "bounds": bounds::all(self).iter().map(bound).collect::<Vec<_>>(),
        });
        format!("{all:#}\n")
    }

    fn rounds(&self, proxy: Proxy, scenario: Scenario, measure: fn(&Cell) -> f64) -> Vec<f64> {
        let mine = self.cells.iter().filter(|(p, s, _)| *p == proxy && *s == scenario);
        mine.map(|(_, _, cell)| measure(cell)).collect()
    }
}

// === impl Cell ===

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>8.0} requests/s, p50 {:>6.0} µs, p99 {:>6.0} µs, {:>6.1} CPU µs a request, {:>3.0} % busy, {:.1} MiB",
            self.requests_a_second,
            self.p50_us,
            self.p99_us,
            self.cpu_us,
            self.busy * 100.0,
            self.memory_kib / 1024.0
        )
    }
}

// === impl Memory ===

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} MiB before, {:.2} KiB an idle connection, {:.0} % of that before after they left",
            self.before_kib / 1024.0,
            self.idle_kib,
            self.left_kib / self.before_kib * 100.0
        )
    }
}

// === impl Spread ===

impl Spread {
    /// Of these; none of nothing.
    pub fn over(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = values.get(middle).copied()?;
        let lower = if values.len().is_multiple_of(2) { values.get(middle - 1).copied()? } else { upper };
        Some(Self {
            median: f64::midpoint(lower, upper),
            low: values.first().copied()?,
            high: values.last().copied()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(cpu_us: f64) -> Cell {
        Cell { requests_a_second: 1.0, p50_us: 1.0, p99_us: 1.0, cpu_us, busy: 1.0, memory_kib: 1.0 }
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(Spread::over(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::over(vec![4.0, 1.0]), Some(Spread { median: 2.5, low: 1.0, high: 4.0 }));
        assert_eq!(Spread::over(vec![]), None);
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        let mut results = Results::new(Proxy::ALL.to_vec(), Scenario::ALL.to_vec());
        // The second round is twice as slow for both: the ratio must not see it.
        for slow in [1.0, 2.0] {
            results.cell(Proxy::Bare, Scenario::Small, cell(10.0 * slow));
            results.cell(Proxy::Evenkeel, Scenario::Small, cell(11.0 * slow));
        }
        let ratio = results.ratio(Proxy::Evenkeel, Proxy::Bare, Scenario::Small, |c| c.cpu_us).unwrap();
        assert!((ratio.median - 1.1).abs() < 1e-9 && (ratio.high - ratio.low).abs() < 1e-9);
        assert_eq!(results.ratio(Proxy::Evenkeel, Proxy::Bare, Scenario::Churn, |c| c.cpu_us), None);
    }
}
