//! The light traffic: a few clients that send requests at an even rate.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// The running clients; dropping it ends them.
#[derive(Debug)]
pub(super) struct Traffic {
    /// The results of their requests.
    pub(super) count: Arc<Count>,
    _clients: JoinSet<()>,
}

/// The number of requests by result; `Display` formats it.
#[derive(Debug, Default)]
pub(super) struct Count {
    answered: AtomicU64,
    failed: AtomicU64,
}

/// How many clients share the rate: more than a slow backend can block at once.
const CLIENTS: u32 = 8;

impl Traffic {
    /// Starts clients that send `rate` requests a second to `address`, on the caller's runtime.
    pub(super) fn start(address: &str, rate: u32) -> Self {
        let count = Arc::new(Count::default());
        let mut clients = JoinSet::new();
        let pace = Duration::from_secs(1) * CLIENTS / rate.max(1);
        for index in 0..CLIENTS {
            let begin = tokio::time::Instant::now() + pace * index / CLIENTS;
            let mut ticks = tokio::time::interval_at(begin, pace);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (address, count) = (address.to_owned(), count.clone());
            clients.spawn(async move {
                let mut connection = None;
                loop {
                    ticks.tick().await;
                    match ask(&mut connection, &address).await {
                        Ok(StatusCode::OK) => count.answered.fetch_add(1, Relaxed),
                        _ => count.failed.fetch_add(1, Relaxed),
                    };
                }
            });
        }
        Self { count, _clients: clients }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (answered, failed) = (self.answered.load(Relaxed), self.failed.load(Relaxed));
        write!(f, "{} requests, {failed} failed", answered + failed)
    }
}

type Connection = SendRequest<Empty<Bytes>>;
type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Sends one request, on the existing connection or on a new one.
async fn ask(connection: &mut Option<Connection>, address: &str) -> Result<StatusCode, AnyError> {
    let mut sender = match connection.take() {
        Some(sender) if !sender.is_closed() => sender,
        _ => connect(address).await?,
    };
    let request = Request::get("/").header(HOST, address).body(Empty::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    response.into_body().collect().await?;
    *connection = Some(sender);
    Ok(status)
}

async fn connect(address: &str) -> Result<Connection, AnyError> {
    let socket = TcpStream::connect(address).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
