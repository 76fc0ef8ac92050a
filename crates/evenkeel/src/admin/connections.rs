//! The connections to the admin address: how many, for how long, and which one is closed to make room for a new one.
//!
//! A probe of an orchestrator must always get a response: no client can occupy the address without the token.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep, timeout};

/// The open connections, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<VecDeque<Arc<OpenConnection>>>);

/// An open connection. Dropping it makes room.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    connections: Arc<Connections>,
    open: Arc<OpenConnection>,
}

#[derive(Debug, Default)]
pub(super) struct OpenConnection {
    /// Whether a request is being handled: the connection is neither idle nor stalled.
    handling: AtomicBool,
    close: Notify,
}

/// Marks a connection for as long as a request on it is being handled.
pub(super) struct RequestGuard<'a>(&'a OpenConnection);

/// A connection on which every write must make progress within [`WRITE_TIMEOUT`].
struct TimedStream {
    stream: TcpStream,
    /// Set while the client takes no bytes.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// Connections served at once. One more closes the oldest one that is idle or stalled.
const CONNECTIONS: usize = 64;
/// How long a request head can take, and how long a connection stays open between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client can take no bytes of a response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection is used. After that it has [`WRITE_TIMEOUT`] for the response to its last request.
const LIFETIME: Duration = Duration::from_secs(60);

// === impl Connections ===

impl Connections {
    /// A slot for a new connection. If all are taken, the oldest connection that is idle or stalled is closed. If requests
    /// are being handled on all of them, the oldest one is closed.
    pub(super) fn slot(self: &Arc<Self>) -> ConnectionSlot {
        let open = Arc::new(OpenConnection::default());
        let mut all = self.0.lock();
        if all.len() >= CONNECTIONS {
            let which = all.iter().position(|one| !one.handling.load(Relaxed)).unwrap_or_default();
            if let Some(closed) = all.remove(which) {
                closed.close.notify_one();
            }
        }
        all.push_back(open.clone());
        ConnectionSlot { connections: self.clone(), open }
    }
}

// === impl ConnectionSlot ===

impl ConnectionSlot {
    /// What the service marks while it handles a request.
    pub(super) fn open(&self) -> Arc<OpenConnection> {
        self.open.clone()
    }

    /// Serves a connection until its client, a deadline or a newer connection ends it.
    pub(super) async fn serve<S, B>(self, stream: TcpStream, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>>,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(TimedStream { stream, deadline: None }), service);
        let served = async {
            let mut connection = pin!(connection);
            if timeout(LIFETIME, connection.as_mut()).await.is_err() {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(WRITE_TIMEOUT, connection).await;
            }
        };
        tokio::select! {
            () = served => {}
            () = self.open.close.notified() => {}
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connections.0.lock().retain(|one| !Arc::ptr_eq(one, &self.open));
    }
}

// === impl OpenConnection ===

impl OpenConnection {
    pub(super) fn handling(&self) -> RequestGuard<'_> {
        self.handling.store(true, Relaxed);
        RequestGuard(self)
    }
}

impl Drop for RequestGuard<'_> {
    fn drop(&mut self) {
        self.0.handling.store(false, Relaxed);
    }
}

// === impl TimedStream ===

impl TimedStream {
    /// Ends a write that makes no progress for too long.
    fn timed<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timed(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.timed(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
