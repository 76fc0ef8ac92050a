//! A lease frees its slot exactly once, however it ends.

use std::net::SocketAddr;
use std::panic;
use std::sync::{Arc, mpsc};
use std::thread;

use super::{Address, Backend, Lease, Outcome, Total, Weight};

fn backend() -> Arc<Backend> {
    Arc::new(Backend::new("http://127.0.0.1:80", Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 80)))))
}

/// In flight, attempts, failures.
fn counts(backend: &Backend) -> (u32, u64, u64) {
    let counters = backend.counters();
    (counters.in_flight(), counters.attempts(), counters.failures())
}

#[test]
fn every_outcome_frees_the_slot_and_only_failure_counts_as_one() {
    let backend = backend();
    for (outcome, failures) in [(Outcome::Answered, 0), (Outcome::Abandoned, 0), (Outcome::Failed, 1)] {
        let (_, attempts, _) = counts(&backend);
        let lease = Lease::new(Arc::clone(&backend));
        assert_eq!(counts(&backend), (1, attempts + 1, 0));
        lease.end(outcome);
        assert_eq!(counts(&backend), (0, attempts + 1, failures));
    }
}

#[test]
fn a_dropped_lease_is_an_abandoned_one() {
    let backend = backend();
    let leases = [Lease::new(Arc::clone(&backend)), Lease::new(Arc::clone(&backend))];
    assert_eq!(counts(&backend), (2, 2, 0));
    drop(leases);
    assert_eq!(counts(&backend), (0, 2, 0));
}

#[test]
fn failures_in_a_row_end_with_an_answer() {
    let backend = backend();
    let ends = |outcome| Lease::new(Arc::clone(&backend)).end(outcome);
    [Outcome::Failed, Outcome::Failed, Outcome::Abandoned, Outcome::Failed].into_iter().for_each(ends);
    assert_eq!(backend.counters().failures_in_a_row(), 3);
    ends(Outcome::Answered);
    assert_eq!(backend.counters().failures_in_a_row(), 0);
}

#[test]
fn never_more_leases_than_asked_for() {
    let backend = backend();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let lease = Lease::within(Arc::clone(&backend), 2);
                    assert!(backend.counters().in_flight() <= 2);
                    drop(lease);
                }
            });
        }
    });
    let leases: Vec<_> = (0..5).filter_map(|_| Lease::within(Arc::clone(&backend), 2)).collect();
    assert_eq!((leases.len(), backend.counters().in_flight()), (2, 2));
}

#[test]
fn a_panic_frees_the_slot() {
    let backend = backend();
    let lease = Lease::new(Arc::clone(&backend));
    let result = panic::catch_unwind(panic::AssertUnwindSafe(move || {
        let _lease = lease;
        panic::resume_unwind(Box::new("a request's task went wrong"));
    }));
    assert!(result.is_err());
    assert_eq!(counts(&backend), (0, 1, 0));
}

#[test]
fn a_lease_may_end_on_another_thread() {
    let backend = backend();
    let (sender, receiver) = mpsc::sync_channel::<Lease>(4);
    thread::scope(|scope| {
        scope.spawn(move || receiver.iter().for_each(|lease| lease.end(Outcome::Failed)));
        for _ in 0..1_000 {
            sender.send(Lease::new(Arc::clone(&backend))).unwrap();
        }
        drop(sender);
    });
    assert_eq!(counts(&backend), (0, 1_000, 1_000));
}

#[test]
fn a_lease_that_was_never_received_frees_its_slot() {
    let backend = backend();
    let (sender, receiver) = mpsc::sync_channel::<Lease>(1);
    sender.send(Lease::new(Arc::clone(&backend))).unwrap();
    assert_eq!(counts(&backend).0, 1);
    drop((sender, receiver));
    assert_eq!(counts(&backend).0, 0);
}

#[test]
fn a_total_counts_what_began_after_its_backend_was_counted_in() {
    let (one, other, total) = (backend(), backend(), Arc::new(Total::default()));
    let before = Lease::new(Arc::clone(&one));
    for backend in [&one, &other] {
        assert!(Arc::ptr_eq(backend.counters().count_in(&total), &total));
    }
    let leases = [Lease::new(Arc::clone(&one)), Lease::new(Arc::clone(&other))];
    assert_eq!((one.counters().in_flight(), total.in_flight()), (2, 2));
    drop(before);
    assert_eq!((one.counters().in_flight(), total.in_flight()), (1, 2));
    drop(leases);
    assert_eq!(total.in_flight(), 0);
    assert!(Arc::ptr_eq(one.counters().count_in(&Arc::new(Total::default())), &total), "once and for all");
}

#[test]
fn addresses_are_shown_as_they_are_written() {
    let v6 = Address::Tcp("[::1]:8080".parse().unwrap());
    assert_eq!(
        (v6.to_string(), Address::Unix("/run/app.sock".into()).to_string()),
        ("[::1]:8080".into(), "unix:/run/app.sock".into())
    );
}

#[test]
fn a_weight_is_never_zero() {
    assert_eq!(Weight::new(0), None);
    assert_eq!(Weight::new(1), Some(Weight::ONE));
    assert_eq!(Weight::new(u32::MAX).unwrap().get(), u32::MAX);
}
