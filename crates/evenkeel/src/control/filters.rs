//! Builds the filters of a configuration: for each route and listener its own, and once those that several of them share.
//!
//! A filter that means the same as before stays. Another one can take over the state of the filter that it replaces.

use std::sync::Arc;
use std::time::Instant;

use evenkeel_config::{ConfigError, Diagnostic, FilterSpec, Model};
use evenkeel_core::route::TextRegex;
use evenkeel_http::message::{Map, Scope};
use tokio::runtime::Handle;

use crate::exchange::{ListenerFilters, Table};
use crate::filter::{BuildContext, Filter, Registry};
use crate::upstream::moment_of;

/// Filters in order, each with what it was made from.
pub(super) type LiveFilters = Vec<LiveFilter>;

/// A filter that runs, and what it was built from.
pub(super) type LiveFilter = (FilterSpec, Arc<dyn Filter>);

/// All filters of a configuration, in its order.
#[derive(Debug, Default)]
pub(super) struct BuiltFilters {
    /// Those that have a name.
    pub(super) shared: LiveFilters,
    pub(super) routes: Vec<LiveFilters>,
    pub(super) listeners: Vec<LiveFilters>,
}

/// Builds filters.
pub(super) struct FilterBuilder<'a> {
    registry: &'a Registry,
    workers: usize,
    /// Whether they will run; else they are only checked.
    live: bool,
    runtime: Option<Handle>,
    maps: &'a [Arc<Map>],
    /// Whether the filters that run were built with the same maps. Else none of them can stay.
    same_maps: bool,
    /// Those with a name that were built.
    shared: LiveFilters,
    problems: Vec<Diagnostic>,
}

/// The filters of a place that runs, for a new configuration to take over. Each can be taken once: two filters that are written
/// alike are still two.
#[derive(Debug)]
struct FiltersBefore<'a>(Vec<&'a (FilterSpec, Arc<dyn Filter>)>);

// === impl BuiltFilters ===

impl BuiltFilters {
    /// Builds those of a model to check them, without touching anything outside.
    ///
    /// # Errors
    /// Every filter that cannot be built, with its place in the file.
    pub(super) fn checked(model: &Model, registry: &Registry) -> Result<Self, ConfigError> {
        let workers = model.workers.map_or(1, |workers| workers.get());
        let mut builder = FilterBuilder::new(registry, workers, false).with_maps(&model.maps, true);
        builder.share(&model.filters, &[]);
        let routes = model.routes.iter().map(|route| {
            builder.build((&route.name, route.matches.path_regex()), &route.filters, (&[], false))
        });
        let routes = routes.collect();
        let listeners =
            model.listeners.iter().map(|one| builder.build(("", None), &one.filters, (&[], false)));
        let listeners = listeners.collect();
        builder.finish(routes, listeners)
    }
}

// === impl FilterBuilder ===

impl<'a> FilterBuilder<'a> {
    /// For filters that will run if they are `live`; else they are only checked.
    pub(super) fn new(registry: &'a Registry, workers: usize, live: bool) -> Self {
        let runtime = if live { Handle::try_current().ok() } else { None };
        let (maps, same_maps) = (&[][..], true);
        Self { registry, workers, live, runtime, maps, same_maps, shared: Vec::new(), problems: Vec::new() }
    }

    /// With these maps, and whether they are those that the filters that run were built with.
    pub(super) fn with_maps(mut self, maps: &'a [Arc<Map>], same_maps: bool) -> Self {
        (self.maps, self.same_maps) = (maps, same_maps);
        self
    }

    /// Builds the filters that have a name. `before` are those that run.
    pub(super) fn share(&mut self, specs: &[FilterSpec], before: &[LiveFilter]) {
        for spec in specs {
            let known = before.iter().find(|(known, _)| known.name() == spec.name());
            let built = match known {
                Some((known, filter)) if self.same_maps && known == spec => Ok(filter.clone()),
                known => {
                    let previous = known.filter(|(known, _)| known.kind() == spec.kind());
                    let scope = Scope { path_regex: None, maps: self.maps };
                    let context = BuildContext::new("", self.workers).with_scope(scope);
                    self.one(context, spec, previous.map(|(_, filter)| &**filter))
                }
            };
            match built {
                Ok(filter) => self.shared.push((spec.clone(), filter)),
                Err(problem) => self.problems.push(problem),
            }
        }
    }

