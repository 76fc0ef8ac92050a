//! A certificate with its private key, as files hold them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use evenkeel_config::CertificateFiles;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureAlgorithm};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate, X509Extension};

/// A certificate with its private key, ready for use.
#[derive(Debug)]
pub struct Certificate {
    /// The files that it came from.
    pub files: CertificateFiles,
    /// The names that it is for, in lower case.
    pub names: Vec<String>,
    /// When it expires, in seconds since 1970.
    pub not_after: i64,
    /// When it begins to be valid, in seconds since 1970.
    pub not_before: i64,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// Who issued it.
    pub issuer: String,
    /// Whether clients may be unable to verify it: an intermediate certificate seems to be missing.
    pub is_incomplete: bool,
    pub(super) key: Arc<CertifiedKey>,
}

/// Why a certificate cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct CertificateError {
    /// Which of its files is wrong.
    pub file: CertificateFile,
    /// The path of that file.
    pub path: PathBuf,
    /// What is wrong with it, and what was expected.
    pub reason: String,
}

/// One of the files of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFile {
    /// The certificate and its intermediate certificates.
    Certificate,
    /// The private key.
    Key,
    /// The OCSP response.
    Ocsp,
}

/// The largest file that is read: chains are a few kilobytes.
const LARGEST: u64 = 1 << 20;

const ENCRYPTED: &str = "is encrypted with a passphrase: expected a key without one: write it with \
                         `openssl pkey -in OLD -out NEW`";

// === impl Certificate ===

impl Certificate {
    /// Reads a certificate and its key.
    pub(super) fn read(
        files: &CertificateFiles,
        provider: &CryptoProvider,
    ) -> Result<Self, CertificateError> {
        let of_cert = |reason: String| error(CertificateFile::Certificate, &files.cert, reason);
        let of_key = |reason: String| error(CertificateFile::Key, &files.key, reason);
        let chain = chain(&read(&files.cert).map_err(of_cert)?).map_err(of_cert)?;
        let key = private_key(&read(&files.key).map_err(of_key)?).map_err(of_key)?;
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|error| of_key(format!("is not a key that can be used: {error}")))?;
        let mut certified = CertifiedKey::new(chain, key);
        if let Some(path) = &files.ocsp {
            let response = ocsp_response(path);
            certified.ocsp = Some(response.map_err(|reason| error(CertificateFile::Ocsp, path, reason))?);
        }
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(match is_for_a_later_one(&certified) {
                    true => of_cert(WRONG_ORDER.to_owned()),
                    false => of_key(format!("does not belong to the certificate {}", files.cert.display())),
                });
            }
            Err(other) => return Err(of_cert(format!("is not a certificate that can be used: {other}"))),
        }
        in_order(&certified.cert).map_err(of_cert)?;
        let Some(Ok((_, first))) = certified.cert.first().map(|der| X509Certificate::from_der(der)) else {
            return Err(of_cert("is not a certificate that can be read".to_owned()));
        };
        Ok(Self {
            files: files.clone(),
            names: names(&first),
            not_after: first.validity().not_after.timestamp(),
            not_before: first.validity().not_before.timestamp(),
            serial: first.tbs_certificate.raw_serial_as_string(),
            issuer: first.issuer().to_string(),
            is_incomplete: certified.cert.len() == 1 && names_its_issuer(&first),
            key: Arc::new(certified.clone()),
        })
    }

    /// What is questionable about it at this time, in seconds since 1970: it can be used, but clients may not accept it.
    pub fn doubts(&self, now: i64) -> Vec<String> {
        let mut doubts = Vec::new();
        if now > self.not_after {
            doubts.push(format!("expired on {}: clients will reject it", date(self.not_after)));
        } else if now < self.not_before {
            doubts.push(format!("is not valid before {}: clients will reject it", date(self.not_before)));
        }
        if self.is_incomplete {
            doubts.push(format!(
                "has no intermediate certificate: clients that do not know {} will reject it: expected the certificate of \
                 the issuer after the server's own",
                self.issuer
            ));
        }
        doubts
    }

    /// Whether it is for this name, in lower case.
    pub(super) fn is_for(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| own == name || parent.is_some() && own.strip_prefix("*.") == parent)
    }

    /// Whether its key is of a kind that signs cheaply, so that it is preferred to RSA.
    pub(super) fn is_cheap(&self) -> bool {
        self.key.key.algorithm() != SignatureAlgorithm::RSA
    }
}

