//! Which backends serve worse than they may.
//!
//! # The problem
//! A probe asks one thing every few seconds; requests meet everything that can be wrong with a backend, at once. But a
//! fixed bound on latency is wrong on every bad day of a database behind all backends alike.
//!
//! # The idea
//! Judge a backend by the requests it serves: by failures in a row at once, by the share of failures and the mean latency
//! over an interval. Latency is compared with the median of what its peers had in the same interval: the median is not
//! moved by a few that are slow as well, and moves when all of them are. Peers are of the same priority level, and in the
//! balancer's zone or out of it alike. Too few requests or peers say nothing. The worst go first, since only so many may
//! be out at a time.
//!
//! Sources: J. Dean, L. A. Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013 ("latency-induced
//! probation"); Envoy's outlier detection for the growing time and the limit.
//!
//! # Cost
//! O(n log n) an interval, and nothing for a request: the counters that it reads are there anyway.
//!
//! # When not to use it
//! Where one backend's requests are slow or fail by their nature, as with hashing by customer; leave rate and latency
//! off there. Failures in a row alone are safe nearly everywhere.

use super::{OutlierOptions, Reason, Traffic};
use crate::backend::BackendId;

/// Fewest others whose median says what is normal.
const PEERS: usize = 3;

/// What a backend that could be chosen did in an interval.
#[derive(Debug)]
pub(super) struct Performance {
    pub(super) id: BackendId,
    /// Only backends of the same group are peers.
    pub(super) group: (u8, bool),
    /// Whether its latency says anything: a backend starts slowly because it is slow at first.
    pub(super) is_warm: bool,
    pub(super) traffic: Traffic,
}

/// Those who are to be ejected, and why, the worst first. One may be named twice.
pub(super) fn suspects(interval: &[Performance], options: &OutlierOptions) -> Vec<(BackendId, Reason)> {
    let mut found = failing(interval, options);
    found.extend(slow(interval, options));
    found
}

fn failing(interval: &[Performance], options: &OutlierOptions) -> Vec<(BackendId, Reason)> {
    let Some(limit) = options.failure_rate else { return Vec::new() };
    let enough = |p: &&Performance| p.traffic.attempts() >= u64::from(options.min_requests.max(1));
    let rates = interval.iter().filter(enough).map(|p| (p.id, p.traffic.failure_rate()));
    worst_first(rates.filter(|(_, rate)| *rate > limit).collect(), Reason::FailureRate)
}

fn slow(interval: &[Performance], options: &OutlierOptions) -> Vec<(BackendId, Reason)> {
    let Some(limit) = options.latency_factor else { return Vec::new() };
    let enough = |p: &&Performance| p.is_warm && p.traffic.answers >= u64::from(options.min_requests.max(1));
    let mut judged: Vec<_> =
        interval.iter().filter(enough).map(|p| (p.group, p.traffic.mean_latency(), p.id)).collect();
    judged.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut factors = Vec::new();
    for peers in judged.chunk_by(|a, b| a.0 == b.0) {
        let means: Vec<f64> = peers.iter().map(|peer| peer.1).collect();
        for (place, (_, mean, id)) in peers.iter().enumerate() {
            match median_of_others(&means, place) {
                Some(median) if median > 0.0 && mean / median > limit => factors.push((*id, mean / median)),
                _ => {}
            }
        }
    }
    worst_first(factors, Reason::Latency)
}

fn worst_first(mut found: Vec<(BackendId, f64)>, reason: fn(f64) -> Reason) -> Vec<(BackendId, Reason)> {
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    found.into_iter().map(|(id, value)| (id, reason(value))).collect()
}

/// The median of `sorted` without the one at `place`, if there are enough others.
fn median_of_others(sorted: &[f64], place: usize) -> Option<f64> {
    let others = sorted.len().checked_sub(1).filter(|others| *others >= PEERS)?;
    let other = |at: usize| sorted.get(if at < place { at } else { at + 1 }).copied();
    let (low, high) = (other((others - 1) / 2)?, other(others / 2)?);
    Some(low.midpoint(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_of_the_others() {
        let mut rng = fastrand::Rng::with_seed(1);
        for n in 1..40 {
            let mut sorted: Vec<f64> = (0..n).map(|_| rng.f64()).collect();
            sorted.sort_by(f64::total_cmp);
            for place in 0..n {
                let mut others = sorted.clone();
                others.remove(place);
                let k = others.len();
                let expected = (k >= PEERS).then(|| (others[(k - 1) / 2] + others[k / 2]) / 2.0);
                assert_eq!(median_of_others(&sorted, place), expected, "{place} of {sorted:?}");
            }
        }
    }
}
