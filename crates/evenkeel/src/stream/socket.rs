//! A connected socket, whatever its family.
//!
//! `rustix` makes the system calls, not the C library, whose calls are cancellation points: in a process with several
//! threads each of them pays for that, about one percent of the cost of a request.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use evenkeel_http::http1::Buffer;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// A client's that is not in the event queue.
    Unwatched(Unwatched),
    /// Over TCP; or a client's, whatever its family.
    Tcp(TcpStream),
    /// On this machine, by a path.
    Unix(UnixStream),
}

/// A client's socket enters its worker's event queue only when it must be waited for. Most clients with a single
/// request have sent it when they are accepted, and disconnect as soon as they have the response. Entering and leaving
/// the queue is a twentieth of the cost of such a client.
#[derive(Debug)]
pub struct Unwatched {
    /// None once the event queue did not take it.
    socket: Option<OwnedFd>,
    /// Whether something was read. What follows is waited for, so that a client that never pauses does not keep others
    /// from their turn.
    begun: bool,
}

// === impl Socket ===

impl Socket {
    /// One that was accepted, and does not block.
    pub fn accepted(socket: OwnedFd) -> Self {
        Self::Unwatched(Unwatched { socket: Some(socket), begun: false })
    }

    /// The file.
    ///
    /// # Errors
    /// When the event queue did not take it, which closed it.
    pub fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        match self {
            Self::Unwatched(unwatched) => unwatched.fd(),
            Self::Tcp(socket) => Ok(socket.as_fd()),
            Self::Unix(socket) => Ok(socket.as_fd()),
        }
    }

    /// Tells the other end that no more will come.
    pub fn finish(&self) {
        // A peer that has disconnected already needs no notice.
        let _ = self.fd().map(|fd| shutdown(fd, Shutdown::Write));
    }

    /// Lets the other end see a broken connection when this one is dropped, not one that was ended. A Unix socket cannot be reset.
    pub fn reset(&self) {
        let _ = self.fd().map(|fd| SockRef::from(&fd).set_linger(Some(Duration::ZERO)));
    }

    /// Whether it is in the event queue. If not, no task is notified of new data.
    pub fn is_watched(&self) -> bool {
        !matches!(self, Self::Unwatched(_))
    }

    /// Puts it into this worker's event queue, if it is not there yet.
    ///
    /// # Errors
    /// The system's.
    pub fn watch(&mut self) -> io::Result<()> {
        if let Self::Unwatched(unwatched) = self {
            let socket = unwatched.socket.take().ok_or(io::ErrorKind::NotConnected)?;
            // To tokio, one that reads and writes is like another.
            *self = Self::Tcp(TcpStream::from_std(socket.into())?);
        }
        Ok(())
    }

    /// Reads what is there, if the event queue has told of anything; costs no system call if it has not.
    ///
    /// # Errors
    /// The system's; `WouldBlock` when there is nothing.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let all = buf.len();
        let read = self.try_io(Interest::READABLE, || Ok(recv(self.fd()?, buf, RecvFlags::empty())?.0))?;
        if read > 0 && read < all {
            self.is_exhausted(Interest::READABLE);
        }
        Ok(read)
    }

    /// Sends what the system takes at once, without the event queue: for last words.
    ///
    /// # Errors
    /// The system's.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.fd()?, bytes, SendFlags::NOSIGNAL)?)
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_receive(cx, |socket| socket.receive(buf))
    }

    /// Reads what is there, and at most so much, to what the buffer has; how many bytes, none at the end. While it waits, an
    /// empty buffer holds no memory.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Buffer,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let polled = self.poll_receive(cx, |socket| socket.receive(buffer.room(most)));
        match polled {
            Poll::Ready(Ok(count @ 1..)) => buffer.add(count),
            _ => buffer.settle(),
        }
        polled
    }

    /// Looks at what is there, and leaves it there.
    ///
    /// # Errors
    /// The system's; `WouldBlock` when there is nothing.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.fd()?, buf, RecvFlags::PEEK)?.0)
    }

    /// Takes what [`Socket::peek`] has shown, without the event queue.
    ///
    /// # Errors
    /// The system's.
    pub fn take(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.fd()?, buf, RecvFlags::empty())?.0)
    }

    /// Waits for more to be there than what was looked at; whether the other end will send no more.
    ///
    /// # Errors
    /// The system's.
    pub async fn wait_for_more(&mut self) -> io::Result<bool> {
        self.watch()?;
        self.is_exhausted(Interest::READABLE);
        let ready = match self {
            Self::Unwatched(_) => return Ok(false),
            Self::Tcp(socket) => socket.ready(Interest::READABLE).await?,
            Self::Unix(socket) => socket.ready(Interest::READABLE).await?,
        };
        Ok(ready.is_read_closed())
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        mut receive: impl FnMut(&mut Self) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_ready(cx, Interest::READABLE))?;
            match receive(self) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.watch()?,
                result => return Poll::Ready(result),
            }
        }
    }

    fn receive(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unwatched(unwatched) => unwatched.read(buf),
            _ => self.try_read(buf),
        }
    }

    /// Sends what can be sent now.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bytes.len(), |socket| Ok(send(socket.fd()?, bytes, SendFlags::NOSIGNAL)?))
    }

    /// Sends what can be sent now of these parts, one after the other. To `insist` is to ask the system also where the event
    /// queue has not told of room.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
        insist: bool,
    ) -> Poll<io::Result<usize>> {
        let all = parts.iter().map(|part| part.len()).sum();
        let mut control = SendAncillaryBuffer::default();
        let mut send = |socket: &Self| Ok(sendmsg(socket.fd()?, parts, &mut control, SendFlags::NOSIGNAL)?);
        if insist && let Ok(sent) = send(self) {
            return Poll::Ready(Ok(sent));
        }
        self.poll_send(cx, all, send)
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        all: usize,
        mut send: impl FnMut(&Self) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            // Almost always there is room: the event queue is used only after there was none.
            match self.try_io(Interest::WRITABLE, || send(self)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.watch()?;
                    ready!(self.poll_ready(cx, Interest::WRITABLE))?;
                }
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
        match self {
            Self::Unwatched(_) => action(),
            Self::Tcp(socket) => socket.try_io(interest, action),
            Self::Unix(socket) => socket.try_io(interest, action),
        }
    }

    /// Waits for the event queue to tell of something.
    fn poll_ready(&self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<()>> {
        let reads = interest.is_readable();
        match self {
            Self::Unwatched(_) => Poll::Ready(Ok(())),
            Self::Tcp(socket) if reads => socket.poll_read_ready(cx),
            Self::Tcp(socket) => socket.poll_write_ready(cx),
            Self::Unix(socket) if reads => socket.poll_read_ready(cx),
            Self::Unix(socket) => socket.poll_write_ready(cx),
        }
    }
}

// === impl Unwatched ===

impl Unwatched {
    fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?.as_fd())
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.begun {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (read, _) = recv(self.fd()?, buf, RecvFlags::empty())?;
        self.begun = true;
        Ok(read)
    }
}
