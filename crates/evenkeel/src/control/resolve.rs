//! The addresses of backends that are configured by name.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::BackendHost;
use evenkeel_core::backend::Address;

use super::loops::OwnAddresses;
use crate::dial::Names;
use crate::discovery::addresses;
use crate::upstream::Endpoint;

/// How long a name may take when the balancer starts, which must not take long.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How often a name that cannot be resolved is looked up.
const EVERY: Duration = Duration::from_secs(5);
/// How long after the start names are looked up again: only then it is known for how long their addresses hold.
const SOON: Duration = Duration::from_secs(1);

/// Where a backend is. A name is resolved when the balancer starts; from then on its addresses are followed.
pub(super) async fn resolve(host: &BackendHost, own: &OwnAddresses) -> (Address, Option<Arc<Names>>) {
    let (address, names) = unresolved(host);
    if let (Address::Name(name, port), Some(names)) = (&address, &names) {
        let found = lookup(name, *port, own).await;
        names.replace(found.map(|(addresses, _)| addresses).unwrap_or_default());
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

/// Follows the addresses of a backend's name until the backend is removed. The name is looked up again when its addresses are no
/// longer known to be right, and until there are some. `at_once` unless that has just failed.
pub(super) async fn follow(upstream: Arc<str>, endpoint: Arc<Endpoint>, own: OwnAddresses, at_once: bool) {
    let Address::Name(name, port) = endpoint.backend.address() else { return };
    let Some(names) = endpoint.dialer.names() else { return };
    let mut failing = names.first().is_none() && !at_once;
    if failing {
        log::warn!("upstream {upstream}: cannot resolve {name}: trying again every {EVERY:?}");
    }
    let mut pause = match names.first() {
        Some(_) => SOON,
        None if at_once => Duration::ZERO,
        None => EVERY,
    };
    loop {
        tokio::time::sleep(pause).await;
        if endpoint.connections.is_closed() {
            return;
        }
        let is_first = names.first().is_none();
        match lookup(name, *port, &own).await {
            Ok((found, hold)) => {
                let list = listed(&found);
                if names.replace(found) {
                    log::info!("upstream {upstream}: {name} has the addresses: {list}");
                }
                if is_first {
                    endpoint.backend.counters().reach().succeeded();
                }
                // The address of this machine does not change.
                if is_localhost(name) {
                    return;
                }
                (failing, pause) = (false, hold);
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    let kept = if is_first { "" } else { ", keeping its addresses" };
                    log::warn!(
                        "upstream {upstream}: cannot resolve {name}: {error}{kept}: trying again every {EVERY:?}"
                    );
                }
                pause = EVERY;
            }
        }
    }
}

/// At least one address, IPv4 first, and none at which the balancer itself listens; and for how long they hold.
async fn lookup(name: &str, port: u16, own: &OwnAddresses) -> io::Result<(Vec<IpAddr>, Duration)> {
    let found = tokio::time::timeout(PATIENCE, addresses(name)).await;
    let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let (mut addresses, hold) = match found {
        Ok(found) => found,
        Err(error) if !is_localhost(name) => return Err(error),
        Err(_) => (Vec::new(), Duration::ZERO),
    };
    if is_localhost(name) {
        // RFC 6761, 6.3: it is the loopback address of each family, whatever a file says.
        addresses.extend([IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)]);
    }
    addresses.sort_unstable_by_key(|ip| (ip.is_ipv6(), *ip));
    addresses.dedup();
    addresses.retain(|ip| own.find(SocketAddr::new(*ip, port)).is_none());
    if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok((addresses, hold)) }
}

/// Whether a name is that of this machine alone.
pub(super) fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

fn listed(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
