//! Backends that fail in every way at once, up to nine of ten, under 1,000 requests a second: no GET fails, and no POST that
//! reached no backend.
//!
//! Each backend is a process of its own: this test program, run again with [`ROLE`] set.

#![cfg(test)]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::program::Program;
use crate::support::{Client, Lane, eventually, in_time, lane};

/// What a backend's process does: its address, its role and its file of POSTs, with spaces in between.
const ROLE: &str = "EVENKEEL_TEST_BACKEND_ROLE";
const BACKENDS: usize = 10;
const CLIENTS: u64 = 40;
/// Between two requests of one client: 1,000 requests a second together.
const EVERY: Duration = Duration::from_millis(40);

/// How a backend fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The process is killed, with whatever it has in flight.
    Killed,
    /// The process is stopped: the system still accepts connections for it.
    Paused,
    Refuses,
    Resets,
    /// Its queue is full: the system drops what arrives.
    Swallows,
}

const FAULTS: [Fault; 5] = [Fault::Killed, Fault::Paused, Fault::Refuses, Fault::Resets, Fault::Swallows];

/// One backend, whatever becomes of it.
struct Site {
    address: SocketAddr,
    /// The POSTs that its processes have read, one a line.
    posts: PathBuf,
    child: Option<Child>,
}

/// A request that failed.
#[derive(Debug)]
struct Failed {
    target: String,
    status: u16,
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    sent: usize,
    posts: usize,
    failed: Vec<Failed>,
    slowest: Duration,
}

/// How long: `EVENKEEL_TEST_FAULTS_SECONDS`, default twenty.
#[expect(clippy::disallowed_methods, reason = "a test is run by hand with this variable")]
fn duration() -> Duration {
    let given = std::env::var("EVENKEEL_TEST_FAULTS_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(given.unwrap_or(20))
}

// === impl Site ===

impl Site {
    async fn new(number: usize, folder: &Path) -> Self {
        // An address that no outgoing connection of this machine takes a port of.
        let host = [127, 77, (std::process::id() % 250) as u8, number as u8 + 1];
        let listener = TcpListener::bind(SocketAddr::from((host, 0))).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        drop(listener);
        let mut site = Self { address, posts: folder.join(number.to_string()), child: None };
        site.run("serves").await;
        site
    }

    /// Replaces the process by one of this role, and waits until that is in place.
    async fn run(&mut self, role: &str) {
        self.kill().await;
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "faults::a_backend_of_its_own_process", "--ignored", "--nocapture"]);
        command.env(ROLE, format!("{} {role} {}", self.address, self.posts.display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("this program runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await.expect("text") {
                if line.contains("in place") {
                    return;
                }
            }
            panic!("the backend's process ended");
        };
        in_time("a backend's process", ready).await;
        self.child = Some(child);
    }

    async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("it can be killed");
        }
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(Child::id).expect("it runs");
        kill_process(Pid::from_raw(id as i32).expect("an id"), signal).expect("a signal can be sent");
    }

    async fn fail(&mut self, fault: Fault) {
        match fault {
            Fault::Killed => self.kill().await,
            Fault::Paused => self.signal(Signal::STOP),
            Fault::Refuses => self.run("refuses").await,
            Fault::Resets => self.run("resets").await,
            Fault::Swallows => self.run("swallows").await,
        }
    }

    async fn heal(&mut self, fault: Fault) {
        match fault {
            Fault::Paused => self.signal(Signal::CONT),
            _ => self.run("serves").await,
        }
    }
}

/// Not a test: what a backend's process runs.
#[tokio::test]
#[ignore = "run by the tests of this file as a process of its own"]
#[expect(clippy::disallowed_methods, reason = "its role is in the environment")]
async fn a_backend_of_its_own_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut words = role.split(' ');
    let mut next = || words.next().expect("a word");
    let (address, role, posts) = (next().parse().expect("an address"), next(), PathBuf::from(next()));
    tokio::select! {
        () = act(address, role, posts) => {}
        // Its parent has gone.
        _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())) => {}
    }
}

async fn act(address: SocketAddr, role: &str, posts: PathBuf) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option");
    socket.bind(address).expect("the address");
    if role == "refuses" {
        println!("in place");
        return std::future::pending().await;
    }
    let listener = socket.listen(if role == "swallows" { 1 } else { 1024 }).expect("a listener");
    if role == "swallows" {
        let mut queue = Vec::new();
        let limit = Duration::from_millis(300);
        while let Ok(stream) = tokio::time::timeout(limit, TcpStream::connect(address)).await {
            queue.push(stream);
        }
        println!("in place");
        return std::future::pending().await;
    }
    println!("in place");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if role == "resets" {
            stream.set_zero_linger().expect("an option");
        } else {
            tokio::spawn(serve(stream, posts.clone()));
        }
    }
}

/// Responds to requests, and notes each POST as soon as it is read.
async fn serve(stream: TcpStream, posts: PathBuf) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let (mut first, mut line) = (String::new(), String::new());
        if stream.read_line(&mut first).await? == 0 {
            return Ok(());
        }
        if first.starts_with("POST ") {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&posts)?;
            std::io::Write::write_all(&mut file, first.as_bytes())?;
        }
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).await?;
        }
        if first.starts_with("POST ") {
            stream.read_exact(&mut [0; 4]).await?;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await?;
    }
}

