//! A client's socket with its two buffers: what was read ahead, and what is gathered until it is worth a system call.
//!
//! A link belongs to one task. It is shared between the listener, which owns it, and the data path that has the request:
//! the two take turns within that task.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use evenkeel_http::http1::Buffer;
use evenkeel_http::message::Malformed;
use tokio::io::ReadBuf;

use super::grant::Grant;
use super::own::Own;
use super::transport::Transport;
use crate::exchange::{Connection, InFlight};
use crate::tls::{HandshakeFailure, Negotiated};

/// A client's socket with its buffers.
#[derive(Debug)]
pub struct Link {
    /// What it is waited for.
    pub in_flight: Arc<InFlight>,
    state: Own<State>,
}

#[derive(Debug)]
struct State {
    transport: Transport,
    /// What was read from the client and not handed on.
    input: Buffer,
    /// What waits to be sent.
    output: Buffer,
    /// What is left of the request that the data path has; what follows is the next request's.
    grant: Grant,
    broken: bool,
    insist: Insist,
    end: End,
}

/// Whether a write is tried although the event queue has not reported room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Insist {
    #[default]
    No,
    /// At the next write.
    Now,
    /// It was, and has taken nothing since.
    InVain,
}

/// How the client detects the end of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    /// From the response.
    #[default]
    Framed,
    /// From the end of the connection, and more is to come.
    Open,
    /// From the end of the connection, which may come once all is sent.
    Whole,
}

/// The result of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// There is more.
    Some,
    /// The other end has nothing more to say.
    End,
}

/// From here on, writing waits for the client instead of gathering.
const GATHER_LIMIT: usize = 16 * 1024;
/// From here on, encrypted bytes are sent before more is encrypted.
const UNSENT_LIMIT: usize = 8 * 1024;
/// The most that is read at once.
const READ_AT_MOST: usize = 64 * 1024;
/// How much of the next requests is read while one is served, and perhaps once more as much as one read gives.
const PIPELINE_LIMIT: usize = 16 * 1024;

impl Link {
    /// A link over a connection that was just accepted.
    pub fn new(transport: Transport, in_flight: Arc<InFlight>) -> Arc<Self> {
        let (input, output) = (Buffer::default(), Buffer::default());
        let state = State {
            transport,
            input,
            output,
            grant: Grant::Bytes(0),
            broken: false,
            insist: Insist::No,
            end: End::Framed,
        };
        Arc::new(Self { in_flight, state: Own::new(state) })
    }

    /// The connection that its client has.
    pub fn connection(&self) -> &Connection {
        self.in_flight.connection()
    }

    /// The file descriptor, as an id among the open connections.
    pub fn id(&self) -> i32 {
        self.state.borrow().transport.socket().fd().map_or(-1, |fd| fd.as_raw_fd())
    }

    /// Reads more of a handshake of TLS; see [`Link::advance_handshake`].
    pub fn poll_handshake(&self, cx: &mut Context<'_>) -> Poll<io::Result<Read>> {
        let count = ready!(self.state.borrow().transport.poll_handshake(cx))?;
        Poll::Ready(Ok(if count == 0 { Read::End } else { Read::Some }))
    }

    /// Goes on with a handshake of TLS after more of it was read: this is where its computing is. What both ends have agreed
    /// on, once it is complete; some of what follows may have been read with it. Whatever it returns, there may be something
    /// to send.
    ///
    /// # Errors
    /// Why the handshake failed.
    pub fn advance_handshake(&self) -> Result<Option<Negotiated>, HandshakeFailure> {
        let state = &mut *self.state.borrow();
        state.transport.advance_handshake(&mut state.input)
    }

    /// Reads more of what no data path has been granted, to what was read before. While it waits, an empty buffer holds no
    /// memory.
    pub fn poll_read_ahead(&self, cx: &mut Context<'_>) -> Poll<io::Result<Read>> {
        let state = &mut *self.state.borrow();
        let count = ready!(state.transport.poll_fill(cx, &mut state.input, READ_AT_MOST))?;
        if count == 0 {
            return Poll::Ready(Ok(Read::End));
        }
        self.in_flight.received(count);
        Poll::Ready(Ok(Read::Some))
    }

