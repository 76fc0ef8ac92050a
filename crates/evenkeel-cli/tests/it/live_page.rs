//! The live page of the admin address: whole, small, from one place, and without secrets. No browser is a part of these tests.

#![cfg(test)]

use std::collections::BTreeSet;

use crate::support::{Backend, Balancer, Message, send};

async fn fetch(balancer: &Balancer, path: &str) -> Message {
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html,*/*\r\n\r\n");
    send(balancer.admin(), head).await
}

/// The texts between `from` and `to`.
fn between<'a>(text: &'a str, from: &str, to: &str) -> BTreeSet<&'a str> {
    text.split(from).skip(1).filter_map(|rest| rest.split(to).next()).collect()
}

#[tokio::test]
async fn the_page_is_whole_and_loads_nothing_from_elsewhere() {
    let backend = Backend::saying("a").await;
    let balancer = Balancer::before(&backend.url()).await;
    let (page, script, style) = (
        fetch(&balancer, "/").await,
        fetch(&balancer, "/page.js").await,
        fetch(&balancer, "/page.css").await,
    );
    for (file, kind) in [(&page, "text/html"), (&script, "text/javascript"), (&style, "text/css")] {
        assert_eq!(file.status(), 200);
        assert!(file.header("content-type").is_some_and(|value| value.starts_with(kind)), "{kind}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
        let policy = file.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    }
    let (page, script, style) = (page.text(), script.text(), style.text());
    assert!(page.len() + script.len() + style.len() < 100 << 10);
    // The policy forbids all of this, so it would not work.
    for inline in ["<script>", "<style", "style=\"", "onclick", "javascript:"] {
        assert!(!page.contains(inline), "{inline}");
    }
    for file in [&page, &script, &style] {
        let mut places = between(file, "http", "\"");
        places.remove("://www.w3.org/2000/svg");
        places.retain(|place| place.starts_with("://") || place.starts_with("s://"));
        assert!(places.is_empty(), "{places:?}");
    }
    for danger in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!script.contains(danger), "{danger}: names of backends are not trusted");
    }
    for id in between(&script, "$(\"", "\")") {
        assert!(page.contains(&format!("id=\"{id}\"")), "the page has no {id}");
    }
    for link in between(&page, "href=\"#", "\"") {
        assert!(page.contains(&format!("id=\"{link}\"")), "{link}");
    }
}

#[tokio::test]
async fn the_page_needs_no_token_and_its_figures_do() {
    let backend = Backend::saying("a").await;
    let yaml = format!(
        "admin: {{ address: 127.0.0.1:0, token: 0123456789abcdef-token }}\nupstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    );
    let balancer = Balancer::start(&yaml).await;
    for path in ["/", "/page.js", "/page.css"] {
        assert_eq!(fetch(&balancer, path).await.status(), 200, "{path}");
    }
    for path in ["/status", "/v1/upstreams", "/metrics", "/page", "/page.js/"] {
        assert_eq!(fetch(&balancer, path).await.status(), 401, "{path}");
    }
    // What a program gets at `/` is the list of paths, behind the token.
    let plain = send(balancer.admin(), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(plain.status(), 401);
}

#[tokio::test]
async fn the_figures_that_the_page_shows_are_in_the_status() {
    let backend = Backend::saying("a").await;
    let balancer = Balancer::before(&backend.url()).await;
    balancer.get("/").await;
    let script = fetch(&balancer, "/page.js").await.text();
    let status = balancer.status().await;
    let backend = &status["upstreams"][0]["backends"][0];
    for (name, value) in [
        ("one.connections_accepted", &status["listeners"][0]["connections_accepted"]),
        ("one.connections_open", &status["listeners"][0]["connections_open"]),
        ("one.requests", &status["routes"][0]["requests"]),
        ("one.upstreams", &status["routes"][0]["upstreams"]),
        ("upstream.mode", &status["upstreams"][0]["mode"]),
        ("upstream.pending", &status["upstreams"][0]["pending"]),
        ("backend.attempts", &backend["attempts"]),
        ("backend.failures", &backend["failures"]),
        ("backend.in_flight", &backend["in_flight"]),
        ("backend.responses", &backend["responses"]),
        ("backend.response_seconds", &backend["response_seconds"]),
        ("backend.state", &backend["state"]),
        ("backend.weight", &backend["weight"]),
        ("status.uptime_seconds", &status["uptime_seconds"]),
    ] {
        assert!(script.contains(name), "the page does not show {name}");
        assert!(!value.is_null(), "the status has no {name}");
    }
}
