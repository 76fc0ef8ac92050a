//! A backend that does what a test tells it to, and remembers everything that it saw.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use super::wire::{Message, Reader};
use super::{PATIENCE, eventually};

/// A running backend. Dropping it closes its port and its connections.
pub(crate) struct Backend {
    place: Place,
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// How a backend deals with connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Close a connection that has waited this long for a request, without a word.
    pub(crate) close_idle: Option<Duration>,
    /// Listen on this Unix socket instead of a TCP port.
    pub(crate) unix: Option<PathBuf>,
    /// Listen on this address instead of a free port of 127.0.0.1.
    pub(crate) address: Option<SocketAddr>,
    /// Speak TLS.
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// One request, as the backend saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The request. Its body is what had come when it was looked at.
    pub(crate) message: Message,
    /// The connection that it came on, from 0 in the order of accepting.
    pub(crate) connection: usize,
    /// Which request of that connection it is, from 0.
    pub(crate) nth: usize,
    /// Whether its whole body has come.
    pub(crate) whole: bool,
}

/// What the backend does with a request, step by step. The connection is kept after the last step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    ReadBody,
    /// Read until the body has at least so many bytes, then read no more.
    ReadSome(u64),
    Send(Vec<u8>),
    /// Send so many bytes of filling.
    Fill(u64),
    Wait(Duration),
    /// Wait for the other end to close.
    Hang,
    /// Wait for the other end to close without reading a byte: forever, that is.
    Stall,
    Close,
    Reset,
    /// Send back whatever comes, until the other end closes.
    Echo,
}

struct Shared {
    requests: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    handler: Box<dyn Fn(&Seen) -> Reply + Send + Sync>,
    options: Options,
}

#[derive(Clone, Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Closes by a reset rather than in peace.
    fn reset(&mut self);
}

// === impl Backend ===

impl Backend {
    /// A backend on a free port, which asks `handler` what to do as soon as it has a request's head.
    pub(crate) async fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(Options::default(), handler).await
    }

    /// A backend that responds to every request with 200 and this body.
    pub(crate) async fn saying(body: &'static str) -> Self {
        Self::start(move |_| Reply::ok(body)).await
    }

    /// A backend with options.
    pub(crate) async fn with(
        options: Options,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (listener, place) = Listener::bind(&options).await;
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            handler: Box::new(handler),
            options,
        });
        let task = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Self { place, shared, task }
    }

    /// Its address. Fails on a Unix socket.
    pub(crate) fn address(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(address) => *address,
            Place::Unix(path) => panic!("{} is not an IP address", path.display()),
        }
    }

    /// Its address as a configuration has it.
    pub(crate) fn url(&self) -> String {
        match &self.place {
            Place::Tcp(address) if self.shared.options.tls.is_some() => format!("https://{address}"),
            Place::Tcp(address) => format!("http://{address}"),
            Place::Unix(path) => format!("http+unix:{}", path.display()),
        }
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.shared.requests.lock().expect("no panic").clone()
    }

    /// How many requests there were so far.
    pub(crate) fn count(&self) -> usize {
        self.shared.requests.lock().expect("no panic").len()
    }

    /// The only request so far. Fails when there is none, or more.
    pub(crate) fn only_request(&self) -> Message {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "requests: {requests:#?}");
        requests.remove(0).message
    }

    /// The last request so far.
    pub(crate) fn last_request(&self) -> Message {
        self.requests().pop().expect("a request").message
    }

    /// How many connections were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Waits until this many requests have come.
    pub(crate) async fn until_requests(&self, count: usize) {
        eventually(PATIENCE, || self.count() >= count).await;
    }

    /// Waits until no connection is open.
    pub(crate) async fn until_all_closed(&self) {
        eventually(PATIENCE, || self.open() == 0).await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
        if let Place::Unix(path) = &self.place {
            let _ = std::fs::remove_file(path);
        }
    }
}

// === impl Seen ===

impl std::ops::Deref for Seen {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

// === impl Reply ===

impl Reply {
    /// Reads the whole request, then responds with 200 and this body.
    pub(crate) fn ok(body: &str) -> Self {
        Self::status(200, body)
    }

    /// Reads the whole request, then responds with this status and body.
    pub(crate) fn status(status: u16, body: &str) -> Self {
        let length = body.len();
        Self::bytes(format!("HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\n\r\n{body}"))
    }

    /// Reads the whole request, then responds with these bytes.
    pub(crate) fn bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self::default().read_body().send(bytes)
    }

    /// Reads the head only, and does nothing until the balancer closes.
    pub(crate) fn silence() -> Self {
        Self::default().read_body().hang()
    }

    /// Reads the whole request and closes without a response.
    pub(crate) fn hang_up() -> Self {
        Self::default().read_body().close()
    }

