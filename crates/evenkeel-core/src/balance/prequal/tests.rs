//! The rule, the pool's ageing, and what is done without probes.

use std::time::Duration;

use super::*;
use crate::Moment;
use crate::backend::{Lease, Outcome};
use crate::balance::testing::{assert_follows_weights, built, busy, none_tried, picks, snapshot, tried};

fn at(millis: u64) -> Moment {
    Moment::from_micros(millis * 1_000)
}

fn probing(options: PrequalOptions) -> Prequal {
    Prequal::new(PrequalOptions { probe_path: Some("/load".into()), ..options })
}

fn report(
    balancer: &dyn Balancer,
    candidates: &Snapshot,
    index: usize,
    (in_flight, millis): (u32, u64),
    now: Moment,
) {
    let report = Reported::new(in_flight, Some(Duration::from_millis(millis)), now);
    balancer.probing().unwrap().report(candidates, index, report);
}

fn pick(balancer: &dyn Balancer, candidates: &Snapshot, rng: &mut fastrand::Rng, now: Moment) -> usize {
    balancer.pick(candidates, &mut Pick::new(0, none_tried(), rng).at(now)).unwrap()
}

/// How often each is chosen when all report the same again and again.
fn shares(weights: &[u32], reports: &[(u32, u64)]) -> Vec<u32> {
    let candidates = snapshot(weights);
    let balancer = built(&probing(PrequalOptions::default()), &candidates);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut counts = vec![0; weights.len()];
    for round in 0..2_000 {
        for (index, &told) in reports.iter().enumerate() {
            report(&*balancer, &candidates, index, told, at(round));
        }
        let index = pick(&*balancer, &candidates, &mut rng, at(round));
        if round >= 100 {
            counts[index] += 1;
        }
    }
    counts
}

#[test]
fn the_cold_one_with_the_lowest_latency_is_chosen() {
    let told = [(5, 10), (5, 90), (90, 1), (0, 100), (1, 50), (2, 50), (3, 50), (4, 50)];
    let counts = shares(&[1; 8], &told);
    assert!(counts[0] > 1_800, "the third is hot, the others are slow: {counts:?}");
}

#[test]
fn of_those_about_as_fast_the_one_with_the_least_in_flight_is_chosen() {
    let counts = shares(&[1; 4], &[(5, 10), (3, 14), (4, 11), (0, 100)]);
    assert!(counts[1] > 1_800, "{counts:?}");
    let counts = shares(&[4, 1, 1], &[(5, 10), (3, 10), (4, 10)]);
    assert!(counts[0] > 1_800, "five for a weight of four: {counts:?}");
}

#[test]
fn if_all_are_hot_the_one_with_the_least_in_flight_is_chosen() {
    let candidates = snapshot(&[1; 3]);
    let balancer = built(&probing(PrequalOptions::default()), &candidates);
    (0..64).for_each(|index| report(&*balancer, &candidates, index % 3, (1, 10), at(0)));
    for (index, told) in [(9, 1), (7, 90), (8, 2)].into_iter().enumerate() {
        report(&*balancer, &candidates, index, told, at(1));
    }
    assert_eq!(pick(&*balancer, &candidates, &mut fastrand::Rng::with_seed(2), at(1)), 1);
}

#[test]
fn a_moments_burst_makes_nobody_hot() {
    let counts = shares(&[1; 8], &[(4, 10), (0, 90), (0, 90), (0, 90), (0, 90), (0, 90), (0, 90), (0, 90)]);
    assert_eq!(counts[0], 1_900, "{counts:?}");
}

#[test]
fn equal_reports_leave_it_to_the_weights() {
    for weights in [vec![1; 10], vec![5, 1, 1, 3]] {
        let counts = shares(&weights, &vec![(0, 10); weights.len()]);
        assert_follows_weights(&counts, &weights);
    }
}

#[test]
fn attempts_since_a_report_count_as_in_flight() {
    let candidates = snapshot(&[1; 2]);
    let balancer =
        built(&probing(PrequalOptions { probes_per_request: 0.0, ..Default::default() }), &candidates);
    (0..2).for_each(|index| report(&*balancer, &candidates, index, (0, 10), at(0)));
    let mut counts = [0; 2];
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..20 {
        let index = pick(&*balancer, &candidates, &mut rng, at(1));
        counts[index] += 1;
        Lease::new(std::sync::Arc::clone(&candidates.members()[index].backend)).end(Outcome::Answered);
    }
    assert_eq!(counts, [10, 10], "each choice makes the other one less busy");
}

#[test]
fn reports_that_are_old_or_used_up_are_dropped() {
    let candidates = snapshot(&[1; 100]);
    let balancer =
        built(&probing(PrequalOptions { probes_per_request: 2.0, ..Default::default() }), &candidates);
    let prequal = balancer.probing().unwrap();
    // 2 / (0.84 * 2 - 2/3) is 1.97.
    assert_eq!(prequal.reuse, 1);
    let held = |now| {
        let mut rng = fastrand::Rng::with_seed(4);
        let request = &mut Pick::new(0, none_tried(), &mut rng).at(now);
        prequal.reported(&candidates, request).count
    };
    (0..10).for_each(|index| report(&*balancer, &candidates, index, (0, 10), at(index as u64 * 100)));
    assert_eq!(held(at(1_000)), 10);
    // This one drops what is too old, the other those before one more each.
    assert!((4..=5).contains(&held(at(1_450))));
    Lease::new(std::sync::Arc::clone(&candidates.members()[9].backend)).end(Outcome::Answered);
    assert!((2..=4).contains(&held(at(1_450))));
    assert_eq!(held(at(5_000)), 0);
}

