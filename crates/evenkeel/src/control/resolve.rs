//! The addresses of backends that are configured by name.

use std::io;
use std::time::Duration;

use evenkeel_config::BackendHost;
use evenkeel_core::backend::Address;

/// How long a name may take: a start that fails must say so soon.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Where a backend is. A name is resolved once, when the balancer starts; of several addresses the first IPv4 one is
/// taken, else the first.
pub(super) async fn resolve(host: &BackendHost) -> io::Result<Address> {
    match host {
        BackendHost::Ip(ip, port) => Ok(Address::Tcp((*ip, *port).into())),
        BackendHost::Unix(path) => Ok(Address::Unix(path.clone())),
        BackendHost::Name(name, port) => {
            let lookup = tokio::net::lookup_host((name.as_str(), *port));
            let found = tokio::time::timeout(PATIENCE, lookup).await.map_err(|_| io::ErrorKind::TimedOut)?;
            let found: Vec<_> = found?.collect();
            let first = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
            first.copied().map(Address::Tcp).ok_or_else(|| io::ErrorKind::NotFound.into())
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}
