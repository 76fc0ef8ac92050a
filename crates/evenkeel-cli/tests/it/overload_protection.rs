//! What happens when memory or descriptors run short, and to clients that open connections too often.

#![cfg(test)]

use crate::support::{Backend, Balancer, Client, PATIENCE, eventually, in_time};

fn yaml(backend: &Backend, top: &str, listener: &str) -> String {
    format!(
        "{top}\nlisteners: [{{ address: \"127.0.0.1:0\"{listener} }}]\nupstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    )
}

async fn until_level(balancer: &Balancer, level: &str) {
    in_time("a level", async {
        while balancer.status().await["overload"] != level {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_shortage_of_memory_closes_idle_connections_and_rejects_new_ones() {
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::start(&yaml(&backend, "", "")).await;
    let mut idle = balancer.client().await;
    assert_eq!(idle.get("/").await.status(), 200);
    // No process is as small as that.
    let short = yaml(&backend, "overload_protection: { max_memory: 1MiB }", "");
    balancer.reload(&short).await.expect("it is valid");
    until_level(&balancer, "reject").await;
    assert_eq!(in_time("the end of an idle connection", idle.closed()).await, b"");
    let rejected = balancer.client().await.closed().await;
    let text = String::from_utf8_lossy(&rejected).into_owned();
    assert!(
        text.starts_with("HTTP/1.1 503 ") && text.ends_with("\r\n\r\n503 the service is overloaded\n"),
        "{text}"
    );
    let head = text.split("\r\n\r\n").next().unwrap_or_default().len() + 4;
    assert!(text.contains(&format!("Content-Length: {}\r\n", text.len() - head)), "{text}");
    let metrics = balancer.metrics().await;
    assert!(metrics.contains("evenkeel_overload_level 2\n"), "{metrics}");
    let rejected =
        metrics.lines().find(|line| line.contains("limit=\"overload_protection\"")).expect("a series");
    assert!(!rejected.ends_with(" 0"), "{rejected}");

    balancer.reload(&yaml(&backend, "", "")).await.expect("it is valid");
    until_level(&balancer, "normal").await;
    let mut client = balancer.client().await;
    assert_eq!((client.get("/").await.status(), client.get("/").await.status()), (200, 200));
}

#[tokio::test]
async fn a_client_that_connects_too_often_is_turned_away_and_counted() {
    let backend = Backend::saying("hello").await;
    let text = yaml(&backend, "", ", max_connection_rate_per_client: 2/h");
    let balancer = Balancer::start(&text).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut client = balancer.client().await;
        assert_eq!(client.get("/").await.status(), 200);
        open.push(client);
    }
    assert_eq!(balancer.client().await.closed().await, b"");
    let other = "127.0.0.2".parse().expect("an address");
    assert_eq!(Client::connect_from(other, balancer.address()).await.get("/").await.status(), 200);
    assert_eq!(open[0].get("/").await.status(), 200, "an open connection is not limited");
    let metrics = balancer.metrics().await;
    assert!(metrics.contains("limit=\"max_connection_rate_per_client\"} 1\n"), "{metrics}");
    eventually(PATIENCE, || backend.count() == 4).await;
}
