//! The world against theory, and the algorithms in it.

mod bounds;
mod course;
mod overload;

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Arrivals, BackendModel, Fault, InvalidWorld, Law, Report, World};
use evenkeel_core::backend::Weight;
use evenkeel_core::balance::LoadBalancingAlgorithm::{
    self, LeastConnections, PowerOfTwoChoices, Random, RoundRobin,
};

const ALL: [LoadBalancingAlgorithm; 4] = [RoundRobin, Random, LeastConnections, PowerOfTwoChoices];

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn slots(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

fn exponential(mean: Duration) -> BackendModel {
    BackendModel::new(Law::Exponential { mean })
}

fn shares_of(report: &Report) -> Vec<u64> {
    report.backends.iter().map(|backend| backend.attempts).collect()
}

#[track_caller]
fn assert_near(measured: f64, theory: f64, tolerance: f64) {
    assert!((measured / theory - 1.0).abs() < tolerance, "measured {measured}, theory {theory}");
}

// === The world against theory ===

/// Waits in seconds at a load of one half, where one request takes 10 ms on average: Pollaczek and Khinchine for one
/// slot, Erlang C for two.
#[test]
fn queues_wait_as_long_as_theory_says() {
    let mean = ms(10);
    for (law, capacity, rate, wait) in [
        (Law::Exponential { mean }, 1, 50.0, 0.010),
        (Law::Constant(mean), 1, 50.0, 0.005),
        (Law::Exponential { mean }, 2, 100.0, 0.010 / 3.0),
    ] {
        let backend = BackendModel::new(law).capacity(slots(capacity));
        let duration = Duration::from_secs_f64(100_000.0 / rate);
        let world = World::new([backend], Arrivals::Poisson { rate }).duration(duration).seed(1);
        let report = world.run(&RoundRobin).unwrap();
        assert_near(report.requests as f64, 100_000.0, 0.02);
        assert_near(report.mean_wait.as_secs_f64(), wait, 0.05);
        assert_near(report.latency.mean.as_secs_f64(), wait + 0.010, 0.03);
        // Little's law.
        let in_flight = report.backends[0].mean_in_flight;
        assert_near(in_flight, rate * report.latency.mean.as_secs_f64(), 0.02);
    }
}

#[test]
fn an_unlimited_backend_has_its_law_as_latency() {
    let world = World::new([exponential(ms(10))], Arrivals::Poisson { rate: 2_000.0 }).seed(2);
    let report = world.run(&Random).unwrap();
    assert_eq!(report.mean_wait, Duration::ZERO);
    assert_near(report.latency.p50.as_secs_f64(), 0.010 * 2.0_f64.ln(), 0.03);
    assert_near(report.latency.p99.as_secs_f64(), 0.010 * 100.0_f64.ln(), 0.05);
}

#[test]
fn a_closed_loop_waits_for_its_answers() {
    let world = World::new(
        [BackendModel::new(Law::Constant(ms(10)))],
        Arrivals::Closed { clients: 4, think: ms(30) },
    );
    let report = world.run(&RoundRobin).unwrap();
    assert_eq!(report.requests, 4 * 250, "four clients, 40 ms a round, ten seconds");
    assert_eq!(report.backends[0].peak_in_flight, 4);
    assert!((report.backends[0].mean_in_flight - 1.0).abs() < 1e-9, "{report:?}");
    assert!((report.imbalance - 4.0).abs() < 1e-9, "{report:?}");
}

#[test]
fn the_same_seed_gives_the_same_report_and_another_one_does_not() {
    let backends: Vec<_> = (1..=5).map(|n| exponential(ms(n)).capacity(slots(8))).collect();
    let world = World::new(backends, Arrivals::Poisson { rate: 1_000.0 });
    for algorithm in &ALL {
        let report = world.clone().seed(3).run(algorithm).unwrap();
        assert_eq!(report, world.clone().seed(3).run(algorithm).unwrap(), "{algorithm}");
        assert_ne!(report, world.clone().seed(4).run(algorithm).unwrap(), "{algorithm}");
    }
    let requests = |algorithm| world.run(algorithm).unwrap().requests;
    assert!(
        ALL.iter().all(|algorithm| requests(algorithm) == requests(&RoundRobin)),
        "the same traffic for all"
    );
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let world = |backend, rate| World::new([backend], Arrivals::Poisson { rate }).run(&RoundRobin);
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(world(exponential(ms(1)), rate), Err(InvalidWorld::Rate { .. })), "{rate}");
    }
    let law = BackendModel::new(Law::Pareto { minimum: ms(1), shape: 0.0 });
    assert_eq!(world(law, 1.0), Err(InvalidWorld::Law { backend: 0, value: 0.0 }));
    let law = BackendModel::new(Law::LogNormal { median: ms(1), sigma: -0.5 });
    assert_eq!(world(law, 1.0), Err(InvalidWorld::Law { backend: 0, value: -0.5 }));
    let slow = exponential(ms(1)).fault(Fault::Slow { from: ms(0), to: ms(1), factor: -2.0 });
    assert_eq!(world(slow, 1.0), Err(InvalidWorld::Factor { backend: 0, factor: -2.0 }));
    let failing = exponential(ms(1)).fault(Fault::Errors { from: ms(0), to: ms(1), share: 1.5 });
    assert_eq!(world(failing, 1.0), Err(InvalidWorld::Share { backend: 0, share: 1.5 }));
}

// === Faults ===

