//! How a listener speaks TLS.

use std::path::PathBuf;
use std::time::Duration;

use super::Protocol;

/// How a listener speaks TLS to its clients.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ListenerTls {
    /// What is spoken within TLS: its names are offered to clients (ALPN), and none for TCP.
    pub protocol: Protocol,
    /// The certificates, at least one. A client receives the one for the name that it asks for (SNI).
    pub certificates: Vec<CertificateFiles>,
    /// The oldest version of TLS. Default 1.2.
    pub min_version: TlsVersion,
    /// The newest version of TLS. Default 1.3.
    pub max_version: TlsVersion,
    /// The cipher suites, at least one for each version. Default all of [`CipherSuite::ALL`].
    pub cipher_suites: Vec<CipherSuite>,
    /// The groups of the key exchange, the preferred one first. Default all of [`KeyExchangeGroup::ALL`].
    pub groups: Vec<KeyExchangeGroup>,
    /// Whether a client that asks for an unknown name, or for none, is rejected. If not, it receives the first certificate.
    /// Default no.
    pub strict_sni: bool,
    /// Whether clients can speak HTTP/2 (ALPN). Default yes.
    pub http2: bool,
    /// Which certificates of clients are accepted. Default: none is requested.
    pub client_auth: Option<ClientAuth>,
    /// A file with the keys of session tickets. Default none: keys of the process.
    pub ticket_keys: Option<PathBuf>,
    /// From the accept to the end of the handshake; then the connection is closed. Default 10 s.
    pub handshake_timeout: Duration,
    /// The most handshakes in progress at the same time; more wait for their turn. Default 1,000.
    pub max_handshakes: usize,
}

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateFiles {
    /// The PEM file with the certificate, followed by its intermediate certificates.
    pub cert: PathBuf,
    /// The PEM file with its private key.
    pub key: PathBuf,
    /// The file with its OCSP response, in DER. Default none.
    pub ocsp: Option<PathBuf>,
}

/// Which certificates of clients are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientAuth {
    /// Whether a client without a certificate is rejected.
    pub required: bool,
    /// The PEM file of the authorities that certify clients.
    pub ca: PathBuf,
    /// A PEM file of certificates that are revoked. Default none.
    pub crl: Option<PathBuf>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// Names, as the configuration writes them and as IANA registers them.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident, $what:literal: $($variant:ident $name:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $type {
            $(#[doc = concat!("`", $name, "`.")] $variant,)*
        }

        impl $type {
            #[doc = concat!("Every ", $what, ", the preferred one first.")]
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// Their names, in the same order.
            pub(crate) const NAMES: &[&str] = &[$($name,)*];

            /// The name that IANA registers.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            #[doc = concat!("The ", $what, " of this name.")]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}

named! {
    /// A cipher suite. All of them encrypt with authentication, and keep recorded traffic secret if a key is stolen later.
    CipherSuite, "cipher suite":
    Aes256Gcm "TLS_AES_256_GCM_SHA384",
    Aes128Gcm "TLS_AES_128_GCM_SHA256",
    ChaCha20 "TLS_CHACHA20_POLY1305_SHA256",
    EcdsaAes256Gcm "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    EcdsaAes128Gcm "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    EcdsaChaCha20 "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    RsaAes256Gcm "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    RsaAes128Gcm "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    RsaChaCha20 "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}

named! {
    /// A group of the key exchange. The hybrid ones also withstand quantum computers, and need TLS 1.3.
    KeyExchangeGroup, "group":
    X25519MlKem768 "X25519MLKEM768",
    X25519 "x25519",
    Secp256r1 "secp256r1",
    Secp384r1 "secp384r1",
    Secp256r1MlKem768 "SecP256r1MLKEM768",
}

// === impl ListenerTls ===

impl ListenerTls {
    /// The default of [`ListenerTls::handshake_timeout`].
    pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
    /// The default of [`ListenerTls::max_handshakes`].
    pub const MAX_HANDSHAKES: usize = 1_000;
}

// === impl TlsVersion ===

impl TlsVersion {
    /// As the configuration writes it: `1.2`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

// === impl CipherSuite ===

impl CipherSuite {
    /// The version of TLS that has this cipher suite; no other version has it.
    pub const fn version(self) -> TlsVersion {
        match self {
            Self::Aes256Gcm | Self::Aes128Gcm | Self::ChaCha20 => TlsVersion::Tls13,
            _ => TlsVersion::Tls12,
        }
    }
}

// === impl KeyExchangeGroup ===

impl KeyExchangeGroup {
    /// Whether it also withstands quantum computers, which needs TLS 1.3.
    pub const fn is_hybrid(self) -> bool {
        matches!(self, Self::X25519MlKem768 | Self::Secp256r1MlKem768)
    }
}
