//! Why a backend is unhealthy, as text for people.

use std::io;
use std::time::Duration;

use crate::tls::PeerFailure;

use crate::dial::DialError;

/// Why a backend is unhealthy. The text is short, on one line, and of bounded length, whatever the backend sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeFailure {
    /// No process listens there.
    #[error("refused")]
    Refused,
    /// The connection was not accepted in time.
    #[error("no connection within {0:?}")]
    NoConnection(Duration),
    /// There is no way there, for another reason.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The balancer itself has no descriptor, port or memory left: that is no verdict on the backend.
    #[error("out of resources: {0}")]
    Shortage(String),
    /// Connected, but TLS was not there in time.
    #[error("no TLS session within {0:?}")]
    NoHandshake(Duration),
    /// Connected, but there was no response in time.
    #[error("no response within {0:?}")]
    NoAnswer(Duration),
    /// The response began, but did not end in time.
    #[error("response not complete within {0:?}")]
    NoEnd(Duration),
    /// The backend closed the connection before its response ended.
    #[error("connection closed before the response ended")]
    Closed,
    /// The backend said something else than it should; the beginning of it.
    #[error("unexpected response: {0}")]
    Unexpected(String),
    /// The connection broke.
    #[error("connection broken: {0}")]
    Broken(String),
    /// The certificate does not convince.
    #[error("certificate: {0}")]
    Certificate(String),
    /// TLS failed otherwise.
    #[error("TLS: {0}")]
    Tls(String),
    /// What came back is not in the protocol that was asked for.
    #[error("not {0}")]
    Protocol(String),
    /// The response status is not one of the expected ones.
    #[error("status {0}")]
    Status(u16),
    /// The response body does not contain the expected text.
    #[error("the body does not contain `{0}`")]
    Body(String),
    /// What the gRPC health protocol said.
    #[error("gRPC: {0}")]
    Grpc(String),
    /// The response contains no load that can be read.
    #[error("load: {0}")]
    Load(String),
    /// What a user's own check said.
    #[error("{0}")]
    Own(String),
}

/// Longest text of others within a reason, in characters.
const LONGEST: usize = 160;

// === impl ProbeFailure ===

impl ProbeFailure {
    /// Why there is no connection; `whole` is the time that there was.
    pub(super) fn dialing(error: DialError, whole: Duration) -> Self {
        match error {
            DialError::Refused => Self::Refused,
            DialError::Closed => Self::connecting(&std::io::ErrorKind::ConnectionAborted.into()),
            DialError::Timeout => Self::NoConnection(whole),
            DialError::Shortage(error) => Self::Shortage(words(&error)),
            DialError::Io(error) => Self::connecting(&error),
            other => Self::Unreachable(other.to_string()),
        }
    }

    fn connecting(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::NotFound => Self::Unreachable("no such socket".to_owned()),
            // A Unix socket whose queue is full says so at once.
            io::ErrorKind::WouldBlock => {
                Self::Unreachable("the backend's connection queue is full".to_owned())
            }
            _ => Self::Unreachable(words(error)),
        }
    }

    /// Why a connection is no good any more.
    pub(super) fn broken(error: &io::Error) -> Self {
        match PeerFailure::of(error) {
            Some(PeerFailure::Certificate(reason)) => return Self::Certificate(short(&reason)),
            Some(PeerFailure::NotTls) => return Self::Protocol("TLS".to_owned()),
            Some(PeerFailure::Other(reason)) => return Self::Tls(short(&reason)),
            None => {}
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => Self::Closed,
            io::ErrorKind::QuotaExceeded => Self::Broken("the response is too large".to_owned()),
            io::ErrorKind::ConnectionReset => Self::Broken("reset".to_owned()),
            _ => Self::Broken(words(error)),
        }
    }

    /// Why h2 gave up.
    pub(super) fn http2(error: &h2::Error) -> Self {
        match error.get_io() {
            // Its own: the connection ended within a frame.
            Some(io) if io.kind() == io::ErrorKind::Other => Self::Closed,
            Some(io) => Self::broken(io),
            // Ours: what came back was no frame.
            None if error.is_library() => Self::Protocol("HTTP/2".to_owned()),
            None => Self::Grpc(short(&error.to_string())),
        }
    }
}

/// One line of at most [`LONGEST`] characters.
pub(super) fn short(text: &str) -> String {
    let mut short: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

/// What the system says, without its number.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Other => short(&error.to_string()),
        // The kind that stands for those that have none yet: its own name says nothing.
        kind if kind.to_string().contains("uncategorized") => short(&error.to_string()),
        kind => kind.to_string(),
    }
}
