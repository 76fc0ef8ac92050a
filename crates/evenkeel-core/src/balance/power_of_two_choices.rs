//! The less busy of two backends drawn at random.
//!
//! # The problem
//! Looking at every backend to find the least busy costs O(n), and makes all who look at the same moment choose the
//! same one. Looking at none leaves the busiest of n with about ln n / ln ln n times its share.
//!
//! # The idea
//! Draw two different backends by weight and take the one with fewer attempts in flight per weight. One comparison is
//! enough to bring the busiest down to about ln ln n, and two who look at the same moment look at different backends.
//! Equally busy backends leave it to the first draw, so that an idle pool follows the weights exactly.
//!
//! Source: M. Mitzenmacher, "The power of two choices in randomized load balancing", IEEE Transactions on Parallel and
//! Distributed Systems 12(10), 2001.
//!
//! # Cost
//! O(1) a choice; O(n) in the rare case that four draws found no second backend, which needs one that holds most of the
//! weight. Reads two backends' counters. 16 bytes a backend, nothing when the weights are equal.
//!
//! # When not to use it
//! With a handful of backends [`LeastConnections`](super::LeastConnections) sees all of them for the same price. A
//! backend that fails fast has little in flight and attracts requests: use it together with outlier detection. Weights
//! steer the attempts in flight, so with fewer of them than the ratio of the weights the light backends get more than
//! their share.

use std::cmp::Ordering;
use std::sync::Arc;

use super::load::Load;
use super::weighted::WeightedTable;
use super::{Balancer, Pick};
use crate::backend::Snapshot;

/// Chooses the less busy of two, both drawn by weight. Before its first [`rebuild`](Balancer::rebuild) all weights
/// count as equal in the draw.
#[derive(Debug, Default)]
pub struct PowerOfTwoChoices {
    table: WeightedTable,
}

// === impl PowerOfTwoChoices ===

impl Balancer for PowerOfTwoChoices {
    #[inline]
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        let first = self.table.draw_untried(candidates, request, None)?;
        if candidates.len() == 1 {
            return Some(first);
        }
        let Some(second) = self.table.draw_untried(candidates, request, Some(first)) else {
            return Some(first);
        };
        let load = |index: usize| candidates.members().get(index).map(Load::of);
        match (load(first), load(second)) {
            (Some(of_first), Some(of_second)) if of_second.compare(of_first) == Ordering::Less => {
                Some(second)
            }
            _ => Some(first),
        }
    }

    fn rebuild(&self, candidates: &Snapshot) -> Option<Arc<dyn Balancer>> {
        Some(Arc::new(Self { table: WeightedTable::new(candidates) }))
    }

    fn score(&self, candidates: &Snapshot, index: usize, _: &Pick<'_>) -> Option<f64> {
        candidates.members().get(index).map(|member| Load::of(member).quotient())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::{assert_follows_weights, built, busy, none_tried, picks, snapshot, tried};

    #[test]
    fn an_idle_pool_follows_the_weights() {
        for (seed, weights) in
            [(1, vec![1; 10]), (2, vec![5, 1, 1]), (3, vec![1000, 1]), (4, (1..=40).collect())]
        {
            let candidates = snapshot(&weights);
            let counts =
                picks(&*built(&PowerOfTwoChoices::default(), &candidates), &candidates, 100_000, seed);
            assert_follows_weights(&counts, &weights);
        }
    }

    #[test]
    fn the_busiest_of_all_is_never_chosen() {
        let candidates = snapshot(&[100, 1, 1, 1]);
        let _leases = busy(&candidates, &[101, 1, 1, 1]);
        let counts = picks(&*built(&PowerOfTwoChoices::default(), &candidates), &candidates, 10_000, 6);
        assert_eq!(counts[0], 0, "{counts:?}");
    }

    #[test]
    fn of_two_the_less_busy_by_weight_is_chosen() {
        let candidates = snapshot(&[3, 1]);
        let _leases = busy(&candidates, &[2, 1]);
        let balancer = built(&PowerOfTwoChoices::default(), &candidates);
        let counts = picks(&*balancer, &candidates, 1_000, 7);
        assert_eq!(counts, [1_000, 0]);
        let mut rng = fastrand::Rng::with_seed(7);
        let request = Pick::new(0, none_tried(), &mut rng);
        let scores = [0, 1, 2].map(|index| balancer.score(&candidates, index, &request));
        assert_eq!(scores, [Some(2.0 / 3.0), Some(1.0), None]);
    }

    #[test]
    fn the_last_untried_is_chosen_however_busy() {
        let candidates = snapshot(&[1, 1, 1]);
        let _leases = busy(&candidates, &[0, 9, 0]);
        let (tried, mut rng) = (tried(&[0, 2]), fastrand::Rng::with_seed(8));
        let balancer = built(&PowerOfTwoChoices::default(), &candidates);
        assert_eq!(balancer.pick(&candidates, &mut Pick::new(0, &tried, &mut rng)), Some(1));
        assert_ne!(balancer.pick(&candidates, &mut Pick::new(0, none_tried(), &mut rng)), Some(1));
    }
}
