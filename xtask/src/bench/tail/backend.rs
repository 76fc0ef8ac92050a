//! The backends: one process, a port each, and for each how long it takes to answer, which may change at any time. Knows
//! nothing of who asks.
//!
//! Every answer names its port, so that shares can be counted by whoever asked. A connection has a thread that reads,
//! sleeps and writes: at a thousand requests a second that is cheap, and it is exact.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::clock;
use crate::failure::Failure;

/// The field of an answer that names its port.
pub(crate) const NAME: &str = "x-backend";

/// A head larger than this ends its connection.
const MAX_HEAD: usize = 16 * 1024;

/// Of each thread: what they do needs little, and there may be many.
const STACK: usize = 128 * 1024;

/// How long an order may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves these ports for ever. Until told otherwise, each answers at once.
pub(crate) fn serve(ports: &[String]) -> Result<(), Failure> {
    clock::sharpen();
    let mut listening = Vec::new();
    for port in ports {
        let port = port.parse().map_err(|_| Failure::usage(format!("{port:?} is no port")))?;
        let listener = TcpListener::bind(("127.0.0.1", port));
        let listener = listener.map_err(|e| Failure::new(format!("cannot listen on port {port}: {e}")))?;
        listening.push(thread::spawn(move || accept(&listener, port)));
    }
    listening.into_iter().for_each(|thread| {
        // None of them ever ends.
        let _ = thread.join();
    });
    Ok(())
}

/// Tells the backend on this port to take so long for each request from now on.
pub(crate) fn set_delay(port: u16, delay: Duration) -> Result<(), Failure> {
    let failure = |e: io::Error| Failure::new(format!("the backend on port {port} takes no order: {e}"));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(failure)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failure)?;
    write!(stream, "GET {ORDER}{} HTTP/1.1\r\nHost: backend\r\n\r\n", delay.as_micros()).map_err(failure)?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).map_err(failure)?;
    if status == *b"HTTP/1.1 200" {
        Ok(())
    } else {
        Err(Failure::new(format!("the backend on port {port} refuses an order")))
    }
}

/// A path that begins so, with microseconds behind, is an order, and answered at once.
const ORDER: &str = "/delay/";

/// Whether to wait before an answer, or to change how long the next ones wait.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Answer,
    Delay(u64),
    Nonsense,
}

fn accept(listener: &TcpListener, port: u16) {
    let delay = Arc::new(AtomicU64::new(0));
    for stream in listener.incoming().filter_map(Result::ok) {
        let delay = Arc::clone(&delay);
        // A connection that gets no thread is closed, which its client counts as a failure.
        let _ = thread::Builder::new().stack_size(STACK).spawn(move || {
            // A client that leaves ends its connection, and that is all there is to it.
            let _ = converse(stream, port, &delay);
        });
    }
}

fn converse(mut stream: TcpStream, port: u16, delay: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let answer = format!("HTTP/1.1 200 OK\r\n{NAME}: {port}\r\ncontent-length: 3\r\n\r\nok\n");
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let Some(end) = end_of_head(&received) else {
            let read = stream.read(&mut chunk)?;
            received.extend_from_slice(chunk.get(..read).unwrap_or_default());
            if read == 0 || received.len() > MAX_HEAD {
                return Ok(());
            }
            continue;
        };
        let arrived = Instant::now();
        match asked(&received) {
            Asked::Answer => clock::sleep_until(arrived + Duration::from_micros(delay.load(Relaxed))),
            Asked::Delay(micros) => delay.store(micros, Relaxed),
            Asked::Nonsense => return Ok(()),
        }
        stream.write_all(answer.as_bytes())?;
        if closes(&received) {
            return Ok(());
        }
        received.drain(..end);
    }
}

/// Where the first head ends, once it is whole.
pub(crate) fn end_of_head(received: &[u8]) -> Option<usize> {
    received.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

fn asked(head: &[u8]) -> Asked {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let Some(path) = str::from_utf8(line).ok().and_then(|line| line.split(' ').nth(1)) else {
        return Asked::Nonsense;
    };
    match path.strip_prefix(ORDER).map(str::parse) {
        None => Asked::Answer,
        Some(Ok(micros)) => Asked::Delay(micros),
        Some(Err(_)) => Asked::Nonsense,
    }
}

fn closes(head: &[u8]) -> bool {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.any(|line| line.eq_ignore_ascii_case(b"connection: close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_told_from_a_request() {
        assert_eq!(asked(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Asked::Answer);
        assert_eq!(asked(b"GET /delay/1500 HTTP/1.1\r\n\r\n"), Asked::Delay(1500));
        assert_eq!(asked(b"GET /delay/soon HTTP/1.1\r\n\r\n"), Asked::Nonsense);
        assert_eq!(asked(b"\xff\r\n\r\n"), Asked::Nonsense);
        assert!(closes(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n") && !closes(b"GET / HTTP/1.1\r\n\r\n"));
    }

    #[test]
    fn an_answer_takes_as_long_as_was_ordered_and_names_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || accept(&listener, port));
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut ask = || {
            let start = Instant::now();
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            let (mut received, mut chunk) = (Vec::new(), [0; 512]);
            while !received.ends_with(b"ok\n") {
                let read = client.read(&mut chunk).unwrap();
                received.extend_from_slice(&chunk[..read]);
            }
            assert!(String::from_utf8(received).unwrap().contains(&format!("x-backend: {port}\r\n")));
            start.elapsed()
        };
        ask();
        set_delay(port, Duration::from_millis(120)).unwrap();
        assert!(ask() >= Duration::from_millis(120));
        set_delay(port, Duration::ZERO).unwrap();
        assert!(ask() < Duration::from_millis(120));
    }
}
