//! The file, key by key, as serde reads it. The doc comments here are the reference that users read: what a key means, its
//! unit, when to change it, what it costs. Defaults are the model's.
//!
//! This room never knows what a value implies elsewhere: names are resolved and rules are checked in `resolve`.

mod algorithm;
mod health;
mod limits;
mod listener;
mod named;
mod retry;
mod route;
mod upstream;

pub(crate) use algorithm::{Algorithm, Key, PeakEwma};
pub(crate) use health::{
    GrpcCheck, HealthCheck, HttpCheck, Nothing, OutlierDetection, Statuses, WhenAllDown,
};
pub(crate) use limits::{CircuitBreaker, Queue, Sticky};
pub(crate) use listener::{Http, Listener};
pub(crate) use named::{Named, OrText, Short};
pub(crate) use retry::{After, Condition, Hedge, Retry};
pub(crate) use route::{Match, Redirect, Respond, Route, Step};
pub(crate) use upstream::{Backend, Timeouts, Upstream};

use schemars::{JsonSchema, Schema, json_schema};
use serde::{Deserialize, Serialize};

use crate::model;
use crate::suggest::closest;
use crate::values::{Duration, Secret};
use crate::yaml::Hints;

/// The whole file. Every value may hold environment variables: `${NAME}`, or `${NAME:-default}`; `$${` stands for `${`
/// itself. Unknown keys and keys given twice are refused. Variables of other products (`$host`, `%[src]`) are refused in
/// values that are sent or logged; `$$host` stands for the text `$host`, and every other `$` for itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "file")]
pub(crate) struct File {
    /// Where connections are accepted; at least one. No address twice, but for port 0.
    pub(crate) listeners: Vec<Listener>,
    /// Where requests go: the first route that matches wins, and a route that can never match is refused. May be left out
    /// when there is one upstream, which then takes everything, by a route named `default`.
    pub(crate) routes: Vec<Route>,
    /// The groups of backends, by name. The name is what routes, logs and metrics use.
    pub(crate) upstreams: Named<Upstream>,
    /// Whose `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host` and `Forwarded` are believed: addresses, or
    /// networks such as `10.0.0.0/8`. Name the proxies in front of this one, and nobody else: whoever is named here can
    /// claim any client address. With nobody named, the client is whoever connects.
    pub(crate) trusted_proxies: Vec<String>,
    /// What is told to backends about the client, beside `X-Forwarded-For`, `-Proto`, `-Host` and `X-Request-Id`, which
    /// they always get.
    pub(crate) forwarding: Forwarding,
    /// How the balancer ends, on SIGTERM.
    pub(crate) shutdown: Shutdown,
    /// The address that shows what is going on (`/metrics`, `/status`, `/livez`, `/readyz`). Off unless named.
    pub(crate) admin: Option<Admin>,
    /// One record for every request. Off unless given; `off` says so. A record costs a microsecond or two and half a
    /// kilobyte; none is ever waited for.
    pub(crate) access_log: Option<OrText<AccessLog>>,
    /// How many threads serve connections, 1 to 1024. One for each core unless given. Give fewer to leave cores to others
    /// on the machine.
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) workers: Option<usize>,
    /// Which data paths may serve HTTP/1.1. `auto`: the lean lane serves it, and hands over to Pingora's proxy what it
    /// does not do itself: requests for backends behind `https`. `pingora`: Pingora's proxy serves everything, for
    /// comparison and as a way back: when a response looks wrong, see whether it does so here too. It costs more CPU time for
    /// each request, and more memory for each connection.
    pub(crate) lanes: Lanes,
    /// Where this balancer is, in the words of its backends' `zone`. Backends of the same zone are preferred, which is nearer
    /// and often cheaper; the others serve when those are out. Nowhere unless given.
    pub(crate) zone: Option<String>,
}

/// What is told to backends about the client. How the names of fields are spelled may change on the way: they mean the same
/// in any case (RFC 9110, 5.1).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "forwarding")]
pub(crate) struct Forwarding {
    /// Whether to send `Forwarded` (RFC 7239) as well. Turn it on for backends that read it instead of `X-Forwarded-*`.
    pub(crate) forwarded: bool,
    /// The pseudonym for this proxy in `Via` (RFC 9110, 7.6.3), added to requests and answers. No `Via` unless given. Give
    /// it where proxies could form a loop.
    pub(crate) via: Option<String>,
}

