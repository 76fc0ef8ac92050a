//! Which lane serves a request, and that handing one over loses nothing. What is the same in both lanes is in the other
//! files, which run over each.

#![cfg(test)]

use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel::filter::{BuildContext, Filter, FilterError, FilterKind, Registry, Request, Response, Verdict};

use super::support::samples::Samples;
use super::support::{Backend, Balancer, Client, Message, Reply, Secure, Seen, get};

const WEBSOCKET: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Two backends, one behind https, and a filter that counts before both.
struct Bench {
    balancer: Balancer,
    plain: Backend,
    secure: Secure,
}

impl Bench {
    /// With the lanes `auto`, whatever this run has: handing over is what is tested. One worker, so that records come in the
    /// order in which requests end.
    async fn start() -> Self {
        let plain = Backend::start(answer).await;
        let secure = Secure::start("api.internal", answer).await;
        let yaml = format!(
            "lanes: auto
workers: 1
routes:
  - {{ name: fixed, match: {{ path: /secure/fixed }}, filters: [count: a], respond: {{ body: fixed }} }}
  - {{ name: secure, match: {{ path_prefix: /secure }}, filters: [count: b], upstream: secure }}
  - {{ name: plain, filters: [count: c], upstream: plain }}
upstreams:
  plain: {{ backends: [\"{}\"] }}
  secure: {{ backends: [\"{}\"], tls: {{ ca: {}, server_name: api.internal }} }}",
            plain.url(),
            secure.url(),
            secure.authority.display()
        );
        let balancer = Balancer::with(&yaml, Registry::builtin().with::<Count>()).await;
        Self { balancer, plain, secure }
    }

    /// The targets of all requests in order, each with the lane that served it. There is one record each.
    async fn served(&self, count: usize) -> Vec<(String, String)> {
        let records = self.balancer.log_lines(count).await;
        assert_eq!(records.len(), count, "{records:#?}");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        records.iter().map(|record| (text(&record["target"]), text(&record["lane"]))).collect()
    }

    async fn carried(&self) -> (f64, f64) {
        carried(&self.balancer).await
    }
}

/// How many requests each lane is said to have carried.
async fn carried(balancer: &Balancer) -> (f64, f64) {
    let samples = Samples::parse(&get(balancer.admin(), "/metrics").await.text());
    let of = |lane| samples.sum("evenkeel_lane_requests_total", &[("lane", lane)]);
    (of("lean"), of("pingora"))
}

/// Returns a description of the request, and its body; changes the protocol only for `/chat`.
fn answer(request: &Seen) -> Reply {
    match request.target() {
        "/chat" | "/secure/chat" => Reply::new()
            .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            .echo(),
        target => Reply::ok(target),
    }
}

/// Counts how often it was asked, and says so to the backend and to the client.
#[derive(Debug)]
struct Count(AtomicUsize);

impl Filter for Count {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let count = 1 + self.0.fetch_add(1, Ordering::SeqCst);
        request
            .edits
            .set("x-count".parse().expect("a name"), count.to_string().parse().expect("a value"))
            .expect("it may be edited");
        Verdict::Continue
    }

    fn on_response(&self, response: &mut Response<'_>) {
        let count = self.0.load(Ordering::SeqCst).to_string();
        response
            .edits
            .add("x-count".parse().expect("a name"), count.parse().expect("a value"))
            .expect("it may be edited");
    }
}

impl FilterKind for Count {
    const NAME: &'static str = "count";
    const EXAMPLE: &'static str = "count: a";
    const DOC: &'static str = "Counts requests.";
    type Params = String;

    fn new(_: String, _: &BuildContext<'_>) -> Result<Self, FilterError> {
        Ok(Self(AtomicUsize::new(0)))
    }
}

async fn ask(client: &mut Client, target: &str, more: &str) -> Message {
    client.ask(format!("GET {target} HTTP/1.1\r\nHost: test\r\n{more}\r\n")).await
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(target, lane)| ((*target).to_owned(), (*lane).to_owned())).collect()
}

/// Every kind of plain request, each on a connection of its own.
const KINDS: [&str; 7] = [
    "GET / HTTP/1.1\r\nHost: test\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "HEAD / HTTP/1.1\r\nHost: test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi",
    "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "GET /fixed HTTP/1.1\r\nHost: test\r\n\r\n",
    "DELETE /nowhere HTTP/1.1\r\nHost: other\r\n\r\n",
];

#[tokio::test]
async fn the_file_says_which_lane_serves_plain_requests() {
    for (lanes, lane) in [("lanes: pingora", "pingora"), ("lanes: auto", "lean")] {
        let backend = Backend::start(|_| Reply::ok("hello")).await;
        let yaml = format!(
            "{lanes}\n\
             routes:\n\
             - {{ name: fixed, match: {{ path: /fixed }}, respond: {{ body: fixed }} }}\n\
             - {{ name: web, match: {{ path: / }}, upstream: web }}\n\
             upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
            backend.url()
        );
        let balancer = Balancer::start(&yaml).await;
        let mut statuses = Vec::new();
        for request in KINDS {
            statuses.push(balancer.client().await.ask(request).await.status());
        }
        assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 404]);
        let records = balancer.log_lines(KINDS.len()).await;
        assert!(records.iter().all(|record| record["lane"] == lane), "{lanes}: {records:#?}");
        let all = if lane == "lean" { (7.0, 0.0) } else { (0.0, 7.0) };
        assert_eq!(carried(&balancer).await, all, "{lanes}");
        // What never became a request, no lane had.
        assert_eq!(balancer.client().await.ask("nonsense\r\n\r\n").await.status(), 400);
        let records = balancer.log_lines(KINDS.len() + 1).await;
        assert!(records.iter().any(|record| record["status"] == 400 && record.get("lane").is_none()));
        assert_eq!(carried(&balancer).await, all, "{lanes}");
    }
}

#[tokio::test]
async fn without_a_word_the_lean_lane_serves() {
    let backend = Backend::saying("hello").await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0, hosts: [test] }}\n\
         access_log: {{ to: {}, format: json }}\nupstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        log.display(),
        backend.url()
    );
    let config = evenkeel::config::Config::from_yaml(&yaml, "test.yaml", &|_| None).expect("a configuration");
    let mut server = evenkeel::Server::new(config);
    server.start().await.expect("it starts");
    let evenkeel::config::ListenAddress::Tcp(address) = server.addresses()[0].clone() else {
        panic!("an IP address")
    };
    assert_eq!(get(address, "/").await.text(), "hello");
    super::support::eventually(super::support::PATIENCE, || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("\"lane\":\"lean\""))
    })
    .await;
}

