//! Whom backends must be certified by.

use std::sync::Arc;

use evenkeel_config::{BackendHost, BackendUrl, Upstream};

use super::plan::PlanError;
use crate::tls;
use crate::upstream::EndpointTls;

/// The authorities that an upstream trusts: those of `tls.ca`, or the system's. `None` if it verifies nothing. The system's are
/// read only here, so only if an upstream needs them.
pub(super) fn authorities(upstream: &Upstream) -> Result<Option<Arc<[Vec<u8>]>>, PlanError> {
    let Some(path) = &upstream.tls.ca else {
        let verifies = !upstream.tls.danger_accept_invalid_certificates;
        if !verifies || !upstream.backends.iter().any(|backend| backend.url.tls) {
            return Ok(None);
        }
        return system_authorities(upstream).map(Some);
    };
    let explain = |reason| PlanError::Authorities {
        upstream: upstream.name.clone(),
        path: path.display().to_string(),
        reason,
    };
    tls::read_authorities(path).map(Some).map_err(explain)
}

/// The system's authorities, for an upstream that verifies its backends and names none of its own.
pub(super) fn system_authorities(upstream: &Upstream) -> Result<Arc<[Vec<u8>]>, PlanError> {
    tls::system_authorities().map_err(|reason| PlanError::Roots { upstream: upstream.name.clone(), reason })
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
