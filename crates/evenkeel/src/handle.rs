//! A started balancer, as the rest of the program reaches it: reload, drain, look.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use evenkeel_config::{Changes, Config, ConfigError, Model};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::admin::{Admin, AdminCommands, AdminError};
use crate::control::{
    ChangeError, ChangeRequest, Changed, Running, StartError, State, UpstreamGone, UpstreamHandle,
};

/// Reads the configuration again: a file, for the command.
pub(crate) type Source = Arc<dyn Fn() -> Result<Config, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// Controls a started [`Server`](crate::Server) from elsewhere in the program. Cloning is cheap. It does not keep the server
/// alive: once that has ended, every order gives [`ReloadError::Stopped`].
///
/// ```no_run
/// use evenkeel::prelude::*;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let config = |port: u16| {
///     let backend = format!("http://127.0.0.1:{port}");
///     ConfigBuilder::new().listen_address("127.0.0.1:8080").upstream_servers([backend]).build()
/// };
/// let mut server = Server::new(config(8081));
/// server.start().await?;
/// let handle = server.handle().ok_or("not started")?;
/// let changes = handle.reload(&config(8082)).await?;
/// println!("{changes}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Handle(Weak<Started>);

/// A started balancer with its admin address.
pub(crate) struct Started {
    pub(crate) running: Running,
    pub(crate) admin: Mutex<Option<Admin>>,
    pub(crate) source: Option<Source>,
    pub(crate) drain: Drain,
}

/// A drain that a [`Handle`] began.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    begun: AtomicBool,
    pub(crate) begins: Notify,
    pub(crate) ends: Notify,
}

/// Why a reload was rejected. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration cannot be read.
    #[error("{0}")]
    Source(Box<dyn Error + Send + Sync>),
    /// The program named no place to read the configuration from: see
    /// [`Server::reload_from`](crate::Server::reload_from).
    #[error("the configuration was not read from a file: there is nothing to reload")]
    NoSource,
    /// What the configuration asks for could not be had, or needs a restart.
    #[error(transparent)]
    Start(StartError),
    /// The admin address could not be had.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The server still waits for sources of backends.
    #[error("the server is starting")]
    Starting,
    /// The server drains: it will end.
    #[error("the server drains")]
    Draining,
    /// The server has ended.
    #[error("the server has ended")]
    Stopped,
}

// === impl Handle ===

impl Handle {
    pub(crate) fn new(started: &Arc<Started>) -> Self {
        Self(Arc::downgrade(started))
    }

    fn started(&self) -> Result<Arc<Started>, ReloadError> {
        self.0.upgrade().ok_or(ReloadError::Stopped)
    }

    /// Puts another configuration in force, without dropping a connection or a request. Gives what has changed.
    ///
    /// What stays the same keeps its counters, health, ejections, requests in flight, measured latencies, idle connections and
    /// the state of its filters. Requests that are under way end with the configuration that they began with. Listeners that
    /// are no longer configured accept no more, and their connections drain for `drain_timeout`.
    ///
    /// # Errors
    /// Why it was rejected. Nothing has changed then.
    ///
    /// # Cost
    /// Linear in the size of the configuration. No request waits for it.
    pub async fn reload(&self, config: &Config) -> Result<Changes, ReloadError> {
        let started = self.started()?;
        started.reload(config, self).await
    }

    /// What [`reload`](Self::reload) would change. Everything that can fail is tried, and nothing changes.
    ///
    /// # Errors
    /// Why a reload would be rejected.
    pub async fn plan(&self, config: &Config) -> Result<Changes, ReloadError> {
        let started = self.started()?;
        let model = config.model().map_err(Clone::clone)?;
        started.running.plan(model).await.map_err(ReloadError::from_start)
    }

    /// Reads the configuration again from where the program said it is, and puts it in force; with `dry_run` it only says what
    /// would change. Logs the result of a reload, not of a dry run.
    ///
    /// # Errors
    /// Why it was rejected. Nothing has changed then.
    pub async fn reload_again(&self, dry_run: bool) -> Result<Changes, ReloadError> {
        let started = self.started()?;
        let read = match started.source.clone() {
            Some(source) => {
                let read = tokio::task::spawn_blocking(move || source()).await;
                read.unwrap_or_else(|panic| Err(panic.into())).map_err(ReloadError::Source)
            }
            None => Err(ReloadError::NoSource),
        };
        if dry_run {
            return self.plan(&read?).await;
        }
        match read {
            Ok(config) => started.reload(&config, self).await,
            Err(error) => {
                started.note(&Err(error.to_string()));
                Err(error)
            }
        }
    }

