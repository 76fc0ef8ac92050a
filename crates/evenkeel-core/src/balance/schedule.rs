//! The smooth weighted sequence of one snapshot, computed ahead.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::backend::Snapshot;

/// The sum of weights up to which they are kept exactly, unless there are more than half as many backends.
const MAX_SLOTS: u64 = 16_384;

/// Which member has which turn; the turns repeat. Without slots, as by default, each member has one turn, in order.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    slots: Box<[u32]>,
    members: usize,
}

/// The members of one weight. They take turns in order, so only the next one's credit needs to be known.
struct Peers {
    weight: u64,
    members: Vec<u32>,
    next: usize,
    credit: i64,
}

// === impl Schedule ===

impl Schedule {
    pub(super) fn new(candidates: &Snapshot) -> Self {
        let weights: Vec<u64> =
            candidates.members().iter().map(|member| u64::from(member.weight.get())).collect();
        let weights = reduce(&weights);
        if weights.iter().all(|&weight| weight == 1) || u32::try_from(weights.len()).is_err() {
            return Self::default();
        }
        Self { slots: interleave(&weights), members: weights.len() }
    }

    /// Whose turn it is in a set of `count` members; `count` must not be zero.
    #[inline]
    pub(super) fn slot(&self, turn: usize, count: usize) -> usize {
        // A schedule of another set (which would be its owner's mistake) must not lead outside this one.
        if self.members != count {
            return turn % count;
        }
        self.slots.get(turn % self.slots.len()).map_or(0, |&index| index as usize)
    }
}

/// The same proportions in small numbers, whose sum is bounded.
fn reduce(weights: &[u64]) -> Vec<u64> {
    let weights = divide_by_common(weights);
    let limit = MAX_SLOTS.max(2 * weights.len() as u64);
    if weights.iter().sum::<u64>() <= limit { weights } else { divide_by_common(&scale(&weights, limit)) }
}

/// Each weight's part of `slots`, rounded, but at least one.
fn scale(weights: &[u64], slots: u64) -> Vec<u64> {
    let total: u128 = weights.iter().copied().map(u128::from).sum();
    let part = |&weight: &u64| (u128::from(weight) * u128::from(slots) + total / 2) / total.max(1);
    weights.iter().map(|weight| part(weight).max(1) as u64).collect()
}

fn divide_by_common(weights: &[u64]) -> Vec<u64> {
    let divisor = weights.iter().fold(0, |divisor, &weight| greatest_common_divisor(divisor, weight)).max(1);
    weights.iter().map(|weight| weight / divisor).collect()
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Runs smooth weighted round robin until it repeats. Members of one weight always come in order, so each step looks at
/// the distinct weights only, of which there are at most about `sqrt(2 * total)`.
fn interleave(weights: &[u64]) -> Box<[u32]> {
    let total: u64 = weights.iter().sum();
    let mut by_weight = BTreeMap::<u64, Vec<u32>>::new();
    for (index, &weight) in (0..).zip(weights) {
        by_weight.entry(weight).or_default().push(index);
    }
    let mut groups: Vec<Peers> = by_weight
        .into_iter()
        .map(|(weight, members)| Peers { weight, members, next: 0, credit: 0 })
        .collect();
    let turn = |_| {
        groups.iter_mut().for_each(|group| group.credit += group.weight as i64);
        let richest = groups.iter_mut().max_by_key(|group| (group.credit, Reverse(group.next_member())));
        richest.map_or(0, |group| group.take_turn(total as i64))
    };
    (0..total).map(turn).collect()
}

// === impl Peers ===

impl Peers {
    fn next_member(&self) -> u32 {
        self.members.get(self.next).copied().unwrap_or_default()
    }

    /// Gives the next member its turn. The one after has the same credit, unless that is the first again, which has
    /// paid once already.
    fn take_turn(&mut self, price: i64) -> u32 {
        let member = self.next_member();
        self.next += 1;
        if self.next == self.members.len() {
            self.next = 0;
            self.credit -= price;
        }
        member
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::{random_weights, snapshot};

    /// The algorithm as nginx has it, member by member.
    fn by_the_book(weights: &[u64]) -> Vec<u32> {
        let total: i64 = weights.iter().sum::<u64>() as i64;
        let mut credits = vec![0_i64; weights.len()];
        let mut turn = || {
            let mut best = 0;
            for (index, &weight) in weights.iter().enumerate() {
                credits[index] += weight as i64;
                if credits[index] > credits[best] {
                    best = index;
                }
            }
            credits[best] -= total;
            best as u32
        };
        (0..total).map(|_| turn()).collect()
    }

    #[test]
    fn is_the_sequence_by_the_book() {
        let mut rng = fastrand::Rng::with_seed(1);
        for round in 0..300 {
            let weights: Vec<u64> = (0..1 + round % 17).map(|_| rng.u64(1..12)).collect();
            assert_eq!(*interleave(&weights), *by_the_book(&weights), "weights {weights:?}");
        }
    }

    #[test]
    fn equal_weights_need_no_slots() {
        for weights in [vec![], vec![9], vec![7; 5_000]] {
            assert!(Schedule::new(&snapshot(&weights)).slots.is_empty());
        }
    }

    #[test]
    fn weights_with_a_common_divisor_are_reduced() {
        assert_eq!(*Schedule::new(&snapshot(&[500_000, 100_000, 100_000])).slots, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn huge_weights_keep_their_share_to_half_a_slot() {
        let mut rng = fastrand::Rng::with_seed(2);
        for round in 0..40 {
            let weights: Vec<u64> =
                random_weights(&mut rng, 2 + round % 30).into_iter().map(u64::from).collect();
            let total: u64 = weights.iter().sum();
            for (&weight, &slots) in weights.iter().zip(&scale(&weights, MAX_SLOTS)) {
                let exact = weight as f64 / total as f64 * MAX_SLOTS as f64;
                let off = (slots as f64 - exact).abs();
                assert!(
                    off <= 0.5 + 1e-6 || slots == 1,
                    "weight {weight} of {total}: {slots} slots, {exact}"
                );
            }
            let slots =
                Schedule::new(&snapshot(&weights.iter().map(|&w| w as u32).collect::<Vec<_>>())).slots.len();
            assert!(slots as u64 <= MAX_SLOTS + weights.len() as u64);
        }
    }

    #[test]
    fn a_tiny_share_still_gets_a_turn() {
        let schedule = Schedule::new(&snapshot(&[u32::MAX, 1]));
        assert_eq!(schedule.slots.iter().filter(|&&index| index == 1).count(), 1);
        assert!((16_384..=16_386).contains(&schedule.slots.len()));
    }

    #[test]
    fn many_backends_get_two_slots_each() {
        let weights: Vec<u32> = (1..=20_000).collect();
        let schedule = Schedule::new(&snapshot(&weights));
        assert!(schedule.slots.len() <= 60_000);
        let mut seen = vec![false; weights.len()];
        schedule.slots.iter().for_each(|&index| seen[index as usize] = true);
        assert!(seen.iter().all(|&seen| seen));
    }
}
