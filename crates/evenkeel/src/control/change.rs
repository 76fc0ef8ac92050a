//! From a model to what is put in force: everything that can fail is done here, and changes nothing that runs.

use std::sync::Arc;

use evenkeel_config::{ChangeKind, Changes, ConfigError, ListenAddress, Listener, Model};

use super::backends::BackendFactory;
use super::certificates::warn_of_doubts;
use super::discovery::{Sources, running};
use super::extensions::Extensions;
use super::filters::{BuiltFilters, FilterBuilder, LiveFilters};
use super::live::{Live, LiveRoute, UpstreamSettings};
use super::loops::{OwnAddresses, loops};
use super::plan::PlanError;
use super::running::StartError;
use super::upstream::Prepared;
use crate::filter::Registry;
use crate::listen::{Bound, Sharing, bind};
use crate::observe::{AccessLog, Metrics, RouteMetrics};
use crate::tls::ServerTls;

/// What is to be put in force. Dropping it changes nothing.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) model: Arc<Model>,
    /// What differs; empty at the start.
    pub(super) changes: Changes,
    /// In the configured order.
    pub(super) upstreams: Vec<PreparedUpstream>,
    /// The sources of upstreams, those that run already included.
    pub(super) sources: Sources,
    /// In the configured order.
    pub(super) routes: Vec<LiveRoute>,
    /// In the configured order.
    pub(super) listeners: Vec<PreparedListener>,
    /// The filters that routes and listeners share.
    pub(super) shared: LiveFilters,
    /// The filters of each listener.
    pub(super) listener_filters: Vec<LiveFilters>,
    pub(super) log: PreparedLog,
}

/// What becomes of an upstream.
#[derive(Debug)]
pub(super) enum PreparedUpstream {
    /// It goes on untouched.
    Kept(String),
    /// It begins, or goes on with other settings.
    New(Box<Prepared>),
}

/// What becomes of a listener.
#[derive(Debug)]
pub(super) enum PreparedListener {
    /// It stays open: which of those that run, and its options.
    Kept(usize, Listener, Option<Arc<ServerTls>>),
    /// It is bound, and accepts nothing yet.
    New(Listener, Option<Arc<ServerTls>>, Bound),
}

/// What becomes of the access log.
#[derive(Debug)]
pub(super) enum PreparedLog {
    Kept,
    New(Option<AccessLog>),
}

// === impl PreparedListener ===

impl PreparedListener {
    /// Its address with the real port.
    fn address(&self, live: &Live) -> Option<ListenAddress> {
        match self {
            Self::Kept(index, ..) => live.listeners.get(*index).map(|listener| listener.address.clone()),
            Self::New(.., bound) => Some(bound.address.clone()),
        }
    }
}

// === impl Change ===

impl Change {
    /// Prepares what `model` asks for beyond what runs.
    ///
    /// # Errors
    /// The first thing that cannot be had. Nothing has changed then.
    pub(super) async fn prepare(
        live: &Live,
        model: &Arc<Model>,
        fresh: Sources,
        extensions: &Extensions,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let changes = live.model.as_ref().map(|old| old.changes(model)).unwrap_or_default();
        if changes.needs_restart().next().is_some() {
            let keys = changes.needs_restart().map(|change| match &change.kind {
                ChangeKind::Changed(keys) if !keys.is_empty() => {
                    format!("{} ({})", change.subject, keys.join(", "))
                }
                _ => change.subject.to_string(),
            });
            return Err(StartError::NeedsRestart(keys.collect::<Vec<_>>().join(", ")));
        }
        let workers = metrics.workers();
        let filters = prepare_filters(live, model, &extensions.filters, workers)?;
        let routes = live_routes(live, model, filters.routes, workers);
        if let Some(looping) = loops(model).into_iter().next() {
            return Err(StartError::Plan(looping));
        }
        let mut sources = fresh;
        let mut upstreams = Vec::with_capacity(model.upstreams.len());
        for upstream in &model.upstreams {
            if let Some(source) = running(live, upstream) {
                sources.insert(upstream.name.clone(), source.clone());
            }
            let source = sources.get(&upstream.name);
            let whole = source.map(|source| source.upstream(upstream, &OwnAddresses::of(model)));
            let settings = UpstreamSettings::new(whole.as_ref().unwrap_or(upstream), model);
            let settings = settings.map_err(StartError::from_plan)?;
            let factory = BackendFactory::new(&settings, extensions, &live.own, workers);
            let prepared = prepare_upstream(live, factory, extensions, workers).await;
            upstreams.push(prepared.map_err(StartError::from_plan)?);
        }
        let log = prepare_log(live, model, metrics)?;
        let listeners = prepare_listeners(live, model, extensions, workers)?;
        // Port 0 has become a real one, which a backend may have.
        let own = OwnAddresses::new(listeners.iter().filter_map(|listener| listener.address(live)));
        if let Some(looping) = own.loops(model).into_iter().next() {
            return Err(StartError::Plan(looping));
        }
        let (shared, listener_filters) = (filters.shared, filters.listeners);
        Ok(Self {
            model: model.clone(),
            changes,
            upstreams,
            sources,
            routes,
            listeners,
            shared,
            listener_filters,
            log,
        })
    }
}

