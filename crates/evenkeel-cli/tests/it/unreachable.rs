//! Backends that no request can reach cost no request, as long as there is one that can be reached.

#![cfg(test)]

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::samples::Samples;
use crate::support::{
    Backend, Balancer, BlackHole, ClosedPort, Closer, Options, PATIENCE, Reply, assert_lasted,
};

const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody";

/// How a backend cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Refuses,
    Swallows,
    Closes,
}

/// Addresses that cannot be reached, for as long as this lives.
enum Dead {
    Closed(ClosedPort),
    Hole(BlackHole),
    Closer(Closer),
}

impl Dead {
    async fn new(fault: Fault) -> Self {
        match fault {
            Fault::Refuses => Self::Closed(ClosedPort::new()),
            Fault::Swallows => Self::Hole(BlackHole::new().await),
            Fault::Closes => Self::Closer(Closer::new().await),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Closed(port) => port.url(),
            Self::Hole(hole) => hole.url(),
            Self::Closer(closer) => closer.url(),
        }
    }
}

async fn dead(fault: Fault, count: usize) -> Vec<Dead> {
    let mut dead = JoinSet::new();
    for _ in 0..count {
        dead.spawn(Dead::new(fault));
    }
    dead.join_all().await
}

/// A balancer before these and, last, one that serves.
async fn balancer(dead: &[Dead], alive: &Backend, upstream: &str) -> Balancer {
    let urls: Vec<String> = dead.iter().map(Dead::url).chain([alive.url()]).collect();
    let timeouts = "timeouts: { connect: 300ms }";
    Balancer::start(&format!("upstreams: {{ web: {{ backends: {urls:?}, {timeouts}, {upstream} }} }}")).await
}

