//! What a run about tails measures, as its arguments say. Knows nothing of how it is measured.

use std::path::PathBuf;
use std::time::Duration;

use super::contestant::Contestant;
use crate::bench::plan::{PUBLISHED_ROUNDS, in_turn, list, number};
use crate::failure::Failure;

/// What a run measures.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// Of a point. The run with changes takes one and a half times that.
    pub(crate) time: Duration,
    /// Requests a second.
    pub(crate) rates: Vec<u32>,
    pub(crate) contestants: Vec<Contestant>,
    pub(crate) parts: Vec<Part>,
    /// A program that is there already, to be measured instead of a fresh one.
    pub(crate) evenkeel: Option<PathBuf>,
    /// Where the raw results go, beside the target folder.
    pub(crate) json: Option<PathBuf>,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// One backend is slow throughout.
    Steady,
    /// The slow one becomes fast, and later a fast one slow.
    Change,
}

/// As the published figures are measured.
const RATES: [u32; 2] = [400, 1000];
const TIME: Duration = Duration::from_secs(20);

/// A run with changes needs some seconds around each.
const LEAST_TIME: Duration = Duration::from_secs(4);

// === impl Plan ===

impl Plan {
    /// From the arguments of `cargo xtask bench tail`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut plan = Self {
            rounds: PUBLISHED_ROUNDS,
            time: TIME,
            rates: RATES.to_vec(),
            contestants: Contestant::ALL.to_vec(),
            parts: Part::ALL.to_vec(),
            evenkeel: None,
            json: None,
        };
        let mut arguments = arguments.iter();
        while let Some(option) = arguments.next() {
            let value = arguments.next().ok_or_else(|| Failure::without_value(option))?;
            match option.as_str() {
                "--rounds" => plan.rounds = number(option, value)?,
                "--seconds" => plan.time = Duration::from_secs(number(option, value)? as u64),
                "--rates" => plan.rates = rates(option, value)?,
                "--only" => plan.contestants = list(option, value, &Contestant::ALL, Contestant::name)?,
                "--parts" => plan.parts = list(option, value, &Part::ALL, Part::name)?,
                "--evenkeel" => plan.evenkeel = Some(value.into()),
                "--json" => plan.json = Some(value.into()),
                _ => return Err(Failure::unknown_option(option)),
            }
        }
        if plan.parts.contains(&Part::Change) && plan.time < LEAST_TIME {
            return Err(Failure::usage(format!(
                "with the part `change`, --seconds is at least {LEAST_TIME:?}"
            )));
        }
        Ok(plan)
    }

    /// The contestants of a round: each is first in its turn, so none is always measured on the warmer machine. Whom no bound is
    /// about is in the first round only: it takes a tenth of a second where others take a hundredth, and that is known then.
    pub(crate) fn order(&self, round: usize) -> impl Iterator<Item = Contestant> {
        in_turn(&self.contestants, round).filter(move |contestant| round == 0 || contestant.is_close())
    }

    /// The rate of the run with changes: the highest, where a share over a second is least a matter of chance.
    pub(crate) fn change_rate(&self) -> u32 {
        self.rates.iter().copied().max().unwrap_or_default()
    }

    /// How long after the warm-up the slow backend becomes fast, a fast one becomes slow, and all ends.
    pub(crate) fn moments(&self) -> [Duration; 3] {
        [1, 2, 3].map(|halves| self.time * halves / 2)
    }

    /// Whether nothing was left out that a published figure needs.
    pub(crate) fn is_whole(&self) -> bool {
        let contestants = Contestant::ALL.iter().all(|c| self.contestants.contains(c));
        let points = self.rates == RATES && self.parts == Part::ALL && self.time >= TIME;
        contestants && points && self.evenkeel.is_none() && self.rounds >= PUBLISHED_ROUNDS
    }
}

fn rates(option: &str, value: &str) -> Result<Vec<u32>, Failure> {
    let rate = |text| Ok(u32::try_from(number(option, text)?).unwrap_or(u32::MAX));
    value.split(',').map(rate).collect()
}

// === impl Part ===

impl Part {
    const ALL: [Self; 2] = [Self::Steady, Self::Change];

    fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Change => "change",
        }
    }
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
        assert!(parse("--rounds 5 --seconds 30 --json /j").unwrap().is_whole());
        for partial in
            ["--rounds 2", "--seconds 10", "--rates 400", "--only prequal", "--parts steady", "--evenkeel /e"]
        {
            assert!(!parse(partial).unwrap().is_whole(), "{partial}");
        }
    }

    #[test]
    fn what_a_plan_does_not_know_is_refused() {
        for wrong in ["--only caddy", "--rates 0", "--rates", "--fast 1", "--parts all", "--seconds 3"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("--parts steady --seconds 1").is_ok());
    }

    #[test]
    fn changes_are_at_a_half_and_the_whole_of_the_time() {
        assert_eq!(parse("").unwrap().moments(), [10, 20, 30].map(Duration::from_secs));
        assert_eq!(parse("--rates 1000,200").unwrap().change_rate(), 1000);
    }

    #[test]
    fn everyone_is_first_in_its_turn() {
        let plan = parse("").unwrap();
        let first = |round| plan.order(round).next().unwrap();
        for (round, contestant) in Contestant::ALL.into_iter().enumerate().filter(|(_, c)| c.is_close()) {
            assert_eq!(first(round), contestant);
        }
        assert_eq!(plan.order(0).count(), Contestant::ALL.len());
        assert!(plan.order(1).all(Contestant::is_close));
    }
}
