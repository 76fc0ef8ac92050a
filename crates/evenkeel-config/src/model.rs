//! What the configuration means: every value checked, every default filled in, every name resolved to an index.
//!
//! Only this crate makes these values, so no code needs to check them again.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::balance::LoadBalancingAlgorithm;
use evenkeel_core::limit::Rate;
use evenkeel_core::route::RouteMatch;

use evenkeel_http::message::{Map, Template};

use crate::FilterSpec;

mod admin;
mod discovery;
mod files;
mod log;
mod paths;
mod proxy_protocol;
mod resilience;
mod tcp;
mod timeouts;
mod tls;

pub use admin::Admin;
pub use discovery::{
    ConsulSource, Discovery, DiscoverySource, DnsSource, FileSource, HttpSource, HttpUrl, Scheme, Token,
};
pub use log::{AccessLog, LogFormat, LogHeaders, LogTarget, SyslogTarget, SyslogTransport};
pub use paths::{PathForm, Paths};
pub use proxy_protocol::{ProxyProtocol, ProxyProtocolMode, ProxyVersion};
pub use resilience::{
    Health, HealthCheck, HealthCheckKind, Hedge, HedgeAfter, HttpCheck, Retry, RetryOn, Sticky, TcpCheck,
    TcpExpect, UpstreamLimits,
};
pub use tcp::{Protocol, Tcp, TcpRoute};
pub use timeouts::{RouteTimeouts, Timeouts};
pub use tls::{CertificateFiles, CipherSuite, ClientAuth, KeyExchangeGroup, ListenerTls, TlsVersion};

/// The whole configuration of a balancer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Model {
    /// Where connections are accepted; at least one.
    pub listeners: Vec<Listener>,
    /// Where requests go; the first that matches wins. A file with one upstream and no routes has one route, named
    /// `default`, that matches everything.
    pub routes: Vec<Route>,
    /// The filters that routes and listeners share, each with its name. Default none.
    pub filters: Vec<FilterSpec>,
    /// The groups of backends, by index.
    pub upstreams: Vec<Upstream>,
    /// The clients whose `X-Forwarded-*` and `Forwarded` are trusted. Default none.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Whether those of peers on Unix sockets are trusted. Default no.
    pub trusts_unix: bool,
    /// What is sent to backends about the client, in addition to `X-Forwarded-*` and `X-Request-Id`.
    pub forwarding: Forwarding,
    /// From which use of memory and descriptors on load is shed. Default from none.
    pub overload_protection: OverloadProtection,
    /// How the balancer ends.
    pub shutdown: Shutdown,
    /// The admin address, if there is one.
    pub admin: Option<Admin>,
    /// The access log, if there is one.
    pub access_log: Option<AccessLog>,
    /// How many threads serve connections; `None` for one a core.
    pub workers: Option<NonZeroUsize>,
    /// Which data paths may serve.
    pub lanes: Lanes,
    /// Where this balancer is: backends of this zone are preferred. Default nowhere.
    pub zone: Option<String>,
    /// Tables from one value to another.
    pub maps: Vec<Arc<Map>>,
}

/// A local address that accepts connections.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Listener {
    /// What routes and placeholders call it; unique. Default none.
    pub name: Option<String>,
    /// Where to listen.
    pub address: ListenAddress,
    /// Connections open at once; more are closed as they arrive. Default 50,000.
    pub max_connections: usize,
    /// Connections open at once from one client address (an IPv6 client is its /64); trusted proxies are exempt.
    /// Default 500.
    pub max_connections_per_client: usize,
    /// Whether its connections begin with a PROXY header. Default no.
    pub proxy_protocol: ProxyProtocol,
    /// How often one client address (an IPv6 client is its /64) can open a connection; trusted proxies are exempt. `None` for
    /// no limit. Default `None`.
    pub max_connection_rate_per_client: Option<Rate>,
    /// How it speaks TLS. Default not.
    pub tls: Option<ListenerTls>,
    /// The mode and the owner of its socket, if that is a Unix socket.
    pub unix_socket: UnixSocket,
    /// The limits of HTTP on this listener.
    pub http: HttpLimits,
    /// The filters of all requests on this listener, before those of their routes. Default none.
    pub filters: Vec<FilterSpec>,
    /// Where its connections go if they are carried as they are (`protocol: tcp`). `None`: it speaks HTTP. Default `None`.
    pub tcp: Option<Tcp>,
}

