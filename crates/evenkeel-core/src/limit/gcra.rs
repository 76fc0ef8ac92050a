//! How often one key may: so many requests in a period, and so many of them at once.
//!
//! # The problem
//! Counting requests for each second forgets the second before: twice the limit passes around its end. A list of when each
//! request came is exact, and needs memory for each of them.
//!
//! # The idea
//! For each key one number: the time at which its requests so far would have ended, had they come at exactly the limit (the
//! theoretical arrival time). A request moves it one interval further, and passes if it is then no more than `burst`
//! intervals ahead of the clock. So over any time T no more than `burst + rate * T` requests pass, and a client at or below
//! the limit is never rejected. It is a token bucket that nothing needs to fill.
//!
//! The clock counts in fractions of a request instead of a second: it runs at the speed of the limit. Then an interval is the
//! same integer for every rate, and another rate is the same clock at another speed: what a key has used stays used, in
//! requests, although none of the keys is touched. Only the clock is rounded, so that a window is exact to a 65,536th of one
//! request, however many requests are in it.
//!
//! Sources: ITU-T I.371 (1993), 5.4.1 and annex A, "virtual scheduling algorithm"; J. Turner, "New Directions in
//! Communications", 1986 (the leaky bucket as a meter).
//!
//! # Cost
//! 8 bytes a key. One division of 128 bits to read the clock, one more to say when the key may again.
//!
//! # When not to use it
//! It limits how often, not how much at the same time: few slow requests can still occupy a backend.

use std::time::Duration;

use super::Rate;
use crate::Moment;

/// What one request costs. So an interval of the fastest [`Rate`] is 15 ps, and the clock runs for eight years at it.
const REQUEST: u64 = 1 << 16;
/// Where the clock ends, so that no state of a key is beyond the numbers: no burst is longer than the rest.
const END: Arrival = Arrival::MAX - (1 << 50);

/// The rule of one limit: how fast its clock runs, and how far ahead of it a key can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gcra {
    rate: Rate,
    burst: u32,
    /// How many requests beyond the burst can be charged in advance: they wait.
    delayed: u32,
    /// What the clock read when it began to run at this rate.
    reading: Arrival,
    /// When that was.
    since: Moment,
}

/// A reading of a limit's clock, and what is kept of each key: when its requests so far would have ended.
pub(super) type Arrival = u64;

/// Whether a request passes, and what is left of its key's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// Whether the request is within the limit. If not, it was not counted.
    pub allowed: bool,
    /// How many more requests would pass at once.
    pub remaining: u32,
    /// If none is left: until one passes. Else until the quota is whole again.
    pub reset: Duration,
    /// How long an allowed request has to wait; zero within the burst.
    pub wait: Duration,
}

// === impl Gcra ===

impl Gcra {
    /// So many requests in a period, and up to `burst` of them at once; a burst of zero counts as one.
    pub fn new(rate: Rate, burst: u32, now: Moment) -> Self {
        Self { rate, burst: burst.max(1), delayed: 0, reading: 0, since: now }
    }

    /// With so many requests beyond the burst that wait instead of being too much: see [`Decision::wait`].
    #[must_use]
    pub fn with_delayed(self, delayed: u32) -> Self {
        Self { delayed, ..self }
    }

    /// The same clock at another speed: a key that has used some requests of its quota has still used as many.
    #[must_use]
    pub fn changed(&self, rate: Rate, burst: u32, now: Moment) -> Self {
        Self { rate, burst: burst.max(1), delayed: 0, reading: self.read(now), since: now }
    }

    /// How often.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// How many at once; at least one.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// What the clock reads.
    #[inline]
    pub(super) fn read(&self, now: Moment) -> Arrival {
        let micros = now.as_micros().saturating_sub(self.since.as_micros());
        let units = u128::from(micros) * self.per_period() / self.period();
        self.reading.saturating_add(u64::try_from(units).unwrap_or(u64::MAX)).min(END)
    }

    /// The new state of a key after one more request; `None` if that is too much.
    #[inline]
    pub(super) fn charge(&self, arrival: Arrival, reading: Arrival) -> Option<Arrival> {
        let charged = arrival.max(reading).saturating_add(REQUEST);
        (charged - reading <= self.most()).then_some(charged)
    }

    /// The state of a key to which a request was charged by mistake.
    pub(super) fn give_back(arrival: Arrival) -> Arrival {
        arrival.saturating_sub(REQUEST).max(1)
    }

