//! The clients: a thread each, at a bounded rate, until they are told to end. Knows nothing of what is behind the address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::connection::{After, Asked, Connection, End};
use super::ledger::{Ledger, count};

/// All clients. Dropping it ends them; each takes no longer than its patience.
#[derive(Debug)]
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What every client knows.
#[derive(Clone, Debug)]
struct Client {
    /// Which of its kind it is.
    number: u64,
    address: SocketAddr,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
}

/// What a client does until it is over.
type Kind = fn(&Client);

/// Each kind of client, and how many of them there are.
const KINDS: [(Kind, u64); 4] = [(kept, 12), (churning, 4), (slow, 12), (aborting, 6)];

/// How many requests one connection carries at most.
const REQUESTS: u64 = 200;

// === impl Clients ===

impl Clients {
    /// Starts all of them.
    pub(crate) fn start(address: SocketAddr, ledger: &Arc<Ledger>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (kind, how_many) in KINDS {
            for number in 0..how_many {
                let client = Client { number, address, ledger: ledger.clone(), stop: stop.clone() };
                threads.push(std::thread::spawn(move || kind(&client)));
            }
        }
        Self { stop, threads }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

// === kinds ===

/// Many requests of all sorts over kept connections.
fn kept(client: &Client) {
    let mut turn = client.number;
    while let Some(mut connection) = client.connect() {
        for _ in 0..REQUESTS {
            turn += 1;
            let asked = match turn % 8 {
                0 => Asked::get(&format!("/bytes/{}", 64 * 1024)),
                1 => Asked::get(&format!("/chunked/{}", 40_000)),
                2 => Asked::post("/bytes/16", 16 * 1024, false),
                3 => Asked::post("/chunked/16", 5_000, true),
                _ => Asked::get("/bytes/16"),
            };
            if connection.exchange(&asked) == After::Closed || client.is_over() {
                break;
            }
            pause(10);
        }
    }
}

/// A connection for every request.
fn churning(client: &Client) {
    while let Some(mut connection) = client.connect() {
        connection.exchange(&Asked::get("/bytes/16").closing());
        drop(connection);
        pause(8);
    }
}

/// Large answers, taken in sips; some are never finished.
fn slow(client: &Client) {
    const LARGE: usize = 4 * 1024 * 1024;
    let mut turn = client.number;
    while let Some(mut connection) = client.connect() {
        turn += 1;
        connection.narrow();
        if !connection.send(&Asked::get(&format!("/bytes/{LARGE}")).closing()) {
            count(&client.ledger.unanswered);
            continue;
        }
        let (start, sipping) = (Instant::now(), Duration::from_millis(500 + turn % 4 * 500));
        let mut open = true;
        while open && start.elapsed() < sipping && !client.is_over() {
            open = connection.sip();
            pause(5);
        }
        if turn.is_multiple_of(4) {
            let whole = connection.finish() > LARGE;
            count(if whole { &client.ledger.successes } else { &client.ledger.cut });
            continue;
        }
        count(&client.ledger.cut);
        match turn % 4 {
            // Longer than the proxy lets a client take nothing: it must be the one that ends this.
            1 => client.wait(Duration::from_secs(5)),
            2 => connection.abort(End::Fin),
            _ => connection.abort(End::Reset),
        }
    }
}

/// Requests broken off in the head, in the body, before the answer and in it, by FIN and by RST.
fn aborting(client: &Client) {
    let mut turn = client.number;
    while let Some(mut connection) = client.connect() {
        turn += 1;
        let large = format!("/bytes/{}", 1024 * 1024);
        match turn % 4 {
            0 => connection.send_part(b"GET /bytes/16 HTTP/1.1\r\nHos"),
            1 => connection
                .send_part(b"POST /bytes/16 HTTP/1.1\r\nHost: soak\r\nContent-Length: 100000\r\n\r\nxxxx"),
            2 => connection.send_part(b"GET /bytes/16 HTTP/1.1\r\nHost: soak\r\n\r\n"),
            _ => {
                if connection.send(&Asked::get(&large)) {
                    connection.sip();
                }
            }
        }
        pause(turn / 4 % 5 * 5);
        connection.abort(if (turn / 8).is_multiple_of(2) { End::Fin } else { End::Reset });
        count(&client.ledger.unanswered);
        pause(20);
    }
}

fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

// === impl Client ===

impl Client {
    fn is_over(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// A fresh connection, or none when it is time to end.
    fn connect(&self) -> Option<Connection> {
        while !self.is_over() {
            match Connection::open(self.address, self.ledger.clone()) {
                Ok(connection) => return Some(connection),
                Err(_) => count(&self.ledger.refused),
            }
            pause(50);
        }
        None
    }

    fn wait(&self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time && !self.is_over() {
            pause(50);
        }
    }
}