/// The mode and the owner of a Unix socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixSocket {
    /// Its mode, at most 0o777. Default: 0o777 without the umask of the process.
    pub mode: Option<u32>,
    /// The user that owns it, by name or number. Default: the user of the process.
    pub user: Option<String>,
    /// Its group, by name or number. Default: the group of the process.
    pub group: Option<String>,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ListenAddress {
    /// An IP address and port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// What a client may take of us.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HttpLimits {
    /// From a request's first byte (on a new connection: from the accept) to the end of its head; then 408. Default 10 s.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request. Default 60 s.
    pub idle_timeout: Duration,
    /// Longest silence within a request's body; then 408. Default 30 s.
    pub body_timeout: Duration,
    /// Longest time in which a client reads no byte of its response; then the connection is closed. Default 60 s.
    pub send_timeout: Duration,
    /// Lowest rate at which a client may send a request's body, in bytes a second, averaged over `body_timeout`; then 408.
    /// `None` for none. Default `None`.
    pub min_body_rate: Option<u64>,
    /// Lowest rate at which a client may read a response, in bytes a second, averaged over `send_timeout`; then the connection
    /// is cut. `None` for none. Default 100 bytes a second.
    pub min_send_rate: Option<u64>,
    /// Largest request head, in bytes; then 431. Default 32 KiB.
    pub max_header_size: usize,
    /// Most header fields in a request; then 431. Default 100.
    pub max_header_fields: usize,
    /// Largest request body, in bytes; then 413. `None` for no limit. Default 256 MiB.
    pub max_body_size: Option<u64>,
    /// The port of HTTPS to which every request is redirected. `None` for no redirect. Default `None`.
    pub https_redirect: Option<u16>,
    /// For how long clients that came over TLS are to use nothing else for this host. `None` to say nothing. Default `None`.
    pub hsts: Option<Duration>,
    /// In which form paths are matched and forwarded.
    pub paths: Paths,
    /// Whether clients can speak HTTP/2 without TLS. Default no.
    pub h2c: bool,
    /// What happens to headers that could pass for others: `X_Forwarded_For` for `X-Forwarded-For`. Default they are dropped.
    pub spoofed_headers: SpoofedHeaders,
}

/// What happens to a header whose name has an underscore, if CGI-style servers could take it for a header that only the
/// balancer or a trusted proxy may set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpoofedHeaders {
    /// It is dropped.
    #[default]
    Drop,
    /// The request is rejected with 400.
    Reject,
}

/// A rule that matches requests and says where they go.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Route {
    /// What logs and metrics call it; unique.
    pub name: String,
    /// What it matches.
    pub matches: RouteMatch,
    /// The steps on the request's path, in order.
    pub filters: Vec<FilterSpec>,
    /// Where the request goes.
    pub action: Action,
    /// From the end of the request head to the response head, over all attempts; then 504. `None`: only the upstream's
    /// timeouts apply. Default `None`.
    pub timeout: Option<Duration>,
    /// How long backends may take, where that differs from what the upstream says.
    pub timeouts: RouteTimeouts,
    /// Largest request body, in bytes, instead of what the listener says; `Some(None)` for no limit. Default `None`.
    pub max_body_size: Option<Option<u64>>,
    /// When a request is tried again, instead of what its upstream says.
    pub retry: Option<Retry>,
    /// Whether the access log says how the backend was chosen. Default no.
    pub explain: bool,
}

/// Where a route sends a request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// To this upstream (index into [`Model::upstreams`]).
    Upstream(usize),
    /// To one of these upstreams, by weight; at least one weight is not zero.
    Split(Vec<(usize, u32)>),
    /// Back to the client, with another location.
    Redirect(Redirect),
    /// A response of the balancer itself.
    Respond(Respond),
}

/// A redirect.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Redirect {
    /// The new location, with placeholders. Only `{host}` and `{authority}` are in its host, if any are.
    pub to: Template,
    /// 301, 302, 303, 307 or 308. Default 302.
    pub status: u16,
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Respond {
    /// Its status, 200 to 599. Default 200.
    pub status: u16,
    /// Its body. Default empty.
    pub body: Template,
    /// Its fields: (lower-case name, value). `content-type: text/plain; charset=utf-8` by default, except for statuses
    /// without a body.
    pub headers: Vec<(String, Template)>,
}

