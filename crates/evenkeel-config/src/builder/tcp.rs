//! Connections that are carried as they are, from code.

use std::time::Duration;

use crate::values;
use crate::wire;

/// Says where a listener sends connections that are carried as they are: see [`ListenerBuilder::tcp`](super::ListenerBuilder::tcp).
///
/// ```
/// use evenkeel_config::{ConfigBuilder, ListenerBuilder, TcpBuilder, UpstreamBuilder};
///
/// let tcp = TcpBuilder::new().server_name("db.example.com", "db").upstream("other");
/// let config = ConfigBuilder::new()
///     .listener(ListenerBuilder::new("127.0.0.1:5432").tcp(tcp))
///     .upstream(UpstreamBuilder::new("db").backend("tcp://10.0.0.1:5432"))
///     .upstream(UpstreamBuilder::new("other").backend("tcp://10.0.0.2:5432"))
///     .try_build()?;
/// # Ok::<(), evenkeel_config::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct TcpBuilder {
    pub(super) wire: wire::Tcp,
}

// === impl TcpBuilder ===

impl TcpBuilder {
    /// To the only upstream with TCP backends.
    pub fn new() -> Self {
        Self::default()
    }

    /// To this upstream, if no rule takes the connection.
    pub fn upstream(mut self, name: impl Into<String>) -> Self {
        self.wire.upstream = Some(name.into());
        self
    }

    /// Adds a rule: connections whose client asks for this name (SNI) go to this upstream. The name can be `*.example.com`.
    pub fn server_name(self, name: impl Into<String>, upstream: impl Into<String>) -> Self {
        self.route([name], [""; 0], upstream)
    }

    /// Adds a rule: connections whose client asks for one of these names (SNI), and offers one of these protocols (ALPN), go to
    /// this upstream. An empty list matches every one.
    pub fn route(
        mut self,
        server_names: impl IntoIterator<Item = impl Into<String>>,
        alpn: impl IntoIterator<Item = impl Into<String>>,
        upstream: impl Into<String>,
    ) -> Self {
        self.wire.routes.push(wire::TcpRoute {
            server_names: server_names.into_iter().map(Into::into).collect(),
            alpn: alpn.into_iter().map(Into::into).collect(),
            upstream: upstream.into(),
        });
        self
    }

    /// The longest time without a byte in either direction. Default 1 h.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.wire.idle_timeout = values::Duration(timeout);
        self
    }

    /// From the accept to the end of a client's first message, if there are rules. Default 5 s.
    pub fn client_hello_timeout(mut self, timeout: Duration) -> Self {
        self.wire.client_hello_timeout = values::Duration(timeout);
        self
    }
}
