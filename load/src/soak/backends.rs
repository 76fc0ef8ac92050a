//! Backends that fail and recover. Knows nothing of the clients.
//!
//! `/bytes/N` is answered with N bytes of `x` and a length, `/chunked/N` with the same in chunks; `x-soak` is sent back as
//! it came.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;
use xtask::failure::Failure;

/// Three backends, and the task that decides their states.
#[derive(Debug)]
pub(crate) struct Backends {
    backends: [Arc<Backend>; 3],
    calm: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Backend {
    port: u16,
    state: watch::Sender<State>,
    served: AtomicU64,
}

/// The state of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Healthy,
    /// Nothing listens, and connections are reset.
    Gone,
    /// Requests get half a response and a reset, or a reset alone.
    Resetting,
    /// Requests get half a response and silence, or silence alone.
    Hanging,
}

/// The states of the three, one line after another.
const TURNS: [[State; 3]; 8] = {
    use State::{Gone, Hanging, Healthy, Resetting};
    [
        [Healthy, Healthy, Healthy],
        [Gone, Healthy, Healthy],
        [Healthy, Resetting, Healthy],
        [Healthy, Healthy, Hanging],
        [Gone, Resetting, Healthy],
        [Healthy, Healthy, Healthy],
        [Hanging, Gone, Resetting],
        [Gone, Gone, Gone],
    ]
};

/// How long each line lasts.
const TURN: Duration = Duration::from_secs(4);

/// How often `calm` is looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// How long half a response has to reach the proxy before the reset.
const HALF: Duration = Duration::from_millis(10);

/// A piece of a body.
static BYTES: [u8; 16 * 1024] = [b'x'; 16 * 1024];

// === impl Backends ===

impl Backends {
    /// Starts them on the current runtime. All are healthy at first.
    pub(crate) fn start() -> Result<Self, Failure> {
        let failure = |e: io::Error| Failure::new(format!("cannot start a backend: {e}"));
        let bind = |_| {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let port = listener.local_addr()?.port();
            let (state, _) = watch::channel(State::Healthy);
            Ok((listener, Arc::new(Backend { port, state, served: AtomicU64::new(0) })))
        };
        let [one, two, three] = [0, 1, 2].map(bind);
        let bound = [one.map_err(failure)?, two.map_err(failure)?, three.map_err(failure)?];
        let calm = Arc::new(AtomicBool::new(true));
        let backends = bound.map(|(listener, backend)| {
            tokio::spawn(backend.clone().listen(Some(listener)));
            backend
        });
        tokio::spawn(direct(backends.clone(), calm.clone()));
        Ok(Self { backends, calm })
    }

    /// Their ports.
    pub(crate) fn ports(&self) -> [u16; 3] {
        self.backends.each_ref().map(|backend| backend.port)
    }

    /// From now on, either all are healthy, or they fail in turn.
    pub(crate) fn calm(&self, calm: bool) {
        self.calm.store(calm, Relaxed);
    }

    /// How many requests reached them.
    pub(crate) fn served(&self) -> u64 {
        self.backends.iter().map(|b| b.served.load(Relaxed)).sum()
    }
}

/// Gives the backends their states.
async fn direct(backends: [Arc<Backend>; 3], calm: Arc<AtomicBool>) {
    for turn in TURNS.iter().cycle() {
        let end = tokio::time::Instant::now() + TURN;
        while tokio::time::Instant::now() < end {
            for (backend, state) in backends.iter().zip(turn) {
                let state = if calm.load(Relaxed) { State::Healthy } else { *state };
                backend.state.send_if_modified(|old| std::mem::replace(old, state) != state);
            }
            sleep(GLANCE).await;
        }
    }
}

// === impl Backend ===

impl Backend {
    async fn listen(self: Arc<Self>, mut bound: Option<TcpListener>) {
        loop {
            let listener = bound.take().map_or_else(|| self.bind(), Ok);
            let listener = listener.and_then(|listener| {
                listener.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(listener)
            });
            let Ok(listener) = listener else {
                sleep(GLANCE).await;
                continue;
            };
            tokio::select! {
                () = self.accept(&listener) => {}
                () = self.until(|state| state == State::Gone) => {}
            }
            drop(listener);
            self.until(|state| state != State::Gone).await;
        }
    }

    fn bind(&self) -> io::Result<TcpListener> {
        TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], self.port)))
    }

    async fn accept(self: &Arc<Self>, listener: &tokio::net::TcpListener) {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                // What ends a connection with an error here is meant to.
                tokio::spawn({
                    let backend = self.clone();
                    async move { drop(backend.serve(stream).await) }
                });
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let stream = stream.into_std()?;
        // Tells the socket how to close, while hyper owns the stream.
        let socket = stream.try_clone()?;
        let stream = TokioIo::new(TcpStream::from_std(stream)?);
        let backend = self.clone();
        let service = service_fn(move |request| backend.clone().respond(request));
        let connection = http1::Builder::new().serve_connection(stream, service);
        let reset = tokio::select! {
            served = connection => served.is_err() && self.state() != State::Healthy,
            () = self.until(|state| state == State::Gone) => true,
        };
        if reset {
            SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        }
        Ok(())
    }

    /// Receives the whole request, then sends what the state says.
    async fn respond(self: Arc<Self>, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (head, body) = request.into_parts();
        body.collect().await.map_err(io::Error::other)?;
        let turn = self.served.fetch_add(1, Relaxed);
        let (kind, size) = head.uri.path().rsplit_once('/').unwrap_or_default();
        let size = size.parse().map_err(io::Error::other)?;
        if self.state() != State::Healthy && !turn.is_multiple_of(2) {
            return Err(self.fail().await);
        }
        let (sender, body) = Channel::new(1);
        let mut response = Response::builder();
        if kind != "/chunked" {
            response = response.header("content-length", size);
        }
        if let Some(tag) = head.headers.get("x-soak") {
            response = response.header("x-soak", tag);
        }
        tokio::spawn(self.send(sender, size));
        response.body(body).map_err(io::Error::other)
    }

    /// Sends the body, or half of it and then the failure.
    async fn send(self: Arc<Self>, mut sender: Sender<Bytes, io::Error>, size: usize) {
        let is_healthy = self.state() == State::Healthy;
        let mut left = if is_healthy { size } else { size / 2 };
        while left > 0 {
            let piece = BYTES.get(..left.min(BYTES.len())).unwrap_or(&BYTES);
            if sender.send_data(Bytes::from_static(piece)).await.is_err() {
                return;
            }
            left -= piece.len();
        }
        if !is_healthy {
            sleep(HALF).await;
            sender.abort(self.fail().await);
        }
    }

    /// Waits as long as a hanging backend does. Its error ends the connection.
    async fn fail(&self) -> io::Error {
        self.until(|state| state != State::Hanging).await;
        io::ErrorKind::ConnectionReset.into()
    }

    fn state(&self) -> State {
        *self.state.borrow()
    }

    async fn until(&self, is_so: impl Fn(State) -> bool) {
        // It fails when there is no sender, and this backend holds it.
        let _ = self.state.subscribe().wait_for(|state| is_so(*state)).await;
    }
}

type Body = Channel<Bytes, io::Error>;
