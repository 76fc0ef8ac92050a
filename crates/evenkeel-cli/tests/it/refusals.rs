//! The responses that the balancer generates itself: in the format that the client accepts, without naming software,
//! and keeping the connection.

#![cfg(test)]

use std::time::Duration;

use evenkeel::filter::{
    BuildContext, Filter, FilterError, FilterKind, Refusal, Registry, Rejection, Request, Verdict,
};

use hyper::header::HeaderValue;

use crate::support::{Backend, Balancer, ClosedPort, Message, Reply};

/// Refuses everything, with 503 or any other status: what cannot be provoked otherwise.
#[derive(Debug)]
struct Refuse(u16);

impl Filter for Refuse {
    fn on_request(&self, _: &mut Request<'_>) -> Verdict {
        Verdict::Refuse(match self.0 {
            503 => Refusal::NoBackend,
            429 => Rejection::rate_limited(Duration::from_millis(1500), "not <you>").into(),
            401 => Rejection::unauthorized(HeaderValue::from_static("Basic"), "not <you>").into(),
            status => Rejection::status(status, "not <you>").retry_after(Duration::from_millis(1500)).into(),
        })
    }
}

impl FilterKind for Refuse {
    const NAME: &'static str = "refuse";
    const EXAMPLE: &'static str = "refuse: 403";
    const DOC: &'static str = "Refuses everything.";
    type Params = u16;

    fn new(status: u16, _: &BuildContext<'_>) -> Result<Self, FilterError> {
        Ok(Self(status))
    }
}

/// A target that is refused, and how.
const REFUSED: &[(&str, u16, &str)] = &[
    ("/nowhere", 404, "no_route"),
    ("/unreachable", 502, "unreachable"),
    ("/hangup", 502, "bad_answer"),
    ("/nonsense", 502, "bad_answer"),
    ("/none", 503, "no_backend"),
    ("/slow", 504, "backend_timeout"),
    ("/late", 504, "timeout"),
    ("/limited", 429, "rate_limited"),
    ("/unknown-client", 401, "unauthorized"),
    ("/teapot", 418, "filter"),
];

struct World {
    balancer: Balancer,
    _backend: Backend,
    _gone: ClosedPort,
}

