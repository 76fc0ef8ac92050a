//! `discovery`: where an upstream's backends come from besides the file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ExtensionValue;
use crate::model;
use crate::values::{Duration, Secret};

/// Where backends come from, in addition to `backends`: exactly one of `file`, `dns`, `http`, `consul` and `custom`. A source
/// that fails leaves its last backends in use. Backends that stay keep their counters and their health. Requests to backends
/// that are removed complete.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "discovery")]
pub(crate) struct Discovery {
    /// Reads a file with a list of backends.
    pub(crate) file: Option<FileSource>,
    /// Looks up a name in the DNS.
    pub(crate) dns: Option<DnsSource>,
    /// Requests a list of backends from an HTTP server.
    pub(crate) http: Option<HttpSource>,
    /// Follows a service in Consul.
    pub(crate) consul: Option<ConsulSource>,
    /// Uses the source that the program registered under this name.
    pub(crate) custom: Option<String>,
    /// A source that the builder was given as a value.
    #[serde(skip)]
    pub(crate) value: Option<ExtensionValue>,
    /// How backends are reached that the source reports as `host:port`. `tcp` is for listeners with `protocol: tcp`. For `https`, set `tls.server_name` too: the
    /// certificates of backends rarely contain addresses.
    pub(crate) scheme: Scheme,
    /// Whether the upstream accepts that the source reports no backends. Otherwise the last backends stay in use, because an
    /// empty list is more often a fault of the source than the truth.
    pub(crate) allow_empty: bool,
    /// The shortest time between two changes. A single change is in force at once. Raise it if a source changes all the time
    /// and the algorithm has much to prepare, as `maglev` and `consistent_hash` with many backends do.
    pub(crate) debounce: Duration,
    /// How long a start waits for the first backends from the source. `/readyz` fails until then. After that time the balancer
    /// starts without them. A reload that adds the upstream waits as long.
    pub(crate) start_timeout: Duration,
}

/// How backends are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, rename = "scheme")]
pub(crate) enum Scheme {
    #[default]
    Http,
    Https,
    Tcp,
}

/// A file with a list of backends, in YAML or JSON: URLs and maps as in `backends`, or target groups as in the `file_sd` of
/// Prometheus. A changed file is in use within a second. Replace the file as a whole (write another one and rename it).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "file_source")]
pub(crate) struct FileSource {
    /// The path. A relative path starts at the working directory.
    pub(crate) path: String,
}

/// A name in the DNS. It is looked up again when the shortest TTL of its records has passed. `backends` with host names do not
/// need this.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "dns_source")]
pub(crate) struct DnsSource {
    /// The name. The search domains of the system apply, unless it ends with a dot or `servers` is set.
    pub(crate) name: String,
    /// The port of the backends. With it, each A and AAAA record is a backend. Default: none; each SRV record is a backend,
    /// with its own port and weight. A higher SRV priority is a higher `priority`.
    #[schemars(range(min = 1))]
    pub(crate) port: Option<u16>,
    /// The DNS servers: `ip:port`, or `ip` for port 53. Default: the servers in `/etc/resolv.conf`.
    #[serde(default)]
    pub(crate) servers: Vec<String>,
    /// Whether queries use only TCP. Otherwise they use UDP, and TCP if a response does not fit.
    #[serde(default)]
    pub(crate) tcp: bool,
    /// How long to wait for the response of a server.
    #[serde(default = "DnsSource::timeout")]
    pub(crate) timeout: Duration,
    /// The shortest time between two lookups, if the TTL is shorter.
    #[serde(default = "DnsSource::min_ttl")]
    pub(crate) min_ttl: Duration,
    /// The longest time between two lookups, if the TTL is longer.
    #[serde(default = "DnsSource::max_ttl")]
    pub(crate) max_ttl: Duration,
}

