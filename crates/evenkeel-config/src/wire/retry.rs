//! `retry` and `hedge`: when a request is sent more than once.

use std::borrow::Cow;
use std::fmt;

use evenkeel_core::limit::RetryBudgetOptions;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{OrText, Short};
use crate::model;
use crate::values::{self, Duration, Percent, Size};
use crate::yaml::refuse;

/// When a request is retried: always on a backend that was not tried yet, within the route's `timeout`, and only if it
/// is safe. A request that never reached a backend is safe, whatever its method. A request that may have reached one is
/// safe only if its method is idempotent (GET, HEAD, OPTIONS, TRACE, PUT, DELETE) and its body is still in memory.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "retry")]
pub(crate) struct Retry {
    /// The most times that one request is sent, 1 to 16. With 1 no request is sent twice. A backend that could not be reached
    /// does not count: the request moves on for as long as there is a backend that it has not tried.
    #[schemars(range(min = 1, max = Retry::MOST_ATTEMPTS))]
    pub(crate) attempts: usize,
    /// What is retried; replaces the default list. `connect_failure`: the connection failed; without it such a request does
    /// not move on. `reset`: it broke before the response head. `timeout`: no response head within `per_try_timeout` or
    /// `first_byte`. A status: the response had this status.
    pub(crate) on: Vec<Condition>,
    /// How long one attempt can take until its response head; shorter than `first_byte`. Default: only `first_byte`
    /// applies. Use it together with `timeout` in `on`, to leave a slow backend for another. A value that is too short
    /// doubles the work.
    pub(crate) per_try_timeout: Option<Duration>,
    /// The pause before the first retry. Each further pause is twice as long. The actual pause is random, between half
    /// of the value and the full value. Default: no pause, because a retry goes to another backend. Use it if backends
    /// fail together.
    pub(crate) backoff: Option<Duration>,
    /// How long a request that every backend has failed waits for one to recover. Meanwhile one request in each second tests a
    /// backend that cannot be reached. Default: the request fails at once. Use it to restart a backend without failed requests
    /// if no other backend can serve them. The cost: if all backends are down, each client waits this long for its 502.
    pub(crate) wait_for_backend: Option<Duration>,
    /// How many retries all requests together can make, so that retries do not overload a failing upstream: a
    /// percentage, or a map.
    pub(crate) budget: OrText<Budget>,
    /// The largest request body that is kept for retries, up to 16MiB. A request with a larger body is retried only if
    /// it never reached a backend. Each request in progress can use this much memory. 0 keeps no body.
    pub(crate) max_body: Size,
}

/// A reason to retry a request.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Condition(pub(crate) String);

/// How many retries all requests together can make.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a percentage like 20%, or a map of keys and values")]
#[schemars(rename = "retry_budget")]
pub(crate) struct Budget {
    /// Retries for each request, on average over the last seconds.
    pub(crate) ratio: Percent,
    /// Retries per second that are always allowed, for upstreams with little traffic.
    pub(crate) min_per_second: u32,
}

/// A second attempt on another backend if the first is slow. The first response counts, and the other attempt is
/// cancelled. Only for idempotent requests without a body. It shortens the tail latency that a few slow responses
/// cause. For a backend that is slow throughout, use `peak_ewma` or `prequal`; they then test it with a copy of a
/// request with a safe method instead of the request itself, so that no client waits for it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "hedge")]
pub(crate) struct Hedge {
    /// When the second attempt starts: later than this share of the upstream's recent responses began (`p95`), or after
    /// a fixed time (`50ms`). An earlier start shortens more of the tail and costs backends more requests.
    pub(crate) after: After,
    /// Second attempts and copies for each request, more than 0%.
    pub(crate) budget: Percent,
}

/// When a second attempt starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct After(pub(crate) model::HedgeAfter);

// === impl Retry ===

impl Retry {
    /// The largest number of attempts that can be configured.
    pub(crate) const MOST_ATTEMPTS: usize = 16;
    /// The conditions that have names.
    pub(crate) const CONDITIONS: [&str; 3] = ["connect_failure", "reset", "timeout"];
}

