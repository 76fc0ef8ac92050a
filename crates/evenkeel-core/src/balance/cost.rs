//! What a choice costs among ten backends and among ten thousand.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::testing::{none_tried, snapshot};
use super::{Balancer, ConsistentHashOptions, LoadBalancingAlgorithm, Pick, PrequalOptions, Sample};
use crate::Moment;
use crate::backend::{Reported, Snapshot};

const MANY: usize = 10_000;

/// `again` chooses by the same 32 keys and random numbers in turn, so that what is read stays in the CPU's caches: what
/// there is to do. `in turn` chooses by another key and number each time, as requests do: with the misses.
#[test]
#[ignore = "a measurement: it wants a release build and a quiet machine"]
fn cost_of_many() {
    println!("ns a choice among 10 and among {MANY} backends");
    println!("{:24} {:>17} {:>17}", "", "again: 10, 10000", "in turn: 10, 10000");
    let named = LoadBalancingAlgorithm::NAMES.iter().map(|name| (*name, name.parse().unwrap()));
    let bounded = ConsistentHashOptions { bounded_load: Some(1.25), ..Default::default() };
    let probing = PrequalOptions { probe_path: Some("/".into()), ..Default::default() };
    let more = [
        ("consistent_hash, bounded", LoadBalancingAlgorithm::ConsistentHash(bounded)),
        ("prequal, probing", LoadBalancingAlgorithm::Prequal(probing)),
    ];
    for (name, algorithm) in named.chain(more) {
        let [few, many] = [10, MANY].map(|count| {
            let candidates = snapshot(&vec![1; count]);
            let fresh = algorithm.balancer().unwrap();
            let balancer = fresh.rebuild(&candidates).unwrap_or(fresh);
            warm_up(&*balancer, &candidates);
            [32, u64::MAX].map(|keys| nanoseconds(&*balancer, &candidates, keys))
        });
        println!("{name:24} {:8.1} {:8.1} {:8.1} {:8.1}", few[0], many[0], few[1], many[1]);
    }
}

fn warm_up(balancer: &dyn Balancer, candidates: &Snapshot) {
    for (index, member) in candidates.members().iter().enumerate() {
        let sample = Sample::new(Duration::from_millis(10), true, Moment::default());
        balancer.observe(&member.backend, sample);
        if let Some(prequal) = balancer.probing() {
            prequal.report(candidates, index, Reported::new(0, None, Moment::default()));
        }
    }
}

/// The best of several rounds, which is the one that was disturbed least.
fn nanoseconds(balancer: &dyn Balancer, candidates: &Snapshot, keys: u64) -> f64 {
    let choices = if candidates.len() == MANY { 20_000 } else { 200_000 };
    let round = || {
        let start = Instant::now();
        for number in 0..choices {
            let mut rng = fastrand::Rng::with_seed(number % keys);
            let mut pick = Pick::new(rng.u64(..), none_tried(), &mut rng);
            assert!(black_box(balancer.pick(black_box(candidates), &mut pick)).is_some());
        }
        start.elapsed().as_secs_f64() * 1e9 / choices as f64
    };
    (0..7).map(|_| round()).fold(f64::INFINITY, f64::min)
}
