//! Any backend, by weight.
//!
//! # The problem
//! Several balancers in front of the same backends, none knowing of the others: whatever each does in turn, their turns
//! may fall together. Independent draws cannot.
//!
//! # The idea
//! Each backend is drawn with a probability of its weight over the sum of weights, exactly, by Vose's alias method
//! (1991; see the table's own page). A tried backend is drawn again, and what is left after four such draws is drawn
//! from directly, so that an untried backend is always found.
//!
//! # Cost
//! O(1) a choice, O(n) when nearly all the weight was tried; no shared state at all. 16 bytes a backend, nothing when
//! the weights are equal.
//!
//! # When not to use it
//! Chance is uneven in the short run: with n requests in flight on n backends the busiest has about ln n / ln ln n of
//! them. [`PowerOfTwoChoices`](super::PowerOfTwoChoices) costs one more draw and has ln ln n;
//! [`RoundRobin`](super::RoundRobin) is exactly even.

use std::sync::Arc;

use super::weighted::WeightedTable;
use super::{Balancer, Pick};
use crate::backend::Snapshot;

/// Chooses at random, by weight. Before its first [`rebuild`](Balancer::rebuild) all weights count as equal.
#[derive(Debug, Default)]
pub struct Random {
    table: WeightedTable,
}

// === impl Random ===

impl Balancer for Random {
    #[inline]
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        self.table.draw_untried(candidates, request, None)
    }

    fn rebuild(&self, candidates: &Snapshot) -> Option<Arc<dyn Balancer>> {
        Some(Arc::new(Self { table: WeightedTable::new(candidates) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::{assert_follows_weights, built, picks, snapshot, tried};

    #[test]
    fn draws_follow_the_weights() {
        for (seed, weights) in
            [(1, vec![1; 10]), (2, vec![5, 1, 1]), (3, vec![1000, 1]), (4, (1..=40).collect())]
        {
            let candidates = snapshot(&weights);
            let counts = picks(&*built(&Random::default(), &candidates), &candidates, 100_000, seed);
            assert_follows_weights(&counts, &weights);
        }
    }

    #[test]
    fn what_is_left_is_drawn_by_weight() {
        let candidates = snapshot(&[1000, 3, 2, 1]);
        let balancer = built(&Random::default(), &candidates);
        let (tried, mut rng) = (tried(&[0]), fastrand::Rng::with_seed(5));
        let mut counts = vec![0; 3];
        for _ in 0..60_000 {
            let index = balancer.pick(&candidates, &mut Pick::new(0, &tried, &mut rng)).unwrap();
            counts[index - 1] += 1;
        }
        assert_follows_weights(&counts, &[3, 2, 1]);
    }
}
