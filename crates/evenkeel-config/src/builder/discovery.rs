//! A source of backends from code.

use std::time::Duration;

use crate::ExtensionValue;
use crate::values::{self, Secret};
use crate::wire::{ConsulSource, Discovery, DnsSource, FileSource, HttpSource, Scheme};

/// Builds a source of backends.
///
/// ```
/// use evenkeel_config::{DiscoveryBuilder, UpstreamBuilder};
///
/// let upstream = UpstreamBuilder::new("api").discovery(DiscoveryBuilder::dns("api.internal", 8080));
/// let upstream = UpstreamBuilder::new("web").discovery(DiscoveryBuilder::file("web.yaml").allow_empty(true));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct DiscoveryBuilder {
    pub(super) wire: Discovery,
}

// === impl DiscoveryBuilder ===

impl DiscoveryBuilder {
    /// A file with a list of backends, in YAML or JSON; see [`backend_list`](crate::backend_list).
    pub fn file(path: impl Into<String>) -> Self {
        Self { wire: Discovery { file: Some(FileSource { path: path.into() }), ..Discovery::default() } }
    }

    /// The A and AAAA records of a name: each is a backend with this port.
    pub fn dns(name: impl Into<String>, port: u16) -> Self {
        Self::of_dns(DnsSource::of(name.into(), Some(port)))
    }

    /// The SRV records of a name: each is a backend with its own port, weight and priority.
    pub fn dns_srv(name: impl Into<String>) -> Self {
        Self::of_dns(DnsSource::of(name.into(), None))
    }

    /// A list of backends that an HTTP server returns, requested every 5 s; see [`backend_list`](crate::backend_list).
    pub fn http(url: impl Into<String>) -> Self {
        Self { wire: Discovery { http: Some(HttpSource::of(url.into())), ..Discovery::default() } }
    }

    /// A service in the catalog of the Consul agent at `http://127.0.0.1:8500`.
    pub fn consul(service: impl Into<String>) -> Self {
        Self { wire: Discovery { consul: Some(ConsulSource::of(service.into())), ..Discovery::default() } }
    }

    /// The source that the program registers under this name.
    pub fn custom(name: impl Into<String>) -> Self {
        Self { wire: Discovery { custom: Some(name.into()), ..Discovery::default() } }
    }

    /// A source that is a value, in the form that the library expects. Programs use `value` of the crate `evenkeel`.
    pub fn opaque(value: ExtensionValue) -> Self {
        Self { wire: Discovery { value: Some(value), ..Discovery::default() } }
    }

    fn of_dns(source: DnsSource) -> Self {
        Self { wire: Discovery { dns: Some(source), ..Discovery::default() } }
    }

    /// Whether backends that the source reports as `host:port` are reached over TLS. Default no.
    pub fn tls(mut self, tls: bool) -> Self {
        self.wire.scheme = if tls { Scheme::Https } else { Scheme::Http };
        self
    }

    /// Whether backends that the source reports as `host:port` are TCP backends, for listeners with `protocol: tcp`. Default no.
    pub fn tcp_backends(mut self) -> Self {
        self.wire.scheme = Scheme::Tcp;
        self
    }

    /// Whether a set without backends is accepted. Default no: the last set stays in use.
    pub fn allow_empty(mut self, allow: bool) -> Self {
        self.wire.allow_empty = allow;
        self
    }

    /// The shortest time between two changes. Default 100 ms.
    pub fn debounce(mut self, time: Duration) -> Self {
        self.wire.debounce = values::Duration(time);
        self
    }

    /// How long a start waits for the first backends. Default 5 s.
    pub fn start_timeout(mut self, time: Duration) -> Self {
        self.wire.start_timeout = values::Duration(time);
        self
    }

    /// A DNS server to send queries to, as `ip:port`; several are tried. Default: those of the system. Only for
    /// [`dns`](Self::dns) and [`dns_srv`](Self::dns_srv).
    pub fn server(mut self, server: impl Into<String>) -> Self {
        if let Some(dns) = &mut self.wire.dns {
            dns.servers.push(server.into());
        }
        self
    }

    /// The bounds of the time between two lookups in the DNS. Default 1 s and 60 s.
    pub fn ttl(mut self, min: Duration, max: Duration) -> Self {
        if let Some(dns) = &mut self.wire.dns {
            (dns.min_ttl, dns.max_ttl) = (values::Duration(min), values::Duration(max));
        }
        self
    }

    /// Whether queries of [`dns`](Self::dns) and [`dns_srv`](Self::dns_srv) use only TCP. Default no.
    pub fn tcp(mut self, tcp: bool) -> Self {
        if let Some(dns) = &mut self.wire.dns {
            dns.tcp = tcp;
        }
        self
    }

    /// How long to wait for a DNS server (default 2 s), or for the response of [`http`](Self::http) (default 5 s).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        if let Some(dns) = &mut self.wire.dns {
            dns.timeout = values::Duration(timeout);
        }
        if let Some(http) = &mut self.wire.http {
            http.timeout = values::Duration(timeout);
        }
        self
    }

    /// The time between two requests of [`http`](Self::http). Default 5 s.
    pub fn interval(mut self, interval: Duration) -> Self {
        if let Some(http) = &mut self.wire.http {
            http.interval = values::Duration(interval);
        }
        self
    }

    /// The URL of the agent of [`consul`](Self::consul).
    pub fn agent(mut self, url: impl Into<String>) -> Self {
        if let Some(consul) = &mut self.wire.consul {
            consul.url = url.into();
        }
        self
    }

    /// A tag that instances of [`consul`](Self::consul) must have; several are all required.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        if let Some(consul) = &mut self.wire.consul {
            consul.tags.push(tag.into());
        }
        self
    }

    /// The datacenter of [`consul`](Self::consul). Default that of the agent.
    pub fn datacenter(mut self, datacenter: impl Into<String>) -> Self {
        if let Some(consul) = &mut self.wire.consul {
            consul.datacenter = Some(datacenter.into());
        }
        self
    }

    /// Whether instances of [`consul`](Self::consul) with a check in the state `warning` are left out. Default yes.
    pub fn passing_only(mut self, passing: bool) -> Self {
        if let Some(consul) = &mut self.wire.consul {
            consul.passing_only = passing;
        }
        self
    }

    /// The token of [`http`](Self::http) or [`consul`](Self::consul).
    pub fn token(mut self, token: impl Into<String>) -> Self {
        let token = Some(Secret(token.into()));
        if let Some(http) = &mut self.wire.http {
            http.token.clone_from(&token);
        }
        if let Some(consul) = &mut self.wire.consul {
            consul.token = token;
        }
        self
    }

    /// The file with the token of [`http`](Self::http) or [`consul`](Self::consul); it is read for each request.
    pub fn token_file(mut self, path: impl Into<String>) -> Self {
        let path = Some(path.into());
        if let Some(http) = &mut self.wire.http {
            http.token_file.clone_from(&path);
        }
        if let Some(consul) = &mut self.wire.consul {
            consul.token_file = path;
        }
        self
    }
}
