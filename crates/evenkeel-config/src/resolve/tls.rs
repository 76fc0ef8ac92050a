//! TLS of listeners. The files are only named here: whether they can be used is found when they are read.

use std::collections::HashMap;
use std::path::PathBuf;

use super::Context;
use super::listener::{at_least_one, timeout};
use crate::suggest::closest;
use crate::wire;
use crate::yaml::{Path, any_of};
use crate::{CertificateFiles, CipherSuite, ClientAuth, KeyExchangeGroup, ListenerTls, Protocol, TlsVersion};

/// How a listener speaks TLS.
pub(super) fn listener(
    tls: &wire::ListenerTls,
    protocol: Protocol,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<ListenerTls> {
    let certificates = certificates(&tls.certificates, &path.key("certificates"), context);
    let min_version = version(&tls.min_version, &path.key("min_version"), context);
    let max_version = version(&tls.max_version, &path.key("max_version"), context);
    let suites = known(
        tls.cipher_suites.as_ref().map(|names| names.iter().map(|name| &*name.0).collect()),
        (CipherSuite::ALL, CipherSuite::NAMES),
        &path.key("cipher_suites"),
        context,
    );
    let groups = known(
        tls.groups.as_ref().map(|names| names.iter().map(|name| &*name.0).collect()),
        (KeyExchangeGroup::ALL, KeyExchangeGroup::NAMES),
        &path.key("groups"),
        context,
    );
    at_least_one(tls.max_handshakes, &path.key("max_handshakes"), context);
    let handshake_timeout = timeout(tls.handshake_timeout, &path.key("handshake_timeout"), context);
    if protocol == Protocol::Tcp && context.node(&path.key("http2")).is_some() {
        context.wrong_key(&path.key("http2"), "has no effect: this listener has protocol: tcp");
    }
    let resolved = ListenerTls {
        protocol,
        certificates,
        min_version: min_version?,
        max_version: max_version?,
        cipher_suites: suites?,
        groups: groups?,
        strict_sni: tls.strict_sni,
        http2: tls.http2,
        client_auth: client_auth(tls.client_auth.as_ref(), &path.key("client_auth"), context),
        ticket_keys: file(tls.ticket_keys.as_ref(), &path.key("ticket_keys"), context),
        handshake_timeout: handshake_timeout?,
        max_handshakes: tls.max_handshakes,
    };
    consistent(&resolved, path, context);
    Some(resolved)
}

fn certificates(
    certificates: &[wire::Certificate],
    path: &Path,
    context: &mut Context<'_>,
) -> Vec<CertificateFiles> {
    if certificates.is_empty() {
        let message =
            "has no entries: expected at least one certificate, like [{ cert: cert.pem, key: key.pem }]";
        context.absent(path, message);
    }
    let paths = context.entries(path, certificates.len());
    let mut seen: HashMap<&str, Path> = HashMap::new();
    let mut resolved = Vec::with_capacity(certificates.len());
    for (certificate, path) in certificates.iter().zip(paths) {
        for (key, name) in [("cert", &certificate.cert), ("key", &certificate.key)] {
            let path = path.key(key);
            context.keep_place(&path);
            if name.is_empty() {
                context.wrong(&path, name, "is empty: expected the path of a PEM file");
            }
        }
        let ocsp = file(certificate.ocsp.as_ref(), &path.key("ocsp"), context);
        let path = path.key("cert");
        if let Some(first) = seen.get(&*certificate.cert) {
            let line = context.line(first);
            context.wrong(&path, &certificate.cert, format!("is given twice: {first}{line} is the same"));
        }
        seen.insert(&certificate.cert, path);
        let (cert, key) = (PathBuf::from(&certificate.cert), PathBuf::from(&certificate.key));
        resolved.push(CertificateFiles { cert, key, ocsp });
    }
    resolved
}

/// Which certificates of clients are accepted.
fn client_auth(
    auth: Option<&wire::ClientAuth>,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<ClientAuth> {
    let auth = auth?;
    let ca = file(auth.ca.as_ref(), &path.key("ca"), context);
    let crl = file(auth.crl.as_ref(), &path.key("crl"), context);
    let required = match auth.mode {
        wire::ClientAuthMode::Off => return None,
        wire::ClientAuthMode::Optional => false,
        wire::ClientAuthMode::Required => true,
    };
    if ca.is_none() {
        let message =
            "is missing: expected the PEM file of the authorities that certify clients, like clients.pem";
        context.absent(&path.key("ca"), message);
    }
    Some(ClientAuth { required, ca: ca?, crl })
}

/// A file that is named. Whether it can be used is found when it is read.
fn file(name: Option<&String>, path: &Path, context: &mut Context<'_>) -> Option<PathBuf> {
    let name = name?;
    context.keep_place(path);
    if name.is_empty() {
        context.wrong(path, "", "is empty: expected the path of a file");
    }
    Some(PathBuf::from(name))
}

fn version(version: &wire::Version, path: &Path, context: &mut Context<'_>) -> Option<TlsVersion> {
    let found = [TlsVersion::Tls12, TlsVersion::Tls13].into_iter().find(|one| one.name() == version.0);
    if found.is_none() {
        let known = any_of(&wire::Version::NAMES);
        let message = match version.0.as_str() {
            "1.0" | "1.1" => format!("is insecure and not supported: expected {known}"),
            _ => format!("is not a version of TLS: expected {known}"),
        };
        context.wrong(path, &version.0, message);
    }
    found
}

/// The things of these names, or all of them by default.
fn known<T: Copy>(
    names: Option<Vec<&str>>,
    (all, known): (&[T], &[&str]),
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Vec<T>> {
    let Some(names) = names else { return Some(all.to_vec()) };
    if names.is_empty() {
        context.wrong_key(path, "has no entries: expected at least one, or remove the key");
        return None;
    }
    let paths = context.entries(path, names.len());
    let mut found = Vec::with_capacity(names.len());
    for (name, path) in names.iter().zip(paths) {
        match known.iter().position(|one| one == name).and_then(|at| all.get(at)) {
            Some(one) => found.push(*one),
            None => {
                let message = format!("is not supported: expected {}", any_of(known));
                context.wrong(&path, name, message).suggestion =
                    closest(name, known.iter().copied()).map(str::to_owned);
            }
        }
    }
    (found.len() == names.len()).then_some(found)
}

/// Every version that is enabled must be usable.
fn consistent(tls: &ListenerTls, path: &Path, context: &mut Context<'_>) {
    if tls.min_version > tls.max_version {
        let message = format!("is higher than max_version, which is {}", tls.max_version.name());
        context.wrong(&path.key("min_version"), tls.min_version.name(), message);
        return;
    }
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        if !(tls.min_version..=tls.max_version).contains(&version) {
            continue;
        }
        let name = version.name();
        if !tls.cipher_suites.iter().any(|suite| suite.version() == version) {
            let message = match version {
                TlsVersion::Tls12 => {
                    "has none for TLS 1.2: expected one of TLS_ECDHE_…, or min_version: \"1.3\"".to_owned()
                }
                TlsVersion::Tls13 => {
                    "has none for TLS 1.3: expected one of TLS_AES_… or TLS_CHACHA20_…, or max_version: \"1.2\""
                        .to_owned()
                }
            };
            context.wrong_key(&path.key("cipher_suites"), message);
        }
        if version == TlsVersion::Tls12 && tls.groups.iter().all(|group| group.is_hybrid()) {
            let message = format!("has none for TLS {name}: expected also x25519, or min_version: \"1.3\"");
            context.wrong_key(&path.key("groups"), message);
        }
    }
}
