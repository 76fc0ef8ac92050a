//! What a configuration names outside of itself: files that must be there, and names that should have an address.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel::Server;
use evenkeel::check::{CertificateFile, PlanError, TlsError};
use evenkeel::config::{
    BackendHost, Config, Diagnostic, DiscoverySource, LogTarget, Model, Scheme, Upstream, backend_list,
};
use rustix::fs::{Access, access};

/// The most names that are looked up.
const MOST_NAMES: usize = 200;

/// How long all of them may take together.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is wrong with a configuration, with the place in its file; also with the file of its access log.
pub(super) fn problems(config: &Config, model: &Model, found: Vec<PlanError>) -> Vec<Diagnostic> {
    let found = found.into_iter().map(|error| match error {
        PlanError::Config(error) => error.diagnostics().to_vec(),
        error => vec![placed(config, model, error)],
    });
    let log = model.access_log.as_ref().and_then(|log| match &log.to {
        LogTarget::File(path) => {
            let reason = unwritable(path)?;
            let message = format!("cannot be written: {reason}");
            Some(config.diagnostic("access_log.to", message).value(path.display().to_string()))
        }
        _ => None,
    });
    found.flatten().chain(log).collect()
}

fn placed(config: &Config, model: &Model, error: PlanError) -> Diagnostic {
    match error {
        PlanError::Authorities { upstream, path, reason } => {
            let reason = reason.trim_start_matches("I/O error: ");
            let message = format!("is not a file of certificates: {reason}: expected a readable PEM file");
            config.diagnostic(&keys(&["upstreams", &upstream, "tls", "ca"]), message).value(path)
        }
        PlanError::Tls { listener, source: TlsError::Certificate { index, source } } => {
            let at = model.listeners.iter().position(|one| one.address.to_string() == listener);
            let key = match source.file {
                CertificateFile::Certificate => "cert",
                CertificateFile::Key => "key",
                CertificateFile::Ocsp => "ocsp",
            };
            let keys = format!("listeners[{}].tls.certificates[{index}].{key}", at.unwrap_or_default());
            config.diagnostic(&keys, source.reason).value(source.path.display().to_string())
        }
        PlanError::Tls { listener, source: TlsError::File { key, path, reason } } => {
            let at = model.listeners.iter().position(|one| one.address.to_string() == listener);
            let keys = format!("listeners[{}].tls.{key}", at.unwrap_or_default());
            config.diagnostic(&keys, reason).value(path.display().to_string())
        }
        PlanError::Loop { upstream, index, backend, listener } => {
            let message = format!(
                "is the balancer's own listener {listener}: requests would loop: expected another address"
            );
            let keys = format!("{}[{index}]", keys(&["upstreams", &upstream, "backends"]));
            of_backend(config, &keys, &message).value(backend)
        }
        error => Diagnostic::new("", error.to_string()),
    }
}

/// Lists of backends in files that cannot be used now: no mistake, since a source can be right again later.
pub(super) fn lists(config: &Config, model: &Model) -> Vec<String> {
    let noted = sources(model).filter_map(|(upstream, scheme, path)| {
        let shown = path.display().to_string();
        let reason = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "is not there now".to_owned(),
            Err(error) => format!("cannot be read: {error}"),
            Ok(text) => {
                let error = backend_list(&text, &shown, scheme).err()?.to_string();
                let first = error.lines().next().unwrap_or_default();
                format!("is not a list of backends now: {}", first.trim_start_matches("error: "))
            }
        };
        let message = format!("{reason}: the upstream has no backends from it until that changes");
        let keys = keys(&["upstreams", &upstream.name, "discovery", "file", "path"]);
        let note = config.diagnostic(&keys, message).value(shown).to_string();
        Some(note.strip_prefix("error: ").unwrap_or(&note).to_owned())
    });
    noted.collect()
}

