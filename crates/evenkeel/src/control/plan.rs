//! From the model to what the data path needs; a plan that cannot be made changes nothing.

use std::sync::Arc;

use evenkeel_config::{
    Action, ConfigError, CustomExtension, HealthCheckKind, Listener, Model, Protocol, Respond,
};
use evenkeel_core::route::RouteTable;
use evenkeel_http::message::Answer;
use http::{HeaderName, HeaderValue};
use tokio::sync::mpsc;

use super::backends::BackendFactory;
use super::certificates::now;
use super::discovery::unknown;
use super::extensions::Extensions;
use super::filters::{BuiltFilters, with_filters};
use super::keeper::Keeper;
use super::live::{LiveRoute, UpstreamSettings};
use super::loops::loops;
use super::trust::authorities;
use super::upstream::{Prepared, balancer};
use crate::exchange::{ListenerEntry, MadeAnswer, Rule, RuleAction, Table};
use crate::filter::Registry;
use crate::observe::{AccessLog, RouteMetrics};
use crate::probe::ProbeError;
use crate::tls::{ServerTls, TlsError};
use crate::upstream::Upstream;

/// What the data path needs, ready to be published.
#[derive(Debug)]
pub struct Plan {
    /// Routes, filters, upstreams.
    pub table: Table,
    /// Who keeps the upstreams, in their order.
    pub(super) keepers: Vec<Keeper>,
}

/// Why no plan could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A backend is one of the balancer's own listeners.
    #[error(
        "upstream {upstream}: backend {backend}: is the balancer's own listener {listener}: requests would loop"
    )]
    Loop {
        /// The upstream.
        upstream: String,
        /// The number of the backend in its upstream, from zero.
        index: usize,
        /// The backend's URL.
        backend: String,
        /// The listener's address.
        listener: String,
    },
    /// A backend cannot be probed as asked.
    #[error("upstream {upstream}: health_check of {backend}: {source}")]
    Probe {
        /// The upstream.
        upstream: String,
        /// The backend's URL.
        backend: String,
        /// Why not.
        source: ProbeError,
    },
    /// A set has a backend that speaks another protocol than its upstream.
    #[error("upstream {upstream}: backend {backend}: expected {} backends", match expected { Protocol::Tcp => "TCP", _ => "HTTP" })]
    Protocol {
        /// The upstream.
        upstream: String,
        /// The backend's URL.
        backend: String,
        /// What the backends of this upstream speak.
        expected: Protocol,
    },
    /// The program registered no algorithm of this name.
    #[error("upstream {upstream}: no algorithm named `{name}` is registered")]
    Algorithm {
        /// The upstream.
        upstream: String,
        /// The name.
        name: String,
    },
    /// There is no such source of backends: the program registered none of this name, or was built without it.
    #[error("upstream {upstream}: discovery: {reason}")]
    Discovery {
        /// The upstream.
        upstream: String,
        /// What is missing.
        reason: String,
    },
    /// The system's root certificates cannot be read, and a backend behind `https` needs them.
    #[error("upstream {upstream}: cannot read the system's root certificates: {reason}")]
    Roots {
        /// The upstream.
        upstream: String,
        /// Why not, with the file.
        reason: String,
    },
    /// A listener cannot speak TLS as asked.
    #[error("listener {listener}: {source}")]
    Tls {
        /// The listener's address.
        listener: String,
        /// Why not.
        source: TlsError,
    },
    /// A file of authorities cannot be used.
    #[error("upstream {upstream}: tls.ca: {path}: {reason}")]
    Authorities {
        /// The upstream.
        upstream: String,
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Plan {
    /// Builds every filter, without touching anything outside: what `check` needs beyond the model.
    ///
    /// # Errors
    /// Every filter that cannot be built, with its place in the file.
    pub fn check_filters(model: &Model, registry: &Registry) -> Result<(), ConfigError> {
        BuiltFilters::checked(model, registry).map(drop)
    }

    /// Which algorithms, health checks and sources of backends the configuration names and the program has not registered.
    pub fn unregistered(model: &Model, extensions: &Extensions) -> Vec<PlanError> {
        let algorithms = model.upstreams.iter().filter_map(|one| balancer(one, extensions).err());
        let checks = model.upstreams.iter().filter_map(|one| {
            let HealthCheckKind::Custom(CustomExtension::Named(name)) = &one.health.check.as_ref()?.kind
            else {
                return None;
            };
            let backend = one.backends.first().map(|backend| backend.url.text.clone()).unwrap_or_default();
            let source = ProbeError::Unknown(name.clone());
            let unknown = PlanError::Probe { upstream: one.name.clone(), backend, source };
            (!extensions.checks.knows(name)).then_some(unknown)
        });
        algorithms.chain(checks).chain(unknown(model, extensions)).collect()
    }

    /// What is wrong with the files that the configuration names: what `check` needs besides the filters.
    pub fn files(model: &Model) -> Vec<PlanError> {
        let authorities = model.upstreams.iter().filter_map(|upstream| authorities(upstream).err());
        let listeners = model.listeners.iter().filter_map(|listener| {
            let source = ServerTls::load(listener.tls.as_ref()?, None).err()?;
            Some(PlanError::Tls { listener: listener.address.to_string(), source })
        });
        loops(model).into_iter().chain(listeners).chain(authorities).collect()
    }

    /// What is questionable about the certificates that can be used: the key, the file, and a text.
    pub fn certificate_notes(model: &Model) -> Vec<(String, String, String)> {
        let mut notes = Vec::new();
        for (at, listener) in model.listeners.iter().enumerate() {
            let Some(Ok(tls)) = listener.tls.as_ref().map(|tls| ServerTls::load(tls, None)) else { continue };
            for (index, certificate) in tls.certificates().iter().enumerate() {
                let file = certificate.files.cert.display().to_string();
                let keys = format!("listeners[{at}].tls.certificates[{index}].cert");
                let all = certificate.doubts(now()).into_iter();
                notes.extend(all.map(|doubt| (keys.clone(), file.clone(), doubt)));
            }
        }
        notes
    }

    /// Makes a plan: filters, names resolved, certificates read.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub async fn new(model: &Model, extensions: &Extensions, workers: usize) -> Result<Self, PlanError> {
        let BuiltFilters { shared, routes: filters, listeners } =
            BuiltFilters::checked(model, &extensions.filters)?;
        if let Some(looping) = loops(model).into_iter().next() {
            return Err(looping);
        }
        let mut keepers = Vec::with_capacity(model.upstreams.len());
        for upstream in &model.upstreams {
            let settings = UpstreamSettings::new(upstream, model)?;
            let factory = BackendFactory::new(&settings, extensions, &Arc::default(), workers);
            // It never runs: no other set will come.
            let (_, updates) = mpsc::channel(1);
            keepers.push(Prepared::new(factory, extensions, workers, None).await?.begin(updates));
        }
        let routes = model.routes.iter().zip(filters).map(|(route, filters)| LiveRoute {
            filters,
            path_regex: route.matches.path_regex().cloned(),
            metrics: Arc::new(RouteMetrics::new(workers)),
        });
        let upstreams = keepers.iter().map(|keeper: &Keeper| keeper.upstream.clone()).collect();
        let numbered = (1..).zip(model.listeners.iter().zip(&listeners)).map(|(id, (listener, filters))| {
            (id, listener.address.to_string().into(), listener.address.port(), filters)
        });
        let table = with_filters(table(model, routes.collect(), upstreams, None), numbered, &shared);
        Ok(Self { table, keepers })
    }
}

