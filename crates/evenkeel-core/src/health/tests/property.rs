//! Random upstreams, random days: what must hold after every event.

use super::super::{Choice, Mode, WhenAllDown};
use super::*;

/// What events say, held against what is seen.
#[derive(Clone, Copy, Default)]
struct Told {
    up: bool,
    succeeded: bool,
    ejected: Option<Moment>,
    gray: bool,
    /// When it came back from its last ejection, and how long that was.
    last: Option<(Moment, Duration)>,
}

struct Day {
    seed: u64,
    rng: fastrand::Rng,
    policy: Policy,
    backends: Vec<Description>,
    world: World,
    told: Vec<Told>,
    mode: Option<Mode>,
    ejections: usize,
}

#[test]
fn hundreds_of_random_days() {
    let (mut ejections, mut modes) = (0, [0; 4]);
    for seed in 0..400 {
        let mut day = Day::new(seed);
        for _ in 0..300 {
            day.step();
            day.check_events();
            let choice = day.world.health.choice(day.world.now);
            day.check_events();
            day.check(&choice);
            modes[choice.mode as usize] += 1;
        }
        ejections += day.ejections;
    }
    assert!(ejections > 1_000, "only {ejections} ejections: nothing was tried");
    assert!(modes.iter().all(|&n| n > 2_000), "modes that were hardly tried: {modes:?}");
}

