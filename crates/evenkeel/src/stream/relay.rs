//! Bytes both ways between a client and a backend, until both ends have said all.
//!
//! The end of one direction is passed on and leaves the other one open: a client may end its input and still wait for the
//! output (`docker run -i`). Neither direction holds a buffer while it waits.

use std::io;
use std::task::{Context, Poll, ready};

use evenkeel_http::http1::Buffer;

use super::link::{Link, Read};
use super::socket::Socket;

/// How far bytes are carried in each direction, and how many.
#[derive(Debug, Default)]
pub struct Relay {
    to_backend: ToBackend,
    to_client: ToClient,
    received: u64,
    sent: u64,
}

/// A backend at the far end of a connection that is carried as it is. If it is dropped before it has [`ended`](FarEnd::ended), it
/// sees a broken connection: a close would tell it that the client has said all.
#[derive(Debug)]
pub struct FarEnd {
    /// The socket.
    pub socket: Socket,
    /// What was read of it and not handed on.
    pub input: Buffer,
    ended: bool,
}

/// Which end broke off before both had said all.
#[derive(Debug)]
pub enum Broken {
    /// The client.
    Client,
    /// The backend, for this reason.
    Backend(io::Error),
}

#[derive(Debug, Default, PartialEq, Eq)]
enum ToBackend {
    #[default]
    Open,
    /// The backend takes no more.
    Broken,
    Ended,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum ToClient {
    #[default]
    Open,
    /// The backend has said all; it is not all sent.
    Ending,
    Ended,
}

/// The most that is read at once.
const READ_AT_MOST: usize = 72 * 1024;

// === impl Relay ===

impl Relay {
    /// Bytes that the client sent and the backend took.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that the backend sent and the client took, or that wait in the link to be sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether both ends have said all.
    pub fn is_over(&self) -> bool {
        self.to_backend != ToBackend::Open && self.to_client == ToClient::Ended
    }

    /// Carries bytes from the client to the backend; ready once the client has said all.
    ///
    /// # Errors
    /// When the client breaks off.
    pub fn poll_to_backend(
        &mut self,
        cx: &mut Context<'_>,
        link: &Link,
        socket: &mut Socket,
    ) -> Poll<Result<(), Broken>> {
        while self.to_backend == ToBackend::Open {
            if link.pending_input() == 0 {
                match ready!(link.poll_read_ahead(cx)).map_err(|_| Broken::Client)? {
                    Read::Some => {}
                    Read::End => {
                        socket.finish();
                        self.to_backend = ToBackend::Ended;
                        break;
                    }
                }
            }
            match ready!(link.peek(|bytes| socket.poll_write(cx, bytes))) {
                Ok(sent) => {
                    link.skip(sent);
                    self.received += sent as u64;
                }
                // What the backend says before it is gone may still be of interest; reading tells of its end.
                Err(_) => self.to_backend = ToBackend::Broken,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Carries bytes from the backend to the client; ready once the backend has said all, and the client was told. `input` is
    /// what was read from the backend and not handed on.
    ///
    /// # Errors
    /// When either of them breaks off.
    pub fn poll_to_client(
        &mut self,
        cx: &mut Context<'_>,
        link: &Link,
        socket: &mut Socket,
        input: &mut Buffer,
    ) -> Poll<Result<(), Broken>> {
        while self.to_client == ToClient::Open {
            while !input.is_empty() {
                let sent = ready!(link.poll_write(cx, input.filled())).map_err(|_| Broken::Client)?;
                input.consume(sent);
                self.sent += sent as u64;
            }
            match ready!(socket.poll_fill(cx, input, READ_AT_MOST)) {
                // It has taken nothing, and said nothing: that is no end, but a backend that was gone before it began.
                Ok(0) if self.is_refused() => return Poll::Ready(Err(Broken::Backend(closed()))),
                Ok(0) => self.to_client = ToClient::Ending,
                Ok(_) => link.in_flight.backend_moved(),
                Err(error) => return Poll::Ready(Err(Broken::Backend(error))),
            }
        }
        if self.to_client == ToClient::Ending {
            ready!(link.poll_flush(cx)).map_err(|_| Broken::Client)?;
            link.finish();
            self.to_client = ToClient::Ended;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the backend would not have the first byte, and has sent none.
    fn is_refused(&self) -> bool {
        self.to_backend == ToBackend::Broken && self.received == 0 && self.sent == 0
    }
}

// === impl FarEnd ===

impl FarEnd {
    /// A backend that was just connected.
    pub fn new(socket: Socket) -> Self {
        Self { socket, input: Buffer::default(), ended: false }
    }

    /// Reads more to `input`; how many bytes, none at the end.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.socket.poll_fill(cx, &mut self.input, READ_AT_MOST)
    }

    /// Both ends have said all.
    pub fn ended(&mut self) {
        self.ended = true;
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        if !self.ended {
            self.socket.reset();
        }
    }
}

fn closed() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}
