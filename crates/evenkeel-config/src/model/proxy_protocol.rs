//! The PROXY protocol on listeners.

use std::time::Duration;

use ipnet::IpNet;

/// Whether connections of a listener begin with a PROXY header, and who may send one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ProxyProtocol {
    /// Which connections begin with a header. Default [`ProxyProtocolMode::Off`].
    pub mode: ProxyProtocolMode,
    /// The networks of the proxies that may send a header. At least one, or Unix sockets, if the mode is not off.
    pub trusted: Vec<IpNet>,
    /// Whether clients on a Unix socket may send a header.
    pub trusts_unix: bool,
    /// From the accept to the end of the header; then the connection is closed. Default 5 s.
    pub timeout: Duration,
}

/// Which connections begin with a PROXY header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyProtocolMode {
    /// None.
    #[default]
    Off,
    /// Those of trusted proxies can. A header of anyone else is rejected.
    Optional,
    /// All. A connection without one, or of anyone but a trusted proxy, is rejected.
    Required,
}

/// The version of a PROXY header that is sent to backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyVersion {
    /// Version 1, as text.
    V1,
    /// Version 2, in binary form.
    V2,
}

// === impl ProxyProtocol ===

impl ProxyProtocol {
    /// How long a header may take.
    pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
}

impl Default for ProxyProtocol {
    fn default() -> Self {
        Self { mode: ProxyProtocolMode::Off, trusted: Vec::new(), trusts_unix: false, timeout: Self::TIMEOUT }
    }
}
