//! The addresses of backends that are configured by name.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::BackendHost;
use evenkeel_core::backend::Address;

use super::loops::OwnAddresses;
use crate::dial::Names;
use crate::upstream::Endpoint;

/// How long a name may take when the balancer starts, which must not take long.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How often a name without an address is looked up.
const EVERY: Duration = Duration::from_secs(5);

/// Where a backend is. A name is resolved when the balancer starts; one that has no address then is looked up until it has one.
pub(super) async fn resolve(host: &BackendHost, own: &OwnAddresses) -> (Address, Option<Arc<Names>>) {
    let (address, names) = unresolved(host);
    if let (Address::Name(name, port), Some(names)) = (&address, &names) {
        names.resolved(lookup(name, *port, own).await.unwrap_or_default());
    }
    (address, names)
}

/// The same without waiting: a name has no address yet.
pub(super) fn unresolved(host: &BackendHost) -> (Address, Option<Arc<Names>>) {
    match host {
        BackendHost::Ip(ip, port) => (Address::Tcp((*ip, *port).into()), None),
        BackendHost::Unix(path) => (Address::Unix(path.clone()), None),
        BackendHost::Name(name, port) => {
            let names = Arc::new(Names::new(name.as_str(), Vec::new()));
            (Address::Name(name.as_str().into(), *port), Some(names))
        }
        // The configuration has no other kind.
        _ => (Address::Unix("/nowhere".into()), None),
    }
}

/// Looks up the name of a backend that has no address, until it has one or the backend is removed. `at_once` unless that has just
/// failed.
pub(super) async fn until_found(
    upstream: Arc<str>,
    endpoint: Arc<Endpoint>,
    own: OwnAddresses,
    at_once: bool,
) {
    let Address::Name(name, port) = endpoint.backend.address() else { return };
    let Some(names) = endpoint.dialer.names() else { return };
    let mut found = if at_once { lookup(name, *port, &own).await.ok() } else { None };
    if found.is_none() {
        log::warn!("upstream {upstream}: cannot resolve {name}: trying again every {EVERY:?}");
    }
    while !endpoint.connections.is_closed() {
        if let Some(found) = found {
            log::info!("upstream {upstream}: {name} has an address: {}", listed(&found));
            names.resolved(found);
            endpoint.backend.counters().reach().succeeded();
            return;
        }
        tokio::time::sleep(EVERY).await;
        found = lookup(name, *port, &own).await.ok();
    }
}

/// At least one address, IPv4 first, and none at which the balancer itself listens.
async fn lookup(name: &str, port: u16, own: &OwnAddresses) -> io::Result<Vec<IpAddr>> {
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name, port))).await;
    let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let mut addresses: Vec<IpAddr> = match found {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(error) if !is_localhost(name) => return Err(error),
        Err(_) => Vec::new(),
    };
    if is_localhost(name) {
        // RFC 6761, 6.3: it is the loopback address of each family, whatever a file says.
        addresses.extend([IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)]);
    }
    addresses.sort_by_key(|ip| ip.is_ipv6());
    addresses.dedup();
    addresses.retain(|ip| own.find(SocketAddr::new(*ip, port)).is_none());
    if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) }
}

/// Whether a name is that of this machine alone.
pub(super) fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

fn listed(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
