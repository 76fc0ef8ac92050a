//! What runs now, by identity: an upstream and a route by their names, a listener by its address.
//!
//! A start is a reload from nothing: both prepare what is new, and then put it in force.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use evenkeel_config::{BackendHost, FilterSpec, ListenAddress, Model};
use evenkeel_core::route::PathRegex;

use super::board::StatusBoard;
use super::discovery::Source;
use super::handle::UpstreamHandle;
use super::keeper::Keeping;
use super::loops::OwnAddresses;
use super::plan::PlanError;
use super::state::SourceView;
use super::trust::authorities;
use crate::filter::Filter;
use crate::listen::{ListenerShared, SocketFile};
use crate::observe::{AccessLog, RouteMetrics};
use crate::upstream::Upstream;

/// What runs now.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// What it was made from; nothing before the start.
    pub(super) model: Option<Arc<Model>>,
    pub(super) upstreams: HashMap<String, LiveUpstream>,
    pub(super) routes: HashMap<String, LiveRoute>,
    /// In the configured order.
    pub(super) listeners: Vec<LiveListener>,
    pub(super) log: Option<Arc<AccessLog>>,
    /// The addresses of the listeners: no backend may have one of them.
    pub(super) own: Arc<ArcSwap<OwnAddresses>>,
}

/// An upstream that runs.
#[derive(Debug)]
pub(super) struct LiveUpstream {
    pub(super) settings: UpstreamSettings,
    pub(super) upstream: Arc<Upstream>,
    pub(super) board: Arc<StatusBoard>,
    pub(super) keeping: Keeping,
    /// Replaces its backends.
    pub(super) handle: UpstreamHandle,
    /// Where more backends come from.
    pub(super) source: Option<Arc<Source>>,
}

/// Everything that an upstream depends on. While this is the same, the upstream goes on untouched.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct UpstreamSettings {
    pub(super) model: evenkeel_config::Upstream,
    /// The zone of this balancer.
    pub(super) zone: Option<String>,
    /// The addresses of the balancer's own listeners, where a name of a backend could lead to one; else none.
    pub(super) own: OwnAddresses,
    /// What the file of authorities holds.
    pub(super) authorities: Option<Arc<[Vec<u8>]>>,
}

/// A route that runs.
#[derive(Clone, Debug)]
pub(super) struct LiveRoute {
    /// The filters, each with what it was made from.
    pub(super) filters: Vec<(FilterSpec, Arc<dyn Filter>)>,
    /// The expression on the path that they were made for: their placeholders name its groups.
    pub(super) path_regex: Option<PathRegex>,
    pub(super) metrics: Arc<RouteMetrics>,
}

/// The filters of a route that runs, for a new configuration to take over. Each can be taken once: two filters that are
/// written alike are still two.
#[derive(Debug)]
pub(super) struct FiltersBefore<'a>(Vec<&'a (FilterSpec, Arc<dyn Filter>)>);

/// A listener that runs.
#[derive(Debug)]
pub(super) struct LiveListener {
    /// Its address as configured: port 0 stays 0.
    pub(super) configured: ListenAddress,
    /// Its address with the real port.
    pub(super) address: ListenAddress,
    pub(super) shared: Arc<ListenerShared>,
    /// The file of its Unix socket, to be removed at the end.
    pub(super) file: Option<SocketFile>,
}

// === impl LiveUpstream ===

impl LiveUpstream {
    /// What is shown of its source.
    pub(super) fn shown_source(&self) -> Option<SourceView> {
        let source = self.source.as_ref()?;
        Some(SourceView { status: source.status().clone(), fixed: source.fixed() })
    }

    /// Whether its backends are not the configured ones: a set has replaced them.
    pub(super) fn is_replaced(&self) -> bool {
        let members = self.upstream.members.load();
        let configured = self.settings.model.backends.iter();
        !members.roster.iter().map(|endpoint| &endpoint.spec).eq(configured)
    }
}

// === impl UpstreamSettings ===

impl UpstreamSettings {
    /// What an upstream of this model depends on.
    ///
    /// # Errors
    /// When its file of authorities cannot be used.
    pub(super) fn new(upstream: &evenkeel_config::Upstream, model: &Model) -> Result<Self, PlanError> {
        let has_names = upstream.backends.iter().any(|one| matches!(one.url.host, BackendHost::Name(..)));
        Ok(Self {
            model: upstream.clone(),
            zone: model.zone.clone(),
            own: if has_names { OwnAddresses::of(model) } else { OwnAddresses::default() },
            authorities: authorities(upstream)?,
        })
    }
}

// === impl FiltersBefore ===

impl<'a> FiltersBefore<'a> {
    /// Those of a route that runs; none if it is new.
    pub(super) fn new(route: Option<&'a LiveRoute>) -> Self {
        Self(route.map(|route| route.filters.iter().collect()).unwrap_or_default())
    }

    /// The filter that was made from a step that means the same: it stays.
    pub(super) fn take_same(&mut self, step: &FilterSpec) -> Option<Arc<dyn Filter>> {
        let at = self.0.iter().position(|(known, _)| known == step)?;
        Some(self.0.remove(at).1.clone())
    }

    /// The next filter of this kind: it is replaced.
    pub(super) fn take_of_kind(&mut self, kind: &str) -> Option<&'a dyn Filter> {
        let at = self.0.iter().position(|(known, _)| known.kind() == kind)?;
        Some(&*self.0.remove(at).1)
    }
}