impl Default for Retry {
    fn default() -> Self {
        let model::Retry { attempts, on, per_try_timeout, backoff, wait_for_backend, budget, max_body } =
            model::Retry::default();
        let named = Self::CONDITIONS.iter().zip([on.connect_failure, on.reset, on.timeout]);
        let named = named.filter(|(_, given)| *given).map(|(name, _)| (*name).to_owned());
        Self {
            attempts: attempts.get(),
            on: named.chain(on.statuses.iter().map(u16::to_string)).map(Condition).collect(),
            per_try_timeout: per_try_timeout.map(Duration),
            backoff: backoff.map(Duration),
            wait_for_backend: wait_for_backend.map(Duration),
            budget: OrText(budget.into()),
            max_body: Size(max_body as u64),
        }
    }
}

// === impl Condition ===

impl JsonSchema for Condition {
    fn schema_name() -> Cow<'static, str> {
        "retry_condition".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A reason to retry a request: connect_failure, reset, timeout, or a status from 400 to 599.",
            "type": ["integer", "string"],
            "minimum": 400,
            "maximum": 599,
            "pattern": r"^(connect_failure|reset|timeout|[45][0-9][0-9])$|\$\{",
            "examples": ["connect_failure", 503],
        })
    }
}

// === impl Budget ===

impl From<RetryBudgetOptions> for Budget {
    fn from(RetryBudgetOptions { ratio, min_per_second }: RetryBudgetOptions) -> Self {
        Self { ratio: Percent(ratio), min_per_second }
    }
}

impl Default for Budget {
    fn default() -> Self {
        RetryBudgetOptions::default().into()
    }
}

impl Short for Budget {
    const EXPECTING: &'static str = "a percentage like 20%, or a map of keys and values";

    fn from_text(text: &str) -> Result<Self, (String, Option<String>)> {
        let ratio = text.parse::<Percent>().map_err(<(String, Option<String>)>::from)?;
        Ok(Self { ratio, ..Self::default() })
    }

    fn text_schema() -> Schema {
        json_schema!({ "$ref": "#/$defs/percentage" })
    }
}

// === impl Hedge ===

impl Default for Hedge {
    fn default() -> Self {
        let model::Hedge { after, budget } = model::Hedge::default();
        Self { after: After(after), budget: Percent(budget) }
    }
}

// === impl After ===

impl After {
    fn parse(text: &str) -> Result<Self, String> {
        let percentile = text.strip_prefix('p').and_then(values::hundredths);
        match (percentile, text.parse::<Duration>()) {
            (Some(quantile), _) => Ok(Self(model::HedgeAfter::Quantile(quantile))),
            (None, Ok(time)) => Ok(Self(model::HedgeAfter::Time(time.0))),
            (None, Err(_)) => {
                Err("is not a time for a second attempt: expected a percentile like p95 or p99.9, or a \
                                   time like 50ms"
                    .to_owned())
            }
        }
    }

    /// What was probably meant by `95`, `95%` or `P95`.
    fn corrected(text: &str) -> Option<String> {
        let number = text.trim_start_matches(['p', 'P']).trim_end_matches('%').trim();
        let quantile = values::hundredths(number)?;
        (quantile > 0.0 && quantile < 1.0).then(|| format!("p{number}"))
    }
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            model::HedgeAfter::Quantile(quantile) => write!(f, "p{}", values::in_hundredths(quantile)),
            model::HedgeAfter::Time(time) => Duration(time).fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for After {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = After;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a percentile like p95, or a time like 50ms")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<After, E> {
                After::parse(text).map_err(|message| refuse(message, After::corrected(text)))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl Serialize for After {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for After {
    fn schema_name() -> Cow<'static, str> {
        "hedge_after".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A percentile of the upstream's latency, or a time.",
            "type": "string",
            "pattern": r"^p[0-9]+(\.[0-9]+)?$|^\s*([0-9]+(\.[0-9]+)?\s*(us|ms|s|m|h|d)\s*)+$|\$\{",
            "examples": ["p95", "p99.9", "50ms"],
        })
    }
}