/// A named group of backends, and how to choose among them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Upstream {
    /// What routes, logs and metrics call it; unique.
    pub name: String,
    /// How a backend is chosen.
    pub algorithm: LoadBalancingAlgorithm,
    /// The backends; at least one unless there is `discovery`, no URL twice, at least one weight not zero.
    pub backends: Vec<Backend>,
    /// Where more backends come from. Default nowhere.
    pub discovery: Option<Discovery>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// When a request is tried again; a route may say otherwise.
    pub retry: Retry,
    /// Second attempts if the first is slow. Default none.
    pub hedge: Option<Hedge>,
    /// Which backends may be chosen.
    pub health: Health,
    /// How much it takes.
    pub limits: UpstreamLimits,
    /// Whether requests of one client stay with one backend. Default not.
    pub sticky: Option<Sticky>,
    /// Whether its backends are spoken to in HTTP/2. Default [`Http2::Never`].
    pub http2: Http2,
    /// Idle connections kept open to backends.
    pub pool: Pool,
    /// How `https` backends are verified.
    pub tls: UpstreamTls,
    /// The PROXY header with which each connection to a backend begins. Default none.
    pub proxy_protocol: Option<ProxyVersion>,
}

/// Whether backends are spoken to in HTTP/2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Http2 {
    /// Always HTTP/1.1.
    #[default]
    Never,
    /// HTTP/2 with `https` backends that offer it, otherwise HTTP/1.1.
    Auto,
    /// HTTP/2 with every backend.
    Always,
}

/// One backend of an upstream, as configured.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Backend {
    /// Its URL.
    pub url: BackendUrl,
    /// Its share relative to its peers', 0 to 65,535; 0 takes it out. Default 1.
    pub weight: u32,
    /// Backends of a higher number get requests only while all of lower numbers are out; a `backup: true` is 1. Default 0.
    pub priority: u8,
    /// Where it is, to prefer those nearby. Default nowhere.
    pub zone: Option<String>,
    /// What its source says about it besides that, for `/status`. Default nothing.
    pub metadata: BTreeMap<String, String>,
}

/// Where a backend is: `http://host:port`, `https://host:port`, `http+unix:/path`, `tcp://host:port`, `tcp+unix:/path`. Without a
/// path, query or user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct BackendUrl {
    /// The URL as written: the backend's name in logs and metrics.
    pub text: String,
    /// What is spoken with it.
    pub protocol: Protocol,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// The host.
    pub host: BackendHost,
}

/// The host of a backend, and its port (for HTTP 80 or 443 if not written).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendHost {
    /// An address.
    Ip(IpAddr, u16),
    /// A name, resolved when the balancer starts, or as soon as that succeeds.
    Name(String, u16),
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// Idle connections kept open to an upstream's backends.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Pool {
    /// How long an idle connection is kept; keep it below the backends' own limit. Default 30 s.
    pub idle_timeout: Duration,
    /// Most idle connections that each worker keeps for each backend in the lean lane; 0 keeps none. The newest are used
    /// first. Default 128.
    pub max_idle: usize,
}

/// How `https` backends are verified.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct UpstreamTls {
    /// The name that the certificate must contain, and the SNI. Default: the host of the URL.
    pub server_name: Option<String>,
    /// A PEM file of authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Accept whatever certificate is shown. Anyone on the path can read and change the traffic.
    pub danger_accept_invalid_certificates: bool,
}

/// What is sent to backends about the client, in addition to `X-Forwarded-For`, `-Proto`, `-Host` and `X-Request-Id`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Forwarding {
    /// Add `Forwarded` (RFC 7239). Default no.
    pub forwarded: bool,
    /// Add `Via` with this pseudonym (RFC 9110, 7.6.3) to requests and responses. Default none.
    pub via: Option<String>,
}

/// From which use of memory and descriptors on load is shed: idle connections close, then new connections are rejected.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct OverloadProtection {
    /// Memory of the process, in bytes. `None` for no threshold.
    pub max_memory: Option<u64>,
    /// Open files and sockets, as a share of the process's limit. `None` for no threshold.
    pub max_descriptors: Option<f64>,
}

/// How the balancer ends.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Shutdown {
    /// How long new connections are still accepted after SIGTERM, while `/readyz` already says no. Default 0 s.
    pub pre_stop: Duration,
    /// How long requests may take to end after that. Default 30 s.
    pub drain_timeout: Duration,
}

/// Which data paths may serve plain HTTP/1.1. All else is always Pingora's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lanes {
    /// The lean lane takes plain HTTP/1.1, and hands over to Pingora's proxy whatever else comes. The default.
    #[default]
    Auto,
    /// Pingora's proxy carries everything, at more CPU time and memory for each request and connection: to compare the
    /// two, and as a way back.
    Pingora,
}

