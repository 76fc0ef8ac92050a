//! One way to connect to a backend, for requests and probes alike: all addresses of a name, no connection of the balancer to
//! itself, and the balancer's own lack of descriptors told apart from the backend's fault.
//!
//! This room never knows what is said over a connection, or what a failure leads to.

mod causes;
mod names;
mod proxy_header;
mod shortage;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::backend::Address;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

pub use causes::with_causes;
pub use names::Names;
pub use proxy_header::HeaderVersion;
pub use shortage::{Pause, is_shortage};

/// How to connect to one backend.
#[derive(Clone, Debug)]
pub struct Dialer {
    to: To,
    /// The PROXY header with which connections begin.
    header: Option<HeaderVersion>,
}

#[derive(Clone, Debug)]
enum To {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Name(Arc<Names>, u16),
    Unknown,
}

/// A new connection to a backend.
#[derive(Debug)]
pub enum Connected {
    /// Over TCP, without Nagle's delay.
    Tcp(TcpStream),
    /// To a Unix socket.
    Unix(UnixStream),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nothing listens there.
    #[error("refused")]
    Refused,
    /// The connection was not accepted in time.
    #[error("no connection in time")]
    Timeout,
    /// The backend closed the connection, or reset it, before anything was sent.
    #[error("closed at once")]
    Closed,
    /// The name of the backend has no address yet.
    #[error("its name cannot be resolved")]
    Unresolved,
    /// The balancer itself has no descriptor, port or memory left: that says nothing about the backend.
    #[error("out of resources: {0}")]
    Shortage(io::Error),
    /// Something else that the system says.
    #[error("{0}")]
    Io(io::Error),
}

// === impl Dialer ===

impl Dialer {
    /// Connects to this address; `names` has the addresses of a name.
    pub fn new(address: &Address, names: Option<&Arc<Names>>) -> Self {
        let to = match (address, names) {
            (Address::Tcp(address), _) => To::Tcp(*address),
            (Address::Unix(path), _) => To::Unix(path.clone()),
            (Address::Name(_, port), Some(names)) => To::Name(names.clone(), *port),
            _ => To::Unknown,
        };
        Self { to, header: None }
    }

    /// The same; connections begin with a PROXY header of this version, if there is one.
    #[must_use]
    pub fn with_header(mut self, version: Option<HeaderVersion>) -> Self {
        self.header = version;
        self
    }

    /// The PROXY header with which connections begin. Such a connection belongs to one client.
    pub fn header(&self) -> Option<HeaderVersion> {
        self.header
    }

    /// The addresses of its name, if it has one.
    pub fn names(&self) -> Option<&Arc<Names>> {
        match &self.to {
            To::Name(names, _) => Some(names),
            _ => None,
        }
    }

    /// The address that is connected to first; `None` for a name without one.
    pub fn first(&self) -> Option<Address> {
        match &self.to {
            To::Tcp(address) => Some(Address::Tcp(*address)),
            To::Unix(path) => Some(Address::Unix(path.clone())),
            To::Name(names, port) => names.first().map(|ip| Address::Tcp((ip, *port).into())),
            To::Unknown => None,
        }
    }

    /// A new connection for this client, within this time, whatever number of addresses is tried. `None` is the balancer itself.
    ///
    /// # Errors
    /// Why there is none. Of our own lack of resources the log has a warning, at most one in ten seconds.
    pub async fn connect(&self, limit: Duration, client: Option<SocketAddr>) -> Result<Connected, DialError> {
        let connected = match &self.to {
            To::Tcp(address) => tcp(*address, limit).await.map(Connected::Tcp),
            To::Unix(path) => match timeout(limit, UnixStream::connect(path)).await {
                Ok(connected) => connected.map(Connected::Unix).map_err(DialError::of_unix),
                Err(_) => Err(DialError::Timeout),
            },
            To::Name(names, port) => Box::pin(names.connect(*port, limit)).await.map(Connected::Tcp),
            To::Unknown => Err(DialError::Io(io::ErrorKind::Unsupported.into())),
        };
        if let Err(DialError::Shortage(error)) = &connected {
            shortage::warn(error);
        }
        match self.header {
            None => connected,
            Some(version) => connected?.begin_with(version, client),
        }
    }
}

// === impl Connected ===

impl Connected {
    /// Sends a PROXY header. A connection that is new has room for it.
    fn begin_with(self, version: HeaderVersion, client: Option<SocketAddr>) -> Result<Self, DialError> {
        let (to, flags) = (self.peer(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        let header = version.header(client, to);
        let sent = match &self {
            Self::Tcp(socket) => send(socket, &header, flags),
            Self::Unix(socket) => send(socket, &header, flags),
        };
        match sent {
            Ok(count) if count == header.len() => Ok(self),
            Ok(_) => Err(DialError::Io(io::ErrorKind::WriteZero.into())),
            Err(error) => Err(match io::Error::from(error) {
                error
                    if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
                {
                    DialError::Closed
                }
                error => DialError::Io(error),
            }),
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The connection, unless the backend has closed it already. A request that is then not sent can move on, whatever its
    /// method. A sent request may have been read. So this costs one system call for each new connection: what the event queue
    /// has told may be older than the close.
    ///
    /// # Errors
    /// [`DialError::Closed`].
    pub fn still_open(self) -> Result<Self, DialError> {
        let (mut byte, flags) = ([0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        let peeked = match &self {
            Self::Tcp(socket) => recv(socket, &mut byte, flags),
            Self::Unix(socket) => recv(socket, &mut byte, flags),
        };
        match peeked {
            Ok((_, 1..)) => Ok(self),
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => Ok(self),
            _ => Err(DialError::Closed),
        }
    }
}

async fn tcp(address: SocketAddr, limit: Duration) -> Result<TcpStream, DialError> {
    let connected = timeout(limit, TcpStream::connect(address)).await.map_err(|_| DialError::Timeout)?;
    let socket = connected.map_err(|error| DialError::of_tcp(error, address))?;
    if meets_itself(&socket, address) {
        return Err(DialError::Refused);
    }
    // Requests leave in one piece: waiting for more would only delay them.
    socket.set_nodelay(true).map_err(DialError::Io)?;
    Ok(socket)
}

/// Whether this connection has met itself. Where nothing listens on a port that the system hands out to clients, a connection
/// may be given that very port: it would take a dead backend for a healthy one.
fn meets_itself(socket: &TcpStream, address: SocketAddr) -> bool {
    socket.local_addr().is_ok_and(|local| local == address)
}

// === impl DialError ===

impl DialError {
    fn of_tcp(error: io::Error, address: SocketAddr) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            _ if is_shortage(&error) || shortage::is_of_ports(&error, address) => Self::Shortage(error),
            _ => Self::Io(error),
        }
    }

    /// A Unix socket whose queue is full says so by EAGAIN, which is the backend's doing.
    fn of_unix(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            _ if is_shortage(&error) => Self::Shortage(error),
            _ => Self::Io(error),
        }
    }
}