#[tokio::test]
async fn a_request_for_a_backend_behind_tls_is_handed_over_and_decided_on_once() {
    let bench = Bench::start().await;
    let mut client = bench.balancer.client().await;
    let mut expected = Vec::new();
    for round in 1..=5 {
        for (target, lane) in [("/a", "lean"), ("/secure", "pingora")] {
            let response = ask(&mut client, target, "").await;
            assert_eq!((response.status(), response.text().as_str()), (200, target), "round {round}");
            // Each filter was asked once for each request, on both ways.
            assert_eq!(response.header("x-count"), Some(round.to_string().as_str()), "{target}");
            expected.push((target, lane));
        }
        let (plain, secure) = (bench.plain.last_request(), bench.secure.last_request());
        assert_eq!(plain.header("x-count"), Some(round.to_string().as_str()));
        assert_eq!(secure.header("x-count"), Some(round.to_string().as_str()));
        assert_eq!(secure.header("x-forwarded-for"), Some("127.0.0.1"));
    }
    // A response of the balancer itself needs no backend, and no handing over.
    assert_eq!(ask(&mut client, "/secure/fixed", "").await.text(), "fixed");
    expected.push(("/secure/fixed", "lean"));
    assert_eq!(bench.served(11).await, pairs(&expected));
    assert_eq!(bench.carried().await, (6.0, 5.0));
    assert_eq!((bench.plain.count(), bench.secure.count()), (5, 5));
    assert_eq!((bench.plain.connections(), bench.secure.connections()), (1, 1), "both are kept");
    let status = bench.balancer.status().await;
    assert_eq!(status["listeners"][0]["connections_accepted"], 1, "all on one connection of the client");
}

#[tokio::test]
async fn bodies_go_with_the_request_that_is_handed_over() {
    let bench = Bench::start().await;
    let mut client = bench.balancer.client().await;
    let large = "x".repeat(300_000);
    let length = format!("Content-Length: {}\r\n\r\n{large}", large.len());
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    for (framed, body) in [
        ("Content-Length: 5\r\n\r\nhello", "hello"),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello"),
        (&*length, &*large),
        (&*chunked, &*large),
    ] {
        for (target, backend) in [("/secure", &*bench.secure), ("/a", &bench.plain)] {
            let response = client.ask(format!("POST {target} HTTP/1.1\r\nHost: test\r\n{framed}")).await;
            assert_eq!((response.status(), response.text().as_str()), (200, target));
            let seen = backend.requests().pop().expect("a request");
            assert!(seen.whole && seen.text() == body, "{target}: {} bytes", seen.body_length);
        }
    }
    let records = bench.balancer.log_lines(8).await;
    let sizes: Vec<_> = records.iter().map(|record| record["bytes_in"].as_u64()).collect();
    assert_eq!(sizes, [5, 5, 5, 5, 300_000, 300_000, 300_000, 300_000].map(Some));
}

