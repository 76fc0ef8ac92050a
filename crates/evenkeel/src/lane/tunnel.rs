//! A connection that has end HTTP behind: bytes both ways, until both ends have said all.
//!
//! The end of one direction is passed on and leaves the other one open: a client may end its input and still wait for the
//! output (`docker run -i`). Neither direction holds a buffer while it waits.

use std::task::{Context, Poll, ready};

use super::Next;
use super::answer::RequestEnd;
use super::backend::Backend;
use super::pump::{Pump, Stop};
use crate::exchange::Ending;
use crate::stream::Read;
use crate::upstream::Break;

/// How far a tunnel is in each direction.
#[derive(Debug)]
struct Tunnel {
    backend: Backend,
    to_backend: ToBackend,
    to_client: ToClient,
}

#[derive(Debug, PartialEq, Eq)]
enum ToBackend {
    /// The backend changed protocols before it had the whole request: the rest of that comes first (RFC 9110, 7.8).
    Request,
    Open,
    Ended,
}

#[derive(Debug, PartialEq, Eq)]
enum ToClient {
    Open,
    /// The backend has said all; it is not all sent.
    Ending,
    Ended,
}

impl Pump<'_> {
    /// Carries what follows a 101 to its end, whatever that is.
    pub(super) async fn tunnel(mut self, backend: Backend) -> Result<RequestEnd, Next> {
        let mut tunnel = Tunnel { backend, to_backend: ToBackend::Request, to_client: ToClient::Open };
        match std::future::poll_fn(|cx| self.poll_tunnel(cx, &mut tunnel)).await {
            Ok(()) => {
                self.exchange.on_end(Ending::Ok);
                Err(Next::Close)
            }
            Err(stop) => self.give_up(stop),
        }
    }

    fn poll_tunnel(&mut self, cx: &mut Context<'_>, tunnel: &mut Tunnel) -> Poll<Result<(), Stop>> {
        if let Poll::Ready(Err(stop)) = self.poll_to_backend(cx, tunnel) {
            return Poll::Ready(Err(stop));
        }
        if let Poll::Ready(Err(stop)) = self.poll_to_client(cx, tunnel) {
            return Poll::Ready(Err(stop));
        }
        match (&tunnel.to_backend, &tunnel.to_client) {
            (ToBackend::Ended, ToClient::Ended) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    fn poll_to_backend(&mut self, cx: &mut Context<'_>, tunnel: &mut Tunnel) -> Poll<Result<(), Stop>> {
        let (link, backend) = (self.link, &mut tunnel.backend);
        if tunnel.to_backend == ToBackend::Request {
            ready!(self.upload.poll(cx, link, backend, &mut self.exchange))?;
            tunnel.to_backend = if self.upload.broken { ToBackend::Ended } else { ToBackend::Open };
        }
        while tunnel.to_backend == ToBackend::Open {
            if link.pending_input() == 0 {
                match ready!(link.poll_read_ahead(cx)).map_err(|_| Stop::ClientDisconnected)? {
                    Read::Some => {}
                    Read::End => {
                        backend.socket.finish();
                        tunnel.to_backend = ToBackend::Ended;
                        break;
                    }
                }
            }
            let allowed = ready!(self.exchange.poll_upload(cx));
            let sent = link.peek(|bytes| {
                let most = bytes.len().min(allowed);
                backend.socket.poll_write(cx, bytes.get(..most).unwrap_or_default())
            });
            match ready!(sent) {
                Ok(sent) => {
                    link.skip(sent);
                    self.exchange.count_received(sent as u64);
                }
                // What the backend says before it is gone may still be of interest; reading tells of its end.
                Err(_) => tunnel.to_backend = ToBackend::Ended,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_to_client(&mut self, cx: &mut Context<'_>, tunnel: &mut Tunnel) -> Poll<Result<(), Stop>> {
        let (link, backend) = (self.link, &mut tunnel.backend);
        while tunnel.to_client == ToClient::Open {
            while !backend.input.is_empty() {
                let allowed = ready!(self.exchange.poll_download(cx));
                let bytes = backend.input.filled();
                let bytes = bytes.get(..bytes.len().min(allowed)).unwrap_or_default();
                let sent = ready!(link.poll_write(cx, bytes));
                let sent = sent.map_err(|_| Stop::ClientDisconnected)?;
                backend.input.consume(sent);
                self.exchange.count_sent(sent as u64);
            }
            match ready!(backend.poll_more(cx)) {
                Ok(()) => self.exchange.in_flight().backend_moved(),
                Err(Break::Closed) => tunnel.to_client = ToClient::Ending,
                Err(broken) => return Poll::Ready(Err(Stop::BackendDisconnected(broken))),
            }
        }
        if tunnel.to_client == ToClient::Ending {
            ready!(link.poll_flush(cx)).map_err(|_| Stop::ClientDisconnected)?;
            link.finish();
            self.exchange.in_flight().backend_ended();
            tunnel.to_client = ToClient::Ended;
        }
        Poll::Ready(Ok(()))
    }
}
