//! The life of the real program: what it says as it starts, and how it ends, also under load. What each signal does is in
//! `signals.rs`.

#![cfg(test)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::program::Program;
use crate::support::{Backend, Client, PATIENCE, Reply, get, send};

/// What an end that waits for nothing may last.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(300);

/// From the end of the last request to the end of the process.
const AFTER_THE_LAST: Duration = Duration::from_millis(100);

/// Fails when `scenario`, which gives how long something lasted, gives more than `limit` in three runs: what is late for
/// a reason is late each time, and what is late because the machine had other work is not.
pub(crate) async fn lasts_less_than(limit: Duration, scenario: impl AsyncFn() -> Duration) {
    let mut lasted = Vec::new();
    for _ in 0..3 {
        let time = scenario().await;
        if time < limit {
            return;
        }
        lasted.push(time);
    }
    panic!("lasted {lasted:?}, expected less than {limit:?}");
}

pub(crate) async fn before(backend: &Backend, rest: &str) -> Program {
    Program::run(&format!("upstreams: {{ web: {{ backends: [\"{}\"] }} }}\n{rest}", backend.url())).await
}

/// A backend that takes this long for each response.
pub(crate) async fn slow(time: Duration) -> Backend {
    Backend::start(move |_| {
        Reply::new().read_body().wait(time).send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
    })
    .await
}

