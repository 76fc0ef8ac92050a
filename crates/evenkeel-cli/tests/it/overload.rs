//! How much an upstream takes: connections to a backend, those who wait, the circuit breaker; and second attempts.

#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::samples::Samples;
use crate::support::{
    Backend, Balancer, ClosedPort, Lane, Message, PATIENCE, Reply, assert_lasted, eventually, get, lane,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A backend that takes this long for each response.
async fn taking(time: Duration) -> Backend {
    Backend::start(move |_| Reply::new().read_body().wait(time).send(OK)).await
}

async fn balancer(backends: &[&Backend], rest: &str) -> Balancer {
    let urls: Vec<String> = backends.iter().map(|backend| backend.url()).collect();
    Balancer::start(&format!("upstreams: {{ web: {{ backends: {urls:?}, {rest} }} }}")).await
}

fn ask(balancer: &Balancer, count: usize) -> JoinSet<Message> {
    let address = balancer.address();
    (0..count).map(|_| get(address, "/")).collect()
}

#[tokio::test]
async fn a_backend_never_has_more_requests_than_it_takes() {
    let (one, two) = (taking(Duration::from_millis(20)).await, taking(Duration::from_millis(20)).await);
    let balancer = balancer(&[&one, &two], "max_connections: 3, algorithm: random").await;
    let answers = ask(&balancer, 60);
    let watched = async {
        let mut most = [0, 0];
        loop {
            let status = balancer.status().await;
            for (most, backend) in
                most.iter_mut().zip(status["upstreams"][0]["backends"].as_array().expect("two"))
            {
                *most = backend["in_flight"].as_u64().expect("a number").max(*most);
            }
            if one.count() + two.count() >= 60 {
                return most;
            }
        }
    };
    let (answers, most) = tokio::join!(answers.join_all(), watched);
    assert!(answers.iter().all(|answer| answer.status() == 200), "all waited their turn");
    assert_eq!(most, [3, 3]);
}

#[tokio::test]
async fn who_waits_too_long_is_refused() {
    let slow = taking(Duration::from_secs(3)).await;
    let balancer = balancer(&[&slow], "max_connections: 1, queue: { timeout: 200ms }").await;
    let first = ask(&balancer, 1);
    slow.until_requests(1).await;
    let start = Instant::now();
    let refused = balancer.get("/").await;
    assert_lasted("the wait", start.elapsed(), Duration::from_millis(200));
    assert_eq!((refused.status(), refused.header("retry-after")), (503, Some("1")));
    assert_eq!(balancer.log_line().await["end"], "refused=overloaded");
    assert!(first.join_all().await.iter().all(|answer| answer.status() == 200));
}

#[tokio::test]
async fn no_more_wait_than_may() {
    let slow = taking(Duration::from_millis(500)).await;
    let balancer = balancer(&[&slow], "max_connections: 1, queue: { max_pending: 2, timeout: 5s }").await;
    let answers = ask(&balancer, 6).join_all().await;
    let served = answers.iter().filter(|answer| answer.status() == 200).count();
    let refused = answers.iter().filter(|answer| answer.status() == 503).count();
    assert_eq!((served, refused), (3, 3), "one is served, two wait");
}

#[tokio::test]
async fn the_queue_gives_the_place_of_one_who_left_to_the_next() {
    let slow = taking(Duration::from_millis(100)).await;
    let balancer = balancer(&[&slow], "max_connections: 1, queue: { timeout: 5s }").await;
    let mut first = balancer.client().await;
    first.send("GET /first HTTP/1.1\r\nHost: test\r\n\r\n").await;
    slow.until_requests(1).await;
    let mut second = balancer.client().await;
    second.send("GET /second HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let address = balancer.admin();
    let pending = async || get(address, "/status").await.text().contains("\"pending\": 1");
    while !pending().await {}
    let third = ask(&balancer, 1);
    drop((first, second));
    assert!(third.join_all().await.iter().all(|answer| answer.status() == 200));
}

#[tokio::test]
async fn the_circuit_breaker_refuses_at_once() {
    let slow = taking(Duration::from_millis(500)).await;
    let balancer = balancer(&[&slow], "circuit_breaker: { max_in_flight: 2 }").await;
    let two = ask(&balancer, 2);
    slow.until_requests(2).await;
    let start = Instant::now();
    assert_eq!(balancer.get("/").await.status(), 503);
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
    assert!(two.join_all().await.iter().all(|answer| answer.status() == 200));
    assert_eq!(balancer.get("/").await.status(), 200, "it is closed again");
}

/// One response of a hundred is slow: a second attempt makes up for that, at few more requests.
#[tokio::test]
async fn second_attempts_cut_the_tail() {
    if lane() == Lane::Pingora {
        return; // See docs/lanes.md.
    }
    let nth = Arc::new(AtomicUsize::new(0));
    let mut backends = Vec::new();
    for _ in 0..4 {
        let nth = nth.clone();
        let time = move || if nth.fetch_add(1, SeqCst) % 100 == 50 { 300 } else { 4 };
        let answer = move || Reply::new().read_body().wait(Duration::from_millis(time())).send(OK);
        backends.push(Backend::start(move |_| answer()).await);
    }
    let all: Vec<&Backend> = backends.iter().collect();
    let mut tails = Vec::new();
    for hedge in ["", "hedge: { after: p95, budget: 5% }, "] {
        let before: usize = all.iter().map(|backend| backend.count()).sum();
        let balancer = balancer(&all, &format!("{hedge}algorithm: round_robin")).await;
        let (warm_up, measured) = (400, 1600);
        let mut clients = JoinSet::new();
        for _ in 0..8 {
            let mut client = balancer.client().await;
            clients.spawn(async move {
                let mut times = Vec::new();
                for number in 0..(warm_up + measured) / 8 {
                    let start = Instant::now();
                    assert_eq!(client.get("/").await.status(), 200);
                    if number >= warm_up / 8 {
                        times.push(start.elapsed());
                    }
                    if number == warm_up / 8 {
                        // Time for the balancer to see how slow is slow.
                        tokio::time::sleep(Duration::from_millis(1500)).await;
                    }
                }
                times
            });
        }
        let mut times: Vec<Duration> = clients.join_all().await.into_iter().flatten().collect();
        times.sort();
        tails.push(times[times.len() * 99 / 100]);
        let after: usize = all.iter().map(|backend| backend.count()).sum();
        let ratio = (after - before) as f64 / (warm_up + measured) as f64;
        assert!(ratio <= 1.06, "{ratio} requests at backends for each one that came");
    }
    assert!(tails[1] * 2 <= tails[0], "p99 without and with: {tails:?}");
}

/// A backend that looks slow is tested while no client waits for it, and has its share back once it is fast.
#[tokio::test]
async fn a_copy_tests_what_looks_slow() {
    if lane() == Lane::Pingora {
        return; // See docs/lanes.md.
    }
    let takes = Arc::new(AtomicU64::new(600));
    let time = takes.clone();
    let slow = move || Reply::new().read_body().wait(Duration::from_millis(time.load(SeqCst))).send(OK);
    let slow = Backend::start(move |_| slow()).await;
    let (one, two) = (taking(Duration::from_millis(3)).await, taking(Duration::from_millis(3)).await);
    let rest = "algorithm: { peak_ewma: { retest: 800ms } }, hedge: { after: 30s, budget: 50% }";
    let balancer = balancer(&[&one, &slow, &two], rest).await;
    let mut client = balancer.client().await;
    while slow.count() == 0 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    let start = Instant::now();
    let mut longest = Duration::ZERO;
    while start.elapsed() < Duration::from_secs(3) {
        let sent = Instant::now();
        assert_eq!(client.get("/").await.status(), 200);
        longest = longest.max(sent.elapsed());
    }
    assert!(longest < Duration::from_millis(500), "a client waited for {longest:?}");
    // The last request may have sent one.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let copies = slow.requests().split_off(1);
    assert!((2..=30).contains(&copies.len()), "{} copies", copies.len());
    let others = [one.requests(), two.requests()].concat();
    for copy in &copies {
        assert_eq!(copy.message.header("connection"), Some("close"));
        let id = copy.message.header("x-request-id");
        let originals = others.iter().filter(|seen| seen.message.header("x-request-id") == id);
        assert_eq!(originals.count(), 1, "another backend responded to it");
    }
    let metrics = get(balancer.admin(), "/metrics").await.text();
    let name = format!("evenkeel_backend_copies_total{{upstream=\"web\",backend=\"{}\"}}", slow.url());
    assert!(metrics.contains(&format!("{name} {}\n", copies.len())), "{metrics}");

    // What may not be asked for twice is its own test.
    let tests = || slow.requests().into_iter().filter(|seen| seen.message.method() == "DELETE");
    let start = Instant::now();
    while tests().count() == 0 {
        assert_eq!(client.ask("DELETE / HTTP/1.1\r\nHost: test\r\n\r\n").await.status(), 200);
        assert!(start.elapsed() < PATIENCE, "it receives no more requests");
    }
    assert!(tests().all(|test| test.message.header("connection").is_none()));

    takes.store(3, SeqCst);
    let (before, start) = (slow.count(), Instant::now());
    while slow.count() < before + 50 {
        assert_eq!(client.get("/").await.status(), 200);
        assert!(start.elapsed() < Duration::from_secs(5), "{} requests", slow.count() - before);
    }
}

#[tokio::test]
async fn the_loser_of_two_attempts_is_cancelled() {
    if lane() == Lane::Pingora {
        return; // See docs/lanes.md.
    }
    let (slow, fast) = (Backend::start(|_| Reply::silence()).await, Backend::saying("fast").await);
    let balancer =
        balancer(&[&slow, &fast], "hedge: { after: 30ms, budget: 100% }, outlier_detection: off").await;
    for _ in 0..4 {
        assert_eq!(balancer.get("/").await.text(), "fast");
    }
    assert!(slow.count() >= 1);
    slow.until_all_closed().await;
    let status = balancer.status().await;
    for backend in status["upstreams"][0]["backends"].as_array().expect("two") {
        assert_eq!(backend["in_flight"], 0, "{status:#}");
    }
    let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n";
    let before = slow.count() + fast.count();
    let mut clients: Vec<_> = vec![balancer.client().await, balancer.client().await];
    for client in &mut clients {
        client.send(post).await;
    }
    eventually(PATIENCE, || slow.count() + fast.count() == before + 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(slow.count() + fast.count(), before + 2, "a POST has one attempt");
}

/// Requests know nothing of a second attempt that fails. Its backend is in doubt nevertheless.
#[tokio::test]
async fn a_second_attempt_that_cannot_connect_is_held_against_its_backend() {
    if lane() == Lane::Pingora {
        return; // See docs/lanes.md.
    }
    // Which of two is chosen first is random.
    for _ in 0..50 {
        let slow =
            Backend::start(|_| Reply::new().read_body().wait(Duration::from_millis(200)).send(OK)).await;
        let dead = ClosedPort::new();
        let urls = [slow.url(), dead.url()];
        let rest = "algorithm: random, hedge: { after: 20ms, budget: 100% }, outlier_detection: off";
        let balancer =
            Balancer::start(&format!("upstreams: {{ web: {{ backends: {urls:?}, {rest} }} }}")).await;
        assert_eq!(balancer.get("/").await.status(), 200);
        let metrics = Samples::parse(&balancer.metrics().await);
        let dead = [("backend", urls[1].as_str())];
        if metrics.sum("evenkeel_backend_hedges_total", &dead) > 0.0 {
            assert_eq!(metrics.sum("evenkeel_backend_connect_failures_total", &dead), 1.0);
            let status = &balancer.status().await["upstreams"][0]["backends"][1];
            assert_eq!((&status["unreachable"], &status["failures"]), (&true.into(), &1.into()), "{status}");
            return;
        }
    }
    panic!("the backend that refuses was never tried second");
}
