//! `forward_auth`: another service decides, and it can be slow, down or malicious.

#![cfg(test)]

use std::time::{Duration, Instant};

use crate::rate_limit::yaml;
use crate::support::{Backend, Balancer, ClosedPort, Message, Reply, Secure, Seen};

async fn ask(balancer: &Balancer, target: &str, fields: &str) -> Message {
    balancer
        .client()
        .await
        .ask(format!(
            "POST {target} HTTP/1.1\r\nHost: shop.test:81\r\n{fields}Content-Length: 5\r\n\r\nhello"
        ))
        .await
}

/// A service that decides by what is requested.
fn decide(seen: &Seen) -> Reply {
    let uri = seen.message.header("x-forwarded-uri").unwrap_or_default();
    match uri.split('?').next().unwrap_or_default() {
        "/fine" => Reply::bytes(
            "HTTP/1.1 200 OK\r\nX-Auth-User: ann\r\nX-Groups: a\r\nX-Groups: b\r\nSet-Cookie: s=1\r\nSet-Cookie: t=2\r\n\
             X-Secret: no\r\nContent-Length: 0\r\n\r\n",
        ),
        "/empty" => Reply::bytes("HTTP/1.1 204 No Content\r\n\r\n"),
        "/sign-in" => Reply::bytes(
            "HTTP/1.1 302 Found\r\nLocation: https://login.test/?rd=x\r\nSet-Cookie: csrf=1\r\nConnection: x-gone\r\nContent-Length: 2\r\n\r\ngo",
        ),
        "/no" => Reply::bytes(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"x\"\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nnope",
        ),
        "/forbidden" => Reply::status(403, "no"),
        "/fails" => Reply::status(500, "broken"),
        "/slow" => Reply::silence(),
        "/large" => Reply::bytes("HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000\r\n\r\n").fill(1_000_000),
        "/half" => Reply::bytes("HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nhalf").close(),
        _ => Reply::hang_up(),
    }
}

fn filter(url: &str, more: &str) -> String {
    format!(
        "{{ forward_auth: {{ url: '{url}/verify', timeout: 500ms, upstream_headers: [x-auth-user, x-groups] {more} }} }}"
    )
}

#[tokio::test]
async fn the_service_sees_the_request_and_the_backend_what_it_says() {
    let (auth, backend) = (Backend::start(decide).await, Backend::saying("hello").await);
    let balancer = Balancer::start(&yaml(&backend, &filter(&auth.url(), ""))).await;
    let fields = "Cookie: session=1\r\nAuthorization: Bearer x\r\nX-Other: 1\r\nX-Forwarded-Uri: /forged\r\n\
                  X-Auth-User: root\r\nX_Auth_User: root\r\nX-Groups: admin\r\nX-Forwarded-For: 192.0.2.7\r\n";
    let response = ask(&balancer, "/fine?a=b%20c", fields).await;
    assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
    assert_eq!(response.all("set-cookie"), ["s=1", "t=2"]);
    assert_eq!(response.header("x-secret"), None);
    let question = auth.only_request();
    assert_eq!((question.method(), question.target()), ("GET", "/verify"));
    for (name, value) in [
        ("cookie", Some("session=1")),
        ("authorization", Some("Bearer x")),
        ("x-other", None),
        ("x-auth-user", None),
        ("content-length", None),
        ("x-forwarded-uri", Some("/fine?a=b%20c")),
        ("x-forwarded-method", Some("POST")),
        ("x-forwarded-host", Some("shop.test:81")),
        ("x-forwarded-for", Some("192.0.2.7")),
    ] {
        assert_eq!(question.header(name), value, "{name}");
    }
    let seen = backend.only_request();
    assert_eq!((seen.all("x-auth-user"), seen.all("x-groups")), (vec!["ann"], vec!["a, b"]));
    assert_eq!((seen.header("x_auth_user"), seen.text().as_str()), (None, "hello"));
    ask(&balancer, "/empty", fields).await;
    let seen = backend.last_request();
    assert_eq!(
        (seen.header("x-auth-user"), seen.header("x-groups")),
        (None, None),
        "the client's own are gone"
    );
}

