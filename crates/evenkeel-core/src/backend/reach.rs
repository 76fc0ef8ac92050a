//! Whether a backend can be reached: what the last attempts to connect said.
//!
//! # The problem
//! A backend that refuses connections costs no request, because a request that never reached it moves on. But it should
//! not be picked first again and again: each time costs a connect, and if connects time out, the whole connect timeout.
//!
//! # The idea
//! After a failure to reach it, a backend is in doubt until it gives a response. While it is in doubt, one attempt in each
//! window may test it; all others pass it over as long as there is another backend.
//!
//! # Cost
//! One load for each choice, of a cache line that the attempt writes anyway.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Moment;

/// Whether a backend can be reached. Shared by all cores.
#[derive(Debug, Default)]
pub struct Reach {
    /// When it may be tested next, in microseconds; zero while it is not in doubt.
    test_at: AtomicU64,
}

// === impl Reach ===

impl Reach {
    /// The shortest time between two tests.
    const SHORTEST: Duration = Duration::from_secs(1);
    /// The longest.
    const LONGEST: Duration = Duration::from_secs(30);
    /// A test takes at most one part in this many of the time, so that where connecting is slow to fail, tests are rare.
    const SHARE: u32 = 10;

    /// Whether the last attempt to reach the backend failed, and none has succeeded since.
    #[inline]
    pub fn is_in_doubt(&self) -> bool {
        self.test_at.load(Relaxed) != 0
    }

    /// Whether a request should skip this backend. Never while the backend is not in doubt. Otherwise one request in
    /// each window is let through as a test. A request that must not be sent twice waits `grace` longer, so that other
    /// requests make the test if there are any.
    ///
    /// `patience` is how long a test may take: until then there is no other.
    #[inline]
    pub fn passes_over(&self, now: Moment, grace: Duration, patience: Duration) -> bool {
        let at = self.test_at.load(Relaxed);
        at != 0 && !self.claims_test(at, now, grace, patience)
    }

    /// What [`passes_over`](Self::passes_over) would say, without the test being taken.
    pub fn would_pass_over(&self, now: Moment, grace: Duration) -> bool {
        let at = self.test_at.load(Relaxed);
        at != 0 && now < Moment::from_micros(at).after(grace)
    }

    #[cold]
    fn claims_test(&self, at: u64, now: Moment, grace: Duration, patience: Duration) -> bool {
        let next = now.after(patience.max(Self::SHORTEST)).as_micros();
        now >= Moment::from_micros(at).after(grace)
            && self.test_at.compare_exchange(at, next, Relaxed, Relaxed).is_ok()
    }

    /// An attempt to reach the backend failed now, after this time.
    pub fn failed(&self, now: Moment, took: Duration) {
        let pause = took.saturating_mul(Self::SHARE).clamp(Self::SHORTEST, Self::LONGEST);
        self.test_at.store(now.after(pause).as_micros().max(1), Relaxed);
    }

    /// The backend was reached.
    #[inline]
    pub fn succeeded(&self) {
        if self.is_in_doubt() {
            self.test_at.store(0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Duration = Duration::ZERO;
    const CONNECT: Duration = Duration::from_secs(2);

    fn millis(millis: u64) -> Moment {
        Moment::from_micros(millis * 1000)
    }

    #[test]
    fn one_request_in_each_window_tests_a_backend_in_doubt() {
        let reach = Reach::default();
        assert!(!reach.passes_over(millis(0), NONE, CONNECT), "nothing is known");
        reach.failed(millis(0), Duration::from_millis(1));
        assert!(reach.is_in_doubt());
        assert!(reach.passes_over(millis(999), NONE, CONNECT));
        let tests = (1000..1100).filter(|at| !reach.passes_over(millis(*at), NONE, CONNECT));
        assert_eq!(tests.count(), 1);
        // The test came to nothing that was told: another follows once it had its time.
        assert!(!reach.passes_over(millis(3001), NONE, CONNECT));
        reach.succeeded();
        assert!((0..10).all(|at| !reach.passes_over(millis(4000 + at), NONE, CONNECT)));
    }

    #[test]
    fn where_failing_is_slow_tests_are_rare() {
        let reach = Reach::default();
        reach.failed(millis(0), CONNECT);
        assert!(reach.would_pass_over(millis(19_999), NONE) && !reach.would_pass_over(millis(20_000), NONE));
        reach.failed(millis(0), Duration::from_secs(3600));
        assert!(reach.would_pass_over(millis(29_999), NONE) && !reach.would_pass_over(millis(30_000), NONE));
    }

    #[test]
    fn what_may_not_be_sent_twice_leaves_the_test_to_others() {
        let reach = Reach::default();
        reach.failed(millis(0), NONE);
        let grace = Duration::from_secs(5);
        assert!(reach.passes_over(millis(1500), grace, CONNECT));
        assert!(!reach.passes_over(millis(6000), grace, CONNECT), "there are no others");
    }
}