    /// Drains the server, as SIGTERM does: `/readyz` fails, new requests are the last of their connections, after `pre_stop` no
    /// connection is accepted, and [`Server::run`](crate::Server::run) returns once the last request has ended, at the latest
    /// after `drain_timeout`. A second call, and a call after the end, does nothing.
    ///
    /// It returns at once, and the server drains on the runtime that it is called on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn drain(&self) {
        let Some(started) = self.0.upgrade() else { return };
        if started.drain.begun.swap(true, Ordering::AcqRel) {
            return;
        }
        started.drain.begins.notify_one();
        tokio::spawn(async move {
            started.running.end(false).await;
            started.drain.ends.notify_one();
        });
    }

    /// Replaces the backends of the upstream of this name, under traffic: for a program that finds its backends itself. `None`
    /// if no such upstream is configured, or once the server has ended.
    ///
    /// ```no_run
    /// # async fn example(handle: evenkeel::Handle) -> Result<(), Box<dyn std::error::Error>> {
    /// use evenkeel::config::{Backend, BackendUrl};
    ///
    /// let api = handle.upstream("api").await.ok_or("no upstream of this name")?;
    /// let found = ["http://10.0.0.1:80", "http://10.0.0.2:80"];
    /// let set = found.into_iter().map(|url| Ok(Backend::new(BackendUrl::parse(url)?)));
    /// let change = api.replace(set.collect::<Result<_, String>>()?).await?;
    /// println!("{} backends", change.total);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn upstream(&self, name: &str) -> Option<UpstreamHandle> {
        self.0.upgrade()?.running.upstream(name).await
    }

    /// What runs: health, counters, metrics. `None` once the server has ended.
    pub fn state(&self) -> Option<Arc<State>> {
        Some(self.0.upgrade()?.running.state().clone())
    }
}

impl AdminCommands for Handle {
    fn reload(&self, dry_run: bool) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>> {
        Box::pin(async move {
            let changes = self.reload_again(dry_run).await.map_err(|error| error.to_string())?;
            Ok(if changes.is_empty() { "nothing changed\n".to_owned() } else { changes.to_string() })
        })
    }

    fn change<'a>(
        &'a self,
        upstream: &'a str,
        order: ChangeRequest,
    ) -> Pin<Box<dyn Future<Output = Result<Changed, ChangeError>> + Send + 'a>> {
        Box::pin(async move { self.upstream(upstream).await.ok_or(UpstreamGone)?.change(order).await })
    }
}

// === impl Started ===

impl Started {
    async fn reload(&self, config: &Config, handle: &Handle) -> Result<Changes, ReloadError> {
        let result = match config.model() {
            _ if self.running.state().is_starting() => Err(ReloadError::Starting),
            _ if !self.running.state().is_ready() => Err(ReloadError::Draining),
            Ok(model) => self.put_in_force(model, handle).await,
            Err(error) => Err(ReloadError::Config(error.clone())),
        };
        let noted = result.as_ref().map(Clone::clone).map_err(ToString::to_string);
        self.note(&noted);
        result
    }

    async fn put_in_force(&self, model: &Arc<Model>, handle: &Handle) -> Result<Changes, ReloadError> {
        let before = self.admin.lock().as_ref().map(Admin::configured);
        let opened = match &model.admin {
            Some(admin) if before != Some(admin.address) => {
                Some(Admin::start(admin, self.running.state().clone(), Arc::new(handle.clone())).await?)
            }
            _ => None,
        };
        let changes = self.running.reload(model).await.map_err(ReloadError::from_start)?;
        let mut current = self.admin.lock();
        match (&model.admin, opened) {
            (None, _) => *current = None,
            (Some(_), Some(opened)) => *current = Some(opened),
            (Some(admin), None) => {
                if let Some(current) = &*current {
                    current.configure(admin);
                }
            }
        }
        Ok(changes)
    }

    /// Logs the result of a reload, and keeps it for `/status` and the metrics.
    fn note(&self, result: &Result<Changes, String>) {
        match result {
            Ok(changes) if changes.is_empty() => log::info!("configuration reloaded: nothing changed"),
            Ok(changes) => {
                let count = changes.iter().count();
                log::info!("configuration reloaded: {count} changes");
                for change in changes.iter().take(Self::TOLD) {
                    log::info!("reload: {change}");
                }
                if count > Self::TOLD {
                    log::info!("reload: {} more changes", count - Self::TOLD);
                }
            }
            Err(error) => {
                let first = error.lines().next().unwrap_or_default();
                let more = error.lines().filter(|line| !line.is_empty()).count().saturating_sub(1);
                let more = if more > 0 { format!(" (and {more} more lines)") } else { String::new() };
                log::error!("configuration rejected, the old one stays in force: {first}{more}");
            }
        }
        self.running.state().reloaded(result.as_ref().map(drop).map_err(Clone::clone));
    }

    /// How many changes are logged one by one.
    const TOLD: usize = 20;
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started")
            .field("running", &self.running)
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

// === impl ReloadError ===

impl ReloadError {
    fn from_start(error: StartError) -> Self {
        match error {
            StartError::Config(error) => Self::Config(error),
            error => Self::Start(error),
        }
    }
}
