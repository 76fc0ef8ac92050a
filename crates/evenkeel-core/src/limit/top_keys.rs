//! Which keys a limit rejects most.
//!
//! # The idea
//! Space-Saving: a fixed number of counters. A key without one takes over the smallest, and its count as a possible error,
//! so that a key that is rejected often always has one. They begin again each minute, and the last full minute is kept:
//! the result is about now.
//!
//! Source: A. Metwally, D. Agrawal, A. El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams",
//! ICDT 2005.
//!
//! # Cost
//! Nothing for a request that passes. One that is rejected looks at 64 counters under a lock; if another core has that, it is
//! not counted here. Writing the key as text happens when a key takes over a counter.
//!
//! # When not to use it
//! For exact numbers, or for keys that are not rejected.

use std::sync::{Mutex, PoisonError};

use super::LimitKey;
use crate::Moment;

/// How many keys are counted at the same time.
const COUNTERS: usize = 64;
const MINUTE: u64 = 60_000_000;

/// Counts rejections by key.
#[derive(Debug, Default)]
pub struct TopKeys(Mutex<Minutes>);

/// A key, and how often it was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopKey {
    /// The key as text.
    pub text: Box<str>,
    /// How often it was rejected in this minute and the one before; at least.
    pub rejected: u64,
}

#[derive(Debug, Default)]
struct Minutes {
    minute: u64,
    current: Vec<Counter>,
    last: Vec<Counter>,
}

#[derive(Clone, Debug)]
struct Counter {
    key: LimitKey,
    text: Box<str>,
    count: u64,
    /// How much of the count may be of other keys.
    error: u64,
}

// === impl TopKeys ===

impl TopKeys {
    /// Counts a rejection of this key.
    pub fn rejected(&self, key: LimitKey, now: Moment, text: impl FnOnce() -> String) {
        if let Ok(mut minutes) = self.0.try_lock() {
            minutes.turn(now);
            minutes.count(key, text);
        }
    }

    /// The keys that were rejected most in this minute and the one before, the first most often.
    pub fn top(&self, most: usize, now: Moment) -> Vec<TopKey> {
        let mut minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        minutes.turn(now);
        let mut sums = minutes.current.clone();
        for last in &minutes.last {
            match sums.iter_mut().find(|sum| sum.key == last.key) {
                Some(sum) => (sum.count, sum.error) = (sum.count + last.count, sum.error + last.error),
                None => sums.push(last.clone()),
            }
        }
        drop(minutes);
        let mut keys: Vec<_> =
            sums.into_iter().map(|sum| TopKey { text: sum.text, rejected: sum.count - sum.error }).collect();
        keys.sort_by(|a, b| b.rejected.cmp(&a.rejected).then_with(|| a.text.cmp(&b.text)));
        keys.truncate(most);
        keys
    }
}

// === impl Minutes ===

impl Minutes {
    fn turn(&mut self, now: Moment) {
        let minute = now.as_micros() / MINUTE;
        match minute.saturating_sub(self.minute) {
            0 => return,
            1 => self.last = std::mem::take(&mut self.current),
            _ => (self.last, self.current) = (Vec::new(), Vec::new()),
        }
        self.minute = minute;
    }

    fn count(&mut self, key: LimitKey, text: impl FnOnce() -> String) {
        if let Some(counter) = self.current.iter_mut().find(|counter| counter.key == key) {
            counter.count += 1;
            return;
        }
        let new = |error| Counter { key, text: text().into(), count: error + 1, error };
        if self.current.len() < COUNTERS {
            self.current.push(new(0));
        } else if let Some(least) = self.current.iter_mut().min_by_key(|counter| counter.count) {
            *least = new(least.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Rate, RateLimitOptions, RateLimiter};
    use super::*;

    #[test]
    fn keys_that_are_rejected_often_are_found_among_many() {
        let rate = Rate::new(1.try_into().unwrap(), std::time::Duration::from_secs(1)).unwrap();
        let limiter = RateLimiter::new(RateLimitOptions::new(rate), 1, Moment::default());
        let key = |number: u64| limiter.hasher().with(Some(&number.to_be_bytes())).finish();
        let (top, mut rng) = (TopKeys::default(), fastrand::Rng::with_seed(1));
        let at = |second: u64| Moment::from_micros(second * 1_000_000);
        for round in 0..20_000 {
            // Five heavy ones, each more than the next; and others that come once.
            let number =
                if rng.bool() { [0, 0, 0, 1, 1, 1, 2, 2, 3, 4][rng.usize(..10)] } else { 1_000 + round };
            top.rejected(key(number), at(round / 400), || number.to_string());
        }
        let found = top.top(10, at(50));
        let names: Vec<_> = found.iter().map(|key| &*key.text).collect();
        assert_eq!((found.len(), &names[2..5]), (10, &["2", "3", "4"][..]), "{found:?}");
        assert!(found[0].rejected > 2_500 && found[0].rejected <= 3_200, "{found:?}");

        assert_eq!(top.top(1, at(119)).len(), 1, "the minute before counts");
        assert_eq!(top.top(1, at(121)), [], "older ones do not");
    }
}
