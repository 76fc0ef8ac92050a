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
    let staying = [(backend(1), None), (backend(1), Some(1)), (backend(1), Some(3)), (backend(2), Some(0))];
    world.health.replace(policy, staying, world.now);
    assert_eq!(world.members(), [(0, 1), (2, 1)]);
    assert!(world.is_ejected(1));
    assert_eq!(world.state(3), State::Down);
    world.probe(3, "+");
    assert_eq!(world.members(), [(0, 1), (2, 1), (3, 2)], "with its new weight");
}

#[test]
fn what_the_policy_no_longer_asks_for_is_forgotten() {
    let mut world =
        World::equal(Policy { outliers: Some(OutlierOptions::default()), ..probed(Start::Up) }, 3);
    world.probe_down(&[0]);
    world.fails(1, 5).told(1);
    assert_eq!(world.chosen(), [2]);
    let same = |index| (backend(1), Some(index));
    world.health.replace(judged(), [same(0), same(1), same(2)], world.now);
    assert_eq!(world.chosen(), [0, 2], "without probes nothing is down");
    world.health.replace(Policy::default(), [same(0), same(1), same(2)], world.now);
    assert_eq!(world.chosen(), [0, 1, 2]);
}

#[test]
fn a_backend_that_joins_begins_slowly_and_waits_for_its_first_probe() {
    let policy = Policy { slow_start: Some(seconds(10)), ..probed(Start::Down) };
    let mut world = World::equal(policy.clone(), 1);
    world.probe(0, "+");
    world.health.replace(policy, [(backend(10), Some(0)), (backend(10), None)], world.now);
    assert_eq!(world.chosen(), [0]);
    world.probe(1, "+");
    assert!(matches!(world.state(1), State::Starting { .. }), "{:?}", world.state(1));
}
