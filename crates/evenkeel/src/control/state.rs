//! What is running, for display.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use evenkeel_config::{ListenAddress, Protocol};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::board::StatusBoard;
use super::certificates;
use super::explain::{Described, Explanation, explain};
use super::{limits, status};
use crate::discovery::Status;
use crate::exchange::{RuleAction, Table};
use crate::listen::OverloadSwitch;
use crate::observe::{BackendView, DiscoveryView, ListenerMetrics, Metrics, UpstreamView, View};
use crate::tls::ServerTls;

/// What is running, for display.
///
/// ```
/// use evenkeel::prelude::*;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let config = ConfigBuilder::new().listen_address("127.0.0.1:0").upstream_servers(["http://127.0.0.1:8081"]);
/// let mut server = Server::new(config.try_build()?);
/// server.start().await?;
/// let state = server.state().ok_or("not started")?;
/// assert!(state.is_ready());
/// assert_eq!(state.status()["upstreams"][0]["backends"][0]["state"], "up");
/// assert!(state.metrics_page().contains("evenkeel_backend_in_flight"));
/// # Ok(())
/// # }
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Debug)]
pub struct State {
    /// What the workers decide by.
    pub(super) table: Arc<ArcSwap<Table>>,
    /// What belongs together of what is shown.
    pub(super) shown: ArcSwap<StatusView>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) ready: AtomicBool,
    /// Whether the start still waits for sources of backends.
    pub(super) starting: AtomicBool,
    pub(super) started: Instant,
    pub(super) reloads: Reloads,
    pub(super) overload: Arc<OverloadSwitch>,
}

/// One generation of what runs.
#[derive(Debug, Default)]
pub(super) struct StatusView {
    pub(super) table: Arc<Table>,
    /// Of the table's upstreams, in their order.
    pub(super) boards: Vec<Arc<StatusBoard>>,
    /// Of the same upstreams, where they have one.
    pub(super) sources: Vec<Option<SourceView>>,
    pub(super) listeners: Vec<ListenerState>,
}

/// What is shown of an upstream's source.
#[derive(Clone, Debug)]
pub(super) struct SourceView {
    pub(super) status: Arc<Status>,
    /// The URLs of backends that do not come from it.
    pub(super) fixed: HashSet<String>,
}

/// How reloads went.
#[derive(Debug, Default)]
pub(super) struct Reloads(Mutex<ReloadCounts>);

#[derive(Clone, Debug, Default)]
pub(super) struct ReloadCounts {
    applied: u64,
    rejected: u64,
    last: Option<LastReload>,
}

/// The last reload.
#[derive(Clone, Debug)]
struct LastReload {
    at: SystemTime,
    /// Why it was rejected; nothing if it was applied.
    error: Option<String>,
}

/// One running listener.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenerState {
    /// Its address, with the real port.
    pub address: ListenAddress,
    /// What it speaks.
    pub(crate) protocol: Protocol,
    /// How it speaks TLS, if it does.
    pub(crate) tls: Option<Arc<ServerTls>>,
    /// The address as text: its name in metrics.
    pub name: Arc<str>,
    /// What it counts.
    pub(crate) metrics: Arc<ListenerMetrics>,
}

impl ListenerState {
    /// What it speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// How many connections of clients are open.
    pub fn connections_open(&self) -> u64 {
        self.metrics.open()
    }
}

impl State {
    /// Whether the balancer wants traffic: from its start to the first sign of its end.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Whether the start still waits for sources of backends.
    pub fn is_starting(&self) -> bool {
        self.starting.load(Ordering::Acquire)
    }

    /// The sources of backends that a start still waits for, as text; none once it is ready.
    pub(crate) fn waits_for(&self) -> Vec<String> {
        if !self.is_starting() {
            return Vec::new();
        }
        let shown = self.shown.load();
        let sources = shown.table.upstreams.iter().zip(&shown.sources);
        let waiting = sources.filter_map(|(upstream, source)| {
            let status = &source.as_ref()?.status;
            let known = status.read();
            let reason = known.error.map(|error| format!(": {error}")).unwrap_or_default();
            known
                .backends
                .is_none()
                .then(|| format!("upstream {}: {}{reason}", upstream.name, status.source()))
        });
        waiting.collect()
    }

    /// How many threads serve connections.
    pub fn workers(&self) -> usize {
        self.metrics.workers()
    }

    /// The running listeners.
    pub fn listeners(&self) -> Vec<ListenerState> {
        self.shown.load().listeners.clone()
    }

    /// Notes that a reload was applied, or why it was rejected.
    pub(crate) fn reloaded(&self, result: Result<(), String>) {
        let mut counts = self.reloads.0.lock();
        match &result {
            Ok(()) => counts.applied += 1,
            Err(_) => counts.rejected += 1,
        }
        counts.last = Some(LastReload { at: SystemTime::now(), error: result.err() });
    }

