//! Puts a prepared change in force. Nothing here can fail, and no request waits for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::{Listener, Model};
use socket2::Socket;
use tokio::sync::mpsc;

use super::change::{Change, PreparedListener, PreparedLog, PreparedUpstream};
use super::filters::{LiveFilters, with_filters};
use super::handle::UpstreamHandle;
use super::live::{Live, LiveListener, LiveUpstream};
use super::loops::OwnAddresses;
use super::plan::table;
use super::running::Running;
use super::state::{ListenerState, StatusView};
use crate::exchange::Table;
use crate::listen::ListenerShared;
use crate::observe::{AccessLog, ListenerMetrics};
use crate::tcp::Rules;
use crate::upstream::Upstream;

/// A listener that is to open, with one bound socket for each worker.
pub(super) type Opening = (Arc<ListenerShared>, Vec<Socket>);

/// How often it is looked whether the last request of an old access log has been recorded.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Running {
    /// Puts a change in force: upstreams, then the table that names them, then the listeners.
    ///
    /// Gives the listeners that are to open: see [`open`](Self::open).
    pub(super) async fn apply(&self, live: &mut Live, change: Change) -> Vec<Opening> {
        let Change {
            model, upstreams, mut sources, routes, listeners, shared, listener_filters, log, ..
        } = change;
        let own = std::mem::take(&mut live.own);
        let mut next = Live { model: Some(model.clone()), own, filters: shared, ..Live::default() };
        next.numbered = live.numbered;
        let mut running = Vec::with_capacity(upstreams.len());
        let followed = live.upstreams.values().filter(|one| one.source.is_some());
        let had_sources: HashSet<String> = followed.map(|one| one.settings.model.name.clone()).collect();
        for prepared in upstreams {
            let Some(mut upstream) = begin(prepared, &mut live.upstreams).await else { continue };
            upstream.source = sources.remove(&upstream.settings.model.name);
            running.push(upstream.upstream.clone());
            next.upstreams.insert(upstream.settings.model.name.clone(), upstream);
        }
        let old_log = match log {
            PreparedLog::Kept => {
                next.log = live.log.take();
                None
            }
            PreparedLog::New(log) => {
                next.log = log.map(Arc::new);
                live.log.take()
            }
        };
        let names = model.routes.iter().map(|route| route.name.clone());
        next.routes = names.zip(routes.iter().cloned()).collect();
        let listeners = listeners.into_iter().zip(listener_filters).collect();
        let (opening, closing) = self.sort_listeners(live, &mut next, listeners, &running);
        let table = table(&model, routes, running, next.log.clone());
        let table = Arc::new(with_filters(table, next.numbered_listeners(), &next.filters));
        let addresses = next.listeners.iter().map(|listener| listener.address.clone());
        next.own.store(Arc::new(OwnAddresses::new(addresses)));
        next.feed(&had_sources).await;
        self.publish(&next, &model, table);
        self.workers.set_lanes(model.lanes);
        self.overload.send_replace(model.overload_protection.clone());
        for listener in closing {
            retire_listener(listener, model.shutdown.drain_timeout);
        }
        if let Some(log) = old_log {
            tokio::spawn(retire_log(log));
        }
        // What is left of the old are upstreams that are no longer configured. Their keepers end here.
        for gone in live.upstreams.values() {
            gone.upstream.close_connections();
        }
        *live = next;
        opening
    }

    /// Opens listeners: they accept connections from here on.
    pub(super) async fn open(&self, opening: Vec<Opening>) {
        for (listener, sockets) in opening {
            self.workers.listen(&listener, sockets).await;
        }
    }

    /// Configures the listeners that stay, and gives those that are to open and those that are to end.
    fn sort_listeners(
        &self,
        live: &mut Live,
        next: &mut Live,
        listeners: Vec<(PreparedListener, LiveFilters)>,
        upstreams: &[Arc<Upstream>],
    ) -> (Vec<Opening>, Vec<LiveListener>) {
        let mut before: Vec<_> = std::mem::take(&mut live.listeners).into_iter().map(Some).collect();
        let rules = |listener: &Listener| Some(Rules::new(listener.tcp.as_ref()?, upstreams));
        let mut opening = Vec::new();
        for (listener, filters) in listeners {
            match listener {
                PreparedListener::Kept(index, options, tls) => {
                    let Some(mut kept) = before.get_mut(index).and_then(Option::take) else { continue };
                    kept.shared.configure(&options, tls);
                    kept.filters = filters;
                    kept.shared.carry(rules(&options));
                    next.listeners.push(kept);
                }
                PreparedListener::New(options, tls, bound) => {
                    let metrics = Arc::new(ListenerMetrics::new(self.state().metrics.workers()));
                    let name: Arc<str> = bound.address.to_string().into();
                    next.numbered += 1;
                    let shared = ListenerShared::new(&options, tls, name, metrics).inherited(bound.inherited);
                    shared.carry(rules(&options));
                    let shared = Arc::new(shared.numbered(next.numbered));
                    opening.push((shared.clone(), bound.sockets));
                    let (configured, address, file) = (options.address, bound.address, bound.file);
                    next.listeners.push(LiveListener { configured, address, shared, filters, file });
                }
            }
        }
        (opening, before.into_iter().flatten().collect())
    }

    fn publish(&self, next: &Live, model: &Model, table: Arc<Table>) {
        let upstreams = model.upstreams.iter().filter_map(|one| next.upstreams.get(&one.name));
        let (boards, sources) = upstreams.map(|one| (one.board.clone(), one.shown_source())).unzip();
        let listeners = next.listeners.iter().map(|listener| ListenerState {
            address: listener.address.clone(),
            protocol: listener.shared.protocol(),
            tls: listener.shared.tls(),
            name: listener.shared.name.clone(),
            metrics: listener.shared.metrics.clone(),
        });
        let state = self.state();
        state.shown.store(Arc::new(StatusView {
            table: table.clone(),
            boards,
            sources,
            listeners: listeners.collect(),
        }));
        state.table.store(table);
    }
}

