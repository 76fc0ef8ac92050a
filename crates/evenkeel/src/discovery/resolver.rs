//! Lookups in the DNS, with the TTL of what was found: what `hickory-resolver` returns, in this room's terms.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::DnsSource;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::task::JoinSet;

use super::DiscoveryError;

/// Sends queries to the servers of a source.
#[derive(Clone)]
pub(super) struct Resolver(TokioResolver);

/// The addresses that were found last, by kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    v4: Option<Vec<IpAddr>>,
    v6: Option<Vec<IpAddr>>,
}

/// The results of the two queries for the addresses of a name.
#[derive(Debug)]
pub(super) struct Found {
    v4: Result<(Vec<IpAddr>, Duration), Failure>,
    v6: Result<(Vec<IpAddr>, Duration), Failure>,
}

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) host: String,
    pub(super) port: u16,
}

/// Why a lookup found nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The server says that there is nothing.
    #[error("{0}")]
    None(String),
    /// It is not known whether there is anything.
    #[error("{0}")]
    Failed(String),
}

/// Most lookups of hosts of one source at the same time.
const MOST: usize = 16;

// === impl Resolver ===

impl Resolver {
    /// For the servers of this source, else for those of the system.
    pub(super) fn new(source: &DnsSource) -> Result<Self, DiscoveryError> {
        let runtime = TokioRuntimeProvider::default();
        let mut builder = if source.servers.is_empty() {
            TokioResolver::builder(runtime).map_err(|error| {
                DiscoveryError::Unreachable(format!(
                    "cannot read the resolver configuration of the system: {error}"
                ))
            })?
        } else {
            let servers = source.servers.iter().map(|server| name_server(*server, source.tcp)).collect();
            TokioResolver::builder_with_config(ResolverConfig::from_name_servers(servers), runtime)
        };
        adjust(builder.options_mut(), source);
        let resolver = builder.build();
        resolver.map(Self).map_err(|error| DiscoveryError::Unreachable(format!("cannot start: {error}")))
    }

    /// The addresses of a name.
    pub(super) async fn addresses(&self, name: &str) -> Found {
        let (v4, v6) = tokio::join!(self.lookup(name, RecordType::A), self.lookup(name, RecordType::AAAA));
        Found { v4: v4.map(addresses), v6: v6.map(addresses) }
    }