#[test]
fn one_that_fails_at_once_attracts_nobody() {
    let candidates = snapshot(&[1; 4]);
    let balancer = built(&probing(PrequalOptions::default()), &candidates);
    let backend = &candidates.members()[2].backend;
    (0..5).for_each(|_| Lease::new(std::sync::Arc::clone(backend)).end(Outcome::Failed));
    let mut rng = fastrand::Rng::with_seed(5);
    for round in 0..100 {
        (0..4).for_each(|index| {
            let millis = if index == 2 { 1 } else { 10 };
            report(&*balancer, &candidates, index, (0, millis), at(round));
        });
        assert_ne!(pick(&*balancer, &candidates, &mut rng, at(round)), 2);
    }
}

#[test]
fn the_tried_are_left_out_of_the_pool() {
    let candidates = snapshot(&[1; 4]);
    let balancer = built(&probing(PrequalOptions::default()), &candidates);
    (0..4).for_each(|index| report(&*balancer, &candidates, index, (0, 10), at(0)));
    let (mut rng, tried) = (fastrand::Rng::with_seed(6), tried(&[0, 1]));
    for _ in 0..100 {
        let index = balancer.pick(&candidates, &mut Pick::new(0, &tried, &mut rng)).unwrap();
        assert!(index >= 2);
    }
}

#[test]
fn probes_are_as_many_as_asked_for_and_go_to_different_ones() {
    let mut rng = fastrand::Rng::with_seed(7);
    for (wanted, count) in [(3.0, 10), (0.5, 10), (2.25, 1_000), (100.0, 1_000), (5.0, 2)] {
        let candidates = snapshot(&vec![1; count]);
        let balancer =
            built(&probing(PrequalOptions { probes_per_request: wanted, ..Default::default() }), &candidates);
        let mut counts = vec![0_u32; count];
        for _ in 0..4_000 {
            let mut drawn: Vec<usize> = balancer.probing().unwrap().to_probe(&candidates, &mut rng).collect();
            drawn.iter().for_each(|&index| counts[index] += 1);
            let number = drawn.len();
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), number);
        }
        let mean = f64::from(counts.iter().sum::<u32>()) / 4_000.0;
        let expected = wanted.min(8.0).min(count as f64);
        assert!((mean / expected - 1.0).abs() < 0.05, "{mean} of {expected}");
        if count == 10 {
            assert_follows_weights(&counts, &[1; 10]);
        }
    }
    assert_eq!(built(&Prequal::default(), &snapshot(&[1])).probing().map(|_| ()), None);
    let none = snapshot(&[]);
    assert_eq!(probing(PrequalOptions::default()).to_probe(&none, &mut rng).count(), 0);
}

// === Without probes ===

#[test]
fn an_idle_pool_follows_the_weights() {
    for (seed, weights) in [(1, vec![1; 10]), (2, vec![5, 1, 1]), (3, vec![1; 8]), (4, (1..=40).collect())] {
        let candidates = snapshot(&weights);
        assert_follows_weights(
            &picks(&*built(&Prequal::default(), &candidates), &candidates, 50_000, seed),
            &weights,
        );
    }
}

#[test]
fn own_measurements_take_the_place_of_reports_that_do_not_come() {
    let candidates = snapshot(&[1; 20]);
    let balancer = built(&probing(PrequalOptions::default()), &candidates);
    for (index, member) in candidates.members().iter().enumerate() {
        let latency = Duration::from_millis(if index < 10 { 100 } else { 10 });
        balancer.observe(&member.backend, Sample::new(latency, true, at(0)));
    }
    let _leases = busy(&candidates, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 3, 3, 3, 3, 1, 1, 1, 1, 1]);
    let counts = picks(&*balancer, &candidates, 10_000, 8);
    let sums = [&counts[..10], &counts[10..15], &counts[15..]].map(|counts| counts.iter().sum::<u32>());
    assert!(sums[2] > 8_800 && sums[0] < 100, "a tenth draws none of the last five: {counts:?}");
}

#[test]
fn a_copy_is_the_test_where_there_may_be_one() {
    for copied in [false, true] {
        let candidates = snapshot(&[1; 4]);
        let balancer = built(&Prequal::default(), &candidates);
        for (member, millis) in candidates.members().iter().zip([100, 10, 10, 10]) {
            balancer.observe(&member.backend, Sample::new(Duration::from_millis(millis), true, at(0)));
        }
        let mut rng = fastrand::Rng::with_seed(6);
        let (mut chosen, mut heard) = (0, 0);
        for millis in 0..1_000 {
            let mut pick = Pick::new(0, none_tried(), &mut rng).at(at(600 + millis)).copied(copied);
            chosen += u32::from(balancer.pick(&candidates, &mut pick).unwrap() == 0);
            heard += u32::from(pick.hear == Some(0));
        }
        let (most, least) = if copied { (heard, chosen) } else { (chosen, heard) };
        assert!(
            (1..=2).contains(&most) && least == 0,
            "copied {copied}: chosen {chosen}, heard from {heard}"
        );
    }
}
