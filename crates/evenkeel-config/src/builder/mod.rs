//! The configuration from code: small builders that end in the same model as a file does.
//!
//! They write the wire types, so every rule and default is the file's. Nothing here checks a value.

mod backend;
mod discovery;
mod health;
mod listener;
mod rate_limit;
mod retry;
mod route;
mod tcp;
mod tls;
mod upstream;

pub use backend::BackendBuilder;
pub use discovery::DiscoveryBuilder;
pub use health::HealthCheckBuilder;
pub use listener::ListenerBuilder;
pub use rate_limit::RateLimit;
pub use retry::RetryBuilder;
pub use route::RouteBuilder;
pub use tcp::TcpBuilder;
pub use tls::Tls;
pub use upstream::UpstreamBuilder;

use std::time::Duration;

use evenkeel_core::balance::LoadBalancingAlgorithm;
use serde::Serialize;

use crate::config::in_order;
use crate::resolve::{self, Context};
use crate::values::{self, Secret};
use crate::wire;
use crate::yaml::Path;
use crate::{Config, ConfigError, Lanes, Model};

/// Builds a [`Config`] from code. It reaches everything that a file reaches, with the same defaults, and takes what a file
/// can only name: a user's own algorithm.
///
/// ```
/// use evenkeel_config::{ConfigBuilder, RouteBuilder, UpstreamBuilder};
/// use evenkeel_core::balance::LoadBalancingAlgorithm;
///
/// let config = ConfigBuilder::new()
///     .listen_address("127.0.0.1:8080")
///     .upstream(UpstreamBuilder::new("api").backend("http://10.0.0.1:80").weighted_backend("http://10.0.0.2:80", 2))
///     .upstream(UpstreamBuilder::new("web").backend("http://10.0.0.3:80").algorithm(LoadBalancingAlgorithm::Random))
///     .route(RouteBuilder::new("api").path_prefix("/v1").filter("strip_prefix", "/v1").upstream("api"))
///     .route(RouteBuilder::new("web").upstream("web"))
///     .try_build()?;
/// # Ok::<(), evenkeel_config::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ConfigBuilder {
    file: wire::File,
    servers: Option<Vec<String>>,
    algorithm: Option<LoadBalancingAlgorithm>,
    health_check: Option<HealthCheckBuilder>,
    rate_limits: Vec<RateLimit>,
    /// The admin address's settings besides its address.
    admin: wire::Admin,
    /// Routes and what could not be told of them: parameters that serialize to nothing.
    failed: Vec<(Path, String)>,
}

/// The name of the upstream that [`ConfigBuilder::upstream_servers`] fills.
const DEFAULT_UPSTREAM: &str = "default";
/// The name of the route to it, as without any routes.
const DEFAULT_ROUTE: &str = "default";

// === impl ConfigBuilder ===

impl ConfigBuilder {
    /// A configuration with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a listener with default limits: `ip:port`, `[ipv6]:port` or `unix:/path`.
    pub fn listen_address(self, address: impl Into<String>) -> Self {
        self.listener(ListenerBuilder::new(address))
    }

    /// Adds backends, by URL, to the upstream named `default`. For several upstreams, see
    /// [`upstream`](ConfigBuilder::upstream).
    pub fn upstream_servers(mut self, urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.servers.get_or_insert_default().extend(urls.into_iter().map(Into::into));
        self
    }

