//! The algorithms by name, as a configuration chooses among them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{
    Balancer, ConsistentHash, ConsistentHashOptions, HashKey, HashOptions, LeastConnections, Maglev,
    PeakEwma, PeakEwmaOptions, PowerOfTwoChoices, Prequal, PrequalOptions, Random, Rendezvous, RoundRobin,
};

/// How an upstream chooses a backend for each request. Round robin unless said otherwise.
///
/// Two values are equal when they name the same algorithm with the same parameters; two custom ones when they share one balancer.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum LoadBalancingAlgorithm {
    /// Each in turn, by weight, evenly interleaved: [`RoundRobin`]. The default.
    #[default]
    RoundRobin,
    /// Any, by weight: [`Random`].
    Random,
    /// The one with the fewest attempts in flight for its weight: [`LeastConnections`].
    LeastConnections,
    /// The less busy of two drawn at random: [`PowerOfTwoChoices`].
    PowerOfTwoChoices,
    /// The backend with the lowest expected response time, from recent response times and requests in flight:
    /// [`PeakEwma`].
    PeakEwma(PeakEwmaOptions),
    /// Requests of one client address go to one backend: a [`ConsistentHash`] without a bound, by that key.
    SourceIpHash,
    /// Requests of one key go to one backend, by a ring of hashes: [`ConsistentHash`].
    ConsistentHash(ConsistentHashOptions),
    /// Requests of one key go to one backend, by a table that is most even: [`Maglev`].
    Maglev(HashOptions),
    /// Requests of one key go to one backend, by the highest of hashes: [`Rendezvous`]. Linear.
    Rendezvous(HashOptions),
    /// The one with the lowest latency of those that are not hot, by probes or own measurements: [`Prequal`].
    Prequal(PrequalOptions),
    /// The user's own, as a value.
    Custom(Arc<dyn Balancer>),
    /// The one that the program registers under this name.
    Named(Box<str>),
}

/// A name that is not in [`LoadBalancingAlgorithm::NAMES`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown algorithm `{name}`, expected one of: {}", LoadBalancingAlgorithm::NAMES.join(", "))]
pub struct UnknownAlgorithm {
    name: Box<str>,
}

// === impl LoadBalancingAlgorithm ===

impl LoadBalancingAlgorithm {
    /// The names that [`FromStr`] understands, each with the defaults of its parameters; the default algorithm first.
    pub const NAMES: &'static [&'static str] = &[
        "round_robin",
        "random",
        "least_connections",
        "power_of_two_choices",
        "peak_ewma",
        "source_ip_hash",
        "consistent_hash",
        "maglev",
        "rendezvous",
        "prequal",
    ];

    /// A balancer that runs this algorithm, knowing no set yet: give it one by [`Balancer::rebuild`] before the first
    /// choice. Each call makes one with its own state, except for a custom one, which is shared. `None` for
    /// [`Named`](Self::Named): only the program that registers it can make it.
    pub fn balancer(&self) -> Option<Arc<dyn Balancer>> {
        Some(match self {
            Self::RoundRobin => Arc::new(RoundRobin::default()),
            Self::Random => Arc::new(Random::default()),
            Self::LeastConnections => Arc::new(LeastConnections::default()),
            Self::PowerOfTwoChoices => Arc::new(PowerOfTwoChoices::default()),
            Self::PeakEwma(options) => Arc::new(PeakEwma::new(options.clone())),
            Self::SourceIpHash => Arc::new(ConsistentHash::default()),
            Self::ConsistentHash(options) => Arc::new(ConsistentHash::new(options)),
            Self::Maglev(_) => Arc::new(Maglev::default()),
            Self::Rendezvous(_) => Arc::new(Rendezvous::default()),
            Self::Prequal(options) => Arc::new(Prequal::new(options.clone())),
            Self::Custom(balancer) => Arc::clone(balancer),
            Self::Named(_) => return None,
        })
    }

    /// The name that a configuration uses; `custom` for the user's own.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::LeastConnections => "least_connections",
            Self::PowerOfTwoChoices => "power_of_two_choices",
            Self::PeakEwma(_) => "peak_ewma",
            Self::SourceIpHash => "source_ip_hash",
            Self::ConsistentHash(_) => "consistent_hash",
            Self::Maglev(_) => "maglev",
            Self::Rendezvous(_) => "rendezvous",
            Self::Prequal(_) => "prequal",
            Self::Custom(_) | Self::Named(_) => "custom",
        }
    }

    /// What makes requests belong together, if it does for this algorithm: the caller hashes it to [`Pick::key`](super::Pick::key).
    pub fn hash_key(&self) -> Option<&HashKey> {
        match self {
            Self::SourceIpHash => Some(&HashKey::ClientIp),
            Self::ConsistentHash(options) => Some(&options.key),
            Self::Maglev(options) | Self::Rendezvous(options) => Some(&options.key),
            _ => None,
        }
    }
}

