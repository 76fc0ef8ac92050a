//! What is running: started whole or not at all, changed whole or not at all, and drained before it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use evenkeel_config::{Changes, ConfigError, Model, OverloadProtection, Shutdown};
use tokio::sync::Mutex;

use super::apply::Opening;
use super::certificates::watch;
use super::change::Change;
use super::discovery::{Sources, sources, unknown};
use super::extensions::Extensions;
use super::files::warn_if_few;
use super::handle::UpstreamHandle;
use super::live::Live;
use super::plan::PlanError;
use super::state::{Reloads, State, StatusView};
use crate::exchange::{Environment, Table};
use crate::listen::{BindError, Inherited, SocketFile, WorkerError, Workers};
use crate::observe::{AccessLogError, Metrics};
use crate::tls::install_provider;

/// A balancer that serves: its workers, its log, its state.
///
/// Dropping it ends it with all its connections.
#[derive(Debug)]
pub struct Running {
    state: Arc<State>,
    pub(super) workers: Workers,
    pub(super) extensions: Extensions,
    /// The listeners that open once the start has waited for its sources.
    opening: Mutex<Vec<Opening>>,
    /// One reload at a time.
    pub(super) live: Mutex<Live>,
    /// The thresholds of memory and descriptors.
    pub(super) overload: tokio::sync::watch::Sender<OverloadProtection>,
}

/// Why a balancer did not start, or did not take over a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration asks for something that is not there.
    #[error(transparent)]
    Plan(PlanError),
    /// An address could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The access log could not be opened.
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
    /// The system gave no thread.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A key has changed that a reload cannot change.
    #[error("{0} changed: this needs a restart")]
    NeedsRestart(String),
}

/// How long requests may take to end after SIGINT, at most.
const QUICK_DRAIN: Duration = Duration::from_secs(5);

// === impl StartError ===

impl StartError {
    pub(super) fn from_plan(error: PlanError) -> Self {
        match error {
            PlanError::Config(error) => Self::Config(error),
            error => Self::Plan(error),
        }
    }
}

// === impl Running ===

impl Running {
    /// Starts what the model says. Everything that can fail comes before the first connection is taken, and none is before
    /// [`open`](Self::open_listeners) is called.
    ///
    /// # Errors
    /// Why not; nothing is left behind then.
    pub async fn start(model: &Arc<Model>, extensions: &Extensions) -> Result<Self, StartError> {
        install_provider();
        let workers = model.workers.or_else(|| std::thread::available_parallelism().ok());
        let workers = workers.map_or(1, std::num::NonZeroUsize::get);
        let metrics = Arc::new(Metrics::new(workers));
        let live = Live::default();
        let sources = sources(&live, model, extensions).map_err(StartError::from_plan)?;
        let change = Change::prepare(&live, model, sources, extensions, &metrics).await?;
        let is_used = |socket: &&Inherited| model.listeners.iter().any(|one| socket.is_for(&one.address));
        for socket in extensions.sockets.iter().filter(|socket| !is_used(socket)) {
            log::warn!(
                "the socket for {} that was passed to the process is not used: no listener has this address",
                socket.address()
            );
        }
        let table = Arc::new(ArcSwap::from_pointee(Table::default()));
        let environments = (0..workers)
            .map(|worker| Arc::new(Environment { worker, table: table.clone(), metrics: metrics.clone() }));
        let workers = Workers::spawn(environments.collect(), model.lanes, extensions.give_back)?;
        let state = Arc::new(State {
            table,
            shown: ArcSwap::from_pointee(StatusView::default()),
            metrics,
            ready: AtomicBool::new(false),
            starting: AtomicBool::new(true),
            started: Instant::now(),
            reloads: Reloads::default(),
            overload: workers.overload(),
        });
        let (overload, thresholds) = tokio::sync::watch::channel(model.overload_protection.clone());
        tokio::spawn(super::overload::watch(Arc::downgrade(&state), workers.overload(), thresholds));
        let extensions = extensions.clone();
        let (opening, live) = (Mutex::default(), Mutex::new(live));
        let running = Self { state, workers, extensions, opening, live, overload };
        *running.opening.lock().await = running.apply(&mut *running.live.lock().await, change).await;
        model.without_effect().iter().for_each(|key| log::warn!("{key}"));
        Ok(running)
    }

