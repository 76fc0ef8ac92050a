//! The certificate of a client: which are accepted, and what backends and logs learn of one.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use evenkeel_config::ClientAuth;
use http::HeaderValue;
use ring::digest::{Context, SHA256, digest};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, GeneralName, X509Certificate, X509Name};

use super::certificate::read;
use super::server::TlsError;
use super::trust::read_authorities;

/// What is known of the certificate of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject (RFC 4514): `CN=client,O=Example`.
    pub subject: String,
    /// Its SHA-256 fingerprint, as 64 hexadecimal digits.
    pub fingerprint: String,
    /// What backends learn: the value of `X-Forwarded-Client-Cert`, in the form of Envoy.
    pub forwarded: HeaderValue,
}

/// What is trusted to certify clients: sessions that began with another trust cannot be resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientTrust {
    auth: ClientAuth,
    authorities: Arc<[Vec<u8>]>,
    revoked: Vec<Vec<u8>>,
}

// === impl ClientTrust ===

impl ClientTrust {
    /// Reads the files.
    pub(super) fn read(auth: &ClientAuth) -> Result<Self, TlsError> {
        let authorities =
            read_authorities(&auth.ca).map_err(|reason| unusable("client_auth.ca", &auth.ca, &reason))?;
        let revoked = match &auth.crl {
            None => Vec::new(),
            Some(path) => lists(path).map_err(|reason| unusable("client_auth.crl", path, &reason))?,
        };
        Ok(Self { auth: auth.clone(), authorities, revoked })
    }

    /// What looks at the certificates of clients.
    pub(super) fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        let authorities = self.authorities.iter().map(|der| CertificateDer::from(der.as_slice()));
        roots.add_parsable_certificates(authorities.map(CertificateDer::into_owned));
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        if !self.revoked.is_empty() {
            let lists = self.revoked.iter().map(|der| CertificateRevocationListDer::from(der.clone()));
            builder = builder.with_crls(lists).allow_unknown_revocation_status();
        }
        if !self.auth.required {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map_err(|error| {
            let (key, path) = match &self.auth.crl {
                Some(crl) => ("client_auth.crl", crl),
                None => ("client_auth.ca", &self.auth.ca),
            };
            unusable(key, path, &error.to_string())
        })
    }

    /// What tells this trust from any other.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(&[u8::from(self.auth.required)]);
        for list in [&*self.authorities, &*self.revoked] {
            context.update(&(list.len() as u64).to_be_bytes());
            for der in list {
                context.update(&(der.len() as u64).to_be_bytes());
                context.update(der);
            }
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        bytes
    }
}

fn unusable(key: &'static str, path: &Path, reason: &str) -> TlsError {
    let reason = reason.trim_start_matches("I/O error: ");
    let cannot = if reason.starts_with("cannot") { "" } else { "cannot be used: " };
    let reason = format!("{cannot}{reason}: expected a readable PEM file");
    TlsError::File { key, path: path.to_owned(), reason }
}

/// The revocation lists of a PEM file.
fn lists(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let pem = read(path)?;
    let lists = CertificateRevocationListDer::pem_slice_iter(&pem).map(|list| list.map(|der| der.to_vec()));
    let lists = lists.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    if lists.is_empty() {
        return Err("there is no revocation list in it".to_owned());
    }
    Ok(lists)
}

// === impl ClientCertificate ===

impl ClientCertificate {
    /// Of a certificate that was verified.
    pub(super) fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let (subject, fingerprint) =
            (distinguished(certificate.subject()), hex(digest(&SHA256, der).as_ref()));
        let mut forwarded = format!("Hash={fingerprint};Subject=\"{}\"", quoted(&subject));
        let alternative = certificate.subject_alternative_name().ok().flatten();
        for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
            let _ = match name {
                GeneralName::URI(uri) => write!(forwarded, ";URI=\"{}\"", quoted(uri)),
                GeneralName::DNSName(name) => write!(forwarded, ";DNS=\"{}\"", quoted(name)),
                _ => Ok(()),
            };
        }
        let forwarded = HeaderValue::from_str(&forwarded).ok()?;
        Some(Self { subject, fingerprint, forwarded })
    }
}

/// A name as text (RFC 4514): the last part comes first.
fn distinguished(name: &X509Name<'_>) -> String {
    let parts: Vec<String> =
        name.iter_rdn().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

/// One attribute of a name. What separates parts is escaped, so that no value can pass for several.
fn attribute(one: &AttributeTypeAndValue<'_>) -> String {
    let kind = match oid2abbrev(one.attr_type(), oid_registry()) {
        Ok(kind) => kind.to_owned(),
        Err(_) => one.attr_type().to_id_string(),
    };
    let Ok(value) = one.as_str() else { return format!("{kind}=#{}", hex(one.as_slice())) };
    let mut text = format!("{kind}=");
    for (at, c) in value.char_indices() {
        let is_at_end = at + c.len_utf8() == value.len();
        let is_special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=')
            || at == 0 && matches!(c, '#' | ' ')
            || is_at_end && c == ' ';
        if c.is_control() {
            let _ = write!(text, "\\{:02x}", u32::from(c));
            continue;
        }
        if is_special {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// Text within quotes in a header: what is not ASCII is encoded as in a URL.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' if byte != b'%' => quoted.push(char::from(byte)),
            _ => _ = write!(quoted, "%{byte:02X}"),
        }
    }
    quoted
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, string::Ia5String};

    use super::ClientCertificate;

    fn of(edit: impl FnOnce(&mut CertificateParams)) -> ClientCertificate {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        edit(&mut params);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        ClientCertificate::of(certificate.der()).unwrap()
    }

    #[test]
    fn a_subject_cannot_pass_for_another_one() {
        for (common, expected) in [
            ("client", "CN=client"),
            ("a,O=admins", r"CN=a\,O\=admins"),
            ("a\",URI=\"x", r#"CN=a\"\,URI\=\"x"#),
            (" a ", r"CN=\ a\ "),
            ("#a\\", r"CN=\#a\\"),
            ("a\r\nb", r"CN=a\0d\0ab"),
            ("Müller", "CN=Müller"),
        ] {
            let seen = of(|params| {
                params.distinguished_name.push(DnType::OrganizationName, "Example");
                params.distinguished_name.push(DnType::CommonName, common);
            });
            assert!(seen.subject.contains("O=Example"), "{}", seen.subject);
            let own: Vec<_> =
                seen.subject.split(",O=Example").flat_map(|part| part.split("O=Example,")).collect();
            assert!(own.contains(&expected), "{} {expected}", seen.subject);
        }
    }

    #[test]
    fn backends_learn_the_fingerprint_the_subject_and_the_names() {
        let seen = of(|params| {
            params.distinguished_name.push(DnType::CommonName, "Mü\"ller");
            let text = |text: &str| Ia5String::try_from(text).unwrap();
            params.subject_alt_names =
                vec![SanType::URI(text("spiffe://example/a")), SanType::DnsName(text("a.example"))];
        });
        assert_eq!(seen.fingerprint.len(), 64);
        let forwarded = seen.forwarded.to_str().unwrap();
        let expected = format!(
            r#"Hash={};Subject="CN=M%C3%BC\\\"ller";URI="spiffe://example/a";DNS="a.example""#,
            seen.fingerprint
        );
        assert_eq!(forwarded, expected);
    }
}
