//! `error_pages` and `maintenance`: what clients get in place of our texts, and of backends' errors.

#![cfg(test)]

use std::time::{Duration, Instant};

use evenkeel::filter::Registry;

use crate::rate_limit::yaml;
use crate::support::{Backend, Balancer, ClosedPort, Message, PATIENCE, Reply, Seen};

const PAGES: &str = "{ status: [502, 503], causes: [unreachable], body: '<p>{status} {cause}: {message}</p> p { a: b }' }, \
                     { status: [4xx, 5xx], content_type: application/json, body: '{\"code\":{status},\"why\":\"{message}\"}' }, \
                     { status: [4xx], body: '<p>sorry {status}</p>' }";

async fn ask(balancer: &Balancer, method: &str, target: &str, fields: &str) -> Message {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    balancer.client().await.ask(request).await
}

#[tokio::test]
async fn a_rejection_has_the_page_that_its_client_accepts() {
    let closed = ClosedPort::new();
    let text = format!(
        "routes: [{{ name: all, filters: [{{ error_pages: {{ pages: [{PAGES}] }} }}, {{ deny: [127.0.0.2] }}], upstream: web }}]\n\
         upstreams: {{ web: {{ backends: ['{}'], outlier_detection: off }} }}",
        closed.url()
    );
    let balancer = Balancer::start(&text).await;
    let (html, json) = ("text/html; charset=utf-8", "application/json");
    let page = "<p>502 unreachable: no backend could be reached</p> p { a: b }";
    let object = "{\"code\":502,\"why\":\"no backend could be reached\"}";
    for (fields, content_type, body) in [
        ("Accept: text/html, */*\r\n", html, page),
        ("", html, page),
        ("Accept: image/png\r\n", html, page),
        ("Accept: application/json\r\n", json, object),
    ] {
        let response = ask(&balancer, "GET", "/", fields).await;
        assert_eq!((response.status(), response.all("content-type")), (502, vec![content_type]), "{fields}");
        assert_eq!(response.text(), body, "{fields}");
    }
    let head = ask(&balancer, "HEAD", "/", "").await;
    assert_eq!((head.status(), head.header("content-length")), (502, Some(page.len().to_string().as_str())));
    let grpc = ask(&balancer, "POST", "/", "Content-Type: application/grpc\r\nContent-Length: 0\r\n").await;
    assert_eq!((grpc.status(), grpc.header("grpc-status"), grpc.text().as_str()), (200, Some("14"), ""));
    let mut client = crate::support::Client::connect_from([127, 0, 0, 2].into(), balancer.address()).await;
    for (fields, body) in [
        ("Accept: text/html\r\n", "<p>sorry 403</p>"),
        ("Accept: text/plain\r\n", "{\"code\":403,\"why\":\"this client is not allowed\"}"),
    ] {
        let response = client.ask(format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n")).await;
        assert_eq!((response.status(), response.text().as_str()), (403, body));
    }
}

/// A backend that fails as its target says.
fn failing(seen: &Seen) -> Reply {
    let status = seen.target().trim_start_matches('/').split('/').next().unwrap_or_default();
    Reply::bytes(format!(
        "HTTP/1.1 {status} Status\r\nRetry-After: 7\r\nWWW-Authenticate: Basic\r\nSet-Cookie: a=b\r\nContent-Encoding: gzip\r\n\
         Content-Type: text/x\r\nContent-Length: 6\r\n\r\nsecret"
    ))
}

#[tokio::test]
async fn errors_of_backends_have_pages_only_if_that_is_configured() {
    let backend = Backend::start(failing).await;
    let without = format!("{{ error_pages: {{ pages: [{PAGES}] }} }}");
    let balancer = Balancer::start(&yaml(&backend, &without)).await;
    for target in ["/404", "/503", "/200"] {
        assert_eq!(ask(&balancer, "GET", target, "").await.text(), "secret", "{target}");
    }
    let with = format!(
        "{{ error_pages: {{ backends: true, pages: [{PAGES}] }} }}, {{ response_headers: {{ set: {{ x-seen: '1' }} }} }}"
    );
    let balancer = Balancer::start(&yaml(&backend, &with)).await;
    let mut client = balancer.client().await;
    for (target, body) in [
        ("/404", "{\"code\":404,\"why\":\"\"}"),
        ("/401", "{\"code\":401,\"why\":\"\"}"),
        ("/500", "{\"code\":500,\"why\":\"\"}"),
    ] {
        let response = client.get(target).await;
        assert_eq!(
            (response.status(), response.text().as_str()),
            (target[1..].parse().expect("a status"), body)
        );
        assert_eq!(response.all("content-type"), ["application/json"]);
        for (name, value) in [
            ("retry-after", Some("7")),
            ("www-authenticate", Some("Basic")),
            ("x-seen", Some("1")),
            ("content-encoding", None),
        ] {
            assert_eq!(response.header(name), value, "{target} {name}");
        }
    }
    assert_eq!(client.get("/200").await.text(), "secret", "the connection is kept");
    let record = balancer.log_line_of("/500").await;
    assert_eq!((&record["status"], &record["end"]), (&500.into(), &"ok".into()), "{record}");
    let metrics = balancer.metrics().await;
    assert!(metrics.contains("evenkeel_backend_answers_total{upstream=\"web\",backend=\""), "{metrics}");
    let post = "POST /404 HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(client.ask(post).await.text(), "{\"code\":404,\"why\":\"\"}");
}

#[tokio::test]
async fn a_page_of_a_file_is_read_again() {
    let (closed, folder) = (ClosedPort::new(), tempfile::tempdir().expect("a temporary folder"));
    let file = folder.path().join("down.html");
    std::fs::write(&file, "one {status}").expect("a file");
    let text = format!(
        "routes: [{{ name: all, filters: [{{ error_pages: {{ pages: [{{ file: '{}' }}] }} }}], upstream: web }}]\n\
         upstreams: {{ web: {{ backends: ['{}'] }} }}",
        file.display(),
        closed.url()
    );
    let balancer = Balancer::start(&text).await;
    assert_eq!(balancer.get("/").await.text(), "one 502");
    std::fs::write(&file, "two").expect("a file");
    let start = Instant::now();
    while balancer.get("/").await.text() != "two" {
        assert!(start.elapsed() < PATIENCE, "the new page is never there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let missing = text.replace("down.html", "missing.html");
    let error =
        Balancer::try_with(&missing, Registry::builtin()).await.err().expect("no such file").to_string();
    assert!(error.contains("error_pages.pages[0].file") && error.contains("missing.html"), "{error}");
}

#[tokio::test]
async fn maintenance_begins_and_ends_with_a_file() {
    let (backend, folder) =
        (Backend::saying("hello").await, tempfile::tempdir().expect("a temporary folder"));
    let file = folder.path().join("maintenance");
    let filters = format!(
        "{{ maintenance: {{ file: '{}', retry_after: 90s, message: back soon, exempt: [192.0.2.0/24] }} }}",
        file.display()
    );
    let balancer = Balancer::start(&yaml(&backend, &filters)).await;
    let becomes = async |expected: u16| {
        let start = Instant::now();
        loop {
            let response = balancer.get("/").await;
            if response.status() == expected {
                return response;
            }
            assert!(start.elapsed() < PATIENCE, "never {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    becomes(200).await;
    std::fs::write(&file, "").expect("a file");
    let response = becomes(503).await;
    assert_eq!((response.header("retry-after"), response.text().as_str()), (Some("90"), "503 back soon\n"));
    let exempt = ask(&balancer, "GET", "/", "X-Forwarded-For: 192.0.2.7\r\n").await;
    assert_eq!(exempt.status(), 200);
    std::fs::remove_file(&file).expect("it is there");
    becomes(200).await;
}

#[tokio::test]
async fn a_page_can_name_the_request_and_stays_what_it_is() {
    let closed = ClosedPort::new();
    let text = format!(
        "routes: [{{ name: all, filters: [{{ error_pages: {{ pages: [{{ body: '<p>{{request_id}} {{header.x-a:-none}} {{upstream}} {{status}}' }}] }} }}, {{ deny: [127.0.0.2] }}], upstream: web }}]\n\
         upstreams: {{ web: {{ backends: ['{}'], outlier_detection: off }} }}",
        closed.url()
    );
    let balancer = Balancer::start(&text).await;
    let response = ask(&balancer, "GET", "/?a", "X-A: <b>\r\n").await;
    let id = balancer.log_line_of("/?a").await["request_id"].as_str().expect("an id").to_owned();
    assert_eq!(response.text(), format!("<p>{id} &lt;b&gt; web 502"));
    // A filter behind it rejects, so there is no upstream.
    let mut client = crate::support::Client::connect_from([127, 0, 0, 2].into(), balancer.address()).await;
    let response = client.ask("GET /?b HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let id = balancer.log_line_of("/?b").await["request_id"].as_str().expect("an id").to_owned();
    assert_eq!(response.text(), format!("<p>{id} none  403"));
}
