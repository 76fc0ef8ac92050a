//! The backend: one thread, readiness events, answers made beforehand. Knows nothing of HTTP beyond where a head ends,
//! how long a body is, and whether to close.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// The body of `/small`.
pub(crate) const SMALL: &[u8] = b"Hello, evenkeel";

/// Serves `127.0.0.1` on these ports for ever; calls `ready` once all are bound.
///
/// # Errors
/// When a port cannot be bound, or polling fails. A broken connection is closed and forgotten.
pub(crate) fn serve(ports: &[u16], ready: impl FnOnce()) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listeners = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], *port)))?;
        poll.registry().register(&mut listener, Token(index), Interest::READABLE)?;
        listeners.push(listener);
    }
    ready();

    let answers = Answers::new();
    let mut connections: HashMap<Token, Connection> = HashMap::new();
    let mut next = listeners.len();
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if let Some(listener) = listeners.get(event.token().0) {
                while let Ok((mut stream, _)) = listener.accept() {
                    let token = Token(next);
                    next += 1;
                    // Edge-triggered, so both interests at once cost nothing and no connection is ever registered again.
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    if stream.set_nodelay(true).is_ok()
                        && poll.registry().register(&mut stream, token, interest).is_ok()
                    {
                        connections.insert(token, Connection::new(stream));
                    }
                }
            } else if let Some(connection) = connections.get_mut(&event.token())
                && connection.woken(event.is_read_closed(), &answers).is_err()
            {
                connections.remove(&event.token());
            }
        }
    }
}

/// Every answer that there is, head and body in one piece.
struct Answers {
    small: Vec<u8>,
    medium: Vec<u8>,
    large: Vec<u8>,
    missing: Vec<u8>,
}

/// A connection, and how far it is.
struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// Bytes of a request's body that are still to come, to be thrown away.
    body_left: u64,
    /// The answer being sent, and how much of it has been.
    sending: Option<(Which, usize)>,
    close: bool,
    /// Whether the socket has nothing to read until its next event: saves a read that would only say so.
    drained: bool,
    peer_closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Small,
    Medium,
    Large,
    Missing,
}

/// What the backend must know of a request.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    answer: Which,
    head_length: usize,
    body_length: u64,
    close: bool,
}

/// A head larger than this ends the connection.
const MAX_HEAD: usize = 64 * 1024;

// === impl Answers ===

impl Answers {
    fn new() -> Self {
        Self {
            small: answer("200 OK", SMALL),
            medium: answer("200 OK", &vec![b'x'; 64 * 1024]),
            large: answer("200 OK", &vec![b'x'; 1024 * 1024]),
            missing: answer("404 Not Found", b""),
        }
    }

    fn bytes(&self, which: Which) -> &[u8] {
        match which {
            Which::Small => &self.small,
            Which::Medium => &self.medium,
            Which::Large => &self.large,
            Which::Missing => &self.missing,
        }
    }
}

