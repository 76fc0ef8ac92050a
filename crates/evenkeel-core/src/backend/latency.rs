//! The response times of a backend: an estimate that follows them over time.
//!
//! # The estimate
//! A sample pulls the estimate by `1 - exp(-age/decay)` of the difference, where `age` is how old the last sample is: many
//! samples in a moment count as one, and the first one after a long silence counts nearly alone. That is how it falls; it
//! rises as [`Smoothing`] says. A failure has no latency to believe: it doubles the estimate.
//!
//! # Tests
//! A backend that looks slow receives no requests, and without requests it cannot show that it became fast. So the
//! estimate does not fade. Instead [`Latency::claim_test`] lets one request test the backend, and its response time
//! replaces the estimate. The first test comes an eighth of the longest pause after the last sample, so that one hiccup
//! costs little. Each test that finds the backend as slow as before doubles the pause. A caller that knows from
//! elsewhere that the backend is still slow can skip most of the tests: see [`Latency::spare_tests`].
//!
//! # Cost
//! One word, changed by compare and swap; another one that is only looked at when a test is due. Time is counted in units
//! of 1,024 µs and wraps after 50 days.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Moment;

/// What a failure makes of a backend of which nothing else is known, in microseconds.
const UNKNOWN_FAILURE: f32 = 1e6;
/// No estimate is longer, in microseconds: a quarter of an hour.
const LONGEST: f32 = 9e8;
/// Pauses between tests double so often.
const LEVELS: u32 = 3;
/// How many times the longest pause they take while tests are spared. They end, as what probes see is not all that requests
/// meet.
const SPARED: u32 = 8;
/// A stamp that is so many units ahead is of another core, which looked at the clock a moment later.
const AHEAD: u32 = 1 << 16;

/// An estimate of a backend's latency, shared by every core that sends to it. Empty until the first sample.
#[derive(Debug, Default)]
pub struct Latency {
    state: AtomicU64,
    /// Until when tests are spared, in microseconds.
    spared: AtomicU64,
}

/// How an estimate follows samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smoothing {
    decay: Duration,
    least: f32,
    peaks: bool,
}

/// What is known at one moment: as read, or as to be written.
#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    /// In microseconds, positive.
    estimate: f32,
    /// How often in a row a test found nothing new, at most [`LEVELS`].
    level: u32,
    /// Whether the next sample replaces the estimate.
    testing: bool,
    /// When the last sample or test was.
    stamp: u32,
}

// === impl Latency ===

impl Latency {
    /// In microseconds, positive; `None` before the first sample.
    #[inline]
    pub fn estimate_micros(&self) -> Option<f32> {
        State::unpack(self.state.load(Relaxed)).map(|state| state.estimate)
    }

    /// The estimate; `None` before the first sample.
    pub fn estimate(&self) -> Option<Duration> {
        self.estimate_micros().map(|micros| Duration::from_secs_f64(f64::from(micros) / 1e6))
    }

    /// Learns how long an attempt took.
    pub fn record(&self, latency: Duration, success: bool, now: Moment, smoothing: Smoothing) {
        let micros = (latency.as_secs_f64() * 1e6) as f32;
        let next = |word| Some(State::after(State::unpack(word), micros, success, now, smoothing).pack());
        // The closure never refuses.
        let _ = self.state.fetch_update(Relaxed, Relaxed, next);
    }

    /// Learns that an attempt was given up after this time: it would have taken longer. Says nothing where that is known to be
    /// so.
    pub fn record_unfinished(&self, waited: Duration, now: Moment, smoothing: Smoothing) {
        if self.estimate().is_none_or(|known| waited > known) {
            self.record(waited, true, now, smoothing);
        }
    }

    /// Whether the caller should send a request as a test: true if the last sample and the last test are at least
    /// `longest` old, or less while tests show changes. If several callers ask at once, one receives true. The backend
    /// should have nothing in flight.
    #[inline]
    pub fn claim_test(&self, now: Moment, longest: Duration) -> bool {
        let word = self.state.load(Relaxed);
        let Some(state) = State::unpack(word) else { return false };
        let pause = longest / (1 << (LEVELS - state.level));
        let age = state.age(now);
        if age < pause || age < longest * SPARED && now.as_micros() < self.spared.load(Relaxed) {
            return false;
        }
        let claimed = State { testing: true, stamp: stamp(now), ..state };
        self.state.compare_exchange(word, claimed.pack(), Relaxed, Relaxed).is_ok()
    }

