//! The workers: one thread and one current-thread runtime each, started together and told together what to do.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::task::Poll;
use std::thread::JoinHandle;

use evenkeel_config::Lanes;
use pingora_proxy::HttpProxy;
use socket2::Socket as RawSocket;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::local::Local;
use super::shared::{ListenerShared, OverloadSwitch, Shared};
use crate::dial::is_shortage;
use crate::exchange::Environment;
use crate::proxy::{NO_CERTIFICATES, Proxy, http_proxy};

/// The running workers. Dropping them ends them with all their connections.
#[derive(Debug, Default)]
pub struct Workers {
    workers: Vec<Worker>,
    shared: Option<Arc<Shared>>,
}

/// A running worker.
#[derive(Debug)]
struct Worker {
    thread: Option<JoinHandle<()>>,
    stage: watch::Sender<Stage>,
    commands: mpsc::Sender<Command>,
}

/// An order to a worker.
#[derive(Debug)]
pub(super) enum Command {
    /// To accept a listener's connections on this socket.
    Listen(Arc<ListenerShared>, RawSocket),
}

/// Why the workers could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start worker {worker} of {workers}: {source}{}", hint(source))]
pub struct WorkerError {
    worker: usize,
    workers: usize,
    source: io::Error,
}

/// What a worker needs of the system, all of it there.
struct Ready {
    runtime: Unused,
    proxy: Arc<HttpProxy<Proxy>>,
}

/// A runtime that may be dropped where tasks run: one that was never used has nothing to wait for.
struct Unused(Option<Runtime>);

/// How far a worker is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Serving,
    /// New connections are taken, and each request is its connection's last.
    Leaving,
    /// No new connections.
    Draining,
    /// No connections.
    Ended,
}

/// How many connections may be on their way to another worker.
const INBOX: usize = 256;
/// How many commands may wait for a worker.
const COMMANDS: usize = 16;

// === impl Workers ===

impl Workers {
    /// Starts one worker for each environment. They accept nothing before [`listen`](Self::listen).
    /// `give_back` gives memory back to the system after most connections have closed.
    ///
    /// # Errors
    /// When the system gives no thread, or no event queue. Workers that have started are ended.
    pub fn spawn(
        environments: Vec<Arc<Environment>>,
        lanes: Lanes,
        give_back: Option<fn()>,
    ) -> Result<Self, WorkerError> {
        let Some(table) = environments.first().map(|environment| environment.table.clone()) else {
            return Ok(Self { workers: Vec::new(), shared: None });
        };
        let (inboxes, receivers): (Vec<_>, Vec<_>) =
            environments.iter().map(|_| mpsc::channel(INBOX)).unzip();
        let open = environments.iter().map(|_| AtomicUsize::new(0)).collect();
        let (pingora_only, overload) = (AtomicBool::new(false), Arc::default());
        let shared = Shared { table, open, inboxes, pingora_only, give_back, overload };
        shared.set_lanes(lanes);
        let shared = Arc::new(shared);
        let mut workers = Self { workers: Vec::new(), shared: Some(shared.clone()) };
        let count = environments.len();
        let explain = |environment: &Environment, source| WorkerError {
            worker: environment.worker + 1,
            workers: count,
            source,
        };
        // Everything that may be missing is requested before the first worker starts.
        let mut ready = Vec::with_capacity(count);
        for environment in environments {
            let own = Ready::new().map_err(|source| explain(&environment, source))?;
            ready.push((environment, own));
        }
        for ((environment, own), inbox) in ready.into_iter().zip(receivers) {
            let worker = Worker::spawn(environment.clone(), shared.clone(), own, inbox);
            workers.workers.push(worker.map_err(|source| explain(&environment, source))?);
        }
        Ok(workers)
    }

    /// Accepts a listener's connections, on one bound socket for each worker.
    pub async fn listen(&self, listener: &Arc<ListenerShared>, sockets: Vec<RawSocket>) {
        for (worker, socket) in self.workers.iter().zip(sockets) {
            // A worker that is gone has ended the balancer: see `broken`.
            let _ = worker.commands.send(Command::Listen(listener.clone(), socket)).await;
        }
    }

    /// Which data paths may serve, from the next request on.
    pub fn set_lanes(&self, lanes: Lanes) {
        if let Some(shared) = &self.shared {
            shared.set_lanes(lanes);
        }
    }

    /// What sets what the workers do about a shortage of memory or descriptors.
    pub fn overload(&self) -> Arc<OverloadSwitch> {
        self.shared.as_ref().map(|shared| shared.overload.clone()).unwrap_or_default()
    }

    /// Each request from now on is its connection's last. New connections are still taken.
    pub fn leave(&self) {
        self.enter(Stage::Leaving);
    }

    /// No new connections any more. Each worker ends with its last one.
    pub fn drain(&self) {
        self.enter(Stage::Draining);
    }

    /// The workers end now, with all their connections. Requests that have no response yet get a 503.
    pub fn stop(&self) {
        self.enter(Stage::Ended);
    }

    fn enter(&self, stage: Stage) {
        for worker in &self.workers {
            worker.stage.send_replace(stage);
        }
    }

    /// Resolves once every worker has ended.
    pub async fn ended(&self) {
        for worker in &self.workers {
            worker.stage.closed().await;
        }
    }

    /// Resolves once any worker has ended. One that was not asked to has panicked.
    pub async fn broken(&self) {
        let mut ends: Vec<_> = self.workers.iter().map(|worker| Box::pin(worker.stage.closed())).collect();
        std::future::poll_fn(|cx| {
            let ended = ends.iter_mut().any(|end| end.as_mut().poll(cx).is_ready());
            if ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

// === impl Worker ===

impl Worker {
    fn spawn(
        environment: Arc<Environment>,
        shared: Arc<Shared>,
        ready: Ready,
        inbox: mpsc::Receiver<super::local::Accepted>,
    ) -> io::Result<Self> {
        let Ready { mut runtime, proxy } = ready;
        let (stage, stages) = watch::channel(Stage::Serving);
        let (commands, orders) = mpsc::channel(COMMANDS);
        let name = format!("worker-{}", environment.worker);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let Some(runtime) = runtime.0.take() else { return };
            runtime.block_on(async move {
                Local::new(environment, shared, stages, proxy).run(orders, inbox).await;
            });
        })?;
        Ok(Self { thread: Some(thread), stage, commands })
    }
}

// === impl Ready ===

impl Ready {
    fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let runtime = Unused(Some(runtime));
        let within = runtime.0.as_ref().map(Runtime::enter);
        // Pingora opens this file twice, one after the other, and panics if it cannot. Nothing else opens files meanwhile.
        drop(std::fs::File::open(NO_CERTIFICATES)?);
        let proxy = http_proxy();
        drop(within);
        Ok(Self { runtime, proxy })
    }
}

// === impl Unused ===

impl Drop for Unused {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What to do about a shortage.
fn hint(error: &io::Error) -> &'static str {
    if is_shortage(error) {
        "; raise the limit of open files (ulimit -n, LimitNOFILE), or set fewer workers"
    } else if error.kind() == io::ErrorKind::WouldBlock {
        "; raise the limit of threads (ulimit -u, TasksMax), or set fewer workers"
    } else {
        ""
    }
}
