//! Owns what is running, and alone publishes it: model → plan → start → drain.
//!
//! This room never prints.

mod plan;
mod resolve;
mod running;
mod signals;
mod state;

pub use plan::{Plan, PlanError};
pub use running::{Running, StartError};
pub use signals::{Order, Signals};
pub use state::{ListenerState, State};