impl Day {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let policy = random_policy(&mut rng);
        let n = rng.usize(1..9);
        let backends: Vec<_> = (0..n)
            .map(|_| Description {
                weight: rng.choice([0, 1, 1, 1, 5, 1000]).unwrap(),
                priority: rng.choice([0, 0, 0, 1, 2]).unwrap(),
                local: rng.u8(..3) > 0,
            })
            .collect();
        let up = policy.thresholds.is_none_or(|t| t.start == Start::Up);
        let told = vec![Told { up, ..Told::default() }; n];
        let world = World::new(policy.clone(), &backends);
        Self { seed, rng, policy, backends, world, told, mode: None, ejections: 0 }
    }

    fn step(&mut self) {
        let index = self.rng.usize(..self.backends.len());
        // Each has a temper of its own, which changes every so often.
        let bad = (index as u64 + self.world.now.as_micros() / 40_000_000).is_multiple_of(3);
        match self.rng.u8(..10) {
            0..3 => {
                let success = self.rng.u8(..10) >= if bad { 9 } else { 2 };
                self.told[index].succeeded |= success;
                self.world.probe(index, if success { "+" } else { "-" });
            }
            3..6 if bad => drop(self.world.fails(index, self.rng.u32(..8)).told(index)),
            3..6 => {
                let latency = millis(self.rng.u64(1..30));
                let n = self.rng.u32(..80);
                self.world.answers(index, n, latency).fails(index, self.rng.u32(..2)).told(index);
            }
            6 => drop(self.world.judge()),
            _ => {
                let time = millis(self.rng.u64(..4_000));
                self.world.pass(time);
            }
        }
    }

    fn check_events(&mut self) {
        let (seed, now) = (self.seed, self.world.now);
        for event in self.world.events() {
            let index = event.backend().map(index).unwrap_or_default();
            match event {
                Event::Up { .. } => assert!(!std::mem::replace(&mut self.told[index].up, true), "{seed}"),
                Event::Down { .. } => {
                    let told = &mut self.told[index];
                    assert!(std::mem::replace(&mut told.up, false), "{seed}");
                    (told.ejected, told.last) = (None, None);
                }
                Event::Ejected { until, .. } => self.check_ejection(index, until),
                Event::Returned { .. } => {
                    let end = self.told[index].ejected.take().expect("it was ejected");
                    assert!(end <= now, "seed {seed}");
                }
                Event::Gray { .. } => {
                    assert!(!std::mem::replace(&mut self.told[index].gray, true), "{seed}")
                }
                Event::GrayOver { .. } => {
                    assert!(std::mem::replace(&mut self.told[index].gray, false), "{seed}")
                }
                Event::ModeChanged { from, to } => {
                    assert_eq!(Some(from), self.mode, "seed {seed}");
                    assert_ne!(from, to, "seed {seed}");
                    self.mode = Some(to);
                }
            }
        }
        for (index, told) in self.told.iter().enumerate() {
            assert_eq!(told.gray, self.world.health.gray(id(index)), "seed {seed}");
        }
    }

    /// Longer than the last one if that was just before, and never longer than the longest.
    fn check_ejection(&mut self, index: usize, until: Moment) {
        let (seed, now, told) = (self.seed, self.world.now, &mut self.told[index]);
        let options = self.policy.outliers.expect("nothing ejects without outlier detection");
        let time = until.since(now);
        assert!(told.up && told.ejected.is_none() && self.backends[index].weight > 0, "seed {seed}");
        assert!(time <= options.max_ejection_time, "seed {seed}");
        if let Some((end, last)) = told.last.filter(|(end, _)| now.since(*end) < options.ejection_time) {
            let grown = (last + options.ejection_time).min(options.max_ejection_time);
            assert_eq!(time, grown, "seed {seed}: {:?} after the last", now.since(end));
        }
        (told.ejected, told.last) = (Some(until), Some((until, time)));
        self.ejections += 1;
    }

    fn check(&mut self, choice: &Choice) {
        let (seed, now) = (self.seed, self.world.now);
        if self.mode.is_none() {
            self.mode = Some(choice.mode);
        }
        assert_eq!(self.mode, Some(choice.mode), "seed {seed}");
        let states: Vec<State> = (0..self.backends.len()).map(|i| self.world.state(i)).collect();
        let weighed: Vec<usize> = (0..states.len()).filter(|&i| self.backends[i].weight > 0).collect();
        for &index in &weighed {
            let (state, told) = (states[index], self.told[index]);
            assert_eq!(state == State::Down, !told.up, "seed {seed}");
            assert_eq!(matches!(state, State::Ejected { .. }), told.ejected.is_some(), "seed {seed}");
        }
        let ejected = states.iter().filter(|s| matches!(s, State::Ejected { .. })).count();
        let share = self.policy.outliers.map_or(0.0, |o| o.max_ejected);
        assert!(ejected as f64 <= share * weighed.len() as f64 + 1e-9, "seed {seed}: {ejected} ejected");
        assert!(ejected < weighed.len().max(1), "seed {seed}: all ejected");
        assert!(choice.next.is_none_or(|next| next > now), "seed {seed}");
        self.check_members(choice, &states, &weighed);
    }

    fn check_members(&self, choice: &Choice, states: &[State], weighed: &[usize]) {
        let seed = self.seed;
        let members: Vec<usize> = choice.members.iter().map(|&(id, _)| index(id)).collect();
        assert!(members.is_sorted_by(|a, b| a < b), "seed {seed}: each once");
        assert!(members.iter().all(|i| weighed.contains(i)), "seed {seed}");
        assert!(choice.members.iter().all(|&(_, weight)| weight > 0), "seed {seed}");
        let waits = |i: &usize| {
            self.policy.thresholds.is_some_and(|t| t.start == Start::Down) && !self.told[*i].succeeded
        };
        assert!(!members.iter().any(waits), "seed {seed}: nothing before the first success");
        let is_usable = |i: &usize| matches!(states[*i], State::Up | State::Starting { .. });
        let usable: Vec<usize> = weighed.iter().copied().filter(is_usable).collect();
        assert_eq!(members.is_empty(), choice.mode == Mode::Refuse, "seed {seed}");
        let too_few = (usable.len() as f64) < self.policy.panic_threshold * weighed.len() as f64;
        let expected = match (usable.is_empty(), self.policy.when_all_down) {
            (false, _) if too_few => Mode::Panic,
            (false, _) => Mode::Normal,
            (true, WhenAllDown::FailOpen) if !weighed.iter().all(waits) => Mode::FailOpen,
            (true, _) => Mode::Refuse,
        };
        assert_eq!(choice.mode, expected, "seed {seed}");
        if let Some(level) = usable.iter().map(|&i| self.backends[i].priority).min() {
            assert!(members.iter().all(|&i| self.backends[i].priority == level), "seed {seed}");
            assert!(choice.mode == Mode::Panic || members.iter().all(is_usable), "seed {seed}");
        }
        let starting = members.iter().any(|&i| matches!(states[i], State::Starting { .. }));
        if choice.mode != Mode::Normal || !starting {
            let configured =
                by_index(&choice.members).iter().all(|&(i, weight)| weight == self.backends[i].weight);
            assert!(configured, "seed {seed}: {choice:?}");
        }
        for (i, weight) in by_index(&choice.members) {
            let State::Starting { share } = states[i] else { continue };
            // In the last step it may have its full weight already, and then no weight is scaled.
            let is_whole = share >= 0.9 && weight == self.backends[i].weight;
            if choice.mode == Mode::Normal && !is_whole {
                let got = f64::from(weight) / f64::from(self.backends[i].weight) / 1000.0;
                assert!((got - share).abs() <= 0.1, "seed {seed}: {got} instead of {share}");
            }
        }
    }
}

fn random_policy(rng: &mut fastrand::Rng) -> Policy {
    let start = rng.choice([Start::Up, Start::Down]).unwrap();
    let ejection_time = seconds(rng.u64(1..15));
    let outliers = OutlierOptions {
        consecutive_failures: NonZeroU32::new(rng.u32(..6)),
        failure_rate: rng.bool().then(|| rng.f64()),
        latency_factor: rng.bool().then_some(2.0),
        min_requests: rng.u32(..40),
        ejection_time,
        max_ejection_time: ejection_time * rng.u32(1..6),
        max_ejected: rng.choice([0.0, 0.2, 0.5, 0.5, 1.0]).unwrap(),
        ..OutlierOptions::default()
    };
    Policy {
        thresholds: (rng.u8(..4) > 0).then(|| thresholds(rng.u32(1..4), rng.u32(1..4), start)),
        outliers: (rng.u8(..8) > 0).then_some(outliers),
        slow_start: rng.bool().then(|| millis(rng.u64(1_000..20_000))),
        when_all_down: rng.choice([WhenAllDown::FailOpen, WhenAllDown::Refuse]).unwrap(),
        panic_threshold: rng.choice([0.0, 0.0, 0.3, 0.6]).unwrap(),
    }
}
