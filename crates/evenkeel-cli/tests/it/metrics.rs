//! The admin address: what `/metrics` and `/status` say and what no client can make them say, and who may ask.

#![cfg(test)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::support::samples::{Samples, assert_golden};
use super::support::{Backend, Balancer, Client, ClosedPort, PATIENCE, Reply, get, in_time, send};

/// A balancer with two backends, one of them a closed port, and a route with a fixed response.
struct Bench {
    balancer: Balancer,
    backend: Backend,
    refusing: ClosedPort,
}

impl Bench {
    async fn start() -> Self {
        Self::with("").await
    }

    /// The upstream says this too.
    async fn with(more: &str) -> Self {
        Self::whole(more, "").await
    }

    /// The upstream says this too, and the configuration as well.
    async fn whole(more: &str, top: &str) -> Self {
        let backend = Backend::start(|request| match request.target() {
            "/fail" => Reply::status(500, "failed"),
            "/hang-up" => Reply::hang_up(),
            _ => Reply::ok("fine"),
        })
        .await;
        let refusing = ClosedPort::new();
        let yaml = format!(
            "{top}workers: 2
routes:
  - {{ name: fixed, match: {{ path: /fixed }}, filters: [{{ rate_limit: {{ rate: 1000/s }} }}, {{ concurrency_limit: {{ max_requests: 1000 }} }}, {{ bandwidth_limit: {{ download: 1GB/s }} }}], respond: {{ body: fixed }} }}
  - {{ name: web, match: {{ path_prefix: /, hosts: [test] }}, upstream: web }}
upstreams:
  web: {{ backends: [\"{}\", {{ url: \"{}\", weight: 2 }}, {{ url: \"http://127.0.0.1:1\", weight: 0 }}]{more} }}",
            backend.url(),
            refusing.url()
        );
        Self { balancer: Balancer::start(&yaml).await, backend, refusing }
    }

    async fn samples(&self) -> Samples {
        Samples::parse(&self.balancer.metrics().await)
    }

    /// The samples as soon as they fulfil `condition`: a request is counted a moment after its response.
    async fn samples_when(&self, condition: impl Fn(&Samples) -> bool) -> Samples {
        let start = Instant::now();
        loop {
            let samples = self.samples().await;
            if condition(&samples) {
                return samples;
            }
            assert!(start.elapsed() < PATIENCE, "did not come about: {samples:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Text without what is different each time.
    fn normal(&self, text: &str) -> String {
        text.replace(&self.backend.address().to_string(), "BACKEND")
            .replace(&self.refusing.address.to_string(), "CLOSED")
            .replace(&self.balancer.address().to_string(), "LISTENER")
            .replace(&self.balancer.nth_address(self.balancer.listeners() - 1).to_string(), "TCP-LISTENER")
            .replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }
}

#[tokio::test]
async fn nothing_that_a_client_sends_adds_a_series() {
    let bench = Bench::start().await;
    let before = bench.samples().await;
    let mut rng = Words(0x5eed);
    let mut sent = 0;
    for round in 0..300 {
        let [host, method, path, name, value] = [(); 5].map(|()| rng.word());
        let host = if round % 3 == 0 { "test".to_owned() } else { host };
        let request = format!(
            "{} /{path}?{name}={value} HTTP/1.1\r\nHost: {host}\r\nX-{name}: {value}\r\nUser-Agent: {value}\r\n\
             X-Request-Id: {value}\r\nX-Forwarded-For: {value}\r\nContent-Length: 0\r\n\r\n",
            method.to_uppercase()
        );
        let answer = send(bench.balancer.address(), request).await;
        assert!([200, 404].contains(&answer.status()), "{}", answer.first_line);
        sent += 1;
    }
    // Hostile ones: what is refused before it is a request is counted as well.
    for request in [
        "GET / HTTP/1.1\r\nHost: a\"} 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\\nb\r\n\r\n",
        "MAKE-IT-UP / HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\nHost: test\r\n\r\n",
        "CONNECT x{y=\"z\"}:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\nnonsense\r\n\r\n",
    ] {
        Client::connect(bench.balancer.address()).await.ask(request).await;
        sent += 1;
    }
    let after = bench.samples_when(|samples| samples.requests() == sent).await;
    assert_eq!(before.series(), after.series());
}

#[tokio::test]
async fn counters_add_up_and_gauges_return() {
    let bench = Bench::start().await;
    let address = bench.balancer.address();
    let mut client = bench.balancer.client().await;
    for _ in 0..30 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    let posted = client
        .ask("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n".to_owned() + &"x".repeat(1000));
    assert_eq!(posted.await.status(), 200);
    for (path, status) in [("/fail", 500), ("/fixed", 200)] {
        assert_eq!(client.get(path).await.status(), status);
    }
    // A POST: it is not sent again when the backend hangs up.
    let hang_up = "POST /hang-up HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(client.ask(hang_up).await.status(), 502);
    assert_eq!(send(address, "GET / HTTP/1.1\r\nHost: other\r\n\r\n").await.status(), 404);
    // All counted, and only the kept connection still open.
    let samples = bench
        .samples_when(|samples| {
            samples.requests() == 35 && samples.sum("evenkeel_connections_open", &[]) == 1.0
        })
        .await;
    drop(client);

    let (url, closed) = (bench.backend.url(), bench.refusing.url());
    let web = [("route", "web")];
    let of = |name: &str, labels: &[(&str, &str)]| samples.sum(name, labels);
    assert_eq!(of("evenkeel_requests_total", &[("route", "web"), ("code", "2xx")]), 31.0);
    assert_eq!(of("evenkeel_requests_total", &[("route", "web"), ("code", "5xx")]), 2.0);
    assert_eq!(of("evenkeel_requests_total", &[("route", "fixed")]), 1.0);
    assert_eq!(of("evenkeel_requests_total", &[("route", ""), ("code", "4xx")]), 1.0);
    assert_eq!(of("evenkeel_request_duration_seconds_count", &[]), 35.0);
    assert_eq!(of("evenkeel_received_bytes_total", &web), 1000.0);
    assert_eq!(of("evenkeel_refusals_total", &[("reason", "no_route")]), 1.0);
    assert_eq!(of("evenkeel_refusals_total", &[("reason", "bad_answer")]), 1.0);
    assert_eq!(of("evenkeel_refusals_total", &[]), 2.0);

    // Every response comes from the one backend, whatever was tried before.
    assert_eq!(bench.backend.count(), 33);
    assert_eq!(of("evenkeel_backend_answers_total", &[("backend", &url)]), 32.0);
    assert_eq!(of("evenkeel_backend_answers_total", &[("backend", &url), ("code", "5xx")]), 1.0);
    assert_eq!(of("evenkeel_backend_first_byte_seconds_count", &[("backend", &url)]), 32.0);
    assert_eq!(of("evenkeel_backend_broken_total", &[("backend", &url)]), 1.0);
    assert_eq!(of("evenkeel_backend_answers_total", &[("backend", &closed)]), 0.0);
    let failures = of("evenkeel_backend_connect_failures_total", &[("backend", &closed)]);
    assert!(failures >= 1.0, "{failures}");
    assert_eq!(of("evenkeel_backend_retries_total", &[("backend", &url)]), failures);
    assert_eq!(of("evenkeel_backend_retries_total", &[("backend", &closed)]), 0.0);

    let samples = bench.samples_when(|samples| samples.sum("evenkeel_connections_open", &[]) == 0.0).await;
    assert_eq!(samples.sum("evenkeel_backend_in_flight", &[]), 0.0);
    assert_eq!(samples.sum("evenkeel_connections_accepted_total", &[]), 2.0);
    let status = bench.balancer.status().await;
    assert_eq!(status["upstreams"][0]["backends"][0]["attempts"], 33, "{status:#}");
    assert_eq!(status["routes"][1]["requests"], 33, "{status:#}");
}

#[tokio::test]
async fn the_page_of_metrics_keeps_its_shape() {
    let list = tempfile::NamedTempFile::new().expect("a file");
    let path = list.path().display();
    let discovery = format!(", discovery: {{ file: {{ path: {path} }}, allow_empty: true }}");
    let with_tcp = format!("{discovery} }}\n  db: {{ backends: [\"tcp://127.0.0.1:1\"]");
    let listeners = "listeners: [{ address: 127.0.0.1:0 }, { address: 127.0.0.2:0, protocol: tcp }]\n";
    let bench = Bench::whole(&with_tcp, listeners).await;
    bench.balancer.get("/").await;
    let answer = get(bench.balancer.admin(), "/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut page = String::new();
    for line in bench.normal(&answer.text()).lines() {
        match line.rsplit_once(' ').filter(|_| !line.starts_with('#')) {
            Some((series, _)) => writeln!(page, "{series} N"),
            None => writeln!(page, "{line}"),
        }
        .expect("text takes text");
    }
    assert_golden("metrics.txt", &page);
}

#[tokio::test]
async fn promtool_has_nothing_to_say_against_the_page() {
    let bench = Bench::start().await;
    for path in ["/", "/fail", "/fixed", "/hang-up"] {
        bench.balancer.get(path).await;
    }
    let page = bench.balancer.metrics().await;
    let promtool = std::env::var_os("EVENKEEL_PROMTOOL").unwrap_or_else(|| "promtool".into());
    let started = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            eprintln!("skipped: {}: {error}; EVENKEEL_PROMTOOL may name it", promtool.display());
            return;
        }
    };
    child.stdin.take().expect("it is piped").write_all(page.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{}: {said}", output.status);
}

#[tokio::test]
async fn the_status_keeps_its_shape() {
    let bench = Bench::start().await;
    // It goes to the closed port first, whose weight is larger.
    assert_eq!(bench.balancer.get("/").await.status(), 200);
    bench
        .samples_when(|samples| {
            samples.requests() == 1 && samples.sum("evenkeel_connections_open", &[]) == 0.0
        })
        .await;
    let answer = get(bench.balancer.admin(), "/status").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let mut status: serde_json::Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert!(status["uptime_seconds"].as_u64() < Some(60), "{status:#}");
    status["uptime_seconds"] = "UPTIME".into();
    for upstream in status["upstreams"].as_array_mut().expect("upstreams") {
        assert!(upstream["revision"].as_str().and_then(|text| text.parse::<u64>().ok()).is_some());
        upstream["revision"] = "REVISION".into();
        for backend in upstream["backends"].as_array_mut().expect("backends") {
            assert!(backend["response_seconds"].is_f64());
            backend["response_seconds"] = "SECONDS".into();
        }
    }
    assert_golden("status.json", &format!("{}\n", bench.normal(&format!("{status:#}"))));
}

#[tokio::test]
async fn probes_and_wrong_questions() {
    let bench = Bench::start().await;
    let admin = bench.balancer.admin();
    for (request, status, body) in [
        ("GET /livez", 200, "alive\n"),
        ("GET /readyz", 200, "ready\n"),
        ("HEAD /readyz", 200, ""),
        ("GET /livez?verbose", 200, "alive\n"),
        ("GET /nothing", 404, "not here\n"),
        ("GET /metrics/", 404, "not here\n"),
        ("POST /metrics", 405, "only GET and HEAD\n"),
        ("DELETE /status", 405, "only GET and HEAD\n"),
        ("POST /nothing", 405, "only GET and HEAD\n"),
    ] {
        let answer =
            send(admin, format!("{request} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n")).await;
        assert_eq!((answer.status(), answer.text().as_str()), (status, body), "{request}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{request}");
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{request}: RFC 9110, 15.5.6");
        }
    }
    let page = get(admin, "/").await.text();
    for path in ["/metrics", "/status", "/livez", "/readyz"] {
        assert!(page.lines().any(|line| line == path), "{page}");
    }
}

#[tokio::test]
async fn a_token_is_asked_of_everybody_but_probes() {
    let token = "0123456789-secret";
    let balancer = Balancer::start(&format!(
        "routes: [{{ name: all, respond: {{ body: fine }} }}]\nadmin: {{ address: 127.0.0.1:0, token: {token}, hosts: [test] }}"
    ))
    .await;
    let ask = async |path: &str, authorization: &str| {
        send(balancer.admin(), format!("GET {path} HTTP/1.1\r\nHost: test\r\n{authorization}\r\n")).await
    };
    for path in ["/metrics", "/status", "/", "/nothing"] {
        for wrong in [
            String::new(),
            "Authorization: Bearer\r\n".to_owned(),
            "Authorization: Bearer wrong\r\n".to_owned(),
            format!("Authorization: Bearer {token}x\r\n"),
            format!("Authorization: Bearer {}\r\n", &token[1..]),
            format!("Authorization: Basic {token}\r\n"),
            format!("Authorization: {token}\r\n"),
        ] {
            let answer = ask(path, &wrong).await;
            assert_eq!(answer.status(), 401, "{path} {wrong}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{path} {wrong}");
            assert!(!answer.text().contains("evenkeel_"), "{path} {wrong}");
        }
        for scheme in ["Bearer", "bearer", "BEARER", "bEARER "] {
            let right = format!("Authorization: {scheme} {token}\r\n");
            let status = if path == "/nothing" { 404 } else { 200 };
            assert_eq!(ask(path, &right).await.status(), status, "{path} {scheme}");
        }
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(ask(path, "").await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn an_admin_client_that_hangs_hurts_nobody() {
    let bench = Bench::start().await;
    let mut hanging = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(bench.balancer.admin()).await;
        client.send("GET /metr").await;
        hanging.push(client);
    }
    in_time("a page next to them", bench.balancer.metrics()).await;
}

/// Words that a client may make up, the same in every run.
struct Words(u64);

impl Words {
    fn word(&mut self) -> String {
        let length = 1 + self.next() % 12;
        (0..length)
            .map(|_| {
                char::from(
                    b"abcdefghijklmnopqrstuvwxyz0123456789"
                        [usize::try_from(self.next() % 26).expect("small")],
                )
            })
            .collect()
    }

    /// Xorshift (Marsaglia, 2003).
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }
}
