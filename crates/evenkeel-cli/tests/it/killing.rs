//! Backends are killed and come back under load, and no client notices.

#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::samples::Samples;
use crate::support::{Backend, Balancer, Client, Options, Reply};

/// How long backends are killed: `EVENKEEL_TEST_KILLING_SECONDS`, default six.
#[expect(clippy::disallowed_methods, reason = "a test is run by hand with this variable")]
fn duration() -> Duration {
    let given = std::env::var("EVENKEEL_TEST_KILLING_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(given.unwrap_or(6))
}

async fn backend(address: Option<std::net::SocketAddr>) -> Backend {
    let options = Options { address, ..Options::default() };
    Backend::with(options, |_| Reply::new().read_body().wait(Duration::from_millis(3)).send(OK)).await
}

/// Of ten backends one is killed each second, with whatever it has in flight, and comes back five seconds later, under about
/// 2,000 GETs a second: not one fails.
async fn kill_under(rest: &str) -> Killed {
    let mut backends = Vec::new();
    for _ in 0..10 {
        backends.push(Some(backend(None).await));
    }
    let addresses: Vec<_> = backends.iter().flatten().map(Backend::address).collect();
    let urls: Vec<_> = backends.iter().flatten().map(Backend::url).collect();
    let text = format!("upstreams: {{ web: {{ backends: {urls:?}, {rest} }} }}");
    let balancer = Balancer::start(&text).await;
    let (done, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..10 {
        clients.spawn(load(balancer.address(), done.clone(), sent.clone()));
    }
    let start = Instant::now();
    let mut seconds = 0;
    while start.elapsed() < duration() {
        tokio::time::sleep_until((start + Duration::from_secs(seconds)).into()).await;
        let at = seconds as usize % backends.len();
        backends[at] = None;
        if seconds >= 5 {
            let again = (seconds as usize - 5) % backends.len();
            backends[again] = Some(backend(Some(addresses[again])).await);
        }
        seconds += 1;
    }
    done.store(true, SeqCst);
    let failures: Vec<String> = clients.join_all().await.into_iter().flatten().collect();
    let sent = sent.load(SeqCst);
    assert!(failures.is_empty(), "{} of {sent} failed: {:?}", failures.len(), failures.first());
    assert!(sent > 200 * duration().as_secs(), "{sent} requests are no load");
    let samples = Samples::parse(&balancer.metrics().await);
    let killed = Killed {
        requests: sent as f64,
        retries: samples.sum("evenkeel_backend_retries_total", &[]),
        ejections: samples.sum("evenkeel_backend_ejections_total", &[]),
    };
    println!("in {:?}: {killed:?}", start.elapsed());
    killed
}

/// What killing came to.
#[derive(Debug)]
struct Killed {
    requests: f64,
    retries: f64,
    ejections: f64,
}

/// Some 200 requests a second on one connection; what failed.
async fn load(address: std::net::SocketAddr, done: Arc<AtomicBool>, sent: Arc<AtomicU64>) -> Vec<String> {
    let mut failures = Vec::new();
    let mut client = Client::connect(address).await;
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !done.load(SeqCst) {
        ticks.tick().await;
        sent.fetch_add(1, SeqCst);
        let answer = client.get("/").await;
        if answer.status() != 200 {
            failures.push(format!("{} {}", answer.status(), answer.text()));
            client = Client::connect(address).await;
        }
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_health_checks_no_request_fails() {
    kill_under("health_check: { tcp: {}, interval: 200ms, timeout: 200ms }").await;
}

/// With outlier detection alone, a dead backend costs the attempts that get it ejected, those that were on their way then, and
/// hardly any after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_outlier_detection_alone_no_request_fails() {
    let killed = kill_under("outlier_detection: { consecutive_failures: 3, ejection_time: 5s, max_ejection_time: 5s, max_ejected: 80% }").await;
    // Three for each ejection, and one or two of each of the ten connections that were being served.
    let expected = 3.0 * killed.ejections + 10.0 * duration().as_secs_f64();
    assert!(killed.retries <= expected + killed.requests / 10_000.0, "{killed:?}, expected {expected}");
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
