//! Why a request failed: the field `error` of its record, and the lines of the error log.

#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::Duration;

use serde_json::Value;

use super::program::Program;
use super::support::{
    Backend, Balancer, BlackHole, Client, ClosedPort, Lane, PATIENCE, Reply, Secure, Seen, eventually, get,
    lane, send,
};

/// A response whose head is this.
fn head(fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n")
}

/// What a backend returns, by path, and what the log says about it. The second text is for Pingora's lane if it reports
/// less.
fn answers() -> Vec<(&'static str, Reply, [&'static str; 2])> {
    let large = head(&format!("X: {}\r\n", "x".repeat(1_200_000)));
    let one = |text: &'static str| [text, text];
    vec![
        ("/closed", Reply::hang_up(), one("connection closed before the response head")),
        (
            "/half-head",
            Reply::bytes("HTTP/1.1 200 O").close(),
            one("connection closed before the response head"),
        ),
        ("/reset", Reply::default().read_body().reset(), one("connection reset before the response head")),
        (
            "/two-lengths",
            Reply::bytes(head("Content-Length: 1\r\nContent-Length: 2\r\n")).close(),
            ["response has two Content-Length headers", "response has a malformed Content-Length header"],
        ),
        (
            "/length",
            Reply::bytes(head("Content-Length: +1\r\n")).close(),
            one("response has a malformed Content-Length header"),
        ),
        (
            "/nonsense",
            Reply::bytes("what?\r\n\r\n").close(),
            ["response has an unknown HTTP version", "response has an unknown HTTP version"],
        ),
        ("/name", Reply::bytes(head("A B: c\r\n")).close(), one("response has a malformed header name")),
        ("/large", Reply::bytes(large).close(), one("response head is too large")),
        (
            "/upgrade",
            Reply::bytes("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
                .close(),
            one("response has status 101 without a request to upgrade"),
        ),
    ]
}

async fn behaving(answers: Vec<(&'static str, Reply, [&'static str; 2])>) -> Backend {
    Backend::start(move |seen| {
        let found = answers.iter().find(|(path, ..)| *path == seen.target());
        found.map_or_else(|| Reply::ok("fine"), |(_, reply, _)| reply.clone())
    })
    .await
}

/// What is expected of this run's lane.
fn of_lane([lean, pingora]: [&'static str; 2]) -> &'static str {
    if lane() == Lane::Lean { lean } else { pingora }
}

async fn error_of(balancer: &Balancer, path: &str, status: u16) -> Value {
    assert_eq!(balancer.get(path).await.status(), status, "{path}");
    let record = balancer.log_line_of(path).await;
    assert_eq!(record["status"], status, "{record}");
    record["error"].clone()
}

#[tokio::test]
async fn the_record_of_a_502_says_what_the_backend_did() {
    let backend = behaving(answers()).await;
    // Of one backend all requests go to it, whatever it did before.
    let balancer = Balancer::before(&backend.url()).await;
    for (path, _, error) in answers() {
        assert_eq!(error_of(&balancer, path, 502).await, of_lane(error), "{path}");
    }
    assert_eq!(error_of(&balancer, "/fine", 200).await, Value::Null);
}

#[tokio::test]
async fn the_record_of_a_502_says_why_there_was_no_connection() {
    let refusing = ClosedPort::new();
    let balancer = Balancer::before(&refusing.url()).await;
    assert_eq!(error_of(&balancer, "/", 502).await, "connection refused");
    let balancer = Balancer::before("http+unix:/no/such/socket").await;
    assert_eq!(error_of(&balancer, "/", 502).await, "no socket at this path");
}

#[tokio::test]
async fn the_record_of_a_504_says_what_was_waited_for() {
    let (hole, silent) = (BlackHole::new().await, Backend::start(|_| Reply::silence()).await);
    let limits = "timeouts: { connect: 300ms, first_byte: 300ms }";
    for (url, error) in [
        (hole.url(), "no connection within timeouts.connect"),
        (silent.url(), "no response head within timeouts.first_byte"),
    ] {
        let yaml = format!("upstreams: {{ web: {{ backends: [\"{url}\"], {limits} }} }}");
        assert_eq!(error_of(&Balancer::start(&yaml).await, "/", 504).await, error);
    }
    let yaml = format!(
        "routes: [{{ name: a, timeout: 300ms, upstream: web }}]\nupstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        silent.url()
    );
    let error = error_of(&Balancer::start(&yaml).await, "/", 504).await;
    assert_eq!(error, "no response head within the route's timeout");
}

#[tokio::test]
async fn the_record_of_a_503_says_which_limit_was_reached() {
    let (silent, unhealthy) =
        (Backend::start(|_| Reply::silence()).await, Backend::start(|_| Reply::status(503, "")).await);
    let limits = "max_connections: 1, queue: { max_pending: 0 }";
    let yaml = format!("upstreams: {{ web: {{ backends: [\"{}\"], {limits} }} }}", silent.url());
    let balancer = Balancer::start(&yaml).await;
    let mut client = balancer.client().await;
    client.send("GET /first HTTP/1.1\r\nHost: test\r\n\r\n").await;
    silent.until_requests(1).await;
    assert_eq!(error_of(&balancer, "/second", 503).await, "queue is full: queue.max_pending reached");

    let check = "health_check: { http: { path: / }, interval: 100ms, timeout: 100ms, fall: 1, start: down }";
    let yaml = format!(
        "upstreams: {{ web: {{ backends: [\"{}\"], {check}, when_all_down: refuse }} }}",
        unhealthy.url()
    );
    assert_eq!(error_of(&Balancer::start(&yaml).await, "/", 503).await, "no healthy backend");

    // One that the backend itself has said.
    let balancer = Balancer::before(&unhealthy.url()).await;
    assert_eq!(error_of(&balancer, "/", 503).await, "the backend responded with status 503");
}

#[tokio::test]
async fn the_record_of_a_400_says_what_is_wrong_with_the_request() {
    let backend = Backend::saying("fine").await;
    let balancer = Balancer::start(&format!(
        "workers: 1\nupstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    ))
    .await;
    let chunked = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (count, (request, error)) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), None),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), None),
        (format!("{chunked}zz\r\n"), Some("body has a malformed chunk")),
        (format!("{chunked}11111111111111111\r\n"), Some("body has a chunk size that is too large")),
        (format!("{chunked}1\r\nab\r\n"), Some("body has a malformed chunk")),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = send(balancer.address(), &request).await;
        assert_eq!(answer.status(), 400, "{request:?}");
        let record = balancer.log_lines(count + 1).await.pop().expect("a record");
        let said = record["error"].as_str().unwrap_or_else(|| panic!("no error: {record}"));
        // The client and the operator read the same.
        assert_eq!(answer.text(), format!("400 {said}\n"), "{request:?}");
        assert!(error.is_none_or(|error| error == said), "{said}");
    }
}

