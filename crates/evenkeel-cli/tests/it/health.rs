//! Active health checks: what the probes send, how often, and what the results cause.

#![cfg(test)]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::SeqCst};
use std::time::Duration;

use evenkeel::Server;
use evenkeel::algorithm::Address;
use evenkeel::config::Config;
use evenkeel::health_check::{Check, Target};
use serde_json::Value;

use crate::support::{Backend, Balancer, BlackHole, ClosedPort, PATIENCE, Reply, Seen, eventually, get};

/// A backend whose `/healthz` returns a status that can be changed, and all other paths its name.
async fn checked(name: &'static str, status: u16) -> (Backend, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let said = status.clone();
    let backend = Backend::start(move |seen| match seen.target() {
        "/healthz" => Reply::status(said.load(SeqCst), "health"),
        _ => Reply::ok(name),
    });
    (backend.await, status)
}

fn probes(backend: &Backend) -> usize {
    backend.requests().iter().filter(|seen| seen.target() == "/healthz").count()
}

fn upstream(backends: &[String], rest: &str) -> String {
    format!("upstreams: {{ web: {{ backends: {backends:?}, {rest} }} }}")
}

async fn until_state(balancer: &Balancer, backend: usize, state: &str) -> Value {
    let limit = std::time::Instant::now() + PATIENCE;
    loop {
        let status = balancer.status().await["upstreams"][0]["backends"][backend].clone();
        if status["state"] == state {
            return status;
        }
        assert!(std::time::Instant::now() < limit, "never {state}: {status}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_backend_is_taken_out_and_comes_back() {
    let (one, status) = checked("one", 200).await;
    let (two, _) = checked("two", 200).await;
    let check = "health_check: { http: { path: /healthz }, interval: 20ms, timeout: 20ms }";
    let balancer = Balancer::start(&upstream(&[one.url(), two.url()], check)).await;
    let mut client = balancer.client().await;
    let mut names = async |count: usize| {
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(client.get("/").await.text());
        }
        names
    };
    assert!(names(10).await.contains(&"one".to_owned()));
    status.store(503, SeqCst);
    let shown = until_state(&balancer, 0, "down").await;
    assert_eq!(shown["last_probe"]["result"], "failed");
    assert_eq!(shown["last_probe"]["reason"], "status 503");
    assert_eq!(names(20).await, vec!["two"; 20]);
    status.store(204, SeqCst);
    let shown = until_state(&balancer, 0, "up").await;
    assert_eq!(shown["last_probe"]["result"], "passed");
    assert!(shown["last_probe"]["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{shown}");
    assert!(names(10).await.contains(&"one".to_owned()));
    let metrics = balancer.metrics().await;
    let labels = format!("upstream=\"web\",backend=\"{}\"", one.url());
    assert!(metrics.contains(&format!("evenkeel_backend_up{{{labels}}} 1")), "{metrics}");
}

/// How long probes are counted: `EVENKEEL_TEST_PROBING_SECONDS`, default five.
#[expect(clippy::disallowed_methods, reason = "a test is run by hand with this variable")]
fn counted_for() -> usize {
    let given = std::env::var("EVENKEEL_TEST_PROBING_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    given.unwrap_or(5)
}

/// The backend that never responds delays no other: each gets as many probes as configured, plus or minus a tenth.
#[tokio::test]
async fn every_backend_is_probed_as_often_as_asked_for() {
    let seconds = counted_for();
    let (one, _) = checked("one", 200).await;
    let (two, _) = checked("two", 500).await;
    let hole = BlackHole::new().await;
    let check = "health_check: { http: { path: /healthz }, interval: 100ms, timeout: 100ms }";
    let balancer = Balancer::start(&upstream(&[hole.url(), one.url(), two.url()], check)).await;
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    for backend in [&one, &two] {
        let count = probes(backend);
        println!("{count} probes in {seconds} s, one each 100 ms");
        assert!((9 * seconds..=11 * seconds).contains(&count), "{count} probes in {seconds} s");
    }
    let status = until_state(&balancer, 0, "down").await;
    assert_eq!(status["last_probe"]["reason"], "no connection within 100ms");
}

#[tokio::test]
async fn a_probe_asks_what_was_configured() {
    let backend = Backend::start(|_| Reply::ok("all is healthy here")).await;
    let check = "health_check: { http: { path: '/ping?deep=1', method: POST, host: app.test, headers: { x-probe: me }, \
                 expect_body: healthy }, interval: 50ms, timeout: 50ms }";
    let balancer = Balancer::start(&upstream(&[backend.url()], check)).await;
    backend.until_requests(1).await;
    let seen = backend.requests().remove(0).message;
    assert_eq!((seen.method(), seen.target()), ("POST", "/ping?deep=1"));
    assert_eq!((seen.header("host"), seen.header("x-probe")), (Some("app.test"), Some("me")));
    until_state(&balancer, 0, "up").await;
}

#[tokio::test]
async fn a_body_that_lacks_the_text_is_a_failure() {
    let backend = Backend::start(|_| Reply::ok("maintenance")).await;
    let check = "health_check: { http: { expect_body: 'healthy' }, interval: 20ms, timeout: 20ms }";
    let balancer = Balancer::start(&upstream(&[backend.url()], check)).await;
    let shown = until_state(&balancer, 0, "down").await;
    assert!(shown["last_probe"]["reason"].as_str().is_some_and(|reason| reason.contains("body")), "{shown}");
}

#[tokio::test]
async fn one_that_starts_down_gets_nothing_before_its_first_success() {
    let well = Arc::new(AtomicBool::new(false));
    let says = well.clone();
    let backend = Backend::start(move |seen: &Seen| match seen.target() {
        "/healthz" if says.load(SeqCst) => Reply::ok("healthy"),
        "/healthz" => Reply::status(500, "cold"),
        _ => Reply::ok("warm"),
    })
    .await;
    let check = "health_check: { http: { path: /healthz }, interval: 20ms, timeout: 20ms, start: down }";
    let balancer = Balancer::start(&upstream(&[backend.url()], check)).await;
    eventually(PATIENCE, || probes(&backend) >= 5).await;
    assert_eq!(balancer.get("/").await.status(), 503);
    assert_eq!(probes(&backend), backend.count(), "only probes came");
    well.store(true, SeqCst);
    until_state(&balancer, 0, "up").await;
    assert_eq!(balancer.get("/").await.text(), "warm");
}

#[tokio::test]
async fn when_all_are_down_it_is_as_was_chosen() {
    for (choice, status, mode) in [("fail_open", 200, "fail_open"), ("refuse", 503, "refuse")] {
        let (one, _) = checked("one", 500).await;
        let check = "health_check: { http: { path: /healthz }, interval: 20ms, timeout: 20ms }";
        let text = upstream(&[one.url()], &format!("{check}, when_all_down: {choice}"));
        let balancer = Balancer::start(&text).await;
        until_state(&balancer, 0, "down").await;
        assert_eq!(balancer.get("/").await.status(), status, "{choice}");
        assert_eq!(balancer.status().await["upstreams"][0]["mode"], mode);
        let sample = format!("evenkeel_upstream_mode{{upstream=\"web\",mode=\"{mode}\"}} 1");
        assert!(balancer.metrics().await.contains(&sample), "{mode}");
    }
}

#[tokio::test]
async fn backups_are_used_when_all_others_are_down_and_no_longer_than_that() {
    let (one, status) = checked("one", 200).await;
    let (backup, _) = checked("backup", 200).await;
    let text = format!(
        "upstreams: {{ web: {{ backends: [\"{}\", {{ url: \"{}\", backup: true }}], \
         health_check: {{ http: {{ path: /healthz }}, interval: 20ms, timeout: 20ms }} }} }}",
        one.url(),
        backup.url()
    );
    let balancer = Balancer::start(&text).await;
    for (said, state, name) in [(200, "up", "one"), (500, "down", "backup"), (200, "up", "one")] {
        status.store(said, SeqCst);
        until_state(&balancer, 0, state).await;
        for _ in 0..5 {
            assert_eq!(balancer.get("/").await.text(), name);
        }
    }
}

/// A check of one's own: a backend is healthy if its port is even.
#[derive(Debug)]
struct EvenPort;

impl Check for EvenPort {
    fn check<'a>(
        &'a self,
        target: &'a Target,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        Box::pin(async move {
            let even = matches!(&target.address, Address::Tcp(address) if address.port() % 2 == 0);
            even.then_some(()).ok_or_else(|| "an odd port".to_owned())
        })
    }
}

