//! Who is ejected by its traffic, for how long, how many at a time; and gray failure.

use super::super::Reason;
use super::*;

#[test]
fn failures_in_a_row_eject_at_once() {
    let mut world = World::equal(judged(), 3);
    world.answers(1, 10, millis(5)).fails(1, 4).told(1);
    assert_eq!((world.state(1), world.events()), (State::Up, vec![]));
    world.fails(1, 2).told(1);
    let until = world.now.after(seconds(30));
    let reason = Reason::ConsecutiveFailures(6);
    assert_eq!(world.state(1), State::Ejected { until });
    assert_eq!(
        world.fails(1, 1).told(1).events(),
        [Event::Ejected { backend: id(1), reason, until }],
        "once"
    );
    let choice = world.health.choice(world.now);
    assert_eq!((by_index(&choice.members), choice.next), (vec![(0, 1), (2, 1)], Some(until)));
    world.pass(millis(29_999));
    assert_eq!(world.chosen(), [0, 2]);
    world.pass(millis(1));
    assert_eq!(world.state(1), State::Up, "also before it was recorded");
    assert_eq!((world.chosen(), world.events()), (vec![0, 1, 2], vec![Event::Returned { backend: id(1) }]));
}

#[test]
fn without_outlier_detection_nothing_is_ejected() {
    let off = judged_by(|o| o.consecutive_failures = None);
    for policy in [Policy::default(), off] {
        let mut world = World::equal(policy, 3);
        assert_eq!(world.fails(0, 1000).judge().chosen(), [0, 1, 2]);
    }
}

#[test]
fn old_failures_do_not_eject_again() {
    let mut world = World::equal(judged(), 3);
    world.fails(0, 5).told(0);
    assert!(world.is_ejected(0));
    // Requests in flight also fail while it is ejected. This is recorded before the return or after it.
    world.pass(seconds(10)).fails(0, 20).told(0).pass(seconds(20));
    assert_eq!(world.state(0), State::Up);
    world.told(0).judge();
    assert_eq!(world.state(0), State::Up, "25 in a row, and all of them old");
    world.fails(0, 4).told(0);
    assert_eq!(world.state(0), State::Up, "four new ones");
    world.fails(0, 1).told(0);
    assert!(world.is_ejected(0), "five new ones");

    // After a response the counter starts again, and may pass its old value without having been seen lower.
    world.pass(seconds(60)).told(0).answers(0, 1, millis(1)).fails(0, 4).told(0);
    assert_eq!(world.state(0), State::Up);
    world.fails(0, 1).told(0);
    assert!(world.is_ejected(0));
    world.pass(seconds(90)).told(0).answers(0, 1, millis(1)).fails(0, 7).told(0);
    assert!(world.is_ejected(0), "seven new ones, only two more than the old ones");
}

#[test]
fn an_interval_from_before_the_ejection_is_not_judged_after_it() {
    let policy = judged_by(|o| (o.failure_rate, o.ejection_time) = (Some(0.5), seconds(1)));
    let mut world = World::equal(policy, 3);
    world.fails(0, 60).told(0).pass(seconds(2));
    world.health.judge(world.now);
    assert_eq!(world.state(0), State::Up, "nothing was told since it returned");
}

#[test]
fn what_is_told_late_does_not_eject_at_once() {
    let mut world = World::equal(judged(), 3);
    world.fails(0, 5).told(0).fails(0, 40).pass(seconds(30));
    assert_eq!(world.chosen(), [0, 1, 2]);
    assert_eq!(world.told(0).state(0), State::Up);
}

#[test]
fn an_answer_that_shows_before_its_row_is_gone_does_not_eject() {
    let mut world = World::equal(judged(), 3);
    world.fails(0, 9).told(0).pass(seconds(30)).told(0);
    let torn = Traffic { answers: world.traffic[0].answers + 1, ..world.traffic[0] };
    world.health.served(id(0), torn, world.now);
    assert_eq!(world.state(0), State::Up);
    // And the other way round: a row that is shorter is another one, whatever else shows.
    let torn = Traffic { failures_in_a_row: 5, ..world.traffic[0] };
    world.health.served(id(0), torn, world.now);
    assert!(world.is_ejected(0));
}

