//! What is running: started whole or not at all, and ended in peace.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use evenkeel_config::{ConfigError, ListenAddress, Model, Shutdown};
use tokio::task::JoinSet;

use super::files::warn_if_few;
use super::keeper::Keeper;
use super::plan::{Extensions, Plan, PlanError};
use super::state::{ListenerState, State};
use crate::exchange::Environment;
use crate::listen::{BindError, Bound, Site, Worker, WorkerError, bind, spawn};
use crate::observe::{AccessLog, AccessLogError, ListenerMetrics, Metrics};

/// A balancer that serves: its workers, its log, its state.
///
/// Dropping it ends it with all its connections.
#[derive(Debug)]
pub struct Running {
    state: Arc<State>,
    workers: Vec<Worker>,
    /// Dropping it ends them.
    keepers: JoinSet<()>,
    shutdown: Shutdown,
    log: Option<Arc<AccessLog>>,
    sockets: Vec<PathBuf>,
}

/// Why a balancer did not start.
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
}

/// How long requests may take to end after SIGINT, at most.
const QUICK_DRAIN: Duration = Duration::from_secs(5);

// === impl Running ===

impl Running {
    /// Starts what the model says. Everything that can fail comes before the first connection is taken.
    ///
    /// # Errors
    /// Why not; nothing is left behind then.
    pub async fn start(model: &Model, extensions: &Extensions) -> Result<Self, StartError> {
        let workers = model.workers.or_else(|| std::thread::available_parallelism().ok());
        let workers = workers.map_or(1, std::num::NonZeroUsize::get);
        let plan = Plan::new(model, extensions, workers).await.map_err(|error| match error {
            PlanError::Config(error) => StartError::Config(error),
            error => StartError::Plan(error),
        })?;
        let table = Arc::new(ArcSwap::from_pointee(plan.table));
        let metrics = Arc::new(Metrics::new(workers));
        let log = match &model.access_log {
            Some(log) => Some(Arc::new(AccessLog::open(&log.to, &log.format, workers)?)),
            None => None,
        };
        let bound = model.listeners.iter().map(|listener| bind(&listener.address, workers));
        let bound = bound.collect::<Result<Vec<Bound>, BindError>>()?;
        let listeners: Vec<ListenerState> =
            bound.iter().map(|bound| ListenerState::new(&bound.address, workers)).collect();
        let sites = model.listeners.iter().zip(&listeners);
        let sites = sites
            .map(|(listener, state)| Arc::new(Site::new(listener, state.name.clone(), state.metrics.clone())))
            .collect();
        let state = Arc::new(State {
            table: table.clone(),
            boards: plan.keepers.iter().map(|keeper| keeper.board.clone()).collect(),
            metrics: metrics.clone(),
            log: log.clone(),
            listeners,
            ready: AtomicBool::new(true),
            started: Instant::now(),
        });
        let environments = (0..workers).map(|worker| {
            let (table, metrics, log) = (table.clone(), metrics.clone(), log.clone());
            Arc::new(Environment { worker, table, metrics, log })
        });
        let (sockets, handles) = unzip(bound);
        let workers = spawn(sites, handles, environments.collect(), model.lanes, extensions.give_back)?;
        let keepers = plan.keepers.into_iter().map(Keeper::run).collect();
        model.without_effect().iter().for_each(|key| log::warn!("{key}"));
        Ok(Self { state, workers, keepers, shutdown: model.shutdown.clone(), log, sockets })
    }

    /// Tells the log which limits of the system are too low for the model.
    pub fn warn_of_limits(&self, model: &Model) {
        warn_if_few(model, self.workers.len());
    }

    /// What it shows of itself.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Resolves when a worker has ended without a request to end: its thread panicked.
    pub async fn broken(&self) {
        let mut ends: Vec<_> = self.workers.iter().map(|worker| Box::pin(worker.ended())).collect();
        std::future::poll_fn(|cx| {
            let ended = ends.iter_mut().any(|end| end.as_mut().poll(cx).is_ready());
            if ended { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }

    /// Opens the access log's file again.
    pub fn reopen_log(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
    }

    /// Ends in peace: not ready, then (`pre_stop` later, unless it is to be `quick`) no new connections, then the last
    /// request, or the end of patience.
    pub async fn end(&self, quick: bool) {
        self.state.ready.store(false, Ordering::Release);
        log::info!("draining");
        for worker in &self.workers {
            worker.leave();
        }
        let mut patience = self.shutdown.drain_timeout;
        if quick {
            patience = patience.min(QUICK_DRAIN);
        } else {
            tokio::time::sleep(self.shutdown.pre_stop).await;
        }
        for worker in &self.workers {
            worker.drain();
        }
        let ended = async {
            for worker in &self.workers {
                worker.ended().await;
            }
        };
        if tokio::time::timeout(patience, ended).await.is_err() {
            let open: u64 = self.state.listeners.iter().map(|listener| listener.metrics.open()).sum();
            log::warn!("drain_timeout of {patience:?} expired: closing {open} open connections");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.stop();
        }
        self.keepers.abort_all();
        self.workers.clear();
        if let Some(log) = &self.log {
            // A reader of the state may still hold it.
            log.close();
        }
        for path in &self.sockets {
            let _ = std::fs::remove_file(path);
        }
    }
}

// === impl ListenerState ===

impl ListenerState {
    fn new(address: &ListenAddress, workers: usize) -> Self {
        let name: Arc<str> = match address {
            ListenAddress::Tcp(address) => address.to_string().into(),
            ListenAddress::Unix(path) => format!("unix:{}", path.display()).into(),
            _ => "unknown".into(),
        };
        Self { address: address.clone(), name, metrics: Arc::new(ListenerMetrics::new(workers)) }
    }
}

/// The paths of Unix sockets, to be removed at the end, and each listener's sockets.
fn unzip(bound: Vec<Bound>) -> (Vec<PathBuf>, Vec<Vec<socket2::Socket>>) {
    let mut paths = Vec::new();
    let sockets = bound.into_iter().map(|bound| {
        if let ListenAddress::Unix(path) = bound.address {
            paths.push(path);
        }
        bound.sockets
    });
    let sockets = sockets.collect();
    (paths, sockets)
}