#[tokio::test]
async fn a_check_of_ones_own_is_asked_by_its_name() {
    let mut urls = Vec::new();
    let mut backends = Vec::new();
    while urls.len() < 2 {
        let backend = Backend::saying("hello").await;
        if usize::from(backend.address().port() % 2) == urls.len() {
            urls.push(backend.url());
        }
        backends.push(backend);
    }
    let text = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0, hosts: [test] }}\n{}",
        upstream(&urls, "health_check: { custom: even_port, interval: 20ms, timeout: 20ms }")
    );
    let config = || Config::from_yaml(&text, "test.yaml", &|_| None).expect("it is right");
    let error = Server::new(config()).start().await.expect_err("it is not registered");
    assert!(error.to_string().contains("no check named `even_port`"), "{error}");
    let mut server = Server::new(config()).health_check("even_port", || EvenPort);
    server.start().await.expect("it starts");
    let admin = server.admin_address().expect("an admin address");
    let limit = std::time::Instant::now() + PATIENCE;
    loop {
        let status: Value = serde_json::from_str(&get(admin, "/status").await.text()).expect("JSON");
        let backends = &status["upstreams"][0]["backends"];
        if backends[1]["state"] == "down" && backends[0]["last_probe"]["result"] == "passed" {
            assert_eq!(backends[1]["last_probe"]["reason"], "an odd port");
            return;
        }
        assert!(std::time::Instant::now() < limit, "{status:#}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Backends nearby are preferred, as long as enough of them are healthy.
#[tokio::test]
async fn the_own_zone_is_preferred() {
    let (near, status) = checked("near", 200).await;
    let (far, _) = checked("far", 200).await;
    let text = format!(
        "zone: here\nupstreams: {{ web: {{ backends: [{{ url: \"{}\", zone: here }}, {{ url: \"{}\", zone: there }}], \
         health_check: {{ http: {{ path: /healthz }}, interval: 20ms, timeout: 20ms }} }} }}",
        near.url(),
        far.url()
    );
    let balancer = Balancer::start(&text).await;
    for (said, state, name) in [(200, "up", "near"), (500, "down", "far"), (200, "up", "near")] {
        status.store(said, SeqCst);
        until_state(&balancer, 0, state).await;
        for _ in 0..5 {
            assert_eq!(balancer.get("/").await.text(), name);
        }
    }
}

#[tokio::test]
async fn tcp_says_who_listens() {
    let one = Backend::saying("one").await;
    let gone = ClosedPort::new();
    let check = "health_check: { tcp: {}, interval: 20ms, timeout: 20ms }";
    let balancer = Balancer::start(&upstream(&[gone.url(), one.url()], check)).await;
    let shown = until_state(&balancer, 0, "down").await;
    assert_eq!(shown["last_probe"]["reason"], "refused");
    until_state(&balancer, 1, "up").await;
    assert_eq!(one.count(), 0, "a TCP probe asks for nothing");
}

/// A backend that looks slow to requests receives one from time to time, as a test; probes that are slow too save
/// requests that.
#[tokio::test]
async fn probes_that_are_slow_spare_requests_the_tests() {
    let slow = Arc::new(AtomicBool::new(true));
    let is_slow = slow.clone();
    let answer = move |seen: &Seen, name, slow: &AtomicBool| {
        let body: &str = if seen.target() == "/healthz" { "health" } else { name };
        // Far more than a busy machine adds to the others.
        let time = Duration::from_millis(if slow.load(SeqCst) { 200 } else { 0 });
        let length = body.len();
        Reply::new().wait(time).send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"))
    };
    let fast = |name| Backend::start(move |seen| answer(seen, name, &AtomicBool::new(false)));
    let backends = [
        Backend::start(move |seen| answer(seen, "slow", &is_slow)).await,
        fast("one").await,
        fast("two").await,
        fast("three").await,
    ];
    let urls: Vec<String> = backends.iter().map(Backend::url).collect();
    let check = "health_check: { http: { path: /healthz }, interval: 500ms, timeout: 500ms }, \
                 algorithm: { peak_ewma: { retest: 800ms } }";
    let balancer = Balancer::start(&upstream(&urls, check)).await;
    let mut client = balancer.client().await;
    let mut served_by_slow = async |time: Duration, enough: u32| {
        let (end, mut count) = (std::time::Instant::now() + time, 0);
        while std::time::Instant::now() < end && count < enough {
            count += u32::from(client.get("/").await.text() == "slow");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        count
    };
    // Until it is known to be slow, both to requests and by its probes.
    let start = std::time::Instant::now();
    while served_by_slow(Duration::from_millis(900), u32::MAX).await > 0 {
        assert!(start.elapsed() < PATIENCE, "it is never known to be slow");
    }
    // Without probes, there would be a test each 800 ms.
    let tests = served_by_slow(Duration::from_millis(2_400), u32::MAX).await;
    assert!(tests <= 1, "{tests} tests");
    slow.store(false, SeqCst);
    // With probes that are slow, a test would come after eight times as long.
    let share = served_by_slow(Duration::from_secs(5), 10).await;
    assert!(share >= 10, "back at once: {share}");
}
