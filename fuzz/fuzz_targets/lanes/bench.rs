//! A balancer between a client and a strict backend.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use evenkeel::Server;
use evenkeel::config::{Config, ListenAddress};
use evenkeel::status::State;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::input::Input;
use super::origin::{Origin, Seen};

/// How long something may take that must come.
const LONG: Duration = Duration::from_secs(3);

/// What is longer than any timeout of the configuration, but not much.
const ENDED: Duration = Duration::from_millis(400);

pub struct Bench {
    origin: Origin,
    address: SocketAddr,
    state: Arc<State>,
    is_lean: bool,
    settled: usize,
}

/// The result of an input.
pub struct Outcome {
    /// What the client got.
    pub received: Vec<u8>,
    /// Whether the balancer ended the connection.
    pub ended: bool,
    /// Whether that was a reset.
    pub reset: bool,
    /// What the backend got whole.
    pub seen: Vec<Seen>,
    /// What is wrong with what the backend got, and with what follows.
    pub faults: Vec<String>,
}

impl Bench {
    pub async fn start(lanes: &str) -> Self {
        let origin = Origin::start().await;
        let (sender, receiver) = mpsc::sync_channel(1);
        let yaml = yaml(lanes, &origin.url());
        std::thread::spawn(move || serve(&yaml, &sender));
        let (address, state) = receiver.recv().expect("the balancer starts");
        Self { origin, address, state, is_lean: lanes == "auto", settled: 0 }
    }

    /// Tries an input. `quiet`: what the client gets in this time is all that it will get before it closes its half.
    pub async fn run(&mut self, input: &Input, quiet: Duration) -> Outcome {
        self.origin.plays(input);
        let (received, end) = self.exchange(input, quiet).await;
        let (ended, reset) = (end.is_some(), end == Some(End::Reset));
        let mut faults = Vec::new();
        if !self.is_quiet().await && self.is_lean {
            faults.push("the client's connection stays open".to_owned());
        }
        if self.is_lean {
            faults.extend(self.settle().await);
        }
        let seen = self.origin.take(&mut faults).await;
        if !self.is_lean {
            // What it left on a connection would show in later inputs.
            self.origin.hang_up().await;
        }
        Outcome { received, ended, reset, seen, faults }
    }

    async fn exchange(&self, input: &Input, quiet: Duration) -> (Vec<u8>, Option<End>) {
        let mut stream = self.connect().await;
        for (nth, piece) in input.client.iter().enumerate() {
            if nth > 0 {
                sleep(Duration::from_millis(1)).await;
            }
            let _ = stream.write_all(piece).await;
        }
        let mut received = Vec::new();
        let mut end = None;
        if !input.half {
            end = read(&mut stream, &mut received, quiet).await;
        }
        if end.is_none() {
            let _ = stream.shutdown().await;
            end = read(&mut stream, &mut received, if self.is_lean { LONG } else { ENDED }).await;
        }
        (received, end)
    }

    async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.expect("the balancer accepts");
        stream.set_nodelay(true).expect("a TCP option");
        stream
    }

    /// A request that follows must get a response as if nothing had happened.
    async fn settle(&mut self) -> Option<String> {
        self.settled += 1;
        let target = format!("/own/settle/{}", self.settled);
        let mut stream = self.connect().await;
        let request = format!("GET {target} HTTP/1.1\r\nHost: settle\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(request.as_bytes()).await;
        let mut received = Vec::new();
        read(&mut stream, &mut received, LONG).await;
        let sound = received.starts_with(b"HTTP/1.1 200")
            && received.ends_with(format!("\r\n\r\nGET {target}").as_bytes());
        (!sound).then(|| format!("a request that follows gets {:?}", received.escape_ascii().to_string()))
    }

    /// Waits until all connections of clients are closed; false if they are not.
    async fn is_quiet(&self) -> bool {
        let open = || self.state.listeners().iter().map(|listener| listener.connections_open()).sum::<u64>();
        eventually(|| open() == 0).await
    }

    /// Fails if attempts are counted that are not in progress.
    pub async fn is_at_rest(&self) {
        let in_flight = || {
            let status = self.state.status();
            status.pointer("/upstreams/0/backends/0/in_flight").and_then(|number| number.as_u64())
        };
        assert!(eventually(|| in_flight() == Some(0)).await, "in flight, and at rest: {:?}", in_flight());
    }

    /// How many requests Pingora's lane has carried.
    pub fn handed_over(&self) -> String {
        let page = self.state.metrics_page();
        let sample = |line: &&str| line.starts_with("evenkeel_lane_requests_total{lane=\"pingora\"}");
        page.lines().find(sample).expect("a counter").to_owned()
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Close,
    Reset,
}

/// Reads until the other end closes, or until nothing comes for a while.
async fn read(stream: &mut TcpStream, received: &mut Vec<u8>, quiet: Duration) -> Option<End> {
    loop {
        match timeout(quiet, stream.read_buf(received)).await {
            Err(_) => return None,
            Ok(Ok(0)) => return Some(End::Close),
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Some(End::Reset),
        }
    }
}

/// Waits for something to be so; false if it does not come about.
async fn eventually(is_so: impl Fn() -> bool) -> bool {
    let start = std::time::Instant::now();
    while !is_so() {
        match start.elapsed() {
            // It is about to be so, mostly: a timer would make most of the time that an input takes.
            elapsed if elapsed < Duration::from_micros(300) => yield_now().await,
            elapsed if elapsed < LONG => sleep(Duration::from_millis(1)).await,
            _ => return false,
        }
    }
    true
}

/// Limits that an input can reach, and one worker: a connection to the backend that is kept will be used.
fn yaml(lanes: &str, backend: &str) -> String {
    format!(
        "listeners:
  - address: 127.0.0.1:0
    http: {{ max_header_size: 2KiB, max_header_fields: 16, max_body_size: 1KiB, header_timeout: 200ms,
      idle_timeout: 200ms, body_timeout: 200ms, send_timeout: 200ms }}
workers: 1
access_log: off
lanes: {lanes}
upstreams:
  web: {{ backends: [\"{backend}\"], timeouts: {{ connect: 200ms, first_byte: 200ms, idle: 200ms }} }}"
    )
}

fn serve(yaml: &str, started: &mpsc::SyncSender<(SocketAddr, Arc<State>)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let config = Config::from_yaml(yaml, "fuzz.yaml", &|_| None).expect("a configuration");
        let mut server = Server::new(config);
        server.start().await.expect("the balancer starts");
        let Some(ListenAddress::Tcp(address)) = server.addresses().pop() else { panic!("no address") };
        let _ = started.send((address, server.state().expect("it runs").clone()));
        std::future::pending::<()>().await;
    });
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outcome")
            .field("received", &self.received.escape_ascii().to_string())
            .field("ended", &self.ended)
            .field("reset", &self.reset)
            .field("seen", &self.seen)
            .field("faults", &self.faults)
            .finish()
    }
}
