//! What a program of a few lines needs: `use evenkeel::prelude::*;`.

pub use crate::filter::{
    Answer, Filter, FilterError, FilterKind, Refusal, Registry, Request, Response, Verdict,
};
pub use crate::server::{Server, ServerError};
pub use evenkeel_config::{
    Config, ConfigBuilder, ConfigError, Lanes, ListenerBuilder, RouteBuilder, UpstreamBuilder,
};
pub use evenkeel_core::balance::{Balancer, LoadBalancingAlgorithm, Pick};
