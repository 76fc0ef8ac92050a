//! HTTP/2 to clients: whatever holds for a request holds for a stream.

#![cfg(test)]

mod backends;
mod floods;
mod tls;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use tokio::task::JoinSet;

use crate::support::http2::{Http2, PREFACE, Whole, read, request, send};
use crate::support::{Backend, Balancer, Client, ClosedPort, PATIENCE, Reply};

/// A balancer that speaks HTTP/2 in front of this backend, with these limits of its listener.
async fn balancer(backend: &Backend, http: &str) -> Balancer {
    configured(&backend.url(), http, "").await
}

async fn configured(backend: &str, http: &str, more: &str) -> Balancer {
    let http = if http.is_empty() { String::new() } else { format!(", {http}") };
    Balancer::start(&format!(
        "listeners: [{{ address: 127.0.0.1:0, http: {{ h2c: true{http} }} }}]\n\
         upstreams: {{ web: {{ backends: [\"{backend}\"] }} }}\n{more}"
    ))
    .await
}

/// The configuration without the listener: its connections drain.
fn elsewhere(balancer: &Balancer, backend: &Backend, more: &str) -> String {
    let path = balancer.path("socket");
    let (path, backend) = (path.display(), backend.url());
    format!(
        "listeners: [{{ address: \"unix:{path}\" }}]\nupstreams: {{ web: {{ backends: [\"{backend}\"] }} }}\n{more}"
    )
}

#[tokio::test]
async fn a_request_passes_and_its_response_returns() {
    let backend = Backend::start(|_| {
        Reply::new().read_body().send(
            "HTTP/1.1 201 Created\r\nContent-Length: 4\r\nX-One: 1\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\nfine",
        )
    })
    .await;
    let balancer = balancer(&backend, "").await;
    let mut client = Http2::connect(balancer.address()).await;
    let response = client.post("/a?b=c", "hello").await;
    assert_eq!((response.status(), response.text().as_str()), (201, "fine"));
    assert_eq!(response.header("x-one"), Some("1"));
    assert_eq!((response.header("connection"), response.header("x-hop")), (None, None));
    assert!(response.header("date").is_some() && response.trailers.is_none());
    let seen = backend.only_request();
    assert_eq!((seen.first_line.as_str(), seen.text().as_str()), ("POST /a?b=c HTTP/1.1", "hello"));
    assert_eq!((seen.header("host"), seen.header("x-forwarded-for")), (Some("test"), Some("127.0.0.1")));
    assert_eq!(
        (seen.header("x-forwarded-proto"), seen.header("x-forwarded-host")),
        (Some("http"), Some("test"))
    );
    let record = balancer.log_line().await;
    assert_eq!((&record["protocol"], &record["stream"]), (&"HTTP/2.0".into(), &1.into()));
    assert_eq!((&record["lane"], &record["end"]), (&"pingora".into(), &"ok".into()));
    assert_eq!((&record["bytes_in"], &record["bytes_out"]), (&5.into(), &4.into()));
}

