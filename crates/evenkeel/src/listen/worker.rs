//! A worker: one thread, one current-thread runtime, its own acceptors, its own proxy, its own connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_config::{HttpLimits, Lanes};
use parking_lot::Mutex;
use pingora_proxy::HttpProxy;
use slab::Slab;
use socket2::Socket as RawSocket;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::accept::Acceptor;
use super::clients::{Clients, Full, Place};
use super::serve::{Service, serve};
use crate::dial::{Pause, is_shortage};
use crate::exchange::{Connection, Environment, Table};
use crate::lane::Lane;
use crate::observe::ListenerMetrics;
use crate::proxy::{NO_CERTIFICATES, Proxy, http_proxy};
use crate::stream::{Link, Socket};

/// One listener, as all workers share it.
#[derive(Debug)]
pub struct Site {
    /// What it is called.
    pub name: Arc<str>,
    /// The limits of HTTP on it.
    pub http: HttpLimits,
    /// What it counts.
    pub metrics: Arc<ListenerMetrics>,
    clients: Arc<Clients>,
}

/// What the workers share: how many connections each has, and how to hand one over.
#[derive(Debug)]
pub struct Shared {
    sites: Vec<Arc<Site>>,
    table: Arc<ArcSwap<Table>>,
    open: Box<[AtomicUsize]>,
    inboxes: Vec<mpsc::Sender<Accepted>>,
    lanes: Lanes,
    give_back: Option<fn()>,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    thread: Option<JoinHandle<()>>,
    stage: watch::Sender<Stage>,
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
    acceptors: Vec<Acceptor>,
    proxy: Arc<HttpProxy<Proxy>>,
}

/// A runtime that may be dropped where tasks run: one that was never used has nothing to wait for.
struct Unused(Option<Runtime>);

/// How far a worker is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// New connections are taken, and each request is its connection's last.
    Leaving,
    /// No new connections.
    Draining,
    /// No connections.
    Ended,
}

/// A connection on its way to the worker that will serve it.
#[derive(Debug)]
struct Accepted {
    socket: OwnedFd,
    peer: Option<SocketAddr>,
    site: usize,
    place: Place,
}

/// A worker's own things.
struct Local {
    index: usize,
    shared: Arc<Shared>,
    service: Service,
    stage: watch::Receiver<Stage>,
    connections: Mutex<Slab<(Arc<Connection>, Waker)>>,
    empty: Notify,
}

/// How many connections may be on their way to another worker.
const INBOX: usize = 256;
/// How long connections that are cut have for their last response.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How often old connections to backends are closed, and memory is given back.
const HOUSE_EVERY: Duration = Duration::from_secs(1);
/// How long accepting pauses when there are no more files to be had.
const PAUSE: Duration = Duration::from_millis(50);
/// What the log has of it: one line for all workers.
static COMPLAINT: Pause = Pause::new();

/// Starts one worker for each environment, on sockets that are bound already: `sockets[listener][worker]`. `give_back` gives
/// memory back to the system after a crowd of connections has left.
///
/// # Errors
/// When the system gives no thread, or no event queue.
pub fn spawn(
    sites: Vec<Arc<Site>>,
    mut sockets: Vec<Vec<RawSocket>>,
    environments: Vec<Arc<Environment>>,
    lanes: Lanes,
    give_back: Option<fn()>,
) -> Result<Vec<Worker>, WorkerError> {
    let (inboxes, receivers): (Vec<_>, Vec<_>) = environments.iter().map(|_| mpsc::channel(INBOX)).unzip();
    let Some(table) = environments.first().map(|environment| environment.table.clone()) else {
        return Ok(Vec::new());
    };
    let open = environments.iter().map(|_| AtomicUsize::new(0)).collect();
    let shared = Arc::new(Shared { sites, table, open, inboxes, lanes, give_back });
    let count = environments.len();
    // Everything that may be missing is requested before the first worker serves a client.
    let mut ready = Vec::with_capacity(count);
    for environment in environments {
        let sockets: Vec<RawSocket> = sockets.iter_mut().filter_map(Vec::pop).collect();
        let worker = environment.worker + 1;
        let explain = |source| WorkerError { worker, workers: count, source };
        ready.push((Ready::new(environment.clone(), sockets).map_err(explain)?, environment));
    }
    let mut workers = Vec::with_capacity(count);
    for ((Ready { runtime, acceptors, proxy }, environment), inbox) in ready.into_iter().zip(receivers) {
        let (stage, stages) = watch::channel(Stage::Serving);
        let shared = shared.clone();
        let name = format!("worker-{}", environment.worker);
        let worker = environment.worker + 1;
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let mut runtime = runtime;
            let Some(runtime) = runtime.0.take() else { return };
            runtime.block_on(async move {
                Local::new(environment, shared, stages, proxy).run(acceptors, inbox).await;
            });
        });
        let thread = thread.map_err(|source| WorkerError { worker, workers: count, source })?;
        workers.push(Worker { thread: Some(thread), stage });
    }
    Ok(workers)
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