#[tokio::test]
async fn requests_that_come_together_go_each_to_its_lane_in_order() {
    let bench = Bench::start().await;
    let mut client = bench.balancer.client().await;
    let get = |target: &str, more: &str| format!("GET {target} HTTP/1.1\r\nHost: test\r\n{more}\r\n");
    let post = |target: &str, body: &str| format!("POST {target} HTTP/1.1\r\nHost: test\r\n{body}");
    let chunks = "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let together = [
        get("/1", ""),
        get("/secure/2", ""),
        post("/3", chunks),
        post("/secure/4", chunks),
        get("/5", WEBSOCKET),
        post("/6", "Content-Length: 2\r\n\r\nhi"),
        post("/secure/7", "Content-Length: 2\r\n\r\nhi"),
        get("/secure/fixed", ""),
        get("/9", ""),
        get("/chat", WEBSOCKET),
        "spoken".to_owned(),
    ];
    client.send(together.concat()).await;
    let mut texts = Vec::new();
    for _ in 0..9 {
        texts.push(client.response().await.text());
    }
    assert_eq!(texts, ["/1", "/secure/2", "/3", "/secure/4", "/5", "/6", "/secure/7", "fixed", "/9"]);
    assert_eq!(client.head().await.expect("a response").status(), 101);
    assert_eq!(client.bytes(6).await, b"spoken");
    drop(client);
    let expected = [
        ("/1", "lean"),
        ("/secure/2", "pingora"),
        ("/3", "lean"),
        ("/secure/4", "pingora"),
        ("/5", "lean"),
        ("/6", "lean"),
        ("/secure/7", "pingora"),
        ("/secure/fixed", "lean"),
        ("/9", "lean"),
        ("/chat", "lean"),
    ];
    assert_eq!(bench.served(10).await, pairs(&expected));
    assert_eq!(bench.carried().await, (7.0, 3.0));
}

#[tokio::test]
async fn a_websocket_goes_to_the_lane_of_its_backends_on_a_connection_that_served_plain_requests() {
    for (chat, lane) in [("/chat", "lean"), ("/secure/chat", "pingora")] {
        let bench = Bench::start().await;
        let mut client = bench.balancer.client().await;
        for target in ["/1", "/secure/2"] {
            assert_eq!(ask(&mut client, target, "").await.text(), target);
            // One that the backend declines is a response like any other, and other requests may follow it.
            assert_eq!(ask(&mut client, target, WEBSOCKET).await.text(), target);
        }
        assert_eq!(ask(&mut client, chat, WEBSOCKET).await.status(), 101);
        client.send("hello").await;
        assert_eq!(client.bytes(5).await, b"hello");
        drop(client);
        let expected = [
            ("/1", "lean"),
            ("/1", "lean"),
            ("/secure/2", "pingora"),
            ("/secure/2", "pingora"),
            (chat, lane),
        ];
        assert_eq!(bench.served(5).await, pairs(&expected));
    }
}

#[tokio::test]
async fn a_connection_ends_when_the_client_says_so_whichever_lane_serves_last() {
    let bench = Bench::start().await;
    for target in ["/a", "/secure"] {
        for last in
            ["GET TARGET HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", "GET TARGET HTTP/1.0\r\n\r\n"]
        {
            let mut client = bench.balancer.client().await;
            assert_eq!(ask(&mut client, "/a", "").await.text(), "/a");
            let response = client.ask(last.replace("TARGET", target)).await;
            assert_eq!((response.text().as_str(), response.closes()), (target, true), "{last:?}");
            assert_eq!(client.closed().await, b"");
        }
    }
}

/// A request that was handed over has its end recorded once, however it ends.
#[tokio::test]
async fn what_fails_after_it_was_handed_over_has_one_record() {
    let secure = Secure::start("api.internal", |_| Reply::hang_up()).await;
    let silent = Secure::start("api.internal", |_| Reply::silence()).await;
    let authority = secure.authority.display();
    let yaml = format!(
        "lanes: auto\nworkers: 1\n\
         routes:\n\
         - {{ name: broken, match: {{ path: /broken }}, upstream: broken }}\n\
         - {{ name: untrusted, match: {{ path: /untrusted }}, upstream: untrusted }}\n\
         - {{ name: silent, upstream: silent }}\n\
         upstreams:\n  \
           broken: {{ backends: [\"{url}\"], tls: {{ ca: {authority}, server_name: api.internal }} }}\n  \
           untrusted: {{ backends: [\"{url}\"], tls: {{ ca: {authority}, server_name: other }} }}\n  \
           silent: {{ backends: [\"{}\"], tls: {{ danger_accept_invalid_certificates: true }}, \
                     timeouts: {{ first_byte: 200ms }} }}",
        silent.url(),
        url = secure.url(),
    );
    let balancer = Balancer::start(&yaml).await;
    let mut client = balancer.client().await;
    for (target, status, end) in [
        ("/broken", 502, "refused=bad_answer"),
        ("/untrusted", 502, "refused=unreachable"),
        ("/silent", 504, "timeout=first_byte"),
    ] {
        assert_eq!(client.get(target).await.status(), status, "{target}");
        let record = balancer.log_line_of(target).await;
        assert_eq!((&record["end"], &record["lane"]), (&end.into(), &"pingora".into()), "{target}");
    }
    let mut gone = balancer.client().await;
    gone.send("GET /gone HTTP/1.1\r\nHost: test\r\n\r\n").await;
    silent.until_requests(2).await;
    drop(gone);
    let record = balancer.log_line_of("/gone").await;
    assert_eq!((&record["status"], &record["end"]), (&499.into(), &"client_left".into()));
    assert_eq!(balancer.log_lines(4).await.len(), 4);
    assert_eq!(carried(&balancer).await, (0.0, 4.0));
}