#[tokio::test]
async fn the_record_of_a_response_that_was_cut_says_how() {
    let body = |text: &str| head("Transfer-Encoding: chunked\r\n") + text;
    let answers = vec![
        (
            "/closed",
            Reply::bytes(head("Content-Length: 9\r\n") + "half").close(),
            ["connection closed in the middle of the response"; 2],
        ),
        (
            "/chunk",
            Reply::bytes(body("4\r\nhalf\r\n")).wait(Duration::from_millis(50)).send("zz\r\n").close(),
            ["body has a malformed chunk"; 2],
        ),
    ];
    let backend = behaving(answers.clone()).await;
    let balancer = Balancer::before(&backend.url()).await;
    for (path, _, error) in answers {
        let mut client = balancer.client().await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        client.closed().await;
        let record = balancer.log_line_of(path).await;
        assert_eq!(
            (&record["end"], &record["error"]),
            (&"backend_left".into(), &of_lane(error).into()),
            "{record}"
        );
    }
}

#[tokio::test]
async fn the_record_says_what_is_wrong_with_a_certificate() {
    let expired = Secure::expired("api.internal", |_| Reply::ok("ok")).await;
    let good = Secure::start("api.internal", |_| Reply::ok("ok")).await;
    let named =
        |secure: &Secure, name: &str| format!("ca: {}, server_name: {name}", secure.authority.display());
    for (port, tls, error) in [
        (expired.address().port(), named(&expired, "api.internal"), "TLS: certificate has expired"),
        (good.address().port(), named(&good, "other.internal"), "TLS: certificate is for another name"),
        (
            good.address().port(),
            "server_name: api.internal".to_owned(),
            "TLS: certificate is signed by an unknown authority",
        ),
    ] {
        let yaml =
            format!("upstreams: {{ web: {{ backends: [\"https://127.0.0.1:{port}\"], tls: {{ {tls} }} }} }}");
        assert_eq!(error_of(&Balancer::start(&yaml).await, "/", 502).await, error, "{yaml}");
    }
}

/// The lines of the error log that have these words.
fn with(program: &Program, words: &str) -> Vec<String> {
    program.said().into_iter().filter(|line| line.contains(words)).collect()
}

#[tokio::test]
async fn a_cause_has_one_line_and_then_a_count() {
    let refusing = ClosedPort::new();
    let yaml = format!("upstreams: {{ web: {{ backends: [\"{}\"] }} }}\n", refusing.url());
    let program = Program::run_logging(&yaml, "info").await;
    let mut client = Client::connect(program.address()).await;
    for _ in 0..50 {
        assert_eq!(client.get("/").await.status(), 502);
    }
    let line = format!("upstream web: {}: connection refused", refusing.url());
    eventually(PATIENCE, || !with(&program, &line).is_empty()).await;
    let failed = "upstream web: request failed on all attempts: connection refused";
    eventually(PATIENCE, || !with(&program, failed).is_empty()).await;
    assert_eq!((with(&program, &line).len(), with(&program, failed).len()), (1, 1), "{:#?}", program.said());
    assert!(with(&program, &line)[0].contains("WARN"), "{:#?}", program.said());
    assert!(with(&program, failed)[0].contains("ERROR"), "{:#?}", program.said());
    // After ten seconds, what was counted.
    eventually(3 * PATIENCE, || with(&program, failed).len() > 1).await;
    for words in [&line, failed] {
        assert!(
            with(&program, words)[1].ends_with("connection refused (and 48 more in the last 10 s)"),
            "{:#?}",
            program.said()
        );
    }
}

#[tokio::test]
async fn a_total_outage_is_obvious_as_it_begins_and_as_it_ends() {
    let status = Arc::new(AtomicU16::new(503));
    let said = status.clone();
    let load = move |_: &Seen| Reply::status(said.load(SeqCst), "");
    let (one, two) = (Backend::start(load.clone()).await, Backend::start(load).await);
    let yaml = format!(
        "upstreams: {{ web: {{ backends: [\"{}\", \"{}\"], health_check: {{ http: {{ path: / }}, interval: 100ms, timeout: 100ms }} }} }}\n",
        one.url(),
        two.url()
    );
    let program = Program::run_logging(&yaml, "info").await;
    eventually(PATIENCE, || !with(&program, "upstream web: no healthy backend: sending to all 2").is_empty())
        .await;
    status.store(200, SeqCst);
    eventually(PATIENCE, || !with(&program, "of 2 backends healthy again after").is_empty()).await;
    assert_eq!(get(program.address(), "/").await.status(), 200);
}
