//! `listeners[].tls`: how a listener speaks TLS.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::model::{self, TlsVersion};
use crate::values::Duration;

/// How a listener speaks TLS to its clients. Backends receive `X-Forwarded-Proto: https`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "listener_tls")]
pub(crate) struct ListenerTls {
    /// The certificates, at least one. A client receives the certificate for the name that it asks for (SNI). A name can have
    /// several certificates, for example one with an RSA key and one with an ECDSA key: a client receives one that it
    /// supports, preferably ECDSA. Names are taken from the certificates: exact names before wildcards such as
    /// `*.example.com`, which stand for one label.
    pub(crate) certificates: Vec<Certificate>,
    /// The oldest version of TLS: `1.2` or `1.3`. Older versions are broken and not supported.
    #[serde(default = "min_version")]
    pub(crate) min_version: Version,
    /// The newest version of TLS: `1.2` or `1.3`. Lower it only to compare.
    #[serde(default = "max_version")]
    pub(crate) max_version: Version,
    /// The cipher suites that clients can use. Default: all. All of them are safe; use it if a policy allows fewer. Each
    /// version of TLS has its own, so give some for both.
    pub(crate) cipher_suites: Option<Vec<CipherSuite>>,
    /// The groups of the key exchange that clients can use, the preferred one first. Default: all. The groups with
    /// `MLKEM768` also withstand quantum computers; they need TLS 1.3, and the first messages are larger by 2.3 kB.
    pub(crate) groups: Option<Vec<KeyExchangeGroup>>,
    /// Whether to reject a client that asks for a name without a certificate, or for no name. By default such a client
    /// receives the first certificate, which it usually rejects.
    #[serde(default)]
    pub(crate) strict_sni: bool,
    /// Whether clients can speak HTTP/2, which they ask for in the handshake (ALPN). Browsers and gRPC clients do. Requests of
    /// HTTP/2 use Pingora's lane (docs/lanes.md).
    #[serde(default = "http2")]
    pub(crate) http2: bool,
    /// Whether clients must show a certificate. Default: they are not asked for one.
    pub(crate) client_auth: Option<ClientAuth>,
    /// A file with the keys of session tickets, so that machines that share it resume each other's sessions, also after a restart.
    /// One key in each line, as `openssl rand -hex 32` prints it: the first one is for new tickets, the others are only read. A
    /// changed file is in use within two seconds. Anyone with a key can decrypt recorded sessions of TLS 1.2: change keys at least
    /// daily. Default: keys of this process, which change every six hours.
    pub(crate) ticket_keys: Option<String>,
    /// The time from the accept to the end of the handshake; then the connection is closed.
    #[serde(default = "handshake_timeout")]
    pub(crate) handshake_timeout: Duration,
    /// The most handshakes in progress at the same time. More of them wait for their turn, up to `handshake_timeout`, so
    /// that a flood of handshakes does not slow down requests.
    #[serde(default = "max_handshakes")]
    #[schemars(range(min = 1))]
    pub(crate) max_handshakes: usize,
}

/// The files of a certificate.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "certificate")]
pub(crate) struct Certificate {
    /// The PEM file with the certificate, followed by its intermediate certificates. ACME clients call it `fullchain.pem`.
    pub(crate) cert: String,
    /// The PEM file with its private key, without a passphrase: PKCS#8, PKCS#1 or SEC1. It can be the same file.
    pub(crate) key: String,
    /// A file with the OCSP response for the certificate in DER, as `openssl ocsp -respout FILE` writes it. Clients receive it in
    /// the handshake (stapling). A changed file is in use within two seconds; replace it before the response expires, since clients can
    /// reject an expired one. Default: none.
    pub(crate) ocsp: Option<String>,
}

/// Whether clients must show a certificate, and who certifies them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "client_auth")]
pub(crate) struct ClientAuth {
    /// `required`: a client without a certificate is rejected in the handshake. `optional`: it is served; backends and logs see
    /// that it has none. `off`: clients are not asked. A certificate that is not accepted is rejected in any case.
    #[serde(default)]
    pub(crate) mode: ClientAuthMode,
    /// The PEM file of the authorities that certify clients. Required, except with `off`. A changed file is in use within two
    /// seconds.
    pub(crate) ca: Option<String>,
    /// A PEM file of certificate revocation lists. A certificate that one of them names is rejected. A certificate whose
    /// authority has no list there is accepted. Default: no certificate is revoked.
    pub(crate) crl: Option<String>,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, rename = "client_auth_mode")]
pub(crate) enum ClientAuthMode {
    #[default]
    Required,
    Optional,
    Off,
}

/// A version of TLS.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Version(pub(crate) String);

/// A cipher suite, by its name.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct CipherSuite(pub(crate) String);

/// A group of the key exchange, by its name.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct KeyExchangeGroup(pub(crate) String);

// === impl ListenerTls ===

impl ListenerTls {
    /// TLS with the defaults.
    pub(crate) fn new(certificates: Vec<Certificate>) -> Self {
        Self {
            certificates,
            min_version: min_version(),
            max_version: max_version(),
            cipher_suites: None,
            groups: None,
            strict_sni: false,
            http2: http2(),
            client_auth: None,
            ticket_keys: None,
            handshake_timeout: handshake_timeout(),
            max_handshakes: max_handshakes(),
        }
    }
}

fn http2() -> bool {
    true
}

fn min_version() -> Version {
    TlsVersion::Tls12.into()
}

fn max_version() -> Version {
    TlsVersion::Tls13.into()
}

fn handshake_timeout() -> Duration {
    Duration(model::ListenerTls::HANDSHAKE_TIMEOUT)
}

fn max_handshakes() -> usize {
    model::ListenerTls::MAX_HANDSHAKES
}

// === impl Version ===

impl Version {
    /// How versions are written.
    pub(crate) const NAMES: [&str; 2] = [TlsVersion::Tls12.name(), TlsVersion::Tls13.name()];
}

impl From<TlsVersion> for Version {
    fn from(version: TlsVersion) -> Self {
        Self(version.name().to_owned())
    }
}

impl JsonSchema for Version {
    fn schema_name() -> Cow<'static, str> {
        "tls_version".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A version of TLS.",
            "type": ["number", "string"],
            "pattern": r"^1\.[23]$|\$\{",
            "examples": ["1.2", "1.3"],
        })
    }
}

// === impl CipherSuite ===

impl JsonSchema for CipherSuite {
    fn schema_name() -> Cow<'static, str> {
        "cipher_suite".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_of("The name of a cipher suite, as IANA registers it.", model::CipherSuite::NAMES)
    }
}

// === impl KeyExchangeGroup ===

impl JsonSchema for KeyExchangeGroup {
    fn schema_name() -> Cow<'static, str> {
        "key_exchange_group".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_of(
            "The name of a group of the key exchange, as IANA registers it.",
            model::KeyExchangeGroup::NAMES,
        )
    }
}

fn one_of(description: &str, names: &[&str]) -> Schema {
    json_schema!({ "description": description, "type": "string", "enum": names })
}
