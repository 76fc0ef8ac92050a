//! A client's socket with its two buffers: what was read ahead, and what is gathered until it is worth a system call.
//!
//! A link belongs to one task. It is shared between the listener, which owns it, and the data path that has the request,
//! through a lock that is never contended: the two take turns within that task.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::buffer::Buffer;
use super::grant::Grant;
use crate::exchange::Connection;

/// A client's socket with its buffers.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Arc<Connection>,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

#[derive(Debug)]
struct State {
    socket: Socket,
    /// What was read from the client and not handed on.
    input: Buffer,
    /// What waits to be sent.
    output: Buffer,
    /// What is left of the request that the data path has; what follows is the next request's.
    grant: Grant,
    broken: bool,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Some,
    End,
}

/// From here on, writing waits for the client instead of gathering.
const GATHER_LIMIT: usize = 16 * 1024;
/// How much of the next requests is read while one is served.
const PIPELINE_LIMIT: usize = 16 * 1024;

impl Link {
    pub(super) fn new(socket: Socket, connection: Arc<Connection>) -> Arc<Self> {
        let (input, output) = (Buffer::default(), Buffer::default());
        let state = State { socket, input, output, grant: Grant::Bytes(0), broken: false };
        Arc::new(Self { connection, state: Mutex::new(state) })
    }

    /// The file descriptor, as an id among the open connections.
    pub(super) fn id(&self) -> i32 {
        self.state.lock().socket.as_fd().as_raw_fd()
    }

    /// Reads more of what no data path has been granted, to what was read before. While it waits, an empty buffer holds no
    /// memory.
    pub(super) fn poll_read_ahead(&self, cx: &mut Context<'_>) -> Poll<io::Result<Read>> {
        let state = &mut *self.state.lock();
        let mut room = ReadBuf::new(state.input.room());
        let polled = state.socket.poll_read(cx, &mut room);
        let count = room.filled().len();
        state.input.add(count);
        state.input.release();
        ready!(polled)?;
        if count == 0 {
            return Poll::Ready(Ok(Read::End));
        }
        self.connection.received();
        Poll::Ready(Ok(Read::Some))
    }

    /// Looks at what was read ahead.
    pub(super) fn peek<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(self.state.lock().input.filled())
    }

    /// Drops bytes that were read ahead.
    pub(super) fn skip(&self, count: usize) {
        self.state.lock().input.consume(count);
    }

    /// How many bytes were read ahead.
    pub(super) fn pending_input(&self) -> usize {
        self.state.lock().input.len()
    }

    /// Hands the next request to a data path; what follows it is kept back.
    pub(super) fn grant(&self, grant: Grant) {
        self.state.lock().grant = grant;
    }

    /// Whether the data path has had all of the request.
    pub(super) fn is_spent(&self) -> bool {
        self.state.lock().grant.is_spent()
    }

    /// Reads for a data path. Past the grant, it reads ahead for the next request, and tells the data path only of the
    /// client's end.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if self.connection.is_upgraded() {
            state.grant = Grant::All;
        }
        if state.grant.is_spent() {
            drop(guard);
            return self.poll_next_request(cx);
        }
        if state.input.len() > 0 {
            state.hand_on(buf);
            return Poll::Ready(Ok(()));
        }
        let most = state.grant.at_most();
        let before = buf.filled().len();
        let polled = if most >= buf.remaining() {
            state.socket.poll_read(cx, buf)
        } else {
            // Not one byte more than is granted: what follows is another request's.
            let mut granted = ReadBuf::new(buf.initialize_unfilled_to(most));
            let polled = state.socket.poll_read(cx, &mut granted);
            let count = granted.filled().len();
            buf.advance(count);
            polled
        };
        if polled.is_pending() {
            self.connection.awaits_client();
        }
        ready!(polled)?;
        state.keep_back(buf, before);
        self.connection.received();
        Poll::Ready(Ok(()))
    }

    /// The request is read; the data path waits for the client to leave. A next request that comes is kept.
    fn poll_next_request(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.pending_input() >= PIPELINE_LIMIT {
                return Poll::Pending;
            }
            match ready!(self.poll_read_ahead(cx))? {
                Read::Some => {}
                Read::End => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Takes bytes to send. Few are gathered, and leave with [`Link::poll_flush`]; many are sent from where they are.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.connection.has_begun() {
            // No exchange has the request: what the data path says is its own complaint. The listener will answer.
            return Poll::Ready(Ok(bytes.len()));
        }
        let state = &mut *self.state.lock();
        if state.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.output.len() + bytes.len() <= GATHER_LIMIT {
            state.output.push(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        loop {
            let waiting = state.output.len();
            let slices = [IoSlice::new(state.output.filled()), IoSlice::new(bytes)];
            let polled = state.socket.poll_write_vectored(cx, &slices);
            let sent = ready!(self.note_write(polled, &mut state.broken))?;
            state.output.consume(sent);
            if sent > waiting {
                return Poll::Ready(Ok(sent - waiting));
            }
        }
    }

    /// Sends what was gathered. The listener calls this each time the data path has nothing more to do for now, so that
    /// all it wrote in one go leaves in one system call.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.state.lock();
        while state.output.len() > 0 {
            let polled = state.socket.poll_write(cx, state.output.filled());
            match ready!(self.note_write(polled, &mut state.broken)) {
                Ok(sent) => state.output.consume(sent),
                Err(error) => {
                    state.output.clear();
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what was gathered, as much as goes at once. Pending leaves nobody to be woken: see [`Link::poll_flush`].
    pub(super) fn flush_now(&self) -> Poll<io::Result<()>> {
        self.poll_flush(&mut Context::from_waker(Waker::noop()))
    }

    fn note_write(&self, polled: Poll<io::Result<usize>>, broken: &mut bool) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Pending => self.connection.blocked(),
            Poll::Ready(Ok(_)) => self.connection.sent(),
            Poll::Ready(Err(_)) => *broken = true,
        }
        polled
    }

    /// Says to the client that no more will come.
    pub(super) fn finish(&self) {
        let state = self.state.lock();
        // A client that is gone already needs no farewell.
        let _ = socket2::SockRef::from(&state.socket).shutdown(std::net::Shutdown::Write);
    }
}

// === impl Socket ===

impl Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

// === impl State ===

impl State {
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let most = self.input.len().min(buf.remaining());
        let bytes = self.input.filled().get(..most).unwrap_or_default();
        let count = self.grant.take(bytes);
        buf.put_slice(bytes.get(..count).unwrap_or_default());
        self.input.consume(count);
    }

    /// Takes out of what was just read what belongs to the next request.
    fn keep_back(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let bytes = buf.filled().get(before..).unwrap_or_default();
        let count = self.grant.take(bytes);
        if count < bytes.len() {
            self.input.push(bytes.get(count..).unwrap_or_default());
            buf.set_filled(before + count);
        }
    }
}
