//! One upstream, from the model to what the data path needs and its keeper.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use evenkeel_core::Moment;
use evenkeel_core::balance::{Balancer, LoadBalancingAlgorithm};
use evenkeel_core::health::{Health, OutlierOptions, Policy};
use tokio::sync::{Notify, mpsc};

use super::backends::{BackendFactory, PreparedBackend};
use super::board::StatusBoard;
use super::checks::Checks;
use super::event_log::EventLog;
use super::extensions::Extensions;
use super::handle::Update;
use super::keeper::{Keeper, members};
use super::live::{LiveUpstream, UpstreamSettings};
use super::plan::PlanError;
use super::prober::LoadProbes;
use super::set::{BackendSet, Replaced};
use crate::observe::{Counter, Sharded};
use crate::upstream::{Affinity, FailureAlert, FailureReports, Gate, Hedging, Members, Upstream, moment_of};

/// One upstream, ready to start: everything that can fail is done.
#[derive(Debug)]
pub(super) struct Prepared {
    factory: BackendFactory,
    /// The configured backends; `None` to keep those that replaced them.
    backends: Option<Vec<PreparedBackend>>,
    /// The algorithm, as it begins.
    balancer: Arc<dyn Balancer>,
    workers: usize,
}

/// What an upstream begins with, or takes over.
#[derive(Debug)]
struct Carried {
    set: BackendSet,
    health: Health,
    board: Arc<StatusBoard>,
    alert: Arc<Notify>,
    updates: mpsc::Receiver<Update>,
    event_log: EventLog,
    retired: Vec<Arc<Members>>,
    balancer: Arc<dyn Balancer>,
    gate: Arc<Gate>,
    hedging: Option<Arc<Hedging>>,
    requests: Arc<Sharded<Counter>>,
}

// === impl Prepared ===

impl Prepared {
    /// Resolves names, reads certificates, makes probes. Changes nothing that runs.
    pub(super) async fn new(
        factory: BackendFactory,
        extensions: &Extensions,
        workers: usize,
        before: Option<&LiveUpstream>,
    ) -> Result<Self, PlanError> {
        let model = &factory.settings.model;
        let balancer = balancer(model, extensions)?;
        if let Some(before) = before
            && before.is_replaced()
            && before.settings.model.backends == model.backends
        {
            // What replaced them will replace them again. They must be usable with the new settings.
            let members = before.upstream.members.load_full();
            for endpoint in members.roster.iter() {
                factory.unresolved(endpoint.spec.clone())?;
            }
            return Ok(Self { factory, backends: None, balancer, workers });
        }
        let mut backends = Vec::with_capacity(model.backends.len());
        for backend in &model.backends {
            backends.push(factory.resolved(backend).await?);
        }
        Ok(Self { factory, backends: Some(backends), balancer, workers })
    }

    /// What the upstream depends on.
    pub(super) fn settings(&self) -> &UpstreamSettings {
        &self.factory.settings
    }

    /// The upstream as it begins, with its keeper, which receives other sets from `updates`.
    pub(super) fn begin(self, updates: mpsc::Receiver<Update>) -> Keeper {
        let now = moment_of(Instant::now());
        let Self { factory, backends, balancer, workers } = self;
        let model = factory.settings.model.clone();
        let mut set = BackendSet::new(factory.clone());
        // Without them, the keeper that had them has panicked, and what replaced the configured ones will do so again.
        let configured = || model.backends.iter().filter_map(|spec| factory.unresolved(spec.clone()).ok());
        let backends = backends.unwrap_or_else(|| configured().collect());
        let replaced = set.reconfigure(factory, Some(backends));
        let carried = Carried {
            health: Health::new(policy(&model), set.descriptions(), now),
            set,
            board: Arc::new(StatusBoard::new()),
            alert: Arc::new(Notify::new()),
            updates,
            event_log: EventLog::new(&model.name),
            retired: Vec::new(),
            balancer,
            gate: Arc::new(Gate::new(model.limits.clone(), model.retry.budget)),
            hedging: model.hedge.as_ref().map(|hedge| Arc::new(Hedging::new(hedge))),
            requests: Arc::new(Sharded::new(workers)),
        };
        carried.keeper(replaced, now)
    }