    /// Looks at what was read ahead.
    pub fn peek<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(self.state.borrow().input.filled())
    }

    /// Drops bytes that were read ahead.
    pub fn skip(&self, count: usize) {
        self.state.borrow().input.consume(count);
    }

    /// Puts bytes before those that were read ahead.
    pub fn put_back(&self, mut bytes: Buffer) {
        let input = &mut self.state.borrow().input;
        bytes.push(input.filled());
        input.clear();
        *input = bytes;
    }

    /// Whether the system tells of what the client does. It does from the first wait for the client on, or from
    /// [`Link::watch`] on.
    pub fn is_watched(&self) -> bool {
        self.state.borrow().transport.socket().is_watched()
    }

    /// Lets the system tell of what the client does from now on; whether it has not before.
    pub fn watch(&self) -> bool {
        let mut state = self.state.borrow();
        let socket = state.transport.socket_mut();
        // An error comes again with the next read.
        !socket.is_watched() && socket.watch().is_ok()
    }

    /// How many bytes were read ahead.
    pub fn pending_input(&self) -> usize {
        self.state.borrow().input.len()
    }

    /// Hands the next request to a data path; what follows it is kept back.
    pub fn grant(&self, grant: Grant) {
        self.state.borrow().grant = grant;
    }

    /// Whether the data path has had all of the request.
    pub fn is_spent(&self) -> bool {
        self.state.borrow().grant.is_spent()
    }

    /// Reads for a data path; `InvalidData` when what comes is no chunked body. Past the grant, it reads ahead for the next
    /// request, and tells the data path only of the client's end.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut guard = self.state.borrow();
        let state = &mut *guard;
        if self.in_flight.is_upgraded() {
            state.grant = Grant::All;
        }
        if state.grant.is_spent() {
            drop(guard);
            return self.poll_next_request(cx);
        }
        if let Some(malformed) = state.grant.broken() {
            return Poll::Ready(Err(invalid(malformed)));
        }
        if !state.input.is_empty() {
            return Poll::Ready(state.hand_on(buf));
        }
        if state.transport.is_tls() {
            // Decrypted bytes come by records, which end where they like.
            let polled = state.transport.poll_fill(cx, &mut state.input, READ_AT_MOST);
            if polled.is_pending() {
                self.in_flight.awaits_client();
            }
            self.in_flight.received(ready!(polled)?);
            return Poll::Ready(state.hand_on(buf));
        }
        let most = state.grant.at_most();
        let before = buf.filled().len();
        // Not one byte more than is granted: what follows is another request's.
        let count = most.min(buf.remaining());
        let polled = state.transport.socket_mut().poll_read(cx, buf.initialize_unfilled_to(count));
        if polled.is_pending() {
            self.in_flight.awaits_client();
        }
        let count = ready!(polled)?;
        buf.advance(count);
        self.in_flight.received(count);
        Poll::Ready(state.keep_back(buf, before))
    }

    /// The request is read; the data path waits for the client to leave. A next request that comes is kept.
    pub fn poll_next_request(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.in_flight.has_begun() {
            // No exchange has the request: the data path writes an error of its own. The listener will respond.
            return Poll::Ready(Ok(bytes.len()));
        }
        let state = &mut *self.state.borrow();
        if state.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.output.len() + bytes.len() <= GATHER_LIMIT {
            state.output.push(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        loop {
            let waiting = state.output.len();
            ready!(self.poll_unsent(cx, state, UNSENT_LIMIT))?;
            let slices = [IoSlice::new(state.output.filled()), IoSlice::new(bytes)];
            let polled = state.transport.poll_write_vectored(cx, &slices, state.insist.take());
            let sent = ready!(self.note_write(polled, state))?;
            state.output.consume(sent);
            if sent > waiting {
                return Poll::Ready(Ok(sent - waiting));
            }
        }
    }

    /// Adds to what is gathered, whatever there is already; it leaves with [`Link::poll_flush`].
    pub fn gather<T>(&self, write: impl FnOnce(&mut Buffer) -> T) -> T {
        write(&mut self.state.borrow().output)
    }

    /// Waits until less than `limit` is gathered.
    ///
    /// # Errors
    /// When the client takes nothing more.
    pub fn poll_room(&self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<()>> {
        if self.state.borrow().output.len() < limit { Poll::Ready(Ok(())) } else { self.poll_flush(cx) }
    }

    /// Sends what was gathered. The listener calls this each time the data path has nothing more to do for now, so that
    /// all it wrote in one go leaves in one system call.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.state.borrow();
        let flushed = ready!(self.poll_flush_all(cx, state));
        if flushed.is_err() {
            state.output.clear();
        }
        Poll::Ready(flushed)
    }

    fn poll_flush_all(&self, cx: &mut Context<'_>, state: &mut State) -> Poll<io::Result<()>> {
        while !state.output.is_empty() {
            ready!(self.poll_unsent(cx, state, UNSENT_LIMIT))?;
            let polled = match state.insist.take() {
                false => state.transport.poll_write(cx, state.output.filled()),
                true => state.transport.poll_write_vectored(cx, &[IoSlice::new(state.output.filled())], true),
            };
            let sent = ready!(self.note_write(polled, state))?;
            state.output.consume(sent);
        }
        self.poll_unsent(cx, state, 0)
    }

    /// Sends encrypted bytes, until no more than `most` are left.
    fn poll_unsent(&self, cx: &mut Context<'_>, state: &mut State, most: usize) -> Poll<io::Result<()>> {
        while state.transport.unsent() > most {
            let insist = state.insist.take();
            let polled = state.transport.poll_unsent(cx, insist);
            ready!(self.note_write(polled, state))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what was gathered, as much as possible at once. If pending, no task is woken: see [`Link::poll_flush`].
    pub fn flush_now(&self) -> Poll<io::Result<()>> {
        self.poll_flush(&mut Context::from_waker(Waker::noop()))
    }

    fn note_write(&self, polled: Poll<io::Result<usize>>, state: &mut State) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Pending => self.in_flight.blocked(),
            Poll::Ready(Ok(count)) => {
                state.insist = Insist::No;
                self.in_flight.sent(*count);
            }
            Poll::Ready(Err(_)) => state.broken = true,
        }
        polled
    }

    /// Lets the next write be tried although the event queue has not reported room. It reports room only once a large part of
    /// the system's buffer is free, which can take a slow client longer than `send_timeout`. False if that was tried already,
    /// and nothing has left since.
    pub fn insist(&self) -> bool {
        let insist = &mut self.state.borrow().insist;
        let first = *insist == Insist::No;
        if first {
            *insist = Insist::Now;
        }
        first
    }

    /// A response begins; `open` if the client detects its end by the end of the connection, or might do so. Then the
    /// connection is reset if it is dropped before [`Link::end_answer`], so that no client mistakes a part for the
    /// whole (RFC 9112, 8).
    pub fn begin_answer(&self, open: bool) {
        self.state.borrow().end = if open { End::Open } else { End::Framed };
    }

    /// The response is written completely, if not sent.
    pub fn end_answer(&self) {
        let end = &mut self.state.borrow().end;
        if *end == End::Open {
            *end = End::Whole;
        }
    }

    /// Whether a client that sees a normal close would mistake a part of a response for the whole.
    pub fn is_misleading(&self) -> bool {
        let state = self.state.borrow();
        // Without a head there was no response, or one of the balancer itself, which is complete.
        let begun = self.in_flight.has_head();
        let unsent = !state.output.is_empty() || state.transport.unsent() > 0;
        begun && (state.end == End::Open || state.end == End::Whole && unsent)
    }

    /// Says to the client that no more will come.
    pub fn finish(&self) {
        self.state.borrow().transport.finish();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let is_misleading = self.is_misleading();
        let state = &mut *self.state.borrow();
        if !is_misleading {
            state.transport.close();
        } else {
            state.transport.socket().reset();
        }
    }
}

// === impl Insist ===

impl Insist {
    /// Whether to try now; it is tried once.
    fn take(&mut self) -> bool {
        let now = *self == Self::Now;
        if now {
            *self = Self::InVain;
        }
        now
    }
}

// === impl State ===

impl State {
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        let most = self.input.len().min(buf.remaining());
        let bytes = self.input.filled().get(..most).unwrap_or_default();
        let count = self.grant.take(bytes);
        buf.put_slice(bytes.get(..count).unwrap_or_default());
        self.input.consume(count);
        self.sound(count)
    }

    /// Takes out of what was just read what belongs to the next request.
    fn keep_back(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let bytes = buf.filled().get(before..).unwrap_or_default();
        let count = self.grant.take(bytes);
        if count < bytes.len() {
            self.input.push(bytes.get(count..).unwrap_or_default());
            buf.set_filled(before + count);
            return self.sound(count);
        }
        Ok(())
    }

    /// An error, once a data path has had what is sound of a request that is not.
    fn sound(&self, count: usize) -> io::Result<()> {
        match self.grant.broken() {
            Some(malformed) if count == 0 => Err(invalid(malformed)),
            _ => Ok(()),
        }
    }
}

/// What a data path receives for an invalid request.
fn invalid(malformed: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, malformed)
}
