//! One upstream, from the model to what the data path needs and who keeps it.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use evenkeel_config::{BackendHost, BackendUrl, HealthCheck, HealthCheckKind};
use evenkeel_core::Moment;
use evenkeel_core::backend::Backend;
use evenkeel_core::balance::{Balancer, LoadBalancingAlgorithm};
use evenkeel_core::health::{Description, Health, OutlierOptions, Policy};
use tokio::sync::Notify;

use super::board::Board;
use super::keeper::{Keeper, Watch, members};
use super::live::UpstreamSettings;
use super::pace::Pace;
use super::plan::{Extensions, PlanError};
use super::prober::Prober;
use super::resolve::resolve;
use super::telling::Teller;
use super::trust::endpoint_tls;
use crate::dial::Dialer;
use crate::observe::BackendMetrics;
use crate::probe::{LoadProbe, Probe, ProbeError, Target, TlsTarget};
use crate::upstream::{
    Affinity, Endpoint, EndpointTls, FailureAlert, FailureLog, FailureReports, Gate, Hedging, Roster,
    Upstream, cookie_value, moment_of,
};

/// One upstream, ready to start: everything that can fail is done.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) settings: UpstreamSettings,
    all: Vec<Arc<Endpoint>>,
    watch: Option<Watch>,
    load_probes: Option<Vec<Arc<LoadProbe>>>,
}

// === impl Prepared ===

impl Prepared {
    /// Resolves names, reads certificates, makes probes. Backends that the upstream has already keep their counters.
    pub(super) async fn new(
        settings: &UpstreamSettings,
        extensions: &Extensions,
        workers: usize,
        before: Option<&Upstream>,
    ) -> Result<Self, PlanError> {
        let model = &settings.model;
        let all = endpoints(settings, workers, before).await?;
        let watch = watch(model, &all, extensions)?;
        let load_probes = load_probes(model, &all)?;
        Ok(Self { settings: settings.clone(), all, watch, load_probes })
    }

    /// The upstream as it begins, with its keeper.
    pub(super) fn begin(self) -> Keeper {
        let now = moment_of(Instant::now());
        let descriptions = descriptions(&self.settings);
        let mut health = Health::new(policy(&self.settings.model), descriptions.iter().copied(), now);
        let mode = health.choice(now).mode;
        let backends = descriptions.into_iter().enumerate();
        let board = Board::new(backends.map(|(index, known)| (health.state(index, now), known)), mode);
        let gate = Arc::new(Gate::new(self.settings.model.limits.clone(), self.settings.model.retry.budget));
        let hedging = self.settings.model.hedge.as_ref().map(|hedge| Arc::new(Hedging::new(hedge)));
        let carried = Carried {
            balancer: self.settings.model.algorithm.balancer(),
            alert: Arc::new(Notify::new()),
            requests_of_removed: 0,
            gate,
            hedging,
            board,
            teller: Teller::new(&self.settings.model.name),
        };
        self.keeper(health, carried, now)
    }

    /// The upstream as it goes on from another keeper's: with all that is known of the backends that stay, and with whatever
    /// the settings that stay have gathered.
    pub(super) fn go_on(self, before: Keeper, settings: &evenkeel_config::Upstream) -> Keeper {
        let now = moment_of(Instant::now());
        let Keeper { upstream: old, mut health, board, alert, teller, .. } = before;
        let places: HashMap<&str, usize> =
            old.all.iter().enumerate().map(|(index, one)| (one.backend.name(), index)).collect();
        let place = |endpoint: &Arc<Endpoint>| places.get(endpoint.backend.name()).copied();
        let known: Vec<Option<usize>> = self.all.iter().map(place).collect();
        let descriptions = descriptions(&self.settings);
        let described = || descriptions.iter().copied().zip(known.iter().copied());
        health.replace(policy(&self.settings.model), described(), now);
        let mode = health.choice(now).mode;
        let backends =
            described().enumerate().map(|(index, (one, known))| (health.state(index, now), one, known));
        let board = board.replaced(backends, mode);
        let staying: HashSet<usize> = known.iter().flatten().copied().collect();
        let gone = old.all.iter().enumerate().filter(|(index, _)| !staying.contains(index));
        let gone: u64 = gone.map(|(_, endpoint)| endpoint.requests()).sum();
        let same_gate = settings.limits == self.settings.model.limits
            && settings.retry.budget == self.settings.model.retry.budget;
        let gate = if same_gate {
            old.gate.clone()
        } else {
            Arc::new(old.gate.with(self.settings.model.limits.clone(), self.settings.model.retry.budget))
        };
        let hedging = match &self.settings.model.hedge {
            hedge if *hedge == settings.hedge => old.hedging.clone(),
            hedge => hedge.as_ref().map(|hedge| Arc::new(Hedging::new(hedge))),
        };
        let balancer = match settings.algorithm == self.settings.model.algorithm {
            true => old.members.load().balancer.clone(),
            false => self.settings.model.algorithm.balancer(),
        };
        let requests_of_removed = old.all.requests_of_removed + gone;
        let carried = Carried { balancer, alert, requests_of_removed, gate, hedging, board, teller };
        self.keeper(health, carried, now)
    }

