//! `listeners`: where connections are accepted, and the limits for clients.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ListenerTls, Protocol, ProxyProtocol, Step, Tcp};
use crate::model;
use crate::values::{ByteRate, Duration, FileMode, HttpsRedirect, RequestRate, Size, SizeLimit};

/// A local address that accepts connections.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "listener")]
pub(crate) struct Listener {
    /// Its name, for `listeners` in routes and for `{listener}`. Each name can be used once.
    pub(crate) name: Option<String>,
    /// The address to listen on: `ip:port`, `[ipv6]:port`, or `unix:/path`. `0.0.0.0` is every IPv4 address of the
    /// machine, `[::]` every address. Port 0 uses a free port; the log shows which.
    pub(crate) address: String,
    /// The most open connections on this listener. Further connections are closed on arrival. Each connection costs
    /// memory and a file descriptor.
    #[serde(default = "max_connections")]
    #[schemars(range(min = 1))]
    pub(crate) max_connections: usize,
    /// The most open connections from one client address (for IPv6: from one /64 network). Trusted proxies are exempt.
    /// Raise it if many clients share an address.
    #[serde(default = "max_connections_per_client")]
    #[schemars(range(min = 1))]
    pub(crate) max_connections_per_client: usize,
    /// Whether connections begin with a PROXY header, which says who the client is.
    #[serde(default)]
    pub(crate) proxy_protocol: ProxyProtocol,
    /// How often one client address (for IPv6: one /64 network) can open a connection: `20/s`. Further connections are closed on
    /// arrival. As many as in one period can come at once. Trusted proxies are exempt. Default: no limit.
    pub(crate) max_connection_rate_per_client: Option<RequestRate>,
    /// How this listener speaks TLS. Default: not at all, it speaks plain HTTP.
    pub(crate) tls: Option<ListenerTls>,
    /// The mode and the owner of the socket of a `unix:` address. A process that may write to the socket can connect.
    #[serde(default)]
    pub(crate) unix_socket: UnixSocket,
    /// What clients speak. `http`: HTTP, which `routes` apply to. `tcp`: anything over TCP, such as PostgreSQL, Redis or MQTT: bytes
    /// are carried as they are, and `tcp` says where to (docs/tcp.md).
    #[serde(default)]
    pub(crate) protocol: Protocol,
    /// The HTTP limits of this listener.
    #[serde(default)]
    pub(crate) http: Http,
    /// The filters for all requests on this listener, in order, before the filters of their routes. A rate limit here counts
    /// the requests of all routes together. A request that no route matches passes no filter.
    #[serde(default)]
    pub(crate) filters: Vec<Step>,
    /// Where the connections of a listener with `protocol: tcp` go.
    pub(crate) tcp: Option<Tcp>,
}

/// The mode and the owner of a Unix socket. They are set before the first client can connect. A change needs a restart.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "unix_socket")]
pub(crate) struct UnixSocket {
    /// The mode of the socket in octal digits. A client needs the permission to write. Default: all permissions except those in
    /// the umask of the process.
    pub(crate) mode: Option<FileMode>,
    /// The user that owns the socket: a name, or a number. Another user than evenkeel's own needs `CAP_CHOWN`.
    /// Default: the user of the process.
    pub(crate) user: Option<String>,
    /// The group of the socket: a name, or a number. A group that the user of the process does not belong to needs `CAP_CHOWN`.
    /// Default: the group of the process.
    pub(crate) group: Option<String>,
}

