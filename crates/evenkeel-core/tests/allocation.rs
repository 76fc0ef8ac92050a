//! Choosing a backend, holding it, and learning how it did allocates nothing. The counting allocator is the dev-dependency's, per thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::Moment;
use evenkeel_core::backend::{Address, Backend, Lease, Member, Outcome, Reported, Snapshot, Weight};
use evenkeel_core::balance::{
    ConsistentHashOptions, LoadBalancingAlgorithm, Pick, PrequalOptions, Sample, Tried,
};

fn snapshot(weights: impl Iterator<Item = u32>) -> Snapshot {
    let address = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 80)));
    let backend = || Arc::new(Backend::new("http://127.0.0.1", address.clone()));
    let members = weights.filter_map(Weight::new).map(|weight| Member::new(backend(), weight));
    Snapshot::new(members.collect::<Vec<_>>())
}

/// Those that do more with other parameters than the defaults.
fn with_parameters() -> [LoadBalancingAlgorithm; 2] {
    let bounded = ConsistentHashOptions { bounded_load: Some(1.25), ..Default::default() };
    let probing = PrequalOptions { probe_path: Some("/load".into()), ..Default::default() };
    [LoadBalancingAlgorithm::ConsistentHash(bounded), LoadBalancingAlgorithm::Prequal(probing)]
}

#[test]
fn choosing_a_backend_and_holding_it_allocates_nothing() {
    let sets = [snapshot([1; 10].into_iter()), snapshot(1..=50), snapshot([1_000_000, 1, 1].into_iter())];
    let named = LoadBalancingAlgorithm::NAMES.iter().map(|name| name.parse().unwrap());
    for algorithm in named.chain(with_parameters()) {
        for candidates in &sets {
            let fresh = algorithm.balancer().unwrap();
            let balancer = fresh.rebuild(candidates).unwrap_or(fresh);
            let mut rng = fastrand::Rng::with_seed(1);
            let mut leases = Vec::with_capacity(3);
            let measured = allocation_counter::measure(|| {
                for round in 0..1_000 {
                    let now = Moment::from_micros(round * 10_000);
                    if let Some(prequal) = balancer.probing() {
                        for index in prequal.to_probe(candidates, &mut rng) {
                            prequal.report(candidates, index, Reported::new(1, None, now));
                        }
                    }
                    let mut tried = Tried::default();
                    while tried.is_empty() || leases.len() < 3 {
                        let mut pick = Pick::new(round, &tried, &mut rng).at(now);
                        let index = balancer.pick(candidates, &mut pick).unwrap();
                        tried.insert(index);
                        leases.push(Lease::new(Arc::clone(&candidates.members()[index].backend)));
                    }
                    for lease in leases.drain(..) {
                        let latency = Duration::from_micros(round);
                        balancer.observe(lease.backend(), Sample::new(latency, round % 9 != 0, now));
                        lease.end(Outcome::Answered);
                    }
                }
            });
            assert_eq!(measured.count_total, 0, "{algorithm} with {} backends", candidates.len());
        }
    }
}

#[test]
fn the_counter_counts() {
    let measured = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(measured.count_total, 1);
}