    /// Builds the filters of a route, which has this name and this expression on the path, or of a listener. `before` are those that run there, and whether those
    /// that mean the same can stay.
    pub(super) fn build(
        &mut self,
        (route, path_regex): (&str, Option<&TextRegex>),
        specs: &[FilterSpec],
        (before, can_stay): (&[LiveFilter], bool),
    ) -> LiveFilters {
        let scope = Scope { path_regex, maps: self.maps };
        let context = BuildContext::new(route, self.workers).with_scope(scope);
        let can_stay = can_stay && self.same_maps;
        let mut before = FiltersBefore::new(before);
        // First all that stay: what is left then was replaced.
        let keep = |spec| if can_stay { before.take_same(spec) } else { None };
        let kept: Vec<_> = specs.iter().map(keep).collect();
        let mut filters = Vec::with_capacity(specs.len());
        for (spec, kept) in specs.iter().zip(kept) {
            let built = match (spec.name(), kept) {
                (Some(name), _) => {
                    // One that could not be built is a problem already.
                    let shared = self.shared.iter().find(|(known, _)| known.name() == Some(name));
                    filters.extend(shared.cloned());
                    continue;
                }
                (None, Some(filter)) => Ok(filter),
                (None, None) => self.one(context, spec, before.take_of_kind(spec.kind())),
            };
            match built {
                Ok(filter) => filters.push((spec.clone(), filter)),
                Err(problem) => self.problems.push(problem),
            }
        }
        filters
    }

    /// All that was built.
    ///
    /// # Errors
    /// Every filter that could not be built.
    pub(super) fn finish(
        self,
        routes: Vec<LiveFilters>,
        listeners: Vec<LiveFilters>,
    ) -> Result<BuiltFilters, ConfigError> {
        if self.problems.is_empty() {
            Ok(BuiltFilters { shared: self.shared, routes, listeners })
        } else {
            Err(ConfigError::new(self.problems))
        }
    }

    fn one(
        &self,
        context: BuildContext<'_>,
        spec: &FilterSpec,
        previous: Option<&dyn Filter>,
    ) -> Result<Arc<dyn Filter>, Diagnostic> {
        let mut context = context.named(spec.name());
        if self.live {
            context = context.live(previous, self.runtime.as_ref(), moment_of(Instant::now()));
        }
        self.registry.build(spec, &context)
    }
}

// === impl FiltersBefore ===

impl<'a> FiltersBefore<'a> {
    /// Those of a place that runs, without those that it shares with others.
    fn new(running: &'a [(FilterSpec, Arc<dyn Filter>)]) -> Self {
        Self(running.iter().filter(|(spec, _)| spec.name().is_none()).collect())
    }

    /// The filter that was made from a step that means the same: it stays.
    fn take_same(&mut self, step: &FilterSpec) -> Option<Arc<dyn Filter>> {
        let at = self.0.iter().position(|(known, _)| known == step)?;
        Some(self.0.remove(at).1.clone())
    }

    /// The next filter of this kind: it is replaced.
    fn take_of_kind(&mut self, kind: &str) -> Option<&'a dyn Filter> {
        let at = self.0.iter().position(|(known, _)| known.kind() == kind)?;
        Some(&*self.0.remove(at).1)
    }
}

/// Adds to a table the filters of listeners, each with the listener's number and name, and those that are shared.
pub(super) fn with_filters<'a>(
    table: Table,
    listeners: impl Iterator<Item = (u32, Arc<str>, Option<u16>, &'a LiveFilters)>,
    shared: &LiveFilters,
) -> Table {
    let listeners: Vec<ListenerFilters> = listeners
        .map(|(id, name, port, filters)| ListenerFilters {
            id,
            name,
            port,
            filters: filters.iter().map(|(_, filter)| filter.clone()).collect(),
            kinds: filters.iter().map(|(spec, _)| spec.kind().into()).collect(),
        })
        .collect();
    let has_any = listeners.iter().any(|listener| !listener.filters.is_empty());
    let shared = shared.iter().map(|(spec, filter)| (spec.name().unwrap_or_default().into(), filter.clone()));
    Table { listeners: if has_any { listeners } else { Vec::new() }, shared: shared.collect(), ..table }
}
