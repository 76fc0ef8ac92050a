//! The file, key by key, as serde reads it. The doc comments here are the reference for users: the meaning of a key,
//! its unit, when to change it, what it costs. Defaults come from the model.
//!
//! This room never knows what a value implies elsewhere: names are resolved and rules are checked in `resolve`.

mod algorithm;
mod discovery;
mod health;
mod hints;
mod limits;
mod list;
mod listener;
mod named;
mod proxy_protocol;
mod retry;
mod route;
mod tcp;
mod tls;
mod upstream;

pub(crate) use algorithm::{Algorithm, Key, PeakEwma};
pub(crate) use discovery::{ConsulSource, Discovery, DnsSource, FileSource, HttpSource, Scheme};
pub(crate) use health::{
    GrpcCheck, HealthCheck, HttpCheck, Nothing, OutlierDetection, Statuses, TcpCheck, TcpProtocol,
    WhenAllDown,
};
pub(crate) use hints::HINTS;
pub(crate) use limits::{CircuitBreaker, Queue, Sticky};
pub(crate) use list::{Group, Item};
pub(crate) use listener::{Http, Listener, UnixSocket};
pub(crate) use named::{Named, OrText, Short};
pub(crate) use proxy_protocol::{ProxyProtocol, ProxyVersion};
pub(crate) use retry::{After, Condition, Hedge, Retry};
pub(crate) use route::{Match, Redirect, Respond, Route, Step, Value};
pub(crate) use tcp::{Protocol, Tcp, TcpRoute};
pub(crate) use tls::{
    Certificate, CipherSuite, ClientAuth, ClientAuthMode, KeyExchangeGroup, ListenerTls, Version,
};
pub(crate) use upstream::{Backend, RouteTimeouts, Timeouts, Upstream};

use schemars::{JsonSchema, Schema, json_schema};
use serde::{Deserialize, Serialize};

use crate::model;
use crate::suggest::closest;
use crate::values::{Duration, Percent, Secret, Size};

/// The whole file. Every value can contain environment variables: `${NAME}`, or `${NAME:-default}`. Write `$${` for a
/// literal `${`. Unknown keys and duplicate keys are rejected. Top-level keys that begin with `x-` are not read: use them for
/// YAML anchors. Variables of other products (`$host`, `%[src]`) are
/// rejected in values that are sent or logged. Write `$$host` for the text `$host`. Every other `$` is literal.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "file", extend("patternProperties" = { "^x-": {} }))]
pub(crate) struct File {
    /// Where connections are accepted; at least one listener. Each address can be used once, except for port 0.
    pub(crate) listeners: Vec<Listener>,
    /// Where requests go. The first matching route applies. A route that can never match is rejected. With exactly one
    /// upstream of HTTP backends, routes can be omitted: a route named `default` then sends all requests to it. Listeners with
    /// `protocol: tcp` do not use them.
    pub(crate) routes: Vec<Route>,
    /// Filters that routes and listeners share, by name: `{ api-limit: { rate_limit: { rate: 100/s } } }`. A route or a listener
    /// uses one with `use: api-limit` in its own `filters`. All that use it share one filter: a rate limit counts their
    /// requests together.
    pub(crate) filters: Named<Step>,
    /// The groups of backends, by name. Routes, logs and metrics use this name.
    pub(crate) upstreams: Named<Upstream>,
    /// The clients whose `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host` and `Forwarded` are trusted:
    /// addresses, networks such as `10.0.0.0/8`, or `unix` for every client on a Unix socket. List only the proxies in
    /// front of this balancer: a trusted proxy can claim any client address. Default: none; the client address is then the
    /// address of the connection.
    pub(crate) trusted_proxies: Vec<String>,
    /// What evenkeel sends to backends about the client, in addition to `X-Forwarded-For`, `-Proto`, `-Host` and
    /// `X-Request-Id`, which it always sends.
    pub(crate) forwarding: Forwarding,
    /// From which use of memory and descriptors on evenkeel sheds load to stay responsive. Default: no thresholds.
    pub(crate) overload_protection: OverloadProtection,
    /// How the balancer stops on SIGTERM.
    pub(crate) shutdown: Shutdown,
    /// The address for `/metrics`, `/status`, `/livez` and `/readyz`. Default: off.
    pub(crate) admin: Option<Admin>,
    /// One record for every request. Default: off; `off` means the same. A record costs one or two microseconds and
    /// half a kilobyte. No request waits for its record to be written.
    pub(crate) access_log: Option<OrText<AccessLog>>,
    /// The number of threads that serve connections, 1 to 1024. Default: one per core. Use fewer to leave cores to
    /// other programs on the machine.
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) workers: Option<usize>,
    /// Which data paths serve HTTP/1.1. `auto`: the lean lane serves it, and Pingora's proxy serves what the lean lane
    /// cannot: requests for `https` backends. `pingora`: Pingora's proxy serves everything. Use it for comparison and
    /// as a fallback: when a response looks wrong, check whether it looks wrong with `pingora` too. It costs more CPU
    /// time per request and more memory per connection.
    pub(crate) lanes: Lanes,
    /// The zone of this balancer. Backends with the same `zone` are preferred, because they are nearer and often
    /// cheaper. Other backends receive requests when those are unusable. Default: no zone.
    pub(crate) zone: Option<String>,
    /// Tables from one value to another, by name: `{map.NAME}` is the value for the request.
    pub(crate) maps: Named<Map>,
    /// Other files of this configuration: names or patterns such as `conf.d/*.yaml`, relative to the folder of this file. A
    /// pattern can match no file. Matching files are read in the order of their names; a file can include others. Lists
    /// (`listeners`, `routes`) are joined: the routes of this file come first. `upstreams` can be spread over files. Every
    /// other key can be given in one file only. Default: none.
    pub(crate) include: Vec<String>,
}