    /// What can be said of a key in this state, at a time and what the clock reads then.
    #[inline]
    pub(super) fn decision(
        &self,
        allowed: bool,
        arrival: Arrival,
        (now, reading): (Moment, Arrival),
    ) -> Decision {
        let used = arrival.saturating_sub(reading);
        let left = self.whole().saturating_sub(used);
        let remaining = u32::try_from(left / REQUEST).unwrap_or(u32::MAX);
        // How far the clock has to run: until there is room for one request, or until nothing is used.
        let room = if allowed { self.whole() } else { self.most() };
        let missing = if remaining == 0 { (REQUEST + used).saturating_sub(room) } else { used };
        let until = |units: u64| self.moment_of(reading.saturating_add(units)).since(now);
        let wait = match used.saturating_sub(self.whole()) {
            ahead @ 1.. if allowed => until(ahead),
            _ => Duration::ZERO,
        };
        Decision { allowed, remaining, reset: until(missing), wait }
    }

    /// When the clock first reads this much.
    fn moment_of(&self, reading: Arrival) -> Moment {
        let units = u128::from(reading.saturating_sub(self.reading));
        let micros = (units * self.period()).div_ceil(self.per_period());
        Moment::from_micros(self.since.as_micros().saturating_add(u64::try_from(micros).unwrap_or(u64::MAX)))
    }

    fn whole(&self) -> u64 {
        u64::from(self.burst) * REQUEST
    }

    /// The most that a key can have used, those that wait included.
    fn most(&self) -> u64 {
        self.whole() + u64::from(self.delayed) * REQUEST
    }

    fn per_period(&self) -> u128 {
        u128::from(self.rate.count().get()) * u128::from(REQUEST)
    }