    fn keeper(self, mut health: Health, carried: Carried, now: Moment) -> Keeper {
        let Self { settings: UpstreamSettings { model, own, .. }, all, watch, load_probes } = self;
        let choice = health.choice(now);
        let running = Arc::new(Upstream {
            name: model.name.as_str().into(),
            algorithm: model.algorithm.name(),
            members: ArcSwap::from_pointee(members(&all, &choice, carried.balancer)),
            timeouts: model.timeouts.clone(),
            pool: model.pool.clone(),
            retry: Arc::new(model.retry.clone()),
            hedging: carried.hedging,
            affinity: Affinity { key: model.algorithm.hash_key().cloned(), sticky: model.sticky.clone() },
            gate: carried.gate,
            reports: FailureReports::new(failure_alert(model.health.outliers.as_ref(), &carried.alert)),
            plain: all.iter().all(|endpoint| endpoint.tls.is_none()),
            all: Roster { endpoints: all, requests_of_removed: carried.requests_of_removed },
        });
        Keeper {
            prober: load_probes.map(|probes| Prober { upstream: running.clone(), probes }),
            upstream: running,
            health,
            board: Arc::new(carried.board),
            alert: carried.alert,
            own,
            judges: judged_every(&model),
            pace: watch.as_ref().map(Pace::new),
            watch,
            choice,
            teller: carried.teller,
        }
    }
}

/// What an upstream begins with, or takes over.
struct Carried {
    balancer: Arc<dyn Balancer>,
    alert: Arc<Notify>,
    requests_of_removed: u64,
    gate: Arc<Gate>,
    hedging: Option<Arc<Hedging>>,
    board: Board,
    teller: Teller,
}

async fn endpoints(
    settings: &UpstreamSettings,
    workers: usize,
    before: Option<&Upstream>,
) -> Result<Vec<Arc<Endpoint>>, PlanError> {
    let upstream = &settings.model;
    let known = before.map_or(&[][..], |before| &before.all).iter();
    let known: HashMap<&str, &Arc<Endpoint>> = known.map(|one| (one.backend.name(), one)).collect();
    let mut all = Vec::with_capacity(upstream.backends.len());
    for backend in &upstream.backends {
        let url = &backend.url;
        let (address, names) = resolve(&url.host, &settings.own).await;
        let cookie = |sticky| cookie_value(sticky, &upstream.name, &url.text);
        let known = known.get(url.text.as_str()).filter(|known| *known.backend.address() == address);
        let dialer = Dialer::new(&address, names.as_ref());
        let tls = endpoint_tls(url, upstream, settings.authorities.as_ref());
        all.push(Arc::new(Endpoint {
            // A name that has an address keeps it where the resolver gives none now.
            dialer: known.filter(|_| dialer.first().is_none()).map_or(dialer, |one| one.dialer.clone()),
            failures: FailureLog::default(),
            backend: known.map_or_else(
                || Arc::new(Backend::new(url.text.as_str(), address)),
                |one| one.backend.clone(),
            ),
            group: group(&upstream.name, &url.text, tls.as_ref()),
            tls,
            weight: backend.weight,
            cookie: upstream.sticky.as_ref().map(cookie),
            metrics: known.map_or_else(|| Arc::new(BackendMetrics::new(workers)), |one| one.metrics.clone()),
        }));
    }
    Ok(all)
}

