//! The backend with the fewest attempts in flight for its weight.
//!
//! # The problem
//! When requests differ much in length, or backends in speed, taking turns piles requests up where they are slow.
//! Attempts in flight show it at once: who is slow keeps them longer.
//!
//! # The idea
//! Look at all backends and take one whose attempts in flight divided by its weight are the fewest, compared exactly.
//! Among several such the turn rotates: strictly when their weights are equal, else by weight along a golden-ratio
//! sequence, which after any number of turns is within about one of each one's share.
//!
//! Source: Linux Virtual Server's weighted least-connection scheduling (W. Zhang, 2000); for the sequence, H. Weyl,
//! "Über die Gleichverteilung von Zahlen mod. Eins", Mathematische Annalen 77, 1916.
//!
//! # Cost
//! O(n) a choice, twice over when several are tied: reads every backend's counters. One atomic number, whatever n is.
//!
//! # When not to use it
//! Beyond about a hundred backends, or with several balancers in front of the same ones (all find the same idle
//! backend at the same moment): [`PowerOfTwoChoices`](super::PowerOfTwoChoices) has most of the effect in O(1). A
//! backend that fails fast has little in flight and attracts requests: use it together with outlier detection.

use std::cmp::Ordering;
use std::sync::atomic::Ordering::Relaxed;

use super::cursor::Cursor;
use super::load::Load;
use super::{Balancer, Pick};
use crate::backend::{Member, Snapshot};

/// Chooses the least busy backend by weight; never one that was busier than another at the time it was looked at.
/// Serves every set.
#[derive(Debug, Default)]
pub struct LeastConnections {
    turn: Cursor,
}

/// The least load that was found, and who shares it.
struct Least {
    load: Load,
    first: usize,
    ties: u64,
    weight_of_ties: u64,
    equal_weights: bool,
}

// === impl LeastConnections ===

impl Balancer for LeastConnections {
    #[inline]
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        let least = Least::of(untried(candidates, request))?;
        if least.ties == 1 {
            return Some(least.first);
        }
        let mut point = least.point_in_turn(self.turn.0.fetch_add(1, Relaxed) as u64);
        for (index, member) in untried(candidates, request) {
            // Loads may have changed meanwhile: a backend that became busier is skipped, one that became less busy can
            // be picked.
            if Load::of(member).compare(least.load) == Ordering::Greater {
                continue;
            }
            match point.checked_sub(u64::from(member.weight.get())) {
                Some(beyond) => point = beyond,
                None => return Some(index),
            }
        }
        Some(least.first)
    }

    fn score(&self, candidates: &Snapshot, index: usize, _: &Pick<'_>) -> Option<f64> {
        candidates.members().get(index).map(|member| Load::of(member).quotient())
    }
}

#[inline]
fn untried<'a>(candidates: &'a Snapshot, request: &Pick<'a>) -> impl Iterator<Item = (usize, &'a Member)> {
    let tried = request.tried;
    candidates.members().iter().enumerate().filter(move |&(index, _)| !tried.contains(index))
}

// === impl Least ===

impl Least {
    #[inline]
    fn of<'a>(members: impl Iterator<Item = (usize, &'a Member)>) -> Option<Self> {
        let mut least: Option<Self> = None;
        for (index, member) in members {
            let load = Load::of(member);
            match least.as_mut().map(|least| (load.compare(least.load), least)) {
                Some((Ordering::Greater, _)) => {}
                Some((Ordering::Equal, least)) => least.join(member),
                Some((Ordering::Less, _)) | None => least = Some(Self::alone(index, member, load)),
            }
        }
        least
    }

    #[inline]
    fn alone(first: usize, member: &Member, load: Load) -> Self {
        let weight_of_ties = u64::from(member.weight.get());
        Self { load, first, ties: 1, weight_of_ties, equal_weights: true }
    }

    #[inline]
    fn join(&mut self, member: &Member) {
        let weight = u64::from(member.weight.get());
        self.equal_weights &= weight * self.ties == self.weight_of_ties;
        self.ties += 1;
        self.weight_of_ties += weight;
    }

    /// Where in the tied backends' weights, laid end to end, this turn falls.
    #[inline]
    fn point_in_turn(&self, turn: u64) -> u64 {
        if self.equal_weights {
            return turn % self.ties * (self.weight_of_ties / self.ties);
        }
        // 2^64 over the golden ratio: the multiples' fractional parts spread as evenly as any sequence's can.
        let fraction = turn.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((u128::from(fraction) * u128::from(self.weight_of_ties)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::{busy, none_tried, picks, random_weights, snapshot, tried};

    #[test]
    fn an_idle_pool_takes_strict_turns() {
        let candidates = snapshot(&[1; 5]);
        assert_eq!(picks(&LeastConnections::default(), &candidates, 1_000, 0), [200; 5]);
        let candidates = snapshot(&[30; 5]);
        assert_eq!(picks(&LeastConnections::default(), &candidates, 1_000, 0), [200; 5]);
    }

    #[test]
    fn ties_beside_a_busy_backend_take_strict_turns() {
        let candidates = snapshot(&[1; 5]);
        let _leases = busy(&candidates, &[0, 0, 1, 0, 0]);
        assert_eq!(picks(&LeastConnections::default(), &candidates, 1_000, 0), [250, 250, 0, 250, 250]);
    }

    #[test]
    fn ties_of_unequal_weights_share_by_weight() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..50 {
            let weights: Vec<u32> = (0..rng.usize(2..12)).map(|_| rng.u32(1..10)).collect();
            let candidates = snapshot(&weights);
            let total: u32 = weights.iter().sum();
            let counts = picks(&LeastConnections::default(), &candidates, 10_000, 0);
            for (&count, &weight) in counts.iter().zip(&weights) {
                let share = 10_000.0 * f64::from(weight) / f64::from(total);
                assert!((f64::from(count) - share).abs() <= 6.0, "{weights:?} gave {counts:?}");
            }
        }
    }

    #[test]
    fn never_a_busier_backend_than_the_least() {
        let mut rng = fastrand::Rng::with_seed(4);
        let balancer = LeastConnections::default();
        for round in 0..400 {
            let weights: Vec<u32> =
                random_weights(&mut rng, 1 + round % 12).iter().map(|weight| weight % 9 + 1).collect();
            let candidates = snapshot(&weights);
            let in_flight: Vec<u32> = weights.iter().map(|_| rng.u32(..12)).collect();
            let _leases = busy(&candidates, &in_flight);
            let tried = tried(&[rng.usize(..12)]);
            for tried in [&tried, none_tried()] {
                let choice = balancer.pick(&candidates, &mut Pick::new(0, tried, &mut rng));
                let untried = || (0..weights.len()).filter(|&index| !tried.contains(index));
                assert_eq!(choice.is_none(), untried().count() == 0);
                let Some(choice) = choice else { continue };
                assert!(!tried.contains(choice));
                for other in untried() {
                    assert!(
                        in_flight[choice] * weights[other] <= in_flight[other] * weights[choice],
                        "chose {choice} of {in_flight:?} by {weights:?}"
                    );
                }
            }
        }
    }
}
