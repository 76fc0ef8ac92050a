//! `health_check` and `outlier_detection`: which backends receive requests.

use std::borrow::Cow;

use evenkeel_core::health::{self, OutlierOptions, Thresholds};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Named, Short};
use crate::ExtensionValue;
use crate::model;
use crate::suggest::closest;
use crate::values::{Duration, Percent};

/// How backends are probed: exactly one of `tcp`, `tls`, `http`, `grpc` and `custom`, and how often. Each backend is
/// probed separately: a dead backend does not delay the checks of others.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "health_check")]
pub(crate) struct HealthCheck {
    /// Checks that a TCP connection succeeds: `{}`. That detects only whether a process accepts connections: name the protocol of
    /// the backend, or say what to send and what to expect.
    pub(crate) tcp: Option<TcpCheck>,
    /// Checks that a TLS handshake succeeds, with the certificate authorities and the server name of the upstream's
    /// `tls`: `{}`.
    pub(crate) tls: Option<Nothing>,
    /// Sends an HTTP/1.1 request, over TLS for `https` backends, and checks the response.
    pub(crate) http: Option<HttpCheck>,
    /// Uses the gRPC health protocol (`grpc.health.v1`), over TLS for `https` backends. `SERVING` is healthy.
    pub(crate) grpc: Option<GrpcCheck>,
    /// Runs the check that the program registered under this name.
    pub(crate) custom: Option<String>,
    /// A check that the builder was given as a value.
    #[serde(skip)]
    pub(crate) value: Option<ExtensionValue>,
    /// The time between two probes of a backend, plus or minus a tenth, so that several balancers do not probe at the
    /// same moment. A shorter interval detects failures sooner and costs backends more requests. A dead backend is
    /// marked as down after up to `fall` times this interval.
    pub(crate) interval: Duration,
    /// How long to wait for the result of a probe, including the connect. It cannot be longer than the interval. If the
    /// interval is shorter than the default, the interval applies.
    #[schemars(extend("default" = HealthCheck::default_timeout()))]
    pub(crate) timeout: Option<Duration>,
    /// Successes in a row that mark a backend as up.
    #[schemars(range(min = 1))]
    pub(crate) rise: u32,
    /// Failures in a row that mark a backend as down. A lower value reacts sooner, but a single failure by chance is
    /// more likely to take a backend out.
    #[schemars(range(min = 1))]
    pub(crate) fall: u32,
    /// The state of a backend before its first probe. `up`: it receives requests at once. `down`: it receives none
    /// before its first successful probe; one success is enough. Use `down` if backends start more slowly than the
    /// balancer.
    pub(crate) start: Start,
    /// The port to probe, if it differs from the port for requests. Not for backends on Unix sockets.
    #[schemars(range(min = 1))]
    pub(crate) port: Option<u16>,
}

/// The state of a backend before its first probe.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, rename = "start")]
pub(crate) enum Start {
    Up,
    Down,
}

/// A health check over TCP. Without keys, a connection is enough.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "tcp_check")]
pub(crate) struct TcpCheck {
    /// The protocol of the backend. `redis`: sends `PING`, and expects `PONG`, or that the server asks for a password. `postgres`:
    /// asks whether the server speaks TLS, which any PostgreSQL server tells without a password. `mysql`: expects the greeting of
    /// the server; "Too many connections" is unhealthy. `smtp`: expects the greeting `220`. Instead of `send` and `expect`.
    pub(crate) protocol: Option<TcpProtocol>,
    /// The text to send after connecting. In double quotes, `\r\n` is the end of a line. Default: nothing.
    pub(crate) send: Option<String>,
    /// A text that the response must contain within its first 64 KiB; the case must match. Default: any response, or none.
    pub(crate) expect: Option<String>,
}

/// A protocol that health checks speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, rename = "tcp protocol")]
pub(crate) enum TcpProtocol {
    Redis,
    Postgres,
    Mysql,
    Smtp,
}

/// A check without parameters.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an empty map: {}")]
#[schemars(inline)]
pub(crate) struct Nothing {}

/// A health check over HTTP/1.1: a request, and the expected response.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "http_check")]
pub(crate) struct HttpCheck {
    /// The path, with the query if there is one. Use a path that succeeds only if the backend can serve requests.
    pub(crate) path: String,
    /// The method, in upper case. With `HEAD` there is no body to check.
    pub(crate) method: String,
    /// The `Host` of the request. Default: the host of the backend's URL.
    pub(crate) host: Option<String>,
    /// More header fields for the request.
    pub(crate) headers: Named<String>,
    /// The statuses that are healthy: single statuses and ranges. Redirects are not followed.
    pub(crate) expect_status: Vec<Statuses>,
    /// A text that the response body must contain within its first 64 KiB; the case must match. Default: any body. It
    /// costs reading the body.
    pub(crate) expect_body: Option<String>,
}

