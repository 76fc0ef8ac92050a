//! A connected socket, whatever its family.
//!
//! The system is called by `rustix`, not by the C library, whose calls are points of cancellation: in a process with several
//! threads each of them pays for what nobody here uses, about a hundredth of the cost of a request.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use socket2::{Domain, Socket as RawSocket};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A connected socket in its worker's event queue.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// On this machine, by a path.
    Unix(UnixStream),
}

/// The same for a socket of each family.
macro_rules! each {
    ($self:expr, $socket:ident => $call:expr) => {
        match $self {
            Socket::Tcp($socket) => $call,
            Socket::Unix($socket) => $call,
        }
    };
}

// === impl Socket ===

impl Socket {
    /// Takes it out of this worker's event queue.
    ///
    /// # Errors
    /// The system's.
    pub fn detach(self) -> io::Result<RawSocket> {
        each!(self, socket => socket.into_std().map(RawSocket::from))
    }

    /// Puts one into this worker's event queue.
    ///
    /// # Errors
    /// The system's.
    pub fn attach(socket: RawSocket) -> io::Result<Self> {
        match socket.domain()? {
            Domain::UNIX => UnixStream::from_std(socket.into()).map(Self::Unix),
            _ => TcpStream::from_std(socket.into()).map(Self::Tcp),
        }
    }

    /// Reads what is there, if the event queue has told of anything; costs no system call if it has not.
    ///
    /// # Errors
    /// The system's; `WouldBlock` when there is nothing.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let all = buf.len();
        let read = self.try_io(Interest::READABLE, || Ok(recv(self, buf, RecvFlags::empty())?.0))?;
        if read > 0 && read < all {
            self.is_exhausted(Interest::READABLE);
        }
        Ok(read)
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(each!(self, socket => socket.poll_read_ready(cx)))?;
            match self.try_read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Sends what can be sent now.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bytes.len(), || Ok(send(self, bytes, SendFlags::NOSIGNAL)?))
    }

    /// Sends what can be sent now of these parts, one after the other.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = parts.iter().map(|part| part.len()).sum();
        let mut control = SendAncillaryBuffer::default();
        self.poll_send(cx, all, || Ok(sendmsg(self, parts, &mut control, SendFlags::NOSIGNAL)?))
    }

    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        all: usize,
        mut send: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(each!(self, socket => socket.poll_write_ready(cx)))?;
            match self.try_io(Interest::WRITABLE, &mut send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(sent) => {
                    if sent < all {
                        self.is_exhausted(Interest::WRITABLE);
                    }
                    return Poll::Ready(Ok(sent));
                }
                failed => return Poll::Ready(failed),
            }
        }
    }

    /// The system has done less than it was asked to: trying again before it tells of more would cost a call for nothing.
    fn is_exhausted(&self, interest: Interest) {
        let _ = self.try_io(interest, || Err(io::ErrorKind::WouldBlock.into()));
    }

    fn try_io(&self, interest: Interest, action: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        each!(self, socket => socket.try_io(interest, action))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        each!(self, socket => socket.as_fd())
    }
}
