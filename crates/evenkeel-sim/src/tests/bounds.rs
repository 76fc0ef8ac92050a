//! How busy the busiest gets, against what theory says of two choices.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::{Arrivals, BackendModel, Law, World};
use evenkeel_core::Moment;
use evenkeel_core::backend::{Address, Backend, Lease, Member, Snapshot, Weight};
use evenkeel_core::balance::{LoadBalancingAlgorithm, Pick, Sample, Tried};

/// What the papers' bounds leave open: a constant.
const CONSTANT: f64 = 2.0;
const TWO_CHOICES: [&str; 2] = ["power_of_two_choices", "peak_ewma"];

/// Idle backends of equal weight.
fn snapshot(count: usize) -> Snapshot {
    let member = |port| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let backend = Backend::new(format!("http://{address}"), Address::Tcp(address));
        Member::new(Arc::new(backend), Weight::new(1).unwrap())
    };
    Snapshot::new((1..).take(count).map(member).collect::<Vec<_>>())
}

fn algorithm(name: &str) -> LoadBalancingAlgorithm {
    name.parse().unwrap()
}

/// The most that any has when each of so many attempts stays in flight, as many as there are backends.
fn busiest(name: &str, count: usize, seed: u64) -> f64 {
    let candidates = snapshot(count);
    let fresh = algorithm(name).balancer().unwrap();
    let balancer = fresh.rebuild(&candidates).unwrap_or(fresh);
    for member in candidates.members() {
        let sample = Sample::new(Duration::from_millis(10), true, Moment::default());
        balancer.observe(&member.backend, sample);
    }
    let mut rng = fastrand::Rng::with_seed(seed);
    let hold = |_| {
        let index = balancer.pick(&candidates, &mut Pick::new(0, &Tried::default(), &mut rng)).unwrap();
        Lease::new(Arc::clone(&candidates.members()[index].backend))
    };
    let _leases: Vec<Lease> = (0..count).map(hold).collect();
    let in_flight = candidates.members().iter().map(|member| member.backend.counters().in_flight());
    f64::from(in_flight.max().unwrap())
}

/// Azar, Broder, Karlin, Upfal (1994): ln ln n / ln 2 and a constant; one choice has about ln n / ln ln n.
#[test]
fn as_many_attempts_as_backends_leave_the_busiest_with_few() {
    for count in [100, 1_000, 10_000] {
        let bound = (count as f64).ln().ln() / 2.0_f64.ln() + CONSTANT;
        for name in TWO_CHOICES {
            let most = (1..=5).map(|seed| busiest(name, count, seed)).fold(0.0, f64::max);
            println!("{name}, {count} backends: {most}, bound {bound:.1}");
            assert!(most <= bound, "{name}, {count} backends: {most} above {bound}");
        }
        let one = busiest("random", count, 1);
        assert!(count < 1_000 || one > bound, "the bound means something: random has {one}");
    }
}

/// Mitzenmacher (2001): with queues of load r whose services are exponential, a queue of length i has a probability of about
/// r^(2^i - 1), so that the longest of all that m requests meet has about log2(ln m / -ln r); one choice has ln m / -ln r.
/// Constant services make shorter queues. `peak_ewma` holds to it as far as latencies do not differ by chance: exponential
/// ones, of which the longest of a second counts, make its queues longer, by a constant that is measured here.
#[test]
fn queues_stay_as_short_as_theory_says() {
    const COUNT: usize = 100;
    const LOAD: f64 = 0.8;
    let mean = Duration::from_millis(10);
    let rate = LOAD * COUNT as f64 * 100.0;
    let peak = |name: &str, law: &Law| {
        let backends = vec![BackendModel::new(law.clone()).capacity(NonZeroU32::MIN); COUNT];
        let world = World::new(backends, Arrivals::Poisson { rate }).duration(Duration::from_secs(5)).seed(1);
        let report = world.run(&algorithm(name)).unwrap();
        f64::from(report.backends.iter().map(|backend| backend.peak_in_flight).max().unwrap())
    };
    let (exponential, constant) = (Law::Exponential { mean }, Law::Constant(mean));
    let bound = ((rate * 5.0).ln() / -LOAD.ln()).log2() + CONSTANT;
    for (name, law, more) in [
        ("power_of_two_choices", &exponential, 0.0),
        ("power_of_two_choices", &constant, 0.0),
        ("peak_ewma", &constant, 0.0),
        ("peak_ewma", &exponential, 6.0),
    ] {
        let most = peak(name, law);
        println!("{name}, {law:?}: longest queue {most}, bound {bound:.1}");
        assert!(most <= bound + more, "{name}, {law:?}: {most} above {bound} and {more}");
    }
    for law in [&exponential, &constant] {
        let one = peak("random", law);
        println!("random, {law:?}: longest queue {one}");
        assert!(one > bound + 6.0, "the bound means something: random, {law:?} has {one}");
    }
}