/// The table of a model, with what its routes were made to: upstreams and routes in the model's order.
pub(super) fn table(
    model: &Model,
    routes: Vec<LiveRoute>,
    upstreams: Vec<Arc<Upstream>>,
    log: Option<Arc<AccessLog>>,
) -> Table {
    let rules = model.routes.iter().zip(routes).map(|(route, live)| Rule {
        name: route.name.as_str().into(),
        path_regex: route.matches.path_regex().cloned(),
        filters: live.filters.into_iter().map(|(_, filter)| filter).collect(),
        kinds: route.filters.iter().map(|step| step.kind().into()).collect(),
        action: plan_action(&route.action, &upstreams),
        timeout: route.timeout,
        timeouts: (!route.timeouts.is_empty()).then(|| Box::new(route.timeouts.clone())),
        max_body: route.max_body_size,
        retry: route.retry.clone().map(Arc::new),
        explain: route.explain,
        metrics: live.metrics,
    });
    Table {
        routes: RouteTable::new(model.routes.iter().map(|route| route.matches.clone())),
        rules: rules.collect(),
        upstreams: upstreams.clone(),
        trusted_proxies: model.trusted_proxies.clone(),
        trusts_unix: model.trusts_unix,
        forwarding: model.forwarding.clone(),
        entries: model.listeners.iter().map(listener_entry).collect(),
        log,
        ..Table::default()
    }
}

fn listener_entry(listener: &Listener) -> ListenerEntry {
    let name = listener.name.clone().unwrap_or_else(|| listener.address.to_string());
    ListenerEntry { name: name.into(), port: listener.address.port(), paths: listener.http.paths }
}

fn plan_action(action: &Action, upstreams: &[Arc<Upstream>]) -> RuleAction {
    match action {
        Action::Split(weights) => {
            let mut total = 0;
            let shares = weights.iter().filter_map(|&(index, weight)| {
                total += u64::from(weight);
                Some((total, upstreams.get(index)?.clone()))
            });
            RuleAction::Split { shares: shares.collect(), total }
        }
        Action::Redirect(redirect) => RuleAction::Redirect(redirect.clone()),
        Action::Respond(respond) => plan_respond(respond),
        Action::Upstream(index) => match upstreams.get(*index) {
            Some(upstream) => RuleAction::Upstream(upstream.clone()),
            None => RuleAction::Split { shares: Vec::new(), total: 0 },
        },
        _ => RuleAction::Split { shares: Vec::new(), total: 0 },
    }
}

fn plan_respond(respond: &Respond) -> RuleAction {
    // The model lets only fields through that parse.
    let headers = respond
        .headers
        .iter()
        .filter_map(|(name, value)| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value.clone())));
    let made = MadeAnswer { status: respond.status, headers: headers.collect(), body: respond.body.clone() };
    let fixed = || {
        let mut answer = Answer::new(respond.status).body(made.body.constant()?.to_vec());
        for (name, value) in &made.headers {
            answer = answer.header(name.clone(), HeaderValue::from_bytes(value.constant()?).ok()?);
        }
        Some(answer)
    };
    match fixed() {
        Some(answer) => RuleAction::Respond(answer),
        None => RuleAction::Make(Box::new(made)),
    }
}
