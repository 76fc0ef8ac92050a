//! A backend behind `https`, with a certificate of its own.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{Backend, Options, Reply, Seen};

/// A backend that speaks TLS, and the file with the authority that vouches for it.
pub(crate) struct Secure {
    pub(crate) backend: Backend,
    pub(crate) authority: PathBuf,
    _folder: tempfile::TempDir,
}

// === impl Secure ===

impl Secure {
    /// A backend with a certificate for this name, which does as `handler` says.
    pub(crate) async fn start(name: &str, handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::until(name, 4096, handler).await
    }

    /// One whose certificate has expired.
    pub(crate) async fn expired(
        name: &str,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::until(name, 2001, handler).await
    }

    /// One whose certificate is valid until this year.
    async fn until(name: &str, year: i32, handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (config, authority) = certified(name, year, folder.path());
        let options = Options { tls: Some(Arc::new(config)), ..Options::default() };
        Self { backend: Backend::with(options, handler).await, authority, _folder: folder }
    }
}

impl Deref for Secure {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.backend
    }
}

/// A server's configuration with a certificate for this name, and a file with the authority that signed it.
fn certified(name: &str, year: i32, folder: &Path) -> (ServerConfig, PathBuf) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    params.not_after = date_time_ymd(year, 1, 1);
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let path = folder.join("ca.pem");
    std::fs::write(&path, authority.pem()).expect("a file");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth();
    (config.with_single_cert(vec![certificate.der().clone()], key).expect("a pair"), path)
}
