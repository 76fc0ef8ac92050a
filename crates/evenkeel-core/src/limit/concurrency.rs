//! How many requests of a key can be in progress at the same time, and which wait until one of them has ended.
//!
//! # The idea
//! For each key that has a request in progress: how many it has, and the queue of those that wait, in the order in which they
//! came. A request that ends hands its place to the first of them. A key without requests takes no memory, so there is
//! nothing to forget, and memory is bounded by the requests in progress.
//!
//! # Cost
//! Each request takes one of 64 locks twice, for as long as it takes to change a number. Two requests only meet at a lock if
//! they are of the same key, or of one in 64 others.
//!
//! # When not to use it
//! It limits how many at the same time, not how often: a client with fast requests can still send many.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::LimitKey;

/// The requests in progress of one limit, by key. `W` is what the caller needs to wake a request that waits.
#[derive(Debug)]
pub struct ConcurrencyLimiter<W> {
    shards: Box<[Mutex<Shard<W>>]>,
}

/// How many requests of a key can be in progress, and how many can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrencyOptions {
    /// Most requests in progress; zero counts as one.
    pub max_requests: u32,
    /// Most requests that wait.
    pub queue_size: u32,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It is in progress, until [`ConcurrencyLimiter::leave`].
    Now,
    /// It waits. This number is for [`ConcurrencyLimiter::give_up`].
    Waiting(u64),
    /// Too many wait already.
    Full,
}

/// The keys that share a lock.
type Shard<W> = HashMap<LimitKey, InProgress<W>, foldhash::fast::RandomState>;

/// What one key has.
#[derive(Debug)]
struct InProgress<W> {
    requests: u32,
    waiting: VecDeque<Waiting<W>>,
    /// The number of the last one that waited.
    last: u64,
}

#[derive(Debug)]
struct Waiting<W> {
    number: u64,
    /// With how many others it can be in progress.
    max_requests: u32,
    wake: W,
}

const SHARDS: usize = 64;

// === impl ConcurrencyLimiter ===

impl<W> Default for ConcurrencyLimiter<W> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl<W> ConcurrencyLimiter<W> {
    /// A request of this key begins. `wake` is kept only if it waits.
    pub fn enter(&self, key: LimitKey, options: ConcurrencyOptions, wake: impl FnOnce() -> W) -> Entered {
        let max_requests = options.max_requests.max(1);
        let Some(mut shard) = self.shard(key) else { return Entered::Full };
        let one = shard.entry(key).or_insert_with(InProgress::default);
        if one.requests < max_requests {
            one.requests += 1;
            return Entered::Now;
        }
        if one.waiting.len() >= options.queue_size as usize {
            return Entered::Full;
        }
        one.last += 1;
        let number = one.last;
        one.waiting.push_back(Waiting { number, max_requests, wake: wake() });
        Entered::Waiting(number)
    }

    /// A request of this key has ended. Gives the one that takes its place: it is in progress from now on, and is to be woken.
    pub fn leave(&self, key: LimitKey) -> Option<W> {
        let mut shard = self.shard(key)?;
        let Entry::Occupied(mut entry) = shard.entry(key) else { return None };
        let one = entry.get_mut();
        one.requests = one.requests.saturating_sub(1);
        let next = one.waiting.front().is_some_and(|next| one.requests < next.max_requests);
        let next = if next { one.waiting.pop_front() } else { None };
        if next.is_some() {
            one.requests += 1;
        } else if one.requests == 0 && one.waiting.is_empty() {
            entry.remove();
        }
        next.map(|next| next.wake)
    }

    /// A request that waits does so no longer. False if it is in progress already: then it must leave.
    pub fn give_up(&self, key: LimitKey, number: u64) -> bool {
        let Some(mut shard) = self.shard(key) else { return true };
        let Some(one) = shard.get_mut(&key) else { return false };
        let at = one.waiting.iter().position(|waiting| waiting.number == number);
        at.and_then(|at| one.waiting.remove(at)).is_some()
    }

    /// How many requests of this key are in progress, and how many wait.
    pub fn of(&self, key: LimitKey) -> (u32, usize) {
        let shard = self.shard(key);
        let one = shard.as_ref().and_then(|shard| shard.get(&key));
        one.map_or((0, 0), |one| (one.requests, one.waiting.len()))
    }

