//! Reloads of everything while requests run and WebSockets are open: none fails, none is closed.
//!
//! `EVENKEEL_TEST_RELOADS=100`, by hand with a release build in `EVENKEEL_TEST_PROGRAM`, is the whole load: 3,000 requests a second on
//! 64 connections and 50 WebSockets. Then latencies with and without reloads are compared, and memory is to stay flat.

#![cfg(test)]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::program::Program;
use crate::support::lane::filled_up;
use crate::support::{Backend, Client, Reply, Seen, send};

/// How much is done.
#[derive(Clone, Copy, Debug)]
struct Scale {
    connections: u32,
    websockets: u32,
    /// Requests a second, over all connections.
    rate: u32,
    reloads: usize,
    /// Whether latencies and memory are judged.
    judged: bool,
}

#[expect(clippy::disallowed_methods, reason = "a test is run by hand with this variable")]
fn scale() -> Scale {
    match std::env::var("EVENKEEL_TEST_RELOADS").ok().and_then(|count| count.parse().ok()) {
        Some(reloads) => Scale { connections: 64, websockets: 50, rate: 3_000, reloads, judged: true },
        None => Scale { connections: 8, websockets: 5, rate: 400, reloads: 20, judged: false },
    }
}

/// What the clients share.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// 0 before the reloads, 1 during them.
    part: AtomicUsize,
    messages: AtomicUsize,
}

fn echo(seen: &Seen) -> Reply {
    match seen.header("upgrade") {
        Some(_) => Reply::new()
            .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            .echo(),
        None => Reply::ok("hello"),
    }
}

/// The configuration of a turn: each turn changes routes, filters, backends, the algorithm, the health check, the access log,
/// the options of the listener, and whether there is a second listener.
fn text(turn: usize, backends: &[String]) -> String {
    const ALGORITHMS: [&str; 5] = ["round_robin", "least_connections", "peak_ewma", "maglev", "prequal"];
    const CHECKS: [&str; 3] =
        ["", "health_check: { tcp: {}, interval: 1s },", "health_check: { http: {}, interval: 1s },"];
    let (one, two) = (&backends[turn % backends.len()], &backends[(turn + 1) % backends.len()]);
    let second = if turn.is_multiple_of(2) { "" } else { ", { address: 'unix:FOLDER/second.sock' }" };
    let mut text = format!(
        "listeners: [{{ address: 127.0.0.1:0, max_connections: {} }}{second}]\n\
         admin: {{ address: 127.0.0.1:0 }}\n\
         access_log: {{ to: FOLDER/access-{}.log, format: json }}\n\
         upstreams: {{ web: {{ backends: [\"{one}\", \"{two}\"], {} algorithm: {} }} }}\nroutes:\n",
        1000 + turn,
        turn % 3,
        CHECKS[turn % CHECKS.len()],
        ALGORITHMS[turn % ALGORITHMS.len()],
    );
    for number in 0..turn % 4 {
        let _ = writeln!(
            text,
            "- {{ name: more-{number}, match: {{ path: /more/{number} }}, respond: {{ status: 204 }} }}"
        );
    }
    let _ = writeln!(
        text,
        "- {{ name: all, upstream: web, filters: [{{ request_headers: {{ set: {{ x-turn: \"{turn}\" }} }} }}] }}"
    );
    text
}

/// Sends requests at a steady rate on one connection. Gives the times of those before and during the reloads.
async fn requests(address: SocketAddr, pause: Duration, shared: Arc<Shared>) -> [Vec<Duration>; 2] {
    let mut client = Client::connect(address).await;
    let (mut times, mut ticks) = ([Vec::new(), Vec::new()], tokio::time::interval(pause));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !shared.stop.load(SeqCst) {
        ticks.tick().await;
        let (part, start) = (shared.part.load(SeqCst), Instant::now());
        let response = client.get("/").await;
        times[part].push(start.elapsed());
        assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
        assert!(!response.closes(), "a reload closes no connection");
    }
    times
}

/// Sends messages on a WebSocket, and gets each back.
async fn websocket(address: SocketAddr, shared: Arc<Shared>) {
    let mut client = Client::connect(address).await;
    let request = "GET /chat HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_eq!(client.ask(request).await.status(), 101);
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    while !shared.stop.load(SeqCst) {
        ticks.tick().await;
        let text = format!("message {}", shared.messages.fetch_add(1, SeqCst));
        client.send(&text).await;
        assert_eq!(client.bytes(text.len()).await, text.as_bytes());
    }
}

/// What the program has allocated and holds, in KiB: resident memory without the pages of its file.
fn memory(program: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_fail_no_request_and_close_no_websocket() {
    let scale = scale();
    let backends = [Backend::start(echo).await, Backend::start(echo).await, Backend::start(echo).await];
    let urls: Vec<String> = backends.iter().map(Backend::url).collect();
    let program = Program::run(&text(0, &urls)).await;
    let (address, file) = (program.address(), program.file("evenkeel.yaml"));
    let folder = file.parent().expect("a folder").display().to_string();
    let (shared, mut clients, mut websockets) = (Arc::new(Shared::default()), JoinSet::new(), JoinSet::new());
    for _ in 0..scale.connections {
        let pause = Duration::from_secs(1) * scale.connections / scale.rate;
        clients.spawn(requests(address, pause, shared.clone()));
    }
    for _ in 0..scale.websockets {
        websockets.spawn(websocket(address, shared.clone()));
    }
    let pause = Duration::from_millis(100);
    // As long without reloads as with them.
    tokio::time::sleep(pause * u32::try_from(scale.reloads).expect("few")).await;
    shared.part.store(1, SeqCst);
    let mut sizes = Vec::new();
    for turn in 1..=scale.reloads {
        let text = filled_up(&text(turn, &urls).replace("FOLDER", &folder), &[]);
        std::fs::write(&file, text).expect("it can be written");
        let request = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
        let response = send(program.admin(), request).await;
        assert_eq!(response.status(), 200, "turn {turn}: {}", response.text());
        sizes.push(memory(&program));
        tokio::time::sleep(pause).await;
    }
    shared.stop.store(true, SeqCst);
    let mut times = [Vec::new(), Vec::new()];
    for of_one in clients.join_all().await {
        times.iter_mut().zip(of_one).for_each(|(all, of_one)| all.extend(of_one));
    }
    websockets.join_all().await;
    let messages = shared.messages.load(SeqCst);
    assert!(times[1].len() > scale.reloads && messages > scale.reloads, "{} requests", times[1].len());
    let [before, during] = times.each_mut().map(|times| p99(times));
    let half = sizes.len() / 2;
    println!(
        "{} requests without reloads, p99 {before:?}; {} with {} reloads, p99 {during:?}; {messages} messages; memory {} KiB \
         after one reload, {} after half of them, {} after all",
        times[0].len(),
        times[1].len(),
        scale.reloads,
        sizes[0],
        sizes[half],
        sizes[sizes.len() - 1]
    );
    if scale.judged {
        assert!(during <= before.mul_f64(1.5), "p99 {before:?} without reloads, {during:?} with them");
        let (half, end) = (sizes[half], sizes[sizes.len() - 1]);
        assert!(
            end <= half + half / 10,
            "memory grows: {half} KiB after half of the reloads, {end} KiB after all"
        );
    }
}