#[tokio::test]
async fn one_listener_speaks_both_versions_and_neither_waits_for_the_other() {
    let backend = Backend::saying("fine").await;
    let balancer = balancer(&backend, "").await;
    // Shorter than the preface of HTTP/2.
    let begun = Instant::now();
    let mut client = balancer.client().await;
    assert_eq!(client.ask("GET / HTTP/1.0\r\n\r\n").await.text(), "fine");
    assert!(begun.elapsed() < Duration::from_secs(2));
    // A preface that comes in pieces.
    let mut client = balancer.client().await;
    for piece in PREFACE.chunks(5) {
        client.send(piece).await;
        tokio::task::yield_now().await;
    }
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    assert_eq!(client.bytes(9).await[3], 4, "settings");
    // It begins like the preface, and is not.
    let mut client = balancer.client().await;
    let response = client.ask("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    assert_eq!(response.status(), 505);
    let mut client = balancer.client().await;
    assert_eq!(client.get("/").await.text(), "fine");
    client.send(PREFACE).await;
    assert_eq!(client.response().await.status(), 505, "a connection keeps its version");
}

#[tokio::test]
async fn without_the_key_there_is_no_http_2() {
    let backend = Backend::saying("fine").await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = Client::connect(balancer.address()).await;
    client.send(PREFACE).await;
    assert_eq!(client.response().await.status(), 505);
}

#[tokio::test]
async fn streams_do_not_wait_for_one_another() {
    let backend = Backend::start(|request| match request.target() {
        "/slow" => Reply::new()
            .wait(Duration::from_millis(500))
            .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow"),
        _ => Reply::ok("fine"),
    })
    .await;
    let balancer = balancer(&backend, "").await;
    let mut client = Http2::connect(balancer.address()).await;
    let (slow, _) = client.begin(request("GET", "/slow"), true).await;
    let mut streams = JoinSet::new();
    for _ in 0..60 {
        let (response, _) = client.begin(request("GET", "/"), true).await;
        streams.spawn(Whole::read(response));
    }
    while let Some(response) = streams.join_next().await {
        assert_eq!(response.expect("no panic").expect("a response").text(), "fine");
    }
    assert_eq!(Whole::read(slow).await.expect("a response").text(), "slow");
    let lines = balancer.log_lines(61).await;
    let mut ids: Vec<_> = lines.iter().map(|line| line["stream"].as_u64().expect("a number")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 61, "each stream has one record");
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let backend = Backend::start(|_| {
        Reply::new().read_body().send("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n").fill(3_000_000)
    })
    .await;
    let balancer = balancer(&backend, "").await;
    let mut client = Http2::connect(balancer.address()).await;
    let response = client.post("/", vec![b'x'; 2_000_000]).await;
    assert_eq!((response.status(), response.body.len()), (200, 3_000_000));
    let seen = backend.only_request();
    assert_eq!((seen.body_length, seen.header("transfer-encoding")), (2_000_000, Some("chunked")));
}

#[tokio::test]
async fn what_is_no_sound_request_is_rejected_and_recorded() {
    let backend = Backend::saying("fine").await;
    let balancer = balancer(&backend, "max_header_size: 2KiB, max_header_fields: 10").await;
    let mut client = Http2::connect(balancer.address()).await;
    let with = |fields: &[(&str, &str)]| {
        fields.iter().fold(request("GET", "/"), |mut request, (name, value)| {
            let name: http::HeaderName = name.parse().expect("a name");
            request.headers_mut().append(name, value.parse().expect("a value"));
            request
        })
    };
    let long = "x".repeat(2000);
    for (request, status) in [
        (with(&[("host", "other")]), 400),
        (with(&[("host", "test")]), 200),
        (with(&[("content-length", "0"), ("content-length", "0")]), 400),
        (with(&[("cookie", "a=b"); 10]), 200),
        (with(&[("cookie", "a=b"); 11]), 431),
        (with(&[("x-long", &long), ("x-longer", "0123456789")]), 431),
        (Request::builder().method("CONNECT").uri("test:80").body(()).expect("a request"), 405),
        (Request::builder().uri("http://test/x%00").body(()).expect("a request"), 400),
    ] {
        let what = format!("{request:?}");
        assert_eq!(client.ask(request).await.status(), status, "{what}");
    }
    let records = balancer.log_lines(8).await;
    let mut statuses: Vec<_> =
        records.iter().map(|record| record["status"].as_u64().expect("a number")).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 400, 400, 400, 405, 431, 431]);
    let crumbs = backend.last_request();
    assert_eq!(crumbs.header("cookie"), Some(["a=b"; 10].join("; ").as_str()), "joined");
}

#[tokio::test]
async fn limits_and_timeouts_hold_for_each_stream() {
    let backend = Backend::start(|request| match request.target() {
        "/silent" => Reply::new().hang(),
        _ => Reply::ok("fine"),
    })
    .await;
    let more = "routes: [{ name: silent, match: { path: /silent }, upstream: web, timeout: 300ms }, { name: all, upstream: web }]";
    let balancer = configured(&backend.url(), "body_timeout: 300ms, max_body_size: 10B", more).await;
    let mut client = Http2::connect(balancer.address()).await;
    assert_eq!(client.get("/silent").await.status(), 504);
    assert_eq!(client.post("/", "01234567890").await.status(), 413);
    let (response, mut stream) = client.begin(request("POST", "/"), false).await;
    send(&mut stream, Bytes::from_static(b"0"), false).await;
    let response = Whole::read(response).await.expect("a response");
    assert_eq!(response.status(), 408);
    assert_eq!(client.get("/").await.text(), "fine", "the connection goes on");
    let ends: Vec<_> = balancer.log_lines(4).await.iter().map(|record| record["end"].clone()).collect();
    assert_eq!(ends, ["timeout=total", "refused=body_too_large", "timeout=body", "ok"]);
}

#[tokio::test]
async fn a_client_that_takes_no_response_is_given_up() {
    let backend = Backend::start(|_| {
        Reply::new().send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").fill(1_000_000)
    })
    .await;
    let balancer = balancer(&backend, "send_timeout: 400ms").await;
    let mut client = Http2::connect(balancer.address()).await;
    let (response, _) = client.begin(request("GET", "/"), true).await;
    let (_, body) = response.await.expect("a head").into_parts();
    // The window of the stream is never opened.
    let record = balancer.log_line().await;
    assert_eq!(record["end"], "timeout=send");
    tokio::time::timeout(PATIENCE, client.connection)
        .await
        .expect("the connection ends")
        .expect("no panic")
        .ok();
    drop(body);
}

#[tokio::test]
async fn a_client_that_gives_a_stream_up_ends_the_request() {
    let backend = Backend::start(|_| Reply::new().hang()).await;
    let balancer = balancer(&backend, "").await;
    let mut client = Http2::connect(balancer.address()).await;
    let (response, mut stream) = client.begin(request("GET", "/"), true).await;
    backend.until_requests(1).await;
    stream.send_reset(h2::Reason::CANCEL);
    assert!(response.await.is_err());
    backend.until_all_closed().await;
    let record = balancer.log_line().await;
    assert_eq!((&record["status"], &record["end"]), (&499.into(), &"client_left".into()));
}

