//! What the algorithms' tests share.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Balancer, Pick, Tried};
use crate::backend::{Address, Backend, Lease, Member, Snapshot, Weight};

/// Idle backends with these weights.
pub(super) fn snapshot(weights: &[u32]) -> Snapshot {
    let member = |(port, &weight): (u16, &u32)| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let backend = Backend::new(format!("http://{address}"), Address::Tcp(address));
        Member::new(Arc::new(backend), Weight::new(weight).unwrap())
    };
    Snapshot::new((1..).zip(weights).map(member).collect::<Vec<_>>())
}

/// Keeps so many attempts in flight on each backend until dropped.
pub(super) fn busy(candidates: &Snapshot, in_flight: &[u32]) -> Vec<Lease> {
    let leases = |(member, &count): (&Member, &u32)| {
        let backend = Arc::clone(&member.backend);
        (0..count).map(move |_| Lease::new(Arc::clone(&backend)))
    };
    candidates.members().iter().zip(in_flight).flat_map(leases).collect()
}

pub(super) fn tried(indices: &[usize]) -> Tried {
    let mut tried = Tried::default();
    indices.iter().for_each(|&index| tried.insert(index));
    tried
}

pub(super) fn none_tried() -> &'static Tried {
    static NONE: std::sync::LazyLock<Tried> = std::sync::LazyLock::new(Tried::default);
    &NONE
}

/// The balancer as it stands after this set was given to it.
pub(super) fn built(balancer: &dyn Balancer, candidates: &Snapshot) -> Arc<dyn Balancer> {
    balancer.rebuild(candidates).unwrap()
}

/// How often each backend is chosen in so many choices, none of which stays in flight.
pub(super) fn picks(balancer: &dyn Balancer, candidates: &Snapshot, count: u32, seed: u64) -> Vec<u32> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut counts = vec![0; candidates.len()];
    for _ in 0..count {
        let index = balancer.pick(candidates, &mut Pick::new(0, none_tried(), &mut rng)).unwrap();
        counts[index] += 1;
    }
    counts
}

/// Weights of every magnitude, small ones as often as huge ones.
pub(super) fn random_weights(rng: &mut fastrand::Rng, count: usize) -> Vec<u32> {
    (0..count).map(|_| (rng.u32(..) >> rng.u32(..32)).max(1)).collect()
}

/// A chi-square test of counts against weights at the level 0.001.
pub(super) fn assert_follows_weights(counts: &[u32], weights: &[u32]) {
    let total: f64 = counts.iter().copied().map(f64::from).sum();
    let weight_total: f64 = weights.iter().copied().map(f64::from).sum();
    let statistic: f64 = counts
        .iter()
        .zip(weights)
        .map(|(&count, &weight)| {
            let expected = total * f64::from(weight) / weight_total;
            (f64::from(count) - expected).powi(2) / expected
        })
        .sum();
    // The quantile by Wilson and Hilferty (1931).
    let freedom = (counts.len() - 1) as f64;
    let spread = 2.0 / (9.0 * freedom);
    let critical = freedom * (1.0 - spread + 3.090_232 * spread.sqrt()).powi(3);
    assert!(statistic < critical, "chi-square {statistic:.1} >= {critical:.1}: {counts:?} by {weights:?}");
}
