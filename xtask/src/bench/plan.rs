//! What a run measures, as its arguments say. Knows nothing of how it is measured.

use std::path::PathBuf;
use std::time::Duration;

use super::proxy::Proxy;
use super::scenario::{Scenario, Setting};
use crate::failure::Failure;

/// What a run measures.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) cell: Duration,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) quick: bool,
    /// Programs that are there already, to be measured instead of fresh ones.
    pub(crate) binaries: Option<PathBuf>,
}

/// Fewer rounds than this have no median worth publishing.
pub const PUBLISHED_ROUNDS: usize = 3;

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
            binaries: None,
        };
        let mut arguments = arguments.iter();
        while let Some(option) = arguments.next() {
            if option == "--quick" {
                (plan.rounds, plan.cell, plan.quick) = (2, Duration::from_secs(2), true);
                continue;
            }
            let value = arguments.next().ok_or_else(|| Failure::without_value(option))?;
            match option.as_str() {
                "--rounds" => plan.rounds = number(option, value)?,
                "--seconds" => plan.cell = Duration::from_secs(number(option, value)? as u64),
                "--only" => plan.proxies = list(option, value, &Proxy::ALL, Proxy::name)?,
                "--scenario" if value == "none" => plan.scenarios.clear(),
                "--scenario" => plan.scenarios = list(option, value, &Scenario::ALL, Scenario::name)?,
                "--binaries" => plan.binaries = Some(value.into()),
                _ => return Err(Failure::unknown_option(option)),
            }
        }
        Ok(plan)
    }

    /// The proxies of a round: each is first in its turn, so none is always measured on the warmer machine.
    pub(crate) fn order(&self, round: usize) -> impl Iterator<Item = Proxy> {
        in_turn(&self.proxies, round)
    }

    /// The scenarios that one start of the proxies serves.
    pub(crate) fn scenarios(&self, setting: Setting) -> Vec<Scenario> {
        self.scenarios.iter().copied().filter(|s| s.setting() == setting).collect()
    }

    /// Whether nothing was left out that a published figure needs.
    pub(crate) fn is_whole(&self) -> bool {
        let all = Proxy::ALL.iter().all(|p| self.proxies.contains(p))
            && Scenario::ALL.iter().all(|s| self.scenarios.contains(s));
        all && !self.quick && self.binaries.is_none() && self.rounds >= PUBLISHED_ROUNDS
    }
}

/// All, beginning with another one in each round.
pub fn in_turn<T: Copy>(all: &[T], round: usize) -> impl Iterator<Item = T> {
    let first = round % all.len().max(1);
    let (later, earlier) = all.split_at(first.min(all.len()));
    earlier.iter().chain(later).copied()
}

/// A number of an option, above 0.
pub(crate) fn number(option: &str, value: &str) -> Result<usize, Failure> {
    match value.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Failure::usage(format!("{option} wants a number above 0, but got {value:?}"))),
    }
}

/// Some of all, by their names with commas between.
pub(crate) fn list<T: Copy + PartialEq>(
    option: &str,
    value: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<Vec<T>, Failure> {
    let names = || all.iter().map(|t| name(*t)).collect::<Vec<_>>().join(", ");
    let mut wanted = Vec::new();
    for one in value.split(',') {
        let found = all.iter().copied().find(|t| name(*t) == one);
        wanted.push(
            found.ok_or_else(|| Failure::usage(format!("{option} knows {}, but not {one:?}", names())))?,
        );
    }
    // In the order of the report, whatever order they were asked for in, and none twice.
    Ok(all.iter().copied().filter(|t| wanted.contains(t)).collect())
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
        let partial = [
            "--quick",
            "--rounds 2",
            "--only evenkeel,bare",
            "--scenario small",
            "--scenario none",
            "--binaries /b",
        ];
        for partial in partial {
            assert!(!parse(partial).unwrap().is_whole(), "{partial}");
        }
    }

    #[test]
    fn what_a_plan_does_not_know_is_rejected() {
        for (wrong, told) in [
            (
                "--only envoy",
                "--only knows bare, nginx, haproxy, haproxy28, haproxy-splice, evenkeel-pingora, evenkeel, \
                 but not \"envoy\"",
            ),
            ("--rounds 0", "--rounds wants a number above 0, but got \"0\""),
            ("--rounds", "\"--rounds\" wants a value"),
            ("--fast 1", "there is no option \"--fast\"; see `cargo xtask help`"),
        ] {
            assert_eq!(parse(wrong).unwrap_err().to_string(), told);
        }
    }

    #[test]
    fn a_list_is_in_the_order_of_the_report() {
        let plan = parse("--only evenkeel,nginx,nginx").unwrap();
        assert_eq!(plan.proxies, [Proxy::Nginx, Proxy::Evenkeel]);
    }

    #[test]
    fn every_proxy_is_first_in_its_turn() {
        let plan = parse("").unwrap();
        let count = Proxy::ALL.len();
        let firsts: Vec<Proxy> = (0..count).filter_map(|round| plan.order(round).next()).collect();
        assert_eq!(firsts, Proxy::ALL);
        assert_eq!(plan.order(count - 1).count(), count);
    }
}
