//! Rise and fall, priorities, zones, panic, and what is done when all are down.

use super::super::{Mode, WhenAllDown};
use super::*;

#[test]
fn results_in_a_row_bring_up_and_take_down() {
    for (rise, fall, start, results, states) in [
        (2, 3, Start::Up, "---", "uud"),
        (2, 3, Start::Up, "--+--+---", "uuuuuuuud"),
        (2, 3, Start::Up, "---+-++", "uuddddu"),
        (1, 1, Start::Up, "+-+-", "udud"),
        (2, 3, Start::Down, "+", "u"),
        (3, 2, Start::Down, "---+", "dddu"),
        (2, 2, Start::Down, "+--+-++", "uuddddu"),
    ] {
        let policy = Policy { thresholds: Some(thresholds(rise, fall, start)), ..Policy::default() };
        let mut world = World::equal(policy, 1);
        let mut seen = String::new();
        for result in results.chars() {
            world.probe(0, &result.to_string());
            seen.push(if world.state(0) == State::Down { 'd' } else { 'u' });
        }
        assert_eq!(seen, states, "{results} with rise {rise}, fall {fall}, {start:?}");
    }
}

#[test]
fn up_and_down_are_told_once() {
    let policy = Policy { thresholds: Some(thresholds(2, 2, Start::Up)), ..Policy::default() };
    let mut world = World::equal(policy, 2);
    assert_eq!(world.probe(0, "++++").events(), []);
    assert_eq!(world.probe(0, "-----").events(), [Event::Down { backend: id(0) }]);
    assert_eq!(world.probe(0, "-++++").events(), [Event::Up { backend: id(0) }]);
    assert_eq!(world.probe(2, "--").probe(77, "--").events(), [], "there are no such backends");
}

#[test]
fn without_thresholds_probes_say_nothing() {
    let mut world = World::equal(Policy::default(), 2);
    assert_eq!(world.probe(0, "-----").chosen(), [0, 1]);
}

#[test]
fn a_backend_without_weight_is_out_whatever_else_is_down() {
    let mut world = World::new(probed(Start::Up), &[backend(2), backend(0), backend(5)]);
    assert_eq!((world.members(), world.state(1)), (vec![(0, 2), (2, 5)], State::Out));
    world.probe(0, "-").probe(2, "-");
    assert_eq!(world.members(), [(0, 2), (2, 5)]);
    let mut world = World::new(Policy::default(), &[backend(0)]);
    let choice = world.health.choice(world.now);
    assert_eq!((choice.members, choice.mode, choice.next), (vec![], Mode::Refuse, None));
}

#[test]
fn the_lowest_level_with_a_usable_backend_is_used() {
    // Levels 0, 0, 1, 1, 7.
    for (down, chosen) in [
        (vec![], vec![0, 1]),
        (vec![0], vec![1]),
        (vec![2, 3, 4], vec![0, 1]),
        (vec![0, 1], vec![2, 3]),
        (vec![0, 1, 3], vec![2]),
        (vec![0, 1, 2, 3], vec![4]),
        (vec![0, 1, 2, 3, 4], vec![0, 1]),
    ] {
        let levels = [0, 0, 1, 1, 7].map(|priority| Description { priority, ..backend(1) });
        let mut world = World::new(probed(Start::Up), &levels);
        world.probe_down(&down);
        assert_eq!(world.chosen(), chosen, "without {down:?}");
    }
}

#[test]
fn the_own_zone_is_preferred_while_half_of_it_is_left() {
    // At home 0, 1, 2 of level 0 and 5 of level 1; abroad 3 and 4 of level 0.
    for (down, chosen) in [
        (vec![], vec![0, 1, 2]),
        (vec![1], vec![0, 2]),
        (vec![1, 2], vec![0, 3, 4]),
        (vec![1, 2, 3], vec![0, 4]),
        (vec![0, 1, 2], vec![3, 4]),
        (vec![0, 1, 2, 3, 4], vec![5]),
        (vec![3, 4], vec![0, 1, 2]),
        (vec![0, 1, 2, 3, 4, 5], vec![0, 1, 2, 3, 4]),
    ] {
        let mut backends =
            [true, true, true, false, false, true].map(|local| Description { local, ..backend(1) });
        backends[5].priority = 1;
        let mut world = World::new(probed(Start::Up), &backends);
        world.probe_down(&down);
        assert_eq!(world.chosen(), chosen, "without {down:?}");
    }
}

