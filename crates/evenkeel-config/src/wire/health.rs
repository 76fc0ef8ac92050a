//! `health_check` and `outlier_detection`: which backends may be chosen.

use std::borrow::Cow;

use evenkeel_core::health::{self, OutlierOptions, Thresholds};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Named, Short};
use crate::model;
use crate::suggest::closest;
use crate::values::{Duration, Percent};

/// How backends are probed: exactly one of `tcp`, `tls`, `http`, `grpc` and `custom`, and how often. Each backend is probed
/// by itself: a dead one delays no other's checks.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "health_check")]
pub(crate) struct HealthCheck {
    /// Asks whether TCP connects: `{}`. It tells a dead process from a live one, and no more.
    pub(crate) tcp: Option<Nothing>,
    /// Asks whether a TLS handshake succeeds, with the authorities and the name of the upstream's `tls`: `{}`.
    pub(crate) tls: Option<Nothing>,
    /// Asks by HTTP/1.1, over TLS for backends that are `https`, and looks at the answer.
    pub(crate) http: Option<HttpCheck>,
    /// Asks by the gRPC health protocol (`grpc.health.v1`), over TLS for backends that are `https`; well is `SERVING`.
    pub(crate) grpc: Option<GrpcCheck>,
    /// Asks the check that the program registered under this name.
    pub(crate) custom: Option<String>,
    /// From one probe of a backend to the next, give or take a tenth, so that balancers do not probe in step. Shorter finds
    /// out sooner, and costs backends more requests. The time until a dead backend is out is up to `fall` times this.
    pub(crate) interval: Duration,
    /// For how long an answer is waited for, connecting included; not longer than the interval. The interval if that is
    /// shorter than the default.
    #[schemars(extend("default" = HealthCheck::default_timeout()))]
    pub(crate) timeout: Option<Duration>,
    /// Successes in a row that bring a backend back.
    #[schemars(range(min = 1))]
    pub(crate) rise: u32,
    /// Failures in a row that take a backend out. Lower is sooner, and takes a chance failure for a dead backend.
    #[schemars(range(min = 1))]
    pub(crate) fall: u32,
    /// What a backend counts as before its first probe. `up`: it gets requests at once. `down`: it gets none before its
    /// first success, which is enough. Give `down` where backends are not ready when the balancer is.
    pub(crate) start: Start,
    /// The port to probe, where it is not that of requests; not for backends on Unix sockets.
    #[schemars(range(min = 1))]
    pub(crate) port: Option<u16>,
}

/// What a backend counts as before its first probe.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, rename = "start")]
pub(crate) enum Start {
    Up,
    Down,
}

/// What takes no parameters.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an empty map: {}")]
#[schemars(inline)]
pub(crate) struct Nothing {}

/// A health check by HTTP/1.1: a request, and what is expected of its answer.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "http_check")]
pub(crate) struct HttpCheck {
    /// The path, with a query if there is one. Best one that answers only when the backend can serve.
    pub(crate) path: String,
    /// The method, in upper case. With `HEAD` there is no body to look at.
    pub(crate) method: String,
    /// The host that is asked for; the backend URL's unless given.
    pub(crate) host: Option<String>,
    /// More header fields for the request.
    pub(crate) headers: Named<String>,
    /// The statuses that are well: single ones, and ranges. Redirects are not followed.
    pub(crate) expect_status: Vec<Statuses>,
    /// A text that the answer's body must hold, letter by letter, in its first 64 KiB. Any body unless given. It costs
    /// reading the body.
    pub(crate) expect_body: Option<String>,
}

/// A status, or a range of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Statuses(pub(crate) String);

/// A health check by the gRPC health protocol.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "grpc_check")]
pub(crate) struct GrpcCheck {
    /// The service that is asked for, as in `package.Service`; empty asks for the server as a whole.
    pub(crate) service: String,
}

/// Judging backends by the traffic that they serve. One that fails too much, or is much slower than its peers, is ejected: it
/// gets no requests for a while.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values, or off")]
#[schemars(rename = "outlier_detection")]
pub(crate) struct OutlierDetection {
    #[serde(skip)]
    pub(crate) off: bool,
    /// Failures in a row that eject a backend; 0 does not look at it. Lower is sooner, and takes a streak of bad luck for a
    /// bad backend.
    pub(crate) consecutive_failures: u32,
    /// The share of failures in an interval, less than 100%, above which a backend is ejected. Not looked at unless given.
    /// Give it for backends that fail now and then but never in a row.
    pub(crate) failure_rate: Option<Percent>,
    /// How many times the median of its peers' mean latency a backend's may be in an interval, more than 1; then it is
    /// ejected. Not looked at unless given. Give it, 3 or more, where all backends do the same work.
    pub(crate) latency_factor: Option<f64>,
    /// The fewest answers in an interval from which a rate or a latency is judged. Lower it for backends with little
    /// traffic; too few say nothing.
    #[schemars(range(min = 1))]
    pub(crate) min_requests: u32,
    /// How often rate and latency are looked at.
    pub(crate) interval: Duration,
    /// For how long a backend is ejected the first time; the n-th time in a row n times as long.
    pub(crate) ejection_time: Duration,
    /// The longest ejection; `ejection_time` if that is longer than the default.
    #[schemars(extend("default" = OutlierDetection::default_max_ejection_time()))]
    pub(crate) max_ejection_time: Option<Duration>,
    /// The share of backends that may be ejected at a time, more than 0%. What is left must be able to carry all of the
    /// traffic.
    pub(crate) max_ejected: Percent,
}