/// What evenkeel sends to backends about the client. The spelling of field names can change on the way; they are
/// case-insensitive (RFC 9110, 5.1).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "forwarding")]
pub(crate) struct Forwarding {
    /// Whether to send `Forwarded` (RFC 7239) too. Turn it on for backends that read it instead of `X-Forwarded-*`.
    pub(crate) forwarded: bool,
    /// The pseudonym of this proxy in `Via` (RFC 9110, 7.6.3), added to requests and responses. Default: no `Via`. Use
    /// it if proxies could form a loop.
    pub(crate) via: Option<String>,
}

/// Thresholds of memory and descriptors. From 95% of one on, idle connections close, and others close after their request. From 100%
/// on, new connections are also rejected: with 503 on a listener without TLS, else by closing them. Connections that are open are
/// served. It ends 5% below where it began.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "overload_protection")]
pub(crate) struct OverloadProtection {
    /// The memory of the process (its resident set), at least 1MiB. Set it below the limit of the container, which kills the
    /// process. Default: no threshold.
    pub(crate) max_memory: Option<Size>,
    /// The open files and sockets of the process, as a share of its limit (`ulimit -n`), such as 90%. Default: no threshold.
    pub(crate) max_descriptors: Option<Percent>,
}

/// How the balancer stops on SIGTERM.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "shutdown")]
pub(crate) struct Shutdown {
    /// How long new connections are still accepted, while `/readyz` already fails. Use the time that the load balancer
    /// in front needs to notice: in Kubernetes, about 5 s.
    pub(crate) pre_stop: Duration,
    /// How long requests can take to finish after that. Then they are cut, with a 503 if no response has begun. The process
    /// ends when the last request has finished. Keep it below the time after which the supervisor kills the process.
    pub(crate) drain_timeout: Duration,
}

/// The admin address.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "admin")]
pub(crate) struct Admin {
    /// The address to listen on: `ip:port`. Port 0 uses a free port.
    pub(crate) address: String,
    /// The bearer token that clients must send, at least 16 characters. Required if the address is not a loopback
    /// address, because anyone who can reach it can read everything and send commands. Preferably given as `${NAME}`.
    #[schemars(with = "Option<String>")]
    pub(crate) token: Option<Secret>,
    /// A file with that token. It is read for each request, so its content can change.
    pub(crate) token_file: Option<String>,
    /// A second bearer token, at least 16 characters, for clients that read only: monitoring, dashboards. It gets a 403 for
    /// every command, such as a reload or a drain. If there is no other token, no client can send commands.
    #[schemars(with = "Option<String>")]
    pub(crate) read_only_token: Option<Secret>,
    /// A file with the token for reading. It is read for each request, so its content can change.
    pub(crate) read_only_token_file: Option<String>,
    /// Host names that clients can use for the admin address, without a port: `lb1.internal`, `*.monitoring.svc`, or `*` for
    /// every name. A request whose `Host` is not an IP address, `localhost` or one of these names gets a 421. This stops web
    /// pages that point a name of their own at this address (DNS rebinding). Add a name if clients reach the address by it,
    /// for example a Prometheus target with a host name. `*` turns this protection off.
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
}

