//! `upstreams`: the groups of backends, how a backend is picked, how backends are reached.

use evenkeel_core::balance::LoadBalancingAlgorithm;
use schemars::{JsonSchema, Schema, json_schema};
use serde::{Deserialize, Serialize};

use super::{
    Algorithm, CircuitBreaker, Discovery, HealthCheck, Hedge, OrText, OutlierDetection, ProxyVersion, Queue,
    Retry, Short, Sticky, WhenAllDown,
};
use crate::model;
use crate::values::{Duration, Percent, Weight};

/// A named group of backends, and how one is picked.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "upstream")]
pub(crate) struct Upstream {
    /// How a backend is picked for each request: a name, or a map with the name and its parameters. All algorithms use
    /// the weights. `round_robin`: each in turn, evenly interleaved. `random`: any. `least_connections`: the backend
    /// with the fewest requests in flight; for requests of uneven length. `power_of_two_choices`: the less busy of two
    /// random backends; nearly as even, and cheaper with many backends. `source_ip_hash`: all requests of one client
    /// address go to one backend. The other algorithms are described with their parameters.
    #[serde(default = "default_algorithm")]
    pub(crate) algorithm: OrText<Algorithm>,
    /// The backends: at least one, no duplicates, at least one weight above 0. With `discovery` there can be none.
    #[serde(default)]
    pub(crate) backends: Vec<OrText<Backend>>,
    /// Where more backends come from while the balancer runs: a file, DNS, HTTP or Consul. Default: none.
    pub(crate) discovery: Option<Discovery>,
    /// When a request is retried. A route can override this.
    #[serde(default)]
    pub(crate) retry: Retry,
    /// A second attempt if the first is slow. Default: off. `{}` uses the defaults.
    pub(crate) hedge: Option<Hedge>,
    /// How backends are probed: `tcp`, `tls`, `http`, `grpc`, or a map. Default: off. Without it, only failed requests
    /// reveal a dead backend.
    pub(crate) health_check: Option<OrText<HealthCheck>>,
    /// How backends are judged by the requests that they serve. `off` turns it off.
    #[serde(default)]
    pub(crate) outlier_detection: OrText<OutlierDetection>,
    /// How long the share of a backend that comes back takes to grow, from nearly 0 to its weight. Default: it has its
    /// full share at once. Use it for backends that need to warm up.
    pub(crate) slow_start: Option<Duration>,
    /// Whether all requests of one client stay on one backend, by a cookie. Default: off. `{}` uses the defaults. It
    /// makes the load less even: prefer backends that share their sessions.
    pub(crate) sticky: Option<Sticky>,
    /// The most requests in flight to one backend, at least 1. Further requests go to other backends, and wait if all
    /// are full. Default: no limit. Set it to what a backend can process at the same time.
    #[schemars(range(min = 1))]
    pub(crate) max_connections: Option<u32>,
    /// How requests wait for a free backend; only with `max_connections`.
    pub(crate) queue: Option<Queue>,
    /// When the upstream as a whole accepts no more requests. Default: never.
    pub(crate) circuit_breaker: Option<CircuitBreaker>,
    /// What to do if no backend is usable. `fail_open`: send requests to all backends, because the health checks may be
    /// wrong. `refuse`: return 503 at once. Use `refuse` if a request harms an unhealthy backend.
    #[serde(default)]
    pub(crate) when_all_down: WhenAllDown,
    /// If less than this share of the backends is usable, requests go to all backends, including unhealthy ones.
    /// Otherwise the few healthy backends would be overloaded. 0% turns this off.
    #[serde(default = "no_panic")]
    pub(crate) panic_threshold: Percent,
    /// The header field that contains the remaining time of the route's `timeout` in milliseconds, so that the backend
    /// can stop working on a request that no client waits for. Default: none.
    pub(crate) deadline_header: Option<String>,
    /// How long a backend can take.
    #[serde(default)]
    pub(crate) timeouts: Timeouts,
    /// Whether backends are spoken to in HTTP/2, with many requests on one connection. `never`: always HTTP/1.1. `auto`: HTTP/2
    /// with `https` backends that offer it (ALPN), otherwise HTTP/1.1. `always`: HTTP/2 with every backend, without
    /// TLS too (h2c). gRPC needs `always`, or `auto` with `https` backends. Keys for the lean lane have no effect with HTTP/2
    /// (docs/lanes.md).
    #[serde(default)]
    pub(crate) http2: Http2,
    /// Idle connections kept open to backends.
    #[serde(default)]
    pub(crate) pool: Pool,
    /// How `https` backends are verified. Default: against the system's certificate authorities and the host of the
    /// URL.
    pub(crate) tls: Option<Tls>,
    /// Whether each connection to a backend begins with a PROXY header (PROXY protocol), which says who the client is: `off`, `v1`
    /// (text) or `v2` (binary). The header comes before TLS and HTTP. Every backend must expect it. Connections are
    /// not reused, since each belongs to one client: prefer `X-Forwarded-For` where backends can read it. Health checks send a header
    /// without a client. Cannot be combined with `http2`.
    #[serde(default)]
    pub(crate) proxy_protocol: ProxyVersion,
}