#[tokio::test]
async fn what_the_service_responds_is_the_response() {
    let (auth, backend) = (Backend::start(decide).await, Backend::saying("hello").await);
    let balancer =
        Balancer::start(&format!("workers: 1\n{}", yaml(&backend, &filter(&auth.url(), "")))).await;
    for (target, status, name, value, body) in [
        ("/sign-in", 302, "location", Some("https://login.test/?rd=x"), "go"),
        ("/sign-in", 302, "set-cookie", Some("csrf=1"), "go"),
        ("/no", 401, "www-authenticate", Some("Bearer realm=\"x\""), "nope"),
        ("/forbidden", 403, "location", None, "no"),
    ] {
        let response = ask(&balancer, target, "").await;
        assert_eq!(
            (response.status(), response.header(name), response.text().as_str()),
            (status, value, body),
            "{target}"
        );
    }
    assert_eq!(backend.count(), 0);
    assert_eq!(auth.connections(), 1, "the one worker keeps the connection");
}

#[tokio::test]
async fn a_service_that_fails_rejects_unless_it_may_allow() {
    let (auth, backend, closed) =
        (Backend::start(decide).await, Backend::saying("hello").await, ClosedPort::new());
    let rejects = Balancer::start(&yaml(&backend, &filter(&auth.url(), ""))).await;
    for target in ["/fails", "/slow", "/large", "/half", "/other"] {
        let start = Instant::now();
        let response = ask(&rejects, target, "").await;
        assert_eq!((response.status(), response.header("retry-after")), (503, Some("1")), "{target}");
        assert!(start.elapsed() < Duration::from_secs(5), "{target}");
    }
    assert_eq!(backend.count(), 0);
    let down = Balancer::start(&yaml(&backend, &filter(&closed.url(), ""))).await;
    assert_eq!(ask(&down, "/fine", "").await.status(), 503);
    let allows = Balancer::start(&yaml(&backend, &filter(&closed.url(), ", on_failure: allow"))).await;
    assert_eq!(ask(&allows, "/fine", "X-Auth-User: root\r\n").await.status(), 200);
    assert_eq!(backend.only_request().header("x-auth-user"), None);
}

#[tokio::test]
async fn an_accepted_request_is_remembered_for_its_client_only() {
    let (auth, backend) = (Backend::start(decide).await, Backend::saying("hello").await);
    let more = ", cache_by: [cookie session, header authorization], cache_for: 1h";
    let balancer = Balancer::start(&yaml(&backend, &filter(&auth.url(), more))).await;
    for (target, fields, questions) in [
        ("/fine", "Cookie: session=1\r\n", 1),
        ("/fine", "Cookie: session=1; other=2\r\n", 0),
        ("/fine", "Cookie: session=2\r\n", 1),
        ("/fine?x", "Cookie: session=1\r\n", 1),
        ("/fine", "Cookie: session=1\r\nAuthorization: x\r\n", 1),
        ("/fine", "Cookie: session=1\r\nX-Forwarded-For: 192.0.2.7\r\n", 1),
        ("/fine", "", 1),
        ("/fine", "", 1),
        ("/no", "Cookie: session=1\r\n", 1),
        ("/no", "Cookie: session=1\r\n", 1),
    ] {
        let before = auth.count();
        let response = ask(&balancer, target, fields).await;
        assert_eq!(auth.count() - before, questions, "{target} {fields}");
        if response.status() == 200 {
            assert_eq!(backend.last_request().all("x-auth-user"), ["ann"], "{target} {fields}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_the_service_closed_costs_nothing() {
    let auth = Backend::with(
        crate::support::Options { close_idle: Some(Duration::from_millis(50)), ..Default::default() },
        decide,
    )
    .await;
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::start(&yaml(&backend, &filter(&auth.url(), ""))).await;
    for _ in 0..3 {
        assert_eq!(ask(&balancer, "/fine", "").await.status(), 200);
        auth.until_all_closed().await;
    }
}

#[tokio::test]
async fn a_service_over_tls_shows_a_certificate_of_its_authority() {
    let (auth, backend) = (Secure::start("localhost", decide).await, Backend::saying("hello").await);
    for (host, ca, expected) in
        [("localhost", true, 200), ("localhost", false, 503), ("127.0.0.1", true, 503)]
    {
        let url = auth.url().replace("127.0.0.1", host);
        let more = if ca { format!(", ca: '{}'", auth.authority.display()) } else { String::new() };
        let balancer = Balancer::start(&yaml(&backend, &filter(&url, &more))).await;
        assert_eq!(ask(&balancer, "/fine", "").await.status(), expected, "{host} {ca}");
    }
}
