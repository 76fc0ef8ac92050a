//! The world over time: traces, what algorithms observe, windows, recovery.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{exponential, ms, slots};
use crate::{Arrivals, BackendModel, Fault, Law, Recovery, Trace, World};
use evenkeel_core::Moment;
use evenkeel_core::backend::{Backend, Snapshot};
use evenkeel_core::balance::{Balancer, LoadBalancingAlgorithm, Pick, RoundRobin, Sample};

const TURNS: LoadBalancingAlgorithm = LoadBalancingAlgorithm::RoundRobin;

fn constant(time: Duration) -> BackendModel {
    BackendModel::new(Law::Constant(time))
}

/// Takes turns, and keeps what it receives.
#[derive(Debug, Default)]
struct Witness {
    turns: RoundRobin,
    picked: Mutex<Vec<(u64, Moment)>>,
    observed: Mutex<Vec<(String, Sample)>>,
}

impl Balancer for Witness {
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        self.picked.lock().unwrap().push((request.key, request.now));
        self.turns.pick(candidates, request)
    }

    fn observe(&self, backend: &Backend, sample: Sample) {
        assert!(backend.counters().in_flight() > 0, "told before the attempt is over");
        self.observed.lock().unwrap().push((backend.name().to_owned(), sample));
    }
}

fn witnessed(world: &World) -> Arc<Witness> {
    let witness = Arc::new(Witness::default());
    world.run(&LoadBalancingAlgorithm::Custom(witness.clone())).unwrap();
    witness
}

// === What an algorithm receives ===

#[test]
fn an_algorithm_is_told_the_time_and_how_each_attempt_went() {
    let dead = constant(ms(5)).name("dead").fault(Fault::Down { from: ms(0), to: Duration::MAX });
    let world = World::new([constant(ms(5)), dead], Arrivals::Constant { rate: 100.0 })
        .attempts(slots(2))
        .duration(ms(40));
    let witness = witnessed(&world);
    let at = |micros| Moment::from_micros(micros);
    let times: Vec<_> = witness.picked.lock().unwrap().iter().map(|(_, now)| *now).collect();
    // The second and the fourth request meet the dead one first, and turn to it again in vain.
    assert!(
        times.contains(&at(0)) && times.contains(&at(10_000)) && times.contains(&at(10_200)),
        "{times:?}"
    );
    let observed = witness.observed.lock().unwrap();
    let failure = |now| ("dead".to_owned(), Sample::new(Duration::from_micros(200), false, at(now)));
    let answer = |now| ("backend 0".to_owned(), Sample::new(ms(5), true, at(now)));
    assert!(observed.contains(&failure(10_200)) && observed.contains(&answer(15_200)), "{observed:?}");
    assert!(observed.contains(&answer(5_000)), "{observed:?}");
    assert_eq!(observed.len(), times.len(), "once for each attempt");
}

// === Traces and clients ===

#[test]
fn a_trace_comes_as_it_came() {
    let calls = [(ms(30), 7), (ms(10), 8), (ms(20), 7), (ms(500), 9)];
    let trace = Trace::new(calls);
    assert_eq!((trace.len(), trace.is_empty(), trace.end()), (4, false, ms(500)));
    let world = World::new([constant(ms(1))], Arrivals::Trace(trace)).duration(ms(100));
    let witness = witnessed(&world);
    let picked = witness.picked.lock().unwrap();
    let times: Vec<_> = picked.iter().map(|(_, now)| now.as_micros()).collect();
    assert_eq!(times, [10_000, 20_000, 30_000], "what is beyond the duration does not come");
    assert_eq!(picked[1].0, picked[2].0, "one client, one key");
    assert_ne!(picked[0].0, picked[1].0);
}

#[test]
fn requests_come_from_as_many_clients_as_there_are() {
    let world = World::new([constant(ms(1))], Arrivals::Poisson { rate: 1_000.0 }).clients(slots(7));
    let witness = witnessed(&world);
    let mut keys: Vec<_> = witness.picked.lock().unwrap().iter().map(|(key, _)| *key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 7);
}

// === Errors ===

#[test]
fn a_failing_backend_fails_its_share_at_once() {
    let failing = Fault::Errors { from: ms(2_000), to: ms(4_000), share: 0.25 };
    let world = World::new([constant(ms(10)).fault(failing)], Arrivals::Constant { rate: 1_000.0 });
    let report = world.seed(1).run(&TURNS).unwrap();
    assert!((400..600).contains(&report.errors), "{}", report.errors);
    assert_eq!(report.errors, report.backends[0].failures);
    let when = report.windows.iter().filter(|window| window.errors > 0);
    assert!(when.clone().all(|window| (ms(1_800)..ms(4_000)).contains(&window.from)));
    assert!(when.count() >= 12);
    assert_eq!(report.latency.max, ms(10), "errors have no latency");
    let all = Fault::Errors { from: ms(0), to: Duration::MAX, share: 1.0 };
    let world = World::new([constant(ms(10)).fault(all)], Arrivals::Constant { rate: 100.0 });
    let report = world.run(&TURNS).unwrap();
    assert_eq!((report.requests, report.errors), (1_000, 1_000));
    assert_eq!(report.backends[0].peak_in_flight, 1, "failures are quick");
}

// === Windows and recovery ===

