//! A load balancer for HTTP on Cloudflare's Pingora, as a library.
//!
//! ```no_run
//! use evenkeel::prelude::*;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let config = ConfigBuilder::new()
//!         .listen_address("127.0.0.1:8080")
//!         .upstream_servers(["http://127.0.0.1:8081", "http://127.0.0.1:8082"])
//!         .load_balancing_algorithm(LoadBalancingAlgorithm::LeastConnections)
//!         .build();
//!     Server::new(config).run().await?;
//!     Ok(())
//! }
//! ```
//!
//! # Where to start
//! * [`config`]: a [`Config`](config::Config), from YAML or from the builder.
//! * [`Server`] runs it. [`Handle`] controls a started server: reload, drain, other backends, its state.
//! * The four extension points: [`filter`], [`algorithm`], [`health_check`], [`discovery`].
//! * [`check`] and [`explain`] tell what a configuration would do, without running it. [`status`] tells what a server does.
//! * [`error`]: everything that can fail, as enums.
//!
//! This list is all that is public. What else is in the crate can change without notice.

#![expect(
    unreachable_pub,
    reason = "in a private room, `pub` marks what the room offers to other rooms; this file is the public API"
)]

mod admin;
mod control;
mod dial;
pub mod discovery;
mod dry_run;
mod exchange;
pub mod filter;
mod handle;
mod lane;
mod listen;
mod observe;
pub mod prelude;
mod probe;
mod proxy;
mod server;
mod stream;
mod tcp;
mod tls;
mod upstream;

pub use evenkeel_config as config;
pub use evenkeel_core as core;
pub use handle::{Handle, ReloadError};
pub use server::{Server, ServerError};

/// Picks the backend of a request: the trait of an algorithm, and what it works with.
///
/// The built-in algorithms are in [`core::balance`].
pub mod algorithm {
    pub use evenkeel_core::backend::{Address, Backend, Counters, Member, Snapshot, Weight};
    pub use evenkeel_core::balance::{Balancer, LoadBalancingAlgorithm, Pick, Sample, Tried};
}

/// Checks the health of backends: the trait of a check, and what it receives.
pub mod health_check {
    pub use crate::probe::{Check, CheckValue, Target, TlsTarget};
}

/// What is wrong with a configuration that can be read: see [`Server::check`](crate::Server::check).
pub mod check {
    pub use crate::control::PlanError;
    pub use crate::dry_run::CertificateNote;
    pub use crate::probe::ProbeError;
    pub use crate::tls::{CertificateError, CertificateFile, TlsError};
}

/// Where a request would go, and why: see [`Server::explain`](crate::Server::explain) and
/// [`State::explain`](crate::status::State::explain).
pub mod explain {
    pub use crate::control::{
        BackendExplanation, Basis, ChoiceExplanation, ClientExplanation, CookieExplanation, Described,
        DescribedError, Explanation, FilterExplanation, HashExplanation, Outcome, PassedOver, Refused,
        UpstreamExplanation, VerdictKind,
    };
}

/// What a started server does: its listeners, upstreams and counters, and how the backends of an upstream are replaced.
pub mod status {
    pub use crate::control::{
        BackendUpdate, Change, ChangeError, ChangeRequest, Changed, ListenerState, SetChange, State,
        UpstreamGone, UpstreamHandle, WeightUpdate,
    };
    pub use crate::observe::Field;

    /// Why evenkeel rejects requests: the values of the label `reason` of `evenkeel_refusals_total`.
    pub const REFUSALS: &[&str] = &crate::observe::Metrics::REFUSALS;
}

/// Everything that can fail.
pub mod error {
    pub use crate::admin::AdminError;
    pub use crate::check::{CertificateError, PlanError, ProbeError, TlsError};
    pub use crate::control::{ChangeError, StartError};
    pub use crate::discovery::DiscoveryError;
    pub use crate::filter::FilterError;
    pub use crate::handle::ReloadError;
    pub use crate::listen::{BindError, WorkerError};
    pub use crate::observe::AccessLogError;
    pub use crate::server::ServerError;
    pub use evenkeel_config::ConfigError;
}

/// What the fuzz targets reach beyond the public API. It exists only when they are built.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::stream::Grant;
}
