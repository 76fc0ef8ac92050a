//! Limits in front of backends that get more than they can do.

use std::time::Duration;

use evenkeel_core::balance::LoadBalancingAlgorithm::LeastConnections;
use evenkeel_core::limit::{AdaptiveOptions, Rate, RateLimitOptions};

use super::{exponential, ms, slots};
use crate::{Arrivals, FrontLimit, Report, World};

/// Backends that can do 1,000 requests a second, each in 10 ms on average.
fn world(rate: f64) -> World {
    let backends: Vec<_> = (0..2).map(|_| exponential(ms(10)).capacity(slots(5))).collect();
    World::new(backends, Arrivals::Poisson { rate }).duration(Duration::from_secs(60)).seed(3)
}

fn goodput(report: &Report) -> f64 {
    (report.requests - report.errors) as f64 / 60.0
}

#[test]
fn without_a_limit_overload_makes_everything_slow() {
    let report = world(5_000.0).run(&LeastConnections).unwrap();
    assert!(report.latency.p50 > Duration::from_secs(10), "{:?}", report.latency);
}

/// 5,000 requests a second for 1,000, a tenth of them important.
#[test]
fn an_adaptive_limit_keeps_the_goodput_the_latency_and_what_is_important() {
    let unloaded = world(100.0).run(&LeastConnections).unwrap().latency.p99;
    for seed in 1..=5 {
        let world = world(5_000.0).seed(seed).important(0.1);
        let report =
            world.limit(FrontLimit::Adaptive(AdaptiveOptions::default())).run(&LeastConnections).unwrap();
        let lost = report.important.1 as f64 / report.important.0 as f64;
        let (goodput, p99) = (goodput(&report), report.latency.p99);
        assert!(goodput >= 950.0, "seed {seed}: {goodput}/s");
        assert!(p99 <= 2 * unloaded, "seed {seed}: {p99:?}, unloaded {unloaded:?}");
        assert!(lost <= 0.01, "seed {seed}: {lost} of the important requests were lost");
        assert_eq!(report.errors, report.rejected);
    }
}

/// What fits is let through.
#[test]
fn an_adaptive_limit_rejects_hardly_anything_that_fits() {
    for (rate, most) in [(300.0, 0.001), (700.0, 0.01)] {
        for seed in 1..=3 {
            let world = world(rate).seed(seed);
            let report =
                world.limit(FrontLimit::Adaptive(AdaptiveOptions::default())).run(&LeastConnections).unwrap();
            let rejected = report.rejected as f64 / report.requests as f64;
            assert!(rejected <= most, "{rate}/s, seed {seed}: {rejected}");
        }
    }
}

#[test]
fn a_rate_limit_counts_each_client() {
    let rate = Rate::new(10.try_into().unwrap(), Duration::from_secs(1)).unwrap();
    let world = world(500.0).clients(slots(10)).limit(FrontLimit::Rate(RateLimitOptions::new(rate)));
    let report = world.run(&LeastConnections).unwrap();
    let goodput = goodput(&report);
    assert!((99.0..=103.0).contains(&goodput), "{goodput}/s of 10 clients with 10/s each");
}