/// How the balancer ends, on SIGTERM.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "shutdown")]
pub(crate) struct Shutdown {
    /// How long new connections are still accepted, while `/readyz` already says no. Give it as long as whatever is in
    /// front needs to notice: in Kubernetes, about 5 s.
    pub(crate) pre_stop: Duration,
    /// How long requests may take to end after that; what is left is cut: with a 503 if no response has begun. The process
    /// ends as soon as the last request has. Keep it below the time after which the supervisor kills.
    pub(crate) drain_timeout: Duration,
}

/// The admin address.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "admin")]
pub(crate) struct Admin {
    /// Where it listens: `ip:port`. Port 0 takes a free one.
    pub(crate) address: String,
    /// The bearer token that it asks for, at least 16 characters. Required when the address is not a loopback one, since
    /// whoever reaches it can read everything and give orders. Best given as `${NAME}`.
    #[schemars(with = "Option<String>")]
    pub(crate) token: Option<Secret>,
}

/// The access log.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values, or off")]
#[schemars(rename = "access_log")]
pub(crate) struct AccessLog {
    #[serde(skip)]
    pub(crate) off: bool,
    /// Where records go: `stdout`, `stderr`, or the path of a file, which is appended to, and opened again on SIGUSR1.
    pub(crate) to: String,
    /// What a record looks like: `json`, `combined` (the format of Apache and nginx), or a template with fields in braces,
    /// such as `{client} {method} {target} {status}`.
    pub(crate) format: String,
}

/// Which data paths may serve plain HTTP/1.1.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, rename = "lanes")]
pub(crate) enum Lanes {
    Auto,
    Pingora,
}

/// What else messages say about keys.
pub(crate) const HINTS: Hints = Hints {
    later: &["acme", "discovery", "h2c", "protocol", "proxy_protocol", "tls", "tracing"],
    instead: &[
        ("max_attempts", "unknown key: it is retry: { attempts: … } now"),
        ("round_robin", NAME_ALONE),
        ("random", NAME_ALONE),
        ("least_connections", NAME_ALONE),
        ("power_of_two_choices", NAME_ALONE),
        ("source_ip_hash", NAME_ALONE),
    ],
    required: &[
        ("address", "ip:port, like 127.0.0.1:8080"),
        ("backends", "a list of URLs, like [\"http://127.0.0.1:8081\"]"),
        ("name", "a name for logs and metrics"),
        ("to", "a location, like https://{host}{path}{query}"),
        ("url", "a URL, like http://127.0.0.1:8081"),
    ],
};

/// What is said of an algorithm without parameters that is given some.
const NAME_ALONE: &str = "takes no parameters: expected the name alone, like algorithm: round_robin";

// === impl Forwarding ===

impl Default for Forwarding {
    fn default() -> Self {
        let model::Forwarding { forwarded, via } = model::Forwarding::default();
        Self { forwarded, via }
    }
}

// === impl Shutdown ===

impl Default for Shutdown {
    fn default() -> Self {
        let model::Shutdown { pre_stop, drain_timeout } = model::Shutdown::default();
        Self { pre_stop: Duration(pre_stop), drain_timeout: Duration(drain_timeout) }
    }
}

// === impl AccessLog ===

impl Default for AccessLog {
    fn default() -> Self {
        Self { off: false, to: "stdout".to_owned(), format: "json".to_owned() }
    }
}

impl Short for AccessLog {
    const EXPECTING: &'static str = "a map of keys and values, or off";

    fn from_text(text: &str) -> Result<Self, (String, Option<String>)> {
        off_or_map(text).map(|()| Self { off: true, ..Self::default() })
    }

    fn text_schema() -> Schema {
        json_schema!({ "const": "off" })
    }
}

/// Reads `off`, where nothing else stands for a map.
fn off_or_map(text: &str) -> Result<(), (String, Option<String>)> {
    match text {
        "off" => Ok(()),
        other => {
            let message = "is not known here: expected a map of keys and values, or off".to_owned();
            Err((message, closest(other, ["off"]).map(str::to_owned)))
        }
    }
}

// === impl Lanes ===

impl Default for Lanes {
    fn default() -> Self {
        model::Lanes::default().into()
    }
}

impl From<model::Lanes> for Lanes {
    fn from(lanes: model::Lanes) -> Self {
        match lanes {
            model::Lanes::Auto => Self::Auto,
            model::Lanes::Pingora => Self::Pingora,
        }
    }
}

impl From<Lanes> for model::Lanes {
    fn from(lanes: Lanes) -> Self {
        match lanes {
            Lanes::Auto => Self::Auto,
            Lanes::Pingora => Self::Pingora,
        }
    }
}