/// Builds the filters of routes and listeners.
fn prepare_filters(
    live: &Live,
    model: &Model,
    registry: &Registry,
    workers: usize,
) -> Result<BuiltFilters, ConfigError> {
    let same_maps = live.model.as_ref().is_some_and(|old| old.maps == model.maps);
    let mut builder = FilterBuilder::new(registry, workers, true).with_maps(&model.maps, same_maps);
    builder.share(&model.filters, &live.filters);
    let mut routes = Vec::with_capacity(model.routes.len());
    for route in &model.routes {
        let known = live.routes.get(&route.name);
        let before = known.map_or(&[][..], |known| &known.filters);
        // Placeholders name the groups of the expression on the path.
        let path_regex = route.matches.path_regex();
        let same_path = known.is_some_and(|known| known.path_regex.as_ref() == path_regex);
        routes.push(builder.build((&route.name, path_regex), &route.filters, (before, same_path)));
    }
    let mut listeners = Vec::with_capacity(model.listeners.len());
    for (listener, kept) in model.listeners.iter().zip(kept_listeners(live, model).0) {
        let before = kept.and_then(|index| live.listeners.get(index));
        let before = before.map_or(&[][..], |known| &known.filters);
        listeners.push(builder.build(("", None), &listener.filters, (before, true)));
    }
    builder.finish(routes, listeners)
}

/// Routes with their filters, and what they count.
fn live_routes(live: &Live, model: &Model, filters: Vec<LiveFilters>, workers: usize) -> Vec<LiveRoute> {
    let routes = model.routes.iter().zip(filters).map(|(route, filters)| {
        let known = live.routes.get(&route.name).map(|known| known.metrics.clone());
        let metrics = known.unwrap_or_else(|| Arc::new(RouteMetrics::new(workers)));
        LiveRoute { filters, path_regex: route.matches.path_regex().cloned(), metrics }
    });
    routes.collect()
}

/// For each listener of the model, the one of those that run that it goes on with; and those that no one goes on with.
fn kept_listeners(live: &Live, model: &Model) -> (Vec<Option<usize>>, Vec<usize>) {
    let mut free: Vec<usize> = (0..live.listeners.len()).collect();
    let mut kept = Vec::with_capacity(model.listeners.len());
    for listener in &model.listeners {
        let is_this =
            |index: &usize| live.listeners.get(*index).is_some_and(|one| one.configured == listener.address);
        kept.push(free.iter().position(is_this).map(|at| free.remove(at)));
    }
    (kept, free)
}

async fn prepare_upstream(
    live: &Live,
    factory: BackendFactory,
    extensions: &Extensions,
    workers: usize,
) -> Result<PreparedUpstream, PlanError> {
    let name = &factory.settings.model.name;
    let before = live.upstreams.get(name);
    if before.is_some_and(|before| before.settings == factory.settings) {
        return Ok(PreparedUpstream::Kept(name.clone()));
    }
    let prepared = Prepared::new(factory, extensions, workers, before).await?;
    Ok(PreparedUpstream::New(Box::new(prepared)))
}

fn prepare_log(live: &Live, model: &Model, metrics: &Metrics) -> Result<PreparedLog, StartError> {
    let before = live.model.as_ref().and_then(|old| old.access_log.as_ref());
    if live.model.is_some() && before == model.access_log.as_ref() {
        return Ok(PreparedLog::Kept);
    }
    let open = |log: &evenkeel_config::AccessLog| {
        AccessLog::open(log, metrics.workers(), metrics.log_dropped.clone())
    };
    Ok(PreparedLog::New(model.access_log.as_ref().map(open).transpose()?))
}

fn prepare_listeners(
    live: &Live,
    model: &Model,
    extensions: &Extensions,
    workers: usize,
) -> Result<Vec<PreparedListener>, StartError> {
    let (kept, free) = kept_listeners(live, model);
    // A port that one of our own listeners has until then may be shared for a moment.
    let leaving = |listener: &Listener| {
        let ports = free.iter().filter_map(|index| live.listeners.get(*index)?.address.port());
        listener.address.port().is_some_and(|port| ports.into_iter().any(|one| one == port))
    };
    let prepared = model.listeners.iter().zip(kept).map(|(listener, kept)| {
        let before = kept.and_then(|index| live.listeners.get(index)).and_then(|one| one.shared.tls());
        let tls = prepare_tls(listener, before.as_deref())?;
        match kept {
            Some(index) => Ok(PreparedListener::Kept(index, listener.clone(), tls)),
            None => {
                let passed = extensions.sockets.iter().find(|socket| socket.is_for(&listener.address));
                let sharing = if leaving(listener) { Sharing::Allowed } else { extensions.sharing };
                let bound = match passed {
                    Some(socket) => socket.bound(workers)?,
                    None => bind(&listener.address, &listener.unix_socket, workers, sharing)?,
                };
                Ok(PreparedListener::New(listener.clone(), tls, bound))
            }
        }
    });
    prepared.collect()
}

/// Reads the certificates of a listener.
fn prepare_tls(
    listener: &Listener,
    before: Option<&ServerTls>,
) -> Result<Option<Arc<ServerTls>>, StartError> {
    let Some(tls) = &listener.tls else { return Ok(None) };
    let loaded = ServerTls::load(tls, before)
        .map_err(|source| PlanError::Tls { listener: listener.address.to_string(), source });
    let loaded = loaded.map_err(StartError::from_plan)?;
    warn_of_doubts(&listener.address.to_string(), &loaded);
    Ok(Some(Arc::new(loaded)))
}
