//! Backends that are the balancer's own listeners: a request would go round until something breaks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use evenkeel_config::{BackendHost, ListenAddress, Model};

use super::plan::PlanError;
use super::resolve::is_localhost;

/// The addresses that the balancer listens on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OwnAddresses(Arc<[ListenAddress]>);

/// Every backend that is one of the model's own listeners, as far as the configuration tells: port 0 is none yet.
pub(super) fn loops(model: &Model) -> Vec<PlanError> {
    OwnAddresses::of(model).loops(model)
}

// === impl OwnAddresses ===

impl OwnAddresses {
    /// The addresses of a model's listeners: a port 0 is not known yet.
    pub(super) fn of(model: &Model) -> Self {
        Self::new(model.listeners.iter().map(|listener| listener.address.clone()))
    }

    /// The addresses that listeners have.
    pub(super) fn new(addresses: impl IntoIterator<Item = ListenAddress>) -> Self {
        Self(addresses.into_iter().collect())
    }

    /// Every backend of the model that is one of these. Of names, only that of this machine is known here.
    pub(super) fn loops(&self, model: &Model) -> Vec<PlanError> {
        let backends = model.upstreams.iter().flat_map(|upstream| {
            let backends = upstream.backends.iter().enumerate();
            backends.map(move |(index, backend)| (&upstream.name, index, &backend.url))
        });
        let looping = backends.filter_map(|(upstream, index, url)| {
            let listener = self.listener_of(&url.host)?.to_string();
            Some(PlanError::Loop { upstream: upstream.clone(), index, backend: url.text.clone(), listener })
        });
        looping.collect()
    }

    /// The listener that a connection to this backend would reach. Of names, only that of this machine is known here.
    pub(super) fn listener_of(&self, host: &BackendHost) -> Option<&ListenAddress> {
        match host {
            BackendHost::Ip(ip, port) => self.find((*ip, *port).into()),
            BackendHost::Unix(path) => {
                self.0.iter().find(|listener| matches!(listener, ListenAddress::Unix(own) if own == path))
            }
            BackendHost::Name(name, port) if is_localhost(name) => {
                self.find((Ipv4Addr::LOCALHOST, *port).into())
            }
            _ => None,
        }
    }

    /// The listener that a connection to this address would reach.
    pub(super) fn find(&self, to: SocketAddr) -> Option<&ListenAddress> {
        self.0.iter().find(|listener| matches!(listener, ListenAddress::Tcp(own) if reaches(to, *own)))
    }
}

fn reaches(to: SocketAddr, listener: SocketAddr) -> bool {
    if to.port() != listener.port() || to.port() == 0 {
        return false;
    }
    // To connect to no address in particular is to connect to this machine.
    let to = match to.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    match listener.ip() {
        IpAddr::V4(any) if any.is_unspecified() => to.is_ipv4() && is_local(to),
        // IPv6's takes IPv4 as well.
        IpAddr::V6(any) if any.is_unspecified() => is_local(to),
        ip => ip.to_canonical() == to,
    }
}

/// Whether an address is one of this machine: only such a one can be bound.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::reaches;

    #[test]
    fn what_reaches_a_listener_is_known_by_every_spelling() {
        let reaches = |to: &str, listener: &str| reaches(to.parse().unwrap(), listener.parse().unwrap());
        for (to, listener) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("127.0.0.1:80", "0.0.0.0:80"),
            ("127.0.0.2:80", "0.0.0.0:80"),
            ("127.0.0.1:80", "[::]:80"),
            ("[::1]:80", "[::]:80"),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
        ] {
            assert!(reaches(to, listener), "{to} {listener}");
        }
        for (to, listener) in [
            ("127.0.0.1:81", "127.0.0.1:80"),
            ("127.0.0.2:80", "127.0.0.1:80"),
            ("[::1]:80", "0.0.0.0:80"),
            ("192.0.2.1:80", "0.0.0.0:80"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            assert!(!reaches(to, listener), "{to} {listener}");
        }
    }
}
