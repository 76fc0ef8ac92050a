//! One record for every request, whatever path it took, and the metrics agree with the records.

#![cfg(test)]

mod filters;
mod formats;
mod full;
mod headers;

use std::time::Duration;

use serde_json::Value;

use self::filters::registry;
use super::support::samples::Samples;
use super::support::{
    Backend, Balancer, BlackHole, Client, ClosedPort, Message, PATIENCE, Reply, Seen, eventually,
};

/// Short limits, so that what must expire expires soon; the timeouts themselves are tested elsewhere. One worker, so that
/// records come in the order in which requests end.
const LIMITS: &str = "
workers: 1
listeners:
  - address: 127.0.0.1:0
    http:
      header_timeout: 500ms
      body_timeout: 500ms
      send_timeout: 500ms
      max_header_size: 2KiB
      max_header_fields: 20
      max_body_size: 64KiB
";

/// A balancer with every kind of way out, and how many of its records were looked at.
struct Bench {
    balancer: Balancer,
    backend: Backend,
    _refusing: ClosedPort,
    _silent: BlackHole,
    seen: usize,
}

/// What a backend does, by the path.
fn behave(request: &Seen) -> Reply {
    match request.target() {
        "/silence" => Reply::silence(),
        "/once" if request.nth > 0 => Reply::hang_up(),
        "/hang-up" => Reply::hang_up(),
        "/nonsense" => Reply::bytes("what?\r\n\r\n").close(),
        "/half" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").close(),
        "/pause" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").hang(),
        "/much" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n").fill(64 << 20),
        "/upgrade" => Reply::bytes(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .echo(),
        _ => Reply::ok("fine"),
    }
}

// === impl Bench ===

impl Bench {
    async fn start() -> Self {
        Self::with(LIMITS).await
    }

    /// One with these limits.
    async fn with(limits: &str) -> Self {
        let backend = Backend::start(behave).await;
        let refusing = ClosedPort::new();
        let silent = BlackHole::new().await;
        let timeouts = "{ connect: 500ms, first_byte: 500ms, idle: 500ms, upgraded_idle: 500ms }";
        let yaml = format!(
            "{limits}
routes:
  - {{ name: fixed, match: {{ path: /fixed }}, respond: {{ body: fixed }} }}
  - {{ name: moved, match: {{ path: /moved }}, redirect: {{ to: 'https://{{host}}/' }} }}
  - {{ name: refused, match: {{ path: /filter-refuses }}, filters: [judge: refuse], upstream: web }}
  - {{ name: judged, match: {{ path: /filter-responds }}, filters: [judge: respond], upstream: web }}
  - {{ name: panics, match: {{ path: /filter-panics }}, filters: [judge: panic], upstream: web }}
  - {{ name: panics-late, match: {{ path: /filter-panics-late }}, filters: [judge: panic_late], upstream: web }}
  - {{ name: hurried, match: {{ path: /hurried }}, upstream: silence, timeout: 300ms }}
  - {{ name: unreachable, match: {{ path: /unreachable }}, upstream: refusing }}
  - {{ name: black-hole, match: {{ path: /black-hole }}, upstream: silent }}
  - {{ name: web, match: {{ hosts: [test] }}, upstream: web }}
upstreams:
  web: {{ backends: [\"{web}\"], timeouts: {timeouts} }}
  silence: {{ backends: [\"{silent}\"], timeouts: {{ connect: 5s }} }}
  refusing: {{ backends: [\"{refusing}\"] }}
  silent: {{ backends: [\"{silent}\"], timeouts: {timeouts} }}
",
            web = backend.url(),
            refusing = refusing.url(),
            silent = silent.url(),
        );
        let balancer = Balancer::with(&yaml, registry()).await;
        Self { balancer, backend, _refusing: refusing, _silent: silent, seen: 0 }
    }

    async fn client(&self) -> Client {
        self.balancer.client().await
    }

    /// The next record, which is the only one that came, with the status and the end that it must have.
    async fn ends(&mut self, what: &str, status: u16, end: &str) -> Value {
        let mut records = self.balancer.log_lines(self.seen + 1).await;
        assert_eq!(records.len(), self.seen + 1, "{what}: {records:#?}");
        self.seen += 1;
        let record = records.pop().expect("just counted");
        let found = (record["status"].as_u64(), record["end"].as_str());
        assert_eq!(found, (Some(status.into()), Some(end)), "{what}: {record}");
        assert_eq!(record["client"], "127.0.0.1", "{what}: {record}");
        assert!(record["time"].is_string() && record["duration_ms"].is_number(), "{what}: {record}");
        record
    }

    /// Sends a request on its own connection and checks its response and its record for a status and an end.
    async fn ask(&mut self, request: &str, status: u16, end: &str) -> (Message, Value) {
        let answer = self.client().await.ask(request).await;
        assert_eq!(answer.status(), status, "{request:?}");
        let record = self.ends(request, status, end).await;
        (answer, record)
    }

    async fn get(&mut self, path: &str, status: u16, end: &str) -> Value {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"), status, end).await.1
    }

    /// No record is left over, and the metrics count as many requests as there are records.
    async fn settle(mut self) {
        self.get("/the-last", 200, "ok").await;
        let samples = Samples::parse(&self.balancer.metrics().await);
        assert_eq!(samples.requests(), self.seen, "requests counted, and records");
        let records = self.balancer.log_lines(self.seen).await;
        assert_eq!(records.len(), self.seen);
        for class in 1..=5_u64 {
            let code = format!("{class}xx");
            let counted = samples.sum("evenkeel_requests_total", &[("code", &code)]);
            let recorded =
                records.iter().filter(|record| record["status"].as_u64().map(|s| s / 100) == Some(class));
            assert_eq!(counted.to_string(), recorded.count().to_string(), "{code}");
        }
        // The balancer itself sent the response to every client that was rejected or waited too long for a response to
        // begin.
        let refused = records.iter().filter(|record| {
            let end = record["end"].as_str().unwrap_or_default();
            end.starts_with("refused=")
                || end == "panic"
                || end.starts_with("timeout=") && record["status"].as_u64() >= Some(400)
        });
        let counted = samples.sum("evenkeel_refusals_total", &[]);
        assert_eq!(counted.to_string(), refused.count().to_string(), "refusals");
        let open =
            async || Samples::parse(&self.balancer.metrics().await).sum("evenkeel_connections_open", &[]);
        let start = std::time::Instant::now();
        while open().await > 0.0 {
            assert!(start.elapsed() < PATIENCE, "connections stay open");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let samples = Samples::parse(&self.balancer.metrics().await);
        assert_eq!(samples.sum("evenkeel_backend_in_flight", &[]), 0.0);
    }
}

#[tokio::test]
async fn what_the_balancer_answers_itself() {
    let mut bench = Bench::start().await;
    let record = bench.get("/fine", 200, "ok").await;
    assert_eq!((&record["route"], &record["bytes_out"]), (&"web".into(), &4.into()), "{record}");
    assert_eq!(record["backend"], bench.backend.url(), "{record}");
    bench.get("/fixed", 200, "ok").await;
    bench.get("/moved", 302, "ok").await;
    bench.get("/unreachable", 502, "refused=unreachable").await;
    bench.get("/filter-responds", 203, "ok").await;
    bench.get("/filter-refuses", 403, "refused=filter").await;

    let long = "x".repeat(3000);
    let many = "A: b\r\n".repeat(21);
    for (request, status, end) in [
        ("GET /nowhere HTTP/1.1\r\nHost: other\r\n\r\n", 404, "refused=no_route"),
        ("CONNECT test:443 HTTP/1.1\r\nHost: test:443\r\n\r\n", 405, "refused=method_not_allowed"),
        ("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 65537\r\n\r\n", 413, "refused=body_too_large"),
        (&format!("GET / HTTP/1.1\r\nHost: test\r\nX: {long}\r\n\r\n"), 431, "refused=header_too_large"),
        (&format!("GET / HTTP/1.1\r\nHost: test\r\nX: {long}"), 431, "refused=header_too_large"),
        (&format!("GET / HTTP/1.1\r\nHost: test\r\n{many}\r\n"), 431, "refused=header_too_large"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "refused=bad_request"),
        ("GET / HTTP/1.1\nHost: test\n\n", 400, "refused=bad_request"),
        ("\u{16}\u{3}\u{1}\u{2}\r\n\r\n", 400, "refused=bad_request"),
        ("GET / HTTP/1.1\r\nHost: test\r\nX : y\r\n\r\n", 400, "refused=bad_request"),
        ("GET / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "refused=not_implemented"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "refused=version_not_supported"),
    ] {
        bench.ask(request, status, end).await;
    }
    bench.settle().await;
}

#[tokio::test]
async fn a_body_that_grows_too_large() {
    let mut bench = Bench::start().await;
    let mut client = bench.client().await;
    client.send("POST /fine HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    for _ in 0..5 {
        // The balancer may have closed by then.
        let _ = client.try_send(&chunk).await;
    }
    assert_eq!(client.response().await.status(), 413);
    drop(client);
    let record = bench.ends("chunks", 413, "refused=body_too_large").await;
    assert!(record["bytes_in"].as_u64() > Some(64 << 10), "{record}");
    bench.settle().await;
}

#[tokio::test]
async fn a_body_whose_chunks_make_no_sense() {
    let mut bench = Bench::start().await;
    let head = "POST /fine HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["zz\r\nabc\r\n", "3\r\nabcd\r\n0\r\n\r\n", "-1\r\n\r\n"] {
        bench.ask(&format!("{head}{body}"), 400, "refused=bad_request").await;
    }
    bench.settle().await;
}

#[tokio::test]
async fn a_body_that_is_sent_again_counts_once() {
    let mut bench = Bench::start().await;
    // Two thirds of what is allowed: twice would be too much.
    let put =
        format!("PUT /once HTTP/1.1\r\nHost: test\r\nContent-Length: 43690\r\n\r\n{}", "x".repeat(43690));
    for round in 0..2 {
        let (_, record) = bench.ask(&put, 200, "ok").await;
        assert_eq!(record["bytes_in"], 43690, "{record}");
        assert_eq!(record["attempts"], 1 + round, "the kept connection was dead the second time: {record}");
    }
    bench.settle().await;
}

#[tokio::test]
async fn a_client_that_leaves() {
    let mut bench = Bench::start().await;
    // Before it says anything, it was never a request.
    drop(bench.client().await);
    let mut client = bench.client().await;
    client.send("\r\n\r\n").await;
    drop(client);

    let mut client = bench.client().await;
    client.send("GET / HTTP/1.1\r\nHos").await;
    drop(client);
    bench.ends("in the middle of the head", 499, "client_left").await;

    let mut client = bench.client().await;
    client.send("POST /fine HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf").await;
    bench.backend.until_requests(1).await;
    drop(client);
    let record = bench.ends("in the middle of the body", 499, "client_left").await;
    assert_eq!(record["bytes_in"], 4, "{record}");

    let mut client = bench.client().await;
    client.send("POST /fine HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab").await;
    bench.backend.until_requests(2).await;
    drop(client);
    bench.ends("in the middle of a chunk", 499, "client_left").await;

    let mut client = bench.client().await;
    client.send("GET /silence HTTP/1.1\r\nHost: test\r\n\r\n").await;
    bench.backend.until_requests(3).await;
    drop(client);
    bench.ends("while the backend thinks", 499, "client_left").await;

    let mut client = bench.client().await;
    client.send("GET /much HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(client.head().await.expect("a head").status(), 200);
    drop(client);
    let record = bench.ends("in the middle of the response", 200, "client_left").await;
    assert!(record["bytes_out"].as_u64() < Some(64 << 20), "{record}");
    bench.settle().await;
}

#[tokio::test]
async fn a_backend_that_breaks_off() {
    let mut bench = Bench::start().await;
    bench.get("/hang-up", 502, "refused=bad_answer").await;
    bench.get("/nonsense", 502, "refused=bad_answer").await;
    let record = bench.get("/half", 200, "backend_left").await;
    assert_eq!(record["bytes_out"], 4, "{record}");
    bench.settle().await;
}

#[tokio::test]
async fn a_wait_that_lasts_too_long() {
    let mut bench = Bench::start().await;
    bench.get("/silence", 504, "timeout=first_byte").await;
    bench.get("/black-hole", 504, "timeout=connect").await;
    bench.get("/hurried", 504, "timeout=total").await;
    let record = bench.get("/pause", 200, "timeout=idle").await;
    assert_eq!(record["bytes_out"], 4, "{record}");

    let mut client = bench.client().await;
    client.send("GET / HTTP/1.1\r\nHost:").await;
    assert_eq!(client.response().await.status(), 408);
    bench.ends("a head", 408, "timeout=header").await;

    let mut client = bench.client().await;
    assert_eq!(client.get("/fine").await.status(), 200);
    bench.ends("before it", 200, "ok").await;
    client.send("GET / HTTP/1.1\r\nHost:").await;
    assert_eq!(client.response().await.status(), 408);
    bench.ends("a later head", 408, "timeout=header").await;

    let mut client = bench.client().await;
    client.send("POST /fine HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf").await;
    assert_eq!(client.response().await.status(), 408);
    let record = bench.ends("a body", 408, "timeout=body").await;
    assert_eq!(record["bytes_in"], 4, "{record}");

    let mut client = bench.client().await;
    client.send("GET /much HTTP/1.1\r\nHost: test\r\n\r\n").await;
    bench.ends("a response that the client does not read", 200, "timeout=send").await;
    drop(client);

    let mut client = bench.client().await;
    let upgrade = "GET /upgrade HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(client.ask(upgrade).await.status(), 101);
    client.closed().await;
    bench.ends("a quiet upgraded connection", 101, "timeout=upgraded_idle").await;
    bench.settle().await;
}

#[tokio::test]
async fn pipelined_requests_and_all_requests_of_a_connection() {
    let mut bench = Bench::start().await;
    let mut client = bench.client().await;
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    client.send([one("/1"), one("/fixed"), one("/hang-up"), one("/3")].concat()).await;
    for status in [200, 200, 502, 200] {
        assert_eq!(client.response().await.status(), status);
    }
    let records = bench.balancer.log_lines(4).await;
    let targets: Vec<&str> = records.iter().filter_map(|record| record["target"].as_str()).collect();
    assert_eq!(targets, ["/1", "/fixed", "/hang-up", "/3"]);
    bench.seen = 4;

    // The second request is malformed: the first gets its normal response.
    client.send([&one("/5"), "GET\r\n\r\n"].concat()).await;
    assert_eq!(client.response().await.status(), 200);
    assert_eq!(client.response().await.status(), 400);
    let ends: Vec<_> =
        bench.balancer.log_lines(6).await.drain(4..).map(|record| record["end"].clone()).collect();
    assert_eq!(ends, ["ok", "refused=bad_request"]);
    bench.seen = 6;
    bench.settle().await;
}

#[tokio::test]
async fn a_filter_that_panics_ends_its_own_request_and_no_other() {
    // A panic is logged with all its frames, which takes a loaded machine longer than the others' bodies may take.
    let mut bench = Bench::with(&LIMITS.replace("body_timeout: 500ms", "body_timeout: 30s")).await;
    let mut other = bench.client().await;
    assert_eq!(other.get("/fine").await.status(), 200);
    bench.ends("another connection", 200, "ok").await;
    let mut waiting = bench.client().await;
    waiting.send("POST /fine HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\n").await;
    bench.backend.until_requests(2).await;

    for path in ["/filter-panics", "/filter-panics-late"] {
        let mut client = bench.client().await;
        assert_eq!(client.get(path).await.status(), 500, "{path}");
        bench.ends(path, 500, "panic").await;
        assert_eq!(client.get("/fine").await.status(), 200, "the connection is kept");
        bench.ends("the next request", 200, "ok").await;
    }

    waiting.send("body").await;
    assert_eq!(waiting.response().await.status(), 200);
    bench.ends("a request that was under way", 200, "ok").await;
    assert_eq!(other.get("/fine").await.status(), 200);
    bench.ends("the other connection, again", 200, "ok").await;
    drop((waiting, other));
    bench.settle().await;
}

#[tokio::test]
async fn requests_that_are_under_way_when_the_server_stops() {
    let backend = Backend::start(behave).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let yaml = format!(
        "upstreams: {{ web: {{ backends: [\"{}\"] }} }}\naccess_log: {{ to: {}, format: json }}",
        backend.url(),
        log.display()
    );
    let balancer = Balancer::start(&yaml).await;
    let mut clients = Vec::new();
    for path in ["/silence", "/silence", "/pause"] {
        let mut client = balancer.client().await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        clients.push(client);
    }
    backend.until_requests(3).await;
    clients[2].head().await.expect("a head");
    // Dropping it ends its threads, with all that they had to write.
    tokio::task::spawn_blocking(|| balancer.stop()).await.expect("it stops");
    let text = std::fs::read_to_string(&log).expect("a log");
    let mut ends: Vec<String> = text
        .lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).expect("JSON");
            format!("{} {} {}", record["target"], record["status"], record["end"])
        })
        .collect();
    ends.sort();
    assert_eq!(ends.len(), 3, "{text}");
    let expected = ["\"/pause\" 200", "\"/silence\" 503", "\"/silence\" 503"];
    assert_eq!(ends, expected.map(|end| format!("{end} \"refused=shutting_down\"")));
    assert_eq!(clients[0].response().await.status(), 503);
    eventually(PATIENCE, || backend.open() == 0).await;
}
