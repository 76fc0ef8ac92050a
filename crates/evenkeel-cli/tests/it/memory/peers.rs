//! Both ends of large bodies: they count bytes and keep none, on threads of their own, so that the program in between is
//! what costs time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How the length of a body is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length,
    Chunked,
}

/// A backend that sends as much as requested (`GET /length/1000`, `GET /chunked/1000`), and reports how much it
/// received.
pub(super) struct Source {
    pub(super) address: SocketAddr,
    /// Bytes of bodies that it could send so far.
    pub(super) sent: Arc<AtomicU64>,
}

/// A connection to the balancer.
pub(super) struct Client(BufReader<TcpStream>);

const BLOCK: usize = 64 * 1024;
/// Long enough for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a backend. Its threads end with the process.
pub(super) fn backend() -> Source {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let counter = counter.clone();
            std::thread::spawn(move || {
                stream.set_nodelay(true).expect("a TCP option");
                let mut stream = BufReader::with_capacity(BLOCK, stream);
                while serve(&mut stream, &counter).is_some() {}
            });
        }
    });
    Source { address, sent }
}

/// Serves one request. `None` when there is none any more.
fn serve(stream: &mut BufReader<TcpStream>, sent: &AtomicU64) -> Option<()> {
    let head = head(stream)?;
    if head[0].starts_with("post") {
        let received = body(stream, &head)?.to_string();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{received}", received.len());
        return stream.get_mut().write_all(answer.as_bytes()).ok();
    }
    let target = head[0].split(' ').nth(1)?;
    let (framing, size) = target.trim_start_matches('/').split_once('/')?;
    let size: u64 = size.parse().ok()?;
    let framing = if framing == "chunked" { Framing::Chunked } else { Framing::Length };
    let head = format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", field(framing, size));
    stream.get_mut().write_all(head.as_bytes()).ok()?;
    send(stream.get_mut(), framing, size, |count| {
        sent.fetch_add(count, Relaxed);
    })
}

// === impl Client ===

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the balancer accepts");
        stream.set_nodelay(true).expect("a TCP option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream.set_write_timeout(Some(PATIENCE)).expect("a limit");
        Self(BufReader::new(stream))
    }

    /// Sends a body of this size; gives how much the backend says that it got.
    pub(super) fn upload(&mut self, framing: Framing, size: u64) -> u64 {
        let head = format!("POST / HTTP/1.1\r\nhost: test\r\n{}\r\n\r\n", field(framing, size));
        self.0.get_mut().write_all(head.as_bytes()).expect("the head is taken");
        send(self.0.get_mut(), framing, size, |_| {}).expect("the body is taken");
        let head = head_of_200(&mut self.0);
        let mut said = vec![0; length(&head).expect("a length").try_into().expect("small")];
        self.0.read_exact(&mut said).expect("a body");
        String::from_utf8_lossy(&said).parse().expect("a number")
    }

    /// Asks for a body of this size; gives how much of it came.
    pub(super) fn download(&mut self, framing: Framing, size: u64) -> u64 {
        self.ask_for(framing, size);
        self.receive(framing)
    }

    pub(super) fn ask_for(&mut self, framing: Framing, size: u64) {
        let framing = if framing == Framing::Chunked { "chunked" } else { "length" };
        let request = format!("GET /{framing}/{size} HTTP/1.1\r\nhost: test\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).expect("the request is taken");
    }

    pub(super) fn receive(&mut self, framing: Framing) -> u64 {
        let head = head_of_200(&mut self.0);
        assert_eq!(length(&head).is_none(), framing == Framing::Chunked, "{head:?}");
        body(&mut self.0, &head).expect("a whole body")
    }

    pub(super) fn until_closed(&mut self) {
        let count = self.0.read(&mut [0]).expect("a close in peace");
        assert_eq!(count, 0, "unsolicited bytes");
    }
}

fn field(framing: Framing, size: u64) -> String {
    match framing {
        Framing::Length => format!("content-length: {size}"),
        Framing::Chunked => "transfer-encoding: chunked".to_owned(),
    }
}

fn send(stream: &mut TcpStream, framing: Framing, size: u64, count: impl Fn(u64)) -> Option<()> {
    // One write a chunk.
    let frame = format!("{BLOCK:x}\r\n");
    let mut whole = frame.clone().into_bytes();
    whole.resize(frame.len() + BLOCK, b'x');
    whole.extend_from_slice(b"\r\n");
    let data = frame.len()..frame.len() + BLOCK;
    let mut left = size;
    while left > 0 {
        let most = left.min(BLOCK as u64);
        let part = usize::try_from(most).expect("at most a block");
        match framing {
            Framing::Length => stream.write_all(&whole[data.clone()][..part]).ok()?,
            Framing::Chunked if part == BLOCK => stream.write_all(&whole).ok()?,
            Framing::Chunked => {
                let chunk =
                    [format!("{part:x}\r\n").as_bytes(), &whole[data.clone()][..part], b"\r\n"].concat();
                stream.write_all(&chunk).ok()?;
            }
        }
        count(most);
        left -= most;
    }
    match framing {
        Framing::Length => Some(()),
        Framing::Chunked => stream.write_all(b"0\r\n\r\n").ok(),
    }
}

fn head(stream: &mut impl BufRead) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        match line(stream)? {
            line if line.is_empty() => return Some(lines),
            line => lines.push(line.to_ascii_lowercase()),
        }
    }
}

fn head_of_200(stream: &mut impl BufRead) -> Vec<String> {
    let head = head(stream).expect("a response");
    assert!(head[0].starts_with("http/1.1 200"), "{head:?}");
    head
}

fn line(stream: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|count| *count > 0)?;
    Some(line.trim_end().to_owned())
}

fn length(head: &[String]) -> Option<u64> {
    head.iter().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
}

/// Reads a body and gives how long it was. `None` when it is broken off.
fn body(stream: &mut impl BufRead, head: &[String]) -> Option<u64> {
    if let Some(length) = length(head) {
        return skip(stream, length).then_some(length);
    }
    let mut total = 0;
    loop {
        let size = u64::from_str_radix(&line(stream)?, 16).ok()?;
        if !skip(stream, size) || !line(stream)?.is_empty() {
            return None;
        }
        if size == 0 {
            return Some(total);
        }
        total += size;
    }
}

fn skip(stream: &mut impl BufRead, mut count: u64) -> bool {
    while count > 0 {
        let most = match stream.fill_buf() {
            Ok(bytes) if !bytes.is_empty() => bytes.len().min(usize::try_from(count).unwrap_or(usize::MAX)),
            _ => return false,
        };
        stream.consume(most);
        count -= most as u64;
    }
    true
}