impl World {
    async fn new() -> Self {
        let backend = Backend::start(|seen| match seen.target() {
            "/hangup" => Reply::hang_up(),
            "/nonsense" => Reply::bytes("nonsense\r\n\r\n").close(),
            "/slow" | "/late" => Reply::silence(),
            _ => Reply::ok("hello"),
        })
        .await;
        let gone = ClosedPort::new();
        let yaml = format!(
            "listeners: [{{ address: 127.0.0.1:0, http: {{ max_body_size: 1000 }} }}]
routes:
  - {{ name: ok, match: {{ path: /ok }}, upstream: web }}
  - {{ name: backend, match: {{ path_regex: /(hangup|nonsense|slow) }}, upstream: web }}
  - {{ name: late, match: {{ path: /late }}, upstream: web, timeout: 60ms }}
  - {{ name: unreachable, match: {{ path: /unreachable }}, upstream: gone }}
  - {{ name: none, match: {{ path: /none }}, upstream: web, filters: [{{ refuse: 503 }}] }}
  - {{ name: limited, match: {{ path: /limited }}, upstream: web, filters: [{{ refuse: 429 }}] }}
  - {{ name: unknown, match: {{ path: /unknown-client }}, upstream: web, filters: [{{ refuse: 401 }}] }}
  - {{ name: teapot, match: {{ path: /teapot }}, upstream: web, filters: [{{ refuse: 418 }}] }}
upstreams:
  web: {{ backends: [\"{}\"], timeouts: {{ first_byte: 80ms }} }}
  gone: {{ backends: [\"{}\"] }}",
            backend.url(),
            gone.url()
        );
        let balancer = Balancer::with(&yaml, Registry::builtin().with::<Refuse>()).await;
        Self { balancer, _backend: backend, _gone: gone }
    }
}

#[tokio::test]
async fn a_refusal_comes_in_the_form_that_the_client_wants() {
    let world = World::new().await;
    for (target, status, reason) in REFUSED {
        for (accept, kind) in [
            ("", "text/plain; charset=utf-8"),
            ("Accept: */*\r\n", "text/plain; charset=utf-8"),
            ("Accept: application/json\r\n", "application/json"),
            ("Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n", "text/html; charset=utf-8"),
        ] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\n{accept}\r\n");
            let response = world.balancer.client().await.ask(request).await;
            let what = format!("{target}, {accept:?}");
            assert_eq!(response.status(), *status, "{what}");
            assert_eq!(response.header("content-type"), Some(kind), "{what}");
            assert_reads_as(&response, kind, reason);
            assert_names_nobody(&response);
        }
    }
    let records = world.balancer.log_lines(4 * REFUSED.len()).await;
    assert_eq!(records.len(), 4 * REFUSED.len(), "one record for each");
}

fn assert_reads_as(response: &Message, kind: &str, reason: &str) {
    let (status, text) = (response.status(), response.text());
    match kind {
        "application/json" => {
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!((&json["status"], &json["error"]), (&status.into(), &reason.into()));
            assert!(json["message"].as_str().is_some_and(|message| !message.is_empty()));
        }
        kind if kind.starts_with("text/html") => {
            assert!(text.starts_with("<!doctype html>") && text.contains(&status.to_string()), "{text}");
            assert!(!text.contains("<you>"), "{text}");
        }
        _ => assert!(text.starts_with(&status.to_string()) && text.ends_with('\n'), "{text}"),
    }
}

fn assert_names_nobody(response: &Message) {
    assert_eq!(response.header("server"), None);
    let all = format!("{}{}", String::from_utf8_lossy(&response.raw), response.text()).to_lowercase();
    for name in ["pingora", "evenkeel", "127.0.0.1"] {
        assert!(!all.contains(name), "{all}");
    }
    assert!(response.header("date").is_some_and(|date| date.ends_with("GMT")), "{all}");
}

#[tokio::test]
async fn a_refusal_of_grpc_is_one_that_grpc_understands() {
    let world = World::new().await;
    for (target, code) in [("/nowhere", "12"), ("/unreachable", "14"), ("/none", "14"), ("/slow", "4")] {
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: test\r\nContent-Type: application/grpc+proto\r\nContent-Length: 0\r\n\r\n"
        );
        let response = world.balancer.client().await.ask(request).await;
        assert_eq!((response.status(), response.header("grpc-status")), (200, Some(code)), "{target}");
        assert_eq!(response.header("content-type"), Some("application/grpc"));
        assert!(response.header("grpc-message").is_some());
        assert_eq!(response.body_length, 0);
    }
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_refused_in_plain_text() {
    let world = World::new().await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "a".repeat(100_000)), 431),
        ("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: x\r\n\r\n".to_owned(), 501),
        ("PRI * HTTP/2.0\r\n\r\n".to_owned(), 505),
    ] {
        let mut client = world.balancer.client().await;
        let response = client.ask(request).await;
        assert_eq!((response.status(), response.closes()), (status, true));
        assert_reads_as(&response, "text/plain; charset=utf-8", "");
        assert_names_nobody(&response);
        assert_eq!(client.closed().await, b"");
    }
}

#[tokio::test]
async fn a_refusal_keeps_the_connection() {
    let world = World::new().await;
    for (target, status, _) in REFUSED {
        let mut client = world.balancer.client().await;
        let count = if *status == 504 { 10 } else { 100 };
        for number in 0..count {
            let response = client.get(target).await;
            assert_eq!((response.status(), response.closes()), (*status, false), "{target} {number}");
        }
        assert_eq!(client.get("/ok").await.text(), "hello", "{target}");
    }
}

#[tokio::test]
async fn connect_is_refused_and_keeps_the_connection() {
    let world = World::new().await;
    let mut client = world.balancer.client().await;
    for _ in 0..100 {
        let response = client.ask("CONNECT test:443 HTTP/1.1\r\nHost: test:443\r\n\r\n").await;
        assert_eq!((response.status(), response.closes()), (405, false));
        assert!(
            response.header("allow").is_some_and(|allow| allow.contains("GET") && !allow.contains("CONNECT"))
        );
        assert_names_nobody(&response);
    }
    assert_eq!(client.get("/ok").await.text(), "hello");
    let records = world.balancer.log_lines(101).await;
    assert!(records[..100].iter().all(|record| record["end"] == "refused=method_not_allowed"));
    assert_eq!(records[0]["method"], "CONNECT");
}

#[tokio::test]
async fn a_refusal_of_head_has_no_body() {
    let world = World::new().await;
    for (target, status, _) in REFUSED {
        let mut client = world.balancer.client().await;
        for _ in 0..3 {
            // A body would be taken for the next response.
            let response = client.ask(format!("HEAD {target} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
            assert_eq!(response.status(), *status, "{target}");
            assert!(response.header("content-length").is_some_and(|length| length != "0"), "{target}");
        }
        assert_eq!(client.get("/ok").await.text(), "hello", "{target}");
    }
}

#[tokio::test]
async fn a_refusal_says_when_to_come_back() {
    let world = World::new().await;
    assert_eq!(world.balancer.get("/none").await.header("retry-after"), Some("1"));
    assert_eq!(world.balancer.get("/limited").await.header("retry-after"), Some("2"));
    assert_eq!(world.balancer.get("/unknown-client").await.header("www-authenticate"), Some("Basic"));
    assert_eq!(world.balancer.get("/nowhere").await.header("retry-after"), None);
}

#[tokio::test]
async fn a_refusal_of_a_client_of_http_10_or_one_that_asks_to_close_closes() {
    let world = World::new().await;
    for request in ["GET /nowhere HTTP/1.0\r\n\r\n", "GET /slow HTTP/1.0\r\n\r\n"] {
        let mut client = world.balancer.client().await;
        assert!(client.ask(request).await.status() >= 404, "{request:?}");
        assert_eq!(client.closed().await, b"", "{request:?}");
    }
    for target in ["/nowhere", "/unreachable", "/slow"] {
        let mut client = world.balancer.client().await;
        let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        assert!(client.ask(request).await.closes(), "{target}");
        assert_eq!(client.closed().await, b"", "{target}");
    }
}
