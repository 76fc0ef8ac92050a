//! Heads of HTTP/2 (RFC 9113), held to the rules of HTTP/1.1 where both have one.
//!
//! This room never knows frames, streams nor a socket, and never decides.

mod request;

pub use request::{HeadLimits, StreamHead};