    /// The addresses of these names, each once. Several lookups run at the same time.
    pub(super) async fn addresses_of_all<'a>(
        &self,
        names: std::collections::BTreeSet<&'a str>,
    ) -> Vec<(&'a str, Found)> {
        let mut results = Vec::with_capacity(names.len());
        let mut waiting = names.into_iter();
        let mut running: JoinSet<(usize, Found)> = JoinSet::new();
        let mut started: Vec<&str> = Vec::new();
        loop {
            while running.len() < MOST
                && let Some(name) = waiting.next()
            {
                let (resolver, owned, place) = (self.clone(), name.to_owned(), started.len());
                started.push(name);
                running.spawn(async move { (place, resolver.addresses(&owned).await) });
            }
            match running.join_next().await {
                None => return results,
                Some(Ok((place, found))) => {
                    results.extend(started.get(place).map(|name| (*name, found)));
                }
                Some(Err(_)) => {}
            }
        }
    }

    /// The SRV records of a name, with the TTL.
    pub(super) async fn services(&self, name: &str) -> Result<(Vec<Service>, Duration), Failure> {
        let lookup = self.lookup(name, RecordType::SRV).await?;
        let ttl = ttl(&lookup);
        let records = lookup.answers().iter().filter_map(|record| match &record.data {
            // "." as the target says that there is no such service.
            RData::SRV(srv) if !srv.target.is_root() => Some(Service {
                priority: srv.priority,
                weight: srv.weight,
                host: srv.target.to_ascii(),
                port: srv.port,
            }),
            _ => None,
        });
        let mut services: Vec<Service> = records.filter(|service| service.port > 0).collect();
        services.sort_by(|one, other| {
            (one.priority, &one.host, one.port).cmp(&(other.priority, &other.host, other.port))
        });
        if services.is_empty() {
            return Err(Failure::None("the SRV records name no host".to_owned()));
        }
        Ok((services, ttl))
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Lookup, Failure> {
        // The source knows when to look again.
        self.0.clear_cache();
        self.0.lookup(name, kind).await.map_err(|error| Failure::of(&error, kind))
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

fn name_server(server: SocketAddr, tcp: bool) -> NameServerConfig {
    let with_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let connections = match tcp {
        true => vec![with_port(ConnectionConfig::tcp())],
        false => vec![with_port(ConnectionConfig::udp()), with_port(ConnectionConfig::tcp())],
    };
    NameServerConfig::new(server.ip(), true, connections)
}

fn adjust(options: &mut ResolverOpts, source: &DnsSource) {
    options.timeout = source.timeout;
    options.attempts = 1;
    options.cache_size = 0;
    // A response of 200 addresses has to fit, or to be asked for again over TCP.
    options.edns0 = true;
    options.avoid_local_udp_ports = Arc::default();
}

fn addresses(lookup: Lookup) -> (Vec<IpAddr>, Duration) {
    let found = lookup.answers().iter().filter_map(|record| match &record.data {
        RData::A(ip) => Some(IpAddr::from(ip.0)),
        RData::AAAA(ip) => Some(IpAddr::from(ip.0)),
        _ => None,
    });
    let mut found: Vec<IpAddr> = found.collect();
    // Servers rotate the order from response to response.
    found.sort_unstable();
    found.dedup();
    (found, ttl(&lookup))
}

/// The shortest TTL among the records, those of aliases included.
fn ttl(lookup: &Lookup) -> Duration {
    let shortest = lookup.answers().iter().map(|record| record.ttl).min();
    Duration::from_secs(shortest.unwrap_or(0).into())
}

// === impl Found ===

impl Found {
    /// With the addresses that were known before in place of what could not be looked up.
    pub(super) fn or_known(self, before: Addresses) -> Self {
        let or_known = |found: Result<_, Failure>, known: Option<Vec<IpAddr>>| match (found, known) {
            (Err(Failure::Failed(_)), Some(known)) if !known.is_empty() => Ok((known, Duration::ZERO)),
            (found, _) => found,
        };
        // If neither query has a result, the source has failed.
        if matches!((&self.v4, &self.v6), (Err(Failure::Failed(_)), Err(Failure::Failed(_)))) {
            return self;
        }
        Self { v4: or_known(self.v4, before.v4), v6: or_known(self.v6, before.v6) }
    }

    /// The addresses to remember.
    pub(super) fn to_keep(&self) -> Option<Addresses> {
        let kept = |found: &Result<(Vec<IpAddr>, Duration), Failure>| Some(found.as_ref().ok()?.0.clone());
        let kept = Addresses { v4: kept(&self.v4), v6: kept(&self.v6) };
        (kept.v4.is_some() || kept.v6.is_some()).then_some(kept)
    }

    /// The shorter of the two TTLs.
    pub(super) fn ttl(&self) -> Duration {
        let ttls = [&self.v4, &self.v6].into_iter().filter_map(|found| Some(found.as_ref().ok()?.1));
        ttls.min().unwrap_or(Duration::ZERO)
    }

    /// All addresses, IPv4 first.
    pub(super) fn into_result(self) -> Result<Vec<IpAddr>, Failure> {
        match (self.v4, self.v6) {
            (Ok((mut v4, _)), Ok((v6, _))) => {
                v4.extend(v6);
                Ok(v4)
            }
            (Ok((one, _)), Err(_)) | (Err(_), Ok((one, _))) => Ok(one),
            (Err(failed @ Failure::Failed(_)), Err(_)) | (Err(_), Err(failed)) => Err(failed),
        }
    }
}

// === impl Failure ===

impl Failure {
    fn of(error: &NetError, kind: RecordType) -> Self {
        match error {
            NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                ResponseCode::NXDomain => Self::None("there is no such name (NXDOMAIN)".to_owned()),
                ResponseCode::NoError => Self::None(format!("the name has no {kind} records")),
                code => Self::Failed(format!("the server returned {}", code_name(code))),
            },
            NetError::Dns(DnsError::ResponseCode(code)) => {
                Self::Failed(format!("the server returned {}", code_name(*code)))
            }
            NetError::Timeout => Self::Failed("no response in time".to_owned()),
            NetError::NoConnections => Self::Failed("no server can be reached".to_owned()),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// What operators call a code.
fn code_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        code => code.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn failed() -> Result<(Vec<IpAddr>, Duration), Failure> {
        Err(Failure::Failed("SERVFAIL".to_owned()))
    }

    fn none() -> Result<(Vec<IpAddr>, Duration), Failure> {
        Err(Failure::None("NXDOMAIN".to_owned()))
    }

    fn some(texts: &[&str], ttl: u64) -> Result<(Vec<IpAddr>, Duration), Failure> {
        Ok((ips(texts), Duration::from_secs(ttl)))
    }

    fn before() -> Addresses {
        Addresses { v4: Some(ips(&["10.0.0.1"])), v6: Some(ips(&["::1"])) }
    }

    #[test]
    fn the_addresses_of_a_failed_query_stay_while_the_other_query_works() {
        let found = |v4, v6| Found { v4, v6 }.or_known(before()).into_result();
        assert_eq!(found(some(&["10.0.0.2"], 5), failed()), Ok(ips(&["10.0.0.2", "::1"])));
        assert_eq!(found(some(&["10.0.0.2"], 5), none()), Ok(ips(&["10.0.0.2"])));
        assert_eq!(found(failed(), none()), Ok(ips(&["10.0.0.1"])));
        assert!(matches!(found(failed(), failed()), Err(Failure::Failed(_))));
        assert!(matches!(found(none(), none()), Err(Failure::None(_))));
    }

    #[test]
    fn without_addresses_from_before_a_failed_query_is_a_failure_only_if_the_other_has_none() {
        let found = |v4, v6| Found { v4, v6 }.or_known(Addresses::default()).into_result();
        assert_eq!(found(some(&["10.0.0.2"], 5), failed()), Ok(ips(&["10.0.0.2"])));
        assert!(matches!(found(failed(), none()), Err(Failure::Failed(_))));
        assert!(matches!(found(none(), failed()), Err(Failure::Failed(_))));
    }

    #[test]
    fn the_shorter_ttl_counts() {
        let ttl = Found { v4: some(&["10.0.0.2"], 30), v6: some(&["::1"], 5) }.ttl();
        assert_eq!(ttl, Duration::from_secs(5));
    }
}
