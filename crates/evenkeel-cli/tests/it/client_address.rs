//! The client's address: the same value in the log and at backends. No client can claim another.

#![cfg(test)]

use std::net::{IpAddr, SocketAddr};

use crate::support::{Backend, Balancer, Client, Message};

const TRUSTING: &str = "trusted_proxies: [127.0.0.1, 10.0.0.0/8, \"2001:db8:1::/48\"]";

/// What a client claims, who it is taken for, and the `X-Forwarded-For` that the backend gets.
type Row = (&'static [&'static str], &'static str, &'static str);

#[tokio::test]
async fn a_trusted_peer_is_believed_up_to_the_first_hop_that_is_not() {
    let table: &[Row] = &[
        (&[], "127.0.0.1", "127.0.0.1"),
        (&["X-Forwarded-For: 192.0.2.7"], "192.0.2.7", "192.0.2.7, 127.0.0.1"),
        (&["X-Forwarded-For: 192.0.2.7, 10.1.1.1"], "192.0.2.7", "192.0.2.7, 10.1.1.1, 127.0.0.1"),
        (
            &["X-Forwarded-For: 6.6.6.6,192.0.2.7,10.1.1.1"],
            "192.0.2.7",
            "6.6.6.6,192.0.2.7,10.1.1.1, 127.0.0.1",
        ),
        (
            &["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 192.0.2.7"],
            "192.0.2.7",
            "6.6.6.6, 192.0.2.7, 127.0.0.1",
        ),
        (&["X-Forwarded-For: 10.1.1.1, 10.1.1.2"], "10.1.1.1", "10.1.1.1, 10.1.1.2, 127.0.0.1"),
        (&["X-Forwarded-For: 192.0.2.7:4711"], "192.0.2.7", "192.0.2.7:4711, 127.0.0.1"),
        (&["X-Forwarded-For: 2001:db8::7"], "2001:db8::7", "2001:db8::7, 127.0.0.1"),
        (&["X-Forwarded-For: [2001:db8::7]"], "2001:db8::7", "[2001:db8::7], 127.0.0.1"),
        (&["X-Forwarded-For: [2001:DB8::7]:4711"], "2001:db8::7", "[2001:DB8::7]:4711, 127.0.0.1"),
        (&["X-Forwarded-For: 192.0.2.7, 2001:db8:1::2"], "192.0.2.7", "192.0.2.7, 2001:db8:1::2, 127.0.0.1"),
        (&["X-Forwarded-For: ::ffff:192.0.2.7"], "192.0.2.7", "::ffff:192.0.2.7, 127.0.0.1"),
        (
            &["X-Forwarded-For: 192.0.2.7, ::ffff:10.1.1.1"],
            "192.0.2.7",
            "192.0.2.7, ::ffff:10.1.1.1, 127.0.0.1",
        ),
        (&["X-Forwarded-For: unknown"], "127.0.0.1", "unknown, 127.0.0.1"),
        (&["X-Forwarded-For: 192.0.2.7, unknown"], "127.0.0.1", "192.0.2.7, unknown, 127.0.0.1"),
        (&["X-Forwarded-For: 192.0.2.7, x, 10.1.1.1"], "10.1.1.1", "192.0.2.7, x, 10.1.1.1, 127.0.0.1"),
        (&["X-Forwarded-For: 999.1.1.1"], "127.0.0.1", "999.1.1.1, 127.0.0.1"),
        (&["X-Forwarded-For: 192.0.2.7", "Forwarded: for=6.6.6.6"], "192.0.2.7", "192.0.2.7, 127.0.0.1"),
        (&["Forwarded: for=192.0.2.60"], "192.0.2.60", "192.0.2.60, 127.0.0.1"),
        (
            &["Forwarded: proto=http; For=\"[2001:db8:cafe::17]:4711\""],
            "2001:db8:cafe::17",
            "2001:db8:cafe::17, 127.0.0.1",
        ),
        (
            &["Forwarded: for=6.6.6.6, for=192.0.2.60;by=10.1.1.1, for=10.1.1.2"],
            "192.0.2.60",
            "6.6.6.6, 192.0.2.60, 10.1.1.2, 127.0.0.1",
        ),
        (&["Forwarded: for=unknown"], "127.0.0.1", "unknown, 127.0.0.1"),
        (&["Forwarded: for=_hidden, for=10.1.1.1"], "10.1.1.1", "unknown, 10.1.1.1, 127.0.0.1"),
        (&["Forwarded: nonsense"], "127.0.0.1", "unknown, 127.0.0.1"),
        (&["Forwarded: for=192.0.2.60;host=\"a, for=6.6.6.6\""], "192.0.2.60", "192.0.2.60, 127.0.0.1"),
        (&["Forwarded: host=\"a;for=6.6.6.6\";for=192.0.2.60"], "192.0.2.60", "192.0.2.60, 127.0.0.1"),
    ];
    check(TRUSTING, "127.0.0.1", table).await;
}

