//! Which backends may be chosen, with what weight: rise and fall, outlier detection, slow start, priorities, panic.
//!
//! Events in, state out: this room does no I/O, and never knows how a backend is probed or chosen.
//!
//! # How it decides
//! A backend is *usable* if it has a weight, probes say that it is up, and it is not ejected for how it served. Of the
//! usable ones, [`Health::choice`] takes the lowest priority level that has any, within it the balancer's own zone if
//! enough of that is left, and gives each its weight, less while it starts slowly. Too few usable ones, or none, is a
//! [`Mode`] of its own.
//!
//! # When probes and traffic disagree
//! Probes rarely test all that requests need, so the two can differ: *gray failure* (P. Huang et al., "Gray Failure:
//! The Achilles' Heel of Cloud-Scale Systems", HotOS 2017). Requests eject such a backend, whatever the probes say. It
//! is flagged as gray from its second ejection in a row, until it has served without failures for so long that its
//! ejections no longer count, or until the probes agree. The other way round, a backend whose probes fail but whose
//! requests succeed is visible only if it receives requests at all, in [`Mode::FailOpen`] and [`Mode::Panic`]; there it
//! is flagged too.

mod choice;
mod ejection;
mod event;
mod options;
mod outliers;
mod pace;
mod probes;
mod record;
mod slow_start;
mod upstream;

#[cfg(test)]
mod tests;

pub use choice::{Choice, Mode};
pub use event::{Event, Reason};
pub use options::{OutlierOptions, Policy, Start, Thresholds, WhenAllDown};
pub use pace::ProbeTimes;
pub use record::Traffic;
pub use upstream::{Description, Health, State};