// === impl Unused ===

impl Drop for Unused {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

// === impl Ready ===

impl Ready {
    fn new(environment: Arc<Environment>, sockets: Vec<RawSocket>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let runtime = Unused(Some(runtime));
        let within = runtime.0.as_ref().map(Runtime::enter);
        let acceptors = sockets.into_iter().map(Acceptor::new).collect::<io::Result<_>>()?;
        // Pingora opens this file twice, one after the other, and panics if it cannot. Nothing else opens files meanwhile.
        drop(std::fs::File::open(NO_CERTIFICATES)?);
        let proxy = http_proxy(environment);
        drop(within);
        Ok(Self { runtime, acceptors, proxy })
    }
}

// === impl Site ===

impl Site {
    /// A listener with these limits.
    pub fn new(listener: &evenkeel_config::Listener, name: Arc<str>, metrics: Arc<ListenerMetrics>) -> Self {
        let clients = Clients::new(listener.max_connections, listener.max_connections_per_client);
        Self { name, http: listener.http.clone(), metrics, clients }
    }
}

// === impl Worker ===

impl Worker {
    /// Each request from now on is its connection's last. New connections are still taken.
    pub fn leave(&self) {
        self.stage.send_replace(Stage::Leaving);
    }

    /// No new connections any more; the worker ends with its last one.
    pub fn drain(&self) {
        self.stage.send_replace(Stage::Draining);
    }

    /// The worker ends now, with all its connections. Requests that have no response yet get a 503.
    pub fn stop(&self) {
        self.stage.send_replace(Stage::Ended);
    }

