//! Where an upstream's backends come from besides the configuration.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Protocol;
use crate::CustomExtension;

/// A source of backends, and how its sets are handled.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Discovery {
    /// The source.
    pub source: DiscoverySource,
    /// How backends are reached that the source reports as `host:port`. Default `http`.
    pub scheme: Scheme,
    /// Whether a set without backends is accepted. Default no: the last set stays in use.
    pub allow_empty: bool,
    /// The least time between two sets that are put in force. Default 100 ms.
    pub debounce: Duration,
    /// How long a start waits for the first set. Default 5 s.
    pub start_timeout: Duration,
}

/// How a backend is reached that is known as `host:port`: the scheme of its URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// HTTP.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
    /// Anything over TCP, for listeners with `protocol: tcp`.
    Tcp,
}

/// A source of backends.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DiscoverySource {
    /// A file.
    File(FileSource),
    /// The DNS.
    Dns(DnsSource),
    /// An HTTP server.
    Http(HttpSource),
    /// A Consul agent.
    Consul(ConsulSource),
    /// A source of the program's own.
    Custom(CustomExtension),
}

/// A file with a list of backends; see [`backend_list`](crate::backend_list).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSource {
    /// Its path.
    pub path: PathBuf,
}

/// Records of a name in the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnsSource {
    /// The name. Without a dot at its end, the search domains of the system apply.
    pub name: String,
    /// The port of backends, for A and AAAA records. `None`: SRV records, which contain their ports.
    pub port: Option<u16>,
    /// The servers to send queries to. Default: those of the system.
    pub servers: Vec<SocketAddr>,
    /// Whether queries use only TCP. Default: UDP, and TCP for responses that do not fit.
    pub tcp: bool,
    /// How long to wait for a response from a server. Default 2 s.
    pub timeout: Duration,
    /// The shortest time between two queries, whatever the TTL is. Default 1 s.
    pub min_ttl: Duration,
    /// The longest time between two queries, whatever the TTL is. Default 60 s.
    pub max_ttl: Duration,
}

/// A server that returns a list of backends; see [`backend_list`](crate::backend_list).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpSource {
    /// The URL of the list.
    pub url: HttpUrl,
    /// The time between two requests. Default 5 s.
    pub interval: Duration,
    /// How long a request can take. Default 5 s.
    pub timeout: Duration,
    /// What identifies the balancer. Default nothing.
    pub token: Option<Token>,
}

/// A service in the catalog of a Consul agent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsulSource {
    /// The agent. Default `http://127.0.0.1:8500`.
    pub url: HttpUrl,
    /// The service.
    pub service: String,
    /// Tags that instances must have. Default none.
    pub tags: Vec<String>,
    /// The datacenter. Default that of the agent.
    pub datacenter: Option<String>,
    /// Whether instances with a check in the state `warning` are left out. Those with one in the state `critical` always are.
    /// Default yes.
    pub passing_only: bool,
    /// The ACL token. Default none.
    pub token: Option<Token>,
}

/// A URL with a path, for requests of the balancer itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpUrl {
    /// The URL as written.
    pub text: String,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// The host: a name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path with the query, at least `/`.
    pub path: String,
}

/// A secret, or the file that contains it. `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Token {
    /// The secret itself.
    Value(String),
    /// A file, read for each request: its content can change.
    File(PathBuf),
}

// === impl Scheme ===

impl Scheme {
    /// As URLs begin.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
        }
    }

    /// What is spoken with such a backend.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Http | Self::Https => Protocol::Http,
            Self::Tcp => Protocol::Tcp,
        }
    }
}

// === impl Discovery ===

impl Discovery {
    /// A source with the defaults for everything else.
    pub fn new(source: DiscoverySource) -> Self {
        Self {
            source,
            scheme: Scheme::Http,
            allow_empty: false,
            debounce: Duration::from_millis(100),
            start_timeout: Duration::from_secs(5),
        }
    }
}

// === impl FileSource ===

impl FileSource {
    /// A file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

// === impl DnsSource ===

impl DnsSource {
    /// A name, with the defaults for everything else.
    pub fn new(name: impl Into<String>, port: Option<u16>) -> Self {
        Self {
            name: name.into(),
            port,
            servers: Vec::new(),
            tcp: false,
            timeout: Duration::from_secs(2),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(60),
        }
    }
}

// === impl HttpSource ===

impl HttpSource {
    /// The default of `interval`.
    pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
    /// The default of `timeout`.
    pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

    /// A URL, with the defaults for everything else.
    pub fn new(url: HttpUrl) -> Self {
        Self { url, interval: Self::INTERVAL, timeout: Self::TIMEOUT, token: None }
    }
}

// === impl ConsulSource ===

impl ConsulSource {
    /// The default of `url`.
    pub(crate) const AGENT: &str = "http://127.0.0.1:8500";

    /// A service of the agent at this URL, with the defaults for everything else.
    pub fn new(url: HttpUrl, service: impl Into<String>) -> Self {
        Self {
            url,
            service: service.into(),
            tags: Vec::new(),
            datacenter: None,
            passing_only: true,
            token: None,
        }
    }
}

// === impl HttpUrl ===

impl HttpUrl {
    /// Reads a URL: `http://host:port/path` or `https://host:port/path`, without a user.
    ///
    /// # Errors
    /// What is wrong with it and what was expected, to follow the URL itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (before, path) = match text.split_once("://").and_then(|(_, rest)| rest.find(['/', '?', '#'])) {
            Some(at) => text.split_at(text.find("://").unwrap_or(0) + 3 + at),
            None => (text, "/"),
        };
        if path.contains(|c: char| c.is_ascii_control() || c == ' ' || c == '#') || !path.is_ascii() {
            return Err("has characters in its path that no URL can have".to_owned());
        }
        let origin = super::BackendUrl::parse(before)?;
        let (host, port) = match origin.host {
            super::BackendHost::Ip(ip, port) => (ip.to_string(), port),
            super::BackendHost::Name(name, port) => (name, port),
            super::BackendHost::Unix(_) => {
                return Err("is a Unix socket: expected http://host:port/path".to_owned());
            }
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { text: text.to_owned(), tls: origin.tls, host, port, path })
    }

    /// The host as HTTP writes it: with the port unless that is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === impl Token ===

impl Token {
    /// The secret, without the spaces and line breaks around the content of its file. Blocks while it reads the file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self) -> io::Result<String> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::File(path) => Ok(fs::read_to_string(path)?.trim().to_owned()),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HttpUrl, Token};

    #[test]
    fn urls_with_a_path() {
        for (text, authority, path) in [
            ("http://127.0.0.1:8500", "127.0.0.1:8500", "/"),
            ("https://sd.internal/v1/web?zone=a", "sd.internal", "/v1/web?zone=a"),
            ("http://[::1]:80?x", "[::1]", "/?x"),
        ] {
            let url = HttpUrl::parse(text).unwrap();
            assert_eq!((url.authority().as_str(), url.path.as_str()), (authority, path), "{text}");
        }
        for text in [
            "sd.internal/x",
            "ftp://a/",
            "http://u:p@a/",
            "http+unix:/run/x",
            "http://a/ b",
            "http://a/#b",
            "",
        ] {
            assert!(HttpUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        assert!(!format!("{:?}", Token::Value("hidden".to_owned())).contains("hidden"));
    }
}
