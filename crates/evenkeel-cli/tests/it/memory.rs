//! Memory of the real program: large bodies pass through it and leave no trace, slow readers hold their backends back,
//! idle connections cost little.

#![cfg(test)]

mod peers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::peers::{Client, Framing, Source, backend};
use super::program::Program;
use super::support::samples::Samples;
use super::support::{Lane, eventually, get, lane};

const MIB: u64 = 1 << 20;

/// The largest resident set of a process, looked at often, in KiB.
struct Peak {
    largest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

// === impl Peak ===

impl Peak {
    fn of(pid: u32) -> Self {
        let (largest, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, stopped) = (largest.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Relaxed) {
                seen.fetch_max(rss(pid).unwrap_or_default(), Relaxed);
                std::thread::park_timeout(Duration::from_millis(10));
            }
        });
        Self { largest, stop, thread: Some(thread) }
    }

    fn end(mut self) -> u64 {
        self.stop.store(true, Relaxed);
        self.thread.take().expect("it runs").join().expect("no panic");
        self.largest.load(Relaxed)
    }
}

/// How much memory of its own a process holds, in KiB: not the pages of its program file, which come as they are first
/// run. `None` when there is no such process.
fn rss(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

async fn program(backend: &Source) -> Program {
    Program::run(&format!(
        "workers: 2
listeners:
  - address: 127.0.0.1:0
    max_connections_per_client: 10000
    http: {{ max_body_size: 2GiB, idle_timeout: 8s, send_timeout: 60s }}
upstreams: {{ web: {{ backends: [\"http://{}\"] }} }}
",
        backend.address
    ))
    .await
}

/// By how much the program may grow, in KiB: an allocator keeps some of what it had, which differs from run to run. What
/// would be held by mistake here is ten times as much and more.
const GROWTH: u64 = 16 * 1024;

/// How large the large bodies are.
const LARGE: u64 = 1024 * MIB;

const WAYS: [(&str, Framing); 4] = [
    ("upload", Framing::Length),
    ("upload", Framing::Chunked),
    ("download", Framing::Length),
    ("download", Framing::Chunked),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn large_bodies_leave_no_trace() {
    let backend = backend();
    let program = program(&backend).await;
    let (address, pid) = (program.address(), program.id());
    let transfer = |way: &str, framing: Framing, size: u64| {
        let mut client = Client::connect(address);
        match way {
            "upload" => assert_eq!(client.upload(framing, size), size, "what the backend received"),
            _ => assert_eq!(client.download(framing, size), size, "what the client received"),
        }
    };
    for (way, framing) in WAYS {
        transfer(way, framing, 4 * MIB);
    }
    for (way, framing) in WAYS {
        let (before, start) = (rss(pid).expect("it runs"), Instant::now());
        let peak = Peak::of(pid);
        transfer(way, framing, LARGE);
        let (peak, took) = (peak.end(), start.elapsed());
        let grown = peak.saturating_sub(before);
        println!("1 GiB {way}, {framing:?}: {took:.1?}, RSS {before} KiB, at most {peak} KiB");
        assert!(grown < GROWTH, "{way}, {framing:?}: RSS grew from {before} KiB to {peak} KiB");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_slow_reader_holds_its_backend_back() {
    /// More than the system keeps in the buffers of two connections: 32 MiB each, where it is generous.
    const SIZE: u64 = 256 * MIB;
    let backend = backend();
    let program = program(&backend).await;
    let (address, pid) = (program.address(), program.id());
    // Both workers do this first for readers that are not slow: what is measured is what a slow one adds.
    let fast = Peak::of(pid);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(address)).collect();
    for framing in [Framing::Length, Framing::Chunked].repeat(2) {
        for client in &mut clients {
            assert_eq!(client.download(framing, SIZE / 4), SIZE / 4);
        }
    }
    drop(clients);
    let before = fast.end();
    for framing in [Framing::Length, Framing::Chunked] {
        let peak = Peak::of(pid);
        let sent_before = backend.sent.load(Relaxed);
        let mut client = Client::connect(address);
        client.ask_for(framing, SIZE);
        // Nothing is read. The backend stops once the buffers of the sockets on the way are full.
        let (mut last, mut still) = (0, 0);
        while last == 0 || still < 40 {
            let sent = backend.sent.load(Relaxed) - sent_before;
            still = if sent == last { still + 1 } else { 0 };
            last = sent;
            std::thread::park_timeout(Duration::from_millis(5));
        }
        assert!(last < SIZE / 2, "the backend could send {last} bytes that were not read");
        let received = client.receive(framing);
        let peak = peak.end();
        println!(
            "a slow reader, {framing:?}: {} KiB on the way, RSS at most {peak} KiB, {before} KiB without",
            last / 1024
        );
        assert_eq!(received, SIZE);
        assert!(peak.saturating_sub(before) < GROWTH, "RSS grew from {before} KiB to {peak} KiB");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_idle_connection_costs_little_and_is_closed_in_the_end() {
    const CONNECTIONS: u64 = 2000;
    /// How often as many come again.
    const TIMES: u64 = 5;
    let backend = backend();
    let program = program(&backend).await;
    let (address, pid) = (program.address(), program.id());
    let ask = |client: &mut Client| assert_eq!(client.download(Framing::Length, 100), 100);
    for _ in 0..50 {
        ask(&mut Client::connect(address));
    }
    let before = rss(pid).expect("it runs");
    let start = Instant::now();
    // Many at a time: on a loaded machine it is the turns that take long.
    let open = || {
        let mut client = Client::connect(address);
        ask(&mut client);
        client
    };
    let open_all = || -> Vec<Client> {
        std::thread::scope(|scope| {
            let openers =
                [(); 20].map(|()| scope.spawn(|| (0..CONNECTIONS / 20).map(|_| open()).collect::<Vec<_>>()));
            openers.into_iter().flat_map(|opener| opener.join().expect("no panic")).collect()
        })
    };
    let mut clients = open_all();
    let opened = start.elapsed();
    let with = rss(pid).expect("it runs");
    let each = (with.saturating_sub(before) * 1024) / CONNECTIONS;
    println!(
        "an idle connection costs {each} bytes: RSS {before} KiB, with {CONNECTIONS} {with} KiB ({opened:.1?})"
    );
    // What is there once counts as well, and so does what is allocated in large pieces: with more of them, each costs less.
    let most = if lane() == Lane::Lean { 3 * 1024 } else { 24 * 1024 };
    assert!(each < most, "{each} bytes each");
    // Unless some were closed by then, which would make them look cheap.
    let open =
        Samples::parse(&get(program.admin(), "/metrics").await.text()).sum("evenkeel_connections_open", &[]);
    assert_eq!(open.to_string(), CONNECTIONS.to_string(), "connections that are open");

    for client in &mut clients {
        client.until_closed();
    }
    let closed = start.elapsed();
    assert!(closed >= Duration::from_secs(8), "closed after {closed:?}, before their idle timeout");
    // Once they are gone, what they had is given back: the first 1,024 KiB may be what is there but once.
    let most = before + with.saturating_sub(before) / 5 + 1024;
    eventually(Duration::from_secs(10), || rss(pid).is_some_and(|rss| rss < most)).await;
    println!(
        "closed after {closed:.1?}: RSS {} KiB, at most {most} KiB wanted",
        rss(pid).unwrap_or_default()
    );
    // It can be had again for the next ones: if it could not, each time would cost as much as the first.
    let mut again = 0;
    for _ in 0..TIMES {
        drop(open_all());
        again = rss(pid).expect("it runs");
    }
    println!("with as many again, {TIMES} times: RSS {again} KiB");
    let cost = with.saturating_sub(before).max(1024);
    assert!(
        again < with + cost * TIMES / 2,
        "RSS was {with} KiB with as many connections, and is {again} KiB"
    );
}
