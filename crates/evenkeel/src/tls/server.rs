//! How a listener speaks TLS, ready for use: what is agreed to, and which certificate a client receives.

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_config::{FileStamp, ListenerTls, Protocol};
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::{Certificate, CertificateError};
use super::client_certificate::ClientTrust;
use super::names::ByName;
use super::provider::{limited, versions};
use super::tickets::TicketKeys;

/// How a listener speaks TLS.
pub struct ServerTls {
    /// From the accept to the end of the handshake.
    pub handshake_timeout: Duration,
    /// The most handshakes in progress at the same time.
    pub max_handshakes: usize,
    pub(super) config: ArcSwap<ServerConfig>,
    certificates: Arc<Certificates>,
    /// What the files are, and how they are used.
    settings: ListenerTls,
    /// The files as they were when they were last read; `None` for one that is not there.
    stamps: Mutex<Vec<Option<FileStamp>>>,
    secrets: Mutex<Secrets>,
}

/// What decides whether a session can be resumed.
#[derive(Clone, Debug)]
struct Secrets {
    /// Who certifies clients, if they can show certificates.
    trust: Option<ClientTrust>,
    /// The keys of a file, if there is one.
    keys: Option<TicketKeys>,
    tickets: Arc<dyn ProducesTickets>,
}

/// Why a listener cannot speak TLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate cannot be used.
    #[error("tls.certificates[{index}]: {source}")]
    Certificate {
        /// Its number, from zero.
        index: usize,
        /// Why not.
        source: CertificateError,
    },
    /// Another file cannot be used.
    #[error("tls.{key}: {} {reason}", path.display())]
    File {
        /// The key that names it: `client_auth.ca`, `client_auth.crl` or `ticket_keys`.
        key: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong with it, and what was expected.
        reason: String,
    },
    /// The library does not accept the combination, or has no random numbers.
    #[error("tls: {0}")]
    Library(String),
}

/// The certificates of a listener; the set can be replaced while it is in use.
struct Certificates {
    set: ArcSwap<Set>,
    /// Whether a client that asks for an unknown name is rejected.
    strict: bool,
}

/// One set of certificates.
#[derive(Debug)]
struct Set {
    /// In the configured order.
    all: Vec<Arc<Certificate>>,
    by_name: ByName<Arc<Certificate>>,
}

/// What a client asked for, and received.
#[derive(Debug)]
pub(super) struct Chosen {
    /// The name that it asked for, if any.
    pub(super) server_name: Option<Box<str>>,
    /// The certificate that it received, if there are others.
    pub(super) received: Option<Received>,
}

/// The certificate that a client received, among those that there were.
#[derive(Clone)]
pub(super) struct Received {
    set: Arc<Set>,
    certificate: Arc<Certificate>,
}

thread_local! {
    /// The choice within the step of a handshake that runs on this thread. rustls passes no connection to who chooses, nor
    /// does it say later which name there was.
    static CHOSEN: RefCell<Option<Chosen>> = const { RefCell::new(None) };
}

/// How many tickets a client receives for later connections in TLS 1.3. Browsers open two connections at once.
const TICKETS: usize = 2;

// === impl ServerTls ===

impl ServerTls {
    /// Reads the files that a listener's TLS names. Sessions of `before` can be resumed.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn load(tls: &ListenerTls, before: Option<&Self>) -> Result<Self, TlsError> {
        // Before they are read: what changes meanwhile is read again.
        let stamps = Mutex::new(stamps(tls));
        let set = Set::read(tls)?;
        let certificates = Arc::new(Certificates { set: ArcSwap::from_pointee(set), strict: tls.strict_sni });
        let before = before.map(|before| before.secrets.lock().clone());
        let secrets = Secrets::read(tls, before.as_ref())?;
        Ok(Self {
            handshake_timeout: tls.handshake_timeout,
            max_handshakes: tls.max_handshakes,
            config: ArcSwap::from_pointee(config(tls, &certificates, &secrets)?),
            certificates,
            settings: tls.clone(),
            stamps,
            secrets: Mutex::new(secrets),
        })
    }

    /// Reads the files again if any of them has changed since they were last read, and takes them into use for new
    /// connections. Nothing if none has changed.
    ///
    /// # Errors
    /// The first file that cannot be used. The old files stay in use, and the new ones are tried again after the next change.
    pub fn refresh(&self) -> Option<Result<(), TlsError>> {
        let now = stamps(&self.settings);
        {
            let mut before = self.stamps.lock();
            if *before == now {
                return None;
            }
            *before = now;
        }
        Some(self.read_again())
    }

    /// All of the files are in use, or none.
    fn read_again(&self) -> Result<(), TlsError> {
        let set = Set::read(&self.settings)?;
        let mut secrets = self.secrets.lock();
        let now = Secrets::read(&self.settings, Some(&secrets))?;
        if now.trust != secrets.trust || now.keys != secrets.keys {
            self.config.store(Arc::new(config(&self.settings, &self.certificates, &now)?));
            *secrets = now;
        }
        self.certificates.set.store(Arc::new(set));
        Ok(())
    }

    /// The certificates that are in use, in the configured order.
    pub fn certificates(&self) -> Vec<Arc<Certificate>> {
        self.certificates.set.load().all.clone()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

/// What was chosen in the step of a handshake that has just ended, if anything was.
pub(super) fn take_chosen() -> Option<Chosen> {
    CHOSEN.with_borrow_mut(Option::take)
}

/// All files as they are now.
fn stamps(tls: &ListenerTls) -> Vec<Option<FileStamp>> {
    let certificates = tls.certificates.iter();
    let certificates =
        certificates.flat_map(|files| [&files.cert, &files.key].into_iter().chain(&files.ocsp));
    let clients = tls.client_auth.iter().flat_map(|auth| std::iter::once(&auth.ca).chain(&auth.crl));
    let files = certificates.chain(clients).chain(&tls.ticket_keys);
    files.map(|path| FileStamp::of(path).ok()).collect()
}

/// What the library is to do for this listener.
fn config(
    tls: &ListenerTls,
    certificates: &Arc<Certificates>,
    secrets: &Secrets,
) -> Result<ServerConfig, TlsError> {
    let provider = limited(&tls.cipher_suites, &tls.groups);
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(tls.min_version, tls.max_version))
        .map_err(library)?;
    let builder = match &secrets.trust {
        None => builder.with_no_client_auth(),
        Some(trust) => builder.with_client_cert_verifier(trust.verifier(&provider)?),
    };
    let mut config = builder.with_cert_resolver(certificates.clone());
    config.alpn_protocols = match (tls.protocol, tls.http2) {
        (Protocol::Http, true) => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        (Protocol::Http, false) => vec![b"http/1.1".to_vec()],
        // What is spoken is not known: a client that offers protocols gets none.
        _ => Vec::new(),
    };
    config.ticketer = secrets.tickets.clone();
    config.send_tls13_tickets = TICKETS;
    // Tickets are enough: what the server remembered would be lost at a restart, and be a table for all clients.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn library(error: rustls::Error) -> TlsError {
    TlsError::Library(error.to_string())
}

