//! How much is too much: retry budgets, circuit breakers; and how long to wait before trying again.
//!
//! This room never knows of HTTP or routes: it counts, and says yes or no.

mod backoff;
mod circuit_breaker;
mod options;
mod retry_budget;

pub use backoff::backoff;
pub use circuit_breaker::{CircuitBreaker, Entered};
pub use options::{CircuitBreakerOptions, QueueOptions, RetryBudgetOptions};
pub use retry_budget::RetryBudget;
