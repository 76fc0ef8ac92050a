//! The route table from outside: which of many routes takes a request.

#![cfg(test)]

use super::support::{Balancer, Client, get};

/// Routes that return their own name, so that the response shows which one matched.
const ROUTES: [(&str, &str); 12] = [
    ("exact-path", "{ path: /exact }"),
    ("below-exact-path", "{ path_prefix: /exact }"),
    ("host", "{ hosts: [one.test] }"),
    ("host-below-wildcard", "{ hosts: [deep.wild.test] }"),
    ("wildcard", "{ hosts: [\"*.wild.test\"] }"),
    ("method", "{ path_prefix: /things/, methods: [PUT, DELETE] }"),
    ("prefix", "{ path_prefix: /things/ }"),
    ("regex", "{ path_regex: \"^/item/[0-9]+$\" }"),
    ("header", "{ headers: { x-kind: gold } }"),
    ("any-header", "{ headers: { x-other: \"*\" } }"),
    ("query", "{ query: { colour: deep blue } }"),
    (
        "all-at-once",
        "{ hosts: [all.test], path_prefix: /a, methods: [POST], headers: { x: y }, query: { q: \"1\" } }",
    ),
];

fn yaml() -> String {
    let routes = ROUTES.map(|(name, matches)| {
        format!("  - {{ name: {name}, match: {matches}, respond: {{ status: 200, body: {name} }} }}\n")
    });
    format!("routes:\n{}", routes.concat())
}

/// Method, target, further fields, and the route that is to take it; nothing for 404.
const REQUESTS: [(&str, &str, &str, &str); 37] = [
    ("GET", "/exact", "Host: any", "exact-path"),
    ("GET", "/exact?x=y", "Host: any", "exact-path"),
    ("GET", "/exact/", "Host: any", "below-exact-path"),
    ("GET", "/exact/more", "Host: any", "below-exact-path"),
    ("GET", "/exactly", "Host: any", ""),
    ("GET", "/Exact", "Host: any", ""),
    ("GET", "/exact", "Host: one.test", "exact-path"),
    ("GET", "/", "Host: one.test", "host"),
    ("GET", "/", "Host: ONE.Test", "host"),
    ("GET", "/", "Host: one.test:8080", "host"),
    ("GET", "/", "Host: one.test.", "host"),
    ("GET", "http://one.test/", "Host: one.test", "host"),
    ("GET", "http://one.test", "Host: one.test", "host"),
    ("GET", "/", "Host: two.one.test", ""),
    ("GET", "/", "Host: deep.wild.test", "host-below-wildcard"),
    ("GET", "/", "Host: flat.wild.test", "wildcard"),
    ("GET", "/", "Host: very.deep.wild.test", "wildcard"),
    ("GET", "/", "Host: wild.test", ""),
    ("GET", "/", "Host: notwild.test", ""),
    ("PUT", "/things/1", "Host: any", "method"),
    ("DELETE", "/things/1", "Host: any", "method"),
    ("GET", "/things/1", "Host: any", "prefix"),
    ("PUT", "/things/1", "Host: one.test", "host"),
    ("GET", "/item/42", "Host: any", "regex"),
    ("GET", "/item/42?q", "Host: any", "regex"),
    ("GET", "/item/42/more", "Host: any", ""),
    ("GET", "/item/x", "Host: any", ""),
    ("GET", "/", "Host: any\r\nX-Kind: gold", "header"),
    ("GET", "/", "Host: any\r\nX-Kind: Gold", ""),
    ("GET", "/", "Host: any\r\nX-Other: whatever", "any-header"),
    ("GET", "/?colour=deep+blue", "Host: any", "query"),
    ("GET", "/?a=b&colour=deep%20blue", "Host: any", "query"),
    ("GET", "/?colour=deep", "Host: any", ""),
    ("POST", "/a/b?q=1", "Host: all.test\r\nX: y\r\nContent-Length: 0", "all-at-once"),
    ("GET", "/a/b?q=1", "Host: all.test\r\nX: y", ""),
    ("POST", "/a/b?q=2", "Host: all.test\r\nX: y\r\nContent-Length: 0", ""),
    ("POST", "/b?q=1", "Host: all.test\r\nX: y\r\nContent-Length: 0", ""),
];

#[tokio::test]
async fn the_first_route_that_matches_wins() {
    let balancer = Balancer::start(&yaml()).await;
    // One connection for all: a 404 does not end it either.
    let mut client = balancer.client().await;
    let mut wrong = Vec::new();
    for (method, target, fields, route) in REQUESTS {
        let answer = client.ask(format!("{method} {target} HTTP/1.1\r\n{fields}\r\n\r\n")).await;
        let found = match answer.status() {
            200 => answer.text(),
            404 => String::new(),
            status => format!("status {status}"),
        };
        if found != route {
            wrong.push(format!("{method} {target} {fields:?}: expected {route:?}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let records = balancer.log_lines(REQUESTS.len()).await;
    for ((method, target, _, route), record) in REQUESTS.iter().zip(records) {
        assert_eq!(record["route"].as_str().unwrap_or_default(), *route, "{method} {target}: {record}");
    }
}

#[tokio::test]
async fn the_order_of_routes_decides_and_not_their_precision() {
    let wide_first = "\
routes:
  - { name: wide, match: { path_prefix: / , headers: { x-wide: \"*\" } }, respond: { body: wide } }
  - { name: narrow, match: { path: /exact/path, hosts: [a.test] }, respond: { body: narrow } }
";
    let balancer = Balancer::start(wide_first).await;
    let mut client = balancer.client().await;
    let mut ask = async |fields: &str| {
        client.ask(format!("GET /exact/path HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")).await.text()
    };
    assert_eq!(ask("X-Wide: 1\r\n").await, "wide");
    assert_eq!(ask("").await, "narrow");
}

#[tokio::test]
async fn without_a_host_only_routes_for_every_host_match() {
    let balancer = Balancer::start(
        "routes:\n  - { name: one, match: { hosts: [one.test] }, respond: { body: one } }\n  \
         - { name: old, match: { path: /old }, respond: { body: old } }\n",
    )
    .await;
    let ask = async |request: &str| Client::connect(balancer.address()).await.ask(request).await;
    assert_eq!(ask("GET /old HTTP/1.0\r\n\r\n").await.text(), "old");
    assert_eq!(ask("GET / HTTP/1.0\r\n\r\n").await.status(), 404);
    assert_eq!(ask("GET / HTTP/1.0\r\nHost: one.test\r\n\r\n").await.text(), "one");
    assert_eq!(get(balancer.address(), "/").await.status(), 404);
}
