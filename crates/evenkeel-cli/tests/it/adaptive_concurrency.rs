//! `adaptive_concurrency`, over real sockets: what is rejected, what operators see, and that places come back. How the limit is found
//! is tested in virtual time.

#![cfg(test)]

use serde_json::Value;

use crate::rate_limit::yaml;
use crate::support::{Backend, Balancer, Reply, get, in_time};

async fn shown(balancer: &Balancer) -> Value {
    balancer.status().await["adaptive_concurrency"][0].clone()
}

#[tokio::test]
async fn requests_over_the_limit_are_overload_and_places_come_back() {
    let backend = Backend::start(|seen| match seen.target() {
        "/hold" => Reply::silence(),
        _ => Reply::ok("hello"),
    })
    .await;
    let rules = "[{ priority: high, header: x-priority, value: critical }, { priority: low, clients: [203.0.113.0/24] }]";
    let filter = format!("{{ adaptive_concurrency: {{ min_limit: 1, max_limit: 2, priorities: {rules} }} }}");
    let balancer = Balancer::start(&yaml(&backend, &filter)).await;
    let mut held = Vec::new();
    for count in 1..=2 {
        let mut client = balancer.client().await;
        client.send("GET /hold HTTP/1.1\r\nHost: t\r\n\r\n").await;
        backend.until_requests(count).await;
        held.push(client);
    }
    for fields in ["X-Priority: critical\r\n", "X-Forwarded-For: 203.0.113.7\r\n", ""] {
        let request = format!("GET / HTTP/1.1\r\nHost: t\r\n{fields}\r\n");
        let response = balancer.client().await.ask(&request).await;
        assert_eq!((response.status(), response.header("retry-after")), (503, Some("1")), "{fields}");
    }
    assert_eq!(balancer.log_lines(3).await[0]["end"], "refused=overloaded");
    let limit = shown(&balancer).await;
    for (at, priority) in ["high", "normal", "low"].into_iter().enumerate() {
        let of = &limit["priorities"][at];
        assert_eq!((&of["priority"], &of["rejected"]), (&priority.into(), &1.into()), "{limit:#}");
    }
    let metrics = balancer.metrics().await;
    for line in [
        "evenkeel_adaptive_concurrency_rejected_total{route=\"all\",limit=\"adaptive\",priority=\"high\"} 1\n",
        "evenkeel_adaptive_concurrency_limit{route=\"all\",limit=\"adaptive\"} 2\n",
        "evenkeel_adaptive_concurrency_in_progress{route=\"all\",limit=\"adaptive\"} 2\n",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let page = get(balancer.admin(), "/explain?url=http://test/&header=x-priority:%20critical").await.text();
    assert!(page.contains("priority high: 2 of 2 requests in progress"), "{page}");
    drop(held);
    in_time("the end of requests", async {
        while shown(&balancer).await["in_progress"] != 0 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    })
    .await;
    for _ in 0..10 {
        assert_eq!(balancer.get("/").await.status(), 200);
    }
}