    /// How many keys have requests, how many requests are in progress, and how many wait. Looks at all keys.
    pub fn totals(&self) -> (usize, u64, usize) {
        let mut totals = (0, 0, 0);
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            totals.0 += shard.len();
            for one in shard.values() {
                totals.1 += u64::from(one.requests);
                totals.2 += one.waiting.len();
            }
        }
        totals
    }

    fn shard(&self, key: LimitKey) -> Option<MutexGuard<'_, Shard<W>>> {
        let shard = self.shards.get(key.0 as usize % SHARDS)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl InProgress ===

impl<W> Default for InProgress<W> {
    fn default() -> Self {
        Self { requests: 0, waiting: VecDeque::new(), last: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use super::*;

    const TWO: ConcurrencyOptions = ConcurrencyOptions { max_requests: 2, queue_size: 2 };

    #[test]
    fn places_are_given_in_the_order_in_which_requests_came() {
        let limiter = ConcurrencyLimiter::default();
        let (a, b) = (LimitKey(1), LimitKey(65));
        let entered: Vec<_> = (0..5).map(|name| limiter.enter(a, TWO, || name)).collect();
        let waiting = [Entered::Waiting(1), Entered::Waiting(2)];
        assert_eq!(entered, [Entered::Now, Entered::Now, waiting[0], waiting[1], Entered::Full]);
        assert_eq!(limiter.enter(b, TWO, || 9), Entered::Now, "another key");
        assert_eq!((limiter.of(a), limiter.totals()), ((2, 2), (2, 3, 2)));
        assert_eq!(limiter.leave(a), Some(2));
        assert!(!limiter.give_up(a, 1), "it is in progress");
        assert!(limiter.give_up(a, 2));
        assert_eq!((limiter.leave(a), limiter.leave(a), limiter.leave(b)), (None, None, None));
        assert_eq!(limiter.totals(), (0, 0, 0), "a key without requests is forgotten");
    }

    #[test]
    fn a_lower_maximum_ends_nothing_and_holds_from_then_on() {
        let limiter = ConcurrencyLimiter::default();
        let one = ConcurrencyOptions { max_requests: 1, ..TWO };
        assert_eq!([(); 2].map(|()| limiter.enter(LimitKey(1), TWO, || ())), [Entered::Now; 2]);
        assert_eq!(limiter.enter(LimitKey(1), one, || ()), Entered::Waiting(1));
        assert_eq!(limiter.leave(LimitKey(1)), None, "one is still in progress");
        assert_eq!(limiter.leave(LimitKey(1)), Some(()));
    }

    /// Any mix of requests that begin, end and give up, against a model that is obviously right.
    #[test]
    fn it_never_has_more_in_progress_and_loses_no_place() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let options = ConcurrencyOptions { max_requests: rng.u32(1..4), queue_size: rng.u32(0..4) };
            let limiter = ConcurrencyLimiter::default();
            let mut model: BTreeMap<u64, (u32, VecDeque<u64>)> = BTreeMap::new();
            for _ in 0..300 {
                let key = rng.u64(1..4);
                let (requests, waiting) = model.entry(key).or_default();
                match rng.u8(..4) {
                    0 | 1 => match limiter.enter(LimitKey(key), options, || ()) {
                        Entered::Now => *requests += 1,
                        Entered::Waiting(number) => waiting.push_back(number),
                        Entered::Full => assert_eq!(waiting.len(), options.queue_size as usize, "{seed}"),
                    },
                    2 if *requests > 0 => match limiter.leave(LimitKey(key)) {
                        Some(()) => assert!(waiting.pop_front().is_some(), "{seed}"),
                        None => *requests -= 1,
                    },
                    _ => {
                        if let Some(number) = waiting.pop_back() {
                            assert!(limiter.give_up(LimitKey(key), number), "{seed}");
                        }
                    }
                }
                assert!(*requests <= options.max_requests, "{seed}");
                assert!(waiting.is_empty() || *requests == options.max_requests, "{seed}");
                assert_eq!(limiter.of(LimitKey(key)), (*requests, waiting.len()), "{seed}");
            }
        }
    }
}