    /// The upstream as it goes on from another keeper's: with all that is known of the backends that stay, and with whatever
    /// the settings that stay have gathered.
    pub(super) fn go_on(self, before: Keeper) -> Keeper {
        let now = moment_of(Instant::now());
        let Keeper { upstream: old, mut set, mut health, board, alert, updates, event_log, .. } = before;
        let mut retired = before.retired;
        retired.push(old.members.load_full());
        let (settings, model) = (set.factory.settings.model.clone(), self.factory.settings.model.clone());
        // It may have been replaced since this was prepared.
        let kept = set.is_replaced() && settings.backends == model.backends;
        let replaced = set.reconfigure(self.factory, self.backends.filter(|_| !kept));
        health.replace(policy(&model), set.descriptions(), now);
        let same_gate = settings.limits == model.limits && settings.retry.budget == model.retry.budget;
        let gate = match same_gate {
            true => old.gate.clone(),
            false => Arc::new(old.gate.with(model.limits.clone(), model.retry.budget)),
        };
        let hedging = match &model.hedge {
            hedge if *hedge == settings.hedge => old.hedging.clone(),
            hedge => hedge.as_ref().map(|hedge| Arc::new(Hedging::new(hedge))),
        };
        let balancer = match settings.algorithm == model.algorithm {
            true => old.members.load().balancer.clone(),
            false => self.balancer,
        };
        let requests = old.requests.clone();
        let carried = Carried {
            set,
            health,
            board,
            alert,
            updates,
            event_log,
            retired,
            balancer,
            gate,
            hedging,
            requests,
        };
        carried.keeper(replaced, now)
    }
}

// === impl Carried ===

impl Carried {
    fn keeper(mut self, replaced: Replaced, now: Moment) -> Keeper {
        let model = self.set.factory.settings.model.clone();
        let choice = self.health.choice(now);
        self.board.replace(self.set.descriptions(), &replaced.left);
        self.board.differ(self.set.overrides(), self.set.revision());
        let states = self.set.iter().map(|endpoint| {
            let id = endpoint.id;
            (id, self.health.state(id, now), self.health.gray(id))
        });
        self.board.stands(choice.mode, states);
        let roster = Arc::new(self.set.roster());
        let upstream = Arc::new(Upstream {
            name: model.name.as_str().into(),
            algorithm: model.algorithm.name(),
            members: ArcSwap::from_pointee(members(&self.set, roster, &choice, self.balancer)),
            timeouts: model.timeouts.clone(),
            pool: model.pool.clone(),
            retry: Arc::new(model.retry.clone()),
            hedging: self.hedging,
            affinity: Affinity { key: model.algorithm.hash_key().cloned(), sticky: model.sticky.clone() },
            gate: self.gate,
            reports: FailureReports::new(failure_alert(model.health.outliers.as_ref(), &self.alert)),
            requests: self.requests,
        });
        let probes_load = match &model.algorithm {
            LoadBalancingAlgorithm::Prequal(options) => options.probe_path.is_some(),
            _ => false,
        };
        let mut keeper = Keeper {
            upstream,
            set: self.set,
            health: self.health,
            board: self.board,
            alert: self.alert,
            updates: self.updates,
            judges: judged_every(&model),
            checks: model.health.check.as_ref().map(Checks::new),
            load_probes: probes_load.then(LoadProbes::default),
            choice,
            event_log: self.event_log,
            retired: self.retired,
        };
        keeper.add_probes(replaced);
        keeper
    }
}

/// The algorithm of an upstream, which knows no backends yet.
///
/// # Errors
/// When the program registered none of this name.
pub(super) fn balancer(
    upstream: &evenkeel_config::Upstream,
    extensions: &Extensions,
) -> Result<Arc<dyn Balancer>, PlanError> {
    let balancer = match &upstream.algorithm {
        LoadBalancingAlgorithm::Named(name) => extensions.algorithms.make(name),
        algorithm => algorithm.balancer(),
    };
    balancer.ok_or_else(|| {
        let name = match &upstream.algorithm {
            LoadBalancingAlgorithm::Named(name) => name.to_string(),
            algorithm => algorithm.name().to_owned(),
        };
        PlanError::Algorithm { upstream: upstream.name.clone(), name }
    })
}

/// How health is judged, as configured.
pub(super) fn policy(upstream: &evenkeel_config::Upstream) -> Policy {
    let health = &upstream.health;
    Policy {
        thresholds: health.check.as_ref().map(|check| check.thresholds),
        outliers: health.outliers,
        slow_start: health.slow_start,
        when_all_down: health.when_all_down,
        panic_threshold: health.panic_threshold,
    }
}

fn failure_alert(outliers: Option<&OutlierOptions>, notify: &Arc<Notify>) -> Option<FailureAlert> {
    let threshold = outliers?.consecutive_failures?.get();
    Some(FailureAlert { threshold, notify: notify.clone() })
}

/// Failures in a row send an alert; only for rates and latencies, and for probes and traffic that disagree, must be looked.
fn judged_every(upstream: &evenkeel_config::Upstream) -> Option<Duration> {
    let outliers = upstream.health.outliers?;
    let rates = outliers.failure_rate.is_some() || outliers.latency_factor.is_some();
    (rates || upstream.health.check.is_some()).then_some(outliers.interval)
}
