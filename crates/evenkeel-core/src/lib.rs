//! The decisions of a load balancer, and nothing else: which backend, which route.
//!
//! This crate does no I/O, is not async, knows nothing of Pingora, reads no clock and has no randomness of its own: the
//! time and the random source are parameters. That is what lets its tests simulate a day of traffic in a second.
//!
//! # Layout
//! * [`backend`]: what a backend is, its live counters, the immutable set that may be chosen now.
//! * [`balance`]: given a set and a random source, which backend? One trait, one file per algorithm.
//! * [`health`]: which backends may be chosen, with what weight?
//! * [`limit`]: how much is too much?
//! * [`route`]: given a request's head, which route?

pub mod backend;
pub mod balance;
pub mod health;
pub mod limit;
mod moment;
pub mod route;

pub use moment::Moment;
