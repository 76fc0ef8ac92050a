//! The backends that records of the DNS name: A and AAAA with a configured port, or SRV with their own ports, priorities and
//! weights.
//!
//! The records are looked up again when the shortest TTL among them has passed. What a query returns counts for its kind of
//! record only: while the query for AAAA fails, the addresses that the last one returned stay.
//!
//! Source: RFC 2782 (SRV). A priority becomes a level: the lowest one is level 0. A weight of 0 becomes 1, since that means
//! "no choice to make" there, and "no requests" here.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use evenkeel_config::{Backend, BackendUrl, DnsSource, Scheme};
use tokio::time::{Instant, sleep_until};

use super::resolver::{Addresses, Failure, Resolver, Service};
use super::{BackendSet, Discovery, DiscoveryError};

/// The backends that records of the DNS name.
#[derive(Debug)]
pub struct Dns {
    source: DnsSource,
    scheme: Scheme,
    /// Made when it is needed; dropped after an error, because the configuration of the system can have changed.
    resolver: Option<Resolver>,
    /// The addresses of each host that were found last.
    known: BTreeMap<String, Addresses>,
    /// When the next lookup is due; at once at the start and after an error.
    due: Option<Instant>,
}

/// How long to wait before a name without records is looked up again, if `min_ttl` is not longer.
const NOTHING: Duration = Duration::from_secs(1);

// === impl Dns ===

impl Dns {
    /// The name that the configuration gives; `scheme` says how its backends are reached.
    pub fn new(source: &DnsSource, scheme: Scheme) -> Self {
        Self { source: source.clone(), scheme, resolver: None, known: BTreeMap::new(), due: None }
    }

    async fn read(&mut self) -> Result<BackendSet, DiscoveryError> {
        if let Some(due) = self.due.take() {
            sleep_until(due).await;
        }
        let resolver = match self.resolver.take() {
            Some(resolver) => resolver,
            None => Resolver::new(&self.source)?,
        };
        let begun = Instant::now();
        let found = match self.source.port {
            Some(port) => self.addresses(&resolver, port).await,
            None => self.services(&resolver).await,
        };
        match found {
            Ok((backends, ttl)) => {
                self.due = Some(begun + ttl.clamp(self.source.min_ttl, self.source.max_ttl));
                self.resolver = Some(resolver);
                Ok(BackendSet::new(backends))
            }
            Err(Failure::None(reason)) => {
                self.due = Some(begun + self.source.min_ttl.max(NOTHING));
                self.resolver = Some(resolver);
                Err(DiscoveryError::Empty(reason))
            }
            Err(Failure::Failed(reason)) => Err(DiscoveryError::Unreachable(reason)),
        }
    }

    async fn addresses(
        &mut self,
        resolver: &Resolver,
        port: u16,
    ) -> Result<(Vec<Backend>, Duration), Failure> {
        let name = self.source.name.clone();
        let before = self.known.remove(&name).unwrap_or_default();
        let found = resolver.addresses(&name).await.or_known(before);
        if let Some(kept) = found.to_keep() {
            self.known.insert(name, kept);
        }
        let ttl = found.ttl();
        let backends = found.into_result()?.into_iter().map(|ip| Backend::new(self.url(ip, port)));
        Ok((backends.collect(), ttl))
    }

    async fn services(&mut self, resolver: &Resolver) -> Result<(Vec<Backend>, Duration), Failure> {
        let (services, mut ttl) = resolver.services(&self.source.name).await?;
        let levels = levels(&services);
        let mut hosts: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
        let mut kept = BTreeMap::new();
        let mut failed = None;
        let names = services.iter().map(|service| service.host.as_str()).collect();
        for (host, found) in resolver.addresses_of_all(names).await {
            let found = found.or_known(self.known.remove(host).unwrap_or_default());
            if let Some(addresses) = found.to_keep() {
                kept.insert(host.to_owned(), addresses);
            }
            ttl = ttl.min(found.ttl());
            match found.into_result() {
                Ok(addresses) => drop(hosts.insert(host, addresses)),
                // The other hosts of the name are not affected.
                Err(failure) => {
                    log::debug!("dns {}: {host}: {failure}", self.source.name);
                    failed = Some(failure);
                }
            }
        }
        self.known = kept;
        let mut backends = Vec::with_capacity(services.len());
        for service in &services {
            let addresses = hosts.get(service.host.as_str()).into_iter().flatten();
            backends.extend(addresses.map(|ip| {
                let mut backend = Backend::new(self.url(*ip, service.port));
                backend.weight = service.weight.max(1).into();
                backend.priority = levels.get(&service.priority).copied().unwrap_or(u8::MAX);
                backend.metadata.insert("dns_target".to_owned(), service.host.clone());
                backend
            }));
        }
        match failed {
            Some(failure) if backends.is_empty() => Err(failure),
            _ => Ok((backends, ttl)),
        }
    }

    fn url(&self, ip: IpAddr, port: u16) -> BackendUrl {
        BackendUrl::with(SocketAddr::new(ip, port), self.scheme)
    }
}

impl Discovery for Dns {
    fn name(&self) -> String {
        let kind = if self.source.port.is_some() { "dns" } else { "dns srv" };
        format!("{kind} {}", self.source.name)
    }

    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<BackendSet, DiscoveryError>> + Send + '_>> {
        Box::pin(self.read())
    }
}

/// The level of each priority: the lowest priority is level 0.
fn levels(services: &[Service]) -> BTreeMap<u16, u8> {
    let priorities: std::collections::BTreeSet<u16> =
        services.iter().map(|service| service.priority).collect();
    let level = |place: usize| u8::try_from(place).unwrap_or(u8::MAX);
    priorities.into_iter().enumerate().map(|(place, priority)| (priority, level(place))).collect()
}
