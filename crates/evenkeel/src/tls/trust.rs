//! Files of certificate authorities: the system's, and those that a configuration names.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The system's root certificates, read once for all upstreams. Those that cannot be used are left out, with a warning.
///
/// # Errors
/// When there are none, or they cannot be read.
pub fn system_authorities() -> Result<Arc<[Vec<u8>]>, String> {
    static SYSTEM: OnceLock<Arc<[Vec<u8>]>> = OnceLock::new();
    if let Some(known) = SYSTEM.get() {
        return Ok(known.clone());
    }
    let (found, mut unusable) = match rustls_native_certs::load_native_certs() {
        Ok(found) => (found, Vec::new()),
        // One part of a file that is malformed makes the whole file an error there.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => (readable(), vec![error.to_string()]),
        Err(error) => return Err(error.to_string()),
    };
    let mut usable: Vec<Vec<u8>> = Vec::with_capacity(found.len());
    for der in found {
        match usability(&der) {
            Ok(()) => usable.push(der.to_vec()),
            Err(reason) => unusable.push(reason),
        }
    }
    if usable.is_empty() {
        let reason = unusable.pop().unwrap_or_else(|| "there are none".to_owned());
        return Err(reason);
    }
    if let Some(reason) = unusable.first() {
        let (used, left) = (usable.len(), unusable.len());
        log::warn!("system root certificates: {left} cannot be used: {reason}; using the other {used}");
    }
    Ok(SYSTEM.get_or_init(|| usable.into()).clone())
}

/// The certificates of the system's files that can be read.
fn readable() -> Vec<CertificateDer<'static>> {
    let places = openssl_probe::probe();
    let in_folder = places.cert_dir.and_then(|folder| std::fs::read_dir(folder).ok());
    let in_folder = in_folder.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let files: Vec<PathBuf> = match places.cert_file {
        Some(file) => vec![file],
        None => in_folder.collect(),
    };
    let certificates = files.iter().filter_map(|file| CertificateDer::pem_file_iter(file).ok());
    certificates.flat_map(|file| file.filter_map(Result::ok)).collect()
}

/// Whether both of those who are given a certificate can use it: Pingora panics on one that it cannot parse.
fn usability(der: &CertificateDer<'_>) -> Result<(), String> {
    X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    RootCertStore::empty().add(der.clone().into_owned()).map_err(|error| error.to_string())
}

/// The certificates of a PEM file, each known to parse: Pingora panics on one that does not.
///
/// # Errors
/// What is wrong with the file.
pub fn read_authorities(path: &Path) -> Result<Arc<[Vec<u8>]>, String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let certificates = certificates.map(|der| {
        let der = der.map_err(|error| error.to_string())?;
        usability(&der)?;
        Ok(der.to_vec())
    });
    let certificates = certificates.collect::<Result<Vec<_>, String>>()?;
    if certificates.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(certificates.into())
}