/// Sends requests over several connections at once; the statuses of those that failed.
async fn load(balancer: &Balancer, requests: &[&'static str]) -> Vec<(&'static str, u16)> {
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (address, requests) = (balancer.address(), requests.to_vec());
        clients.spawn(async move {
            let mut client = crate::support::Client::connect(address).await;
            let mut failed = Vec::new();
            for request in requests {
                let status = client.ask(request).await.status();
                if status != 200 {
                    failed.push((request.split(' ').next().unwrap_or_default(), status));
                    client = crate::support::Client::connect(address).await;
                }
            }
            failed
        });
    }
    clients.join_all().await.into_iter().flatten().collect()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

async fn no_request_fails(fault: Fault) {
    for count in [1, 2, 9] {
        let (dead, alive) = (dead(fault, count).await, Backend::saying("alive").await);
        let balancer = balancer(&dead, &alive, "").await;
        // Where a backend takes the connection, a POST may have reached it, and is not sent again.
        let requests =
            if fault == Fault::Closes { [GET; 20] } else { [GET, POST].repeat(10).try_into().unwrap() };
        let failed = load(&balancer, &requests).await;
        assert!(failed.is_empty(), "{count} of {} with {fault:?}: {failed:?}", count + 1);
        assert_eq!(alive.count(), 160);
    }
}

#[tokio::test]
async fn no_request_fails_while_one_backend_does_not_refuse() {
    no_request_fails(Fault::Refuses).await;
}

#[tokio::test]
async fn no_request_fails_while_one_backend_does_not_swallow_connections() {
    no_request_fails(Fault::Swallows).await;
}

#[tokio::test]
async fn no_get_fails_while_one_backend_does_not_close_at_once() {
    no_request_fails(Fault::Closes).await;
}

/// A POST that was sent to a backend which closes at once may have reached it. But such backends are left alone.
#[tokio::test]
async fn a_backend_that_closes_at_once_costs_few_posts() {
    let (dead, alive) = (dead(Fault::Closes, 9).await, Backend::saying("alive").await);
    let balancer = balancer(&dead, &alive, "").await;
    let mut client = balancer.client().await;
    let mut failed = 0;
    for _ in 0..100 {
        failed += usize::from(client.ask(POST).await.status() != 200);
    }
    assert!(failed <= 27, "{failed} of 100 failed: more than three for each backend");
}

#[tokio::test]
async fn every_algorithm_leaves_backends_alone_that_refuse() {
    let algorithms = [
        "round_robin",
        "random",
        "least_connections",
        "power_of_two_choices",
        "peak_ewma",
        "source_ip_hash",
        "{ consistent_hash: { key: header x-key } }",
        "{ maglev: { key: header x-key } }",
        "{ rendezvous: { key: header x-key } }",
        "prequal",
    ];
    for algorithm in algorithms {
        let (dead, alive) = (dead(Fault::Refuses, 9).await, Backend::saying("alive").await);
        let balancer = balancer(&dead, &alive, &format!("algorithm: {algorithm}")).await;
        let start = Instant::now();
        let mut client = balancer.client().await;
        for number in 0..100 {
            let request = format!("GET / HTTP/1.1\r\nHost: test\r\nX-Key: {number}\r\n\r\n");
            assert_eq!(client.ask(request).await.status(), 200, "{algorithm}, request {number}");
        }
        let records = balancer.log_lines(100).await;
        let attempts: u64 = records.iter().filter_map(|record| record["attempts"].as_u64()).sum();
        // Each is met once, and then tested at most once a second.
        let most = 100 + 9 * (2 + start.elapsed().as_secs());
        assert!(attempts <= most, "{algorithm}: {attempts} attempts, at most {most}");
    }
}

#[tokio::test]
async fn a_client_whose_backend_cannot_be_reached_is_given_another() {
    let alive = Backend::saying("alive").await;
    let named = Backend::saying("named").await;
    let urls = [named.url(), alive.url()];
    let text = format!("upstreams: {{ web: {{ sticky: {{ cookie: stick }}, backends: {urls:?} }} }}");
    let balancer = Balancer::start(&text).await;
    let cookie = loop {
        let answer = balancer.get("/").await;
        if answer.text() == "named" {
            break answer.header("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned();
        }
    };
    drop(named);
    let mut client = balancer.client().await;
    let mut attempts = 0;
    for number in 0..20 {
        let answer =
            client.ask(format!("GET /{number} HTTP/1.1\r\nHost: t\r\nCookie: {cookie}\r\n\r\n")).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "alive"));
        attempts += balancer.log_line_of(&format!("/{number}")).await["attempts"].as_u64().unwrap();
    }
    assert!(attempts <= 26, "{attempts} attempts for 20 requests");
}

/// Outlier detection may not eject more of them, and none of the ejected ones may be lost to a request.
#[tokio::test]
async fn what_was_ejected_is_tried_before_a_request_fails() {
    let options = |address| Options { address, ..Default::default() };
    let serve = |address| Backend::with(options(address), |_| Reply::ok("hello"));
    let (one, two) = (serve(None).await, serve(None).await);
    let addresses = [one.address(), two.address()];
    let urls = [one.url(), two.url()];
    let text = format!(
        "upstreams: {{ web: {{ outlier_detection: {{ consecutive_failures: 1 }}, backends: {urls:?} }} }}"
    );
    let balancer = Balancer::start(&text).await;
    let mut backends = [Some(one), Some(two)];
    for round in 0..4 {
        backends[round % 2] = None;
        for number in 0..10 {
            assert_eq!(balancer.client().await.ask(GET).await.status(), 200, "round {round}, {number}");
        }
        backends[round % 2] = Some(serve(Some(addresses[round % 2])).await);
    }
}

#[tokio::test]
async fn a_backup_serves_from_the_first_refused_connection_on() {
    let (dead, backup) = (ClosedPort::new(), Backend::saying("backup").await);
    let text = format!(
        "upstreams: {{ web: {{ backends: [{{ url: \"{}\" }}, {{ url: \"{}\", backup: true }}] }} }}",
        dead.url(),
        backup.url()
    );
    let balancer = Balancer::start(&text).await;
    for number in 0..20 {
        assert_eq!(balancer.client().await.ask(POST).await.text(), "backup", "request {number}");
    }
}

