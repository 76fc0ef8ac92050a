//! `algorithm`: how a backend is picked, and the parameters of each algorithm.

use std::borrow::Cow;

use evenkeel_core::balance::{LoadBalancingAlgorithm, PeakEwmaOptions, PrequalOptions};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use super::Short;
use crate::suggest::closest;
use crate::values::{Duration, Percent};
use crate::yaml::any_of;

/// An algorithm with parameters: a map with the algorithm's name as its only key. These algorithms have no parameters:
/// `round_robin`, `random`, `least_connections`, `power_of_two_choices`, `source_ip_hash`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map with one key, the name of an algorithm")]
#[schemars(rename = "algorithm")]
pub(crate) struct Algorithm {
    /// Set if only a name was given, and by the builder. The other fields are empty then.
    #[serde(skip)]
    pub(crate) whole: Option<LoadBalancingAlgorithm>,
    /// Picks the backend with the lowest expected response time, from its recent response times and its requests in
    /// flight. Use it for backends of uneven speed and for backends that become slow.
    pub(crate) peak_ewma: Option<PeakEwma>,
    /// All requests with the same key go to the same backend, by a ring of hashes. When a backend is added or removed,
    /// almost only its own keys move. Use it for caches.
    pub(crate) consistent_hash: Option<ConsistentHash>,
    /// All requests with the same key go to the same backend, by a table. It has the most even shares and the fastest
    /// lookup. When a backend is added or removed, a few more keys move than with `consistent_hash`.
    pub(crate) maglev: Option<KeyOnly>,
    /// All requests with the same key go to the same backend, by the highest of all hashes. When a backend is added or
    /// removed, only its own keys move. It reads every backend for each request: use it for few backends.
    pub(crate) rendezvous: Option<KeyOnly>,
    /// Picks the backend with the lowest latency among those that are not hot, from probes that run ahead of requests.
    /// Use it if other clients also send requests to these backends.
    pub(crate) prequal: Option<Prequal>,
    /// Uses the algorithm that the program registered under this name.
    pub(crate) custom: Option<String>,
}

/// Parameters of `peak_ewma`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "peak_ewma")]
pub(crate) struct PeakEwma {
    /// How fast old measurements lose weight: a measurement of this age counts one third. A shorter time notices sooner
    /// that a backend became faster, and gives a single response more weight.
    pub(crate) decay: Duration,
    /// How long a backend that looks slow receives no request before evenkeel tests it with one. A shorter time notices
    /// sooner that the backend is fast again, and costs more slow responses while it is slow. While health checks of
    /// the backend take longer than those of the others, this time is eight times as long. It ends when they no longer
    /// do.
    pub(crate) retest: Duration,
}

/// Parameters of `consistent_hash`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "consistent_hash")]
pub(crate) struct ConsistentHash {
    /// Which requests belong together.
    pub(crate) key: Key,
    /// The most requests in flight for one backend, as a multiple of the mean; more than 1. Above it, its keys go to
    /// the next backend. Use about 1.25 if a few keys cause much of the load. A value closer to 1 is more even, and
    /// moves more keys away from their backend. Default: no bound.
    pub(crate) bounded_load: Option<f64>,
}

/// Parameters of `maglev` and of `rendezvous`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "hash_key")]
pub(crate) struct KeyOnly {
    /// Which requests belong together.
    pub(crate) key: Key,
}

/// Which requests belong together.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Key(pub(crate) String);

/// Parameters of `prequal`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "prequal")]
pub(crate) struct Prequal {
    /// The path that returns a backend's load, in ORCA's text format or as JSON. Without it, evenkeel uses its own
    /// measurements, which do not include requests from other clients.
    pub(crate) probe_path: Option<String>,
    /// Probes for each request, on average; more than 0 and at most 8. More probes give a better picture and cost
    /// backends more requests.
    pub(crate) probes_per_request: f64,
    /// The number of probe results to keep, 1 to 32. More results cover more backends but are older.
    #[schemars(range(min = 1, max = 32))]
    pub(crate) pool_size: usize,
    /// How long a probe result is used.
    pub(crate) max_age: Duration,
    /// The quantile of requests in flight above which a backend is hot. A hot backend is picked only if all backends
    /// are hot. A lower value makes the requests in flight more even. A higher value prefers low latency.
    pub(crate) hot_quantile: Percent,
}

