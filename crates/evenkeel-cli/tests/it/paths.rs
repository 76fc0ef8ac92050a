//! Paths that are spelled in other ways: which route takes them, what filters make of them, what backends and clients get.

#![cfg(test)]

use crate::program::evenkeel;
use crate::support::{Backend, Balancer, Client};

/// A balancer that blocks `/admin`, on a listener with these settings.
async fn guarded(backend: &Backend, http: &str) -> Balancer {
    Balancer::start(&format!(
        "listeners: [{{ address: 127.0.0.1:0, http: {{ {http} }} }}]\n\
         routes:\n\
         \x20 - {{ name: blocked, match: {{ path_prefix: /admin }}, respond: {{ status: 403 }} }}\n\
         \x20 - {{ name: exact, match: {{ path: /secret }}, respond: {{ status: 403 }} }}\n\
         \x20 - {{ name: regex, match: {{ path_regex: '^/private/' }}, respond: {{ status: 403 }} }}\n\
         \x20 - {{ name: open, upstream: web }}\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}\n",
        backend.url()
    ))
    .await
}

/// Spellings of `/admin`, `/secret` and `/private/x`.
const SPELLINGS: [&str; 16] = [
    "/admin",
    "//admin",
    "///admin//",
    "/./admin",
    "/x/../admin",
    "/%61dmin",
    "/%61%64min/x?q",
    "/%2e/admin",
    "/x/%2E%2e/admin",
    "/../admin",
    "/admin/.",
    "/admin/x/..",
    "//secret",
    "/a/../%73ecret",
    "//private/x",
    "/private/./x",
];

