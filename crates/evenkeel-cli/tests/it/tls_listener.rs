//! Listeners that speak TLS: certificates by name, versions, resumption, handshakes that fail, and HTTP over it.

#![cfg(test)]

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion, SignatureScheme, version};

use crate::support::tls::listener;
use crate::support::{Authority, Backend, Balancer, Client, PATIENCE, Pair, Reply, TlsClient, eventually};

/// An authority, a pair of its own, and a folder that holds them.
struct Setup {
    authority: Authority,
    pair: Pair,
    folder: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::new(folder.path());
        let pair = authority.pair("www", &["www.example.com", "example.com"]);
        Self { authority, pair, folder }
    }

    /// A balancer over TLS in front of this backend.
    async fn before(&self, backend: &Backend, more: &str) -> Balancer {
        Balancer::start(&self.yaml(backend, more)).await
    }

    fn yaml(&self, backend: &Backend, more: &str) -> String {
        format!(
            "{}upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
            listener(&[&self.pair], more),
            backend.url()
        )
    }
}

fn with_alpn(client: &TlsClient, protocols: &[&str]) -> TlsClient {
    client.with(|config| config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect())
}

/// Waits until the page of metrics has this line.
async fn metric(balancer: &Balancer, line: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = balancer.metrics().await;
        if page.lines().any(|known| known.contains(line)) {
            return;
        }
        let tls: Vec<_> = page.lines().filter(|line| line.contains("_tls_")).collect();
        assert!(Instant::now() < deadline, "no {line} in\n{}", tls.join("\n"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn requests_over_tls_are_like_others_and_say_so() {
    let setup = Setup::new();
    let backend = Backend::saying("hello").await;
    let balancer = setup.before(&backend, "").await;
    for (versions, name) in [(&version::TLS12, "TLSv1.2"), (&version::TLS13, "TLSv1.3")] {
        let client = setup.authority.client_of(&[versions]);
        let mut client = client.connect(balancer.address(), "www.example.com").await;
        for _ in 0..3 {
            let response = client.get(&format!("/{name}")).await;
            assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
        }
        let seen = backend.requests().pop().expect("a request");
        assert_eq!(seen.message.header("x-forwarded-proto"), Some("https"));
        let record = balancer.log_line_of(&format!("/{name}")).await;
        assert_eq!(record["tls_version"], name);
        assert_eq!(record["tls_server_name"], "www.example.com");
        assert_eq!(record["tls_resumed"], "no");
        let cipher = record["tls_cipher"].as_str().expect("a name");
        assert!(cipher.starts_with("TLS_") && cipher.contains("GCM"), "{cipher}");
    }
    metric(&balancer, "evenkeel_tls_handshakes_total").await;
}

#[tokio::test]
async fn a_client_receives_the_certificate_for_the_name_that_it_asks_for() {
    let setup = Setup::new();
    let folder = &setup.authority;
    let wild = folder.pair("wild", &["*.example.com"]);
    let api = folder.pair("api", &["api.example.com"]);
    let rsa = folder.rsa("www-rsa", &["www.example.com"]);
    let backend = Backend::saying("ok").await;
    let upstream = format!("upstreams: {{ web: {{ backends: [\"{}\"] }} }}", backend.url());
    let pairs = [&setup.pair, &wild, &rsa, &api];
    let lax = Balancer::start(&format!("{}{upstream}", listener(&pairs, ""))).await;
    let strict = Balancer::start(&format!("{}{upstream}", listener(&pairs, ", strict_sni: true"))).await;
    let der = |pair: &Pair| {
        let pem = std::fs::read(&pair.cert).expect("a file");
        first_der(&pem)
    };
    let client = setup.authority.client();
    for (name, expected) in [
        ("www.example.com", Some(&setup.pair)),
        ("WWW.Example.COM", Some(&setup.pair)),
        ("example.com", Some(&setup.pair)),
        ("api.example.com", Some(&api)),
        ("x.example.com", Some(&wild)),
    ] {
        for balancer in [&lax, &strict] {
            let stream = client.handshake(balancer.address(), name).await.expect("a handshake");
            let shown = stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec();
            assert_eq!(Some(shown), expected.map(der), "{name}");
        }
    }
    // The first certificate is for other names; a client that checks it does not accept it.
    for name in ["example.org", "x.y.example.com", "127.0.0.1"] {
        assert!(client.handshake(lax.address(), name).await.is_err(), "{name}");
        assert!(client.handshake(strict.address(), name).await.is_err(), "{name}");
    }
    metric(&lax, "cause=\"certificate_rejected\"} 3").await;
    metric(&strict, "cause=\"server_name\"} 3").await;
    // Where a client does not support ECDSA, the certificate with an RSA key is for it.
    let old = only_rsa(&setup.authority);
    let stream = old.handshake(lax.address(), "www.example.com").await.expect("a handshake");
    assert_eq!(stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec(), der(&rsa));
}

/// The first certificate of a PEM file.
fn first_der(pem: &[u8]) -> Vec<u8> {
    use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
    CertificateDer::from_pem_slice(pem).expect("a certificate").to_vec()
}

/// A client that does not know ECDSA.
fn only_rsa(authority: &Authority) -> TlsClient {
    authority.client_like(|provider| {
        let algorithms = &mut provider.signature_verification_algorithms;
        let is_other = |scheme: &SignatureScheme| {
            matches!(
                scheme,
                SignatureScheme::ECDSA_NISTP256_SHA256
                    | SignatureScheme::ECDSA_NISTP384_SHA384
                    | SignatureScheme::ECDSA_NISTP521_SHA512
                    | SignatureScheme::ED25519
            )
        };
        let rsa: Vec<_> =
            algorithms.mapping.iter().copied().filter(|(scheme, _)| !is_other(scheme)).collect();
        algorithms.mapping = Box::leak(rsa.into_boxed_slice());
    })
}

#[tokio::test]
async fn a_client_that_comes_back_resumes_its_session() {
    let setup = Setup::new();
    let backend = Backend::saying("ok").await;
    let yaml = setup.yaml(&backend, "");
    let balancer = Balancer::start(&yaml).await;
    for (versions, first) in [(&version::TLS12, HandshakeKind::Full), (&version::TLS13, HandshakeKind::Full)]
    {
        let client = setup.authority.client_of(&[versions]);
        for expected in [first, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            if expected == HandshakeKind::Resumed {
                // Tickets stay valid.
                balancer
                    .reload(&format!("{yaml}\nforwarding: {{ forwarded: true }}"))
                    .await
                    .expect("a reload");
            }
            let mut stream = client.handshake(balancer.address(), "example.com").await.expect("a handshake");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("sent");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.expect("a close that was announced");
            assert!(all.starts_with(b"HTTP/1.1 200"));
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected), "{versions:?}");
        }
    }
    metric(&balancer, "resumed=\"yes\"} 4").await;
    metric(&balancer, "resumed=\"no\"} 2").await;
}

#[tokio::test]
async fn only_the_configured_versions_suites_groups_and_protocols_are_agreed_to() {
    let setup = Setup::new();
    let backend = Backend::saying("ok").await;
    let limits = ", min_version: 1.3, cipher_suites: [TLS_AES_128_GCM_SHA256], groups: [secp256r1]";
    let balancer = setup.before(&backend, limits).await;
    let all = setup.authority.client();
    let stream = all.handshake(balancer.address(), "example.com").await.expect("a handshake");
    let agreed = stream.get_ref().1;
    assert_eq!(agreed.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let suite = agreed.negotiated_cipher_suite().expect("a suite").suite();
    assert_eq!(format!("{suite:?}"), "TLS13_AES_128_GCM_SHA256");
    let group = agreed.negotiated_key_exchange_group().expect("a group").name();
    assert_eq!(format!("{group:?}"), "secp256r1");
    assert_eq!(agreed.alpn_protocol(), None);
    let http = with_alpn(&all, &["spdy/1", "http/1.1"]);
    let stream = http.handshake(balancer.address(), "example.com").await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let old = setup.authority.client_of(&[&version::TLS12]);
    assert!(old.handshake(balancer.address(), "example.com").await.is_err());
    metric(&balancer, "cause=\"version\"} 1").await;
    let other = with_alpn(&all, &["spdy/1"]);
    assert!(other.handshake(balancer.address(), "example.com").await.is_err());
    metric(&balancer, "cause=\"protocol\"} 1").await;
}

#[tokio::test]
async fn by_default_the_key_exchange_can_withstand_quantum_computers() {
    let setup = Setup::new();
    let backend = Backend::saying("ok").await;
    let balancer = setup.before(&backend, "").await;
    let modern = setup.authority.client_like(|provider| {
        use tokio_rustls::rustls::crypto::aws_lc_rs::kx_group::{X25519, X25519MLKEM768};
        provider.kx_groups = vec![X25519MLKEM768, X25519];
    });
    let stream = modern.handshake(balancer.address(), "example.com").await.expect("a handshake");
    let group = stream.get_ref().1.negotiated_key_exchange_group().expect("a group").name();
    assert_eq!(format!("{group:?}"), "X25519MLKEM768");
}

#[tokio::test]
async fn a_handshake_that_fails_is_counted_by_its_cause_and_ends_in_time() {
    let setup = Setup::new();
    let backend = Backend::saying("ok").await;
    let balancer = setup.before(&backend, ", handshake_timeout: 300ms").await;
    let start = Instant::now();
    let mut silent = Client::connect(balancer.address()).await;
    let mut talker = TcpStream::connect(balancer.address()).await.expect("a connection");
    talker.write_all(&[22, 3, 1, 2, 0, 1]).await.expect("sent");
    assert!(silent.closed().await.is_empty());
    assert!(start.elapsed() >= Duration::from_millis(280), "{:?}", start.elapsed());
    metric(&balancer, "cause=\"timeout\"} 2").await;
    drop(TcpStream::connect(balancer.address()).await.expect("a connection"));
    metric(&balancer, "cause=\"client_left\"} 1").await;
    let mut plain = Client::connect(balancer.address()).await;
    plain.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    plain.closed().await;
    metric(&balancer, "cause=\"not_tls\"} 1").await;
    assert!(backend.requests().is_empty());
    // And others are served.
    let mut client = setup.authority.client().connect(balancer.address(), "example.com").await;
    assert_eq!(client.get("/").await.status(), 200);
}

#[tokio::test]
async fn no_more_handshakes_are_in_progress_than_allowed_and_the_others_wait() {
    let setup = Setup::new();
    let backend = Backend::saying("ok").await;
    let balancer = setup.before(&backend, ", max_handshakes: 1, handshake_timeout: 5s").await;
    // It has begun, and takes the only place.
    let mut slow = TcpStream::connect(balancer.address()).await.expect("a connection");
    slow.write_all(&[22, 3, 1, 2, 0, 1]).await.expect("sent");
    // One that says nothing takes none.
    let _silent = TcpStream::connect(balancer.address()).await.expect("a connection");
    let (address, client) = (balancer.address(), setup.authority.client());
    let waiting = tokio::spawn(async move { client.handshake(address, "example.com").await.is_ok() });
    eventually(PATIENCE, || setup.folder.path().exists()).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    drop(slow);
    assert!(waiting.await.expect("a task"), "it has its turn");
}

#[tokio::test]
async fn bodies_of_any_size_pass_both_ways() {
    let setup = Setup::new();
    let backend = Backend::start(|_| {
        Reply::new().read_body().send("HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n").fill(3_000_000)
    })
    .await;
    let balancer = setup.before(&backend, "").await;
    for versions in [&version::TLS12, &version::TLS13] {
        let client = setup.authority.client_of(&[versions]);
        let mut client = client.connect(balancer.address(), "example.com").await;
        for size in [0, 1, 16 * 1024, 1_000_000] {
            let head = format!("POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n");
            client.send(head).await;
            client.send(vec![b'x'; size]).await;
            let response = client.response().await;
            assert_eq!((response.status(), response.body_length, response.complete), (200, 3_000_000, true));
        }
        // One request behind the other, in one write.
        client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        for _ in 0..2 {
            assert_eq!(client.response().await.body_length, 3_000_000);
        }
    }
    let largest = backend.requests().iter().map(|seen| seen.message.body_length).max();
    assert_eq!(largest, Some(1_000_000));
}

#[tokio::test]
async fn a_connection_that_leaves_http_stays_encrypted_and_closes_one_half_at_a_time() {
    let setup = Setup::new();
    let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n";
    let backend = Backend::start(move |_| Reply::new().send(switched).echo()).await;
    let balancer = setup.before(&backend, "").await;
    let mut stream =
        setup.authority.client().handshake(balancer.address(), "example.com").await.expect("a handshake");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
        .await
        .expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    let message = vec![b'm'; 100_000];
    let (mut read, mut write) = tokio::io::split(stream);
    let sending = message.clone();
    let send = tokio::spawn(async move {
        write.write_all(&sending).await.expect("sent");
        write
    });
    let mut back = vec![0; message.len()];
    read.read_exact(&mut back).await.expect("an echo");
    assert!(back == message);
    let mut write = send.await.expect("a task");
    write.shutdown().await.expect("half a close");
    let mut rest = Vec::new();
    read.read_to_end(&mut rest).await.expect("a close that was announced");
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_taken_for_whole() {
    let setup = Setup::new();
    let backend = Backend::start(|seen| match seen.message.target() {
        "/whole" => Reply::new().send("HTTP/1.0 200 OK\r\n\r\nall of it").close(),
        _ => Reply::new().send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\na part").close(),
    })
    .await;
    let balancer = setup.before(&backend, "").await;
    for (target, is_whole) in [("/whole", true), ("/part", false)] {
        let mut stream =
            setup.authority.client().handshake(balancer.address(), "example.com").await.expect("TLS");
        let request = format!("GET {target} HTTP/1.0\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut all = Vec::new();
        let ended = stream.read_to_end(&mut all).await;
        if is_whole {
            ended.expect("a close that was announced");
            assert!(all.ends_with(b"all of it"));
        } else {
            // The length shows it in any case.
            let told = ended.is_err_and(|error| {
                matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
            });
            assert!(told || String::from_utf8_lossy(&all).contains("content-length: 100"));
        }
    }
}

#[tokio::test]
async fn redirects_and_cookies_know_that_the_client_speaks_tls() {
    let setup = Setup::new();
    let backend = Backend::saying("ok").await;
    let yaml = format!(
        "{}routes:\n- {{ name: old, match: {{ path: /old }}, redirect: {{ to: \"{{scheme}}://{{host}}/new\" }} }}\n\
         - {{ name: web, upstream: web }}\nupstreams: {{ web: {{ sticky: {{}}, backends: [\"{}\"] }} }}",
        listener(&[&setup.pair], ""),
        backend.url()
    );
    let balancer = Balancer::start(&yaml).await;
    let mut client = setup.authority.client().connect(balancer.address(), "example.com").await;
    assert_eq!(client.get("/old").await.header("location"), Some("https://test/new"));
    let cookie = client.get("/").await.header("set-cookie").expect("a cookie").to_owned();
    assert!(cookie.contains("Secure"), "{cookie}");
}

#[tokio::test]
async fn a_reload_changes_certificates_and_drops_no_connection() {
    let setup = Setup::new();
    let backend = Backend::saying("ok").await;
    let yaml = setup.yaml(&backend, "");
    let balancer = Balancer::start(&yaml).await;
    let client = setup.authority.client();
    let mut kept = client.connect(balancer.address(), "example.com").await;
    assert_eq!(kept.get("/").await.status(), 200);
    let other = setup.authority.pair("other", &["other.example.com"]);
    let changed = yaml.replace(&setup.pair.yaml(), &format!("{}, {}", setup.pair.yaml(), other.yaml()));
    assert_eq!(
        balancer.reload(&changed).await.expect("a reload"),
        ["listener 127.0.0.1:0 changed: tls.certificates"]
    );
    client.connect(balancer.address(), "other.example.com").await;
    assert_eq!(kept.get("/").await.status(), 200);
    // One that cannot be read changes nothing.
    std::fs::remove_file(&other.key).expect("a file");
    let error = balancer
        .reload(&format!("{changed}\nforwarding: {{ forwarded: true }}"))
        .await
        .expect_err("rejected");
    assert!(error.contains("other.key"), "{error}");
    client.connect(balancer.address(), "other.example.com").await;
    // TLS itself can come and go.
    balancer
        .reload(&format!("listeners: [{{ address: 127.0.0.1:0 }}]\n{}", yaml.lines().nth(1).unwrap()))
        .await
        .expect("a reload");
    assert_eq!(balancer.get("/").await.status(), 200);
    assert_eq!(kept.get("/").await.status(), 200);
}
