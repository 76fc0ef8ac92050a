//! Every wait has an end, that end comes when it was said to, and it says which wait it was.

#![cfg(test)]

use std::time::{Duration, Instant};

use crate::support::{Backend, Balancer, BlackHole, Client, Reply, assert_lasted, in_time};

const LIMIT: Duration = Duration::from_millis(300);
/// For what must not be cut: a loaded machine may stop for a while.
const LONG: Duration = Duration::from_secs(1);
/// Well within [`LONG`].
const BEAT: Duration = Duration::from_millis(150);

/// A balancer with these limits of its listener, in front of these backends with these settings of their upstream.
async fn balancer(listener: &str, backends: &[String], upstream: &str) -> Balancer {
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0, http: {{ {listener} }} }}]\n\
         upstreams: {{ web: {{ backends: {backends:?}, {upstream} }} }}"
    );
    Balancer::start(&yaml).await
}

#[tokio::test]
async fn connecting_too_long_is_a_504() {
    let hole = BlackHole::new().await;
    let balancer = balancer("", &[hole.url()], "timeouts: { connect: 300ms }").await;
    let start = Instant::now();
    let response = balancer.get("/").await;
    assert_lasted("connect", start.elapsed(), LIMIT);
    assert_eq!(response.status(), 504);
    assert_eq!(balancer.log_line().await["end"], "timeout=connect");
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_a_504() {
    // It accepts, and then waits for a request in plain text.
    let backend = Backend::saying("hello").await;
    let url = format!("https://{}", backend.address());
    let balancer = balancer(
        "",
        &[url],
        "tls: { danger_accept_invalid_certificates: true }, timeouts: { connect: 300ms }",
    )
    .await;
    let start = Instant::now();
    let response = balancer.get("/").await;
    assert_lasted("tls", start.elapsed(), LIMIT);
    assert_eq!(response.status(), 504);
    assert_eq!(balancer.log_line().await["end"], "timeout=tls");
}

#[tokio::test]
async fn connecting_too_long_to_one_backend_leaves_time_for_another() {
    let (hole, backend) = (BlackHole::new().await, Backend::saying("hello").await);
    let balancer = balancer("", &[hole.url(), backend.url()], "timeouts: { connect: 300ms }").await;
    for _ in 0..2 {
        let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(balancer.client().await.ask(post).await.text(), "hello");
    }
    assert_eq!(backend.count(), 2);
    assert_eq!(backend.last_request().text(), "hi");
}

#[tokio::test]
async fn a_backend_that_does_not_answer_is_a_504() {
    let backend = Backend::start(|_| Reply::silence()).await;
    let balancer = balancer("", &[backend.url()], "timeouts: { first_byte: 300ms }").await;
    for request in [
        "GET / HTTP/1.1\r\nHost: test\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ] {
        let start = Instant::now();
        let response = balancer.client().await.ask(request).await;
        assert_lasted("first_byte", start.elapsed(), LIMIT);
        assert_eq!(response.status(), 504, "{request:?}");
    }
    for record in balancer.log_lines(3).await {
        assert_eq!((&record["end"], &record["status"]), (&"timeout=first_byte".into(), &504.into()));
    }
    backend.until_all_closed().await;
}

#[tokio::test]
async fn after_a_504_the_connection_goes_on() {
    let backend = Backend::start(|request| match request.target() {
        "/silence" => Reply::silence(),
        target => Reply::ok(target),
    })
    .await;
    let balancer = balancer("", &[backend.url()], "timeouts: { first_byte: 300ms }").await;
    let mut client = balancer.client().await;
    let next = "GET /next HTTP/1.1\r\nHost: test\r\n\r\n";
    for request in [
        "GET /silence HTTP/1.1\r\nHost: test\r\n\r\n",
        "POST /silence HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi",
        "POST /silence HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ] {
        let refused = client.ask(request).await;
        assert_eq!((refused.status(), refused.closes()), (504, false), "{request:?}");
        assert_eq!(client.ask(next).await.text(), "/next", "{request:?}");
        // Also where the next request came long before.
        client.send(format!("{request}{next}")).await;
        assert_eq!(client.response().await.status(), 504, "{request:?}");
        assert_eq!(client.response().await.text(), "/next", "{request:?}");
    }
    assert_eq!(balancer.log_lines(12).await.len(), 12);
}

#[tokio::test]
async fn a_backend_that_never_takes_the_body_is_a_504() {
    let backend = Backend::start(|_| Reply::new().stall()).await;
    let balancer = balancer("", &[backend.url()], "timeouts: { first_byte: 300ms }").await;
    let mut client = balancer.client().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000000\r\n\r\n").await;
    let filling = vec![b'x'; 100_000];
    while client.is_quiet_for(Duration::from_millis(1)).await {
        let _ = tokio::time::timeout(BEAT, client.try_send(&filling)).await;
    }
    assert_eq!(client.response().await.status(), 504);
    assert_eq!(balancer.log_line().await["end"], "timeout=first_byte");
}

#[tokio::test]
async fn an_answer_that_falls_silent_is_cut() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789";
    let backend = Backend::start(move |_| Reply::default().read_body().send(head).hang()).await;
    let balancer = balancer("", &[backend.url()], "timeouts: { idle: 300ms }").await;
    let mut client = balancer.client().await;
    let start = Instant::now();
    let response = client.get("/").await;
    assert_lasted("idle", start.elapsed(), LIMIT);
    assert_eq!((response.status(), response.body_length, response.complete), (200, 10, false));
    let record = balancer.log_line().await;
    assert_eq!((&record["end"], &record["status"]), (&"timeout=idle".into(), &200.into()));
    backend.until_all_closed().await;
}

