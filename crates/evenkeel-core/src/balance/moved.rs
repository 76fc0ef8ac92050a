//! How many keys move when one of n backends goes, and how each hashing algorithm shares them out.

use super::testing::{none_tried, snapshot, tried};
use super::{LoadBalancingAlgorithm, Pick};
use crate::backend::{Member, Snapshot};

const KEYS: u64 = 50_000;

/// Which backend each key belongs to, by name.
fn owners(name: &str, candidates: &Snapshot) -> Vec<String> {
    let fresh = name.parse::<LoadBalancingAlgorithm>().unwrap().balancer().unwrap();
    let balancer = fresh.rebuild(candidates).unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    let owner = |key| {
        let index = balancer.pick(candidates, &mut Pick::new(key, none_tried(), &mut rng)).unwrap();
        candidates.members()[index].backend.name().to_owned()
    };
    (0..KEYS).map(owner).collect()
}

fn without(candidates: &Snapshot, gone: usize) -> Snapshot {
    let stays = |&(index, _): &(usize, &Member)| index != gone;
    let members = candidates.members().iter().enumerate().filter(stays);
    Snapshot::new(members.map(|(_, member)| member.clone()).collect::<Vec<_>>())
}

/// The most keys that move when any one goes, in parts of what is 1/n by weight; and whether keys moved that were not its own.
fn moved(name: &str, weights: &[u32], every: usize) -> (f64, bool) {
    let candidates = snapshot(weights);
    let before = owners(name, &candidates);
    let sum = f64::from(weights.iter().sum::<u32>());
    let (mut most, mut others) = (0.0_f64, false);
    for gone in (0..weights.len()).step_by(every) {
        let after = owners(name, &without(&candidates, gone));
        let name_of_gone = candidates.members()[gone].backend.name();
        let of_gone = before.iter().filter(|owner| *owner == name_of_gone).count();
        let count = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        others |= count != of_gone;
        most = most.max(count as f64 / KEYS as f64 / (f64::from(weights[gone]) / sum));
    }
    assert_eq!(before, owners(name, &candidates), "{name}: what comes back has its keys back");
    (most, others)
}

#[test]
fn one_that_goes_moves_its_own_keys_and_hardly_more() {
    for (name, most_allowed) in
        [("source_ip_hash", 1.2), ("consistent_hash", 1.2), ("rendezvous", 1.2), ("maglev", 2.5)]
    {
        for (weights, every) in [(vec![1; 3], 1), (vec![1; 10], 1), (vec![4; 30], 3), (vec![1; 100], 20)] {
            let (most, others) = moved(name, &weights, every);
            println!("{name}, {} backends: at most {most:.3}/n move", weights.len());
            assert!(most <= most_allowed, "{name}, {} backends: {most}/n", weights.len());
            assert!(name == "maglev" || !others, "{name} moved keys of who stayed");
        }
    }
}

#[test]
fn keys_follow_the_weights() {
    for (name, tolerance) in
        [("source_ip_hash", 0.2), ("consistent_hash", 0.2), ("rendezvous", 0.05), ("maglev", 0.05)]
    {
        for weights in [vec![1; 10], vec![5, 1, 1, 3], vec![2; 20]] {
            let candidates = snapshot(&weights);
            let owners = owners(name, &candidates);
            let sum = f64::from(weights.iter().sum::<u32>());
            for (member, &weight) in candidates.members().iter().zip(&weights) {
                let has = owners.iter().filter(|owner| *owner == member.backend.name()).count();
                let part = has as f64 / KEYS as f64 / (f64::from(weight) / sum);
                assert!((part - 1.0).abs() < tolerance, "{name} by {weights:?}: {part:.3} of its share");
            }
        }
    }
}

#[test]
fn a_key_has_one_backend_and_one_to_go_on_to() {
    let candidates = snapshot(&[1; 10]);
    for name in ["source_ip_hash", "consistent_hash", "rendezvous", "maglev"] {
        let balancer = name.parse::<LoadBalancingAlgorithm>().unwrap().balancer().unwrap();
        let balancer = balancer.rebuild(&candidates).unwrap();
        let mut next_ones = vec![0; 10];
        for key in 0..1_000 {
            let pick = |tried: &_, seed| {
                let mut rng = fastrand::Rng::with_seed(seed);
                balancer.pick(&candidates, &mut Pick::new(key, tried, &mut rng)).unwrap()
            };
            let home = pick(none_tried(), 1);
            assert_eq!(home, pick(none_tried(), 2), "{name}");
            let next = pick(&tried(&[home]), 1);
            assert_eq!(next, pick(&tried(&[home]), 2), "{name}");
            if home == 0 {
                next_ones[next] += 1;
            }
        }
        let nexts = next_ones.iter().filter(|&&count| count > 0).count();
        assert!(nexts >= 8, "{name}: the keys of one go on to many: {next_ones:?}");
    }
}
