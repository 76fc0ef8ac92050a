//! `upstreams`: the groups of backends, how to choose among them, how to reach them.

use std::borrow::Cow;
use std::fmt;

use evenkeel_core::balance::LoadBalancingAlgorithm;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{OrText, Short};
use crate::model;
use crate::suggest::closest;
use crate::values::{Duration, Weight};
use crate::yaml::{any_of, refuse};

/// A named group of backends, and how to choose among them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "upstream")]
pub(crate) struct Upstream {
    /// How a backend is chosen for each request. All go by weight. `round_robin`: each in turn, evenly interleaved.
    /// `random`: any. `least_connections`: the one with the fewest requests in flight; for requests of uneven length.
    /// `power_of_two_choices`: the less busy of two drawn at random; nearly as even, and cheaper with many backends.
    #[serde(default)]
    pub(crate) algorithm: Algorithm,
    /// The backends; at least one, none twice, at least one weight not 0.
    pub(crate) backends: Vec<OrText<Backend>>,
    /// How many attempts one request may take in all, 1 to 16. Another attempt is only made when the earlier ones never
    /// reached a backend, on a backend not tried yet, so it is safe for every method.
    #[serde(default)]
    pub(crate) max_attempts: MaxAttempts,
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
}

/// An algorithm, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Algorithm(pub(crate) LoadBalancingAlgorithm);

/// How many attempts one request may take in all.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct MaxAttempts(pub(crate) usize);

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
    /// proxy do not count: it keeps 128 for each worker, over all backends.
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

// === impl Backend ===

impl Backend {
    /// A backend with the default weight.
    pub(crate) fn new(url: String) -> Self {
        Self { url, weight: one() }
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

// === impl Algorithm ===

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Algorithm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an algorithm: {}", any_of(LoadBalancingAlgorithm::NAMES))
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Algorithm, E> {
                name.parse().map(Algorithm).map_err(|_| {
                    let known = LoadBalancingAlgorithm::NAMES;
                    let meant = closest(name, known.iter().copied()).map(str::to_owned);
                    refuse(format_args!("is not an algorithm: expected {}", any_of(known)), meant)
                })
            }
        }
        deserializer.deserialize_str(Name)
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl JsonSchema for Algorithm {
    fn schema_name() -> Cow<'static, str> {
        "algorithm".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "How a backend is chosen for each request.",
            "enum": LoadBalancingAlgorithm::NAMES,
        })
    }
}

// === impl MaxAttempts ===

impl MaxAttempts {
    /// The most that can be asked for.
    pub(crate) const MAX: usize = 16;
}

impl Default for MaxAttempts {
    fn default() -> Self {
        Self(model::Upstream::MAX_ATTEMPTS)
    }
}

impl JsonSchema for MaxAttempts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "max_attempts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": Self::MAX })
    }
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
