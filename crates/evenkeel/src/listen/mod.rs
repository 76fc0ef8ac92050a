//! Accepting: sockets, one current-thread runtime a core, head deadlines, client caps; hands a stream to a lane.
//!
//! This room never knows what is configured beyond its own limits, nor who asks it to stop.

mod accept;
mod bind;
mod clients;
mod conn;
mod serve;
mod watch;
mod worker;

pub use bind::{BindError, Bound, bind};
pub use worker::{Shared, Site, Worker, WorkerError, spawn};