#[tokio::test]
async fn an_answer_that_is_slow_and_steady_is_not_cut() {
    let mut reply = Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        reply = reply.wait(BEAT).send("x");
    }
    let backend = Backend::start(move |_| reply.clone()).await;
    let yaml = format!(
        "routes: [{{ name: all, upstream: web, timeout: 1s }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"], timeouts: {{ first_byte: 1s, idle: 1s }} }} }}",
        backend.url()
    );
    let balancer = Balancer::start(&yaml).await;
    let start = Instant::now();
    let response = balancer.get("/").await;
    assert!(start.elapsed() > LONG);
    assert_eq!((response.text().as_str(), response.complete), ("xxxxxxxxxx", true));
    assert_eq!(balancer.log_line().await["end"], "ok");
}

#[tokio::test]
async fn the_routes_timeout_is_over_all_attempts() {
    let (one, two) = (BlackHole::new().await, BlackHole::new().await);
    let silent = Backend::start(|_| Reply::silence()).await;
    for backends in [vec![one.url(), two.url()], vec![silent.url()]] {
        let yaml = format!(
            "routes: [{{ name: all, upstream: web, timeout: 300ms }}]\n\
             upstreams: {{ web: {{ backends: {backends:?}, timeouts: {{ connect: 200ms }} }} }}"
        );
        let balancer = Balancer::start(&yaml).await;
        let start = Instant::now();
        let response = balancer.get("/").await;
        assert_lasted("total", start.elapsed(), LIMIT);
        assert_eq!(response.status(), 504);
        assert_eq!(balancer.log_line().await["end"], "timeout=total", "{backends:?}");
    }
}

#[tokio::test]
async fn a_body_that_falls_silent_is_a_408() {
    let backend = Backend::saying("never").await;
    let balancer = balancer("body_timeout: 300ms", &[backend.url()], "").await;
    for framing in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let mut client = balancer.client().await;
        let start = Instant::now();
        let response = client.ask(format!("POST / HTTP/1.1\r\nHost: test\r\n{framing}")).await;
        assert_lasted("body", start.elapsed(), LIMIT);
        assert_eq!(response.status(), 408, "{framing:?}");
        client.closed().await;
    }
    for record in balancer.log_lines(2).await {
        assert_eq!((&record["end"], &record["status"]), (&"timeout=body".into(), &408.into()));
    }
    backend.until_all_closed().await;
}

