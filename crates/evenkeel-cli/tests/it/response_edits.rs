//! `cookie` and `rewrite_location`: what becomes of headers of backends that name the wrong place.

#![cfg(test)]

use crate::rate_limit::yaml;
use crate::support::{Backend, Balancer, Reply};

async fn backend(head: &'static str) -> Backend {
    Backend::start(move |_| Reply::bytes(format!("HTTP/1.1 200 OK\r\n{head}Content-Length: 0\r\n\r\n"))).await
}

#[tokio::test]
async fn cookies_of_backends_get_their_attributes() {
    let backend =
        backend("Set-Cookie: session=1; Path=/app\r\nX-Other: 1\r\nset-cookie: theme=dark; Secure\r\n").await;
    let filters =
        "{ cookie: { names: [session], secure: true, http_only: true, same_site: Strict, path: / } }";
    let balancer = Balancer::start(&yaml(&backend, filters)).await;
    let response = balancer.get("/").await;
    assert_eq!(
        response.all("set-cookie"),
        ["session=1; Secure; HttpOnly; SameSite=Strict; Path=/", "theme=dark; Secure"]
    );
    // Also what a filter behind it adds.
    let filters = "{ cookie: { secure: true } }, { response_headers: { add: { set-cookie: 'own=1' } } }";
    let balancer = Balancer::start(&yaml(&backend, filters)).await;
    let response = balancer.get("/").await;
    let expected = ["session=1; Path=/app; Secure", "theme=dark; Secure", "own=1; Secure"];
    assert_eq!(response.all("set-cookie"), expected);
}

#[tokio::test]
async fn urls_of_backends_become_those_of_clients() {
    let filters = "{ rewrite_location: [{ from: 'http://10.0.0.1:8080/app/', to: 'https://shop.test/' }, { from: 'http://10.0.0.1:8080/', to: / }] }";
    for (head, name, expected) in [
        ("Location: http://10.0.0.1:8080/app/x?y=1\r\n", "location", "https://shop.test/x?y=1"),
        ("Location: http://10.0.0.1:8080/x\r\n", "location", "/x"),
        ("Location: http://10.0.0.1:8081/x\r\n", "location", "http://10.0.0.1:8081/x"),
        ("Location: /x\r\n", "location", "/x"),
        // Neither becomes the URL of another host.
        ("Location: http://10.0.0.1:8080//evil.test\r\n", "location", "/evil.test"),
        ("Location: http://10.0.0.1:8080/\\evil.test\r\n", "location", "/evil.test"),
        ("Refresh: 5; URL=http://10.0.0.1:8080/x\r\n", "refresh", "5; URL=/x"),
        ("Refresh: 5\r\n", "refresh", "5"),
    ] {
        let backend = backend(head).await;
        let balancer = Balancer::start(&yaml(&backend, filters)).await;
        assert_eq!(balancer.get("/").await.all(name), [expected], "{head}");
    }
}

#[tokio::test]
async fn only_whole_hosts_and_segments_are_rewritten() {
    let filters = "{ rewrite_location: [{ from: 'http://internal', to: 'https://shop.test' }] }";
    for (sent, expected) in [
        ("http://internal/x", "https://shop.test/x"),
        ("http://internal", "https://shop.test"),
        ("http://internal?x", "https://shop.test?x"),
        ("http://internal.evil.test/", "http://internal.evil.test/"),
        ("http://internal@evil.test/", "http://internal@evil.test/"),
        ("http://internal:81/", "http://internal:81/"),
    ] {
        let head: &'static str = format!("Location: {sent}\r\n").leak();
        let backend = backend(head).await;
        let balancer = Balancer::start(&yaml(&backend, filters)).await;
        assert_eq!(balancer.get("/").await.all("location"), [expected], "{sent}");
    }
}
