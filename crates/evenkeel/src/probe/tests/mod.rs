//! Probes over real sockets, of healthy peers and of peers that fail in every known way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_config::{CustomExtension, HealthCheck, HealthCheckKind, HttpCheck};
use evenkeel_core::backend::Address;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{Probe, ProbeError, ProbeFailure, Target, TlsTarget};

mod connections;
mod grpc;
mod hostile;
mod http1;
mod load;
mod made;
mod watch;

/// How long the probes of these tests wait: long enough for a busy machine, unless a test is about waiting.
const PATIENT: Duration = Duration::from_secs(10);
/// How long they wait for what never comes.
const SHORT: Duration = Duration::from_millis(200);

fn target(address: SocketAddr) -> Target {
    Target {
        address: Address::Tcp(address),
        url: format!("http://{address}"),
        host: address.to_string(),
        tls: None,
        names: None,
        header: None,
    }
}

fn check(kind: HealthCheckKind, timeout: Duration) -> HealthCheck {
    let mut check = HealthCheck::new(kind);
    check.timeout = timeout;
    check
}

fn probe(kind: HealthCheckKind, target: Target, timeout: Duration) -> Probe {
    Probe::new(&check(kind, timeout), target, None).expect("a probe")
}

fn http(edit: impl FnOnce(&mut HttpCheck)) -> HealthCheckKind {
    let mut check = HttpCheck::default();
    edit(&mut check);
    HealthCheckKind::Http(check)
}

fn grpc(service: &str) -> HealthCheckKind {
    HealthCheckKind::Grpc { service: service.to_owned() }
}

/// Runs a probe that must fail, and in time.
async fn reason(probe: &Probe) -> String {
    let began = Instant::now();
    let failed = probe.run().await.expect_err("a failure");
    assert!(began.elapsed() < probe.timeout + Duration::from_secs(5), "late: {failed}");
    failed.to_string()
}

/// A peer that does this with every connection.
async fn peer<F>(handler: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(handler(socket));
        }
    });
    address
}

/// A peer that responds to every request with these bytes, and closes.
async fn answering(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer: Arc<[u8]> = answer.into().into();
    peer(move |mut socket| {
        let answer = answer.clone();
        async move {
            read_head(&mut socket).await;
            let _ = socket.write_all(&answer).await;
            let _ = socket.shutdown().await;
        }
    })
    .await
}

/// An address without a listener.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

/// Reads a request's head.
async fn read_head(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = socket.read_u8().await else { break };
        head.push(byte);
    }
    String::from_utf8(head).expect("text")
}

/// A certificate, and what would trust it.
struct Pair {
    config: ServerConfig,
    authority: Arc<[Vec<u8>]>,
}

/// A certificate for this name from an authority of its own.
fn certified(name: &str, edit: impl FnOnce(&mut CertificateParams)) -> Pair {
    certified_by("test's own", name, edit)
}

/// A certificate from an authority of this name.
fn certified_by(authority: &str, name: &str, edit: impl FnOnce(&mut CertificateParams)) -> Pair {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, authority);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    edit(&mut params);
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a pair");
    Pair { config, authority: vec![authority.der().to_vec()].into() }
}

/// A peer that speaks TLS, and then does this.
async fn secure<F>(
    config: ServerConfig,
    handler: impl Fn(tokio_rustls::server::TlsStream<TcpStream>) -> F + Clone + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(Arc::new(config));
    peer(move |socket| {
        let (acceptor, handler) = (acceptor.clone(), handler.clone());
        async move {
            if let Ok(stream) = acceptor.accept(socket).await {
                handler(stream).await;
            }
        }
    })
    .await
}

/// Keeps a connection open for as long as the peer does.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut bytes = [0; 256];
    while stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
}

fn over_tls(address: SocketAddr, name: &str, ca: Option<Arc<[Vec<u8>]>>) -> Target {
    let tls = TlsTarget { server_name: name.to_owned(), ca, verify: true };
    Target { tls: Some(tls), host: name.to_owned(), ..target(address) }
}

fn unverified(target: Target) -> Target {
    let tls = target.tls.map(|tls| TlsTarget { verify: false, ..tls });
    Target { tls, ..target }
}