/// What does harm to a backend that is not healthy is not sent to one, also not in the last resort.
#[tokio::test]
async fn a_backend_that_probes_call_down_gets_nothing_where_requests_are_refused() {
    let down = Backend::start(|seen| {
        if seen.message.target() == "/health" { Reply::status(500, "no") } else { Reply::ok("no") }
    })
    .await;
    let gone = Backend::saying("soon gone").await;
    let urls = [down.url(), gone.url()];
    let check =
        "health_check: { http: { path: /health }, interval: 50ms, timeout: 40ms, fall: 1, start: down }";
    let text = format!("upstreams: {{ web: {{ {check}, when_all_down: refuse, backends: {urls:?} }} }}");
    let balancer = Balancer::start(&text).await;
    let start = Instant::now();
    while balancer.get("/").await.status() != 200 {
        assert!(start.elapsed() < PATIENCE);
    }
    drop(gone);
    assert!([502, 503].contains(&balancer.get("/").await.status()));
    assert!(down.requests().iter().all(|seen| seen.message.target() == "/health"));
}

/// A backend that does not respond must leave time for those that were not tried.
#[tokio::test]
async fn a_backend_that_does_not_respond_does_not_take_the_whole_time_of_the_route() {
    let dead = dead(Fault::Swallows, 4).await;
    let alive = Backend::saying("alive").await;
    let urls: Vec<String> = dead.iter().map(Dead::url).chain([alive.url()]).collect();
    let text = format!(
        "routes: [{{ name: all, upstream: web, timeout: 2s }}]\n\
         upstreams: {{ web: {{ backends: {urls:?}, timeouts: {{ connect: 10s }} }} }}"
    );
    let balancer = Balancer::start(&text).await;
    for number in 0..5 {
        assert_eq!(balancer.client().await.ask(POST).await.status(), 200, "request {number}");
    }
}

#[tokio::test]
async fn without_another_backend_connecting_takes_as_long_as_it_may() {
    let hole = BlackHole::new().await;
    let text =
        format!("upstreams: {{ web: {{ backends: [\"{}\"], timeouts: {{ connect: 300ms }} }} }}", hole.url());
    let balancer = Balancer::start(&text).await;
    let start = Instant::now();
    assert_eq!(balancer.get("/").await.status(), 504);
    assert_lasted("connecting", start.elapsed(), Duration::from_millis(300));
}