#[test]
fn what_was_served_before_the_beginning_does_not_count() {
    let mut world = World::equal(judged(), 3);
    world.fails(0, 7);
    world.health.served_before(id(0), world.traffic[0]);
    assert_eq!(world.told(0).fails(0, 4).told(0).state(0), State::Up);
    assert!(world.fails(0, 1).told(0).is_ejected(0));
}

#[test]
fn each_ejection_in_a_row_is_longer_up_to_the_longest() {
    let mut world = World::equal(judged(), 3);
    for n in 1..=13_u64 {
        world.told(2).fails(2, 5).told(2);
        let State::Ejected { until } = world.state(2) else { panic!("ejection {n}") };
        assert_eq!(until.since(world.now), seconds((30 * n).min(300)), "ejection {n}");
        world.now = until;
    }
}

#[test]
fn good_behaviour_is_remembered_as_well() {
    // Ejected three times in a row, then healthy for this many seconds: how long is the next ejection?
    for (well, next) in [(0, 120), (29, 120), (30, 90), (59, 90), (60, 60), (90, 30), (10_000, 30)] {
        let mut world = World::equal(judged(), 3);
        for n in 1..=3 {
            world.told(0).fails(0, 5).told(0).pass(seconds(30 * n));
        }
        world.told(0).pass(seconds(well)).answers(0, 1, millis(1)).told(0).fails(0, 5).told(0);
        let until = world.now.after(seconds(next));
        assert_eq!(world.state(0), State::Ejected { until }, "after {well} s");
    }
}

#[test]
fn never_more_than_max_ejected() {
    for (max_ejected, n, most) in [
        (0.5, 1, 0),
        (0.5, 2, 1),
        (0.5, 3, 1),
        (0.5, 4, 2),
        (0.5, 10, 5),
        (1.0, 1, 0),
        (1.0, 2, 1),
        (1.0, 5, 4),
        (0.1, 9, 0),
        (0.1, 10, 1),
        (0.29, 100, 29),
        (0.7, 10, 7),
        (0.0, 10, 0),
    ] {
        let mut backends = vec![backend(1); n];
        backends.push(backend(0));
        let mut world = World::new(judged_by(|o| o.max_ejected = max_ejected), &backends);
        for index in 0..=n {
            world.fails(index, 5).told(index);
        }
        let ejected = (0..=n).filter(|&index| world.is_ejected(index)).count();
        assert_eq!(ejected, most, "{max_ejected} of {n}");
        assert_eq!(world.chosen().len(), n - most);
    }
}

#[test]
fn the_last_that_is_up_is_not_ejected() {
    let policy = Policy { thresholds: probed(Start::Up).thresholds, ..judged_by(|o| o.max_ejected = 1.0) };
    let mut world = World::equal(policy, 3);
    world.probe(0, "-").probe(1, "-").fails(2, 50).told(2);
    assert_eq!(world.chosen(), [2]);
    world.probe(1, "+").fails(2, 1).told(2);
    assert_eq!(world.chosen(), [1]);
}

#[test]
fn what_probes_take_down_is_no_longer_ejected() {
    let policy = Policy { thresholds: probed(Start::Up).thresholds, ..judged() };
    let mut world = World::equal(policy, 4);
    world.fails(0, 5).told(0).probe(0, "-").events();
    assert_eq!((world.state(0), world.events()), (State::Down, vec![]));
    for index in 1..4 {
        world.fails(index, 5).told(index);
    }
    assert_eq!(world.chosen(), [3], "it is not counted, so two others may go");
    world.pass(seconds(5)).probe(0, "+");
    assert_eq!(world.chosen(), [0, 3], "probes brought it back, before its ejection would have ended");
    world.told(0).answers(0, 1, millis(1)).told(0);
    assert_eq!(world.chosen(), [0, 3]);
    // Its ejection is not forgotten, and being down for long is no good behaviour.
    world.probe(0, "-").pass(seconds(1000)).told(0).probe(0, "+").told(0).fails(0, 5).told(0);
    assert_eq!(world.state(0), State::Ejected { until: world.now.after(seconds(60)) });
}