    /// How the upstream of [`upstream_servers`](ConfigBuilder::upstream_servers) chooses a backend. Default round robin.
    pub fn load_balancing_algorithm(mut self, algorithm: LoadBalancingAlgorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// How the backends of [`upstream_servers`](ConfigBuilder::upstream_servers) are probed. Default not.
    pub fn health_check(mut self, check: HealthCheckBuilder) -> Self {
        self.health_check = Some(check);
        self
    }

    /// Adds a listener.
    pub fn listener(mut self, listener: ListenerBuilder) -> Self {
        let path = Path::default().key("listeners").index(self.file.listeners.len());
        self.failed.extend(listener.failed.into_iter().map(|(inner, message)| (path.join(&inner), message)));
        self.file.listeners.push(listener.wire);
        self
    }

    /// Adds a listener that carries connections as they are to the only upstream with TCP backends (`tcp://host:port`). For several
    /// upstreams, see [`ListenerBuilder::tcp`].
    pub fn tcp_listener(self, address: impl Into<String>) -> Self {
        self.listener(ListenerBuilder::new(address).tcp(TcpBuilder::new()))
    }

    /// How the last listener that was added speaks TLS. Default not.
    pub fn tls(mut self, tls: Tls) -> Self {
        match self.file.listeners.last_mut() {
            Some(listener) => listener.tls = Some(tls.wire),
            None => {
                let message = "has no effect: there is no listener yet: call listen_address first".to_owned();
                self.failed.push((Path::default().key("tls"), message));
            }
        }
        self
    }

    /// Adds an upstream.
    pub fn upstream(mut self, upstream: UpstreamBuilder) -> Self {
        self.file.upstreams.0.push((upstream.name, upstream.wire));
        self
    }

    /// Adds a route; the first that matches wins. With one upstream, no route is needed.
    pub fn route(mut self, route: RouteBuilder) -> Self {
        let path = Path::default().key("routes").index(self.file.routes.len());
        self.failed.extend(route.failed.into_iter().map(|(inner, message)| (path.join(&inner), message)));
        self.file.routes.push(route.wire);
        self
    }

    /// Adds a filter with a name, for routes and listeners to use: see [`RouteBuilder::use_filter`] and
    /// [`ListenerBuilder::use_filter`]. All that use it share one filter: a rate limit counts their requests together.
    pub fn shared_filter(
        mut self,
        name: impl Into<String>,
        kind: impl Into<String>,
        params: impl Serialize,
    ) -> Self {
        let name = name.into();
        let path = Path::default().key("filters").key(&name);
        let step = route::step(kind.into(), params, &path, &mut self.failed);
        self.file.filters.0.push((name, step));
        self
    }

    /// Adds a rate limit to every route, before its other filters. Each route counts apart.
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.rate_limits.push(limit);
        self
    }

    /// Adds addresses and networks whose `X-Forwarded-*` and `Forwarded` are trusted. Default none.
    pub fn trusted_proxies(mut self, networks: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.file.trusted_proxies.extend(networks.into_iter().map(Into::into));
        self
    }

    /// Whether backends get `Forwarded` (RFC 7239) as well. Default no.
    pub fn forwarded(mut self, on: bool) -> Self {
        self.file.forwarding.forwarded = on;
        self
    }

    /// The pseudonym for this proxy in `Via`. Default no `Via`.
    pub fn via(mut self, pseudonym: impl Into<String>) -> Self {
        self.file.forwarding.via = Some(pseudonym.into());
        self
    }