/// It receives no connection more often than it may be tested, and serves as soon as it is back.
#[tokio::test]
async fn a_backend_that_is_back_serves_again() {
    let (gone, other) = (Backend::saying("back").await, Backend::saying("other").await);
    let (address, urls) = (gone.address(), [gone.url(), other.url()]);
    drop(gone);
    let text = format!("upstreams: {{ web: {{ outlier_detection: off, backends: {urls:?} }} }}");
    let balancer = Balancer::start(&text).await;
    for _ in 0..4 {
        assert_eq!(balancer.get("/").await.text(), "other");
    }
    let options = Options { address: Some(address), ..Default::default() };
    let _back = Backend::with(options, |_| Reply::ok("back")).await;
    let start = Instant::now();
    while balancer.get("/").await.text() != "back" {
        assert!(start.elapsed() < PATIENCE, "it is never asked again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A backend that is gone and, from a backup for it, a configuration with both.
fn with_backup(gone: &str, backup: &str, more: &str) -> String {
    let backends = format!("[{{ url: \"{gone}\" }}, {{ url: \"{backup}\", backup: true }}]");
    format!("upstreams: {{ web: {{ outlier_detection: off, backends: {backends}, {more} }} }}")
}

/// A backend at this address, which no other one had in the meantime.
async fn back_at(address: std::net::SocketAddr) -> Backend {
    let options = Options { address: Some(address), ..Default::default() };
    Backend::with(options, |_| Reply::ok("back")).await
}

#[tokio::test]
async fn a_get_that_every_backend_failed_is_sent_to_one_that_serves_again() {
    let gone = Backend::saying("back").await;
    let backup = Backend::start(|seen| match seen.message.target() {
        "/slow" => Reply::new().wait(Duration::from_secs(3)).close(),
        _ => Reply::ok("backup"),
    })
    .await;
    let (address, text) = (gone.address(), with_backup(&gone.url(), &backup.url(), ""));
    drop(gone);
    let balancer = Balancer::start(&text).await;
    let mut client = balancer.client().await;
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n").await;
    backup.until_requests(1).await;
    let _back = back_at(address).await;
    let start = Instant::now();
    while balancer.get("/").await.text() != "back" {
        assert!(start.elapsed() < PATIENCE, "it never serves again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(client.response().await.text(), "back");
    assert_eq!(balancer.log_line_of("/slow").await["attempts"], 3);
}

/// The backup never accepts it.
#[tokio::test]
async fn a_post_that_reached_no_backend_is_sent_to_one_that_a_probe_reached() {
    let (gone, hole) = (Backend::saying("back").await, BlackHole::new().await);
    let check = "health_check: { http: { path: /health }, interval: 100ms, timeout: 50ms, rise: 1 }";
    let more = format!("timeouts: {{ connect: 900ms }}, {check}");
    let (address, text) = (gone.address(), with_backup(&gone.url(), &hole.url(), &more));
    drop(gone);
    let balancer = Balancer::start(&text).await;
    let mut client = balancer.client().await;
    client.send(POST).await;
    let refused =
        |page: String| Samples::parse(&page).sum("evenkeel_backend_connect_failures_total", &[]) > 0.0;
    let start = Instant::now();
    while !refused(balancer.metrics().await) {
        assert!(start.elapsed() < PATIENCE, "no attempt");
    }
    let _back = back_at(address).await;
    assert_eq!(client.response().await.text(), "back");
}

/// Without a sign that a backend serves again, no more is sent to any.
#[tokio::test]
async fn a_request_that_every_backend_failed_fails_at_once() {
    let dead = dead(Fault::Refuses, 3).await;
    let urls: Vec<String> = dead.iter().map(Dead::url).collect();
    let balancer = Balancer::start(&format!("upstreams: {{ web: {{ backends: {urls:?} }} }}")).await;
    assert_eq!(balancer.get("/").await.status(), 502);
    assert_eq!(balancer.log_line().await["attempts"], 3);
}

/// With `wait_for_backend`, the only backend can be restarted: neither a GET nor a POST fails.
#[tokio::test]
async fn requests_wait_for_their_only_backend_to_return() {
    let gone = Backend::saying("before").await;
    let (address, url) = (gone.address(), gone.url());
    let text =
        format!("upstreams: {{ web: {{ backends: [\"{url}\"], retry: {{ wait_for_backend: 9s }} }} }}");
    let balancer = Balancer::start(&text).await;
    assert_eq!(balancer.get("/").await.text(), "before");
    drop(gone);
    let mut clients = JoinSet::new();
    for request in [GET, POST].repeat(10) {
        let mut client = balancer.client().await;
        clients.spawn(async move { client.ask(request).await.text() });
    }
    let refused =
        |page: String| Samples::parse(&page).sum("evenkeel_backend_connect_failures_total", &[]) > 0.0;
    let start = Instant::now();
    while !refused(balancer.metrics().await) {
        assert!(start.elapsed() < PATIENCE, "no attempt");
    }
    assert!(clients.try_join_next().is_none(), "a request did not wait");
    let _back = back_at(address).await;
    for text in clients.join_all().await {
        assert_eq!(text, "back");
    }
}

#[tokio::test]
async fn a_request_waits_no_longer_than_it_may() {
    let gone = ClosedPort::new();
    let retry = "retry: { wait_for_backend: 300ms }";
    let text = format!("upstreams: {{ web: {{ backends: [\"{}\"], {retry} }} }}", gone.url());
    let balancer = Balancer::start(&text).await;
    let start = Instant::now();
    assert_eq!(balancer.get("/").await.status(), 502);
    assert_lasted("waiting", start.elapsed(), Duration::from_millis(300));
}