/// The access log.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values, or off")]
#[schemars(rename = "access_log")]
pub(crate) struct AccessLog {
    #[serde(skip)]
    pub(crate) off: bool,
    /// Where records are written: `stdout`, `stderr`, the path of a file, or a server of syslog (RFC 5424): `syslog+unix:/dev/log`,
    /// `syslog+udp://host:514` or `syslog+tcp://host:601`. Records are appended to the file. SIGUSR1 reopens it. Records that a
    /// server of syslog does not take are dropped and counted.
    pub(crate) to: String,
    /// What records for a server of syslog are marked with.
    pub(crate) syslog: Syslog,
    /// The format of a record: `json`, `combined` (the format of Apache and nginx), or a template with fields in
    /// braces, such as `{client} {method} {target} {status}`. The field `error` says why a request failed. In the
    /// `combined` format it is one more quoted text at the end of the line, and requests without an error do not have it.
    /// A template can contain `{header.NAME}` and `{response.header.NAME}` too.
    pub(crate) format: String,
    /// Headers of requests that records in `json` have, as the client sent them. Values of `Authorization`, `Cookie` and other
    /// headers with secrets are written as `(redacted)`.
    pub(crate) request_headers: Vec<String>,
    /// Headers of responses that records in `json` have, as the client receives them.
    pub(crate) response_headers: Vec<String>,
    /// The share of successful requests that are recorded. Requests that fail, and responses with status 500 and above, are
    /// always recorded.
    pub(crate) sample: Percent,
}

/// What records for a server of syslog are marked with.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "syslog")]
pub(crate) struct Syslog {
    /// The facility: `kern`, `user`, `mail`, `daemon`, `auth`, `syslog`, `lpr`, `news`, `uucp`, `cron`, `authpriv`, `ftp`, or `local0` to
    /// `local7`.
    pub(crate) facility: String,
    /// The name of the program in each record.
    pub(crate) tag: String,
}

/// A table from one value to another.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "map")]
pub(crate) struct Map {
    /// What is looked up, with placeholders (docs/placeholders.md): `{host}`, `{header.x-tenant}`.
    pub(crate) key: String,
    /// The values by key. They count before those of the file.
    #[serde(default)]
    pub(crate) values: Named<String>,
    /// A file with a key and its value on each line, with spaces between them. Lines that begin with `#` are comments. A relative path
    /// starts at the working directory. A reload reads it again.
    pub(crate) file: Option<String>,
    /// The value for a key that is not in the table.
    #[serde(default)]
    pub(crate) default: String,
    /// Whether upper and lower case of ASCII letters in keys are the same.
    #[serde(default)]
    pub(crate) ignore_case: bool,
}

/// Which data paths serve plain HTTP/1.1.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, rename = "lanes")]
pub(crate) enum Lanes {
    Auto,
    Pingora,
}

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
        let (to, format) = ("stdout".to_owned(), "json".to_owned());
        let (request_headers, response_headers, sample) = (Vec::new(), Vec::new(), Percent(1.0));
        Self { off: false, to, syslog: Syslog::default(), format, request_headers, response_headers, sample }
    }
}

// === impl Syslog ===

impl Default for Syslog {
    fn default() -> Self {
        Self { facility: "local0".to_owned(), tag: "evenkeel".to_owned() }
    }
}

impl Short for AccessLog {
    const EXPECTING: &'static str = "a map of keys and values, or off";

    fn from_text(text: &str) -> Result<Self, (String, Option<String>)> {
        off_or_map(text, "access_log: { to: VALUE }").map(|()| Self { off: true, ..Self::default() })
    }

    fn text_schema() -> Schema {
        json_schema!({ "enum": ["off", false] })
    }
}

/// Reads `off`, where nothing else stands for a map.
fn off_or_map(text: &str, example: &str) -> Result<(), (String, Option<String>)> {
    match text {
        // A tool that writes YAML 1.1 turns off into false.
        "off" | "false" => Ok(()),
        other => {
            let message = match other.contains(['/', '.']) {
                false => "is not known here: expected a map of keys and values, or off".to_owned(),
                true => format!(
                    "is not known here: expected off, or a map: write {}",
                    example.replace("VALUE", other)
                ),
            };
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