#[tokio::test]
async fn an_upload_that_is_slow_and_steady_is_not_cut() {
    let backend = Backend::saying("thanks").await;
    let limits = "timeouts: { first_byte: 1s, idle: 1s }";
    let balancer = balancer("body_timeout: 1s, header_timeout: 1s", &[backend.url()], limits).await;
    let mut client = balancer.client().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 12\r\n\r\n").await;
    let start = Instant::now();
    for _ in 0..12 {
        tokio::time::sleep(BEAT).await;
        client.send("x").await;
    }
    assert!(start.elapsed() > LONG);
    assert_eq!(client.response().await.text(), "thanks");
    assert_eq!(balancer.log_line().await["end"], "ok");
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_a_408_on_every_request() {
    let backend = Backend::saying("hello").await;
    let balancer = balancer("header_timeout: 400ms", &[backend.url()], "").await;
    for earlier in [0, 1, 3] {
        let mut client = balancer.client().await;
        for _ in 0..earlier {
            assert_eq!(client.get("/earlier").await.status(), 200);
        }
        let start = Instant::now();
        let response = in_time("408", drip(&mut client)).await;
        assert_lasted("header", start.elapsed(), Duration::from_millis(400));
        assert_eq!(response.status(), 408, "after {earlier}");
        client.closed().await;
    }
    let records = balancer.log_lines(4 + 3).await;
    let timeouts: Vec<_> = records.iter().filter(|record| record["end"] == "timeout=header").collect();
    assert_eq!(timeouts.len(), 3, "{records:#?}");
    assert!(timeouts.iter().all(|record| record["status"] == 408));
}

/// Sends a head, one byte every 100 ms, until there is a response.
async fn drip(client: &mut Client) -> crate::support::Message {
    for byte in "GET / HTTP/1.1\r\nHost: a-very-long-name-indeed.example\r\n".bytes() {
        if client.try_send([byte]).await.is_err() || !client.is_quiet_for(Duration::from_millis(100)).await {
            break;
        }
    }
    client.response().await
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_without_a_word() {
    let backend = Backend::saying("hello").await;
    let balancer = balancer("header_timeout: 300ms", &[backend.url()], "").await;
    let start = Instant::now();
    assert_eq!(balancer.client().await.closed().await, b"");
    assert_lasted("first byte of the client", start.elapsed(), LIMIT);
}

#[tokio::test]
async fn a_kept_connection_is_closed_when_it_is_idle() {
    let backend = Backend::saying("hello").await;
    let balancer = balancer("idle_timeout: 1s", &[backend.url()], "").await;
    let mut client = balancer.client().await;
    for _ in 0..8 {
        assert_eq!(client.get("/").await.status(), 200);
        tokio::time::sleep(BEAT).await;
    }
    assert_eq!(client.get("/").await.status(), 200);
    let start = Instant::now();
    assert_eq!(client.closed().await, b"");
    assert_lasted("idle", start.elapsed(), LONG);
    assert_eq!(balancer.log_lines(9).await.len(), 9);
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut() {
    const SIZE: u64 = 64 << 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
    let backend = Backend::start(move |_| Reply::bytes(&head).fill(SIZE)).await;
    let balancer = balancer("send_timeout: 300ms", &[backend.url()], "").await;
    let mut client = balancer.client().await;
    let start = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let record = balancer.log_line().await;
    // How long the sockets take to fill depends on the machine.
    assert!(start.elapsed() >= LIMIT);
    assert_eq!((&record["end"], &record["status"]), (&"timeout=send".into(), &200.into()));
    backend.until_all_closed().await;
    let response =
        in_time("rest", client.try_response_to("GET")).await.expect("what was sent before the cut");
    assert!(response.body_length < SIZE && !response.complete);
}

#[tokio::test]
async fn an_idle_connection_to_a_backend_is_closed() {
    let backend = Backend::saying("hello").await;
    let balancer = balancer("", &[backend.url()], "pool: { idle_timeout: 300ms }").await;
    balancer.get("/").await;
    let start = Instant::now();
    backend.until_all_closed().await;
    assert_lasted("pool", start.elapsed(), LIMIT);
}
