//! How long a backend may take: what an upstream says, and what a route says instead.

use std::time::Duration;

/// How long a backend may take.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Timeouts {
    /// To connect, TLS included. Default 2 s.
    pub connect: Duration,
    /// From the end of the request to the response head; then 504. Default 30 s.
    pub first_byte: Duration,
    /// Longest pause within a response; then the connection is closed. Default 60 s.
    pub idle: Duration,
    /// Longest silence, both ways, on a WebSocket or another upgraded connection. Default 1 h.
    pub upgraded_idle: Duration,
}

/// How long backends may take for the requests of a route. What is `None` is as the upstream says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteTimeouts {
    /// See [`Timeouts::connect`].
    pub connect: Option<Duration>,
    /// See [`Timeouts::first_byte`].
    pub first_byte: Option<Duration>,
    /// See [`Timeouts::idle`].
    pub idle: Option<Duration>,
    /// See [`Timeouts::upgraded_idle`].
    pub upgraded_idle: Option<Duration>,
}

// === impl Timeouts ===

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            upgraded_idle: Duration::from_secs(3600),
        }
    }
}

// === impl RouteTimeouts ===

impl RouteTimeouts {
    /// Whether everything is as the upstream says.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What holds for a request of the route that goes to an upstream with these timeouts.
    #[must_use]
    pub fn over(&self, upstream: &Timeouts) -> Timeouts {
        Timeouts {
            connect: self.connect.unwrap_or(upstream.connect),
            first_byte: self.first_byte.unwrap_or(upstream.first_byte),
            idle: self.idle.unwrap_or(upstream.idle),
            upgraded_idle: self.upgraded_idle.unwrap_or(upstream.upgraded_idle),
        }
    }
}
