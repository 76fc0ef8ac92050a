//! A worker's own loop: its acceptors, its proxy, its connections.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Waker;
use std::time::{Duration, Instant};

use evenkeel_core::limit::OverloadLevel;
use parking_lot::Mutex;
use pingora_proxy::HttpProxy;
use slab::Slab;
use socket2::Socket as RawSocket;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::accept::{Acceptor, turn_away};
use super::handshake::{HandshakeTurn, Handshakes};
use super::permits::ConnectionPermit;
use super::proxy_protocol::{HeaderFailure, ProxyProtocol};
use super::serve::{Service, serve};
use super::shared::{ListenerShared, ListenerStage, Shared};
use super::tcp;
use super::worker::{Command, Stage};
use crate::dial::{Pause, is_shortage};
use crate::exchange::{Connection, Environment, InFlight};
use crate::lane::Lane;
use crate::observe::ConnectionLimit;
use crate::proxy::Proxy;
use crate::stream::{Link, Secured, Socket, Transport};
use crate::tls::{HandshakeFailure, Session};
use crate::upstream::moment_of;

/// A connection on its way to the worker that will serve it.
#[derive(Debug)]
pub(super) struct Accepted {
    socket: OwnedFd,
    peer: Option<SocketAddr>,
    listener: Arc<ListenerShared>,
    permit: ConnectionPermit,
}

/// A worker's own things.
pub(super) struct Local {
    index: usize,
    shared: Arc<Shared>,
    service: Arc<Service>,
    stage: watch::Receiver<Stage>,
    connections: Mutex<Slab<OpenConnection>>,
    empty: Notify,
    /// One handshake after the other computes.
    turn: HandshakeTurn,
}

/// An open connection: what asks it to end, and what wakes its task.
struct OpenConnection {
    connection: Arc<Connection>,
    waker: Waker,
    listener: Arc<ListenerShared>,
}

/// Why accepting has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptEnd {
    /// The listener or the worker ends.
    Ended,
    /// The socket cannot be waited for.
    Failed,
}

/// How long connections that are cut have for their last response.
const CUT_TIMEOUT: Duration = Duration::from_millis(100);
/// How often old connections to backends are closed, and memory is given back.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// How long accepting pauses when there are no more files to be had.
const PAUSE: Duration = Duration::from_millis(50);
/// Most connections that wait in a socket: its backlog.
const MOST_WAITING: usize = 4096;
/// What the log has of it: one line for all workers.
static WARNING: Pause = Pause::new();
/// The same, of PROXY headers.
static HEADER_WARNING: Pause = Pause::new();

// === impl Local ===

impl Local {
    pub(super) fn new(
        environment: Arc<Environment>,
        shared: Arc<Shared>,
        stage: watch::Receiver<Stage>,
        proxy: Arc<HttpProxy<Proxy>>,
    ) -> Arc<Self> {
        let service = Arc::new(Service {
            lane: Lane::new(environment.clone()),
            shared: shared.clone(),
            proxy,
            environment: environment.clone(),
            never: watch::channel(false).1,
        });
        let (connections, empty) = (Mutex::default(), Notify::new());
        let (index, turn) = (environment.worker, HandshakeTurn::default());
        Arc::new(Self { index, shared, service, stage, connections, empty, turn })
    }

