//! Certificates for the balancer's own listeners, and clients that speak TLS.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RevokedCertParams,
    RsaKeySize, SerialNumber, date_time_ymd,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

use super::{Client, in_time};

/// An authority with a folder for what it signs.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// The files of a certificate.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// How a client speaks TLS. Connections of one of these can resume each other's sessions.
#[derive(Clone, Debug)]
pub(crate) struct TlsClient {
    pub(crate) config: Arc<ClientConfig>,
}

/// The name of the balancer in runs of the suite over TLS.
pub(crate) const TEST_NAME: &str = "test";

/// The addresses of this process on which balancers speak TLS, with what their clients trust: for runs of the whole suite
/// over TLS.
static SPEAKS_TLS: LazyLock<Mutex<HashMap<SocketAddr, TlsClient>>> = LazyLock::new(Mutex::default);

// === impl Authority ===

impl Authority {
    pub(crate) fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "an authority for tests");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        Self { issuer, folder: folder.to_owned() }
    }

    /// A certificate for these names, with an ECDSA key.
    pub(crate) fn pair(&self, file: &str, names: &[&str]) -> Pair {
        self.sign(file, names, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"))
    }

    /// The same with an RSA key.
    pub(crate) fn rsa(&self, file: &str, names: &[&str]) -> Pair {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
        self.sign(file, names, key)
    }

    /// A client that trusts this authority and shows this certificate.
    pub(crate) fn client_showing(&self, pair: &Pair) -> TlsClient {
        let chain =
            CertificateDer::pem_file_iter(&pair.cert).expect("a file").map(|one| one.expect("one")).collect();
        let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .expect("a certificate");
        TlsClient { config: Arc::new(config) }
    }

    /// A list that revokes this certificate, as PEM.
    pub(crate) fn revoking(&self, pair: &Pair) -> String {
        let der = CertificateDer::from_pem_file(&pair.cert).expect("a certificate");
        let revoked = RevokedCertParams {
            serial_number: serial_of(&der),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(4095, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).expect("a list").pem().expect("PEM")
    }

    /// A certificate that has expired.
    pub(crate) fn expired(&self, file: &str, names: &[&str]) -> Pair {
        let pair = self.pair(file, names);
        let key = KeyPair::from_pem(&std::fs::read_to_string(&pair.key).expect("a file")).expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.not_after = date_time_ymd(2001, 1, 1);
        params.distinguished_name.push(DnType::CommonName, file);
        write_whole(&pair.cert, &params.signed_by(&key, &self.issuer).expect("a certificate").pem());
        pair
    }

    /// A certificate for these names, with the key of another one.
    pub(crate) fn pair_like(&self, other: &Pair, file: &str, names: &[&str]) -> Pair {
        let key = std::fs::read_to_string(&other.key).expect("a file");
        self.sign(file, names, KeyPair::from_pem(&key).expect("a key"))
    }

    fn sign(&self, file: &str, names: &[&str], key: KeyPair) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, file);
        params.not_after = date_time_ymd(4096, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let pair = Pair {
            cert: self.folder.join(format!("{file}.pem")),
            key: self.folder.join(format!("{file}.key")),
        };
        // A watcher must never see one of them written in part.
        write_whole(&pair.key, &key.serialize_pem());
        write_whole(&pair.cert, &certificate.pem());
        pair
    }

    /// Its own certificate as PEM.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A client that trusts it, and speaks every version.
    pub(crate) fn client(&self) -> TlsClient {
        self.client_of(&[&version::TLS13, &version::TLS12])
    }

    /// A client that trusts it, and speaks these versions.
    pub(crate) fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> TlsClient {
        self.client_with(default_provider(), versions)
    }

    /// A client that trusts it, and has another provider of cryptography.
    pub(crate) fn client_like(&self, edit: impl FnOnce(&mut CryptoProvider)) -> TlsClient {
        let mut provider = default_provider();
        edit(&mut provider);
        self.client_with(provider, &[&version::TLS13, &version::TLS12])
    }

    fn client_with(
        &self,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
    ) -> TlsClient {
        TlsClient::new(self.issuer.der().clone(), provider, versions)
    }
}

