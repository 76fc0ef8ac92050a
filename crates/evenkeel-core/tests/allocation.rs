//! Choosing a backend and holding it allocates nothing. The counting allocator is the dev-dependency's, per thread.

use std::net::SocketAddr;
use std::sync::Arc;

use evenkeel_core::backend::{Address, Backend, Lease, Member, Outcome, Snapshot, Weight};
use evenkeel_core::balance::{LoadBalancingAlgorithm, Pick, Tried};

fn snapshot(weights: impl Iterator<Item = u32>) -> Snapshot {
    let address = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 80)));
    let backend = || Arc::new(Backend::new("http://127.0.0.1", address.clone()));
    let members = weights.filter_map(Weight::new).map(|weight| Member::new(backend(), weight));
    Snapshot::new(members.collect::<Vec<_>>())
}

#[test]
fn choosing_a_backend_and_holding_it_allocates_nothing() {
    let sets = [snapshot([1; 10].into_iter()), snapshot(1..=50), snapshot([1_000_000, 1, 1].into_iter())];
    for name in LoadBalancingAlgorithm::NAMES {
        for candidates in &sets {
            let fresh = name.parse::<LoadBalancingAlgorithm>().unwrap().balancer();
            let balancer = fresh.rebuild(candidates).unwrap_or(fresh);
            let mut rng = fastrand::Rng::with_seed(1);
            let mut leases = Vec::with_capacity(3);
            let measured = allocation_counter::measure(|| {
                for _ in 0..1_000 {
                    let mut tried = Tried::default();
                    while tried.is_empty() || leases.len() < 3 {
                        let mut pick = Pick::new(0, &tried, &mut rng);
                        let index = balancer.pick(candidates, &mut pick).unwrap();
                        tried.insert(index);
                        leases.push(Lease::new(Arc::clone(&candidates.members()[index].backend)));
                    }
                    leases.drain(..).for_each(|lease| lease.end(Outcome::Answered));
                }
            });
            assert_eq!(measured.count_total, 0, "{name} with {} backends", candidates.len());
        }
    }
}

#[test]
fn the_counter_counts() {
    let measured = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(measured.count_total, 1);
}
