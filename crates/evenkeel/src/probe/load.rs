//! Asks a backend how much it has to do.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;

use super::connect::{Deadline, Socket};
use super::http1::{Template, alongside, read};
use super::{Failed, ProbeError, Target, orca};

/// What a backend says of its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Load {
    /// How many requests it works on.
    pub in_flight: u32,
    /// How long a request takes it now.
    pub latency: Duration,
}

/// Asks one backend for its load, with `GET` of one path; made once, asked often, from many tasks at once.
///
/// The response contains the load in a header field `endpoint-load-metrics`, or else in its body: in ORCA's text form
/// (`TEXT named_metrics.rif=3,named_metrics.latency_ms=12.5`), in its JSON form (`JSON {"named_metrics": {"rif": 3,
/// "latency_ms": 12.5}}`), or as `{"rif": 3, "latency_ms": 12.5}`.
///
/// Connections are kept while the backend keeps them: up to [`KEPT`](Self::KEPT).
pub struct LoadProbe {
    request: Template,
    timeout: Duration,
    kept: Mutex<Vec<Kept>>,
}

/// An idle connection. No task runs it: whether the backend has closed it shows when it is used.
struct Kept {
    client: SendRequest<Empty<Bytes>>,
    connection: Open,
}

/// Runs a connection until it is over, and then lets go of it, by which those who wait for it learn that.
struct Open(Option<Box<Connection<TokioIo<Socket>, Empty<Bytes>>>>);

// === impl LoadProbe ===

impl LoadProbe {
    /// Most connections that are kept idle.
    pub const KEPT: usize = 4;

    /// Asks this backend for this path, and waits no longer than `timeout`.
    ///
    /// # Errors
    /// When it cannot be asked: see [`ProbeError`].
    pub fn new(target: &Target, path: &str, timeout: Duration) -> Result<Self, ProbeError> {
        let request = Template::new(target, "GET", path, &target.host)?;
        Ok(Self { request, timeout, kept: Mutex::default() })
    }

    /// Asks once.
    ///
    /// # Errors
    /// Why there was no response, or no load in it.
    pub async fn ask(&self) -> Result<Load, Failed> {
        let deadline = Deadline::after(self.timeout);
        let kept = self.kept.lock().pop();
        if let Some(kept) = kept {
            match self.ask_over(kept, deadline).await {
                // The backend had closed it meanwhile; that says nothing of how it is.
                Err(Failed::Closed | Failed::Broken(_)) => {}
                answer => return answer,
            }
        }
        let (client, connection) = self.request.open(deadline).await?;
        self.ask_over(Kept { client, connection: Open(Some(Box::new(connection))) }, deadline).await
    }

    /// How many connections are kept now.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.kept.lock().len()
    }

    async fn ask_over(&self, mut over: Kept, deadline: Deadline) -> Result<Load, Failed> {
        let exchange = self.exchange(&mut over.client, deadline);
        let (load, reusable) = alongside(exchange, &mut over.connection).await?;
        if reusable {
            let mut kept = self.kept.lock();
            if kept.len() < Self::KEPT {
                kept.push(over);
            }
        }
        load
    }

    /// The load in the response, and whether another request can follow on the connection.
    async fn exchange(
        &self,
        client: &mut SendRequest<Empty<Bytes>>,
        deadline: Deadline,
    ) -> Result<(Result<Load, Failed>, bool), Failed> {
        let answer = deadline.hold(Failed::NoAnswer, self.request.send(client)).await?;
        let status = answer.status();
        let header = answer.headers().get("endpoint-load-metrics").cloned();
        let body = deadline.hold(Failed::NoEnd, read(answer)).await?;
        let reusable = body.whole && deadline.hold(Failed::NoEnd, ready(client)).await.is_ok();
        let load = match header {
            _ if !status.is_success() => Err(Failed::Status(status.as_u16())),
            Some(header) => orca::read(header.as_bytes()).map_err(|why| Failed::Load(why.to_owned())),
            None => orca::read(&body.bytes).map_err(|why| Failed::Load(why.to_owned())),
        };
        Ok((load, reusable))
    }
}

impl fmt::Debug for LoadProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, timeout, kept } = self;
        f.debug_struct("LoadProbe")
            .field("request", request)
            .field("timeout", timeout)
            .field("kept", &kept.lock().len())
            .finish()
    }
}

/// Waits until the connection takes another request, or is over.
async fn ready(client: &mut SendRequest<Empty<Bytes>>) -> Result<(), Failed> {
    client.ready().await.map_err(|error| Failed::http1(&error))
}

// === impl Open ===

impl Future for Open {
    type Output = Infallible;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Infallible> {
        if let Some(connection) = &mut self.0
            && Pin::new(connection).poll(context).is_ready()
        {
            self.0 = None;
        }
        Poll::Pending
    }
}