#[test]
fn windows_add_up_to_the_whole() {
    let backends = vec![exponential(ms(5)); 3];
    let world = World::new(backends, Arrivals::Poisson { rate: 1_000.0 }).duration(ms(2_950)).window(ms(100));
    let report = world.run(&TURNS).unwrap();
    assert_eq!(report.windows.len(), 30, "the last is cut short");
    assert_eq!(report.windows[29].from, ms(2_900));
    assert_eq!(report.windows.iter().map(|window| window.requests).sum::<u64>(), report.requests);
    for (index, backend) in report.backends.iter().enumerate() {
        let attempts: u32 = report.windows.iter().map(|window| window.attempts[index]).sum();
        assert_eq!(u64::from(attempts), backend.attempts);
    }
    assert!(report.windows.iter().all(|window| window.p99 <= Some(report.latency.max)));
    let silent = World::new([constant(ms(1))], Arrivals::Trace(Trace::new([(ms(5_000), 0)])));
    let p99: Vec<_> = silent.run(&TURNS).unwrap().windows.iter().filter_map(|window| window.p99).collect();
    assert_eq!(p99, [ms(1)], "nothing came in the others");
}

#[test]
fn a_window_is_no_narrower_than_a_thousandth() {
    let world = World::new([constant(ms(1))], Arrivals::Constant { rate: 10.0 });
    assert_eq!(world.clone().window(Duration::ZERO).run(&TURNS).unwrap().windows.len(), 1_000);
    assert_eq!(world.clone().run(&TURNS).unwrap().windows.len(), 60);
    assert_eq!(world.window(ms(60_000)).run(&TURNS).unwrap().windows.len(), 1);
}

/// Ten backends of 10 ms, one of which has this fault from 3 s to 6 s.
fn one_of_ten(fault: Fault) -> World {
    let mut backends = vec![constant(ms(10)); 9];
    backends.push(constant(ms(10)).fault(fault));
    World::new(backends, Arrivals::Constant { rate: 1_000.0 }).window(ms(200))
}

#[test]
fn taking_turns_recovers_when_the_fault_does() {
    let slow = Fault::Slow { from: ms(3_000), to: ms(6_000), factor: 10.0 };
    let report = one_of_ten(slow).run(&TURNS).unwrap();
    let [fault] = &report.faults[..] else { panic!("{:?}", report.faults) };
    assert_eq!((fault.backend, fault.fault), (9, slow));
    assert_eq!(fault.recovered, Some(Recovery::After(ms(3_000))));
    assert_eq!(fault.returned, Some(Recovery::After(ms(0))), "it never lost its share");
    let endless = Fault::Slow { from: ms(3_000), to: Duration::MAX, factor: 10.0 };
    let report = one_of_ten(endless).run(&TURNS).unwrap();
    assert_eq!((report.faults[0].recovered, report.faults[0].returned), (Some(Recovery::Never), None));
}

#[test]
fn errors_are_felt_as_well() {
    let down = Fault::Down { from: ms(3_000), to: ms(6_000) };
    let report = one_of_ten(down).run(&TURNS).unwrap();
    assert_eq!(report.faults[0].recovered, Some(Recovery::After(ms(3_000))), "{report:?}");
    let report = one_of_ten(down).attempts(slots(2)).run(&TURNS).unwrap();
    assert_eq!(report.errors, 0);
    assert_eq!(report.faults[0].recovered, Some(Recovery::After(ms(0))), "a second attempt hides it");
}

/// Avoids the last backend from its first slow response, for a second after its fault.
#[derive(Debug)]
struct Cautious(RoundRobin, Mutex<Option<Moment>>);

impl Balancer for Cautious {
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        let avoids = self.1.lock().unwrap().is_some() && request.now < Moment::from_micros(7_000_000);
        let choice = self.0.pick(candidates, request)?;
        Some(if avoids && choice == 9 { request.rng.usize(..9) } else { choice })
    }

    fn observe(&self, _: &Backend, sample: Sample) {
        if sample.latency > ms(50) {
            self.1.lock().unwrap().get_or_insert(sample.now);
        }
    }
}

#[test]
fn recovery_and_return_are_told_to_a_window() {
    let slow = Fault::Slow { from: ms(3_000), to: ms(6_000), factor: 10.0 };
    let cautious = Arc::new(Cautious(RoundRobin::default(), Mutex::default()));
    let report = one_of_ten(slow).run(&LoadBalancingAlgorithm::Custom(cautious)).unwrap();
    let fault = report.faults[0];
    assert_eq!(fault.recovered, Some(Recovery::After(ms(200))), "the first window had slow ones");
    assert_eq!(fault.returned, Some(Recovery::After(ms(1_000))));
}

#[test]
fn a_fault_from_the_beginning_has_nothing_to_compare_with() {
    let report = one_of_ten(Fault::Slow { from: ms(0), to: ms(6_000), factor: 10.0 }).run(&TURNS).unwrap();
    assert_eq!(report.faults[0].recovered, None);
    assert_eq!(report.faults[0].returned, Some(Recovery::After(ms(0))), "by weight");
    let beyond = Fault::Down { from: ms(10_000), to: Duration::MAX };
    assert_eq!(one_of_ten(beyond).run(&TURNS).unwrap().faults, []);
}

#[test]
fn an_earlier_fault_is_no_measure_for_a_later_one() {
    let slow = |from, to| Fault::Slow { from: ms(from), to: ms(to), factor: 10.0 };
    let mut backends = vec![constant(ms(10)); 9];
    backends.push(constant(ms(10)).fault(slow(1_000, 4_000)).fault(slow(5_000, 7_000)));
    let world = World::new(backends, Arrivals::Constant { rate: 1_000.0 }).window(ms(200));
    let recovered: Vec<_> = world.run(&TURNS).unwrap().faults.iter().map(|fault| fault.recovered).collect();
    assert_eq!(recovered, [3_000, 2_000].map(|time| Some(Recovery::After(ms(time)))));
}
