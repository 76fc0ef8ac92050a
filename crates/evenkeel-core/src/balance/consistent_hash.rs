//! Requests of one key go to one backend, by a ring of hashes.
//!
//! # The problem
//! Backends that keep something for a client (a cache, a session) serve it best when its requests come to one of them.
//! Taking a hash modulo the number of backends does that until the number changes: then nearly every key moves.
//!
//! # The idea
//! Arrange the hashes as a circle. Each backend has many points on it, made from its name, in proportion to its weight.
//! A key belongs to the first point at or after its own hash. When a backend is removed, its points are removed and
//! only its keys move, each to the next point, which belongs to many different backends. An attempt after a failure
//! goes to the next point of a backend that was not tried.
//!
//! With `bounded_load` a backend is passed over when it has `ceil(c * m * share)` attempts in flight already: `c` the bound,
//! `m` what all have in flight and this attempt, `share` its weight over the sum of weights. There is always one that has room,
//! and the keys of a busy one move no farther than they must. Cores that choose at the same moment may each add one.
//!
//! Sources: D. Karger et al., "Consistent hashing and random trees", STOC 1997; the points after R. Jones, "libketama", 2007;
//! V. Mirrokni, M. Thorup, M. Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018.
//!
//! # Cost
//! O(1) a choice, however many backends: an index leads to the arc of the circle. With a bound O(1/(c-1)^2) backends are
//! looked at, expected, and each attempt counts in one number that all cores share. About 9 KiB a backend, 12 MiB at most: beyond
//! 2,048 backends each has fewer points, and shares are less even. Building sorts the points.
//!
//! # When not to use it
//! If no backend caches anything for a key: it neither considers load nor spreads evenly (shares are within about 10 %,
//! and few keys spread badly). [`Maglev`](super::Maglev) is more even, and moves a few more keys when the set changes.

use std::sync::Arc;

use super::hash::any_untried;
use super::ring::Ring;
use super::{Balancer, ConsistentHashOptions, Pick};
use crate::backend::{Member, Snapshot, Total};

/// Chooses by [`Pick::key`] on a ring. Before its first [`rebuild`](Balancer::rebuild) it takes the next untried from where
/// the key points in the set's own order, which holds no promise but to stay with the key while the set stays.
///
/// With a bound, the backends' attempts are counted in a total from its first set on. Those under way at that time are not,
/// and make the bound stricter until they end.
#[derive(Debug, Default)]
pub struct ConsistentHash {
    ring: Ring,
    bound: Option<Bound>,
}

/// How much a backend may have.
#[derive(Clone, Debug)]
struct Bound {
    factor: f64,
    sum_of_weights: f64,
    total: Arc<Total>,
    /// Whether all backends of the set count in `total`. If not, since some were another balancer's before, their attempts
    /// are summed for each choice.
    complete: bool,
}

// === impl ConsistentHash ===

impl ConsistentHash {
    /// With these parameters. A bound below one is one; one that is no number is none.
    pub fn new(options: &ConsistentHashOptions) -> Self {
        let factor = options.bounded_load.filter(|factor| !factor.is_nan());
        let bound = factor.map(|factor| Bound {
            factor: factor.max(1.0),
            sum_of_weights: 0.0,
            total: Arc::default(),
            complete: false,
        });
        Self { ring: Ring::default(), bound }
    }
}

impl Balancer for ConsistentHash {
    #[inline]
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        if !self.ring.serves(candidates) {
            return any_untried(candidates, request);
        }
        let tried = request.tried;
        let mut untried = self.ring.owners_from(request.key).filter(|&index| !tried.contains(index));
        let Some(bound) = &self.bound else { return untried.next() };
        let in_flight = bound.in_flight(candidates);
        let has_room = |&index: &usize| {
            candidates.members().get(index).is_some_and(|member| bound.leaves_room(member, in_flight))
        };
        // Those with room may all have been tried.
        untried
            .find(has_room)
            .or_else(|| self.ring.owners_from(request.key).find(|&index| !tried.contains(index)))
    }

    fn rebuild(&self, candidates: &Snapshot) -> Option<Arc<dyn Balancer>> {
        let bound = self.bound.as_ref().map(|bound| bound.rebuild(candidates));
        Some(Arc::new(Self { ring: Ring::new(candidates), bound }))
    }
}

// === impl Bound ===

impl Bound {
    fn rebuild(&self, candidates: &Snapshot) -> Self {
        let members = candidates.members();
        // Backends of a balancer before this one count in its total already, and cannot leave it.
        let known = members.iter().find_map(|member| member.backend.counters().total());
        let total = Arc::clone(known.unwrap_or(&self.total));
        let counts_in = |member: &Member| Arc::ptr_eq(member.backend.counters().count_in(&total), &total);
        let complete = members.iter().filter(|member| counts_in(member)).count() == members.len();
        let sum_of_weights = members.iter().map(|member| f64::from(member.weight.get())).sum();
        Self { factor: self.factor, sum_of_weights, total, complete }
    }

    #[inline]
    fn in_flight(&self, candidates: &Snapshot) -> u32 {
        if self.complete {
            return self.total.in_flight();
        }
        candidates.members().iter().map(|member| member.backend.counters().in_flight()).sum()
    }

    #[inline]
    fn leaves_room(&self, member: &Member, in_flight: u32) -> bool {
        let part = self.factor * (f64::from(in_flight) + 1.0) * f64::from(member.weight.get());
        // A whole number with a rounding error must not become the next one.
        let most = (part / self.sum_of_weights - 1e-9).ceil();
        f64::from(member.backend.counters().in_flight()) < most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Lease, Outcome};
    use crate::balance::testing::{built, none_tried, random_weights, snapshot};

