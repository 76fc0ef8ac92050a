//! What a soak does, as its arguments say. Knows nothing of how it is done.

use std::path::PathBuf;
use std::time::Duration;

use crate::bench::number;
use crate::failure::Failure;

/// What a soak does.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// How long the load lasts.
    pub(crate) load: Duration,
    /// The profile that the program is built with.
    pub(crate) profile: String,
    /// `lanes` in the program's file, unless left at its default.
    pub(crate) lanes: Option<String>,
    /// Where the program is, if it is not to be built.
    pub(crate) binaries: Option<PathBuf>,
}

// === impl Plan ===

impl Plan {
    /// From the arguments of `cargo xtask soak`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut plan = Self {
            load: Duration::from_secs(600),
            profile: "release".to_owned(),
            lanes: None,
            binaries: None,
        };
        let mut arguments = arguments.iter();
        while let Some(option) = arguments.next() {
            let value = arguments.next().ok_or_else(|| Failure::without_value(option))?;
            match option.as_str() {
                "--minutes" => plan.load = Duration::from_secs(number(option, value)? as u64 * 60),
                "--profile" => plan.profile.clone_from(value),
                "--lanes" => plan.lanes = Some(value.clone()),
                "--binaries" => plan.binaries = Some(value.into()),
                _ => return Err(Failure::unknown_option(option)),
            }
        }
        Ok(plan)
    }

    /// How much of the load is for warming up: a minute, or half if that is less. The backends' faults come in turns of
    /// half a minute, and what the program takes for each of them once is not growth.
    pub(crate) fn warm_up(&self) -> Duration {
        (self.load / 2).min(Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Plan, Failure> {
        Plan::parse(&arguments.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn ten_minutes_have_a_minute_of_warming_up_and_one_half_of_it() {
        let (ten, one) = (parse("").unwrap(), parse("--minutes 1 --profile dist").unwrap());
        assert_eq!((ten.load, ten.warm_up()), (Duration::from_secs(600), Duration::from_secs(60)));
        assert_eq!((one.load, one.warm_up()), (Duration::from_secs(60), Duration::from_secs(30)));
        assert_eq!((ten.profile.as_str(), one.profile.as_str()), ("release", "dist"));
    }

    #[test]
    fn what_a_plan_does_not_know_is_refused() {
        for wrong in ["--minutes 0", "--minutes", "--hours 1", "1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