/// A backend, or only its URL.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a URL, or a map of keys and values")]
#[schemars(rename = "backend")]
pub(crate) struct Backend {
    /// Its address: `http://host:port`, `https://host:port` or `http+unix:/path`, without path, query or user. The
    /// default port is 80 or 443. For listeners with `protocol: tcp`: `tcp://host:port`, or `tcp+unix:/path`. A host name is looked up when the balancer starts, and again
    /// when the TTL of its addresses has passed. It is one backend: all of its addresses are tried. A name without an address is an
    /// unhealthy backend, and is looked up until it has one.
    pub(crate) url: String,
    /// Its share relative to the other backends, 0 to 65,535. With 0 it receives no requests.
    #[serde(default = "one")]
    pub(crate) weight: Weight,
    /// Whether it receives requests only while all other backends are unusable. The same as `priority: 1`.
    #[serde(default)]
    pub(crate) backup: bool,
    /// Its level, 0 to 255. A backend receives requests only while all backends with lower numbers are unusable.
    /// Default: 0.
    pub(crate) priority: Option<u8>,
    /// Its zone. Balancers with the same `zone` prefer it. Default: no zone.
    pub(crate) zone: Option<String>,
}

/// Whether backends are spoken to in HTTP/2.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, rename = "http2")]
pub(crate) enum Http2 {
    #[default]
    Never,
    Auto,
    Always,
}

/// How long a backend can take.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "timeouts")]
pub(crate) struct Timeouts {
    /// The time to connect, including TLS; then another backend is tried. Raise it only for distant backends.
    pub(crate) connect: Duration,
    /// The time from the end of the request to the response head; then the client receives 504. Raise it for backends
    /// that need a long time for a response.
    pub(crate) first_byte: Duration,
    /// The longest pause within a response; then the connection is closed. Raise it for event streams with rare events.
    pub(crate) idle: Duration,
    /// The longest pause, in both directions, on a WebSocket or another upgraded connection.
    pub(crate) upgraded_idle: Duration,
}

/// How long a backend can take for the requests of this route. A key that is not set here is as in the upstream's `timeouts`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "route_timeouts")]
pub(crate) struct RouteTimeouts {
    /// The time to connect, including TLS; then another backend is tried.
    pub(crate) connect: Option<Duration>,
    /// The time from the end of the request to the response head; then the client receives 504. Raise it for a slow report.
    pub(crate) first_byte: Option<Duration>,
    /// The longest pause within a response; then the connection is closed. Raise it for an event stream.
    pub(crate) idle: Option<Duration>,
    /// The longest pause, in both directions, on a WebSocket or another upgraded connection.
    pub(crate) upgraded_idle: Option<Duration>,
}

