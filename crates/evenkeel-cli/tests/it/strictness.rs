//! What HTTP asks of a proxy besides framing: each rule once, over both lanes.

#![cfg(test)]

use super::support::{Backend, Balancer, Message, Reply};

async fn ask(balancer: &Balancer, request: &str) -> Message {
    balancer.client().await.ask(request.to_owned()).await
}

#[tokio::test]
async fn a_head_request_that_is_rejected_gets_no_body() {
    let balancer = Balancer::before("http://127.0.0.1:1").await;
    for host in ["a b", "a@b"] {
        let mut client = balancer.client().await;
        let response = client.ask(format!("HEAD / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!((response.status(), response.body_length), (400, 0), "{host}");
        assert_eq!(client.closed().await, b"", "bytes follow the head");
    }
}

#[tokio::test]
async fn max_forwards_is_counted_down_and_ends_here() {
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::before(&backend.url()).await;
    for method in ["OPTIONS", "TRACE"] {
        let with = |left: &str| format!("{method} /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: {left}\r\n\r\n");
        let before = backend.count();
        let response = ask(&balancer, &with("0")).await;
        assert_eq!((response.status(), backend.count()), (200, before), "{method}");
        match method {
            "OPTIONS" => assert!(response.header("allow").is_some()),
            _ => {
                assert_eq!(response.header("content-type"), Some("message/http"));
                assert_eq!(response.text(), "TRACE /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
            }
        }
        for (left, seen) in [("1", "0"), ("10", "9"), ("x", "x"), ("99999999999", "4294967294")] {
            assert_eq!(ask(&balancer, &with(left)).await.status(), 200);
            assert_eq!(backend.last_request().header("max-forwards"), Some(seen), "{method} {left}");
        }
    }
    let get = "GET /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n";
    assert_eq!(ask(&balancer, get).await.text(), "hello");
    assert_eq!(backend.last_request().header("max-forwards"), Some("0"));
}

#[tokio::test]
async fn a_rejected_grpc_web_request_gets_an_http_status() {
    let balancer =
        Balancer::start("routes: [{ name: no, match: { path: /no }, respond: { body: x } }]").await;
    for (content_type, status) in
        [("application/grpc-web+proto", 404), ("application/grpc-web-text", 404), ("application/grpc", 200)]
    {
        let request = format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\nContent-Length: 0\r\n\r\n"
        );
        let response = ask(&balancer, &request).await;
        assert_eq!(response.status(), status, "{content_type}");
        assert_eq!(response.header("content-type") == Some("application/grpc"), status == 200);
    }
}

#[tokio::test]
async fn a_status_out_of_range_is_no_response() {
    for status in [600, 999] {
        let bytes = format!("HTTP/1.1 {status} Odd\r\nContent-Length: 0\r\n\r\n");
        let backend = Backend::start(move |_| Reply::bytes(&bytes)).await;
        let balancer = Balancer::before(&backend.url()).await;
        assert_eq!(balancer.get("/").await.status(), 502, "{status}");
    }
}

#[tokio::test]
async fn a_kept_http_10_client_can_tell_where_a_chunked_response_ends() {
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let backend = Backend::start(move |_| Reply::bytes(chunks)).await;
    let balancer = Balancer::before(&backend.url()).await;
    let response = ask(&balancer, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
    assert_eq!(response.header("transfer-encoding"), None);
    assert_eq!(response.header("connection"), Some("close"));
}

#[tokio::test]
async fn a_cookie_is_found_whatever_bytes_another_one_has() {
    let backends = [Backend::saying("0").await, Backend::saying("1").await, Backend::saying("2").await];
    let urls: Vec<_> = backends.iter().map(Backend::url).collect();
    let yaml = format!("upstreams: {{ web: {{ backends: {urls:?}, sticky: {{ cookie: keel }} }} }}");
    let balancer = Balancer::start(&yaml).await;
    let first = balancer.get("/").await;
    let cookie = first.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie");
    for _ in 0..6 {
        let mut request = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: odd=\xff\xfe; ".to_vec();
        request.extend_from_slice(format!("{cookie}\r\n\r\n").as_bytes());
        let response = balancer.client().await.ask(request).await;
        assert_eq!(response.text(), first.text());
    }
}

#[tokio::test]
async fn a_filter_cannot_edit_what_frames_a_message() {
    for (section, named) in [
        ("set: { content-length: 5 }", "content-length"),
        ("add: { Transfer-Encoding: chunked }", "transfer-encoding"),
        ("remove: [Connection]", "connection"),
        ("set: { te: trailers }", "te"),
        ("remove: [host]", "host"),
        ("add: { host: a }", "host"),
        ("set: { host: 'a/b' }", "a host"),
    ] {
        for filter in ["request_headers", "response_headers"] {
            let yaml = format!(
                "routes: [{{ name: all, filters: [{{ {filter}: {{ {section} }} }}], upstream: web }}]\n\
                 upstreams: {{ web: {{ backends: [\"http://127.0.0.1:1\"] }} }}"
            );
            let result = Balancer::try_with(&yaml, evenkeel::filter::Registry::builtin()).await;
            let error = result.err().expect("rejected").to_string();
            assert!(error.contains(named), "{filter} {section}: {error}");
        }
    }
}

#[tokio::test]
async fn a_filter_can_set_the_host_of_a_request() {
    let backend = Backend::saying("hello").await;
    let yaml = format!(
        "routes: [{{ name: all, filters: [request_headers: {{ set: {{ host: inner.test, x-user: me }} }}], upstream: web }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    );
    let balancer = Balancer::start(&yaml).await;
    let request = "GET / HTTP/1.1\r\nHost: outer.test\r\nX_User: mallory\r\n\r\n";
    assert_eq!(ask(&balancer, request).await.status(), 200);
    let seen = backend.only_request();
    assert_eq!(seen.all("host"), ["inner.test"]);
    assert_eq!(seen.header("x-forwarded-host"), Some("outer.test"));
    assert_eq!((seen.header("x-user"), seen.header("x_user")), (Some("me"), None));
}

#[tokio::test]
async fn a_cookie_is_hashed_whatever_bytes_another_one_has() {
    let backends = [Backend::saying("0").await, Backend::saying("1").await, Backend::saying("2").await];
    let urls: Vec<_> = backends.iter().map(Backend::url).collect();
    let yaml = format!(
        "upstreams: {{ web: {{ backends: {urls:?}, algorithm: {{ consistent_hash: {{ key: cookie user }} }} }} }}"
    );
    let balancer = Balancer::start(&yaml).await;
    let mut seen = std::collections::BTreeSet::new();
    for user in 0..20 {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: user={user}\r\n\r\n");
        let expected = ask(&balancer, &request).await.text();
        let mut request = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: odd=\xff\xfe; ".to_vec();
        request.extend_from_slice(format!("user={user}\r\n\r\n").as_bytes());
        assert_eq!(balancer.client().await.ask(request).await.text(), expected, "user {user}");
        seen.insert(expected);
    }
    // By the client's address, all would go to one.
    assert!(seen.len() > 1);
}

/// A CGI-style server reads `X_Forwarded_For` as `X-Forwarded-For`.
#[tokio::test]
async fn a_header_that_could_pass_for_another_is_dropped_or_rejected() {
    let backend = Backend::saying("hello").await;
    for (option, rejected) in [("", false), (", http: { spoofed_headers: reject }", true)] {
        let yaml = format!(
            "listeners: [{{ address: 127.0.0.1:0{option} }}]\nupstreams: {{ web: {{ backends: [\"{}\"] }} }}",
            backend.url()
        );
        let balancer = Balancer::start(&yaml).await;
        for name in ["X_Forwarded_For", "X-Forwarded_Proto", "x_request_id", "Content_Length"] {
            let request = format!("GET /{name} HTTP/1.1\r\nHost: a\r\n{name}: 6\r\n\r\n");
            let response = ask(&balancer, &request).await;
            let target = format!("/{name}");
            if rejected {
                assert_eq!(response.status(), 400, "{name}");
                let error = &balancer.log_line_of(&target).await["error"];
                assert_eq!(error, "a header name has an underscore in place of a hyphen", "{name}");
            } else {
                assert_eq!(response.status(), 200, "{name}");
                assert_eq!(backend.last_request().all(name), [""; 0], "{name}");
            }
        }
        // Any other header with an underscore passes.
        assert_eq!(ask(&balancer, "GET / HTTP/1.1\r\nHost: a\r\nMy_Header: 1\r\n\r\n").await.status(), 200);
        assert_eq!(backend.last_request().header("my_header"), Some("1"));
    }
}
