//! A socket with TLS over it.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::socket::Socket;
use crate::tls::{HandshakeFailure, Negotiated, Session};
use evenkeel_http::http1::Buffer;

/// A socket with TLS over it. While it is idle it holds no buffer.
#[derive(Debug)]
pub struct Secured {
    socket: Socket,
    session: Session,
    /// Why bytes that were taken could not be sent: the next call reports it.
    broken: Option<io::Error>,
}

/// The most that is encrypted at once: four records, which one system call can send.
const ENCRYPT_AT_MOST: usize = 64 * 1024;
/// The most that is read of a handshake at once.
const HANDSHAKE_AT_MOST: usize = 16 * 1024;

// === impl Secured ===

impl Secured {
    /// TLS over a socket, before the handshake.
    pub fn new(socket: Socket, session: Session) -> Self {
        Self { socket, session, broken: None }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let polled = self.socket.poll_fill(cx, self.session.incoming(), HANDSHAKE_AT_MOST);
        // A client that waits for its turn does so in little memory.
        self.session.incoming().settle();
        polled
    }

    pub(super) fn advance_handshake(
        &mut self,
        plain: &mut Buffer,
    ) -> Result<Option<Negotiated>, HandshakeFailure> {
        self.session.advance(plain)?;
        Ok((!self.session.is_handshaking()).then(|| self.session.agreed()))
    }

    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        plain: &mut Buffer,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let before = plain.len();
        loop {
            if self.session.is_peer_closed() {
                return Poll::Ready(Ok(0));
            }
            if self.session.unsent() > 0 {
                // The other end may wait for it. What does not leave now leaves with what is sent next.
                self.send_now(cx, false);
            }
            let polled = self.socket.poll_fill(cx, self.session.incoming(), most);
            if polled.is_pending() {
                plain.settle();
            }
            if ready!(polled)? == 0 {
                return Poll::Ready(Ok(0));
            }
            if self.session.advance(plain).is_err() {
                self.send_now(cx, false);
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if plain.len() > before {
                return Poll::Ready(Ok(plain.len() - before));
            }
        }
    }

    /// Takes what it can hold of these parts, encrypts it, and sends as much as it can.
    pub(super) fn take(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
        insist: bool,
    ) -> io::Result<usize> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let mut taken = 0;
        for part in parts {
            let most = part.len().min(ENCRYPT_AT_MOST - taken);
            self.session.encrypt(part.get(..most).unwrap_or_default())?;
            taken += most;
        }
        self.send_now(cx, insist);
        Ok(taken)
    }

    pub(super) fn unsent(&self) -> usize {
        self.session.unsent()
    }

    pub(super) fn poll_unsent(&mut self, cx: &mut Context<'_>, insist: bool) -> Poll<io::Result<usize>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        let outgoing = self.session.outgoing();
        let polled = match insist {
            false => self.socket.poll_write(cx, outgoing.filled()),
            true => self.socket.poll_write_vectored(cx, &[IoSlice::new(outgoing.filled())], true),
        };
        let sent = ready!(polled)?;
        outgoing.consume(sent);
        Poll::Ready(Ok(sent))
    }

    /// Says that no more will come, if that can be sent now.
    pub(super) fn close(&mut self) {
        self.session.close();
        if self.session.unsent() > 0 {
            let _ = self.socket.try_write(self.session.outgoing().filled());
            self.session.outgoing().clear();
        }
    }

    fn send_now(&mut self, cx: &mut Context<'_>, insist: bool) {
        while self.session.unsent() > 0 {
            match self.poll_unsent(cx, insist) {
                Poll::Pending => return,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    self.session.outgoing().clear();
                    self.broken = Some(error);
                    return;
                }
            }
        }
    }
}