/// One client: every fifth request is a POST.
async fn load(number: u64, address: SocketAddr, done: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    let mut client = Client::connect(address).await;
    let mut ticks = tokio::time::interval(EVERY);
    while !done.load(SeqCst) {
        ticks.tick().await;
        let post = seen.sent % 5 == 4;
        let target = format!("/{}/{number}/{}", if post { "post" } else { "get" }, seen.sent);
        let request = if post {
            format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody")
        } else {
            format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
        };
        seen.sent += 1;
        seen.posts += usize::from(post);
        let start = Instant::now();
        let status = client.ask(request).await.status();
        if !post {
            seen.slowest = seen.slowest.max(start.elapsed());
        }
        if status != 200 {
            seen.failed.push(Failed { target, status });
            client = Client::connect(address).await;
        }
    }
    seen
}

/// Breaks nine of ten, one after the other. Then heals the one that is broken longest, and breaks the one that is healthy
/// longest, again and again.
async fn break_and_heal(sites: &mut [Site], faults: &[Fault]) {
    let start = Instant::now();
    let mut faults = faults.iter().copied().cycle();
    let mut broken: Vec<(usize, Fault)> = Vec::new();
    let mut healthy: Vec<usize> = (0..sites.len()).collect();
    while start.elapsed() < duration() {
        if broken.len() + 1 == sites.len() {
            let (site, fault) = broken.remove(0);
            sites[site].heal(fault).await;
            healthy.push(site);
            // Time for two health checks.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let (site, fault) = (healthy.remove(0), faults.next().expect("a cycle"));
        sites[site].fail(fault).await;
        broken.push((site, fault));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The POSTs that were read, with how often.
fn read_posts(sites: &[Site]) -> HashMap<String, usize> {
    let mut read = HashMap::new();
    for site in sites {
        let text = std::fs::read_to_string(&site.posts).unwrap_or_default();
        for target in text.lines().filter_map(|line| line.split(' ').nth(1)) {
            *read.entry(target.to_owned()).or_default() += 1;
        }
    }
    read
}

/// Faults of which a request that may have reached a backend fails; all others are failures to reach one.
const REACHED: [&str; 5] = [
    "connection closed before the response head",
    "connection reset before the response head",
    "connection failed before the response head",
    "no response head in time",
    "no response head within timeouts.first_byte",
];

/// What docs/retries.md says for this promise.
fn configuration(sites: &[Site]) -> String {
    let urls: Vec<String> = sites.iter().map(|site| format!("http://{}", site.address)).collect();
    format!(
        "upstreams:
  web:
    retry: {{ attempts: 10, on: [connect_failure, reset, timeout], per_try_timeout: 500ms, wait_for_backend: 2s, budget: {{ ratio: 100%, min_per_second: 100 }} }}
    timeouts: {{ connect: 500ms }}
    health_check: {{ http: {{ path: /health }}, interval: 200ms, timeout: 200ms, rise: 1, fall: 2 }}
    outlier_detection: off
    backends: {urls:?}
"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nine_of_ten_backends_failing_no_get_fails_and_no_post_that_reached_none() {
    // Pingora's lane has no time limit for one attempt, so a request waits for a stopped backend until its time is over.
    let pauses = lane() == Lane::Lean;
    let faults: Vec<Fault> = FAULTS.into_iter().filter(|fault| pauses || *fault != Fault::Paused).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut sites = Vec::new();
    for number in 0..BACKENDS {
        sites.push(Site::new(number, folder.path()).await);
    }
    let program = Program::run(&configuration(&sites)).await;
    let (address, done) = (program.address(), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(load(number, address, done.clone()));
    }
    let start = Instant::now();
    break_and_heal(&mut sites, &faults).await;
    done.store(true, SeqCst);
    let seen = clients.join_all().await;
    let sent: usize = seen.iter().map(|seen| seen.sent).sum();
    let posts: usize = seen.iter().map(|seen| seen.posts).sum();
    let slowest = seen.iter().map(|seen| seen.slowest).max();
    let failed: Vec<Failed> = seen.into_iter().flat_map(|seen| seen.failed).collect();
    eventually(crate::support::PATIENCE, || program.records().len() >= sent).await;
    let records: HashMap<String, serde_json::Value> = program
        .records()
        .into_iter()
        .map(|record| (record["target"].as_str().unwrap_or_default().to_owned(), record))
        .collect();
    let mut causes: BTreeMap<String, usize> = BTreeMap::new();
    for failed in &failed {
        let record = &records[&failed.target];
        let cause = record["error"].as_str().unwrap_or_else(|| record["end"].as_str().unwrap_or_default());
        *causes.entry(format!("{} {cause}", failed.status)).or_default() += 1;
    }
    let read = read_posts(&sites);
    let gets: Vec<&Failed> = failed.iter().filter(|failed| failed.target.starts_with("/get")).collect();
    println!(
        "{sent} requests in {:?}, {posts} POSTs: {} GETs failed, {} POSTs failed {causes:?}, slowest GET {slowest:?}",
        start.elapsed(),
        gets.len(),
        failed.len() - gets.len(),
    );
    assert!(gets.is_empty(), "{} of {sent}: {:?}", gets.len(), records[&gets[0].target]);
    let unreached = causes.keys().find(|cause| !REACHED.iter().any(|reached| cause.ends_with(reached)));
    assert!(unreached.is_none(), "POSTs failed that reached no backend: {causes:?}");
    let twice: Vec<_> = read.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "backends read a POST twice: {twice:?}");
    let lost =
        |target: &str| !read.contains_key(target) && !failed.iter().any(|failed| failed.target == target);
    let lost: Vec<_> = records.keys().filter(|target| target.starts_with("/post") && lost(target)).collect();
    assert!(lost.is_empty(), "POSTs got a response that no backend read: {lost:?}");
    assert!(sent as u64 > 200 * duration().as_secs(), "{sent} requests are no load");
}
