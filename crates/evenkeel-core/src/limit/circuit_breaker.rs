//! When an upstream takes no more: limits on what is in flight to all of its backends together, and on retries.
//!
//! # The problem
//! Requests to an upstream that is too slow pile up here and there, until both have no memory left for those that could be
//! served.
//!
//! # The idea
//! Count them, and refuse what is beyond the limit at once. What was let in holds a guard, and dropping that counts it
//! out, on whatever path.
//!
//! # Cost
//! For each limit that is set, one counter that all cores write, twice a request. A limit that is not set counts nothing.
//!
//! # When not to use it
//! A limit for each backend, with a queue, serves more of a burst; this one is for the whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::CircuitBreakerOptions;

/// Counts an upstream's requests in flight and its retries under way, as far as they are limited.
///
/// On cache lines of its own (128 bytes, as processors fetch them in pairs): every core writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CircuitBreaker {
    options: CircuitBreakerOptions,
    in_flight: AtomicU32,
    retries: AtomicU32,
}

/// What a request or a retry holds that was let in; dropping it lets another one in.
#[derive(Debug)]
#[must_use = "dropping it lets another one in"]
pub struct Entered {
    /// None if nothing is counted.
    counted: Option<(Arc<CircuitBreaker>, Kind)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    InFlight,
    Retry,
}

// === impl CircuitBreaker ===

impl CircuitBreaker {
    /// With nothing in flight.
    pub fn new(options: CircuitBreakerOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Lets a request in, or says that there are too many.
    #[inline]
    pub fn enter(self: &Arc<Self>) -> Option<Entered> {
        self.enter_as(Kind::InFlight, self.options.max_in_flight)
    }

    /// Lets a retry begin, or says that there are too many. The request itself stays counted as before.
    #[inline]
    pub fn enter_retry(self: &Arc<Self>) -> Option<Entered> {
        self.enter_as(Kind::Retry, self.options.max_retries)
    }

    /// Requests in flight; 0 if they are not limited.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Retries under way; 0 if they are not limited.
    pub fn retries(&self) -> u32 {
        self.retries.load(Relaxed)
    }

    #[inline]
    fn enter_as(self: &Arc<Self>, kind: Kind, most: Option<u32>) -> Option<Entered> {
        let Some(most) = most else { return Some(Entered { counted: None }) };
        // Never counted above the limit, not even for a moment: that would reject another request for which there is
        // room.
        let more = |count: u32| (count < most).then(|| count + 1);
        self.counter(kind).try_update(Relaxed, Relaxed, more).ok()?;
        Some(Entered { counted: Some((Arc::clone(self), kind)) })
    }

    #[inline]
    fn counter(&self, kind: Kind) -> &AtomicU32 {
        match kind {
            Kind::InFlight => &self.in_flight,
            Kind::Retry => &self.retries,
        }
    }
}

// === impl Entered ===

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        if let Some((breaker, kind)) = &self.counted {
            breaker.counter(*kind).fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    fn breaker(max_in_flight: Option<u32>, max_retries: Option<u32>) -> Arc<CircuitBreaker> {
        Arc::new(CircuitBreaker::new(CircuitBreakerOptions { max_in_flight, max_retries }))
    }

    #[test]
    fn as_many_as_the_limit_are_let_in() {
        for limit in [0, 1, 2, 7] {
            let breaker = breaker(Some(limit), Some(limit + 1));
            let mut requests: Vec<_> = (0..limit).map(|_| breaker.enter().unwrap()).collect();
            let mut retries: Vec<_> = (0..=limit).map(|_| breaker.enter_retry().unwrap()).collect();
            assert!(breaker.enter().is_none() && breaker.enter_retry().is_none());
            assert_eq!((breaker.in_flight(), breaker.retries()), (limit, limit + 1));
            let (out, retry_out) = (requests.pop().is_some(), retries.pop().is_some());
            assert_eq!(breaker.enter().is_some(), out, "one out, one in");
            assert_eq!(breaker.enter_retry().is_some(), retry_out, "one out, one in");
            drop((requests, retries));
            assert_eq!((breaker.in_flight(), breaker.retries()), (0, 0));
        }
    }

    #[test]
    fn without_a_limit_nothing_is_counted_or_refused() {
        let breaker = breaker(None, None);
        let all: Vec<_> =
            (0..1000).map(|_| (breaker.enter().unwrap(), breaker.enter_retry().unwrap())).collect();
        assert_eq!((breaker.in_flight(), breaker.retries(), Arc::strong_count(&breaker)), (0, 0, 1));
        drop(all);
        assert_eq!((breaker.in_flight(), breaker.retries()), (0, 0));
    }

    #[test]
    fn threads_never_exceed_the_limit_and_leave_nothing() {
        const THREADS: u32 = 8;
        let breaker = breaker(Some(THREADS / 2), Some(1));
        let (inside, retrying) = (AtomicU32::new(0), AtomicU32::new(0));
        let start = Barrier::new(THREADS as usize);
        let one = |seed: u64| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut let_in = 0_u32;
            start.wait();
            for _ in 0..5_000 {
                let Some(_request) = breaker.enter() else { continue };
                let_in += 1;
                assert!(inside.fetch_add(1, Relaxed) < THREADS / 2);
                if rng.bool()
                    && let Some(_retry) = breaker.enter_retry()
                {
                    assert_eq!(retrying.fetch_add(1, Relaxed), 0);
                    thread::yield_now();
                    retrying.fetch_sub(1, Relaxed);
                }
                inside.fetch_sub(1, Relaxed);
            }
            let_in
        };
        let let_in: u32 = thread::scope(|scope| {
            let all: Vec<_> = (0..THREADS).map(|t| scope.spawn(move || one(u64::from(t)))).collect();
            all.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(let_in > 5_000, "only {let_in} were let in");
        assert_eq!((breaker.in_flight(), breaker.retries(), Arc::strong_count(&breaker)), (0, 0, 1));
    }

    #[test]
    fn threads_within_the_limit_are_never_refused() {
        const THREADS: u32 = 4;
        let breaker = breaker(Some(THREADS), None);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..5_000).for_each(|_| drop(breaker.enter().unwrap())));
            }
        });
        assert_eq!(breaker.in_flight(), 0);
    }
}
