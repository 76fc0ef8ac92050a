//! What the workers share: the listeners with their options, and how many connections each worker has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use evenkeel_config::{HttpLimits, Lanes, Listener, Protocol};
use evenkeel_core::limit::OverloadLevel;
use tokio::sync::{mpsc, watch};

use super::handshake::Handshakes;
use super::local::Accepted;
use super::permits::Permits;
use super::proxy_protocol::ProxyProtocol;
use crate::exchange::Table;
use crate::observe::ListenerMetrics;
use crate::tcp::Rules;
use crate::tls::ServerTls;
use crate::upstream::moment_of;

/// One listener, as all workers share it. Its options can change while it is open.
#[derive(Debug)]
pub struct ListenerShared {
    /// Its name.
    pub name: Arc<str>,
    /// Its number, by which the table of routes has its filters; no other listener of the process has it.
    pub id: u32,
    /// What it counts.
    pub metrics: Arc<ListenerMetrics>,
    /// What routes and placeholders call it: its configured name, or its address.
    pub(super) label: ArcSwap<Arc<str>>,
    pub(super) http: ArcSwap<HttpLimits>,
    /// The PROXY header that connections begin with, if they do.
    pub(super) proxy_protocol: ArcSwapOption<ProxyProtocol>,
    /// How it speaks TLS, if it does.
    pub(super) handshakes: ArcSwapOption<Handshakes>,
    /// Where its connections go if they are carried as they are; nothing if it speaks HTTP.
    pub(super) tcp: ArcSwapOption<Rules>,
    pub(super) permits: Arc<Permits>,
    pub(super) stage: watch::Sender<ListenerStage>,
    /// Whether another process may accept what waits in its sockets.
    pub(super) inherited: bool,
}

/// How far a listener is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ListenerStage {
    Open,
    /// It accepts no connections, and each request is its connection's last.
    Draining,
    /// Its connections are cut.
    Closed,
}

/// What the workers do about a shortage of memory or descriptors.
#[derive(Debug, Default)]
pub struct OverloadSwitch(AtomicU8);

/// What the workers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) table: Arc<ArcSwap<Table>>,
    /// Open connections of each worker.
    pub(super) open: Box<[AtomicUsize]>,
    pub(super) inboxes: Vec<mpsc::Sender<Accepted>>,
    /// Whether Pingora's lane carries everything.
    pub(super) pingora_only: AtomicBool,
    pub(super) give_back: Option<fn()>,
    pub(super) overload: Arc<OverloadSwitch>,
}

// === impl ListenerShared ===

impl ListenerShared {
    /// An open listener with these options; `tls` is what its TLS was made to.
    pub fn new(
        listener: &Listener,
        tls: Option<Arc<ServerTls>>,
        name: Arc<str>,
        metrics: Arc<ListenerMetrics>,
    ) -> Self {
        Self {
            label: ArcSwap::from_pointee(label(listener, &name)),
            name,
            id: 0,
            metrics,
            http: ArcSwap::from_pointee(listener.http.clone()),
            proxy_protocol: ArcSwapOption::new(ProxyProtocol::new(&listener.proxy_protocol)),
            handshakes: ArcSwapOption::new(tls.map(Handshakes::new)),
            tcp: ArcSwapOption::empty(),
            permits: permits(listener),
            stage: watch::channel(ListenerStage::Open).0,
            inherited: false,
        }
    }

    /// With this number.
    #[must_use]
    pub fn numbered(mut self, id: u32) -> Self {
        self.id = id;
        self
    }

    /// Carries its new connections as they are, if there are rules; else they speak HTTP.
    pub fn carry(&self, rules: Option<Rules>) {
        if rules.is_some() {
            // From now on the page of metrics shows them.
            let _ = self.metrics.tcp();
        }
        self.tcp.store(rules.map(Arc::new));
    }

    /// With sockets that other processes have too: what waits in them at the end is left to those.
    #[must_use]
    pub fn inherited(mut self, inherited: bool) -> Self {
        self.inherited = inherited;
        self
    }

    /// How it speaks TLS, if it does.
    pub fn tls(&self) -> Option<Arc<ServerTls>> {
        self.handshakes.load().as_ref().map(|handshakes| handshakes.tls().clone())
    }

    /// What it speaks.
    pub fn protocol(&self) -> Protocol {
        if self.tcp.load().is_some() { Protocol::Tcp } else { Protocol::Http }
    }

    /// Takes over other options. Connections that are open keep the limits of HTTP, and the TLS, that they began with.
    pub fn configure(&self, listener: &Listener, tls: Option<Arc<ServerTls>>) {
        self.handshakes.store(tls.map(Handshakes::new));
        self.label.store(Arc::new(label(listener, &self.name)));
        self.http.store(Arc::new(listener.http.clone()));
        self.proxy_protocol.store(ProxyProtocol::new(&listener.proxy_protocol));
        self.permits.limit(listener.max_connections, listener.max_connections_per_client);
        self.permits.limit_rate(listener.max_connection_rate_per_client, moment_of(Instant::now()));
    }

    /// Accepts no more connections. Each request from now on is its connection's last.
    pub fn drain(&self) {
        self.stage.send_replace(ListenerStage::Draining);
    }

    /// Cuts the connections that are left.
    pub fn close(&self) {
        self.stage.send_replace(ListenerStage::Closed);
    }
}

fn label(listener: &Listener, address: &Arc<str>) -> Arc<str> {
    listener.name.as_deref().map_or_else(|| address.clone(), Arc::from)
}

fn permits(listener: &Listener) -> Arc<Permits> {
    let permits = Permits::new(listener.max_connections, listener.max_connections_per_client);
    permits.limit_rate(listener.max_connection_rate_per_client, moment_of(Instant::now()));
    permits
}

// === impl OverloadSwitch ===

impl OverloadSwitch {
    /// Sets the level.
    pub fn set(&self, level: OverloadLevel) {
        self.0.store(level as u8, Relaxed);
    }

    /// The level.
    pub fn level(&self) -> OverloadLevel {
        let level = self.0.load(Relaxed);
        OverloadLevel::ALL.into_iter().find(|known| *known as u8 == level).unwrap_or_default()
    }
}

// === impl Shared ===

impl Shared {
    /// Which data paths may serve, from the next request on.
    pub(super) fn set_lanes(&self, lanes: Lanes) {
        self.pingora_only.store(lanes == Lanes::Pingora, Relaxed);
    }
}
