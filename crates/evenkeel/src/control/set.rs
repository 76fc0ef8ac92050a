//! The backends that an upstream has, by id: which stay, which join, which leave when the set is replaced.
//!
//! It never decides which backends can be picked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use evenkeel_core::backend::{BackendId, BackendIds};
use evenkeel_core::health::Description;

use super::backend_change::{Change, ChangeError};
use super::backends::{BackendFactory, PreparedBackend};
use super::overrides::{Author, Override, Overrides};
use super::plan::PlanError;
use crate::probe::{LoadProbe, Probe};
use crate::upstream::{Endpoint, Roster};

/// The backends of one upstream.
#[derive(Debug)]
pub(super) struct BackendSet {
    pub(super) factory: BackendFactory,
    entries: BackendIds<Entry>,
    by_url: HashMap<Box<str>, BackendId, foldhash::fast::RandomState>,
    order: Vec<BackendId>,
    /// Removed backends that requests still use. One that comes back meanwhile goes on counting.
    draining: HashMap<Box<str>, Arc<Endpoint>>,
    /// Counts replacements.
    generation: u64,
    /// Whether the set is not the configured one any more.
    replaced: bool,
    /// What was changed at run time.
    overrides: Overrides,
    /// The set without that, while anything is changed.
    given: Vec<evenkeel_config::Backend>,
    /// Grows with every change. It begins with the time, so that it never repeats after a restart.
    revision: u64,
}

#[derive(Debug)]
struct Entry {
    endpoint: Arc<Endpoint>,
    /// The last generation that it belonged to.
    generation: u64,
}

/// What a replacement has changed. Only backends that joined or left are named.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    pub(super) joined: Vec<Joined>,
    pub(super) left: Vec<BackendId>,
    /// How many stay with another weight, priority or zone.
    pub(super) changed: usize,
    /// Why backends were left out.
    pub(super) rejected: Vec<PlanError>,
    /// Whether backends that stay have changed places.
    reordered: bool,
}

/// A backend that has joined, with what probes it.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) id: BackendId,
    pub(super) probe: Option<Probe>,
    pub(super) load_probe: Option<Arc<LoadProbe>>,
}

// === impl Replaced ===

impl Replaced {
    /// Whether there is nothing to publish.
    pub(super) fn is_nothing(&self) -> bool {
        self.joined.is_empty() && self.left.is_empty() && self.changed == 0 && !self.reordered
    }
}

// === impl BackendSet ===

impl BackendSet {
    /// Without backends.
    pub(super) fn new(factory: BackendFactory) -> Self {
        Self {
            factory,
            entries: BackendIds::with_key(),
            by_url: HashMap::default(),
            order: Vec::new(),
            draining: HashMap::new(),
            generation: 0,
            replaced: false,
            overrides: Overrides::default(),
            given: Vec::new(),
            revision: first_revision(),
        }
    }

    /// What was changed at run time.
    pub(super) fn overrides(&self) -> Arc<[Override]> {
        self.overrides.list()
    }

    /// Which of its states this is.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether the set was replaced, so that it is not the configured one.
    pub(super) fn is_replaced(&self) -> bool {
        self.replaced
    }

    /// A backend; `None` if it has left.
    pub(super) fn get(&self, id: BackendId) -> Option<&Arc<Endpoint>> {
        self.entries.get(id).map(|entry| &entry.endpoint)
    }