#[tokio::test]
async fn an_untrusted_peer_is_who_it_is_whatever_it_says() {
    let table: &[Row] = &[
        (&[], "127.0.0.2", "127.0.0.2"),
        (&["X-Forwarded-For: 192.0.2.7"], "127.0.0.2", "127.0.0.2"),
        (&["X-Forwarded-For: 192.0.2.7, 127.0.0.1"], "127.0.0.2", "127.0.0.2"),
        (&["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 10.1.1.1"], "127.0.0.2", "127.0.0.2"),
        (&["X-Forwarded-For: unknown"], "127.0.0.2", "127.0.0.2"),
        (&["x-FORWARDED-for: garbage"], "127.0.0.2", "127.0.0.2"),
        (&["Forwarded: for=192.0.2.60"], "127.0.0.2", "127.0.0.2"),
        (&["X-Real-IP: 192.0.2.7"], "127.0.0.2", "127.0.0.2"),
    ];
    for trusted in ["", TRUSTING] {
        check(trusted, "127.0.0.2", table).await;
    }
}

async fn check(trusted: &str, source: &str, table: &[Row]) {
    let backend = Backend::saying("hello").await;
    let yaml = format!("{trusted}\nupstreams: {{ web: {{ backends: [\"{}\"] }} }}", backend.url());
    let balancer = Balancer::start(&yaml).await;
    for (number, (fields, client, forwarded)) in table.iter().enumerate() {
        let target = format!("/{number}");
        let mut connection = Client::connect_from(ip(source), balancer.address()).await;
        let response = connection.ask(request(&target, fields)).await;
        assert_eq!(response.status(), 200, "{fields:?}");
        let record = balancer.log_line_of(&target).await;
        assert_eq!(record["client"], *client, "{fields:?}, trusted: {trusted:?}");
        assert_eq!(backend.last_request().header("x-forwarded-for"), Some(*forwarded), "{fields:?}");
    }
}

#[tokio::test]
async fn what_an_untrusted_peer_says_of_itself_is_replaced_or_removed() {
    let seen = told_to_backend("", FULL_OF_CLAIMS).await;
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("test"));
    for gone in
        ["x-real-ip", "x-forwarded-port", "x-forwarded-server", "x-forwarded-prefix", "forwarded", "via"]
    {
        assert_eq!(seen.all(gone), [""; 0], "{gone}");
    }
    let raw = String::from_utf8_lossy(&seen.raw).into_owned();
    assert!(!raw.contains("6.6.6.6") && !raw.contains("spoofed"), "{raw}");
}

