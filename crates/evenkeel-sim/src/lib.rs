//! A seeded world in virtual time to judge algorithms in: backends with latency laws and faults, clients, an algorithm;
//! out come shares, tails, errors, and how long faults were felt.
//!
//! Nothing in it is a model of the balancer: requests go through the real [`Snapshot`](evenkeel_core::backend::Snapshot),
//! [`Lease`](evenkeel_core::backend::Lease) and [`Balancer`](evenkeel_core::balance::Balancer). Time is a number that jumps from event
//! to event, so a minute of traffic takes as long as its events do: well under a microsecond each. The same world,
//! seed and algorithm give the same report on every run of one build; the same seed gives every algorithm the same
//! arrivals.
//!
//! This crate never knows of real time, of health (no backend leaves the set: a fault is met by every request sent
//! there), or of printing.
//!
//! ```
//! use std::time::Duration;
//! use evenkeel_core::balance::LoadBalancingAlgorithm;
//! use evenkeel_sim::{Arrivals, BackendModel, Fault, Law, World};
//!
//! let quick = || BackendModel::new(Law::Exponential { mean: Duration::from_millis(5) });
//! let slow = quick().fault(Fault::Slow { from: Duration::ZERO, to: Duration::MAX, factor: 10.0 });
//! let world = World::new(vec![quick(), quick(), slow], Arrivals::Poisson { rate: 500.0 })
//!     .duration(Duration::from_secs(5))
//!     .seed(7);
//!
//! let turns = world.run(&LoadBalancingAlgorithm::RoundRobin)?;
//! let least = world.run(&LoadBalancingAlgorithm::LeastConnections)?;
//! assert!(least.latency.p99 < turns.latency.p99);
//! # Ok::<(), evenkeel_sim::InvalidWorld>(())
//! ```

mod backend;
mod engine;
mod events;
mod fault;
mod front;
mod histogram;
mod law;
mod recovery;
mod report;
mod tally;
mod trace;
mod world;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use fault::Fault;
pub use front::FrontLimit;
pub use law::{Law, Samples};
pub use report::{BackendReport, FaultReport, LatencySummary, Recovery, Report, Window};
pub use trace::Trace;
pub use world::{Arrivals, BackendModel, InvalidWorld, World};

/// Saturates after five centuries.
fn nanos(duration: Duration) -> events::Time {
    events::Time::try_from(duration.as_nanos()).unwrap_or(events::Time::MAX)
}
