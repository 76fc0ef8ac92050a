//! A rate limit: for each key its own quota, all under one rule.
//!
//! It knows a key only as a hash, and keeps nothing else of it: see the pages of [`Gcra`] for what passes, and of the key
//! table for what is kept, what it costs and who is forgotten first.

use std::sync::Arc;

use super::gcra::{Arrival, Decision, Gcra};
use super::key_table::{Charged, KeyTable, Step};
use super::{KeyHasher, KeySecret, LimitKey, RateLimitOptions};
use crate::Moment;

/// A rate limit, shared by all cores.
#[derive(Debug)]
pub struct RateLimiter {
    rule: Gcra,
    max_keys: u32,
    keys: Arc<KeyTable>,
    secret: KeySecret,
}

struct At<'a> {
    rule: &'a Gcra,
    reading: Arrival,
}

// === impl RateLimiter ===

impl RateLimiter {
    /// A limit of which no key has used anything. The secret is a random number.
    pub fn new(options: RateLimitOptions, secret: u128, now: Moment) -> Self {
        let RateLimitOptions { rate, burst, delayed, max_keys } = options;
        Self {
            rule: Gcra::new(rate, burst, now).with_delayed(delayed),
            max_keys,
            keys: Arc::new(KeyTable::new(max_keys)),
            secret: KeySecret::new(secret),
        }
    }

    /// The same limit with other options. What a key has used of its quota stays used, in requests. Both share what they
    /// keep, unless there is room for another number of keys: then that is copied.
    #[must_use]
    pub fn changed(&self, options: RateLimitOptions, now: Moment) -> Self {
        let RateLimitOptions { rate, burst, delayed, max_keys } = options;
        let same = rate == self.rule.rate() && burst.max(1) == self.rule.burst();
        let rule = if same { self.rule } else { self.rule.changed(rate, burst, now) }.with_delayed(delayed);
        let keys = if max_keys == self.max_keys {
            Arc::clone(&self.keys)
        } else {
            let (keys, reading) = (KeyTable::new(max_keys), rule.read(now));
            self.keys
                .keys()
                .filter(|(_, state)| *state > reading)
                .for_each(|(key, state)| keys.put(key, state));
            Arc::new(keys)
        };
        Self { rule, max_keys, keys, secret: self.secret }
    }

    /// What makes keys for this limit.
    #[inline]
    pub fn hasher(&self) -> KeyHasher {
        self.secret.hasher()
    }

    /// Counts a request of this key if it is within the limit. `None` if the key is new and there is no room for it: its
    /// request is not limited.
    #[inline]
    pub fn charge(&self, key: LimitKey, now: Moment) -> Option<Decision> {
        let reading = self.rule.read(now);
        let (allowed, state) = match self.keys.charge(key.0, &At { rule: &self.rule, reading }) {
            Charged::Yes(state) => (true, state),
            Charged::No(state) => (false, state),
            Charged::NoRoom => return None,
        };
        Some(self.rule.decision(allowed, state, (now, reading)))
    }

    /// What would become of a request of this key. Counts nothing: one more than `remaining` is not `allowed`.
    pub fn peek(&self, key: LimitKey, now: Moment) -> Decision {
        let (reading, state) = (self.rule.read(now), self.keys.peek(key.0));
        let charged = self.rule.charge(state, reading);
        let decision = self.rule.decision(charged.is_some(), state, (now, reading));
        match charged {
            Some(charged) => {
                Decision { wait: self.rule.decision(true, charged, (now, reading)).wait, ..decision }
            }
            None => decision,
        }
    }

    /// The rule.
    pub fn rule(&self) -> &Gcra {
        &self.rule
    }

    /// For how many keys there is room.
    pub fn max_keys(&self) -> u32 {
        self.max_keys
    }

    /// How many keys have used some of their quota. Looks at all of them.
    pub fn keys_in_use(&self, now: Moment) -> usize {
        let reading = self.rule.read(now);
        self.keys.keys().filter(|(_, state)| *state > reading).count()
    }

    /// How many keys can be kept at most.
    pub fn capacity(&self) -> usize {
        self.keys.capacity()
    }

    /// Bytes in use for the keys. Looks at a sixteenth of them.
    pub fn bytes(&self) -> usize {
        self.keys.bytes()
    }
}

// === impl At ===

impl Step for At<'_> {
    #[inline]
    fn charge(&self, state: Arrival) -> Option<Arrival> {
        self.rule.charge(state, self.reading)
    }

    fn give_back(&self, state: Arrival) -> Arrival {
        Gcra::give_back(state)
    }
}
