//! What the hashing algorithms share: numbers that look random and are the same in every process and version.

use std::collections::HashMap;

use super::Pick;
use crate::backend::Snapshot;

/// 2^64 over the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finalizer of SplitMix64 (Steele, Lea, Flood, 2014): each bit of the input changes half of the output's.
#[inline]
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(GOLDEN);
    let value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ value >> 31
}

/// The `index`th number of the sequence that `seed` begins.
#[inline]
pub(super) fn nth(seed: u64, index: u64) -> u64 {
    mix(seed.wrapping_add(index.wrapping_mul(GOLDEN)))
}

/// Where a hash falls when all hashes are laid out over `count` places, as evenly as can be.
#[inline]
pub(super) fn place(hash: u64, count: usize) -> usize {
    ((u128::from(hash) * count as u128) >> 64) as usize
}

/// A hash of each backend's name, in order. Equal names are distinguished by their position among the equal ones.
pub(super) fn names(candidates: &Snapshot) -> Box<[u64]> {
    let mut seen = HashMap::<&str, u64>::with_capacity(candidates.len());
    let hash = |name| {
        let times = seen.entry(name).or_default();
        *times += 1;
        nth(fnv(name), *times - 1)
    };
    candidates.members().iter().map(|member| member.backend.name()).map(hash).collect()
}

/// The first untried one from where the key points, by the set alone, in O(n): for sets that nothing is prepared for, and
/// for backends that are too light to be found in what is.
pub(super) fn any_untried(candidates: &Snapshot, request: &Pick<'_>) -> Option<usize> {
    let count = candidates.len();
    let first = place(mix(request.key), count);
    (0..count).map(|step| (first + step) % count).find(|&index| !request.tried.contains(index))
}

/// FNV-1a (Fowler, Noll, Vo) of 64 bits.
fn fnv(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_their_authors() {
        assert_eq!(fnv(""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fnv("foobar"), 0x8594_4171_F739_67E8);
        // SplitMix64's first output of seed 1234567.
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
    }
}
