//! Requests of one key go to one backend, by a table that is filled most evenly.
//!
//! # The problem
//! A [ring](super::ConsistentHash) misses each backend's share by several percent. If a backend is sized for its share,
//! that is several percent of all machines.
//!
//! # The idea
//! A table of 65,537 entries, a prime. Each backend has its own order of preference over all of them, made of its name, and
//! the backends take turns: each takes the first entry of its order that is still free. The turns come by weight, so
//! everyone has its share to an entry; and since the orders stay the same when the set changes, so do nearly all
//! entries. A key belongs to the entry that its hash points at; an attempt after a failure goes on to the next entry of a
//! backend that was not tried.
//!
//! Source: D. Eisenbud et al., "Maglev: a fast and reliable software network load balancer", NSDI 2016. Turns by weight are
//! our own: the `k`th turn of a backend comes at the time `k` over its weight.
//!
//! # Cost
//! O(1) a choice: one entry is read. 256 KiB, whatever the set. Building it is O(n log n) and some million steps.
//!
//! # When not to use it
//! Beyond some hundred backends an entry more or less is more than a percent, and beyond 65,537 there is not one for each:
//! a [ring](super::ConsistentHash) holds more. When a backend goes, keys that were not its own move too: a few for
//! ten backends, more than half as many as its own for a hundred. [`Rendezvous`](super::Rendezvous) moves none.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::hash::{any_untried, mix, names, nth, place};
use super::{Balancer, Pick};
use crate::backend::Snapshot;

/// A prime, so that every step but zero visits every entry.
const ENTRIES: usize = 65_537;
/// How many entries an attempt after a failure goes on before it takes any backend that was not tried.
const WALK: usize = 256;

/// Chooses by [`Pick::key`] from a table. Before its first [`rebuild`](Balancer::rebuild) it takes the next untried from
/// where the key points in the set's own order.
#[derive(Debug, Default)]
pub struct Maglev {
    entries: Box<[u32]>,
    members: usize,
}

/// A backend's order of preference over the entries, and how far it has come.
struct Preference {
    next: usize,
    step: usize,
}

/// When a backend's turn comes. Of several at one time the order of their names decides, which a set's order does not change.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    /// The turns it had and this one, over its weight; a positive float's bits, which order as it does.
    time: u64,
    name: u64,
    index: u32,
    turns: u32,
}

// === impl Maglev ===

impl Balancer for Maglev {
    #[inline]
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        if self.members != candidates.len() || self.entries.is_empty() {
            return any_untried(candidates, request);
        }
        let first = place(mix(request.key), self.entries.len());
        let entries = self.entries.iter().cycle().skip(first).take(WALK).map(|&index| index as usize);
        // What has an entry in thousands is not worth a longer walk.
        entries
            .into_iter()
            .find(|&index| !request.tried.contains(index))
            .or_else(|| any_untried(candidates, request))
    }

    fn rebuild(&self, candidates: &Snapshot) -> Option<Arc<dyn Balancer>> {
        Some(Arc::new(Self { entries: fill(candidates), members: candidates.len() }))
    }
}

fn fill(candidates: &Snapshot) -> Box<[u32]> {
    let names = names(candidates);
    let mut preferences: Vec<Preference> = names.iter().map(|&name| Preference::new(name)).collect();
    let weights: Vec<f64> =
        candidates.members().iter().map(|member| f64::from(member.weight.get())).collect();
    let heaviest = weights.iter().copied().fold(1.0, f64::max);
    let time = |turns: u32, index: u32| {
        let weight = weights.get(index as usize).copied().unwrap_or(1.0);
        (f64::from(turns) * heaviest / weight).to_bits()
    };
    let first = |(index, &name): (u32, &u64)| Reverse(Turn { time: time(1, index), name, index, turns: 1 });
    let mut turns: BinaryHeap<Reverse<Turn>> = (0..).zip(&names).map(first).collect();
    let mut entries: Vec<Option<u32>> = vec![None; ENTRIES];
    for _ in 0..ENTRIES {
        let Some(mut next) = turns.peek_mut() else { return Box::default() };
        let Turn { name, index, turns, .. } = next.0;
        if let Some(preference) = preferences.get_mut(index as usize) {
            preference.take(&mut entries, index);
        }
        // Changed in place, and put where it belongs when it goes out of sight.
        *next = Reverse(Turn { time: time(turns + 1, index), name, index, turns: turns + 1 });
    }
    entries.into_iter().map(Option::unwrap_or_default).collect()
}

// === impl Preference ===

impl Preference {
    fn new(name: u64) -> Self {
        Self { next: place(nth(name, 1), ENTRIES), step: 1 + place(nth(name, 2), ENTRIES - 1) }
    }

    /// Takes the first free entry of this order. There must be one.
    fn take(&mut self, entries: &mut [Option<u32>], index: u32) {
        for _ in 0..entries.len() {
            let at = self.next;
            self.next = (at + self.step) % ENTRIES;
            if let Some(entry @ None) = entries.get_mut(at) {
                *entry = Some(index);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::snapshot;

    fn held(weights: &[u32]) -> Vec<f64> {
        let mut held = vec![0.0; weights.len()];
        fill(&snapshot(weights)).iter().for_each(|&index| held[index as usize] += 1.0);
        held
    }

    #[test]
    fn everyone_has_its_share_of_entries() {
        for weights in [vec![1; 10], vec![7; 100], vec![1; 600], (1..=20).collect(), vec![100, 1, 50]] {
            let sum = f64::from(weights.iter().sum::<u32>());
            for (held, &weight) in held(&weights).iter().zip(&weights) {
                let share = 65_537.0 * f64::from(weight) / sum;
                assert!(
                    (held - share).abs() <= (0.01 * share).max(1.5),
                    "{held} of {share}, weight {weight}"
                );
            }
        }
        assert_eq!(held(&vec![1; 60_000]).iter().sum::<f64>(), 65_537.0);
    }

    #[test]
    fn the_order_of_a_set_does_not_matter() {
        let set = snapshot(&[1, 2, 3, 4, 5]);
        let turned: Vec<_> = set.members().iter().rev().cloned().collect();
        let turned = fill(&Snapshot::new(turned));
        assert!(fill(&set).iter().zip(&turned).all(|(one, other)| *one == 4 - other));
    }
}
