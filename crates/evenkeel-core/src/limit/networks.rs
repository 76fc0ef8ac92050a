//! Sets of networks: is this address in one of them?
//!
//! # The idea
//! Networks that are in others or next to each other are merged. What is left are ranges that do not overlap, in order: the
//! one to look at is the last one that does not begin after the address.
//!
//! # Cost
//! A binary search: 20 steps for a million networks. 8 bytes for each IPv4 network, 32 for each IPv6 network.
//!
//! # When not to use it
//! To find the longest network that contains an address, with a value for each: that needs a trie.

use std::net::IpAddr;

use ipnet::IpNet;

/// A set of networks. An IPv4 address in IPv6 form (`::ffff:192.0.2.1`) is the IPv4 address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// Ranges that do not overlap, in order, each with its first and last address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges<T>(Box<[(T, T)]>);

// === impl Networks ===

impl Networks {
    /// Whether the address is in one of the networks.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contains(address.into()),
            IpAddr::V6(address) => self.v6.contains(address.into()),
        }
    }

    /// Whether there is no network.
    pub fn is_empty(&self) -> bool {
        self.v4.0.is_empty() && self.v6.0.is_empty()
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.v4.0) + size_of_val(&*self.v6.0)
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push((network.network().into(), network.broadcast().into())),
                IpNet::V6(network) => match (network.network().to_ipv4_mapped(), network.prefix_len()) {
                    (Some(first), 96..) => {
                        let last = network.broadcast().to_ipv4_mapped().unwrap_or(first);
                        v4.push((first.into(), last.into()));
                    }
                    _ => v6.push((network.network().into(), network.broadcast().into())),
                },
            }
        }
        Self {
            v4: Ranges::new(v4, |last: u32| last.checked_add(1)),
            v6: Ranges::new(v6, |last: u128| last.checked_add(1)),
        }
    }
}

// === impl Ranges ===

impl<T: Copy + Ord> Ranges<T> {
    fn new(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|(first, last), (_, before)| {
            let joined = next(*before).is_none_or(|next| *first <= next);
            if joined {
                *before = (*before).max(*last);
            }
            joined
        });
        Self(ranges.into_boxed_slice())
    }

    #[inline]
    fn contains(&self, address: T) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|index| self.0.get(index)).is_some_and(|(_, last)| address <= *last)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        texts.iter().map(|text| text.parse::<IpNet>().unwrap()).collect()
    }

    #[test]
    fn addresses_at_the_edges() {
        let set = networks(&["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::ffff:198.51.100.0/120"]);
        for inside in
            ["10.0.0.0", "10.255.255.255", "192.0.2.7", "2001:db8::", "2001:db8:ffff::1", "198.51.100.9"]
        {
            assert!(set.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in
            ["9.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.8", "2001:db9::", "::a00:1", "198.51.101.0"]
        {
            assert!(!set.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(set.contains("::ffff:10.1.2.3".parse().unwrap()), "an IPv4 address in IPv6 form");
        assert!(!networks(&[]).contains("10.0.0.1".parse().unwrap()) && networks(&[]).is_empty());
        let all = networks(&["0.0.0.0/0", "::/0", "255.255.255.255/32"]);
        assert!(all.contains("255.255.255.255".parse().unwrap()) && all.contains("::1".parse().unwrap()));
        assert_eq!(
            networks(&["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16"]),
            networks(&["10.0.0.0/8"]),
            "merged"
        );
    }

    /// Every network is tried by itself.
    #[test]
    fn it_is_what_the_networks_say_one_by_one() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let list: Vec<IpNet> = (0..rng.usize(..40))
                .map(|_| match rng.bool() {
                    true => IpNet::new(Ipv4Addr::from(rng.u32(..1 << 12) << 20).into(), rng.u8(8..=32)),
                    false => IpNet::new(Ipv6Addr::from(rng.u128(..1 << 12) << 116).into(), rng.u8(8..=128)),
                })
                .map(Result::unwrap)
                .collect();
            let set: Networks = list.iter().copied().collect();
            for _ in 0..200 {
                let address = match rng.bool() {
                    true => IpAddr::from(Ipv4Addr::from(rng.u32(..1 << 13) << 19)),
                    false => IpAddr::from(Ipv6Addr::from(rng.u128(..1 << 13) << 115)),
                };
                assert_eq!(set.contains(address), list.iter().any(|net| net.contains(&address)), "{address}");
            }
        }
    }
}