    /// Resolves once the worker has ended.
    pub async fn ended(&self) {
        self.stage.closed().await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

// === impl Local ===

impl Local {
    fn new(
        environment: Arc<Environment>,
        shared: Arc<Shared>,
        stage: watch::Receiver<Stage>,
        proxy: Arc<HttpProxy<Proxy>>,
    ) -> Arc<Self> {
        let service = Service {
            lane: Lane::new(environment.clone()),
            lanes: shared.lanes,
            proxy,
            environment: environment.clone(),
            never: watch::channel(false).1,
        };
        let connections = Mutex::default();
        Arc::new(Self {
            index: environment.worker,
            shared,
            service,
            stage,
            connections,
            empty: Notify::new(),
        })
    }

    async fn run(self: Arc<Self>, listening: Vec<Acceptor>, mut inbox: mpsc::Receiver<Accepted>) {
        let mut acceptors = JoinSet::new();
        for (site, acceptor) in listening.into_iter().enumerate() {
            acceptors.spawn(self.clone().accept(acceptor, site));
        }
        // It ends with the runtime.
        tokio::spawn(self.clone().keep_house());
        let mut stages = self.stage.clone();
        loop {
            let stage = *stages.borrow_and_update();
            if stage >= Stage::Leaving {
                self.drain_connections();
            }
            if stage == Stage::Draining {
                // What was accepted before is still served; see `accept`.
                while acceptors.join_next().await.is_some() {}
                inbox.close();
                while let Some(accepted) = inbox.recv().await {
                    self.clone().take(accepted);
                }
            }
            if stage == Stage::Ended {
                acceptors.abort_all();
                return self.cut_connections().await;
            }
            if stage == Stage::Draining && self.is_empty() {
                return;
            }
            tokio::select! {
                changed = stages.changed() => if changed.is_err() { return },
                Some(_) = acceptors.join_next() => if *self.stage.borrow() < Stage::Draining {
                    // Before its time: a worker that accepts no more must not go on as if it did.
                    return;
                },
                Some(accepted) = inbox.recv() => self.clone().take(accepted),
                () = self.empty.notified() => {}
            }
        }
    }

    async fn keep_house(self: Arc<Self>) {
        let mut left_before = false;
        loop {
            tokio::time::sleep(HOUSE_EVERY).await;
            self.service.lane.keep_house();
            let left = self.has_crowd_left();
            // And once more: the last of a crowd may have been leaving still.
            if let Some(give_back) = self.shared.give_back.filter(|_| left || left_before) {
                give_back();
            }
            left_before = left;
        }
    }

    /// Whether most of the connections that there were have gone since this was last asked. Forgets how many they were.
    fn has_crowd_left(&self) -> bool {
        let mut connections = self.connections.lock();
        let left = connections.capacity() > 4 * connections.len() + 64;
        if left {
            connections.shrink_to_fit();
        }
        left
    }

    /// Whether no connection is open, nor about to be: one that was accepted counts before its task has run.
    fn is_empty(&self) -> bool {
        self.shared.open.get(self.index).is_none_or(|open| open.load(Relaxed) == 0)
    }

    fn drain_connections(&self) {
        for (_, (connection, waker)) in self.connections.lock().iter() {
            connection.drain();
            waker.wake_by_ref();
        }
    }

    /// Ends what is under way, and waits for that, but not long.
    async fn cut_connections(&self) {
        for (_, (connection, waker)) in self.connections.lock().iter() {
            connection.cut();
            waker.wake_by_ref();
        }
        let ended = async {
            while !self.is_empty() {
                self.empty.notified().await;
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, ended).await;
    }

    async fn accept(self: Arc<Self>, acceptor: Acceptor, site: usize) {
        let mut stage = self.stage.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = acceptor.accept() => accepted,
                // Only once nothing waits to be accepted: those who connected before the end are served.
                _ = stage.wait_for(|stage| *stage >= Stage::Draining) => return,
            };
            match accepted {
                Ok((socket, peer)) => self.admit(socket, peer, site),
                Err(error) => {
                    if COMPLAINT.is_due() {
                        log::warn!("cannot accept connections: {error}");
                    }
                    if is_shortage(&error) {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, socket: OwnedFd, peer: Option<SocketAddr>, site: usize) {
        let Some(place) = self.place(peer.map(|peer| peer.ip()), site) else { return };
        let Some(inbox) = self.less_busy_worker() else {
            return self.clone().begin(socket, peer, site, place);
        };
        if let Err(error) = inbox.try_send(Accepted { socket, peer, site, place }) {
            // The other one is busy, or on its way out: then it is ours after all.
            let (mpsc::error::TrySendError::Full(accepted) | mpsc::error::TrySendError::Closed(accepted)) =
                error;
            self.clone().take(accepted);
        }
    }

    fn place(&self, peer: Option<IpAddr>, site: usize) -> Option<Place> {
        let site = self.shared.sites.get(site)?;
        let limited = peer.filter(|_| !self.shared.table.load().trusts(peer.map(|ip| ip.to_canonical())));
        match site.clients.enter(limited) {
            Ok(place) => return Some(place),
            Err(Full::Listener) => site.metrics.over_limit(self.index),
            Err(Full::Client) => site.metrics.over_client_limit(self.index),
        }
        None
    }

    /// The inbox of a worker that has clearly fewer connections. The kernel deals connections out by hash: over many that
    /// is even, and over few long-lived ones it is not.
    fn less_busy_worker(&self) -> Option<&mpsc::Sender<Accepted>> {
        let open = &self.shared.open;
        if *self.stage.borrow() >= Stage::Draining {
            return None;
        }
        let own = open.get(self.index)?.load(Relaxed);
        let (index, least) =
            open.iter().map(|count| count.load(Relaxed)).enumerate().min_by_key(|&(_, count)| count)?;
        if own <= least + least / 8 {
            return None;
        }
        self.shared.inboxes.get(index)
    }

    fn take(self: Arc<Self>, accepted: Accepted) {
        let Accepted { socket, peer, site, place } = accepted;
        self.begin(socket, peer, site, place);
    }

    fn begin(self: Arc<Self>, socket: OwnedFd, peer: Option<SocketAddr>, site: usize, place: Place) {
        let Some(site) = self.shared.sites.get(site).cloned() else { return };
        let connection = Arc::new(Connection::new(peer, false, &site.http));
        match *self.stage.borrow() {
            Stage::Serving => {}
            Stage::Leaving | Stage::Draining => connection.drain(),
            Stage::Ended => connection.cut(),
        }
        let link = Link::new(Socket::accepted(socket), connection.clone());
        let presence = Presence::new(self.clone(), site.clone(), place);
        tokio::spawn(async move {
            let presence = presence;
            presence.register(connection).await;
            serve(&self.service, &site.http, link).await;
        });
    }
}

/// A connection among those of its worker; dropping it, on whatever path, takes it out.
struct Presence {
    local: Arc<Local>,
    site: Arc<Site>,
    key: AtomicUsize,
    _place: Place,
}

impl Presence {
    const NONE: usize = usize::MAX;

    fn new(local: Arc<Local>, site: Arc<Site>, place: Place) -> Self {
        if let Some(open) = local.shared.open.get(local.index) {
            open.fetch_add(1, Relaxed);
        }
        site.metrics.accepted(local.index);
        Self { local, site, key: AtomicUsize::new(Self::NONE), _place: place }
    }

    /// Makes the connection known to its worker, with what wakes its task.
    async fn register(&self, connection: Arc<Connection>) {
        let waker = std::future::poll_fn(|cx| std::task::Poll::Ready(cx.waker().clone())).await;
        let key = self.local.connections.lock().insert((connection, waker));
        self.key.store(key, Relaxed);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let local = &self.local;
        local.connections.lock().try_remove(self.key.load(Relaxed));
        self.site.metrics.closed(local.index);
        if let Some(open) = local.shared.open.get(local.index)
            && open.fetch_sub(1, Relaxed) == 1
        {
            local.empty.notify_one();
        }
    }
}
