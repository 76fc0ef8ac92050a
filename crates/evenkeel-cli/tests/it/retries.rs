//! What could be saved is saved; what may have had its effect is never sent twice.

#![cfg(test)]

use std::time::Duration;

use crate::support::{Backend, Balancer, ClosedPort, Options, Reply};

const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody";

async fn balancer(backends: &[String], upstream: &str) -> Balancer {
    Balancer::start(&format!("upstreams: {{ web: {{ backends: {backends:?}, {upstream} }} }}")).await
}

#[tokio::test]
async fn a_backend_that_is_gone_costs_no_request() {
    for algorithm in ["round_robin", "random", "least_connections", "power_of_two_choices"] {
        let (one, two) = (Backend::saying("one").await, Backend::saying("two").await);
        let gone = ClosedPort::new();
        let backends = [gone.url(), one.url(), two.url()];
        let balancer = balancer(&backends, &format!("algorithm: {algorithm}")).await;
        let mut client = balancer.client().await;
        for number in 0..250 {
            let response = if number % 2 == 0 { client.get("/").await } else { client.ask(POST).await };
            assert_eq!(response.status(), 200, "{algorithm}, request {number}");
        }
        assert_eq!(one.count() + two.count(), 250);
        let bodies = one.requests().into_iter().chain(two.requests());
        assert!(
            bodies.filter(|seen| seen.method() == "POST").all(|seen| seen.text() == "body" && seen.whole)
        );
    }
}

#[tokio::test]
async fn when_no_backend_can_be_reached_it_is_a_502() {
    let gone = [ClosedPort::new(), ClosedPort::new(), ClosedPort::new()];
    let urls: Vec<String> = gone.iter().map(ClosedPort::url).collect();
    let balancer = balancer(&urls, "").await;
    let mut client = balancer.client().await;
    for request in ["GET / HTTP/1.1\r\nHost: test\r\n\r\n", POST] {
        assert_eq!(client.ask(request).await.status(), 502, "{request:?}");
    }
    for record in balancer.log_lines(2).await {
        assert_eq!((&record["status"], &record["end"]), (&502.into(), &"refused=unreachable".into()));
        assert_eq!(record["attempts"], 3);
    }
}

/// What could not be reached is no attempt in this sense: the request is sent no more often for it.
#[tokio::test]
async fn a_request_is_sent_no_more_often_than_allowed() {
    let failing = || Backend::start(|_| Reply::status(503, "no"));
    let (one, two, three) = (failing().await, failing().await, failing().await);
    let gone = ClosedPort::new();
    let urls = [gone.url(), one.url(), two.url(), three.url()];
    for attempts in [1, 2] {
        let before = one.count() + two.count() + three.count();
        let balancer =
            balancer(&urls, &format!("retry: {{ attempts: {attempts}, on: [connect_failure, 503] }}")).await;
        assert_eq!(balancer.get("/").await.status(), 503);
        assert_eq!(one.count() + two.count() + three.count() - before, attempts);
    }
}

/// A request that reached a backend on a fresh connection may have had its effect: only where that does no harm (RFC 9110,
/// 9.2.2) it is sent to another.
#[tokio::test]
async fn a_request_that_reached_a_backend_is_only_repeated_where_that_does_no_harm() {
    for (method, count) in [("POST", 1), ("PATCH", 1), ("PUT", 2), ("DELETE", 2)] {
        let (one, two) =
            (Backend::start(|_| Reply::hang_up()).await, Backend::start(|_| Reply::hang_up()).await);
        let balancer = balancer(&[one.url(), two.url()], "").await;
        let response = balancer.client().await.ask(POST.replace("POST", method)).await;
        assert_eq!(response.status(), 502, "{method}");
        assert_eq!(one.count() + two.count(), count, "{method}");
        assert!(one.count() <= 1 && two.count() <= 1, "{method}: never twice to one");
        let record = balancer.log_line().await;
        assert_eq!((&record["status"], &record["end"]), (&502.into(), &"refused=bad_answer".into()));
    }
}

/// A backend may die of a request just as it closes an idle connection: the balancer cannot tell, and must not repeat.
#[tokio::test]
async fn a_post_that_died_on_a_kept_connection_is_not_sent_again() {
    let answer = |nth: usize| if nth == 0 { Reply::ok("hello") } else { Reply::hang_up() };
    let backend = Backend::start(move |seen| answer(seen.nth)).await;
    let balancer = balancer(&[backend.url()], "").await;
    let mut client = balancer.client().await;
    assert_eq!(client.get("/").await.status(), 200);
    assert_eq!(client.ask(POST).await.status(), 502);
    let requests = backend.requests();
    assert_eq!((requests.len(), requests[0].connection, requests[1].connection), (2, 0, 0));
}

#[tokio::test]
async fn a_get_that_met_a_dead_connection_is_sent_again() {
    let answer = |nth: usize| if nth == 0 { Reply::ok("hello") } else { Reply::hang_up() };
    let backend = Backend::start(move |seen| answer(seen.nth)).await;
    let balancer = balancer(&[backend.url()], "").await;
    let mut client = balancer.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status(), 200);
    }
}

#[tokio::test]
async fn a_get_that_kills_every_backend_is_not_sent_for_ever() {
    let (one, two) = (Backend::start(|_| Reply::hang_up()).await, Backend::start(|_| Reply::hang_up()).await);
    let balancer = balancer(&[one.url(), two.url()], "").await;
    assert_eq!(balancer.get("/").await.status(), 502);
    assert_eq!((one.count(), two.count()), (1, 1));
}

/// The backend closes what has been idle for 100 ms; requests come at every distance around that.
#[tokio::test]
async fn a_backend_that_closes_idle_connections_costs_no_get() {
    let options = Options { close_idle: Some(Duration::from_millis(100)), ..Options::default() };
    let backend = Backend::with(options, |_| Reply::ok("hello")).await;
    let balancer = balancer(&[backend.url()], "").await;
    let mut clients = tokio::task::JoinSet::new();
    for lane in 0..8 {
        let mut client = balancer.client().await;
        clients.spawn(async move {
            for spacing in 0..16 {
                let response = client.get("/").await;
                assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
                tokio::time::sleep(Duration::from_micros(95_000 + 700 * (spacing * 8 + lane) / 8)).await;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("no client notices");
    }
    assert!(backend.connections() > 8, "the backend closed nothing: {}", backend.connections());
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_a_502() {
    for answer in [
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nbad field\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: minus\r\n\r\n",
    ] {
        let backend = Backend::start(move |_| Reply::bytes(answer).close()).await;
        let balancer = balancer(&[backend.url()], "").await;
        let mut client = balancer.client().await;
        let response = client.get("/").await;
        assert_eq!(response.status(), 502, "{answer:?}");
        assert_eq!(backend.count(), 1, "{answer:?}");
        assert_eq!(balancer.log_line().await["end"], "refused=bad_answer", "{answer:?}");
    }
}

#[tokio::test]
async fn attempts_are_counted_for_the_backend() {
    let backend = Backend::saying("hello").await;
    let gone = ClosedPort::new();
    let balancer = balancer(&[gone.url(), backend.url()], "").await;
    for _ in 0..10 {
        assert_eq!(balancer.get("/").await.status(), 200);
    }
    let attempts: Vec<u64> =
        balancer.log_lines(10).await.iter().map(|record| record["attempts"].as_u64().unwrap()).collect();
    assert_eq!(
        attempts.iter().sum::<u64>(),
        11,
        "the gone one is met once, and then left alone: {attempts:?}"
    );
}