const WRONG_ORDER: &str = "has the certificates in the wrong order: expected the server's own certificate first, then the \
                           certificate of its issuer, and so on";

/// Whether the key belongs to a certificate behind the first one.
fn is_for_a_later_one(certified: &CertifiedKey) -> bool {
    let later = certified.cert.iter().skip(1);
    later
        .map(|der| CertifiedKey::new(vec![der.clone()], certified.key.clone()))
        .any(|one| one.keys_match().is_ok())
}

/// Each certificate must be issued by the one behind it.
fn in_order(chain: &[CertificateDer<'_>]) -> Result<(), String> {
    let mut issuer: Option<Vec<u8>> = None;
    for der in chain {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| format!("has a certificate that cannot be read: {error}"))?;
        if issuer.is_some_and(|issuer| issuer != certificate.subject().as_raw()) {
            return Err(WRONG_ORDER.to_owned());
        }
        issuer = Some(certificate.issuer().as_raw().to_vec());
    }
    Ok(())
}

/// The names of a certificate; its common name if it has no others.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let general = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let dns = general.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    let names: Vec<String> = dns.collect();
    if !names.is_empty() || alternative.is_some() {
        return names;
    }
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    common.map(str::to_ascii_lowercase).collect()
}

/// Whether a certificate says where that of its issuer can be had, as those of public authorities do: their issuers are never
/// among those that clients know.
fn names_its_issuer(certificate: &X509Certificate<'_>) -> bool {
    let says = |extension: &X509Extension<'_>| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => {
            access.accessdescs.iter().any(|one| one.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS)
        }
        _ => false,
    };
    certificate.issuer().as_raw() != certificate.subject().as_raw()
        && certificate.extensions().iter().any(says)
}

/// A date for people, from seconds since 1970.
pub(crate) fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

/// Reads a file, unless it is far too large to be what it should be.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
    if metadata.len() > LARGEST {
        return Err("is larger than 1 MiB: expected a PEM file".to_owned());
    }
    std::fs::read(path).map_err(|error| unreadable(&error))
}

/// Reads an OCSP response (RFC 6960) for clients, who verify it. Here only one that reports an error is found.
fn ocsp_response(path: &Path) -> Result<Vec<u8>, String> {
    const EXPECTED: &str = "expected DER, as `openssl ocsp -respout FILE` writes it";
    let der = read(path)?;
    // SEQUENCE { ENUMERATED responseStatus, … }
    let content = match der.as_slice() {
        [0x30, length @ ..=0x7f, ..] if usize::from(*length) + 2 == der.len() => der.get(2..),
        [0x30, long @ 0x81..=0x84, ..] => der.get(2 + usize::from(long & 0x7f)..),
        _ => None,
    };
    match content {
        Some([0x0a, 1, 0, ..]) => Ok(der),
        Some([0x0a, 1, status, ..]) => {
            Err(format!("is an OCSP response with the error {status}: expected a successful one"))
        }
        _ => Err(format!("is not an OCSP response: {EXPECTED}")),
    }
}

fn unreadable(error: &io::Error) -> String {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    };
    format!("cannot be read: {reason}")
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("is not a PEM file: {error}"))?;
    if !chain.is_empty() {
        return Ok(chain);
    }
    Err(match PrivateKeyDer::from_pem_slice(pem) {
        Ok(_) => "has a private key and no certificate: expected the PEM file of the certificate".to_owned(),
        Err(_) => "has no certificate: expected a PEM file with BEGIN CERTIFICATE".to_owned(),
    })
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let says = |text: &str| memchr::memmem::find(pem, text.as_bytes()).is_some();
    if says("BEGIN ENCRYPTED PRIVATE KEY") || says("Proc-Type: 4,ENCRYPTED") {
        return Err(ENCRYPTED.to_owned());
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound if says("BEGIN CERTIFICATE") => {
            "has a certificate and no private key: expected the PEM file of the key".to_owned()
        }
        pem::Error::NoItemsFound => {
            "has no private key: expected a PEM file with BEGIN PRIVATE KEY".to_owned()
        }
        error => format!("is not a PEM file: {error}"),
    })
}

fn error(file: CertificateFile, path: &Path, reason: String) -> CertificateError {
    CertificateError { file, path: path.to_owned(), reason }
}