    /// The memory of the process from which on load is shed, in bytes; at least 1 MiB. Default none.
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.file.overload_protection.max_memory = Some(values::Size(bytes));
        self
    }

    /// The open files and sockets from which on load is shed, as a share of the process's limit, 0.1 to 1. Default none.
    pub fn max_descriptors(mut self, share: f64) -> Self {
        self.file.overload_protection.max_descriptors = Some(values::Percent(share));
        self
    }

    /// How long new connections are still accepted after SIGTERM, while `/readyz` already says no. Default none.
    pub fn pre_stop(mut self, duration: Duration) -> Self {
        self.file.shutdown.pre_stop = values::Duration(duration);
        self
    }

    /// How long requests may take to end after that. Default 30 s.
    pub fn drain_timeout(mut self, duration: Duration) -> Self {
        self.file.shutdown.drain_timeout = values::Duration(duration);
        self
    }

    /// The admin address: `ip:port`. Default off.
    pub fn admin(mut self, address: impl Into<String>) -> Self {
        self.file.admin = Some(wire::Admin { address: address.into(), ..wire::Admin::default() });
        self
    }

    /// The bearer token that the admin address asks for, at least 16 characters. A token is required off loopback.
    pub fn admin_token(mut self, token: impl Into<String>) -> Self {
        self.admin.token = Some(Secret(token.into()));
        self
    }

    /// A file with that token, read for each request.
    pub fn admin_token_file(mut self, path: impl Into<String>) -> Self {
        self.admin.token_file = Some(path.into());
        self
    }

    /// The bearer token of clients that read only, at least 16 characters. Default none.
    pub fn admin_read_only_token(mut self, token: impl Into<String>) -> Self {
        self.admin.read_only_token = Some(Secret(token.into()));
        self
    }

    /// A file with the token for reading, read for each request.
    pub fn admin_read_only_token_file(mut self, path: impl Into<String>) -> Self {
        self.admin.read_only_token_file = Some(path.into());
        self
    }

    /// Host names that clients can use for the admin address, besides IP addresses and `localhost`: `lb1.internal`,
    /// `*.monitoring.svc`, or `*` for every name. Default none.
    pub fn admin_hosts<T: Into<String>>(mut self, hosts: impl IntoIterator<Item = T>) -> Self {
        self.admin.hosts = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// Where access records are written (`stdout`, `stderr`, the path of a file, or `syslog+udp://host:514`), and their format (`json`,
    /// `combined`, or a template). Default no log.
    pub fn access_log(mut self, to: impl Into<String>, format: impl Into<String>) -> Self {
        let log = wire::AccessLog { to: to.into(), format: format.into(), ..wire::AccessLog::default() };
        self.file.access_log = Some(wire::OrText(log));
        self
    }

    /// How many threads serve connections. Default one for each core.
    pub fn workers(mut self, workers: usize) -> Self {
        self.file.workers = Some(workers);
        self
    }

    /// Which data paths may serve plain HTTP/1.1. Default [`Lanes::Auto`].
    pub fn lanes(mut self, lanes: Lanes) -> Self {
        self.file.lanes = lanes.into();
        self
    }

    /// Adds a table from one value to another: `{map.NAME}` in a placeholder is the value for `key`, such as `{host}`, or `default`.
    pub fn map<K: Into<String>, V: Into<String>>(
        mut self,
        name: impl Into<String>,
        key: impl Into<String>,
        values: impl IntoIterator<Item = (K, V)>,
        default: impl Into<String>,
    ) -> Self {
        let values = values.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let map = wire::Map {
            key: key.into(),
            values: wire::Named(values),
            default: default.into(),
            ..wire::Map::default()
        };
        self.file.maps.0.push((name.into(), map));
        self
    }

    /// Where this balancer is: backends of this zone are preferred. Default nowhere.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.file.zone = Some(zone.into());
        self
    }

    /// The configuration. It cannot fail here: it keeps its errors, and reports them when it is used.
    pub fn build(self) -> Config {
        Config::new(self.resolve())
    }

    /// The configuration, or what is wrong with it.
    ///
    /// # Errors
    /// Every mistake that could be found, at most 20.
    pub fn try_build(self) -> Result<Config, ConfigError> {
        self.resolve().map(|model| Config::new(Ok(model)))
    }

    fn resolve(mut self) -> Result<Model, ConfigError> {
        let mut context = Context::new();
        let root = Path::default();
        match self.servers {
            Some(urls) => {
                let mut upstream = UpstreamBuilder::new(DEFAULT_UPSTREAM).backends(urls);
                if let Some(algorithm) = self.algorithm {
                    upstream = upstream.algorithm(algorithm);
                }
                if let Some(check) = self.health_check {
                    upstream = upstream.health_check(check);
                }
                self.file.upstreams.0.insert(0, (upstream.name, upstream.wire));
            }
            None => {
                let given = [
                    ("load_balancing_algorithm", self.algorithm.is_some()),
                    ("health_check", self.health_check.is_some()),
                ];
                for (key, _) in given.iter().filter(|(_, given)| *given) {
                    let message = "has no effect without upstream_servers: an upstream has its own";
                    context.wrong_key(&root.key(key), message);
                }
            }
        }
        limit_all(&mut self.file, &self.rate_limits);
        match &mut self.file.admin {
            Some(admin) => *admin = wire::Admin { address: std::mem::take(&mut admin.address), ..self.admin },
            None => {
                let given = [
                    ("token", self.admin.token.is_some()),
                    ("token_file", self.admin.token_file.is_some()),
                    ("read_only_token", self.admin.read_only_token.is_some()),
                    ("read_only_token_file", self.admin.read_only_token_file.is_some()),
                    ("hosts", !self.admin.hosts.is_empty()),
                ];
                for (key, _) in given.iter().filter(|(_, given)| *given) {
                    let path = root.key("admin").key(key);
                    context.wrong_key(&path, "has no effect without the admin address");
                }
            }
        }
        for (path, message) in self.failed {
            context.wrong_key(&path, message);
        }
        match resolve::resolve(&self.file, &mut context) {
            Some(model) => Ok(model),
            None => Err(in_order(context.into_problems())),
        }
    }
}

/// Puts these limits in front of the filters of every route.
fn limit_all(file: &mut wire::File, limits: &[RateLimit]) {
    if limits.is_empty() {
        return;
    }
    if file.routes.is_empty()
        && let [(upstream, _)] = &*file.upstreams.0
    {
        file.routes.push(RouteBuilder::new(DEFAULT_ROUTE).upstream(upstream).wire);
    }
    for route in &mut file.routes {
        route.filters.splice(0..0, limits.iter().map(RateLimit::step));
    }
}