    fn bounded(factor: f64) -> ConsistentHash {
        ConsistentHash::new(&ConsistentHashOptions { bounded_load: Some(factor), ..Default::default() })
    }

    fn in_flight(candidates: &Snapshot) -> u32 {
        candidates.members().iter().map(|member| member.backend.counters().in_flight()).sum()
    }

    #[track_caller]
    fn assert_within(candidates: &Snapshot, index: usize, factor: f64, what: &str) {
        let weights = |member: &Member| f64::from(member.weight.get());
        let member = &candidates.members()[index];
        let share = weights(member) / candidates.members().iter().map(weights).sum::<f64>();
        let most = (factor * f64::from(in_flight(candidates)) * share).ceil();
        let has = f64::from(member.backend.counters().in_flight());
        assert!(has <= most, "{what}: {has} attempts, at most {most}");
    }

    /// Few keys, some of them hot; attempts that come and go; weights of every kind.
    #[test]
    fn no_choice_ever_exceeds_the_bound() {
        let mut rng = fastrand::Rng::with_seed(1);
        for round in 0..60 {
            let factor = [1.0, 1.1, 1.25, 2.0][round % 4];
            let count = 1 + rng.usize(..20);
            let weights = if round % 3 == 0 { random_weights(&mut rng, count) } else { vec![1; count] };
            let candidates = snapshot(&weights);
            let balancer = built(&bounded(factor), &candidates);
            let mut leases = Vec::new();
            for _ in 0..1_000 {
                let key = [1, 2, rng.u64(..9)][rng.usize(..3)];
                let mut pick = Pick::new(key, none_tried(), &mut rng);
                let index = balancer.pick(&candidates, &mut pick).unwrap();
                leases.push(Lease::new(Arc::clone(&candidates.members()[index].backend)));
                assert_within(&candidates, index, factor, &format!("{weights:?} at {factor}"));
                while rng.usize(..200) < leases.len() {
                    leases.swap_remove(rng.usize(..leases.len())).end(Outcome::Answered);
                }
            }
        }
    }

    #[test]
    fn a_key_stays_where_it_is_as_long_as_there_is_room() {
        let candidates = snapshot(&[1; 10]);
        let (plain, bounded) =
            (built(&ConsistentHash::default(), &candidates), built(&bounded(1.25), &candidates));
        let mut rng = fastrand::Rng::with_seed(2);
        for key in 0..1_000 {
            let mut pick = |balancer: &dyn Balancer| {
                balancer.pick(&candidates, &mut Pick::new(key, none_tried(), &mut rng))
            };
            assert_eq!(pick(&*plain), pick(&*bounded));
        }
        let home = bounded.pick(&candidates, &mut Pick::new(7, none_tried(), &mut rng)).unwrap();
        let lease = Lease::new(Arc::clone(&candidates.members()[home].backend));
        let next = bounded.pick(&candidates, &mut Pick::new(7, none_tried(), &mut rng)).unwrap();
        assert_ne!(next, home, "one is the most of two in flight on ten");
        drop(lease);
        assert_eq!(bounded.pick(&candidates, &mut Pick::new(7, none_tried(), &mut rng)), Some(home));
    }

    /// Twenty in flight on each, on average: the full ones are passed over in few steps, however many there are.
    #[test]
    fn who_is_full_is_passed_over_in_few_steps() {
        for count in [10, 1_000] {
            let candidates = snapshot(&vec![1; count]);
            let balancer = bounded(1.25);
            let bound = balancer.bound.as_ref().unwrap().rebuild(&candidates);
            let ring = Ring::new(&candidates);
            let mut rng = fastrand::Rng::with_seed(3);
            let (mut leases, mut looks) = (Vec::new(), 0);
            for _ in 0..20 * count {
                let key = rng.u64(..);
                let room = |&index: &usize| {
                    looks += 1;
                    bound.leaves_room(&candidates.members()[index], bound.in_flight(&candidates))
                };
                let index = ring.owners_from(key).find(room).unwrap();
                leases.push(Lease::new(Arc::clone(&candidates.members()[index].backend)));
            }
            let mean = f64::from(looks) / (20 * count) as f64;
            assert!(mean < 4.0, "{count} backends: {mean} looked at for each choice");
        }
    }

    #[test]
    fn a_total_is_carried_over_and_found_again() {
        let candidates = snapshot(&[1; 4]);
        let first = bounded(1.5);
        let _one = built(&*built(&first, &candidates), &candidates);
        let lease = Lease::new(Arc::clone(&candidates.members()[0].backend));
        // Another configuration's balancer, with other backends besides.
        let grown = [candidates.members(), snapshot(&[1; 2]).members()].concat();
        let grown = Snapshot::new(grown);
        let other = bounded(2.0).bound.unwrap().rebuild(&grown);
        assert!(other.complete);
        assert_eq!(other.in_flight(&grown), 1);
        drop(lease);
        assert_eq!(other.in_flight(&grown), 0);
    }

    #[test]
    fn backends_of_several_totals_are_summed() {
        let (one, other) = (snapshot(&[1; 2]), snapshot(&[1; 2]));
        let _totals = [built(&bounded(1.5), &one), built(&bounded(1.5), &other)];
        let both = Snapshot::new([one.members(), other.members()].concat());
        let bound = bounded(1.5).bound.unwrap().rebuild(&both);
        assert!(!bound.complete);
        let _leases = [0, 2, 3].map(|index: usize| Lease::new(Arc::clone(&both.members()[index].backend)));
        assert_eq!(bound.in_flight(&both), 3);
    }
}
