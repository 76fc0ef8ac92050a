//! A balancer in this process, from YAML as a user writes it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use evenkeel::algorithm::{self, Pick, Snapshot};
use evenkeel::config::{Config, ConfigError, ListenAddress};
use evenkeel::health_check::{Check, Target};
use evenkeel::{Handle, Server, ServerError, filter::Registry};
use serde_json::Value;

use super::lane::{filled_up, over_tls};
use super::tls::{TEST_NAME, speaks_tls};
use super::{Authority, Client, Message, PATIENCE, TlsClient, eventually, get};

/// What a text says, with what it does not say: see [`Balancer::start`].
fn configured(yaml: &str, log: &Path) -> Result<Config, ConfigError> {
    Config::from_yaml(&filled(yaml, log), "test.yaml", &|_| None)
}

/// The text with what it does not say.
fn filled(yaml: &str, log: &Path) -> String {
    let plain = "[{ address: 127.0.0.1:0 }]";
    let listeners = if over_tls() { over_tls_listeners(log) } else { plain.to_owned() };
    let to_log = format!("{{ to: {}, format: json }}", log.display());
    let defaults = [
        ("listeners:", listeners.as_str()),
        ("admin:", "{ address: 127.0.0.1:0, hosts: [test] }"),
        ("access_log:", to_log.as_str()),
    ];
    filled_up(yaml, &defaults)
}

/// A health check with a fixed result.
#[derive(Debug)]
struct Fixed(bool);

impl Check for Fixed {
    fn check<'a>(&'a self, _: &'a Target) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        Box::pin(async { if self.0 { Ok(()) } else { Err("as the test wants".to_owned()) } })
    }
}

/// An algorithm that picks the backend at this place.
#[derive(Debug)]
struct Picks(usize);

impl algorithm::Balancer for Picks {
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        (self.0 < candidates.members().len() && !request.tried.contains(self.0)).then_some(self.0)
    }
}

/// The certificate of a listener that a text does not describe, in a run over TLS, next to the log.
fn over_tls_listeners(log: &Path) -> String {
    let folder = log.parent().expect("a folder");
    if !authority_of(log).exists() {
        let authority = Authority::new(folder);
        authority.pair("own", &[TEST_NAME]);
        std::fs::write(authority_of(log), authority.pem()).expect("a file");
    }
    let file = |name: &str| folder.join(name).display().to_string();
    let (cert, key) = (file("own.pem"), file("own.key"));
    format!("[{{ address: 127.0.0.1:0, tls: {{ certificates: [{{ cert: {cert}, key: {key} }}] }} }}]")
}

fn authority_of(log: &Path) -> PathBuf {
    log.with_file_name("own-ca.pem")
}

/// A running balancer. Dropping it ends it with all its connections.
pub(crate) struct Balancer {
    server: Server,
    log: PathBuf,
    /// Holds the log, and files that a test adds.
    _folder: tempfile::TempDir,
}

// === impl Balancer ===

impl Balancer {
    /// Starts one. What the text does not say is added: a listener on a free port of 127.0.0.1, the admin address, an access
    /// log as JSON, and the lanes of this run. It knows the health checks `passing` and `failing`, and the
    /// algorithms `first` and `second`.
    pub(crate) async fn start(yaml: &str) -> Self {
        Self::with(yaml, Registry::builtin()).await
    }

    /// Starts one in front of one backend, with nothing else to say.
    pub(crate) async fn before(backend: &str) -> Self {
        Self::start(&format!("upstreams: {{ web: {{ backends: [\"{backend}\"] }} }}")).await
    }

    /// Starts one that knows these filters.
    pub(crate) async fn with(yaml: &str, filters: Registry) -> Self {
        Self::try_with(yaml, filters).await.unwrap_or_else(|error| panic!("{error}\n{yaml}"))
    }

