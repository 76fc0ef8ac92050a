//! How an attempt fails, and what that says: its cause in typed form, its text for the log, whether the request reached a
//! backend, and whether another attempt may follow.

use std::time::Duration;
use std::{fmt, io};

use evenkeel_config::RetryOn;

use crate::dial::{DialError, is_shortage};

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No connection.
    Connect(ConnectError),
    /// No connection in time.
    ConnectTimeout,
    /// Connected, but no TLS session.
    Tls(TlsError),
    /// No TLS session in time.
    TlsTimeout,
    /// A new connection was closed before a byte of the request was sent.
    Unsent,
    /// A new connection was closed before a byte of a response came, and some of the request was sent.
    Closed(Break),
    /// The balancer itself has no descriptor, port or memory for a connection.
    Shortage,
    /// A kept connection was dead, and the request may be sent again.
    Stale,
    /// The connection broke before the head of a response, and the request may have had its effect.
    Broken(Break),
    /// The response violates its protocol; the text says how.
    Malformed(&'static str),
    /// No head of a response in the time of one attempt.
    Slow,
    /// A response that is to be replaced by another attempt's; the text says why.
    Response(&'static str),
    /// The connection broke in the middle of the response.
    Cut(Break),
    /// The response has begun, and no more of it came in time.
    Idle,
}

/// Why there is no connection to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// No process listens on the address.
    Refused,
    /// Connected, and reset at once.
    Reset,
    /// The system gave up waiting for the backend.
    TimedOut,
    /// There is no route to the host.
    HostUnreachable,
    /// There is no route to the network.
    NetworkUnreachable,
    /// There is no socket at the path.
    NoSocket,
    /// The system does not allow the connection.
    Denied,
    /// The backend's queue of new connections is full.
    QueueFull,
    /// Our own process or system has no file descriptors, memory or ports left.
    Exhausted,
    /// The name of the backend has no address.
    Unresolved,
    /// Any other reason.
    Other,
}

/// Why there is no TLS session with a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// The certificate is not signed by an authority that we trust.
    UnknownAuthority,
    /// The certificate is for another name.
    WrongName,
    /// A signature does not match.
    BadSignature,
    /// The certificate is not acceptable for another reason.
    Certificate,
    /// The backend ended the handshake with an alert.
    Alert,
    /// The backend does not speak TLS.
    NotTls,
    /// The backend closed the connection during the handshake.
    Closed,
    /// Any other reason.
    Other,
}

/// How a connection to a backend broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Break {
    /// The backend closed it.
    Closed,
    /// The backend reset it.
    Reset,
    /// Any other error.
    Other,
}

/// A connection that broke before the head of a response, as the lane that used it saw it.
#[derive(Clone, Copy, Debug)]
pub struct BrokenConnection {
    /// How it broke.
    pub how: Break,
    /// Whether it had served a request before.
    pub reused: bool,
    /// Whether not even a part of a response arrived.
    pub silent: bool,
    /// Whether the backend cannot have the head of the request: no byte, or not all of it, was sent.
    pub unsent: bool,
    /// Whether the request is idempotent and can be sent again in full.
    pub repeatable: bool,
}

/// How soon after connecting a backend closes that does not work on the request at all.
const AT_ONCE: Duration = Duration::from_millis(250);
/// How many failures in a row show that a backend closes every connection at once, and not only that of one request which it
/// does not like.
const ENOUGH: u32 = 3;

// === impl Failure ===