    /// Accepts connections from here on: at once, or once every source of backends has returned its first set or has used its
    /// `start_timeout`.
    pub async fn open_listeners(&self) {
        self.first_sets().await;
        self.open(std::mem::take(&mut *self.opening.lock().await)).await;
        self.state.starting.store(false, Ordering::Release);
        tokio::spawn(watch(Arc::downgrade(&self.state)));
        self.state.ready.store(true, Ordering::Release);
    }

    /// What a reload with this model would change, after everything that can fail has been tried. Changes nothing.
    ///
    /// # Errors
    /// Why a reload would be rejected.
    pub async fn plan(&self, model: &Arc<Model>) -> Result<Changes, StartError> {
        let unknown = unknown(model, &self.extensions);
        if let Some(error) = unknown.into_iter().next() {
            return Err(StartError::Plan(error));
        }
        let live = self.live.lock().await;
        Ok(Change::prepare(&live, model, Sources::new(), &self.extensions, &self.state.metrics)
            .await?
            .changes)
    }

    /// Puts another configuration in force, without dropping a connection or a request. Gives what has changed.
    ///
    /// What stays the same keeps its counters, health, ejections, requests in flight, measured latencies, idle connections and
    /// the state of its filters. Requests that are under way end with the configuration that they began with.
    ///
    /// # Errors
    /// Why it was rejected. Nothing has changed then.
    ///
    /// # Cost
    /// Linear in the size of the configuration. No request waits for it.
    pub async fn reload(&self, model: &Arc<Model>) -> Result<Changes, StartError> {
        let fresh = self.follow(model).await.map_err(StartError::from_plan)?;
        let mut live = self.live.lock().await;
        let change = Change::prepare(&live, model, fresh, &self.extensions, &self.state.metrics).await?;
        let changes = change.changes.clone();
        let opening = self.apply(&mut live, change).await;
        self.open(opening).await;
        model.without_effect().iter().for_each(|key| log::warn!("{key}"));
        Ok(changes)
    }

    /// Replaces the backends of the upstream of this name; `None` if there is none.
    pub async fn upstream(&self, name: &str) -> Option<UpstreamHandle> {
        self.live.lock().await.upstreams.get(name).map(|upstream| upstream.handle.clone())
    }

    /// Tells the log which limits of the system are too low for the model.
    pub fn warn_of_limits(&self, model: &Model) {
        warn_if_few(model, self.state.workers());
    }

    /// What it shows of itself.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Resolves when a worker has ended that was not asked to: its thread panicked.
    pub async fn broken(&self) {
        self.workers.broken().await;
    }

    /// Opens the access log's file again.
    pub async fn reopen_log(&self) {
        if let Some(log) = &self.live.lock().await.log {
            log.reopen();
        }
    }

    /// Drains: not ready, then (`pre_stop` later, unless it is to be `quick`) no new connections, then the last request has
    /// ended, or `drain_timeout` is over and the connections that are still open are closed.
    pub async fn end(&self, quick: bool) {
        self.state.ready.store(false, Ordering::Release);
        log::info!("draining");
        self.workers.leave();
        let shutdown = self.shutdown().await;
        let mut patience = shutdown.drain_timeout;
        if quick {
            patience = patience.min(QUICK_DRAIN);
        } else {
            tokio::time::sleep(shutdown.pre_stop).await;
        }
        self.workers.drain();
        if tokio::time::timeout(patience, self.workers.ended()).await.is_err() {
            let open: u64 = self.state.listeners().iter().map(|listener| listener.metrics.open()).sum();
            log::warn!("drain_timeout of {patience:?} expired: closing {open} open connections");
            self.workers.stop();
        }
    }

    async fn shutdown(&self) -> Shutdown {
        self.live.lock().await.model.as_ref().map(|model| model.shutdown.clone()).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.workers.stop();
        let live = std::mem::take(self.live.get_mut());
        drop(std::mem::take(&mut self.workers));
        if let Some(log) = &live.log {
            // A reader of the state may still hold it.
            log.close();
        }
        live.listeners.iter().filter_map(|listener| listener.file.as_ref()).for_each(SocketFile::remove);
    }
}
