//! How much is too much: rate limits, requests in progress, bytes, retry budgets, circuit breakers, sets of networks; and how long to wait before trying
//! again.
//!
//! This room never knows of HTTP or routes: it counts, and says yes or no.

mod adaptive;
mod backoff;
mod bandwidth;
mod circuit_breaker;
mod concurrency;
mod gcra;
mod key_table;
mod keyed;
mod networks;
mod options;
mod overload;
mod rate_limiter;
mod retry_budget;
mod top_keys;

pub use adaptive::{AdaptiveLimiter, AdaptiveOptions, Priority};
pub use backoff::backoff;
pub use bandwidth::{ByteBucket, piece};
pub use circuit_breaker::{CircuitBreaker, Entered};
pub use concurrency::{ConcurrencyLimiter, ConcurrencyOptions, Entered as ConcurrencyEntered};
pub use gcra::{Decision, Gcra};
pub use keyed::{KeyHasher, KeySecret, LimitKey};
pub use networks::Networks;
pub use options::{CircuitBreakerOptions, QueueOptions, Rate, RateLimitOptions, RetryBudgetOptions};
pub use overload::OverloadLevel;
pub use rate_limiter::RateLimiter;
pub use retry_budget::RetryBudget;
pub use top_keys::{TopKey, TopKeys};