    /// Lets tests be rarer until this moment, for it is seen by other means that the backend is still slow; the beginning of
    /// time ends that, and what is due is tested at once.
    pub fn spare_tests(&self, until: Moment) {
        self.spared.store(until.as_micros(), Relaxed);
    }
}

#[inline]
fn stamp(now: Moment) -> u32 {
    (now.as_micros() >> 10) as u32
}

// === impl Smoothing ===

impl Smoothing {
    /// For who wants to see trouble early: a sample above the estimate becomes the estimate. `decay` is the age at which what
    /// was known counts a third.
    pub const fn peaks(decay: Duration) -> Self {
        Self { decay, least: 0.0, peaks: true }
    }

    /// For who wants to compare: up as down, and each sample counts a sixteenth at least, so that some sixteen of them even
    /// out what requests differ by.
    pub const fn mean(decay: Duration) -> Self {
        Self { decay, least: 1.0 / 16.0, peaks: false }
    }

    /// How much a sample counts that comes so long after the last.
    fn part(self, age: Duration) -> f32 {
        let left = (-age.as_secs_f32() / self.decay.as_secs_f32().max(1e-6)).exp();
        (1.0 - left).max(self.least)
    }
}

// === impl State ===

impl State {
    /// What to know after a sample of so many microseconds.
    fn after(before: Option<Self>, micros: f32, success: bool, now: Moment, smoothing: Smoothing) -> Self {
        let Some(before) = before else {
            let estimate = if success { micros } else { micros.max(UNKNOWN_FAILURE) };
            return Self { estimate: limited(estimate), level: 0, testing: false, stamp: stamp(now) };
        };
        let known = before.estimate;
        let sample = if success { micros } else { micros.max(2.0 * known) };
        let at_once = before.testing || !success || smoothing.peaks && sample >= known;
        let estimate =
            if at_once { sample } else { known + (sample - known) * smoothing.part(before.age(now)) };
        let news = success && (micros > 2.0 * known || micros < known / 2.0);
        let level = match (news, before.testing) {
            (true, _) => 0,
            (false, true) => (before.level + 1).min(LEVELS),
            (false, false) => before.level,
        };
        // If two samples arrive in the wrong order, the time of the later one counts.
        let stamp = if before.age(now).is_zero() { before.stamp } else { stamp(now) };
        Self { estimate: limited(estimate), level, testing: false, stamp }
    }

    #[inline]
    fn age(self, now: Moment) -> Duration {
        let units = stamp(now).wrapping_sub(self.stamp);
        if units > u32::MAX - AHEAD { Duration::ZERO } else { Duration::from_micros(u64::from(units) << 10) }
    }

    /// From the top: 28 bits of the estimate (a positive float without its sign and its last three bits), three of the
    /// level, one of the test, 32 of the stamp. Zero means none, because an estimate is positive.
    #[inline]
    fn pack(self) -> u64 {
        let estimate = u64::from(self.estimate.to_bits() >> 3);
        estimate << 36 | u64::from(self.level) << 33 | u64::from(self.testing) << 32 | u64::from(self.stamp)
    }

    #[inline]
    fn unpack(word: u64) -> Option<Self> {
        (word != 0).then(|| Self {
            estimate: f32::from_bits((word >> 36 << 3) as u32),
            level: (word >> 33) as u32 & 7,
            testing: word >> 32 & 1 == 1,
            stamp: word as u32,
        })
    }
}

