//! How an attempt fails, and what that says: whether the request reached a backend, and whether another attempt may follow.

use std::time::Duration;

use evenkeel_config::RetryOn;

use crate::filter::{Refusal, Waited};

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No connection: refused, unreachable, reset.
    Connect,
    /// No connection in time.
    ConnectTimeout,
    /// Connected, but the TLS handshake failed.
    Tls,
    /// No TLS session in time.
    TlsTimeout,
    /// A new connection was closed before a byte of the request was sent.
    Unsent,
    /// A new connection was closed before a byte of a response came, and some of the request was sent.
    Closed,
    /// The balancer itself has no descriptor, port or memory for a connection.
    Shortage,
    /// A kept connection was dead, and the request may be sent again.
    Stale,
    /// The connection broke before the head of an answer, and the request may have had its effect.
    Broken,
    /// The answer's head made no sense.
    Malformed,
    /// No head of an answer in the time of one attempt.
    Slow,
    /// An answer with a status that is to be tried again.
    Status(u16),
}

/// How soon after connecting a backend closes that does not work on the request at all.
const AT_ONCE: Duration = Duration::from_millis(250);
/// How many failures in a row show that a backend closes every connection at once, and not only that of one request which it
/// does not like.
const ENOUGH: u32 = 3;

// === impl Failure ===

impl Failure {
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::Connect | Self::Tls | Self::Unsent => Refusal::Unreachable,
            Self::Shortage => Refusal::OutOfResources,
            Self::ConnectTimeout => Refusal::BackendTimeout(Waited::Connect),
            Self::TlsTimeout => Refusal::BackendTimeout(Waited::Tls),
            Self::Slow => Refusal::BackendTimeout(Waited::FirstByte),
            Self::Stale | Self::Closed | Self::Broken | Self::Malformed | Self::Status(_) => {
                Refusal::BadAnswer
            }
        }
    }

    /// Whether no byte of the request reached the backend: then another one is asked, whatever the method, and it costs
    /// nothing.
    pub(super) fn never_reached(self) -> bool {
        use Failure::{Connect, ConnectTimeout, Tls, TlsTimeout, Unsent};
        matches!(self, Connect | ConnectTimeout | Tls | TlsTimeout | Unsent)
    }

    /// Whether no backend worked on the request: moving on adds no load to any.
    pub(super) fn is_of_reach(self) -> bool {
        self.never_reached() || self == Self::Closed
    }

    /// Whether it shows that the backend cannot be reached, after so many failures in a row before it. One connection that was
    /// closed may be the fault of the request.
    pub(super) fn puts_in_doubt(self, failures: u32) -> bool {
        self.never_reached() || self == Self::Closed && failures + 1 >= ENOUGH
    }

    /// What it comes to so long after the connection was made: only what is closed at once was not worked on.
    pub(super) fn after(self, connected: Duration) -> Self {
        match self {
            Self::Closed if connected > AT_ONCE => Self::Broken,
            other => other,
        }
    }

    pub(super) fn is_asked_for(self, on: &RetryOn) -> bool {
        match self {
            Self::Stale => true,
            Self::Connect | Self::ConnectTimeout | Self::Tls | Self::TlsTimeout | Self::Unsent => {
                on.connect_failure
            }
            Self::Closed | Self::Broken => on.reset,
            Self::Malformed | Self::Shortage => false,
            Self::Slow => on.timeout,
            Self::Status(status) => on.statuses.contains(&status),
        }
    }
}

/// Whether an answer with this status says that the backend, or what stands behind it, cannot answer at all.
pub(super) fn is_failure(status: u16) -> bool {
    matches!(status, 502..=504)
}