    /// Starts one, if it can be.
    pub(crate) async fn try_with(yaml: &str, filters: Registry) -> Result<Self, ServerError> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("access.log");
        let config = configured(yaml, &log).map_err(ServerError::Config)?;
        let server = Server::new(config).filters(filters);
        let mut server =
            server.health_check("passing", || Fixed(true)).health_check("failing", || Fixed(false));
        server = server.algorithm("first", || Picks(0)).algorithm("second", || Picks(1));
        server.start().await?;
        if over_tls() {
            let listeners = server.state().expect("it is started").listeners();
            for listener in listeners.into_iter().filter(|listener| listener.is_tls()) {
                if let ListenAddress::Tcp(address) = listener.address {
                    speaks_tls(address, TlsClient::trusting(&authority_of(&log)));
                }
            }
        }
        Ok(Self { server, log, _folder: folder })
    }

    /// Puts another text in force, filled up like the first. Gives the changes as text.
    pub(crate) async fn reload(&self, yaml: &str) -> Result<Vec<String>, String> {
        let config = configured(yaml, &self.log).map_err(|error| error.to_string())?;
        let changes = self.handle().reload(&config).await.map_err(|error| error.to_string())?;
        Ok(changes.iter().map(ToString::to_string).collect())
    }

    /// Puts the text of a file in force, which can include other files. The text is filled up like the first.
    pub(crate) async fn reload_file(&self, file: &Path, yaml: &str) -> Result<Vec<String>, String> {
        std::fs::write(file, filled(yaml, &self.log)).expect("a file");
        let config = Config::from_file(file, &|_| None).map_err(|error| error.to_string())?;
        let changes = self.handle().reload(&config).await.map_err(|error| error.to_string())?;
        Ok(changes.iter().map(ToString::to_string).collect())
    }

    /// What a reload with this text would change, as text.
    pub(crate) async fn plan(&self, yaml: &str) -> Result<Vec<String>, String> {
        let config = configured(yaml, &self.log).map_err(|error| error.to_string())?;
        let changes = self.handle().plan(&config).await.map_err(|error| error.to_string())?;
        Ok(changes.iter().map(ToString::to_string).collect())
    }

    /// Controls it from elsewhere.
    pub(crate) fn handle(&self) -> Handle {
        self.server.handle().expect("it is started")
    }

    /// A path in its own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.log.with_file_name(name)
    }

    /// The address of its first listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.nth_address(0)
    }

    /// The address of a listener. Fails on a Unix socket.
    pub(crate) fn nth_address(&self, listener: usize) -> SocketAddr {
        match &self.server.addresses()[listener] {
            ListenAddress::Tcp(address) => *address,
            other => panic!("{other:?} is not an IP address"),
        }
    }

    /// How many listeners it has.
    pub(crate) fn listeners(&self) -> usize {
        self.server.addresses().len()
    }

    /// The admin address.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.server.admin_address().expect("an admin address")
    }

    /// A connection to its first listener.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address()).await
    }

    /// Asks for `path` on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Message {
        get(self.address(), path).await
    }

    /// The records of the access log, as soon as there are at least `count`.
    pub(crate) async fn log_lines(&self, count: usize) -> Vec<Value> {
        let mut lines = Vec::new();
        eventually(PATIENCE, || {
            lines = self.records();
            lines.len() >= count
        })
        .await;
        lines
    }

    /// The one record of the access log, as soon as it is there. Fails when there are more.
    pub(crate) async fn log_line(&self) -> Value {
        let mut lines = self.log_lines(1).await;
        assert_eq!(lines.len(), 1, "records: {lines:#?}");
        lines.remove(0)
    }

    /// The record of the request for this target, as soon as it is there.
    pub(crate) async fn log_line_of(&self, target: &str) -> Value {
        let mut found = None;
        eventually(PATIENCE, || {
            found = self.records().into_iter().find(|record| record["target"] == target);
            found.is_some()
        })
        .await;
        found.expect("just found")
    }

    /// The page of metrics.
    pub(crate) async fn metrics(&self) -> String {
        get(self.admin(), "/metrics").await.text()
    }

    /// What `/status` says.
    pub(crate) async fn status(&self) -> Value {
        serde_json::from_str(&get(self.admin(), "/status").await.text()).expect("JSON")
    }

    /// Ends it.
    pub(crate) fn stop(self) {
        drop(self);
    }

    /// The records of the access log so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("a record is JSON")).collect()
    }
}
