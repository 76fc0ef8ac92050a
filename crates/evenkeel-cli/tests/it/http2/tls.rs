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