#[tokio::test]
async fn a_blocked_path_is_blocked_however_it_is_spelled() {
    let backend = Backend::saying("hello").await;
    let balancer = guarded(&backend, "").await;
    let mut client = balancer.client().await;
    for target in SPELLINGS {
        assert_eq!(client.get(target).await.status(), 403, "{target}");
        let absolute = format!("GET http://test{target} HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.ask(absolute).await.status(), 403, "http://test{target}");
    }
    // A WebSocket is Pingora's in either lane.
    let upgrade = "GET /%61dmin HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(client.ask(upgrade).await.status(), 403);
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn a_path_is_forwarded_as_it_was_sent() {
    for target in
        ["/a//b", "/a/./b/../c?x=//..", "/%7Euser/%c3%bc%2f", "/a%20b", "/.well-known/x", "/?a=%zz%00"]
    {
        let backend = Backend::saying("hello").await;
        let balancer = guarded(&backend, "").await;
        assert_eq!(balancer.get(target).await.status(), 200, "{target}");
        assert_eq!(backend.only_request().target(), target);
        assert_eq!(balancer.log_line().await["target"], target);
    }
}

#[tokio::test]
async fn a_path_is_forwarded_in_its_normal_form_where_that_is_asked_for() {
    for (target, forwarded) in [
        ("/a//b", "/a/b"),
        ("/a/./b/../c?x=//..", "/a/c?x=//.."),
        ("/%7Euser/%c3%bc%2f", "/~user/%C3%BC%2F"),
        ("/a%20b", "/a%20b"),
        ("/plain?x", "/plain?x"),
    ] {
        let backend = Backend::saying("hello").await;
        let balancer = guarded(&backend, "forward_path: normal").await;
        assert_eq!(balancer.get(target).await.status(), 200, "{target}");
        assert_eq!(backend.only_request().target(), forwarded);
        assert_eq!(balancer.log_line().await["target"], target, "the log has what the client sent");
    }
}

#[tokio::test]
async fn a_path_is_matched_as_it_was_sent_where_that_is_asked_for() {
    let backend = Backend::saying("hello").await;
    let balancer = guarded(&backend, "path_matching: as_sent").await;
    let mut client = balancer.client().await;
    for (target, status) in [
        ("/admin", 403),
        ("//admin", 200),
        ("/%61dmin", 200),
        ("/%zz", 200),
        ("/a//../b", 200),
        ("/a%00", 400),
    ] {
        assert_eq!(client.get(target).await.status(), status, "{target}");
    }
}

#[tokio::test]
async fn paths_that_servers_read_in_different_ways_are_rejected() {
    let backend = Backend::saying("hello").await;
    let balancer = guarded(&backend, "").await;
    let mut client = balancer.client().await;
    for target in ["/a%00", "/admin%00.png", "/%", "/%4", "/%zz/x?y", "/%u0061dmin", "/admin//../b"] {
        assert_eq!(client.get(target).await.status(), 400, "{target}");
    }
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn filters_work_on_the_path_that_routes_saw() {
    for (filter, target, forwarded) in [
        ("strip_prefix: /admin", "/%61dmin/x", "/x"),
        ("strip_prefix: /admin", "//admin//x?q=//", "/x?q=//"),
        ("strip_prefix: /admin", "/other//x", "/other//x"),
        ("rewrite_path: { from: '^/admin/(.*)$', to: '/new/{1}' }", "/./%61dmin/%c3%bc", "/new/%C3%BC"),
    ] {
        let backend = Backend::saying("hello").await;
        let balancer = Balancer::start(&format!(
            "routes: [{{ name: all, filters: [{{ {filter} }}], upstream: web }}]\n\
             upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
            backend.url()
        ))
        .await;
        assert_eq!(balancer.get(target).await.status(), 200, "{filter} {target}");
        assert_eq!(backend.only_request().target(), forwarded, "{filter} {target}");
    }
}

#[tokio::test]
async fn explain_sees_paths_as_listeners_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let yaml = "\
listeners:
  - { address: 127.0.0.1:8080 }
  - { address: 127.0.0.1:8081, http: { path_matching: as_sent } }
  - { address: 127.0.0.1:8082, http: { forward_path: normal } }
routes:
  - { name: blocked, match: { path_prefix: /admin }, respond: { status: 403 } }
  - { name: open, upstream: web }
upstreams: { web: { backends: [\"http://127.0.0.1:1\"] } }
";
    std::fs::write(folder.path().join("evenkeel.yaml"), yaml).expect("a configuration");
    for (url, expected) in [
        ("http://a:8080/x/../%61dmin", "see the path /admin"),
        ("http://a:8080/x/../%61dmin", "yes  blocked"),
        ("http://a:8080//b", "would send //b to "),
        ("http://a:8081/x/../%61dmin", "yes  open"),
        ("http://a:8082//b?q", "would send /b?q to "),
        ("http://a/%61dmin", "yes  blocked"),
        ("http://a/%00", "encoded NUL"),
    ] {
        let said = evenkeel(folder.path(), &["explain", url]).await.text();
        assert!(said.contains(expected), "{url}: expected {expected:?} in\n{said}");
    }
}

#[tokio::test]
async fn a_redirect_never_leads_to_another_host_by_its_path() {
    for http in ["", "path_matching: as_sent"] {
        let balancer = Balancer::start(&format!(
            "listeners: [{{ address: 127.0.0.1:0, http: {{ {http} }} }}]\n\
             routes:\n\
             \x20 - {{ name: slash, match: {{ hosts: [slash] }}, redirect: {{ to: '{{path}}/' }} }}\n\
             \x20 - {{ name: after, match: {{ hosts: [after] }}, redirect: {{ to: '/{{path}}' }} }}\n\
             \x20 - {{ name: strip, match: {{ hosts: [strip] }}, filters: [{{ strip_prefix: /old }}], redirect: {{ to: '{{path}}{{query}}' }} }}\n\
             \x20 - {{ name: host, redirect: {{ to: 'https://{{host}}{{path}}{{query}}' }} }}\n"
        ))
        .await;
        let mut client = balancer.client().await;
        for (host, target, location) in [
            ("slash", "//evil.com", "/evil.com/"),
            ("slash", "///evil.com/x", "/evil.com/x/"),
            ("slash", "/\\evil.com", "/%5Cevil.com/"),
            ("slash", "/\\/evil.com", "/%5C/evil.com/"),
            ("slash", "http://slash//evil.com", "/evil.com/"),
            ("slash", "/x", "/x/"),
            ("slash", "/%0d%0aSet-Cookie:x=1", "/%0d%0aSet-Cookie:x=1/"),
            ("after", "/evil.com", "/evil.com"),
            ("strip", "/old/new?q=//x", "/new?q=//x"),
            ("strip", "/old//evil.com", "/evil.com"),
            ("a:80", "/x?y", "https://a/x?y"),
            ("[::1]:8080", "/", "https://[::1]/"),
        ] {
            let response = client.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            let found = response.header("location").unwrap_or_default();
            let same = found.eq_ignore_ascii_case(location);
            assert!(
                response.status() == 302 && same,
                "{http} {host} {target}: {} {found}",
                response.status()
            );
            assert_eq!((response.header("set-cookie"), response.all("location").len()), (None, 1));
        }
        for target in ["http:evil.com", "http:///evil.com", "http:/\\evil.com"] {
            let mut client = balancer.client().await;
            let response = client.ask(format!("GET {target} HTTP/1.1\r\nHost: slash\r\n\r\n")).await;
            assert_eq!(response.status(), 400, "{target}");
        }
    }
}

#[tokio::test]
async fn a_redirect_that_needs_a_host_is_not_made_without_one() {
    let balancer = Balancer::start(
        "routes:\n  - { name: a, match: { path: /a }, redirect: { to: 'https://{host}{path}' } }\n  \
         - { name: b, match: { path: /b }, redirect: { to: 'https://{authority}{path}' } }\n  \
         - { name: c, redirect: { to: '/c{query}' } }\n",
    )
    .await;
    for (request, status, location) in [
        ("GET /a HTTP/1.0\r\n\r\n", 400, None),
        ("GET /a HTTP/1.1\r\nHost:\r\n\r\n", 400, None),
        ("GET /b HTTP/1.0\r\n\r\n", 400, None),
        ("GET /x?y HTTP/1.0\r\n\r\n", 302, Some("/c?y")),
        ("GET /b HTTP/1.1\r\nHost: a:8080\r\n\r\n", 302, Some("https://a:8080/b")),
    ] {
        let response = Client::connect(balancer.address()).await.ask(request).await;
        assert_eq!((response.status(), response.header("location")), (status, location), "{request:?}");
    }
}
