//! A client's socket with its two buffers: what was read ahead, and what is gathered until it is worth a system call.
//!
//! A link belongs to one task. It is shared between the listener, which owns it, and the data path that has the request,
//! through a lock that is never contended: the two take turns within that task.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::ReadBuf;
use tokio::net::{TcpStream, UnixStream};

use crate::exchange::Connection;

/// A client's socket with its buffers.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Arc<Connection>,
    socket: Socket,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

#[derive(Debug, Default)]
struct State {
    /// What was read from the client and not handed on. No memory while there is nothing.
    input: Vec<u8>,
    /// How much of `input` was handed on.
    taken: usize,
    /// What waits to be sent. No memory while there is nothing.
    output: Vec<u8>,
    /// How much of `output` was sent.
    flushed: usize,
    /// How many more bytes belong to the request that the data path has; what follows is the next request's.
    allowance: u64,
    closed: bool,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Some,
    End,
}

/// From here on, writing waits for the client instead of gathering.
const GATHER_LIMIT: usize = 16 * 1024;
/// How much is read ahead at once while there is no data path: a head, mostly.
const READ_AHEAD: usize = 4 * 1024;
/// How much of the next requests is read while one is served.
const PIPELINE_LIMIT: usize = 16 * 1024;

thread_local! {
    /// Buffers that were used and are empty: idle connections keep none.
    static SPARE: std::cell::RefCell<Vec<Vec<u8>>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Link {
    pub(super) fn new(socket: Socket, connection: Arc<Connection>) -> Arc<Self> {
        Arc::new(Self { connection, socket, state: Mutex::default() })
    }

    /// The file descriptor, as an id among the open connections.
    pub(super) fn id(&self) -> i32 {
        use std::os::fd::AsRawFd;
        match &self.socket {
            Socket::Tcp(socket) => socket.as_raw_fd(),
            Socket::Unix(socket) => socket.as_raw_fd(),
        }
    }

    /// Waits until there is something to read, without a buffer to read it into.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state.lock().pending_input() > 0 {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_readable(cx)
    }

    /// Reads more of a head, to what was read before.
    pub(super) fn poll_read_ahead(&self, cx: &mut Context<'_>) -> Poll<io::Result<Read>> {
        let mut state = self.state.lock();
        loop {
            state.compact();
            let filled = state.input.len();
            if state.input.capacity() == 0 {
                state.input = spare();
            }
            state.input.resize(filled + READ_AHEAD, 0);
            let result = self.socket.try_read(state.input.get_mut(filled..).unwrap_or_default());
            state.input.truncate(filled + result.as_ref().copied().unwrap_or_default());
            match result {
                Ok(0) => return Poll::Ready(Ok(Read::End)),
                Ok(_) => {
                    self.connection.received();
                    return Poll::Ready(Ok(Read::Some));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.release_input();
                    ready!(self.socket.poll_readable(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Looks at what was read ahead.
    pub(super) fn peek<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        let state = self.state.lock();
        look(state.input.get(state.taken..).unwrap_or_default())
    }

    /// Drops bytes that were read ahead.
    pub(super) fn skip(&self, count: usize) {
        let mut state = self.state.lock();
        state.taken = (state.taken + count).min(state.input.len());
        state.release_input();
    }

    /// How many bytes were read ahead.
    pub(super) fn pending_input(&self) -> usize {
        self.state.lock().pending_input()
    }

    /// Hands the next `bytes` to a data path; what follows them is kept back. `u64::MAX` for all there is.
    pub(super) fn grant(&self, bytes: u64) {
        self.state.lock().allowance = bytes;
    }

    /// How many of the granted bytes the data path has not taken.
    pub(super) fn granted(&self) -> u64 {
        self.state.lock().allowance
    }

    /// Reads for a data path. Past the grant, it reads ahead for the next request, and tells the data path only of the
    /// client's end.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.lock();
        if state.allowance == 0 && self.connection.is_upgraded() {
            state.allowance = u64::MAX;
        }
        if state.allowance == 0 {
            drop(state);
            return self.poll_next_request(cx);
        }
        if state.pending_input() > 0 {
            state.hand_on(buf);
            return Poll::Ready(Ok(()));
        }
        let most = usize::try_from(state.allowance).unwrap_or(usize::MAX).min(buf.remaining());
        loop {
            match self.socket.try_read(buf.initialize_unfilled_to(most)) {
                Ok(count) => {
                    buf.advance(count);
                    state.take_allowance(count);
                    self.connection.received();
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.connection.awaits_client();
                    ready!(self.socket.poll_readable(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// The request is read; the data path waits for the client to leave. A next request that comes is kept.
    fn poll_next_request(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.state.lock().pending_input() >= PIPELINE_LIMIT {
                return Poll::Pending;
            }
            match ready!(self.poll_read_ahead(cx))? {
                Read::Some => {}
                Read::End => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Takes bytes to send. They are gathered; see [`Link::poll_flush`].
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length = parts.iter().map(|part| part.len()).sum();
        if !self.connection.has_begun() {
            // No exchange has the request: what the data path says is its own complaint. The listener will answer.
            return Poll::Ready(Ok(length));
        }
        let mut state = self.state.lock();
        if state.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.pending_output() + length <= GATHER_LIMIT {
            state.gather(parts);
            return Poll::Ready(Ok(length));
        }
        loop {
            // More than is worth gathering: send what waits and this in one call, without copying this.
            let waiting = state.pending_output();
            let waits = state.output.get(state.flushed..).unwrap_or_default();
            let mut slices = [IoSlice::new(waits), IoSlice::new(&[]), IoSlice::new(&[]), IoSlice::new(&[])];
            for (slice, part) in slices.iter_mut().skip(1).zip(parts) {
                *slice = IoSlice::new(part);
            }
            let offered: usize = slices.iter().skip(1).map(|slice| slice.len()).sum();
            match self.socket.try_write(&slices) {
                Ok(count) => {
                    self.connection.sent();
                    if count >= waiting {
                        state.release_output();
                        let count = count - waiting;
                        if count > 0 {
                            self.connection.unblocked();
                            return Poll::Ready(Ok(count.min(offered)));
                        }
                    } else {
                        state.flushed += count;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.connection.blocked();
                    ready!(self.socket.poll_writable(cx))?;
                }
                Err(error) => {
                    state.close();
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    /// Sends what was gathered. The listener calls this each time the data path has nothing more to do for now, so that
    /// all it wrote in one go leaves in one system call.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.lock();
        while state.pending_output() > 0 {
            let waits = state.output.get(state.flushed..).unwrap_or_default();
            match self.socket.try_write(&[IoSlice::new(waits)]) {
                Ok(count) => {
                    self.connection.sent();
                    state.flushed += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.connection.blocked();
                    ready!(self.socket.poll_writable(cx))?;
                }
                Err(error) => {
                    state.close();
                    return Poll::Ready(Err(error));
                }
            }
        }
        state.release_output();
        self.connection.unblocked();
        Poll::Ready(Ok(()))
    }

    /// Whether bytes wait to be sent.
    pub(super) fn has_output(&self) -> bool {
        self.state.lock().pending_output() > 0
    }

    /// Says to the client that no more will come.
    pub(super) fn finish(&self) {
        let socket = match &self.socket {
            Socket::Tcp(socket) => socket2::SockRef::from(socket),
            Socket::Unix(socket) => socket2::SockRef::from(socket),
        };
        // A client that is gone already needs no farewell.
        let _ = socket.shutdown(std::net::Shutdown::Write);
    }
}

// === impl Socket ===

impl Socket {
    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_read(buf),
            Self::Unix(socket) => socket.try_read(buf),
        }
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write_vectored(parts),
            Self::Unix(socket) => socket.try_write_vectored(parts),
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx),
            Self::Unix(socket) => socket.poll_read_ready(cx),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_write_ready(cx),
            Self::Unix(socket) => socket.poll_write_ready(cx),
        }
    }
}

// === impl State ===

impl State {
    fn pending_input(&self) -> usize {
        self.input.len() - self.taken
    }

    fn pending_output(&self) -> usize {
        self.output.len() - self.flushed
    }

    fn take_allowance(&mut self, count: usize) {
        if self.allowance != u64::MAX {
            self.allowance = self.allowance.saturating_sub(count as u64);
        }
    }

    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let granted = usize::try_from(self.allowance).unwrap_or(usize::MAX);
        let count = self.pending_input().min(buf.remaining()).min(granted);
        if let Some(bytes) = self.input.get(self.taken..self.taken + count) {
            buf.put_slice(bytes);
        }
        self.taken += count;
        self.take_allowance(count);
        self.release_input();
    }

    fn gather(&mut self, parts: &[IoSlice<'_>]) {
        if self.output.capacity() == 0 {
            self.output = spare();
        }
        for part in parts {
            self.output.extend_from_slice(part);
        }
    }

    /// Moves what is left of the input to its start.
    fn compact(&mut self) {
        if self.taken > 0 {
            self.input.drain(..self.taken);
            self.taken = 0;
        }
    }

    fn release_input(&mut self) {
        if self.taken == self.input.len() {
            self.taken = 0;
            give_back(std::mem::take(&mut self.input));
        }
    }

    fn release_output(&mut self) {
        self.flushed = 0;
        give_back(std::mem::take(&mut self.output));
    }

    fn close(&mut self) {
        self.closed = true;
        self.release_output();
    }
}

fn spare() -> Vec<u8> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(READ_AHEAD))
}

fn give_back(mut buffer: Vec<u8>) {
    /// Enough for the requests that one core works on at a time; a burst's buffers are not kept.
    const KEEP: usize = 64;
    if buffer.capacity() == 0 || buffer.capacity() > 2 * GATHER_LIMIT {
        return;
    }
    buffer.clear();
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < KEEP {
            spare.push(buffer);
        }
    });
}