/// An HTTP server that returns a list of backends in one of the formats of `file`: the `http_sd` of Prometheus, for example.
/// An `ETag` in the response is sent back as `If-None-Match`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "http_source")]
pub(crate) struct HttpSource {
    /// The URL of the list: `http://host:port/path`. Redirects are not followed.
    pub(crate) url: String,
    /// The time between two requests.
    #[serde(default = "HttpSource::interval")]
    pub(crate) interval: Duration,
    /// How long a request can take.
    #[serde(default = "HttpSource::timeout")]
    pub(crate) timeout: Duration,
    /// The bearer token for the server, preferably as `${NAME}`.
    #[schemars(with = "Option<String>")]
    pub(crate) token: Option<Secret>,
    /// A file with the bearer token. It is read for each request, so its content can change.
    pub(crate) token_file: Option<String>,
}

/// A service in the catalog of a Consul agent. Changes are in use at once (blocking queries). The weights of the service
/// apply. `zone` and `priority` in its metadata have the same meaning as for `backends`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "consul_source")]
pub(crate) struct ConsulSource {
    /// The name of the service.
    pub(crate) service: String,
    /// The URL of the agent.
    #[serde(default = "ConsulSource::url")]
    pub(crate) url: String,
    /// Tags that an instance must have, all of them. Default: none.
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    /// The datacenter. Default: that of the agent.
    pub(crate) datacenter: Option<String>,
    /// Whether instances with a check in the state `warning` are left out. Instances with a check in the state `critical` are
    /// always left out.
    #[serde(default = "ConsulSource::passing_only")]
    pub(crate) passing_only: bool,
    /// The ACL token, preferably as `${NAME}`.
    #[schemars(with = "Option<String>")]
    pub(crate) token: Option<Secret>,
    /// A file with the ACL token. It is read for each request, so its content can change.
    pub(crate) token_file: Option<String>,
}

// === impl Scheme ===

impl From<Scheme> for model::Scheme {
    fn from(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Http => Self::Http,
            Scheme::Https => Self::Https,
            Scheme::Tcp => Self::Tcp,
        }
    }
}

// === impl Discovery ===

impl Discovery {
    /// The kinds of sources.
    pub(crate) const KINDS: [&str; 5] = ["file", "dns", "http", "consul", "custom"];
}

impl Default for Discovery {
    fn default() -> Self {
        let model = model::Discovery::new(model::DiscoverySource::Custom(crate::CustomExtension::Named(
            String::new(),
        )));
        Self {
            file: None,
            dns: None,
            http: None,
            consul: None,
            custom: None,
            value: None,
            scheme: Scheme::default(),
            allow_empty: model.allow_empty,
            debounce: Duration(model.debounce),
            start_timeout: Duration(model.start_timeout),
        }
    }
}

// === impl DnsSource ===

impl DnsSource {
    /// With the defaults for everything else.
    pub(crate) fn of(name: String, port: Option<u16>) -> Self {
        let (timeout, min_ttl, max_ttl) = (Self::timeout(), Self::min_ttl(), Self::max_ttl());
        Self { name, port, servers: Vec::new(), tcp: false, timeout, min_ttl, max_ttl }
    }

    fn timeout() -> Duration {
        Duration(model::DnsSource::new("", None).timeout)
    }

    fn min_ttl() -> Duration {
        Duration(model::DnsSource::new("", None).min_ttl)
    }

    fn max_ttl() -> Duration {
        Duration(model::DnsSource::new("", None).max_ttl)
    }
}

// === impl HttpSource ===

impl HttpSource {
    /// With the defaults for everything else.
    pub(crate) fn of(url: String) -> Self {
        Self { url, interval: Self::interval(), timeout: Self::timeout(), token: None, token_file: None }
    }

    fn interval() -> Duration {
        Duration(model::HttpSource::INTERVAL)
    }

    fn timeout() -> Duration {
        Duration(model::HttpSource::TIMEOUT)
    }
}

// === impl ConsulSource ===

impl ConsulSource {
    /// With the defaults for everything else.
    pub(crate) fn of(service: String) -> Self {
        Self {
            service,
            url: Self::url(),
            tags: Vec::new(),
            datacenter: None,
            passing_only: Self::passing_only(),
            token: None,
            token_file: None,
        }
    }

    fn url() -> String {
        model::ConsulSource::AGENT.to_owned()
    }

    fn passing_only() -> bool {
        true
    }
}
