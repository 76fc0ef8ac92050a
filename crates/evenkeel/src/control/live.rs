//! What runs now, by identity: an upstream and a route by their names, a listener by its address.
//!
//! A start is a reload from nothing: both prepare what is new, and then put it in force.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use evenkeel_config::{BackendHost, ListenAddress, Model};
use evenkeel_core::route::TextRegex;

use super::board::StatusBoard;
use super::discovery::Source;
use super::filters::LiveFilters;
use super::handle::UpstreamHandle;
use super::keeper::Keeping;
use super::loops::OwnAddresses;
use super::plan::PlanError;
use super::state::SourceView;
use super::trust::authorities;
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
    /// The filters that routes and listeners share.
    pub(super) filters: LiveFilters,
    /// In the configured order.
    pub(super) listeners: Vec<LiveListener>,
    /// How many listeners there were until now: the number of the last one.
    pub(super) numbered: u32,
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
    pub(super) filters: LiveFilters,
    /// The expression on the path that they were made for: their placeholders name its groups.
    pub(super) path_regex: Option<TextRegex>,
    pub(super) metrics: Arc<RouteMetrics>,
}

/// A listener that runs.
#[derive(Debug)]
pub(super) struct LiveListener {
    /// Its address as configured: port 0 stays 0.
    pub(super) configured: ListenAddress,
    /// Its address with the real port.
    pub(super) address: ListenAddress,
    pub(super) shared: Arc<ListenerShared>,
    /// The filters of all its requests.
    pub(super) filters: LiveFilters,
    /// The file of its Unix socket, to be removed at the end.
    pub(super) file: Option<SocketFile>,
}

// === impl Live ===

impl Live {
    /// The listeners with their numbers, names, ports and filters.
    pub(super) fn numbered_listeners(
        &self,
    ) -> impl Iterator<Item = (u32, Arc<str>, Option<u16>, &LiveFilters)> {
        self.listeners
            .iter()
            .map(|one| (one.shared.id, one.shared.name.clone(), one.address.port(), &one.filters))
    }
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