#[test]
fn a_backend_that_is_down_refuses_and_breaks_off() {
    let down = Fault::Down { from: ms(2_005), to: ms(4_000) };
    let backend = BackendModel::new(Law::Constant(ms(10))).capacity(slots(1)).fault(down);
    let world = World::new([backend], Arrivals::Constant { rate: 100.0 });
    let report = world.run(&RoundRobin).unwrap();
    // One breaks off at 2.005 s; those that come at 2.01 s to 3.99 s are refused.
    assert_eq!((report.requests, report.errors), (1_000, 1 + 199));
    assert_eq!(report.backends[0].failures, 200);
    assert_eq!(report.latency.max, ms(10));
}

#[test]
fn whoever_waits_when_a_backend_goes_down_breaks_off_with_it() {
    let down = Fault::Down { from: ms(95), to: ms(96) };
    let backend = BackendModel::new(Law::Constant(ms(50))).capacity(slots(1)).fault(down);
    let world = World::new([backend], Arrivals::Constant { rate: 100.0 }).duration(ms(100));
    let report = world.run(&RoundRobin).unwrap();
    assert_eq!((report.requests, report.errors), (10, 9), "one was done, one in service, eight waited");
}

#[test]
fn a_second_attempt_saves_what_one_dead_backend_refuses() {
    let dead = exponential(ms(1)).fault(Fault::Down { from: ms(0), to: Duration::MAX });
    let world =
        World::new([exponential(ms(1)), dead, exponential(ms(1))], Arrivals::Poisson { rate: 1_000.0 });
    for algorithm in &ALL {
        let once = world.run(algorithm).unwrap();
        assert!(once.errors > 2_000, "{algorithm}: {} errors", once.errors);
        let twice = world.clone().attempts(slots(2)).run(algorithm).unwrap();
        assert_eq!((twice.errors, twice.mean_wait), (0, Duration::ZERO), "{algorithm}");
        assert!(twice.backends[1].failures > 2_000, "{algorithm}");
    }
}

#[test]
fn a_slow_time_ends() {
    let slow = Fault::Slow { from: ms(1_000), to: ms(2_000), factor: 5.0 };
    let backend = BackendModel::new(Law::Constant(ms(1))).fault(slow);
    let report = World::new([backend], Arrivals::Constant { rate: 100.0 }).run(&Random).unwrap();
    assert!((ms(1)..=ms(1) + ms(1) / 256).contains(&report.latency.p50), "{report:?}");
    assert_eq!(report.latency.max, ms(5));
    assert_near(report.latency.mean.as_secs_f64(), 0.001_4, 1e-6);
}

#[test]
fn a_world_without_backends_errs_and_ends() {
    for arrivals in [Arrivals::Constant { rate: 10.0 }, Arrivals::Closed { clients: 2, think: ms(0) }] {
        for algorithm in &ALL {
            let report = World::new([], arrivals.clone()).duration(ms(100)).run(algorithm).unwrap();
            assert!(report.requests > 0 && report.errors == report.requests, "{algorithm}: {report:?}");
        }
    }
}

// === The algorithms ===

#[test]
fn round_robin_shares_are_exact_whatever_the_latencies() {
    let weights = [5, 1, 1, 3];
    let backend = |&weight: &u32| {
        let law = Law::LogNormal { median: ms(u64::from(weight)), sigma: 1.0 };
        BackendModel::new(law).weight(Weight::new(weight).unwrap()).capacity(slots(4))
    };
    let backends: Vec<_> = weights.iter().map(backend).collect();
    let report = World::new(backends, Arrivals::Constant { rate: 1_000.0 }).run(&RoundRobin).unwrap();
    assert_eq!(shares_of(&report), [5_000, 1_000, 1_000, 3_000]);
}

#[test]
fn looking_at_load_beats_taking_turns_when_one_of_ten_is_slow() {
    let slow = exponential(ms(5)).capacity(slots(10)).fault(Fault::Slow {
        from: ms(0),
        to: Duration::MAX,
        factor: 8.0,
    });
    let mut backends = vec![exponential(ms(5)).capacity(slots(10)); 9];
    backends.push(slow);
    let world =
        World::new(backends, Arrivals::Poisson { rate: 4_000.0 }).duration(Duration::from_secs(4)).seed(5);
    let p99 = |algorithm: &LoadBalancingAlgorithm| world.run(algorithm).unwrap().latency.p99;
    let turns = p99(&RoundRobin);
    for algorithm in [LeastConnections, PowerOfTwoChoices] {
        assert!(p99(&algorithm) * 3 < turns, "{algorithm}: {:?} against {turns:?}", p99(&algorithm));
    }
}

#[test]
fn two_choices_are_more_even_than_one() {
    let world = World::new(vec![exponential(ms(10)); 50], Arrivals::Poisson { rate: 20_000.0 })
        .duration(Duration::from_secs(1))
        .seed(6);
    let imbalance = |algorithm: &LoadBalancingAlgorithm| world.run(algorithm).unwrap().imbalance;
    let (one, two, all) = (imbalance(&Random), imbalance(&PowerOfTwoChoices), imbalance(&LeastConnections));
    assert!(all <= two && two < 0.7 * one, "least connections {all}, two choices {two}, random {one}");
}

#[test]
fn loads_follow_the_weights() {
    let backends: Vec<_> =
        [1, 2, 4].iter().map(|&weight| exponential(ms(10)).weight(Weight::new(weight).unwrap())).collect();
    let world = World::new(backends, Arrivals::Poisson { rate: 3_500.0 }).duration(Duration::from_secs(4));
    for algorithm in &ALL {
        let report = world.run(algorithm).unwrap();
        for (backend, weight) in report.backends.iter().zip([1.0, 2.0, 4.0]) {
            assert_near(backend.share, weight / 7.0, 0.06);
        }
    }
}
