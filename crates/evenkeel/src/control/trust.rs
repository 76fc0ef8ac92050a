//! Whom backends must be certified by.

use std::path::Path;
use std::sync::Arc;

use evenkeel_config::{BackendHost, BackendUrl, Upstream};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::plan::PlanError;
use crate::exchange::EndpointTls;

/// Whom an upstream trusts, when it is not the system's authorities.
pub(super) fn authorities(upstream: &Upstream) -> Result<Option<Arc<[Vec<u8>]>>, PlanError> {
    let Some(path) = &upstream.tls.ca else { return Ok(None) };
    let explain = |reason| PlanError::Authorities {
        upstream: upstream.name.clone(),
        path: path.display().to_string(),
        reason,
    };
    read_authorities(path).map(Some).map_err(explain)
}

/// How the backend behind this URL is recognised; `None` without TLS.
pub(super) fn endpoint_tls(
    url: &BackendUrl,
    upstream: &Upstream,
    authorities: Option<&Arc<[Vec<u8>]>>,
) -> Option<EndpointTls> {
    if !url.tls {
        return None;
    }
    let host = match &url.host {
        BackendHost::Name(name, _) => name.clone(),
        BackendHost::Ip(ip, _) => ip.to_string(),
        _ => "localhost".to_owned(),
    };
    Some(EndpointTls {
        server_name: upstream.tls.server_name.clone().unwrap_or(host),
        ca: authorities.cloned(),
        verify: !upstream.tls.danger_accept_invalid_certificates,
    })
}

/// The certificates of a PEM file, each known to parse: Pingora panics on one that does not.
fn read_authorities(path: &Path) -> Result<Arc<[Vec<u8>]>, String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let certificates = certificates.map(|der| {
        let der = der.map_err(|error| error.to_string())?;
        X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
        Ok(der.to_vec())
    });
    let certificates = certificates.collect::<Result<Vec<_>, String>>()?;
    if certificates.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(certificates.into())
}
