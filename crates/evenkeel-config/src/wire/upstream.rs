//! `upstreams`: the groups of backends, how to choose among them, how to reach them.

use evenkeel_core::balance::LoadBalancingAlgorithm;
use schemars::{JsonSchema, Schema, json_schema};
use serde::{Deserialize, Serialize};

use super::{
    Algorithm, CircuitBreaker, HealthCheck, Hedge, OrText, OutlierDetection, Queue, Retry, Short, Sticky,
    WhenAllDown,
};
use crate::model;
use crate::values::{Duration, Percent, Weight};

/// A named group of backends, and how to choose among them.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "upstream")]
pub(crate) struct Upstream {
    /// How a backend is chosen for each request: by name, or as a map of the name to parameters. All go by weight.
    /// `round_robin`: each in turn, evenly interleaved. `random`: any. `least_connections`: the one with the fewest requests
    /// in flight; for requests of uneven length. `power_of_two_choices`: the less busy of two drawn at random; nearly as
    /// even, and cheaper with many backends. `source_ip_hash`: requests of one client address go to one backend. The others
    /// stand where their parameters do.
    #[serde(default = "default_algorithm")]
    pub(crate) algorithm: OrText<Algorithm>,
    /// The backends; at least one, none twice, at least one weight not 0.
    pub(crate) backends: Vec<OrText<Backend>>,
    /// When a request is tried again; a route may say otherwise.
    #[serde(default)]
    pub(crate) retry: Retry,
    /// Second attempts beside slow first ones. None unless given; `{}` takes the defaults.
    pub(crate) hedge: Option<Hedge>,
    /// How backends are probed: `tcp`, `tls`, `http`, `grpc`, or a map. Not unless given. Without it, a dead backend is found
    /// by the requests that fail there.
    pub(crate) health_check: Option<OrText<HealthCheck>>,
    /// How backends are judged by the traffic that they serve; `off` does not judge them.
    #[serde(default)]
    pub(crate) outlier_detection: OrText<OutlierDetection>,
    /// For how long the share of a backend that came back grows, from little to its weight. It gets its share at once unless
    /// given. Give it to backends that must warm up.
    pub(crate) slow_start: Option<Duration>,
    /// Whether requests of one client stay with one backend, by a cookie. Not unless given; `{}` takes the defaults. It makes
    /// the load less even: prefer backends that share their sessions.
    pub(crate) sticky: Option<Sticky>,
    /// The most requests in flight to one backend, 1 at least; more go to others, and wait once all are full. No limit unless
    /// given. Give it what a backend can do at a time.
    #[schemars(range(min = 1))]
    pub(crate) max_connections: Option<u32>,
    /// Those who wait; only with `max_connections`.
    pub(crate) queue: Option<Queue>,
    /// When the upstream as a whole takes no more. Never unless given.
    pub(crate) circuit_breaker: Option<CircuitBreaker>,
    /// What is done when no backend may be chosen. `fail_open`: all are chosen among, since whoever judged them may be wrong.
    /// `refuse`: the answer is 503 at once. Give `refuse` where a request to a sick backend does harm.
    #[serde(default)]
    pub(crate) when_all_down: WhenAllDown,
    /// The share of backends that may be chosen below which all are chosen among, sick ones too: the few that are well would
    /// only be overrun. 0% is never.
    #[serde(default = "no_panic")]
    pub(crate) panic_threshold: Percent,
    /// The header field that tells a backend how many milliseconds are left of the route's `timeout`, so that it need not
    /// work for nobody. None unless given.
    pub(crate) deadline_header: Option<String>,
    /// How long a backend may take.
    #[serde(default)]
    pub(crate) timeouts: Timeouts,
    /// Idle connections kept open to backends.
    #[serde(default)]
    pub(crate) pool: Pool,
    /// How `https` backends are verified: against the system's authorities and the URL's host, unless given.
    pub(crate) tls: Option<Tls>,
}

/// A backend, or only its URL.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a URL, or a map of keys and values")]
#[schemars(rename = "backend")]
pub(crate) struct Backend {
    /// Where it is: `http://host:port`, `https://host:port` or `http+unix:/path`, without a path, query or user. The port
    /// is 80 or 443 unless written. A host that is a name is resolved when the balancer starts.
    pub(crate) url: String,
    /// Its share relative to its peers', 0 to 65,535. With 0 it gets no requests.
    #[serde(default = "one")]
    pub(crate) weight: Weight,
    /// Whether it gets requests only while all others are out. The same as `priority: 1`.
    #[serde(default)]
    pub(crate) backup: bool,
    /// Its level, 0 to 255: backends get requests only while all of lower numbers are out. 0 unless given.
    pub(crate) priority: Option<u8>,
    /// Where it is, to be preferred by balancers of the same `zone`. Nowhere unless given.
    pub(crate) zone: Option<String>,
}

/// How long a backend may take.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "timeouts")]
pub(crate) struct Timeouts {
    /// To connect, TLS included; then another backend is tried. Raise it only for backends far away.
    pub(crate) connect: Duration,
    /// From the end of the request to the head of the answer; then the answer is 504. Raise it for backends that think
    /// long.
    pub(crate) first_byte: Duration,
    /// The longest silence within an answer; then the connection is cut. Raise it for event streams with rare events.
    pub(crate) idle: Duration,
    /// The longest silence, both ways, on a WebSocket or another upgraded connection.
    pub(crate) upgraded_idle: Duration,
}

/// Idle connections kept open to backends.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "pool")]
pub(crate) struct Pool {
    /// How long an idle connection is kept. Keep it below the backends' own limit, or requests will meet connections that
    /// are just being closed.
    pub(crate) idle_timeout: Duration,
    /// The most idle connections that each worker keeps for each backend, the newest being used first; 0 keeps none. An
    /// idle connection spares a later request the time to connect, and costs a file descriptor here and whatever it costs
    /// the backend. Raise it where a worker has more requests than that under way to one backend; lower it where backends
    /// have few connections to give: all workers together keep up to `workers` times as many. Connections of Pingora's
    /// proxy do not count: it keeps 128 for each worker, over all backends. So it is refused where a backend is `https`.
    pub(crate) max_idle: usize,
}

/// How `https` backends are verified.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "upstream_tls")]
pub(crate) struct Tls {
    /// A PEM file of authorities to trust instead of the system's.
    pub(crate) ca: Option<String>,
    /// The name that the certificate must carry, and that is asked for (SNI); the URL's host unless given. Give it when
    /// backends are named by address.
    pub(crate) server_name: Option<String>,
    /// Accept whatever certificate is shown. Anyone on the path can then read and change the traffic.
    pub(crate) danger_accept_invalid_certificates: bool,
}

// === impl Upstream ===

impl Default for Upstream {
    fn default() -> Self {
        Self {
            algorithm: default_algorithm(),
            backends: Vec::new(),
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