impl From<BrokenConnection> for Failure {
    /// The only place that decides this, for both lanes. A backend may close a kept connection at any time, also while a request
    /// is on its way: then that request is sent again, unless the backend may have worked on it and that must not happen twice.
    fn from(broke: BrokenConnection) -> Self {
        match broke {
            BrokenConnection { silent: false, how, .. } => Self::Broken(how),
            BrokenConnection { reused: true, unsent, repeatable, .. } if unsent || repeatable => Self::Stale,
            BrokenConnection { reused: true, how, .. } => Self::Broken(how),
            BrokenConnection { unsent: true, .. } => Self::Unsent,
            BrokenConnection { how, .. } => Self::Closed(how),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl From<&DialError> for Failure {
    fn from(error: &DialError) -> Self {
        match error {
            DialError::Refused => Self::Connect(ConnectError::Refused),
            DialError::Timeout => Self::ConnectTimeout,
            DialError::Closed => Self::Unsent,
            DialError::Shortage(_) => Self::Shortage,
            DialError::Unresolved => Self::Connect(ConnectError::Unresolved),
            DialError::Io(error) => Self::Connect(ConnectError::of(error)),
        }
    }
}

impl Failure {
    /// What the log says. The only place that has these words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Connect(error) => error.text(),
            Self::ConnectTimeout => "no connection within timeouts.connect",
            Self::Tls(error) => error.text(),
            Self::TlsTimeout => "no TLS session within timeouts.connect",
            Self::Unsent => "connection closed before the request was sent",
            Self::Shortage => ConnectError::Exhausted.text(),
            Self::Stale | Self::Closed(Break::Closed) | Self::Broken(Break::Closed) => {
                "connection closed before the response head"
            }
            Self::Closed(Break::Reset) | Self::Broken(Break::Reset) => {
                "connection reset before the response head"
            }
            Self::Closed(Break::Other) | Self::Broken(Break::Other) => {
                "connection failed before the response head"
            }
            Self::Malformed(text) | Self::Response(text) => text,
            Self::Slow => "no response head in time",
            Self::Cut(Break::Closed) => "connection closed in the middle of the response",
            Self::Cut(Break::Reset) => "connection reset in the middle of the response",
            Self::Cut(Break::Other) => "connection failed in the middle of the response",
            Self::Idle => "no more data of the response within timeouts.idle",
        }
    }

    /// Whether no byte of the request reached the backend: then another one is tried, whatever the method, without
    /// using the budget.
    pub(super) fn never_reached(self) -> bool {
        use Failure::{Connect, ConnectTimeout, Tls, TlsTimeout, Unsent};
        matches!(self, Connect(_) | ConnectTimeout | Tls(_) | TlsTimeout | Unsent)
    }

    /// Whether no backend worked on the request: moving on adds no load to any.
    pub(super) fn is_of_reach(self) -> bool {
        self.never_reached() || matches!(self, Self::Closed(_))
    }

    /// Whether it counts among the attempts that a request has.
    pub(super) fn uses_an_attempt(self) -> bool {
        !self.is_of_reach() && !matches!(self, Self::Stale | Self::Shortage)
    }

    /// Whether it shows that the backend cannot be reached, after so many failures in a row before it. One connection that was
    /// closed may be the fault of the request.
    pub(super) fn puts_in_doubt(self, failures: u32) -> bool {
        self.never_reached() || matches!(self, Self::Closed(_)) && failures + 1 >= ENOUGH
    }

    /// The failure, this long after the connection was made: a backend that closes at once has not worked on the
    /// request.
    pub(super) fn after(self, connected: Duration) -> Self {
        match self {
            Self::Closed(broken) if connected > AT_ONCE => Self::Broken(broken),
            other => other,
        }
    }

    /// Whether the configuration names it among what is tried again. Which responses it names, the caller knows.
    pub(super) fn is_retried(self, on: &RetryOn) -> bool {
        match self {
            Self::Stale => true,
            Self::Connect(_) | Self::ConnectTimeout | Self::Tls(_) | Self::TlsTimeout | Self::Unsent => {
                on.connect_failure
            }
            Self::Closed(_) | Self::Broken(_) => on.reset,
            Self::Malformed(_) | Self::Shortage | Self::Cut(_) | Self::Idle => false,
            Self::Slow => on.timeout,
            Self::Response(_) => true,
        }
    }
}

// === impl ConnectError ===

impl ConnectError {
    /// What an error of the system means.
    pub fn of(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        if is_shortage(error) {
            return Self::Exhausted;
        }
        match error.kind() {
            Kind::ConnectionRefused => Self::Refused,
            Kind::ConnectionReset | Kind::ConnectionAborted => Self::Reset,
            Kind::TimedOut => Self::TimedOut,
            Kind::HostUnreachable => Self::HostUnreachable,
            Kind::NetworkUnreachable | Kind::NetworkDown => Self::NetworkUnreachable,
            Kind::NotFound => Self::NoSocket,
            Kind::PermissionDenied => Self::Denied,
            // A Unix socket whose queue is full says so at once.
            Kind::WouldBlock => Self::QueueFull,
            _ => Self::Other,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::Reset => "connection reset while connecting",
            Self::TimedOut => "connection timed out",
            Self::HostUnreachable => "no route to host",
            Self::NetworkUnreachable => "network is unreachable",
            Self::NoSocket => "no socket at this path",
            Self::Denied => "permission to connect denied",
            Self::QueueFull => "the backend's connection queue is full",
            Self::Unresolved => "its name cannot be resolved",
            Self::Exhausted => "no file descriptors, memory or ports left to connect",
            Self::Other => "connection failed",
        }
    }
}

// === impl TlsError ===

impl TlsError {
    fn text(self) -> &'static str {
        match self {
            Self::Expired => "TLS: certificate has expired",
            Self::NotYetValid => "TLS: certificate is not valid yet",
            Self::UnknownAuthority => "TLS: certificate is signed by an unknown authority",
            Self::WrongName => "TLS: certificate is for another name",
            Self::BadSignature => "TLS: bad signature",
            Self::Certificate => "TLS: certificate is not acceptable",
            Self::Alert => "TLS: the backend ended the handshake with an alert",
            Self::NotTls => "TLS: the backend does not speak TLS",
            Self::Closed => "TLS: connection closed during the handshake",
            Self::Other => "TLS: handshake failed",
        }
    }
}

// === impl Break ===

impl Break {
    /// What an error of the system means.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Self::Reset,
            // A connection that takes nothing more was closed by its other end.
            io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Break, BrokenConnection, Failure};

    #[test]
    fn what_a_broken_connection_means_depends_on_what_the_backend_can_have_read() {
        let reset = Break::Reset;
        // Reused, silent, unsent, repeatable.
        let table = [
            // A part of a response arrived: the backend has read the request.
            ([false, false, false, true], Failure::Broken(reset)),
            ([true, false, true, true], Failure::Broken(reset)),
            // A kept connection that the backend had closed: a POST is sent again only if none of it was sent.
            ([true, true, true, false], Failure::Stale),
            ([true, true, false, true], Failure::Stale),
            ([true, true, false, false], Failure::Broken(reset)),
            // A new connection.
            ([false, true, true, false], Failure::Unsent),
            ([false, true, true, true], Failure::Unsent),
            ([false, true, false, false], Failure::Closed(reset)),
            ([false, true, false, true], Failure::Closed(reset)),
        ];
        for ([reused, silent, unsent, repeatable], failure) in table {
            let broke = BrokenConnection { how: reset, reused, silent, unsent, repeatable };
            assert_eq!(Failure::from(broke), failure, "{broke:?}");
        }
    }
}
