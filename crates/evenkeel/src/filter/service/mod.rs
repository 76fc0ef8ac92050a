//! Requests that filters send to other services: HTTP/1.1, with or without TLS, over connections that are kept.
//!
//! It never knows what a response means. Everything that a service sends is bounded, in size and in time.

mod pool;
mod target;

pub(super) use target::Target;

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use pool::Pool;

use crate::dial::with_causes;

/// A service, and connections to it.
#[derive(Debug)]
pub(super) struct Service {
    target: Target,
    pool: Pool,
    /// Largest response body, in bytes.
    largest: usize,
}

/// A response, read to its end.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no response. For the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ServiceError {
    #[error("no response within {0:?}")]
    Late(Duration),
    #[error("{0}")]
    Broken(String),
    #[error("the response is larger than {0} KiB")]
    Large(usize),
}

type Sender = SendRequest<Empty<Bytes>>;

/// Largest response head, in bytes.
const HEAD: usize = 64 << 10;

// === impl Service ===

impl Service {
    /// A service, to which each of so many workers keeps its own connections.
    pub(super) fn new(target: Target, workers: usize, largest: usize) -> Self {
        Self { target, pool: Pool::new(workers), largest }
    }

    /// Where it is.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Sends a GET request with these headers, on this worker.
    ///
    /// # Errors
    /// Why there is no whole response within `limit`.
    pub(super) async fn get(
        &self,
        worker: usize,
        headers: HeaderMap,
        limit: Duration,
    ) -> Result<Reply, ServiceError> {
        timeout(limit, self.exchange(worker, headers)).await.unwrap_or(Err(ServiceError::Late(limit)))
    }

    async fn exchange(&self, worker: usize, headers: HeaderMap) -> Result<Reply, ServiceError> {
        // A connection that was kept may be closed at any time: that says nothing about the service.
        while let Some(sender) = self.pool.take(worker) {
            match self.send(worker, sender, headers.clone()).await {
                Err(ServiceError::Broken(_)) => {}
                result => return result,
            }
        }
        let sender = self.connect().await?;
        self.send(worker, sender, headers).await
    }

    async fn send(
        &self,
        worker: usize,
        mut sender: Sender,
        headers: HeaderMap,
    ) -> Result<Reply, ServiceError> {
        sender.ready().await.map_err(|error| broken("the connection broke", &error))?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.target.path.clone();
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, self.target.authority.clone());
        let response = sender.send_request(request).await.map_err(|error| broken("no response", &error))?;
        let (head, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken("the response broke off", &error))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > self.largest {
                return Err(ServiceError::Large(self.largest >> 10));
            }
            bytes.extend_from_slice(&data);
        }
        if !closes(&head.headers) {
            self.pool.keep(worker, sender);
        }
        Ok(Reply { status: head.status, headers: head.headers, body: bytes.into() })
    }

    async fn connect(&self) -> Result<Sender, ServiceError> {
        let place = (self.target.host.as_str(), self.target.port);
        let socket = TcpStream::connect(place).await.map_err(|error| broken("cannot connect", &error))?;
        // A request leaves in one piece: waiting for more would only delay it.
        socket.set_nodelay(true).map_err(|error| broken("cannot connect", &error))?;
        match &self.target.tls {
            None => converse(socket).await,
            Some(tls) => {
                let socket = tls.handshake(socket).await.map_err(|error| broken("no TLS session", &error))?;
                converse(socket).await
            }
        }
    }
}

/// Speaks HTTP/1.1 over this connection, as long as the sender is kept.
async fn converse(
    socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Sender, ServiceError> {
    let mut builder = Builder::new();
    builder.max_buf_size(HEAD);
    let ends = builder.handshake(TokioIo::new(socket)).await;
    let (sender, connection) = ends.map_err(|error| broken("the connection broke", &error))?;
    // It ends when the sender is dropped, or when the service closes.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn closes(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
}

fn broken(what: &str, error: &dyn std::error::Error) -> ServiceError {
    ServiceError::Broken(with_causes(what, error))
}
