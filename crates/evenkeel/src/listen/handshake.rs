//! Handshakes of TLS: within their time, not too many at once, and never in the way of requests.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::stream::{Link, Read};
use crate::tls::{HandshakeFailure, ServerTls};

/// The handshakes of one listener.
#[derive(Debug)]
pub(super) struct Handshakes {
    tls: Arc<ServerTls>,
    /// One permit for each handshake that may be in progress.
    free: Semaphore,
}

/// Whose turn it is on a worker. A step of a handshake computes as long as many requests take. So one
/// step follows the other only after everything else that is ready has run.
#[derive(Debug)]
pub(super) struct HandshakeTurn(Semaphore);

// === impl Handshakes ===

impl Handshakes {
    pub(super) fn new(tls: Arc<ServerTls>) -> Arc<Self> {
        let free = Semaphore::new(tls.max_handshakes.min(Semaphore::MAX_PERMITS));
        Arc::new(Self { tls, free })
    }

    pub(super) fn tls(&self) -> &Arc<ServerTls> {
        &self.tls
    }

    /// Completes the handshake of a connection that was just accepted; whether it resumed an earlier session.
    pub(super) async fn complete(&self, link: &Link, turn: &HandshakeTurn) -> Result<bool, HandshakeFailure> {
        let negotiated = tokio::time::timeout(self.tls.handshake_timeout, self.negotiate(link, turn)).await;
        negotiated.unwrap_or(Err(HandshakeFailure::Timeout))
    }

    async fn negotiate(&self, link: &Link, turn: &HandshakeTurn) -> Result<bool, HandshakeFailure> {
        // A client that says nothing takes no place from those that do.
        receive(link).await?;
        // It is never closed.
        let _permit = self.free.acquire().await.map_err(|_| HandshakeFailure::Other)?;
        loop {
            let step = || {
                let agreed = link.advance_handshake();
                if let Ok(None) = agreed {
                    // It leaves before others have their turn. An error comes again with the next call.
                    let _ = link.flush_now();
                }
                agreed
            };
            let step = turn.take(step).await;
            if let Some(agreed) = step? {
                let resumed = agreed.resumed;
                if let Some(tls) = &link.connection().tls {
                    let _ = tls.set(Box::new(agreed));
                }
                return Ok(resumed);
            }
            poll_fn(|cx| link.poll_flush(cx)).await.map_err(|_| HandshakeFailure::ClientDisconnected)?;
            receive(link).await?;
        }
    }
}

async fn receive(link: &Link) -> Result<(), HandshakeFailure> {
    match poll_fn(|cx| link.poll_handshake(cx)).await {
        Ok(Read::Some) => Ok(()),
        Ok(Read::End) | Err(_) => Err(HandshakeFailure::ClientDisconnected),
    }
}

// === impl HandshakeTurn ===

impl HandshakeTurn {
    /// Does a step when it is its turn, and lets others run before the next one.
    async fn take<T>(&self, step: impl FnOnce() -> T) -> T {
        // It is never closed.
        let _turn = self.0.acquire().await;
        let result = step();
        tokio::task::yield_now().await;
        result
    }
}

impl Default for HandshakeTurn {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}
