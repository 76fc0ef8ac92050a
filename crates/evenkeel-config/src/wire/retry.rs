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

/// When a request is tried again: always on a backend not tried yet, within the route's `timeout`, and only where it is safe. A request that never reached a backend is safe whatever its method; one that did only with a method
/// that is idempotent (GET, HEAD, OPTIONS, TRACE, PUT, DELETE), and while its body is still at hand.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "retry")]
pub(crate) struct Retry {
    /// How many times one request may be sent in all, 1 to 16; 1 sends none twice. A backend that could not be reached does not count:
    /// the request moves on for as long as there is a backend that it has not tried.
    #[schemars(range(min = 1, max = Retry::MOST_ATTEMPTS))]
    pub(crate) attempts: usize,
    /// What is tried again, instead of the default. `connect_failure`: there was no connection; without it the request does not
    /// move on. `reset`: it broke before the
    /// head of an answer. `timeout`: no head of an answer came within `per_try_timeout` or `first_byte`. A status: the answer
    /// had it.
    pub(crate) on: Vec<Condition>,
    /// How long one attempt may take to the head of its answer; shorter than `first_byte`. Unless given, that alone counts.
    /// Give it together with `timeout` under `on`, to leave a slow backend for another; too short a one doubles the work.
    pub(crate) per_try_timeout: Option<Duration>,
    /// The pause before the first retry; each further one is twice as long, and each is drawn between its half and its
    /// whole. None unless given, since another backend is another backend. Give it where backends fail together.
    pub(crate) backoff: Option<Duration>,
    /// How many retries there may be over all requests, so that a failing upstream is not overrun: a percentage, or a map.
    pub(crate) budget: OrText<Budget>,
    /// The largest body that is kept to be sent again, up to 16MiB; a request with a larger one is only tried again if it
    /// never reached a backend. Each request under way may hold this much memory; 0 keeps none.
    pub(crate) max_body: Size,
}

/// What a request is tried again on.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Condition(pub(crate) String);

/// How many retries there may be over all requests.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a percentage like 20%, or a map of keys and values")]
#[schemars(rename = "retry_budget")]
pub(crate) struct Budget {
    /// Retries for each request, on average over the last seconds.
    pub(crate) ratio: Percent,
    /// Retries in a second that are allowed in any case, for upstreams with little traffic.
    pub(crate) min_per_second: u32,
}

/// A second attempt beside a slow first one, on another backend; whichever answers first counts, and the other is cancelled.
/// Only for requests that are idempotent and have no body. It cuts the tail that a few slow answers make. Against a backend that
/// is slow throughout choose `peak_ewma` or `prequal`; what they test it with is then a copy of a request with a safe method
/// instead of the request itself, so that nobody waits for it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "hedge")]
pub(crate) struct Hedge {
    /// When the second attempt begins: later than this share of the upstream's answers began lately (`p95`), or after a
    /// time (`50ms`). Sooner cuts more of the tail, and costs backends more requests.
    pub(crate) after: After,
    /// Second attempts and copies for each request, more than 0%.
    pub(crate) budget: Percent,
}

/// When a second attempt begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct After(pub(crate) model::HedgeAfter);

// === impl Retry ===

impl Retry {
    /// The most attempts that can be asked for.
    pub(crate) const MOST_ATTEMPTS: usize = 16;
    /// The conditions that have names.
    pub(crate) const CONDITIONS: [&str; 3] = ["connect_failure", "reset", "timeout"];
}

impl Default for Retry {
    fn default() -> Self {
        let model::Retry { attempts, on, per_try_timeout, backoff, budget, max_body } =
            model::Retry::default();
        let named = Self::CONDITIONS.iter().zip([on.connect_failure, on.reset, on.timeout]);
        let named = named.filter(|(_, given)| *given).map(|(name, _)| (*name).to_owned());
        Self {
            attempts: attempts.get(),
            on: named.chain(on.statuses.iter().map(u16::to_string)).map(Condition).collect(),
            per_try_timeout: per_try_timeout.map(Duration),
            backoff: backoff.map(Duration),
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
            "description": "What a request is tried again on: connect_failure, reset, timeout, or a status from 400 to 599.",
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
                Err("is not a moment for a second attempt: expected a percentile like p95 or p99.9, or a \
                                   time like 50ms"
                    .to_owned())
            }
        }
    }

    /// What somebody meant who wrote `95`, `95%` or `P95`.
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
