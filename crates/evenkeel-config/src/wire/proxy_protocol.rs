//! `listeners[].proxy_protocol`: whether connections begin with a PROXY header.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model;
use crate::values::Duration;

/// Whether connections begin with a PROXY header (PROXY protocol, version 1 or 2), which says who the client is. A load
/// balancer that forwards TCP sends one, since the client's address is lost otherwise. The header comes before TLS and HTTP. Its
/// address is the client address of the connection: in logs, for limits, and in `X-Forwarded-For`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "proxy_protocol")]
pub(crate) struct ProxyProtocol {
    /// Which connections begin with a header. `off`: none. `optional`: a connection from a trusted proxy can; a header from
    /// another address is rejected, and a connection without one is served as usual. `required`: every connection; one without a
    /// header, or from another address than a trusted proxy's, is closed. Use `optional` only while proxies change over.
    pub(crate) mode: ProxyProtocolMode,
    /// The proxies that may send a header: addresses, networks such as `10.0.0.0/8`, or `unix` for every client on a Unix
    /// socket. At least one with `optional` and `required`. List only proxies: the sender of a header can claim any client address.
    pub(crate) trusted: Vec<String>,
    /// The time from the accept to the end of the header. Then the connection is closed; with `optional`, a connection that has
    /// sent nothing goes on without a header.
    pub(crate) timeout: Duration,
}

/// Which connections begin with a PROXY header.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, rename = "proxy protocol mode")]
pub(crate) enum ProxyProtocolMode {
    Off,
    Optional,
    Required,
}

/// The version of the PROXY header that is sent to backends.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, rename = "proxy version")]
pub(crate) enum ProxyVersion {
    #[default]
    Off,
    V1,
    V2,
}

// === impl ProxyProtocol ===

impl Default for ProxyProtocol {
    fn default() -> Self {
        let default = model::ProxyProtocol::default();
        Self { mode: default.mode.into(), trusted: Vec::new(), timeout: Duration(default.timeout) }
    }
}

// === impl ProxyProtocolMode ===

impl From<model::ProxyProtocolMode> for ProxyProtocolMode {
    fn from(mode: model::ProxyProtocolMode) -> Self {
        match mode {
            model::ProxyProtocolMode::Off => Self::Off,
            model::ProxyProtocolMode::Optional => Self::Optional,
            model::ProxyProtocolMode::Required => Self::Required,
        }
    }
}

impl From<ProxyProtocolMode> for model::ProxyProtocolMode {
    fn from(mode: ProxyProtocolMode) -> Self {
        match mode {
            ProxyProtocolMode::Off => Self::Off,
            ProxyProtocolMode::Optional => Self::Optional,
            ProxyProtocolMode::Required => Self::Required,
        }
    }
}

// === impl ProxyVersion ===

impl From<ProxyVersion> for Option<model::ProxyVersion> {
    fn from(version: ProxyVersion) -> Self {
        match version {
            ProxyVersion::Off => None,
            ProxyVersion::V1 => Some(model::ProxyVersion::V1),
            ProxyVersion::V2 => Some(model::ProxyVersion::V2),
        }
    }
}

impl From<Option<model::ProxyVersion>> for ProxyVersion {
    fn from(version: Option<model::ProxyVersion>) -> Self {
        match version {
            None => Self::Off,
            Some(model::ProxyVersion::V1) => Self::V1,
            Some(model::ProxyVersion::V2) => Self::V2,
        }
    }
}
