//! Connects to a backend, within the time that a probe has.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

use super::{ProbeError, ProbeFailure, Target, TlsTarget};
use crate::dial::{Connected, Dialer};
use crate::tls::{ClientTls, ClientTlsError};

/// A connection of any kind.
pub(super) type Socket = Box<dyn Stream>;

/// What every kind of connection can do.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

/// The name of HTTP/1.1 within TLS.
pub(super) const HTTP1: &[u8] = b"http/1.1";
/// The name of HTTP/2 within TLS.
pub(super) const HTTP2: &[u8] = b"h2";

/// How a backend is reached.
#[derive(Debug)]
pub(super) struct Connector {
    dialer: Dialer,
    tls: Option<ClientTls>,
}

/// A connection from which no more than so many bytes are read.
pub(super) struct LimitedReader {
    socket: Socket,
    left: usize,
}

/// When one probe must be done, all its steps together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: Instant,
    whole: Duration,
}

/// A time that is never reached, and that can be added to now.
pub(super) const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

// === impl Stream ===

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

// === impl Connector ===

impl Connector {
    /// As the target says, speaking this protocol over TLS.
    pub(super) fn new(target: &Target, protocol: &[u8]) -> Result<Self, ProbeError> {
        let tls = target.tls.as_ref().map(|tls| over_tls(tls, protocol)).transpose()?;
        Ok(Self { dialer: target.dialer(), tls })
    }

    /// As far as a connection, whatever is spoken over it.
    pub(super) fn plain(target: &Target) -> Self {
        Self { dialer: target.dialer(), tls: None }
    }

    /// Whether TLS is spoken.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// A new connection.
    pub(super) async fn open(&self, deadline: Deadline) -> Result<Socket, ProbeFailure> {
        let connected = self.dialer.connect(deadline.left(), None).await;
        let socket: Socket = match connected.map_err(|error| ProbeFailure::dialing(error, deadline.whole))? {
            Connected::Tcp(socket) => Box::new(socket),
            Connected::Unix(socket) => Box::new(socket),
        };
        match &self.tls {
            None => Ok(socket),
            Some(tls) => deadline.hold(ProbeFailure::NoHandshake, handshake(tls, socket)).await,
        }
    }
}

fn over_tls(target: &TlsTarget, protocol: &[u8]) -> Result<ClientTls, ProbeError> {
    let tls = ClientTls::new(&target.server_name, target.ca.as_ref(), target.verify, protocol);
    tls.map_err(|error| match error {
        ClientTlsError::ServerName(name) => ProbeError::ServerName(name),
        error => ProbeError::Authorities(error.to_string()),
    })
}

async fn handshake(tls: &ClientTls, socket: Socket) -> Result<Socket, ProbeFailure> {
    match tls.handshake(socket).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(match ProbeFailure::broken(&error) {
            ProbeFailure::Closed => ProbeFailure::Tls("connection closed in the handshake".to_owned()),
            other => other,
        }),
    }
}

/// Closes a connection over which nothing was said, and tells the peer so: one that speaks TLS would complain of it.
pub(super) async fn part(mut socket: Socket, deadline: Deadline) {
    let closed = poll_fn(|context| Pin::new(&mut socket).poll_shutdown(context));
    // The check is complete: there is a connection.
    let _ = deadline
        .hold(ProbeFailure::NoEnd, async { closed.await.map_err(|error| ProbeFailure::broken(&error)) })
        .await;
}

// === impl LimitedReader ===

impl LimitedReader {
    pub(super) fn new(socket: Socket, most: usize) -> Self {
        Self { socket, left: most }
    }
}

impl AsyncRead for LimitedReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, into);
        self.left = self.left.saturating_sub(into.filled().len() - before);
        read
    }
}

impl AsyncWrite for LimitedReader {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

// === impl Deadline ===

impl Deadline {
    /// From now on.
    pub(super) fn after(whole: Duration) -> Self {
        Self { at: Instant::now() + whole.min(FAR), whole }
    }

    /// How much time is left.
    fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Does this, as long as there is time; `late` says what has not come when there is none.
    pub(super) async fn hold<T>(
        self,
        late: fn(Duration) -> ProbeFailure,
        work: impl Future<Output = Result<T, ProbeFailure>>,
    ) -> Result<T, ProbeFailure> {
        timeout_at(self.at, work).await.unwrap_or_else(|_| Err(late(self.whole)))
    }
}
