//! What users feel while one of ten backends is slow, becomes slow, or becomes fast again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use super::testing::{none_tried, snapshot};
use super::{LoadBalancingAlgorithm, Pick, PrequalOptions, Sample};
use crate::Moment;
use crate::backend::{Lease, Outcome, Reported};

const SECOND: u64 = 1_000_000;
const RATES: [u64; 2] = [400, 1_000];

/// The algorithms that promise a short tail.
const PROMISE: [&str; 3] = ["peak_ewma", "prequal", PROBING];
const PROBING: &str = "prequal with probes";

/// A request as it went, times in microseconds.
struct Served {
    sent: u64,
    backend: usize,
    took: u64,
}

/// Ten backends of unbounded capacity, of which each takes what `millis` says of it at a time in seconds, give or take a few
/// percent; requests come evenly spaced for so many seconds.
fn serve(name: &str, rate: u64, seconds: u64, seed: u64, millis: impl Fn(usize, f64) -> f64) -> Vec<Served> {
    let candidates = snapshot(&[1; 10]);
    let fresh = algorithm(name).balancer().unwrap();
    let balancer = fresh.rebuild(&candidates).unwrap_or(fresh);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut under_way = BinaryHeap::<Reverse<(u64, usize)>>::new();
    let mut leases: Vec<Option<Lease>> = Vec::new();
    let mut served: Vec<Served> = Vec::new();
    for request in 0..rate * seconds {
        let now = request * SECOND / rate;
        while let Some(&Reverse((end, done))) = under_way.peek()
            && end <= now
        {
            under_way.pop();
            let lease = leases[done].take().unwrap();
            let latency = Duration::from_micros(served[done].took);
            balancer.observe(lease.backend(), Sample::new(latency, true, Moment::from_micros(end)));
            lease.end(Outcome::Answered);
        }
        if let Some(prequal) = balancer.probing() {
            for index in prequal.to_probe(&candidates, &mut rng) {
                let in_flight = candidates.members()[index].backend.counters().in_flight();
                let latency = Duration::from_secs_f64(millis(index, now as f64 / SECOND as f64) / 1e3);
                let report = Reported::new(in_flight, Some(latency), Moment::from_micros(now));
                prequal.report(&candidates, index, report);
            }
        }
        let mut pick = Pick::new(rng.u64(..), none_tried(), &mut rng).at(Moment::from_micros(now));
        let backend = balancer.pick(&candidates, &mut pick).unwrap();
        let noise = 1.0 + 0.05 * rng.f64();
        let took = (millis(backend, now as f64 / SECOND as f64) * noise * 1_000.0) as u64;
        under_way.push(Reverse((now + took, served.len())));
        leases.push(Some(Lease::new(Arc::clone(&candidates.members()[backend].backend))));
        served.push(Served { sent: now, backend, took });
    }
    served
}

fn algorithm(name: &str) -> LoadBalancingAlgorithm {
    if name == PROBING {
        let probing = PrequalOptions { probe_path: Some("/load".into()), ..Default::default() };
        return LoadBalancingAlgorithm::Prequal(probing);
    }
    name.parse().unwrap()
}

/// In milliseconds.
fn quantile(served: &[Served], rank: f64) -> f64 {
    let mut took: Vec<u64> = served.iter().map(|request| request.took).collect();
    took.sort_unstable();
    took[((took.len() as f64 * rank).ceil() as usize - 1).min(took.len() - 1)] as f64 / 1_000.0
}

/// The part of all requests sent from one second to another that the first backend had.
fn share(served: &[Served], from: f64, to: f64) -> f64 {
    let within = |request: &&Served| (from..to).contains(&(request.sent as f64 / SECOND as f64));
    let of_all = served.iter().filter(within).count();
    served.iter().filter(within).filter(|request| request.backend == 0).count() as f64 / of_all as f64
}

#[test]
fn one_slow_backend_of_ten_is_not_felt() {
    for name in PROMISE {
        for (rate, seed) in RATES.into_iter().flat_map(|rate| (1..=3).map(move |seed| (rate, seed))) {
            let served = serve(name, rate, 60, seed, |backend, _| if backend == 0 { 100.0 } else { 10.0 });
            let (p99, p999) = (quantile(&served, 0.99), quantile(&served, 0.999));
            println!(
                "{name} at {rate}/s: p50 {}, p99 {p99}, p99.9 {p999} ms; the slow one had {:.4} %",
                quantile(&served, 0.5),
                100.0 * share(&served, 0.0, 60.0)
            );
            assert!(p99 <= 12.0 && p999 <= 15.0, "{name} at {rate}/s: p99 {p99}, p99.9 {p999}");
        }
    }
}

#[test]
fn what_turns_slow_loses_its_share_and_what_turns_fast_has_it_back() {
    for name in PROMISE {
        for (rate, seed) in RATES.into_iter().flat_map(|rate| (1..=3).map(move |seed| (rate, seed))) {
            let slow = |backend, at| backend == 0 && (20.0..40.0).contains(&at);
            let millis = |backend, at| if slow(backend, at) { 100.0 } else { 10.0 };
            let served = serve(name, rate, 60, seed, millis);
            let shares = [(10.0, 20.0), (20.0, 21.0), (21.0, 22.0), (22.0, 40.0), (45.0, 46.0), (45.0, 60.0)]
                .map(|(from, to)| share(&served, from, to));
            println!("{name} at {rate}/s, shares {shares:.4?}");
            assert!(shares[0] > 0.08, "{name} at {rate}/s before: {shares:?}");
            assert!(shares[2] < 0.01 && shares[3] < 0.002, "{name} at {rate}/s while slow: {shares:?}");
            assert!(shares[4] > 0.08 && shares[5] > 0.08, "{name} at {rate}/s afterwards: {shares:?}");
        }
    }
}

#[test]
fn two_slow_backends_of_ten_are_hardly_felt() {
    for name in PROMISE {
        for rate in RATES {
            let served = serve(name, rate, 60, 7, |backend, _| if backend < 2 { 100.0 } else { 10.0 });
            let (p99, p999) = (quantile(&served, 0.99), quantile(&served, 0.999));
            println!("{name} at {rate}/s with two slow ones: p99 {p99}, p99.9 {p999} ms");
            assert!(p99 <= 12.0, "{name} at {rate}/s: p99 {p99}, p99.9 {p999}");
        }
    }
}
