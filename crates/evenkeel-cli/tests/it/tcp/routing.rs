//! Routes by what a client of TLS asks for, without decryption and with it.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::backends::{Front, Peer, Way, read};
use crate::support::{Authority, Balancer, assert_lasted, in_time};

/// Three TLS backends and a plain one, with routes to them.
struct Routed {
    balancer: Balancer,
    authority: Authority,
    _backends: [Peer; 4],
    _folder: tempfile::TempDir,
}

impl Routed {
    /// `rest` is what connections that no route takes get.
    async fn start(rest: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::new(folder.path());
        let pair = |name: &str| authority.pair(name, &[&format!("{name}.test"), "broker.test"]);
        let backends = [
            Peer::secure("one", &pair("one")).await,
            Peer::secure("two", &pair("two")).await,
            Peer::secure("broker", &pair("three")).await,
            Peer::named("plain").await,
        ];
        let [one, two, broker, plain] = backends.each_ref().map(Peer::url);
        let balancer = Balancer::start(&format!(
            "listeners:\n\
             - address: 127.0.0.1:0\n  \
               protocol: tcp\n  \
               tcp:\n    \
                 client_hello_timeout: 300ms\n    \
                 routes:\n    \
                 - {{ server_names: [one.test], upstream: one }}\n    \
                 - {{ server_names: ['*.test'], alpn: [mqtt], upstream: broker }}\n    \
                 - {{ server_names: [two.test], upstream: two }}\n    \
                 {rest}\n\
             upstreams: {{ one: {{ backends: [\"{one}\"] }}, two: {{ backends: [\"{two}\"] }}, \
             broker: {{ backends: [\"{broker}\"] }}, plain: {{ backends: [\"{plain}\"] }} }}"
        ))
        .await;
        Self { balancer, authority, _backends: backends, _folder: folder }
    }

    async fn plain(&self) -> TcpStream {
        in_time("connect", TcpStream::connect(self.balancer.address())).await.expect("a connection")
    }
}

#[tokio::test]
async fn the_name_and_the_protocol_of_a_client_pick_the_upstream() {
    let routed = Routed::start("").await;
    let (client, address) = (routed.authority.client(), routed.balancer.address());
    for (name, expected) in [("one.test", "one"), ("two.test", "two"), ("ONE.test", "one")] {
        let mut stream = client.handshake(address, name).await.expect("the backend's handshake");
        assert_eq!(read(&mut stream, expected.len()).await, expected);
        stream.write_all(b"x").await.unwrap();
        assert_eq!(read(&mut stream, 1).await, "x");
    }
    let mqtt = client.with(|config| config.alpn_protocols = vec![b"mqtt".to_vec()]);
    let mut stream = mqtt.handshake(address, "broker.test").await.expect("the backend's handshake");
    assert_eq!(read(&mut stream, 6).await, "broker");
    assert_eq!(
        stream.get_ref().1.alpn_protocol(),
        Some(&b"mqtt"[..]),
        "the backend agrees, not the balancer"
    );
    drop(stream);
    let records = routed.balancer.log_lines(4).await;
    let named = |record: &&serde_json::Value| record["tls_server_name"] == "broker.test";
    let record = records.iter().find(named).expect("the name of the client");
    assert_eq!(record["upstream"], "broker");
}

#[tokio::test]
async fn a_name_without_a_route_is_refused_with_an_alert() {
    let routed = Routed::start("").await;
    let client = routed.authority.client();
    let error = client.handshake(routed.balancer.address(), "three.test").await.expect_err("no route");
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    assert_eq!(routed.balancer.log_line().await["end"], "refused=no_route");
}

#[tokio::test]
async fn what_is_no_tls_goes_to_the_default_or_nowhere() {
    for (rest, expected) in [("upstream: plain", "plain"), ("", "")] {
        let routed = Routed::start(rest).await;
        for first in [&b"SELECT 1"[..], b"\x16\x03\x01\x00\x00garbage", b"\x16\x02"] {
            let mut stream = routed.plain().await;
            stream.write_all(first).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut said = Vec::new();
            // Where it goes nowhere, the bytes that no program has read make it a reset.
            let _ = in_time("the end", stream.read_to_end(&mut said)).await;
            let whole = match expected {
                "" => Vec::new(),
                greeting => [greeting.as_bytes(), first].concat(),
            };
            assert_eq!(said, whole, "{first:?} with {rest:?}");
        }
        let end = if expected.is_empty() { "refused=no_route" } else { "ok" };
        let records = routed.balancer.log_lines(3).await;
        assert!(records.iter().all(|record| record["end"] == end), "{records:?}");
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_goes_to_the_default_after_a_while() {
    for (rest, end) in [("upstream: plain", ""), ("", "timeout=client_hello")] {
        let routed = Routed::start(rest).await;
        let mut stream = routed.plain().await;
        let begun = Instant::now();
        if end.is_empty() {
            assert_eq!(read(&mut stream, 5).await, "plain");
        } else {
            assert!(!matches!(in_time("the end", stream.read(&mut [0; 1])).await, Ok(1..)));
            assert_eq!(routed.balancer.log_line().await["end"], end);
        }
        assert_lasted("client_hello_timeout", begun.elapsed(), Duration::from_millis(300));
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_hello_is_recorded() {
    let routed = Routed::start("upstream: plain").await;
    let mut stream = routed.plain().await;
    stream.write_all(b"\x16\x03\x01\x01\x00\x01").await.unwrap();
    drop(stream);
    let record = routed.balancer.log_line().await;
    assert_eq!((&record["end"], record.get("upstream")), (&"client_left".into(), None), "{record}");
}

#[tokio::test]
async fn a_listener_that_speaks_tls_itself_routes_by_the_name_too() {
    let (one, two) = (Peer::named("one").await, Peer::named("two").await);
    let listener = "tcp: { routes: [{ server_names: [one.test], upstream: one }], upstream: two }";
    let upstreams = format!(
        "upstreams: {{ one: {{ backends: [\"{}\"] }}, two: {{ backends: [\"{}\"] }} }}",
        one.url(),
        two.url()
    );
    let front = Front::with(Way::Tls, listener, &upstreams).await;
    for (name, expected) in [("one.test", "one"), ("two.test", "two")] {
        let mut stream = front.connect_as(name).await;
        assert_eq!(read(&mut stream, 3).await, expected);
    }
}