    /// The backends, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.order.iter().filter_map(|id| self.get(*id))
    }

    /// The backends, in their order, with what decides when each is picked.
    pub(super) fn descriptions(&self) -> impl Iterator<Item = (BackendId, Description)> {
        self.iter().map(|endpoint| (endpoint.id, self.factory.description(&endpoint.spec)))
    }

    /// The backends, as the data path sees them.
    pub(super) fn roster(&self) -> Roster {
        Roster::new(self.iter().cloned().collect::<Arc<[_]>>())
    }

    /// Replaces the set. Backends are the same if their URLs are. Costs a lookup for each backend, and more only for those that
    /// join, change or leave.
    pub(super) fn replace(&mut self, set: Vec<evenkeel_config::Backend>) -> Replaced {
        self.replaced = true;
        if self.overrides.is_empty() {
            return self.put(set);
        }
        let whole = self.overrides.on(&set);
        self.given = set;
        self.put(whole)
    }

    /// Changes the set at run time. Returns the URL of the backend, and what has changed; nothing if nothing has.
    ///
    /// # Errors
    /// Why not. Nothing has changed then.
    pub(super) fn change(
        &mut self,
        change: Change,
        author: &Author,
    ) -> Result<(String, Option<Replaced>), ChangeError> {
        if let Change::Add(backend) = &change {
            let usable = self.factory.unresolved(backend.clone());
            usable.map_err(|error| ChangeError::Unusable(error.to_string()))?;
        }
        let given = match self.overrides.is_empty() {
            true => self.iter().map(|endpoint| endpoint.spec.clone()).collect(),
            false => std::mem::take(&mut self.given),
        };
        let mut overrides = self.overrides.clone();
        let result = overrides.change(&given, change, author);
        let is_same = result.is_err() || overrides.is_same(&self.overrides);
        let replaced = (!is_same).then(|| {
            let whole = overrides.on(&given);
            self.overrides = overrides;
            self.revision += 1;
            self.put(whole)
        });
        self.given = if self.overrides.is_empty() { Vec::new() } else { given };
        result.map(|url| (url, replaced))
    }

    /// Takes over a set as it is.
    fn put(&mut self, set: Vec<evenkeel_config::Backend>) -> Replaced {
        self.generation += 1;
        self.draining.retain(|_, endpoint| endpoint.backend.counters().in_flight() > 0);
        let (mut order, mut replaced) = (Vec::with_capacity(set.len()), Replaced::default());
        for spec in set {
            let known = self.by_url.get(spec.url.text.as_str()).copied();
            match known.and_then(|id| self.entries.get_mut(id)) {
                // Given twice: the first one counts.
                Some(entry) if entry.generation == self.generation => continue,
                Some(entry) => {
                    entry.generation = self.generation;
                    if entry.endpoint.spec != spec {
                        entry.endpoint = Arc::new(entry.endpoint.with_spec(spec));
                        replaced.changed += 1;
                    }
                    order.push(entry.endpoint.id);
                }
                None => match self.factory.unresolved(spec) {
                    Ok(prepared) => {
                        let joined = self.join(prepared, None);
                        order.push(joined.id);
                        replaced.joined.push(joined);
                    }
                    Err(error) => replaced.rejected.push(error),
                },
            }
        }
        self.order_as(order, &mut replaced);
        self.revision += u64::from(!replaced.is_nothing());
        replaced
    }

    /// Goes on with other settings. With `backends`, it has these from now on; without, it keeps those that it has, except for
    /// backends that cannot be had with these settings. Every backend that is known keeps its id and what it has counted, and
    /// counts as one that has joined: its probes are made again.
    pub(super) fn reconfigure(
        &mut self,
        factory: BackendFactory,
        backends: Option<Vec<PreparedBackend>>,
    ) -> Replaced {
        self.factory = factory;
        self.generation += 1;
        self.replaced &= backends.is_none();
        self.revision += 1;
        let mut replaced = Replaced::default();
        let backends = backends.map(|backends| self.with_overrides(backends, &mut replaced));
        let backends = backends.unwrap_or_else(|| {
            let specs = self.iter().map(|endpoint| self.factory.unresolved(endpoint.spec.clone()));
            let prepared = specs.filter_map(|one| one.map_err(|error| replaced.rejected.push(error)).ok());
            prepared.collect()
        });
        let mut order = Vec::with_capacity(backends.len());
        for prepared in backends {
            let known = self.by_url.get(prepared.url()).copied();
            let joined = self.join(prepared, known);
            order.push(joined.id);
            replaced.joined.push(joined);
        }
        self.order_as(order, &mut replaced);
        replaced
    }

    /// The backends of the configuration, changed as they were at run time.
    fn with_overrides(
        &mut self,
        backends: Vec<PreparedBackend>,
        replaced: &mut Replaced,
    ) -> Vec<PreparedBackend> {
        if self.overrides.is_empty() {
            return backends;
        }
        self.given = backends.iter().map(|one| one.spec.clone()).collect();
        let mut prepared: HashMap<String, PreparedBackend> =
            backends.into_iter().map(|one| (one.spec.url.text.clone(), one)).collect();
        let mut whole = Vec::with_capacity(prepared.len());
        for spec in self.overrides.on(&self.given) {
            match prepared.remove(&spec.url.text) {
                Some(mut one) => {
                    one.spec = spec;
                    whole.push(one);
                }
                None => match self.factory.unresolved(spec) {
                    Ok(one) => whole.push(one),
                    Err(error) => replaced.rejected.push(error),
                },
            }
        }
        whole
    }

    /// Adds a backend, or replaces the one with this id.
    fn join(&mut self, prepared: PreparedBackend, known: Option<BackendId>) -> Joined {
        let Self { factory, entries, by_url, draining, generation, .. } = self;
        let (url, mut prepared) = (Box::<str>::from(prepared.url()), prepared);
        let (probe, load_probe) = (prepared.probe.take(), prepared.load_probe.take());
        if let Some(entry) = known.and_then(|id| entries.get_mut(id)) {
            let before = entry.endpoint.clone();
            entry.endpoint = Arc::new(factory.endpoint(prepared, before.id, Some(&before)));
            entry.generation = *generation;
            if !Arc::ptr_eq(&before.connections, &entry.endpoint.connections) {
                before.connections.close();
            }
            return Joined { id: before.id, probe, load_probe };
        }
        let before = draining.remove(&url);
        let id = entries.insert_with_key(|id| {
            let endpoint = Arc::new(factory.endpoint(prepared, id, before.as_deref()));
            Entry { endpoint, generation: *generation }
        });
        by_url.insert(url, id);
        Joined { id, probe, load_probe }
    }

    /// Takes over the order, and removes backends that are not in it.
    fn order_as(&mut self, order: Vec<BackendId>, replaced: &mut Replaced) {
        replaced.reordered = order != self.order;
        for id in std::mem::replace(&mut self.order, order) {
            let has_left = self.entries.get(id).is_some_and(|entry| entry.generation != self.generation);
            if let Some(Entry { endpoint, .. }) = has_left.then(|| self.entries.remove(id)).flatten() {
                self.by_url.remove(endpoint.spec.url.text.as_str());
                endpoint.connections.close();
                if endpoint.backend.counters().in_flight() > 0 {
                    self.draining.insert(endpoint.spec.url.text.as_str().into(), endpoint);
                }
                replaced.left.push(id);
            }
        }
    }
}

// === impl PreparedBackend ===

impl PreparedBackend {
    fn url(&self) -> &str {
        &self.spec.url.text
    }
}

/// The time in microseconds.
fn first_revision() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}