/// Waits until `/readyz` says no, which it is to do at once.
pub(crate) async fn until_not_ready(program: &Program) {
    let start = Instant::now();
    while program.readyz().await != 503 {
        assert!(start.elapsed() < PATIENCE, "still ready");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until connections are no longer accepted.
async fn eventually_refused(address: SocketAddr) {
    let start = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(start.elapsed() < PATIENCE, "connections are still accepted");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn records(program: &Program, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(program.file(file)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a record is JSON")).collect()
}

#[tokio::test]
async fn each_address_is_told_and_answers() {
    let backend = Backend::saying("hello").await;
    let mut program = before(
        &backend,
        "workers: 3\nlisteners: [{ address: 127.0.0.1:0 }, { address: \"unix:FOLDER/web.sock\" }]",
    )
    .await;
    let said = program.said();
    assert_eq!(said.len(), 4, "{said:#?}");
    let (version, file) = (env!("CARGO_PKG_VERSION"), program.file("evenkeel.yaml"));
    assert_eq!(said[0], format!("evenkeel {version}, configuration: {}, 3 workers", file.display()));
    assert_eq!(said[1], format!("listening on http://{}", program.address()));
    assert_eq!(said[2], format!("listening on unix:{}", program.file("web.sock").display()));
    assert_eq!(said[3], format!("admin on http://{}", program.admin()));
    assert_eq!(get(program.address(), "/").await.text(), "hello");
    assert_eq!(Client::unix(program.file("web.sock")).await.get("/").await.text(), "hello");
    assert_eq!(program.readyz().await, 200);
    program.signal(Signal::TERM);
    program.ended_well().await;
    assert!(!program.file("web.sock").exists(), "the socket's file is left behind");
}

#[tokio::test]
async fn options_do_without_a_file() {
    let (one, two) = (Backend::saying("one").await, Backend::saying("two").await);
    let (one_url, two_url) = (one.url(), two.url());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut arguments = vec!["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    arguments.extend(["--to", &one_url, "--to", &two_url, "--algorithm", "least_connections"]);
    arguments.extend(["--log-level", "off"]);
    let mut program = Program::start(folder, &arguments).await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(get(program.address(), "/").await.text());
    }
    answers.sort();
    assert_eq!(answers, ["one", "one", "two", "two"]);
    program.signal(Signal::TERM);
    program.ended_well().await;
    let said = program.said();
    assert_eq!(said.len(), 3, "addresses are printed whatever the level, and nothing else: {said:#?}");
    assert!(said[0].contains(", configuration: command line, "), "{said:#?}");
}

#[tokio::test]
async fn idle_it_ends_at_once() {
    let backend = Backend::saying("hello").await;
    // SIGINT does not wait for others to notice.
    for (signal, stop) in [(Signal::TERM, ""), (Signal::INT, "shutdown: { pre_stop: 30s }")] {
        lasts_less_than(AT_ONCE, async || {
            let mut program = before(&backend, stop).await;
            let mut idle = Client::connect(program.address()).await;
            idle.get("/").await;
            let start = Instant::now();
            program.signal(signal);
            let lasted = program.ended_well().await - start;
            assert_eq!(idle.closed().await, b"", "an idle connection receives nothing");
            lasted
        })
        .await;
    }
}

#[tokio::test]
async fn a_request_in_flight_is_finished() {
    lasts_less_than(AFTER_THE_LAST, async || {
        let backend = slow(Duration::from_secs(1)).await;
        let mut program = before(&backend, "").await;
        let address = program.address();
        let mut client = Client::connect(address).await;
        client.send("GET /work HTTP/1.1\r\nHost: test\r\n\r\n").await;
        backend.until_requests(1).await;
        program.signal(Signal::TERM);
        until_not_ready(&program).await;
        eventually_refused(address).await;
        let answer = client.response().await;
        let answered = Instant::now();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "done"));
        assert_eq!(answer.header("connection"), Some("close"));
        let lasted = program.ended_well().await - answered;
        let records = records(&program, "access.log");
        assert_eq!(records.len(), 1, "{records:#?}");
        assert_eq!((&records[0]["status"], &records[0]["target"]), (&200.into(), &"/work".into()));
        lasted
    })
    .await;
}

#[tokio::test]
async fn a_stuck_request_is_cut_in_time() {
    lasts_less_than(Duration::from_millis(500) + AT_ONCE, async || {
        let backend = Backend::start(|_| Reply::silence()).await;
        let mut program = before(&backend, "shutdown: { drain_timeout: 500ms }").await;
        let mut client = Client::connect(program.address()).await;
        client.send("GET /stuck HTTP/1.1\r\nHost: test\r\n\r\n").await;
        backend.until_requests(1).await;
        let start = Instant::now();
        program.signal(Signal::TERM);
        let lasted = program.ended_well().await - start;
        assert!(lasted >= Duration::from_millis(490), "cut too early: {lasted:?}");
        client.closed().await;
        let records = records(&program, "access.log");
        assert_eq!(records.len(), 1, "{records:#?}");
        assert_eq!(records[0]["target"], "/stuck");
        assert_eq!(records[0]["end"], "refused=shutting_down", "{records:#?}");
        let said = program.said();
        assert!(said.iter().any(|line| line.contains("1 open connections")), "{said:#?}");
        lasted
    })
    .await;
}

/// Each way in which a request can be under way as `drain_timeout` ends.
#[tokio::test]
async fn what_is_cut_is_told_so_if_nothing_was_said_yet() {
    let backend = Backend::start(|request| match request.target() {
        "/begun" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").hang(),
        "/chat" => Reply::new()
            .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n")
            .echo(),
        _ => Reply::silence(),
    })
    .await;
    let yaml = format!(
        "upstreams:\n  web: {{ backends: [\"{url}\"] }}\n  \
           busy: {{ backends: [\"{url}\"], max_connections: 1, queue: {{ timeout: 1m }} }}\n\
         routes:\n  - {{ name: busy, match: {{ path_prefix: /busy }}, upstream: busy }}\n  \
           - {{ name: rest, upstream: web }}\n\
         shutdown: {{ drain_timeout: 500ms }}",
        url = backend.url(),
    );
    let mut program = Program::run(&yaml).await;
    let requests = [
        ("/silent", "GET /silent HTTP/1.1\r\nHost: test\r\n\r\n", 503),
        ("/busy/1", "GET /busy/1 HTTP/1.1\r\nHost: test\r\n\r\n", 503),
        ("/busy/queued", "GET /busy/queued HTTP/1.1\r\nHost: test\r\n\r\n", 503),
        ("/upload", "POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhalf", 503),
        ("/begun", "GET /begun HTTP/1.1\r\nHost: test\r\n\r\n", 200),
        ("/chat", "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n", 101),
        ("", "GET /head HTTP/1.1\r\nHost: te", 503),
    ];
    let mut clients = Vec::new();
    for (nth, (_, request, status)) in requests.iter().enumerate() {
        let mut client = Client::connect(program.address()).await;
        client.send(request).await;
        if *status < 300 {
            assert_eq!(client.head().await.expect("a head").status(), *status);
        }
        // The one that is queued comes after the one that it waits for.
        backend.until_requests([1, 2, 2, 3, 4, 5, 5][nth]).await;
        clients.push(client);
    }
    program.signal(Signal::TERM);
    for (client, (target, _, status)) in clients.iter_mut().zip(requests) {
        if status == 503 {
            let response = client.response().await;
            assert_eq!((response.status(), response.closes()), (503, true), "{target}");
            assert_eq!(response.header("retry-after"), Some("1"), "{target}");
        }
        let rest = String::from_utf8(client.closed().await).expect("text");
        assert!(rest.is_empty() || rest == "half", "{target}: {rest}");
    }
    program.ended_well().await;
    let records = records(&program, "access.log");
    assert_eq!(records.len(), requests.len(), "{records:#?}");
    for (target, _, status) in requests {
        let record = records.iter().find(|record| record["target"].as_str().unwrap_or_default() == target);
        let record = record.unwrap_or_else(|| panic!("no record of {target:?}: {records:#?}"));
        assert_eq!((&record["status"], &record["end"]), (&status.into(), &"refused=shutting_down".into()));
    }
}

#[tokio::test]
async fn before_it_stops_it_still_accepts() {
    lasts_less_than(Duration::from_millis(1500) + AT_ONCE, async || {
        let backend = Backend::saying("hello").await;
        let mut program = before(&backend, "shutdown: { pre_stop: 1500ms }").await;
        let mut kept = Client::connect(program.address()).await;
        assert_ne!(kept.get("/").await.header("connection"), Some("close"));
        let start = Instant::now();
        program.signal(Signal::TERM);
        until_not_ready(&program).await;
        let mut late = 0;
        while start.elapsed() < Duration::from_millis(500) {
            let answer = get(program.address(), "/").await;
            assert_eq!((answer.status(), answer.header("connection")), (200, Some("close")));
            late += 1;
        }
        assert!(late > 0);
        let lasted = program.ended_well().await - start;
        assert!(lasted >= Duration::from_millis(1490), "{lasted:?}");
        lasted
    })
    .await;
}

#[tokio::test]
async fn the_demo_ends_at_once() {
    lasts_less_than(AT_ONCE, async || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let arguments = ["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let mut demo = Program::until(folder, &arguments, "  alpha ").await;
        let start = Instant::now();
        demo.signal(Signal::INT);
        let lasted = demo.ended_well().await - start;
        let said = demo.said();
        assert!(said.last().is_some_and(|line| line.ends_with(" requests, 0 failed")), "{said:#?}");
        lasted
    })
    .await;
}

#[tokio::test]
async fn what_scanners_send_fills_no_log() {
    let backend = Backend::saying("hello").await;
    let mut program = before(&backend, "").await;
    let address = program.address();
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".as_slice(),
        b"GET / HTTP/9.9\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = Client::connect(address).await;
        client.send(bytes).await;
        client.finish().await;
        client.closed().await;
    }
    // Cut off within a head, and within a body.
    for bytes in ["GET / HTTP", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"] {
        let mut client = Client::connect(address).await;
        client.send(bytes).await;
    }
    assert_eq!(send(address, "GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.status(), 200);
    program.signal(Signal::TERM);
    program.ended_well().await;
    let said = program.said();
    assert!(said.iter().skip(3).all(|line| line.ends_with("draining")), "{said:#?}");
}

/// What the clients of a load met.
#[derive(Debug, Default)]
struct Tally {
    answered: AtomicU64,
    failures: std::sync::Mutex<Vec<String>>,
    signalled: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_no_request_fails() {
    lasts_less_than(AFTER_THE_LAST, async || {
        let backend = slow(Duration::from_millis(5)).await;
        let mut program = before(&backend, "").await;
        let address = program.address();
        let tally = Arc::new(Tally::default());
        let mut clients = JoinSet::new();
        for index in 0..64 {
            // Half of them have something else to do between two requests: their connections are idle when the signal comes.
            let pause = Duration::from_millis(if index % 2 == 0 { 0 } else { 20 });
            clients.spawn(client(address, pause, tally.clone()));
        }
        let start = Instant::now();
        while tally.answered.load(Ordering::SeqCst) < 2000 {
            assert!(start.elapsed() < PATIENCE, "{tally:#?} {:#?}", program.said());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tally.signalled.store(true, Ordering::SeqCst);
        program.signal(Signal::TERM);
        // Each client reports when it had its last response.
        let last = clients.join_all().await.into_iter().max().expect("clients");
        let lasted = program.ended_well().await.saturating_duration_since(last);
        let failures = tally.failures.lock().expect("no panic");
        assert!(failures.is_empty(), "{} failures: {:#?}", failures.len(), failures.first());
        let answered = tally.answered.load(Ordering::SeqCst);
        assert_eq!(
            records(&program, "access.log").len() as u64,
            answered,
            "a record for each response, and no other"
        );
        lasted
    })
    .await;
}

/// Sends requests on kept connections until the balancer accepts no more; returns the moment of its last response.
async fn client(address: SocketAddr, pause: Duration, tally: Arc<Tally>) -> Instant {
    let mut last = Instant::now();
    loop {
        let Ok(stream) = TcpStream::connect(address).await else {
            if !tally.signalled.load(Ordering::SeqCst) {
                tally.failures.lock().expect("no panic").push("refused before the signal".to_owned());
            }
            return last;
        };
        let mut client = Client::over(Box::new(stream));
        loop {
            let sent = client.try_send("GET /load HTTP/1.1\r\nHost: test\r\n\r\n").await;
            let answer = match sent {
                Ok(()) => client.try_response_to("GET").await,
                Err(error) => Err(error),
            };
            let closes = match answer {
                Ok(answer) if answer.status() == 200 && answer.complete => {
                    answer.header("connection") == Some("close")
                }
                other => {
                    tally.failures.lock().expect("no panic").push(format!("{other:?}"));
                    return last;
                }
            };
            tally.answered.fetch_add(1, Ordering::SeqCst);
            last = Instant::now();
            if closes {
                if tally.signalled.load(Ordering::SeqCst) {
                    return last;
                }
                break;
            }
            tokio::time::sleep(pause).await;
        }
    }
}
