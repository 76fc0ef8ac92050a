//! The addresses of one host's name, with the time for which they hold.
//!
//! Here a name is one backend, whatever number of addresses it has. A name whose addresses are backends of their own is a source:
//! `dns.rs`.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// How long addresses hold that come without a TTL: those of the system's own resolver.
const HOLD: Duration = Duration::from_secs(30);

/// The addresses of a host, and how long they hold. The DNS comes first, because it reports a TTL. If it has none, the system's own
/// resolver is used: it knows names from other places too.
///
/// # Errors
/// When neither knows an address.
pub(crate) async fn addresses(name: &str) -> io::Result<(Vec<IpAddr>, Duration)> {
    if let Some(found) = from_dns(name).await {
        return Ok(found);
    }
    let found = tokio::net::lookup_host((name, 0)).await?;
    Ok((found.map(|address| address.ip()).collect(), HOLD))
}

#[cfg(feature = "discovery-dns")]
async fn from_dns(name: &str) -> Option<(Vec<IpAddr>, Duration)> {
    let source = evenkeel_config::DnsSource::new(name, None);
    let found = super::resolver::Resolver::new(&source).ok()?.addresses(name).await;
    let ttl = found.ttl().clamp(source.min_ttl, source.max_ttl);
    let found = found.into_result().ok()?;
    (!found.is_empty()).then_some((found, ttl))
}

#[cfg(not(feature = "discovery-dns"))]
async fn from_dns(_: &str) -> Option<(Vec<IpAddr>, Duration)> {
    None
}
