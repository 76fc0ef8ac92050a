//! How many retries an upstream may get, over all its requests.
//!
//! # The problem
//! Each retry is one more request. When an upstream fails because it is overloaded, three attempts for each request make
//! three times the load, which keeps it failing long after the cause is gone.
//!
//! # The idea
//! A retry costs a token. Tokens come with requests, `ratio` for each, and at least `min_per_second`, so that retries
//! never add more than that share to the load; a quiet upstream can still retry. What is not used is kept for a second: enough
//! that the requests which one dying backend had in flight are saved together, and too little for a storm. So over
//! any window retries are at most `ratio` times the requests of the window and of the second before it, and
//! `min_per_second` for each second and one more. From the beginning on that second is not even needed.
//!
//! The number of requests is read only for a retry. So "the last second" is the average of the last one to two seconds,
//! or since the last retry but one if that was earlier.
//!
//! The same budget serves for hedging ([`RetryBudget::for_hedges`]): there tokens come with requests alone, and at least
//! one may be kept.
//!
//! Sources: B. Beyer et al., "Site Reliability Engineering", 2016, chapters 21 and 22 (retry budgets); L. Huang et al.,
//! "Metastable Failures in the Wild", OSDI 2022; Finagle's `RetryBudget` for tokens that come with requests.
//!
//! # Cost
//! Nothing for a request that is not retried. A retry takes a lock for about ten nanoseconds: four numbers change
//! together, and a retried request has already lost milliseconds. 80 bytes per upstream.
//!
//! # When not to use it
//! It limits load, not attempts: that one request is not tried forever is up to the number of its attempts.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::RetryBudgetOptions;
use crate::Moment;

/// For how long tokens are kept that are not used.
const KEPT: Duration = Duration::from_secs(1);

/// What a token may fall short of one by adding up fractions.
const ROUNDING: f64 = 1e-6;

/// Says whether one more attempt may be made. Shared by all cores.
#[derive(Debug)]
pub struct RetryBudget {
    options: RetryBudgetOptions,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: f64,
    /// When it was last asked.
    last: Mark,
    /// Two earlier questions, at least [`KEPT`] apart: since the older one the rate of requests is measured.
    marks: [Mark; 2],
}

/// How many requests there had been at a point in time.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    at: Moment,
    requests: u64,
}

// === impl RetryBudget ===

impl RetryBudget {
    /// A budget with the tokens of one second.
    pub fn new(options: RetryBudgetOptions) -> Self {
        let tokens = f64::from(options.min_per_second);
        let state = State { tokens, last: Mark::default(), marks: [Mark::default(); 2] };
        Self { options, state: Mutex::new(state) }
    }

    /// A budget for second attempts: `ratio` for each request and no minimum, because a hedge that is not made costs
    /// nothing.
    pub fn for_hedges(ratio: f64) -> Self {
        Self::new(RetryBudgetOptions { ratio, min_per_second: 0 })
    }

    /// Takes a token if there is one. `requests_so_far` is the number of requests to the upstream since the budget
    /// exists, this one included, retries excluded. It can be inexact: what one caller misses, another one adds.
    pub fn take(&self, now: Moment, requests_so_far: u64) -> bool {
        // A panic here leaves numbers that are each still valid.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.earn(&self.options, Mark { at: now, requests: requests_so_far });
        let granted = state.tokens >= 1.0 - ROUNDING;
        if granted {
            state.tokens -= 1.0;
        }
        granted
    }
}

// === impl State ===

impl State {
    /// Adds what came since the last question.
    fn earn(&mut self, options: &RetryBudgetOptions, now: Mark) {
        // Cores ask in another order than they looked at the clock and the counter.
        let now = Mark { at: now.at.max(self.last.at), requests: now.requests.max(self.last.requests) };
        let min_per_second = f64::from(options.min_per_second);
        let by_requests = options.ratio * (now.requests - self.last.requests) as f64;
        let by_time = min_per_second * now.at.since(self.last.at).as_secs_f64();
        let most = (options.ratio * self.requests_per_kept(now)).max(min_per_second).max(1.0);
        self.tokens = (self.tokens + by_requests.max(by_time)).min(most);
        self.last = now;
    }