// === impl Secrets ===

impl Secrets {
    /// Reads the files. Sessions of `before` can be resumed, unless clients are trusted differently: a ticket stands for the
    /// certificate of its client, and must not outlive the trust in it.
    fn read(tls: &ListenerTls, before: Option<&Self>) -> Result<Self, TlsError> {
        let trust = tls.client_auth.as_ref().map(ClientTrust::read).transpose()?;
        let keys = tls.ticket_keys.as_deref().map(TicketKeys::read).transpose()?;
        let tickets: Arc<dyn ProducesTickets> = match (&keys, before) {
            (Some(keys), _) => {
                let digest = trust.as_ref().map(ClientTrust::digest);
                let tickets = keys.tickets(digest.as_ref().map_or(&[], |digest| digest.as_slice()));
                Arc::new(
                    tickets.ok_or_else(|| TlsError::Library("the ticket keys cannot be used".to_owned()))?,
                )
            }
            (None, Some(before)) if before.keys.is_none() && before.trust == trust => before.tickets.clone(),
            (None, _) => Ticketer::new().map_err(library)?,
        };
        Ok(Self { trust, keys, tickets })
    }
}

// === impl Set ===

impl Set {
    fn read(tls: &ListenerTls) -> Result<Self, TlsError> {
        let provider = super::provider::whole();
        let all = tls.certificates.iter().enumerate().map(|(index, files)| {
            let read = Certificate::read(files, &provider);
            read.map(Arc::new).map_err(|source| TlsError::Certificate { index, source })
        });
        let all = all.collect::<Result<Vec<_>, _>>()?;
        // The first one stays first: it is the one for unknown names.
        let mut order: Vec<_> = all.iter().collect();
        order.get_mut(1..).unwrap_or_default().sort_by_key(|certificate| !certificate.is_cheap());
        let by_name = ByName::new(order.into_iter().map(|one| (one.clone(), one.names.as_slice())));
        Ok(Self { all, by_name })
    }
}

// === impl Received ===

impl Received {
    /// Whether a request for this host should have come on a connection with another certificate.
    pub(super) fn is_misdirected(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        !self.certificate.is_for(&host) && !self.set.by_name.of(&host).is_empty()
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Received").field(&self.certificate.names).finish()
    }
}

impl PartialEq for Received {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.certificate, &other.certificate)
    }
}

impl Eq for Received {}

// === impl Certificates ===

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = Chosen { server_name: hello.server_name().map(Into::into), received: None };
        CHOSEN.with_borrow_mut(|place| *place = Some(chosen));
        let set = self.set.load();
        let named = match hello.server_name() {
            Some(name) if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                set.by_name.of(&name.to_ascii_lowercase())
            }
            Some(name) => set.by_name.of(name),
            None => &[],
        };
        let found = match named {
            [] if self.strict => return None,
            [] => set.by_name.fallback(),
            named => named,
        };
        let usable = |one: &&Arc<Certificate>| one.key.key.choose_scheme(hello.signature_schemes()).is_some();
        let preferred = found.iter().filter(usable).min_by_key(|one| !one.is_cheap());
        let preferred = preferred?;
        if set.all.len() > 1 {
            let received = Received { set: Arc::clone(&set), certificate: preferred.clone() };
            CHOSEN.with_borrow_mut(|place| {
                if let Some(chosen) = place {
                    chosen.received = Some(received);
                }
            });
        }
        Some(preferred.key.clone())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.set.load().all.iter().map(|one| &one.names)).finish()
    }
}