    /// The page of metrics.
    pub fn metrics_page(&self) -> String {
        let shown = self.shown.load();
        let table = &shown.table;
        let members: Vec<_> = table.upstreams.iter().map(|upstream| upstream.members.load_full()).collect();
        let reloads = self.reloads.0.lock().clone();
        let (mut upstreams, mut backends) = (Vec::new(), Vec::new());
        for ((upstream, members), board) in table.upstreams.iter().zip(&members).zip(&shown.boards) {
            let (health, views) = board.counts(&members.roster);
            let (name, pending) = (&*upstream.name, upstream.gate.pending());
            upstreams.push(UpstreamView { name, health, pending });
            backends.extend(members.roster.iter().zip(views).map(|(endpoint, health)| BackendView {
                upstream: &upstream.name,
                name: endpoint.backend.name(),
                in_flight: endpoint.backend.counters().in_flight(),
                metrics: &endpoint.metrics,
                health,
            }));
        }
        let of_listener = |listener: &ListenerState| {
            let all = listener.tls.as_ref().map(|tls| tls.certificates()).unwrap_or_default();
            let name = listener.name.clone();
            all.into_iter()
                .map(move |one| (name.clone(), one.files.cert.display().to_string(), one.not_after))
        };
        let certificates: Vec<_> = shown.listeners.iter().flat_map(of_listener).collect();
        let view = View {
            routes: table.rules.iter().map(|rule| (&*rule.name, &*rule.metrics)).collect(),
            backends,
            upstreams,
            sources: sources(&shown, self.started),
            listeners: shown.listeners.iter().map(|listener| (&*listener.name, &*listener.metrics)).collect(),
            limits: limits::metrics(table),
            overload_level: self.overload.level() as u8,
            certificates: certificates
                .iter()
                .map(|(name, path, expiry)| (&**name, path.as_str(), *expiry))
                .collect(),
            reloads: (reloads.applied, reloads.rejected),
            last_reload_applied: reloads.last.is_none_or(|last| last.error.is_none()),
            ready: self.is_ready(),
        };
        self.metrics.page(&view)
    }

    /// What would become of this request now, and why.
    pub fn explain(&self, request: &Described) -> Explanation {
        let shown = self.shown.load();
        Explanation { live: true, ..explain(&shown.table, &shown.boards, request) }
    }

    /// The upstreams with their backends, as [`status`](Self::status) shows them.
    pub fn upstreams(&self) -> Vec<Value> {
        let shown = self.shown.load();
        upstreams(&shown).map(|(_, shown)| shown()).collect()
    }

    /// One upstream with its backends, as [`status`](Self::status) shows it; `None` if there is none of this name.
    pub fn upstream(&self, name: &str) -> Option<Value> {
        let shown = self.shown.load();
        upstreams(&shown).find(|(known, _)| *known == name).map(|(_, shown)| shown())
    }

    /// Listeners, routes, upstreams and backends with their state and counters.
    pub fn status(&self) -> Value {
        let shown = self.shown.load();
        let table = &shown.table;
        let listeners = shown.listeners.iter().map(|listener| {
            json!({
                "address": &*listener.name,
                "protocol": match listener.protocol {
                    Protocol::Tcp => "tcp",
                    _ => "http",
                },
                "connections_open": listener.metrics.open(),
                "connections_open_by_worker": listener.metrics.open_by_worker().collect::<Vec<_>>(),
                "connections_accepted": listener.metrics.accepted_total(),
                "certificates": listener.tls.as_ref().map(|tls| {
                    tls.certificates().iter().map(|one| certificates::status(one)).collect::<Vec<_>>()
                }),
            })
        });
        let routes = table.rules.iter().map(|rule| {
            let upstreams: Vec<&str> = match &rule.action {
                RuleAction::Upstream(upstream) => vec![&*upstream.name],
                RuleAction::Split { shares, .. } => shares.iter().map(|(_, one)| &*one.name).collect(),
                RuleAction::Redirect(_) | RuleAction::Respond(_) | RuleAction::Make(_) => Vec::new(),
            };
            json!({ "name": &*rule.name, "requests": rule.metrics.requests(), "upstreams": upstreams })
        });
        let upstreams = upstreams(&shown).map(|(_, shown)| shown());
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "ready": self.is_ready(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "workers": self.metrics.workers(),
            "reloads": self.reloads.0.lock().status(),
            "listeners": listeners.collect::<Vec<_>>(),
            "routes": routes.collect::<Vec<_>>(),
            "overload": self.overload.level().name(),
            "rate_limits": limits::rates(table),
            "concurrency_limits": limits::concurrency(table),
            "adaptive_concurrency": limits::adaptive(table),
            "bandwidth_limits": limits::bandwidth(table),
            "upstreams": upstreams.collect::<Vec<_>>(),
        })
    }
}

/// The upstreams by name, each with what shows it.
fn upstreams(shown: &StatusView) -> impl Iterator<Item = (&str, impl FnOnce() -> Value)> {
    let upstreams = shown.table.upstreams.iter().zip(&shown.boards).zip(&shown.sources);
    upstreams.map(|((upstream, board), source)| {
        (&*upstream.name, move || status::upstream(upstream, board, source.as_ref()))
    })
}

/// What is measured of the sources.
fn sources(shown: &StatusView, started: Instant) -> Vec<DiscoveryView<'_>> {
    let sources = shown.table.upstreams.iter().zip(&shown.sources);
    let measured = sources.filter_map(|(upstream, source)| {
        let known = source.as_ref()?.status.read();
        let age = known.confirmed.map_or_else(|| started.elapsed(), |confirmed| confirmed.elapsed());
        Some(DiscoveryView {
            upstream: &upstream.name,
            backends: known.backends.unwrap_or(0),
            age: age.as_secs_f64(),
            updates: known.counts.updates,
            failures: [
                ("unreachable", known.counts.unreachable),
                ("invalid", known.counts.invalid),
                ("empty", known.counts.empty),
            ],
        })
    });
    measured.collect()
}

// === impl ReloadCounts ===

impl ReloadCounts {
    fn status(&self) -> Value {
        let last = self.last.as_ref().map(|last| {
            let at = jiff::Timestamp::try_from(last.at).unwrap_or_default();
            json!({
                "at": format!("{at:.3}"),
                "result": if last.error.is_none() { "applied" } else { "rejected" },
                "error": last.error,
            })
        });
        json!({ "applied": self.applied, "rejected": self.rejected, "last": last })
    }
}