    pub(super) async fn run(
        self: Arc<Self>,
        mut commands: mpsc::Receiver<Command>,
        mut inbox: mpsc::Receiver<Accepted>,
    ) {
        let mut acceptors = JoinSet::new();
        // It ends with the runtime.
        tokio::spawn(self.clone().maintain());
        let mut stages = self.stage.clone();
        loop {
            let stage = *stages.borrow_and_update();
            if stage >= Stage::Leaving {
                self.each_connection(|_| true, Connection::drain);
            }
            if stage == Stage::Draining {
                // What was accepted before is still served; see `accept`.
                while acceptors.join_next().await.is_some() {}
                inbox.close();
                while let Some(accepted) = inbox.recv().await {
                    self.clone().begin(accepted);
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
                Some(end) = acceptors.join_next() => if has_failed(end) {
                    // A worker that accepts no more must not go on as if it did.
                    return;
                },
                Some(Command::Listen(listener, socket)) = commands.recv() => {
                    acceptors.spawn(self.clone().accept(socket, listener));
                }
                Some(accepted) = inbox.recv() => self.clone().begin(accepted),
                () = self.empty.notified() => {}
            }
        }
    }

    async fn maintain(self: Arc<Self>) {
        let mut left_before = false;
        loop {
            tokio::time::sleep(MAINTENANCE_INTERVAL).await;
            self.service.lane.maintain();
            if self.shared.overload.level() >= OverloadLevel::CloseIdle {
                self.each_connection(|_| true, Connection::drain);
            }
            let left = self.have_most_closed();
            // And once more: the last of a crowd may have been leaving still.
            if let Some(give_back) = self.shared.give_back.filter(|_| left || left_before) {
                give_back();
            }
            left_before = left;
        }
    }

    /// Whether most of the connections that there were have closed since this was last asked. Forgets how many they were.
    fn have_most_closed(&self) -> bool {
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

    /// Asks something of some connections, and wakes their tasks.
    fn each_connection(&self, which: impl Fn(&OpenConnection) -> bool, ask: impl Fn(&Connection)) {
        for (_, open) in self.connections.lock().iter().filter(|(_, open)| which(open)) {
            ask(&open.connection);
            open.waker.wake_by_ref();
        }
    }

    /// Ends what is under way, and waits for that, but not long.
    async fn cut_connections(&self) {
        self.each_connection(|_| true, Connection::cut);
        let ended = async {
            while !self.is_empty() {
                self.empty.notified().await;
            }
        };
        let _ = tokio::time::timeout(CUT_TIMEOUT, ended).await;
    }

    /// Accepts a listener's connections until the listener or the worker drains. When the listener drains, the connections
    /// that it accepted here end with it.
    async fn accept(self: Arc<Self>, socket: RawSocket, listener: Arc<ListenerShared>) -> AcceptEnd {
        let acceptor = match Acceptor::new(socket) {
            Ok(acceptor) => acceptor,
            Err(error) => {
                log::error!("listener {}: cannot accept connections: {error}", listener.name);
                return AcceptEnd::Failed;
            }
        };
        let (mut stage, mut ending) = (self.stage.clone(), listener.stage.subscribe());
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stage.wait_for(|stage| *stage >= Stage::Draining) => {
                    self.accept_waiting(&acceptor, &listener);
                    return AcceptEnd::Ended;
                }
                _ = ending.wait_for(|stage| *stage >= ListenerStage::Draining) => break,
                accepted = acceptor.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => self.admit(socket, peer, &listener),
                Err(error) => {
                    if WARNING.is_due() {
                        log::warn!("listener {}: cannot accept connections: {error}", listener.name);
                    }
                    if is_shortage(&error) {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
        self.accept_waiting(&acceptor, &listener);
        drop(acceptor);
        let of_listener = |open: &OpenConnection| Arc::ptr_eq(&open.listener, &listener);
        self.each_connection(of_listener, Connection::drain);
        tokio::select! {
            _ = ending.wait_for(|stage| *stage >= ListenerStage::Closed) => {
                self.each_connection(of_listener, Connection::cut);
            }
            _ = stage.wait_for(|stage| *stage >= Stage::Draining) => {}
        }
        AcceptEnd::Ended
    }

    /// Accepts what waits, before the socket is closed: clients that connected before the end are served. What waits in a socket
    /// that other processes have too is left to them.
    fn accept_waiting(self: &Arc<Self>, acceptor: &Acceptor, listener: &Arc<ListenerShared>) {
        if listener.inherited {
            return;
        }
        // Clients that connect faster than they are accepted must not hold up the end.
        for (socket, peer) in std::iter::from_fn(|| acceptor.waiting()).take(MOST_WAITING) {
            self.admit(socket, peer, listener);
        }
    }

    fn admit(self: &Arc<Self>, socket: OwnedFd, peer: Option<SocketAddr>, listener: &Arc<ListenerShared>) {
        if self.shared.overload.level() == OverloadLevel::Reject {
            listener.metrics.over(self.index, ConnectionLimit::Overload);
            return turn_away(&socket, listener.handshakes.load().is_some());
        }
        let Some(permit) = self.permit(peer, listener) else { return };
        let accepted = Accepted { socket, peer, listener: listener.clone(), permit };
        let Some(inbox) = self.less_busy_worker() else { return self.clone().begin(accepted) };
        if let Err(error) = inbox.try_send(accepted) {
            // The other one is busy, or about to end: then it is ours after all.
            let (mpsc::error::TrySendError::Full(accepted) | mpsc::error::TrySendError::Closed(accepted)) =
                error;
            self.clone().begin(accepted);
        }
    }

    fn permit(&self, peer: Option<SocketAddr>, listener: &ListenerShared) -> Option<ConnectionPermit> {
        let proxied = listener.proxy_protocol.load();
        // Who has the connections of a proxy is known once their headers are read.
        let is_of_others = proxied.as_ref().is_some_and(|expected| expected.trusts(peer));
        let limited = peer.filter(|_| !is_of_others).and_then(|peer| self.limited(peer.ip()));
        let permit = listener.permits.acquire(limited, moment_of(Instant::now()));
        permit.map_err(|limit| listener.metrics.over(self.index, limit.into())).ok()
    }

    /// The client, if it has a limit of connections of its own.
    fn limited(&self, client: IpAddr) -> Option<IpAddr> {
        Some(client).filter(|_| !self.shared.table.load().trusts(Some(client.to_canonical())))
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

    fn begin(self: Arc<Self>, accepted: Accepted) {
        let Accepted { socket, peer, listener, permit } = accepted;
        let (socket, proxied) = (Socket::accepted(socket), listener.proxy_protocol.load_full());
        let guard = ConnectionGuard::new(self.clone(), listener, permit);
        match proxied {
            None => self.start(socket, peer, guard),
            Some(expected) => _ = tokio::spawn(self.begin_proxied(socket, peer, guard, expected)),
        }
    }

    /// Reads the PROXY header of a connection, and starts it for the client that the header names.
    async fn begin_proxied(
        self: Arc<Self>,
        mut socket: Socket,
        peer: Option<SocketAddr>,
        mut guard: ConnectionGuard,
        expected: Arc<ProxyProtocol>,
    ) {
        let mut stage = self.stage.clone();
        let received = tokio::select! {
            biased;
            received = expected.receive(&mut socket, peer) => received,
            _ = stage.wait_for(|stage| *stage >= Stage::Ended) => return,
        };
        let client = match received {
            Ok(client) => client,
            Err(failure) => return self.closed_by_header(failure, peer, &guard.listener),
        };
        let limited = client.filter(|_| client != peer).and_then(|client| self.limited(client.ip()));
        match limited.map(|client| guard.permit.limit_to(client, moment_of(Instant::now()))) {
            Some(Err(limit)) => guard.listener.metrics.over(self.index, limit.into()),
            Some(Ok(())) | None => self.start(socket, client, guard),
        }
    }

    fn closed_by_header(&self, failure: HeaderFailure, peer: Option<SocketAddr>, listener: &ListenerShared) {
        listener.metrics.header_failed(self.index, failure.name());
        // What probes a port disconnects without a word.
        if failure != HeaderFailure::ClientLeft && HEADER_WARNING.is_due() {
            let peer =
                peer.map_or_else(|| "a Unix socket".to_owned(), |peer| peer.ip().to_canonical().to_string());
            log::warn!("listener {}: a connection from {peer} was closed: {failure}", listener.name);
        }
    }

    fn start(self: Arc<Self>, socket: Socket, peer: Option<SocketAddr>, guard: ConnectionGuard) {
        let listener = &guard.listener;
        let (handshakes, tcp) = (listener.handshakes.load_full(), listener.tcp.load_full());
        let Some(transport) = transport(socket, handshakes.as_deref()) else { return };
        let connection = Connection::new(peer, handshakes.is_some(), listener.http.load_full());
        let name: Arc<str> = Arc::clone(&listener.label.load());
        let connection = Arc::new(connection.of_listener(listener.id, name));
        match (*self.stage.borrow(), *listener.stage.borrow()) {
            (Stage::Ended, _) | (_, ListenerStage::Closed) => connection.cut(),
            (Stage::Serving, ListenerStage::Open)
                if self.shared.overload.level() == OverloadLevel::Normal => {}
            _ => connection.drain(),
        }
        let link = Link::new(transport, Arc::new(InFlight::new(connection.clone())));
        tokio::spawn(async move {
            let guard = guard;
            guard.register(connection).await;
            if let Some(handshakes) = handshakes {
                // In a box: it is over soon, and the connection stays.
                let handshake = Box::pin(handshakes.complete(&link, &self.turn));
                let result = handshake.await;
                guard.listener.metrics.handshaken(self.index, result.map_err(HandshakeFailure::name));
                if result.is_err() {
                    return;
                }
            }
            match tcp {
                // In a box, so that a connection that waits for its next request does not hold room for it.
                Some(rules) => {
                    let metrics = guard.listener.metrics.clone();
                    Box::pin(tcp::carry(&self.service, link, rules, metrics)).await;
                }
                None => serve(&self.service, link).await,
            }
        });
    }
}

/// A connection in the clear or over TLS. None if TLS cannot begin, which only a lack of memory or random numbers can cause.
fn transport(socket: Socket, handshakes: Option<&Handshakes>) -> Option<Transport> {
    let Some(handshakes) = handshakes else { return Some(Transport::Plain(socket)) };
    let session = Session::accept(handshakes.tls());
    let session = session.map_err(|error| log::warn!("cannot begin a handshake: {error}")).ok()?;
    Some(Transport::Tls(Box::new(Secured::new(socket, session))))
}

/// Whether a worker cannot go on after this end of one of its acceptors.
fn has_failed(end: Result<AcceptEnd, JoinError>) -> bool {
    !matches!(end, Ok(AcceptEnd::Ended))
}

/// A connection among those of its worker; dropping it, on whatever path, takes it out.
struct ConnectionGuard {
    local: Arc<Local>,
    listener: Arc<ListenerShared>,
    key: AtomicUsize,
    permit: ConnectionPermit,
}

impl ConnectionGuard {
    const NONE: usize = usize::MAX;

    fn new(local: Arc<Local>, listener: Arc<ListenerShared>, permit: ConnectionPermit) -> Self {
        if let Some(open) = local.shared.open.get(local.index) {
            open.fetch_add(1, Relaxed);
        }
        listener.metrics.accepted(local.index);
        Self { local, listener, key: AtomicUsize::new(Self::NONE), permit }
    }

    /// Makes the connection known to its worker, with what wakes its task.
    async fn register(&self, connection: Arc<Connection>) {
        let waker = std::future::poll_fn(|cx| std::task::Poll::Ready(cx.waker().clone())).await;
        let open = OpenConnection { connection, waker, listener: self.listener.clone() };
        let key = self.local.connections.lock().insert(open);
        self.key.store(key, Relaxed);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let local = &self.local;
        local.connections.lock().try_remove(self.key.load(Relaxed));
        self.listener.metrics.closed(local.index);
        if let Some(open) = local.shared.open.get(local.index)
            && open.fetch_sub(1, Relaxed) == 1
        {
            local.empty.notify_one();
        }
    }
}