/// The fields that a template of the access log may name, each in braces.
pub const ACCESS_LOG_FIELDS: &[&str] = &[
    "time",
    "request_id",
    "client",
    "method",
    "host",
    "target",
    "protocol",
    "stream",
    "status",
    "route",
    "upstream",
    "backend",
    "attempts",
    "duration_ms",
    "first_byte_ms",
    "bytes_in",
    "bytes_out",
    "user_agent",
    "referer",
    "end",
    "error",
    "lane",
    "tls_version",
    "tls_cipher",
    "tls_server_name",
    "tls_resumed",
    "tls_client_subject",
    "tls_client_fingerprint",
    "explain",
];

/// Names of placeholders that stand for fields of the access log which have another name.
pub const ACCESS_LOG_PLACEHOLDERS: &[(&str, &str)] =
    &[("client_ip", "client"), ("tls.sni", "tls_server_name"), ("tls.version", "tls_version")];

// === impl Listener ===

impl Listener {
    /// The default of [`Listener::max_connections`].
    pub const MAX_CONNECTIONS: usize = 50_000;
    /// The default of [`Listener::max_connections_per_client`].
    pub const MAX_CONNECTIONS_PER_CLIENT: usize = 500;
}

// === impl ListenAddress ===

impl ListenAddress {
    /// The port; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

// === impl HttpLimits ===

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_secs(60),
            min_body_rate: None,
            min_send_rate: Some(100),
            max_header_size: 32 << 10,
            max_header_fields: 100,
            max_body_size: Some(256 << 20),
            https_redirect: None,
            hsts: None,
            paths: Paths::default(),
            h2c: false,
            spoofed_headers: SpoofedHeaders::default(),
        }
    }
}

// === impl Route ===

impl Route {
    /// The route that a configuration without routes has: everything goes to its upstream.
    pub(crate) fn default_to(upstream: usize) -> Self {
        Self {
            name: "default".to_owned(),
            matches: RouteMatch::default(),
            filters: Vec::new(),
            action: Action::Upstream(upstream),
            timeout: None,
            timeouts: RouteTimeouts::default(),
            max_body_size: None,
            retry: None,
            explain: false,
        }
    }
}

// === impl Redirect ===

impl Redirect {
    /// The default of [`Redirect::status`].
    pub const STATUS: u16 = 302;
}

// === impl Respond ===

impl Respond {
    /// The default of [`Respond::status`].
    pub const STATUS: u16 = 200;
}

// === impl Backend ===

impl Backend {
    /// A backend at this URL, with the defaults for everything else.
    pub fn new(url: BackendUrl) -> Self {
        Self { url, weight: 1, priority: 0, zone: None, metadata: BTreeMap::new() }
    }
}

// === impl BackendUrl ===

impl BackendUrl {
    /// Reads a URL: `http://host:port`, `https://host:port`, `http+unix:/path`, `tcp://host:port` or `tcp+unix:/path`.
    ///
    /// # Errors
    /// What is wrong with it and what was expected, to follow the URL itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        crate::resolve::backend_url(text)
    }

    /// The URL of an address that speaks HTTP.
    pub fn of(address: SocketAddr, tls: bool) -> Self {
        Self::with(address, if tls { Scheme::Https } else { Scheme::Http })
    }

    /// The URL of an address that is reached in this way.
    pub fn with(address: SocketAddr, scheme: Scheme) -> Self {
        let (protocol, tls) = (scheme.protocol(), scheme == Scheme::Https);
        let host = BackendHost::Ip(address.ip(), address.port());
        Self { text: format!("{}://{address}", scheme.as_str()), protocol, tls, host }
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === impl Upstream ===

impl Upstream {
    /// What is spoken with its backends: a source and the configuration say the same.
    pub fn protocol(&self) -> Protocol {
        match &self.discovery {
            Some(discovery) => discovery.scheme.protocol(),
            None => self.backends.first().map_or(Protocol::Http, |backend| backend.url.protocol),
        }
    }
}

// === impl Pool ===

impl Default for Pool {
    fn default() -> Self {
        Self { idle_timeout: Duration::from_secs(30), max_idle: 128 }
    }
}

// === impl Shutdown ===

impl Default for Shutdown {
    fn default() -> Self {
        Self { pre_stop: Duration::ZERO, drain_timeout: Duration::from_secs(30) }
    }
}
