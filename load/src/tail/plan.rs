//! What a run measures, as its arguments say. Knows nothing of how it is measured.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use xtask::bench::plan::{PUBLISHED_ROUNDS, in_turn};
use xtask::failure::Failure;

use super::contestant::Contestant;

/// What a run measures.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Plan {
    /// Rounds over all points, interleaved
    #[arg(long, value_name = "N", default_value_t = PUBLISHED_ROUNDS, value_parser = above_zero::<usize>())]
    pub(crate) rounds: usize,
    /// Seconds a point takes, after 3 of warm-up; the part `change` takes one and a half times that
    #[arg(long, value_name = "S", default_value_t = SECONDS, value_parser = above_zero::<u32>())]
    seconds: u32,
    /// Requests a second; the part `change` takes the highest
    #[arg(long, value_name = "A,B", value_delimiter = ',', default_values_t = RATES, value_parser = above_zero::<u32>())]
    pub(crate) rates: Vec<u32>,
    /// Only these proxies and algorithms
    #[arg(long = "only", value_name = "A,B", value_delimiter = ',', default_values_t = Contestant::ALL)]
    pub(crate) contestants: Vec<Contestant>,
    /// Only these parts
    #[arg(long, value_name = "A,B", value_delimiter = ',', default_values_t = Part::ALL)]
    pub(crate) parts: Vec<Part>,
    /// Builds nothing: takes this evenkeel, and leaves out the algorithms that it does not know
    #[arg(long, value_name = "FILE")]
    pub(crate) evenkeel: Option<PathBuf>,
    /// Writes the raw results there, too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// One backend is slow all the time
    Steady,
    /// The slow one becomes fast, and later a fast one slow
    Change,
}

/// As the published figures are measured.
const RATES: [u32; 2] = [400, 1000];
const SECONDS: u32 = 20;

/// A run with changes needs some seconds around each.
const LEAST_SECONDS: u32 = 4;

fn above_zero<T: TryFrom<u64> + Clone + Send + Sync + 'static>() -> RangedU64ValueParser<T> {
    RangedU64ValueParser::new().range(1..)
}

// === impl Plan ===

impl Plan {
    /// The plan with its lists in the order of the report and without repeats, if it can be run.
    pub(crate) fn checked(mut self) -> Result<Self, Failure> {
        if self.parts.contains(&Part::Change) && self.seconds < LEAST_SECONDS {
            return Err(Failure::usage(format!(
                "with the part `change`, --seconds is at least {LEAST_SECONDS}"
            )));
        }
        let (contestants, parts) = (Contestant::ALL, Part::ALL);
        self.contestants = contestants.into_iter().filter(|c| self.contestants.contains(c)).collect();
        self.parts = parts.into_iter().filter(|p| self.parts.contains(p)).collect();
        Ok(self)
    }

    /// How long a point takes. A run with changes takes one and a half times that.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// The contestants of a round. Each is first in its turn, so none is always measured on the warmer machine. Those without a
    /// bound are in the first round only: they take a tenth of a second where others take a hundredth, and one round shows that.
    pub(crate) fn order(&self, round: usize) -> impl Iterator<Item = Contestant> {
        in_turn(&self.contestants, round).filter(move |contestant| round == 0 || contestant.is_close())
    }

    /// The rate of the run with changes: the highest, where a share over a second depends the least on chance.
    pub(crate) fn change_rate(&self) -> u32 {
        self.rates.iter().copied().max().unwrap_or_default()
    }

    /// How long after the warm-up the slow backend becomes fast, a fast one becomes slow, and the run ends.
    pub(crate) fn moments(&self) -> [Duration; 3] {
        [1, 2, 3].map(|halves| self.time() * halves / 2)
    }

    /// Whether it measures all that a published figure needs.
    pub(crate) fn is_whole(&self) -> bool {
        let points = self.rates == RATES && self.parts == Part::ALL && self.seconds >= SECONDS;
        points
            && self.contestants == Contestant::ALL
            && self.evenkeel.is_none()
            && self.rounds >= PUBLISHED_ROUNDS
    }
}

// === impl Part ===

impl Part {
    const ALL: [Self; 2] = [Self::Steady, Self::Change];
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().unwrap_or_default().get_name())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn parse(arguments: &str) -> Result<Plan, String> {
        let command = Plan::augment_args(Command::new("tail").no_binary_name(true));
        let matches =
            command.try_get_matches_from(arguments.split_whitespace()).map_err(|e| e.to_string())?;
        Plan::from_arg_matches(&matches).map_err(|e| e.to_string())?.checked().map_err(|e| e.to_string())
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
    fn what_a_plan_does_not_know_is_rejected() {
        for wrong in
            ["--only caddy", "--rounds 0", "--rates 0", "--rates", "--fast 1", "--parts all", "--seconds 3"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("--parts steady --seconds 1").is_ok());
    }

    #[test]
    fn a_list_is_in_the_order_of_the_report() {
        let plan = parse("--only prequal-hedged,direct,direct --parts change,steady").unwrap();
        assert_eq!(plan.contestants, [Contestant::Direct, Contestant::PrequalHedged]);
        assert_eq!(plan.parts, Part::ALL);
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
