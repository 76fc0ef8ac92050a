//! What algorithms that go by latency hold against a backend, and what they do not.

#![cfg(test)]

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::support::{Backend, Balancer, Reply, get};

/// Takes long enough for noise to be small in comparison.
async fn steady() -> Backend {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    Backend::start(move |_| Reply::new().read_body().wait(Duration::from_millis(5)).send(answer)).await
}

async fn balancer(backends: &[Backend], algorithm: &str) -> Balancer {
    let urls: Vec<String> = backends.iter().map(Backend::url).collect();
    Balancer::start(&format!("upstreams: {{ web: {{ algorithm: {algorithm}, backends: {urls:?} }} }}")).await
}

/// The expected response time of each backend, in milliseconds.
async fn expected(balancer: &Balancer) -> Vec<f64> {
    let said = get(balancer.admin(), "/explain?url=http://a/").await.text();
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let backends = said["upstreams"][0]["backends"].as_array().expect("backends");
    backends.iter().map(|backend| backend["score"].as_f64().expect("a score")).collect()
}

#[tokio::test]
async fn a_client_that_sends_slowly_says_nothing_of_its_backend() {
    for algorithm in ["peak_ewma", "prequal"] {
        let backends = [steady().await, steady().await];
        let balancer = balancer(&backends, algorithm).await;
        let mut client = balancer.client().await;
        for _ in 0..20 {
            client.get("/").await;
        }
        for _ in 0..2 {
            client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\nsl").await;
            sleep(Duration::from_millis(300)).await;
            client.send("owly").await;
            assert_eq!(client.response().await.status(), 200);
        }
        let expected = expected(&balancer).await;
        assert!(expected.iter().all(|millis| (1.0..40.0).contains(millis)), "{algorithm}: {expected:?}");
    }
}

#[tokio::test]
async fn who_never_answers_is_left_by_those_who_come_after_the_first_has_lost_patience() {
    for algorithm in ["peak_ewma", "prequal"] {
        let hangs = Backend::start(|_| Reply::silence()).await;
        let backends = [hangs, steady().await, steady().await];
        let balancer = balancer(&backends, algorithm).await;
        let mut served = 0;
        for _ in 0..30 {
            let mut client = balancer.client().await;
            client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
            let patience = Duration::from_millis(100);
            served += u32::from(tokio::time::timeout(patience, client.response()).await.is_ok());
        }
        assert!(served >= 27, "{algorithm}: {served} of 30");
    }
}