/// What is done when no backend may be chosen.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, rename = "when_all_down")]
pub(crate) enum WhenAllDown {
    FailOpen,
    Refuse,
}

// === impl HealthCheck ===

impl HealthCheck {
    /// The kinds of checks.
    pub(crate) const KINDS: [&str; 5] = ["tcp", "tls", "http", "grpc", "custom"];

    /// The default of `timeout`, as long as the interval is not shorter.
    pub(crate) fn default_timeout() -> Duration {
        Duration(model::HealthCheck::new(model::HealthCheckKind::Tcp).timeout)
    }
}

impl Default for HealthCheck {
    fn default() -> Self {
        let check = model::HealthCheck::new(model::HealthCheckKind::Tcp);
        let Thresholds { rise, fall, start } = check.thresholds;
        Self {
            tcp: None,
            tls: None,
            http: None,
            grpc: None,
            custom: None,
            interval: Duration(check.interval),
            timeout: None,
            rise: rise.get(),
            fall: fall.get(),
            start: start.into(),
            port: check.port,
        }
    }
}

impl Short for HealthCheck {
    const EXPECTING: &'static str = "tcp, tls, http or grpc, or a map of keys and values";

    fn from_text(text: &str) -> Result<Self, (String, Option<String>)> {
        let default = Self::default();
        match text {
            "tcp" => Ok(Self { tcp: Some(Nothing {}), ..default }),
            "tls" => Ok(Self { tls: Some(Nothing {}), ..default }),
            "http" => Ok(Self { http: Some(HttpCheck::default()), ..default }),
            "grpc" => Ok(Self { grpc: Some(GrpcCheck::default()), ..default }),
            other => {
                let meant = closest(other, SHORT_CHECKS).map(str::to_owned);
                Err((format!("is not a health check: expected {}", Self::EXPECTING), meant))
            }
        }
    }

    fn text_schema() -> Schema {
        json_schema!({ "enum": SHORT_CHECKS })
    }
}

/// The checks that may be written by name alone.
const SHORT_CHECKS: [&str; 4] = ["tcp", "tls", "http", "grpc"];

// === impl Start ===

impl From<health::Start> for Start {
    fn from(start: health::Start) -> Self {
        match start {
            health::Start::Up => Self::Up,
            health::Start::Down => Self::Down,
        }
    }
}

impl From<Start> for health::Start {
    fn from(start: Start) -> Self {
        match start {
            Start::Up => Self::Up,
            Start::Down => Self::Down,
        }
    }
}

// === impl HttpCheck ===

impl Default for HttpCheck {
    fn default() -> Self {
        let model::HttpCheck { path, method, host, headers, expect_status, expect_body } =
            model::HttpCheck::default();
        let range = |(from, to): &(u16, u16)| Statuses(format!("{from}-{to}"));
        let expect_status = expect_status.iter().map(range).collect();
        Self { path, method, host, headers: Named(headers), expect_status, expect_body }
    }
}

// === impl Statuses ===

impl JsonSchema for Statuses {
    fn schema_name() -> Cow<'static, str> {
        "statuses".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A status from 100 to 599, or a range with both its ends.",
            "type": ["integer", "string"],
            "minimum": 100,
            "maximum": 599,
            "pattern": r"^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$|\$\{",
            "examples": ["200-299", 304],
        })
    }
}

// === impl OutlierDetection ===

impl OutlierDetection {
    /// Judges nobody.
    pub(crate) fn off() -> Self {
        Self { off: true, ..Self::default() }
    }

    /// The default of `max_ejection_time`, as long as `ejection_time` is not longer.
    pub(crate) fn default_max_ejection_time() -> Duration {
        Duration(OutlierOptions::default().max_ejection_time)
    }
}

impl From<OutlierOptions> for OutlierDetection {
    fn from(options: OutlierOptions) -> Self {
        Self {
            off: false,
            consecutive_failures: options.consecutive_failures.map_or(0, std::num::NonZeroU32::get),
            failure_rate: options.failure_rate.map(Percent),
            latency_factor: options.latency_factor,
            min_requests: options.min_requests,
            interval: Duration(options.interval),
            ejection_time: Duration(options.ejection_time),
            max_ejection_time: Some(Duration(options.max_ejection_time)),
            max_ejected: Percent(options.max_ejected),
        }
    }
}

impl Default for OutlierDetection {
    fn default() -> Self {
        match model::Health::default().outliers {
            Some(options) => Self { max_ejection_time: None, ..options.into() },
            None => Self { off: true, ..OutlierOptions::default().into() },
        }
    }
}

impl Short for OutlierDetection {
    const EXPECTING: &'static str = "a map of keys and values, or off";

    fn from_text(text: &str) -> Result<Self, (String, Option<String>)> {
        super::off_or_map(text).map(|()| Self::off())
    }

    fn text_schema() -> Schema {
        json_schema!({ "const": "off" })
    }
}

// === impl WhenAllDown ===

impl Default for WhenAllDown {
    fn default() -> Self {
        health::WhenAllDown::default().into()
    }
}

impl From<health::WhenAllDown> for WhenAllDown {
    fn from(choice: health::WhenAllDown) -> Self {
        match choice {
            health::WhenAllDown::FailOpen => Self::FailOpen,
            health::WhenAllDown::Refuse => Self::Refuse,
        }
    }
}

impl From<WhenAllDown> for health::WhenAllDown {
    fn from(choice: WhenAllDown) -> Self {
        match choice {
            WhenAllDown::FailOpen => Self::FailOpen,
            WhenAllDown::Refuse => Self::Refuse,
        }
    }
}