fn policy(upstream: &evenkeel_config::Upstream) -> Policy {
    let health = &upstream.health;
    Policy {
        thresholds: health.check.as_ref().map(|check| check.thresholds),
        outliers: health.outliers,
        slow_start: health.slow_start,
        when_all_down: health.when_all_down,
        panic_threshold: health.panic_threshold,
    }
}

fn descriptions(settings: &UpstreamSettings) -> Vec<Description> {
    let describe = |backend: &evenkeel_config::Backend| Description {
        weight: backend.weight,
        priority: backend.priority,
        // Where the balancer is nowhere, every backend is near.
        local: settings.zone.is_none() || settings.zone == backend.zone,
    };
    settings.model.backends.iter().map(describe).collect()
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

/// How backends are probed for their load, if the algorithm uses it.
fn load_probes(
    upstream: &evenkeel_config::Upstream,
    all: &[Arc<Endpoint>],
) -> Result<Option<Vec<Arc<LoadProbe>>>, PlanError> {
    let LoadBalancingAlgorithm::Prequal(options) = &upstream.algorithm else { return Ok(None) };
    let Some(path) = &options.probe_path else { return Ok(None) };
    let probes = all.iter().zip(&upstream.backends).map(|(endpoint, backend)| {
        // A result that arrives after its maximum age is useless.
        let probe = LoadProbe::new(&target(endpoint, &backend.url), path, options.max_age);
        probe.map(Arc::new).map_err(|source| unprobed(upstream, &backend.url, source))
    });
    probes.collect::<Result<_, _>>().map(Some)
}

fn watch(
    upstream: &evenkeel_config::Upstream,
    all: &[Arc<Endpoint>],
    extensions: &Extensions,
) -> Result<Option<Watch>, PlanError> {
    let Some(check) = &upstream.health.check else { return Ok(None) };
    let probes = all.iter().zip(&upstream.backends).map(|(endpoint, backend)| {
        probe(check, endpoint, &backend.url, extensions)
            .map_err(|source| unprobed(upstream, &backend.url, source))
    });
    let probes = probes.collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Watch { probes, interval: check.interval, timeout: check.timeout }))
}

fn probe(
    check: &HealthCheck,
    endpoint: &Endpoint,
    url: &BackendUrl,
    extensions: &Extensions,
) -> Result<Probe, ProbeError> {
    let own = match &check.kind {
        HealthCheckKind::Custom(name) => extensions.checks.get(name).cloned(),
        _ => None,
    };
    Probe::new(check, target(endpoint, url), own)
}

fn target(endpoint: &Endpoint, url: &BackendUrl) -> Target {
    let tls = endpoint.tls.as_ref().map(|tls| TlsTarget {
        server_name: tls.server_name.clone(),
        ca: tls.ca.clone(),
        verify: tls.verify,
    });
    Target {
        address: endpoint.backend.address().clone(),
        url: url.text.clone(),
        host: host_of(url),
        tls,
        names: endpoint.dialer.names().cloned(),
    }
}

fn unprobed(upstream: &evenkeel_config::Upstream, url: &BackendUrl, source: ProbeError) -> PlanError {
    PlanError::Probe { upstream: upstream.name.clone(), backend: url.text.clone(), source }
}

/// What HTTP calls a backend: its host, with the port unless that is the scheme's own.
fn host_of(url: &BackendUrl) -> String {
    let (host, port) = match &url.host {
        BackendHost::Ip(std::net::IpAddr::V6(ip), port) => (format!("[{ip}]"), *port),
        BackendHost::Ip(ip, port) => (ip.to_string(), *port),
        BackendHost::Name(name, port) => (name.clone(), *port),
        _ => return "localhost".to_owned(),
    };
    let usual = if url.tls { 443 } else { 80 };
    if port == usual { host } else { format!("{host}:{port}") }
}

/// What tells apart the kept connections of endpoints that share an address: the upstream, the URL, and who is trusted.
fn group(upstream: &str, url: &str, tls: Option<&EndpointTls>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (upstream, url, tls).hash(&mut hasher);
    hasher.finish() >> 1
}