#[tokio::test]
async fn what_a_trusted_peer_says_is_kept() {
    let seen = told_to_backend(TRUSTING, FULL_OF_CLAIMS).await;
    assert_eq!(seen.header("x-forwarded-for"), Some("6.6.6.6, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("spoofed.example"));
    assert_eq!(seen.header("x-forwarded-port"), Some("6666"));
    assert_eq!(seen.header("x-real-ip"), Some("6.6.6.6"));
    assert_eq!(seen.header("forwarded"), Some("for=6.6.6.6"));
    assert_eq!(seen.header("x-request-id"), Some("spoofed-id"));
}

const FULL_OF_CLAIMS: &[&str] = &[
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: spoofed.example",
    "X-Forwarded-Port: 6666",
    "X-Forwarded-Server: spoofed",
    "X-Forwarded-Prefix: /spoofed",
    "X-Real-IP: 6.6.6.6",
    "Forwarded: for=6.6.6.6",
    "X-Request-Id: spoofed-id",
];

#[tokio::test]
async fn the_request_id_is_one_for_backend_and_log_and_only_a_trusted_peer_gives_it() {
    let long = format!("X-Request-Id: {}", "a".repeat(129));
    for (trusted, given, kept) in [
        ("", vec![], false),
        ("", vec!["X-Request-Id: abc"], false),
        (TRUSTING, vec![], false),
        (TRUSTING, vec!["X-Request-Id: abc"], true),
        (TRUSTING, vec!["X-Request-Id: a b"], false),
        (TRUSTING, vec!["X-Request-Id: a\"b"], false),
        (TRUSTING, vec![long.as_str()], false),
    ] {
        let backend = Backend::saying("hello").await;
        let balancer = before(trusted, &backend).await;
        balancer.client().await.ask(request("/", &given)).await;
        let seen = backend.only_request();
        let id = seen.header("x-request-id").expect("an id");
        assert_eq!(balancer.log_line().await["request_id"], id, "{given:?}");
        assert_eq!(id == "abc", kept, "{given:?} gave {id}");
        assert!(kept || id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{given:?}: {id}");
    }
}

#[tokio::test]
async fn forwarded_and_via_are_sent_when_asked_for() {
    let asked = "forwarding: { forwarded: true, via: keel }";
    let claims = &["Forwarded: for=6.6.6.6", "Via: 1.0 older"];
    let seen = told_to_backend(asked, claims).await;
    assert_eq!(seen.header("forwarded"), Some("for=127.0.0.1;host=\"test\";proto=http"));
    assert_eq!(seen.header("via"), Some("1.0 older, 1.1 keel"));
    let seen = told_to_backend(&format!("{asked}\n{TRUSTING}"), claims).await;
    assert_eq!(seen.header("forwarded"), Some("for=6.6.6.6, for=127.0.0.1;host=\"test\";proto=http"));
}

#[tokio::test]
async fn via_is_added_to_answers_too() {
    let backend = Backend::start(|_| {
        crate::support::Reply::bytes("HTTP/1.1 200 OK\r\nVia: 1.1 inner\r\nContent-Length: 0\r\n\r\n")
    })
    .await;
    let balancer = before("forwarding: { via: keel }", &backend).await;
    assert_eq!(balancer.get("/").await.header("via"), Some("1.1 inner, 1.1 keel"));
}

#[tokio::test]
async fn on_a_listener_for_both_families_an_ipv4_client_is_an_ipv4_client() {
    for trusted in ["", TRUSTING] {
        let backend = Backend::saying("hello").await;
        let balancer = before(&format!("{trusted}\nlisteners: [{{ address: \"[::]:0\" }}]"), &backend).await;
        let port = balancer.address().port();
        let v4 = SocketAddr::from(([127, 0, 0, 1], port));
        crate::support::send(v4, request("/v4", &["X-Forwarded-For: 192.0.2.7"])).await;
        let expected = if trusted.is_empty() { "127.0.0.1" } else { "192.0.2.7" };
        assert_eq!(balancer.log_line_of("/v4").await["client"], expected);
        let forwarded = backend.last_request().header("x-forwarded-for").map(str::to_owned);
        assert_eq!(forwarded.as_deref().and_then(|value| value.rsplit(", ").next()), Some("127.0.0.1"));
    }
}

#[tokio::test]
async fn an_ipv6_client_is_told_as_such() {
    let backend = Backend::saying("hello").await;
    let listener = "listeners: [{ address: \"[::1]:0\" }]\nforwarding: { forwarded: true }";
    let balancer = before(listener, &backend).await;
    balancer.get("/").await;
    assert_eq!(balancer.log_line().await["client"], "::1");
    let seen = backend.only_request();
    assert_eq!(seen.header("x-forwarded-for"), Some("::1"));
    assert_eq!(seen.header("forwarded"), Some("for=\"[::1]\";host=\"test\";proto=http"));
}

#[tokio::test]
async fn behind_a_unix_socket_there_is_no_address_and_no_claim_gets_through() {
    let backend = Backend::saying("hello").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keel.sock");
    let listener = format!("listeners: [{{ address: \"unix:{}\" }}]\n{TRUSTING}", path.display());
    let balancer = before(&listener, &backend).await;
    let mut client = Client::unix(&path).await;
    assert_eq!(client.ask(request("/", FULL_OF_CLAIMS)).await.status(), 200);
    let seen = backend.only_request();
    assert_eq!(seen.header("x-forwarded-for"), None);
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    let raw = String::from_utf8_lossy(&seen.raw).into_owned();
    assert!(!raw.contains("6.6.6.6") && !raw.contains("spoofed"), "{raw}");
    assert_eq!(balancer.log_line().await.get("client"), None);
}

#[tokio::test]
async fn a_trusted_peer_on_a_unix_socket_tells_who_the_client_is() {
    let backend = Backend::saying("hello").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keel.sock");
    let listener =
        format!("listeners: [{{ address: \"unix:{}\" }}]\ntrusted_proxies: [unix]", path.display());
    let balancer = before(&listener, &backend).await;
    let mut client = Client::unix(&path).await;
    let fields = ["X-Forwarded-For: 6.6.6.6, 192.0.2.7", "X-Forwarded-Proto: https"];
    assert_eq!(client.ask(request("/", &fields)).await.status(), 200);
    let seen = backend.only_request();
    assert_eq!(seen.header("x-forwarded-for"), Some("6.6.6.6, 192.0.2.7"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(balancer.log_line().await["client"], "192.0.2.7");
}

#[tokio::test]
async fn every_header_names_the_client_that_the_log_names() {
    let seen = told_to_backend(TRUSTING, &["Forwarded: for=192.0.2.60;proto=https"]).await;
    assert_eq!(seen.header("x-forwarded-for"), Some("192.0.2.60, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    let both = ["X-Forwarded-For: 192.0.2.7", "Forwarded: for=6.6.6.6"];
    let seen = told_to_backend(TRUSTING, &both).await;
    assert_eq!(seen.header("x-forwarded-for"), Some("192.0.2.7, 127.0.0.1"));
    assert_eq!(seen.header("forwarded"), None, "the proxy wrote the other header");
}

async fn told_to_backend(yaml: &str, fields: &[&str]) -> Message {
    let backend = Backend::saying("hello").await;
    let balancer = before(yaml, &backend).await;
    let response = balancer.client().await.ask(request("/", fields)).await;
    assert_eq!(response.status(), 200);
    backend.only_request()
}

async fn before(yaml: &str, backend: &Backend) -> Balancer {
    Balancer::start(&format!("{yaml}\nupstreams: {{ web: {{ backends: [\"{}\"] }} }}", backend.url())).await
}

fn request(target: &str, fields: &[&str]) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[tokio::test]
async fn the_host_that_a_trusted_peer_names_in_forwarded_is_passed_on() {
    let table: &[(&[&str], &str)] = &[
        (&["Forwarded: for=192.0.2.60;host=shop.example;proto=https"], "shop.example"),
        (
            &["Forwarded: for=192.0.2.60;host=\"shop.example:8443\", for=127.0.0.1;host=inner.test"],
            "shop.example:8443",
        ),
        (&["Forwarded: for=192.0.2.60;host=\"a b\""], "test"),
        (&["Forwarded: for=192.0.2.60"], "test"),
        (&["Forwarded: for=192.0.2.60;host=a.test", "X-Forwarded-For: 192.0.2.60"], "test"),
        (&["Forwarded: for=192.0.2.60;host=a.test", "X-Forwarded-Host: b.test"], "b.test"),
    ];
    for (fields, host) in table {
        let seen = told_to_backend(TRUSTING, fields).await;
        assert_eq!(seen.header("x-forwarded-host"), Some(*host), "{fields:?}");
    }
    let seen = told_to_backend("", &["Forwarded: for=192.0.2.60;host=shop.example"]).await;
    assert_eq!(seen.header("x-forwarded-host"), Some("test"));
}
