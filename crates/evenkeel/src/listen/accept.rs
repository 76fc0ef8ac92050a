//! Taking connections off a listening socket, whatever its family.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{SockRef, Socket as RawSocket};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A listening socket, known to the worker's event queue. What is accepted is not: see [`Socket`](crate::stream::Socket).
/// Tokio's listeners cannot do without; but to tokio one socket that is waited for is like another.
#[derive(Debug)]
pub(super) struct Acceptor(TcpStream);

/// What an accepted socket is like.
const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
/// How often a connection that is rejected is read from.
const MOST_READS: usize = 4;
/// The response to a connection that is rejected for lack of memory or descriptors.
const OVERLOADED: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 30\r\nConnection: close\r\n\r\n503 the service is overloaded\n";

impl Acceptor {
    pub(super) fn new(socket: RawSocket) -> io::Result<Self> {
        // Responses leave in one piece: waiting for more would only delay them. Connections inherit this from their
        // listener; a Unix socket has no such option.
        let _ = socket.set_tcp_nodelay(true);
        TcpStream::from_std(socket.into()).map(Self)
    }

    /// The next connection, and its other end if that has an address.
    pub(super) async fn accept(&self) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
        let accept = || Ok(acceptfrom_with(&self.0, FLAGS)?);
        let (socket, peer) = self.0.async_io(Interest::READABLE, accept).await?;
        Ok((socket, peer.and_then(|peer| peer.try_into().ok())))
    }

    /// A connection that waits already, also one that came since the event queue was last read.
    pub(super) fn waiting(&self) -> Option<(OwnedFd, Option<SocketAddr>)> {
        let (socket, peer) = acceptfrom_with(&self.0, FLAGS).ok()?;
        Some((socket, peer.and_then(|peer| peer.try_into().ok())))
    }
}

/// Says to a client that the service is overloaded, where it can understand that, before its connection is closed.
pub(super) fn turn_away(socket: &OwnedFd, encrypted: bool) {
    if encrypted {
        return;
    }
    let socket = SockRef::from(socket);
    let mut request = [0; 4096];
    // A connection that is closed with unread bytes is reset, and its client may not see the response.
    for _ in 0..MOST_READS {
        if !matches!((&*socket).read(&mut request), Ok(1..)) {
            break;
        }
    }
    let _ = (&*socket).write(OVERLOADED).and_then(|_| socket.shutdown(Shutdown::Write));
}
