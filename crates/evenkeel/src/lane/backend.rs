//! A connection to a backend while it serves a request.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use evenkeel_http::http1::Buffer;

use crate::dial::Connected;
use crate::stream::Socket;
use crate::upstream::{Break, Endpoint, Failure};

/// A connection to a backend.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) socket: Socket,
    /// What it sent and no code has read.
    pub(super) input: Buffer,
    /// Whether it has served requests before.
    pub(super) reused: bool,
}

/// The most that is read at once.
const READ_AT_MOST: usize = 72 * 1024;

impl Backend {
    /// One that was kept.
    pub(super) fn kept(socket: Socket) -> Self {
        Self { socket, input: Buffer::default(), reused: true }
    }

    /// A new one for this client, within this time. `None` is the balancer itself.
    pub(super) async fn connect(
        endpoint: &Endpoint,
        limit: Duration,
        client: Option<SocketAddr>,
    ) -> Result<Self, Failure> {
        let connected = endpoint.dialer.connect(limit, client).await.and_then(Connected::still_open);
        let socket = match connected.map_err(|error| Failure::from(&error))? {
            Connected::Tcp(socket) => Socket::Tcp(socket),
            Connected::Unix(socket) => Socket::Unix(socket),
        };
        Ok(Self { socket, input: Buffer::default(), reused: false })
    }

    /// Sends what of these bytes was not sent yet; ready once all is.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        sent: &mut usize,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            *sent += ready!(self.socket.poll_write(cx, rest))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads more to `input`, or says how the connection broke.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Break>> {
        Poll::Ready(match ready!(self.poll_fill(cx)) {
            Ok(0) => Err(Break::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(Break::of(&error)),
        })
    }

    /// Reads more to `input`; how many bytes, none at the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.socket.poll_fill(cx, &mut self.input, READ_AT_MOST)
    }
}