/// An upstream as it goes on or begins. Takes it out of those that ran before.
async fn begin(
    prepared: PreparedUpstream,
    before: &mut HashMap<String, LiveUpstream>,
) -> Option<LiveUpstream> {
    let prepared = match prepared {
        PreparedUpstream::Kept(name) => return before.remove(&name),
        PreparedUpstream::New(prepared) => prepared,
    };
    let settings = prepared.settings().clone();
    let (running, handle) = match before.remove(&settings.model.name) {
        None => (None, None),
        Some(LiveUpstream { keeping, handle, .. }) => (keeping.stop().await, Some(handle)),
    };
    let (keeper, handle) = match (running, handle) {
        (Some(keeper), Some(handle)) => (prepared.go_on(keeper), handle),
        _ => {
            let (sender, updates) = mpsc::channel(1);
            (prepared.begin(updates), UpstreamHandle::new(&settings.model.name, sender))
        }
    };
    let (upstream, board) = (keeper.upstream.clone(), keeper.board.clone());
    Some(LiveUpstream { settings, upstream, board, keeping: keeper.start(), handle, source: None })
}

/// Ends a listener that is no longer configured: no new connections, and those that are open end with their request, or are
/// cut after `drain_timeout`.
fn retire_listener(listener: LiveListener, drain_timeout: Duration) {
    listener.shared.drain();
    if let Some(file) = &listener.file {
        file.remove();
    }
    tokio::spawn(async move {
        tokio::time::sleep(drain_timeout).await;
        listener.shared.close();
    });
}

/// Closes an access log once the last request has ended that began while it was in force.
async fn retire_log(log: Arc<AccessLog>) {
    while Arc::strong_count(&log) > 1 {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    // It waits for its thread.
    let _ = tokio::task::spawn_blocking(move || log.close()).await;
}