/// A status, or a range of statuses.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Statuses(pub(crate) String);

/// A health check with the gRPC health protocol.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "grpc_check")]
pub(crate) struct GrpcCheck {
    /// The service to check, as in `package.Service`. Empty checks the server as a whole.
    pub(crate) service: String,
}

/// Judges backends by the requests that they serve. A backend that fails too often, or is much slower than the others,
/// is ejected: it receives no requests for a while.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values, or off")]
#[schemars(rename = "outlier_detection")]
pub(crate) struct OutlierDetection {
    #[serde(skip)]
    pub(crate) off: bool,
    /// Failures in a row that eject a backend; 0 turns this check off. A lower value reacts sooner, but a few failures
    /// by chance are more likely to eject a good backend.
    pub(crate) consecutive_failures: u32,
    /// The share of failures in an interval, less than 100%, above which a backend is ejected. Default: off. Use it for
    /// backends that fail from time to time but never in a row.
    pub(crate) failure_rate: Option<Percent>,
    /// A backend is ejected if its mean latency in an interval is more than this many times the median of the other
    /// backends; more than 1. Default: off. Use 3 or more, if all backends do the same work. It has no effect on upstreams of
    /// fewer than four backends: with fewer than three others, their median says little.
    pub(crate) latency_factor: Option<f64>,
    /// The fewest responses in an interval for a judgement of rate or latency. Lower it for backends with little
    /// traffic. With too few responses the values are unreliable.
    #[schemars(range(min = 1))]
    pub(crate) min_requests: u32,
    /// How often rate and latency are checked.
    pub(crate) interval: Duration,
    /// How long the first ejection of a backend lasts. The n-th ejection in a row lasts n times as long.
    pub(crate) ejection_time: Duration,
    /// The longest ejection. If `ejection_time` is longer than the default, `ejection_time` applies.
    #[schemars(extend("default" = OutlierDetection::default_max_ejection_time()))]
    pub(crate) max_ejection_time: Option<Duration>,
    /// The largest share of backends that can be ejected at the same time, more than 0%. The other backends must be
    /// able to carry all traffic.
    pub(crate) max_ejected: Percent,
}

/// What to do if no backend is usable.
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

    /// The default of `timeout`, if the interval is not shorter.
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
            value: None,
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
    const EXPECTING: &'static str =
        "tcp, tls, http, grpc, redis, postgres, mysql or smtp, or a map of keys and values";

    fn from_text(text: &str) -> Result<Self, (String, Option<String>)> {
        let default = Self::default();
        let of = |protocol| TcpCheck { protocol: Some(protocol), ..TcpCheck::default() };
        match text {
            "tcp" => Ok(Self { tcp: Some(TcpCheck::default()), ..default }),
            "redis" => Ok(Self { tcp: Some(of(TcpProtocol::Redis)), ..default }),
            "postgres" => Ok(Self { tcp: Some(of(TcpProtocol::Postgres)), ..default }),
            "mysql" => Ok(Self { tcp: Some(of(TcpProtocol::Mysql)), ..default }),
            "smtp" => Ok(Self { tcp: Some(of(TcpProtocol::Smtp)), ..default }),
            "tls" => Ok(Self { tls: Some(Nothing {}), ..default }),
            "http" => Ok(Self { http: Some(HttpCheck::default()), ..default }),
            "grpc" => Ok(Self { grpc: Some(GrpcCheck::default()), ..default }),
            other => {
                let meant = closest(other, SHORT_CHECKS).map(str::to_owned);
                let example = match other.starts_with('/') {
                    true => format!(": write health_check: {{ http: {{ path: {other} }} }}"),
                    false => String::new(),
                };
                Err((format!("is not a health check: expected {}{example}", Self::EXPECTING), meant))
            }
        }
    }

    fn text_schema() -> Schema {
        json_schema!({ "enum": SHORT_CHECKS })
    }
}

/// The checks that can be written as a name only.
const SHORT_CHECKS: [&str; 8] = ["tcp", "tls", "http", "grpc", "redis", "postgres", "mysql", "smtp"];

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
    /// Judges no backend.
    pub(crate) fn off() -> Self {
        Self { off: true, ..Self::default() }
    }

    /// The default of `max_ejection_time`, if `ejection_time` is not longer.
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
        super::off_or_map(text, "outlier_detection: { consecutive_failures: 5 }").map(|()| Self::off())
    }

    fn text_schema() -> Schema {
        json_schema!({ "enum": ["off", false] })
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