#[tokio::test]
async fn a_part_of_a_response_is_not_taken_for_the_whole() {
    let backend = Backend::start(|_| {
        Reply::new().read_body().send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart").close()
    })
    .await;
    let balancer = balancer(&backend, "").await;
    let mut client = Http2::connect(balancer.address()).await;
    let (response, _) = client.begin(request("GET", "/"), true).await;
    // What came first may be overtaken by the reset.
    let error = match response.await {
        Ok(response) => read(&mut response.into_body()).await.expect_err("the stream is reset"),
        Err(error) => error,
    };
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
    assert_eq!(balancer.log_line().await["end"], "backend_left");
}

#[tokio::test]
async fn interim_responses_come_before_the_final_one() {
    let backend = Backend::start(|_| {
        Reply::new().read_body().send(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
        )
    })
    .await;
    let balancer = balancer(&backend, "").await;
    let mut client = Http2::connect(balancer.address()).await;
    let (mut response, _) = client.begin(request("GET", "/"), true).await;
    let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
    let interim = interim.expect("an interim response").expect("sound");
    assert_eq!(
        (interim.status().as_u16(), &interim.headers()["link"]),
        (103, &"</a>".parse().expect("a value"))
    );
    assert_eq!(Whole::read(response).await.expect("a response").text(), "fine");
}

#[tokio::test]
async fn a_failed_attempt_is_tried_elsewhere_with_its_body() {
    let backend = Backend::saying("fine").await;
    let closed = ClosedPort::new();
    let balancer = Balancer::start(&format!(
        "listeners: [{{ address: 127.0.0.1:0, http: {{ h2c: true }} }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\", \"{}\"] }} }}",
        closed.url(),
        backend.url()
    ))
    .await;
    let mut client = Http2::connect(balancer.address()).await;
    for _ in 0..4 {
        assert_eq!(client.post("/", "hello").await.text(), "fine");
        assert_eq!(backend.last_request().text(), "hello");
    }
}

#[tokio::test]
async fn a_drain_lets_streams_end_and_takes_no_more() {
    let backend = Backend::start(|_| {
        Reply::new()
            .read_body()
            .wait(Duration::from_millis(500))
            .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
    })
    .await;
    let balancer = balancer(&backend, "").await;
    let mut client = Http2::connect(balancer.address()).await;
    let (response, _) = client.begin(request("GET", "/"), true).await;
    backend.until_requests(1).await;
    balancer.reload(&elsewhere(&balancer, &backend, "")).await.expect("a reload");
    assert_eq!(Whole::read(response).await.expect("a response").text(), "fine");
    // GOAWAY has come, and nothing is under way.
    tokio::time::timeout(PATIENCE, client.connection)
        .await
        .expect("it ends")
        .expect("no panic")
        .expect("no error");
}

#[tokio::test]
async fn a_request_that_is_cut_gets_its_response() {
    let backend = Backend::start(|_| Reply::new().hang()).await;
    let more = "shutdown: { drain_timeout: 300ms }";
    let balancer = configured(&backend.url(), "", more).await;
    let mut client = Http2::connect(balancer.address()).await;
    let (response, _) = client.begin(request("GET", "/"), true).await;
    backend.until_requests(1).await;
    balancer.reload(&elsewhere(&balancer, &backend, more)).await.expect("a reload");
    let response = Whole::read(response).await.expect("a response");
    assert_eq!((response.status(), response.header("retry-after")), (503, Some("1")));
    assert_eq!(balancer.log_line().await["end"], "refused=shutting_down");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let backend = Backend::saying("fine").await;
    let balancer = balancer(&backend, "idle_timeout: 300ms").await;
    let mut client = Http2::connect(balancer.address()).await;
    assert_eq!(client.get("/").await.text(), "fine");
    tokio::time::timeout(PATIENCE, client.connection)
        .await
        .expect("it ends")
        .expect("no panic")
        .expect("no error");
}

#[tokio::test]
async fn a_grpc_client_reads_our_refusals() {
    let backend = Backend::saying("fine").await;
    let balancer =
        configured(&backend.url(), "", "routes: [{ name: known, match: { path: /known }, upstream: web }]")
            .await;
    let mut client = Http2::connect(balancer.address()).await;
    let mut call = request("POST", "/unknown");
    call.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
    let response = client.ask(call).await;
    assert_eq!((response.status(), response.header("grpc-status")), (200, Some("12")));
    assert!(response.header("grpc-message").is_some() && response.body.is_empty());
}

#[tokio::test]
async fn a_head_request_gets_the_status_of_a_refusal() {
    let closed = ClosedPort::new();
    let balancer = configured(&format!("http://{}", closed.address), "", "").await;
    let mut client = Http2::connect(balancer.address()).await;
    for method in ["GET", "HEAD"] {
        let response = client
            .ask(Request::builder().method(method).uri("http://test/").body(()).expect("a request"))
            .await;
        assert_eq!((response.status(), response.text().is_empty()), (502, method == "HEAD"), "{method}");
    }
}