// === impl Connection ===

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let received = Vec::new();
        Self {
            stream,
            received,
            body_left: 0,
            sending: None,
            close: false,
            drained: false,
            peer_closed: false,
        }
    }

    fn woken(&mut self, peer_closed: bool, answers: &Answers) -> io::Result<()> {
        self.drained = false;
        self.peer_closed |= peer_closed;
        self.advance(answers)
    }

    /// Goes as far as the socket lets it. An error ends the connection.
    fn advance(&mut self, answers: &Answers) -> io::Result<()> {
        loop {
            self.discard_body();
            if !self.send(answers)? {
                return Ok(());
            }
            if self.body_left == 0
                && let Some(request) = Request::find(&self.received)
            {
                self.received.drain(..request.head_length);
                self.body_left = request.body_length;
                self.close = request.close;
                self.sending = Some((request.answer, 0));
                // The answer to a request with a body waits for the body's end, some of which may be here.
                continue;
            }
            if !self.receive()? {
                return Ok(());
            }
        }
    }

    /// Sends what there is to send once the request's body is in. Says whether nothing is left.
    fn send(&mut self, answers: &Answers) -> io::Result<bool> {
        while self.body_left == 0
            && let Some((which, sent)) = self.sending
        {
            let rest = answers.bytes(which).get(sent..).unwrap_or_default();
            if rest.is_empty() {
                self.sending = None;
                if self.close {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                break;
            }
            match self.stream.write(rest) {
                Ok(written) => self.sending = Some((which, sent + written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn discard_body(&mut self) {
        let here = self.received.len().min(usize::try_from(self.body_left).unwrap_or(usize::MAX));
        self.received.drain(..here);
        self.body_left -= here as u64;
    }

    /// Reads once. Says whether there was something.
    fn receive(&mut self) -> io::Result<bool> {
        if self.drained {
            return Ok(false);
        }
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                // An end of stream that came with these bytes brings no event of its own.
                self.drained = read < chunk.len() && !self.peer_closed;
                self.received.extend_from_slice(chunk.get(..read).unwrap_or_default());
                if self.received.len() > MAX_HEAD && self.body_left == 0 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

// === impl Request ===

impl Request {
    /// The request at the start of `received`, if its head is complete.
    fn find(received: &[u8]) -> Option<Self> {
        let head_length = received.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = received.get(..head_length)?;
        let mut lines = head.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
        let path = lines.next()?.split(|b| *b == b' ').nth(1).unwrap_or_default();
        let answer = match path {
            b"/small" => Which::Small,
            b"/64k" => Which::Medium,
            b"/1m" => Which::Large,
            _ => Which::Missing,
        };
        let mut request = Self { answer, head_length, body_length: 0, close: false };
        for line in lines {
            if let Some(value) = field(line, b"content-length") {
                request.body_length = std::str::from_utf8(value).ok()?.parse().ok()?;
            } else if let Some(value) = field(line, b"connection") {
                request.close = value.eq_ignore_ascii_case(b"close");
            }
        }
        Some(request)
    }
}

/// The value of the field in `line`, if it has this name.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    if line.get(name.len()) != Some(&b':') || !line.get(..name.len())?.eq_ignore_ascii_case(name) {
        return None;
    }
    line.get(name.len() + 1..).map(<[u8]>::trim_ascii)
}

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_found_once_its_head_is_complete() {
        assert_eq!(Request::find(b"GET /small HTTP/1.1\r\nHost: a\r\n"), None);
        let head = b"POST /64k HTTP/1.1\r\nContent-Length: 12\r\nConnection: Close\r\n\r\n";
        let found = Request { answer: Which::Medium, head_length: head.len(), body_length: 12, close: true };
        assert_eq!(Request::find(head), Some(found));
    }

    #[test]
    fn an_unknown_path_is_missing() {
        assert_eq!(Request::find(b"GET / HTTP/1.1\r\n\r\n").map(|r| r.answer), Some(Which::Missing));
    }

    #[test]
    fn a_body_that_comes_in_pieces_is_answered_once_it_is_whole() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).unwrap();
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || serve(&[free.port()], || ready.send(()).unwrap()));
        is_ready.recv().unwrap();
        let mut client = std::net::TcpStream::connect(free).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        client.set_nodelay(true).unwrap();
        for _ in 0..2 {
            client.write_all(b"POST /small HTTP/1.1\r\nContent-Length: 40000\r\n\r\n").unwrap();
            for _ in 0..4 {
                client.write_all(&[b'x'; 10_000]).unwrap();
            }
            let mut answer = vec![0; Answers::new().small.len()];
            client.read_exact(&mut answer).unwrap();
            assert!(answer.ends_with(SMALL));
        }
    }

    #[test]
    fn an_answer_tells_its_length() {
        assert!(answer("200 OK", SMALL).ends_with(b"content-length: 15\r\n\r\nHello, evenkeel"));
    }
}