    /// How many requests there were lately in the time that tokens are kept.
    fn requests_per_kept(&mut self, now: Mark) -> f64 {
        let [older, newer] = self.marks;
        if now.at.since(newer.at) >= KEPT {
            self.marks = [newer, now];
        }
        let since = if now.at.since(newer.at) >= KEPT { newer } else { older };
        let measured = now.at.since(since.at).max(KEPT).as_secs_f64();
        (now.requests - since.requests) as f64 * KEPT.as_secs_f64() / measured
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::thread;

    use super::*;

    fn budget(ratio: f64, min_per_second: u32) -> RetryBudget {
        RetryBudget::new(RetryBudgetOptions { ratio, min_per_second })
    }

    fn micros(micros: u64) -> Moment {
        Moment::from_micros(micros)
    }

    /// The moments in microseconds, in order, at which one of `rate` requests a second, from `from` to `to` in seconds,
    /// wants to be retried and may be.
    fn granted(budget: &RetryBudget, rate: u64, (from, to): (u64, u64), asking: bool) -> Vec<u64> {
        let requests = (from * rate..to * rate).map(|n| (n * 1_000_000 / rate, n + 1));
        let granted = requests.filter(|&(at, n)| asking && budget.take(micros(at), n));
        granted.map(|(at, _)| at).collect()
    }

    #[test]
    fn it_begins_with_one_second_of_the_minimum() {
        for minimum in [1, 10, 25] {
            let budget = budget(0.0, minimum);
            let got = (0..100).filter(|_| budget.take(micros(0), 0)).count();
            assert_eq!(got, minimum as usize);
        }
    }

    #[test]
    fn a_burst_in_the_first_moment_counts_as_a_second() {
        let budget = budget(0.2, 10);
        assert_eq!((0..100).filter(|_| budget.take(micros(0), 100)).count(), 20);
    }

    #[test]
    fn who_looked_earlier_and_asks_later_gets_no_more() {
        let budget = budget(0.2, 1);
        assert!(budget.take(micros(500), 10) && budget.take(micros(400), 9));
        assert!(!budget.take(micros(300), 8) && !budget.take(micros(500), 10));
    }

    #[test]
    fn a_quiet_upstream_retries_at_the_minimum() {
        let got = granted(&budget(0.2, 10), 20, (0, 60), true);
        assert!((600..=610).contains(&got.len()), "{} in a minute", got.len());
    }

    #[test]
    fn all_failing_adds_the_ratio() {
        for (rate, ratio) in [(1_000, 0.2), (5_000, 0.1), (100, 1.0)] {
            let got = granted(&budget(ratio, 10), rate, (0, 30), true).len() as f64;
            let share = ratio * (rate * 30) as f64;
            assert!(got >= share - 1.0 && got <= share + 10.0, "{got} of {share}");
        }
    }

    #[test]
    fn one_dying_backend_is_covered_at_once() {
        // After a minute without failures, at 1,000 requests a second, 150 that were in flight fail together.
        let budget = budget(0.2, 10);
        let together = (0..150).filter(|_| budget.take(micros(60_000_000), 60_000)).count();
        assert_eq!(together, 150);
    }

    #[test]
    fn a_quiet_hour_saves_nothing_up() {
        let budget = budget(0.2, 10);
        assert!(!granted(&budget, 1_000, (0, 10), true).is_empty());
        let hour = 3_610_000_000;
        let storm = (0..5_000).filter(|_| budget.take(micros(hour), 10_000)).count();
        assert_eq!(storm, 10, "there were no requests in that hour");

        // And a busy hour no more than a second of it.
        let budget = self::budget(0.2, 10);
        let storm = (0..5_000).filter(|_| budget.take(micros(3_600_000_000), 3_600_000)).count();
        assert_eq!(storm, 200);
    }

    #[test]
    fn an_outage_after_a_good_time_adds_one_second_at_most() {
        let budget = budget(0.2, 10);
        assert!(granted(&budget, 1_000, (0, 60), false).is_empty());
        let got = granted(&budget, 1_000, (60, 70), true);
        assert!((2_000..=2_201).contains(&got.len()), "{}", got.len());
    }

    #[test]
    fn hedges_come_with_requests_alone() {
        let budget = RetryBudget::for_hedges(0.05);
        assert!(!budget.take(micros(0), 0) && !budget.take(micros(3_600_000_000), 0));
        for (requests, expected) in [(19, false), (20, true), (21, false), (39, false), (40, true)] {
            assert_eq!(budget.take(micros(3_600_000_000), requests), expected, "after {requests}");
        }
        let got = granted(&RetryBudget::for_hedges(0.05), 2, (0, 1_000), true).len();
        assert!((99..=100).contains(&got), "{got} of 2,000 requests at a low rate");
        assert_eq!(granted(&RetryBudget::for_hedges(0.0), 1_000, (0, 10), true), [0; 0]);
    }

    /// Requests and questions at random: phases of any rate, of which any share wants to retry.
    #[test]
    fn no_window_has_more_than_its_share() {
        for seed in 0..60 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (ratio, minimum) = ([0.05, 0.2, 0.5, 1.0][rng.usize(..4)], [0, 1, 10, 50][rng.usize(..4)]);
            let budget = budget(ratio, minimum);
            let (mut now, mut requests) = (0_u64, Vec::new());
            let mut retries = Vec::new();
            for _ in 0..12 {
                let (gap, asking) = (rng.u64(1..40_000), rng.f64());
                for _ in 0..rng.usize(1..800) {
                    now += rng.u64(0..2 * gap);
                    requests.push(now);
                    // From time to time the budget is read in any case, so that the rate of the last seconds is known.
                    let asks = rng.f64() < asking || requests.len() % 10 == 0;
                    if asks && budget.take(micros(now), requests.len() as u64) {
                        retries.push(now);
                    }
                }
            }
            let until = |moments: &[u64], end: u64| moments.partition_point(|&at| at <= end);
            for _ in 0..300 {
                let (a, b) = (rng.u64(..now), rng.u64(..now));
                let (from, to) = (a.min(b), a.max(b));
                let seconds = (to - from) as f64 / 1e6;
                let got = until(&retries, to) - until(&retries, from);
                // The rate of the second before is measured over up to two seconds and what was between two questions.
                let share = until(&requests, to) - until(&requests, from.saturating_sub(3_000_000));
                let kept = f64::from(minimum).max(1.0);
                let bound = ratio * share as f64 + f64::from(minimum) * seconds + kept;
                assert!(got as f64 <= bound + 0.01, "seed {seed}: {got} > {bound} in {seconds} s");
                // From the beginning on, exactly.
                let (got, share) = (until(&retries, to) as f64, until(&requests, to) as f64);
                let bound = ratio * share + f64::from(minimum) * (to as f64 / 1e6 + 1.0);
                assert!(got <= bound + 0.01, "seed {seed}: {got} > {bound} until {to}");
            }
        }
    }

    #[test]
    fn threads_share_one_budget() {
        let (budget, requests, got) = (budget(0.2, 10), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let so_far = requests.fetch_add(1, Relaxed) + 1;
                        // 16,000 requests in 16 s.
                        if budget.take(micros(so_far * 1_000), so_far) {
                            got.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        let got = got.into_inner();
        assert!((3_000..=3_210).contains(&got), "{got}");
    }
}
