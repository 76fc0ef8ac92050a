//! Makes one backend of an upstream from what is said of it: how to connect to it, how to probe it, what it counts.
//!
//! It never knows which backends an upstream has.

use std::sync::Arc;

use arc_swap::ArcSwap;
use evenkeel_config::{BackendHost, BackendUrl, CustomExtension, HealthCheckKind, Protocol, ProxyVersion};
use evenkeel_core::backend::{Address, Backend, BackendId};
use evenkeel_core::balance::LoadBalancingAlgorithm;
use evenkeel_core::health::Description;

use super::extensions::Extensions;
use super::live::UpstreamSettings;
use super::loops::OwnAddresses;
use super::plan::PlanError;
use super::resolve::{resolve, unresolved};
use super::trust::{endpoint_tls, system_authorities};
use crate::dial::{Dialer, HeaderVersion, Names};
use crate::observe::BackendMetrics;
use crate::probe::{Check, LoadProbe, Probe, ProbeError, Target, TlsTarget};
use crate::upstream::{ConnectionGroup, Endpoint, EndpointTls, FailureLog, cookie_value};

/// What every backend of an upstream is made with.
#[derive(Clone, Debug)]
pub(super) struct BackendFactory {
    pub(super) settings: UpstreamSettings,
    /// The check of the program's own, if it has one.
    own_check: Option<Arc<dyn Check>>,
    /// The balancer's own addresses, which no backend may have.
    listeners: Arc<ArcSwap<OwnAddresses>>,
    workers: usize,
}

/// A backend that has no id yet: everything that can fail is done.
#[derive(Debug)]
pub(super) struct PreparedBackend {
    pub(super) spec: evenkeel_config::Backend,
    address: Address,
    dialer: Dialer,
    tls: Option<EndpointTls>,
    pub(super) probe: Option<Probe>,
    pub(super) load_probe: Option<Arc<LoadProbe>>,
}

// === impl BackendFactory ===

impl BackendFactory {
    pub(super) fn new(
        settings: &UpstreamSettings,
        extensions: &Extensions,
        listeners: &Arc<ArcSwap<OwnAddresses>>,
        workers: usize,
    ) -> Self {
        let kind = settings.model.health.check.as_ref().map(|check| &check.kind);
        let own_check = match kind {
            Some(HealthCheckKind::Custom(CustomExtension::Named(name))) => extensions.checks.make(name),
            Some(HealthCheckKind::Custom(CustomExtension::Value(value))) => {
                value.get::<Arc<dyn Check>>().cloned()
            }
            _ => None,
        };
        Self { settings: settings.clone(), own_check, listeners: listeners.clone(), workers }
    }

    /// A backend, with its name resolved.
    pub(super) async fn resolved(
        &self,
        spec: &evenkeel_config::Backend,
    ) -> Result<PreparedBackend, PlanError> {
        let (address, names) = resolve(&spec.url.host, &self.settings.own).await;
        self.prepare(spec.clone(), address, names)
    }

    /// A backend whose name, if it has one, is looked up later. Does not wait.
    pub(super) fn unresolved(&self, spec: evenkeel_config::Backend) -> Result<PreparedBackend, PlanError> {
        let listeners = self.listeners.load();
        if let Some(listener) = listeners.listener_of(&spec.url.host) {
            return Err(PlanError::Loop {
                upstream: self.settings.model.name.clone(),
                index: 0,
                backend: spec.url.text,
                listener: listener.to_string(),
            });
        }
        let (address, names) = unresolved(&spec.url.host);
        self.prepare(spec, address, names)
    }

    fn prepare(
        &self,
        spec: evenkeel_config::Backend,
        address: Address,
        names: Option<Arc<Names>>,
    ) -> Result<PreparedBackend, PlanError> {
        let model = &self.settings.model;
        if spec.url.protocol != model.protocol() {
            let (upstream, expected) = (model.name.clone(), model.protocol());
            return Err(PlanError::Protocol { upstream, backend: spec.url.text, expected });
        }
        let tls = self.tls(&spec.url)?;
        let header = header_version(model);
        let dialer = Dialer::new(&address, names.as_ref()).with_header(header);
        let probed = self.probed_tls(&spec.url)?.or_else(|| tls.clone());
        let target =
            || Target { header, ..target(&spec.url, address.clone(), probed.as_ref(), names.clone()) };
        let unprobed = |source: ProbeError| PlanError::Probe {
            upstream: model.name.clone(),
            backend: spec.url.text.clone(),
            source,
        };
        let check = model.health.check.as_ref();
        let probe = check.map(|check| Probe::new(check, target(), self.own_check.clone()));
        let probe = probe.transpose().map_err(unprobed)?;
        let load_probe = match &model.algorithm {
            LoadBalancingAlgorithm::Prequal(options) => options.probe_path.as_ref().map(|path| {
                // A result that arrives after its maximum age is useless.
                LoadProbe::new(&target(), path, options.max_age).map(Arc::new)
            }),
            _ => None,
        };
        let load_probe = load_probe.transpose().map_err(unprobed)?;
        Ok(PreparedBackend { spec, address, dialer, tls, probe, load_probe })
    }

