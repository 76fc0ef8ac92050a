//! A connection with a client, in the clear or over TLS: bytes in and out all the same.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use super::secured::Secured;
use super::socket::Socket;
use crate::tls::{HandshakeFailure, Negotiated};
use evenkeel_http::http1::Buffer;

/// A connection with a client. What is in the clear costs no more than its socket.
#[derive(Debug)]
pub enum Transport {
    /// In the clear.
    Plain(Socket),
    /// Over TLS.
    Tls(Box<Secured>),
}

// === impl Transport ===

impl Transport {
    /// Whether it is over TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The socket.
    pub fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(secured) => secured.socket(),
        }
    }

    /// The socket.
    pub fn socket_mut(&mut self) -> &mut Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(secured) => secured.socket_mut(),
        }
    }

    /// Reads more of a handshake; how many bytes, none at the end.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(0)),
            Self::Tls(secured) => secured.poll_handshake(cx),
        }
    }

    /// Goes on with a handshake; what was agreed on once it is complete. What is decrypted with it goes to `plain`.
    ///
    /// # Errors
    /// Why the handshake failed.
    pub fn advance_handshake(&mut self, plain: &mut Buffer) -> Result<Option<Negotiated>, HandshakeFailure> {
        match self {
            Self::Plain(_) => Ok(None),
            Self::Tls(secured) => secured.advance_handshake(plain),
        }
    }

    /// Reads what is there, and at most so much of a socket, to what the buffer has; how many bytes, none at the end. While it
    /// waits, an empty buffer holds no memory.
    ///
    /// # Errors
    /// The system's; `InvalidData` if what came is not valid TLS.
    #[inline]
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Buffer,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_fill(cx, buffer, most),
            Self::Tls(secured) => secured.poll_fill(cx, buffer, most),
        }
    }

    /// Sends what can be sent now; over TLS, it takes what it can hold, and see [`Transport::unsent`].
    ///
    /// # Errors
    /// The system's.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write(cx, bytes),
            Self::Tls(secured) => Poll::Ready(secured.take(cx, &[IoSlice::new(bytes)], false)),
        }
    }

    /// Sends what can be sent now of these parts, one after the other. To `insist` is to ask the system also where the event
    /// queue has not told of room.
    ///
    /// # Errors
    /// The system's.
    #[inline]
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
        insist: bool,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write_vectored(cx, parts, insist),
            Self::Tls(secured) => Poll::Ready(secured.take(cx, parts, insist)),
        }
    }

    /// How many bytes were taken and encrypted, and not sent; always none in the clear.
    #[inline]
    pub fn unsent(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(secured) => secured.unsent(),
        }
    }

    /// Sends some of what was encrypted.
    ///
    /// # Errors
    /// The system's.
    pub fn poll_unsent(&mut self, cx: &mut Context<'_>, insist: bool) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(0)),
            Self::Tls(secured) => secured.poll_unsent(cx, insist),
        }
    }

    /// Says to the other end that no more will come, and listens on.
    pub fn finish(&mut self) {
        self.close();
        self.socket().finish();
    }

    /// Says to the other end that no more will come, where the end of the connection alone does not say that.
    pub fn close(&mut self) {
        if let Self::Tls(secured) = self {
            secured.close();
        }
    }
}
