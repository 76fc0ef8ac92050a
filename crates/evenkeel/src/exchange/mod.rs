//! The life of one request as decisions: client address, route, filters, choose, retry or not, what to record.
//!
//! This room never knows which transport carries the request: it sees a head through a trait, and returns edits, a
//! refusal, or a backend to try.

mod affinity;
mod arrived;
mod body;
mod client;
mod clock;
mod connection;
mod entry;
mod filtering;
mod forwarding;
mod grpc;
mod in_flight;
mod lane;
mod logging;
mod max_forwards;
mod method;
mod outcome;
mod pace;
mod path;
mod record;
mod redirect;
mod request;
mod responses;
mod seen_head;
mod settle;
mod table;
mod throttle;
mod trying;

#[cfg(test)]
mod tests;

pub use arrived::Arrived;
pub use body::DISCARD_LIMIT;
pub use client::{ClientAddress, client_address, uses_https};
pub use connection::Connection;
pub use entry::tls_field;
pub use filtering::{Panicked, Resumption, Waiting, verdict};
pub use in_flight::{Expired, InFlight, Phase};
pub use lane::Lane;
pub use outcome::is_failure;
pub use path::respelled;
pub use record::Ending;
pub use redirect::{MadeAnswer, redirect};
pub use request::{Decision, Environment, Exchange, ListenerFacts};
pub use seen_head::SeenHead;
pub use table::{ListenerEntry, ListenerFilters, Rule, RuleAction, Table};
