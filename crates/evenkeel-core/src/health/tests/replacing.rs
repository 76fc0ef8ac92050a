//! What stays known when the backends or the policy of a running upstream change.

use super::*;

#[test]
fn backends_that_stay_keep_what_is_known_of_them() {
    let policy = Policy { outliers: Some(OutlierOptions::default()), ..probed(Start::Up) };
    let mut world = World::equal(policy.clone(), 4);
    world.probe_down(&[0]);
    world.fails(1, 5).told(1);
    assert_eq!(world.chosen(), [2, 3]);
    // 2 goes, a new one comes first, the others change places.
    let set = [(id(4), backend(1)), (id(1), backend(1)), (id(3), backend(1)), (id(0), backend(2))];
    world.health.replace(policy, set, world.now);
    assert_eq!(world.members(), [(4, 1), (3, 1)]);
    assert!(world.is_ejected(1));
    assert_eq!((world.state(0), world.state(2)), (State::Down, State::Out));
    world.probe(0, "+");
    assert_eq!(world.members(), [(4, 1), (3, 1), (0, 2)], "with its new weight");
}

#[test]
fn what_is_reported_of_a_removed_backend_reaches_none() {
    let mut world = World::equal(probed(Start::Up), 3);
    world.probe_down(&[1]);
    world.health.replace(world.policy.clone(), [(id(0), backend(1)), (id(2), backend(1))], world.now);
    assert_eq!(world.events(), [], "the backend is gone");
    world.probe_down(&[1]);
    assert_eq!((world.chosen(), world.events()), (vec![0, 2], vec![]));
    // Its slot is given to another backend, which has an id of its own.
    let successor = KeyData::from_ffi(3 << 32 | 2).into();
    let set = [(id(0), backend(1)), (successor, backend(1)), (id(2), backend(1))];
    world.health.replace(world.policy.clone(), set, world.now);
    world.probe_down(&[1]);
    assert_eq!(world.health.state(successor, world.now), State::Up);
    assert_eq!(world.state(1), State::Out);
}

#[test]
fn what_the_policy_no_longer_asks_for_is_forgotten() {
    let mut world =
        World::equal(Policy { outliers: Some(OutlierOptions::default()), ..probed(Start::Up) }, 3);
    world.probe_down(&[0]);
    world.fails(1, 5).told(1);
    assert_eq!(world.chosen(), [2]);
    let same = [0, 1, 2].map(|index| (id(index), backend(1)));
    world.health.replace(judged(), same, world.now);
    assert_eq!(world.chosen(), [0, 2], "without probes nothing is down");
    world.health.replace(Policy::default(), same, world.now);
    assert_eq!(world.chosen(), [0, 1, 2]);
}

#[test]
fn a_backend_that_joins_begins_slowly_and_waits_for_its_first_probe() {
    let policy = Policy { slow_start: Some(seconds(10)), ..probed(Start::Down) };
    let mut world = World::equal(policy.clone(), 1);
    world.probe(0, "+");
    world.health.replace(policy, [(id(0), backend(10)), (id(1), backend(10))], world.now);
    assert_eq!(world.chosen(), [0]);
    world.probe(1, "+");
    assert!(matches!(world.state(1), State::Starting { .. }), "{:?}", world.state(1));
}

#[test]
fn a_backend_that_gets_its_weight_back_begins_slowly() {
    let policy = Policy { slow_start: Some(seconds(10)), ..Policy::default() };
    let mut world = World::new(policy.clone(), &[backend(10), backend(0)]);
    assert_eq!(world.state(1), State::Out);
    world.health.replace(policy.clone(), [(id(0), backend(10)), (id(1), backend(10))], world.now);
    assert!(matches!(world.state(1), State::Starting { .. }), "{:?}", world.state(1));
    world.pass(seconds(10));
    assert_eq!(world.members(), [(0, 10), (1, 10)]);
    world.health.replace(policy, [(id(0), backend(5)), (id(1), backend(7))], world.now);
    assert_eq!(world.members(), [(0, 5), (1, 7)], "another weight alone changes nothing else");
}