/// The files with lists of backends, and whether backends without a scheme are `https`.
fn sources(model: &Model) -> impl Iterator<Item = (&Upstream, Scheme, &Path)> {
    model.upstreams.iter().filter_map(|upstream| {
        let discovery = upstream.discovery.as_ref()?;
        match &discovery.source {
            DiscoverySource::File(file) => Some((upstream, discovery.scheme, file.path.as_path())),
            _ => None,
        }
    })
}

/// What is questionable about certificates: no mistake of the configuration, but clients may not accept them.
pub(super) fn certificates(config: &Config) -> Vec<String> {
    let notes = Server::new(config.clone()).certificate_notes().into_iter().map(|note| {
        let text = config.diagnostic(&note.key, note.text).value(note.path).to_string();
        text.strip_prefix("error: ").unwrap_or(&text).to_owned()
    });
    notes.collect()
}

/// Names of backends that have no address now: no mistake, since they may have one later.
pub(super) async fn names(config: &Config, model: &Model) -> Vec<String> {
    let mut names: BTreeMap<String, (String, String)> = BTreeMap::new();
    for upstream in &model.upstreams {
        for (index, backend) in upstream.backends.iter().enumerate() {
            if let BackendHost::Name(name, _) = &backend.url.host {
                let at = format!("{}[{index}]", keys(&["upstreams", &upstream.name, "backends"]));
                names.entry(name.clone()).or_insert((at, backend.url.text.clone()));
            }
        }
    }
    let count = names.len();
    let end = tokio::time::Instant::now() + PATIENCE;
    let mut lookups = tokio::task::JoinSet::new();
    for (at, (name, place)) in names.into_iter().take(MOST_NAMES).enumerate() {
        lookups.spawn(async move {
            let lookup = async {
                tokio::net::lookup_host((name.as_str(), 80)).await.is_ok_and(|mut all| all.next().is_some())
            };
            let has_address = tokio::time::timeout_at(end, lookup).await.unwrap_or(false);
            (at, has_address, name, place)
        });
    }
    let mut unknown = Vec::new();
    while let Some(Ok((at, has_address, name, (keys, url)))) = lookups.join_next().await {
        if !has_address {
            unknown.push((at, name, keys, url));
        }
    }
    unknown.sort();
    let mut notes: Vec<String> =
        unknown.into_iter().map(|(_, name, keys, url)| note(config, &name, keys, url)).collect();
    if count > MOST_NAMES {
        notes.push(format!("{} more names of backends were not looked up", count - MOST_NAMES));
    }
    notes
}

fn note(config: &Config, name: &str, keys: String, url: String) -> String {
    let message =
        format!("has the name {name}, which has no address now: the backend is down until it has one");
    let text = of_backend(config, &keys, &message).value(url).to_string();
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}

/// A diagnostic about the URL of the backend at these keys. The short form of a backend is the URL itself, the long form has
/// it under a key.
fn of_backend(config: &Config, keys: &str, message: &str) -> Diagnostic {
    let short = config.diagnostic(keys, message);
    match short.place {
        Some(_) => short,
        None => config.diagnostic(&format!("{keys}.url"), message),
    }
}

/// Why a log cannot be written there, if it cannot. Nothing is written to find out.
fn unwritable(path: &Path) -> Option<String> {
    let folder = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => return Some("expected the path of a file".to_owned()),
    };
    let (probed, what) = match path.metadata() {
        Ok(metadata) if metadata.is_dir() => {
            return Some("it is a directory: expected the path of a file".to_owned());
        }
        Ok(_) => (path, "the file"),
        Err(_) => match folder.metadata() {
            Ok(metadata) if metadata.is_dir() => (folder.as_path(), "the directory"),
            Ok(_) => return Some(format!("{} is not a directory", folder.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Some(format!("there is no directory {}: create it", folder.display()));
            }
            Err(error) => return Some(format!("{}: {error}", folder.display())),
        },
    };
    access(probed, Access::WRITE_OK).err().map(|error| {
        let error = std::io::Error::from(error);
        format!("{what} is not writable for this user: {error}: change its owner or its mode")
    })
}

/// Keys as messages write them.
fn keys(keys: &[&str]) -> String {
    evenkeel::config::key_path(keys)
}
