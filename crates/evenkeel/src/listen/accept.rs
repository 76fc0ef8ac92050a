//! Taking connections off a listening socket, whatever its family.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket as RawSocket};
use tokio::net::{TcpListener, UnixListener};

use crate::stream::Socket;

/// A listening socket, known to the worker's event queue.
#[derive(Debug)]
pub(super) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    pub(super) fn new(socket: RawSocket) -> io::Result<Self> {
        match socket.domain()? {
            Domain::UNIX => UnixListener::from_std(socket.into()).map(Self::Unix),
            _ => TcpListener::from_std(socket.into()).map(Self::Tcp),
        }
    }

    /// The next connection, and its other end if that has an address.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match self {
            Self::Unix(listener) => Ok((Socket::Unix(listener.accept().await?.0), None)),
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                // Answers leave in one piece: waiting for more would only delay them.
                let _ = socket.set_nodelay(true);
                Ok((Socket::Tcp(socket), Some(peer)))
            }
        }
    }
}

/// Whether accepting again at once would only spin: there are no more files or no more memory to be had.
pub(super) fn is_out_of_files(error: &io::Error) -> bool {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM.
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
}
