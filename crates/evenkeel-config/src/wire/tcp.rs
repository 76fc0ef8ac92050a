//! `listeners[].protocol` and `listeners[].tcp`: connections that are carried as they are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model;
use crate::values::Duration;

/// What clients speak on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, rename = "protocol")]
pub(crate) enum Protocol {
    #[default]
    Http,
    Tcp,
}

/// Where a listener with `protocol: tcp` sends its connections.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "tcp")]
pub(crate) struct Tcp {
    /// The rules for connections that begin with TLS, which evenkeel does not decrypt: it reads the first message of the client
    /// and passes it on unchanged. The first matching rule applies. With `tls` on the listener, the name of its handshake counts.
    /// A connection that begins with something else matches no rule.
    pub(crate) routes: Vec<TcpRoute>,
    /// The upstream of connections that no rule takes. Default: without `routes`, the only upstream with TCP backends; with
    /// `routes`, such connections are closed.
    pub(crate) upstream: Option<String>,
    /// The longest time without a byte in either direction; then the connection is closed, recorded as `timeout=idle`. Keep it
    /// longer than the keep-alive interval of the clients. A longer time keeps the connections of clients that are gone.
    pub(crate) idle_timeout: Duration,
    /// The time from the accept to the end of a client's first message, if there are `routes` and no `tls`. After it, the connection
    /// goes to `upstream`; without `upstream`, it is closed, recorded as `timeout=client_hello`. A client that waits for the server to
    /// speak first waits for this long.
    pub(crate) client_hello_timeout: Duration,
}

/// A rule for connections that begin with TLS. All conditions must match. In a list, one entry must match.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "tcp_route")]
pub(crate) struct TcpRoute {
    /// The names that a client can ask for (SNI): `db.example.com`, `*.example.com` (every name below, but not `example.com`
    /// itself), or `*`. Default: any name, or none.
    #[serde(default)]
    pub(crate) server_names: Vec<String>,
    /// The protocols that a client can offer (ALPN), such as `h2`, `mqtt` or `postgresql`. Only without `tls` on the listener.
    /// Default: any protocol, or none.
    #[serde(default)]
    pub(crate) alpn: Vec<String>,
    /// The upstream of matching connections.
    pub(crate) upstream: String,
}

// === impl Protocol ===

impl From<Protocol> for model::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http => Self::Http,
            Protocol::Tcp => Self::Tcp,
        }
    }
}

// === impl Tcp ===

impl Default for Tcp {
    fn default() -> Self {
        let default = model::Tcp::default();
        Self {
            routes: Vec::new(),
            upstream: None,
            idle_timeout: Duration(default.idle_timeout),
            client_hello_timeout: Duration(default.client_hello_timeout),
        }
    }
}
