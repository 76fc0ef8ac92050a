//! What every algorithm must hold.

use std::sync::Arc;
use std::thread;

use super::testing::{busy, none_tried, random_weights, snapshot, tried};
use super::{Balancer, LoadBalancingAlgorithm, Pick, Tried};
use crate::backend::{Lease, Outcome, Snapshot};

/// Every algorithm that has a name, with a balancer that knows `candidates`.
fn every(candidates: &Snapshot) -> impl Iterator<Item = (&'static str, Arc<dyn Balancer>)> {
    LoadBalancingAlgorithm::NAMES.iter().map(|&name| {
        let fresh = name.parse::<LoadBalancingAlgorithm>().unwrap().balancer().unwrap();
        (name, fresh.rebuild(candidates).unwrap_or(fresh))
    })
}

#[test]
fn an_empty_set_gives_none() {
    let mut rng = fastrand::Rng::with_seed(1);
    let candidates = snapshot(&[]);
    for (name, balancer) in every(&candidates) {
        for tried in [none_tried(), &tried(&[0])] {
            assert_eq!(balancer.pick(&candidates, &mut Pick::new(0, tried, &mut rng)), None, "{name}");
        }
    }
}

#[test]
fn a_single_backend_is_chosen_once_per_request() {
    let mut rng = fastrand::Rng::with_seed(1);
    let candidates = snapshot(&[3]);
    for (name, balancer) in every(&candidates) {
        assert_eq!(balancer.pick(&candidates, &mut Pick::new(0, none_tried(), &mut rng)), Some(0), "{name}");
        assert_eq!(balancer.pick(&candidates, &mut Pick::new(0, &tried(&[0]), &mut rng)), None, "{name}");
    }
}

#[test]
fn retries_visit_every_backend_once_whatever_the_weights() {
    let mut rng = fastrand::Rng::with_seed(2);
    for round in 0..200 {
        let weights = random_weights(&mut rng, 1 + round % 8);
        let candidates = snapshot(&weights);
        let in_flight: Vec<u32> = weights.iter().map(|_| rng.u32(..3)).collect();
        let _leases = busy(&candidates, &in_flight);
        for (name, balancer) in every(&candidates) {
            let mut tried = Tried::default();
            for _ in &weights {
                let index = balancer.pick(&candidates, &mut Pick::new(0, &tried, &mut rng)).unwrap();
                assert!(index < weights.len() && !tried.contains(index), "{name} by {weights:?}");
                tried.insert(index);
            }
            assert_eq!(balancer.pick(&candidates, &mut Pick::new(0, &tried, &mut rng)), None, "{name}");
        }
    }
}

#[test]
fn a_balancer_of_another_set_stays_inside_this_one() {
    let mut rng = fastrand::Rng::with_seed(3);
    for (known, given) in [(vec![5, 1, 9, 2], vec![1, 1]), (vec![2, 1], vec![1, 2, 3]), (vec![], vec![4, 1])]
    {
        let candidates = snapshot(&given);
        for (name, balancer) in every(&snapshot(&known)) {
            for tried in [none_tried(), &tried(&[0])] {
                for _ in 0..100 {
                    let index = balancer.pick(&candidates, &mut Pick::new(0, tried, &mut rng)).unwrap();
                    assert!(index < given.len(), "{name}");
                }
            }
        }
    }
}

#[test]
fn many_threads_choose_while_counters_change() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 5_000;
    let candidates = snapshot(&[4, 1, 2, 3]);
    for (name, balancer) in every(&candidates) {
        let before: u64 = attempts(&candidates);
        thread::scope(|scope| {
            for seed in 0..THREADS {
                let (balancer, candidates) = (&balancer, &candidates);
                scope.spawn(move || hold_leases_in_turn(&**balancer, candidates, seed, ROUNDS));
            }
        });
        assert_eq!(attempts(&candidates) - before, THREADS * ROUNDS, "{name}");
        for member in candidates.members() {
            assert_eq!(member.backend.counters().in_flight(), 0, "{name}");
        }
    }
}

/// Chooses, keeping up to ten leases at a time and ending them in every way.
fn hold_leases_in_turn(balancer: &dyn Balancer, candidates: &Snapshot, seed: u64, rounds: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut held = Vec::new();
    for _ in 0..rounds {
        let index = balancer.pick(candidates, &mut Pick::new(0, none_tried(), &mut rng)).unwrap();
        held.push(Lease::new(Arc::clone(&candidates.members()[index].backend)));
        if held.len() == 10 {
            held.drain(..rng.usize(..10)).for_each(|lease| lease.end(Outcome::Answered));
            drop(held.pop());
        }
    }
}

fn attempts(candidates: &Snapshot) -> u64 {
    candidates.members().iter().map(|member| member.backend.counters().attempts()).sum()
}

#[test]
fn tried_remembers_each_index_once_and_the_last_eight() {
    let mut tried = Tried::default();
    assert!(tried.is_empty());
    for index in 0..8 {
        tried.insert(index);
        tried.insert(index);
    }
    assert!((0..8).all(|index| tried.contains(index)) && !tried.contains(8));
    tried.insert(8);
    assert!((0..9).all(|index| tried.contains(index)) && !tried.contains(9), "none is forgotten");
    tried.insert(1000);
    assert!(tried.contains(1000) && !tried.contains(999) && !tried.contains(100_000));
    assert_eq!(tried.len(), 10);
}
