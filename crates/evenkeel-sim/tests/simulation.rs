//! A world as large as `simulate` must stand runs in seconds.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use evenkeel_core::balance::LoadBalancingAlgorithm;
use evenkeel_sim::{Arrivals, BackendModel, Law, World};

/// 20,000 requests a second over 100 backends: a minute of them in a release build, a second in a debug build.
#[test]
fn a_minute_of_heavy_traffic_takes_less_than_five_seconds() {
    let duration = Duration::from_secs(if cfg!(debug_assertions) { 1 } else { 60 });
    let law = Law::LogNormal { median: Duration::from_millis(20), sigma: 0.8 };
    let slots = NonZeroU32::new(8).unwrap();
    let backends = vec![BackendModel::new(law).capacity(slots); 100];
    let world = World::new(backends, Arrivals::Poisson { rate: 20_000.0 })
        .duration(duration)
        .window(duration / 240)
        .seed(1);
    for name in LoadBalancingAlgorithm::NAMES {
        let began = Instant::now();
        let report = world.run(&name.parse().unwrap()).unwrap();
        let took = began.elapsed();
        println!("{name}: {took:?}, {:?}, imbalance {:.2}", report.latency, report.imbalance);
        assert_eq!(report.errors, 0, "{name}");
        assert!(report.requests > 19_000 * duration.as_secs(), "{name}: {} requests", report.requests);
        assert!(took < Duration::from_secs(5), "{name} took {took:?}");
    }
}
