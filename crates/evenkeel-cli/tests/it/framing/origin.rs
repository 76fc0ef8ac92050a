//! A backend that accepts only strictly well-formed requests, and follows a script. Knows nothing of the corpus.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::strict::{self, Head};
use crate::support::{PATIENCE, eventually};

/// A pause between two pieces: enough that the other end sees them apart.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// The target whose response is set by [`Origin::plays`]; all others get a response that names the request.
pub(super) const FIRST: &str = "/first";

/// A running backend. Dropping it ends it.
pub(super) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// A whole request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, String)>,
    /// The connection that it came on, from 0.
    pub(super) connection: usize,
}

/// What came in some time.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) requests: Vec<Request>,
    /// What was not strictly well-formed.
    pub(super) faults: Vec<String>,
    /// The parts of requests that did not become complete.
    pub(super) parts: Vec<String>,
}

/// What is done with a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Play {
    pub(super) pieces: Vec<Vec<u8>>,
    pub(super) then: Then,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Then {
    #[default]
    Stay,
    Close,
    Reset,
}

#[derive(Default)]
struct Shared {
    log: Mutex<Log>,
    /// What each connection has of a request that is not whole.
    parts: Mutex<BTreeMap<usize, String>>,
    /// Connections whose part was already told of.
    told: Mutex<BTreeSet<usize>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    played: AtomicUsize,
    /// What is done with requests for [`FIRST`].
    play: Mutex<Play>,
}

// === impl Origin ===

impl Origin {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::<Shared>::default();
        let task = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Self { address, shared, task }
    }

    /// What is done from now on with requests for [`FIRST`].
    pub(super) fn plays(&self, play: Play) {
        *self.shared.play.lock().expect("no panic") = play;
        self.shared.played.store(0, Ordering::SeqCst);
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until a request for [`FIRST`] has had all that was to be played.
    pub(super) async fn until_played(&self) {
        eventually(PATIENCE, || self.shared.played.load(Ordering::SeqCst) > 0).await;
    }

    /// What came since the last time.
    pub(super) fn take(&self) -> Log {
        let mut log = std::mem::take(&mut *self.shared.log.lock().expect("no panic"));
        let mut told = self.shared.told.lock().expect("no panic");
        for (connection, part) in std::mem::take(&mut *self.shared.parts.lock().expect("no panic")) {
            if told.insert(connection) {
                log.parts.push(part);
            }
        }
        log
    }

    /// What came since the last time, once all connections are closed: the balancer must have ended.
    pub(super) async fn finish(self) -> Log {
        eventually(PATIENCE, || self.shared.open.load(Ordering::SeqCst) == 0).await;
        self.take()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Request ===

impl Request {
    pub(super) fn method(&self) -> &str {
        &self.head.line[0]
    }

    pub(super) fn target(&self) -> &str {
        &self.head.line[1]
    }
}

// === impl Play ===

impl Play {
    /// A response that names its request.
    pub(super) fn echo(request: &Request) -> Self {
        let text = format!("{} {}", request.method(), request.target());
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
        let body = if request.method() == "HEAD" { "" } else { &text };
        Self { pieces: vec![format!("{head}{body}").into_bytes()], then: Then::Stay }
    }
}

// === impl Shared ===

impl Shared {
    /// Notes what a connection has of a request that is not whole.
    fn keep_part(&self, connection: usize, part: &[u8]) {
        let mut parts = self.parts.lock().expect("no panic");
        match part {
            [] => parts.remove(&connection),
            part => parts.insert(connection, strict::latin_1(part)),
        };
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        // What is sent late must not wait for an acknowledgement, and come even later.
        stream.set_nodelay(true).expect("a TCP option");
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        shared.open.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        connections.spawn(async move {
            serve(stream, number, &shared).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(mut stream: TcpStream, number: usize, shared: &Shared) {
    let mut buffer = Vec::new();
    let mut told = false;
    loop {
        let next = take(&mut buffer, number);
        shared.keep_part(number, &buffer);
        if let Ok(Next::Body(head) | Next::Whole(Request { head, .. })) = &next
            && head.expects()
            && !std::mem::replace(&mut told, true)
        {
            let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        match next {
            Err(fault) => {
                shared.keep_part(number, &[]);
                let fault = format!("{fault}, in {:?}", strict::latin_1(&buffer));
                return shared.log.lock().expect("no panic").faults.push(fault);
            }
            Ok(Next::Whole(request)) => {
                told = false;
                shared.log.lock().expect("no panic").requests.push(request.clone());
                if !run(&request, &mut stream, shared).await {
                    return;
                }
                continue;
            }
            Ok(Next::Body(_) | Next::Head) => {}
        }
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

/// Does what is done with a request; false when the connection is over.
async fn run(request: &Request, stream: &mut TcpStream, shared: &Shared) -> bool {
    let first = request.target() == FIRST;
    let play = if first { shared.play.lock().expect("no panic").clone() } else { Play::echo(request) };
    for (nth, piece) in play.pieces.iter().enumerate() {
        if nth > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let _ = stream.write_all(piece).await;
    }
    if play.then == Then::Close {
        let _ = stream.shutdown().await;
    }
    if play.then == Then::Reset {
        // What was sent is to arrive first.
        tokio::time::sleep(PAUSE).await;
        let _ = stream.set_zero_linger();
    }
    shared.played.fetch_add(usize::from(first), Ordering::SeqCst);
    if play.then == Then::Close {
        // A socket that is dropped with bytes unread resets the connection.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
    play.then == Then::Stay
}

/// How far the next request is.
enum Next {
    Head,
    Body(Head),
    Whole(Request),
}

/// Takes the next request off the bytes.
fn take(buffer: &mut Vec<u8>, connection: usize) -> Result<Next, strict::Fault> {
    let Some(head) = strict::request_head(buffer)? else { return Ok(Next::Head) };
    let body = strict::body(head.request_framing()?, &buffer[head.length..])?;
    let Some(end) = body.end else { return Ok(Next::Body(head)) };
    buffer.drain(..head.length + end);
    Ok(Next::Whole(Request { head, body: body.bytes, trailers: body.trailers, connection }))
}
