//! Where a service is.

use std::path::Path;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Uri};

use crate::filter::FilterError;
use crate::tls::{ClientTls, ClientTlsError, read_authorities};

/// Where a service is, from a URL.
#[derive(Clone, Debug)]
pub(in crate::filter) struct Target {
    /// The host: a name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// As the header `Host` has it.
    pub(super) authority: HeaderValue,
    /// The path with the query.
    pub(super) path: Uri,
    pub(super) tls: Option<ClientTls>,
    text: String,
}

// === impl Target ===

impl Target {
    /// The service at a URL that is written at `key`. A certificate must be of the authorities in `ca`, which is written at
    /// `ca_key`; by default of those of the system.
    pub(in crate::filter) fn new(
        (key, url): (&str, &str),
        (ca_key, ca): (&str, Option<&Path>),
    ) -> Result<Self, FilterError> {
        let expected = || FilterError::new(key, "a URL, like http://auth.internal:4180/verify");
        let uri: Uri = url.parse().map_err(|_| expected())?;
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(expected()),
        };
        let authority = uri.authority().ok_or_else(expected)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(expected());
        }
        let tls = match (is_tls, ca) {
            (false, None) => None,
            (false, Some(_)) => return Err(FilterError::new(ca_key, "none: the URL is not https")),
            (true, ca) => {
                let ca = ca.map(|path| {
                    read_authorities(path).map_err(|problem| {
                        FilterError::new(
                            ca_key,
                            format!("a file of certificates in PEM: {}: {problem}", path.display()),
                        )
                    })
                });
                let tls = ClientTls::new(&host, ca.transpose()?.as_ref(), true, b"http/1.1");
                Some(tls.map_err(|error| match error {
                    ClientTlsError::ServerName(_) => expected(),
                    ClientTlsError::Authorities(problem) => {
                        FilterError::new(ca_key, format!("certificates of authorities: {problem}"))
                    }
                })?)
            }
        };
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        Ok(Self {
            host,
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| expected())?,
            path: path.parse().map_err(|_| expected())?,
            tls,
            text: url.to_owned(),
        })
    }

    /// The URL as written.
    pub(in crate::filter) fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_url_says_where_a_service_is() {
        for (url, host, port, path) in [
            ("http://auth.internal:4180/verify?a=b", "auth.internal", 4180, "/verify?a=b"),
            ("http://[::1]", "::1", 80, "/"),
            ("https://login.example.com/x", "login.example.com", 443, "/x"),
        ] {
            let target = Target::new(("url", url), ("ca", None)).unwrap();
            assert_eq!(
                (target.host.as_str(), target.port, target.path.to_string().as_str()),
                (host, port, path)
            );
            assert_eq!(target.tls.is_some(), port == 443);
        }
        for wrong in ["auth.internal", "/verify", "ftp://a/", "http://", "http://u:p@a/", "https://a b/", ""]
        {
            assert!(Target::new(("url", wrong), ("ca", None)).is_err(), "{wrong}");
        }
    }
}
