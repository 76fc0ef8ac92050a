//! Requests of one key go to one backend, by the highest of hashes.
//!
//! # The problem
//! A [ring](super::ConsistentHash) or a [table](super::Maglev) has to be built for each set, takes memory, and gives shares
//! that are even only so far. For a few backends none of that is needed.
//!
//! # The idea
//! Hash each backend's name together with the key, and take the backend with the highest score. When one goes, its own keys
//! alone move, each to the one with the second highest score, which is where an attempt after a failure goes as well. By
//! weight: with `h` the hash as a number between zero and one, the score is `w / -ln h`, and then each backend has the
//! highest one with a probability of exactly its weight over the sum of weights.
//!
//! Sources: D. Thaler, C. Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM Transactions on Networking
//! 6(1), 1998; the weights after C. Schindelhauer, G. Schomaker, "Weighted distributed hash tables", SPAA 2005.
//!
//! # Cost
//! **Linear**: O(n) a choice, about a nanosecond a backend, since the names' hashes are prepared; reads no counters. Where
//! weights differ a logarithm is taken of the few that may win, as `-ln h` is never less than `1 - h`. 16 bytes a backend.
//!
//! # When not to use it
//! Beyond some hundred backends: a [ring](super::ConsistentHash) or a [table](super::Maglev) is O(1).

use std::sync::Arc;

use super::hash::{any_untried, mix, names};
use super::{Balancer, Pick};
use crate::backend::{Snapshot, Weight};

/// Chooses by [`Pick::key`] and each backend's name. Before its first [`rebuild`](Balancer::rebuild) it takes the next
/// untried from where the key points in the set's own order.
#[derive(Debug, Default)]
pub struct Rendezvous {
    members: Box<[Prepared]>,
    equal: bool,
}

/// What is known of a backend before a key is.
#[derive(Debug)]
struct Prepared {
    name: u64,
    /// One over its weight.
    lightness: f64,
}

// === impl Rendezvous ===

impl Rendezvous {
    /// By hashes alone, which is the same when all weights are equal.
    #[inline]
    fn highest(&self, request: &Pick<'_>) -> Option<usize> {
        let mut best = None;
        let mut highest = 0;
        for (index, member) in self.members.iter().enumerate() {
            let hash = mix(member.name ^ request.key);
            if (hash > highest || best.is_none()) && !request.tried.contains(index) {
                (best, highest) = (Some(index), hash);
            }
        }
        best
    }

    /// By `-ln h / w`, of which the lowest wins.
    #[inline]
    fn highest_by_weight(&self, request: &Pick<'_>) -> Option<usize> {
        let mut best = None;
        let mut lowest = f64::INFINITY;
        for (index, member) in self.members.iter().enumerate() {
            // The upper 53 bits and a half: never zero, never one.
            let hash = ((mix(member.name ^ request.key) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
            if (1.0 - hash) * member.lightness >= lowest || request.tried.contains(index) {
                continue;
            }
            let score = -hash.ln() * member.lightness;
            if score < lowest {
                (best, lowest) = (Some(index), score);
            }
        }
        best
    }
}

impl Balancer for Rendezvous {
    #[inline]
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        match self.members.len() == candidates.len() {
            true if self.equal => self.highest(request),
            true => self.highest_by_weight(request),
            false => any_untried(candidates, request),
        }
    }

    fn rebuild(&self, candidates: &Snapshot) -> Option<Arc<dyn Balancer>> {
        let weights = || candidates.members().iter().map(|member| member.weight);
        let equal = weights().all(|weight| Some(weight) == weights().next());
        let prepared =
            |(&name, weight): (&u64, Weight)| Prepared { name, lightness: f64::from(weight.get()).recip() };
        let members = names(candidates).iter().zip(weights()).map(prepared).collect();
        Some(Arc::new(Self { members, equal }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::{assert_follows_weights, none_tried, snapshot};

    #[test]
    fn shares_follow_the_weights_exactly() {
        let mut rng = fastrand::Rng::with_seed(1);
        for weights in [vec![1; 10], vec![5, 1, 1], vec![1000, 1], (1..=40).collect()] {
            let candidates = snapshot(&weights);
            let balancer = Rendezvous::default().rebuild(&candidates).unwrap();
            let mut counts = vec![0; weights.len()];
            for key in 0..100_000 {
                let index = balancer.pick(&candidates, &mut Pick::new(key, none_tried(), &mut rng)).unwrap();
                counts[index] += 1;
            }
            assert_follows_weights(&counts, &weights);
        }
    }

    #[test]
    fn leaving_out_logarithms_changes_nothing() {
        let weights: Vec<u32> = (1..=30).collect();
        let candidates = snapshot(&weights);
        let names = names(&candidates);
        let balancer = Rendezvous::default().rebuild(&candidates).unwrap();
        let mut rng = fastrand::Rng::with_seed(2);
        for key in 0..10_000 {
            let score = |index: usize| {
                let hash = ((mix(names[index] ^ key) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
                f64::from(weights[index]) / -hash.ln()
            };
            let highest = (0..30).max_by(|&one, &other| score(one).total_cmp(&score(other)));
            assert_eq!(balancer.pick(&candidates, &mut Pick::new(key, none_tried(), &mut rng)), highest);
        }
    }
}
