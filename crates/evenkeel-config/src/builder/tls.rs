//! TLS of a listener, from code.

use std::time::Duration;

use crate::values;
use crate::wire;
use crate::{CipherSuite, KeyExchangeGroup, TlsVersion};

/// Builds how a listener speaks TLS.
///
/// ```
/// use evenkeel_config::{ConfigBuilder, Tls};
///
/// let config = ConfigBuilder::new()
///     .listen_address("127.0.0.1:8443")
///     .tls(Tls::from_files("cert.pem", "key.pem"))
///     .upstream_servers(["http://127.0.0.1:8081"])
///     .try_build()?;
/// # Ok::<(), evenkeel_config::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Tls {
    pub(super) wire: wire::ListenerTls,
}

// === impl Tls ===

impl Tls {
    /// TLS with this certificate: a PEM file with the certificate and its intermediate certificates, and a PEM file with its
    /// private key. The files are read when the balancer starts.
    pub fn from_files(cert: impl Into<String>, key: impl Into<String>) -> Self {
        Self { wire: wire::ListenerTls::new(Vec::new()) }.certificate(cert, key)
    }

    /// Adds a certificate, for other names or with another kind of key.
    pub fn certificate(mut self, cert: impl Into<String>, key: impl Into<String>) -> Self {
        self.wire.certificates.push(wire::Certificate { cert: cert.into(), key: key.into(), ocsp: None });
        self
    }

    /// A file with the OCSP response for the certificate that was added last, in DER. Default none.
    pub fn ocsp(mut self, file: impl Into<String>) -> Self {
        if let Some(certificate) = self.wire.certificates.last_mut() {
            certificate.ocsp = Some(file.into());
        }
        self
    }

    /// The oldest version of TLS. Default [`TlsVersion::Tls12`].
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.wire.min_version = version.into();
        self
    }

    /// The newest version of TLS. Default [`TlsVersion::Tls13`].
    pub fn max_version(mut self, version: TlsVersion) -> Self {
        self.wire.max_version = version.into();
        self
    }

    /// The cipher suites. Default all.
    pub fn cipher_suites(mut self, suites: impl IntoIterator<Item = CipherSuite>) -> Self {
        let names = suites.into_iter().map(|suite| wire::CipherSuite(suite.name().to_owned()));
        self.wire.cipher_suites = Some(names.collect());
        self
    }

    /// The groups of the key exchange, the preferred one first. Default all.
    pub fn groups(mut self, groups: impl IntoIterator<Item = KeyExchangeGroup>) -> Self {
        let names = groups.into_iter().map(|group| wire::KeyExchangeGroup(group.name().to_owned()));
        self.wire.groups = Some(names.collect());
        self
    }

    /// Whether to reject a client that asks for an unknown name, or for none. Default no.
    pub fn strict_sni(mut self, strict: bool) -> Self {
        self.wire.strict_sni = strict;
        self
    }

    /// Whether clients can speak HTTP/2. Default yes.
    pub fn http2(mut self, allowed: bool) -> Self {
        self.wire.http2 = allowed;
        self
    }

    /// Whether a client must show a certificate of these authorities (a PEM file), or can. Default neither.
    pub fn client_auth(mut self, ca: impl Into<String>, required: bool) -> Self {
        let mode = if required { wire::ClientAuthMode::Required } else { wire::ClientAuthMode::Optional };
        let crl = self.wire.client_auth.and_then(|auth| auth.crl);
        self.wire.client_auth = Some(wire::ClientAuth { mode, ca: Some(ca.into()), crl });
        self
    }

    /// A PEM file of lists of certificates of clients that are revoked, together with [`client_auth`](Tls::client_auth). Default
    /// none.
    pub fn client_crl(mut self, crl: impl Into<String>) -> Self {
        let auth = self.wire.client_auth.take().unwrap_or_default();
        self.wire.client_auth = Some(wire::ClientAuth { crl: Some(crl.into()), ..auth });
        self
    }

    /// A file with the keys of session tickets, which machines can share. Default: keys of this process.
    pub fn ticket_keys(mut self, file: impl Into<String>) -> Self {
        self.wire.ticket_keys = Some(file.into());
        self
    }

    /// From the accept to the end of the handshake. Default 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.wire.handshake_timeout = values::Duration(timeout);
        self
    }

    /// The most handshakes in progress at the same time. Default 1,000.
    pub fn max_handshakes(mut self, count: usize) -> Self {
        self.wire.max_handshakes = count;
        self
    }
}
