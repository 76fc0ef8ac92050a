//! Retries as configured: what is tried again, how often, how soon, and how many over all.

#![cfg(test)]

use std::time::{Duration, Instant};

use crate::support::{Backend, Balancer, Lane, Reply, assert_lasted, lane};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const PUT: &str = "PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody";

async fn balancer(backends: &[&Backend], rest: &str) -> Balancer {
    let urls: Vec<String> = backends.iter().map(|backend| backend.url()).collect();
    Balancer::start(&format!("upstreams: {{ web: {{ backends: {urls:?}, {rest} }} }}")).await
}

fn count(backends: &[&Backend]) -> usize {
    backends.iter().map(|backend| backend.count()).sum()
}

async fn failing(status: u16) -> Backend {
    Backend::start(move |_| Reply::status(status, "no")).await
}

#[tokio::test]
async fn a_status_is_tried_again_where_asked_for() {
    let (bad, good) = (failing(503).await, Backend::saying("good").await);
    let balancer = balancer(&[&bad, &good], "retry: { on: [\"503\"] }, outlier_detection: off").await;
    let mut client = balancer.client().await;
    for number in 0..20 {
        let answer = client.ask(if number % 2 == 0 { GET } else { PUT }).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "good"), "request {number}");
    }
    assert_eq!(good.count(), 20);
    assert_eq!(bad.count(), 10, "each was tried there at most once");
    let bodies = good.requests().into_iter().filter(|seen| seen.method() == "PUT");
    assert!(bodies.map(|seen| seen.text()).all(|text| text == "body"));
    let records = balancer.log_lines(20).await;
    let attempts: u64 = records.iter().filter_map(|record| record["attempts"].as_u64()).sum();
    assert_eq!(attempts, 30);
}

/// The last response is forwarded: it may contain more information than an error of ours.
#[tokio::test]
async fn when_all_fail_the_last_answer_is_passed_on() {
    let (one, two) = (failing(503).await, failing(503).await);
    let balancer = balancer(&[&one, &two], "retry: { on: [\"503\"] }").await;
    let answer = balancer.get("/").await;
    assert_eq!((answer.status(), answer.text().as_str()), (503, "no"));
    assert_eq!((one.count(), two.count()), (1, 1));
}

#[tokio::test]
async fn other_statuses_and_methods_are_not_tried_again() {
    let (one, two) = (failing(503).await, failing(503).await);
    let balancer = balancer(&[&one, &two], "retry: { on: [\"502\"] }").await;
    assert_eq!(balancer.get("/").await.status(), 503);
    assert_eq!(count(&[&one, &two]), 1);
    let other = Balancer::start(&format!(
        "upstreams: {{ web: {{ backends: {:?}, retry: {{ on: [reset, timeout, \"503\"] }} }} }}",
        [one.url(), two.url()]
    ))
    .await;
    let answer = other.client().await.ask(PUT.replace("PUT", "POST")).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(count(&[&one, &two]), 2, "a POST that reached a backend is sent once");
}

#[tokio::test]
async fn a_reset_is_tried_again_elsewhere() {
    // Later than what is closed at once, which says that the backend takes no requests at all.
    let late = || Reply::new().read_body().wait(Duration::from_millis(300)).close();
    let (bad, good) = (Backend::start(move |_| late()).await, Backend::saying("good").await);
    let balancer = balancer(&[&bad, &good], "retry: { on: [reset] }, outlier_detection: off").await;
    let mut client = balancer.client().await;
    for _ in 0..4 {
        assert_eq!(client.ask(GET).await.text(), "good");
        assert_eq!(client.ask(PUT).await.text(), "good");
    }
    assert_eq!(bad.count(), 4);
}

#[tokio::test]
async fn each_attempt_has_a_time_of_its_own() {
    if lane() == Lane::Pingora {
        return; // See docs/lanes.md.
    }
    let (slow, good) = (Backend::start(|_| Reply::silence()).await, Backend::saying("good").await);
    let rest = "retry: { on: [timeout], per_try_timeout: 150ms }, outlier_detection: off";
    let balancer = balancer(&[&slow, &good], rest).await;
    for _ in 0..2 {
        let (start, before) = (Instant::now(), slow.count());
        let answer = balancer.get("/").await;
        assert_eq!(answer.text(), "good");
        if slow.count() > before {
            assert_lasted("the slow attempt", start.elapsed(), Duration::from_millis(150));
        }
    }
    assert_eq!(slow.count(), 1);
}

#[tokio::test]
async fn without_another_backend_an_attempt_that_was_too_slow_is_a_504() {
    if lane() == Lane::Pingora {
        return; // See docs/lanes.md.
    }
    let slow = Backend::start(|_| Reply::silence()).await;
    let balancer = balancer(&[&slow], "retry: { on: [timeout], per_try_timeout: 100ms }").await;
    let start = Instant::now();
    assert_eq!(balancer.get("/").await.status(), 504);
    assert_lasted("the only attempt", start.elapsed(), Duration::from_millis(100));
}

