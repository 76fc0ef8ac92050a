//! A client's connection: asks, checks what it is answered, breaks off; all of it counted. Knows nothing of when.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use socket2::SockRef;

use super::ledger::{Ledger, count};
use super::message::{self, Body, Head};

/// A connection to the proxy.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// How many requests it has carried.
    carried: u64,
    /// How many bytes were read and forgotten.
    sipped: usize,
    ledger: Arc<Ledger>,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Asked {
    text: String,
    body: Vec<u8>,
    /// How many bytes the answer's body must have.
    size: usize,
    close: bool,
}

/// Whether a connection can carry another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Open,
    Closed,
}

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It says that it has nothing more to send, and soon after that it is gone.
    Fin,
    /// It is gone at once.
    Reset,
}

/// The longest silence that a client bears: longer than any of the proxy's timeouts.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells each request's answer from all others.
static TAG: AtomicU64 = AtomicU64::new(0);

// === impl Connection ===

impl Connection {
    /// Connects.
    pub(crate) fn open(address: SocketAddr, ledger: Arc<Ledger>) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new(), carried: 0, sipped: 0, ledger })
    }

    /// Lets only little of an answer be on its way, so that a slow reader is one.
    pub(crate) fn narrow(&self) {
        // Without it, the system keeps more: the same, only later.
        let _ = SockRef::from(&self.stream).set_recv_buffer_size(16 * 1024);
    }

    /// A request and its whole answer.
    pub(crate) fn exchange(&mut self, asked: &Asked) -> After {
        if self.carried > 0 && self.is_closed() {
            return After::Closed;
        }
        let tag = TAG.fetch_add(1, Relaxed);
        let sent = self.write(asked, tag);
        // Also after a write that failed: the answer may have come before the end of the request.
        let head =
            message::head(&mut self.received, &mut |received| message::read(&mut self.stream, received));
        let Ok(head) = head else {
            let crossed = self.carried > 1 && self.received.is_empty();
            count(if crossed { &self.ledger.crossed } else { &self.ledger.unanswered });
            return After::Closed;
        };
        let body = head.body.clone().unwrap_or(Body::Length(0));
        let size = message::body(&body, &mut self.received, &mut |received| {
            message::read(&mut self.stream, received)
        });
        let Ok(size) = size else {
            count(&self.ledger.cut);
            return After::Closed;
        };
        self.judge(asked, tag, &head, size);
        if sent && !head.close && !asked.close { After::Open } else { After::Closed }
    }

    /// Sends a request. Says whether all of it could be sent.
    pub(crate) fn send(&mut self, asked: &Asked) -> bool {
        let tag = TAG.fetch_add(1, Relaxed);
        self.write(asked, tag)
    }

    /// Sends a part of a request.
    pub(crate) fn send_part(&mut self, part: &[u8]) {
        count(&self.ledger.begun);
        // Whoever does not take it will not count it either, and that is found out at the end.
        let _ = self.stream.write_all(part);
    }

    /// Reads once, and forgets what. Says whether there was something.
    pub(crate) fn sip(&mut self) -> bool {
        self.received.clear();
        let sipped = message::read(&mut self.stream, &mut self.received).is_ok();
        self.sipped += self.received.len();
        sipped
    }

    /// Reads to the end of the connection. Gives how many bytes came over it in all, heads included.
    pub(crate) fn finish(mut self) -> usize {
        while self.sip() {}
        self.sipped
    }

    /// Leaves.
    pub(crate) fn abort(self, end: End) {
        match end {
            End::Reset => {
                let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
            }
            End::Fin => {
                let _ = self.stream.shutdown(Shutdown::Write);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn write(&mut self, asked: &Asked, tag: u64) -> bool {
        count(&self.ledger.begun);
        self.carried += 1;
        let head = format!("{}x-soak: {tag}\r\n\r\n", asked.text);
        self.stream.write_all(head.as_bytes()).and_then(|()| self.stream.write_all(&asked.body)).is_ok()
    }

    /// Whether the other side has closed, or has sent what nobody asked for.
    fn is_closed(&self) -> bool {
        let peeked = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        let open = peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).is_err() || !open
    }

    fn judge(&self, asked: &Asked, tag: u64, head: &Head, size: usize) {
        match head.status() {
            Some(200) if size != asked.size => {
                self.ledger.wrong(format!("{size} bytes instead of {}: {:?}", asked.size, head.start));
            }
            Some(200) if head.tag.as_deref() != Some(tag.to_string().as_str()) => {
                self.ledger.wrong(format!("request {tag} got the answer to {:?}", head.tag));
            }
            Some(200) => count(&self.ledger.successes),
            Some(502..=504) => count(&self.ledger.failures),
            _ => self.ledger.wrong(format!("{:?} to {:?}", head.start, asked.text.lines().next())),
        }
    }
}

// === impl Asked ===

impl Asked {
    /// `GET` of a path that ends with the size of the answer.
    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path, "", Vec::new())
    }

    /// `POST` with a body of this size, in chunks or with its length.
    pub(crate) fn post(path: &str, size: usize, chunked: bool) -> Self {
        let body = vec![b'x'; size];
        if !chunked {
            return Self::new("POST", path, &format!("Content-Length: {size}\r\n"), body);
        }
        let mut chunks = Vec::new();
        for chunk in body.chunks(1000) {
            chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            chunks.extend_from_slice(chunk);
            chunks.extend_from_slice(b"\r\n");
        }
        chunks.extend_from_slice(b"0\r\n\r\n");
        Self::new("POST", path, "Transfer-Encoding: chunked\r\n", chunks)
    }

    /// The same, as the last on its connection.
    pub(crate) fn closing(mut self) -> Self {
        self.text.push_str("Connection: close\r\n");
        self.close = true;
        self
    }

    fn new(method: &str, path: &str, fields: &str, body: Vec<u8>) -> Self {
        let size = path.rsplit('/').next().and_then(|size| size.parse().ok()).unwrap_or(0);
        let text = format!("{method} {path} HTTP/1.1\r\nHost: soak\r\n{fields}");
        Self { text, body, size, close: false }
    }
}