#[test]
fn the_rate_of_failures_is_judged_by_the_interval() {
    for (answers, failures, ejected) in
        [(50, 50, false), (49, 51, true), (0, 49, false), (0, 50, true), (100_000, 60_000, false)]
    {
        let mut world =
            World::equal(judged_by(|o| (o.failure_rate, o.consecutive_failures) = (Some(0.5), None)), 3);
        // What was before this interval does not matter.
        world.answers(1, 500, millis(1)).judge();
        world.fails(1, failures).answers(1, answers, millis(1)).told(1);
        assert_eq!(world.state(1), State::Up, "not before the interval has ended");
        assert_eq!(world.judge().is_ejected(1), ejected, "{answers} responses, {failures} failures");
        world.pass(seconds(30)).judge();
        assert_eq!(world.state(1), State::Up, "the same again does not count again");
    }
}

#[test]
fn the_worst_go_first() {
    let mut world =
        World::equal(judged_by(|o| (o.failure_rate, o.consecutive_failures) = (Some(0.1), None)), 5);
    for (index, failures) in [30, 20, 40, 90, 5].into_iter().enumerate() {
        world.fails(index, failures).answers(index, 100 - failures, millis(1));
    }
    assert_eq!(world.judge().chosen(), [0, 1, 4]);
    let events = world.events();
    assert_eq!(events[0].backend(), Some(id(3)));
    let reasons: Vec<_> = events.into_iter().map(|e| format!("{e:?}")).collect();
    assert!(reasons[0].contains("reason: FailureRate(0.9)"), "{reasons:?}");
}

#[test]
fn latency_is_judged_by_the_median_of_the_peers() {
    const FEW: u64 = 0;
    for (means, ejected) in [
        (vec![10, 10, 10, 31], vec![3]),
        (vec![10, 10, 10, 30], vec![]),
        (vec![10, 10, 31], vec![]),
        (vec![10, 10, 10, FEW, 31], vec![4]),
        (vec![10, 10, FEW, 31], vec![]),
        (vec![100, 100, 100, 100], vec![]),
        (vec![1, 90, 90, 90, 90], vec![]),
        (vec![10, 10, 10, 10, 50, 40], vec![4, 5]),
        (vec![10, 10, 10, 10, 10, 50, 40, 60], vec![5, 6, 7]),
        (vec![10, 20, 30, 40, 76], vec![4]),
        (vec![10, 20, 30, 40, 74], vec![]),
    ] {
        let policy = judged_by(|o| o.latency_factor = Some(3.0));
        let mut world = World::equal(policy, means.len());
        for (index, &mean) in means.iter().enumerate() {
            if mean == FEW {
                world.answers(index, 49, millis(1));
            } else {
                world.answers(index, 60, millis(mean));
            }
        }
        world.judge();
        let got: Vec<_> = (0..means.len()).filter(|&index| world.is_ejected(index)).collect();
        assert_eq!(got, ejected, "{means:?}");
    }
}

#[test]
fn peers_are_of_the_same_level_and_zone() {
    let mut backends = vec![backend(1); 4];
    backends.extend([Description { local: false, ..backend(1) }; 4]);
    let mut world = World::new(judged_by(|o| o.latency_factor = Some(3.0)), &backends);
    for index in 0..8 {
        world.answers(index, 100, millis(if index < 4 { 1 } else { 20 }));
    }
    assert_eq!(world.judge().events(), [], "what is farther away is slower");
}

