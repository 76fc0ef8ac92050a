//! Outlier detection: backends are judged by the traffic that they serve.

#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Backend, Balancer, Client, ClosedPort, PATIENCE, Reply};

async fn balancer(backends: &[String], rest: &str) -> Balancer {
    Balancer::start(&format!("upstreams: {{ web: {{ backends: {backends:?}, {rest} }} }}")).await
}

async fn until(balancer: &Balancer, what: impl Fn(&Value) -> bool) -> Value {
    let limit = Instant::now() + PATIENCE;
    loop {
        let upstream = balancer.status().await["upstreams"][0].clone();
        if what(&upstream) {
            return upstream;
        }
        assert!(Instant::now() < limit, "it never came to that: {upstream:#}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Asks, so many times between two looks, until the first backend is ejected.
async fn ask_until_ejected(balancer: &Balancer, client: &mut Client, requests: usize) {
    let limit = Instant::now() + PATIENCE;
    while until(balancer, |_| true).await["backends"][0]["state"] != "ejected" {
        assert!(Instant::now() < limit, "never ejected");
        for _ in 0..requests {
            client.get("/").await;
        }
    }
}

/// A backend that fails with 503 as long as the test wants.
async fn fickle(name: &'static str) -> (Backend, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let told = fails.clone();
    let backend = Backend::start(move |_| match told.load(SeqCst) {
        true => Reply::status(503, "no"),
        false => Reply::ok(name),
    });
    (backend.await, fails)
}

/// With nothing said about it, a backend that cannot be reached is soon left alone, and no request is lost to it.
#[tokio::test]
async fn a_dead_backend_is_ejected_by_default() {
    let (one, two) = (Backend::saying("one").await, Backend::saying("two").await);
    let gone = ClosedPort::new();
    let balancer = balancer(&[gone.url(), one.url(), two.url()], "").await;
    let mut client = balancer.client().await;
    // It is tested once a second, until it has failed too often in a row.
    ask_until_ejected(&balancer, &mut client, 10).await;
    let shown = until(&balancer, |shown| shown["backends"][0]["state"] == "ejected").await;
    let attempts = shown["backends"][0]["attempts"].as_u64();
    for _ in 0..60 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    let after = until(&balancer, |_| true).await;
    assert_eq!(after["backends"][0]["attempts"].as_u64(), attempts, "it is left alone");
    assert!(attempts.is_some_and(|attempts| attempts < 20), "{attempts:?} attempts before it was left alone");
}

#[tokio::test]
async fn an_ejected_backend_comes_back_and_goes_again_for_longer() {
    let ((bad, fails), good) = (fickle("bad").await, Backend::saying("good").await);
    let rest = "outlier_detection: { consecutive_failures: 3, ejection_time: 200ms, max_ejection_time: 10s }";
    let balancer = balancer(&[bad.url(), good.url()], rest).await;
    let mut client = balancer.client().await;
    fails.store(true, SeqCst);
    let mut terms = Vec::new();
    for _ in 0..3 {
        ask_until_ejected(&balancer, &mut client, 1).await;
        let began = Instant::now();
        until(&balancer, |shown| shown["backends"][0]["state"] == "up").await;
        terms.push(began.elapsed());
    }
    assert!(terms[0] >= Duration::from_millis(150), "{terms:?}");
    assert!(terms[1] > terms[0] + Duration::from_millis(100), "{terms:?}");
    assert!(terms[2] > terms[1] + Duration::from_millis(100), "{terms:?}");
    fails.store(false, SeqCst);
    let mut names = Vec::new();
    for _ in 0..20 {
        names.push(client.get("/").await.text());
    }
    assert!(names.contains(&"bad".to_owned()), "it serves again: {names:?}");
}

/// Failures from before its ejection are forgiven: one more is one, not one too many.
#[tokio::test]
async fn what_was_forgiven_does_not_count_again() {
    let ((bad, fails), good) = (fickle("bad").await, Backend::saying("good").await);
    let rest = "outlier_detection: { consecutive_failures: 2, ejection_time: 100ms }";
    let balancer = balancer(&[bad.url(), good.url()], rest).await;
    let mut client = balancer.client().await;
    fails.store(true, SeqCst);
    ask_until_ejected(&balancer, &mut client, 1).await;
    let shown = until(&balancer, |shown| shown["backends"][0]["state"] == "up").await;
    let failures = shown["backends"][0]["failures"].as_u64().expect("a number");
    while bad.count() as u64 <= failures {
        client.get("/").await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(until(&balancer, |_| true).await["backends"][0]["state"], "up", "one failure is not two");
}

#[tokio::test]
async fn never_more_are_ejected_than_allowed() {
    let gone: Vec<ClosedPort> = (0..4).map(|_| ClosedPort::new()).collect();
    let urls: Vec<String> = gone.iter().map(ClosedPort::url).collect();
    let rest = "outlier_detection: { consecutive_failures: 1, max_ejected: 50% }";
    let balancer = balancer(&urls, rest).await;
    for _ in 0..40 {
        assert_eq!(balancer.get("/").await.status(), 502);
        let shown = until(&balancer, |_| true).await;
        let backends = shown["backends"].as_array().expect("backends");
        let ejected = backends.iter().filter(|backend| backend["state"] == "ejected").count();
        assert!(ejected <= 2, "{shown:#}");
    }
}

#[tokio::test]
async fn a_share_of_failures_is_enough() {
    let bad = Backend::start(|seen| match seen.connection + seen.nth {
        odd if odd % 2 == 1 => Reply::status(503, "no"),
        _ => Reply::ok("yes"),
    })
    .await;
    let good = Backend::saying("good").await;
    let rest = "outlier_detection: { consecutive_failures: 0, failure_rate: 20%, min_requests: 20, interval: 200ms }";
    let balancer = balancer(&[bad.url(), good.url()], rest).await;
    let mut client = balancer.client().await;
    ask_until_ejected(&balancer, &mut client, 20).await;
    let metrics = balancer.metrics().await;
    let labels = format!("upstream=\"web\",backend=\"{}\",reason=\"failure_rate\"", bad.url());
    assert!(metrics.contains(&format!("evenkeel_backend_ejections_total{{{labels}}} 1")), "{metrics}");
}

/// A response with a failure status counts as a failure, and not also as a response.
#[tokio::test]
async fn a_backend_that_only_fails_fails_by_more_than_half() {
    let bad = Backend::start(|_| Reply::status(503, "no")).await;
    let good = Backend::saying("good").await;
    let rest = "outlier_detection: { consecutive_failures: 0, failure_rate: 90%, min_requests: 10, interval: 200ms }";
    let balancer = balancer(&[bad.url(), good.url()], rest).await;
    let mut client = balancer.client().await;
    ask_until_ejected(&balancer, &mut client, 1).await;
}

#[tokio::test]
async fn a_backend_much_slower_than_its_peers_is_ejected() {
    let slow = Backend::start(|_| Reply::new().read_body().wait(Duration::from_millis(40)).send(OK)).await;
    let mut urls = vec![slow.url()];
    let fast = [Backend::saying("a").await, Backend::saying("b").await, Backend::saying("c").await];
    urls.extend(fast.iter().map(Backend::url));
    let rest = "outlier_detection: { latency_factor: 4, min_requests: 3, interval: 1s }";
    let balancer = balancer(&urls, rest).await;
    let mut client = balancer.client().await;
    ask_until_ejected(&balancer, &mut client, 1).await;
}

/// A backend that came back gets its share step by step.
#[tokio::test]
async fn a_returned_backend_ramps_up() {
    let ((bad, fails), good) = (fickle("bad").await, Backend::saying("good").await);
    let rest = "slow_start: 2s, outlier_detection: { consecutive_failures: 2, ejection_time: 100ms }";
    let balancer = balancer(&[bad.url(), good.url()], rest).await;
    let mut client = balancer.client().await;
    fails.store(true, SeqCst);
    ask_until_ejected(&balancer, &mut client, 1).await;
    fails.store(false, SeqCst);
    until(&balancer, |shown| shown["backends"][0]["state"] == "starting").await;
    let began = Instant::now();
    // In four parts of half a second: of what the good one gets, about 1/8, 3/8, 5/8, 7/8.
    let mut parts = [[0.0_f64; 2]; 4];
    while let Some(part) = parts.get_mut((began.elapsed().as_millis() / 500) as usize) {
        let name = client.get("/").await.text();
        part[usize::from(name == "bad")] += 1.0;
    }
    for (at, [good, bad]) in parts.into_iter().enumerate() {
        let expected = (2 * at + 1) as f64 / 8.0;
        let share = bad / good;
        assert!((share - expected).abs() < 0.1, "part {at}: {share:.3}, expected {expected:.3}");
    }
}

#[tokio::test]
async fn probes_that_find_well_what_traffic_does_not_are_told_of() {
    let bad = Backend::start(|seen| match seen.target() {
        "/healthz" => Reply::ok("well"),
        _ => Reply::status(503, "no"),
    })
    .await;
    let good = Backend::saying("good").await;
    let rest = "health_check: { http: { path: /healthz }, interval: 20ms, timeout: 20ms }, \
                outlier_detection: { consecutive_failures: 2, ejection_time: 100ms }";
    let balancer = balancer(&[bad.url(), good.url()], rest).await;
    let mut client = balancer.client().await;
    let limit = Instant::now() + PATIENCE;
    while until(&balancer, |_| true).await["backends"][0]["gray"] != true {
        assert!(Instant::now() < limit, "never gray");
        client.get("/").await;
    }
    let shown = until(&balancer, |_| true).await;
    assert_eq!(shown["backends"][0]["last_probe"]["result"], "passed", "{shown:#}");
    let labels = format!("upstream=\"web\",backend=\"{}\"", bad.url());
    assert!(balancer.metrics().await.contains(&format!("evenkeel_backend_gray{{{labels}}} 1")));
}

#[tokio::test]
async fn it_can_be_turned_off() {
    let one = Backend::saying("one").await;
    let bad = Backend::start(|_| Reply::status(503, "no")).await;
    let balancer = balancer(&[bad.url(), one.url()], "outlier_detection: off").await;
    let mut client = balancer.client().await;
    for _ in 0..40 {
        client.get("/").await;
    }
    let shown = until(&balancer, |_| true).await;
    assert_eq!(shown["backends"][0]["state"], "up");
    assert_eq!(shown["backends"][0]["attempts"], 20);
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
