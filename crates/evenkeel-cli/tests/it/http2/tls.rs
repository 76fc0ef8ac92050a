//! HTTP/2 over TLS: what the handshake results in is what is spoken.

use crate::support::http2::{Http2, request};
use crate::support::tls::listener;
use crate::support::{Authority, Backend, Balancer};

#[tokio::test]
async fn the_handshake_says_which_version_is_spoken() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new(folder.path());
    let pair = authority.pair("www", &["test"]);
    let backend = Backend::saying("fine").await;
    let balancer = Balancer::start(&format!(
        "{}upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        listener(&[&pair], ""),
        backend.url()
    ))
    .await;
    let offering = |protocols: &[&str]| {
        let protocols: Vec<_> = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        authority.client().with(|config| config.alpn_protocols = protocols)
    };
    let stream = offering(&["h2", "http/1.1"]).handshake(balancer.address(), "test").await.expect("TLS");
    let mut client = Http2::over(stream).await;
    assert_eq!(client.get("/").await.text(), "fine");
    let mut post = request("POST", "/post");
    *post.uri_mut() = "https://test/post".parse().expect("a URI");
    assert_eq!(client.ask(post).await.status(), 200);
    let seen = backend.last_request();
    assert_eq!((seen.header("x-forwarded-proto"), seen.header("host")), (Some("https"), Some("test")));
    let records = balancer.log_lines(2).await;
    assert_eq!((&records[1]["protocol"], &records[1]["stream"]), (&"HTTP/2.0".into(), &3.into()));
    let mut client = offering(&["http/1.1"]).connect(balancer.address(), "test").await;
    assert_eq!(client.get("/").await.text(), "fine");
    let mut client = authority.client().connect(balancer.address(), "test").await;
    assert_eq!(client.get("/").await.text(), "fine");
}

#[tokio::test]
async fn a_request_that_belongs_on_a_connection_with_another_certificate_is_sent_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new(folder.path());
    let (one, two) = (
        authority.pair("one", &["one.test", "shared.test", "*.wild.test"]),
        authority.pair("two", &["two.test", "shared.test", "a.wild.test"]),
    );
    let backend = Backend::saying("fine").await;
    let upstream = format!("upstreams: {{ web: {{ backends: [\"{}\"] }} }}", backend.url());
    let offering = |protocol: &str| {
        authority.client().with(|config| config.alpn_protocols = vec![protocol.as_bytes().to_vec()])
    };
    for (pairs, misdirected) in [(vec![&one, &two], 421), (vec![&one], 200)] {
        let balancer = Balancer::start(&(listener(&pairs, "") + &upstream)).await;
        // The second round resumes the session of the first.
        for _ in 0..2 {
            let stream = offering("h2").handshake(balancer.address(), "one.test").await.expect("TLS");
            let mut client = Http2::over(stream).await;
            for (host, status) in [
                ("one.test", 200),
                ("ONE.test:8443", 200),
                ("two.test", misdirected),
                ("TWO.test:8443", misdirected),
                ("shared.test", 200),
                ("a.wild.test", 200),
                ("b.wild.test", 200),
                ("unknown.test", 200),
                ("one.test", 200),
            ] {
                let mut get = request("GET", "/");
                *get.uri_mut() = format!("https://{host}/").parse().expect("a URI");
                assert_eq!(client.ask(get).await.status(), status, "{host}");
            }
        }
        // HTTP/1.1 has one host on a connection, and clients that do not verify it.
        let mut client = offering("http/1.1").connect(balancer.address(), "one.test").await;
        let response = client.ask("GET / HTTP/1.1\r\nHost: two.test\r\n\r\n").await;
        assert_eq!(response.status(), 200);
    }
}