    fn period(&self) -> u128 {
        self.rate.period().as_micros()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use governor::{Quota, RateLimiter as Governor};

    use super::*;

    fn rate(count: u32, period: Duration) -> Rate {
        Rate::new(count.try_into().unwrap(), period).unwrap()
    }

    /// One key under a rule.
    struct Key {
        rule: Gcra,
        state: Arrival,
    }

    impl Key {
        fn new(rate: Rate, burst: u32) -> Self {
            Self { rule: Gcra::new(rate, burst, Moment::default()), state: 0 }
        }

        fn ask(&mut self, micros: u64) -> Decision {
            let now = Moment::from_micros(micros);
            let reading = self.rule.read(now);
            let charged = self.rule.charge(self.state, reading);
            self.state = charged.unwrap_or(self.state);
            self.rule.decision(charged.is_some(), self.state, (now, reading))
        }
    }

    const SECOND: Duration = Duration::from_secs(1);
    const RATES: [(u32, u64); 9] =
        [(1, 1), (3, 1), (7, 1), (100, 1), (1_000_000, 1), (1, 60), (5000, 3600), (1, 86_400), (7, 86_400)];

    #[test]
    fn what_is_left_and_when_there_is_more() {
        let mut key = Key::new(rate(10, SECOND), 3);
        let millis = Duration::from_millis;
        let expected = [(true, 2, 100), (true, 1, 200), (true, 0, 100), (false, 0, 100)];
        for (allowed, remaining, reset) in expected {
            assert_eq!(
                key.ask(0),
                Decision { allowed, remaining, reset: millis(reset), wait: Duration::ZERO }
            );
        }
        assert!(!key.ask(99_999).allowed);
        let passed =
            |remaining| Decision { allowed: true, remaining, reset: millis(100), wait: Duration::ZERO };
        assert_eq!(key.ask(100_000), passed(0));
        assert_eq!(key.ask(500_000), passed(2));
    }

    /// Requests that wait pass at the rate, in their order, and only so many can wait.
    #[test]
    fn requests_beyond_the_burst_wait_for_their_turn() {
        let mut key = Key::new(rate(10, SECOND), 2);
        key.rule = key.rule.with_delayed(3);
        let waits = [(true, 0), (true, 0), (true, 100), (true, 200), (true, 300), (false, 0), (false, 0)];
        for (allowed, wait) in waits {
            let decision = key.ask(0);
            assert_eq!((decision.allowed, decision.wait), (allowed, Duration::from_millis(wait)));
        }
        assert_eq!(key.ask(0).reset, Duration::from_millis(100), "then one more can wait");
        let decision = key.ask(100_000);
        assert_eq!((decision.allowed, decision.wait), (true, Duration::from_millis(300)));
    }

    /// At moments that come in any order of magnitude, where both count in the same steps.
    #[test]
    fn it_decides_as_governor_does() {
        for (seed, count) in [1_u32, 2, 5, 10, 100, 1_000, 10_000].into_iter().enumerate() {
            for burst in [1_u32, 2, 17, 300] {
                let mut rng = fastrand::Rng::with_seed(seed as u64);
                let clock = FakeRelativeClock::default();
                let quota =
                    Quota::per_second(count.try_into().unwrap()).allow_burst(burst.try_into().unwrap());
                let governor = Governor::direct_with_clock(quota, clock.clone());
                let mut key = Key::new(rate(count, SECOND), burst);
                let (mut now, mut passed) = (0, 0);
                for _ in 0..20_000 {
                    let step = if rng.bool() { 0 } else { rng.u64(..3_000_000 / u64::from(count)) };
                    clock.advance(Duration::from_micros(step));
                    now += step;
                    let allowed = key.ask(now).allowed;
                    assert_eq!(allowed, governor.check().is_ok(), "{count}/s, burst {burst}, at {now}");
                    passed += usize::from(allowed);
                }
                assert!((1_000..20_000).contains(&passed), "{passed} of 20,000: the limit mattered");
            }
        }
    }

    #[test]
    fn no_window_has_more_than_the_burst_and_the_rate() {
        for (count, seconds) in RATES {
            for burst in [1, 2, 50, 1_000] {
                let mut rng = fastrand::Rng::with_seed(u64::from(count) * seconds + u64::from(burst));
                let period = Duration::from_secs(seconds);
                let mut key = Key::new(rate(count, period), burst);
                let interval = seconds * 1_000_000 / u64::from(count);
                let (mut now, mut passed) = (rng.u64(..1 << 40), Vec::new());
                for _ in 0..5_000 {
                    // Storms, the exact interval, and pauses.
                    now += match rng.u8(..20) {
                        0..10 => 0,
                        10..15 => rng.u64(..=interval),
                        15..19 => interval,
                        _ => rng.u64(..interval * u64::from(burst) * 2),
                    };
                    if key.ask(now).allowed {
                        passed.push(now);
                    }
                }
                // Any window of requests that passed: all others are within one of these.
                for width in [1, 2, 3, burst as usize, burst as usize + 1, 300, passed.len() - 1] {
                    for (first, last) in passed.iter().zip(passed.iter().skip(width)) {
                        // In fractions, because a float would be less exact than what is tested.
                        let (window, requests) = (u128::from(last - first), width as u128 + 1);
                        let most = u128::from(burst) * period.as_micros() + window * u128::from(count);
                        let rounding = period.as_micros() / u128::from(REQUEST) + 1;
                        assert!(
                            requests * period.as_micros() <= most + rounding,
                            "{count}/{seconds}s: {requests} in {window}"
                        );
                    }
                }
                assert!(passed.len() >= burst as usize, "{} passed", passed.len());
            }
        }
    }

    /// It sends what is left and waits as long as it says. Times in whole seconds, as in fields.
    #[test]
    fn a_client_that_obeys_is_never_rejected() {
        for (count, seconds) in RATES {
            for burst in [1, 2, 50] {
                let mut rng = fastrand::Rng::with_seed(u64::from(count) * seconds + u64::from(burst));
                let mut key = Key::new(rate(count, Duration::from_secs(seconds)), burst);
                let mut now = rng.u64(..1_000_000_000);
                for _ in 0..2_000 {
                    let decision = key.ask(now);
                    assert!(decision.allowed, "{count}/{seconds}s, burst {burst}, at {now}");
                    if decision.remaining == 0 {
                        // In whole seconds, or exactly.
                        let exact = decision.reset.as_micros() as u64;
                        now += if rng.bool() { exact } else { exact.div_ceil(1_000_000) * 1_000_000 };
                    } else if rng.u8(..10) == 0 {
                        now += rng.u64(..seconds * 1_000_000);
                    }
                }
            }
        }
    }

    #[test]
    fn at_the_rate_no_request_is_rejected_even_after_years() {
        for (count, seconds) in RATES {
            let mut key = Key::new(rate(count, Duration::from_secs(seconds)), 1);
            for year in 0..8_u64 {
                let start = year * 365 * 86_400 * 1_000_000;
                for n in 0..300_u64 {
                    let at = start + (n * seconds * 1_000_000).div_ceil(u64::from(count));
                    assert!(key.ask(at).allowed, "{count}/{seconds}s: request {n} of year {year}");
                }
                let last = start + (299 * seconds * 1_000_000).div_ceil(u64::from(count));
                assert!(!key.ask(last).allowed);
            }
        }
    }

    #[test]
    fn another_rate_keeps_what_was_used() {
        let mut key = Key::new(rate(10, SECOND), 20);
        let used = (0..20).filter(|_| key.ask(7_000_000).allowed).count();
        assert_eq!(
            (used, key.ask(7_500_000).remaining),
            (20, 4),
            "half a second gave back five, and one was used"
        );
        let now = Moment::from_micros(7_500_000);
        for (count, seconds, burst, remaining) in
            [(100, 1, 20, 4), (1, 3600, 20, 4), (10, 1, 50, 34), (10, 1, 5, 0)]
        {
            let rule = key.rule.changed(rate(count, Duration::from_secs(seconds)), burst, now);
            let decision = rule.decision(true, key.state, (now, rule.read(now)));
            assert_eq!(decision.remaining, remaining, "{count}/{seconds}s, burst {burst}");
            let later = now.after(Duration::from_secs(seconds));
            let restored = rule.decision(true, key.state, (later, rule.read(later))).remaining;
            assert_eq!(restored, (burst as i64 - 16 + i64::from(count)).clamp(0, burst.into()) as u32);
        }
    }
}
