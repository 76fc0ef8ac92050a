//! Backends behind `https`: verified by the system's authorities or by those that are named, unless told otherwise.

#![cfg(test)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::support::Balancer;

/// A backend that speaks TLS, and the file with the authority that vouches for it.
struct Secure {
    address: SocketAddr,
    authority: PathBuf,
    _folder: tempfile::TempDir,
}

#[tokio::test]
async fn a_backend_is_who_its_certificate_says_or_is_not_asked() {
    let backend = Secure::start("api.internal").await;
    let (port, ca) = (backend.address.port(), backend.authority.display().to_string());
    for (host, tls, status) in [
        // Nobody that the system trusts vouches for it.
        ("127.0.0.1", String::new(), 502),
        ("127.0.0.1", format!("{{ ca: {ca}, server_name: api.internal }}"), 200),
        ("127.0.0.1", format!("{{ ca: {ca}, server_name: other.internal }}"), 502),
        // Without a name of its own, the URL's host is what the certificate must carry.
        ("127.0.0.1", format!("{{ ca: {ca} }}"), 502),
        ("127.0.0.1", "{ danger_accept_invalid_certificates: true }".to_owned(), 200),
    ] {
        let tls = if tls.is_empty() { tls } else { format!(", tls: {tls}") };
        let yaml = format!("upstreams: {{ web: {{ backends: [\"https://{host}:{port}\"]{tls} }} }}");
        let balancer = Balancer::start(&yaml).await;
        for _ in 0..2 {
            assert_eq!(balancer.get("/").await.status(), status, "{yaml}");
        }
    }
}

#[tokio::test]
async fn two_upstreams_with_one_address_share_no_connection() {
    let backend = Secure::start("api.internal").await;
    let (address, ca) = (backend.address, backend.authority.display());
    let balancer = Balancer::start(&format!(
        "routes:\n\
         - {{ name: lax, match: {{ path: /lax }}, upstream: lax }}\n\
         - {{ name: strict, upstream: strict }}\n\
         upstreams:\n  \
           lax: {{ backends: [\"https://{address}\"], tls: {{ danger_accept_invalid_certificates: true }} }}\n  \
           strict: {{ backends: [\"https://{address}\"], tls: {{ ca: {ca}, server_name: other.internal }} }}\n"
    ))
    .await;
    // A connection that was not verified is kept, and must not serve those who ask for verification.
    for _ in 0..4 {
        assert_eq!(balancer.get("/lax").await.status(), 200);
        assert_eq!(balancer.get("/").await.status(), 502);
    }
}

// === impl Secure ===

impl Secure {
    async fn start(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (config, authority) = certified(name, folder.path());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config))));
        Self { address, authority, _folder: folder }
    }
}

/// A server's configuration with a certificate for this name, and a file with the authority that signed it.
fn certified(name: &str, folder: &Path) -> (ServerConfig, PathBuf) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let path = folder.join("ca.pem");
    std::fs::write(&path, authority.pem()).expect("a file");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth();
    (config.with_single_cert(vec![certificate.der().clone()], key).expect("a pair"), path)
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((socket, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(socket).await else { return };
            let mut head = Vec::new();
            while let Ok(byte) = stream.read_u8().await {
                head.push(byte);
                if head.ends_with(b"\r\n\r\n") {
                    head.clear();
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            }
        });
    }
}
