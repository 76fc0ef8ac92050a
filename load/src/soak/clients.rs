//! The clients: a task each, at a bounded rate, until they are stopped. Knows nothing of the backends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::ledger::{Ledger, count};
use crate::http;

/// All clients.
#[derive(Debug)]
pub(crate) struct Clients {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// What every client knows.
#[derive(Clone, Debug)]
struct Client {
    /// Which of its kind it is.
    number: u64,
    port: u16,
    ledger: Arc<Ledger>,
    stop: watch::Receiver<bool>,
}

/// A request for so many bytes.
struct Wanted {
    request: Request<Body>,
    size: usize,
    tag: u64,
}

type Body = Either<Full<Bytes>, Channel<Bytes>>;

/// How many requests one connection carries at most.
const REQUESTS: u64 = 200;

/// The longest silence that a client bears: longer than any of the proxy's timeouts.
const PATIENCE: Duration = Duration::from_secs(10);

/// A response that a slow client reads.
const LARGE: usize = 4 * 1024 * 1024;

/// Tells each request's response from all others.
static TAG: AtomicU64 = AtomicU64::new(0);

// === impl Clients ===

impl Clients {
    /// Starts all of them on the current runtime.
    pub(crate) fn start(port: u16, ledger: &Arc<Ledger>) -> Self {
        let (stop, is_stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let client = |number| Client { number, port, ledger: ledger.clone(), stop: is_stopped.clone() };
        (0..12).for_each(|number| drop(tasks.spawn(kept(client(number)))));
        (0..4).for_each(|number| drop(tasks.spawn(churning(client(number)))));
        (0..12).for_each(|number| drop(tasks.spawn(slow(client(number)))));
        (0..6).for_each(|number| drop(tasks.spawn(aborting(client(number)))));
        Self { stop, tasks }
    }

    /// Stops them, which takes each no longer than its patience.
    pub(crate) async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

// === kinds ===

/// Many requests of all sorts over kept connections.
async fn kept(client: Client) {
    let mut turn = client.number;
    while let Some(mut connection) = client.connect().await {
        for carried in 1..=REQUESTS {
            turn += 1;
            let wanted = match turn % 8 {
                0 => Wanted::get("bytes", 64 * 1024),
                1 => Wanted::get("chunked", 40_000),
                2 => Wanted::post("bytes", Either::Left(Full::from(vec![b'x'; 16 * 1024]))),
                3 => Wanted::post("chunked", Either::Right(chunks(5))),
                _ => Wanted::get("bytes", 16),
            };
            if !client.exchange(&mut connection, wanted, carried).await || client.is_over() {
                break;
            }
            pause(10).await;
        }
    }
}

/// A connection for every request.
async fn churning(client: Client) {
    while let Some(mut connection) = client.connect().await {
        let mut wanted = Wanted::get("bytes", 16);
        wanted.request.headers_mut().insert("connection", hyper::header::HeaderValue::from_static("close"));
        client.exchange(&mut connection, wanted, 1).await;
        drop(connection);
        pause(8).await;
    }
}

/// Large responses, read in sips; some are never finished.
async fn slow(client: Client) {
    let mut turn = client.number;
    while let Some(mut stream) = client.connect_raw().await {
        turn += 1;
        // Lets only little of a response be on its way. Without it, the kernel keeps more: the same, only later.
        let _ = SockRef::from(&stream).set_recv_buffer_size(16 * 1024);
        let (start, sipping) = (Instant::now(), Duration::from_millis(500 + turn % 4 * 500));
        let mut read =
            if client.send(&mut stream, &large("Connection: close\r\n")).await { Some(0) } else { None };
        if read.is_none() {
            count(&client.ledger.unanswered);
            continue;
        }
        let mut total = 0;
        while start.elapsed() < sipping && !client.is_over() {
            read = sip(&mut stream).await;
            let Some(sipped) = read else { break };
            total += sipped;
            pause(5).await;
        }
        if turn.is_multiple_of(4) {
            while let Some(sipped) = sip(&mut stream).await {
                total += sipped;
            }
            // With the head, it is more than the body.
            count(if total > LARGE { &client.ledger.successes } else { &client.ledger.cut });
            continue;
        }
        count(&client.ledger.cut);
        match turn % 4 {
            // Longer than the proxy lets a client read nothing, so that the proxy must end this.
            1 => client.wait(Duration::from_secs(5)).await,
            2 => finish(stream).await,
            _ => reset(stream),
        }
    }
}

/// Requests broken off in the head, in the body, before the response and in it, by FIN and by RST.
async fn aborting(client: Client) {
    let mut turn = client.number;
    while let Some(mut stream) = client.connect_raw().await {
        turn += 1;
        let part = match turn % 4 {
            0 => "GET /bytes/16 HTTP/1.1\r\nHos".to_owned(),
            1 => "POST /bytes/16 HTTP/1.1\r\nHost: soak\r\nContent-Length: 100000\r\n\r\nxxxx".to_owned(),
            2 => "GET /bytes/16 HTTP/1.1\r\nHost: soak\r\n\r\n".to_owned(),
            _ => large(""),
        };
        if client.send(&mut stream, &part).await && turn % 4 == 3 {
            sip(&mut stream).await;
        }
        pause(turn / 4 % 5 * 5).await;
        if (turn / 8).is_multiple_of(2) {
            finish(stream).await
        } else {
            reset(stream)
        }
        count(&client.ledger.unanswered);
        pause(20).await;
    }
}

fn large(fields: &str) -> String {
    format!("GET /bytes/{LARGE} HTTP/1.1\r\nHost: soak\r\n{fields}\r\n")
}

async fn pause(milliseconds: u64) {
    sleep(Duration::from_millis(milliseconds)).await;
}

/// Reads once; nothing at the end of the connection.
async fn sip(stream: &mut TcpStream) -> Option<usize> {
    let mut chunk = [0; 16 * 1024];
    timeout(PATIENCE, stream.read(&mut chunk)).await.ok()?.ok().filter(|read| *read > 0)
}

/// Says that there is nothing more to send, and closes soon after.
async fn finish(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    pause(20).await;
}

fn reset(stream: TcpStream) {
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

// === impl Client ===

impl Client {
    fn is_over(&self) -> bool {
        *self.stop.borrow()
    }

    /// A fresh connection, or none when it is time to stop.
    async fn connect(&self) -> Option<SendRequest<Body>> {
        self.retry(http::connect).await
    }

    async fn connect_raw(&self) -> Option<TcpStream> {
        self.retry(http::open).await
    }

    async fn retry<T, F: Future<Output = io::Result<T>>>(&self, connect: fn(u16) -> F) -> Option<T> {
        while !self.is_over() {
            match timeout(PATIENCE, connect(self.port)).await {
                Ok(Ok(connection)) => return Some(connection),
                _ => count(&self.ledger.failed_connections),
            }
            pause(50).await;
        }
        None
    }

    async fn wait(&self, time: Duration) {
        let _ = timeout(time, self.stop.clone().wait_for(|stop| *stop)).await;
    }

    /// Sends a part of a request, or all of it. Returns whether that worked.
    async fn send(&self, stream: &mut TcpStream, part: &str) -> bool {
        count(&self.ledger.begun);
        matches!(timeout(PATIENCE, stream.write_all(part.as_bytes())).await, Ok(Ok(())))
    }

    /// A request and its whole response. Returns whether the connection can carry another.
    async fn exchange(&self, connection: &mut SendRequest<Body>, wanted: Wanted, carried: u64) -> bool {
        let Wanted { request, size, tag } = wanted;
        // The proxy may have closed the connection already; then nothing was sent.
        if !matches!(timeout(PATIENCE, connection.ready()).await, Ok(Ok(()))) {
            return false;
        }
        let response = match timeout(PATIENCE, connection.try_send_request(request)).await {
            // Closed before anything was sent.
            Ok(Err(error)) if error.message().is_some() => return false,
            response => response.ok().and_then(Result::ok),
        };
        count(&self.ledger.begun);
        let Some(response) = response else {
            count(if carried > 1 { &self.ledger.crossed } else { &self.ledger.unanswered });
            return false;
        };
        let closes = response.headers().get("connection").is_some_and(|value| value == "close");
        let (head, body) = response.into_parts();
        match receive(body).await {
            Ok(received) => {
                self.judge(&Response::from_parts(head, received), size, tag);
                !closes
            }
            Err(_) => {
                count(&self.ledger.cut);
                false
            }
        }
    }

    fn judge(&self, response: &Response<usize>, size: usize, tag: u64) {
        let received = *response.body();
        match response.status().as_u16() {
            200 if received != size => self.ledger.wrong(format!("{received} bytes instead of {size}")),
            200 if response.headers().get("x-soak").is_none_or(|echo| *echo != tag.to_string()) => {
                self.ledger.wrong(format!("request {tag} got another response: {:?}", response.headers()));
            }
            200 => count(&self.ledger.successes),
            502..=504 => count(&self.ledger.failures),
            status => self.ledger.wrong(format!("status {status} instead of {size} bytes")),
        }
    }
}

/// Reads a body to its end. Returns how many `x` it had.
async fn receive(mut body: Incoming) -> io::Result<usize> {
    let mut size = 0;
    while let Some(frame) = timeout(PATIENCE, body.frame()).await? {
        let frame = frame.map_err(io::Error::other)?;
        size += frame.data_ref().map_or(0, |data| data.iter().filter(|byte| **byte == b'x').count());
    }
    Ok(size)
}

/// A body in so many chunks.
fn chunks(count: usize) -> Channel<Bytes> {
    let (mut sender, body) = Channel::new(count);
    for _ in 0..count {
        // There is room for all.
        let _ = sender.try_send(hyper::body::Frame::data(Bytes::from_static(&[b'x'; 1000])));
    }
    body
}

// === impl Wanted ===

impl Wanted {
    fn get(kind: &str, size: usize) -> Self {
        Self::new("GET", kind, size, Either::Left(Full::default()))
    }

    fn post(kind: &str, body: Body) -> Self {
        Self::new("POST", kind, 16, body)
    }

    fn new(method: &str, kind: &str, size: usize, body: Body) -> Self {
        let tag = TAG.fetch_add(1, Relaxed);
        let request = Request::builder().method(method).uri(format!("/{kind}/{size}"));
        let request = request.header("host", "soak").header("x-soak", tag).body(body);
        // Nothing in it can be invalid; an empty request would get a wrong response.
        Self { request: request.unwrap_or_else(|_| Request::new(Either::Left(Full::default()))), size, tag }
    }
}