/// What other products call algorithms of ours.
const ELSEWHERE: [(&str, &str); 14] = [
    ("ip_hash", "source_ip_hash"),
    ("source", "source_ip_hash"),
    ("leastconn", "least_connections"),
    ("least_conn", "least_connections"),
    ("least_request", "power_of_two_choices"),
    ("p2c", "power_of_two_choices"),
    ("random two", "power_of_two_choices"),
    ("two_random_choices", "power_of_two_choices"),
    ("wrr", "round_robin"),
    ("weighted_round_robin", "round_robin"),
    ("static-rr", "round_robin"),
    ("ewma", "peak_ewma"),
    ("ring_hash", "consistent_hash"),
    ("hash", "consistent_hash"),
];

// === impl Algorithm ===

impl Algorithm {
    /// The names of algorithms with parameters.
    pub(crate) const WITH_PARAMETERS: [&str; 6] =
        ["peak_ewma", "consistent_hash", "maglev", "rendezvous", "prequal", "custom"];

    /// An algorithm, complete.
    pub(crate) fn whole(algorithm: LoadBalancingAlgorithm) -> Self {
        Self { whole: Some(algorithm), ..Self::default() }
    }
}

impl Short for Algorithm {
    const EXPECTING: &'static str = "the name of an algorithm, or a map of its name to its parameters";

    fn from_text(text: &str) -> Result<Self, (String, Option<String>)> {
        text.parse().map(Self::whole).map_err(|_| {
            let known = LoadBalancingAlgorithm::NAMES;
            let elsewhere = ELSEWHERE.iter().find(|(name, _)| *name == text).map(|(_, ours)| *ours);
            let meant = elsewhere.or_else(|| closest(text, known.iter().copied())).map(str::to_owned);
            (format!("is not an algorithm: expected {}", any_of(known)), meant)
        })
    }

    fn text_schema() -> Schema {
        json_schema!({ "enum": LoadBalancingAlgorithm::NAMES })
    }
}

/// The schema shows only defaults, which have no parameters.
impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.whole.clone().unwrap_or_default().name())
    }
}

// === impl PeakEwma ===

impl Default for PeakEwma {
    fn default() -> Self {
        let PeakEwmaOptions { decay, retest } = PeakEwmaOptions::default();
        Self { decay: Duration(decay), retest: Duration(retest) }
    }
}

// === impl Key ===

impl Default for Key {
    fn default() -> Self {
        Self("client_ip".to_owned())
    }
}

impl JsonSchema for Key {
    fn schema_name() -> Cow<'static, str> {
        "key".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Which requests belong together: client_ip (the client's address; for IPv6, its /64 network), \
                            path (without the query), header NAME, cookie NAME or query NAME; or the same as a placeholder, like {header.x-user}. A request without this header, \
                            cookie or query parameter uses the client's address.",
            "type": "string",
            "pattern": r"^(client_ip|path|(header|cookie|query) .+|\{.+\})$|\$\{",
            "examples": ["client_ip", "header x-user", "cookie session"],
        })
    }
}

// === impl Prequal ===

impl Default for Prequal {
    fn default() -> Self {
        let PrequalOptions { probe_path, probes_per_request, pool_size, max_age, hot_quantile } =
            PrequalOptions::default();
        Self {
            probe_path: probe_path.map(String::from),
            probes_per_request,
            pool_size,
            max_age: Duration(max_age),
            hot_quantile: Percent(hot_quantile),
        }
    }
}
