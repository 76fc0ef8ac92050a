//! What responses say to browsers: `cors` and `security_headers`.

#![cfg(test)]

use crate::program::evenkeel;
use crate::rate_limit::yaml;
use crate::support::{Backend, Balancer, Message, Reply};

const FILTER: &str = "{ cors: { allow_origins: ['https://app.example.com', 'https://*.example.org'], \
                      allow_methods: [GET, PUT], allow_headers: [x-token], expose_headers: [x-page], \
                      allow_credentials: true, max_age: 1h } }";

async fn ask(balancer: &Balancer, method: &str, fields: &str) -> Message {
    let request = format!("{method} / HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    balancer.client().await.ask(request).await
}

#[tokio::test]
async fn a_preflight_is_responded_to_without_a_backend() {
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::start(&yaml(&backend, FILTER)).await;
    let preflight = "Origin: https://app.example.com\r\nAccess-Control-Request-Method: PUT\r\n\
                     Access-Control-Request-Headers: x-token\r\n";
    let response = ask(&balancer, "OPTIONS", preflight).await;
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example.com"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "x-token"),
        ("access-control-allow-credentials", "true"),
        ("access-control-max-age", "3600"),
        ("vary", "origin"),
    ] {
        assert_eq!(response.all(name), [value], "{name}");
    }
    assert_eq!((response.status(), response.header("content-length")), (204, None));
    let other = preflight.replace("app.example.com", "evil.test");
    let response = ask(&balancer, "OPTIONS", &other).await;
    assert_eq!((response.status(), response.header("access-control-allow-origin")), (403, None));
    assert_eq!(backend.count(), 0);
    for fields in ["", "Origin: https://app.example.com\r\n", "Access-Control-Request-Method: PUT\r\n"] {
        assert_eq!(ask(&balancer, "OPTIONS", fields).await.status(), 200, "no preflight: {fields}");
    }
    assert_eq!(backend.count(), 3);
}

#[tokio::test]
async fn a_page_can_read_what_its_origin_may() {
    let backend = Backend::start(|_| {
        Reply::bytes(
            "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: DELETE\r\n\
             Vary: accept-encoding\r\nContent-Length: 0\r\n\r\n",
        )
    })
    .await;
    let balancer = Balancer::start(&yaml(&backend, FILTER)).await;
    let allow = "access-control-allow-origin";
    let response = ask(&balancer, "GET", "Origin: https://a.example.org\r\n").await;
    assert_eq!(response.all(allow), ["https://a.example.org"], "the backend's own is replaced");
    assert_eq!(response.all("access-control-expose-headers"), ["x-page"]);
    assert_eq!(response.all("access-control-allow-credentials"), ["true"]);
    assert_eq!(response.header("access-control-allow-methods"), None);
    assert_eq!(response.all("vary").join(","), "accept-encoding,origin");
    for fields in ["", "Origin: https://evil.test\r\n", "Origin: https://example.org\r\n", "Origin: null\r\n"]
    {
        let response = ask(&balancer, "GET", fields).await;
        assert_eq!((response.status(), response.header(allow)), (200, None), "{fields}");
        assert_eq!(response.all("vary").join(","), "accept-encoding,origin", "{fields}");
    }
    drop(backend);
    let response = ask(&balancer, "GET", "Origin: https://a.example.org\r\n").await;
    assert_eq!((response.status(), response.header(allow)), (502, Some("https://a.example.org")));
}

#[tokio::test]
async fn any_origin_is_a_star() {
    let backend = Backend::saying("hello").await;
    let filter = "{ cors: { allow_origins: ['*'], allow_methods: ['*'], allow_headers: ['*'] } }";
    let balancer = Balancer::start(&yaml(&backend, filter)).await;
    let response = ask(&balancer, "GET", "Origin: https://evil.test\r\n").await;
    assert_eq!((response.header("access-control-allow-origin"), response.header("vary")), (Some("*"), None));
    let preflight = "Origin: https://a.test\r\nAccess-Control-Request-Method: PATCH\r\nAccess-Control-Request-Headers: a, b\r\n";
    let response = ask(&balancer, "OPTIONS", preflight).await;
    assert_eq!(response.all("access-control-allow-methods"), ["PATCH"]);
    assert_eq!(response.all("access-control-allow-headers"), ["a, b"]);
}

#[tokio::test]
async fn security_headers_are_added_and_those_of_backends_stay() {
    let backend = Backend::start(|_| {
        Reply::bytes("HTTP/1.1 200 OK\r\nX-Frame-Options: DENY\r\nContent-Length: 0\r\n\r\n")
    })
    .await;
    let filters = "{ security_headers: {} }";
    let balancer = Balancer::start(&yaml(&backend, filters)).await;
    let response = balancer.get("/").await;
    assert_eq!(response.all("x-content-type-options"), ["nosniff"]);
    assert_eq!(response.all("x-frame-options"), ["DENY"], "the backend's");
    assert_eq!(response.all("referrer-policy"), ["strict-origin-when-cross-origin"]);
    assert_eq!(response.header("content-security-policy"), None);
    let filters = "{ security_headers: { overwrite: true, referrer_policy: off, content_security_policy: \"default-src 'self'\" } }, \
                   { response_headers: { set: { content-security-policy: 'none' } } }";
    let balancer = Balancer::start(&yaml(&backend, filters)).await;
    let response = balancer.get("/").await;
    assert_eq!(response.all("x-frame-options"), ["SAMEORIGIN"]);
    assert_eq!(response.header("referrer-policy"), None);
    assert_eq!(response.all("content-security-policy"), ["default-src 'self'"]);
    drop(backend);
    let refused = balancer.get("/").await;
    assert_eq!((refused.status(), refused.header("x-frame-options")), (502, Some("SAMEORIGIN")));
}

#[tokio::test]
async fn the_origin_null_gets_no_credentials() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let yaml = "listeners: [{ address: 127.0.0.1:0 }]\n\
                upstreams: { web: { backends: [\"http://127.0.0.1:1\"] } }\n\
                routes: [{ name: all, filters: [{ cors: { allow_origins: [\"null\"], allow_credentials: true } }], upstream: web }]\n";
    std::fs::write(folder.path().join("evenkeel.yaml"), yaml).expect("a file");
    let said = evenkeel(folder.path(), &["check"]).await;
    let expected =
        "cors.allow_origins[0]: \"null\" is not valid: expected no origin null with allow_credentials";
    assert!(said.code == Some(1) && said.err.contains(expected), "{}", said.err);
}
