//! Backends that die and come back: listeners in this process, a thread a connection. Knows nothing of who asks.
//!
//! `/bytes/N` is answered with N bytes of `x` and a length, `/chunked/N` with the same in chunks; `x-soak` is sent back as
//! it came.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::message::{self, Body, Head};
use crate::failure::Failure;

/// Three backends, and the one who decides how they are.
#[derive(Debug)]
pub(crate) struct Backends {
    backends: [Arc<Backend>; 3],
    calm: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Backend {
    port: u16,
    state: AtomicU8,
    served: AtomicU64,
    stop: Arc<AtomicBool>,
}

/// How a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    Well,
    /// Nobody listens, and connections are reset.
    Gone,
    /// Requests are answered by half an answer and a reset, or by a reset alone.
    Resetting,
    /// Requests are answered by half an answer and silence, or by silence alone.
    Hanging,
}

/// How the three are, one line after another.
const TURNS: [[State; 3]; 8] = {
    use State::{Gone, Hanging, Resetting, Well};
    [
        [Well, Well, Well],
        [Gone, Well, Well],
        [Well, Resetting, Well],
        [Well, Well, Hanging],
        [Gone, Resetting, Well],
        [Well, Well, Well],
        [Hanging, Gone, Resetting],
        [Gone, Gone, Gone],
    ]
};

/// How long each line lasts.
const TURN: Duration = Duration::from_secs(4);

/// How often a waiting thread looks whether it is still to wait.
const GLANCE: Duration = Duration::from_millis(100);

/// How long a client, or the proxy, may leave a connection alone, or not take what is sent.
const PATIENCE: Duration = Duration::from_secs(15);

// === impl Backends ===

