//! A limit in front of the backends: the balancer's own, met by each request before a backend is picked.

use evenkeel_core::Moment;
use evenkeel_core::limit::{
    AdaptiveLimiter, AdaptiveOptions, KeySecret, LimitKey, Priority, RateLimitOptions, RateLimiter,
};
use std::time::Duration;

/// A limit in front of the backends. What it rejects counts as an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrontLimit {
    /// So many requests of each client in a time.
    Rate(RateLimitOptions),
    /// As many requests in progress as latency allows.
    Adaptive(AdaptiveOptions),
}

/// The limit at work.
#[derive(Debug)]
pub(super) enum Front {
    None,
    Rate(RateLimiter),
    Adaptive(AdaptiveLimiter),
}

// === impl Front ===

impl Front {
    pub(super) fn new(limit: Option<FrontLimit>, seed: u64) -> Self {
        let now = Moment::default();
        match limit {
            None => Self::None,
            Some(FrontLimit::Rate(options)) => Self::Rate(RateLimiter::new(options, seed.into(), now)),
            Some(FrontLimit::Adaptive(options)) => Self::Adaptive(AdaptiveLimiter::new(options, now)),
        }
    }

    /// Whether a request of this client can begin.
    pub(super) fn admits(&self, client: u64, priority: Priority, now: Moment) -> bool {
        match self {
            Self::None => true,
            Self::Rate(limiter) => limiter.charge(key(client), now).is_none_or(|decision| decision.allowed),
            Self::Adaptive(limiter) => limiter.enter(priority),
        }
    }

    /// A request that was admitted has ended after so long, with a response or without.
    pub(super) fn ended(&self, latency: Duration, answered: bool, now: Moment) {
        if let Self::Adaptive(limiter) = self {
            limiter.leave();
            if answered {
                limiter.observe(latency, now);
            }
        }
    }
}

fn key(client: u64) -> LimitKey {
    KeySecret::new(0).hasher().with(Some(&client.to_le_bytes())).finish()
}