#[tokio::test]
async fn a_body_that_came_in_pieces_is_kept_to_be_sent_again() {
    let (bad, good) = (failing(503).await, Backend::saying("good").await);
    let rest = "retry: { on: [\"503\"], max_body: 60KiB }, outlier_detection: off";
    let balancer = balancer(&[&bad, &good], rest).await;
    let body = "0123456789".repeat(6_000);
    for number in 0..4 {
        let mut client = balancer.client().await;
        client.send(format!("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", body.len())).await;
        for piece in body.as_bytes().chunks(20_000) {
            client.send(piece).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(client.response_to("PUT").await.text(), "good", "request {number}");
    }
    assert_eq!((bad.count(), good.count()), (2, 4));
    assert!(good.requests().iter().all(|seen| seen.text() == body));
}

#[tokio::test]
async fn a_body_too_large_to_keep_is_sent_once() {
    let (one, two) = (failing(503).await, failing(503).await);
    let balancer = balancer(&[&one, &two], "retry: { on: [\"503\"], max_body: 10KiB }").await;
    let mut client = balancer.client().await;
    client.send("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 40000\r\n\r\n").await;
    for _ in 0..4 {
        client.send("x".repeat(10_000)).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(client.response_to("PUT").await.status(), 503);
    assert_eq!(count(&[&one, &two]), 1);
}

#[tokio::test]
async fn retries_wait_a_little_where_asked_for() {
    let (one, two) = (Backend::start(|_| Reply::hang_up()).await, Backend::start(|_| Reply::hang_up()).await);
    let three = Backend::start(|_| Reply::hang_up()).await;
    let rest = "retry: { on: [reset], backoff: 100ms }";
    let balancer = balancer(&[&one, &two, &three], rest).await;
    let start = Instant::now();
    assert_eq!(balancer.get("/").await.status(), 502);
    // Between a half and the whole of 100 ms, then of 200 ms.
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(150), "{took:?}");
    assert_eq!(count(&[&one, &two, &three]), 3);
}

/// All backends fail: attempts are bounded by the budget, not by the number of attempts that a request may take.
#[tokio::test]
async fn a_budget_bounds_retries_over_all_requests() {
    let backends = [failing(503).await, failing(503).await, failing(503).await, failing(503).await];
    let all: Vec<&Backend> = backends.iter().collect();
    let rest = "retry: { on: [\"503\"], attempts: 4 }, outlier_detection: off";
    let balancer = balancer(&all, rest).await;
    let start = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = balancer.client().await;
        clients.spawn(async move {
            let mut sent = 0_usize;
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(2) {
                assert_eq!(client.get("/").await.status(), 503);
                sent += 1;
            }
            sent
        });
    }
    let requests: usize = clients.join_all().await.into_iter().sum();
    let most = requests as f64 * 1.2 + 10.0 * (start.elapsed().as_secs_f64() + 1.0);
    let attempts = count(&all);
    assert!(attempts > requests, "some were tried again");
    assert!(attempts as f64 <= most, "{attempts} attempts for {requests} requests, at most {most}");
}

#[tokio::test]
async fn a_route_may_say_otherwise_than_its_upstream() {
    let (bad, good) = (failing(503).await, Backend::saying("good").await);
    let text = format!(
        "routes:\n- {{ name: again, match: {{ path_prefix: /again }}, upstream: web, retry: {{ on: [503] }} }}\n\
         - {{ name: once, upstream: web }}\n\
         upstreams: {{ web: {{ backends: {:?}, outlier_detection: off }} }}",
        [bad.url(), good.url()]
    );
    let balancer = Balancer::start(&text).await;
    for _ in 0..4 {
        assert_eq!(balancer.get("/again").await.status(), 200);
    }
    let statuses = [balancer.get("/").await.status(), balancer.get("/").await.status()];
    assert!(statuses.contains(&503), "{statuses:?}");
}

#[tokio::test]
async fn the_backend_is_told_how_much_time_is_left() {
    let (bad, good) = (
        Backend::start(|_| Reply::new().read_body().wait(Duration::from_millis(300)).close()).await,
        Backend::saying("good").await,
    );
    let text = format!(
        "routes:\n- {{ name: all, upstream: web, timeout: 5s }}\n\
         upstreams: {{ web: {{ backends: {:?}, deadline_header: X-Time-Left, retry: {{ on: [reset] }} }} }}",
        [bad.url(), good.url()]
    );
    let balancer = Balancer::start(&text).await;
    for _ in 0..2 {
        assert_eq!(balancer.get("/").await.text(), "good");
    }
    let left = |backend: &Backend| -> Vec<u64> {
        let values =
            backend.requests().into_iter().filter_map(|seen| seen.header("x-time-left").map(str::to_owned));
        values.map(|value| value.parse().expect("milliseconds")).collect()
    };
    let (first, second) = (left(&bad), left(&good));
    assert_eq!((first.len(), second.len()), (1, 2));
    assert!(first[0] > 4_500 && first[0] <= 5_000, "{first:?}");
    assert!(second.iter().any(|left| *left <= 4_700), "the second attempt has less time: {second:?}");
}
