//! `algorithm`: how a backend is chosen, and what can be said of it besides its name.

use std::borrow::Cow;

use evenkeel_core::balance::{LoadBalancingAlgorithm, PeakEwmaOptions, PrequalOptions};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use super::Short;
use crate::suggest::closest;
use crate::values::{Duration, Percent};
use crate::yaml::any_of;

/// An algorithm with parameters: a map of its name alone. Those that are not here have none: `round_robin`, `random`,
/// `least_connections`, `power_of_two_choices`, `source_ip_hash`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of one algorithm's name to its parameters")]
#[schemars(rename = "algorithm")]
pub(crate) struct Algorithm {
    /// What a name alone says, and what the builder gives; the rest is empty then.
    #[serde(skip)]
    pub(crate) whole: Option<LoadBalancingAlgorithm>,
    /// The backend that is expected to answer soonest, by how long its answers took lately and how many are awaited. For
    /// backends of uneven speed, and those that turn slow.
    pub(crate) peak_ewma: Option<PeakEwma>,
    /// Requests of one key go to one backend, by a ring of hashes. When a backend comes or goes, hardly any keys move but
    /// its own. For caches.
    pub(crate) consistent_hash: Option<ConsistentHash>,
    /// Requests of one key go to one backend, by a table that shares most evenly and is the fastest to look up. A few more
    /// keys move when a backend comes or goes than with `consistent_hash`.
    pub(crate) maglev: Option<KeyOnly>,
    /// Requests of one key go to one backend, by the highest of hashes. No keys move but those of the backend that comes or
    /// goes. It looks at every backend for each request: for few of them.
    pub(crate) rendezvous: Option<KeyOnly>,
    /// The backend with the lowest latency of those that are not hot, by probes that run ahead of requests. For backends
    /// whose load others make as well.
    pub(crate) prequal: Option<Prequal>,
}

/// Parameters of `peak_ewma`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "peak_ewma")]
pub(crate) struct PeakEwma {
    /// How fast an estimate forgets: what is this old counts a third. Shorter follows a backend that becomes faster sooner,
    /// and believes a single answer more.
    pub(crate) decay: Duration,
    /// How long a backend that looks slow may go without a request before it is given one, to see whether it still is.
    /// Shorter finds out sooner that it is fast again, and costs more slow answers while it is not. Health checks that find
    /// it slow beside its peers make it eight times as long, and end the wait as soon as they do not.
    pub(crate) retest: Duration,
}

/// Parameters of `consistent_hash`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "consistent_hash")]
pub(crate) struct ConsistentHash {
    /// What makes requests belong together.
    pub(crate) key: Key,
    /// How many times the mean of requests in flight a backend may have, more than 1, before its keys go on to the next.
    /// Give it, about 1.25, where a few keys bring much of the load; closer to 1 is more even, and tears more keys from
    /// their backend. No bound unless given.
    pub(crate) bounded_load: Option<f64>,
}

/// Parameters of `maglev` and of `rendezvous`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "hash_key")]
pub(crate) struct KeyOnly {
    /// What makes requests belong together.
    pub(crate) key: Key,
}

/// What makes requests belong together.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Key(pub(crate) String);

/// Parameters of `prequal`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "prequal")]
pub(crate) struct Prequal {
    /// The path that answers with a backend's load, in ORCA's text form or as JSON. Without one, backends are judged by the
    /// balancer's own measurements, which know nothing of what others send them.
    pub(crate) probe_path: Option<String>,
    /// Probes for each request, on average, more than 0 and at most 8. More know better, and cost backends more requests.
    pub(crate) probes_per_request: f64,
    /// How many probes are remembered, 1 to 32. More know more backends, and older news of them.
    #[schemars(range(min = 1, max = 32))]
    pub(crate) pool_size: usize,
    /// For how long a probe is believed.
    pub(crate) max_age: Duration,
    /// The quantile of requests in flight above which a backend is hot, and is only chosen when all are. Lower evens out
    /// requests in flight, higher goes for low latency.
    pub(crate) hot_quantile: Percent,
}

// === impl Algorithm ===

impl Algorithm {
    /// The names of those with parameters.
    pub(crate) const WITH_PARAMETERS: [&str; 5] =
        ["peak_ewma", "consistent_hash", "maglev", "rendezvous", "prequal"];

    /// An algorithm as it is.
    pub(crate) fn whole(algorithm: LoadBalancingAlgorithm) -> Self {
        Self { whole: Some(algorithm), ..Self::default() }
    }
}

impl Short for Algorithm {
    const EXPECTING: &'static str = "an algorithm's name, or a map of one to its parameters";

    fn from_text(text: &str) -> Result<Self, (String, Option<String>)> {
        text.parse().map(Self::whole).map_err(|_| {
            let known = LoadBalancingAlgorithm::NAMES;
            let meant = closest(text, known.iter().copied()).map(str::to_owned);
            (format!("is not an algorithm: expected {}", any_of(known)), meant)
        })
    }

    fn text_schema() -> Schema {
        json_schema!({ "enum": LoadBalancingAlgorithm::NAMES })
    }
}

/// The schema shows defaults alone, which have no parameters.
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
            "description": "What makes requests belong together: client_ip (the client's address; an IPv6 client is its /64 \
                            network), path (without the query), header NAME, cookie NAME or query NAME. A request without \
                            such a header, cookie or query parameter goes by the client's address.",
            "type": "string",
            "pattern": r"^(client_ip|path|(header|cookie|query) .+)$|\$\{",
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
