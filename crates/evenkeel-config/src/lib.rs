//! What a user wrote, and what it means: YAML or the builder in, a model that cannot be wrong out.
//!
//! This crate knows neither tokio nor Pingora, opens no socket, and does not read the environment: the caller passes a
//! lookup for it. The wire types are private; [`Config`] is public, with the [`Model`] in it.
//!
//! ```
//! use evenkeel_config::Config;
//!
//! let text = "
//! listeners: [{ address: 127.0.0.1:8080 }]
//! upstreams:
//!   web: { backends: ['http://127.0.0.1:8081', 'http://127.0.0.1:8082'] }
//! ";
//! let config = Config::from_yaml(text, "evenkeel.yaml", &|_| None)?;
//! assert_eq!(config.model().map(|model| model.upstreams.len()), Ok(1));
//! # Ok::<(), evenkeel_config::ConfigError>(())
//! ```

mod backend_list;
mod builder;
mod changes;
mod config;
mod error;
mod extension_value;
mod foreign;
mod format;
mod include;
pub mod model;
mod params;
mod placeholders;
mod resolve;
pub mod schema;
mod stamp;
mod suggest;
mod values;
mod wire;
mod yaml;

pub use backend_list::backend_list;
pub use builder::{
    BackendBuilder, ConfigBuilder, DiscoveryBuilder, HealthCheckBuilder, ListenerBuilder, RateLimit,
    RetryBuilder, RouteBuilder, TcpBuilder, Tls, UpstreamBuilder,
};
pub use changes::{Change, ChangeKind, Changes, Subject};
pub use config::{Config, key_path};
pub use error::{ConfigError, Diagnostic, Location};
pub use extension_value::{CustomExtension, ExtensionValue};
pub use foreign::{Foreign, Strictness, own_text};
pub use format::{Format, FormatError, FormatPart};
pub use model::{
    AccessLog, Action, Admin, Backend, BackendHost, BackendUrl, CertificateFiles, CipherSuite, ClientAuth,
    ConsulSource, Discovery, DiscoverySource, DnsSource, FileSource, Forwarding, Health, HealthCheck,
    HealthCheckKind, Hedge, HedgeAfter, Http2, HttpCheck, HttpLimits, HttpSource, HttpUrl, KeyExchangeGroup,
    Lanes, ListenAddress, Listener, ListenerTls, LogFormat, LogHeaders, LogTarget, Model, OverloadProtection,
    PathForm, Paths, Pool, Protocol, ProxyProtocol, ProxyProtocolMode, ProxyVersion, Redirect, Respond,
    Retry, RetryOn, Route, RouteTimeouts, Scheme, Shutdown, SpoofedHeaders, Sticky, SyslogTarget,
    SyslogTransport, Tcp, TcpCheck, TcpExpect, TcpRoute, Timeouts, TlsVersion, Token, UnixSocket, Upstream,
    UpstreamLimits, UpstreamTls,
};
pub use params::{FilterSpec, ParamError, Params};
pub use placeholders::{TemplateFault, plain_key, template};
pub use stamp::FileStamp;
pub use values::{ByteRate as ByteRateText, RequestRate, parse_duration, parse_rate};