/// Idle connections kept open to backends.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "pool")]
pub(crate) struct Pool {
    /// How long an idle connection is kept. Keep it below the idle timeout of the backends. Otherwise requests are sent
    /// on connections that the backend is just closing.
    pub(crate) idle_timeout: Duration,
    /// The most idle connections that each worker keeps to each backend; the newest is used first. 0 keeps none. An
    /// idle connection saves a later request the connect. It costs a file descriptor here and resources at the backend.
    /// Raise it if a worker has more requests in progress to one backend. Lower it if backends accept few connections:
    /// all workers together keep up to `workers` times this number. It does not apply to connections of Pingora's
    /// proxy, which keeps 128 per worker over all backends. So it is rejected for an upstream with an `https` backend.
    pub(crate) max_idle: usize,
}

/// How `https` backends are verified.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "upstream_tls")]
pub(crate) struct Tls {
    /// A PEM file of certificate authorities to trust instead of the system's.
    pub(crate) ca: Option<String>,
    /// The name that the certificate must contain, also sent as SNI. Default: the host of the URL. Use it if backends
    /// are given by address.
    pub(crate) server_name: Option<String>,
    /// Accepts any certificate. Anyone on the path can then read and change the traffic.
    pub(crate) danger_accept_invalid_certificates: bool,
}

// === impl Upstream ===

impl Default for Upstream {
    fn default() -> Self {
        Self {
            algorithm: default_algorithm(),
            backends: Vec::new(),
            discovery: None,
            retry: Retry::default(),
            hedge: None,
            health_check: None,
            outlier_detection: OrText::default(),
            slow_start: None,
            sticky: None,
            max_connections: None,
            queue: None,
            circuit_breaker: None,
            when_all_down: WhenAllDown::default(),
            panic_threshold: no_panic(),
            deadline_header: None,
            timeouts: Timeouts::default(),
            http2: Http2::default(),
            proxy_protocol: ProxyVersion::default(),
            pool: Pool::default(),
            tls: None,
        }
    }
}

fn default_algorithm() -> OrText<Algorithm> {
    OrText(Algorithm::whole(LoadBalancingAlgorithm::default()))
}

fn no_panic() -> Percent {
    Percent(model::Health::default().panic_threshold)
}

// === impl Http2 ===

impl From<Http2> for model::Http2 {
    fn from(http2: Http2) -> Self {
        match http2 {
            Http2::Never => Self::Never,
            Http2::Auto => Self::Auto,
            Http2::Always => Self::Always,
        }
    }
}

impl From<model::Http2> for Http2 {
    fn from(http2: model::Http2) -> Self {
        match http2 {
            model::Http2::Never => Self::Never,
            model::Http2::Auto => Self::Auto,
            model::Http2::Always => Self::Always,
        }
    }
}

// === impl Backend ===

impl Backend {
    /// A backend with the default weight.
    pub(crate) fn new(url: String) -> Self {
        Self { url, weight: one(), backup: false, priority: None, zone: None }
    }
}

impl Short for Backend {
    const EXPECTING: &'static str = "a URL, or a map of keys and values";

    fn from_text(text: &str) -> Result<Self, (String, Option<String>)> {
        Ok(Self::new(text.to_owned()))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": r"^(https?://|http\+unix:/)|\$\{" })
    }
}

fn one() -> Weight {
    Weight(1)
}

// === impl Timeouts ===

impl Default for Timeouts {
    fn default() -> Self {
        let model::Timeouts { connect, first_byte, idle, upgraded_idle } = model::Timeouts::default();
        Self {
            connect: Duration(connect),
            first_byte: Duration(first_byte),
            idle: Duration(idle),
            upgraded_idle: Duration(upgraded_idle),
        }
    }
}

// === impl Pool ===

impl Default for Pool {
    fn default() -> Self {
        let model::Pool { idle_timeout, max_idle } = model::Pool::default();
        Self { idle_timeout: Duration(idle_timeout), max_idle }
    }
}