/// The serial number of a certificate, whose first field but one it is.
fn serial_of(der: &[u8]) -> SerialNumber {
    // SEQUENCE { SEQUENCE { [0] { INTEGER 2 }, INTEGER serial, …
    let at = der.windows(5).position(|window| window == [0xa0, 3, 2, 1, 2]).expect("a version") + 5;
    let length = usize::from(der[at + 1]);
    SerialNumber::from_slice(&der[at + 2..at + 2 + length])
}

fn write_whole(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(&new, path).expect("a file");
}

// === impl Pair ===

impl Pair {
    /// As a configuration lists it.
    pub(crate) fn yaml(&self) -> String {
        format!("{{ cert: {}, key: {} }}", self.cert.display(), self.key.display())
    }
}

/// A listener on a free port with these certificates and other keys of `tls`.
pub(crate) fn listener(pairs: &[&Pair], more: &str) -> String {
    let pairs: Vec<String> = pairs.iter().map(|pair| pair.yaml()).collect();
    format!(
        "listeners: [{{ address: 127.0.0.1:0, tls: {{ certificates: [{}]{more} }} }}]\n",
        pairs.join(", ")
    )
}

// === impl TlsClient ===

impl TlsClient {
    /// A client that trusts the authority in this file.
    pub(crate) fn trusting(authority: &Path) -> Self {
        Self::trusting_of(authority, &[&version::TLS13, &version::TLS12])
    }

    /// A client that trusts the authority in this file, and speaks these versions.
    pub(crate) fn trusting_of(authority: &Path, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let authority = CertificateDer::from_pem_file(authority).expect("a certificate");
        Self::new(authority, default_provider(), versions)
    }

    fn new(
        authority: CertificateDer<'static>,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority).expect("an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { config: Arc::new(config) }
    }

    /// A client that shows the certificate of this name in a folder with an authority.
    pub(crate) fn showing(&self, folder: &Path, name: &str) -> Self {
        let pair = Pair { cert: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
        let resolver = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(RootCertStore::empty())
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&pair.cert).expect("a certificate")],
                PrivateKeyDer::from_pem_file(&pair.key).expect("a key"),
            )
            .expect("a certificate")
            .client_auth_cert_resolver;
        self.with(|config| config.client_auth_cert_resolver = resolver)
    }

    /// The same with other settings.
    pub(crate) fn with(&self, edit: impl FnOnce(&mut ClientConfig)) -> Self {
        let mut config = (*self.config).clone();
        edit(&mut config);
        Self { config: Arc::new(config) }
    }

    /// A handshake with the balancer at this address, asking for this name.
    pub(crate) async fn handshake(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let stream = in_time("connect", TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        self.over(stream, name).await
    }

    /// A handshake over a connection.
    pub(crate) async fn over(&self, stream: TcpStream, name: &str) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        in_time("handshake", TlsConnector::from(self.config.clone()).connect(name, stream)).await
    }

    /// A connection that has completed its handshake.
    pub(crate) async fn connect(&self, address: SocketAddr, name: &str) -> Client {
        Client::over(Box::new(self.handshake(address, name).await.expect("a handshake")))
    }
}

/// The first message of a client of TLS that asks for this name, and offers this protocol: enough to be routed by.
pub(crate) fn hello(name: &str, protocol: &str) -> Vec<u8> {
    fn list(bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        [&length[length.len() - bytes..], content].concat()
    }
    let names = list(2, &[&[0][..], &list(2, name.as_bytes())].concat());
    let protocols = list(2, &list(1, protocol.as_bytes()));
    let extensions = [&[0, 0][..], &list(2, &names), &[0, 16], &list(2, &protocols)].concat();
    let (session, ciphers, compressions) = (list(1, &[]), list(2, &[0x13, 1]), list(1, &[0]));
    let body = [vec![3; 34], session, ciphers, compressions, list(2, &extensions)].concat();
    [&[22, 3, 1][..], &list(2, &[&[1][..], &list(3, &body)].concat())].concat()
}

/// Lets every client of this process speak TLS to this address.
pub(crate) fn speaks_tls(address: SocketAddr, client: TlsClient) {
    SPEAKS_TLS.lock().expect("a lock").insert(address, client);
}

/// How clients of this process speak TLS to this address, if they do.
pub(crate) fn client_for(address: SocketAddr) -> Option<TlsClient> {
    SPEAKS_TLS.lock().expect("a lock").get(&address).cloned()
}
