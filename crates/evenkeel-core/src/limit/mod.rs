//! How much is too much: rate limits, retry budgets, circuit breakers, sets of networks; and how long to wait before trying
//! again.
//!
//! This room never knows of HTTP or routes: it counts, and says yes or no.

mod backoff;
mod circuit_breaker;
mod gcra;
mod key_table;
mod networks;
mod options;
mod rate_limiter;
mod retry_budget;
mod top_keys;

pub use backoff::backoff;
pub use circuit_breaker::{CircuitBreaker, Entered};
pub use gcra::{Decision, Gcra};
pub use networks::Networks;
pub use options::{CircuitBreakerOptions, QueueOptions, Rate, RateLimitOptions, RetryBudgetOptions};
pub use rate_limiter::{KeyHasher, LimitKey, RateLimiter};
pub use retry_budget::RetryBudget;
pub use top_keys::{TopKey, TopKeys};
