//! HTTP/2 to backends, and gRPC, which needs it on both sides.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use tokio::task::JoinSet;

use super::configured;
use crate::support::http2::{Http2, Whole, read, request, send};
use crate::support::http2_backend::Http2Backend;
use crate::support::{Backend, Balancer, ClosedPort};

async fn before(backend: &Http2Backend, more: &str) -> Balancer {
    Balancer::start(&format!(
        "workers: 2\nlisteners: [{{ address: 127.0.0.1:0, http: {{ h2c: true }} }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"], http2: always }} }}\n{more}",
        backend.url()
    ))
    .await
}

fn call(path: &str) -> Request<()> {
    let mut request = request("POST", path);
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    request
}

fn status(response: &Whole) -> Option<&str> {
    let trailers = response.trailers.as_ref()?;
    trailers.get("grpc-status").map(|value| value.to_str().expect("text"))
}

#[tokio::test]
async fn a_unary_call_passes_with_its_trailers() {
    let backend = Http2Backend::start().await;
    let balancer = before(&backend, "").await;
    let mut client = Http2::connect(balancer.address()).await;
    for size in [0, 5, 4 << 20] {
        let message = vec![b'x'; size];
        let (response, mut stream) = client.begin(call("/unary"), false).await;
        let sent = message.clone();
        let sending = tokio::spawn(async move { send(&mut stream, sent.into(), true).await });
        let response = Whole::read(response).await.expect("a response");
        sending.await.expect("no panic");
        assert_eq!((response.status(), status(&response)), (200, Some("0")), "{size} bytes");
        assert!(response.body == message, "{size} bytes");
    }
    let calls = backend.calls();
    assert!(calls.iter().all(|parts| parts.headers["te"] == "trailers"), "{calls:?}");
    let uri = &calls[0].uri;
    assert_eq!((uri.authority().expect("an authority").as_str(), uri.scheme_str()), ("test", Some("http")));
    assert!(!calls[0].headers.contains_key("host"));
    assert_eq!(calls[0].headers["x-forwarded-host"], "test");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn pieces_pass_both_ways_as_they_come() {
    let backend = Http2Backend::start().await;
    let balancer = before(&backend, "").await;
    let mut client = Http2::connect(balancer.address()).await;
    let (response, mut stream) = client.begin(call("/echo"), false).await;
    let (_, mut body) = response.await.expect("a head before the body has ended").into_parts();
    for piece in ["one", "two", "three"] {
        send(&mut stream, Bytes::from_static(piece.as_bytes()), false).await;
        let data = body.data().await.expect("a piece").expect("sound");
        body.flow_control().release_capacity(data.len()).expect("room");
        assert_eq!(data, piece);
    }
    send(&mut stream, Bytes::new(), true).await;
    assert!(read(&mut body).await.expect("an end").is_empty());
    let trailers = body.trailers().await.expect("sound").expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn an_error_of_nothing_but_trailers_passes() {
    let backend = Http2Backend::start().await;
    let balancer = before(&backend, "").await;
    let mut client = Http2::connect(balancer.address()).await;
    let response = client.ask(call("/error")).await;
    assert_eq!((response.status(), response.header("grpc-status")), (200, Some("5")));
    assert!(response.body.is_empty());
    assert_eq!(balancer.log_line().await["end"], "ok");
}

#[tokio::test]
async fn a_deadline_of_the_client_is_kept_and_passed_on() {
    let backend = Http2Backend::start().await;
    let balancer = before(&backend, "").await;
    let mut client = Http2::connect(balancer.address()).await;
    let mut request = call("/hang");
    request.headers_mut().insert("grpc-timeout", "300m".parse().expect("a value"));
    let begun = Instant::now();
    let response = client.ask(request).await;
    let took = begun.elapsed();
    assert_eq!((response.status(), response.header("grpc-status")), (200, Some("4")));
    assert!((Duration::from_millis(300)..Duration::from_millis(1500)).contains(&took), "{took:?}");
    let given = backend.calls()[0].headers["grpc-timeout"].to_str().expect("text").to_owned();
    let left: u64 = given.strip_suffix('m').expect("milliseconds").parse().expect("a number");
    assert!((1..=300).contains(&left), "{given}");
}

#[tokio::test]
async fn many_calls_share_few_connections() {
    let backend = Http2Backend::start().await;
    let balancer = before(&backend, "").await;
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let mut client = Http2::connect(balancer.address()).await;
        calls.spawn(async move {
            let mut streams = JoinSet::new();
            for _ in 0..100 {
                let (response, mut stream) = client.begin(call("/together/1000"), false).await;
                send(&mut stream, Bytes::from_static(b"x"), true).await;
                streams.spawn(Whole::read(response));
            }
            let mut sound = 0;
            while let Some(response) = streams.join_next().await {
                let response = response.expect("no panic").expect("a response");
                sound += usize::from(status(&response) == Some("0"));
            }
            sound
        });
    }
    let mut sound = 0;
    while let Some(count) = calls.join_next().await {
        sound += count.expect("no panic");
    }
    assert_eq!(sound, 1000);
    let connections = backend.connections();
    assert!(connections <= 20, "{connections} connections for 1,000 calls");
}

#[tokio::test]
async fn a_refused_stream_is_tried_again_whatever_the_method() {
    let backend = Http2Backend::start().await;
    let other = Http2Backend::start().await;
    let balancer = Balancer::start(&format!(
        "listeners: [{{ address: 127.0.0.1:0, http: {{ h2c: true }} }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\", \"{}\"], http2: always }} }}",
        backend.url(),
        other.url()
    ))
    .await;
    let mut client = Http2::connect(balancer.address()).await;
    for _ in 0..4 {
        let response = client.post("/refuse", "x").await;
        assert_eq!((response.status(), response.text().as_str()), (200, "x"));
    }
}

#[tokio::test]
async fn a_client_of_http_1_reaches_a_backend_of_http_2() {
    let backend = Http2Backend::start().await;
    let balancer = before(&backend, "").await;
    let mut client = balancer.client().await;
    let text = "POST /unary HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
    for _ in 0..3 {
        let response = client.ask(text).await;
        assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
    }
    assert_eq!(balancer.log_lines(3).await[0]["lane"], "pingora");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_backend_that_speaks_no_http_2_is_a_failure_that_is_told() {
    let backend = Backend::saying("fine").await;
    let more = format!("upstreams: {{ web: {{ backends: [\"{}\"], http2: always }} }}", backend.url());
    let balancer = Balancer::start(&more).await;
    assert_eq!(balancer.get("/").await.status(), 502);
    let closed = ClosedPort::new();
    let balancer = configured(&closed.url(), "", "").await;
    let mut client = Http2::connect(balancer.address()).await;
    assert_eq!(client.get("/").await.status(), 502);
}
