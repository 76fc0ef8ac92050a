//! The PROXY protocol on a listener: takes the header off a connection before anything else reads it, and says who the client is.
//! It never knows what follows the header.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::{self as config, ProxyProtocolMode};
use evenkeel_core::limit::Networks;

use super::proxy_header::{BadHeader, Beginning, MAX_HEADER, ProxyHeader, look};
use crate::stream::Socket;

/// What a listener expects of the beginning of a connection.
#[derive(Debug)]
pub(super) struct ProxyProtocol {
    required: bool,
    trusted: Networks,
    trusts_unix: bool,
    timeout: Duration,
}

/// Why a connection was closed before anything else was read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFailure {
    /// It was not complete in time.
    Timeout,
    /// The other end closed the connection.
    ClientLeft,
    /// There is none, and one is required.
    Missing,
    /// It is none of the protocol's.
    Malformed,
    /// It is larger than [`MAX_HEADER`].
    TooLarge,
    /// The other end is no trusted proxy.
    Untrusted,
}

// === impl ProxyProtocol ===

impl ProxyProtocol {
    /// What a configuration expects; `None` if that is nothing.
    pub(super) fn new(config: &config::ProxyProtocol) -> Option<Arc<Self>> {
        let required = match config.mode {
            ProxyProtocolMode::Required => true,
            ProxyProtocolMode::Optional => false,
            _ => return None,
        };
        let trusted = config.trusted.iter().copied().collect();
        let (trusts_unix, timeout) = (config.trusts_unix, config.timeout);
        Some(Arc::new(Self { required, trusted, trusts_unix, timeout }))
    }

    /// Whether the other end of a connection may say who the client is; it has no address on a Unix socket.
    pub(super) fn trusts(&self, peer: Option<SocketAddr>) -> bool {
        peer.map_or(self.trusts_unix, |peer| self.trusted.contains(peer.ip()))
    }

    /// Takes the header off a connection that was just accepted from `peer`; who the client is.
    ///
    /// # Errors
    /// Why the connection is to be closed.
    pub(super) async fn receive(
        &self,
        socket: &mut Socket,
        peer: Option<SocketAddr>,
    ) -> Result<Option<SocketAddr>, HeaderFailure> {
        let is_trusted = self.trusts(peer);
        if self.required && !is_trusted {
            return Err(HeaderFailure::Untrusted);
        }
        let mut seen = 0;
        match tokio::time::timeout(self.timeout, header(socket, &mut seen)).await {
            Ok(header) => match header? {
                Some(header) if is_trusted => Ok(header.client.or(peer)),
                Some(_) => Err(HeaderFailure::Untrusted),
                None if self.required => Err(HeaderFailure::Missing),
                None => Ok(peer),
            },
            // A client that is slow to speak is served where a header is optional.
            Err(_) if seen == 0 && !self.required => Ok(peer),
            Err(_) => Err(HeaderFailure::Timeout),
        }
    }
}

/// Takes a header off a socket. `None` if the connection begins with something else, which is left where it is. `seen` is how
/// many bytes of it have come.
async fn header(socket: &mut Socket, seen: &mut usize) -> Result<Option<ProxyHeader>, HeaderFailure> {
    let mut is_closed = false;
    loop {
        let (count, beginning) = peek(socket)?;
        match beginning? {
            Beginning::Header(header) => {
                take(socket, header.length)?;
                return Ok(Some(header));
            }
            Beginning::Other => return Ok(None),
            Beginning::Partial if is_closed && count <= *seen => return Err(HeaderFailure::ClientLeft),
            Beginning::Partial => *seen = count,
        }
        is_closed = socket.wait_for_more().await?;
    }
}

/// Looks at what has come, and leaves it there.
fn peek(socket: &Socket) -> Result<(usize, Result<Beginning, BadHeader>), HeaderFailure> {
    let mut bytes = [0; MAX_HEADER];
    match socket.peek(&mut bytes) {
        Ok(0) => Err(HeaderFailure::ClientLeft),
        Ok(count) => Ok((count, look(bytes.get(..count).unwrap_or_default()))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok((0, Ok(Beginning::Partial))),
        Err(error) => Err(error.into()),
    }
}

/// Takes bytes that were looked at.
fn take(socket: &Socket, count: usize) -> Result<(), HeaderFailure> {
    let mut bytes = [0; MAX_HEADER];
    let taken = socket.take(bytes.get_mut(..count).unwrap_or_default())?;
    if taken == count { Ok(()) } else { Err(HeaderFailure::ClientLeft) }
}

// === impl HeaderFailure ===

impl HeaderFailure {
    /// Its name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::ClientLeft => "client_left",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Untrusted => "untrusted",
        }
    }
}

impl fmt::Display for HeaderFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "its PROXY header was not complete within proxy_protocol.timeout",
            Self::ClientLeft => "the client disconnected before its PROXY header was complete",
            Self::Missing => "it began without a PROXY header",
            Self::Malformed => "its PROXY header is malformed",
            Self::TooLarge => "its PROXY header is too large",
            Self::Untrusted => "its address is not in proxy_protocol.trusted",
        })
    }
}

impl From<BadHeader> for HeaderFailure {
    fn from(bad: BadHeader) -> Self {
        match bad {
            BadHeader::Malformed => Self::Malformed,
            BadHeader::TooLarge => Self::TooLarge,
        }
    }
}

/// A socket that cannot be read has lost its client.
impl From<io::Error> for HeaderFailure {
    fn from(_: io::Error) -> Self {
        Self::ClientLeft
    }
}
