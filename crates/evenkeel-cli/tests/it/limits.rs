//! What a client may not send: heads and bodies beyond the limits, refused before a backend sees them where that can be.

#![cfg(test)]

use crate::support::{Backend, Balancer, Client, PATIENCE, eventually};

async fn balancer(limits: &str, backend: &Backend) -> Balancer {
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0, http: {{ {limits} }} }}]\n\
         routes: [{{ name: all, match: {{ path_prefix: /ok }}, upstream: web }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    );
    Balancer::start(&yaml).await
}

/// A head of exactly this many bytes.
fn head_of(bytes: usize) -> String {
    let bare = "GET /ok HTTP/1.1\r\nHost: test\r\nX: \r\n\r\n";
    bare.replace("X: ", &format!("X: {}", "a".repeat(bytes - bare.len())))
}

/// A head of exactly this many fields.
fn head_with(fields: usize) -> String {
    format!("GET /ok HTTP/1.1\r\nHost: test\r\n{}\r\n", "X: y\r\n".repeat(fields - 1))
}

#[tokio::test]
async fn a_head_beyond_the_limits_is_a_431() {
    let backend = Backend::saying("hello").await;
    let balancer = balancer("max_header_size: 2KiB, max_header_fields: 10", &backend).await;
    let endless = "GET /ok HTTP/1.1\r\nX: ".to_owned() + &"a".repeat(3000);
    let endless_line = "G".repeat(3000);
    for (request, status) in [
        (head_of(2048), 200),
        (head_of(2049), 431),
        (endless, 431),
        (endless_line, 431),
        (head_of(100_000), 431),
        (head_with(10), 200),
        (head_with(11), 431),
        (head_with(300), 431),
    ] {
        let mut client = balancer.client().await;
        let response = client.ask(&request).await;
        assert_eq!(response.status(), status, "{} bytes", request.len());
        if status == 431 {
            assert_eq!(response.header("connection"), Some("close"));
            assert_eq!(client.closed().await, b"");
        } else {
            assert!(client.is_reusable().await);
        }
    }
    let passed = backend.requests().iter().filter(|request| request.target() == "/ok").count();
    assert_eq!(passed, 2);
    let records = balancer.log_lines(10).await;
    let refused = records.iter().filter(|record| record["end"] == "refused=header_too_large");
    assert_eq!(refused.filter(|record| record["status"] == 431).count(), 6);
}

#[tokio::test]
async fn the_limits_hold_on_later_requests_too() {
    let backend = Backend::saying("hello").await;
    let balancer = balancer("max_header_size: 2KiB", &backend).await;
    let mut client = balancer.client().await;
    for _ in 0..3 {
        assert_eq!(client.ask(head_of(2048)).await.status(), 200);
    }
    assert_eq!(client.ask(head_of(2049)).await.status(), 431);
    assert_eq!(backend.count(), 3);
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_never_reaches_a_backend() {
    let backend = Backend::saying("hello").await;
    let balancer = balancer("max_body_size: 1000", &backend).await;
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut client = balancer.client().await;
        client.send(format!("POST /ok HTTP/1.1\r\nHost: test\r\n{expect}Content-Length: 1001\r\n\r\n")).await;
        assert_eq!(client.any_response_to("POST").await.status(), 413, "{expect:?}");
    }
    assert_eq!(backend.connections(), 0);
    for record in balancer.log_lines(2).await {
        assert_eq!((&record["status"], &record["end"]), (&413.into(), &"refused=body_too_large".into()));
    }
    assert_eq!(balancer.client().await.ask(post(1000)).await.status(), 200);
    assert_eq!(backend.only_request().body_length, 1000);
}

#[tokio::test]
async fn a_chunked_body_is_cut_where_it_grows_too_large() {
    let backend = Backend::saying("hello").await;
    let balancer = balancer("max_body_size: 1000", &backend).await;
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let head = "POST /ok HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let whole = balancer.client().await.ask(format!("{head}{chunk}{chunk}0\r\n\r\n")).await;
    assert_eq!(whole.status(), 200);
    assert_eq!(backend.last_request().body_length, 1000);
    let mut client = balancer.client().await;
    client.send(format!("{head}{chunk}{chunk}")).await;
    backend.until_requests(2).await;
    let cut = client.ask(format!("1\r\nx\r\n{chunk}")).await;
    assert_eq!(cut.status(), 413);
    assert_eq!(client.closed().await, b"");
    // The first request's connection may be kept for others.
    eventually(PATIENCE, || backend.open() < 2).await;
    assert!(!backend.requests()[1].whole, "the backend took a part for the whole");
    // Two connections, perhaps on two workers: their records come in either order.
    let mut ends: Vec<_> =
        balancer.log_lines(2).await.into_iter().map(|record| record["end"].clone()).collect();
    ends.sort_by_key(ToString::to_string);
    assert_eq!(ends, ["ok", "refused=body_too_large"]);
}

#[tokio::test]
async fn a_refused_request_with_a_small_body_keeps_its_connection() {
    let backend = Backend::saying("hello").await;
    let balancer = balancer("max_body_size: 1000", &backend).await;
    for size in [1, 100, 1000] {
        let mut client = balancer.client().await;
        for _ in 0..3 {
            let refused = client.ask(post(size).replace("/ok", "/nowhere")).await;
            assert_eq!(refused.status(), 404);
            assert!(!refused.closes(), "{size} bytes");
        }
        let response = client.ask(post(5)).await;
        assert_eq!((response.status(), backend.last_request().text().as_str()), (200, "xxxxx"));
    }
}

#[tokio::test]
async fn a_refused_request_whose_body_comes_late_keeps_its_connection() {
    let backend = Backend::saying("hello").await;
    let balancer = balancer("", &backend).await;
    let mut client = balancer.client().await;
    client.send("POST /nowhere HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n01234").await;
    assert_eq!(client.response().await.status(), 404);
    client.send("56789").await;
    assert_eq!(client.get("/ok").await.text(), "hello");
}

#[tokio::test]
async fn a_refused_request_with_a_large_body_gets_its_answer_and_a_close() {
    let backend = Backend::saying("hello").await;
    let balancer = balancer("max_body_size: 10MiB", &backend).await;
    let mut client = balancer.client().await;
    client.send("POST /nowhere HTTP/1.1\r\nHost: test\r\nContent-Length: 5000000\r\n\r\n").await;
    // The client continues to send for a while, as clients do; the response must not be lost with a reset.
    for _ in 0..10 {
        let _ = client.try_send(vec![b'x'; 10_000]).await;
    }
    let response = client.response().await;
    assert_eq!((response.status(), response.header("connection")), (404, Some("close")));
    client.closed().await;
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn without_a_limit_a_large_body_passes() {
    let backend = Backend::saying("hello").await;
    let balancer = balancer("max_body_size: off", &backend).await;
    let mut client: Client = balancer.client().await;
    assert_eq!(client.ask(post(3 << 20)).await.status(), 200);
    assert_eq!(backend.only_request().body_length, 3 << 20);
}

fn post(size: usize) -> String {
    format!("POST /ok HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n\r\n{}", "x".repeat(size))
}
