//! One upstream, from the model to what the data path needs and who keeps it.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use evenkeel_config::{BackendHost, BackendUrl, HealthCheck, HealthCheckKind};
use evenkeel_core::backend::Backend;
use evenkeel_core::balance::LoadBalancingAlgorithm;
use evenkeel_core::health::{Description, Health, OutlierOptions, Policy};

use super::board::Board;
use super::keeper::{Doorbell, Keeper, Watch, members};
use super::loops::OwnAddresses;
use super::pace::Pace;
use super::plan::{Extensions, PlanError};
use super::prober::Prober;
use super::resolve::resolve;
use super::telling::Teller;
use super::trust::{authorities, endpoint_tls};
use crate::dial::Dialer;
use crate::exchange::{
    Affinity, Alarm, Alarms, Complaints, Endpoint, Gate, Hedging, Upstream, cookie_value, moment_of,
};
use crate::observe::BackendMetrics;
use crate::probe::{LoadProbe, Probe, ProbeError, Target, TlsTarget};

/// Makes one upstream: names resolved, certificates read, probes ready.
pub(super) async fn plan(
    upstream: &evenkeel_config::Upstream,
    (zone, own): (Option<&str>, &OwnAddresses),
    extensions: &Extensions,
    workers: usize,
) -> Result<Keeper, PlanError> {
    let all = endpoints(upstream, own, workers).await?;
    let watch = watch(upstream, &all, extensions)?;
    let load_probes = load_probes(upstream, &all)?;
    let now = moment_of(Instant::now());
    let descriptions = descriptions(upstream, zone);
    let mut health = Health::new(policy(upstream), descriptions.iter().copied(), now);
    let choice = health.choice(now);
    let bell = Arc::new(Doorbell::default());
    let seats = descriptions.into_iter().enumerate();
    let seats = seats.map(|(index, description)| (health.state(index, now), description));
    let board = Board::new(seats, choice.mode);
    let plain = all.iter().all(|endpoint| endpoint.tls.is_none());
    let running = Arc::new(Upstream {
        name: upstream.name.as_str().into(),
        algorithm: upstream.algorithm.name(),
        members: ArcSwap::from_pointee(members(&all, &choice, upstream.algorithm.balancer())),
        timeouts: upstream.timeouts.clone(),
        pool: upstream.pool.clone(),
        retry: Arc::new(upstream.retry.clone()),
        hedging: upstream.hedge.as_ref().map(Hedging::new),
        affinity: Affinity { key: upstream.algorithm.hash_key().cloned(), sticky: upstream.sticky.clone() },
        gate: Gate::new(upstream.limits.clone(), upstream.retry.budget),
        alarms: Alarms::new(alarm(upstream.health.outliers.as_ref(), &bell)),
        plain,
        all,
    });
    Ok(Keeper {
        prober: load_probes.map(|probes| Prober { upstream: running.clone(), probes }),
        upstream: running,
        health,
        board: Arc::new(board),
        bell,
        own: own.clone(),
        judges: judged_every(upstream),
        pace: watch.as_ref().map(Pace::new),
        watch,
        choice,
        teller: Teller::new(&upstream.name),
    })
}

async fn endpoints(
    upstream: &evenkeel_config::Upstream,
    own: &OwnAddresses,
    workers: usize,
) -> Result<Vec<Arc<Endpoint>>, PlanError> {
    let authorities = authorities(upstream)?;
    let mut all = Vec::with_capacity(upstream.backends.len());
    for backend in &upstream.backends {
        let url = &backend.url;
        let (address, names) = resolve(&url.host, own).await;
        let cookie = |sticky| cookie_value(sticky, &upstream.name, &url.text);
        all.push(Arc::new(Endpoint {
            dialer: Dialer::new(&address, names.as_ref()),
            backend: Arc::new(Backend::new(url.text.as_str(), address)),
            tls: endpoint_tls(url, upstream, authorities.as_ref()),
            group: group(&upstream.name, &url.text),
            weight: backend.weight,
            cookie: upstream.sticky.as_ref().map(cookie),
            metrics: Arc::new(BackendMetrics::new(workers)),
            complaints: Complaints::default(),
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

fn descriptions(upstream: &evenkeel_config::Upstream, zone: Option<&str>) -> Vec<Description> {
    let describe = |backend: &evenkeel_config::Backend| Description {
        weight: backend.weight,
        priority: backend.priority,
        // Where the balancer is nowhere, every backend is near.
        local: zone.is_none_or(|zone| backend.zone.as_deref() == Some(zone)),
    };
    upstream.backends.iter().map(describe).collect()
}

fn alarm(outliers: Option<&OutlierOptions>, bell: &Arc<Doorbell>) -> Option<Alarm> {
    let failures = outliers?.consecutive_failures?.get();
    Some(Alarm { failures, bell: bell.clone() })
}

/// Failures in a row ring the bell; only for rates and latencies, and for probes and traffic that disagree, must be looked.
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

/// What tells apart the kept connections of endpoints that share an address: the upstream and the URL.
fn group(upstream: &str, url: &str) -> u64 {
    let mut hasher = BuildHasherDefault::<DefaultHasher>::default().build_hasher();
    hasher.write(upstream.as_bytes());
    hasher.write_u8(0);
    hasher.write(url.as_bytes());
    hasher.finish() >> 1
}
