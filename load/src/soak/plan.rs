//! What a soak does, as its arguments say. Knows nothing of how it is done.

use std::path::PathBuf;
use std::time::Duration;

/// What a soak does.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Plan {
    /// Minutes of load; what follows takes about one more
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
    /// The cargo profile to build and run: release or dist
    #[arg(long, value_name = "P", default_value = "release")]
    pub(crate) profile: String,
    /// `lanes` in evenkeel's file: auto or pingora (default: not in it)
    #[arg(long, value_name = "L")]
    pub(crate) lanes: Option<String>,
    /// Builds nothing: takes evenkeel from there
    #[arg(long, value_name = "FOLDER")]
    pub(crate) binaries: Option<PathBuf>,
}

// === impl Plan ===

impl Plan {
    /// How long the load lasts.
    pub(crate) fn load(&self) -> Duration {
        Duration::from_secs(60) * self.minutes
    }

    /// How much of the load is warm-up: a minute, or half if that is less. The backends' faults come in turns of half a
    /// minute, and what the program allocates once for each of them is not growth.
    pub(crate) fn warm_up(&self) -> Duration {
        (self.load() / 2).min(Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn parse(arguments: &str) -> Result<Plan, clap::Error> {
        let command = Plan::augment_args(Command::new("soak").no_binary_name(true));
        Plan::from_arg_matches(&command.try_get_matches_from(arguments.split_whitespace())?)
    }

    #[test]
    fn ten_minutes_have_a_minute_of_warm_up_and_one_half_of_it() {
        let (ten, one) = (parse("").unwrap(), parse("--minutes 1 --profile dist").unwrap());
        assert_eq!((ten.load(), ten.warm_up()), (Duration::from_secs(600), Duration::from_secs(60)));
        assert_eq!((one.load(), one.warm_up()), (Duration::from_secs(60), Duration::from_secs(30)));
        assert_eq!((ten.profile.as_str(), one.profile.as_str()), ("release", "dist"));
    }

    #[test]
    fn what_a_plan_does_not_know_is_rejected() {
        for wrong in ["--minutes 0", "--minutes", "--hours 1", "1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