#[test]
fn what_starts_slowly_is_not_judged_by_latency() {
    let policy = Policy { slow_start: Some(seconds(10)), ..judged_by(|o| o.latency_factor = Some(3.0)) };
    let mut world = World::equal(policy, 5);
    world.fails(0, 5).told(0).pass(seconds(30)).judge();
    for (pass, ejected) in [(5, false), (5, true)] {
        for index in 1..5 {
            world.answers(index, 100, millis(1));
        }
        world.answers(0, 100, millis(9)).pass(seconds(pass));
        assert_eq!(world.judge().is_ejected(0), ejected);
    }
}

#[test]
fn probes_up_while_traffic_ejects_again_is_gray() {
    let policy = Policy { thresholds: Some(thresholds(2, 3, Start::Up)), ..judged() };
    let mut world = World::equal(policy, 3);
    let eject = |world: &mut World, times: u64| {
        world.told(0).answers(0, 1, millis(1)).told(0).fails(0, 5).told(0);
        assert!(world.is_ejected(0));
        let gray = world.health.gray(id(0));
        world.probe(0, "+").pass(seconds(30 * times)).told(0).chosen();
        gray
    };
    world.probe(0, "+");
    assert!(!eject(&mut world, 1), "once may be chance");
    assert!(eject(&mut world, 2) && eject(&mut world, 3));
    let told = |world: &mut World| {
        let gray = |e: &Event| matches!(e, Event::Gray { .. } | Event::GrayOver { .. });
        world.events().into_iter().filter(gray).collect::<Vec<_>>()
    };
    assert_eq!(told(&mut world), [Event::Gray { backend: id(0), probes_up: true }], "once");
    world.pass(seconds(89)).judge();
    assert!(world.health.gray(id(0)));
    world.pass(seconds(1)).judge();
    assert_eq!(told(&mut world), [Event::GrayOver { backend: id(0) }], "its three ejections are forgotten");
    assert!(!world.health.gray(id(0)));

    eject(&mut world, 1);
    assert!(eject(&mut world, 2));
    world.probe(0, "---");
    assert_eq!(told(&mut world).last(), Some(&Event::GrayOver { backend: id(0) }), "probes agree");
}

#[test]
fn without_a_probe_that_says_up_nothing_is_gray() {
    for thresholds in [None, Some(Thresholds::default())] {
        let mut world = World::equal(Policy { thresholds, ..judged() }, 3);
        for n in 1..4 {
            world.told(0).fails(0, 5).told(0).pass(seconds(30 * n));
        }
        assert!(!world.health.gray(id(0)));
        // One that has just failed is no word for it either.
        world.probe(0, "+-").told(0).fails(0, 5).told(0);
        assert!(!world.health.gray(id(0)));
        world.probe(0, "+");
        assert_eq!(world.health.gray(id(0)), thresholds.is_some());
    }
}

#[test]
fn answering_well_while_probes_say_down_is_gray() {
    let policy = Policy { thresholds: probed(Start::Up).thresholds, ..judged() };
    let mut world = World::equal(policy, 2);
    world.judge().pass(seconds(1)).answers(0, 1000, millis(1)).probe(0, "-").probe(1, "-");
    world.pass(seconds(4)).judge().events();
    assert!(!world.health.gray(id(0)), "it responded before it was down");
    world.pass(seconds(5)).answers(0, 95, millis(1)).fails(0, 4).answers(1, 49, millis(1)).judge();
    assert_eq!(
        world.events(),
        [Event::Gray { backend: id(0), probes_up: false }],
        "fail open gives it requests"
    );
    world.pass(seconds(5)).answers(0, 100, millis(1)).judge();
    assert_eq!((world.events(), world.health.gray(id(0)), world.health.gray(id(1))), (vec![], true, false));
    world.pass(seconds(5)).fails(0, 50).judge();
    assert_eq!((world.events(), world.health.gray(id(0))), (vec![Event::GrayOver { backend: id(0) }], false));
    world.pass(seconds(5)).answers(0, 100, millis(1)).judge().events();
    world.probe(0, "+");
    assert_eq!(world.events(), [Event::Up { backend: id(0) }, Event::GrayOver { backend: id(0) }]);
}
