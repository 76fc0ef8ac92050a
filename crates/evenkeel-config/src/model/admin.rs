//! The admin address: where it is, and who can use it.

use std::net::SocketAddr;

use evenkeel_core::route::HostPattern;

use super::Token;

/// The admin address. `Debug` shows no token.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Admin {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// The bearer token it asks for, at least 16 characters. This one or the next is required off loopback.
    pub token: Option<Token>,
    /// The bearer token of clients that read only, at least 16 characters. Default none.
    pub read_only_token: Option<Token>,
    /// Host names that clients can use for it, besides IP addresses and `localhost`. Default none.
    pub hosts: Vec<HostPattern>,
}