    /// Nothing yet: not even the body is read.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn read_body(self) -> Self {
        self.then(Step::ReadBody)
    }

    /// Reads until the body has at least so many bytes.
    pub(crate) fn read_some(self, count: u64) -> Self {
        self.then(Step::ReadSome(count))
    }

    pub(crate) fn send(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Send(bytes.as_ref().to_vec()))
    }

    /// Sends so many bytes of filling.
    pub(crate) fn fill(self, count: u64) -> Self {
        self.then(Step::Fill(count))
    }

    pub(crate) fn wait(self, time: Duration) -> Self {
        self.then(Step::Wait(time))
    }

    /// Waits for the other end to close.
    pub(crate) fn hang(self) -> Self {
        self.then(Step::Hang)
    }

    /// Reads no byte any more, and does nothing else either.
    pub(crate) fn stall(self) -> Self {
        self.then(Step::Stall)
    }

    pub(crate) fn close(self) -> Self {
        self.then(Step::Close)
    }

    pub(crate) fn reset(self) -> Self {
        self.then(Step::Reset)
    }

    /// Sends back whatever comes, until the other end closes.
    pub(crate) fn echo(self) -> Self {
        self.then(Step::Echo)
    }

    fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }
}

// === impl Listener ===

impl Listener {
    async fn bind(options: &Options) -> (Self, Place) {
        if let Some(path) = &options.unix {
            let listener = UnixListener::bind::<&Path>(path).expect("a free path");
            return (Self::Unix(listener), Place::Unix(path.clone()));
        }
        let address = options.address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        (Self::Tcp(listener), Place::Tcp(address))
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

impl Stream for tokio::net::TcpStream {
    fn reset(&mut self) {
        self.set_zero_linger().expect("a TCP option");
    }
}

impl Stream for tokio::net::UnixStream {
    fn reset(&mut self) {}
}

impl Stream for TlsStream<Box<dyn Stream>> {
    fn reset(&mut self) {
        self.get_mut().0.reset();
    }
}

/// Shakes hands, if the backend speaks TLS.
async fn secured(stream: Box<dyn Stream>, options: &Options) -> io::Result<Box<dyn Stream>> {
    match &options.tls {
        Some(config) => Ok(Box::new(TlsAcceptor::from(config.clone()).accept(stream).await?)),
        None => Ok(stream),
    }
}

async fn accept(listener: Listener, shared: Arc<Shared>) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        let stream = listener.accept().await.expect("a connection");
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        shared.open.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        connections.spawn(async move {
            let open = Open(shared);
            let Ok(stream) = secured(stream, &open.0.options).await else { return };
            let mut connection = Connection { shared: &open.0, number, reader: Reader::new(stream) };
            // A balancer that breaks off is what many tests are about.
            let _ = connection.serve().await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Counts a connection as open for as long as it lives.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Connection<'a> {
    shared: &'a Shared,
    number: usize,
    reader: Reader<Box<dyn Stream>>,
}

impl Connection<'_> {
    async fn serve(&mut self) -> io::Result<()> {
        for nth in 0.. {
            let Some(message) = self.head().await? else { break };
            let seen = Seen { message, connection: self.number, nth, whole: false };
            let index = {
                let mut requests = self.shared.requests.lock().expect("no panic");
                requests.push(seen.clone());
                requests.len() - 1
            };
            let reply = (self.shared.handler)(&seen);
            for step in reply.0 {
                if !self.act(step, index).await? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn head(&mut self) -> io::Result<Option<Message>> {
        match self.shared.options.close_idle {
            Some(limit) => tokio::time::timeout(limit, self.reader.head()).await.unwrap_or(Ok(None)),
            None => self.reader.head().await,
        }
    }

    /// Takes one step. False when it was the connection's last.
    async fn act(&mut self, step: Step, index: usize) -> io::Result<bool> {
        match step {
            Step::ReadBody => self.read_body(index).await?,
            Step::ReadSome(count) => {
                while (self.reader.buffer.len() as u64) < count && self.reader.fill().await? {}
            }
            Step::Send(bytes) => self.reader.stream.write_all(&bytes).await?,
            Step::Fill(count) => {
                let filling = [b'x'; 16 * 1024];
                let mut left = count;
                while left > 0 {
                    let most = filling.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.reader.stream.write_all(&filling[..most]).await?;
                    left -= most as u64;
                }
            }
            Step::Wait(time) => tokio::time::sleep(time).await,
            Step::Hang => {
                while self.reader.fill().await? {
                    self.reader.buffer.clear();
                }
                return Ok(false);
            }
            Step::Stall => std::future::pending().await,
            Step::Close => return Ok(false),
            Step::Reset => {
                self.reader.stream.reset();
                return Ok(false);
            }
            Step::Echo => return self.echo().await.map(|()| false),
        }
        Ok(true)
    }

    async fn read_body(&mut self, index: usize) -> io::Result<()> {
        let mut message = self.shared.requests.lock().expect("no panic")[index].message.clone();
        let framing = message.request_framing();
        let result = self.reader.body(&mut message, framing).await;
        let mut requests = self.shared.requests.lock().expect("no panic");
        requests[index].whole = message.complete;
        requests[index].message = message;
        result
    }

    async fn echo(&mut self) -> io::Result<()> {
        loop {
            let bytes = std::mem::take(&mut self.reader.buffer);
            self.reader.stream.write_all(&bytes).await?;
            let mut chunk = vec![0; 16 * 1024];
            let count = self.reader.stream.read(&mut chunk).await?;
            if count == 0 {
                return Ok(());
            }
            chunk.truncate(count);
            self.reader.buffer = chunk;
        }
    }
}
