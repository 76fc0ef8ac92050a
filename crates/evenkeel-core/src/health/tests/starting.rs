//! Slow start.

use super::*;

const RAMP: Duration = seconds(10);

fn slowly(start: Start) -> Policy {
    Policy { slow_start: Some(RAMP), ..probed(start) }
}

/// What part of a full backend's weight the first one has, if it is chosen, judging by the second one of equal weight.
fn share(world: &mut World) -> f64 {
    match world.members()[..] {
        [(0, first), (1, second), ..] => f64::from(first) / f64::from(second),
        [(1, _), ..] => 0.0,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn at_the_beginning_all_have_their_full_weights() {
    let mut world = World::new(slowly(Start::Up), &[backend(3), backend(1)]);
    assert_eq!(world.members(), [(0, 3), (1, 1)]);
    assert_eq!(world.health.choice(world.now).next, None);
    let mut world = World::new(slowly(Start::Down), &[backend(3), backend(1)]);
    assert_eq!(world.probe(0, "+").probe(1, "+").members(), [(0, 3), (1, 1)], "up before the first probe");
}

#[test]
fn who_came_back_starts_slowly() {
    let came_up: fn(&mut World) = |world| {
        world.probe(0, "-").pass(seconds(5)).probe(0, "+");
    };
    let returned: fn(&mut World) = |world| {
        world.fails(0, 5).told(0).pass(seconds(30));
    };
    let was_repaired: fn(&mut World) = |world| {
        world.probe(1, "+").probe(0, "-").pass(seconds(5)).probe(0, "+");
    };
    for (start, come_back) in [(Start::Up, came_up), (Start::Up, returned), (Start::Down, was_repaired)] {
        let policy = Policy { outliers: judged().outliers, ..slowly(start) };
        let mut world = World::equal(policy, 2);
        come_back(&mut world);
        assert_eq!(world.state(0), State::Starting { share: 0.0 });
        assert!((0.0..=0.01).contains(&share(&mut world)));
        world.pass(seconds(4));
        assert_eq!(world.state(0), State::Starting { share: 0.4 });
        assert!((0.39..=0.41).contains(&share(&mut world)));
        world.pass(seconds(6));
        assert_eq!((world.state(0), world.members()), (State::Up, vec![(0, 1), (1, 1)]));
    }
}

#[test]
fn who_joins_later_starts_slowly() {
    let mut world = World::equal(slowly(Start::Up), 1);
    assert_eq!(world.join(backend(1)), 1);
    assert_eq!(world.state(1), State::Starting { share: 0.0 });
    assert_eq!(world.pass(RAMP).members(), [(0, 1), (1, 1)]);

    let mut world = World::equal(slowly(Start::Down), 1);
    world.probe(0, "+");
    let index = world.join(backend(1));
    assert_eq!(world.pass(seconds(3)).members(), [(0, 1)]);
    world.probe(index, "+");
    assert_eq!(world.state(index), State::Starting { share: 0.0 }, "from its first success on");
}

#[test]
fn the_weight_grows_linearly_in_the_steps_that_are_told() {
    for (weight, slow_start) in
        [(1, 1_000), (1, 10_000), (7, 30_000), (1_000_000, 4_000), (u32::MAX, 600_000)]
    {
        let slow_start = millis(slow_start);
        let policy = Policy { slow_start: Some(slow_start), ..probed(Start::Up) };
        let mut world = World::new(policy, &[backend(weight); 3]);
        world.probe(0, "-").probe(0, "+");
        let began = world.now;
        let (mut steps, mut sum, mut last) = (0, 0.0, 0.0);
        while let Some(next) = world.health.choice(world.now).next {
            let stands = share(&mut world);
            for moment in [world.now, next] {
                let linear = moment.since(began).as_secs_f64() / slow_start.as_secs_f64();
                let off = (stands - linear).abs();
                assert!(off <= 0.051, "{stands} instead of {linear} of weight {weight} over {slow_start:?}");
            }
            let length = next.since(world.now);
            let is_last = next == began.after(slow_start);
            assert!(is_last || length == (slow_start / 50).max(millis(100)), "a step of {length:?}");
            assert!(stands > last, "it grows");
            (steps, sum, last) = (steps + 1, sum + stands * length.as_secs_f64(), stands);
            world.now = next;
        }
        assert_eq!(world.now, began.after(slow_start));
        assert!((10..=50).contains(&steps), "{steps} steps over {slow_start:?}");
        // Over all of it, what a straight line gives.
        let whole = slow_start.as_secs_f64() / 2.0;
        assert!((sum / whole - 1.0).abs() < 0.01, "{sum} instead of {whole} over {slow_start:?}");
        assert_eq!(world.members(), [(0, weight), (1, weight), (2, weight)]);
    }
}

#[test]
fn going_down_again_ends_it() {
    let mut world = World::equal(slowly(Start::Up), 2);
    world.probe(0, "-+").pass(seconds(5)).probe(0, "-");
    assert_eq!((world.state(0), world.members()), (State::Down, vec![(1, 1)]));
    assert_eq!(world.health.choice(world.now).next, None);
    world.pass(seconds(1)).probe(0, "+");
    assert_eq!(world.state(0), State::Starting { share: 0.0 }, "from the beginning");
}

#[test]
fn without_slow_start_the_whole_weight_is_there_at_once() {
    for slow_start in [None, Some(Duration::ZERO)] {
        let policy = Policy { slow_start, ..probed(Start::Up) };
        let mut world = World::new(policy, &[backend(4), backend(1)]);
        assert_eq!(world.probe(0, "-+").members(), [(0, 4), (1, 1)]);
        assert_eq!((world.state(0), world.health.choice(world.now).next), (State::Up, None));
    }
}
