//! What a program of a few lines needs: `use evenkeel::prelude::*;`.

pub use crate::discovery::{BackendSet, Discovery, DiscoveryError, DiscoveryValue};
pub use crate::filter::{
    Answer, BuildContext, Filter, FilterError, FilterKind, Refusal, Registry, Rejection, Request, Response,
    RouteFilters, Verdict, Wait,
};
pub use crate::probe::{Check, CheckValue, Target};
pub use crate::server::{Server, ServerError};
pub use evenkeel_config::{
    BackendBuilder, Config, ConfigBuilder, ConfigError, DiscoveryBuilder, HealthCheckBuilder, HedgeAfter,
    Lanes, ListenerBuilder, RateLimit, RetryBuilder, RouteBuilder, UpstreamBuilder,
};
pub use evenkeel_core::balance::{
    Balancer, ConsistentHashOptions, HashKey, HashOptions, LoadBalancingAlgorithm, PeakEwmaOptions, Pick,
    PrequalOptions,
};
pub use evenkeel_core::health::{OutlierOptions, Start, WhenAllDown};
pub use evenkeel_core::limit::{CircuitBreakerOptions, QueueOptions, RetryBudgetOptions};