impl PartialEq for LoadBalancingAlgorithm {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Custom(a), Self::Custom(b)) => Arc::ptr_eq(a, b),
            (Self::Named(a), Self::Named(b)) => a == b,
            (Self::PeakEwma(a), Self::PeakEwma(b)) => a == b,
            (Self::ConsistentHash(a), Self::ConsistentHash(b)) => a == b,
            (Self::Maglev(a), Self::Maglev(b)) | (Self::Rendezvous(a), Self::Rendezvous(b)) => a == b,
            (Self::Prequal(a), Self::Prequal(b)) => a == b,
            (Self::Custom(_) | Self::Named(_), _) | (_, Self::Custom(_) | Self::Named(_)) => false,
            _ => self.name() == other.name(),
        }
    }
}

impl fmt::Display for LoadBalancingAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LoadBalancingAlgorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "round_robin" => Ok(Self::RoundRobin),
            "random" => Ok(Self::Random),
            "least_connections" => Ok(Self::LeastConnections),
            "power_of_two_choices" => Ok(Self::PowerOfTwoChoices),
            "peak_ewma" => Ok(Self::PeakEwma(PeakEwmaOptions::default())),
            "source_ip_hash" => Ok(Self::SourceIpHash),
            "consistent_hash" => Ok(Self::ConsistentHash(ConsistentHashOptions::default())),
            "maglev" => Ok(Self::Maglev(HashOptions::default())),
            "rendezvous" => Ok(Self::Rendezvous(HashOptions::default())),
            "prequal" => Ok(Self::Prequal(PrequalOptions::default())),
            _ => Err(UnknownAlgorithm { name: name.into() }),
        }
    }
}

// === impl UnknownAlgorithm ===

impl UnknownAlgorithm {
    /// The name that was given.
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_understood_and_given_back() {
        for name in LoadBalancingAlgorithm::NAMES {
            let algorithm: LoadBalancingAlgorithm = name.parse().unwrap();
            assert_eq!(algorithm.name(), *name);
            assert_eq!(algorithm.to_string(), *name);
        }
        assert_eq!(LoadBalancingAlgorithm::NAMES[0], LoadBalancingAlgorithm::default().name());
    }

    #[test]
    fn an_unknown_name_is_refused_with_what_was_expected() {
        for name in ["", "custom", "Round_Robin", "round robin"] {
            let error = name.parse::<LoadBalancingAlgorithm>().unwrap_err();
            assert_eq!(error.name(), name);
            assert!(error.to_string().contains("expected one of: round_robin, random, "), "{error}");
        }
    }

    #[test]
    fn equal_by_variant_and_custom_by_pointer() {
        use LoadBalancingAlgorithm::{Custom, Random, RoundRobin};
        let (one, other) = (RoundRobin.balancer().unwrap(), RoundRobin.balancer().unwrap());
        assert_eq!(RoundRobin, LoadBalancingAlgorithm::default());
        assert_ne!(RoundRobin, Random);
        assert_eq!(Custom(Arc::clone(&one)), Custom(Arc::clone(&one)));
        assert_ne!(Custom(Arc::clone(&one)), Custom(other));
        let named = |name: &str| LoadBalancingAlgorithm::Named(name.into());
        assert_eq!(named("one"), named("one"));
        assert_ne!(named("one"), named("other"));
        assert_ne!(named("one"), Custom(Arc::clone(&one)));
        assert!(named("one").balancer().is_none(), "only the program can make it");
        assert_ne!(Custom(one), RoundRobin);
    }
}