#[test]
fn half_of_the_own_zone_is_enough() {
    let backends = [true, true, false].map(|local| Description { local, ..backend(1) });
    assert_eq!(World::new(probed(Start::Up), &backends).probe(1, "-").chosen(), [0]);
}

#[test]
fn when_all_are_down_it_is_as_configured() {
    for (when_all_down, mode, members) in [
        (WhenAllDown::FailOpen, Mode::FailOpen, vec![(0, 3), (1, 1)]),
        (WhenAllDown::Refuse, Mode::Refuse, vec![]),
    ] {
        let backends = [backend(3), backend(1), Description { priority: 1, ..backend(1) }];
        let mut world = World::new(Policy { when_all_down, ..probed(Start::Up) }, &backends);
        assert_eq!(world.health.choice(world.now).mode, Mode::Normal);
        world.probe(0, "-").probe(1, "-").probe(2, "-").events();
        let choice = world.health.choice(world.now);
        assert_eq!((choice.mode, by_index(&choice.members)), (mode, members));
        assert_eq!(world.chosen(), world.chosen());
        assert_eq!(world.events(), [Event::ModeChanged { from: Mode::Normal, to: mode }], "told once");
        world.probe(1, "+").chosen();
        let told = world.events();
        assert_eq!(told, [Event::Up { backend: id(1) }, Event::ModeChanged { from: mode, to: Mode::Normal }]);
    }
}

#[test]
fn below_the_panic_threshold_all_of_the_level_in_use_are_chosen_among() {
    // Of four, the last of level 1.
    for (threshold, down, mode, chosen) in [
        (0.0, vec![0, 1, 2], Mode::Normal, vec![3]),
        (0.5, vec![0, 1], Mode::Normal, vec![2]),
        (0.5, vec![0, 1, 3], Mode::Panic, vec![0, 1, 2]),
        (0.51, vec![0, 1], Mode::Panic, vec![0, 1, 2]),
        (0.5, vec![0, 1, 2], Mode::Panic, vec![3]),
        (0.5, vec![0, 1, 2, 3], Mode::FailOpen, vec![0, 1, 2]),
        (1.0, vec![], Mode::Normal, vec![0, 1, 2]),
        (1.0, vec![3], Mode::Panic, vec![0, 1, 2]),
    ] {
        let backends = [0, 0, 0, 1].map(|priority| Description { priority, ..backend(1) });
        let policy = Policy { panic_threshold: threshold, ..probed(Start::Up) };
        let mut world = World::new(policy, &backends);
        world.probe_down(&down);
        let choice = world.health.choice(world.now);
        let indices: Vec<_> = choice.members.iter().map(|m| index(m.0)).collect();
        assert_eq!((choice.mode, indices), (mode, chosen), "below {threshold} without {down:?}");
    }
}

#[test]
fn what_waits_for_its_first_success_gets_nothing_in_any_mode() {
    let mut world = World::equal(Policy { panic_threshold: 0.9, ..probed(Start::Down) }, 3);
    assert_eq!(world.health.choice(world.now).mode, Mode::Refuse);
    assert_eq!(world.probe(0, "---").chosen(), [0; 0]);
    assert_eq!(world.probe(1, "+").chosen(), [1], "a panic");
    assert_eq!(world.health.choice(world.now).mode, Mode::Panic);
    assert_eq!(world.probe(1, "-").chosen(), [1], "fail open");
    assert_eq!(world.health.choice(world.now).mode, Mode::FailOpen);
    assert_eq!(world.probe(2, "+").chosen(), [1, 2]);
}