fn limited(micros: f32) -> f32 {
    micros.clamp(1.0, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEAKS: Smoothing = Smoothing::peaks(Duration::from_secs(1));
    const LONGEST_PAUSE: Duration = Duration::from_secs(4);

    fn at(millis: u64) -> Moment {
        Moment::from_micros(millis * 1_000)
    }

    fn sampled(latency: &Latency, millis: u64, success: bool, now: Moment) -> f32 {
        latency.record(Duration::from_millis(millis), success, now, PEAKS);
        latency.estimate_micros().unwrap() / 1_000.0
    }

    #[track_caller]
    fn assert_near(measured: f32, expected: f32) {
        assert!((measured / expected - 1.0).abs() < 0.01, "{measured}, expected {expected}");
    }

    #[test]
    fn peaks_are_believed_at_once_and_forgotten_by_age() {
        let latency = Latency::default();
        assert_eq!(latency.estimate(), None);
        assert_near(sampled(&latency, 10, true, at(0)), 10.0);
        assert_near(sampled(&latency, 100, true, at(5)), 100.0);
        assert_near(sampled(&latency, 10, true, at(1_005)), 10.0 + 90.0 * (-1.0_f32).exp());
        assert_near(sampled(&latency, 10, true, at(21_005)), 10.0);
    }

    #[test]
    fn many_samples_in_a_moment_count_as_one() {
        let latency = Latency::default();
        sampled(&latency, 100, true, at(0));
        for micros in 0..100_000 {
            let now = Moment::from_micros(micros);
            latency.record(Duration::from_millis(10), true, now, PEAKS);
        }
        assert_near(latency.estimate_micros().unwrap() / 1_000.0, 10.0 + 90.0 * (-0.1_f32).exp());
    }

    #[test]
    fn a_mean_follows_many_samples() {
        let latency = Latency::default();
        let mut rng = fastrand::Rng::with_seed(1);
        for millis in 0..10_000 {
            let took = Duration::from_micros(rng.u64(5_000..15_000));
            latency.record(took, true, at(millis), Smoothing::mean(Duration::from_secs(1)));
        }
        let estimate = latency.estimate_micros().unwrap();
        assert!((8_000.0..12_000.0).contains(&estimate), "{estimate}");
    }

    #[test]
    fn a_failure_never_looks_fast() {
        let latency = Latency::default();
        assert_near(sampled(&latency, 0, false, at(0)), 1_000.0);
        let latency = Latency::default();
        sampled(&latency, 10, true, at(0));
        assert_near(sampled(&latency, 0, false, at(1)), 20.0);
        assert_near(sampled(&latency, 70, false, at(2)), 70.0);
        for _ in 0..40 {
            sampled(&latency, 0, false, at(3));
        }
        assert_eq!(latency.estimate_micros().unwrap(), f32::from_bits(LONGEST.to_bits() & !7), "bounded");
    }

    #[test]
    fn tests_come_less_often_the_less_they_find() {
        let latency = Latency::default();
        assert!(!latency.claim_test(at(0), LONGEST_PAUSE), "what is unknown needs no test");
        sampled(&latency, 100, true, at(0));
        let mut now = 0;
        for pause in [500, 1_000, 2_000, 4_000, 4_000] {
            assert!(!latency.claim_test(at(now + pause - 2), LONGEST_PAUSE), "{pause}");
            now += pause + 2;
            assert!(latency.claim_test(at(now), LONGEST_PAUSE), "{pause}");
            assert!(!latency.claim_test(at(now), LONGEST_PAUSE), "one at a time");
            sampled(&latency, 100, true, at(now));
        }
        assert!(latency.claim_test(at(now + 4_002), LONGEST_PAUSE));
        assert_near(sampled(&latency, 10, true, at(now + 4_012)), 10.0);
        assert!(latency.claim_test(at(now + 4_514), LONGEST_PAUSE), "what was news is tested soon");
    }

    #[test]
    fn tests_are_spared_but_not_for_ever() {
        let latency = Latency::default();
        sampled(&latency, 100, true, at(0));
        latency.spare_tests(at(10_000));
        assert!(!latency.claim_test(at(502), LONGEST_PAUSE), "due, and spared");
        latency.spare_tests(Moment::default());
        assert!(latency.claim_test(at(504), LONGEST_PAUSE), "no longer spared");
        sampled(&latency, 100, true, at(604));
        latency.spare_tests(at(40_000));
        assert!(!latency.claim_test(at(32_602), LONGEST_PAUSE));
        assert!(latency.claim_test(at(32_606), LONGEST_PAUSE), "eight times the longest");
        sampled(&latency, 100, true, at(39_000));
        assert!(!latency.claim_test(at(39_999), LONGEST_PAUSE));
        assert!(latency.claim_test(at(41_002), LONGEST_PAUSE), "there is no news that it is still slow");
    }

    #[test]
    fn one_of_many_cores_wins_the_test() {
        let latency = Latency::default();
        sampled(&latency, 100, true, at(0));
        for round in 1..200 {
            let claim = || latency.claim_test(at(round * 5_000), LONGEST_PAUSE);
            let wins: usize = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(claim)).collect();
                threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
            });
            assert_eq!(wins, 1);
        }
    }

    #[test]
    fn a_sample_of_a_moment_before_the_last_is_of_no_age() {
        let latency = Latency::default();
        sampled(&latency, 100, true, at(5_000));
        assert_near(sampled(&latency, 10, true, at(4_990)), 100.0);
        assert!(!latency.claim_test(at(4_990), LONGEST_PAUSE));
    }

    #[test]
    fn a_word_holds_what_was_put_into_it() {
        let state = State { estimate: 1_536.0, level: 3, testing: true, stamp: u32::MAX };
        assert_eq!(State::unpack(state.pack()), Some(state));
        assert_eq!(State::unpack(0), None);
    }
}
