//! TLS to a backend: its authorities, its name, and the choice not to look.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::provider::whole;

/// How TLS is spoken to one backend.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// Why TLS cannot be spoken to a backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientTlsError {
    /// The authorities cannot be used.
    #[error("{0}")]
    Authorities(String),
    /// The name is none that a certificate can have.
    #[error("{0}")]
    ServerName(String),
}

/// Looks at no certificate, but still has the peer prove that it holds the key of the one it shows.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

// === impl ClientTls ===

impl ClientTls {
    /// Speaks this protocol (ALPN; none if it is empty) over TLS to a backend that must have this name: certified by these authorities, or by those of the
    /// system; whatever it shows if `verify` is false.
    ///
    /// # Errors
    /// When the authorities or the name cannot be used.
    pub fn new(
        server_name: &str,
        authorities: Option<&Arc<[Vec<u8>]>>,
        verify: bool,
        protocol: &[u8],
    ) -> Result<Self, ClientTlsError> {
        let provider = whole();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientTlsError::Authorities(error.to_string()))?;
        let mut config = match (authorities, verify) {
            (_, false) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
                .with_no_client_auth(),
            (Some(ca), true) => builder.with_root_certificates(shared(ca)?).with_no_client_auth(),
            (None, true) => builder.with_root_certificates(system()?).with_no_client_auth(),
        };
        if !protocol.is_empty() {
            config.alpn_protocols = vec![protocol.to_vec()];
        }
        // A resumed session shows no certificate: one that expires would not be noticed.
        config.resumption = Resumption::disabled();
        let name = if verify { certified_name(server_name) } else { server_name.to_owned() };
        let name =
            ServerName::try_from(name).map_err(|_| ClientTlsError::ServerName(server_name.to_owned()))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Speaks TLS over this connection.
    ///
    /// # Errors
    /// Why the handshake failed; see [`PeerFailure`](super::PeerFailure).
    pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(&self, socket: S) -> io::Result<TlsStream<S>> {
        self.connector.connect(self.name.clone(), socket).await
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The name that a certificate would carry: names of certificates have no underscores, and Pingora too looks for a hyphen
/// where the first label of a subdomain has one.
fn certified_name(name: &str) -> String {
    match name.split_once('.') {
        Some((first, rest)) if rest.contains('.') => format!("{}.{rest}", first.replace('_', "-")),
        _ => name.to_owned(),
    }
}

/// The store of these authorities, one for all probes that have the same: there may be more than a hundred, and thousands of
/// backends.
fn shared(authorities: &Arc<[Vec<u8>]>) -> Result<Arc<RootCertStore>, ClientTlsError> {
    type Known = (Weak<[Vec<u8>]>, Weak<RootCertStore>);
    static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock();
    known.retain(|(authorities, _)| authorities.strong_count() > 0);
    let found = known.iter().find(|(of, _)| std::ptr::addr_eq(of.as_ptr(), Arc::as_ptr(authorities)));
    if let Some(store) = found.and_then(|(_, store)| store.upgrade()) {
        return Ok(store);
    }
    let store = given(authorities)?;
    known.push((Arc::downgrade(authorities), Arc::downgrade(&store)));
    Ok(store)
}

fn given(authorities: &[Vec<u8>]) -> Result<Arc<RootCertStore>, ClientTlsError> {
    let mut store = RootCertStore::empty();
    for der in authorities {
        let added = store.add(CertificateDer::from(der.as_slice()));
        added.map_err(|error| ClientTlsError::Authorities(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(ClientTlsError::Authorities("there are none".to_owned()));
    }
    Ok(Arc::new(store))
}

/// The system's authorities, read once: there are more than a hundred, and every probe would hold its own.
fn system() -> Result<Arc<RootCertStore>, ClientTlsError> {
    static SYSTEM: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(store) = SYSTEM.get() {
        return Ok(store.clone());
    }
    let certificates = rustls_native_certs::load_native_certs()
        .map_err(|error| ClientTlsError::Authorities(format!("the system's: {error}")))?;
    let mut store = RootCertStore::empty();
    // One that does not parse is not trusted; the others still are.
    store.add_parsable_certificates(certificates);
    Ok(SYSTEM.get_or_init(|| Arc::new(store)).clone())
}

// === impl AnyCertificate ===

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
