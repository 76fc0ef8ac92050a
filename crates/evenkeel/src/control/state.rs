//! What is running, for display.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use evenkeel_config::ListenAddress;
use serde_json::{Value, json};

use super::board::Board;
use super::explain::{Described, Explanation, explain};
use super::status;
use crate::exchange::Table;
use crate::observe::{AccessLog, BackendView, ListenerMetrics, Metrics, UpstreamView, View};

/// What is running.
#[derive(Debug)]
pub struct State {
    pub(super) table: Arc<ArcSwap<Table>>,
    /// Of the upstreams, in their order.
    pub(super) boards: Vec<Arc<Board>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) log: Option<Arc<AccessLog>>,
    pub(super) listeners: Vec<ListenerState>,
    pub(super) ready: AtomicBool,
    pub(super) started: Instant,
}

/// One running listener.
#[derive(Debug)]
pub struct ListenerState {
    /// Its address, with the real port.
    pub address: ListenAddress,
    /// The address as text: its name in metrics.
    pub name: Arc<str>,
    /// What it counts.
    pub metrics: Arc<ListenerMetrics>,
}

impl State {
    /// Whether the balancer wants traffic: from its start to the first sign of its end.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// How many threads serve connections.
    pub fn workers(&self) -> usize {
        self.metrics.workers()
    }

    /// The running listeners.
    pub fn listeners(&self) -> &[ListenerState] {
        &self.listeners
    }

    /// The page of metrics.
    pub fn metrics_page(&self) -> String {
        let table = self.table.load();
        let counts = table.upstreams.iter().zip(self.boards.iter().map(|board| board.counts()));
        let (mut upstreams, mut backends) = (Vec::new(), Vec::new());
        for (upstream, (health, seats)) in counts {
            let (name, pending) = (&*upstream.name, upstream.gate.pending());
            upstreams.push(UpstreamView { name, health, pending });
            backends.extend(upstream.all.iter().zip(seats).map(|(endpoint, health)| BackendView {
                upstream: &upstream.name,
                name: endpoint.backend.name(),
                in_flight: endpoint.backend.counters().in_flight(),
                metrics: &endpoint.metrics,
                health,
            }));
        }
        let view = View {
            routes: table.rules.iter().map(|rule| (&*rule.name, &*rule.metrics)).collect(),
            backends,
            upstreams,
            listeners: self.listeners.iter().map(|listener| (&*listener.name, &*listener.metrics)).collect(),
            log_dropped: self.log.as_ref().map_or(0, |log| log.dropped()),
            ready: self.is_ready(),
        };
        self.metrics.page(&view)
    }

    /// What would become of this request now, and why.
    pub fn explain(&self, request: &Described) -> Explanation {
        let table = self.table.load();
        Explanation { live: true, ..explain(&table, &self.boards, request) }
    }

    /// Listeners, routes, upstreams and backends with their state and counters.
    pub fn status(&self) -> Value {
        let table = self.table.load();
        let listeners = self.listeners.iter().map(|listener| {
            json!({
                "address": &*listener.name,
                "connections_open": listener.metrics.open(),
                "connections_open_by_worker": listener.metrics.open_by_worker().collect::<Vec<_>>(),
                "connections_accepted": listener.metrics.accepted_total(),
            })
        });
        let routes = table
            .rules
            .iter()
            .map(|rule| json!({ "name": &*rule.name, "requests": rule.metrics.requests() }));
        let upstreams = table.upstreams.iter().zip(&self.boards);
        let upstreams = upstreams.map(|(upstream, board)| status::upstream(upstream, board));
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "ready": self.is_ready(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "workers": self.metrics.workers(),
            "listeners": listeners.collect::<Vec<_>>(),
            "routes": routes.collect::<Vec<_>>(),
            "upstreams": upstreams.collect::<Vec<_>>(),
        })
    }
}
