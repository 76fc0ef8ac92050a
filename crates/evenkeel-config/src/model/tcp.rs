//! Connections that are carried as they are.

use std::time::Duration;

use evenkeel_core::route::HostPattern;

/// What is spoken on the connections of a listener, or with a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP. The default.
    #[default]
    Http,
    /// Anything over TCP: bytes are carried as they are.
    Tcp,
}

/// Where a listener with `protocol: tcp` sends its connections.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Tcp {
    /// The rules for connections that begin with TLS; the first that matches applies. Default none.
    pub routes: Vec<TcpRoute>,
    /// Where connections go that no rule takes (index into [`Model::upstreams`](super::Model::upstreams)). `None`: they are
    /// closed.
    pub upstream: Option<usize>,
    /// Longest time without a byte in either direction; then the connection is closed. Default 1 h.
    pub idle_timeout: Duration,
    /// From the accept to the whole first message of TLS, if there are `routes`. Default 5 s.
    pub client_hello_timeout: Duration,
}

/// A rule for connections that begin with TLS.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TcpRoute {
    /// The names that clients ask for (SNI), at least one of which matches. Empty: any, or none.
    pub server_names: Vec<HostPattern>,
    /// The protocols within TLS that clients offer (ALPN), at least one of which is offered. Empty: any, or none.
    pub alpn: Vec<String>,
    /// Where matching connections go: index into [`Model::upstreams`](super::Model::upstreams).
    pub upstream: usize,
}

// === impl Tcp ===

impl Default for Tcp {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            upstream: None,
            idle_timeout: Duration::from_secs(3600),
            client_hello_timeout: Duration::from_secs(5),
        }
    }
}

impl Tcp {
    /// The upstreams that connections can go to, each by its index.
    pub fn upstreams(&self) -> impl Iterator<Item = usize> {
        self.routes.iter().map(|route| route.upstream).chain(self.upstream)
    }
}
