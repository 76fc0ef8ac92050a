//! Each backend in turn, by weight, evenly interleaved.
//!
//! # The problem
//! Weights 5:1:1 as `a a a a a b c` hand `a` five requests in a row. They should be spread: `a a b a c a a`.
//!
//! # The idea
//! Smooth weighted round robin: in each turn every backend gains credit equal to its weight; the one with the most
//! credit (the first of several) is picked and pays the sum of all weights. The sequence repeats after that sum, so it
//! is computed once per set, and a pick only advances a cursor in it. The cursor survives new sets: publishing often
//! does not favor the first backend.
//!
//! A retry (something was tried already) takes its turn from a second cursor and moves that one on past what was
//! tried. With one cursor for both, two backends of which one fails would fall in step: every first attempt to the
//! failing one, every retry to the other.
//!
//! Source: smooth weighted round robin in nginx 1.3.1 (commit 52327e0627f4, 2012).
//!
//! # Cost
//! O(1) per pick and one atomic increment; a retry at most 64 increments, then O(n). Memory: 4 bytes per slot of the
//! sequence; none if the weights are equal. The sequence has at most about 16,384 slots, or two per backend if that is
//! more: weights are divided by their greatest common divisor, and if their sum is still too large, scaled down and
//! rounded. Each backend's slots are then correct within half a slot, and no backend has less than one, so the lightest
//! may receive more than its share.
//!
//! # When not to use it
//! When requests differ much in length, or backends in speed: turns do not see that one is behind, see
//! [`LeastConnections`](super::LeastConnections). Several balancers with the same configuration may take the same
//! turns together, see [`Random`](super::Random).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::cursor::Cursor;
use super::schedule::Schedule;
use super::weighted::draw_from_rest;
use super::{Balancer, Pick};
use crate::backend::Snapshot;

/// How many tried slots a retry passes over before the rest is drawn from in O(n).
const MAX_SKIPS: usize = 64;

/// Chooses in turn, by weight. Before its first [`rebuild`](Balancer::rebuild) all weights count as equal.
#[derive(Debug, Default)]
pub struct RoundRobin {
    schedule: Schedule,
    turns: Arc<Turns>,
}

/// What survives a new set.
#[derive(Debug, Default)]
struct Turns {
    first_attempts: Cursor,
    retries: Cursor,
}

// === impl RoundRobin ===

impl Balancer for RoundRobin {
    #[inline]
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        if !request.tried.is_empty() {
            return self.pick_untried(candidates, request);
        }
        match candidates.len() {
            0 => None,
            1 => Some(0),
            count => Some(self.schedule.slot(self.turns.first_attempts.0.fetch_add(1, Relaxed), count)),
        }
    }

    fn rebuild(&self, candidates: &Snapshot) -> Option<Arc<dyn Balancer>> {
        Some(Arc::new(Self { schedule: Schedule::new(candidates), turns: Arc::clone(&self.turns) }))
    }
}

impl RoundRobin {
    fn pick_untried(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        if candidates.is_empty() {
            return None;
        }
        for _ in 0..MAX_SKIPS {
            let index = self.schedule.slot(self.turns.retries.0.fetch_add(1, Relaxed), candidates.len());
            if !request.tried.contains(index) {
                return Some(index);
            }
        }
        draw_from_rest(candidates, request, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::{built, none_tried, picks, random_weights, snapshot, tried};

    fn sequence(balancer: &dyn Balancer, candidates: &Snapshot, length: usize) -> Vec<usize> {
        let mut rng = fastrand::Rng::with_seed(0);
        let mut pick = || balancer.pick(candidates, &mut Pick::new(0, none_tried(), &mut rng)).unwrap();
        (0..length).map(|_| pick()).collect()
    }

    #[test]
    fn five_one_one_is_smooth() {
        let candidates = snapshot(&[5, 1, 1]);
        let balancer = built(&RoundRobin::default(), &candidates);
        assert_eq!(sequence(&*balancer, &candidates, 7), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(sequence(&*balancer, &candidates, 7), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn the_turn_survives_a_new_set() {
        let candidates = snapshot(&[1, 1, 1]);
        let balancer = built(&RoundRobin::default(), &candidates);
        assert_eq!(sequence(&*balancer, &candidates, 2), [0, 1]);
        let rebuilt = built(&*balancer, &candidates);
        assert_eq!(sequence(&*rebuilt, &candidates, 2), [2, 0]);
        assert_eq!(sequence(&*balancer, &candidates, 1), [1], "both go on from one cursor");
    }

    #[test]
    fn shares_are_exact_over_whole_schedules() {
        let mut rng = fastrand::Rng::with_seed(1);
        for round in 0..100 {
            let weights: Vec<u32> =
                random_weights(&mut rng, 1 + round % 20).iter().map(|weight| weight % 50 + 1).collect();
            let candidates = snapshot(&weights);
            let balancer = built(&RoundRobin::default(), &candidates);
            sequence(&*balancer, &candidates, rng.usize(..100));
            let counts = picks(&*balancer, &candidates, weights.iter().sum(), 0);
            assert_eq!(counts, weights, "from any point of the schedule on");
        }
    }

    #[test]
    fn threads_share_the_turns_exactly() {
        let candidates = snapshot(&[5, 1, 1]);
        let balancer = built(&RoundRobin::default(), &candidates);
        let mut counts = [0; 3];
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| picks(&*balancer, &candidates, 7_000, 0))).collect();
            for thread in threads {
                counts.iter_mut().zip(thread.join().unwrap()).for_each(|(sum, count)| *sum += count);
            }
        });
        assert_eq!(counts, [20_000, 4_000, 4_000]);
    }

    #[test]
    fn a_retry_skips_onward_by_weight() {
        let candidates = snapshot(&[5, 1, 2]);
        let balancer = built(&RoundRobin::default(), &candidates);
        let (tried, mut rng) = (tried(&[0]), fastrand::Rng::with_seed(0));
        let mut counts = [0; 3];
        for _ in 0..300 {
            counts[balancer.pick(&candidates, &mut Pick::new(0, &tried, &mut rng)).unwrap()] += 1;
        }
        assert_eq!(counts, [0, 100, 200]);
    }

    #[test]
    fn first_attempts_and_retries_do_not_fall_in_step() {
        let candidates = snapshot(&[1, 1]);
        let balancer = built(&RoundRobin::default(), &candidates);
        let (failing, mut rng) = (tried(&[0]), fastrand::Rng::with_seed(0));
        let mut failed = 0;
        for _ in 0..100 {
            if balancer.pick(&candidates, &mut Pick::new(0, none_tried(), &mut rng)) == Some(0) {
                failed += 1;
                assert_eq!(balancer.pick(&candidates, &mut Pick::new(0, &failing, &mut rng)), Some(1));
            }
        }
        assert_eq!(failed, 50);
    }
}