impl Backends {
    /// Starts them on these ports.
    pub(crate) fn start(ports: [u16; 3]) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let calm = Arc::new(AtomicBool::new(true));
        let backends = ports.map(|port| {
            let stop = stop.clone();
            Arc::new(Backend { port, state: AtomicU8::new(0), served: AtomicU64::new(0), stop })
        });
        let mut threads = Vec::new();
        for backend in backends.clone() {
            let listener = backend.bind().map_err(|e| Failure::new(format!("cannot bind a backend: {e}")))?;
            threads.push(std::thread::spawn(move || backend.listen(listener)));
        }
        let (directed, calm_now, stop_now) = (backends.clone(), calm.clone(), stop.clone());
        threads.push(std::thread::spawn(move || direct(&directed, &calm_now, &stop_now)));
        Ok(Self { backends, calm, stop, threads })
    }

    /// Whether all are well, from now on, or each has its turn.
    pub(crate) fn calm(&self, calm: bool) {
        self.calm.store(calm, Relaxed);
    }

    /// How many requests reached them.
    pub(crate) fn served(&self) -> u64 {
        self.backends.iter().map(|b| b.served.load(Relaxed)).sum()
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Gives the backends their turns.
fn direct(backends: &[Arc<Backend>; 3], calm: &AtomicBool, stop: &AtomicBool) {
    let mut turns = TURNS.iter().cycle();
    let (mut turn, mut since) = (turns.next(), Instant::now());
    while !stop.load(Relaxed) {
        if since.elapsed() > TURN {
            (turn, since) = (turns.next(), Instant::now());
        }
        for (backend, state) in backends.iter().zip(turn.into_iter().flatten()) {
            let state = if calm.load(Relaxed) { State::Well } else { *state };
            backend.state.store(state as u8, Relaxed);
        }
        std::thread::sleep(GLANCE);
    }
}

// === impl Backend ===

impl Backend {
    fn state(&self) -> State {
        let states = [State::Well, State::Gone, State::Resetting, State::Hanging];
        states.get(usize::from(self.state.load(Relaxed))).copied().unwrap_or(State::Well)
    }

    fn bind(&self) -> io::Result<TcpListener> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], self.port)))?;
        // A time to accept within, so that nobody waits for a connection that does not come.
        SockRef::from(&listener).set_read_timeout(Some(GLANCE))?;
        Ok(listener)
    }

    fn listen(self: Arc<Self>, listener: TcpListener) {
        let mut listening = Some(listener);
        while !self.stop.load(Relaxed) {
            if self.state() == State::Gone {
                listening = None;
                std::thread::sleep(GLANCE);
                continue;
            }
            let Some(listener) = &listening else {
                listening = self.bind().ok();
                continue;
            };
            if let Ok((stream, _)) = listener.accept() {
                let backend = self.clone();
                let thread = std::thread::Builder::new().stack_size(256 * 1024);
                // Without a thread there is no answer, only a closed connection: one more fault.
                let _ = thread.spawn(move || backend.serve(stream));
            }
        }
    }

    fn serve(&self, mut stream: TcpStream) {
        let timeouts = [stream.set_read_timeout(Some(GLANCE)), stream.set_write_timeout(Some(PATIENCE))];
        if timeouts.iter().any(Result::is_err) || stream.set_nodelay(true).is_err() {
            return;
        }
        let mut received = Vec::new();
        while let Ok(head) = self.next_request(&mut stream, &mut received) {
            let turn = self.served.fetch_add(1, Relaxed);
            if self.answer(&mut stream, &head, turn).is_err() {
                break;
            }
        }
        if matches!(self.state(), State::Gone | State::Resetting) {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Reads a request with its body. Fails when there is none to come.
    fn next_request(&self, stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<Head> {
        let mut more = |received: &mut Vec<u8>| self.read(stream, received);
        let head = message::head(received, &mut more)?;
        let body = head.body.clone().unwrap_or(Body::Length(0));
        message::body(&body, received, &mut more)?;
        Ok(head)
    }

    /// Reads once, as long as this backend is to live.
    fn read(&self, stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<()> {
        let start = Instant::now();
        loop {
            match message::read(stream, received) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            let ended = self.state() == State::Gone || self.stop.load(Relaxed);
            if ended || start.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    fn answer(&self, stream: &mut TcpStream, head: &Head, turn: u64) -> io::Result<()> {
        let answer = Answer::to(head);
        match self.state() {
            State::Well => answer.send(stream, answer.size),
            State::Gone => Err(io::ErrorKind::ConnectionReset.into()),
            State::Resetting => {
                if turn.is_multiple_of(2) {
                    answer.send(stream, answer.size / 2)?;
                }
                Err(io::ErrorKind::ConnectionReset.into())
            }
            State::Hanging => {
                if turn.is_multiple_of(2) {
                    answer.send(stream, answer.size / 2)?;
                }
                // Silence, until the other side has had enough. What it sends meanwhile is of no interest.
                while self.state() == State::Hanging {
                    self.read(stream, &mut Vec::new())?;
                }
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }
}

/// An answer to a request.
#[derive(Debug)]
struct Answer {
    head: String,
    size: usize,
    chunked: bool,
}

// === impl Answer ===

impl Answer {
    fn to(head: &Head) -> Self {
        let target = head.start.split(' ').nth(1).unwrap_or_default();
        let (kind, size) = target.rsplit_once('/').unwrap_or_default();
        let (size, chunked) = (size.parse().unwrap_or(0), kind == "/chunked");
        let framing =
            if chunked { "transfer-encoding: chunked".to_owned() } else { format!("content-length: {size}") };
        let tag = head.tag.as_deref().unwrap_or_default();
        Self { head: format!("HTTP/1.1 200 OK\r\n{framing}\r\nx-soak: {tag}\r\n\r\n"), size, chunked }
    }

    /// Sends the head and this much of the body; the end, too, if that is all of it.
    fn send(&self, stream: &mut TcpStream, size: usize) -> io::Result<()> {
        static BYTES: [u8; 16 * 1024] = [b'x'; 16 * 1024];
        let mut out = self.head.clone().into_bytes();
        let mut left = size;
        while left > 0 {
            let piece = BYTES.get(..left.min(BYTES.len())).unwrap_or(&BYTES);
            if self.chunked {
                write!(out, "{:X}\r\n", piece.len())?;
            }
            out.extend_from_slice(piece);
            if self.chunked {
                out.extend_from_slice(b"\r\n");
            }
            stream.write_all(&out)?;
            out.clear();
            left -= piece.len();
        }
        if self.chunked && size == self.size {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        stream.write_all(&out)
    }
}