    /// How a probe of TLS recognises a TCP backend, which speaks TLS with clients and not with us.
    fn probed_tls(&self, url: &BackendUrl) -> Result<Option<EndpointTls>, PlanError> {
        let check = self.settings.model.health.check.as_ref();
        let probes_tls = check.is_some_and(|check| check.kind == HealthCheckKind::Tls);
        if !probes_tls || url.protocol != Protocol::Tcp {
            return Ok(None);
        }
        let mut url = url.clone();
        url.tls = true;
        self.tls(&url)
    }

    /// How the backend is recognised. A set that replaces the configured one may be the first that needs authorities.
    fn tls(&self, url: &BackendUrl) -> Result<Option<EndpointTls>, PlanError> {
        let (model, authorities) = (&self.settings.model, self.settings.authorities.as_ref());
        let verifies = !model.tls.danger_accept_invalid_certificates;
        if url.tls && verifies && authorities.is_none() {
            return Ok(endpoint_tls(url, model, Some(&system_authorities(model)?)));
        }
        Ok(endpoint_tls(url, model, authorities))
    }

    /// The backend under its id. If it is known at the same address, it keeps what it has counted, and its idle connections.
    pub(super) fn endpoint(
        &self,
        prepared: PreparedBackend,
        id: BackendId,
        known: Option<&Endpoint>,
    ) -> Endpoint {
        let PreparedBackend { spec, address, dialer, tls, .. } = prepared;
        let model = &self.settings.model;
        let known = known.filter(|known| *known.backend.address() == address);
        let connections = known.filter(|known| {
            (&known.tls, known.http2) == (&tls, model.http2)
                && known.dialer.header() == dialer.header()
                && !known.connections.is_closed()
        });
        Endpoint {
            id,
            // A name that has an address keeps it where the resolver gives none now.
            dialer: known
                .filter(|_| dialer.first().is_none())
                .map_or(dialer, |one| one.dialer.clone().with_header(header_version(model))),
            backend: known.map_or_else(
                || Arc::new(Backend::new(spec.url.text.as_str(), address)),
                |one| one.backend.clone(),
            ),
            connections: connections
                .map_or_else(|| Arc::new(ConnectionGroup::new()), |one| one.connections.clone()),
            tls,
            http2: model.http2,
            cookie: model
                .sticky
                .as_ref()
                .map(|sticky| cookie_value(sticky, &model.name, &spec.url.text).into()),
            metrics: known
                .map_or_else(|| Arc::new(BackendMetrics::new(self.workers)), |one| one.metrics.clone()),
            failures: FailureLog::default(),
            spec,
        }
    }

    /// What decides when a backend is picked.
    pub(super) fn description(&self, spec: &evenkeel_config::Backend) -> Description {
        let zone = &self.settings.zone;
        // Where the balancer has no zone, every backend is near.
        Description {
            weight: spec.weight,
            priority: spec.priority,
            local: zone.is_none() || *zone == spec.zone,
        }
    }
}

/// The PROXY header with which connections to the backends of an upstream begin.
fn header_version(model: &evenkeel_config::Upstream) -> Option<HeaderVersion> {
    match model.proxy_protocol {
        Some(ProxyVersion::V1) => Some(HeaderVersion::V1),
        Some(_) => Some(HeaderVersion::V2),
        None => None,
    }
}

fn target(
    url: &BackendUrl,
    address: Address,
    tls: Option<&EndpointTls>,
    names: Option<Arc<Names>>,
) -> Target {
    let tls = tls.map(|tls| TlsTarget {
        server_name: tls.server_name.clone(),
        ca: tls.ca.clone(),
        verify: tls.verify,
    });
    Target { address, url: url.text.clone(), host: host_of(url), tls, names, header: None }
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