/// The HTTP limits of a listener: how much time and memory a client can use.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "http")]
pub(crate) struct Http {
    /// The time from a request's first byte (on a new connection: from the accept) to the end of its head; then the
    /// client receives 408. It stops clients that send very slowly.
    pub(crate) header_timeout: Duration,
    /// How long a connection waits for its next request before it is closed. A longer time saves clients a handshake
    /// and costs the memory of idle connections.
    pub(crate) idle_timeout: Duration,
    /// The longest pause within a request body; then the client receives 408.
    pub(crate) body_timeout: Duration,
    /// The longest time in which a client reads no byte of its response; then the connection is closed.
    /// Bytes that leave the system's send buffer count as read.
    pub(crate) send_timeout: Duration,
    /// The lowest rate at which a client may send a request's body, or `off` for none; then the client receives 408, recorded as
    /// `timeout=body`. It is an average over `body_timeout`; only the time in which evenkeel waits for the client counts. Set
    /// it, for example to `1KiB/s`, if slow clients use too many connections. It also cuts honest clients on very slow lines.
    pub(crate) min_body_rate: ByteRate,
    /// The lowest rate at which a client may read a response, or `off` for none; then the connection is closed, recorded as
    /// `timeout=send`. It is an average over `send_timeout`; only the time in which evenkeel waits for the client counts. Each
    /// client that reads slowly holds a connection to a backend and up to 96 KiB of memory, or 700 KiB in Pingora's lane
    /// (docs/memory.md has the arithmetic). The default closes only connections of clients that hardly read at all. Raise it, for
    /// example to `1KiB/s`, where many clients read slowly. A high rate also closes the connections of honest clients on very slow
    /// lines.
    pub(crate) min_send_rate: ByteRate,
    /// The largest request head, 1KiB to 512KiB; above it the client receives 431. A connection uses up to this much
    /// memory while it reads a head.
    pub(crate) max_header_size: Size,
    /// The most header fields in a request, 1 to 250; above it the client receives 431.
    #[schemars(range(min = 1, max = 250))]
    pub(crate) max_header_fields: usize,
    /// The largest request body, or `off` for no limit; above it the client receives 413. Bodies are streamed: a large
    /// body costs time, not memory.
    pub(crate) max_body_size: SizeLimit,
    /// Whether to redirect every request to HTTPS with 308: `true`, or the port of HTTPS if it is not 443. For a listener in
    /// front of the same hosts without TLS.
    pub(crate) https_redirect: HttpsRedirect,
    /// How long browsers use only HTTPS for a host after a response over TLS, like `365d`: the field `Strict-Transport-Security`
    /// (RFC 6797) in every response over TLS that does not have it. Default: no such field. Browsers remember it: begin with a
    /// short time.
    pub(crate) hsts: Option<Duration>,
    /// Which form of a request's path routes and filters see. `normal`: all spellings of the same path become one: `%61`
    /// becomes `a`, `/x/../admin` and `//admin` become `/admin`. `%2F` stays encoded: it is not a slash. A path with a `%`
    /// without two hexadecimal digits after it, or with a `..` after an empty segment, is rejected with 400, because servers do
    /// not agree on its meaning. `as_sent`: the path byte for byte, for backends that need the exact spelling, such as those
    /// with signed URLs. Then a client can bypass a route that blocks a path by another spelling of the path. `%00` is
    /// rejected with 400 in any case. `normal` reads each byte of the path once, and costs more only if the path changes.
    pub(crate) path_matching: PathForm,
    /// Which form of a request's path backends get, unless a filter of the route changes the path. A filter always changes the
    /// path that it sees. `as_sent`: as the client sent it, which signatures over the URL need. `normal`: as routes see it, for
    /// backends that read a path in another way than this balancer does; needs `path_matching: normal`.
    pub(crate) forward_path: PathForm,
    /// Whether clients can speak HTTP/2 without TLS, by beginning with its preface ("prior knowledge"). For gRPC clients and
    /// proxies inside a network; browsers do not use it. HTTP/1 on the same listener is not delayed.
    pub(crate) h2c: bool,
    /// What happens to a header like `X_Forwarded_For`, which CGI, PHP and similar servers take for `X-Forwarded-For`. `drop`
    /// removes it; `reject` responds with 400. This applies to the headers in docs/headers.md. Others with an underscore
    /// pass.
    pub(crate) spoofed_headers: SpoofedHeaders,
}

/// What happens to a header that could pass for another one.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, rename = "spoofed headers")]
pub(crate) enum SpoofedHeaders {
    Drop,
    Reject,
}

/// A form of a path.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, rename = "path form")]
pub(crate) enum PathForm {
    Normal,
    AsSent,
}

// === impl Listener ===

impl Listener {
    /// A listener with the defaults.
    pub(crate) fn new(address: String) -> Self {
        Self {
            name: None,
            address,
            max_connections: max_connections(),
            max_connections_per_client: max_connections_per_client(),
            proxy_protocol: ProxyProtocol::default(),
            max_connection_rate_per_client: None,
            tls: None,
            unix_socket: UnixSocket::default(),
            protocol: Protocol::default(),
            http: Http::default(),
            filters: Vec::new(),
            tcp: None,
        }
    }
}

fn max_connections() -> usize {
    model::Listener::MAX_CONNECTIONS
}

fn max_connections_per_client() -> usize {
    model::Listener::MAX_CONNECTIONS_PER_CLIENT
}

// === impl Http ===

impl Default for Http {
    fn default() -> Self {
        let default = model::HttpLimits::default();
        Self {
            header_timeout: Duration(default.header_timeout),
            idle_timeout: Duration(default.idle_timeout),
            body_timeout: Duration(default.body_timeout),
            send_timeout: Duration(default.send_timeout),
            min_body_rate: ByteRate(default.min_body_rate),
            min_send_rate: ByteRate(default.min_send_rate),
            max_header_size: Size(default.max_header_size as u64),
            max_header_fields: default.max_header_fields,
            max_body_size: SizeLimit(default.max_body_size),
            https_redirect: HttpsRedirect(default.https_redirect),
            hsts: default.hsts.map(Duration),
            path_matching: default.paths.matching.into(),
            forward_path: default.paths.forward.into(),
            h2c: default.h2c,
            spoofed_headers: default.spoofed_headers.into(),
        }
    }
}

// === impl PathForm ===

impl From<model::PathForm> for PathForm {
    fn from(form: model::PathForm) -> Self {
        match form {
            model::PathForm::Normal => Self::Normal,
            model::PathForm::AsSent => Self::AsSent,
        }
    }
}

impl From<PathForm> for model::PathForm {
    fn from(form: PathForm) -> Self {
        match form {
            PathForm::Normal => Self::Normal,
            PathForm::AsSent => Self::AsSent,
        }
    }
}

// === impl SpoofedHeaders ===

impl From<model::SpoofedHeaders> for SpoofedHeaders {
    fn from(done: model::SpoofedHeaders) -> Self {
        match done {
            model::SpoofedHeaders::Drop => Self::Drop,
            model::SpoofedHeaders::Reject => Self::Reject,
        }
    }
}

impl From<SpoofedHeaders> for model::SpoofedHeaders {
    fn from(done: SpoofedHeaders) -> Self {
        match done {
            SpoofedHeaders::Drop => Self::Drop,
            SpoofedHeaders::Reject => Self::Reject,
        }
    }
}
